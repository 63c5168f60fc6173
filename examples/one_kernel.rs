//! One kernel alone: a linear layer of one weight with GELU. Every device runs its recording: the CPU, and a GPU if
//! there is one.
//!
//! `cargo run --release --example one_kernel`

use gpt2_dpo::Result;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::{Engine, EngineExt};
use gpt2_dpo::gpu::{Adapters, Backends, OpenOptions};
use gpt2_dpo::ops::linear;

fn gelu_on(engine: &mut dyn Engine, input: &[f32]) -> Result<Vec<f32>> {
    let x = engine.upload("x", input)?;
    let y = engine.create("y", input.len())?;
    let mut rec = engine.recording();
    let layer = linear::NnGelu {
        x,
        weight: engine.upload("weight", &[1.0_f32])?,
        bias: None,
        y: engine.create("before GELU", input.len())?,
        activated: y,
    };
    let shape = linear::Shape::whole(input.len(), 1, 1);
    linear::nn_gelu(&mut rec, &layer, shape, linear::Sum::SET);
    engine.run(&rec)?;
    engine.read_f32(y)
}

fn main() -> Result<()> {
    let input = [-3.0, -1.0, 0.0, 0.5, 1.0, 3.0];
    println!("x     {input:?}");
    println!("CPU   {:?}", gelu_on(&mut CpuEngine::new(), &input)?);
    let adapters = Adapters::enumerate(Backends::All);
    if adapters.is_empty() {
        println!("no GPU adapter here, not even a software one");
        return Ok(());
    }
    let mut gpu = adapters.open(0, OpenOptions::default())?;
    println!("{}   {:?}", gpu.name(), gelu_on(&mut gpu, &input)?);
    Ok(())
}
