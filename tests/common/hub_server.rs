//! A Hugging Face Hub on 127.0.0.1 for tests: it has the paths, headers and redirects of the real one, a second
//! port as the host of large files, and any failures that a test orders.
//!
//! The server keeps every request, so that a test can check what was requested, how many bytes were sent, and
//! which host received the token.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Files with these extensions are in LFS, as in the hub's `.gitattributes`.
const LFS: [&str; 4] = ["safetensors", "parquet", "gz", "bin"];

/// The port that received a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Hub,
    /// Serves the contents of LFS files.
    Cdn,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Seen {
    pub host: Host,
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The first requested byte of a `Range` header.
    pub begin: Option<usize>,
    /// The text behind `Bearer` in the `Authorization` header.
    pub token: Option<String>,
    /// The number of bytes sent of the answer's body.
    pub sent: usize,
}

/// A failure of requests whose path contains `path`.
#[derive(Debug, Clone)]
pub struct Trouble {
    path: String,
    what: Wrong,
    /// The number of further requests that fail.
    times: usize,
}

#[derive(Debug, Clone)]
enum Wrong {
    Status { status: u16, headers: String },
    Cut { after: usize },
    Damage,
    IgnoreRange,
}

#[derive(Default)]
struct State {
    /// Repositories by `models/ID` or `datasets/ID`.
    repositories: BTreeMap<String, Repository>,
    troubles: Vec<Trouble>,
    seen: Vec<Seen>,
}

#[derive(Default, Clone)]
struct Repository {
    /// The commits with their files; `main` is the last one.
    commits: Vec<(String, Files)>,
    /// The token that may read the files.
    gate: Option<String>,
    is_private: bool,
}

type Files = BTreeMap<String, Vec<u8>>;

/// A running server; it ends when it is dropped.
pub struct HubServer {
    state: Arc<Mutex<State>>,
    ports: [u16; 2],
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl HubServer {
    /// A hub without repositories.
    pub fn start() -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = [0, 1].map(|i| listeners[i].local_addr().unwrap().port());
        let state = Arc::new(Mutex::new(State::default()));
        let is_over = Arc::new(AtomicBool::new(false));
        let hosts = [Host::Hub, Host::Cdn].into_iter();
        let threads = hosts.zip(listeners).map(|(host, listener)| {
            let (state, is_over) = (state.clone(), is_over.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let state = state.clone();
                    std::thread::spawn(move || {
                        // A client that closes its connection is no failure of the server.
                        let _ = serve(stream.unwrap(), host, ports[1], &state);
                    });
                }
            })
        });
        let threads = threads.collect();
        HubServer {
            state,
            ports,
            is_over,
            threads,
        }
    }

    /// The server's address, for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// Puts a commit with these files on the model's `main`, and returns the commit.
    pub fn model<B: AsRef<[u8]>>(&self, id: &str, files: &[(&str, B)]) -> String {
        self.push(format!("models/{id}"), files)
    }

    /// Puts a commit with these files on the data set's `main`, and returns the commit.
    pub fn dataset<B: AsRef<[u8]>>(&self, id: &str, files: &[(&str, B)]) -> String {
        self.push(format!("datasets/{id}"), files)
    }

    /// Adds a model with the files of a folder, without its subfolders.
    pub fn model_folder(&self, id: &str, folder: &Path) -> String {
        let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let files = files.filter(|file| file.path().is_file()).map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        });
        let files: Vec<(String, Vec<u8>)> = files.collect();
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        self.model(id, &files)
    }

    fn push<B: AsRef<[u8]>>(&self, key: String, files: &[(&str, B)]) -> String {
        let files: Files = files
            .iter()
            .map(|(path, bytes)| ((*path).to_owned(), bytes.as_ref().to_owned()))
            .collect();
        let mut hash = Sha1::new();
        for (path, bytes) in &files {
            hash.update(path);
            hash.update(bytes);
        }
        let commit = hex(&hash.finalize());
        let mut state = self.state();
        let repository = state.repositories.entry(key).or_default();
        repository.commits.push((commit.clone(), files));
        commit
    }

    /// Only this token may read the files of a repository; its listing is public.
    pub fn gate(&self, key: &str, token: &str) {
        self.state().repositories.get_mut(key).unwrap().gate = Some(token.to_owned());
    }

    /// Only this token may see the repository at all.
    pub fn hide(&self, key: &str, token: &str) {
        self.gate(key, token);
        self.state().repositories.get_mut(key).unwrap().is_private = true;
    }

    /// The next `times` requests whose path contains `path` are answered with a status; `headers` are
    /// whole lines.
    pub fn fail(&self, path: &str, times: usize, status: u16, headers: &str) {
        let headers = headers.to_owned();
        self.trouble(path, times, Wrong::Status { status, headers });
    }

    /// The next `times` bodies of LFS files whose path contains `path` end after `after` bytes.
    pub fn cut(&self, path: &str, times: usize, after: usize) {
        self.trouble(path, times, Wrong::Cut { after });
    }

    /// The next `times` bodies of LFS files whose path contains `path` have one flipped bit.
    pub fn damage(&self, path: &str, times: usize) {
        self.trouble(path, times, Wrong::Damage);
    }

    /// The next `times` range requests for LFS files whose path contains `path` get the whole file.
    pub fn ignore_range(&self, path: &str, times: usize) {
        self.trouble(path, times, Wrong::IgnoreRange);
    }

    fn trouble(&self, path: &str, times: usize, what: Wrong) {
        let path = path.to_owned();
        self.state().troubles.push(Trouble { path, what, times });
    }

    /// The requests since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        for port in self.ports {
            // A connection wakes the thread that waits for one.
            let _ = TcpStream::connect(("127.0.0.1", port));
        }
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// An answer before it is sent.
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, headers: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Answer {
            status,
            headers: headers.into(),
            body: body.into(),
        }
    }

    fn error(status: u16, code: &str, message: &str) -> Self {
        let headers = format!("X-Error-Code: {code}\r\nX-Error-Message: {message}\r\n");
        Answer::new(status, headers, format!("{{\"error\":\"{message}\"}}"))
    }
}

/// Answers one request.
fn serve(stream: TcpStream, host: Host, cdn: u16, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(first) = lines.next().transpose()? else {
        return Ok(());
    };
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().to_owned();
    let (mut begin, mut token) = (None, None);
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        match name.to_lowercase().as_str() {
            "range" => {
                begin = value[6..]
                    .split('-')
                    .next()
                    .and_then(|text| text.parse().ok())
            }
            "authorization" => token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => (),
        }
    }

    let mut state = state.lock().unwrap();
    let is_body = host == Host::Cdn && method == "GET";
    let wrong = take_trouble(&mut state.troubles, &path, begin, is_body);
    let mut answer = match &wrong {
        Some(Wrong::Status { status, headers }) => Answer::new(*status, headers.clone(), ""),
        _ if host == Host::Hub => hub(&state, &path, token.as_deref(), cdn),
        _ => contents(&state, &path),
    };
    let ignores = matches!(wrong, Some(Wrong::IgnoreRange));
    if let Some(begin) = begin.filter(|_| answer.status == 200 && !ignores) {
        let len = answer.body.len();
        answer.status = 206;
        let _ = write!(
            answer.headers,
            "Content-Range: bytes {begin}-{}/{len}\r\n",
            len - 1
        );
        answer.body.drain(..begin);
    }
    if let Some(Wrong::Damage) = wrong {
        answer.body[0] ^= 1;
    }
    let len = answer.body.len();
    match wrong {
        _ if method == "HEAD" => answer.body.clear(),
        Some(Wrong::Cut { after }) => answer.body.truncate(after),
        _ => (),
    }
    state.seen.push(Seen {
        host,
        method,
        path,
        begin,
        token,
        sent: answer.body.len(),
    });
    drop(state);
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {} .\r\n{}Content-Length: {len}\r\nConnection: close\r\n\r\n",
        answer.status, answer.headers
    )?;
    stream.write_all(&answer.body)
}

/// The failure of this request, if one is left; `is_body` is true for the contents of an LFS file.
fn take_trouble(
    troubles: &mut [Trouble],
    path: &str,
    begin: Option<usize>,
    is_body: bool,
) -> Option<Wrong> {
    let trouble = troubles.iter_mut().find(|trouble| {
        let is_meant = match trouble.what {
            Wrong::Status { .. } => true,
            Wrong::Cut { .. } | Wrong::Damage => is_body,
            Wrong::IgnoreRange => is_body && begin.is_some(),
        };
        is_meant && trouble.times > 0 && path.contains(&trouble.path)
    })?;
    trouble.times -= 1;
    Some(trouble.what.clone())
}

/// The answer of the hub itself.
fn hub(state: &State, path: &str, token: Option<&str>, cdn: u16) -> Answer {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let path = path.replace("%2F", "/").replace("%20", " ");
    let parts: Vec<&str> = path[1..].split('/').collect();
    let is_api = parts[0] == "api";
    let kind = match parts[usize::from(is_api)..] {
        ["datasets", ..] => "datasets",
        _ => "models",
    };
    if let ["api", "models" | "datasets"] = parts[..] {
        return search(state, kind, query);
    }
    let prefix = usize::from(is_api) + usize::from(is_api || kind == "datasets");
    let rest = &parts[prefix..];
    let Some(at) = rest
        .iter()
        .position(|part| ["revision", "tree", "resolve"].contains(part))
    else {
        return Answer::error(404, "", "no such page");
    };
    let id = rest[..at].join("/");
    let repository = state.repositories.get(&format!("{kind}/{id}"));
    let may_see =
        |repository: &&Repository| !repository.is_private || repository.gate.as_deref() == token;
    let Some(repository) = repository.filter(may_see) else {
        // The real hub does not tell unknown users which repositories exist.
        return match token {
            None => Answer::error(401, "RepoNotFound", "Repository not found"),
            Some("hf_wrong") => {
                Answer::error(401, "", "Invalid credentials in Authorization header")
            }
            Some(_) => Answer::error(404, "RepoNotFound", "Repository not found"),
        };
    };
    let revision = rest[at + 1];
    let commits = &repository.commits;
    let found = match revision {
        "main" => commits.last(),
        _ => commits.iter().find(|(commit, _)| commit == revision),
    };
    let Some((commit, files)) = found else {
        return Answer::error(404, "RevisionNotFound", "Invalid rev id");
    };
    match rest[at] {
        "revision" => Answer::new(
            200,
            JSON,
            format!(r#"{{"_id":"1","id":"{id}","sha":"{commit}"}}"#),
        ),
        "tree" => tree(files),
        _ => {
            let name = rest[at + 2..].join("/");
            let Some(bytes) = files.get(&name) else {
                return Answer::error(404, "EntryNotFound", "Entry not found");
            };
            match &repository.gate {
                Some(gate) if token.is_none() && !gate.is_empty() => {
                    return Answer::error(
                        401,
                        "GatedRepo",
                        "Access to this repository is restricted",
                    );
                }
                Some(gate) if token != Some(gate) => {
                    return Answer::error(403, "GatedRepo", "Your request awaits a review");
                }
                _ => (),
            }
            let mut headers = format!("X-Repo-Commit: {commit}\r\nAccept-Ranges: bytes\r\n");
            if !is_lfs(&name) {
                let _ = write!(headers, "ETag: \"{}\"\r\n", git_id(bytes));
                return Answer::new(200, headers, bytes.clone());
            }
            let (sha256, len) = (hex(&Sha256::digest(bytes)), bytes.len());
            let _ = write!(
                headers,
                "X-Linked-ETag: \"{sha256}\"\r\nX-Linked-Size: {len}\r\n\
                 Location: http://127.0.0.1:{cdn}/{kind}/{id}/{commit}/{name}?signature=s3cret\r\n"
            );
            Answer::new(302, headers, "")
        }
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

/// The answer of the second host: the contents of an LFS file, by repository, commit and name.
fn contents(state: &State, path: &str) -> Answer {
    let path = path.split('?').next().unwrap_or_default();
    for (key, repository) in &state.repositories {
        for (commit, files) in &repository.commits {
            let name = path.strip_prefix(&format!("/{key}/{commit}/"));
            if let Some(bytes) = name.and_then(|name| files.get(name)) {
                return Answer::new(
                    200,
                    "ETag: \"other\"\r\nAccept-Ranges: bytes\r\n",
                    bytes.clone(),
                );
            }
        }
    }
    Answer::new(404, "", "")
}

fn search(state: &State, kind: &str, query: &str) -> Answer {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value)
    };
    let ids = state.repositories.iter().filter_map(|(key, repository)| {
        let id = key.strip_prefix(kind)?.strip_prefix('/')?;
        let is_found = value("search").is_none_or(|text| id.contains(text))
            && value("author").is_none_or(|text| id.starts_with(&format!("{text}/")));
        (is_found && !repository.is_private).then(|| format!(r#"{{"_id":"1","id":"{id}"}}"#))
    });
    let ids: Vec<String> = ids.collect();
    Answer::new(200, JSON, format!("[{}]", ids.join(",")))
}

fn tree(files: &Files) -> Answer {
    let entries = files.iter().map(|(path, bytes)| {
        let (name, size) = (serde_json::json!(path), bytes.len());
        if !is_lfs(path) {
            let id = git_id(bytes);
            return format!(r#"{{"type":"file","oid":"{id}","size":{size},"path":{name}}}"#);
        }
        let sha256 = hex(&Sha256::digest(bytes));
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        );
        let (id, pointer_size) = (git_id(pointer.as_bytes()), pointer.len());
        format!(
            r#"{{"type":"file","oid":"{id}","size":{size},"path":{name},
                "lfs":{{"oid":"{sha256}","size":{size},"pointerSize":{pointer_size}}}}}"#
        )
    });
    let entries: Vec<String> = entries.collect();
    Answer::new(200, JSON, format!("[{}]", entries.join(",")))
}

fn is_lfs(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, extension)| LFS.contains(&extension))
}

fn git_id(bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
