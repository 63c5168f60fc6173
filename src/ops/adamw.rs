//! AdamW (Loshchilov & Hutter 2019) as `torch.optim.AdamW` computes it: decoupled weight decay, ε
//! outside the root, bias correction by step.

use multiversion::multiversion;
use rayon::prelude::*;

use super::case::Case;
use super::step_control::StepControl;
use crate::buffer::Buffer;
use crate::cpu::vector::CHUNK;
use crate::kernel::{Bindings, Kernel, params, twin};
use crate::recording::{Grid, Recording};
use crate::wgsl::parts;

params! {
    struct Params {
        count: u32,
        keep: f32,
        step_size: f32,
        inverse_root: f32,
        beta1: f32,
        one_minus_beta1: f32,
        beta2: f32,
        one_minus_beta2: f32,
        epsilon: f32,
    }
}

/// `update` of `shaders/adamw.wgsl`.
pub static UPDATE: Kernel = Kernel::new(
    "adamw",
    "update",
    parts!["step_control_struct", "adamw"],
    twin!(Params, update_twin),
);
/// The entry points of `shaders/adamw.wgsl`.
pub const KERNELS: &[&Kernel] = &[&UPDATE];

/// The hyperparameters of AdamW. They are f64 so that `1 − β` keeps its digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Step size.
    pub learning_rate: f64,
    /// Share of the running mean of g that a step keeps.
    pub beta1: f64,
    /// Share of the running mean of g² that a step keeps.
    pub beta2: f64,
    /// Added to the root of the mean of g².
    pub epsilon: f64,
    /// A step subtracts `learning_rate · weight_decay` times the parameter; 0 = no decay.
    pub weight_decay: f64,
}

impl Settings {
    /// `torch.optim.AdamW`'s defaults.
    pub const DEFAULT: Settings = Settings {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.01,
    };

    fn params(&self, count: usize, step: Option<u64>) -> Params {
        let correction = |beta: f64| step.map_or(1.0, |t| 1.0 - beta.powi(t as i32));
        Params {
            count: count as u32,
            keep: (1.0 - self.learning_rate * self.weight_decay) as f32,
            step_size: (self.learning_rate / correction(self.beta1)) as f32,
            inverse_root: (1.0 / correction(self.beta2).sqrt()) as f32,
            beta1: self.beta1 as f32,
            one_minus_beta1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            one_minus_beta2: (1.0 - self.beta2) as f32,
            epsilon: self.epsilon as f32,
        }
    }
}

/// The operands of [`update`]: a range of an arena of parameters, and the same range of the arenas of
/// gradients and moments; all `[count]`.
#[derive(Clone, Copy)]
pub struct Update {
    /// A [`StepControl`]: its factor clips the gradient; if it says broken, the kernel skips the step.
    pub control: Buffer,
    /// Updated in place.
    pub parameters: Buffer,
    /// Set to zero after the update.
    pub gradients: Buffer,
    /// Running mean of g.
    pub first: Buffer,
    /// Running mean of g².
    pub second: Buffer,
}

/// Records optimizer step number `step` (from 1) on one range of an arena. `step` is `None` if the loss scale
/// is dynamic: then `step_control::advance` counts the steps that the optimizer takes.
pub fn update(rec: &mut Recording, op: &Update, settings: &Settings, step: Option<u64>) {
    let count = op.parameters.words;
    let buffers = [op.control, op.parameters, op.gradients, op.first, op.second];
    rec.push(
        &UPDATE,
        &buffers,
        settings.params(count, step),
        Grid::Items(count.div_ceil(4)),
        16 * count as u64,
    );
}

fn update_twin(p: &Params, mut b: Bindings) {
    let control = b.read::<StepControl>(0)[0];
    let (parameter, gradient) = (b.write::<f32>(1), b.write::<f32>(2));
    let (first, second) = (b.write::<f32>(3), b.write::<f32>(4));
    let count = p.count as usize;
    if control.broken != 0.0 {
        gradient[..count].fill(0.0);
        return;
    }
    let p = Params {
        step_size: p.step_size * control.step_factor,
        inverse_root: p.inverse_root * control.root_factor,
        ..*p
    };
    parameter[..count]
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks_mut(CHUNK))
        .zip(first.par_chunks_mut(CHUNK))
        .zip(second.par_chunks_mut(CHUNK))
        .for_each(|(((parameter, gradient), first), second)| {
            update_all(
                &p,
                control.clip_factor,
                (parameter, gradient),
                (first, second),
            );
        });
}

#[multiversion(targets = "simd")]
fn update_all(
    p: &Params,
    factor: f32,
    (parameter, gradient): (&mut [f32], &mut [f32]),
    (first, second): (&mut [f32], &mut [f32]),
) {
    let moments = first.iter_mut().zip(second);
    for ((parameter, gradient), (first, second)) in parameter.iter_mut().zip(gradient).zip(moments)
    {
        let g = *gradient * factor;
        let m = p.beta1 * *first + p.one_minus_beta1 * g;
        let v = p.beta2 * *second + p.one_minus_beta2 * g * g;
        let denominator = v.sqrt() * p.inverse_root + p.epsilon;
        *parameter = *parameter * p.keep - p.step_size * (m / denominator);
        (*first, *second, *gradient) = (m, v, 0.0);
    }
}

/// Cases of first and later steps, with and without clipping, with the step counted by the host and by the
/// device, and with a broken gradient, which must change no parameter.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let clipped = StepControl {
        clip_factor: 0.333,
        ..StepControl::new(1.0)
    };
    let broken = StepControl {
        broken: 1.0,
        ..StepControl::new(1.0)
    };
    let counted = StepControl {
        clip_factor: 0.333 / 1024.0,
        step_factor: 5.26,
        root_factor: 22.4,
        ..StepControl::new(1024.0)
    };
    for (count, step, control) in [
        (1, Some(1), StepControl::new(1.0)),
        (257, Some(7), clipped),
        (10_007, Some(1000), StepControl::new(1.0)),
        (100, None, counted),
        (100, Some(2), broken),
    ] {
        cases.push(
            Case::new(format!("update {count} at step {step:?}, {control:?}"))
                .floats(control.floats())
                .inout(count, 1.0)
                .inout(count, 0.1)
                .inout(count, 0.1)
                .floats((0..count).map(|i| 1e-4 * (1 + i % 11) as f32))
                .writable()
                .record(move |rec, b| {
                    let op = Update {
                        control: b[0],
                        parameters: b[1].first(count),
                        gradients: b[2].first(count),
                        first: b[3].first(count),
                        second: b[4].first(count),
                    };
                    update(rec, &op, &Settings::DEFAULT, step);
                }),
        );
    }
    cases
}
