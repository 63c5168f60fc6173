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
use crate::reflect::StorageBinding;

/// A round of runs lasts about this long, or as long as one run if that takes longer.
const ROUND_SECONDS: f64 = 4e-3;
const MAX_RUNS: usize = 100;

/// The rounds of each variant. Their median counts: it is right if a busy machine spoils fewer than half of them.
const ROUNDS: usize = 5;

/// After so many rounds that at least one of them is right, a variant is not run again if even its fastest round took
/// this many times as long as the slowest of the best variant.
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
        let mut after = Vec::new();
        for (binding, &buffer) in bindings(&self.step) {
            if binding.written {
                after.push(read(driver, buffer)?);
            }
        }
        Ok(distance_of_changes(
            self.written(&self.before),
            after.iter().map(|words| &words[..]),
            self.written(&self.twin),
        ))
    }

    /// Restores the buffers that the step's kernel may have written.
    pub fn restore(&self, driver: &mut Driver) -> Result<()> {
        for ((binding, &buffer), words) in bindings(&self.step).zip(&self.before) {
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

/// What a step's kernel declares of each of the step's buffers.
fn bindings(step: &Step) -> impl Iterator<Item = (&'static StorageBinding, &Buffer)> {
    let storage = &step.kernel.reflection().storage;
    storage.iter().zip(step.buffers())
}

fn contents(driver: &mut Driver, step: &Step) -> Result<Vec<Vec<u32>>> {
    let buffers = step.buffers().iter();
    buffers.map(|&buffer| read(driver, buffer)).collect()
}

fn read(driver: &mut Driver, buffer: Buffer) -> Result<Vec<u32>> {
    let ticket = driver.fetch(buffer)?;
    driver.collect(ticket)
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
    let limit = driver.pace_limit();
    let tuned = measure(driver, choices, notes, step);
    driver.pace_back_to(limit); // many runs of a small kernel are mostly overhead
    // The variant that was chosen makes what it needs itself.
    driver.free_partials();
    driver.free_idle();
    tuned
}

fn measure(
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

/// The seconds of one run of each of these variants: the median of a few rounds. In a round the variants take turns,
/// so that a clock that rises or falls meanwhile favours none. The first runs for `warm_up` seconds before.
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
    // One run of each tells how many make a round.
    let mut alone = vec![warm];
    for kernel in &variants[1..] {
        alone.push(round(driver, step, kernel, 1)?);
    }
    rounds(variants.len(), |i| {
        round(driver, step, variants[i], runs_in_a_round(alone[i]))
    })
}

/// The medians of what `time` gives for each of `count` variants, over rounds in which they take turns.
fn rounds(count: usize, mut time: impl FnMut(usize) -> Result<f64>) -> Result<Vec<f64>> {
    let mut times = vec![Vec::new(); count];
    for done in 0..ROUNDS {
        // The slowest round of the variant that is best so far: what a busy machine does to a good one.
        let of_best = times.iter().min_by(|a, b| median(a).total_cmp(&median(b)));
        let slowest = of_best.map_or(f64::INFINITY, |best| fold(best, f64::INFINITY, f64::max));
        for (i, times) in times.iter_mut().enumerate() {
            let hopeless = fold(times, 0.0, f64::min) > HOPELESS * slowest;
            if done <= ROUNDS / 2 || !hopeless {
                times.push(time(i)?);
            }
        }
    }
    Ok(times.iter().map(|times| median(times)).collect())
}

/// The extreme of these times; `none` if there are none.
fn fold(times: &[f64], none: f64, extreme: fn(f64, f64) -> f64) -> f64 {
    times.iter().copied().reduce(extreme).unwrap_or(none)
}

/// The median; the lower of two in the middle, and infinity of nothing.
fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::INFINITY)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The index of the variant with the least median.
    fn fastest(medians: &[f64]) -> usize {
        let all = medians.iter().enumerate();
        all.min_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
    }

    /// Another program takes the machine in some rounds of the fastest variant, or lets it have one that looks faster
    /// than it is.
    #[test]
    fn a_busy_machine_does_not_choose() {
        let real = [2.0, 1.0, 1.2];
        for spoilt in [[0, 1], [1, 2], [2, 3], [3, 4], [0, 4]] {
            for factor in [0.01, 30.0, 1000.0] {
                let mut turns = [0; 3];
                let time = |i: usize| {
                    let turn = turns[i];
                    turns[i] += 1;
                    let disturbed = i == 1 && spoilt.contains(&turn);
                    Ok(real[i] * if disturbed { factor } else { 1.0 })
                };
                let medians = rounds(3, time).unwrap();
                assert_eq!(fastest(&medians), 1, "{spoilt:?} by {factor}: {medians:?}");
            }
        }
    }

    #[test]
    fn what_is_hopeless_is_not_run_to_the_end() {
        let mut turns = [0; 2];
        let medians = rounds(2, |i| {
            turns[i] += 1;
            Ok([1.0, 1.6][i])
        });
        assert_eq!(medians.unwrap(), [1.0, 1.6]);
        assert_eq!(turns, [ROUNDS, ROUNDS / 2 + 1]);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median(&[]), f64::INFINITY);
        assert_eq!(rounds(0, |_| Ok(1.0)).unwrap(), [0.0; 0]);
    }
}
