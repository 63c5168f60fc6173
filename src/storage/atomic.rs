//! Writes a single file atomically, beside other processes that may write the same file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// The end of a temporary file's name. A killed run leaves such a file behind.
pub(crate) const PARTIAL: &str = ".partial";

/// Writes a file atomically: `path` holds either the old or the complete new contents, even after a crash.
///
/// `write` fills a buffered temporary file in the same folder. The file is then synced to disk and renamed to
/// `path`.
///
/// # Errors
/// `Error::Io` with the name `path`. The temporary file is then removed, and `path` is unchanged.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let dir = folder_of(path);
    let filled = || {
        let file = partial_of(path)?;
        let mut buffer = BufWriter::new(&file);
        write(&mut buffer)?;
        buffer.flush()?;
        drop(buffer);
        file.as_file().sync_all()?;
        file.persist(path)?;
        // Syncs the folder so that the rename is durable. A failure is harmless: the file itself is complete.
        let _ = File::open(dir).and_then(|dir| dir.sync_all());
        io::Result::Ok(())
    };
    filled().map_err(|e| Error::io("write", path, e))
}

/// Finds out whether [`write_atomically`] could begin to write this file, for a caller with long work before it.
///
/// # Errors
/// `Error::Io` with the name `path`.
pub fn check_writable(path: &Path) -> Result<()> {
    let checked = match path.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => partial_of(path).map(drop),
    };
    checked.map_err(|e| Error::io("write", path, e))
}

/// The folder that holds the file `path`.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// A temporary file that may become `path`.
fn partial_of(path: &Path) -> io::Result<NamedTempFile> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    partial(folder_of(path), &name)
}

/// A temporary file that is removed when dropped. It has the permissions of an ordinary new file; with
/// `tempfile`'s default, only the owner could read it.
pub(crate) fn partial(dir: &Path, name: &str) -> io::Result<NamedTempFile> {
    let prefix = format!(".{name}.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(PARTIAL);
    #[cfg(unix)]
    {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(Permissions::from_mode(0o666)); // less the umask
    }
    builder.tempfile_in(dir)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.toml");
        write_atomically(&path, |w| w.write_all(b"old")).unwrap();
        let result = write_atomically(&path, |w| {
            w.write_all(b"half")?;
            Err(io::Error::other("no room"))
        });
        let text = result.unwrap_err().to_string();
        assert!(
            text.contains("run.toml") && text.contains("no room"),
            "{text}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        write_atomically(&path, |w| w.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_missing_folder_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent/run.toml");
        let text = write_atomically(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(text.contains("cannot write"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_written_file_has_the_permissions_of_an_ordinary_one() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (ours, plain) = (dir.path().join("ours"), dir.path().join("plain"));
        write_atomically(&ours, |w| w.write_all(b"x")).unwrap();
        fs::write(&plain, "x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
