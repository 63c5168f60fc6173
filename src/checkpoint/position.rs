//! The counters and facts of a run at a checkpoint.

use serde::{Deserialize, Serialize};

use crate::batch::TokenCount;
use crate::dpo::Summary;

/// The file of a [`Position`].
pub const POSITION_FILE: &str = "training.json";

/// The version of the format of checkpoints.
pub(super) const FORMAT: u32 = 3;

/// The position that a run has reached, and every number beside the tensors on which the rest depends.
///
/// The order of the pairs is no part of it: it follows from the seed and the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The version of this format.
    pub format: u32,
    /// Optimizer steps done, including the skipped ones.
    pub step: usize,
    /// Optimizer steps of the whole run.
    pub total: usize,
    /// True if no evaluation is due at this step, or if it is done.
    pub evaluated: bool,
    /// Tokens of prompts and responses so far.
    pub num_tokens: TokenCount,
    /// Steps that the optimizer skipped, because a gradient overflowed.
    pub skipped: usize,
    /// The words of the [`StepControl`](crate::ops::step_control::StepControl): loss scale and counters.
    pub control: Vec<u32>,
    /// The loss of the first step; `None` before it.
    pub first_loss: Option<f64>,
    /// The loss of the last step; `None` before the first.
    pub last_loss: Option<f64>,
    /// Means over the held-out pairs before the first step; `None` without held-out pairs.
    pub before: Option<Summary>,
    /// Means over the held-out pairs at the last evaluation; `None` without held-out pairs.
    pub after: Option<Summary>,
    /// The best evaluation so far; `None` without one, or if nobody asked for the best.
    pub best: Option<Best>,
    /// Evaluations since the best one.
    pub stale: usize,
    /// Facts that the rest of the run depends on.
    pub facts: Facts,
}

/// The best evaluation of a run, by the metric that the user named.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Optimizer steps before it.
    pub step: usize,
    /// Means over the held-out pairs.
    pub summary: Summary,
}

/// Facts on which the bits of a run depend, to compare with those of the run that goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The version of this program.
    pub version: String,
    /// A hash of the kernels.
    pub kernels: String,
    /// The device's name.
    pub device: String,
    /// The precision of matrix products.
    pub precision: String,
    /// Pairs of a micro-batch.
    pub micro_batch: usize,
    /// A hash of all pairs.
    pub data: String,
    /// A hash of the prompts that evaluations answer; empty if there are none.
    #[serde(default)]
    pub samples: String,
    /// The fingerprint of the weights before the first step.
    pub start: String,
    /// The fingerprint of the reference's weights; empty for a loss without a reference.
    pub reference: String,
    /// The names of the files that keep the reference's log-probs in the cache.
    pub reference_cache: Vec<String>,
}

impl Position {
    /// The step of the best evaluation so far.
    pub fn best_step(&self) -> Option<usize> {
        self.best.map(|best| best.step)
    }

    /// The position before the first step.
    pub fn start(total: usize, facts: Facts) -> Position {
        Position {
            format: FORMAT,
            step: 0,
            total,
            evaluated: false,
            num_tokens: TokenCount::default(),
            skipped: 0,
            control: Vec::new(),
            first_loss: None,
            last_loss: None,
            before: None,
            after: None,
            best: None,
            stale: 0,
            facts,
        }
    }
}
