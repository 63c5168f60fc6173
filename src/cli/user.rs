//! Folders of the user, environment variables and the machine's memory. The library takes them as arguments, and
//! never looks for them itself.

use std::path::{Path, PathBuf};

use gpt2_dpo::Result;
use gpt2_dpo::device::ADAPTER_NAME;
use gpt2_dpo::engine::Memory;
use gpt2_dpo::hub::{Environment, Settings};
use sysinfo::{MemoryRefreshKind, System};

/// The cache folder that the user named, or else this program's folder in the user's cache directory; `None` on a
/// system without one.
pub fn cache_dir(named: Option<&Path>) -> Option<PathBuf> {
    let own = || Some(dirs::cache_dir()?.join("gpt2-dpo"));
    named.map(Path::to_owned).or_else(own)
}

/// How to reach the hub, from this process's environment.
pub fn hub_settings() -> Result<Settings> {
    Settings::of(&Environment {
        variable: &variable,
        home: dirs::home_dir().as_deref(),
    })
}

/// The adapter that the environment names, if it names one.
pub fn adapter_name() -> Option<String> {
    variable(ADAPTER_NAME).filter(|name| !name.is_empty())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The machine's memory, or this container's where it is bounded; `None` where the system does not tell.
pub fn memory() -> Option<Memory> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let (mut total, mut free) = (system.total_memory(), system.available_memory());
    if let Some(container) = system.cgroup_limits() {
        total = total.min(container.total_memory);
        // Memory of the container that is not resident is cache, and the system can free it.
        free = free.min(container.total_memory.saturating_sub(container.rss));
    }
    (total > 0).then_some(Memory {
        total: total as usize,
        free: free as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_memory() {
        let machine = memory().expect("this system tells");
        assert!(machine.free <= machine.total && machine.free > 1 << 20);
    }
}
