//! Folders that take whole files.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::{Disk, PARTIAL, Storage};
use crate::error::{Error, Result};

/// Bytes that are written at once: a checkpoint has tensors of many sizes.
const BUFFERED: usize = 1 << 20;

/// What fills a file.
pub type Fill<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

/// A folder that takes files, each whole or not at all.
pub trait Folder {
    /// Writes the file `name`, which may lie in a folder of this folder: `templates/a.jinja`.
    ///
    /// # Errors
    /// `Error::Io`.
    fn write(&mut self, name: &str, fill: Fill) -> Result<()>;

    /// Writes a file with these contents.
    ///
    /// # Errors
    /// `Error::Io`.
    fn write_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.write(name, &mut |out| out.write_all(bytes))
    }
}

/// Writes a whole file, and makes its contents durable.
pub(crate) fn write_file(storage: &dyn Storage, path: &Path, fill: Fill) -> io::Result<()> {
    let mut file = storage.create(path)?;
    let mut buffer = BufWriter::with_capacity(BUFFERED, &mut file);
    fill(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    file.sync()
}

/// A folder whose files are replaced atomically, one by one: a file holds the old or the new contents, even after a
/// crash. No other process may write into the folder.
pub struct Replacing<'a> {
    /// The file system.
    pub storage: &'a dyn Storage,
    /// The folder, which exists.
    pub dir: &'a Path,
}

impl Replacing<'_> {
    /// A folder on the machine's file system.
    pub fn on_disk(dir: &Path) -> Replacing<'_> {
        Replacing {
            storage: &Disk,
            dir,
        }
    }
}

impl Folder for Replacing<'_> {
    fn write(&mut self, name: &str, fill: Fill) -> Result<()> {
        let path = self.dir.join(name);
        let parent = path.parent().unwrap_or(self.dir);
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = parent.join(format!(".{file_name}{PARTIAL}"));
        let mut replace = || {
            if parent != self.dir {
                self.storage.create_dir(parent)?;
            }
            write_file(self.storage, &partial, fill)?;
            self.storage.rename(&partial, &path)?;
            self.storage.sync_dir(parent)
        };
        replace().map_err(|e| {
            // The user should see the first error.
            let _ = self.storage.remove_file(&partial);
            Error::io("write", &path, e)
        })
    }
}
