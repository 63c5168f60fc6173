//! The learning rate of each step, as transformers' schedulers compute it. `constant` is transformers'
//! `constant_with_warmup`; the other names are the same.

use std::f64::consts::PI;

use crate::choice::choices;

choices! {
    /// How the learning rate moves after the warm-up: it stays at the peak, or falls to 0 at the end of the
    /// run along a line or half a cosine.
    #[allow(missing_docs)] // a doc comment would become help text, and the names say it
    pub enum SchedulerName {
        Constant = "constant",
        Linear = "linear",
        Cosine = "cosine",
    }
}

/// A learning-rate schedule over a known number of steps.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The scheduler after the warm-up.
    pub scheduler: SchedulerName,
    /// The learning rate at the end of the warm-up.
    pub peak: f64,
    /// Optimizer steps of the linear rise from 0. 0 means no warm-up.
    pub warmup_steps: usize,
    /// Optimizer steps of the run, warm-up included.
    pub total_steps: usize,
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0. With a warm-up, the first step has the rate 0.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let rest = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = (step - self.warmup_steps) as f64 / rest;
        self.peak
            * match self.scheduler {
                SchedulerName::Constant => 1.0,
                SchedulerName::Linear => (1.0 - progress).max(0.0),
                SchedulerName::Cosine => (0.5 * (1.0 + (PI * progress).cos())).max(0.0),
            }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    fn rates(scheduler: SchedulerName, warmup_steps: usize) -> Vec<f64> {
        let schedule = Schedule {
            scheduler,
            peak: 2.0,
            warmup_steps,
            total_steps: 6,
        };
        (0..6).map(|step| schedule.at(step)).collect()
    }

    /// The expected values are calculated by hand from transformers' get_linear_schedule_with_warmup and its
    /// siblings.
    #[test]
    fn follows_transformers() {
        assert_eq!(rates(SchedulerName::Constant, 0), [2.0; 6]);
        assert_eq!(
            rates(SchedulerName::Constant, 2),
            [0.0, 1.0, 2.0, 2.0, 2.0, 2.0]
        );
        assert_eq!(
            rates(SchedulerName::Linear, 2),
            [0.0, 1.0, 2.0, 1.5, 1.0, 0.5]
        );
        let cosine = rates(SchedulerName::Cosine, 0);
        let expected = [
            2.0,
            1.0 + (PI / 6.0).cos(),
            1.5,
            1.0,
            0.5,
            1.0 - (PI / 6.0).cos(),
        ];
        assert_abs_diff_eq!(&cosine[..], &expected[..], epsilon = 1e-12);
    }

    #[test]
    fn a_warm_up_longer_than_the_run_does_not_divide_by_zero() {
        assert!(
            rates(SchedulerName::Linear, 9)
                .iter()
                .all(|r| r.is_finite())
        );
    }
}
