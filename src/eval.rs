//! Evaluates held-out preference pairs under a policy and its reference.

use crate::batch::{Extent, Stream};
use crate::checkpoint::Weights;
use crate::data::Dataset;
use crate::dpo::Summary;
use crate::engine::Engine;
use crate::error::Result;
use crate::learner::{Objective, Place, Reference, Scorer};
use crate::model::{Dims, Layout};

/// Means of loss, rewards and accuracy over all pairs of `data`. Only one of the two models is on the device at
/// a time.
///
/// A loss that is not finite is not an error.
///
/// # Errors
/// `Error::Device` if the device fails; `Error::Option` for a token id or position that the models do not have.
///
/// # Panics
/// If `batch_size` is 0, or if the weights are not those of a model of `dims`.
pub fn evaluate(
    engine: &mut dyn Engine,
    dims: &Dims,
    (policy, reference): (&Weights, &Weights),
    data: &Dataset,
    beta: f32,
    batch_size: usize,
) -> Result<Summary> {
    let objective = Objective::Sigmoid { beta };
    let sides = objective.sides();
    let extent = Extent::of(&data.examples, batch_size, sides);
    let layout = Layout::new(dims, engine.max_binding_bytes(), extent.pair_heads)?;
    let total = data.examples.len();

    let scorer = Scorer::new(engine, &layout, reference, objective, extent, total)?;
    let mut references = Vec::new();
    for pairs in data.examples.chunks(batch_size) {
        references.push(scorer.log_probs(engine, &Stream::new(pairs, sides))?);
    }
    scorer.release(engine);

    let scorer = Scorer::new(engine, &layout, policy, objective, extent, total)?;
    let batches = data.examples.chunks(batch_size).zip(references);
    for (i, (pairs, logps)) in batches.enumerate() {
        let place = Place {
            slot: i * batch_size,
            of: total,
        };
        let stream = Stream::new(pairs, sides);
        scorer.score(engine, &stream, Reference::LogProbs(logps), place)?;
    }
    let summary = objective.summary(&scorer.metrics(engine, total)?);
    scorer.release(engine);
    Ok(summary)
}
