//! Models and data sets by their ids, from the command line, against a hub on this computer.

#[path = "../common/hub_server.rs"]
mod hub_server;

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::sandbox::{Ran, Sandbox, evals, numbers, steps};
use hub_server::HubServer;

const MODEL: &str = "openai-community/gpt2";
const DATA: &str = "HuggingFaceH4/ultrafeedback_binarized";

/// The card of the data set, reduced to the part about its splits.
const CARD: &str = "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files:\n\
    \x20 - split: train_prefs\n    path: data/train_prefs-*\n\
    \x20 - split: test_prefs\n    path: data/test_prefs-*\n\
    \x20 - split: test_sft\n    path: data/test_sft-*\n---\n# UltraFeedback\n";

fn of_repository(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A hub with the starter under GPT-2's name and a few pairs in UltraFeedback's files.
fn hub() -> HubServer {
    let server = HubServer::start();
    let model = ["config.json", "model.safetensors", "tokenizer.json"]
        .map(|file| (file, of_repository(&format!("examples/starter/{file}"))));
    server.model(MODEL, &model);
    let shard = |file: &str| of_repository(&format!("tests/data/{file}.parquet"));
    server.dataset(
        DATA,
        &[
            ("README.md", CARD.into()),
            (
                "data/train_prefs-00000-of-00001.parquet",
                shard("train_prefs"),
            ),
            (
                "data/test_prefs-00000-of-00001.parquet",
                shard("test_prefs"),
            ),
            ("data/test_sft-00000-of-00001.parquet", b"not read".to_vec()),
        ],
    );
    server
}

/// A sandbox that uses this hub and caches its files.
fn online(server: &HubServer) -> Sandbox {
    Sandbox::new()
        .with_env("HF_HUB_OFFLINE", "0")
        .with_env("HF_ENDPOINT", server.endpoint())
        .with_env("HF_TOKEN", "")
}

/// The run of the README with these options.
fn card(sandbox: &Sandbox, options: &str) -> Ran {
    sandbox.train(&format!(
        "--model {MODEL} --data {DATA}:train_prefs --eval-data {DATA}:test_prefs --limit 4 --eval-limit 2 {options}"
    ))
}

#[test]
fn the_cards_run_begins_with_nothing_but_a_connection() {
    let server = hub();
    let sandbox = online(&server);
    let run = "--batch-size 2 --gradient-accumulation-steps 1 --learning-rate 1e-4";
    let ran = card(&sandbox, &format!("--out out {run}")).ok();
    for said in [
        "model   openai-community/gpt2".to_owned(),
        "pairs   4 to train on, 2 held out".to_owned(),
        format!("of {DATA}:train_prefs"),
        "saved   out after 2 steps".to_owned(),
    ] {
        assert!(ran.stdout.contains(&said), "{said}: {ran:?}");
    }
    for said in [
        "openai-community/gpt2: commit ",
        &format!("{DATA}:train_prefs: train_prefs, "),
        &format!("note: {DATA}:train_prefs: columns not used: "),
        &format!("note: {DATA}:train_prefs: 1 pair dropped: both responses are equal"),
    ] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
    assert_eq!(steps(&sandbox.metrics("out")).len(), 2);
    let evals = numbers(&evals(&sandbox.metrics("out")), "eval_loss");
    assert!(evals.len() == 2 && evals[1] < evals[0], "{evals:?}");
    let asked: Vec<String> = server
        .take_seen()
        .into_iter()
        .map(|seen| seen.path)
        .collect();
    assert!(
        !asked.iter().any(|path| path.contains("test_sft")),
        "{asked:?}"
    );

    // Everything is cached: nothing is requested, and the bytes are the same.
    let offline = sandbox.with_env("HF_HUB_OFFLINE", "1");
    card(&offline, &format!("--out again {run}")).ok();
    assert_eq!(server.take_seen().len(), 0);
    let weights = |out: &str| offline.read(&format!("{out}/model.safetensors"));
    assert_eq!(weights("again"), weights("out"));
    let kept: Value = serde_json::from_slice(&offline.read("out/data.json")).unwrap();
    assert_eq!(kept["train"][0]["data"], format!("{DATA}:train_prefs"));
    offline
        .run(&format!("inspect {DATA}:train_prefs --tokenizer {MODEL}"))
        .ok();
    let eval = format!(
        "eval --model out --reference {MODEL} --data {DATA}:test_prefs --limit 2 --device cpu --json"
    );
    let row: Value = serde_json::from_str(&offline.run(&eval).ok().stdout).unwrap();
    let ours = row["eval_loss"].as_f64().unwrap();
    assert!((ours - evals[1]).abs() < 1e-6, "{ours} {evals:?}");
}

#[test]
fn gpt2_by_its_first_name() {
    let server = HubServer::start();
    let files = ["config.json", "model.safetensors", "tokenizer.json"]
        .map(|file| (file, of_repository(&format!("examples/starter/{file}"))));
    server.model("gpt2", &files);
    let sandbox = online(&server);
    let ran = sandbox
        .train("--model gpt2 --data d.jsonl --out out --max-steps 1")
        .ok();
    assert!(ran.stderr.contains("gpt2: commit "), "{ran:?}");
    // A local folder of that name takes precedence.
    let here = Sandbox::new();
    here.starter("gpt2");
    here.train("--model gpt2 --data d.jsonl --out out --max-steps 1")
        .ok();
}

/// The run must end with exit code 1 before it writes anything.
#[track_caller]
fn fails(sandbox: &Sandbox, options: &str, fragments: &[&str]) {
    let ran = sandbox.train(&format!("--out out {options}"));
    ran.refused(fragments);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!sandbox.exists("out"));
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let server = hub();
    let sandbox = online(&server);
    let model = format!("--model {MODEL}");
    fails(
        &sandbox,
        &format!("{model} --data {DATA}:train_pref"),
        &["train_pref", "train_prefs", "test_prefs"],
    );
    fails(
        &sandbox,
        &format!("{model} --data {DATA}"),
        &[DATA, "train_prefs", "test_prefs"],
    );
    fails(
        &sandbox,
        "--model openai-community/gpt --data d.jsonl",
        &["openai-community/gpt", "openai-community/gpt2"],
    );
    fails(
        &sandbox,
        &format!("{model} --data HuggingFaceH4/ultrafeedback_binarised:train_prefs"),
        &["ultrafeedback_binarised", DATA],
    );
    let offline = sandbox.with_env("HF_HUB_OFFLINE", "1");
    fails(
        &offline,
        "--model lab/never-seen --data d.jsonl",
        &["lab/never-seen", "HF_HUB_OFFLINE"],
    );
}

#[test]
fn a_gated_model_says_how_to_get_in_and_keeps_the_token_to_itself() {
    let server = hub();
    server.gate(&format!("models/{MODEL}"), "hf_right");
    let sandbox = online(&server);
    let run = format!("--model {MODEL} --data d.jsonl --max-steps 1");
    fails(&sandbox, &run, &[MODEL, "HF_TOKEN"]);
    let wrong = online(&server).with_env("HF_TOKEN", "hf_other");
    fails(&wrong, &run, &[MODEL]);
    let right = online(&server).with_env("HF_TOKEN", "hf_right");
    let ran = right.train(&format!("--out out {run}")).ok();
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains("hf_right"), "{ran:?}");
    }
    let run_file = String::from_utf8(right.read("out/run.toml")).unwrap();
    assert!(!run_file.contains("hf_right"));
}
