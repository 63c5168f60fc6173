//! Records of token ids.

use serde_json::Value;

use super::problem::{Parsed, Problem, found, kind};
use super::row::Row;
use super::shape::Form;
use super::slot::Slot;

/// Takes the token ids of a part, which the record must have. A prompt must not be empty.
pub(super) fn read(row: &mut Row, slot: Slot) -> Parsed<Vec<u32>> {
    let Some(part) = row.take(slot)? else {
        return Err(row.without(&[slot]));
    };
    row.note(slot, part.key.clone(), Form::Ids);
    let key = part.key;
    let Value::Array(items) = part.value else {
        let what = format!(
            "`{key}` is {}, not an array of token ids",
            found(&part.value)
        );
        return Err(Problem::new(what, "write the ids as a list: [464, 2068]"));
    };
    if items.is_empty() && slot == Slot::PromptIds {
        let help = "give it at least one token id, or remove the record";
        return Err(Problem::new(format!("`{key}` is empty"), help));
    }
    let ids = items.iter().enumerate().map(|(at, item)| {
        let id = item.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| {
            let found = match item {
                Value::Number(number) => number.to_string(),
                other => kind(other).to_owned(),
            };
            let what = format!("`{key}[{at}]` is {found}, not a token id");
            let help = "a token id is a whole number from 0 up to the vocabulary's last";
            Problem::new(what, help)
        })
    });
    ids.collect()
}
