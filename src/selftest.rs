//! Whether a device can be trusted: every kernel and variant against its CPU twin, on awkward shapes and on
//! those of a real model; training twice to the same bits; the loss that every run begins with; and
//! whether the model fits.

use std::f64::consts::LN_2;
use std::time::SystemTime;

use serde::Serialize;

use crate::bench::{self, Work};
use crate::config::TrainConfig;
use crate::distance::Distance;
use crate::engine::{Engine, Tap};
use crate::error::Result;
use crate::gpu::{AdapterReport, GpuEngine, OpenOptions, Variant};
use crate::kernel::Precision;
use crate::model::Dims;
use crate::ops::{OPS, Op};
use crate::plan::Planner;
use crate::recording::Recording;
use crate::twins;

/// What one line says.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// What came out, in words.
    pub found: String,
    /// What is wrong, each in words; empty if nothing is.
    pub misses: Vec<String>,
    /// Only `--precision mixed` stands on it.
    pub mixed: bool,
}

/// Everything found, for people and as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// When, in UTC: ISO 8601.
    pub date: String,
    /// This crate's.
    pub version: &'static str,
    /// Operating system and architecture.
    pub platform: String,
    /// The device, its driver, its limits and features.
    pub adapter: AdapterReport,
    /// Shaders were compiled with checks.
    pub checked: bool,
    /// The model whose shapes were used.
    pub model: String,
    /// A line each.
    pub checks: Vec<Check>,
}

impl Report {
    /// True if the device can be trusted in f32.
    pub fn is_trusted(&self) -> bool {
        self.checks.iter().all(|c| c.mixed || c.misses.is_empty())
    }

    /// True if it can in mixed precision as well; `None` if it has no matrix units for that.
    pub fn is_trusted_mixed(&self) -> Option<bool> {
        let mut mixed = self.checks.iter().filter(|check| check.mixed).peekable();
        mixed.peek()?;
        Some(self.is_trusted() && mixed.all(|check| check.misses.is_empty()))
    }
}

/// A device under test.
pub struct Subject<'a> {
    /// Opens it anew.
    pub open: &'a dyn Fn(OpenOptions) -> Result<GpuEngine>,
    /// How, but for variant, tuning and precision.
    pub options: OpenOptions,
    /// What it says of itself.
    pub adapter: AdapterReport,
}

/// Runs every check, giving each to `on_check` as it is done. The shapes are of `model`, one of
/// [`bench::MODELS`] or a directory with a config.json.
///
/// # Errors
/// `Error::Option`, `Error::File` and `Error::Io` for a model that is not there. What goes wrong on the device
/// is no error, but in the report.
pub fn run(subject: &Subject, model: &str, on_check: &mut dyn FnMut(&Check)) -> Result<Report> {
    let recipe = bench::Options::one_pair(model);
    let dims = bench::dims(model)?;
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
    done(limits(subject, &dims, &recipe));
    done(real_shapes(subject, &dims, &recipe, Precision::F32));
    if subject.adapter.matrix_units.any() {
        done(real_shapes(subject, &dims, &recipe, Precision::Mixed));
    }
    done(first_loss(subject));
    done(determinism(subject));
    Ok(Report {
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        adapter: subject.adapter.clone(),
        checked: subject.options.checked,
        model: model.to_owned(),
        checks,
    })
}

impl Check {
    /// From what was found, or from what kept it from being found.
    fn new(name: impl Into<String>, outcome: Result<(String, Vec<String>)>) -> Check {
        let (found, misses) = outcome.unwrap_or_else(|e| (String::new(), vec![e.to_string()]));
        Check {
            name: name.into(),
            found,
            misses,
            mixed: false,
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

    /// As a run without autotune has it.
    fn usual(&self) -> Result<GpuEngine> {
        self.engine(Variant::Best, Precision::F32)
    }
}

/// An op's made-up cases, all by one variant where its kernels have that; `None` if the device cannot run
/// it.
fn cases(subject: &Subject, op: &Op, variant: &'static str, precision: Precision) -> Option<Check> {
    let name = match variant {
        "" => op.name.to_owned(),
        variant => format!("{} [{variant}]", op.name),
    };
    let mut ran = true;
    let mut compare = || {
        let mut engine = subject.engine(Variant::Named(variant), precision)?;
        let held = twins::hold(&mut engine, op, precision)?;
        ran = variant.is_empty() || engine.chosen().any(|(_, way)| way == variant);
        Ok((format!("{} cases, {}", held.cases, held.worst), held.misses))
    };
    let check = Check {
        mixed: precision == Precision::Mixed,
        ..Check::new(name, compare())
    };
    ran.then_some(check)
}

/// Whether the recipe for the model fits what the device can bind.
fn limits(subject: &Subject, dims: &Dims, one_pair: &bench::Options) -> Check {
    let recipe = bench::Options {
        batch_size: TrainConfig::default().batch_size,
        ..one_pair.clone()
    };
    let count = || {
        let max = subject.usual()?.max_binding_bytes();
        let mut planner = Planner::new(max, usize::MAX);
        let shards = Work::empty(&mut planner, dims, &recipe)?.vocabulary_shards();
        let found = format!(
            "{} takes {} MiB and cached references; largest binding {} MiB, vocabulary in {shards}",
            recipe.model,
            planner.bytes() >> 20,
            max >> 20,
        );
        Ok((found, Vec::new()))
    };
    Check::new("limits", count())
}

/// Every kernel of an optimizer step of the model, by every variant, on the step's own data.
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
        let mut work = Work::new(&mut engine, dims, recipe)?;
        let (mut met, mut worst, mut misses) = (Vec::new(), Distance::default(), Vec::new());
        let mut count = 0;
        let mut on_run = |engine: &mut dyn Engine, rec: &Recording| {
            for step in &rec.steps {
                let kind = (step.kernel.name(), step.sizes());
                if !met.contains(&kind) {
                    for (way, off) in engine.compare(step)? {
                        count += 1;
                        // Of no distance where it neither did nor had to change anything.
                        let off = off.unwrap_or_default();
                        worst = worst.worse(off);
                        if !off.within(&Distance::REAL) {
                            let (kernel, sizes) = &kind;
                            misses.push(format!("{kernel} [{}] {sizes:?}: {off}", way.variant));
                        }
                    }
                    met.push(kind);
                }
                engine.run(&Recording::from(vec![*step]))?;
            }
            Ok(())
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
        mixed: precision == Precision::Mixed,
        ..Check::new(name, compare())
    }
}

/// The model on which whole steps are tried.
const SMALL: &str = "small";

/// Before the first step the policy is the reference: every pair's loss is ln 2.
fn first_loss(subject: &Subject) -> Check {
    let measure = || {
        let mut engine = subject.usual()?;
        let dims = bench::dims(SMALL)?;
        let work = Work::new(&mut engine, &dims, &bench::Options::one_pair(SMALL))?;
        let loss = work.first_loss(&mut engine)?;
        let miss = format!("is not ln 2 = {LN_2:.7}");
        let off = (loss - LN_2).abs();
        let misses = if off <= 1e-6 { vec![] } else { vec![miss] };
        Ok((format!("{loss:.7}"), misses))
    };
    Check::new("first loss", measure())
}

/// Steps of the run that is repeated.
const STEPS: usize = 3;

/// Two runs of a few steps end in the same weights, bit by bit.
fn determinism(subject: &Subject) -> Check {
    let train = || {
        let mut engine = subject.usual()?;
        let dims = bench::dims(SMALL)?;
        let mut work = Work::new(&mut engine, &dims, &bench::Options::one_pair(SMALL))?;
        for _ in 0..STEPS {
            work.accumulate(&mut engine, 0)?;
            let ticket = work.update(&mut engine)?;
            work.report(&mut engine, ticket)?;
        }
        work.weights(&mut engine)
    };
    let twice = || {
        let (first, second) = (train()?, train()?);
        let values = first.iter().flatten().zip(second.iter().flatten());
        let different = values.filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        let miss = format!("{different} weights differ");
        let misses = if different == 0 { vec![] } else { vec![miss] };
        Ok((format!("{STEPS} steps twice"), misses))
    };
    Check::new("same bits", twice())
}
