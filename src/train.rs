//! A training run: epochs, accumulation, schedule, evaluation, metrics.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::batch::Stream;
use crate::checkpoint::{self, Weights};
use crate::config::TrainConfig;
use crate::data::{self, Dataset};
use crate::dpo::Summary;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::learner::{Broken, Learner, Objective, Place, Reference, StepTicket};
use crate::model::{Dims, Tensors, params};
use crate::plan::Resident;
use crate::reference::{Cache, ReferenceLogProbs};
use crate::schedule::Schedule;

/// Optimizer steps whose metrics may still be under way: the device works on the next one meanwhile.
pub(crate) const STEPS_IN_FLIGHT: usize = 1;

/// What a run learns from.
pub struct Inputs<'a> {
    /// The model's sizes.
    pub dims: &'a Dims,
    /// Where training starts, and the reference. They go once the device has them: beside a GPU that
    /// shares the host's memory they would lie there twice.
    pub weights: Weights,
    /// The pairs to learn from.
    pub train: &'a Dataset,
    /// Held-out pairs, if any.
    pub eval: Option<&'a Dataset>,
}

/// One row of metrics.jsonl for an optimizer step, under TRL's names.
#[derive(Clone, Debug, Serialize)]
pub struct StepRow {
    /// From 1.
    pub step: usize,
    /// Passes over the pairs so far, as a fraction.
    pub epoch: f64,
    /// Means over the step's pairs, before its update.
    #[serde(flatten)]
    pub summary: Summary,
    /// Of this step.
    pub learning_rate: f64,
    /// ‖g‖ over all parameters, before clipping; `null` where it is not finite and the step was not taken.
    pub grad_norm: f64,
    /// In mixed precision, the loss's after this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f32>,
    /// Tokens of prompts and responses so far, each counted once.
    pub num_tokens: usize,
    /// Since the row before, evaluations left out.
    pub pairs_per_second: f64,
    /// The same in tokens of prompts and responses, each counted once.
    pub tokens_per_second: f64,
}

/// One row of metrics.jsonl for an evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct EvalRow {
    /// Optimizer steps before it; 0 = before training.
    pub step: usize,
    /// Passes over the training pairs so far, as a fraction.
    pub epoch: f64,
    /// Means over the held-out pairs, each name beginning with `eval_`.
    #[serde(flatten)]
    pub summary: serde_json::Map<String, serde_json::Value>,
}

/// What a run tells while it runs.
pub enum Event<'a> {
    /// Something worth a line.
    Note(String),
    /// The reference's log-probs are being computed.
    Reference {
        /// Pairs done.
        done: usize,
        /// Pairs of the file in hand.
        total: usize,
    },
    /// The held-out pairs are being scored.
    Evaluating {
        /// Pairs done.
        done: usize,
        /// Held-out pairs.
        total: usize,
    },
    /// An optimizer step is done.
    Step {
        /// What metrics.jsonl got.
        row: &'a StepRow,
        /// Optimizer steps of the run.
        total: usize,
    },
    /// An evaluation is done.
    Eval {
        /// Optimizer steps before it; 0 = before training.
        step: usize,
        /// Means over the held-out pairs.
        summary: &'a Summary,
    },
}

/// What a finished run leaves.
pub struct Outcome {
    /// The trained parameters.
    pub weights: Weights,
    /// Optimizer steps of the run.
    pub steps: usize,
    /// How many of them were not taken: their gradient overflowed in mixed precision.
    pub skipped: usize,
    /// Means over the held-out pairs before the first step; `None` where there are none.
    pub before: Option<Summary>,
    /// The same after the last step.
    pub after: Option<Summary>,
}

/// A training run on one device.
pub struct Run<'a> {
    engine: &'a mut dyn Engine,
    config: &'a TrainConfig,
    train: &'a Dataset,
    eval: Option<&'a Dataset>,
    objective: Objective,
    /// Pairs that pass through the device at a time: `batch_size`, or fewer if that does not fit.
    micro_batch: usize,
    learner: Learner,
    frozen: Option<Tensors>,
    train_reference: ReferenceLogProbs,
    eval_reference: ReferenceLogProbs,
    metrics: MetricsFile,
    skipped: usize,
    observe: &'a mut dyn FnMut(Event),
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
    /// Puts everything on the device and computes (or finds) the reference's log-probs. `out` is the
    /// run's directory, which is there and gets `metrics.jsonl`.
    ///
    /// # Errors
    /// `Error::Device` if it does not fit; `Error::Io` for `metrics.jsonl`; `Error::Option` for an id or a
    /// position that the model does not have; `Error::NotFinite` if a reference log-prob is NaN or
    /// infinite.
    pub fn new(
        engine: &'a mut dyn Engine,
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
        let resident = Resident::new(engine, config, dims, (train, eval))?;
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
        let caches = matches!(objective, Objective::Sigmoid { .. }) && frozen.is_none();
        let fingerprint = caches.then(|| checkpoint::fingerprint(dims, &weights));
        drop(weights);
        let mut run = Run {
            engine,
            config,
            train,
            eval,
            objective,
            micro_batch,
            learner,
            frozen,
            train_reference: ReferenceLogProbs::default(),
            eval_reference: ReferenceLogProbs::default(),
            metrics: MetricsFile::create(out)?,
            skipped: 0,
            observe,
        };
        if let Some(fingerprint) = fingerprint {
            run.train_reference = run.reference_of(train, &fingerprint)?;
            if let Some(eval) = eval {
                run.eval_reference = run.reference_of(eval, &fingerprint)?;
            }
        }
        run.pass_notes_on();
        Ok(run)
    }

    /// From the cache, or computed by the model as it is now, and then kept.
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
    /// `Error::Device`; `Error::Io` for `metrics.jsonl`; `Error::Option` as in [`Run::new`];
    /// `Error::NotFinite` if a loss, a gradient or a trained weight is NaN or infinite. After a gradient
    /// that is, [`Run::weights`] are those of the last good step.
    ///
    /// # Panics
    /// If it was called before, and came to the end.
    pub fn train(&mut self) -> Result<Outcome> {
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
        // The host's copy of the weights then takes no more memory than training did.
        self.learner.release_optimizer(self.engine);
        if let Some(frozen) = self.frozen.take() {
            frozen.release(self.engine);
        }
        Ok(Outcome {
            weights: self.weights()?,
            steps: total,
            skipped: self.skipped,
            before,
            after,
        })
    }

    /// The parameters as they are on the device.
    ///
    /// # Errors
    /// `Error::NotFinite` if one of them is NaN or infinite; what the device says.
    pub fn weights(&mut self) -> Result<Weights> {
        let tensors = self.learner.policy.weights.download(self.engine)?;
        let table = params::table(&self.learner.policy.dims);
        for (param, values) in table.iter().zip(&tensors) {
            if values.iter().any(|v| !v.is_finite()) {
                return Err(Error::NotFinite {
                    step: self.metrics.good_steps as u64,
                    what: format!(
                        "tensor `{}` holds NaN or infinity; nothing is saved",
                        param.name
                    ),
                    help: "lower `.learning_rate`".into(),
                });
            }
        }
        Ok(Weights { tensors })
    }

    /// Optimizer steps that were taken, and whose metrics came back finite.
    pub fn good_steps(&self) -> usize {
        self.metrics.good_steps
    }

    /// The reference of the examples `indices`, whose log-probs are kept in `kept` unless the frozen
    /// weights are on the device.
    fn reference<'b>(
        frozen: Option<&'b Tensors>,
        objective: Objective,
        kept: &ReferenceLogProbs,
        indices: &[usize],
    ) -> Reference<'b> {
        match (objective, frozen) {
            (Objective::Sft, _) => Reference::None,
            (Objective::Sigmoid { .. }, Some(frozen)) => Reference::Model(frozen),
            (Objective::Sigmoid { .. }, None) => Reference::LogProbs(kept.gather(indices)),
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

    /// The gradient of the mean loss over these pairs, micro-batch by micro-batch; returns their
    /// tokens.
    fn accumulate(&mut self, pairs: &[usize]) -> Result<usize> {
        let mut tokens = 0;
        for (i, micro) in pairs.chunks(self.micro_batch).enumerate() {
            let examples = micro.iter().map(|&e| &self.train.examples[e]);
            let stream = Stream::new(examples, self.objective.sides());
            let (frozen, kept) = (self.frozen.as_ref(), &self.train_reference);
            let reference = Self::reference(frozen, self.objective, kept, micro);
            let place = Place {
                slot: i * self.micro_batch,
                of: pairs.len(),
            };
            self.learner
                .accumulate(self.engine, &stream, reference, place)?;
            tokens += stream.num_tokens;
        }
        Ok(tokens)
    }

    fn pass_notes_on(&mut self) {
        for note in self.engine.notes() {
            (self.observe)(Event::Note(note));
        }
    }

    /// Waits for a step's metrics, writes them down and tells of them.
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

    /// Means over the held-out pairs, if there are any.
    fn evaluate(&mut self, step: usize, epoch: f64) -> Result<Option<Summary>> {
        let Some(eval) = self.eval else {
            return Ok(None);
        };
        let total = eval.examples.len();
        for (i, pairs) in eval.examples.chunks(self.micro_batch).enumerate() {
            let stream = Stream::new(pairs, self.objective.sides());
            let slot = i * self.micro_batch;
            let indices: Vec<usize> = (slot..slot + pairs.len()).collect();
            let (frozen, kept) = (self.frozen.as_ref(), &self.eval_reference);
            let reference = Self::reference(frozen, self.objective, kept, &indices);
            let place = Place { slot, of: total };
            self.learner
                .policy
                .score(self.engine, &stream, reference, place)?;
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

/// metrics.jsonl: a row at a time, each written at once.
struct MetricsFile {
    path: PathBuf,
    file: File,
    good_steps: usize,
}

impl MetricsFile {
    fn create(out: &Path) -> Result<MetricsFile> {
        let path = out.join(checkpoint::METRICS_FILE);
        let file = File::create(&path).map_err(|e| Error::io("create", &path, e))?;
        Ok(MetricsFile {
            path,
            file,
            good_steps: 0,
        })
    }

    fn write(&mut self, row: &impl Serialize) -> Result<()> {
        let written = serde_json::to_string(row)
            .map_err(std::io::Error::other)
            .and_then(|line| writeln!(self.file, "{line}"));
        written.map_err(|e| Error::io("write", &self.path, e))
    }
}
