//! The global gradient norm, the clip factor, and the watch for NaN and infinity.
//!
//! Two passes with a fixed order: a share of Σ g² per workgroup, then the sum of the shares.

use rayon::prelude::*;

use super::case::Case;
use crate::cpu::vector::dot;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Buffer, Grid, Recording};

params! {
    struct Params {
        count: u32,
        first_slot: u32,
        max_norm: f32,
    }
}

kernel!(
    SUM_SQUARES,
    "grad_norm",
    "sum_squares",
    Params,
    sum_squares_twin
);
kernel!(FINISH, "grad_norm", "finish", Params, finish_twin);
/// The entry points of `shaders/grad_norm.wgsl`.
pub const KERNELS: &[&Kernel] = &[&SUM_SQUARES, &FINISH];

/// The most workgroups that share one gradient buffer.
const MAX_SHARES: usize = 256;

/// What PyTorch's `clip_grad_norm_` adds to the norm.
const CLIP_EPSILON: f32 = 1e-6;

/// What [`finish`] leaves: norm, clip factor, broken.
pub const NORM: usize = 3;

/// Partial sums that a gradient of `count` elements takes.
pub fn shares(count: usize) -> usize {
    // Four elements a lane before another workgroup is worth it.
    count.div_ceil(4 * lanes()).min(MAX_SHARES)
}

/// Elements that a workgroup takes at a time.
fn lanes() -> usize {
    SUM_SQUARES.reflection().workgroup_size[0] as usize
}

/// partials `[first_slot .. first_slot + shares(count)]` = the shares of Σ g² of one gradient.
pub fn sum_squares(
    rec: &mut Recording,
    (gradient, partials): (Buffer, Buffer),
    count: usize,
    first_slot: usize,
) {
    let params = Params {
        count: count as u32,
        first_slot: first_slot as u32,
        max_norm: 0.0,
    };
    rec.push(
        &SUM_SQUARES,
        &[gradient, partials],
        params,
        Grid::Groups([shares(count), 1, 1]),
        2 * count as u64,
    );
}

/// norm `[NORM]` from all partial sums: the gradient norm, the factor that clips it to `max_norm`
/// (1 if `max_norm` is 0), and whether Σ g² was ever not finite (1, else left as it was).
pub fn finish(
    rec: &mut Recording,
    (partials, norm): (Buffer, Buffer),
    slots: usize,
    max_norm: f32,
) {
    let params = Params {
        count: slots as u32,
        first_slot: 0,
        max_norm,
    };
    let grid = Grid::Groups([1, 1, 1]);
    rec.push(&FINISH, &[partials, norm], params, grid, slots as u64);
}

fn sum_squares_twin(p: &Params, mut b: Bindings) {
    let (gradient, partials) = (b.read::<f32>(0), b.write::<f32>(1));
    let gradient = &gradient[..p.count as usize];
    let (shares, lanes) = (shares(gradient.len()), lanes());
    partials[p.first_slot as usize..][..shares]
        .par_iter_mut()
        .enumerate()
        .for_each(|(share, out)| {
            // A lane reads four at a time.
            let own = gradient.chunks(4 * lanes).skip(share).step_by(shares);
            let sum: f64 = own.map(|g| dot(g, g)).sum();
            *out = sum as f32;
        });
}

fn finish_twin(p: &Params, mut b: Bindings) {
    let (partials, norm) = (b.read::<f32>(0), b.write::<f32>(1));
    let total: f64 = partials[..p.count as usize]
        .iter()
        .map(|&s| f64::from(s))
        .sum();
    norm[0] = total.sqrt() as f32;
    norm[1] = 1.0;
    if p.max_norm > 0.0 {
        norm[1] = (p.max_norm / (norm[0] + CLIP_EPSILON)).min(1.0);
    }
    if !(total as f32).is_finite() {
        norm[2] = 1.0;
    }
}

/// Norms below and above the clip, several gradients, a gradient of more than all shares hold.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (counts, amplitude, max_norm) in [
        (vec![1], 0.5, 1.0),
        (vec![1023, 1, 1025], 0.01, 1.0),
        (vec![300_007, 64], 1.0, 1.0),
        (vec![5000], 1.0, 0.0),
    ] {
        let slots: usize = counts.iter().map(|&c| shares(c)).sum();
        let mut case = Case::new(format!("{counts:?} to {max_norm}"))
            .output(slots)
            .floats([0.0; NORM])
            .writable();
        for &count in &counts {
            case = case.input(count, amplitude);
        }
        cases.push(case.record(move |rec, b| {
            let mut slot = 0;
            for (g, &count) in counts.iter().enumerate() {
                sum_squares(rec, (b[2 + g], b[0]), count, slot);
                slot += shares(count);
            }
            finish(rec, (b[0], b[1]), slots, max_norm);
        }));
    }
    cases
}
