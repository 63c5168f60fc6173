//! A model on disk in Hugging Face's layout: `config.json` and `model.safetensors`.
//!
//! - [`Config`]: the contents of `config.json`; refuses models that are not implemented
//! - [`GenerationConfig`]: the contents of `generation_config.json`
//! - [`Weights`]: all parameters in f32, in the order of [`crate::model::params::table`]
//! - [`initial`]: weights for training from scratch
//! - [`save`]: writes a folder that transformers loads as a `GPT2LMHeadModel`; [`Outline::save`] adds the
//!   tokenizer
//! - [`Adapter`]: a low-rank adapter, as PEFT saves it
//! - [`fingerprint`]: a hash that is equal for equal weights
//! - [`Model`]: config, weights and tokenizer together; [`Outline`]: a model without its weights

pub mod adapter;
mod config;
mod foreign;
mod generation;
mod initial;
mod model;
mod save;
mod source;
mod weights;

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::stand_in;

pub(crate) use adapter::read_adapter;
pub use adapter::{ADAPTER_WEIGHTS_FILE, Adapter, AdapterConfig};
pub use config::Config;
pub use generation::GenerationConfig;
pub use initial::initial;
pub use model::{Model, Outline};
pub(crate) use save::{NamedShape, write_tensors};
pub use save::{TensorSource, save};
pub(crate) use weights::read_tensors;
pub use weights::{Weights, fingerprint};

/// The file of all weights. It is written last, so a folder with this file holds a complete model.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// The index of weights in several files: it maps each tensor to its shard.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// The file that peft writes beside an adapter's weights.
pub(crate) const ADAPTER_FILE: &str = "adapter_config.json";

/// The file of the model's sizes.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The file of the settings for generation.
pub(crate) const GENERATION_FILE: &str = "generation_config.json";

/// The prefix of tensor names in a saved `GPT2LMHeadModel`. A saved `GPT2Model` has no prefix.
const PREFIX: &str = "transformer.";

/// The keys of a JSON file in the file's order. Errors name the file `origin`.
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

/// A GPT-2 small enough for tests. Every dimension is a different number.
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
