//! Compares a device with the kernels' CPU twins on the ops' made-up cases.

use crate::cpu::CpuEngine;
use crate::distance::{Distance, distance};
use crate::engine::{Engine, EngineExt};
use crate::error::{Error, Result};
use crate::ops::linear::{self, Nn, Shape, Sum};
use crate::ops::{OPS, Op};
use crate::target::Precision;

/// How a device did on the cases of an op.
pub struct Agreement {
    /// How many were run.
    pub cases: usize,
    /// The largest distance from the twins over all cases.
    pub worst: Distance,
    /// The failures, each in words.
    pub misses: Vec<String>,
}

/// Runs every case of an op on `engine`, which was opened for `precision`, and on the CPU.
///
/// # Errors
/// An error of the device. A kernel that disagrees with its twin is no error, but a miss.
pub fn hold(engine: &mut dyn Engine, op: &Op, precision: Precision) -> Result<Agreement> {
    let mut cpu = CpuEngine::new().with_precision(precision);
    let bound = op.bound(precision);
    let mut held = Agreement {
        cases: 0,
        worst: Distance::default(),
        misses: Vec::new(),
    };
    for case in (op.cases)() {
        let ours = case.run(engine)?;
        let twin = case.run(&mut cpu)?;
        let off = distance(&ours.outputs, &twin.outputs);
        held.cases += 1;
        held.worst = held.worst.worse(off);
        if !off.within(&bound) {
            held.misses.push(format!("{}: {off}", case.label));
        }
        let broken = ours.broken.iter().map(|b| format!("{}: {b}", case.label));
        held.misses.extend(broken);
    }
    Ok(held)
}

/// Checks the matrix units of a device that was opened for mixed precision, because the units of some drivers
/// compute wrong results.
///
/// # Errors
/// An error of the device if a result is wrong.
pub fn hold_matrix_units(engine: &mut dyn Engine) -> Result<()> {
    for op in OPS {
        if op.variants(Precision::Mixed).is_empty() {
            continue;
        }
        if let Some(miss) = hold(engine, op, Precision::Mixed)?.misses.first() {
            return Err(wrong_units(engine, miss));
        }
    }
    match overflows(engine)? {
        true => Ok(()),
        false => Err(wrong_units(
            engine,
            "what f16 cannot hold does not come out infinite",
        )),
    }
}

fn wrong_units(engine: &dyn Engine, how: &str) -> Error {
    Error::device(
        format!("{}: the matrix units are wrong: {how}", engine.name()),
        "use `.precision` f32, or update the driver",
    )
}

/// Checks that a product with an operand beyond f16 is infinite: only then does the loss scale back off.
fn overflows(engine: &mut dyn Engine) -> Result<bool> {
    const SIDE: usize = 16;
    let mut x = [1.0_f32; SIDE * SIDE];
    x[0] = 70_000.0;
    let buffers = [
        engine.upload("x", &x)?,
        engine.upload("w", &[1.0_f32; SIDE * SIDE])?,
        engine.create("y", SIDE * SIDE)?,
    ];
    let [x, weight, y] = buffers;
    let mut rec = engine.recording();
    let product = Nn {
        x,
        weight,
        bias: None,
        residual: None,
        y,
        first_row: 0,
    };
    linear::nn(&mut rec, &product, Shape::whole(SIDE, SIDE, SIDE), Sum::SET);
    engine.run(&rec)?;
    let sums = engine.read_f32(y)?;
    for buffer in buffers {
        engine.release(buffer);
    }
    let (first, rest) = sums.split_at(SIDE);
    Ok(first.iter().all(|v| *v == f32::INFINITY) && rest.iter().all(|v| *v == SIDE as f32))
}
