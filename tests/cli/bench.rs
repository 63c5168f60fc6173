//! `bench`: the table, the JSON, and that it ends in reasonable time even on software Vulkan.

use serde_json::Value;

use crate::models::untrained;
use crate::sandbox::{GPU, Ran, Sandbox};

/// A model so small that every kernel takes almost no time.
const TINY: &str = "--model tiny --batch-size 2 --gradient-accumulation-steps 2 \
     --max-prompt-tokens 9 --max-response-tokens 5 --steps 3 --seconds-per-kernel 0";

fn bench(sandbox: &Sandbox, device: &str) -> (Ran, Value) {
    let command = format!("bench {TINY} --device {device} --json {device}.json");
    let ran = sandbox.run(&command).ok();
    let report = serde_json::from_slice(&sandbox.read(&format!("{device}.json"))).unwrap();
    (ran, report)
}

#[track_caller]
fn positive(value: &Value) -> f64 {
    let number = value.as_f64().unwrap_or(f64::NAN);
    assert!(number.is_finite() && number > 0.0, "{value}");
    number
}

fn a_whole_report(device: &str) {
    let sandbox = Sandbox::new();
    untrained(&sandbox, "tiny", 512, 32);
    let (ran, report) = bench(&sandbox, device);

    for ceiling in ["compute", "copy"] {
        positive(&report["ceilings"][ceiling]["per_second"]);
    }
    let rows = report["kernels"].as_array().unwrap();
    let mut shares = 0.0;
    for row in rows {
        positive(&row["calls"]);
        positive(&row["bytes"]);
        let speed = &row["speed"];
        positive(&speed["seconds"]);
        positive(&speed["gbytes"]);
        positive(&speed["of_ceiling"]);
        assert!(!row["shape"].as_array().unwrap().is_empty(), "{row}");
        // The CPU engine runs the twins themselves, so there is no distance.
        assert_eq!(row["distance"].is_null(), device == "cpu", "{row}");
        shares += positive(&speed["share"]);
    }
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");

    // Two layers, two micro-batches, and a product of each kind for four matrices and the head.
    let calls = |kernel: &str| -> f64 {
        let of_kernel = rows.iter().filter(|row| row["kernel"] == kernel);
        of_kernel.map(|row| positive(&row["calls"])).sum()
    };
    assert_eq!(calls("linear/tn"), 2.0 * (2.0 * 4.0 + 1.0));
    // One of the four goes on through GELU.
    assert_eq!(calls("linear/nt"), 2.0 * (2.0 * 3.0 + 1.0));
    assert_eq!(calls("linear/nt_gelu"), 2.0 * 2.0);
    assert_eq!(calls("attention/forward"), 2.0 * 2.0);
    // An arena of matrices, and one of vectors.
    assert_eq!(calls("adamw/update"), 2.0);

    let step = &report["step"];
    let seconds = positive(&step["seconds"]);
    let speeds = [("pairs_per_second", 4.0), ("tokens_per_second", 4.0 * 19.0)];
    for (name, each) in speeds {
        let product = positive(&step[name]) * seconds;
        assert!((product / each - 1.0).abs() < 1e-9, "{name}: {product}");
    }
    positive(&step["flops_per_second"]);
    positive(&step["peak_bytes"]);
    let idle = step["idle"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&idle), "{idle}");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let date = report["date"].as_str().unwrap();
    assert!(date.len() == 20 && date.ends_with('Z'), "{date}");

    let first = rows[0]["kernel"].as_str().unwrap(); // small shares are summed up
    assert!(ran.stdout.contains(first), "no {first}: {ran:?}");
    for line in ran.stdout.lines() {
        assert!(
            line.chars().count() <= 100,
            "wider than 100 columns: {line}"
        );
    }
    for text in [
        "GFLOP/s",
        "GB/s",
        "of ceiling",
        "share",
        "pairs/s",
        "tokens/s",
        "device memory",
        "device idle",
    ] {
        assert!(ran.stdout.contains(text), "no {text}: {ran:?}");
    }
}

#[test]
fn a_whole_report_of_the_cpu() {
    a_whole_report("cpu");
}

#[test]
fn a_whole_report_of_a_gpu() {
    a_whole_report(GPU);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let sandbox = Sandbox::new();
    for (options, fragments) in [
        ("--model nonsense", ["nonsense", "gpt2-medium"]),
        ("--batch-size 0", ["--batch-size", "0"]),
        (
            "--gradient-accumulation-steps 0",
            ["--gradient-accumulation-steps", "0"],
        ),
        ("--max-prompt-tokens 0", ["--max-prompt-tokens", "0"]),
        ("--max-response-tokens 0", ["--max-response-tokens", "0"]),
        ("--max-prompt-tokens 1000", ["--max-prompt-tokens", "1024"]),
        (
            "--max-prompt-tokens 18446744073709551615",
            ["--max-prompt-tokens", "1024"],
        ),
        ("--steps 0", ["--steps", "0"]),
        ("--seconds-per-kernel -1", ["--seconds-per-kernel", "-1"]),
        ("--seconds-per-kernel nan", ["--seconds-per-kernel", "NaN"]),
        ("--device 99", ["99", "gpt2-dpo devices"]),
        (
            "--model small --batch-size 9223372036854775808",
            ["--batch-size", "lower"],
        ),
    ] {
        let command = match options.contains("--device") {
            true => format!("bench {options}"),
            false => format!("bench --device cpu {options}"),
        };
        sandbox.run(&command).refused(&fragments);
    }
}

/// `bench --plan` lists every dispatch of a step, and opens no device.
#[test]
fn a_plan_needs_no_device() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run("bench --plan --json plan.json").ok();
    let plan: Value = serde_json::from_slice(&sandbox.read("plan.json")).unwrap();
    assert_eq!(plan["micro_batches"], 1);
    assert_eq!(plan["dims"]["n_layer"], 12);
    let launches = plan["launches"].as_array().unwrap();
    let of = |launch: &Value| launch["dispatches"].as_u64().unwrap();
    let dispatches: u64 = launches.iter().map(of).sum();
    assert_eq!(plan["audit"]["dispatches"], dispatches);
    let last = ran.stdout.lines().last().unwrap();
    assert!(
        last.starts_with(&format!("{dispatches} dispatches; ")),
        "{last}"
    );
    let mixed = sandbox
        .run("bench --plan --precision mixed --model distilgpt2")
        .ok();
    assert!(mixed.stdout.contains("matrix16"), "{}", mixed.stdout);
    sandbox
        .run("bench --plan --device cpu")
        .refused(&["--plan", "--device"]);
    sandbox
        .run("bench --plan --steps 2")
        .refused(&["--plan", "--steps"]);
    sandbox
        .run("bench --plan --gentle")
        .refused(&["--plan", "--gentle"]);
}
