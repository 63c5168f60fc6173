//! Which variant of a kernel is fastest, measured at first use and kept on disk.
//!
//! A variant is first held to the CPU twin on the step's own data; one that fails is never taken on
//! that device.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::GpuEngine;
use super::variants::partials;
use crate::distance::Distance;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::kernel::{Class, Kernel};
use crate::recording::Step;

/// A round of runs lasts about this long, or one run.
const ROUND_SECONDS: f64 = 4e-3;
const MAX_RUNS: usize = 100;
const ROUNDS: usize = 3;

/// A variant whose first run took this many times as long as the best one's is not run again.
const HOPELESS: f64 = 1.5;

/// What was measured on one device, and the file that keeps it.
pub(super) struct Tuner {
    path: PathBuf,
    table: Table,
    fresh: usize,
    seconds: f64,
}

#[derive(Default, Serialize, Deserialize)]
struct Table {
    entries: Vec<Entry>,
}

/// What was measured for one kernel and class of steps.
#[derive(Serialize, Deserialize)]
struct Entry {
    kernel: String,
    class: Class,
    /// The one that runs.
    variant: String,
    /// Time of one run of each that was measured.
    milliseconds: BTreeMap<String, f64>,
    /// Those that were wrong, each with how.
    failed: BTreeMap<String, String>,
}

impl Tuner {
    /// With what `path` holds; a file that is not there, or not readable, is as good as an empty one.
    pub fn open(path: &Path) -> Tuner {
        let table = std::fs::read_to_string(path)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        Tuner {
            path: path.to_owned(),
            table: table.unwrap_or_default(),
            fresh: 0,
            seconds: 0.0,
        }
    }

    /// The variant that was fastest for steps like this one.
    pub fn recall(&self, step: &Step) -> Option<&str> {
        let (kernel, class) = (step.kernel.name(), step.class());
        let mut entries = self.table.entries.iter();
        let entry = entries.find(|e| e.kernel == kernel && e.class == class)?;
        Some(&entry.variant)
    }

    /// True if this variant of the kernel was found wrong, at whatever shape.
    pub fn has_failed(&self, kernel: &str, variant: &str) -> bool {
        let mut entries = self.table.entries.iter().filter(|e| e.kernel == kernel);
        entries.any(|e| e.failed.contains_key(variant))
    }

    /// Takes an entry in, in place of one that names a variant that is no more.
    fn learn(&mut self, entry: Entry, seconds: f64) {
        let same = |e: &Entry| e.kernel == entry.kernel && e.class == entry.class;
        self.table.entries.retain(|e| !same(e));
        self.table.entries.push(entry);
        self.fresh += 1;
        self.seconds += seconds;
    }

    /// Writes down what is new and tells of it; without a word if nothing is.
    pub fn store(&mut self) -> Option<String> {
        if self.fresh == 0 {
            return None;
        }
        let (fresh, seconds) = (
            std::mem::take(&mut self.fresh),
            std::mem::take(&mut self.seconds),
        );
        let kept = match self.write() {
            Ok(()) => format!("kept in {}", self.path.display()),
            Err(e) => format!("not kept for the next run: {}: {e}", self.path.display()),
        };
        Some(format!(
            "autotune: measured {fresh} kernel shapes in {seconds:.1} s; {kept}"
        ))
    }

    /// A reader sees the old file or the new one, whole.
    fn write(&self) -> std::io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer_pretty(&mut file, &self.table)?;
        file.flush()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl GpuEngine {
    /// Measures the candidates for a step on the buffers as they are, takes the best that is right, and
    /// leaves the buffers as they were.
    pub(super) fn tune(&mut self, step: &Step) -> Result<()> {
        let began = Instant::now();
        let mut entry = Entry {
            kernel: step.kernel.name(),
            class: step.class(),
            variant: String::new(),
            milliseconds: BTreeMap::new(),
            failed: BTreeMap::new(),
        };
        let contenders = self.choices.contenders(step);
        let Some(first) = contenders.first() else {
            return Err(self.none_right(&entry.kernel));
        };
        let expected = self.expect(step, first)?;
        if !expected.tells(step) {
            // An overflowed gradient, say: the usual way runs, and another step's data decide.
            return Ok(());
        }
        let mut best: Option<(f64, &'static Kernel)> = None;
        for way in contenders {
            if self.reserve_partials(partials(step, way)).is_err() {
                continue; // no memory for it now: that says nothing of later runs
            }
            let failed = match self.try_out(step, way, &expected) {
                Ok(off) => {
                    let off = off.unwrap_or_default();
                    (!off.within(&Distance::REAL)).then(|| format!("{off} from the CPU"))
                }
                // A driver that cannot compile it, say.
                Err(e) => Some(e.to_string()),
            };
            if let Some(reason) = failed {
                self.notes.push(format!(
                    "{} [{}] is wrong on this device ({reason}) and not used",
                    entry.kernel, way.variant
                ));
                entry.failed.insert(way.variant.to_owned(), reason);
                continue;
            }
            let limit = best.map_or(f64::INFINITY, |(seconds, _)| HOPELESS * seconds);
            let seconds = self.time(step, way, limit)?;
            let milliseconds = 1e3 * seconds;
            entry
                .milliseconds
                .insert(way.variant.to_owned(), milliseconds);
            if best.is_none_or(|(least, _)| seconds < least) {
                best = Some((seconds, way));
            }
        }
        self.restore(step, &expected)?;
        let Some((_, way)) = best else {
            return Err(self.none_right(&entry.kernel));
        };
        entry.variant = way.variant.to_owned();
        self.choices.take(step, way);
        if let Some(tuner) = &mut self.choices.tuner {
            tuner.learn(entry, began.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn none_right(&self, kernel: &str) -> Error {
        Error::device(
            format!("{}: no variant of {kernel} is right here", self.name()),
            "update the driver, or use `.device` cpu; `gpt2-dpo selftest` tells more",
        )
    }

    /// Seconds of one run: the least of a few rounds, or of the first run alone if that is over `limit`.
    fn time(&mut self, step: &Step, way: &'static Kernel, limit: f64) -> Result<f64> {
        let first = self.round(step, way, 1)?;
        if first > limit {
            return Ok(first);
        }
        let runs = ((ROUND_SECONDS / first) as usize).clamp(1, MAX_RUNS);
        let mut least = first;
        for _ in 0..ROUNDS {
            least = least.min(self.round(step, way, runs)?);
        }
        Ok(least)
    }

    fn round(&mut self, step: &Step, way: &'static Kernel, runs: usize) -> Result<f64> {
        self.wait()?;
        let began = Instant::now();
        self.submit(&vec![(*step, way); runs], runs, None)?;
        self.wait()?;
        Ok(began.elapsed().as_secs_f64() / runs as f64)
    }
}
