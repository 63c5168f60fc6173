//! Reads files of preference pairs into token ids and applies the token budgets.
//!
//! 1. `source` cuts a file, folder or stream (JSON lines, a JSON array, parquet, compressed or not) into
//!    records. It holds one bounded chunk at a time.
//! 2. `record` parses a record of any accepted shape into a conversation and two responses.
//! 3. `template` renders conversation and responses as texts.
//! 4. `encode` tokenizes the texts and cuts the ids to the budgets.
//! 5. `selection` chooses the pairs that are taken, [`mixture`] joins several data sets into one, and `audit`
//!    counts what was found.

mod audit;
mod encode;
mod encoded;
mod example;
mod intake;
mod message;
pub mod mixture;
mod options;
mod order;
mod prompts;
mod record;
mod selection;
mod source;
mod template;

use rayon::prelude::*;

pub use audit::{Audit, Count, Counts, Cut, LengthBias, Named, SpelledOut};
pub use example::Example;
pub use message::{Message, Role};
pub use options::{Boundary, Options, Selection, Truncation};
pub use order::shuffled;
pub use prompts::read_prompts;
pub use record::Columns;
pub use selection::{Reason, Seen};
pub use source::{Place, Source};
pub use template::{DEFAULT_TEMPLATE, Template};

use encode::Encoder;
use intake::Intake;

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::tokenizer::{EndOfText, Tokenizer};

/// What turns the texts of records into a model's ids.
pub struct Codec<'a> {
    /// `None`: only records of token ids can be read.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The tokens that end a response.
    pub end: &'a EndOfText,
    /// The template that renders conversations.
    pub template: &'a Template,
    /// The size of the vocabulary: every id is below it.
    pub vocab_size: usize,
    /// The number of positions that the model has.
    pub n_positions: usize,
}

/// The usable pairs of a data set, in its order.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// The name that the user gave; messages show it.
    pub name: String,
    /// The pairs; [`read`] never returns an empty list.
    pub examples: Vec<Example>,
    /// What the reader found in the files.
    pub audit: Audit,
}

/// Reads all records of a source.
///
/// # Errors
///
/// [`Error::Io`] if a file cannot be read; [`Error::Data`] with the place of a broken file, or of the first
/// record that cannot be used, unless such records are skipped; [`Error::File`] if no pair is left or the
/// tokenizer fails; [`Error::Option`] for options that leave no token, or that apply to no record.
pub fn read(source: Source, codec: &Codec, options: &Options) -> Result<Dataset> {
    read_next(source, codec, options, &mut Seen::default())
}

/// [`read`] for one of several data sets; `seen` holds the pairs of the earlier ones.
///
/// # Errors
///
/// The errors of [`read`].
pub fn read_next(
    mut source: Source,
    codec: &Codec,
    options: &Options,
    seen: &mut Seen,
) -> Result<Dataset> {
    options.check()?;
    let encoder = Encoder::new(codec, options);
    let mut intake = Intake::new(&encoder, source.name(), seen);
    while !intake.is_full()
        && let Some(chunk) = source.next_chunk()?
    {
        let looked: Vec<_> = chunk.into_par_iter().map(|raw| encoder.read(raw)).collect();
        for looked in looked {
            // The run ignores records behind the last pair that it takes, and their errors.
            if intake.is_full() {
                break;
            }
            intake.take(looked)?;
        }
    }
    intake.finish(source.files())
}

impl Dataset {
    /// A data set that a program made; its audit is empty.
    pub fn of(name: impl Into<String>, examples: Vec<Example>) -> Dataset {
        Dataset {
            name: name.into(),
            examples,
            audit: Audit::default(),
        }
    }
}

#[cfg(test)]
mod tests;
