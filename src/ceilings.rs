//! Measures a device's ceilings, against which every kernel's speed is compared.
//!
//! A GPU's ceilings are the fastest of several multiply-add loops and the fastest of several copies of buffers
//! larger than its caches. The CPU engine's are a large matrix product and a `memcpy` on all cores.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::buffer::Buffer;
use crate::cpu::CpuEngine;
use crate::engine::{Device, EngineExt};
use crate::error::{Error, Result};
use crate::ops::case::{Distance, distance};
use crate::ops::ceiling::{self, LANES, Operands, SIDES, Sums};
use crate::ops::linear::{self, Nn, Shape, Sum};
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

/// How near a kernel is to the ceiling that it is nearer to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Which ceiling.
    pub ceiling: Nearer,
    /// The share of it that the kernel's speed is.
    pub share: f64,
}

impl Ceilings {
    /// Measures a device, which takes a second or two.
    ///
    /// # Errors
    /// An error of the device, also if its results were wrong.
    pub fn measure(device: &mut dyn Device) -> Result<Ceilings> {
        let compute = if device.is_asynchronous() {
            check(device)?;
            multiply_adds(device)?
        } else {
            product(device)?
        };
        Ok(Ceilings {
            compute,
            copy: copies(device)?,
            matrices: matrices(device)?,
        })
    }

    /// The ceiling of which a kernel with these speeds and this precision reaches the larger share, and that
    /// share.
    pub fn nearer(
        &self,
        precision: Precision,
        flops_per_second: f64,
        bytes_per_second: f64,
    ) -> Nearest {
        let (math, ceiling) = match (&self.matrices, precision) {
            (Some(matrices), Precision::Mixed) => (Nearer::Matrices, matrices),
            _ => (Nearer::Compute, &self.compute),
        };
        let math = Nearest {
            ceiling: math,
            share: flops_per_second / ceiling.per_second,
        };
        let copy = Nearest {
            ceiling: Nearer::Copy,
            share: bytes_per_second / self.copy.per_second,
        };
        if math.share > copy.share { math } else { copy }
    }
}

/// The number of runs of which the fastest counts.
const RUNS: usize = 5;

/// The least time that a recording takes.
fn best(device: &mut dyn Device, rec: &Recording) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let times = device.run_timed(rec)?.times;
        best = best.min(times.iter().map(|t| t.seconds).sum());
    }
    Ok(best)
}

/// A buffer of `count` numbers uniform in ±0.9.
fn random(device: &mut dyn Device, count: usize) -> Result<Buffer> {
    let mut rng = ChaCha8Rng::seed_from_u64(count as u64);
    let mut uniform = || (f64::from(rng.next_u32()) / f64::from(u32::MAX)) as f32;
    let data: Vec<f32> = (0..count).map(|_| 0.9 * (2.0 * uniform() - 1.0)).collect();
    device.upload("ceiling", &data)
}

fn release<const N: usize>(device: &mut dyn Device, buffers: [Buffer; N]) {
    for buffer in buffers {
        device.release(buffer);
    }
}

/// A kernel that computes something else has no speed. Matrix units were held to their twins when the
/// device was opened for them.
fn check(device: &mut dyn Device) -> Result<()> {
    let mut cpu = CpuEngine::new();
    for case in ceiling::plain_cases() {
        let (ours, twin) = (case.run(device)?, case.run(&mut cpu)?);
        let off = distance(&ours.outputs, &twin.outputs);
        if !ours.broken.is_empty() || !off.within(&Distance::BOUND) {
            return Err(Error::device(
                format!("{}: {} comes out wrong: {off}", device.name(), case.label),
                "do not trust this device; `gpt2-dpo selftest` tells more",
            ));
        }
    }
    Ok(())
}

/// The fastest loop of multiply-adds.
fn multiply_adds(device: &mut dyn Device) -> Result<Ceiling> {
    /// Long enough that start and end do not count, and far below the limit at which an operating system ends a
    /// dispatch.
    const SECONDS: f64 = 0.01;
    const MAX_GROUPS: usize = 1 << 15;
    const MAX_ROUNDS: usize = 1 << 14;
    let x = random(device, ceiling::starts() * LANES)?;
    let y = device.create("ceiling", ceiling::outputs(MAX_GROUPS) * LANES)?;
    let mut fastest = Ceiling {
        what: String::new(),
        per_second: 0.0,
    };
    for sums in Sums::ALL {
        let (mut groups, mut rounds) = (256, 256);
        loop {
            let mut rec = device.recording();
            ceiling::multiply_add(&mut rec, Operands { x, y }, sums, groups, rounds);
            let seconds = best(device, &rec)?;
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
    release(device, [x, y]);
    Ok(fastest)
}

/// The rate of matrix units in products that touch no memory; `None` if the device runs the plain kernel instead.
fn matrices(device: &mut dyn Device) -> Result<Option<Ceiling>> {
    const SECONDS: f64 = 0.01;
    const GROUPS: usize = 1 << 11;
    const MAX_ROUNDS: usize = 1 << 16;
    let mut fastest: Option<Ceiling> = None;
    for side in SIDES {
        let x = random(device, ceiling::matrix_inputs(side))?;
        let y = device.create("ceiling", ceiling::matrix_outputs(side, GROUPS))?;
        let record = |device: &dyn Device, groups: usize, rounds: usize| {
            let mut rec = device.recording();
            ceiling::matrices(&mut rec, Operands { x, y }, side, groups, rounds);
            rec
        };
        let first = record(device, 1, 1);
        device.run(&first)?;
        let step = &first.steps[0];
        if step.variant(device.variant(step)).precision == Precision::Mixed {
            let mut rounds = 16;
            loop {
                let rec = record(device, GROUPS, rounds);
                let seconds = best(device, &rec)?;
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
        release(device, [x, y]);
    }
    Ok(fastest)
}

/// The CPU engine's matrix product.
fn product(device: &mut dyn Device) -> Result<Ceiling> {
    const SIDE: usize = 2048;
    let [x, w, y] = [(); 3].map(|()| random(device, SIDE * SIDE));
    let (x, w, y) = (x?, w?, y?);
    let mut rec = device.recording();
    let shape = Shape::whole(SIDE, SIDE, SIDE);
    let op = Nn {
        x,
        weight: w,
        bias: None,
        residual: None,
        y,
        first_row: 0,
    };
    linear::nn(&mut rec, &op, shape, Sum::SET);
    let seconds = best(device, &rec)?;
    release(device, [x, w, y]);
    Ok(Ceiling {
        what: format!("matrix product, {SIDE} × {SIDE} × {SIDE}"),
        per_second: 2.0 * (SIDE as f64).powi(3) / seconds,
    })
}

/// The fastest copy from one buffer to another.
fn copies(device: &mut dyn Device) -> Result<Ceiling> {
    /// Larger than any cache, and no more than every device binds.
    const BYTES: usize = 128 << 20;
    const ELEMENT: usize = LANES * size_of::<f32>();
    let count = BYTES.min(device.max_binding_bytes()) / ELEMENT;
    let x = random(device, count * LANES)?;
    let y = device.create("ceiling", count * LANES)?;
    let mut seconds = f64::INFINITY;
    for groups in [1 << 9, 1 << 12, 1 << 15] {
        let mut rec = device.recording();
        ceiling::copy(&mut rec, Operands { x, y }, count, groups);
        seconds = seconds.min(best(device, &rec)?);
    }
    release(device, [x, y]);
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
        let of = |nearest: Nearest| (nearest.ceiling, nearest.share);
        let nearer = |flops, bytes| of(ceilings.nearer(Precision::F32, flops, bytes));
        assert_eq!(nearer(50.0, 1.0), (Nearer::Compute, 0.5));
        assert_eq!(nearer(50.0, 8.0), (Nearer::Copy, 0.8));
        assert_eq!(nearer(0.0, 0.0), (Nearer::Copy, 0.0));
        let mixed = of(ceilings.nearer(Precision::Mixed, 500.0, 1.0));
        assert_eq!(mixed, (Nearer::Matrices, 0.5));
    }
}
