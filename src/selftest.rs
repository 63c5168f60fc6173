//! Every kernel against its CPU twin on one device.

use crate::cpu::CpuEngine;
use crate::engine::Engine;
use crate::error::Result;
use crate::ops::OPS;
use crate::ops::case::{Distance, distance};

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

/// Runs every case of every op on `engine` and on the CPU, giving each op's row to `on_row`; true if
/// nothing missed.
///
/// # Errors
/// `Error::Device`. A kernel that disagrees with its twin is no error: its row has the misses.
pub fn run(engine: &mut dyn Engine, mut on_row: impl FnMut(&Row)) -> Result<bool> {
    let mut cpu = CpuEngine::new();
    let mut good = true;
    for op in OPS {
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
            if !d.within(&Distance::BOUND) {
                row.misses.push(format!(
                    "{}: relative L2 {:.1e}, max {:.1e}",
                    case.label, d.relative_l2, d.relative_max
                ));
            }
            let broken = ours.broken.iter().map(|b| format!("{}: {b}", case.label));
            row.misses.extend(broken);
        }
        good &= row.misses.is_empty();
        on_row(&row);
    }
    Ok(good)
}
