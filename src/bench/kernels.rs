//! Checks every kernel of an optimizer step against its twin and times it, on the step's own data.

use std::collections::HashMap;
use std::time::Instant;

use super::model::Workload;
use super::step::median;
use super::{Options, Progress};
use crate::buffer::Buffer;
use crate::distance::{Distance, distance_of_changes};
use crate::engine::{Device, EngineExt, Tap, Ticket, WARM_UP};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::profile::{Calls, Deviation, Label, Labelled};
use crate::recording::{Recording, Step};

/// The runs of a kernel between two restorations of its written buffers. A GPU that stays busy does not lower
/// its clock.
const BURST: usize = 5;

/// The most runs of a kernel.
const MAX_RUNS: usize = 200;

/// Measures every kernel and shape of one optimizer step; a row's time is the median time × its calls.
///
/// # Errors
/// An error of the device.
pub(super) fn measure(
    engine: &mut dyn Device,
    work: &mut Workload,
    options: &Options,
    observe: &mut dyn FnMut(Progress),
) -> Result<Vec<Labelled>> {
    let mut bench = Bench {
        seconds: options.seconds_per_kernel,
        counts_only: false,
        met: HashMap::new(),
        observe,
    };
    for batch in 0..work.batches {
        // The first micro-batch runs whole, so that later kernels get real numbers. In the others, kernels that
        // are already measured only need counting.
        bench.counts_only = batch > 0;
        let mut on_run = |engine: &mut dyn Device, rec: &Recording| bench.run(engine, rec);
        work.accumulate(&mut Tap::new(engine, &mut on_run), batch)?;
    }
    let mut on_run = |engine: &mut dyn Device, rec: &Recording| bench.run(engine, rec);
    let ticket = work.update(&mut Tap::new(engine, &mut on_run))?;
    work.report(engine, ticket)?;
    Ok(bench.met.into_values().collect())
}

struct Bench<'a> {
    /// The time for each kernel, in seconds.
    seconds: f64,
    /// Do not run kernels that are already measured.
    counts_only: bool,
    /// Measured kernels by name and sizes; the variant is settled when a step with them first runs.
    met: HashMap<(String, Vec<u32>), Labelled>,
    observe: &'a mut dyn FnMut(Progress),
}

impl Bench<'_> {
    /// Runs a recording, measuring the steps that are new in it.
    fn run(&mut self, engine: &mut dyn Device, recording: &Recording) -> Result<Vec<Ticket>> {
        let mut known = Vec::new();
        engine.send_uploads(recording)?;
        for step in &recording.steps {
            let kind = (step.kernel.name(), step.sizes());
            if let Some(Labelled { calls, .. }) = self.met.get_mut(&kind) {
                let each = calls.seconds / calls.count as f64;
                calls.add(step);
                calls.seconds += each;
                known.push(*step);
                continue;
            }
            self.run_known(engine, &mut known)?;
            (self.observe)(Progress {
                phase: "kernels",
                what: kind.0.clone(),
                done: self.met.len(),
                total: 0,
            });
            let mut calls = measure_step(engine, step, self.seconds)?;
            calls.add(step);
            let label = Label::of(engine, step);
            self.met.insert(kind, Labelled { label, calls });
        }
        self.run_known(engine, &mut known)?;
        engine.ask_fetches(recording)
    }

    fn run_known(&self, engine: &mut dyn Device, known: &mut Vec<Step>) -> Result<()> {
        let known = std::mem::take(known);
        if !self.counts_only {
            engine.run(&Recording::of(known))?;
        }
        Ok(())
    }
}

/// The median time of one step, and its distance from the twin. Leaves the device as one run of the step
/// does.
fn measure_step(engine: &mut dyn Device, step: &Step, seconds: f64) -> Result<Calls> {
    let alone = Recording::of(vec![*step]);
    let before = read(engine, step.buffers().iter().copied())?;
    engine.run(&alone)?;
    let way = step.variant(engine.variant(step));
    let mut calls = Calls {
        precision: way.precision,
        ..Calls::default()
    };
    // The CPU engine runs the twins themselves, so there is nothing to compare.
    if engine.is_asynchronous() {
        let after = read(engine, written(step).map(|(_, buffer)| buffer))?;
        let distance = distance_from_twin(step, way, &before, &after);
        calls.distance = Some(Deviation {
            distance,
            bound: way.bound(),
        });
        if calls.is_wrong() {
            return Ok(calls);
        }
    }
    let restore = |engine: &mut dyn Device| {
        written(step).try_for_each(|(i, buffer)| engine.write(buffer, &before[i]))
    };
    let began = Instant::now();
    while engine.is_asynchronous() && began.elapsed().as_secs_f64() < WARM_UP {
        engine.run(&alone)?;
        engine.wait()?;
    }
    let burst = Recording::of(vec![*step; BURST]);
    let mut times = Vec::new();
    let clock = Instant::now();
    while times.is_empty() || (times.len() < MAX_RUNS && clock.elapsed().as_secs_f64() < seconds) {
        restore(engine)?;
        times.extend(engine.run_timed(&burst)?.times.iter().map(|t| t.seconds));
    }
    restore(engine)?;
    engine.run(&alone)?;
    calls.seconds = median(&mut times);
    Ok(calls)
}

/// The buffers that a step writes, each with its index among the step's buffers.
fn written(step: &Step) -> impl Iterator<Item = (usize, Buffer)> {
    let bindings = &step.kernel.reflection().storage;
    let buffers = step.buffers().iter().copied().enumerate();
    let pairs = buffers.zip(bindings);
    pairs.filter_map(|(buffer, binding)| binding.written.then_some(buffer))
}

fn read(engine: &mut dyn Device, buffers: impl Iterator<Item = Buffer>) -> Result<Vec<Vec<u32>>> {
    buffers.map(|b| engine.read(b)).collect()
}

/// The distance between the written buffers `after`, which the device computed with `way` from the buffers
/// `before`, and the twin's results from `before`. NaN if nothing changed.
fn distance_from_twin(
    step: &Step,
    way: &Kernel,
    before: &[Vec<u32>],
    after: &[Vec<u32>],
) -> Distance {
    let made = step.twin(way, before.to_vec());
    let was = written(step).map(|(i, _)| &before[i][..]);
    let made = written(step).map(|(i, _)| &made[i][..]);
    distance_of_changes(was, after.iter().map(Vec::as_slice), made).unwrap_or(Distance::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuEngine;
    use crate::engine::Engine;
    use crate::ops::linear::{self, Shape, Sum, Tn};

    /// The distance of `after` from dw `[1, 2]` += x `[1, 1]`ᵀ · dy `[1, 2]`, where dw has a third element that
    /// the kernel does not touch.
    fn distance_of(after: [f32; 3]) -> Distance {
        let mut cpu = CpuEngine::new();
        let data = [[1.0_f32, 0.0, 0.0], [1.0, 2.0, 3.0], [10.0, 20.0, 1e9]];
        let [x, dy, dw] = data.map(|data| cpu.upload("test", &data).unwrap());
        let mut rec = cpu.recording();
        linear::tn(&mut rec, &Tn { x, dy, dw }, Shape::whole(1, 1, 2), Sum::ADD);
        let words = |data: [f32; 3]| data.map(f32::to_bits).to_vec();
        let step = &rec.steps[0];
        distance_from_twin(step, step.kernel, &data.map(words), &[words(after)])
    }

    #[test]
    fn a_step_is_held_to_its_twin() {
        let right = [11.0, 22.0, 1e9];
        assert!(distance_of(right).within(&Distance::BOUND));
        for i in 0..3 {
            for wrong in [right[i] * 1.0001, f32::NAN] {
                let mut after = right;
                after[i] = wrong;
                let d = distance_of(after);
                assert!(!d.within(&Distance::BOUND), "{after:?}: {d:?}");
            }
        }
        // The device changed nothing; the untouched 1e9 must not hide that.
        assert!(!distance_of([10.0, 20.0, 1e9]).within(&Distance::BOUND));
    }

    #[test]
    fn measuring_leaves_what_one_run_leaves() {
        let mut cpu = CpuEngine::new();
        let data = [[1.0_f32, 0.0], [1.0, 2.0], [10.0, 20.0]];
        let [x, dy, dw] = data.map(|data| cpu.upload("test", &data).unwrap());
        let mut rec = cpu.recording();
        linear::tn(&mut rec, &Tn { x, dy, dw }, Shape::whole(1, 1, 2), Sum::ADD);
        let calls = measure_step(&mut cpu, &rec.steps[0], 0.01).unwrap();
        assert!(calls.seconds > 0.0 && calls.distance.is_none());
        assert_eq!(cpu.read_f32(dw).unwrap(), [11.0, 22.0]);
    }
}
