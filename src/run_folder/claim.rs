//! Which folders a run may take for its output, and what it removes there.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::lock::{self, LOCK_FILE, Lock};
use super::{CHECKPOINTS, DATA_FILE, METRICS_FILE, RUN_FILE, RunFolder, TRACE_FILE, is_checkpoint};
use crate::error::{Error, Result};
use crate::pretrained::{
    ADAPTER_FILE, ADAPTER_WEIGHTS_FILE, CONFIG_FILE, GENERATION_FILE, WEIGHTS_FILE,
};
use crate::storage::{PARTIAL, partial};
use crate::tokenizer;

/// Every file that a run writes into its output folder, beside [`tokenizer::FILES`]. Overwriting removes these
/// files in this order, so weights never stay without their config.
const RUN_FILES: &[&str] = &[
    WEIGHTS_FILE,
    CONFIG_FILE,
    GENERATION_FILE,
    ADAPTER_WEIGHTS_FILE,
    ADAPTER_FILE,
    METRICS_FILE,
    RUN_FILE,
    DATA_FILE,
    TRACE_FILE,
];

/// The names of all files that a run writes into its output folder.
pub fn run_files() -> impl Iterator<Item = &'static str> {
    RUN_FILES.iter().copied().chain(tokenizer::FILES)
}

/// The name of the file that [`RunFolder::claim`] writes to learn whether it may.
const PROBE: &str = "claim";

/// Options that [`RUN_FILE`] always has, whichever version of this program wrote it.
const RUN_KEYS: [&str; 6] = [
    "beta",
    "gradient-accumulation-steps",
    "learning-rate",
    "max-prompt-tokens",
    "max-response-tokens",
    "reference",
];

/// The keys at the top of a [`DATA_FILE`].
const DATA_KEYS: [&str; 4] = ["train", "trained_on", "held_out", "eval_prompts_trained_on"];

/// The most bytes of a file that identifies a run; a run writes none that is longer.
const MAX_TELLING: u64 = 16 << 20;

/// Entries by which a folder is recognized as a repository.
const REPOSITORIES: [&str; 3] = [".git", ".hg", ".svn"];

impl RunFolder {
    /// Takes `target` as the output folder of a run, locks it, and creates it and its parents where absent. The files
    /// of an earlier run stay until [`RunFolder::begin`].
    ///
    /// Refuses a folder that holds anything, unless `overwrite` and it holds a run of this program, whole
    /// or broken off: a [`DATA_FILE`] or [`RUN_FILE`] as a run writes them, or nothing but partial files. A
    /// repository, the home folder, the current folder and those above it are never overwritten.
    ///
    /// # Errors
    /// `Error::File` if `target` is a file, holds anything and `overwrite` is false, is no folder to
    /// overwrite, or if another run holds it; `Error::Io` if it may not be created or written to.
    pub fn claim(target: &Path, overwrite: bool) -> Result<RunFolder> {
        if target.is_file() {
            return Err(Error::file(
                target,
                "the output is to be a folder, and this is a file",
                "name another output folder",
            ));
        }
        fs::create_dir_all(target).map_err(|e| Error::io("create", target, e))?;
        // A run that is under way is a better reason than its files.
        let lock = match lock::is_ours(&target.join(LOCK_FILE)) {
            true => Some(Lock::take(target)?),
            false => None,
        };
        // Before the lock is made, so that nothing is written into a folder of others; and after it, because another
        // run may have begun meanwhile.
        refuse_what_is_there(target, overwrite)?;
        partial(target, PROBE).map_err(|e| Error::io("write into", target, e))?;
        let lock = lock.map_or_else(|| Lock::take(target), Ok)?;
        refuse_what_is_there(target, overwrite)?;
        Ok(RunFolder {
            path: target.to_owned(),
            is_resumed: false,
            has_begun: false,
            _lock: lock,
        })
    }

    /// Takes the folder of an earlier run again, as it is, and locks it.
    ///
    /// # Errors
    /// `Error::File` if it holds no [`RUN_FILE`], or if another run holds it; `Error::Io` if it may not be written
    /// to.
    pub fn reopen(target: &Path) -> Result<RunFolder> {
        if !target.join(RUN_FILE).is_file() {
            return Err(Error::file(
                target,
                format!("no run to go on with: there is no {RUN_FILE}"),
                "name the output folder of a run that was broken off",
            ));
        }
        partial(target, PROBE).map_err(|e| Error::io("write into", target, e))?;
        Ok(RunFolder {
            path: target.to_owned(),
            is_resumed: true,
            has_begun: false,
            _lock: Lock::take(target)?,
        })
    }

    /// Makes way for the run's own files: removes the [`run_files`] and checkpoints of an earlier run, partial ones
    /// included, or, of a run that goes on, its partial files and the weights of its former end. All other files stay.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn begin(&mut self) -> Result<()> {
        if self.has_begun {
            return Ok(());
        }
        self.has_begun = true;
        let names = names(&self.path).map_err(|e| Error::io("list", &self.path, e))?;
        if !self.is_resumed {
            return empty(&self.path, &names);
        }
        let leftovers = names.iter().map(String::as_str);
        let leftovers = leftovers.filter(|name| is_partial(name));
        for name in leftovers.chain([WEIGHTS_FILE, ADAPTER_WEIGHTS_FILE]) {
            let path = self.path.join(name);
            gone(fs::remove_file(&path)).map_err(|e| Error::io("remove", path, e))?;
        }
        Ok(())
    }

    /// Cleans up after a run that failed before its first step: removes its [`run_files`], unless they are those of
    /// an earlier run, and the folder if it is empty afterwards.
    pub fn abandon(self) {
        let path = self.path.clone();
        // Errors are ignored here: the user should see the run's own error.
        if self.has_begun && !self.is_resumed {
            for name in run_files() {
                let _ = fs::remove_file(path.join(name));
            }
            let _ = remove_templates(&path);
            let _ = fs::remove_dir(path.join(CHECKPOINTS));
        }
        drop(self);
        let _ = fs::remove_dir(path);
    }
}

/// Refuses a folder that holds anything, unless it may be overwritten.
fn refuse_what_is_there(target: &Path, overwrite: bool) -> Result<()> {
    let names = names(target).map_err(|e| Error::io("list", target, e))?;
    let Some(first) = names.first() else {
        return Ok(());
    };
    if overwrite {
        return refuse_other_folders(target, &names);
    }
    Err(Error::file(
        target,
        format!("the output folder is not empty: it holds {first}"),
        "name another output folder, or pass `.overwrite` to replace the files of the earlier run",
    ))
}

/// Removes the files of an earlier run from a folder, which holds these `names`.
fn empty(target: &Path, names: &[String]) -> Result<()> {
    let leftovers = names.iter().filter(|name| is_partial(name)).cloned();
    // The two that tell a run's folder go last: if this is cut short, the folder is still known.
    let tells = |name: &&str| [RUN_FILE, DATA_FILE].contains(name);
    let others = run_files().filter(|name| !tells(name));
    let files = others.chain(run_files().filter(tells)).map(str::to_owned);
    remove_templates(target)
        .map_err(|e| Error::io("empty", target.join(tokenizer::TEMPLATES), e))?;
    remove_checkpoints(target).map_err(|e| Error::io("empty", target.join(CHECKPOINTS), e))?;
    for name in leftovers.chain(files) {
        let path = target.join(name);
        gone(fs::remove_file(&path)).map_err(|e| Error::io("remove", path, e))?;
    }
    Ok(())
}

/// Removes the checkpoints of an earlier run, and their folder if it is then empty.
fn remove_checkpoints(target: &Path) -> io::Result<()> {
    let folder = target.join(CHECKPOINTS);
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if is_checkpoint(&entry.file_name().to_string_lossy()) && entry.path().is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    let _ = fs::remove_dir(folder);
    Ok(())
}

/// Refuses to overwrite a folder, which holds these `names`, unless it is that of an earlier run.
fn refuse_other_folders(target: &Path, names: &[String]) -> Result<()> {
    let refused = |what: String| {
        Err(Error::file(
            target,
            format!("{what}, and `.overwrite` replaces only the folder of an earlier run"),
            "name another output folder; a folder that holds nothing else of use can be removed by hand",
        ))
    };
    if let Some(name) = REPOSITORIES.iter().find(|name| target.join(name).exists()) {
        return refused(format!(
            "the output folder is a repository (it holds {name})"
        ));
    }
    let real = |path: &Path| path.canonicalize();
    let target_is = real(target).map_err(|e| Error::io("read", target, e))?;
    let here = std::env::current_dir().and_then(|here| real(&here));
    if here.is_ok_and(|here| here.starts_with(&target_is)) {
        return refused(
            "the output folder is the one that the program runs in, or above it".to_owned(),
        );
    }
    if std::env::home_dir().is_some_and(|home| real(&home).is_ok_and(|home| home == target_is)) {
        return refused("the output folder is the home folder".to_owned());
    }
    if holds_run(target, names) {
        return Ok(());
    }
    const SHOWN: usize = 3;
    let mut shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        shown += ", …";
    }
    refused(format!(
        "the output folder holds {shown}, but no {RUN_FILE} or {DATA_FILE} as a run of this program writes them"
    ))
}

/// True if the folder, which holds these `names`, is that of a run of this program, even of one that
/// broke off. A run writes [`DATA_FILE`] first and [`RUN_FILE`] before the model, each whole or not at
/// all; its other files have names that other programs use too.
fn holds_run(target: &Path, names: &[String]) -> bool {
    let all_partial = names.iter().all(|name| is_partial(name));
    all_partial || tells_run(&target.join(RUN_FILE), is_run_toml) || {
        tells_run(&target.join(DATA_FILE), is_data_json)
    }
}

fn tells_run(path: &Path, tells: fn(&str) -> bool) -> bool {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_TELLING).read_to_string(&mut text));
    read.is_ok() && tells(&text)
}

fn is_run_toml(text: &str) -> bool {
    let parsed = text.parse::<toml::Table>();
    parsed.is_ok_and(|options| RUN_KEYS.iter().all(|key| options.contains_key(*key)))
}

fn is_data_json(text: &str) -> bool {
    let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
    parsed.is_ok_and(|report| DATA_KEYS.iter().all(|key| report.contains_key(*key)))
}

/// Removes the further chat templates of a model that an earlier run copied, and their folder if it is then empty.
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

/// True for the names that [`partial`] gives to a run's files.
fn is_partial(name: &str) -> bool {
    let mut known = run_files().chain([PROBE]);
    let of_a_run = |rest: &str| known.any(|file| rest.starts_with(&format!("{file}.")));
    name.ends_with(PARTIAL) && name.strip_prefix('.').is_some_and(of_a_run)
}

/// The names of all entries in a folder but the lock, sorted.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| name != LOCK_FILE || !lock::is_ours(&dir.join(LOCK_FILE)));
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
        drop(RunFolder::claim(&target, false).unwrap());
        drop(RunFolder::claim(&target, false).unwrap());
        assert!(names(&target).unwrap().is_empty());
    }

    const OURS: &str = r#"{"train": [], "eval": null, "trained_on": 1, "held_out": 0,
        "eval_prompts_trained_on": null}"#;

    /// A folder that holds these files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    #[test]
    fn claim_refuses_what_is_there_unless_told_to_overwrite() {
        let partial = ".model.safetensors.a1b2.partial";
        let dir = folder(&[
            ("model.safetensors", "x"),
            ("metrics.jsonl", "x"),
            ("notes.md", "x"),
            ("data.json", OURS),
            (partial, "x"),
        ]);
        let text = RunFolder::claim(dir.path(), false).unwrap_err().to_string();
        assert!(text.contains("not empty"), "{text}");
        assert!(text.contains("`.overwrite`"), "{text}");
        assert_eq!(names(dir.path()).unwrap().len(), 5, "nothing removed");

        let mut claimed = RunFolder::claim(dir.path(), true).unwrap();
        assert_eq!(names(dir.path()).unwrap().len(), 5, "nothing removed yet");
        claimed.begin().unwrap();
        assert_eq!(names(dir.path()).unwrap(), ["notes.md"]);
    }

    #[test]
    fn claim_overwrites_what_a_run_leaves_however_it_ends() {
        // As `TrainConfig::to_toml` begins, and more.
        let toml = "loss = \"sigmoid\"\nbeta = 0.1\nlearning-rate = 1e-5\nmax-prompt-tokens = 96\n\
            gradient-accumulation-steps = 4\nmax-response-tokens = 64\nreference = \"cached\"\n";
        let left: [&[(&str, &str)]; 5] = [
            // Killed while it wrote its first file, or while it claimed the folder.
            &[(".data.json.x7Yz.partial", "{")],
            &[(".claim.x7Yz.partial", "")],
            // Killed in training.
            &[
                ("data.json", OURS),
                ("metrics.jsonl", "{\"step\":1}\n{\"st"),
            ],
            // A whole run, and one of a version without data.json.
            &[
                ("data.json", OURS),
                ("run.toml", toml),
                ("config.json", "{}"),
            ],
            &[
                ("run.toml", toml),
                ("config.json", "{}"),
                ("vocab.json", "{}"),
            ],
        ];
        for files in left {
            let dir = folder(files);
            RunFolder::claim(dir.path(), true).unwrap().begin().unwrap();
            let left = names(dir.path()).unwrap();
            assert!(left.is_empty(), "{files:?}: {left:?}");
        }
    }

    #[test]
    fn claim_overwrites_no_other_folder() {
        let others: [(&[(&str, &str)], &str); 7] = [
            (
                &[
                    ("config.json", "{}"),
                    ("model.safetensors", "x"),
                    ("tokenizer.json", "{}"),
                ],
                "holds config.json, model.safetensors, tokenizer.json, but no run.toml",
            ),
            (
                &[("data.json", "[1, 2]"), ("config.json", "{}")],
                "but no run.toml",
            ),
            (
                &[("data.json", r#"{"train": "x.csv"}"#)],
                "holds data.json, but",
            ),
            (
                &[("run.toml", "learning-rate = 1e-4\n")],
                "holds run.toml, but",
            ),
            (
                &[("metrics.jsonl", "{\"step\":1}")],
                "holds metrics.jsonl, but",
            ),
            (
                &[(".bashrc", ""), (".data.json.x.partial", "")],
                "holds .bashrc, ",
            ),
            (
                &[("data.json", OURS), (".git/HEAD", "")],
                "is a repository (it holds .git)",
            ),
        ];
        for (files, expected) in others {
            let dir = folder(files);
            let before = names(dir.path()).unwrap();
            let error = RunFolder::claim(dir.path(), true).unwrap_err();
            assert!(matches!(error, Error::File { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(expected), "{text}");
            assert!(text.contains("help: name another output folder"), "{text}");
            assert_eq!(names(dir.path()).unwrap(), before, "nothing removed");
        }
    }

    #[test]
    fn claim_does_not_overwrite_the_folder_that_it_runs_in() {
        let here = std::env::current_dir().unwrap();
        for folder in [Path::new("."), here.as_path(), here.parent().unwrap()] {
            let names = names(folder).unwrap();
            let text = refuse_other_folders(folder, &names)
                .unwrap_err()
                .to_string();
            let repository = text.contains("is a repository");
            assert!(
                repository || text.contains("that the program runs in"),
                "{text}"
            );
        }
    }

    #[test]
    fn claim_refuses_a_file_and_what_lies_under_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "mine").unwrap();
        let text = RunFolder::claim(&file, true).unwrap_err().to_string();
        assert!(text.contains("this is a file"), "{text}");
        let text = RunFolder::claim(&file.join("out"), true)
            .unwrap_err()
            .to_string();
        assert!(text.contains("cannot create"), "{text}");
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }
}
