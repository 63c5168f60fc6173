//! Evaluations of a run: named sets, answers to prompts; and `eval` with any loss, for one model or two.

use serde_json::{Value, json};

use crate::sandbox::{
    Ran, Row, Sandbox, assert_near, evals, jsonl, number, starter_lines, starter_records,
};

/// The rows of samples.
fn samples(rows: &[Row]) -> Vec<Row> {
    let is_sample = |row: &&Row| row.contains_key("sample");
    rows.iter().filter(is_sample).cloned().collect()
}

/// `eval --json` of the model `out` on `e.jsonl` with these options.
fn evaluate(sandbox: &Sandbox, options: &str) -> (Row, Ran) {
    let ran = sandbox
        .run(&format!(
            "eval --device cpu --data e.jsonl --json {options}"
        ))
        .ok();
    match serde_json::from_str(&ran.stdout) {
        Ok(Value::Object(row)) => (row, ran),
        other => panic!("{other:?} {ran:?}"),
    }
}

#[test]
fn sets_have_names() {
    let sandbox = Sandbox::new();
    sandbox.write("more.jsonl", starter_lines("eval.jsonl", 7));
    let run = "--data d.jsonl --max-steps 1 --learning-rate 1e-3 --batch-size 3 --out";
    let both = "--eval-data e.jsonl --eval-data more=more.jsonl";
    let ran = sandbox.train(&format!("{run} both {both}")).ok();
    assert!(ran.stdout.contains("step 1: held-out loss "), "{ran:?}");
    assert!(ran.stdout.contains("step 1: more: loss "), "{ran:?}");
    let rows = evals(&sandbox.metrics("both"));
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!(number(row, "eval_pairs"), 4.0);
        assert_eq!(number(row, "eval_more_pairs"), 7.0);
    }
    sandbox
        .train(&format!("{run} more --eval-data more.jsonl"))
        .ok();
    let alone = evals(&sandbox.metrics("more")).pop().unwrap();
    let (ours, theirs) = (
        number(&rows[1], "eval_more_loss"),
        number(&alone, "eval_loss"),
    );
    assert_eq!(ours, theirs);
    let report: Value = serde_json::from_slice(&sandbox.read("both/data.json")).unwrap();
    assert_eq!(report["held_out"], 11);
    assert_eq!(report["eval"][1]["data"], "more.jsonl");

    // A run.toml names them again, and one set may stand there without brackets.
    sandbox.run("train --config both/run.toml --out again").ok();
    assert!(sandbox.read("again/model.safetensors") == sandbox.read("both/model.safetensors"));
    sandbox.write(
        "one.toml",
        "data = \"d.jsonl\"\neval-data = \"held=e.jsonl\"\n",
    );
    sandbox
        .run("train --config one.toml --device cpu --cache-dir cache --max-steps 1 --out one")
        .ok();
    let row = &sandbox.metrics("one")[0];
    assert_eq!(number(row, "eval_held_rewards/ties"), 1.0);

    for (options, fragments) in [
        ("--eval-data e.jsonl --eval-data more.jsonl", "no name"),
        (
            "--eval-data a=e.jsonl --eval-data a=more.jsonl",
            "the name a",
        ),
        ("--eval-data a=", "--eval-data: is empty"),
        ("--eval-data a=none.jsonl", "none.jsonl"),
    ] {
        sandbox.refuses(&format!("--data d.jsonl {options}"), &[fragments]);
    }
}

#[test]
fn a_run_shows_what_it_answers() {
    let sandbox = Sandbox::new();
    let run = "--data d.jsonl --eval-data e.jsonl --max-steps 2 --eval-steps 1 --learning-rate 1e-3 --batch-size 6";
    let ran = sandbox.train(&format!("{run} --out out")).ok();
    let rows = samples(&sandbox.metrics("out"));
    assert_eq!(rows.len(), 3 * 3, "three prompts, three evaluations");
    let said = |row: &Row, what: &str| row[what].as_str().unwrap().to_owned();
    for row in &rows {
        // Where no other reference is named, the start is it, and so is what was answered before.
        let first = &rows[number(row, "sample") as usize - 1];
        assert_eq!(row["reference"], first["policy"]);
        assert_eq!(row["prompt"], first["prompt"]);
    }
    for row in &rows[6..] {
        assert!(
            ran.stdout.contains(said(row, "prompt").trim_end()),
            "{ran:?}"
        );
        for (when, what) in [("before", "reference"), ("after", "policy")] {
            let line = format!(
                "  {:<11}{}\n",
                format!("{when}:"),
                said(row, what).trim_end()
            );
            assert!(ran.stdout.contains(&line), "{line:?}\n{ran:?}");
        }
    }
    assert!(
        ran.stdout.contains("samples 3 prompts at each evaluation"),
        "{ran:?}"
    );

    // The numbers do not depend on them.
    let ran = sandbox
        .train(&format!("{run} --sample-prompts 0 --out none"))
        .ok();
    assert!(!ran.stdout.contains("before:"), "{ran:?}");
    let none = sandbox.metrics("none");
    assert!(samples(&none).is_empty());
    assert_eq!(evals(&none), evals(&sandbox.metrics("out")));
    assert!(sandbox.read("none/model.safetensors") == sandbox.read("out/model.safetensors"));
}

#[test]
fn prompts_from_a_file_need_no_held_out_pairs() {
    let sandbox = Sandbox::new();
    sandbox.write("prompts.txt", "What is two?\n\nIs it\\nthere?\n");
    let run = "--data d.jsonl --max-steps 2 --batch-size 2 --eval-steps 1";
    let ran = sandbox
        .train(&format!("{run} --sample-prompts prompts.txt --out told"))
        .ok();
    let rows = sandbox.metrics("told");
    assert!(evals(&rows).is_empty());
    let rows = samples(&rows);
    assert_eq!(rows.len(), 3 * 2);
    assert_eq!(rows[0]["prompt"], "User: What is two?\nAssistant: ");
    assert_eq!(rows[1]["prompt"], "User: Is it\nthere?\nAssistant: ");
    assert!(ran.stdout.contains("User: What is two?"), "{ran:?}");

    sandbox.write("empty.txt", "\n");
    sandbox.write("long.txt", "word ".repeat(400));
    for (options, fragments) in [
        (
            "--sample-prompts 2",
            ["--sample-prompts", "no held-out pairs"],
        ),
        ("--sample-prompts none.txt", ["none.txt", "read"]),
        ("--sample-prompts empty.txt", ["empty.txt", "no line"]),
        ("--sample-prompts long.txt", ["long.txt", "tokens"]),
        ("--sample-prompts=", ["--sample-prompts", "empty"]),
    ] {
        sandbox.refuses(&format!("--data d.jsonl {options}"), &fragments);
    }
    // Nobody could read the answers of a model without a tokenizer.
    sandbox.starter("model");
    std::fs::remove_file(sandbox.path("model/tokenizer.json")).unwrap();
    let ids = json!({"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4]});
    sandbox.write("ids.jsonl", jsonl([ids]));
    let run = "--model model --data ids.jsonl --eval-data ids.jsonl --max-steps 1";
    sandbox.refuses(
        &format!("{run} --sample-prompts 1"),
        &["--sample-prompts", "tokenizer"],
    );
    sandbox.train(&format!("{run} --out ids")).ok();
    assert!(samples(&sandbox.metrics("ids")).is_empty());
}

#[test]
fn the_plan_has_the_memory_of_answers() {
    let sandbox = Sandbox::new();
    let all = |options: &str| {
        let ran = sandbox
            .train(&format!(
                "--plan --data d.jsonl --eval-data e.jsonl {options}"
            ))
            .ok();
        let line = ran.stdout.lines().find(|line| line.starts_with("all "));
        let words: Vec<&str> = line.unwrap().split_whitespace().collect();
        words[1].parse::<usize>().unwrap()
    };
    assert!(all("") > all("--sample-prompts 0"));
}

#[test]
fn eval_reports_the_loss_of_the_run() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    for options in [
        "--loss ipo --beta 0.5",
        "--loss robust --label-smoothing 0.1",
        "--loss sigmoid --sft-weight 0.5",
        "--loss discopop --discopop-tau 0.1",
        "--loss sft",
    ] {
        let run = format!("--model model --max-steps 3 --learning-rate 1e-3 {options} --overwrite");
        let last = evals(&sandbox.metrics_of("out", &run)).pop().unwrap();
        let (row, ran) = evaluate(&sandbox, "--model out");
        assert!(ran.stderr.contains("from out/run.toml: --"), "{ran:?}");
        let names: Vec<&String> = last
            .keys()
            .filter(|name| name.starts_with("eval_"))
            .collect();
        assert!(names.len() > 3, "{last:?}");
        for name in names {
            let (ours, theirs) = (number(&row, name), number(&last, name));
            let near = (ours - theirs).abs() <= 1e-6 * theirs.abs().max(1.0);
            assert!(near, "{options} {name}: {ours} {theirs}");
        }
        // The same by flags, for a model of whose run nothing is known.
        std::fs::remove_file(sandbox.path("out/run.toml")).unwrap();
        let reference = match options.contains("sft") && !options.contains("sigmoid") {
            true => "",
            false => "--reference model",
        };
        let (flags, _) = evaluate(&sandbox, &format!("--model out {reference} {options}"));
        assert_eq!(flags, row, "{options}");
    }
    for (options, fragments) in [
        (
            "--loss hinge --label-smoothing 0.1",
            ["--label-smoothing", "hinge"],
        ),
        ("--loss sft --reference model", ["--reference", "sft"]),
        ("--loss kto", ["--loss", "sigmoid"]),
        ("--versus none", ["none", "not in the cache"]),
        ("--per-pair e.jsonl", ["--per-pair", "holds the data"]),
        ("--per-pair none/rows.jsonl", ["rows.jsonl", "write"]),
    ] {
        let run = "eval --model model --data e.jsonl --device cpu";
        let reference = match options.contains("--reference") {
            true => "",
            false => "--reference model",
        };
        let ran = sandbox.run(&format!("{run} {reference} {options}"));
        ran.refused(&fragments);
    }
}

#[test]
fn two_models_on_the_same_pairs() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    let train = |out: &str, options: &str| {
        let run = format!("--model model --learning-rate 1e-3 {options}");
        sandbox.metrics_of(out, &run);
    };
    train("out", "--max-steps 6");
    train("other", "--max-steps 2");
    let (row, _) = evaluate(&sandbox, "--model out --versus other --per-pair rows.jsonl");
    let (ours, _) = evaluate(&sandbox, "--model out");
    let (theirs, _) = evaluate(&sandbox, "--model other");
    for (name, value) in &ours {
        assert_eq!(row[name], *value, "{name}");
        let versus = format!("versus_{}", name.trim_start_matches("eval_"));
        assert_eq!(row[&versus], theirs[name], "{versus}");
    }
    for name in ["loss", "rewards/accuracies", "rewards/margins"] {
        let [ours, theirs] = [&ours, &theirs].map(|row| number(row, &format!("eval_{name}")));
        let found = number(&row, &format!("difference_{name}"));
        assert_near(&[found], &[ours - theirs], 1e-6);
        let [low, high] =
            ["low", "high"].map(|end| number(&row, &format!("difference_{name}_{end}")));
        assert!(low <= found && found <= high, "{row:?}");
    }

    let rows = String::from_utf8(sandbox.read("rows.jsonl")).unwrap();
    let rows: Vec<Value> = rows
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[1]["place"], "e.jsonl:2");
    let mean = |of: &dyn Fn(&Value) -> &Value| {
        rows.iter()
            .map(|row| of(row).as_f64().unwrap())
            .sum::<f64>()
            / 4.0
    };
    let means = [
        (mean(&|row| &row["loss"]), number(&row, "eval_loss")),
        (
            mean(&|row| &row["margin"]),
            number(&row, "eval_rewards/margins"),
        ),
        (
            mean(&|row| &row["chosen"]["logp"]),
            number(&row, "eval_logps/chosen"),
        ),
        (
            mean(&|row| &row["versus"]["margin"]),
            number(&row, "versus_rewards/margins"),
        ),
    ];
    for (found, expected) in means {
        assert_near(&[found], &[expected], 1e-5 * expected.abs().max(1.0));
    }
    let tokens = rows[0]["rejected"]["tokens"].as_u64().unwrap();
    assert!(tokens > 0 && rows[0]["prompt_tokens"].as_u64().unwrap() > 0);

    let text = "eval --model out --versus other --data e.jsonl --device cpu";
    let ran = sandbox.run(text).ok();
    for said in [
        "versus  other",
        "against model",
        "difference_rewards/margins_low",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {ran:?}");
    }
}

#[test]
fn a_loss_on_chosen_responses_has_pairs_without_rejected_ones() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    let records = starter_records("eval.jsonl", 4).into_iter();
    let demonstrations =
        records.map(|record| json!({"prompt": record["prompt"], "completion": record["chosen"]}));
    sandbox.write("e.jsonl", jsonl(demonstrations));
    let (row, _) = evaluate(&sandbox, "--model model --loss sft --per-pair rows.jsonl");
    assert_eq!(row.get("eval_rewards/accuracies"), None);
    let rows = String::from_utf8(sandbox.read("rows.jsonl")).unwrap();
    let first: Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    assert_eq!(first["margin"], Value::Null);
    assert_eq!(first["rejected"], Value::Null);
    assert_eq!(first["chosen"]["log_ratio"], Value::Null);
    assert!(first["chosen"]["end_logp"].as_f64().unwrap() < 0.0);
}

/// A run that goes on answers the prompts that it began with.
#[test]
fn prompts_that_changed_are_named() {
    let sandbox = Sandbox::new();
    sandbox.write("prompts.txt", "a\nb\n");
    sandbox
        .train(
            "--out out --data d.jsonl --batch-size 2 --max-steps 2 --save-steps 2 \
             --sample-prompts prompts.txt",
        )
        .ok();
    sandbox.write("prompts.txt", "a\nc\n");
    let resume = "train --resume out/checkpoints/step-2";
    sandbox
        .run(resume)
        .refused(&["--sample-prompts", "not those that the run answers"]);
    let ran = sandbox.run(&format!("{resume} --resume-anyway")).ok();
    assert!(ran.stderr.contains("--sample-prompts"), "{ran:?}");
    sandbox.write("prompts.txt", "a\nb\n");
    sandbox.run(resume).ok();
}
