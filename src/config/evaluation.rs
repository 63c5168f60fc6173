//! The options of evaluations: the held-out sets by name, the prompts to sample.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::TrainConfig;
use crate::error::{Error, Result};

/// A held-out data set as the option `eval_data` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedData {
    /// The name in the metrics; empty for a set without one.
    pub name: String,
    /// The file, folder or data set.
    pub data: PathBuf,
}

impl NamedData {
    /// Reads `NAME=PATH` or `PATH`. A name has letters, digits, `_` and `-`: any other text before the first `=` is
    /// part of a path.
    pub fn of(given: &Path) -> NamedData {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        match given.to_str().and_then(|text| text.split_once('=')) {
            Some((name, data)) if !name.is_empty() && name.chars().all(is_name) => NamedData {
                name: name.to_owned(),
                data: data.into(),
            },
            _ => NamedData {
                name: String::new(),
                data: given.to_owned(),
            },
        }
    }
}

/// The prompts that a run answers at its evaluations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SamplePrompts {
    /// The first so many different prompts of the held-out pairs.
    Count(usize),
    /// The lines of a file, each a user's message.
    File(PathBuf),
}

impl TrainConfig {
    /// The held-out data sets, in the order given.
    pub fn eval_sets(&self) -> Vec<NamedData> {
        self.eval_data.iter().map(|d| NamedData::of(d)).collect()
    }

    /// The prompts to sample: a number is a count, any other text a file.
    pub fn samples(&self) -> SamplePrompts {
        match self.sample_prompts.parse() {
            Ok(count) => SamplePrompts::Count(count),
            Err(_) => SamplePrompts::File(self.sample_prompts.clone().into()),
        }
    }

    /// True if the run has held-out pairs.
    pub(super) fn has_held_out(&self) -> bool {
        !self.eval_data.is_empty() || self.eval_fraction > 0.0 || self.data.is_empty()
    }

    /// Checks the options about held-out pairs beside those about training pairs.
    pub(super) fn check_eval_data(&self) -> Result<()> {
        let sets = self.eval_sets();
        if sets.iter().any(|set| set.data.as_os_str().is_empty()) {
            return Err(Error::option(
                "eval_data",
                "is empty",
                "name it, or leave it out",
            ));
        }
        let own_data = !self.data.is_empty();
        if !sets.is_empty() && !own_data {
            return Err(Error::option(
                "eval_data",
                "is given without `.data`",
                "give both, or neither for the starter's own pairs",
            ));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = sets.iter().find(|set| !names.insert(&set.name)) {
            let what = match &twice.name[..] {
                "" => "two sets have no name".to_owned(),
                name => format!("two sets have the name {name}"),
            };
            return Err(Error::option(
                "eval_data",
                what,
                "give each a name of its own, as in easy=easy.jsonl",
            ));
        }
        let all_data = self.data.iter().chain(sets.iter().map(|set| &set.data));
        if all_data.filter(|path| path.as_os_str() == "-").count() > 1 {
            return Err(Error::option(
                "data",
                "standard input (-) is named twice, and can be read once",
                "put one of the two into a file",
            ));
        }
        if self.sample_prompts.is_empty() {
            return Err(Error::option(
                "sample_prompts",
                "is empty",
                "give a number, 0 for none, or a file of prompts",
            ));
        }
        let samples_file = matches!(self.samples(), SamplePrompts::File(_));
        if self.eval_steps > 0 && !self.has_held_out() && !samples_file {
            return Err(Error::option(
                "eval_steps",
                "is given without `.eval_data`",
                "give held-out pairs with `.eval_data` or `.eval_fraction`",
            ));
        }
        if self.eval_limit > 0 && sets.is_empty() && own_data {
            return Err(Error::option(
                "eval_limit",
                "is given without `.eval_data`",
                "give held-out pairs with `.eval_data`",
            ));
        }
        Ok(())
    }

    /// True if a number of samples is asked for where there are no held-out pairs to take their prompts from.
    pub(super) fn samples_nothing(&self) -> bool {
        let asked = matches!(self.samples(), SamplePrompts::Count(1..));
        asked && !self.has_held_out()
    }
}

/// The prefix of the metrics of the set with this name, as TRL has it: `eval_`, or `eval_NAME_`.
pub fn eval_prefix(name: &str) -> String {
    match name {
        "" => "eval_".to_owned(),
        name => format!("eval_{name}_"),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_name_stands_before_the_first_sign() {
        for (given, name, data) in [
            ("held.jsonl", "", "held.jsonl"),
            ("easy=held.jsonl", "easy", "held.jsonl"),
            ("a-b_2=org/name:test", "a-b_2", "org/name:test"),
            ("easy=a=b.jsonl", "easy", "a=b.jsonl"),
            ("./a=b.jsonl", "", "./a=b.jsonl"),
            ("=b.jsonl", "", "=b.jsonl"),
            ("easy=", "easy", ""),
        ] {
            let read = NamedData::of(Path::new(given));
            assert_eq!(
                (&read.name[..], read.data.as_os_str()),
                (name, OsStr::new(data))
            );
        }
    }
}
