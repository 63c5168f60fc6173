//! The report on held-out pairs: means, their uncertainty, drift, and accuracy by length.

use serde_json::{Map, Value};

use super::judged::{Judged, Response};
use super::statistics::{Interval, mean, rank_correlation};
use crate::dpo::{PairMetrics, Summary};
use crate::objective::Objective;

/// The longest response of the first bucket of lengths; each next one reaches twice as far.
const FIRST_BUCKET: usize = 16;

/// The numbers of held-out pairs together.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The means of the device's metrics.
    pub summary: Summary,
    /// The number of pairs.
    pub pairs: usize,
    /// The mean log-prob of the end-of-text token at the ends of chosen responses, in nats; `None` if none of them
    /// has one.
    pub chosen_end: Option<f64>,
    /// The part about both responses; `None` for a loss that takes chosen responses alone.
    pub both: Option<Both>,
}

/// The part of a [`Report`] about both responses.
#[derive(Clone, Debug, PartialEq)]
pub struct Both {
    /// The interval of the accuracy.
    pub accuracy: Interval,
    /// How far the policy moved from the reference; `None` for a loss without a reference.
    pub drift: Option<Drift>,
    /// The rank correlation of a pair's margin with the tokens by which its chosen response is longer; `None` if
    /// margins or lengths do not differ.
    pub length_correlation: Option<f64>,
    /// The pairs by the tokens of their longer response, and by which response that is; no empty bucket.
    pub buckets: Vec<Bucket>,
}

/// How far a policy moved from its reference: Σ (log π_θ − log π_ref) over all response tokens, per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// Of the chosen responses, in nats per token.
    pub chosen: f64,
    /// Of the rejected responses, in nats per token.
    pub rejected: f64,
}

/// Some of the pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// Which pairs: `1-16`, `17-32` and so on, `chosen_longer`, `chosen_shorter`, `equal`.
    pub name: String,
    /// Their number.
    pub pairs: usize,
    /// The share of them whose margin is above 0.
    pub accuracy: f64,
    /// Their mean margin.
    pub margin: f64,
}

impl Report {
    /// The report on these pairs, as `objective` sees them.
    pub fn of(objective: Objective, judged: &[Judged]) -> Report {
        let metrics: Vec<PairMetrics> = judged.iter().map(|pair| pair.metrics).collect();
        let summary = objective.summary(&metrics);
        Report {
            pairs: judged.len(),
            chosen_end: mean(judged.iter().filter_map(|pair| pair.chosen.end_logp)),
            both: summary.rewards.map(|_| Both::of(judged)),
            summary,
        }
    }

    /// The numbers as a JSON object, with `prefix` before each name. What is undefined is left out.
    pub fn named(&self, prefix: &str) -> Map<String, Value> {
        let mut row = self.summary.named(prefix);
        let mut add = |name: &str, value: Value| row.insert(format!("{prefix}{name}"), value);
        add("pairs", self.pairs.into());
        if let Some(logp) = self.chosen_end {
            add("logps/chosen_end", logp.into());
        }
        let Some(both) = &self.both else {
            return row;
        };
        add("rewards/accuracies_low", both.accuracy.low.into());
        add("rewards/accuracies_high", both.accuracy.high.into());
        if let Some(drift) = both.drift {
            add("drift/chosen", drift.chosen.into());
            add("drift/rejected", drift.rejected.into());
        }
        if let Some(correlation) = both.length_correlation {
            add("rewards/length_correlation", correlation.into());
        }
        for bucket in &both.buckets {
            let name = &bucket.name;
            add(&format!("by_length/{name}/pairs"), bucket.pairs.into());
            add(
                &format!("by_length/{name}/accuracies"),
                bucket.accuracy.into(),
            );
            add(&format!("by_length/{name}/margins"), bucket.margin.into());
        }
        row
    }
}

impl Both {
    fn of(judged: &[Judged]) -> Both {
        let right = |pairs: &[&Judged]| pairs.iter().filter(|p| p.metrics.margin > 0.0).count();
        let all: Vec<&Judged> = judged.iter().collect();
        let margins: Vec<f64> = judged.iter().map(|p| p.metrics.margin.into()).collect();
        let longer: Vec<f64> = judged.iter().map(Judged::longer_by).collect();
        let bucket = |name: String, is_in: &dyn Fn(&Judged) -> bool| {
            let pairs: Vec<&Judged> = judged.iter().filter(|pair| is_in(pair)).collect();
            let margin = mean(pairs.iter().map(|pair| pair.metrics.margin.into()))?;
            Some(Bucket {
                name,
                pairs: pairs.len(),
                accuracy: right(&pairs) as f64 / pairs.len() as f64,
                margin,
            })
        };
        let longest = judged.iter().map(Judged::longest).max().unwrap_or(0);
        let mut buckets = Vec::new();
        let mut reach = 0..FIRST_BUCKET;
        loop {
            let name = format!("{}-{}", reach.start + 1, reach.end);
            let is_in = |pair: &Judged| reach.contains(&pair.longest().saturating_sub(1));
            buckets.extend(bucket(name, &is_in));
            if reach.end >= longest {
                break;
            }
            reach = reach.end..2 * reach.end;
        }
        buckets.extend(bucket("chosen_longer".into(), &|p| p.longer_by() > 0.0));
        buckets.extend(bucket("chosen_shorter".into(), &|p| p.longer_by() < 0.0));
        buckets.extend(bucket("equal".into(), &|p| p.longer_by() == 0.0));
        Both {
            accuracy: Interval::of_share(right(&all), judged.len()),
            drift: Drift::of(judged),
            length_correlation: rank_correlation(&margins, &longer),
            buckets,
        }
    }
}

impl Drift {
    fn of(judged: &[Judged]) -> Option<Drift> {
        let per_token = |responses: Vec<Response>| {
            let tokens: usize = responses.iter().map(|response| response.tokens).sum();
            let ratios = responses.iter().map(|response| response.log_ratio);
            let total: f64 = ratios.sum::<Option<f64>>()?;
            (tokens > 0).then(|| total / tokens as f64)
        };
        Some(Drift {
            chosen: per_token(judged.iter().map(|pair| pair.chosen).collect())?,
            rejected: per_token(judged.iter().filter_map(|pair| pair.rejected).collect())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// A response of so many tokens, each with this log-ratio.
    fn response(tokens: usize, log_ratio: f64) -> Response {
        Response {
            tokens,
            logp: -2.0 * tokens as f64,
            log_ratio: Some(log_ratio * tokens as f64),
            end_logp: (tokens > 1).then_some(-0.5),
        }
    }

    fn pair(margin: f32, chosen: usize, rejected: usize) -> Judged {
        Judged {
            metrics: PairMetrics {
                margin,
                ..PairMetrics::default()
            },
            chosen: response(chosen, -0.25),
            rejected: Some(response(rejected, -1.0)),
        }
    }

    #[test]
    fn each_number_by_hand() {
        let pairs = [
            pair(1.0, 1, 10),
            pair(0.0, 16, 16),
            pair(-1.0, 17, 3),
            pair(3.0, 40, 2),
        ];
        let report = Report::of(Objective::sigmoid(0.1), &pairs);
        let row = report.named("eval_easy_");
        let number = |name: &str| row[&format!("eval_easy_{name}")].as_f64().unwrap();
        assert_eq!(number("pairs"), 4.0);
        assert_eq!(number("rewards/accuracies"), 0.5);
        assert_eq!(number("rewards/ties"), 0.25);
        let interval = Interval::of_share(2, 4);
        assert_eq!(number("rewards/accuracies_low"), interval.low);
        assert_eq!(number("rewards/accuracies_high"), interval.high);
        // Over tokens, not over responses: all of a side's tokens have the same ratio.
        assert_abs_diff_eq!(number("drift/chosen"), -0.25, epsilon = 1e-12);
        assert_abs_diff_eq!(number("drift/rejected"), -1.0, epsilon = 1e-12);
        // The response of one token was cut before its end.
        assert_eq!(number("logps/chosen_end"), -0.5);
        // Margins rank 3, 2, 1, 4; differences of length -9, 0, 14, 38 rank 1, 2, 3, 4.
        assert_abs_diff_eq!(number("rewards/length_correlation"), 0.2, epsilon = 1e-12);
        let names: Vec<&str> = report
            .both
            .as_ref()
            .unwrap()
            .buckets
            .iter()
            .map(|b| &b.name[..])
            .collect();
        assert_eq!(
            names,
            [
                "1-16",
                "17-32",
                "33-64",
                "chosen_longer",
                "chosen_shorter",
                "equal"
            ]
        );
        assert_eq!(number("by_length/1-16/pairs"), 2.0);
        assert_eq!(number("by_length/1-16/accuracies"), 0.5);
        assert_eq!(number("by_length/chosen_longer/margins"), 1.0);
        assert_eq!(number("by_length/chosen_shorter/accuracies"), 1.0);
        assert_eq!(number("by_length/equal/accuracies"), 0.0);
    }

    #[test]
    fn a_loss_on_chosen_responses_says_nothing_of_rejected_ones() {
        let mut pair = pair(0.0, 4, 4);
        pair.rejected = None;
        pair.chosen.log_ratio = None;
        let row = Report::of(Objective::sft(), &[pair]).named("eval_");
        let mut names: Vec<&str> = row.keys().map(String::as_str).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "eval_entropy",
                "eval_logits/chosen",
                "eval_logps/chosen",
                "eval_logps/chosen_end",
                "eval_loss",
                "eval_mean_token_accuracy",
                "eval_pairs"
            ]
        );
    }
}
