//! The output folder of a run: its files, its lock, and which folders a run may take.

mod claim;
mod lock;

use std::path::{Path, PathBuf};

use crate::storage::PARTIAL;
use lock::Lock;

pub use claim::run_files;

/// The file of a run's metrics: one JSON object per line.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// The file of the findings about a run's data.
pub const DATA_FILE: &str = "data.json";

/// A run's options, as the command line takes them in a file.
pub const RUN_FILE: &str = "run.toml";

/// The times of all kernels, of a run with `profile`.
pub const TRACE_FILE: &str = "trace.json";

/// The folder of a run's checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

/// The beginning of a checkpoint's name; the optimizer step follows.
const STEP: &str = "step-";

/// The output folder of a run. Until it is dropped, no other run can take it.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// True for the folder of a run that goes on.
    is_resumed: bool,
    /// True when the run has written its own files.
    has_begun: bool,
    _lock: Lock,
}

impl RunFolder {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The name of the checkpoint after this optimizer step, in [`CHECKPOINTS`].
pub fn checkpoint_name(step: usize) -> String {
    format!("{STEP}{step}")
}

/// The optimizer step of a checkpoint with this name; `None` for another name, or for one that is not whole.
pub fn checkpoint_step(name: &str) -> Option<usize> {
    let step = name.strip_prefix(STEP)?.parse().ok()?;
    (checkpoint_name(step) == name).then_some(step)
}

/// The name of a checkpoint, given its whole name, while it is written or removed.
pub fn unfinished_name(name: &str) -> String {
    format!(".{name}{}", PARTIAL)
}

/// The whole name of a checkpoint, given its name while it is written or removed; `None` for another name.
pub(crate) fn name_of_unfinished(name: &str) -> Option<&str> {
    let inner = name.strip_prefix('.')?.strip_suffix(PARTIAL)?;
    checkpoint_step(inner).map(|_| inner)
}

/// True for the names of checkpoints, whole or not.
fn is_checkpoint(name: &str) -> bool {
    checkpoint_step(name).is_some() || name_of_unfinished(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_known_by_their_names() {
        assert_eq!(checkpoint_step(&checkpoint_name(40)), Some(40));
        for name in [
            "step-",
            "step-4x",
            "step-04",
            "step--4",
            "steps-4",
            "step-+4",
            ".step-4.partial",
        ] {
            assert_eq!(checkpoint_step(name), None, "{name}");
        }
        assert!(is_checkpoint("step-4") && is_checkpoint(&unfinished_name("step-4")));
        assert!(!is_checkpoint("step-4.partial") && !is_checkpoint("mine"));
    }
}
