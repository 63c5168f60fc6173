//! metrics.jsonl: one row for each optimizer step and one for each evaluation.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::checkpoint::Metrics;
use crate::dpo::Summary;
use crate::error::{Error, Result};
use crate::run_folder::METRICS_FILE;
use crate::storage::{Folder, Replacing, Storage, StoredFile};

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
    /// Tokens of prompts and responses so far, a prompt once for each of its responses: TRL's count.
    pub num_tokens: usize,
    /// The same with each prompt counted once: what the device computed.
    pub num_computed_tokens: usize,
    /// Pairs per second since the row before, without the time of evaluations.
    pub pairs_per_second: f64,
    /// Tokens per second since the row before, without the time of evaluations; each token of prompts and responses
    /// counts once.
    pub tokens_per_second: f64,
}

/// The file metrics.jsonl. Each row is written at once; a row that cannot be written waits for the next.
pub(super) struct MetricsFile {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    /// `None` until there is a file, and if it has to be opened anew.
    file: Option<Box<dyn StoredFile>>,
    /// The bytes of whole rows in the file.
    bytes: u64,
    /// Rows that could not be written.
    pending: Vec<u8>,
}

impl MetricsFile {
    /// The file in the output folder; nothing is written yet.
    pub fn new(storage: Arc<dyn Storage>, out: &Path) -> MetricsFile {
        MetricsFile {
            path: out.join(METRICS_FILE),
            storage,
            file: None,
            bytes: 0,
            pending: Vec::new(),
        }
    }

    /// Makes the file anew; it begins with a copy of the rows in `earlier`.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn begin(&mut self, earlier: Option<&Path>) -> Result<()> {
        let rows = match earlier {
            Some(file) => fs::read(file).map_err(|e| Error::io("read", file, e))?,
            None => Vec::new(),
        };
        let mut folder = Replacing {
            storage: self.storage.as_ref(),
            dir: self.path.parent().unwrap_or(Path::new(".")),
        };
        folder.write_bytes(METRICS_FILE, &rows)?;
        self.bytes = rows.len() as u64;
        Ok(())
    }

    /// Adds a row.
    ///
    /// # Errors
    /// `Error::Io` if it cannot be written now. It is kept, and written before the next.
    pub fn write(&mut self, row: &impl Serialize) -> Result<()> {
        // A row is a struct of numbers and names, which always has a form in JSON.
        serde_json::to_writer(&mut self.pending, row)
            .map_err(|e| Error::io("write", &self.path, e.into()))?;
        self.pending.push(b'\n');
        self.flush()
    }

    /// Writes the rows that wait.
    ///
    /// # Errors
    /// `Error::Io`, and then they wait again.
    pub fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.append()
            .map_err(|e| Error::io("write", &self.path, e))?;
        self.bytes += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => {
                // A part of a row may stand at the end.
                let mut file = self.storage.append(&self.path)?;
                file.cut(self.bytes)?;
                file
            }
        };
        let written = file.write_all(&self.pending);
        // A full disk lets a file be cut. Else it is opened anew, because this handle may be broken for good.
        if written.is_ok() || file.cut(self.bytes).is_ok() {
            self.file = Some(file);
        }
        written
    }

    /// The loss of each optimizer step whose row is in the file.
    pub fn losses(&self) -> BTreeMap<usize, f64> {
        #[derive(serde::Deserialize)]
        struct Row {
            step: usize,
            loss: f64,
        }
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let rows = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Row>(line).ok());
        rows.map(|row| (row.step, row.loss)).collect()
    }

    /// The metrics so far, for a checkpoint.
    pub fn so_far(&self) -> Metrics {
        Metrics {
            file: self.path.clone(),
            bytes: self.bytes,
            pending: self.pending.clone(),
        }
    }
}
