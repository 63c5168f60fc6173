//! GELU in GPT-2's tanh approximation, element by element.
//!
//! y = x/2 · (1 + tanh u), u = sqrt(2/π) · (x + 0.044715 x³)   (Hendrycks & Gimpel 2016, §2)

use rayon::prelude::*;

use super::case::Case;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Buffer, Grid, Recording, Work};

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
    let work = Work::new(FLOPS * count as u64, 2 * count);
    rec.push(&FORWARD, &[x, y], params, Grid::Items(count), work);
}

/// dx = dy · gelu'(x) over `count` elements.
pub fn backward(rec: &mut Recording, x: Buffer, dy: Buffer, dx: Buffer, count: usize) {
    let params = Params {
        count: count as u32,
    };
    let work = Work::new(FLOPS * count as u64, 3 * count);
    rec.push(&BACKWARD, &[x, dy, dx], params, Grid::Items(count), work);
}

fn tanh_of_cubic(x: f32) -> f32 {
    (SQRT_2_OVER_PI * (x + CUBIC * x * x * x)).tanh()
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (x, y) = (b.read::<f32>(0), b.write::<f32>(1));
    let count = p.count as usize;
    y[..count].par_iter_mut().zip(x).for_each(|(y, &x)| {
        *y = 0.5 * x * (1.0 + tanh_of_cubic(x));
    });
}

fn backward_twin(p: &Params, mut b: Bindings) {
    let (x, dy, dx) = (b.read::<f32>(0), b.read::<f32>(1), b.write::<f32>(2));
    let count = p.count as usize;
    let inputs = x.par_iter().zip(dy);
    dx[..count]
        .par_iter_mut()
        .zip(inputs)
        .for_each(|(dx, (&x, &dy))| {
            let t = tanh_of_cubic(x);
            let du = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
            *dx = dy * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * du);
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
