//! What can go wrong with the hub.

use super::place::Reference;
use crate::error::Error;

/// The kind of a failure to get something from the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not in the cache, and nothing may be asked.
    Offline,
    /// No answer: no network, no such host, nobody listening, or silence.
    Unreachable,
    /// No such repository, or a private one.
    NoRepo,
    /// The repository has no such branch, tag or commit.
    NoRevision,
    /// The repository has no such file.
    NoFile,
    /// The data set has no such split or config, or several and none was named.
    NoSplit,
    /// The repository is gated or private, and the token is missing, wrong or not accepted.
    Denied,
    /// Too many requests.
    RateLimited,
    /// The hub failed, or answered what makes no sense.
    Server,
    /// The connection broke during a download; what came is kept.
    Interrupted,
    /// What was downloaded is not what the hub lists.
    Checksum,
    /// The cache's disk is full.
    NoRoom,
    /// The hub lists a file whose name leads out of the cache.
    Unsafe,
    /// The repository is there, but holds nothing that is read here.
    NotReadable,
    /// The library is built without its feature `hub`.
    NotBuilt,
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
}
