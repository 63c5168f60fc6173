//! Evaluates held-out preference pairs under a policy and its reference.

mod judged;
mod pass;
mod report;
mod statistics;
mod versus;

pub use judged::{Judged, Response};
pub use pass::{Micro, Pass, judge_all};
pub use report::{Both, Bucket, Drift, Report};
pub use statistics::{Interval, Z, mean, rank_correlation};
pub use versus::{Difference, Versus, VersusBoth};

use crate::batch::{Extent, Stream};
use crate::data::Dataset;
use crate::engine::{Engine, Release};
use crate::error::Result;
use crate::model::{Dims, Layout, Limits};
use crate::objective::Objective;
use crate::pretrained::Weights;
use crate::scorer::{Reference, Scorer, Whole};

/// The models and pairs of an evaluation.
#[derive(Clone, Copy)]
pub struct Evaluation<'a> {
    /// The sizes of all models.
    pub dims: &'a Dims,
    /// The models whose log-probs count, each by itself.
    pub policies: &'a [&'a Weights],
    /// The model that they are compared with; `None` for an objective that needs none.
    pub reference: Option<&'a Weights>,
    /// The held-out pairs.
    pub data: &'a Dataset,
    /// The loss that is reported. Its β scales the rewards: β times the difference of the log-probs.
    pub objective: Objective,
    /// Pairs that pass through the device at a time.
    pub batch_size: usize,
    /// The token that ends a whole response; `None` if there is none.
    pub end: Option<u32>,
}

/// The numbers of each pair under each policy. The models take turns on the device.
///
/// A loss that is not finite is not an error.
///
/// # Errors
/// `Error::Option` for an id or a position that the models do not have, and for an objective that needs a reference
/// where there is none; every error of the device.
///
/// # Panics
/// If `batch_size` is 0, or if weights are not those of a model of `dims`.
pub fn evaluate(engine: &mut dyn Engine, evaluation: &Evaluation) -> Result<Vec<Vec<Judged>>> {
    let Evaluation {
        dims,
        policies,
        reference,
        data,
        objective,
        batch_size,
        end,
    } = *evaluation;
    objective.check_pairs([data])?;
    let sides = objective.sides();
    let extent = Extent::of(&data.examples, batch_size, sides);
    let limits = Limits {
        max_binding_bytes: engine.max_binding_bytes(),
        pair_heads: extent.pair_heads,
    };
    let layout = Layout::new(dims, limits)?;
    let of = Whole::of(&data.examples);

    let mut references = Vec::new();
    if let Some(reference) = reference.filter(|_| objective.needs_reference()) {
        let scorer = Scorer::new(engine, &layout, reference, objective, extent, of.pairs)?;
        for pairs in data.examples.chunks(batch_size) {
            references.push(scorer.log_probs(engine, &Stream::new(pairs, sides))?);
        }
        scorer.release(engine);
    }
    let mut judged = Vec::new();
    for policy in policies {
        let scorer = Scorer::new(engine, &layout, policy, objective, extent, of.pairs)?;
        let pairs = judge_all(objective, &data.examples, |rivals| {
            let mut pass = Pass::new(&scorer, of, end).against(rivals);
            for (i, pairs) in data.examples.chunks(batch_size).enumerate() {
                let reference = match references.get(i) {
                    Some(logps) => Reference::LogProbs(logps.clone()),
                    None => Reference::None,
                };
                let micro = pass.record(engine, pairs, reference)?;
                pass.run(engine, micro)?;
            }
            pass.finish(engine)
        })?;
        judged.push(pairs);
        scorer.release(engine);
    }
    Ok(judged)
}
