//! Fetches a model's files from the hub.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use super::cache::Entry;
use super::client::Snapshot;
use super::name::Kind;
use super::place::{self, Place};
use super::settings::Settings;
use super::{Progress, several};
use crate::error::{Error, Fault, Result};
use crate::tokenizer;

/// The files to fetch beside the tokenizer's files and the weights. run.toml describes the training run, if
/// this program trained the model.
const CONFIGS: [&str; 3] = ["config.json", "generation_config.json", "run.toml"];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The folder of the model that `text` names. A path is returned as it is. The files of an id on the hub are
/// downloaded into the cache. Blocks while it downloads.
///
/// # Errors
///
/// [`Error::File`] for a path that does not exist; [`Error::Option`] for a name that is neither a path nor an
/// id; [`Error::Hub`] for a failed request; [`Error::Io`] for a cache that cannot be written.
pub fn model(
    text: &str,
    settings: &Settings,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf> {
    fetch(text, settings, progress, weights)
}

/// [`model`] without the weights: enough to prepare data for the model.
///
/// # Errors
///
/// As for [`model`].
pub fn model_outline(
    text: &str,
    settings: &Settings,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf> {
    fetch(text, settings, progress, |_, _| Ok(Vec::new()))
}

fn fetch(
    text: &str,
    settings: &Settings,
    progress: &mut dyn FnMut(Progress),
    weights: impl for<'a> Fn(&'a Snapshot, &mut dyn FnMut(Progress)) -> Result<Vec<&'a Entry>>,
) -> Result<PathBuf> {
    let reference = match place::find(text, Kind::Model)? {
        Place::Here(path) => return Ok(path),
        Place::Hub(reference) => reference,
    };
    let snapshot = Snapshot::open(&reference, settings, progress)?;
    let weights = weights(&snapshot, progress)?;
    let names = CONFIGS.into_iter().chain(tokenizer::FILES);
    let files = names.filter_map(|name| snapshot.entry(name));
    let templates = snapshot.below(tokenizer::TEMPLATES);
    for entry in files.chain(templates).chain(weights) {
        snapshot.fetch(entry, progress)?;
    }
    snapshot.finish()?;
    progress(Progress::Note(format!(
        "{text}: commit {}",
        snapshot.commit
    )));
    Ok(snapshot.folder())
}

/// A model's safetensors: one file, or an index and its shards.
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
            "download its folder and give that as `.adapter`, with its base as `.model`",
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
