//! Cuts are reported, and the report is kept beside the model.

use serde_json::{Value, json};

use super::inspected::inspect;
use crate::sandbox::{Sandbox, jsonl};

/// Prompts of 1, 4 and 4 token ids, responses of up to 5; id 0 ends a text.
fn pairs() -> String {
    jsonl([
        json!({"prompt_ids": [9], "chosen_ids": [1, 2, 0], "rejected_ids": [3, 0]}),
        json!({"prompt_ids": [5, 6, 7, 8], "chosen_ids": [1, 2, 3, 4, 0], "rejected_ids": [4, 0]}),
        json!({"prompt_ids": [5, 6, 7, 9], "chosen_ids": [1, 2, 3, 4, 0], "rejected_ids": [1, 2, 3, 5, 0]}),
    ])
}

#[test]
fn cuts_are_said_once_for_each_data_and_kept() {
    let sandbox = Sandbox::new();
    sandbox.write("t.jsonl", pairs());
    sandbox.write("h.jsonl", pairs());
    let options = "--eval-data h.jsonl --max-prompt-tokens 3 --max-response-tokens 4";
    let ran = sandbox
        .train(&format!(
            "--data t.jsonl --out out --epochs 2 --batch-size 1 {options}"
        ))
        .ok();
    for data in ["t.jsonl", "h.jsonl"] {
        for said in [
            "2 of 3 prompts are cut to --max-prompt-tokens 3",
            "3 of 6 responses are cut to --max-response-tokens 4",
            "3 of 6 responses lose their end-of-text",
        ] {
            let said = format!("note: {data}: {said}");
            let lines = ran.stderr.lines().filter(|line| line.starts_with(&said));
            assert_eq!(lines.count(), 1, "{said}: {ran:?}");
        }
    }

    let kept: Value = serde_json::from_slice(&sandbox.read("out/data.json")).unwrap();
    let cut = json!({
        "max_prompt_tokens": 3, "max_response_tokens": 4, "prompts": 2,
        "chosen": 2, "rejected": 1, "chosen_ends": 2, "rejected_ends": 1,
    });
    assert_eq!(kept["train"][0]["cut"], cut);
    assert_eq!(kept["eval"][0]["cut"], cut);
    // The file equals the output of `inspect`, except for the comparison of boundaries, which only `inspect` makes.
    let mut found = inspect(&sandbox, &format!("t.jsonl {options}")).json;
    found["train"][0]["boundary_matters"] = Value::Null;
    found["eval"][0]["boundary_matters"] = Value::Null;
    for (key, value) in kept.as_object().unwrap() {
        assert_eq!(&found[key], value, "{key}");
    }
}

#[test]
fn what_fits_needs_no_word() {
    let sandbox = Sandbox::new();
    sandbox.write("t.jsonl", pairs());
    let ran = sandbox.train("--data t.jsonl --out out").ok();
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_prompt_keeps_its_end_or_its_beginning() {
    let sandbox = Sandbox::new();
    sandbox.write("t.jsonl", pairs());
    for (options, kept) in [
        ("", vec![7, 8]),
        ("--truncation keep-end", vec![7, 8]),
        ("--truncation keep-start", vec![5, 6]),
    ] {
        let found = inspect(
            &sandbox,
            &format!("t.jsonl --max-prompt-tokens 2 {options}"),
        );
        assert_eq!(found.ids(1, "prompt"), kept, "{options}");
    }
}

#[test]
fn pairs_that_differ_behind_the_cut_alone_are_dropped_and_counted() {
    let sandbox = Sandbox::new();
    sandbox.write("t.jsonl", pairs());
    let found = inspect(&sandbox, "t.jsonl --max-response-tokens 3");
    assert_eq!(found.audit()["kept"], 2);
    found.noting(&["1 pair dropped", "--max-response-tokens", "t.jsonl:3"]);
}
