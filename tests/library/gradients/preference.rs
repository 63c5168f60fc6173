//! Each loss by its definition: DPO near the reference, at it and far from it; the supervised loss, in which
//! the rejected tokens have no say; every other loss, and sums of losses.

use gpt2_dpo::ops::preference::{self, Gradient, Kind, Loss, LossWeights, Settings};
use gpt2_dpo::ops::step_control::StepControl;

use super::{Twin, assert_close, assert_gradients};

type Metrics = [f64; preference::METRICS];

/// 1 / chosen tokens of a step; a power of two, so that products with it are exact.
const TOKEN_WEIGHT: f64 = 1.0 / 64.0;

/// The head rows of pairs with these (chosen, rejected) lengths: start, middle, end.
pub fn pair_table(lengths: &[[usize; 2]]) -> Vec<[u32; 3]> {
    let mut end = 0;
    let mut table = Vec::new();
    for [chosen, rejected] in lengths.iter().map(|l| l.map(|n| n as u32)) {
        table.push([end, end + chosen, end + chosen + rejected]);
        end += chosen + rejected;
    }
    table
}

/// A pair's values, for each of its two responses.
pub fn sides(values: &[f64], pair: [u32; 3]) -> [&[f64]; 2] {
    let [start, middle, end] = pair.map(|r| r as usize);
    [&values[start..middle], &values[middle..end]]
}

/// The metrics of each pair by the definition: -log σ(β (gain chosen − gain rejected)).
fn formula(lengths: &[[usize; 2]], logps: &[f64], references: &[f64], beta: f64) -> Vec<Metrics> {
    let metrics = |&pair: &[u32; 3]| {
        let policy = sides(logps, pair).map(|side| side.iter().sum::<f64>());
        let reference = sides(references, pair).map(|side| side.iter().sum::<f64>());
        let rewards = [0, 1].map(|s| beta * (policy[s] - reference[s]));
        let margin = rewards[0] - rewards[1];
        // log1p: at margin 30, σ is 1 − 1e-13, and 1 + e loses its digits even in f64.
        let loss = (-margin).exp().ln_1p();
        [loss, margin, rewards[0], rewards[1], policy[0], policy[1]]
    };
    pair_table(lengths).iter().map(metrics).collect()
}

/// Metrics and gradient of the twin, in chunks of one pair.
fn twin(
    lengths: &[[usize; 2]],
    logps: &[f64],
    references: &[f64],
    beta: f64,
    scale: f64,
) -> (Vec<Metrics>, Vec<f64>) {
    let objective = Summed {
        losses: preference::only(Kind::Sigmoid),
        settings: Settings {
            beta: beta as f32,
            ..Settings::DEFAULT
        },
        weight: scale,
    };
    scaled_twin(lengths, logps, references, &objective, 1.0)
}

/// A sum of losses.
struct Summed {
    losses: LossWeights,
    settings: Settings,
    /// 1 / pairs of the step.
    weight: f64,
}

/// [`twin`] of any losses, with a loss scale.
fn scaled_twin(
    lengths: &[[usize; 2]],
    logps: &[f64],
    references: &[f64],
    objective: &Summed,
    loss_scale: f32,
) -> (Vec<Metrics>, Vec<f64>) {
    let mut t = Twin::new();
    let first_slot = 2;
    let op = Loss {
        losses: objective.losses,
        settings: objective.settings,
        weight: objective.weight as f32,
        token_weight: TOKEN_WEIGHT as f32,
        pairs: t.words(&pair_table(lengths)),
        logps: t.input(logps),
        references: Some(t.input(references)),
        sums: t.output(lengths.len() * preference::SUMS),
        metrics: t.output((first_slot + lengths.len()) * preference::METRICS),
        first_slot,
    };
    let to = Gradient {
        dlogps: t.output(logps.len()),
        control: t.words(&StepControl::new(loss_scale).floats()),
    };
    for pair in 0..lengths.len() {
        preference::forward(&mut t.rec, &op, pair..pair + 1);
        preference::backward(&mut t.rec, &op, &to, pair..pair + 1);
    }
    t.run();
    let metrics = t.read(op.metrics);
    let slots = metrics
        .chunks(preference::METRICS)
        .map(|slot| slot.try_into().unwrap());
    (slots.skip(first_slot).collect(), t.read(to.dlogps))
}

#[test]
fn sigmoid_forward_and_gradients() {
    let lengths = [[3, 1], [5, 4], [1, 7]];
    let (beta, scale) = (f64::from(0.1_f32), 0.25);
    let mut t = Twin::new();
    let (logps, references) = (t.random(21, 4.0), t.random(21, 4.0));
    let (metrics, dlogps) = twin(&lengths, &logps, &references, beta, scale);
    let expected = formula(&lengths, &logps, &references, beta);
    assert_close("metrics", &metrics.concat(), &expected.concat());
    let losses = |[logps]: [&[f64]; 1]| -> Vec<f64> {
        let metrics = formula(&lengths, logps, &references, beta);
        metrics.iter().map(|m| m[0]).collect()
    };
    assert_gradients(losses, [&logps], &[scale; 3], [("dlogps", dlogps)]);
}

/// A power of two, so that products with it are exact.
const BETA: f64 = 0.125;

/// The reference and policy log-probs of one pair whose margin is exactly `margin` (a multiple of 3 / 8).
fn pair_with_margin(margin: f64) -> ([f64; 5], [f64; 5]) {
    let references = [-1.0, -0.25, -3.5, -2.0, -0.5];
    let gain = margin / 2.0 / BETA;
    let gains = [gain / 3.0, gain / 3.0, gain / 3.0, -gain / 2.0, -gain / 2.0];
    (
        references,
        std::array::from_fn(|r| references[r] + gains[r]),
    )
}
#[test]
fn far_from_the_reference() {
    let lengths = [[3, 2]];
    for margin in [-30.0, -3.0, 3.0, 30.0] {
        let (references, logps) = pair_with_margin(margin);
        let (metrics, dlogps) = twin(&lengths, &logps, &references, BETA, 1.0);
        let expected = formula(&lengths, &logps, &references, BETA)[0];
        assert_eq!(metrics[0][1], margin);
        assert_close("loss", &metrics[0][..1], &expected[..1]);
        let loss = |[logps]: [&[f64]; 1]| vec![formula(&lengths, logps, &references, BETA)[0][0]];
        assert_gradients(loss, [&logps], &[1.0], [("dlogps", dlogps)]);
    }
    // So far from the reference that exp(300) overflows f32: the loss is 0, or the line -margin.
    for (margin, loss, slope) in [(300.0, 0.0, 0.0), (-300.0, 300.0, BETA)] {
        let (references, logps) = pair_with_margin(margin);
        let (metrics, dlogps) = twin(&lengths, &logps, &references, BETA, 1.0);
        assert_eq!(metrics[0][..2], [loss, margin]);
        assert_eq!(dlogps, [-slope, -slope, -slope, slope, slope]);
    }
}

#[test]
fn loss_scale_scales_the_gradient_alone() {
    let lengths = [[3, 1], [5, 4]];
    let mut t = Twin::new();
    let (logps, references) = (t.random(13, 4.0), t.random(13, 4.0));
    let objective = Summed {
        losses: preference::only(Kind::Sigmoid),
        settings: Settings::DEFAULT,
        weight: 0.25,
    };
    let run = |loss_scale| scaled_twin(&lengths, &logps, &references, &objective, loss_scale);
    let (metrics, dlogps) = run(1.0);
    let (scaled_metrics, scaled_dlogps) = run(65536.0);
    assert_eq!(scaled_metrics, metrics);
    let expected: Vec<f64> = dlogps.iter().map(|g| 65536.0 * g).collect();
    assert_eq!(scaled_dlogps, expected);
}

#[test]
fn at_the_reference_is_ln_2() {
    let lengths = [[3, 1], [5, 4], [1, 7]];
    let logps = Twin::new().random(21, 100.0);
    let (metrics, dlogps) = twin(&lengths, &logps, &logps, f64::from(0.1_f32), 1.0);
    for metrics in metrics {
        assert_eq!(
            metrics[..4],
            [f64::from(std::f32::consts::LN_2), 0.0, 0.0, 0.0]
        );
    }
    let slope = f64::from(0.1_f32) / 2.0;
    assert!(dlogps.iter().all(|g| g.abs() == slope));
}

#[test]
fn swapped_flips_the_margin() {
    let mut t = Twin::new();
    let (logps, references) = (t.random(9, 4.0), t.random(9, 4.0));
    let swapped = |values: &[f64]| [&values[5..], &values[..5]].concat();
    let beta = f64::from(0.1_f32);
    let (there, dlogps) = twin(&[[5, 4]], &logps, &references, beta, 1.0);
    let (back, back_dlogps) = twin(
        &[[4, 5]],
        &swapped(&logps),
        &swapped(&references),
        beta,
        1.0,
    );
    let [_, margin, rewards @ ..] = there[0];
    assert!(margin != 0.0);
    let [chosen, rejected, chosen_logp, rejected_logp] = rewards;
    assert_eq!(
        back[0][1..],
        [-margin, rejected, chosen, rejected_logp, chosen_logp]
    );
    // -log σ(-z) = -log σ(z) + z, and the two slopes add up to β.
    assert_close("loss", &[back[0][0]], &[there[0][0] + margin]);
    assert_close("slopes", &[dlogps[8] + back_dlogps[8]], &[beta]);
}

#[test]
fn sft_forward_and_gradients() {
    let lengths = [[3, 1], [5, 0], [1, 7]];
    let (scale, loss_scale) = (0.25, 1024.0);
    let mut t = Twin::new();
    let logps = t.random(17, 4.0);
    let op = Loss {
        losses: preference::only(Kind::Sft),
        settings: Settings::DEFAULT,
        weight: scale as f32,
        token_weight: TOKEN_WEIGHT as f32,
        pairs: t.words(&pair_table(&lengths)),
        logps: t.input(&logps),
        references: None,
        sums: t.output(lengths.len() * preference::SUMS),
        metrics: t.output((1 + lengths.len()) * preference::METRICS),
        first_slot: 1,
    };
    let to = Gradient {
        dlogps: t.output(logps.len()),
        control: t.words(&StepControl::new(loss_scale as f32).floats()),
    };
    for range in [0..1, 1..3] {
        preference::forward(&mut t.rec, &op, range.clone());
        preference::backward(&mut t.rec, &op, &to, range);
    }
    t.run();
    let losses = |[logps]: [&[f64]; 1]| -> Vec<f64> {
        let chosen = |&pair: &[u32; 3]| sides(logps, pair)[0];
        let loss = |logps: &[f64]| -logps.iter().sum::<f64>() * TOKEN_WEIGHT / scale;
        pair_table(&lengths).iter().map(chosen).map(loss).collect()
    };
    let metrics = t.read(op.metrics);
    let column = |k: usize| {
        metrics
            .iter()
            .skip(preference::METRICS + k)
            .step_by(preference::METRICS)
    };
    let (loss, logp): (Vec<f64>, Vec<f64>) = column(0).zip(column(4)).unzip();
    let sums = losses([&logps]).into_iter();
    let sums: Vec<f64> = sums.map(|loss| -loss * scale / TOKEN_WEIGHT).collect();
    assert_close("loss", &loss, &losses([&logps]));
    assert_close("chosen log-prob", &logp, &sums);
    for k in [1, 2, 3] {
        assert!(column(k).all(|&v| v == 0.0), "metric {k}");
    }
    let seeds = [scale * loss_scale; 3];
    assert_gradients(losses, [&logps], &seeds, [("dlogps", t.read(to.dlogps))]);
}

/// −log σ(z).
fn log_loss(z: f64) -> f64 {
    (-z).exp().ln_1p()
}

fn sigma(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// A loss by its definition, from the gains of both responses, their lengths and the sum of the chosen log-probs.
fn defined(
    kind: Kind,
    settings: &Settings,
    [c, r]: [f64; 2],
    [nc, nr]: [f64; 2],
    logp: f64,
) -> f64 {
    let beta = f64::from(settings.beta);
    let share = f64::from(settings.label_smoothing);
    let tau = f64::from(settings.discopop_tau);
    let z = beta * (c - r);
    match kind {
        Kind::Sigmoid => (1.0 - share) * log_loss(z) + share * log_loss(-z),
        Kind::Sft => -logp * TOKEN_WEIGHT * 4.0,
        Kind::Hinge => (1.0 - z).max(0.0),
        Kind::Ipo => (c / nc - r / nr - 1.0 / (2.0 * beta)).powi(2),
        Kind::Robust => ((1.0 - share) * log_loss(z) - share * log_loss(-z)) / (1.0 - 2.0 * share),
        Kind::ExoPair => {
            sigma(z) * (sigma(z) / (1.0 - share)).ln() + sigma(-z) * (sigma(-z) / share).ln()
        }
        Kind::NcaPair => log_loss(beta * c) + 0.5 * log_loss(-beta * c) + 0.5 * log_loss(-beta * r),
        Kind::BcoPair => log_loss(beta * c) + log_loss(-beta * r),
        Kind::SppoHard => (c - 0.5 / beta).powi(2) + (r + 0.5 / beta).powi(2),
        Kind::ApoZero => 1.0 - sigma(beta * c) + sigma(beta * r),
        Kind::ApoDown => sigma(beta * c) + 1.0 - sigma(z),
        Kind::Discopop => {
            let share = sigma(z / tau);
            log_loss(z) * (1.0 - share) + (-z).exp() * share
        }
        Kind::SigmoidNorm => log_loss(beta * (c / nc - r / nr)),
    }
}

/// Value and gradient of every loss, with and without smoothing, near the reference and far from it, and of sums.
#[test]
fn every_loss_and_its_gradient() {
    let lengths = [[3, 1], [5, 4], [1, 7]];
    let mut t = Twin::new();
    let single = Kind::all().map(preference::only);
    let sums = [
        preference::summed(&[(Kind::Sigmoid, 1.0), (Kind::Sft, 0.25)]),
        preference::summed(&[(Kind::ApoZero, 0.5), (Kind::Ipo, 2.0), (Kind::Hinge, 0.125)]),
    ];
    for losses in single.chain(sums) {
        for (label_smoothing, spread) in [(0.125, 1.0), (0.125, 30.0), (0.0, 4.0)] {
            if losses[Kind::ExoPair as usize] != 0.0 && label_smoothing == 0.0 {
                continue;
            }
            let settings = Settings {
                beta: BETA as f32,
                label_smoothing,
                discopop_tau: 0.25,
            };
            let (logps, references) = (t.random(21, spread), t.random(21, spread));
            let objective = Summed {
                losses,
                settings,
                weight: 0.25,
            };
            let values = |[logps]: [&[f64]; 1]| -> Vec<f64> {
                let pair = |&pair: &[u32; 3]| {
                    let policy = sides(logps, pair);
                    let reference = sides(&references, pair);
                    let gain = |s: usize| -> f64 {
                        policy[s].iter().zip(reference[s]).map(|(p, r)| p - r).sum()
                    };
                    let counts = policy.map(|side| side.len() as f64);
                    let chosen = policy[0].iter().sum();
                    let terms = Kind::all().filter(|&kind| losses[kind as usize] != 0.0);
                    let value = |kind| {
                        let weight = f64::from(losses[kind as usize]);
                        weight * defined(kind, &settings, [gain(0), gain(1)], counts, chosen)
                    };
                    terms.map(value).sum()
                };
                pair_table(&lengths).iter().map(pair).collect()
            };
            let (metrics, dlogps) = scaled_twin(&lengths, &logps, &references, &objective, 1.0);
            let name = preference::describe(&losses);
            let ours: Vec<f64> = metrics.iter().map(|pair| pair[0]).collect();
            assert_close(&name, &ours, &values([&logps]));
            assert_gradients(values, [&logps], &[0.25; 3], [(&name, dlogps)]);
        }
    }
}
