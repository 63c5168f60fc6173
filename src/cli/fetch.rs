//! Finds models and data by path or on the hub, with a progress bar for downloads.

use std::path::{Path, PathBuf};

use gpt2_dpo::Result;
use gpt2_dpo::data::Source;
use gpt2_dpo::hub::{self, Settings};

use super::progress::Progress;
use super::{user, with_flags};

/// The folder of the model that `spec` names.
pub fn model(spec: &Path) -> Result<PathBuf> {
    folder(spec, hub::model)
}

/// The folder of the model that `spec` names; the folder may lack the weights.
pub fn model_outline(spec: &Path) -> Result<PathBuf> {
    folder(spec, hub::model_outline)
}

fn folder(
    spec: &Path,
    fetch: impl FnOnce(&str, &Settings, &mut dyn FnMut(hub::Progress)) -> Result<PathBuf>,
) -> Result<PathBuf> {
    match spec.to_str() {
        Some(text) => fetched(|settings, tell| fetch(text, settings, tell)),
        // A path that is not UTF-8 cannot be an id of the hub.
        None => Ok(spec.to_owned()),
    }
}

/// Opens the data that `spec` names.
pub fn data(spec: &Path) -> Result<Source> {
    let Some(text) = spec.to_str() else {
        return Source::open(spec);
    };
    let files = fetched(|settings, tell| hub::data(text, settings, tell))?;
    match &files[..] {
        [only] if only == spec => Source::open(spec),
        _ => Ok(Source::of(files).named(text)),
    }
}

fn fetched<T>(
    fetch: impl FnOnce(&Settings, &mut dyn FnMut(hub::Progress)) -> Result<T>,
) -> Result<T> {
    let mut progress = Progress::default();
    let fetched = fetch(&user::hub_settings()?, &mut |event| match event {
        hub::Progress::Download { file, done, total } => progress.bytes(file, done, total),
        hub::Progress::Note(note) => progress.say(&format!("note: {}", with_flags(&note))),
    });
    progress.clear();
    fetched
}
