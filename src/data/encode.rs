//! Turns one record into the token ids of a pair and applies the budgets.

use super::Codec;
use super::encoded::{Encoded, Facts, Lengths, Side, Sides, Specials};
use super::example::{self, Example};
use super::message::Message;
use super::options::{Boundary, Options, Selection, Truncation};
use super::record::{Content, Problem, Reading, Record};
use super::selection::Reason;
use super::source::{Place, Raw};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// The result of a valid record.
pub(super) enum Outcome {
    /// A pair to train on.
    Pair(Box<Encoded>),
    /// A pair that is left out because it teaches nothing.
    Dropped(Reason),
    /// A labelled completion: another record has the other side of its pair.
    Side(Box<Side>),
}

/// A record that was looked at.
pub(super) struct Looked {
    pub place: Place,
    pub outcome: Result<Outcome>,
}

/// Turns records into examples.
pub(super) struct Encoder<'a> {
    codec: &'a Codec<'a>,
    pub options: &'a Options,
    reading: Reading,
}

/// Token ids before the budgets.
struct Ids {
    prompt: Vec<u32>,
    /// The ids of the prompt tokenized alone; `None` where `prompt` does not depend on the responses.
    alone: Option<Vec<u32>>,
    /// Chosen, then rejected; a demonstration has only the first.
    answers: Vec<Vec<u32>>,
}

/// Why a record cannot be used: the record is at fault, or the tokenizer failed.
enum Fault {
    Record(Problem),
    Tokenizer(Error),
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Fault {
        Fault::Record(problem)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Tokenizer(error)
    }
}

impl Fault {
    fn at(self, place: &Place) -> Error {
        match self {
            Fault::Record(problem) => place.error(problem.what, problem.help),
            Fault::Tokenizer(error) => error,
        }
    }
}

impl<'a> Encoder<'a> {
    pub fn new(codec: &'a Codec<'a>, options: &'a Options) -> Self {
        let Selection {
            drop_ties,
            min_score_margin,
            ..
        } = options.selection;
        Encoder {
            codec,
            options,
            reading: Reading {
                columns: options.columns.clone(),
                for_sft: options.demonstrations,
                scores: drop_ties || min_score_margin.is_some(),
                verbatim: codec.template.is_verbatim(),
            },
        }
    }

    /// Reads a record of a file.
    pub fn read(&self, raw: Raw) -> Looked {
        let place = raw.place.clone();
        let outcome = raw.value().and_then(|value| {
            Record::read(value, &self.reading)
                .map_err(Fault::Record)
                .and_then(|record| self.encode(record, place.clone()))
                .map_err(|fault| fault.at(&place))
        });
        Looked { place, outcome }
    }

    /// Makes a pair of two labelled completions. Its place is that of the later one.
    pub fn sides(&self, sides: Sides) -> Looked {
        let Sides { chosen, rejected } = sides;
        let place = chosen.place.clone().max(rejected.place);
        let answers = [&chosen.completion[..], &rejected.completion[..]];
        let mut facts = chosen.facts;
        facts.used.extend(rejected.facts.used);
        facts.ignored.extend(rejected.facts.ignored);
        let pair = self.pair(&chosen.conversation, answers, place.clone(), facts);
        let outcome = pair.map_err(|fault| fault.at(&place));
        Looked { place, outcome }
    }

    fn encode(&self, record: Record, place: Place) -> Result<Outcome, Fault> {
        let Record {
            shape,
            content,
            scores,
            weight,
            used,
            ignored,
        } = record;
        let facts = Facts {
            shape,
            scores,
            weight,
            used,
            ignored,
            ..Facts::default()
        };
        match content {
            Content::Pair {
                conversation,
                chosen,
                rejected,
            } => self.pair(&conversation, [&chosen, &rejected], place, facts),
            Content::Labelled { good: false, .. } if self.options.demonstrations => {
                Ok(Outcome::Dropped(Reason::LabelledBad))
            }
            Content::Labelled {
                conversation,
                completion,
                good,
            } if !self.options.demonstrations => Ok(Outcome::Side(Box::new(Side {
                conversation,
                completion,
                good,
                place,
                facts,
            }))),
            Content::Labelled {
                conversation,
                completion,
                ..
            }
            | Content::Demonstration {
                conversation,
                completion,
            } => {
                let (ids, specials) = self.tokenize(&conversation, &[&completion])?;
                self.finish(ids, place, Facts { specials, ..facts })
            }
            Content::Ids {
                prompt,
                chosen,
                rejected,
            } => {
                let answers = match self.options.demonstrations {
                    true => vec![chosen],
                    false => vec![chosen, rejected],
                };
                let ids = Ids {
                    prompt,
                    alone: None,
                    answers,
                };
                self.finish(ids, place, facts)
            }
            Content::Tie { .. } => Ok(Outcome::Dropped(Reason::NoneBetter)),
            Content::Blank { .. } => Ok(Outcome::Dropped(Reason::BlankResponse)),
        }
    }

    /// Makes a pair of two responses to one conversation.
    fn pair(
        &self,
        conversation: &[Message],
        answers: [&str; 2],
        place: Place,
        facts: Facts,
    ) -> Result<Outcome, Fault> {
        if answers[0] == answers[1] {
            return Ok(Outcome::Dropped(Reason::EqualResponses));
        }
        let (ids, specials) = self.tokenize(conversation, &answers)?;
        self.finish(ids, place, Facts { specials, ..facts })
    }

    /// The ids of a conversation and its responses, and the special tokens spelled out in them.
    fn tokenize(
        &self,
        conversation: &[Message],
        answers: &[&str],
    ) -> Result<(Ids, Specials), Fault> {
        let tokenizer = self.codec.tokenizer.ok_or_else(no_tokenizer)?;
        let mut specials = Specials::default();
        let mut guard = |text: &str| {
            let typed = self.options.typed(tokenizer, text);
            specials.tokens += typed.tokens;
            typed.text.into_owned()
        };
        let conversation: Vec<Message> = conversation
            .iter()
            .map(|message| Message {
                role: message.role,
                content: guard(&message.content),
            })
            .collect();
        let answers: Vec<String> = answers.iter().map(|answer| guard(answer)).collect();

        let template = self.codec.template;
        let rendered = template.prompt(&conversation)?;
        let wholes = answers
            .iter()
            .map(|answer| template.whole(&conversation, &rendered, answer))
            .collect::<Result<Vec<_>, _>>()?;
        let prompt = self.before_answer(&rendered)?;

        let ids = self.ids(tokenizer, prompt, &wholes, self.options.boundary)?;
        if self.options.compare_boundaries {
            let other = match self.options.boundary {
                Boundary::Apart => Boundary::Joined,
                Boundary::Joined => Boundary::Apart,
            };
            // A boundary that fails on this record counts as different.
            let other = self.ids(tokenizer, prompt, &wholes, other);
            let same = |other: Ids| other.prompt == ids.prompt && other.answers == ids.answers;
            specials.boundary_differs = Some(!other.is_ok_and(same));
        }
        Ok((ids, specials))
    }

    /// The prompt without its last space, if the options give that space to the response.
    fn before_answer<'t>(&self, prompt: &'t str) -> Result<&'t str, Problem> {
        if !self.options.response_prefix_space {
            return Ok(prompt);
        }
        prompt.strip_suffix(' ').ok_or_else(|| {
            Problem::new(
                "the prompt, put into the template, does not end in a space, and \
                 `.response_prefix_space` would give that to the response",
                "leave `.response_prefix_space` out",
            )
        })
    }

    fn ids(
        &self,
        tokenizer: &Tokenizer,
        prompt: &str,
        wholes: &[String],
        boundary: Boundary,
    ) -> Result<Ids, Fault> {
        let begin = self.codec.template.begin(tokenizer);
        let encode = |text: &str| self.options.encode(tokenizer, text);
        let mut prompt_ids = [begin, &encode(prompt)?].concat();
        match boundary {
            Boundary::Apart => {
                let answers = wholes.iter().map(|whole| {
                    let answer = whole.strip_prefix(prompt).ok_or_else(renders_differently)?;
                    Ok(self.ended(encode(answer)?))
                });
                Ok(Ids {
                    answers: answers.collect::<Result<_, Fault>>()?,
                    prompt: prompt_ids,
                    alone: None,
                })
            }
            Boundary::Joined => {
                let alone = Some(prompt_ids.clone());
                let end = self.codec.template.end(tokenizer);
                prompt_ids.extend(end);
                let wholes = wholes
                    .iter()
                    .map(|whole| {
                        let whole = self.ended([begin, &encode(whole)?].concat());
                        Ok([&whole, end].concat())
                    })
                    .collect::<Result<Vec<_>>>()?;
                let shared = wholes.iter().map(|whole| common(&prompt_ids, whole));
                let cut = shared.min().unwrap_or(prompt_ids.len());
                Ok(Ids {
                    prompt: prompt_ids[..cut].to_vec(),
                    alone,
                    answers: wholes.iter().map(|whole| whole[cut..].to_vec()).collect(),
                })
            }
        }
    }

    /// Appends the end-of-text token to `ids`, unless the ids end with it already or the template
    /// writes its own end.
    fn ended(&self, mut ids: Vec<u32>) -> Vec<u32> {
        if let (Some(end), true) = (self.codec.end.id, self.codec.template.wants_end())
            && !ids.is_empty()
            && ids.last() != Some(&end)
        {
            ids.push(end);
        }
        ids
    }

    /// Checks the ids and applies the budgets.
    fn finish(&self, ids: Ids, place: Place, mut facts: Facts) -> Result<Outcome, Fault> {
        let Ids {
            mut prompt,
            mut alone,
            mut answers,
        } = ids;
        self.check_ids("prompt", &prompt)?;
        for (name, ids) in ["chosen response", "rejected response"]
            .iter()
            .zip(&answers)
        {
            self.check_ids(name, ids)?;
        }
        if let [chosen, rejected] = &answers[..]
            && chosen == rejected
        {
            return Ok(Outcome::Dropped(Reason::EqualResponses));
        }
        let max_response = self.options.max_response_tokens;
        facts.lengths = Lengths {
            prompt: prompt.len(),
            answers: answers.iter().map(Vec::len).collect(),
        };
        facts.ends_lost = answers
            .iter()
            .map(|ids| self.end_of(ids).is_some_and(|at| at >= max_response))
            .collect();
        facts.without_end = answers.iter().any(|ids| self.end_of(ids).is_none());

        self.cut_prompt(&mut prompt);
        if let Some(alone) = &mut alone {
            self.cut_prompt(alone);
        }
        for ids in &mut answers {
            ids.truncate(max_response);
            ids.shrink_to_fit();
        }
        let longest = answers.iter().map(Vec::len).max().unwrap_or(0);
        let mut answers = answers.into_iter();
        let [chosen, rejected] = [answers.next(), answers.next()].map(Option::unwrap_or_default);
        let mut example = Example::new(prompt, chosen, rejected, place);
        if let Some(alone) = &alone {
            example.asked = example::hash([alone]);
        }
        example.weight = facts.weight.unwrap_or(1.0);
        if example.chosen == example.rejected {
            return Ok(Outcome::Dropped(Reason::EqualUnderBudget));
        }
        self.check_length(example.prompt.len(), longest, &example.place)?;
        Ok(Outcome::Pair(Box::new(Encoded { example, facts })))
    }

    /// The position of the last token of a response that ends a text.
    fn end_of(&self, ids: &[u32]) -> Option<usize> {
        ids.iter().rposition(|id| self.codec.end.stops.contains(id))
    }

    /// Cuts a prompt to its budget. Tokens that the tokenizer puts before every text stay.
    fn cut_prompt(&self, prompt: &mut Vec<u32>) {
        let max = self.options.max_prompt_tokens;
        if prompt.len() > max {
            match self.options.truncation {
                Truncation::KeepStart => prompt.truncate(max),
                Truncation::KeepEnd => {
                    let tokenizer = self.codec.tokenizer;
                    let begin = tokenizer.map_or(&[][..], |t| self.codec.template.begin(t));
                    let kept = begin.len().min(max.saturating_sub(1));
                    let kept = if prompt.starts_with(begin) { kept } else { 0 };
                    prompt.drain(kept..prompt.len() - (max - kept));
                }
            }
        }
        prompt.shrink_to_fit();
    }

    fn check_ids(&self, name: &str, ids: &[u32]) -> Result<(), Problem> {
        let size = self.codec.vocab_size;
        if ids.is_empty() {
            let help = "the tokenizer knows none of its characters, or the template writes nothing for it: \
                 remove the record, or take another template";
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

    /// The last token of a response is predicted and never read, so it needs no position. A pair that is too long
    /// is the fault of the budgets and not of the record, so `skip_bad_records` does not leave it out.
    fn check_length(&self, prompt: usize, response: usize, place: &Place) -> Result<()> {
        let (needed, positions) = (prompt + response - 1, self.codec.n_positions);
        if needed > positions {
            return Err(Error::option(
                "max_prompt_tokens",
                format!(
                    "{place}: {prompt} prompt tokens and {response} response tokens need {needed} \
                     positions; the model has {positions}"
                ),
                format!(
                    "the budgets are {} and {} tokens: together they may be {} for this model, so lower \
                     `.max_prompt_tokens` or `.max_response_tokens`",
                    self.options.max_prompt_tokens,
                    self.options.max_response_tokens,
                    positions + 1
                ),
            ));
        }
        Ok(())
    }
}

/// The length of the common beginning of two lists of ids.
fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

fn no_tokenizer() -> Problem {
    Problem::new(
        "the record is text, and the model has no tokenizer",
        "put tokenizer.json beside the model's weights, or give `prompt_ids`, `chosen_ids` and \
         `rejected_ids`",
    )
}

fn renders_differently() -> Problem {
    Problem::new(
        "the chat template writes the prompt alone in another way than with its answer behind",
        "take `.boundary` joined, which cuts where the two part, as TRL does, or `.chat_template` card",
    )
}
