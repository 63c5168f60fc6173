//! Handles tokens for which a model has no embedding row.

use serde_json::Value;

use super::class::GPT2_CLASS;
use super::{HELP, Tokenizer};
use crate::error::{Error, Result};

/// A token of the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenId {
    /// The vocabulary's spelling of the token.
    pub text: String,
    /// The token's id.
    pub id: u32,
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ({})", self.text, self.id)
    }
}

/// The largest number of tokens that a message names.
const NAMED: usize = 8;

fn list(tokens: &[TokenId]) -> String {
    let names: Vec<_> = tokens.iter().take(NAMED).map(TokenId::to_string).collect();
    match tokens.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

impl Tokenizer {
    /// The highest token id + 1, added tokens included: the smallest number of embedding rows that has a row
    /// for every token.
    pub fn vocab_size(&self) -> usize {
        let highest = self.inner.get_vocab(true).into_values().max();
        highest.map_or(0, |id| id as usize + 1)
    }

    /// The tokens with ids from `rows` on, sorted by id. A model with `rows` embedding rows has no row for
    /// them.
    pub fn tokens_from(&self, rows: usize) -> Vec<TokenId> {
        let vocab = self.inner.get_vocab(true).into_iter();
        let tokens = vocab.map(|(text, id)| TokenId { text, id });
        let mut tokens: Vec<_> = tokens.filter(|token| token.id as usize >= rows).collect();
        tokens.sort_by_key(|token| token.id);
        tokens
    }

    /// Fits the tokenizer to a model with `rows` embedding rows. Files often declare a token without a row:
    /// `add_special_tokens({"pad_token": "[PAD]"})` without `resize_token_embeddings`, or a default of
    /// transformers' class that the vocabulary lacks. This program never pads, so such a token is harmless as
    /// long as no text needs it. `fit` removes the token from the tokenizer, and [`Tokenizer::notes`] names it.
    /// Afterwards every id of every text is below `rows`.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the model needs a token without a row: the token belongs to the vocabulary itself,
    /// the model's chat template writes it, or the tokenizer puts it before or behind every text. The error
    /// names the tokens and possible solutions.
    pub fn fit(&mut self, rows: usize) -> Result<()> {
        let beyond = self.tokens_from(rows);
        if beyond.is_empty() {
            return Ok(());
        }
        let own = self.inner.get_vocab(false);
        let (own, added): (Vec<_>, Vec<_>) = beyond
            .into_iter()
            .partition(|token| own.contains_key(&token.text));
        if !own.is_empty() {
            let what = format!(
                "its vocabulary goes beyond the model's {rows} embedding rows: {} {} none",
                list(&own),
                if own.len() == 1 { "has" } else { "have" }
            );
            let help = "take the tokenizer's files from the folder that the weights come from";
            return Err(Error::file(&self.origin, what, help));
        }
        self.refuse_needed(&added, rows)?;
        self.forget(&added)?;
        let by_default = |token: &TokenId| {
            let mut roles = self
                .named
                .iter()
                .filter(|named| named.text == token.text)
                .peekable();
            roles.peek().is_some() && roles.all(|named| named.said_by == GPT2_CLASS)
        };
        let (default, declared): (Vec<_>, Vec<_>) = added.into_iter().partition(by_default);
        for token in default {
            self.notes.push(format!(
                "transformers' {GPT2_CLASS} adds {token} to every vocabulary without it; the model has {rows} \
                 embedding rows, none for that, and it is read as text"
            ));
        }
        if !declared.is_empty() {
            self.notes.push(format!(
                "{} {} no embedding row, the model has {rows}: read as text where it is spelled out. To train with \
                 it, resize the model first (resize_token_embeddings in transformers); else take it out of the \
                 tokenizer's files",
                list(&declared),
                if declared.len() == 1 { "has" } else { "have" }
            ));
        }
        Ok(())
    }

    /// Refuses tokens that the model needs but has no row for.
    fn refuse_needed(&self, beyond: &[TokenId], rows: usize) -> Result<()> {
        let written = |token: &&TokenId| {
            let roles = self.named.iter().filter(|named| named.text == token.text);
            let mut names = roles
                .map(|named| named.name.as_str())
                .chain([token.text.as_str()]);
            names.any(|name| self.templates_mention(name))
        };
        let around =
            |token: &&TokenId| self.begin().contains(&token.id) || self.end().contains(&token.id);
        let written: Vec<_> = beyond.iter().filter(written).cloned().collect();
        let around: Vec<_> = beyond.iter().filter(around).cloned().collect();
        for (why, needed) in [
            ("its chat template writes", written),
            ("every text gets", around),
        ] {
            if !needed.is_empty() {
                return Err(Error::file(
                    &self.origin,
                    format!(
                        "{why} {}, and the model has {rows} embedding rows",
                        list(&needed)
                    ),
                    "give the model rows for its tokens (resize_token_embeddings in transformers, then save \
                     model and tokenizer), or take the token out of the tokenizer's files",
                ));
            }
        }
        Ok(())
    }

    /// Removes added tokens from the tokenizer. The tokenizers crate has no method for that, so this edits the
    /// serialized tokenizer and parses it again.
    fn forget(&mut self, tokens: &[TokenId]) -> Result<()> {
        let broken = |error: String| {
            let what = format!("its tokens without an embedding row cannot be set aside: {error}");
            Error::file(&self.origin, what, HELP)
        };
        let json = serde_json::to_value(&self.inner);
        let mut json = json.map_err(|error| broken(error.to_string()))?;
        if let Some(added) = json.get_mut("added_tokens").and_then(Value::as_array_mut) {
            let kept = |token: &Value| {
                let content = token.get("content").and_then(Value::as_str);
                !tokens.iter().any(|token| content == Some(&token.text))
            };
            added.retain(kept);
        }
        let inner = serde_json::from_value(json);
        let mut inner: tokenizers::Tokenizer = inner.map_err(|error| broken(error.to_string()))?;
        inner.set_encode_special_tokens(self.inner.get_encode_special_tokens());
        self.set_inner(inner);
        Ok(())
    }
}
