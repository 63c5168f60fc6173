//! A table of inputs that cannot be used, through every command: the exit code, the place and what to do are said, no
//! panic is shown, no file comes, goes or changes, and the sizes that a header claims are not believed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::sandbox::Sandbox;

mod commands;
mod contents;
mod data;
mod models;
mod texts;

/// The newest checkpoint of [`finished_run`].
const CHECKPOINT: &str = "run/checkpoints/step-2";

/// Folders of a sandbox that hold caches, which a refused run may fill.
const CACHES: [&str; 3] = ["cache", "hf", "user-cache"];

/// What lies in the sandbox beside the six pairs of `d.jsonl` and the four of `e.jsonl`.
enum Beside {
    Nothing,
    /// The starter, in `model`.
    Model,
    /// A run of two steps with a checkpoint after each, in `run`; it has no weights, as if it had been broken off.
    Run,
}

/// An entry of the table.
struct BadInput {
    what: &'static str,
    beside: Beside,
    /// Files to write, over those beside; a name that ends in `/` is a folder in a file's place.
    files: Vec<(String, Vec<u8>)>,
    /// Files to remove.
    without: &'static [&'static str],
    /// The manifest of the checkpoint agrees with the files.
    is_sealed: bool,
    /// Arguments with spaces between; `''` is an empty one.
    command: String,
    /// 1, or 2 if clap refuses the command.
    code: i32,
    /// What the error says: the place first.
    says: &'static [&'static str],
    /// It claims a size that the program must not believe.
    claims: bool,
}

impl BadInput {
    fn beside(self, beside: Beside) -> BadInput {
        BadInput { beside, ..self }
    }

    fn with(mut self, name: &str, content: Vec<u8>) -> BadInput {
        self.files.push((name.to_owned(), content));
        self
    }

    fn without(self, without: &'static [&'static str]) -> BadInput {
        BadInput { without, ..self }
    }

    fn exits(self, code: i32) -> BadInput {
        BadInput { code, ..self }
    }

    fn claims(self) -> BadInput {
        BadInput {
            claims: true,
            ..self
        }
    }

    /// A sandbox with this input.
    fn sandbox(&self, run: &Sandbox) -> Sandbox {
        let sandbox = Sandbox::new();
        match self.beside {
            Beside::Nothing => {}
            Beside::Model => drop(sandbox.starter("model")),
            Beside::Run => copy_folder(&run.path("run"), &sandbox.path("run")),
        }
        for name in self.without {
            fs::remove_file(sandbox.path(name)).unwrap();
        }
        for (name, content) in &self.files {
            if let Some(folder) = name.strip_suffix('/') {
                fs::remove_file(sandbox.path(folder)).unwrap();
                fs::create_dir(sandbox.path(folder)).unwrap();
                continue;
            }
            fs::create_dir_all(sandbox.path(name).parent().unwrap()).unwrap();
            sandbox.write(name, content);
            if self.is_sealed {
                seal(&sandbox, name);
            }
        }
        sandbox
    }

    /// Runs the program on this input and checks all that the table asks for.
    fn check(&self, run: &Sandbox) {
        let sandbox = self.sandbox(run);
        let before = files(&sandbox);
        let args = self.command.split_whitespace();
        let args: Vec<&str> = args.map(|arg| if arg == "''" { "" } else { arg }).collect();
        let ran = sandbox.run_with(&args);
        ran.refused(self.says);
        assert_eq!(ran.code, Some(self.code), "{ran:?}");
        // An error is to be read: it does not repeat an input of any length.
        assert!(ran.stderr.len() < 20_000, "{} bytes", ran.stderr.len());
        assert_same_files(&before, &files(&sandbox));
        #[cfg(target_os = "linux")]
        if self.claims {
            let peak = memory::peak_of(&mut sandbox.command(&args));
            assert!(peak < memory::FOR_CLAIMS, "{} MB", peak / 1_000_000);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = self.claims;
    }
}

/// An entry whose command needs no file of its own.
fn command(what: &'static str, command: &str, says: &'static [&'static str]) -> BadInput {
    BadInput {
        what,
        beside: Beside::Nothing,
        files: Vec::new(),
        without: &[],
        is_sealed: false,
        command: command.to_owned(),
        code: 1,
        says,
        claims: false,
    }
}

const TRAIN: &str = "train --device cpu --cache-dir cache --out out --data";

/// Data to train on.
fn data(
    what: &'static str,
    name: &'static str,
    content: Vec<u8>,
    says: &'static [&'static str],
) -> BadInput {
    command(what, &format!("{TRAIN} {name}"), says).with(name, content)
}

/// A file of a model.
fn model(
    what: &'static str,
    name: &'static str,
    content: Vec<u8>,
    says: &'static [&'static str],
) -> BadInput {
    let generate = "generate --device cpu --model model --prompt hello";
    command(what, generate, says)
        .beside(Beside::Model)
        .with(name, content)
}

/// A chat template for a single message.
fn template(what: &'static str, text: &str, says: &'static [&'static str]) -> BadInput {
    let generate = "generate --device cpu --message hello --chat-template t.jinja";
    command(what, generate, says).with("t.jinja", text.into())
}

fn template_in_training(what: &'static str, text: &str, says: &'static [&'static str]) -> BadInput {
    let train = format!("{TRAIN} d.jsonl --chat-template t.jinja");
    command(what, &train, says).with("t.jinja", text.into())
}

fn option_file(
    what: &'static str,
    text: impl AsRef<[u8]>,
    says: &'static [&'static str],
) -> BadInput {
    let train = format!("{TRAIN} d.jsonl --config c.toml");
    command(what, &train, says).with("c.toml", text.as_ref().to_owned())
}

/// A file of the newest checkpoint of a run.
fn checkpoint(
    what: &'static str,
    name: &str,
    content: Vec<u8>,
    says: &'static [&'static str],
) -> BadInput {
    command(what, "train --resume run", says)
        .beside(Beside::Run)
        .with(&format!("{CHECKPOINT}/{name}"), content)
}

/// The same with its hash in the manifest, as a program would write it that has another idea of the file.
fn sealed_checkpoint(
    what: &'static str,
    name: &str,
    content: Vec<u8>,
    says: &'static [&'static str],
) -> BadInput {
    BadInput {
        is_sealed: true,
        ..checkpoint(what, name, content, says)
    }
}

/// A sandbox with the run of [`Beside::Run`].
fn finished_run() -> Sandbox {
    let run = Sandbox::new();
    run.train(
        "--data d.jsonl --out run --batch-size 1 --gradient-accumulation-steps 1 --max-steps 2 --save-steps 1",
    )
    .ok();
    fs::remove_file(run.path("run/model.safetensors")).unwrap();
    run
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Writes the hash of this file of the checkpoint into the manifest.
fn seal(sandbox: &Sandbox, name: &str) {
    let hash = Sha256::digest(sandbox.read(name));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = name.strip_prefix(CHECKPOINT).unwrap().trim_matches('/');
    let manifest = format!("{CHECKPOINT}/manifest.sha256");
    let text = String::from_utf8(sandbox.read(&manifest)).unwrap();
    let lines = text.lines().map(|line| match line.split_once("  ") {
        Some((_, named)) if named == name => format!("{hash}  {name}\n"),
        _ => format!("{line}\n"),
    });
    sandbox.write(&manifest, lines.collect::<String>());
}

/// Every file of the sandbox with its contents and every folder with none, but for the caches.
fn files(sandbox: &Sandbox) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for name in sandbox.list(&folder) {
            if folder.is_empty() && CACHES.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{folder}{name}");
            if sandbox.path(&path).is_dir() {
                folders.push(format!("{path}/"));
                found.insert(path, None);
            } else {
                let content = sandbox.read(&path);
                found.insert(path, Some(content));
            }
        }
    }
    found
}

/// No file may have come, gone or changed.
#[track_caller]
fn assert_same_files(
    before: &BTreeMap<String, Option<Vec<u8>>>,
    after: &BTreeMap<String, Option<Vec<u8>>>,
) {
    let names = before.keys().chain(after.keys());
    let changed: Vec<_> = names
        .filter(|name| before.get(*name) != after.get(*name))
        .collect();
    assert!(changed.is_empty(), "came, went or changed: {changed:?}");
}

/// What a child takes of the memory.
#[cfg(target_os = "linux")]
mod memory {
    use std::io::Read;
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// The most bytes for an input whose sizes are claimed.
    pub const FOR_CLAIMS: u64 = 300_000_000;

    /// The longest record, as src/data/source/text.rs has it.
    const LONGEST_RECORD: u64 = 16 << 20;

    /// The program with the starter's tokenizer, before it reads.
    const PROGRAM: u64 = 64 << 20;

    /// The most bytes that a program without standard input and output has in memory until it ends.
    pub fn peak_of(command: &mut Command) -> u64 {
        let silent = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        peak_until_end(&mut silent.spawn().unwrap())
    }

    /// The kernel keeps the peak, so that only what comes within the last millisecond is missed.
    fn peak_until_end(child: &mut Child) -> u64 {
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        loop {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let mut lines = text.lines();
            let kib = lines.find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
            let kib = kib.map_or(0, |kib| kib.trim().parse::<u64>().unwrap());
            peak = peak.max(kib << 10);
            if child.try_wait().unwrap().is_some() {
                return peak;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The program reads as much as a record may have and ends, so that a line of any length takes as long.
    #[test]
    fn a_line_of_3_gb_is_refused_before_a_record_is_held_twice() {
        let sandbox = Sandbox::new();
        let before = files(&sandbox);
        for (args, beginning) in [
            ("inspect -", "{\"prompt\":\""),
            ("inspect - --skip-bad-records", ""),
            ("inspect -", "[{\"prompt\":\""),
            (
                "train --device cpu --cache-dir cache --out out --data -",
                "{\"prompt\":\"",
            ),
            (
                "train --device cpu --cache-dir cache --out out --data d.jsonl --eval-data -",
                "{\n\"prompt\":\"",
            ),
        ] {
            let args: Vec<&str> = args.split_whitespace().collect();
            let mut command = sandbox.command(&args);
            let piped = command
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            let mut child = piped.spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            let feed = thread::spawn(move || {
                let part = vec![b'a'; 1 << 20];
                let _ = input.write_all(beginning.as_bytes());
                // It fails when the program has ended.
                let parts = (0..3 << 10).take_while(|_| input.write_all(&part).is_ok());
                parts.count()
            });
            let peak = peak_until_end(&mut child);
            let written = feed.join().unwrap();
            let mut text = String::new();
            let mut stderr = child.stderr.take().unwrap();
            stderr.read_to_string(&mut text).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(1), "{args:?}: {text}");
            for said in [
                "error: <standard input>:",
                "a record of more than 16 MiB",
                "\n  help: ",
            ] {
                assert!(text.contains(said), "{args:?}: {text}");
            }
            assert!(!text.contains("panicked"), "{args:?}: {text}");
            assert!(
                peak < PROGRAM + 2 * LONGEST_RECORD,
                "{args:?}: {} MB",
                peak / 1_000_000
            );
            assert!(written < 32, "{args:?}: {written} MiB are read");
        }
        assert_same_files(&before, &files(&sandbox));
    }
}

#[test]
fn every_bad_input_is_refused_with_its_place_and_what_to_do_and_leaves_nothing() {
    let run = finished_run();
    let table = table(&run);
    let names: BTreeSet<&str> = table.iter().map(|bad| bad.what).collect();
    assert!(names.len() == table.len() && table.len() >= 80);
    let fails = |bad: &&BadInput| catch_unwind(AssertUnwindSafe(|| bad.check(&run))).is_err();
    let failed: Vec<&str> = table.iter().filter(fails).map(|bad| bad.what).collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {failed:#?}",
        failed.len(),
        table.len()
    );
}

fn table(run: &Sandbox) -> Vec<BadInput> {
    let sections = [
        data::jsonl(),
        data::other_formats(),
        models::configs(),
        models::weights(),
        texts::tokenizers(),
        texts::templates(),
        commands::option_files(),
        commands::checkpoints(run),
        commands::commands(),
    ];
    sections.into_iter().flatten().collect()
}
