//! Audits: a micro-batch is computed on the CPU too, because GPUs and drivers can compute wrong numbers.

use super::{Event, Run};
use crate::batch::Stream;
use crate::distance::Distance;
use crate::dpo::PairMetrics;
use crate::engine::EngineExt;
use crate::error::{Error, Result};
use crate::recording::Recording;
use crate::scorer::{Share, Whole};
use crate::shadow::Shadow;
use crate::target::Precision;

/// The largest relative differences (L2) between a right device and the CPU over a whole model. In mixed precision an
/// operand that lies between two numbers of f16 may go either way.
struct Bounds {
    /// Of losses, and of log-probs.
    values: f64,
    /// Of the gradient, and of each kernel's results.
    gradient: f64,
}

impl Bounds {
    fn of(precision: Precision) -> Bounds {
        match precision {
            Precision::F32 => Bounds {
                values: 1e-4,
                gradient: 1e-3,
            },
            Precision::Mixed => Bounds {
                values: 1e-2,
                gradient: 5e-2,
            },
        }
    }
}

/// A quantity in which the device and the CPU differ.
struct Difference {
    what: &'static str,
    relative: f64,
    bound: f64,
}

impl Run<'_> {
    /// True if an audit is due before this step, counted from 0.
    pub(super) fn audits_before(&self, step: usize) -> bool {
        let every = self.config.audit_steps;
        every > 0 && (step + 1).is_multiple_of(every)
    }

    /// Computes the first micro-batch of these pairs on the device and on the CPU, from the same weights, and leaves
    /// the device's state as it was. No step may be in flight.
    ///
    /// # Errors
    /// `Error::Device` naming the first kernel that is wrong, if the two differ; then a checkpoint is saved. Every
    /// error of the device.
    pub(super) fn audit(&mut self, pairs: &[usize]) -> Result<()> {
        let micro = &pairs[..self.micro_batch.min(pairs.len())];
        let examples = micro.iter().map(|&e| &self.train.examples[e]);
        let stream = Stream::new(examples, self.objective.sides());
        let share = Share {
            first_slot: 0,
            of: Whole::of(micro.iter().map(|&e| &self.train.examples[e])),
        };
        let reference = self.reference(|kept| &kept.train, micro);
        let recording = self
            .learner
            .record(self.engine, &stream, reference, share)?;

        let mut shadow = Shadow::of(self.engine, &recording, self.config.precision)?;
        shadow.run(&recording)?;
        self.engine.run(&recording)?;
        let difference = self.difference(&mut shadow, micro.len());
        self.forget_gradient()?;
        let Some(difference) = difference? else {
            self.audited = self.position.step;
            return Ok(());
        };
        let kernel = self.first_wrong_kernel(&mut shadow, &recording);
        self.forget_gradient()?;
        self.leave();
        let kernel = match kernel? {
            Some(kernel) => format!("the first kernel that is wrong is {kernel}"),
            None => "kernel by kernel, a second computation agrees: the device computes wrong now and then".to_owned(),
        };
        let Difference {
            what,
            relative,
            bound,
        } = difference;
        Err(Error::device(
            format!(
                "audit after step {}: {} is wrong: {what} differs from the CPU's by {relative:.1e} of it (at most \
                 {bound:.0e} is rounding); {kernel}. The audit after step {} found nothing",
                self.position.step,
                self.engine.name(),
                self.audited
            ),
            "trust no result since then; `gpt2-dpo selftest` checks the device; update its driver, or use `.device` cpu",
        ))
    }

    /// The first quantity in which the device and its shadow differ by more than rounding; `None` also if the shadow's
    /// own numbers overflow.
    fn difference(&mut self, shadow: &mut Shadow, pairs: usize) -> Result<Option<Difference>> {
        let bounds = Bounds::of(self.config.precision);
        let metrics = self.learner.policy.metrics_of(pairs);
        let ours: Vec<PairMetrics> = bytemuck::pod_collect_to_vec(&self.engine.read(metrics)?);
        let theirs: Vec<PairMetrics> = bytemuck::pod_collect_to_vec(&shadow.read(metrics)?);
        type Get = fn(&PairMetrics) -> [f32; 2];
        let of_pairs: [(&str, Get); 2] = [
            ("the loss", |pair| [pair.loss, 0.0]),
            ("the log-probs", |pair| {
                [pair.chosen_logp, pair.rejected_logp]
            }),
        ];
        let mut sums = Sums::default();
        for (what, get) in of_pairs {
            let flat = |pairs: &[PairMetrics]| pairs.iter().flat_map(get).collect::<Vec<f32>>();
            let relative = Sums::default()
                .with(&flat(&ours), &flat(&theirs))
                .relative();
            if let Some(difference) = beyond(what, relative, bounds.values) {
                return Ok(Some(difference));
            }
        }
        for &arena in &self.learner.grads.arenas {
            let ours = self.engine.read_f32(arena)?;
            let theirs: Vec<f32> = bytemuck::cast_vec(shadow.read(arena)?);
            sums = sums.with(&ours, &theirs);
        }
        Ok(beyond("the gradient", sums.relative(), bounds.gradient))
    }

    /// Runs the recording step by step on the device and on copies of what its buffers hold, and names the first kernel
    /// whose results differ.
    fn first_wrong_kernel(
        &mut self,
        shadow: &mut Shadow,
        recording: &Recording,
    ) -> Result<Option<String>> {
        let bound = Distance {
            relative_l2: Bounds::of(self.config.precision).gradient,
            relative_max: f64::INFINITY,
        };
        self.engine.send_uploads(recording)?;
        for (i, step) in recording.steps.iter().enumerate() {
            let off = shadow.compare(self.engine, step)?;
            if let Some(off) = off.filter(|off| !off.within(&bound)) {
                let variant = match self.engine.variant(step) {
                    "" => String::new(),
                    variant => format!(" ({variant})"),
                };
                let (name, sizes) = (step.kernel.name(), step.sizes());
                let count = recording.steps.len();
                return Ok(Some(format!(
                    "{name}{variant} over {sizes:?}, step {} of {count}: {off}",
                    i + 1
                )));
            }
        }
        Ok(None)
    }

    /// Sets the gradient to zero, as it is between optimizer steps.
    fn forget_gradient(&mut self) -> Result<()> {
        for &arena in &self.learner.grads.arenas {
            self.engine.write(arena, &vec![0; arena.words])?;
        }
        Ok(())
    }

    /// Says once that audits of the CPU engine tell nothing.
    pub(super) fn say_idle_audits(&mut self) {
        if self.config.audit_steps > 0 && self.engine.name().starts_with("CPU") {
            let note = "audits compare the CPU with itself here, and cost time only".to_owned();
            (self.observe)(Event::Note(note));
        }
    }
}

fn beyond(what: &'static str, relative: f64, bound: f64) -> Option<Difference> {
    // NaN is beyond every bound.
    let within = relative <= bound;
    (!within).then_some(Difference {
        what,
        relative,
        bound,
    })
}

/// Sums of squares of differences and of values.
#[derive(Clone, Copy, Default)]
struct Sums {
    error: f64,
    norm: f64,
}

impl Sums {
    fn with(self, ours: &[f32], theirs: &[f32]) -> Sums {
        let pairs = ours.iter().zip(theirs);
        pairs.fold(self, |sums, (&a, &b)| {
            let (a, b) = (f64::from(a), f64::from(b));
            Sums {
                error: sums.error + (a - b) * (a - b),
                norm: sums.norm + b * b,
            }
        })
    }

    /// ‖a − b‖ / ‖b‖; 0 if both are 0, and if b, the CPU's, is not finite: then the step is skipped on both.
    fn relative(self) -> f64 {
        match self {
            Sums { norm, .. } if !norm.is_finite() => 0.0,
            Sums { error: 0.0, .. } => 0.0,
            Sums { error, norm } => (error / norm).sqrt(),
        }
    }
}
