//! The backward walk: from the loss to the gradient of every trainable parameter. It goes through the ops of the
//! forward walk in reverse, and adds to the gradients.

use super::Dims;
use super::forward::{self, Rows, attention_shape, head_chunk, norm_shape};
use super::gpt2::{Block, Gpt2, Linear, Norm};
use super::linear::Gelu;
use super::tensors::Tensor;
use super::workspace::{Backward, Layer, Workspace};
use crate::batch::Stream;
use crate::buffer::Buffer;
use crate::ops::{attention, embedding, gather, head, layernorm, preference};
use crate::recording::Recording;

/// The operands of a backward walk.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    /// The model's sizes.
    pub dims: &'a Dims,
    /// The model's parameters.
    pub weights: &'a Gpt2<Tensor>,
    /// The gradients of the parameters, accumulated.
    pub grads: &'a Gpt2<Option<Tensor>>,
    /// The activations of the forward walk.
    pub ws: &'a Workspace,
    /// The gradients of the activations.
    pub to: &'a Backward,
    /// The micro-batch.
    pub stream: &'a Stream,
}

impl Walk<'_> {
    /// Records head, loss and the head's backward pass, after [`super::forward::forward`]. It takes one chunk of
    /// whole pairs after another, so that only the logits of one chunk need memory. `control` has the loss scale.
    /// `to.residual` `[N, C]` gets the gradient of the residual stream.
    pub fn head_and_loss(&self, rec: &mut Recording, loss: &preference::Loss, control: Buffer) {
        let Walk {
            dims,
            weights,
            grads,
            ws,
            to,
            stream,
        } = *self;
        let shards = ws.vocabulary(weights);
        for pairs in stream.chunks(ws.head.max_rows) {
            let heads = stream.heads(&pairs);
            let chunk = head_chunk(rec, dims, weights, ws, heads.clone());
            let results = head::Results {
                logps: ws.head.logps,
                facts: ws.head.facts,
            };
            head::forward(rec, &chunk, &shards, results);
            preference::forward(rec, loss, pairs.clone());
            let gradient = preference::Gradient {
                dlogps: ws.head.dlogps,
                control,
            };
            preference::backward(rec, loss, &gradient, pairs.clone());
            let op = head::Backward {
                dlogps: ws.head.dlogps,
                dx: to.head_normed,
                dwte: grads.wte.as_ref().map(|dwte| {
                    let shards = dwte.shards.iter();
                    shards.map(|shard| shard.buffer).collect()
                }),
            };
            head::backward(rec, &chunk, &shards, &op);
            let op = layernorm::Backward {
                x: ws.head.x,
                gain: weights.ln_f.gain.whole(),
                stats: ws.head.normed_stats,
                dy: to.head_normed,
                dx: to.head_x,
                params: norm_gradients(&grads.ln_f),
                accumulate: false,
            };
            layernorm::backward(rec, &op, norm_shape(dims, heads.len()));
            let rows = stream.rows[pairs.start].start..stream.rows[pairs.end - 1].end;
            let op = gather::Backward {
                dy: to.head_x,
                inverse: ws.inputs.inverse,
                dx: to.residual,
                first_head: heads.start,
            };
            gather::backward(rec, &op, rows, dims.n_embd);
        }
    }

    /// Records the backward pass through the layers and the embeddings, from the gradient of the residual stream that
    /// [`Walk::head_and_loss`] wrote. It ends at the lowest trainable parameter.
    pub fn layers(&self, rec: &mut Recording) {
        let Walk {
            dims,
            weights,
            grads,
            ws,
            to,
            stream,
        } = *self;
        let rows = Rows::of(stream);
        let n = rows.count;
        let all = rows.linear(ws);
        let embeds = grads.wte.is_some() || grads.wpe.is_some();
        let lowest = grads.first_block_of(Option::is_some);
        let blocks = weights.blocks.iter().zip(&grads.blocks).zip(&ws.layers);
        for (l, ((block, grad), at)) in blocks.enumerate().skip(lowest).rev() {
            let reach = Reach::of(grad, l > lowest || embeds);
            if to.recompute && l + 1 < dims.n_layer {
                // The activations of the last layer are still there.
                forward::activations(rec, dims, block, ws, at, rows);
            }

            // A layer adds both branches to the residual stream, so the residual gradient is also the gradient
            // of each branch's output.
            let dy = to.residual;
            let gelu = Gelu {
                wide: at.wide,
                dwide: to.wide,
                activated: at.gelu,
            };
            let project = &block.mlp_c_proj;
            project.backward_input_gelu(rec, dy, &gelu, all); // [N, F]
            project.backward_params(rec, at.gelu, dy, &grad.mlp_c_proj, all);
            forward::norm(rec, dims, at.middle, &block.ln_2, at.normed(), n);
            let branch = |is_needed: bool| is_needed.then_some(to.branch);
            let c_fc = &block.c_fc;
            c_fc.backward_input(rec, to.wide, branch(reach.ln_2), all); // [N, C]
            c_fc.backward_params(rec, at.normed, to.wide, &grad.c_fc, all);
            if !reach.ln_2 {
                break;
            }
            self.norm(rec, at, at.middle, &block.ln_2, &grad.ln_2); // [N, C]
            if !reach.attn_c_proj {
                break;
            }

            let project = &block.attn_c_proj;
            project.backward_input(rec, dy, branch(reach.c_attn), all); // [N, C]
            project.backward_params(rec, at.attended, dy, &grad.attn_c_proj, all);
            if !reach.c_attn {
                break;
            }
            self.attention(rec, at); // [N, 3C]
            forward::norm(rec, dims, at.x, &block.ln_1, at.normed(), n);
            let c_attn = &block.c_attn;
            c_attn.backward_input(rec, to.qkv, branch(reach.ln_1), all); // [N, C]
            c_attn.backward_params(rec, at.normed, to.qkv, &grad.c_attn, all);
            if !reach.ln_1 {
                break;
            }
            self.norm(rec, at, at.x, &block.ln_1, &grad.ln_1); // [N, C]
        }
        self.embeddings(rec);
    }

    /// Adds a layernorm's input gradient to the residual gradient.
    fn norm(
        &self,
        rec: &mut Recording,
        at: &Layer,
        x: Buffer,
        norm: &Norm<Tensor>,
        grad: &Norm<Option<Tensor>>,
    ) {
        let op = layernorm::Backward {
            x,
            gain: norm.gain.whole(),
            stats: at.normed_stats,
            dy: self.to.branch,
            dx: self.to.residual,
            params: norm_gradients(grad),
            accumulate: true,
        };
        let rows = self.stream.tokens.len();
        layernorm::backward(rec, &op, norm_shape(self.dims, rows));
    }

    fn attention(&self, rec: &mut Recording, at: &Layer) {
        let (ws, to) = (self.ws, self.to);
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
        attention::backward(rec, &op, attention_shape(self.dims, Rows::of(self.stream)));
    }

    fn embeddings(&self, rec: &mut Recording) {
        let (stream, inputs) = (self.stream, &self.ws.inputs);
        let tables = [
            (
                &self.grads.wte,
                &stream.token_uses,
                inputs.token_order,
                inputs.token_segments,
            ),
            (
                &self.grads.wpe,
                &stream.position_uses,
                inputs.position_order,
                inputs.position_segments,
            ),
        ];
        for (table, uses, order, segments) in tables {
            for shard in table.iter().flat_map(|table| &table.shards) {
                let op = embedding::Backward {
                    order,
                    segments,
                    range: uses.within(&shard.rows),
                    dx: self.to.residual,
                    dtable: shard.buffer,
                    shard: shard.rows.clone(),
                    width: self.dims.n_embd,
                    rows: stream.tokens.len(),
                };
                embedding::backward(rec, &op);
            }
        }
    }
}

/// How far down a block the backward pass goes: whether somebody needs the gradient of each layer's output.
struct Reach {
    ln_2: bool,
    attn_c_proj: bool,
    c_attn: bool,
    ln_1: bool,
}

impl Reach {
    /// The reach in a block with these gradients; `below` is true if somebody needs the gradient of the block's input.
    fn of(grad: &Block<Option<Tensor>>, below: bool) -> Reach {
        let linear = |layer: &Linear<Option<Tensor>>| layer.iter().any(Option::is_some);
        let norm = |layer: &Norm<Option<Tensor>>| layer.gain.is_some() || layer.shift.is_some();
        let ln_1 = below || norm(&grad.ln_1);
        let c_attn = ln_1 || linear(&grad.c_attn);
        let attn_c_proj = c_attn || linear(&grad.attn_c_proj);
        Reach {
            ln_2: attn_c_proj || norm(&grad.ln_2),
            attn_c_proj,
            c_attn,
            ln_1,
        }
    }
}

/// The gradients of a layernorm's gain and shift; `None` unless both are trainable.
fn norm_gradients(grad: &Norm<Option<Tensor>>) -> Option<layernorm::ParamGradients> {
    let (gain, shift) = (grad.gain.as_ref()?, grad.shift.as_ref()?);
    Some(layernorm::ParamGradients {
        gain: gain.whole(),
        shift: shift.whole(),
    })
}
