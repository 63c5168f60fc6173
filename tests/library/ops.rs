//! Every kernel on a GPU against its CPU twin, on each op's awkward shapes. The registry gives one test for each
//! op, and there is one for each shape of matrix units.

use std::collections::BTreeSet;

use crate::common;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::gpu::{GpuEngine, OpenOptions, Variant};
use gpt2_dpo::ops::case::{Distance, distance};
use gpt2_dpo::ops::{OPS, Op};
use gpt2_dpo::target::{MatrixUnits, Precision};

/// Compares with WebGPU's defaults and every check, and with everything that the adapter offers and no check.
fn gpu_equals_twin(op: &str) {
    let op = OPS.iter().find(|o| o.name == op).unwrap();
    for variant in op.variants(Precision::F32) {
        if variant == "direct" && !common::is_software() {
            common::not_run(&format!("{} direct: it is for software devices", op.name));
            continue;
        }
        for options in [common::CHECKED, common::everything()] {
            let gpu = common::gpu_with(OpenOptions {
                variant: Variant::Named(variant),
                ..options
            });
            equals_twin(op, variant, gpu, CpuEngine::new(), &Distance::BOUND);
        }
    }
}

fn equals_twin(
    op: &Op,
    variant: &'static str,
    mut gpu: GpuEngine,
    mut cpu: CpuEngine,
    bound: &Distance,
) {
    let mut ran = BTreeSet::new();
    for case in (op.cases)() {
        let ours = case.run(&mut gpu).unwrap();
        ran.extend(gpu.chosen());
        let twin = case.run(&mut cpu).unwrap();
        let name = format!("{} {variant}: {}", op.name, case.label);
        assert!(ours.broken.is_empty(), "{name}: GPU {:?}", ours.broken);
        assert!(twin.broken.is_empty(), "{name}: CPU {:?}", twin.broken);
        let d = distance(&ours.outputs, &twin.outputs);
        println!("{name}: {d:?}");
        assert!(d.within(bound), "{name}: {d:?}");
    }
    // No case is too awkward for all of them: each variant ran.
    let all = op.kernels.iter().flat_map(|kernel| kernel.variants());
    for kernel in all.filter(|kernel| kernel.variant() == variant && !variant.is_empty()) {
        assert!(
            ran.contains(&(kernel.name(), variant)),
            "{variant}: {}",
            kernel.name()
        );
    }
}

fn matrix_units_equal_twin(variant: &'static str, has: fn(MatrixUnits) -> bool) {
    for op in OPS {
        if !op.variants(Precision::Mixed).contains(variant) {
            continue;
        }
        for checked in [true, false] {
            let options = OpenOptions {
                checked,
                variant: Variant::Named(variant),
                ..common::CHECKED
            };
            if let Some((gpu, bound)) = common::mixed_gpu(variant, has, options) {
                let cpu = CpuEngine::new().with_precision(Precision::Mixed);
                equals_twin(op, variant, gpu, cpu, &bound);
            }
        }
    }
}

#[test]
fn matrix_units_of_8() {
    matrix_units_equal_twin("matrix8", |units| units.eight);
}

#[test]
fn matrix_units_of_16() {
    matrix_units_equal_twin("matrix16", |units| units.sixteen);
}

macro_rules! tests {
    ($($op:ident),*) => {
        $(#[test]
        fn $op() {
            gpu_equals_twin(stringify!($op));
        })*
    };
}
gpt2_dpo::for_each_op!(tests);
