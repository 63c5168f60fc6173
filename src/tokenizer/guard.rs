//! Special tokens that somebody typed, told apart from those that a template wrote.
//!
//! [`Tokenizer::guard`] puts a mark before each place in a piece of content at which a special token begins.
//! A template may then put the content wherever it likes, trim or split it. [`Tokenizer::encode_guarded`]
//! takes the marks out again, and only then looks for special tokens: one that begins where a mark stood
//! stays text. So the splitting into words sees the text as if there had never been a mark.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use tokenizers::normalizer::Range;
use tokenizers::utils::SysRegex;
use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, OffsetType, PreTokenizedString, PreTokenizer,
    Token,
};

use super::Tokenizer;
use crate::error::Result;

/// Stands before a special token that is to be read as text. Unicode keeps this character, and those below,
/// out of all exchanged text: content may hold them nevertheless.
const GUARD: char = '\u{FDD0}';
/// Stands behind it. A template may take the token out, and write one of its own there: a guard without its end
/// guards nothing.
const END: char = '\u{FDD4}';
/// Begins the code for a character of the content that is itself one of these three.
const ESCAPE: char = '\u{FDD1}';
/// The characters that are escaped, with what stands behind [`ESCAPE`] for them.
const ESCAPED: [(char, char); 3] = [(GUARD, '\u{FDD2}'), (ESCAPE, '\u{FDD3}'), (END, '\u{FDD5}')];

/// What a text that was guarded may hold.
const MARKS: [char; 3] = [GUARD, END, ESCAPE];

/// Content with its special tokens marked: see [`Tokenizer::guard`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded<'a> {
    /// The content, to be put into a template.
    pub text: Cow<'a, str>,
    /// How many special tokens the content spells.
    pub tokens: usize,
}

impl Tokenizer {
    /// Marks each special token that `content` spells, so that [`Tokenizer::encode_guarded`] reads it as
    /// the text that it is. To be given what a user or a data set wrote, before a template is filled with it.
    ///
    /// Added tokens that are not special are left: transformers takes them for text anyway.
    pub fn guard<'a>(&self, content: &'a str) -> Guarded<'a> {
        let starts: BTreeSet<usize> = self.specials.starts(content).into_iter().collect();
        if starts.is_empty() && !content.contains(MARKS) {
            return Guarded {
                text: Cow::Borrowed(content),
                tokens: 0,
            };
        }
        let ends: BTreeSet<usize> = starts
            .iter()
            .flat_map(|&start| self.specials.ends(content, start))
            .collect();
        let mut text = String::with_capacity(content.len() + 8 * starts.len());
        for (at, character) in content.char_indices() {
            if ends.contains(&at) {
                text.push(END);
            }
            if starts.contains(&at) {
                text.push(GUARD);
            }
            match ESCAPED.iter().find(|(escaped, _)| *escaped == character) {
                Some((_, code)) => text.extend([ESCAPE, *code]),
                None => text.push(character),
            }
        }
        if ends.contains(&content.len()) {
            text.push(END);
        }
        Guarded {
            text: Cow::Owned(text),
            tokens: self.count_special(content),
        }
    }

    /// The ids of a text that a template rendered from guarded content: special tokens that the template
    /// wrote become their ids, those in the content are text, exactly as transformers has that content with
    /// `split_special_tokens=True`. Nothing is added. Without a mark in it, this is [`Tokenizer::encode`].
    ///
    /// # Errors
    ///
    /// [`crate::Error::File`] if the tokenizer's model refuses.
    pub fn encode_guarded(&self, rendered: &str) -> Result<Vec<u32>> {
        if !rendered.contains(MARKS) {
            return self.encode(rendered);
        }
        let Unguarded { text, guards, ends } = unguard(rendered);
        let ended = |at| {
            let mut of_tokens = self.specials.ends(&text, at).into_iter().peekable();
            // What only a normalizer makes a token has no length here, and is guarded without an end.
            of_tokens.peek().is_none() || of_tokens.any(|end| ends.contains(&end))
        };
        self.encode_without(&text, |at| guards.contains(&at) && ended(at))
    }

    /// The ids of a text in which no special token is recognized: transformers'
    /// `split_special_tokens=True`. Nothing is added.
    ///
    /// # Errors
    ///
    /// As for [`Tokenizer::encode_guarded`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        if self.specials.starts(text).is_empty() {
            return self.encode(text);
        }
        self.encode_without(text, |_| true)
    }

    /// How many special tokens [`Tokenizer::encode`] would find in `text`.
    pub fn count_special(&self, text: &str) -> usize {
        let tokens = self.cut(text, |_| false).map(|pieces| {
            let splits =
                pieces.get_splits(tokenizers::OffsetReferential::Original, OffsetType::Byte);
            let tokens = splits
                .into_iter()
                .filter_map(|(_, _, tokens)| tokens.as_ref());
            tokens
                .flatten()
                .filter(|token| self.specials.is_special(token.id))
                .count()
        });
        tokens.unwrap_or(0)
    }

    /// [`Tokenizer::encode`], but a special token at a byte for which `is_text` holds is text.
    pub(super) fn encode_without(
        &self,
        text: &str,
        is_text: impl Fn(usize) -> bool,
    ) -> Result<Vec<u32>> {
        let ids = || {
            let mut pieces = self.cut(text, is_text)?;
            if let Some(words) = self.inner.get_pre_tokenizer() {
                words.pre_tokenize(&mut pieces)?;
            }
            let model = self.inner.get_model();
            model.tokenize_in_pretokenized(&mut pieces, None)?;
            let encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
            tokenizers::Result::Ok(encoding.get_ids().to_vec())
        };
        ids().map_err(|error| self.broken("encode", &error))
    }

    /// Cuts added tokens out of `text`, as the tokenizers crate does, but for special ones at a byte for
    /// which `is_text` holds.
    fn cut(
        &self,
        text: &str,
        is_text: impl Fn(usize) -> bool,
    ) -> tokenizers::Result<PreTokenizedString> {
        let never = self.inner.get_encode_special_tokens();
        let is_text = |at| never || is_text(at);
        let mut pieces = PreTokenizedString::from(text);
        pieces.split(|_, piece| Ok(self.specials.raw.cut(piece, &is_text)))?;
        pieces.split(|_, mut piece| {
            if let Some(normalizer) = self.inner.get_normalizer() {
                normalizer.normalize(&mut piece)?;
            }
            Ok(self.specials.normalized.cut(piece, &is_text))
        })?;
        Ok(pieces)
    }
}

/// A text rendered from guarded content, without the marks: what it would be without [`Tokenizer::guard`].
pub fn unguarded(rendered: &str) -> String {
    unguard(rendered).text
}

/// A rendered text without its marks.
struct Unguarded {
    text: String,
    /// The bytes of `text` before which a guard stood.
    guards: HashSet<usize>,
    /// Those before which the end of one stood.
    ends: HashSet<usize>,
}

fn unguard(rendered: &str) -> Unguarded {
    let mut text = String::with_capacity(rendered.len());
    let (mut guards, mut ends) = (HashSet::new(), HashSet::new());
    let mut characters = rendered.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            GUARD => {
                guards.insert(text.len());
            }
            END => {
                ends.insert(text.len());
            }
            ESCAPE => {
                let behind = characters.peek();
                let escaped = ESCAPED.iter().find(|(_, code)| behind == Some(code));
                if escaped.is_some() {
                    characters.next();
                }
                text.push(escaped.map_or(ESCAPE, |(character, _)| *character));
            }
            other => text.push(other),
        }
    }
    Unguarded { text, guards, ends }
}

/// The added tokens of a tokenizer, to be looked for in text.
pub(super) struct Specials {
    /// Those that are looked for in the text as it is.
    raw: Patterns,
    /// Those that are looked for in what the normalizer made of it.
    normalized: Patterns,
    normalizer: Option<tokenizers::NormalizerWrapper>,
}

impl Specials {
    pub(super) fn of(inner: &tokenizers::Tokenizer) -> Specials {
        let added = inner.get_added_vocabulary();
        let mut specials = Specials {
            raw: Patterns::default(),
            normalized: Patterns::default(),
            normalizer: inner.get_normalizer().cloned(),
        };
        for (&id, token) in added.get_added_tokens_decoder() {
            let pattern = Pattern {
                text: match (&specials.normalizer, token.normalized) {
                    (Some(normalizer), true) => normalize(normalizer, &token.content),
                    _ => token.content.clone(),
                },
                id,
                special: added.is_special_token(&token.content),
                token: token.clone(),
            };
            match token.normalized {
                true => specials.normalized.push(pattern),
                false => specials.raw.push(pattern),
            }
        }
        specials.raw.longest_first();
        specials.normalized.longest_first();
        specials
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        let mut all = self.raw.all.iter().chain(&self.normalized.all);
        all.any(|pattern| pattern.id == id && pattern.special)
    }

    /// Whether any added token, special or not, is spelled in `text`; where there is a normalizer, only those
    /// that are looked for without it are seen.
    pub(super) fn occur(&self, text: &str) -> bool {
        let occur = |patterns: &Patterns| {
            let any = |at| patterns.at(text, at).next().is_some();
            !patterns.all.is_empty() && (0..text.len()).any(any)
        };
        occur(&self.raw) || occur(&self.normalized)
    }

    /// The bytes of `text` at which the special tokens end that begin at byte `at`, as they are spelled there.
    fn ends(&self, text: &str, at: usize) -> Vec<usize> {
        let patterns = [&self.raw, &self.normalized];
        let here = patterns
            .into_iter()
            .flat_map(|patterns| patterns.at(text, at));
        here.filter(|pattern| pattern.special)
            .map(|pattern| at + pattern.text.len())
            .collect()
    }

    /// The bytes of `text` at which a special token begins, in no order.
    fn starts(&self, text: &str) -> Vec<usize> {
        let mut starts = self.raw.starts(text);
        match &self.normalizer {
            Some(normalizer) if !self.normalized.all.is_empty() => {
                let mut normalized = NormalizedString::from(text);
                // What cannot be normalized is encoded as it is.
                let _ = normalizer.normalize(&mut normalized);
                let found = self.normalized.starts(normalized.get());
                starts.extend(found.into_iter().map(|at| original(&normalized, at)));
            }
            _ => starts.extend(self.normalized.starts(text)),
        }
        starts
    }
}

fn normalize(normalizer: &tokenizers::NormalizerWrapper, text: &str) -> String {
    let mut normalized = NormalizedString::from(text);
    match normalizer.normalize(&mut normalized) {
        Ok(()) => normalized.get().to_owned(),
        Err(_) => text.to_owned(),
    }
}

/// The byte of the whole original text from which byte `at` of a normalized piece comes.
fn original(piece: &NormalizedString, at: usize) -> usize {
    let (shift, _) = piece.offsets_original();
    let range = piece.convert_offsets(Range::Normalized(at..at + 1));
    shift + range.map_or(at, |range| range.start)
}

struct Pattern {
    text: String,
    id: u32,
    token: AddedToken,
    special: bool,
}

/// Tokens by their first byte.
#[derive(Default)]
struct Patterns {
    all: Vec<Pattern>,
    /// For each first byte, indices into `all`, the longest token first. Empty without any token.
    by_first: Vec<Vec<usize>>,
}

impl Patterns {
    fn push(&mut self, pattern: Pattern) {
        let Some(&first) = pattern.text.as_bytes().first() else {
            return;
        };
        self.by_first.resize_with(1 << u8::BITS, Vec::new);
        self.by_first[usize::from(first)].push(self.all.len());
        self.all.push(pattern);
    }

    fn longest_first(&mut self) {
        for indices in &mut self.by_first {
            indices.sort_by_key(|&at| std::cmp::Reverse(self.all[at].text.len()));
        }
    }

    /// The tokens at byte `at` of `text`, the longest first.
    fn at<'a>(&'a self, text: &'a str, at: usize) -> impl Iterator<Item = &'a Pattern> {
        let rest = &text.as_bytes()[at..];
        let indices = rest
            .first()
            .and_then(|&first| self.by_first.get(usize::from(first)));
        let patterns = indices.into_iter().flatten().map(|&at| &self.all[at]);
        patterns.filter(move |pattern| rest.starts_with(pattern.text.as_bytes()))
    }

    fn starts(&self, text: &str) -> Vec<usize> {
        if self.all.is_empty() {
            return Vec::new();
        }
        let special = |&at: &usize| self.at(text, at).any(|pattern| pattern.special);
        (0..text.len()).filter(special).collect()
    }

    /// Splits a piece of text at its tokens: from left to right, the longest that begins earliest. Whoever
    /// is not taken, because it is guarded or not a single word, covers its characters nevertheless.
    fn cut(
        &self,
        piece: NormalizedString,
        is_text: &impl Fn(usize) -> bool,
    ) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
        if self.all.is_empty() {
            return vec![(piece, None)];
        }
        let text = piece.get();
        let mut cut = Vec::new();
        let slice = |range: std::ops::Range<usize>| piece.slice(Range::Normalized(range));
        let (mut done, mut at) = (0, 0);
        while at < text.len() {
            let Some(pattern) = self.at(text, at).next() else {
                at += 1;
                continue;
            };
            let found = at..at + pattern.text.len();
            at = found.end;
            let kept = pattern.special && is_text(original(&piece, found.start));
            if kept || !pattern.fits(text, &found) {
                continue;
            }
            let taken = pattern.with_spaces(text, found, done);
            if done < taken.start {
                cut.extend(slice(done..taken.start).map(|text| (text, None)));
            }
            let (end, length) = (taken.end, taken.len());
            let token = |token: NormalizedString| {
                let value = token.get().to_owned();
                (
                    token,
                    Some(vec![Token::new(pattern.id, value, (0, length))]),
                )
            };
            cut.extend(slice(taken).map(token));
            done = end;
        }
        if done < text.len() {
            cut.extend(slice(done..text.len()).map(|text| (text, None)));
        }
        cut
    }
}

impl Pattern {
    /// Whether it may stand where it was found: a single word has no letters beside it.
    fn fits(&self, text: &str, found: &std::ops::Range<usize>) -> bool {
        let before = text[..found.start].chars().next_back();
        let behind = text[found.end..].chars().next();
        !self.token.single_word
            || !(before.is_some_and(is_of_a_word) || behind.is_some_and(is_of_a_word))
    }

    /// What it takes of the text: the white space before it, if it strips that, down to `from`, and behind.
    fn with_spaces(
        &self,
        text: &str,
        found: std::ops::Range<usize>,
        from: usize,
    ) -> std::ops::Range<usize> {
        let (mut start, mut end) = (found.start, found.end);
        if self.token.lstrip {
            start = text[..start].trim_end().len().max(from);
        }
        if self.token.rstrip {
            let rest = &text[end..];
            end += rest.len() - rest.trim_start().len();
        }
        start..end
    }
}

/// Whether a character belongs to words for the tokenizers crate, which asks a regular expression.
fn is_of_a_word(character: char) -> bool {
    static WORD: LazyLock<SysRegex> = LazyLock::new(|| {
        SysRegex::new(r"\w").expect("a class of characters is a regular expression")
    });
    let mut bytes = [0; 4];
    WORD.find_iter(character.encode_utf8(&mut bytes))
        .next()
        .is_some()
}
