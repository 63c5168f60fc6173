//! Records of no accepted shape.

use super::*;

#[test]
fn missing_keys_are_named_with_the_nearest_shape() {
    for (value, expected) in [
        (
            json!({"a": 1}),
            "a preference record without `chosen` and `rejected`",
        ),
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
            json!({"instruction": "i", "rejected": "r"}),
            "a preference record without `chosen`",
        ),
        (
            json!({"prompt": "p", "chosen_ids": [1]}),
            "a pre-tokenized record without `prompt_ids` and `rejected_ids`",
        ),
        (
            json!({"chosen": [assistant("c")], "rejected": [assistant("r")]}),
            "a record without `prompt`",
        ),
    ] {
        assert_eq!(error(value), expected);
    }
    let help = problem(json!({"promt": "p", "chosen": "c"})).help;
    assert!(
        help.ends_with("; this one has `promt` and `chosen`"),
        "{help}"
    );
    assert!(help.contains("`.columns` chosen=NAME"), "{help}");
}

#[test]
fn wrong_types_are_named() {
    let texts = |prompt: Value, chosen: Value| {
        error(json!({"prompt": prompt, "chosen": chosen, "rejected": "r"}))
    };
    let list_or_string = "not a string or a list of messages";
    assert_eq!(
        error(json!("x")),
        "the record is a string (\"x\"), not an object"
    );
    assert_eq!(
        texts(json!(3), json!("c")),
        format!("`prompt` is a number (3), {list_or_string}")
    );
    assert_eq!(
        texts(json!("p"), json!({"text": "c"})),
        format!("`chosen` is an object ({{\"text\":\"c\"}}), {list_or_string}")
    );
    assert_eq!(
        texts(json!("p"), json!(["c"])),
        "`chosen[0]` is a string (\"c\"), not a message"
    );
    assert_eq!(
        texts(json!("p"), json!([assistant("c")])),
        "`rejected` is a string and `chosen` a list of messages"
    );
    assert_eq!(
        error(with(text(), json!({"messages": "m", "prompt": null}))),
        "`messages` is a string (\"m\"), not a list of messages"
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
        "`chosen_ids` is a string (\"7\"), not an array of token ids"
    );
}

#[test]
fn responses_and_conversations_must_make_sense() {
    let lists = |chosen: Value, rejected: Value| {
        error(json!({"prompt": "p", "chosen": chosen, "rejected": rejected}))
    };
    let fine = json!([user("p"), assistant("r")]);
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
        "`chosen` and `rejected` differ before their last assistant message: \"other\" and \"p\""
    );
}
