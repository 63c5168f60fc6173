//! `columns`: which column of a file is which part of a record.

use serde_json::{Map, Value};

use super::problem::{Parsed, Problem, listed};
use super::slot::{self, Slot, UNUSABLE};
use crate::error::{Error, Result};

const OPTION: &str = "columns";
const HELP: &str = "write PART=COLUMN with commas between: chosen=better,rejected=answers.worst.text; \
     PART= with nothing behind it leaves the column of that name unused";

/// The parts for which a column can be given.
const PARTS: [Slot; 17] = [
    Slot::Prompt,
    Slot::System,
    Slot::History,
    Slot::Input,
    Slot::Messages,
    Slot::Chosen,
    Slot::Rejected,
    Slot::Completion,
    Slot::Label,
    Slot::Candidates,
    Slot::Scores,
    Slot::ChosenScore,
    Slot::RejectedScore,
    Slot::Margin,
    Slot::PromptIds,
    Slot::ChosenIds,
    Slot::RejectedIds,
];

/// Which column is which part, and which columns are left unused; by default no word on either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    given: Vec<Column>,
    unused: Vec<String>,
}

/// A part that is kept under a key, or further in, of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    slot: Slot,
    /// As the user wrote it: keys with dots between; for an item of a list, its number from 0.
    path: String,
}

impl Columns {
    /// Reads `chosen=better,rejected=answers.worst.text,system=`. Before the `=` is a key that a
    /// record of the usual shapes may have.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] where that is no such key, or names a part a second time.
    pub fn parse(text: &str) -> Result<Columns> {
        let mut columns = Columns::default();
        for item in text.split(',').filter(|item| !item.trim().is_empty()) {
            let refuse = |what: String| Error::option(OPTION, what, HELP);
            let (name, path) = item
                .split_once('=')
                .ok_or_else(|| refuse(format!("no `=` in {:?}", item.trim())))?;
            let (name, path) = (name.trim(), path.trim());
            let matters =
                UNUSABLE.contains(&name) || Slot::of(name).is_some() || slot::meant(name).is_some();
            if path.is_empty() && matters {
                columns.unused.push(name.to_owned());
                continue;
            }
            let Some(slot) = Slot::of(name).filter(|slot| PARTS.contains(slot)) else {
                return Err(refuse(unknown(name)));
            };
            if columns.given.iter().any(|column| column.slot == slot) {
                return Err(refuse(format!(
                    "`{name}` is given a second column, {path:?}"
                )));
            }
            let path = path.to_owned();
            columns.given.push(Column { slot, path });
        }
        Ok(columns)
    }

    /// The column that the user gave for a part.
    pub(super) fn path(&self, slot: Slot) -> Option<&str> {
        let column = self.given.iter().find(|column| column.slot == slot);
        column.map(|column| column.path.as_str())
    }

    /// True for a key that has no meaning by its name any more: it is left unused, or the user
    /// said what it, or something in it, is.
    pub(super) fn overrides(&self, key: &str) -> bool {
        let mut given = self.given.iter();
        given.any(|column| root(&column.path) == key || column.path == key)
            || self.unused.iter().any(|unused| unused == key)
    }

    /// The value at a path, and the record's own key that it lies in.
    pub(super) fn look_up<'a>(
        &self,
        object: &'a Map<String, Value>,
        path: &'a str,
    ) -> Parsed<(&'a str, &'a Value)> {
        // A key with dots in it comes first: flattened tables have such.
        if let Some(value) = object.get(path) {
            return Ok((path, value));
        }
        let mut value = object.get(root(path));
        for step in path.split('.').skip(1) {
            value = match value {
                Some(Value::Object(object)) => object.get(step),
                Some(Value::Array(items)) => step.parse().ok().and_then(|at: usize| items.get(at)),
                _ => None,
            };
        }
        value.map(|value| (root(path), value)).ok_or_else(|| {
            let keys: Vec<_> = object.keys().collect();
            Problem::new(
                format!("no column `{path}`, which `.{OPTION}` asks for"),
                format!("the record's keys are {}", listed(&keys)),
            )
        })
    }
}

/// The key that a path begins with.
fn root(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

fn unknown(name: &str) -> String {
    let names = PARTS.map(Slot::name);
    format!(
        "`{name}` is no part of a record; these are {}",
        listed(&names)
    )
}
