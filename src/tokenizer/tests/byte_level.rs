//! Compares the ids of the fast encoder with the crate's ids.

use std::path::Path;

use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::super::Tokenizer;
use super::{from_value, tiny, tiny_json};

/// Samples of each kind of character in GPT-2's regular expression, and of the boundaries between kinds.
const PIECES: [&str; 44] = [
    "hello",
    "he",
    "HELLO",
    "x",
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    "'S",
    "'",
    "''",
    "'l",
    "'r",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\u{B}",
    "\u{1C}",
    "\u{85}",
    "\u{A0}",
    "\u{2003}",
    "\u{3000}",
    "\u{200B}",
    "\u{FEFF}",
    "0",
    "42",
    "Ⅷ",
    "½",
    "٣",
    "é",
    "e\u{301}",
    "ß",
    "日本",
    "नमस्ते",
    "🐸",
    "👩‍🚀",
    "—",
    "_",
    "\0",
];

fn tokenizers() -> Vec<(&'static str, Tokenizer)> {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/starter");
    let changed = |key: &str, value: serde_json::Value| {
        let mut json = tiny_json();
        match key {
            "add_prefix_space" => json["pre_tokenizer"][key] = value,
            _ => json["model"][key] = value,
        }
        from_value(&json)
    };
    vec![
        ("tiny", tiny()),
        ("starter", Tokenizer::load(&starter).unwrap()),
        ("a space before", changed("add_prefix_space", json!(true))),
        ("whole words first", changed("ignore_merges", json!(true))),
        ("byte fallback", changed("byte_fallback", json!(true))),
    ]
}

#[test]
fn ids_are_those_of_the_crate() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(13);
    for (name, tokenizer) in tokenizers() {
        let fast = tokenizer.byte_level.as_ref().expect(name);
        for _ in 0..4000 {
            let count = rng.random_range(0..12);
            let mut text = String::new();
            for _ in 0..count {
                match rng.random_range(0..5) {
                    // A random character.
                    0 => text.extend(char::from_u32(rng.random_range(0..0x2_0000))),
                    _ => text.push_str(PIECES[rng.random_range(0..PIECES.len())]),
                }
            }
            let theirs = tokenizer.inner.encode_fast(text.as_str(), false).unwrap();
            // The first pass encodes with the model, the second reads the cache.
            for _ in 0..2 {
                let ours = fast.encode(&text, tokenizer.inner.get_model()).unwrap();
                assert_eq!(ours, theirs.get_ids(), "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn every_character_is_of_the_kind_that_the_crate_takes_it_for() {
    let tokenizer = tiny();
    let fast = tokenizer.byte_level.as_ref().unwrap();
    // Between a letter, a number and a sign, each kind of character gives another split.
    for code in (0..=0x10_FFFF).step_by(7).chain(0..0x3000) {
        let Some(c) = char::from_u32(code) else {
            continue;
        };
        let text = format!("a{c}a1{c}1-{c}- {c}");
        let theirs = tokenizer.inner.encode_fast(text.as_str(), false).unwrap();
        let ours = fast.encode(&text, tokenizer.inner.get_model()).unwrap();
        assert_eq!(ours, theirs.get_ids(), "{text:?}");
    }
}

#[test]
fn other_tokenizers_take_the_crates_way() {
    let mut lower = tiny_json();
    lower["normalizer"] = json!({ "type": "Lowercase" });
    let mut plain = tiny_json();
    plain["pre_tokenizer"]["use_regex"] = json!(false);
    let mut drawn = tiny_json();
    drawn["model"]["dropout"] = json!(0.1);
    for json in [lower, plain, drawn] {
        let tokenizer = from_value(&json);
        assert!(tokenizer.byte_level.is_none(), "{json}");
    }
    // A text that spells an added token also goes to the crate.
    assert_eq!(tiny().encode("hello<|endoftext|>").unwrap(), [259, 260]);
}
