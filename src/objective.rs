//! The objective of training: a weighted sum of losses, and what the losses need.

use std::fmt;

use crate::batch::{Rivals, Sides};
use crate::data::{Dataset, Example};
use crate::dpo::{PairMetrics, Summary};
use crate::error::{Error, Result};
use crate::ops::preference::{self, Kind, LossWeights, Ranked, Settings};

/// The objective that training minimises: the mean over pairs of a weighted sum of losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The weight of each loss.
    pub losses: LossWeights,
    /// The losses' settings; a loss ignores those that it does not take.
    pub settings: Settings,
}

/// What a loss needs, and which settings act with it.
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
    /// True if the loss is one of scores, which follow from the divergence.
    divergence: bool,
    /// True if the loss takes gains of whole responses, so that it matters whether these are means.
    whole_gains: bool,
    /// True if the loss sorts the pairs of a whole step.
    ranks: bool,
}

/// The needs of a loss of the margin.
const MARGIN: Needs = Needs {
    sides: Sides::Both,
    reference: true,
    beta: true,
    label_smoothing: false,
    divergence: true,
    whole_gains: true,
    ranks: false,
};

/// The needs of a loss of each response's gain.
const GAINS: Needs = Needs {
    divergence: false,
    ..MARGIN
};

/// What each loss needs.
fn needs(kind: Kind) -> Needs {
    match kind {
        Kind::Sigmoid | Kind::Robust | Kind::ExoPair => Needs {
            label_smoothing: true,
            ..MARGIN
        },
        Kind::Hinge | Kind::Discopop => MARGIN,
        Kind::Ipo | Kind::SigmoidNorm => Needs {
            whole_gains: false,
            ..MARGIN
        },
        Kind::NcaPair
        | Kind::BcoPair
        | Kind::SppoHard
        | Kind::ApoZero
        | Kind::ApoDown
        | Kind::Dpop => GAINS,
        Kind::Aot | Kind::AotUnpaired => Needs {
            label_smoothing: true,
            ranks: true,
            ..GAINS
        },
        Kind::Simpo | Kind::Orpo => Needs {
            label_smoothing: kind == Kind::Simpo,
            reference: false,
            whole_gains: false,
            ..GAINS
        },
        Kind::Sft => Needs {
            sides: Sides::Chosen,
            reference: false,
            beta: false,
            whole_gains: false,
            ..GAINS
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

    /// True if another divergence than the reverse KL changes each loss that has a reference.
    pub fn takes_divergence(self) -> bool {
        self.needs_reference() && !self.any(|needs| needs.reference && !needs.divergence)
    }

    /// True if a loss takes gains of whole responses, so that it matters whether these are means over their tokens.
    pub fn uses_whole_gains(self) -> bool {
        self.any(|needs| needs.whole_gains)
    }

    /// True if a loss sorts the pairs of a whole step, so that a forward pass over all of them has to come first.
    pub fn ranks(self) -> bool {
        self.any(|needs| needs.ranks)
    }

    /// Refuses weights of pairs beside a loss that compares responses of different pairs.
    ///
    /// # Errors
    /// `Error::Option` naming the loss and the first pair with a weight.
    pub fn check_pairs<'a>(self, data: impl IntoIterator<Item = &'a Dataset>) -> Result<()> {
        let mut examples = data.into_iter().flat_map(|data| &data.examples);
        match examples.find(|example| self.ranks() && example.weight != 1.0) {
            None => Ok(()),
            Some(example) => Err(Error::option(
                "loss",
                format!(
                    "{self} compares responses of different pairs, and the pair at {} has a weight",
                    example.place
                ),
                "leave the weights unused with `.columns` weight=, or take another loss",
            )),
        }
    }

    /// What the ranking of a step takes of these pairs: their metrics after a forward pass, and the numbers of tokens of
    /// their chosen and rejected responses.
    fn ranked(self, pair: &PairMetrics, tokens: [usize; 2]) -> Ranked {
        let beta = f64::from(self.settings.beta);
        let [chosen, rejected] = match self.settings.average_log_prob {
            true => tokens.map(|count| count as f64),
            false => [1.0; 2],
        };
        Ranked {
            chosen_gain: f64::from(pair.chosen_reward) / beta,
            rejected_gain: f64::from(pair.rejected_reward) / beta,
            policy_margin: f64::from(pair.chosen_logp) / chosen
                - f64::from(pair.rejected_logp) / rejected,
        }
    }

    /// The rivals of each pair of a step.
    pub fn rivals<'a>(
        self,
        metrics: &[PairMetrics],
        examples: impl IntoIterator<Item = &'a Example>,
    ) -> Vec<Rivals> {
        let pairs = metrics.iter().zip(examples);
        let ranked = pairs.map(|(metrics, example)| {
            self.ranked(metrics, [example.chosen.len(), example.rejected.len()])
        });
        preference::rank(&ranked.collect::<Vec<_>>())
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
