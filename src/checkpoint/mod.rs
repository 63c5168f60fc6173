//! Checkpoints: the whole state of a run between two optimizer steps, as a folder that is also a model.
//!
//! `OUT/checkpoints/step-N` holds the model as [`crate::pretrained`] saves it, `run.toml`, AdamW's moments
//! ([`OPTIMIZER_FILE`]), counters and facts ([`Position`] in [`POSITION_FILE`]), a copy of `metrics.jsonl`, and the SHA-256
//! of each of these files ([`MANIFEST_FILE`]). The manifest is written last, into a folder that then gets its name:
//! at each instant there is a whole checkpoint, or none yet.
//!
//! - [`write()`]: writes a checkpoint, from a [`Snapshot`] or tensor by tensor from a device
//! - [`find`]: the newest checkpoint of a run, verified
//! - [`Checkpoint::restore`]: puts the state back on a device

mod manifest;
mod open;
mod position;
mod values;
mod write;

pub use manifest::MANIFEST_FILE;
pub use open::{Checkpoint, Entry, find, folder, list};
pub use position::{Best, Facts, POSITION_FILE, Position};
pub use values::{Snapshot, Values};
pub use write::{Contents, Metrics, prune, remove, tidy, write};

/// The file of AdamW's moments: `exp_avg.NAME` and `exp_avg_sq.NAME` for each trained parameter, in F32.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
