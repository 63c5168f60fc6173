//! The output folder of a run: reserves it, and writes files into it atomically.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::{
    CONFIG_FILE, DATA_FILE, GENERATION_FILE, METRICS_FILE, RUN_FILE, TRACE_FILE, WEIGHTS_FILE,
};
use crate::error::{Error, Result};
use crate::tokenizer;

/// Every file that a run writes into its output folder, beside [`tokenizer::FILES`]. Overwriting removes these
/// files in this order, so weights never stay without their config.
const RUN_FILES: &[&str] = &[
    WEIGHTS_FILE,
    CONFIG_FILE,
    GENERATION_FILE,
    METRICS_FILE,
    RUN_FILE,
    DATA_FILE,
    TRACE_FILE,
];

/// The names of all files that a run writes into its output folder.
pub fn run_files() -> impl Iterator<Item = &'static str> {
    RUN_FILES.iter().copied().chain(tokenizer::FILES)
}

/// The end of a temporary file's name. A killed run leaves such a file behind.
const PARTIAL: &str = ".partial";

/// Reserves `target` as the output folder of a run. Creates the folder and its parents if they are missing.
///
/// Refuses a folder that is not empty. With `overwrite`, removes the [`run_files`] of the earlier run and its
/// partial files, and keeps all other files. A run that overwrites the folder of its own model must load the
/// model first.
///
/// # Errors
/// `Error::File` if `target` is a file, or if it is not empty and `overwrite` is false; `Error::Io` if it
/// cannot be created or written to. Nothing is removed before both checks.
pub fn claim(target: &Path, overwrite: bool) -> Result<()> {
    if target.is_file() {
        return Err(Error::file(
            target,
            "the output is to be a folder, and this is a file",
            "name another output folder",
        ));
    }
    fs::create_dir_all(target).map_err(|e| Error::io("create", target, e))?;
    partial(target, "claim").map_err(|e| Error::io("write into", target, e))?;

    let names = names(target).map_err(|e| Error::io("list", target, e))?;
    let Some(first) = names.first() else {
        return Ok(());
    };
    if !overwrite {
        return Err(Error::file(
            target,
            format!("the output folder is not empty: it holds {first}"),
            "name another output folder, or pass --overwrite to replace the files of the earlier run",
        ));
    }
    let leftovers = names.into_iter().filter(|name| is_partial(name));
    for name in run_files().map(str::to_owned).chain(leftovers) {
        let path = target.join(name);
        gone(fs::remove_file(&path)).map_err(|e| Error::io("remove", path, e))?;
    }
    remove_templates(target).map_err(|e| Error::io("empty", target.join(tokenizer::TEMPLATES), e))
}

/// Removes the further chat templates that an earlier run copied, and their folder if it is empty afterwards.
fn remove_templates(target: &Path) -> io::Result<()> {
    let folder = target.join(tokenizer::TEMPLATES);
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jinja")
        {
            gone(fs::remove_file(path))?;
        }
    }
    let _ = fs::remove_dir(folder);
    Ok(())
}

/// Accepts that the file to remove does not exist.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Cleans up a claimed folder after a run that failed without a result: removes the [`run_files`], and the
/// folder if it is empty afterwards.
pub fn abandon(target: &Path) {
    // Errors are ignored here: the user should see the run's own error.
    for name in run_files() {
        let _ = fs::remove_file(target.join(name));
    }
    let _ = remove_templates(target);
    let _ = fs::remove_dir(target);
}

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
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let filled = || {
        let file = partial(dir, &name)?;
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

/// A temporary file that is removed when dropped. It has the permissions of an ordinary new file; with
/// `tempfile`'s default, only the owner could read it.
fn partial(dir: &Path, name: &str) -> io::Result<NamedTempFile> {
    let prefix = format!(".{name}.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(PARTIAL);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666)); // less the umask
    }
    builder.tempfile_in(dir)
}

/// True for the names that [`partial`] gives to a run's files.
fn is_partial(name: &str) -> bool {
    let of_a_run = |rest: &str| run_files().any(|file| rest.starts_with(file));
    name.ends_with(PARTIAL) && name.strip_prefix('.').is_some_and(of_a_run)
}

/// The names of all entries in a folder, sorted.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_creates_parents_and_takes_an_empty_folder() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b");
        claim(&target, false).unwrap();
        claim(&target, false).unwrap();
        assert!(names(&target).unwrap().is_empty());
    }

    #[test]
    fn claim_refuses_what_is_there_unless_told_to_overwrite() {
        let dir = tempfile::tempdir().unwrap();
        let partial = ".model.safetensors.a1b2.partial";
        for name in ["model.safetensors", "metrics.jsonl", "notes.md", partial] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let text = claim(dir.path(), false).unwrap_err().to_string();
        assert!(text.contains("not empty"), "{text}");
        assert!(text.contains("--overwrite"), "{text}");
        assert_eq!(names(dir.path()).unwrap().len(), 4, "nothing removed");

        claim(dir.path(), true).unwrap();
        assert_eq!(names(dir.path()).unwrap(), ["notes.md"]);
    }

    #[test]
    fn claim_refuses_a_file_and_what_lies_under_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "mine").unwrap();
        let text = claim(&file, true).unwrap_err().to_string();
        assert!(text.contains("this is a file"), "{text}");
        let text = claim(&file.join("out"), true).unwrap_err().to_string();
        assert!(text.contains("cannot create"), "{text}");
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.toml");
        write_atomically(&path, |w| w.write_all(b"old")).unwrap();
        let result = write_atomically(&path, |w| {
            w.write_all(b"half of the ne")?;
            Err(io::Error::other("the disk is full"))
        });
        let text = result.unwrap_err().to_string();
        assert!(text.contains("run.toml: the disk is full"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()).unwrap(), ["run.toml"]);

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
