//! Repeated runs: by run.toml, with equal options, and through the reference cache.

use std::fs;

use crate::models::{edit_tensors, tensors};
use crate::sandbox::{
    GPU, LN_2, Sandbox, assert_same_losses, evals, number, numbers, steps, without_speeds,
};

/// Compares weights byte by byte, and metrics without the speeds.
#[track_caller]
fn assert_same_run(sandbox: &Sandbox, ours: &str, theirs: &str) {
    let weights = |out: &str| sandbox.read(&format!("{out}/model.safetensors"));
    assert!(weights(ours) == weights(theirs), "weights differ");
    let metrics = |out: &str| without_speeds(sandbox.metrics(out));
    assert_eq!(metrics(ours), metrics(theirs));
}

#[test]
fn equal_runs_give_equal_bytes() {
    let sandbox = Sandbox::new();
    for device in ["cpu", GPU] {
        let outs = [1, 2].map(|n| format!("{device}-{n}"));
        for out in &outs {
            let options = format!(
                "--device {device} --cache-dir cache-{out} --batch-size 3 --learning-rate 1e-3"
            );
            sandbox.metrics_of(out, &options);
        }
        assert_same_run(&sandbox, &outs[0], &outs[1]);
    }
}

#[test]
fn the_run_file_reproduces_a_run() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    sandbox.metrics_of(
        "first",
        "--model model --batch-size 2 --gradient-accumulation-steps 2 --epochs 2 \
         --beta 0.3 --learning-rate 3e-4 --lr-scheduler cosine --warmup-steps 1 --seed 7 \
         --weight-decay 0.1 --decay matrices --max-grad-norm 0.5 --eval-steps 2 \
         --max-prompt-tokens 20 --max-response-tokens 9 --template Q:{prompt}\\nA: \
         --reference on-the-fly --max-binding-mib 64",
    );
    sandbox
        .run("train --config first/run.toml --out second")
        .ok();
    assert_same_run(&sandbox, "first", "second");
    let run_file = |out: &str| String::from_utf8(sandbox.read(&format!("{out}/run.toml"))).unwrap();
    let moved = run_file("first").replace("\"first\"", "\"second\"");
    assert_eq!(moved, run_file("second"));
}

#[test]
fn flags_win_over_the_file() {
    let sandbox = Sandbox::new();
    let file = "data = \"d.jsonl\"\nlearning-rate = 1e-3\nseed = 7\nno-shuffle = true\n\
                batch-size = 1\ngradient-accumulation-steps = 1\nmax-steps = 3\n";
    sandbox.write("recipe.toml", file);
    sandbox
        .train(
            "--config recipe.toml --out out --learning-rate 2e-3 --max-steps 2 --no-shuffle=false",
        )
        .ok();
    let run: toml::Table = String::from_utf8(sandbox.read("out/run.toml"))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(run["learning-rate"].as_float(), Some(2e-3));
    assert_eq!(run["no-shuffle"].as_bool(), Some(false));
    assert_eq!(run["seed"].as_integer(), Some(7), "from the file");
    assert_eq!(run["beta"].as_float(), Some(0.1), "from neither");
    let rows = steps(&sandbox.metrics("out"));
    assert_eq!(numbers(&rows, "learning_rate"), [2e-3, 2e-3]);
}

#[test]
fn the_file_is_held_to_its_names_and_types() {
    let sandbox = Sandbox::new();
    for (content, fragments) in [
        ("learning-rat = 1e-3", ["learning-rat", "recipe.toml"]),
        ("learning_rate = 1e-3", ["learning_rate", "recipe.toml"]),
        ("seed = \"13\"", ["seed", "recipe.toml"]),
        ("loss = \"kto\"", ["kto", "sigmoid"]),
        ("seed = ", ["recipe.toml", "line 1"]),
        ("batch-size = 0", ["--batch-size", "0"]),
    ] {
        sandbox.write("recipe.toml", content);
        sandbox.refuses("--config recipe.toml --data d.jsonl", &fragments);
    }
    sandbox.refuses("--config absent.toml", &["absent.toml"]);
}

#[test]
fn the_reference_is_the_same_from_the_cache_and_on_the_fly() {
    let sandbox = Sandbox::new();
    let run = |out: &str, options: &str| {
        let options = format!("--batch-size 2 --learning-rate 1e-3 --eval-steps 1 {options}");
        sandbox.metrics_of(out, &options)
    };
    let cached = run("cached", "--reference cached");
    let fly = run("fly", "--reference on-the-fly");
    assert_same_losses(&cached, &fly, 1e-6);
    let last = evals(&cached).pop().unwrap();
    assert!((number(&last, "eval_loss") - LN_2).abs() > 1e-3, "it moved");

    let kept = sandbox.list("cache");
    assert_eq!(kept.len(), 2, "training and held-out pairs");
    run("again", "");
    assert_same_run(&sandbox, "cached", "again");
    assert_eq!(sandbox.list("cache"), kept);

    // A reference with other weights has other log-probs, and a cache file of its own.
    run("tuned", "--model cached");
    assert_eq!(sandbox.list("cache").len(), 4);
}

#[test]
fn a_second_run_takes_the_reference_from_the_cache() {
    let sandbox = Sandbox::new();
    sandbox.metrics_of("first", "");
    // The cache file is whole and finite, but belongs to another model.
    for file in sandbox.list("cache") {
        let path = sandbox.path("cache").join(file);
        let dir = sandbox.path("doctored");
        fs::create_dir_all(&dir).unwrap();
        fs::copy(&path, dir.join("model.safetensors")).unwrap();
        edit_tensors(&dir, |tensors| {
            let logps = tensors.values_mut().next().unwrap();
            logps.bytes[..4].copy_from_slice(&(-100.0_f32).to_le_bytes());
        });
        assert_eq!(tensors(&dir).len(), 1);
        fs::copy(dir.join("model.safetensors"), path).unwrap();
    }
    let second = sandbox.metrics_of("second", "");
    let start = number(&evals(&second)[0], "eval_loss");
    assert!((start - LN_2).abs() > 0.1, "computed anew: {start}");
}

#[test]
fn the_cache_serves_every_batch_size() {
    let sandbox = Sandbox::new();
    sandbox.metrics_of("one-by-one", "--cache-dir warm");
    sandbox.metrics_of("warm-out", "--cache-dir warm --batch-size 4");
    sandbox.metrics_of("cold-out", "--cache-dir cold --batch-size 4");
    assert_same_run(&sandbox, "warm-out", "cold-out");
}

#[test]
fn a_broken_cache_is_mended() {
    let sandbox = Sandbox::new();
    sandbox.metrics_of("first", "");
    let files = sandbox.list("cache");
    let whole: Vec<_> = files
        .iter()
        .map(|f| sandbox.read(&format!("cache/{f}")))
        .collect();
    type Spoil = fn(&[u8]) -> Vec<u8>;
    let spoils: [(&str, Spoil); 4] = [
        ("empty", |_| Vec::new()),
        ("garbage", |b| vec![0x5a; b.len()]),
        ("cut", |b| b[..b.len() - 4].to_vec()),
        ("nan", |b| {
            let mut b = b.to_vec();
            let last = b.len() - 4;
            b[last..].copy_from_slice(&f32::NAN.to_le_bytes());
            b
        }),
    ];
    for (name, spoil) in spoils {
        for (file, bytes) in files.iter().zip(&whole) {
            sandbox.write(&format!("cache/{file}"), spoil(bytes));
        }
        sandbox.metrics_of(name, "");
        assert_same_run(&sandbox, "first", name);
        assert_eq!(sandbox.list("cache"), files);
        for (file, bytes) in files.iter().zip(&whole) {
            assert_eq!(&sandbox.read(&format!("cache/{file}")), bytes, "{name}");
        }
    }
}

#[test]
fn a_cache_that_cannot_be_written_does_not_stop_a_run() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "in the way");
    let ran = sandbox
        .train("--data d.jsonl --out out --cache-dir file")
        .ok();
    assert!(ran.stderr.contains("note: "), "{ran:?}");
    assert!(sandbox.exists("out/model.safetensors"));
}

/// The measurements are cached beside the reference: the second run measures nothing, and its numbers equal those
/// of the first.
#[test]
fn a_second_run_measures_nothing() {
    let sandbox = Sandbox::new();
    let train = |out: &str| {
        let pairs = "--data d.jsonl --max-steps 2 --batch-size 2";
        let ran = sandbox.run(&format!(
            "train {pairs} --out {out} --device {GPU} --cache-dir kept"
        ));
        ran.ok().stderr
    };
    let first = train("first");
    assert!(first.contains("autotune: measured"), "{first}");
    let kept = sandbox.list("kept");
    assert!(
        kept.iter().any(|file| file.starts_with("tuning-")),
        "{kept:?}"
    );
    let second = train("second");
    assert!(!second.contains("autotune"), "{second}");
    assert_eq!(sandbox.list("kept"), kept);
    assert_same_run(&sandbox, "first", "second");
}
