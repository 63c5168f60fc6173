//! Prompts that are transcripts in one text, and answers that continue them.

use super::*;

const CHATML: &str = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
const HH: &str = "\n\nHuman: Hi\n\nAssistant:";

fn prompted(prompt: &str, chosen: &str, rejected: &str) -> Value {
    json!({"prompt": prompt, "chosen": chosen, "rejected": rejected})
}

#[test]
fn answers_lose_what_belongs_to_the_transcript() {
    for (prompt, after) in [
        (HH, ""),
        (CHATML, "<|im_end|>"),
        (CHATML, "<|im_end|>\n"),
        ("<|user|>\nHi</s>\n<|assistant|>\n", "</s>"),
        ("### Human: Hi### Assistant:", ""),
        ("User: Hi\nAssistant:", "\n"),
    ] {
        let side = |answer: &str| format!(" {answer}{after}");
        let (chosen, rejected) = (side("A b"), side("C d"));
        let (one, two) = (format!("{prompt}{chosen}"), format!("{prompt}{rejected}"));
        let expected = Pair {
            conversation: vec![Message::user("Hi")],
            chosen: "A b".into(),
            rejected: "C d".into(),
        };
        // The same dialogue without a prompt, and with the whole transcript repeated in the answers.
        assert_eq!(pair(json!({"chosen": one, "rejected": two})), expected);
        assert_eq!(pair(prompted(prompt, &chosen, &rejected)), expected);
        assert_eq!(pair(prompted(prompt, &one, &two)), expected);
        // The key of the prompt does not matter.
        for key in ["history", "input", "question"] {
            let value = json!({key: prompt, "chosen": chosen, "rejected": rejected});
            assert_eq!(pair(value), expected, "{key}");
        }
        let value = json!({
            "prompt": prompt, "completions": [{"text": chosen, "score": 2}, {"text": rejected, "score": 1}],
        });
        assert_eq!(pair(value), expected);
        // A single answer.
        let value = json!({"prompt": prompt, "completion": chosen, "label": true});
        let Content::Labelled { completion, .. } = read(value).content else {
            panic!("no labelled answer");
        };
        assert_eq!(completion, "A b");
    }
    // If the prompt is no transcript, nothing is removed from an answer.
    let pair = pair(prompted("Hi", " A b<|im_end|>", "Hi C d"));
    assert_eq!(
        (pair.chosen, pair.rejected),
        (" A b<|im_end|>".into(), "Hi C d".into())
    );
}

#[test]
fn a_prompt_that_only_one_answer_repeats_is_refused() {
    let whole = format!("{HH} Hello");
    assert_eq!(
        error(prompted(HH, &whole, " Hey")),
        "`chosen` begins with the whole prompt, and `rejected` does not"
    );
    assert_eq!(
        error(prompted(HH, "Hey", &whole)),
        "`rejected` begins with the whole prompt, and `chosen` does not"
    );
}

#[test]
fn an_answer_ends_before_the_next_turn() {
    let what = error(prompted(
        HH,
        " Hello",
        " Hey\n\nHuman: Bye\n\nAssistant: Bye",
    ));
    assert_eq!(
        what,
        "`rejected` goes on after the answer, as the prompt's transcript would: \
         \"\\n\\nHuman: Bye\\n\\nAssistant: Bye\""
    );
}

#[test]
fn verbatim_texts_stay_as_they_are() {
    let reading = Reading {
        verbatim: true,
        ..Reading::default()
    };
    for prompt in [HH, CHATML] {
        let answer = " A b<|im_end|>\n\nHuman: more";
        for key in ["prompt", "history", "input"] {
            let value = json!({key: prompt, "chosen": answer, "rejected": "r"});
            let pair = pair_of(Record::read(value, &reading).unwrap().content);
            assert_eq!(pair.conversation, [Message::user(prompt)], "{key}");
            assert_eq!(pair.chosen, answer);
        }
    }
    let value = lists(json!([user("p")]), &[]);
    let pair = pair_of(Record::read(value, &reading).unwrap().content);
    assert_eq!(pair.conversation, [Message::user("p")]);
}
