//! Parameters on a device: every tensor in row shards no larger than a binding may be.

use std::ops::Range;

use super::Dims;
use super::params::{self, PER_BLOCK, Param, Role};
use crate::buffer::Buffer;
use crate::engine::Engine;
use crate::error::{Error, Result};

/// `wte` is padded to a multiple of this many rows, which the head's products like.
const VOCABULARY_MULTIPLE: usize = 128;

/// How tensors are cut into shards: the same for weights, gradients and optimizer state.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The sizes of the model that is cut.
    pub dims: Dims,
    params: Vec<(Param, Vec<Cut>)>,
}

/// One shard of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    rows: Range<usize>,
    padded_rows: usize,
}

impl Layout {
    /// Cuts the parameters of a model so that neither a shard nor the logits that one pair of
    /// `pair_heads` head rows has over a vocabulary shard exceed `max_binding_bytes`.
    ///
    /// # Errors
    /// `Error::Device` if a tensor cannot be cut that small: vectors and `wpe` are never cut, `wte` only
    /// between multiples of 128 rows, other matrices between rows.
    pub fn new(dims: &Dims, max_binding_bytes: usize, pair_heads: usize) -> Result<Layout> {
        let max_words = max_binding_bytes / 4;
        let table = params::table(dims);
        let mut params = Vec::with_capacity(table.len());
        for (i, param) in table.into_iter().enumerate() {
            let mut max_rows = max_words / param.cols;
            let mut multiple = 1;
            if i == Tensors::WTE {
                max_rows = max_rows.min(max_words / pair_heads.max(1));
                multiple = VOCABULARY_MULTIPLE;
            }
            let splits = matches!(param.role, Role::Matrix) || i == Tensors::WTE;
            max_rows = max_rows / multiple * multiple;
            if max_rows == 0 || (!splits && max_rows < param.rows) {
                return Err(Error::device(
                    format!(
                        "tensor {} cannot be split into buffers of {} KiB",
                        param.name,
                        max_binding_bytes >> 10
                    ),
                    "raise `.max_binding_mib`, lower `.max_response_tokens`, or use another device",
                ));
            }
            let cuts = cut(param.rows, max_rows, multiple);
            params.push((param, cuts));
        }
        Ok(Layout {
            dims: *dims,
            params,
        })
    }

    /// Rows of each vocabulary shard, padding included.
    pub fn vocabulary_strides(&self) -> impl Iterator<Item = usize> + Clone {
        self.params[Tensors::WTE].1.iter().map(|c| c.padded_rows)
    }

    /// Elements of every shard of every tensor, padding included.
    pub fn shard_lengths(&self) -> impl Iterator<Item = usize> {
        let lengths = |(param, cuts): &(Param, Vec<Cut>)| {
            let cols = param.cols;
            cuts.iter()
                .map(|c| c.padded_rows * cols)
                .collect::<Vec<_>>()
        };
        self.params.iter().flat_map(lengths)
    }
}

/// The fewest equal shards of at most `max_rows`, each a multiple of `multiple`.
fn cut(rows: usize, max_rows: usize, multiple: usize) -> Vec<Cut> {
    let parts = rows.div_ceil(max_rows);
    let size = rows.div_ceil(parts).next_multiple_of(multiple);
    (0..rows)
        .step_by(size)
        .map(|start| {
            let rows = start..(start + size).min(rows);
            Cut {
                padded_rows: rows.len().next_multiple_of(multiple),
                rows,
            }
        })
        .collect()
}

/// One row shard of a tensor on a device.
#[derive(Clone, Debug)]
pub struct Shard {
    /// `[padded_rows, cols]`; padding rows are 0.
    pub buffer: Buffer,
    /// The tensor's rows in it.
    pub rows: Range<usize>,
    /// `rows` and the padding behind them, which only `wte` has.
    pub padded_rows: usize,
}

/// One tensor on a device.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// `[rows, cols]`, or `[1, n]` for a vector; without padding.
    pub rows: usize,
    /// Never cut.
    pub cols: usize,
    /// Decides whether the tensor decays.
    pub role: Role,
    /// In the order of their rows, which together are all of the tensor's.
    pub shards: Vec<Shard>,
}

impl Tensor {
    /// The buffer of a tensor that is never split: a vector, or `wpe`.
    pub fn whole(&self) -> Buffer {
        self.shards[0].buffer
    }
}

/// All tensors of a model on a device, in the order of the parameter table: weights, gradients, or
/// what the optimizer keeps.
#[derive(Clone, Debug, Default)]
pub struct Tensors {
    /// As [`params::table`] lists them.
    pub all: Vec<Tensor>,
}

/// The tensors of one transformer block.
pub struct Block<'a> {
    /// `[C]`, `[C]`: before attention.
    pub ln_1: [&'a Tensor; 2],
    /// `[C, 3C]`, `[3C]`: queries, keys and values.
    pub c_attn: [&'a Tensor; 2],
    /// `[C, C]`, `[C]`: attention's output onto the residual stream.
    pub attn_c_proj: [&'a Tensor; 2],
    /// `[C]`, `[C]`: before the feed-forward layer.
    pub ln_2: [&'a Tensor; 2],
    /// `[C, F]`, `[F]`: up, before GELU.
    pub c_fc: [&'a Tensor; 2],
    /// `[F, C]`, `[C]`: down, onto the residual stream.
    pub mlp_c_proj: [&'a Tensor; 2],
}

impl Tensors {
    const WTE: usize = 0;
    const WPE: usize = 1;

    /// Zeros, of a layout; `what` labels the buffers.
    ///
    /// # Errors
    /// `Error::Device` if they do not fit.
    pub fn zeros(engine: &mut dyn Engine, layout: &Layout, what: &str) -> Result<Tensors> {
        let mut all = Vec::with_capacity(layout.params.len());
        for (param, cuts) in &layout.params {
            let mut shards = Vec::with_capacity(cuts.len());
            for cut in cuts {
                let label = format!("{what} {}", param.name);
                shards.push(Shard {
                    buffer: engine.create(&label, cut.padded_rows * param.cols)?,
                    rows: cut.rows.clone(),
                    padded_rows: cut.padded_rows,
                });
            }
            all.push(Tensor {
                rows: param.rows,
                cols: param.cols,
                role: param.role,
                shards,
            });
        }
        Ok(Tensors { all })
    }

    /// These values, row-major, in the order of the parameter table; the padding is 0.
    ///
    /// # Errors
    /// `Error::Device` if they do not fit.
    ///
    /// # Panics
    /// If a tensor has fewer values than the layout says.
    pub fn upload(
        engine: &mut dyn Engine,
        layout: &Layout,
        values: &[Vec<f32>],
        what: &str,
    ) -> Result<Tensors> {
        let tensors = Self::zeros(engine, layout, what)?;
        tensors.write(engine, values)?;
        Ok(tensors)
    }

    /// Replaces the values by these, as [`Tensors::upload`] takes them; the padding stays.
    ///
    /// # Errors
    /// `Error::Device`.
    ///
    /// # Panics
    /// If a tensor has fewer values than its rows and columns say.
    pub fn write(&self, engine: &mut dyn Engine, values: &[Vec<f32>]) -> Result<()> {
        for (tensor, values) in self.all.iter().zip(values) {
            for shard in &tensor.shards {
                let range = shard.rows.start * tensor.cols..shard.rows.end * tensor.cols;
                engine.write(shard.buffer, 0, bytemuck::cast_slice(&values[range]))?;
            }
        }
        Ok(())
    }

    /// Every buffer.
    pub fn buffers(&self) -> impl Iterator<Item = Buffer> {
        let shards = self.all.iter().flat_map(|tensor| &tensor.shards);
        shards.map(|shard| shard.buffer)
    }

    /// Reads everything back, without the padding, as [`Tensors::upload`] takes it.
    ///
    /// # Errors
    /// `Error::Device`.
    pub fn download(&self, engine: &mut dyn Engine) -> Result<Vec<Vec<f32>>> {
        let mut tensors = Vec::with_capacity(self.all.len());
        for tensor in &self.all {
            let mut values: Vec<f32> = Vec::with_capacity(tensor.rows * tensor.cols);
            for shard in &tensor.shards {
                let words = engine.read(shard.buffer, shard.rows.len() * tensor.cols)?;
                values.extend_from_slice(bytemuck::cast_slice(&words));
            }
            tensors.push(values);
        }
        Ok(tensors)
    }

    /// Frees the buffers.
    pub fn release(self, engine: &mut dyn Engine) {
        for shard in self.all.into_iter().flat_map(|t| t.shards) {
            engine.release(shard.buffer);
        }
    }

    /// `[V, C]`, tied to the head.
    pub fn wte(&self) -> &Tensor {
        &self.all[Self::WTE]
    }

    /// `[T, C]`.
    pub fn wpe(&self) -> &Tensor {
        &self.all[Self::WPE]
    }

    /// Gain and shift of the final layernorm.
    pub fn ln_f(&self) -> [&Tensor; 2] {
        let n = self.all.len();
        [&self.all[n - 2], &self.all[n - 1]]
    }

    /// The tensors of block `layer`, each as weight and bias (or gain and shift).
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block(&self, layer: usize) -> Block<'_> {
        let first = 2 + layer * PER_BLOCK;
        let pair = |k: usize| [&self.all[first + k], &self.all[first + k + 1]];
        Block {
            ln_1: pair(0),
            c_attn: pair(2),
            attn_c_proj: pair(4),
            ln_2: pair(6),
            c_fc: pair(8),
            mlp_c_proj: pair(10),
        }
    }
}
