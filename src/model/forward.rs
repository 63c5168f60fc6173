//! The forward walk: from token ids to log-probs, one recorded op after another.

use std::ops::Range;

use super::Dims;
use super::gpt2::{Block, Gpt2, Norm};
use super::linear;
use super::tensors::Tensor;
use super::workspace::{Layer, Workspace};
use crate::batch::{Stream, Tile};
use crate::buffer::Buffer;
use crate::ops::{attention, embedding, gather, head, layernorm};
use crate::recording::Recording;

/// The rows to compute, and their position among all rows of queries, keys and values.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// N: the number of rows.
    pub count: usize,
    /// The position of the first row; above 0 in generation, where the key/value cache has the rows before.
    pub first: usize,
    /// The rows as attention's tiles; `ws.inputs.tiles` has the same tiles.
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

    /// These rows for a linear layer that writes from row 0 on.
    pub(super) fn linear<'w>(&self, ws: &'w Workspace) -> linear::Rows<'w> {
        linear::Rows {
            count: self.count,
            first: 0,
            low_rank: ws.low_rank.as_ref(),
        }
    }
}

/// The shape of this model's layernorms over `rows` rows.
pub(super) fn norm_shape(dims: &Dims, rows: usize) -> layernorm::Shape {
    layernorm::Shape {
        rows,
        width: dims.n_embd,
        epsilon: dims.epsilon,
    }
}

/// The shape of this model's attention over these rows.
pub(super) fn attention_shape<'a>(dims: &Dims, rows: Rows<'a>) -> attention::Shape<'a> {
    attention::Shape {
        tiles: rows.tiles,
        heads: dims.n_head,
        head_dim: dims.head_dim(),
    }
}

/// Records the uploaded rows' way through all layers; `ws.out` `[N, C]` is the residual stream after the last
/// layer.
pub fn forward(
    rec: &mut Recording,
    dims: &Dims,
    weights: &Gpt2<Tensor>,
    ws: &Workspace,
    rows: Rows,
) {
    embed(rec, dims, weights, ws, rows.count);
    for (l, block) in weights.blocks.iter().enumerate() {
        let at = &ws.layers[l];
        let out = ws.layers.get(l + 1).map_or(ws.out, |next| next.x); // [N, C]
        activations(rec, dims, block, ws, at, rows);
        let residual = Some(at.middle);
        let project = &block.mlp_c_proj;
        project.forward(rec, at.gelu, out, residual, rows.linear(ws)); // [N, C]
    }
}

/// Records a block from `at.x` to `at.wide` and `at.gelu`: all activations that the backward pass reads. If it is
/// recorded again over the same `at.x`, the activations get the same bits.
pub(super) fn activations(
    rec: &mut Recording,
    dims: &Dims,
    block: &Block<Tensor>,
    ws: &Workspace,
    at: &Layer,
    rows: Rows,
) {
    let n = rows.count;
    let all = rows.linear(ws);
    let behind_cache = linear::Rows {
        first: rows.first,
        ..all
    };
    norm(rec, dims, at.x, &block.ln_1, at.normed(), n); // [N, C]
    let c_attn = &block.c_attn;
    c_attn.forward(rec, at.normed, at.qkv, None, behind_cache); // [N, 3C]
    let op = attention::Forward {
        qkv: at.qkv,
        spans: ws.inputs.spans,
        tiles: ws.inputs.tiles,
        y: at.attended,
        lse: at.lse,
    };
    attention::forward(rec, &op, attention_shape(dims, rows)); // [N, C]
    let project = &block.attn_c_proj;
    project.forward(rec, at.attended, at.middle, Some(at.x), all); // [N, C]

    norm(rec, dims, at.middle, &block.ln_2, at.normed(), n); // [N, C]
    let c_fc = &block.c_fc;
    c_fc.forward_gelu(rec, at.normed, at.wide, at.gelu, all); // [N, F]
}

fn embed(rec: &mut Recording, dims: &Dims, weights: &Gpt2<Tensor>, ws: &Workspace, n: usize) {
    let x = ws.layers.first().map_or(ws.out, |layer| layer.x);
    for shard in &weights.wte.shards {
        let op = embedding::Forward {
            tokens: ws.inputs.tokens,
            positions: ws.inputs.positions,
            wte: shard.buffer,
            shard: shard.rows.clone(),
            wpe: weights.wpe.whole(),
            x,
            rows: n,
            width: dims.n_embd,
        };
        embedding::forward(rec, &op);
    }
}

/// The output of a layernorm, and the statistics that the backward pass reads.
#[derive(Clone, Copy)]
pub(super) struct Normed {
    /// `[rows, C]`.
    pub y: Buffer,
    /// `[rows, 2]`: mean and rstd.
    pub stats: Buffer,
}

impl Layer {
    pub(super) fn normed(&self) -> Normed {
        Normed {
            y: self.normed,
            stats: self.normed_stats,
        }
    }
}

/// Records the layernorm of x `[rows, C]`.
pub(super) fn norm(
    rec: &mut Recording,
    dims: &Dims,
    x: Buffer,
    norm: &Norm<Tensor>,
    to: Normed,
    rows: usize,
) {
    let op = layernorm::Forward {
        x,
        gain: norm.gain.whole(),
        shift: norm.shift.whole(),
        y: to.y,
        stats: to.stats,
    };
    layernorm::forward(rec, &op, norm_shape(dims, rows));
}

/// Records the head's input for the head rows `heads`: gathers their stream rows and normalises them.
pub(super) fn head_chunk(
    rec: &mut Recording,
    dims: &Dims,
    weights: &Gpt2<Tensor>,
    ws: &Workspace,
    heads: Range<usize>,
) -> head::Chunk {
    let at = &ws.head;
    let op = gather::Forward {
        x: ws.out,
        sources: ws.inputs.sources,
        y: at.x,
    };
    gather::forward(rec, &op, heads.clone(), dims.n_embd); // [R, C]
    let to = Normed {
        y: at.normed,
        stats: at.normed_stats,
    };
    norm(rec, dims, at.x, &weights.ln_f, to, heads.len()); // [R, C]
    head::Chunk {
        x: at.normed,
        width: dims.n_embd,
        targets: ws.inputs.targets,
        stats: at.stats,
        heads,
    }
}

/// Records the log-probs `[P]` of all target tokens of a stream, after [`forward`], one chunk of whole pairs
/// after another.
pub fn log_probs(
    rec: &mut Recording,
    dims: &Dims,
    weights: &Gpt2<Tensor>,
    ws: &Workspace,
    stream: &Stream,
    logps: Buffer,
) {
    let shards = ws.vocabulary(weights);
    for pairs in stream.chunks(ws.head.max_rows) {
        let chunk = head_chunk(rec, dims, weights, ws, stream.heads(&pairs));
        let to = head::Results {
            logps,
            facts: ws.head.facts,
        };
        head::forward(rec, &chunk, &shards, to);
    }
}

/// Records the logits of the first `count` head rows; each vocabulary shard has its buffer in `ws.head.logits`.
pub fn logits(
    rec: &mut Recording,
    dims: &Dims,
    weights: &Gpt2<Tensor>,
    ws: &Workspace,
    count: usize,
) {
    let chunk = head_chunk(rec, dims, weights, ws, 0..count);
    for shard in ws.vocabulary(weights) {
        head::logits(rec, &chunk, &shard);
    }
}
