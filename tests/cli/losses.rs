//! Every loss through the program, several at once, and what they are refused with.

use crate::sandbox::{Sandbox, evals, number, numbers, steps, without_speeds};

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
        ("dpop", "--dpop-lambda 5", Some(std::f64::consts::LN_2)),
        ("aot", "--label-smoothing 0.1", Some(std::f64::consts::LN_2)),
        ("aot_unpaired", "", Some(std::f64::consts::LN_2)),
        ("simpo", "--beta 2 --simpo-gamma 1", None),
        ("orpo", "", None),
        ("sft", "", None),
        (
            "sigmoid",
            "--f-divergence-type js_divergence",
            Some(std::f64::consts::LN_2),
        ),
        (
            "sigmoid",
            "--f-divergence-type alpha_divergence --f-alpha-divergence-coef 2",
            Some(std::f64::consts::LN_2),
        ),
        ("sigmoid", "--ld-alpha 0.3", Some(std::f64::consts::LN_2)),
        (
            "sigmoid",
            "--average-log-prob",
            Some(std::f64::consts::LN_2),
        ),
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

/// The losses that rank responses rank those of the whole step.
#[test]
fn ranks_are_those_of_the_step() {
    let sandbox = Sandbox::new();
    for loss in ["aot", "aot_unpaired"] {
        let losses = |out: &str, options: &str| {
            let options = format!(
                "--device cpu --loss {loss} --no-shuffle --learning-rate 1e-3 --max-steps 4 {options}"
            );
            let rows = sandbox.metrics_of(&format!("{loss}-{out}"), &options);
            let evaluated = numbers(&evals(&rows), "eval_loss");
            [numbers(&steps(&rows), "loss"), evaluated].concat()
        };
        let whole = losses("whole", "--batch-size 6");
        let cut = "--batch-size 1 --gradient-accumulation-steps 6";
        let pieces = losses("cut", cut);
        assert!(whole.len() == 6 && whole[3] != whole[2], "{whole:?}");
        for (whole, piece) in whole.iter().zip(&pieces) {
            assert!((whole - piece).abs() < 1e-5, "{loss}: {whole}, {piece}");
        }
        // Alone, a pair is its own rival.
        let alone = losses("alone", &format!("{cut} --normalize micro-batches"));
        assert!(
            (alone[3] - whole[3]).abs() > 1e-4,
            "{loss}: {alone:?}, {whole:?}"
        );
    }
    sandbox.write("weighted.jsonl", WEIGHTED);
    sandbox.refuses(
        "--data weighted.jsonl --device cpu --loss aot",
        &["--loss", "weighted.jsonl:2", "has a weight", "weight="],
    );
}

const WEIGHTED: &str = r#"{"prompt": "a", "chosen": "b", "rejected": "c"}
{"prompt": "d", "chosen": "e", "rejected": "f", "weight": 3}
{"prompt": "g", "chosen": "h", "rejected": "i", "weight": 0}
{"prompt": "j", "chosen": "k", "rejected": "l", "weight": "0.5"}
"#;

/// A pair of weight 3 is three pairs, and a pair of weight 0 none.
#[test]
fn weights_count_pairs() {
    let sandbox = Sandbox::new();
    sandbox.write("weighted.jsonl", WEIGHTED);
    let lines: Vec<&str> = WEIGHTED.lines().collect();
    let times = [1, 3, 0]
        .iter()
        .zip(&lines)
        .flat_map(|(&n, line)| vec![*line; n]);
    let repeated: Vec<&str> = times.chain([lines[3]]).collect();
    sandbox.write("repeated.jsonl", &(repeated.join("\n") + "\n"));
    let run = |out: &str, data: &str, options: &str| {
        let options = format!(
            "--data {data}.jsonl --device cpu --loss nca_pair --no-shuffle --learning-rate 1e-3 \
             --max-steps 1 {options}"
        );
        let rows = sandbox.metrics_of(out, &options);
        (
            numbers(&steps(&rows), "loss")[0],
            sandbox.read(&format!("{out}/model.safetensors")),
        )
    };
    // Weighed, the pairs of the first step sum up to 1 + 3 + 0 + ½ losses.
    let (weighted, moved) = run("weighted", "weighted", "--batch-size 4");
    let (repeated, _) = run("repeated", "repeated", "--batch-size 5 --columns weight=");
    let (alone, _) = run(
        "alone",
        "repeated",
        "--batch-size 1 --skip 4 --columns weight=",
    );
    let expected = (5.0 * repeated - 0.5 * alone) / 4.0;
    assert!((weighted - expected).abs() < 1e-6, "{weighted}, {expected}");
    // With weight 0 all of a pair goes, and weights of 1 change nothing.
    let plain = WEIGHTED
        .replace(", \"weight\": 3", "")
        .replace("\"0.5\"", "1");
    sandbox.write("plain.jsonl", &plain);
    let (_, without) = run("plain", "plain", "--batch-size 4");
    assert!(without != moved);
    let ones = plain.replace("\"weight\": 0", "\"weight\": 1");
    sandbox.write("ones.jsonl", &ones);
    let (_, with_ones) = run("ones", "ones", "--batch-size 4");
    let (_, unread) = run("unread", "weighted", "--batch-size 4 --columns weight=");
    assert!(with_ones == unread);
    let said = sandbox
        .train("--data weighted.jsonl --device cpu --max-steps 1 --out said --batch-size 4")
        .ok();
    assert!(
        said.stderr
            .contains("3 of 4 pairs count as their `weight` says"),
        "{}",
        said.stderr
    );
}

/// Four pairs as three and one: TRL weighs both micro-batches alike.
#[test]
fn micro_batches_may_weigh_alike() {
    let sandbox = Sandbox::new();
    let loss = |out: &str, options: &str| {
        let all = format!("--device cpu --loss sft --no-shuffle --max-steps 1 {options}");
        numbers(&steps(&sandbox.metrics_of(out, &all)), "loss")[0]
    };
    let three = loss("three", "--batch-size 3 --limit 3");
    let fourth = loss("fourth", "--batch-size 1 --skip 3 --limit 1");
    let cut = "--batch-size 3 --gradient-accumulation-steps 2 --limit 4";
    let alike = loss("alike", &format!("{cut} --normalize micro-batches"));
    assert!((alike - (three + fourth) / 2.0).abs() < 1e-6, "{alike}");
    let pairs = loss("pairs", cut);
    assert!((pairs - alike).abs() > 1e-4, "{pairs}, {alike}");
}

#[test]
fn data_is_looked_at_for_any_loss() {
    let sandbox = Sandbox::new();
    let plain = sandbox.run("inspect d.jsonl").ok().stdout;
    assert!(sandbox.run("inspect d.jsonl --loss exo_pair").ok().stdout == plain);
    assert!(sandbox.run("inspect d.jsonl --loss sft").ok().stdout != plain);
}

/// A norm beyond 32 bits is not the device's fault.
#[test]
fn a_loss_that_is_too_steep() {
    let sandbox = Sandbox::new();
    for options in ["--beta 1e20", "--loss sigmoid=1e20"] {
        sandbox
            .train(&format!("--out out --data d.jsonl --max-steps 1 {options}"))
            .refused(&["step 1", "is too large", "too steep"]);
    }
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
        (
            "--loss apo_zero --f-divergence-type forward_kl",
            ["--f-divergence-type", "apo_zero"],
        ),
        (
            "--loss sft --f-divergence-type forward_kl",
            ["--f-divergence-type", "no effect with --loss sft"],
        ),
        (
            "--f-alpha-divergence-coef 2",
            ["--f-alpha-divergence-coef", "no effect"],
        ),
        (
            "--f-divergence-type alpha_divergence --f-alpha-divergence-coef nan",
            ["--f-alpha-divergence-coef", "NaN"],
        ),
        ("--ld-alpha 1.5", ["--ld-alpha", "from 0 to 1"]),
        ("--ld-alpha 0.5 --loss aot", ["--ld-alpha", "aot"]),
        ("--ld-alpha 0.5 --loss simpo", ["--ld-alpha", "no effect"]),
        ("--dpop-lambda 5", ["--dpop-lambda", "no effect"]),
        (
            "--loss dpop --dpop-lambda -1",
            ["--dpop-lambda", "at least 0"],
        ),
        ("--simpo-gamma 1", ["--simpo-gamma", "no effect"]),
        (
            "--average-log-prob --loss ipo",
            ["--average-log-prob", "no effect"],
        ),
        (
            "--normalize micro-batches --gradient-accumulation-steps 1",
            ["--normalize", "no effect"],
        ),
    ] {
        sandbox.refuses(
            &format!("--data d.jsonl --device cpu {options}"),
            &fragments,
        );
    }
}

/// TR-DPO: a reference that becomes the policy makes every reward 0 again, and a resumed run has the reference of its
/// checkpoint.
#[test]
fn a_reference_that_moves() {
    let sandbox = Sandbox::new();
    let common = "--device cpu --no-shuffle --learning-rate 1e-3 --reference on-the-fly --batch-size 3 \
                  --sync-ref-steps 2";
    let rows = sandbox.metrics_of("all", &format!("{common} --sync-ref-alpha 1 --max-steps 5"));
    let margins = numbers(&steps(&rows), "rewards/margins");
    let still: Vec<bool> = margins.iter().map(|&margin| margin == 0.0).collect();
    assert_eq!(still, [true, false, true, false, true], "{margins:?}");

    let some = format!("{common} --sync-ref-alpha 0.5");
    let whole = sandbox.metrics_of("whole", &format!("{some} --max-steps 6"));
    let moved = numbers(&steps(&whole), "rewards/margins")[2];
    assert!(moved != 0.0, "{moved}");
    let saved = "--max-steps 3 --save-steps 3";
    sandbox.metrics_of("part", &format!("{some} {saved}"));
    sandbox
        .run("train --resume part --max-steps 6 --resume-anyway")
        .ok();
    let weights = |out: &str| sandbox.read(&format!("{out}/model.safetensors"));
    assert!(weights("part") == weights("whole"));

    // The reference is whole where the policy is trained in part.
    for part in ["--train-layers 2", "--freeze-embeddings"] {
        let rows = sandbox.metrics_of(
            &format!("part{}", part.len()),
            &format!("{common} {part} --sync-ref-alpha 1 --max-steps 3 --save-steps 1"),
        );
        let margins = numbers(&steps(&rows), "rewards/margins");
        assert!(
            margins[1] != 0.0 && margins[2] == 0.0,
            "{part}: {margins:?}"
        );
    }

    for (options, fragments) in [
        (
            "--sync-ref-steps 2 --reference on-the-fly --eval-data e.jsonl --eval-steps 1 --save-best eval_loss",
            ["--save-best", "moves"],
        ),
        ("--loss dpop --audit-steps 2", ["--audit-steps", "dpop"]),
        ("--sync-ref-steps 2", ["--sync-ref-steps", "on-the-fly"]),
        (
            "--sync-ref-steps 2 --reference on-the-fly --sync-ref-alpha 0",
            ["--sync-ref-alpha", "at most 1"],
        ),
        ("--sync-ref-alpha 0.5", ["--sync-ref-alpha", "no effect"]),
        (
            "--sync-ref-steps 2 --reference on-the-fly --lora-rank 2",
            ["--sync-ref-steps", "adapters"],
        ),
    ] {
        sandbox.refuses(
            &format!("--data d.jsonl --device cpu {options}"),
            &fragments,
        );
    }
}
