//! The measured workload: a model with random weights, and random pairs for it.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Options;
use crate::batch::{Extent, Stream};
use crate::config::TrainConfig;
use crate::data::{self, Example};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::learner::{Learner, Recipe, Room, StepTicket};
use crate::model::{Dims, Layout, Limits, params};
use crate::objective::Objective;
use crate::plan::Planner;
use crate::pretrained::{self, Config, Weights};
use crate::recording::Recording;
use crate::scorer::{Reference, Share, Whole};

/// A model that goes by a name.
#[derive(Clone, Copy, Debug)]
pub struct KnownModel {
    /// Its name.
    pub name: &'static str,
    /// Its sizes.
    pub dims: Dims,
}

/// GPT-2's published sizes, and the small one of the documents.
pub const MODELS: [KnownModel; 6] = [
    known("gpt2", gpt2(12, 768, 12, 50257)),
    known("gpt2-medium", gpt2(24, 1024, 16, 50257)),
    known("gpt2-large", gpt2(36, 1280, 20, 50257)),
    known("gpt2-xl", gpt2(48, 1600, 25, 50257)),
    known("distilgpt2", gpt2(6, 768, 12, 50257)),
    known("small", gpt2(4, 256, 4, 8192)),
];

const fn known(name: &'static str, dims: Dims) -> KnownModel {
    KnownModel { name, dims }
}

const fn gpt2(n_layer: usize, n_embd: usize, n_head: usize, vocab_size: usize) -> Dims {
    Dims {
        vocab_size,
        n_positions: 1024,
        n_embd,
        n_layer,
        n_head,
        n_inner: 4 * n_embd,
        epsilon: 1e-5,
    }
}

/// The sizes of one of [`MODELS`], or of the config.json in a directory.
///
/// # Errors
/// `Error::Option` if `model` is neither; `Error::Io` and `Error::File` for a config.json that cannot be
/// read or does not describe a GPT-2.
pub fn dims(model: &str) -> Result<Dims> {
    if let Some(known) = MODELS.iter().find(|known| known.name == model) {
        return Ok(known.dims);
    }
    if !Path::new(model).is_dir() {
        let names = MODELS.map(|known| known.name).join(", ");
        return Err(Error::option(
            "model",
            format!("{model} is neither a directory nor one of {names}"),
            "give one of these names, or a directory with a config.json",
        ));
    }
    Ok(Config::load(Path::new(model))?.dims)
}

/// The seed of all random numbers here.
const SEED: u64 = 13;

/// A model in training and the micro-batch that a step accumulates several times.
pub(crate) struct Workload {
    learner: Learner,
    stream: Stream,
    /// `[P]` reference log-probs, near the log-prob of a uniform distribution over the vocabulary.
    references: Vec<f32>,
    /// The number of micro-batches in a step.
    pub batches: usize,
    /// The pairs of a step.
    pub whole: Whole,
    /// The tokens of a step's prompts and responses, each counted once.
    pub tokens: usize,
    objective: Objective,
    learning_rate: f64,
}

impl Workload {
    /// Creates the model and its data on a device.
    ///
    /// # Errors
    /// `Error::Option` if the number of pairs overflows; an error of the device if the model does not fit.
    pub fn new(engine: &mut dyn Engine, dims: &Dims, options: &Options) -> Result<Workload> {
        let work = Workload::empty(engine, dims, options)?;
        let weights = weights(&mut ChaCha8Rng::seed_from_u64(SEED), dims);
        let policy = &work.learner.policy.weights;
        policy.write(engine, &weights.tensors)?;
        Ok(work)
    }

    /// [`Workload::new`] with all weights 0. On a device with room to grow, all pairs of a step are one micro-batch.
    ///
    /// # Errors
    /// The errors of [`Workload::new`].
    pub fn empty(engine: &mut dyn Engine, dims: &Dims, options: &Options) -> Result<Workload> {
        let batches = options.gradient_accumulation_steps;
        let pairs = options.batch_size.checked_mul(batches).ok_or_else(|| {
            Error::option(
                "gradient_accumulation_steps",
                "times `.batch_size` is more pairs than can be counted",
                "lower one of them",
            )
        })?;
        if let Some(mut paper) = Planner::of_growth(engine).filter(|_| batches > 1) {
            let at_once = Options {
                batch_size: pairs,
                gradient_accumulation_steps: 1,
                ..options.clone()
            };
            if Workload::empty(&mut paper, dims, &at_once).is_ok() {
                match Workload::empty(engine, dims, &at_once) {
                    Err(e) if e.is_memory() => {} // as a run does, which then takes fewer pairs at once
                    made => return made,
                }
            }
        }
        let config = TrainConfig::default();
        let (objective, optimizer) = (config.objective(), config.optimizer());
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let examples = examples(&mut rng, dims, options);
        let extent = Extent::of(&examples, examples.len(), objective.sides());
        let limits = Limits {
            max_binding_bytes: engine.max_binding_bytes(),
            pair_heads: extent.pair_heads,
        };
        let layout = Layout::new(dims, limits)?;
        let recipe = Recipe {
            objective,
            optimizer,
        };
        let learner = Learner::empty(engine, &layout, recipe, &Room::new(extent, pairs))?;
        let stream = Stream::new(&examples, objective.sides());
        let level = -(dims.vocab_size as f32).ln();
        let near = |_: &u32| level + 0.1 * uniform(&mut rng);
        Ok(Workload {
            learner,
            references: stream.targets.iter().map(near).collect(),
            batches,
            whole: Whole {
                pairs,
                chosen_tokens: pairs.saturating_mul(options.max_response_tokens),
            },
            tokens: stream.num_tokens.shared.saturating_mul(batches),
            stream,
            objective,
            learning_rate: config.learning_rate,
        })
    }

    /// The number of buffers that hold the vocabulary matrix.
    pub fn vocabulary_shards(&self) -> usize {
        self.learner.policy.weights.gpt2.wte.shards.len()
    }

    /// The loss of the first step, with the policy itself as the reference.
    pub fn first_loss(mut self, engine: &mut dyn Engine) -> Result<f64> {
        self.references = self.learner.policy.log_probs(engine, &self.stream)?;
        self.accumulate(engine, 0)?;
        let ticket = self.update(engine)?;
        let report = self.learner.report(engine, ticket)?;
        Ok(self.objective.summary(&report.pairs).loss)
    }

    /// The current weights, in the order of the parameter table.
    pub fn weights(&self, engine: &mut dyn Engine) -> Result<Vec<Vec<f32>>> {
        self.learner.policy.weights.download(engine)
    }

    /// Adds the gradient of micro-batch number `batch`, with cached reference log-probs.
    pub fn accumulate(&self, engine: &mut dyn Engine, batch: usize) -> Result<()> {
        let reference = Reference::LogProbs(self.references.clone());
        let share = self.share(batch);
        self.learner
            .accumulate(engine, &self.stream, reference, share)
    }

    /// The recordings of an optimizer step.
    pub fn recordings(&self, engine: &dyn Engine) -> Result<Vec<Recording>> {
        let mut recordings = Vec::new();
        for batch in 0..self.batches {
            let reference = Reference::LogProbs(self.references.clone());
            let share = self.share(batch);
            recordings.push(
                self.learner
                    .record(engine, &self.stream, reference, share)?,
            );
        }
        let (rate, pairs) = (self.learning_rate, self.whole.pairs);
        recordings.push(self.learner.record_update(engine, rate, pairs));
        Ok(recordings)
    }

    fn share(&self, batch: usize) -> Share {
        Share {
            first_slot: batch * self.stream.pairs.len(),
            of: self.whole,
        }
    }

    /// Takes the optimizer step.
    pub fn update(&mut self, engine: &mut dyn Engine) -> Result<StepTicket> {
        self.learner
            .update(engine, self.learning_rate, self.whole.pairs)
    }

    /// Waits for the metrics of a step, which is how training knows that the step is done.
    pub fn report(&self, engine: &mut dyn Engine, ticket: StepTicket) -> Result<()> {
        self.learner.report(engine, ticket).map(|_| ())
    }
}

/// Uniform in ±1.
fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (2.0 * f64::from(rng.next_u32()) / f64::from(u32::MAX) - 1.0) as f32
}

/// The pairs of one micro-batch, with the longest texts that the options allow.
fn examples(rng: &mut ChaCha8Rng, dims: &Dims, options: &Options) -> Vec<Example> {
    let mut tokens = |count: usize| -> Vec<u32> {
        let token = |_| (u64::from(rng.next_u32()) % dims.vocab_size as u64) as u32;
        (0..count).map(token).collect()
    };
    (0..options.batch_size)
        .map(|i| {
            Example::new(
                tokens(options.max_prompt_tokens),
                tokens(options.max_response_tokens),
                tokens(options.max_response_tokens),
                data::Place::new("bench", i + 1),
            )
        })
        .collect()
}

/// GPT-2's initial weights; biases, gains and shifts are moved off their initial 0 and 1.
fn weights(rng: &mut ChaCha8Rng, dims: &Dims) -> Weights {
    let mut weights = pretrained::initial(dims, SEED);
    for (param, values) in params::table(dims).iter().zip(&mut weights.tensors) {
        if !param.role.is_matrix() {
            for value in values {
                *value += 0.02 * uniform(rng);
            }
        }
    }
    weights
}
