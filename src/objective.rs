//! The objective of training: the losses, and the needs of each loss.

use crate::batch::Sides;
use crate::dpo::{PairMetrics, Summary};
use crate::ops::preference::Kind;

/// The objective that training minimises: the mean of a loss over pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    loss: &'static Loss,
    /// β: strength of the pull towards the reference; a loss without a reference ignores it.
    pub beta: f32,
}

/// A loss: a function of a pair's log-probs, and the inputs that it needs.
#[derive(Debug, PartialEq)]
struct Loss {
    kind: Kind,
    /// The responses of a pair that enter a stream.
    sides: Sides,
    /// True if the loss compares the policy with the reference.
    needs_reference: bool,
    /// β has an effect.
    uses_beta: bool,
}

/// Every loss.
static LOSSES: [Loss; 2] = [
    Loss {
        kind: Kind::Sigmoid,
        sides: Sides::Both,
        needs_reference: true,
        uses_beta: true,
    },
    Loss {
        kind: Kind::Sft,
        sides: Sides::Chosen,
        needs_reference: false,
        uses_beta: false,
    },
];

impl Objective {
    /// The mean of a loss over pairs.
    ///
    /// # Panics
    /// Never, because every kind has a row.
    pub fn new(kind: Kind, beta: f32) -> Objective {
        let mut losses = LOSSES.iter();
        let loss = losses.find(|loss| loss.kind == kind);
        Objective {
            loss: loss.expect("every kind has a row"),
            beta,
        }
    }

    /// DPO's sigmoid loss.
    pub fn sigmoid(beta: f32) -> Objective {
        Objective::new(Kind::Sigmoid, beta)
    }

    /// The chosen response's mean negative log-prob.
    pub fn sft() -> Objective {
        Objective::new(Kind::Sft, 0.0)
    }

    /// The kind of loss.
    pub fn kind(self) -> Kind {
        self.loss.kind
    }

    /// The responses of a pair that enter a stream.
    pub fn sides(self) -> Sides {
        self.loss.sides
    }

    /// True if the loss compares the policy with the reference.
    pub fn needs_reference(self) -> bool {
        self.loss.needs_reference
    }

    /// True if β has an effect.
    pub fn uses_beta(self) -> bool {
        self.loss.uses_beta
    }

    /// Means over these pairs.
    pub fn summary(self, pairs: &[PairMetrics]) -> Summary {
        match self.loss.sides {
            Sides::Both => Summary::preference(pairs),
            Sides::Chosen => Summary::supervised(pairs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_row() {
        for kind in Kind::ALL {
            assert_eq!(Objective::new(kind, 0.1).kind(), kind);
        }
        assert_eq!(LOSSES.len(), Kind::ALL.len());
    }
}
