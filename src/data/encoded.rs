//! A record's pair or completion on its way through encoding, selection and audit.

use super::example::Example;
use super::message::Message;
use super::record::{Scores, Shape};
use super::source::Place;

/// A pair and the facts about it.
pub(super) struct Encoded {
    pub example: Example,
    pub facts: Facts,
}

/// A completion that is labelled good or bad, and waits for one of the other label.
pub(super) struct Side {
    pub conversation: Vec<Message>,
    pub completion: String,
    pub good: bool,
    pub place: Place,
    pub facts: Facts,
}

/// A bad and a good completion of one conversation.
pub(super) struct Sides {
    pub chosen: Side,
    pub rejected: Side,
}

/// The facts about one pair, for reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub shape: Shape,
    /// Columns that were read, and those that say something and were not.
    pub used: Vec<String>,
    pub ignored: Vec<String>,
    pub scores: Option<Scores>,
    /// What the pair's loss counts, if its record says so.
    pub weight: Option<f32>,
    pub specials: Specials,
    pub lengths: Lengths,
    /// For each answer, whether its end-of-text lies behind the budget.
    pub ends_lost: Vec<bool>,
    /// An answer has no end-of-text at all.
    pub without_end: bool,
}

/// The findings of tokenizing a record's texts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Specials {
    /// Special tokens spelled out in the texts.
    pub tokens: usize,
    /// Whether the other boundary gives other ids; `None` if nobody asked.
    pub boundary_differs: Option<bool>,
}

/// Tokens before the budgets, end-of-text included.
#[derive(Clone, Debug, Default)]
pub(super) struct Lengths {
    pub prompt: usize,
    /// Chosen, then rejected.
    pub answers: Vec<usize>,
}
