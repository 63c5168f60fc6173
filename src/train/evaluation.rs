//! Evaluations of a run: when, the means over the held-out pairs, and the best of them.

use super::{EvalRow, Event, Run};
use crate::batch::{Rivals, Stream};
use crate::checkpoint::Best;
use crate::data::Dataset;
use crate::dpo::{PairMetrics, Summary};
use crate::error::{Error, Result};
use crate::scorer::{Share, Whole};

impl Run<'_> {
    /// True if the held-out pairs are scored after this step.
    pub(super) fn evaluates_at(&self, step: usize) -> bool {
        let every = self.config.eval_steps;
        let by_steps = every > 0 && step.is_multiple_of(every);
        self.eval.is_some() && (step == 0 || step == self.position.total || by_steps)
    }

    /// Scores the held-out pairs, and notes the means over them.
    ///
    /// # Errors
    /// `Error::Interrupted` if the run is asked to stop; then the evaluation is still due.
    pub(super) fn evaluate(&mut self) -> Result<()> {
        let Some(eval) = self.eval else {
            return Ok(());
        };
        let step = self.position.step;
        let mut metrics = self.score_held_out(eval, None)?;
        if self.objective.ranks() {
            let rivals = self.objective.rivals(&metrics, &eval.examples);
            metrics = self.score_held_out(eval, Some(&rivals))?;
        }
        let summary = self.objective.summary(&metrics);
        if !summary.loss.is_finite() {
            return Err(Error::NotFinite {
                step: step as u64,
                what: "the loss on the held-out pairs is NaN or infinite".into(),
                help: "check the model's weights; `gpt2-dpo selftest` checks the device".into(),
            });
        }
        self.note_evaluation(&summary);
        let row = EvalRow {
            step,
            epoch: self.epoch(step),
            summary: summary.named("eval_"),
        };
        let written = self.metrics.write(&row);
        self.tell_unwritten(written);
        (self.observe)(Event::Eval {
            step,
            summary: &summary,
        });
        Ok(())
    }

    /// A forward pass over all held-out pairs: the metrics of each.
    fn score_held_out(
        &mut self,
        eval: &Dataset,
        rivals: Option<&[Rivals]>,
    ) -> Result<Vec<PairMetrics>> {
        let of = Whole::of(&eval.examples);
        let total = of.pairs;
        for (i, pairs) in eval.examples.chunks(self.micro_batch).enumerate() {
            if self.host.stop.is_requested() {
                return Err(Error::Interrupted);
            }
            let mut stream = Stream::new(pairs, self.objective.sides());
            let slot = i * self.micro_batch;
            let done = slot + pairs.len();
            if let Some(rivals) = rivals {
                stream.set_rivals(&rivals[slot..done]);
            }
            let indices: Vec<usize> = (slot..done).collect();
            let share = Share {
                first_slot: slot,
                of,
            };
            let reference = self.reference(|kept| &kept.eval, &indices);
            let policy = &self.learner.policy;
            let recording = policy.record_score(self.engine, &stream, reference, share)?;
            self.engine.run(&recording)?;
            (self.observe)(Event::Evaluating { done, total });
        }
        self.learner.policy.metrics(self.engine, total)
    }

    /// Notes an evaluation in the position: whether it is the best so far, and for how long none was better.
    pub(super) fn note_evaluation(&mut self, summary: &Summary) {
        let position = &mut self.position;
        let step = position.step;
        position.evaluated = true;
        if step == 0 {
            position.before = Some(*summary);
            position.after = Some(*summary);
            return;
        }
        position.after = Some(*summary);
        let Some(metric) = self.config.save_best else {
            return;
        };
        let better = position
            .best
            .is_none_or(|best| metric.is_better(metric.of(summary), metric.of(&best.summary)));
        if better {
            let summary = *summary;
            position.best = Some(Best { step, summary });
            position.stale = 0;
        } else {
            position.stale += 1;
        }
    }

    /// True, and told to the user, if so many evaluations were no better that the run ends here.
    pub(super) fn stops_early(&mut self) -> bool {
        let patience = self.config.early_stopping_patience;
        let (step, stale) = (self.position.step, self.position.stale);
        let Some(best) = self
            .position
            .best_step()
            .filter(|_| patience > 0 && stale >= patience)
        else {
            return false;
        };
        let note = format!(
            "stopped early after step {step}: {stale} evaluations were no better than that of step {best}"
        );
        (self.observe)(Event::Note(note));
        true
    }
}
