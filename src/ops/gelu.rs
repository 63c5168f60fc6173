//! GELU in GPT-2's tanh approximation, element by element.
//!
//! y = x/2 · (1 + tanh u), u = sqrt(2/π) · (x + 0.044715 x³)   (Hendrycks & Gimpel 2016, §2)
//!
//! The twins write ½ (1 + tanh u) as σ = 1/(1 + e^(−2u)): y = x·σ and y' = σ + 2x·σ(1 − σ)·u'.

use multiversion::multiversion;
use rayon::prelude::*;

use super::case::Case;
use crate::cpu::vector::{CHUNK, exp};
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Buffer, Grid, Recording};

params! {
    struct Params { count: u32 }
}

kernel!(FORWARD, "gelu", "forward", Params, forward_twin);
kernel!(BACKWARD, "gelu", "backward", Params, backward_twin);
/// The entry points of `shaders/gelu.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044715;
const FLOPS: u64 = 16;

/// y = gelu(x) over `count` elements.
pub fn forward(rec: &mut Recording, x: Buffer, y: Buffer, count: usize) {
    let params = Params {
        count: count as u32,
    };
    let flops = FLOPS * count as u64;
    rec.push(&FORWARD, &[x, y], params, Grid::Items(count), flops);
}

/// dx = dy · gelu'(x) over `count` elements.
pub fn backward(rec: &mut Recording, x: Buffer, dy: Buffer, dx: Buffer, count: usize) {
    let params = Params {
        count: count as u32,
    };
    let flops = FLOPS * count as u64;
    rec.push(&BACKWARD, &[x, dy, dx], params, Grid::Items(count), flops);
}

/// σ(2u).
#[inline(always)]
fn gate(x: f32) -> f32 {
    let u = SQRT_2_OVER_PI * (x + CUBIC * x * x * x);
    1.0 / (1.0 + exp(-2.0 * u))
}

/// y = gelu(x).
#[multiversion(targets = "simd")]
pub(super) fn forward_all(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * gate(x);
    }
}

/// dx = dx · gelu'(x).
#[multiversion(targets = "simd")]
pub(super) fn backward_all(x: &[f32], dx: &mut [f32]) {
    for (dx, &x) in dx.iter_mut().zip(x) {
        let gate = gate(x);
        let du = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
        *dx *= gate + 2.0 * x * gate * (1.0 - gate) * du;
    }
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (x, y) = (b.read::<f32>(0), b.write::<f32>(1));
    y[..p.count as usize]
        .par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| forward_all(x, y));
}

fn backward_twin(p: &Params, mut b: Bindings) {
    let (x, dy, dx) = (b.read::<f32>(0), b.read::<f32>(1), b.write::<f32>(2));
    dx[..p.count as usize]
        .par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .zip(dy.par_chunks(CHUNK))
        .for_each(|((dx, x), dy)| {
            dx.copy_from_slice(&dy[..dx.len()]);
            backward_all(x, dx);
        });
}

/// Sizes around a workgroup, and arguments far out where `tanh` overflows on some drivers.
pub fn cases() -> Vec<Case> {
    [1, 255, 257, 10_007]
        .into_iter()
        .flat_map(|count| {
            [
                Case::new(format!("forward {count}"))
                    .input(count, 30.0)
                    .output(count)
                    .record(move |rec, b| forward(rec, b[0], b[1], count)),
                Case::new(format!("backward {count}"))
                    .input(count, 3.0)
                    .input(count, 1.0)
                    .output(count)
                    .record(move |rec, b| backward(rec, b[0], b[1], b[2], count)),
            ]
        })
        .collect()
}
