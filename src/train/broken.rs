//! What a run does about a number that is NaN or infinite: it names the first one, and saves the last good state.

use super::{Event, Run};
use crate::checkpoint;
use crate::engine::{Device, EngineExt};
use crate::error::{Error, Result};
use crate::learner::{Broken, StepReport};
use crate::model::Tensor;
use crate::pretrained::Weights;

/// The most pairs of a step that a message names.
const MAX_NAMED: usize = 32;

/// A loss of so many times the first one, and so much more, is not sane.
const SANE_FACTOR: f64 = 10.0;
const SANE_OFFSET: f64 = 10.0;

/// A step whose loss or gradient is not finite.
#[derive(Clone, Copy)]
pub(super) struct BrokenStep {
    /// Its mean loss: that of the state before it.
    loss: f64,
}

impl Run<'_> {
    /// The error of a step whose loss or gradient is not finite: which tensor, and which pairs.
    pub(super) fn not_finite(
        &mut self,
        pairs: &[usize],
        step: usize,
        report: &StepReport,
    ) -> Error {
        self.broken = Some(BrokenStep {
            loss: self.summary(&report.pairs).loss,
        });
        let for_good = report.broken == Some(Broken::ForGood);
        let mut what = match for_good {
            true => "a gradient is NaN or infinite; the step was not taken".to_owned(),
            false => "the loss is NaN or infinite".to_owned(),
        };
        if for_good && report.loss_scale.is_some() {
            what += "; the loss scale has fallen to 1 and is not the cause";
        }
        // Whatever fails here, the user should see the first error.
        if let Ok(found) = self.first_not_finite(pairs) {
            what += &format!("; {found}");
        }
        let whole = |slot: &usize| !report.pairs[*slot].loss.is_finite();
        let broken: Vec<usize> = (0..pairs.len()).filter(whole).collect();
        let (named, which) = match broken.is_empty() {
            true => ((0..pairs.len()).collect(), "the step's pairs"),
            false => (broken, "the pairs of that loss"),
        };
        let places = named.iter().take(MAX_NAMED);
        let places: Vec<String> = places
            .map(|&slot| self.train.examples[pairs[slot]].place.to_string())
            .collect();
        what += &format!("; {which}: {}", places.join(", "));
        if named.len() > MAX_NAMED {
            what += &format!(" and {} more", named.len() - MAX_NAMED);
        }
        Error::NotFinite {
            step: step as u64,
            what,
            help: "lower `.learning_rate`, or check the data around this step; `gpt2-dpo selftest` checks the device"
                .into(),
        }
    }

    /// Computes the gradient of these pairs once more and names the first tensor, in the order of the model, of which
    /// a value is not finite.
    fn first_not_finite(&mut self, pairs: &[usize]) -> Result<String> {
        // The metrics of a step in flight go to the same place, and nobody needs them any more.
        while let Some(flight) = self.flights.pop_front() {
            self.learner.report(self.engine, flight.ticket)?;
        }
        let weights = self.learner.policy.weights.gpt2.iter();
        if let Some(name) = first_bad(self.engine, weights)? {
            return Ok(format!("the first such number is in the weight `{name}`"));
        }
        self.accumulate(pairs)?;
        let gradients = self.learner.grads.gpt2.iter().flatten();
        if let Some(name) = first_bad(self.engine, gradients)? {
            return Ok(format!("the first such gradient is that of `{name}`"));
        }
        // The device sums up squares of 32-bit numbers.
        let gradients = self.learner.grads.gpt2.iter().flatten();
        let squares = sum_of_squares(self.engine, gradients)?;
        Ok(match squares > f64::from(f32::MAX) {
            true => format!(
                "each gradient is finite and their norm, {:.1e}, is too large: a loss is too steep",
                squares.sqrt()
            ),
            false => "computed once more, the same pairs give a finite gradient: the device may compute wrong".to_owned(),
        })
    }

    /// Saves the state before the step that broke if its loss is sane, else names the last checkpoint whose is.
    pub(super) fn rescue(&mut self) {
        let Some(broken) = self.broken.filter(|_| self.position.step > 0) else {
            return;
        };
        let finished = self.saver.wait();
        self.tell_saved(finished);
        let step = self.position.step;
        if self.is_sane(broken.loss) {
            self.leave();
            let saved = self.saver.wait();
            self.tell_saved(saved);
            if self.saver.has(step) {
                let note = format!("the state after step {step}, the last good one, is kept");
                (self.observe)(Event::Note(note));
            }
            return;
        }
        // The loss of a state is that of the step after it.
        let losses = self.metrics.losses();
        let loss_after = |at: usize| match at == step {
            true => Some(broken.loss),
            false => losses.get(&(at + 1)).copied(),
        };
        let checkpoints = checkpoint::list(&self.out).unwrap_or_default();
        let good = checkpoints
            .iter()
            .find(|entry| loss_after(entry.step).is_some_and(|loss| self.is_sane(loss)));
        let last = match good {
            Some(entry) => format!("the last good one is {}", entry.path.display()),
            None => "there is no earlier checkpoint".to_owned(),
        };
        let loss = broken.loss;
        let note = format!(
            "the state after step {step} is not kept, because its loss is {loss:.3e}; {last}"
        );
        (self.observe)(Event::Note(note));
    }

    /// True for a finite loss of the order of the first one.
    fn is_sane(&self, loss: f64) -> bool {
        let first = self.position.first_loss.unwrap_or(0.0);
        loss.is_finite() && loss.abs() <= SANE_FACTOR * first.abs() + SANE_OFFSET
    }
}

/// The name of the first tensor of which a value is not finite.
fn first_bad<'t>(
    device: &mut dyn Device,
    tensors: impl Iterator<Item = &'t Tensor>,
) -> Result<Option<String>> {
    for tensor in tensors {
        for piece in tensor.pieces() {
            let values = device.read_f32(piece)?;
            if values.iter().any(|v| !v.is_finite()) {
                return Ok(Some(tensor.name.clone()));
            }
        }
    }
    Ok(None)
}

/// Σ v² over all values of these tensors.
fn sum_of_squares<'t>(
    device: &mut dyn Device,
    tensors: impl Iterator<Item = &'t Tensor>,
) -> Result<f64> {
    let mut sum = 0.0;
    for piece in tensors.flat_map(Tensor::pieces) {
        let values = device.read_f32(piece)?;
        sum += values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    }
    Ok(sum)
}

/// Reads trained parameters from the device, after `step` steps.
///
/// # Errors
/// `Error::NotFinite` if one of them is NaN or infinite; every error of the device.
pub(super) fn finite_weights(
    device: &mut dyn Device,
    trained: &[&Tensor],
    step: usize,
) -> Result<Weights> {
    let mut tensors = Vec::with_capacity(trained.len());
    for tensor in trained {
        let values: Vec<f32> = bytemuck::cast_vec(device.read_pieces(tensor.pieces())?);
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::NotFinite {
                step: step as u64,
                what: format!(
                    "tensor `{}` holds NaN or infinity; nothing is saved",
                    tensor.name
                ),
                help: "lower `.learning_rate`".into(),
            });
        }
        tensors.push(values);
    }
    Ok(Weights { tensors })
}
