//! From a folder's files to the tokenizer that transformers' `AutoTokenizer` makes of them.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::PostProcessorWrapper;

use super::declared::{Declarations, Declared, Named, ROLES};
use super::files::{self, Files};
use super::{END_OF_TEXT, HELP};
use crate::error::{Error, Result};

/// Where a model says its tokenizer's class, beside `tokenizer_config.json`.
const MODEL_CONFIG: &str = "config.json";
const CLASS: &str = "tokenizer_class";
/// The class that GPT-2's config.json stands for, and its default for three roles.
pub(super) const GPT2_CLASS: &str = "GPT2Tokenizer";
pub(super) const GPT2_ROLES: [&str; 3] = ["bos_token", "eos_token", "unk_token"];
/// The class that takes `tokenizer.json` as it is, under its names in transformers 4 and 5.
pub(super) const PLAIN_CLASS: &str = "PreTrainedTokenizerFast";
const PLAIN_CLASSES: [&str; 4] = [
    "PreTrainedTokenizer",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
    "PythonBackend",
];

/// What transformers makes of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// GPT-2's tokenizer over the vocabulary, merges and post-processor, whatever else
    /// `tokenizer.json` says.
    Gpt2,
    /// `tokenizer.json` as it is.
    AsWritten,
}

/// A tokenizer with everything that its files declare.
pub(super) struct Built {
    pub(super) inner: tokenizers::Tokenizer,
    pub(super) class: Class,
    pub(super) named: Vec<Named>,
    /// What a file says and the tokenizer does not do, a sentence each.
    pub(super) notes: Vec<String>,
}

/// Builds the tokenizer of a folder.
pub(super) fn build(files: &Files, declared: &Declarations) -> Result<Built> {
    let mut notes = Vec::new();
    let class = class(files, declared, &mut notes)?;
    let written: Option<Written> = files.json(files::TOKENIZER)?;
    let named = named(class, declared, written.as_ref());
    let prefix_space = declared.flag("add_prefix_space", files)?;
    let mut inner = match (class, &written) {
        (Class::AsWritten, Some(_)) => {
            let bytes = files.get(files::TOKENIZER).unwrap_or_default();
            parse(bytes, &files.path(files::TOKENIZER))?
        }
        (Class::Gpt2, Some(written)) => {
            written.note_unused(prefix_space, &mut notes);
            written.as_gpt2(prefix_space, files)?
        }
        (_, None) => from_vocab_and_merges(prefix_space, files)?,
    };

    let tokens = to_add(&inner, declared, &named);
    let added = inner.add_tokens(tokens.iter().map(Declared::resolve));
    added.map_err(|error| {
        let what = format!("its added tokens do not fit together: {error}");
        Error::file(&files.path(files::CONFIG), what, HELP)
    })?;

    let adds = Adds {
        bos: declared.flag("add_bos_token", files)?,
        eos: declared.flag("add_eos_token", files)?,
    };
    match written {
        None => adds.apply(&mut inner, &named, files)?,
        Some(_) => adds.note_unused(&inner, &mut notes),
    }
    if class == Class::AsWritten && prefix_space && !written_prefix_space(&inner) {
        notes.push(unused("add_prefix_space", "tokenizer.json's pre_tokenizer"));
    }
    inner.set_encode_special_tokens(declared.flag("split_special_tokens", files)?);
    neither_cut_nor_pad(&mut inner);
    Ok(Built {
        inner,
        class,
        named,
        notes,
    })
}

fn unused(key: &str, by: &str) -> String {
    format!(
        "tokenizer_config.json's {key} is not used: {by} says otherwise, and goes first in transformers"
    )
}

/// The class that transformers takes for a folder whose config.json is a GPT-2's.
fn class(files: &Files, declared: &Declarations, notes: &mut Vec<String>) -> Result<Class> {
    let in_tokenizer = declared.config.get(CLASS).and_then(Value::as_str);
    let in_model = model_config_class(files);
    let Some(name) = in_tokenizer.or(in_model.as_deref()) else {
        return Ok(Class::Gpt2);
    };
    let base = name.strip_suffix("Fast").unwrap_or(name);
    let has_json = files.has(files::TOKENIZER);
    if base == GPT2_CLASS {
        return Ok(Class::Gpt2);
    }
    if PLAIN_CLASSES.contains(&name) {
        if !has_json {
            notes.push(format!(
                "the tokenizer is to be a {name}, which transformers reads from a tokenizer.json, and there \
                 is none: vocab.json and merges.txt are taken for GPT-2's"
            ));
        }
        return Ok(Class::AsWritten);
    }
    if !has_json {
        let by = if in_tokenizer.is_some() {
            files::CONFIG
        } else {
            MODEL_CONFIG
        };
        return Err(Error::file(
            &files.path(by),
            format!(
                "`{CLASS}` is {name}, whose rules are not known here, and there is no tokenizer.json"
            ),
            "load and save the tokenizer once with transformers, which writes tokenizer.json; or name \
             GPT2Tokenizer, if it is GPT-2's",
        ));
    }
    notes.push(format!(
        "the tokenizer is a {name}, whose own rules are not known here: tokenizer.json is taken as it is"
    ));
    Ok(Class::AsWritten)
}

/// The class in the model's config.json. What else may be wrong with that file is for its own reader.
fn model_config_class(files: &Files) -> Option<String> {
    let bytes = std::fs::read(files.path(MODEL_CONFIG)).ok()?;
    let config: Value = serde_json::from_slice(&bytes).ok()?;
    config.get(CLASS)?.as_str().map(str::to_owned)
}

/// The tokens with a role: what the files say, else the class's defaults.
fn named(class: Class, declared: &Declarations, written: Option<&Written>) -> Vec<Named> {
    let mut named = declared.named.clone();
    let open = |named: &[Named], role: &str| {
        let taken = named.iter().any(|named| named.name == role);
        !taken && !declared.vacant.iter().any(|vacant| vacant == role)
    };
    let mut give = |role: &str, text: &str, said_by: &str| {
        if open(&named, role) {
            named.push(Named {
                name: role.to_owned(),
                token: Declared::special(text),
                said_by: said_by.to_owned(),
            });
        }
    };
    match class {
        Class::Gpt2 => {
            for role in GPT2_ROLES {
                give(role, END_OF_TEXT, GPT2_CLASS);
            }
        }
        Class::AsWritten => {
            if let Some(padding) = written.and_then(|written| written.padding.as_ref()) {
                give("pad_token", &padding.pad_token, files::TOKENIZER);
            }
        }
    }
    // Their order is the order in which new tokens get their ids.
    let rank = |named: &Named| ROLES.iter().position(|role| *role == named.name);
    named.sort_by_key(|named| rank(named).unwrap_or(ROLES.len()));
    named
}

/// The declared tokens that the tokenizer does not have as declared, in the order in which transformers
/// adds them: new ones get their ids by it.
fn to_add(
    inner: &tokenizers::Tokenizer,
    declared: &Declarations,
    named: &[Named],
) -> Vec<Declared> {
    let present = inner.get_added_tokens_decoder();
    let is_present = |token: &&Declared| !present.values().any(|p| *p == token.resolve());
    let mut tokens: Vec<_> = declared.added.iter().filter(is_present).cloned().collect();
    let roles = named.iter().map(|named| &named.token);
    for token in roles.chain(&declared.extra) {
        let known = |content: &str| content == token.content;
        let listed = tokens.iter().any(|token| known(&token.content));
        if !listed && !present.values().any(|present| known(&present.content)) {
            tokens.push(token.clone());
        }
    }
    for token in &mut tokens {
        token.special |= named.iter().any(|n| n.token.content == token.content);
    }
    tokens
}

/// Special tokens that the config puts around every text, where no `tokenizer.json` decides.
struct Adds {
    bos: bool,
    eos: bool,
}

impl Adds {
    fn apply(
        &self,
        inner: &mut tokenizers::Tokenizer,
        named: &[Named],
        files: &Files,
    ) -> Result<()> {
        let find = |role: &str, wanted: bool| {
            let found = named.iter().find(|named| wanted && named.name == role);
            found.map(|named| named.token.content.as_str())
        };
        let (bos, eos) = (find("bos_token", self.bos), find("eos_token", self.eos));
        if bos.is_none() && eos.is_none() {
            return Ok(());
        }
        let piece = |token: Option<&str>, text: u32| {
            token.map(|token| json!({ "SpecialToken": { "id": token, "type_id": text } }))
        };
        let sequence =
            |name: &str, text: u32| Some(json!({ "Sequence": { "id": name, "type_id": text } }));
        let around =
            |name: &str, text: u32| [piece(bos, text), sequence(name, text), piece(eos, text)];
        let (first, second) = (around("A", 0), around("B", 1));
        let single: Vec<_> = first.iter().flatten().collect();
        let pair: Vec<_> = first.iter().chain(&second).flatten().collect();
        let token = |text: &str| {
            let ids = [inner.token_to_id(text)];
            (
                text.to_owned(),
                json!({ "id": text, "ids": ids, "tokens": [text] }),
            )
        };
        let tokens: serde_json::Map<_, _> = [bos, eos].into_iter().flatten().map(token).collect();
        let processor = PostProcessorWrapper::deserialize(json!({
            "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens,
        }));
        let processor = processor.map_err(|error| {
            let what = format!("`add_bos_token` or `add_eos_token` cannot be done: {error}");
            Error::file(&files.path(files::CONFIG), what, HELP)
        })?;
        inner.with_post_processor(Some(processor));
        Ok(())
    }

    fn note_unused(&self, inner: &tokenizers::Tokenizer, notes: &mut Vec<String>) {
        use tokenizers::PostProcessor;
        let adds = inner
            .get_post_processor()
            .map_or(0, |p| p.added_tokens(false));
        if adds > 0 {
            return;
        }
        for (key, wanted) in [("add_bos_token", self.bos), ("add_eos_token", self.eos)] {
            if wanted {
                notes.push(unused(
                    key,
                    "tokenizer.json, whose post_processor adds nothing,",
                ));
            }
        }
    }
}

/// A `tokenizer.json`, as far as another class than its own reads it.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    padding: Option<Padding>,
    model: Value,
}

#[derive(Deserialize)]
struct Padding {
    pad_token: String,
}

impl Written {
    /// GPT-2's tokenizer over this one's vocabulary, merges and post-processor.
    fn as_gpt2(&self, prefix_space: bool, files: &Files) -> Result<tokenizers::Tokenizer> {
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
        let merges = self.merges().map_err(|what| not_one(what))?;
        let mut inner = gpt2(vocab, merges, prefix_space, &path)?;
        if !self.post_processor.is_null() {
            let processor = PostProcessorWrapper::deserialize(&self.post_processor);
            let processor = processor
                .map_err(|error| not_one(format!("its `post_processor` is not one: {error}")))?;
            inner.with_post_processor(Some(processor));
        }
        Ok(inner)
    }

    /// Pairs of tokens: as a list of two, or with a space between.
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

    /// Says which parts GPT-2's class leaves out though they would change ids.
    fn note_unused(&self, prefix_space: bool, notes: &mut Vec<String>) {
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

fn written_prefix_space(inner: &tokenizers::Tokenizer) -> bool {
    let json = serde_json::to_value(inner.get_pre_tokenizer()).unwrap_or_default();
    json.get("add_prefix_space") == Some(&json!(true))
}

/// A `tokenizer.json` as it is; `path` is its name in errors.
fn parse(bytes: &[u8], path: &Path) -> Result<tokenizers::Tokenizer> {
    tokenizers::Tokenizer::from_bytes(bytes)
        .map_err(|error| Error::file(path, format!("not a tokenizer: {error}"), HELP))
}

/// A `tokenizer.json` without other files. Its end-of-text token has GPT-2's roles.
pub(super) fn alone(bytes: &[u8], path: &Path) -> Result<Built> {
    let mut inner = parse(bytes, path)?;
    neither_cut_nor_pad(&mut inner);
    let roles = GPT2_ROLES
        .iter()
        .filter(|_| inner.token_to_id(END_OF_TEXT).is_some());
    let named = roles.map(|role| Named {
        name: (*role).to_owned(),
        token: Declared::special(END_OF_TEXT),
        said_by: GPT2_CLASS.to_owned(),
    });
    Ok(Built {
        named: named.collect(),
        inner,
        class: Class::AsWritten,
        notes: Vec::new(),
    })
}

fn neither_cut_nor_pad(inner: &mut tokenizers::Tokenizer) {
    inner.with_padding(None);
    // Only a truncation can be refused, not its absence.
    let _ = inner.with_truncation(None);
}

fn from_vocab_and_merges(prefix_space: bool, files: &Files) -> Result<tokenizers::Tokenizer> {
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

/// GPT-2's tokenizer as transformers' `GPT2Tokenizer` builds it; `path` is where the merges are from.
fn gpt2(
    vocab: Vocab,
    merges: Merges,
    prefix_space: bool,
    path: &Path,
) -> Result<tokenizers::Tokenizer> {
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).build();
    let bpe = bpe.map_err(|error| {
        let what = format!("its merges do not fit the vocabulary: {error}");
        Error::file(path, what, HELP)
    })?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    inner.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(prefix_space)));
    inner.with_decoder(Some(ByteLevel::default()));
    Ok(inner)
}

/// The pairs of `merges.txt`, in order of rank: two tokens and a space between on each line.
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
