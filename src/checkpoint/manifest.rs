//! The manifest of a checkpoint: the SHA-256 of each file, in the form that `sha256sum -c` reads.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::digest;
use crate::error::{Error, Result};

/// The manifest's name. It is written last.
pub const MANIFEST_FILE: &str = "manifest.sha256";

/// What to do about a damaged checkpoint.
pub(super) const HELP: &str =
    "remove this checkpoint to go on from the one before, or give `.resume` another one";

/// The most bytes of a manifest.
const MAX_BYTES: u64 = 1 << 20;

/// The SHA-256 of each file, in hex, by the file's name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Manifest {
    pub files: BTreeMap<String, String>,
}

impl Manifest {
    /// The text: a line for each file, sorted by name.
    pub fn text(&self) -> String {
        let lines = self.files.iter();
        lines
            .map(|(name, hash)| format!("{hash}  {name}\n"))
            .collect()
    }

    /// Reads the text; `None` unless it is exactly what [`Manifest::text`] writes.
    fn parse(text: &str) -> Option<Manifest> {
        let mut files = BTreeMap::new();
        for line in text.lines() {
            let (hash, name) = line.split_once("  ")?;
            files.insert(name.to_owned(), hash.to_owned());
        }
        let manifest = Manifest { files };
        (manifest.text() == text && !manifest.files.is_empty()).then_some(manifest)
    }

    /// Reads a checkpoint's manifest and compares every file with it.
    ///
    /// # Errors
    /// `Error::File` naming the first file that is missing or has other contents; `Error::Io`.
    pub fn verify(folder: &Path) -> Result<Manifest> {
        let path = folder.join(MANIFEST_FILE);
        let damaged = |path: &Path, what: &str| Err(Error::file(path, what, HELP));
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
        if let Err(e) = read {
            return match e.kind() {
                io::ErrorKind::NotFound => damaged(&path, "the checkpoint has no manifest"),
                _ => Err(Error::io("read", path, e)),
            };
        }
        let parsed = std::str::from_utf8(&text).ok().and_then(Manifest::parse);
        let Some(manifest) = parsed else {
            return damaged(&path, "the manifest is damaged");
        };
        for (name, expected) in &manifest.files {
            // A damaged name must not lead out of the folder.
            let inside = Path::new(name)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
            if !inside {
                return damaged(&path, "the manifest names a file outside its folder");
            }
            let path = folder.join(name);
            match hash(&path) {
                Ok(found) if found == *expected => {}
                Ok(_) => return damaged(&path, "its contents are not those that were saved"),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    return damaged(&path, "missing from the checkpoint");
                }
                Err(e) => return Err(Error::io("read", path, e)),
            }
        }
        Ok(manifest)
    }
}

fn hash(path: &Path) -> io::Result<String> {
    digest::hex_of(Sha256::new(), &mut File::open(path)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn example() -> Manifest {
        let hash = "0".repeat(64);
        let names = ["config.json", "additional_chat_templates/a.jinja"];
        Manifest {
            files: names.map(|name| (name.to_owned(), hash.clone())).into(),
        }
    }

    #[test]
    fn a_manifest_reads_back() {
        assert_eq!(Manifest::parse(&example().text()), Some(example()));
        assert_eq!(Manifest::parse(""), None);
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::default();
        for name in ["a", "b.json"] {
            fs::write(dir.path().join(name), name).unwrap();
            let hash = hash(&dir.path().join(name)).unwrap();
            manifest.files.insert(name.to_owned(), hash);
        }
        let text = manifest.text();
        let path = dir.path().join(MANIFEST_FILE);
        fs::write(&path, &text).unwrap();
        assert_eq!(Manifest::verify(dir.path()).unwrap(), manifest);
        for at in 0..text.len() {
            for other in 0..=u8::MAX {
                let mut bytes = text.clone().into_bytes();
                if bytes[at] == other {
                    continue;
                }
                bytes[at] = other;
                fs::write(&path, &bytes).unwrap();
                let error = Manifest::verify(dir.path());
                assert!(error.is_err(), "byte {at} as {other}");
            }
        }
    }
}
