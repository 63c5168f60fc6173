//! The forward walk: from token ids to log-probs, one recorded op after another.

use std::ops::Range;

use super::{Dims, Tensor, Tensors, Workspace};
use crate::batch::{Stream, Tile};
use crate::ops::{attention, embedding, gather, gelu, head, layernorm, linear, residual};
use crate::recording::{Buffer, Recording};

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
        let block = weights.block(l);
        let at = &ws.layers[l];
        let out = ws.layers.get(l + 1).map_or(ws.out, |next| next.x); // [N, C]

        norm(rec, dims, at.x, block.ln_1, at.ln_1, at.ln_1_stats, n); // [N, C]
        linear(rec, at.ln_1, block.c_attn, at.qkv, n, rows.first); // [N, 3C]
        let op = attention::Forward {
            qkv: at.qkv,
            spans: ws.inputs.spans,
            tiles: ws.inputs.tiles,
            y: at.attended,
            lse: at.lse,
        };
        attention::forward(rec, &op, attention_shape(dims, rows)); // [N, C]
        linear(rec, at.attended, block.attn_c_proj, at.middle, n, 0); // [N, C]
        residual::forward(rec, at.x, at.middle, n * dims.n_embd);

        norm(rec, dims, at.middle, block.ln_2, at.ln_2, at.ln_2_stats, n); // [N, C]
        linear(rec, at.ln_2, block.c_fc, at.wide, n, 0); // [N, F]
        gelu::forward(rec, at.wide, at.gelu, n * dims.n_inner); // [N, F]
        linear(rec, at.gelu, block.mlp_c_proj, out, n, 0); // [N, C]
        residual::forward(rec, at.middle, out, n * dims.n_embd);
    }
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

fn norm(
    rec: &mut Recording,
    dims: &Dims,
    x: Buffer,
    [gain, shift]: [&Tensor; 2],
    y: Buffer,
    stats: Buffer,
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

/// y, from row `first_row` on, = x · weight + bias, shard by shard of the weight's rows.
fn linear(
    rec: &mut Recording,
    x: Buffer,
    [weight, bias]: [&Tensor; 2],
    y: Buffer,
    rows: usize,
    first_row: usize,
) {
    let shape = linear::Shape::whole(rows, weight.rows, weight.cols);
    for (s, shard) in weight.shards.iter().enumerate() {
        let bias = (s == 0).then(|| bias.whole());
        let shape = shape.shard(shard.rows.clone());
        linear::forward(rec, (x, shard.buffer, bias, y), shape, first_row, s > 0);
    }
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
        at.normed,
        at.normed_stats,
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
