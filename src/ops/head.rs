//! Log-probs from the logits of the vocabulary's shards, and the gradient of the logits.
//!
//! log π(token) = logit(token) − log Σ exp(logits); dlogits = dlogp · (onehot − softmax).

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::case::Case;
use super::linear::{self, Nn, Nt, Sum, Tn};
use crate::buffer::Buffer;
use crate::cpu::vector::{exp, max, sum};
use crate::kernel::{Bindings, Kernel, params, twin};
use crate::recording::{Cost, Grid, Recording};
use crate::wgsl::parts;

params! {
    struct Params {
        rows: u32,
        cols: u32,
        stride: u32,
        first_token: u32,
        first_head: u32,
        first_shard: u32,
        last_shard: u32,
    }
}

/// `forward` of `shaders/head.wgsl`.
pub static FORWARD: Kernel = Kernel::new(
    "head",
    "forward",
    parts!["head"],
    twin!(Params, forward_twin),
);
/// `backward` of `shaders/head.wgsl`.
pub static BACKWARD: Kernel = Kernel::new(
    "head",
    "backward",
    parts!["head"],
    twin!(Params, backward_twin),
);
/// The entry points of `shaders/head.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

/// The count of numbers that a row keeps between shards: max, Σ exp(· − max), the target's logit.
pub const STATS: usize = 3;

/// One shard of the vocabulary and the buffer of its logits.
#[derive(Clone, Debug)]
pub struct Shard {
    /// `[stride, width]`: the shard's rows of `wte`, padding rows at the end.
    pub wte: Buffer,
    /// `[rows, stride]`.
    pub logits: Buffer,
    /// The vocabulary rows of the shard, without padding.
    pub tokens: Range<usize>,
    /// Rows with padding; a multiple of 4, because the shaders read the logits as vec4s.
    pub stride: usize,
}

/// The head rows of one chunk, and their target tokens.
#[derive(Clone)]
pub struct Chunk {
    /// `[rows, width]`: the final layernorm's output for this chunk.
    pub x: Buffer,
    /// C.
    pub width: usize,
    /// `[head rows]` target tokens of the whole micro-batch.
    pub targets: Buffer,
    /// `[rows, STATS]`.
    pub stats: Buffer,
    /// The chunk's rows among all head rows.
    pub heads: Range<usize>,
}

/// logits of one shard `[rows, stride]` = x `[rows, width]` · wteᵀ.
pub fn logits(rec: &mut Recording, chunk: &Chunk, shard: &Shard) {
    let shape = linear::Shape::whole(chunk.heads.len(), shard.stride, chunk.width);
    let product = Nt {
        dy: chunk.x,
        weight: shard.wte,
        dx: shard.logits,
    };
    linear::nt(rec, &product, shape, Sum::SET);
}

/// Records the log-prob of each row's target token, in the chunk's rows of logps `[head rows]`.
pub fn forward(rec: &mut Recording, chunk: &Chunk, shards: &[Shard], logps: Buffer) {
    for (s, shard) in shards.iter().enumerate() {
        logits(rec, chunk, shard);
        let mut params = shard_params(chunk, shard);
        params.first_shard = (s == 0).into();
        params.last_shard = (s + 1 == shards.len()).into();
        let rows = chunk.heads.len();
        let buffers = [chunk.targets, shard.logits, chunk.stats, logps];
        let grid = Grid::Groups([rows, 1, 1]);
        let logits = rows * shard.tokens.len();
        let work = Cost::new(8 * logits as u64, logits + rows * (2 * STATS + 2));
        rec.push(&FORWARD, &buffers, params, grid, work);
    }
}

/// The operands of [`backward`].
pub struct Backward {
    /// `[head rows]`: dloss/dlogp.
    pub dlogps: Buffer,
    /// `[rows, width]`: gradient of [`Chunk::x`], written.
    pub dx: Buffer,
    /// For each shard the gradient of [`Shard::wte`], accumulated; `None` if `wte` is not trainable.
    pub dwte: Option<Vec<Buffer>>,
}

/// Overwrites the logits of each shard with their gradients, and multiplies these into the gradients of x and
/// of `wte`.
pub fn backward(rec: &mut Recording, chunk: &Chunk, shards: &[Shard], op: &Backward) {
    for (s, shard) in shards.iter().enumerate() {
        let rows = chunk.heads.len();
        let count = rows * shard.stride;
        rec.push(
            &BACKWARD,
            &[chunk.targets, chunk.stats, op.dlogps, shard.logits],
            shard_params(chunk, shard),
            Grid::Rows {
                rows,
                width: shard.stride.div_ceil(4),
            },
            Cost::new(4 * count as u64, 2 * count + rows * (STATS + 2)),
        );
        let shape = linear::Shape::whole(rows, shard.stride, chunk.width);
        let product = Nn {
            x: shard.logits,
            weight: shard.wte,
            bias: None,
            residual: None,
            y: op.dx,
            first_row: 0,
        };
        linear::nn(rec, &product, shape, Sum::first(s == 0));
        if let Some(dwte) = &op.dwte {
            let product = Tn {
                x: shard.logits,
                dy: chunk.x,
                dw: dwte[s],
            };
            linear::tn(rec, &product, shape, Sum::ADD);
        }
    }
}

fn shard_params(chunk: &Chunk, shard: &Shard) -> Params {
    Params {
        rows: chunk.heads.len() as u32,
        cols: shard.tokens.len() as u32,
        stride: shard.stride as u32,
        first_token: shard.tokens.start as u32,
        first_head: chunk.heads.start as u32,
        first_shard: 0,
        last_shard: 0,
    }
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (targets, logits) = (b.read::<u32>(0), b.read::<f32>(1));
    let (stats, logps) = (b.write::<f32>(2), b.write::<f32>(3));
    let (stride, cols) = (p.stride as usize, p.cols as usize);
    let first_head = p.first_head as usize;
    logits
        .par_chunks(stride)
        .zip(stats.par_chunks_mut(STATS))
        .zip(&targets[first_head..])
        .zip(&mut logps[first_head..])
        .take(p.rows as usize)
        .for_each(|(((logits, stats), &target), logp)| {
            let logits = &logits[..cols];
            let (mut peak, mut total) = peak_and_total(logits);
            let mut target_logit = 0.0;
            if p.first_shard == 0 {
                let higher = peak.max(stats[0]);
                total = total * f64::from((peak - higher).exp())
                    + f64::from(stats[1]) * f64::from((stats[0] - higher).exp());
                peak = higher;
                target_logit = stats[2];
            }
            if let Some(&logit) = target
                .checked_sub(p.first_token)
                .and_then(|t| logits.get(t as usize))
            {
                target_logit = logit;
            }
            stats.copy_from_slice(&[peak, total as f32, target_logit]);
            if p.last_shard != 0 {
                *logp = (target_logit - peak) - total.ln() as f32;
            }
        });
}

fn backward_twin(p: &Params, mut b: Bindings) {
    let (targets, stats) = (b.read::<u32>(0), b.read::<f32>(1));
    let (dlogps, dlogits) = (b.read::<f32>(2), b.write::<f32>(3));
    let (stride, cols) = (p.stride as usize, p.cols as usize);
    let first_head = p.first_head as usize;
    dlogits
        .par_chunks_mut(stride)
        .zip(stats.par_chunks(STATS))
        .zip(&targets[first_head..])
        .zip(&dlogps[first_head..])
        .take(p.rows as usize)
        .for_each(|(((row, stats), &target), &dlogp)| {
            let (real, padding) = row.split_at_mut(cols);
            let softmax = |logit: f32| exp(logit - stats[0]) / stats[1];
            let target = target.checked_sub(p.first_token).map(|t| t as usize);
            let of_target = target.and_then(|t| Some((t, softmax(*real.get(t)?))));
            scaled_exp(real, stats[0], -dlogp / stats[1]);
            if let Some((t, softmax)) = of_target {
                real[t] = dlogp * (1.0 - softmax);
            }
            padding.fill(0.0);
        });
}

/// The maximum, and Σ exp(· − max).
#[multiversion(targets = "simd")]
fn peak_and_total(logits: &[f32]) -> (f32, f64) {
    let peak = max(logits);
    (peak, sum([logits], |[l]| f64::from(exp(l - peak))))
}

/// Replaces each value by factor · exp(value − peak).
#[multiversion(targets = "simd")]
fn scaled_exp(values: &mut [f32], peak: f32, factor: f32) {
    for value in values {
        *value = factor * exp(*value - peak);
    }
}

/// Cases of one shard and of three, with padding, in chunks that begin at the first head row and at a later one.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let sizes: [(usize, usize, usize, usize, usize); 3] =
        [(1, 1, 1, 1, 0), (5, 33, 301, 3, 2), (37, 48, 1031, 2, 11)];
    for (rows, width, vocab, parts, first_head) in sizes {
        let size = vocab.div_ceil(parts);
        let heads = first_head..first_head + rows;
        let layout: Vec<(Range<usize>, usize)> = (0..parts)
            .map(|s| {
                (
                    s * size..((s + 1) * size).min(vocab),
                    size.next_multiple_of(8),
                )
            })
            .collect();
        let mut case = Case::new(format!("{rows}x{width} of {vocab} in {parts}"))
            .input(rows * width, 1.0)
            .indices((0..heads.end).map(|r| ((r * 131 + 7) % vocab) as u32))
            .input(heads.end, 1.0)
            .output(rows * STATS)
            .inout(heads.end, 1.0)
            .output(rows * width);
        for (_, stride) in &layout {
            case = case
                .input(stride * width, 0.3)
                .output(rows * stride)
                .inout(stride * width, 1.0);
        }
        cases.push(case.record(move |rec, b| {
            let shards: Vec<Shard> = layout
                .iter()
                .enumerate()
                .map(|(s, (tokens, stride))| Shard {
                    wte: b[6 + 3 * s],
                    logits: b[7 + 3 * s],
                    tokens: tokens.clone(),
                    stride: *stride,
                })
                .collect();
            let chunk = Chunk {
                x: b[0],
                width,
                targets: b[1],
                stats: b[3],
                heads: heads.clone(),
            };
            forward(rec, &chunk, &shards, b[4]);
            let op = Backward {
                dlogps: b[2],
                dx: b[5],
                dwte: Some((0..shards.len()).map(|s| b[8 + 3 * s]).collect()),
            };
            backward(rec, &chunk, &shards, &op);
        }));
    }
    cases
}
