//! One answer, as a demonstration or with a label.

use super::*;

fn for_sft(value: Value) -> Parsed<Record> {
    let reading = Reading {
        for_sft: true,
        ..Reading::default()
    };
    Record::read(value, &reading)
}

fn demonstrates(value: Value) -> (Vec<Message>, String) {
    match for_sft(value).unwrap().content {
        Content::Demonstration {
            conversation,
            completion,
        } => (conversation, completion),
        other => panic!("{other:?}"),
    }
}

#[test]
fn demonstrations() {
    let expected = (vec![Message::user("p")], "c".to_owned());
    for value in [
        json!({"prompt": "p", "completion": "c"}),
        json!({"prompt": [user("p")], "completion": [assistant("c")]}),
        json!({"instruction": "p", "input": "", "output": "c", "text": "p c"}),
        json!({"question": "p", "answer": "c"}),
        json!({"messages": [user("p"), assistant("c")]}),
        json!({"prompt": "p", "messages": [user("p"), assistant("c")]}),
        json!({"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "c"}]}),
    ] {
        assert_eq!(demonstrates(value), expected);
    }
    let value = json!({"instruction": "i", "context": "x", "response": "c"});
    assert_eq!(demonstrates(value).0, [Message::user("i\nx")]);
    let value = json!({"system_prompt": "s", "question": "p", "response": "c"});
    assert_eq!(
        demonstrates(value).0,
        [said(Role::System, "s"), Message::user("p")]
    );
}

#[test]
fn of_several_answers_sft_takes_the_best() {
    let record = for_sft(with(text(), json!({"output": "c"}))).unwrap();
    assert_eq!(record.ignored, ["output"]);
    let best = json!({"prompt": "p", "answers": ["c", ""], "scores": [2, 1]});
    for value in [
        text(),
        with(text(), json!({"rejected": " "})),
        with(text(), json!({"rejected": "c"})),
        with(
            text(),
            json!({"rejected": [user("another"), assistant("")]}),
        ),
        lists(json!("p"), &[user("p")]),
        json!({"chosen": "User: p\nAssistant: c", "rejected": ""}),
        best,
    ] {
        let (conversation, completion) = demonstrates(value.clone());
        assert_eq!(conversation, [Message::user("p")], "{value}");
        assert_eq!(completion, "c", "{value}");
    }
    let missing = with(text(), json!({"rejected": null}));
    let what = "a preference record without `rejected`";
    assert_eq!(for_sft(missing).unwrap_err().what, what);
    let ids = json!({"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": []});
    let content = for_sft(ids).unwrap().content;
    assert!(matches!(content, Content::Ids { .. }), "{content:?}");
}

#[test]
fn a_blank_answer_is_no_fault() {
    let blank = |content: Content| match content {
        Content::Blank { which } => which,
        other => panic!("{other:?}"),
    };
    let hh = |answer: &str| format!("\n\nHuman: Hi\n\nAssistant:{answer}");
    for (value, expected) in [
        (with(text(), json!({"chosen": "  \n"})), "`chosen`"),
        (with(text(), json!({"rejected": ""})), "`rejected`"),
        (
            json!({"chosen": [user("p"), assistant("")], "rejected": [user("p"), assistant("r")]}),
            "`chosen`",
        ),
        (
            json!({"chosen": hh(" c"), "rejected": hh("")}),
            "`rejected`",
        ),
        (
            json!({"prompt": hh(""), "chosen": hh("c"), "rejected": hh("")}),
            "`rejected`",
        ),
        (
            json!({"prompt": "p", "answers": [{"text": "c", "score": 2}, {"text": "", "score": 1}]}),
            "`answers[1].text`",
        ),
        (
            json!({"prompt": "p", "completion": "", "label": true}),
            "`completion`",
        ),
        (
            json!({"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": []}),
            "`rejected_ids`",
        ),
    ] {
        assert_eq!(blank(read(value).content), expected);
    }
    let value = json!({"messages": [user("p"), assistant(" ")]});
    assert_eq!(blank(for_sft(value).unwrap().content), "`messages`");
    let value = with(text(), json!({"chosen": ""}));
    assert_eq!(blank(for_sft(value).unwrap().content), "`chosen`");
}

#[test]
fn one_answer_is_no_preference() {
    for value in [
        json!({"prompt": "p", "completion": "c"}),
        json!({"messages": [user("p"), assistant("c")]}),
    ] {
        let problem = problem(value);
        let what = "a record with one answer and nothing to prefer it to";
        assert_eq!(problem.what, what);
        assert!(problem.help.contains("`.loss` sft"), "{}", problem.help);
    }
    let problem = for_sft(json!({"text": "x"})).unwrap_err();
    assert_eq!(problem.what, "a record without `completion`");
    let problem = for_sft(json!({"completion": "x"})).unwrap_err();
    assert_eq!(problem.what, "a record without `prompt`");
    let problem = for_sft(json!({"prompt": "p", "output": "a", "response": "b"})).unwrap_err();
    let what = "`output` and `response` stand for the same part and differ: \
                a string (\"a\") and a string (\"b\")";
    assert_eq!(problem.what, what);
}

#[test]
fn labelled_answers() {
    for (label, expected) in [
        (json!(true), true),
        (json!(0), false),
        (json!(1.0), true),
        (json!("False"), false),
        (json!("1"), true),
        (json!(" 0.0"), false),
    ] {
        for value in [
            json!({"prompt": "p", "completion": "c", "label": label}),
            json!({"messages": [user("p"), assistant("c")], "kto_tag": label}),
        ] {
            let Content::Labelled {
                conversation,
                completion,
                good,
            } = read(value).content
            else {
                panic!("{label}");
            };
            assert_eq!(conversation, [Message::user("p")]);
            assert_eq!((completion.as_str(), good), ("c", expected));
        }
    }
    let value = json!({"prompt": "p", "completion": "c", "label": 0.5});
    assert_eq!(error(value), "`label` is a number (0.5), not true or false");
    let shape = read(json!({"prompt": "p", "completion": "c", "label": 1})).shape;
    let expected = "prompt and completion as text, label as good or bad";
    assert_eq!(shape.to_string(), expected);
}
