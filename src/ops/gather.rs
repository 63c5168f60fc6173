//! Picks the stream rows that predict a response token, for the head, and carries their gradient back.

use std::ops::Range;

use rayon::prelude::*;

use super::case::Case;
use crate::buffer::Buffer;
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Grid, Recording, Work};

params! {
    struct Params {
        rows: u32,
        width: u32,
        first_row: u32,
        first_head: u32,
    }
}

kernel!(FORWARD, "gather", "forward", Params, forward_twin);
kernel!(BACKWARD, "gather", "backward", Params, backward_twin);
/// The entry points of `shaders/gather.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

/// "No head row" in the inverse map of [`backward`].
pub const NONE: u32 = u32::MAX;

/// y `[heads, width]` = the rows of x `[stream rows, width]` that `sources[heads]` names.
pub fn forward(
    rec: &mut Recording,
    (x, sources, y): (Buffer, Buffer, Buffer),
    heads: Range<usize>,
    width: usize,
) {
    let params = Params {
        rows: heads.len() as u32,
        width: width as u32,
        first_row: 0,
        first_head: heads.start as u32,
    };
    let count = heads.len() * width;
    rec.push(
        &FORWARD,
        &[x, sources, y],
        params,
        Grid::Rows {
            rows: heads.len(),
            width,
        },
        Work::new(0, 2 * count + heads.len()),
    );
}

/// dx `[stream rows, width]`, rows `rows`: the sum of the (at most two) rows of dy that were taken
/// from each, which `inverse` `[stream rows, 2]` names by head row ([`NONE`] = no such row). dy's
/// first row is head row `first_head`.
pub fn backward(
    rec: &mut Recording,
    (dy, inverse, dx): (Buffer, Buffer, Buffer),
    rows: Range<usize>,
    first_head: usize,
    width: usize,
) {
    let params = Params {
        rows: rows.len() as u32,
        width: width as u32,
        first_row: rows.start as u32,
        first_head: first_head as u32,
    };
    let count = rows.len() * width;
    rec.push(
        &BACKWARD,
        &[dy, inverse, dx],
        params,
        Grid::Rows {
            rows: rows.len(),
            width,
        },
        // Most rows have one head row.
        Work::new(count as u64, 2 * count + 2 * rows.len()),
    );
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (x, sources, y) = (b.read::<f32>(0), b.read::<u32>(1), b.write::<f32>(2));
    let width = p.width as usize;
    y.par_chunks_mut(width)
        .zip(&sources[p.first_head as usize..])
        .take(p.rows as usize)
        .for_each(|(y, &row)| y.copy_from_slice(&x[row as usize * width..][..width]));
}

fn backward_twin(p: &Params, mut b: Bindings) {
    let (dy, inverse, dx) = (b.read::<f32>(0), b.read::<[u32; 2]>(1), b.write::<f32>(2));
    let (width, first_row) = (p.width as usize, p.first_row as usize);
    dx.par_chunks_mut(width)
        .zip(inverse)
        .skip(first_row)
        .take(p.rows as usize)
        .for_each(|(dx, heads)| {
            dx.fill(0.0);
            for &head in heads.iter().filter(|&&h| h != NONE) {
                let dy = &dy[(head - p.first_head) as usize * width..][..width];
                for (dx, &dy) in dx.iter_mut().zip(dy) {
                    *dx += dy;
                }
            }
        });
}

/// Chunks that begin at the stream's first row and later, rows taken never, once and twice.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, width, first_row) in [(1, 1, 0), (9, 37, 4), (65, 48, 31)] {
        // Of the chunk's rows every third is taken twice, the one after it once.
        let first_head = first_row;
        let mut sources = vec![0; first_head];
        let mut inverse = vec![[NONE; 2]; rows];
        for (row, places) in inverse.iter_mut().enumerate().skip(first_row) {
            for place in places.iter_mut().take([2, 1, 0][row % 3]) {
                *place = sources.len() as u32;
                sources.push(row as u32);
            }
        }
        let heads = first_head..sources.len();
        cases.push(
            Case::new(format!("forward {rows}x{width}"))
                .input(rows * width, 1.0)
                .indices(sources.clone())
                .output(heads.len() * width)
                .record({
                    let heads = heads.clone();
                    move |rec, b| forward(rec, (b[0], b[1], b[2]), heads.clone(), width)
                }),
        );
        cases.push(
            Case::new(format!("backward {rows}x{width} from row {first_row}"))
                .input(heads.len() * width, 1.0)
                .indices(inverse.into_iter().flatten())
                .inout(rows * width, 1.0)
                .record(move |rec, b| {
                    backward(rec, (b[0], b[1], b[2]), first_row..rows, first_head, width);
                }),
        );
    }
    cases
}
