//! One repository at one commit: its file listing on the hub, and its files in the cache.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::cache::{Cache, Entry, is_git_id};
use super::http::{Client, Failure, RETRIES, encoded};
use super::name::{Kind, is_plain};
use super::place::Reference;
use super::settings::Settings;
use super::{Progress, near};
use crate::error::{Error, Fault, Result};

/// A repository at a commit.
pub(super) struct Snapshot<'a> {
    pub reference: &'a Reference,
    pub commit: String,
    pub entries: Vec<Entry>,
    /// True if the entries come from the snapshot in the cache: the repository may have more files.
    pub is_partial: bool,
    settings: &'a Settings,
    cache: Cache,
    hub: Option<Client>,
}

impl<'a> Snapshot<'a> {
    /// Finds the commit of the revision and its file listing. Asks the hub; if the settings forbid requests or
    /// the hub cannot be reached, reads the cache.
    pub fn open(
        reference: &'a Reference,
        settings: &'a Settings,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let cache = Cache::new(&settings.cache, reference.kind, &reference.id);
        let revision = reference.revision();
        let mut snapshot = Snapshot {
            reference,
            commit: String::new(),
            entries: Vec::new(),
            is_partial: false,
            settings,
            cache,
            hub: None,
        };
        if settings.offline {
            if !snapshot.take_from_cache() {
                let what = format!("revision {revision} of {}", reference.id);
                return Err(reference.offline(&what));
            }
            return Ok(snapshot);
        }
        snapshot.hub = Some(Client::new(settings));
        match snapshot.ask() {
            Err(Error::Hub { fault, what, .. })
                if fault.is_passing() && snapshot.take_from_cache() =>
            {
                snapshot.hub = None;
                progress(Progress::Note(format!(
                    "{}: {what}; read from the cache, at commit {}",
                    reference.text, snapshot.commit
                )));
                Ok(snapshot)
            }
            Err(error) => Err(error),
            Ok(()) => Ok(snapshot),
        }
    }

    fn take_from_cache(&mut self) -> bool {
        let Some(commit) = self.cache.commit(self.reference.revision()) else {
            return false;
        };
        let listing = self.cache.listing(&commit);
        self.is_partial = listing.is_none();
        self.entries = listing.unwrap_or_else(|| self.cache.files(&commit));
        self.commit = commit;
        !self.entries.is_empty()
    }

    /// Asks the hub for the commit and its file listing. Makes no request for a commit id whose listing is in
    /// the cache.
    fn ask(&mut self) -> Result<()> {
        let Snapshot {
            reference,
            settings,
            ..
        } = *self;
        let Some(hub) = &self.hub else { return Ok(()) };
        let revision = reference.revision();
        let explain = |error| match reference.explain(error, settings) {
            Error::Hub {
                fault: Fault::NoRepo,
                ..
            } => reference.no_repo(settings, &like(hub, reference)),
            error => error,
        };
        self.commit = match is_git_id(revision) {
            true => revision.to_owned(),
            false => commit(hub, reference).map_err(explain)?,
        };
        if let Some(entries) = self.cache.listing(&self.commit) {
            self.entries = entries;
            return Ok(());
        }
        let entries = tree(hub, reference, &self.commit).map_err(explain)?;
        if let Some(entry) = entries
            .iter()
            .find(|entry| !is_plain(&entry.path) || !is_git_id(&entry.id))
        {
            return Err(reference.fault(
                Fault::Unsafe,
                format!(
                    "{} lists a file {:?}, which could be written outside the cache",
                    reference.id, entry.path
                ),
                "nothing of it was downloaded; tell the hub, and use another repository",
            ));
        }
        self.cache
            .set_listing(&self.commit, &entries)
            .map_err(|e| reference.disk(e, &settings.cache))?;
        self.entries = entries;
        Ok(())
    }

    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// The files below a folder of the repository.
    pub fn below(&self, folder: &'static str) -> impl Iterator<Item = &Entry> {
        let within = move |entry: &&Entry| {
            let rest = entry.path.strip_prefix(folder);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        self.entries.iter().filter(within)
    }

    pub fn folder(&self) -> PathBuf {
        self.cache.snapshot(&self.commit)
    }

    /// Records the commit of the revision in the cache. Called after all wanted files are in the cache.
    pub fn finish(&self) -> Result<()> {
        let revision = self.reference.revision();
        // A shared cache may be read-only, so nothing is written if the cache already has this commit.
        if self.cache.commit(revision).as_deref() == Some(&self.commit[..]) {
            return Ok(());
        }
        self.cache
            .set_commit(revision, &self.commit)
            .map_err(|e| self.reference.disk(e, &self.settings.cache))
    }

    /// The error for a file that is not in the cache while the hub cannot be asked.
    pub fn not_cached(&self, path: &str) -> Error {
        match self.settings.offline {
            true => self.reference.offline(path),
            false => self.reference.fault(
                Fault::Unreachable,
                format!("{path} is not in the cache, and the hub cannot be asked now"),
                "check the network and run the same again",
            ),
        }
    }

    /// The path of a file of the listing. Downloads the file if the cache lacks it.
    pub fn fetch(&self, entry: &Entry, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
        if let Some(path) = self.cache.file(&self.commit, entry) {
            return Ok(path);
        }
        let Some(hub) = &self.hub else {
            return Err(self.not_cached(&entry.path));
        };
        let partial = self.cache.partial(entry);
        let disk = |e| self.reference.disk(e, &partial);
        let lock = self.cache.lock(entry).map_err(disk)?;
        // If the file system has no locks, the download goes on without one.
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            progress(Progress::Note(format!(
                "{}: another program downloads it; waiting",
                entry.path
            )));
            lock.lock().map_err(disk)?;
        }
        // The program that held the lock may have downloaded the file meanwhile, and may be reading it now.
        if let Some(path) = self.cache.file(&self.commit, entry) {
            return Ok(path);
        }
        let blob = match self.cache.blob(entry) {
            Some(blob) => blob,
            None => {
                let name = self.download(hub, entry, &partial, progress)?;
                self.cache.keep(&partial, &name).map_err(disk)?
            }
        };
        self.cache
            .link(&blob, &self.commit, &entry.path)
            .map_err(disk)
    }

    /// Downloads an entry to `partial` and returns the name of its blob. Resumes an earlier download.
    fn download(
        &self,
        hub: &Client,
        entry: &Entry,
        partial: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<String> {
        let disk = |e| self.reference.disk(e, partial);
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(partial)
            .map_err(disk)?;
        let mut is_anew = false;
        loop {
            let in_pieces = self.fill(hub, entry, &mut file, progress)?;
            if let Some(name) = entry.blob_name(partial).map_err(disk)? {
                return Ok(name);
            }
            file.set_len(0).map_err(disk)?;
            if is_anew || !in_pieces {
                return Err(self.reference.fault(
                    Fault::Checksum,
                    format!("{}: what came is not what the hub lists (its checksum differs)", entry.path),
                    "run the same again; if it persists, a proxy or mirror on the way changes files: check \
                     HF_ENDPOINT and HTTPS_PROXY",
                ));
            }
            progress(Progress::Note(format!(
                "{}: the pieces of a broken download do not make the file; downloading it anew",
                entry.path
            )));
            is_anew = true;
        }
    }

    /// Appends the missing bytes to the file of a download, and reconnects after broken connections. Returns
    /// true if the file then consists of several pieces.
    fn fill(
        &self,
        hub: &Client,
        entry: &Entry,
        file: &mut File,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool> {
        let mut failures = 0;
        let mut begin = self.length(file)?;
        loop {
            let result = self.stream(hub, entry, begin, file, progress);
            let end = self.length(file)?;
            if end >= entry.size {
                return Ok(begin > 0);
            }
            let error = match result? {
                Some(error) => self.reference.explain(error, self.settings),
                None => self.reference.fault(
                    Fault::Unreachable,
                    "the answer was too short",
                    "try again",
                ),
            };
            let Error::Hub {
                fault: Fault::Unreachable,
                what,
                ..
            } = error
            else {
                return Err(error);
            };
            failures = if end > begin { 1 } else { failures + 1 };
            if failures > RETRIES {
                return Err(self.reference.fault(
                    Fault::Interrupted,
                    format!(
                        "{}: broken off at {end} of {} bytes: {what}",
                        entry.path, entry.size
                    ),
                    "what came is kept: run the same again, and it goes on from there",
                ));
            }
            std::thread::sleep(self.settings.pause * 2u32.pow(failures - 1));
            begin = end;
        }
    }

    fn length(&self, file: &File) -> Result<u64> {
        let metadata = file
            .metadata()
            .map_err(|e| self.reference.disk(e, &self.settings.cache))?;
        Ok(metadata.len())
    }

    /// Appends the bytes from `begin` on to `file`, until they end or the connection breaks.
    fn stream(
        &self,
        hub: &Client,
        entry: &Entry,
        begin: u64,
        file: &mut File,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<Failure>> {
        if begin >= entry.size {
            return Ok(None);
        }
        let prefix = match self.reference.kind {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        };
        let segments: Vec<String> = entry.path.split('/').map(encoded).collect();
        let path = format!(
            "{prefix}{}/resolve/{}/{}",
            self.reference.id,
            encoded(&self.commit),
            segments.join("/")
        );
        let mut body = match hub.open(&path, begin) {
            Ok(body) => body,
            Err(failure) => return Ok(Some(failure)),
        };
        let (mut done, mut buffer) = (begin, vec![0; 1 << 16]);
        loop {
            let chunk = match body.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(len) => &buffer[..len],
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Some(Failure::of_body(error))),
            };
            let partial = self.cache.partial(entry);
            file.write_all(chunk)
                .map_err(|e| self.reference.disk(e, &partial))?;
            done += chunk.len() as u64;
            progress(Progress::Download {
                file: &entry.path,
                done: done.min(entry.size),
                total: entry.size,
            });
            // A server that ignores the range sends the whole file again. The checksum detects that.
            if done > entry.size {
                return Ok(None);
            }
        }
    }
}

fn api(kind: Kind) -> &'static str {
    match kind {
        Kind::Model => "api/models",
        Kind::Dataset => "api/datasets",
    }
}

/// The commit that the reference's revision is at.
fn commit(hub: &Client, reference: &Reference) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Info {
        sha: Option<String>,
    }
    let (api, revision) = (api(reference.kind), encoded(reference.revision()));
    let path = format!("{api}/{}/revision/{revision}?expand=sha", reference.id);
    let Info { sha } = hub.json(&path)?;
    sha.filter(|sha| is_git_id(sha))
        .ok_or_else(|| Failure::Nonsense("the commit of the revision is missing".to_owned()))
}

/// The files at a commit.
fn tree(hub: &Client, reference: &Reference, commit: &str) -> Result<Vec<Entry>, Failure> {
    #[derive(Deserialize)]
    #[serde(tag = "type", rename_all = "lowercase")]
    enum Item {
        File {
            oid: String,
            size: u64,
            path: String,
            lfs: Option<IgnoredAny>,
        },
        #[serde(other)]
        Other,
    }
    let (api, id) = (api(reference.kind), &reference.id);
    let path = format!("{api}/{id}/tree/{}?recursive=true", encoded(commit));
    let items = hub.list(&path)?;
    let entries = items.into_iter().filter_map(|item| match item {
        Item::Other => None,
        Item::File {
            oid,
            size,
            path,
            lfs,
        } => Some(Entry {
            path,
            size,
            id: oid,
            is_lfs: lfs.is_some(),
        }),
    });
    Ok(entries.collect())
}

/// Ids like the reference's: among those with its name or, failing that, among its owner's.
fn like(hub: &Client, reference: &Reference) -> Vec<String> {
    let (owner, name) = match reference.id.split_once('/') {
        Some((owner, name)) => (owner, name),
        None => ("", &*reference.id),
    };
    let found = near(&reference.id, search(hub, reference.kind, "search", name));
    if !found.is_empty() || owner.is_empty() {
        return found;
    }
    near(&reference.id, search(hub, reference.kind, "author", owner))
}

/// Ids that the hub's search finds by a field; none if it fails.
fn search(hub: &Client, kind: Kind, field: &str, text: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Found {
        id: String,
    }
    let path = format!("{}?{field}={}&limit=100", api(kind), encoded(text));
    let found: Vec<Found> = hub.json(&path).unwrap_or_default();
    found.into_iter().map(|found| found.id).collect()
}
