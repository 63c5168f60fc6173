//! Matrix products: the linear layers forward and backward, and the head's logits. The epilogue of a product
//! adds bias and residual, or applies GELU or its slope, before a sum is stored.
//!
//! Weights are `[in, out]`, as GPT-2's files store them, and may be cut into row shards. A product with a shard
//! reads the matching columns of `x`; the products with all shards add up in the result.

mod cases;
mod twin;
mod variants;

use std::ops::Range;

use crate::buffer::Buffer;
use crate::kernel::{Kernel, Rate, Twin, params, twin};
use crate::recording::{Cost, Grid, Recording};
use crate::target::Precision;
use crate::wgsl::{Part, parts};

pub use cases::cases;
use twin::{EXACT, ROUNDING, bias_twin, nn_gelu_twin, nn_twin, nt_gelu_twin, plain_twin};

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
        scale: f32,
    }
}

params! {
    /// The params of [`bias`].
    struct BiasParams {
        rows: u32,
        cols: u32,
    }
}

/// A variant of a product in one pass.
const fn variant(
    entry: &'static str,
    name: &'static str,
    parts: &'static [Part],
    twin: Twin,
    rate: Rate,
) -> Kernel {
    Kernel::new("linear", entry, parts, twin)
        .with_entry_point("product")
        .with_variant(name)
        .with_rate(rate)
}

/// Declares a product with its variants. The text of each is the shared part, the variant's parts and the
/// epilogue.
macro_rules! product {
    ($(#[$doc:meta])* $name:ident, $entry:literal, $epilogue:literal, $twin:ident, $class:path) => {
        $(#[$doc])*
        pub static $name: Kernel = {
            const EXACTLY: Twin = twin!(Params, $twin::<EXACT>);
            const ROUNDED: Twin = twin!(Params, $twin::<ROUNDING>);
            static DIRECT: Kernel = variant(
                $entry, "direct", parts!["linear", "linear_direct", $epilogue], EXACTLY, variants::rate_direct,
            );
            static WIDE: Kernel = variant(
                $entry,
                "wide",
                parts!["linear", "linear_wide", "linear_ahead", $epilogue],
                EXACTLY,
                variants::rate_wide,
            );
            static LEAN: Kernel = variant(
                $entry,
                "lean",
                parts!["linear", "linear_wide", "linear_lean", $epilogue],
                EXACTLY,
                variants::rate_lean,
            );
            const SPLIT_PARTS: &[Part] =
                parts!["linear", "linear_wide", "linear_ahead", $epilogue, "linear_split"];
            static SPLIT: Kernel = Kernel::new("linear", concat!($entry, "_split"), SPLIT_PARTS, EXACTLY)
                .with_entry_point("product_split")
                .with_variant("split")
                .with_rate(variants::rate_split)
                .with_finish(&FINISH);
            static FINISH: Kernel = Kernel::new("linear", concat!($entry, "_finish"), SPLIT_PARTS, EXACTLY)
                .with_entry_point("finish_split")
                .with_variant("split");
            static MATRIX8: Kernel = variant(
                $entry,
                "matrix8",
                parts!["matrix8", "linear", "linear_matrix", "linear_matrix8", $epilogue],
                ROUNDED,
                variants::rate_matrix8,
            )
            .with_precision(Precision::Mixed);
            static MATRIX16: Kernel = variant(
                $entry,
                "matrix16",
                parts!["matrix16", "linear", "linear_matrix", "linear_matrix16", $epilogue],
                ROUNDED,
                variants::rate_matrix16,
            )
            .with_precision(Precision::Mixed);
            Kernel::new("linear", $entry, parts!["linear", "linear_tiled", $epilogue], EXACTLY)
                .with_entry_point("product")
                .with_variant("tiled")
                .with_others(&[&DIRECT, &WIDE, &LEAN, &SPLIT, &MATRIX8, &MATRIX16])
                .with_class($class)
        };
    };
}

product!(
    /// See [`nn`].
    NN, "nn", "linear_nn", nn_twin, variants::class_of_rows
);
product!(
    /// See [`nn_gelu`].
    NN_GELU, "nn_gelu", "linear_nn_gelu", nn_gelu_twin, variants::class_of_rows
);
product!(
    /// See [`nt`].
    NT, "nt", "linear_nt", plain_twin, variants::class_of_rows
);
product!(
    /// See [`nt_gelu`].
    NT_GELU, "nt_gelu", "linear_nt_gelu", nt_gelu_twin, variants::class_of_rows
);
product!(
    /// See [`tn`].
    TN, "tn", "linear_tn", plain_twin, variants::class_of_sum
);

/// A product of a single row, as in generation. Its operands are f32 in mixed precision too.
const fn row(entry: &'static str, parts: &'static [Part], twin: Twin) -> Kernel {
    Kernel::new("linear", entry, parts, twin).with_entry_point("product")
}

/// [`nn`] for a single row.
pub static NN_ROW: Kernel = row(
    "nn_row",
    parts!["linear", "linear_row", "linear_nn"],
    twin!(Params, nn_twin::<EXACT>),
);
/// [`nn_gelu`] for a single row.
pub static NN_GELU_ROW: Kernel = row(
    "nn_gelu_row",
    parts!["linear", "linear_row", "linear_nn_gelu"],
    twin!(Params, nn_gelu_twin::<EXACT>),
);
/// [`nt`] for a single row.
pub static NT_ROW: Kernel = row(
    "nt_row",
    parts!["linear", "linear_row", "linear_nt"],
    twin!(Params, plain_twin::<EXACT>),
);

/// See [`bias`].
pub static BIAS: Kernel = Kernel::new(
    "linear",
    "bias",
    parts!["linear_bias"],
    twin!(BiasParams, bias_twin),
);

/// Every kernel of this op.
pub const KERNELS: &[&Kernel] = &[
    &NN,
    &NN_GELU,
    &NT,
    &NT_GELU,
    &TN,
    &NN_ROW,
    &NN_GELU_ROW,
    &NT_ROW,
    &BIAS,
];

/// The shape of a product with one weight matrix, or with one row shard of it.
#[derive(Clone, Copy)]
pub struct Shape {
    /// Rows of x and y.
    pub rows: usize,
    /// Columns of x: the `in` of the whole weight.
    pub x_cols: usize,
    /// The first of the weight's `in` rows in this shard.
    pub first_in: usize,
    /// `in` rows of this shard.
    pub ins: usize,
    /// `out`: columns of the weight and of y.
    pub outs: usize,
}

impl Shape {
    /// The shape of a product with a whole weight `[ins, outs]`.
    pub fn whole(rows: usize, ins: usize, outs: usize) -> Self {
        Shape {
            rows,
            x_cols: ins,
            first_in: 0,
            ins,
            outs,
        }
    }

    /// The shape of a product with the rows `range` of the weight.
    pub fn shard(self, range: Range<usize>) -> Self {
        Shape {
            first_in: range.start,
            ins: range.len(),
            ..self
        }
    }

    /// The params of x · w.
    fn nn(&self, sum: Sum) -> Params {
        Params {
            rows: self.rows as u32,
            cols: self.outs as u32,
            inner: self.ins as u32,
            a_offset: self.first_in as u32,
            a_row: self.x_cols as u32,
            a_inner: 1,
            b_inner: self.outs as u32,
            b_col: 1,
            c_offset: 0,
            c_row: self.outs as u32,
            ..sum.params()
        }
    }

    /// The params of dy · wᵀ.
    fn nt(&self, sum: Sum) -> Params {
        Params {
            rows: self.rows as u32,
            cols: self.ins as u32,
            inner: self.outs as u32,
            a_offset: 0,
            a_row: self.outs as u32,
            a_inner: 1,
            b_inner: 1,
            b_col: self.outs as u32,
            c_offset: self.first_in as u32,
            c_row: self.x_cols as u32,
            ..sum.params()
        }
    }

    /// The params of xᵀ · dy.
    fn tn(&self, sum: Sum) -> Params {
        Params {
            rows: self.ins as u32,
            cols: self.outs as u32,
            inner: self.rows as u32,
            a_offset: self.first_in as u32,
            a_row: 1,
            a_inner: self.x_cols as u32,
            b_inner: self.outs as u32,
            b_col: 1,
            c_offset: 0,
            c_row: self.outs as u32,
            ..sum.params()
        }
    }
}

/// How the sums of a product enter its result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sum {
    /// Add the sums to the old content of the result.
    pub accumulate: bool,
    /// Factor of the sums alone, not of bias, residual or the old content of the result.
    pub scale: f32,
}

impl Sum {
    /// The result is overwritten.
    pub const SET: Sum = Sum {
        accumulate: false,
        scale: 1.0,
    };
    /// The sums are added to the result.
    pub const ADD: Sum = Sum {
        accumulate: true,
        scale: 1.0,
    };

    /// [`Sum::SET`] for the first of several products with one result, [`Sum::ADD`] for the others.
    pub fn first(is_first: bool) -> Sum {
        if is_first { Sum::SET } else { Sum::ADD }
    }

    fn params(self) -> Params {
        Params {
            accumulate: self.accumulate.into(),
            scale: self.scale,
            ..Params::default()
        }
    }
}

/// The operands of [`nn`].
#[derive(Clone, Copy)]
pub struct Nn {
    /// `[rows, x_cols]`.
    pub x: Buffer,
    /// `[ins, outs]`.
    pub weight: Buffer,
    /// `[outs]`, added.
    pub bias: Option<Buffer>,
    /// Laid out like `y`, added.
    pub residual: Option<Buffer>,
    /// `[first_row + rows, outs]`, written from row `first_row` on.
    pub y: Buffer,
    /// The row of `y` and `residual` that belongs to row 0 of `x`.
    pub first_row: usize,
}

/// y `[rows, outs]` (+)= scale · x `[rows, x_cols]` · weight `[ins, outs]` + bias + residual. A single row, as in
/// generation, runs [`NN_ROW`].
///
/// # Panics
/// If a buffer is shorter than the shape says: a mistake of the caller.
pub fn nn(rec: &mut Recording, op: &Nn, shape: Shape, sum: Sum) {
    let params = Params {
        c_offset: (op.first_row * shape.outs) as u32,
        has_bias: op.bias.is_some().into(),
        has_residual: op.residual.is_some().into(),
        ..shape.nn(sum)
    };
    let like_c: Vec<Buffer> = [op.y].into_iter().chain(op.residual).collect();
    // Without a bias or a residual the kernel does not read that binding, but some buffer must be bound: the
    // weight.
    let [bias, residual] = [op.bias, op.residual].map(|b| b.unwrap_or(op.weight));
    let buffers = [op.x, op.weight, bias, residual, op.y];
    let kernel = variants::or_row(&NN, &NN_ROW, &params, &buffers);
    push(rec, kernel, &buffers, &like_c, params);
}

/// The operands of [`nn_gelu`].
#[derive(Clone, Copy)]
pub struct NnGelu {
    /// `[rows, x_cols]`.
    pub x: Buffer,
    /// `[ins, outs]`.
    pub weight: Buffer,
    /// `[outs]`, added.
    pub bias: Option<Buffer>,
    /// `[rows, outs]`, written: the input of GELU.
    pub y: Buffer,
    /// `[rows, outs]`, written: gelu(y).
    pub activated: Buffer,
}

/// y (+)= scale · x · weight + bias, and activated = gelu(y). A single row runs [`NN_GELU_ROW`]. If several products add up to y, the last product
/// leaves the right values in `activated`.
///
/// # Panics
/// As [`nn`].
pub fn nn_gelu(rec: &mut Recording, op: &NnGelu, shape: Shape, sum: Sum) {
    let params = Params {
        has_bias: op.bias.is_some().into(),
        ..shape.nn(sum)
    };
    let bias = op.bias.unwrap_or(op.weight);
    let buffers = [op.x, op.weight, bias, op.y, op.activated];
    let kernel = variants::or_row(&NN_GELU, &NN_GELU_ROW, &params, &buffers);
    push(rec, kernel, &buffers, &[op.y, op.activated], params);
}

/// The operands of [`nt`].
#[derive(Clone, Copy)]
pub struct Nt {
    /// `[rows, outs]`.
    pub dy: Buffer,
    /// `[ins, outs]`.
    pub weight: Buffer,
    /// `[rows, x_cols]`, written in the shard's columns.
    pub dx: Buffer,
}

/// dx `[rows, x_cols]`, the shard's columns, (+)= scale · dy `[rows, outs]` · weight `[ins, outs]`ᵀ.
///
/// # Panics
/// As [`nn`].
pub fn nt(rec: &mut Recording, op: &Nt, shape: Shape, sum: Sum) {
    let buffers = [op.dy, op.weight, op.dx];
    push(rec, &NT, &buffers, &[op.dx], shape.nt(sum));
}

/// [`nt`], or [`NT_ROW`] for a single row. The two sum in other orders, so only generation, whose rows nobody compares
/// with others to the bit, calls it.
///
/// # Panics
/// As [`nn`].
pub fn nt_or_row(rec: &mut Recording, op: &Nt, shape: Shape, sum: Sum) {
    let (buffers, params) = ([op.dy, op.weight, op.dx], shape.nt(sum));
    let kernel = variants::or_row(&NT, &NT_ROW, &params, &buffers);
    push(rec, kernel, &buffers, &[op.dx], params);
}

/// The operands of [`nt_gelu`], for a layer whose input is gelu(wide).
#[derive(Clone, Copy)]
pub struct NtGelu {
    /// `[rows, outs]`.
    pub dy: Buffer,
    /// `[ins, outs]`.
    pub weight: Buffer,
    /// `[rows, x_cols]`.
    pub wide: Buffer,
    /// `[rows, x_cols]`, written in the shard's columns.
    pub dwide: Buffer,
    /// `[rows, x_cols]`, written in the shard's columns.
    pub activated: Buffer,
}

/// dwide = (dwide + scale · dy · weightᵀ) · gelu'(wide); the term dwide is there only if `sum` accumulates. Also
/// activated = gelu(wide), so that the forward pass need not keep it.
///
/// For a gradient that is a sum of several products, record [`nt`] into `dwide` for all products but the last,
/// and `nt_gelu` for the last product.
///
/// # Panics
/// As [`nn`].
pub fn nt_gelu(rec: &mut Recording, op: &NtGelu, shape: Shape, sum: Sum) {
    let buffers = [op.dy, op.weight, op.wide, op.dwide, op.activated];
    let like_c = [op.dwide, op.wide, op.activated];
    push(rec, &NT_GELU, &buffers, &like_c, shape.nt(sum));
}

/// The operands of [`tn`].
#[derive(Clone, Copy)]
pub struct Tn {
    /// `[rows, x_cols]`.
    pub x: Buffer,
    /// `[rows, outs]`.
    pub dy: Buffer,
    /// `[ins, outs]`, overwritten or accumulated.
    pub dw: Buffer,
}

/// dw `[ins, outs]` (+)= scale · x `[rows, x_cols]`ᵀ, the shard's columns, · dy `[rows, outs]`.
///
/// # Panics
/// As [`nn`].
pub fn tn(rec: &mut Recording, op: &Tn, shape: Shape, sum: Sum) {
    push(rec, &TN, &[op.x, op.dy, op.dw], &[op.dw], shape.tn(sum));
}

/// The operands of [`bias`].
#[derive(Clone, Copy)]
pub struct Bias {
    /// `[rows, outs]`.
    pub dy: Buffer,
    /// `[outs]`, accumulated.
    pub dbias: Buffer,
}

/// dbias `[outs]` += the column sums of dy `[rows, outs]`.
///
/// # Panics
/// As [`nn`].
pub fn bias(rec: &mut Recording, op: &Bias, shape: Shape) {
    let (rows, outs) = (shape.rows, shape.outs);
    assert!(op.dy.words >= rows * outs, "dy is shorter than its shape");
    assert!(op.dbias.words >= outs, "dbias is shorter than its shape");
    let params = BiasParams {
        rows: rows as u32,
        cols: outs as u32,
    };
    let groups = outs.div_ceil(BIAS.constant("COLUMNS") as usize);
    let grid = Grid::Groups([groups, 1, 1]);
    let work = Cost::new((rows * outs) as u64, rows * outs + 2 * outs);
    rec.push(&BIAS, &[op.dy, op.dbias], params, grid, work);
}

/// Records a product. If it needs more operations than a step may have, it becomes several steps of about equal
/// rows, and of whole tiles if they are as large as one. `like_c` is the result, and after it the buffers that are
/// laid out like the result.
fn push(
    rec: &mut Recording,
    kernel: &'static Kernel,
    buffers: &[Buffer],
    like_c: &[Buffer],
    params: Params,
) {
    if params.rows == 0 || params.cols == 0 {
        return;
    }
    check(buffers, like_c, &params);
    let row_flops = 2 * u64::from(params.cols) * u64::from(params.inner);
    let parts = (row_flops * u64::from(params.rows)).div_ceil(rec.max_step_flops());
    let size = u64::from(params.rows).div_ceil(parts.max(1)) as u32;
    let tile = kernel.constant("GROUP_ROWS");
    let size = match size < tile {
        true => size.next_multiple_of(4).max(4), // a multiple of 4: see `is_in_fours`
        false if parts > 1 => size / tile * tile,
        false => size,
    };
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
        let [rows, cols, inner] = [part.rows, part.cols, part.inner].map(|n| n as usize);
        // A result that accumulates is read and written.
        let passes = like_c.len() + part.accumulate as usize;
        let operands = rows * inner + inner * cols + part.has_bias as usize * cols;
        let work = Cost::new(
            row_flops * u64::from(part.rows),
            operands + passes * rows * cols,
        );
        rec.push(kernel, buffers, part, grid, work);
    }
}

/// Checks that every index that the shaders compute lies in its buffer, because they run without run-time
/// checks.
fn check(buffers: &[Buffer], like_c: &[Buffer], p: &Params) {
    let end = |offset: u32, strides: [u32; 2], counts: [u32; 2]| {
        let last = |i: usize| u64::from(strides[i]) * u64::from(counts[i].saturating_sub(1));
        u64::from(offset) + last(0) + last(1) + 1
    };
    let a = end(p.a_offset, [p.a_row, p.a_inner], [p.rows, p.inner]);
    let b = end(0, [p.b_inner, p.b_col], [p.inner, p.cols]);
    let c = end(p.c_offset, [p.c_row, 1], [p.rows, p.cols]);
    let bias = u64::from(p.has_bias * p.cols);
    let holds = |buffer: Buffer, words: u64, what: &str| {
        assert!(
            buffer.words as u64 >= words,
            "{what} is shorter than its shape"
        );
    };
    holds(buffers[0], a, "the left operand");
    holds(buffers[1], b, "the right operand");
    if p.has_bias != 0 {
        holds(buffers[2], bias, "the bias");
    }
    for &buffer in like_c {
        holds(buffer, c, "the result, or what is laid out like it,");
    }
}
