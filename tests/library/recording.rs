//! Recordings of full-size models, without a device: no step is so long that an operating system would reset the
//! GPU, and every buffer fits WebGPU's default binding.

use gpt2_dpo::batch::{Extent, Sides, Stream};
use gpt2_dpo::data::{self, Example};
use gpt2_dpo::engine::Engine;
use gpt2_dpo::model::backward::{self, Loss};
use gpt2_dpo::model::forward::{self, Rows};
use gpt2_dpo::model::{Dims, Layout, Purpose, Tensors, Workspace};
use gpt2_dpo::plan::Planner;
use gpt2_dpo::recording::{MAX_STEP_FLOPS, Recording};

struct NoLoss;

impl Loss for NoLoss {
    fn record(&self, _: &mut Recording, _: std::ops::Range<usize>) {}
}

/// GPT-2's published shapes: name, layers, heads, width.
const PUBLISHED: [(&str, usize, usize, usize); 5] = [
    ("distilgpt2", 6, 12, 768),
    ("gpt2", 12, 12, 768),
    ("gpt2-medium", 24, 16, 1024),
    ("gpt2-large", 36, 20, 1280),
    ("gpt2-xl", 48, 25, 1600),
];

/// Tokens of prompt, chosen and rejected response of each pair: the model card's micro-batch.
const CARD: [[usize; 3]; 4] = [[96, 64, 64]; 4];

/// Records the forward and backward pass of one micro-batch.
fn record(
    (n_layer, n_head, n_embd): (usize, usize, usize),
    pairs: &[[usize; 3]],
    purpose: Purpose,
) -> Recording {
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
    let mut paper = Planner::new(128 << 20, usize::MAX); // WebGPU's default binding
    let layout = Layout::new(&dims, paper.max_binding_bytes(), extent.pair_heads).unwrap();
    let weights = Tensors::zeros(&mut paper, &layout, "weight").unwrap();
    let grads = Tensors::zeros(&mut paper, &layout, "gradient").unwrap();
    let ws = Workspace::new(&mut paper, &layout, extent, 16, purpose).unwrap();
    let (tensors, buffers) = ((&weights, &grads), (&ws, ws.backward.as_ref().unwrap()));
    let mut rec = Recording::new();
    forward::forward(&mut rec, &dims, &weights, &ws, Rows::of(&stream));
    backward::head_and_loss(&mut rec, &dims, tensors, buffers, &stream, &NoLoss);
    backward::backward(&mut rec, &dims, tensors, buffers, &stream);
    rec
}

#[test]
fn no_step_of_a_published_model_is_too_much_work() {
    for (name, n_layer, n_head, n_embd) in PUBLISHED {
        let sizes = (n_layer, n_head, n_embd);
        let rec = record(sizes, &CARD, Purpose::TrainCheckpointed);
        let largest = rec.steps.iter().max_by_key(|step| step.flops).unwrap();
        assert!(
            largest.flops <= MAX_STEP_FLOPS,
            "{name}: {:?}",
            largest.kernel
        );
    }
}

/// Attention grows with the square of the length, so this uses the longest pair that the largest model takes.
#[test]
fn long_sequences_are_cut_into_steps() {
    let pair = [512, 513, 513];
    let rec = record((1, 25, 1600), &[pair], Purpose::Train);
    let largest = rec.steps.iter().max_by_key(|step| step.flops).unwrap();
    assert!(largest.flops <= MAX_STEP_FLOPS, "{:?}", largest.kernel);
    let flops_of = |entry: &str| -> Vec<u64> {
        let steps = rec
            .steps
            .iter()
            .filter(|step| step.kernel.op == "attention");
        let steps = steps.filter(|step| step.kernel.entry == entry);
        steps.map(|step| step.flops).collect()
    };
    // The (query, key) pairs: within each part, and between each response and the prompt.
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

/// The products of the recipe's micro-batch at 124M, counted by hand: three for each layer's matrices
/// over 888 rows, three for the vocabulary over 512 rows.
#[test]
fn the_work_is_what_the_formula_says() {
    let linear = |purpose: Purpose| -> u64 {
        let rec = record((12, 12, 768), &CARD, purpose);
        let steps = rec.steps.iter().filter(|step| step.kernel.op == "linear");
        steps.map(|step| step.flops).sum()
    };
    let (rows, heads): (u64, u64) = (4 * (96 + 63 + 63), 4 * 128);
    let matrices = 12 * (768 * 3 * 768 + 768 * 768 + 2 * 768 * 4 * 768);
    let vocabulary = 50304 * 768; // padded to a multiple of 128
    let expected = 3 * 2 * (rows * matrices + heads * vocabulary);
    let biases = 12 * rows * (3 + 1 + 4 + 1) * 768;
    assert_eq!(linear(Purpose::Train), expected + biases);
    // Checkpointed, all layers but the last go forward again, up to GELU.
    let again = 11 * 2 * rows * (768 * 3 * 768 + 768 * 768 + 768 * 4 * 768);
    assert_eq!(
        linear(Purpose::TrainCheckpointed),
        expected + biases + again
    );
}
