//! Checks that all files of a split are there, and each only once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::paths::{beneath, split_extension, without_packing};
use crate::error::{Error, Result};

/// One file of a split in several files: `train-00001-of-00003.parquet`.
pub(super) struct Shard<'a> {
    pub split: &'a str,
    number: &'a str,
    of: &'a str,
}

impl<'a> Shard<'a> {
    /// Parses a file's name without its extension.
    pub fn read(stem: &'a str) -> Option<Shard<'a>> {
        let (before, of) = stem.rsplit_once("-of-")?;
        let (split, number) = before.rsplit_once('-')?;
        let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        (is_number(number) && is_number(of)).then_some(Shard { split, number, of })
    }
}

/// The shards of one split that were found.
struct Shards<'a> {
    /// The name of one of the files.
    name: &'a str,
    shard: Shard<'a>,
    found: BTreeSet<usize>,
}

/// Refuses the files of `spec` if a shard is missing, or if a file is there both packed and unpacked.
pub(super) fn check(spec: &Path, files: &[PathBuf]) -> Result<()> {
    each_once(spec, files)?;
    let mut splits: BTreeMap<_, Shards> = BTreeMap::new();
    for file in files {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let Some(shard) = Shard::read(split_extension(name).0) else {
            continue;
        };
        let Ok(number) = shard.number.parse() else {
            continue;
        };
        let whole = (file.parent(), shard.split, shard.of);
        let shards = splits.entry(whole).or_insert_with(|| Shards {
            name,
            shard,
            found: BTreeSet::new(),
        });
        shards.found.insert(number);
    }
    for ((folder, ..), shards) in splits {
        if let Some(missing) = shards.missing(folder.unwrap_or(Path::new(""))) {
            let what = format!("`{missing}` is missing: the other files beside it are there");
            let help = "get that file too, or give those that are there one by one, each behind a `.data` of its own";
            return Err(Error::file(spec, what, help));
        }
    }
    Ok(())
}

impl Shards<'_> {
    /// The name of the first missing shard. One that lies in the folder is not missing: a pattern may omit it.
    fn missing(&self, folder: &Path) -> Option<String> {
        let Shard { split, number, of } = self.shard;
        let count: usize = of.parse().ok()?;
        // Some writers count from 1.
        let first = usize::from(self.found.contains(&count));
        // A larger number does not count files.
        let last = count.min(MAX_SHARDS) + first;
        let stem = |number: &str| format!("{split}-{number}-of-{of}");
        let extension = self.name.strip_prefix(&stem(number))?;
        let mut missing = (first..last).filter(|number| !self.found.contains(number));
        missing.find_map(|at| {
            let name = stem(&format!("{at:0width$}", width = number.len())) + extension;
            (!folder.join(&name).exists()).then_some(name)
        })
    }
}

/// More files than any split has.
const MAX_SHARDS: usize = 100_000;

/// Refuses a file that is there both packed and unpacked: its records would count twice.
fn each_once(spec: &Path, files: &[PathBuf]) -> Result<()> {
    let mut seen: HashMap<PathBuf, &Path> = HashMap::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let plain = file.with_file_name(without_packing(&name));
        if let Some(other) = seen.insert(plain, file) {
            let [one, two] = [other, file].map(|file| beneath(spec, file).display().to_string());
            let what = format!("holds {one} and {two}, which are one file packed and unpacked");
            let help = "remove one of them, or give the one that is to be read";
            return Err(Error::file(spec, what, help));
        }
    }
    Ok(())
}
