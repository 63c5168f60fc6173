//! The workspace: the buffers of a micro-batch, made once for the largest micro-batch.

use super::gpt2::Gpt2;
use super::layout::Layout;
use super::tensors::Tensor;
use crate::batch::{Extent, Pair, Stream};
use crate::buffer::Buffer;
use crate::engine::{Engine, Release};
use crate::error::{Error, Result, Setting};
use crate::ops::{head, preference};
use crate::recording::{MAX_GROUPS, Recording};

/// The most bytes of the logits of one chunk of pairs, unless a single pair needs more.
const LOGITS_BUDGET_BYTES: usize = 128 << 20;
/// The same where the vocabulary matrix is frozen. Then no chunk adds to a gradient of its size, so small chunks cost
/// little.
const FROZEN_LOGITS_BUDGET_BYTES: usize = 64 << 20;

/// The same on a device with room to grow, of which it takes an eighth at most: a product with so many rows is long
/// enough for any GPU.
const GROWN_LOGITS_BUDGET_BYTES: usize = 512 << 20;

/// The purpose of a workspace, which decides the activations that it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Keeps the activations that the backward pass reads, apart from those that it recomputes at almost no cost
    /// (layernorms and GELU), and the gradients of activations. Layers below the lowest trainable parameter keep nothing.
    Train,
    /// Keeps the input of each layer that the backward pass enters, and the gradients of activations. The backward pass
    /// recomputes the other activations. The literature calls this activation checkpointing.
    TrainRecompute,
    /// Keeps only the activations that the next layer reads.
    Score,
    /// As [`Purpose::Score`], and keeps each layer's queries, keys and values: the key/value cache.
    Generate,
}

/// The use of a buffer. A plan lists buffers in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// The model's parameters.
    Weights,
    /// The gradients of the parameters.
    Gradients,
    /// The optimizer's moments and control.
    Optimizer,
    /// The activations of the layers, and the gradients of activations.
    Activations,
    /// The buffers between the residual stream and the log-probs; the logits are the largest.
    Head,
    /// The frozen parameters of the reference.
    Reference,
    /// The uploads of a micro-batch.
    Inputs,
}

impl BufferKind {
    /// Every kind, in order.
    pub const ALL: [BufferKind; 7] = [
        BufferKind::Weights,
        BufferKind::Gradients,
        BufferKind::Optimizer,
        BufferKind::Activations,
        BufferKind::Head,
        BufferKind::Reference,
        BufferKind::Inputs,
    ];

    /// Buffers of this kind.
    pub(crate) fn of(
        self,
        buffers: impl Iterator<Item = Buffer>,
    ) -> impl Iterator<Item = Allocation> {
        buffers.map(move |buffer| Allocation { kind: self, buffer })
    }
}

/// The uploads of a micro-batch with N rows and P head rows.
pub struct Inputs {
    /// `[N]` token ids.
    pub tokens: Buffer,
    /// `[N]` positions, counted from the start of each sequence.
    pub positions: Buffer,
    /// `[N, 4]` the span of each row: the rows to which it attends.
    pub spans: Buffer,
    /// `[≤ N, 4]` the tiles of rows that attention takes together.
    pub tiles: Buffer,
    /// `[P]` the stream row of each head row.
    pub sources: Buffer,
    /// `[P]` the target token of each head row.
    pub targets: Buffer,
    /// `[N, 2]` the head rows of each stream row, two at most.
    pub inverse: Buffer,
    /// `[pairs, Pair::WORDS]` the head rows of each pair, and what its loss takes beside.
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

/// The activations of one layer. A buffer belongs to the layer alone if the workspace keeps that activation;
/// otherwise all layers share it.
#[derive(Clone, Copy)]
pub struct Layer {
    /// `[N, C]` the residual stream before the layer.
    pub x: Buffer,
    /// `[N, 3C]` queries, keys, values.
    pub qkv: Buffer,
    /// `[N, C]` attention's output.
    pub attended: Buffer,
    /// `[N, H]` attention's log-sum-exp.
    pub lse: Buffer,
    /// `[N, C]` the residual stream after attention.
    pub middle: Buffer,
    /// `[N, F]` the input of GELU.
    pub wide: Buffer,
    /// `[N, C]` the output of the first layernorm, later of the second; always shared.
    pub normed: Buffer,
    /// `[N, 2]` mean and rstd of that layernorm's rows; always shared.
    pub normed_stats: Buffer,
    /// `[N, F]` the output of GELU; always shared.
    pub gelu: Buffer,
}

/// The head's buffers for one chunk of pairs, with at most R head rows.
pub struct Head {
    /// R: head rows of the largest chunk.
    pub max_rows: usize,
    /// `[R, C]` the gathered rows of the residual stream.
    pub x: Buffer,
    /// `[R, C]` the output of the final layernorm.
    pub normed: Buffer,
    /// `[R, 2]` mean and rstd of each row of `x`.
    pub normed_stats: Buffer,
    /// `[R, head::STATS]` the running softmax over the shards.
    pub stats: Buffer,
    /// `[R, shard]` the logits, one buffer for each vocabulary shard.
    pub logits: Vec<Buffer>,
    /// `[P]` the policy's log-probs of the whole micro-batch.
    pub logps: Buffer,
    /// `[P, head::FACTS]` what the metrics show of each head row, of the model that ran last.
    pub facts: Buffer,
    /// `[P]` the reference's log-probs of the whole micro-batch.
    pub references: Buffer,
    /// `[P]` dloss/dlogp.
    pub dlogps: Buffer,
    /// `[pairs, preference::SUMS]` scratch of the loss.
    pub sums: Buffer,
    /// `[slots, preference::METRICS]` the metrics of each pair since the last readback.
    pub metrics: Buffer,
}

/// The gradients of activations; only in training.
pub struct Backward {
    /// True for [`Purpose::TrainRecompute`]: all layers share every activation but `x`, so these activations
    /// belong to the layer that ran last, and the backward pass recomputes them.
    pub recompute: bool,
    /// `[N, C]` the gradient of the residual stream.
    pub residual: Buffer,
    /// `[N, C]` the gradient of a layernorm's output or of attention's output.
    pub branch: Buffer,
    /// `[N, F]` the gradient of GELU's input.
    pub wide: Buffer,
    /// `[N, 3C]` the gradient of queries, keys, values. It shares the buffer of GELU's output, which a layer's
    /// backward pass no longer reads at that point.
    pub qkv: Buffer,
    /// `[N, H]` Σ dy·y of each row and head: scratch of attention.
    pub row_dots: Buffer,
    /// `[R, C]` the gradient of the final layernorm's output.
    pub head_normed: Buffer,
    /// `[R, C]` the gradient of the final layernorm's input.
    pub head_x: Buffer,
}

/// The scratch of adapters, which all layers share; r is the largest rank. Only models with adapters have it.
#[derive(Clone, Copy)]
pub struct LowRank {
    /// `[N, r]` x · A.
    pub narrow: Buffer,
    /// `[N, r]` the gradient of x · A.
    pub dnarrow: Buffer,
}

/// All buffers of a micro-batch on a device.
pub struct Workspace {
    /// The largest micro-batch that fits.
    pub extent: Extent,
    /// The buffers that [`Workspace::upload`] fills.
    pub inputs: Inputs,
    /// The activations of each of the L layers.
    pub layers: Vec<Layer>,
    /// `[N, C]` the residual stream after the last layer.
    pub out: Buffer,
    /// The buffers of the head and the loss.
    pub head: Head,
    /// The scratch of adapters; `None` without adapters.
    pub low_rank: Option<LowRank>,
    /// The gradients of activations; `None` outside training.
    pub backward: Option<Backward>,
    vocab_size: usize,
    n_positions: usize,
    made: Vec<Allocation>,
}

/// A buffer and its use.
#[derive(Clone, Copy, Debug)]
pub struct Allocation {
    /// The use.
    pub kind: BufferKind,
    /// The buffer.
    pub buffer: Buffer,
}

/// Creates buffers, none of them empty, and lists them. If the workspace is not finished, it releases them.
struct Maker<'a> {
    engine: &'a mut dyn Engine,
    /// The kind of the next buffers.
    kind: BufferKind,
    made: Vec<Allocation>,
}

impl Maker<'_> {
    /// Sets the kind of the next buffers.
    fn of(&mut self, kind: BufferKind) -> &mut Self {
        self.kind = kind;
        self
    }

    fn make(&mut self, label: &str, rows: usize, cols: usize) -> Result<Buffer> {
        let buffer = self.engine.create(label, (rows * cols).max(1))?;
        self.made.push(Allocation {
            kind: self.kind,
            buffer,
        });
        Ok(buffer)
    }
}

impl Drop for Maker<'_> {
    fn drop(&mut self) {
        for Allocation { buffer, .. } in self.made.drain(..) {
            self.engine.release(buffer);
        }
    }
}

impl Workspace {
    /// Makes the buffers for micro-batches up to `extent`, with `slots` rows of metrics between two readbacks.
    ///
    /// # Errors
    /// `Error::OutOfMemory` if a buffer is larger than the device can bind or hold; `Error::Device` if a
    /// micro-batch has more rows, head rows or pairs than a dispatch has workgroups in a dimension
    /// ([`MAX_GROUPS`]). On an error no buffer stays on the device.
    pub fn new(
        engine: &mut dyn Engine,
        layout: &Layout,
        extent: Extent,
        slots: usize,
        purpose: Purpose,
    ) -> Result<Workspace> {
        let dims = &layout.dims;
        if !Workspace::takes(&extent) {
            let Extent {
                rows, heads, pairs, ..
            } = extent;
            return Err(Error::device(
                format!(
                    "a micro-batch of {rows} token rows, {heads} response tokens and {pairs} pairs, more \
                     than a dispatch's {MAX_GROUPS}"
                ),
                "lower `.batch_size` and raise `.gradient_accumulation_steps`",
            ));
        }
        let max_binding_words = engine.max_binding_bytes() / 4;
        let grown_budget = GROWN_LOGITS_BUDGET_BYTES.min(engine.room_to_grow() / 8);
        let mut on = Maker {
            engine,
            kind: BufferKind::Inputs,
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
            pairs: on.make("pairs", extent.pairs, Pair::WORDS)?,
            token_order: on.make("token order", n, 1)?,
            token_segments: on.make("token segments", n, 3)?,
            position_order: on.make("position order", n, 1)?,
            position_segments: on.make("position segments", n, 3)?,
        };
        // One buffer for GELU's output, and later in the backward pass for the gradient of queries, keys, values.
        let on_layers = on.of(BufferKind::Activations);
        let gelu = on_layers.make("GELU", n, dims.n_inner.max(3 * c))?;
        let layers = Self::layers(on_layers, layout, n, gelu, purpose)?;
        let out = match (purpose, layers.len()) {
            // The layers use two residual buffers in turn.
            (Purpose::Score | Purpose::Generate, count @ 2..) => layers[count - 2].x,
            _ => on.make("residual", n, c)?,
        };

        let strides = layout.vocabulary_strides();
        let widest = strides.clone().max().unwrap_or(1);
        let learns = matches!(purpose, Purpose::Train | Purpose::TrainRecompute);
        let budget = match learns && !layout.params.wte.param.trainable {
            true => FROZEN_LOGITS_BUDGET_BYTES,
            false => LOGITS_BUDGET_BYTES,
        };
        let budget = budget.max(grown_budget);
        let max_rows = (budget / 4 / strides.clone().sum::<usize>())
            .min(max_binding_words / widest)
            .max(extent.pair_heads)
            .min(extent.heads.max(1));
        let mut logits = Vec::new();
        for width in strides {
            logits.push(on.of(BufferKind::Head).make("logits", max_rows, width)?);
        }
        let head = Head {
            max_rows,
            x: on.make("head input", max_rows, c)?,
            normed: on.make("head layernorm", max_rows, c)?,
            normed_stats: on.make("head layernorm stats", max_rows, 2)?,
            stats: on.make("softmax stats", max_rows, head::STATS)?,
            logits,
            logps: on.make("log-probs", extent.heads, 1)?,
            facts: on.make("facts of tokens", extent.heads, head::FACTS)?,
            references: on.make("reference log-probs", extent.heads, 1)?,
            dlogps: on.make("log-prob gradients", extent.heads, 1)?,
            sums: on.make("sums of log-probs", extent.pairs, preference::SUMS)?,
            metrics: on.make("metrics", slots, preference::METRICS)?,
        };
        let low_rank = match layout.adapter_rank() {
            0 => None,
            rank => {
                let on = on.of(BufferKind::Activations);
                Some(LowRank {
                    narrow: on.make("adapter", n, rank)?,
                    dnarrow: on.make("adapter gradient", n, rank)?,
                })
            }
        };
        let backward = match purpose {
            Purpose::Train | Purpose::TrainRecompute => {
                let recompute = purpose == Purpose::TrainRecompute;
                let on = on.of(BufferKind::Activations);
                Some(Backward {
                    recompute,
                    residual: on.make("residual gradient", n, c)?,
                    branch: on.make("branch gradient", n, c)?,
                    wide: on.make("feed-forward gradient", n, dims.n_inner)?,
                    qkv: gelu,
                    row_dots: on.make("attention row dots", n, dims.n_head)?,
                    head_normed: on.of(BufferKind::Head).make(
                        "head layernorm gradient",
                        max_rows,
                        c,
                    )?,
                    head_x: on.make("head input gradient", max_rows, c)?,
                })
            }
            Purpose::Score | Purpose::Generate => None,
        };
        Ok(Workspace {
            extent,
            inputs,
            layers,
            out,
            head,
            low_rank,
            backward,
            vocab_size: dims.vocab_size,
            n_positions: dims.n_positions,
            made: std::mem::take(&mut on.made),
        })
    }

    /// True if a micro-batch has no more rows, head rows and pairs than a dispatch has workgroups in a
    /// dimension.
    pub fn takes(extent: &Extent) -> bool {
        extent.rows.max(extent.heads).max(extent.pairs) <= MAX_GROUPS
    }

    /// Every buffer.
    pub fn buffers(&self) -> &[Allocation] {
        &self.made
    }

    fn layers(
        on: &mut Maker,
        layout: &Layout,
        n: usize,
        gelu: Buffer,
        purpose: Purpose,
    ) -> Result<Vec<Layer>> {
        let dims = &layout.dims;
        let (c, f) = (dims.n_embd, dims.n_inner);
        let entered = layout.first_trained_block();
        let normed = on.make("layernorm", n, c)?;
        let normed_stats = on.make("layernorm stats", n, 2)?;
        let mut layers: Vec<Layer> = Vec::with_capacity(dims.n_layer);
        for l in 0..dims.n_layer {
            let (keeps_input, keeps_all) = match purpose {
                Purpose::Train => (l >= entered, l >= entered),
                Purpose::TrainRecompute => (l >= entered, false),
                Purpose::Score | Purpose::Generate => (false, false),
            };
            let layer = match layers.first() {
                Some(&first) if !keeps_all => Layer {
                    x: match l {
                        2.. if !keeps_input => layers[l - 2].x,
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

    /// Refuses ids and positions that are outside the model's tables, because the kernels would read beyond a
    /// table.
    ///
    /// # Errors
    /// `Error::Option` naming the first such id or position.
    pub fn check(&self, tokens: &[u32], positions: &[u32]) -> Result<()> {
        for (what, ids, rows) in [
            ("token id", tokens, self.vocab_size),
            ("position", positions, self.n_positions),
        ] {
            if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
                return Err(Error::Option {
                    option: Setting::Input(what),
                    what: format!("{id} is outside the model's {rows}"),
                    help: "tokenize with the model's own tokenizer, within the model's positions"
                        .into(),
                });
            }
        }
        Ok(())
    }

    /// Records the uploads of a micro-batch, which must be no larger than the extent.
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have.
    pub fn upload(&self, rec: &mut Recording, stream: &Stream) -> Result<()> {
        self.check(&stream.tokens, &stream.positions)?;
        self.check(&stream.targets, &[])?;
        let to = &self.inputs;
        rec.upload(to.tokens, &stream.tokens);
        rec.upload(to.positions, &stream.positions);
        rec.upload(to.spans, &stream.spans);
        rec.upload(to.tiles, &stream.tiles);
        rec.upload(to.sources, &stream.sources);
        rec.upload(to.targets, &stream.targets);
        rec.upload(to.inverse, &stream.inverse);
        rec.upload(to.pairs, &stream.pairs);
        rec.upload(to.token_order, &stream.token_uses.order);
        rec.upload(to.token_segments, &stream.token_uses.segments);
        rec.upload(to.position_order, &stream.position_uses.order);
        rec.upload(to.position_segments, &stream.position_uses.segments);
        Ok(())
    }

    /// The vocabulary's shards with their logits, as operands of the head's ops.
    pub fn vocabulary(&self, weights: &Gpt2<Tensor>) -> Vec<head::Shard> {
        let shards = &weights.wte.shards;
        let shard = |(shard, &logits): (&super::tensors::Shard, &Buffer)| head::Shard {
            wte: shard.buffer,
            logits,
            tokens: shard.rows.clone(),
            stride: shard.padded_rows,
        };
        shards.iter().zip(&self.head.logits).map(shard).collect()
    }
}

impl Release for Workspace {
    fn release(self, engine: &mut dyn Engine) {
        for Allocation { buffer, .. } in self.made {
            engine.release(buffer);
        }
    }
}
