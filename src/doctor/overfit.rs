//! The rule on a run that knows its training pairs by heart.

use super::record::{Record, Set};
use super::{Finding, of_set};
use crate::eval::mean;

/// Training pairs are known by heart from this accuracy on …
const ALL_RIGHT: f64 = 0.99;
/// … if their loss is below this share of the first step's.
const NEAR_ZERO: f64 = 0.1;

/// Accuracy 1 and loss near 0 in training, while the held-out loss was lowest at an earlier evaluation.
pub(super) fn memorised(record: &Record, set: &Set) -> Option<Finding> {
    let last = record.last_quarter()?;
    let accuracies: Option<Vec<f64>> = last.iter().map(|step| step.accuracy).collect();
    let accuracy = mean(accuracies?)?;
    let loss = mean(last.iter().map(|step| step.loss))?;
    let first = record.steps.first()?.loss;
    if accuracy < ALL_RIGHT || loss.is_nan() || loss > NEAR_ZERO * first {
        return None;
    }
    let after = set.after()?;
    let trained = set.evals.iter().filter(|eval| eval.step > 0);
    let best = trained.min_by(|a, b| a.loss.total_cmp(&b.loss))?;
    (best.step < after.step && best.loss < after.loss).then(|| {
        let what = format!(
            "training pairs are known by heart (accuracy {accuracy:.2}, loss {loss:.4}), and the held-out loss has not \
             fallen since step {}: it was {:.4} there, and is {:.4} now",
            best.step, best.loss, after.loss
        );
        let advice = "take the weights of that step: `.save_best` eval_loss keeps them, and \
                      `.early_stopping_patience` ends the run there; or fewer `.epochs`";
        of_set("memorised", set, after, what, advice)
    })
}
