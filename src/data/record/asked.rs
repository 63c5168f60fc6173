//! Reads the parts of a record that make up the prompt, each under its own key.

use std::borrow::Cow;

use serde_json::Value;

use super::messages;
use super::problem::{Parsed, Problem, found};
use super::row::{Found, Row, is_blank, leave_out};
use super::shape::Form;
use super::slot::Slot;
use super::transcript::Opening;
use super::written;
use crate::data::message::{Message, Role};

/// Messages and the key that held them.
pub(super) struct Said {
    pub key: Cow<'static, str>,
    pub messages: Vec<Message>,
    /// If the messages come from one transcript text: that text, which the answers continue.
    pub opening: Option<Opening>,
}

impl Said {
    pub fn new(key: Cow<'static, str>, messages: Vec<Message>) -> Said {
        let opening = None;
        Said {
            key,
            messages,
            opening,
        }
    }

    /// Reads a text as the turns of a transcript that ends where the assistant is to speak. Any other text,
    /// and every text if `verbatim`, is one user message.
    pub fn text(key: Cow<'static, str>, text: String, verbatim: bool) -> (Form, Said) {
        let transcript = match verbatim {
            true => None,
            false => Opening::read(&text),
        };
        match transcript {
            Some((opening, messages)) => {
                let form = Form::Transcript(opening.dialect());
                let opening = Some(opening);
                let said = Said {
                    opening,
                    ..Said::new(key, messages)
                };
                (form, said)
            }
            None => (Form::Text, Said::new(key, vec![Message::user(text)])),
        }
    }

    /// True if no message has any text.
    pub fn is_blank(&self) -> bool {
        let mut contents = self.messages.iter().map(|message| &message.content);
        contents.all(|content| content.trim().is_empty())
    }
}

/// A text and the key that held it.
pub(super) struct Text {
    pub key: Cow<'static, str>,
    pub text: String,
}

/// The text or the messages behind the prompt, or in place of a prompt.
pub(super) enum Input {
    Text(Text),
    /// Earlier turns, which some files keep under `context`.
    Messages(Said),
}

/// Takes a part that is not blank. A blank part counts as absent, whatever its type.
fn take(row: &mut Row, slot: Slot) -> Parsed<Option<Found>> {
    let part = row.take(slot)?;
    if let Some(Found { key, value }) = part.as_ref().filter(|part| is_blank(&part.value)) {
        // The column holds texts, even if this row's text is blank.
        if value.is_string() {
            row.note(slot, key.clone(), Form::Text);
        }
        return Ok(None);
    }
    Ok(part)
}

/// The system message; `None` where it is absent or blank.
pub(super) fn system(row: &mut Row) -> Parsed<Option<Text>> {
    let Some(Found { key, value }) = take(row, Slot::System)? else {
        return Ok(None);
    };
    let Value::String(text) = value else {
        let what = format!("`{key}` is {}, not a string", found(&value));
        return Err(Problem::new(what, leave_out(&key)));
    };
    row.note(Slot::System, key.clone(), Form::Text);
    Ok(Some(Text { key, text }))
}

/// The earlier turns: messages, or pairs of question and answer. A text is the user's message, because
/// some files without a prompt keep it here.
pub(super) fn history(row: &mut Row) -> Parsed<Option<Said>> {
    let lone = !row.says(Slot::Prompt);
    let Some(Found { key, value }) = take(row, Slot::History)? else {
        return Ok(None);
    };
    let (form, said) = match value {
        Value::String(text) if lone => {
            written::refuse_turns(&key, &text)?;
            Said::text(key.clone(), text, row.verbatim)
        }
        Value::Array(items) if items.iter().all(Value::is_array) => {
            let messages = exchanges(&key, items)?;
            (Form::Exchanges, Said::new(key.clone(), messages))
        }
        Value::Array(items) => {
            let (form, messages) = further_list(&key, items, row)?;
            (form, Said::new(key.clone(), messages))
        }
        other => {
            let what = format!(
                "`{key}` is {}, not a list of messages or of pairs [\"question\", \"answer\"]",
                found(&other)
            );
            return Err(Problem::new(what, leave_out(&key)));
        }
    };
    row.note(Slot::History, key, form);
    Ok(Some(said).filter(|said| !said.is_blank()))
}

fn exchanges(key: &str, items: Vec<Value>) -> Parsed<Vec<Message>> {
    let mut messages = Vec::with_capacity(2 * items.len());
    for (at, item) in items.iter().enumerate() {
        let pair = item.as_array().map(Vec::as_slice);
        let Some([Value::String(user), Value::String(assistant)]) = pair else {
            let what = format!("`{key}[{at}]` is {}", found(item));
            let help = "an earlier turn is a pair of texts: [\"question\", \"answer\"]";
            return Err(Problem::new(what, help));
        };
        messages.push(Message::user(user.as_str()));
        messages.push(Message::new(Role::Assistant, assistant.as_str()));
    }
    Ok(messages)
}

/// The prompt, which may be blank.
pub(super) fn prompt(row: &mut Row) -> Parsed<Option<Said>> {
    let Some(Found { key, value }) = row.take(Slot::Prompt)? else {
        return Ok(None);
    };
    let (form, said) = match value {
        Value::String(text) => {
            written::refuse_turns(&key, &text)?;
            Said::text(key.clone(), text, row.verbatim)
        }
        Value::Array(items) => {
            let (form, messages) = message_list(&key, items, row)?;
            (form, Said::new(key.clone(), messages))
        }
        other => {
            let what = format!(
                "`{key}` is {}, not a string or a list of messages",
                found(&other)
            );
            let help = "give the prompt as text or as messages; `.columns` prompt=NAME says which \
                        column has it";
            return Err(Problem::new(what, help));
        }
    };
    row.note(Slot::Prompt, key, form);
    Ok(Some(said))
}

/// The part behind the prompt; `None` where it is absent or blank.
pub(super) fn input(row: &mut Row) -> Parsed<Option<Input>> {
    let Some(Found { key, value }) = take(row, Slot::Input)? else {
        return Ok(None);
    };
    match value {
        Value::String(text) => {
            written::refuse_messages(&key, &text)?;
            row.note(Slot::Input, key.clone(), Form::Text);
            Ok(Some(Input::Text(Text { key, text })))
        }
        Value::Array(items) if items.iter().all(Value::is_object) => {
            let (form, messages) = further_list(&key, items, row)?;
            row.note(Slot::Input, key.clone(), form);
            let said = Some(Said::new(key, messages)).filter(|said| !said.is_blank());
            Ok(said.map(Input::Messages))
        }
        other => {
            let what = format!(
                "`{key}` is {}, not a string or a list of messages",
                found(&other)
            );
            Err(Problem::new(what, leave_out(&key)))
        }
    }
}

/// A whole conversation under its own key.
pub(super) fn messages(row: &mut Row) -> Parsed<Option<Said>> {
    let Some(Found { key, value }) = take(row, Slot::Messages)? else {
        return Ok(None);
    };
    if let Value::String(text) = &value {
        written::refuse_turns(&key, text)?;
    }
    let Value::Array(items) = value else {
        let what = format!("`{key}` is {}, not a list of messages", found(&value));
        return Err(Problem::new(what, leave_out(&key)));
    };
    let (form, messages) = further_list(&key, items, row)?;
    row.note(Slot::Messages, key.clone(), form);
    Ok(Some(Said::new(key, messages)).filter(|said| !said.is_blank()))
}

fn message_list(key: &str, items: Vec<Value>, row: &mut Row) -> Parsed<(Form, Vec<Message>)> {
    let form = items.first().map_or(Form::Messages, messages::form);
    Ok((form, messages::list(key, items, row)?))
}

/// [`message_list`] for an optional key: the help also says how to leave the key unused.
fn further_list(key: &str, items: Vec<Value>, row: &mut Row) -> Parsed<(Form, Vec<Message>)> {
    message_list(key, items, row).map_err(|problem| Problem {
        help: format!("{}; or {}", problem.help, leave_out(key)),
        ..problem
    })
}
