//! Whole runs that train adapters, or a part of a model: what moves, what is saved, and what a run that goes on gives.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use gpt2_dpo::batch::{Extent, Sides, Stream};
use gpt2_dpo::checkpoint::{self, Checkpoint};
use gpt2_dpo::config::{BestMetric, ReferenceMode, TrainConfig};
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::Device;
use gpt2_dpo::learner::{Learner, Recipe, Room};
use gpt2_dpo::model::{Layout, params};
use gpt2_dpo::objective::Objective;
use gpt2_dpo::pretrained::{Adapter, Weights};
use gpt2_dpo::scorer::{Reference, Share, Whole};
use gpt2_dpo::train::{Event, Host, Inputs, Resume, Run};
use serde_json::Value;

use super::{Expected, adapter, base};
use crate::common::{self, bits, relative_l2};
use crate::golden::{LOSS_ABS, RELATIVE_L2, WHOLE};

/// Four steps of 2 × 2 pairs over the seven golden pairs, each evaluated and saved.
fn config(cache: &Path) -> TrainConfig {
    TrainConfig {
        batch_size: 2,
        gradient_accumulation_steps: 2,
        epochs: 2,
        learning_rate: 1e-3,
        eval_steps: 1,
        save_steps: 1,
        save_minutes: 0.0,
        save_total_limit: 0,
        cache_dir: Some(cache.to_owned()),
        ..TrainConfig::default()
    }
}

fn with_adapters(cache: &Path) -> TrainConfig {
    TrainConfig {
        lora_rank: 3,
        ..config(cache)
    }
}

/// The start of a run beside the golden policy.
#[derive(Default)]
struct Start {
    adapter: Option<Adapter>,
    reference: Option<Weights>,
    from: Option<Checkpoint>,
}

/// The trained weights of a run into the folder `out`.
fn train(engine: &mut dyn Device, config: &TrainConfig, out: &Path, start: Start) -> Weights {
    fs::create_dir_all(out).unwrap();
    let model = base();
    let pairs = common::pairs(&model);
    let inputs = Inputs {
        adapter: start.adapter,
        reference: start.reference,
        resume: start.from.map(|checkpoint| Resume {
            checkpoint,
            anyway: false,
        }),
        ..Inputs::new(Arc::new(model.outline), model.weights, &pairs, Some(&pairs))
    };
    let mut silent = |_: Event| {};
    let run = Run::new(engine, config, inputs, out, Host::default(), &mut silent);
    let outcome = run.unwrap().train().unwrap().finished().unwrap();
    outcome.weights
}

fn numbers(rows: &[Value], name: &str) -> Vec<f32> {
    let values = rows.iter().filter_map(|row| row.get(name));
    values.map(|value| value.as_f64().unwrap() as f32).collect()
}

fn adapters_are_trained(make: &dyn Fn() -> Box<dyn Device>) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let config = with_adapters(&at("cache"));
    let whole = train(make().as_mut(), &config, &at("whole"), Start::default());
    let rows = common::metrics(&at("whole"));

    // The first loss is ln 2, because a new adapter changes nothing; then it falls.
    let losses = numbers(&rows, "loss");
    assert!(
        (losses[0] - std::f32::consts::LN_2).abs() <= 1e-6,
        "{losses:?}"
    );
    assert!(losses[3] < losses[0] - 0.01, "{losses:?}");
    let model = base();
    let dims = model.outline.config.dims;
    let began = Adapter::initial(config.adapter_config().unwrap(), &dims, config.seed);
    assert_eq!(whole.tensors.len(), began.tensors.len());
    for (after, before) in whole.tensors.iter().zip(&began.tensors) {
        assert!(after != before && after.iter().all(|v| v.is_finite()));
    }

    // A checkpoint is the adapter, its moments, and no base.
    for (step, differs) in [(4, false), (3, true)] {
        let folder = checkpoint::folder(&at("whole"), step);
        let saved = Adapter::load(&folder, &dims).unwrap();
        assert_eq!(saved.config.adapters(), began.config.adapters());
        assert_eq!(saved.tensors != whole.tensors, differs, "step {step}");
        assert!(!folder.join("model.safetensors").exists());
        let bytes = checkpoint::list(&at("whole")).unwrap()[0].bytes();
        let values: usize = whole.tensors.iter().map(Vec::len).sum();
        assert!(bytes < 3 * 4 * values as u64 + 32_000, "{bytes}");
    }

    // A run that goes on gives the same bits, from wherever.
    for step in [1, 3] {
        let (config, out) = (&config, at(&format!("from-{step}")));
        fs::create_dir_all(out.join("checkpoints")).unwrap();
        let from = checkpoint::folder(&at("whole"), step);
        let to = checkpoint::folder(&out, step);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(&from).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
        let start = Start {
            from: Some(Checkpoint::open(&to).unwrap()),
            ..Start::default()
        };
        let resumed = train(make().as_mut(), config, &out, start);
        assert!(bits(&resumed) == bits(&whole), "from step {step}");
        assert_eq!(common::metrics(&out), rows, "from step {step}");
    }

    // The reference on the fly is the same weights without adapters: the same but for rounding.
    let on_the_fly = TrainConfig {
        reference: ReferenceMode::OnTheFly,
        ..config.clone()
    };
    train(make().as_mut(), &on_the_fly, &at("fly"), Start::default());
    let off = relative_l2(&numbers(&common::metrics(&at("fly")), "loss"), &losses);
    assert!(off <= 1e-6, "on the fly: {off}");

    // Recomputed activations change no bit.
    let recomputed = TrainConfig {
        checkpoint_activations: true,
        ..config.clone()
    };
    let again = train(make().as_mut(), &recomputed, &at("less"), Start::default());
    assert!(bits(&again) == bits(&whole), "recomputed");

    // A reference that is named is the reference, cached or on the fly.
    let mut named = Vec::new();
    for config in [&config, &on_the_fly] {
        let config = TrainConfig {
            ref_model: Some("named".into()),
            ..config.clone()
        };
        let start = Start {
            reference: Some(crate::golden::Golden::load().reference),
            ..Start::default()
        };
        let out = at(&format!("named-{}", config.reference));
        train(make().as_mut(), &config, &out, start);
        named.push(numbers(&common::metrics(&out), "loss"));
    }
    let off = relative_l2(&named[1], &named[0]);
    assert!(off <= 1e-6, "named: {off}");
    assert!(
        relative_l2(&named[0], &losses) > 1e-2,
        "{named:?} {losses:?}"
    );
}

#[test]
fn adapters_are_trained_on_the_cpu() {
    adapters_are_trained(&|| Box::new(CpuEngine::new()));
    adapters_are_trained(&|| Box::new(CpuEngine::with_max_binding(64 << 10)));
}

#[test]
fn adapters_are_trained_on_a_gpu() {
    adapters_are_trained(&|| Box::new(common::gpu()));
}

/// A run that begins with PEFT's adapter takes the ten steps of the fixture.
fn a_run_goes_on_with_an_adapter_of_peft(engine: &mut dyn Device) {
    let (model, expected) = (base(), Expected::load());
    let given = adapter("all", &model);
    let dir = tempfile::tempdir().unwrap();
    for reference in [ReferenceMode::Cached, ReferenceMode::OnTheFly] {
        let config = TrainConfig {
            batch_size: 7,
            gradient_accumulation_steps: 1,
            max_steps: 10,
            eval_steps: 0,
            save_steps: 0,
            no_shuffle: true,
            learning_rate: expected.number("/settings/lr"),
            max_grad_norm: expected.number("/settings/max_grad_norm") as f32,
            reference,
            ..config(&dir.path().join("cache"))
        };
        let config = config.with_adapter(&given.config);
        let out = dir.path().join(reference.to_string());
        let start = Start {
            adapter: Some(given.clone()),
            ..Start::default()
        };
        let trained = train(engine, &config, &out, start);
        let losses = numbers(&common::metrics(&out), "loss");
        for (step, (ours, theirs)) in losses.iter().zip(expected.numbers("losses")).enumerate() {
            let off = (f64::from(*ours) - theirs).abs();
            assert!(off <= LOSS_ABS, "{reference}: step {step}: {off}");
        }
        assert_eq!(losses.len(), 10);
        let dims = model.outline.config.dims;
        let layout = given.model(&dims);
        for (param, ours) in layout.adapters().zip(&trained.tensors) {
            let name = format!("after.base_model.model.transformer.{}", param.name);
            let stored = expected.tensor(&name);
            let theirs: Vec<f32> = (0..param.len())
                .map(|at| stored[at % param.cols * param.rows + at / param.cols])
                .collect();
            let off = relative_l2(ours, &theirs);
            assert!(off <= RELATIVE_L2, "{reference}: {}: {off}", param.name);
        }
    }
}

#[test]
fn a_run_goes_on_with_an_adapter_of_peft_on_the_cpu() {
    a_run_goes_on_with_an_adapter_of_peft(&mut CpuEngine::new());
}

#[test]
fn a_run_goes_on_with_an_adapter_of_peft_on_a_gpu() {
    a_run_goes_on_with_an_adapter_of_peft(&mut common::gpu());
}

/// The best evaluation's adapter is read back from its checkpoint.
#[test]
fn the_best_adapter_is_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        save_best: Some(BestMetric::Accuracy),
        ..with_adapters(&dir.path().join("cache"))
    };
    let out = dir.path().join("out");
    let best = train(&mut CpuEngine::new(), &config, &out, Start::default());
    let rows = common::metrics(&out);
    let accuracies = numbers(&rows, "eval_rewards/accuracies");
    // The first of the highest, that before the first step left out.
    let highest = accuracies[1..].iter().fold(0.0, |a: f32, b| a.max(*b));
    let step = accuracies[1..].iter().position(|a| *a == highest).unwrap() + 1;
    assert!(step < 4, "{accuracies:?}");
    let folder = checkpoint::folder(&out, step);
    let saved = Adapter::load(&folder, &base().outline.config.dims).unwrap();
    assert_eq!(saved.tensors, best.tensors);
}

#[test]
fn settings_of_another_adapter_are_refused() {
    let model = base();
    let pairs = common::pairs(&model);
    let given = adapter("all", &model);
    let dir = tempfile::tempdir().unwrap();
    let config = with_adapters(&dir.path().join("cache"));
    let inputs = Inputs {
        adapter: Some(given),
        ..Inputs::new(Arc::new(model.outline), model.weights, &pairs, None)
    };
    let (mut engine, mut silent) = (CpuEngine::new(), |_: Event| {});
    let run = Run::new(
        &mut engine,
        &config,
        inputs,
        dir.path(),
        Host::default(),
        &mut silent,
    );
    let error = run.err().unwrap().to_string();
    assert!(error.contains("other settings"), "{error}");
}

/// The parts of a model that the options may train, by the option's name.
fn parts(cache: &Path) -> [(&'static str, TrainConfig); 3] {
    let config = config(cache);
    [
        (
            "embeddings",
            TrainConfig {
                freeze_embeddings: true,
                ..config.clone()
            },
        ),
        (
            "one layer",
            TrainConfig {
                train_layers: 1,
                ..config.clone()
            },
        ),
        (
            "two layers",
            TrainConfig {
                train_layers: 2,
                ..config
            },
        ),
    ]
}

/// The gradient of each parameter over the golden pairs; empty for a frozen one.
fn gradients(engine: &mut dyn Device, config: &TrainConfig, recompute: bool) -> Vec<Vec<f32>> {
    let model = base();
    let dims = model.outline.config.dims;
    let examples = common::pairs(&model).examples;
    let extent = Extent::of(&examples, 7, Sides::Both);
    let limits = common::limits(WHOLE, extent.pair_heads);
    let layout = Layout::of(&dims, &config.parameters(&dims).unwrap(), limits).unwrap();
    let recipe = Recipe {
        objective: Objective::sigmoid(0.1),
        optimizer: config.optimizer(),
    };
    let room = Room {
        recompute,
        ..Room::new(extent, 7)
    };
    let learner = Learner::new(engine, &layout, &model.weights, recipe, &room).unwrap();
    let stream = Stream::new(&examples, Sides::Both);
    let references = (0..stream.targets.len())
        .map(|i| -3.0 - (i % 5) as f32)
        .collect();
    let share = Share {
        first_slot: 0,
        of: Whole::of(&examples),
    };
    learner
        .accumulate(engine, &stream, Reference::LogProbs(references), share)
        .unwrap();
    learner.grads.download(engine).unwrap()
}

/// What is trained has the gradients that it has in the whole model, and what is frozen has none.
fn a_part_has_the_gradients_of_the_whole(make: &dyn Fn() -> Box<dyn Device>) {
    let dir = tempfile::tempdir().unwrap();
    let whole = gradients(make().as_mut(), &config(dir.path()), false);
    let dims = base().outline.config.dims;
    for (what, config) in parts(dir.path()) {
        let params = config.parameters(&dims).unwrap();
        for recompute in [false, true] {
            let part = gradients(make().as_mut(), &config, recompute);
            for ((param, ours), theirs) in params.iter().zip(&part).zip(&whole) {
                assert_eq!(ours.is_empty(), !param.trainable, "{what}: {}", param.name);
                if param.trainable {
                    let off = relative_l2(ours, theirs);
                    assert!(off <= 1e-6, "{what}: {}: {off}", param.name);
                }
            }
        }
        let count = params.iter().filter(|param| param.trainable).count();
        let expected = match what {
            "embeddings" | "two layers" => 2 * 12 + 2,
            _ => 12 + 2,
        };
        assert_eq!(count, expected, "{what}");
    }
}

#[test]
fn a_part_has_the_gradients_of_the_whole_on_the_cpu() {
    a_part_has_the_gradients_of_the_whole(&|| Box::new(CpuEngine::new()));
}

#[test]
fn a_part_has_the_gradients_of_the_whole_on_a_gpu() {
    a_part_has_the_gradients_of_the_whole(&|| Box::new(common::gpu()));
}

/// Adapters beside some layers get the gradients that they get beside new adapters of all layers, which change nothing.
#[test]
fn adapters_of_some_layers_have_the_gradients_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let model = base();
    let dims = model.outline.config.dims;
    let gradients = |targets: &str| -> Vec<(String, Vec<f32>)> {
        let config = TrainConfig {
            lora_targets: targets.parse().unwrap(),
            ..with_adapters(dir.path())
        };
        let params = config.parameters(&dims).unwrap();
        let adapter = Adapter::initial(config.adapter_config().unwrap(), &dims, 3);
        let (mut base, mut own) = (model.weights.tensors.iter(), adapter.tensors.iter());
        let values = params
            .iter()
            .map(|param| match param.name.contains("lora") {
                true => own.next().unwrap().clone(),
                false => base.next().unwrap().clone(),
            });
        let weights = Weights {
            tensors: values.collect(),
        };
        let engine = &mut CpuEngine::new();
        let examples = common::pairs(&model).examples;
        let extent = Extent::of(&examples, 7, Sides::Both);
        let limits = common::limits(WHOLE, extent.pair_heads);
        let layout = Layout::of(&dims, &params, limits).unwrap();
        let recipe = Recipe {
            objective: Objective::sigmoid(0.1),
            optimizer: config.optimizer(),
        };
        let room = Room::new(extent, 7);
        let learner = Learner::new(engine, &layout, &weights, recipe, &room).unwrap();
        let stream = Stream::new(&examples, Sides::Both);
        let references = vec![-4.0; stream.targets.len()];
        let share = Share {
            first_slot: 0,
            of: Whole::of(&examples),
        };
        learner
            .accumulate(engine, &stream, Reference::LogProbs(references), share)
            .unwrap();
        let grads = learner.grads.download(engine).unwrap();
        let named = params.iter().map(|param| param.name.clone()).zip(grads);
        named.filter(|(_, grad)| !grad.is_empty()).collect()
    };
    let all = gradients("all-linear");
    assert_eq!(all.len(), 2 * 4 * dims.n_layer);
    for targets in [
        "c_attn",
        "c_fc",
        "c_proj",
        "attn.c_proj",
        "mlp.c_proj",
        "h.1.mlp.c_proj",
        "h.1.mlp.c_fc",
        "h.1.attn.c_proj,h.0.mlp.c_fc",
    ] {
        let some = gradients(targets);
        assert!(!some.is_empty() && some.len() < all.len());
        for (name, ours) in some {
            let theirs = &all.iter().find(|(other, _)| *other == name).unwrap().1;
            if name.contains("lora_A") {
                // B is 0, and so is the gradient of A.
                assert!(ours.iter().all(|g| *g == 0.0), "{targets}: {name}");
                continue;
            }
            let off = relative_l2(&ours, theirs);
            assert!(off <= 1e-6, "{targets}: {name}: {off}");
        }
    }
}

#[test]
fn frozen_parameters_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let model = base();
    let table = params::table(&model.outline.config.dims);
    for (what, config) in parts(&dir.path().join("cache")) {
        let out = dir.path().join(what);
        let whole = train(&mut CpuEngine::new(), &config, &out, Start::default());
        let params = config.parameters(&model.outline.config.dims).unwrap();
        for (i, param) in params.iter().enumerate() {
            let moved = whole.tensors[i] != model.weights.tensors[i];
            assert_eq!(moved, param.trainable, "{what}: {}", table[i].name);
        }
        // A checkpoint is a whole model, and the run goes on from it with the same bits.
        let newest = checkpoint::find(&out).unwrap().unwrap();
        let saved = Weights::load(newest.path(), &model.outline.config.dims).unwrap();
        assert!(bits(&saved) == bits(&whole), "{what}");
        let start = Start {
            from: Some(Checkpoint::open(&checkpoint::folder(&out, 2)).unwrap()),
            ..Start::default()
        };
        let resumed = train(&mut CpuEngine::new(), &config, &out, start);
        assert!(bits(&resumed) == bits(&whole), "{what}");
    }
}
