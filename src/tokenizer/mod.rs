//! Turns text into token ids and back, and copies a tokenizer's files from one model folder to the next.
//!
//! [`Tokenizer::load`] reads a folder's files as transformers' `AutoTokenizer` reads them.
//! Four methods encode a text. They differ in their treatment of special tokens:
//!
//! | method | a special token spelled out in the text | special tokens around the text |
//! | --- | --- | --- |
//! | [`Tokenizer::encode`] | becomes its id | are not added |
//! | [`Tokenizer::encode_plain`] | stays text | are not added |
//! | [`Tokenizer::encode_guarded`] | becomes its id where the template wrote it, stays text in the content | are not added |
//! | [`Tokenizer::encode_with_special_tokens`] | becomes its id | are added |

mod build;
mod byte_level;
mod chat;
mod class;
mod declared;
mod end_of_text;
mod ends;
mod files;
mod guard;
mod rows;
mod save;
mod stream;
mod vocabulary;

use std::path::{Path, PathBuf};

pub use chat::ChatTemplate;
pub use declared::NamedToken;
pub use end_of_text::{ConfigIds, EndOfText};
pub use files::{FILES, TEMPLATES};
pub use guard::{Guarded, unguarded};
pub use rows::TokenId;
pub use stream::TextStream;

use crate::error::{Error, Result};
use crate::guard::guarded;
use build::Built;
use byte_level::ByteLevel;
use chat::Template;
use class::Class;
use declared::Declarations;
use ends::Ends;
use files::Files;
use guard::Specials;

/// GPT-2's only special token. It begins, ends and separates texts.
const END_OF_TEXT: &str = "<|endoftext|>";

const HELP: &str =
    "copy tokenizer.json, or vocab.json and merges.txt, from the model this one began as";

/// A model's tokenizer, together with the files from which it was read.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    class: Class,
    /// The directory or file from which the tokenizer was read, for messages.
    origin: PathBuf,
    files: Files,
    templates: Vec<Template>,
    named: Vec<NamedToken>,
    /// Special tokens without a role.
    extra: Vec<String>,
    specials: Specials,
    /// The fast encoder for texts without added tokens. `None` if the tokenizer is not a byte-level BPE like
    /// GPT-2's.
    byte_level: Option<ByteLevel>,
    ends: Ends,
    notes: Vec<String>,
}

impl Tokenizer {
    /// True if `dir` holds tokenizer files that [`Tokenizer::load`] would read. The files may still be invalid.
    pub fn exists(dir: &Path) -> bool {
        [files::TOKENIZER, files::VOCAB, files::MERGES]
            .iter()
            .any(|name| dir.join(name).exists())
    }

    /// Reads the tokenizer of a GPT-2 folder as transformers 5.23 does.
    ///
    /// The class is the `tokenizer_class` of `tokenizer_config.json`, else of `config.json`, else
    /// `GPT2Tokenizer`.
    /// `GPT2Tokenizer` takes vocabulary, merge rules and post-processor from `tokenizer.json`, or from
    /// `vocab.json` and `merges.txt`; it brings every other part itself. `PreTrainedTokenizerFast` takes
    /// `tokenizer.json` as it is.
    ///
    /// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` declare special and added
    /// tokens. A declared token that the vocabulary lacks gets the next free id. The model may have no
    /// embedding row for that id: see [`Tokenizer::fit`]. `add_prefix_space`, `add_bos_token` and
    /// `add_eos_token` take effect in the cases in which transformers applies them.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for an unreadable file; [`Error::File`] for a directory without a tokenizer, for an
    /// invalid tokenizer, and for a key with a value of the wrong kind; [`Error::Data`] for an invalid line of
    /// `merges.txt`.
    pub fn load(dir: &Path) -> Result<Self> {
        guarded(|| Tokenizer::load_unguarded(dir)).unwrap_or_else(|| Err(unusable(dir)))
    }

    fn load_unguarded(dir: &Path) -> Result<Self> {
        let files = Files::read(dir)?;
        let declared = Declarations::read(&files)?;
        let templates = chat::templates(&files, &declared)?;
        let built = build::build(&files, &declared)?;
        let extra = declared.extra.into_iter().map(|token| token.content);
        Tokenizer::new(built, dir, files, templates, extra.collect())
    }

    /// Reads the bytes of a `tokenizer.json` as they are. Errors name `origin` as the path.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the bytes are not a valid `tokenizer.json`.
    pub fn from_json(bytes: &[u8], origin: &Path) -> Result<Self> {
        let parse = || {
            let built = build::alone(bytes, origin)?;
            Tokenizer::new(built, origin, Files::only(bytes), Vec::new(), Vec::new())
        };
        guarded(parse).unwrap_or_else(|| Err(unusable(origin)))
    }

    fn new(
        built: Built,
        origin: &Path,
        files: Files,
        templates: Vec<Template>,
        extra: Vec<String>,
    ) -> Result<Self> {
        let highest = built
            .inner
            .get_vocab(true)
            .into_iter()
            .max_by_key(|(_, id)| *id);
        if let Some((token, id)) = highest.filter(|(_, id)| *id > MAX_ID) {
            let what =
                format!("the id of `{token}` ({id}) is beyond {MAX_ID}, the highest that is read");
            return Err(Error::file(origin, what, HELP));
        }
        let named = built.named.into_iter().map(|named| NamedToken {
            name: named.name,
            text: named.token.content,
            said_by: named.said_by,
        });
        let ends = Ends::of(&built.inner).map_err(|what| {
            let help = "correct it as in the model that the tokenizer belongs to";
            Error::file(origin, format!("its post_processor {what}"), help)
        })?;
        Ok(Tokenizer {
            specials: Specials::of(&built.inner),
            byte_level: ByteLevel::of(&built.inner),
            inner: built.inner,
            class: built.class,
            origin: origin.to_owned(),
            files,
            templates,
            named: named.collect(),
            extra,
            ends,
            notes: built.notes,
        })
    }

    fn set_inner(&mut self, inner: tokenizers::Tokenizer) {
        self.specials = Specials::of(&inner);
        self.byte_level = ByteLevel::of(&inner);
        self.inner = inner;
    }

    /// The directory or file from which the tokenizer was read.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// The text that a token appends to a decoded text. If the token decodes to no text or to a part of a
    /// character, returns the vocabulary's spelling of the token.
    pub fn token_text(&self, id: u32) -> String {
        let spelled = || self.inner.id_to_token(id).unwrap_or_default();
        match caught(|| self.inner.decode(&[id], false)) {
            Ok(text) if !text.is_empty() && !text.contains(char::REPLACEMENT_CHARACTER) => text,
            _ => spelled(),
        }
    }

    /// Sentences to print, one per note: settings in the files that neither transformers nor this tokenizer
    /// applies, and tokens that [`Tokenizer::fit`] removed.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// All token ids of `text`. Nothing is added, truncated or padded, whatever `tokenizer.json` asks for. A
    /// special token spelled out in `text` becomes its id, as in transformers.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the tokenizer's model fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_as(text, false)
    }

    /// [`Tokenizer::encode`] between [`Tokenizer::begin`] and [`Tokenizer::end`]: transformers'
    /// `tokenizer(text).input_ids`.
    ///
    /// # Errors
    ///
    /// As for [`Tokenizer::encode`].
    pub fn encode_with_special_tokens(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_as(text, true)
    }

    fn encode_as(&self, text: &str, special_tokens: bool) -> Result<Vec<u32>> {
        let encode = || self.encode_unguarded(text, special_tokens);
        guarded(encode).unwrap_or_else(|| Err(self.broken("encode", &FAILED.into())))
    }

    fn encode_unguarded(&self, text: &str, special_tokens: bool) -> Result<Vec<u32>> {
        if let Some(byte_level) = &self.byte_level
            && !special_tokens
            && !self.specials.occur(text)
        {
            let ids = byte_level.encode(text, self.inner.get_model());
            return ids.map_err(|error| self.broken("encode", &error));
        }
        match self.inner.encode_fast(text, special_tokens) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(self.broken("encode", &error)),
        }
    }

    /// The special tokens with a role (`bos_token`, `eos_token`, …), under the names that chat templates use:
    /// transformers' `special_tokens_map`.
    pub fn named_tokens(&self) -> &[NamedToken] {
        &self.named
    }

    /// The special token with the role `name`.
    pub fn named(&self, name: &str) -> Option<&NamedToken> {
        self.named.iter().find(|named| named.name == name)
    }

    /// Special tokens without a role: the key `additional_special_tokens`, renamed `extra_special_tokens` in
    /// transformers 5.
    pub fn additional_special_tokens(&self) -> &[String] {
        &self.extra
    }

    /// The text of `ids`. Special tokens are left out, and so are ids without a token (the padding of a model's
    /// vocabulary). Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        caught(|| self.inner.decode(ids, true)).map_err(|error| self.broken("decode", &error))
    }

    /// A stream that decodes generated ids one at a time.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }

    fn broken(&self, action: &str, error: &tokenizers::Error) -> Error {
        let what = format!("the tokenizer cannot {action}: {error}");
        Error::file(&self.origin, what, HELP)
    }
}

/// The highest id of a token: far beyond every vocabulary, and low enough for tables of all ids.
const MAX_ID: u32 = (1 << 24) - 1;

/// What is said where the `tokenizers` crate panics, as it does at some parts that do not fit together.
const FAILED: &str = "its parts do not fit together";

/// Calls the crate; an error where it panics.
fn caught<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    guarded(call).unwrap_or_else(|| Err(FAILED.into()))
}

fn unusable(origin: &Path) -> Error {
    Error::file(origin, format!("not a tokenizer: {FAILED}"), HELP)
}

#[cfg(test)]
pub(crate) mod tests;
