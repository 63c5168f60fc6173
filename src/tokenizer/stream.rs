//! Decodes ids that arrive one at a time.

use super::Tokenizer;
use crate::error::Result;

/// Returns text as soon as it is complete: see [`Tokenizer::stream`].
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Bytes of the decoded text that were returned already.
    given: usize,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> TextStream<'a> {
        TextStream {
            tokenizer,
            ids: Vec::new(),
            given: 0,
        }
    }

    /// Takes the next id. Returns the text that it completes, if any: a character spread over several tokens is
    /// returned with its last token.
    ///
    /// # Errors
    ///
    /// As for [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        // Each call decodes all ids again. This is quadratic, and unnoticeable at GPT-2's lengths.
        let text = self.tokenizer.decode(&self.ids)?;
        // A character that lacks its last bytes decodes to U+FFFD.
        Ok(self.advance(text.trim_end_matches(char::REPLACEMENT_CHARACTER)))
    }

    /// The rest of the text at the end: U+FFFD for a character that was never completed.
    ///
    /// # Errors
    ///
    /// As for [`Tokenizer::decode`].
    pub fn flush(&mut self) -> Result<Option<String>> {
        let text = self.tokenizer.decode(&self.ids)?;
        Ok(self.advance(&text))
    }

    fn advance(&mut self, text: &str) -> Option<String> {
        let new = text.get(self.given..).filter(|new| !new.is_empty())?;
        self.given = text.len();
        Some(new.to_owned())
    }
}
