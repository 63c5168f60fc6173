//! Checks whether a device can be trusted: every kernel and variant against its CPU twin, on awkward shapes and
//! on a real model's shapes; two trainings that must end in equal bits; the first loss, which is known; and
//! whether the model fits.

use std::f64::consts::LN_2;

use chrono::{SecondsFormat, Utc};
use serde::Serialize;

use crate::bench::{self, Workload};
use crate::config::TrainConfig;
use crate::distance::Distance;
use crate::engine::{Compared, Device, Engine, EngineExt, Tap};
use crate::error::Result;
use crate::gpu::{AdapterReport, GpuEngine, OpenOptions, Variant};
use crate::model::Dims;
use crate::ops::{OPS, Op};
use crate::plan::Planner;
use crate::recording::Recording;
use crate::target::Precision;
use crate::twins;

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The subject of the check.
    pub name: String,
    /// The result, in words.
    pub found: String,
    /// The failures, each in words; empty if the check passed.
    pub misses: Vec<String>,
    /// The conclusion that depends on the check.
    pub about: About,
}

/// The conclusions that checks support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// The device computes correctly in f32.
    Device,
    /// The same with `precision` mixed.
    Mixed,
    /// The model fits the device.
    Room,
}

/// The results of all checks, for people and as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The date and time in UTC, as ISO 8601.
    pub date: String,
    /// The version of this crate.
    pub version: &'static str,
    /// Operating system and architecture.
    pub platform: String,
    /// The device with its driver, limits and features.
    pub adapter: AdapterReport,
    /// True if shaders were compiled with checks.
    pub checked: bool,
    /// The model that gave the shapes.
    pub model: String,
    /// One check a line.
    pub checks: Vec<Check>,
}

impl Report {
    /// True if the device can be trusted in f32.
    pub fn is_trusted(&self) -> bool {
        self.is_well(About::Device)
    }

    /// True if the model fits.
    pub fn fits(&self) -> bool {
        self.is_well(About::Room)
    }

    /// True if the device can also be trusted in mixed precision; `None` if it lacks the matrix units for that.
    pub fn is_trusted_mixed(&self) -> Option<bool> {
        let any = self.checks.iter().any(|check| check.about == About::Mixed);
        any.then(|| self.is_trusted() && self.is_well(About::Mixed))
    }

    fn is_well(&self, about: About) -> bool {
        let mut checks = self.checks.iter().filter(|check| check.about == about);
        checks.all(|check| check.misses.is_empty())
    }
}

/// A device under test.
pub struct Subject<'a> {
    /// Opens the device anew.
    pub open: &'a dyn Fn(OpenOptions) -> Result<GpuEngine>,
    /// The options for opening it; variant, tuning and precision vary.
    pub options: OpenOptions,
    /// The adapter's own description.
    pub adapter: AdapterReport,
}

/// Runs every check and passes each to `on_check` when it is done. The shapes are those of `model`, which is
/// one of [`bench::MODELS`] or a directory with a config.json.
///
/// # Errors
/// `Error::Option`, `Error::File` and `Error::Io` for a model that is not there. A failure of the device is
/// not an error: the report holds it.
pub fn run(subject: &Subject, model: &str, on_check: &mut dyn FnMut(&Check)) -> Result<Report> {
    let one_pair = bench::Options::one_pair(model);
    let dims = bench::dims(model)?;
    let recipe = one_pair.within(&dims);
    let mut checks = Vec::new();
    let mut done = |check: Check| {
        on_check(&check);
        checks.push(check);
    };
    for op in OPS {
        for variant in op.variants(Precision::F32) {
            let check = cases(subject, op, variant, Precision::F32);
            check.into_iter().for_each(&mut done);
        }
    }
    if subject.adapter.matrix_units.any() {
        for op in OPS {
            for variant in op.variants(Precision::Mixed) {
                let check = cases(subject, op, variant, Precision::Mixed);
                check.into_iter().for_each(&mut done);
            }
        }
    }
    let limits = limits(subject, &dims, &recipe);
    // If the model does not fit, the other checks use a small one, so that they still test the computation.
    let (shapes, dims) = match limits.misses.is_empty() {
        true => (recipe, dims),
        false => (bench::Options::one_pair(SMALL), bench::dims(SMALL)?),
    };
    done(limits);
    done(real_shapes(subject, &dims, &shapes, Precision::F32));
    if subject.adapter.matrix_units.any() {
        done(real_shapes(subject, &dims, &shapes, Precision::Mixed));
    }
    done(first_loss(subject));
    done(determinism(subject));
    Ok(Report {
        date: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        adapter: subject.adapter.clone(),
        checked: subject.options.checked,
        model: model.to_owned(),
        checks,
    })
}

impl About {
    fn of(precision: Precision) -> About {
        match precision {
            Precision::F32 => About::Device,
            Precision::Mixed => About::Mixed,
        }
    }
}

impl Check {
    /// A check of the device; an error becomes a failure of the check.
    fn new(name: impl Into<String>, outcome: Result<(String, Vec<String>)>) -> Check {
        let (found, misses) = outcome.unwrap_or_else(|e| (String::new(), vec![e.to_string()]));
        Check {
            name: name.into(),
            found,
            misses,
            about: About::Device,
        }
    }
}

impl Subject<'_> {
    fn engine(&self, variant: Variant, precision: Precision) -> Result<GpuEngine> {
        (self.open)(OpenOptions {
            variant,
            precision,
            tuning: None,
            ..self.options.clone()
        })
    }

    /// An engine as a run without autotune opens it.
    fn usual(&self) -> Result<GpuEngine> {
        self.engine(Variant::Best, Precision::F32)
    }
}

/// Runs an op's made-up cases, each kernel with this variant if it has the variant; `None` if the device cannot
/// run the variant.
fn cases(subject: &Subject, op: &Op, variant: &'static str, precision: Precision) -> Option<Check> {
    let name = match variant {
        "" => op.name.to_owned(),
        variant => format!("{} [{variant}]", op.name),
    };
    let mut ran = true;
    let mut compare = || {
        // The narrower binding is meant for a model's weights; the cases keep their own buffers whole.
        let mut engine = (subject.open)(OpenOptions {
            variant: Variant::Named(variant),
            precision,
            tuning: None,
            max_binding_bytes: None,
            ..subject.options.clone()
        })?;
        let held = twins::hold(&mut engine, op, precision)?;
        ran = variant.is_empty() || engine.chosen().any(|(_, way)| way == variant);
        Ok((format!("{} cases, {}", held.cases, held.worst), held.misses))
    };
    let check = Check {
        about: About::of(precision),
        ..Check::new(name, compare())
    };
    ran.then_some(check)
}

/// Checks that the model's recipe fits the device's bindings and memory.
fn limits(subject: &Subject, dims: &Dims, one_pair: &bench::Options) -> Check {
    let recipe = bench::Options {
        batch_size: TrainConfig::default().batch_size,
        ..one_pair.clone()
    };
    let count = || {
        let mut engine = subject.usual()?;
        let max = engine.max_binding_bytes();
        let mut planner = Planner::new(max, usize::MAX);
        let shards = Workload::empty(&mut planner, dims, &recipe)?.vocabulary_shards();
        Workload::empty(&mut engine, dims, &recipe)?;
        engine.wait()?;
        let found = format!(
            "{} takes {} MiB and cached references; largest binding {} MiB, vocabulary in {shards}",
            recipe.model,
            planner.bytes() >> 20,
            max >> 20,
        );
        Ok((found, Vec::new()))
    };
    Check {
        about: About::Room,
        ..Check::new("limits", count())
    }
}

/// Checks every kernel of the model's optimizer step, in every variant, on the step's own data.
fn real_shapes(
    subject: &Subject,
    dims: &Dims,
    recipe: &bench::Options,
    precision: Precision,
) -> Check {
    let name = match precision {
        Precision::F32 => "real shapes",
        Precision::Mixed => "real shapes [mixed]",
    };
    let compare = || {
        let mut engine = subject.engine(Variant::Best, precision)?;
        let mut work = Workload::new(&mut engine, dims, recipe)?;
        let (mut met, mut worst, mut misses) = (Vec::new(), Distance::default(), Vec::new());
        let mut count = 0;
        let mut on_run = |engine: &mut dyn Device, rec: &Recording| {
            engine.run_each(rec, |engine, step| {
                let kind = (step.kernel.name(), step.sizes());
                if !met.contains(&kind) {
                    for Compared { kernel, distance } in engine.compare(step)? {
                        count += 1;
                        let (name, sizes) = &kind;
                        let mut miss = |what: String| {
                            misses.push(format!("{name} [{}] {sizes:?}: {what}", kernel.variant));
                        };
                        match distance {
                            Ok(Some(off)) => {
                                worst = worst.worse(off);
                                if !off.within(&Distance::REAL) {
                                    miss(off.to_string());
                                }
                            }
                            Ok(None) => miss("changed nothing, nor did the twin".into()),
                            Err(e) => miss(e.to_string()),
                        }
                    }
                    met.push(kind);
                }
                engine.run(&Recording::of(vec![*step]))?;
                Ok(())
            })
        };
        let mut tap = Tap::new(&mut engine, &mut on_run);
        work.accumulate(&mut tap, 0)?;
        let ticket = work.update(&mut tap)?;
        work.report(&mut engine, ticket)?;
        let found = format!(
            "{count} kernels and variants at {}'s, {worst}",
            recipe.model
        );
        Ok((found, misses))
    };
    Check {
        about: About::of(precision),
        ..Check::new(name, compare())
    }
}

/// The model for the checks of whole steps.
const SMALL: &str = "small";

/// Checks the first loss. Before the first step the policy equals the reference, so every pair's loss is ln 2.
fn first_loss(subject: &Subject) -> Check {
    let measure = || {
        let mut engine = subject.usual()?;
        let dims = bench::dims(SMALL)?;
        let work = Workload::new(&mut engine, &dims, &bench::Options::one_pair(SMALL))?;
        let loss = work.first_loss(&mut engine)?;
        let miss = format!("is not ln 2 = {LN_2:.7}");
        let off = (loss - LN_2).abs();
        let misses = if off <= 1e-6 { vec![] } else { vec![miss] };
        Ok((format!("{loss:.7}"), misses))
    };
    Check::new("first loss", measure())
}

/// The number of steps of the repeated run.
const STEPS: usize = 3;

/// Checks that two runs of a few steps end in the same weights, bit by bit.
fn determinism(subject: &Subject) -> Check {
    let train = || {
        let mut engine = subject.usual()?;
        let dims = bench::dims(SMALL)?;
        let mut work = Workload::new(&mut engine, &dims, &bench::Options::one_pair(SMALL))?;
        let start = work.weights(&mut engine)?;
        for _ in 0..STEPS {
            work.accumulate(&mut engine, 0)?;
            let ticket = work.update(&mut engine)?;
            work.report(&mut engine, ticket)?;
        }
        Ok((start, work.weights(&mut engine)?))
    };
    let twice = || {
        let ((start, first), (_, second)) = (train()?, train()?);
        let different = |a: &[Vec<f32>], b: &[Vec<f32>]| {
            let pairs = a.iter().flatten().zip(b.iter().flatten());
            pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count()
        };
        let mut misses = Vec::new();
        match different(&first, &second) {
            0 => {}
            count => misses.push(format!("{count} weights differ")),
        }
        // Equal bits prove nothing if no step changed the weights.
        if first.iter().flatten().any(|w| !w.is_finite()) || different(&start, &first) == 0 {
            misses.push("the steps were not taken".into());
        }
        Ok((format!("{STEPS} steps twice"), misses))
    };
    Check::new("same bits", twice())
}
