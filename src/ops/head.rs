//! Log-probs from the logits of the vocabulary's shards, and the gradient of the logits.
//!
//! log π(token) = logit(token) − log Σ exp(logits); dlogits = dlogp · (onehot − softmax). Beside the log-prob each row has
//! facts that the metrics show: the entropy −Σ π log π in nats, the mean logit over the vocabulary, and whether no token
//! is likelier than the target.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::case::Case;
use super::linear::{self, Nn, Nt, Sum, Tn};
use crate::buffer::Buffer;
use crate::cpu::vector::{exp, max, sums};
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

/// The count of numbers that a row keeps between shards: max, Σ e^(l − max), Σ e^(l − max) · (l − max), Σ l, the target's
/// logit.
pub const STATS: usize = 5;

/// The count of facts of a row: entropy, mean logit, and 1 if the target is the likeliest token.
pub const FACTS: usize = 3;

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

/// logits of one shard `[rows, stride]` = x `[rows, width]` · wteᵀ, for generation: a single row runs
/// [`linear::NT_ROW`].
pub fn logits(rec: &mut Recording, chunk: &Chunk, shard: &Shard) {
    let (product, shape) = logits_product(chunk, shard);
    linear::nt_or_row(rec, &product, shape, Sum::SET);
}

fn logits_product(chunk: &Chunk, shard: &Shard) -> (Nt, linear::Shape) {
    let product = Nt {
        dy: chunk.x,
        weight: shard.wte,
        dx: shard.logits,
    };
    let rows = chunk.heads.len();
    (
        product,
        linear::Shape::whole(rows, shard.stride, chunk.width),
    )
}

/// The results of [`forward`].
#[derive(Clone, Copy)]
pub struct Results {
    /// `[head rows]`.
    pub logps: Buffer,
    /// `[head rows, FACTS]`.
    pub facts: Buffer,
}

/// Records log-prob and facts of each row, in the chunk's rows of the results.
pub fn forward(rec: &mut Recording, chunk: &Chunk, shards: &[Shard], to: Results) {
    for (s, shard) in shards.iter().enumerate() {
        let (product, shape) = logits_product(chunk, shard);
        linear::nt(rec, &product, shape, Sum::SET);
        let mut params = shard_params(chunk, shard);
        params.first_shard = (s == 0).into();
        params.last_shard = (s + 1 == shards.len()).into();
        let rows = chunk.heads.len();
        let buffers = [chunk.targets, shard.logits, chunk.stats, to.logps, to.facts];
        let grid = Grid::Groups([rows, 1, 1]);
        let logits = rows * shard.tokens.len();
        let work = Cost::new(12 * logits as u64, logits + rows * (2 * STATS + 2 + FACTS));
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
    let facts = b.write::<f32>(4);
    let (stride, cols) = (p.stride as usize, p.cols as usize);
    let first_head = p.first_head as usize;
    logits
        .par_chunks(stride)
        .zip(stats.par_chunks_mut(STATS))
        .zip(&targets[first_head..])
        .zip(&mut logps[first_head..])
        .zip(
            facts[FACTS * first_head..]
                .chunks_mut(FACTS)
                .collect::<Vec<_>>(),
        )
        .take(p.rows as usize)
        .for_each(|((((logits, stats), &target), logp), facts)| {
            let logits = &logits[..cols];
            let mut softmax = Part::of(logits);
            let mut target_logit = 0.0;
            if p.first_shard == 0 {
                softmax = softmax.merged(Part {
                    peak: stats[0],
                    total: stats[1].into(),
                    weighted: stats[2].into(),
                    plain: stats[3].into(),
                });
                target_logit = stats[4];
            }
            if let Some(&logit) = target
                .checked_sub(p.first_token)
                .and_then(|t| logits.get(t as usize))
            {
                target_logit = logit;
            }
            let Part {
                peak,
                total,
                weighted,
                plain,
            } = softmax;
            stats.copy_from_slice(&[
                peak,
                total as f32,
                weighted as f32,
                plain as f32,
                target_logit,
            ]);
            if p.last_shard != 0 {
                *logp = (target_logit - peak) - total.ln() as f32;
                let vocabulary = f64::from(p.first_token + p.cols);
                facts[0] = (total.ln() - weighted / total) as f32;
                facts[1] = (plain / vocabulary) as f32;
                facts[2] = f32::from(target_logit >= peak);
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

/// Mirrors `Part` of the shader.
struct Part {
    peak: f32,
    total: f64,
    weighted: f64,
    plain: f64,
}

impl Part {
    fn of(logits: &[f32]) -> Part {
        let (peak, [total, weighted, plain]) = peak_and_sums(logits);
        Part {
            peak,
            total,
            weighted,
            plain,
        }
    }

    /// Mirrors `seen_from` of the shader.
    fn seen_from(self, peak: f32) -> Part {
        let below = self.peak - peak;
        let scale = f64::from(below.exp());
        Part {
            peak,
            total: self.total * scale,
            weighted: (self.weighted + self.total * f64::from(below)) * scale,
            plain: self.plain,
        }
    }

    /// Mirrors `merged` of the shader.
    fn merged(self, other: Part) -> Part {
        let peak = self.peak.max(other.peak);
        let (own, other) = (self.seen_from(peak), other.seen_from(peak));
        Part {
            peak,
            total: own.total + other.total,
            weighted: own.weighted + other.weighted,
            plain: own.plain + other.plain,
        }
    }
}

/// The maximum, Σ e^(l − max), Σ e^(l − max) · (l − max), and Σ l.
#[multiversion(targets = "simd")]
fn peak_and_sums(logits: &[f32]) -> (f32, [f64; 3]) {
    let peak = max(logits);
    let sums = sums([logits], |[l]| {
        let (below, logit) = (l - peak, f64::from(l));
        let e = f64::from(exp(below));
        [e, e * f64::from(below), logit]
    });
    (peak, sums)
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
            .output(rows * width)
            .inout(heads.end * FACTS, 1.0);
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
                    wte: b[7 + 3 * s],
                    logits: b[8 + 3 * s],
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
            let to = Results {
                logps: b[4],
                facts: b[6],
            };
            forward(rec, &chunk, &shards, to);
            let op = Backward {
                dlogps: b[2],
                dx: b[5],
                dwte: Some((0..shards.len()).map(|s| b[9 + 3 * s]).collect()),
            };
            backward(rec, &chunk, &shards, &op);
        }));
    }
    cases
}
