//! What a user can choose about how records become examples.

use super::record::Columns;
use crate::config::choices;
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
    /// Of the prompt. A begin token that the tokenizer puts before texts counts, and stays.
    pub max_prompt_tokens: usize,
    /// Of each response, which keeps its beginning. The end-of-text token counts, and is left out
    /// where it does not fit.
    pub max_response_tokens: usize,
    /// What a prompt over its budget keeps.
    pub truncation: Truncation,
    /// How prompt and response meet.
    pub boundary: Boundary,
    /// The space that ends the prompt goes to the response's first token.
    pub response_prefix_space: bool,
    /// Special tokens spelled out in a record become their ids; otherwise they are text.
    pub allow_special_tokens: bool,
    /// Which columns of a file have another name than the usual one.
    pub columns: Columns,
    /// Records without a rejected response are read too: for supervised training.
    pub demonstrations: bool,
    /// Leave out records that cannot be used, and count them, instead of stopping at the first.
    pub skip_bad_records: bool,
    /// Look, too, how many pairs the other [`Boundary`] would give other ids.
    pub compare_boundaries: bool,
    /// Which of the usable pairs are taken.
    pub selection: Selection,
}

/// Which of a file's usable pairs are taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Pairs passed over at the beginning.
    pub skip: usize,
    /// Pairs taken at most; `None` = all.
    pub limit: Option<usize>,
    /// Leave out pairs whose scores are equal.
    pub drop_ties: bool,
    /// Leave out pairs whose chosen score is not at least this much above the rejected one's.
    pub min_score_margin: Option<f64>,
    /// Leave out pairs that came before, id by id.
    pub dedupe: bool,
}

impl Options {
    /// A text that somebody typed, for a template: its special tokens marked as text, unless they are tokens.
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

    /// The ids of what a template made of such texts.
    pub(super) fn encode(&self, tokenizer: &Tokenizer, rendered: &str) -> Result<Vec<u32>> {
        match self.allow_special_tokens {
            true => tokenizer.encode(rendered),
            false => tokenizer.encode_guarded(rendered),
        }
    }

    /// # Errors
    /// [`Error::Option`] for a budget that leaves nothing.
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
