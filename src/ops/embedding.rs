//! Token + position embedding: `x[r] = wte[token r] + wpe[position r]`.
//!
//! The token table may be cut into row shards; a dispatch binds one shard. For each table row that the stream
//! used, the backward pass sums the gradients of its stream rows in the order in which the host sorted them.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::case::Case;
use crate::buffer::Buffer;
use crate::kernel::{Bindings, Kernel, params, twin};
use crate::recording::{Cost, Grid, Recording};
use crate::wgsl::parts;

params! {
    struct Params {
        rows: u32,
        width: u32,
        first_row: u32,
        shard_rows: u32,
        first_segment: u32,
    }
}

/// `forward` of `shaders/embedding.wgsl`.
pub static FORWARD: Kernel = Kernel::new(
    "embedding",
    "forward",
    parts!["embedding"],
    twin!(Params, forward_twin),
);
/// `backward` of `shaders/embedding.wgsl`.
pub static BACKWARD: Kernel = Kernel::new(
    "embedding",
    "backward",
    parts!["embedding"],
    twin!(Params, backward_twin),
);
/// The entry points of `shaders/embedding.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

/// The operands of [`forward`].
pub struct Forward {
    /// `[rows]` token ids.
    pub tokens: Buffer,
    /// `[rows]` positions.
    pub positions: Buffer,
    /// `[shard rows, width]`: rows `shard` of the token table.
    pub wte: Buffer,
    /// The rows of the token table in `wte`.
    pub shard: Range<usize>,
    /// `[n_positions, width]`.
    pub wpe: Buffer,
    /// `[rows, width]`, written where the token lies in `shard`.
    pub x: Buffer,
    /// N: stream rows.
    pub rows: usize,
    /// C.
    pub width: usize,
}

/// Fills the rows of `x` whose token lies in one shard of the token table.
pub fn forward(rec: &mut Recording, op: &Forward) {
    let params = Params {
        rows: op.rows as u32,
        width: op.width as u32,
        first_row: op.shard.start as u32,
        shard_rows: op.shard.len() as u32,
        first_segment: 0,
    };
    let count = op.rows * op.width;
    let buffers = [op.tokens, op.positions, op.wte, op.wpe, op.x];
    let grid = Grid::Rows {
        rows: op.rows,
        width: op.width,
    };
    let work = Cost::new(count as u64, 3 * count + 2 * op.rows);
    rec.push(&FORWARD, &buffers, params, grid, work);
}

/// The operands of [`backward`].
pub struct Backward {
    /// `[rows]`: stream rows, sorted by the table row that they used.
    pub order: Buffer,
    /// `[.., 3]`: table row, first and end index in `order`.
    pub segments: Buffer,
    /// The segments whose table row lies in `shard`.
    pub range: Range<usize>,
    /// `[rows, width]`: gradient of the embedding's output.
    pub dx: Buffer,
    /// `[shard rows, width]`: gradient of the table's rows `shard`; the kernel adds to it.
    pub dtable: Buffer,
    /// The rows of the whole table in `dtable`.
    pub shard: Range<usize>,
    /// C.
    pub width: usize,
    /// Stream rows in all, for the cost of the step.
    pub rows: usize,
}

/// Adds to the gradient of each table row the rows of `dx` whose stream rows used it.
pub fn backward(rec: &mut Recording, op: &Backward) {
    let params = Params {
        rows: op.range.len() as u32,
        width: op.width as u32,
        first_row: op.shard.start as u32,
        shard_rows: op.shard.len() as u32,
        first_segment: op.range.start as u32,
    };
    let buffers = [op.order, op.segments, op.dx, op.dtable];
    let grid = Grid::Rows {
        rows: op.range.len(),
        width: op.width,
    };
    let count = op.range.len() * op.width;
    let summed = op.rows * op.width;
    let indices = op.rows + 3 * op.range.len();
    let work = Cost::new(summed as u64, summed + 2 * count + indices);
    rec.push(&BACKWARD, &buffers, params, grid, work);
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (tokens, positions) = (b.read::<u32>(0), b.read::<u32>(1));
    let (wte, wpe) = (b.read::<f32>(2), b.read::<f32>(3));
    let x = b.write::<f32>(4);
    let width = p.width as usize;
    x.par_chunks_mut(width)
        .zip(tokens)
        .zip(positions)
        .take(p.rows as usize)
        .filter(|((_, token), _)| (p.first_row..p.first_row + p.shard_rows).contains(token))
        .for_each(|((x, token), &position)| {
            let token = &wte[(token - p.first_row) as usize * width..][..width];
            let position = &wpe[position as usize * width..][..width];
            for ((x, token), position) in x.iter_mut().zip(token).zip(position) {
                *x = token + position;
            }
        });
}

fn backward_twin(p: &Params, mut b: Bindings) {
    let (order, segments) = (b.read::<u32>(0), b.read::<[u32; 3]>(1));
    let (dx, mut dtable) = (b.read::<f32>(2), b.write::<f32>(3));
    let width = p.width as usize;
    // The gradients of the table rows in use, in ascending order, each with its stream rows.
    let mut used = Vec::with_capacity(p.rows as usize);
    let mut next = p.first_row;
    for &[row, start, end] in &segments[p.first_segment as usize..][..p.rows as usize] {
        let (_, from_row) = dtable.split_at_mut((row - next) as usize * width);
        let (out, rest) = from_row.split_at_mut(width);
        used.push((out, &order[start as usize..end as usize]));
        (dtable, next) = (rest, row + 1);
    }
    used.into_par_iter()
        .for_each_init(Vec::new, |sum, (out, sources)| {
            sum.clear();
            sum.resize(width, 0.0);
            add_rows(dx, sources, sum, out);
        });
}

/// out `[width]` += the sum of the rows `sources` of dx `[.., width]`; `sum` is scratch for that sum.
#[multiversion(targets = "simd")]
fn add_rows(dx: &[f32], sources: &[u32], sum: &mut [f32], out: &mut [f32]) {
    for &row in sources {
        let dx = &dx[row as usize * sum.len()..];
        for (sum, &dx) in sum.iter_mut().zip(dx) {
            *sum += dx;
        }
    }
    for (out, &sum) in out.iter_mut().zip(&*sum) {
        *out += sum;
    }
}

/// Cases with few and with many rows, with a whole table and with a table in shards, with repeated tokens.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, width, vocab, cut) in [(1, 1, 1, 1), (7, 5, 11, 11), (133, 67, 50, 17)] {
        let n_positions = rows;
        cases.push(
            Case::new(format!("forward {rows}x{width} of {vocab} cut at {cut}"))
                .indices((0..rows).map(|r| ((r * r + 3 * r) % vocab) as u32))
                .indices((0..rows).map(|r| (rows - 1 - r) as u32))
                .input(cut * width, 1.0)
                .input(((vocab - cut) * width).max(1), 1.0)
                .input(n_positions * width, 1.0)
                .output(rows * width)
                .record(move |rec, b| {
                    for (wte, shard) in [(b[2], 0..cut), (b[3], cut..vocab)] {
                        forward(
                            rec,
                            &Forward {
                                tokens: b[0],
                                positions: b[1],
                                wte,
                                shard,
                                wpe: b[4],
                                x: b[5],
                                rows,
                                width,
                            },
                        );
                    }
                }),
        );
        // Runs of 1, 2, 3, … stream rows use the table rows 0, 2, 4, …; `order` lists stream rows from the back.
        let mut segments = Vec::new();
        let mut start = 0;
        while start < rows && 2 * (segments.len() / 3) < vocab {
            let end = (start + segments.len() / 3 + 1).min(rows);
            segments.extend([2 * (segments.len() / 3) as u32, start as u32, end as u32]);
            start = end;
        }
        let used = segments.len() / 3;
        let first = used / 2;
        cases.push(
            Case::new(format!("backward {rows}x{width} of {vocab}"))
                .indices((0..rows).map(|r| (rows - 1 - r) as u32))
                .indices(segments)
                .input(rows * width, 1.0)
                .inout(2 * first.max(1) * width, 1.0)
                .inout((vocab - 2 * first).max(1) * width, 1.0)
                .record(move |rec, b| {
                    let halves = [(b[3], 0..first, 0), (b[4], first..used, 2 * first)];
                    for (dtable, range, first_row) in halves {
                        backward(
                            rec,
                            &Backward {
                                order: b[0],
                                segments: b[1],
                                range,
                                dx: b[2],
                                dtable,
                                shard: first_row..vocab,
                                width,
                                rows,
                            },
                        );
                    }
                }),
        );
    }
    cases
}
