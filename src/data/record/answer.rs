//! One answer of a record: a text, or the last message of a list.

use std::borrow::Cow;

use serde_json::Value;

use super::messages;
use super::problem::{Parsed, Problem, found, quoted};
use super::row::{Found, Row};
use super::shape::Form;
use super::transcript::{Opening, Transcript};
use super::written;
use crate::data::message::{Message, Role};

const FORMS: &str =
    "a response is text, or a list of messages of which the last is the assistant's";

/// An answer, and the messages before it under the same key.
pub(super) struct Answer {
    pub key: Cow<'static, str>,
    /// The messages before the answer.
    pub context: Vec<Message>,
    pub text: String,
    pub form: Form,
}

impl Answer {
    /// Reads an answer. A text is an answer whatever its content.
    pub fn read(part: Found, row: &mut Row) -> Parsed<Answer> {
        let Found { key, value } = part;
        let form = match &value {
            Value::String(_) => Form::Text,
            value => messages::form(value),
        };
        let messages = match value {
            Value::String(text) => {
                written::refuse_messages(&key, &text)?;
                vec![Message::new(Role::Assistant, text)]
            }
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

    /// Takes the last message of a conversation as the answer, which must be the assistant's.
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
        Ok(Answer {
            key,
            context,
            text: answer.content,
            form,
        })
    }

    pub fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    pub fn is_text(&self) -> bool {
        self.form == Form::Text
    }

    /// Reads the text as a transcript whose last message is the answer; other texts stay unchanged.
    pub fn transcribed(self) -> Parsed<Answer> {
        match Transcript::read(&self.text).filter(|_| self.is_text()) {
            Some(Transcript { dialect, messages }) => {
                Answer::of(self.key, messages, Form::Transcript(dialect))
            }
            None => Ok(self),
        }
    }
}

/// Removes from the answers the marks of the transcript `opening` that they continue. Both answers may
/// repeat the whole transcript first; a problem if only one of them does.
pub(super) fn continued(
    opening: &Opening,
    chosen: &mut Answer,
    rejected: Option<&mut Answer>,
) -> Parsed<()> {
    let answers = [Some(chosen), rejected].into_iter().flatten();
    let mut answers: Vec<&mut Answer> = answers.filter(|answer| answer.is_text()).collect();
    let repeats = |answer: &&mut Answer| opening.repeated_in(&answer.text).is_some();
    if let (Some(whole), Some(bare)) = (
        answers.iter().find(|answer| repeats(answer)),
        answers.iter().find(|answer| !repeats(answer)),
    ) {
        let what = format!(
            "`{}` begins with the whole prompt, and `{}` does not",
            whole.key, bare.key
        );
        let help = "give both answers alone, or both behind the whole prompt";
        return Err(Problem::new(what, help));
    }
    for answer in &mut answers {
        let text = opening.repeated_in(&answer.text).unwrap_or(&answer.text);
        if let Some(further) = opening.further_turns(text) {
            let what = format!(
                "`{}` goes on after the answer, as the prompt's transcript would: {}",
                answer.key,
                quoted(further)
            );
            let help = "end it where the next one speaks, or remove the record; \
                        `.template` '{prompt}' takes prompts and answers as they are";
            return Err(Problem::new(what, help));
        }
        answer.text = opening.content(text).to_owned();
    }
    Ok(())
}

fn is_message(value: &Value) -> bool {
    value.get("role").or(value.get("from")).is_some()
}
