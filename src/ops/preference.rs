//! The loss of each preference pair and its gradient, for every kind of loss. `crate::dpo` explains DPO in prose.
//!
//! The ops sum a pair's log-probs; a weighted sum of losses follows from these sums. A loss is a [`Kind`], a function in
//! `shaders/preference_losses.wgsl` and its twin in `losses.rs`.

mod losses;
mod rank;

use std::ops::Range;

use self::losses::pair_loss;
pub use self::losses::{Divergence, Kind};
pub use self::rank::{Ranked, rank};
use super::case::Case;
use super::head;
use super::step_control::StepControl;
use crate::batch::Pair;
use crate::buffer::Buffer;
use crate::choice::Choice;
use crate::kernel::{Bindings, Kernel, params, twin};
use crate::recording::{Grid, Recording};
use crate::wgsl::parts;

params! {
    struct Params {
        has_reference: u32,
        beta: f32,
        weight: f32,
        token_weight: f32,
        count: u32,
        first_pair: u32,
        first_slot: u32,
        label_smoothing: f32,
        log_kept: f32,
        log_smoothing: f32,
        discopop_tau: f32,
        dpop_lambda: f32,
        simpo_gamma: f32,
        ld_alpha: f32,
        average: u32,
        is_js: u32,
        alpha_less_1: f32,
        sigmoid: f32,
        hinge: f32,
        ipo: f32,
        robust: f32,
        exo_pair: f32,
        nca_pair: f32,
        bco_pair: f32,
        sppo_hard: f32,
        apo_zero: f32,
        apo_down: f32,
        discopop: f32,
        sigmoid_norm: f32,
        dpop: f32,
        aot: f32,
        aot_unpaired: f32,
        simpo: f32,
        orpo: f32,
        sft: f32,
    }
}

/// `forward` of `shaders/preference.wgsl`.
pub static FORWARD: Kernel = Kernel::new(
    "preference",
    "forward",
    parts!["step_control_struct", "preference", "preference_losses"],
    twin!(Params, forward_twin),
);
/// `backward` of `shaders/preference.wgsl`.
pub static BACKWARD: Kernel = Kernel::new(
    "preference",
    "backward",
    parts!["step_control_struct", "preference", "preference_losses"],
    twin!(Params, backward_twin),
);
/// Every kernel of this op.
pub const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

/// The numbers that losses take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// β: strength of the pull towards the reference.
    pub beta: f32,
    /// ε: the share of labels that may be wrong, below 1/2. The loss `exo_pair` needs one above 0.
    pub label_smoothing: f32,
    /// τ of the loss `discopop`: over which margins its two parts blend, above 0 and at most 1.
    pub discopop_tau: f32,
    /// λ of the loss `dpop`: the strength of its penalty.
    pub dpop_lambda: f32,
    /// γ of the loss `simpo`: by how much the two responses are to be apart, times β.
    pub simpo_gamma: f32,
    /// The divergence that the losses of the margin bound.
    pub divergence: Divergence,
    /// α of [`Divergence::AlphaDivergence`].
    pub divergence_alpha: f32,
    /// α of LD-DPO (Liu et al. 2024, "Length Desensitization in Direct Preference Optimization"): what a token counts in a
    /// gain if the other response has no token at its place; 1 = as the others.
    pub ld_alpha: f32,
    /// A gain is the mean over a response's tokens, not their sum.
    pub average_log_prob: bool,
}

impl Settings {
    /// TRL's defaults, and the paper's for `dpop`, which TRL lacks.
    pub const DEFAULT: Settings = Settings {
        beta: 0.1,
        label_smoothing: 0.0,
        discopop_tau: 0.05,
        dpop_lambda: 50.0,
        simpo_gamma: 0.5,
        divergence: Divergence::ReverseKl,
        divergence_alpha: 0.5,
        ld_alpha: 1.0,
        average_log_prob: false,
    };

    /// α − 1 of the alpha-divergence: 0 for the reverse KL, to which alpha-divergences tend as α tends to 1.
    fn alpha_less_1(&self) -> f32 {
        match self.divergence {
            Divergence::ReverseKl | Divergence::JsDivergence => 0.0,
            Divergence::ForwardKl => -1.0,
            Divergence::AlphaDivergence => match self.divergence_alpha - 1.0 {
                near if near.abs() < NO_ALPHA => 0.0,
                alpha_less_1 => alpha_less_1,
            },
        }
    }
}

/// Closer to 1 than this, the α of an alpha-divergence counts as 1, as TRL has it.
const NO_ALPHA: f32 = 1e-6;

/// The weight of each kind in the loss, by `kind as usize`; 0 = not in it.
pub type LossWeights = [f32; Kind::COUNT];

/// The count of numbers that the metrics have of a pair: loss, reward margin, chosen and rejected reward, chosen
/// and rejected log-prob; sums over tokens of entropies, of mean logits of either response, of hits in the chosen one; the
/// tokens of either response.
pub const METRICS: usize = 12;

/// The count of numbers that the forward pass keeps of a pair for the backward pass: the fields of the shader's
/// `Sums`.
pub const SUMS: usize = 6;

/// Operations for each head row.
const FLOPS: usize = 4;

/// The operands of [`forward`] and [`backward`].
#[derive(Clone)]
pub struct Loss {
    /// The losses that are added up.
    pub losses: LossWeights,
    /// Their settings.
    pub settings: Settings,
    /// The weight of a pair in the mean over the optimizer step: 1 / pairs of the step.
    pub weight: f32,
    /// The weight of a chosen token in such a mean: 1 / chosen tokens of the step.
    pub token_weight: f32,
    /// `[pairs]` of [`Pair`].
    pub pairs: Buffer,
    /// `[head rows]`: the policy's log-probs.
    pub logps: Buffer,
    /// `[head rows, head::FACTS]`: the policy's.
    pub facts: Buffer,
    /// `[head rows]`: the reference's log-probs; `None` for a loss without a reference, and then rewards are 0.
    pub references: Option<Buffer>,
    /// `[pairs, SUMS]`: scratch.
    pub sums: Buffer,
    /// `[slots, METRICS]`, written.
    pub metrics: Buffer,
    /// The slot of pair 0 of `pairs` in `metrics`.
    pub first_slot: usize,
}

/// The operands of [`backward`] beside a [`Loss`].
#[derive(Clone, Copy)]
pub struct Gradient {
    /// `[head rows]`: dloss/dlogp, times the loss scale.
    pub dlogps: Buffer,
    /// A [`StepControl`], which holds the loss scale.
    pub control: Buffer,
}

impl Loss {
    fn params(&self, range: &Range<usize>) -> Params {
        let smoothing = f64::from(self.settings.label_smoothing);
        let mut params = Params {
            has_reference: self.references.is_some().into(),
            beta: self.settings.beta,
            weight: self.weight,
            token_weight: self.token_weight,
            count: range.len() as u32,
            first_pair: range.start as u32,
            first_slot: self.first_slot as u32,
            label_smoothing: self.settings.label_smoothing,
            log_kept: (-smoothing).ln_1p() as f32,
            log_smoothing: smoothing.ln() as f32,
            discopop_tau: self.settings.discopop_tau,
            dpop_lambda: self.settings.dpop_lambda,
            simpo_gamma: self.settings.simpo_gamma,
            ld_alpha: self.settings.ld_alpha,
            average: self.settings.average_log_prob.into(),
            is_js: (self.settings.divergence == Divergence::JsDivergence).into(),
            alpha_less_1: self.settings.alpha_less_1(),
            ..Params::default()
        };
        for kind in Kind::all() {
            *params.weight_of(kind) = self.losses[kind as usize];
        }
        params
    }

    /// Operations over the head rows of `pairs`, estimated as if all pairs had the same length.
    fn flops(&self, pairs: &Range<usize>) -> u64 {
        let all = (self.pairs.words / Pair::WORDS).max(1);
        (FLOPS * self.logps.words * pairs.len() / all) as u64
    }
}

/// Records `sums` and `metrics` of the pairs `range` from their log-probs.
pub fn forward(rec: &mut Recording, op: &Loss, range: Range<usize>) {
    let last_slot = op.first_slot + range.end;
    assert!(
        last_slot * METRICS <= op.metrics.words,
        "a slot beyond metrics"
    );
    assert!(range.end * SUMS <= op.sums.words, "a pair beyond sums");
    assert!(
        range.end * Pair::WORDS <= op.pairs.words,
        "a pair beyond pairs"
    );
    // Without a reference the kernel does not read this binding, but some buffer must be bound.
    let references = op.references.unwrap_or(op.logps);
    let buffers = [
        op.pairs, op.logps, references, op.sums, op.metrics, op.facts,
    ];
    let grid = Grid::Groups([range.len(), 1, 1]);
    let flops = op.flops(&range);
    rec.push(&FORWARD, &buffers, op.params(&range), grid, flops);
}

/// Records `dlogps` of the pairs `range` from the sums that [`forward`] wrote.
pub fn backward(rec: &mut Recording, op: &Loss, to: &Gradient, range: Range<usize>) {
    let buffers = [op.pairs, op.sums, to.dlogps, to.control];
    let grid = Grid::Groups([range.len(), 1, 1]);
    let flops = op.flops(&range);
    rec.push(&BACKWARD, &buffers, op.params(&range), grid, flops);
}

/// Mirrors `Sums` of the shader. The twin keeps the sums of log-probs in f64 between its own steps.
#[derive(Clone, Copy)]
struct Sums {
    chosen_gain: f32,
    rejected_gain: f32,
    chosen_logp: f64,
    rejected_logp: f64,
    chosen_len: f32,
    rejected_len: f32,
}

impl Sums {
    fn floats(&self) -> [f32; SUMS] {
        [
            self.chosen_gain,
            self.rejected_gain,
            self.chosen_logp as f32,
            self.rejected_logp as f32,
            self.chosen_len,
            self.rejected_len,
        ]
    }

    fn of(floats: [f32; SUMS]) -> Sums {
        Sums {
            chosen_gain: floats[0],
            rejected_gain: floats[1],
            chosen_logp: floats[2].into(),
            rejected_logp: floats[3].into(),
            chosen_len: floats[4],
            rejected_len: floats[5],
        }
    }
}

/// Mirrors `share` of the shader.
fn share(p: &Params, pair: &Pair, row: usize) -> f32 {
    let (chosen, rejected) = (pair.chosen(), pair.rejected());
    let shorter = chosen.len().min(rejected.len());
    let own = match chosen.contains(&row) {
        true => chosen,
        false => rejected,
    };
    let of_tail = match row - own.start < shorter {
        true => 1.0,
        false => p.ld_alpha,
    };
    match p.average {
        0 => of_tail,
        _ => of_tail / own.len() as f32,
    }
}

fn forward_twin(p: &Params, mut b: Bindings) {
    let (pairs, logps, references) = (b.read::<Pair>(0), b.read::<f32>(1), b.read::<f32>(2));
    let sums = b.write::<[f32; SUMS]>(3);
    let metrics = b.write::<[f32; METRICS]>(4);
    let facts = b.read::<[f32; head::FACTS]>(5);
    let is_free = p.has_reference == 0 && (p.simpo != 0.0 || p.orpo != 0.0);
    for at in p.first_pair..p.first_pair + p.count {
        let pair = &pairs[at as usize];
        let logp = |range: Range<usize>| range.map(|r| f64::from(logps[r])).sum::<f64>();
        let gain = |range: Range<usize>| match p.has_reference {
            0 => 0.0,
            _ => {
                let gains = range
                    .map(|r| f64::from(logps[r] - references[r]) * f64::from(share(p, pair, r)));
                gains.sum::<f64>() as f32
            }
        };
        let s = Sums {
            chosen_gain: gain(pair.chosen()),
            rejected_gain: gain(pair.rejected()),
            chosen_logp: logp(pair.chosen()),
            rejected_logp: logp(pair.rejected()),
            chosen_len: pair.chosen().len() as f32,
            rejected_len: pair.rejected().len() as f32,
        };
        sums[at as usize] = s.floats();
        let reward = |gain: f32, logp: f64, count: f32| match is_free {
            true => logp as f32 / count.max(1.0),
            false => gain,
        };
        let total = |rows: Range<usize>, fact: usize| {
            rows.map(|r| f64::from(facts[r][fact])).sum::<f64>() as f32
        };
        let all = pair.start as usize..pair.end as usize;
        let chosen = reward(s.chosen_gain, s.chosen_logp, s.chosen_len);
        let rejected = reward(s.rejected_gain, s.rejected_logp, s.rejected_len);
        metrics[(p.first_slot + at) as usize] = [
            pair_loss(p, &s, pair).loss as f32,
            p.beta * (chosen - rejected),
            p.beta * chosen,
            p.beta * rejected,
            s.chosen_logp as f32,
            s.rejected_logp as f32,
            total(all, 0),
            total(pair.chosen(), 1),
            total(pair.rejected(), 1),
            total(pair.chosen(), 2),
            s.chosen_len,
            s.rejected_len,
        ];
    }
}

fn backward_twin(p: &Params, mut b: Bindings) {
    let (pairs, sums) = (b.read::<Pair>(0), b.read::<[f32; SUMS]>(1));
    let (dlogps, control) = (b.write::<f32>(2), b.read::<StepControl>(3)[0]);
    for at in p.first_pair..p.first_pair + p.count {
        let pair = &pairs[at as usize];
        let loss = pair_loss(p, &Sums::of(sums[at as usize]), pair);
        let sides = [
            (pair.chosen(), loss.chosen_slope, loss.chosen_token),
            (pair.rejected(), loss.rejected_slope, loss.rejected_token),
        ];
        for (rows, slope, token) in sides {
            for r in rows {
                dlogps[r] = (slope * share(p, pair, r) + token) * control.loss_scale;
            }
        }
    }
}

/// The losses by name and weight, as in `sigmoid=1,sft=0.2`; a single one of weight 1 by its name.
pub fn describe(losses: &LossWeights) -> String {
    let taken = Kind::all().filter(|&kind| losses[kind as usize] != 0.0);
    let taken: Vec<Kind> = taken.collect();
    match taken[..] {
        [kind] if losses[kind as usize] == 1.0 => kind.to_string(),
        _ => {
            let terms = taken
                .iter()
                .map(|&kind| format!("{kind}={}", losses[kind as usize]));
            terms.collect::<Vec<_>>().join(",")
        }
    }
}

/// A sum of losses.
pub const fn summed(terms: &[(Kind, f32)]) -> LossWeights {
    let mut weights = [0.0; Kind::COUNT];
    let mut at = 0;
    while at < terms.len() {
        weights[terms[at].0 as usize] = terms[at].1;
        at += 1;
    }
    weights
}

/// A single loss.
pub const fn only(kind: Kind) -> LossWeights {
    summed(&[(kind, 1.0)])
}

/// Cases for each kind of loss and each setting: pairs whose responses have one token, or more tokens than a workgroup has
/// lanes, and pairs without a rejected response; the first chunk of a micro-batch and a later chunk, with a loss scale.
pub fn cases() -> Vec<Case> {
    let smoothed = |label_smoothing| Settings {
        label_smoothing,
        ..Settings::DEFAULT
    };
    let diverging = |divergence| Settings {
        divergence,
        ..Settings::DEFAULT
    };
    // DPO as it is, a sum, every loss, and the settings that change all losses of gains. The slope of exo_pair crosses 0
    // where z is the log of (1 - ε) / ε, and has few digits there; with its paper's ε no pair of these comes near.
    let mut objectives = vec![
        (only(Kind::Sigmoid), Settings::DEFAULT),
        (
            summed(&[(Kind::Sigmoid, 1.0), (Kind::Sft, 0.2), (Kind::Orpo, 0.5)]),
            Settings {
                ld_alpha: 0.5,
                ..Settings::DEFAULT
            },
        ),
        (
            summed(&[(Kind::Sigmoid, 1.0), (Kind::Ipo, 1.0)]),
            Settings {
                average_log_prob: true,
                ..Settings::DEFAULT
            },
        ),
    ];
    objectives.extend(Kind::all().map(|kind| match kind {
        Kind::ExoPair => (only(kind), smoothed(0.001)),
        _ => (only(kind), smoothed(0.1)),
    }));
    let sum = summed(&[(Kind::Sigmoid, 1.0), (Kind::SigmoidNorm, 0.5)]);
    objectives.extend(
        Divergence::VALUES
            .iter()
            .map(|of| (sum, diverging(of.value))),
    );
    let mut cases = Vec::new();
    for (losses, settings) in objectives {
        // A score is an exponential of a gain, which multiplies the gain's rounding.
        let amplitude = match settings.divergence {
            Divergence::ReverseKl => 4.0,
            _ => 0.05,
        };
        for (lengths, skip, loss_scale, has_reference) in [
            (vec![[1, 1]], 0, 1.0, true),
            (vec![[1, 0]], 0, 1.0, false),
            (vec![[3, 1], [65, 64], [1, 130], [200, 7]], 0, 1.0, true),
            (vec![[3, 1], [65, 64], [1, 130]], 1, 65536.0, true),
            (vec![[3, 1], [65, 0], [130, 64]], 2, 65536.0, false),
        ] {
            let (pairs, rows) = super::case::pairs(&lengths);
            let count = lengths.len();
            let first_slot = 2;
            let label = format!(
                "{} {settings:?} {lengths:?} from pair {skip}, reference {has_reference}",
                describe(&losses)
            );
            cases.push(
                Case::new(label)
                    .indices(pairs)
                    .input(rows, amplitude)
                    .negative()
                    .input(rows, amplitude)
                    .negative()
                    .inout(count * SUMS, 1.0)
                    .inout((first_slot + count) * METRICS, 1.0)
                    .inout(rows, 1.0)
                    .floats(StepControl::new(loss_scale).floats())
                    .input(rows * head::FACTS, 4.0)
                    .record(move |rec, b| {
                        let op = Loss {
                            losses,
                            settings,
                            weight: 0.25,
                            token_weight: 0.015,
                            pairs: b[0],
                            logps: b[1],
                            facts: b[7],
                            references: has_reference.then_some(b[2]),
                            sums: b[3],
                            metrics: b[4],
                            first_slot,
                        };
                        let to = Gradient {
                            dlogps: b[5],
                            control: b[6],
                        };
                        forward(rec, &op, skip..count);
                        backward(rec, &op, &to, skip..count);
                    }),
            );
        }
    }
    cases
}
