//! Causal attention over the shared-prefix stream.
//!
//! softmax(q kᵀ / √D) v per head, where query row r sees the key rows `[prefix_start, prefix_end)` and
//! `[own_start, r]`. Backward as in flash attention (Dao 2022): with p = exp(score − lse),
//! dv = pᵀ dy, ds = p · (dy vᵀ − Σ dy·y), dq = ds k / √D, dk = dsᵀ q / √D.

use std::ops::Range;

use rayon::prelude::*;

use super::case::Case;
use crate::cpu::dot;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Buffer, Grid, MAX_STEP_FLOPS, Recording};

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

kernel!(
    FORWARD_DIRECT,
    "attention",
    "attention_direct",
    "forward",
    Params,
    forward_twin,
    None
);
kernel!(
    BACKWARD_QUERY_DIRECT,
    "attention",
    "attention_direct",
    "backward_query",
    Params,
    query_twin,
    None
);
kernel!(
    BACKWARD_KEY_VALUE_DIRECT,
    "attention",
    "attention_direct",
    "backward_key_value",
    Params,
    key_value_twin,
    None
);
kernel!(
    FORWARD,
    "attention",
    "attention",
    "forward",
    Params,
    forward_twin,
    Some(&FORWARD_DIRECT)
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
kernel!(
    BACKWARD_QUERY,
    "attention",
    "attention",
    "backward_query",
    Params,
    query_twin,
    Some(&BACKWARD_QUERY_DIRECT)
);
kernel!(
    BACKWARD_KEY_VALUE,
    "attention",
    "attention",
    "backward_key_value",
    Params,
    key_value_twin,
    Some(&BACKWARD_KEY_VALUE_DIRECT)
);
/// The entry points of `shaders/attention.wgsl`.
pub const KERNELS: &[&Kernel] = &[
    &FORWARD,
    &FORWARD_ROW,
    &BACKWARD_ROW_DOTS,
    &BACKWARD_QUERY,
    &BACKWARD_KEY_VALUE,
];

// The direct variants read heads by fours. These are the same kernels for heads that do not allow it.
kernel!(FORWARD_ODD, "attention", "forward", Params, forward_twin);
kernel!(
    BACKWARD_QUERY_ODD,
    "attention",
    "backward_query",
    Params,
    query_twin
);
kernel!(
    BACKWARD_KEY_VALUE_ODD,
    "attention",
    "backward_key_value",
    Params,
    key_value_twin
);

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
    /// `kernel`, or `odd` for heads that cannot be read by fours.
    fn choose(&self, kernel: &'static Kernel, odd: &'static Kernel) -> &'static Kernel {
        if self.head_dim.is_multiple_of(4) {
            kernel
        } else {
            odd
        }
    }

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

    /// Records `kernel` over all tiles, in steps of at most `most` operations or a single tile: `products`
    /// matrix products over the (query, key) pairs that `links` counts.
    fn push(
        &self,
        rec: &mut Recording,
        kernel: &'static Kernel,
        buffers: &[Buffer],
        products: u64,
        links: fn(&Tile) -> u32,
        most: u64,
    ) {
        let width = self.heads * self.head_dim;
        let flops = |tile: &Tile| 2 * products * u64::from(links(tile)) * width as u64;
        let group_cols = kernel.constant("GROUP_COLS") as usize;
        let mut start = 0;
        while start < self.tiles.len() {
            let mut end = start + 1;
            let mut work = flops(&self.tiles[start]);
            while let Some(tile) = self.tiles.get(end)
                && work + flops(tile) <= most
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
    forward_in_steps(rec, op, shape, MAX_STEP_FLOPS);
}

/// [`forward`] in steps of at most `most` operations or a single tile.
fn forward_in_steps(rec: &mut Recording, op: &Forward, shape: Shape, most: u64) {
    if let [tile] = shape.tiles
        && tile.end - tile.first == 1
    {
        let buffers = [op.qkv, op.spans, op.y, op.lse];
        let grid = Grid::Groups([1, shape.heads, 1]);
        let flops = 4 * u64::from(tile.links) * (shape.heads * shape.head_dim) as u64;
        rec.push(&FORWARD_ROW, &buffers, shape.params(0..1), grid, flops);
        return;
    }
    let kernel = shape.choose(&FORWARD, &FORWARD_ODD);
    let buffers = [op.qkv, op.spans, op.y, op.lse, op.tiles];
    shape.push(rec, kernel, &buffers, 2, |tile| tile.links, most);
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
    backward_in_steps(rec, op, shape, MAX_STEP_FLOPS);
}

/// [`backward`] in steps of at most `most` operations or a single tile.
fn backward_in_steps(rec: &mut Recording, op: &Backward, shape: Shape, most: u64) {
    let Some(last) = shape.tiles.last() else {
        return;
    };
    let heads = last.end as usize * shape.heads;
    rec.push(
        &BACKWARD_ROW_DOTS,
        &[op.y, op.dy, op.row_dots],
        shape.params(0..shape.tiles.len()),
        Grid::Items(heads),
        2 * (heads * shape.head_dim) as u64,
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
    let query = shape.choose(&BACKWARD_QUERY, &BACKWARD_QUERY_ODD);
    shape.push(rec, query, &buffers, 3, |tile| tile.links, most);
    let key_value = shape.choose(&BACKWARD_KEY_VALUE, &BACKWARD_KEY_VALUE_ODD);
    shape.push(rec, key_value, &buffers, 4, |tile| tile.back_links, most);
}

/// Where each head's query, key and value lie in a row of qkv.
struct Layout {
    heads: usize,
    head_dim: usize,
}

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

    /// Part 0, 1, 2 is the query, key, value.
    fn part<'a>(&self, qkv: &'a [f32], row: usize, part: usize, head: usize) -> &'a [f32] {
        &qkv[(3 * row + part) * self.width() + head * self.head_dim..][..self.head_dim]
    }

    fn head<'a>(&self, y: &'a [f32], row: usize, head: usize) -> &'a [f32] {
        &y[row * self.width() + head * self.head_dim..][..self.head_dim]
    }
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (qkv, spans) = (b.read::<f32>(0), b.read::<Span>(1));
    let (y, lse) = (b.write::<f32>(2), b.write::<f32>(3));
    let at = Layout::of(p);
    y.par_chunks_mut(at.width())
        .zip(lse.par_chunks_mut(at.heads))
        .skip(p.first_y as usize)
        .take(p.rows as usize)
        .enumerate()
        .for_each(|(r, (y, lse))| {
            let row = p.first_row as usize + r;
            for h in 0..at.heads {
                let query = at.part(qkv, row, 0, h);
                let scores: Vec<f32> = spans[row]
                    .keys(row)
                    .map(|j| p.scale * dot(query, at.part(qkv, j, 1, h)))
                    .collect();
                let peak = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let total: f32 = scores.iter().map(|s| (s - peak).exp()).sum();
                let y = &mut y[h * at.head_dim..][..at.head_dim];
                y.fill(0.0);
                for (j, score) in spans[row].keys(row).zip(&scores) {
                    add_scaled(y, (score - peak).exp() / total, at.part(qkv, j, 2, h));
                }
                lse[h] = peak + total.ln();
            }
        });
}

fn row_dots_twin(p: &Params, mut b: Bindings) {
    let (y, dy, row_dots) = (b.read::<f32>(0), b.read::<f32>(1), b.write::<f32>(2));
    let at = Layout::of(p);
    let pairs = y.chunks(at.head_dim).zip(dy.chunks(at.head_dim));
    for (out, (y, dy)) in row_dots[..p.rows as usize * at.heads].iter_mut().zip(pairs) {
        *out = dot(y, dy);
    }
}

fn query_twin(p: &Params, mut b: Bindings) {
    let (qkv, spans, lse) = (b.read::<f32>(0), b.read::<Span>(1), b.read::<f32>(2));
    let (dy, row_dots, dqkv) = (b.read::<f32>(3), b.read::<f32>(4), b.write::<f32>(5));
    let at = Layout::of(p);
    dqkv.par_chunks_mut(3 * at.width())
        .enumerate()
        .skip(p.first_row as usize)
        .take(p.rows as usize)
        .for_each(|(row, dqkv)| {
            for h in 0..at.heads {
                let (query, dy) = (at.part(qkv, row, 0, h), at.head(dy, row, h));
                let dq = &mut dqkv[h * at.head_dim..][..at.head_dim];
                dq.fill(0.0);
                for j in spans[row].keys(row) {
                    let (key, value) = (at.part(qkv, j, 1, h), at.part(qkv, j, 2, h));
                    let weight = (p.scale * dot(query, key) - lse[row * at.heads + h]).exp();
                    let ds = weight * (dot(dy, value) - row_dots[row * at.heads + h]);
                    add_scaled(dq, p.scale * ds, key);
                }
            }
        });
}

fn key_value_twin(p: &Params, mut b: Bindings) {
    let (qkv, spans, lse) = (b.read::<f32>(0), b.read::<Span>(1), b.read::<f32>(2));
    let (dy, row_dots, dqkv) = (b.read::<f32>(3), b.read::<f32>(4), b.write::<f32>(5));
    let at = Layout::of(p);
    dqkv.par_chunks_mut(3 * at.width())
        .enumerate()
        .skip(p.first_row as usize)
        .take(p.rows as usize)
        .for_each(|(row, dqkv)| {
            let (_, dkv) = dqkv.split_at_mut(at.width());
            dkv.fill(0.0);
            let (dk, dv) = dkv.split_at_mut(at.width());
            for h in 0..at.heads {
                let (key, value) = (at.part(qkv, row, 1, h), at.part(qkv, row, 2, h));
                let dk = &mut dk[h * at.head_dim..][..at.head_dim];
                let dv = &mut dv[h * at.head_dim..][..at.head_dim];
                for i in row..spans[row].query_end as usize {
                    let (query, dy) = (at.part(qkv, i, 0, h), at.head(dy, i, h));
                    let weight = (p.scale * dot(query, key) - lse[i * at.heads + h]).exp();
                    let ds = weight * (dot(dy, value) - row_dots[i * at.heads + h]);
                    add_scaled(dk, p.scale * ds, query);
                    add_scaled(dv, weight, dy);
                }
            }
        });
}

fn add_scaled(out: &mut [f32], scale: f32, x: &[f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out += scale * x;
    }
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
        for (what, most) in [("", MAX_STEP_FLOPS), (" a step a tile", 0)] {
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
                        forward_in_steps(rec, &op.forward(), shape, most);
                        backward_in_steps(rec, &op, shape, most);
                    }),
            );
        }
    }
    cases
}
