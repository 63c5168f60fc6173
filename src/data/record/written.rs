//! Lists of messages written as one text: formats without lists store them so.

use serde_json::Value;

use super::problem::{Parsed, Problem, quoted};

/// The two keys that make an object a message: the speaker and the content.
const NAMES: [[&str; 2]; 2] = [["role", "content"], ["from", "value"]];

/// Refuses a text that holds a message or a list of messages, as JSON or as Python prints it.
pub(super) fn refuse_messages(key: &str, text: &str) -> Parsed<()> {
    let text = text.trim();
    if !text.starts_with(['[', '{']) {
        return Ok(());
    }
    if is_printed(text) {
        let load = "ast.literal_eval";
        return Err(refused(
            key,
            "a list of messages as Python prints it",
            text,
            load,
        ));
    }
    let is_list = match serde_json::from_str(text) {
        Ok(Value::Array(items)) => !items.is_empty() && items.iter().all(is_message),
        Ok(value) => is_message(&value),
        Err(_) => false,
    };
    match is_list {
        true => Err(refused(
            key,
            "a list of messages written as text",
            text,
            "json.loads",
        )),
        false => Ok(()),
    }
}

/// [`refuse_messages`] for a prompt, where a list of texts means turns. (An answer may well be such a list.)
pub(super) fn refuse_turns(key: &str, text: &str) -> Parsed<()> {
    let text = text.trim();
    if text.starts_with('[')
        && let Ok(items) = serde_json::from_str::<Vec<String>>(text)
        && !items.is_empty()
    {
        return Err(refused(
            key,
            "a list of texts written as text",
            text,
            "json.loads",
        ));
    }
    refuse_messages(key, text)
}

fn is_message(value: &Value) -> bool {
    NAMES
        .iter()
        .any(|names| names.iter().all(|name| value.get(name).is_some()))
}

fn is_printed(text: &str) -> bool {
    let has = |name: &&str| text.contains(&format!("'{name}':"));
    let within = text.trim_start_matches('[').trim_start();
    within.starts_with("{'") && NAMES.iter().any(|names| names.iter().all(has))
}

fn refused(key: &str, what: &str, text: &str, load: &str) -> Problem {
    Problem::new(
        format!("`{key}` is {what}: {}", quoted(text)),
        format!(
            "turn that column into lists before the file is written: row[{key:?}] = \
             {load}(row[{key:?}]), for every column that is like that"
        ),
    )
}
