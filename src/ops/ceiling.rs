//! The most that a device can do: multiply-adds that touch no memory, and a copy that does nothing
//! else. No part of training: [`crate::ceilings`] measures with them what the other kernels are held
//! against.

use rayon::prelude::*;

use super::case::Case;
use crate::buffer::Buffer;
use crate::kernel::{Bindings, Kernel, kernel, params, variant};
use crate::recording::{Grid, Recording, Work};
use crate::target::Precision;

params! {
    struct Params {
        count: u32,
        rounds: u32,
        side: u32,
    }
}

kernel!(
    MULTIPLY_ADD_16,
    "ceiling",
    "multiply_add_16",
    Params,
    multiply_add_twin::<16>
);
kernel!(
    MULTIPLY_ADD_24,
    "ceiling",
    "multiply_add_24",
    Params,
    multiply_add_twin::<24>
);
kernel!(
    MULTIPLY_ADD_32,
    "ceiling",
    "multiply_add_32",
    Params,
    multiply_add_twin::<32>
);
kernel!(COPY, "ceiling", "copy", Params, copy_twin);
variant!(
    MATRICES_8,
    "ceiling",
    "matrix8",
    "matrices",
    Params,
    matrices_twin,
    |p, _, target| (p.side == 8 && target.multiplies_by(8)).then_some(1),
    Precision::Mixed,
    "ceiling_matrix"
);
variant!(
    MATRICES_16,
    "ceiling",
    "matrix16",
    "matrices",
    Params,
    matrices_twin,
    |p, _, target| (p.side == 16 && target.multiplies_by(16)).then_some(1),
    Precision::Mixed,
    "ceiling_matrix"
);
kernel!(
    MATRICES,
    "ceiling",
    "matrices",
    Params,
    matrices_twin,
    "plain",
    &[&MATRICES_8, &MATRICES_16],
    |p, _| [p.side, 0, 0]
);
/// The entry points of `shaders/ceiling.wgsl`.
pub const KERNELS: &[&Kernel] = &[
    &MULTIPLY_ADD_16,
    &MULTIPLY_ADD_24,
    &MULTIPLY_ADD_32,
    &COPY,
    &MATRICES,
];

/// Numbers of an element.
pub const LANES: usize = 4;

/// How many sums a lane of [`multiply_add`] runs: too few leave the multipliers waiting for results, too
/// many find no room in the registers.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // the names say it
pub enum Sums {
    Sixteen,
    TwentyFour,
    ThirtyTwo,
}

impl Sums {
    /// Every one there is.
    pub const ALL: [Sums; 3] = [Sums::Sixteen, Sums::TwentyFour, Sums::ThirtyTwo];

    /// How many they are.
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

/// Elements that the lanes of [`multiply_add`] start from.
pub fn starts() -> usize {
    MULTIPLY_ADD_16.constant("STARTS") as usize
}

/// Elements that `groups` workgroups of [`multiply_add`] write.
pub fn outputs(groups: usize) -> usize {
    groups * MULTIPLY_ADD_16.constant("WORKGROUP") as usize
}

/// y `[outputs(groups), LANES]`: for each lane the total of `sums` sums s = s · x\[0\] + x\[1\], taken
/// `rounds` × the shader's `UNROLL` times, from starts in x `[starts(), LANES]`.
pub fn multiply_add(
    rec: &mut Recording,
    (x, y): (Buffer, Buffer),
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
    let work = Work::new(flops as u64, (starts() + outputs(groups)) * LANES);
    rec.push(kernel, &[x, y], params, Grid::Groups([groups, 1, 1]), work);
}

/// y `[count, LANES]` = x `[count, LANES]`, by so many workgroups.
pub fn copy(rec: &mut Recording, (x, y): (Buffer, Buffer), count: usize, groups: usize) {
    let params = Params {
        count: count as u32,
        rounds: 0,
        side: 0,
    };
    let work = Work::new(0, 2 * count * LANES);
    rec.push(&COPY, &[x, y], params, Grid::Groups([groups, 1, 1]), work);
}

/// Sides of the matrices that some device's matrix units multiply.
pub const SIDES: [usize; 2] = [8, 16];

/// Numbers that [`matrices`] reads.
pub fn matrix_inputs(side: usize) -> usize {
    4 * side * side
}

/// Numbers that `groups` workgroups of [`matrices`] write.
pub fn matrix_outputs(side: usize, groups: usize) -> usize {
    parts(groups) * 4 * side * side
}

fn parts(groups: usize) -> usize {
    groups * MATRICES.constant("PARTS") as usize
}

/// y `[groups, PARTS, 2 side, 2 side]`: each left `[2 side, side]` · right `[side, 2 side]`, added up `rounds`
/// times; x holds left and right.
pub fn matrices(
    rec: &mut Recording,
    (x, y): (Buffer, Buffer),
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
    let work = Work::new(flops as u64, read + written);
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
    /// Elements that a core takes at a time.
    const STRETCH: usize = 1 << 16;
    let (x, y) = (b.read::<[f32; LANES]>(0), b.write::<[f32; LANES]>(1));
    let count = p.count as usize;
    y[..count]
        .par_chunks_mut(STRETCH)
        .zip(x[..count].par_chunks(STRETCH))
        .for_each(|(y, x)| y.copy_from_slice(x));
}

/// Those of matrix units too.
pub fn cases() -> Vec<Case> {
    let mut cases = plain_cases();
    for side in SIDES {
        for (groups, rounds) in [(1, 1), (3, 7)] {
            // Numbers that f16 holds: whether a device rounds them is not the question.
            let coarse = |i: usize| ((i * 37) % 113) as f32 / 64.0 - 0.9375;
            cases.push(
                Case::new(format!(
                    "matrices of {side}, {groups} groups, {rounds} rounds"
                ))
                .floats((0..matrix_inputs(side)).map(coarse))
                .output(matrix_outputs(side, groups))
                .record(move |rec, b| {
                    matrices(rec, (b[0], b[1]), side, groups, rounds);
                }),
            );
        }
    }
    cases
}

/// One workgroup and several; copies that leave workgroups, cells and lanes without work.
pub(crate) fn plain_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for sums in Sums::ALL {
        for (groups, rounds) in [(1, 1), (5, 13)] {
            cases.push(
                Case::new(format!("{sums:?} sums, {groups} groups, {rounds} rounds"))
                    .input(starts() * LANES, 0.9)
                    .output(outputs(groups) * LANES)
                    .record(move |rec, b| {
                        multiply_add(rec, (b[0], b[1]), sums, groups, rounds);
                    }),
            );
        }
    }
    for (count, groups) in [(1, 1), (257, 1), (257, 3), (10_007, 5)] {
        cases.push(
            Case::new(format!("copy {count} by {groups}"))
                .input(count * LANES, 1.0)
                .output(count * LANES)
                .record(move |rec, b| copy(rec, (b[0], b[1]), count, groups)),
        );
    }
    cases
}
