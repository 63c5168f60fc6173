//! A record's scores of its answers.

use serde_json::Value;

use super::problem::{Parsed, Problem, found};
use super::row::{Found, Row, leave_out};
use super::slot::Slot;
use crate::data::source::not_json;

/// A record's scores of its two answers, in the record's own units; both finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scores {
    pub chosen: f64,
    pub rejected: f64,
}

impl Scores {
    /// The chosen score minus the rejected score.
    pub fn margin(self) -> f64 {
        self.chosen - self.rejected
    }
}

/// The two scores under their own keys. If the record has only a margin, it is the chosen score and the
/// rejected score is 0. `None` if the record has neither.
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

/// A finite number; tables may write it as text.
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
