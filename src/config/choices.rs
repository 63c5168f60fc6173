//! The choices of a training run.

use std::path::Path;

use crate::choice::choices;
use crate::objective::Objective;
use crate::ops::preference::Kind;

choices! {
    /// The loss, under TRL's names.
    pub enum LossName {
        /// DPO
        Sigmoid = "sigmoid",
        /// supervised: the chosen answer's mean negative log-likelihood
        Sft = "sft",
    }
}

impl LossName {
    /// The objective that has this loss, with this β.
    pub fn objective(self, beta: f32) -> Objective {
        let kind = match self {
            LossName::Sigmoid => Kind::Sigmoid,
            LossName::Sft => Kind::Sft,
        };
        Objective::new(kind, beta)
    }
}

choices! {
    /// Which parameters decay.
    pub enum DecayName {
        /// all, as torch.optim.AdamW does
        All = "all",
        /// not biases and layernorms, as transformers' Trainer does
        Matrices = "matrices",
    }
}

choices! {
    /// Where the reference's log-probs come from.
    pub enum ReferenceMode {
        /// computed once before training, and kept on disk
        Cached = "cached",
        /// computed beside the policy from a frozen copy
        OnTheFly = "on-the-fly",
    }
}

/// The template of conversations, as the option `chat_template` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateChoice<'a> {
    /// The model's chat template if it has one, else the text of the option `template`.
    Auto,
    /// The text of the option `template`.
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

    /// False if a chat template is asked for by name, so that the option `template` has no effect.
    pub(super) fn takes_text(self) -> bool {
        matches!(self, TemplateChoice::Auto | TemplateChoice::Card)
    }
}
