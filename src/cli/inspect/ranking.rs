//! The pairs whose rejected response a model finds much likelier than the chosen one.

use std::path::Path;

use gpt2_dpo::Result;
use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::data::Dataset;
use gpt2_dpo::pretrained::{Outline, Weights};
use gpt2_dpo::ranking;
use gpt2_dpo::tokenizer::Tokenizer;
use gpt2_dpo::words::counted;
use serde::Serialize;

use crate::cli::args::{self, DeviceArgs};
use crate::cli::progress::Progress;

/// The most pairs that are listed.
const NAMED: usize = 20;
/// The number of tokens shown of a listed response.
const BEGINNING: usize = 16;

/// A model's ranking of the pairs.
#[derive(Serialize)]
pub struct Ranked {
    /// The number of ranked pairs.
    pub pairs: usize,
    /// Pairs whose chosen response is likelier under the model.
    pub agrees: usize,
    /// Pairs whose rejected response is likelier under the model.
    pub against: usize,
    /// The pairs with the largest difference in favour of the rejected response, the largest first.
    pub most_against: Vec<Against>,
}

/// A pair whose rejected response is likelier than its chosen one.
#[derive(Serialize)]
pub struct Against {
    pub place: String,
    /// The mean token log-prob of the rejected response minus that of the chosen response, in nats.
    pub by: f64,
    /// The beginning of the chosen response.
    pub chosen: String,
    /// The beginning of the rejected response.
    pub rejected: String,
}

impl Ranked {
    /// Ranks the pairs of `data` with the model in `dir`.
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
        let mut progress = Progress::default();
        let mut tell = |done| progress.at("ranking", done, examples.len(), String::new());
        let found = ranking::preferences(
            engine.as_mut(),
            &dims,
            &weights,
            examples,
            batch_size,
            &mut tell,
        );
        progress.clear();
        let found = found?;
        args::say_notes(engine.as_mut());

        let agrees = found.iter().filter(|preference| **preference > 0.0).count();
        let mut against: Vec<_> = examples
            .iter()
            .zip(&found)
            .filter(|(_, preference)| **preference < 0.0)
            .collect();
        against.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let beginning = |ids: &[u32]| beginning(outline.tokenizer.as_ref(), ids);
        let most_against = against.iter().take(NAMED).map(|(example, preference)| {
            Ok(Against {
                place: example.place.to_string(),
                by: -**preference,
                chosen: beginning(&example.chosen)?,
                rejected: beginning(&example.rejected)?,
            })
        });
        Ok(Ranked {
            pairs: found.len(),
            agrees,
            against: against.len(),
            most_against: most_against.collect::<Result<_>>()?,
        })
    }
}

impl Ranked {
    /// A summary in one sentence.
    pub fn summary(&self) -> String {
        format!(
            "token by token, the model finds the chosen response likelier in {} of {}, the rejected one in {}",
            self.agrees,
            counted(self.pairs, "pair"),
            self.against
        )
    }
}

fn beginning(tokenizer: Option<&Tokenizer>, ids: &[u32]) -> Result<String> {
    let Some(tokenizer) = tokenizer else {
        return Ok(String::new());
    };
    let cut = ids.len().min(BEGINNING);
    let mut text = tokenizer.decode(&ids[..cut])?;
    if cut < ids.len() {
        text.push('…');
    }
    Ok(text)
}
