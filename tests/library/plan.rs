//! The plan of a run against the memory that the run takes, and micro-batches that are halved until they fit.

use crate::common::{self, gpu_with, model, pairs, relative_l2};
use gpt2_dpo::buffer::Buffer;
use gpt2_dpo::config::{ReferenceMode, TrainConfig};
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::data::{Dataset, Example, Place};
use gpt2_dpo::engine::{
    Clock, Compared, Device, Engine, Memory, Ticket, Timed, TimedRun, Tuned, Usage,
};
use gpt2_dpo::gpu::{GpuEngine, OpenOptions, Variant};
use gpt2_dpo::model::{BufferKind, Dims};
use gpt2_dpo::plan::{Datasets, Plan, Planner, Share};
use gpt2_dpo::recording::{Recording, Step};
use gpt2_dpo::train::{Event, Host, Inputs, Run};
use gpt2_dpo::{Error, Result};
use std::sync::Arc;

/// The CPU engine with memory for `room` bytes; it counts the bytes and buffers that it holds.
struct Scale {
    engine: CpuEngine,
    room: usize,
    room_to_grow: usize,
    buffers: usize,
    bytes: usize,
    /// The largest number of bytes at a time, and of buffers.
    most: (usize, usize),
    /// The error in place of `OutOfMemory` where a buffer does not fit.
    fails: fn(String) -> Option<Error>,
}

impl Scale {
    fn new(engine: CpuEngine, room: usize) -> Scale {
        Scale {
            engine,
            room,
            room_to_grow: 0,
            buffers: 0,
            bytes: 0,
            most: (0, 0),
            fails: |_| None,
        }
    }
}

impl Engine for Scale {
    fn name(&self) -> String {
        self.engine.name()
    }
    fn is_asynchronous(&self) -> bool {
        self.engine.is_asynchronous()
    }
    fn room_to_grow(&self) -> usize {
        self.room_to_grow
    }
    fn max_binding_bytes(&self) -> usize {
        self.engine.max_binding_bytes()
    }
    fn memory(&self) -> Option<Memory> {
        None
    }
    fn create(&mut self, label: &str, words: usize) -> Result<Buffer> {
        if self.bytes + 4 * words > self.room {
            let what = format!("no memory for {label}");
            let memory = |what| Error::OutOfMemory {
                what,
                bytes: 4 * words,
                help: String::new(),
            };
            return Err((self.fails)(what.clone()).unwrap_or(memory(what)));
        }
        let buffer = self.engine.create(label, words)?;
        self.buffers += 1;
        self.bytes += 4 * words;
        self.most = self.most.max((self.bytes, self.buffers));
        Ok(buffer)
    }
    fn release(&mut self, buffer: Buffer) {
        self.buffers -= 1;
        self.bytes -= 4 * buffer.words;
        self.engine.release(buffer);
    }
    fn write(&mut self, buffer: Buffer, words: &[u32]) -> Result<()> {
        self.engine.write(buffer, words)
    }
    fn recording(&self) -> Recording {
        self.engine.recording()
    }
    fn run(&mut self, recording: &Recording) -> Result<Vec<Ticket>> {
        self.engine.run(recording)
    }
    fn fetch(&mut self, buffer: Buffer) -> Result<Ticket> {
        self.engine.fetch(buffer)
    }
    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u32>> {
        self.engine.collect(ticket)
    }
    fn wait(&mut self) -> Result<()> {
        self.engine.wait()
    }
}

impl Tuned for Scale {
    fn identity(&self) -> String {
        self.engine.identity()
    }
    fn identity_for(&mut self, recording: &Recording) -> Result<String> {
        self.engine.identity_for(recording)
    }
    fn notes(&mut self) -> Vec<String> {
        self.engine.notes()
    }
    fn variant(&self, step: &Step) -> &'static str {
        self.engine.variant(step)
    }
    fn compare(&mut self, step: &Step) -> Result<Vec<Compared>> {
        self.engine.compare(step)
    }
}

impl Timed for Scale {
    fn clock(&self) -> Clock {
        self.engine.clock()
    }
    fn run_timed(&mut self, recording: &Recording) -> Result<TimedRun> {
        self.engine.run_timed(recording)
    }
    fn watch(&mut self) {
        self.engine.watch();
    }
    fn usage(&mut self) -> Result<Usage> {
        self.engine.usage()
    }
}

/// Two steps over the seven pairs; nothing is kept on disk.
fn config(batch_size: usize, accumulation: usize) -> TrainConfig {
    TrainConfig {
        batch_size,
        gradient_accumulation_steps: accumulation,
        learning_rate: 1e-3,
        max_steps: 2,
        reference: ReferenceMode::OnTheFly,
        ..TrainConfig::default()
    }
}

/// Two prompts that evaluations answer.
fn prompts(pairs: &Dataset) -> Vec<Vec<u32>> {
    let two = pairs.examples[..2].iter();
    two.map(|example| example.prompt.clone()).collect()
}

fn plan(engine: &dyn Engine, config: &TrainConfig) -> Plan {
    let model = model();
    let pairs = pairs(&model);
    let samples = prompts(&pairs);
    let data = Datasets {
        train: &pairs,
        eval: Some(&pairs),
        samples: &samples,
    };
    Plan::new(engine, config, &model.outline.config.dims, data).unwrap()
}

/// Losses of the steps, and notes.
fn train(engine: &mut dyn Device, config: &TrainConfig) -> Result<(Vec<f32>, Vec<String>)> {
    let (model, out) = (model(), tempfile::tempdir().unwrap());
    let pairs = pairs(&model);
    let inputs = Inputs {
        samples: prompts(&pairs),
        ..Inputs::new(Arc::new(model.outline), model.weights, &pairs, Some(&pairs))
    };
    let (mut losses, mut notes) = (Vec::new(), Vec::new());
    let mut tell = |event: Event| match event {
        Event::Step { row, .. } => losses.push(row.summary.loss as f32),
        Event::Note(note) => notes.push(note),
        _ => {}
    };
    let run = Run::new(
        engine,
        config,
        inputs,
        out.path(),
        Host::default(),
        &mut tell,
    )?;
    run.train()?.finished()?;
    Ok((losses, notes))
}

/// A run creates exactly the planned buffers, and none in the training loop.
#[test]
fn a_run_takes_what_the_plan_says() {
    let cache = tempfile::tempdir().unwrap();
    let base = config(2, 2);
    let cached = TrainConfig {
        reference: ReferenceMode::Cached,
        cache_dir: Some(cache.path().to_owned()),
        ..base.clone()
    };
    let adapters = TrainConfig {
        lora_rank: 5,
        ..base.clone()
    };
    let named = TrainConfig {
        ref_model: Some("another".into()),
        ..adapters.clone()
    };
    let layer = TrainConfig {
        train_layers: 1,
        ..cached.clone()
    };
    for max_binding in [1 << 30, 48 << 10] {
        for config in [&base, &cached, &adapters, &named, &layer] {
            let mut bytes = Vec::new();
            for checkpoint_activations in [false, true] {
                let config = TrainConfig {
                    checkpoint_activations,
                    ..config.clone()
                };
                let engine = CpuEngine::with_max_binding(max_binding);
                let plan = plan(&engine, &config);
                let mut scale = Scale::new(engine, usize::MAX);
                train(&mut scale, &config).unwrap();
                let buffers: usize = plan.shares.iter().map(|share| share.buffers).sum();
                assert_eq!(scale.most, (plan.bytes(), buffers));
                assert_eq!(plan.vocabulary_shards > 1, max_binding < 1 << 30);
                bytes.push((plan.bytes(), plan.recompute_bytes));
            }
            // The plan's number for the other setting of checkpointing is correct.
            assert_eq!(bytes[0].1, Some(bytes[1].0));
            assert_eq!(bytes[1].1, None);
            assert!(bytes[1].0 < bytes[0].0);
        }
    }
}

/// A GPU holds what the plan says and its own few buffers, also while it measures variants and runs one with partial
/// sums, and after it has read weights back.
#[test]
fn a_tuned_gpu_holds_no_more_than_the_plan_says() {
    let dir = tempfile::tempdir().unwrap();
    let measured = OpenOptions {
        tuning: Some(dir.path().join("tuning.json")),
        measure: true,
        ..OpenOptions::default()
    };
    let split = OpenOptions {
        variant: Variant::Named("split"),
        ..OpenOptions::default()
    };
    let config = config(2, 2);
    for options in [measured.clone(), measured, split] {
        let mut engine = common::gpu_with(options);
        let plan = plan(&engine, &config).bytes();
        let empty = engine.held_bytes();
        assert!(empty <= GpuEngine::OWN_BYTES, "{empty}");
        engine.watch();
        train(&mut engine, &config).unwrap();
        let peak = engine.usage().unwrap().peak_bytes.unwrap();
        assert!(peak > plan / 2, "{peak} of {plan}: it counts");
        assert!(peak <= plan + GpuEngine::OWN_BYTES, "{peak} of {plan}");
        // This model's partial sums and copies are small beside the engine's bounds.
        let held = engine.held_bytes();
        assert!(held <= plan + empty + (2 << 20), "{held} of {plan}");
    }
}

/// The optimizer step has the same pairs, so its numbers agree up to rounding.
#[test]
fn a_micro_batch_that_does_not_fit_is_halved() {
    let (whole, notes) = train(&mut CpuEngine::new(), &config(6, 1)).unwrap();
    assert_eq!(notes.len(), 0);
    for (fits, expected) in [
        (3, "2 of 3 pairs"),
        (2, "3 of 2 pairs"),
        (1, "6 of 1 pairs"),
    ] {
        let room = plan(&CpuEngine::new(), &config(fits, 6 / fits)).bytes();
        let mut scale = Scale::new(CpuEngine::new(), room);
        let (losses, notes) = train(&mut scale, &config(6, 1)).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains(expected), "{notes:?}");
        let error = relative_l2(&losses, &whole);
        assert!(error <= 1e-6, "{error}");
        // Buffers made before the failure have been released.
        assert!(scale.most.0 <= room);
    }
}

/// A device with room takes a step's pairs at once, or as many halves of them as fit; what its driver then refuses is
/// halved as always.
#[test]
fn a_micro_batch_grows_into_the_room_that_there_is() {
    let (small, _) = train(&mut CpuEngine::new(), &config(2, 3)).unwrap();
    let bytes = |pairs| plan(&CpuEngine::new(), &config(pairs, 1)).bytes();
    for (room_to_grow, room, micro_batch) in [
        (usize::MAX, usize::MAX, 6),
        (bytes(6), usize::MAX, 6),
        (bytes(6) - 1, usize::MAX, 3),
        (bytes(3) - 1, usize::MAX, 2),
        (0, usize::MAX, 2),
        (usize::MAX, bytes(6) - 1, 3),
        (usize::MAX, bytes(2) - 1, 1),
    ] {
        let mut scale = Scale {
            room_to_grow,
            ..Scale::new(CpuEngine::new(), room)
        };
        if room == usize::MAX {
            let plan = plan(&scale, &config(2, 3));
            assert_eq!(plan.extent.pairs, micro_batch, "{room_to_grow}");
            assert_eq!(plan.micro_batches, 6 / micro_batch);
        }
        let (losses, notes) = train(&mut scale, &config(2, 3)).unwrap();
        assert_eq!(scale.most.0.min(room_to_grow.max(bytes(2))), scale.most.0);
        assert_eq!(notes.len(), usize::from(micro_batch < 2), "{notes:?}");
        let error = relative_l2(&losses, &small);
        assert!(error <= 1e-6, "{error}");
    }
}

#[test]
fn a_micro_batch_grows_on_a_gpu() {
    let (small, _) = train(&mut CpuEngine::new(), &config(2, 3)).unwrap();
    let mut gpu = gpu_with(OpenOptions {
        room_to_grow: usize::MAX,
        ..OpenOptions::default()
    });
    assert_eq!(plan(&gpu, &config(2, 3)).extent.pairs, 6);
    let (losses, notes) = train(&mut gpu, &config(2, 3)).unwrap();
    assert_eq!(notes.len(), 0, "{notes:?}");
    let error = relative_l2(&losses, &small);
    assert!(error <= 1e-5, "{error}");
}

/// A device that is lost, or a driver that refuses, does not get better with fewer pairs.
#[test]
fn only_a_lack_of_memory_halves_a_micro_batch() {
    let room = plan(&CpuEngine::new(), &config(3, 2)).bytes();
    let failures: [fn(String) -> Option<Error>; 2] = [
        |what| Some(Error::Lost { what }),
        |what| Some(Error::Refused { what }),
    ];
    for fails in failures {
        let mut scale = Scale {
            fails,
            ..Scale::new(CpuEngine::new(), room)
        };
        let error = train(&mut scale, &config(6, 1)).err().unwrap();
        let expected = fails("no memory for".into()).unwrap();
        assert_eq!(
            std::mem::discriminant(&error),
            std::mem::discriminant(&expected),
            "{error}"
        );
        assert_eq!(scale.bytes, 0, "left on the device");
    }
}

#[test]
fn what_does_not_fit_at_all_says_what_would_help() {
    let whole = plan(&CpuEngine::new(), &config(1, 1));
    for room in [0, whole.bytes() - 1] {
        let mut scale = Scale::new(CpuEngine::new(), room);
        let error = train(&mut scale, &config(4, 1)).err().unwrap().to_string();
        assert_eq!(scale.bytes, 0, "left on the device");
        assert!(error.contains("no memory for"), "{error}");
        assert!(error.contains("`.checkpoint_activations`"), "{error}");
    }
    let room = whole.recompute_bytes.unwrap();
    let less = TrainConfig {
        checkpoint_activations: true,
        ..config(4, 1)
    };
    train(&mut Scale::new(CpuEngine::new(), room), &less).unwrap();
}

const GPT2: Dims = Dims {
    vocab_size: 50257,
    n_positions: 1024,
    n_embd: 768,
    n_layer: 12,
    n_head: 12,
    n_inner: 4 * 768,
    epsilon: 1e-5,
};

/// A data set of `count` pairs with prompts and responses of these lengths.
fn made_up(count: usize, prompt: usize, response: usize) -> Dataset {
    let example = |line| {
        Example::new(
            vec![1; prompt],
            vec![2; response],
            vec![3; response],
            Place::new("made-up.jsonl", line),
        )
    };
    Dataset::of("made-up.jsonl", (0..count).map(example).collect())
}

fn alone(train: &Dataset) -> Datasets<'_> {
    Datasets {
        train,
        eval: None,
        samples: &[],
    }
}

/// A dispatch has at most 65535 workgroups, and a binding at most 128 MiB.
#[test]
fn a_micro_batch_above_a_limit_of_the_api_is_halved() {
    let paper = Planner::new(128 << 20, usize::MAX);
    let config = TrainConfig {
        batch_size: 40_000,
        gradient_accumulation_steps: 1,
        ..TrainConfig::default()
    };
    let (short, long) = (made_up(40_000, 1, 1), made_up(200, 96, 64));
    let narrow = Dims {
        n_embd: 24,
        n_inner: 96,
        ..GPT2
    };
    let plan = Plan::new(&paper, &config, &narrow, alone(&short)).unwrap();
    assert_eq!(plan.extent.rows, 3 * 20_000);
    assert!(plan.note.unwrap().contains("2 of 20000 pairs"));
    // 200 × 224 rows of 3072 words are 525 MiB.
    let plan = Plan::new(&paper, &config, &GPT2, alone(&long)).unwrap();
    assert_eq!(plan.extent.pairs, 25);
    assert!(plan.note.unwrap().contains("8 of 25 pairs"));
}

/// Counted by hand: the vocabulary is padded to 50304 rows, and a layer has 7.1 million parameters.
#[test]
fn the_recipe_at_124m() {
    let paper = Planner::new(128 << 20, usize::MAX);
    let (config, data) = (TrainConfig::default(), made_up(16, 96, 64));
    let plan = Plan::new(&paper, &config, &GPT2, alone(&data)).unwrap();
    let of = |kind: BufferKind| -> &Share { plan.shares.iter().find(|s| s.kind == kind).unwrap() };
    let block = 12 * 768 * 768 + 13 * 768;
    let parameters = (50304 + 1024) * 768 + 12 * block + 2 * 768;
    assert_eq!(of(BufferKind::Weights).bytes, 4 * parameters);
    assert_eq!(of(BufferKind::Gradients).bytes, 4 * parameters);
    assert_eq!(of(BufferKind::Reference).buffers, 0);
    assert_eq!(plan.vocabulary_shards, 2);
    assert_eq!(plan.split_matrices, 0);
    // A row keeps ten times its width in each layer, and twelve times its width once: the output of GELU and the
    // gradient of its input, a layernorm's output, the last residual, and two gradients.
    let (rows, heads) = (4 * 224, 12);
    let kept = 12 * (10 * 768 + heads) + 12 * 768 + 2 + heads;
    assert_eq!(of(BufferKind::Activations).bytes, 4 * rows * kept);
    // Checkpointed, a row keeps its width in each layer, and the other activations of one layer.
    let saved = 4 * rows * 11 * (9 * 768 + heads);
    assert_eq!(plan.recompute_bytes, Some(plan.bytes() - saved));
}

/// Adapters beside gpt2: no gradient and no moment of the model, no copy of it for the reference, and less than 0.4 of
/// the memory of full training.
#[test]
fn the_recipe_with_adapters_at_124m() {
    let paper = Planner::new(128 << 20, usize::MAX);
    let data = made_up(16, 96, 64);
    let whole = Plan::new(&paper, &TrainConfig::default(), &GPT2, alone(&data)).unwrap();
    for reference in [ReferenceMode::Cached, ReferenceMode::OnTheFly] {
        let config = TrainConfig {
            lora_rank: 16,
            reference,
            ..TrainConfig::default()
        };
        let plan = Plan::new(&paper, &config, &GPT2, alone(&data)).unwrap();
        let of = |kind: BufferKind| {
            let share = plan.shares.iter().find(|share| share.kind == kind);
            share.unwrap().bytes
        };
        // A and B of widths 768 to 2304, 768 to 768, 768 to 3072 and back.
        let adapters = 12 * 16 * (768 + 2304 + 768 + 768 + 2 * (768 + 3072));
        assert_eq!(of(BufferKind::Gradients), 4 * adapters);
        // Two moments, and the partial sums of the norm.
        assert!(of(BufferKind::Optimizer) - 8 * adapters < 64 << 10);
        assert_eq!(of(BufferKind::Reference), 0);
        assert_eq!(plan.checkpoint_bytes, 12 * adapters as u64);
        let ratio = plan.bytes() as f64 / whole.bytes() as f64;
        assert!(ratio < 0.4, "{ratio}");
    }
}

/// gpt2-xl with adapters of rank 16 fits a card of 12 GB.
#[test]
fn gpt2_xl_with_adapters_fits_12_gb() {
    let xl = Dims {
        n_embd: 1600,
        n_layer: 48,
        n_head: 25,
        n_inner: 4 * 1600,
        ..GPT2
    };
    let (paper, data) = (Planner::new(128 << 20, usize::MAX), made_up(16, 96, 64));
    let bytes = |config: TrainConfig| {
        let plan = Plan::new(&paper, &config, &xl, alone(&data)).unwrap();
        assert_eq!(plan.note, None, "the recipe's micro-batch");
        plan.bytes()
    };
    let adapters = TrainConfig {
        lora_rank: 16,
        ..TrainConfig::default()
    };
    let taken = bytes(adapters);
    println!("{taken} bytes");
    assert!(taken < 12_000_000_000, "{taken}");
    assert!(bytes(TrainConfig::default()) > 24_000_000_000);
}

/// Layers below the lowest trained one keep no activations.
#[test]
fn frozen_layers_keep_nothing() {
    let (paper, data) = (Planner::new(128 << 20, usize::MAX), made_up(16, 96, 64));
    let of = |config: &TrainConfig, kind: BufferKind| {
        let plan = Plan::new(&paper, config, &GPT2, alone(&data)).unwrap();
        let share = plan.shares.iter().find(|share| share.kind == kind);
        share.unwrap().bytes
    };
    let last = |train_layers| TrainConfig {
        train_layers,
        ..TrainConfig::default()
    };
    let activations = |layers| of(&last(layers), BufferKind::Activations);
    let (rows, heads) = (4 * 224, 12);
    let layer = 4 * rows * (10 * 768 + heads);
    assert_eq!(activations(12), activations(0));
    assert_eq!(activations(10) - activations(9), layer);
    assert_eq!(activations(6) - activations(2), 4 * layer);
    let block = 4 * (12 * 768 * 768 + 13 * 768);
    let gradients = |layers| of(&last(layers), BufferKind::Gradients);
    assert_eq!(gradients(2) - gradients(1), block);
    assert!(gradients(1) < block + 4 * 3 * 768);
}

/// A device that binds 8 MiB holds 2688 rows of the vocabulary, and not the feed-forward layers' matrices of
/// 9 MiB.
#[test]
fn what_is_split() {
    let paper = Planner::new(8 << 20, usize::MAX);
    let (config, data) = (TrainConfig::default(), made_up(4, 8, 8));
    let plan = Plan::new(&paper, &config, &GPT2, alone(&data)).unwrap();
    assert_eq!(plan.note, None);
    assert_eq!(plan.vocabulary_shards, 50257_usize.div_ceil(2688));
    assert_eq!(plan.split_matrices, 2 * 12);
    assert!(plan.shares.iter().all(|share| {
        let largest = share.largest.as_ref();
        largest.is_none_or(|largest| largest.bytes <= plan.max_binding_bytes)
    }));
}
