//! Every loss through the program, several at once, and what they are refused with.

use crate::sandbox::{Sandbox, number, numbers, steps, without_speeds};

#[test]
fn every_loss_trains() {
    let sandbox = Sandbox::new();
    for (loss, options, first) in [
        ("sigmoid", "", Some(std::f64::consts::LN_2)),
        (
            "sigmoid",
            "--label-smoothing 0.1",
            Some(std::f64::consts::LN_2),
        ),
        ("hinge", "", Some(1.0)),
        ("ipo", "--beta 0.5", Some(1.0)),
        (
            "robust",
            "--label-smoothing 0.1",
            Some(std::f64::consts::LN_2),
        ),
        ("exo_pair", "--label-smoothing 0.001", None),
        ("nca_pair", "", Some(2.0 * std::f64::consts::LN_2)),
        ("bco_pair", "", Some(2.0 * std::f64::consts::LN_2)),
        ("sppo_hard", "--beta 0.5", Some(2.0)),
        ("apo_zero", "", Some(1.0)),
        ("apo_down", "", Some(1.0)),
        ("discopop", "--discopop-tau 0.1", None),
        ("sigmoid_norm", "", Some(std::f64::consts::LN_2)),
        ("sft", "", None),
    ] {
        let out = format!("{loss}{}", options.len());
        let options = format!(
            "--device cpu --loss {loss} {options} --learning-rate 1e-4 --max-steps 3 --batch-size 6"
        );
        let rows = steps(&sandbox.metrics_of(&out, &options));
        let losses = numbers(&rows, "loss");
        if let Some(first) = first {
            assert!((losses[0] - first).abs() < 1e-6, "{loss}: {losses:?}");
        }
        // The six pairs are the whole of each step.
        assert!(losses[2] < losses[0], "{loss}: {losses:?}");
        let run = String::from_utf8(sandbox.read(&format!("{out}/run.toml"))).unwrap();
        assert!(run.contains(&format!("loss = \"{loss}\"")), "{run}");
    }
}

#[test]
fn several_losses_and_the_short_form() {
    let sandbox = Sandbox::new();
    let train = |out: &str, loss: &str| {
        let options = "--device cpu --learning-rate 1e-3 --max-steps 3 --batch-size 3";
        let rows = sandbox.metrics_of(out, &format!("{options} {loss}"));
        (
            without_speeds(rows),
            sandbox.read(&format!("{out}/model.safetensors")),
        )
    };
    let summed = train("summed", "--loss sigmoid=1,sft=0.2");
    assert!(summed == train("short", "--sft-weight 0.2"));
    let (sigmoid, _) = train("sigmoid", "--loss sigmoid");
    let (sft, _) = train("sft", "--loss sft");
    let first = |rows: &[_]| number(&steps(rows)[0], "loss");
    let expected = first(&sigmoid) + 0.2 * first(&sft);
    assert!((first(&summed.0) - expected).abs() < 1e-6);
    // A run goes on with the losses that it began with.
    sandbox
        .run("train --resume summed --sft-weight 0.3 --resume-anyway")
        .refused(&["--sft-weight", "has sft"]);
}

/// The mean over the chosen tokens of a whole step does not depend on how the step is cut.
#[test]
fn supervised_micro_batches_weigh_tokens_alike() {
    let sandbox = Sandbox::new();
    let losses = |out: &str, cut: &str| {
        let options = format!("--device cpu --loss sft --no-shuffle --max-steps 2 {cut}");
        numbers(&steps(&sandbox.metrics_of(out, &options)), "loss")
    };
    let whole = losses("whole", "--batch-size 6");
    let cut = losses("cut", "--batch-size 1 --gradient-accumulation-steps 6");
    for (whole, cut) in whole.iter().zip(&cut) {
        assert!((whole - cut).abs() < 1e-6, "{whole}, {cut}");
    }
}

#[test]
fn data_is_looked_at_for_any_loss() {
    let sandbox = Sandbox::new();
    let plain = sandbox.run("inspect d.jsonl").ok().stdout;
    assert!(sandbox.run("inspect d.jsonl --loss exo_pair").ok().stdout == plain);
    assert!(sandbox.run("inspect d.jsonl --loss sft").ok().stdout != plain);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let sandbox = Sandbox::new();
    for (options, fragments) in [
        ("--loss exo_pair", ["--label-smoothing", "0.001"]),
        ("--label-smoothing 0.5", ["--label-smoothing", "0.5"]),
        ("--label-smoothing nan", ["--label-smoothing", "NaN"]),
        (
            "--loss discopop --discopop-tau 0",
            ["--discopop-tau", "0.05"],
        ),
        (
            "--loss discopop --discopop-tau 2",
            ["--discopop-tau", "at most 1"],
        ),
        ("--loss sft --sft-weight 1", ["--sft-weight", "has sft"]),
        ("--sft-weight -1", ["--sft-weight", "at least 0"]),
        ("--loss sigmoid=0", ["--loss", "no weight of sigmoid"]),
        ("--loss sigmoid=nan", ["--loss", "no weight of sigmoid"]),
        ("--loss sigmoid,sigmoid=2", ["--loss", "named twice"]),
        ("--loss sigmoid,", ["--loss", "no loss \"\""]),
        ("--loss hinge --beta 0", ["--beta", "with 0"]),
    ] {
        sandbox.refuses(
            &format!("--data d.jsonl --device cpu {options}"),
            &fragments,
        );
    }
}
