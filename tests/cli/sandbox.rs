//! A temporary folder in which a test runs the program, and helpers for the results.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gpt2_dpo::config::TrainOptions;
use serde_json::{Map, Value};
use tempfile::TempDir;

/// The built-in starter's files in the repository.
const STARTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/starter");

/// The first adapter of `devices`: a GPU, or software Vulkan, which every machine can have. A test that needs it
/// fails without it.
pub const GPU: &str = "0";

pub const LN_2: f64 = std::f64::consts::LN_2;

/// A row of metrics.jsonl.
pub type Row = Map<String, Value>;

/// A temporary folder, in which the program runs; relative paths are relative to it.
pub struct Sandbox {
    dir: TempDir,
    env: Vec<(&'static str, String)>,
}

impl Sandbox {
    /// A sandbox with six of the starter's pairs in `d.jsonl` and four held-out ones in `e.jsonl`.
    pub fn new() -> Sandbox {
        let sandbox = Sandbox {
            dir: TempDir::new().unwrap(),
            env: Vec::new(),
        };
        sandbox.write("d.jsonl", starter_lines("train.jsonl", 6));
        sandbox.write("e.jsonl", starter_lines("eval.jsonl", 4));
        sandbox
    }

    /// The sandbox with this variable in the program's environment.
    pub fn with_env(mut self, name: &'static str, value: impl Into<String>) -> Sandbox {
        self.env.push((name, value.into()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The names in a folder, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Copies the starter's model folder into the sandbox.
    pub fn starter(&self, name: &str) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir_all(&dir).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            fs::copy(Path::new(STARTER).join(file), dir.join(file)).unwrap();
        }
        dir
    }

    /// Runs the program with these arguments, separated by white space.
    pub fn run(&self, args: &str) -> Ran {
        self.run_with(&args.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs the program with these arguments.
    pub fn run_with(&self, args: &[&str]) -> Ran {
        Ran::of(args, self.command(args).output().unwrap())
    }

    /// Runs the program with these arguments and `input` on its standard input.
    pub fn run_fed(&self, args: &str, input: &[u8]) -> Ran {
        let args: Vec<&str> = args.split_whitespace().collect();
        let mut command = self.command(&args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Ran::of(&args, child.wait_with_output().unwrap())
    }

    /// The program with these arguments, in this sandbox.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gpt2-dpo"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path()) // some drivers complain where there is none
            .env("XDG_CACHE_HOME", self.dir.path().join("user-cache"))
            // All tests share Mesa's cache of compiled shaders.
            .env("MESA_SHADER_CACHE_DIR", env!("CARGO_TARGET_TMPDIR"))
            .env_remove("RUST_BACKTRACE")
            // Names that are no path would be looked up on the hub, unless a test asks for that.
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", self.dir.path().join("hf"))
            .envs(self.env.iter().cloned());
        command
    }

    /// `train` with these options; by default on the CPU, with the reference cache in `cache`.
    pub fn train(&self, options: &str) -> Ran {
        let mut args = vec!["train"];
        args.extend(options.split_whitespace());
        if !args.contains(&"--device") {
            args.extend(["--device", "cpu"]);
        }
        // Measuring compiles every variant, which is slow on software adapters. `repeat.rs` tests it.
        if args.windows(2).any(|pair| pair == ["--device", GPU]) {
            args.push("--no-autotune");
        }
        let without = ["on-the-fly", "sft", "simpo", "orpo"];
        let uses_cache = !without.iter().any(|arg| args.contains(arg));
        if uses_cache && !args.contains(&"--cache-dir") {
            args.extend(["--cache-dir", "cache"]);
        }
        self.run_with(&args)
    }

    /// `train` on `d.jsonl` and `e.jsonl` into `out` with one pair a step, unless the options say otherwise.
    pub fn train_into(&self, out: &str, options: &str) -> Ran {
        let mut all = format!("--out {out} {options}");
        for (option, value) in [
            ("--data", "d.jsonl"),
            ("--eval-data", "e.jsonl"),
            ("--batch-size", "1"),
            ("--gradient-accumulation-steps", "1"),
        ] {
            if !options.contains(&format!("{option} ")) {
                all += &format!(" {option} {value}");
            }
        }
        self.train(&all).ok()
    }

    /// The metrics of [`Sandbox::train_into`].
    pub fn metrics_of(&self, out: &str, options: &str) -> Vec<Row> {
        self.train_into(out, options);
        self.metrics(out)
    }

    /// The rows of a run's metrics.jsonl.
    pub fn metrics(&self, out: &str) -> Vec<Row> {
        let text = String::from_utf8(self.read(&format!("{out}/metrics.jsonl"))).unwrap();
        let parse = |line| serde_json::from_str(line).expect("a JSON object a line");
        text.lines().map(parse).collect()
    }

    /// `train` into `out` must be refused, naming each of `fragments`, and leave no `out`.
    #[track_caller]
    pub fn refuses(&self, options: &str, fragments: &[&str]) {
        self.train(&format!("--out out {options}"))
            .refused(fragments);
        assert!(!self.exists("out"), "{options}: out is left behind");
    }
}

/// The first lines of one of the starter's data files.
pub fn starter_lines(file: &str, count: usize) -> String {
    let text = fs::read_to_string(Path::new(STARTER).join(file)).unwrap();
    text.lines()
        .take(count)
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The records in those lines.
pub fn starter_records(file: &str, count: usize) -> Vec<Value> {
    let lines = starter_lines(file, count);
    lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

/// The records as JSONL.
pub fn jsonl(records: impl IntoIterator<Item = Value>) -> String {
    records.into_iter().map(|r| format!("{r}\n")).collect()
}

/// A finished run of the program.
pub struct Ran {
    command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Ran { command, code, .. } = self;
        writeln!(f, "`gpt2-dpo {command}` exits with {code:?}")?;
        writeln!(f, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr)?;
        if self.stderr.contains(&format!("no device {GPU}")) {
            writeln!(
                f,
                "scripts/test installs Mesa's lavapipe (Debian and Ubuntu: \
                 apt-get install mesa-vulkan-drivers)"
            )?;
        }
        Ok(())
    }
}

impl Ran {
    #[track_caller]
    pub fn of(args: &[&str], output: Output) -> Ran {
        let ran = Ran {
            command: args.join(" "),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        // The library names options as fields; a user knows flags.
        for text in [&ran.stdout, &ran.stderr] {
            for name in TrainOptions::NAMES {
                assert!(!text.contains(&format!("`.{name}`")), "{ran:?}");
            }
        }
        ran
    }

    #[track_caller]
    pub fn ok(self) -> Ran {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// The run must have failed with an error that names each of these and has a help, and must not have panicked.
    #[track_caller]
    pub fn refused(&self, fragments: &[&str]) {
        let text = &self.stderr;
        assert!(self.code.is_some_and(|code| code != 0), "{self:?}");
        assert!(text.contains("error: "), "{self:?}");
        // clap writes its own errors.
        let says_what_to_do = text.contains("\n  help: ") || text.contains("try '--help'");
        assert!(says_what_to_do, "no help: {self:?}");
        for panic in ["panicked", "backtrace"] {
            assert!(!text.contains(panic), "{self:?}");
        }
        for fragment in fragments {
            assert!(text.contains(fragment), "not in it: {fragment}\n{self:?}");
        }
    }
}

/// A number of a row.
#[track_caller]
pub fn number(row: &Row, name: &str) -> f64 {
    let value = row.get(name).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no number {name} in {row:?}"))
}

/// A number of each of these rows.
#[track_caller]
pub fn numbers(rows: &[Row], name: &str) -> Vec<f64> {
    rows.iter().map(|row| number(row, name)).collect()
}

/// The rows of optimizer steps.
pub fn steps(rows: &[Row]) -> Vec<Row> {
    let is_step = |row: &&Row| row.contains_key("loss");
    rows.iter().filter(is_step).cloned().collect()
}

/// The rows of evaluations.
pub fn evals(rows: &[Row]) -> Vec<Row> {
    let is_eval = |row: &&Row| row.contains_key("eval_loss");
    rows.iter().filter(is_eval).cloned().collect()
}

/// The rows without the speeds, which depend on the time.
pub fn without_speeds(mut rows: Vec<Row>) -> Vec<Row> {
    for row in &mut rows {
        row.remove("pairs_per_second");
        row.remove("tokens_per_second");
    }
    rows
}

/// Every loss of steps and evaluations must be equal in two runs, up to `bound`.
#[track_caller]
pub fn assert_same_losses(ours: &[Row], theirs: &[Row], bound: f64) {
    let losses = |rows: &[Row]| {
        let all = [
            numbers(&steps(rows), "loss"),
            numbers(&evals(rows), "eval_loss"),
        ];
        all.concat()
    };
    assert_near(&losses(ours), &losses(theirs), bound);
}

/// The numbers must be equal up to `bound`; NaN never is.
#[track_caller]
pub fn assert_near(ours: &[f64], theirs: &[f64], bound: f64) {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= bound;
    let same = ours.len() == theirs.len() && ours.iter().zip(theirs).all(near);
    assert!(same, "{ours:?}\n{theirs:?}");
}
