//! Tells special tokens in the content apart from special tokens that a template writes.
//!
//! [`Tokenizer::guard`] marks each place of a content at which a special token begins. A template may then
//! move, trim or split the content. [`Tokenizer::encode_guarded`] first removes the marks from the rendered
//! text and then looks for special tokens: a token stays text if it begins where a mark stood. The
//! pre-tokenizer therefore sees the text without any marks.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use tokenizers::normalizer::Range;
use tokenizers::utils::SysRegex;
use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, OffsetType, PreTokenizedString, PreTokenizer,
    Token,
};

use super::{Tokenizer, caught};
use crate::error::Result;

/// A guard. It stands before a special token that is to be read as text. Unicode reserves this character and
/// those below as noncharacters, which are not for interchange; content may hold them nevertheless.
const GUARD: char = '\u{FDD0}';
/// Ends a guard. It stands behind the guarded token. A template may remove the token and write its own in that
/// place, so a guard without its end protects nothing.
const END: char = '\u{FDD4}';
/// Begins the code for one of these three characters in the content.
const ESCAPE: char = '\u{FDD1}';
/// The three escaped characters, each with the code that follows [`ESCAPE`].
const ESCAPED: [(char, char); 3] = [(GUARD, '\u{FDD2}'), (ESCAPE, '\u{FDD3}'), (END, '\u{FDD5}')];

/// The characters that [`Tokenizer::guard`] inserts.
const MARKS: [char; 3] = [GUARD, END, ESCAPE];

/// Content with its special tokens marked: see [`Tokenizer::guard`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded<'a> {
    /// The content with its marks, ready for a template.
    pub text: Cow<'a, str>,
    /// The number of special tokens that the content spells.
    pub tokens: usize,
}

impl Tokenizer {
    /// Marks each special token that `content` spells, so that [`Tokenizer::encode_guarded`] reads it as text.
    /// Call this on all text from a user or a data set before a template is filled with it.
    ///
    /// Added tokens that are not special get no mark: transformers recognizes them in every text, even with
    /// `split_special_tokens=True`.
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

    /// The ids of a text that a template rendered from guarded content. Special tokens of the template become
    /// their ids. Special tokens of the content stay text, exactly as transformers encodes that content with
    /// `split_special_tokens=True`. Nothing is added. For a text without marks, this is [`Tokenizer::encode`].
    ///
    /// # Errors
    ///
    /// [`crate::Error::File`] if the tokenizer's model fails.
    pub fn encode_guarded(&self, rendered: &str) -> Result<Vec<u32>> {
        if !rendered.contains(MARKS) {
            return self.encode(rendered);
        }
        let Unguarded { text, guards, ends } = unguard(rendered);
        let ended = |at| {
            let mut of_tokens = self.specials.ends(&text, at).into_iter().peekable();
            // A text that only the normalizer turns into a token has no known end here. Its guard needs no end.
            of_tokens.peek().is_none() || of_tokens.any(|end| ends.contains(&end))
        };
        self.encode_without(&text, |at| guards.contains(&at) && ended(at))
    }

    /// The ids of a text in which no special token is recognized, as with transformers'
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

    /// The number of special tokens that [`Tokenizer::encode`] finds in `text`.
    pub fn count_special(&self, text: &str) -> usize {
        let tokens = caught(|| self.cut(text, |_| false)).map(|pieces| {
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

    /// [`Tokenizer::encode`], except that a special token stays text if `is_text` holds for its first byte.
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
        caught(ids).map_err(|error| self.broken("encode", &error))
    }

    /// Splits `text` at its added tokens, as the tokenizers crate does. A special token stays text if `is_text`
    /// holds for its first byte.
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

/// Removes the marks from a text that was rendered from guarded content: the rendered text as if
/// [`Tokenizer::guard`] had never been called.
pub fn unguarded(rendered: &str) -> String {
    unguard(rendered).text
}

/// A rendered text without its marks.
struct Unguarded {
    text: String,
    /// The byte offsets in `text` at which a guard stood.
    guards: HashSet<usize>,
    /// The byte offsets in `text` at which the end of a guard stood.
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

/// The added tokens of a tokenizer, indexed for searching a text.
pub(super) struct Specials {
    /// Tokens to find in the original text.
    raw: Patterns,
    /// Tokens to find in the normalized text.
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

    /// True if `text` spells any added token, special or not. If the tokenizer has a normalizer, this finds no
    /// token that only the normalized text spells.
    pub(super) fn occur(&self, text: &str) -> bool {
        let occur = |patterns: &Patterns| {
            let any = |at| patterns.at(text, at).next().is_some();
            !patterns.all.is_empty() && (0..text.len()).any(any)
        };
        occur(&self.raw) || occur(&self.normalized)
    }

    /// The byte offsets in `text` at which special tokens end, for all special tokens that begin at byte `at`
    /// of the original text.
    fn ends(&self, text: &str, at: usize) -> Vec<usize> {
        let patterns = [&self.raw, &self.normalized];
        let here = patterns
            .into_iter()
            .flat_map(|patterns| patterns.at(text, at));
        here.filter(|pattern| pattern.special)
            .map(|pattern| at + pattern.text.len())
            .collect()
    }

    /// The byte offsets in `text` at which a special token begins, in no particular order.
    fn starts(&self, text: &str) -> Vec<usize> {
        let mut starts = self.raw.starts(text);
        match &self.normalizer {
            Some(normalizer) if !self.normalized.all.is_empty() => {
                let mut normalized = NormalizedString::from(text);
                // A text that cannot be normalized is encoded as it is.
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

/// Maps byte `at` of a normalized piece to its byte in the whole original text.
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

/// Added tokens, indexed by their first byte.
#[derive(Default)]
struct Patterns {
    all: Vec<Pattern>,
    /// For each first byte, the indices into `all`, the longest token first. Empty if there are no tokens.
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

    /// Splits a piece of text at its tokens, from left to right: the earliest token wins, and of those at the
    /// same byte the longest. A token that is guarded or not a single word stays text, and no other token may
    /// begin within its characters.
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
    /// True if the token may stand at `found`: a `single_word` token must have no word character beside it.
    fn fits(&self, text: &str, found: &std::ops::Range<usize>) -> bool {
        let before = text[..found.start].chars().next_back();
        let behind = text[found.end..].chars().next();
        !self.token.single_word
            || !(before.is_some_and(is_of_a_word) || behind.is_some_and(is_of_a_word))
    }

    /// The range that the token takes from the text. `lstrip` adds the white space before the token, back to
    /// `from` at most; `rstrip` adds the white space behind it.
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

/// True if the tokenizers crate counts the character as part of a word. The crate uses the regular expression
/// `\w`.
fn is_of_a_word(character: char) -> bool {
    static WORD: LazyLock<SysRegex> = LazyLock::new(|| {
        SysRegex::new(r"\w").expect("a class of characters is a regular expression")
    });
    let mut bytes = [0; 4];
    WORD.find_iter(character.encode_utf8(&mut bytes))
        .next()
        .is_some()
}
