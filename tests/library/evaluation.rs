//! Evaluations: named sets, their numbers by hand, and answers to prompts.

use std::path::Path;
use std::sync::Arc;

use approx::assert_abs_diff_eq;
use gpt2_dpo::batch::{Extent, Stream};
use gpt2_dpo::config::{Losses, ReferenceMode, TrainConfig};
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::data::Dataset;
use gpt2_dpo::engine::{Engine, Release};
use gpt2_dpo::eval::{Interval, rank_correlation};
use gpt2_dpo::generate::{Generator, SAMPLED_TOKENS, Sampling};
use gpt2_dpo::model::Layout;
use gpt2_dpo::objective::Objective;
use gpt2_dpo::ops::preference::Kind;
use gpt2_dpo::pretrained::{Model, Weights};
use gpt2_dpo::scorer::Scorer;
use gpt2_dpo::train::{EvalSet, Host, Inputs, Outcome, Run};
use serde_json::Value;

use crate::common;

/// The built-in starter, which has a tokenizer, and some of its pairs.
struct World {
    model: Model,
    train: Dataset,
    eval: Dataset,
    config: TrainConfig,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/starter");
        let model = Model::load(&starter).unwrap();
        let first = |file: &str, count: usize| {
            let mut data = common::read(&starter.join(file), &model.outline);
            data.examples.truncate(count);
            data
        };
        World {
            train: first("train.jsonl", 12),
            eval: first("eval.jsonl", 7),
            config: TrainConfig {
                batch_size: 2,
                gradient_accumulation_steps: 2,
                learning_rate: 1e-3,
                eval_steps: 2,
                reference: ReferenceMode::OnTheFly,
                ..TrainConfig::default()
            },
            model,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn run(&self, out: &str, reference: Option<Weights>, sets: &[(&str, usize)]) -> Outcome {
        let out = self.dir.path().join(out);
        std::fs::create_dir(&out).unwrap();
        let mut eval_sets: Vec<EvalSet> = Vec::new();
        for (name, count) in sets {
            let first = eval_sets.last().map_or(0, |set| set.pairs.end);
            eval_sets.push(EvalSet {
                name: (*name).to_owned(),
                pairs: first..first + count,
            });
        }
        let outline = Arc::new(Model::load(&starter()).unwrap().outline);
        let weights = self.model.weights.clone();
        let inputs = Inputs {
            eval_sets,
            reference,
            samples: self.prompts(),
            ..Inputs::new(outline, weights, &self.train, Some(&self.eval))
        };
        let (mut engine, mut silent) = (CpuEngine::new(), |_: gpt2_dpo::train::Event| {});
        let host = Host::default();
        let run = Run::new(&mut engine, &self.config, inputs, &out, host, &mut silent);
        run.unwrap().train().unwrap().finished().unwrap()
    }

    fn rows(&self, out: &str) -> Vec<Value> {
        common::metrics(&self.dir.path().join(out))
    }

    fn prompts(&self) -> Vec<Vec<u32>> {
        let two = self.eval.examples[..2].iter();
        two.map(|example| example.prompt.clone()).collect()
    }

    /// The greedy answers of these weights to the prompts.
    fn answers(&self, weights: &Weights) -> Vec<String> {
        let (mut engine, outline) = (CpuEngine::new(), &self.model.outline);
        let dims = &outline.config.dims;
        let generator = Generator::new(&mut engine, dims, weights, dims.n_positions).unwrap();
        let answer = |prompt: &Vec<u32>| {
            let (mut ids, stops) = (Vec::new(), &outline.end.stops);
            let take = |id| {
                ids.push(id);
                Ok(())
            };
            let (limit, greedy) = (SAMPLED_TOKENS, Sampling::GREEDY);
            let done = generator.generate(&mut engine, prompt, limit, stops, greedy, take);
            done.unwrap();
            outline.tokenizer.as_ref().unwrap().decode(&ids).unwrap()
        };
        self.prompts().iter().map(answer).collect()
    }
}

fn starter() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/starter")
}

/// The rows that have this key.
fn with<'a>(rows: &'a [Value], key: &str) -> Vec<&'a Value> {
    rows.iter().filter(|row| row.get(key).is_some()).collect()
}

/// The log-prob of each response token of an example: chosen, then rejected.
fn logps(world: &World, weights: &Weights, at: usize) -> [Vec<f64>; 2] {
    let (mut engine, example) = (CpuEngine::new(), &world.eval.examples[at]);
    let pairs = std::slice::from_ref(example);
    let objective = Objective::sigmoid(0.1);
    let extent = Extent::of(pairs, 1, objective.sides());
    let limits = common::limits(engine.max_binding_bytes(), extent.pair_heads);
    let layout = Layout::new(&world.model.outline.config.dims, limits).unwrap();
    let scorer = Scorer::new(&mut engine, &layout, weights, objective, extent, 1).unwrap();
    let stream = Stream::new(pairs, objective.sides());
    let logps = scorer.log_probs(&mut engine, &stream).unwrap();
    scorer.release(&mut engine);
    let logps: Vec<f64> = logps.into_iter().map(f64::from).collect();
    let (chosen, rejected) = logps.split_at(example.chosen.len());
    [chosen.to_vec(), rejected.to_vec()]
}

#[test]
fn the_numbers_of_an_evaluation_follow_from_the_log_probs() {
    let world = World::new();
    let outcome = world.run("out", None, &[("", 7)]);
    let rows = world.rows("out");
    let last = with(&rows, "eval_loss").pop().unwrap();
    let number = |name: &str| {
        last[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {last}"))
    };
    let end = world.model.outline.end.id.unwrap();
    let (mut margins, mut longer, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ratios, mut tokens) = ([0.0; 2], [0; 2]);
    for (at, example) in world.eval.examples.iter().enumerate() {
        let policy = logps(&world, &outcome.weights, at);
        let reference = logps(&world, &world.model.weights, at);
        let mut gains = [0.0; 2];
        for side in 0..2 {
            gains[side] = policy[side].iter().sum::<f64>() - reference[side].iter().sum::<f64>();
            ratios[side] += gains[side];
            tokens[side] += policy[side].len();
        }
        margins.push(0.1 * (gains[0] - gains[1]));
        longer.push(example.chosen.len() as f64 - example.rejected.len() as f64);
        if example.chosen.last() == Some(&end) {
            ends.push(*policy[0].last().unwrap());
        }
    }
    let right = margins.iter().filter(|margin| **margin > 0.0).count();
    let interval = Interval::of_share(right, 7);
    let mean_end = ends.iter().sum::<f64>() / ends.len() as f64;
    let correlation = rank_correlation(&margins, &longer).unwrap();
    for (name, expected) in [
        ("eval_pairs", 7.0),
        ("eval_rewards/accuracies", right as f64 / 7.0),
        ("eval_rewards/accuracies_low", interval.low),
        ("eval_rewards/accuracies_high", interval.high),
        ("eval_drift/chosen", ratios[0] / tokens[0] as f64),
        ("eval_drift/rejected", ratios[1] / tokens[1] as f64),
        ("eval_logps/chosen_end", mean_end),
        ("eval_rewards/length_correlation", correlation),
    ] {
        assert_abs_diff_eq!(number(name), expected, epsilon = 1e-5);
    }
    assert!(number("eval_drift/rejected").abs() > 1e-3, "it moved");
    // Before the first step nothing differs from the reference.
    let first = with(&rows, "eval_loss")[0];
    assert_eq!(first["eval_drift/chosen"], 0.0);
    assert_eq!(first["eval_drift/rejected"], 0.0);
    assert_eq!(first.get("eval_rewards/length_correlation"), None);
}

/// Over the first 256 values of each tensor.
#[test]
fn how_far_the_weights_moved() {
    let world = World::new();
    let outcome = world.run("out", None, &[("", 7)]);
    let rows = world.rows("out");
    let evals = with(&rows, "weights/relative_change");
    assert_eq!(evals.len(), 3);
    let (mut moved, mut size) = (0.0, 0.0);
    let tensors = outcome.weights.tensors.iter();
    for (now, start) in tensors.zip(&world.model.weights.tensors) {
        for (now, start) in now.iter().zip(start).take(256) {
            moved += f64::from((now - start).abs());
            size += f64::from(start.abs());
        }
    }
    let change = |row: &Value| row["weights/relative_change"].as_f64().unwrap();
    assert_eq!(change(evals[0]), 0.0);
    assert_abs_diff_eq!(change(evals[2]), moved / size, epsilon = 1e-9);
    assert!(change(evals[2]) > change(evals[1]) && change(evals[1]) > 1e-3);
}

#[test]
fn each_set_has_the_numbers_that_it_has_alone() {
    let mut world = World::new();
    for loss in [Kind::Sigmoid, Kind::Sft] {
        world.config.loss = Losses::from(loss);
        let name = |what: &str| format!("{what}-{loss}");
        world.run(&name("both"), None, &[("easy", 3), ("", 4)]);
        let whole = world.eval.clone();
        world.eval.examples.truncate(3);
        world.run(&name("easy"), None, &[("", 3)]);
        world.eval.examples = whole.examples[3..].to_vec();
        world.run(&name("rest"), None, &[("", 4)]);
        world.eval = whole;

        let (both, easy, rest) = (
            world.rows(&name("both")),
            world.rows(&name("easy")),
            world.rows(&name("rest")),
        );
        let evals = with(&both, "eval_loss");
        let alone = with(&easy, "eval_loss")
            .into_iter()
            .zip(with(&rest, "eval_loss"));
        assert_eq!(evals.len(), 3);
        for (ours, (easy, rest)) in evals.into_iter().zip(alone) {
            let mut expected = rest.clone();
            for (name, value) in easy.as_object().unwrap() {
                if let Some(name) = name.strip_prefix("eval_") {
                    expected[format!("eval_easy_{name}")] = value.clone();
                }
            }
            assert_eq!(*ours, expected, "{loss}");
        }
    }
}

#[test]
fn samples_are_the_greedy_answers_of_policy_and_reference() {
    let world = World::new();
    let mut other = world.model.weights.clone();
    other.tensors[1].iter_mut().for_each(|value| *value *= 1.5);
    let outcome = world.run("own", Some(other.clone()), &[("", 7)]);
    let start = world.answers(&world.model.weights);
    let reference = world.answers(&other);
    let end = world.answers(&outcome.weights);
    assert!(start != reference && start != end, "{start:?} {end:?}");

    let rows = world.rows("own");
    let samples = with(&rows, "sample");
    assert_eq!(samples.len(), 3 * 2, "at steps 0, 2 and 3");
    let texts = |step: usize, what: &str| -> Vec<&str> {
        let at = samples.iter().filter(|row| row["step"] == step);
        at.map(|row| row[what].as_str().unwrap()).collect()
    };
    assert_eq!(texts(0, "policy"), start);
    assert_eq!(texts(3, "policy"), end);
    for step in [0, 2, 3] {
        assert_eq!(texts(step, "reference"), reference);
    }
    assert!(texts(0, "prompt")[0].starts_with("User: "));

    // Without another reference the start is it.
    world.run("start", None, &[("", 7)]);
    let rows = world.rows("start");
    for row in with(&rows, "sample") {
        let at = row["sample"].as_u64().unwrap() as usize - 1;
        assert_eq!(row["reference"], start[at]);
    }
}

#[test]
fn a_cached_reference_answers_as_one_on_the_device() {
    let mut world = World::new();
    let mut other = world.model.weights.clone();
    other.tensors[1].iter_mut().for_each(|value| *value *= 1.5);
    world.run("frozen", Some(other.clone()), &[("", 7)]);
    world.config.reference = ReferenceMode::Cached;
    world.config.checkpoint_activations = true;
    world.run("cached", Some(other), &[("", 7)]);
    let (frozen, cached) = (world.rows("frozen"), world.rows("cached"));
    assert_eq!(with(&frozen, "sample"), with(&cached, "sample"));
}
