//! Lists that a table stores as text.

use super::*;

#[test]
fn lists_written_as_text_are_refused_by_key() {
    let messages = json!([user("p"), assistant("c")]).to_string();
    let sharegpt = r#" [{"from": "human", "value": "p"}]"#;
    let one = assistant("c").to_string();
    let printed = "[{'role': 'user', 'content': \"it's\"}]";
    let numpy = "[{'content': 'p', 'role': 'user'}\n {'content': 'c', 'role': 'assistant'}]";
    let texts = r#"["one", "two"]"#;
    let written = "a list of messages written as text";
    let python = "a list of messages as Python prints it";
    for (key, value, expected) in [
        ("prompt", messages.as_str(), written),
        ("prompt", sharegpt, written),
        ("prompt", texts, "a list of texts written as text"),
        ("prompt", printed, python),
        ("messages", &messages, written),
        ("chosen", &messages, written),
        ("chosen", numpy, python),
        ("rejected", &one, written),
        ("input", &messages, written),
    ] {
        let problem = problem(with(text(), json!({key: value})));
        let expected = format!("`{key}` is {expected}: ");
        assert!(problem.what.starts_with(&expected), "{}", problem.what);
        assert!(problem.help.contains(key), "{}", problem.help);
    }
    // The arena data store them like this.
    let arena = json!({
        "prompt": "[\"p\"]", "response_a": "[\"a\"]", "response_b": "[\"b\"]", "winner": "model_a",
    });
    let problem = problem(arena);
    assert_eq!(
        problem.what,
        "`prompt` is a list of texts written as text: \"[\\\"p\\\"]\""
    );
    assert!(
        problem.help.contains("json.loads(row[\"prompt\"])"),
        "{}",
        problem.help
    );
}

#[test]
fn answers_that_are_json_are_answers() {
    for answer in [
        r#"["apple", "pear"]"#,
        r#"{"role": "king"}"#,
        "[]",
        "[1, 2]",
        "{'a': 1}",
        "[link](there)",
    ] {
        let pair = pair(with(text(), json!({"chosen": answer, "input": answer})));
        assert_eq!(pair.chosen, answer);
    }
    let prompt = "[1, 2] {'role': is what?";
    assert_eq!(
        conversation(with(text(), json!({"prompt": prompt}))),
        [Message::user(prompt)]
    );
}
