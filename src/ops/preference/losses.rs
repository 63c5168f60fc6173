//! The losses of a preference pair and their derivatives: the twins of `shaders/preference_losses.wgsl`.
//!
//! A loss is a function of sums over a pair's response tokens. With c and r the gains Σ (log π_θ − log π_ref) of the
//! chosen and of the rejected response, and n_c and n_r their numbers of tokens, z = β · (c − r) is the reward margin.
//! Under another divergence than the reverse KL the losses of z take scores s(c) and s(r) in place of the gains: Wang et
//! al. 2023, "Beyond Reverse KL". m_c and m_r are the mean log-probs of a chosen and of a rejected token.
//! Names, formulas and defaults are those of TRL's `DPOTrainer` (1.16.0) where it has the loss; each function names its
//! paper.

use super::{Params, Sums};
use crate::batch::Pair;
use crate::choice::{Choice, choices};

choices! {
    /// The kind of loss, under TRL's name.
    pub enum Kind {
        /// DPO; with label smoothing conservative DPO
        Sigmoid = "sigmoid",
        /// supervised: the mean negative log-likelihood of chosen tokens
        Sft = "sft",
        /// a margin of 1 is enough (SLiC)
        Hinge = "hinge",
        /// the mean gain of a token is to be 1 / (2 beta) (IPO)
        Ipo = "ipo",
        /// DPO without bias where a share of labels is wrong, the label smoothing
        Robust = "robust",
        /// the policy's choice follows smoothed labels (EXO)
        ExoPair = "exo_pair",
        /// keeps the chosen answer's likelihood from falling (NCA)
        NcaPair = "nca_pair",
        /// chosen and rejected apart, as a classifier (BCO)
        BcoPair = "bco_pair",
        /// each gain is to be 1 / (2 beta), up or down (SPPO)
        SppoHard = "sppo_hard",
        /// chosen up, rejected down (APO-zero)
        ApoZero = "apo_zero",
        /// both down, rejected more (APO-down)
        ApoDown = "apo_down",
        /// DPO blended with an exponential loss (DiscoPOP)
        Discopop = "discopop",
        /// DPO of the mean gains of a token
        SigmoidNorm = "sigmoid_norm",
        /// DPO with a penalty where the chosen answer loses likelihood (DPOP)
        Dpop = "dpop",
        /// margins against the reference's, both sorted over the whole step (AOT)
        Aot = "aot",
        /// chosen gains against rejected ones, both sorted over the whole step
        AotUnpaired = "aot_unpaired",
        /// mean log-probs of a token apart by a margin, without a reference (SimPO)
        Simpo = "simpo",
        /// supervised, with the odds of the two answers, without a reference (ORPO)
        Orpo = "orpo",
    }
}

impl Kind {
    /// The number of kinds.
    pub const COUNT: usize = Kind::VALUES.len();

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Kind> {
        Kind::VALUES.iter().map(|named| named.value)
    }
}

impl Params {
    /// The weight of a kind in the sum.
    pub(super) fn weight_of(&mut self, kind: Kind) -> &mut f32 {
        match kind {
            Kind::Sigmoid => &mut self.sigmoid,
            Kind::Sft => &mut self.sft,
            Kind::Hinge => &mut self.hinge,
            Kind::Ipo => &mut self.ipo,
            Kind::Robust => &mut self.robust,
            Kind::ExoPair => &mut self.exo_pair,
            Kind::NcaPair => &mut self.nca_pair,
            Kind::BcoPair => &mut self.bco_pair,
            Kind::SppoHard => &mut self.sppo_hard,
            Kind::ApoZero => &mut self.apo_zero,
            Kind::ApoDown => &mut self.apo_down,
            Kind::Discopop => &mut self.discopop,
            Kind::SigmoidNorm => &mut self.sigmoid_norm,
            Kind::Dpop => &mut self.dpop,
            Kind::Aot => &mut self.aot,
            Kind::AotUnpaired => &mut self.aot_unpaired,
            Kind::Simpo => &mut self.simpo,
            Kind::Orpo => &mut self.orpo,
        }
    }
}

choices! {
    /// The divergence from the reference that the losses of the margin bound, under TRL's name.
    pub enum Divergence {
        /// the gain itself: DPO's
        ReverseKl = "reverse_kl",
        /// 1 - e^-gain
        ForwardKl = "forward_kl",
        /// the log of 2 sigma(gain)
        JsDivergence = "js_divergence",
        /// (e^((alpha-1) gain) - 1) / (alpha - 1)
        AlphaDivergence = "alpha_divergence",
    }
}

/// Mirrors `PairLoss` of the shader.
#[derive(Clone, Copy)]
pub(super) struct PairLoss {
    pub loss: f64,
    /// dloss/dgain · weight.
    pub chosen_slope: f32,
    pub rejected_slope: f32,
    /// dloss/dlogp of each token · weight, beside that through the gain.
    pub chosen_token: f32,
    pub rejected_token: f32,
}

impl PairLoss {
    const NONE: PairLoss = PairLoss {
        loss: 0.0,
        chosen_slope: 0.0,
        rejected_slope: 0.0,
        chosen_token: 0.0,
        rejected_token: 0.0,
    };

    fn plus(self, weight: f32, one: PairLoss) -> PairLoss {
        PairLoss {
            loss: self.loss + f64::from(weight) * one.loss,
            chosen_slope: self.chosen_slope + weight * one.chosen_slope,
            rejected_slope: self.rejected_slope + weight * one.rejected_slope,
            chosen_token: self.chosen_token + weight * one.chosen_token,
            rejected_token: self.rejected_token + weight * one.rejected_token,
        }
    }
}

/// Mirrors `pair_loss` of the shader.
pub(super) fn pair_loss(p: &Params, s: &Sums, pair: &Pair) -> PairLoss {
    let view = View::new(p, s, pair);
    let logps = s.chosen_logp + s.rejected_logp;
    if view.z.is_nan() || view.chosen().is_nan() || view.rejected().is_nan() || logps.is_nan() {
        return PairLoss {
            loss: f64::NAN,
            chosen_slope: f32::NAN,
            rejected_slope: f32::NAN,
            chosen_token: f32::NAN,
            rejected_token: f32::NAN,
        };
    }
    let mut sum = PairLoss::NONE;
    let mut weights = *p;
    for kind in Kind::all() {
        let weight = *weights.weight_of(kind);
        if weight != 0.0 {
            sum = sum.plus(weight, view.loss(kind));
        }
    }
    PairLoss::NONE.plus(pair.weight, sum)
}

/// Mirrors `Logistic` of the shader.
#[derive(Clone, Copy)]
struct Logistic {
    /// σ(z).
    above: f64,
    /// σ(−z).
    below: f64,
    /// −log σ(z).
    loss: f64,
    /// −log σ(−z).
    flipped: f64,
}

/// Mirrors `logistic` of the shader.
fn logistic(z: f64) -> Logistic {
    let log = (-z.abs()).exp().ln_1p();
    Logistic {
        above: 1.0 / (1.0 + (-z).exp()),
        below: 1.0 / (1.0 + z.exp()),
        loss: (-z).max(0.0) + log,
        flipped: z.max(0.0) + log,
    }
}

/// Mirrors `Smoothed` of the shader.
#[derive(Clone, Copy)]
struct Smoothed {
    loss: f64,
    slope: f64,
}

/// Mirrors `Score` of the shader.
#[derive(Clone, Copy)]
struct Score {
    value: f64,
    slope: f64,
}

/// Mirrors `MAX_EXPONENT` of the shader.
const MAX_EXPONENT: f64 = 80.0;

/// Mirrors `score` of the shader: f'(e^g) of the divergence's f, and its derivative with respect to g.
fn score(p: &Params, gain: f32) -> Score {
    let g = f64::from(gain);
    if p.is_js != 0 {
        let half = -0.5 * (-g.abs()).exp_m1();
        return Score {
            value: g.min(0.0) + (half / (1.0 - half)).ln_1p(),
            slope: logistic(g).below,
        };
    }
    if p.alpha_less_1 == 0.0 {
        return Score {
            value: g,
            slope: 1.0,
        };
    }
    // The product is rounded as the shader rounds it.
    let exponent = f64::from(p.alpha_less_1 * gain);
    let bounded = exponent.min(MAX_EXPONENT);
    Score {
        value: bounded.exp_m1() / f64::from(p.alpha_less_1),
        slope: match exponent <= MAX_EXPONENT {
            true => bounded.exp(),
            false => 0.0,
        },
    }
}

/// Mirrors `Odds` of the shader.
struct Odds {
    log: f64,
    slope: f64,
}

/// Mirrors `MAX_MEAN_LOGP` of the shader.
const MAX_MEAN_LOGP: f64 = -1e-7;

/// Mirrors `odds` of the shader: log of p / (1 − p) for p = e^m, and its derivative with respect to m.
fn odds(mean_logp: f64) -> Odds {
    let m = mean_logp.min(MAX_MEAN_LOGP);
    let rest = -m.exp_m1();
    Odds {
        log: m - rest.ln(),
        slope: 1.0 / rest,
    }
}

/// A pair under the settings of a run.
struct View<'a> {
    p: &'a Params,
    s: &'a Sums,
    pair: &'a Pair,
    chosen_score: Score,
    rejected_score: Score,
    /// z, rounded as the shader rounds it.
    z: f64,
}

impl<'a> View<'a> {
    fn new(p: &'a Params, s: &'a Sums, pair: &'a Pair) -> View<'a> {
        let [chosen_score, rejected_score] =
            [s.chosen_gain, s.rejected_gain].map(|gain| score(p, gain));
        let apart = chosen_score.value as f32 - rejected_score.value as f32;
        View {
            p,
            s,
            pair,
            chosen_score,
            rejected_score,
            z: f64::from(p.beta * apart),
        }
    }

    fn loss(&self, kind: Kind) -> PairLoss {
        match kind {
            Kind::Sigmoid => self.sigmoid(),
            Kind::Sft => self.sft(),
            Kind::Hinge => self.hinge(),
            Kind::Ipo => self.ipo(),
            Kind::Robust => self.robust(),
            Kind::ExoPair => self.exo_pair(),
            Kind::NcaPair => self.nca_pair(),
            Kind::BcoPair => self.bco_pair(),
            Kind::SppoHard => self.sppo_hard(),
            Kind::ApoZero => self.apo_zero(),
            Kind::ApoDown => self.apo_down(),
            Kind::Discopop => self.discopop(),
            Kind::SigmoidNorm => self.sigmoid_norm(),
            Kind::Dpop => self.dpop(),
            Kind::Aot => self.aot(),
            Kind::AotUnpaired => self.aot_unpaired(),
            Kind::Simpo => self.simpo(),
            Kind::Orpo => self.orpo(),
        }
    }

    /// −log σ(z): Rafailov et al. 2023, "Direct Preference Optimization", eq. 7. With ε = `label_smoothing`
    /// −(1 − ε) log σ(z) − ε log σ(−z): Mitchell 2023, "A note on DPO with noisy preferences", eq. 3.
    fn sigmoid(&self) -> PairLoss {
        let l = self.smoothed(self.z);
        self.of_margin(l.loss, l.slope)
    }

    /// [−(1 − ε) log σ(z) + ε log σ(−z)] / (1 − 2ε): Chowdhury et al. 2024, "Provably Robust DPO".
    fn robust(&self) -> PairLoss {
        let l = logistic(self.z);
        let (kept, flipped) = self.shares();
        let scale = 1.0 / (1.0 - 2.0 * flipped);
        let loss = scale * (kept * l.loss - flipped * l.flipped);
        self.of_margin(loss, -scale * (kept * l.below + flipped * l.above))
    }

    /// max(0, 1 − z): Zhao et al. 2023, "SLiC-HF", with rewards in place of log-probs as Liu et al. 2024, "Statistical
    /// Rejection Sampling Improves Preference Optimization".
    fn hinge(&self) -> PairLoss {
        let z = self.z;
        self.of_margin((1.0 - z).max(0.0), if z < 1.0 { -1.0 } else { 0.0 })
    }

    /// (s(c) / n_c − s(r) / n_r − 1 / (2β))²: Azar et al. 2023, "A General Theoretical Paradigm to Understand Learning from Human
    /// Preferences", eq. 17, with the mean over
    /// tokens that TRL takes after its authors.
    fn ipo(&self) -> PairLoss {
        let off = self.mean_scores() - 0.5 / f64::from(self.p.beta);
        self.of_mean_scores(off * off, 2.0 * off)
    }

    /// −log σ(β (s(c) / n_c − s(r) / n_r)): Lambert et al. 2024, "Tülu 3", length-normalized DPO.
    fn sigmoid_norm(&self) -> PairLoss {
        let beta = f64::from(self.p.beta);
        let l = logistic(beta * self.mean_scores());
        self.of_mean_scores(l.loss, -beta * l.below)
    }

    /// KL between the policy's choice (σ(z), σ(−z)) and labels (1 − ε, ε): Ji et al. 2024, "Towards Efficient Exact
    /// Optimization", eq. 16.
    fn exo_pair(&self) -> PairLoss {
        let z = self.z;
        let l = logistic(z);
        let (kept, flipped) = (f64::from(self.p.log_kept), f64::from(self.p.log_smoothing));
        let loss = l.above * (-l.loss - kept) + l.below * (-l.flipped - flipped);
        self.of_margin(loss, l.above * l.below * (z - (kept - flipped)))
    }

    /// −log σ(βc) − ½ log σ(−βc) − ½ log σ(−βr): Chen et al. 2024, "Noise Contrastive Alignment".
    fn nca_pair(&self) -> PairLoss {
        let (c, r) = (logistic(self.chosen()), logistic(self.rejected()));
        let loss = c.loss + 0.5 * c.flipped + 0.5 * r.flipped;
        self.of_rewards(loss, 0.5 * c.above - c.below, 0.5 * r.above)
    }

    /// −log σ(βc) − log σ(−βr): Jung et al. 2024, "Binary Classifier Optimization", without the shift, as
    /// TRL.
    fn bco_pair(&self) -> PairLoss {
        let (c, r) = (logistic(self.chosen()), logistic(self.rejected()));
        self.of_rewards(c.loss + r.flipped, -c.below, r.above)
    }

    /// (c − 1 / (2β))² + (r + 1 / (2β))²: Wu et al. 2024, "Self-Play Preference Optimization", eq. 4.7 with
    /// probabilities 1 and 0.
    fn sppo_hard(&self) -> PairLoss {
        let half = 0.5 / f64::from(self.p.beta);
        let chosen = f64::from(self.s.chosen_gain) - half;
        let rejected = f64::from(self.s.rejected_gain) + half;
        PairLoss {
            loss: chosen * chosen + rejected * rejected,
            chosen_slope: (2.0 * chosen) as f32 * self.p.weight,
            rejected_slope: (2.0 * rejected) as f32 * self.p.weight,
            ..PairLoss::NONE
        }
    }

    /// σ(−βc) + σ(βr): D'Oosterlinck et al. 2024, "Anchored Preference Optimization", eq. 7.
    fn apo_zero(&self) -> PairLoss {
        let (c, r) = (logistic(self.chosen()), logistic(self.rejected()));
        self.of_rewards(c.below + r.above, -c.above * c.below, r.above * r.below)
    }

    /// σ(βc) + σ(−z): D'Oosterlinck et al. 2024, "Anchored Preference Optimization", eq. 8.
    fn apo_down(&self) -> PairLoss {
        let (c, l) = (logistic(self.chosen()), logistic(self.z));
        let apart = l.above * l.below;
        self.of_rewards(c.above + l.below, c.above * c.below - apart, apart)
    }

    /// −(1 − m) log σ(z) + m e^−z with m = σ(z / τ): Lu et al. 2024, "Discovering Preference Optimization Algorithms
    /// with and for Large Language Models", eq. 5.
    fn discopop(&self) -> PairLoss {
        let (z, tau) = (self.z, f64::from(self.p.discopop_tau));
        let (l, m) = (logistic(z), logistic(z / tau));
        // m · e^−z: for z < 0, where e^−z may overflow, it is (1 − m) · e^(z/τ − z).
        let exponential = match z < 0.0 {
            true => m.below * (z / tau - z).exp(),
            false => m.above * (-z).exp(),
        };
        let loss = l.loss * m.below + exponential;
        let blend = (exponential * m.below - l.loss * m.above * m.below) / tau;
        self.of_margin(loss, blend - l.below * m.below - exponential)
    }

    /// −log σ(z − βλ max(0, −c)) with λ = `dpop_lambda`: Pal et al. 2024, "Smaug", eq. 3.
    fn dpop(&self) -> PairLoss {
        let (p, gain) = (self.p, f64::from(self.s.chosen_gain));
        let (beta, lambda) = (f64::from(p.beta), f64::from(p.dpop_lambda));
        let l = logistic(self.z - beta * lambda * (-gain).max(0.0));
        let each = p.beta * -l.below as f32 * p.weight;
        let penalised = if gain < 0.0 { 1.0 + lambda } else { 1.0 };
        PairLoss {
            loss: l.loss,
            chosen_slope: each * penalised as f32,
            rejected_slope: -each,
            ..PairLoss::NONE
        }
    }

    /// −log σ(β δ), with δ the difference between a policy's margin of log-probs and the reference's margin of the same
    /// rank among all of the step: Melnyk et al. 2024, "Distributional Preference Alignment of LLMs via Optimal
    /// Transport", the paired form.
    fn aot(&self) -> PairLoss {
        let shift = f64::from(self.p.beta) * f64::from(self.pair.rivals.reference_shift);
        let l = self.smoothed(self.z + shift);
        self.of_margin(l.loss, l.slope)
    }

    /// −log σ(β δ), with δ the difference between a chosen gain and the rejected gain of the same rank among all of the
    /// step: the unpaired form. A pair's loss is that of its chosen response; its rejected one has the rank of another's.
    fn aot_unpaired(&self) -> PairLoss {
        let (beta, rivals) = (f64::from(self.p.beta), &self.pair.rivals);
        let delta = |above: f32, below: f32| beta * f64::from(above - below);
        let chosen = self.smoothed(delta(self.s.chosen_gain, rivals.of_chosen));
        let rejected = self.smoothed(delta(rivals.of_rejected, self.s.rejected_gain));
        self.of_rewards(chosen.loss, chosen.slope, -rejected.slope)
    }

    /// −log σ(β (m_c − m_r) − γ) with γ = `simpo_gamma`: Meng et al. 2024, "SimPO", eq. 6; smoothing as TRL's
    /// `CPOTrainer`.
    fn simpo(&self) -> PairLoss {
        let beta = f64::from(self.p.beta);
        let [chosen, rejected] = self.mean_logps();
        let l = self.smoothed(beta * (chosen - rejected) - f64::from(self.p.simpo_gamma));
        self.of_mean_logps(l.loss, beta * l.slope, -beta * l.slope)
    }

    /// −m_c − β log σ(o_c − o_r) with the log odds o = log(p / (1 − p)), p = e^m: Hong et al. 2024, "ORPO", eqs. 4, 6 and
    /// 7; β is its λ.
    fn orpo(&self) -> PairLoss {
        let beta = f64::from(self.p.beta);
        let [chosen, rejected] = self.mean_logps();
        let (c, r) = (odds(chosen), odds(rejected));
        let l = logistic(c.log - r.log);
        let each = beta * l.below;
        self.of_mean_logps(
            beta * l.loss - chosen,
            -1.0 - each * c.slope,
            each * r.slope,
        )
    }

    /// The pair's part of the mean negative log-prob of all chosen tokens: the mean over pairs of this loss.
    fn sft(&self) -> PairLoss {
        let pairs_per_token = f64::from(self.p.token_weight) / f64::from(self.p.weight);
        PairLoss {
            loss: -self.s.chosen_logp * pairs_per_token,
            chosen_token: -self.p.token_weight,
            ..PairLoss::NONE
        }
    }

    /// Mirrors `smoothed` of the shader.
    fn smoothed(&self, z: f64) -> Smoothed {
        let l = logistic(z);
        let (kept, flipped) = self.shares();
        if flipped == 0.0 {
            return Smoothed {
                loss: l.loss,
                slope: -l.below,
            };
        }
        Smoothed {
            loss: kept * l.loss + flipped * l.flipped,
            slope: flipped * l.above - kept * l.below,
        }
    }

    /// The chosen reward βc.
    fn chosen(&self) -> f64 {
        f64::from(self.p.beta * self.s.chosen_gain)
    }

    /// The rejected reward βr.
    fn rejected(&self) -> f64 {
        f64::from(self.p.beta * self.s.rejected_gain)
    }

    /// 1 − ε and ε.
    fn shares(&self) -> (f64, f64) {
        let flipped = f64::from(self.p.label_smoothing);
        (1.0 - flipped, flipped)
    }

    /// By what a gain, or its score, is divided for a mean over its response's tokens.
    fn tokens(&self, count: f32) -> f32 {
        match self.p.average {
            0 => count.max(1.0),
            _ => 1.0,
        }
    }

    /// s(c) / n_c − s(r) / n_r.
    fn mean_scores(&self) -> f64 {
        let chosen = self.chosen_score.value / f64::from(self.tokens(self.s.chosen_len));
        chosen - self.rejected_score.value / f64::from(self.tokens(self.s.rejected_len))
    }

    /// m_c and m_r.
    fn mean_logps(&self) -> [f64; 2] {
        let s = self.s;
        [
            s.chosen_logp / f64::from(s.chosen_len.max(1.0)),
            s.rejected_logp / f64::from(s.rejected_len.max(1.0)),
        ]
    }

    /// A loss of z, whose derivative is `slope`.
    fn of_margin(&self, loss: f64, slope: f64) -> PairLoss {
        let each = self.p.beta * slope as f32 * self.p.weight;
        PairLoss {
            loss,
            chosen_slope: each * self.chosen_score.slope as f32,
            rejected_slope: -each * self.rejected_score.slope as f32,
            ..PairLoss::NONE
        }
    }

    /// A loss of the two rewards, whose derivatives these are.
    fn of_rewards(&self, loss: f64, chosen: f64, rejected: f64) -> PairLoss {
        PairLoss {
            loss,
            chosen_slope: self.p.beta * chosen as f32 * self.p.weight,
            rejected_slope: self.p.beta * rejected as f32 * self.p.weight,
            ..PairLoss::NONE
        }
    }

    /// A loss of [`View::mean_scores`], whose derivative is `slope`.
    fn of_mean_scores(&self, loss: f64, slope: f64) -> PairLoss {
        let each = slope as f32 * self.p.weight;
        let chosen = each / self.tokens(self.s.chosen_len);
        let rejected = -each / self.tokens(self.s.rejected_len);
        PairLoss {
            loss,
            chosen_slope: chosen * self.chosen_score.slope as f32,
            rejected_slope: rejected * self.rejected_score.slope as f32,
            ..PairLoss::NONE
        }
    }

    /// A loss of [`View::mean_logps`], whose derivatives these are.
    fn of_mean_logps(&self, loss: f64, chosen: f64, rejected: f64) -> PairLoss {
        PairLoss {
            loss,
            chosen_token: chosen as f32 * self.p.weight / self.s.chosen_len.max(1.0),
            rejected_token: rejected as f32 * self.p.weight / self.s.rejected_len.max(1.0),
            ..PairLoss::NONE
        }
    }
}
