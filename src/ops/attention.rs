//! Causal attention over the shared-prefix stream.
//!
//! y = softmax(q kᵀ / √D) v per head; query row r attends to the key rows `[prefix_start, prefix_end)` and
//! `[own_start, r]`. The backward pass is that of flash attention (Dao 2022): with p = exp(score − lse),
//! dv = pᵀ dy, ds = p · (dy vᵀ − Σ dy·y), dq = ds k / √D, dk = dsᵀ q / √D.

mod cases;

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use crate::batch::{Span, Tile};
use crate::buffer::Buffer;
use crate::cpu::matmul::{Operand, matmul_here};
use crate::cpu::vector::{dot, exp, max, sum};
use crate::kernel::{Bindings, Class, Kernel, params, twin};
use crate::recording::{Grid, Recording};
use crate::target::Target;
use crate::wgsl::parts;

pub use cases::cases;

params! {
    struct Params {
        rows: u32,
        first_row: u32,
        first_y: u32,
        first_tile: u32,
        heads: u32,
        head_dim: u32,
        scale: f32,
    }
}

impl Params {
    /// The stream rows of a step.
    fn stream_rows(&self) -> Range<usize> {
        self.first_row as usize..(self.first_row + self.rows) as usize
    }
}

/// Declares a kernel over tiles, with its variant `direct`.
macro_rules! by_tiles {
    ($(#[$doc:meta])* $name:ident, $entry:literal, $twin:path) => {
        $(#[$doc])*
        pub static $name: Kernel = {
            static DIRECT: Kernel = Kernel::new(
                "attention",
                $entry,
                parts!["attention", "attention_direct"],
                twin!(Params, $twin),
            )
            .with_variant("direct")
            .with_rate(rate_direct);
            Kernel::new("attention", $entry, parts!["attention", "attention_tiled"], twin!(Params, $twin))
                .with_variant("tiled")
                .with_others(&[&DIRECT])
                .with_class(class_of_heads)
        };
    };
}

by_tiles!(
    /// See [`forward`].
    FORWARD, "forward", forward_twin
);
by_tiles!(
    /// The gradient of the queries, and the sums dy · y that [`BACKWARD_KEY_VALUE`] needs: see [`backward`].
    BACKWARD_QUERY, "backward_query", query_twin
);
by_tiles!(
    /// The gradient of keys and values: see [`backward`].
    BACKWARD_KEY_VALUE, "backward_key_value", key_value_twin
);
/// [`forward`] for a single row.
pub static FORWARD_ROW: Kernel = Kernel::new(
    "attention",
    "forward_row",
    parts!["attention", "attention_row"],
    twin!(Params, forward_twin),
);
/// Every kernel of this op.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &FORWARD_ROW, &BACKWARD_QUERY, &BACKWARD_KEY_VALUE];

/// Rates the variant without shared workgroup memory, in vec4s: highest on software devices. It does not run on a
/// GPU, where it needs more registers than there are.
fn rate_direct(params: &[u8], _: &[Buffer], target: &Target) -> Option<u32> {
    let in_fours = Params::of(params).head_dim.is_multiple_of(4);
    (target.software && in_fours).then_some(2)
}

/// The class of a step: the number of heads and their width.
fn class_of_heads(params: &[u8], _: &[Buffer]) -> Class {
    let p = Params::of(params);
    [p.heads, p.head_dim, 0]
}

/// The largest head width that fits the kernels' workgroup memory.
pub fn max_head_dim() -> usize {
    FORWARD_ROW.constant("MAX_HEAD_DIM") as usize
}

/// The tiles and heads of [`forward`] and [`backward`].
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    /// The tiles of the query rows: consecutive, and the first tiles in the buffer of tiles.
    pub tiles: &'a [Tile],
    /// H.
    pub heads: usize,
    /// D, at most [`max_head_dim`].
    pub head_dim: usize,
}

impl Shape<'_> {
    fn params(&self, tiles: Range<usize>) -> Params {
        let first_row = self.tiles[tiles.start].first;
        Params {
            rows: self.tiles[tiles.end - 1].end - first_row,
            first_row,
            first_y: first_row - self.tiles[0].first,
            first_tile: tiles.start as u32,
            heads: self.heads as u32,
            head_dim: self.head_dim as u32,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
        }
    }

    /// Records `kernel` over all tiles. A step has one tile, or as many as keep it within the recording's limit
    /// of operations. Its cost is `products` matrix products over the (query, key) pairs that `links` counts.
    fn push(
        &self,
        rec: &mut Recording,
        kernel: &'static Kernel,
        buffers: &[Buffer],
        products: u64,
        links: fn(&Tile) -> u32,
    ) {
        let width = self.heads * self.head_dim;
        let flops = |tile: &Tile| 2 * products * u64::from(links(tile)) * width as u64;
        let group_cols = kernel.constant("GROUP_COLS") as usize;
        let mut start = 0;
        while start < self.tiles.len() {
            let mut end = start + 1;
            let mut work = flops(&self.tiles[start]);
            while let Some(tile) = self.tiles.get(end)
                && work + flops(tile) <= rec.max_step_flops()
            {
                work += flops(tile);
                end += 1;
            }
            let grid = Grid::Matrix {
                rows: (end - start) * kernel.constant("TILE_ROWS") as usize,
                cols: self.heads * self.head_dim.next_multiple_of(group_cols),
            };
            rec.push(kernel, buffers, self.params(start..end), grid, work);
            start = end;
        }
    }
}

/// The operands of [`forward`]. Row 0 of `y` and `lse` belongs to the first row of the first tile.
pub struct Forward {
    /// `[.., 3C]`: queries, keys and values.
    pub qkv: Buffer,
    /// `[.., 4]`: the [`Span`] of each row.
    pub spans: Buffer,
    /// The [`Tile`]s of the query rows.
    pub tiles: Buffer,
    /// `[rows, C]`, written.
    pub y: Buffer,
    /// `[rows, H]`, written: the log-sum-exp of each row's scores.
    pub lse: Buffer,
}

/// Records y and lse of the query rows. A single row, as in generation, runs [`FORWARD_ROW`].
pub fn forward(rec: &mut Recording, op: &Forward, shape: Shape) {
    if let [tile] = shape.tiles
        && tile.end - tile.first == 1
    {
        let buffers = [op.qkv, op.spans, op.y, op.lse];
        let grid = Grid::Groups([1, shape.heads, 1]);
        let flops = 4 * u64::from(tile.links) * (shape.heads * shape.head_dim) as u64;
        rec.push(&FORWARD_ROW, &buffers, shape.params(0..1), grid, flops);
        return;
    }
    let buffers = [op.qkv, op.spans, op.y, op.lse, op.tiles];
    shape.push(rec, &FORWARD, &buffers, 2, |tile| tile.links);
}

/// The operands of [`backward`].
pub struct Backward {
    /// `[rows, 3C]`: queries, keys and values.
    pub qkv: Buffer,
    /// `[rows, 4]`: the [`Span`] of each row.
    pub spans: Buffer,
    /// The [`Tile`]s of the rows.
    pub tiles: Buffer,
    /// `[rows, C]`: y of the forward pass.
    pub y: Buffer,
    /// `[rows, H]`: lse of the forward pass.
    pub lse: Buffer,
    /// `[rows, C]`: the gradient of `y`.
    pub dy: Buffer,
    /// `[rows, H]`, scratch.
    pub row_dots: Buffer,
    /// `[rows, 3C]`, written.
    pub dqkv: Buffer,
}

impl Backward {
    /// The operands of the forward pass whose gradient this is.
    fn forward(&self) -> Forward {
        Forward {
            qkv: self.qkv,
            spans: self.spans,
            tiles: self.tiles,
            y: self.y,
            lse: self.lse,
        }
    }
}

/// Records the gradient of queries, keys and values of a whole stream: the first tile begins at row 0.
pub fn backward(rec: &mut Recording, op: &Backward, shape: Shape) {
    let query = [
        op.qkv,
        op.spans,
        op.y,
        op.lse,
        op.dy,
        op.row_dots,
        op.dqkv,
        op.tiles,
    ];
    shape.push(rec, &BACKWARD_QUERY, &query, 3, |tile| tile.links);
    let buffers = [
        op.qkv,
        op.spans,
        op.lse,
        op.dy,
        op.row_dots,
        op.dqkv,
        op.tiles,
    ];
    let key_value = &BACKWARD_KEY_VALUE;
    shape.push(rec, key_value, &buffers, 4, |tile| tile.back_links);
}

/// Query or key rows of one task. The scores of a block stay in the cache, and the twin computes at most this
/// many scores of a row only for the mask to hide them.
const BLOCK: usize = 48;

/// Cuts rows into blocks of equal spans. Apart from the diagonal, the rows of a block attend to the same keys.
fn blocks(spans: &[Span], rows: Range<usize>) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let mut start = rows.start;
    while start < rows.end {
        let limit = rows.end.min(start + BLOCK);
        let other = (start + 1..limit).find(|&row| spans[row] != spans[start]);
        let end = other.unwrap_or(limit);
        blocks.push(start..end);
        start = end;
    }
    blocks
}

/// Splits `out` `[rows, width]` into the rows of each block; row 0 of `out` is the first row of the first block.
fn split<'a>(mut out: &'a mut [f32], blocks: &[Range<usize>], width: usize) -> Vec<&'a mut [f32]> {
    let mut parts = Vec::with_capacity(blocks.len());
    for block in blocks {
        let (part, rest) = out.split_at_mut(block.len() * width);
        parts.push(part);
        out = rest;
    }
    parts
}

/// The layout of a row of qkv: parts `[3]`, heads `[H]`, columns `[D]`.
#[derive(Clone, Copy)]
struct Layout {
    heads: usize,
    head_dim: usize,
}

// Parts of a row of qkv.
const QUERY: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;

impl Layout {
    fn of(p: &Params) -> Self {
        Layout {
            heads: p.heads as usize,
            head_dim: p.head_dim as usize,
        }
    }

    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// `[.., D]`: a head's queries, keys or values from `row` on.
    fn part<'a>(&self, qkv: &'a [f32], row: usize, part: usize, head: usize) -> Operand<'a> {
        let start = (3 * row + part) * self.width() + head * self.head_dim;
        Operand::rows(&qkv[start..], 3 * self.width())
    }

    /// `[.., D]`: a head's columns of y or dy from `row` on.
    fn head<'a>(&self, y: &'a [f32], row: usize, head: usize) -> Operand<'a> {
        Operand::rows(
            &y[row * self.width() + head * self.head_dim..],
            self.width(),
        )
    }
}

/// The keys of a block of queries: first the keys of the prefix, then the own keys up to the block's end.
struct Keys {
    ranges: [Range<usize>; 2],
    count: usize,
}

impl Keys {
    fn of(span: &Span, block: &Range<usize>) -> Keys {
        let prefix = span.prefix_start as usize..span.prefix_end as usize;
        let own = span.own_start as usize..block.end;
        Keys {
            count: prefix.len() + own.len(),
            ranges: [prefix, own],
        }
    }

    /// The ranges of keys that are not empty, each with the number of keys before it.
    fn ranges(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let [prefix, own] = self.ranges.clone();
        let before = [0, prefix.len()];
        let ranges = before.into_iter().zip([prefix, own]);
        ranges.filter(|(_, range)| !range.is_empty())
    }

    /// The number of keys to which the block's row `row` attends: all keys but those of later rows.
    fn seen(&self, block: &Range<usize>, row: usize) -> usize {
        self.count - (block.end - 1 - row)
    }

    /// out `[rows, keys]` = scale · a `[rows, D]` · b `[keys, D]`ᵀ. `b` returns the rows that begin at a key.
    fn scores<'a>(
        &self,
        (rows, inner): (usize, usize),
        scale: f32,
        a: Operand,
        b: impl Fn(usize) -> Operand<'a>,
        out: &mut [f32],
    ) {
        for (before, range) in self.ranges() {
            let sizes = [rows, range.len(), inner];
            let out = (&mut out[before..], self.count);
            matmul_here(sizes, scale, (a, b(range.start).transposed()), out, false);
        }
    }

    /// out `[rows, D]` = scale · a `[rows, keys]` · b `[keys, D]`; the rows of `out` lie `out_row` apart.
    fn combine<'a>(
        &self,
        (rows, cols): (usize, usize),
        scale: f32,
        a: &[f32],
        b: impl Fn(usize) -> Operand<'a>,
        (out, out_row): (&mut [f32], usize),
    ) {
        for (i, (before, range)) in self.ranges().enumerate() {
            let a = Operand::rows(&a[before..], self.count);
            let sizes = [rows, cols, range.len()];
            let out = (&mut *out, out_row);
            matmul_here(sizes, scale, (a, b(range.start)), out, i > 0);
        }
    }
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (qkv, spans) = (b.read::<f32>(0), b.read::<Span>(1));
    let (y, lse) = (b.write::<f32>(2), b.write::<f32>(3));
    let at = Layout::of(p);
    let first_y = p.first_y as usize;
    let blocks = blocks(spans, p.stream_rows());
    let outputs = split(&mut y[first_y * at.width()..], &blocks, at.width());
    let lse = split(&mut lse[first_y * at.heads..], &blocks, at.heads);
    let outputs = outputs.into_iter().zip(lse);
    let tasks: Vec<_> = blocks.into_iter().zip(outputs).collect();
    tasks
        .into_par_iter()
        .for_each_init(Vec::new, |scores, (block, (y, lse))| {
            let (rows, dim) = (block.len(), at.head_dim);
            let keys = Keys::of(&spans[block.start], &block);
            scores.resize(rows * keys.count, 0.0);
            for h in 0..at.heads {
                let query = at.part(qkv, block.start, QUERY, h);
                let key = |row| at.part(qkv, row, KEY, h);
                keys.scores((rows, dim), p.scale, query, key, scores);
                for (r, row) in scores.chunks_mut(keys.count).enumerate() {
                    let (seen, hidden) = row.split_at_mut(keys.seen(&block, block.start + r));
                    lse[r * at.heads + h] = softmax(seen);
                    hidden.fill(0.0);
                }
                let value = |row| at.part(qkv, row, VALUE, h);
                let y = (&mut y[h * dim..], at.width());
                keys.combine((rows, dim), 1.0, scores, value, y);
            }
        });
}

fn query_twin(p: &Params, mut b: Bindings) {
    let (qkv, spans, y) = (b.read::<f32>(0), b.read::<Span>(1), b.read::<f32>(2));
    let (lse, dy) = (b.read::<f32>(3), b.read::<f32>(4));
    let (row_dots, dqkv) = (b.write::<f32>(5), b.write::<f32>(6));
    let at = Layout::of(p);
    let (rows, width) = (p.stream_rows(), 3 * at.width());
    let outputs = &mut dqkv[rows.start * width..];
    let row_dots = &mut row_dots[rows.start * at.heads..];
    let blocks = blocks(spans, rows);
    let outputs = split(outputs, &blocks, width);
    let row_dots = split(row_dots, &blocks, at.heads);
    let outputs = outputs.into_iter().zip(row_dots);
    let tasks: Vec<_> = blocks.into_iter().zip(outputs).collect();
    tasks.into_par_iter().for_each_init(
        Default::default,
        |(weights, dscores): &mut Scratch, (block, (dqkv, row_dots))| {
            let (rows, dim) = (block.len(), at.head_dim);
            let keys = Keys::of(&spans[block.start], &block);
            weights.resize(rows * keys.count, 0.0);
            dscores.resize(rows * keys.count, 0.0);
            for h in 0..at.heads {
                let query = at.part(qkv, block.start, QUERY, h);
                let key = |row| at.part(qkv, row, KEY, h);
                let value = |row| at.part(qkv, row, VALUE, h);
                keys.scores((rows, dim), p.scale, query, key, weights);
                let dy_of_head = at.head(dy, block.start, h);
                keys.scores((rows, dim), 1.0, dy_of_head, value, dscores);
                let rows_of = weights
                    .chunks_mut(keys.count)
                    .zip(dscores.chunks_mut(keys.count));
                for (r, of_row) in rows_of.enumerate() {
                    let row = block.start + r;
                    let of_head = row * at.heads + h;
                    let columns = of_head * dim..(of_head + 1) * dim;
                    let row_dot = dot(&y[columns.clone()], &dy[columns]) as f32;
                    row_dots[r * at.heads + h] = row_dot;
                    let seen = keys.seen(&block, row);
                    to_score_gradients(of_row, seen, lse[of_head], row_dot);
                }
                let dq = (&mut dqkv[h * dim..], 3 * at.width());
                keys.combine((rows, dim), p.scale, dscores, key, dq);
            }
        },
    );
}

/// Scratch for one block and head: the weights, and the gradients of the scores.
type Scratch = (Vec<f32>, Vec<f32>);

fn key_value_twin(p: &Params, mut b: Bindings) {
    let (qkv, spans, lse) = (b.read::<f32>(0), b.read::<Span>(1), b.read::<f32>(2));
    let (dy, row_dots, dqkv) = (b.read::<f32>(3), b.read::<f32>(4), b.write::<f32>(5));
    let at = Layout::of(p);
    let (rows, width) = (p.stream_rows(), 3 * at.width());
    let outputs = &mut dqkv[rows.start * width..];
    let blocks = blocks(spans, rows);
    let outputs = split(outputs, &blocks, width);
    let tasks: Vec<_> = blocks.into_iter().zip(outputs).collect();
    tasks.into_par_iter().for_each_init(
        Default::default,
        |(weights, dscores): &mut Scratch, (block, dqkv)| {
            let (count, dim) = (block.len(), at.head_dim);
            let queries = block.start..spans[block.start].query_end as usize;
            weights.resize(queries.len() * count, 0.0);
            dscores.resize(queries.len() * count, 0.0);
            for h in 0..at.heads {
                // [queries, keys of the block]
                let query = at.part(qkv, block.start, QUERY, h);
                let dy = at.head(dy, block.start, h);
                let key = at.part(qkv, block.start, KEY, h).transposed();
                let value = at.part(qkv, block.start, VALUE, h).transposed();
                let sizes = [queries.len(), count, dim];
                matmul_here(sizes, p.scale, (query, key), (weights, count), false);
                matmul_here(sizes, 1.0, (dy, value), (dscores, count), false);
                let rows_of = weights.chunks_mut(count).zip(dscores.chunks_mut(count));
                for (row, of_row) in queries.clone().zip(rows_of) {
                    let of_head = row * at.heads + h;
                    let seen = count.min(row - block.start + 1);
                    to_score_gradients(of_row, seen, lse[of_head], row_dots[of_head]);
                }
                let transposed = |m| Operand::rows(m, count).transposed();
                let sizes = [count, dim, queries.len()];
                for (part, scale, m, by) in [
                    (KEY, p.scale, &*dscores, query),
                    (VALUE, 1.0, &*weights, dy),
                ] {
                    let out = (&mut dqkv[part * at.width() + h * dim..], 3 * at.width());
                    matmul_here(sizes, scale, (transposed(m), by), out, false);
                }
            }
        },
    );
}

/// Replaces scores by their softmax, and returns their log-sum-exp.
#[multiversion(targets = "simd")]
fn softmax(scores: &mut [f32]) -> f32 {
    let peak = max(scores);
    to_weights(scores, peak);
    let total = sum([scores], |[weight]| f64::from(weight));
    let factor = (1.0 / total) as f32;
    for weight in scores {
        *weight *= factor;
    }
    peak + total.ln() as f32
}

/// Replaces each score by exp(score − lse).
#[multiversion(targets = "simd")]
fn to_weights(scores: &mut [f32], lse: f32) {
    for score in scores {
        *score = exp(*score - lse);
    }
}

/// For one query row, replaces the scores by the weights, and dy · value by the gradients of the scores,
/// weight · (dy · value − Σ dy·y). Both are 0 for all keys but the first `seen`.
#[multiversion(targets = "simd")]
fn to_score_gradients(
    (weights, dscores): (&mut [f32], &mut [f32]),
    seen: usize,
    lse: f32,
    row_dot: f32,
) {
    to_weights(&mut weights[..seen], lse);
    for (dscore, weight) in dscores[..seen].iter_mut().zip(&weights[..seen]) {
        *dscore = weight * (*dscore - row_dot);
    }
    weights[seen..].fill(0.0);
    dscores[seen..].fill(0.0);
}
