//! Models and data sets by their ids, against a hub on this computer: the requests, the cache, and the errors.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::hub_server::{Host, HubServer, Seen};
use gpt2_dpo::Error;
use gpt2_dpo::hub::{self, Fault, Progress, Settings, Token};
use tempfile::TempDir;

const MODEL: &str = "lab/tiny";
const DATA: &str = "lab/pairs";

/// A hub, an empty cache, and the settings that connect them.
struct World {
    server: HubServer,
    cache: TempDir,
    settings: Settings,
}

impl World {
    fn new() -> Self {
        let server = HubServer::start();
        let cache = tempfile::tempdir().unwrap();
        let settings = Settings {
            endpoint: server.endpoint(),
            cache: cache.path().to_owned(),
            token: None,
            offline: false,
            pause: Duration::from_millis(1),
        };
        World {
            server,
            cache,
            settings,
        }
    }

    /// A hub with the model that most tests use.
    fn with_model() -> Self {
        let world = World::new();
        world.server.model(MODEL, &model_files(1));
        world
    }

    fn with_token(mut self, token: &str) -> Self {
        self.settings.token = Some(Token::new(token));
        self
    }

    fn offline(mut self) -> Self {
        self.settings.offline = true;
        self
    }

    fn model(&self) -> Result<PathBuf, Error> {
        hub::model(MODEL, &self.settings, &mut |_| ())
    }

    /// The names of a split's files, without the path up to the commit.
    fn data(&self, text: &str) -> Result<Vec<String>, Error> {
        self.data_and_notes(text).0
    }

    fn data_and_notes(&self, text: &str) -> (Result<Vec<String>, Error>, Vec<String>) {
        let mut notes = Vec::new();
        let paths = hub::data(text, &self.settings, &mut |progress| {
            if let Progress::Note(note) = progress {
                notes.push(note);
            }
        });
        let name = |path: PathBuf| {
            assert!(path.is_file(), "{}", path.display());
            let path = path.to_str().unwrap().to_owned();
            let (_, path) = path.split_once("/snapshots/").unwrap();
            path[41..].to_owned()
        };
        (
            paths.map(|paths| paths.into_iter().map(name).collect()),
            notes,
        )
    }

    /// A failure's kind and text; `HUB` replaces the server's address and `CACHE` the cache's path.
    fn failure<T>(&self, result: Result<T, Error>) -> (Option<Fault>, String) {
        let error = result.err().expect("a failure");
        let fault = match &error {
            Error::Hub { fault, .. } => Some(*fault),
            _ => None,
        };
        let cache = self.cache.path().to_str().unwrap();
        let text = error.to_string();
        (
            fault,
            text.replace(&self.settings.endpoint, "HUB")
                .replace(cache, "CACHE"),
        )
    }

    #[track_caller]
    fn expect<T>(&self, result: Result<T, Error>, fault: Fault, text: &str) {
        let (found, all) = self.failure(result);
        assert_eq!((found, all.as_str()), (Some(fault), text));
    }

    /// The paths of all files in the cache.
    fn kept(&self) -> Vec<String> {
        let mut kept = Vec::new();
        let mut folders = vec![self.cache.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for item in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match item.file_type().unwrap().is_dir() {
                    true => folders.push(item.path()),
                    false => {
                        let path = item.path();
                        let path = path.strip_prefix(self.cache.path()).unwrap();
                        kept.push(path.to_str().unwrap().to_owned());
                    }
                }
            }
        }
        kept.sort();
        kept
    }
}

/// Pseudo-random bytes, the same for the same seed.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(next).collect()
}

const WEIGHTS_LEN: usize = 300_000;

fn model_files(version: u8) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("README.md", b"# Tiny".to_vec()),
        (
            "config.json",
            format!("{{\"version\": {version}}}").into_bytes(),
        ),
        ("flax_model.msgpack", b"not read".to_vec()),
        ("model.safetensors", noise(WEIGHTS_LEN, 1)),
        ("onnx/model.safetensors", b"not read".to_vec()),
        ("pytorch_model.bin", b"not read".to_vec()),
        ("tokenizer.json", b"{}".to_vec()),
    ]
}

fn requests(seen: &[Seen]) -> Vec<String> {
    let line = |seen: &Seen| {
        let path = seen.path.split('?').next().unwrap();
        format!("{} {path}", seen.method)
    };
    seen.iter().map(line).collect()
}

fn sent_weights(seen: &[Seen]) -> Vec<(Option<usize>, usize)> {
    let bodies = seen
        .iter()
        .filter(|seen| seen.host == Host::Cdn && seen.method == "GET");
    bodies.map(|seen| (seen.begin, seen.sent)).collect()
}

#[test]
fn a_model_comes_whole_and_only_what_is_read_of_it() {
    let world = World::new();
    let commit = world.server.model(MODEL, &model_files(1));
    let mut progress = Vec::new();
    let folder = hub::model(MODEL, &world.settings, &mut |event| {
        progress.push(match event {
            Progress::Download { file, done, total } => format!("{file} {done}/{total}"),
            Progress::Note(note) => note,
        });
    })
    .unwrap();
    for (name, bytes) in model_files(1) {
        let is_read = ["config.json", "model.safetensors", "tokenizer.json"].contains(&name);
        assert_eq!(
            fs::read(folder.join(name)).ok(),
            is_read.then_some(bytes),
            "{name}"
        );
    }
    let repository = world.cache.path().join("models--lab--tiny");
    assert_eq!(folder, repository.join("snapshots").join(&commit));
    assert_eq!(
        fs::read_to_string(repository.join("refs/main")).unwrap(),
        commit
    );
    assert!(
        progress.contains(&"tokenizer.json 2/2".to_owned()),
        "{progress:?}"
    );
    assert!(progress.contains(&"model.safetensors 300000/300000".to_owned()));
    assert_eq!(
        progress.last().unwrap(),
        &format!("lab/tiny: commit {commit}")
    );
}

#[test]
fn what_is_cached_costs_one_request_and_a_commit_none() {
    let world = World::new();
    let commit = world.server.model(MODEL, &model_files(1));
    let folder = world.model().unwrap();
    world.server.take_seen();
    assert_eq!(world.model().unwrap(), folder);
    let asked = requests(&world.server.take_seen());
    assert_eq!(asked, ["GET /api/models/lab/tiny/revision/main"]);
    let by_commit = format!("{MODEL}@{commit}");
    assert_eq!(
        hub::model(&by_commit, &world.settings, &mut |_| ()).unwrap(),
        folder
    );
    assert_eq!(requests(&world.server.take_seen()), [""; 0]);
}

#[test]
fn a_commit_upstream_brings_only_what_changed() {
    let world = World::with_model();
    let old = world.model().unwrap();
    world.server.take_seen();
    world.server.model(MODEL, &model_files(2));
    let new = world.model().unwrap();
    assert_ne!(new, old);
    assert_eq!(
        fs::read(new.join("config.json")).unwrap(),
        b"{\"version\": 2}"
    );
    assert_eq!(
        fs::read(old.join("config.json")).unwrap(),
        b"{\"version\": 1}"
    );
    assert_eq!(
        fs::read(new.join("model.safetensors")).unwrap().len(),
        WEIGHTS_LEN
    );
    assert_eq!(sent_weights(&world.server.take_seen()), []);
}

#[test]
fn a_broken_connection_goes_on_where_it_broke() {
    let world = World::with_model();
    world.server.cut("model.safetensors", 1, 100_000);
    let folder = world.model().unwrap();
    assert_eq!(
        fs::read(folder.join("model.safetensors")).unwrap(),
        noise(WEIGHTS_LEN, 1)
    );
    let sent = sent_weights(&world.server.take_seen());
    assert_eq!(sent, [(None, 100_000), (Some(100_000), 200_000)]);
}

#[test]
fn a_run_goes_on_where_an_earlier_one_ended() {
    let world = World::with_model();
    world.server.cut("model.safetensors", 1, 100_000);
    world.server.cut("model.safetensors", 4, 0);
    let (fault, text) = world.failure(world.model());
    assert_eq!(fault, Some(Fault::Interrupted));
    assert!(
        text.starts_with(
            "lab/tiny: model.safetensors: broken off at 100000 of 300000 bytes: the connection"
        ),
        "{text}"
    );
    assert!(text.ends_with("what came is kept: run the same again, and it goes on from there"));
    assert!(!text.contains("s3cret"), "{text}");
    assert!(!world.cache.path().join("models--lab--tiny/refs").exists());
    world.server.take_seen();

    let folder = world.model().unwrap();
    assert_eq!(
        fs::read(folder.join("model.safetensors")).unwrap(),
        noise(WEIGHTS_LEN, 1)
    );
    assert_eq!(
        sent_weights(&world.server.take_seen()),
        [(Some(100_000), 200_000)]
    );
    assert!(
        !world
            .kept()
            .iter()
            .any(|path| path.ends_with(".incomplete"))
    );
}

#[test]
fn a_server_without_ranges_and_a_damaged_rest_are_overcome() {
    let world = World::with_model();
    world.server.cut("model.safetensors", 1, 100_000);
    world.server.ignore_range("model.safetensors", 1);
    let folder = world.model().unwrap();
    assert_eq!(
        fs::read(folder.join("model.safetensors")).unwrap(),
        noise(WEIGHTS_LEN, 1)
    );
    for trouble in [HubServer::ignore_range, HubServer::damage] {
        let world = World::with_model();
        world.server.cut("model.safetensors", 1, 100_000);
        world.server.cut("model.safetensors", 4, 0);
        world.model().unwrap_err();
        trouble(&world.server, "model.safetensors", 1);
        let folder = world.model().unwrap();
        assert_eq!(
            fs::read(folder.join("model.safetensors")).unwrap(),
            noise(WEIGHTS_LEN, 1)
        );
    }
}

#[test]
fn what_is_not_what_is_listed_is_not_kept() {
    let world = World::with_model();
    world.server.damage("model.safetensors", 1);
    world.expect(
        world.model(),
        Fault::Checksum,
        "lab/tiny: model.safetensors: what came is not what the hub lists (its checksum differs)\n  \
         help: run the same again; if it persists, a proxy or mirror on the way changes files: check \
         HF_ENDPOINT and HTTPS_PROXY",
    );
    let folder = world.model().unwrap();
    assert_eq!(
        fs::read(folder.join("model.safetensors")).unwrap(),
        noise(WEIGHTS_LEN, 1)
    );
}

#[test]
fn offline_the_cache_is_all_there_is() {
    let world = World::with_model().offline();
    let nothing = "lab/tiny: revision main of lab/tiny is not in the cache, and HF_HUB_OFFLINE forbids to \
                   ask the hub\n  help: unset HF_HUB_OFFLINE (and TRANSFORMERS_OFFLINE) once with a \
                   network, or give a path";
    world.expect(world.model(), Fault::Offline, nothing);
    let mut online = world;
    online.settings.offline = false;
    let folder = online.model().unwrap();
    online.server.take_seen();
    let world = online.offline();
    assert_eq!(world.model().unwrap(), folder);
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let (fault, text) = world.failure(world.model());
    assert_eq!(fault, Some(Fault::Offline));
    assert!(
        text.starts_with("lab/tiny: model.safetensors is not in the cache"),
        "{text}"
    );
    assert_eq!(requests(&world.server.take_seen()), [""; 0]);
}

#[test]
fn where_nobody_answers_the_cache_stands_in_and_says_so() {
    let mut world = World::with_model();
    let folder = world.model().unwrap();
    // A port that was free a moment ago, so nothing answers there.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    world.settings.endpoint = format!("http://127.0.0.1:{port}");
    let mut notes = Vec::new();
    let found = hub::model(MODEL, &world.settings, &mut |progress| {
        if let Progress::Note(note) = progress {
            notes.push(note);
        }
    });
    assert_eq!(found.unwrap(), folder);
    let note = format!("lab/tiny: cannot reach http://127.0.0.1:{port}: ");
    assert!(notes[0].starts_with(&note) && notes[0].contains("; read from the cache, at commit "));

    let (fault, text) = world.failure(hub::model("lab/other", &world.settings, &mut |_| ()));
    assert_eq!(fault, Some(Fault::Unreachable));
    assert!(text.starts_with("lab/other: cannot reach HUB: "), "{text}");
    assert!(text.contains("refused"), "{text}");

    world.settings.endpoint = "http://no-such-host.invalid".to_owned();
    let (fault, text) = world.failure(hub::model("lab/other", &world.settings, &mut |_| ()));
    assert_eq!(fault, Some(Fault::Unreachable));
    assert!(
        text.contains("cannot reach HUB: its name is not known (DNS): "),
        "{text}"
    );
}

#[test]
fn a_passing_failure_is_tried_again() {
    let world = World::with_model();
    world.server.fail("/revision/main", 2, 500, "");
    world.server.fail("config.json", 1, 503, "");
    world.model().unwrap();
}

#[test]
fn failures_that_stay_say_what_to_do() {
    let world = World::with_model();
    world.server.fail(
        "/revision/main",
        5,
        500,
        "X-Error-Message: database asleep\r\n",
    );
    world.expect(
        world.model(),
        Fault::Server,
        "lab/tiny: HUB failed (status 500: database asleep)\n  help: try again later: what came is kept; \
         https://status.huggingface.co tells of failures",
    );
    world
        .server
        .fail("/revision/main", 5, 429, "Retry-After: 30\r\n");
    world.expect(
        world.model(),
        Fault::RateLimited,
        "lab/tiny: HUB allows no more requests for now\n  help: wait 30 seconds and run the same again: \
         what came is kept; with a token (HF_TOKEN) the hub allows more",
    );
    world.server.fail("/tree/", 1, 200, "");
    let (fault, text) = world.failure(world.model());
    assert_eq!(fault, Some(Fault::Server));
    assert!(
        text.starts_with("lab/tiny: HUB gave an answer that makes no sense: "),
        "{text}"
    );
}

#[test]
fn a_name_that_is_not_there_gets_a_near_one() {
    let world = World::with_model();
    world.server.model("lab/tiny-chat", &model_files(1));
    world.server.model("other/tiny", &model_files(1));
    let ask = |text: &str| hub::model(text, &world.settings, &mut |_| ());
    world.expect(
        ask("lab/tinny"),
        Fault::NoRepo,
        "lab/tinny: HUB has no model lab/tinny, or a private one; nor is it a path here\n  help: check the \
         name; near it are: lab/tiny",
    );
    world.expect(
        ask("third/tiny"),
        Fault::NoRepo,
        "third/tiny: HUB has no model third/tiny, or a private one; nor is it a path here\n  help: check \
         the name; near it are: other/tiny, lab/tiny",
    );
    world.expect(
        ask("nothing"),
        Fault::NoRepo,
        "nothing: HUB has no model nothing, or a private one; nor is it a path here\n  help: check the \
         name; for a private one, set HF_TOKEN",
    );
    world.expect(
        ask("lab/tiny@v9"),
        Fault::NoRevision,
        "lab/tiny@v9: lab/tiny has no revision \"v9\"\n  help: its branches and tags are listed at \
         HUB/lab/tiny/tree/main",
    );
}

#[test]
fn gated_and_private_models_ask_for_a_token() {
    let world = World::with_model();
    world.server.gate("models/lab/tiny", "hf_right");
    world.expect(
        world.model(),
        Fault::Denied,
        "lab/tiny: the model is gated or private, and no token is set: Access to this repository is \
         restricted\n  help: accept its conditions at HUB/lab/tiny, make a token at HUB/settings/tokens, \
         and set HF_TOKEN to it",
    );
    let world = world.with_token("hf_other");
    world.expect(
        world.model(),
        Fault::Denied,
        "lab/tiny: the model is gated or private, and the token is not accepted: Your request awaits a \
         review\n  help: accept its conditions at HUB/lab/tiny with the account that the token is of; a \
         fine-grained token must also be allowed to read gated repositories",
    );
    world.with_token("hf_right").model().unwrap();

    let world = World::with_model().with_token("hf_wrong");
    world.server.hide("models/lab/tiny", "hf_right");
    world.expect(
        world.model(),
        Fault::Denied,
        "lab/tiny: HUB does not know the token\n  help: check HF_TOKEN, or the file `token` in HF_HOME: it \
         may be cut off, revoked or of another hub",
    );
    world.with_token("hf_right").model().unwrap();
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let world = World::with_model().with_token("hf_secret");
    world.server.gate("models/lab/tiny", "hf_secret");
    world.model().unwrap();
    let seen = world.server.take_seen();
    assert!(seen.iter().any(|seen| seen.host == Host::Cdn));
    for request in &seen {
        let expected = (request.host == Host::Hub).then_some("hf_secret");
        assert_eq!(request.token.as_deref(), expected, "{request:?}");
    }
    let world = World::with_model();
    world.model().unwrap();
    assert!(
        world
            .server
            .take_seen()
            .iter()
            .all(|seen| seen.token.is_none())
    );
}

/// Runs the test before this one in a process with a token in its environment, where the client also looks.
#[test]
fn a_token_that_the_settings_do_not_have_is_not_sent() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_token_goes_to_the_hub_alone"])
        .env("HF_TOKEN", "hf_environment")
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn no_message_holds_the_token() {
    for status in [400, 401, 403, 404, 429, 500] {
        let world = World::with_model().with_token("hf_secret");
        let headers = "X-Error-Message: bad hf_secret\r\n";
        world.server.fail("/revision/main", 5, status, headers);
        let error = world.model().unwrap_err();
        let text = format!("{error} {error:?} {:?}", world.settings);
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_listing_that_leads_out_of_the_cache_is_refused() {
    for name in [
        "../outside",
        "/outside",
        "a/../../outside",
        r"..\outside",
        "a//b",
        "nul\0",
        "./x",
        "",
    ] {
        let world = World::new();
        let mut files = model_files(1);
        files.push((name, b"x".to_vec()));
        world.server.model(MODEL, &files);
        let text = format!(
            "lab/tiny: lab/tiny lists a file {name:?}, which could be written outside the cache\n  help: \
             nothing of it was downloaded; tell the hub, and use another repository"
        );
        world.expect(world.model(), Fault::Unsafe, &text);
        assert_eq!(world.kept(), [""; 0]);
        let seen = requests(&world.server.take_seen());
        assert!(
            !seen.iter().any(|line| line.contains("resolve")),
            "{seen:?}"
        );
    }
}

#[test]
fn weights_in_shards_come_with_their_index() {
    let index = |last: &str| {
        format!(r#"{{"weight_map": {{"a": "model-1-of-2.safetensors", "b": "{last}"}}}}"#)
            .into_bytes()
    };
    let files = |last: &str| {
        vec![
            ("config.json", b"{}".to_vec()),
            ("model.safetensors.index.json", index(last)),
            ("model-1-of-2.safetensors", noise(10, 1)),
            ("model-2-of-2.safetensors", noise(10, 2)),
            ("model-3-of-2.safetensors", noise(10, 3)),
        ]
    };
    let world = World::new();
    world
        .server
        .model(MODEL, &files("model-2-of-2.safetensors"));
    let folder = world.model().unwrap();
    assert!(folder.join("model-2-of-2.safetensors").exists());
    assert!(!folder.join("model-3-of-2.safetensors").exists());
    world.server.model(MODEL, &files("model-9.safetensors"));
    world.expect(
        world.model(),
        Fault::NotReadable,
        "lab/tiny: model.safetensors.index.json names model-9.safetensors, which lab/tiny does not have\n  \
         help: name another revision (@REVISION), or another model",
    );
}

#[test]
fn repositories_without_safetensors_are_called_what_they_are() {
    let world = World::new();
    let cases: [(&[&str], &str); 4] = [
        (
            &["config.json", "pytorch_model.bin"],
            "the weights are a Python pickle (pytorch_model.bin), which is not read here",
        ),
        (
            &["adapter_config.json", "adapter_model.safetensors"],
            "an adapter (adapter_model.safetensors), not a whole model",
        ),
        (
            &["model.gguf"],
            "not a model of transformers with config.json and model.safetensors; it has model.gguf",
        ),
        (
            &["model.safetensors", "params.json"],
            "not a model of transformers with config.json and model.safetensors; it has \
             model.safetensors, params.json",
        ),
    ];
    for (names, what) in cases {
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &b"x"[..])).collect();
        world.server.model(MODEL, &files);
        let (fault, text) = world.failure(world.model());
        assert_eq!(fault, Some(Fault::NotReadable));
        assert!(text.starts_with(&format!("lab/tiny: {what}\n")), "{text}");
        assert!(
            !requests(&world.server.take_seen())
                .iter()
                .any(|line| line.contains("resolve"))
        );
    }
}

/// The layout of UltraFeedback, with a split in two shards.
fn ultrafeedback() -> Vec<(&'static str, Vec<u8>)> {
    let readme = "---\nlanguage:\n- en\nconfigs:\n- config_name: default\n  data_files:\n  \
                  - split: train_prefs\n    path: data/train_prefs-*\n  \
                  - split: test_prefs\n    path: data/test_prefs-*\n---\n# UltraFeedback\n";
    vec![
        (".gitattributes", b"*.parquet filter=lfs".to_vec()),
        ("README.md", readme.as_bytes().to_vec()),
        ("data/test_prefs-00000-of-00001.parquet", noise(100, 1)),
        ("data/train_prefs-00000-of-00002.parquet", noise(100, 2)),
        ("data/train_prefs-00001-of-00002.parquet", noise(100, 3)),
    ]
}

#[test]
fn a_split_is_its_shards_in_order() {
    let world = World::new();
    let commit = world.server.dataset(DATA, &ultrafeedback());
    let (files, notes) = world.data_and_notes("lab/pairs:train_prefs");
    let expected = [
        "data/train_prefs-00000-of-00002.parquet",
        "data/train_prefs-00001-of-00002.parquet",
    ];
    assert_eq!(files.unwrap(), expected);
    assert_eq!(
        notes,
        [format!(
            "lab/pairs:train_prefs: train_prefs, 2 files, commit {commit}"
        )]
    );
    let sent = sent_weights(&world.server.take_seen());
    assert_eq!(sent, [(None, 100), (None, 100)]);
    let by_config = world.data("lab/pairs@main:default:test_prefs").unwrap();
    assert_eq!(by_config, ["data/test_prefs-00000-of-00001.parquet"]);
}

#[test]
fn splits_that_are_not_there_are_answered_with_those_that_are() {
    let world = World::new();
    world.server.dataset(DATA, &ultrafeedback());
    world.expect(
        world.data("lab/pairs:train_pref"),
        Fault::NoSplit,
        "lab/pairs:train_pref: lab/pairs has no split train_pref\n  help: write :train_prefs? Its splits \
         are: train_prefs, test_prefs",
    );
    world.expect(
        world.data(DATA),
        Fault::NoSplit,
        "lab/pairs: lab/pairs has several splits, none of them called train\n  help: write one behind the \
         id, as lab/pairs:train_prefs; they are: train_prefs, test_prefs",
    );
    world.expect(
        world.data("lab/pairs:en:train_prefs"),
        Fault::NoSplit,
        "lab/pairs:en:train_prefs: lab/pairs has no config en\n  help: write lab/pairs:CONFIG:SPLIT; its \
         configs are: default",
    );
    world.server.dataset(
        DATA,
        &[
            (
                "README.md",
                "---\nconfigs:\n- config_name: a\n- config_name: b\n---\n",
            ),
            ("train.jsonl", "{}"),
        ],
    );
    world.expect(
        world.data(DATA),
        Fault::NoSplit,
        "lab/pairs: lab/pairs has several configs and no default\n  help: write lab/pairs:CONFIG:SPLIT; \
         its configs are: a, b",
    );
    world.server.dataset(
        DATA,
        &[
            ("README.md", "---\nconfigs: 3\n---\n"),
            ("train.jsonl", "{}"),
        ],
    );
    let (fault, text) = world.failure(world.data(DATA));
    assert_eq!(fault, Some(Fault::NotReadable));
    assert!(
        text.contains("README.md does not declare its files as it should: configs: "),
        "{text}"
    );
}

#[test]
fn without_a_split_the_only_one_or_train_is_read() {
    let world = World::new();
    world.server.dataset(
        DATA,
        &[("some.jsonl", "{}"), ("README.md", "# No front matter")],
    );
    assert_eq!(world.data(DATA).unwrap(), ["some.jsonl"]);
    world
        .server
        .dataset(DATA, &[("test.jsonl", "{}"), ("train.jsonl", "{}")]);
    let (files, notes) = world.data_and_notes(DATA);
    assert_eq!(files.unwrap(), ["train.jsonl"]);
    assert_eq!(
        notes[0],
        "lab/pairs: its split train is read, of: train, test"
    );
}

#[test]
fn files_and_folders_in_a_repository() {
    let world = World::new();
    let files = [
        (
            "README.md",
            "---\nconfigs:\n- config_name: x\n  data_files: none.csv\n---\n",
        ),
        ("helpful/train.jsonl", "{}"),
        ("helpful/test.jsonl", "{}"),
        ("harmless/train.jsonl", "{} "),
    ];
    world.server.dataset(DATA, &files);
    assert_eq!(
        world.data("lab/pairs/helpful/test.jsonl").unwrap(),
        ["helpful/test.jsonl"]
    );
    assert_eq!(
        world.data("lab/pairs/helpful:test").unwrap(),
        ["helpful/test.jsonl"]
    );
    assert_eq!(
        world.data("lab/pairs/harmless").unwrap(),
        ["harmless/train.jsonl"]
    );
    world.expect(
        world.data("lab/pairs/helpful/tests.jsonl"),
        Fault::NoFile,
        "lab/pairs/helpful/tests.jsonl: lab/pairs has no file or folder helpful/tests.jsonl; nor is it a \
         path here\n  help: near it are: helpful/test.jsonl",
    );
    world.expect(
        world.data("lab/pairs/zzz"),
        Fault::NoFile,
        "lab/pairs/zzz: lab/pairs has no file or folder zzz; nor is it a path here\n  help: its files are: \
         README.md, harmless/train.jsonl, helpful/test.jsonl, helpful/train.jsonl",
    );
    let (fault, text) = world.failure(world.data("lab/pairs/helpful/test.jsonl:train"));
    assert_eq!(fault, None);
    assert!(text.starts_with("`.data`: lab/pairs/helpful/test.jsonl:train: a file has no splits"));
    world.expect(
        world.data(DATA),
        Fault::NotReadable,
        "lab/pairs: its README.md declares train, but no file matches\n  help: parquet, JSONL and JSON are \
         read, also with gzip or zstd: convert it, in Python: datasets.load_dataset(\"ID\", \
         split=\"SPLIT\").to_parquet(\"FILE.parquet\")",
    );
}

#[test]
fn formats_that_are_not_read_are_named() {
    let world = World::new();
    world.server.dataset(
        DATA,
        &[
            ("train.jsonl", "{}"),
            ("train-2.jsonl", "{}"),
            ("train.csv", "a"),
        ],
    );
    let (files, notes) = world.data_and_notes(DATA);
    assert_eq!(files.unwrap(), ["train-2.jsonl", "train.jsonl"]);
    assert_eq!(
        notes[0],
        "lab/pairs: not read, for its other format: train.csv"
    );
    world.server.dataset(DATA, &[("train.csv", "a")]);
    let (fault, text) = world.failure(world.data(DATA));
    assert_eq!(fault, Some(Fault::NotReadable));
    assert!(
        text.starts_with("lab/pairs: train is in a format that is not read: train.csv\n"),
        "{text}"
    );
    world.server.dataset(DATA, &[("pictures/a.png", "x")]);
    let (_, text) = world.failure(world.data(DATA));
    assert!(
        text.starts_with("lab/pairs: no data in lab/pairs; it has pictures/a.png\n"),
        "{text}"
    );
}

#[test]
fn offline_a_split_is_whole_or_refused() {
    let world = World::new();
    world.server.dataset(DATA, &ultrafeedback());
    world.data("lab/pairs:test_prefs").unwrap();
    let world = world.offline();
    assert_eq!(world.data("lab/pairs:test_prefs").unwrap().len(), 1);
    let (fault, text) = world.failure(world.data("lab/pairs:train_prefs"));
    assert_eq!(fault, Some(Fault::Offline));
    assert!(
        text.starts_with(
            "lab/pairs:train_prefs: data/train_prefs-00000-of-00002.parquet is not in"
        )
    );

    // A cache that another program left: no listing, and one shard of two.
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repository = world.cache.path().join("datasets--lab--other");
    let data = repository.join("snapshots").join(commit).join("data");
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), commit).unwrap();
    fs::write(data.join("train-00000-of-00002.parquet"), "x").unwrap();
    let (fault, text) = world.failure(world.data("lab/other"));
    assert_eq!(fault, Some(Fault::Offline));
    assert!(
        text.starts_with("lab/other: 1 of the 2 shards of train is not in the cache"),
        "{text}"
    );
    fs::write(data.join("train-00001-of-00002.parquet"), "x").unwrap();
    let (files, notes) = world.data_and_notes("lab/other");
    assert_eq!(files.unwrap().len(), 2);
    assert_eq!(
        notes[0],
        "lab/other: another program filled the cache, which does not tell whether these 2 files are all"
    );
    assert_eq!(
        requests(&world.server.take_seen())
            .last()
            .unwrap()
            .split(' ')
            .next(),
        Some("GET")
    );
}

#[test]
fn two_programs_at_once_download_once() {
    let world = World::with_model();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| world.model().unwrap());
        }
    });
    let sent = sent_weights(&world.server.take_seen());
    assert_eq!(sent, [(None, WEIGHTS_LEN)]);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let world = World::with_model();
    let taken = world.cache.path().join("taken");
    fs::write(&taken, "").unwrap();
    let mut settings = world.settings.clone();
    settings.cache = taken.clone();
    let error = hub::model(MODEL, &settings, &mut |_| ()).unwrap_err();
    assert!(
        matches!(error, Error::Io { action: "write", ref path, .. } if Path::new(path) == taken)
    );
}
