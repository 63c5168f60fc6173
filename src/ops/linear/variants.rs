//! The variants of a product: which of them can run for a step, their ranks, and the classes of steps that run
//! the same variant.

use super::Params;
use crate::buffer::Buffer;
use crate::kernel::{Class, Kernel};
use crate::target::Target;

/// The kernel for a single row where the product is one, in vec4s; otherwise the product's own.
pub(super) fn or_row(
    own: &'static Kernel,
    row: &'static Kernel,
    p: &Params,
    buffers: &[Buffer],
) -> &'static Kernel {
    match p.rows == 1 && is_in_fours(p, buffers) {
        true => row,
        false => own,
    }
}

/// Rates the variant without workgroup memory, in vec4s: highest on software devices. It does not run on a GPU,
/// where it needs more registers than there are: some drivers cannot even compile it.
pub(super) fn rate_direct(params: &[u8], buffers: &[Buffer], target: &Target) -> Option<u32> {
    let p = Params::of(params);
    (target.software && is_in_fours(&p, buffers)).then_some(3)
}

/// Rates the variant with the largest tiles, in vec4s: higher if the product has enough tiles to keep a GPU busy.
pub(super) fn rate_wide(params: &[u8], buffers: &[Buffer], target: &Target) -> Option<u32> {
    let p = Params::of(params);
    is_in_fours(&p, buffers).then_some(match target.software {
        true => 0,
        false if tiles(&p, buffers) < BUSY_TILES => 1,
        false => 3,
    })
}

/// Rates the wide variant with few registers, for the GPUs on which those of the wide one spill: only a measurement
/// takes it.
pub(super) fn rate_lean(params: &[u8], buffers: &[Buffer], target: &Target) -> Option<u32> {
    let p = Params::of(params);
    is_in_fours(&p, buffers).then_some(if target.software { 0 } else { 1 })
}

/// Rates split-K, for products with few tiles. With short sums it is not measured, because it does not pay.
pub(super) fn rate_split(params: &[u8], buffers: &[Buffer], target: &Target) -> Option<u32> {
    let p = Params::of(params);
    let sum = match p.a_row {
        1 => buffers[0].words / p.a_inner.max(1) as usize, // a weight gradient sums over the rows of a micro-batch
        _ => p.inner as usize,
    };
    let runs = is_in_fours(&p, buffers) && tiles(&p, buffers) <= MAX_SPLIT_TILES;
    let pays = !target.software && sum >= MIN_SPLIT_SUM;
    runs.then_some(if pays { 2 } else { 0 })
}

/// The tiles of the wide variant in the whole result.
fn tiles(p: &Params, buffers: &[Buffer]) -> usize {
    let result = buffers[buffers.len() - 1];
    let rows = result.words / p.c_row as usize;
    rows.div_ceil(WIDE_ROWS) * (p.cols as usize).div_ceil(WIDE_COLS)
}

/// Rates the variants on matrix units; larger matrices rate higher.
pub(super) fn rate_matrix8(params: &[u8], buffers: &[Buffer], target: &Target) -> Option<u32> {
    let p = Params::of(params);
    (is_in_fours(&p, buffers) && target.multiplies_by(8)).then_some(4)
}

pub(super) fn rate_matrix16(params: &[u8], buffers: &[Buffer], target: &Target) -> Option<u32> {
    let p = Params::of(params);
    (is_in_fours(&p, buffers) && target.multiplies_by(16)).then_some(5)
}

/// Rows and columns of outputs that a workgroup of the wide variant owns.
const WIDE_ROWS: usize = 64;
const WIDE_COLS: usize = 128;
/// The number of tiles that keeps a large GPU busy.
const BUSY_TILES: usize = 192;
/// The most tiles with which split-K pays. It also bounds the partial sums.
const MAX_SPLIT_TILES: usize = 320;
/// The shortest sum with which split-K pays.
const MIN_SPLIT_SUM: usize = 512;

/// True if no vec4 of an operand or a result straddles the end of a row. A step may be a part of a product; the
/// answer is about the whole product.
fn is_in_fours(p: &Params, buffers: &[Buffer]) -> bool {
    let rows = buffers[buffers.len() - 1].words as u32 / p.c_row;
    let a_dense = if p.a_inner == 1 { p.inner } else { rows };
    let b_dense = if p.b_inner == 1 { p.inner } else { p.cols };
    let strides = [p.a_row.max(p.a_inner), p.b_col.max(p.b_inner), p.c_row];
    let sizes = [a_dense, b_dense, p.cols, p.a_offset, p.c_offset];
    (p.a_row == 1 || p.a_inner == 1)
        && (p.b_col == 1 || p.b_inner == 1)
        && strides.iter().chain(&sizes).all(|n| n % 4 == 0)
}

/// The class of a product whose result has one row for each row of a micro-batch: columns, inner length, and the
/// size class of the result's buffer.
pub(super) fn class_of_rows(params: &[u8], buffers: &[Buffer]) -> Class {
    let p = Params::of(params);
    let size = size_class(&p, buffers, buffers[buffers.len() - 1]);
    [p.cols, p.inner, size]
}

/// The class of a product whose sums run over the rows of a micro-batch: the weight's rows (all of them, even if
/// the step has a part), the columns, and the size class of the left operand's buffer.
pub(super) fn class_of_sum(params: &[u8], buffers: &[Buffer]) -> Class {
    let p = Params::of(params);
    let weight_rows = buffers[buffers.len() - 1].words as u32 / p.c_row;
    [weight_rows, p.cols, size_class(&p, buffers, buffers[0])]
}

/// The exponent of the power of two to which a buffer's size rounds up, combined with whether the product is in
/// vec4s, which decides the variants that can run.
fn size_class(p: &Params, buffers: &[Buffer], buffer: Buffer) -> u32 {
    2 * buffer.words.next_power_of_two().ilog2() + u32::from(is_in_fours(p, buffers))
}
