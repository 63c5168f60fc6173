//! `adapter_config.json`, as PEFT writes it for LoRA.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::{ADAPTER_FILE, json_object};
use crate::bounded;
use crate::error::{Error, Result};
use crate::model::Targets;
use crate::model::params::Adapters;

/// Bound of the rank, far above every useful one: no product with a size of a model overflows.
pub const MAX_RANK: usize = 1 << 14;

/// Keys that decide what the adapter computes and are read here, or that decide nothing.
const KNOWN: [&str; 21] = [
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "ensure_weight_tying",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// Ways to begin that leave the base model as it is. After others (pissa, olora, corda, loftq) an adapter belongs to
/// changed base weights.
const HARMLESS_STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// The settings of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// Columns of A and rows of B.
    pub rank: usize,
    /// α: the product x · A · B is multiplied by α / rank.
    pub alpha: f64,
    /// Multiply by α / √rank instead (Kalajdzievski 2023, "rsLoRA").
    pub use_rslora: bool,
    /// The share of inputs of A that PEFT set to 0 in training; it is not applied here.
    pub dropout: f64,
    /// The linear layers with an adapter; `None` if only the file of the weights tells.
    pub targets: Option<Targets>,
    /// The model beside which the adapter was trained: a folder or a name of the hub.
    pub base: Option<String>,
    /// The revision of a model of the hub.
    pub revision: Option<String>,
}

impl AdapterConfig {
    /// Reads the file of the folder `dir`.
    ///
    /// # Errors
    /// `Error::File` if there is none, if it is not a LoRA's, or if it has a setting that is not implemented;
    /// `Error::Io` if it cannot be read.
    pub fn load(dir: &Path) -> Result<AdapterConfig> {
        let path = dir.join(ADAPTER_FILE);
        let bytes = bounded::read(&path, bounded::SETTINGS).map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Error::file(
                dir,
                format!("no adapter: there is no {ADAPTER_FILE}"),
                "give the folder that PEFT's save_pretrained or a run with `.lora_rank` has written",
            ),
            _ => Error::io("read", &path, e),
        })?;
        AdapterConfig::parse(&bytes, &path)
    }

    /// Parses the file's text. Errors name the file `origin`.
    ///
    /// # Errors
    /// `Error::File` as in [`AdapterConfig::load`].
    pub fn parse(bytes: &[u8], origin: &Path) -> Result<AdapterConfig> {
        let raw = json_object(bytes, origin)?;
        let keys = Keys { raw: &raw, origin };
        keys.refuse_others()?;
        let rank = keys.get("r").map_or(Some(8), Value::as_u64);
        let rank = rank.and_then(|rank| usize::try_from(rank).ok());
        let Some(rank) = rank.filter(|rank| (1..=MAX_RANK).contains(rank)) else {
            return Err(keys.unusable("r", &format!("no rank from 1 to {MAX_RANK}")));
        };
        let alpha = keys.get("lora_alpha").map_or(Some(8.0), Value::as_f64);
        let Some(alpha) = alpha.filter(|alpha| alpha.is_finite()) else {
            return Err(keys.unusable("lora_alpha", "no finite number"));
        };
        let text = |key: &str| keys.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(AdapterConfig {
            rank,
            alpha,
            use_rslora: keys.get("use_rslora").is_some_and(|v| *v == json!(true)),
            dropout: keys
                .get("lora_dropout")
                .and_then(Value::as_f64)
                .unwrap_or(0.0),
            targets: keys.targets()?,
            base: text("base_model_name_or_path"),
            revision: text("revision"),
        })
    }

    /// The factor of x · A · B.
    pub fn scale(&self) -> f32 {
        let rank = self.rank as f64;
        let divisor = match self.use_rslora {
            true => rank.sqrt(),
            false => rank,
        };
        (self.alpha / divisor) as f32
    }

    /// The adapters of a model's parameters.
    pub fn adapters(&self) -> Adapters {
        Adapters {
            rank: self.rank,
            scale: self.scale(),
            targets: self.targets.clone().unwrap_or_else(Targets::all),
        }
    }

    /// The file to write. Every key is as old as rsLoRA in PEFT, so that older versions read it too.
    pub(super) fn to_json(&self) -> Value {
        // PEFT declares α as a whole number, and reads any.
        let alpha = match self.alpha.fract() == 0.0 && self.alpha.abs() < 1e15 {
            true => json!(self.alpha as i64),
            false => json!(self.alpha),
        };
        let targets = self.targets.clone().unwrap_or_else(Targets::all);
        json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": self.base,
            "bias": "none",
            // transformers' Conv1D has the weight [in, out].
            "fan_in_fan_out": true,
            "inference_mode": true,
            "init_lora_weights": true,
            "layer_replication": null,
            "layers_pattern": null,
            "layers_to_transform": null,
            "loftq_config": {},
            "lora_alpha": alpha,
            "lora_dropout": 0.0,
            "megatron_config": null,
            "megatron_core": "megatron.core",
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.rank,
            "rank_pattern": {},
            "revision": self.revision,
            "target_modules": targets.names(),
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.use_rslora,
        })
    }
}

/// The keys of one file. As in PEFT, a key that is null counts as absent.
struct Keys<'a> {
    raw: &'a Map<String, Value>,
    origin: &'a Path,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.raw.get(key).filter(|value| !value.is_null())
    }

    fn unusable(&self, key: &str, what: &str) -> Error {
        let value = self.raw.get(key).unwrap_or(&Value::Null);
        let help = "give an adapter of plain LoRA, with what is not implemented switched off";
        Error::file(self.origin, format!("`{key}` is {value}: {what}"), help)
    }

    fn refuse_others(&self) -> Result<()> {
        if self.get("peft_type").and_then(Value::as_str) != Some("LORA") {
            return Err(self.unusable("peft_type", "read is \"LORA\" alone"));
        }
        if self.get("bias").is_some_and(|bias| bias != "none") {
            return Err(self.unusable("bias", "trained biases of an adapter are not implemented"));
        }
        let harmless = |start: &Value| match start {
            Value::Bool(_) => true,
            Value::String(name) => HARMLESS_STARTS.contains(&&name[..]),
            _ => false,
        };
        if self
            .get("init_lora_weights")
            .is_some_and(|start| !harmless(start))
        {
            let what = "such an adapter belongs to base weights that its start has changed";
            return Err(self.unusable("init_lora_weights", what));
        }
        let is_off = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(entries) => entries.is_empty(),
            Value::Array(entries) => entries.is_empty(),
            _ => false,
        };
        let mut others = self
            .raw
            .iter()
            .filter(|(key, _)| !KNOWN.contains(&&key[..]));
        match others.find(|(_, value)| !is_off(value)) {
            None => Ok(()),
            Some((key, _)) => Err(self.unusable(key, "this feature of PEFT is not implemented")),
        }
    }

    /// The layers that the file names; `None` if it does not name them one by one.
    fn targets(&self) -> Result<Option<Targets>> {
        let chosen = ["layers_to_transform", "exclude_modules"];
        let names = match self.get("target_modules") {
            Some(Value::Array(names)) if !chosen.iter().any(|key| self.get(key).is_some()) => names,
            // A pattern, or a choice among the layers.
            _ => return Ok(None),
        };
        let names = names.iter().map(|name| name.as_str().map(str::to_owned));
        match names.collect::<Option<Vec<_>>>().and_then(Targets::of) {
            Some(targets) => Ok(Some(targets)),
            None => Err(self.unusable(
                "target_modules",
                "adapters are implemented for c_attn, c_proj and c_fc",
            )),
        }
    }
}
