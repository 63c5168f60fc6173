//! The order of the training pairs.

use super::Run;
use crate::data;

/// The order of the training pairs, epoch by epoch.
#[derive(Default)]
pub(super) struct Order {
    epoch: Option<usize>,
    pairs: Vec<usize>,
}

impl Order {
    /// The pairs of an optimizer step, counted from 0.
    pub fn of_step(&mut self, run: &Run, step: usize) -> Vec<usize> {
        let count = run.train.examples.len();
        let per_step = run.config.pairs_per_step();
        let steps_per_epoch = count.div_ceil(per_step);
        let epoch = step / steps_per_epoch;
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.pairs = match run.config.no_shuffle {
                true => (0..count).collect(),
                false => data::shuffled(count, run.config.seed, epoch as u64),
            };
        }
        let first = (step % steps_per_epoch) * per_step;
        self.pairs[first..(first + per_step).min(count)].to_vec()
    }
}
