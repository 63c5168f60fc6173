//! The file system as a run uses it: files that are whole or absent, also after a crash.
//!
//! A run keeps its results through [`Storage`], so that a test can make each call fail. [`Disk`] is the machine's
//! file system.

mod atomic;
mod folder;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

pub(crate) use atomic::{PARTIAL, partial};
pub use atomic::{check_writable, write_atomically};
pub(crate) use folder::write_file;
pub use folder::{Fill, Folder, Replacing};

/// The calls by which a run changes the file system.
pub trait Storage: Send + Sync {
    /// Creates a file, or empties it.
    ///
    /// # Errors
    /// Every error of the file system, here and below.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>>;

    /// Opens a file to write at its end; creates it if it is absent.
    fn append(&self, path: &Path) -> io::Result<Box<dyn StoredFile>>;

    /// Creates a folder and those above it.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file over another one, or a folder to a free name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with everything in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The bytes that this user may still write to the file system of `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// A file that is open for writing.
pub trait StoredFile: Write + Send {
    /// Makes the contents durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to its first `bytes` bytes.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(
            OpenOptions::new().append(true).create(true).open(path)?,
        ))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    /// Does nothing on Windows, where a folder cannot be opened as a file.
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match cfg!(windows) {
            true => Ok(()),
            false => File::open(path)?.sync_all(),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        fs4::available_space(path)
    }
}

impl StoredFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}
