use super::*;
use serde_json::json;

fn pair(value: &Value) -> (Vec<Message>, String, String) {
    match Record::from_json(value).unwrap() {
        Record::Text {
            prompt,
            chosen,
            rejected,
        } => (prompt, chosen, rejected),
        Record::Ids { .. } => panic!("ids"),
    }
}

fn error(value: Value) -> String {
    Record::from_json(&value).unwrap_err().what
}

fn user(content: &str) -> Value {
    json!({"role": "user", "content": content})
}

fn assistant(content: &str) -> Value {
    json!({"role": "assistant", "content": content})
}

fn said(role: Role, content: &str) -> Message {
    Message {
        role,
        content: content.to_owned(),
    }
}

#[test]
fn strings() {
    let value = json!({"prompt": "p", "chosen": " c", "rejected": "r\n", "score": 1.5});
    let expected = (vec![Message::user("p")], " c".into(), "r\n".into());
    assert_eq!(pair(&value), expected);
}

#[test]
fn instructions() {
    let with = |input: Value| {
        pair(&json!({"instruction": "i", "input": input, "chosen": "c", "rejected": "r"})).0
    };
    assert_eq!(with(json!("x")), [Message::user("i\nx")]);
    assert_eq!(with(json!("")), [Message::user("i")]);
    assert_eq!(with(json!(null)), [Message::user("i")]);
}

#[test]
fn ids_come_before_text() {
    let value = json!({
        "prompt": "p", "chosen": "c", "rejected": "r",
        "prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4],
    });
    let expected = Record::Ids {
        prompt: vec![1],
        chosen: vec![2, 3],
        rejected: vec![4],
    };
    assert_eq!(Record::from_json(&value).unwrap(), expected);
}

#[test]
fn message_lists_in_every_arrangement() {
    let lists = |prompt: Value, before: &[Value]| {
        let list = |answer| [before, &[assistant(answer)]].concat();
        json!({"prompt": prompt, "chosen": list("c"), "rejected": list("r")})
    };
    let one = [Message::user("p")];
    for value in [
        lists(json!("p"), &[user("p")]),
        lists(json!("p"), &[]),
        lists(json!([user("p")]), &[]),
        lists(json!([user("p")]), &[user("p")]),
        lists(json!(null), &[user("p")]),
    ] {
        let (prompt, chosen, rejected) = pair(&value);
        assert_eq!((chosen.as_str(), rejected.as_str()), ("c", "r"));
        assert_eq!(prompt, one, "{value}");
    }

    let three = [
        said(Role::User, "p"),
        said(Role::Assistant, "a"),
        said(Role::User, "q"),
    ];
    let before = [user("p"), assistant("a"), user("q")];
    for value in [
        lists(json!("p"), &before),
        lists(json!("q "), &before),
        lists(json!("Human: p Assistant: a Human: q"), &before),
        lists(json!(null), &before),
        lists(json!([user("p")]), &before[1..]),
    ] {
        assert_eq!(pair(&value).0, three, "{value}");
    }
}

#[test]
fn a_prompt_list_before_plain_responses() {
    let value = json!({"prompt": [user("p")], "chosen": "c", "rejected": "r"});
    assert_eq!(pair(&value).0, [Message::user("p")]);
}

#[test]
fn missing_keys_are_named_with_the_nearest_shape() {
    for (value, expected) in [
        (json!({"a": 1}), "no key of a preference pair"),
        (
            json!({"prompt": "p", "chosen": "c"}),
            "a preference record without `rejected`",
        ),
        (
            json!({"prompt": "p", "chosen": "c", "rejected": null}),
            "a preference record without `rejected`",
        ),
        (
            json!({"prompt": "p"}),
            "a preference record without `chosen` and `rejected`",
        ),
        (
            json!({"chosen": "c", "rejected": "r"}),
            "a preference record without `prompt` or `instruction`",
        ),
        (
            json!({"instruction": "i", "rejected": "r"}),
            "an instruction record without `chosen`",
        ),
        (
            json!({"prompt": "p", "chosen_ids": [1]}),
            "a pre-tokenized record without `prompt_ids` and `rejected_ids`",
        ),
        (
            json!({"chosen": [assistant("c")], "rejected": [assistant("r")]}),
            "a preference record without `prompt` or `instruction`",
        ),
    ] {
        assert_eq!(error(value), expected);
    }
}

#[test]
fn wrong_types_are_named() {
    let texts = |prompt: Value, chosen: Value| {
        error(json!({"prompt": prompt, "chosen": chosen, "rejected": "r"}))
    };
    let list_or_string = "not a string or a list of messages";
    assert_eq!(error(json!("x")), "the record is a string, not an object");
    assert_eq!(
        texts(json!(3), json!("c")),
        format!("`prompt` is a number, {list_or_string}")
    );
    assert_eq!(
        texts(json!("p"), json!({})),
        format!("`chosen` is an object, {list_or_string}")
    );
    assert_eq!(
        texts(json!("p"), json!(["c"])),
        "`chosen[0]` is a string, not a message"
    );
    assert_eq!(
        texts(json!("p"), json!([{"role": "user"}])),
        "`chosen[0].content` is missing, not a string"
    );
    assert_eq!(
        texts(json!("p"), json!([{"role": "tool", "content": ""}])),
        "`chosen[0]` has the role `tool`"
    );
    assert_eq!(
        error(json!({"instruction": 1, "chosen": "c", "rejected": "r"})),
        "`instruction` is a number, not a string"
    );
    assert_eq!(
        texts(json!("p"), json!([assistant("c")])),
        "one of `chosen` and `rejected` is a string and the other a list of messages"
    );
}

#[test]
fn ids_must_be_whole_numbers() {
    let ids = |chosen: Value| {
        error(json!({"prompt_ids": [1], "chosen_ids": chosen, "rejected_ids": [1]}))
    };
    assert_eq!(ids(json!([0, -1])), "`chosen_ids[1]` is -1, not a token id");
    assert_eq!(ids(json!([1.5])), "`chosen_ids[0]` is 1.5, not a token id");
    assert_eq!(
        ids(json!(["7"])),
        "`chosen_ids[0]` is a string, not a token id"
    );
    assert_eq!(
        ids(json!([4294967296u64])),
        "`chosen_ids[0]` is 4294967296, not a token id"
    );
    assert_eq!(
        ids(json!("7")),
        "`chosen_ids` is a string, not an array of token ids"
    );
    assert_eq!(ids(json!([])), "`chosen_ids` is empty");
}

#[test]
fn responses_and_conversations_must_make_sense() {
    let lists = |chosen: Value, rejected: Value| {
        error(json!({"prompt": "p", "chosen": chosen, "rejected": rejected}))
    };
    let fine = json!([user("p"), assistant("r")]);
    assert_eq!(lists(json!("  \n"), json!("r")), "`chosen` is empty");
    assert_eq!(
        lists(json!([user("p"), assistant("")]), fine.clone()),
        "`chosen` is empty"
    );
    assert_eq!(
        lists(json!([]), fine.clone()),
        "`chosen` has no assistant message"
    );
    assert_eq!(
        lists(json!([user("p")]), fine.clone()),
        "`chosen` has no assistant message"
    );
    assert_eq!(
        lists(json!([user("p"), assistant("c"), user("q")]), fine.clone()),
        "`chosen` goes on after its last assistant message"
    );
    assert_eq!(
        lists(json!([user("other"), assistant("c")]), fine),
        "`chosen` and `rejected` differ before their last assistant message"
    );
    let other = json!([user("other"), assistant("c")]);
    assert_eq!(
        lists(other.clone(), other),
        "`prompt` differs from the messages before the answer in `chosen` and `rejected`"
    );
}
