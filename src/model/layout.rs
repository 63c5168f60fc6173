//! The layout of parameters: tensors in row shards no larger than a kernel binds, shards in a few arenas.

use std::ops::Range;

use super::Dims;
use super::gpt2::Gpt2;
use super::params::{self, Param, Role};
use crate::buffer::ALIGNMENT;
use crate::error::{Error, Result};

/// `wte` is padded to a multiple of this many rows, so that the head's products have whole tiles.
const VOCABULARY_MULTIPLE: usize = 128;

/// An arena is no larger than this, unless a single shard is larger. A driver finds memory for several buffers of
/// this size more easily than for one buffer of gigabytes.
const MAX_ARENA_BYTES: usize = 128 << 20;

/// The layout of a model's parameters in arenas; weights, gradients and moments share it.
///
/// An arena is one buffer. An update treats all parameters of an arena alike: all are trainable or none is, and
/// all are matrices or all are vectors, because weight decay may apply to matrices alone. So an update needs one
/// dispatch for each arena instead of one for each tensor. Trainable arenas come first, so that arena `i` of the
/// gradients belongs to arena `i` of the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The sizes of the model.
    pub dims: Dims,
    /// Where each parameter lies.
    pub params: Gpt2<Placed>,
    /// The arenas; [`ShardPlace::arena`] is an index into them.
    pub arenas: Vec<Arena>,
}

/// One buffer for many parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arena {
    /// Length in 32-bit words, padding included.
    pub words: usize,
    /// True if its parameters are trainable.
    pub trainable: bool,
    /// True if its parameters are matrices and embeddings, false if they are biases, gains and shifts.
    pub matrices: bool,
}

/// A parameter and its place in the arenas.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The parameter's name, shape and role.
    pub param: Param,
    /// The shards, in the order of their rows; together they hold all rows of the parameter.
    pub shards: Vec<ShardPlace>,
}

/// The place of a parameter's row shard in an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPlace {
    /// The index of the arena.
    pub arena: usize,
    /// The shard's first word in the arena: a multiple of [`ALIGNMENT`].
    pub offset: usize,
    /// The parameter's rows in this shard.
    pub rows: Range<usize>,
    /// The number of rows, including the padding behind them; only `wte` has padding.
    pub padded_rows: usize,
}

/// The limits that a layout keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of a shard, and of an arena.
    pub max_binding_bytes: usize,
    /// The most head rows of one pair: their logits over a vocabulary shard must fit a binding.
    pub pair_heads: usize,
}

impl Layout {
    /// Lays out the parameters of a model of these dims.
    ///
    /// # Errors
    /// As [`Layout::of`].
    pub fn new(dims: &Dims, limits: Limits) -> Result<Layout> {
        Layout::of(dims, &params::gpt2(dims), limits)
    }

    /// Lays out the parameters `model` of a model of these dims.
    ///
    /// # Errors
    /// `Error::Device` if a tensor cannot be cut into shards that fit: vectors and `wpe` are never cut, `wte` only
    /// between multiples of 128 rows, other matrices between any two rows.
    pub fn of(dims: &Dims, model: &Gpt2<Param>, limits: Limits) -> Result<Layout> {
        let mut problem = None;
        let cuts = model.map(|param| {
            let is_vocabulary = param.name == model.wte.name;
            match cut(param, is_vocabulary, limits) {
                Ok(cuts) => cuts,
                Err(e) => {
                    problem.get_or_insert(e);
                    Vec::new()
                }
            }
        });
        if let Some(problem) = problem {
            return Err(problem);
        }
        let max_words = (limits.max_binding_bytes / 4).min(MAX_ARENA_BYTES / 4);
        let mut arenas = Vec::new();
        let mut placed: Vec<Placed> = Vec::new();
        for (param, cuts) in model.iter().zip(cuts.iter()) {
            placed.push(Placed {
                param: param.clone(),
                shards: cuts.clone(),
            });
        }
        // Trainable arenas first; in each group the parameters keep their order.
        for trainable in [true, false] {
            for placed in &mut placed {
                if placed.param.trainable == trainable {
                    place(&mut arenas, placed, max_words);
                }
            }
        }
        let mut placed = placed.into_iter();
        let params = model.map(|_| placed.next().expect("one for each parameter"));
        Ok(Layout {
            dims: *dims,
            params,
            arenas,
        })
    }

    /// Rows of each vocabulary shard, padding included.
    pub fn vocabulary_strides(&self) -> impl Iterator<Item = usize> + Clone {
        self.params.wte.shards.iter().map(|place| place.padded_rows)
    }

    /// The trainable arenas.
    pub fn trained(&self) -> &[Arena] {
        let count = self.arenas.iter().filter(|arena| arena.trainable).count();
        &self.arenas[..count]
    }

    /// The first block of which the backward pass reads activations: no parameter below it is trainable.
    pub fn first_trained_block(&self) -> usize {
        self.params.first_block_of(|placed| placed.param.trainable)
    }

    /// The largest rank of an adapter; 0 without adapters.
    pub fn adapter_rank(&self) -> usize {
        let adapters = self
            .params
            .linears()
            .filter_map(|linear| linear.adapter.as_ref());
        adapters
            .map(|adapter| adapter.a.param.cols)
            .max()
            .unwrap_or(0)
    }
}

/// Cuts a parameter into the fewest row shards of equal size that fit; they are not yet in an arena.
fn cut(param: &Param, is_vocabulary: bool, limits: Limits) -> Result<Vec<ShardPlace>> {
    let max_words = limits.max_binding_bytes / 4;
    let mut max_rows = max_words / param.cols;
    let mut multiple = 1;
    if is_vocabulary {
        max_rows = max_rows.min(max_words / limits.pair_heads.max(1));
        multiple = VOCABULARY_MULTIPLE;
    }
    let splits = matches!(param.role, Role::Matrix) || is_vocabulary;
    max_rows = max_rows / multiple * multiple;
    if max_rows == 0 || (!splits && max_rows < param.rows) {
        return Err(Error::device(
            format!(
                "tensor {} cannot be split into buffers of {} KiB",
                param.name,
                limits.max_binding_bytes >> 10
            ),
            "raise `.max_binding_mib`, lower `.max_response_tokens`, or use another device",
        ));
    }
    let parts = param.rows.div_ceil(max_rows);
    let size = param.rows.div_ceil(parts).next_multiple_of(multiple);
    let shard = |start: usize| {
        let rows = start..(start + size).min(param.rows);
        ShardPlace {
            arena: 0,
            offset: 0,
            padded_rows: rows.len().next_multiple_of(multiple),
            rows,
        }
    };
    Ok((0..param.rows).step_by(size).map(shard).collect())
}

/// Puts each shard of a parameter into the first arena of its kind that has room, or into a new arena.
fn place(arenas: &mut Vec<Arena>, placed: &mut Placed, max_words: usize) {
    let (trainable, matrices) = (placed.param.trainable, placed.param.role.is_matrix());
    for shard in &mut placed.shards {
        let words = shard.padded_rows * placed.param.cols;
        let fits = |arena: &Arena| {
            let is_alike = (arena.trainable, arena.matrices) == (trainable, matrices);
            is_alike && arena.words.next_multiple_of(ALIGNMENT) + words <= max_words
        };
        let found = arenas.iter().position(fits).unwrap_or_else(|| {
            arenas.push(Arena {
                words: 0,
                trainable,
                matrices,
            });
            arenas.len() - 1
        });
        shard.arena = found;
        shard.offset = arenas[found].words.next_multiple_of(ALIGNMENT);
        arenas[found].words = shard.offset + words;
    }
}
