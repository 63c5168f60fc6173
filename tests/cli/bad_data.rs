//! Data files that cannot be used: the error names file and line and says what to do.

use std::fs;

use serde_json::json;

use crate::sandbox::{Sandbox, jsonl, starter_lines};

/// Puts `record` behind two good lines, as training and as held-out data.
#[track_caller]
fn refuses_line_3(record: &str, fragments: &[&str]) {
    let sandbox = Sandbox::new();
    let file = format!("{}{record}\n", starter_lines("train.jsonl", 2));
    sandbox.write("bad.jsonl", file);
    let mut all = vec!["bad.jsonl:3: "];
    all.extend(fragments);
    sandbox.refuses("--data bad.jsonl", &all);
    sandbox.refuses("--data d.jsonl --eval-data bad.jsonl", &all);
}

#[test]
fn malformed_json() {
    refuses_line_3("{\"prompt\": \"Hello\", ", &["JSON"]);
    refuses_line_3("Hello", &["JSON"]);
    refuses_line_3(
        "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"} x",
        &["JSON"],
    );
    refuses_line_3("\"Hello\"", &["object"]);
}

#[test]
fn missing_keys() {
    refuses_line_3(r#"{"prompt": "a", "chosen": "b"}"#, &["`rejected`"]);
    refuses_line_3(r#"{"prompt": "a", "rejected": "b"}"#, &["`chosen`"]);
    refuses_line_3(r#"{"chosen": "a", "rejected": "b"}"#, &["`prompt`"]);
    refuses_line_3(
        r#"{"prompt": "a", "chosen": "b", "rejected": null}"#,
        &["`rejected`"],
    );
    refuses_line_3(
        r#"{"prompt_ids": [1], "chosen_ids": [2]}"#,
        &["`rejected_ids`"],
    );
    refuses_line_3(
        r#"{"question": "a"}"#,
        &["`prompt`", "`chosen`", "`rejected`"],
    );
}

#[test]
fn wrong_types() {
    refuses_line_3(
        r#"{"prompt": 1, "chosen": "b", "rejected": "c"}"#,
        &["`prompt`", "a number"],
    );
    refuses_line_3(
        r#"{"prompt": "a", "chosen": true, "rejected": "c"}"#,
        &["`chosen`", "a boolean"],
    );
    refuses_line_3(
        r#"{"prompt": "a", "chosen": [{"role": "robot", "content": "b"}], "rejected": "c"}"#,
        &["`chosen[0]`", "robot"],
    );
    refuses_line_3(
        r#"{"prompt_ids": [1, 2.5], "chosen_ids": [2], "rejected_ids": [3]}"#,
        &["`prompt_ids[1]`", "2.5"],
    );
}

#[test]
fn empty_prompts_and_responses() {
    for blank in ["", " \n "] {
        let record = |prompt: &str, chosen: &str, rejected: &str| {
            json!({"prompt": prompt, "chosen": chosen, "rejected": rejected}).to_string()
        };
        refuses_line_3(&record(blank, "b", "c"), &["prompt", "empty"]);
        // Many data sets of the hub have such records, so they do not end a run.
        let sandbox = Sandbox::new();
        let good = starter_lines("train.jsonl", 2);
        let blanks = [record("a", blank, "c"), record("a", "b", blank)].join("\n");
        sandbox.write("bad.jsonl", format!("{good}\n{blanks}\n"));
        let ran = sandbox.train("--data bad.jsonl --out out").ok();
        let note = "2 pairs dropped: a response is empty; the first at bad.jsonl:";
        assert!(ran.stderr.contains(note), "{ran:?}");
    }
    let ids = r#"{"prompt_ids": [], "chosen_ids": [2], "rejected_ids": [3]}"#;
    refuses_line_3(ids, &["`prompt_ids`", "empty"]);
}

/// The starter's vocabulary has 1024 tokens.
#[test]
fn ids_outside_the_vocabulary() {
    for (key, id) in [("prompt", 1024_i64), ("chosen", 70_000), ("rejected", -1)] {
        let mut record = json!({"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]});
        record[format!("{key}_ids")] = json!([5, id]);
        refuses_line_3(&record.to_string(), &[key, &id.to_string()]);
    }
}

/// The starter has 128 positions. The last token of a response is predicted and never read.
#[test]
fn lengths_beyond_the_positions() {
    let record = |prompt: usize, response: usize| {
        json!({
            "prompt_ids": vec![1; prompt],
            "chosen_ids": vec![2; response],
            "rejected_ids": [3],
        })
        .to_string()
    };
    refuses_line_3(
        &record(96, 34),
        &["96", "34", "128", "--max-response-tokens"],
    );
    let sandbox = Sandbox::new();
    sandbox.write("d.jsonl", record(96, 33));
    sandbox.train("--data d.jsonl --out out").ok();
    sandbox.write("d.jsonl", record(500, 500));
    sandbox
        .train("--data d.jsonl --out cut --max-response-tokens 20")
        .ok();
}

#[test]
fn files_that_are_not_there_or_hold_nothing() {
    let sandbox = Sandbox::new();
    sandbox.refuses("--data absent.jsonl", &["absent.jsonl"]);
    sandbox.refuses("--data d.jsonl --eval-data absent.jsonl", &["absent.jsonl"]);
    fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.refuses("--data empty", &["empty: no data file", ".jsonl"]);
    sandbox.refuses("--data *.parquet", &["*.parquet: no file fits"]);
    for nothing in ["", "\n \n", "[]"] {
        sandbox.write("bad.jsonl", nothing);
        sandbox.refuses("--data bad.jsonl", &["bad.jsonl"]);
    }
    sandbox.write("bad.jsonl", b"\n\xff\xfe\n");
    sandbox.refuses("--data bad.jsonl", &["bad.jsonl:2", "UTF-8"]);
}

#[test]
fn pairs_all_equal() {
    let sandbox = Sandbox::new();
    let record = json!({"prompt": "a", "chosen": "b", "rejected": "b"});
    sandbox.write("bad.jsonl", jsonl([record.clone(), record]));
    sandbox.refuses("--data bad.jsonl", &["bad.jsonl", "2", "equal"]);
    // These responses are equal after the cut to the budget.
    sandbox.write(
        "cut.jsonl",
        r#"{"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [2, 4]}"#,
    );
    sandbox.train("--data cut.jsonl --out whole").ok();
    sandbox.refuses(
        "--data cut.jsonl --max-response-tokens 1",
        &["cut.jsonl", "differ only behind --max-response-tokens"],
    );
}

#[test]
fn arrays_know_their_lines() {
    let sandbox = Sandbox::new();
    let good = starter_lines("train.jsonl", 1);
    for (content, place) in [
        (format!("[\n{good},\n{{\"prompt\": 1}}\n]"), "bad.json:4"),
        (format!("[\n{good}"), "bad.json:"),
        (format!("[\n{good}\n{good}]"), "bad.json:4"),
        (format!("[\n{good}]\nmore"), "bad.json:4"),
    ] {
        sandbox.write("bad.json", content);
        sandbox.refuses("--data bad.json", &[place]);
    }
}
