//! Which of the usable pairs are taken.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::encode::{Encoded, Side, Sides};
use super::options::Selection;
use super::source::Place;
use super::{Dataset, Example, shuffled};
use crate::error::{Error, Result};

/// Why a pair was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A response has no text.
    BlankResponse,
    /// Both responses are the same.
    EqualResponses,
    /// The responses differ only behind the cut.
    EqualUnderBudget,
    /// Both responses have the same score.
    ScoreTie,
    /// The chosen response's score is too little above the rejected one's.
    ScoreMargin,
    /// The same pair came before.
    Duplicate,
    /// No completion of the other label answers the same prompt.
    Unpaired,
    /// A completion that is labelled bad is nothing to imitate.
    LabelledBad,
    /// The record cannot be used.
    BadRecord,
}

impl Reason {
    /// For a line that begins with a count of pairs.
    pub fn words(self) -> &'static str {
        match self {
            Reason::BlankResponse => "pairs dropped: a response is empty",
            Reason::EqualResponses => "pairs dropped: both responses are equal",
            Reason::EqualUnderBudget => {
                "pairs dropped: their responses are equal under --max-response-tokens"
            }
            Reason::ScoreTie => "pairs dropped: both scores are equal (--drop-ties)",
            Reason::ScoreMargin => "pairs dropped: their scores lie too close (--min-score-margin)",
            Reason::Duplicate => "pairs dropped: the same pair came before (--dedupe)",
            Reason::Unpaired => {
                "completions dropped: none of the other label answers the same prompt"
            }
            Reason::LabelledBad => "completions dropped: labelled as bad, and --loss sft imitates",
            Reason::BadRecord => "records skipped",
        }
    }
}

/// Goes over a file's pairs one by one and says which are taken.
pub(super) struct Selector<'a> {
    selection: &'a Selection,
    seen: HashSet<u128>,
    passed: usize,
    taken: usize,
    scored: bool,
}

impl<'a> Selector<'a> {
    pub fn new(selection: &'a Selection) -> Self {
        Selector {
            selection,
            seen: HashSet::new(),
            passed: 0,
            taken: 0,
            scored: false,
        }
    }

    /// True once no further pair can be taken.
    pub fn is_full(&self) -> bool {
        self.selection
            .limit
            .is_some_and(|limit| self.taken >= limit)
    }

    /// Whether a pair is taken; `Ok(false)` if it only lies outside --skip and --limit.
    pub fn takes(&mut self, encoded: &Encoded) -> Result<bool, Reason> {
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
        if self.selection.dedupe && !self.seen.insert(fingerprint(&encoded.example)) {
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

    /// Refuses options that nothing in the file could act on.
    pub fn check(&self) -> Result<()> {
        let asked = [
            ("--drop-ties", self.selection.drop_ties),
            (
                "--min-score-margin",
                self.selection.min_score_margin.is_some(),
            ),
        ];
        match asked.iter().find(|(_, asked)| *asked && !self.scored) {
            Some((option, _)) => Err(Error::option(
                *option,
                "no record of the data has scores",
                "leave it out, or name the columns of the scores: \
                 --columns score_chosen=…,score_rejected=…",
            )),
            None => Ok(()),
        }
    }
}

/// A pair's name: equal for equal ids.
pub(super) fn fingerprint(example: &Example) -> u128 {
    hash([&example.prompt, &example.chosen, &example.rejected])
}

/// A name of these lists of ids.
pub(super) fn hash<'a>(lists: impl IntoIterator<Item = &'a Vec<u32>>) -> u128 {
    let mut hash = Sha256::new();
    for ids in lists {
        hash.update((ids.len() as u64).to_le_bytes());
        hash.update(bytemuck::cast_slice::<u32, u8>(ids));
    }
    let digest = hash.finalize();
    let mut name = [0; 16];
    name.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(name)
}

/// Labelled completions that wait for one of the other label.
#[derive(Default)]
pub(super) struct Waiting {
    /// By conversation; all those of an entry have one label, in the file's order.
    sides: HashMap<String, Vec<Side>>,
}

impl Waiting {
    /// The side that waited longest for this one, which otherwise waits too.
    pub fn partner(&mut self, side: Side) -> Option<Sides> {
        let mut key = String::new();
        for message in &side.conversation {
            // Lengths make the key of different turns differ whatever they hold.
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

    /// Where those are that found none, in the file's order.
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

impl Dataset {
    /// All pairs of these, one data set after another.
    pub fn joined(mut parts: Vec<Dataset>) -> Dataset {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let names: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
        let examples = parts.into_iter().flat_map(|part| part.examples).collect();
        Dataset::of(names.join(" and "), examples)
    }

    /// Takes the pairs of about `fraction` of the prompts out, as held-out pairs: no prompt is on both
    /// sides. Which ones is fixed by `seed`.
    ///
    /// # Errors
    /// [`Error::Option`] naming `--eval-fraction` if either side would be empty.
    pub fn hold_out(&mut self, fraction: f64, seed: u64) -> Result<Dataset> {
        let mut by_prompt: HashMap<u128, Vec<usize>> = HashMap::new();
        let mut prompts = Vec::new();
        for (at, example) in self.examples.iter().enumerate() {
            let name = hash([&example.prompt]);
            let pairs = by_prompt.entry(name).or_insert_with(|| {
                prompts.push(name);
                Vec::new()
            });
            pairs.push(at);
        }
        let wanted = (fraction * self.examples.len() as f64).round() as usize;
        let mut held = vec![false; self.examples.len()];
        let mut count = 0;
        for at in shuffled(prompts.len(), seed, EVAL_STREAM) {
            let pairs = &by_prompt[&prompts[at]];
            if count + pairs.len() <= wanted {
                count += pairs.len();
                pairs.iter().for_each(|&pair| held[pair] = true);
            }
        }
        if count == 0 || count == self.examples.len() {
            return Err(Error::option(
                "--eval-fraction",
                format!(
                    "{fraction} of {} pairs with {} prompts leaves no pair on one of the two sides",
                    self.examples.len(),
                    prompts.len()
                ),
                "give another fraction, or a file of held-out pairs with --eval-data",
            ));
        }
        let mut held = held.into_iter();
        let (out, kept) = std::mem::take(&mut self.examples)
            .into_iter()
            .partition(|_| held.next().unwrap_or(false));
        self.examples = kept;
        Ok(Dataset {
            name: self.name.clone(),
            examples: out,
            audit: self.audit.clone(),
        })
    }

    /// Takes each pair `weight` times: 2 is twice, 0.5 is half of the pairs, drawn by `seed`. Copies stand one
    /// after another.
    ///
    /// # Errors
    /// [`Error::Option`] naming `--data-weights` if that leaves no pair.
    pub fn weigh(&mut self, weight: f64, seed: u64) -> Result<()> {
        let count = self.examples.len();
        let (copies, part) = (weight.trunc() as usize, weight.fract());
        let mut times = vec![copies; count];
        let extra = (part * count as f64).round() as usize;
        for &at in shuffled(count, seed, WEIGHT_STREAM).iter().take(extra) {
            times[at] += 1;
        }
        let pairs = self.examples.iter().zip(times);
        self.examples = pairs
            .flat_map(|(example, times)| std::iter::repeat_n(example, times).cloned())
            .collect();
        if self.examples.is_empty() {
            return Err(Error::option(
                "--data-weights",
                format!("{weight} leaves no pair of {}", self.name),
                "give a larger weight, or leave the data out",
            ));
        }
        Ok(())
    }
}

/// Streams of the seed that no epoch's order uses.
const EVAL_STREAM: u64 = u64::MAX;
const WEIGHT_STREAM: u64 = u64::MAX - 1;
