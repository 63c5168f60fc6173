//! Models and data sets of the [Hugging Face Hub](https://huggingface.co) by their ids, through the
//! cache that all of Hugging Face's libraries share.
//!
//! # What a name means
//!
//! 1. What is here goes first: an existing file or folder, a pattern (`*`, `?`, `[`), or `-`.
//! 2. What looks like a path is never asked of the hub, so that a slip in a path stays an error: it
//!    begins with `.`, `/` or `~`, ends with `/`, holds a backslash, is the name of a file
//!    (`x.jsonl`, `dir/x.jsonl`, `model.safetensors`), or begins in a folder that is here.
//! 3. Everything else is an id: `ORG/NAME`, or `NAME`. With `@REVISION`, a branch, tag or commit, it
//!    is one whatever it looks like.
//!
//! Behind a data set's id: `:SPLIT` or `:CONFIG:SPLIT`. In it: `ORG/NAME/path/to/file.jsonl`, or a
//! folder. Without a split, its only one is meant, or else the one called `train`.
//!
//! # What is downloaded
//!
//! Of a model, the configs, the tokenizer's files and the safetensors; of a data set, README.md and the
//! split's files. Each is checked by the id that git gives it, which for large files holds the SHA-256.
//! What breaks off is kept, and goes on from there. A commit whose listing and files are in the cache
//! costs no request, a branch one.

mod cache;
mod client;
mod fault;
mod place;
mod settings;
mod splits;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use self::cache::Entry;
use self::client::Snapshot;
pub use self::fault::Fault;
use self::place::{Kind, Place};
pub use self::settings::{Settings, Token};
use self::splits::{Config, Format, Split};
use crate::error::{Error, Result};

/// What happens meanwhile, for the user to see.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A file's download has come so far.
    Download {
        /// Its path in the repository.
        file: &'a str,
        /// Bytes, with those of an earlier try.
        done: u64,
        /// Bytes of the whole file.
        total: u64,
    },
    /// A line to print.
    Note(String),
}

/// The files of a model that are read, weights apart.
const MODEL_FILES: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The folder of the model that `text` names: a path, or an id on the hub, whose files are then in the
/// cache. Not to be called from async code.
///
/// # Errors
///
/// [`Error::File`] for a path that is not there, [`Error::Option`] for what is neither path nor id,
/// [`Error::Hub`] for what the hub does not give, [`Error::Io`] for a cache that cannot be written.
pub fn model(
    text: &str,
    settings: &Settings,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf> {
    let reference = match place::find(text, Kind::Model)? {
        Place::Here(path) => return Ok(path),
        Place::Hub(reference) => reference,
    };
    let snapshot = Snapshot::open(&reference, settings, progress)?;
    let weights = weights(&snapshot, progress)?;
    let files = MODEL_FILES.iter().filter_map(|name| snapshot.entry(name));
    for entry in files.chain(weights) {
        snapshot.fetch(entry, progress)?;
    }
    snapshot.finish()?;
    progress(Progress::Note(format!(
        "{text}: commit {}",
        snapshot.commit
    )));
    Ok(snapshot.folder())
}

/// A model's safetensors: one file, or an index and the shards that it names.
fn weights<'a>(
    snapshot: &'a Snapshot,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<&'a Entry>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let reference = snapshot.reference;
    if snapshot.entry("config.json").is_some() {
        if let Some(whole) = snapshot.entry(WEIGHTS) {
            return Ok(vec![whole]);
        }
        if let Some(index) = snapshot.entry(INDEX) {
            let path = snapshot.fetch(index, progress)?;
            let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
            let parsed: Index = serde_json::from_slice(&bytes).map_err(|e| {
                let what = format!("not an index of safetensors: {e}");
                Error::file(&path, what, "name another revision, or another model")
            })?;
            let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
            let shards = names.iter().map(|name| match snapshot.entry(name) {
                Some(entry) => Ok(entry),
                None if snapshot.is_partial => Err(snapshot.not_cached(name)),
                None => Err(reference.fault(
                    Fault::NotReadable,
                    format!("{INDEX} names {name}, which {} does not have", reference.id),
                    "name another revision (@REVISION), or another model",
                )),
            });
            return std::iter::once(Ok(index)).chain(shards).collect();
        }
    }
    if snapshot.is_partial {
        return Err(snapshot.not_cached(WEIGHTS));
    }
    let holds = |end: &str| {
        snapshot
            .entries
            .iter()
            .find(|entry| entry.path.ends_with(end))
    };
    let (what, help) = if let Some(pickle) =
        holds("pytorch_model.bin").or(holds("pytorch_model.bin.index.json"))
    {
        (
            format!(
                "the weights are a Python pickle ({}), which is not read here",
                pickle.path
            ),
            "look on the model's page, under Community, for a pull request that adds safetensors, and name it: \
             @refs/pr/NUMBER; or convert them in Python: \
             transformers.AutoModelForCausalLM.from_pretrained(\"ID\").save_pretrained(\"FOLDER\")",
        )
    } else if let Some(adapter) = holds("adapter_model.safetensors") {
        (
            format!("an adapter ({}), not a whole model", adapter.path),
            "merge it in Python: peft's merge_and_unload(), then save_pretrained(\"FOLDER\")",
        )
    } else {
        let paths = snapshot.entries.iter().map(|entry| entry.path.as_str());
        (
            format!(
                "not a model of transformers with config.json and {WEIGHTS}; it has {}",
                several(paths)
            ),
            "name another model",
        )
    };
    Err(reference.fault(Fault::NotReadable, what, help))
}

/// The files of the data that `text` names, in their order: a path, a pattern or `-` as it is, or a
/// split of a data set on the hub, whose files are then in the cache. Not to be called from async code.
///
/// # Errors
///
/// As those of [`model`].
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
    let count = match paths.len() {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    progress(Progress::Note(format!(
        "{text}: {}, {count}, commit {}",
        split.name, snapshot.commit
    )));
    Ok(paths)
}

/// The one file that the reference names in its repository, if it names one.
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

/// The split that the reference means.
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

/// The config that the reference means.
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

/// The split's files in the format that most of them have, as `datasets` takes them.
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
    }
    Ok(files)
}

/// Those of the names whose last part is nearest to that of `wanted`, at most three, the nearest first.
fn near(wanted: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    const MOST: usize = 3;
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let wanted_last = last(wanted);
    let bound = (wanted_last.chars().count() / 3).max(1);
    let mut near: Vec<(usize, usize, String)> = names
        .into_iter()
        .map(|name| {
            let by_last = strsim::damerau_levenshtein(&wanted_last, &last(&name));
            (by_last, strsim::damerau_levenshtein(wanted, &name), name)
        })
        .filter(|(by_last, ..)| *by_last <= bound)
        .collect();
    near.sort();
    near.into_iter().take(MOST).map(|(.., name)| name).collect()
}

/// Some of the names, and how many more there are.
fn several<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 8;
    let names: Vec<T> = names.into_iter().collect();
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len() - shown.len() {
        0 if shown.is_empty() => "no files".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
