//! Gathers the stream rows that predict a response token into head rows, and carries the gradients of the
//! head rows back to the stream rows.

use std::ops::Range;

use rayon::prelude::*;

use super::case::Case;
use crate::batch::NONE;
use crate::buffer::Buffer;
use crate::kernel::{Bindings, Kernel, params, twin};
use crate::recording::{Cost, Grid, Recording};
use crate::wgsl::parts;

params! {
    struct Params {
        rows: u32,
        width: u32,
        first_row: u32,
        first_head: u32,
    }
}

/// `forward` of `shaders/gather.wgsl`.
pub static FORWARD: Kernel = Kernel::new(
    "gather",
    "forward",
    parts!["gather"],
    twin!(Params, forward_twin),
);
/// `backward` of `shaders/gather.wgsl`.
pub static BACKWARD: Kernel = Kernel::new(
    "gather",
    "backward",
    parts!["gather"],
    twin!(Params, backward_twin),
);
/// The entry points of `shaders/gather.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

/// The operands of [`forward`].
#[derive(Clone, Copy)]
pub struct Forward {
    /// `[stream rows, width]`.
    pub x: Buffer,
    /// `[head rows]`: the stream row of each head row.
    pub sources: Buffer,
    /// `[heads, width]`, written.
    pub y: Buffer,
}

/// The operands of [`backward`].
#[derive(Clone, Copy)]
pub struct Backward {
    /// `[heads, width]`: the gradient of [`Forward::y`].
    pub dy: Buffer,
    /// `[stream rows, 2]`: the head rows of each stream row, two at most; the other places hold [`NONE`].
    pub inverse: Buffer,
    /// `[stream rows, width]`, written in the rows of the chunk.
    pub dx: Buffer,
    /// The head row that row 0 of `dy` belongs to.
    pub first_head: usize,
}

/// y `[heads, width]` = the rows of x `[stream rows, width]` that `sources[heads]` names.
pub fn forward(rec: &mut Recording, op: &Forward, heads: Range<usize>, width: usize) {
    let params = Params {
        rows: heads.len() as u32,
        width: width as u32,
        first_row: 0,
        first_head: heads.start as u32,
    };
    let count = heads.len() * width;
    rec.push(
        &FORWARD,
        &[op.x, op.sources, op.y],
        params,
        Grid::Rows {
            rows: heads.len(),
            width,
        },
        Cost::new(0, 2 * count + heads.len()),
    );
}

/// Writes the rows `rows` of dx. Each row is the sum of the rows of dy, two at most, whose head rows came from
/// that stream row.
pub fn backward(rec: &mut Recording, op: &Backward, rows: Range<usize>, width: usize) {
    let params = Params {
        rows: rows.len() as u32,
        width: width as u32,
        first_row: rows.start as u32,
        first_head: op.first_head as u32,
    };
    let count = rows.len() * width;
    rec.push(
        &BACKWARD,
        &[op.dy, op.inverse, op.dx],
        params,
        Grid::Rows {
            rows: rows.len(),
            width,
        },
        // The cost counts one head row for each stream row, which is right for most rows.
        Cost::new(count as u64, 2 * count + 2 * rows.len()),
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

/// Cases of chunks that begin at the stream's first row and at a later row, with stream rows that have no
/// head row, one and two.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, width, first_row) in [(1, 1, 0), (9, 37, 4), (65, 48, 31)] {
        // Of three neighbouring rows of the chunk the first has two head rows, the second one, the third none.
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
                    move |rec, b| {
                        let op = Forward {
                            x: b[0],
                            sources: b[1],
                            y: b[2],
                        };
                        forward(rec, &op, heads.clone(), width);
                    }
                }),
        );
        cases.push(
            Case::new(format!("backward {rows}x{width} from row {first_row}"))
                .input(heads.len() * width, 1.0)
                .indices(inverse.into_iter().flatten())
                .inout(rows * width, 1.0)
                .record(move |rec, b| {
                    let op = Backward {
                        dy: b[0],
                        inverse: b[1],
                        dx: b[2],
                        first_head,
                    };
                    backward(rec, &op, first_row..rows, width);
                }),
        );
    }
    cases
}
