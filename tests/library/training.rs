//! Whole training runs through the library, on both engines: changes that must not alter the results, and
//! changes that must.

use std::path::Path;
use std::sync::Arc;

use crate::common::{self, bits, model, pairs, relative_l2};
use gpt2_dpo::batch::{Extent, Sides, Stream};
use gpt2_dpo::buffer::Buffer;
use gpt2_dpo::config::{ReferenceMode, TrainConfig};
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::data;
use gpt2_dpo::dpo::PairMetrics;
use gpt2_dpo::engine::{
    Clock, Compared, Device, Engine, Memory, Release, Ticket, Timed, TimedRun, Tuned, Usage,
};
use gpt2_dpo::error::Result;
use gpt2_dpo::gpu::{GpuEngine, OpenOptions, Variant};
use gpt2_dpo::pretrained::{Model, Weights};

use gpt2_dpo::model::Layout;
use gpt2_dpo::objective::Objective;
use gpt2_dpo::recording::{Recording, Step};
use gpt2_dpo::scorer::{Reference, Scorer, Share};
use gpt2_dpo::train::{Host, Inputs, Run};

/// Two epochs of steps of 2 × 2 pairs; the last step of each epoch is shorter.
fn config(cache: &Path) -> TrainConfig {
    TrainConfig {
        batch_size: 2,
        gradient_accumulation_steps: 2,
        epochs: 2,
        learning_rate: 1e-3,
        cache_dir: Some(cache.to_owned()),
        ..TrainConfig::default()
    }
}

/// Weights and metrics of a run; the metrics without what depends on the clock.
fn train(engine: &mut dyn Device, config: &TrainConfig) -> (Weights, Vec<serde_json::Value>) {
    let (model, out) = (model(), tempfile::tempdir().unwrap());
    let pairs = pairs(&model);
    let inputs = Inputs::new(Arc::new(model.outline), model.weights, &pairs, Some(&pairs));
    let mut silent = |_: gpt2_dpo::train::Event| {};
    let run = Run::new(
        engine,
        config,
        inputs,
        out.path(),
        Host::default(),
        &mut silent,
    );
    let outcome = run.unwrap().train().unwrap().finished().unwrap();
    (outcome.weights, common::metrics(out.path()))
}

fn two_runs_are_identical(make: &dyn Fn() -> Box<dyn Device>) {
    let cache = tempfile::tempdir().unwrap();
    let config = config(cache.path());
    let (first, second) = (
        train(make().as_mut(), &config),
        train(make().as_mut(), &config),
    );
    assert!(bits(&first.0) == bits(&second.0), "weights differ");
    assert_eq!(first.1, second.1);
    assert_eq!(first.1.len(), 2 * 2 + 2); // steps and evaluations
    assert_eq!(first.1[0]["eval_rewards/ties"], 1.0);
    assert_eq!(first.1[0]["eval_loss"], f64::from(std::f32::consts::LN_2));
}

#[test]
fn two_runs_are_identical_on_the_cpu() {
    two_runs_are_identical(&|| Box::new(CpuEngine::new()));
}

#[test]
fn two_runs_are_identical_on_a_gpu() {
    two_runs_are_identical(&|| Box::new(common::gpu_with(OpenOptions::default())));
}

/// The loss of every optimizer step.
fn losses(rows: &[serde_json::Value]) -> Vec<f32> {
    let losses = rows.iter().filter_map(|row| row.get("loss"));
    losses.map(|loss| loss.as_f64().unwrap() as f32).collect()
}

fn reference_on_the_fly_equals_cached(engine: &mut dyn Device) {
    let cache = tempfile::tempdir().unwrap();
    let cached = config(cache.path());
    let on_the_fly = TrainConfig {
        reference: ReferenceMode::OnTheFly,
        ..cached.clone()
    };
    let (ours, theirs) = (train(engine, &cached), train(engine, &on_the_fly));
    let error = relative_l2(&losses(&ours.1), &losses(&theirs.1));
    assert!(error <= 1e-6, "losses: {error}");
    assert_eq!(losses(&ours.1).len(), 4);
}

#[test]
fn reference_on_the_fly_equals_cached_on_the_cpu() {
    reference_on_the_fly_equals_cached(&mut CpuEngine::new());
}

#[test]
fn reference_on_the_fly_equals_cached_on_a_gpu() {
    reference_on_the_fly_equals_cached(&mut common::gpu());
}

fn checkpointing_changes_no_bit(make: &dyn Fn() -> Box<dyn Device>) {
    let cache = tempfile::tempdir().unwrap();
    for reference in [ReferenceMode::Cached, ReferenceMode::OnTheFly] {
        let kept = TrainConfig {
            reference,
            ..config(cache.path())
        };
        let checkpointed = TrainConfig {
            checkpoint_activations: true,
            ..kept.clone()
        };
        let (ours, theirs) = (
            train(make().as_mut(), &checkpointed),
            train(make().as_mut(), &kept),
        );
        assert!(bits(&ours.0) == bits(&theirs.0), "weights differ");
        assert_eq!(ours.1, theirs.1);
        assert_eq!(losses(&ours.1).len(), 4);
    }
}

#[test]
fn checkpointing_changes_no_bit_on_the_cpu() {
    checkpointing_changes_no_bit(&|| Box::new(CpuEngine::new()));
}

/// Also with split weights.
#[test]
fn checkpointing_changes_no_bit_on_a_gpu() {
    checkpointing_changes_no_bit(&|| Box::new(common::gpu()));
    let split = OpenOptions {
        max_binding_bytes: Some(48 << 10),
        ..OpenOptions::default()
    };
    checkpointing_changes_no_bit(&|| Box::new(common::gpu_with(split.clone())));
}

/// A GPU that seems so slow that every step is cut as small as possible.
struct Slow(GpuEngine);

impl Engine for Slow {
    fn recording(&self) -> Recording {
        Recording::for_device(1)
    }

    fn name(&self) -> String {
        self.0.name()
    }

    fn is_asynchronous(&self) -> bool {
        true
    }

    fn room_to_grow(&self) -> usize {
        self.0.room_to_grow()
    }

    fn max_binding_bytes(&self) -> usize {
        self.0.max_binding_bytes()
    }

    fn memory(&self) -> Option<Memory> {
        self.0.memory()
    }

    fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        self.0.create(label, words)
    }

    fn release(&mut self, buffer: Buffer) {
        self.0.release(buffer);
    }

    fn write(&mut self, buffer: Buffer, words: &[u32]) -> Result<()> {
        self.0.write(buffer, words)
    }

    fn run(&mut self, recording: &Recording) -> Result<Vec<Ticket>> {
        self.0.run(recording)
    }

    fn fetch(&mut self, buffer: Buffer) -> Result<Ticket> {
        self.0.fetch(buffer)
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>> {
        self.0.collect(ticket)
    }

    fn wait(&mut self) -> Result<()> {
        self.0.wait()
    }
}

impl Tuned for Slow {
    fn identity(&self) -> String {
        self.0.identity()
    }

    fn identity_for(&mut self, recording: &Recording) -> Result<String> {
        self.0.identity_for(recording)
    }

    fn notes(&mut self) -> Vec<String> {
        self.0.notes()
    }

    fn variant(&self, step: &Step) -> &'static str {
        self.0.variant(step)
    }

    fn compare(&mut self, step: &Step) -> Result<Vec<Compared>> {
        self.0.compare(step)
    }
}

impl Timed for Slow {
    fn clock(&self) -> Clock {
        self.0.clock()
    }

    fn run_timed(&mut self, recording: &Recording) -> Result<TimedRun> {
        self.0.run_timed(recording)
    }

    fn watch(&mut self) {
        self.0.watch();
    }

    fn usage(&mut self) -> Result<Usage> {
        self.0.usage()
    }
}

/// How steps are cut follows from measured time, and must not show in what a run learns.
#[test]
fn how_steps_are_cut_changes_no_bit_on_a_gpu() {
    for variant in common::variants() {
        let options = OpenOptions {
            variant: Variant::Named(variant),
            ..OpenOptions::default()
        };
        let cache = tempfile::tempdir().unwrap();
        let config = config(cache.path());
        let whole = train(&mut common::gpu_with(options.clone()), &config);
        let cut = train(&mut Slow(common::gpu_with(options)), &config);
        assert!(bits(&whole.0) == bits(&cut.0), "{variant}: weights differ");
        assert_eq!(whole.1, cut.1, "{variant}");
    }
}

/// A gentle run rests, and learns the same.
#[test]
fn a_gentle_run_learns_the_same_bits() {
    let cache = tempfile::tempdir().unwrap();
    let config = config(cache.path());
    let options = OpenOptions::default();
    let gentle = OpenOptions {
        gentle: true,
        ..options.clone()
    };
    let whole = train(&mut common::gpu_with(options), &config);
    let rested = train(&mut common::gpu_with(gentle), &config);
    assert!(bits(&whole.0) == bits(&rested.0), "weights differ");
    assert_eq!(whole.1, rested.1);
}

#[test]
fn a_gpu_trains_as_the_cpu_does() {
    let cache = tempfile::tempdir().unwrap();
    let config = config(cache.path());
    let (cpu, gpu) = (
        train(&mut CpuEngine::new(), &config),
        train(&mut common::gpu(), &config),
    );
    let error = relative_l2(&losses(&gpu.1), &losses(&cpu.1));
    assert!(error <= 1e-5, "losses: {error}");
}

/// The metrics of each pair, scored in this order in batches of `batch` against references that are off by a
/// known amount.
fn score(order: &[usize], batch: usize, swap: bool) -> Vec<PairMetrics> {
    let model = model();
    let mut examples = pairs(&model).examples;
    if swap {
        for e in &mut examples {
            std::mem::swap(&mut e.chosen, &mut e.rejected);
        }
    }
    let mut engine = CpuEngine::new();
    let extent = Extent::of(&examples, batch, Sides::Both);
    let layout = Layout::new(
        &model.outline.config.dims,
        common::limits(1 << 27, extent.pair_heads),
    )
    .unwrap();
    let objective = Objective::sigmoid(0.1);
    let count = examples.len();
    let scorer = Scorer::new(
        &mut engine,
        &layout,
        &model.weights,
        objective,
        extent,
        count,
    )
    .unwrap();
    for (i, indices) in order.chunks(batch).enumerate() {
        let stream = Stream::new(indices.iter().map(|&e| &examples[e]), Sides::Both);
        let references: Vec<f32> = stream
            .targets
            .iter()
            .map(|&t| -5.0 - (t % 3) as f32)
            .collect();
        let share = Share {
            first_slot: i * batch,
            of: common::whole(count),
        };
        let reference = Reference::LogProbs(references);
        scorer
            .score(&mut engine, &stream, reference, share)
            .unwrap();
    }
    let metrics = scorer.metrics(&mut engine, count).unwrap();
    let mut by_pair = vec![PairMetrics::default(); count];
    for (&pair, metrics) in order.iter().zip(metrics) {
        by_pair[pair] = metrics;
    }
    by_pair
}

fn field(metrics: &[PairMetrics], of: impl Fn(&PairMetrics) -> f32) -> Vec<f32> {
    metrics.iter().map(of).collect()
}

#[test]
fn neither_order_nor_batch_size_changes_a_pair() {
    let plain = score(&[0, 1, 2, 3, 4, 5, 6], 7, false);
    for (order, batch) in [
        ([6, 2, 0, 5, 1, 4, 3], 7),
        ([3, 1, 0, 2, 6, 5, 4], 2),
        ([0, 1, 2, 3, 4, 5, 6], 1),
    ] {
        let other = score(&order, batch, false);
        let numbers = |metrics: &[PairMetrics]| -> Vec<f32> {
            let of_pair = |p: &PairMetrics| [p.loss, p.chosen_logp, p.rejected_reward];
            metrics.iter().flat_map(of_pair).collect()
        };
        let error = relative_l2(&numbers(&other), &numbers(&plain));
        assert!(error <= 1e-6, "{order:?} by {batch}: {error}");
    }
}

#[test]
fn swapping_chosen_and_rejected_flips_the_margin() {
    let plain = score(&[0, 1, 2, 3, 4, 5, 6], 3, false);
    let swapped = score(&[0, 1, 2, 3, 4, 5, 6], 3, true);
    let flipped = field(&swapped, |p| -p.margin);
    let error = relative_l2(&flipped, &field(&plain, |p| p.margin));
    assert!(error <= 1e-6, "{error}");
    let error = relative_l2(
        &field(&swapped, |p| p.chosen_logp),
        &field(&plain, |p| p.rejected_logp),
    );
    assert!(error <= 1e-6, "{error}");
}

/// The log-probs of the starter's pairs `order`, computed in this order in batches of `batch`.
fn log_probs(engine: &mut dyn Engine, order: &[usize], batch: usize) -> Vec<Vec<u32>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/starter");
    let model = Model::load(&dir).unwrap();
    let dims = &model.outline.config.dims;
    let pairs = common::read(&dir.join("eval.jsonl"), &model.outline);
    let extent = Extent::of(&pairs.examples, batch, Sides::Both);
    let layout = Layout::new(dims, common::limits(1 << 27, extent.pair_heads)).unwrap();
    let objective = Objective::sigmoid(0.1);
    let scorer = Scorer::new(engine, &layout, &model.weights, objective, extent, 1).unwrap();
    let mut by_pair = vec![Vec::new(); order.len()];
    for indices in order.chunks(batch) {
        let examples = indices.iter().map(|&i| &pairs.examples[i]);
        let stream = Stream::new(examples, Sides::Both);
        let logps = scorer.log_probs(engine, &stream).unwrap();
        for (i, &pair) in indices.iter().enumerate() {
            let heads = stream.heads(&(i..i + 1));
            by_pair[pair] = logps[heads].iter().map(|l| l.to_bits()).collect();
        }
    }
    scorer.release(engine);
    by_pair
}

/// Scores the starter's first `count` pairs and compares bit for bit: a cached reference must tie exactly with an
/// unchanged policy, whatever other pairs are in its batch.
fn log_probs_do_not_depend_on_the_batch(engine: &mut dyn Engine, count: usize) {
    let in_order: Vec<usize> = (0..count).collect();
    let plain = log_probs(engine, &in_order, 4);
    for (seed, batch) in [(1, 4), (2, 4), (3, 3), (4, 7)] {
        let order = data::shuffled(count, seed, 0);
        let other = log_probs(engine, &order, batch);
        let differing = (0..count)
            .filter(|&pair| other[pair] != plain[pair])
            .count();
        assert_eq!(differing, 0, "pairs, with seed {seed} and batch {batch}");
    }
}

#[test]
fn log_probs_do_not_depend_on_the_batch_on_the_cpu() {
    log_probs_do_not_depend_on_the_batch(&mut CpuEngine::new(), 160);
}

/// All pairs with the adapter's own choice of variants, a few pairs with each other variant.
#[test]
fn log_probs_do_not_depend_on_the_batch_on_a_gpu() {
    for (variant, count) in [
        (Variant::Best, 160),
        (Variant::Named("tiled"), 12),
        (Variant::Named("direct"), 12),
    ] {
        let options = OpenOptions {
            variant,
            ..OpenOptions::default()
        };
        log_probs_do_not_depend_on_the_batch(&mut common::gpu_with(options), count);
    }
}

/// A loss that compares with the reference needs it, and whole.
#[test]
fn a_reference_that_does_not_fit_is_refused() {
    let model = model();
    let examples = pairs(&model).examples;
    let mut engine = CpuEngine::new();
    let extent = Extent::of(&examples, 2, Sides::Both);
    let limits = common::limits(1 << 27, extent.pair_heads);
    let layout = Layout::new(&model.outline.config.dims, limits).unwrap();
    let objective = Objective::sigmoid(0.1);
    let scorer = Scorer::new(&mut engine, &layout, &model.weights, objective, extent, 2).unwrap();
    let stream = Stream::new(&examples[..2], Sides::Both);
    let share = Share {
        first_slot: 0,
        of: common::whole(2),
    };
    let short = vec![-1.0; stream.targets.len() - 1];
    for reference in [Reference::None, Reference::LogProbs(short)] {
        let error = scorer.score(&mut engine, &stream, reference, share);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`.reference`"), "{error}");
    }
}
