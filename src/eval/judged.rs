//! The numbers of one held-out pair.

use std::ops::Range;

use serde::Serialize;

use crate::batch::{Pair, Stream};
use crate::dpo::PairMetrics;

/// A response of a held-out pair under a policy, beside the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Response {
    /// Its tokens.
    pub tokens: usize,
    /// Σ of the policy's log-probs over its tokens, in nats.
    pub logp: f64,
    /// Σ of log π_θ − log π_ref over its tokens, in nats; `None` for a loss without a reference.
    pub log_ratio: Option<f64>,
    /// The policy's log-prob of the end-of-text token that ends it; `None` if another token does.
    pub end_logp: Option<f64>,
}

/// A held-out pair under a policy, beside the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Loss, rewards and margin as the device computed them.
    pub metrics: PairMetrics,
    /// The chosen response.
    pub chosen: Response,
    /// The rejected response; `None` for a loss that takes chosen responses alone.
    pub rejected: Option<Response>,
}

impl Judged {
    /// Tokens by which the chosen response is longer; below 0 if it is shorter.
    pub fn longer_by(&self) -> f64 {
        let rejected = self.rejected.map_or(0, |rejected| rejected.tokens);
        self.chosen.tokens as f64 - rejected as f64
    }

    /// Tokens of the longer response.
    pub fn longest(&self) -> usize {
        let rejected = self.rejected.map_or(0, |rejected| rejected.tokens);
        self.chosen.tokens.max(rejected)
    }
}

/// The responses of a micro-batch whose log-probs are under way.
pub(super) struct Asked {
    /// The head rows of each pair.
    pairs: Vec<Pair>,
    /// True for a head row whose target is the end-of-text token.
    ends: Vec<bool>,
}

/// Chosen and rejected response of a pair.
pub(super) struct Responses {
    pub chosen: Response,
    pub rejected: Option<Response>,
}

impl Asked {
    /// Keeps of a stream what its log-probs are read with.
    pub fn of(stream: &Stream, end: Option<u32>) -> Asked {
        let ends = stream.targets.iter().map(|&target| Some(target) == end);
        Asked {
            pairs: stream.pairs.clone(),
            ends: ends.collect(),
        }
    }

    /// The responses of each pair, from the policy's log-probs `[P]` and the reference's.
    pub fn responses<'a>(
        &'a self,
        logps: &'a [f32],
        references: Option<&'a [f32]>,
    ) -> impl Iterator<Item = Responses> + 'a {
        let response = move |rows: Range<usize>| {
            let sum = |of: &dyn Fn(usize) -> f32| rows.clone().map(|r| f64::from(of(r))).sum();
            let last = rows.end.saturating_sub(1);
            let ends = !rows.is_empty() && self.ends[last];
            Response {
                tokens: rows.len(),
                logp: sum(&|r| logps[r]),
                // The differences first, as the loss takes them: they keep digits that the sums lose.
                log_ratio: references.map(|reference| sum(&|r| logps[r] - reference[r])),
                end_logp: ends.then(|| f64::from(logps[last])),
            }
        };
        self.pairs.iter().map(move |pair| Responses {
            chosen: response(pair.chosen()),
            rejected: (!pair.rejected().is_empty()).then(|| response(pair.rejected())),
        })
    }
}
