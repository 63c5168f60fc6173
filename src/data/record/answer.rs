//! One answer: a text, or the last message of a list.

use std::borrow::Cow;

use serde_json::Value;

use super::messages;
use super::problem::{Parsed, Problem, found};
use super::row::{Found, Row};
use super::shape::Form;
use super::transcript::Transcript;
use crate::data::message::{Message, Role};

const FORMS: &str =
    "a response is text, or a list of messages of which the last is the assistant's";

/// An answer with what stands before it under the same key.
pub(super) struct Answer {
    pub key: Cow<'static, str>,
    /// The messages before the answer.
    pub context: Vec<Message>,
    /// Not blank.
    pub text: String,
    pub form: Form,
}

impl Answer {
    /// Reads an answer; a text is one whatever it holds.
    pub fn read(part: Found, row: &mut Row) -> Parsed<Answer> {
        let Found { key, value } = part;
        let form = match &value {
            Value::String(_) => Form::Text,
            value => messages::form(value),
        };
        let messages = match value {
            Value::String(text) => vec![Message::new(Role::Assistant, text)],
            Value::Array(items) => messages::list(&key, items, row)?,
            one if is_message(&one) => vec![messages::message(&key, one, row)?],
            other => {
                let what = format!(
                    "`{key}` is {}, not a string or a list of messages",
                    found(&other)
                );
                return Err(Problem::new(what, FORMS));
            }
        };
        Answer::of(key, messages, form)
    }

    /// The last message of a conversation, if the assistant says it.
    fn of(key: Cow<'static, str>, mut context: Vec<Message>, form: Form) -> Parsed<Answer> {
        let answer = context.pop_if(|last| last.role == Role::Assistant);
        let Some(answer) = answer else {
            let spoke = context.iter().any(|m| m.role == Role::Assistant);
            let what = match spoke {
                true => format!("`{key}` goes on after its last assistant message"),
                false => format!("`{key}` has no assistant message"),
            };
            return Err(Problem::new(what, FORMS));
        };
        if answer.content.trim().is_empty() {
            let help = "give the response some text, or remove the record";
            return Err(Problem::new(format!("`{key}` is empty"), help));
        }
        Ok(Answer {
            key,
            context,
            text: answer.content,
            form,
        })
    }

    pub fn is_text(&self) -> bool {
        self.form == Form::Text
    }

    /// The text as a transcript of which the last message is the answer; unchanged where it is none.
    pub fn transcribed(self) -> Parsed<Answer> {
        match Transcript::read(&self.text).filter(|_| self.is_text()) {
            Some(Transcript { dialect, messages }) => {
                Answer::of(self.key, messages, Form::Transcript(dialect))
            }
            None => Ok(self),
        }
    }
}

fn is_message(value: &Value) -> bool {
    value.get("role").or(value.get("from")).is_some()
}
