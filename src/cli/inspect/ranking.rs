//! The pairs that a model ranks most strongly the other way.

use std::path::Path;

use gpt2_dpo::Result;
use gpt2_dpo::checkpoint::{Outline, Weights};
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::data::Dataset;
use gpt2_dpo::ranking;
use serde::Serialize;

use crate::cli::args::{self, DeviceArgs};

/// Pairs named.
const NAMED: usize = 20;

/// How a model ranks the pairs.
#[derive(Serialize)]
pub struct Ranked {
    /// Pairs ranked.
    pub pairs: usize,
    /// Pairs whose chosen response it finds the likelier one.
    pub agrees: usize,
    /// The pairs that it ranks most strongly the other way, the strongest first.
    pub most_against: Vec<Against>,
}

/// A pair whose rejected response is the likelier one.
#[derive(Serialize)]
pub struct Against {
    pub place: String,
    /// Mean log-prob of the rejected response's tokens less that of the chosen one's, in nats.
    pub by: f64,
}

impl Ranked {
    /// By the model in `dir`.
    pub fn by(
        dir: &Path,
        outline: &Outline,
        data: &Dataset,
        device: &DeviceArgs,
    ) -> Result<Ranked> {
        let dims = outline.config.dims;
        let weights = Weights::load(dir, &dims)?;
        let mut engine = device.open()?;
        let batch_size = TrainConfig::default().batch_size;
        let examples = &data.examples;
        let found = ranking::preferences(engine.as_mut(), &dims, &weights, examples, batch_size)?;
        args::say_notes(engine.as_mut());
        let mut against: Vec<Against> = examples
            .iter()
            .zip(&found)
            .filter(|(_, preference)| **preference < 0.0)
            .map(|(example, preference)| Against {
                place: example.place.to_string(),
                by: -preference,
            })
            .collect();
        let agrees = found.iter().filter(|preference| **preference > 0.0).count();
        against.sort_by(|a, b| b.by.total_cmp(&a.by));
        against.truncate(NAMED);
        Ok(Ranked {
            pairs: found.len(),
            agrees,
            most_against: against,
        })
    }
}
