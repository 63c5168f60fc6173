//! Finds a run's checkpoints, verifies one, and puts its state on a device.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::manifest::{HELP, Manifest};
use super::position::{FORMAT, POSITION_FILE, Position};
use super::values::Tensors;
use super::{MANIFEST_FILE, OPTIMIZER_FILE};
use crate::bounded;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ops::step_control;
use crate::pretrained::{ADAPTER_WEIGHTS_FILE, WEIGHTS_FILE, read_adapter, read_tensors};
use crate::run_folder::{CHECKPOINTS, METRICS_FILE, RUN_FILE, checkpoint_name, checkpoint_step};
use crate::state::State;

/// The files without which a checkpoint is none.
const NEEDED: [&str; 4] = [OPTIMIZER_FILE, POSITION_FILE, METRICS_FILE, RUN_FILE];

/// A whole checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    position: Position,
}

/// The folder of a checkpoint, not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Optimizer steps before it.
    pub step: usize,
    /// The folder.
    pub path: PathBuf,
}

impl Entry {
    /// The bytes of its files, as far as they can be read.
    pub fn bytes(&self) -> u64 {
        let files = fs::read_dir(&self.path).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.metadata().ok())
            .map(|file| file.len())
            .sum()
    }
}

/// The checkpoints in a run's output folder, the newest first; those that a run did not finish are none.
///
/// # Errors
/// `Error::Io`.
pub fn list(out: &Path) -> Result<Vec<Entry>> {
    let folder = out.join(CHECKPOINTS);
    let mut found = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(|e| Error::io("list", &folder, e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("list", &folder, e))?;
        if let Some(step) = checkpoint_step(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            found.push(Entry { step, path });
        }
    }
    found.sort_by_key(|entry| std::cmp::Reverse(entry.step));
    Ok(found)
}

/// The newest checkpoint in a run's output folder; `None` if there is none.
///
/// # Errors
/// `Error::File` if it is damaged or cannot be read; the message names the newest whole one before it. `Error::Io` if
/// the folder cannot be listed.
pub fn find(out: &Path) -> Result<Option<Checkpoint>> {
    let entries = list(out)?;
    let Some((newest, earlier)) = entries.split_first() else {
        return Ok(None);
    };
    let (path, what) = match Checkpoint::open(&newest.path) {
        Ok(checkpoint) => return Ok(Some(checkpoint)),
        Err(Error::File { path, what, .. }) => (path, what),
        Err(Error::Io { path, source, .. }) => (path, source.to_string()),
        Err(other) => return Err(other),
    };
    let mut earlier = earlier
        .iter()
        .filter_map(|e| Checkpoint::open(&e.path).ok());
    let help = match earlier.next() {
        Some(whole) => {
            let path = whole.path.display();
            format!("`.resume` {path} goes on from the one before")
        }
        None => "no whole checkpoint is left: begin the run anew".to_owned(),
    };
    Err(Error::File { path, what, help })
}

/// The folder of the checkpoint after this optimizer step.
pub fn folder(out: &Path, step: usize) -> PathBuf {
    out.join(CHECKPOINTS).join(checkpoint_name(step))
}

impl Checkpoint {
    /// Opens a checkpoint and compares each of its files with the manifest.
    ///
    /// # Errors
    /// `Error::File` naming the first file that is damaged, or if it is of another version; `Error::Io`.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        if !path.is_dir() {
            let help = format!("look into {CHECKPOINTS}: a run keeps the newest ones");
            return Err(Error::file(path, "there is no such checkpoint", help));
        }
        let manifest = Manifest::verify(path)?;
        let lists = |name: &str| manifest.files.contains_key(name);
        // The weights are those of a model or of an adapter.
        let weights = match lists(ADAPTER_WEIGHTS_FILE) {
            true => ADAPTER_WEIGHTS_FILE,
            false => WEIGHTS_FILE,
        };
        let mut needed = NEEDED.into_iter().chain([weights]);
        if let Some(absent) = needed.find(|name| !lists(name)) {
            let what = format!("the manifest does not list {absent}");
            return Err(Error::file(&path.join(MANIFEST_FILE), what, HELP));
        }
        let file = path.join(POSITION_FILE);
        let text =
            bounded::read(&file, bounded::SETTINGS).map_err(|e| Error::io("read", &file, e))?;
        let position: Position = serde_json::from_slice(&text)
            .map_err(|e| Error::file(&file, format!("not read: {e}"), OTHER_VERSION))?;
        if position.format != FORMAT {
            let what = format!(
                "a checkpoint of format {}, and this is {FORMAT}",
                position.format
            );
            return Err(Error::file(&file, what, OTHER_VERSION));
        }
        let named = path.file_name().unwrap_or_default().to_string_lossy();
        if named != checkpoint_name(position.step) {
            let what = format!("the folder of a checkpoint of step {}", position.step);
            return Err(Error::file(path, what, "give it its own name again"));
        }
        let path = path.to_owned();
        Ok(Checkpoint { path, position })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Counters and facts.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The copy of the metrics up to here.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS_FILE)
    }

    /// Writes weights, moments and step control to the device, tensor by tensor.
    ///
    /// # Errors
    /// `Error::Tensor` if the state is not that of the checkpoint's model; `Error::File` for a damaged file;
    /// `Error::Io`; every error of the device.
    pub fn restore(&self, engine: &mut dyn Engine, state: &State) -> Result<()> {
        let tensors = Tensors::weights(state);
        let mut put = |i: usize, values: &[f32]| tensors.put(engine, i, values);
        match state.is_adapter() {
            true => read_adapter(&self.path, &tensors.shapes, &mut put)?,
            false => read_tensors(&self.path.join(WEIGHTS_FILE), &tensors.shapes, &mut put)?,
        }
        let tensors = Tensors::moments(state);
        let mut put = |i: usize, values: &[f32]| tensors.put(engine, i, values);
        read_tensors(&self.path.join(OPTIMIZER_FILE), &tensors.shapes, &mut put)?;
        if self.position.control.len() != step_control::WORDS {
            let what = format!("`control` has not {} words", step_control::WORDS);
            return Err(Error::file(
                &self.path.join(POSITION_FILE),
                what,
                OTHER_VERSION,
            ));
        }
        engine.write(state.control, &self.position.control)
    }
}

const OTHER_VERSION: &str = "go on with the version of this program that wrote it";
