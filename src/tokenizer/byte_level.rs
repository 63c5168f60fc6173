//! Encodes a text as GPT-2's tokenizer does, without the tokenizers crate's copies of every word. Nearly all
//! words of a data set repeat, so a cache holds the ids of known words.
//!
//! The text is split into words as GPT-2's regular expression splits it
//! (`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`). The crate's own model encodes
//! each new word, its bytes spelled as in byte-level vocabularies. A test compares the ids with the crate's ids.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;
use regex_syntax::hir::{Class, HirKind};
use tokenizers::{Model, ModelWrapper, PreTokenizerWrapper};

/// Limits of a word cache: its number of words, and the length of a word in bytes. A full cache takes a few
/// MiB.
const REMEMBERED: usize = 1 << 16;
const LONGEST: usize = 64;

/// The ids of known words.
type Memory = HashMap<Box<str>, Box<[u32]>, RandomState>;

/// An encoder for byte-level BPE tokenizers with GPT-2's pre-tokenizer.
pub(super) struct ByteLevel {
    prefix_space: bool,
    letters: Ranges,
    numbers: Ranges,
    /// The spelling of each byte in the vocabulary.
    spelling: [char; 256],
    /// One cache for each thread that encodes at the same time.
    memories: Mutex<Vec<Memory>>,
}

impl ByteLevel {
    /// `None` for every other tokenizer: one with a normalizer, another pre-tokenizer, or BPE dropout.
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

    /// The ids of a text that spells no added token.
    pub fn encode(&self, text: &str, model: &ModelWrapper) -> tokenizers::Result<Vec<u32>> {
        // A poisoned lock is harmless: a thread that panicked had taken its cache out, and left the others
        // whole.
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

    /// The length in bytes of the first word of `text`. `text` is not empty.
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
        // A run of white space leaves its last character to the next word, unless that is its only character or
        // no word follows.
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

/// The kinds of characters that the regular expression distinguishes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Number,
    Space,
    Other,
}

/// The characters of a class as ascending ranges, from the tables of regex-syntax.
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

/// Spells each byte as byte-level vocabularies do: a printable byte as itself, any other as a character from
/// U+0100 on.
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
