//! The ops. Each file is one op: its math in words, its `Params`, functions that record it, the CPU
//! twins of its kernels, and the cases that hold a device to the twins. Its shader, its test and its
//! bench carry the same stem.

pub mod adamw;
pub mod attention;
pub mod case;
pub mod ceiling;
pub mod dpo;
pub mod embedding;
pub mod gather;
pub mod grad_norm;
pub mod head;
pub mod layernorm;
pub mod linear;
pub mod sft;

use std::collections::BTreeSet;

use crate::distance::Distance;
use crate::kernel::Kernel;
use crate::target::Precision;
use case::Case;

/// Calls a macro with the stem of every op: the one list that registry, tests and benches are made
/// from.
#[macro_export]
macro_rules! for_each_op {
    ($macro:ident) => {
        $macro! {
            embedding, layernorm, linear, attention, gather, head, dpo, sft,
            grad_norm, adamw, ceiling
        }
    };
}

/// One op of the registry.
pub struct Op {
    /// The stem that shader, op file, test and bench carry.
    pub name: &'static str,
    /// Every entry point of the shader.
    pub kernels: &'static [&'static Kernel],
    /// What holds a device to the twins.
    pub cases: fn() -> Vec<Case>,
}

impl Op {
    /// The names of the variants of this precision that its kernels have; in f32 `""` alone if there are
    /// none.
    pub fn variants(&self, precision: Precision) -> BTreeSet<&'static str> {
        let ways = self.kernels.iter().flat_map(|kernel| kernel.ways());
        let ways = ways.filter(|way| way.precision == precision);
        let mut names: BTreeSet<&str> = ways.map(|way| way.variant).collect();
        if names.len() > 1 {
            names.remove("");
        }
        names
    }

    /// What its cases are held to on a device opened for this precision.
    pub fn bound(&self, precision: Precision) -> Distance {
        match precision == Precision::Mixed && !self.variants(precision).is_empty() {
            true => Distance::MATRIX_UNITS,
            false => Distance::BOUND,
        }
    }
}

macro_rules! declare {
    ($($op:ident),*) => {
        /// Every op of [`for_each_op`], in its order.
        pub const OPS: &[Op] = &[$(Op {
            name: stringify!($op),
            kernels: $op::KERNELS,
            cases: $op::cases,
        }),*];
    };
}
for_each_op!(declare);

/// The text of every shader that any device may run, variants included.
pub fn sources() -> impl Iterator<Item = &'static str> {
    let kernels = OPS.iter().flat_map(|op| op.kernels.iter());
    kernels.flat_map(|kernel| kernel.ways().map(|way| way.source))
}
