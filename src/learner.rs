//! A model in training: from a micro-batch to a parameter update.

use crate::batch::{Extent, Stream};
use crate::dpo::PairMetrics;
use crate::engine::{Engine, Release, Ticket};
use crate::error::{Error, Result};
use crate::model::backward::Walk;
use crate::model::forward::{self, Rows};
use crate::model::{Allocation, BufferKind, Gradients, Layout, Purpose, Tensors, Workspace};
use crate::objective::Objective;
use crate::ops::step_control::StepControl;
use crate::optimizer::{Optimizer, OptimizerState};
use crate::pretrained::Weights;
use crate::recording::Recording;
use crate::scorer::{Reference, Scorer, Share};
use crate::state::{State, StateKind, StateTensor};

/// The objective that a learner minimises, and its optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// The mean loss to minimise.
    pub objective: Objective,
    /// The optimizer, which changes the parameters.
    pub optimizer: Optimizer,
}

/// The sizes for which a learner makes its buffers.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// The extent of the largest micro-batch.
    pub extent: Extent,
    /// The extents to try in this order if the micro-batch before does not fit.
    pub smaller: &'a [Extent],
    /// The most pairs of an optimizer step or an evaluation.
    pub pairs: usize,
    /// Keep only the input of each layer, and recompute the other activations in the backward pass.
    pub recompute: bool,
}

impl Room<'_> {
    /// Room for micro-batches up to `extent`, and optimizer steps or evaluations of `pairs` pairs.
    pub fn new(extent: Extent, pairs: usize) -> Room<'static> {
        Room {
            extent,
            smaller: &[],
            pairs,
            recompute: false,
        }
    }
}

/// A model in training: a scorer with gradients and an optimizer.
pub struct Learner {
    /// The policy. Its workspace keeps the activations that the backward pass reads.
    pub policy: Scorer,
    /// The gradient accumulated since the last [`Learner::update`].
    pub grads: Gradients,
    optimizer: OptimizerState,
    recipe: Recipe,
    layout: Layout,
    /// Optimizer steps, including the steps that a dynamic loss scale skipped.
    steps: u64,
}

/// The metrics of one optimizer step on their way to the host.
pub struct StepTicket {
    metrics: Ticket,
    control: Ticket,
}

/// The results of one optimizer step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The metrics of each pair of the step, in the order of their slots.
    pub pairs: Vec<PairMetrics>,
    /// ‖g‖ over all trainable parameters, before clipping.
    pub grad_norm: f32,
    /// The reason why the optimizer skipped the step; `None` if it took the step.
    pub broken: Option<Broken>,
    /// The loss scale after this step; `None` if it is fixed.
    pub loss_scale: Option<f32>,
    /// The step control after this step.
    pub control: StepControl,
}

/// The reason why the optimizer skipped a step: the norm of a gradient is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The dynamic loss scale was too large for f16; this step halved it.
    Overflow,
    /// The loss scale is not the cause, in this step or an earlier one. The parameters do not change any more.
    ForGood,
}

impl StepReport {
    /// False if any pair's loss is NaN or infinite.
    pub fn loss_is_finite(&self) -> bool {
        self.pairs.iter().all(|p| p.loss.is_finite())
    }
}

impl Learner {
    /// Uploads a model to a device for training.
    ///
    /// # Errors
    /// As [`Learner::empty`].
    pub fn new(
        engine: &mut dyn Engine,
        layout: &Layout,
        weights: &Weights,
        recipe: Recipe,
        room: &Room,
    ) -> Result<Learner> {
        let learner = Learner::empty(engine, layout, recipe, room)?;
        learner.policy.weights.write(engine, &weights.tensors)?;
        Ok(learner)
    }

    /// Makes a learner with all weights 0. Its micro-batch is the first of the room's extents that fits the device,
    /// and `policy.ws.extent` tells it.
    ///
    /// # Errors
    /// If no extent fits: `Error::OutOfMemory`, or `Error::Device` for a limit of dispatches.
    pub fn empty(
        engine: &mut dyn Engine,
        layout: &Layout,
        recipe: Recipe,
        room: &Room,
    ) -> Result<Learner> {
        let weights = Tensors::zeros(engine, layout, "weights")?;
        let parameters = weights.beside(engine, |engine| Gradients::zeros(engine, layout))?;
        let optimizer =
            |engine: &mut dyn Engine| OptimizerState::new(engine, layout, recipe.optimizer);
        let all = parameters.beside(engine, optimizer)?;
        let (((weights, grads), optimizer), ws) =
            all.beside(engine, |engine| workspace(engine, layout, room))?;
        let policy = Scorer {
            dims: layout.dims,
            weights,
            ws,
            objective: recipe.objective,
        };
        Ok(Learner {
            policy,
            grads,
            optimizer,
            recipe,
            layout: layout.clone(),
            steps: 0,
        })
    }

    /// Every buffer.
    pub fn buffers(&self) -> impl Iterator<Item = Allocation> {
        let Scorer { weights, ws, .. } = &self.policy;
        BufferKind::Weights
            .of(weights.arenas.iter().copied())
            .chain(BufferKind::Gradients.of(self.grads.arenas.iter().copied()))
            .chain(BufferKind::Optimizer.of(self.optimizer.buffers()))
            .chain(ws.buffers().iter().copied())
    }

    /// The state: every tensor of weights, gradients and moments, and every counter, for code that saves, restores
    /// or sums them. Each range of a tensor can be read and written by itself.
    pub fn state(&self) -> State {
        let mut tensors = Vec::new();
        let has_adapters = self.layout.adapter_rank() > 0;
        for placed in self.layout.params.iter() {
            let weight = match has_adapters && !placed.param.trainable {
                true => StateKind::Base,
                false => StateKind::Weight,
            };
            let groups = [
                (weight, &self.policy.weights.arenas),
                (StateKind::Gradient, &self.grads.arenas),
                (StateKind::FirstMoment, &self.optimizer.first),
                (StateKind::SecondMoment, &self.optimizer.second),
            ];
            for (kind, arenas) in groups {
                if kind == weight || placed.param.trainable {
                    tensors.push(StateTensor {
                        kind,
                        name: placed.param.name.clone(),
                        shape: placed.param.shape(),
                        pieces: placed.on(arenas).pieces().collect(),
                    });
                }
            }
        }
        State {
            tensors,
            control: self.optimizer.control,
            steps: self.steps,
        }
    }

    /// The state beside which a reference moves: its weights are a part of it.
    pub fn state_beside(&self, reference: Option<&Tensors>) -> State {
        let mut state = self.state();
        if let Some(reference) = reference {
            let tensors = self.layout.params.iter().zip(reference.gpt2.iter());
            let tensors = tensors.map(|(placed, tensor)| StateTensor {
                kind: StateKind::Reference,
                name: placed.param.name.clone(),
                shape: placed.param.shape(),
                pieces: tensor.pieces().collect(),
            });
            state.tensors.extend(tensors);
        }
        state
    }

    /// Restores the count of optimizer steps. The caller writes the device's part of a [`State`] itself.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Frees the buffers of gradients and optimizer, and returns the policy.
    pub fn into_policy(self, engine: &mut dyn Engine) -> Scorer {
        self.grads.release(engine);
        self.optimizer.release(engine);
        self.policy
    }

    /// Runs the forward and the backward pass over one micro-batch. They add the micro-batch's share to the
    /// gradient of the mean loss over the `share.of` pairs of the optimizer step.
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have; every error of the device.
    pub fn accumulate(
        &self,
        engine: &mut dyn Engine,
        stream: &Stream,
        reference: Reference,
        share: Share,
    ) -> Result<()> {
        let rec = self.record(engine, stream, reference, share)?;
        engine.run(&rec)?;
        Ok(())
    }

    /// Records the micro-batch of [`Learner::accumulate`], uploads included.
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have.
    ///
    /// # Panics
    /// Never, because a learner's workspace is made for training.
    pub fn record(
        &self,
        engine: &dyn Engine,
        stream: &Stream,
        reference: Reference,
        share: Share,
    ) -> Result<Recording> {
        let Scorer {
            dims, weights, ws, ..
        } = &self.policy;
        let mut rec = engine.recording();
        ws.upload(&mut rec, stream)?;
        self.policy.give_reference(&mut rec, stream, reference)?;
        forward::forward(&mut rec, dims, &weights.gpt2, ws, Rows::of(stream));
        let walk = Walk {
            dims,
            weights: &weights.gpt2,
            grads: &self.grads.gpt2,
            ws,
            to: ws.backward.as_ref().expect("made for training"),
            stream,
        };
        walk.head_and_loss(&mut rec, &self.policy.loss(share), self.optimizer.control);
        walk.layers(&mut rec);
        Ok(rec)
    }

    /// Runs one optimizer step: clips the gradient, takes one AdamW step and sets the gradient to zero. If the
    /// gradient's norm is not finite, the optimizer skips the step. It then also skips every later step, unless a
    /// dynamic loss scale can be the cause. Only the norm and the metrics of the step's `pairs` pairs leave the
    /// device; [`Learner::report`] returns them.
    ///
    /// # Errors
    /// Every error of the device.
    pub fn update(
        &mut self,
        engine: &mut dyn Engine,
        learning_rate: f64,
        pairs: usize,
    ) -> Result<StepTicket> {
        let rec = self.record_update(engine, learning_rate, pairs);
        let mut tickets = engine.run(&rec)?.into_iter();
        self.steps += 1;
        match (tickets.next(), tickets.next()) {
            (Some(metrics), Some(control)) => Ok(StepTicket { metrics, control }),
            _ => Err(Error::Refused {
                what: format!("{}: a copy was not made", engine.name()),
            }),
        }
    }

    /// Records the update of [`Learner::update`], including the fetches of metrics and control.
    pub fn record_update(
        &self,
        engine: &dyn Engine,
        learning_rate: f64,
        pairs: usize,
    ) -> Recording {
        let mut rec = engine.recording();
        let weights = &self.policy.weights;
        self.optimizer.update(
            &mut rec,
            weights,
            &self.grads,
            learning_rate,
            self.steps + 1,
        );
        rec.fetch(self.policy.metrics_of(pairs));
        rec.fetch(self.optimizer.control);
        rec
    }

    /// Waits for the results of [`Learner::update`].
    ///
    /// # Errors
    /// Every error of the device. A skipped step is no error: see [`StepReport::broken`].
    pub fn report(&self, engine: &mut dyn Engine, ticket: StepTicket) -> Result<StepReport> {
        let metrics = engine.collect(ticket.metrics)?;
        let control = StepControl::from_words(&engine.collect(ticket.control)?);
        let moves = self.recipe.optimizer.scaling.is_some();
        let broken = match moves && !control.gave_up() {
            true => Broken::Overflow,
            false => Broken::ForGood,
        };
        Ok(StepReport {
            pairs: bytemuck::pod_collect_to_vec(&metrics),
            grad_norm: control.grad_norm,
            broken: (control.broken != 0.0).then_some(broken),
            loss_scale: moves.then_some(control.loss_scale),
            control,
        })
    }
}

/// Makes a workspace for the first of the room's extents that fits.
fn workspace(engine: &mut dyn Engine, layout: &Layout, room: &Room) -> Result<Workspace> {
    let purpose = match room.recompute {
        true => Purpose::TrainRecompute,
        false => Purpose::Train,
    };
    let mut smaller = room.smaller.iter();
    let mut extent = room.extent;
    loop {
        match Workspace::new(engine, layout, extent, room.pairs, purpose) {
            Err(e) if e.is_memory() || !Workspace::takes(&extent) => match smaller.next() {
                Some(&next) => extent = next,
                None => return Err(e),
            },
            made => return made,
        }
    }
}
