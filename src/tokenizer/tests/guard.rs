use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::super::{Tokenizer, unguarded};
use super::{tiny, tiny_json, with_files};

/// Pieces of random texts: special tokens of every kind, parts of special tokens, and neighbouring characters.
const PIECES: [&str; 20] = [
    "<|endoftext|>",
    "<|im_end|>",
    "<s>",
    "s>x",
    "<tool>",
    "NORM",
    "norm",
    "Ünorm",
    "<|im",
    "_end|>",
    "hello",
    "he",
    " ",
    "  ",
    "\n",
    "\t ",
    "x",
    "é",
    "_",
    "🐸",
];
/// Noncharacters, the marks among them.
const MARKS: [&str; 5] = ["\u{FDD0}", "\u{FDD1}", "\u{FDD2}", "\u{FDD3}", "\u{FDD4}"];

fn tokenizers() -> Vec<Tokenizer> {
    let token = |content: &str, flags: &[&str]| {
        let mut token = json!({ "content": content, "special": true, "normalized": false, "single_word": false,
                                "lstrip": false, "rstrip": false, "id": 0 });
        for &flag in flags {
            token[flag] = (token[flag] == json!(false)).into();
        }
        token
    };
    let tokens = json!({
        "260": token("<|endoftext|>", &["lstrip", "rstrip"]), "261": token("<|im_end|>", &["rstrip"]),
        "262": token("<s>", &["lstrip"]), "263": token("s>x", &[]), "264": token("<tool>", &["special"]),
        "265": token("norm", &["normalized", "single_word"]), "266": token("<|im", &["normalized"]),
    });
    let as_gpt2 = with_files(json!({ "tokenizer_config.json": {
        "added_tokens_decoder": tokens, "add_prefix_space": true } }));
    let mut lower = tiny_json();
    lower["normalizer"] =
        json!({ "type": "Sequence", "normalizers": [{ "type": "NFD" }, { "type": "Lowercase" }] });
    lower["pre_tokenizer"] = json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true }] });
    lower["added_tokens"] = tokens.as_object().unwrap().values().cloned().collect();
    let as_written = with_files(json!({ "tokenizer.json": lower, "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast" } }));
    vec![tiny(), as_gpt2.1.unwrap(), as_written.1.unwrap()]
}

/// Random texts made of `pieces`, the same in every run.
fn texts(pieces: &[&str]) -> Vec<String> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let text = |_| {
        let length = random.random_range(0..12);
        (0..length)
            .map(|_| pieces[random.random_range(0..pieces.len())])
            .collect()
    };
    (0..1000).map(text).collect()
}

#[test]
fn looking_for_tokens_here_finds_what_the_tokenizers_crate_finds() {
    for tokenizer in tokenizers() {
        let mut plain = tokenizer.inner.clone();
        plain.set_encode_special_tokens(true);
        for text in texts(&PIECES) {
            let whole = tokenizer.encode(&text).unwrap();
            assert_eq!(
                tokenizer.encode_without(&text, |_| false).unwrap(),
                whole,
                "{text:?}"
            );
            assert_eq!(tokenizer.encode_guarded(&text).unwrap(), whole, "{text:?}");
            let split = plain.encode_fast(text.as_str(), false).unwrap();
            assert_eq!(
                tokenizer.encode_without(&text, |_| true).unwrap(),
                split.get_ids(),
                "{text:?}"
            );
            assert_eq!(
                tokenizer.encode_plain(&text).unwrap(),
                split.get_ids(),
                "{text:?}"
            );
        }
    }
}

#[test]
fn guarded_content_is_text_and_marks_leave_no_trace() {
    let pieces = [&PIECES[..], &MARKS].concat();
    for tokenizer in tokenizers() {
        for text in texts(&pieces) {
            let guarded = tokenizer.guard(&text);
            assert_eq!(unguarded(&guarded.text), text);
            assert_eq!(guarded.tokens, tokenizer.count_special(&text), "{text:?}");
            let plain = tokenizer.encode_plain(&text).unwrap();
            assert_eq!(
                tokenizer.encode_guarded(&guarded.text).unwrap(),
                plain,
                "{text:?}"
            );
        }
    }
}

#[test]
fn a_template_may_cut_content_up() {
    let tokenizer = tiny();
    let guarded = tokenizer
        .guard("hello\u{FDD0}<|endoftext|>he <|endoftext|>")
        .text;
    let parts: Vec<_> = guarded.split("<|endoftext|>").collect();
    assert_eq!(parts.len(), 3);
    // A mark cut off from its token is removed all the same. A second mark at the same place changes nothing.
    let joined = format!("{}<|endoftext|>{}", parts[1], parts[0]);
    assert_eq!(unguarded(&joined), "he <|endoftext|>hello\u{FDD0}");
    let content = tokenizer.guard("<|endoftext|>").text;
    let twice = format!("{}{content}", parts[0]);
    let text = "hello\u{FDD0}<|endoftext|>";
    assert_eq!(
        tokenizer.encode_guarded(&twice).unwrap(),
        tokenizer.encode_plain(text).unwrap()
    );
}

#[test]
fn content_without_special_tokens_is_not_copied() {
    let guarded = "hello <|endoftext";
    let content = tiny().guard(guarded).text.is_ascii();
    assert!(content && matches!(tiny().guard(guarded).text, std::borrow::Cow::Borrowed(_)));
    assert_eq!(tiny().guard("a<|endoftext|><|endoftext|>").tokens, 2);
}

#[test]
fn a_guard_whose_token_is_gone_guards_nothing() {
    let tokenizer = tiny();
    let guarded = tokenizer.guard("hello<|endoftext|>").text.into_owned();
    // A template removes the token from the content and writes its own token behind the content.
    let taken_out = guarded.replace("<|endoftext|>", "") + "<|endoftext|>";
    assert_eq!(tokenizer.encode_guarded(&taken_out).unwrap(), [259, 260]);
    let (before, _) = guarded.split_once("<|endoftext|>").unwrap();
    let cut_off = format!("{before}<|endoftext|>");
    assert_eq!(tokenizer.encode_guarded(&cut_off).unwrap(), [259, 260]);
    // The content's own token stays text, whatever follows it.
    let both = tokenizer
        .encode_guarded(&format!("{guarded}<|endoftext|>"))
        .unwrap();
    let text = tokenizer.encode_plain("hello<|endoftext|>").unwrap();
    assert_eq!(both, [text, vec![260]].concat());
}
