//! A training run: epochs, gradient accumulation, schedule, evaluation, metrics, checkpoints.

mod audit;
mod broken;
mod eval_row;
mod evaluation;
mod host;
mod inputs;
mod landing;
mod metrics;
mod micro_batches;
mod movement;
mod moving_reference;
mod order;
mod outcome;
mod pass;
mod resuming;
mod retry;
mod samples;
mod saver;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::TokenCount;
use crate::checkpoint::{self, Checkpoint, Facts, Position};
use crate::config::{ReferenceMode, TrainConfig};
use crate::data::Dataset;
use crate::engine::{Device, Release};
use crate::error::{Error, Result};
use crate::learner::{Learner, StepTicket};
use crate::model::{Dims, Gpt2, Tensor, Tensors, write};
use crate::objective::Objective;
use crate::plan::{Datasets, Resident};
use crate::pretrained::{self, Adapter, Weights};
use crate::reference::{self, ReferenceLogProbs};
use crate::scorer::Reference;

use broken::BrokenStep;
pub use eval_row::EvalRow;
pub use host::{Host, Stop};
pub use inputs::{EvalSet, Inputs, Resume};
use metrics::MetricsFile;
pub use metrics::StepRow;
use movement::Movement;
use order::Order;
pub use outcome::{Ending, Event, Outcome};
use pass::References;
use resuming::differences;
pub use retry::{OnDevice, Retry};
use samples::Samples;
pub use samples::{Sample, SampleRow};
use saver::Saver;

/// The most optimizer steps whose metrics are still under way while the device works on the next step.
pub(crate) const STEPS_IN_FLIGHT: usize = 1;

/// A training run on one device.
pub struct Run<'a> {
    engine: &'a mut dyn Device,
    config: &'a TrainConfig,
    train: &'a Dataset,
    eval: Option<&'a Dataset>,
    eval_sets: Vec<EvalSet>,
    /// The token that ends a whole response.
    end: Option<u32>,
    movement: Movement,
    /// The prompts to answer at evaluations; `None` without any.
    samples: Option<Samples>,
    host: Host,
    out: PathBuf,
    objective: Objective,
    /// Pairs of a micro-batch: `batch_size`, or fewer if so many do not fit the device.
    micro_batch: usize,
    learner: Learner,
    /// The policy without its adapters; the reference's pass takes it.
    bare: Gpt2<Tensor>,
    frozen: Option<Tensors>,
    /// The reference's log-probs; `None` until the run computes them or finds them in the cache.
    references: Option<References>,
    /// The weights at the start, if the device still holds the reference's in their place.
    weights: Option<Weights>,
    /// The checkpoint to go on from, until its state is on the device.
    resume: Option<Checkpoint>,
    metrics: MetricsFile,
    /// True while rows could not be written.
    metrics_wait: bool,
    saver: Saver,
    /// Where the run is: after the last step whose metrics have arrived.
    position: Position,
    /// The steps whose metrics are under way.
    flights: VecDeque<Flight>,
    clock: Instant,
    /// Optimizer steps before the last audit that found nothing.
    audited: usize,
    /// The step that ended the run because a number is not finite.
    broken: Option<BrokenStep>,
    observe: &'a mut dyn FnMut(Event),
}

/// The adapter at the start of a run: the one that is given, or a new one; `None` if the model itself is trained.
///
/// # Errors
/// `Error::Option` if the options are not those of the adapter that is given.
fn start_adapter(
    config: &TrainConfig,
    dims: &Dims,
    given: Option<Adapter>,
) -> Result<Option<Adapter>> {
    let asked = config.adapter_config();
    match (asked, given) {
        (asked, None) => Ok(asked.map(|asked| Adapter::initial(asked, dims, config.seed))),
        (Some(asked), Some(given)) if asked.adapters() == given.config.adapters() => {
            Ok(Some(given))
        }
        _ => Err(Error::option(
            "adapter",
            "has other settings than the options of the run",
            "take the options from `TrainConfig::with_adapter`",
        )),
    }
}

/// An optimizer step whose metrics are under way.
struct Flight {
    ticket: StepTicket,
    step: usize,
    learning_rate: f64,
    pairs: Vec<usize>,
    tokens: TokenCount,
}

impl<'a> Run<'a> {
    /// Makes the run's buffers on the device and uploads the weights. `out` is the run's directory; it must exist.
    /// Nothing is written into it before [`Run::train`].
    ///
    /// # Errors
    /// `Error::OutOfMemory` if the buffers do not fit the device; `Error::File` if the disk has no room for the
    /// results, or if the best checkpoint of the run that goes on is damaged; `Error::Option` naming what differs
    /// from that run; every error of the device.
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
            adapter,
            reference,
            train,
            eval,
            eval_sets,
            samples,
            resume,
        } = inputs;
        let dims = &outline.config.dims;
        let end = outline.end.id;
        let objective = config.objective();
        objective.check_pairs([Some(train), eval].into_iter().flatten())?;
        let resident = Resident::new(
            engine,
            config,
            dims,
            Datasets {
                train,
                eval,
                samples: &samples,
            },
        )?;
        let micro_batch = resident.micro_batch();
        let Resident {
            learner,
            frozen,
            decoder,
            note,
            ..
        } = resident;
        if let Some(note) = note {
            observe(Event::Note(note));
        }
        // A new adapter changes nothing yet: the policy at the start is the reference.
        let has_own_reference = reference.is_some() || adapter.is_some();
        let adapter = start_adapter(config, dims, adapter)?;
        let on_the_fly = config.reference == ReferenceMode::OnTheFly;
        if on_the_fly && frozen.is_none() && objective.needs_reference() && reference.is_some() {
            return Err(Error::option(
                "ref_model",
                "is not given, and the inputs have the weights of one",
                "give both, or none: then the reference is the model without the adapter",
            ));
        }
        let base = pretrained::fingerprint(dims, &weights);
        let reference_is = match &reference {
            _ if !objective.needs_reference() => String::new(),
            None => base.clone(),
            Some(reference) => pretrained::fingerprint(dims, reference),
        };
        let start = match &adapter {
            Some(adapter) => adapter.fingerprint(&base),
            None => base,
        };
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernels: crate::cache::kernels(),
            device: engine.name(),
            precision: config.precision.to_string(),
            micro_batch,
            samples: samples::hash_of(&samples),
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
        let anyway = resume.as_ref().is_some_and(|resume| resume.anyway);
        let resume = resume.map(|resume| resume.checkpoint);

        // The reference's pass needs the reference's weights in the policy's place.
        let movement = Movement::of(&learner, &weights, adapter.as_ref());
        let policy = &learner.policy.weights.gpt2;
        let bare = policy.without_adapters();
        if let Some(adapter) = adapter {
            write(engine, policy.adapters(), adapter.tensors)?;
        }
        let mut waiting = None;
        match (reference, &frozen) {
            (Some(reference), Some(frozen)) => {
                write(engine, frozen.gpt2.iter(), reference.tensors)?;
                write(engine, bare.iter(), weights.tensors)?;
            }
            (Some(reference), None) if objective.needs_reference() => {
                write(engine, bare.iter(), reference.tensors)?;
                waiting = Some(weights);
            }
            (_, frozen) => {
                if let Some(frozen) = frozen {
                    write(engine, frozen.gpt2.iter(), &weights.tensors)?;
                }
                write(engine, bare.iter(), weights.tensors)?;
            }
        }
        let samples =
            decoder.map(|decoder| Samples::new(decoder, &outline, samples, has_own_reference));

        let storage = Arc::clone(&host.storage);
        let mut run = Run {
            metrics: MetricsFile::new(storage, out),
            metrics_wait: false,
            saver: Saver::new(config, &host, outline, out),
            engine,
            config,
            train,
            eval,
            eval_sets,
            end,
            movement,
            samples,
            host,
            out: out.to_owned(),
            objective,
            micro_batch,
            learner,
            bare,
            frozen,
            references: None,
            weights: waiting,
            resume,
            position,
            flights: VecDeque::new(),
            clock: Instant::now(),
            audited: 0,
            broken: None,
            observe,
        };
        run.refuse_full_disk()?;
        run.hold_best(anyway)?;
        Ok(run)
    }

    /// Trains to the end, or until [`Stop`] is requested: then the run saves a checkpoint.
    ///
    /// A checkpoint or a row of the metrics that cannot be written is no error: a note tells of it, and the run goes on
    /// and tries again.
    ///
    /// # Errors
    /// `Error::Io` if `metrics.jsonl` cannot be made; `Error::Option` for an id or a position that the model
    /// does not have; `Error::NotFinite` if a loss, a gradient or a trained weight is NaN or infinite; every error of
    /// the device. The last state before a number that is not finite is saved as a checkpoint.
    pub fn train(mut self) -> Result<Ending> {
        let ended = self.steps();
        if let Err(Error::NotFinite { .. }) = &ended {
            self.rescue();
        }
        let saved = self.saver.wait();
        self.tell_saved(saved);
        let unwritten = self.metrics.flush().err();
        match ended {
            Ok(()) => self
                .finish(unwritten)
                .map(|outcome| Ending::Finished(Box::new(outcome))),
            Err(Error::Interrupted) => Ok(Ending::Interrupted {
                step: self.position.step,
                total: self.position.total,
                saved: self.saver.whole(),
            }),
            Err(error) => Err(error),
        }
    }

    /// Runs all optimizer steps, evaluations and saves.
    fn steps(&mut self) -> Result<()> {
        self.begin_files()?;
        if self.references.is_none() {
            self.prepare_reference()?;
        }
        self.sample_reference()?;
        self.put_start()?;
        let total = self.position.total;
        let schedule = self.config.schedule(total);
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
        self.say_idle_audits();
        let mut order = Order::default();
        self.clock = Instant::now();
        loop {
            let step = self.position.step + self.flights.len();
            let evaluates = self.evaluates_at(step);
            let audits = self.audits_before(step) && step < total;
            let stops = self.host.stop.is_requested();
            if evaluates || audits || stops || step >= total || self.saver.is_due(step, total) {
                self.land_all_but(0)?;
                if evaluates && !self.position.evaluated && !stops {
                    match self.evaluate() {
                        Err(Error::Interrupted) => {}
                        // A checkpoint of this step, from before a stop, lacks the evaluation.
                        done => done.map(|()| self.saver.forget())?,
                    }
                    self.clock = Instant::now();
                }
                if self.host.stop.is_requested() {
                    self.leave();
                    return Err(Error::Interrupted);
                }
                let is_best = self.position.best_step() == Some(step);
                if self.saver.is_due(step, total) || (is_best && !self.saver.has(step)) {
                    self.save();
                }
                if step >= total || self.stops_early() {
                    return Ok(());
                }
            }
            let pairs = order.of_step(self, step);
            if audits {
                self.audit(&pairs)?;
                self.clock = Instant::now();
            }
            self.step(pairs, schedule.at(step))?;
            self.land_all_but(in_flight)?;
            let saved = self.saver.poll();
            self.tell_saved(saved);
        }
    }

    /// Takes one optimizer step over these pairs.
    fn step(&mut self, pairs: Vec<usize>, learning_rate: f64) -> Result<()> {
        let tokens = self.accumulate(&pairs)?;
        let ticket = self
            .learner
            .update(self.engine, learning_rate, pairs.len())?;
        let step = self.position.step + self.flights.len() + 1;
        self.move_reference(step)?;
        self.flights.push_back(Flight {
            ticket,
            step,
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
    fn finish(self, unwritten: Option<Error>) -> Result<Outcome> {
        let Position {
            step,
            mut best,
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
        let mut sampling = Duration::ZERO;
        if let Some(samples) = self.samples {
            sampling = samples.took;
            samples.release(self.engine);
        }
        let adapter = self.config.adapter_config();
        let load = |folder: &Path| match &adapter {
            None => Weights::load(folder, &dims),
            Some(_) => Adapter::load(folder, &dims).map(|adapter| Weights {
                tensors: adapter.tensors,
            }),
        };
        let policy = self.learner.into_policy(self.engine);
        let mut weights = None;
        if let Some(earlier) = best.filter(|best| best.step != step) {
            let folder = checkpoint::folder(&self.out, earlier.step);
            match Checkpoint::open(&folder).and_then(|_| load(&folder)) {
                Ok(best) => weights = Some(best),
                Err(e) => {
                    best = None;
                    let note = format!(
                        "the weights are those of the last step, because those of step {}, the best, are lost: {}",
                        earlier.step,
                        e.brief()
                    );
                    (self.observe)(Event::Note(note));
                }
            }
        }
        let weights = match weights {
            Some(weights) => weights,
            None => {
                let policy = &policy.weights.gpt2;
                let trained: Vec<&Tensor> = match adapter {
                    Some(_) => policy.adapters().collect(),
                    None => policy.iter().collect(),
                };
                broken::finite_weights(self.engine, &trained, step)?
            }
        };
        Ok(Outcome {
            weights,
            steps: step,
            skipped,
            before,
            after: best.map(|best| best.summary).or(after),
            best,
            sampling,
            unwritten,
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
            _ if self.reference_is_bare() => Reference::Model(&self.bare),
            (Some(frozen), _) => Reference::Model(&frozen.gpt2),
            (None, Some(references)) => Reference::LogProbs(kept(references).gather(indices)),
            (None, None) => Reference::None,
        }
    }

    /// True if each micro-batch computes the reference with the policy's own weights, but without its adapters.
    fn reference_is_bare(&self) -> bool {
        let on_the_fly = self.config.reference == ReferenceMode::OnTheFly;
        on_the_fly && self.frozen.is_none()
    }
}
