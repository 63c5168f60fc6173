//! Joins several data sets into one: held-out prompts and weights.

use std::collections::HashMap;
use std::collections::HashSet;

use super::{Dataset, shuffled};
use crate::error::{Error, Result};

/// The largest weight of a data set.
const MAX_WEIGHT: f64 = 1000.0;

/// ChaCha streams of the seed for the two draws below; no epoch's order uses them.
const EVAL_STREAM: u64 = u64::MAX;
const WEIGHT_STREAM: u64 = u64::MAX - 1;

/// Moves the pairs of some prompts out of `parts`, about `fraction` of all pairs, as held-out pairs. All
/// pairs of a prompt stay on one side. `seed` fixes which prompts are held out.
///
/// # Errors
/// [`Error::Option`] naming `eval_fraction` if either side would be empty.
pub fn hold_out(parts: &mut [Dataset], fraction: f64, seed: u64) -> Result<Dataset> {
    let mut counts: HashMap<u128, usize> = HashMap::new();
    let mut prompts = Vec::new();
    for example in parts.iter().flat_map(|part| &part.examples) {
        let name = example.asked;
        let count = counts.entry(name).or_insert_with(|| {
            prompts.push(name);
            0
        });
        *count += 1;
    }
    let pairs: usize = counts.values().sum();
    let wanted = (fraction * pairs as f64).round() as usize;
    let mut held = HashSet::new();
    let mut taken = 0;
    for at in shuffled(prompts.len(), seed, EVAL_STREAM) {
        let count = counts[&prompts[at]];
        if taken + count <= wanted {
            taken += count;
            held.insert(prompts[at]);
        }
    }
    if taken == 0 || taken == pairs {
        return Err(Error::option(
            "eval_fraction",
            format!(
                "{fraction} of {pairs} pairs with {} prompts leaves no pair on one of the two sides",
                prompts.len()
            ),
            "give another fraction, or a file of held-out pairs with `.eval_data`",
        ));
    }
    let mut out = Vec::new();
    for part in parts.iter_mut() {
        let (held_out, kept) = std::mem::take(&mut part.examples)
            .into_iter()
            .partition(|example| held.contains(&example.asked));
        part.examples = kept;
        out.extend::<Vec<_>>(held_out);
    }
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    Ok(Dataset::of(names.join(" and "), out))
}

/// Takes each pair as often as the weight of its data set says: 2 takes each pair twice, 0.5 takes half of
/// the pairs, which `seed` draws. Copies of a pair follow one another.
///
/// # Errors
/// [`Error::Option`] naming `data_weights` for a weight above 1000, or if no pair is left at all.
pub fn weigh(parts: &mut [Dataset], weights: &[f64], seed: u64) -> Result<()> {
    for (part, &weight) in parts.iter_mut().zip(weights) {
        if weight > MAX_WEIGHT {
            return Err(Error::option(
                "data_weights",
                format!("{weight} is more than {MAX_WEIGHT}"),
                "give smaller weights: what counts is how they compare; `.epochs` goes over all pairs again",
            ));
        }
        let count = part.examples.len();
        let (copies, rest) = (weight.trunc() as usize, weight.fract());
        let mut times = vec![copies; count];
        let extra = (rest * count as f64).round() as usize;
        for &at in shuffled(count, seed, WEIGHT_STREAM).iter().take(extra) {
            times[at] += 1;
        }
        let pairs = part.examples.iter().zip(times);
        part.examples = pairs
            .flat_map(|(example, times)| std::iter::repeat_n(example, times).cloned())
            .collect();
    }
    match parts.iter().all(|part| part.examples.is_empty()) {
        true => Err(Error::option(
            "data_weights",
            "leaves no pair at all",
            "give a larger weight",
        )),
        false => Ok(()),
    }
}

/// The pairs of all `parts`, one data set after another.
pub fn joined(parts: Vec<Dataset>) -> Dataset {
    let names: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
    let examples = parts.into_iter().flat_map(|part| part.examples).collect();
    Dataset::of(names.join(" and "), examples)
}
