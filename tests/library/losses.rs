//! Compares every loss with TRL's over the golden models and pairs: values, metrics, gradients, and parameters after five
//! AdamW steps. The fixtures are what tests/losses/make_fixtures.py made of TRL 1.16.0's own loss, or
//! of a plain formula.

use std::collections::BTreeMap;
use std::path::Path;

use gpt2_dpo::batch::{Rivals, Sides, Stream};
use gpt2_dpo::config::Losses;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::data::Example;
use gpt2_dpo::engine::{Engine, Release};
use gpt2_dpo::gpu::OpenOptions;
use gpt2_dpo::learner::{Learner, Recipe, Room};
use gpt2_dpo::model::{Layout, params};
use gpt2_dpo::objective::Objective;
use gpt2_dpo::ops::adamw;
use gpt2_dpo::ops::preference::{Divergence, Settings};
use gpt2_dpo::optimizer::{Decay, Optimizer};
use gpt2_dpo::scorer::{Reference, Scorer, Share, Whole};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::common;
use crate::golden::{Golden, LOGP_ABS, LOSS_ABS, RELATIVE_L2, WHOLE};

#[derive(Deserialize)]
struct Expected {
    lr: f64,
    weight_decay: f64,
    max_grad_norm: f32,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    loss: Losses,
    settings: Value,
    /// Means over the pairs at the start; none where a formula stands in for TRL.
    #[serde(default)]
    metrics: Map<String, Value>,
    /// The loss before each step.
    values: Vec<f64>,
    grad_norms: Vec<f64>,
    /// By parameter, at the start.
    gradients: BTreeMap<String, Digest>,
    /// By parameter, after the last step, without the keys' third of the attention's bias.
    after: BTreeMap<String, Digest>,
}

impl Row {
    fn given(&self) -> Given {
        Given::deserialize(&self.settings).unwrap()
    }
}

/// Settings other than TRL's defaults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    beta: Option<f32>,
    label_smoothing: Option<f32>,
    ld_alpha: Option<f32>,
    f_divergence_type: Option<Divergence>,
    f_alpha_divergence_coef: Option<f32>,
    dpop_lambda: Option<f32>,
    simpo_gamma: Option<f32>,
    #[serde(default)]
    average_log_prob: bool,
    /// The weight of each pair.
    weights: Option<Vec<f32>>,
    /// Of each response only so many tokens.
    tokens: Option<usize>,
}

impl Given {
    fn settings(&self) -> Settings {
        let default = Settings::DEFAULT;
        Settings {
            beta: self.beta.unwrap_or(default.beta),
            label_smoothing: self.label_smoothing.unwrap_or(default.label_smoothing),
            ld_alpha: self.ld_alpha.unwrap_or(default.ld_alpha),
            divergence: self.f_divergence_type.unwrap_or(default.divergence),
            divergence_alpha: self
                .f_alpha_divergence_coef
                .unwrap_or(default.divergence_alpha),
            dpop_lambda: self.dpop_lambda.unwrap_or(default.dpop_lambda),
            simpo_gamma: self.simpo_gamma.unwrap_or(default.simpo_gamma),
            average_log_prob: self.average_log_prob,
            ..default
        }
    }

    fn examples(&self, golden: &Golden) -> Vec<Example> {
        let mut examples = golden.examples.clone();
        for (i, example) in examples.iter_mut().enumerate() {
            if let Some(weights) = &self.weights {
                example.weight = weights[i];
            }
            if let Some(tokens) = self.tokens {
                example.chosen.truncate(tokens);
                example.rejected.truncate(tokens);
            }
        }
        examples
    }
}

/// A tensor in few numbers.
#[derive(Deserialize)]
struct Digest {
    norm: f64,
    /// Its sums under seeded rows of signs.
    sums: Vec<f64>,
}

impl Digest {
    fn of(values: &[f32], sums: usize) -> Digest {
        let values = || values.iter().map(|&value| f64::from(value));
        let sum = |row: u64| -> f64 { values().zip(signs(row)).map(|(v, sign)| v * sign).sum() };
        Digest {
            norm: values().map(|v| v * v).sum::<f64>().sqrt(),
            sums: (0..sums as u64).map(sum).collect(),
        }
    }

    /// The largest difference of the numbers, as a share of the norm. A difference of the tensors of relative size d
    /// moves a sum by about d times the norm.
    fn distance(&self, other: &Digest) -> f64 {
        let sums = self
            .sums
            .iter()
            .zip(&other.sums)
            .map(|(a, b)| (a - b).abs());
        let norms = (self.norm - other.norm).abs();
        sums.fold(norms, f64::max) / other.norm
    }
}

/// The signs of a row, as make_fixtures.py draws them.
fn signs(row: u64) -> impl Iterator<Item = f64> {
    let mut state = row;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        if state >> 63 == 1 { 1.0 } else { -1.0 }
    })
}

fn expected() -> Expected {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/losses/expected.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// The worst distances of a row.
#[derive(Default)]
struct Worst {
    value: f64,
    gradient: f64,
    after: f64,
}

/// Trains with each loss on one device, in micro-batches of `batch` pairs.
fn check(engine: &mut dyn Engine, batch: usize) {
    let golden = Golden::load();
    let expected = expected();
    assert_eq!(expected.rows.len(), 40);
    for row in &expected.rows {
        let objective = row.loss.objective(row.given().settings());
        let worst = check_row(engine, batch, &golden, &expected, row, objective);
        println!(
            "{} {}: value {:.1e}, gradient {:.1e}, after five steps {:.1e}",
            row.loss, row.settings, worst.value, worst.gradient, worst.after
        );
    }
}

fn check_row(
    engine: &mut dyn Engine,
    batch: usize,
    golden: &Golden,
    expected: &Expected,
    row: &Row,
    objective: Objective,
) -> Worst {
    let dims = golden.config.dims;
    let extent = golden.extent(batch);
    let layout = Layout::new(&dims, common::limits(WHOLE, extent.pair_heads)).unwrap();
    let sides = objective.sides();
    let given = row.given();
    let examples = given.examples(golden);
    let chunks = || examples.chunks(batch);
    let mut references = Vec::new();
    if objective.needs_reference() {
        let scorer = Scorer::new(engine, &layout, &golden.reference, objective, extent, 1).unwrap();
        for pairs in chunks() {
            let stream = Stream::new(pairs, sides);
            references.push(scorer.log_probs(engine, &stream).unwrap());
        }
        scorer.release(engine);
    }

    let optimizer = Optimizer {
        adamw: adamw::Settings {
            weight_decay: expected.weight_decay,
            ..adamw::Settings::DEFAULT
        },
        decay: Decay::All,
        max_grad_norm: expected.max_grad_norm,
        scaling: None,
    };
    let recipe = Recipe {
        objective,
        optimizer,
    };
    let count = examples.len();
    let room = Room::new(extent, count);
    let mut learner = Learner::new(engine, &layout, &golden.policy, recipe, &room).unwrap();
    let of = Whole::of(&examples);
    let mut worst = Worst::default();
    for (step, (&value, &norm)) in row.values.iter().zip(&row.grad_norms).enumerate() {
        let micro_batch = |i: usize, pairs: &[Example]| {
            let reference = match references.get(i) {
                Some(logps) => Reference::LogProbs(logps.clone()),
                None => Reference::None,
            };
            let share = Share {
                first_slot: i * batch,
                of,
            };
            (Stream::new(pairs, sides), reference, share)
        };
        let mut rivals = vec![Rivals::default(); count];
        if objective.ranks() {
            for (i, pairs) in chunks().enumerate() {
                let (stream, reference, share) = micro_batch(i, pairs);
                let policy = &learner.policy;
                policy.score(engine, &stream, reference, share).unwrap();
            }
            let metrics = learner.policy.metrics(engine, count).unwrap();
            rivals = objective.rivals(&metrics, &examples);
        }
        for (i, pairs) in chunks().enumerate() {
            let (mut stream, reference, share) = micro_batch(i, pairs);
            stream.set_rivals(&rivals[i * batch..i * batch + pairs.len()]);
            learner
                .accumulate(engine, &stream, reference, share)
                .unwrap();
        }
        if step == 0 {
            let gradients = learner.grads.download(engine).unwrap();
            for (param, ours) in params::table(&dims).iter().zip(&gradients) {
                let theirs = &row.gradients[&param.name];
                let distance = Digest::of(ours, theirs.sums.len()).distance(theirs);
                assert!(
                    distance <= RELATIVE_L2,
                    "{}: gradient of {}: {distance:.1e}",
                    row.loss,
                    param.name
                );
                worst.gradient = worst.gradient.max(distance);
            }
        }
        let ticket = learner.update(engine, expected.lr, count).unwrap();
        let report = learner.report(engine, ticket).unwrap();
        let summary = objective.summary(&report.pairs);
        // With ld_alpha TRL's log-probs are weighed; these are not.
        if step == 0 && sides == Sides::Both {
            let ours = summary.named("");
            for (name, theirs) in &row.metrics {
                if name.starts_with("logps/") && given.ld_alpha.is_some() {
                    continue;
                }
                let (ours, theirs) = (ours[name].as_f64().unwrap(), theirs.as_f64().unwrap());
                // A reward is beta times a difference of log-probs; the sums of these are some -60.
                let bound = match name.starts_with("rewards/") {
                    true => LOGP_ABS * f64::from(objective.settings.beta),
                    false => LOGP_ABS * theirs.abs(),
                };
                let off = (ours - theirs).abs();
                assert!(off <= bound, "{}: {name}: {ours}, not {theirs}", row.loss);
            }
        }
        let off = (summary.loss - value).abs() / value.abs().max(1.0);
        assert!(
            off <= LOSS_ABS,
            "{} at step {step}: {}, not {value}",
            row.loss,
            summary.loss
        );
        worst.value = worst.value.max(off);
        let off = (f64::from(report.grad_norm) / norm - 1.0).abs();
        assert!(
            off <= RELATIVE_L2,
            "{}: norm of step {step}: {off:.1e}",
            row.loss
        );
    }
    let trained = learner.policy.weights.download(engine).unwrap();
    for (param, mut ours) in params::table(&dims).iter().zip(trained) {
        if param.name.ends_with("attn.c_attn.bias") {
            ours[dims.n_embd..2 * dims.n_embd].fill(0.0);
        }
        let theirs = &row.after[&param.name];
        let distance = Digest::of(&ours, theirs.sums.len()).distance(theirs);
        assert!(
            distance <= RELATIVE_L2,
            "{}: {} after five steps: {distance:.1e}",
            row.loss,
            param.name
        );
        worst.after = worst.after.max(distance);
    }
    learner.into_policy(engine).release(engine);
    worst
}

#[test]
fn cpu() {
    check(&mut CpuEngine::new(), 7);
}

#[test]
fn cpu_in_micro_batches() {
    check(&mut CpuEngine::new(), 2);
}

#[test]
fn gpu() {
    check(&mut common::gpu(), 7);
}

#[test]
fn gpu_unchecked_in_micro_batches() {
    check(&mut common::gpu_with(OpenOptions::default()), 3);
}
