//! Reads every shape that TRL knows and compares with TRL's own result: tests/data/make_shapes.py.

use super::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    record: Value,
    trl: Value,
    /// Why this crate reads the record otherwise than TRL; `None` if it does not.
    differs: Option<String>,
}

fn cases() -> Vec<Case> {
    let text = include_str!("../../../../tests/data/shapes.json");
    serde_json::from_str::<Fixture>(text).unwrap().cases
}

/// TRL's prompt or answer as messages; a text is a message of `role`.
fn messages(value: &Value, role: Role) -> Vec<Message> {
    let message = |item: &Value| {
        let role = match item["role"].as_str().unwrap() {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => panic!("{other}"),
        };
        said(role, item["content"].as_str().unwrap())
    };
    match value {
        Value::String(text) => vec![said(role, text)],
        other => other.as_array().unwrap().iter().map(message).collect(),
    }
}

fn answer(value: &Value) -> String {
    let mut messages = messages(value, Role::Assistant);
    assert_eq!(messages.len(), 1);
    messages.remove(0).content
}

#[test]
fn what_trl_knows_is_read_as_trl_reads_it() {
    let mut seen = 0;
    for case in cases().iter().filter(|case| case.differs.is_none()) {
        let reading = Reading {
            for_sft: case.trl.get("chosen").is_none(),
            ..Reading::default()
        };
        let record = Record::read(case.record.clone(), &reading);
        let content = record
            .unwrap_or_else(|problem| panic!("{}: {}", case.name, problem.what))
            .content;
        let trl = &case.trl;
        let expected = if trl.get("messages").is_some() {
            let mut conversation = messages(&trl["messages"], Role::User);
            let completion = conversation.pop().unwrap().content;
            Content::Demonstration {
                conversation,
                completion,
            }
        } else if trl.get("label").is_some() {
            Content::Labelled {
                conversation: messages(&trl["prompt"], Role::User),
                completion: answer(&trl["completion"]),
                good: trl["label"].as_bool().unwrap(),
            }
        } else {
            Content::Pair {
                conversation: messages(&trl["prompt"], Role::User),
                chosen: answer(&trl["chosen"]),
                rejected: answer(&trl["rejected"]),
            }
        };
        assert_eq!(content, expected, "{}", case.name);
        seen += 1;
    }
    assert_eq!(seen, 20);
}

#[test]
fn where_we_read_otherwise() {
    let mut seen = 0;
    for case in cases() {
        let Some(why) = case.differs else { continue };
        let read = Record::read(case.record, &Reading::default());
        let user = |text: &str| vec![Message::user(text)];
        let expected = match case.name.as_str() {
            "a word is not cut" => Ok((user("The sky is"), " blue.", " black.")),
            "a transcript of one turn" => Ok((
                user("Does a frog say moo?"),
                "No, it says croak.",
                "No, but a cow does.",
            )),
            "a transcript of two turns" => Ok((
                vec![
                    said(Role::User, "Hi"),
                    said(Role::Assistant, "Hello."),
                    said(Role::User, "Bye"),
                ],
                "Goodbye.",
                "See you.",
            )),
            "earlier answers differ" => Err("differ before their last assistant message"),
            "equal texts without a prompt" => Err("both responses are equal"),
            "another prompt than in the lists" => Err("`prompt` differs from the messages"),
            "a system message of its own" => Ok((
                vec![
                    said(Role::System, "You answer in one line."),
                    said(Role::User, "What does a frog say?"),
                ],
                "A frog says croak.",
                "Croak.",
            )),
            "ShareGPT's names of roles" => Ok((user("What does a frog say?"), "Croak.", "Moo.")),
            other => panic!("{other}: {why}"),
        };
        match (read, expected) {
            (Ok(record), Ok((conversation, chosen, rejected))) => {
                let expected = Pair {
                    conversation,
                    chosen: chosen.into(),
                    rejected: rejected.into(),
                };
                assert_eq!(pair_of(record.content), expected, "{}", case.name);
            }
            (Err(problem), Err(expected)) => {
                assert!(problem.what.contains(expected), "{}", problem.what);
            }
            (read, expected) => panic!("{}: {read:?}, not {expected:?}", case.name),
        }
        seen += 1;
    }
    assert_eq!(seen, 8);
}
