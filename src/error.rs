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
        /// The failed action, as a verb: `read`, `create`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },

    /// A line of a file cannot be used: a preference pair, or a merge of a tokenizer.
    #[error("{}:{line}: {what}\n  help: {help}", path.display())]
    Data {
        /// The file's path or name.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with the line.
        what: String,
        /// What to do about it.
        help: String,
    },

    /// A whole file or directory is unusable: config.json, a tokenizer, a data file, a file of options, an
    /// output directory.
    #[error("{}: {what}\n  help: {help}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        help: String,
    },

    /// A tensor is missing, unknown, misshapen, of an unreadable type, or holds NaN or infinity.
    #[error("{}: tensor `{tensor}`: {what}\n  help: {help}", path.display())]
    Tensor {
        /// The safetensors file, or the index that names it.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// What is wrong with the tensor.
        what: String,
        /// What to do about it.
        help: String,
    },

    /// The value of an option or argument cannot be used, alone or with the other options.
    #[error("{option}: {what}\n  help: {help}")]
    Option {
        /// The flag, as in `--beta`, or the argument at fault.
        option: String,
        /// Why its value cannot be used.
        what: String,
        /// What to do about it.
        help: String,
    },

    /// A model, data set or file of the Hugging Face Hub is not available, now or at all.
    #[error("{name}: {what}\n  help: {help}")]
    Hub {
        /// The name of the model, data set or file.
        name: String,
        /// The kind of failure.
        fault: crate::hub::Fault,
        /// What is wrong.
        what: String,
        /// What to do about it.
        help: String,
    },

    /// There is no such device, or it failed, or it lacks the memory for a request.
    #[error("{what}\n  help: {help}")]
    Device {
        /// What failed, and on which device.
        what: String,
        /// What to do about it.
        help: String,
    },

    /// A number that must be finite is NaN or infinite: a loss, a gradient, a weight, a log-prob or a
    /// logit. No parameter has been updated with a gradient that is not finite.
    #[error("step {step}: {what}\n  help: {help}")]
    NotFinite {
        /// The optimizer step, from 1; 0 before the first step. In generation, the number of the new token.
        step: u64,
        /// Which number is not finite.
        what: String,
        /// What to do about it.
        help: String,
    },
}

impl Error {
    /// Wraps an I/O error with the action (`"read"`, `"create"`, …) and the path.
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
                "{label} needs {} KiB in one buffer, more than the device's {} KiB",
                (4 * words) >> 10,
                limit >> 10
            ),
            "lower --batch-size or the token budgets",
        )
    }
}
