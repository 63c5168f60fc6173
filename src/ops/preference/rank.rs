//! The losses `aot` and `aot_unpaired` sort the responses of a whole optimizer step: who is compared with whom.

use crate::batch::Rivals;

/// What the ranking of a step takes of a pair, after a forward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The gain of the chosen response.
    pub chosen_gain: f64,
    /// The gain of the rejected response.
    pub rejected_gain: f64,
    /// The policy's log-prob of the chosen response less that of the rejected one.
    pub policy_margin: f64,
}

impl Ranked {
    /// The same of the reference.
    fn reference_margin(&self) -> f64 {
        self.policy_margin - (self.chosen_gain - self.rejected_gain)
    }
}

/// For each pair its rivals among all pairs of the step: those of the same rank. Of equal numbers the earlier pair's ranks
/// first.
pub fn rank(pairs: &[Ranked]) -> Vec<Rivals> {
    let sorted = |number: fn(&Ranked) -> f64| {
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by(|&a, &b| number(&pairs[a]).total_cmp(&number(&pairs[b])));
        order
    };
    let chosen = sorted(|pair| pair.chosen_gain);
    let rejected = sorted(|pair| pair.rejected_gain);
    let policy = sorted(|pair| pair.policy_margin);
    let reference = sorted(Ranked::reference_margin);
    let mut rivals = vec![Rivals::default(); pairs.len()];
    for (&chosen, &rejected) in chosen.iter().zip(&rejected) {
        rivals[chosen].of_chosen = pairs[rejected].rejected_gain as f32;
        rivals[rejected].of_rejected = pairs[chosen].chosen_gain as f32;
    }
    for (&policy, &reference) in policy.iter().zip(&reference) {
        // β (c − r + shift) is β times the policy's margin less the reference's of the same rank. A difference of gains
        // keeps the digits that a difference of log-probs would lose.
        let own = pairs[policy].reference_margin();
        rivals[policy].reference_shift = (own - pairs[reference].reference_margin()) as f32;
    }
    rivals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(chosen_gain: f64, rejected_gain: f64, policy_margin: f64) -> Ranked {
        Ranked {
            chosen_gain,
            rejected_gain,
            policy_margin,
        }
    }

    #[test]
    fn the_same_rank() {
        let pairs = [
            pair(3.0, 1.0, 7.0),
            pair(-1.0, 0.5, 9.0),
            pair(2.0, -4.0, 8.0),
        ];
        let rivals = rank(&pairs);
        let each = |of: fn(&Rivals) -> f32| rivals.iter().map(of).collect::<Vec<f32>>();
        // Chosen gains by rank: -1, 2, 3; rejected: -4, 0.5, 1.
        assert_eq!(each(|rivals| rivals.of_chosen), [1.0, -4.0, 0.5]);
        assert_eq!(each(|rivals| rivals.of_rejected), [3.0, 2.0, -1.0]);
        // The reference's margins are 5, 10.5 and 2; by rank 2, 5, 10.5. The policy's by rank: 7, 8, 9.
        assert_eq!(each(|rivals| rivals.reference_shift), [3.0, 0.0, -3.0]);
    }

    #[test]
    fn a_pair_alone_is_its_own_rival() {
        let [rivals] = rank(&[pair(3.0, 1.0, 7.0)])[..] else {
            panic!("one pair")
        };
        assert_eq!((rivals.of_chosen, rivals.of_rejected), (1.0, 3.0));
        assert_eq!(rivals.reference_shift, 0.0);
    }
}
