//! Each loss by its definition: DPO near the reference, at it and far from it; the supervised loss, in which
//! the rejected tokens have no say; every other loss, and sums of losses.

use gpt2_dpo::batch::{Pair, Rivals};
use gpt2_dpo::choice::{Choice, Named};
use gpt2_dpo::ops::head;
use gpt2_dpo::ops::preference::{self, Divergence, Gradient, Kind, Loss, LossWeights, Settings};
use gpt2_dpo::ops::step_control::StepControl;

use super::{Twin, assert_close, assert_gradients};

/// What the losses say of a pair, without the sums over tokens.
type Metrics = [f64; 6];

/// 1 / chosen tokens of a step; a power of two, so that products with it are exact.
const TOKEN_WEIGHT: f64 = 1.0 / 64.0;

/// The pairs with these (chosen, rejected) lengths.
pub fn pair_table(lengths: &[[usize; 2]]) -> Vec<Pair> {
    let mut end = 0;
    let mut table = Vec::new();
    for [chosen, rejected] in lengths.iter().map(|l| l.map(|n| n as u32)) {
        table.push(Pair::of_rows(end, end + chosen, end + chosen + rejected));
        end += chosen + rejected;
    }
    table
}

/// A pair's values, for each of its two responses.
pub fn sides(values: &[f64], pair: Pair) -> [&[f64]; 2] {
    [&values[pair.chosen()], &values[pair.rejected()]]
}

/// The metrics of each pair by the definition: -log σ(β (gain chosen − gain rejected)).
fn formula(lengths: &[[usize; 2]], logps: &[f64], references: &[f64], beta: f64) -> Vec<Metrics> {
    let metrics = |&pair: &Pair| {
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
        pairs: pair_table(lengths),
    };
    scaled_twin(lengths, logps, references, &objective, 1.0)
}

/// A sum of losses.
struct Summed {
    losses: LossWeights,
    settings: Settings,
    /// 1 / pairs of the step.
    weight: f64,
    pairs: Vec<Pair>,
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
        pairs: t.words(&objective.pairs),
        logps: t.input(logps),
        facts: t.input(&vec![0.0; logps.len() * head::FACTS]),
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
        .map(|slot| slot[..6].try_into().unwrap());
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
        pairs: pair_table(&lengths),
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
        facts: t.input(&vec![0.0; logps.len() * head::FACTS]),
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
        let chosen = |&pair: &Pair| sides(logps, pair)[0];
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

/// What the definitions take of a pair.
struct Defined<'a> {
    settings: &'a Settings,
    /// Σ of the log-probs less the reference's of the chosen and of the rejected response, tokens weighed and averaged as
    /// the settings say.
    gains: [f64; 2],
    /// The numbers of tokens.
    counts: [f64; 2],
    /// Σ of the policy's log-probs.
    logps: [f64; 2],
    rivals: Rivals,
}

/// f'(e^gain) of the divergence.
fn score(settings: &Settings, gain: f64) -> f64 {
    let alpha = f64::from(settings.divergence_alpha);
    match settings.divergence {
        Divergence::ReverseKl => gain,
        Divergence::ForwardKl => 1.0 - (-gain).exp(),
        Divergence::JsDivergence => (2.0 * sigma(gain)).ln(),
        Divergence::AlphaDivergence => (((alpha - 1.0) * gain).exp() - 1.0) / (alpha - 1.0),
    }
}

/// A loss by its definition: the part that is the pair's own, and the part that counts as another pair's.
fn defined(kind: Kind, of: &Defined) -> [f64; 2] {
    let settings = of.settings;
    let beta = f64::from(settings.beta);
    let share = f64::from(settings.label_smoothing);
    let tau = f64::from(settings.discopop_tau);
    let lambda = f64::from(settings.dpop_lambda);
    let gamma = f64::from(settings.simpo_gamma);
    let [c, r] = of.gains;
    let scores = of.gains.map(|gain| score(settings, gain));
    let z = beta * (scores[0] - scores[1]);
    let mean = |values: [f64; 2]| match settings.average_log_prob {
        true => values[0] - values[1],
        false => values[0] / of.counts[0] - values[1] / of.counts[1],
    };
    let smoothed = |z: f64| (1.0 - share) * log_loss(z) + share * log_loss(-z);
    let logps = [0, 1].map(|side| of.logps[side] / of.counts[side]);
    let rivals = [of.rivals.of_chosen, of.rivals.of_rejected].map(f64::from);
    let own = match kind {
        Kind::Sigmoid => smoothed(z),
        Kind::Sft => -of.logps[0] * TOKEN_WEIGHT * 4.0,
        Kind::Hinge => (1.0 - z).max(0.0),
        Kind::Ipo => (mean(scores) - 1.0 / (2.0 * beta)).powi(2),
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
        Kind::SigmoidNorm => log_loss(beta * mean(scores)),
        Kind::Dpop => log_loss(beta * (c - r - lambda * (-c).max(0.0))),
        Kind::Aot => smoothed(z + beta * f64::from(of.rivals.reference_shift)),
        Kind::AotUnpaired => smoothed(beta * (c - rivals[0])),
        Kind::Simpo => smoothed(beta * (logps[0] - logps[1]) - gamma),
        Kind::Orpo => {
            let [c, r] = logps.map(|m| m - (-m.exp_m1()).ln());
            beta * log_loss(c - r) - logps[0]
        }
    };
    let others = match kind {
        Kind::AotUnpaired => smoothed(beta * (rivals[1] - r)),
        _ => 0.0,
    };
    [own, others]
}

/// What a token counts in its response's gain.
fn share(settings: &Settings, index: usize, counts: [usize; 2], side: usize) -> f64 {
    let beyond = index >= counts[0].min(counts[1]);
    let tail = if beyond {
        f64::from(settings.ld_alpha)
    } else {
        1.0
    };
    match settings.average_log_prob {
        true => tail / counts[side] as f64,
        false => tail,
    }
}

/// Value and gradient of losses under these settings, for random log-probs of about -`spread`.
fn check(losses: LossWeights, settings: Settings, spread: f64) {
    let lengths = [[3, 1], [5, 4], [1, 7]];
    let mut pairs = pair_table(&lengths);
    for (i, pair) in pairs.iter_mut().enumerate() {
        let half = 0.5 * i as f32;
        pair.weight = 1.0 + half;
        pair.rivals = Rivals {
            of_chosen: half - 0.75,
            of_rejected: 1.25 - half,
            reference_shift: half - 0.25,
        };
    }
    let mut t = Twin::new();
    let mut below_0 = || -> Vec<f64> {
        let values = t.random(21, spread);
        values.iter().map(|v| -v.abs() - 0.0625).collect()
    };
    let (logps, references) = (below_0(), below_0());
    let objective = Summed {
        losses,
        settings,
        weight: 0.25,
        pairs: pairs.clone(),
    };
    let values = |logps: &[f64], with_others: bool| -> Vec<f64> {
        let pair = |&pair: &Pair| {
            let policy = sides(logps, pair);
            let reference = sides(&references, pair);
            let counts = policy.map(<[f64]>::len);
            let gains = [0, 1].map(|s| -> f64 {
                let tokens = policy[s].iter().zip(reference[s]).enumerate();
                let gains = tokens.map(|(i, (p, r))| (p - r) * share(&settings, i, counts, s));
                gains.sum()
            });
            let of = Defined {
                settings: &settings,
                gains,
                counts: counts.map(|count| count as f64),
                logps: policy.map(|side| side.iter().sum()),
                rivals: pair.rivals,
            };
            let terms = Kind::all().filter(|&kind| losses[kind as usize] != 0.0);
            let value = |kind| {
                let [own, others] = defined(kind, &of);
                let others = if with_others { others } else { 0.0 };
                f64::from(losses[kind as usize]) * (own + others)
            };
            f64::from(pair.weight) * terms.map(value).sum::<f64>()
        };
        pairs.iter().map(pair).collect()
    };
    let (metrics, dlogps) = scaled_twin(&lengths, &logps, &references, &objective, 1.0);
    let name = format!("{} {settings:?}", preference::describe(&losses));
    let ours: Vec<f64> = metrics.iter().map(|pair| pair[0]).collect();
    assert_close(&name, &ours, &values(&logps, false));
    let all = |[logps]: [&[f64]; 1]| values(logps, true);
    assert_gradients(all, [&logps], &[0.25; 3], [(&name, dlogps)]);
}

const SETTINGS: Settings = Settings {
    beta: BETA as f32,
    discopop_tau: 0.25,
    dpop_lambda: 2.0,
    ..Settings::DEFAULT
};

/// With and without smoothing, near the reference and far from it, and sums.
#[test]
fn every_loss_and_its_gradient() {
    let single = Kind::all().map(preference::only);
    let sums = [
        preference::summed(&[(Kind::Sigmoid, 1.0), (Kind::Sft, 0.25)]),
        preference::summed(&[(Kind::ApoZero, 0.5), (Kind::Ipo, 2.0), (Kind::Simpo, 0.125)]),
    ];
    for losses in single.chain(sums) {
        for (label_smoothing, spread) in [(0.125, 1.0), (0.125, 30.0), (0.0, 4.0)] {
            if losses[Kind::ExoPair as usize] != 0.0 && label_smoothing == 0.0 {
                continue;
            }
            let settings = Settings {
                label_smoothing,
                ..SETTINGS
            };
            check(losses, settings, spread);
        }
    }
}

#[test]
fn every_divergence() {
    let margin = [
        Kind::Sigmoid,
        Kind::SigmoidNorm,
        Kind::Hinge,
        Kind::Ipo,
        Kind::Robust,
        Kind::Discopop,
    ];
    for kind in margin {
        for Named {
            value: divergence, ..
        } in Divergence::VALUES
        {
            for divergence_alpha in [0.5, 2.0, 1.0 - 1e-7] {
                let settings = Settings {
                    divergence: *divergence,
                    divergence_alpha,
                    ..SETTINGS
                };
                let near = divergence_alpha > 0.9 && divergence_alpha < 1.0;
                // There its limit is taken, the reverse KL, as TRL does.
                if !(near && *divergence == Divergence::AlphaDivergence) {
                    check(preference::only(kind), settings, 1.0);
                }
            }
        }
    }
}

#[test]
fn long_tails_count_less_and_means_count_alike() {
    let kinds = [
        Kind::Sigmoid,
        Kind::Ipo,
        Kind::Dpop,
        Kind::ApoDown,
        Kind::Sft,
    ];
    for kind in kinds {
        let losses = preference::summed(&[(kind, 1.0), (Kind::Orpo, 0.5)]);
        for (ld_alpha, average_log_prob) in [(0.5, false), (0.0, false), (1.0, true), (0.25, true)]
        {
            let settings = Settings {
                ld_alpha,
                average_log_prob,
                ..SETTINGS
            };
            check(losses, settings, 2.0);
        }
    }
}

/// An alpha-divergence grows as e^gain, and stays finite.
#[test]
fn an_exponent_is_bounded() {
    let (logps, references) = (vec![-1.0, -200.0], vec![-200.0, -1.0]);
    let objective = Summed {
        losses: preference::only(Kind::Sigmoid),
        settings: Settings {
            divergence: Divergence::ForwardKl,
            ..SETTINGS
        },
        weight: 1.0,
        pairs: pair_table(&[[1, 1]]),
    };
    for (logps, references) in [(&logps, &references), (&references, &logps)] {
        let (metrics, dlogps) = scaled_twin(&[[1, 1]], logps, references, &objective, 1.0);
        assert!(
            metrics
                .concat()
                .iter()
                .chain(&dlogps)
                .all(|v| v.is_finite())
        );
    }
}

/// Without a reference the rewards are the mean log-probs of a token.
#[test]
fn rewards_without_a_reference() {
    let mut t = Twin::new();
    let logps: Vec<f64> = t.random(3, 4.0).iter().map(|v| -v.abs()).collect();
    for (kind, free) in [(Kind::Simpo, true), (Kind::Orpo, true), (Kind::Sft, false)] {
        let mut t = Twin::new();
        let op = Loss {
            losses: preference::only(kind),
            settings: SETTINGS,
            weight: 1.0,
            token_weight: TOKEN_WEIGHT as f32,
            pairs: t.words(&pair_table(&[[2, 1]])),
            logps: t.input(&logps),
            facts: t.input(&vec![0.0; logps.len() * head::FACTS]),
            references: None,
            sums: t.output(preference::SUMS),
            metrics: t.output(preference::METRICS),
            first_slot: 0,
        };
        preference::forward(&mut t.rec, &op, 0..1);
        t.run();
        let metrics = t.read(op.metrics);
        let means = [(logps[0] + logps[1]) / 2.0, logps[2]].map(|mean| BETA * mean);
        let expected = match free {
            true => [means[0] - means[1], means[0], means[1]],
            false => [0.0; 3],
        };
        let off = metrics[1..4]
            .iter()
            .zip(expected)
            .map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f64::max) < 1e-6, "{kind}: {metrics:?}");
    }
}

/// A pair's sums over its tokens.
#[test]
fn facts_of_tokens() {
    let mut t = Twin::new();
    let facts = t.random(5 * head::FACTS, 4.0);
    let op = Loss {
        losses: preference::only(Kind::Sigmoid),
        settings: SETTINGS,
        weight: 1.0,
        token_weight: TOKEN_WEIGHT as f32,
        pairs: t.words(&pair_table(&[[2, 3]])),
        logps: t.input(&[-1.0; 5]),
        facts: t.input(&facts),
        references: Some(t.input(&[-1.0; 5])),
        sums: t.output(preference::SUMS),
        metrics: t.output(preference::METRICS),
        first_slot: 0,
    };
    preference::forward(&mut t.rec, &op, 0..1);
    t.run();
    let total = |rows: std::ops::Range<usize>, fact: usize| -> f64 {
        rows.map(|row| facts[row * head::FACTS + fact]).sum()
    };
    let expected = [
        total(0..5, 0),
        total(0..2, 1),
        total(2..5, 1),
        total(0..2, 2),
        2.0,
        3.0,
    ];
    assert_close("facts", &t.read(op.metrics)[6..], &expected);
}
