//! `eval` and `generate` on a trained model.

use serde_json::Value;

use crate::models::untrained;
use crate::sandbox::{LN_2, Row, Sandbox, evals, number};

/// `eval --json` with these options: one object on one line.
fn evaluate(sandbox: &Sandbox, options: &str) -> Row {
    let ran = sandbox
        .run(&format!("eval --json --device cpu {options}"))
        .ok();
    match serde_json::from_str(&ran.stdout) {
        Ok(Value::Object(row)) => row,
        other => panic!("{other:?} {ran:?}"),
    }
}

#[test]
fn eval_says_what_training_said_at_its_end() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    let rows = sandbox.metrics_of(
        "out",
        "--model model --batch-size 2 --epochs 2 --learning-rate 1e-3 --beta 0.2",
    );
    let last = evals(&rows).pop().unwrap();
    assert!(
        number(&last, "eval_rewards/margins").abs() > 0.1,
        "it moved: {last:?}"
    );
    // The batch size does not matter.
    for batch_size in [1, 4] {
        let row = evaluate(
            &sandbox,
            &format!(
                "--model out --reference model --data e.jsonl --beta 0.2 --batch-size {batch_size}"
            ),
        );
        let names = last.keys().filter(|name| name.starts_with("eval_"));
        assert!(names.clone().count() > 6);
        for name in names {
            let (ours, theirs) = (number(&row, name), number(&last, name));
            assert!(
                (ours - theirs).abs() <= 1e-6 * theirs.abs().max(1.0),
                "{name}: {ours} {theirs}"
            );
        }
    }
    let table = sandbox
        .run("eval --model out --reference model --data e.jsonl --device cpu")
        .ok();
    for name in [
        "eval_loss",
        "eval_rewards/accuracies",
        "eval_rewards/margins",
    ] {
        assert!(table.stdout.contains(name), "{table:?}");
    }
}

#[test]
fn a_model_does_not_differ_from_itself() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    let row = evaluate(&sandbox, "--model model --reference model --data e.jsonl");
    assert!((number(&row, "eval_loss") - LN_2).abs() < 1e-6);
    assert_eq!(number(&row, "eval_rewards/accuracies"), 0.0);
    assert_eq!(number(&row, "eval_rewards/ties"), 1.0);
}

#[test]
fn eval_refuses_what_does_not_fit() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    untrained(&sandbox, "other", 1024, 32);
    for (options, fragments) in [
        (
            "--model model --reference other --data e.jsonl",
            ["--reference", "other"],
        ),
        (
            "--model absent --reference model --data e.jsonl",
            ["absent", "not in the cache"],
        ),
        (
            "--model model --reference absent --data e.jsonl",
            ["absent", "not in the cache"],
        ),
        (
            "--model model --reference model --data absent.jsonl",
            ["absent.jsonl", "no such file"],
        ),
        (
            "--model model --reference model --data e.jsonl --batch-size 0",
            ["--batch-size", "0"],
        ),
        (
            "--model model --reference model --data e.jsonl --beta 0",
            ["--beta", "0"],
        ),
        (
            "--model model --reference model --data e.jsonl --beta -1",
            ["--beta", "-1"],
        ),
        ("--model model --reference model", ["--data", "required"]),
    ] {
        sandbox
            .run(&format!("eval --device cpu {options}"))
            .refused(&fragments);
    }
}

const PROMPT: &str = r"User: What day comes after Wednesday?\nAssistant: ";

/// The output of `generate` for that prompt with these options.
fn generate(sandbox: &Sandbox, options: &str) -> String {
    let mut args = vec!["generate", "--prompt", PROMPT, "--device", "cpu"];
    args.extend(options.split_whitespace());
    sandbox.run_with(&args).ok().stdout
}

#[test]
fn generate_answers_and_repeats_itself() {
    let sandbox = Sandbox::new();
    sandbox.metrics_of("out", "--learning-rate 1e-4");
    let greedy = generate(&sandbox, "--model out");
    assert!(greedy.contains("Thursday"), "{greedy}");
    assert_eq!(generate(&sandbox, "--model out"), greedy);
    // A real newline means the same as \n.
    let prompt = PROMPT.replace("\\n", "\n");
    let args = [
        "generate", "--model", "out", "--device", "cpu", "--prompt", &prompt,
    ];
    assert_eq!(sandbox.run_with(&args).ok().stdout, greedy);
    // Without a model the starter answers.
    assert!(generate(&sandbox, "").contains("Thursday"));
}

#[test]
fn sampling_is_by_the_seed() {
    let sandbox = Sandbox::new();
    untrained(&sandbox, "model", 1024, 32);
    let sample = |options: &str| {
        generate(
            &sandbox,
            &format!("--model model --max-new-tokens 40 {options}"),
        )
    };
    let five = sample("--temperature 1 --seed 5");
    assert!(five.trim().len() > 20, "{five}");
    assert_eq!(sample("--temperature 1 --seed 5"), five);
    assert_ne!(sample("--temperature 1 --seed 6"), five);

    let greedy = sample("");
    assert_ne!(five, greedy);
    assert_eq!(sample("--temperature 1 --seed 5 --top-k 1"), greedy);
    assert_eq!(sample("--temperature 1 --seed 5 --top-p 1e-9"), greedy);
}

#[test]
fn generate_stops_where_it_is_told_or_the_positions_end() {
    let sandbox = Sandbox::new();
    untrained(&sandbox, "model", 1024, 32);
    let length =
        |count: &str| generate(&sandbox, &format!("--model model --max-new-tokens {count}")).len();
    assert_eq!(generate(&sandbox, "--model model --max-new-tokens 0"), "\n");
    assert!(length("5") < length("20"));
    assert_eq!(length("1000"), length("18446744073709551615"));
    let long = "hello ".repeat(200);
    let args = [
        "generate", "--model", "model", "--device", "cpu", "--prompt", &long,
    ];
    sandbox.run_with(&args).refused(&["--prompt", "128"]);
    let args = ["generate", "--device", "cpu", "--prompt", ""];
    sandbox.run_with(&args).refused(&["--prompt"]);
}

#[test]
fn generate_refuses_what_is_no_temperature_or_probability() {
    let sandbox = Sandbox::new();
    let generate = "generate --prompt hello --device cpu";
    for (option, values) in [
        ("--temperature", ["-1", "nan", "inf", "warm"]),
        ("--top-p", ["0", "-0.5", "1.5", "nan"]),
        ("--top-k", ["-1", "0.5", "x", "nan"]),
        ("--max-new-tokens", ["-1", "0.5", "x", "nan"]),
        ("--seed", ["-1", "0.5", "x", "nan"]),
    ] {
        for value in values {
            let temperature = if option == "--temperature" {
                ""
            } else {
                "--temperature 1"
            };
            let ran = sandbox.run(&format!("{generate} {temperature} {option} {value}"));
            ran.refused(&[option]);
        }
    }
    sandbox.run("generate --device cpu").refused(&["--prompt"]);
    sandbox
        .run("generate --device cpu --prompt hello --model absent")
        .refused(&["absent", "not in the cache"]);
}
