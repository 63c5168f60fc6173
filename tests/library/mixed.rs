//! Mixed precision: which operands are rounded, and how the loss scale finds its value with no more skipped
//! steps than necessary. The tests run on the CPU engine, whose twins round as matrix units do, and on a GPU
//! with matrix units, if there is one.

use std::path::Path;
use std::sync::Arc;

use crate::common::{self, model, pairs, relative_l2};
use gpt2_dpo::batch::{Extent, Stream};
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::{Device, Engine, EngineExt};
use gpt2_dpo::error::Error;
use gpt2_dpo::gpu::OpenOptions;
use gpt2_dpo::learner::{Broken, Learner, Recipe, Room, StepReport};
use gpt2_dpo::model::Layout;
use gpt2_dpo::objective::Objective;
use gpt2_dpo::ops::adamw::Settings;
use gpt2_dpo::ops::linear::{self, Shape};
use gpt2_dpo::ops::step_control::{ADVANCE, Scaling};
use gpt2_dpo::optimizer::{Decay, Optimizer};
use gpt2_dpo::pretrained::Weights;
use gpt2_dpo::scorer::{Reference, Share};
use gpt2_dpo::target::Precision;
use gpt2_dpo::train::{Event, Host, Inputs, Run};
use half::f16;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn mixed_cpu() -> CpuEngine {
    CpuEngine::new().with_precision(Precision::Mixed)
}

/// x `[rows, ins]` · w `[ins, outs]` on the engine.
fn product(
    engine: &mut dyn Engine,
    [rows, ins, outs]: [usize; 3],
    x: &[f32],
    w: &[f32],
) -> Vec<f32> {
    let (x, w) = (
        engine.upload("x", x).unwrap(),
        engine.upload("w", w).unwrap(),
    );
    let y = engine.create("y", rows * outs).unwrap();
    let mut rec = engine.recording();
    let shape = Shape::whole(rows, ins, outs);
    let op = linear::Nn {
        x,
        weight: w,
        bias: None,
        residual: None,
        y,
        first_row: 0,
    };
    linear::nn(&mut rec, &op, shape, linear::Sum::SET);
    engine.run(&rec).unwrap();
    engine.read_f32(y).unwrap()
}

/// The same product by its definition in f64, with operands rounded by `round`.
fn formula([rows, ins, outs]: [usize; 3], x: &[f32], w: &[f32], round: fn(f32) -> f32) -> Vec<f32> {
    let term = |i: usize, j: usize, k: usize| {
        f64::from(round(x[i * ins + k])) * f64::from(round(w[k * outs + j]))
    };
    let sum = |ij: usize| (0..ins).map(|k| term(ij / outs, ij % outs, k)).sum::<f64>() as f32;
    (0..rows * outs).map(sum).collect()
}

/// Uniform in ±1.
fn numbers(count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut uniform = || f64::from(rng.next_u32()) / f64::from(u32::MAX);
    (0..count).map(|_| (2.0 * uniform() - 1.0) as f32).collect()
}

#[test]
fn operands_are_rounded_and_sums_are_not() {
    let to_f16 = |v: f32| f16::from_f32(v).to_f32();
    let shape = [5, 200, 8];
    let (x, w) = (numbers(5 * 200), numbers(200 * 8));
    let mixed = product(&mut mixed_cpu(), shape, &x, &w);
    let rounded = formula(shape, &x, &w, to_f16);
    assert!(relative_l2(&mixed, &rounded) < 5e-7);
    let exact = formula(shape, &x, &w, |v| v);
    let off = relative_l2(&mixed, &exact);
    assert!((1e-5..1e-3).contains(&off), "{off}");
    assert!(relative_l2(&product(&mut CpuEngine::new(), shape, &x, &w), &exact) < 5e-7);
}

/// Matrix units take rows of four elements. A product with other rows stays in f32, on every device; so does one of a
/// single row, as in generation, of which they would compute little.
#[test]
fn what_does_not_fit_is_not_rounded() {
    for shape in [[5, 200, 9], [1, 200, 8]] {
        let [rows, inner, cols] = shape;
        let (x, w) = (numbers(rows * inner), numbers(inner * cols));
        let mixed = product(&mut mixed_cpu(), shape, &x, &w);
        assert_eq!(mixed, product(&mut CpuEngine::new(), shape, &x, &w));
    }
}

#[test]
fn what_f16_cannot_hold_is_infinite_and_not_clamped() {
    let shape = [2, 4, 4];
    let mut x = numbers(8);
    (x[2], x[5]) = (70_000.0, 70_000.0);
    let y = product(&mut mixed_cpu(), shape, &x, &[1.0; 16]);
    assert_eq!(y, [f32::INFINITY; 8]);
}

/// A model in supervised training on the same four pairs at every step.
struct Bench {
    engine: Box<dyn Device>,
    learner: Learner,
    stream: Stream,
}

const PAIRS: usize = 4;

impl Bench {
    fn new(engine: Box<dyn Device>, initial: f32, weights: &Weights) -> Bench {
        let mut engine = engine;
        let (model, objective) = (model(), Objective::sft());
        let examples = pairs(&model).examples;
        let extent = Extent::of(&examples, PAIRS, objective.sides());
        let dims = &model.outline.config.dims;
        let layout = Layout::new(
            dims,
            common::limits(engine.max_binding_bytes(), extent.pair_heads),
        )
        .unwrap();
        let optimizer = Optimizer {
            adamw: Settings::DEFAULT,
            decay: Decay::All,
            max_grad_norm: 1.0,
            scaling: Some(Scaling {
                initial,
                ..Scaling::DEFAULT
            }),
        };
        let recipe = Recipe {
            objective,
            optimizer,
        };
        let room = Room::new(extent, PAIRS);
        let learner = Learner::new(engine.as_mut(), &layout, weights, recipe, &room);
        Bench {
            engine,
            learner: learner.unwrap(),
            stream: Stream::new(&examples[..PAIRS], objective.sides()),
        }
    }

    fn accumulate(&mut self) {
        let share = Share {
            first_slot: 0,
            of: common::whole(PAIRS),
        };
        let (engine, stream) = (self.engine.as_mut(), &self.stream);
        let done = self
            .learner
            .accumulate(engine, stream, Reference::None, share);
        done.unwrap();
    }

    fn step(&mut self) -> StepReport {
        self.accumulate();
        let engine = self.engine.as_mut();
        let ticket = self.learner.update(engine, 1e-3, PAIRS).unwrap();
        self.learner.report(engine, ticket).unwrap()
    }

    fn weights(&mut self) -> Vec<Vec<f32>> {
        let engine = self.engine.as_mut();
        self.learner.policy.weights.download(engine).unwrap()
    }

    fn gradients(&mut self) -> Vec<f32> {
        self.learner
            .grads
            .download(self.engine.as_mut())
            .unwrap()
            .concat()
    }
}

/// Far too large a scale halves step by step, at no other cost, until the gradient fits; the first step
/// taken is then, to the bit, the first of a run that began with that scale.
fn backs_off_and_recovers(make: &mut dyn FnMut() -> Box<dyn Device>) {
    let start = model().weights;
    let initial = 2.0_f32.powi(40);
    let mut bench = Bench::new(make(), initial, &start);
    let before = bench.weights();
    let mut scale = initial;
    let mut skipped = 0;
    let taken = loop {
        let report = bench.step();
        if report.broken.is_none() {
            break report;
        }
        assert_eq!(report.broken, Some(Broken::Overflow));
        assert_eq!(report.loss_scale, Some(scale / 2.0));
        assert!(report.loss_is_finite() && !report.grad_norm.is_finite());
        assert!(bench.weights() == before, "a step that was not taken");
        assert!(
            bench.gradients().iter().all(|&g| g == 0.0),
            "kept a gradient"
        );
        scale /= 2.0;
        skipped += 1;
        assert!(skipped < 40);
    };
    assert!(skipped > 10, "{skipped}");
    assert!(taken.grad_norm.is_finite() && taken.grad_norm > 0.0);
    assert!(bench.weights() != before);
    let mut direct = Bench::new(make(), scale, &start);
    let report = direct.step();
    assert_eq!(report.broken, None);
    assert_eq!(report.grad_norm, taken.grad_norm);
    assert!(direct.weights() == bench.weights());
    // Training continues normally from here.
    let losses: Vec<f64> = (0..10)
        .map(|_| Objective::sft().summary(&bench.step().pairs).loss)
        .collect();
    assert!(losses[9] < losses[0] - 0.1, "{losses:?}");
}

#[test]
fn the_scale_backs_off_and_recovers_on_the_cpu() {
    backs_off_and_recovers(&mut || Box::new(mixed_cpu()));
}

#[test]
fn the_scale_backs_off_and_recovers_on_matrix_units() {
    let test = "the_scale_backs_off_and_recovers_on_matrix_units";
    let gpu = || common::mixed_gpu(test, |units| units.any(), OpenOptions::default());
    if gpu().is_some() {
        backs_off_and_recovers(&mut || Box::new(gpu().unwrap().0));
    }
}

/// A NaN in the weights is not the scale's fault: a few steps at scale 1 show that.
#[test]
fn what_no_scale_helps_against_ends_for_good() {
    let mut weights = model().weights;
    weights.tensors[3][1] = f32::NAN;
    let mut bench = Bench::new(Box::new(mixed_cpu()), 4.0, &weights);
    let tries = 2 + ADVANCE.constant("GIVE_UP");
    for step in 1..=tries + 2 {
        let broken = match step < tries {
            true => Broken::Overflow,
            false => Broken::ForGood,
        };
        assert_eq!(bench.step().broken, Some(broken), "step {step}");
    }
}

fn config(precision: Precision, cache: &Path) -> TrainConfig {
    TrainConfig {
        batch_size: 2,
        gradient_accumulation_steps: 2,
        epochs: 2,
        learning_rate: 1e-3,
        precision,
        cache_dir: Some(cache.to_owned()),
        ..TrainConfig::default()
    }
}

/// The weights and the rows of metrics of a run, without fields that depend on the clock.
fn train(
    engine: &mut dyn Device,
    config: &TrainConfig,
) -> Result<(Weights, Vec<serde_json::Value>), Error> {
    let (model, out) = (model(), tempfile::tempdir().unwrap());
    let pairs = pairs(&model);
    let inputs = Inputs::new(Arc::new(model.outline), model.weights, &pairs, Some(&pairs));
    let mut silent = |_: Event| {};
    let run = Run::new(
        engine,
        config,
        inputs,
        out.path(),
        Host::default(),
        &mut silent,
    )?;
    let outcome = run.train()?.finished()?;
    assert_eq!(outcome.skipped, 0);
    Ok((outcome.weights, common::metrics(out.path())))
}

fn losses(rows: &[serde_json::Value]) -> Vec<f32> {
    let losses = rows.iter().filter_map(|row| row.get("loss"));
    losses.map(|loss| loss.as_f64().unwrap() as f32).collect()
}

#[test]
fn a_mixed_run_learns_as_one_in_f32_does() {
    let cache = tempfile::tempdir().unwrap();
    let run = |precision| {
        let config = config(precision, cache.path());
        train(&mut CpuEngine::new().with_precision(precision), &config).unwrap()
    };
    let (mixed, exact) = (run(Precision::Mixed), run(Precision::F32));
    let off = relative_l2(&losses(&mixed.1), &losses(&exact.1));
    println!("losses: {off}");
    assert!((1e-9..1e-3).contains(&off), "{off}");
    assert!(mixed.0.tensors != exact.0.tensors);
    // Policy and reference are rounded alike, and the f32 run's cached reference is not used.
    assert_eq!(mixed.1[0]["eval_rewards/ties"], 1.0);
    for row in &mixed.1 {
        assert_eq!(row.get("loss_scale").is_some(), row.get("loss").is_some());
    }
    assert_eq!(mixed.1[1]["loss_scale"], 65536.0);
    assert!(exact.1.iter().all(|row| row.get("loss_scale").is_none()));
    assert!(
        run(Precision::Mixed).0.tensors == mixed.0.tensors,
        "again, to the bit"
    );
}

/// The gradient of one micro-batch.
fn gradient(engine: Box<dyn Device>) -> Vec<f32> {
    let mut bench = Bench::new(engine, Scaling::DEFAULT.initial, &model().weights);
    bench.accumulate();
    bench.gradients()
}

#[test]
fn matrix_units_train_as_the_cpu_does() {
    let test = "matrix_units_train_as_the_cpu_does";
    let gpu = || common::mixed_gpu(test, |units| units.any(), OpenOptions::default());
    let Some((mut engine, _)) = gpu() else {
        return;
    };
    // A rounding in f32 tips some to f16, those tip more in the next layer, and a few layers on the two
    // are as far apart as each is from f32: `tests/library/ops.rs` holds single products to their twins.
    let exact = gradient(Box::new(CpuEngine::new()));
    let twins = relative_l2(&gradient(Box::new(mixed_cpu())), &exact);
    let ours = relative_l2(&gradient(Box::new(gpu().unwrap().0)), &exact);
    println!("gradients off f32: {ours}, twins {twins}");
    assert!(
        (0.67..1.5).contains(&(ours / twins)),
        "{ours}, twins {twins}"
    );

    let cache = tempfile::tempdir().unwrap();
    let config = config(Precision::Mixed, cache.path());
    let ours = train(&mut engine, &config).unwrap();
    let twins = train(&mut mixed_cpu(), &config).unwrap();
    let off = relative_l2(&losses(&ours.1), &losses(&twins.1));
    println!("losses: {off}");
    assert!(off < 1e-3, "{off}");
    let again = train(&mut engine, &config).unwrap();
    assert!(again.0.tensors == ours.0.tensors, "again, to the bit");
}

#[test]
fn a_run_whose_loss_is_not_finite_stops() {
    let cache = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        learning_rate: 1e30,
        ..config(Precision::Mixed, cache.path())
    };
    match train(&mut mixed_cpu(), &config) {
        Err(Error::NotFinite { step, .. }) => assert!(step > 1),
        other => panic!("{:?}", other.map(|(_, rows)| rows)),
    }
}
