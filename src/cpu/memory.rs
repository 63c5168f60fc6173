//! The machine's memory.

use sysinfo::{MemoryRefreshKind, System};

use crate::engine::Memory;

/// The memory of the machine, or of this container if it has a limit; `None` if the system does not tell.
pub(super) fn memory() -> Option<Memory> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let (mut total, mut free) = (system.total_memory(), system.available_memory());
    if let Some(container) = system.cgroup_limits() {
        total = total.min(container.total_memory);
        // The container's non-resident memory is cache, which the system gives up on demand.
        free = free.min(container.total_memory.saturating_sub(container.rss));
    }
    (total > 0).then_some(Memory {
        total: total as usize,
        free: free as usize,
    })
}
