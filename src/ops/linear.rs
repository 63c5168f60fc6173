//! Matrix products: the linear layers forward and backward, and the head's logits.
//!
//! Weights are `[in, out]`, as GPT-2's files store them, and may be cut into row shards; the products
//! then take the matching columns of `x` and add up shard by shard.

use std::ops::Range;

use super::case::Case;
use crate::cpu::matmul::{Operand, matmul};
use crate::kernel::{Bindings, Kernel, kernel, params};
use crate::recording::{Buffer, Grid, MAX_STEP_FLOPS, Recording, Work};

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
    }
}

impl Params {
    /// Words that a product reads and writes: a, b, the bias, and c once or twice.
    fn words(&self) -> usize {
        let [rows, cols, inner] = [self.rows, self.cols, self.inner].map(|n| n as usize);
        let (biases, passes) = (self.has_bias as usize, 1 + self.accumulate as usize);
        rows * inner + inner * cols + biases * cols + passes * rows * cols
    }
}

kernel!(
    FORWARD_DIRECT,
    "linear",
    "linear_direct",
    "forward",
    Params,
    product_twin,
    None
);
kernel!(
    BACKWARD_INPUT_DIRECT,
    "linear",
    "linear_direct",
    "backward_input",
    Params,
    product_twin,
    None
);
kernel!(
    BACKWARD_WEIGHT_DIRECT,
    "linear",
    "linear_direct",
    "backward_weight",
    Params,
    product_twin,
    None
);
kernel!(
    FORWARD,
    "linear",
    "linear",
    "forward",
    Params,
    product_twin,
    Some(&FORWARD_DIRECT)
);
kernel!(
    BACKWARD_INPUT,
    "linear",
    "linear",
    "backward_input",
    Params,
    product_twin,
    Some(&BACKWARD_INPUT_DIRECT)
);
kernel!(
    BACKWARD_WEIGHT,
    "linear",
    "linear",
    "backward_weight",
    Params,
    product_twin,
    Some(&BACKWARD_WEIGHT_DIRECT)
);
kernel!(
    BACKWARD_BIAS,
    "linear",
    "backward_bias",
    Params,
    backward_bias_twin
);
/// The entry points of `shaders/linear.wgsl`.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD_INPUT, &BACKWARD_WEIGHT, &BACKWARD_BIAS];

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

/// y `[rows, outs]` (+)= x `[rows, x_cols]` · w `[ins, outs]` + bias `[outs]`, y's first row being
/// row `first_row` of its buffer.
pub fn forward(
    rec: &mut Recording,
    (x, w, bias, y): (Buffer, Buffer, Option<Buffer>, Buffer),
    shape: Shape,
    first_row: usize,
    accumulate: bool,
) {
    let params = Params {
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
        has_bias: bias.is_some().into(),
    };
    // Without a bias the weight stands in for it: something must be bound, and it is not read.
    push(rec, &FORWARD, [x, w, bias.unwrap_or(w), y], params);
}

/// dx `[rows, x_cols]`, the shard's columns, (+)= dy `[rows, outs]` · w `[ins, outs]`ᵀ.
pub fn backward_input(
    rec: &mut Recording,
    (dy, w, dx): (Buffer, Buffer, Buffer),
    shape: Shape,
    accumulate: bool,
) {
    let params = Params {
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
        has_bias: 0,
    };
    push(rec, &BACKWARD_INPUT, [dy, w, w, dx], params);
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
        has_bias: 0,
    };
    push(rec, &BACKWARD_WEIGHT, [x, dy, dy, dw], params);
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
/// last row alone would be summed in another order on the CPU, and be off by a rounding).
fn push(rec: &mut Recording, kernel: &'static Kernel, buffers: [Buffer; 4], params: Params) {
    let row_flops = 2 * u64::from(params.cols) * u64::from(params.inner);
    let parts = (row_flops * u64::from(params.rows)).div_ceil(MAX_STEP_FLOPS);
    let size = u64::from(params.rows).div_ceil(parts.max(1)) as u32;
    for first in (0..params.rows).step_by(size.max(1) as usize) {
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
        let work = Work::new(row_flops * u64::from(part.rows), part.words());
        rec.push(kernel, &buffers, part, grid, work);
    }
}

fn product_twin(p: &Params, mut b: Bindings) {
    let (a, w, bias) = (b.read::<f32>(0), b.read::<f32>(1), b.read::<f32>(2));
    let c = &mut b.write::<f32>(3)[p.c_offset as usize..];
    let (rows, cols, c_row) = (p.rows as usize, p.cols as usize, p.c_row as usize);
    if p.has_bias != 0 {
        for row in c.chunks_mut(c_row).take(rows) {
            for (out, &bias) in row[..cols].iter_mut().zip(bias) {
                *out = bias + if p.accumulate != 0 { *out } else { 0.0 };
            }
        }
    }
    matmul(
        [rows, cols, p.inner as usize],
        Operand::new(&a[p.a_offset as usize..], p.a_row, p.a_inner),
        Operand::new(w, p.b_inner, p.b_col),
        c,
        c_row,
        p.accumulate != 0 || p.has_bias != 0,
    );
}

fn backward_bias_twin(p: &Params, mut b: Bindings) {
    let (dy, dbias) = (b.read::<f32>(0), b.write::<f32>(1));
    let cols = p.cols as usize;
    let mut sums = vec![0.0_f64; cols];
    for row in dy.chunks_exact(cols).take(p.rows as usize) {
        for (sum, &g) in sums.iter_mut().zip(row) {
            *sum += f64::from(g);
        }
    }
    for (out, sum) in dbias.iter_mut().zip(sums) {
        *out += sum as f32;
    }
}

/// Sizes one under and one over the tiles, weights whole and as the second of two shards.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes = [
        (1, 1, 1),
        (3, 7, 9),
        (33, 129, 65),
        (31, 127, 63),
        (65, 300, 257),
    ];
    for (rows, ins, outs) in shapes {
        for first_in in [0, ins / 3].into_iter().take(ins) {
            let shape = Shape::whole(rows, ins, outs).shard(first_in..ins);
            let label = format!("{rows}x{ins}x{outs} from {first_in}");
            let weight = shape.ins * outs;
            let accumulate = first_in > 0;
            let first_row = first_in;
            let y = |case: Case| match accumulate {
                true => case.inout((first_row + rows) * outs, 1.0),
                false => case.output((first_row + rows) * outs),
            };
            cases.push(
                y(Case::new(format!("forward {label}"))
                    .input(rows * ins, 1.0)
                    .input(weight, 1.0)
                    .input(outs, 1.0))
                .record(move |rec, b| {
                    let bias = Some(b[2]);
                    forward(rec, (b[0], b[1], bias, b[3]), shape, first_row, accumulate);
                }),
            );
            cases.push(
                Case::new(format!("forward {label} without bias"))
                    .input(rows * ins, 1.0)
                    .input(weight, 1.0)
                    .output(rows * outs)
                    .record(move |rec, b| {
                        forward(rec, (b[0], b[1], None, b[2]), shape, 0, false);
                    }),
            );
            let dx = Case::new(format!("backward_input {label}"))
                .input(rows * outs, 1.0)
                .input(weight, 1.0);
            let dx = match accumulate {
                true => dx.inout(rows * ins, 1.0),
                false => dx.output(rows * ins),
            };
            cases.push(dx.record(move |rec, b| {
                backward_input(rec, (b[0], b[1], b[2]), shape, accumulate);
            }));
            cases.push(
                Case::new(format!("backward_weight {label}"))
                    .input(rows * ins, 1.0)
                    .input(rows * outs, 1.0)
                    .inout(weight, 1.0)
                    .record(move |rec, b| backward_weight(rec, (b[0], b[1], b[2]), shape)),
            );
        }
        cases.push(
            Case::new(format!("backward_bias {rows}x{outs}"))
                .input(rows * outs, 1.0)
                .inout(outs, 1.0)
                .record(move |rec, b| backward_bias(rec, (b[0], b[1]), rows, outs)),
        );
    }
    cases
}
