//! Saves checkpoints while training goes on, and removes old ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Event, Run};
use crate::checkpoint::{self, Contents, Metrics, Position, Snapshot, Values};
use crate::config::TrainConfig;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::pretrained::{AdapterConfig, Outline};
use crate::run_folder::CHECKPOINTS;
use crate::state::State;
use crate::storage::Storage;

/// A snapshot is taken if so many times its bytes are free.
const MEMORY_MARGIN: u64 = 2;

/// Everything of a checkpoint but the values of its tensors.
pub(super) struct Parts {
    pub position: Position,
    pub state: State,
    pub metrics: Metrics,
}

/// A finished save.
pub(super) struct Saved {
    pub step: usize,
    pub result: Result<PathBuf>,
}

/// Writes checkpoints, one at a time, and keeps the newest few.
pub(super) struct Saver {
    storage: Arc<dyn Storage>,
    outline: Arc<Outline>,
    /// The adapter that is trained in place of the model.
    adapter: Option<AdapterConfig>,
    out: PathBuf,
    run_file: Arc<str>,
    /// Save every so many steps; 0 = do not.
    steps: usize,
    /// Save when so much time has passed since the last save; zero = do not.
    interval: Duration,
    /// The number of checkpoints to keep; 0 = all.
    limit: usize,
    free_memory: fn() -> Option<u64>,
    last: Instant,
    /// The optimizer step of the last checkpoint that was begun or found whole, unless the run has more to add to it.
    last_step: Option<usize>,
    /// The optimizer step of the newest whole checkpoint.
    whole: Option<usize>,
    job: Option<(usize, JoinHandle<Result<PathBuf>>)>,
}

impl Saver {
    pub fn new(
        config: &TrainConfig,
        host: &super::Host,
        outline: Arc<Outline>,
        out: &Path,
    ) -> Saver {
        Saver {
            storage: Arc::clone(&host.storage),
            outline,
            adapter: config.adapter_config(),
            out: out.to_owned(),
            run_file: config.to_toml().into(),
            steps: config.save_steps,
            interval: Duration::try_from_secs_f64(60.0 * config.save_minutes)
                .unwrap_or(Duration::MAX),
            limit: config.save_total_limit,
            free_memory: host.free_memory,
            last: Instant::now(),
            last_step: None,
            whole: None,
            job: None,
        }
    }

    /// Begins to measure the time until the next save. `step` is the checkpoint from which the run goes on.
    pub fn begin(&mut self, step: Option<usize>) {
        self.last = Instant::now();
        self.last_step = step;
        self.whole = step;
    }

    /// The optimizer step of the newest whole checkpoint.
    pub fn whole(&self) -> Option<usize> {
        self.whole
    }

    /// True if a checkpoint is due after this step.
    pub fn is_due(&self, step: usize, total: usize) -> bool {
        let by_steps = self.steps > 0 && step.is_multiple_of(self.steps);
        let by_time =
            step < total && !self.interval.is_zero() && self.last.elapsed() >= self.interval;
        step > 0 && self.last_step != Some(step) && (by_steps || by_time)
    }

    /// Forgets the last checkpoint, because the run has something to add to it.
    pub fn forget(&mut self) {
        self.last_step = None;
    }

    /// True if the last checkpoint is that of this step.
    pub fn has(&self, step: usize) -> bool {
        self.last_step == Some(step)
    }

    /// The most checkpoints that lie in the folder at a time in a run of so many steps, as far as steps decide.
    pub fn most(&self, total: usize) -> usize {
        let made = total.checked_div(self.steps).unwrap_or(0);
        match self.limit {
            0 => made,
            limit => made.min(limit + 1),
        }
    }

    /// The result of the save under way, if it has finished meanwhile.
    pub fn poll(&mut self) -> Option<Saved> {
        let (_, job) = self.job.as_ref()?;
        job.is_finished().then(|| self.wait())?
    }

    /// Waits for the save under way.
    pub fn wait(&mut self) -> Option<Saved> {
        let (step, job) = self.job.take()?;
        let result = job.join().unwrap_or_else(|_| {
            let what = std::io::Error::other("the thread that writes checkpoints panicked");
            Err(Error::io("write", self.folder(), what))
        });
        Some(self.note(step, result))
    }

    fn note(&mut self, step: usize, result: Result<PathBuf>) -> Saved {
        match result {
            Ok(_) => self.whole = Some(step),
            Err(_) => self.last_step = None,
        }
        Saved { step, result }
    }

    fn folder(&self) -> PathBuf {
        self.out.join(CHECKPOINTS)
    }

    /// Saves a checkpoint: copies the tensors and leaves the rest to a thread, or writes all of it now if memory
    /// for copies is short. No save may be under way.
    pub fn save(&mut self, engine: &mut dyn Engine, parts: Parts) -> Option<Saved> {
        let step = parts.position.step;
        self.last_step = Some(step);
        let needed = MEMORY_MARGIN * Snapshot::bytes(&parts.state);
        let copies = (self.free_memory)().is_none_or(|free| free >= needed);
        let result = match copies {
            true => match Snapshot::take(engine, &parts.state) {
                Ok(snapshot) => {
                    let task = self.task(parts);
                    let write = move || task.write(Values::Copied(&snapshot));
                    self.job = Some((step, std::thread::spawn(write)));
                    self.last = Instant::now();
                    return None;
                }
                Err(e) => Err(e),
            },
            false => self.task(parts).write(Values::OnDevice(engine)),
        };
        self.last = Instant::now();
        Some(self.note(step, result))
    }

    fn task(&self, parts: Parts) -> Task {
        Task {
            storage: Arc::clone(&self.storage),
            outline: Arc::clone(&self.outline),
            adapter: self.adapter.clone(),
            out: self.out.clone(),
            run_file: Arc::clone(&self.run_file),
            limit: self.limit,
            parts,
        }
    }
}

/// One checkpoint to write.
struct Task {
    storage: Arc<dyn Storage>,
    outline: Arc<Outline>,
    adapter: Option<AdapterConfig>,
    out: PathBuf,
    run_file: Arc<str>,
    limit: usize,
    parts: Parts,
}

impl Task {
    fn write(&self, values: Values) -> Result<PathBuf> {
        let Parts {
            position,
            state,
            metrics,
        } = &self.parts;
        let folder = self.out.join(CHECKPOINTS);
        let contents = Contents {
            outline: &self.outline,
            adapter: self.adapter.as_ref(),
            run_file: &self.run_file,
            position,
            state,
            metrics,
        };
        let storage = self.storage.as_ref();
        let path = checkpoint::write(storage, &folder, &contents, values)?;
        checkpoint::prune(storage, &self.out, self.limit, position.best_step())?;
        Ok(path)
    }
}

impl Run<'_> {
    /// Refuses a disk without room for the model and, if they are asked for by steps, the checkpoints.
    pub(super) fn refuse_full_disk(&self) -> Result<()> {
        // A file system that does not tell is left to fail when it is full.
        let Ok(free) = self.host.storage.free_bytes(&self.out) else {
            return Ok(());
        };
        let checkpoint = Snapshot::bytes(&self.state());
        let model = self.learner.state().weight_bytes();
        let checkpoints = self.saver.most(self.position.total) as u64;
        let needed = model + checkpoints * checkpoint;
        // The new ones replace those of an earlier run, or of this one before it stopped.
        let there = checkpoint::list(&self.out)?;
        let replaced: u64 = there.iter().map(checkpoint::Entry::bytes).sum();
        if free + replaced >= needed {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let there = match replaced {
            0 => String::new(),
            bytes => format!(" beside checkpoints of {}", mib(bytes)),
        };
        Err(Error::File {
            path: self.out.clone(),
            what: format!(
                "the disk has {} MiB free{there}, and the run needs {}: {} for the model, {checkpoints} checkpoints of {}",
                mib(free),
                mib(needed),
                mib(model),
                mib(checkpoint),
            ),
            help: "make room, name an output folder on another disk, or lower `.save_total_limit`"
                .into(),
        })
    }

    pub(super) fn parts(&self) -> Parts {
        Parts {
            position: self.position.clone(),
            state: self.state(),
            metrics: self.metrics.so_far(),
        }
    }

    /// Saves a checkpoint of the present state; no step may be in flight.
    pub(super) fn save(&mut self) {
        let earlier = self.saver.wait();
        self.tell_saved(earlier);
        let parts = self.parts();
        let saved = self.saver.save(self.engine, parts);
        self.tell_saved(saved);
    }

    /// Saves a checkpoint before the run ends early, unless there is one of this step.
    pub(super) fn leave(&mut self) {
        if self.position.step > 0 && !self.saver.has(self.position.step) {
            self.save();
        }
    }

    pub(super) fn tell_saved(&mut self, saved: Option<Saved>) {
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
                let note = format!("the checkpoint of step {step} is not saved: {}", e.brief());
                (self.observe)(Event::Note(note));
            }
        }
    }
}
