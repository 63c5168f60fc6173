//! Times whole optimizer steps as training runs them.

use std::collections::VecDeque;
use std::time::Instant;

use serde::Serialize;

use super::model::Workload;
use super::{Options, Progress};
use crate::engine::{Device, Usage};
use crate::error::Result;
use crate::profile::{Calls, Labelled};
use crate::train::STEPS_IN_FLIGHT;

/// The speed of whole optimizer steps.
#[derive(Clone, Debug, Serialize)]
pub struct StepSpeed {
    /// The number of timed steps.
    pub steps: usize,
    /// Micro-batches of a step. On a device with room to grow it is one of all pairs.
    pub micro_batches: usize,
    /// The median time of a step.
    pub seconds: f64,
    /// Preference pairs per second.
    pub pairs_per_second: f64,
    /// Tokens of prompts and responses per second, each token counted once.
    pub tokens_per_second: f64,
    /// Floating-point operations of all kernels per second.
    pub flops_per_second: f64,
    /// The largest total size of buffers at a time, in bytes; `None` if not counted.
    pub peak_bytes: Option<usize>,
    /// The share of the time in which no kernel ran; `None` if the device cannot tell.
    pub idle: Option<f64>,
}

/// After this many seconds no further step begins.
const MAX_SECONDS: f64 = 60.0;

/// Times steps of these kernels, one after another without a break, with cached reference log-probs.
pub(super) fn measure(
    engine: &mut dyn Device,
    work: &mut Workload,
    options: &Options,
    kernels: &[Labelled],
    observe: &mut dyn FnMut(Progress),
) -> Result<StepSpeed> {
    let sum = |of: fn(&Calls) -> f64| kernels.iter().map(|kernel| of(&kernel.calls)).sum::<f64>();
    let affordable = (MAX_SECONDS / sum(|calls| calls.seconds)) as usize;
    let steps = options.steps.min(affordable).max(1);
    let mut report = |done| {
        observe(Progress {
            phase: "steps",
            what: String::new(),
            done,
            total: steps,
        })
    };
    report(0);
    if affordable > 1 {
        run(engine, work, 1, &mut |_| {})?; // warm-up
    }
    engine.watch();
    let mut times = run(engine, work, steps, &mut report)?;
    let Usage { peak_bytes, idle } = engine.usage()?;
    let seconds = median(&mut times);
    Ok(StepSpeed {
        steps,
        micro_batches: work.batches,
        seconds,
        pairs_per_second: work.whole.pairs as f64 / seconds,
        tokens_per_second: work.tokens as f64 / seconds,
        flops_per_second: sum(|calls| calls.flops as f64) / seconds,
        peak_bytes,
        idle,
    })
}

/// The seconds from the end of each step to the end of the next.
fn run(
    engine: &mut dyn Device,
    work: &mut Workload,
    steps: usize,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<f64>> {
    let in_flight = match engine.is_asynchronous() {
        true => STEPS_IN_FLIGHT,
        false => 0,
    };
    let mut flights = VecDeque::new();
    let mut times = Vec::new();
    let mut clock = Instant::now();
    for step in 0..steps {
        for batch in 0..work.batches {
            work.accumulate(engine, batch)?;
        }
        flights.push_back(work.update(engine)?);
        let keep = if step + 1 == steps { 0 } else { in_flight };
        while flights.len() > keep {
            if let Some(flight) = flights.pop_front() {
                work.report(engine, flight)?;
                times.push(clock.elapsed().as_secs_f64());
                clock = Instant::now();
                done(times.len());
            }
        }
    }
    Ok(times)
}

/// The middle value, or the mean of the two middle values; NaN of an empty slice.
pub(super) fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    match times {
        [] => f64::NAN,
        _ => 0.5 * (times[(times.len() - 1) / 2] + times[times.len() / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 9.0]), 3.0);
        assert_eq!(median(&mut [5.0]), 5.0);
        assert!(median(&mut []).is_nan());
    }
}
