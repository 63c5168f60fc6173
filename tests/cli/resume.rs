//! Runs that are killed or asked to stop, and `train --resume`.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::sandbox::{Ran, Sandbox, number, steps, without_speeds};

/// A run of twelve steps that evaluates after every third and saves after every second.
const RUN: &str = "train --device cpu --data d.jsonl --eval-data e.jsonl --batch-size 1 \
    --gradient-accumulation-steps 2 --learning-rate 1e-3 --eval-steps 3 --save-steps 2 \
    --cache-dir cache";

fn spawn(sandbox: &Sandbox, args: &str) -> Child {
    let args: Vec<&str> = args.split_whitespace().collect();
    let mut command = sandbox.command(&args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    heed_signals(&mut command);
    command.spawn().unwrap()
}

/// Signals end the command, even if those who run the tests ignore them, as `nohup` and a shell's `&` do.
#[cfg(unix)]
fn heed_signals(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let heed = || {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the default action has no handler that could be wrong.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec only signal(2) is called, which POSIX allows there.
    unsafe { command.pre_exec(heed) };
}

/// Everything that a run leaves in its folder, without times, the folder's name and the files that are there only
/// while it runs.
fn left(sandbox: &Sandbox, out: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for name in sandbox.list(&format!("{out}/{folder}")) {
            let path = format!("{folder}{name}");
            let full = format!("{out}/{path}");
            if sandbox.path(&full).is_dir() {
                folders.push(format!("{path}/"));
                continue;
            }
            let bytes = match name.as_str() {
                "metrics.jsonl" => {
                    let rows =
                        without_speeds(sandbox.metrics(full.trim_end_matches("/metrics.jsonl")));
                    format!("{rows:?}").into_bytes()
                }
                // It has the hashes of files with times.
                "manifest.sha256" => continue,
                "run.toml" => {
                    let text = String::from_utf8(sandbox.read(&full)).unwrap();
                    text.replace(&format!("{out:?}"), "OUT").into_bytes()
                }
                _ => sandbox.read(&full),
            };
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

#[track_caller]
fn assert_same_files(sandbox: &Sandbox, ours: &str, theirs: &str) {
    let (ours_are, theirs_are) = (left(sandbox, ours), left(sandbox, theirs));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ours_are), names(&theirs_are), "{ours}");
    for (a, b) in ours_are.iter().zip(&theirs_are) {
        assert!(a == b, "{ours}: {} differs", a.0);
    }
}

/// The kills, unless scripts/kill_runs asks for more.
const KILLS: usize = 50;

/// SIGKILL at seeded moments over the whole run, some twice in a row; then the run goes on to its end.
#[test]
fn a_run_that_is_killed_ends_with_the_same_bytes() {
    let sandbox = Sandbox::new();
    let begun = Instant::now();
    sandbox
        .run(&format!("{RUN} --max-steps 12 --overwrite --out whole"))
        .ok();
    // The time of a whole run. It follows the machine's load.
    let mut whole = begun.elapsed();
    let wanted = std::env::var("KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let (mut kills, mut twice, mut rounds) = (0, 0, 0);
    while kills < wanted {
        assert!(rounds < 4 * wanted, "{kills} kills in {rounds} runs");
        let out = format!("killed-{rounds}");
        let cache = format!("cache-{rounds}");
        // Each round computes the reference too.
        let args = format!("{RUN} --max-steps 12")
            .replace("cache-dir cache", &format!("cache-dir {cache}"));
        let blows = 1 + rounds % 2;
        for blow in 0..blows {
            let begun = Instant::now();
            let resumes = sandbox.exists(&format!("{out}/run.toml"));
            let mut child = match resumes {
                true => spawn(&sandbox, &format!("train --resume {out}")),
                false => spawn(&sandbox, &format!("{args} --out {out} --overwrite")),
            };
            let moment = whole.mul_f64(rng.random_range(0.0..1.0 / blows as f64));
            while begun.elapsed() < moment && child.try_wait().unwrap().is_none() {
                thread::sleep(Duration::from_millis(1));
            }
            match child.try_wait().unwrap() {
                None => {
                    child.kill().unwrap();
                    kills += 1;
                    twice += blow;
                }
                Some(_) if !resumes => whole = begun.elapsed(),
                Some(_) => {}
            }
            child.wait().unwrap();
        }
        let ran = match sandbox.exists(&format!("{out}/run.toml")) {
            true => sandbox.run(&format!("train --resume {out}")),
            false => sandbox.run(&format!("{args} --out {out} --overwrite")),
        };
        ran.ok();
        for folder in ["", "checkpoints/step-10/", "checkpoints/step-12/"] {
            let file = format!("{out}/{folder}run.toml");
            let text = String::from_utf8(sandbox.read(&file)).unwrap();
            sandbox.write(&file, text.replace(&cache, "cache"));
        }
        assert_same_files(&sandbox, &out, "whole");
        fs::remove_dir_all(sandbox.path(&out)).unwrap();
        rounds += 1;
    }
    println!("{rounds} runs, {kills} kills, {twice} of them second ones of a run");
    assert!(twice >= wanted / 8, "{kills} kills, {twice} second ones");
}

#[cfg(unix)]
mod signals {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    fn send(child: &Child, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// A run that would take long, and that the caller waits for, once it has printed a line with `text`.
    #[allow(clippy::zombie_processes)]
    fn under_way(sandbox: &Sandbox, args: &str, text: &str) -> (Child, Vec<String>) {
        let mut child = spawn(sandbox, args);
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let mut seen = Vec::new();
        loop {
            let line = lines.next().expect("the run goes on").unwrap();
            seen.push(line);
            if seen[seen.len() - 1].contains(text) {
                drop(lines);
                return (child, seen);
            }
        }
    }

    fn ended(mut child: Child) -> (Option<i32>, String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        (child.wait().unwrap().code(), stdout, stderr)
    }

    const LONG: &str = "train --device cpu --data d.jsonl --eval-data e.jsonl --batch-size 2 --max-steps 2000 \
        --gradient-accumulation-steps 1 --eval-steps 1 --cache-dir cache";

    #[test]
    fn the_first_signal_saves_and_says_how_to_go_on() {
        let sandbox = Sandbox::new();
        for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
            let out = format!("out{signal}");
            let (child, _) = under_way(&sandbox, &format!("{LONG} --out {out}"), "step 3:");
            send(&child, signal);
            let (exit, stdout, stderr) = ended(child);
            assert_eq!(exit, Some(code), "{stdout}\n{stderr}");
            let line = stdout.lines().last().unwrap();
            assert!(line.starts_with("stopped after step "), "{line}");
            assert!(
                line.ends_with(&format!("go on with: gpt2-dpo train --resume {out}")),
                "{line}"
            );
            let checkpoints = sandbox.list(&format!("{out}/checkpoints"));
            assert_eq!(checkpoints.len(), 1, "{checkpoints:?}");
            assert!(!sandbox.exists(&format!("{out}/.gpt2-dpo.lock")));
        }
    }

    /// While the program waits for data, as during a download, there is nothing to save.
    #[test]
    fn a_signal_before_the_run_ends_the_process() {
        let sandbox = Sandbox::new();
        let mut command = sandbox.command(&["train", "--device", "cpu", "--data", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        heed_signals(&mut command);
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        thread::sleep(Duration::from_secs(2));
        send(&child, "-INT");
        let (exit, stdout, stderr) = ended(child);
        drop(stdin);
        assert_eq!(exit, Some(130), "{stdout}\n{stderr}");
        assert_eq!(stderr, "stopped: there is nothing to save\n");
    }

    #[test]
    fn a_second_signal_ends_the_process_at_once() {
        let sandbox = Sandbox::new();
        // A step of so many micro-batches that it does not end meanwhile.
        let slow = "train --device cpu --data d.jsonl --data-weights 100 --batch-size 1 --no-shuffle \
            --gradient-accumulation-steps 600 --epochs 200 --save-minutes 0 --loss sft --out out";
        let (child, _) = under_way(&sandbox, slow, "output");
        thread::sleep(Duration::from_millis(700));
        send(&child, "-INT");
        thread::sleep(Duration::from_millis(50));
        let begun = Instant::now();
        send(&child, "-INT");
        let (exit, _, _) = ended(child);
        assert_eq!(exit, Some(130));
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
    }

    #[test]
    fn a_signal_that_the_process_ignores_stays_ignored() {
        let sandbox = Sandbox::new();
        let args: Vec<&str> = RUN
            .split_whitespace()
            .chain(["--max-steps", "12", "--out", "out"])
            .collect();
        let program = sandbox.command(&args);
        let mut command = Command::new("nohup");
        command.arg(program.get_program()).args(program.get_args());
        command.current_dir(sandbox.path("")).envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(10));
            let _ = Command::new("kill")
                .args(["-HUP", &child.id().to_string()])
                .output();
        }
        let (exit, stdout, stderr) = ended(child);
        assert_eq!(exit, Some(0), "{stdout}\n{stderr}");
    }

    #[test]
    fn a_terminal_that_is_gone_does_not_stop_a_run() {
        let sandbox = Sandbox::new();
        let mut child = spawn(&sandbox, &format!("{RUN} --max-steps 12 --out out"));
        drop(child.stdout.take());
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(sandbox.exists("out/model.safetensors"));
    }
}

#[test]
fn a_second_run_into_a_folder_is_refused_and_told_of_the_first() {
    let sandbox = Sandbox::new();
    let mut first = spawn(&sandbox, &format!("{RUN} --max-steps 3000 --out out"));
    while !sandbox.exists("out/metrics.jsonl") {
        assert!(first.try_wait().unwrap().is_none(), "the first run ended");
        thread::sleep(Duration::from_millis(5));
    }
    for args in [
        format!("{RUN} --max-steps 12 --out out"),
        format!("{RUN} --out out --overwrite"),
        "train --resume out".to_owned(),
    ] {
        let ran = sandbox.run(&args);
        let process = format!("process {}", first.id());
        ran.refused(&[
            "out",
            "another run",
            if cfg!(unix) { &process } else { "another" },
        ]);
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock of the killed run is stale.
    sandbox
        .run("train --resume out --max-steps 4 --resume-anyway")
        .ok();
}

#[test]
fn what_would_change_the_result_is_refused_by_name() {
    let sandbox = Sandbox::new();
    sandbox.run(&format!("{RUN} --out out --max-steps 4")).ok();
    fs::remove_file(sandbox.path("out/model.safetensors")).unwrap();
    for (flags, named) in [
        ("--learning-rate 2e-3", "--learning-rate"),
        ("--max-steps 5", "--max-steps"),
        ("--seed 1", "--seed"),
        ("--data e.jsonl", "--data"),
        ("--loss sft", "--loss"),
        ("--min-score-margin 1", "--min-score-margin"),
        (
            "--seed 1 --beta 0.5",
            "--beta: was 0.1, and is 0.5 now, which would change the result; so would --seed: it was",
        ),
    ] {
        sandbox
            .run(&format!("train --resume out {flags}"))
            .refused(&[named, "--resume-anyway"]);
    }
    sandbox
        .run("train --resume out --out other")
        .refused(&["--out", "--resume"]);
    sandbox
        .run("train --resume out --config out/run.toml")
        .refused(&["--config"]);
    sandbox.run("train --resume-anyway").refused(&["--resume"]);
    let before = sandbox.read("out/run.toml");
    for (flag, named) in [
        ("--lora-rank 2", "--lora-rank"),
        ("--train-layers 1", "--train-layers"),
    ] {
        sandbox
            .run(&format!("train --resume out {flag} --resume-anyway"))
            .refused(&[named, "other tensors"]);
    }
    assert!(sandbox.read("out/run.toml") == before);
    sandbox
        .run("train --resume absent")
        .refused(&["absent", "run.toml"]);

    let again = sandbox
        .run("train --resume out --learning-rate 1e-3 --save-steps 3 --profile=false")
        .ok();
    assert!(!again.stderr.contains("result"), "{again:?}");
    let done = sandbox.run("train --resume out").ok();
    assert!(done.stdout.contains("nothing is left to do"), "{done:?}");
    let changed = sandbox
        .run("train --resume out --resume-anyway --max-steps 6 --learning-rate 5e-4")
        .ok();
    for text in [
        "--max-steps was 4, and is 6 now",
        "--learning-rate was 0.001, and is 0.0005 now",
    ] {
        assert!(changed.stderr.contains(text), "{changed:?}");
    }
    let rows = steps(&sandbox.metrics("out"));
    assert_eq!(rows.len(), 6);
    assert_eq!(number(&rows[3], "learning_rate"), 1e-3);
    assert_eq!(number(&rows[5], "learning_rate"), 5e-4);
}

#[test]
fn another_device_is_allowed_and_said() {
    let sandbox = Sandbox::new();
    let args = format!("{RUN} --out out --max-steps 4");
    sandbox.run(&args).ok();
    fs::remove_dir_all(sandbox.path("out/checkpoints/step-4")).unwrap();
    fs::remove_file(sandbox.path("out/model.safetensors")).unwrap();
    let ran = sandbox
        .run(&format!(
            "train --resume out --device {} --no-autotune",
            crate::sandbox::GPU
        ))
        .ok();
    assert!(ran.stderr.contains("the device was CPU"), "{ran:?}");
    assert!(ran.stdout.contains("resume  after step 2 of 4"), "{ran:?}");
}

#[test]
fn a_damaged_checkpoint_is_named_and_an_earlier_one_is_taken_by_name() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&format!("{RUN} --max-steps 12 --out whole"))
        .ok();
    sandbox.run(&format!("{RUN} --max-steps 12 --out out")).ok();
    fs::remove_file(sandbox.path("out/model.safetensors")).unwrap();
    sandbox.write("out/checkpoints/step-12/optimizer.safetensors", "x");
    sandbox.run("train --resume out").refused(&[
        "step-12",
        "optimizer.safetensors",
        "--resume out/checkpoints/step-10",
    ]);
    let ran = sandbox.run("train --resume out/checkpoints/step-10").ok();
    assert!(
        ran.stderr
            .contains("step-12, which comes later, is removed"),
        "{ran:?}"
    );
    assert_same_files(&sandbox, "out", "whole");
}

#[test]
fn a_checkpoint_is_a_model() {
    let sandbox = Sandbox::new();
    sandbox.run(&format!("{RUN} --out out --max-steps 4")).ok();
    let model = "out/checkpoints/step-2";
    let eval = |model: &str| -> Ran {
        sandbox
            .run(&format!(
                "eval --model {model} --data e.jsonl --device cpu --json"
            ))
            .ok()
    };
    assert_eq!(eval("out/checkpoints/step-4").stdout, eval("out").stdout);
    assert_ne!(eval(model).stdout, eval("out").stdout);
    sandbox
        .run(&format!(
            "generate --model {model} --prompt a --max-new-tokens 2 --device cpu"
        ))
        .ok();
    // A second run from a first one's result says what its reference is, and takes another one.
    let on = format!("--data d.jsonl --max-steps 1 --model {model} --eval-data e.jsonl");
    let ran = sandbox.train(&format!("{on} --out own")).ok();
    assert!(
        ran.stderr.contains("it is the reference of this run too"),
        "{ran:?}"
    );
    sandbox.starter("start");
    let ran = sandbox
        .train(&format!("{on} --ref-model start --out other"))
        .ok();
    assert!(ran.stdout.contains("against start"), "{ran:?}");
    let first = |out: &str| number(&sandbox.metrics(out)[0], "eval_rewards/margins");
    assert_eq!(first("own"), 0.0);
    assert_ne!(first("other"), 0.0, "the policy is not the reference");
    let fly = sandbox
        .train(&format!(
            "{on} --ref-model start --reference on-the-fly --out fly"
        ))
        .ok();
    let (a, b) = (first("other"), first("fly"));
    assert!((a - b).abs() < 1e-5, "{a} {b} {fly:?}");
}

#[test]
fn best_and_patience_are_held_to_sense() {
    let sandbox = Sandbox::new();
    for (options, named) in [
        ("--early-stopping-patience 2", "--save-best"),
        ("--save-best eval_loss", "--eval-steps"),
        ("--save-best eval_loss --eval-steps 1", "--eval-steps"),
        (
            "--save-best eval_rewards/margins --loss sft --eval-steps 1 --eval-data e.jsonl",
            "eval_loss",
        ),
        ("--save-best accuracy", "eval_rewards/accuracies"),
        ("--save-minutes -1", "--save-minutes"),
        ("--ref-model start --loss sft", "--ref-model"),
    ] {
        sandbox.refuses(&format!("--data d.jsonl {options}"), &[named]);
    }
    let run = format!(
        "{RUN} --out out --max-steps 12 --save-best eval_loss --save-steps 0 --learning-rate 1e-2"
    );
    let ran = sandbox
        .run(
            &run.replacen("--learning-rate 1e-3", "", 1)
                .replacen("--save-steps 2", "", 1),
        )
        .ok();
    assert!(ran.stdout.contains("the best: eval_loss"), "{ran:?}");
}

#[test]
fn the_files_of_others_are_left_alone() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("out")).unwrap();
    sandbox.write("out/.gpt2-dpo.lock", "mine");
    sandbox
        .run(&format!("{RUN} --max-steps 1 --out out"))
        .refused(&["out"]);
    assert_eq!(sandbox.read("out/.gpt2-dpo.lock"), b"mine");
}

/// What is refused after the folder was claimed leaves the earlier result as it was.
#[test]
fn an_earlier_result_stays_until_the_run_begins() {
    let sandbox = Sandbox::new();
    sandbox.run(&format!("{RUN} --max-steps 4 --out out")).ok();
    let before = left(&sandbox, "out");
    let models = [
        "--model out/checkpoints/step-2",
        "--model out",
        "--ref-model out",
    ];
    for options in models {
        sandbox
            .train(&format!(
                "--data d.jsonl --max-steps 1 --out out --overwrite {options}"
            ))
            .refused(&["--out"]);
        assert!(left(&sandbox, "out") == before, "{options}");
    }
    // The pairs of the run are others now.
    sandbox.write("d.jsonl", crate::sandbox::starter_lines("train.jsonl", 7));
    sandbox
        .run("train --resume out/checkpoints/step-2")
        .refused(&["--data"]);
    assert!(left(&sandbox, "out") == before);
}

/// A run that is taken up from an earlier checkpoint, and stopped again, is not the finished one that it was.
#[test]
fn a_finished_run_that_goes_on_is_not_finished() {
    let sandbox = Sandbox::new();
    sandbox.run(&format!("{RUN} --max-steps 4 --out out")).ok();
    let mut child = spawn(
        &sandbox,
        "train --resume out --resume-anyway --max-steps 5000 --save-steps 0",
    );
    while sandbox.exists("out/model.safetensors") {
        assert!(child.try_wait().unwrap().is_none(), "the run ended");
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(100));
    child.kill().unwrap();
    child.wait().unwrap();
    // Killed before its first checkpoint, it is told of what the user had changed.
    let again = sandbox.run("train --resume out");
    again.refused(&["--max-steps: was 4, and is 5000 now"]);
    sandbox.run("train --resume out --max-steps 4").ok();
    assert!(sandbox.exists("out/model.safetensors"));
}

#[test]
fn a_changed_file_of_options_is_noticed() {
    let sandbox = Sandbox::new();
    sandbox.run(&format!("{RUN} --max-steps 4 --out out")).ok();
    fs::remove_file(sandbox.path("out/model.safetensors")).unwrap();
    let text = String::from_utf8(sandbox.read("out/run.toml")).unwrap();
    sandbox.write(
        "out/run.toml",
        text.replace("learning-rate = 0.001", "learning-rate = 0.01"),
    );
    sandbox
        .run("train --resume out")
        .refused(&["--learning-rate: was 0.001, and is 0.01 now"]);
}

#[test]
fn a_lost_best_checkpoint_is_noticed_at_once() {
    let sandbox = Sandbox::new();
    let run = RUN
        .replace("--save-steps 2", "--save-steps 1")
        .replace("1e-3", "3e-2");
    let run = format!("{run} --max-steps 12 --out out --save-best eval_loss");
    sandbox.run(&run).ok();
    fs::remove_file(sandbox.path("out/model.safetensors")).unwrap();
    let best = sandbox
        .list("out/checkpoints")
        .into_iter()
        .find(|name| !["step-11", "step-12"].contains(&name.as_str()));
    let best = best.expect("the best is an earlier one");
    sandbox.write(&format!("out/checkpoints/{best}/model.safetensors"), "x");
    sandbox
        .run("train --resume out")
        .refused(&[&best, "--resume-anyway"]);
    let ran = sandbox.run("train --resume out --resume-anyway").ok();
    assert!(ran.stderr.contains("is forgotten"), "{ran:?}");
}
