//! Finds the response of each pair that a model itself prefers. If the model strongly prefers the rejected
//! response, the labels of the pair may be swapped.

use std::ops::Range;

use crate::batch::{Extent, Stream};
use crate::data::Example;
use crate::engine::{Engine, Release};
use crate::error::Result;
use crate::model::{Dims, Layout, Limits};
use crate::objective::Objective;
use crate::pretrained::Weights;
use crate::scorer::Scorer;

/// The model's preference for the chosen response: the mean log-prob of its tokens minus that of the rejected
/// response, in nats per token. A sum instead of the mean would rank by length.
///
/// Returns one number per example, in the order of the examples. Calls `tell` with the number of finished
/// examples.
///
/// # Errors
/// An error of the device if the device fails; `Error::Option` for a token id or position that the model does not
/// have.
///
/// # Panics
/// If `batch_size` is 0, if an example has no rejected response, or if `weights` are not those of a model
/// of `dims`.
pub fn preferences(
    engine: &mut dyn Engine,
    dims: &Dims,
    weights: &Weights,
    examples: &[Example],
    batch_size: usize,
    tell: &mut dyn FnMut(usize),
) -> Result<Vec<f64>> {
    let paired = examples.iter().all(|example| !example.rejected.is_empty());
    assert!(paired, "only a pair can be ranked");
    // Which objective is asked for is of no account to log-probs; β neither.
    let objective = Objective::sigmoid(1.0);
    let sides = objective.sides();
    let extent = Extent::of(examples, batch_size, sides);
    let limits = Limits {
        max_binding_bytes: engine.max_binding_bytes(),
        pair_heads: extent.pair_heads,
    };
    let layout = Layout::new(dims, limits)?;
    let scorer = Scorer::new(engine, &layout, weights, objective, extent, examples.len())?;
    let mut preferences = Vec::with_capacity(examples.len());
    for pairs in examples.chunks(batch_size) {
        let stream = Stream::new(pairs, sides);
        let logps = scorer.log_probs(engine, &stream)?;
        for pair in &stream.pairs {
            let mean = |heads: Range<usize>| {
                let logps = &logps[heads];
                logps.iter().map(|&l| f64::from(l)).sum::<f64>() / logps.len() as f64
            };
            preferences.push(mean(pair.chosen()) - mean(pair.rejected()));
        }
        tell(preferences.len());
    }
    scorer.release(engine);
    Ok(preferences)
}
