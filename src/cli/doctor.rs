//! `gpt2-dpo doctor`, and the findings that `train` prints.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gpt2_dpo::Result;
use gpt2_dpo::doctor::{Finding, Record, findings};
use gpt2_dpo::words::counted;
use serde::Serialize;

use super::progress::Progress;
use super::{say, with_flags};

#[derive(clap::Args)]
pub struct Args {
    /// Output folder of a run, or one of its checkpoints
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Everything that the command reports.
#[derive(Serialize)]
struct Diagnosis {
    run: PathBuf,
    steps: usize,
    /// Evaluations, that before the first step counted.
    evaluations: usize,
    findings: Vec<Finding>,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let record = Record::read(&args.run)?;
    let diagnosis = Diagnosis {
        steps: record.last_step(),
        evaluations: record.sets.first().map_or(0, |set| set.evals.len()),
        findings: findings(&record).into_iter().map(said).collect(),
        run: args.run,
    };
    if args.json {
        let json = serde_json::to_string_pretty(&diagnosis);
        say!("{}", json.unwrap_or_default()); // numbers and texts always have a form in JSON
        return Ok(ExitCode::SUCCESS);
    }
    say!(
        "{}: {}, {}",
        diagnosis.run.display(),
        counted(diagnosis.steps, "step"),
        counted(diagnosis.evaluations, "evaluation")
    );
    match diagnosis.findings.is_empty() {
        true => {
            say!("\nnothing is wrong, as far as the metrics tell (docs/doctor.md has the rules)")
        }
        false => show(&diagnosis.findings),
    }
    Ok(ExitCode::SUCCESS)
}

/// A finding as the command line says it.
fn said(finding: Finding) -> Finding {
    Finding {
        what: with_flags(&finding.what),
        advice: with_flags(&finding.advice),
        ..finding
    }
}

fn show(findings: &[Finding]) {
    for Finding {
        about,
        what,
        advice,
        ..
    } in findings
    {
        say!("\n{about}: {what}\n  -> {advice}");
    }
}

/// Tells of each finding on a run when it first appears.
pub struct Watch {
    out: PathBuf,
    /// Optimizer steps of the run: the findings at its end are told together.
    total: usize,
    told: BTreeSet<(&'static str, String)>,
    /// The step of the last look: all sets of an evaluation are in one row.
    looked: usize,
}

impl Watch {
    pub fn new(out: &Path, total: usize) -> Watch {
        Watch {
            out: out.to_owned(),
            total,
            told: BTreeSet::new(),
            looked: 0,
        }
    }

    /// Looks at the run after an evaluation at this step, of which each held-out set tells.
    pub fn look(&mut self, step: usize, progress: &mut Progress) {
        if step == self.looked || step == self.total {
            return;
        }
        self.looked = step;
        // Where a row could not be written, the run itself says so.
        let Ok(mut record) = Record::read(&self.out) else {
            return;
        };
        record.has_ended = false;
        for finding in findings(&record).into_iter().map(said) {
            if self.told.insert((finding.about, finding.set.clone())) {
                progress.clear();
                say!("finding {}: {}", finding.about, finding.what);
            }
        }
    }
}

/// Prints the findings on a run at its end.
pub fn show_at_end(out: &Path) {
    let Ok(record) = Record::read(out) else {
        return;
    };
    let findings: Vec<Finding> = findings(&record).into_iter().map(said).collect();
    if !findings.is_empty() {
        say!("\nwhat the curves mean");
        show(&findings);
    }
}
