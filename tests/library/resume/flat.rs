//! A long run holds no more device memory after many steps, evaluations and saves than after the first ones.

use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::{Device, Tap};
use gpt2_dpo::gpu::OpenOptions;
use gpt2_dpo::recording::Recording;
use gpt2_dpo::train::Host;

use super::World;
use crate::common;

/// The bytes of all buffers before each run of the device.
fn bytes_of_buffers(engine: &mut dyn Device, steps: usize) -> Vec<usize> {
    let mut world = World::new();
    world.config.max_steps = steps;
    let mut bytes = Vec::new();
    let mut note = |engine: &mut dyn Device, recording: &Recording| {
        engine.watch();
        bytes.push(engine.usage()?.peak_bytes.expect("this engine counts"));
        engine.run(recording)
    };
    let ended = world.train(&mut Tap::new(engine, &mut note), "out", Host::default());
    ended.unwrap().finished().unwrap();
    bytes
}

fn stays_flat(engine: &mut dyn Device, steps: usize) {
    let bytes = bytes_of_buffers(engine, steps);
    assert!(bytes.len() > 4 * steps, "{}", bytes.len());
    let most = |part: &[usize]| part.iter().copied().max();
    let (early, late) = bytes.split_at(bytes.len() / 4);
    assert_eq!(most(early), most(late), "of {} runs", bytes.len());
}

#[test]
fn buffers_stay_flat_on_the_cpu() {
    stays_flat(&mut CpuEngine::new(), 60);
}

#[test]
fn buffers_stay_flat_on_a_gpu() {
    stays_flat(&mut common::gpu_with(OpenOptions::default()), 30);
}
