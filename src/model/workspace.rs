//! The buffers that a micro-batch passes through, made once for the largest one.

use super::{Dims, Layout, Tensors};
use crate::batch::{Extent, Stream};
use crate::buffer::Buffer;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ops::{dpo, grad_norm, head};
use crate::recording::MAX_GROUPS;

/// The logits of one chunk of pairs take at most this much, unless a single pair needs more.
const LOGITS_BUDGET_BYTES: usize = 128 << 20;

/// What a workspace is for: how much of the forward pass is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What the backward pass reads and cannot compute again at next to no cost, and gradients.
    Train,
    /// The same of each layer's input alone: the backward pass computes the rest again.
    TrainCheckpointed,
    /// Nothing but what the next layer reads.
    Score,
    /// The same, and each layer's queries, keys and values: the key/value cache.
    Generate,
}

/// What a buffer is for, in the order in which a plan of them is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The model's parameters.
    Weights,
    /// Of the loss, by the parameters.
    Gradients,
    /// What the optimizer keeps of earlier gradients.
    Optimizer,
    /// What the layers compute, and its gradients.
    Activations,
    /// From the residual stream to log-probs: logits first of all.
    Head,
    /// The frozen parameters.
    Reference,
    /// What the host tells about a micro-batch.
    Inputs,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Kind; 7] = [
        Kind::Weights,
        Kind::Gradients,
        Kind::Optimizer,
        Kind::Activations,
        Kind::Head,
        Kind::Reference,
        Kind::Inputs,
    ];
}

/// What the host tells about a micro-batch. N rows, P head rows.
pub struct Inputs {
    /// `[N]` ids.
    pub tokens: Buffer,
    /// `[N]` each counted from its sequence's start.
    pub positions: Buffer,
    /// `[N, 4]` what each row attends to.
    pub spans: Buffer,
    /// `[≤ N, 4]` the rows as attention takes them together.
    pub tiles: Buffer,
    /// `[P]` the stream row of each head row.
    pub sources: Buffer,
    /// `[P]` the token that each head row is to predict.
    pub targets: Buffer,
    /// `[N, 2]` the head rows taken from each stream row.
    pub inverse: Buffer,
    /// `[pairs, 3]` first chosen head row, first rejected one, end.
    pub pairs: Buffer,
    /// `[N]` stream rows, sorted by token.
    pub token_order: Buffer,
    /// `[≤ N, 3]` for each token in use: token, first and end index in `token_order`.
    pub token_segments: Buffer,
    /// `[N]` stream rows, sorted by position.
    pub position_order: Buffer,
    /// `[≤ N, 3]` for each position in use: position, first and end index in `position_order`.
    pub position_segments: Buffer,
}

/// Activations of one layer: its own where the workspace keeps them, else shared by all layers.
#[derive(Clone, Copy)]
pub struct Layer {
    /// `[N, C]` the residual stream on the way in.
    pub x: Buffer,
    /// `[N, 3C]` queries, keys, values.
    pub qkv: Buffer,
    /// `[N, C]` attention's output.
    pub attended: Buffer,
    /// `[N, H]` its log-sum-exp.
    pub lse: Buffer,
    /// `[N, C]` the residual stream after attention.
    pub middle: Buffer,
    /// `[N, F]` before GELU.
    pub wide: Buffer,
    /// `[N, C]` the input of attention, then that of the feed-forward layer; always shared.
    pub normed: Buffer,
    /// `[N, 2]` mean and rstd of each row that `normed` came from; always shared.
    pub normed_stats: Buffer,
    /// `[N, F]` after GELU; always shared.
    pub gelu: Buffer,
}

/// The head's buffers for one chunk of pairs: R head rows at most.
pub struct Head {
    /// R: rows of the largest chunk.
    pub max_rows: usize,
    /// `[R, C]` the residual stream's rows, gathered.
    pub x: Buffer,
    /// `[R, C]` after the final layernorm.
    pub normed: Buffer,
    /// `[R, 2]` mean and rstd of each row of `x`.
    pub normed_stats: Buffer,
    /// `[R, head::STATS]` the running log-sum-exp over the shards.
    pub stats: Buffer,
    /// For each vocabulary shard `[R, shard]`.
    pub logits: Vec<Buffer>,
    /// `[P]` the policy's log-probs of the whole micro-batch.
    pub logps: Buffer,
    /// `[P]` the reference's.
    pub references: Buffer,
    /// `[P]` dloss/dlogp.
    pub drows: Buffer,
    /// `[slots, dpo::METRICS]` a row for each pair since the last readback.
    pub metrics: Buffer,
}

/// Gradients of activations; only in training.
pub struct Backward {
    /// True for [`Purpose::TrainCheckpointed`]: each layer's activations but `x` are of the last layer
    /// that ran.
    pub recompute: bool,
    /// `[N, C]` of the residual stream.
    pub residual: Buffer,
    /// `[N, C]` of a layernorm's output or of attention's.
    pub branch: Buffer,
    /// `[N, F]` of GELU's input.
    pub wide: Buffer,
    /// `[N, 3C]` of queries, keys, values: in the memory of GELU's output, which is read no more by then.
    pub qkv: Buffer,
    /// `[N, H]` Σ dy·y of each head: scratch of attention.
    pub row_dots: Buffer,
    /// `[R, C]` of the final layernorm's output.
    pub head_normed: Buffer,
    /// `[R, C]` of its input.
    pub head_x: Buffer,
    /// Partial sums of the gradient norm, one stretch per shard of a tensor.
    pub norm_shares: Buffer,
    /// Their number.
    pub norm_share_count: usize,
    /// A [`grad_norm::Norm`]: of the whole gradient, and the loss scale.
    pub norm: Buffer,
}

/// All buffers of a micro-batch on a device.
pub struct Workspace {
    /// The largest micro-batch that fits.
    pub extent: Extent,
    /// What [`Workspace::upload`] fills.
    pub inputs: Inputs,
    /// One for each of the L layers.
    pub layers: Vec<Layer>,
    /// `[N, C]` the residual stream after the last layer.
    pub out: Buffer,
    /// From the residual stream to log-probs and metrics.
    pub head: Head,
    /// `Some` in training only.
    pub backward: Option<Backward>,
    vocab_size: usize,
    n_positions: usize,
    made: Vec<(Kind, Buffer)>,
}

/// Creates buffers, none of them empty, and notes them. Those of a workspace that does not get finished
/// are released.
struct Maker<'a> {
    engine: &'a mut dyn Engine,
    /// Of the buffers to come.
    kind: Kind,
    made: Vec<(Kind, Buffer)>,
}

impl Maker<'_> {
    /// From here on the buffers are for this.
    fn of(&mut self, kind: Kind) -> &mut Self {
        self.kind = kind;
        self
    }

    fn make(&mut self, label: &str, rows: usize, cols: usize) -> Result<Buffer> {
        let buffer = self.engine.create(label, (rows * cols).max(1))?;
        self.made.push((self.kind, buffer));
        Ok(buffer)
    }
}

impl Drop for Maker<'_> {
    fn drop(&mut self) {
        for (_, buffer) in self.made.drain(..) {
            self.engine.release(buffer);
        }
    }
}

impl Workspace {
    /// Buffers for micro-batches up to `extent`, reporting on `slots` pairs between two readbacks.
    ///
    /// # Errors
    /// `Error::Device` if a buffer is larger than the device can bind or hold, or a micro-batch has more
    /// rows, head rows or pairs than a dispatch has workgroups in a dimension ([`MAX_GROUPS`]). Nothing
    /// is left on the device then.
    pub fn new(
        engine: &mut dyn Engine,
        layout: &Layout,
        extent: Extent,
        slots: usize,
        purpose: Purpose,
    ) -> Result<Workspace> {
        let dims = &layout.dims;
        for (what, count) in [
            ("token rows", extent.rows),
            ("response tokens", extent.heads),
            ("pairs", extent.pairs),
        ] {
            if count > MAX_GROUPS {
                return Err(Error::device(
                    format!("a micro-batch of {count} {what}, more than a dispatch's {MAX_GROUPS}"),
                    "lower `.batch_size` and raise `.gradient_accumulation_steps`",
                ));
            }
        }
        let max_binding_words = engine.max_binding_bytes() / 4;
        let mut on = Maker {
            engine,
            kind: Kind::Inputs,
            made: Vec::new(),
        };
        let (n, c) = (extent.rows, dims.n_embd);
        let inputs = Inputs {
            tokens: on.make("tokens", n, 1)?,
            positions: on.make("positions", n, 1)?,
            spans: on.make("spans", n, 4)?,
            tiles: on.make("tiles", n, 4)?,
            sources: on.make("sources", extent.heads, 1)?,
            targets: on.make("targets", extent.heads, 1)?,
            inverse: on.make("inverse", n, 2)?,
            pairs: on.make("pairs", extent.pairs, 3)?,
            token_order: on.make("token order", n, 1)?,
            token_segments: on.make("token segments", n, 3)?,
            position_order: on.make("position order", n, 1)?,
            position_segments: on.make("position segments", n, 3)?,
        };
        // GELU's output, and in the backward pass the gradient of queries, keys and values after it.
        let on_layers = on.of(Kind::Activations);
        let gelu = on_layers.make("GELU", n, dims.n_inner.max(3 * c))?;
        let layers = Self::layers(on_layers, dims, n, gelu, purpose)?;
        let out = match (purpose, layers.len()) {
            // The layers take turns with two residual buffers.
            (Purpose::Score | Purpose::Generate, count @ 2..) => layers[count - 2].x,
            _ => on.make("residual", n, c)?,
        };

        let strides = layout.vocabulary_strides();
        let widest = strides.clone().max().unwrap_or(1);
        let max_rows = (LOGITS_BUDGET_BYTES / 4 / strides.clone().sum::<usize>())
            .min(max_binding_words / widest)
            .max(extent.pair_heads)
            .min(extent.heads.max(1));
        let mut logits = Vec::new();
        for width in strides {
            logits.push(on.of(Kind::Head).make("logits", max_rows, width)?);
        }
        let head = Head {
            max_rows,
            x: on.make("head input", max_rows, c)?,
            normed: on.make("head layernorm", max_rows, c)?,
            normed_stats: on.make("head layernorm stats", max_rows, 2)?,
            stats: on.make("softmax stats", max_rows, head::STATS)?,
            logits,
            logps: on.make("log-probs", extent.heads, 1)?,
            references: on.make("reference log-probs", extent.heads, 1)?,
            drows: on.make("log-prob gradients", extent.heads, 1)?,
            metrics: on.make("metrics", slots, dpo::METRICS)?,
        };
        let backward = match purpose {
            Purpose::Train | Purpose::TrainCheckpointed => {
                let recompute = purpose == Purpose::TrainCheckpointed;
                Some(Self::gradients(
                    &mut on,
                    layout,
                    (n, max_rows),
                    gelu,
                    recompute,
                )?)
            }
            Purpose::Score | Purpose::Generate => None,
        };
        Ok(Workspace {
            extent,
            inputs,
            layers,
            out,
            head,
            backward,
            vocab_size: dims.vocab_size,
            n_positions: dims.n_positions,
            made: std::mem::take(&mut on.made),
        })
    }

    /// Every buffer, and what it is for.
    pub fn buffers(&self) -> &[(Kind, Buffer)] {
        &self.made
    }

    /// Frees the buffers.
    pub fn release(self, engine: &mut dyn Engine) {
        for (_, buffer) in self.made {
            engine.release(buffer);
        }
    }

    fn layers(
        on: &mut Maker,
        dims: &Dims,
        n: usize,
        gelu: Buffer,
        purpose: Purpose,
    ) -> Result<Vec<Layer>> {
        let (c, f) = (dims.n_embd, dims.n_inner);
        let normed = on.make("layernorm", n, c)?;
        let normed_stats = on.make("layernorm stats", n, 2)?;
        let mut layers: Vec<Layer> = Vec::with_capacity(dims.n_layer);
        for l in 0..dims.n_layer {
            let layer = match layers.first() {
                Some(&first) if purpose != Purpose::Train => Layer {
                    x: match l {
                        2.. if purpose != Purpose::TrainCheckpointed => layers[l - 2].x,
                        _ => on.make("residual", n, c)?,
                    },
                    qkv: match purpose {
                        Purpose::Generate => on.make("queries, keys, values", n, 3 * c)?,
                        _ => first.qkv,
                    },
                    ..first
                },
                _ => Layer {
                    x: on.make("residual", n, c)?,
                    qkv: on.make("queries, keys, values", n, 3 * c)?,
                    attended: on.make("attention", n, c)?,
                    lse: on.make("attention log-sum-exp", n, dims.n_head)?,
                    middle: on.make("residual", n, c)?,
                    wide: on.make("feed-forward", n, f)?,
                    normed,
                    normed_stats,
                    gelu,
                },
            };
            layers.push(layer);
        }
        Ok(layers)
    }

    fn gradients(
        on: &mut Maker,
        layout: &Layout,
        (n, head_rows): (usize, usize),
        gelu: Buffer,
        recompute: bool,
    ) -> Result<Backward> {
        let dims = &layout.dims;
        let (c, f) = (dims.n_embd, dims.n_inner);
        let shares = layout.shard_lengths().map(grad_norm::shares).sum();
        let head_normed = on.make("head layernorm gradient", head_rows, c)?;
        let head_x = on.make("head input gradient", head_rows, c)?;
        let on = on.of(Kind::Activations);
        Ok(Backward {
            recompute,
            residual: on.make("residual gradient", n, c)?,
            branch: on.make("branch gradient", n, c)?,
            wide: on.make("feed-forward gradient", n, f)?,
            qkv: gelu,
            row_dots: on.make("attention row dots", n, dims.n_head)?,
            head_normed,
            head_x,
            norm_shares: on.of(Kind::Optimizer).make("norm shares", shares, 1)?,
            norm_share_count: shares,
            norm: on.make("gradient norm", grad_norm::NORM, 1)?,
        })
    }

    /// Refuses ids and positions that a table of the model does not have: the kernels would read
    /// beyond it.
    ///
    /// # Errors
    /// `Error::Option` naming the first such id or position.
    pub fn check(&self, tokens: &[u32], positions: &[u32]) -> Result<()> {
        for (what, ids, rows) in [
            ("token id", tokens, self.vocab_size),
            ("position", positions, self.n_positions),
        ] {
            if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
                return Err(Error::option(
                    what,
                    format!("{id} is outside the model's {rows}"),
                    "tokenize with the model's own tokenizer, within the model's positions",
                ));
            }
        }
        Ok(())
    }

    /// Sends a micro-batch, no larger than the extent, to the device.
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have; `Error::Device`.
    pub fn upload(&self, engine: &mut dyn Engine, stream: &Stream) -> Result<()> {
        self.check(&stream.tokens, &stream.positions)?;
        self.check(&stream.targets, &[])?;
        let to = &self.inputs;
        engine.write(to.tokens, 0, &stream.tokens)?;
        engine.write(to.positions, 0, &stream.positions)?;
        engine.write(to.spans, 0, bytemuck::cast_slice(&stream.spans))?;
        engine.write(to.tiles, 0, bytemuck::cast_slice(&stream.tiles))?;
        engine.write(to.sources, 0, &stream.sources)?;
        engine.write(to.targets, 0, &stream.targets)?;
        engine.write(to.inverse, 0, bytemuck::cast_slice(&stream.inverse))?;
        engine.write(to.pairs, 0, bytemuck::cast_slice(&stream.pairs))?;
        for (uses, order, segments) in [
            (&stream.token_uses, to.token_order, to.token_segments),
            (
                &stream.position_uses,
                to.position_order,
                to.position_segments,
            ),
        ] {
            engine.write(order, 0, &uses.order)?;
            engine.write(segments, 0, bytemuck::cast_slice(&uses.segments))?;
        }
        Ok(())
    }

    /// The vocabulary's shards as the head's kernels take them.
    pub fn vocabulary(&self, weights: &Tensors) -> Vec<head::Shard> {
        let shards = &weights.wte().shards;
        let shard = |(shard, &logits): (&super::Shard, &Buffer)| head::Shard {
            wte: shard.buffer,
            logits,
            tokens: shard.rows.clone(),
            stride: shard.padded_rows,
        };
        shards.iter().zip(&self.head.logits).map(shard).collect()
    }
}
