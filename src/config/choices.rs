//! The choices of a training run.

use std::path::Path;

use crate::choice::choices;
use crate::dpo::Summary;

choices! {
    /// The metric by which the best evaluation is found, under TRL's names.
    pub enum BestMetric {
        /// the lowest
        Loss = "eval_loss",
        /// the highest
        Accuracy = "eval_rewards/accuracies",
        /// the highest
        Margin = "eval_rewards/margins",
    }
}

impl BestMetric {
    /// The metric's value in a summary; NaN if the loss has no rewards.
    pub fn of(self, summary: &Summary) -> f64 {
        let rewards = summary.rewards.as_ref();
        match self {
            BestMetric::Loss => summary.loss,
            BestMetric::Accuracy => rewards.map_or(f64::NAN, |rewards| rewards.accuracy),
            BestMetric::Margin => rewards.map_or(f64::NAN, |rewards| rewards.margin),
        }
    }

    /// True if a value is better than another one.
    pub fn is_better(self, value: f64, other: f64) -> bool {
        match self {
            BestMetric::Loss => value < other,
            BestMetric::Accuracy | BestMetric::Margin => value > other,
        }
    }
}

choices! {
    /// The mean that a step's loss is.
    pub enum Normalize {
        /// over all pairs of the step
        Pairs = "pairs",
        /// over its micro-batches, each a mean over its pairs, as TRL
        MicroBatches = "micro-batches",
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
