//! Data in every packing and shape: the pairs are the same, and the report says how they were read.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::OK;
use super::inspected::{Inspected, inspect, inspect_lines, refuses_lines};
use crate::sandbox::{Sandbox, jsonl, number, steps};

#[test]
fn wrappings() {
    let sandbox = Sandbox::new();
    let expected = inspect_lines(OK).pair();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(OK.as_bytes()).unwrap();
    fs::create_dir_all(sandbox.path("folder/deep")).unwrap();
    sandbox.write("folder/README.md", "# Pairs");
    for (file, spec, bytes) in [
        ("x.jsonl.gz", "x.jsonl.gz", gzip.finish().unwrap()),
        (
            "x.json.zst",
            "x.json.zst",
            zstd::encode_all(OK.as_bytes(), 3).unwrap(),
        ),
        ("array.json", "array.json", format!("[{OK}]").into_bytes()),
        ("folder/deep/x.jsonl", "folder", OK.into()),
        ("glob-1.jsonl", "glob-*.jsonl", OK.into()),
    ] {
        sandbox.write(file, bytes);
        let found = inspect(&sandbox, spec);
        assert_eq!(
            (found.pair(), found.audit()["kept"].clone()),
            (expected.clone(), json!(1)),
            "{spec}"
        );
    }
    let fed = sandbox.run_fed("inspect --json -", OK.as_bytes());
    assert_eq!(Inspected::of(fed).pair(), expected);
    sandbox
        .run_fed(
            "train --data - --out out --device cpu --cache-dir cache",
            OK.as_bytes(),
        )
        .ok();
    assert_eq!(steps(&sandbox.metrics("out")).len(), 1);
    let twice = sandbox.train("--data - --eval-data - --out other");
    twice.refused(&["standard input", "twice"]);
}

/// The text of each part of the first pair, and the shapes that were read.
#[track_caller]
fn read(records: &[Value]) -> ([String; 3], Vec<String>) {
    let found = inspect_lines(&jsonl(records.iter().cloned()));
    let parts = ["prompt", "chosen", "rejected"]
        .map(|part| found.text(0, part).replace("<|endoftext|>", ""));
    let shapes = found.audit()["read_as"].as_object().unwrap();
    (parts, shapes.keys().cloned().collect())
}

const FROG: &str = "What does a frog say?";

#[test]
fn shapes() {
    let [chosen, rejected] = ["A frog says croak.", "Croak."];
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let from = |role: &str, text: &str| json!({"from": role, "value": text});
    let turns = |text: &str| json!([said("user", FROG), said("assistant", text)]);
    let transcript = |text: &str| format!("\n\nHuman: {FROG}\n\nAssistant: {text}");
    let labelled =
        |text: &str, label: bool| json!({"prompt": FROG, "completion": text, "label": label});
    let asked = |key: &str| json!({key: FROG, "chosen": chosen, "rejected": rejected});
    for records in [
        vec![asked("prompt")],
        vec![asked("question")],
        vec![asked("instruction")],
        vec![asked("query")],
        vec![json!({"chosen": turns(chosen), "rejected": turns(rejected)})],
        vec![json!({"chosen": transcript(chosen), "rejected": transcript(rejected)})],
        vec![
            json!({"conversations": [from("human", FROG)], "chosen": from("gpt", chosen), "rejected": from("gpt", rejected)}),
        ],
        vec![labelled(chosen, true), labelled(rejected, false)],
        vec![json!({"prompt": FROG, "completions": [
            {"text": "Moo.", "score": 4}, {"text": rejected, "score": 1}, {"text": chosen, "score": 9.5}]})],
    ] {
        let (parts, shapes) = read(&records);
        let prompt = format!("User: {FROG}\nAssistant: ");
        assert_eq!(parts, [&prompt[..], chosen, rejected], "{records:?}");
        assert_eq!(shapes.len(), 1, "{shapes:?}");
    }
    // Without a turn boundary, texts are cut at the last white space before the first difference.
    let (parts, _) =
        read(&[json!({"chosen": "The frog says croak.", "rejected": "The frog says moo."})]);
    assert!(parts[0].contains("The frog says"), "{parts:?}");
    assert!(
        parts[1].trim() == "croak." && parts[2].trim() == "moo.",
        "{parts:?}"
    );
    refuses_lines(
        r#"{"chosen":"The frog.","rejected":"The frog."}"#,
        &["equal"],
    );
}

#[test]
fn how_it_was_read_is_said_once() {
    let sandbox = Sandbox::new();
    sandbox.write("x.jsonl", [OK, OK, OK].join("\n"));
    let ran = sandbox.train("--data x.jsonl --out out --epochs 2").ok();
    assert_eq!(ran.stdout.matches("read as ").count(), 1, "{ran:?}");
    assert!(
        ran.stdout
            .contains("read as prompt, chosen and rejected as text: 3 of x.jsonl"),
        "{ran:?}"
    );
}

#[test]
fn supervised_training_takes_single_answers() {
    let sandbox = Sandbox::new();
    let turns = json!([{"role": "user", "content": FROG}, {"role": "assistant", "content": "A frog says croak."}]);
    let losses = [
        json!({"prompt": FROG, "completion": "A frog says croak."}),
        json!({"messages": turns}),
        json!({"prompt": FROG, "chosen": "A frog says croak.", "rejected": "Croak."}),
    ]
    .map(|record| {
        sandbox.write("x.jsonl", record.to_string());
        sandbox
            .train("--loss sft --data x.jsonl --out sft --overwrite")
            .ok();
        number(&steps(&sandbox.metrics("sft"))[0], "loss")
    });
    assert!(
        losses.iter().all(|loss| *loss == losses[0] && *loss > 0.0),
        "{losses:?}"
    );
    sandbox.write(
        "x.jsonl",
        json!({"prompt": FROG, "completion": "Croak."}).to_string(),
    );
    sandbox.refuses("--data x.jsonl", &["x.jsonl:1", "--loss sft"]);
}
