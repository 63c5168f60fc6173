//! `doctor` on runs with a disease, planted by their options or data, and on a healthy one.

use serde_json::{Value, json};

use crate::sandbox::{Ran, Sandbox, jsonl, starter_records};

/// What `doctor --json` finds in the run `out`.
fn found(sandbox: &Sandbox, out: &str) -> Vec<Value> {
    let ran = sandbox.run(&format!("doctor {out} --json")).ok();
    let diagnosis: Value = serde_json::from_str(&ran.stdout).unwrap();
    diagnosis["findings"].as_array().unwrap().clone()
}

/// Trains into `out` without samples.
fn train(sandbox: &Sandbox, out: &str, options: &str) -> Ran {
    sandbox.train_into(out, &format!("--sample-prompts 0 {options}"))
}

#[test]
fn the_starters_own_run_is_healthy() {
    let sandbox = Sandbox::new();
    let ran = sandbox.train("--out out --eval-steps 10").ok();
    assert!(!ran.stdout.contains("finding"), "{ran:?}");
    assert!(!ran.stdout.contains("what the curves mean"), "{ran:?}");
    assert_eq!(found(&sandbox, "out"), [] as [Value; 0]);
    let text = sandbox.run("doctor out").ok().stdout;
    assert!(text.contains("out: 40 steps, 5 evaluations"), "{text}");
    assert!(text.contains("nothing is wrong"), "{text}");
}

#[test]
fn options_that_make_a_run_ill() {
    let sandbox = Sandbox::new();
    for (about, options, said) in [
        (
            "hardly-moved",
            "--learning-rate 1e-9 --max-steps 4",
            "of their size in 4 steps",
        ),
        (
            "identical",
            "--learning-rate 0 --max-steps 3",
            "every margin is 0",
        ),
        (
            "cut",
            "--max-response-tokens 3 --max-steps 1",
            "d.jsonl: 100 %",
        ),
        (
            "clipped-always",
            "--max-grad-norm 1e-3 --max-steps 20",
            "the limit 0.001",
        ),
        (
            "clipped-never",
            "--max-grad-norm 1e6 --max-steps 20",
            "the limit 1000000",
        ),
        (
            "too-few-pairs",
            "--learning-rate 1e-9 --max-steps 4",
            "4 held-out pairs",
        ),
    ] {
        let ran = train(&sandbox, about, options);
        let found = found(&sandbox, about);
        let finding = found.iter().find(|finding| finding["about"] == about);
        let finding = finding.unwrap_or_else(|| panic!("{about}: {found:?}"));
        let what = finding["what"].as_str().unwrap();
        assert!(what.contains(said), "{what}");
        let advice = finding["advice"].as_str().unwrap();
        // The run says the same at its end, and `doctor` as text.
        let text = format!("{about}: {what}\n  -> {advice}\n");
        assert!(ran.stdout.contains(&text), "{text}\n{ran:?}");
        let ran = sandbox.run(&format!("doctor {about}")).ok();
        assert!(ran.stdout.contains(&text), "{text}\n{ran:?}");
    }
}

#[test]
fn pairs_known_by_heart_are_said_when_it_begins() {
    let sandbox = Sandbox::new();
    let options = "--learning-rate 1e-3 --max-steps 60 --eval-steps 10 --save-steps 60";
    let ran = train(&sandbox, "out", options);
    let about = |findings: &[Value]| -> Vec<String> {
        let each = findings.iter().map(|finding| &finding["about"]);
        each.map(|about| about.as_str().unwrap().to_owned())
            .collect()
    };
    let findings = found(&sandbox, "out");
    assert_eq!(about(&findings), ["chosen-falls", "memorised"]);
    assert!(
        findings[1]["what"]
            .as_str()
            .unwrap()
            .contains("since step ")
    );
    assert!(
        findings[0]["advice"]
            .as_str()
            .unwrap()
            .contains("--sft-weight")
    );
    // Once on the way, before the evaluations that follow.
    let finding = "finding memorised: training pairs are known by heart";
    let (before, after) = ran.stdout.split_once(finding).unwrap();
    assert!(
        before.contains("\nstep 10: ") && after.contains("\nstep 60: "),
        "{ran:?}"
    );
    assert!(!after.contains(finding), "{ran:?}");
    // A checkpoint has the metrics so far, too.
    let checkpoint = found(&sandbox, "out/checkpoints/step-60");
    assert_eq!(about(&checkpoint), ["chosen-falls", "memorised"]);
}

#[test]
fn a_preference_for_length_is_found() {
    let sandbox = Sandbox::new();
    // The chosen answer is said twice; among the held-out pairs every second time it is the rejected one.
    let pairs = |file: &str, count: usize, both: bool| {
        let records = starter_records(file, count).into_iter().enumerate();
        let pairs = records.map(|(at, record)| {
            let once = record["chosen"].as_str().unwrap().to_owned();
            let twice = format!("{once} {once}");
            let (chosen, rejected) = match both && at % 2 == 1 {
                true => (once, twice),
                false => (twice, once),
            };
            json!({"prompt": record["prompt"], "chosen": chosen, "rejected": rejected})
        });
        jsonl(pairs)
    };
    sandbox.write("longer.jsonl", pairs("train.jsonl", 32, false));
    sandbox.write("either.jsonl", pairs("eval.jsonl", 40, true));
    let options = "--data longer.jsonl --eval-data either.jsonl --batch-size 8 --max-steps 12 --learning-rate 3e-4";
    train(&sandbox, "out", options);
    let found = found(&sandbox, "out");
    let of = |about: &str| found.iter().find(|finding| finding["about"] == about);
    let length = of("length").unwrap_or_else(|| panic!("{found:?}"));
    let what = length["what"].as_str().unwrap();
    assert!(what.contains("shorter one 0 % are right"), "{what}");
    // Where a rejected answer ends, a chosen one goes on.
    let end = of("end-falls").unwrap_or_else(|| panic!("{found:?}"));
    assert!(end["what"].as_str().unwrap().contains("nats"), "{end}");
}

#[test]
fn what_is_no_run_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    train(&sandbox, "out", "--max-steps 1");
    sandbox.run("doctor none").refused(&["none", "read"]);
    sandbox.run("doctor model").refused(&["run.toml"]);
    for (file, content, said) in [
        (
            "metrics.jsonl",
            "{\"step\":1,\"loss\":0.5}\n[1]\n",
            "line 2",
        ),
        ("metrics.jsonl", "", "no row of an optimizer step"),
        ("metrics.jsonl", "\u{0}\n", "line 1"),
        ("data.json", "{}", "train"),
        ("run.toml", "beta = \"x\"", "run.toml"),
    ] {
        let good = sandbox.read(&format!("out/{file}"));
        sandbox.write(&format!("out/{file}"), content);
        sandbox.run("doctor out").refused(&[file, said]);
        sandbox.write(&format!("out/{file}"), good);
    }
    // A row that a killed run left half is passed over, and there may be no report on the data.
    let mut rows = sandbox.read("out/metrics.jsonl");
    rows.extend(b"{\"step\":2,\"lo");
    sandbox.write("out/metrics.jsonl", rows);
    std::fs::remove_file(sandbox.path("out/data.json")).unwrap();
    sandbox.run("doctor out").ok();
}
