//! The accepted contents of a message.

use super::*;

fn asked(message: Value) -> Value {
    json!({"prompt": [message], "chosen": "c", "rejected": "r"})
}

#[test]
fn roles_by_other_names() {
    for (name, role) in [
        ("developer", Role::System),
        ("System", Role::System),
        ("human", Role::User),
        ("prompter", Role::User),
        ("gpt", Role::Assistant),
        ("model", Role::Assistant),
    ] {
        let message = json!({"from": name, "value": "x"});
        let value = json!({"prompt": [message, user("p")], "chosen": "c", "rejected": "r"});
        assert_eq!(conversation(value)[0], said(role, "x"), "{name}");
    }
    assert_eq!(
        error(asked(json!({"role": "robot", "content": "x"}))),
        "`prompt[0]` has the role `robot`"
    );
    for role in ["tool", "function", "observation"] {
        assert_eq!(
            error(asked(json!({"role": role, "content": "x"}))),
            format!("`prompt[0]` has the role `{role}`, and tools are not supported")
        );
    }
}

#[test]
fn parts_of_text_are_joined() {
    let parts = json!([
        {"type": "text", "text": "Look", "image": null},
        {"type": "text", "text": " here"},
    ]);
    let value = asked(json!({"role": "user", "content": parts}));
    assert_eq!(conversation(value), [Message::user("Look here")]);

    let image = json!([{"type": "text", "text": "Look"}, {"type": "image", "image": "i.png"}]);
    let problem = problem(asked(json!({"role": "user", "content": image})));
    assert_eq!(
        problem.what,
        "`prompt[0].content[1]` is of the type \"image\""
    );
    let help = "only text can be trained on: remove that part, or the record";
    assert_eq!(problem.help, help);
    assert_eq!(
        error(asked(json!({"role": "user", "content": ["x"]}))),
        "`prompt[0].content[0]` is a string (\"x\"), not a part of text"
    );
}

#[test]
fn keys_that_change_a_message_are_refused_and_others_listed() {
    for key in ["name", "tool_calls", "tool_call_id", "function_call"] {
        let message = json!({"role": "user", "content": "p", key: "x"});
        assert_eq!(
            error(asked(message)),
            format!("`prompt[0].{key}` is not supported: a string (\"x\")")
        );
        let blank = json!({"role": "user", "content": "p", key: null});
        assert_eq!(read(asked(blank)).ignored, [""; 0]);
    }
    let message =
        json!({"role": "user", "content": [{"type": "text", "text": "p", "id": 7}], "weight": 0});
    let ignored = read(asked(message)).ignored;
    assert_eq!(ignored, ["prompt[].content[].id", "prompt[].weight"]);
}

#[test]
fn what_is_no_message_is_named() {
    assert_eq!(
        error(asked(json!("x"))),
        "`prompt[0]` is a string (\"x\"), not a message"
    );
    assert_eq!(
        error(asked(json!({"role": "user"}))),
        "`prompt[0].content` is missing, not a string"
    );
    assert_eq!(
        error(asked(json!({"from": "human"}))),
        "`prompt[0].value` is missing, not a string"
    );
    assert_eq!(
        error(asked(json!({"role": 1, "content": "x"}))),
        "`prompt[0].role` is a number (1), not a string"
    );
}
