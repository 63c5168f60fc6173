//! Keys of a record that change the prompt: used, or refused by name, and never ignored.

use serde_json::{Value, json};

use super::inspected::{inspect, inspect_lines, refuses_lines};
use super::{OK, ok_and};
use crate::sandbox::Sandbox;

const ASKED: &str = "User: What does a frog say?\nAssistant: ";
const SYSTEM: &str = r#""system":"You answer in one line.""#;

/// The frog's pair as lists of messages, with these keys beside them.
fn as_messages(keys: &str) -> String {
    let said = |role: &str, text: &str| json!([{"role": role, "content": text}]);
    let record = json!({
        "prompt": said("user", "What does a frog say?"),
        "chosen": said("assistant", "A frog says croak."),
        "rejected": said("assistant", "Croak."),
    });
    let record = record.to_string();
    format!("{},{keys}}}", record.strip_suffix('}').unwrap())
}

#[test]
fn a_system_message_comes_first() {
    let instruction = OK.replace("prompt", "instruction");
    let instruction = format!("{},{SYSTEM}}}", instruction.strip_suffix('}').unwrap());
    for record in [ok_and(SYSTEM), instruction, as_messages(SYSTEM)] {
        let found = inspect_lines(&record).without_notes();
        let expected = format!("You answer in one line.\n{ASKED}");
        assert_eq!(found.text(0, "prompt"), expected, "{record}");
        assert_eq!(found.text(0, "chosen"), "A frog says croak.<|endoftext|>");
    }
}

#[test]
fn a_history_comes_before_the_last_turn() {
    let turns = r#"{"role":"user","content":"Hi."},{"role":"assistant","content":"Hello!"}"#;
    for history in [r#"[["Hi.","Hello!"]]"#.to_owned(), format!("[{turns}]")] {
        let history = format!("\"history\":{history}");
        for record in [ok_and(&history), as_messages(&history)] {
            let found = inspect_lines(&record).without_notes();
            let expected = format!("User: Hi.\nAssistant: Hello!\n{ASKED}");
            assert_eq!(found.text(0, "prompt"), expected, "{record}");
        }
    }
    refuses_lines(&ok_and(r#""history":"Hi.""#), &["`history`"]);
}

#[test]
fn an_input_and_a_context_stand_behind_the_prompt() {
    for key in ["input", "context"] {
        let found = inspect_lines(&ok_and(&format!("\"{key}\":\"A small one.\""))).without_notes();
        let expected = "User: What does a frog say?\nA small one.\nAssistant: ";
        assert_eq!(found.text(0, "prompt"), expected);
    }
}

#[test]
fn what_cannot_be_used_is_refused_by_its_name() {
    let tools = r#""tools":[{"type":"function","function":{"name":"croak"}}]"#;
    for record in [ok_and(tools), as_messages(tools)] {
        refuses_lines(&record, &["`tools`", "--columns tools="]);
    }
    for (key, value) in [
        ("documents", r#"["Frogs croak."]"#),
        ("images", r#"["frog.png"]"#),
        ("chat_template_kwargs", r#"{"enable_thinking":false}"#),
        ("instruction", r#""Say it.""#),
    ] {
        let record = ok_and(&format!("\"{key}\":{value}"));
        refuses_lines(&record, &[&format!("`{key}`")]);
    }
}

#[test]
fn other_spellings_are_refused_with_the_right_one() {
    for (key, meant) in [
        ("System", "`system`"),
        ("systemPrompt", "`system_prompt`"),
        ("chat-history", "`chat_history`"),
        ("Input", "`input`"),
        ("Tools", "`tools`"),
    ] {
        let record = ok_and(&format!("\"{key}\":\"Be short.\""));
        let out = format!("--columns {key}=");
        refuses_lines(&record, &[&format!("`{key}`"), meant, &out]);
        let sandbox = Sandbox::new();
        sandbox.write("x.jsonl", record);
        let found = inspect(&sandbox, &format!("x.jsonl {out}"));
        assert_eq!(found.text(0, "prompt"), ASKED);
    }
    let sandbox = Sandbox::new();
    sandbox.write("x.jsonl", ok_and(r#""System":"Be short.""#));
    let found = inspect(&sandbox, "x.jsonl --columns system=System");
    assert_eq!(found.text(0, "prompt"), format!("Be short.\n{ASKED}"));
}

#[test]
fn harmless_columns_are_listed_once() {
    let record =
        ok_and(r#""prompt_id":"7f3a","score_chosen":8.0,"score_rejected":2.5,"source":"flan""#);
    let sandbox = Sandbox::new();
    sandbox.write("x.jsonl", [&record[..], &record, &record].join("\n"));
    assert_eq!(inspect(&sandbox, "x.jsonl").text(0, "prompt"), ASKED);
    let ran = sandbox.train("--data x.jsonl --out out --epochs 2").ok();
    let expected =
        "note: x.jsonl: columns not used: prompt_id, score_chosen, score_rejected, source\n";
    assert_eq!(ran.stderr, expected);
}

#[test]
fn a_prompt_that_the_messages_do_not_repeat_is_refused_with_both() {
    let record = json!({
        "prompt": "Translate into French: Hi there",
        "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}],
        "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho."}],
    });
    let texts = ["\"Translate into French: Hi there\"", "\"Hi\""];
    refuses_lines(&record.to_string(), &texts);
}

#[test]
fn an_instruction_that_says_nothing_leaves_the_input() {
    let record = |instruction: Value| {
        let mut record: Value = serde_json::from_str(OK).unwrap();
        record["input"] = record["prompt"].take();
        record.as_object_mut().unwrap().remove("prompt");
        record["instruction"] = instruction;
        record.to_string()
    };
    let plain = inspect_lines(OK).pair();
    for instruction in [json!(""), json!(null)] {
        let found = inspect_lines(&record(instruction)).without_notes();
        assert_eq!(found.pair(), plain);
    }
}

#[test]
fn numbers_that_are_none_matter_where_they_are_read() {
    let plain = inspect_lines(OK).pair();
    for value in ["NaN", "Infinity", "-Infinity", "1e999"] {
        let unread = ok_and(&format!(
            "\"score\":{value},\"more\":{{\"deep\":[1,{value}]}}"
        ));
        let found = inspect_lines(&unread).noting(&["more, score"]);
        assert_eq!(found.pair(), plain);
    }
    for part in ["prompt", "chosen", "rejected"] {
        let mut record: Value = serde_json::from_str(OK).unwrap();
        record[part] = json!("VALUE");
        let record = record.to_string().replace("\"VALUE\"", "NaN");
        refuses_lines(&record, &["x.jsonl:1", &format!("`{part}`"), "NaN"]);
    }
}
