//! The output of a training run, and the effect of its options.

use safetensors::tensor::Dtype;

use crate::models::tensors;
use crate::sandbox::{
    LN_2, Row, Sandbox, assert_near, assert_same_losses, evals, number, numbers, starter_lines,
    steps,
};

#[test]
fn without_arguments_it_trains_the_starter_and_shows_what_changed() {
    let sandbox = Sandbox::new();
    let ran = sandbox.train("--max-steps 2").ok();
    let out = "runs/starter-1";
    for file in ["config.json", "tokenizer.json", "metrics.jsonl", "run.toml"] {
        assert!(sandbox.exists(&format!("{out}/{file}")), "{file}");
    }
    let tensors = tensors(&sandbox.path(out));
    assert!(!tensors.is_empty());
    assert!(tensors.values().all(|t| t.dtype == Dtype::F32));

    let held_out = evals(&sandbox.metrics(out));
    let (before, after) = (&held_out[0], &held_out[held_out.len() - 1]);
    assert!(number(after, "eval_rewards/margins") > 0.0, "learnt");
    let ending = ran.stdout.split_once("before").expect("what changed").1;
    for (name, metric) in [("accuracy", "accuracies"), ("margin", "margins")] {
        let line = ending.lines().find(|line| line.starts_with(name)).unwrap();
        let words = line.split_whitespace().skip(1);
        let shown: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
        let metric = format!("eval_rewards/{metric}");
        assert_near(
            &shown,
            &[number(before, &metric), number(after, &metric)],
            1e-4,
        );
    }
    let answers = |when: &str| {
        let line = |l: &&str| l.trim_start().strip_prefix(when).is_some_and(|a| a != " ");
        ending.lines().filter(line).count()
    };
    assert_eq!((answers("before:"), answers("after:")), (3, 3), "{ending}");
    assert_eq!(ran.stderr, "", "no progress bar where there is no terminal");

    // The run.toml also holds the options of the starter's recipe.
    sandbox
        .run(&format!("train --config {out}/run.toml --out again"))
        .ok();
    let weights = |out: &str| sandbox.read(&format!("{out}/model.safetensors"));
    assert!(weights("again") == weights(out));

    sandbox.train("--data d.jsonl").ok();
    let next = "runs/starter-2/model.safetensors";
    assert!(sandbox.exists(next), "the next run has its own folder");
}

#[test]
fn metrics_have_a_row_a_step_an_evaluation_and_a_sample() {
    let sandbox = Sandbox::new();
    let rows = sandbox.metrics_of(
        "out",
        "--batch-size 2 --eval-steps 2 --learning-rate 1e-4 --sample-prompts 1",
    );
    let kind = |row: &Row| {
        let kinds = ["loss", "eval_loss", "sample"];
        let kind = kinds.into_iter().find(|&key| row.contains_key(key));
        (kind.unwrap(), row["step"].as_u64().unwrap())
    };
    let kinds: Vec<_> = rows.iter().map(kind).collect();
    let (step, eval, sample) = ("loss", "eval_loss", "sample");
    assert_eq!(
        kinds,
        [
            (eval, 0),
            (sample, 0),
            (step, 1),
            (step, 2),
            (eval, 2),
            (sample, 2),
            (step, 3),
            (eval, 3),
            (sample, 3)
        ]
    );
    let of_pairs = [
        "loss",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/accuracies",
        "rewards/margins",
        "logps/chosen",
        "logps/rejected",
        "logits/chosen",
        "logits/rejected",
        "entropy",
        "mean_token_accuracy",
    ];
    for row in evals(&rows) {
        for name in of_pairs {
            number(&row, &format!("eval_{name}"));
        }
    }
    let of_steps = [
        "epoch",
        "learning_rate",
        "grad_norm",
        "num_tokens",
        "num_computed_tokens",
        "pairs_per_second",
        "tokens_per_second",
    ];
    for row in steps(&rows) {
        for name in of_pairs.iter().chain(&of_steps) {
            number(&row, name);
        }
    }
    assert_near(
        &numbers(&steps(&rows), "epoch"),
        &[1.0 / 3.0, 2.0 / 3.0, 1.0],
        1e-12,
    );
    assert!(numbers(&steps(&rows), "num_tokens").is_sorted_by(|a, b| a < b));

    let start = &rows[0];
    assert!((number(start, "eval_loss") - LN_2).abs() < 1e-6);
    assert_eq!(number(start, "eval_rewards/ties"), 1.0);
    for name in ["accuracies", "margins", "chosen", "rejected"] {
        assert_eq!(number(start, &format!("eval_rewards/{name}")), 0.0);
    }
    // The last step is evaluated once, although two rules ask for it.
    let rows = sandbox.metrics_of("due-twice", "--batch-size 2 --eval-steps 3");
    assert_eq!(numbers(&evals(&rows), "step"), [0.0, 3.0]);
}

#[test]
fn a_step_counts_the_time_of_its_own_work() {
    let sandbox = Sandbox::new();
    let rows = steps(&sandbox.metrics_of("out", "--epochs 2"));
    let mut speeds = numbers(&rows, "tokens_per_second");
    let last = speeds[speeds.len() - 1];
    speeds.sort_by(f64::total_cmp);
    let median = speeds[speeds.len() / 2];
    assert!(last < 20.0 * median, "{speeds:?}, the last {last}");
}

/// With a learning rate of 0 the model never changes, so a pair's log-prob identifies the pair.
#[test]
fn the_seed_decides_the_order_unless_it_is_the_files() {
    let sandbox = Sandbox::new();
    let order = |options: &str| {
        let options = format!("--learning-rate 0 --overwrite {options}");
        numbers(&steps(&sandbox.metrics_of("out", &options)), "logps/chosen")
    };
    let file = order("--no-shuffle");
    let two_epochs = order("--no-shuffle --epochs 2");
    assert_eq!(two_epochs, [&file[..], &file[..]].concat());

    let sorted = |mut order: Vec<f64>| {
        order.sort_by(f64::total_cmp);
        order
    };
    let shuffled = order("--epochs 2");
    let (first, second) = shuffled.split_at(6);
    assert_ne!(first, file);
    assert_ne!(first, second, "every epoch has its own order");
    assert_ne!(first, order("--seed 14"));
    for epoch in [first, second] {
        assert_eq!(sorted(epoch.to_vec()), sorted(file.clone()));
    }

    // The files' order is the order of the lines.
    let mut lines: Vec<String> = starter_lines("train.jsonl", 6)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.reverse();
    sandbox.write("d.jsonl", lines.join("\n"));
    let mut reversed = order("--no-shuffle");
    reversed.reverse();
    assert_eq!(reversed, file);
}

#[test]
fn epochs_and_max_steps_decide_the_length() {
    let sandbox = Sandbox::new();
    let rows = steps(&sandbox.metrics_of("out", "--epochs 2"));
    assert_eq!((rows.len(), number(&rows[11], "epoch")), (12, 2.0));
    let rows = steps(&sandbox.metrics_of("short", "--max-steps 4"));
    assert_eq!(rows.len(), 4);
}

#[test]
fn the_schedule_is_seen_in_the_learning_rate() {
    let sandbox = Sandbox::new();
    let rates = |out: &str, options: &str| {
        let options = format!("--max-steps 4 --learning-rate 3e-4 {options}");
        numbers(&steps(&sandbox.metrics_of(out, &options)), "learning_rate")
    };
    // As in transformers: the rate reaches its peak after the warm-up and would be 0 at the step after the
    // last.
    let linear = rates("linear", "--lr-scheduler linear --warmup-steps 1");
    assert_near(&linear, &[0.0, 3e-4, 2e-4, 1e-4], 1e-12);
    let constant = rates("constant", "--warmup-steps 2");
    assert_near(&constant, &[0.0, 1.5e-4, 3e-4, 3e-4], 1e-12);
    let cosine = rates("cosine", "--lr-scheduler cosine");
    let expected =
        [0.0_f64, 0.25, 0.5, 0.75].map(|x| 1.5e-4 * (1.0 + (std::f64::consts::PI * x).cos()));
    assert_near(&cosine, &expected, 1e-12);
    let ratio = rates("ratio", "--warmup-ratio 0.4");
    assert_near(&ratio, &constant, 1e-12);
    let options = "--lr-scheduler wsd --decay-steps 2 --min-lr-rate 0.1";
    let stable = rates("wsd", options);
    assert_near(&stable, &[3e-4, 3e-4, 3e-4, 1.65e-4], 1e-12);
    for (options, named) in [
        ("--warmup-ratio 0.1 --warmup-steps 3", "--warmup-ratio"),
        ("--warmup-ratio 1.1", "--warmup-ratio"),
        ("--lr-scheduler cosine_with_min_lr", "--min-lr-rate"),
        ("--lr-scheduler wsd", "--decay-steps"),
    ] {
        sandbox.refuses(&format!("--data d.jsonl {options}"), &[named]);
    }
}

/// After one step a weight has moved by lr · g / (|g| + ε), whatever the βs are; after two steps these count.
#[test]
fn adamw_has_the_settings_that_were_given() {
    let sandbox = Sandbox::new();
    let trained = |out: &str, options: &str| -> Vec<f32> {
        let options =
            format!("--device cpu --no-shuffle --weight-decay 0 --max-grad-norm 0 {options}");
        sandbox.metrics_of(out, &options);
        let all = tensors(&sandbox.path(out));
        let bytes = &all["transformer.h.0.mlp.c_fc.bias"].bytes;
        let words = bytes.chunks_exact(4);
        words
            .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
            .collect()
    };
    let before = trained("before", "--max-steps 1 --learning-rate 0");
    let moved = |after: &[f32]| -> f64 {
        let distances = before
            .iter()
            .zip(after)
            .map(|(b, a)| f64::from((a - b).abs()));
        distances.fold(0.0, f64::max)
    };
    let trained =
        |out: &str, options: &str| trained(out, &format!("--learning-rate 1e-3 {options}"));
    let plain = moved(&trained("plain", "--max-steps 1"));
    assert!((plain - 1e-3).abs() < 1e-5, "{plain}");
    let damped = moved(&trained("damped", "--max-steps 1 --adam-epsilon 1"));
    assert!(damped < 0.5e-3 && damped > 0.0, "{damped}");
    let other = "--adam-beta1 0.5 --adam-beta2 0.9";
    let first = moved(&trained("first", &format!("--max-steps 1 {other}")));
    assert!((first - plain).abs() < 1e-6, "{first}");
    let bytes = |out: &str| sandbox.read(&format!("{out}/model.safetensors"));
    trained("two", "--max-steps 2");
    trained("two-other", &format!("--max-steps 2 {other}"));
    assert!(bytes("two") != bytes("two-other"));
    for options in [
        "--adam-beta1 1",
        "--adam-beta1 0",
        "--adam-beta2 nan",
        "--adam-epsilon 0",
        "--adam-epsilon 1e-60",
    ] {
        let named = &options[..options.find(' ').unwrap()];
        sandbox.refuses(&format!("--data d.jsonl {options}"), &[named]);
    }
}

#[test]
fn a_learning_rate_of_0_leaves_the_weights_as_they_were() {
    let sandbox = Sandbox::new();
    let model = sandbox.starter("model");
    let rows = sandbox.metrics_of("out", "--model model --learning-rate 0");
    let (before, after) = (tensors(&model), tensors(&sandbox.path("out")));
    assert!(before.iter().all(|(name, t)| t.bytes == after[name].bytes));
    assert!(
        numbers(&steps(&rows), "loss")
            .iter()
            .all(|l| (l - LN_2).abs() < 1e-6)
    );
}

#[test]
fn accumulation_equals_one_larger_batch() {
    let sandbox = Sandbox::new();
    let run = |batch: usize, accumulation: usize| {
        let options = format!(
            "--batch-size {batch} --gradient-accumulation-steps {accumulation} --learning-rate 1e-3"
        );
        sandbox.metrics_of(&format!("out-{batch}-{accumulation}"), &options)
    };
    let whole = run(4, 1);
    for rows in [run(1, 4), run(2, 2)] {
        assert_same_losses(&rows, &whole, 1e-5);
        let norms = |rows: &[Row]| numbers(&steps(rows), "grad_norm");
        assert_near(&norms(&rows), &norms(&whole), 1e-4);
    }
}

/// A step of one pair has the gradient of that pair, not half of it.
#[test]
fn a_last_short_step_is_a_mean_over_its_own_pairs() {
    let sandbox = Sandbox::new();
    let three = starter_lines("train.jsonl", 3);
    sandbox.write("three.jsonl", &three);
    sandbox.write("third.jsonl", three.lines().nth(2).unwrap());
    let last = |out: &str, data: &str, options: &str| {
        let options = format!("--data {data} --no-shuffle --learning-rate 0 {options}");
        let rows = steps(&sandbox.metrics_of(out, &options));
        (rows.len(), rows[rows.len() - 1].clone())
    };
    let (count, alone) = last("alone", "third.jsonl", "");
    assert_eq!(count, 1);
    for (out, options) in [
        ("batch", "--batch-size 2"),
        ("accumulated", "--gradient-accumulation-steps 2"),
    ] {
        let (count, short) = last(out, "three.jsonl", options);
        assert_eq!(count, 2);
        for name in ["loss", "grad_norm", "logps/chosen", "logps/rejected"] {
            let (ours, theirs) = (number(&short, name), number(&alone, name));
            assert!(
                (ours - theirs).abs() <= 1e-5 * theirs.abs(),
                "{name}: {ours} {theirs}"
            );
        }
    }
}

#[test]
fn supervised_training_has_no_rewards() {
    let sandbox = Sandbox::new();
    let chosen = [5, 6, 7, 8];
    let record =
        serde_json::json!({"prompt_ids": [1, 2, 3], "chosen_ids": chosen, "rejected_ids": [9]});
    sandbox.write("d.jsonl", record.to_string());
    let rows = sandbox.metrics_of("out", "--loss sft --learning-rate 1e-3 --epochs 5");
    for row in &rows {
        let name = row.keys().find(|name| name.contains("rewards"));
        assert_eq!(name, None);
    }
    let rows = steps(&rows);
    let losses = numbers(&rows, "loss");
    assert!(losses[4] < losses[0], "{losses:?}");
    // The loss is the mean over the response's tokens.
    let per_token: Vec<f64> = numbers(&rows, "logps/chosen")
        .iter()
        .map(|l| -l / 4.0)
        .collect();
    assert_near(&losses, &per_token, 1e-5);
}
