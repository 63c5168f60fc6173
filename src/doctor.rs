//! What the curves of a run mean: findings in words, from the numbers of its metrics.
//!
//! Each rule is a function of a [`Record`] and has its formula and source in docs/doctor.md.

mod lengths;
mod movement;
mod overfit;
mod record;
mod training;

use serde::Serialize;

pub use record::{Bucket, Cut, Eval, Moved, Record, Set, Settings, Step};

/// Something that a user should know of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A keyword for programs.
    pub about: &'static str,
    /// The held-out set that it concerns; empty for one without a name, and for a finding on none.
    pub set: String,
    /// The optimizer step of the numbers that it follows from.
    pub step: usize,
    /// The fact.
    pub what: String,
    /// The advice.
    pub advice: String,
}

/// The findings on a run, in the order of docs/doctor.md.
pub fn findings(record: &Record) -> Vec<Finding> {
    let mut found = Vec::new();
    for set in &record.sets {
        found.extend(movement::chosen_falls(set));
        found.extend(overfit::memorised(record, set));
        found.extend(lengths::margin_by_length(set));
        found.extend(movement::end_falls(set));
        found.extend(lengths::too_few_pairs(record, set));
    }
    if record.sets.is_empty() {
        found.extend(movement::chosen_falls_in_training(record));
    }
    found.extend(lengths::cut(record));
    found.extend(training::clipped_always(record));
    found.extend(training::clipped_never(record));
    let still = movement::identical(record);
    if still.is_none() {
        found.extend(movement::hardly_moved(record));
    }
    found.extend(still);
    found
}

/// A finding on a held-out set, at its last evaluation.
fn of_set(about: &'static str, set: &Set, at: &Eval, what: String, advice: &str) -> Finding {
    let what = match &set.name[..] {
        "" => what,
        name => format!("{name}: {what}"),
    };
    Finding {
        about,
        set: set.name.clone(),
        step: at.step,
        what,
        advice: advice.to_owned(),
    }
}

/// A finding on the whole run, at its last step.
fn of_run(about: &'static str, record: &Record, what: String, advice: &str) -> Finding {
    Finding {
        about,
        set: String::new(),
        step: record.last_step(),
        what,
        advice: advice.to_owned(),
    }
}

#[cfg(test)]
mod tests;
