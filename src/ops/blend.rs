//! Moves one arena towards another: y = (1 − share) · y + share · x.
//!
//! TR-DPO (Gorbatovski et al. 2024, "Learn Your Reference Model for Real Good Alignment", eq. 5) moves the reference
//! towards the policy in this way; a share of 1 replaces it.

use multiversion::multiversion;
use rayon::prelude::*;

use super::case::Case;
use crate::buffer::Buffer;
use crate::cpu::vector::CHUNK;
use crate::kernel::{Bindings, Kernel, params, twin};
use crate::recording::{Grid, Recording};
use crate::wgsl::parts;

params! {
    struct Params {
        count: u32,
        share: f32,
    }
}

/// `forward` of `shaders/blend.wgsl`.
pub static FORWARD: Kernel = Kernel::new(
    "blend",
    "forward",
    parts!["blend"],
    twin!(Params, forward_twin),
);
/// The entry points of `shaders/blend.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD];

/// Records y = (1 − share) · y + share · x; both `[count]`.
pub fn forward(rec: &mut Recording, x: Buffer, y: Buffer, share: f32) {
    let count = y.words;
    let params = Params {
        count: count as u32,
        share,
    };
    let grid = Grid::Items(count.div_ceil(4));
    rec.push(&FORWARD, &[x, y], params, grid, 3 * count as u64);
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (x, y) = (b.read::<f32>(0), b.write::<f32>(1));
    let count = p.count as usize;
    y[..count]
        .par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| blend(y, x, p.share));
}

#[multiversion(targets = "simd")]
fn blend(y: &mut [f32], x: &[f32], share: f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (1.0 - share) * *y + share * x;
    }
}

/// Cases of a part and of the whole, at sizes with and without a rest.
pub fn cases() -> Vec<Case> {
    let sizes = [(1, 0.6), (257, 0.25), (10_007, 1.0), (64, 0.5)];
    let case = |(count, share): (usize, f32)| {
        Case::new(format!("{count} by {share}"))
            .input(count, 1.0)
            .inout(count, 1.0)
            .record(move |rec, b| forward(rec, b[0].first(count), b[1].first(count), share))
    };
    sizes.into_iter().map(case).collect()
}
