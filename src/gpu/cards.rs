//! The graphics cards that the machine itself lists, whether or not a driver offers them. On Linux it does so under
//! `/sys/bus/pci/devices`; elsewhere none are found.

use std::fmt;
use std::fs;
use std::path::Path;

/// The folder in which Linux lists the devices of the PCI bus, one folder each.
const PCI: &str = "/sys/bus/pci/devices";

/// The PCI classes of display controllers and of processing accelerators.
const CLASSES: [u32; 2] = [0x03, 0x12];

/// A maker of GPUs that can run the program, and how its Vulkan driver is installed. Cards of others are not for
/// computing: the screens of servers and of virtual machines.
struct Maker {
    vendor: u32,
    name: &'static str,
    driver: &'static str,
}

const MAKERS: [Maker; 3] = [
    Maker {
        vendor: 0x10de,
        name: "NVIDIA",
        driver: "install NVIDIA's driver with its Vulkan part (in a container: NVIDIA_DRIVER_CAPABILITIES=all)",
    },
    Maker {
        vendor: 0x1002,
        name: "AMD",
        driver: "install Mesa's Vulkan driver (Debian, Ubuntu: mesa-vulkan-drivers; Fedora: mesa-vulkan-drivers; \
                 Arch: vulkan-radeon)",
    },
    Maker {
        vendor: 0x8086,
        name: "Intel",
        driver: "install Mesa's Vulkan driver (Debian, Ubuntu: mesa-vulkan-drivers; Fedora: mesa-vulkan-drivers; \
                 Arch: vulkan-intel)",
    },
];

/// An adapter, or a card without one, that `auto` does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// What it is.
    pub what: String,
    /// Why `auto` does not take it.
    pub why: String,
    /// How to use it in spite of that.
    pub way: String,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PassedOver { what, why, way } = self;
        write!(f, "`auto` passes over {what}: {why}; {way}")
    }
}

/// A graphics card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    /// Its place on the bus: `0000:01:00.0`.
    slot: String,
    vendor: u32,
    device: u32,
    /// The kernel's driver; `None` if there is none.
    driver: Option<String>,
}

/// The memory of a card that its kernel's driver tells of, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CardMemory {
    /// What all programs together hold.
    pub used: u64,
    /// All of it.
    pub total: u64,
}

/// The cards of this machine.
pub(super) fn all() -> Vec<Card> {
    read(Path::new(PCI))
}

/// The memory of the card in this slot; `None` if the kernel does not tell: only AMD's driver does.
pub(super) fn memory(slot: &str) -> Option<CardMemory> {
    memory_in(Path::new(PCI), slot)
}

fn read(folder: &Path) -> Vec<Card> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let card = |entry: fs::DirEntry| {
        let path = entry.path();
        let class = hex(&path.join("class"))?;
        let driver = fs::read_link(path.join("driver")).ok();
        let driver = driver.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
        CLASSES.contains(&(class >> 16)).then_some(Card {
            slot: entry.file_name().to_string_lossy().into_owned(),
            vendor: hex(&path.join("vendor"))?,
            device: hex(&path.join("device"))?,
            driver,
        })
    };
    let mut cards: Vec<Card> = entries.filter_map(card).collect();
    cards.sort_by(|a, b| a.slot.cmp(&b.slot));
    cards
}

fn memory_in(folder: &Path, slot: &str) -> Option<CardMemory> {
    let number = |name: &str| {
        let text = fs::read_to_string(folder.join(slot).join(name)).ok()?;
        text.trim().parse().ok()
    };
    let no_folder = slot.is_empty() || slot.contains(['/', '\\']);
    (!no_folder).then_some(())?;
    Some(CardMemory {
        used: number("mem_info_vram_used")?,
        total: number("mem_info_vram_total")?,
    })
}

/// The number of a file such as `0x10de`.
fn hex(path: &Path) -> Option<u32> {
    let text = fs::read_to_string(path).ok()?;
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

impl Card {
    /// Of a card whose maker has no adapter among those of these vendors: what it is, why it cannot be used, and what to
    /// do. `None` for all other cards.
    pub fn without_driver(&self, vendors: &[u32]) -> Option<PassedOver> {
        let maker = MAKERS.iter().find(|maker| maker.vendor == self.vendor)?;
        let why = match &self.driver {
            _ if vendors.contains(&self.vendor) => return None,
            None => "it has no driver".to_owned(),
            Some(driver) => {
                format!("the kernel's driver is {driver}, and no Vulkan driver offers it")
            }
        };
        let what = format!(
            "a GPU of {} ({:04x}:{:04x}, in slot {})",
            maker.name, self.vendor, self.device, self.slot
        );
        Some(PassedOver {
            what,
            why,
            way: maker.driver.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plant(folder: &Path, slot: &str, files: &[(&str, &str)]) {
        let at = folder.join(slot);
        fs::create_dir(&at).unwrap();
        for (name, text) in files {
            fs::write(at.join(name), format!("{text}\n")).unwrap();
        }
    }

    /// A machine with an NVIDIA card without a driver, an AMD card, a network card, a server's screen, and folders in
    /// which files are missing or hold something else.
    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let card = |vendor, device| {
            [
                ("class", "0x030000"),
                ("vendor", vendor),
                ("device", device),
            ]
        };
        plant(at, "0000:01:00.0", &card("0x10de", "0x2684"));
        plant(at, "0000:03:00.0", &card("0x1002", "0x73bf"));
        plant(at, "0000:04:00.0", &card("0x1a03", "0x2000"));
        plant(
            at,
            "0000:05:00.0",
            &[
                ("class", "0x020000"),
                ("vendor", "0x8086"),
                ("device", "0x1"),
            ],
        );
        plant(at, "0000:06:00.0", &[("class", "0x030000")]);
        plant(at, "0000:07:00.0", &card("10de", "?"));
        let amd = at.join("0000:03:00.0");
        fs::write(amd.join("mem_info_vram_used"), "1048576\n").unwrap();
        fs::write(amd.join("mem_info_vram_total"), "17163091968\n").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("../../../bus/pci/drivers/amdgpu", amd.join("driver")).unwrap();
        dir
    }

    #[test]
    fn cards_without_a_driver_are_named_with_the_way_to_one() {
        let machine = machine();
        let cards = read(machine.path());
        let slots: Vec<&str> = cards.iter().map(|card| &card.slot[..]).collect();
        assert_eq!(slots, ["0000:01:00.0", "0000:03:00.0", "0000:04:00.0"]);
        let named = |vendors: &[u32]| -> Vec<PassedOver> {
            cards
                .iter()
                .filter_map(|card| card.without_driver(vendors))
                .collect()
        };
        let [nvidia, amd] = &named(&[0x10005])[..] else {
            panic!("{:?}", named(&[]));
        };
        assert_eq!(
            nvidia.what,
            "a GPU of NVIDIA (10de:2684, in slot 0000:01:00.0)"
        );
        assert_eq!(nvidia.why, "it has no driver");
        assert!(nvidia.way.contains("NVIDIA's driver"), "{nvidia:?}");
        assert!(amd.way.contains("mesa-vulkan-drivers"), "{amd:?}");
        #[cfg(unix)]
        assert!(amd.why.contains("the kernel's driver is amdgpu"), "{amd:?}");
        // A maker's adapter that is there speaks for its cards.
        assert_eq!(named(&[0x10de]), std::slice::from_ref(amd));
        assert_eq!(named(&[0x10de, 0x1002]), [] as [PassedOver; 0]);
        assert_eq!(read(&machine.path().join("none")), []);
    }

    #[test]
    fn memory_is_told_where_the_kernel_tells_it() {
        let machine = machine();
        let memory = |slot| memory_in(machine.path(), slot);
        let expected = CardMemory {
            used: 1 << 20,
            total: 17_163_091_968,
        };
        assert_eq!(memory("0000:03:00.0"), Some(expected));
        assert_eq!(memory("0000:01:00.0"), None);
        assert_eq!(memory(""), None);
        assert_eq!(memory("../0000:03:00.0"), None);
    }
}
