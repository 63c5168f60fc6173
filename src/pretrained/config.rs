//! `config.json` of a Hugging Face GPT-2.
//!
//! The implementation supports the standard GPT-2: learned positions, layernorm before each layer, GELU by
//! tanh, attention scaled by 1/√head_dim, and a head tied to `wte`. Any other setting is refused with the name
//! of its key: it would train a wrong model.
//!
//! Dropout (`resid_pdrop`, `embd_pdrop`, `attn_pdrop`) is ignored. Training runs without dropout, so that
//! policy and reference are compared on the same function.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::generation::{BOS, EOS, token_id};
use super::{CONFIG_FILE, GenerationConfig, foreign};
use crate::bounded;
use crate::error::{Error, Result};
use crate::model::{Dims, params};
use crate::tokenizer::ConfigIds;

/// The widest attention head that the attention kernels support.
const MAX_HEAD_DIM: usize = 256;
/// Bounds of one size: no product of two overflows, and the parameter table stays small.
const MAX_SIZE: u64 = 1 << 24;
const MAX_LAYERS: u64 = 1024;
/// Bound of all sizes together: the bytes of several copies of all parameters are counted in `usize`.
const MAX_PARAMETERS: u128 = if usize::BITS < 64 { 1 << 28 } else { 1 << 40 };
/// `<|endoftext|>` of GPT-2's vocabulary, transformers' default for an absent `eos_token_id`.
const GPT2_EOS: u32 = 50256;

/// The model class in every saved config, whichever class was read.
const ARCHITECTURE: &str = "GPT2LMHeadModel";

/// The contents of a `config.json` and of the `generation_config.json` beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The sizes of the model.
    pub dims: Dims,
    /// The value of `eos_token_id`. Ids read from a file are below `dims.vocab_size`.
    pub end_of_text: ConfigIds,
    /// `None` for a folder without a `generation_config.json`.
    pub generation: Option<GenerationConfig>,
    /// The whole file, so that saving keeps every key.
    raw: Map<String, Value>,
}

impl Config {
    /// Reads `config.json` and `generation_config.json` of the model folder `dir`.
    ///
    /// # Errors
    /// `Error::Io` if a file cannot be read; `Error::File` if `config.json` is absent, is not a GPT-2's, or has
    /// a setting that is not implemented.
    pub fn load(dir: &Path) -> Result<Config> {
        let path = dir.join(CONFIG_FILE);
        let bytes =
            bounded::read(&path, bounded::SETTINGS).map_err(|source| match source.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => {
                    foreign::no_model(dir, CONFIG_FILE)
                }
                _ => Error::io("read", &path, source),
            })?;
        Ok(Config {
            generation: GenerationConfig::load(dir)?,
            ..Config::parse(&bytes, &path)?
        })
    }

    /// The token that ends a text: the first id of `config.json`. Without the key, transformers' default, if
    /// the vocabulary has that id.
    pub fn eos_token_id(&self) -> Option<u32> {
        match &self.end_of_text {
            ConfigIds::Absent => Some(GPT2_EOS).filter(|id| is_token(*id, self.dims.vocab_size)),
            said => said.ids().first().copied(),
        }
    }

    /// Records that the model's texts end in `id`, so that programs that load the saved model stop there.
    /// Follows transformers' `Trainer` (`align_special_tokens`, 5.23.0): a list keeps all its ids, and a single
    /// id of `config.json` is replaced.
    pub fn end_in(&mut self, id: u32) {
        if !self.end_of_text.ids().contains(&id) {
            self.end_of_text = match self.raw.get(EOS) {
                Some(Value::Array(_)) => self.end_of_text.with(id),
                _ => ConfigIds::Ids(vec![id]),
            };
            self.raw.insert(EOS.to_owned(), self.end_of_text.to_json());
        }
        if let Some(generation) = &mut self.generation {
            generation.stop_at(id);
        }
    }

    /// Parses the text of a `config.json`, without a `generation_config.json`. Errors name the file `origin`.
    ///
    /// # Errors
    /// `Error::File` as in [`Config::load`].
    pub fn parse(bytes: &[u8], origin: &Path) -> Result<Config> {
        let raw = super::json_object(bytes, origin)?;
        let keys = Keys {
            raw: &raw,
            path: origin,
        };
        keys.refuse_other_models()?;
        let dims = keys.dims()?;
        let end_of_text = keys.end_of_text(dims.vocab_size)?;
        Ok(Config {
            dims,
            end_of_text,
            generation: None,
            raw,
        })
    }

    /// The config of a new model. `dims` are not checked.
    pub fn new(dims: &Dims, eos_token_id: Option<u32>) -> Config {
        // The shortest decimal that parses to this f32: 1e-5, not 9.999999747378752e-6.
        let epsilon = dims.epsilon.to_string().parse::<f64>();
        let raw = [
            ("architectures", json!([ARCHITECTURE])),
            ("model_type", json!("gpt2")),
            ("activation_function", json!("gelu_new")),
            ("vocab_size", json!(dims.vocab_size)),
            ("n_positions", json!(dims.n_positions)),
            ("n_embd", json!(dims.n_embd)),
            ("n_layer", json!(dims.n_layer)),
            ("n_head", json!(dims.n_head)),
            ("n_inner", json!(dims.n_inner)),
            (
                "layer_norm_epsilon",
                json!(epsilon.unwrap_or(dims.epsilon.into())),
            ),
            ("tie_word_embeddings", json!(true)),
            // Without an id the value is null: for an absent key, transformers assumes GPT-2's 50256.
            (BOS, json!(eos_token_id)),
            (EOS, json!(eos_token_id)),
        ];
        let end_of_text = eos_token_id.map_or(ConfigIds::Null, |id| ConfigIds::Ids(vec![id]));
        Config {
            dims: *dims,
            generation: None,
            end_of_text,
            raw: raw
                .map(|(key, value)| (key.to_owned(), value))
                .into_iter()
                .collect(),
        }
    }

    /// The `config.json` to write beside the f32 weights of a language model: the file as read, with two
    /// changes. The type becomes float32, because transformers would round the weights to another type. The
    /// class becomes the language model, because a bare `GPT2Model` has no head.
    pub(super) fn to_json(&self) -> Value {
        let mut raw = self.raw.clone();
        for key in ["dtype", "torch_dtype"] {
            if let Some(value) = raw.get_mut(key) {
                *value = json!("float32");
            }
        }
        raw.insert("architectures".to_owned(), json!([ARCHITECTURE]));
        Value::Object(raw)
    }

    /// The `generation_config.json` to write: the file as read; without one, a minimal file. `None` if there is
    /// no file and no end-of-text token.
    pub(super) fn generation_json(&self) -> Option<Value> {
        if let Some(generation) = &self.generation {
            return Some(generation.to_json());
        }
        let eos = self.eos_token_id()?;
        let bos = self
            .raw
            .get(BOS)
            .filter(|bos| bos.is_null() || token_id(bos).is_some());
        let bos = bos.cloned().unwrap_or(json!(eos));
        let all = match &self.end_of_text {
            ConfigIds::Absent => json!(eos),
            said => said.to_json(),
        };
        Some(json!({ BOS: bos, EOS: all }))
    }
}

/// How many parameters a model of these dims has. The blocks are alike, so that one is counted.
fn parameters(dims: &Dims) -> u128 {
    let count = |n_layer| {
        let table = params::table(&Dims { n_layer, ..*dims });
        let counts = table.iter().map(|p| p.rows as u128 * p.cols as u128);
        counts.sum::<u128>()
    };
    let rest = count(0);
    rest + dims.n_layer as u128 * (count(1) - rest)
}

fn is_token(id: u32, vocab_size: usize) -> bool {
    (id as usize) < vocab_size
}

/// The keys of one file, with the file's path for errors. As in transformers, a key that is null counts as
/// absent, except where a comment says otherwise.
struct Keys<'a> {
    raw: &'a Map<String, Value>,
    path: &'a Path,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.raw.get(key).filter(|value| !value.is_null())
    }

    fn refuse_other_models(&self) -> Result<()> {
        match self.get("model_type") {
            None => return Err(self.missing("model_type", "of a GPT-2 it is \"gpt2\"")),
            Some(Value::String(name)) if name == "gpt2" => {}
            Some(value) => {
                return Err(Error::file(
                    self.path,
                    format!("`model_type` is {value}, and this program trains GPT-2 alone"),
                    "give a model whose model_type is \"gpt2\": openai-community/gpt2, gpt2-medium, \
                     gpt2-large, gpt2-xl, or what was trained from one of them",
                ));
            }
        }
        if let Some(how) = self.get("quantization_config") {
            let method = how["quant_method"]
                .as_str()
                .unwrap_or("`quantization_config`");
            return Err(Error::file(
                self.path,
                format!("the model is quantised ({method}), which is not implemented"),
                "take the model that it was quantised from, in F32, F16 or BF16",
            ));
        }
        let usual = [
            (
                "activation_function",
                // Two names of the same function.
                vec![json!("gelu_new"), json!("gelu_pytorch_tanh")],
                "another activation function than GPT-2's gelu_new",
            ),
            (
                "scale_attn_weights",
                vec![json!(true)],
                "attention without its scale of 1/√head_dim",
            ),
            (
                "scale_attn_by_inverse_layer_idx",
                vec![json!(false)],
                "attention scaled by 1/layer, as the GPT-2s of Stanford's Mistral have it",
            ),
            (
                "add_cross_attention",
                vec![json!(false)],
                "attention to an encoder",
            ),
            (
                "tie_word_embeddings",
                vec![json!(true)],
                "a head that is not wte",
            ),
            ("pruned_heads", vec![json!({})], "attention heads cut out"),
        ];
        usual
            .into_iter()
            .try_for_each(|(key, usual, otherwise)| self.only(key, &usual, otherwise))
    }

    fn dims(&self) -> Result<Dims> {
        let n_positions = match self.get("n_positions") {
            Some(_) => "n_positions",
            None if self.get("n_ctx").is_some() => "n_ctx", // its name in older files
            None => "n_positions",
        };
        let n_embd = self.size("n_embd", MAX_SIZE)?;
        let n_inner = match self.get("n_inner") {
            Some(_) => self.size("n_inner", MAX_SIZE)?,
            None => 4 * n_embd,
        };
        let dims = Dims {
            vocab_size: self.size("vocab_size", MAX_SIZE)?,
            n_positions: self.size(n_positions, MAX_SIZE)?,
            n_embd,
            n_layer: self.size("n_layer", MAX_LAYERS)?,
            n_head: self.size("n_head", MAX_SIZE)?,
            n_inner,
            epsilon: self.epsilon()?,
        };
        if !n_embd.is_multiple_of(dims.n_head) {
            return Err(Error::file(
                self.path,
                format!("`n_embd` is {n_embd} and `n_head` is {}", dims.n_head),
                "supported: an n_embd that n_head divides",
            ));
        }
        if dims.head_dim() > MAX_HEAD_DIM {
            return Err(Error::file(
                self.path,
                format!(
                    "`n_embd` is {n_embd} and `n_head` is {}: a head is {} wide",
                    dims.n_head,
                    dims.head_dim()
                ),
                format!("supported: heads of up to {MAX_HEAD_DIM}"),
            ));
        }
        let parameters = parameters(&dims);
        if parameters > MAX_PARAMETERS {
            return Err(Error::file(
                self.path,
                format!(
                    "`vocab_size` {}, `{n_positions}` {}, `n_embd` {n_embd}, `n_layer` {} and `n_inner` \
                     {n_inner} make {parameters} parameters",
                    dims.vocab_size, dims.n_positions, dims.n_layer
                ),
                format!(
                    "supported: up to {MAX_PARAMETERS} parameters; gpt2-xl has 1557611200, so correct these \
                     sizes, or copy config.json from the model that the weights belong to"
                ),
            ));
        }
        Ok(dims)
    }

    fn epsilon(&self) -> Result<f32> {
        let Some(value) = self.get("layer_norm_epsilon") else {
            return Ok(1e-5);
        };
        match value.as_f64().map(|number| number as f32) {
            Some(epsilon) if epsilon > 0.0 && epsilon.is_finite() => Ok(epsilon),
            _ => Err(self.refusal("layer_norm_epsilon", value, "a positive number")),
        }
    }

    fn end_of_text(&self, vocab_size: usize) -> Result<ConfigIds> {
        let value = self.raw.get(EOS).unwrap_or(&Value::Null);
        let Some(said) = ConfigIds::read(self.raw) else {
            return Err(self.refusal(EOS, value, "a token id, a list of them, or null"));
        };
        if said.ids().iter().all(|&id| is_token(id, vocab_size)) {
            return Ok(said);
        }
        Err(Error::file(
            self.path,
            format!(
                "`{EOS}` is {value}, and the model has the tokens 0 to {}",
                vocab_size - 1
            ),
            "give the id of the token that ends a text, as the model's tokenizer has it, or null",
        ))
    }

    fn size(&self, key: &str, max: u64) -> Result<usize> {
        let Some(value) = self.get(key) else {
            return Err(self.missing(key, "no size of the model is guessed"));
        };
        match value.as_u64() {
            Some(size) if (1..=max).contains(&size) => Ok(size as usize),
            _ => Err(self.refusal(key, value, &format!("a whole number from 1 to {max}"))),
        }
    }

    /// Refuses every value of `key` except the `usual` values; an absent key has a usual value. `otherwise`
    /// says what another value means. The error must not advise to change the key: the model would load and
    /// compute another function than the one it was trained with.
    fn only(&self, key: &str, usual: &[Value], otherwise: &str) -> Result<()> {
        match self.get(key) {
            Some(value) if !usual.contains(value) => Err(Error::file(
                self.path,
                format!("`{key}` is {value}: {otherwise}, which is not implemented"),
                "use another model: this one was trained so, and a config.json that says otherwise would \
                 not change its weights",
            )),
            _ => Ok(()),
        }
    }

    fn refusal(&self, key: &str, value: &Value, supported: &str) -> Error {
        Error::file(
            self.path,
            format!("`{key}` is {value}, which is not supported"),
            format!("supported: {supported}"),
        )
    }

    fn missing(&self, key: &str, why: &str) -> Error {
        Error::file(
            self.path,
            format!("`{key}` is missing"),
            format!("add it to the file, as in the model it belongs to: {why}"),
        )
    }
}

#[cfg(test)]
mod tests;
