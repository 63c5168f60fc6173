//! A complete model folder: config, weights and tokenizer that fit together.

use std::path::Path;

use super::{AdapterConfig, Config, TensorSource, Weights, adapter};
use crate::data::{Codec, Template};
use crate::error::Result;
use crate::storage::Folder;
use crate::tokenizer::{EndOfText, Tokenizer};

/// A model folder without its weights.
pub struct Outline {
    /// The contents of `config.json` and `generation_config.json`.
    pub config: Config,
    /// `None` for a folder without a tokenizer: such a model accepts only pre-tokenized data.
    pub tokenizer: Option<Tokenizer>,
    /// The tokens that end a text, decided from all these files.
    pub end: EndOfText,
}

/// A model as read from a folder.
pub struct Model {
    /// The model without its weights.
    pub outline: Outline,
    /// All parameters, in f32.
    pub weights: Weights,
}

impl Outline {
    /// Reads a Hugging Face GPT-2 folder without its weights.
    ///
    /// # Errors
    /// `Error::Io` for an unreadable file; `Error::File` for a missing or invalid file, and for a model that is
    /// not implemented.
    pub fn load(dir: &Path) -> Result<Outline> {
        let config = Config::load(dir)?;
        let mut tokenizer = match Tokenizer::exists(dir) {
            true => Some(Tokenizer::load(dir)?),
            false => None,
        };
        if let Some(tokenizer) = &mut tokenizer {
            tokenizer.fit(config.dims.vocab_size)?;
        }
        Ok(Outline::new(config, tokenizer))
    }

    /// Combines a config and a tokenizer, and decides which tokens end a text.
    pub fn new(config: Config, tokenizer: Option<Tokenizer>) -> Outline {
        let generation = config.generation.as_ref();
        let stops = generation.map_or(&[][..], |said| said.end_of_text.ids());
        let rows = config.dims.vocab_size;
        let end = EndOfText::decide(tokenizer.as_ref(), &config.end_of_text, stops, rows);
        Outline {
            config,
            tokenizer,
            end,
        }
    }

    /// The codec that turns texts into this model's token ids.
    pub fn codec<'a>(&'a self, template: &'a Template) -> Codec<'a> {
        Codec {
            tokenizer: self.tokenizer.as_ref(),
            end: &self.end,
            template,
            vocab_size: self.config.dims.vocab_size,
            n_positions: self.config.dims.n_positions,
        }
    }

    /// Notes about the files for the user, one sentence each.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        let tokenizer = self.tokenizer.iter().flat_map(|t| t.notes());
        tokenizer.chain(&self.end.notes).map(String::as_str)
    }

    /// Writes a complete model into a folder, as transformers loads it. The weights, in the order of
    /// [`params::table`](crate::model::params::table), are written last.
    ///
    /// # Errors
    /// `Error::Io` if a file cannot be written; `Error::File` if the tokenizer cannot be serialized.
    pub fn save(&self, folder: &mut dyn Folder, weights: &mut dyn TensorSource) -> Result<()> {
        if let Some(tokenizer) = &self.tokenizer {
            tokenizer.save(folder, self.config.dims.n_positions)?;
        }
        let mut config = self.config.clone();
        if let Some(end) = self.end.id {
            config.end_in(end);
        }
        super::save(folder, &config, weights)
    }

    /// Writes an adapter beside this model into a folder, as PEFT loads it, with the tokenizer. The weights, A
    /// `[in, rank]` and B `[rank, out]` of each layer with an adapter, are written last.
    ///
    /// # Errors
    /// As [`Outline::save`].
    pub fn save_adapter(
        &self,
        folder: &mut dyn Folder,
        config: &AdapterConfig,
        weights: &mut dyn TensorSource,
    ) -> Result<()> {
        if let Some(tokenizer) = &self.tokenizer {
            tokenizer.save(folder, self.config.dims.n_positions)?;
        }
        adapter::save(folder, config, &self.config.dims, weights)
    }
}

impl Model {
    /// Reads a Hugging Face GPT-2 folder.
    ///
    /// # Errors
    /// As [`Outline::load`], and `Error::Tensor` for a tensor that is missing or invalid.
    pub fn load(dir: &Path) -> Result<Model> {
        let outline = Outline::load(dir)?;
        let weights = Weights::load(dir, &outline.config.dims)?;
        Ok(Model { outline, weights })
    }
}
