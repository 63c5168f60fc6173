//! A model as `eval` and `generate` take it: a whole one, or an adapter beside its base.

use std::path::{Path, PathBuf};

use gpt2_dpo::config::TrainOptions;
use gpt2_dpo::pretrained::adapter::is_adapter;
use gpt2_dpo::pretrained::{Adapter, AdapterConfig, Model, Outline};
use gpt2_dpo::run_folder::RUN_FILE;
use gpt2_dpo::tokenizer::Tokenizer;
use gpt2_dpo::{Error, Result};

use super::{fetch, starter};

const HELP: &str = "give the base as `.model` and the adapter as `.adapter`";

/// A model by the names that the options give it.
pub struct Named {
    /// The folder of the adapter, or else of the model: it may hold the run.toml of the run that made it. `None` = the
    /// starter.
    pub dir: Option<PathBuf>,
    /// What an adapter lies beside; `None` without an adapter.
    pub beside: Option<Beside>,
}

/// The base of an adapter.
pub struct Beside {
    /// The name of the base; `None` = the starter.
    pub name: Option<PathBuf>,
    /// Its folder; `None` = the starter.
    pub dir: Option<PathBuf>,
}

impl Named {
    /// The model `model`, which may be an adapter that names its base, or the adapter `adapter` beside `model`.
    ///
    /// # Errors
    /// `Error::File` for an adapter that is none, or that names no base; every error of a download.
    pub fn of(model: Option<&Path>, adapter: Option<&Path>) -> Result<Named> {
        let found = |adapter: &Path, base: Option<PathBuf>| -> Result<Beside> {
            let dir = base.as_deref().map(fetch::model).transpose();
            let dir = dir.map_err(|e| Error::File {
                path: adapter.to_owned(),
                what: format!("an adapter whose base is not found: {}", e.brief()),
                help: HELP.into(),
            })?;
            Ok(Beside { name: base, dir })
        };
        let (dir, beside) = match (model, adapter) {
            (None, None) => (None, None),
            (Some(model), None) => {
                let dir = fetch::model(model)?;
                let beside = match is_adapter(&dir) {
                    true => Some(found(&dir, base_of(&dir)?)?),
                    false => None,
                };
                (Some(dir), beside)
            }
            (None, Some(adapter)) => {
                let beside = found(adapter, base_of(adapter)?)?;
                (Some(adapter.to_owned()), Some(beside))
            }
            (Some(model), Some(adapter)) => {
                let beside = Beside {
                    name: Some(model.to_owned()),
                    dir: Some(fetch::model(model)?),
                };
                (Some(adapter.to_owned()), Some(beside))
            }
        };
        Ok(Named { dir, beside })
    }

    /// The model. An adapter is merged into its base, and the tokenizer in its folder comes before the base's.
    ///
    /// # Errors
    /// Every error of reading a model and an adapter.
    pub fn load(&self) -> Result<Model> {
        let whole = |dir: Option<&Path>| dir.map_or_else(starter::model, Model::load);
        let (Some(beside), Some(dir)) = (&self.beside, &self.dir) else {
            return whole(self.dir.as_deref());
        };
        let mut model = whole(beside.dir.as_deref())?;
        let dims = model.outline.config.dims;
        Adapter::load(dir, &dims)?.merge_into(&dims, &mut model.weights);
        if Tokenizer::exists(dir) {
            let mut tokenizer = Tokenizer::load(dir)?;
            tokenizer.fit(dims.vocab_size)?;
            model.outline = Outline::new(model.outline.config, Some(tokenizer));
        }
        Ok(model)
    }
}

/// The base that an adapter names; `None` = the starter.
fn base_of(adapter: &Path) -> Result<Option<PathBuf>> {
    let config = AdapterConfig::load(adapter)?;
    if let Some(base) = config.base {
        let name = match config.revision {
            Some(revision) => format!("{base}@{revision}"),
            None => base,
        };
        return Ok(Some(name.into()));
    }
    let run = TrainOptions::read(&adapter.join(RUN_FILE));
    match run.is_ok_and(|run| run.model.is_none()) {
        true => Ok(None),
        false => Err(Error::File {
            path: adapter.to_owned(),
            what: "an adapter whose adapter_config.json names no base model".into(),
            help: HELP.into(),
        }),
    }
}
