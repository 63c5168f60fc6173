//! Tensors of real width on a device that binds at most 16 MiB: `wte` and every large matrix is split, and
//! training gives the results of whole tensors on the CPU.

use crate::common::{self, relative_l2};
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::data::{Dataset, Example, Place};
use gpt2_dpo::engine::Device;
use gpt2_dpo::gpu::OpenOptions;
use gpt2_dpo::model::{Dims, Layout, params};
use gpt2_dpo::pretrained::{self, Config, Outline, Weights};
use gpt2_dpo::train::{Event, Host, Inputs, Run};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::sync::Arc;

const MAX_BINDING_BYTES: usize = 16 << 20;

/// The widths of gpt2-large.
const DIMS: Dims = Dims {
    vocab_size: 3500,
    n_positions: 32,
    n_embd: 1280,
    n_layer: 1,
    n_head: 20,
    n_inner: 5120,
    epsilon: 1e-5,
};

fn pairs() -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut tokens = |count: usize| -> Vec<u32> {
        let token = |_| rng.next_u32() % DIMS.vocab_size as u32;
        (0..count).map(token).collect()
    };
    let examples = (1..=2).map(|line| {
        Example::new(
            tokens(11),
            tokens(5),
            tokens(6),
            Place::new("made up", line),
        )
    });
    Dataset::of("made up", examples.collect())
}

/// Losses, and the weights at the end.
fn train(engine: &mut dyn Device) -> (Vec<f32>, Weights) {
    let out = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        batch_size: 1,
        gradient_accumulation_steps: 2,
        max_steps: 2,
        learning_rate: 1e-4,
        cache_dir: Some(out.path().to_owned()),
        ..TrainConfig::default()
    };
    let data = pairs();
    let outline = Arc::new(Outline::new(Config::new(&DIMS, None), None));
    let inputs = Inputs::new(outline, pretrained::initial(&DIMS, 13), &data, None);
    let mut losses = Vec::new();
    let mut tell = |event: Event| {
        if let Event::Step { row, .. } = event {
            losses.push(row.summary.loss as f32);
        }
    };
    let run = Run::new(
        engine,
        &config,
        inputs,
        out.path(),
        Host::default(),
        &mut tell,
    );
    let outcome = run.unwrap().train().unwrap().finished().unwrap();
    (losses, outcome.weights)
}

/// Row shards of all tensors.
fn shards(layout: &Layout) -> usize {
    let placed = layout.params.iter();
    placed.map(|placed| placed.shards.len()).sum()
}

#[test]
fn sixteen_mib_bindings_split_most_and_change_nothing() {
    let layout = Layout::new(&DIMS, common::limits(MAX_BINDING_BYTES, 11)).unwrap();
    assert_eq!(layout.vocabulary_strides().count(), 2);
    let whole = Layout::new(&DIMS, common::limits(usize::MAX, 11)).unwrap();
    // wte and three of the four matrices of the block.
    assert!(shards(&layout) >= shards(&whole) + 4);

    let narrow = OpenOptions {
        max_binding_bytes: Some(MAX_BINDING_BYTES),
        ..common::CHECKED
    };
    let gpu = train(&mut common::gpu_with(narrow));
    let cpu = train(&mut CpuEngine::new());
    let error = relative_l2(&gpu.0, &cpu.0);
    assert!(error <= 1e-5, "losses: {error}");
    let start = pretrained::initial(&DIMS, 13);
    let tensors = gpu.1.tensors.iter().zip(&cpu.1.tensors);
    let table = params::table(&DIMS);
    for (param, ((ours, theirs), start)) in table.iter().zip(tensors.zip(&start.tensors)) {
        // The gradient of the keys' bias is 0 but for rounding, which Adam turns into full steps.
        if !param.role.is_matrix() {
            continue;
        }
        let moved =
            |values: &[f32]| -> Vec<f32> { values.iter().zip(start).map(|(v, s)| v - s).collect() };
        // Adam's first steps depend only on a gradient's sign, which rounding decides for the smallest gradients.
        let error = relative_l2(&moved(ours), &moved(theirs));
        assert!(error <= 0.02, "{}: {error}", param.name);
    }
}
