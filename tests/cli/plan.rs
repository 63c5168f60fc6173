//! `train --plan`: the memory that a run would take, before it takes any.

use std::collections::BTreeMap;
use std::fs;

use crate::models::{untrained, untrained_with_positions};
use crate::sandbox::{GPU, Sandbox};

/// The number of buffers and the MiB in each row of the table.
fn table(stdout: &str) -> BTreeMap<String, (usize, f64)> {
    let rows = stdout.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, buffers, mib, ..] = words[..] else {
            return None;
        };
        Some((kind.to_owned(), (buffers.parse().ok()?, mib.parse().ok()?)))
    });
    rows.collect()
}

#[test]
fn a_plan_lists_every_kind_of_buffer_and_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    let model = sandbox.starter("model");
    let before = sandbox.list(".");
    // The plan does not even read the weights.
    fs::write(model.join("model.safetensors"), "").unwrap();
    let options = "--plan --model model --data d.jsonl --eval-data e.jsonl --cache-dir cache";
    for device in ["cpu", GPU] {
        let plan = |more: &str| {
            let command = format!("train {options} --device {device} {more}");
            sandbox.run(&command).ok().stdout
        };
        let stdout = plan("");
        let rows = table(&stdout);
        let mib = |kind: &str| rows[kind].1;
        let kinds = [
            "weights",
            "gradients",
            "optimizer",
            "activations",
            "head",
            "reference",
            "inputs",
        ];
        let sum: f64 = kinds.iter().map(|kind| mib(kind)).sum();
        assert!((sum - mib("all")).abs() < 0.5, "{stdout}");
        assert!((mib("optimizer") - 2.0 * mib("weights")).abs() < 0.2);
        assert_eq!(rows["reference"], (0, 0.0));
        for line in [
            "device ", "model ", "pairs ", "step ", "buffers ", "splits ", "head ", "memory ",
        ] {
            assert!(stdout.lines().any(|l| l.starts_with(line)), "{stdout}");
        }
        let tells = stdout.contains(": it fits");
        assert_eq!(tells, device == "cpu", "{stdout}");

        let on_the_fly = format!(
            "train --plan --model model --data d.jsonl --device {device} --reference on-the-fly"
        );
        let frozen = table(&sandbox.run(&on_the_fly).ok().stdout);
        assert_eq!(frozen["reference"], frozen["weights"]);

        let hint = stdout.lines().find(|line| line.starts_with("less "));
        let hint = hint.unwrap().split_whitespace().nth(1).unwrap();
        let checkpointed = plan("--checkpoint-activations");
        assert_eq!(format!("{:.1}", table(&checkpointed)["all"].1), hint);
        assert!(!checkpointed.contains("less "), "{checkpointed}");
    }
    assert_eq!(sandbox.list("."), before);
}

#[test]
fn a_plan_of_the_starter() {
    let sandbox = Sandbox::new();
    let stdout = sandbox.run("train --plan --device cpu").ok().stdout;
    assert!(stdout.contains("640 to train on, 160 held out"), "{stdout}");
    assert!(!sandbox.exists("runs"));
}

#[test]
fn a_plan_says_how_tensors_are_split() {
    let sandbox = Sandbox::new();
    untrained(&sandbox, "model", 4096, 96);
    let plan = |limit: usize| {
        let options = format!("--plan --model model --data d.jsonl --max-binding-mib {limit}");
        sandbox.run(&format!("train {options} --device cpu")).ok()
    };
    let whole = plan(0).stdout;
    assert!(whole.contains("the vocabulary matrix in 1,"), "{whole}");
    let split = plan(1).stdout;
    assert!(split.contains("the vocabulary matrix in 2,"), "{split}");
}

/// A plan is refused for the same reason as the training: here the positions take 1.1 MiB.
#[test]
fn a_plan_refuses_what_training_refuses() {
    let sandbox = Sandbox::new();
    untrained_with_positions(&sandbox, "model", 3000, 1024, 96);
    let options = "--model model --data d.jsonl --max-binding-mib 1";
    sandbox.refuses(options, &["wpe.weight", "cannot be split"]);
    let refusal = |more: &str| sandbox.train(&format!("{options} {more}")).stderr;
    assert_eq!(refusal("--plan"), refusal("--out out"));
}
