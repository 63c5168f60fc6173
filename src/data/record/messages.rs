//! Lists of messages, as `{role, content}` or as `{from, value}`.

use serde_json::{Map, Value};

use super::problem::{Parsed, Problem, found, quoted};
use super::row::{Row, is_blank};
use super::shape::Form;
use crate::data::message::{Message, Role};
use crate::data::source::not_json;

const HELP: &str =
    "a message is {\"role\": \"user\", \"content\": \"…\"}, its role system, user or assistant";

/// Keys of a message that change its meaning and are not supported.
const UNUSABLE: [&str; 9] = [
    "name",
    "tool_calls",
    "tool_call_id",
    "tools",
    "function_call",
    "images",
    "audio",
    "reasoning_content",
    "thinking",
];

/// The two names of one key of a message: OpenAI's and ShareGPT's.
struct Names {
    openai: &'static str,
    sharegpt: &'static str,
}

const ROLE: Names = Names {
    openai: "role",
    sharegpt: "from",
};
const CONTENT: Names = Names {
    openai: "content",
    sharegpt: "value",
};

impl Names {
    /// Takes the value out of a message; null if the message has neither key.
    fn take(&self, message: &mut Map<String, Value>) -> Value {
        let mut value = Value::Null;
        for name in [self.sharegpt, self.openai] {
            if let Some(found) = message.get_mut(name).filter(|value| !value.is_null()) {
                value = found.take();
            }
        }
        value
    }
}

/// The form of one message, or of a list by its first message.
pub(super) fn form(value: &Value) -> Form {
    let first = value.get(0).unwrap_or(value);
    match first.get(ROLE.sharegpt) {
        Some(_) => Form::FromValue,
        None => Form::Messages,
    }
}

/// Reads the list of messages under `key`.
pub(super) fn list(key: &str, items: Vec<Value>, row: &mut Row) -> Parsed<Vec<Message>> {
    let items = items.into_iter().enumerate();
    let messages = items.map(|(at, item)| message(&format!("{key}[{at}]"), item, row));
    messages.collect()
}

/// Reads one message; `place` names it in problems, as in `chosen[1]`.
pub(super) fn message(place: &str, item: Value, row: &mut Row) -> Parsed<Message> {
    if let Some(name) = not_json(&item) {
        return Err(Problem::new(
            format!("`{place}` is {name}, not a message"),
            HELP,
        ));
    }
    let Value::Object(mut object) = item else {
        let what = format!("`{place}` is {}, not a message", found(&item));
        return Err(Problem::new(what, HELP));
    };
    if let Some((key, value)) = object
        .iter()
        .find(|(key, value)| UNUSABLE.contains(&key.as_str()) && !is_blank(value))
    {
        let what = format!("`{place}.{key}` is not supported: {}", found(value));
        let help = format!("remove `{key}` from the messages, or remove the record");
        return Err(Problem::new(what, help));
    }
    let named = object.contains_key(ROLE.openai) || !object.contains_key(ROLE.sharegpt);
    let pick = |names: &Names| if named { names.openai } else { names.sharegpt };
    let role = role(place, pick(&ROLE), &ROLE.take(&mut object))?;
    let content_key = format!("{place}.{}", pick(&CONTENT));
    let content = content(&content_key, CONTENT.take(&mut object), row)?;
    leave_others(place, &Value::Object(object), &[], row);
    Ok(Message { role, content })
}

fn role(place: &str, key: &str, value: &Value) -> Parsed<Role> {
    let Value::String(name) = value else {
        let what = format!("`{place}.{key}` is {}, not a string", found(value));
        return Err(Problem::new(what, HELP));
    };
    match name.trim().to_ascii_lowercase().as_str() {
        // Newer models call the system role developer.
        "system" | "developer" => Ok(Role::System),
        "user" | "human" | "prompter" => Ok(Role::User),
        "assistant" | "gpt" | "chatgpt" | "model" | "bot" => Ok(Role::Assistant),
        "tool" | "function" | "observation" | "function_call" | "ipython" => {
            let what = format!("`{place}` has the role `{name}`, and tools are not supported");
            let help = "remove the record, or the messages that call and answer tools";
            Err(Problem::new(what, help))
        }
        _ => {
            let what = format!("`{place}` has the role `{name}`");
            Err(Problem::new(what, HELP))
        }
    }
}

/// A message's text; several text parts are joined.
fn content(key: &str, value: Value, row: &mut Row) -> Parsed<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Array(parts) => {
            let mut text = String::new();
            for (at, part) in parts.into_iter().enumerate() {
                text.push_str(&text_part(&format!("{key}[{at}]"), part, row)?);
            }
            Ok(text)
        }
        other => {
            let what = format!("`{key}` is {}, not a string", found(&other));
            Err(Problem::new(what, HELP))
        }
    }
}

fn text_part(place: &str, mut part: Value, row: &mut Row) -> Parsed<String> {
    let kind = part.get("type").and_then(Value::as_str);
    if let Some(kind) = kind.filter(|kind| *kind != "text") {
        let what = format!("`{place}` is of the type {}", quoted(kind));
        let help = "only text can be trained on: remove that part, or the record";
        return Err(Problem::new(what, help));
    }
    let Some(Value::String(text)) = part.get_mut("text").map(Value::take) else {
        let what = format!("`{place}` is {}, not a part of text", found(&part));
        let help = "a part of a message's content is {\"type\": \"text\", \"text\": \"…\"}";
        return Err(Problem::new(what, help));
    };
    leave_others(place, &part, &["type"], row);
    Ok(text)
}

/// Notes the unread keys of a message or of a text part.
fn leave_others(place: &str, object: &Value, read: &[&str], row: &mut Row) {
    let others = object.as_object().into_iter().flatten();
    let others = others.filter(|(key, value)| !read.contains(&key.as_str()) && !is_blank(value));
    for (key, _) in others {
        row.leave(format!("{}.{key}", without_numbers(place)));
    }
}

/// Drops list indices: `chosen[3].content` becomes `chosen[].content`, one name for the whole file.
fn without_numbers(place: &str) -> String {
    let mut inside = false;
    let kept = place.chars().filter(|&c| {
        inside = c == '[' || (inside && c != ']');
        !inside || c == '['
    });
    kept.collect()
}
