//! A whole model directory: config, weights and tokenizer that fit together.

use std::path::Path;

use super::{Config, Weights};
use crate::data::{Codec, Template};
use crate::error::Result;
use crate::tokenizer::{EndOfText, Tokenizer};

/// What a model directory holds beside its weights.
pub struct Outline {
    /// What `config.json` and `generation_config.json` say.
    pub config: Config,
    /// `None` for a directory without one: only pre-tokenized data can be used with it.
    pub tokenizer: Option<Tokenizer>,
    /// What ends a text, by all of these.
    pub end: EndOfText,
}

/// A model as it is on disk.
pub struct Model {
    /// What is there beside the weights.
    pub outline: Outline,
    /// All parameters, in f32.
    pub weights: Weights,
}

impl Outline {
    /// Reads a Hugging Face GPT-2 directory but for its weights.
    ///
    /// # Errors
    /// `Error::Io`, `Error::File`: what is missing, unreadable or not GPT-2 as it is implemented here.
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

    /// From its parts.
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

    /// What turns texts into this model's ids.
    pub fn codec<'a>(&'a self, template: &'a Template) -> Codec<'a> {
        Codec {
            tokenizer: self.tokenizer.as_ref(),
            end: &self.end,
            template,
            vocab_size: self.config.dims.vocab_size,
            n_positions: self.config.dims.n_positions,
        }
    }

    /// What a user has to know of the files, a sentence each.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        let tokenizer = self.tokenizer.iter().flat_map(|t| t.notes());
        tokenizer.chain(&self.end.notes).map(String::as_str)
    }

    /// Writes a whole model directory in a form that transformers loads; the weights come last.
    ///
    /// # Errors
    /// `Error::Io`; `Error::File` if the tokenizer cannot be serialized.
    ///
    /// # Panics
    /// If `weights` are not those of a model of these dims.
    pub fn save(&self, dir: &Path, weights: &Weights) -> Result<()> {
        if let Some(tokenizer) = &self.tokenizer {
            tokenizer.save(dir, self.config.dims.n_positions)?;
        }
        let mut config = self.config.clone();
        if let Some(end) = self.end.id {
            config.end_in(end);
        }
        super::save(dir, &config, weights)
    }
}

impl Model {
    /// Reads a Hugging Face GPT-2 directory.
    ///
    /// # Errors
    /// As [`Outline::load`], and `Error::Tensor`.
    pub fn load(dir: &Path) -> Result<Model> {
        let outline = Outline::load(dir)?;
        let weights = Weights::load(dir, &outline.config.dims)?;
        Ok(Model { outline, weights })
    }
}
