use super::*;

#[test]
fn strings_are_taken_as_they_are() {
    let value = json!({"prompt": "p", "chosen": " c", "rejected": "r\n", "score": 1.5});
    let record = read(value);
    assert_eq!(
        record.shape.to_string(),
        "prompt, chosen and rejected as text"
    );
    assert_eq!(record.used, ["chosen", "rejected", "prompt"]);
    assert_eq!(record.ignored, ["score"]);
    assert_eq!(record.scores, None);
    let expected = Pair {
        conversation: vec![Message::user("p")],
        chosen: " c".into(),
        rejected: "r\n".into(),
    };
    assert_eq!(pair_of(record.content), expected);
}

#[test]
fn keys_by_other_names() {
    for (value, shape) in [
        (
            json!({"instruction": "p", "chosen_response": "c", "rejected_response": "r"}),
            "instruction, chosen_response and rejected_response as text",
        ),
        (
            json!({"question": "p", "response_j": "c", "response_k": "r", "qid": 3}),
            "question, response_j and response_k as text",
        ),
        (
            json!({"query": "p", "accepted": "c", "rejected": "r"}),
            "query, accepted and rejected as text",
        ),
        (
            json!({"input": "p", "chosen": "c", "rejected": "r"}),
            "input, chosen and rejected as text",
        ),
    ] {
        let record = read(value);
        assert_eq!(record.shape.to_string(), shape);
        assert_eq!(pair_of(record.content).conversation, [Message::user("p")]);
    }
}

#[test]
fn two_keys_for_one_part_must_say_the_same() {
    let both = |question: &str| with(text(), json!({"question": question}));
    let record = read(both("p "));
    assert_eq!(record.ignored, [""; 0]);
    assert_eq!(pair(both("")).conversation, [Message::user("p")]);
    let problem = problem(both("q"));
    let expected = "`prompt` and `question` stand for the same part and differ: \
                    a string (\"p\") and a string (\"q\")";
    assert_eq!(problem.what, expected);
    let expected = "leave one of them unused: `.columns` question= or `.columns` prompt=";
    assert_eq!(problem.help, expected);
}

#[test]
fn ids_come_before_text() {
    let ids = json!({"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4], "tools": ["t"]});
    let record = read(with(text(), ids));
    let expected = Content::Ids {
        prompt: vec![1],
        chosen: vec![2, 3],
        rejected: vec![4],
    };
    assert_eq!(record.content, expected);
    let shape = "prompt_ids, chosen_ids and rejected_ids as token ids";
    assert_eq!(record.shape.to_string(), shape);
    assert_eq!(record.ignored, ["prompt", "chosen", "rejected", "tools"]);
}

#[test]
fn message_lists_in_every_arrangement() {
    let one = [Message::user("p")];
    for value in [
        lists(json!("p"), &[user("p")]),
        lists(json!("p"), &[]),
        lists(json!([user("p")]), &[]),
        lists(json!([user("p")]), &[user("p")]),
        lists(json!(null), &[user("p")]),
    ] {
        let pair = pair(value.clone());
        assert_eq!((pair.chosen.as_str(), pair.rejected.as_str()), ("c", "r"));
        assert_eq!(pair.conversation, one, "{value}");
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
        lists(
            json!(
                "<|im_start|>user\np<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nq<|im_end|>"
            ),
            &before,
        ),
        lists(json!(null), &before),
        lists(json!([user("p")]), &before[1..]),
    ] {
        assert_eq!(conversation(value.clone()), three, "{value}");
    }
}

#[test]
fn shapes_of_messages_are_said() {
    let shape = |value| read(value).shape.to_string();
    assert_eq!(
        shape(lists(json!("p"), &[user("p")])),
        "prompt as text, chosen and rejected as messages"
    );
    assert_eq!(
        shape(lists(json!(null), &[user("p")])),
        "chosen and rejected as messages"
    );
    let value = json!({
        "conversations": [{"from": "human", "value": "p"}],
        "chosen": {"from": "gpt", "value": "c"},
        "rejected": {"from": "gpt", "value": "r"},
    });
    assert_eq!(
        shape(value.clone()),
        "conversations, chosen and rejected as messages of from and value (ShareGPT)"
    );
    let expected = Pair {
        conversation: vec![Message::user("p")],
        chosen: "c".into(),
        rejected: "r".into(),
    };
    assert_eq!(pair(value), expected);
}

#[test]
fn a_prompt_list_before_plain_responses() {
    let value = json!({"prompt": [user("p")], "chosen": "c", "rejected": "r"});
    assert_eq!(conversation(value), [Message::user("p")]);
}

#[test]
fn a_prompt_must_be_what_the_lists_begin_with() {
    let value = json!({
        "prompt": "Translate into French: Hi there",
        "chosen": [user("Hi"), assistant("Hello.")],
        "rejected": [user("Hi"), assistant("No.")],
    });
    let problem = problem(value);
    assert_eq!(
        problem.what,
        "`prompt` differs from the messages before the answer in the responses: \
         \"Translate into French: Hi there\" and \"Hi\""
    );
    assert_eq!(
        problem.help,
        "make both say the same, or remove `prompt` from the file, or leave it unused with \
         `.columns` prompt="
    );
    for (prompt, before) in [
        // The prompt renders only a part of the messages, or more than them.
        (
            "Human: p Assistant: a",
            &[user("p"), assistant("a"), user("q")][..],
        ),
        (
            "Rhyme. Human: p Assistant: a Human: q",
            &[user("p"), assistant("a"), user("q")],
        ),
        (
            "Human: p Assistant: a Human: q please",
            &[user("p"), assistant("a"), user("q")],
        ),
        ("Human: pp", &[user("p")]),
        ("", &[user("")]),
    ] {
        let problem = Record::read(lists(json!(prompt), before), &Reading::default());
        assert!(problem.is_err(), "{prompt}");
    }
}

#[test]
fn long_texts_are_shown_where_they_differ() {
    let same = "a frog says croak ".repeat(5);
    let value = lists(
        json!(format!("{same}to you")),
        &[user(&format!("{same}to me"))],
    );
    let what = error(value);
    let shown = "\"… croak a frog says croak to you\"";
    assert!(what.contains("to you") && what.contains("to me"), "{what}");
    assert!(
        what.contains("\"…") || what.contains("…\""),
        "{what} {shown}"
    );
    assert!(what.len() < 200, "{what}");
}

#[test]
fn transcripts_without_a_prompt() {
    let hh = |answer: &str| {
        format!("\n\nHuman: Hi\nthere\n\nAssistant: Hello.\n\nHuman: Bye\n\nAssistant: {answer}")
    };
    let value = json!({"chosen": hh("Goodbye."), "rejected": hh("Good riddance.\n")});
    let record = read(value);
    assert_eq!(
        record.shape.to_string(),
        "chosen and rejected as human/assistant (HH) transcripts"
    );
    let expected = Pair {
        conversation: vec![
            said(Role::User, "Hi\nthere"),
            said(Role::Assistant, "Hello."),
            said(Role::User, "Bye"),
        ],
        chosen: "Goodbye.".into(),
        rejected: "Good riddance.".into(),
    };
    assert_eq!(pair_of(record.content), expected);

    for (before, after) in [
        ("User: p\nAssistant: ", ""),
        ("### Human: p### Assistant: ", ""),
        (
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\np<|im_end|>\n<|im_start|>assistant\n",
            "<|im_end|>\n",
        ),
        ("<|user|>\np</s>\n<|assistant|>\n", "</s>"),
    ] {
        let side = |answer: &str| format!("{before}{answer}{after}");
        let pair = pair(json!({"chosen": side("c"), "rejected": side("r")}));
        assert_eq!((pair.chosen.as_str(), pair.rejected.as_str()), ("c", "r"));
        assert_eq!(pair.conversation.last(), Some(&Message::user("p")));
        let has_system = before.contains("system");
        assert_eq!(pair.conversation.len(), 1 + usize::from(has_system));
    }
}

#[test]
fn transcripts_must_share_their_earlier_turns() {
    let hh = |first: &str, answer: &str| {
        format!("\n\nHuman: Hi\n\nAssistant: {first}\n\nHuman: Bye\n\nAssistant: {answer}")
    };
    let what = error(json!({"chosen": hh("Yes?", "c"), "rejected": hh("Hello.", "r")}));
    assert_eq!(
        what,
        "`chosen` and `rejected` differ before their last assistant message: \
         \"Yes?\" and \"Hello.\""
    );
    let ends = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye";
    let what = error(json!({"chosen": ends, "rejected": hh("Hello.", "r")}));
    assert_eq!(what, "`chosen` goes on after its last assistant message");
    // Beside a prompt, an answer is never read as a transcript.
    let pair = pair(with(text(), json!({"chosen": "User: a\nAssistant: b"})));
    assert_eq!(pair.chosen, "User: a\nAssistant: b");
}

#[test]
fn a_prompt_as_a_transcript() {
    let prompt = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye\n\nAssistant:";
    let record = read(with(text(), json!({"prompt": prompt})));
    assert_eq!(
        record.shape.to_string(),
        "prompt as human/assistant (HH) transcripts, chosen and rejected as text"
    );
    let expected = [
        said(Role::User, "Hi"),
        said(Role::Assistant, "Hello."),
        said(Role::User, "Bye"),
    ];
    assert_eq!(pair_of(record.content).conversation, expected);
    // A text that does not end where the assistant is to speak is no transcript.
    let open = "Human: Hi\n\nAssistant: Hello.";
    let value = with(text(), json!({"prompt": open}));
    assert_eq!(conversation(value), [Message::user(open)]);
}

#[test]
fn text_without_a_prompt_is_cut_before_the_word_that_differs() {
    let record = read(json!({"chosen": "The sky is blue.", "rejected": "The sky is black."}));
    assert_eq!(
        record.shape.to_string(),
        "chosen and rejected as text, the prompt being what both begin with"
    );
    let expected = Pair {
        conversation: vec![Message::user("The sky is")],
        chosen: " blue.".into(),
        rejected: " black.".into(),
    };
    assert_eq!(pair_of(record.content), expected);
    // One text is the beginning of the other.
    let pair = pair(json!({"chosen": "It says croak.", "rejected": "It says croak"}));
    assert_eq!(pair.conversation, [Message::user("It says")]);
    assert_eq!(
        (pair.chosen, pair.rejected),
        (" croak.".into(), " croak".into())
    );

    let without = |chosen, rejected| error(json!({"chosen": chosen, "rejected": rejected}));
    let no_prompt = "a record without `prompt`";
    assert_eq!(without("c", "r"), no_prompt);
    assert_eq!(without("croak", "croaks"), no_prompt);
    assert_eq!(without(" a", " b"), no_prompt);
    assert_eq!(
        without("a b", "a b"),
        "both responses are equal, and there is no prompt: \"a b\""
    );
}
