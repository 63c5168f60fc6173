//! The options of a training run: one list with every default, as raw options (from flags and a TOML
//! file) and resolved.

mod choices;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use choices::{DecayName, LossName, ReferenceMode, TemplateChoice};

use crate::data::{self, Boundary, Columns, Selection, Template, Truncation};
use crate::device::{BackendName, DeviceChoice};
use crate::error::{Error, Result};
use crate::learner::{Decay, Objective, Optimizer};
use crate::ops::adamw::Settings;
use crate::ops::grad_norm::Scaling;
use crate::schedule::SchedulerName;
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
        #[derive(Clone, Debug, Default, clap::Args, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct TrainOptions {
            $($(#[$path_meta])* #[arg(long, value_name = "PATH")] pub $path: Option<PathBuf>,)*
            $($(#[$list_meta])* #[arg(long, value_name = $value, value_delimiter = $delimiter)]
            #[serde(deserialize_with = "one_or_many")]
            pub $list: Option<Vec<$item>>,)*
            $($(#[$unset_meta])* #[arg(long)] pub $unset: Option<$unset_type>,)*
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

options! {
    paths {
        /// Model directory, or a model of the hub: NAME, ORG/NAME or ORG/NAME@REVISION; the built-in starter
        /// if not given
        model,
        /// Pairs to evaluate on: as --data
        eval_data,
        /// Output directory; the first free runs/NAME-N if not given
        out,
        /// Where the reference's log-probs and what autotune measured are kept; the user's cache
        /// directory if not given
        cache_dir,
    }
    lists {
        /// Pairs to train on: a file, a folder, a glob, - for standard input, or a data set of the hub as
        /// ORG/NAME, ORG/NAME:SPLIT or ORG/NAME:CONFIG:SPLIT; may be given several times
        data: PathBuf, "PATH", None;
        /// How often the pairs of each --data are taken: 2 = twice an epoch, 0.5 = half of them
        data_weights: f64, "WEIGHTS", ',';
    }
    unset {
        /// Leave out pairs whose chosen score is not at least this much above the rejected one's
        min_score_margin: f64,
    }
    switches {
        /// Replace the run that the output directory holds
        overwrite,
        /// Take the pairs in file order
        no_shuffle,
        /// Leave out records that cannot be used, and count them, instead of stopping at the first
        skip_bad_records,
        /// Leave out training pairs whose two scores are equal
        drop_ties,
        /// Leave out training pairs that came before, id by id
        dedupe,
        /// The space that ends the prompt goes to the response's first token, as in running text
        response_prefix_space,
        /// Special tokens spelled out in the data become their ids; otherwise they are text
        allow_special_tokens,
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
        /// Take at most this many pairs of each --data; 0 = all
        limit: usize = 0,
        /// Pass over this many pairs of each --data first
        skip: usize = 0,
        /// Take at most this many pairs of --eval-data; 0 = all
        eval_limit: usize = 0,
        /// Hold out about this share of --data in place of --eval-data, prompt by prompt; 0 = none
        eval_fraction: f64 = 0.0,
        /// Names of columns, as in chosen=better,rejected=answers.worst; NAME= leaves one out
        columns: String = String::new(),
        /// Budget of a prompt
        max_prompt_tokens: usize = 96,
        /// A longer response keeps its beginning
        max_response_tokens: usize = 64,
        /// What a longer prompt keeps
        truncation: Truncation = Truncation::KeepEnd,
        /// How prompt and response are tokenized
        boundary: Boundary = Boundary::Apart,
        /// What a user's message is put into, if the model has no chat template or this is given; \n is a
        /// newline
        template: String = data::DEFAULT_TEMPLATE.to_owned(),
        /// What conversations are put into: auto (the model's own chat template if it has one, else
        /// --template), card (--template), model, or a file with a Jinja template
        chat_template: String = TemplateChoice::AUTO.to_owned(),
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
                self.seed.is_some() && resolved.no_shuffle && !resolved.draws_pairs(),
                "--no-shuffle",
            ),
            (
                "--epochs",
                self.epochs.is_some() && resolved.max_steps > 0,
                "--max-steps",
            ),
            (
                "--template",
                self.template.is_some() && !resolved.template_choice().takes_text(),
                "--chat-template of the model or a file",
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

    /// True if the seed decides, beside their order, which pairs are taken.
    fn draws_pairs(&self) -> bool {
        self.eval_fraction > 0.0 || self.data_weights.iter().any(|weight| weight.fract() > 0.0)
    }

    /// How records of training pairs become examples, and which are taken.
    ///
    /// # Errors
    /// `Error::Option` naming `--columns`.
    pub fn data_options(&self) -> Result<data::Options> {
        Ok(data::Options {
            max_prompt_tokens: self.max_prompt_tokens,
            max_response_tokens: self.max_response_tokens,
            truncation: self.truncation,
            boundary: self.boundary,
            response_prefix_space: self.response_prefix_space,
            allow_special_tokens: self.allow_special_tokens,
            columns: Columns::parse(&self.columns)?,
            demonstrations: self.loss == LossName::Sft,
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

    /// What conversations are put into, by the options and by what the model has.
    ///
    /// # Errors
    /// `Error::Option` naming `--template` or `--chat-template`; `Error::Io` and `Error::File` for the file
    /// of a template.
    pub fn template(&self, tokenizer: Option<&Tokenizer>) -> Result<Template> {
        let own = || Ok(tokenizer.map(Template::of_model).transpose()?.flatten());
        let text = || Template::text(&self.template);
        match self.template_choice() {
            TemplateChoice::Card => text(),
            TemplateChoice::Auto => own()?.map_or_else(text, Ok),
            TemplateChoice::Model => own()?.ok_or_else(|| {
                Error::option(
                    "--chat-template",
                    "the model has no chat template",
                    "leave it out for the card's template, or name a file with a Jinja template",
                )
            }),
            TemplateChoice::File(path) => {
                let source =
                    std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
                Template::chat(&source, path, tokenizer)
            }
        }
    }

    /// What conversations are put into, as it was named.
    pub fn template_choice(&self) -> TemplateChoice<'_> {
        match self.chat_template.as_str() {
            TemplateChoice::AUTO if self.template != data::DEFAULT_TEMPLATE => TemplateChoice::Card,
            TemplateChoice::AUTO => TemplateChoice::Auto,
            TemplateChoice::CARD => TemplateChoice::Card,
            TemplateChoice::MODEL => TemplateChoice::Model,
            file => TemplateChoice::File(Path::new(file)),
        }
    }

    /// Checks the options about data beside each other.
    fn check_data(&self) -> Result<()> {
        Columns::parse(&self.columns)?;
        let own_data = !self.data.is_empty();
        if self.model.is_some() && !own_data {
            return Err(Error::option(
                "--data",
                "is not given, and a model is",
                "give preference pairs, or neither --model nor --data for the starter",
            ));
        }
        if self.eval_data.is_some() && !own_data {
            return Err(Error::option(
                "--eval-data",
                "is given without --data",
                "give both, or neither for the starter's own pairs",
            ));
        }
        let all_data = self.data.iter().chain(&self.eval_data);
        if all_data.filter(|path| path.as_os_str() == "-").count() > 1 {
            return Err(Error::option(
                "--data",
                "standard input (-) is named twice, and can be read once",
                "put one of the two into a file",
            ));
        }
        if !(0.0..1.0).contains(&self.eval_fraction) {
            return Err(Error::option(
                "--eval-fraction",
                format!("{} is not a share from 0 up to 1", self.eval_fraction),
                "give the share of pairs to hold out, for example 0.1",
            ));
        }
        if self.eval_fraction > 0.0 && (self.eval_data.is_some() || !own_data) {
            return Err(Error::option(
                "--eval-fraction",
                "is given, and there are held-out pairs already",
                "leave one of --eval-fraction and --eval-data out; the starter has held-out pairs of its own",
            ));
        }
        let held_out = self.eval_data.is_some() || self.eval_fraction > 0.0 || !own_data;
        if self.eval_steps > 0 && !held_out {
            return Err(Error::option(
                "--eval-steps",
                "is given without --eval-data",
                "give held-out pairs with --eval-data or --eval-fraction",
            ));
        }
        if self.eval_limit > 0 && self.eval_data.is_none() && own_data {
            return Err(Error::option(
                "--eval-limit",
                "is given without --eval-data",
                "give held-out pairs with --eval-data",
            ));
        }
        if self
            .min_score_margin
            .is_some_and(|margin| !margin.is_finite())
        {
            return Err(Error::option(
                "--min-score-margin",
                "is not a finite number",
                "give the least difference of the two scores",
            ));
        }
        let weights = &self.data_weights;
        if let Some(weight) = weights.iter().find(|w| !w.is_finite() || **w < 0.0) {
            return Err(Error::option(
                "--data-weights",
                format!("{weight} is not a number of at least 0"),
                "give a number of at least 0 for each --data: 2 takes its pairs twice",
            ));
        }
        if !weights.is_empty() && weights.len() != self.data.len() {
            return Err(Error::option(
                "--data-weights",
                format!("{} weights for {} --data", weights.len(), self.data.len()),
                "give a weight for each --data, in the same order",
            ));
        }
        Ok(())
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
