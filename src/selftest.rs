//! Every kernel against its CPU twin on one device.

use crate::cpu::CpuEngine;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::kernel::{Kernel, Precision};
use crate::ops::case::{Distance, distance};
use crate::ops::{OPS, Op};

/// How one op did: the worst of its cases.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name in the registry.
    pub op: &'static str,
    /// How many were run.
    pub cases: usize,
    /// From the twins, over all cases.
    pub worst: Distance,
    /// The cases that missed, each with what went wrong.
    pub misses: Vec<String>,
}

/// Runs every case of every op on `engine`, which was opened for this precision, and on the CPU, giving
/// each op's row to `on_row`; true if nothing missed.
///
/// # Errors
/// `Error::Device`. A kernel that disagrees with its twin is no error: its row has the misses.
pub fn run(
    engine: &mut dyn Engine,
    precision: Precision,
    mut on_row: impl FnMut(&Row),
) -> Result<bool> {
    let mut good = true;
    for op in OPS {
        let row = compare(engine, op, precision)?;
        good &= row.misses.is_empty();
        on_row(&row);
    }
    Ok(good)
}

/// Holds the matrix units of a device, opened for mixed precision, to their twins: some drivers have
/// them and compute something else.
///
/// # Errors
/// `Error::Device` if they do.
pub fn matrix_units(engine: &mut dyn Engine) -> Result<()> {
    let rounds = |op: &&Op| op.kernels.iter().any(|kernel| rounds(kernel));
    for op in OPS.iter().filter(rounds) {
        let row = compare(engine, op, Precision::Mixed)?;
        if let Some(miss) = row.misses.first() {
            return Err(Error::device(
                format!("{}: the matrix units are wrong: {miss}", engine.name()),
                "use --precision f32, or update the driver",
            ));
        }
    }
    Ok(())
}

fn rounds(kernel: &'static Kernel) -> bool {
    kernel.ways().any(|way| way.precision == Precision::Mixed)
}

fn compare(engine: &mut dyn Engine, op: &Op, precision: Precision) -> Result<Row> {
    let mut cpu = CpuEngine::new().with_precision(precision);
    let bound = match precision == Precision::Mixed && op.kernels.iter().any(|k| rounds(k)) {
        true => Distance::MATRIX_UNITS,
        false => Distance::BOUND,
    };
    let mut row = Row {
        op: op.name,
        cases: 0,
        worst: Distance::default(),
        misses: Vec::new(),
    };
    for case in (op.cases)() {
        let ours = case.run(engine)?;
        let twin = case.run(&mut cpu)?;
        let d = distance(&ours.outputs, &twin.outputs);
        row.cases += 1;
        row.worst = row.worst.worse(d);
        if !d.within(&bound) {
            row.misses.push(format!(
                "{}: relative L2 {:.1e}, max {:.1e}",
                case.label, d.relative_l2, d.relative_max
            ));
        }
        let broken = ours.broken.iter().map(|b| format!("{}: {b}", case.label));
        row.misses.extend(broken);
    }
    Ok(row)
}
