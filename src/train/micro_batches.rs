//! The micro-batches of an optimizer step: each adds its share to the gradient.

use std::ops::Range;

use super::Run;
use crate::batch::{Rivals, Stream, TokenCount};
use crate::config::Normalize;
use crate::dpo::{PairMetrics, Summary};
use crate::error::Result;
use crate::scorer::{Reference, Share, Whole};

impl Run<'_> {
    /// Accumulates the gradient of the step's loss over these pairs, one micro-batch after another; returns the
    /// number of their tokens.
    pub(super) fn accumulate(&mut self, pairs: &[usize]) -> Result<TokenCount> {
        let mut tokens = TokenCount::default();
        let means = self.means(pairs.len());
        for mean in &means {
            let rivals = self.rivals(pairs, mean.clone())?;
            let of = self.whole(&pairs[mean.clone()]).times(means.len());
            for slots in pieces(mean.clone(), self.micro_batch) {
                let mut micro = self.micro_batch(pairs, slots.clone(), of);
                if let Some(rivals) = &rivals {
                    let first = slots.start - mean.start;
                    micro.stream.set_rivals(&rivals[first..first + slots.len()]);
                }
                let MicroBatch {
                    stream,
                    reference,
                    share,
                } = micro;
                let learner = &self.learner;
                let recording = learner.record(self.engine, &stream, reference, share)?;
                self.engine.run(&recording)?;
                tokens += stream.num_tokens;
            }
        }
        Ok(tokens)
    }

    /// Means over a step's pairs, as its loss is one.
    pub(super) fn summary(&self, pairs: &[PairMetrics]) -> Summary {
        let means = self.means(pairs.len());
        let summaries = means.into_iter();
        let summaries = summaries.map(|mean| self.objective.summary(&pairs[mean]));
        Summary::mean(&summaries.collect::<Vec<_>>())
    }

    /// The slots of a step's pairs whose mean is a part of the step's loss; the loss is the mean over the parts.
    fn means(&self, pairs: usize) -> Vec<Range<usize>> {
        match self.config.normalize {
            Normalize::Pairs => pieces(0..pairs, pairs.max(1)),
            Normalize::MicroBatches => pieces(0..pairs, self.config.batch_size),
        }
    }

    /// The rivals of these of the step's pairs, for a loss that ranks them: from a forward pass over all of them.
    fn rivals(&mut self, pairs: &[usize], mean: Range<usize>) -> Result<Option<Vec<Rivals>>> {
        if !self.objective.ranks() {
            return Ok(None);
        }
        let of = self.whole(&pairs[mean.clone()]);
        for slots in pieces(mean.clone(), self.micro_batch) {
            let MicroBatch {
                stream,
                reference,
                share,
            } = self.micro_batch(pairs, slots, of);
            let policy = &self.learner.policy;
            let recording = policy.record_score(self.engine, &stream, reference, share)?;
            self.engine.run(&recording)?;
        }
        let metrics = self.learner.policy.metrics(self.engine, mean.end)?;
        let examples = pairs[mean.clone()].iter().map(|&e| &self.train.examples[e]);
        Ok(Some(self.objective.rivals(&metrics[mean], examples)))
    }

    fn whole(&self, pairs: &[usize]) -> Whole {
        Whole::of(pairs.iter().map(|&e| &self.train.examples[e]))
    }

    /// The micro-batch of the pairs in these slots of the step, as a share of a mean over `of`.
    fn micro_batch(&self, pairs: &[usize], slots: Range<usize>, of: Whole) -> MicroBatch<'_> {
        let first_slot = slots.start;
        let micro = &pairs[slots];
        let examples = micro.iter().map(|&e| &self.train.examples[e]);
        MicroBatch {
            stream: Stream::new(examples, self.objective.sides()),
            reference: self.reference(|kept| &kept.train, micro),
            share: Share { first_slot, of },
        }
    }
}

/// Some pairs of a step, ready to be recorded.
struct MicroBatch<'a> {
    stream: Stream,
    reference: Reference<'a>,
    share: Share,
}

/// A range in pieces of at most `most`.
fn pieces(range: Range<usize>, most: usize) -> Vec<Range<usize>> {
    let starts = range.clone().step_by(most);
    starts
        .map(|start| start..(start + most).min(range.end))
        .collect()
}
