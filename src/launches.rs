//! What a device is asked to launch: the dispatches of a recording, their workgroups, and the share of their work that
//! tiles compute beyond the edges of a matrix. All of it is known without the device.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::gpu::usual_variant;
use crate::kernel::Kernel;
use crate::recording::{Grid, Recording, Step};
use crate::target::Target;

/// A product that has so many workgroups keeps a large GPU busy: an H100 has 132 processors.
pub const BUSY_GROUPS: u64 = 128;

/// The dispatches of one kernel, variant and shape.
#[derive(Clone, Debug, Serialize)]
pub struct Launch {
    /// Op and entry point.
    pub kernel: String,
    /// The variant; empty if the kernel has one form.
    pub variant: &'static str,
    /// The sizes of a dispatch, as in tables: `[rows, cols, inner]` of a product.
    pub sizes: Vec<u32>,
    /// How many dispatches.
    pub dispatches: usize,
    /// The workgroups of one of them.
    pub groups: u64,
    /// Operations of all of them.
    pub flops: u64,
    /// The operations that whole tiles compute; those of `flops` where the kernel has no tiles.
    pub executed: u64,
}

impl Launch {
    /// True if a dispatch keeps a large GPU busy.
    pub fn is_busy(&self) -> bool {
        self.groups >= BUSY_GROUPS
    }
}

/// The launches of these recordings, the most operations first, with the variants that a device of this kind runs
/// before it has measured any.
pub fn of(recordings: &[Recording], target: &Target, max_binding_words: usize) -> Vec<Launch> {
    let mut launches = BTreeMap::new();
    for step in recordings.iter().flat_map(|recording| &recording.steps) {
        let kernel = usual_variant(step, target, max_binding_words);
        let groups = step.groups(kernel).iter().map(|&n| u64::from(n)).product();
        let key = (step.kernel.name(), kernel.variant, step.sizes(), groups);
        let launch = launches.entry(key.clone()).or_insert_with(|| Launch {
            kernel: key.0,
            variant: key.1,
            sizes: key.2,
            dispatches: 0,
            groups,
            flops: 0,
            executed: 0,
        });
        launch.dispatches += 1;
        launch.flops += step.flops;
        launch.executed += executed(step, kernel);
    }
    let mut launches: Vec<Launch> = launches.into_values().collect();
    launches.sort_by_key(|launch| std::cmp::Reverse(launch.flops));
    launches
}

/// The operations of a step if every tile of its kernel is whole.
fn executed(step: &Step, kernel: &Kernel) -> u64 {
    let Grid::Matrix { rows, cols } = step.grid() else {
        return step.flops;
    };
    let [x, y, _] = step.groups(kernel).map(u64::from);
    let cells = |of: &str| u64::from(kernel.constant(of));
    let in_tiles = x * cells("GROUP_COLS") * y * cells("GROUP_ROWS");
    (step.flops as f64 * in_tiles as f64 / (rows * cols) as f64) as u64
}

/// What the launches of an optimizer step come to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Audit {
    /// All dispatches.
    pub dispatches: usize,
    /// The share of the operations that are in dispatches of at least [`BUSY_GROUPS`] workgroups.
    pub busy: f64,
    /// Operations of whole tiles over those that are asked for.
    pub executed: f64,
}

impl Audit {
    /// Sums launches up.
    pub fn of(launches: &[Launch]) -> Audit {
        let sum = |of: fn(&Launch) -> u64| launches.iter().map(of).sum::<u64>() as f64;
        let flops = sum(|launch| launch.flops);
        Audit {
            dispatches: launches.iter().map(|launch| launch.dispatches).sum(),
            busy: sum(|launch| if launch.is_busy() { launch.flops } else { 0 }) / flops,
            executed: sum(|launch| launch.executed) / flops,
        }
    }
}
