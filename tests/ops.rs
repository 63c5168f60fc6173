//! Every kernel on a GPU against its CPU twin, over each op's awkward shapes. One test an op, made
//! from the registry.

mod common;

use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::gpu::{OpenOptions, Variant};
use gpt2_dpo::ops::Op;
use gpt2_dpo::ops::case::{Distance, distance};

fn gpu_equals_twin(op: &str) {
    let op = gpt2_dpo::ops::OPS.iter().find(|o| o.name == op).unwrap();
    let has_variants = op.kernels.iter().any(|kernel| kernel.direct.is_some());
    let variants = [Variant::Tiled, Variant::Direct];
    for variant in &variants[..if has_variants { 2 } else { 1 }] {
        gpu_variant_equals_twin(op, *variant);
    }
}

fn gpu_variant_equals_twin(op: &Op, variant: Variant) {
    let mut gpu = common::gpu_with(OpenOptions {
        variant,
        ..common::CHECKED
    });
    let mut cpu = CpuEngine::new();
    for case in (op.cases)() {
        let ours = case.run(&mut gpu).unwrap();
        let twin = case.run(&mut cpu).unwrap();
        let name = format!("{} {variant:?}: {}", op.name, case.label);
        assert!(ours.broken.is_empty(), "{name}: GPU {:?}", ours.broken);
        assert!(twin.broken.is_empty(), "{name}: CPU {:?}", twin.broken);
        let d = distance(&ours.outputs, &twin.outputs);
        println!("{name}: {d:?}");
        assert!(d.within(&Distance::BOUND), "{name}: {d:?}");
    }
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
