//! A file's path within its folder, and its name without the extension of its packing.

use std::path::Path;

const PACKED: [&str; 3] = ["gz", "zst", "zstd"];

/// A file's name without its last extension, and that extension; the extension of a packing is left out before.
pub(super) fn split_extension(name: &str) -> (&str, &str) {
    let name = without_packing(name);
    name.rsplit_once('.').unwrap_or((name, ""))
}

pub(super) fn without_packing(name: &str) -> &str {
    let unpacked = name
        .rsplit_once('.')
        .filter(|(_, end)| PACKED.contains(&&*end.to_ascii_lowercase()));
    unpacked.map_or(name, |(name, _)| name)
}

pub(super) fn beneath<'a>(folder: &Path, file: &'a Path) -> &'a Path {
    file.strip_prefix(folder).unwrap_or(file)
}
