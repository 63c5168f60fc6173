//! The failures of requests to the hub, each with advice.

use std::io;
use std::path::Path;

use hf_hub::HFError;

use super::place::{Kind, Reference};
use super::settings::Settings;
use crate::error::Error;

/// The kind of a failed request to the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The cache lacks the file, and requests are forbidden.
    Offline,
    /// The hub does not answer: no network, an unknown host, a refused connection, or silence.
    Unreachable,
    /// The repository does not exist, or it is private.
    NoRepo,
    /// The repository has no such branch, tag or commit.
    NoRevision,
    /// The repository has no such file.
    NoFile,
    /// The data set has no such split or config, or it has several and the name selects none.
    NoSplit,
    /// The repository is gated or private, and the token is missing, wrong or not accepted.
    Denied,
    /// The hub refuses more requests for now.
    RateLimited,
    /// The hub failed, or its answer is invalid.
    Server,
    /// The connection broke during a download. The received bytes are kept.
    Interrupted,
    /// The downloaded contents differ from the hub's checksum.
    Checksum,
    /// The cache's disk is full.
    NoRoom,
    /// The hub lists a file whose path leads out of the cache.
    Unsafe,
    /// The repository exists, but it holds no files in a supported format.
    NotReadable,
}

impl Fault {
    /// True if the cache may stand in for the hub: the hub gave no answer to the question itself.
    pub(super) fn is_passing(self) -> bool {
        matches!(
            self,
            Fault::Unreachable | Fault::RateLimited | Fault::Server
        )
    }
}

impl Reference {
    pub(super) fn fault(
        &self,
        fault: Fault,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Error {
        Error::Hub {
            name: self.text.clone(),
            fault,
            what: what.into(),
            help: help.into(),
        }
    }

    /// The address of the repository's web page.
    pub(super) fn page(&self, settings: &Settings) -> String {
        match self.kind {
            Kind::Model => format!("{}/{}", settings.endpoint, self.id),
            Kind::Dataset => format!("{}/datasets/{}", settings.endpoint, self.id),
        }
    }

    /// Converts an error of the client.
    pub(super) fn explain(&self, error: HFError, settings: &Settings) -> Error {
        let endpoint = &settings.endpoint;
        let retry_after = match &error {
            HFError::RateLimited { retry_after, .. } => *retry_after,
            _ => None,
        };
        let context = match error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context }
            | HFError::RateLimited { context, .. } => context,
            HFError::RepoNotFound {
                context: Some(context),
                ..
            }
            | HFError::RevisionNotFound {
                context: Some(context),
                ..
            }
            | HFError::EntryNotFound {
                context: Some(context),
                ..
            } => context,
            HFError::Request { source, .. } if source.is_connect() || source.is_timeout() => {
                // The address is not shown: its query may hold a signature.
                return self.unreachable(endpoint, &root(&source.without_url()));
            }
            HFError::Request { source, .. } if !is_json(&source) => {
                let what = format!("the connection broke: {}", root(&source.without_url()));
                return self.fault(Fault::Unreachable, what, "try again");
            }
            HFError::Xet { source, .. } => {
                let what = format!("the connection broke: {}", root(&*source));
                return self.fault(Fault::Unreachable, what, "try again");
            }
            HFError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                return self.unreachable(endpoint, "no answer for a minute");
            }
            other => {
                let what = match other {
                    HFError::Request { source, .. } => root(&source.without_url()),
                    other => other.to_string(),
                };
                return self.fault(
                    Fault::Server,
                    format!("{endpoint} gave an answer that makes no sense: {what}"),
                    "if HF_ENDPOINT is set, check that it is the address of a hub; else try again later",
                );
            }
        };
        let status = context.status.as_u16();
        let code = context.error_code.as_deref().unwrap_or_default();
        let mut said = context.server_message.clone().unwrap_or_default();
        if let Some(token) = &settings.token {
            said = said.replace(token.secret(), "…");
        }
        match (status, code) {
            (404, "RevisionNotFound") => self.fault(
                Fault::NoRevision,
                format!("{} has no revision {:?}", self.id, self.revision()),
                format!("its branches and tags are listed at {}/tree/main", self.page(settings)),
            ),
            (404, "EntryNotFound") => self.fault(
                Fault::NoFile,
                format!("a file that {} lists is not there", self.id),
                "try again: the repository may just have changed",
            ),
            (401, "GatedRepo") | (403, _) => self.denied(settings, &said),
            (401, _) if settings.token.is_some() && code != "RepoNotFound" => self.fault(
                Fault::Denied,
                format!("{endpoint} does not know the token"),
                "check HF_TOKEN, or the file `token` in HF_HOME: it may be cut off, revoked or of another hub",
            ),
            (401 | 404, _) => self.no_repo(settings, &[]),
            (429, _) => {
                let wait = retry_after.map_or("some minutes".to_owned(), |wait| {
                    format!("{} seconds", wait.as_secs())
                });
                let token = match settings.token {
                    Some(_) => "",
                    None => "; with a token (HF_TOKEN) the hub allows more",
                };
                self.fault(
                    Fault::RateLimited,
                    format!("{endpoint} allows no more requests for now"),
                    format!("wait {wait} and run the same again: what came is kept{token}"),
                )
            }
            _ => self.fault(
                Fault::Server,
                format!("{endpoint} failed (status {status}{})", detail(&said)),
                "try again later: what came is kept; https://status.huggingface.co tells of failures",
            ),
        }
    }

    pub(super) fn offline(&self, what: &str) -> Error {
        self.fault(
            Fault::Offline,
            format!("{what} is not in the cache, and HF_HUB_OFFLINE forbids to ask the hub"),
            "unset HF_HUB_OFFLINE (and TRANSFORMERS_OFFLINE) once with a network, or give a path",
        )
    }

    fn unreachable(&self, endpoint: &str, cause: &str) -> Error {
        self.fault(
            Fault::Unreachable,
            format!("cannot reach {endpoint}: {cause}"),
            "check the network, a proxy (HTTPS_PROXY) and HF_ENDPOINT, or the path, if one is meant: there is \
             none of this name here",
        )
    }

    fn denied(&self, settings: &Settings, said: &str) -> Error {
        let (what, page) = (self.kind.noun(), self.page(settings));
        let help = match settings.token {
            None => format!(
                "accept its conditions at {page}, make a token at {}/settings/tokens, and set HF_TOKEN to it",
                settings.endpoint
            ),
            Some(_) => format!(
                "accept its conditions at {page} with the account that the token is of; a fine-grained \
                 token must also be allowed to read gated repositories"
            ),
        };
        let token = match settings.token {
            None => "no token is set",
            Some(_) => "the token is not accepted",
        };
        self.fault(
            Fault::Denied,
            format!(
                "the {what} is gated or private, and {token}{}",
                detail(said)
            ),
            help,
        )
    }

    /// The error for a missing repository. `near` holds the ids of similar repositories.
    pub(super) fn no_repo(&self, settings: &Settings, near: &[String]) -> Error {
        let Reference { id, kind, .. } = self;
        let noun = kind.noun();
        let what = match settings.token {
            None => format!(
                "{} has no {noun} {id}, or a private one; nor is it a path here",
                settings.endpoint
            ),
            Some(_) => format!(
                "{} has no {noun} {id} that the token may see; nor is it a path here",
                settings.endpoint
            ),
        };
        let help = match (near, &settings.token) {
            ([], None) => "check the name; for a private one, set HF_TOKEN".to_owned(),
            ([], Some(_)) => "check the name, and whose token it is".to_owned(),
            (near, _) => format!("check the name; near it are: {}", near.join(", ")),
        };
        self.fault(Fault::NoRepo, what, help)
    }

    /// The error for a failed write at `path` in the cache.
    pub(super) fn disk(&self, error: io::Error, path: &Path) -> Error {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => self.fault(
                Fault::NoRoom,
                format!("no room to write {}: {error}", path.display()),
                "make room, or set HF_HOME to a directory on a larger disk; what came is kept",
            ),
            _ => Error::io("write", path, error),
        }
    }
}

fn detail(said: &str) -> String {
    let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    match said.is_empty() {
        true => said,
        false => format!(": {said}"),
    }
}

/// True if the error comes from parsing an answer as JSON.
fn is_json(error: &dyn std::error::Error) -> bool {
    error
        .source()
        .is_some_and(|source| source.is::<serde_json::Error>() || is_json(source))
}

/// The root cause of an error. An unknown host name is reported as such.
fn root(error: &dyn std::error::Error) -> String {
    let mut chain = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        chain.push(error.to_string());
        next = error.source();
    }
    let is_dns = chain.iter().any(|text| text.contains("dns error"));
    let cause = chain.pop().unwrap_or_default();
    match is_dns {
        true => format!("its name is not known (DNS): {cause}"),
        false => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::{Place, find};
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures_to_write() {
        let Ok(Place::Hub(reference)) = find("org/name", Kind::Model) else {
            panic!("an id");
        };
        let path = Path::new("/cache/blobs/x");
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let text = reference.disk(kind.into(), path).to_string();
            assert!(
                text.starts_with("org/name: no room to write /cache/blobs/x: "),
                "{text}"
            );
            assert!(text.ends_with(
                "help: make room, or set HF_HOME to a directory on a larger disk; what came is kept"
            ));
        }
        let error = reference.disk(io::ErrorKind::PermissionDenied.into(), path);
        assert!(
            matches!(
                error,
                Error::Io {
                    action: "write",
                    ..
                }
            ),
            "{error}"
        );
    }
}
