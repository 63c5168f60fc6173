//! A model on disk, as Hugging Face lays it out: `config.json` and `model.safetensors`.
//!
//! - [`Config`]: what a `config.json` says, and the refusal of what is not implemented here
//! - [`GenerationConfig`]: what a `generation_config.json` says
//! - [`Weights`]: all parameters in f32, in the order of [`crate::model::params::table`]
//! - [`initial`]: weights for training from scratch
//! - [`save`]: a folder that transformers loads as a `GPT2LMHeadModel`; [`Outline::save`]: with the tokenizer
//! - [`fingerprint`]: one name for equal weights
//! - [`Model`]: config, weights and tokenizer together; [`Outline`]: the same without the weights
//! - [`claim`] and [`write_atomically`]: how a run takes an output folder and writes into it

mod config;
mod foreign;
mod generation;
mod initial;
mod model;
mod output;
mod save;
mod source;
mod weights;

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::stand_in;

pub use config::Config;
pub use generation::GenerationConfig;
pub use initial::initial;
pub use model::{Model, Outline};
pub use output::{abandon, claim, run_files, write_atomically};
pub use save::save;
pub use weights::{Weights, fingerprint};

/// The file of all weights; a folder that holds it holds a whole model, for it is written last.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// A run's metrics, a JSON object a line.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// What was found in a run's data.
pub const DATA_FILE: &str = "data.json";

/// A run's options, as the command line takes them in a file.
pub const RUN_FILE: &str = "run.toml";

/// When which kernel ran, of a run with `profile`.
pub const TRACE_FILE: &str = "trace.json";

/// Which shard holds which tensor, of weights in several files.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// What peft writes beside an adapter's weights.
const ADAPTER_FILE: &str = "adapter_config.json";

const CONFIG_FILE: &str = "config.json";
const GENERATION_FILE: &str = "generation_config.json";

/// Before the names of a `GPT2LMHeadModel`; a bare `GPT2Model` is saved without.
const PREFIX: &str = "transformer.";

/// The keys of a JSON file, in its order; `origin` is its name in errors.
fn json_object(bytes: &[u8], origin: &Path) -> Result<Map<String, Value>> {
    stand_in::refuse(origin, bytes)?;
    serde_json::from_slice(bytes).map_err(|e| {
        Error::file(
            origin,
            format!("not a JSON object: {e}"),
            "download the file again, or copy it from the model it belongs to",
        )
    })
}

/// A GPT-2 small enough for tests, with every dimension a different number.
#[cfg(test)]
fn tiny_dims() -> crate::model::Dims {
    crate::model::Dims {
        vocab_size: 11,
        n_positions: 7,
        n_embd: 6,
        n_layer: 2,
        n_head: 3,
        n_inner: 10,
        epsilon: 1e-5,
    }
}
