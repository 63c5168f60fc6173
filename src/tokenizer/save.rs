//! Writes the tokenizer's files into the model folder that training produces.

use serde_json::{Value, json};

use super::Tokenizer;
use super::class::{Class, GPT2_CLASS, GPT2_ROLES, PLAIN_CLASS};
use super::files;
use crate::error::Result;
use crate::storage::Folder;

impl Tokenizer {
    /// Writes the tokenizer into a model folder. transformers' `AutoTokenizer` then computes the same
    /// ids from that folder. Writes all files that were read, chat templates included, and adds a
    /// `tokenizer.json` and a minimal `tokenizer_config.json` if they are missing. `max_length` is the model's
    /// longest sequence in tokens.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Io`] if a file cannot be written; [`crate::Error::File`] if the tokenizer cannot be
    /// serialized.
    pub fn save(&self, folder: &mut dyn Folder, max_length: usize) -> Result<()> {
        self.files.write(folder)?;
        if !self.files.has(files::TOKENIZER) {
            let json = self.inner.to_string(true);
            let json = json.map_err(|error| self.broken("serialize", &error))?;
            folder.write_bytes(files::TOKENIZER, json.as_bytes())?;
        }
        if !self.files.has(files::CONFIG) {
            let config = format!("{:#}\n", self.minimal_config(max_length));
            folder.write_bytes(files::CONFIG, config.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn minimal_config(&self, max_length: usize) -> Value {
        // `PreTrainedTokenizerFast` would also pass token types to the model, and GPT-2 adds their embeddings.
        // `model_input_names` prevents this.
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
