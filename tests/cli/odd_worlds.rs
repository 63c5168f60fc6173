//! Runs in unusual places: no home, folders that cannot be written, strange names, a device that others use too.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sandbox::{GPU, Ran, Sandbox};

const RUN: &str = "train --device cpu --data d.jsonl --eval-data e.jsonl --batch-size 2 --max-steps 3 \
    --gradient-accumulation-steps 1 --save-steps 1 --learning-rate 1e-3";

fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran::of(&["an odd world"], output)
}

/// The program with these arguments, and without the variables that name folders of the user.
fn homeless(sandbox: &Sandbox, args: &str) -> Command {
    let args: Vec<&str> = args.split_whitespace().collect();
    let mut command = sandbox.command(&args);
    for name in [
        "HOME",
        "XDG_CACHE_HOME",
        "HF_HOME",
        "USERPROFILE",
        "LOCALAPPDATA",
    ] {
        command.env_remove(name);
    }
    command
}

#[track_caller]
fn same_weights(sandbox: &Sandbox, ours: &Path, theirs: &str) {
    let ours = fs::read(ours.join("model.safetensors")).unwrap();
    let theirs = sandbox.read(&format!("{theirs}/model.safetensors"));
    assert!(ours == theirs);
}

#[test]
fn a_home_is_not_needed() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&format!("{RUN} --out plain --cache-dir cache"))
        .ok();
    ran(&mut homeless(&sandbox, &format!("{RUN} --out homeless"))).ok();
    same_weights(&sandbox, &sandbox.path("homeless"), "plain");

    // A home that is a file: nothing can be written below it, whoever asks.
    sandbox.write("file", "");
    let mut command = homeless(&sandbox, &format!("{RUN} --out fileless"));
    let home = sandbox.path("file");
    command
        .env("HOME", &home)
        .env("XDG_CACHE_HOME", home.join("cache"));
    let said = ran(&mut command).ok();
    assert!(
        said.stderr.contains("are not kept for the next run"),
        "{said:?}"
    );
    same_weights(&sandbox, &sandbox.path("fileless"), "plain");
}

#[cfg(unix)]
#[test]
fn folders_may_have_any_name() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let sandbox = Sandbox::new();
    sandbox
        .run(&format!("{RUN} --out plain --cache-dir cache"))
        .ok();
    let long = vec!["a-name-of-some-length".repeat(8); 12].join("/");
    let names: [&[u8]; 5] = [
        b"a b",
        b"it's \"so\"",
        b"N\xff\xfe",
        "\u{fc}\u{f1}\u{ee}".as_bytes(),
        long.as_bytes(),
    ];
    for name in names {
        let out = sandbox.path("").join(OsStr::from_bytes(name));
        let args: Vec<&str> = RUN
            .split_whitespace()
            .chain(["--cache-dir", "cache", "--out"])
            .collect();
        let mut command = sandbox.command(&args);
        ran(command.arg(&out)).ok();
        same_weights(&sandbox, &out, "plain");
        // And on from there.
        fs::remove_file(out.join("model.safetensors")).unwrap();
        let mut command = sandbox.command(&["train", "--resume"]);
        ran(command.arg(out.join("checkpoints/step-2"))).ok();
        same_weights(&sandbox, &out, "plain");
    }
    // A name that no file system takes.
    let args = format!("{RUN} --out {}", "x".repeat(300));
    sandbox.run(&args).refused(&["cannot create"]);
}

#[test]
fn two_processes_share_a_device() {
    let sandbox = Sandbox::new();
    let args = |out: &str| {
        RUN.replace("--device cpu", &format!("--device {GPU} --no-autotune"))
            + &format!(" --out {out} --cache-dir {out}-cache")
    };
    sandbox.run(&args("alone")).ok();
    let together = ["first", "second"].map(|out| {
        let args = args(out);
        let args: Vec<&str> = args.split_whitespace().collect();
        let mut command = sandbox.command(&args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    for child in together {
        let output = child.wait_with_output().unwrap();
        Ran::of(&["one of two"], output).ok();
    }
    for out in ["first", "second"] {
        same_weights(&sandbox, &sandbox.path(out), "alone");
    }
}

/// Files that people share name no folder of theirs, and hold no token.
#[test]
fn what_is_shared_names_no_home_and_no_token() {
    let sandbox = Sandbox::new();
    let home = sandbox.path("secret-home");
    fs::create_dir(&home).unwrap();
    let commands = [
        format!("{RUN} --out out --profile"),
        "selftest --device cpu --json selftest.json".to_owned(),
        "bench --device cpu --model examples --json bench.json".to_owned(),
        "inspect d.jsonl --json inspect.json".to_owned(),
    ];
    for args in commands {
        let args: Vec<&str> = args.split_whitespace().collect();
        let mut command = sandbox.command(&args);
        command
            .env("HOME", &home)
            .env("XDG_CACHE_HOME", home.join(".cache"))
            .env("HF_TOKEN", "hf_secrettoken");
        command.output().unwrap();
    }
    let mut folders = vec![sandbox.path("")];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path == home {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            for secret in ["secret-home", "hf_secrettoken"] {
                assert!(!text.contains(secret), "{}", path.display());
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 15, "{looked_at}");
    assert!(sandbox.exists("out/trace.json"));
}
