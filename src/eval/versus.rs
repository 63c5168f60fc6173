//! Two policies on the same pairs, compared pair by pair.

use serde_json::{Map, Value};

use super::judged::Judged;
use super::statistics::{Interval, mean};

/// By how much a policy differs from another one on the same pairs. Both are judged on each pair, so that the spread
/// between pairs cancels out.
#[derive(Clone, Debug, PartialEq)]
pub struct Versus {
    /// The loss minus the other's.
    pub loss: Difference,
    /// The parts about both responses; `None` for a loss that takes chosen responses alone.
    pub both: Option<VersusBoth>,
}

/// The part of a [`Versus`] about both responses.
#[derive(Clone, Debug, PartialEq)]
pub struct VersusBoth {
    /// The accuracy minus the other's.
    pub accuracy: Difference,
    /// The margin minus the other's.
    pub margin: Difference,
    /// The share of pairs whose margin is larger than under the other policy.
    pub wins: f64,
}

/// A mean over pairs of a difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The mean.
    pub mean: f64,
    /// Its interval; `None` for a single pair.
    pub interval: Option<Interval>,
}

impl Difference {
    fn of(ours: &[Judged], theirs: &[Judged], number: impl Fn(&Judged) -> f64) -> Difference {
        let pairs = ours.iter().zip(theirs);
        let differences: Vec<f64> = pairs.map(|(a, b)| number(a) - number(b)).collect();
        Difference {
            mean: mean(differences.iter().copied()).unwrap_or(f64::NAN),
            interval: Interval::of_mean(&differences),
        }
    }
}

impl Versus {
    /// Compares two policies, whose numbers are of the same pairs in the same order.
    pub fn of(ours: &[Judged], theirs: &[Judged]) -> Versus {
        let paired = ours.iter().all(|pair| pair.rejected.is_some());
        let both = paired.then(|| {
            let right = |pair: &Judged| f64::from(u8::from(pair.metrics.margin > 0.0));
            let wins = ours.iter().zip(theirs);
            let wins = wins.map(|(a, b)| f64::from(u8::from(a.metrics.margin > b.metrics.margin)));
            VersusBoth {
                accuracy: Difference::of(ours, theirs, right),
                margin: Difference::of(ours, theirs, |pair| pair.metrics.margin.into()),
                wins: mean(wins).unwrap_or(f64::NAN),
            }
        });
        Versus {
            loss: Difference::of(ours, theirs, |pair| pair.metrics.loss.into()),
            both,
        }
    }

    /// The numbers as a JSON object, with `prefix` before each name.
    pub fn named(&self, prefix: &str) -> Map<String, Value> {
        let mut row = Map::new();
        let mut add = |name: &str, difference: &Difference| {
            row.insert(format!("{prefix}{name}"), difference.mean.into());
            if let Some(Interval { low, high }) = difference.interval {
                row.insert(format!("{prefix}{name}_low"), low.into());
                row.insert(format!("{prefix}{name}_high"), high.into());
            }
        };
        add("loss", &self.loss);
        if let Some(both) = &self.both {
            add("rewards/accuracies", &both.accuracy);
            add("rewards/margins", &both.margin);
            row.insert(format!("{prefix}wins"), both.wins.into());
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpo::PairMetrics;
    use crate::eval::Response;

    fn judged(loss: f32, margin: f32) -> Judged {
        let response = Response {
            tokens: 1,
            logp: -1.0,
            log_ratio: None,
            end_logp: None,
        };
        Judged {
            metrics: PairMetrics {
                loss,
                margin,
                ..PairMetrics::default()
            },
            chosen: response,
            rejected: Some(response),
        }
    }

    #[test]
    fn pairs_are_compared_with_themselves() {
        let ours = [judged(1.0, 2.0), judged(5.0, -1.0), judged(2.0, 1.0)];
        let theirs = [judged(2.0, 1.0), judged(6.0, -2.0), judged(3.0, 1.0)];
        let row = Versus::of(&ours, &theirs).named("difference_");
        let number = |name: &str| row[&format!("difference_{name}")].as_f64().unwrap();
        // The loss is lower by 1 on each pair: between pairs it spreads widely, and that does not matter.
        assert_eq!(
            [number("loss"), number("loss_low"), number("loss_high")],
            [-1.0; 3]
        );
        assert_eq!(number("rewards/accuracies"), 0.0);
        assert!((number("wins") - 2.0 / 3.0).abs() < 1e-12);
        assert!((number("rewards/margins") - 2.0 / 3.0).abs() < 1e-12);
        assert!(number("rewards/margins_low") < 0.1 && number("rewards/margins_high") > 1.2);
    }
}
