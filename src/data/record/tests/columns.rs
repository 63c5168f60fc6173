//! `columns`.

use super::*;

fn reading(columns: &str) -> Reading {
    Reading {
        columns: Columns::parse(columns).unwrap(),
        ..Reading::default()
    }
}

#[test]
fn columns_by_name_by_path_and_by_number() {
    let value = json!({
        "task": {"q.1": "no", "text": "p"},
        "answers": {"best": {"text": "c"}, "others": ["x", "r"]},
        "prompt": "not this",
        "id": 3,
    });
    let reading = reading("prompt=task.text, chosen=answers.best.text, rejected=answers.others.1");
    let record = Record::read(value, &reading).unwrap();
    assert_eq!(
        record.shape.to_string(),
        "task.text, answers.best.text and answers.others.1 as text"
    );
    assert_eq!(record.ignored, ["prompt", "id"]);
    let expected = Pair {
        conversation: vec![Message::user("p")],
        chosen: "c".into(),
        rejected: "r".into(),
    };
    assert_eq!(pair_of(record.content), expected);
}

#[test]
fn a_key_with_dots_comes_before_a_path() {
    let value = json!({"prompt": "p", "a.b": "c", "a": {"b": "x"}, "rejected": "r"});
    let record = Record::read(value, &reading("chosen=a.b")).unwrap();
    assert_eq!(pair_of(record.content).chosen, "c");
}

#[test]
fn sides_can_be_swapped() {
    let record = Record::read(text(), &reading("chosen=rejected,rejected=chosen")).unwrap();
    let pair = pair_of(record.content);
    assert_eq!((pair.chosen.as_str(), pair.rejected.as_str()), ("r", "c"));
}

#[test]
fn a_key_that_has_been_given_a_part_has_no_other() {
    // `input` is the prompt here, not a text behind the prompt.
    let value = json!({"instruction": "i", "input": "p", "chosen": "c", "rejected": "r"});
    let record = Record::read(value, &reading("prompt=input")).unwrap();
    assert_eq!(record.ignored, ["instruction"]);
    assert_eq!(pair_of(record.content).conversation, [Message::user("p")]);
    let value = json!({"messages": [user("p"), assistant("c")], "rejected": "r"});
    let reading = reading("prompt=messages.0.content,chosen=messages.1.content");
    let pair = pair_of(Record::read(value, &reading).unwrap().content);
    assert_eq!(pair.conversation, [Message::user("p")]);
}

#[test]
fn what_is_left_unused_is_listed() {
    let value = with(
        text(),
        json!({"system": "s", "tools": ["t"], "context": ["d"]}),
    );
    let record = Record::read(value, &reading("system=,tools=,context=")).unwrap();
    assert_eq!(record.ignored, ["system", "tools", "context"]);
    assert_eq!(pair_of(record.content).conversation, [Message::user("p")]);
}

#[test]
fn a_column_that_is_not_there_is_named() {
    let problem = Record::read(text(), &reading("chosen=answers.best")).unwrap_err();
    assert_eq!(
        problem.what,
        "no column `answers.best`, which `.columns` asks for"
    );
    assert_eq!(
        problem.help,
        "the record's keys are `prompt`, `chosen` and `rejected`"
    );
    let record = with(text(), json!({"better": null}));
    let problem = Record::read(record, &reading("chosen=better")).unwrap_err();
    assert_eq!(problem.what, "a preference record without `chosen`");
}

#[test]
fn what_is_no_part_is_refused() {
    let error = |columns| Columns::parse(columns).unwrap_err().to_string();
    let text = error("better=chosen");
    assert!(
        text.starts_with(
            "`.columns`: `better` is no part of a record; these are `prompt`, `system`"
        ),
        "{text}"
    );
    assert!(text.contains("\n  help: write PART=COLUMN"), "{text}");
    for (columns, expected) in [
        ("chosen", "`.columns`: no `=` in \"chosen\""),
        ("tools=x", "`.columns`: `tools` is no part of a record"),
        ("other=", "`.columns`: `other` is no part of a record"),
        (
            "prompt=a,question=b",
            "`.columns`: `question` is given a second column, \"b\"",
        ),
    ] {
        let text = error(columns);
        assert!(text.starts_with(expected), "{text}");
    }
    assert_eq!(Columns::parse(" ").unwrap(), Columns::default());
}
