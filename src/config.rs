//! The options of a training run: one list with every default, as raw options (from flags and a TOML
//! file) and resolved.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data;
use crate::device::{BackendName, DeviceChoice};
use crate::error::{Error, Result};
use crate::kernel::Precision;
use crate::learner::{Decay, Objective, Optimizer};
use crate::ops::adamw::Settings;
use crate::ops::grad_norm::Scaling;
use crate::schedule::SchedulerName;

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

/// From one list of options: [`TrainOptions`], all optional, for flags and the TOML file, and
/// [`TrainConfig`] with the defaults filled in.
macro_rules! options {
    (
        paths { $($(#[$path_meta:meta])* $path:ident,)* }
        switches { $($(#[$switch_meta:meta])* $switch:ident,)* }
        values { $($(#[$meta:meta])* $name:ident: $type:ty = $default:expr,)* }
    ) => {
        /// Options of `train` as given: on the command line, or in a TOML file under the same names.
        #[derive(Clone, Debug, Default, clap::Args, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct TrainOptions {
            $($(#[$path_meta])* #[arg(long, value_name = "PATH")] pub $path: Option<PathBuf>,)*
            $($(#[$switch_meta])*
            #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
                value_name = "BOOL")]
            pub $switch: Option<bool>,)*
            $($(#[$meta])* #[arg(long)] pub $name: Option<$type>,)*
        }

        /// Options of `train`, resolved.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct TrainConfig {
            $($(#[$path_meta])* #[serde(skip_serializing_if = "Option::is_none")]
            pub $path: Option<PathBuf>,)*
            $($(#[$switch_meta])* pub $switch: bool,)*
            $($(#[$meta])* pub $name: $type,)*
        }

        impl Default for TrainConfig {
            /// The model card's recipe.
            fn default() -> Self {
                TrainConfig {
                    $($path: None,)*
                    $($switch: false,)*
                    $($name: $default,)*
                }
            }
        }

        impl TrainOptions {
            /// These options where given, else the other's.
            pub fn or(self, other: TrainOptions) -> TrainOptions {
                TrainOptions {
                    $($path: self.$path.or(other.$path),)*
                    $($switch: self.$switch.or(other.$switch),)*
                    $($name: self.$name.or(other.$name),)*
                }
            }

            fn fill(self) -> TrainConfig {
                let default = TrainConfig::default();
                TrainConfig {
                    $($path: self.$path,)*
                    $($switch: self.$switch.unwrap_or(default.$switch),)*
                    $($name: self.$name.unwrap_or(default.$name),)*
                }
            }
        }
    };
}

options! {
    paths {
        /// Model directory: config.json, model.safetensors and a tokenizer; the built-in starter if not given
        model,
        /// Preference pairs to train on, JSONL
        data,
        /// Preference pairs to evaluate on, JSONL
        eval_data,
        /// Output directory; the first free runs/NAME-N if not given
        out,
        /// Where the reference's log-probs and what autotune measured are kept; the user's cache
        /// directory if not given
        cache_dir,
    }
    switches {
        /// Replace the run that the output directory holds
        overwrite,
        /// Take the pairs in file order
        no_shuffle,
        /// Leave out records that cannot be used, and count them, instead of stopping at the first
        skip_bad_records,
        /// Keep each layer's input only and compute the rest again in the backward pass: less memory,
        /// more time, the same numbers
        checkpoint_activations,
        /// Compile shaders with bounds checks and zeroed workgroup memory
        checked,
        /// Take each kernel's usual variant instead of measuring which is fastest on this device
        no_autotune,
        /// Time every kernel: a table at the end and trace.json in the output directory, at the cost of a slower run
        profile,
    }
    values {
        /// What is minimised
        loss: LossName = LossName::Sigmoid,
        /// Strength of the pull towards the reference
        beta: f32 = 0.1,
        /// Peak learning rate
        learning_rate: f64 = 1e-5,
        /// Pairs of a micro-batch
        batch_size: usize = 4,
        /// Micro-batches of an optimizer step
        gradient_accumulation_steps: usize = 4,
        /// Passes over the pairs
        epochs: usize = 1,
        /// Take this many optimizer steps, whatever --epochs says; 0 = until the epochs are done
        max_steps: usize = 0,
        /// A longer prompt keeps its end
        max_prompt_tokens: usize = 96,
        /// A longer response keeps its beginning
        max_response_tokens: usize = 64,
        /// What a prompt is put into; \n is a newline
        template: String = data::DEFAULT_TEMPLATE.to_owned(),
        /// AdamW's decoupled weight decay
        weight_decay: f64 = Settings::DEFAULT.weight_decay,
        /// Which parameters decay
        decay: DecayName = DecayName::All,
        /// Clip the gradient to this norm; 0 = do not clip
        max_grad_norm: f32 = 1.0,
        /// How the learning rate moves after the warm-up
        lr_scheduler: SchedulerName = SchedulerName::Constant,
        /// Steps over which the learning rate rises from 0
        warmup_steps: usize = 0,
        /// Seed of the order of the pairs
        seed: u64 = 13,
        /// Evaluate every so many steps too; 0 = before the first step and at the end only
        eval_steps: usize = 0,
        /// Where the reference's log-probs come from
        reference: ReferenceMode = ReferenceMode::Cached,
        /// auto, cpu, an index or a part of a name from `gpt2-dpo devices`
        device: String = "auto".to_owned(),
        /// Which graphics API to use
        backend: BackendName = BackendName::Auto,
        /// In what matrix products are multiplied
        precision: Precision = Precision::F32,
        /// Split weights into buffers of at most this many MiB; 0 = as large as the device binds
        max_binding_mib: usize = 0,
    }
}

impl TrainOptions {
    /// Reads a TOML file of options.
    ///
    /// # Errors
    /// `Error::Io`; `Error::File` for a name that is no option or a value of another type.
    pub fn read(path: &Path) -> Result<TrainOptions> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
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
                "use the names of `gpt2-dpo train --help` without the dashes in front",
            )
        })
    }

    /// Fills in the defaults and checks the values, alone and beside each other. Template and token
    /// budgets are checked where data is read.
    ///
    /// # Errors
    /// `Error::Option` naming the first option that cannot be used.
    pub fn resolve(self) -> Result<TrainConfig> {
        let mut config = self.fill();
        config.template = unescape(&config.template);
        let at_least_one = [
            ("--batch-size", config.batch_size),
            (
                "--gradient-accumulation-steps",
                config.gradient_accumulation_steps,
            ),
            ("--epochs", config.epochs),
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
                "--gradient-accumulation-steps",
                "times --batch-size is more pairs than can be counted",
                "lower one of them",
            ));
        }
        let not_negative = [
            ("--beta", f64::from(config.beta)),
            ("--learning-rate", config.learning_rate),
            ("--weight-decay", config.weight_decay),
            ("--max-grad-norm", f64::from(config.max_grad_norm)),
        ];
        for (option, value) in not_negative {
            if !value.is_finite() || value < 0.0 {
                let what = format!("{value} is not a number of at least 0");
                return Err(Error::option(option, what, "give a number of at least 0"));
            }
        }
        if config.beta == 0.0 && config.loss == LossName::Sigmoid {
            return Err(Error::option(
                "--beta",
                "with 0 the loss is constant and nothing is learnt",
                "give a number above 0; usual values lie between 0.01 and 0.5",
            ));
        }
        if config.model.is_some() && config.data.is_none() {
            return Err(Error::option(
                "--data",
                "is not given, and a model is",
                "give a file of preference pairs, or neither --model nor --data for the starter",
            ));
        }
        if config.eval_data.is_some() && config.data.is_none() {
            return Err(Error::option(
                "--eval-data",
                "is given without --data",
                "give both, or neither for the starter's own pairs",
            ));
        }
        if config.eval_steps > 0 && config.eval_data.is_none() && config.data.is_some() {
            return Err(Error::option(
                "--eval-steps",
                "is given without --eval-data",
                "give a file of held-out pairs with --eval-data",
            ));
        }
        Ok(config)
    }
}

impl TrainOptions {
    /// Refuses flags that have no effect beside the others; in a file, which may be a whole resolved
    /// configuration, they are let pass.
    ///
    /// # Errors
    /// `Error::Option` naming the first such flag.
    pub fn refuse_idle(&self, resolved: &TrainConfig) -> Result<()> {
        let sft = resolved.loss == LossName::Sft;
        let on_the_fly = resolved.reference == ReferenceMode::OnTheFly;
        let tunes = resolved.device != DeviceChoice::CPU && !resolved.no_autotune;
        let idle_cache = self.cache_dir.is_some() && !tunes;
        let idle = [
            ("--beta", self.beta.is_some() && sft, "--loss sft"),
            ("--reference", self.reference.is_some() && sft, "--loss sft"),
            ("--cache-dir", idle_cache && sft, "--loss sft"),
            (
                "--cache-dir",
                idle_cache && on_the_fly,
                "--reference on-the-fly",
            ),
            (
                "--seed",
                self.seed.is_some() && resolved.no_shuffle,
                "--no-shuffle",
            ),
            (
                "--epochs",
                self.epochs.is_some() && resolved.max_steps > 0,
                "--max-steps",
            ),
        ];
        match idle.iter().find(|(_, idle, _)| *idle) {
            None => Ok(()),
            Some((option, _, beside)) => Err(Error::option(
                *option,
                format!("has no effect with {beside}"),
                "leave one of the two out",
            )),
        }
    }
}

impl TrainConfig {
    /// The loss with its settings.
    pub fn objective(&self) -> Objective {
        match self.loss {
            LossName::Sigmoid => Objective::Sigmoid { beta: self.beta },
            LossName::Sft => Objective::Sft,
        }
    }

    /// The optimizer with its settings.
    pub fn optimizer(&self) -> Optimizer {
        Optimizer {
            adamw: Settings {
                learning_rate: self.learning_rate,
                weight_decay: self.weight_decay,
                ..Settings::DEFAULT
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

    /// Template and token budgets.
    pub fn data_options(&self) -> data::Options {
        data::Options {
            template: self.template.clone(),
            max_prompt_tokens: self.max_prompt_tokens,
            max_response_tokens: self.max_response_tokens,
            skip_bad_records: self.skip_bad_records,
        }
    }

    /// Pairs of an optimizer step.
    pub fn pairs_per_step(&self) -> usize {
        self.batch_size * self.gradient_accumulation_steps
    }

    /// The options as a TOML file that `--config` takes; a comment saying so where a path is not UTF-8.
    pub fn to_toml(&self) -> String {
        // Plain numbers, strings and paths: the one thing that TOML could refuse is a path that is
        // not UTF-8, and then the file says so.
        toml::to_string(self).unwrap_or_else(|e| format!("# not written: {e}\n"))
    }
}

/// An option's text with each `\n` in it as a newline: shells make newlines hard.
pub fn unescape(text: &str) -> String {
    text.replace("\\n", "\n")
}
