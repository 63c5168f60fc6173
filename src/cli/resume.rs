//! `train --resume`: the options of the run that goes on, and the checkpoint to go on from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gpt2_dpo::checkpoint::{self, Checkpoint, MANIFEST_FILE};
use gpt2_dpo::config::{TrainConfig, TrainOptions};
use gpt2_dpo::pretrained::{ADAPTER_WEIGHTS_FILE, WEIGHTS_FILE};
use gpt2_dpo::run_folder::{CHECKPOINTS, RUN_FILE, RunFolder, checkpoint_step};
use gpt2_dpo::storage::Disk;
use gpt2_dpo::{Error, Result, Setting};

use super::recorded::{show, table};
use super::{tell, with_flags};

/// Options that change no number of a run.
const FREE: [&str; 9] = [
    "audit-steps",
    "cache-dir",
    "checkpoint-activations",
    "gentle",
    "profile",
    "retries",
    "save-minutes",
    "save-steps",
    "save-total-limit",
];

/// Options that decide which tensors are trained. Not even a user who wants another result can change them.
const TRAINED: [&str; 5] = [
    "adapter",
    "freeze-embeddings",
    "lora-rank",
    "lora-targets",
    "train-layers",
];

/// Options that change a run's numbers by rounding alone. A run that goes on may have others, and is told so.
const ROUNDING: [&str; 5] = [
    "backend",
    "checked",
    "max-binding-mib",
    "no-autotune",
    "no-grow",
];

/// The same, but the run itself says how the device and its precision differ.
const SAID_BY_THE_RUN: [&str; 2] = ["device", "precision"];

/// An earlier run, which goes on.
pub struct Earlier {
    /// Its output folder, locked.
    pub folder: RunFolder,
    /// The checkpoint to go on from; `None` if the run has none yet.
    checkpoint: Option<Checkpoint>,
    /// True if the user named the checkpoint.
    is_named: bool,
    /// Go on whatever differs.
    pub anyway: bool,
}

impl Earlier {
    /// Locks the run in the output folder `path`, or that of the checkpoint `path`, and finds the checkpoint to go on
    /// from.
    ///
    /// # Errors
    /// `Error::File` if there is no run, if it is under way, or if the checkpoint is damaged; `Error::Io`.
    pub fn open(path: &Path, anyway: bool) -> Result<Earlier> {
        let named = Named::of(path)?;
        let folder = RunFolder::reopen(&named.out)?;
        checkpoint::tidy(&Disk, folder.path())?;
        let checkpoint = match &named.checkpoint {
            Some(checkpoint) => Some(Checkpoint::open(checkpoint)?),
            None => checkpoint::find(folder.path())?,
        };
        Ok(Earlier {
            folder,
            checkpoint,
            is_named: named.checkpoint.is_some(),
            anyway,
        })
    }

    /// The options of the run, with those flags that may be others.
    ///
    /// # Errors
    /// `Error::Option` naming an option that would change the result, unless the user wants that; `Error::File` and
    /// `Error::Io` for the files of options.
    pub fn options(&self, flags: &TrainOptions) -> Result<TrainOptions> {
        for idle in ["out", "overwrite"] {
            if table(flags).contains_key(idle) {
                return Err(Error::Option {
                    option: field(idle),
                    what: "has no effect with `.resume`".into(),
                    help: "leave one of the two out".into(),
                });
            }
        }
        let recorded = TrainOptions::read(&self.folder.path().join(RUN_FILE))?;
        // The checkpoint's file is the one that its weights were made with.
        let begun = match &self.checkpoint {
            Some(checkpoint) => TrainOptions::read(&checkpoint.path().join(RUN_FILE))?,
            None => recorded.clone(),
        };
        let options = flags.clone().or(recorded);
        let (now, then, defaults) = (table(&options), table(&begun), table_of_defaults());
        let names = now.keys().chain(then.keys()).collect::<BTreeSet<_>>();
        let mut refused = Vec::new();
        for option in names {
            let (now, then) = [&now, &then]
                .map(|table| table.get(option).or(defaults.get(option)))
                .into();
            let option = option.as_str();
            if now == then || FREE.contains(&option) || SAID_BY_THE_RUN.contains(&option) {
                continue;
            }
            let said = |value: Option<&toml::Value>| value.map_or("not given".to_owned(), show);
            let change = format!("was {}, and is {} now", said(then), said(now));
            if TRAINED.contains(&option) {
                return Err(Error::Option {
                    option: field(option),
                    what: format!("{change}: the checkpoint has other tensors"),
                    help: "leave it as it was, or begin a run of its own".into(),
                });
            }
            if ROUNDING.contains(&option) {
                tell!("note: --{option} {change}: the numbers are not to the bit those of one run");
            } else if self.anyway {
                tell!("note: --{option} {change}: the result is another");
            } else {
                refused.push((field(option), change));
            }
        }
        let mut refused = refused.into_iter();
        let Some((option, mut what)) = refused.next() else {
            return Ok(options);
        };
        what += ", which would change the result";
        for (option, change) in refused {
            what += &format!("; so would {option}: it {change}");
        }
        Err(Error::Option {
            option,
            what,
            help: "leave it as it was, or give `.resume_anyway`".into(),
        })
    }

    /// True if the folder holds the result of the whole run, and the user does not want to go on from before.
    pub fn is_finished(&self) -> bool {
        let results = [WEIGHTS_FILE, ADAPTER_WEIGHTS_FILE];
        let has_result = results
            .iter()
            .any(|name| self.folder.path().join(name).is_file());
        !self.is_named && !self.anyway && has_result
    }

    /// The checkpoint to go on from, and the folder.
    pub fn take(self) -> (RunFolder, Option<Checkpoint>) {
        (self.folder, self.checkpoint)
    }
}

/// What `--resume` names.
#[derive(Debug, PartialEq)]
struct Named {
    /// The output folder of a run.
    out: PathBuf,
    /// The checkpoint in it; `None` = the newest.
    checkpoint: Option<PathBuf>,
}

impl Named {
    /// The run in the output folder `path`, or that of the checkpoint `path`.
    ///
    /// # Errors
    /// `Error::File` for a checkpoint outside a run's folder.
    fn of(path: &Path) -> Result<Named> {
        if let Some(named) = Named::by_name(path) {
            return Ok(named);
        }
        // Such as `.`, or a link.
        if path.join(MANIFEST_FILE).exists() {
            let real = path.canonicalize().ok();
            return real.as_deref().and_then(Named::by_name).ok_or_else(|| Error::File {
                path: path.to_owned(),
                what: format!("a checkpoint that lies in no run's {CHECKPOINTS}"),
                help: "name the output folder of the run; `.model` takes any checkpoint as a model".into(),
            });
        }
        Ok(Named {
            out: path.to_owned(),
            checkpoint: None,
        })
    }

    fn by_name(path: &Path) -> Option<Named> {
        let step = checkpoint_step(&path.file_name()?.to_string_lossy());
        let folder = path
            .parent()
            .filter(|folder| folder.ends_with(CHECKPOINTS))?;
        let out = folder.parent()?;
        step.map(|_| Named {
            out: match out.as_os_str().is_empty() {
                true => PathBuf::from("."),
                false => out.to_owned(),
            },
            checkpoint: Some(path.to_owned()),
        })
    }
}

/// The defaults of options that a run's file of an earlier version does not have.
fn table_of_defaults() -> toml::Table {
    let text = TrainConfig::default().to_toml();
    text.parse().unwrap_or_default()
}

fn field(option: &str) -> Setting {
    let name = option.replace('-', "_");
    let mut names = TrainOptions::NAMES.iter();
    match names.find(|known| **known == name) {
        Some(known) => Setting::Field(known),
        None => Setting::Environment(option.to_owned()),
    }
}

/// How to go on with a run, in one line: a command that a shell takes as it is.
pub fn how_to_go_on(out: &Path) -> String {
    let path = match out.to_string_lossy().starts_with('-') {
        true => Path::new(".").join(out),
        false => out.to_owned(),
    };
    with_flags(&format!(
        "go on with: gpt2-dpo train `.resume` {}",
        quoted(&path)
    ))
}

/// A path as an argument in a shell.
fn quoted(path: &Path) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./\\-+=:,@%".contains(c);
    match path.to_str() {
        Some(text)
            if text
                .chars()
                .all(|c| is_plain(c) && (c != '\\' || cfg!(windows))) =>
        {
            text.to_owned()
        }
        Some(text) if cfg!(windows) => format!("\"{text}\""),
        Some(text) => format!("'{}'", text.replace('\'', "'\\''")),
        // Bash, zsh and others read bytes so.
        None => {
            let bytes = path.as_os_str().as_encoded_bytes().iter();
            let escaped = bytes
                .map(|byte| format!("\\x{byte:02x}"))
                .collect::<String>();
            format!("$'{escaped}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_by_its_folder_or_by_a_checkpoint() {
        let of = |path: &str| {
            let named = Named::of(Path::new(path)).unwrap();
            (named.out, named.checkpoint)
        };
        assert_eq!(of("runs/a"), ("runs/a".into(), None));
        let named = "runs/a/checkpoints/step-40";
        assert_eq!(of(named), ("runs/a".into(), Some(named.into())));
        let named = "checkpoints/step-40/";
        assert_eq!(of(named), (".".into(), Some(named.into())));
        assert_eq!(of("other/step-40"), ("other/step-40".into(), None));
    }

    #[cfg(unix)]
    #[test]
    fn a_checkpoint_is_found_by_a_link_and_refused_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let checkpoint = dir.join("run/checkpoints/step-4");
        for folder in [&checkpoint, &dir.join("copy")] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join(MANIFEST_FILE), "").unwrap();
        }
        std::os::unix::fs::symlink(&checkpoint, dir.join("latest")).unwrap();
        let named = Named::of(&dir.join("latest")).unwrap();
        assert_eq!(
            (named.out, named.checkpoint),
            (dir.join("run"), Some(checkpoint))
        );
        let text = Named::of(&dir.join("copy")).unwrap_err().to_string();
        assert!(text.contains("no run's checkpoints"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_the_path_back() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        for name in [
            &b"runs/a-1"[..],
            b"a b",
            b"a`b",
            b"a|b>c{d,e}",
            b"it's",
            b"~user!",
            b"back\\slash",
            b"N\xff",
        ] {
            let path = Path::new(OsStr::from_bytes(name));
            let script = format!("printf %s {}", quoted(path));
            let shell = std::process::Command::new("bash")
                .args(["-c", &script])
                .output();
            assert_eq!(shell.unwrap().stdout, name, "{script}");
        }
        assert!(how_to_go_on(Path::new("-d")).ends_with(" ./-d"));
    }

    #[test]
    fn every_named_option_is_one() {
        for option in FREE
            .iter()
            .chain(&TRAINED)
            .chain(&ROUNDING)
            .chain(&SAID_BY_THE_RUN)
        {
            assert!(matches!(field(option), Setting::Field(_)), "{option}");
        }
    }
}
