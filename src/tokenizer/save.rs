//! The tokenizer's part of a model folder that training leaves behind.

use std::path::Path;

use serde_json::{Value, json};

use super::Tokenizer;
use super::class::{Class, GPT2_CLASS, GPT2_ROLES, PLAIN_CLASS};
use super::files::{self, write};
use crate::error::Result;

impl Tokenizer {
    /// Writes the tokenizer into the model directory `dir`, so that transformers' `AutoTokenizer`
    /// finds there what this tokenizer computes: the files it was read from, chat templates among them, plus
    /// `tokenizer.json` and a minimal `tokenizer_config.json` where those were missing.
    /// `max_length` is the model's longest sequence in tokens.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Io`]; [`crate::Error::File`] if the tokenizer cannot be serialized.
    pub fn save(&self, dir: &Path, max_length: usize) -> Result<()> {
        self.files.write(dir)?;
        if !self.files.has(files::TOKENIZER) {
            let json = self.inner.to_string(true);
            let json = json.map_err(|error| self.broken("serialize", &error))?;
            write(&dir.join(files::TOKENIZER), json.as_bytes())?;
        }
        if !self.files.has(files::CONFIG) {
            let config = format!("{:#}\n", self.minimal_config(max_length));
            write(&dir.join(files::CONFIG), config.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn minimal_config(&self, max_length: usize) -> Value {
        // The class that takes a tokenizer.json as it is would also hand the model token types, which GPT-2
        // adds to its embeddings, so the inputs are named.
        let class = match self.class {
            Class::Gpt2 => GPT2_CLASS,
            Class::AsWritten => PLAIN_CLASS,
        };
        let mut config = json!({
            "tokenizer_class": class,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": max_length,
        });
        for role in GPT2_ROLES {
            if let Some(named) = self.named.iter().find(|named| named.name == role) {
                config[role] = named.text.as_str().into();
            }
        }
        config
    }
}
