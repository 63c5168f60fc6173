//! Times every op on the CPU engine and on the first GPU adapter: `cargo bench -- linear`.
//!
//! The registry gives the cases; each case on each device is one benchmark.

use criterion::{Criterion, criterion_group, criterion_main};
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::Engine;
use gpt2_dpo::gpu::{Adapters, Backends, OpenOptions};
use gpt2_dpo::ops::OPS;
use gpt2_dpo::ops::case::Prepared;

fn bench(criterion: &mut Criterion, device: &str, engine: &mut dyn Engine) {
    let cases = OPS
        .iter()
        .flat_map(|op| (op.cases)().into_iter().map(|case| (op.name, case)));
    for (op, case) in cases {
        criterion.bench_function(&format!("{op}/{device}/{}", case.label), |b| {
            let Prepared { buffers, recording } =
                case.prepare(engine).expect("the device takes the case");
            b.iter(|| {
                engine.run(&recording).expect("the device runs the case");
                engine.wait().expect("the device is alive");
            });
            for buffer in buffers {
                engine.release(buffer);
            }
        });
    }
}

fn cpu(criterion: &mut Criterion) {
    bench(criterion, "cpu", &mut CpuEngine::new());
}

fn gpu(criterion: &mut Criterion) {
    let adapters = Adapters::enumerate(Backends::All);
    if adapters.is_empty() {
        eprintln!("no GPU adapter: only the CPU engine was timed");
        return;
    }
    let mut gpu = adapters
        .open(0, OpenOptions::default())
        .expect("the adapter opens");
    bench(criterion, "gpu", &mut gpu);
}

criterion_group!(ops, cpu, gpu);
criterion_main!(ops);
