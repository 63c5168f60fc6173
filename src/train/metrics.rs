//! metrics.jsonl: one row for each optimizer step and one for each evaluation.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::checkpoint;
use crate::dpo::Summary;
use crate::error::{Error, Result};

/// One row of metrics.jsonl for an optimizer step, under TRL's names.
#[derive(Clone, Debug, Serialize)]
pub struct StepRow {
    /// The step's number, from 1.
    pub step: usize,
    /// Passes over the pairs so far, as a fraction.
    pub epoch: f64,
    /// Means over the step's pairs, before its update.
    #[serde(flatten)]
    pub summary: Summary,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// ‖g‖ over all trainable parameters, before clipping; `null` if it is not finite, and then the optimizer
    /// skipped the step.
    pub grad_norm: f64,
    /// The loss scale after this step; only in mixed precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f32>,
    /// Tokens of prompts and responses so far, each counted once.
    pub num_tokens: usize,
    /// Pairs per second since the row before, without the time of evaluations.
    pub pairs_per_second: f64,
    /// Tokens per second since the row before, without the time of evaluations; each token of prompts and responses
    /// counts once.
    pub tokens_per_second: f64,
}

/// One row of metrics.jsonl for an evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct EvalRow {
    /// Optimizer steps before it; 0 = before training.
    pub step: usize,
    /// Passes over the training pairs so far, as a fraction.
    pub epoch: f64,
    /// Means over the held-out pairs, each name beginning with `eval_`.
    #[serde(flatten)]
    pub summary: serde_json::Map<String, serde_json::Value>,
}

/// The file metrics.jsonl; each row is written at once, without a buffer.
pub(super) struct MetricsFile {
    path: PathBuf,
    file: File,
    /// Optimizer steps that the optimizer took and whose loss is finite.
    pub good_steps: usize,
}

impl MetricsFile {
    pub fn create(out: &Path) -> Result<MetricsFile> {
        let path = out.join(checkpoint::METRICS_FILE);
        let file = File::create(&path).map_err(|e| Error::io("create", &path, e))?;
        Ok(MetricsFile {
            path,
            file,
            good_steps: 0,
        })
    }

    pub fn write(&mut self, row: &impl Serialize) -> Result<()> {
        let written = serde_json::to_string(row)
            .map_err(std::io::Error::other)
            .and_then(|line| writeln!(self.file, "{line}"));
        written.map_err(|e| Error::io("write", &self.path, e))
    }
}
