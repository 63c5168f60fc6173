//! The file that keeps the fastest variant of each kernel on a device, and the variants that are wrong there.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::kernel::Class;
use crate::recording::Step;

/// A limit of the pace is kept anew if it rose by more than this factor.
const PACE_ROSE: f64 = 1.5;

/// The measurements on one device, and the file that keeps them.
pub(super) struct Tuner {
    path: PathBuf,
    table: Table,
    fresh: usize,
    seconds: f64,
}

#[derive(Default, Serialize, Deserialize)]
struct Table {
    /// The work of a submission that the last run has measured; see [`Pace`](super::pace::Pace).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pace: Option<f64>,
    entries: Vec<Entry>,
}

/// The measurements for one kernel and one class of steps.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    pub kernel: String,
    pub class: Class,
    /// The variant that runs: the fastest right one.
    pub variant: String,
    /// Milliseconds of one run, for each variant that was measured.
    pub milliseconds: BTreeMap<String, f64>,
    /// The reason for each variant that was wrong.
    pub failed: BTreeMap<String, String>,
}

/// A table of measurements as this crate writes it again; `None` for a text that is none. For tests of the parser.
pub fn rewritten_table(text: &str) -> Option<String> {
    let table: Table = serde_json::from_str(text).ok()?;
    serde_json::to_string_pretty(&table).ok()
}

impl Tuner {
    /// Opens the file `path`. A missing or unreadable file counts as empty.
    pub fn open(path: &Path) -> Tuner {
        let table = bounded::read_text(path, bounded::SETTINGS)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        Tuner {
            path: path.to_owned(),
            table: table.unwrap_or_default(),
            fresh: 0,
            seconds: 0.0,
        }
    }

    /// The fastest variant for steps of this step's kernel and class; `None` if they were not measured.
    pub fn recall(&self, step: &Step) -> Option<&str> {
        let (kernel, class) = (step.kernel.name(), step.class());
        let mut entries = self.table.entries.iter();
        let entry = entries.find(|e| e.kernel == kernel && e.class == class)?;
        Some(&entry.variant)
    }

    /// The work of a submission that an earlier run has measured.
    pub fn pace(&self) -> Option<f64> {
        self.table.pace
    }

    /// Keeps the work of a submission that this run has measured, for the next run.
    pub fn keep_pace(&mut self, limit: f64) {
        // Another run may have added entries meanwhile.
        let mut on_disk = Tuner::open(&self.path);
        let more = |kept: f64| limit > PACE_ROSE * kept;
        if on_disk.table.pace.is_none_or(more) {
            on_disk.table.pace = Some(limit);
            // The next run measures anew what cannot be kept.
            let _ = on_disk.write();
        }
    }

    /// True if this variant of the kernel was wrong for any class of steps.
    pub fn has_failed(&self, kernel: &str, variant: &str) -> bool {
        let mut entries = self.table.entries.iter().filter(|e| e.kernel == kernel);
        entries.any(|e| e.failed.contains_key(variant))
    }

    /// Adds an entry. It replaces an entry of the same kernel and class, which may name a variant that no longer
    /// exists.
    pub fn learn(&mut self, entry: Entry, seconds: f64) {
        let same = |e: &Entry| e.kernel == entry.kernel && e.class == entry.class;
        self.table.entries.retain(|e| !same(e));
        self.table.entries.push(entry);
        self.fresh += 1;
        self.seconds += seconds;
    }

    /// Writes the file and returns a message for the user; `None` if nothing is new.
    pub fn store(&mut self) -> Option<String> {
        if self.fresh == 0 {
            return None;
        }
        let (fresh, seconds) = (
            std::mem::take(&mut self.fresh),
            std::mem::take(&mut self.seconds),
        );
        let kept = match self.write() {
            Ok(()) => format!("kept in {}", self.path.display()),
            Err(e) => format!("not kept for the next run: {}: {e}", self.path.display()),
        };
        Some(format!(
            "autotune: measured {fresh} kernel shapes in {seconds:.1} s; {kept}"
        ))
    }

    /// Writes the file atomically: a reader sees the whole old file or the whole new file.
    fn write(&self) -> std::io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer_pretty(&mut file, &self.table)?;
        file.flush()?;
        file.persist(&self.path)?;
        Ok(())
    }
}
