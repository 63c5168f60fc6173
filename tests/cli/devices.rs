//! Devices: what there is, that they agree, and weights split to fit one.

use gpt2_dpo::ops::OPS;

use crate::models::untrained;
use crate::sandbox::{GPU, LN_2, Row, Sandbox, assert_same_losses, number, numbers, steps};

/// Trains so that the losses move; a device that is not there fails the test.
fn train_on(sandbox: &Sandbox, device: &str, out: &str, options: &str) -> Vec<Row> {
    let options = format!("--device {device} --batch-size 2 --epochs 2 {options}");
    let rows = sandbox.metrics_of(out, &options);
    let end = number(&steps(&rows)[5], "loss");
    assert!(end < LN_2 - 0.02, "hardly moved: {end}");
    rows
}

#[test]
fn a_gpu_trains_as_the_cpu_does() {
    let sandbox = Sandbox::new();
    let rate = "--learning-rate 1e-4";
    let cpu = train_on(&sandbox, "cpu", "cpu", rate);
    let gpu = train_on(&sandbox, GPU, "gpu", rate);
    assert_same_losses(&gpu, &cpu, 1e-5);
    let options = format!("{rate} --reference on-the-fly --checked");
    let fly = train_on(&sandbox, GPU, "fly", &options);
    assert_same_losses(&fly, &gpu, 1e-6);
}

#[test]
fn mixed_precision_runs_on_the_cpu_and_where_there_are_matrix_units() {
    let sandbox = Sandbox::new();
    let (exact, mixed) = (
        "--learning-rate 1e-4",
        "--learning-rate 1e-4 --precision mixed",
    );
    let exact = train_on(&sandbox, "cpu", "exact", exact);
    assert!(exact.iter().all(|row| !row.contains_key("loss_scale")));
    let rows = train_on(&sandbox, "cpu", "mixed", mixed);
    assert_same_losses(&rows, &exact, 1e-3);
    assert_ne!(
        numbers(&steps(&rows), "loss"),
        numbers(&steps(&exact), "loss")
    );
    assert!(
        steps(&rows)
            .iter()
            .all(|row| number(row, "loss_scale") >= 1.0)
    );
    let run = String::from_utf8(sandbox.read("mixed/run.toml")).unwrap();
    assert!(run.contains("precision = \"mixed\""), "{run}");

    let short = "--data d.jsonl --max-steps 1 --precision mixed";
    let ran = sandbox.train(&format!("--out noted {short}")).ok();
    assert!(ran.stderr.contains("f32 is faster"), "{ran:?}");

    let devices = sandbox.run("devices").ok().stdout;
    let line = devices
        .lines()
        .find(|line| line.contains("precision mixed"));
    if line.unwrap().ends_with("yes") {
        assert_same_losses(&train_on(&sandbox, GPU, "gpu", mixed), &rows, 1e-3);
    } else {
        let options = format!("{short} --device {GPU}");
        sandbox.refuses(&options, &["matrix units", "--precision f32"]);
        let generate = format!("generate --prompt hello --precision mixed --device {GPU}");
        sandbox
            .run(&generate)
            .refused(&["matrix units", "--precision f32"]);
    }
}

/// `wte` has 1.5 MiB.
#[test]
fn weights_above_the_binding_limit_are_split() {
    let sandbox = Sandbox::new();
    untrained(&sandbox, "model", 4096, 96);
    let run = |device: &str, limit: usize| {
        let options =
            format!("--model model --max-binding-mib {limit} --learning-rate 1e-3 --beta 0.5");
        train_on(&sandbox, device, &format!("{device}-{limit}"), &options)
    };
    let whole = run("cpu", 0);
    assert_same_losses(&run("cpu", 1), &whole, 1e-5);
    assert_same_losses(&run(GPU, 0), &whole, 1e-5);
    assert_same_losses(&run(GPU, 1), &whole, 1e-5);

    // Generation joins the shards' logits.
    let generate = |device: &str, limit: usize| {
        let command = format!(
            "generate --model cpu-0 --prompt hello --max-new-tokens 20 --device {device} \
             --max-binding-mib {limit}"
        );
        sandbox.run(&command).ok().stdout
    };
    let whole = generate("cpu", 0);
    assert_eq!(generate("cpu", 1), whole);
    assert_eq!(generate(GPU, 1), whole);
}

#[test]
fn devices_lists_adapters_and_what_auto_takes() {
    let ran = Sandbox::new().run("devices").ok();
    let has = |start: &str| ran.stdout.lines().any(|line| line.starts_with(start));
    assert!(has("0: "), "no adapter: {ran:?}");
    assert!(has("cpu: "), "{ran:?}");
    assert!(ran.stdout.to_lowercase().contains(GPU), "{ran:?}");
    assert!(has("`--device auto` takes "), "{ran:?}");
}

#[test]
fn selftest_has_a_row_an_op() {
    let command = format!("selftest --device {GPU}");
    let ran = Sandbox::new().run(&command).ok();
    for op in OPS {
        let mut rows = ran.stdout.lines();
        let row = rows.find(|row| row.split_whitespace().next() == Some(op.name));
        let row = row.unwrap_or_else(|| panic!("no row for {}: {ran:?}", op.name));
        assert!(row.ends_with("ok"), "{row}");
    }
}

#[test]
fn selftest_does_not_compare_the_cpu_with_itself() {
    let ran = Sandbox::new().run("selftest --device cpu");
    ran.refused(&["nothing to compare", "--device"]);
}

#[test]
fn what_is_no_device_is_refused() {
    let sandbox = Sandbox::new();
    for (options, fragments) in [
        ("--device 99", ["99", "gpt2-dpo devices"]),
        ("--device -1", ["-1", "gpt2-dpo devices"]),
        ("--device nonsense", ["nonsense", "gpt2-dpo devices"]),
        ("--device auto --backend gles", ["--backend", "vulkan"]),
    ] {
        sandbox.refuses(&format!("--data d.jsonl {options}"), &fragments);
        let generate = sandbox.run(&format!("generate --prompt hello {options}"));
        generate.refused(&fragments);
        sandbox
            .run(&format!("selftest {options}"))
            .refused(&fragments);
    }
    if cfg!(not(target_os = "macos")) {
        for device in ["auto", "0", GPU] {
            let options = format!("--data d.jsonl --backend metal --device {device}");
            sandbox.refuses(&options, &["error: no "]);
        }
    }
}
