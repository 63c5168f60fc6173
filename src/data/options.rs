//! The user's options for turning records into examples.

use super::record::Columns;
use crate::choice::choices;
use crate::error::{Error, Result};
use crate::tokenizer::{Guarded, Tokenizer};

choices! {
    /// Where a prompt ends and its response begins, in ids.
    pub enum Boundary {
        /// prompt and response are tokenized apart, as the model card's training did
        Apart = "apart",
        /// they are tokenized as one text and cut where it parts from the prompt alone, as TRL does
        Joined = "joined",
    }
}

choices! {
    /// Which end of a prompt stays that is over its budget.
    pub enum Truncation {
        /// a prompt over its budget keeps its beginning
        KeepStart = "keep-start",
        /// a prompt over its budget keeps its end
        KeepEnd = "keep-end",
    }
}

/// How the records of a file become examples.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The budget of a prompt. A begin token that the tokenizer puts before texts counts, and always stays.
    pub max_prompt_tokens: usize,
    /// The budget of each response; the beginning of a response stays. The end-of-text token counts, and is
    /// left out if it does not fit.
    pub max_response_tokens: usize,
    /// Which end of a prompt longer than its budget stays.
    pub truncation: Truncation,
    /// How the ids of prompt and response meet.
    pub boundary: Boundary,
    /// The space at the end of the prompt becomes part of the response's first token.
    pub response_prefix_space: bool,
    /// Special tokens spelled out in a record become their ids; otherwise they are read as text.
    pub allow_special_tokens: bool,
    /// The columns that have other names than the usual ones.
    pub columns: Columns,
    /// Also read records without a rejected response, for supervised training.
    pub demonstrations: bool,
    /// Leave out records that cannot be used, and count them, instead of stopping at the first.
    pub skip_bad_records: bool,
    /// Also count the pairs whose ids differ under the other [`Boundary`].
    pub compare_boundaries: bool,
    /// Which of the usable pairs are taken.
    pub selection: Selection,
}

/// Which of a file's usable pairs are taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// The number of pairs to pass over at the beginning.
    pub skip: usize,
    /// The most pairs to take; `None` takes all.
    pub limit: Option<usize>,
    /// Leave out pairs whose scores are equal.
    pub drop_ties: bool,
    /// Leave out pairs whose chosen score exceeds the rejected score by less than this.
    pub min_score_margin: Option<f64>,
    /// Leave out pairs that repeat an earlier pair, id by id.
    pub dedupe: bool,
}

impl Options {
    /// Prepares a user's text for a template: marks its special tokens as text, unless they are to become ids.
    pub(super) fn typed<'t>(&self, tokenizer: &Tokenizer, text: &'t str) -> Guarded<'t> {
        let guarded = tokenizer.guard(text);
        match self.allow_special_tokens {
            true => Guarded {
                text: text.into(),
                ..guarded
            },
            false => guarded,
        }
    }

    /// Tokenizes `rendered`, which a template made of texts from [`Options::typed`].
    pub(super) fn encode(&self, tokenizer: &Tokenizer, rendered: &str) -> Result<Vec<u32>> {
        match self.allow_special_tokens {
            true => tokenizer.encode(rendered),
            false => tokenizer.encode_guarded(rendered),
        }
    }

    /// # Errors
    /// [`Error::Option`] for a budget of 0.
    pub(super) fn check(&self) -> Result<()> {
        for (option, budget) in [
            ("max_prompt_tokens", self.max_prompt_tokens),
            ("max_response_tokens", self.max_response_tokens),
        ] {
            if budget == 0 {
                return Err(Error::option(option, "is 0", "give at least 1"));
            }
        }
        Ok(())
    }
}
