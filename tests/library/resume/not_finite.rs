//! NaN in a gradient or a weight: the run stops, names the tensor and the pairs, and keeps the last good state.

use gpt2_dpo::Error;
use gpt2_dpo::buffer::Buffer;
use gpt2_dpo::checkpoint;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::Device;
use gpt2_dpo::recording::Recording;
use gpt2_dpo::train::{Event, Host};

use super::{Attempt, World, assert_same, tapped};

/// The first word of the buffer that a step of this kernel has at this place.
fn word(recording: &Recording, kernel: &str, place: usize) -> Buffer {
    let mut steps = recording.steps.iter();
    let step = steps.find(|step| step.kernel.name() == kernel);
    step.unwrap().buffers()[place].first(1)
}

/// Trains without checkpoints by steps, with NaN in that buffer before the last step's update. Returns the error, and the
/// notes.
fn broken(world: &World, out: &str, kernel: &str, place: usize) -> (Error, Vec<String>) {
    let updates = |recording: &Recording| {
        let mut steps = recording.steps.iter();
        steps.any(|step| step.kernel.name() == "adamw/update")
    };
    let mut seen = 0;
    let mut notes = Vec::new();
    let mut on_run = |engine: &mut dyn Device, recording: &Recording| {
        if updates(recording) {
            seen += 1;
            if seen == 4 {
                engine.write(word(recording, kernel, place), &[f32::NAN.to_bits()])?;
            }
        }
        engine.run(recording)
    };
    let attempt = Attempt {
        config: &world.config,
        host: Host::default(),
        from: None,
        anyway: false,
        observe: &mut |event| {
            if let Event::Note(note) = event {
                notes.push(note.clone());
            }
        },
    };
    let mut engine = CpuEngine::new();
    let mut tap = gpt2_dpo::engine::Tap::new(&mut engine, &mut on_run);
    let error = world.attempt(&mut tap, out, attempt).err().unwrap();
    (error, notes)
}

#[test]
fn a_gradient_that_breaks_once_costs_no_step() {
    let mut world = World::new();
    let whole = world.finish(&mut CpuEngine::new(), "whole");
    world.config.save_steps = 0;
    let (error, notes) = broken(&world, "out", "grad_norm/sum_squares", 0);
    let text = error.to_string();
    assert!(text.contains("step 4: a gradient is NaN"), "{text}");
    assert!(text.contains("give a finite gradient"), "{text}");
    assert!(text.contains("pairs.jsonl:"), "{text}");
    assert!(
        notes
            .iter()
            .any(|note| note.contains("after step 3, the last good one, is kept")),
        "{notes:?}"
    );
    let kept = checkpoint::find(&world.out("out")).unwrap().unwrap();
    assert_eq!(kept.position().step, 3);
    let resumed = world.finish(&mut CpuEngine::new(), "out");
    assert!(resumed.weights == whole.weights);
    assert_eq!(resumed.metrics, whole.metrics);
}

#[test]
fn a_broken_weight_is_named_and_not_saved() {
    let mut world = World::new();
    world.config.eval_steps = 0;
    let whole = world.finish(&mut CpuEngine::new(), "whole");
    let text = {
        // The update of step 4 takes NaN for a weight, and the final evaluation shows it.
        let (error, _) = broken(&world, "out", "adamw/update", 1);
        error.to_string()
    };
    assert!(text.contains("NaN"), "{text}");
    // The checkpoint of step 3 is whole, and there is none with NaN.
    let kept = checkpoint::find(&world.out("out")).unwrap().unwrap();
    assert_eq!(kept.position().step, 3);
    assert_same(
        &world.finish(&mut CpuEngine::new(), "out"),
        &whole,
        "resumed",
    );
}

/// Two tests of the tap itself: the kernels are there under these names.
#[test]
fn the_tap_counts_runs() {
    let world = World::new();
    let (_, runs) = tapped(
        &mut CpuEngine::new(),
        usize::MAX,
        &mut |engine, recording| engine.run(recording),
        |engine| world.train(engine, "out", Host::default()),
    );
    assert!(runs > 30, "{runs}");
}
