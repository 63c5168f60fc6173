//! The lock on a run's output folder. The operating system frees it when the process ends, however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The file that is locked. It names the process that holds the lock.
pub(super) const LOCK_FILE: &str = ".gpt2-dpo.lock";

/// The beginning of its text.
const PROCESS: &str = "process ";

/// The most bytes of a lock file that are shown.
const MAX_HOLDER: u64 = 200;

/// A lock on a folder, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Locks a folder. A file system without locks counts as unlocked.
    ///
    /// # Errors
    /// `Error::File` if another process holds the lock; `Error::Io` if the file cannot be made.
    pub fn take(folder: &Path) -> Result<Lock> {
        let path = folder.join(LOCK_FILE);
        if path.symlink_metadata().is_ok() && !is_ours(&path) {
            return Err(Error::file(
                &path,
                "the lock of a run has this name, and this is something else",
                "move it away, or name another output folder",
            ));
        }
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let mut file = options
                .open(&path)
                .map_err(|e| Error::io("create", &path, e))?;
            match file.try_lock() {
                // The file may be one that its last holder removed after this process opened it.
                Ok(()) if is_at(&file, &path) => {
                    // The name of the holder is a help to people only.
                    let _ = file.set_len(0).and_then(|()| write!(file, "{}", holder()));
                }
                Ok(()) => continue,
                Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path, e)),
                Err(TryLockError::WouldBlock) => return Err(held(folder, file)),
            }
            return Ok(Lock { path, _file: file });
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still locked: nobody can take a lock on a file that is about to go.
        let _ = fs::remove_file(&self.path);
    }
}

fn holder() -> String {
    let now = chrono::Local::now().format("%Y-%m-%d %H:%M:%S");
    format!("{PROCESS}{}, since {now}", std::process::id())
}

/// True for a file that a lock of this program may have left; a file that cannot be read is locked.
pub(super) fn is_ours(path: &Path) -> bool {
    let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_HOLDER).read_to_end(&mut text));
    is_file && (read.is_err() || text.is_empty() || text.starts_with(PROCESS.as_bytes()))
}

fn held(folder: &Path, file: File) -> Error {
    let mut said = String::new();
    // Windows does not let others read a locked file.
    let read = file.take(MAX_HOLDER).read_to_string(&mut said);
    let by = match read {
        Ok(_) if !said.is_empty() => format!(" ({})", said.escape_debug()),
        _ => String::new(),
    };
    Error::file(
        folder,
        format!("another run writes into this folder{by}"),
        "name another output folder, or wait for that run to end",
    )
}

/// True if the open file is the one that `path` names.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |a: fs::Metadata, b: fs::Metadata| a.ino() == b.ino() && a.dev() == b.dev();
    let both = file.metadata().ok().zip(fs::metadata(path).ok());
    both.is_some_and(|(file, named)| same(file, named))
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_and_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let text = Lock::take(dir.path()).err().unwrap().to_string();
        if cfg!(unix) {
            let process = format!("process {}", std::process::id());
            assert!(text.contains(&process), "{text}");
        }
        assert!(text.contains("another run"), "{text}");
        drop(first);
        drop(Lock::take(dir.path()).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_file_of_that_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK_FILE);
        fs::write(&path, "mine").unwrap();
        let text = Lock::take(dir.path()).err().unwrap().to_string();
        assert!(text.contains("something else"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        #[cfg(unix)]
        {
            fs::remove_file(&path).unwrap();
            fs::write(dir.path().join("precious"), "").unwrap();
            std::os::unix::fs::symlink(dir.path().join("precious"), &path).unwrap();
            assert!(Lock::take(dir.path()).is_err());
        }
    }

    #[test]
    fn the_lock_of_a_killed_run_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join(LOCK_FILE),
            "process 1, since 2020-01-01 00:00:00",
        )
        .unwrap();
        drop(Lock::take(dir.path()).unwrap());
    }
}
