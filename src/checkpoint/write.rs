//! Writes a checkpoint into a folder that gets its name when it is whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::manifest::{MANIFEST_FILE, Manifest};
use super::open::list;
use super::values::{Source, Tensors, Values};
use super::{OPTIMIZER_FILE, POSITION_FILE, Position};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::pretrained::{AdapterConfig, Outline, write_tensors};
use crate::run_folder::{
    CHECKPOINTS, METRICS_FILE, RUN_FILE, checkpoint_name, name_of_unfinished, unfinished_name,
};
use crate::state::State;
use crate::storage::{Fill, Folder, Storage, write_file};

/// What a checkpoint holds beside the values of its tensors.
pub struct Contents<'a> {
    /// The model without its weights.
    pub outline: &'a Outline,
    /// The adapter that is trained in place of the model; its weights alone are written.
    pub adapter: Option<&'a AdapterConfig>,
    /// The contents of `run.toml`.
    pub run_file: &'a str,
    /// Counters and facts.
    pub position: &'a Position,
    /// The names and shapes of the tensors.
    pub state: &'a State,
    /// The metrics so far.
    pub metrics: &'a Metrics,
}

/// The metrics of a run at one moment: the beginning of a file, and the rows that could not be written to it yet.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The file.
    pub file: PathBuf,
    /// The bytes of the file that count; more may follow meanwhile.
    pub bytes: u64,
    /// What comes after them.
    pub pending: Vec<u8>,
}

/// Writes the checkpoint `step-N` into the folder `checkpoints`, and replaces one of that name. Each file and the folder
/// are durable before the checkpoint gets its name.
///
/// # Errors
/// `Error::Io` if anything cannot be written; `Error::NotFinite` if a weight is NaN or infinite; every error of the
/// device. What was written so far is then removed, and earlier checkpoints are as before.
pub fn write(
    storage: &dyn Storage,
    checkpoints: &Path,
    contents: &Contents,
    values: Values,
) -> Result<PathBuf> {
    let name = checkpoint_name(contents.position.step);
    let (draft, target) = (
        checkpoints.join(unfinished_name(&name)),
        checkpoints.join(&name),
    );
    let made = fill(storage, &draft, contents, values).and_then(|()| {
        let finish = || {
            if target.exists() {
                storage.remove_dir(&target)?;
            }
            storage.rename(&draft, &target)?;
            storage.sync_dir(checkpoints)?;
            // The folder of checkpoints may be new itself.
            checkpoints
                .parent()
                .map_or(Ok(()), |out| storage.sync_dir(out))
        };
        finish().map_err(|e| Error::io("write", &target, e))
    });
    match made {
        Ok(()) => Ok(target),
        Err(e) => {
            // The user should see the first error.
            let _ = storage.remove_dir(&draft);
            Err(e)
        }
    }
}

/// Removes a checkpoint. It loses its name first, so that no half of it is ever taken for a whole one.
///
/// # Errors
/// `Error::Io`.
pub fn remove(storage: &dyn Storage, checkpoint: &Path) -> Result<()> {
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let nameless = checkpoint.with_file_name(unfinished_name(&name));
    let removed = remove_draft(storage, &nameless)
        .and_then(|()| storage.rename(checkpoint, &nameless))
        .and_then(|()| storage.remove_dir(&nameless));
    removed.map_err(|e| Error::io("remove", checkpoint, e))
}

/// Mends the folder of checkpoints after a run that was killed: a checkpoint that is whole but for its name gets it, and
/// other leftovers are removed.
///
/// # Errors
/// `Error::Io`.
pub fn tidy(storage: &dyn Storage, out: &Path) -> Result<()> {
    let folder = out.join(CHECKPOINTS);
    let Ok(entries) = fs::read_dir(&folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let Some(name) =
            name_of_unfinished(&entry.file_name().to_string_lossy()).map(str::to_owned)
        else {
            continue;
        };
        let (path, target) = (entry.path(), folder.join(name));
        let mended = match !target.exists() && Manifest::verify(&path).is_ok() {
            true => storage.rename(&path, &target),
            false => storage.remove_dir(&path),
        };
        mended.map_err(|e| Error::io("mend", path, e))?;
    }
    Ok(())
}

/// Removes all checkpoints of a run but the newest `keep` (0 = all) and that of step `best`.
///
/// # Errors
/// `Error::Io`.
pub fn prune(storage: &dyn Storage, out: &Path, keep: usize, best: Option<usize>) -> Result<()> {
    if keep == 0 {
        return Ok(());
    }
    let checkpoints = list(out)?;
    let mut old = checkpoints.iter().skip(keep);
    old.try_for_each(|old| match Some(old.step) == best {
        true => Ok(()),
        false => remove(storage, &old.path),
    })
}

/// Removes what a killed run left of a checkpoint, if it left anything.
fn remove_draft(storage: &dyn Storage, draft: &Path) -> io::Result<()> {
    match draft.exists() {
        true => storage.remove_dir(draft),
        false => Ok(()),
    }
}

/// Writes all files of a checkpoint, the manifest last.
fn fill(
    storage: &dyn Storage,
    draft: &Path,
    contents: &Contents,
    mut values: Values,
) -> Result<()> {
    remove_draft(storage, draft)
        .and_then(|()| storage.create_dir(draft))
        .map_err(|e| Error::io("create", draft, e))?;
    let mut folder = Draft {
        storage,
        dir: draft,
        manifest: Manifest::default(),
        folders: BTreeSet::new(),
    };
    folder.write_bytes(RUN_FILE, contents.run_file.as_bytes())?;
    folder.write(POSITION_FILE, &mut |out| {
        serde_json::to_writer_pretty(&mut *out, contents.position)?;
        out.write_all(b"\n")
    })?;
    folder.write(METRICS_FILE, &mut |out| copy(contents.metrics, out))?;
    let tensors = Tensors::weights(contents.state);
    let mut weights = Source {
        values: &mut values,
        tensors: &tensors,
        failure: None,
    };
    let outline = contents.outline;
    let saved = match contents.adapter {
        Some(adapter) => outline.save_adapter(&mut folder, adapter, &mut weights),
        None => outline.save(&mut folder, &mut weights),
    };
    saved.map_err(|e| weights.failure.unwrap_or(e))?;
    let tensors = Tensors::moments(contents.state);
    let mut moments = Source {
        values: &mut values,
        tensors: &tensors,
        failure: None,
    };
    let saved = folder.write(OPTIMIZER_FILE, &mut |out| {
        write_tensors(out, &tensors.shapes, &mut moments)
    });
    saved.map_err(|e| moments.failure.unwrap_or(e))?;
    folder.finish()
}

fn copy(metrics: &Metrics, out: &mut dyn Write) -> io::Result<()> {
    if metrics.bytes > 0 {
        let mut rows = File::open(&metrics.file)?.take(metrics.bytes);
        if io::copy(&mut rows, out)? != metrics.bytes {
            let what = format!("{} has become shorter", metrics.file.display());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
    }
    out.write_all(&metrics.pending)
}

/// A new folder. It counts its files in a manifest.
struct Draft<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    manifest: Manifest,
    folders: BTreeSet<PathBuf>,
}

impl Draft<'_> {
    fn file(&self, name: &str, fill: Fill) -> io::Result<String> {
        let mut hash = Sha256::new();
        write_file(self.storage, &self.dir.join(name), &mut |out| {
            fill(&mut Hashed {
                out,
                hash: &mut hash,
            })
        })?;
        Ok(hex(hash.finalize()))
    }

    /// Writes the manifest, and makes all names durable.
    fn finish(self) -> Result<()> {
        let text = self.manifest.text();
        self.file(MANIFEST_FILE, &mut |out| out.write_all(text.as_bytes()))
            .and_then(|_| {
                let mut folders = self.folders.iter();
                folders.try_for_each(|folder| self.storage.sync_dir(folder))
            })
            .and_then(|()| self.storage.sync_dir(self.dir))
            .map_err(|e| Error::io("write", self.dir.join(MANIFEST_FILE), e))
    }
}

impl Folder for Draft<'_> {
    fn write(&mut self, name: &str, fill: Fill) -> Result<()> {
        let path = self.dir.join(name);
        if let Some(parent) = path.parent().filter(|&parent| parent != self.dir) {
            let made = self.storage.create_dir(parent);
            made.map_err(|e| Error::io("create", parent, e))?;
            self.folders.insert(parent.to_owned());
        }
        let hash = self.file(name, fill);
        let hash = hash.map_err(|e| Error::io("write", path, e))?;
        self.manifest.files.insert(name.to_owned(), hash);
        Ok(())
    }
}

/// Hashes the bytes that pass through.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hash: &'a mut Sha256,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
