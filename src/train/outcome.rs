//! What a run tells while it runs, and how it ends.

use std::path::Path;
use std::time::Duration;

use super::StepRow;
use crate::checkpoint::Best;
use crate::dpo::Summary;
use crate::error::{Error, Result};
use crate::eval::Report;
use crate::pretrained::Weights;

/// News of a run while it runs.
pub enum Event<'a> {
    /// A message for the user, one line.
    Note(String),
    /// The run computes the reference's log-probs.
    Reference {
        /// Pairs done.
        done: usize,
        /// All pairs of the present data set: first the training pairs, then the held-out pairs.
        total: usize,
    },
    /// The run scores the held-out pairs.
    Evaluating {
        /// Pairs done.
        done: usize,
        /// All held-out pairs.
        total: usize,
    },
    /// An optimizer step is finished.
    Step {
        /// The step's row in metrics.jsonl.
        row: &'a StepRow,
        /// Optimizer steps of the run.
        total: usize,
    },
    /// An evaluation is finished: once for each held-out set.
    Eval {
        /// Optimizer steps before it; 0 = before training.
        step: usize,
        /// The name of the held-out set; empty for none.
        name: &'a str,
        /// Its numbers.
        report: &'a Report,
    },
    /// A checkpoint is whole.
    Saved {
        /// Its folder.
        checkpoint: &'a Path,
    },
}

/// How a run ended.
pub enum Ending {
    /// It did all its steps, or those until an evaluation that stopped it early.
    Finished(Box<Outcome>),
    /// It was asked to stop.
    Interrupted {
        /// Optimizer steps done.
        step: usize,
        /// Optimizer steps of the run.
        total: usize,
        /// The step of the newest checkpoint; `None` without one.
        saved: Option<usize>,
    },
}

impl Ending {
    /// The results of a finished run.
    ///
    /// # Errors
    /// `Error::Interrupted` if the run was asked to stop.
    pub fn finished(self) -> Result<Outcome> {
        match self {
            Ending::Finished(outcome) => Ok(*outcome),
            Ending::Interrupted { .. } => Err(Error::Interrupted),
        }
    }
}

/// The results of a finished run.
pub struct Outcome {
    /// The trained parameters: those after the last step, or after the best evaluation if the best was asked for. Of a
    /// run with adapters their values alone, in the form of [`Adapter::tensors`](crate::pretrained::Adapter).
    pub weights: Weights,
    /// Optimizer steps of the run.
    pub steps: usize,
    /// Steps that the optimizer skipped, because a gradient overflowed in mixed precision.
    pub skipped: usize,
    /// Means over the held-out pairs before the first step; `None` without held-out pairs.
    pub before: Option<Summary>,
    /// Means over the held-out pairs with [`Outcome::weights`]; `None` without held-out pairs.
    pub after: Option<Summary>,
    /// The evaluation whose weights these are; `None` if the best was not asked for.
    pub best: Option<Best>,
    /// The time that samples took in this process; 0 without any.
    pub sampling: Duration,
    /// Why `metrics.jsonl` lacks rows; `None` if it is whole.
    pub unwritten: Option<Error>,
}
