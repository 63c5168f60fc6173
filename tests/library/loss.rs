//! Logarithms and exponentials near the ends of their range, digit by digit, on GPU and CPU.
//! `tests/library/ops.rs` compares whole buffers, among whose large numbers the small ones do not count.

use std::f64::consts::LN_2;

use crate::common;
use gpt2_dpo::batch::Pair;
use gpt2_dpo::cpu::CpuEngine;
use gpt2_dpo::engine::{Engine, EngineExt};
use gpt2_dpo::ops::head;
use gpt2_dpo::ops::preference::{self, Gradient, Kind, Loss, Settings};
use gpt2_dpo::ops::step_control::StepControl;

/// The largest relative error of a loss or a slope.
const BOUND: f64 = 1e-6;
/// A smaller result may be anything between itself and 0.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;
/// A power of two, so that products with it are exact.
const BETA: f32 = 0.125;

/// Runs a test on the CPU, on the first GPU with WebGPU's defaults and every check, and on the same GPU with
/// everything that it offers and no check.
fn on_every_engine(test: impl Fn(&mut dyn Engine)) {
    test(&mut CpuEngine::new());
    test(&mut common::gpu_with(common::CHECKED));
    test(&mut common::gpu_with(common::everything()));
}

/// The kernel's results for one margin.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    margin: f32,
    loss: f32,
    /// dloss/dlogp of the chosen and of the rejected response: ∓ BETA · σ(-margin).
    slopes: [f32; 2],
}

/// The outcomes of pairs with responses of one token; the chosen token's gain sets the margin.
fn outcomes(engine: &mut dyn Engine, margins: &[f32]) -> Vec<Outcome> {
    let count = margins.len();
    let pairs: Vec<Pair> = (0..count as u32)
        .map(|pair| Pair::of_rows(2 * pair, 2 * pair + 1, 2 * pair + 2))
        .collect();
    let logps: Vec<f32> = margins.iter().flat_map(|m| [m / BETA, 0.0]).collect();
    let references = vec![0.0_f32; 2 * count];
    let op = Loss {
        losses: preference::only(Kind::Sigmoid),
        settings: Settings {
            beta: BETA,
            ..Settings::DEFAULT
        },
        weight: 1.0,
        token_weight: 1.0,
        pairs: engine.upload("pairs", &pairs).unwrap(),
        logps: engine.upload("logps", &logps).unwrap(),
        facts: engine
            .upload("facts", &vec![0.0_f32; 2 * count * head::FACTS])
            .unwrap(),
        references: Some(engine.upload("references", &references).unwrap()),
        sums: engine
            .upload("sums", &vec![f32::NAN; count * preference::SUMS])
            .unwrap(),
        metrics: engine
            .upload("metrics", &vec![f32::NAN; count * preference::METRICS])
            .unwrap(),
        first_slot: 0,
    };
    let control = StepControl::new(1.0).floats();
    let to = Gradient {
        dlogps: engine.upload("dlogps", &vec![f32::NAN; 2 * count]).unwrap(),
        control: engine.upload("control", &control).unwrap(),
    };
    let mut recording = engine.recording();
    preference::forward(&mut recording, &op, 0..count);
    preference::backward(&mut recording, &op, &to, 0..count);
    engine.run(&recording).unwrap();
    let metrics = engine.read_f32(op.metrics).unwrap();
    let dlogps = engine.read_f32(to.dlogps).unwrap();
    let outcome = |(metrics, dlogps): (&[f32], &[f32])| Outcome {
        loss: metrics[0],
        margin: metrics[1],
        slopes: [dlogps[0], dlogps[1]],
    };
    let both = metrics.chunks(preference::METRICS).zip(dlogps.chunks(2));
    both.map(outcome).collect()
}

#[track_caller]
fn assert_digits(what: &str, margin: f32, ours: f32, truth: f64) {
    let ours = f64::from(ours);
    let close = if truth < SMALLEST {
        (0.0..=SMALLEST).contains(&ours)
    } else {
        ((ours - truth) / truth).abs() <= BOUND
    };
    assert!(close, "{what} at margin {margin}: {ours:e}, not {truth:e}");
}

#[test]
fn loss_and_slope_have_all_their_digits() {
    let mut margins: Vec<f32> = (-20_000..=20_000).map(|i| i as f32 * 0.005).collect();
    for exponent in -30..0 {
        let tiny = 1.7 * 10_f32.powi(exponent);
        margins.extend([tiny, -tiny]);
    }
    on_every_engine(|engine| {
        for (outcome, &margin) in outcomes(engine, &margins).iter().zip(&margins) {
            assert_eq!(outcome.margin, margin);
            let z = f64::from(margin);
            let loss = (-z).max(0.0) + (-z.abs()).exp().ln_1p();
            assert_digits("loss", margin, outcome.loss, loss);
            let [chosen, rejected] = outcome.slopes;
            let slope = f64::from(BETA) / (1.0 + z.exp());
            assert_digits("slope", margin, rejected, slope);
            assert_eq!(chosen, -rejected);
        }
    });
}

#[test]
fn a_run_begins_with_exactly_ln_2() {
    on_every_engine(|engine| {
        for outcome in outcomes(engine, &[0.0, -0.0]) {
            assert_eq!(outcome.loss, LN_2 as f32);
            assert_eq!(outcome.slopes, [-0.5 * BETA, 0.5 * BETA]);
        }
    });
}

#[test]
fn margins_far_out() {
    on_every_engine(|engine| {
        for margin in [128.0, 300.0, 1e30, f32::INFINITY] {
            let [far, back] = outcomes(engine, &[margin, -margin])[..] else {
                panic!("two pairs")
            };
            assert_eq!((far.loss, far.slopes), (0.0, [0.0; 2]), "{margin}");
            assert_eq!(
                (back.loss, back.slopes),
                (margin, [-BETA, BETA]),
                "-{margin}"
            );
        }
        // A broken model must not look like a model that has learnt.
        let broken = outcomes(engine, &[f32::NAN])[0];
        let [chosen, rejected] = broken.slopes;
        let all = [broken.loss, broken.margin, chosen, rejected];
        assert!(all.iter().all(|x| x.is_nan()), "{broken:?}");
    });
}

/// The log-probs of the higher of two logits, for each gap between the two.
fn logps(engine: &mut dyn Engine, gaps: &[f32]) -> Vec<f32> {
    const STRIDE: usize = 8;
    let rows = gaps.len();
    let mut wte = [0.0_f32; STRIDE];
    wte[0] = 1.0;
    let chunk = head::Chunk {
        x: engine.upload("x", gaps).unwrap(),
        width: 1,
        targets: engine.upload("targets", &vec![0_u32; rows]).unwrap(),
        stats: engine
            .upload("stats", &vec![0.0_f32; rows * head::STATS])
            .unwrap(),
        heads: 0..rows,
    };
    let shard = head::Shard {
        wte: engine.upload("wte", &wte).unwrap(),
        logits: engine
            .upload("logits", &vec![0.0_f32; rows * STRIDE])
            .unwrap(),
        tokens: 0..2,
        stride: STRIDE,
    };
    let unknown = |count: usize| vec![f32::NAN; count];
    let to = head::Results {
        logps: engine.upload("logps", &unknown(rows)).unwrap(),
        facts: engine
            .upload("facts", &unknown(rows * head::FACTS))
            .unwrap(),
    };
    let mut recording = engine.recording();
    head::forward(&mut recording, &chunk, &[shard], to);
    engine.run(&recording).unwrap();
    engine.read_f32(to.logps).unwrap()
}

/// Near 1 the sum of exp rounds by up to half a unit in the last place of 1, if it is below 2, and so does a
/// log-prob near 0. The driver's log must add little to that.
#[test]
fn a_log_prob_near_0_is_right_to_the_rounding_of_1() {
    let gaps: Vec<f32> = (0..=3000).map(|i| i as f32 * 0.01).collect();
    on_every_engine(|engine| {
        for (&ours, &gap) in logps(engine, &gaps).iter().zip(&gaps) {
            let truth = -(-f64::from(gap)).exp().ln_1p();
            let error = (f64::from(ours) - truth).abs();
            assert!(error <= 3e-7, "gap {gap}: {ours:e}, not {truth:e}");
        }
    });
}
