//! Adapters through the program: training, its output, going on, and `eval`, `generate` and `merge` with them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::models::untrained;
use crate::sandbox::{
    GPU, LN_2, Sandbox, assert_near, evals, number, numbers, steps, without_speeds,
};

const RUN: &str = "--model base --learning-rate 1e-3 --max-steps 6 --batch-size 2";

/// A sandbox with the starter's model in `base`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.starter("base");
    sandbox
}

fn json(sandbox: &Sandbox, name: &str) -> Value {
    serde_json::from_slice(&sandbox.read(name)).unwrap()
}

/// What `eval` reports with these options.
fn judged(sandbox: &Sandbox, options: &str) -> Value {
    let ran = sandbox.run(&format!(
        "eval --device cpu --json --data e.jsonl {options}"
    ));
    serde_json::from_str(&ran.ok().stdout).unwrap()
}

#[track_caller]
fn assert_same_judgement(ours: &Value, theirs: &Value) {
    for name in ["eval_loss", "eval_rewards/margins", "eval_logps/chosen"] {
        assert_near(
            &[ours[name].as_f64().unwrap()],
            &[theirs[name].as_f64().unwrap()],
            1e-4,
        );
    }
}

#[test]
fn adapters_from_training_to_a_merged_model() {
    for device in ["cpu", GPU] {
        let sandbox = sandbox();
        let options = format!("{RUN} --lora-rank 4 --device {device}");
        let ran = sandbox.train(&format!(
            "--out out --data d.jsonl --eval-data e.jsonl --gradient-accumulation-steps 1 {options}"
        ));
        let text = ran.ok().stdout;
        assert!(
            text.contains("adapters of rank 4, factor 8/4, beside all-linear"),
            "{text}"
        );
        assert_eq!(
            sandbox.list("out"),
            [
                "adapter_config.json",
                "adapter_model.safetensors",
                "data.json",
                "metrics.jsonl",
                "run.toml",
                "tokenizer.json",
                "tokenizer_config.json",
            ]
        );
        let config = json(&sandbox, "out/adapter_config.json");
        assert_eq!(config["base_model_name_or_path"], "base");
        assert_eq!(config["fan_in_fan_out"], true);
        let rows = sandbox.metrics("out");
        let losses = numbers(&steps(&rows), "loss");
        assert_near(&losses[..1], &[LN_2], 1e-6);
        assert!(losses[5] < losses[0], "{losses:?}");

        // The end of the run, the adapter by its folder or beside its base, and the merged model are one.
        let last = Value::Object(evals(&rows).last().unwrap().clone());
        assert_same_judgement(&judged(&sandbox, "--model out"), &last);
        assert_same_judgement(&judged(&sandbox, "--model base --adapter out"), &last);
        let ran = sandbox.run("merge --adapter out --out merged").ok();
        assert!(ran.stdout.contains("merged"), "{ran:?}");
        assert_same_judgement(&judged(&sandbox, "--model merged --reference base"), &last);
        let text = |options: &str| {
            let ran = sandbox.run_with(
                &format!("generate --device cpu --max-new-tokens 12 {options} --message")
                    .split_whitespace()
                    .chain(["What is it?"])
                    .collect::<Vec<_>>(),
            );
            ran.ok().stdout
        };
        let merged = text("--model merged");
        assert!(!merged.trim().is_empty());
        for options in ["--model out", "--adapter out", "--model base --adapter out"] {
            assert_eq!(text(options), merged, "{options}");
        }
        // The base has not changed, and the program says so of the whole.
        let files =
            ["model.safetensors", "config.json"].map(|name| sandbox.read(&format!("base/{name}")));
        sandbox.starter("again");
        let starter =
            ["model.safetensors", "config.json"].map(|name| sandbox.read(&format!("again/{name}")));
        assert!(files == starter);
    }
}

/// The files of a run but those that hold times.
fn kept(sandbox: &Sandbox, out: &str) -> Vec<Vec<u8>> {
    [
        "adapter_config.json",
        "adapter_model.safetensors",
        "run.toml",
    ]
    .map(|name| sandbox.read(&format!("{out}/{name}")))
    .into()
}

#[test]
fn a_run_with_adapters_goes_on_with_the_same_bytes() {
    let sandbox = sandbox();
    let options =
        format!("{RUN} --lora-rank 4 --lora-targets c_attn,mlp.c_proj --use-rslora --save-steps 2");
    sandbox.metrics_of("whole", &options);
    sandbox.metrics_of("cut", &options);
    let ran = sandbox.run("train --resume cut").ok();
    assert!(ran.stdout.contains("nothing is left to do"), "{ran:?}");
    // A checkpoint is an adapter, too.
    judged(&sandbox, "--model cut/checkpoints/step-4");
    sandbox.run("train --resume cut/checkpoints/step-4").ok();
    let without_out = |out: &str| {
        let mut files = kept(&sandbox, out);
        let run = String::from_utf8(files.pop().unwrap()).unwrap();
        (files, run.replace(&format!("out = \"{out}\""), ""))
    };
    assert!(without_out("cut") == without_out("whole"));
    let rows = |out: &str| without_speeds(sandbox.metrics(out));
    assert_eq!(rows("cut"), rows("whole"));

    for (flags, named, why) in [
        ("--lora-rank 8", "--lora-rank", "other tensors"),
        ("--lora-alpha 3", "--lora-alpha", "would change the result"),
        ("--lora-targets c_fc", "--lora-targets", "other tensors"),
    ] {
        sandbox
            .run(&format!("train --resume cut/checkpoints/step-4 {flags}"))
            .refused(&[named, why]);
    }
    sandbox
        .run("train --resume cut/checkpoints/step-4 --resume-anyway --lora-rank 8")
        .refused(&["--lora-rank", "other tensors"]);
    sandbox
        .run("train --resume cut/checkpoints/step-4 --resume-anyway --use-rslora=false --lora-rank 0 --lora-targets all-linear")
        .refused(&["--lora-", "other tensors"]);
}

#[test]
fn an_adapter_is_a_start() {
    let sandbox = sandbox();
    let first = sandbox.metrics_of("first", &format!("{RUN} --lora-rank 3 --lora-alpha 5"));
    let end = number(evals(&first).last().unwrap(), "eval_loss");
    // The reference stays the base: the second run begins where the first has ended.
    for reference in ["cached", "on-the-fly"] {
        let out = format!("second-{reference}");
        let options = format!("{RUN} --adapter first --reference {reference}");
        let second = sandbox.metrics_of(&out, &options);
        assert_near(&[number(&evals(&second)[0], "eval_loss")], &[end], 1e-6);
        assert!(number(evals(&second).last().unwrap(), "eval_loss") < end);
        let config = json(&sandbox, &format!("{out}/adapter_config.json"));
        assert_eq!(
            (config["r"].as_i64(), config["lora_alpha"].as_i64()),
            (Some(3), Some(5))
        );
        let run = String::from_utf8(sandbox.read(&format!("{out}/run.toml"))).unwrap();
        assert!(
            run.contains("lora-rank = 3\n") && run.contains("adapter = \"first\""),
            "{run}"
        );
    }
    // Its options are those of a run.
    sandbox
        .train("--config second-cached/run.toml --out again --max-steps 1")
        .ok();
    // Against itself as it was, the first loss is ln 2.
    sandbox.run("merge --adapter first --out merged").ok();
    let options = format!("{RUN} --adapter first --ref-model merged");
    let rows = sandbox.metrics_of("against", &options);
    assert_near(&[number(&evals(&rows)[0], "eval_loss")], &[LN_2], 1e-5);
    sandbox
        .train("--data d.jsonl --model base --adapter first --out first --overwrite")
        .refused(&["--out", "directory of a model of this run"]);
}

#[test]
fn a_part_of_a_model_is_trained() {
    let sandbox = sandbox();
    for (out, options, said) in [
        (
            "embeddings",
            "--freeze-embeddings",
            "all but the embeddings",
        ),
        ("layer", "--train-layers 1", "the last 1 layer"),
    ] {
        let ran = sandbox.train(&format!("--out {out} --data d.jsonl {RUN} {options}"));
        assert!(ran.ok().stdout.contains(said));
        let (ours, base) = (tensors(&sandbox.path(out)), tensors(&sandbox.path("base")));
        let layer = |name: &String| name.split(".h.").nth(1)?.split('.').next()?.parse().ok();
        let last: usize = base.keys().filter_map(layer).max().unwrap();
        for (name, bytes) in &base {
            let frozen = name.contains("wte") || name.contains("wpe");
            let is_below = |layer: usize| name.contains(&format!(".h.{layer}."));
            let frozen = frozen || (out == "layer" && (0..last).any(is_below));
            assert_eq!(ours[name] == *bytes, frozen, "{out}: {name}");
        }
    }
    sandbox.refuses(
        &format!("--data d.jsonl {RUN} --train-layers 99"),
        &["--train-layers", "99", "layers"],
    );
}

fn tensors(dir: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let stored = crate::models::tensors(dir).into_iter();
    stored.map(|(name, stored)| (name, stored.bytes)).collect()
}

#[test]
fn options_that_cannot_be_used() {
    let sandbox = sandbox();
    for (options, fragments) in [
        (
            "--lora-rank 4 --lora-dropout 0.1",
            &["--lora-dropout", "TRL"][..],
        ),
        ("--lora-rank 99999", &["--lora-rank"]),
        ("--lora-rank x", &["--lora-rank"]),
        ("--lora-rank 4 --lora-alpha 0", &["--lora-alpha"]),
        ("--lora-rank 4 --lora-alpha nan", &["--lora-alpha"]),
        (
            "--lora-rank 4 --lora-targets wte",
            &["wte", "c_attn, c_proj, c_fc"],
        ),
        (
            "--lora-rank 4 --lora-targets h.9.mlp.c_fc",
            &["--lora-targets", "h.9.mlp.c_fc"],
        ),
        ("--lora-alpha 4", &["--lora-alpha", "without adapters"]),
        (
            "--lora-targets c_fc",
            &["--lora-targets", "without adapters"],
        ),
        ("--use-rslora", &["--use-rslora", "without adapters"]),
        (
            "--lora-rank 4 --train-layers 1",
            &["--train-layers", "--lora-rank"],
        ),
        (
            "--lora-rank 4 --freeze-embeddings",
            &["--freeze-embeddings", "--lora-rank"],
        ),
        (
            "--adapter a --freeze-embeddings",
            &["--freeze-embeddings", "--adapter"],
        ),
        ("--adapter a --lora-rank 4", &["--lora-rank", "--adapter"]),
        (
            "--freeze-embeddings --train-layers 1",
            &["--freeze-embeddings", "--train-layers"],
        ),
        ("--adapter absent", &["absent", "no adapter_config.json"]),
    ] {
        sandbox.refuses(&format!("--data d.jsonl --model base {options}"), fragments);
    }
}

#[test]
fn an_adapter_that_does_not_fit_is_refused() {
    let sandbox = sandbox();
    sandbox.metrics_of("first", &format!("{RUN} --lora-rank 3"));
    untrained(&sandbox, "wide", 1024, 96);
    sandbox.refuses(
        "--data d.jsonl --model wide --adapter first",
        &["lora_A.weight", "base model"],
    );
    sandbox
        .run("eval --device cpu --data e.jsonl --model wide --adapter first")
        .refused(&["lora_A.weight", "base model"]);
    sandbox
        .run("merge --model wide --adapter first --out merged")
        .refused(&["lora_A.weight", "base model"]);
    assert!(!sandbox.exists("merged"));
    sandbox
        .run("merge --adapter first --out base")
        .refused(&["base", "not empty"]);
    sandbox
        .run("merge --adapter base --out merged")
        .refused(&["base", "no adapter_config.json"]);
    // A folder of an adapter is no model to train.
    sandbox.refuses(
        "--data d.jsonl --model first",
        &["an adapter", "--adapter", "merge"],
    );
    // Without a base to find.
    let path = sandbox.path("first/adapter_config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"base\"", "null")).unwrap();
    fs::remove_file(sandbox.path("first/run.toml")).unwrap();
    sandbox
        .run("eval --device cpu --data e.jsonl --model first")
        .refused(&["names no base model", "--model", "--adapter"]);
    fs::write(&path, text.replace("\"base\"", "\"./gone\"")).unwrap();
    sandbox
        .run("generate --device cpu --adapter first --prompt Hi")
        .refused(&["first", "base is not found", "gone", "--model"]);
    // The reference of an adapter without a run is its base.
    judged(&sandbox, "--model base --adapter first");
}

#[test]
fn the_starter_takes_adapters() {
    let sandbox = Sandbox::new();
    let text = sandbox
        .train("--lora-rank 4 --max-steps 2 --out out")
        .ok()
        .stdout;
    assert!(text.contains("before:"), "{text}");
    assert_eq!(
        json(&sandbox, "out/adapter_config.json")["base_model_name_or_path"],
        Value::Null
    );
    judged(&sandbox, "--model out");
    let plan = sandbox.train("--lora-rank 4 --plan").ok().stdout;
    assert!(plan.contains("adapters of rank 4"), "{plan}");
}
