//! A model on a device, being scored and trained: the walk from a micro-batch to a parameter update.

use std::ops::Range;

use crate::batch::{Extent, Sides, Stream};
use crate::buffer::Buffer;
use crate::checkpoint::Weights;
use crate::dpo::{PairMetrics, Summary};
use crate::engine::{Engine, Ticket};
use crate::error::Result;
use crate::model::backward::Loss;
use crate::model::forward::{self, Rows};
use crate::model::{Backward, Dims, Kind, Layout, Purpose, Tensors, Workspace, backward};
use crate::ops::adamw::{self, Settings};
use crate::ops::grad_norm::{Norm, Scaling};
use crate::ops::{dpo, grad_norm, sft};
use crate::recording::Recording;

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// DPO's sigmoid loss.
    Sigmoid {
        /// β: strength of the pull towards the reference.
        beta: f32,
    },
    /// The chosen response's mean negative log-prob.
    Sft,
}

impl Objective {
    /// Which responses enter a stream.
    pub fn sides(self) -> Sides {
        match self {
            Objective::Sigmoid { .. } => Sides::Both,
            Objective::Sft => Sides::Chosen,
        }
    }

    /// Means over these pairs.
    pub fn summary(self, pairs: &[PairMetrics]) -> Summary {
        match self {
            Objective::Sigmoid { .. } => Summary::preference(pairs),
            Objective::Sft => Summary::supervised(pairs),
        }
    }
}

/// Where the reference's log-probs come from.
pub enum Reference<'a> {
    /// `[P]`: computed before, one for each head row of the stream.
    LogProbs(Vec<f32>),
    /// The frozen weights themselves.
    Model(&'a Tensors),
    /// The objective needs none.
    None,
}

/// Which parameters decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// All, as `torch.optim.AdamW(model.parameters())` does.
    All,
    /// Not biases and layernorms, as transformers' `Trainer` does.
    Matrices,
}

/// How an optimizer step changes the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// AdamW's numbers; the learning rate comes with each step.
    pub adamw: Settings,
    /// Where `adamw.weight_decay` applies.
    pub decay: Decay,
    /// 0 = no clipping.
    pub max_grad_norm: f32,
    /// A loss scale that moves; a gradient that is not finite then costs a step and not the run.
    pub scaling: Option<Scaling>,
}

/// Scores pairs with a model on a device; no gradients.
pub struct Scorer {
    /// The model's sizes.
    pub dims: Dims,
    /// The model's parameters.
    pub weights: Tensors,
    /// Activations, without those of a backward pass.
    pub ws: Workspace,
    objective: Objective,
}

/// A micro-batch's place in its optimizer step or evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where the micro-batch's first pair reports.
    pub slot: usize,
    /// Pairs that the loss is the mean of.
    pub of: usize,
}

impl Scorer {
    /// Puts a model on a device, with room for micro-batches up to `extent` and `slots` pairs between
    /// two readbacks.
    ///
    /// # Errors
    /// `Error::Device` if it does not fit.
    pub fn new(
        engine: &mut dyn Engine,
        layout: &Layout,
        weights: &Weights,
        objective: Objective,
        extent: Extent,
        slots: usize,
    ) -> Result<Scorer> {
        Ok(Scorer {
            dims: layout.dims,
            weights: Tensors::upload(engine, layout, &weights.tensors, "weight")?,
            ws: Workspace::new(engine, layout, extent, slots, Purpose::Score)?,
            objective,
        })
    }

    /// The log-prob of every response token of a micro-batch, in the order of its head rows: `[P]`.
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have; `Error::Device`.
    pub fn log_probs(&self, engine: &mut dyn Engine, stream: &Stream) -> Result<Vec<f32>> {
        let ws = &self.ws;
        ws.upload(engine, stream)?;
        let mut rec = engine.recording();
        log_probs(
            &mut rec,
            &self.dims,
            &self.weights,
            ws,
            stream,
            ws.head.logps,
        );
        engine.run(&rec)?;
        let words = engine.read(ws.head.logps, stream.targets.len())?;
        Ok(bytemuck::cast_vec(words))
    }

    /// What the log-probs may depend on beside weights and ids, as [`Engine::identity_for`] tells of a
    /// micro-batch like those to come.
    ///
    /// # Errors
    /// As [`Scorer::log_probs`].
    pub fn identity(&self, engine: &mut dyn Engine, stream: &Stream) -> Result<String> {
        let Scorer {
            dims, weights, ws, ..
        } = self;
        ws.upload(engine, stream)?;
        let mut rec = Recording::new();
        log_probs(&mut rec, dims, weights, ws, stream, ws.head.logps);
        engine.identity_for(&rec)
    }

    /// Metrics of a micro-batch, left on the device at `place` for [`Scorer::metrics`].
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have; `Error::Device`.
    pub fn score(
        &self,
        engine: &mut dyn Engine,
        stream: &Stream,
        reference: Reference,
        place: Place,
    ) -> Result<()> {
        let Scorer {
            dims, weights, ws, ..
        } = self;
        let loss = LossOn::new(ws, self.objective, place);
        ws.upload(engine, stream)?;
        let mut rec = engine.recording();
        give_reference(engine, &mut rec, dims, ws, stream, reference)?;
        log_probs(&mut rec, dims, weights, ws, stream, ws.head.logps);
        loss.record_metrics(&mut rec, 0..stream.pairs.len());
        engine.run(&rec)
    }

    /// Reads the metrics of the first `pairs` slots back.
    ///
    /// # Errors
    /// `Error::Device`.
    pub fn metrics(&self, engine: &mut dyn Engine, pairs: usize) -> Result<Vec<PairMetrics>> {
        let words = engine.read(self.ws.head.metrics, pairs * dpo::METRICS)?;
        Ok(bytemuck::pod_collect_to_vec(&words))
    }

    /// Frees everything.
    pub fn release(self, engine: &mut dyn Engine) {
        self.weights.release(engine);
        self.ws.release(engine);
    }
}

/// What a learner is given room for.
pub struct Room<'a> {
    /// Of the largest micro-batch.
    pub extent: Extent,
    /// Smaller ones, taken in this order where a larger one does not fit.
    pub smaller: &'a [Extent],
    /// Pairs of an optimizer step, or of an evaluation.
    pub pairs: usize,
    /// Keep each layer's input only, and compute the rest again in the backward pass.
    pub checkpointed: bool,
}

/// A model in training: what scores pairs, and gradients and optimizer state beside it.
pub struct Learner {
    /// The policy as it is, in buffers that keep what the backward pass reads.
    pub policy: Scorer,
    /// The gradient gathered since the last [`Learner::update`], laid out as the weights.
    pub grads: Tensors,
    /// AdamW's running means of g and g².
    first: Tensors,
    second: Tensors,
    optimizer: Optimizer,
    /// Optimizer steps done; with a moving loss scale, tried.
    steps: u64,
}

/// The metrics of one optimizer step on their way to the host.
pub struct StepTicket {
    metrics: Ticket,
    norm: Ticket,
}

/// What one optimizer step left.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// One for each pair of the step, in the order of their slots.
    pub pairs: Vec<PairMetrics>,
    /// ‖g‖ over all parameters, before clipping.
    pub grad_norm: f32,
    /// The gradient's norm was NaN or infinite, and the step was not taken; if it is not for the loss
    /// scale, the parameters will not change any more.
    pub broken: Option<Broken>,
    /// The loss's after this step; `None` if it does not move.
    pub loss_scale: Option<f32>,
}

/// Why a step was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The loss scale was too large for f16; it is half of it from now on.
    Overflow,
    /// In this step or an earlier one: no scale is to blame.
    ForGood,
}

impl StepReport {
    /// False if any pair's loss is NaN or infinite.
    pub fn loss_is_finite(&self) -> bool {
        self.pairs.iter().all(|p| p.loss.is_finite())
    }
}

impl Learner {
    /// Puts a model on a device for training, with room for micro-batches up to `extent` and
    /// optimizer steps, or evaluations, of `pairs` pairs.
    ///
    /// # Errors
    /// `Error::Device` if it does not fit.
    pub fn new(
        engine: &mut dyn Engine,
        layout: &Layout,
        weights: &Weights,
        (objective, optimizer): (Objective, Optimizer),
        extent: Extent,
        pairs: usize,
    ) -> Result<Learner> {
        let room = Room {
            extent,
            smaller: &[],
            pairs,
            checkpointed: false,
        };
        let learner = Learner::empty(engine, layout, (objective, optimizer), &room)?;
        let policy = &learner.policy.weights;
        policy.write(engine, &weights.tensors)?;
        Ok(learner)
    }

    /// The same with all weights 0, and with the first of the micro-batches that fits:
    /// `policy.ws.extent` tells which.
    ///
    /// # Errors
    /// `Error::Device` if none does.
    pub fn empty(
        engine: &mut dyn Engine,
        layout: &Layout,
        (objective, optimizer): (Objective, Optimizer),
        room: &Room,
    ) -> Result<Learner> {
        let weights = Tensors::zeros(engine, layout, "weight")?;
        let grads = Tensors::zeros(engine, layout, "gradient")?;
        let first = Tensors::zeros(engine, layout, "first moment")?;
        let second = Tensors::zeros(engine, layout, "second moment")?;
        let purpose = match room.checkpointed {
            true => Purpose::TrainCheckpointed,
            false => Purpose::Train,
        };
        let mut ws = Workspace::new(engine, layout, room.extent, room.pairs, purpose);
        for &extent in room.smaller {
            if ws.is_err() {
                ws = Workspace::new(engine, layout, extent, room.pairs, purpose);
            }
        }
        let ws = ws?;
        if let Some(backward) = &ws.backward {
            let norm = Norm::new(optimizer.scaling.map_or(1.0, |s| s.initial));
            engine.write(backward.norm, 0, &norm.floats().map(f32::to_bits))?;
        }
        let policy = Scorer {
            dims: layout.dims,
            weights,
            ws,
            objective,
        };
        Ok(Learner {
            policy,
            grads,
            first,
            second,
            optimizer,
            steps: 0,
        })
    }

    /// Every buffer, and what it is for.
    pub fn buffers(&self) -> impl Iterator<Item = (Kind, Buffer)> {
        let of = |kind: Kind, tensors: &Tensors| {
            let buffers: Vec<Buffer> = tensors.buffers().collect();
            buffers.into_iter().map(move |buffer| (kind, buffer))
        };
        of(Kind::Weights, &self.policy.weights)
            .chain(of(Kind::Gradients, &self.grads))
            .chain(of(Kind::Optimizer, &self.first))
            .chain(of(Kind::Optimizer, &self.second))
            .chain(self.policy.ws.buffers().iter().copied())
    }

    /// # Panics
    /// Never: a workspace made for training has them.
    fn backward(&self) -> &Backward {
        self.policy.ws.backward.as_ref().expect("made for training")
    }

    /// Frees what only training needs, gradients and the optimizer's; the policy stays.
    pub fn release_optimizer(&mut self, engine: &mut dyn Engine) {
        for tensors in [&mut self.grads, &mut self.first, &mut self.second] {
            std::mem::take(tensors).release(engine);
        }
    }

    /// Forward and backward over one micro-batch: adds its share of the gradient of the mean loss over
    /// the `place.of` pairs of the optimizer step.
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have; `Error::Device`.
    pub fn accumulate(
        &self,
        engine: &mut dyn Engine,
        stream: &Stream,
        reference: Reference,
        place: Place,
    ) -> Result<()> {
        let Scorer {
            dims, weights, ws, ..
        } = &self.policy;
        let norm = self.backward().norm;
        let loss = (LossOn::new(ws, self.policy.objective, place), norm);
        ws.upload(engine, stream)?;
        let mut rec = engine.recording();
        give_reference(engine, &mut rec, dims, ws, stream, reference)?;
        forward::forward(&mut rec, dims, weights, ws, Rows::of(stream));
        let tensors = (weights, &self.grads);
        let buffers = (ws, self.backward());
        backward::head_and_loss(&mut rec, dims, tensors, buffers, stream, &loss);
        backward::backward(&mut rec, dims, tensors, buffers, stream);
        engine.run(&rec)
    }

    /// Clips the gradient, takes one AdamW step with it and sets it to zero; only its norm leaves the
    /// device. If the norm is not finite, the parameters stay as they are, then and, unless a moving loss
    /// scale can be the reason, at every later call.
    /// The metrics of the step's `pairs` pairs come with [`Learner::report`].
    ///
    /// # Errors
    /// `Error::Device`.
    pub fn update(
        &mut self,
        engine: &mut dyn Engine,
        learning_rate: f64,
        pairs: usize,
    ) -> Result<StepTicket> {
        self.steps += 1;
        let mut rec = engine.recording();
        self.record_norm(&mut rec);
        let norm = self.backward().norm;
        let step = self.optimizer.scaling.is_none().then_some(self.steps);
        for (t, tensor) in self.policy.weights.all.iter().enumerate() {
            let decays = self.optimizer.decay == Decay::All || tensor.role.is_matrix();
            let adamw = self.optimizer.adamw;
            let settings = Settings {
                learning_rate,
                weight_decay: if decays { adamw.weight_decay } else { 0.0 },
                ..adamw
            };
            for (s, shard) in tensor.shards.iter().enumerate() {
                let slot = adamw::Slot {
                    parameter: shard.buffer,
                    gradient: self.grads.all[t].shards[s].buffer,
                    first: self.first.all[t].shards[s].buffer,
                    second: self.second.all[t].shards[s].buffer,
                    count: shard.buffer.words,
                };
                adamw::update(&mut rec, norm, &slot, &settings, step);
            }
        }
        engine.run(&rec)?;
        Ok(StepTicket {
            metrics: engine.fetch(self.policy.ws.head.metrics, pairs * dpo::METRICS)?,
            norm: engine.fetch(norm, grad_norm::NORM)?,
        })
    }

    fn record_norm(&self, rec: &mut Recording) {
        let to = self.backward();
        let mut slot = 0;
        for gradient in self.grads.all.iter().flat_map(|t| &t.shards) {
            let count = gradient.buffer.words;
            grad_norm::sum_squares(rec, (gradient.buffer, to.norm_shares), count, slot);
            slot += grad_norm::shares(count);
        }
        let Optimizer {
            adamw,
            max_grad_norm,
            scaling,
            ..
        } = self.optimizer;
        let scaling = scaling.map(|s| (s, [adamw.beta1, adamw.beta2]));
        grad_norm::finish(rec, (to.norm_shares, to.norm), slot, max_grad_norm, scaling);
    }

    /// Waits for what [`Learner::update`] promised.
    ///
    /// # Errors
    /// `Error::Device`. A step that went wrong is no error here: see [`StepReport`].
    pub fn report(&self, engine: &mut dyn Engine, ticket: StepTicket) -> Result<StepReport> {
        let metrics = engine.collect(ticket.metrics)?;
        let norm: Norm =
            bytemuck::pod_read_unaligned(bytemuck::cast_slice(&engine.collect(ticket.norm)?));
        let moves = self.optimizer.scaling.is_some();
        let broken = match moves && !norm.gave_up() {
            true => Broken::Overflow,
            false => Broken::ForGood,
        };
        Ok(StepReport {
            pairs: bytemuck::pod_collect_to_vec(&metrics),
            grad_norm: norm.norm,
            broken: (norm.broken != 0.0).then_some(broken),
            loss_scale: moves.then_some(norm.scale),
        })
    }
}

/// Forward through all layers and the head.
fn log_probs(
    rec: &mut Recording,
    dims: &Dims,
    weights: &Tensors,
    ws: &Workspace,
    stream: &Stream,
    logps: Buffer,
) {
    forward::forward(rec, dims, weights, ws, Rows::of(stream));
    forward::log_probs(rec, dims, weights, ws, stream, logps);
}

/// Puts the reference's log-probs where the loss reads them: from the host, or by a forward pass of
/// the frozen weights through the same buffers, before the policy's.
fn give_reference(
    engine: &mut dyn Engine,
    rec: &mut Recording,
    dims: &Dims,
    ws: &Workspace,
    stream: &Stream,
    reference: Reference,
) -> Result<()> {
    match reference {
        Reference::LogProbs(logps) => {
            engine.write(ws.head.references, 0, bytemuck::cast_slice(&logps))?;
        }
        Reference::Model(frozen) => {
            log_probs(rec, dims, frozen, ws, stream, ws.head.references);
        }
        Reference::None => {}
    }
    Ok(())
}

/// An objective over the buffers of a workspace.
enum LossOn {
    Sigmoid(dpo::Loss),
    Sft(sft::Loss),
}

impl LossOn {
    fn new(ws: &Workspace, objective: Objective, place: Place) -> LossOn {
        let (pairs, head) = (ws.inputs.pairs, &ws.head);
        let scale = 1.0 / place.of as f32;
        match objective {
            Objective::Sigmoid { beta } => LossOn::Sigmoid(dpo::Loss {
                pairs,
                logps: head.logps,
                references: head.references,
                metrics: head.metrics,
                drows: head.drows,
                beta,
                scale,
                first_slot: place.slot,
            }),
            Objective::Sft => LossOn::Sft(sft::Loss {
                pairs,
                logps: head.logps,
                metrics: head.metrics,
                drows: head.drows,
                scale,
                first_slot: place.slot,
            }),
        }
    }

    fn record_metrics(&self, rec: &mut Recording, pairs: Range<usize>) {
        match self {
            LossOn::Sigmoid(loss) => dpo::forward(rec, loss, pairs),
            LossOn::Sft(loss) => sft::forward(rec, loss, pairs),
        }
    }
}

/// With the buffer of the loss scale.
impl Loss for (LossOn, Buffer) {
    fn record(&self, rec: &mut Recording, pairs: Range<usize>) {
        let (loss, norm) = self;
        loss.record_metrics(rec, pairs.clone());
        match loss {
            LossOn::Sigmoid(loss) => dpo::backward(rec, loss, *norm, pairs),
            LossOn::Sft(loss) => sft::backward(rec, loss, *norm, pairs),
        }
    }
}
