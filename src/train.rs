//! A training run: epochs, gradient accumulation, schedule, evaluation, metrics, checkpoints.

mod broken;
mod host;
mod metrics;
mod pass;
mod saver;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::batch::Stream;
use crate::checkpoint::{self, Best, Checkpoint, Facts, Position, Snapshot};
use crate::config::TrainConfig;
use crate::data::{self, Dataset};
use crate::dpo::Summary;
use crate::engine::{Device, Release};
use crate::error::{Error, Result, Setting};
use crate::learner::{Broken, Learner, StepTicket};
use crate::model::Tensors;
use crate::objective::Objective;
use crate::ops::step_control::StepControl;
use crate::plan::{Datasets, Resident};
use crate::pretrained::{self, Outline, Weights};
use crate::reference::{self, ReferenceLogProbs};
use crate::schedule::Schedule;
use crate::scorer::{Reference, Share};

use broken::BrokenStep;
pub use host::{Host, Stop};
use metrics::MetricsFile;
pub use metrics::{EvalRow, StepRow};
use pass::References;
use saver::{Parts, Saved, Saver};

/// The most optimizer steps whose metrics are still under way while the device works on the next step.
pub(crate) const STEPS_IN_FLIGHT: usize = 1;

/// The inputs of a run: a model and its pairs.
pub struct Inputs<'a> {
    /// The model without its weights: its sizes, and the files that a saved model has beside its weights.
    pub outline: Arc<Outline>,
    /// The weights at the start of training. The run frees them after the upload, because a GPU that shares the
    /// host's memory would hold them twice.
    pub weights: Weights,
    /// The weights of the reference, of a model of the same sizes; `None` = the weights at the start.
    pub reference: Option<Weights>,
    /// The pairs to learn from.
    pub train: &'a Dataset,
    /// Held-out pairs, if any.
    pub eval: Option<&'a Dataset>,
    /// The checkpoint of an earlier run that this run goes on from.
    pub resume: Option<Resume>,
}

impl<'a> Inputs<'a> {
    /// The inputs of a run that begins with these weights, which are also the reference's.
    pub fn new(
        outline: Arc<Outline>,
        weights: Weights,
        train: &'a Dataset,
        eval: Option<&'a Dataset>,
    ) -> Inputs<'a> {
        Inputs {
            outline,
            weights,
            reference: None,
            train,
            eval,
            resume: None,
        }
    }
}

/// A run that goes on.
pub struct Resume {
    /// The place to go on from. Options and pairs are to be those of the earlier run, and `weights` those that it
    /// began with.
    pub checkpoint: Checkpoint,
    /// Go on even if pairs or weights at the start are others.
    pub anyway: bool,
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
    /// A checkpoint is whole.
    Saved {
        /// Its folder.
        checkpoint: &'a Path,
    },
}

/// How a run ended.
pub enum Ending {
    /// It did all its steps, or those until an evaluation that stopped it early.
    Finished(Box<Outcome>),
    /// It was asked to stop.
    Interrupted {
        /// Optimizer steps done.
        step: usize,
        /// Optimizer steps of the run.
        total: usize,
    },
}

impl Ending {
    /// The results of a finished run.
    ///
    /// # Errors
    /// `Error::Interrupted` if the run was asked to stop.
    pub fn finished(self) -> Result<Outcome> {
        match self {
            Ending::Finished(outcome) => Ok(*outcome),
            Ending::Interrupted { .. } => Err(Error::Interrupted),
        }
    }
}

/// The results of a finished run.
pub struct Outcome {
    /// The trained parameters: those after the last step, or after the best evaluation if the best was asked for.
    pub weights: Weights,
    /// Optimizer steps of the run.
    pub steps: usize,
    /// Steps that the optimizer skipped, because a gradient overflowed in mixed precision.
    pub skipped: usize,
    /// Means over the held-out pairs before the first step; `None` without held-out pairs.
    pub before: Option<Summary>,
    /// Means over the held-out pairs after the last step; `None` without held-out pairs.
    pub after: Option<Summary>,
    /// The evaluation whose weights these are; `None` if the best was not asked for.
    pub best: Option<Best>,
}

/// A training run on one device.
pub struct Run<'a> {
    engine: &'a mut dyn Device,
    config: &'a TrainConfig,
    train: &'a Dataset,
    eval: Option<&'a Dataset>,
    host: Host,
    out: PathBuf,
    objective: Objective,
    /// Pairs of a micro-batch: `batch_size`, or fewer if so many do not fit the device.
    micro_batch: usize,
    learner: Learner,
    frozen: Option<Tensors>,
    /// The reference's log-probs; `None` until the run computes them or finds them in the cache.
    references: Option<References>,
    /// The weights at the start, if the device still holds the reference's in their place.
    weights: Option<Weights>,
    /// The checkpoint to go on from, until its state is on the device.
    resume: Option<Checkpoint>,
    metrics: MetricsFile,
    saver: Saver,
    /// Where the run is: after the last step whose metrics have arrived.
    position: Position,
    /// The steps whose metrics are under way.
    flights: VecDeque<Flight>,
    clock: Instant,
    /// The step that ended the run because a number is not finite.
    broken: Option<BrokenStep>,
    observe: &'a mut dyn FnMut(Event),
}

/// An optimizer step whose metrics are under way.
struct Flight {
    ticket: StepTicket,
    step: usize,
    learning_rate: f64,
    pairs: Vec<usize>,
    tokens: usize,
}

impl<'a> Run<'a> {
    /// Makes the run's buffers on the device and uploads the weights. `out` is the run's directory; it must exist,
    /// and gets `metrics.jsonl`.
    ///
    /// # Errors
    /// `Error::OutOfMemory` if the buffers do not fit the device; `Error::Io` for `metrics.jsonl`; `Error::File` if
    /// the disk has no room for the results; `Error::Option` naming what differs from the run that goes on; every
    /// error of the device.
    pub fn new(
        engine: &'a mut dyn Device,
        config: &'a TrainConfig,
        inputs: Inputs<'a>,
        out: &Path,
        host: Host,
        observe: &'a mut dyn FnMut(Event),
    ) -> Result<Run<'a>> {
        let Inputs {
            outline,
            weights,
            reference,
            train,
            eval,
            resume,
        } = inputs;
        let dims = &outline.config.dims;
        let objective = config.objective();
        let resident = Resident::new(engine, config, dims, Datasets { train, eval })?;
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
        let start = pretrained::fingerprint(dims, &weights);
        let reference_is = match &reference {
            _ if !objective.needs_reference() => String::new(),
            None => start.clone(),
            Some(reference) => pretrained::fingerprint(dims, reference),
        };
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernels: crate::cache::kernels(),
            device: engine.name(),
            precision: config.precision.to_string(),
            micro_batch,
            data: reference::hash_of([Some(train), eval].into_iter().flatten()),
            start,
            reference: reference_is,
            reference_cache: Vec::new(),
        };
        let total = config.total_steps(train.examples.len());
        let position = match &resume {
            None => Position::start(total, facts),
            Some(resume) => {
                let then = resume.checkpoint.position();
                for difference in differences(then, &facts, total, resume.anyway)? {
                    observe(Event::Note(difference));
                }
                Position {
                    total,
                    facts,
                    ..then.clone()
                }
            }
        };
        let resume = resume.map(|resume| resume.checkpoint);

        // The reference's pass needs the reference's weights in the policy's place.
        let passes = objective.needs_reference() && frozen.is_none();
        let first = reference.as_ref().unwrap_or(&weights);
        if let Some(frozen) = &frozen {
            frozen.write(engine, &first.tensors)?;
        }
        let on_device = if passes { first } else { &weights };
        let policy = &learner.policy.weights;
        policy.write(engine, &on_device.tensors)?;
        let waits = passes && reference.is_some();

        checkpoint::tidy(host.storage.as_ref(), out)?;
        let earlier = resume.as_ref().map(Checkpoint::metrics);
        let storage = Arc::clone(&host.storage);
        let run = Run {
            metrics: MetricsFile::create(storage, out, earlier.as_deref())?,
            saver: Saver::new(config, &host, outline, out),
            engine,
            config,
            train,
            eval,
            host,
            out: out.to_owned(),
            objective,
            micro_batch,
            learner,
            frozen,
            references: None,
            weights: waits.then_some(weights),
            resume,
            position,
            flights: VecDeque::new(),
            clock: Instant::now(),
            broken: None,
            observe,
        };
        run.refuse_full_disk()?;
        Ok(run)
    }

    /// Refuses a disk without room for the model and, if they are asked for by steps, the checkpoints.
    fn refuse_full_disk(&self) -> Result<()> {
        // A file system that does not tell is left to fail when it is full.
        let Ok(free) = self.host.storage.free_bytes(&self.out) else {
            return Ok(());
        };
        let checkpoint = Snapshot::bytes(&self.learner.state());
        let model: usize = self
            .learner
            .policy
            .weights
            .arenas
            .iter()
            .map(|a| a.bytes())
            .sum();
        let checkpoints = self.saver.most(self.position.total) as u64;
        let needed = model as u64 + checkpoints * checkpoint;
        if free >= needed {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        Err(Error::File {
            path: self.out.clone(),
            what: format!(
                "the disk has {} MiB free, and the run will write {}: {} for the model, {checkpoints} checkpoints of {}",
                mib(free),
                mib(needed),
                mib(model as u64),
                mib(checkpoint),
            ),
            help: "make room, name an output folder on another disk, or lower `.save_total_limit`"
                .into(),
        })
    }

    /// Trains to the end, or until [`Stop`] is requested: then the run saves a checkpoint.
    ///
    /// A checkpoint that cannot be saved is no error: a note tells of it, and the run goes on.
    ///
    /// # Errors
    /// `Error::Io` if `metrics.jsonl` is not whole in the end; `Error::Option` for an id or a position that the model
    /// does not have; `Error::NotFinite` if a loss, a gradient or a trained weight is NaN or infinite; every error of
    /// the device. The last state before a number that is not finite is saved as a checkpoint.
    pub fn train(mut self) -> Result<Ending> {
        let ended = self.steps();
        if let Err(Error::NotFinite { .. }) = &ended {
            let broken = self.broken.take();
            self.rescue(broken);
        }
        let saved = self.saver.wait();
        self.tell_saved(saved);
        match ended {
            Ok(()) => {
                self.metrics.flush()?;
                self.finish()
                    .map(|outcome| Ending::Finished(Box::new(outcome)))
            }
            Err(Error::Interrupted) => {
                self.metrics.flush()?;
                Ok(Ending::Interrupted {
                    step: self.position.step,
                    total: self.position.total,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Runs all optimizer steps, evaluations and saves.
    fn steps(&mut self) -> Result<()> {
        if self.references.is_none() {
            self.prepare_reference()?;
        }
        self.put_start()?;
        let total = self.position.total;
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
        let mut order = Order::default();
        self.clock = Instant::now();
        loop {
            let step = self.position.step + self.flights.len();
            let evaluates = self.evaluates_at(step);
            let saves = self.saver.is_due(step, total);
            let stops = self.host.stop.is_requested();
            if evaluates || saves || stops || step >= total {
                self.land_all_but(0)?;
                if evaluates && !self.position.evaluated && !stops {
                    match self.evaluate() {
                        Err(Error::Interrupted) => {}
                        done => done?,
                    }
                    self.clock = Instant::now();
                }
                if self.host.stop.is_requested() {
                    self.leave();
                    return Err(Error::Interrupted);
                }
                let is_best = self.position.best.is_some_and(|best| best.step == step);
                if saves || (is_best && !self.saver.has(step)) {
                    self.save();
                }
                if step >= total || self.is_early_stop() {
                    return Ok(());
                }
            }
            let pairs = order.of_step(self, step);
            self.step(pairs, schedule.at(step))?;
            self.land_all_but(in_flight)?;
            let saved = self.saver.poll();
            self.tell_saved(saved);
        }
    }

    /// True if the held-out pairs are scored after this step.
    fn evaluates_at(&self, step: usize) -> bool {
        let every = self.config.eval_steps;
        let by_steps = every > 0 && step.is_multiple_of(every);
        self.eval.is_some() && (step == 0 || step == self.position.total || by_steps)
    }

    /// Takes one optimizer step over these pairs.
    fn step(&mut self, pairs: Vec<usize>, learning_rate: f64) -> Result<()> {
        let tokens = self.accumulate(&pairs)?;
        let ticket = self
            .learner
            .update(self.engine, learning_rate, pairs.len())?;
        self.flights.push_back(Flight {
            ticket,
            step: self.position.step + self.flights.len() + 1,
            learning_rate,
            pairs,
            tokens,
        });
        Ok(())
    }

    /// Passes over the training pairs before this step, as a fraction.
    fn epoch(&self, step: usize) -> f64 {
        let per_epoch = self
            .train
            .examples
            .len()
            .div_ceil(self.config.pairs_per_step());
        step as f64 / per_epoch as f64
    }

    /// Frees training's buffers and reads the weights back to the host.
    fn finish(self) -> Result<Outcome> {
        let Position {
            step,
            best,
            before,
            after,
            skipped,
            ..
        } = self.position;
        // Without these buffers the host's copy of the weights needs no more memory than training did.
        if let Some(frozen) = self.frozen {
            frozen.release(self.engine);
        }
        let dims = self.learner.policy.dims;
        let policy = self.learner.into_policy(self.engine);
        let weights = match best.filter(|best| best.step != step) {
            None => broken::finite_weights(self.engine, &policy, step)?,
            Some(best) => {
                let folder = checkpoint::folder(&self.out, best.step);
                Checkpoint::open(&folder)?;
                Weights::load(&folder, &dims)?
            }
        };
        Ok(Outcome {
            weights,
            steps: step,
            skipped,
            before,
            after,
            best,
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

    /// Waits for the metrics of all steps but the last `keep`.
    fn land_all_but(&mut self, keep: usize) -> Result<()> {
        while self.flights.len() > keep {
            if let Some(flight) = self.flights.pop_front() {
                self.land(flight)?;
            }
        }
        Ok(())
    }

    /// Waits for a step's metrics, writes its row and reports it to the observer.
    fn land(&mut self, flight: Flight) -> Result<()> {
        let report = self.learner.report(self.engine, flight.ticket)?;
        let seconds = self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.pass_notes_on();
        let for_good = report.broken == Some(Broken::ForGood);
        if for_good || !report.loss_is_finite() {
            return Err(self.not_finite(&flight.pairs, flight.step, &report));
        }
        if let (Some(Broken::Overflow), Some(scale)) = (report.broken, report.loss_scale) {
            self.position.skipped += 1;
            let note = format!(
                "step {}: a gradient overflowed and the step was not taken; the loss scale is {scale} now",
                flight.step
            );
            (self.observe)(Event::Note(note));
        }
        let summary = self.objective.summary(&report.pairs);
        let epoch = self.epoch(flight.step);
        let position = &mut self.position;
        position.step = flight.step;
        position.evaluated = false;
        position.num_tokens += flight.tokens;
        position.control = report.control.floats().map(f32::to_bits).to_vec();
        position.first_loss.get_or_insert(summary.loss);
        position.last_loss = Some(summary.loss);
        let row = StepRow {
            step: flight.step,
            epoch,
            summary,
            learning_rate: flight.learning_rate,
            grad_norm: f64::from(report.grad_norm),
            loss_scale: report.loss_scale,
            num_tokens: position.num_tokens,
            pairs_per_second: flight.pairs.len() as f64 / seconds,
            tokens_per_second: flight.tokens as f64 / seconds,
        };
        let total = position.total;
        let written = self.metrics.write(&row);
        self.tell_unwritten(written);
        (self.observe)(Event::Step { row: &row, total });
        Ok(())
    }

    /// Scores the held-out pairs, and notes the means over them.
    ///
    /// # Errors
    /// `Error::Interrupted` if the run is asked to stop; then the evaluation is still due.
    fn evaluate(&mut self) -> Result<()> {
        let Some(eval) = self.eval else {
            return Ok(());
        };
        let step = self.position.step;
        let total = eval.examples.len();
        for (i, pairs) in eval.examples.chunks(self.micro_batch).enumerate() {
            if self.host.stop.is_requested() {
                return Err(Error::Interrupted);
            }
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
        self.note_evaluation(&summary);
        let row = EvalRow {
            step,
            epoch: self.epoch(step),
            summary: summary.named("eval_"),
        };
        let written = self.metrics.write(&row);
        self.tell_unwritten(written);
        (self.observe)(Event::Eval {
            step,
            summary: &summary,
        });
        Ok(())
    }

    /// Notes an evaluation in the position: whether it is the best so far, and for how long none was better.
    fn note_evaluation(&mut self, summary: &Summary) {
        let position = &mut self.position;
        let step = position.step;
        position.evaluated = true;
        if step == 0 {
            position.before = Some(*summary);
            position.after = Some(*summary);
            return;
        }
        position.after = Some(*summary);
        let Some(metric) = self.config.save_best else {
            return;
        };
        let value = metric.of(summary);
        let better = position
            .best
            .is_none_or(|best| metric.is_better(value, best.value));
        if better {
            position.best = Some(Best { step, value });
            position.stale = 0;
        } else {
            position.stale += 1;
        }
    }

    fn is_early_stop(&self) -> bool {
        let patience = self.config.early_stopping_patience;
        patience > 0 && self.position.stale >= patience
    }

    /// Tells the user once for each row that could not be written; the row waits for the next.
    fn tell_unwritten(&mut self, written: Result<()>) {
        if let Err(e) = written {
            let note = format!("a row of the metrics waits to be written: {e}");
            (self.observe)(Event::Note(note));
        }
    }

    fn parts(&self) -> Parts {
        Parts {
            position: self.position.clone(),
            state: self.learner.state(),
            metrics: self.metrics.so_far(),
        }
    }

    /// Saves a checkpoint of the present state; no step may be in flight.
    fn save(&mut self) {
        let earlier = self.saver.wait();
        self.tell_saved(earlier);
        let parts = self.parts();
        let saved = self.saver.save(self.engine, parts);
        self.tell_saved(saved);
    }

    /// Saves a checkpoint before the run ends early, unless there is one of this step.
    fn leave(&mut self) {
        if self.position.step > 0 && !self.saver.has(self.position.step) {
            self.save();
        }
    }

    fn tell_saved(&mut self, saved: Option<Saved>) {
        match saved {
            None => {}
            Some(Saved {
                result: Ok(path), ..
            }) => {
                (self.observe)(Event::Saved { checkpoint: &path });
            }
            Some(Saved {
                step,
                result: Err(e),
            }) => {
                let note = format!("the checkpoint of step {step} is not saved: {e}");
                (self.observe)(Event::Note(note));
            }
        }
    }

    /// Puts the state on the device from which training begins: the weights at the start, or those of a checkpoint.
    fn put_start(&mut self) -> Result<()> {
        if let Some(weights) = self.weights.take() {
            self.learner
                .policy
                .weights
                .write(self.engine, &weights.tensors)?;
        }
        let mut step = None;
        if let Some(checkpoint) = self.resume.take() {
            let state = self.learner.state();
            checkpoint.restore(self.engine, &state)?;
            self.learner.set_steps(self.position.step as u64);
            let then = &checkpoint.position().facts.precision;
            if *then != self.position.facts.precision {
                self.put_control_of_this_precision(&state)?;
            }
            step = Some(checkpoint.position().step);
        }
        self.saver.begin(step);
        Ok(())
    }

    /// Gives the step control the loss scale of this run's precision. Steps of the other precision count as taken.
    fn put_control_of_this_precision(&mut self, state: &crate::state::State) -> Result<()> {
        let taken = self.position.step - self.position.skipped;
        let scaling = self.config.optimizer().scaling;
        let control = StepControl {
            taken: taken as f32,
            ..StepControl::new(scaling.map_or(1.0, |scaling| scaling.initial))
        };
        let words = control.floats().map(f32::to_bits);
        self.learner.set_steps(taken as u64);
        self.engine.write(state.control, &words)
    }
}

/// The order of the training pairs, epoch by epoch.
#[derive(Default)]
struct Order {
    epoch: Option<usize>,
    pairs: Vec<usize>,
}

impl Order {
    /// The pairs of an optimizer step, counted from 0.
    fn of_step(&mut self, run: &Run, step: usize) -> Vec<usize> {
        let count = run.train.examples.len();
        let per_step = run.config.pairs_per_step();
        let steps_per_epoch = count.div_ceil(per_step);
        let epoch = step / steps_per_epoch;
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.pairs = match run.config.no_shuffle {
                true => (0..count).collect(),
                false => data::shuffled(count, run.config.seed, epoch as u64),
            };
        }
        let first = (step % steps_per_epoch) * per_step;
        self.pairs[first..(first + per_step).min(count)].to_vec()
    }
}

/// Compares a run with the one that it goes on from: notes on what changes only the rounding, or on everything if
/// `anyway`.
///
/// # Errors
/// `Error::Option` for other pairs, other weights at the start or another reference, unless `anyway`.
fn differences(then: &Position, now: &Facts, total: usize, anyway: bool) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let begun = &then.facts;
    let decisive = [
        (
            "data",
            "the pairs are not those of the run",
            begun.data != now.data,
        ),
        (
            "model",
            "the weights are not those that the run began with",
            begun.start != now.start,
        ),
        (
            "ref_model",
            "the reference is not that of the run",
            begun.reference != now.reference,
        ),
        (
            "epochs",
            "the run has another number of steps",
            then.total != total,
        ),
    ];
    for (option, what, differs) in decisive {
        if differs && !anyway {
            return Err(Error::Option {
                option: Setting::Field(option),
                what: what.to_owned(),
                help: "give what the run was begun with, or `.resume_anyway`".to_owned(),
            });
        }
        if differs {
            notes.push(format!("`.{option}`: {what}"));
        }
    }
    let rounding = [
        ("device", &begun.device, &now.device),
        ("precision", &begun.precision, &now.precision),
        ("version", &begun.version, &now.version),
    ];
    for (what, then, now) in rounding {
        if then != now {
            notes.push(format!(
                "the {what} was {then}, and is {now} now: the numbers are not to the bit those of one run"
            ));
        }
    }
    if begun.version == now.version && begun.kernels != now.kernels {
        notes.push(
            "the kernels are others: the numbers are not to the bit those of one run".to_owned(),
        );
    }
    if begun.micro_batch != now.micro_batch {
        notes.push(format!(
            "a micro-batch had {} pairs, and has {} now: the same but for rounding",
            begun.micro_batch, now.micro_batch
        ));
    }
    Ok(notes)
}
