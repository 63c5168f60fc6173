//! Joins all parts of a record's prompt into the conversation that its answers answer.

use std::mem;

use super::answer::{self, Answer};
use super::asked::{self, Input, Said, Text};
use super::problem::{Parsed, Problem, differing, quoted};
use super::repeats::{begins_with, same, systems_agree, text_repeats, without_system};
use super::row::{Row, leave_out};
use super::slot::Slot;
use crate::data::message::{Message, Role};

/// The whole conversation up to the message to answer, which is the user's and not blank.
///
/// The messages before the chosen (or the only) answer in its own list are part of the conversation. If the
/// prompt is a transcript, the transcript's marks are removed from the answers.
pub(super) fn read(
    row: &mut Row,
    chosen: &mut Answer,
    rejected: Option<&mut Answer>,
) -> Parsed<Vec<Message>> {
    let context = mem::take(&mut chosen.context);
    let system = asked::system(row)?;
    let mut history = asked::history(row)?;
    let prompt = asked::prompt(row)?;
    let blank = prompt.as_ref().filter(|said| said.is_blank());
    let blank = blank.map(|said| said.key.clone());
    let mut prompt = prompt.filter(|said| !said.is_blank());
    match asked::input(row)? {
        None => {}
        Some(Input::Text(input)) => prompt = Some(with_input(prompt, input, row)?),
        Some(Input::Messages(said)) => {
            if let Some(history) = &history {
                let other = format!("`{}`", history.key);
                return Err(differ(&said.key, &said.messages, &other, &history.messages));
            }
            history = Some(said);
        }
    }
    let messages = asked::messages(row)?;
    if prompt.is_none() && context.is_empty() && messages.is_none() {
        prompt = history.take();
    }
    if let Some(opening) = prompt.as_mut().and_then(|said| said.opening.take()) {
        answer::continued(&opening, chosen, rejected)?;
    }
    let answer = chosen.text.as_str();

    let mut conversation = join(prompt, context)?;
    if let Some(messages) = messages {
        match conversation.is_empty() {
            true => conversation = up_to_answer(messages, answer)?,
            false => check_repeats(messages, &mut conversation, answer)?,
        }
    }
    if let Some(history) = history {
        prepend(&mut conversation, history)?;
    }
    if let Some(system) = system {
        begin_with(&mut conversation, system)?;
    }
    check_end(&conversation, blank.as_deref(), row)?;
    Ok(conversation)
}

/// The prompt and the input on a line behind it, or the input alone. An input equal to the prompt is not
/// repeated.
fn with_input(prompt: Option<Said>, input: Text, row: &Row) -> Parsed<Said> {
    let Some(mut said) = prompt else {
        let (_, said) = Said::text(input.key, input.text, row.verbatim);
        return Ok(said);
    };
    let [only] = &mut said.messages[..] else {
        let what = format!(
            "`{}` is a list of messages, and `{}` stands beside it: {}",
            said.key,
            input.key,
            quoted(&input.text)
        );
        return Err(Problem::new(what, leave_out(&input.key)));
    };
    if only.content.trim() != input.text.trim() {
        only.content.push('\n');
        only.content.push_str(&input.text);
    }
    Ok(said)
}

/// Joins the prompt and the messages before the answer in the responses' lists. These either continue the
/// prompt (there are none, or the first is the assistant's) or repeat it.
fn join(prompt: Option<Said>, context: Vec<Message>) -> Parsed<Vec<Message>> {
    let Some(prompt) = prompt else {
        return Ok(context);
    };
    let mut messages = prompt.messages;
    if context.first().is_none_or(|m| m.role == Role::Assistant) {
        messages.extend(context);
        return Ok(messages);
    }
    let text = match &messages[..] {
        [only] if only.role == Role::User => Some(only.content.as_str()),
        _ => None,
    };
    if text.is_some_and(|text| text_repeats(text, &context)) {
        return Ok(context);
    }
    let alike = same(without_system(&messages), without_system(&context));
    if !alike || !systems_agree(&messages, &context) {
        let other = "the messages before the answer in the responses";
        return Err(differ(&prompt.key, &messages, other, &context));
    }
    let longer = messages.len() > context.len();
    Ok(if longer { messages } else { context })
}

/// The record's own conversation without the answer, if it ends with the chosen answer.
fn up_to_answer(said: Said, answer: &str) -> Parsed<Vec<Message>> {
    let mut messages = said.messages;
    match messages.pop_if(|last| last.role == Role::Assistant) {
        Some(last) if last.content.trim() != answer.trim() => {
            let what = format!(
                "`{}` ends with another answer than the chosen one: {}",
                said.key,
                differing(&last.content, answer)
            );
            let help = format!(
                "end `{}` with the user's message that both responses answer",
                said.key
            );
            Err(Problem::new(what, help))
        }
        _ => Ok(messages),
    }
}

/// Checks that `messages` beside a prompt repeat the conversation with the chosen answer, or the beginning of
/// the conversation. Adds their system message to the conversation.
fn check_repeats(said: Said, conversation: &mut Vec<Message>, answer: &str) -> Parsed<()> {
    let (turns, asked) = (without_system(&said.messages), without_system(conversation));
    let repeats = match turns.split_last() {
        Some((last, before)) if before.len() == asked.len() => {
            last.content.trim() == answer.trim() && same(before, asked)
        }
        _ => begins_with(asked, turns),
    };
    if !repeats {
        let answer = Message::new(Role::Assistant, answer);
        let whole = [asked, &[answer]].concat();
        let other = "the prompt with the chosen response";
        return Err(differ(&said.key, &said.messages, other, &whole));
    }
    take_system(conversation, said).map(|_| ())
}

/// Puts earlier turns before a conversation, unless the conversation begins with them already.
fn prepend(conversation: &mut Vec<Message>, history: Said) -> Parsed<()> {
    let turns = take_system(conversation, history)?;
    if !begins_with(without_system(conversation), &turns) {
        let after_system = conversation.len() - without_system(conversation).len();
        conversation.splice(after_system..after_system, turns);
    }
    Ok(())
}

/// Moves the system message of `said` to the front of the conversation; returns the other messages.
fn take_system(conversation: &mut Vec<Message>, said: Said) -> Parsed<Vec<Message>> {
    let mut turns = said.messages;
    if without_system(&turns).len() < turns.len() {
        let key = said.key;
        let text = turns.remove(0).content;
        begin_with(conversation, Text { key, text })?;
    }
    Ok(turns)
}

/// Puts the system message first. A system message already there must be equal or blank.
fn begin_with(conversation: &mut Vec<Message>, system: Text) -> Parsed<()> {
    match conversation.first_mut() {
        Some(first) if first.role == Role::System => {
            // Some files write a blank system message where there is none.
            if first.content.trim().is_empty() {
                first.content = system.text;
                return Ok(());
            }
            if first.content.trim() == system.text.trim() {
                return Ok(());
            }
            let what = format!(
                "`{}` and the conversation's own system message differ: {}",
                system.key,
                differing(&system.text, &first.content)
            );
            Err(Problem::new(what, leave_out(&system.key)))
        }
        _ => {
            conversation.insert(0, Message::new(Role::System, system.text));
            Ok(())
        }
    }
}

fn check_end(conversation: &[Message], blank: Option<&str>, row: &Row) -> Parsed<()> {
    let what = match conversation.last() {
        Some(last) if last.role == Role::User && !last.content.trim().is_empty() => return Ok(()),
        Some(last) if last.role == Role::User => "the user's last message is empty".to_owned(),
        Some(last) => format!(
            "what is to be answered ends with a message of the {}: {}",
            last.role,
            quoted(&last.content)
        ),
        None => match blank {
            Some(key) => format!("`{key}` is empty"),
            None => return Err(row.without(&[Slot::Prompt])),
        },
    };
    let help = "the last message before the answer is the user's and has some text: mend it, or \
                remove the record";
    Err(Problem::new(what, help))
}

/// The problem that the messages of `key` differ from the `other` messages.
fn differ(key: &str, messages: &[Message], other: &str, others: &[Message]) -> Problem {
    let difference = first_difference(without_system(messages), without_system(others));
    let what = format!("`{key}` differs from {other}: {difference}");
    let help = format!("make both say the same, or {}", leave_out(key));
    Problem::new(what, help)
}

/// Quotes the first messages at which the two lists differ.
pub(super) fn first_difference(one: &[Message], two: &[Message]) -> String {
    let same = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    let content = |messages: &[Message]| match messages.get(same) {
        Some(message) => message.content.clone(),
        None => String::new(),
    };
    differing(&content(one), &content(two))
}
