//! Rules on the gradient's clipping.

use super::record::{Record, Step};
use super::{Finding, of_run};
use crate::eval::mean;

/// Clipping is judged from so many steps on.
const STEPS: usize = 20;
/// Pascanu et al. take limits from half of the mean norm …
const FAR_BELOW: f64 = 0.5;
/// … up to ten times it.
const FAR_ABOVE: f64 = 10.0;

impl Record {
    /// The last quarter of the steps; `None` of fewer than four steps.
    pub(super) fn last_quarter(&self) -> Option<&[Step]> {
        let count = self.steps.len() / 4;
        (count > 0).then(|| &self.steps[self.steps.len() - count..])
    }

    /// The finite norms of the gradient; `None` for a run without clipping, or of few steps.
    fn norms(&self) -> Option<Vec<f64>> {
        let norms: Vec<f64> = self.steps.iter().filter_map(|s| s.grad_norm).collect();
        (self.settings.max_grad_norm > 0.0 && norms.len() >= STEPS).then_some(norms)
    }
}

/// The gradient is clipped at every step, and to far less than its norm.
pub(super) fn clipped_always(record: &Record) -> Option<Finding> {
    let (norms, limit) = (record.norms()?, record.settings.max_grad_norm);
    let mean = mean(norms.iter().copied())?;
    let always = norms.iter().all(|&norm| norm > limit.into());
    (always && f64::from(limit) < FAR_BELOW * mean).then(|| {
        let what = format!(
            "the gradient is clipped at every step: its norm is {mean:.2} in the mean, and the limit {limit}"
        );
        let advice = format!(
            "every step counts alike then, however much its pairs have to say: raise `.max_grad_norm`, to about {:.0}",
            mean.ceil()
        );
        of_run("clipped-always", record, what, &advice)
    })
}

/// The limit is so far above the gradient's norm that it guards nothing.
pub(super) fn clipped_never(record: &Record) -> Option<Finding> {
    let (norms, limit) = (record.norms()?, record.settings.max_grad_norm);
    let mean = mean(norms.iter().copied())?;
    let never = norms.iter().all(|&norm| norm <= limit.into());
    (never && f64::from(limit) > FAR_ABOVE * mean).then(|| {
        let what = format!(
            "the gradient is never clipped: its norm is {mean:.2e} in the mean, and the limit {limit} would let a step of \
             ten times that pass"
        );
        let advice = "lower `.max_grad_norm` to a few times the mean norm, or give 0 for no clipping";
        of_run("clipped-never", record, what, advice)
    })
}
