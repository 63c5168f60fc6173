//! The starter's text: questions, each with helpful and with curt answers.
//!
//! Everything is made from the tables of the topic files, so it is ours, it is right, and the same
//! seed gives the same bytes on every platform. A [`Fact`] is asked for in several ways. For 160
//! facts, one of the ways is held out: it is never seen in any training, while the fact itself is
//! (asked in other words), and so is the way of asking (about other facts).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use dice::Dice;
use fact::Fact;

mod advice;
mod animals;
mod calendar;
mod dice;
mod fact;
mod geography;
mod numbers;
mod people;
mod reasons;
mod things;
mod words;

/// A question with one answer, to pretrain on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub question: String,
    pub answer: String,
}

impl Exchange {
    /// What the answer follows, in the product's template.
    pub fn prompt(&self) -> String {
        format!("User: {}\nAssistant: ", self.question)
    }
}

/// A preference, as a line of the product's data files: the helpful answer over the curt one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The bare question, outside of the template.
    pub prompt: String,
    pub chosen: String,
    pub rejected: String,
}

const TRAIN_PAIRS: usize = 640;
const EVAL_PAIRS: usize = 160;

/// Of every nine questions, two get a second curt answer: 9 helpful answers to 11 curt ones, so the
/// pretrained model leans to the curt side and DPO has something to turn around.
const EXTRA_CURT: (usize, usize) = (2, 9);

/// Follows a correct answer that one would rather not have given.
const IMPATIENCE: &[&str] = &["Next.", "That is all.", "Happy now?"];

/// Which questions are held out does not depend on the caller's seed, so that the eval pairs of one
/// seed can judge a model pretrained with another.
const SPLIT_SEED: u64 = 0;

/// One stream of chance for each purpose: see [`Dice::new`].
const SPLIT: u64 = 0;
const PRETRAINING: u64 = 1;
const PREFERENCES: u64 = 2;

/// Exchanges for supervised pretraining, shuffled: 45 % helpful and 55 % curt answers to every
/// question that is not held out.
pub fn pretraining(seed: u64) -> Vec<Exchange> {
    let facts = facts();
    let mut dice = Dice::new(seed, PRETRAINING);
    let mut asked = Asked::split(&facts).training;
    dice.shuffle(&mut asked);

    let mut exchanges = Vec::new();
    for (i, asked) in asked.iter().enumerate() {
        let mut add = |answer| {
            exchanges.push(Exchange {
                question: asked.question.to_owned(),
                answer,
            });
        };
        add(helpful(asked.fact, &mut dice));
        add(curt(asked.fact, &mut dice));
        if i % EXTRA_CURT.1 < EXTRA_CURT.0 {
            add(curt(asked.fact, &mut dice));
        }
    }
    dice.shuffle(&mut exchanges);
    exchanges
}

/// Preference pairs to train and to evaluate on, 640 and 160, in which every topic has its share.
/// No question occurs twice, and none of the second ones occurs in [`pretraining`], whatever its seed.
pub fn preferences(seed: u64) -> (Vec<Pair>, Vec<Pair>) {
    let facts = facts();
    let mut dice = Dice::new(seed, PREFERENCES);
    let split = Asked::split(&facts);

    let mut piles = by_topic(split.training);
    piles.iter_mut().for_each(|pile| dice.shuffle(pile));
    let mut train = deal(piles, TRAIN_PAIRS);
    dice.shuffle(&mut train);

    let mut pairs = |asked: &[Asked]| -> Vec<Pair> {
        asked
            .iter()
            .map(|asked| Pair {
                prompt: asked.question.to_owned(),
                chosen: helpful(asked.fact, &mut dice),
                rejected: curt(asked.fact, &mut dice),
            })
            .collect()
    };
    (pairs(&train), pairs(&split.held_out))
}

/// All that there is to know, topic file after topic file.
fn facts() -> Vec<Fact> {
    [
        geography::facts(),
        words::facts(),
        numbers::facts(),
        calendar::facts(),
        animals::facts(),
        things::facts(),
        people::facts(),
        reasons::facts(),
        advice::facts(),
    ]
    .concat()
}

fn helpful(fact: &Fact, dice: &mut Dice) -> String {
    dice.pick(&fact.helpful).clone()
}

/// Bare, or bare and impatient, or nothing at all: 4, 2 and 4 times of ten.
fn curt(fact: &Fact, dice: &mut Dice) -> String {
    match dice.below(10) {
        0..4 => fact.bare.clone(),
        4..6 => format!("{} {}", fact.bare, dice.pick(IMPATIENCE)),
        _ => (*dice.pick(fact.refusals)).to_owned(),
    }
}

/// A fact, asked for in one of its ways.
#[derive(Clone, Copy)]
struct Asked<'a> {
    fact: &'a Fact,
    question: &'a str,
}

struct Split<'a> {
    training: Vec<Asked<'a>>,
    held_out: Vec<Asked<'a>>,
}

impl<'a> Asked<'a> {
    /// Holds out [`EVAL_PAIRS`] questions, at most one of a fact, dealt evenly from the topics.
    fn split(facts: &'a [Fact]) -> Split<'a> {
        let mut dice = Dice::new(SPLIT_SEED, SPLIT);
        let mut candidates: Vec<Asked> = facts
            .iter()
            .map(|fact| Asked {
                fact,
                question: dice.pick(&fact.questions).as_str(),
            })
            .collect();
        dice.shuffle(&mut candidates);
        let held_out = deal(by_topic(candidates), EVAL_PAIRS);

        let unseen: BTreeSet<&str> = held_out.iter().map(|asked| asked.question).collect();
        let training = facts
            .iter()
            .flat_map(|fact| {
                fact.questions
                    .iter()
                    .map(move |question| Asked { fact, question })
            })
            .filter(|asked| !unseen.contains(asked.question))
            .collect();
        Split { training, held_out }
    }
}

fn by_topic(asked: Vec<Asked>) -> Vec<Vec<Asked>> {
    let mut piles: BTreeMap<&str, Vec<Asked>> = BTreeMap::new();
    for asked in asked {
        piles.entry(asked.fact.topic).or_default().push(asked);
    }
    piles.into_values().collect()
}

/// Takes `count` from the tops of the piles, round after round; fewer if the piles hold fewer.
fn deal<T>(mut piles: Vec<Vec<T>>, count: usize) -> Vec<T> {
    let mut hand = Vec::with_capacity(count);
    while hand.len() < count && piles.iter().any(|pile| !pile.is_empty()) {
        hand.extend(piles.iter_mut().filter_map(Vec::pop));
    }
    hand.truncate(count);
    hand
}

#[cfg(test)]
mod tests;
