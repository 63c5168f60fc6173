//! The shared-prefix stream against separate forward passes, in which each response has its own copy of the
//! prompt. Log-probs and every gradient agree to rounding, on the CPU engine and on a GPU.

use crate::common::{self, max_abs, relative_l2};
use gpt2_dpo::batch::{Extent, Pair, Sides, Stream};
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::data::{self, Example};
use gpt2_dpo::engine::Engine;
use gpt2_dpo::learner::{Learner, Recipe, Room};
use gpt2_dpo::model::{Dims, Layout, params};
use gpt2_dpo::objective::Objective;
use gpt2_dpo::ops::adamw::Settings;
use gpt2_dpo::optimizer::{Decay, Optimizer};
use gpt2_dpo::pretrained::{Weights, initial};
use gpt2_dpo::scorer::{Reference, Share};

const DIMS: Dims = Dims {
    vocab_size: 149,
    n_positions: 96,
    n_embd: 40,
    n_layer: 3,
    n_head: 5,
    n_inner: 160,
    epsilon: 1e-5,
};

/// Weights ten times as wide as GPT-2's initial ones, so that attention is far from uniform.
fn weights() -> Weights {
    let mut weights = initial(&DIMS, 5);
    for (param, values) in params::table(&DIMS).iter().zip(&mut weights.tensors) {
        if param.role.is_matrix() {
            values.iter_mut().for_each(|v| *v *= 10.0);
        }
    }
    weights
}

fn examples() -> Vec<Example> {
    let ids = |seed: u32, len: usize| {
        (0..len as u32)
            .map(|i| (seed + i * i * 7 + i) % 149)
            .collect()
    };
    [(5, 9, 14), (1, 1, 30), (37, 20, 1), (2, 2, 2)]
        .iter()
        .enumerate()
        .map(|(i, &(p, c, r))| {
            Example::new(
                ids(3 + i as u32, p),
                ids(50 + i as u32, c),
                ids(90 + i as u32, r),
                data::Place::new("made up", i + 1),
            )
        })
        .collect()
}

/// The same pairs, each as two sequences with their own copies of the prompt.
fn separate(examples: &[Example]) -> Stream {
    let sequences: Vec<Example> = examples
        .iter()
        .flat_map(|e| {
            [&e.chosen, &e.rejected].map(|response| {
                Example::new(
                    e.prompt.clone(),
                    response.clone(),
                    Vec::new(),
                    e.place.clone(),
                )
            })
        })
        .collect();
    let mut stream = Stream::new(&sequences, Sides::Chosen);
    stream.pairs = stream
        .pairs
        .chunks(2)
        .map(|pair| Pair::of_rows(pair[0].start, pair[1].start, pair[1].end))
        .collect();
    stream.rows = stream
        .rows
        .chunks(2)
        .map(|pair| pair[0].start..pair[1].end)
        .collect();
    stream
}

fn run(engine: &mut dyn Engine, stream: &Stream) -> (Vec<f32>, Weights) {
    let extent = Extent {
        rows: stream.tokens.len(),
        heads: stream.targets.len(),
        pair_heads: stream.targets.len(),
        pairs: stream.pairs.len(),
    };
    let layout = Layout::new(
        &DIMS,
        common::limits(engine.max_binding_bytes(), extent.pair_heads),
    )
    .unwrap();
    let optimizer = Optimizer {
        adamw: Settings::DEFAULT,
        decay: Decay::All,
        max_grad_norm: 1.0,
        scaling: None,
    };
    let recipe = Recipe {
        objective: Objective::sigmoid(0.1),
        optimizer,
    };
    let pairs = stream.pairs.len();
    let room = Room::new(extent, pairs);
    let learner = Learner::new(engine, &layout, &weights(), recipe, &room).unwrap();
    let logps = learner.policy.log_probs(engine, stream).unwrap();
    let references: Vec<f32> = (0..logps.len()).map(|i| -3.0 - (i % 5) as f32).collect();
    let share = Share {
        first_slot: 0,
        of: common::whole(pairs),
    };
    let reference = Reference::LogProbs(references);
    learner
        .accumulate(engine, stream, reference, share)
        .unwrap();
    (
        logps,
        Weights {
            tensors: learner.grads.download(engine).unwrap(),
        },
    )
}

fn shared_equals_separate(engine: &mut dyn Engine) {
    let examples = examples();
    let shared = Stream::new(&examples, Sides::Both);
    let separate = separate(&examples);
    assert!(shared.tokens.len() < separate.tokens.len());
    assert_eq!(shared.targets, separate.targets);
    let (shared_logps, shared_grads) = run(engine, &shared);
    let (separate_logps, separate_grads) = run(engine, &separate);
    let error = max_abs(&shared_logps, &separate_logps);
    assert!(error <= 5e-6, "log-probs: {error}");
    let tensors = shared_grads.tensors.iter().zip(&separate_grads.tensors);
    for (param, (ours, theirs)) in params::table(&DIMS).iter().zip(tensors) {
        let error = relative_l2(ours, theirs);
        assert!(error <= 5e-6, "{}: {error}", param.name);
    }
}

#[test]
fn cpu() {
    shared_equals_separate(&mut CpuEngine::new());
}

#[test]
fn gpu() {
    shared_equals_separate(&mut common::gpu());
}
