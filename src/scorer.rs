//! A scorer: a model on a device that computes the log-probs and metrics of pairs.

use crate::batch::{Extent, Stream};
use crate::buffer::Buffer;
use crate::data::Example;
use crate::dpo::PairMetrics;
use crate::engine::{Device, Engine, EngineExt, Release};
use crate::error::{Error, Result};
use crate::model::forward::{self, Rows};
use crate::model::{Dims, Gpt2, Layout, Purpose, Tensor, Tensors, Workspace};
use crate::objective::Objective;
use crate::ops::preference;
use crate::pretrained::Weights;
use crate::recording::Recording;

/// The source of the reference's log-probs.
pub enum Reference<'a> {
    /// `[P]`: log-probs computed before, one for each head row of the stream.
    LogProbs(Vec<f32>),
    /// The frozen weights, whose forward pass computes the log-probs.
    Model(&'a Gpt2<Tensor>),
    /// No reference, for an objective that needs none.
    None,
}

/// A micro-batch's share of its optimizer step or evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The slot of the micro-batch's first pair in the metrics.
    pub first_slot: usize,
    /// The whole, over which the loss is a mean.
    pub of: Whole,
}

/// All pairs of an optimizer step or of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The number of pairs.
    pub pairs: usize,
    /// The number of tokens of their chosen responses.
    pub chosen_tokens: usize,
}

impl Whole {
    /// The whole that these pairs are.
    pub fn of<'a>(examples: impl IntoIterator<Item = &'a Example>) -> Whole {
        let mut whole = Whole {
            pairs: 0,
            chosen_tokens: 0,
        };
        for example in examples {
            whole.pairs += 1;
            whole.chosen_tokens += example.chosen.len();
        }
        whole
    }

    /// So many wholes of this size, for a mean over their means.
    pub fn times(self, count: usize) -> Whole {
        Whole {
            pairs: count * self.pairs,
            chosen_tokens: count * self.chosen_tokens,
        }
    }
}

/// Scores pairs with a model on a device; no gradients.
pub struct Scorer {
    /// The model's sizes.
    pub dims: Dims,
    /// The model's parameters.
    pub weights: Tensors,
    /// The buffers of a micro-batch; with gradients only in a learner.
    pub ws: Workspace,
    /// The objective whose loss and metrics are computed.
    pub objective: Objective,
}

impl Scorer {
    /// Uploads a model to a device, with room for micro-batches up to `extent`, and for the metrics of `slots` pairs
    /// between two readbacks.
    ///
    /// # Errors
    /// `Error::OutOfMemory` if the buffers do not fit.
    pub fn new(
        engine: &mut dyn Engine,
        layout: &Layout,
        weights: &Weights,
        objective: Objective,
        extent: Extent,
        slots: usize,
    ) -> Result<Scorer> {
        let weights = Tensors::upload(engine, layout, &weights.tensors, "weights")?;
        let (weights, ws) = weights.beside(engine, |engine| {
            Workspace::new(engine, layout, extent, slots, Purpose::Score)
        })?;
        Ok(Scorer {
            dims: layout.dims,
            weights,
            ws,
            objective,
        })
    }

    /// The log-prob of every response token of a micro-batch, in the order of its head rows: `[P]`.
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have; every error of the device.
    pub fn log_probs(&self, engine: &mut dyn Engine, stream: &Stream) -> Result<Vec<f32>> {
        self.log_probs_of(engine, &self.weights.gpt2, stream)
    }

    /// [`Scorer::log_probs`] with other weights of the same layout, such as the policy without its adapters.
    ///
    /// # Errors
    /// As there.
    pub fn log_probs_of(
        &self,
        engine: &mut dyn Engine,
        weights: &Gpt2<Tensor>,
        stream: &Stream,
    ) -> Result<Vec<f32>> {
        let mut rec = self.record_log_probs(engine, weights, stream)?;
        rec.fetch(self.ws.head.logps.first(stream.targets.len()));
        let mut logps = Vec::new();
        for ticket in engine.run(&rec)? {
            logps = bytemuck::cast_vec(engine.collect(ticket)?);
        }
        Ok(logps)
    }

    /// The device's identity for the log-probs of micro-batches like `stream` under `weights`: the facts on which they
    /// may depend, apart from the values of the weights and the ids.
    ///
    /// # Errors
    /// As [`Scorer::log_probs`].
    pub fn identity(
        &self,
        device: &mut dyn Device,
        weights: &Gpt2<Tensor>,
        stream: &Stream,
    ) -> Result<String> {
        let rec = self.record_log_probs(device, weights, stream)?;
        device.identity_for(&rec)
    }

    fn record_log_probs(
        &self,
        engine: &dyn Engine,
        weights: &Gpt2<Tensor>,
        stream: &Stream,
    ) -> Result<Recording> {
        let mut rec = engine.recording();
        self.ws.upload(&mut rec, stream)?;
        self.model_log_probs(&mut rec, weights, stream, self.ws.head.logps);
        Ok(rec)
    }

    /// Computes the metrics of a micro-batch. They stay on the device until [`Scorer::metrics`] reads them.
    ///
    /// # Errors
    /// As [`Scorer::log_probs`].
    pub fn score(
        &self,
        engine: &mut dyn Engine,
        stream: &Stream,
        reference: Reference,
        share: Share,
    ) -> Result<()> {
        let rec = self.record_score(engine, stream, reference, share)?;
        engine.run(&rec)?;
        Ok(())
    }

    /// Records the micro-batch of [`Scorer::score`], uploads included.
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have.
    pub fn record_score(
        &self,
        engine: &dyn Engine,
        stream: &Stream,
        reference: Reference,
        share: Share,
    ) -> Result<Recording> {
        let mut rec = engine.recording();
        self.ws.upload(&mut rec, stream)?;
        self.give_reference(&mut rec, stream, reference)?;
        self.model_log_probs(&mut rec, &self.weights.gpt2, stream, self.ws.head.logps);
        preference::forward(&mut rec, &self.loss(share), 0..stream.pairs.len());
        Ok(rec)
    }

    /// Reads back the metrics of the first `pairs` slots.
    ///
    /// # Errors
    /// Every error of the device.
    pub fn metrics(&self, engine: &mut dyn Engine, pairs: usize) -> Result<Vec<PairMetrics>> {
        let words = engine.read(self.metrics_of(pairs))?;
        Ok(bytemuck::pod_collect_to_vec(&words))
    }

    /// The range of the first `pairs` slots in the buffer of metrics.
    pub(crate) fn metrics_of(&self, pairs: usize) -> Buffer {
        self.ws.head.metrics.first(pairs * preference::METRICS)
    }

    /// The operands of the loss: the objective over the buffers of the workspace.
    pub(crate) fn loss(&self, share: Share) -> preference::Loss {
        let head = &self.ws.head;
        preference::Loss {
            losses: self.objective.losses,
            settings: self.objective.settings,
            weight: 1.0 / share.of.pairs as f32,
            token_weight: 1.0 / share.of.chosen_tokens as f32,
            pairs: self.ws.inputs.pairs,
            logps: head.logps,
            facts: head.facts,
            references: self.objective.needs_reference().then_some(head.references),
            sums: head.sums,
            metrics: head.metrics,
            first_slot: share.first_slot,
        }
    }

    /// Records the reference's log-probs into the buffer that the loss reads: an upload, or a forward pass of the
    /// frozen weights. That pass uses the buffers of the policy's forward pass, so it has to come first.
    pub(crate) fn give_reference(
        &self,
        rec: &mut Recording,
        stream: &Stream,
        reference: Reference,
    ) -> Result<()> {
        let (to, heads) = (self.ws.head.references, stream.targets.len());
        match reference {
            Reference::LogProbs(logps) if logps.len() == heads => rec.upload(to, &logps),
            Reference::LogProbs(logps) => {
                return Err(Error::option(
                    "reference",
                    format!("has {} log-probs for {heads} response tokens", logps.len()),
                    "give one for each head row of the stream",
                ));
            }
            Reference::Model(frozen) => self.model_log_probs(rec, frozen, stream, to),
            Reference::None if self.objective.needs_reference() => {
                return Err(Error::option(
                    "reference",
                    "is not given, and the loss compares with it",
                    "give its log-probs or its weights",
                ));
            }
            Reference::None => {}
        }
        Ok(())
    }

    /// Records the forward pass of a model of these weights, through all layers and the head, to `logps` `[P]`.
    fn model_log_probs(
        &self,
        rec: &mut Recording,
        weights: &Gpt2<Tensor>,
        stream: &Stream,
        logps: Buffer,
    ) {
        forward::forward(rec, &self.dims, weights, &self.ws, Rows::of(stream));
        forward::log_probs(rec, &self.dims, weights, &self.ws, stream, logps);
    }
}

impl Release for Scorer {
    fn release(self, engine: &mut dyn Engine) {
        self.weights.release(engine);
        self.ws.release(engine);
    }
}
