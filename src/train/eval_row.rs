//! The row of metrics.jsonl for an evaluation.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::eval_prefix;
use crate::eval::Report;

/// One row of metrics.jsonl for an evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct EvalRow {
    /// Optimizer steps before it; 0 = before training.
    pub step: usize,
    /// Passes over the training pairs so far, as a fraction.
    pub epoch: f64,
    /// Mean |w − w₀| / mean |w₀| over a sample of the trained weights: how far they moved from the start.
    #[serde(
        rename = "weights/relative_change",
        skip_serializing_if = "Option::is_none"
    )]
    pub relative_change: Option<f64>,
    /// The numbers of each held-out set, each name beginning with `eval_`, or `eval_NAME_` for a set with a name.
    #[serde(flatten)]
    pub numbers: Map<String, Value>,
}

/// The report on one of the held-out sets.
pub(super) struct SetReport {
    /// Its name; empty for none.
    pub name: String,
    pub report: Report,
}

impl SetReport {
    /// The numbers under the names that metrics.jsonl has them by.
    pub fn named(&self) -> Map<String, Value> {
        self.report.named(&eval_prefix(&self.name))
    }
}
