//! The residual stream: y += x. Its backward pass is the identity: one gradient buffer serves both
//! branches.

use multiversion::multiversion;
use rayon::prelude::*;

use super::case::Case;
use crate::cpu::vector::CHUNK;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Buffer, Grid, Recording};

params! {
    struct Params { count: u32 }
}

kernel!(FORWARD, "residual", "forward", Params, forward_twin);
/// The entry points of `shaders/residual.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD];

/// y += x over `count` elements.
pub fn forward(rec: &mut Recording, x: Buffer, y: Buffer, count: usize) {
    let params = Params {
        count: count as u32,
    };
    let flops = count as u64;
    rec.push(&FORWARD, &[x, y], params, Grid::Items(count), flops);
}

#[multiversion(targets = "simd")]
fn add(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (x, y) = (b.read::<f32>(0), b.write::<f32>(1));
    y[..p.count as usize]
        .par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| add(x, y));
}

/// Sizes around a workgroup, and one large enough to fold the groups over two dimensions.
pub fn cases() -> Vec<Case> {
    [1, 257, 10_007, 256 * 65_536 + 3]
        .into_iter()
        .map(|count| {
            Case::new(format!("forward {count}"))
                .input(count, 1.0)
                .inout(count, 1.0)
                .record(move |rec, b| forward(rec, b[0], b[1], count))
        })
        .collect()
}
