//! Errors name the fault and the ways out.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::inspected::inspect;
use super::{OK, ok_and};
use crate::models::edit_config;
use crate::sandbox::Sandbox;

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
    oid sha256:248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707\nsize 548105171\n";

#[test]
fn where_nothing_is_left_the_reasons_are() {
    let sandbox = Sandbox::new();
    let equal = r#"{"prompt":"Hello?","chosen":"Hi.","rejected":"Hi."}"#;
    let unknown = r#"{"question":"Hello?","good":"Hi.","bad":"Ho."}"#;
    sandbox.write("x.jsonl", format!("not JSON\n{unknown}\n{equal}\n"));
    let reasons = [
        "x.jsonl",
        "of 3 records",
        "x.jsonl:1: not JSON",
        "x.jsonl:2: a preference record without `chosen` and `rejected`",
        "both responses are equal",
        "--columns",
    ];
    sandbox.refuses("--data x.jsonl --skip-bad-records", &reasons);
    sandbox
        .run("inspect x.jsonl --skip-bad-records")
        .refused(&reasons);
}

#[test]
fn help_names_no_option_that_has_nothing_to_do_with_it() {
    let sandbox = Sandbox::new();
    let equal = r#"{"prompt":"Hello?","chosen":"Hi.","rejected":"Hi."}"#;
    let alone = r#"{"prompt":"Hello?","completion":"Hi.","label":true}"#;
    for record in [equal, alone] {
        sandbox.write("x.jsonl", record);
        let ran = sandbox.run("inspect x.jsonl");
        ran.refused(&["1 ", "x.jsonl:1", "give other data"]);
        assert!(!ran.stderr.contains("options named above"), "{ran:?}");
    }
}

#[test]
fn every_record_error_names_the_option_to_leave_it_out() {
    let sandbox = Sandbox::new();
    for record in [
        "not JSON".to_owned(),
        r#""text""#.to_owned(),
        r#"{"prompt":"a","chosen":"b"}"#.to_owned(),
        r#"{"prompt":"a","chosen":"b","rejected":7}"#.to_owned(),
        r#"{"prompt":"","chosen":"b","rejected":"c"}"#.to_owned(),
        r#"{"prompt_ids":[1],"chosen_ids":[4000],"rejected_ids":[2]}"#.to_owned(),
        r#"{"prompt":[{"role":"robot","content":"a"}],"chosen":"b","rejected":"c"}"#.to_owned(),
        ok_and(r#""tools":[1]"#),
    ] {
        sandbox.write("x.jsonl", format!("{OK}\n{record}\n"));
        sandbox.refuses("--data x.jsonl", &["x.jsonl:2: ", "--skip-bad-records"]);
        let ran = sandbox.train("--data x.jsonl --out skipping --skip-bad-records --overwrite");
        let ran = ran.ok();
        assert!(ran.stderr.contains("1 record skipped"), "{ran:?}");
    }
}

#[test]
fn data_that_a_clone_without_lfs_left_is_known() {
    let sandbox = Sandbox::new();
    for name in ["x.jsonl", "x.json", "x.parquet"] {
        sandbox.write(name, POINTER);
        let said = format!("{name}: is a pointer of Git LFS");
        sandbox.refuses(
            &format!("--data {name}"),
            &[&said, "git lfs pull", "--data ORG/NAME"],
        );
    }
}

#[test]
fn a_models_files_that_a_clone_without_lfs_left_are_known() {
    for file in [
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "config.json",
    ] {
        let sandbox = Sandbox::new();
        sandbox.starter("model");
        sandbox.write(&format!("model/{file}"), POINTER);
        let said = format!("model/{file}: a Git LFS pointer");
        sandbox.refuses(
            "--model model --data d.jsonl",
            &[&said, "git lfs pull", "--model openai-community/gpt2"],
        );
    }
}

#[test]
fn a_token_without_a_row_is_said_with_what_to_do() {
    let sandbox = Sandbox::new();
    let model = sandbox.starter("model");
    let path = model.join("tokenizer.json");
    let text = fs::read_to_string(&path).unwrap();
    let added = text.replacen(
        "\"added_tokens\":",
        "\"added_tokens\": [{\"id\": 1024, \"content\": \"[PAD]\", \"single_word\": false, \"lstrip\": false, \
         \"rstrip\": false, \"normalized\": false, \"special\": true}], \"was\":",
        1,
    );
    assert_ne!(added, text);
    let mut tokenizer: serde_json::Value = serde_json::from_str(&added).unwrap();
    let mut tokens = tokenizer["was"].take();
    tokens
        .as_array_mut()
        .unwrap()
        .push(tokenizer["added_tokens"][0].take());
    tokenizer["added_tokens"] = tokens;
    tokenizer.as_object_mut().unwrap().remove("was");
    fs::write(path, tokenizer.to_string()).unwrap();
    sandbox.write("x.jsonl", OK);
    inspect(&sandbox, "--tokenizer model x.jsonl").noting(&[
        "`[PAD]` (1024) has no embedding row",
        "resize_token_embeddings",
    ]);
    sandbox.train("--model model --data x.jsonl --out out").ok();
}

#[test]
fn a_config_that_is_not_implemented_gets_no_advice_that_would_ruin_it() {
    let sandbox = Sandbox::new();
    let model = sandbox.starter("model");
    let key = "scale_attn_by_inverse_layer_idx";
    edit_config(&model, |config| {
        drop(config.insert(key.into(), json!(true)))
    });
    let ran = sandbox.train("--model model --data d.jsonl --out out");
    ran.refused(&[key, "not implemented", "use another model"]);
    for ruinous in ["remove", "delete", "leave it out", "set it to"] {
        assert!(!ran.stderr.contains(ruinous), "{ran:?}");
    }
}

#[test]
fn files_are_known_by_what_is_in_them() {
    let sandbox = Sandbox::new();
    let parquet = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pairs-zstd.parquet");
    sandbox.write("x.jsonl", fs::read(parquet).unwrap());
    let found = inspect(&sandbox, "x.jsonl --skip-bad-records");
    assert_eq!(
        found.text(0, "prompt"),
        "User: What does a frog say?\nAssistant: "
    );
    for (bytes, said) in [
        (&b"PK\x03\x04\x14\x00\x00\x00"[..], "zip"),
        (b"<!doctype html><html>", "HTML"),
        (b"ARROW1\x00\x00\x00", "Arrow"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\x00\x00", "xz"),
    ] {
        sandbox.write("x.jsonl", bytes);
        let ran = sandbox.train("--data x.jsonl --out out");
        ran.refused(&["x.jsonl", "parquet", "JSON"]);
        assert!(
            ran.stderr.to_lowercase().contains(&said.to_lowercase()),
            "{ran:?}"
        );
        assert!(!ran.stderr.contains("UTF-8"), "{ran:?}");
    }
    sandbox.write("x.jsonl", "prompt,chosen,rejected\na,b,c\n");
    sandbox.refuses("--data x.jsonl", &["x.jsonl", "JSON"]);
}
