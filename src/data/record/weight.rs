//! What a record's loss counts.

use super::problem::{Parsed, Problem, found};
use super::row::{Found, Row, leave_out};
use super::slot::Slot;

/// The weight of a record's pair, at least 0; `None` if the record has none.
pub(super) fn read(row: &mut Row) -> Parsed<Option<f32>> {
    let Some(Found { key, value }) = row.take(Slot::Weight)? else {
        return Ok(None);
    };
    // Tables may write a number as text.
    let weight = match &value {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    match weight.map(|weight: f64| weight as f32) {
        Some(weight) if weight.is_finite() && weight >= 0.0 => Ok(Some(weight)),
        _ => Err(Problem::new(
            format!("`{key}` is {}, not a number of at least 0", found(&value)),
            format!(
                "a weight says what the pair's loss counts, and 1 is usual; without weights: {}",
                leave_out(&key)
            ),
        )),
    }
}
