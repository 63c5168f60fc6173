//! Evaluations of a run: when, the means over the held-out pairs, and the best of them.

use std::ops::Range;

use super::eval_row::{EvalRow, SetReport};
use super::{Event, Run};
use crate::batch::Rivals;
use crate::checkpoint::Best;
use crate::dpo::Summary;
use crate::error::{Error, Result};
use crate::eval::{Judged, Pass, Report, judge_all};
use crate::scorer::Whole;

impl Run<'_> {
    /// True if the held-out pairs are scored and the prompts are answered after this step.
    pub(super) fn evaluates_at(&self, step: usize) -> bool {
        let every = self.config.eval_steps;
        let by_steps = every > 0 && step.is_multiple_of(every);
        let anything = self.eval.is_some() || self.samples.is_some();
        anything && (step == 0 || step == self.position.total || by_steps)
    }

    /// Scores the held-out pairs, notes the means over them, and answers the prompts.
    ///
    /// # Errors
    /// `Error::Interrupted` if the run is asked to stop; then the evaluation is still due.
    pub(super) fn evaluate(&mut self) -> Result<()> {
        let step = self.position.step;
        let mut reports = Vec::new();
        for set in self.eval_sets.clone() {
            let report = self.score(set.pairs)?;
            if !report.summary.loss.is_finite() {
                return Err(Error::NotFinite {
                    step: step as u64,
                    what: "the loss on the held-out pairs is NaN or infinite".into(),
                    help: "check the model's weights; `gpt2-dpo selftest` checks the device".into(),
                });
            }
            reports.push(SetReport {
                name: set.name,
                report,
            });
        }
        // All numbers and texts come before the first row: a stop leaves no evaluation that is half told.
        let samples = self.sample()?;
        if let Some(first) = reports.first() {
            let relative_change = self.movement.relative_change(self.engine)?;
            self.note_evaluation(&first.report.summary);
            let row = EvalRow {
                step,
                epoch: self.epoch(step),
                relative_change,
                numbers: reports.iter().flat_map(SetReport::named).collect(),
            };
            let written = self.metrics.write(&row);
            self.tell_unwritten(written);
        }
        self.position.evaluated = true;
        for row in &samples {
            let written = self.metrics.write(row);
            self.tell_unwritten(written);
        }
        for SetReport { name, report } in &reports {
            (self.observe)(Event::Eval { step, name, report });
        }
        Ok(())
    }

    /// Scores some of the held-out pairs.
    fn score(&mut self, pairs: Range<usize>) -> Result<Report> {
        let all = self.eval.map_or(&[][..], |eval| &eval.examples);
        let objective = self.objective;
        let judge = |rivals| self.judge(pairs.clone(), rivals);
        let judged = judge_all(objective, &all[pairs.clone()], judge)?;
        Ok(Report::of(objective, &judged))
    }

    /// A forward pass over some of the held-out pairs, which have these rivals, or none.
    fn judge(&mut self, pairs: Range<usize>, rivals: Vec<Rivals>) -> Result<Vec<Judged>> {
        let all = self.eval.map_or(&[][..], |eval| &eval.examples);
        let of = Whole::of(&all[pairs.clone()]);
        let mut pass = Pass::new(&self.learner.policy, of, self.end).against(rivals);
        let total = all.len();
        for first in pairs.clone().step_by(self.micro_batch) {
            if self.host.stop.is_requested() {
                return Err(Error::Interrupted);
            }
            let micro = first..(first + self.micro_batch).min(pairs.end);
            let done = micro.end;
            let indices: Vec<usize> = micro.clone().collect();
            let reference = self.reference(|kept| &kept.eval, &indices);
            let micro = pass.record(self.engine, &all[micro], reference)?;
            pass.run(self.engine, micro)?;
            (self.observe)(Event::Evaluating { done, total });
        }
        pass.finish(self.engine)
    }

    /// Notes an evaluation in the position: whether it is the best so far, and for how long none was better.
    pub(super) fn note_evaluation(&mut self, summary: &Summary) {
        let position = &mut self.position;
        let step = position.step;
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
