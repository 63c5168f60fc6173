//! The output of `inspect`, as a user reads it.

use serde_json::{Value, json};

use crate::sandbox::{Ran, Sandbox};

/// Findings that any data set may have, good or bad.
const USUAL: [&str; 4] = ["tokenizer", "lone-space", "boundary", "length-bias"];

/// The output of `inspect --json`, and its unusual findings in words.
#[derive(Debug)]
pub struct Inspected {
    pub json: Value,
    pub notes: String,
}

/// `inspect` with these options.
#[track_caller]
pub fn inspect(sandbox: &Sandbox, options: &str) -> Inspected {
    Inspected::of(sandbox.run(&format!("inspect --json {options}")))
}

/// `inspect` on a file of these lines.
#[track_caller]
pub fn inspect_lines(lines: &str) -> Inspected {
    let sandbox = Sandbox::new();
    sandbox.write("x.jsonl", lines);
    inspect(&sandbox, "x.jsonl")
}

/// Training and `inspect` must both refuse these lines and name each of `fragments`; `inspect` reads on to the end.
/// Training must also name the option that skips such lines.
#[track_caller]
pub fn refuses_lines(lines: &str, fragments: &[&str]) {
    let sandbox = Sandbox::new();
    sandbox.write("x.jsonl", lines);
    let fragments = [fragments, &["x.jsonl:"]].concat();
    sandbox.run("inspect x.jsonl").refused(&fragments);
    let fragments = [&fragments[..], &["--skip-bad-records"]].concat();
    sandbox.refuses("--data x.jsonl", &fragments);
}

impl Inspected {
    #[track_caller]
    pub fn of(ran: Ran) -> Inspected {
        let ran = ran.ok();
        let json: Value = serde_json::from_str(&ran.stdout).unwrap();
        let findings = json["findings"].as_array().unwrap().iter();
        let unusual = findings.filter(|f| !USUAL.contains(&f["about"].as_str().unwrap()));
        let words = |f: &Value| {
            format!(
                "{}: {} -> {} {}\n",
                f["data"], f["what"], f["advice"], f["first"]
            )
        };
        Inspected {
            notes: unusual.map(words).collect(),
            json,
        }
    }

    /// The token ids of one part of a pair.
    pub fn ids(&self, pair: usize, part: &str) -> Vec<u64> {
        let tokens = self.json["examples"][pair][part].as_array().unwrap();
        tokens.iter().map(|t| t["id"].as_u64().unwrap()).collect()
    }

    /// The token texts of one part of a pair, concatenated.
    pub fn text(&self, pair: usize, part: &str) -> String {
        let tokens = self.json["examples"][pair][part].as_array().unwrap();
        tokens.iter().map(|t| t["text"].as_str().unwrap()).collect()
    }

    /// The ids of the first pair.
    pub fn pair(&self) -> Value {
        json!({
            "prompt": self.ids(0, "prompt"),
            "chosen": self.ids(0, "chosen"),
            "rejected": self.ids(0, "rejected"),
        })
    }

    /// The audit of the first `--data`.
    pub fn audit(&self) -> &Value {
        &self.json["train"][0]
    }

    /// There must be no unusual finding.
    #[track_caller]
    pub fn without_notes(self) -> Inspected {
        assert_eq!(self.notes, "");
        self
    }

    /// A finding must name each of these.
    #[track_caller]
    pub fn noting(self, fragments: &[&str]) -> Inspected {
        for fragment in fragments {
            assert!(self.notes.contains(fragment), "{fragment}: {}", self.notes);
        }
        self
    }
}
