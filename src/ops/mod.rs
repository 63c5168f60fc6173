//! The ops. Each file is one op: its math in words, its `Params`, functions that record it, the CPU
//! twins of its kernels, and the cases that hold a device to the twins. Its shader, its test and its
//! bench carry the same stem.

pub mod adamw;
pub mod attention;
pub mod blend;
pub mod case;
pub mod ceiling;
pub mod embedding;
pub mod gather;
pub mod grad_norm;
pub mod head;
pub mod layernorm;
pub mod linear;
pub mod preference;
pub mod step_control;

use std::collections::BTreeSet;

use crate::distance::Distance;
use crate::kernel::Kernel;
use crate::target::Precision;
use case::Case;

/// Calls a macro with the stem of every op. Registry, tests and benches all expand this one list.
#[macro_export]
macro_rules! for_each_op {
    ($macro:ident) => {
        $macro! {
            embedding, layernorm, linear, attention, gather, head, preference,
            grad_norm, step_control, adamw, blend, ceiling
        }
    };
}

/// One op of the registry.
pub struct Op {
    /// The stem that shader, op file, test and bench carry.
    pub name: &'static str,
    /// All kernels of the op, without their variants.
    pub kernels: &'static [&'static Kernel],
    /// The cases that compare a device with the twins.
    pub cases: fn() -> Vec<Case>,
}

impl Op {
    /// The names of the variants that its kernels have in this precision; in f32 only `""` if no kernel has
    /// variants.
    pub fn variants(&self, precision: Precision) -> BTreeSet<&'static str> {
        let all = self.kernels.iter().flat_map(|kernel| kernel.variants());
        let all = all.filter(|variant| variant.precision == precision);
        let mut names: BTreeSet<&str> = all.map(|variant| variant.variant).collect();
        if names.len() > 1 {
            names.remove("");
        }
        names
    }

    /// The bound of its cases' distance from the twins on a device opened for this precision.
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

/// Every entry point that a device may dispatch: all variants of all kernels, second passes included.
pub fn passes() -> impl Iterator<Item = &'static Kernel> {
    let kernels = OPS.iter().flat_map(|op| op.kernels.iter());
    let variants = kernels.flat_map(|kernel| kernel.variants());
    variants.flat_map(|variant| variant.passes())
}

/// The WGSL text of each entry point in [`passes`].
pub fn sources() -> impl Iterator<Item = &'static str> {
    passes().map(|kernel| kernel.source())
}
