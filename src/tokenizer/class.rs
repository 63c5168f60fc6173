//! The class of a tokenizer: it decides by which rules of transformers the files are read.

use serde_json::Value;

use super::declared::Declarations;
use super::files::{self, Files};
use crate::bounded;
use crate::error::{Error, Result};

/// The second file that may name the tokenizer's class, after `tokenizer_config.json`.
const MODEL_CONFIG: &str = "config.json";
/// The key of the class in both files.
pub(super) const CLASS: &str = "tokenizer_class";
/// The default class of a model whose config.json is GPT-2's.
pub(super) const GPT2_CLASS: &str = "GPT2Tokenizer";
/// The roles that GPT-2's class gives to `<|endoftext|>`, unless a file says otherwise.
pub(super) const GPT2_ROLES: [&str; 3] = ["bos_token", "eos_token", "unk_token"];
/// The class that takes `tokenizer.json` as it is. [`PLAIN_CLASSES`] lists its names in transformers 4 and 5.
pub(super) const PLAIN_CLASS: &str = "PreTrainedTokenizerFast";
const PLAIN_CLASSES: [&str; 4] = [
    "PreTrainedTokenizer",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
    "PythonBackend",
];

/// How transformers reads a folder's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// GPT-2's tokenizer with the folder's vocabulary, merge rules and post-processor. Every other part of
    /// `tokenizer.json` is ignored.
    Gpt2,
    /// `tokenizer.json` as it is.
    AsWritten,
}

impl Class {
    /// The class that transformers chooses for a folder with a GPT-2 config.json.
    pub(super) fn of(
        files: &Files,
        declared: &Declarations,
        notes: &mut Vec<String>,
    ) -> Result<Class> {
        let in_tokenizer = declared.config.get(CLASS).and_then(Value::as_str);
        let in_model = model_config_class(files);
        let Some(name) = in_tokenizer.or(in_model.as_deref()) else {
            return Ok(Class::Gpt2);
        };
        if name.strip_suffix("Fast").unwrap_or(name) == GPT2_CLASS {
            return Ok(Class::Gpt2);
        }
        match (PLAIN_CLASSES.contains(&name), files.has(files::TOKENIZER)) {
            (true, true) => {}
            (true, false) => notes.push(format!(
                "the tokenizer is to be a {name}, which transformers reads from a tokenizer.json, and there \
                 is none: vocab.json and merges.txt are taken for GPT-2's"
            )),
            (false, true) => notes.push(format!(
                "the tokenizer is a {name}, whose own rules are not known here: tokenizer.json is taken as it is"
            )),
            (false, false) => {
                let by = in_tokenizer.map_or(MODEL_CONFIG, |_| files::CONFIG);
                return Err(Error::file(
                    &files.path(by),
                    format!(
                        "`{CLASS}` is {name}, whose rules are not known here, and there is no tokenizer.json"
                    ),
                    "load and save the tokenizer once with transformers, which writes tokenizer.json; or name \
                     GPT2Tokenizer, if it is GPT-2's",
                ));
            }
        }
        Ok(Class::AsWritten)
    }
}

/// The class in the model's config.json. The checkpoint's reader of config.json reports any other error in that
/// file.
fn model_config_class(files: &Files) -> Option<String> {
    let bytes = bounded::read(&files.path(MODEL_CONFIG), bounded::SETTINGS).ok()?;
    let config: Value = serde_json::from_slice(&bytes).ok()?;
    config.get(CLASS)?.as_str().map(str::to_owned)
}
