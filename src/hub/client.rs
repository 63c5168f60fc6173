//! One repository at one commit: its file listing on the hub, and its files in the cache.

use std::fs::{File, TryLockError};
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFError, HFRepository, HFResult, RepoType, split_id};
use tokio::runtime::Runtime;

use super::cache::{Cache, Entry, is_git_id};
use super::fault::Fault;
use super::place::{Kind, Reference, is_plain};
use super::settings::Settings;
use super::{Progress, near};
use crate::error::{Error, Result};

/// A connection that stays silent for this time counts as broken.
const SILENCE: Duration = Duration::from_secs(60);
/// The number of retries of a request, and of a download that makes no progress.
const RETRIES: u32 = 4;

/// A repository at a commit.
pub(super) struct Snapshot<'a> {
    pub reference: &'a Reference,
    pub commit: String,
    pub entries: Vec<Entry>,
    /// True if the entries come from the snapshot in the cache: the repository may have more files.
    pub is_partial: bool,
    settings: &'a Settings,
    cache: Cache,
    hub: Option<Hub>,
}

/// The connection to the hub.
struct Hub {
    client: HFClient,
    runtime: Runtime,
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
        snapshot.hub = Some(Hub::new(settings).map_err(|e| reference.explain(e, settings))?);
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
            } => reference.no_repo(settings, &hub.near(reference)),
            error => error,
        };
        self.commit = match is_git_id(revision) {
            true => revision.to_owned(),
            false => hub.commit(reference).map_err(explain)?,
        };
        if let Some(entries) = self.cache.listing(&self.commit) {
            self.entries = entries;
            return Ok(());
        }
        let listed = match reference.kind {
            Kind::Model => hub.tree(hub.model(reference), &self.commit),
            Kind::Dataset => hub.tree(hub.dataset(reference), &self.commit),
        };
        let entries = listed.map_err(explain)?;
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
        hub: &Hub,
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
        hub: &Hub,
        entry: &Entry,
        file: &mut File,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool> {
        let mut failures = 0;
        let mut begin = self.length(file)?;
        loop {
            let result = match self.reference.kind {
                Kind::Model => {
                    self.stream(hub, hub.model(self.reference), entry, begin, file, progress)
                }
                Kind::Dataset => self.stream(
                    hub,
                    hub.dataset(self.reference),
                    entry,
                    begin,
                    file,
                    progress,
                ),
            };
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

    /// Appends the bytes from `begin` on to `file`, until the stream ends or the connection breaks.
    fn stream<T: RepoType>(
        &self,
        hub: &Hub,
        repository: HFRepository<T>,
        entry: &Entry,
        begin: u64,
        file: &mut File,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<HFError>> {
        if begin >= entry.size {
            return Ok(None);
        }
        let range = (begin > 0).then_some(begin..entry.size);
        let request = repository.download_file_stream();
        let request = request
            .filename(&entry.path)
            .revision(&self.commit)
            .maybe_range(range);
        let (_, mut stream) = match hub.wait(request.send()) {
            Ok(answer) => answer,
            Err(error) => return Ok(Some(error)),
        };
        let mut done = begin;
        while let Some(chunk) = hub
            .wait(async { stream.next().await.transpose() })
            .transpose()
        {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return Ok(Some(error)),
            };
            let partial = self.cache.partial(entry);
            file.write_all(&chunk)
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
        Ok(None)
    }
}

impl Hub {
    fn new(settings: &Settings) -> HFResult<Self> {
        // Without a token, the client would look for one itself. It never sends a token that no HTTP header can
        // hold.
        let token = settings.token.as_ref().map_or("\n", |token| token.secret());
        let client = HFClient::builder()
            .endpoint(&settings.endpoint)
            .cache_dir(&settings.cache)
            .token(token)
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .retry_max_attempts(RETRIES as usize)
            .retry_base_delay(settings.pause)
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Hub { client, runtime })
    }

    /// Waits for the answer. Silence is an I/O error of the kind `TimedOut`.
    fn wait<T>(&self, answer: impl Future<Output = HFResult<T>>) -> HFResult<T> {
        self.runtime.block_on(async {
            match tokio::time::timeout(SILENCE, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }

    fn model(&self, reference: &Reference) -> HFRepository<hf_hub::RepoTypeModel> {
        let (owner, name) = split_id(&reference.id);
        self.client.model(owner, name)
    }

    fn dataset(&self, reference: &Reference) -> HFRepository<hf_hub::RepoTypeDataset> {
        let (owner, name) = split_id(&reference.id);
        self.client.dataset(owner, name)
    }

    /// Asks for the commit of the reference's revision.
    fn commit(&self, reference: &Reference) -> HFResult<String> {
        let (revision, fields) = (reference.revision(), vec!["sha".to_owned()]);
        let sha = match reference.kind {
            Kind::Model => {
                let model = self.model(reference);
                let request = model.info().revision(revision).expand(fields).send();
                self.wait(request)?.sha
            }
            Kind::Dataset => {
                let dataset = self.dataset(reference);
                let request = dataset.info().revision(revision).expand(fields).send();
                self.wait(request)?.sha
            }
        };
        sha.filter(|sha| is_git_id(sha))
            .ok_or_else(|| HFError::malformed_response("the commit of the revision"))
    }

    /// Asks for the files of a commit.
    fn tree<T: RepoType>(&self, repository: HFRepository<T>, commit: &str) -> HFResult<Vec<Entry>> {
        let mut tree = pin!(
            repository
                .list_tree()
                .revision(commit)
                .recursive(true)
                .send()?
        );
        let mut entries = Vec::new();
        while let Some(entry) = self.wait(async { tree.next().await.transpose() })? {
            if let RepoTreeEntry::File {
                oid,
                size,
                path,
                lfs,
                ..
            } = entry
            {
                entries.push(Entry {
                    path,
                    size,
                    id: oid,
                    is_lfs: lfs.is_some(),
                });
            }
        }
        Ok(entries)
    }

    /// Ids similar to the reference's id: among the search results for its name, else among the repositories of
    /// its owner.
    fn near(&self, reference: &Reference) -> Vec<String> {
        let (owner, name) = split_id(&reference.id);
        let found = near(&reference.id, self.search(reference.kind, Some(name), None));
        if !found.is_empty() || owner.is_empty() {
            return found;
        }
        near(
            &reference.id,
            self.search(reference.kind, None, Some(owner)),
        )
    }

    /// The ids that the hub's search finds. Empty if the search fails.
    fn search(&self, kind: Kind, name: Option<&str>, owner: Option<&str>) -> Vec<String> {
        const MOST: usize = 100;
        let (name, owner) = (name.map(str::to_owned), owner.map(str::to_owned));
        let ids = async {
            Ok(match kind {
                Kind::Model => {
                    let list = self
                        .client
                        .list_models()
                        .maybe_search(name)
                        .maybe_author(owner);
                    let found: Vec<_> = list.limit(MOST).send()?.collect().await;
                    found.into_iter().flatten().map(|model| model.id).collect()
                }
                Kind::Dataset => {
                    let list = self
                        .client
                        .list_datasets()
                        .maybe_search(name)
                        .maybe_author(owner);
                    let found: Vec<_> = list.limit(MOST).send()?.collect().await;
                    found
                        .into_iter()
                        .flatten()
                        .map(|dataset| dataset.id)
                        .collect()
                }
            })
        };
        self.wait(ids).unwrap_or_default()
    }
}
