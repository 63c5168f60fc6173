//! The learning rate of each step, as transformers' schedulers compute it. `constant` is transformers'
//! `constant_with_warmup`, and `wsd` its `warmup_stable_decay`.

use std::f64::consts::PI;

use crate::choice::choices;

/// transformers' time scale of `inverse_sqrt` without a warm-up, in steps.
const TIME_SCALE: usize = 10_000;

choices! {
    /// How the learning rate moves after the warm-up.
    pub enum SchedulerName {
        /// stays at the peak
        Constant = "constant",
        /// the same, under transformers' name
        ConstantWithWarmup = "constant_with_warmup",
        /// falls to 0 along a line
        Linear = "linear",
        /// falls to 0 along half a cosine
        Cosine = "cosine",
        /// falls to a share of the peak along half a cosine
        CosineWithMinLr = "cosine_with_min_lr",
        /// falls as 1 over the root of the step
        InverseSqrt = "inverse_sqrt",
        /// stays, and falls as that over the last steps
        Wsd = "wsd",
    }
}

impl SchedulerName {
    /// True if the smallest learning rate has an effect.
    pub fn uses_min_lr_rate(self) -> bool {
        matches!(self, SchedulerName::CosineWithMinLr | SchedulerName::Wsd)
    }
}

/// A learning-rate schedule over a known number of steps.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The scheduler after the warm-up.
    pub scheduler: SchedulerName,
    /// The learning rate at the end of the warm-up.
    pub peak: f64,
    /// Optimizer steps of the linear rise from 0; with `wsd` from the smallest rate. 0 means no warm-up.
    pub warmup_steps: usize,
    /// Optimizer steps of the run, warm-up included.
    pub total_steps: usize,
    /// Where `cosine_with_min_lr` and `wsd` end, as a share of the peak.
    pub min_lr_rate: f64,
    /// Optimizer steps of the fall at the end of `wsd`.
    pub decay_steps: usize,
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0. With a warm-up, the first step has the rate 0.
    pub fn at(&self, step: usize) -> f64 {
        self.peak * self.share(step)
    }

    /// The share of the peak.
    fn share(&self, step: usize) -> f64 {
        let above_min = |share: f64| share * (1.0 - self.min_lr_rate) + self.min_lr_rate;
        if step < self.warmup_steps {
            let risen = step as f64 / self.warmup_steps as f64;
            return match self.scheduler {
                SchedulerName::Wsd => above_min(risen),
                _ => risen,
            };
        }
        let rest = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = (step - self.warmup_steps) as f64 / rest;
        match self.scheduler {
            SchedulerName::Constant | SchedulerName::ConstantWithWarmup => 1.0,
            SchedulerName::Linear => (1.0 - progress).max(0.0),
            SchedulerName::Cosine => half_cosine(progress).max(0.0),
            SchedulerName::CosineWithMinLr => above_min(half_cosine(progress)).max(0.0),
            SchedulerName::InverseSqrt => {
                let scale = match self.warmup_steps {
                    0 => TIME_SCALE,
                    steps => steps,
                };
                let passed = step - self.warmup_steps + scale;
                1.0 / (passed as f64 / scale as f64).sqrt()
            }
            SchedulerName::Wsd => {
                let left = self.total_steps.saturating_sub(step);
                match left {
                    0 => self.min_lr_rate,
                    left if left > self.decay_steps => 1.0,
                    left => {
                        let fallen = (self.decay_steps - left) as f64 / self.decay_steps as f64;
                        above_min(half_cosine(fallen)).max(0.0)
                    }
                }
            }
        }
    }
}

/// From 1 at 0 to 0 at 1.
fn half_cosine(progress: f64) -> f64 {
    0.5 * (1.0 + (PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::choice::Choice;

    /// Rates of transformers over 100 steps, from tests/schedules/make_fixtures.py.
    #[test]
    fn follows_transformers() {
        #[derive(serde::Deserialize)]
        struct Expected {
            peak: f64,
            rows: Vec<Row>,
        }
        #[derive(serde::Deserialize)]
        struct Row {
            scheduler: SchedulerName,
            warmup_steps: usize,
            min_lr_rate: f64,
            decay_steps: usize,
            rates: Vec<f64>,
        }
        let Expected { peak, rows } =
            serde_json::from_str(include_str!("../tests/schedules/expected.json")).unwrap();
        let named = |name| rows.iter().any(|row| row.scheduler == name);
        assert!(SchedulerName::VALUES.iter().all(|it| named(it.value)));
        for row in rows {
            assert_eq!(row.rates.len(), 100);
            let schedule = Schedule {
                scheduler: row.scheduler,
                peak,
                warmup_steps: row.warmup_steps,
                total_steps: row.rates.len(),
                min_lr_rate: row.min_lr_rate,
                decay_steps: row.decay_steps,
            };
            for (step, theirs) in row.rates.iter().enumerate() {
                assert_abs_diff_eq!(schedule.at(step), theirs, epsilon = 1e-15 * peak);
            }
        }
    }

    #[test]
    fn a_warm_up_longer_than_the_run_does_not_divide_by_zero() {
        for named in SchedulerName::VALUES {
            let schedule = Schedule {
                scheduler: named.value,
                peak: 2.0,
                warmup_steps: 9,
                total_steps: 6,
                min_lr_rate: 0.1,
                decay_steps: 4,
            };
            assert!((0..12).all(|step| schedule.at(step).is_finite()));
        }
    }
}
