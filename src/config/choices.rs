//! Options with a few values.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The loss, under TRL's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// DPO
    Sigmoid,
    /// supervised: the chosen answer's mean negative log-likelihood
    Sft,
}

/// Which parameters decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DecayName {
    /// all, as torch.optim.AdamW does
    All,
    /// not biases and layernorms, as transformers' Trainer does
    Matrices,
}

/// Where the reference's log-probs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ReferenceMode {
    /// computed once before training, and kept on disk
    Cached,
    /// computed beside the policy from a frozen copy
    OnTheFly,
}

/// What conversations are put into, as `--chat-template` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateChoice<'a> {
    /// The model's chat template if it has one, else the text of `--template`.
    Auto,
    /// The text of `--template`.
    Card,
    /// The model's chat template.
    Model,
    /// A file with a Jinja template.
    File(&'a Path),
}

impl TemplateChoice<'_> {
    /// The name of [`TemplateChoice::Auto`].
    pub const AUTO: &'static str = "auto";
    /// The name of [`TemplateChoice::Card`].
    pub const CARD: &'static str = "card";
    /// The name of [`TemplateChoice::Model`].
    pub const MODEL: &'static str = "model";

    /// False if a chat template is asked for by name, so that `--template` has no effect.
    pub(super) fn takes_text(self) -> bool {
        matches!(self, TemplateChoice::Auto | TemplateChoice::Card)
    }
}
