//! Files of preference pairs → token ids, under budgets.
//!
//! 1. `source`: a file, folder or stream (JSON lines, a JSON array, parquet, compressed or not) is cut into
//!    records, a bounded chunk at a time.
//! 2. `record`: a record says a conversation and two answers, in any of the accepted shapes.
//! 3. `template`: conversation and answers become texts.
//! 4. `encode`: texts become ids; budgets cut them.
//! 5. `selection`: which pairs are taken; [`mixture`]: several data sets as one. `audit`: what there is to say
//!    about all of it.

mod audit;
mod encode;
mod intake;
mod message;
pub mod mixture;
mod options;
mod order;
mod record;
mod selection;
mod source;
mod template;

use rayon::prelude::*;

pub use audit::{Audit, Counts, Cut, Length, LengthBias, Named, SpelledOut};
pub use message::{Message, Role};
pub use options::{Boundary, Options, Selection, Truncation};
pub use order::shuffled;
pub use record::Columns;
pub use selection::{Reason, Seen};
pub use source::{Place, Source};
pub use template::{DEFAULT_TEMPLATE, Template};

use encode::Encoder;
use intake::Intake;

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::model::Dims;
use crate::tokenizer::{EndOfText, Tokenizer};

/// One preference pair, as token ids, budgets applied. All ids are in the model's vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What both responses answer, at most `max_prompt_tokens`; never empty.
    pub prompt: Vec<u32>,
    /// The better response, at most `max_response_tokens`; never empty.
    pub chosen: Vec<u32>,
    /// The worse response, at most `max_response_tokens`; differs from `chosen`. Empty for a
    /// demonstration, which supervised training takes.
    pub rejected: Vec<u32>,
    /// Where its record begins, for messages.
    pub place: Place,
    /// Equal for equal prompts, whatever the end of a prompt lost to its responses under
    /// [`Boundary::Joined`].
    pub asked: u128,
}

impl Example {
    /// A pair of these ids.
    pub fn new(prompt: Vec<u32>, chosen: Vec<u32>, rejected: Vec<u32>, place: Place) -> Example {
        Example {
            asked: selection::hash([&prompt]),
            prompt,
            chosen,
            rejected,
            place,
        }
    }
}

/// What turns the texts of records into a model's ids.
pub struct Codec<'a> {
    /// `None`: only records of ids can be read.
    pub tokenizer: Option<&'a Tokenizer>,
    /// What ends a response.
    pub end: &'a EndOfText,
    /// What conversations are put into.
    pub template: &'a Template,
    /// Ids lie below this.
    pub vocab_size: usize,
    /// Positions that the model has.
    pub n_positions: usize,
}

/// The usable pairs of a data set, in its order.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// What it was named, for messages.
    pub name: String,
    /// Never empty when read.
    pub examples: Vec<Example>,
    /// What was found while it was read.
    pub audit: Audit,
}

impl<'a> Codec<'a> {
    /// For a model of these dims.
    pub fn new(
        dims: &Dims,
        tokenizer: Option<&'a Tokenizer>,
        end: &'a EndOfText,
        template: &'a Template,
    ) -> Codec<'a> {
        Codec {
            tokenizer,
            end,
            template,
            vocab_size: dims.vocab_size,
            n_positions: dims.n_positions,
        }
    }
}

/// Reads all records of a source.
///
/// # Errors
///
/// [`Error::Io`] if a file cannot be read; [`Error::Data`] with the place where it is broken, or of the first
/// record that cannot be used, unless those are skipped; [`Error::File`] if no pair is left or the
/// tokenizer fails; [`Error::Option`] for options that leave nothing or that nothing could act on.
pub fn read(source: Source, codec: &Codec, options: &Options) -> Result<Dataset> {
    read_next(source, codec, options, &mut Seen::default())
}

/// [`read`] for one of several data sets, of which `seen` knows the earlier ones.
///
/// # Errors
///
/// As there.
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
            // What stands behind the last pair that is taken is none of a run's business.
            if intake.is_full() {
                break;
            }
            intake.take(looked)?;
        }
    }
    intake.finish(source.files())
}

impl Dataset {
    /// A data set made by a program, without anything to say about it.
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
