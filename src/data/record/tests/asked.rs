//! A key that changes the prompt is used, or refused by name.

use super::*;
use Role::{Assistant, System, User};

#[test]
fn a_system_message_comes_first() {
    for key in ["system", "system_prompt", "system_message"] {
        let system_too = |record| with(record, json!({key: "Be kind."}));
        let kind = said(System, "Be kind.");
        let p = Message::user("p");
        let three = vec![
            kind.clone(),
            p.clone(),
            said(Assistant, "a"),
            said(User, "q"),
        ];
        for (record, expected) in [
            (text(), vec![kind.clone(), p.clone()]),
            (
                json!({"instruction": "p", "chosen": "c", "rejected": "r"}),
                vec![kind.clone(), p.clone()],
            ),
            (lists(json!("p"), &[user("p")]), vec![kind.clone(), p]),
            (
                lists(json!(null), &[user("p"), assistant("a"), user("q")]),
                three.clone(),
            ),
            (
                lists(
                    json!(null),
                    &[system("Be kind."), user("p"), assistant("a"), user("q")],
                ),
                three,
            ),
        ] {
            let record = read(system_too(record));
            assert!(record.used.iter().any(|used| used == key));
            assert_eq!(record.ignored, [""; 0]);
            assert_eq!(pair_of(record.content).conversation, expected);
        }
    }
    let value = with(
        lists(json!(null), &[system(""), user("p")]),
        json!({"system": "Be kind."}),
    );
    let expected = [said(System, "Be kind."), Message::user("p")];
    assert_eq!(conversation(value), expected);
    let value = with(
        lists(json!(null), &[system("Be curt."), user("p")]),
        json!({"system": "Be kind."}),
    );
    assert_eq!(
        error(value),
        "`system` and the conversation's own system message differ: \"Be kind.\" and \"Be curt.\""
    );
    assert_eq!(
        error(with(text(), json!({"system": ["Be kind."]}))),
        "`system` is an array ([\"Be kind.\"]), not a string"
    );
}

#[test]
fn history_comes_before_the_last_turn() {
    let earlier = [said(User, "h"), said(Assistant, "a")];
    let expected = [&earlier[..], &[Message::user("p")]].concat();
    for history in [
        json!([["h", "a"]]),
        json!([user("h"), assistant("a")]),
        json!([{"from": "human", "value": "h"}, {"from": "gpt", "value": "a"}]),
    ] {
        for record in [
            text(),
            lists(json!("p"), &[user("p")]),
            lists(json!([user("p")]), &[]),
            // The lists contain the history already.
            lists(json!(null), &[user("h"), assistant("a"), user("p")]),
        ] {
            let value = with(record, json!({"history": history}));
            assert_eq!(conversation(value.clone()), expected, "{value}");
        }
    }
    let value = with(text(), json!({"history": [["h", "a"]], "system": "s"}));
    let expected = [&[said(System, "s")], &expected[..]].concat();
    assert_eq!(conversation(value), expected);
    let value = with(
        text(),
        json!({"history": [system("s"), user("h"), assistant("a")]}),
    );
    assert_eq!(conversation(value), expected);

    for history in [json!([]), json!(null), json!("")] {
        let value = with(text(), json!({"history": history}));
        assert_eq!(conversation(value), [Message::user("p")]);
    }
    assert_eq!(
        error(with(text(), json!({"history": [["h"]]}))),
        "`history[0]` is an array ([\"h\"])"
    );
    assert_eq!(
        error(with(text(), json!({"history": "h"}))),
        "`history` is a string (\"h\"), not a list of messages or of pairs \
         [\"question\", \"answer\"]"
    );
}

#[test]
fn a_history_without_a_prompt_is_the_conversation() {
    let answers = json!({"chosen": "c", "rejected": "r"});
    let value = with(answers.clone(), json!({"history": "p"}));
    assert_eq!(conversation(value), [Message::user("p")]);
    // HelpSteer3 keeps the turns under `context`.
    let turns = [user("h"), assistant("a"), user("p")];
    let value = with(answers, json!({"context": turns}));
    let expected = [said(User, "h"), said(Assistant, "a"), said(User, "p")];
    assert_eq!(conversation(value), expected);
}

#[test]
fn an_input_stands_behind_the_prompt_on_its_own_line() {
    for (prompt, input) in [
        ("instruction", "input"),
        ("prompt", "input"),
        ("prompt", "context"),
        ("question", "context"),
    ] {
        let asked = |text: Value, more: Value| {
            conversation(json!({prompt: text, input: more, "chosen": "c", "rejected": "r"}))
        };
        assert_eq!(asked(json!("i"), json!("x")), [Message::user("i\nx")]);
        assert_eq!(asked(json!("i"), json!("")), [Message::user("i")]);
        assert_eq!(asked(json!("i"), json!(null)), [Message::user("i")]);
        assert_eq!(asked(json!("i"), json!("i")), [Message::user("i")]);
        assert_eq!(asked(json!(""), json!("x")), [Message::user("x")]);
        assert_eq!(asked(json!(null), json!("x")), [Message::user("x")]);
    }
    assert_eq!(
        error(with(text(), json!({"context": ["a document"]}))),
        "`context` is an array ([\"a document\"]), not a string or a list of messages"
    );
    let value = json!({"prompt": [user("p"), assistant("a"), user("q")], "input": "x",
        "chosen": "c", "rejected": "r"});
    assert_eq!(
        error(value),
        "`prompt` is a list of messages, and `input` stands beside it: \"x\""
    );
    // An input becomes part of the prompt, so the lists must contain it, too.
    let value = with(lists(json!("p"), &[user("p")]), json!({"input": "x"}));
    assert_eq!(
        error(value),
        "`prompt` differs from the messages before the answer in the responses: \"p\\nx\" and \"p\""
    );
}

#[test]
fn what_changes_the_prompt_otherwise_is_refused_by_its_key() {
    for (key, value, shown) in [
        (
            "tools",
            json!([{"name": "f"}]),
            "an array ([{\"name\":\"f\"}])",
        ),
        ("functions", json!("f"), "a string (\"f\")"),
        ("documents", json!(["d"]), "an array ([\"d\"])"),
        ("images", json!(["i.png"]), "an array ([\"i.png\"])"),
        (
            "chat_template_kwargs",
            json!({"a": 1}),
            "an object ({\"a\":1})",
        ),
    ] {
        for record in [text(), lists(json!(null), &[user("p")])] {
            let problem = problem(with(record, json!({key: value})));
            assert_eq!(
                problem.what,
                format!(
                    "`{key}` is part of what the model is asked, and is not supported: {shown}"
                )
            );
            assert_eq!(
                problem.help,
                format!("remove `{key}` from the file, or leave it unused with `.columns` {key}=")
            );
        }
    }
    for blank in [
        json!(null),
        json!([]),
        json!("[]"),
        json!([null]),
        json!({"a": null}),
    ] {
        let record = read(with(text(), json!({"tools": blank, "images": blank})));
        assert_eq!(record.ignored, [""; 0]);
    }
}

#[test]
fn messages_beside_a_pair_must_repeat_it() {
    let record = |messages: Value| {
        with(
            lists(json!("p"), &[user("p")]),
            json!({"messages": messages}),
        )
    };
    let p = [Message::user("p")];
    assert_eq!(conversation(record(json!([user("p"), assistant("c")]))), p);
    assert_eq!(conversation(record(json!([user("p")]))), p);
    let value = with(text(), json!({"messages": [user("p"), assistant("c")]}));
    assert_eq!(conversation(value), p);
    // Only `messages` has a system message.
    assert_eq!(
        conversation(record(json!([system("s"), user("p"), assistant("c")]))),
        [said(System, "s"), Message::user("p")]
    );
    assert_eq!(
        error(record(json!([user("p"), assistant("other")]))),
        "`messages` differs from the prompt with the chosen response: \"other\" and \"c\""
    );
    assert_eq!(
        error(record(json!([user("q"), assistant("c")]))),
        "`messages` differs from the prompt with the chosen response: \"q\" and \"p\""
    );
}

#[test]
fn messages_without_a_prompt_are_the_conversation() {
    let answers = json!({"chosen": assistant("c"), "rejected": assistant("r")});
    for messages in [json!([user("p")]), json!([user("p"), assistant("c")])] {
        let pair = pair(with(answers.clone(), json!({"messages": messages})));
        assert_eq!(pair.conversation, [Message::user("p")]);
        assert_eq!((pair.chosen, pair.rejected), ("c".into(), "r".into()));
    }
    let messages = json!({"messages": [user("p"), assistant("other")]});
    assert_eq!(
        error(with(answers, messages)),
        "`messages` ends with another answer than the chosen one: \"other\" and \"c\""
    );
}

#[test]
fn what_is_asked_is_the_users_and_not_blank() {
    let lists = |before: &[Value]| error(lists(json!(null), before));
    assert_eq!(lists(&[]), "a record without `prompt`");
    assert_eq!(lists(&[user(" ")]), "the user's last message is empty");
    assert_eq!(
        lists(&[system("s")]),
        "what is to be answered ends with a message of the system: \"s\""
    );
    assert_eq!(
        lists(&[user("p"), assistant("a")]),
        "what is to be answered ends with a message of the assistant: \"a\""
    );
    assert_eq!(
        error(with(text(), json!({"prompt": " \n"}))),
        "`prompt` is empty"
    );
    assert_eq!(
        error(json!({"instruction": "", "input": "", "chosen": "c", "rejected": "r"})),
        "`instruction` is empty"
    );
}

#[test]
fn blank_keys_for_one_part_say_nothing() {
    for blank in [
        json!({"input": "", "context": []}),
        json!({"system": "", "system_prompt": []}),
        json!({"messages": [], "conversations": ""}),
        json!({"history": [], "chat_history": " "}),
    ] {
        let record = read(with(text(), blank.clone()));
        assert!(record.ignored.is_empty(), "{blank}");
        assert_eq!(
            pair_of(record.content).conversation,
            [Message::user("p")],
            "{blank}"
        );
    }
}
