//! What training keeps, by name: a run that is taken apart into its tensors and counters, and put together
//! on another engine, goes on with the same bits.

use std::collections::BTreeSet;

use crate::common::{self, model, pairs};
use gpt2_dpo::batch::{Extent, Stream};
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::{Engine, EngineExt};
use gpt2_dpo::learner::{Learner, Recipe, Room};
use gpt2_dpo::model::{Layout, params};
use gpt2_dpo::objective::Objective;
use gpt2_dpo::ops::adamw::Settings;
use gpt2_dpo::ops::step_control::Scaling;
use gpt2_dpo::optimizer::{Decay, Optimizer};
use gpt2_dpo::scorer::{Reference, Share};
use gpt2_dpo::state::StateKind;
use gpt2_dpo::target::Precision;

const PAIRS: usize = 4;

fn learner(engine: &mut dyn Engine) -> Learner {
    let model = model();
    let objective = Objective::sft();
    let extent = Extent::of(&pairs(&model).examples, PAIRS, objective.sides());
    // Small enough to cut tensors into shards, and these into several arenas.
    let limits = common::limits(48 << 10, extent.pair_heads);
    let layout = Layout::new(&model.outline.config.dims, limits).unwrap();
    assert!(layout.arenas.len() > 2);
    let recipe = Recipe {
        objective,
        optimizer: Optimizer {
            adamw: Settings::DEFAULT,
            decay: Decay::Matrices,
            max_grad_norm: 1.0,
            scaling: Some(Scaling {
                initial: 1024.0,
                growth_interval: 2,
            }),
        },
    };
    let room = Room::new(extent, PAIRS);
    Learner::new(engine, &layout, &model.weights, recipe, &room).unwrap()
}

fn step(engine: &mut dyn Engine, learner: &mut Learner) {
    let model = model();
    let stream = Stream::new(&pairs(&model).examples[..PAIRS], Objective::sft().sides());
    let share = Share {
        first_slot: 0,
        of: common::whole(PAIRS),
    };
    learner
        .accumulate(engine, &stream, Reference::None, share)
        .unwrap();
    let ticket = learner.update(engine, 1e-3, PAIRS).unwrap();
    assert!(learner.report(engine, ticket).unwrap().broken.is_none());
}

/// Every tensor of the state, and its control.
fn contents(engine: &mut dyn Engine, learner: &Learner) -> (Vec<Vec<u32>>, Vec<u32>) {
    let state = learner.state();
    let tensors = state.tensors.iter().map(|tensor| {
        let words = engine.read_pieces(tensor.pieces.iter().copied()).unwrap();
        assert_eq!(words.len(), tensor.shape.iter().product::<usize>());
        words
    });
    let tensors = tensors.collect();
    (tensors, engine.read(state.control).unwrap())
}

fn goes_on_elsewhere(engine: &mut dyn Engine, other: &mut dyn Engine) {
    let mut whole = learner(engine);
    for _ in 0..3 {
        step(engine, &mut whole);
    }
    let (tensors, control) = contents(engine, &whole);

    let mut restored = learner(other);
    let state = restored.state();
    for (tensor, words) in state.tensors.iter().zip(&tensors) {
        let pieces = tensor.pieces.iter().copied();
        other.write_pieces(pieces, words).unwrap();
    }
    other.write(state.control, &control).unwrap();
    restored.set_steps(whole.state().steps);

    for _ in 0..3 {
        step(engine, &mut whole);
        step(other, &mut restored);
    }
    let (ours, theirs) = (contents(engine, &whole), contents(other, &restored));
    assert!(ours == theirs, "the state differs");
    assert!(ours.0 != tensors, "nothing was learnt");
}

#[test]
fn goes_on_elsewhere_on_the_cpu() {
    let engine = || CpuEngine::new().with_precision(Precision::Mixed);
    goes_on_elsewhere(&mut engine(), &mut engine());
}

#[test]
fn goes_on_elsewhere_on_a_gpu() {
    goes_on_elsewhere(&mut common::gpu(), &mut common::gpu());
}

#[test]
fn every_tensor_has_its_name_once() {
    let mut engine = CpuEngine::new();
    let learner = learner(&mut engine);
    let state = learner.state();
    let table = params::table(&learner.policy.dims);
    let names: BTreeSet<_> = state
        .tensors
        .iter()
        .map(|t| (t.kind as u8, &t.name))
        .collect();
    assert_eq!(names.len(), state.tensors.len());
    for kind in [
        StateKind::Weight,
        StateKind::Gradient,
        StateKind::FirstMoment,
        StateKind::SecondMoment,
    ] {
        let of_kind = state.tensors.iter().filter(|t| t.kind == kind);
        for (tensor, param) in of_kind.zip(&table) {
            assert_eq!((&tensor.name, &tensor.shape), (&param.name, &param.shape()));
        }
        let count = state.tensors.iter().filter(|t| t.kind == kind).count();
        assert_eq!(count, table.len());
    }
}
