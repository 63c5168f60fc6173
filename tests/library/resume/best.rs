//! The best evaluation and early stopping.

use gpt2_dpo::checkpoint;
use gpt2_dpo::config::BestMetric;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::train::{Ending, Host, Outcome};

use super::{World, bits, metrics};

/// Held-out pairs that prefer what the training pairs reject: each step makes the evaluation worse.
fn world() -> World {
    let mut world = World::new();
    world.config.save_best = Some(BestMetric::Loss);
    world.config.save_steps = 0;
    world.config.save_total_limit = 1;
    world.config.epochs = 3;
    world
}

fn finished(ending: Ending) -> Outcome {
    ending.finished().unwrap()
}

#[test]
fn the_best_weights_are_those_of_its_step() {
    let mut world = world();
    // With this rate the loss falls at first and rises later.
    world.config.learning_rate = 3e-2;
    let outcome = finished(
        world
            .train(&mut CpuEngine::new(), "out", Host::default())
            .unwrap(),
    );
    let rows = metrics(&world.out("out"));
    let evals: Vec<f64> = rows
        .iter()
        .filter_map(|row| row["eval_loss"].as_f64())
        .collect();
    assert_eq!(evals.len(), 7);
    let lowest = (1..7)
        .min_by(|&a, &b| evals[a].total_cmp(&evals[b]))
        .unwrap();
    let best = outcome.best.unwrap();
    assert_eq!((best.step, best.summary.loss), (lowest, evals[lowest]));
    let after = outcome.after.unwrap();
    assert_eq!(after, best.summary, "of the weights that are the result");
    assert_eq!(outcome.steps, 6);

    let saved = checkpoint::list(&world.out("out")).unwrap();
    assert_eq!(saved.len(), 1, "the best alone: {saved:?}");
    world.config.save_best = None;
    world.config.max_steps = lowest;
    let short = finished(
        world
            .train(&mut CpuEngine::new(), "short", Host::default())
            .unwrap(),
    );
    assert!(
        bits(&outcome.weights) == bits(&short.weights),
        "those of step {lowest}"
    );
}

#[test]
fn patience_ends_a_run_that_grows_worse() {
    let mut world = world();
    for example in &mut world.pairs.examples {
        std::mem::swap(&mut example.chosen, &mut example.rejected);
    }
    let trained_on = world.pairs.clone();
    for example in &mut world.pairs.examples {
        std::mem::swap(&mut example.chosen, &mut example.rejected);
    }
    world.config.early_stopping_patience = 2;
    world.config.epochs = 5;
    let held_out = std::mem::replace(&mut world.pairs, trained_on);
    let stopped = |out: &str, from: Option<checkpoint::Checkpoint>, max: usize| {
        use std::sync::Arc;

        use gpt2_dpo::train::{Inputs, Resume, Run};

        let stop_at = gpt2_dpo::train::Stop::default();
        let host = Host {
            stop: stop_at.clone(),
            ..Host::default()
        };
        let inputs = Inputs {
            resume: from.map(|checkpoint| Resume {
                checkpoint,
                anyway: false,
            }),
            ..Inputs::new(
                Arc::new(crate::common::model().outline),
                world.model.weights.clone(),
                &world.pairs,
                Some(&held_out),
            )
        };
        let mut tell = |event: gpt2_dpo::train::Event| {
            if let gpt2_dpo::train::Event::Step { row, .. } = event
                && row.step == max
            {
                stop_at.request();
            }
        };
        let mut engine = CpuEngine::new();
        let out = world.out(out);
        let run = Run::new(&mut engine, &world.config, inputs, &out, host, &mut tell).unwrap();
        run.train().unwrap()
    };
    let outcome = finished(stopped("out", None, 0));
    assert_eq!(outcome.best.unwrap().step, 1);
    assert_eq!(outcome.steps, 3, "two evaluations after the best");

    // The count of evaluations goes on after a stop.
    assert!(matches!(
        stopped("again", None, 2),
        Ending::Interrupted { step: 2, .. }
    ));
    let from = checkpoint::find(&world.out("again")).unwrap();
    let resumed = finished(stopped("again", from, 0));
    assert_eq!((resumed.steps, resumed.best), (3, outcome.best));
    assert!(bits(&resumed.weights) == bits(&outcome.weights));
    assert_eq!(metrics(&world.out("again")), metrics(&world.out("out")));
}
