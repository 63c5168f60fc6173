//! The objective of training: a weighted sum of losses, and what the losses need.

use std::fmt;

use crate::batch::Sides;
use crate::dpo::{PairMetrics, Summary};
use crate::ops::preference::{self, Kind, LossWeights, Settings};

/// The objective that training minimises: the mean over pairs of a weighted sum of losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The weight of each loss.
    pub losses: LossWeights,
    /// The losses' settings; a loss ignores those that it does not take.
    pub settings: Settings,
}

/// What a loss needs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Needs {
    /// The responses of a pair that enter a stream.
    sides: Sides,
    /// True if the loss compares the policy with the reference.
    reference: bool,
    /// True if β has an effect.
    beta: bool,
    /// True if the label smoothing has an effect.
    label_smoothing: bool,
    /// True if τ has an effect.
    discopop_tau: bool,
}

/// The needs of most losses.
const PREFERENCE: Needs = Needs {
    sides: Sides::Both,
    reference: true,
    beta: true,
    label_smoothing: false,
    discopop_tau: false,
};

/// What each loss needs.
fn needs(kind: Kind) -> Needs {
    match kind {
        Kind::Sigmoid | Kind::Robust | Kind::ExoPair => Needs {
            label_smoothing: true,
            ..PREFERENCE
        },
        Kind::Discopop => Needs {
            discopop_tau: true,
            ..PREFERENCE
        },
        Kind::Hinge
        | Kind::Ipo
        | Kind::NcaPair
        | Kind::BcoPair
        | Kind::SppoHard
        | Kind::ApoZero
        | Kind::ApoDown
        | Kind::SigmoidNorm => PREFERENCE,
        Kind::Sft => Needs {
            sides: Sides::Chosen,
            reference: false,
            beta: false,
            ..PREFERENCE
        },
    }
}

impl Objective {
    /// A single loss.
    pub fn of(kind: Kind, settings: Settings) -> Objective {
        Objective {
            losses: preference::only(kind),
            settings,
        }
    }

    /// DPO's sigmoid loss.
    pub fn sigmoid(beta: f32) -> Objective {
        let settings = Settings {
            beta,
            ..Settings::DEFAULT
        };
        Objective::of(Kind::Sigmoid, settings)
    }

    /// The mean negative log-prob of the chosen tokens.
    pub fn sft() -> Objective {
        Objective::of(Kind::Sft, Settings::DEFAULT)
    }

    /// True if this loss is one of the sum.
    pub fn has(self, kind: Kind) -> bool {
        self.losses[kind as usize] != 0.0
    }

    fn any(self, need: impl Fn(Needs) -> bool) -> bool {
        Kind::all().any(|kind| self.has(kind) && need(needs(kind)))
    }

    /// The responses of a pair that enter a stream.
    pub fn sides(self) -> Sides {
        match self.any(|needs| needs.sides == Sides::Both) {
            true => Sides::Both,
            false => Sides::Chosen,
        }
    }

    /// True if a loss compares the policy with the reference.
    pub fn needs_reference(self) -> bool {
        self.any(|needs| needs.reference)
    }

    /// True if β has an effect.
    pub fn uses_beta(self) -> bool {
        self.any(|needs| needs.beta)
    }

    /// True if the label smoothing has an effect.
    pub fn uses_label_smoothing(self) -> bool {
        self.any(|needs| needs.label_smoothing)
    }

    /// True if τ has an effect.
    pub fn uses_discopop_tau(self) -> bool {
        self.any(|needs| needs.discopop_tau)
    }

    /// Means over these pairs.
    pub fn summary(self, pairs: &[PairMetrics]) -> Summary {
        match self.sides() {
            Sides::Both => Summary::preference(pairs),
            Sides::Chosen => Summary::supervised(pairs),
        }
    }
}

/// The losses, as in `sigmoid=1,sft=0.2`.
impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&preference::describe(&self.losses))
    }
}
