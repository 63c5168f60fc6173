//! Logits, merged weights and ten steps against PEFT and PyTorch, on every engine.

use gpt2_dpo::batch::{Extent, Sides, Stream, Tile};
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::{Engine, EngineExt, Release};
use gpt2_dpo::gpu::{OpenOptions, Variant};
use gpt2_dpo::learner::{Learner, Recipe, Room};
use gpt2_dpo::model::forward::{self, Rows};
use gpt2_dpo::model::{Layout, Purpose, Tensors, Workspace, params, write};
use gpt2_dpo::objective::Objective;
use gpt2_dpo::ops::adamw::Settings;
use gpt2_dpo::optimizer::{Decay, Optimizer};
use gpt2_dpo::pretrained::{Adapter, Model};
use gpt2_dpo::scorer::{Reference, Share, Whole};

use super::{Expected, NAMES, adapter, base};
use crate::common::{self, max_abs, relative_l2};
use crate::golden::{Golden, LOGP_ABS, RELATIVE_L2, WHOLE, check_step};

/// PEFT merges in float64 here, and both round once.
const MERGED_ABS: f64 = 1e-6;

/// Cuts every matrix of the model, and the wider ones of the adapters.
const SMALL_SHARDS: usize = 128 * 48 * 4;

/// The logits `[T, V]` of all positions under the model with the adapter.
fn logits(engine: &mut dyn Engine, model: &Model, adapter: &Adapter, tokens: &[u32]) -> Vec<f32> {
    let dims = model.outline.config.dims;
    let count = tokens.len();
    let extent = Extent {
        rows: count,
        heads: count,
        pair_heads: count,
        pairs: 1,
    };
    let limits = common::limits(engine.max_binding_bytes(), count);
    let layout = Layout::of(&dims, &adapter.model(&dims), limits).unwrap();
    let weights = Tensors::zeros(engine, &layout, "weights").unwrap();
    let bare = weights.gpt2.without_adapters();
    write(engine, bare.iter(), &model.weights.tensors).unwrap();
    write(engine, weights.gpt2.adapters(), &adapter.tensors).unwrap();
    let ws = Workspace::new(engine, &layout, extent, 1, Purpose::Score).unwrap();

    let stream = Stream::sequence(tokens);
    let mut rec = engine.recording();
    rec.upload(ws.inputs.tokens, &stream.tokens);
    rec.upload(ws.inputs.positions, &stream.positions);
    rec.upload(ws.inputs.spans, &stream.spans);
    let tiles = Tile::of(&stream.spans, 0..count);
    rec.upload(ws.inputs.tiles, &tiles);
    let sources: Vec<u32> = (0..count as u32).collect();
    rec.upload(ws.inputs.sources, &sources);
    let gpt2 = &weights.gpt2;
    let rows = Rows {
        count,
        first: 0,
        tiles: &tiles,
    };
    forward::forward(&mut rec, &dims, gpt2, &ws, rows);
    forward::logits(&mut rec, &dims, gpt2, &ws, count);
    engine.run(&rec).unwrap();
    let mut rows = vec![Vec::new(); count];
    for shard in ws.vocabulary(gpt2) {
        let words = engine.read_f32(shard.logits).unwrap();
        for (row, values) in rows.iter_mut().zip(words.chunks_exact(shard.stride)) {
            row.extend_from_slice(&values[..shard.tokens.len()]);
        }
    }
    ws.release(engine);
    weights.release(engine);
    rows.concat()
}

fn logits_are_those_of_peft(engine: &mut dyn Engine) {
    let (model, expected) = (base(), Expected::load());
    let pair = &common::pairs(&model).examples[0];
    let tokens = [&pair.prompt[..], &pair.chosen].concat();
    for name in NAMES {
        let ours = logits(engine, &model, &adapter(name, &model), &tokens);
        let error = max_abs(&ours, &expected.tensor(&format!("{name}.logits")));
        println!("{name}: logits: max abs {error:.2e}");
        assert!(error <= LOGP_ABS, "{name}: {error}");
    }
}

#[test]
fn merged_weights_are_those_of_peft() {
    let (model, expected) = (base(), Expected::load());
    let dims = model.outline.config.dims;
    for name in NAMES {
        let mut merged = model.weights.clone();
        adapter(name, &model).merge_into(&dims, &mut merged);
        let theirs = expected.names(&format!("{name}.merged."));
        assert!(theirs.len() >= 2);
        for (param, (ours, before)) in params::table(&dims)
            .iter()
            .zip(merged.tensors.iter().zip(&model.weights.tensors))
        {
            if theirs.contains(&param.name) {
                let theirs = expected.tensor(&format!("{name}.merged.{}", param.name));
                let error = max_abs(ours, &theirs);
                println!("{name}: {}: max abs {error:.2e}", param.name);
                assert!(error <= MERGED_ABS, "{name}: {}: {error}", param.name);
            }
            let is_target = adapter(name, &model).model(&dims);
            let is_target = is_target
                .linears()
                .any(|linear| linear.weight.name == param.name && linear.adapter.is_some());
            assert_eq!(ours != before, is_target, "{name}: {}", param.name);
        }
    }
}

/// Ten steps over the golden pairs, in micro-batches of `batch` pairs.
fn ten_steps_are_those_of_pytorch(engine: &mut dyn Engine, batch: usize, max_shard_bytes: usize) {
    let (golden, expected, model) = (Golden::load(), Expected::load(), base());
    let dims = model.outline.config.dims;
    let adapter = adapter("all", &model);
    let (extent, count) = (golden.extent(batch), golden.examples.len());
    let limits = common::limits(max_shard_bytes, extent.pair_heads);
    let layout = Layout::of(&dims, &adapter.model(&dims), limits).unwrap();
    let objective = Objective::sigmoid(expected.number("/settings/beta") as f32);
    let recipe = Recipe {
        objective,
        optimizer: Optimizer {
            adamw: Settings {
                weight_decay: expected.number("/settings/weight_decay"),
                ..Settings::DEFAULT
            },
            decay: Decay::All,
            max_grad_norm: expected.number("/settings/max_grad_norm") as f32,
            scaling: None,
        },
    };
    let room = Room::new(extent, count);
    let mut learner = Learner::empty(engine, &layout, recipe, &room).unwrap();
    let gpt2 = learner.policy.weights.gpt2.clone();
    let bare = gpt2.without_adapters();
    write(engine, bare.iter(), &model.weights.tensors).unwrap();
    write(engine, gpt2.adapters(), &adapter.tensors).unwrap();

    let (losses, norms) = (expected.numbers("losses"), expected.numbers("grad_norms"));
    assert_eq!(losses.len(), 10);
    for step in 0..losses.len() {
        for (i, pairs) in golden.examples.chunks(batch).enumerate() {
            let share = Share {
                first_slot: i * batch,
                of: Whole::of(&golden.examples),
            };
            // The reference is the same weights without the adapter, on the fly.
            let (stream, reference) = (Stream::new(pairs, Sides::Both), Reference::Model(&bare));
            learner
                .accumulate(engine, &stream, reference, share)
                .unwrap();
        }
        let lr = expected.number("/settings/lr");
        let ticket = learner.update(engine, lr, count).unwrap();
        let report = learner.report(engine, ticket).unwrap();
        check_step(step, objective, &report, [losses[step], norms[step]]);
    }

    let weights = &learner.policy.weights;
    let base = weights.download(engine).unwrap();
    let is_base = |name: &str| !name.contains("lora");
    let table = gpt2.iter().zip(&base).filter(|(t, _)| is_base(&t.name));
    for ((tensor, after), before) in table.zip(&model.weights.tensors) {
        assert!(after == before, "{} has moved", tensor.name);
    }
    let mut worst = 0.0_f64;
    let adapters = gpt2.iter().zip(&base).filter(|(t, _)| !is_base(&t.name));
    for (tensor, ours) in adapters {
        let name = format!("after.base_model.model.transformer.{}", tensor.name);
        let stored = expected.tensor(&name);
        let (rows, cols) = (tensor.rows, tensor.cols);
        let theirs: Vec<f32> = (0..rows * cols)
            .map(|at| stored[at % cols * rows + at / cols])
            .collect();
        let error = relative_l2(ours, &theirs);
        assert!(error <= RELATIVE_L2, "{}: {error}", tensor.name);
        worst = worst.max(error);
    }
    println!("after ten steps: worst relative L2 {worst:.2e}");
}

#[test]
fn cpu() {
    logits_are_those_of_peft(&mut CpuEngine::new());
    ten_steps_are_those_of_pytorch(&mut CpuEngine::new(), 7, WHOLE);
    ten_steps_are_those_of_pytorch(&mut CpuEngine::new(), 2, SMALL_SHARDS);
}

#[test]
fn gpu() {
    let mut engine = common::gpu();
    logits_are_those_of_peft(&mut engine);
    ten_steps_are_those_of_pytorch(&mut engine, 7, WHOLE);
    ten_steps_are_those_of_pytorch(&mut engine, 2, SMALL_SHARDS);
}

/// Each named variant of the kernels.
#[test]
fn every_variant_of_a_gpu() {
    for name in common::variants() {
        let options = OpenOptions {
            variant: Variant::Named(name),
            ..OpenOptions::default()
        };
        ten_steps_are_those_of_pytorch(&mut common::gpu_with(options), 4, WHOLE);
    }
}
