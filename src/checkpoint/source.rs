//! The safetensors files of a model folder: finding them, mapping them, listing their tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::Deserialize;

use super::foreign::{self, Foreign};
use super::{ADAPTER_FILE, INDEX_FILE, PREFIX, WEIGHTS_FILE};
use crate::error::{Error, Result};
use crate::stand_in;

/// A model folder's safetensors files: one file, or an index and its shards.
pub(super) struct Files {
    /// The file that an error names if it concerns the whole model.
    pub main: PathBuf,
    pub shards: Vec<PathBuf>,
}

/// Finds the weights in the model folder `dir`. A single file comes before shards.
pub(super) fn find(dir: &Path) -> Result<Files> {
    if exists(&dir.join(ADAPTER_FILE))? {
        // This holds even if the folder has full weights: transformers would load the adapter with its base
        // model instead of those weights.
        return Err(foreign::no_model(dir, WEIGHTS_FILE));
    }
    let main = dir.join(WEIGHTS_FILE);
    if exists(&main)? {
        let shards = vec![main.clone()];
        return Ok(Files { main, shards });
    }
    let main = dir.join(INDEX_FILE);
    if exists(&main)? {
        let shards: Vec<_> = shards(&main)?.iter().map(|name| dir.join(name)).collect();
        for shard in &shards {
            if !exists(shard)? {
                return Err(Error::file(
                    shard,
                    format!("not here, and {INDEX_FILE} says that the model has it"),
                    "download it too: all the files that the index names make the model",
                ));
            }
        }
        return Ok(Files { main, shards });
    }
    Err(foreign::no_model(dir, WEIGHTS_FILE))
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|e| Error::io("read", path, e))
}

/// The file names of the shards in an index.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let help = "download the model again, or save it anew with save_pretrained";
    let bytes = fs::read(index).map_err(|e| Error::io("read", index, e))?;
    stand_in::refuse(index, &bytes)?;
    let parsed: Index = serde_json::from_slice(&bytes)
        .map_err(|e| Error::file(index, format!("not an index of safetensors: {e}"), help))?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    match names
        .iter()
        .find(|name| Path::new(name).file_name() != Some(name.as_ref()))
    {
        Some(name) => Err(Error::file(
            index,
            format!("the shard {name:?} is not a file name"),
            help,
        )),
        None => Ok(names),
    }
}

/// Maps a file into memory.
pub(super) fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    // SAFETY: the map is only read, and only until the values are copied out of it. As with any
    // memory map, a process that changes the file in place meanwhile breaks this one; replacing it
    // by rename, as everything here does, is harmless.
    unsafe { Mmap::map(&file) }.map_err(|e| Error::io("map", path, e))
}

/// A tensor in a file.
pub(super) struct Stored<'a> {
    pub path: &'a Path,
    /// The name in the file, with or without the prefix `transformer.`.
    pub name: String,
    pub view: TensorView<'a>,
}

/// All tensors of the files, by their names without prefix. The attention masks of old files are left out.
pub(super) fn tensors<'a>(
    files: impl IntoIterator<Item = (&'a Path, &'a [u8])>,
) -> Result<BTreeMap<String, Stored<'a>>> {
    let mut all = BTreeMap::new();
    for (path, bytes) in files {
        stand_in::refuse(path, bytes)?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| match foreign::of_bytes(bytes) {
            Some(Foreign { what, help }) => Error::file(path, what, help),
            None => Error::file(
                path,
                format!("not a whole safetensors file: {e}"),
                "the file is cut off or damaged: download or save it again",
            ),
        })?;
        for (name, view) in file.tensors() {
            let short = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
            if is_mask(&short) {
                continue;
            }
            let stored = Stored { path, name, view };
            if let Some(other) = all.insert(short, stored) {
                return Err(Error::tensor(
                    path,
                    &other.name,
                    format!("stored twice; the other is in {}", other.path.display()),
                    "save the model anew with save_pretrained",
                ));
            }
        }
    }
    Ok(all)
}

/// True for `h.N.attn.bias` and `h.N.attn.masked_bias`. These are constant attention masks that old versions of
/// transformers saved among the parameters.
fn is_mask(name: &str) -> bool {
    name.strip_prefix("h.")
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(layer, rest)| {
            layer.bytes().all(|b| b.is_ascii_digit())
                && matches!(rest, "attn.bias" | "attn.masked_bias")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T>(result: Result<T>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn a_file_of_another_kind_under_the_name_of_weights_is_named() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
        for (bytes, expected) in [
            (pointer.as_bytes(), "a Git LFS pointer"),
            (b"<!DOCTYPE html>", "a web page"),
            (b"PK\x03\x04archive/data.pkl", "a Python pickle"),
            (b"GGUF\x03\0\0\0", "llama.cpp's format"),
            (b"\x89HDF\r\n\x1a\n", "TensorFlow's"),
        ] {
            let text = text(tensors([(Path::new("model.safetensors"), bytes)]));
            assert!(text.starts_with("model.safetensors: "), "{text}");
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn an_adapter_beside_the_weights_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(WEIGHTS_FILE), "").unwrap();
        assert!(find(dir.path()).is_ok());
        fs::write(dir.path().join("adapter_config.json"), "").unwrap();
        assert!(text(find(dir.path())).contains("an adapter"));
    }

    #[test]
    fn an_index_names_files_of_its_own_folder_only() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join(INDEX_FILE);
        fs::write(
            &index,
            r#"{"weight_map": {"a": "1.st", "b": "2.st", "c": "1.st"}}"#,
        )
        .unwrap();
        fs::write(dir.path().join("1.st"), "").unwrap();
        let missing = text(find(dir.path()));
        assert!(missing.contains("2.st: not here"), "{missing}");
        fs::write(dir.path().join("2.st"), "").unwrap();
        let files = find(dir.path()).unwrap();
        assert_eq!(files.main, index);
        assert_eq!(
            files.shards,
            [dir.path().join("1.st"), dir.path().join("2.st")]
        );

        for name in ["../1.st", "/1.st", "", ".."] {
            let content = serde_json::json!({ "weight_map": { "a": name } });
            fs::write(&index, content.to_string()).unwrap();
            assert!(text(find(dir.path())).contains("not a file name"), "{name}");
        }
        fs::write(&index, "{}").unwrap();
        assert!(text(find(dir.path())).contains("weight_map"));
        let pointer = "version https://git-lfs.github.com/spec/v1\n";
        fs::write(&index, pointer).unwrap();
        assert!(text(find(dir.path())).contains("a Git LFS pointer"));
    }

    #[test]
    fn only_the_masks_are_masks() {
        for name in ["h.0.attn.bias", "h.11.attn.masked_bias"] {
            assert!(is_mask(name), "{name}");
        }
        for name in ["h.0.attn.c_attn.bias", "h.x.attn.bias", "attn.bias", "h.0"] {
            assert!(!is_mask(name), "{name}");
        }
    }
}
