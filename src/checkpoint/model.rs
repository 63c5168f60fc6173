//! A whole model directory: config, weights and tokenizer that fit together.

use std::path::Path;

use super::{Config, Weights};
use crate::data;
use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// A model as it is on disk.
pub struct Model {
    /// What `config.json` says.
    pub config: Config,
    /// All parameters, in f32.
    pub weights: Weights,
    /// `None` for a directory without one: only pre-tokenized data can be used with it.
    pub tokenizer: Option<Tokenizer>,
}

/// What a model directory holds beside its weights.
///
/// # Errors
/// `Error::Io`, `Error::File`: as [`Model::load`].
pub fn outline(dir: &Path) -> Result<(Config, Option<Tokenizer>)> {
    let config = Config::load(dir)?;
    if !Tokenizer::exists(dir) {
        return Ok((config, None));
    }
    let tokenizer = Tokenizer::load(dir)?;
    data::check_vocabulary(&tokenizer, &config.dims, dir)?;
    Ok((config, Some(tokenizer)))
}

impl Model {
    /// Reads a Hugging Face GPT-2 directory.
    ///
    /// # Errors
    /// `Error::Io`, `Error::File`, `Error::Tensor`: what is missing, unreadable or not GPT-2 as it is
    /// implemented here, and a tokenizer with more tokens than the model has embeddings.
    pub fn load(dir: &Path) -> Result<Model> {
        let (config, tokenizer) = outline(dir)?;
        let weights = Weights::load(dir, &config.dims)?;
        Ok(Model {
            config,
            weights,
            tokenizer,
        })
    }

    /// The token that ends a response: the config's, else the tokenizer's.
    pub fn eos(&self) -> Option<u32> {
        self.config.eos(self.tokenizer.as_ref())
    }
}

/// Writes a whole model directory in a form that transformers loads; the weights come last.
///
/// # Errors
/// `Error::Io`; `Error::File` if the tokenizer cannot be serialized.
///
/// # Panics
/// If `weights` are not those of a model of `config.dims`.
pub fn save_whole(
    dir: &Path,
    (config, tokenizer): (&Config, Option<&Tokenizer>),
    weights: &Weights,
) -> Result<()> {
    if let Some(tokenizer) = tokenizer {
        tokenizer.save(dir, config.dims.n_positions)?;
    }
    super::save(dir, config, weights)
}
