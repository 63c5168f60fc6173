//! `train --resume`: the options of the run that goes on, and the checkpoint to go on from.

use std::path::{Path, PathBuf};

use gpt2_dpo::checkpoint::{self, Checkpoint};
use gpt2_dpo::config::{TrainConfig, TrainOptions};
use gpt2_dpo::run_folder::{CHECKPOINTS, RUN_FILE, checkpoint_step};
use gpt2_dpo::storage::Disk;
use gpt2_dpo::{Error, Result, Setting};

use super::recorded::{show, table};
use super::{tell, with_flags};

/// Options that change no number of a run.
const FREE: [&str; 7] = [
    "cache-dir",
    "checkpoint-activations",
    "profile",
    "retries",
    "save-minutes",
    "save-steps",
    "save-total-limit",
];

/// Options that change a run's numbers by rounding alone. A run that goes on may have others, and is told so.
const ROUNDING: [&str; 6] = [
    "backend",
    "checked",
    "device",
    "max-binding-mib",
    "no-autotune",
    "precision",
];

/// An earlier run.
pub struct Earlier {
    /// Its output folder.
    pub out: PathBuf,
    /// The checkpoint that the user named; `None` = the newest.
    named: Option<PathBuf>,
    anyway: bool,
}

impl Earlier {
    /// The run in the output folder `path`, or that of the checkpoint `path`.
    pub fn new(path: &Path, anyway: bool) -> Earlier {
        let is_checkpoint = path
            .file_name()
            .is_some_and(|name| checkpoint_step(&name.to_string_lossy()).is_some());
        let out = path
            .parent()
            .filter(|folder| is_checkpoint && folder.ends_with(CHECKPOINTS))
            .and_then(Path::parent);
        match out {
            Some(out) => Earlier {
                out: match out.as_os_str().is_empty() {
                    true => PathBuf::from("."),
                    false => out.to_owned(),
                },
                named: Some(path.to_owned()),
                anyway,
            },
            None => Earlier {
                out: path.to_owned(),
                named: None,
                anyway,
            },
        }
    }

    /// The options of the run, with those flags that may be others.
    ///
    /// # Errors
    /// `Error::Option` naming a flag that would change the result, unless the user wants that; `Error::File` and
    /// `Error::Io` for the run's file of options.
    pub fn options(&self, flags: &TrainOptions) -> Result<TrainOptions> {
        let file = self.out.join(RUN_FILE);
        if !file.is_file() {
            return Err(Error::File {
                path: self.out.clone(),
                what: format!("no run to go on with: there is no {RUN_FILE}"),
                help: "name the output folder of a run that was broken off".into(),
            });
        }
        let begun = TrainOptions::read(&file)?;
        for idle in ["out", "overwrite"] {
            if table(flags).contains_key(idle) {
                return Err(Error::Option {
                    option: field(idle),
                    what: "has no effect with `.resume`".into(),
                    help: "leave one of the two out".into(),
                });
            }
        }
        let (given, recorded) = (table(flags), table(&begun));
        let defaults = table_of_defaults();
        for (option, value) in &given {
            let then = recorded.get(option).or(defaults.get(option));
            if then == Some(value) || FREE.contains(&option.as_str()) {
                continue;
            }
            let then = then.map_or("not given".to_owned(), show);
            let change = format!("was {then}, and is {} now", show(value));
            let Setting::Field(name) = field(option) else {
                continue;
            };
            if ROUNDING.contains(&option.as_str()) {
                tell!("note: --{option} {change}: the numbers are not to the bit those of one run");
            } else if self.anyway {
                tell!("note: --{option} {change}: the result is another");
            } else {
                return Err(Error::Option {
                    option: Setting::Field(name),
                    what: format!("{change}, which would change the result"),
                    help: "leave it out, or give `.resume_anyway`".into(),
                });
            }
        }
        Ok(flags.clone().or(begun))
    }

    /// True if the folder holds the result of the whole run, and the user does not want to go on from before.
    pub fn is_finished(&self) -> bool {
        self.named.is_none() && !self.anyway && self.out.join(WEIGHTS).is_file()
    }

    /// True if the run goes on whatever differs.
    pub fn anyway(&self) -> bool {
        self.anyway
    }

    /// The checkpoint to go on from; `None` if the run has none yet. Removes later checkpoints than one that the user
    /// named.
    ///
    /// # Errors
    /// `Error::File` for a damaged checkpoint; `Error::Io`.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let Some(named) = &self.named else {
            return checkpoint::find(&self.out);
        };
        let checkpoint = Checkpoint::open(named)?;
        for later in checkpoint::list(&self.out)? {
            if later.step > checkpoint.position().step {
                checkpoint::remove(&Disk, &later.path)?;
                let path = later.path.display();
                tell!("note: {path}, which comes later, is removed");
            }
        }
        Ok(Some(checkpoint))
    }
}

const WEIGHTS: &str = gpt2_dpo::pretrained::WEIGHTS_FILE;

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

/// How to go on with a run, in one line.
pub fn how_to_go_on(out: &Path) -> String {
    let shown = out.display().to_string();
    let quoted = match shown.contains(|c: char| c.is_whitespace() || "'\"\\$&;()*?".contains(c)) {
        true => format!("'{}'", shown.replace('\'', "'\\''")),
        false => shown,
    };
    with_flags(&format!("go on with: gpt2-dpo train `.resume` {quoted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_by_its_folder_or_by_a_checkpoint() {
        let of = |path: &str| {
            let earlier = Earlier::new(Path::new(path), false);
            (earlier.out, earlier.named)
        };
        assert_eq!(of("runs/a"), ("runs/a".into(), None));
        let named = "runs/a/checkpoints/step-40";
        assert_eq!(of(named), ("runs/a".into(), Some(named.into())));
        let named = "checkpoints/step-40/";
        assert_eq!(of(named), (".".into(), Some(named.into())));
        assert_eq!(of("other/step-40"), ("other/step-40".into(), None));
    }

    #[test]
    fn every_named_option_is_one() {
        for option in FREE.iter().chain(&ROUNDING) {
            assert!(matches!(field(option), Setting::Field(_)), "{option}");
        }
    }
}
