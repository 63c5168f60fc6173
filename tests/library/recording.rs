//! Recordings of full-size models, without a device: no step is so much work that an operating system
//! could take the GPU for hung, and every buffer fits WebGPU's default binding.

use crate::common;
use gpt2_dpo::batch::{Extent, Sides, Stream};
use gpt2_dpo::bench;
use gpt2_dpo::data::{self, Example};
use gpt2_dpo::engine::Engine;
use gpt2_dpo::learner::{Learner, Recipe, Room};
use gpt2_dpo::model::{Dims, Layout};
use gpt2_dpo::objective::Objective;
use gpt2_dpo::ops::adamw::Settings;
use gpt2_dpo::optimizer::{Decay, Optimizer};
use gpt2_dpo::plan::Planner;
use gpt2_dpo::recording::Recording;
use gpt2_dpo::scorer::{Reference, Share};
use gpt2_dpo::target::Precision;

/// GPT-2's published shapes: name, layers, heads, width.
const PUBLISHED: [(&str, usize, usize, usize); 5] = [
    ("distilgpt2", 6, 12, 768),
    ("gpt2", 12, 12, 768),
    ("gpt2-medium", 24, 16, 1024),
    ("gpt2-large", 36, 20, 1280),
    ("gpt2-xl", 48, 25, 1600),
];

/// Tokens of prompt, chosen and rejected response of each pair: the card's micro-batch.
const CARD: [[usize; 3]; 4] = [[96, 64, 64]; 4];

/// A model with its buffers made on paper, and a micro-batch.
struct OnPaper {
    paper: Planner,
    learner: Learner,
    stream: Stream,
}

impl OnPaper {
    fn new(
        (n_layer, n_head, n_embd): (usize, usize, usize),
        pairs: &[[usize; 3]],
        recompute: bool,
        mut paper: Planner,
    ) -> OnPaper {
        let dims = Dims {
            vocab_size: 50257,
            n_positions: 1024,
            n_embd,
            n_layer,
            n_head,
            n_inner: 4 * n_embd,
            epsilon: 1e-5,
        };
        let examples: Vec<Example> = (pairs.iter().enumerate())
            .map(|(line, &[prompt, chosen, rejected])| {
                Example::new(
                    vec![line as u32; prompt],
                    vec![50256; chosen],
                    vec![7; rejected],
                    data::Place::new("made up", line),
                )
            })
            .collect();
        let stream = Stream::new(&examples, Sides::Both);
        let extent = Extent::of(&examples, examples.len(), Sides::Both);
        let limits = common::limits(paper.max_binding_bytes(), extent.pair_heads);
        let layout = Layout::new(&dims, limits).unwrap();
        let recipe = Recipe {
            objective: Objective::sigmoid(0.1),
            optimizer: OPTIMIZER,
        };
        let room = Room {
            recompute,
            ..Room::new(extent, 16)
        };
        let learner = Learner::empty(&mut paper, &layout, recipe, &room).unwrap();
        OnPaper {
            paper,
            learner,
            stream,
        }
    }

    fn micro_batch(&self) -> Recording {
        let share = Share {
            first_slot: 0,
            of: common::whole(16),
        };
        let reference = Reference::LogProbs(vec![0.0; self.stream.targets.len()]);
        let recording = self
            .learner
            .record(&self.paper, &self.stream, reference, share);
        recording.unwrap()
    }
}

/// The work of a submission on a slow GPU: 0.1 s at 50 GFLOP/s.
const MAX_STEP_FLOPS: u64 = 5_000_000_000;

/// WebGPU's default binding.
const BINDING: usize = 128 << 20;

/// Forward and backward over one micro-batch, as a GPU has it.
fn record(sizes: (usize, usize, usize), pairs: &[[usize; 3]], recompute: bool) -> Recording {
    OnPaper::new(sizes, pairs, recompute, slow(BINDING)).micro_batch()
}

/// A slow GPU with memory for everything, that binds so many bytes.
fn slow(max_binding_bytes: usize) -> Planner {
    Planner::new(max_binding_bytes, usize::MAX).with_max_step_flops(MAX_STEP_FLOPS)
}

const OPTIMIZER: Optimizer = Optimizer {
    adamw: Settings::DEFAULT,
    decay: Decay::All,
    max_grad_norm: 1.0,
    scaling: None,
};

#[test]
fn no_step_of_a_published_model_is_too_much_work() {
    for (name, n_layer, n_head, n_embd) in PUBLISHED {
        let sizes = (n_layer, n_head, n_embd);
        let rec = record(sizes, &CARD, true);
        let largest = rec.steps.iter().max_by_key(|step| step.flops).unwrap();
        assert!(
            largest.flops <= MAX_STEP_FLOPS,
            "{name}: {:?}",
            largest.kernel
        );
    }
}

/// Attention grows with the square of the length: the longest pair that the largest model takes.
#[test]
fn long_sequences_are_cut_into_steps() {
    let pair = [512, 513, 513];
    let rec = record((1, 25, 1600), &[pair], false);
    let largest = rec.steps.iter().max_by_key(|step| step.flops).unwrap();
    assert!(largest.flops <= MAX_STEP_FLOPS, "{:?}", largest.kernel);
    let flops_of = |entry: &str| -> Vec<u64> {
        let steps = rec
            .steps
            .iter()
            .filter(|step| step.kernel.op() == "attention");
        let steps = steps.filter(|step| step.kernel.entry() == entry);
        steps.map(|step| step.flops).collect()
    };
    // (query, key) pairs: each part among itself, each response with the prompt.
    let links = 3 * (512 * 513 / 2) + 2 * 512 * 512;
    for (entry, products) in [
        ("forward", 2),
        ("backward_query", 3),
        ("backward_key_value", 4),
    ] {
        let steps = flops_of(entry);
        let total = products * 2 * 1600 * links;
        assert_eq!(steps.iter().sum::<u64>(), total, "{entry}");
        assert_eq!(
            steps.len() as u64,
            total.div_ceil(MAX_STEP_FLOPS),
            "{entry}"
        );
    }
}

/// The launches of an optimizer step of the card's on a fast GPU with memory to grow, where all its pairs go through at
/// once: few of them, and nearly all the work in dispatches that fill a large GPU.
#[test]
fn steps_of_published_models_fill_a_gpu() {
    for (name, ..) in PUBLISHED {
        for (batch_size, gradient_accumulation_steps) in [(1, 1), (4, 1), (4, 4)] {
            for precision in [Precision::F32, Precision::Mixed] {
                let options = bench::Options {
                    model: name.to_owned(),
                    batch_size,
                    gradient_accumulation_steps,
                    max_prompt_tokens: 96,
                    max_response_tokens: 64,
                    steps: 1,
                    seconds_per_kernel: 0.0,
                };
                let plan = bench::Plan::new(&options, precision).unwrap();
                let pairs = batch_size * gradient_accumulation_steps;
                let audit = plan.audit;
                println!("{name}, {pairs} pairs, {precision}: {audit:?}");
                assert_eq!(plan.micro_batches, 1);
                // No launch is lost or counted twice.
                let layers = plan.dims.n_layer;
                let attention = plan
                    .launches
                    .iter()
                    .filter(|l| l.kernel == "attention/forward");
                assert_eq!(attention.map(|l| l.dispatches).sum::<usize>(), layers);
                if pairs < 16 {
                    continue;
                }
                assert!(audit.busy >= 0.95, "{name} {precision}: {audit:?}");
                assert!(audit.executed <= 1.15, "{name} {precision}: {audit:?}");
                if name == "gpt2" {
                    assert!(audit.dispatches <= 700, "{audit:?}");
                }
            }
        }
    }
}

/// The products of the recipe's micro-batch at 124M, counted by hand: three for each layer's matrices
/// over 888 rows, three for the vocabulary over 512 rows.
#[test]
fn the_work_is_what_the_formula_says() {
    let linear = |recompute: bool| -> u64 {
        let rec = record((12, 12, 768), &CARD, recompute);
        let steps = rec.steps.iter().filter(|step| step.kernel.op() == "linear");
        steps.map(|step| step.flops).sum()
    };
    let (rows, heads): (u64, u64) = (4 * (96 + 63 + 63), 4 * 128);
    let matrices = 12 * (768 * 3 * 768 + 768 * 768 + 2 * 768 * 4 * 768);
    let vocabulary = 50304 * 768; // padded to a multiple of 128
    let expected = 3 * 2 * (rows * matrices + heads * vocabulary);
    let biases = 12 * rows * (3 + 1 + 4 + 1) * 768;
    assert_eq!(linear(false), expected + biases);
    // With recomputing, all layers but the last go forward again, up to GELU.
    let again = 11 * 2 * rows * (768 * 3 * 768 + 768 * 768 + 768 * 4 * 768);
    assert_eq!(linear(true), expected + biases + again);
}

/// The optimizer takes arenas and not tensors: a step of gpt2, of 148 tensors, is a dozen dispatches, on a
/// device that binds no more than WebGPU's default and on one that binds gigabytes.
#[test]
fn an_update_is_a_dozen_dispatches() {
    for (binding, most) in [(BINDING, 12), (4 << 30, 12)] {
        let gpt2 = OnPaper::new((12, 12, 768), &CARD, false, slow(binding));
        let update = gpt2.learner.record_update(&gpt2.paper, 1e-5, 16);
        println!("update: {} dispatches", update.steps.len());
        assert!(update.steps.len() <= most, "{}", update.steps.len());
        assert_eq!(update.fetches().len(), 2);
        // Every trained word is in exactly one AdamW dispatch.
        let adamw = update.steps.iter().filter(|s| s.kernel.op() == "adamw");
        let words: usize = adamw.map(|step| step.buffers()[1].words).sum();
        let arenas = &gpt2.learner.policy.weights.arenas;
        assert_eq!(words, arenas.iter().map(|a| a.words).sum::<usize>());
        let micro_batch = gpt2.micro_batch();
        println!("micro-batch: {} dispatches", micro_batch.steps.len());
        assert_eq!(micro_batch.uploads().len(), 13);
    }
}
