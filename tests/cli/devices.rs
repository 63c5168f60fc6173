//! Devices: the list, their agreement, and weights split to fit a device.

use gpt2_dpo::ops::OPS;
use gpt2_dpo::target::Precision;
use serde_json::Value;

use crate::models::untrained;
use crate::sandbox::{GPU, LN_2, Row, Sandbox, assert_same_losses, number, numbers, steps};

/// Trains so that the losses change; the test fails if the device does not exist.
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

/// `wte` takes 1.5 MiB.
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

/// Where there is no GPU but software Vulkan, each command says what `auto` passes over, why, and how to take it.
#[test]
fn what_auto_passes_over_is_named() {
    let sandbox = Sandbox::new();
    let devices = sandbox.run("devices").ok().stdout;
    let short = "train --data d.jsonl --max-steps 1 --batch-size 1 --gradient-accumulation-steps 1";
    let train = sandbox.run(&format!("{short} --out auto")).ok().stderr;
    if devices.contains("`--device auto` takes 0") {
        assert!(!(devices + &train).contains("passes over"), "{train}");
        return;
    }
    let says = |text: &str| {
        assert!(text.to_lowercase().contains(GPU), "{text}");
        for part in [
            "passes over",
            "the CPU engine is faster",
            "--device 0 takes it",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    says(&devices);
    says(&train);
    let selftest = sandbox.run("selftest --model small");
    selftest.refused(&["nothing to compare", "--device"]);
    says(&selftest.stderr);
    let named = sandbox.run(&format!("{short} --out named --backend vulkan"));
    named.refused(&["no discrete or integrated", "--device"]);
    says(&named.stderr);
    sandbox
        .run(&format!("{short} --out gentle --gentle"))
        .refused(&["--gentle", "auto"]);
}

/// Some drivers complain where there is no XDG_RUNTIME_DIR, with "error: ".
#[test]
#[cfg(target_os = "linux")]
fn what_drivers_write_is_marked_as_theirs() {
    let sandbox = Sandbox::new();
    let devices = format!("train --plan --device {GPU}");
    for command in ["devices", &devices] {
        let args: Vec<&str> = command.split_whitespace().collect();
        let mut command = sandbox.command(&args);
        command
            .env_remove("XDG_RUNTIME_DIR")
            .env("VK_LOADER_DEBUG", "warn");
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let stderr = String::from_utf8(ran.stderr).unwrap();
        assert!(stderr.lines().count() > 0, "the loader was silent");
        for line in stderr.lines() {
            assert!(line.starts_with("driver: "), "{line}");
        }
    }
}

#[test]
fn selftest_has_a_line_a_check_and_a_verdict() {
    let sandbox = Sandbox::new();
    let command = format!("selftest --device {GPU} --model small --json found.json");
    let ran = sandbox.run(&command).ok();
    let has = |name: &str| {
        let named = |line: &str| {
            line.strip_prefix("ok    ")
                .is_some_and(|l| l.starts_with(name))
        };
        assert!(ran.stdout.lines().any(named), "no line for {name}: {ran:?}");
    };
    for op in OPS {
        for variant in op.variants(Precision::F32) {
            match variant {
                "" => has(op.name),
                _ => has(&format!("{} [{variant}]", op.name)),
            }
        }
    }
    for check in ["limits", "real shapes", "first loss", "same bits"] {
        has(check);
    }
    let verdict = ran.stdout.lines().last().unwrap();
    assert!(verdict.starts_with("trust this device"), "{verdict}");

    let found: Value = serde_json::from_slice(&sandbox.read("found.json")).unwrap();
    let driver = found["adapter"]["driver"].as_str().unwrap();
    assert!(verdict.contains(driver), "{verdict}");
    assert!(verdict.contains(found["version"].as_str().unwrap()));
    let checks = found["checks"].as_array().unwrap();
    assert!(checks.len() >= OPS.len() + 4);
    for check in checks {
        assert!(check["misses"].as_array().unwrap().is_empty(), "{check}");
    }
}

/// A model that no device binds gives one line, and the other checks still run.
#[test]
fn selftest_says_what_does_not_fit() {
    let command = format!("selftest --device {GPU} --model gpt2 --max-binding-mib 1");
    let ran = Sandbox::new().run(&command);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let miss = |line: &str| line.starts_with("MISS") && line.contains("limits");
    assert!(ran.stdout.lines().any(miss), "{ran:?}");
    let verdict = ran.stdout.lines().last().unwrap();
    assert!(verdict.starts_with("trust this device"), "{verdict}");
    assert!(verdict.contains("gpt2 does not fit"), "{verdict}");
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

/// One software driver, listed twice under one name.
#[cfg(target_os = "linux")]
fn twins() -> Option<Sandbox> {
    let sandbox = Sandbox::new();
    let folder = std::path::Path::new("/usr/share/vulkan/icd.d");
    let mut files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let lavapipe = files.find(|f| f.file_name().to_string_lossy().starts_with("lvp_icd"))?;
    let again = sandbox.path("again.json");
    std::fs::copy(lavapipe.path(), &again).ok()?;
    let both = format!("{}:{}", lavapipe.path().display(), again.display());
    Some(sandbox.with_env("VK_DRIVER_FILES", both))
}

#[cfg(target_os = "linux")]
#[test]
fn adapters_of_one_name_go_by_their_index() {
    let Some(sandbox) = twins() else {
        eprintln!("NOT RUN: adapters_of_one_name_go_by_their_index: no lavapipe");
        return;
    };
    for device in ["0", "1"] {
        let plan = format!("train --plan --device {device} --no-autotune");
        let ran = sandbox.run(&plan).ok();
        assert!(ran.stdout.contains("llvmpipe"), "{ran:?}");
    }
    let both = ["0: llvmpipe", "1: llvmpipe", "index"];
    let ran = sandbox.run("train --plan --device llvmpipe");
    ran.refused(&both);
    let sandbox = sandbox.with_env("WGPU_ADAPTER_NAME", "llvmpipe");
    sandbox.run("train --plan").refused(&both);
    // An index or a name in --device overrides the environment variable.
    sandbox.run("train --plan --device 1 --no-autotune").ok();
    let cpu = sandbox.run("train --plan --device cpu").ok();
    assert!(cpu.stdout.contains("device  CPU"), "{cpu:?}");
}

#[test]
fn the_environment_names_adapter_and_backend() {
    let name = |name: &str| Sandbox::new().with_env("WGPU_ADAPTER_NAME", name);
    let refused = name("nonsense").run("train --plan");
    refused.refused(&["WGPU_ADAPTER_NAME", "nonsense", "gpt2-dpo devices"]);
    let empty = name("").run("train --plan").ok();
    assert!(empty.stdout.contains("device  "), "{empty:?}");

    let elsewhere = match cfg!(windows) {
        true => "metal",
        false => "dx12",
    };
    let sandbox = Sandbox::new().with_env("WGPU_BACKEND", elsewhere);
    let none = sandbox.run(&format!("train --plan --device {GPU}"));
    none.refused(&["no device 0", "WGPU_BACKEND"]);
    let cpu = sandbox.run("train --plan").ok();
    assert!(cpu.stdout.contains("device  CPU"), "{cpu:?}");
}
