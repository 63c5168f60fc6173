//! Partial sums of the global gradient norm.
//!
//! The norm takes two passes, each with a fixed order of terms: here each workgroup sums its share of Σ g², and
//! [`super::step_control`] adds up the shares.

use rayon::prelude::*;

use super::case::Case;
use crate::buffer::Buffer;
use crate::cpu::vector::dot;
use crate::kernel::{Bindings, Kernel, params, twin};
use crate::recording::{Grid, Recording};
use crate::wgsl::parts;

params! {
    struct Params {
        count: u32,
        first_slot: u32,
    }
}

/// `sum_squares` of `shaders/grad_norm.wgsl`.
pub static SUM_SQUARES: Kernel = Kernel::new(
    "grad_norm",
    "sum_squares",
    parts!["sum_over_lanes", "grad_norm"],
    twin!(Params, sum_squares_twin),
);
/// Every kernel of this op.
pub const KERNELS: &[&Kernel] = &[&SUM_SQUARES];

/// The most workgroups that share one arena: enough to keep a GPU of 130 processors busy.
const MAX_SHARES: usize = 1024;

/// The number of partial sums of a gradient of `count` elements.
pub fn shares(count: usize) -> usize {
    // A workgroup more pays only if each lane has four elements.
    count.div_ceil(4 * lanes()).min(MAX_SHARES)
}

/// The lanes of a workgroup.
fn lanes() -> usize {
    SUM_SQUARES.reflection().workgroup_size[0] as usize
}

/// The operands of [`sum_squares`].
#[derive(Clone, Copy)]
pub struct SumSquares {
    /// A gradient, or an arena of gradients.
    pub gradient: Buffer,
    /// `[slots]`.
    pub partials: Buffer,
    /// The gradient's first slot in `partials`.
    pub first_slot: usize,
}

/// partials `[first_slot .. first_slot + n]` = the n shares of Σ g² of one gradient. Returns n, the number of
/// its [`shares`].
pub fn sum_squares(rec: &mut Recording, op: &SumSquares) -> usize {
    let count = op.gradient.words;
    let params = Params {
        count: count as u32,
        first_slot: op.first_slot as u32,
    };
    let shares = shares(count);
    rec.push(
        &SUM_SQUARES,
        &[op.gradient, op.partials],
        params,
        Grid::Groups([shares, 1, 1]),
        2 * count as u64,
    );
    shares
}

fn sum_squares_twin(p: &Params, mut b: Bindings) {
    let (gradient, partials) = (b.read::<f32>(0), b.write::<f32>(1));
    let gradient = &gradient[..p.count as usize];
    let (shares, lanes) = (shares(gradient.len()), lanes());
    partials[p.first_slot as usize..][..shares]
        .par_iter_mut()
        .enumerate()
        .for_each(|(share, out)| {
            // A lane reads four elements at a time.
            let own = gradient.chunks(4 * lanes).skip(share).step_by(shares);
            let sum: f64 = own.map(|g| dot(g, g)).sum();
            *out = sum as f32;
        });
}

/// Cases of gradients below and above the share of one workgroup, of a gradient larger than one round of all
/// workgroups, and of several gradients that write to one buffer of partial sums.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for counts in [vec![1], vec![1023, 1, 1025], vec![1_300_007, 64]] {
        let slots: usize = counts.iter().map(|&c| shares(c)).sum();
        let mut case = Case::new(format!("{counts:?}")).output(slots);
        for &count in &counts {
            case = case.input(count, 1.0);
        }
        cases.push(case.record(move |rec, b| {
            let mut first_slot = 0;
            for (g, &count) in counts.iter().enumerate() {
                let op = SumSquares {
                    gradient: b[1 + g].first(count),
                    partials: b[0],
                    first_slot,
                };
                first_slot += sum_squares(rec, &op);
            }
        }));
    }
    cases
}
