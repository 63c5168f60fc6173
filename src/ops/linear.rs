//! Matrix products: the linear layers forward and backward, and the head's logits. What follows or
//! precedes a product element by element is done on the way to memory: bias, residual, GELU, its slope.
//!
//! Weights are `[in, out]`, as GPT-2's files store them, and may be cut into row shards; the products
//! then take the matching columns of `x` and add up shard by shard.

use std::ops::Range;

use rayon::prelude::*;

use super::case::Case;
use crate::buffer::Buffer;
use crate::cpu::gelu::{gelu, times_gelu_slope};
use crate::cpu::matmul::{Operand, matmul};
use crate::cpu::vector::{add_rows, sum_rows};
use crate::kernel::{Bindings, Class, Kernel, kernel, params, variant};
use crate::recording::{Grid, Recording, Work};
use crate::target::{Precision, Target};

params! {
    struct Params {
        rows: u32,
        cols: u32,
        inner: u32,
        a_offset: u32,
        a_row: u32,
        a_inner: u32,
        b_inner: u32,
        b_col: u32,
        c_offset: u32,
        c_row: u32,
        accumulate: u32,
        has_bias: u32,
        has_residual: u32,
    }
}

impl Params {
    /// Words that a product reads and writes: a, b, the bias, and c and what is laid out like it, of
    /// which `others` are read or written beside it.
    fn words(&self, others: usize) -> usize {
        let [rows, cols, inner] = [self.rows, self.cols, self.inner].map(|n| n as usize);
        let passes = 1 + self.accumulate as usize + self.has_residual as usize + others;
        rows * inner + inner * cols + self.has_bias as usize * cols + passes * rows * cols
    }
}

/// Declares a product with its variants, each in a file of its own.
macro_rules! product {
    ($entry:literal, $twin:ident, $class:ident,
     $name:ident [$direct:ident, $wide:ident, $matrix8:ident, $matrix16:ident $(, $split:ident)?]) => {
        variant!($direct, "linear", "direct", $entry, Params, $twin::<EXACT>, rate_direct);
        variant!($wide, "linear", "wide", $entry, Params, $twin::<EXACT>, rate_wide);
        variant!($matrix8, "linear", "matrix8", $entry, Params, $twin::<ROUNDING>, rate_matrix8,
            Precision::Mixed, "linear_matrix");
        variant!($matrix16, "linear", "matrix16", $entry, Params, $twin::<ROUNDING>, rate_matrix16,
            Precision::Mixed, "linear_matrix");
        kernel!($name, "linear", $entry, Params, $twin::<EXACT>, "tiled",
            &[&$direct, &$wide, &$matrix8, &$matrix16 $(, &$split)?], $class);
    };
}

product!("forward", forward_twin, class_of_rows,
    FORWARD [FORWARD_DIRECT, FORWARD_WIDE, FORWARD_MATRIX8, FORWARD_MATRIX16]);
product!("forward_gelu", forward_gelu_twin, class_of_rows,
    FORWARD_GELU [FORWARD_GELU_DIRECT, FORWARD_GELU_WIDE, FORWARD_GELU_MATRIX8, FORWARD_GELU_MATRIX16]);
product!("backward_input", product_twin, class_of_rows,
    BACKWARD_INPUT [BACKWARD_INPUT_DIRECT, BACKWARD_INPUT_WIDE, BACKWARD_INPUT_MATRIX8, BACKWARD_INPUT_MATRIX16]);
product!("backward_input_gelu", backward_input_gelu_twin, class_of_rows,
    BACKWARD_INPUT_GELU [BACKWARD_INPUT_GELU_DIRECT, BACKWARD_INPUT_GELU_WIDE,
        BACKWARD_INPUT_GELU_MATRIX8, BACKWARD_INPUT_GELU_MATRIX16]);
product!("backward_weight", product_twin, class_of_sum,
    BACKWARD_WEIGHT [BACKWARD_WEIGHT_DIRECT, BACKWARD_WEIGHT_WIDE, BACKWARD_WEIGHT_MATRIX8,
        BACKWARD_WEIGHT_MATRIX16, BACKWARD_WEIGHT_SPLIT]);

kernel!(@
    BACKWARD_WEIGHT_SPLIT,
    "linear",
    ["linear_wide"],
    "backward_weight_split",
    Params,
    product_twin::<EXACT>,
    "split",
    &[],
    |_, _| [0; 3],
    rate_split,
    Some(&FINISH_BACKWARD_WEIGHT),
    Precision::F32
);
kernel!(@
    FINISH_BACKWARD_WEIGHT,
    "linear",
    ["linear_wide"],
    "finish_backward_weight",
    Params,
    product_twin::<EXACT>,
    "split",
    &[],
    |_, _| [0; 3],
    |_, _, _| None,
    None,
    Precision::F32
);
kernel!(
    BACKWARD_BIAS,
    "linear",
    "backward_bias",
    Params,
    backward_bias_twin
);
/// The entry points of `shaders/linear.wgsl`.
pub const KERNELS: &[&Kernel] = &[
    &FORWARD,
    &FORWARD_GELU,
    &BACKWARD_INPUT,
    &BACKWARD_INPUT_GELU,
    &BACKWARD_WEIGHT,
    &BACKWARD_BIAS,
];

/// Without workgroup memory, four words at a time: best where that is plain memory.
fn rate_direct(p: &Params, buffers: &[Buffer], target: &Target) -> Option<u32> {
    is_in_fours(p, buffers).then_some(if target.software { 3 } else { 1 })
}

/// With the largest tiles, four words at a time: best where enough tiles keep a GPU busy.
fn rate_wide(p: &Params, buffers: &[Buffer], target: &Target) -> Option<u32> {
    if !is_in_fours(p, buffers) {
        return None;
    }
    let result = buffers[buffers.len() - 1];
    let tiles = result.words / p.c_row as usize / WIDE_TILE * (p.cols as usize / WIDE_TILE);
    Some(match target.software {
        true => 0,
        false if tiles < BUSY_TILES => 1,
        false => 2,
    })
}

/// The same for a weight gradient with too few tiles, whose sums are cut instead; not for sums so long
/// that their parts would round more than other variants' do.
fn rate_split(p: &Params, buffers: &[Buffer], target: &Target) -> Option<u32> {
    let rows = buffers[0].words / p.a_inner.max(1) as usize;
    if !is_in_fours(p, buffers) || rows > MAX_SPLIT_ROWS {
        return None;
    }
    Some(if target.software { 0 } else { 2 })
}

/// On matrix units; the larger the better.
fn rate_matrix8(p: &Params, buffers: &[Buffer], target: &Target) -> Option<u32> {
    (is_in_fours(p, buffers) && target.multiplies_by(8)).then_some(4)
}

fn rate_matrix16(p: &Params, buffers: &[Buffer], target: &Target) -> Option<u32> {
    (is_in_fours(p, buffers) && target.multiplies_by(16)).then_some(5)
}

/// Rows and columns of outputs that a workgroup of the wide variant owns.
const WIDE_TILE: usize = 128;
/// Tiles in flight that a large GPU takes to be busy.
const BUSY_TILES: usize = 96;
const MAX_SPLIT_ROWS: usize = 8192;

/// True if vec4s of operands and results never straddle a row: of the whole product, of which this step may
/// be a part.
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

/// Products whose rows are a micro-batch's: the weight's sizes, and about how large the buffer of
/// results is.
fn class_of_rows(p: &Params, buffers: &[Buffer]) -> Class {
    [
        p.cols,
        p.inner,
        about(p, buffers, buffers[buffers.len() - 1]),
    ]
}

/// Products whose sums run over a micro-batch's rows: the weight's sizes, however many of its rows this
/// step has, and about how large the buffer of rows is.
fn class_of_sum(p: &Params, buffers: &[Buffer]) -> Class {
    let weight_rows = buffers[buffers.len() - 1].words as u32 / p.c_row;
    [weight_rows, p.cols, about(p, buffers, buffers[0])]
}

/// The magnitude of a buffer; and apart from it, what decides whether some variants can run.
fn about(p: &Params, buffers: &[Buffer], buffer: Buffer) -> u32 {
    2 * buffer.words.next_power_of_two().ilog2() + u32::from(is_in_fours(p, buffers))
}

/// One weight matrix or one row shard of it, and what it is multiplied with.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Rows of x and y.
    pub rows: usize,
    /// Columns of x: the `in` of the whole weight.
    pub x_cols: usize,
    /// First of the `in` rows in this shard.
    pub first_in: usize,
    /// `in` rows of this shard.
    pub ins: usize,
    /// `out`: columns of the weight and of y.
    pub outs: usize,
}

impl Shape {
    /// A weight `[ins, outs]` in one piece.
    pub fn whole(rows: usize, ins: usize, outs: usize) -> Self {
        Shape {
            rows,
            x_cols: ins,
            first_in: 0,
            ins,
            outs,
        }
    }

    /// The rows `range` of a weight `[ins, outs]`.
    pub fn shard(self, range: Range<usize>) -> Self {
        Shape {
            first_in: range.start,
            ins: range.len(),
            ..self
        }
    }
}

/// The operands of [`forward`] and [`forward_gelu`].
#[derive(Clone, Copy)]
pub struct Forward {
    /// `[rows, x_cols]`.
    pub x: Buffer,
    /// `[ins, outs]`.
    pub weight: Buffer,
    /// `[outs]`, added.
    pub bias: Option<Buffer>,
    /// Laid out as `y`, added; by [`forward`] only.
    pub residual: Option<Buffer>,
    /// `[.., outs]`.
    pub y: Buffer,
}

impl Forward {
    fn params(&self, shape: Shape, first_row: usize, accumulate: bool) -> Params {
        Params {
            rows: shape.rows as u32,
            cols: shape.outs as u32,
            inner: shape.ins as u32,
            a_offset: shape.first_in as u32,
            a_row: shape.x_cols as u32,
            a_inner: 1,
            b_inner: shape.outs as u32,
            b_col: 1,
            c_offset: (first_row * shape.outs) as u32,
            c_row: shape.outs as u32,
            accumulate: accumulate.into(),
            has_bias: self.bias.is_some().into(),
            has_residual: self.residual.is_some().into(),
        }
    }
}

/// y `[rows, outs]` (+)= x `[rows, x_cols]` · weight `[ins, outs]` + bias + residual, y's first row
/// being row `first_row` of its buffer.
pub fn forward(
    rec: &mut Recording,
    op: &Forward,
    shape: Shape,
    first_row: usize,
    accumulate: bool,
) {
    let params = op.params(shape, first_row, accumulate);
    // Without a bias or a residual the weight stands in for it: something must be bound, and it is not
    // read.
    let [bias, residual] = [op.bias, op.residual].map(|b| b.unwrap_or(op.weight));
    push(
        rec,
        &FORWARD,
        &[op.x, op.weight, bias, residual, op.y],
        params,
        0,
    );
}

/// The same without residual, and activated = gelu(y), laid out as y.
pub fn forward_gelu(
    rec: &mut Recording,
    op: &Forward,
    activated: Buffer,
    shape: Shape,
    accumulate: bool,
) {
    let params = op.params(shape, 0, accumulate);
    let bias = op.bias.unwrap_or(op.weight);
    push(
        rec,
        &FORWARD_GELU,
        &[op.x, op.weight, bias, op.y, activated],
        params,
        1,
    );
}

fn backward_input_params(shape: Shape, accumulate: bool) -> Params {
    Params {
        rows: shape.rows as u32,
        cols: shape.ins as u32,
        inner: shape.outs as u32,
        a_offset: 0,
        a_row: shape.outs as u32,
        a_inner: 1,
        b_inner: 1,
        b_col: shape.outs as u32,
        c_offset: shape.first_in as u32,
        c_row: shape.x_cols as u32,
        accumulate: accumulate.into(),
        ..Params::default()
    }
}

/// dx `[rows, x_cols]`, the shard's columns, (+)= dy `[rows, outs]` · w `[ins, outs]`ᵀ.
pub fn backward_input(
    rec: &mut Recording,
    (dy, w, dx): (Buffer, Buffer, Buffer),
    shape: Shape,
    accumulate: bool,
) {
    let params = backward_input_params(shape, accumulate);
    push(rec, &BACKWARD_INPUT, &[dy, w, dx], params, 0);
}

/// The operands of [`backward_input_gelu`], for a layer whose input is gelu(wide).
#[derive(Clone, Copy)]
pub struct BackwardInputGelu {
    /// `[rows, outs]`.
    pub dy: Buffer,
    /// `[ins, outs]`.
    pub weight: Buffer,
    /// `[rows, x_cols]`.
    pub wide: Buffer,
    /// `[rows, x_cols]`, written in the shard's columns.
    pub dwide: Buffer,
    /// `[rows, x_cols]`, likewise.
    pub activated: Buffer,
}

/// dwide = (dy · weightᵀ) · gelu'(wide), and activated = gelu(wide), which need not be kept from the forward
/// pass then.
pub fn backward_input_gelu(rec: &mut Recording, op: &BackwardInputGelu, shape: Shape) {
    let params = backward_input_params(shape, false);
    let buffers = [op.dy, op.weight, op.wide, op.dwide, op.activated];
    push(rec, &BACKWARD_INPUT_GELU, &buffers, params, 2);
}

/// dw `[ins, outs]` += x `[rows, x_cols]`ᵀ, the shard's columns, · dy `[rows, outs]`.
pub fn backward_weight(rec: &mut Recording, (x, dy, dw): (Buffer, Buffer, Buffer), shape: Shape) {
    let params = Params {
        rows: shape.ins as u32,
        cols: shape.outs as u32,
        inner: shape.rows as u32,
        a_offset: shape.first_in as u32,
        a_row: 1,
        a_inner: shape.x_cols as u32,
        b_inner: shape.outs as u32,
        b_col: 1,
        c_offset: 0,
        c_row: shape.outs as u32,
        accumulate: 1,
        ..Params::default()
    };
    push(rec, &BACKWARD_WEIGHT, &[x, dy, dw], params, 0);
}

/// dbias `[outs]` += the column sums of dy `[rows, outs]`.
pub fn backward_bias(rec: &mut Recording, (dy, dbias): (Buffer, Buffer), rows: usize, outs: usize) {
    let params = Params {
        rows: rows as u32,
        cols: outs as u32,
        ..Params::default()
    };
    let groups = outs.div_ceil(BACKWARD_BIAS.constant("COLUMNS") as usize);
    let grid = Grid::Groups([groups, 1, 1]);
    rec.push(
        &BACKWARD_BIAS,
        &[dy, dbias],
        params,
        grid,
        Work::new((rows * outs) as u64, rows * outs + 2 * outs),
    );
}

/// Records a product; where it is more work than one step may be, as several of about equal rows (a
/// last row alone would be summed in another order on the CPU, and be off by a rounding). So many of the
/// buffers are laid out as c and read or written `beside` it, a residual left out.
fn push(
    rec: &mut Recording,
    kernel: &'static Kernel,
    buffers: &[Buffer],
    params: Params,
    beside: usize,
) {
    let row_flops = 2 * u64::from(params.cols) * u64::from(params.inner);
    let parts = (row_flops * u64::from(params.rows)).div_ceil(rec.max_step_flops);
    let size = u64::from(params.rows).div_ceil(parts.max(1)) as u32;
    let size = size.next_multiple_of(4).max(4); // in fours: see `is_in_fours`
    for first in (0..params.rows).step_by(size as usize) {
        let part = Params {
            rows: size.min(params.rows - first),
            a_offset: params.a_offset + first * params.a_row,
            c_offset: params.c_offset + first * params.c_row,
            ..params
        };
        let grid = Grid::Matrix {
            rows: part.rows as usize,
            cols: part.cols as usize,
        };
        let work = Work::new(row_flops * u64::from(part.rows), part.words(beside));
        rec.push(kernel, buffers, part, grid, work);
    }
}

/// c = residual + bias + a · b, or the same added to what c holds.
fn forward_twin<const ROUNDS: bool>(p: &Params, mut b: Bindings) {
    let (x, weight, bias) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<f32>(2));
    let (residual, y) = (b.read::<f32>(3), b.write::<f32>(4));
    start(p, bias, (p.has_residual != 0).then_some(residual), y);
    multiply::<ROUNDS>(p, x, weight, y);
}

fn forward_gelu_twin<const ROUNDS: bool>(p: &Params, mut b: Bindings) {
    let (x, weight, bias) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<f32>(2));
    let (y, activated) = (b.write::<f32>(3), b.write::<f32>(4));
    start(p, bias, None, y);
    multiply::<ROUNDS>(p, x, weight, y);
    let cells = rows_of(p, activated).zip(rows_of(p, y));
    cells.for_each(|(activated, y)| gelu(y, activated));
}

fn backward_input_gelu_twin<const ROUNDS: bool>(p: &Params, mut b: Bindings) {
    let (dy, weight, wide) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<f32>(2));
    let (dwide, activated) = (b.write::<f32>(3), b.write::<f32>(4));
    multiply::<ROUNDS>(p, dy, weight, dwide);
    let wide = wide[p.c_offset as usize..].par_chunks(p.c_row as usize);
    let cells = rows_of(p, dwide).zip(rows_of(p, activated)).zip(wide);
    cells.for_each(|((dwide, activated), wide)| {
        gelu(wide, activated);
        times_gelu_slope(wide, dwide);
    });
}

fn product_twin<const ROUNDS: bool>(p: &Params, mut b: Bindings) {
    multiply::<ROUNDS>(p, b.read::<f32>(0), b.read::<f32>(1), b.write::<f32>(2));
}

/// The rows of the result `[rows, cols]` in c.
fn rows_of<'a>(p: &Params, c: &'a mut [f32]) -> impl IndexedParallelIterator<Item = &'a mut [f32]> {
    let cols = p.cols as usize;
    c[p.c_offset as usize..]
        .par_chunks_mut(p.c_row as usize)
        .take(p.rows as usize)
        .map(move |row| &mut row[..cols])
}

/// Puts bias and residual where the product is then added.
fn start(p: &Params, bias: &[f32], residual: Option<&[f32]>, c: &mut [f32]) {
    let (offset, c_row) = (p.c_offset as usize, p.c_row as usize);
    let bias = (p.has_bias != 0).then_some(bias);
    if bias.is_none() && residual.is_none() {
        return;
    }
    rows_of(p, c).enumerate().for_each(|(r, row)| {
        if p.accumulate == 0 {
            row.fill(0.0);
        }
        let residual = residual.map(|values| &values[offset + r * c_row..]);
        for values in [bias, residual].into_iter().flatten() {
            for (out, value) in row.iter_mut().zip(values) {
                *out += value;
            }
        }
    });
}

/// Twins compute in f32, or as matrix units do: with each operand rounded to the nearest f16.
const EXACT: bool = false;
const ROUNDING: bool = true;

fn multiply<const ROUNDS: bool>(p: &Params, a: &[f32], b: &[f32], c: &mut [f32]) {
    if ROUNDS {
        let round = |v: &f32| half::f16::from_f32(*v).to_f32();
        let [a, b] = [a, b].map(|v| v.par_iter().map(round).collect::<Vec<f32>>());
        return multiply::<EXACT>(p, &a, &b, c);
    }
    matmul(
        [p.rows as usize, p.cols as usize, p.inner as usize],
        Operand::new(&a[p.a_offset as usize..], p.a_row, p.a_inner),
        Operand::new(b, p.b_inner, p.b_col),
        &mut c[p.c_offset as usize..],
        p.c_row as usize,
        p.accumulate != 0 || p.has_bias != 0 || p.has_residual != 0,
    );
}

fn backward_bias_twin(p: &Params, mut b: Bindings) {
    let (dy, dbias) = (b.read::<f32>(0), b.write::<f32>(1));
    let cols = p.cols as usize;
    let sums = sum_rows(p.rows as usize, cols, |rows, sums| {
        add_rows(&dy[rows.start * cols..rows.end * cols], sums);
    });
    for (out, sum) in dbias.iter_mut().zip(sums) {
        *out += sum as f32;
    }
}

/// Sizes one under and one over the tiles, weights whole and as the second of two shards; sizes in fours,
/// which some variants ask for, and longer than the blocks that sums run in.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, ins, outs, first_in) in [
        (1, 1, 1, 0),
        (3, 7, 9, 0),
        (3, 7, 9, 2),
        (33, 129, 65, 0),
        (33, 129, 65, 43),
        (65, 300, 257, 0),
        (65, 300, 257, 100),
        (130, 260, 132, 0),
        (67, 136, 132, 4),
        (5, 1100, 12, 0),
        (9, 8, 1100, 0),
        (1100, 12, 8, 0),
    ] {
        let shape = Shape::whole(rows, ins, outs).shard(first_in..ins);
        forward_cases(&mut cases, shape);
        backward_cases(&mut cases, shape);
    }
    cases
}

fn label(shape: Shape) -> String {
    let Shape {
        rows,
        x_cols,
        first_in,
        outs,
        ..
    } = shape;
    format!("{rows}x{x_cols}x{outs} from {first_in}")
}

/// A shard that is not the first adds to what the others left.
fn result(case: Case, count: usize, shape: Shape) -> Case {
    match shape.first_in {
        0 => case.output(count),
        _ => case.inout(count, 1.0),
    }
}

fn forward_cases(cases: &mut Vec<Case>, shape: Shape) {
    let (accumulate, first_row) = (shape.first_in > 0, shape.first_in);
    let y = (first_row + shape.rows) * shape.outs;
    let operands = |what: &str| {
        Case::new(format!("{what} {}", label(shape)))
            .input(shape.rows * shape.x_cols, 1.0)
            .input(shape.ins * shape.outs, 1.0)
            .input(shape.outs, 1.0)
    };
    let op = |b: &[Buffer], residual: Option<Buffer>, y: Buffer| Forward {
        x: b[0],
        weight: b[1],
        bias: Some(b[2]),
        residual,
        y,
    };
    cases.push(result(operands("forward"), y, shape).record(move |rec, b| {
        forward(rec, &op(b, None, b[3]), shape, first_row, accumulate);
    }));
    cases.push(
        result(operands("forward with residual").input(y, 1.0), y, shape).record(move |rec, b| {
            forward(rec, &op(b, Some(b[3]), b[4]), shape, first_row, accumulate);
        }),
    );
    let plain = result(operands("forward without bias"), y, shape);
    cases.push(plain.record(move |rec, b| {
        let op = Forward {
            bias: None,
            ..op(b, None, b[3])
        };
        forward(rec, &op, shape, first_row, accumulate);
    }));
    let count = shape.rows * shape.outs;
    cases.push(
        result(operands("forward_gelu"), count, shape)
            .output(count)
            .record(move |rec, b| {
                forward_gelu(rec, &op(b, None, b[3]), b[4], shape, accumulate);
            }),
    );
}

fn backward_cases(cases: &mut Vec<Case>, shape: Shape) {
    let (rows, outs) = (shape.rows, shape.outs);
    let (x, weight, dy) = (rows * shape.x_cols, shape.ins * outs, rows * outs);
    let case = |what: &str| Case::new(format!("{what} {}", label(shape)));
    let input = case("backward_input").input(dy, 1.0).input(weight, 1.0);
    cases.push(result(input, x, shape).record(move |rec, b| {
        backward_input(rec, (b[0], b[1], b[2]), shape, shape.first_in > 0);
    }));
    let gelu = case("backward_input_gelu")
        .input(dy, 1.0)
        .input(weight, 1.0);
    // Far out, where tanh overflows on some drivers; but not alone: 1e-30 and 0 are as good there.
    let amplitude = if x > 1 { 30.0 } else { 3.0 };
    cases.push(
        gelu.input(x, amplitude)
            .output(x)
            .output(x)
            .record(move |rec, b| {
                let op = BackwardInputGelu {
                    dy: b[0],
                    weight: b[1],
                    wide: b[2],
                    dwide: b[3],
                    activated: b[4],
                };
                backward_input_gelu(rec, &op, shape);
            }),
    );
    cases.push(
        case("backward_weight")
            .input(x, 1.0)
            .input(dy, 1.0)
            .inout(weight, 1.0)
            .record(move |rec, b| backward_weight(rec, (b[0], b[1], b[2]), shape)),
    );
    cases.push(
        case("backward_bias")
            .input(dy, 1.0)
            .inout(outs, 1.0)
            .record(move |rec, b| backward_bias(rec, (b[0], b[1]), rows, outs)),
    );
}
