//! The options of a training run: one list with every default, as raw options (from flags and a TOML
//! file) and resolved.

mod checks;
mod choices;
mod evaluation;
mod idle;
#[macro_use]
mod list;
mod lora;
mod losses;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use choices::{BestMetric, DecayName, Normalize, ReferenceMode, TemplateChoice};
pub use evaluation::{NamedData, SamplePrompts, eval_prefix};
pub use losses::{Losses, NoLosses};

pub use crate::words::unescape;

use crate::batch::Sides;
use crate::bounded;
use crate::data::{self, Columns, Selection, Template};
use crate::error::{Error, Result};
use crate::objective::Objective;
use crate::ops::adamw::Settings;
use crate::ops::preference::{self, Kind};
use crate::ops::step_control::Scaling;
use crate::optimizer::{Decay, Optimizer};
use crate::schedule::Schedule;
use crate::target::Precision;
use crate::tokenizer::Tokenizer;

/// In a TOML file a list of one may be written without brackets.
fn one_or_many<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(Some(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(item) => vec![item],
        OneOrMany::Many(items) => items,
    }))
}

/// From one list of options: [`TrainOptions`], all optional, for flags and the TOML file, and
/// [`TrainConfig`] with the defaults filled in.
macro_rules! options {
    (
        paths { $($(#[$path_meta:meta])* $path:ident,)* }
        lists { $($(#[$list_meta:meta])* $list:ident: $item:ty, $value:literal, $delimiter:expr;)* }
        unset { $($(#[$unset_meta:meta])* $unset:ident: $unset_type:ty,)* }
        switches { $($(#[$switch_meta:meta])* $switch:ident,)* }
        values { $($(#[$meta:meta])* $name:ident: $type:ty = $default:expr,)* }
    ) => {
        /// Options of `train` as given: on the command line, or in a TOML file under the same names.
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct TrainOptions {
            $($(#[$path_meta])* pub $path: Option<PathBuf>,)*
            $($(#[$list_meta])*
            #[serde(deserialize_with = "one_or_many")]
            pub $list: Option<Vec<$item>>,)*
            $($(#[$unset_meta])* pub $unset: Option<$unset_type>,)*
            $($(#[$switch_meta])* pub $switch: Option<bool>,)*
            $($(#[$meta])* pub $name: Option<$type>,)*
        }

        /// Options of `train`, resolved.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct TrainConfig {
            $($(#[$path_meta])* #[serde(skip_serializing_if = "Option::is_none")]
            pub $path: Option<PathBuf>,)*
            $($(#[$list_meta])* #[serde(skip_serializing_if = "Vec::is_empty")]
            pub $list: Vec<$item>,)*
            $($(#[$unset_meta])* #[serde(skip_serializing_if = "Option::is_none")]
            pub $unset: Option<$unset_type>,)*
            $($(#[$switch_meta])* pub $switch: bool,)*
            $($(#[$meta])* pub $name: $type,)*
        }

        impl Default for TrainConfig {
            /// The model card's recipe.
            fn default() -> Self {
                TrainConfig {
                    $($path: None,)*
                    $($list: Vec::new(),)*
                    $($unset: None,)*
                    $($switch: false,)*
                    $($name: $default,)*
                }
            }
        }

        impl TrainOptions {
            /// The names of all options: the fields of this struct.
            pub const NAMES: &[&str] = &[
                $(stringify!($path),)*
                $(stringify!($list),)*
                $(stringify!($unset),)*
                $(stringify!($switch),)*
                $(stringify!($name),)*
            ];

            /// These options where given, else the other's.
            pub fn or(self, other: TrainOptions) -> TrainOptions {
                TrainOptions {
                    $($path: self.$path.or(other.$path),)*
                    $($list: self.$list.or(other.$list),)*
                    $($unset: self.$unset.or(other.$unset),)*
                    $($switch: self.$switch.or(other.$switch),)*
                    $($name: self.$name.or(other.$name),)*
                }
            }

            fn with_defaults(self) -> TrainConfig {
                let default = TrainConfig::default();
                TrainConfig {
                    $($path: self.$path,)*
                    $($list: self.$list.unwrap_or_default(),)*
                    $($unset: self.$unset,)*
                    $($switch: self.$switch.unwrap_or(default.$switch),)*
                    $($name: self.$name.unwrap_or(default.$name),)*
                }
            }
        }
    };
}

train_options!(options);

impl TrainOptions {
    /// Reads a TOML file of options.
    ///
    /// # Errors
    /// `Error::Io`; `Error::File` for a name that is no option or a value of another type.
    pub fn read(path: &Path) -> Result<TrainOptions> {
        let text =
            bounded::read_text(path, bounded::SETTINGS).map_err(|e| Error::io("read", path, e))?;
        Self::parse(&text, path)
    }

    /// [`TrainOptions::read`] of text in memory; `origin` is the path that errors name.
    ///
    /// # Errors
    /// `Error::File` as there.
    pub fn parse(text: &str, origin: &Path) -> Result<TrainOptions> {
        toml::from_str(text).map_err(|e| {
            Error::file(
                origin,
                e.to_string().trim_end(),
                "use the names of `config::TrainOptions`",
            )
        })
    }

    /// Fills in the defaults, for commands that need a few of the options only.
    pub fn fill(mut self) -> TrainConfig {
        // Whoever gives a text wants that, even where it is the default, and the model has a chat template.
        if self.template.is_some() && self.chat_template.is_none() {
            self.chat_template = Some(TemplateChoice::CARD.to_owned());
        }
        let mut config = self.with_defaults();
        config.template = unescape(&config.template);
        config
    }

    /// Fills in the defaults and checks the values, alone and beside each other. The token budgets are
    /// checked where data is read.
    ///
    /// # Errors
    /// `Error::Option` naming the first option that cannot be used.
    pub fn resolve(self) -> Result<TrainConfig> {
        let config = self.fill();
        config.check_data()?;
        let at_least_one = [
            ("batch_size", config.batch_size),
            (
                "gradient_accumulation_steps",
                config.gradient_accumulation_steps,
            ),
            ("epochs", config.epochs),
        ];
        for (option, value) in at_least_one {
            if value == 0 {
                return Err(Error::option(option, "is 0", "give at least 1"));
            }
        }
        if config
            .batch_size
            .checked_mul(config.gradient_accumulation_steps)
            .is_none()
        {
            return Err(Error::option(
                "gradient_accumulation_steps",
                "times `.batch_size` is more pairs than can be counted",
                "lower one of them",
            ));
        }
        let not_negative = [
            ("beta", f64::from(config.beta)),
            ("learning_rate", config.learning_rate),
            ("weight_decay", config.weight_decay),
            ("max_grad_norm", f64::from(config.max_grad_norm)),
            ("sft_weight", f64::from(config.sft_weight)),
            ("dpop_lambda", f64::from(config.dpop_lambda)),
            ("simpo_gamma", f64::from(config.simpo_gamma)),
            ("save_minutes", config.save_minutes),
        ];
        for (option, value) in not_negative {
            if !value.is_finite() || value < 0.0 {
                let what = format!("{value} is not a number of at least 0");
                return Err(Error::option(option, what, "give a number of at least 0"));
            }
        }
        // The shaders compute with 32-bit numbers.
        let largest = f64::from(f32::MAX);
        let on_device = [
            ("learning_rate", config.learning_rate),
            ("weight_decay", config.weight_decay),
        ];
        if let Some((option, value)) = on_device.iter().find(|(_, value)| *value > largest) {
            let what = format!("{value:e} is more than a 32-bit number can be");
            return Err(Error::option(option, what, "give a number below 3e38"));
        }
        config.check_best()?;
        config.check_loss()?;
        config.check_lora()?;
        config.check_rates()?;
        if config.beta == 0.0 && config.objective().uses_beta() {
            return Err(Error::option(
                "beta",
                "with 0 the loss is constant and nothing is learnt",
                "give a number above 0; usual values lie between 0.01 and 0.5",
            ));
        }
        Ok(config)
    }
}

impl TrainConfig {
    /// The losses with their settings.
    pub fn objective(&self) -> Objective {
        let losses = match self.sft_weight {
            0.0 => self.loss,
            weight => self.loss.with(Kind::Sft, weight),
        };
        losses.objective(preference::Settings {
            beta: self.beta,
            label_smoothing: self.label_smoothing,
            discopop_tau: self.discopop_tau,
            dpop_lambda: self.dpop_lambda,
            simpo_gamma: self.simpo_gamma,
            divergence: self.f_divergence_type,
            divergence_alpha: self.f_alpha_divergence_coef,
            ld_alpha: self.ld_alpha,
            average_log_prob: self.average_log_prob,
        })
    }

    /// The learning rates of a run of so many optimizer steps.
    pub fn schedule(&self, total_steps: usize) -> Schedule {
        Schedule {
            scheduler: self.lr_scheduler,
            peak: self.learning_rate,
            warmup_steps: match self.warmup_steps {
                0 => (total_steps as f64 * self.warmup_ratio).ceil() as usize,
                steps => steps,
            },
            total_steps,
            min_lr_rate: self.min_lr_rate,
            decay_steps: self.decay_steps,
        }
    }

    /// The optimizer with its settings.
    pub fn optimizer(&self) -> Optimizer {
        Optimizer {
            adamw: Settings {
                learning_rate: self.learning_rate,
                beta1: self.adam_beta1,
                beta2: self.adam_beta2,
                epsilon: self.adam_epsilon,
                weight_decay: self.weight_decay,
            },
            decay: match self.decay {
                DecayName::All => Decay::All,
                DecayName::Matrices => Decay::Matrices,
            },
            max_grad_norm: self.max_grad_norm,
            scaling: match self.precision {
                Precision::F32 => None,
                Precision::Mixed => Some(Scaling::DEFAULT),
            },
        }
    }

    /// True if the seed decides more than the order of the pairs: which are taken, or a new adapter.
    fn uses_seed(&self) -> bool {
        let draws_pairs =
            self.eval_fraction > 0.0 || self.data_weights.iter().any(|weight| weight.fract() > 0.0);
        draws_pairs || (self.lora_rank > 0 && self.adapter.is_none())
    }

    /// How records of training pairs become examples, and which are taken.
    ///
    /// # Errors
    /// `Error::Option` naming `columns`.
    pub fn data_options(&self) -> Result<data::Options> {
        Ok(data::Options {
            max_prompt_tokens: self.max_prompt_tokens,
            max_response_tokens: self.max_response_tokens,
            truncation: self.truncation,
            boundary: self.boundary,
            response_prefix_space: self.response_prefix_space,
            allow_special_tokens: self.allow_special_tokens,
            columns: Columns::parse(&self.columns)?,
            demonstrations: self.objective().sides() == Sides::Chosen,
            skip_bad_records: self.skip_bad_records,
            compare_boundaries: false,
            selection: Selection {
                skip: self.skip,
                limit: Some(self.limit).filter(|&limit| limit > 0),
                drop_ties: self.drop_ties,
                min_score_margin: self.min_score_margin,
                dedupe: self.dedupe,
            },
        })
    }

    /// The same for held-out pairs, of which none is left out for its scores.
    ///
    /// # Errors
    /// `Error::Option` as there.
    pub fn eval_options(&self) -> Result<data::Options> {
        Ok(data::Options {
            selection: Selection {
                limit: Some(self.eval_limit).filter(|&limit| limit > 0),
                ..Selection::default()
            },
            ..self.data_options()?
        })
    }

    /// The template of conversations, from the options and the model's own template.
    ///
    /// # Errors
    /// `Error::Option` naming `template` or `chat_template`; `Error::Io` and `Error::File` for the file
    /// of a template.
    pub fn template(&self, tokenizer: Option<&Tokenizer>) -> Result<Template> {
        let own = || Ok(tokenizer.map(Template::of_model).transpose()?.flatten());
        let text = || Template::text(&self.template);
        match self.template_choice() {
            TemplateChoice::Card => text(),
            TemplateChoice::Auto => own()?.map_or_else(text, Ok),
            TemplateChoice::Model => own()?.ok_or_else(|| {
                Error::option(
                    "chat_template",
                    "the model has no chat template",
                    "leave it out for the card's template, or name a file with a Jinja template",
                )
            }),
            TemplateChoice::File(path) => {
                let source = bounded::read_text(path, bounded::SETTINGS)
                    .map_err(|e| Error::io("read", path, e))?;
                Template::chat(&source, path, tokenizer)
            }
        }
    }

    /// The choice of template, as the options name it.
    pub fn template_choice(&self) -> TemplateChoice<'_> {
        match self.chat_template.as_str() {
            TemplateChoice::AUTO if self.template != data::DEFAULT_TEMPLATE => TemplateChoice::Card,
            TemplateChoice::AUTO => TemplateChoice::Auto,
            TemplateChoice::CARD => TemplateChoice::Card,
            TemplateChoice::MODEL => TemplateChoice::Model,
            file => TemplateChoice::File(Path::new(file)),
        }
    }

    /// Optimizer steps of a run over this many pairs.
    pub fn total_steps(&self, pairs: usize) -> usize {
        match self.max_steps {
            0 => pairs
                .div_ceil(self.pairs_per_step())
                .saturating_mul(self.epochs),
            max_steps => max_steps,
        }
    }

    /// Pairs of an optimizer step.
    pub fn pairs_per_step(&self) -> usize {
        self.batch_size * self.gradient_accumulation_steps
    }

    /// The options as a TOML file that [`TrainOptions::read`] takes; a comment saying so where a path is not UTF-8.
    pub fn to_toml(&self) -> String {
        // Plain numbers, strings and paths: the one thing that TOML could refuse is a path that is
        // not UTF-8. The output's is left out then, and of another one the file says so.
        let without_out = |_| {
            toml::to_string(&TrainConfig {
                out: None,
                ..self.clone()
            })
        };
        toml::to_string(self)
            .or_else(without_out)
            .unwrap_or_else(|e| format!("# not written: {e}\n"))
    }
}
