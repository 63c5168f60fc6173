//! A training run: epochs, gradient accumulation, schedule, evaluation, metrics.

mod metrics;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use crate::batch::Stream;
use crate::checkpoint::{self, Weights};
use crate::config::TrainConfig;
use crate::data::{self, Dataset};
use crate::dpo::Summary;
use crate::engine::{Device, Release};
use crate::error::{Error, Result};
use crate::learner::{Broken, Learner, StepTicket};
use crate::model::{Dims, Tensors};
use crate::objective::Objective;
use crate::plan::{Datasets, Resident};
use crate::reference::{Cache, ReferenceLogProbs};
use crate::schedule::Schedule;
use crate::scorer::{Reference, Scorer, Share};

use metrics::MetricsFile;
pub use metrics::{EvalRow, StepRow};

/// The most optimizer steps whose metrics are still under way while the device works on the next step.
pub(crate) const STEPS_IN_FLIGHT: usize = 1;

/// The inputs of a run: a model and its pairs.
pub struct Inputs<'a> {
    /// The model's sizes.
    pub dims: &'a Dims,
    /// The weights at the start of training, which are also the weights of the reference. The run frees them after
    /// the upload, because a GPU that shares the host's memory would hold them twice.
    pub weights: Weights,
    /// The pairs to learn from.
    pub train: &'a Dataset,
    /// Held-out pairs, if any.
    pub eval: Option<&'a Dataset>,
}

/// News of a run while it runs.
pub enum Event<'a> {
    /// A message for the user, one line.
    Note(String),
    /// The run computes the reference's log-probs.
    Reference {
        /// Pairs done.
        done: usize,
        /// All pairs of the present data set: first the training pairs, then the held-out pairs.
        total: usize,
    },
    /// The run scores the held-out pairs.
    Evaluating {
        /// Pairs done.
        done: usize,
        /// All held-out pairs.
        total: usize,
    },
    /// An optimizer step is finished.
    Step {
        /// The step's row in metrics.jsonl.
        row: &'a StepRow,
        /// Optimizer steps of the run.
        total: usize,
    },
    /// An evaluation is finished.
    Eval {
        /// Optimizer steps before it; 0 = before training.
        step: usize,
        /// Means over the held-out pairs.
        summary: &'a Summary,
    },
}

/// The results of a finished run.
pub struct Outcome {
    /// The trained parameters.
    pub weights: Weights,
    /// Optimizer steps of the run.
    pub steps: usize,
    /// Steps that the optimizer skipped, because a gradient overflowed in mixed precision.
    pub skipped: usize,
    /// Means over the held-out pairs before the first step; `None` without held-out pairs.
    pub before: Option<Summary>,
    /// Means over the held-out pairs after the last step; `None` without held-out pairs.
    pub after: Option<Summary>,
}

/// The error and the last weights of a run that stopped early.
#[derive(Debug)]
pub struct Stopped {
    /// The error that stopped the run.
    pub error: Error,
    /// The weights after the last good step; `None` without a good step, or if one of the weights is not finite.
    pub good: Option<Weights>,
}

/// A training run on one device.
pub struct Run<'a> {
    engine: &'a mut dyn Device,
    config: &'a TrainConfig,
    train: &'a Dataset,
    eval: Option<&'a Dataset>,
    objective: Objective,
    /// Pairs of a micro-batch: `batch_size`, or fewer if so many do not fit the device.
    micro_batch: usize,
    learner: Learner,
    frozen: Option<Tensors>,
    /// The fingerprint of the weights at the start; `None` if the run keeps no log-probs of a reference.
    fingerprint: Option<String>,
    /// The reference's log-probs; `None` until the run computes them or finds them in the cache.
    references: Option<References>,
    metrics: MetricsFile,
    skipped: usize,
    observe: &'a mut dyn FnMut(Event),
}

/// The results of the optimizer steps and evaluations of a run.
struct Steps {
    total: usize,
    before: Option<Summary>,
    after: Option<Summary>,
}

/// The reference's log-probs of the run's pairs. They are empty if the frozen weights are on the device, or if the
/// objective needs no reference.
#[derive(Default)]
struct References {
    train: ReferenceLogProbs,
    eval: ReferenceLogProbs,
}

/// An optimizer step whose metrics are under way.
struct Flight {
    ticket: StepTicket,
    step: usize,
    epoch: f64,
    learning_rate: f64,
    pairs: usize,
    tokens: usize,
    num_tokens: usize,
}

impl<'a> Run<'a> {
    /// Makes the run's buffers on the device and uploads the weights. `out` is the run's directory; it must exist,
    /// and gets `metrics.jsonl`.
    ///
    /// # Errors
    /// `Error::Device` if the buffers do not fit the device; `Error::Io` for `metrics.jsonl`; every error of the
    /// device.
    pub fn new(
        engine: &'a mut dyn Device,
        config: &'a TrainConfig,
        inputs: Inputs<'a>,
        out: &Path,
        observe: &'a mut dyn FnMut(Event),
    ) -> Result<Run<'a>> {
        let Inputs {
            dims,
            weights,
            train,
            eval,
        } = inputs;
        let data = Datasets { train, eval };
        let resident = Resident::new(engine, config, dims, data)?;
        let micro_batch = resident.micro_batch();
        let Resident {
            learner,
            frozen,
            note,
            ..
        } = resident;
        if let Some(note) = note {
            observe(Event::Note(note));
        }
        for tensors in std::iter::once(&learner.policy.weights).chain(&frozen) {
            tensors.write(engine, &weights.tensors)?;
        }
        let objective = config.objective();
        let keeps = objective.needs_reference() && frozen.is_none();
        Ok(Run {
            engine,
            config,
            train,
            eval,
            objective,
            micro_batch,
            learner,
            frozen,
            fingerprint: keeps.then(|| checkpoint::fingerprint(dims, &weights)),
            references: None,
            metrics: MetricsFile::create(out)?,
            skipped: 0,
            observe,
        })
    }

    /// Computes the reference's log-probs of all pairs, or loads them from the cache. The reference is the model
    /// before the first step, and the computation is a forward pass over all pairs. [`Run::train`] calls this
    /// first, unless the caller already did.
    ///
    /// # Errors
    /// `Error::Option` for an id or a position that the model does not have; `Error::NotFinite` if a
    /// log-prob is NaN or infinite; every error of the device.
    pub fn prepare_reference(&mut self) -> Result<()> {
        let mut references = References::default();
        if let Some(fingerprint) = self.fingerprint.clone() {
            references.train = self.reference_of(self.train, &fingerprint)?;
            if let Some(eval) = self.eval {
                references.eval = self.reference_of(eval, &fingerprint)?;
            }
        }
        self.references = Some(references);
        self.pass_notes_on();
        Ok(())
    }

    /// Loads the log-probs of `data` from the cache, or computes them with the present weights and stores them.
    fn reference_of(&mut self, data: &Dataset, fingerprint: &str) -> Result<ReferenceLogProbs> {
        let dir = self.config.cache_dir.as_deref();
        let cache = match dir.zip(data.examples.chunks(self.micro_batch).next()) {
            Some((dir, pairs)) => {
                let stream = Stream::new(pairs, self.objective.sides());
                let device = self.learner.policy.identity(self.engine, &stream)?;
                Some(Cache::new(dir, fingerprint, &device, &data.examples))
            }
            None => None,
        };
        if let Some(kept) = cache.as_ref().and_then(|c| c.load(&data.examples)) {
            return Ok(kept);
        }
        let total = data.examples.len();
        let mut values = Vec::new();
        for (i, pairs) in data.examples.chunks(self.micro_batch).enumerate() {
            let stream = Stream::new(pairs, self.objective.sides());
            let logps = self.learner.policy.log_probs(self.engine, &stream)?;
            if logps.iter().any(|l| !l.is_finite()) {
                return Err(Error::NotFinite {
                    step: 0,
                    what: format!(
                        "the model's log-probs are not finite for a pair from {} on",
                        pairs[0].place
                    ),
                    help: "check the model's weights; `gpt2-dpo selftest` checks the device".into(),
                });
            }
            values.extend(logps);
            let done = (i * self.micro_batch + pairs.len()).min(total);
            (self.observe)(Event::Reference { done, total });
        }
        let logps = ReferenceLogProbs::new(&data.examples, values);
        if let Some(Err(e)) = cache.map(|c| c.store(&logps)) {
            let note = format!("the reference's log-probs are not kept for the next run: {e}");
            (self.observe)(Event::Note(note));
        }
        Ok(logps)
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`Stopped`] with `Error::Io` for `metrics.jsonl`; with `Error::Option` and `Error::NotFinite` as in
    /// [`Run::prepare_reference`]; with `Error::NotFinite` if a loss, a gradient or a trained weight is NaN or
    /// infinite; with every error of the device.
    pub fn train(mut self) -> Result<Outcome, Stopped> {
        match self.steps() {
            Ok(steps) => self
                .finish(steps)
                .map_err(|error| Stopped { error, good: None }),
            Err(error) => {
                let good = match self.metrics.good_steps {
                    0 => None,
                    // The optimizer skips a step whose gradient is not finite, so the weights are still those
                    // of the last good step.
                    good => finite_weights(self.engine, &self.learner.policy, good).ok(),
                };
                Err(Stopped { error, good })
            }
        }
    }

    /// Runs all optimizer steps and evaluations.
    fn steps(&mut self) -> Result<Steps> {
        if self.references.is_none() {
            self.prepare_reference()?;
        }
        let examples = &self.train.examples;
        let per_step = self.config.pairs_per_step();
        let steps_per_epoch = examples.len().div_ceil(per_step);
        let total = self.config.total_steps(examples.len());
        let schedule = Schedule {
            scheduler: self.config.lr_scheduler,
            peak: self.config.learning_rate,
            warmup_steps: self.config.warmup_steps,
            total_steps: total,
        };
        if schedule.warmup_steps >= total {
            let note = format!(
                "the warm-up of {} steps is as long as the run",
                schedule.warmup_steps
            );
            (self.observe)(Event::Note(note));
        }
        let in_flight = match self.engine.is_asynchronous() {
            true => STEPS_IN_FLIGHT,
            false => 0,
        };
        let before = self.evaluate(0, 0.0)?;
        let mut after = None;
        let mut flights = VecDeque::new();
        let mut clock = Instant::now();
        let mut num_tokens = 0;
        let mut order = Vec::new();
        for step in 0..total {
            let within = step % steps_per_epoch;
            if within == 0 {
                order = self.order(step / steps_per_epoch);
            }
            let first = within * per_step;
            let pairs = &order[first..(first + per_step).min(order.len())];
            let tokens = self.accumulate(pairs)?;
            num_tokens += tokens;
            let learning_rate = schedule.at(step);
            let ticket = self
                .learner
                .update(self.engine, learning_rate, pairs.len())?;
            flights.push_back(Flight {
                ticket,
                step: step + 1,
                epoch: (step + 1) as f64 / steps_per_epoch as f64,
                learning_rate,
                pairs: pairs.len(),
                tokens,
                num_tokens,
            });
            let last = step + 1 == total;
            let eval_due = self.config.eval_steps > 0 && (step + 1) % self.config.eval_steps == 0;
            let keep = if last || eval_due { 0 } else { in_flight };
            while flights.len() > keep {
                if let Some(flight) = flights.pop_front() {
                    self.land(flight, total, &mut clock)?;
                }
            }
            if last || eval_due {
                let epoch = (step + 1) as f64 / steps_per_epoch as f64;
                after = self.evaluate(step + 1, epoch)?;
                clock = Instant::now();
            }
        }
        Ok(Steps {
            total,
            before,
            after,
        })
    }

    /// Frees training's buffers and reads the weights back to the host.
    fn finish(self, steps: Steps) -> Result<Outcome> {
        // Without these buffers the host's copy of the weights needs no more memory than training did.
        if let Some(frozen) = self.frozen {
            frozen.release(self.engine);
        }
        let policy = self.learner.into_policy(self.engine);
        Ok(Outcome {
            weights: finite_weights(self.engine, &policy, self.metrics.good_steps)?,
            steps: steps.total,
            skipped: self.skipped,
            before: steps.before,
            after: steps.after,
        })
    }

    /// The reference for the examples `indices`: the frozen weights if they are on the device, otherwise their
    /// log-probs in the data set that `kept` selects.
    fn reference(
        &self,
        kept: impl Fn(&References) -> &ReferenceLogProbs,
        indices: &[usize],
    ) -> Reference<'_> {
        match (&self.frozen, &self.references) {
            _ if !self.objective.needs_reference() => Reference::None,
            (Some(frozen), _) => Reference::Model(frozen),
            (None, Some(references)) => Reference::LogProbs(kept(references).gather(indices)),
            (None, None) => Reference::None,
        }
    }

    fn order(&self, epoch: usize) -> Vec<usize> {
        let count = self.train.examples.len();
        if self.config.no_shuffle {
            (0..count).collect()
        } else {
            data::shuffled(count, self.config.seed, epoch as u64)
        }
    }

    /// Accumulates the gradient of the mean loss over these pairs, one micro-batch after another; returns the
    /// number of their tokens.
    fn accumulate(&mut self, pairs: &[usize]) -> Result<usize> {
        let mut tokens = 0;
        for (i, micro) in pairs.chunks(self.micro_batch).enumerate() {
            let examples = micro.iter().map(|&e| &self.train.examples[e]);
            let stream = Stream::new(examples, self.objective.sides());
            let share = Share {
                first_slot: i * self.micro_batch,
                of: pairs.len(),
            };
            let reference = self.reference(|kept| &kept.train, micro);
            let recording = self
                .learner
                .record(self.engine, &stream, reference, share)?;
            self.engine.run(&recording)?;
            tokens += stream.num_tokens;
        }
        Ok(tokens)
    }

    fn pass_notes_on(&mut self) {
        for note in self.engine.notes() {
            (self.observe)(Event::Note(note));
        }
    }

    /// Waits for a step's metrics, writes its row and reports it to the observer.
    fn land(&mut self, flight: Flight, total: usize, clock: &mut Instant) -> Result<()> {
        let report = self.learner.report(self.engine, flight.ticket)?;
        let seconds = clock.elapsed().as_secs_f64();
        *clock = Instant::now();
        self.pass_notes_on();
        let for_good = report.broken == Some(Broken::ForGood);
        if for_good || !report.loss_is_finite() {
            return Err(Error::NotFinite {
                step: flight.step as u64,
                what: match for_good {
                    true => "a gradient is NaN or infinite; the step was not taken".into(),
                    false => "the loss is NaN or infinite".into(),
                },
                help: "lower `.learning_rate`, or check the data around this step; \
                       `gpt2-dpo selftest` checks the device"
                    .into(),
            });
        }
        if let (Some(Broken::Overflow), Some(scale)) = (report.broken, report.loss_scale) {
            self.skipped += 1;
            let note = format!(
                "step {}: a gradient overflowed and the step was not taken; the loss scale is {scale} now",
                flight.step
            );
            (self.observe)(Event::Note(note));
        }
        let row = StepRow {
            step: flight.step,
            epoch: flight.epoch,
            summary: self.objective.summary(&report.pairs),
            learning_rate: flight.learning_rate,
            grad_norm: f64::from(report.grad_norm),
            loss_scale: report.loss_scale,
            num_tokens: flight.num_tokens,
            pairs_per_second: flight.pairs as f64 / seconds,
            tokens_per_second: flight.tokens as f64 / seconds,
        };
        if report.broken.is_none() {
            self.metrics.good_steps += 1;
        }
        self.metrics.write(&row)?;
        (self.observe)(Event::Step { row: &row, total });
        Ok(())
    }

    /// Scores the held-out pairs and returns the means over them; `None` without held-out pairs.
    fn evaluate(&mut self, step: usize, epoch: f64) -> Result<Option<Summary>> {
        let Some(eval) = self.eval else {
            return Ok(None);
        };
        let total = eval.examples.len();
        for (i, pairs) in eval.examples.chunks(self.micro_batch).enumerate() {
            let stream = Stream::new(pairs, self.objective.sides());
            let slot = i * self.micro_batch;
            let indices: Vec<usize> = (slot..slot + pairs.len()).collect();
            let share = Share {
                first_slot: slot,
                of: total,
            };
            let reference = self.reference(|kept| &kept.eval, &indices);
            let policy = &self.learner.policy;
            let recording = policy.record_score(self.engine, &stream, reference, share)?;
            self.engine.run(&recording)?;
            let done = slot + pairs.len();
            (self.observe)(Event::Evaluating { done, total });
        }
        let summary = self
            .objective
            .summary(&self.learner.policy.metrics(self.engine, total)?);
        if !summary.loss.is_finite() {
            return Err(Error::NotFinite {
                step: step as u64,
                what: "the loss on the held-out pairs is NaN or infinite".into(),
                help: "check the model's weights; `gpt2-dpo selftest` checks the device".into(),
            });
        }
        self.metrics.write(&EvalRow {
            step,
            epoch,
            summary: summary.named("eval_"),
        })?;
        let tell = &mut *self.observe;
        tell(Event::Eval {
            step,
            summary: &summary,
        });
        Ok(Some(summary))
    }
}

/// Reads a policy's parameters from the device, after `good_steps` good steps.
///
/// # Errors
/// `Error::NotFinite` if one of them is NaN or infinite; every error of the device.
fn finite_weights(device: &mut dyn Device, policy: &Scorer, good_steps: usize) -> Result<Weights> {
    let tensors = policy.weights.download(device)?;
    for (tensor, values) in policy.weights.gpt2.iter().zip(&tensors) {
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::NotFinite {
                step: good_steps as u64,
                what: format!(
                    "tensor `{}` holds NaN or infinity; nothing is saved",
                    tensor.name
                ),
                help: "lower `.learning_rate`".into(),
            });
        }
    }
    Ok(Weights { tensors })
}
