//! Measures one model on one device: the device's ceilings, every kernel at the shapes of an optimizer step, and
//! the step itself as training runs it.

mod kernels;
mod model;
mod step;

use chrono::{SecondsFormat, Utc};
use serde::Serialize;

use crate::ceilings::Ceilings;
use crate::config::TrainConfig;
use crate::engine::{Clock, Device};
use crate::error::{Error, Result};
use crate::launches::{self, Audit, Launch};
use crate::model::Dims;
use crate::plan::Planner;
use crate::profile::{self, Row};
use crate::target::{MatrixUnits, Precision, Target};

pub(crate) use model::Workload;
pub use model::{KnownModel, MODELS, dims};
pub use step::StepSpeed;

/// The model and the sizes to measure.
#[derive(Clone, Debug, Serialize)]
pub struct Options {
    /// One of [`MODELS`], or a directory with a config.json.
    pub model: String,
    /// Pairs of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of an optimizer step.
    pub gradient_accumulation_steps: usize,
    /// Tokens of every prompt.
    pub max_prompt_tokens: usize,
    /// Tokens of every response.
    pub max_response_tokens: usize,
    /// Optimizer steps that are timed; fewer if they would take longer than a minute.
    pub steps: usize,
    /// The seconds for which each kernel runs; it runs at least five times.
    pub seconds_per_kernel: f64,
}

/// All measurements, for a table or as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The date and time in UTC, as ISO 8601.
    pub date: String,
    /// The version of this crate.
    pub version: &'static str,
    /// Operating system and architecture.
    pub platform: String,
    /// The device's name.
    pub device: String,
    /// The device's name, its driver, and their versions.
    pub identity: String,
    /// The clock that gave the times.
    pub clock: Clock,
    /// The options of this report.
    pub options: Options,
    /// The sizes of the model.
    pub dims: Dims,
    /// The device's ceilings.
    pub ceilings: Ceilings,
    /// A row for each kernel and shape, the largest share of an optimizer step first.
    pub kernels: Vec<Row>,
    /// The speed of an optimizer step.
    pub step: StepSpeed,
}

impl Options {
    /// The recipe's lengths with one pair and one step.
    pub(crate) fn one_pair(model: &str) -> Options {
        let recipe = TrainConfig::default();
        Options {
            model: model.to_owned(),
            batch_size: 1,
            gradient_accumulation_steps: 1,
            max_prompt_tokens: recipe.max_prompt_tokens,
            max_response_tokens: recipe.max_response_tokens,
            steps: 1,
            seconds_per_kernel: 0.0,
        }
    }

    /// The same with texts that fit the positions of a model.
    pub(crate) fn within(self, dims: &Dims) -> Options {
        let max_response_tokens = self.max_response_tokens.min(dims.n_positions.div_ceil(2));
        let rest = (dims.n_positions - max_response_tokens).max(1);
        Options {
            max_prompt_tokens: self.max_prompt_tokens.min(rest),
            max_response_tokens,
            ..self
        }
    }
}

impl Report {
    /// The kernels whose results differ from their twins'.
    pub fn wrong(&self) -> impl Iterator<Item = &Row> {
        self.kernels.iter().filter(|row| row.speed.is_none())
    }
}

/// The current measurement and its progress.
pub struct Progress {
    /// The phase, in a word or two.
    pub phase: &'static str,
    /// The item of the phase that is being measured.
    pub what: String,
    /// The number of finished items.
    pub done: usize,
    /// The number of all items; 0 if unknown.
    pub total: usize,
}

/// The dispatches of an optimizer step on a large GPU, without one.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The options of this plan.
    pub options: Options,
    /// The sizes of the model.
    pub dims: Dims,
    /// The precision of products.
    pub precision: Precision,
    /// Micro-batches of the step.
    pub micro_batches: usize,
    /// The sums over all launches.
    pub audit: Audit,
    /// A row for each kernel, variant and shape, the most operations first.
    pub launches: Vec<Launch>,
}

impl Plan {
    /// Plans a step on a fast GPU with memory to spare, and with matrix units of every shape.
    ///
    /// # Errors
    /// As [`run`], but for a device's.
    pub fn new(options: &Options, precision: Precision) -> Result<Plan> {
        check(options)?;
        let dims = dims(&options.model)?;
        check_length(options, &dims)?;
        let target = Target {
            software: false,
            precision,
            matrix_units: MatrixUnits {
                eight: true,
                sixteen: true,
            },
        };
        let mut paper = Planner::new(LARGE_BINDING, usize::MAX).with_room_to_grow(usize::MAX);
        let work = Workload::empty(&mut paper, &dims, options)?;
        let launches = launches::of(&work.recordings(&paper)?, &target, LARGE_BINDING / 4);
        Ok(Plan {
            options: options.clone(),
            dims,
            precision,
            micro_batches: work.batches,
            audit: Audit::of(&launches),
            launches,
        })
    }
}

/// What a large GPU binds, in bytes.
const LARGE_BINDING: usize = 2 << 30;

/// Measures; `observe` receives the progress.
///
/// # Errors
/// `Error::Option` for an option that cannot be used; `Error::File` and `Error::Io` for a model that is not
/// there; an error of the device. A kernel with wrong results is not an error: its row says so.
pub fn run(
    engine: &mut dyn Device,
    options: &Options,
    observe: &mut dyn FnMut(Progress),
) -> Result<Report> {
    check(options)?;
    let dims = dims(&options.model)?;
    check_length(options, &dims)?;
    observe(Progress {
        phase: "ceilings",
        what: String::new(),
        done: 0,
        total: 0,
    });
    let ceilings = Ceilings::measure(engine)?;
    let mut work = Workload::new(engine, &dims, options)?;
    let kernels = kernels::measure(engine, &mut work, options, observe)?;
    let step = step::measure(engine, &mut work, options, &kernels, observe)?;
    Ok(Report {
        date: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        device: engine.name(),
        identity: engine.identity(),
        clock: engine.clock(),
        options: options.clone(),
        dims,
        kernels: profile::rows(kernels, &ceilings),
        ceilings,
        step,
    })
}

fn check(options: &Options) -> Result<()> {
    for (option, value) in [
        ("batch_size", options.batch_size),
        (
            "gradient_accumulation_steps",
            options.gradient_accumulation_steps,
        ),
        ("max_prompt_tokens", options.max_prompt_tokens),
        ("max_response_tokens", options.max_response_tokens),
        ("steps", options.steps),
    ] {
        if value == 0 {
            return Err(Error::option(option, "is 0", "give at least 1"));
        }
    }
    let seconds = options.seconds_per_kernel;
    if !seconds.is_finite() || seconds < 0.0 {
        let what = format!("{seconds} is not a number of at least 0");
        return Err(Error::option(
            "seconds_per_kernel",
            what,
            "give a number of at least 0",
        ));
    }
    Ok(())
}

fn check_length(options: &Options, dims: &Dims) -> Result<()> {
    let [prompt, response] = [options.max_prompt_tokens, options.max_response_tokens];
    if prompt.saturating_add(response) > dims.n_positions {
        return Err(Error::option(
            "max_prompt_tokens",
            format!(
                "{prompt} and {response} of `.max_response_tokens` are more than the model's {} \
                 positions",
                dims.n_positions
            ),
            "lower one of the two",
        ));
    }
    Ok(())
}
