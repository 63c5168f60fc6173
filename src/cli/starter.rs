//! The built-in starter: a small GPT-2 with its preference pairs, made by `examples/make_starter`.

use std::path::Path;

use gpt2_dpo::Result;
use gpt2_dpo::config::TrainOptions;
use gpt2_dpo::model::Dims;
use gpt2_dpo::pretrained::{Config, Model, Outline, Weights};
use gpt2_dpo::tokenizer::Tokenizer;

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../examples/starter/", $name))
    };
}

/// The starter's name in messages and in the name of its output directory.
pub const NAME: &str = "starter";

/// A text of the starter's.
pub struct Text {
    /// Its path below `examples`, for messages.
    pub path: &'static str,
    pub text: &'static str,
}

/// The pairs that the starter is trained on.
pub const TRAIN: Text = Text {
    path: "starter/train.jsonl",
    text: include_str!("../../examples/starter/train.jsonl"),
};
/// Its held-out pairs.
pub const EVAL: Text = Text {
    path: "starter/eval.jsonl",
    text: include_str!("../../examples/starter/eval.jsonl"),
};
const RECIPE: Text = Text {
    path: "starter/train.toml",
    text: include_str!("../../examples/starter/train.toml"),
};

/// The starter's config and tokenizer, without weights.
pub fn outline() -> Result<Outline> {
    let config = Config::parse(file!("config.json"), Path::new("starter/config.json"))?;
    let tokenizer = file!("tokenizer.json");
    let tokenizer = Tokenizer::from_json(tokenizer, Path::new("starter/tokenizer.json"))?;
    Ok(Outline::new(config, Some(tokenizer)))
}

/// The starter's weights.
pub fn weights(dims: &Dims) -> Result<Weights> {
    let origin = Path::new("starter/model.safetensors");
    Weights::parse(file!("model.safetensors"), origin, dims)
}

/// The starter's model.
pub fn model() -> Result<Model> {
    let outline = outline()?;
    Ok(Model {
        weights: weights(&outline.config.dims)?,
        outline,
    })
}

/// Options that suit such a small model; the user's options override them.
pub fn recipe() -> Result<TrainOptions> {
    TrainOptions::parse(RECIPE.text, Path::new(RECIPE.path))
}
