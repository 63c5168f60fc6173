//! A low-rank adapter beside every linear layer: the model computes what the merged weights W + s·A·B
//! compute, and the adapters get the gradients that follow from the merged weights' by the chain rule.

use crate::common::{self, relative_l2};
use gpt2_dpo::batch::{Extent, Sides, Stream};
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::data::{self, Example};
use gpt2_dpo::engine::Engine;
use gpt2_dpo::gpu::{OpenOptions, Variant};
use gpt2_dpo::learner::{Learner, Recipe, Room};
use gpt2_dpo::model::params::{self, Adapters, Param};
use gpt2_dpo::model::{Dims, Gpt2, Layout, Targets};
use gpt2_dpo::objective::Objective;
use gpt2_dpo::ops::adamw::Settings;
use gpt2_dpo::optimizer::{Decay, Optimizer};
use gpt2_dpo::pretrained::{Weights, initial};
use gpt2_dpo::scorer::{Reference, Share};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const DIMS: Dims = Dims {
    vocab_size: 149,
    n_positions: 64,
    n_embd: 40,
    n_layer: 2,
    n_head: 5,
    n_inner: 160,
    epsilon: 1e-5,
};

const RANK: usize = 4;
const SCALE: f32 = 0.75;

fn adapters() -> Adapters {
    Adapters {
        rank: RANK,
        scale: SCALE,
        targets: Targets::all(),
    }
}

fn examples() -> Vec<Example> {
    let ids = |seed: u32, len: usize| {
        let id = |i| (seed + i * i * 7 + i) % DIMS.vocab_size as u32;
        (0..len as u32).map(id).collect()
    };
    let pairs = [(5, 9, 14), (1, 1, 20), (17, 12, 1)];
    let example = |(i, &(p, c, r)): (usize, &(usize, usize, usize))| {
        let place = data::Place::new("made up", i + 1);
        Example::new(ids(3, p), ids(50, c), ids(90, r), place)
    };
    pairs.iter().enumerate().map(example).collect()
}

/// The model's parameters with its adapters', none of them 0.
fn adapted(model: &Gpt2<Param>) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut uniform = || (2.0 * f64::from(rng.next_u32()) / f64::from(u32::MAX) - 1.0) as f32;
    let mut base = initial(&DIMS, 5).tensors.into_iter();
    let values = |param: &Param| match param.name.contains("lora") {
        true => (0..param.len()).map(|_| 0.3 * uniform()).collect(),
        false => base.next().unwrap().iter().map(|w| 2.0 * w).collect(),
    };
    model.iter().map(values).collect()
}

/// The parameters of the model without adapters, and for each weight where its A and B are.
fn merged(model: &Gpt2<Param>, values: &[Vec<f32>]) -> Weights {
    let named: Vec<(&Param, &Vec<f32>)> = model.iter().zip(values).collect();
    let of = |name: String| named.iter().find(|(param, _)| param.name == name);
    let tensors = named
        .iter()
        .filter(|(param, _)| !param.name.contains("lora"));
    let merge = |(param, values): &(&Param, &Vec<f32>)| {
        let stem = param.name.strip_suffix(".weight").unwrap_or("");
        let Some((_, a)) = of(format!("{stem}.lora_A.weight")) else {
            return values.to_vec();
        };
        let (_, b) = of(format!("{stem}.lora_B.weight")).unwrap();
        let product = |i: usize, j: usize| -> f64 {
            let terms =
                (0..RANK).map(|k| f64::from(a[i * RANK + k]) * f64::from(b[k * param.cols + j]));
            terms.sum()
        };
        let cell = |(at, w): (usize, &f32)| {
            let more = product(at / param.cols, at % param.cols);
            (f64::from(*w) + f64::from(SCALE) * more) as f32
        };
        values.iter().enumerate().map(cell).collect()
    };
    Weights {
        tensors: tensors.map(merge).collect(),
    }
}

struct Outcome {
    logps: Vec<f32>,
    /// In the order of the model's parameters; empty where there is none.
    grads: Vec<Vec<f32>>,
}

/// Log-probs, and the gradient of one micro-batch.
fn run(
    engine: &mut dyn Engine,
    model: &Gpt2<Param>,
    values: &[Vec<f32>],
    max_binding_bytes: usize,
    recompute: bool,
) -> Outcome {
    let stream = Stream::new(&examples(), Sides::Both);
    let extent = Extent::of(&examples(), 3, Sides::Both);
    let limits = common::limits(max_binding_bytes, extent.pair_heads);
    let layout = Layout::of(&DIMS, model, limits).unwrap();
    let recipe = Recipe {
        objective: Objective::sigmoid(0.1),
        optimizer: Optimizer {
            adamw: Settings::DEFAULT,
            decay: Decay::All,
            max_grad_norm: 1.0,
            scaling: None,
        },
    };
    let room = Room {
        recompute,
        ..Room::new(extent, 3)
    };
    let weights = Weights {
        tensors: values.to_vec(),
    };
    let mut learner = Learner::new(engine, &layout, &weights, recipe, &room).unwrap();
    let logps = learner.policy.log_probs(engine, &stream).unwrap();
    let references: Vec<f32> = (0..logps.len()).map(|i| -3.0 - (i % 5) as f32).collect();
    let share = Share {
        first_slot: 0,
        of: common::whole(3),
    };
    learner
        .accumulate(engine, &stream, Reference::LogProbs(references), share)
        .unwrap();
    let grads = learner.grads.download(engine).unwrap();

    // A step moves what is trained, and nothing else.
    let ticket = learner.update(engine, 1e-2, 3).unwrap();
    learner.report(engine, ticket).unwrap();
    let after = learner.policy.weights.download(engine).unwrap();
    for (param, (before, after)) in model.iter().zip(values.iter().zip(&after)) {
        assert_eq!(before != after, param.trainable, "{}", param.name);
    }
    Outcome { logps, grads }
}

/// Aᵀ · B of A `[inner, rows]` and B `[inner, cols]`, times the adapters' scale.
fn product(
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
    shape: [usize; 3],
) -> Vec<f32> {
    let [rows, inner, cols] = shape;
    let cell = |i: usize, j: usize| -> f32 {
        let terms = (0..inner).map(|k| f64::from(a(i, k)) * f64::from(b(k, j)));
        (f64::from(SCALE) * terms.sum::<f64>()) as f32
    };
    (0..rows * cols)
        .map(|at| cell(at / cols, at % cols))
        .collect()
}

fn adapters_are_part_of_the_model(engine: &mut dyn Engine, max_binding_bytes: usize) {
    let base = params::gpt2(&DIMS);
    let model = base.with_adapters(&adapters());
    let values = adapted(&model);
    let plain = merged(&model, &values).tensors;
    let theirs = run(engine, &base, &plain, max_binding_bytes, false);
    let ours = run(engine, &model, &values, max_binding_bytes, false);
    let off = relative_l2(&ours.logps, &theirs.logps);
    assert!(off <= 2e-6, "log-probs: {off}");

    let index = |name: &str| model.iter().position(|p| p.name == name).unwrap();
    let rank = RANK;
    let mut count = 0;
    for (i, (param, grad)) in model.iter().zip(&ours.grads).enumerate() {
        assert_eq!(grad.is_empty(), !param.trainable, "{}", param.name);
        let Some(stem) = param.name.strip_suffix(".lora_A.weight") else {
            continue;
        };
        let b_at = index(&format!("{stem}.lora_B.weight"));
        let (a, b) = (&values[i], &values[b_at]);
        let weight = base.iter().position(|p| p.name == format!("{stem}.weight"));
        let dw = &theirs.grads[weight.unwrap()];
        let (ins, outs) = (param.rows, b.len() / rank);
        // dA = s · dW · Bᵀ, dB = s · Aᵀ · dW
        let da = product(
            |i, k| dw[i * outs + k],
            |k, j| b[j * outs + k],
            [ins, outs, rank],
        );
        let db = product(
            |i, k| a[k * rank + i],
            |k, j| dw[k * outs + j],
            [rank, ins, outs],
        );
        for (what, ours, theirs) in [("A", grad, da), ("B", &ours.grads[b_at], db)] {
            let off = relative_l2(ours, &theirs);
            println!("{stem}, {what}: {off}");
            assert!(off <= 1e-5, "{stem}, {what}: {off}");
        }
        count += 1;
    }
    assert_eq!(count, 4 * DIMS.n_layer);

    let again = run(engine, &model, &values, max_binding_bytes, true);
    assert!(
        again.grads == ours.grads,
        "recomputed activations change no bit"
    );
}

const WHOLE: usize = 128 << 20;
/// Cuts the vocabulary, and every matrix but the narrow ones.
const SPLIT: usize = 24 << 10;

#[test]
fn adapters_on_the_cpu() {
    adapters_are_part_of_the_model(&mut CpuEngine::new(), WHOLE);
    adapters_are_part_of_the_model(&mut CpuEngine::new(), SPLIT);
}

#[test]
fn adapters_on_a_gpu() {
    adapters_are_part_of_the_model(&mut common::gpu(), SPLIT);
    for variant in common::variants() {
        let options = OpenOptions {
            variant: Variant::Named(variant),
            ..OpenOptions::default()
        };
        adapters_are_part_of_the_model(&mut common::gpu_with(options), WHOLE);
    }
}
