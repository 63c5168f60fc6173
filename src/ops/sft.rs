//! The supervised loss: the mean negative log-prob of the chosen response's tokens, a pair at a time.

use std::ops::Range;

use super::case::Case;
use super::dpo::METRICS;
use super::grad_norm::Norm;
use crate::buffer::Buffer;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Grid, Recording};

params! {
    struct Params {
        scale: f32,
        count: u32,
        first_pair: u32,
        first_slot: u32,
    }
}

kernel!(FORWARD, "sft", "forward", Params, forward_twin);
kernel!(BACKWARD, "sft", "backward", Params, backward_twin);
/// The entry points of `shaders/sft.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

/// Operations a head row.
const FLOPS: usize = 1;

/// The operands of [`forward`] and [`backward`], laid out as in [`super::dpo::Loss`].
#[derive(Clone)]
pub struct Loss {
    /// `[pairs, 3]`: first head row, first rejected head row, end.
    pub pairs: Buffer,
    /// `[head rows]`: the policy's log-probs.
    pub logps: Buffer,
    /// `[slots, METRICS]`.
    pub metrics: Buffer,
    /// `[head rows]`: dloss/dlogp, times the loss scale.
    pub drows: Buffer,
    /// 1 / examples of the optimizer step.
    pub scale: f32,
    /// Where pair 0 of `pairs` reports in `metrics`.
    pub first_slot: usize,
}

impl Loss {
    fn params(&self, range: &Range<usize>) -> Params {
        Params {
            scale: self.scale,
            count: range.len() as u32,
            first_pair: range.start as u32,
            first_slot: self.first_slot as u32,
        }
    }

    /// Operations over the head rows of `pairs`, were all pairs equally long.
    fn flops(&self, pairs: &Range<usize>) -> u64 {
        let all = (self.pairs.words / 3).max(1);
        (FLOPS * self.logps.words * pairs.len() / all) as u64
    }
}

/// metrics of the pairs `range` from their log-probs: loss and chosen log-prob, the others 0.
pub fn forward(rec: &mut Recording, op: &Loss, range: Range<usize>) {
    let buffers = [op.pairs, op.logps, op.metrics];
    let grid = Grid::Groups([range.len(), 1, 1]);
    rec.push(
        &FORWARD,
        &buffers,
        op.params(&range),
        grid,
        op.flops(&range),
    );
}

/// drows of the pairs `range`, with the loss scale in `norm`, a [`Norm`]; rejected rows get 0.
pub fn backward(rec: &mut Recording, op: &Loss, norm: Buffer, range: Range<usize>) {
    let grid = Grid::Groups([range.len(), 1, 1]);
    rec.push(
        &BACKWARD,
        &[op.pairs, op.drows, norm],
        op.params(&range),
        grid,
        op.flops(&range),
    );
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (pairs, logps) = (b.read::<[u32; 3]>(0), b.read::<f32>(1));
    let metrics = b.write::<[f32; METRICS]>(2);
    for pair in p.first_pair..p.first_pair + p.count {
        let [start, middle, _] = pairs[pair as usize].map(|r| r as usize);
        let sum: f64 = logps[start..middle].iter().map(|&l| f64::from(l)).sum();
        let loss = -sum / (middle - start) as f64;
        metrics[(p.first_slot + pair) as usize] = [loss as f32, 0.0, 0.0, 0.0, sum as f32, 0.0];
    }
}

fn backward_twin(p: &Params, mut b: Bindings) {
    let (pairs, drows) = (b.read::<[u32; 3]>(0), b.write::<f32>(1));
    let norm = b.read::<Norm>(2)[0];
    for pair in p.first_pair..p.first_pair + p.count {
        let [start, middle, end] = pairs[pair as usize].map(|r| r as usize);
        drows[start..middle].fill(-p.scale / (middle - start) as f32 * norm.scale);
        drows[middle..end].fill(0.0);
    }
}

/// Responses of one token and of more than a workgroup has lanes, with and without a rejected one.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (lengths, skip, loss_scale) in [
        (vec![[1, 0]], 0, 1.0),
        (vec![[3, 1], [65, 0], [130, 64]], 0, 1.0),
        (vec![[3, 1], [65, 0], [130, 64]], 2, 65536.0),
    ] {
        let (pairs, rows) = super::case::pairs(&lengths);
        let count = lengths.len();
        let first_slot = 1;
        cases.push(
            Case::new(format!("{lengths:?} from pair {skip}"))
                .indices(pairs)
                .input(rows, 4.0)
                .inout((first_slot + count) * METRICS, 1.0)
                .inout(rows, 1.0)
                .floats(Norm::new(loss_scale).floats())
                .record(move |rec, b| {
                    let op = Loss {
                        pairs: b[0],
                        logps: b[1],
                        metrics: b[2],
                        drows: b[3],
                        scale: 0.25,
                        first_slot,
                    };
                    forward(rec, &op, skip..count);
                    backward(rec, &op, b[4], skip..count);
                }),
        );
    }
    cases
}
