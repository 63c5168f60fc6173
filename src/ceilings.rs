//! Measures a device's ceilings, against which every kernel's speed is compared.
//!
//! A GPU's ceilings are the fastest of several multiply-add loops and the fastest of several copies of buffers
//! larger than its caches. The CPU engine's are a large matrix product and a `memcpy` on all cores.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::buffer::Buffer;
use crate::cpu::CpuEngine;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ops::case::{Distance, distance};
use crate::ops::ceiling::{self, LANES, SIDES, Sums};
use crate::ops::linear::{self, Shape};
use crate::recording::Recording;
use crate::target::Precision;

/// The best speed measured for one kind of work.
#[derive(Clone, Debug, Serialize)]
pub struct Ceiling {
    /// How the speed was measured.
    pub what: String,
    /// Floating-point operations, or bytes read and written, per second.
    pub per_second: f64,
}

/// The best speeds of one device.
#[derive(Clone, Debug, Serialize)]
pub struct Ceilings {
    /// Floating-point operations in f32.
    pub compute: Ceiling,
    /// Bytes read and written.
    pub copy: Ceiling,
    /// Floating-point operations on matrix units; `None` if the device was not opened for them.
    pub matrices: Option<Ceiling>,
}

/// The ceiling of which a kernel reaches the larger share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nearer {
    /// [`Ceilings::compute`].
    Compute,
    /// [`Ceilings::copy`].
    Copy,
    /// [`Ceilings::matrices`].
    Matrices,
}

impl Ceilings {
    /// Measures a device, which takes a second or two.
    ///
    /// # Errors
    /// `Error::Device`, also if the results of a measured kernel are wrong.
    pub fn measure(engine: &mut dyn Engine) -> Result<Ceilings> {
        let compute = if engine.is_asynchronous() {
            check(engine)?;
            multiply_adds(engine)?
        } else {
            product(engine)?
        };
        Ok(Ceilings {
            compute,
            copy: copies(engine)?,
            matrices: matrices(engine)?,
        })
    }

    /// The ceiling of which a kernel with these speeds and this precision reaches the larger share, and that
    /// share.
    pub fn nearer(
        &self,
        precision: Precision,
        flops_per_second: f64,
        bytes_per_second: f64,
    ) -> (Nearer, f64) {
        let (math, ceiling) = match (&self.matrices, precision) {
            (Some(matrices), Precision::Mixed) => (Nearer::Matrices, matrices),
            _ => (Nearer::Compute, &self.compute),
        };
        let math = (math, flops_per_second / ceiling.per_second);
        let copy = (Nearer::Copy, bytes_per_second / self.copy.per_second);
        if math.1 > copy.1 { math } else { copy }
    }
}

/// The number of runs of which the fastest counts.
const RUNS: usize = 5;

/// The time of the fastest run of a recording, in seconds.
fn best(engine: &mut dyn Engine, rec: &Recording) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let times = engine.run_timed(rec)?;
        best = best.min(times.iter().map(|t| t.seconds).sum());
    }
    Ok(best)
}

/// A buffer of `count` numbers, uniform in ±0.9.
fn random(engine: &mut dyn Engine, count: usize) -> Result<Buffer> {
    let mut rng = ChaCha8Rng::seed_from_u64(count as u64);
    let mut uniform = || (f64::from(rng.next_u32()) / f64::from(u32::MAX)) as f32;
    let data: Vec<f32> = (0..count).map(|_| 0.9 * (2.0 * uniform() - 1.0)).collect();
    engine.upload("ceiling", &data)
}

fn release<const N: usize>(engine: &mut dyn Engine, buffers: [Buffer; N]) {
    for buffer in buffers {
        engine.release(buffer);
    }
}

/// Checks the plain kernels against their twins, because the speed of wrong results means nothing. Matrix units
/// were checked when the device was opened for them.
fn check(engine: &mut dyn Engine) -> Result<()> {
    let mut cpu = CpuEngine::new();
    for case in ceiling::plain_cases() {
        let (ours, twin) = (case.run(engine)?, case.run(&mut cpu)?);
        let off = distance(&ours.outputs, &twin.outputs);
        if !ours.broken.is_empty() || !off.within(&Distance::BOUND) {
            return Err(Error::device(
                format!("{}: {} comes out wrong: {off}", engine.name(), case.label),
                "do not trust this device; `gpt2-dpo selftest` tells more",
            ));
        }
    }
    Ok(())
}

/// The fastest multiply-add loop.
fn multiply_adds(engine: &mut dyn Engine) -> Result<Ceiling> {
    /// Long enough that start and end do not count, and far below the time limits of operating systems.
    const SECONDS: f64 = 0.01;
    const MAX_GROUPS: usize = 1 << 15;
    const MAX_ROUNDS: usize = 1 << 14;
    let x = random(engine, ceiling::starts() * LANES)?;
    let y = engine.create("ceiling", ceiling::outputs(MAX_GROUPS) * LANES)?;
    let mut fastest = Ceiling {
        what: String::new(),
        per_second: 0.0,
    };
    for sums in Sums::ALL {
        let (mut groups, mut rounds) = (256, 256);
        loop {
            let mut rec = Recording::new();
            ceiling::multiply_add(&mut rec, (x, y), sums, groups, rounds);
            let seconds = best(engine, &rec)?;
            let flops: u64 = rec.steps.iter().map(|s| s.flops).sum();
            let per_second = flops as f64 / seconds;
            if per_second > fastest.per_second {
                let what = format!("multiply-add loop, {} sums a lane", sums.count());
                fastest = Ceiling { what, per_second };
            }
            if seconds >= SECONDS || rounds == MAX_ROUNDS {
                break;
            }
            let factor = (SECONDS / seconds).ceil().clamp(2.0, 16.0) as usize;
            if groups < MAX_GROUPS {
                groups = (groups * factor).min(MAX_GROUPS);
            } else {
                rounds = (rounds * factor).min(MAX_ROUNDS);
            }
        }
    }
    release(engine, [x, y]);
    Ok(fastest)
}

/// The speed of matrix units on products that touch no memory; `None` if the plain kernel runs instead.
fn matrices(engine: &mut dyn Engine) -> Result<Option<Ceiling>> {
    const SECONDS: f64 = 0.01;
    const GROUPS: usize = 1 << 11;
    const MAX_ROUNDS: usize = 1 << 16;
    let mut fastest: Option<Ceiling> = None;
    for side in SIDES {
        let x = random(engine, ceiling::matrix_inputs(side))?;
        let y = engine.create("ceiling", ceiling::matrix_outputs(side, GROUPS))?;
        let record = |groups: usize, rounds: usize| {
            let mut rec = Recording::new();
            ceiling::matrices(&mut rec, (x, y), side, groups, rounds);
            rec
        };
        let first = record(1, 1);
        engine.run(&first)?;
        let step = &first.steps[0];
        if step.way(engine.variant(step)).precision == Precision::Mixed {
            let mut rounds = 16;
            loop {
                let rec = record(GROUPS, rounds);
                let seconds = best(engine, &rec)?;
                let per_second = rec.steps[0].flops as f64 / seconds;
                if fastest.as_ref().is_none_or(|f| per_second > f.per_second) {
                    let what = format!("matrix units of {side} × {side} × {side}, f16 to f32");
                    fastest = Some(Ceiling { what, per_second });
                }
                if seconds >= SECONDS || rounds == MAX_ROUNDS {
                    break;
                }
                rounds = (4 * rounds).min(MAX_ROUNDS);
            }
        }
        release(engine, [x, y]);
    }
    Ok(fastest)
}

/// The speed of the CPU engine's matrix product.
fn product(engine: &mut dyn Engine) -> Result<Ceiling> {
    const SIDE: usize = 2048;
    let [x, w, y] = [(); 3].map(|()| random(engine, SIDE * SIDE));
    let (x, w, y) = (x?, w?, y?);
    let mut rec = Recording::new();
    let shape = Shape::whole(SIDE, SIDE, SIDE);
    let op = linear::Forward {
        x,
        weight: w,
        bias: None,
        residual: None,
        y,
    };
    linear::forward(&mut rec, &op, shape, 0, false);
    let seconds = best(engine, &rec)?;
    release(engine, [x, w, y]);
    Ok(Ceiling {
        what: format!("matrix product, {SIDE} × {SIDE} × {SIDE}"),
        per_second: 2.0 * (SIDE as f64).powi(3) / seconds,
    })
}

/// The fastest copy from one buffer to another.
fn copies(engine: &mut dyn Engine) -> Result<Ceiling> {
    /// Larger than any cache, and small enough for every device to bind.
    const BYTES: usize = 128 << 20;
    const ELEMENT: usize = LANES * size_of::<f32>();
    let count = BYTES.min(engine.max_binding_bytes()) / ELEMENT;
    let x = random(engine, count * LANES)?;
    let y = engine.create("ceiling", count * LANES)?;
    let mut seconds = f64::INFINITY;
    for groups in [1 << 9, 1 << 12, 1 << 15] {
        let mut rec = Recording::new();
        ceiling::copy(&mut rec, (x, y), count, groups);
        seconds = seconds.min(best(engine, &rec)?);
    }
    release(engine, [x, y]);
    Ok(Ceiling {
        what: format!("copy of {} MiB", (count * ELEMENT) >> 20),
        per_second: (2 * count * ELEMENT) as f64 / seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_ceiling_is_the_larger_share() {
        let ceiling = |per_second| Ceiling {
            what: String::new(),
            per_second,
        };
        let ceilings = Ceilings {
            compute: ceiling(100.0),
            copy: ceiling(10.0),
            matrices: Some(ceiling(1000.0)),
        };
        let nearer = |flops, bytes| ceilings.nearer(Precision::F32, flops, bytes);
        assert_eq!(nearer(50.0, 1.0), (Nearer::Compute, 0.5));
        assert_eq!(nearer(50.0, 8.0), (Nearer::Copy, 0.8));
        assert_eq!(nearer(0.0, 0.0), (Nearer::Copy, 0.0));
        let mixed = ceilings.nearer(Precision::Mixed, 500.0, 1.0);
        assert_eq!(mixed, (Nearer::Matrices, 0.5));
    }
}
