//! Records of random keys and values: none causes a panic, and no key that changes the prompt is ignored.

use super::super::slot::UNUSABLE;
use super::*;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const RECORDS: usize = 20_000;
const SEED: u64 = 13;

const KEYS: [&str; 27] = [
    "prompt",
    "instruction",
    "question",
    "system",
    "system_prompt",
    "history",
    "input",
    "context",
    "messages",
    "conversations",
    "tools",
    "images",
    "chosen",
    "rejected",
    "completion",
    "output",
    "label",
    "completions",
    "answers",
    "scores",
    "response_a",
    "response_b",
    "winner",
    "prompt_ids",
    "chosen_ids",
    "rejected_ids",
    "id",
];

fn value(rng: &mut ChaCha8Rng, depth: usize) -> Value {
    let texts = [
        "",
        " ",
        "p",
        "q",
        "c",
        "a b",
        "é a",
        "Human: p",
        "[]",
        "a",
        "NaN",
        "\n\nHuman: p\n\nAssistant: c",
        "\n\nHuman: p\n\nAssistant:",
    ];
    match rng.random_range(0..if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => json!(rng.random_range(-1..3)),
        2 => json!(rng.random_bool(0.5)),
        3 | 4 => json!(texts.choose(rng)),
        5 | 6 => {
            let roles = ["system", "user", "assistant", "tool"];
            let count = rng.random_range(0..4);
            let message = |_| json!({"role": roles.choose(rng), "content": texts.choose(rng)});
            (0..count).map(message).collect()
        }
        7 => (0..rng.random_range(0..3))
            .map(|_| value(rng, depth - 1))
            .collect(),
        _ => json!({"role": "assistant", "content": value(rng, depth - 1)}),
    }
}

#[test]
fn nothing_that_changes_the_prompt_is_ignored() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut read = 0;
    for _ in 0..RECORDS {
        let keys = (0..rng.random_range(1..5)).map(|_| *KEYS.choose(&mut rng).unwrap());
        let keys: Vec<_> = keys.collect();
        // Some records begin with a readable shape.
        let mut record = match rng.random_range(0..4) {
            0 => text(),
            1 => lists(json!(null), &[user("p")]),
            2 => json!({"prompt": "p", "completion": "c"}),
            _ => json!({}),
        };
        for key in keys {
            record[key] = value(&mut rng, 3);
        }
        let reading = Reading {
            for_sft: rng.random_bool(0.5),
            scores: rng.random_bool(0.5),
            verbatim: rng.random_bool(0.5),
            ..Reading::default()
        };
        let Ok(Record {
            content, ignored, ..
        }) = Record::read(record.clone(), &reading)
        else {
            continue;
        };
        read += 1;
        let (conversation, answers) = match content {
            Content::Pair {
                conversation,
                chosen,
                rejected,
            } => (conversation, vec![chosen, rejected]),
            Content::Demonstration {
                conversation,
                completion,
            }
            | Content::Labelled {
                conversation,
                completion,
                ..
            } => (conversation, vec![completion]),
            Content::Ids { .. } | Content::Tie { .. } | Content::Blank { .. } => continue,
        };
        let asked = conversation.last().unwrap();
        assert_eq!(asked.role, Role::User, "{record}");
        assert!(!asked.content.trim().is_empty(), "{record}");
        assert!(answers.iter().all(|a| !a.trim().is_empty()), "{record}");
        let asks = [
            Slot::System,
            Slot::History,
            Slot::Prompt,
            Slot::Input,
            Slot::Messages,
        ];
        let names = asks.iter().flat_map(|slot| slot.names()).chain(&UNUSABLE);
        for name in names {
            assert!(!ignored.iter().any(|key| key == name), "{name}: {record}");
        }
        if let Some(system) = record["system"].as_str().filter(|s| !s.trim().is_empty()) {
            assert!(conversation[0].content.contains(system), "{record}");
        }
    }
    assert!(read > RECORDS / 10, "only {read} could be read");
}
