//! Text ↔ token ids, and the tokenizer's files from one model directory to the next.
//!
//! What a folder's files declare is what transformers' `AutoTokenizer` makes of it ([`Tokenizer::load`]).
//! There are four ways to read a text, which differ in what becomes of special tokens:
//!
//! | | spelled out in the text | put around it |
//! | --- | --- | --- |
//! | [`Tokenizer::encode`] | are tokens | no |
//! | [`Tokenizer::encode_plain`] | are text | no |
//! | [`Tokenizer::encode_guarded`] | are tokens where a template wrote them, text where its content has them | no |
//! | [`Tokenizer::encode_with_special_tokens`] | are tokens | yes |

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
use build::Built;
use byte_level::ByteLevel;
use chat::Template;
use class::Class;
use declared::Declarations;
use ends::Ends;
use files::Files;
use guard::Specials;

/// GPT-2's only special token: begins, ends and separates texts.
const END_OF_TEXT: &str = "<|endoftext|>";

const HELP: &str =
    "copy tokenizer.json, or vocab.json and merges.txt, from the model this one began as";

/// A model's tokenizer together with the files it was read from.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    class: Class,
    /// The directory or file it came from, for messages.
    origin: PathBuf,
    files: Files,
    templates: Vec<Template>,
    named: Vec<NamedToken>,
    /// Special tokens without a role.
    extra: Vec<String>,
    specials: Specials,
    /// For texts without an added token in them, if the tokenizer is of this kind.
    byte_level: Option<ByteLevel>,
    ends: Ends,
    notes: Vec<String>,
}

impl Tokenizer {
    /// True if `dir` holds a tokenizer for [`Tokenizer::load`] to read, sound or not.
    pub fn exists(dir: &Path) -> bool {
        [files::TOKENIZER, files::VOCAB, files::MERGES]
            .iter()
            .any(|name| dir.join(name).exists())
    }

    /// Reads the tokenizer of a GPT-2 folder as transformers 5.23 does.
    ///
    /// The class is `tokenizer_class` of `tokenizer_config.json`, else of `config.json`, else
    /// `GPT2Tokenizer`. That one takes vocabulary, merges and post-processor from `tokenizer.json`, or from
    /// `vocab.json` and `merges.txt`, and brings the rest itself; `PreTrainedTokenizerFast` takes
    /// `tokenizer.json` as it is. Special and added tokens are those that `tokenizer_config.json`,
    /// `special_tokens_map.json` and `added_tokens.json` declare; one that the vocabulary lacks gets the next
    /// free id, for which the model may have no row: see [`Tokenizer::fit`]. `add_prefix_space`,
    /// `add_bos_token` and `add_eos_token` count where they do in transformers.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for an unreadable file; [`Error::File`] for a directory without a tokenizer,
    /// with one that makes no sense, or with a key that is not what it should be; [`Error::Data`] for a bad
    /// line of `merges.txt`.
    pub fn load(dir: &Path) -> Result<Self> {
        let files = Files::read(dir)?;
        let declared = Declarations::read(&files)?;
        let templates = chat::templates(&files, &declared)?;
        let built = build::build(&files, &declared)?;
        let extra = declared.extra.into_iter().map(|token| token.content);
        Tokenizer::new(built, dir, files, templates, extra.collect())
    }

    /// From the bytes of a `tokenizer.json`, taken as it is; `origin` is the path that errors name.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if they are not one.
    pub fn from_json(bytes: &[u8], origin: &Path) -> Result<Self> {
        let built = build::alone(bytes, origin)?;
        Tokenizer::new(built, origin, Files::only(bytes), Vec::new(), Vec::new())
    }

    fn new(
        built: Built,
        origin: &Path,
        files: Files,
        templates: Vec<Template>,
        extra: Vec<String>,
    ) -> Result<Self> {
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

    /// The directory or file that it was read from.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// The text that a token adds to what comes before it; the token as the vocabulary spells it where that is
    /// none or half a character.
    pub fn token_text(&self, id: u32) -> String {
        let spelled = || self.inner.id_to_token(id).unwrap_or_default();
        match self.inner.decode(&[id], false) {
            Ok(text) if !text.is_empty() && !text.contains(char::REPLACEMENT_CHARACTER) => text,
            _ => spelled(),
        }
    }

    /// What the files say and this tokenizer does not do, as transformers does not either, and tokens that
    /// [`Tokenizer::fit`] set aside: a sentence each, to be printed.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The ids of `text`, all of them: nothing is added, cut or padded, whatever `tokenizer.json`
    /// asks for. A special token spelled out in `text` becomes its one id, as in transformers.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the tokenizer's model refuses.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_as(text, false)
    }

    /// [`Tokenizer::encode`] with [`Tokenizer::begin`] before and [`Tokenizer::end`] behind it: what
    /// `tokenizer(text).input_ids` is in transformers.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encode_with_special_tokens(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_as(text, true)
    }

    fn encode_as(&self, text: &str, special_tokens: bool) -> Result<Vec<u32>> {
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

    /// The special tokens with a role (`bos_token`, `eos_token`, …), under the names by which chat
    /// templates ask for them: transformers' `special_tokens_map`.
    pub fn named_tokens(&self) -> &[NamedToken] {
        &self.named
    }

    /// The special token in the role `name`.
    pub fn named(&self, name: &str) -> Option<&NamedToken> {
        self.named.iter().find(|named| named.name == name)
    }

    /// Special tokens without a role: `additional_special_tokens`, or `extra_special_tokens` since
    /// transformers 5.
    pub fn additional_special_tokens(&self) -> &[String] {
        &self.extra
    }

    /// The text of `ids`, without special tokens and without ids that have no token (the padding
    /// of a model's vocabulary). Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the tokenizer's decoder refuses.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, true)
            .map_err(|error| self.broken("decode", &error))
    }

    /// Decodes ids one at a time, as they are generated.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }

    fn broken(&self, action: &str, error: &tokenizers::Error) -> Error {
        let what = format!("the tokenizer cannot {action}: {error}");
        Error::file(&self.origin, what, HELP)
    }
}

#[cfg(test)]
pub(crate) mod tests;
