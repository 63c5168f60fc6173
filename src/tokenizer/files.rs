//! The files of a tokenizer. They are read whole and written back byte for byte.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::HELP;
use crate::bounded;
use crate::error::{Error, Result};
use crate::stand_in;
use crate::storage::Folder;

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const VOCAB: &str = "vocab.json";
pub(super) const MERGES: &str = "merges.txt";
pub(super) const CONFIG: &str = "tokenizer_config.json";
pub(super) const SPECIAL: &str = "special_tokens_map.json";
pub(super) const ADDED: &str = "added_tokens.json";
pub(super) const TEMPLATE: &str = "chat_template.jinja";

/// The tokenizer files that a model folder may hold, beside [`TEMPLATES`].
pub const FILES: [&str; 7] = [TOKENIZER, VOCAB, MERGES, CONFIG, SPECIAL, ADDED, TEMPLATE];

/// The folder of a model's further chat templates, each a file `NAME.jinja`.
pub const TEMPLATES: &str = "additional_chat_templates";
const TEMPLATE_SUFFIX: &str = ".jinja";

/// The contents of a tokenizer's files.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The model folder.
    dir: PathBuf,
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    /// The path relative to the model folder.
    name: String,
    bytes: Vec<u8>,
}

impl Files {
    pub(super) fn read(dir: &Path) -> Result<Files> {
        let mut names: Vec<String> = FILES.map(String::from).into();
        names.extend(additional_templates(dir)?);
        let mut files = Vec::new();
        for name in names {
            let path = dir.join(&name);
            match bounded::read(&path, bounded::LISTS) {
                Ok(bytes) => {
                    stand_in::refuse(&path, &bytes)?;
                    files.push(File { name, bytes });
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("read", path, error)),
            }
        }
        Ok(Files {
            dir: dir.to_owned(),
            files,
        })
    }

    /// A `tokenizer.json` in memory, without further files.
    pub(super) fn only(tokenizer: &[u8]) -> Files {
        Files {
            dir: PathBuf::new(),
            files: vec![File {
                name: TOKENIZER.to_owned(),
                bytes: tokenizer.to_owned(),
            }],
        }
    }

    /// Writes every file into a folder.
    pub(super) fn write(&self, folder: &mut dyn Folder) -> Result<()> {
        let mut files = self.files.iter();
        files.try_for_each(|file| folder.write_bytes(&file.name, &file.bytes))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.files.iter().find(|file| file.name == name);
        found.map(|file| file.bytes.as_slice())
    }

    /// Replaces the contents of a file, or adds the file.
    pub(super) fn set(&mut self, name: &str, bytes: &[u8]) {
        self.files.retain(|file| file.name != name);
        self.files.push(File {
            name: name.to_owned(),
            bytes: bytes.to_owned(),
        });
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The contents of a JSON file, if the file exists.
    pub(super) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(bytes) = self.get(name) else {
            return Ok(None);
        };
        serde_json::from_slice(bytes).map(Some).map_err(|error| {
            let what = format!("cannot be read: {error}");
            let help = format!("{HELP}; or load and save the tokenizer once with transformers");
            Error::file(&self.path(name), what, help)
        })
    }

    /// The contents of a text file, if the file exists.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>> {
        let Some(bytes) = self.get(name) else {
            return Ok(None);
        };
        str::from_utf8(bytes).map(Some).map_err(|error| {
            let what = format!("not UTF-8: {error}");
            Error::file(&self.path(name), what, HELP)
        })
    }

    /// The names of the further chat templates, each with the file that holds it, in the order of the files.
    pub(super) fn additional_templates(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|file| {
            let name = file.name.strip_prefix(TEMPLATES)?.strip_prefix('/')?;
            Some((name.strip_suffix(TEMPLATE_SUFFIX)?, file.name.as_str()))
        })
    }
}

/// The files of [`TEMPLATES`] in `dir`, sorted by name, relative to `dir`.
fn additional_templates(dir: &Path) -> Result<Vec<String>> {
    let folder = dir.join(TEMPLATES);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(Error::io("list", folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("list", &folder, error))?;
        // A name that is not UTF-8 is skipped: transformers does not see `.jinja` at its end either.
        if let Ok(name) = entry.file_name().into_string()
            && name.ends_with(TEMPLATE_SUFFIX)
        {
            names.push(format!("{TEMPLATES}/{name}"));
        }
    }
    names.sort();
    Ok(names)
}
