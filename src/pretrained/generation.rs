//! `generation_config.json`: settings of text generation, and the tokens that end a text.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::GENERATION_FILE;
use crate::bounded;
use crate::error::{Error, Result};
use crate::tokenizer::ConfigIds;

pub(super) const EOS: &str = "eos_token_id";
pub(super) const BOS: &str = "bos_token_id";
const PAD: &str = "pad_token_id";

impl ConfigIds {
    /// The token ids, in the order of the file.
    pub fn ids(&self) -> &[u32] {
        match self {
            ConfigIds::Ids(ids) => ids,
            ConfigIds::Absent | ConfigIds::Null => &[],
        }
    }

    /// Reads the key `eos_token_id` of `raw`. `None` if the value is neither an id, nor a list of ids, nor
    /// null.
    pub(super) fn read(raw: &Map<String, Value>) -> Option<ConfigIds> {
        let values = match raw.get(EOS) {
            None => return Some(ConfigIds::Absent),
            Some(Value::Null) => return Some(ConfigIds::Null),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let mut ids = Vec::new();
        for value in values {
            let id = token_id(value)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Some(if ids.is_empty() {
            ConfigIds::Null
        } else {
            ConfigIds::Ids(ids)
        })
    }

    /// Adds `id` in the first place, unless it is among the ids already.
    pub(super) fn with(&self, id: u32) -> ConfigIds {
        let mut ids = self.ids().to_vec();
        if !ids.contains(&id) {
            ids.insert(0, id);
        }
        ConfigIds::Ids(ids)
    }

    /// The value for a file: a number if there is one id, else a list or null.
    pub(super) fn to_json(&self) -> Value {
        match self.ids() {
            [] => Value::Null,
            [only] => json!(only),
            ids => json!(ids),
        }
    }
}

/// The contents of a `generation_config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// `eos_token_id`. The file may name ids that the model does not have.
    pub end_of_text: ConfigIds,
    /// `bos_token_id`.
    pub bos_token_id: Option<u32>,
    /// `pad_token_id`.
    pub pad_token_id: Option<u32>,
    /// The whole file, so that saving keeps every key.
    raw: Map<String, Value>,
}

impl GenerationConfig {
    /// Reads `generation_config.json` of the model folder `dir`. `None` if the file does not exist.
    ///
    /// # Errors
    /// `Error::Io` if the file cannot be read; `Error::File` if it is not a JSON object, or if a token id is
    /// invalid.
    pub fn load(dir: &Path) -> Result<Option<GenerationConfig>> {
        let path = dir.join(GENERATION_FILE);
        match bounded::read(&path, bounded::SETTINGS) {
            Ok(bytes) => GenerationConfig::parse(&bytes, &path).map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", path, e)),
        }
    }

    /// Parses the text of a `generation_config.json`. Errors name the file `origin`.
    ///
    /// # Errors
    /// `Error::File` as in [`GenerationConfig::load`].
    pub fn parse(bytes: &[u8], origin: &Path) -> Result<GenerationConfig> {
        let raw = super::json_object(bytes, origin)?;
        let refused = |key: &str, expected: &str| {
            Error::file(
                origin,
                format!("`{key}` is {}, which is not {expected}", raw[key]),
                "correct it, or remove the file: it is not needed",
            )
        };
        let id = |key: &str| match raw.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match token_id(value) {
                Some(id) => Ok(Some(id)),
                None => Err(refused(key, "a token id or null")),
            },
        };
        Ok(GenerationConfig {
            end_of_text: ConfigIds::read(&raw)
                .ok_or_else(|| refused(EOS, "a token id, a list of them or null"))?,
            bos_token_id: id(BOS)?,
            pad_token_id: id(PAD)?,
            raw,
        })
    }

    /// Makes `id` one of the tokens at which generation stops.
    pub(super) fn stop_at(&mut self, id: u32) {
        if !self.end_of_text.ids().contains(&id) {
            self.end_of_text = self.end_of_text.with(id);
            self.raw.insert(EOS.to_owned(), self.end_of_text.to_json());
        }
    }

    /// The file as read, with the change of [`GenerationConfig::stop_at`].
    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.raw.clone())
    }
}

pub(super) fn token_id(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn parse(value: &Value) -> Result<GenerationConfig> {
        let bytes = value.to_string();
        GenerationConfig::parse(bytes.as_bytes(), Path::new("generation_config.json"))
    }

    #[test]
    fn the_end_of_text_is_a_number_a_list_or_none() {
        let read = |value| {
            parse(&json!({ "eos_token_id": value }))
                .unwrap()
                .end_of_text
        };
        assert_eq!(read(json!(7)), ConfigIds::Ids(vec![7]));
        assert_eq!(read(json!([7, 3, 7])), ConfigIds::Ids(vec![7, 3]));
        assert_eq!(read(json!([])), ConfigIds::Null);
        assert_eq!(read(Value::Null), ConfigIds::Null);
        assert_eq!(parse(&json!({})).unwrap().end_of_text, ConfigIds::Absent);
    }

    #[test]
    fn ids_that_are_none_are_refused_by_key() {
        for (key, value, expected) in [
            ("eos_token_id", json!("</s>"), "a list of them or null"),
            ("eos_token_id", json!([1, -1]), "a list of them or null"),
            ("bos_token_id", json!([1]), "a token id or null"),
            ("pad_token_id", json!(1.5), "a token id or null"),
        ] {
            let text = parse(&json!({ key: value })).unwrap_err().to_string();
            let what = format!("generation_config.json: `{key}` is {value}, which is not");
            assert!(text.contains(&what), "{text}");
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn every_key_is_kept() {
        let published = json!({
            "_from_model_config": true, "do_sample": true, "temperature": 0.7, "top_k": 40,
            "bos_token_id": 1, "eos_token_id": [2, 5], "pad_token_id": 3,
            "suppress_tokens": [4], "transformers_version": "5.23.0", "max_length": null
        });
        let config = parse(&published).unwrap();
        assert_eq!(config.to_json(), published);
        assert_eq!(
            (config.bos_token_id, config.pad_token_id),
            (Some(1), Some(3))
        );
    }

    #[test]
    fn stopping_at_another_token_keeps_the_others() {
        for (before, after) in [
            (json!([2, 5]), json!([7, 2, 5])),
            (json!(2), json!([7, 2])),
            (json!([2, 7]), json!([2, 7])),
            (json!([7]), json!([7])),
            (Value::Null, json!(7)),
        ] {
            let mut config = parse(&json!({ "eos_token_id": before, "top_k": 4 })).unwrap();
            config.stop_at(7);
            assert_eq!(
                config.to_json(),
                json!({ "eos_token_id": after, "top_k": 4 })
            );
            assert_eq!(parse(&config.to_json()).unwrap(), config);
        }
    }

    #[test]
    fn a_folder_need_not_have_the_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(GenerationConfig::load(dir.path()).unwrap(), None);
        fs::write(dir.path().join(GENERATION_FILE), "{").unwrap();
        let text = GenerationConfig::load(dir.path()).unwrap_err().to_string();
        assert!(
            text.contains("generation_config.json: not a JSON object"),
            "{text}"
        );
    }
}
