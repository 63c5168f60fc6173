//! The selection of pairs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::inspected::{Inspected, inspect};
use crate::sandbox::{Sandbox, jsonl};

/// Five pairs; two of them tie in their scores, and the last repeats the first.
fn scored() -> String {
    let rows = [
        ("a", 9.0, 1.0),
        ("b", 5.0, 5.0),
        ("c", 5.0, 4.5),
        ("d", 2.0, 2.0),
        ("a", 9.0, 1.0),
    ];
    jsonl(rows.map(|(text, chosen, rejected)| {
        json!({
            "prompt": "Say it.", "chosen": text, "rejected": "z",
            "score_chosen": chosen, "score_rejected": rejected,
        })
    }))
}

fn chosen(found: &Inspected) -> Vec<String> {
    let pairs = found.json["examples"].as_array().unwrap().len();
    let texts = (0..pairs).map(|pair| found.text(pair, "chosen"));
    texts
        .map(|text| text.trim_end_matches("<|endoftext|>").to_owned())
        .collect()
}

#[test]
fn limits_ties_margins_and_repetitions() {
    let sandbox = Sandbox::new();
    sandbox.write("x.jsonl", scored());
    for (options, expected) in [
        ("", "a b c d a"),
        ("--limit 2", "a b"),
        ("--skip 3", "d a"),
        ("--skip 1 --limit 2", "b c"),
        ("--drop-ties", "a c a"),
        ("--drop-ties --limit 2", "a c"),
        ("--min-score-margin 1", "a a"),
        ("--min-score-margin 0.5", "a c a"),
        ("--dedupe", "a b c d"),
    ] {
        let found = inspect(&sandbox, &format!("x.jsonl --examples 9 {options}"));
        assert_eq!(chosen(&found).join(" "), expected, "{options}");
        let kept = expected.split(' ').count();
        assert_eq!(found.audit()["kept"], kept, "{options}");
    }
    sandbox.refuses(
        "--data d.jsonl --drop-ties",
        &["--drop-ties", "scores", "--columns"],
    );
}

/// The numbers of pairs that a run trains on and holds out.
#[track_caller]
fn counts(sandbox: &Sandbox, options: &str) -> (usize, usize) {
    let ran = sandbox.train(&format!("--plan {options}")).ok();
    let line = ran
        .stdout
        .lines()
        .find(|line| line.starts_with("pairs "))
        .unwrap();
    let numbers: Vec<usize> = line
        .split([' ', ','])
        .filter_map(|word| word.parse().ok())
        .collect();
    (numbers[0], numbers[1])
}

#[test]
fn several_data_each_with_its_weight() {
    let sandbox = Sandbox::new();
    sandbox.write("x.jsonl", scored());
    let both = "--data x.jsonl --data d.jsonl";
    assert_eq!(counts(&sandbox, both), (11, 0));
    assert_eq!(
        counts(&sandbox, &format!("{both} --data-weights 2,0.5")),
        (13, 0)
    );
    assert_eq!(
        counts(
            &sandbox,
            &format!("{both} --limit 3 --eval-data e.jsonl --eval-limit 2")
        ),
        (6, 2)
    );
    sandbox.refuses(&format!("{both} --data-weights 2"), &["--data-weights"]);
    sandbox.refuses(
        &format!("{both} --data-weights 2,-1"),
        &["--data-weights", "-1"],
    );
}

#[test]
fn a_prompt_is_trained_on_or_held_out() {
    let sandbox = Sandbox::new();
    let record = |at: usize| json!({"prompt": format!("Say {}.", at % 20), "chosen": format!("{at}"), "rejected": "no"});
    sandbox.write("x.jsonl", jsonl((0..60).map(record)));
    let (train, eval) = counts(&sandbox, "--data x.jsonl --eval-fraction 0.25");
    assert_eq!((train + eval, eval), (60, 15));
    let data = |out: &str, seed: usize| {
        let options =
            format!("--data x.jsonl --eval-fraction 0.25 --max-steps 1 --seed {seed} --out {out}");
        sandbox.train(&options).ok();
        let kept: Value =
            serde_json::from_slice(&sandbox.read(&format!("{out}/data.json"))).unwrap();
        assert_eq!(kept["eval_prompts_trained_on"]["count"], 0);
        sandbox.metrics(out).into_iter().next().unwrap()
    };
    let first: Vec<_> = [("one", 1), ("same", 1), ("two", 2)]
        .map(|(out, seed)| data(out, seed))
        .into();
    assert_eq!(first[0]["eval_loss"], first[1]["eval_loss"]);
    assert_ne!(first[0]["eval_logps/chosen"], first[2]["eval_logps/chosen"]);
    let both = "--data x.jsonl --eval-data e.jsonl --eval-fraction 0.25";
    sandbox.refuses(both, &["--eval-fraction", "--eval-data"]);
}

#[test]
fn columns_by_name_and_by_path() {
    let sandbox = Sandbox::new();
    let record = json!({
        "ask": "What does a frog say?", "better": "A frog says croak.",
        "answers": {"worst": "Croak.", "other": "Moo."}, "system": "Be short.",
    });
    sandbox.write("x.jsonl", record.to_string());
    let options = "x.jsonl --columns prompt=ask,chosen=better,rejected=answers.worst,system=";
    let found = inspect(&sandbox, options);
    assert_eq!(
        found.text(0, "prompt"),
        "User: What does a frog say?\nAssistant: "
    );
    assert_eq!(found.text(0, "chosen"), "A frog says croak.<|endoftext|>");
    assert_eq!(found.text(0, "rejected"), "Croak.<|endoftext|>");
    let ignored: BTreeSet<String> =
        serde_json::from_value(found.audit()["columns_ignored"].clone()).unwrap();
    assert!(ignored.contains("system"), "{ignored:?}");
    sandbox.refuses(
        "--data x.jsonl --columns prompt=question,chosen=better,rejected=answers.worst",
        &["question", "`ask`"],
    );
    sandbox.refuses(
        "--data x.jsonl --columns best=better",
        &["--columns", "best"],
    );
}

#[test]
fn the_templates_space_is_told_of_and_can_begin_the_response() {
    let sandbox = Sandbox::new();
    sandbox.write("x.jsonl", super::OK);
    let usual = inspect(&sandbox, "x.jsonl");
    assert_eq!(usual.ids(0, "prompt").last(), Some(&221));
    assert_eq!(usual.json["lone_space"]["id"], 221);
    let text = sandbox.run("inspect x.jsonl").ok().stdout;
    assert!(text.contains("--response-prefix-space"), "{text}");

    let spaced = inspect(&sandbox, "x.jsonl --response-prefix-space");
    assert_eq!(
        spaced.text(0, "prompt"),
        "User: What does a frog say?\nAssistant:"
    );
    assert_eq!(spaced.text(0, "chosen"), " A frog says croak.<|endoftext|>");
    // transformers 5.23.0 has these ids for " A frog says croak.".
    assert_eq!(
        spaced.ids(0, "chosen"),
        [382, 343, 863, 431, 83, 275, 82, 79, 328, 14, 0]
    );
    assert_eq!(spaced.json["lone_space"], Value::Null);
}
