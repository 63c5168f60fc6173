//! Evaluates held-out preference pairs under a policy and its reference.

use crate::batch::{Extent, Stream};
use crate::data::Dataset;
use crate::dpo::Summary;
use crate::engine::{Engine, Release};
use crate::error::Result;
use crate::model::{Dims, Layout, Limits};
use crate::objective::Objective;
use crate::pretrained::Weights;
use crate::scorer::{Reference, Scorer, Share, Whole};

/// The models and pairs of an evaluation.
#[derive(Clone, Copy)]
pub struct Evaluation<'a> {
    /// The sizes of both models.
    pub dims: &'a Dims,
    /// The model whose log-probs count.
    pub policy: &'a Weights,
    /// The model that they are compared with.
    pub reference: &'a Weights,
    /// The held-out pairs.
    pub data: &'a Dataset,
    /// β: rewards are β times the difference of the log-probs.
    pub beta: f32,
    /// Pairs that pass through the device at a time.
    pub batch_size: usize,
}

/// Means over all pairs: loss, rewards, accuracy. The two models take turns on the device.
///
/// A loss that is not finite is not an error.
///
/// # Errors
/// `Error::Option` for an id or a position that the models do not have; every error of the device.
///
/// # Panics
/// If `batch_size` is 0, or if weights are not those of a model of `dims`.
pub fn evaluate(engine: &mut dyn Engine, evaluation: &Evaluation) -> Result<Summary> {
    let Evaluation {
        dims,
        policy,
        reference,
        data,
        beta,
        batch_size,
    } = *evaluation;
    let objective = Objective::sigmoid(beta);
    let sides = objective.sides();
    let extent = Extent::of(&data.examples, batch_size, sides);
    let limits = Limits {
        max_binding_bytes: engine.max_binding_bytes(),
        pair_heads: extent.pair_heads,
    };
    let layout = Layout::new(dims, limits)?;
    let of = Whole::of(&data.examples);
    let total = of.pairs;

    let scorer = Scorer::new(engine, &layout, reference, objective, extent, total)?;
    let mut references = Vec::new();
    for pairs in data.examples.chunks(batch_size) {
        references.push(scorer.log_probs(engine, &Stream::new(pairs, sides))?);
    }
    scorer.release(engine);

    let scorer = Scorer::new(engine, &layout, policy, objective, extent, total)?;
    let batches = data.examples.chunks(batch_size).zip(references);
    for (i, (pairs, logps)) in batches.enumerate() {
        let share = Share {
            first_slot: i * batch_size,
            of,
        };
        let stream = Stream::new(pairs, sides);
        scorer.score(engine, &stream, Reference::LogProbs(logps), share)?;
    }
    let summary = objective.summary(&scorer.metrics(engine, total)?);
    scorer.release(engine);
    Ok(summary)
}
