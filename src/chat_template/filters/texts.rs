//! Filters that return texts.

use minijinja::value::Kwargs;
use minijinja::{Error, State, Value};

use crate::chat_template::arguments::{Arguments, text_of};
use crate::chat_template::limits::within_limit;
use crate::chat_template::markup::{escaped, with_safety};
use crate::chat_template::operators::{add, all_converted, printf};
use crate::chat_template::texts::{is_space, padded, replaced, split_lines};
use crate::chat_template::values::{error, text};

/// Applies a function to a text. The filter takes no arguments.
pub(super) fn changed<T: Into<String>>(
    value: &Value,
    rest: Arguments,
    change: fn(&str) -> T,
) -> Result<Value, Error> {
    rest.bind("filter", [], 0)?;
    Ok(with_safety(value, change(&text(value)).into()))
}

pub(super) fn center(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("center", ["width"], 0)?;
    let padded = padded(&text(value), "center", bound.int(0, 80)?, " ")?;
    Ok(with_safety(value, padded))
}

pub(super) fn escape(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("escape", [], 0)?;
    Ok(Value::from_safe_string(escaped(value)))
}

pub(super) fn format(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let mut arguments = rest.positional;
    all_converted(&text(value), arguments.len())?;
    if !rest.keywords.is_empty() {
        if !arguments.is_empty() {
            return Err(error("format(): either values or names, not both"));
        }
        let named: Kwargs = rest.keywords.into_iter().collect();
        arguments.push(Value::from(named));
    }
    printf(&with_safety(value, text(value)), &arguments)
}

pub(super) fn indent(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("indent", ["width", "first", "blank"], 0)?;
    let source = text_of(value)?;
    let indent = match bound.passed(0) {
        Some(width) if width.as_str().is_some() => text(width),
        _ => {
            let width = usize::try_from(bound.int(0, 4)?.max(0)).unwrap_or(usize::MAX);
            within_limit(width)?;
            " ".repeat(width)
        }
    };
    let ended = format!("{source}\n");
    let lines = split_lines(&ended, false);
    within_limit(
        ended
            .len()
            .saturating_add(lines.len().saturating_mul(indent.len())),
    )?;
    let mut written = String::new();
    for (at, line) in lines.into_iter().enumerate() {
        if at > 0 {
            written.push('\n');
        }
        let indented = if at == 0 {
            bound.truth(1)
        } else {
            bound.truth(2) || !line.is_empty()
        };
        if indented {
            written += &indent;
        }
        written += line;
    }
    Ok(with_safety(value, written))
}

pub(super) fn replace(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("replace", ["old", "new", "count"], 2)?;
    let count = match bound.given(2) {
        None => usize::MAX,
        Some(_) => usize::try_from(bound.int(2, -1)?).unwrap_or(usize::MAX),
    };
    let (old, new) = (text(&bound.value(0)), text(&bound.value(1)));
    Ok(Value::from(replaced(&text(value), &old, &new, count)?))
}

/// Jinja's own title case. A new word begins behind white space, a hyphen or an opening bracket.
pub(super) fn title(source: &str) -> String {
    let separates = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let mut written = String::with_capacity(source.len());
    for word in source.split_inclusive(separates) {
        let mut chars = word.chars();
        if let Some(first) = chars.next() {
            written.extend(first.to_uppercase());
            written += &chars.as_str().to_lowercase();
        }
    }
    written
}

pub(super) fn trim(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("trim", ["chars"], 0)?;
    let text = text(value);
    let kept = match bound.text(0)? {
        None => text.trim_matches(is_space),
        Some(chars) => text.trim_matches(|c| chars.contains(c)),
    };
    Ok(with_safety(value, kept.to_owned()))
}

pub(super) fn truncate(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let source = text_of(value)?;
    let end = bound.text(2)?.unwrap_or("...");
    let leeway = match bound.given(3) {
        None => 5,
        Some(_) => bound.int(3, 0)?,
    };
    let (length, end_length) = (bound.int(0, 255)?, end.chars().count() as i128);
    if length < end_length || leeway < 0 {
        return Err(error(
            "truncate(): the length is below that of the end, or the leeway below 0",
        ));
    }
    if source.chars().count() as i128 <= length + leeway {
        return Ok(value.clone());
    }
    let kept: String = source
        .chars()
        .take((length - end_length) as usize)
        .collect();
    let kept = match kept.rsplit_once(' ') {
        Some((words, _)) if !bound.truth(1) => words,
        _ => &kept,
    };
    add(&with_safety(value, kept.to_owned()), &Value::from(end))
}

pub(super) fn wordcount(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("wordcount", [], 0)?;
    let text = text(value);
    let in_word = |c: char| c == '_' || c.is_alphanumeric();
    let words = text.split(|c| !in_word(c)).filter(|word| !word.is_empty());
    Ok(Value::from(words.count()))
}
