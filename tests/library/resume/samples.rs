//! A run with samples that is stopped, in a step or in an evaluation, has their rows once.

use std::path::Path;

use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::pretrained::Model;
use gpt2_dpo::train::{Ending, Event, Host, Stop};

use super::{Attempt, World, assert_same};
use crate::common;

#[test]
fn rows_are_those_of_a_run_that_was_never_stopped() {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/starter");
    let mut world = World::new();
    world.folder = starter.clone();
    world.model = Model::load(&starter).unwrap();
    world.pairs = common::read(&starter.join("eval.jsonl"), &world.model.outline);
    world.pairs.examples.truncate(6);
    world.samples = world.pairs.examples[..2]
        .iter()
        .map(|e| e.prompt.clone())
        .collect();
    let whole = world.finish(&mut CpuEngine::new(), "whole");
    let samples = whole
        .metrics
        .iter()
        .filter(|row| row.get("sample").is_some());
    assert_eq!(samples.count(), 5 * 2, "at steps 0 to 4");

    // After the step, in its evaluation, and at once: then the reference is asked again.
    for (name, at) in [("step", 3), ("evaluation", 2), ("start", 0)] {
        let stop = Stop::default();
        let mut now = 0;
        let mut observe = |event: &Event| {
            if let Event::Step { row, .. } = event {
                now = row.step;
            }
            let stops = match (name, event) {
                ("step", Event::Step { .. }) => now == at,
                ("evaluation", Event::Evaluating { .. }) => now == at,
                ("start", _) => true,
                _ => false,
            };
            if stops {
                stop.request();
            }
        };
        let attempt = Attempt {
            config: &world.config,
            host: Host {
                stop: stop.clone(),
                ..Host::default()
            },
            from: None,
            anyway: false,
            observe: &mut observe,
        };
        let ending = world.attempt(&mut CpuEngine::new(), name, attempt).unwrap();
        assert!(matches!(ending, Ending::Interrupted { step, .. } if step == at));
        let resumed = world.finish(&mut CpuEngine::new(), name);
        assert_same(&resumed, &whole, name);
    }
}
