//! `columns`: which column of a file is which part of a record.

use serde_json::{Map, Value};

use super::problem::{Parsed, Problem, listed};
use super::slot::{self, Slot, UNUSABLE};
use crate::error::{Error, Result};

const OPTION: &str = "columns";
const HELP: &str = "write PART=COLUMN with commas between: chosen=better,rejected=answers.worst.text; \
     PART= with nothing behind it leaves the column of that name unused";

/// The parts that the option `columns` can assign.
const PARTS: [Slot; 18] = [
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
    Slot::Weight,
    Slot::PromptIds,
    Slot::ChosenIds,
    Slot::RejectedIds,
];

/// The assigned columns and the unused ones; by default neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    given: Vec<Column>,
    unused: Vec<String>,
}

/// A part of a record and the path of its column.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    slot: Slot,
    /// As the user wrote it: keys separated by dots; an item of a list by its index from 0.
    path: String,
}

impl Columns {
    /// Parses `chosen=better,rejected=answers.worst.text,system=`. Each name before a `=` is a key of the usual
    /// shapes.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if a name is not such a key, or a part is assigned twice.
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

    /// The column that the user assigned to a part.
    pub(super) fn path(&self, slot: Slot) -> Option<&str> {
        let column = self.given.iter().find(|column| column.slot == slot);
        column.map(|column| column.path.as_str())
    }

    /// True if a key's name no longer decides its meaning: the key is left unused, or the option `columns` assigns the
    /// key or a value inside it.
    pub(super) fn overrides(&self, key: &str) -> bool {
        let mut given = self.given.iter();
        given.any(|column| root(&column.path) == key || column.path == key)
            || self.unused.iter().any(|unused| unused == key)
    }

    /// The value at a path, and the record's top-level key above it.
    pub(super) fn look_up<'a>(
        &self,
        object: &'a Map<String, Value>,
        path: &'a str,
    ) -> Parsed<(&'a str, &'a Value)> {
        // A key that contains the dots itself comes first: flattened tables have such keys.
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

/// The top-level key of a path.
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
