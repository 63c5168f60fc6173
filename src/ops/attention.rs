//! Causal attention over the shared-prefix stream.
//!
//! softmax(q kᵀ / √D) v per head, where query row r sees the key rows `[prefix_start, prefix_end)` and
//! `[own_start, r]`. Backward as in flash attention (Dao 2022): with p = exp(score − lse),
//! dv = pᵀ dy, ds = p · (dy vᵀ − Σ dy·y), dq = ds k / √D, dk = dsᵀ q / √D.

use rayon::prelude::*;

use super::case::Case;
use crate::cpu::dot;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Buffer, Grid, Recording};

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

    /// How many (query, key) pairs attend in a stream.
    pub fn links(spans: &[Span]) -> usize {
        let keys = |(row, s): (usize, &Span)| {
            (s.prefix_end - s.prefix_start) as usize + row + 1 - s.own_start as usize
        };
        spans.iter().enumerate().map(keys).sum()
    }
}

params! {
    struct Params {
        rows: u32,
        first_row: u32,
        heads: u32,
        head_dim: u32,
        scale: f32,
    }
}

kernel!(FORWARD, "attention", "forward", Params, forward_twin);
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
    "backward_query",
    Params,
    query_twin
);
kernel!(
    BACKWARD_KEY_VALUE,
    "attention",
    "backward_key_value",
    Params,
    key_value_twin
);
/// The entry points of `shaders/attention.wgsl`.
pub const KERNELS: &[&Kernel] = &[
    &FORWARD,
    &BACKWARD_ROW_DOTS,
    &BACKWARD_QUERY,
    &BACKWARD_KEY_VALUE,
];

/// The widest head that the kernels hold in workgroup memory.
pub fn max_head_dim() -> usize {
    FORWARD.constant("MAX_HEAD_DIM") as usize
}

/// What [`forward`] and [`backward`] work on.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Query rows.
    pub rows: usize,
    /// Their first row in `qkv` and `spans`; above 0 only when generating token by token.
    pub first_row: usize,
    /// H.
    pub heads: usize,
    /// D, at most [`max_head_dim`].
    pub head_dim: usize,
    /// (query, key) pairs that attend, for the estimate of work.
    pub links: usize,
}

impl Shape {
    fn params(&self) -> Params {
        Params {
            rows: self.rows as u32,
            first_row: self.first_row as u32,
            heads: self.heads as u32,
            head_dim: self.head_dim as u32,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
        }
    }

    /// Operations of one product of two `[rows, head_dim]` matrices under the mask.
    fn flops(&self) -> u64 {
        2 * (self.links * self.heads * self.head_dim) as u64
    }
}

/// y `[rows, C]` and lse `[rows, H]` from qkv `[.., 3C]` and spans `[..]`.
pub fn forward(
    rec: &mut Recording,
    (qkv, spans, y, lse): (Buffer, Buffer, Buffer, Buffer),
    shape: Shape,
) {
    let grid = Grid::Groups([shape.rows, shape.heads, 1]);
    let buffers = [qkv, spans, y, lse];
    rec.push(&FORWARD, &buffers, shape.params(), grid, 2 * shape.flops());
}

/// The operands of [`backward`].
pub struct Backward {
    /// `[rows, 3C]`.
    pub qkv: Buffer,
    /// `[rows]`.
    pub spans: Buffer,
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

/// The gradient of queries, keys and values, of whole streams: `first_row` is 0.
pub fn backward(rec: &mut Recording, op: &Backward, shape: Shape) {
    let params = shape.params();
    let heads = shape.rows * shape.heads;
    rec.push(
        &BACKWARD_ROW_DOTS,
        &[op.y, op.dy, op.row_dots],
        params,
        Grid::Items(heads),
        2 * (heads * shape.head_dim) as u64,
    );
    let buffers = [op.qkv, op.spans, op.lse, op.dy, op.row_dots, op.dqkv];
    let grid = Grid::Groups([shape.rows, shape.heads, 1]);
    rec.push(&BACKWARD_QUERY, &buffers, params, grid, 3 * shape.flops());
    rec.push(
        &BACKWARD_KEY_VALUE,
        &buffers,
        params,
        grid,
        4 * shape.flops(),
    );
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
        .take(p.rows as usize)
        .enumerate()
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
        .take(p.rows as usize)
        .enumerate()
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

/// Two pairs a stream, with prompts and responses around the chunk of keys, and heads narrower and
/// wider than a workgroup; and the single rows of generation.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let sizes = [
        (1, 1, [1, 0, 0]),
        (3, 5, [2, 3, 1]),
        (2, 64, [70, 9, 66]),
        (1, 100, [5, 65, 2]),
    ];
    for (heads, head_dim, [prompt, chosen, rejected]) in sizes {
        let mut spans = Span::of_pair(0, prompt, chosen, rejected);
        spans.extend(Span::of_pair(spans.len(), prompt + 1, rejected, chosen));
        let shape = Shape {
            rows: spans.len(),
            first_row: 0,
            heads,
            head_dim,
            links: Span::links(&spans),
        };
        let (rows, width) = (shape.rows, heads * head_dim);
        let label = format!("{heads}x{head_dim} over {prompt}+{chosen}+{rejected}");
        let words: Vec<u32> = bytemuck::cast_slice(&spans).to_vec();
        cases.push(
            Case::new(format!("forward {label}"))
                .input(rows * 3 * width, 1.0)
                .indices(words.clone())
                .output(rows * width)
                .output(rows * heads)
                .record(move |rec, b| forward(rec, (b[0], b[1], b[2], b[3]), shape)),
        );
        let last = Shape {
            rows: 1,
            first_row: prompt - 1,
            ..shape
        };
        cases.push(
            Case::new(format!("forward {label} last prompt row"))
                .input(rows * 3 * width, 1.0)
                .indices(words.clone())
                .output(width)
                .output(heads)
                .record(move |rec, b| forward(rec, (b[0], b[1], b[2], b[3]), last)),
        );
        // y and lse are the forward pass's own, so that the probabilities are ones.
        cases.push(
            Case::new(format!("backward {label}"))
                .input(rows * 3 * width, 1.0)
                .indices(words)
                .input(rows * width, 1.0)
                .output(rows * width)
                .output(rows * heads)
                .output(rows * heads)
                .output(rows * 3 * width)
                .record(move |rec, b| {
                    let op = Backward {
                        qkv: b[0],
                        spans: b[1],
                        dy: b[2],
                        y: b[3],
                        lse: b[4],
                        row_dots: b[5],
                        dqkv: b[6],
                    };
                    forward(rec, (op.qkv, op.spans, op.y, op.lse), shape);
                    backward(rec, &op, shape);
                }),
        );
    }
    cases
}
