//! One JSON object → a preference pair, in any of the accepted shapes.

use serde_json::{Map, Value};

use super::prompt::{Message, Role};

/// What is wrong with a record and what to do about it. The caller knows where it is.
#[derive(Debug)]
pub(super) struct Problem {
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

type Parsed<T> = Result<T, Problem>;
type Object = Map<String, Value>;

/// A preference pair as its file gives it. No response is empty.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    Text {
        /// Messages up to the one to be answered; their turns are not yet checked.
        prompt: Vec<Message>,
        chosen: String,
        rejected: String,
    },
    Ids {
        prompt: Vec<u32>,
        chosen: Vec<u32>,
        rejected: Vec<u32>,
    },
}

const SHAPES: &str = "a record has `prompt`, `chosen` and `rejected` (text or lists of messages), or \
     `instruction`, `chosen` and `rejected`, or `prompt_ids`, `chosen_ids` and `rejected_ids`";

impl Record {
    /// Reads a record; pre-tokenized ids come first where it holds both them and text.
    pub fn from_json(value: &Value) -> Parsed<Record> {
        let Value::Object(object) = value else {
            let what = format!("the record is {}, not an object", kind(value));
            return Err(Problem::new(what, SHAPES));
        };
        match nearest_shape(object)? {
            Shape::Ids => Ok(Record::Ids {
                prompt: ids(object, "prompt_ids")?,
                chosen: ids(object, "chosen_ids")?,
                rejected: ids(object, "rejected_ids")?,
            }),
            Shape::Text => text_record(object),
        }
    }
}

enum Shape {
    Text,
    Ids,
}

/// The shape with the most keys in `object`, if that is all of them.
fn nearest_shape(object: &Object) -> Parsed<Shape> {
    let missing = |keys: &[&'static str]| -> Vec<&'static str> {
        let absent = keys.iter().filter(|key| get(object, key).is_none());
        absent.copied().collect()
    };
    let ids = missing(&["prompt_ids", "chosen_ids", "rejected_ids"]);
    if ids.is_empty() {
        return Ok(Shape::Ids);
    }
    let text = missing(&["chosen", "rejected"]);
    // Whether the prompt may be missing depends on the responses: `text_record` looks.
    if text.is_empty() {
        return Ok(Shape::Text);
    }
    let (shape, absent) = if ids.len() < 3 && text.len() == 2 {
        ("a pre-tokenized record", ids)
    } else if get(object, "instruction").is_some() {
        ("an instruction record", text)
    } else if ids.len() == 3 && text.len() == 2 && get(object, "prompt").is_none() {
        return Err(Problem::new("no key of a preference pair", SHAPES));
    } else {
        ("a preference record", text)
    };
    let what = format!("{shape} without `{}`", absent.join("` and `"));
    Err(Problem::new(what, SHAPES))
}

fn text_record(object: &Object) -> Parsed<Record> {
    let chosen = response(object, "chosen")?;
    let rejected = response(object, "rejected")?;
    if chosen.is_list != rejected.is_list {
        return Err(Problem::new(
            "one of `chosen` and `rejected` is a string and the other a list of messages",
            "give both as strings, or both as lists",
        ));
    }
    if chosen.context != rejected.context {
        return Err(Problem::new(
            "`chosen` and `rejected` differ before their last assistant message",
            "both must answer the same prompt: make their earlier messages equal",
        ));
    }
    Ok(Record::Text {
        prompt: join(prompt(object)?, chosen.context)?,
        chosen: chosen.text,
        rejected: rejected.text,
    })
}

/// What `prompt`, or `instruction` and `input`, say; `None` where there is neither.
fn prompt(object: &Object) -> Parsed<Option<Vec<Message>>> {
    if let Some(value) = get(object, "prompt") {
        return match value {
            Value::String(text) => Ok(Some(vec![Message::user(text)])),
            Value::Array(items) => messages("prompt", items).map(Some),
            other => Err(wrong_type(
                "prompt",
                other,
                "a string or a list of messages",
            )),
        };
    }
    let Some(instruction) = string(object, "instruction")? else {
        return Ok(None);
    };
    Ok(Some(vec![match string(object, "input")? {
        Some(input) if !input.is_empty() => Message::user(&format!("{instruction}\n{input}")),
        _ => Message::user(instruction),
    }]))
}

/// The whole prompt, from `prompt` and the messages before the answer in the responses' lists.
///
/// Those messages either continue the prompt (there are none, or the first is the assistant's)
/// or repeat it.
fn join(prompt: Option<Vec<Message>>, context: Vec<Message>) -> Parsed<Vec<Message>> {
    let continues = context.first().is_none_or(|m| m.role == Role::Assistant);
    match prompt {
        Some(mut prompt) if continues => {
            prompt.extend(context);
            Ok(prompt)
        }
        Some(prompt) if !repeats(&prompt, &context) => Err(Problem::new(
            "`prompt` differs from the messages before the answer in `chosen` and `rejected`",
            "remove `prompt`, or make it say the same",
        )),
        None if context.is_empty() => {
            let what = "a preference record without `prompt` or `instruction`";
            Err(Problem::new(what, SHAPES))
        }
        _ => Ok(context),
    }
}

/// True if `context` says what `prompt` does: the same messages, or, where `prompt` is one text,
/// messages by the user of which it holds one (the first, the last, or a rendering of all).
fn repeats(prompt: &[Message], context: &[Message]) -> bool {
    let is_in = |text: &str| {
        let mut user = context.iter().filter(|m| m.role == Role::User);
        user.any(|m| text.contains(m.content.trim()))
    };
    prompt == context || matches!(prompt, [only] if is_in(&only.content))
}

struct Response {
    /// The messages before the answer.
    context: Vec<Message>,
    text: String,
    is_list: bool,
}

fn response(object: &Object, key: &str) -> Parsed<Response> {
    let response = match get(object, key) {
        Some(Value::String(text)) => Response {
            context: Vec::new(),
            text: text.clone(),
            is_list: false,
        },
        Some(Value::Array(items)) => {
            let mut context = messages(key, items)?;
            let answer = context.pop_if(|last| last.role == Role::Assistant);
            let answer = answer.ok_or_else(|| no_answer(key, &context))?;
            Response {
                context,
                text: answer.content,
                is_list: true,
            }
        }
        other => {
            let other = other.unwrap_or(&Value::Null);
            return Err(wrong_type(key, other, "a string or a list of messages"));
        }
    };
    if response.text.trim().is_empty() {
        let help = "give the response some text, or remove the record";
        return Err(Problem::new(format!("`{key}` is empty"), help));
    }
    Ok(response)
}

fn no_answer(key: &str, messages: &[Message]) -> Problem {
    let help = "the last message of each list is the assistant's answer";
    if messages.iter().any(|m| m.role == Role::Assistant) {
        let what = format!("`{key}` goes on after its last assistant message");
        Problem::new(what, help)
    } else {
        Problem::new(format!("`{key}` has no assistant message"), help)
    }
}

fn messages(key: &str, items: &[Value]) -> Parsed<Vec<Message>> {
    let items = items.iter().enumerate();
    items.map(|(at, item)| message(key, at, item)).collect()
}

fn message(key: &str, at: usize, item: &Value) -> Parsed<Message> {
    let help =
        "a message is {\"role\": \"user\", \"content\": \"…\"}, its role system, user or assistant";
    let Value::Object(object) = item else {
        let what = format!("`{key}[{at}]` is {}, not a message", kind(item));
        return Err(Problem::new(what, help));
    };
    let text = |name: &str| match get(object, name) {
        Some(Value::String(text)) => Ok(text),
        other => {
            let other = kind(other.unwrap_or(&Value::Null));
            let what = format!("`{key}[{at}].{name}` is {other}, not a string");
            Err(Problem::new(what, help))
        }
    };
    let role = match text("role")?.as_str() {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            let what = format!("`{key}[{at}]` has the role `{other}`");
            return Err(Problem::new(what, help));
        }
    };
    Ok(Message {
        role,
        content: text("content")?.clone(),
    })
}

fn ids(object: &Object, key: &str) -> Parsed<Vec<u32>> {
    let items = match get(object, key) {
        Some(Value::Array(items)) => items,
        other => {
            let other = other.unwrap_or(&Value::Null);
            return Err(wrong_type(key, other, "an array of token ids"));
        }
    };
    if items.is_empty() {
        let help = "give it at least one token id, or remove the record";
        return Err(Problem::new(format!("`{key}` is empty"), help));
    }
    let items = items.iter().enumerate();
    items
        .map(|(at, item)| {
            let id = item.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| {
                let found = match item {
                    Value::Number(number) => number.to_string(),
                    other => kind(other).to_owned(),
                };
                let help = "a token id is a whole number from 0 up to the vocabulary's last";
                Problem::new(format!("`{key}[{at}]` is {found}, not a token id"), help)
            })
        })
        .collect()
}

fn string<'a>(object: &'a Object, key: &str) -> Parsed<Option<&'a str>> {
    match get(object, key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(key, other, "a string")),
    }
}

/// The value of a key. One that is null counts as missing: exports of tables write those.
fn get<'a>(object: &'a Object, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn wrong_type(key: &str, value: &Value, expected: &str) -> Problem {
    let what = format!("`{key}` is {}, not {expected}", kind(value));
    Problem::new(what, SHAPES)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "missing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
