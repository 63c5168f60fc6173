//! How far the trained weights moved from the start, by a sample of them.

use crate::buffer::Buffer;
use crate::engine::Engine;
use crate::error::Result;
use crate::learner::Learner;
use crate::model::Tensor;
use crate::pretrained::{Adapter, Weights};

/// The most values of a tensor that are looked at: its first ones.
const SAMPLED: usize = 256;

/// A sample of the trained weights, with their values at the start.
pub(super) struct Movement {
    tensors: Vec<Sampled>,
}

struct Sampled {
    now: Buffer,
    start: Vec<f32>,
}

impl Sampled {
    fn of((tensor, start): (&Tensor, &Vec<f32>)) -> Option<Sampled> {
        let piece = tensor.pieces().next()?;
        let count = SAMPLED.min(piece.words).min(start.len());
        Some(Sampled {
            now: piece.first(count),
            start: start[..count].to_vec(),
        })
    }
}

impl Movement {
    /// Samples the weights that a learner trains: those of the adapter, if there is one, or of the model, as far as they
    /// have gradients. `start` and `adapter` have the values before the first step.
    pub fn of(learner: &Learner, start: &Weights, adapter: Option<&Adapter>) -> Movement {
        let weights = &learner.policy.weights.gpt2;
        let tensors = match adapter {
            Some(adapter) => {
                let trained = weights.adapters().zip(&adapter.tensors);
                trained.filter_map(Sampled::of).collect()
            }
            None => {
                let has_gradient = learner.grads.gpt2.iter().map(Option::is_some);
                let trained = weights.iter().zip(&start.tensors).zip(has_gradient);
                let trained = trained.filter_map(|(pair, trained)| trained.then_some(pair));
                trained.filter_map(Sampled::of).collect()
            }
        };
        Movement { tensors }
    }

    /// Mean |w − w₀| / mean |w₀| over the sample; `None` if all of it began as 0.
    ///
    /// # Errors
    /// Every error of the device.
    pub fn relative_change(&self, engine: &mut dyn Engine) -> Result<Option<f64>> {
        let mut tickets = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            tickets.push(engine.fetch(tensor.now)?);
        }
        let (mut moved, mut size) = (0.0, 0.0);
        for (tensor, ticket) in self.tensors.iter().zip(tickets) {
            let now = engine.collect(ticket)?;
            for (now, start) in now.into_iter().zip(&tensor.start) {
                moved += f64::from((f32::from_bits(now) - start).abs());
                size += f64::from(start.abs());
            }
        }
        Ok((size > 0.0).then(|| moved / size))
    }
}
