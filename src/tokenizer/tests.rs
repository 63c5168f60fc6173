mod byte_level;
mod declared;
mod end_of_text;
mod expected;
mod guard;
mod rows;

use super::*;
use crate::storage::Replacing;
use std::collections::HashMap;
use std::fs;
use tempfile::TempDir;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// The number of ids of [`tiny`]: 256 bytes, four merge rules, `<|endoftext|>`.
pub(crate) const TINY_SIZE: usize = 261;

/// A directory with the vocab.json and merges.txt of a byte-level BPE that knows `hello`.
pub(crate) fn tiny_dir() -> TempDir {
    let mut tokens: Vec<String> = ByteLevel::alphabet().iter().map(char::to_string).collect();
    tokens.sort();
    tokens.extend(["he", "ll", "hell", "hello", END_OF_TEXT].map(String::from));
    let ids = tokens.iter().enumerate().map(|(id, token)| (token, id));
    let vocab: HashMap<_, _> = ids.collect();

    let dir = tempfile::tempdir().unwrap();
    let json = serde_json::to_vec(&vocab).unwrap();
    fs::write(dir.path().join("vocab.json"), json).unwrap();
    let merges = "#version: 0.2\nh e\nl l\nhe ll\nhell o\n";
    fs::write(dir.path().join("merges.txt"), merges).unwrap();
    dir
}

pub(crate) fn tiny() -> Tokenizer {
    Tokenizer::load(tiny_dir().path()).unwrap()
}

fn tiny_json() -> serde_json::Value {
    serde_json::from_str(&tiny().inner.to_string(false).unwrap()).unwrap()
}

fn from_value(json: &serde_json::Value) -> Tokenizer {
    Tokenizer::from_json(json.to_string().as_bytes(), Path::new("starter")).unwrap()
}

/// [`tiny`] with further files. A file set to `null` is removed.
fn with_files(files: serde_json::Value) -> (TempDir, Result<Tokenizer>) {
    let dir = tiny_dir();
    for (name, content) in files.as_object().unwrap() {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            serde_json::Value::Null => fs::remove_file(path).unwrap(),
            serde_json::Value::String(text) => fs::write(path, text).unwrap(),
            json => fs::write(path, json.to_string()).unwrap(),
        }
    }
    let tokenizer = Tokenizer::load(dir.path());
    (dir, tokenizer)
}

fn error_of(result: Result<Tokenizer>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn vocab_and_merges_make_gpt2s_tokenizer() {
    let tokenizer = tiny();
    assert_eq!(tokenizer.vocab_size(), TINY_SIZE);
    assert_eq!(tokenizer.eos(), Some(260));
    assert_eq!(tokenizer.encode("hello").unwrap(), [259]);
    // No space is added before the first word, and an existing space is kept.
    let space = tokenizer.encode(" ").unwrap();
    let spaced = tokenizer.encode(" hello").unwrap();
    assert_eq!(spaced, [space, vec![259]].concat());
    assert_eq!(tokenizer.encode("hello<|endoftext|>").unwrap(), [259, 260]);
    assert!(tokenizer.encode("").unwrap().is_empty());
}

#[test]
fn decoding_undoes_encoding_and_skips_specials_and_padding() {
    let tokenizer = tiny();
    let text = "hello  wörld\n\t🦀 'll";
    let mut ids = tokenizer.encode(text).unwrap();
    ids.extend([260, 9999]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
}

#[test]
fn settings_of_tokenizer_json_neither_cut_nor_pad_nor_add() {
    let mut json = tiny_json();
    json["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 });
    json["padding"] = serde_json::json!({
        "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "!" });
    json["post_processor"] = serde_json::json!({
        "type": "RobertaProcessing", "sep": [END_OF_TEXT, 260], "cls": [END_OF_TEXT, 260],
        "trim_offsets": true, "add_prefix_space": false });
    let tokenizer = from_value(&json);
    assert_eq!(
        tokenizer.encode("abc").unwrap(),
        tiny().encode("abc").unwrap()
    );
}

#[test]
fn added_tokens_count_into_the_vocabulary() {
    let mut json = tiny_json();
    let mut added = json["added_tokens"][0].clone();
    added["content"] = "<|pad|>".into();
    added["id"] = 261.into();
    json["added_tokens"].as_array_mut().unwrap().push(added);
    assert_eq!(from_value(&json).vocab_size(), 262);
}

#[test]
fn a_stream_holds_back_unfinished_characters() {
    let tokenizer = tiny();
    let text = "aé🦀b";
    let mut stream = tokenizer.stream();
    let mut pieces = Vec::new();
    for id in tokenizer.encode(text).unwrap() {
        pieces.extend(stream.push(id).unwrap());
    }
    assert_eq!(pieces, ["a", "é", "🦀", "b"]);
    assert_eq!(stream.push(260).unwrap(), None);
    assert_eq!(stream.flush().unwrap(), None);
}

#[test]
fn a_stream_flushes_what_was_never_finished() {
    let tokenizer = tiny();
    let crab = tokenizer.encode("🦀").unwrap();
    let mut stream = tokenizer.stream();
    assert_eq!(stream.push(crab[0]).unwrap(), None);
    assert_eq!(stream.push(crab[1]).unwrap(), None);
    assert_eq!(stream.flush().unwrap().as_deref(), Some("\u{FFFD}"));
    // An incomplete character followed by text is returned together with that text.
    let mut stream = tokenizer.stream();
    stream.push(crab[0]).unwrap();
    let hello = stream.push(259).unwrap();
    assert_eq!(hello.as_deref(), Some("\u{FFFD}hello"));
}

#[test]
fn saving_keeps_the_files_and_adds_what_is_missing() {
    let (from, to) = (tiny_dir(), tempfile::tempdir().unwrap());
    fs::write(from.path().join("special_tokens_map.json"), "{ }").unwrap();
    fs::write(from.path().join("generation_config.json"), "{}").unwrap();
    let tokenizer = Tokenizer::load(from.path()).unwrap();
    tokenizer
        .save(&mut Replacing::on_disk(to.path()), 64)
        .unwrap();

    let bytes = |dir: &TempDir, name: &str| fs::read(dir.path().join(name)).unwrap();
    for name in ["vocab.json", "merges.txt", "special_tokens_map.json"] {
        assert_eq!(bytes(&from, name), bytes(&to, name), "{name}");
    }
    assert!(!to.path().join("generation_config.json").exists());
    let config = bytes(&to, "tokenizer_config.json");
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["eos_token"], END_OF_TEXT);
    assert_eq!(config["model_max_length"], 64);
    assert_eq!(config["tokenizer_class"], "GPT2Tokenizer");

    // The new tokenizer.json gives the same tokenizer as the copied files.
    let again = Tokenizer::load(to.path()).unwrap();
    let text = "hello hello, wörld<|endoftext|>";
    assert_eq!(again.encode(text).unwrap(), tokenizer.encode(text).unwrap());
    assert_eq!(again.decode(&[259, 260]).unwrap(), "hello");

    // The second save copies every file unchanged.
    let last = tempfile::tempdir().unwrap();
    again
        .save(&mut Replacing::on_disk(last.path()), 128)
        .unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(bytes(&to, name), bytes(&last, name), "{name}");
    }
}

#[test]
fn a_tokenizer_json_from_memory_is_saved_as_given() {
    let json = tiny_json().to_string();
    let tokenizer = Tokenizer::from_json(json.as_bytes(), Path::new("starter")).unwrap();
    let to = tempfile::tempdir().unwrap();
    tokenizer
        .save(&mut Replacing::on_disk(to.path()), 64)
        .unwrap();
    let saved = fs::read_to_string(to.path().join("tokenizer.json")).unwrap();
    assert_eq!(saved, json);
    let config = fs::read(to.path().join("tokenizer_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let empty = tempfile::tempdir().unwrap();
    assert!(!Tokenizer::exists(empty.path()));
    assert!(error_of(Tokenizer::load(empty.path())).contains("no tokenizer"));

    let dir = tiny_dir();
    assert!(Tokenizer::exists(dir.path()));
    let merges = dir.path().join("merges.txt");
    fs::write(&merges, "#version: 0.2\nh e\nll\n").unwrap();
    let error = error_of(Tokenizer::load(dir.path()));
    assert!(error.contains("merges.txt:3: `ll`"), "{error}");
    fs::write(&merges, "h q\nx yz\n").unwrap();
    let error = error_of(Tokenizer::load(dir.path()));
    assert!(error.contains("do not fit the vocabulary"), "{error}");
    fs::remove_file(&merges).unwrap();
    let error = error_of(Tokenizer::load(dir.path()));
    assert!(error.contains("without its merges.txt"), "{error}");

    let error = error_of(Tokenizer::from_json(b"{]", Path::new("starter")));
    assert!(error.starts_with("starter: not a tokenizer"), "{error}");
}
