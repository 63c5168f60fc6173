//! Chooses which of the usable pairs are taken.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};

use serde::Serialize;

use super::encoded::{Encoded, Side, Sides};
use super::example;
use super::options::Selection;
use super::source::Place;
use crate::error::{Error, Result};
use crate::words::counted;

/// Why a pair was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A response has no text.
    BlankResponse,
    /// Both responses are equal.
    EqualResponses,
    /// The responses differ only in tokens that the budget cuts.
    EqualUnderBudget,
    /// Both responses have the same score.
    ScoreTie,
    /// The record says that none of its responses is better.
    NoneBetter,
    /// The chosen score exceeds the rejected score by too little.
    ScoreMargin,
    /// An equal pair came before.
    Duplicate,
    /// The file has no completion of the other label for the same prompt.
    Unpaired,
    /// The completion is labelled bad, so there is nothing to imitate.
    LabelledBad,
    /// The record cannot be used.
    BadRecord,
}

impl Reason {
    /// A sentence with the number of records left out and the reason.
    pub fn words(self, count: usize) -> String {
        let (noun, why) = match self {
            Reason::BlankResponse => ("pair", "a response is empty"),
            Reason::EqualResponses => ("pair", "both responses are equal"),
            Reason::EqualUnderBudget => (
                "pair",
                "the responses differ only behind `.max_response_tokens`",
            ),
            Reason::ScoreTie => ("pair", "both scores are equal (`.drop_ties`)"),
            Reason::ScoreMargin => ("pair", "the scores lie too close (`.min_score_margin`)"),
            Reason::Duplicate => ("pair", "the same pair came before (`.dedupe`)"),
            Reason::NoneBetter => ("pair", "the record says that neither answer is better"),
            Reason::Unpaired => (
                "completion",
                "none of the other label is left that answers the same prompt",
            ),
            Reason::LabelledBad => ("completion", "labelled as bad, and `.loss` sft imitates"),
            Reason::BadRecord => return format!("{} skipped", counted(count, "record")),
        };
        format!("{} dropped: {why}", counted(count, noun))
    }
}

/// The pairs of this data set and the data sets before it so far, for [`Selection::dedupe`].
#[derive(Default)]
pub struct Seen(HashSet<u128>);

/// Decides for a file's pairs, one by one, whether each is taken.
pub(super) struct Selector<'a> {
    selection: &'a Selection,
    seen: &'a mut Seen,
    passed: usize,
    taken: usize,
    scored: bool,
    /// The number of pairs without the scores that an option needs.
    pub unscored: usize,
}

impl<'a> Selector<'a> {
    pub fn new(selection: &'a Selection, seen: &'a mut Seen) -> Self {
        Selector {
            selection,
            seen,
            passed: 0,
            taken: 0,
            scored: false,
            unscored: 0,
        }
    }

    /// True if no further pair can be taken.
    pub fn is_full(&self) -> bool {
        self.selection
            .limit
            .is_some_and(|limit| self.taken >= limit)
    }

    /// Whether a pair is taken; `Ok(false)` if it only lies outside `skip` and `limit`.
    pub fn takes(&mut self, encoded: &Encoded) -> Result<bool, Reason> {
        let asked = self.selection.drop_ties || self.selection.min_score_margin.is_some();
        self.unscored += usize::from(asked && encoded.facts.scores.is_none());
        if let Some(scores) = &encoded.facts.scores {
            self.scored = true;
            let margin = scores.margin();
            if self.selection.drop_ties && margin == 0.0 {
                return Err(Reason::ScoreTie);
            }
            if self
                .selection
                .min_score_margin
                .is_some_and(|min| margin < min)
            {
                return Err(Reason::ScoreMargin);
            }
        }
        if self.selection.dedupe && !self.seen.0.insert(example::fingerprint(&encoded.example)) {
            return Err(Reason::Duplicate);
        }
        if self.is_full() {
            return Ok(false);
        }
        if self.passed < self.selection.skip {
            self.passed += 1;
            return Ok(false);
        }
        self.taken += 1;
        Ok(true)
    }

    /// Refuses an option on scores if no pair of the file has scores.
    pub fn check(&self) -> Result<()> {
        let asked = [
            ("drop_ties", self.selection.drop_ties),
            (
                "min_score_margin",
                self.selection.min_score_margin.is_some(),
            ),
        ];
        match asked.iter().find(|(_, asked)| *asked && !self.scored) {
            Some((option, _)) => Err(Error::option(
                option,
                "no record of the data has scores",
                "leave it out, or name the columns of the scores: \
                 `.columns` score_chosen=…,score_rejected=…",
            )),
            None => Ok(()),
        }
    }
}

/// Labelled completions that wait for one of the other label.
#[derive(Default)]
pub(super) struct Waiting {
    /// Completions by conversation. All completions of an entry have one label and are in the file's order.
    sides: HashMap<String, Vec<Side>>,
}

impl Waiting {
    /// The pair of `side` and the completion that waited longest for it; `None` if `side` itself must wait.
    pub fn partner(&mut self, side: Side) -> Option<Sides> {
        let mut key = String::new();
        for message in &side.conversation {
            // The lengths make the keys of different conversations differ, whatever the contents are.
            key += &format!(
                "{:?} {} {}",
                message.role,
                message.content.len(),
                message.content
            );
        }
        match self.sides.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(vec![side]);
                None
            }
            Entry::Occupied(mut entry) if entry.get()[0].good == side.good => {
                entry.get_mut().push(side);
                None
            }
            Entry::Occupied(mut entry) => {
                let first = entry.get_mut().remove(0);
                if entry.get().is_empty() {
                    entry.remove();
                }
                let (chosen, rejected) = match side.good {
                    true => (side, first),
                    false => (first, side),
                };
                Some(Sides { chosen, rejected })
            }
        }
    }

    /// The places of the completions that found no partner, in the file's order.
    pub fn left(self) -> Vec<Place> {
        let mut places: Vec<Place> = self
            .sides
            .into_values()
            .flatten()
            .map(|s| s.place)
            .collect();
        places.sort();
        places
    }
}
