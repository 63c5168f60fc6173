//! What comes back from the device: the metrics of steps, and notes.

use std::time::Instant;

use super::{Event, Flight, Run, StepRow};
use crate::error::Result;
use crate::learner::Broken;

impl Run<'_> {
    pub(super) fn pass_notes_on(&mut self) {
        for note in self.engine.notes() {
            (self.observe)(Event::Note(note));
        }
    }

    /// Waits for the metrics of all steps but the last `keep`.
    pub(super) fn land_all_but(&mut self, keep: usize) -> Result<()> {
        while self.flights.len() > keep {
            if let Some(flight) = self.flights.pop_front() {
                self.land(flight)?;
            }
        }
        Ok(())
    }

    /// Waits for a step's metrics, writes its row and reports it to the observer.
    fn land(&mut self, flight: Flight) -> Result<()> {
        let report = self.learner.report(self.engine, flight.ticket)?;
        let seconds = self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.pass_notes_on();
        let for_good = report.broken == Some(Broken::ForGood);
        if for_good || !report.loss_is_finite() {
            return Err(self.not_finite(&flight.pairs, flight.step, &report));
        }
        if let (Some(Broken::Overflow), Some(scale)) = (report.broken, report.loss_scale) {
            self.position.skipped += 1;
            let note = format!(
                "step {}: a gradient overflowed and the step was not taken; the loss scale is {scale} now",
                flight.step
            );
            (self.observe)(Event::Note(note));
        }
        let summary = self.summary(&report.pairs);
        let epoch = self.epoch(flight.step);
        let position = &mut self.position;
        position.step = flight.step;
        position.evaluated = false;
        position.num_tokens += flight.tokens;
        position.control = report.control.floats().map(f32::to_bits).to_vec();
        position.first_loss.get_or_insert(summary.loss);
        position.last_loss = Some(summary.loss);
        let row = StepRow {
            step: flight.step,
            epoch,
            summary,
            learning_rate: flight.learning_rate,
            grad_norm: f64::from(report.grad_norm),
            loss_scale: report.loss_scale,
            num_tokens: position.num_tokens.apart,
            num_computed_tokens: position.num_tokens.shared,
            pairs_per_second: flight.pairs.len() as f64 / seconds,
            tokens_per_second: flight.tokens.shared as f64 / seconds,
        };
        let total = position.total;
        let written = self.metrics.write(&row);
        self.tell_unwritten(written);
        (self.observe)(Event::Step { row: &row, total });
        Ok(())
    }

    /// Tells the user when rows begin to wait because they cannot be written, and when they are written after all.
    pub(super) fn tell_unwritten(&mut self, written: Result<()>) {
        let waits = written.is_err();
        let note = match written {
            Err(e) => format!("rows of the metrics wait to be written: {}", e.brief()),
            Ok(()) => "the metrics are written again, with the rows that waited".to_owned(),
        };
        if waits != self.metrics_wait {
            (self.observe)(Event::Note(note));
        }
        self.metrics_wait = waits;
    }
}
