use super::*;
use crate::data::message::Role;
use serde_json::json;

mod asked;
mod choices;
mod columns;
mod messages;
mod pairs;
mod random;
mod refused;
mod single;
mod transcripts;
mod trl;
mod weights;
mod wrapped;
mod written;

/// A pair as its record holds it.
#[derive(Debug, PartialEq)]
struct Pair {
    conversation: Vec<Message>,
    chosen: String,
    rejected: String,
}

fn read(value: Value) -> Record {
    Record::read(value, &Reading::default()).unwrap()
}

#[track_caller]
fn pair(value: Value) -> Pair {
    pair_of(read(value).content)
}

#[track_caller]
fn pair_of(content: Content) -> Pair {
    match content {
        Content::Pair {
            conversation,
            chosen,
            rejected,
        } => Pair {
            conversation,
            chosen,
            rejected,
        },
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn conversation(value: Value) -> Vec<Message> {
    pair(value).conversation
}

#[track_caller]
fn problem(value: Value) -> Problem {
    Record::read(value, &Reading::default()).unwrap_err()
}

#[track_caller]
fn error(value: Value) -> String {
    problem(value).what
}

fn system(content: &str) -> Value {
    json!({"role": "system", "content": content})
}

fn user(content: &str) -> Value {
    json!({"role": "user", "content": content})
}

fn assistant(content: &str) -> Value {
    json!({"role": "assistant", "content": content})
}

/// A pair whose two lists begin with the same messages.
fn lists(prompt: Value, before: &[Value]) -> Value {
    let list = |answer| [before, &[assistant(answer)]].concat();
    json!({"prompt": prompt, "chosen": list("c"), "rejected": list("r")})
}

/// `record` with the keys of `others` added.
fn with(mut record: Value, others: Value) -> Value {
    for (key, value) in others.as_object().unwrap() {
        record[key] = value.clone();
    }
    record
}

fn text() -> Value {
    json!({"prompt": "p", "chosen": "c", "rejected": "r"})
}

fn said(role: Role, content: &str) -> Message {
    Message::new(role, content)
}
