//! The losses of a preference pair and their derivatives: the twins of `shaders/preference_losses.wgsl`.
//!
//! A loss is a function of sums over a pair's response tokens. With c and r the gains Σ (log π_θ − log π_ref) of the
//! chosen and of the rejected response, and n_c and n_r their numbers of tokens, z = β · (c − r) is the reward margin.
//! Names, formulas and defaults are those of TRL's `DPOTrainer` (1.16.0); each function names its paper.

use super::{Params, Sums};
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
        }
    }
}

/// Mirrors `PairLoss` of the shader.
#[derive(Clone, Copy)]
pub(super) struct PairLoss {
    pub loss: f64,
    pub chosen_slope: f32,
    pub rejected_slope: f32,
}

/// Mirrors `pair_loss` of the shader.
pub(super) fn pair_loss(p: &Params, s: &Sums) -> PairLoss {
    let pair = Pair { p, s };
    let (z, chosen, rejected) = (pair.margin(), pair.chosen(), pair.rejected());
    if z.is_nan() || chosen.is_nan() || rejected.is_nan() {
        return PairLoss {
            loss: f64::NAN,
            chosen_slope: f32::NAN,
            rejected_slope: f32::NAN,
        };
    }
    let mut sum = PairLoss {
        loss: 0.0,
        chosen_slope: 0.0,
        rejected_slope: 0.0,
    };
    let mut weights = *p;
    for kind in Kind::all() {
        let weight = *weights.weight_of(kind);
        if weight == 0.0 {
            continue;
        }
        let one = pair.loss(kind);
        sum.loss += f64::from(weight) * one.loss;
        sum.chosen_slope += weight * one.chosen_slope;
        sum.rejected_slope += weight * one.rejected_slope;
    }
    sum
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

/// A pair under the settings of a run.
struct Pair<'a> {
    p: &'a Params,
    s: &'a Sums,
}

impl Pair<'_> {
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
        }
    }

    /// −log σ(z): Rafailov et al. 2023, "Direct Preference Optimization", eq. 7. With ε = `label_smoothing`
    /// −(1 − ε) log σ(z) − ε log σ(−z): Mitchell 2023, "A note on DPO with noisy preferences", eq. 3.
    fn sigmoid(&self) -> PairLoss {
        let l = logistic(self.margin());
        let (kept, flipped) = self.shares();
        if flipped == 0.0 {
            return self.of_margin(l.loss, -l.below);
        }
        let loss = kept * l.loss + flipped * l.flipped;
        self.of_margin(loss, flipped * l.above - kept * l.below)
    }

    /// [−(1 − ε) log σ(z) + ε log σ(−z)] / (1 − 2ε): Chowdhury et al. 2024, "Provably Robust DPO".
    fn robust(&self) -> PairLoss {
        let l = logistic(self.margin());
        let (kept, flipped) = self.shares();
        let scale = 1.0 / (1.0 - 2.0 * flipped);
        let loss = scale * (kept * l.loss - flipped * l.flipped);
        self.of_margin(loss, -scale * (kept * l.below + flipped * l.above))
    }

    /// max(0, 1 − z): Zhao et al. 2023, "SLiC-HF", with rewards in place of log-probs as Liu et al. 2024, "Statistical
    /// Rejection Sampling Improves Preference Optimization".
    fn hinge(&self) -> PairLoss {
        let z = self.margin();
        self.of_margin((1.0 - z).max(0.0), if z < 1.0 { -1.0 } else { 0.0 })
    }

    /// (c / n_c − r / n_r − 1 / (2β))²: Azar et al. 2023, "A General Theoretical Paradigm to Understand Learning from Human
    /// Preferences", eq. 17, with the mean over
    /// tokens that TRL takes after its authors.
    fn ipo(&self) -> PairLoss {
        let off = self.mean_gains() - 0.5 / f64::from(self.p.beta);
        self.of_mean_gains(off * off, 2.0 * off)
    }

    /// −log σ(β (c / n_c − r / n_r)): Lambert et al. 2024, "Tülu 3", length-normalized DPO.
    fn sigmoid_norm(&self) -> PairLoss {
        let beta = f64::from(self.p.beta);
        let l = logistic(beta * self.mean_gains());
        self.of_mean_gains(l.loss, -beta * l.below)
    }

    /// KL between the policy's choice (σ(z), σ(−z)) and labels (1 − ε, ε): Ji et al. 2024, "Towards Efficient Exact
    /// Optimization", eq. 16.
    fn exo_pair(&self) -> PairLoss {
        let z = self.margin();
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
        }
    }

    /// σ(−βc) + σ(βr): D'Oosterlinck et al. 2024, "Anchored Preference Optimization", eq. 7.
    fn apo_zero(&self) -> PairLoss {
        let (c, r) = (logistic(self.chosen()), logistic(self.rejected()));
        self.of_rewards(c.below + r.above, -c.above * c.below, r.above * r.below)
    }

    /// σ(βc) + σ(−z): D'Oosterlinck et al. 2024, "Anchored Preference Optimization", eq. 8.
    fn apo_down(&self) -> PairLoss {
        let (c, l) = (logistic(self.chosen()), logistic(self.margin()));
        let apart = l.above * l.below;
        self.of_rewards(c.above + l.below, c.above * c.below - apart, apart)
    }

    /// −(1 − m) log σ(z) + m e^−z with m = σ(z / τ): Lu et al. 2024, "Discovering Preference Optimization Algorithms
    /// with and for Large Language Models", eq. 5.
    fn discopop(&self) -> PairLoss {
        let (z, tau) = (self.margin(), f64::from(self.p.discopop_tau));
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

    /// The pair's part of the mean negative log-prob of all chosen tokens: the mean over pairs of this loss.
    fn sft(&self) -> PairLoss {
        let pairs_per_token = f64::from(self.p.token_weight) / f64::from(self.p.weight);
        PairLoss {
            loss: -self.s.chosen_logp * pairs_per_token,
            chosen_slope: -self.p.token_weight,
            rejected_slope: 0.0,
        }
    }

    /// z, rounded as the shader rounds it.
    fn margin(&self) -> f64 {
        f64::from(self.p.beta * (self.s.chosen_gain - self.s.rejected_gain))
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

    /// c / n_c − r / n_r.
    fn mean_gains(&self) -> f64 {
        let s = self.s;
        let chosen = f64::from(s.chosen_gain) / f64::from(s.chosen_len.max(1.0));
        chosen - f64::from(s.rejected_gain) / f64::from(s.rejected_len.max(1.0))
    }

    /// A loss of z, whose derivative is `slope`.
    fn of_margin(&self, loss: f64, slope: f64) -> PairLoss {
        let each = self.p.beta * slope as f32 * self.p.weight;
        PairLoss {
            loss,
            chosen_slope: each,
            rejected_slope: -each,
        }
    }

    /// A loss of the two rewards, whose derivatives these are.
    fn of_rewards(&self, loss: f64, chosen: f64, rejected: f64) -> PairLoss {
        PairLoss {
            loss,
            chosen_slope: self.p.beta * chosen as f32 * self.p.weight,
            rejected_slope: self.p.beta * rejected as f32 * self.p.weight,
        }
    }

    /// A loss of [`Pair::mean_gains`], whose derivative is `slope`.
    fn of_mean_gains(&self, loss: f64, slope: f64) -> PairLoss {
        let each = slope as f32 * self.p.weight;
        PairLoss {
            loss,
            chosen_slope: each / self.s.chosen_len.max(1.0),
            rejected_slope: -each / self.s.rejected_len.max(1.0),
        }
    }
}
