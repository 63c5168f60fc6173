//! Describes what is wrong with a record.

use serde_json::Value;

use crate::data::source::not_json;

/// What is wrong with a record and how to mend it. The caller adds the record's place.
#[derive(Debug)]
pub(crate) struct Problem {
    pub what: String,
    pub help: String,
}

impl Problem {
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Problem {
            what: what.into(),
            help: help.into(),
        }
    }
}

/// The result of reading a part of a record.
pub(crate) type Parsed<T> = Result<T, Problem>;

/// The most characters of a value that a message quotes.
const QUOTED: usize = 60;

/// A text in quotes, shortened if it is long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Two texts in quotes, from shortly before their first difference.
pub(super) fn differing(one: &str, two: &str) -> String {
    let same = one.chars().zip(two.chars()).take_while(|(a, b)| a == b);
    let skipped = match same.count() {
        shared if shared > QUOTED / 2 => shared - QUOTED / 4,
        _ => 0,
    };
    let from_there = |text: &str| {
        let rest: String = text.chars().skip(skipped).collect();
        let dots = if skipped > 0 { "…" } else { "" };
        format!("{dots}{}", quoted(&rest))
    };
    format!("{} and {}", from_there(one), from_there(two))
}

/// The JSON type of a value, in words.
pub(super) fn kind(value: &Value) -> &str {
    if let Some(name) = not_json(value) {
        return name;
    }
    match value {
        Value::Null => "missing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// [`kind`] and the value itself, shortened if it is long.
pub(super) fn found(value: &Value) -> String {
    if let Some(name) = not_json(value) {
        return name.to_owned();
    }
    match value {
        Value::Null => kind(value).to_owned(),
        Value::String(text) => format!("{} ({})", kind(value), quoted(text)),
        Value::Bool(_) | Value::Number(_) => format!("{} ({value})", kind(value)),
        Value::Array(_) | Value::Object(_) => {
            let json = value.to_string();
            let end = json.char_indices().nth(QUOTED);
            let shown = end.map_or(json.clone(), |(end, _)| format!("{}…", &json[..end]));
            format!("{} ({shown})", kind(value))
        }
    }
}

/// Names in backquotes: `a`, `b` and `c`.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let mut text = String::new();
    for (at, name) in names.iter().enumerate() {
        text.push_str(match at {
            0 => "",
            _ if at + 1 == names.len() => " and ",
            _ => ", ",
        });
        text.push_str(&format!("`{}`", name.as_ref()));
    }
    text
}
