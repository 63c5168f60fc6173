//! GPT-2's way to encode a text, without the copies that the tokenizers crate makes of every word: nearly all
//! words of a data set came before, and their ids with them.
//!
//! The text is split into words as GPT-2's regular expression does
//! (`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`). A word that is new goes to the
//! crate's own model, its bytes spelled as byte-level vocabularies spell them. A test holds the ids to the
//! crate's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;
use regex_syntax::hir::{Class, HirKind};
use tokenizers::{Model, ModelWrapper, PreTokenizerWrapper};

/// Words that a memory holds at most, and how long each may be, in bytes: a few MiB in all.
const REMEMBERED: usize = 1 << 16;
const LONGEST: usize = 64;

/// Words with their ids.
type Memory = HashMap<Box<str>, Box<[u32]>, RandomState>;

/// Encodes as a byte-level tokenizer does that splits as GPT-2's.
pub(super) struct ByteLevel {
    prefix_space: bool,
    letters: Ranges,
    numbers: Ranges,
    /// How each byte is spelled.
    spelling: [char; 256],
    /// One for each thread that encodes at the same time.
    memories: Mutex<Vec<Memory>>,
}

impl ByteLevel {
    /// `None` if the tokenizer does anything else: a normalizer, another split, ids that are drawn.
    pub fn of(inner: &tokenizers::Tokenizer) -> Option<ByteLevel> {
        let (None, Some(PreTokenizerWrapper::ByteLevel(split)), ModelWrapper::BPE(bpe)) = (
            inner.get_normalizer(),
            inner.get_pre_tokenizer(),
            inner.get_model(),
        ) else {
            return None;
        };
        let drawn = bpe.dropout.is_some_and(|dropout| dropout > 0.0);
        if !split.use_regex || drawn {
            return None;
        }
        Some(ByteLevel {
            prefix_space: split.add_prefix_space,
            letters: Ranges::of(r"\p{L}")?,
            numbers: Ranges::of(r"\p{N}")?,
            spelling: spelling(),
            memories: Mutex::default(),
        })
    }

    /// The ids of a text in which no added token is spelled.
    pub fn encode(&self, text: &str, model: &ModelWrapper) -> tokenizers::Result<Vec<u32>> {
        // A thread that panicked left its memory out, and the others whole.
        let memories = || self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = memories().pop().unwrap_or_default();
        let ids = self.encode_with(&mut memory, text, model);
        memories().push(memory);
        ids
    }

    fn encode_with(
        &self,
        memory: &mut Memory,
        text: &str,
        model: &ModelWrapper,
    ) -> tokenizers::Result<Vec<u32>> {
        let spaced;
        let mut rest = text;
        if self.prefix_space && !text.is_empty() && !text.starts_with(' ') {
            spaced = format!(" {text}");
            rest = &spaced;
        }
        let mut ids = Vec::with_capacity(text.len() / 4);
        while !rest.is_empty() {
            let (word, behind) = rest.split_at(self.word_length(rest));
            rest = behind;
            if let Some(known) = memory.get(word) {
                ids.extend_from_slice(known);
                continue;
            }
            let bytes = word.bytes();
            let spelled: String = bytes.map(|byte| self.spelling[usize::from(byte)]).collect();
            let start = ids.len();
            ids.extend(model.tokenize(&spelled)?.into_iter().map(|token| token.id));
            if word.len() <= LONGEST && memory.len() < REMEMBERED {
                memory.insert(word.into(), ids[start..].into());
            }
        }
        Ok(ids)
    }

    /// Bytes of the word with which `text`, which is not empty, begins.
    fn word_length(&self, text: &str) -> usize {
        if let [b'\'', behind @ ..] = text.as_bytes() {
            match behind {
                [b's' | b't' | b'm' | b'd', ..] => return 2,
                [b'r' | b'v', b'e', ..] | [b'l', b'l', ..] => return 3,
                _ => {}
            }
        }
        let from = usize::from(text.starts_with(' '));
        let mut characters = text[from..].char_indices();
        let first = characters.next().map(|(_, c)| self.kind(c));
        if let Some(first @ (Kind::Letter | Kind::Number | Kind::Other)) = first {
            let end = characters.find(|&(_, c)| self.kind(c) != first);
            return end.map_or(text.len(), |(at, _)| from + at);
        }
        // White space, whose last character is left to what follows, unless it is the only one.
        let behind = text.trim_start();
        let length = text.len() - behind.len();
        let last = text[..length].chars().next_back().map_or(0, char::len_utf8);
        match behind.is_empty() || last == length {
            true => length,
            false => length - last,
        }
    }

    fn kind(&self, c: char) -> Kind {
        match c {
            'a'..='z' | 'A'..='Z' => Kind::Letter,
            '0'..='9' => Kind::Number,
            c if c.is_whitespace() => Kind::Space,
            c if c.is_ascii() => Kind::Other,
            c if self.letters.has(c) => Kind::Letter,
            c if self.numbers.has(c) => Kind::Number,
            _ => Kind::Other,
        }
    }
}

/// What the regular expression tells apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Number,
    Space,
    Other,
}

/// The characters of a class, by the tables that the crate's regular expressions have, ascending.
struct Ranges(Vec<(char, char)>);

impl Ranges {
    fn of(pattern: &str) -> Option<Ranges> {
        match regex_syntax::parse(pattern).ok()?.into_kind() {
            HirKind::Class(Class::Unicode(class)) => {
                let ranges = class.ranges().iter().map(|r| (r.start(), r.end()));
                Some(Ranges(ranges.collect()))
            }
            _ => None,
        }
    }

    fn has(&self, c: char) -> bool {
        let at = self.0.partition_point(|&(_, end)| end < c);
        self.0.get(at).is_some_and(|&(start, _)| start <= c)
    }
}

/// How byte-level vocabularies spell each byte: itself where it can be printed, else a character from U+0100 on.
fn spelling() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let byte = byte as u32;
        let printed = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printed { byte } else { next };
        next += u32::from(!printed);
        char::from_u32(code).unwrap_or_default() // there is one for each of these numbers
    })
}
