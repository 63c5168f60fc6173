//! The formats of data and models that train.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use gpt2_dpo::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, jsonl, numbers, starter_records, steps, without_speeds};

const PAIRS: usize = 4;

/// Trains on this data in place of the usual four pairs; every number must be equal.
fn assert_trains_as_text_does(sandbox: &Sandbox, content: impl AsRef<[u8]>, options: &str) {
    let run = |out: &str, options: &str| {
        let options = format!("--eval-data d.jsonl --learning-rate 1e-3 --overwrite {options}");
        let mut rows = without_speeds(sandbox.metrics_of(out, &options));
        // A model without a tokenizer has no answers that anybody could read.
        rows.retain(|row| !row.contains_key("sample"));
        rows
    };
    sandbox.write("d.jsonl", jsonl(starter_records("train.jsonl", PAIRS)));
    let text = run("text", "");
    sandbox.write("d.jsonl", content);
    assert_eq!(run("other", options), text);
}

fn text_of<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap()
}

#[test]
fn an_array_in_one_file() {
    let records = starter_records("train.jsonl", PAIRS);
    let array = serde_json::to_string_pretty(&records).unwrap();
    assert_trains_as_text_does(&Sandbox::new(), array, "");
}

#[test]
fn packed_files() {
    let text = jsonl(starter_records("train.jsonl", PAIRS));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    assert_trains_as_text_does(&Sandbox::new(), gzip.finish().unwrap(), "");
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    assert_trains_as_text_does(&Sandbox::new(), zstd, "");
}

#[test]
fn lists_of_messages() {
    let user = |text: &str| json!({"role": "user", "content": text});
    let assistant = |text: &str| json!({"role": "assistant", "content": text});
    let apart = |r: &Value| {
        json!({
            "prompt": [user(text_of(r, "prompt"))],
            "chosen": [assistant(text_of(r, "chosen"))],
            "rejected": [assistant(text_of(r, "rejected"))],
        })
    };
    // The conversation is in both lists, as in UltraFeedback.
    let whole = |r: &Value| {
        json!({
            "prompt": r["prompt"],
            "chosen": [user(text_of(r, "prompt")), assistant(text_of(r, "chosen"))],
            "rejected": [user(text_of(r, "prompt")), assistant(text_of(r, "rejected"))],
        })
    };
    let sandbox = Sandbox::new();
    let records = starter_records("train.jsonl", PAIRS);
    assert_trains_as_text_does(&sandbox, jsonl(records.iter().map(apart)), "");
    assert_trains_as_text_does(&sandbox, jsonl(records.iter().map(whole)), "");
}

#[test]
fn instructions() {
    let records = starter_records("train.jsonl", PAIRS).into_iter().map(|r| {
        json!({"instruction": r["prompt"], "input": "", "chosen": r["chosen"], "rejected": r["rejected"]})
    });
    assert_trains_as_text_does(&Sandbox::new(), jsonl(records), "");
}

#[test]
fn token_ids_with_a_model_that_has_no_tokenizer() {
    let sandbox = Sandbox::new();
    let tokenizer = Tokenizer::load(&sandbox.starter("model")).unwrap();
    let ids = |text: &str| tokenizer.encode(text).unwrap();
    let response = |text: &str| [ids(text), vec![0]].concat(); // <|endoftext|> behind it
    let records = starter_records("train.jsonl", PAIRS).into_iter().map(|r| {
        json!({
            "prompt_ids": ids(&format!("User: {}\nAssistant: ", text_of(&r, "prompt"))),
            "chosen_ids": response(text_of(&r, "chosen")),
            "rejected_ids": response(text_of(&r, "rejected")),
        })
    });
    let records = jsonl(records);
    assert_trains_as_text_does(&sandbox, &records, "--model model");

    fs::remove_file(sandbox.path("model/tokenizer.json")).unwrap();
    assert_trains_as_text_does(&sandbox, &records, "--model model");
    let written = sandbox.list("other");
    assert!(
        !written.iter().any(|name| name.contains("token")),
        "{written:?}"
    );

    sandbox.write("text.jsonl", jsonl(starter_records("train.jsonl", 1)));
    sandbox.refuses(
        "--model model --data text.jsonl",
        &["text.jsonl:1", "tokenizer"],
    );
    sandbox
        .run("generate --model other --prompt hello --device cpu")
        .refused(&["other", "tokenizer"]);
}

#[test]
fn bad_records_are_dropped_and_counted_on_demand() {
    let sandbox = Sandbox::new();
    let good = jsonl(starter_records("train.jsonl", 3));
    sandbox.write("d.jsonl", format!("{{\"prompt\": 1}}\n{good}not JSON\n"));
    sandbox.refuses("--data d.jsonl", &["d.jsonl:1"]);
    let ran = sandbox
        .train(
            "--data d.jsonl --out out --batch-size 1 --gradient-accumulation-steps 1 \
             --skip-bad-records",
        )
        .ok();
    assert!(ran.stderr.contains("2 records skipped"), "{ran:?}");
    assert_eq!(steps(&sandbox.metrics("out")).len(), 3);

    sandbox.write("none.jsonl", "not JSON\n");
    let none = sandbox.train("--data none.jsonl --out other --skip-bad-records");
    none.refused(&["none.jsonl"]);
}

#[test]
fn pairs_of_equal_responses_are_dropped_and_counted_once() {
    let sandbox = Sandbox::new();
    let equal = |text: &str| json!({"prompt": "Hello?", "chosen": text, "rejected": text});
    let mut records = starter_records("train.jsonl", 3);
    records.insert(1, equal("Hi."));
    records.push(equal("Good day."));
    sandbox.write("d.jsonl", jsonl(records));
    let ran = sandbox
        .train("--data d.jsonl --out out --batch-size 1 --gradient-accumulation-steps 1 --epochs 2")
        .ok();
    assert_eq!(ran.stderr.lines().count(), 1, "said once: {ran:?}");
    for fragment in ["d.jsonl", "2 pairs", "equal"] {
        assert!(ran.stderr.contains(fragment), "{ran:?}");
    }
    assert_eq!(numbers(&steps(&sandbox.metrics("out")), "step").len(), 6);
    assert!(ran.stdout.contains("3 to train on"), "{ran:?}");

    sandbox.write("equal.jsonl", jsonl([equal("Hi."), equal("Ho.")]));
    let all_equal = sandbox.train("--data equal.jsonl --out other");
    all_equal.refused(&["equal.jsonl", "2 pairs dropped", "equal"]);
    assert!(!sandbox.exists("other"));
}
