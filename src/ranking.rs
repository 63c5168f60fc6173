//! Which response of a pair a model itself finds likelier: pairs that it ranks strongly the other way may have
//! their labels swapped.

use crate::batch::{Extent, Stream};
use crate::checkpoint::Weights;
use crate::data::Example;
use crate::engine::Engine;
use crate::error::Result;
use crate::learner::{Objective, Scorer};
use crate::model::{Dims, Layout};

/// How much likelier a model finds the chosen response than the rejected one: the difference of the mean
/// log-probs of their tokens, in nats a token. The mean, because a sum would rank by length.
///
/// One number for each example, in their order; `tell` hears how many there are already.
///
/// # Errors
/// `Error::Device`; `Error::Option` for an id or a position that the model does not have.
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
    let objective = Objective::Sigmoid { beta: 1.0 };
    let sides = objective.sides();
    let extent = Extent::of(examples, batch_size, sides);
    let layout = Layout::new(dims, engine.max_binding_bytes(), extent.pair_heads)?;
    let scorer = Scorer::new(engine, &layout, weights, objective, extent, examples.len())?;
    let mut preferences = Vec::with_capacity(examples.len());
    for pairs in examples.chunks(batch_size) {
        let stream = Stream::new(pairs, sides);
        let logps = scorer.log_probs(engine, &stream)?;
        for &[start, middle, end] in &stream.pairs {
            let mean = |from: u32, to: u32| {
                let logps = &logps[from as usize..to as usize];
                logps.iter().map(|&l| f64::from(l)).sum::<f64>() / logps.len() as f64
            };
            preferences.push(mean(start, middle) - mean(middle, end));
        }
        tell(preferences.len());
    }
    scorer.release(engine);
    Ok(preferences)
}
