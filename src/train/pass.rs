//! The reference's pass: its log-probs of all pairs, from the cache or computed.

use std::time::{Duration, Instant};

use super::{Event, Run};
use crate::batch::Stream;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::reference::{Cache, ReferenceLogProbs};

/// The part of a pass that is done is kept so often.
const KEEP_EVERY: Duration = Duration::from_secs(20);

/// The reference's log-probs of the run's pairs. They are empty if the frozen weights are on the device, or if the
/// objective needs no reference.
#[derive(Default)]
pub(super) struct References {
    pub train: ReferenceLogProbs,
    pub eval: ReferenceLogProbs,
}

impl Run<'_> {
    /// Computes the reference's log-probs of all pairs, or loads them from the cache. The reference is the model
    /// before the first step, unless the inputs name another, and the computation is a forward pass over all pairs.
    /// [`Run::train`] calls this first, unless the caller already did.
    ///
    /// # Errors
    /// `Error::Interrupted` if the run is asked to stop, and the part that is done is kept; `Error::Option` for an id
    /// or a position that the model does not have; `Error::NotFinite` if a log-prob is NaN or infinite; every error
    /// of the device.
    pub fn prepare_reference(&mut self) -> Result<()> {
        let mut references = References::default();
        let on_device = self.frozen.is_some() || self.reference_is_bare();
        if self.objective.needs_reference() && !on_device {
            references.train = self.reference_of(self.train)?;
            if let Some(eval) = self.eval {
                references.eval = self.reference_of(eval)?;
            }
        }
        self.references = Some(references);
        self.pass_notes_on();
        Ok(())
    }

    /// Loads the log-probs of `data` from the cache, or computes them with the weights that are on the device and
    /// stores them.
    fn reference_of(&mut self, data: &Dataset) -> Result<ReferenceLogProbs> {
        let examples = &data.examples;
        let dirs = [&self.config.cache_dir, &self.host.cache_dir];
        let dir = dirs.into_iter().flatten().next().cloned();
        let cache = match dir.zip(examples.chunks(self.micro_batch).next()) {
            Some((dir, pairs)) => {
                let stream = Stream::new(pairs, self.objective.sides());
                let policy = &self.learner.policy;
                let device = policy.identity(self.engine, &self.bare, &stream)?;
                let weights = &self.position.facts.reference;
                let cache = Cache::new(&dir, weights, &device, examples);
                let name = cache.name();
                self.position.facts.reference_cache.push(name);
                Some(cache)
            }
            None => None,
        };
        if let Some(kept) = cache.as_ref().and_then(|c| c.load(examples)) {
            return Ok(kept);
        }
        let part = cache
            .as_ref()
            .and_then(|c| c.load_part(examples, self.micro_batch));
        let (mut done, mut values) = part.map_or((0, Vec::new()), |part| (part.pairs, part.values));
        let mut kept_at = Instant::now();
        let total = examples.len();
        for pairs in examples[done..].chunks(self.micro_batch) {
            let stops = self.host.stop.is_requested();
            if let Some(cache) = cache
                .as_ref()
                .filter(|_| stops || kept_at.elapsed() > KEEP_EVERY)
            {
                // Without the part the next run computes it again.
                let _ = cache.store_part(&values);
                kept_at = Instant::now();
            }
            if stops {
                return Err(Error::Interrupted);
            }
            let stream = Stream::new(pairs, self.objective.sides());
            let policy = &self.learner.policy;
            let logps = policy.log_probs_of(self.engine, &self.bare, &stream)?;
            if logps.iter().any(|l| !l.is_finite()) {
                return Err(Error::NotFinite {
                    step: 0,
                    what: format!(
                        "the model's log-probs are not finite for a pair from {} on",
                        pairs[0].place
                    ),
                    help: "check the model's weights; `gpt2-dpo selftest` checks the device".into(),
                });
            }
            values.extend(logps);
            done += pairs.len();
            (self.observe)(Event::Reference { done, total });
        }
        let logps = ReferenceLogProbs::new(examples, values);
        if let Some(Err(e)) = cache.map(|c| c.store(&logps)) {
            let note = format!("the reference's log-probs are not kept for the next run: {e}");
            (self.observe)(Event::Note(note));
        }
        Ok(logps)
    }
}
