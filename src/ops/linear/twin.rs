//! The CPU twins of the products.

use rayon::prelude::*;

use super::{BiasParams, Params};
use crate::cpu::gelu::{gelu, gelu_and_slope};
use crate::cpu::matmul::{Operand, matmul};
use crate::cpu::vector::{add_rows, sum_rows};
use crate::kernel::Bindings;

/// The operands of a twin's products: f32 as they are, or rounded to the nearest f16 as for matrix units.
pub(super) const EXACT: bool = false;
pub(super) const ROUNDING: bool = true;

/// c (+)= bias + residual + scale · a · b.
pub(super) fn nn_twin<const ROUNDS: bool>(p: &Params, mut b: Bindings) {
    let (x, weight, bias) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<f32>(2));
    let (residual, y) = (b.read::<f32>(3), b.write::<f32>(4));
    let bias = (p.has_bias != 0).then_some(bias);
    let residual = (p.has_residual != 0).then_some(residual);
    start(p, bias, residual, y);
    let started = bias.is_some() || residual.is_some();
    multiply::<ROUNDS>(p, x, weight, y, p.accumulate != 0 || started);
}

pub(super) fn nn_gelu_twin<const ROUNDS: bool>(p: &Params, mut b: Bindings) {
    let (x, weight, bias) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<f32>(2));
    let (y, activated) = (b.write::<f32>(3), b.write::<f32>(4));
    multiply::<ROUNDS>(p, x, weight, y, p.accumulate != 0);
    let bias = (p.has_bias != 0).then_some(bias);
    let cells = rows_of(p, activated).zip(rows_of(p, y));
    cells.for_each(|(activated, y)| {
        // The row comes into the cache once, for its bias and for gelu.
        if let Some(bias) = bias {
            add(bias, y);
        }
        gelu(y, activated);
    });
}

/// dwide = (dwide + scale · dy · weightᵀ) · gelu'(wide), the term dwide only if the product accumulates; and
/// activated = gelu(wide).
pub(super) fn nt_gelu_twin<const ROUNDS: bool>(p: &Params, mut b: Bindings) {
    let (dy, weight, wide) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<f32>(2));
    let (dwide, activated) = (b.write::<f32>(3), b.write::<f32>(4));
    multiply::<ROUNDS>(p, dy, weight, dwide, p.accumulate != 0);
    let wide = wide[p.c_offset as usize..].par_chunks(p.c_row as usize);
    let cells = rows_of(p, dwide).zip(rows_of(p, activated)).zip(wide);
    cells.for_each(|((dwide, activated), wide)| gelu_and_slope(wide, activated, dwide));
}

/// c (+)= scale · a · b.
pub(super) fn plain_twin<const ROUNDS: bool>(p: &Params, mut b: Bindings) {
    let (left, right, c) = (b.read::<f32>(0), b.read::<f32>(1), b.write::<f32>(2));
    multiply::<ROUNDS>(p, left, right, c, p.accumulate != 0);
}

/// The rows of the result `[rows, cols]` in c.
fn rows_of<'a>(p: &Params, c: &'a mut [f32]) -> impl IndexedParallelIterator<Item = &'a mut [f32]> {
    let cols = p.cols as usize;
    c[p.c_offset as usize..]
        .par_chunks_mut(p.c_row as usize)
        .take(p.rows as usize)
        .map(move |row| &mut row[..cols])
}

/// Writes bias and residual to the result, so that the product can be added to them.
fn start(p: &Params, bias: Option<&[f32]>, residual: Option<&[f32]>, c: &mut [f32]) {
    if bias.is_none() && residual.is_none() {
        return;
    }
    let (offset, c_row) = (p.c_offset as usize, p.c_row as usize);
    rows_of(p, c).enumerate().for_each(|(r, row)| {
        if p.accumulate == 0 {
            row.fill(0.0);
        }
        let residual = residual.map(|values| &values[offset + r * c_row..]);
        for values in [bias, residual].into_iter().flatten() {
            add(values, row);
        }
    });
}

/// row += values.
fn add(values: &[f32], row: &mut [f32]) {
    for (out, value) in row.iter_mut().zip(values) {
        *out += value;
    }
}

/// c (+)= scale · a · b.
fn multiply<const ROUNDS: bool>(p: &Params, a: &[f32], b: &[f32], c: &mut [f32], accumulate: bool) {
    if ROUNDS {
        let round = |v: &f32| half::f16::from_f32(*v).to_f32();
        let [a, b] = [a, b].map(|v| v.par_iter().map(round).collect::<Vec<f32>>());
        return multiply::<EXACT>(p, &a, &b, c, accumulate);
    }
    matmul(
        [p.rows as usize, p.cols as usize, p.inner as usize],
        p.scale,
        Operand::new(&a[p.a_offset as usize..], p.a_row, p.a_inner),
        Operand::new(b, p.b_inner, p.b_col),
        &mut c[p.c_offset as usize..],
        p.c_row as usize,
        accumulate,
    );
}

pub(super) fn bias_twin(p: &BiasParams, mut b: Bindings) {
    let (dy, dbias) = (b.read::<f32>(0), b.write::<f32>(1));
    let cols = p.cols as usize;
    let sums = sum_rows(p.rows as usize, cols, |rows, sums| {
        add_rows(&dy[rows.start * cols..rows.end * cols], sums);
    });
    for (out, sum) in dbias.iter_mut().zip(sums) {
        *out += sum as f32;
    }
}
