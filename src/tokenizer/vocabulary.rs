//! Reads a tokenizer's vocabulary and merge rules from `vocab.json` and `merges.txt`, or from `tokenizer.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::PostProcessorWrapper;

use super::HELP;
use super::class::{CLASS, GPT2_CLASS, PLAIN_CLASS};
use super::files::{self, Files};
use crate::error::{Error, Result};
use crate::guard;

/// The parts of a `tokenizer.json` that GPT-2's class reads or names in notes.
#[derive(Deserialize)]
pub(super) struct Written {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    pub(super) padding: Option<Padding>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    model: Value,
}

#[derive(Deserialize)]
pub(super) struct Padding {
    pub(super) pad_token: String,
}

#[derive(Deserialize)]
struct Added {
    content: String,
}

impl Written {
    /// GPT-2's tokenizer with this file's vocabulary, merge rules and post-processor.
    pub(super) fn as_gpt2(
        &self,
        prefix_space: bool,
        files: &Files,
    ) -> Result<tokenizers::Tokenizer> {
        let path = files.path(files::TOKENIZER);
        let not_one = |what: String| Error::file(&path, what, HELP);
        let kind = self
            .model
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or("BPE");
        if kind != "BPE" {
            return Err(Error::file(
                &path,
                format!(
                    "its model is a {kind}, and the folder's tokenizer is a {GPT2_CLASS}, which is a BPE"
                ),
                format!(
                    "name its class in {}: \"{CLASS}\": \"{PLAIN_CLASS}\"",
                    files::CONFIG
                ),
            ));
        }
        let vocab = self.model.get("vocab").map(Vocab::deserialize);
        let vocab = vocab
            .unwrap_or_else(|| Ok(Vocab::default()))
            .map_err(|error| {
                not_one(format!("its `model.vocab` is not tokens with ids: {error}"))
            })?;
        let merges = self.merges().map_err(not_one)?;
        let mut inner = gpt2(vocab, merges, prefix_space, &path)?;
        if !self.post_processor.is_null() {
            let processor = PostProcessorWrapper::deserialize(&self.post_processor);
            let processor = processor
                .map_err(|error| not_one(format!("its `post_processor` is not one: {error}")))?;
            inner.with_post_processor(Some(processor));
        }
        Ok(inner)
    }

    /// The file's added tokens that `inner` lacks because another file's list replaces them.
    pub(super) fn displaced(&self, inner: &tokenizers::Tokenizer) -> Vec<&str> {
        let present = inner.get_added_vocabulary().get_vocab();
        let tokens = self.added_tokens.iter().map(|token| token.content.as_str());
        tokens
            .filter(|token| !present.contains_key(*token))
            .collect()
    }

    /// The merge rules. Each is a pair of tokens: a list of two, or a text with a space between them.
    fn merges(&self) -> Result<Merges, String> {
        let list = self.model.get("merges").and_then(Value::as_array);
        let pair = |merge: &Value| match merge {
            Value::String(pair) => {
                let (left, right) = pair.split_once(' ')?;
                Some((left.to_owned(), right.to_owned()))
            }
            pair => <(String, String)>::deserialize(pair).ok(),
        };
        let merges = list.into_iter().flatten();
        merges
            .map(|merge| pair(merge).ok_or_else(|| format!("its merge {merge} is not two tokens")))
            .collect()
    }

    /// Adds a note about the parts that would change ids but that GPT-2's class ignores.
    pub(super) fn note_unused(&self, prefix_space: bool, notes: &mut Vec<String>) {
        let of_model = |key: &str| self.model.get(key).unwrap_or(&Value::Null);
        let set = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            _ => true,
        };
        let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": prefix_space });
        let same = |key: &str| self.pre_tokenizer.get(key) == byte_level.get(key);
        let whole_regex = self.pre_tokenizer.get("use_regex") != Some(&json!(false));
        let mut parts = Vec::new();
        if set(&self.normalizer) {
            parts.push("normalizer");
        }
        if !(same("type") && same("add_prefix_space") && whole_regex) {
            parts.push("pre_tokenizer");
        }
        let keys = ["dropout", "unk_token", "byte_fallback", "ignore_merges"];
        parts.extend(keys.into_iter().filter(|key| set(of_model(key))));
        if !parts.is_empty() {
            notes.push(format!(
                "tokenizer.json's {} {} not used: the folder's tokenizer is a {GPT2_CLASS}, which has its own \
                 in transformers 5; with \"{CLASS}\": \"{PLAIN_CLASS}\" in {} the file is taken as it is",
                parts.join(" and "),
                if parts.len() == 1 { "is" } else { "are" },
                files::CONFIG,
            ));
        }
    }
}

/// What is wrong where the crate panics.
const MISFIT: &str = "its merges do not fit its vocabulary";

/// Parses a `tokenizer.json` as it is. Errors name `path`.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<tokenizers::Tokenizer> {
    // The crate panics at some merges that do not fit their vocabulary.
    let parsed = guard::guarded(|| tokenizers::Tokenizer::from_bytes(bytes));
    let parsed = parsed.unwrap_or_else(|| Err(MISFIT.into()));
    parsed.map_err(|error| Error::file(path, format!("not a tokenizer: {error}"), HELP))
}

/// GPT-2's tokenizer with the vocabulary of `vocab.json` and the merge rules of `merges.txt`.
pub(super) fn from_vocab_and_merges(
    prefix_space: bool,
    files: &Files,
) -> Result<tokenizers::Tokenizer> {
    let dir = files.path("");
    let (Some(vocab), Some(merges)) = (files.json(files::VOCAB)?, files.text(files::MERGES)?)
    else {
        let what = match (files.has(files::VOCAB), files.has(files::MERGES)) {
            (true, _) => "vocab.json without its merges.txt",
            (_, true) => "merges.txt without its vocab.json",
            _ => "no tokenizer in it",
        };
        return Err(Error::file(&dir, what, HELP));
    };
    let path = files.path(files::MERGES);
    gpt2(vocab, parse_merges(merges, &path)?, prefix_space, &path)
}

/// GPT-2's tokenizer as transformers' `GPT2Tokenizer` builds it. `path` is the file of the merge rules, for
/// errors.
fn gpt2(
    vocab: Vocab,
    merges: Merges,
    prefix_space: bool,
    path: &Path,
) -> Result<tokenizers::Tokenizer> {
    let mut ids: Vec<u32> = vocab.values().copied().collect();
    ids.sort_unstable();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        let what = format!("two tokens of its vocabulary have the id {}", twice[0]);
        return Err(Error::file(path, what, HELP));
    }
    let bpe = guard::guarded(|| BPE::builder().vocab_and_merges(vocab, merges).build());
    let bpe = bpe.unwrap_or_else(|| Err(MISFIT.into()));
    let bpe = bpe.map_err(|error| {
        let what = format!("its merges do not fit the vocabulary: {error}");
        Error::file(path, what, HELP)
    })?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    inner.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(prefix_space)));
    inner.with_decoder(Some(ByteLevel::default()));
    Ok(inner)
}

/// The merge rules of `merges.txt`, in order of rank. Each line holds two tokens with a space between them.
fn parse_merges(text: &str, path: &Path) -> Result<Merges> {
    let lines = text.lines().enumerate();
    let is_version = |at, line: &str| at == 0 && line.starts_with("#version");
    lines
        .filter(|&(at, line)| !line.is_empty() && !is_version(at, line))
        .map(|(at, line)| match line.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() => {
                Ok((left.to_owned(), right.to_owned()))
            }
            _ => Err(Error::data(
                path,
                at + 1,
                format!("`{line}` is not two tokens with a space between"),
                HELP,
            )),
        })
        .collect()
}
