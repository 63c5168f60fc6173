//! Files of preference pairs → token ids, under budgets.
//!
//! A file has one JSON object a line, or is one JSON array of such objects. A record is
//!
//! - `prompt`, `chosen` and `rejected`, each a string or a list of `{role, content}` messages;
//!   (where `chosen` and `rejected` are lists that begin with the prompt, `prompt` may be missing);
//! - or `instruction` (with an optional `input`), `chosen` and `rejected`;
//! - or `prompt_ids`, `chosen_ids` and `rejected_ids`, tokenized already.
//!
//! Prompt and response are tokenized apart: joined first, their tokens could merge across the
//! border, and the prompt would not be the one that generation sees.

mod message;
mod order;
mod prompt;
// Its other shapes, columns and scores are for what calls it to ask for.
#[allow(dead_code)]
mod record;
mod source;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use order::shuffled;
pub use prompt::{DEFAULT_TEMPLATE, fill};

use crate::error::{Error, Result};
use crate::model::Dims;
use crate::tokenizer::Tokenizer;
use record::{Content, Problem, Reading, Record};
use source::{Raw, Source};

/// One preference pair, as token ids, budgets applied. None of the three is empty, and all ids
/// are in the model's vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What both responses answer, at most `max_prompt_tokens`.
    pub prompt: Vec<u32>,
    /// The better response, at most `max_response_tokens`.
    pub chosen: Vec<u32>,
    /// The worse response, at most `max_response_tokens`; differs from `chosen`.
    pub rejected: Vec<u32>,
    /// 1-based line on which its record begins, for messages.
    pub line: usize,
}

/// How records become token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What a user message becomes: text with `{prompt}` in it.
    pub template: String,
    /// A longer prompt keeps its end.
    pub max_prompt_tokens: usize,
    /// A longer response keeps its beginning. The end-of-text token counts, and is left out where it
    /// does not fit.
    pub max_response_tokens: usize,
    /// Leave out records that cannot be used, and count them, instead of stopping at the first.
    pub skip_bad_records: bool,
}

/// The usable pairs of one file, in its order.
#[derive(Debug)]
pub struct Dataset {
    /// The file that they came from, for messages.
    pub path: PathBuf,
    /// Never empty.
    pub examples: Vec<Example>,
    /// Records left out because both responses are equal, as text or under the budgets.
    pub equal_dropped: usize,
    /// Examples of which a budget cut something.
    pub truncated: usize,
    /// Records that could not be used, left out because [`Options::skip_bad_records`] says so.
    pub skipped: Vec<Error>,
}

/// Reads a file of preference pairs.
///
/// `eos` is put at the end of every text response that leaves room for it. Without a tokenizer
/// only pre-tokenized records can be read.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] with the line where it is not UTF-8 or
/// its array is broken, or of the first record that cannot be used, unless those are skipped;
/// [`Error::File`] if no record is left or the tokenizer fails; [`Error::Option`] for options that
/// leave no prompt or no response.
pub fn read(
    path: &Path,
    tokenizer: Option<&Tokenizer>,
    eos: Option<u32>,
    options: &Options,
    dims: &Dims,
) -> Result<Dataset> {
    options.check()?;
    read_all(Source::open(path)?, path, tokenizer, eos, options, dims)
}

/// [`read`] for text in memory; `origin` is the path that errors name.
///
/// # Errors
///
/// As there, but for [`Error::Io`].
pub fn parse(
    text: &str,
    origin: &Path,
    tokenizer: Option<&Tokenizer>,
    eos: Option<u32>,
    options: &Options,
    dims: &Dims,
) -> Result<Dataset> {
    options.check()?;
    let source = Source::text(text, origin);
    read_all(source, origin, tokenizer, eos, options, dims)
}

fn read_all(
    mut source: Source,
    origin: &Path,
    tokenizer: Option<&Tokenizer>,
    eos: Option<u32>,
    options: &Options,
    dims: &Dims,
) -> Result<Dataset> {
    let encoder = Encoder {
        tokenizer,
        eos,
        options,
        dims,
    };
    let mut dataset = Dataset {
        path: origin.to_owned(),
        examples: Vec::new(),
        equal_dropped: 0,
        truncated: 0,
        skipped: Vec::new(),
    };
    while let Some(records) = source.next_chunk()? {
        let outcomes: Vec<_> = records.par_iter().map(|r| encoder.outcome(r)).collect();
        for outcome in outcomes {
            let outcome = match outcome {
                Err(error) if options.skip_bad_records => {
                    dataset.skipped.push(error);
                    continue;
                }
                outcome => outcome?,
            };
            match outcome {
                Outcome::Equal => dataset.equal_dropped += 1,
                Outcome::Usable { example, cut } => {
                    dataset.examples.push(example);
                    dataset.truncated += usize::from(cut);
                }
            }
        }
    }
    if dataset.examples.is_empty() {
        let what = match dataset.equal_dropped {
            0 => "no preference pair in it".to_owned(),
            n => format!("no usable preference pair: all {n} have two equal responses"),
        };
        let help = "give a file of records whose chosen and rejected responses differ";
        return Err(Error::file(origin, what, help));
    }
    Ok(dataset)
}

/// Checks that the tokenizer of model directory `dir` has no ids past the model's last embedding row.
/// A model may have more rows than its tokenizer has tokens: padded vocabularies do.
///
/// # Errors
///
/// [`Error::File`] naming `dir`, if there are such ids.
pub fn check_vocabulary(tokenizer: &Tokenizer, dims: &Dims, dir: &Path) -> Result<()> {
    let (tokens, rows) = (tokenizer.vocab_size(), dims.vocab_size);
    if tokens > rows {
        return Err(Error::file(
            dir,
            format!("the tokenizer has {tokens} tokens, and the model embeddings for {rows}"),
            "use the tokenizer that the model was trained with",
        ));
    }
    Ok(())
}

/// Cuts `tokens` to their last `max`, as a prompt is cut; true if that removed any.
pub fn keep_last(tokens: &mut Vec<u32>, max: usize) -> bool {
    let excess = tokens.len().saturating_sub(max);
    tokens.drain(..excess);
    excess > 0
}

/// Cuts `tokens` to their first `max`, as a response is cut; true if that removed any.
fn keep_first(tokens: &mut Vec<u32>, max: usize) -> bool {
    let cut = tokens.len() > max;
    tokens.truncate(max);
    cut
}

impl Options {
    fn check(&self) -> Result<()> {
        if !self.template.contains(prompt::PLACEHOLDER) {
            return Err(Error::option(
                "--template",
                format!("no {{prompt}} in {:?}", self.template),
                format!("write {{prompt}} where the user's text goes: {DEFAULT_TEMPLATE:?}"),
            ));
        }
        for (option, budget) in [
            ("--max-prompt-tokens", self.max_prompt_tokens),
            ("--max-response-tokens", self.max_response_tokens),
        ] {
            if budget == 0 {
                return Err(Error::option(option, "is 0", "give at least 1"));
            }
        }
        Ok(())
    }
}

/// What becomes of a record that is in order.
enum Outcome {
    Usable { example: Example, cut: bool },
    Equal,
}

/// Everything that turns the records of one file into examples.
struct Encoder<'a> {
    tokenizer: Option<&'a Tokenizer>,
    eos: Option<u32>,
    options: &'a Options,
    dims: &'a Dims,
}

impl Encoder<'_> {
    fn outcome(&self, raw: &Raw) -> Result<Outcome> {
        let line = raw.place.line;
        let at_line = |p: Problem| raw.place.error(p.what, p.help);

        let record = Record::read(raw.value()?, &Reading::default()).map_err(at_line)?;
        let (mut prompt, mut chosen, mut rejected) = match record.content {
            Content::Pair {
                chosen, rejected, ..
            } if chosen == rejected => return Ok(Outcome::Equal),
            Content::Pair {
                conversation,
                chosen,
                rejected,
            } => {
                let tokenizer = self.tokenizer.ok_or_else(|| at_line(no_tokenizer()))?;
                let prompt =
                    prompt::render(&conversation, &self.options.template).map_err(at_line)?;
                (
                    tokenizer.encode(&prompt)?,
                    self.response(tokenizer, &chosen)?,
                    self.response(tokenizer, &rejected)?,
                )
            }
            Content::Ids {
                prompt,
                chosen,
                rejected,
            } => (prompt, chosen, rejected),
            Content::Tie { why } => return Err(at_line(Problem::new(why, "remove the record"))),
            Content::Demonstration { .. } | Content::Labelled { .. } => {
                let help = "give the chosen and the rejected answer in one record";
                return Err(at_line(Problem::new("a record with one answer", help)));
            }
        };
        for (name, ids) in [
            ("prompt", &prompt),
            ("chosen response", &chosen),
            ("rejected response", &rejected),
        ] {
            self.check_ids(name, ids).map_err(at_line)?;
        }

        let cut_prompt = keep_last(&mut prompt, self.options.max_prompt_tokens);
        let cut_chosen = keep_first(&mut chosen, self.options.max_response_tokens);
        let cut_rejected = keep_first(&mut rejected, self.options.max_response_tokens);
        if chosen == rejected {
            return Ok(Outcome::Equal);
        }
        self.check_length(prompt.len(), chosen.len().max(rejected.len()))
            .map_err(at_line)?;
        Ok(Outcome::Usable {
            example: Example {
                prompt,
                chosen,
                rejected,
                line,
            },
            cut: cut_prompt || cut_chosen || cut_rejected,
        })
    }

    /// A response's ids with the end-of-text token behind them if it fits into the budget and is
    /// not there already.
    fn response(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
        let mut ids = tokenizer.encode(text)?;
        if let (Some(eos), Some(&last)) = (self.eos, ids.last())
            && last != eos
            && ids.len() < self.options.max_response_tokens
        {
            ids.push(eos);
        }
        Ok(ids)
    }

    fn check_ids(&self, name: &str, ids: &[u32]) -> Result<(), Problem> {
        let size = self.dims.vocab_size;
        if ids.is_empty() {
            let help = "the tokenizer knows none of its characters: remove the record";
            return Err(Problem::new(format!("the {name} has no tokens"), help));
        }
        match ids.iter().find(|&&id| id as usize >= size) {
            Some(id) => Err(Problem::new(
                format!("the {name} has the token id {id}; the model's vocabulary has {size}"),
                "tokenize with the tokenizer that the model was trained with",
            )),
            None => Ok(()),
        }
    }

    /// The last token of a response is predicted and never read: it needs no position.
    fn check_length(&self, prompt: usize, response: usize) -> Result<(), Problem> {
        let (needed, positions) = (prompt + response - 1, self.dims.n_positions);
        if needed > positions {
            return Err(Problem::new(
                format!(
                    "{prompt} prompt tokens and {response} response tokens need {needed} \
                     positions; the model has {positions}"
                ),
                "lower --max-prompt-tokens or --max-response-tokens",
            ));
        }
        Ok(())
    }
}

fn no_tokenizer() -> Problem {
    Problem::new(
        "the record is text, and the model has no tokenizer",
        "put tokenizer.json beside the model's weights, or give `prompt_ids`, `chosen_ids` and \
         `rejected_ids`",
    )
}

#[cfg(test)]
mod tests;
