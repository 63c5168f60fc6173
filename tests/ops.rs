//! Every kernel on a GPU against its CPU twin, over each op's awkward shapes. One test an op, made
//! from the registry.

mod common;

use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::ops::case::{Distance, distance};

fn gpu_equals_twin(op: &str) {
    let op = gpt2_dpo::ops::OPS.iter().find(|o| o.name == op).unwrap();
    let mut gpu = common::gpu();
    let mut cpu = CpuEngine::new();
    for case in (op.cases)() {
        let ours = case.run(&mut gpu).unwrap();
        let twin = case.run(&mut cpu).unwrap();
        let name = format!("{}: {}", op.name, case.label);
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
