//! The safetensors files of a model folder: finding them, listing their tensors, reading by position.
//!
//! The files are read and never mapped: a mapped file that another process cuts short kills this one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;

use super::foreign::{self, Foreign};
use super::{ADAPTER_FILE, INDEX_FILE, PREFIX, WEIGHTS_FILE};
use crate::bounded;
use crate::error::{Error, Result};
use crate::stand_in;

/// Bytes at a file's beginning that tell its kind.
const HEAD: u64 = 4096;

/// The longest header of a safetensors file, as the format's own reader bounds it.
const MAX_HEADER: u64 = 100_000_000;

/// Bytes that are compared at once.
const COMPARED: usize = 1 << 20;

/// A model folder's safetensors files: one, or an index and its shards.
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
    let bytes = bounded::read(index, bounded::LISTS).map_err(|e| Error::io("read", index, e))?;
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

/// A safetensors file that is read by position: on disk, or in memory.
pub(super) struct Shard<'a> {
    path: &'a Path,
    bytes: Bytes<'a>,
    /// Length in bytes when the file was opened.
    len: u64,
}

enum Bytes<'a> {
    Disk(File),
    Memory(&'a [u8]),
}

impl<'a> Shard<'a> {
    /// Opens a file. Every later read goes through this handle, so that a file that is replaced by
    /// rename meanwhile is read to its end as it was.
    pub(super) fn open(path: &'a Path) -> Result<Shard<'a>> {
        let failed = |e| Error::io("read", path, e);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Shard {
            path,
            bytes: Bytes::Disk(file),
            len,
        })
    }

    /// A file in memory; `path` is its name in errors.
    pub(super) fn in_memory(path: &'a Path, bytes: &'a [u8]) -> Shard<'a> {
        Shard {
            path,
            bytes: Bytes::Memory(bytes),
            len: bytes.len() as u64,
        }
    }

    /// Fills `out` with the bytes from `offset` on. Threads may read at once.
    ///
    /// # Errors
    /// `Error::File` if the file ends before; `Error::Io`.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let read = match &self.bytes {
            Bytes::Disk(file) => read_exact_at(file, offset, out),
            Bytes::Memory(bytes) => {
                let start = usize::try_from(offset).ok();
                let rest = start.and_then(|start| bytes.get(start..));
                match rest.and_then(|rest| rest.get(..out.len())) {
                    Some(wanted) => {
                        out.copy_from_slice(wanted);
                        Ok(())
                    }
                    None => Err(ErrorKind::UnexpectedEof.into()),
                }
            }
        };
        read.map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => Error::file(
                self.path,
                format!(
                    "the file became shorter while it was read: it had {} bytes",
                    self.len
                ),
                "another program writes it: wait until that program ends, or download the file again",
            ),
            _ => Error::io("read", self.path, e),
        })
    }

    /// Reads the header, and checks that the tensors lie one behind the other and end where the
    /// file ends.
    fn header(&self) -> Result<Header> {
        let mut head = vec![0; self.len.min(HEAD) as usize];
        self.read_at(0, &mut head)?;
        stand_in::refuse(self.path, &head)?;
        let damaged = |what: String| match foreign::of_bytes(&head) {
            Some(Foreign { what, help }) => Error::file(self.path, what, help),
            None => Error::file(
                self.path,
                format!("not a whole safetensors file: {what}"),
                "the file is cut off or damaged: download or save it again",
            ),
        };
        let Some(length) = head.first_chunk::<8>() else {
            return Err(damaged(format!("it has {} bytes", self.len)));
        };
        let length = u64::from_le_bytes(*length);
        // Checked before any memory is taken for the header.
        if length > MAX_HEADER || length > self.len - 8 {
            return Err(damaged(format!(
                "it claims a header of {length} bytes and has {} bytes",
                self.len
            )));
        }
        let mut text = vec![0; length as usize];
        self.read_at(8, &mut text)?;
        let metadata: Metadata =
            serde_json::from_slice(&text).map_err(|e| damaged(format!("its header: {e}")))?;
        let start = 8 + length;
        let claimed = start.checked_add(metadata.data_len() as u64);
        if claimed != Some(self.len) {
            return Err(damaged(format!(
                "its tensors have {} bytes, and {} bytes follow its header",
                metadata.data_len(),
                self.len - start
            )));
        }
        Ok(Header { start, metadata })
    }
}

/// The header of a safetensors file.
struct Header {
    /// Where the tensors begin in the file.
    start: u64,
    metadata: Metadata,
}

/// Reads without moving the file's cursor, which threads share.
#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(not(unix))]
use seek_and_read as read_exact_at;

/// The same where no such call is: one thread at a time moves the cursor.
#[cfg(any(not(unix), test))]
fn seek_and_read(mut file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    use std::sync::{Mutex, PoisonError};
    static CURSOR: Mutex<()> = Mutex::new(());
    let _one = CURSOR.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(out)
}

/// A tensor in a file.
pub(super) struct Stored<'a> {
    shard: &'a Shard<'a>,
    /// The name in the file, which may have the prefix `transformer.`.
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Where its values begin in the file.
    start: u64,
    /// Length of its values in bytes.
    len: usize,
}

impl Stored<'_> {
    pub fn path(&self) -> &Path {
        self.shard.path
    }

    /// Fills `out` with the bytes from `offset` on, counted from the tensor's first.
    ///
    /// # Errors
    /// `Error::File` if the file has become shorter; `Error::Io`.
    pub fn read_at(&self, offset: usize, out: &mut [u8]) -> Result<()> {
        self.shard.read_at(self.start + offset as u64, out)
    }

    /// True if both have the same type, shape and bytes.
    pub fn equals(&self, other: &Stored) -> Result<bool> {
        if (self.dtype, &self.shape, self.len) != (other.dtype, &other.shape, other.len) {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (vec![0; COMPARED], vec![0; COMPARED]);
        for offset in (0..self.len).step_by(COMPARED) {
            let count = COMPARED.min(self.len - offset);
            self.read_at(offset, &mut ours[..count])?;
            other.read_at(offset, &mut theirs[..count])?;
            if ours[..count] != theirs[..count] {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// All tensors of the files by their name without prefix, but for the masks of old files. Reads the
/// headers only.
pub(super) fn tensors<'a>(shards: &'a [Shard<'a>]) -> Result<BTreeMap<String, Stored<'a>>> {
    let mut all: BTreeMap<String, Stored> = BTreeMap::new();
    for shard in shards {
        let Header { start, metadata } = shard.header()?;
        // By name, so that of two faults the same one is told each time.
        let infos: BTreeMap<String, &TensorInfo> = metadata.tensors().into_iter().collect();
        for (name, info) in infos {
            let short = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
            if is_mask(&short) {
                continue;
            }
            let (begin, end) = info.data_offsets;
            let stored = Stored {
                shard,
                name,
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: start + begin as u64,
                len: end - begin,
            };
            if let Some(other) = all.insert(short, stored) {
                return Err(Error::tensor(
                    shard.path,
                    &other.name,
                    format!("stored twice; the other is in {}", other.path().display()),
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
    use std::fs;

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
            let shards = [Shard::in_memory(Path::new("model.safetensors"), bytes)];
            let text = text(tensors(&shards));
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
    fn both_ways_to_read_by_position_read_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        let bytes: Vec<u8> = (0..=255).collect();
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        for read in [read_exact_at, seek_and_read] {
            for (offset, count) in [(0, 256), (250, 6), (7, 3), (256, 0)] {
                let mut out = vec![0; count];
                read(&file, offset, &mut out).unwrap();
                assert_eq!(out, bytes[offset as usize..][..count]);
            }
            let beyond = read(&file, 250, &mut [0; 7]).unwrap_err();
            assert_eq!(beyond.kind(), ErrorKind::UnexpectedEof);
        }
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
