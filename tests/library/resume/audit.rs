//! Audits: a kernel that computes wrong is caught, and named.

use gpt2_dpo::checkpoint;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::{Device, EngineExt, Tap};
use gpt2_dpo::gpu::OpenOptions;
use gpt2_dpo::recording::Recording;
use gpt2_dpo::target::Precision;
use gpt2_dpo::train::Host;

use super::{World, assert_same};
use crate::common;

/// Trains on a device of which one kernel goes wrong from its run number `from` on: it changes the first of its results
/// by a thousandth of its size and of 1. Returns the error's text.
fn trains_wrong(engine: &mut dyn Device, world: &World, kernel: &str, from: usize) -> String {
    let mut runs = 0;
    let mut on_run = |engine: &mut dyn Device, recording: &Recording| {
        let mut tickets = engine.run_each(recording, |engine, step| {
            engine.run(&Recording::of(vec![*step]))?;
            if step.kernel.name() == kernel {
                runs += 1;
                if runs >= from {
                    let storage = step.kernel.reflection().storage.iter();
                    let written = storage
                        .zip(step.buffers())
                        .find(|(binding, _)| binding.written);
                    let range = written.unwrap().1;
                    let mut values = engine.read_f32(*range)?;
                    for value in values.iter_mut().step_by(3) {
                        *value += 0.2 * (value.abs() + 0.1);
                    }
                    engine.write(*range, bytemuck::cast_slice(&values))?;
                }
            }
            Ok(())
        })?;
        Ok(std::mem::take(&mut tickets))
    };
    let mut tap = Tap::new(engine, &mut on_run);
    let ended = world.train(&mut tap, "out", Host::default());
    let found = ended.err();
    found
        .unwrap_or_else(|| panic!("{kernel}: {runs} runs, and nothing was found"))
        .to_string()
}

fn world() -> World {
    let mut world = World::new();
    world.config.audit_steps = 1;
    world
}

fn catches(engine: &mut dyn Device, kernel: &str) {
    let mut world = world();
    // From the third step on.
    world.config.eval_steps = 0;
    let mut sound = World::new();
    sound.config.eval_steps = 0;
    let calls = |world: &World| {
        let mut count = 0;
        let mut on_run = |engine: &mut dyn Device, recording: &Recording| {
            let of_kernel = |step: &&gpt2_dpo::recording::Step| step.kernel.name() == kernel;
            count += recording.steps.iter().filter(of_kernel).count();
            engine.run(recording)
        };
        let mut cpu = CpuEngine::new();
        world
            .train(
                &mut Tap::new(&mut cpu, &mut on_run),
                "counted",
                Host::default(),
            )
            .unwrap();
        count
    };
    let text = trains_wrong(engine, &world, kernel, calls(&world) / 2);
    assert!(text.contains("audit after step"), "{kernel}: {text}");
    assert!(text.contains(kernel), "{kernel}: {text}");
    assert!(text.contains("help: "), "{text}");
    // The run is saved, and goes on elsewhere.
    assert!(
        checkpoint::find(&world.out("out")).unwrap().is_some(),
        "{kernel}"
    );
}

#[test]
fn a_wrong_kernel_is_named() {
    for kernel in [
        "linear/nn_gelu",
        "layernorm/forward",
        "linear/tn",
        "layernorm/backward",
    ] {
        catches(&mut CpuEngine::new(), kernel);
    }
}

#[test]
fn a_wrong_kernel_of_a_gpu_is_named() {
    catches(
        &mut common::gpu_with(OpenOptions::default()),
        "layernorm/forward",
    );
}

/// Audits find nothing on sound devices, and change no bit.
#[test]
fn audits_change_nothing() {
    for (precision, gpu) in [
        (Precision::F32, false),
        (Precision::Mixed, false),
        (Precision::F32, true),
    ] {
        let make = || -> Box<dyn Device> {
            match gpu {
                true => Box::new(common::gpu_with(OpenOptions::default())),
                false => Box::new(CpuEngine::new().with_precision(precision)),
            }
        };
        let mut audited = world();
        audited.config.precision = precision;
        let mut plain = World::new();
        plain.config.precision = precision;
        let (a, b) = (
            audited.finish(make().as_mut(), "out"),
            plain.finish(make().as_mut(), "out"),
        );
        assert_same(&a, &b, "audited");
    }
}
