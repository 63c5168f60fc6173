//! How good a record says that its answers are.

use serde_json::Value;

use super::problem::{Parsed, Problem, found};
use super::row::{Found, Row, leave_out};
use super::slot::Slot;
use crate::data::source::not_json;

/// How good a record says that its two answers are, in units of its own; both finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scores {
    pub chosen: f64,
    pub rejected: f64,
}

impl Scores {
    /// How much better the chosen answer is.
    pub fn margin(self) -> f64 {
        self.chosen - self.rejected
    }
}

/// The scores under their own keys, or the margin alone, as a score over zero; `None` where the
/// record has neither.
pub(super) fn read(row: &mut Row) -> Parsed<Option<Scores>> {
    if row.says(Slot::ChosenScore) && row.says(Slot::RejectedScore) {
        let chosen = score(row, Slot::ChosenScore)?;
        let rejected = score(row, Slot::RejectedScore)?;
        let both = chosen.zip(rejected);
        return Ok(both.map(|(chosen, rejected)| Scores { chosen, rejected }));
    }
    let margin = score(row, Slot::Margin)?;
    Ok(margin.map(|chosen| Scores {
        chosen,
        rejected: 0.0,
    }))
}

fn score(row: &mut Row, slot: Slot) -> Parsed<Option<f64>> {
    match row.take(slot)? {
        Some(Found { key, value }) => number(&key, &value).map(Some),
        None => Ok(None),
    }
}

/// A finite number, which tables also write as text.
pub(super) fn number(key: &str, value: &Value) -> Parsed<f64> {
    if let Some(name) = not_json(value) {
        let what = format!("`{key}` is {name}, and a score is finite");
        return Err(Problem::new(what, help(key)));
    }
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if number.is_finite() => Ok(number),
        Some(number) => {
            let what = format!("`{key}` is {number}, and a score is finite");
            Err(Problem::new(what, help(key)))
        }
        None => {
            let what = format!("`{key}` is {}, not a number", found(value));
            Err(Problem::new(what, help(key)))
        }
    }
}

fn help(key: &str) -> String {
    format!(
        "give the score, or remove the record; without scores: {}",
        leave_out(key)
    )
}
