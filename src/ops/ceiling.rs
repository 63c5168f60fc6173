//! The ceilings of a device: multiply-adds that touch no memory, a copy that computes nothing, and products on
//! matrix units. Training does not use these kernels: [`crate::ceilings`] measures with them the rates with
//! which benchmarks compare the other kernels.

use rayon::prelude::*;

use super::case::Case;
use crate::buffer::Buffer;
use crate::kernel::{Bindings, Kernel, params, twin};
use crate::recording::{Cost, Grid, Recording};
use crate::target::Precision;
use crate::wgsl::parts;

params! {
    struct Params {
        count: u32,
        rounds: u32,
        side: u32,
    }
}

/// 16 sums a lane: see [`multiply_add`].
pub static MULTIPLY_ADD_16: Kernel = Kernel::new(
    "ceiling",
    "multiply_add_16",
    parts!["ceiling"],
    twin!(Params, multiply_add_twin::<16>),
);
/// 24 sums a lane: see [`multiply_add`].
pub static MULTIPLY_ADD_24: Kernel = Kernel::new(
    "ceiling",
    "multiply_add_24",
    parts!["ceiling"],
    twin!(Params, multiply_add_twin::<24>),
);
/// 32 sums a lane: see [`multiply_add`].
pub static MULTIPLY_ADD_32: Kernel = Kernel::new(
    "ceiling",
    "multiply_add_32",
    parts!["ceiling"],
    twin!(Params, multiply_add_twin::<32>),
);
/// See [`copy`].
pub static COPY: Kernel = Kernel::new(
    "ceiling",
    "copy",
    parts!["ceiling"],
    twin!(Params, copy_twin),
);

static MATRICES_8: Kernel = Kernel::new(
    "ceiling",
    "matrices",
    parts!["matrix8", "ceiling_matrix"],
    twin!(Params, matrices_twin),
)
.with_variant("matrix8")
.with_rate(|params, _, target| {
    (Params::of(params).side == 8 && target.multiplies_by(8)).then_some(1)
})
.with_precision(Precision::Mixed);

static MATRICES_16: Kernel = Kernel::new(
    "ceiling",
    "matrices",
    parts!["matrix16", "ceiling_matrix"],
    twin!(Params, matrices_twin),
)
.with_variant("matrix16")
.with_rate(|params, _, target| {
    (Params::of(params).side == 16 && target.multiplies_by(16)).then_some(1)
})
.with_precision(Precision::Mixed);

/// See [`matrices`].
pub static MATRICES: Kernel = Kernel::new(
    "ceiling",
    "matrices",
    parts!["ceiling"],
    twin!(Params, matrices_twin),
)
.with_variant("plain")
.with_others(&[&MATRICES_8, &MATRICES_16])
.with_class(|params, _| [Params::of(params).side, 0, 0]);

/// The entry points of `shaders/ceiling.wgsl`.
pub const KERNELS: &[&Kernel] = &[
    &MULTIPLY_ADD_16,
    &MULTIPLY_ADD_24,
    &MULTIPLY_ADD_32,
    &COPY,
    &MATRICES,
];

/// Numbers in an element.
pub const LANES: usize = 4;

/// The number of sums that a lane of [`multiply_add`] runs. With too few sums the multipliers wait for
/// results; too many sums do not fit the registers.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the names say it
pub enum Sums {
    Sixteen,
    TwentyFour,
    ThirtyTwo,
}

impl Sums {
    /// Every choice.
    pub const ALL: [Sums; 3] = [Sums::Sixteen, Sums::TwentyFour, Sums::ThirtyTwo];

    /// The number of sums.
    pub fn count(self) -> usize {
        match self {
            Sums::Sixteen => 16,
            Sums::TwentyFour => 24,
            Sums::ThirtyTwo => 32,
        }
    }

    fn kernel(self) -> &'static Kernel {
        match self {
            Sums::Sixteen => &MULTIPLY_ADD_16,
            Sums::TwentyFour => &MULTIPLY_ADD_24,
            Sums::ThirtyTwo => &MULTIPLY_ADD_32,
        }
    }
}

/// The number of elements from which the lanes of [`multiply_add`] start.
pub fn starts() -> usize {
    MULTIPLY_ADD_16.constant("STARTS") as usize
}

/// The number of elements that `groups` workgroups of [`multiply_add`] write.
pub fn outputs(groups: usize) -> usize {
    groups * MULTIPLY_ADD_16.constant("WORKGROUP") as usize
}

/// The operands of every kernel of this op.
#[derive(Clone, Copy)]
pub struct Operands {
    /// Read.
    pub x: Buffer,
    /// Written.
    pub y: Buffer,
}

/// y `[outputs(groups), LANES]`: the total of each lane's `sums` sums. A sum starts from x `[starts(), LANES]`
/// and computes s = s · x\[0\] + x\[1\], `rounds` × the shader's `UNROLL` times.
pub fn multiply_add(
    rec: &mut Recording,
    Operands { x, y }: Operands,
    sums: Sums,
    groups: usize,
    rounds: usize,
) {
    let kernel = sums.kernel();
    let params = Params {
        count: outputs(groups) as u32,
        rounds: rounds as u32,
        side: 0,
    };
    let steps = rounds * kernel.constant("UNROLL") as usize;
    let flops = 2 * outputs(groups) * sums.count() * steps;
    let work = Cost::new(flops as u64, (starts() + outputs(groups)) * LANES);
    rec.push(kernel, &[x, y], params, Grid::Groups([groups, 1, 1]), work);
}

/// y `[count, LANES]` = x `[count, LANES]`, copied by `groups` workgroups.
pub fn copy(rec: &mut Recording, Operands { x, y }: Operands, count: usize, groups: usize) {
    let params = Params {
        count: count as u32,
        rounds: 0,
        side: 0,
    };
    let work = Cost::new(0, 2 * count * LANES);
    rec.push(&COPY, &[x, y], params, Grid::Groups([groups, 1, 1]), work);
}

/// The sides of the matrices that matrix units multiply, over all devices.
pub const SIDES: [usize; 2] = [8, 16];

/// The count of numbers that [`matrices`] reads.
pub fn matrix_inputs(side: usize) -> usize {
    4 * side * side
}

/// The count of numbers that `groups` workgroups of [`matrices`] write.
pub fn matrix_outputs(side: usize, groups: usize) -> usize {
    parts(groups) * 4 * side * side
}

fn parts(groups: usize) -> usize {
    groups * MATRICES.constant("PARTS") as usize
}

/// y `[groups, PARTS, 2 side, 2 side]`: each part is left `[2 side, side]` · right `[side, 2 side]`, added up
/// `rounds` times. x holds left, then right.
pub fn matrices(
    rec: &mut Recording,
    Operands { x, y }: Operands,
    side: usize,
    groups: usize,
    rounds: usize,
) {
    let params = Params {
        count: parts(groups) as u32,
        rounds: rounds as u32,
        side: side as u32,
    };
    let (read, written) = (matrix_inputs(side), matrix_outputs(side, groups));
    let flops = 2 * written * side * rounds;
    let work = Cost::new(flops as u64, read + written);
    let grid = Grid::Groups([groups, 1, 1]);
    rec.push(&MATRICES, &[x, y], params, grid, work);
}

fn matrices_twin(p: &Params, mut b: Bindings) {
    let (x, y) = (b.read::<f32>(0), b.write::<f32>(1));
    let side = p.side as usize;
    let (left, right) = x[..matrix_inputs(side)].split_at(2 * side * side);
    let term = |row: usize, col: usize, k: usize| left[row * side + k] * right[k * 2 * side + col];
    let product = |i: usize| -> f32 {
        let (row, col) = (i / (2 * side), i % (2 * side));
        (0..side).map(|k| term(row, col, k)).sum()
    };
    let products: Vec<f32> = (0..4 * side * side).map(product).collect();
    for part in y.chunks_mut(products.len()).take(p.count as usize) {
        for (y, product) in part.iter_mut().zip(&products) {
            *y = p.rounds as f32 * product;
        }
    }
}

fn multiply_add_twin<const SUMS: usize>(p: &Params, mut b: Bindings) {
    let (x, y) = (b.read::<[f32; LANES]>(0), b.write::<[f32; LANES]>(1));
    let workgroup = MULTIPLY_ADD_16.constant("WORKGROUP") as usize;
    let steps = p.rounds * MULTIPLY_ADD_16.constant("UNROLL");
    for (i, y) in y[..p.count as usize].iter_mut().enumerate() {
        for (c, y) in y.iter_mut().enumerate() {
            let sum = |part: usize| {
                let start = x[(i % workgroup + part) % starts()][c];
                (0..steps).fold(start, |s, _| s.mul_add(x[0][c], x[1][c]))
            };
            *y = (0..SUMS / LANES).map(sum).sum();
        }
    }
}

fn copy_twin(p: &Params, mut b: Bindings) {
    /// Elements that a core copies at a time.
    const STRETCH: usize = 1 << 16;
    let (x, y) = (b.read::<[f32; LANES]>(0), b.write::<[f32; LANES]>(1));
    let count = p.count as usize;
    y[..count]
        .par_chunks_mut(STRETCH)
        .zip(x[..count].par_chunks(STRETCH))
        .for_each(|(y, x)| y.copy_from_slice(x));
}

/// The cases of all kernels, matrix units included.
pub fn cases() -> Vec<Case> {
    let mut cases = plain_cases();
    for side in SIDES {
        for (groups, rounds) in [(1, 1), (3, 7)] {
            // Numbers that f16 represents exactly, so that rounding to f16 does not change the result.
            let coarse = |i: usize| ((i * 37) % 113) as f32 / 64.0 - 0.9375;
            cases.push(
                Case::new(format!(
                    "matrices of {side}, {groups} groups, {rounds} rounds"
                ))
                .floats((0..matrix_inputs(side)).map(coarse))
                .output(matrix_outputs(side, groups))
                .record(move |rec, b| {
                    matrices(rec, Operands { x: b[0], y: b[1] }, side, groups, rounds);
                }),
            );
        }
    }
    cases
}

/// The cases without matrix units: one workgroup and several, and copies that leave workgroups, cells and lanes
/// without work.
pub(crate) fn plain_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sums in Sums::ALL {
        for (groups, rounds) in [(1, 1), (5, 13)] {
            cases.push(
                Case::new(format!("{sums:?} sums, {groups} groups, {rounds} rounds"))
                    .input(starts() * LANES, 0.9)
                    .output(outputs(groups) * LANES)
                    .record(move |rec, b| {
                        multiply_add(rec, Operands { x: b[0], y: b[1] }, sums, groups, rounds);
                    }),
            );
        }
    }
    for (count, groups) in [(1, 1), (257, 1), (257, 3), (10_007, 5)] {
        cases.push(
            Case::new(format!("copy {count} by {groups}"))
                .input(count * LANES, 1.0)
                .output(count * LANES)
                .record(move |rec, b| copy(rec, Operands { x: b[0], y: b[1] }, count, groups)),
        );
    }
    cases
}
