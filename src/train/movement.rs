//! How far the trained weights moved from the start, by a sample of them.

use crate::buffer::Buffer;
use crate::engine::Engine;
use crate::error::Result;
use crate::learner::Learner;
use crate::pretrained::Weights;

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

impl Movement {
    /// Samples the weights that a learner trains; `start` has the values before the first step.
    pub fn of(learner: &Learner, start: &Weights) -> Movement {
        let weights = learner.policy.weights.gpt2.iter();
        let gradients = learner.grads.gpt2.iter();
        let trained = weights.zip(gradients).zip(&start.tensors);
        let trained = trained.filter(|((_, gradient), _)| gradient.is_some());
        let sampled = trained.filter_map(|((tensor, _), start)| {
            let piece = tensor.pieces().next()?;
            let count = SAMPLED.min(piece.words).min(start.len());
            Some(Sampled {
                now: piece.first(count),
                start: start[..count].to_vec(),
            })
        });
        Movement {
            tensors: sampled.collect(),
        }
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
