//! The DPO loss of each pair and its gradient (Rafailov et al. 2023, eq. 7). `crate::dpo` has it in
//! prose.

use std::ops::Range;

use super::case::Case;
use super::grad_norm::Norm;
use crate::buffer::Buffer;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Grid, Recording};

params! {
    struct Params {
        beta: f32,
        scale: f32,
        count: u32,
        first_pair: u32,
        first_slot: u32,
    }
}

kernel!(FORWARD, "dpo", "forward", Params, forward_twin);
kernel!(BACKWARD, "dpo", "backward", Params, backward_twin);
/// The entry points of `shaders/dpo.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

/// Numbers reported a pair: loss, reward margin, chosen and rejected reward, chosen and rejected
/// log-prob.
pub const METRICS: usize = 6;

/// Operations a head row.
const FLOPS: usize = 4;

/// The operands of [`forward`] and [`backward`].
#[derive(Clone)]
pub struct Loss {
    /// `[pairs, 3]`: first head row, first rejected head row, end.
    pub pairs: Buffer,
    /// `[head rows]`: the policy's log-probs.
    pub logps: Buffer,
    /// `[head rows]`: the reference's log-probs.
    pub references: Buffer,
    /// `[slots, METRICS]`.
    pub metrics: Buffer,
    /// `[head rows]`: dloss/dlogp, times the loss scale.
    pub drows: Buffer,
    /// β: strength of the pull towards the reference.
    pub beta: f32,
    /// 1 / pairs of the optimizer step.
    pub scale: f32,
    /// Where pair 0 of `pairs` reports in `metrics`.
    pub first_slot: usize,
}

impl Loss {
    fn params(&self, range: &Range<usize>) -> Params {
        Params {
            beta: self.beta,
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

/// metrics of the pairs `range` from their log-probs.
pub fn forward(rec: &mut Recording, op: &Loss, range: Range<usize>) {
    let buffers = [op.pairs, op.logps, op.references, op.metrics];
    let grid = Grid::Groups([range.len(), 1, 1]);
    rec.push(
        &FORWARD,
        &buffers,
        op.params(&range),
        grid,
        op.flops(&range),
    );
}

/// drows of the pairs `range` from the metrics that [`forward`] wrote, and the loss scale in `norm`, a
/// [`Norm`].
pub fn backward(rec: &mut Recording, op: &Loss, norm: Buffer, range: Range<usize>) {
    let buffers = [op.pairs, op.metrics, op.drows, norm];
    let grid = Grid::Groups([range.len(), 1, 1]);
    rec.push(
        &BACKWARD,
        &buffers,
        op.params(&range),
        grid,
        op.flops(&range),
    );
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (pairs, logps, references) = (b.read::<[u32; 3]>(0), b.read::<f32>(1), b.read::<f32>(2));
    let metrics = b.write::<[f32; METRICS]>(3);
    for pair in p.first_pair..p.first_pair + p.count {
        let [start, middle, end] = pairs[pair as usize].map(|r| r as usize);
        let sum = |range: Range<usize>| range.map(|r| f64::from(logps[r])).sum::<f64>() as f32;
        let gain = |range: Range<usize>| {
            range
                .map(|r| f64::from(logps[r] - references[r]))
                .sum::<f64>() as f32
        };
        let (chosen, rejected) = (gain(start..middle), gain(middle..end));
        let margin = p.beta * (chosen - rejected);
        let z = f64::from(margin);
        metrics[(p.first_slot + pair) as usize] = [
            ((-z).max(0.0) + (-z.abs()).exp().ln_1p()) as f32,
            margin,
            p.beta * chosen,
            p.beta * rejected,
            sum(start..middle),
            sum(middle..end),
        ];
    }
}

fn backward_twin(p: &Params, mut b: Bindings) {
    let (pairs, metrics) = (b.read::<[u32; 3]>(0), b.read::<[f32; METRICS]>(1));
    let (drows, norm) = (b.write::<f32>(2), b.read::<Norm>(3)[0]);
    for pair in p.first_pair..p.first_pair + p.count {
        let [start, middle, end] = pairs[pair as usize].map(|r| r as usize);
        let margin = metrics[(p.first_slot + pair) as usize][1];
        let sigma = 1.0 / (1.0 + f64::from(margin).exp()); // σ(-margin)
        let slope = p.beta * sigma as f32 * p.scale * norm.scale;
        drows[start..middle].fill(-slope);
        drows[middle..end].fill(slope);
    }
}

/// Pairs with responses of one token and of more than a workgroup has lanes; the first chunk of a
/// micro-batch and a later one, with a loss scale.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (lengths, skip, loss_scale) in [
        (vec![[1, 1]], 0, 1.0),
        (vec![[3, 1], [65, 64], [1, 130], [200, 7]], 0, 1.0),
        (vec![[3, 1], [65, 64], [1, 130]], 1, 65536.0),
    ] {
        let (pairs, rows) = super::case::pairs(&lengths);
        let count = lengths.len();
        let first_slot = 2;
        cases.push(
            Case::new(format!("{lengths:?} from pair {skip}"))
                .indices(pairs)
                .input(rows, 4.0)
                .input(rows, 4.0)
                .inout((first_slot + count) * METRICS, 1.0)
                .inout(rows, 1.0)
                .floats(Norm::new(loss_scale).floats())
                .record(move |rec, b| {
                    let op = Loss {
                        pairs: b[0],
                        logps: b[1],
                        references: b[2],
                        metrics: b[3],
                        drows: b[4],
                        beta: 0.1,
                        scale: 0.25,
                        first_slot,
                    };
                    forward(rec, &op, skip..count);
                    backward(rec, &op, b[5], skip..count);
                }),
        );
    }
    cases
}
