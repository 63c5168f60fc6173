//! Measures the variants of a kernel on a step's own data, and compares them with the kernel's CPU twin.
//!
//! The comparison comes first. A variant that fails it never runs on that device again.

use std::collections::BTreeMap;
use std::time::Instant;

use super::driver::{Chosen, Driver, partials};
use super::tuner::Entry;
use super::variants::Choices;
use crate::buffer::Buffer;
use crate::distance::{Distance, distance_of_changes};
use crate::engine::WARM_UP;
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::recording::Step;

/// A round of runs lasts about this long, or as long as one run if that takes longer.
const ROUND_SECONDS: f64 = 4e-3;
const MAX_RUNS: usize = 100;
const ROUNDS: usize = 3;

/// A variant is not run again if it took this many times as long as the best variant so far.
const HOPELESS: f64 = 1.5;

/// The contents of a step's buffers before the step, and after its twin.
pub(super) struct Expected {
    step: Step,
    before: Vec<Vec<u32>>,
    twin: Vec<Vec<u32>>,
}

impl Expected {
    /// Reads a step's buffers, and runs the twin that `kernel` shares with all variants of its precision.
    pub fn of(driver: &mut Driver, step: &Step, kernel: &Kernel) -> Result<Expected> {
        let before = contents(driver, step)?;
        Ok(Expected {
            step: *step,
            twin: step.twin(kernel, before.clone()),
            before,
        })
    }

    /// True if the data can tell right variants from wrong ones: the twin's results are finite, and differ from
    /// the contents before.
    fn tells(&self) -> bool {
        let (before, twin) = (self.written(&self.before), self.written(&self.twin));
        let off = distance_of_changes(before, twin, self.written(&self.twin));
        off.is_some_and(|off| off.within(&Distance::default()))
    }

    /// The distance of the results of `kernel` from the twin's; `None` if neither changes any buffer.
    pub fn distance_of(
        &self,
        driver: &mut Driver,
        kernel: &'static Kernel,
    ) -> Result<Option<Distance>> {
        self.restore(driver)?;
        run(driver, &self.step, kernel, 1)?;
        let after = contents(driver, &self.step)?;
        Ok(distance_of_changes(
            self.written(&self.before),
            self.written(&after),
            self.written(&self.twin),
        ))
    }

    /// Restores the buffers that the step's kernel may have written.
    pub fn restore(&self, driver: &mut Driver) -> Result<()> {
        let storage = &self.step.kernel.reflection().storage;
        let buffers = storage.iter().zip(self.step.buffers()).zip(&self.before);
        for ((binding, &buffer), words) in buffers {
            if binding.written {
                driver.write(buffer, words)?;
            }
        }
        Ok(())
    }

    /// From the contents of all buffers of the step, the contents of those that the kernel may write.
    fn written<'a>(&'a self, buffers: &'a [Vec<u32>]) -> impl Iterator<Item = &'a [u32]> {
        let storage = self.step.kernel.reflection().storage.iter();
        let pairs = storage.zip(buffers).filter(|(binding, _)| binding.written);
        pairs.map(|(_, words)| &words[..])
    }
}

fn contents(driver: &mut Driver, step: &Step) -> Result<Vec<Vec<u32>>> {
    let read = |&buffer: &Buffer| {
        let ticket = driver.fetch(buffer)?;
        driver.collect(ticket)
    };
    step.buffers().iter().map(read).collect()
}

fn run(driver: &mut Driver, step: &Step, kernel: &'static Kernel, runs: usize) -> Result<()> {
    let chosen = Chosen {
        step: *step,
        kernel,
    };
    driver.submit(&vec![chosen; runs], runs, None)
}

/// Measures the contenders for a step on the present contents of its buffers, chooses the fastest right one, and
/// restores the contents.
///
/// # Errors
/// `Error::Device` if no variant is right; every error that the driver reports.
pub(super) fn tune(
    driver: &mut Driver,
    choices: &mut Choices,
    notes: &mut Vec<String>,
    step: &Step,
) -> Result<()> {
    let began = Instant::now();
    let mut entry = Entry {
        kernel: step.kernel.name(),
        class: step.class(),
        variant: String::new(),
        milliseconds: BTreeMap::new(),
        failed: BTreeMap::new(),
    };
    let contenders = choices.contenders(step);
    let Some(first) = contenders.first() else {
        return Err(none_right(driver, &entry.kernel));
    };
    let expected = Expected::of(driver, step, first)?;
    if !expected.tells() {
        // The data cannot tell, for example after an overflow of a gradient. `Choices::get_or_usual` runs now, and
        // the data of a later step decide.
        return Ok(());
    }
    let passes = contenders.iter().flat_map(|kernel| kernel.passes());
    driver.compiled.compile_ahead(passes.collect());
    let mut right = Vec::new();
    for kernel in contenders {
        if driver.reserve_partials(partials(step, kernel)).is_err() {
            continue; // there is no memory for its partial sums now; a later run may have enough
        }
        let failed = match expected.distance_of(driver, kernel) {
            Ok(off) => {
                let off = off.unwrap_or_default();
                (!off.within(&Distance::REAL)).then(|| format!("{off} from the CPU"))
            }
            Err(lost @ Error::Lost { .. }) => return Err(lost),
            Err(e) if e.is_memory() => continue, // as above
            // For example the driver cannot compile the variant.
            Err(e) => Some(e.to_string()),
        };
        match failed {
            None => right.push(kernel),
            Some(reason) => {
                notes.push(format!(
                    "{} [{}] is wrong on this device ({reason}) and not used",
                    entry.kernel, kernel.variant
                ));
                entry.failed.insert(kernel.variant.to_owned(), reason);
            }
        }
    }
    driver.compiled.settle();
    let warm_up = if choices.is_software() { 0.0 } else { WARM_UP };
    let times = race(driver, step, &right, warm_up)?;
    expected.restore(driver)?;
    let fastest = times.iter().zip(&right).min_by(|a, b| a.0.total_cmp(b.0));
    let Some((_, &kernel)) = fastest else {
        return Err(none_right(driver, &entry.kernel));
    };
    let named = right.iter().map(|kernel| kernel.variant.to_owned());
    entry.milliseconds = named.zip(times.iter().map(|s| 1e3 * s)).collect();
    entry.variant = kernel.variant.to_owned();
    choices.note(step, kernel);
    if let Some(tuner) = &mut choices.tuner {
        tuner.learn(entry, began.elapsed().as_secs_f64());
    }
    Ok(())
}

fn none_right(driver: &Driver, kernel: &str) -> Error {
    Error::device(
        format!("{}: no variant of {kernel} is right here", driver.name),
        "update the driver, or use `.device` cpu; `gpt2-dpo selftest` tells more",
    )
}

/// The seconds of one run of each of these variants: the least of a few rounds. In a round the variants take
/// turns, so that a clock that rises or falls meanwhile favours none. The first runs for `warm_up` seconds before.
fn race(
    driver: &mut Driver,
    step: &Step,
    variants: &[&'static Kernel],
    warm_up: f64,
) -> Result<Vec<f64>> {
    let Some(first) = variants.first() else {
        return Ok(Vec::new());
    };
    let began = Instant::now();
    let mut warm = round(driver, step, first, 1)?;
    while began.elapsed().as_secs_f64() < warm_up {
        warm = round(driver, step, first, runs_in_a_round(warm))?;
    }
    let mut least = vec![warm];
    for kernel in &variants[1..] {
        least.push(round(driver, step, kernel, 1)?);
    }
    for _ in 0..ROUNDS {
        for (i, kernel) in variants.iter().enumerate() {
            let best = least.iter().copied().fold(f64::INFINITY, f64::min);
            if least[i] <= HOPELESS * best {
                let seconds = round(driver, step, kernel, runs_in_a_round(least[i]))?;
                least[i] = least[i].min(seconds);
            }
        }
    }
    Ok(least)
}

fn runs_in_a_round(seconds: f64) -> usize {
    ((ROUND_SECONDS / seconds) as usize).clamp(1, MAX_RUNS)
}

fn round(driver: &mut Driver, step: &Step, kernel: &'static Kernel, runs: usize) -> Result<f64> {
    driver.wait()?;
    let began = Instant::now();
    run(driver, step, kernel, runs)?;
    driver.wait()?;
    Ok(began.elapsed().as_secs_f64() / runs as f64)
}
