//! What the files of a model folder declare about its tokens, compared with transformers and TRL.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::OK;
use super::inspected::{Inspected, inspect};
use crate::models::{edit_config, untrained};
use crate::sandbox::Sandbox;

/// A list of the fixture that tests/pairs/make_fixtures.py wrote; it names the versions.
fn fixture(list: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pairs/expected.json");
    let mut fixture: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    serde_json::from_value(fixture[list].take()).unwrap()
}

fn case(list: &str, name: &str) -> Value {
    let mut cases = fixture(list).into_iter();
    cases.find(|case| case["name"] == name).unwrap()
}

fn tokenizer_json(model: &Path) -> Value {
    serde_json::from_slice(&fs::read(model.join("tokenizer.json")).unwrap()).unwrap()
}

/// Makes a folder `model` for a case of `cases`: a changed tokenizer.json and a tokenizer_config.json.
fn changed(sandbox: &Sandbox, case: &Value) {
    let model = sandbox.starter("model");
    let mut tokenizer = tokenizer_json(&model);
    for key in ["added_tokens", "post_processor"] {
        tokenizer[key] = case[key].clone();
    }
    sandbox.write("model/tokenizer.json", tokenizer.to_string());
    sandbox.write("model/tokenizer_config.json", case["config"].to_string());
    edit_config(&model, |config| {
        drop(config.insert("vocab_size".into(), json!(1026)))
    });
}

/// Makes a folder `model` for a case of `folders`: further files beside the tokenizer's.
fn beside(sandbox: &Sandbox, case: &Value) {
    untrained(sandbox, "model", 1026, 32);
    let model = sandbox.path("model");
    let mut tokenizer = tokenizer_json(&model);
    if let Some(added) = case["added"].as_array() {
        let list = tokenizer["added_tokens"].as_array_mut().unwrap();
        for (at, content) in added.iter().enumerate() {
            let mut token = list[0].clone();
            token["id"] = json!(1024 + at);
            token["content"] = content.clone();
            list.push(token);
        }
        sandbox.write("model/tokenizer.json", tokenizer.to_string());
    } else {
        let mut vocabulary: Map<String, Value> =
            serde_json::from_value(tokenizer["model"]["vocab"].take()).unwrap();
        for (at, token) in case["vocabulary"].as_array().unwrap().iter().enumerate() {
            vocabulary.insert(token.as_str().unwrap().to_owned(), json!(1024 + at));
        }
        let merges = tokenizer["model"]["merges"].as_array().unwrap().iter();
        let merges = merges.map(|merge| match merge {
            Value::Array(sides) => {
                let [left, right] = [0, 1].map(|at| sides[at].as_str().unwrap());
                format!("{left} {right}\n")
            }
            merge => format!("{}\n", merge.as_str().unwrap()),
        });
        let merges: String = merges.collect();
        sandbox.write("model/vocab.json", Value::Object(vocabulary).to_string());
        sandbox.write("model/merges.txt", format!("#version: 0.2\n{merges}"));
        fs::remove_file(model.join("tokenizer.json")).unwrap();
    }
    for (name, content) in case["files"].as_object().unwrap() {
        let content = match content {
            Value::String(text) => text.clone(),
            content => content.to_string(),
        };
        sandbox.write(&format!("model/{name}"), content);
    }
}

/// The record of a case of `folders` must give transformers' ids.
#[track_caller]
fn matches(sandbox: &Sandbox, name: &str) -> Inspected {
    let case = case("folders", name);
    beside(sandbox, &case);
    sandbox.write("x.jsonl", case["record"].to_string());
    let found = inspect(sandbox, "--tokenizer model x.jsonl");
    assert_eq!(found.pair(), case["ids"], "{name}");
    found
}

#[test]
fn both_boundaries_have_the_ids_of_trl() {
    let sandbox = Sandbox::new();
    let cases = fixture("cases");
    assert_eq!(cases.len(), 8);
    for case in cases {
        changed(&sandbox, &case);
        sandbox.write("x.jsonl", case["record"].to_string());
        for boundary in ["apart", "joined"] {
            let options = format!("--tokenizer model x.jsonl --boundary {boundary}");
            let found = inspect(&sandbox, &options);
            assert_eq!(found.pair(), case[boundary], "{}, {boundary}", case["name"]);
            let differ = usize::from(case["apart"] != case["joined"]);
            assert_eq!(found.audit()["boundary_matters"], differ);
        }
    }
    sandbox.write("x.jsonl", format!("{OK}\n{OK}\n"));
    let found = inspect(&sandbox, "x.jsonl");
    assert_eq!(found.audit()["boundary_matters"], 2);
}

#[test]
fn the_tokenizers_own_files_name_the_end_of_text() {
    let sandbox = Sandbox::new();
    changed(
        &sandbox,
        &case("cases", "an end-of-text of tokenizer_config.json"),
    );
    sandbox.write("x.jsonl", OK);
    let found = inspect(&sandbox, "--tokenizer model x.jsonl");
    assert_eq!(found.ids(0, "chosen").last(), Some(&1025));
    assert_eq!(found.ids(0, "rejected").last(), Some(&1025));
    let both = [
        "`<|im_end|>` (1025)",
        "tokenizer_config.json",
        "config.json's eos_token_id is `<|endoftext|>` (0)",
    ];
    found.noting(&both);
    matches(&sandbox, "an end-of-text of special_tokens_map.json")
        .noting(&["special_tokens_map.json"]);
}

#[test]
fn an_end_of_text_by_another_name_needs_no_id() {
    let sandbox = Sandbox::new();
    for id in [None, Some(Value::Null)] {
        let case = case("folders", "an end-of-text by another name");
        beside(&sandbox, &case);
        fs::remove_file(sandbox.path("model/generation_config.json")).unwrap();
        edit_config(&sandbox.path("model"), |config| {
            config.remove("eos_token_id");
            config.extend(id.map(|id| ("eos_token_id".to_owned(), id)));
        });
        sandbox.write("x.jsonl", OK);
        let found = inspect(&sandbox, "--tokenizer model x.jsonl").without_notes();
        assert_eq!(found.pair(), case["ids"]);
    }
}

/// The starter with a renamed end-of-text, which only the tokenizer's files declare.
#[test]
fn generation_stops_at_an_end_of_text_by_another_name() {
    let sandbox = Sandbox::new();
    let ask = r"User: What day comes after Wednesday?\nAssistant: ";
    let answer = |model: &str| {
        let args = [
            "generate", "--device", "cpu", "--model", model, "--prompt", ask,
        ];
        sandbox.run_with(&args).ok().stdout
    };
    let model = sandbox.starter("model");
    let expected = answer("model");
    assert_eq!(expected, "Thursday.\n");
    let text = tokenizer_json(&model)
        .to_string()
        .replace("<|endoftext|>", "</s>");
    for config in [
        json!({"eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}),
        json!({"eos_token": "</s>"}),
    ] {
        sandbox.write("model/tokenizer.json", &text);
        sandbox.write("model/tokenizer_config.json", config.to_string());
        edit_config(&model, |config| drop(config.remove("eos_token_id")));
        assert_eq!(answer("model"), expected);
    }
    // Generation also stops at each id in the list of generation_config.json, here the full stop.
    sandbox.write(
        "model/generation_config.json",
        r#"{"eos_token_id": [0, 14]}"#,
    );
    assert_eq!(answer("model"), "Thursday\n");
}

#[test]
fn no_end_of_text_at_all_is_said() {
    let sandbox = Sandbox::new();
    let model = sandbox.starter("model");
    let text = tokenizer_json(&model)
        .to_string()
        .replace("<|endoftext|>", "<nothing>");
    sandbox.write("model/tokenizer.json", text);
    sandbox.write(
        "model/tokenizer_config.json",
        json!({"tokenizer_class": "PreTrainedTokenizerFast"}).to_string(),
    );
    edit_config(&model, |config| drop(config.remove("eos_token_id")));
    sandbox.write("x.jsonl", OK);
    let note = [
        "no end-of-text token is known",
        "eos_token",
        "does not learn to stop",
    ];
    inspect(&sandbox, "--tokenizer model x.jsonl").noting(&note);
}

#[test]
fn tokens_that_any_file_declares_are_whole() {
    let sandbox = Sandbox::new();
    for name in [
        "declared by added_tokens_decoder",
        "declared by special_tokens_map.json",
        "declared by added_tokens.json",
    ] {
        matches(&sandbox, name);
    }
}

#[test]
fn what_tokenizer_config_says_is_read() {
    let sandbox = Sandbox::new();
    matches(&sandbox, "add_prefix_space");
    matches(&sandbox, "add_bos_token");
    matches(&sandbox, "chat_template.jinja");
}

#[test]
fn a_begin_token_is_before_the_prompt_in_training_and_in_generation() {
    let sandbox = Sandbox::new();
    let case = case("cases", "a begin token");
    changed(&sandbox, &case);
    edit_config(&sandbox.path("model"), |config| {
        drop(config.insert("vocab_size".into(), json!(1024)))
    });
    sandbox.write("x.jsonl", OK);
    let with = inspect(&sandbox, "--tokenizer model x.jsonl");
    let without = inspect(&sandbox, "x.jsonl");
    assert_eq!(
        with.ids(0, "prompt"),
        [vec![0], without.ids(0, "prompt")].concat()
    );
    assert_eq!(with.ids(0, "chosen"), without.ids(0, "chosen"));

    // The begin token takes one position, so the answer has one less.
    sandbox.starter("plain");
    let fits = |model: &str, words: usize| {
        let prompt = " a".repeat(words);
        let args = [
            "generate",
            "--device",
            "cpu",
            "--max-new-tokens",
            "1",
            "--model",
            model,
            "--prompt",
            &prompt,
        ];
        sandbox.run_with(&args).code == Some(0)
    };
    assert!(fits("plain", 127) && fits("model", 126));
    let longest = |model: &str| (120..=130).rev().find(|&words| fits(model, words)).unwrap();
    assert_eq!(longest("plain"), longest("model") + 1);
}

#[test]
fn special_tokens_typed_in_data_are_text_unless_told_otherwise() {
    let sandbox = Sandbox::new();
    let found = matches(&sandbox, "a special token typed in a message");
    let counted = |found: &Inspected| found.audit()["special_tokens"].clone();
    assert_eq!(
        counted(&found),
        json!({"pairs": 1, "tokens": 1, "as_tokens": false})
    );
    found.noting(&["special token", "--allow-special-tokens"]);

    let allowed = inspect(&sandbox, "--tokenizer model x.jsonl --allow-special-tokens");
    // 1025 also ends the message.
    let ids = allowed.ids(0, "prompt");
    assert_eq!(ids.iter().filter(|&&id| id == 1025).count(), 2, "{ids:?}");
    let asked = |options: &str| {
        let args = "generate --model model --device cpu --max-new-tokens 1 --message <|im_end|>";
        sandbox.run(&format!("{args} {options}")).ok().stderr
    };
    let note = "note: 1 special token spelled out in what is asked: read as text";
    assert!(asked("").contains(note));
    assert!(!asked("--allow-special-tokens").contains("spelled out"));
    assert_eq!(
        counted(&allowed),
        json!({"pairs": 1, "tokens": 1, "as_tokens": true})
    );
}
