//! Fetches a data set's files from the hub.

use std::fs;
use std::path::PathBuf;

use super::cache::Entry;
use super::client::Snapshot;
use super::name::Kind;
use super::place::{self, Place};
use super::settings::Settings;
use super::splits::{self, Config, Format, Split};
use super::{Progress, near, several};
use crate::error::{Error, Fault, Result};
use crate::words::counted;

/// The files of the data that `text` names, in reading order. A path, a pattern or `-` is returned as it is.
/// The files of a split on the hub are downloaded into the cache. Blocks while it downloads.
///
/// # Errors
///
/// As for [`model`](super::model()).
pub fn data(
    text: &str,
    settings: &Settings,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<PathBuf>> {
    let reference = match place::find(text, Kind::Dataset)? {
        Place::Here(path) => return Ok(vec![path]),
        Place::Hub(reference) => reference,
    };
    let snapshot = Snapshot::open(&reference, settings, progress)?;
    let split = match inner_file(&snapshot)? {
        Some(split) => split,
        None => find_split(&snapshot, progress)?,
    };
    let files = readable(&snapshot, &split, progress)?;
    let paths: Vec<PathBuf> = files
        .iter()
        .map(|entry| snapshot.fetch(entry, progress))
        .collect::<Result<_>>()?;
    snapshot.finish()?;
    progress(Progress::Note(format!(
        "{text}: {}, {}, commit {}",
        split.name,
        counted(paths.len(), "file"),
        snapshot.commit
    )));
    Ok(paths)
}

/// The one file that the reference names inside its repository, if any.
fn inner_file<'a>(snapshot: &'a Snapshot) -> Result<Option<Split<'a>>> {
    let reference = snapshot.reference;
    let Some(path) = &reference.path else {
        return Ok(None);
    };
    if let Some(entry) = snapshot.entry(path) {
        if reference.split.is_some() {
            return Err(Error::option(
                Kind::Dataset.option(),
                format!("{}: a file has no splits", reference.text),
                "leave out what is behind the path",
            ));
        }
        let name = path.clone();
        return Ok(Some(Split {
            name,
            files: vec![entry],
        }));
    }
    let folder = format!("{path}/");
    if snapshot
        .entries
        .iter()
        .any(|entry| entry.path.starts_with(&folder))
    {
        return Ok(None);
    }
    if snapshot.is_partial {
        return Err(snapshot.not_cached(path));
    }
    let paths = || snapshot.entries.iter().map(|entry| entry.path.clone());
    let help = match near(path, paths())[..] {
        [] => format!("its files are: {}", several(paths())),
        ref names => format!("near it are: {}", names.join(", ")),
    };
    let what = format!(
        "{} has no file or folder {path}; nor is it a path here",
        reference.id
    );
    Err(reference.fault(Fault::NoFile, what, help))
}

/// The split that the reference selects.
fn find_split<'a>(snapshot: &'a Snapshot, progress: &mut dyn FnMut(Progress)) -> Result<Split<'a>> {
    let reference = snapshot.reference;
    let config = find_config(snapshot, progress)?;
    let splits = config.splits(&snapshot.entries).map_err(|what| {
        reference.fault(
            Fault::NotReadable,
            what,
            "name its files: ORG/NAME/path/to/file",
        )
    })?;
    let names = || splits.iter().map(|split| split.name.clone());
    let all = names().collect::<Vec<_>>().join(", ");
    let position = match &reference.split {
        Some(wanted) => splits.iter().position(|split| split.name == *wanted),
        None if splits.len() == 1 => Some(0),
        None => splits.iter().position(|split| split.name == "train"),
    };
    let left_out = config.left_out(&splits, &snapshot.entries);
    if !left_out.is_empty() {
        progress(Progress::Note(format!(
            "{}: in no split, by their names: {}",
            reference.text,
            several(left_out)
        )));
    }
    if let Some(position) = position {
        if reference.split.is_none() && splits.len() > 1 {
            progress(Progress::Note(format!(
                "{}: its split train is read, of: {all}",
                reference.text
            )));
        }
        return Ok(splits.into_iter().nth(position).unwrap_or(Split {
            name: all,
            files: Vec::new(),
        }));
    }
    if splits.is_empty() {
        if snapshot.is_partial {
            return Err(snapshot.not_cached("its data"));
        }
        let paths = snapshot.entries.iter().map(|entry| entry.path.as_str());
        let what = format!("no data in {}; it has {}", reference.id, several(paths));
        return Err(reference.fault(Fault::NotReadable, what, "name another data set"));
    }
    let (what, help) = match &reference.split {
        Some(wanted) => (
            format!("{} has no split {wanted}", reference.id),
            match near(wanted, names())[..] {
                [ref near, ..] => format!("write :{near}? Its splits are: {all}"),
                [] => format!("its splits are: {all}"),
            },
        ),
        None => (
            format!(
                "{} has several splits, none of them called train",
                reference.id
            ),
            format!(
                "write one behind the id, as {}:{}; they are: {all}",
                reference.text, splits[0].name
            ),
        ),
    };
    Err(reference.fault(Fault::NoSplit, what, help))
}

/// The config that the reference selects.
fn find_config(snapshot: &Snapshot, progress: &mut dyn FnMut(Progress)) -> Result<Config> {
    let reference = snapshot.reference;
    let configs = match (&reference.path, snapshot.entry("README.md")) {
        (Some(path), _) => vec![Config::undeclared(format!("{path}/"))],
        (None, None) => vec![Config::undeclared(String::new())],
        (None, Some(readme)) => {
            let path = snapshot.fetch(readme, progress)?;
            let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
            splits::configs(&String::from_utf8_lossy(&bytes)).map_err(|what| {
                reference.fault(
                    Fault::NotReadable,
                    format!("README.md does not declare its files as it should: {what}"),
                    "name the files instead: ORG/NAME/path/to/file",
                )
            })?
        }
    };
    let names: Vec<String> = configs.iter().map(|config| config.name.clone()).collect();
    let all = names.join(", ");
    let is_wanted = |config: &Config| match &reference.config {
        Some(wanted) => config.name == *wanted,
        None => config.is_default,
    };
    if let Some(position) = configs.iter().position(is_wanted) {
        return Ok(configs
            .into_iter()
            .nth(position)
            .unwrap_or(Config::undeclared(String::new())));
    }
    let what = match &reference.config {
        Some(wanted) => format!("{} has no config {wanted}", reference.id),
        None => format!("{} has several configs and no default", reference.id),
    };
    let help = format!(
        "write {}:CONFIG:SPLIT; its configs are: {all}",
        reference.id
    );
    Err(reference.fault(Fault::NoSplit, what, help))
}

/// The split's files that have the most frequent of the supported formats, as `datasets` chooses them.
fn readable<'a>(
    snapshot: &Snapshot,
    split: &Split<'a>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<&'a Entry>> {
    let reference = snapshot.reference;
    let of = |format: Format| -> Vec<&Entry> {
        let files = split.files.iter().copied();
        files
            .filter(|entry| splits::format(&entry.path) == Some(format))
            .collect()
    };
    let (parquet, json) = (of(Format::Parquet), of(Format::Json));
    let files = if json.len() > parquet.len() {
        json
    } else {
        parquet
    };
    if files.is_empty() {
        let what = match split.files.is_empty() {
            true => format!("its README.md declares {}, but no file matches", split.name),
            false => format!(
                "{} is in a format that is not read: {}",
                split.name,
                several(split.files.iter().map(|entry| entry.path.as_str()))
            ),
        };
        return Err(reference.fault(
            Fault::NotReadable,
            what,
            "parquet, JSONL and JSON are read, also with gzip or zstd: convert it, in Python: \
             datasets.load_dataset(\"ID\", split=\"SPLIT\").to_parquet(\"FILE.parquet\")",
        ));
    }
    let is_left = |entry: &&&Entry| !files.iter().any(|file| file.path == entry.path);
    let left: Vec<&str> = split
        .files
        .iter()
        .filter(is_left)
        .map(|entry| entry.path.as_str())
        .collect();
    if !left.is_empty() {
        progress(Progress::Note(format!(
            "{}: not read, for its other format: {}",
            reference.text,
            several(left)
        )));
    }
    if snapshot.is_partial {
        let count = splits::shard(&files[0].path).map_or(files.len(), |shard| shard.count);
        if files.len() < count {
            let what = format!(
                "{} of the {count} shards of {}",
                count - files.len(),
                split.name
            );
            return Err(snapshot.not_cached(&what));
        }
        progress(Progress::Note(format!(
            "{}: another program filled the cache, which does not tell whether these {} are all",
            reference.text,
            counted(files.len(), "file")
        )));
    }
    Ok(files)
}
