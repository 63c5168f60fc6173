//! The inputs of a run.

use std::ops::Range;
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::data::Dataset;
use crate::pretrained::{Adapter, Outline, Weights};

/// The inputs of a run: a model and its pairs.
pub struct Inputs<'a> {
    /// The model without its weights: its sizes, and the files that a saved model has beside its weights.
    pub outline: Arc<Outline>,
    /// The weights at the start of training. The run frees them after the upload, because a GPU that shares the
    /// host's memory would hold them twice.
    pub weights: Weights,
    /// The adapter at the start, if adapters are trained; `None` = a new one, of the options' seed.
    pub adapter: Option<Adapter>,
    /// The weights of the reference, of a model of the same sizes; `None` = the weights at the start.
    pub reference: Option<Weights>,
    /// The pairs to learn from.
    pub train: &'a Dataset,
    /// Held-out pairs, if any.
    pub eval: Option<&'a Dataset>,
    /// The sets that the held-out pairs consist of, one after another. The first decides which evaluation is best.
    pub eval_sets: Vec<EvalSet>,
    /// The prompts that each evaluation answers, as ids; none without a tokenizer in `outline`.
    pub samples: Vec<Vec<u32>>,
    /// The checkpoint of an earlier run that this run goes on from.
    pub resume: Option<Resume>,
}

impl<'a> Inputs<'a> {
    /// The inputs of a run that begins with these weights, which are also the reference's.
    pub fn new(
        outline: Arc<Outline>,
        weights: Weights,
        train: &'a Dataset,
        eval: Option<&'a Dataset>,
    ) -> Inputs<'a> {
        Inputs {
            outline,
            weights,
            adapter: None,
            reference: None,
            train,
            eval,
            eval_sets: eval.map(EvalSet::whole).into_iter().collect(),
            samples: Vec::new(),
            resume: None,
        }
    }
}

/// A named part of the held-out pairs, which an evaluation reports by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalSet {
    /// The name in the metrics; empty for none.
    pub name: String,
    /// Its pairs among all held-out pairs.
    pub pairs: Range<usize>,
}

impl EvalSet {
    /// All pairs as one set without a name.
    pub fn whole(data: &Dataset) -> EvalSet {
        EvalSet {
            name: String::new(),
            pairs: 0..data.examples.len(),
        }
    }
}

/// A run that goes on.
pub struct Resume {
    /// The place to go on from. Options and pairs are to be those of the earlier run, and `weights` those that it
    /// began with.
    pub checkpoint: Checkpoint,
    /// Go on even if pairs or weights at the start are others.
    pub anyway: bool,
}
