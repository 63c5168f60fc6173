//! Causal attention over the shared-prefix stream.
//!
//! softmax(q kᵀ / √D) v per head, where query row r sees the key rows `[prefix_start, prefix_end)` and
//! `[own_start, r]`. Backward as in flash attention (Dao 2022): with p = exp(score − lse),
//! dv = pᵀ dy, ds = p · (dy vᵀ − Σ dy·y), dq = ds k / √D, dk = dsᵀ q / √D.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::case::Case;
use crate::buffer::Buffer;
use crate::cpu::matmul::{Operand, matmul_here};
use crate::cpu::vector::{dot, exp, max, sum};
use crate::kernel::{Bindings, Class, Kernel, kernel, params, variant};
use crate::recording::{Grid, Recording, Work};
use crate::target::Target;

/// What one row attends to, and which rows attend to it; all in stream rows.
///
/// A query row attends to the key rows `[prefix_start, prefix_end)` and `[own_start, row]`; a key row
/// is seen by the query rows `[row, query_end)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Span {
    /// First row of the prompt, for rows of a response.
    pub prefix_start: u32,
    /// End of the prompt; equals `prefix_start` for the prompt's own rows.
    pub prefix_end: u32,
    /// First row of the row's own part: prompt, chosen or rejected.
    pub own_start: u32,
    /// End of the rows that attend to this one: for the prompt the pair's, else the response's.
    pub query_end: u32,
}

impl Span {
    /// The spans of a pair whose first row is `start` and that has these numbers of rows.
    pub fn of_pair(start: usize, prompt: usize, chosen: usize, rejected: usize) -> Vec<Span> {
        let prefix = [start, start + prompt];
        let chosen_end = prefix[1] + chosen;
        let end = chosen_end + rejected;
        let span = |prefix: [usize; 2], own: usize, query_end: usize| Span {
            prefix_start: prefix[0] as u32,
            prefix_end: prefix[1] as u32,
            own_start: own as u32,
            query_end: query_end as u32,
        };
        let mut spans = vec![span([start, start], start, end); prompt];
        spans.extend(vec![span(prefix, prefix[1], chosen_end); chosen]);
        spans.extend(vec![span(prefix, chosen_end, end); rejected]);
        spans
    }

    /// The key rows that query row `row`, whose span this is, attends to.
    pub fn keys(&self, row: usize) -> impl Iterator<Item = usize> {
        (self.prefix_start as usize..self.prefix_end as usize)
            .chain(self.own_start as usize..row + 1)
    }
}

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
    /// The rows of a step, in the stream.
    fn stream_rows(&self) -> Range<usize> {
        self.first_row as usize..(self.first_row + self.rows) as usize
    }
}

/// A run of rows of one prompt or response, which workgroups take together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Tile {
    /// First stream row.
    pub first: u32,
    /// End of its rows, `TILE_ROWS` of the shader at most.
    pub end: u32,
    /// (query, key) pairs that attend with these rows as queries.
    pub links: u32,
    /// (query, key) pairs that attend with these rows as keys.
    pub back_links: u32,
}

impl Tile {
    /// Cuts the rows `rows` of a stream: within a prompt or response, and there from its first row on, so
    /// that a tile does not depend on what else is in the stream.
    pub fn of(spans: &[Span], rows: Range<usize>) -> Vec<Tile> {
        let size = FORWARD.constant("TILE_ROWS");
        let mut tiles: Vec<Tile> = Vec::new();
        for row in rows {
            let (span, row) = (&spans[row], row as u32);
            let links = span.prefix_end - span.prefix_start + row + 1 - span.own_start;
            let back_links = span.query_end - row;
            match tiles.last_mut() {
                Some(tile) if (row - span.own_start) % size != 0 => {
                    tile.end += 1;
                    tile.links += links;
                    tile.back_links += back_links;
                }
                _ => tiles.push(Tile {
                    first: row,
                    end: row + 1,
                    links,
                    back_links,
                }),
            }
        }
        tiles
    }
}

/// Declares a kernel over tiles with its variant.
macro_rules! by_tiles {
    ($entry:literal, $twin:path, $name:ident [$direct:ident]) => {
        variant!(
            $direct,
            "attention",
            "direct",
            $entry,
            Params,
            $twin,
            rate_direct
        );
        kernel!(
            $name,
            "attention",
            $entry,
            Params,
            $twin,
            "tiled",
            &[&$direct],
            class_of_heads
        );
    };
}

by_tiles!("forward", forward_twin, FORWARD[FORWARD_DIRECT]);
by_tiles!(
    "backward_query",
    query_twin,
    BACKWARD_QUERY[BACKWARD_QUERY_DIRECT]
);
by_tiles!(
    "backward_key_value",
    key_value_twin,
    BACKWARD_KEY_VALUE[BACKWARD_KEY_VALUE_DIRECT]
);
kernel!(
    FORWARD_ROW,
    "attention",
    "forward_row",
    Params,
    forward_twin
);
kernel!(
    BACKWARD_ROW_DOTS,
    "attention",
    "backward_row_dots",
    Params,
    row_dots_twin
);
/// The entry points of `shaders/attention.wgsl`.
pub const KERNELS: &[&Kernel] = &[
    &FORWARD,
    &FORWARD_ROW,
    &BACKWARD_ROW_DOTS,
    &BACKWARD_QUERY,
    &BACKWARD_KEY_VALUE,
];

/// Without workgroup memory, four words of a head at a time: best where that is plain memory.
fn rate_direct(p: &Params, _: &[Buffer], target: &Target) -> Option<u32> {
    let in_fours = p.head_dim.is_multiple_of(4);
    in_fours.then_some(if target.software { 2 } else { 0 })
}

/// The heads' number and size.
fn class_of_heads(p: &Params, _: &[Buffer]) -> Class {
    [p.heads, p.head_dim, 0]
}

/// The widest head that the kernels hold in workgroup memory.
pub fn max_head_dim() -> usize {
    FORWARD_ROW.constant("MAX_HEAD_DIM") as usize
}

/// What [`forward`] and [`backward`] work on.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    /// The query rows: consecutive tiles, what the buffer of tiles begins with.
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

    /// Records `kernel` over all tiles, in steps of at most the recording's operations or a single tile: `products`
    /// matrix products over the (query, key) pairs that `links` counts.
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
                && work + flops(tile) <= rec.max_step_flops
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

/// What [`forward`] reads and writes. Row 0 of `y` and `lse` belongs to the first tile's first row.
pub struct Forward {
    /// `[.., 3C]`.
    pub qkv: Buffer,
    /// `[..]`.
    pub spans: Buffer,
    /// The [`Tile`]s of the query rows.
    pub tiles: Buffer,
    /// `[rows, C]`, written.
    pub y: Buffer,
    /// `[rows, H]`, written: the log-sum-exp of each row's scores.
    pub lse: Buffer,
}

/// y and lse of the query rows. A row alone, as in generation, has a kernel of its own.
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
    /// `[rows, 3C]`.
    pub qkv: Buffer,
    /// `[rows]`.
    pub spans: Buffer,
    /// The [`Tile`]s of the rows.
    pub tiles: Buffer,
    /// `[rows, C]`, as the forward pass left it.
    pub y: Buffer,
    /// `[rows, H]`, as the forward pass left it.
    pub lse: Buffer,
    /// `[rows, C]`.
    pub dy: Buffer,
    /// `[rows, H]`, scratch.
    pub row_dots: Buffer,
    /// `[rows, 3C]`, written.
    pub dqkv: Buffer,
}

impl Backward {
    /// The forward pass that this goes back over.
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

/// The gradient of queries, keys and values, of whole streams: the first tile begins at row 0.
pub fn backward(rec: &mut Recording, op: &Backward, shape: Shape) {
    let Some(last) = shape.tiles.last() else {
        return;
    };
    let heads = last.end as usize * shape.heads;
    rec.push(
        &BACKWARD_ROW_DOTS,
        &[op.y, op.dy, op.row_dots],
        shape.params(0..shape.tiles.len()),
        Grid::Items(heads),
        Work::new(
            2 * (heads * shape.head_dim) as u64,
            heads * (2 * shape.head_dim + 1),
        ),
    );
    let buffers = [
        op.qkv,
        op.spans,
        op.lse,
        op.dy,
        op.row_dots,
        op.dqkv,
        op.tiles,
    ];
    shape.push(rec, &BACKWARD_QUERY, &buffers, 3, |tile| tile.links);
    let key_value = &BACKWARD_KEY_VALUE;
    shape.push(rec, key_value, &buffers, 4, |tile| tile.back_links);
}

/// Query or key rows that one task takes. Their scores stay in the cache, and at most so many of a
/// row's scores are computed for the mask to hide.
const BLOCK: usize = 48;

/// Rows of one block have equal spans, so that they see the same keys but for the diagonal.
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

/// The rows of `out`, `width` wide, that each block holds; the first block's first row is the first.
fn split<'a>(mut out: &'a mut [f32], blocks: &[Range<usize>], width: usize) -> Vec<&'a mut [f32]> {
    let mut parts = Vec::with_capacity(blocks.len());
    for block in blocks {
        let (part, rest) = out.split_at_mut(block.len() * width);
        parts.push(part);
        out = rest;
    }
    parts
}

/// Where each head's query, key and value lie in a row of qkv.
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

/// The keys of a block of queries: the prompt's, then the own part's up to the block's end.
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

    /// Ranges that are not empty, each with the number of keys before it.
    fn ranges(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let [prefix, own] = self.ranges.clone();
        let before = [0, prefix.len()];
        let ranges = before.into_iter().zip([prefix, own]);
        ranges.filter(|(_, range)| !range.is_empty())
    }

    /// How many of the keys the block's row `row` sees: all but those of the rows behind it.
    fn seen(&self, block: &Range<usize>, row: usize) -> usize {
        self.count - (block.end - 1 - row)
    }

    /// out `[rows, keys]` = scale · a `[rows, D]` · b `[keys, D]`ᵀ, `b` giving the rows from a key on.
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

    /// out `[rows, D]`, its rows `out_row` apart, = scale · a `[rows, keys]` · b `[keys, D]`.
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

fn row_dots_twin(p: &Params, mut b: Bindings) {
    let (y, dy, row_dots) = (b.read::<f32>(0), b.read::<f32>(1), b.write::<f32>(2));
    let at = Layout::of(p);
    row_dots[..p.rows as usize * at.heads]
        .par_iter_mut()
        .zip(y.par_chunks(at.head_dim))
        .zip(dy.par_chunks(at.head_dim))
        .for_each(|((out, y), dy)| *out = dot(y, dy) as f32);
}

fn query_twin(p: &Params, mut b: Bindings) {
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
            let (rows, dim) = (block.len(), at.head_dim);
            let keys = Keys::of(&spans[block.start], &block);
            weights.resize(rows * keys.count, 0.0);
            dscores.resize(rows * keys.count, 0.0);
            for h in 0..at.heads {
                let query = at.part(qkv, block.start, QUERY, h);
                let key = |row| at.part(qkv, row, KEY, h);
                let value = |row| at.part(qkv, row, VALUE, h);
                keys.scores((rows, dim), p.scale, query, key, weights);
                let dy = at.head(dy, block.start, h);
                keys.scores((rows, dim), 1.0, dy, value, dscores);
                let rows_of = weights
                    .chunks_mut(keys.count)
                    .zip(dscores.chunks_mut(keys.count));
                for (row, of_row) in block.clone().zip(rows_of) {
                    let of_head = row * at.heads + h;
                    let seen = keys.seen(&block, row);
                    to_score_gradients(of_row, seen, lse[of_head], row_dots[of_head]);
                }
                let dq = (&mut dqkv[h * dim..], 3 * at.width());
                keys.combine((rows, dim), p.scale, dscores, key, dq);
            }
        },
    );
}

/// Weights and gradients of scores, of one block and head.
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

/// Softmax in place; the log of Σ exp.
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

/// exp(score − lse) of each score.
#[multiversion(targets = "simd")]
fn to_weights(scores: &mut [f32], lse: f32) {
    for score in scores {
        *score = exp(*score - lse);
    }
}

/// Of one query row: from its scores the weights, and from dy · value the scores' gradients
/// weight · (dy · value − Σ dy·y); 0 for all keys but the first `seen`.
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

/// Two pairs a stream, with prompts and responses around a tile of rows, and heads narrower and wider
/// than what a workgroup holds at a time; and the single rows of generation.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let sizes = [
        (1, 1, [1, 0, 0]),
        (3, 5, [2, 3, 1]),
        (2, 64, [70, 9, 66]),
        (1, 100, [33, 31, 32]),
        (2, 130, [5, 65, 2]),
    ];
    for (heads, head_dim, [prompt, chosen, rejected]) in sizes {
        let mut spans = Span::of_pair(0, prompt, chosen, rejected);
        spans.extend(Span::of_pair(spans.len(), prompt + 1, rejected, chosen));
        let (rows, width) = (spans.len(), heads * head_dim);
        let label = format!("{heads}x{head_dim} over {prompt}+{chosen}+{rejected}");
        let words: Vec<u32> = bytemuck::cast_slice(&spans).to_vec();
        for (what, range) in [
            ("", 0..rows),
            (" last prompt row", prompt - 1..prompt),
            (" second pair", rows - chosen - rejected - prompt - 1..rows),
        ] {
            let tiles = Tile::of(&spans, range.clone());
            cases.push(
                Case::new(format!("forward {label}{what}"))
                    .input(rows * 3 * width, 1.0)
                    .indices(words.clone())
                    .indices(bytemuck::cast_slice(&tiles).to_vec())
                    .output(range.len() * width)
                    .output(range.len() * heads)
                    .record(move |rec, b| {
                        let op = Forward {
                            qkv: b[0],
                            spans: b[1],
                            tiles: b[2],
                            y: b[3],
                            lse: b[4],
                        };
                        let tiles = &tiles;
                        forward(
                            rec,
                            &op,
                            Shape {
                                tiles,
                                heads,
                                head_dim,
                            },
                        );
                    }),
            );
        }
        // y and lse are the forward pass's own, so that the probabilities are ones. Whole, and as a long
        // stream is: in several steps.
        for (what, most) in [("", None), (" a step a tile", Some(0))] {
            let tiles = Tile::of(&spans, 0..rows);
            cases.push(
                Case::new(format!("backward {label}{what}"))
                    .input(rows * 3 * width, 1.0)
                    .indices(words.clone())
                    .indices(bytemuck::cast_slice(&tiles).to_vec())
                    .input(rows * width, 1.0)
                    .output(rows * width)
                    .output(rows * heads)
                    .output(rows * heads)
                    .output(rows * 3 * width)
                    .record(move |rec, b| {
                        let op = Backward {
                            qkv: b[0],
                            spans: b[1],
                            tiles: b[2],
                            dy: b[3],
                            y: b[4],
                            lse: b[5],
                            row_dots: b[6],
                            dqkv: b[7],
                        };
                        let shape = Shape {
                            tiles: &tiles,
                            heads,
                            head_dim,
                        };
                        rec.max_step_flops = most.unwrap_or(rec.max_step_flops);
                        forward(rec, &op.forward(), shape);
                        backward(rec, &op, shape);
                    }),
            );
        }
    }
    cases
}
