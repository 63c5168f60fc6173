//! Builds a tokenizer from a folder's files, as transformers' `AutoTokenizer` builds it.

use std::path::Path;

use serde::Deserialize;
use serde_json::json;
use tokenizers::PostProcessor;
use tokenizers::processors::PostProcessorWrapper;

use super::class::{Class, GPT2_CLASS, GPT2_ROLES};
use super::declared::{DECODER, Declarations, Declared, Named, ROLES};
use super::files::{self, Files};
use super::vocabulary::{self, Written};
use super::{END_OF_TEXT, HELP};
use crate::error::{Error, Result};

/// A tokenizer with all declarations of its files.
pub(super) struct Built {
    pub(super) inner: tokenizers::Tokenizer,
    pub(super) class: Class,
    pub(super) named: Vec<Named>,
    /// Settings of the files that the tokenizer does not apply, one sentence each.
    pub(super) notes: Vec<String>,
}

/// Builds the tokenizer of a folder.
pub(super) fn build(files: &Files, declared: &Declarations) -> Result<Built> {
    let mut notes = Vec::new();
    let class = Class::of(files, declared, &mut notes)?;
    note_unread(declared, &mut notes);
    let written: Option<Written> = files.json(files::TOKENIZER)?;
    let named = named(class, declared, written.as_ref());
    let prefix_space = declared.flag("add_prefix_space", files)?;
    let mut inner = match (class, &written) {
        (Class::AsWritten, Some(_)) => {
            let bytes = files.get(files::TOKENIZER).unwrap_or_default();
            vocabulary::parse(bytes, &files.path(files::TOKENIZER))?
        }
        (Class::Gpt2, Some(written)) => {
            written.note_unused(prefix_space, &mut notes);
            written.as_gpt2(prefix_space, files)?
        }
        (_, None) => vocabulary::from_vocab_and_merges(prefix_space, files)?,
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
    if let Some(lost) = written.as_ref().map(|written| written.displaced(&inner))
        && !lost.is_empty()
    {
        notes.push(format!(
            "tokenizer.json's added tokens `{}` are text: {}'s {DECODER} lists others, and goes first in \
             transformers",
            lost.join("`, `"),
            files::CONFIG
        ));
    }
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

/// Adds a note about each key that changes the tokenizer in transformers and is ignored here.
fn note_unread(declared: &Declarations, notes: &mut Vec<String>) {
    if declared.config.contains_key("auto_map") {
        notes.push(
            "tokenizer_config.json's auto_map names code of the model's own for its tokenizer, which is not run"
                .to_owned(),
        );
    }
    let versions = declared.config.get("fast_tokenizer_files");
    if versions.is_some_and(|files| *files != json!([files::TOKENIZER])) {
        notes.push(
            "tokenizer_config.json's fast_tokenizer_files is not used: tokenizer.json is the one that is read"
                .to_owned(),
        );
    }
}

/// The tokens with a role, from the files, else from the class's defaults.
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
    // New tokens get their ids in this order.
    let rank = |named: &Named| ROLES.iter().position(|role| *role == named.name);
    named.sort_by_key(|named| rank(named).unwrap_or(ROLES.len()));
    named
}

/// The declared tokens that the tokenizer lacks or has with other settings. The order is transformers' order of
/// adding: new tokens get their ids by it.
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

/// The special tokens that the config puts around every text. They apply only without a `tokenizer.json`.
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

fn written_prefix_space(inner: &tokenizers::Tokenizer) -> bool {
    let json = serde_json::to_value(inner.get_pre_tokenizer()).unwrap_or_default();
    json.get("add_prefix_space") == Some(&json!(true))
}

/// Builds a tokenizer from a `tokenizer.json` alone. Its end-of-text token gets GPT-2's roles.
pub(super) fn alone(bytes: &[u8], path: &Path) -> Result<Built> {
    let mut inner = vocabulary::parse(bytes, path)?;
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
    // The crate can refuse a truncation; it cannot refuse `None`.
    let _ = inner.with_truncation(None);
}
