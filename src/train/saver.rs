//! Saves checkpoints while training goes on, and removes old ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::checkpoint::{self, Contents, Metrics, Position, Snapshot, Values};
use crate::config::TrainConfig;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::pretrained::Outline;
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
    /// The optimizer step of the last checkpoint that was begun or found whole.
    last_step: Option<usize>,
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
            out: out.to_owned(),
            run_file: config.to_toml().into(),
            steps: config.save_steps,
            interval: Duration::try_from_secs_f64(60.0 * config.save_minutes)
                .unwrap_or(Duration::MAX),
            limit: config.save_total_limit,
            free_memory: host.free_memory,
            last: Instant::now(),
            last_step: None,
            job: None,
        }
    }

    /// Begins to measure the time until the next save. `step` is the checkpoint from which the run goes on.
    pub fn begin(&mut self, step: Option<usize>) {
        self.last = Instant::now();
        self.last_step = step;
    }

    /// True if a checkpoint is due after this step.
    pub fn is_due(&self, step: usize, total: usize) -> bool {
        let by_steps = self.steps > 0 && step.is_multiple_of(self.steps);
        let by_time =
            step < total && !self.interval.is_zero() && self.last.elapsed() >= self.interval;
        step > 0 && self.last_step != Some(step) && (by_steps || by_time)
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
        if result.is_err() {
            self.last_step = None;
        }
        Some(Saved { step, result })
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
        if result.is_err() {
            self.last_step = None;
        }
        self.last = Instant::now();
        Some(Saved { step, result })
    }

    fn task(&self, parts: Parts) -> Task {
        Task {
            storage: Arc::clone(&self.storage),
            outline: Arc::clone(&self.outline),
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
            run_file: &self.run_file,
            position,
            state,
            metrics,
        };
        let storage = self.storage.as_ref();
        let path = checkpoint::write(storage, &folder, &contents, values)?;
        if self.limit > 0 {
            let best = position.best.map(|best| best.step);
            let others = checkpoint::list(&self.out)?;
            let old = others.iter().skip(self.limit);
            for old in old.filter(|old| Some(old.step) != best) {
                checkpoint::remove(storage, &old.path)?;
            }
        }
        Ok(path)
    }
}
