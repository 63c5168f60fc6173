//! The forward walk: from token ids to log-probs, one recorded op after another.

use std::ops::Range;

use super::{Block, Dims, Layer, Tensor, Tensors, Workspace};
use crate::batch::{Stream, Tile};
use crate::buffer::Buffer;
use crate::ops::{attention, embedding, gather, head, layernorm, linear};
use crate::recording::Recording;

/// Rows to compute, and where they stand among all rows' queries, keys and values.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// N: how many.
    pub count: usize,
    /// Above 0 when generating: earlier rows are in the key/value cache.
    pub first: usize,
    /// The rows as attention takes them together, and as `ws.inputs.tiles` holds them.
    pub tiles: &'a [Tile],
}

impl Rows<'_> {
    /// All rows of a stream.
    pub fn of(stream: &Stream) -> Rows<'_> {
        Rows {
            count: stream.tokens.len(),
            first: 0,
            tiles: &stream.tiles,
        }
    }
}

/// Shape of a layernorm of this model over `rows` rows.
pub(super) fn norm_shape(dims: &Dims, rows: usize) -> layernorm::Shape {
    layernorm::Shape {
        rows,
        width: dims.n_embd,
        epsilon: dims.epsilon,
    }
}

/// Shape of this model's attention over these rows.
pub(super) fn attention_shape<'a>(dims: &Dims, rows: Rows<'a>) -> attention::Shape<'a> {
    attention::Shape {
        tiles: rows.tiles,
        heads: dims.n_head,
        head_dim: dims.head_dim(),
    }
}

/// The uploaded rows through all layers: `ws.out` `[N, C]` is the residual stream after the last one.
pub fn forward(rec: &mut Recording, dims: &Dims, weights: &Tensors, ws: &Workspace, rows: Rows) {
    let n = rows.count;
    embed(rec, dims, weights, ws, n);
    for l in 0..dims.n_layer {
        let (block, at) = (weights.block(l), &ws.layers[l]);
        let out = ws.layers.get(l + 1).map_or(ws.out, |next| next.x); // [N, C]
        activations(rec, dims, &block, ws, at, rows);
        let residual = Some(at.middle);
        linear(rec, at.gelu, block.mlp_c_proj, residual, out, n, 0); // [N, C]
    }
}

/// A block from `at.x` to `at.wide` and `at.gelu`: all of it that the backward pass reads. Recorded again
/// over the same `at.x`, it gives the same bits.
pub(super) fn activations(
    rec: &mut Recording,
    dims: &Dims,
    block: &Block,
    ws: &Workspace,
    at: &Layer,
    rows: Rows,
) {
    let n = rows.count;
    let normed = (at.normed, at.normed_stats);
    norm(rec, dims, at.x, block.ln_1, normed, n); // [N, C]
    linear(rec, at.normed, block.c_attn, None, at.qkv, n, rows.first); // [N, 3C]
    let op = attention::Forward {
        qkv: at.qkv,
        spans: ws.inputs.spans,
        tiles: ws.inputs.tiles,
        y: at.attended,
        lse: at.lse,
    };
    attention::forward(rec, &op, attention_shape(dims, rows)); // [N, C]
    let (project, residual) = (block.attn_c_proj, Some(at.x));
    linear(rec, at.attended, project, residual, at.middle, n, 0); // [N, C]

    norm(rec, dims, at.middle, block.ln_2, normed, n); // [N, C]
    linear_gelu(rec, at.normed, block.c_fc, at.wide, at.gelu, n); // [N, F]
}

fn embed(rec: &mut Recording, dims: &Dims, weights: &Tensors, ws: &Workspace, n: usize) {
    let x = ws.layers.first().map_or(ws.out, |layer| layer.x);
    for shard in &weights.wte().shards {
        let op = embedding::Forward {
            tokens: ws.inputs.tokens,
            positions: ws.inputs.positions,
            wte: shard.buffer,
            shard: shard.rows.clone(),
            wpe: weights.wpe().whole(),
            x,
            rows: n,
            width: dims.n_embd,
        };
        embedding::forward(rec, &op);
    }
}

/// The layernorm of x `[rows, C]`.
pub(super) fn norm(
    rec: &mut Recording,
    dims: &Dims,
    x: Buffer,
    [gain, shift]: [&Tensor; 2],
    (y, stats): (Buffer, Buffer),
    rows: usize,
) {
    let op = layernorm::Forward {
        x,
        gain: gain.whole(),
        shift: shift.whole(),
        y,
        stats,
    };
    layernorm::forward(rec, &op, norm_shape(dims, rows));
}

/// y, from row `first_row` on, = x · weight + bias + residual, shard by shard of the weight's rows.
fn linear(
    rec: &mut Recording,
    x: Buffer,
    [weight, bias]: [&Tensor; 2],
    residual: Option<Buffer>,
    y: Buffer,
    rows: usize,
    first_row: usize,
) {
    for (s, (shape, shard)) in shards(weight, rows).enumerate() {
        let op = linear::Forward {
            x,
            weight: shard,
            bias: (s == 0).then(|| bias.whole()),
            residual: residual.filter(|_| s == 0),
            y,
        };
        linear::forward(rec, &op, shape, first_row, s > 0);
    }
}

/// y = x · weight + bias and activated = gelu(y), the last shard of the weight's rows completing both.
fn linear_gelu(
    rec: &mut Recording,
    x: Buffer,
    [weight, bias]: [&Tensor; 2],
    y: Buffer,
    activated: Buffer,
    rows: usize,
) {
    for (s, (shape, shard)) in shards(weight, rows).enumerate() {
        let op = linear::Forward {
            x,
            weight: shard,
            bias: (s == 0).then(|| bias.whole()),
            residual: None,
            y,
        };
        match s + 1 == weight.shards.len() {
            true => linear::forward_gelu(rec, &op, activated, shape, s > 0),
            false => linear::forward(rec, &op, shape, 0, s > 0),
        }
    }
}

/// The row shards of a weight, and what each is multiplied with.
fn shards(weight: &Tensor, rows: usize) -> impl Iterator<Item = (linear::Shape, Buffer)> {
    let shape = linear::Shape::whole(rows, weight.rows, weight.cols);
    let shards = weight.shards.iter();
    shards.map(move |shard| (shape.shard(shard.rows.clone()), shard.buffer))
}

/// The head's input for the head rows `heads`: their stream rows, gathered and normalised.
pub(super) fn head_chunk(
    rec: &mut Recording,
    dims: &Dims,
    weights: &Tensors,
    ws: &Workspace,
    heads: Range<usize>,
) -> head::Chunk {
    let at = &ws.head;
    let gathered = (ws.out, ws.inputs.sources, at.x);
    gather::forward(rec, gathered, heads.clone(), dims.n_embd); // [R, C]
    norm(
        rec,
        dims,
        at.x,
        weights.ln_f(),
        (at.normed, at.normed_stats),
        heads.len(),
    ); // [R, C]
    head::Chunk {
        x: at.normed,
        width: dims.n_embd,
        targets: ws.inputs.targets,
        stats: at.stats,
        heads,
    }
}

/// The log-probs `[P]` of all target tokens of a stream that went through [`forward`], a chunk of
/// whole pairs at a time.
pub fn log_probs(
    rec: &mut Recording,
    dims: &Dims,
    weights: &Tensors,
    ws: &Workspace,
    stream: &Stream,
    logps: Buffer,
) {
    let shards = ws.vocabulary(weights);
    for pairs in stream.chunks(ws.head.max_rows) {
        let chunk = head_chunk(rec, dims, weights, ws, stream.heads(&pairs));
        head::forward(rec, &chunk, &shards, logps);
    }
}

/// The logits of the first `count` head rows, shard by shard in `ws.head.logits`.
pub fn logits(rec: &mut Recording, dims: &Dims, weights: &Tensors, ws: &Workspace, count: usize) {
    let chunk = head_chunk(rec, dims, weights, ws, 0..count);
    for shard in ws.vocabulary(weights) {
        head::logits(rec, &chunk, &shard);
    }
}
