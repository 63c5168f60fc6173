//! The keys of a record, taken part by part; a key that is left at the end is refused or listed.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::Reading;
use super::columns::Columns;
use super::problem::{Parsed, Problem, found, listed};
use super::shape::{Form, Shape};
use super::slot::{self, Slot, UNUSABLE};

/// The accepted shapes, as the help for a record that has none of them.
pub(super) const SHAPES: &str = "a record has `prompt`, `chosen` and `rejected`, as text or as messages, or \
     `prompt_ids`, `chosen_ids` and `rejected_ids` (docs/data.md has the other shapes); with `.loss` sft \
     `prompt` and `completion`, or `messages`; `.columns` chosen=NAME says which column is which";

/// A record during reading.
pub(super) struct Row<'a> {
    object: Map<String, Value>,
    columns: &'a Columns,
    /// See [`Reading::verbatim`].
    pub verbatim: bool,
    shape: Shape,
    /// The top-level keys that were taken.
    used: Vec<String>,
    /// Unread keys inside values, such as `chosen[].weight`.
    unread: Vec<String>,
}

/// A part of a record and the key that held it.
pub(super) struct Found {
    pub key: Cow<'static, str>,
    pub value: Value,
}

/// The shape of a record after reading, its used keys and its ignored keys.
pub(super) struct Account {
    pub shape: Shape,
    pub used: Vec<String>,
    pub ignored: Vec<String>,
}

impl<'a> Row<'a> {
    pub fn new(object: Map<String, Value>, reading: &'a Reading) -> Self {
        Row {
            object,
            columns: &reading.columns,
            verbatim: reading.verbatim,
            shape: Shape::default(),
            used: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// The record's keys for a part. A null value counts as absent, because exported tables write null for it.
    fn keys(&self, slot: Slot) -> impl Iterator<Item = &'static str> {
        let names = slot.names().iter().copied();
        names.filter(|name| {
            self.object.get(*name).is_some_and(|value| !value.is_null())
                && !self.columns.overrides(name)
        })
    }

    /// True if the record has the part, even if it is blank.
    pub fn has(&self, slot: Slot) -> bool {
        self.columns.path(slot).is_some() || self.keys(slot).next().is_some()
    }

    /// True if the record has the part and it is not blank, or the option `columns` assigns it.
    pub fn says(&self, slot: Slot) -> bool {
        self.columns.path(slot).is_some() || self.keys(slot).any(|key| !is_blank(&self.object[key]))
    }

    /// Takes a part out of the record; `None` where it is absent or null.
    ///
    /// If two keys hold the part, their values must be equal, or one of them blank.
    pub fn take(&mut self, slot: Slot) -> Parsed<Option<Found>> {
        if let Some(path) = self.columns.path(slot) {
            let (root, value) = self.columns.look_up(&self.object, path)?;
            self.used.push(root.to_owned());
            // The value stays in the record, because another path may lead into it.
            let key = Cow::Owned(path.to_owned());
            let value = value.clone();
            return Ok((!value.is_null()).then_some(Found { key, value }));
        }
        let mut keys: Vec<_> = self.keys(slot).collect();
        match keys.iter().any(|key| !is_blank(&self.object[*key])) {
            true => keys.retain(|key| !is_blank(&self.object[*key])),
            // All values are blank, so which one is taken does not matter.
            false => keys.truncate(1),
        }
        let Some((&key, others)) = keys.split_first() else {
            return Ok(None);
        };
        for other in others {
            let (one, two) = (&self.object[key], &self.object[*other]);
            if !same(one, two) {
                let what = format!(
                    "`{key}` and `{other}` stand for the same part and differ: {} and {}",
                    found(one),
                    found(two),
                );
                return Err(Problem::new(what, keep_one(key, other)));
            }
        }
        let others = others.iter().map(|&other| other.to_owned());
        self.used.extend(others);
        Ok(self.take_key(Cow::Borrowed(key)))
    }

    /// Takes a key out of the record; `None` where it is absent or null.
    pub fn take_key(&mut self, key: Cow<'static, str>) -> Option<Found> {
        let value = self.object.get_mut(key.as_ref());
        let value = value.filter(|value| !value.is_null())?.take();
        self.used.push(key.clone().into_owned());
        Some(Found { key, value })
    }

    /// A key's value, left where it is; `None` where it is null or `columns` gives it a meaning.
    pub fn peek(&self, key: &str) -> Option<&Value> {
        let value = self.object.get(key).filter(|value| !value.is_null());
        value.filter(|_| !self.columns.overrides(key))
    }

    /// Takes the first of a part's keys whose value is a list; `None` if no value is a list.
    pub fn take_list(&mut self, slot: Slot) -> Parsed<Option<Found>> {
        if self.columns.path(slot).is_some() {
            return self.take(slot);
        }
        let key = self.keys(slot).find(|key| self.object[*key].is_array());
        Ok(key.and_then(|key| self.take_key(Cow::Borrowed(key))))
    }

    /// Records the form in which a part was read.
    pub fn note(&mut self, slot: Slot, key: Cow<'static, str>, form: Form) {
        self.shape.add(slot, key, form);
    }

    /// Records an unread key inside a value.
    pub fn leave(&mut self, path: String) {
        if !self.unread.contains(&path) {
            self.unread.push(path);
        }
    }

    /// The problem that the record lacks some of these parts, all of which it needs.
    pub fn without(&self, parts: &[Slot]) -> Problem {
        let has_any = |slots: &[Slot]| slots.iter().any(|slot| self.has(*slot));
        let ids = [Slot::PromptIds, Slot::ChosenIds, Slot::RejectedIds];
        let pair = [Slot::Chosen, Slot::Rejected];
        let (record, parts) = match parts {
            _ if has_any(&ids) && !has_any(&pair) => ("a pre-tokenized record", &ids[..]),
            _ if parts.iter().all(|slot| pair.contains(slot)) => ("a preference record", parts),
            _ => ("a record", parts),
        };
        let missing = parts.iter().filter(|slot| !self.has(**slot));
        let mut missing: Vec<_> = missing.map(|slot| slot.name()).collect();
        if missing.is_empty() {
            missing = parts.iter().map(|slot| slot.name()).collect();
        }
        let keys: Vec<_> = self.object.keys().collect();
        let help = match keys.is_empty() {
            true => SHAPES.to_owned(),
            false => format!("{SHAPES}; this one has {}", listed(&keys)),
        };
        Problem::new(format!("{record} without {}", listed(&missing)), help)
    }

    /// Accounts for the record's keys: the shape, the used keys and the ignored ones. A left-over key that would
    /// change the prompt is refused, unless the prompt is `whole` without it.
    pub fn finish(self, whole: bool) -> Parsed<Account> {
        let mut ignored = Vec::new();
        for (key, value) in self.object {
            if self.used.contains(&key) || is_blank(&value) {
                continue;
            }
            let unusable = UNUSABLE.contains(&key.as_str()) && !self.columns.overrides(&key);
            if unusable && is_empty_json(&value) {
                continue;
            }
            if unusable && !whole {
                let what = format!(
                    "`{key}` is part of what the model is asked, and is not supported: {}",
                    found(&value)
                );
                return Err(Problem::new(what, leave_out(&key)));
            }
            let meant = slot::meant(&key).filter(|_| !whole && !self.columns.overrides(&key));
            if let Some(meant) = meant {
                let what = format!(
                    "`{key}` is not read under this name, and `{meant}` is part of what the model is asked"
                );
                let help = match Slot::of(meant) {
                    Some(slot) => format!(
                        "read it with `.columns` {}={key}, or leave it unused with `.columns` {key}=",
                        slot.name()
                    ),
                    None => leave_out(&key),
                };
                return Err(Problem::new(what, help));
            }
            ignored.push(key);
        }
        ignored.extend(self.unread);
        Ok(Account {
            shape: self.shape,
            used: self.used,
            ignored,
        })
    }
}

/// True for a value without content: exported tables fill unused columns with such values.
pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.iter().all(is_blank),
        Value::Object(object) => object.values().all(is_blank),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// True for the text `[]` or `{}`: many files keep tools as JSON in a text.
fn is_empty_json(value: &Value) -> bool {
    matches!(value.as_str().map(str::trim), Some("[]" | "{}"))
}

/// True if two values are equal, apart from white space around a text.
fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::String(one), Value::String(two)) => one.trim() == two.trim(),
        _ => one == two,
    }
}

/// The two ways to get rid of a key that cannot be used.
pub(super) fn leave_out(key: &str) -> String {
    format!("remove `{key}` from the file, or leave it unused with `.columns` {key}=")
}

fn keep_one(one: &str, two: &str) -> String {
    format!("leave one of them unused: `.columns` {two}= or `.columns` {one}=")
}
