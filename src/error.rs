//! Every way a run can fail, as one typed error.
//!
//! A message says what is wrong, where (path, line, tensor, option), what was
//! expected, and what to do about it.

use std::path::{Path, PathBuf};

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation of this library failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be read, written or created.
    #[error(
        "cannot {action} {}: {source}\n  help: check the path, its permissions and the room on its disk",
        path.display()
    )]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },

    /// A line of a data file is not a usable preference pair.
    #[error("{}:{line}: {what}\n  help: {help}", path.display())]
    Data {
        path: PathBuf,
        line: usize,
        what: String,
        help: String,
    },

    /// A file as a whole is not what it should be: a model's config.json, a data file, a fixture.
    #[error("{}: {what}\n  help: {help}", path.display())]
    File {
        path: PathBuf,
        what: String,
        help: String,
    },

    /// A tensor is missing, misshapen, of an unreadable type, or holds NaN or infinity.
    #[error("{}: tensor `{tensor}`: {what}\n  help: {help}", path.display())]
    Tensor {
        path: PathBuf,
        tensor: String,
        what: String,
        help: String,
    },

    /// An option's value cannot be used, alone or beside the others.
    #[error("{option}: {what}\n  help: {help}")]
    Option {
        option: String,
        what: String,
        help: String,
    },

    /// No such device, or the device failed or cannot hold what it is asked to.
    #[error("{what}\n  help: {help}")]
    Device { what: String, help: String },

    /// Loss or gradients are no longer finite. The weights are those of the last good step.
    #[error("step {step}: {what}\n  help: {help}")]
    NotFinite {
        step: u64,
        what: String,
        help: String,
    },
}

impl Error {
    /// Wraps an I/O error with what was being done (`"read"`, `"create"`, …) and to which path.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io {
            action,
            path: path.into(),
            source,
        }
    }

    pub(crate) fn data(
        path: &Path,
        line: usize,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Error::Data {
            path: path.to_owned(),
            line,
            what: what.into(),
            help: help.into(),
        }
    }

    pub(crate) fn file(path: &Path, what: impl Into<String>, help: impl Into<String>) -> Self {
        Error::File {
            path: path.to_owned(),
            what: what.into(),
            help: help.into(),
        }
    }

    pub(crate) fn tensor(
        path: &Path,
        tensor: &str,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Error::Tensor {
            path: path.to_owned(),
            tensor: tensor.to_owned(),
            what: what.into(),
            help: help.into(),
        }
    }

    pub(crate) fn option(
        option: impl Into<String>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Error::Option {
            option: option.into(),
            what: what.into(),
            help: help.into(),
        }
    }

    pub(crate) fn device(what: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Device {
            what: what.into(),
            help: help.into(),
        }
    }

    pub(crate) fn too_large(label: &str, words: usize, limit: usize) -> Self {
        Error::device(
            format!(
                "{label} needs {} MiB in one buffer, more than the device's {} MiB",
                (4 * words) >> 20,
                limit >> 20
            ),
            "lower --batch-size or the token budgets",
        )
    }
}
