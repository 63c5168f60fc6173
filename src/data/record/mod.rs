//! Parses one JSON object of any accepted shape into the pair, demonstration or labelled answer in it.
//!
//! The shape follows from the record's keys, never from the name of the data set. A key that changes the
//! prompt is either read or refused by name. Every other unread key is returned, and the audit lists it once
//! for a file.

mod answer;
mod asked;
mod candidates;
mod columns;
mod conversation;
mod ids;
mod messages;
mod problem;
mod repeats;
mod row;
mod scores;
mod shape;
mod slot;
mod transcript;
mod weight;
mod wrapped;
mod written;

use serde_json::Value;

use self::answer::Answer;
use self::candidates::{Best, Choice};
use self::problem::found;
use self::row::{Account, Found, Row, SHAPES};
use self::shape::Form;
use self::slot::Slot;
use super::message::Message;

pub use self::columns::Columns;
pub(crate) use self::problem::{Parsed, Problem};
pub(crate) use self::scores::Scores;
pub(crate) use self::shape::Shape;

/// The content of a record and how it was read.
#[derive(Debug)]
pub(crate) struct Record {
    /// The keys that were read, and their forms.
    pub shape: Shape,
    pub content: Content,
    /// The scores of the two answers, if the options ask for them or if they decide which answer is chosen.
    pub scores: Option<Scores>,
    /// What the pair's loss counts, if the record says so.
    pub weight: Option<f32>,
    /// The record's top-level keys that were read.
    pub used: Vec<String>,
    /// Keys with a value that were not read, such as `source` or `chosen[].weight`.
    pub ignored: Vec<String>,
}

/// The training content of a record. No answer is blank, except in [`Content::Blank`].
///
/// A conversation ends with the message to answer, which is the user's and is not blank. The template
/// checks whether it can render the turns before it.
#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    /// Two answers to one conversation; they may be equal.
    Pair {
        conversation: Vec<Message>,
        chosen: String,
        rejected: String,
    },
    /// A pair as token ids. None of the three is empty, except a rejected answer that the options do not
    /// need.
    Ids {
        prompt: Vec<u32>,
        chosen: Vec<u32>,
        rejected: Vec<u32>,
    },
    /// One answer to imitate.
    Demonstration {
        conversation: Vec<Message>,
        completion: String,
    },
    /// One answer with a label, good or bad. Two records of one conversation make a pair.
    Labelled {
        conversation: Vec<Message>,
        completion: String,
        good: bool,
    },
    /// Several answers, none of them better than another by the record's own account.
    Tie {
        /// The key that says so, in words.
        why: String,
    },
    /// An answer that the record needs is blank.
    Blank {
        /// The answer's key, in backquotes.
        which: String,
    },
}

/// The options for reading records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub columns: Columns,
    /// Read demonstrations: a single answer, or the best of several. The rejected answer of a preference
    /// record then only helps to find the prompt, and may be blank or equal to the chosen one.
    pub for_sft: bool,
    /// Read the scores beside a pair. Scores that are not read need not be numbers.
    pub scores: bool,
    /// Prompts are already formatted: a text prompt and the texts that answer it stay as they are, even if
    /// they look like a transcript.
    pub verbatim: bool,
}

/// The content of a record and the scores beside it.
struct Learned {
    content: Content,
    scores: Option<Scores>,
}

impl From<Content> for Learned {
    fn from(content: Content) -> Self {
        let scores = None;
        Learned { content, scores }
    }
}

impl Record {
    /// Reads a record. If several shapes fit, the first of these counts: token ids, a pair, a labelled
    /// answer, a demonstration (if the options ask for one), several answers of which some are better.
    pub fn read(value: Value, reading: &Reading) -> Parsed<Record> {
        let Value::Object(object) = value else {
            let what = format!("the record is {}, not an object", found(&value));
            return Err(Problem::new(what, SHAPES));
        };
        if reading.columns == Columns::default() {
            wrapped::refuse(&object)?;
        }
        let mut row = Row::new(object, reading);
        let Learned { content, scores } = learned(&mut row, reading)?;
        let weight = match &content {
            Content::Pair { .. } | Content::Ids { .. } | Content::Demonstration { .. } => {
                weight::read(&mut row)?
            }
            // A labelled answer is half a pair, and the others are none.
            Content::Labelled { .. } | Content::Tie { .. } | Content::Blank { .. } => None,
        };
        // Ids are the whole prompt, and a tie or a blank teaches nothing, so unread keys do no harm.
        let whole = matches!(
            content,
            Content::Ids { .. } | Content::Tie { .. } | Content::Blank { .. }
        );
        let Account {
            shape,
            used,
            ignored,
        } = row.finish(whole)?;
        Ok(Record {
            shape,
            content,
            scores,
            weight,
            used,
            ignored,
        })
    }
}

fn learned(row: &mut Row, reading: &Reading) -> Parsed<Learned> {
    let ids = [Slot::PromptIds, Slot::ChosenIds, Slot::RejectedIds];
    if ids.iter().all(|slot| row.has(*slot)) {
        let [prompt, chosen, rejected] = ids.map(|slot| ids::read(row, slot));
        let (prompt, chosen, rejected) = (prompt?, chosen?, rejected?);
        let needed = [(Slot::ChosenIds, &chosen), (Slot::RejectedIds, &rejected)];
        let needed = &needed[..if reading.for_sft { 1 } else { 2 }];
        if let Some((slot, _)) = needed.iter().find(|(_, ids)| ids.is_empty()) {
            let which = format!("`{}`", slot.name());
            return Ok(Content::Blank { which }.into());
        }
        let content = Content::Ids {
            prompt,
            chosen,
            rejected,
        };
        return Ok(content.into());
    }
    if row.has(Slot::Chosen) && row.has(Slot::Rejected) {
        let content = pair(row, reading)?;
        let scores = match reading.scores {
            true => scores::read(row)?,
            false => None,
        };
        return Ok(Learned { content, scores });
    }
    if row.has(Slot::Chosen) || row.has(Slot::Rejected) {
        return Err(row.without(&[Slot::Chosen, Slot::Rejected]));
    }
    let single = row.has(Slot::Completion) || row.has(Slot::Messages);
    if single && row.has(Slot::Label) {
        return labelled(row).map(Learned::from);
    }
    if single && reading.for_sft {
        let answer = single_answer(row)?;
        return demonstration(row, answer).map(Learned::from);
    }
    let choice = match candidates::list(row)? {
        Some(choice) => Some(choice),
        None => candidates::versus(row)?,
    };
    match choice {
        Some(Choice::Pair(best)) => {
            let Best {
                chosen,
                rejected,
                scores,
            } = *best;
            let content = answered(row, chosen, rejected, reading)?;
            Ok(Learned { content, scores })
        }
        Some(Choice::Tie(why)) => Ok(Content::Tie { why }.into()),
        None if reading.for_sft => Err(row.without(&[Slot::Completion])),
        None if single => Err(Problem::new(
            "a record with one answer and nothing to prefer it to",
            "preference training takes `chosen` and `rejected`, or `label` beside the answer; \
             `.loss` sft takes single answers",
        )),
        None => Err(row.without(&[Slot::Chosen, Slot::Rejected])),
    }
}

/// Reads `chosen` and `rejected`. If both are texts and no other key holds a prompt, both contain the prompt.
fn pair(row: &mut Row, reading: &Reading) -> Parsed<Content> {
    let sides = [Slot::Chosen, Slot::Rejected];
    let parts = [Slot::Prompt, Slot::Input, Slot::History, Slot::Messages];
    let prompted = parts.iter().any(|slot| row.says(*slot));
    let may_lack_prompt = !prompted && !row.has(Slot::Prompt);
    let [chosen, rejected] = sides.map(|slot| answer(row, slot));
    let (mut chosen, mut rejected) = (chosen?, rejected?);
    if !prompted && chosen.is_text() && rejected.is_text() {
        (chosen, rejected) = (chosen.transcribed()?, rejected.transcribed()?);
        let blank = chosen.is_blank() || rejected.is_blank();
        if may_lack_prompt && chosen.is_text() && rejected.is_text() && !blank {
            split(row, &mut chosen, &mut rejected)?;
        }
    }
    for (slot, answer) in sides.into_iter().zip([&chosen, &rejected]) {
        row.note(slot, answer.key.clone(), answer.form.clone());
    }
    answered(row, chosen, rejected, reading)
}

fn answer(row: &mut Row, slot: Slot) -> Parsed<Answer> {
    let part = take(row, slot)?;
    Answer::read(part, row)
}

/// Moves the common beginning of two texts into their contexts, as the prompt.
fn split(row: &Row, chosen: &mut Answer, rejected: &mut Answer) -> Parsed<()> {
    if chosen.text == rejected.text {
        return Err(Problem::new(
            format!(
                "both responses are equal, and there is no prompt: {}",
                problem::quoted(&chosen.text)
            ),
            "a prompt is found in two texts where they begin to differ: give the prompt, or remove \
             the record",
        ));
    }
    let Some(fork) = transcript::fork(&chosen.text, &rejected.text) else {
        return Err(row.without(&[Slot::Prompt]));
    };
    let context = vec![Message::user(fork.common)];
    let (one, two) = (fork.one.to_owned(), fork.two.to_owned());
    for (answer, text) in [(chosen, one), (rejected, two)] {
        if text.trim().is_empty() {
            return Err(row.without(&[Slot::Prompt]));
        }
        answer.context.clone_from(&context);
        answer.text = text;
        answer.form = Form::CommonBeginning;
    }
    Ok(())
}

/// Two answers together with their common conversation.
fn answered(
    row: &mut Row,
    mut chosen: Answer,
    mut rejected: Answer,
    reading: &Reading,
) -> Parsed<Content> {
    if reading.for_sft {
        return demonstration(row, chosen);
    }
    if let Some(blank) = blank(&[&chosen, &rejected]) {
        return Ok(blank);
    }
    if chosen.is_text() != rejected.is_text() {
        let (text, list) = match chosen.is_text() {
            true => (&chosen.key, &rejected.key),
            false => (&rejected.key, &chosen.key),
        };
        let what = format!("`{text}` is a string and `{list}` a list of messages");
        return Err(Problem::new(what, "give both as strings, or both as lists"));
    }
    if chosen.context != rejected.context {
        return Err(Problem::new(
            format!(
                "`{}` and `{}` differ before their last assistant message: {}",
                chosen.key,
                rejected.key,
                conversation::first_difference(&chosen.context, &rejected.context)
            ),
            "both must answer the same prompt: make their earlier messages equal, or remove the record",
        ));
    }
    let conversation = conversation::read(row, &mut chosen, Some(&mut rejected))?;
    // The transcript's marks are removed from the answers, which may leave an answer blank.
    if let Some(blank) = blank(&[&chosen, &rejected]) {
        return Ok(blank);
    }
    Ok(Content::Pair {
        conversation,
        chosen: chosen.text,
        rejected: rejected.text,
    })
}

/// The content of the record if an answer is blank: it names the first blank answer.
fn blank(answers: &[&Answer]) -> Option<Content> {
    let blank = answers.iter().find(|answer| answer.is_blank())?;
    let which = format!("`{}`", blank.key);
    Some(Content::Blank { which })
}

fn demonstration(row: &mut Row, mut answer: Answer) -> Parsed<Content> {
    if let Some(blank) = blank(&[&answer]) {
        return Ok(blank);
    }
    let conversation = conversation::read(row, &mut answer, None)?;
    Ok(match blank(&[&answer]) {
        Some(blank) => blank,
        None => Content::Demonstration {
            conversation,
            completion: answer.text,
        },
    })
}

fn single_answer(row: &mut Row) -> Parsed<Answer> {
    let slot = match row.has(Slot::Completion) {
        true => Slot::Completion,
        false => Slot::Messages,
    };
    let answer = answer(row, slot)?;
    row.note(slot, answer.key.clone(), answer.form.clone());
    Ok(answer)
}

fn labelled(row: &mut Row) -> Parsed<Content> {
    let Found { key, value } = take(row, Slot::Label)?;
    row.note(Slot::Label, key.clone(), Form::Label);
    let good = match &value {
        Value::Bool(good) => Some(*good),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        other => match scores::number(&key, other) {
            Ok(1.0) => Some(true),
            Ok(0.0) => Some(false),
            _ => None,
        },
    };
    let Some(good) = good else {
        let what = format!("`{key}` is {}, not true or false", found(&value));
        return Err(Problem::new(
            what,
            "a good answer is true or 1, a bad one false or 0",
        ));
    };
    let answer = single_answer(row)?;
    Ok(match demonstration(row, answer)? {
        Content::Demonstration {
            conversation,
            completion,
        } => Content::Labelled {
            conversation,
            completion,
            good,
        },
        blank => blank,
    })
}

fn take(row: &mut Row, slot: Slot) -> Parsed<Found> {
    match row.take(slot)? {
        Some(part) => Ok(part),
        None => Err(row.without(&[slot])),
    }
}

#[cfg(test)]
mod tests;
