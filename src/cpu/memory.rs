//! How much memory the machine has.

use sysinfo::{MemoryRefreshKind, System};

use crate::engine::Memory;

/// The machine's memory, or this container's where it is bounded; `None` where the system does not tell.
pub(super) fn memory() -> Option<Memory> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let (mut total, mut free) = (system.total_memory(), system.available_memory());
    if let Some(container) = system.cgroup_limits() {
        total = total.min(container.total_memory);
        // What is not resident there is cache, which gives way.
        free = free.min(container.total_memory.saturating_sub(container.rss));
    }
    (total > 0).then_some(Memory {
        total: total as usize,
        free: free as usize,
    })
}
