//! The cache directory, in the layout that this program shares with Python's huggingface_hub:
//!
//! ```text
//! datasets--ORG--NAME/blobs/ID              file contents; ID is git's id or, for LFS files, the SHA-256
//!                     snapshots/COMMIT/PATH links to the blobs
//!                     refs/BRANCH           the last known commit of a branch or tag
//!                     listings/COMMIT.json  the hub's file listing of a commit; only this program keeps it
//! .locks/datasets--ORG--NAME/ID.lock
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::name::{Kind, is_plain};
use crate::digest::{hex, hex_of};

/// A file of a repository as the hub lists it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub path: String,
    pub size: u64,
    /// Git's object id of the file or, for an LFS file, of the pointer that git stores in place of the file.
    /// The pointer holds the SHA-256 and size of the contents, so the id verifies those too.
    pub id: String,
    pub is_lfs: bool,
}

impl Entry {
    /// Hashes `file`. Returns the name of its blob if the contents are complete and correct for this entry.
    pub fn blob_name(&self, file: &Path) -> io::Result<Option<String>> {
        let mut file = File::open(file)?;
        if self.is_lfs {
            let hash = hex_of(Sha256::new(), &mut file)?;
            return Ok(self.is_named(&hash).then_some(hash));
        }
        let hash = hex_of(git_header(self.size), &mut file)?;
        Ok((hash == self.id).then_some(hash))
    }

    /// True if a blob with this name holds this entry's contents.
    fn is_named(&self, name: &str) -> bool {
        if !self.is_lfs {
            return name == self.id;
        }
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{name}\nsize {}\n",
            self.size
        );
        let mut hash = git_header(pointer.len() as u64);
        hash.update(pointer);
        hex(hash.finalize()) == self.id
    }
}

/// Starts git's hash of a file of `len` bytes.
fn git_header(len: u64) -> Sha1 {
    let mut hash = Sha1::new();
    hash.update(format!("blob {len}\0"));
    hash
}

/// True for a SHA-1 in hex: a commit or another git id.
pub(super) fn is_git_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The cache folder of one repository.
pub(super) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub fn new(root: &Path, kind: Kind, id: &str) -> Self {
        let name = format!("{}--{}", kind.plural(), id.replace('/', "--"));
        Cache {
            folder: root.join(&name),
            locks: root.join(".locks").join(name),
        }
    }

    /// The last known commit of a branch or tag.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_git_id(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_git_id(commit))
    }

    pub fn set_commit(&self, revision: &str, commit: &str) -> io::Result<()> {
        if is_git_id(revision) {
            return Ok(());
        }
        write(&self.folder.join("refs").join(revision), commit.as_bytes())
    }

    /// The hub's file listing of a commit, if an earlier run kept it.
    pub fn listing(&self, commit: &str) -> Option<Vec<Entry>> {
        let bytes = fs::read(self.listing_file(commit)).ok()?;
        let entries: Vec<Entry> = serde_json::from_slice(&bytes).ok()?;
        entries
            .iter()
            .all(|entry| is_plain(&entry.path))
            .then_some(entries)
    }

    pub fn set_listing(&self, commit: &str, entries: &[Entry]) -> io::Result<()> {
        write(&self.listing_file(commit), &serde_json::to_vec(entries)?)
    }

    fn listing_file(&self, commit: &str) -> PathBuf {
        self.folder.join("listings").join(format!("{commit}.json"))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The files of a snapshot in the cache. If another program filled the cache, this is all that is known of
    /// the repository without a request.
    pub fn files(&self, commit: &str) -> Vec<Entry> {
        fn walk(folder: &Path, prefix: &str, entries: &mut Vec<Entry>) {
            for item in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(name) = item.file_name().into_string() else {
                    continue;
                };
                let Ok(metadata) = fs::metadata(item.path()) else {
                    continue;
                };
                if metadata.is_dir() {
                    walk(&item.path(), &format!("{prefix}{name}/"), entries);
                } else {
                    entries.push(Entry {
                        path: format!("{prefix}{name}"),
                        size: metadata.len(),
                        id: String::new(),
                        is_lfs: false,
                    });
                }
            }
        }
        let mut entries = Vec::new();
        walk(&self.snapshot(commit), "", &mut entries);
        entries
    }

    /// The path of a file that is complete in the snapshot.
    pub fn file(&self, commit: &str, entry: &Entry) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(&entry.path);
        has_size(&path, entry.size).then_some(path)
    }

    /// The blob of an entry, if an earlier download of any revision brought it.
    pub fn blob(&self, entry: &Entry) -> Option<PathBuf> {
        let blobs = fs::read_dir(self.blobs()).into_iter().flatten().flatten();
        blobs.map(|blob| blob.path()).find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            has_size(path, entry.size) && name.is_some_and(|name| entry.is_named(name))
        })
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    /// The path of an incomplete download.
    pub fn partial(&self, entry: &Entry) -> PathBuf {
        self.blobs().join(format!("{}.incomplete", entry.id))
    }

    /// Renames a complete download to its blob.
    pub fn keep(&self, partial: &Path, blob_name: &str) -> io::Result<PathBuf> {
        let blob = self.blobs().join(blob_name);
        fs::rename(partial, &blob)?;
        Ok(blob)
    }

    /// Opens the lock file of an entry's download. The file is not locked yet.
    pub fn lock(&self, entry: &Entry) -> io::Result<File> {
        fs::create_dir_all(&self.locks)?;
        fs::create_dir_all(self.blobs())?;
        File::create(self.locks.join(format!("{}.lock", entry.id)))
    }

    /// Links a blob into the snapshot of a commit.
    pub fn link(&self, blob: &Path, commit: &str, path: &str) -> io::Result<PathBuf> {
        let link = self.snapshot(commit).join(path);
        fs::create_dir_all(link.parent().unwrap_or(&self.folder))?;
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link)?;
        }
        #[cfg(unix)]
        {
            // The way up from snapshots/COMMIT/ and the folders of `path` to the repository's folder.
            let up = "../".repeat(2 + path.matches('/').count());
            let name = blob.file_name().unwrap_or_default();
            std::os::unix::fs::symlink(Path::new(&up).join("blobs").join(name), &link)?;
        }
        // On Windows, symbolic links need rights that not every account has.
        #[cfg(not(unix))]
        fs::hard_link(blob, &link).or_else(|_| fs::copy(blob, &link).map(drop))?;
        Ok(link)
    }
}

fn has_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

/// Writes a small file atomically.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        file
    }

    fn entry(size: u64, id: &str, is_lfs: bool) -> Entry {
        let path = "x".to_owned();
        Entry {
            path,
            size,
            id: id.to_owned(),
            is_lfs,
        }
    }

    /// The ids are the output of `git hash-object` for `hello\n` and for its LFS pointer.
    #[test]
    fn contents_are_checked_by_gits_ids() {
        let hello = file(b"hello\n");
        let name = "ce013625030ba8dba906f756967f9e9ca394464a";
        let plain = entry(6, name, false);
        assert_eq!(
            plain.blob_name(hello.path()).unwrap().as_deref(),
            Some(name)
        );
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let lfs = entry(6, "fa61e1ef71c9908c0926776a4aa3504b3a27f159", true);
        assert_eq!(
            lfs.blob_name(hello.path()).unwrap().as_deref(),
            Some(sha256)
        );
        assert!(lfs.is_named(sha256) && !lfs.is_named(name) && plain.is_named(name));

        let other = file(b"hellO\n");
        assert_eq!(plain.blob_name(other.path()).unwrap(), None);
        assert_eq!(lfs.blob_name(other.path()).unwrap(), None);
    }
}
