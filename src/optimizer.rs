//! The optimizer on a device: its moments, its step control, and the update over arenas.

use crate::buffer::Buffer;
use crate::engine::{Engine, Release};
use crate::error::Result;
use crate::model::{Arena, Gradients, Layout, Tensors, create};
use crate::ops::adamw::{self, Settings};
use crate::ops::grad_norm::{self, SumSquares};
use crate::ops::step_control::{self, Advance, Moves, Scaling, StepControl};
use crate::recording::Recording;

/// The parameters to which weight decay applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// All parameters, as in `torch.optim.AdamW(model.parameters())`.
    All,
    /// All parameters but biases and layernorms, as in transformers' `Trainer`.
    Matrices,
}

/// The settings of the optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// AdamW's hyperparameters; each step sets its own learning rate.
    pub adamw: Settings,
    /// The parameters to which `adamw.weight_decay` applies.
    pub decay: Decay,
    /// The largest norm of a clipped gradient; 0 = no clipping.
    pub max_grad_norm: f32,
    /// A dynamic loss scale: then a gradient that is not finite costs a step, not the run.
    pub scaling: Option<Scaling>,
}

/// The optimizer's state on a device between steps.
pub struct OptimizerState {
    /// The running mean of g: one arena for each arena of gradients.
    pub first: Vec<Buffer>,
    /// The running mean of g²: one arena for each arena of gradients.
    pub second: Vec<Buffer>,
    /// A [`StepControl`].
    pub control: Buffer,
    /// Partial sums of the gradient norm.
    partials: Buffer,
    trained: Vec<Arena>,
    settings: Optimizer,
}

impl OptimizerState {
    /// Makes the state before the first step.
    ///
    /// # Errors
    /// `Error::OutOfMemory` if the buffers do not fit.
    pub fn new(
        engine: &mut dyn Engine,
        layout: &Layout,
        settings: Optimizer,
    ) -> Result<OptimizerState> {
        let trained = layout.trained().to_vec();
        let slots: usize = trained.iter().map(|a| grad_norm::shares(a.words)).sum();
        let first = create(engine, &trained, "first moments")?;
        let (moments, second) =
            first.beside(engine, |engine| create(engine, &trained, "second moments"))?;
        let ((first, second), others) = (moments, second).beside(engine, |engine| {
            let control = engine.create("step control", step_control::WORDS)?;
            let partials = |engine: &mut dyn Engine| {
                engine.create("partial sums of the gradient norm", slots.max(1))
            };
            vec![control].beside(engine, partials)
        })?;
        let (control, partials) = (others.0[0], others.1);
        let state = OptimizerState {
            first,
            second,
            control,
            partials,
            trained,
            settings,
        };
        let before = StepControl::new(settings.scaling.map_or(1.0, |s| s.initial));
        match engine.write(state.control, &before.floats().map(f32::to_bits)) {
            Ok(()) => Ok(state),
            Err(e) => {
                state.release(engine);
                Err(e)
            }
        }
    }

    /// Every buffer of the state.
    pub fn buffers(&self) -> impl Iterator<Item = Buffer> {
        let moments = self.first.iter().chain(&self.second);
        moments.copied().chain([self.control, self.partials])
    }

    /// Records optimizer step number `step` (from 1): the gradient norm, the clip factor, AdamW. The step sets the
    /// gradients to zero.
    pub fn update(
        &self,
        rec: &mut Recording,
        weights: &Tensors,
        grads: &Gradients,
        learning_rate: f64,
        step: u64,
    ) {
        let Optimizer {
            adamw,
            decay,
            max_grad_norm,
            scaling,
        } = self.settings;
        let mut slots = 0;
        for &gradient in &grads.arenas {
            let op = SumSquares {
                gradient,
                partials: self.partials,
                first_slot: slots,
            };
            slots += grad_norm::sum_squares(rec, &op);
        }
        let op = Advance {
            partials: self.partials,
            slots,
            control: self.control,
            max_norm: max_grad_norm,
            scaling: scaling.map(|scaling| Moves {
                scaling,
                beta1: adamw.beta1,
                beta2: adamw.beta2,
            }),
        };
        step_control::advance(rec, &op);
        let step = scaling.is_none().then_some(step);
        for (i, arena) in self.trained.iter().enumerate() {
            let decays = decay == Decay::All || arena.matrices;
            let settings = Settings {
                learning_rate,
                weight_decay: if decays { adamw.weight_decay } else { 0.0 },
                ..adamw
            };
            let op = adamw::Update {
                control: self.control,
                parameters: weights.arenas[i],
                gradients: grads.arenas[i],
                first: self.first[i],
                second: self.second[i],
            };
            adamw::update(rec, &op, &settings, step);
        }
    }
}

impl Release for OptimizerState {
    fn release(self, engine: &mut dyn Engine) {
        (self.first, self.second).release(engine);
        vec![self.control, self.partials].release(engine);
    }
}
