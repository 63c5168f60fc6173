//! The backward walk: from the loss to the gradient of every parameter. It mirrors the forward walk,
//! last op first, and adds to `grads`.

use super::forward::{self, Rows, attention_shape, head_chunk, norm_shape};
use super::{Backward, Dims, Layer, Tensor, Tensors, Workspace};
use crate::batch::Stream;
use crate::buffer::Buffer;
use crate::ops::{attention, embedding, gather, head, layernorm, linear};
use crate::recording::Recording;

/// What turns the log-probs of pairs into a loss and its gradient.
pub trait Loss {
    /// Records metrics and `drows` = dloss/dlogp for the pairs `pairs` of the micro-batch.
    fn record(&self, rec: &mut Recording, pairs: std::ops::Range<usize>);
}

/// After [`super::forward::forward`]: head, loss and the head's backward pass, a chunk of whole pairs
/// at a time, so that the logits are never kept for more than a chunk. Leaves the gradient of the
/// residual stream in `to.residual` `[N, C]`.
pub fn head_and_loss(
    rec: &mut Recording,
    dims: &Dims,
    (weights, grads): (&Tensors, &Tensors),
    (ws, to): (&Workspace, &Backward),
    stream: &Stream,
    loss: &dyn Loss,
) {
    let shards = ws.vocabulary(weights);
    let [gain, _] = weights.ln_f();
    let [dgain, dshift] = grads.ln_f();
    for pairs in stream.chunks(ws.head.max_rows) {
        let heads = stream.heads(&pairs);
        let chunk = head_chunk(rec, dims, weights, ws, heads.clone());
        head::forward(rec, &chunk, &shards, ws.head.logps);
        loss.record(rec, pairs.clone());
        let dwte = |s: usize| grads.wte().shards[s].buffer;
        head::backward(rec, &chunk, &shards, ws.head.drows, to.head_normed, dwte);
        let op = layernorm::Backward {
            x: ws.head.x,
            gain: gain.whole(),
            stats: ws.head.normed_stats,
            dy: to.head_normed,
            dx: to.head_x,
            dgain: dgain.whole(),
            dshift: dshift.whole(),
            accumulate: false,
        };
        layernorm::backward(rec, &op, norm_shape(dims, heads.len()));
        let rows = stream.rows[pairs.start].start..stream.rows[pairs.end - 1].end;
        let scattered = (to.head_x, ws.inputs.inverse, to.residual);
        gather::backward(rec, scattered, rows, heads.start, dims.n_embd);
    }
}

/// From the gradient of the residual stream, as [`head_and_loss`] left it, through all layers to the
/// embeddings.
pub fn backward(
    rec: &mut Recording,
    dims: &Dims,
    (weights, grads): (&Tensors, &Tensors),
    (ws, to): (&Workspace, &Backward),
    stream: &Stream,
) {
    let rows = Rows::of(stream);
    let n = rows.count;
    for l in (0..dims.n_layer).rev() {
        let (block, grad) = (weights.block(l), grads.block(l));
        let at = &ws.layers[l];
        if to.recompute && l + 1 < dims.n_layer {
            // Those of the last layer are still there.
            forward::activations(rec, dims, &block, ws, at, rows);
        }
        let normed = (at.normed, at.normed_stats);

        // The residual gradient is the gradient of both branches' sum: it passes through unchanged.
        let dy = to.residual;
        linear_backward_input_gelu(rec, dy, at, to.wide, block.mlp_c_proj, n); // [N, F]
        linear_backward_params(rec, at.gelu, dy, grad.mlp_c_proj, n);
        forward::norm(rec, dims, at.middle, block.ln_2, normed, n);
        linear_backward_input(rec, to.wide, to.branch, block.c_fc, n); // [N, C]
        linear_backward_params(rec, at.normed, to.wide, grad.c_fc, n);
        let ln_2 = (at.middle, at.normed_stats);
        norm_backward(rec, dims, ln_2, to, block.ln_2, grad.ln_2, n); // [N, C]

        linear_backward_input(rec, dy, to.branch, block.attn_c_proj, n); // [N, C]
        linear_backward_params(rec, at.attended, dy, grad.attn_c_proj, n);
        attention_backward(rec, dims, at, ws, to, rows); // [N, 3C]
        forward::norm(rec, dims, at.x, block.ln_1, normed, n);
        linear_backward_input(rec, to.qkv, to.branch, block.c_attn, n); // [N, C]
        linear_backward_params(rec, at.normed, to.qkv, grad.c_attn, n);
        let ln_1 = (at.x, at.normed_stats);
        norm_backward(rec, dims, ln_1, to, block.ln_1, grad.ln_1, n); // [N, C]
    }
    embed_backward(rec, dims, grads, (ws, to), stream);
}

/// dwide = (dy · wᵀ) · gelu'(wide), and once more at.gelu = gelu(wide), which the forward pass did not
/// keep.
fn linear_backward_input_gelu(
    rec: &mut Recording,
    dy: Buffer,
    at: &Layer,
    dwide: Buffer,
    [weight, _]: [&Tensor; 2],
    rows: usize,
) {
    let shape = linear::Shape::whole(rows, weight.rows, weight.cols);
    for shard in &weight.shards {
        let shape = shape.shard(shard.rows.clone());
        let op = linear::BackwardInputGelu {
            dy,
            weight: shard.buffer,
            wide: at.wide,
            dwide,
            activated: at.gelu,
        };
        linear::backward_input_gelu(rec, &op, shape);
    }
}

/// dx = dy · wᵀ.
fn linear_backward_input(
    rec: &mut Recording,
    dy: Buffer,
    dx: Buffer,
    [weight, _]: [&Tensor; 2],
    rows: usize,
) {
    let shape = linear::Shape::whole(rows, weight.rows, weight.cols);
    for shard in &weight.shards {
        let shape = shape.shard(shard.rows.clone());
        linear::backward_input(rec, (dy, shard.buffer, dx), shape, false);
    }
}

/// dw += xᵀ · dy, dbias += Σ dy.
fn linear_backward_params(
    rec: &mut Recording,
    x: Buffer,
    dy: Buffer,
    [dweight, dbias]: [&Tensor; 2],
    rows: usize,
) {
    let shape = linear::Shape::whole(rows, dweight.rows, dweight.cols);
    for shard in &dweight.shards {
        let shape = shape.shard(shard.rows.clone());
        linear::backward_weight(rec, (x, dy, shard.buffer), shape);
    }
    linear::backward_bias(rec, (dy, dbias.whole()), rows, dweight.cols);
}

/// Adds a layernorm's input gradient to the residual gradient.
fn norm_backward(
    rec: &mut Recording,
    dims: &Dims,
    (x, stats): (Buffer, Buffer),
    to: &Backward,
    [gain, _]: [&Tensor; 2],
    [dgain, dshift]: [&Tensor; 2],
    rows: usize,
) {
    let op = layernorm::Backward {
        x,
        gain: gain.whole(),
        stats,
        dy: to.branch,
        dx: to.residual,
        dgain: dgain.whole(),
        dshift: dshift.whole(),
        accumulate: true,
    };
    layernorm::backward(rec, &op, norm_shape(dims, rows));
}

fn attention_backward(
    rec: &mut Recording,
    dims: &Dims,
    at: &Layer,
    ws: &Workspace,
    to: &Backward,
    rows: Rows,
) {
    let op = attention::Backward {
        qkv: at.qkv,
        spans: ws.inputs.spans,
        tiles: ws.inputs.tiles,
        y: at.attended,
        lse: at.lse,
        dy: to.branch,
        row_dots: to.row_dots,
        dqkv: to.qkv,
    };
    attention::backward(rec, &op, attention_shape(dims, rows));
}

fn embed_backward(
    rec: &mut Recording,
    dims: &Dims,
    grads: &Tensors,
    (ws, to): (&Workspace, &Backward),
    stream: &Stream,
) {
    let inputs = &ws.inputs;
    let tables = [
        (
            grads.wte(),
            &stream.token_uses,
            inputs.token_order,
            inputs.token_segments,
        ),
        (
            grads.wpe(),
            &stream.position_uses,
            inputs.position_order,
            inputs.position_segments,
        ),
    ];
    for (table, uses, order, segments) in tables {
        for shard in &table.shards {
            let op = embedding::Backward {
                order,
                segments,
                range: uses.within(&shard.rows),
                dx: to.residual,
                dtable: shard.buffer,
                shard: shard.rows.clone(),
                width: dims.n_embd,
                rows: stream.tokens.len(),
            };
            embedding::backward(rec, &op);
        }
    }
}
