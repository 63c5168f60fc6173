//! The machine around a run: what a run takes from it, and what tests replace.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::storage::{Disk, Storage};

/// What a run needs of the machine around its device.
#[derive(Clone)]
pub struct Host {
    /// The file system of the output folder.
    pub storage: Arc<dyn Storage>,
    /// The folder that keeps the reference's log-probs for later runs if the options name none; `None` = they are
    /// computed in each run.
    pub cache_dir: Option<PathBuf>,
    /// The request to stop.
    pub stop: Stop,
    /// Tells the bytes of memory that are free; `None` where the system does not tell.
    pub free_memory: fn() -> Option<u64>,
}

impl Default for Host {
    /// The machine's file system, no cache, and no request to stop.
    fn default() -> Host {
        Host {
            storage: Arc::new(Disk),
            cache_dir: None,
            stop: Stop::default(),
            free_memory: || None,
        }
    }
}

/// A request to stop at the next point from which the run can go on later. Clones share the request.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the run to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True if the run is asked to stop.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
