//! The cache directory, in the layout that Python's huggingface_hub and this share:
//!
//! ```text
//! datasets--ORG--NAME/blobs/ID              contents, by git's id or, for LFS files, by their SHA-256
//!                     snapshots/COMMIT/PATH links to them
//!                     refs/BRANCH           the commit that a branch or tag was at
//!                     listings/COMMIT.json  what the hub lists there; ours alone
//! .locks/datasets--ORG--NAME/ID.lock
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::name::{Kind, is_plain};

/// A file of a repository as the hub lists it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub path: String,
    pub size: u64,
    /// Git's object id: of the file or, for an LFS file, of the pointer that git has in its place. The
    /// pointer holds the contents' SHA-256 and size, so the id checks those too.
    pub id: String,
    pub is_lfs: bool,
}

impl Entry {
    /// The name of the blob that `file` must be for this entry, if it is whole and right.
    pub fn blob_name(&self, file: &Path) -> io::Result<Option<String>> {
        let mut file = File::open(file)?;
        if self.is_lfs {
            let hash = hash(Sha256::new(), &mut file)?;
            return Ok(self.is_named(&hash).then_some(hash));
        }
        let hash = hash(git_header(self.size), &mut file)?;
        Ok((hash == self.id).then_some(hash))
    }

    /// True if the contents with this name, as blobs have it, are this entry's.
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
        hex(&hash.finalize()) == self.id
    }
}

/// The start of the hash that git gives to a file of `len` bytes.
fn git_header(len: u64) -> Sha1 {
    let mut hash = Sha1::new();
    hash.update(format!("blob {len}\0"));
    hash
}

fn hash<H: Digest>(mut hash: H, file: &mut File) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            len => hash.update(&buffer[..len]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// True for an SHA-1 in hex: a commit or another of git's ids.
pub(super) fn is_git_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// One repository's part of the cache.
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

    /// The commit that a branch or tag was at when it was last asked for.
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

    /// What the hub listed for a commit, kept from an earlier time.
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

    /// The files that a snapshot has here, in a cache that another program filled: all that is known of
    /// the repository without asking.
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

    /// The path of a file that is here whole.
    pub fn file(&self, commit: &str, entry: &Entry) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(&entry.path);
        has_size(&path, entry.size).then_some(path)
    }

    /// The contents of an entry, if another revision brought them here.
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

    /// Where a download is kept until it is whole.
    pub fn partial(&self, entry: &Entry) -> PathBuf {
        self.blobs().join(format!("{}.incomplete", entry.id))
    }

    /// Makes a whole download a blob.
    pub fn keep(&self, partial: &Path, blob_name: &str) -> io::Result<PathBuf> {
        let blob = self.blobs().join(blob_name);
        fs::rename(partial, &blob)?;
        Ok(blob)
    }

    /// The open lock file of an entry's download, not yet locked.
    pub fn lock(&self, entry: &Entry) -> io::Result<File> {
        fs::create_dir_all(&self.locks)?;
        fs::create_dir_all(self.blobs())?;
        File::create(self.locks.join(format!("{}.lock", entry.id)))
    }

    /// Shows a blob as a commit's file.
    pub fn link(&self, blob: &Path, commit: &str, path: &str) -> io::Result<PathBuf> {
        let link = self.snapshot(commit).join(path);
        fs::create_dir_all(link.parent().unwrap_or(&self.folder))?;
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link)?;
        }
        #[cfg(unix)]
        {
            // From snapshots/COMMIT/ and the folders of the path up to the repository's folder.
            let up = "../".repeat(2 + path.matches('/').count());
            let name = blob.file_name().unwrap_or_default();
            std::os::unix::fs::symlink(Path::new(&up).join("blobs").join(name), &link)?;
        }
        // Symbolic links need rights that not every account has there.
        #[cfg(not(unix))]
        fs::hard_link(blob, &link).or_else(|_| fs::copy(blob, &link).map(drop))?;
        Ok(link)
    }
}

fn has_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

/// Writes a small file whole or not at all.
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

    /// The ids are what `git hash-object` prints for `hello\n` and for its LFS pointer.
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
