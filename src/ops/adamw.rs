//! AdamW (Loshchilov & Hutter 2019) as `torch.optim.AdamW` computes it: decoupled weight decay, ε
//! outside the root, bias correction by step.

use multiversion::multiversion;
use rayon::prelude::*;

use super::case::Case;
use super::grad_norm::Norm;
use crate::buffer::Buffer;
use crate::cpu::vector::CHUNK;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Grid, Recording};

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

kernel!(UPDATE, "adamw", "update", Params, update_twin);
/// The entry points of `shaders/adamw.wgsl`.
pub const KERNELS: &[&Kernel] = &[&UPDATE];

/// What AdamW is told beside the gradient. Numbers are f64 so that `1 − β` keeps its digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Step size.
    pub learning_rate: f64,
    /// Share of the running mean of g that a step keeps.
    pub beta1: f64,
    /// The same of g².
    pub beta2: f64,
    /// Added to the root of the mean of g².
    pub epsilon: f64,
    /// A step takes `learning_rate · weight_decay` of the parameter itself; 0 = none.
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

/// A parameter with what the optimizer keeps for it; all `[count]`.
#[derive(Clone, Copy)]
pub struct Slot {
    /// Updated in place.
    pub parameter: Buffer,
    /// Set to zero after the update.
    pub gradient: Buffer,
    /// Running mean of g.
    pub first: Buffer,
    /// Running mean of g².
    pub second: Buffer,
    /// Elements, padding included.
    pub count: usize,
}

/// Optimizer step number `step` (from 1) on one parameter. `norm` is what `grad_norm::finish` left:
/// its factor clips the gradient, and if it says broken the step is not taken. Where the loss scale
/// moves, `finish` counts the steps that are taken, and `step` is `None`.
pub fn update(
    rec: &mut Recording,
    norm: Buffer,
    slot: &Slot,
    settings: &Settings,
    step: Option<u64>,
) {
    let buffers = [norm, slot.parameter, slot.gradient, slot.first, slot.second];
    rec.push(
        &UPDATE,
        &buffers,
        settings.params(slot.count, step),
        Grid::Items(slot.count.div_ceil(4)),
        16 * slot.count as u64,
    );
}

fn update_twin(p: &Params, mut b: Bindings) {
    let norm = b.read::<Norm>(0)[0];
    let (parameter, gradient) = (b.write::<f32>(1), b.write::<f32>(2));
    let (first, second) = (b.write::<f32>(3), b.write::<f32>(4));
    let count = p.count as usize;
    if norm.broken != 0.0 {
        gradient[..count].fill(0.0);
        return;
    }
    let p = Params {
        step_size: p.step_size * norm.step_factor,
        inverse_root: p.inverse_root * norm.root_factor,
        ..*p
    };
    parameter[..count]
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks_mut(CHUNK))
        .zip(first.par_chunks_mut(CHUNK))
        .zip(second.par_chunks_mut(CHUNK))
        .for_each(|(((parameter, gradient), first), second)| {
            update_all(&p, norm.factor, (parameter, gradient), (first, second));
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

/// First and later steps, clipped and not, counted here and on the device, and a broken gradient that
/// must change nothing.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let clipped = Norm {
        factor: 0.333,
        ..Norm::new(1.0)
    };
    let broken = Norm {
        broken: 1.0,
        ..Norm::new(1.0)
    };
    let counted = Norm {
        factor: 0.333 / 1024.0,
        step_factor: 5.26,
        root_factor: 22.4,
        ..Norm::new(1024.0)
    };
    for (count, step, norm) in [
        (1, Some(1), Norm::new(1.0)),
        (257, Some(7), clipped),
        (10_007, Some(1000), Norm::new(1.0)),
        (100, None, counted),
        (100, Some(2), broken),
    ] {
        cases.push(
            Case::new(format!("update {count} at step {step:?}, {norm:?}"))
                .floats(norm.floats())
                .inout(count, 1.0)
                .inout(count, 0.1)
                .inout(count, 0.1)
                .floats((0..count).map(|i| 1e-4 * (1 + i % 11) as f32))
                .writable()
                .record(move |rec, b| {
                    let slot = Slot {
                        parameter: b[1],
                        gradient: b[2],
                        first: b[3],
                        second: b[4],
                        count,
                    };
                    update(rec, b[0], &slot, &Settings::DEFAULT, step);
                }),
        );
    }
    cases
}
