//! Every way a run can fail, as one typed error.
//!
//! A message says what is wrong, where (path, line, tensor, option), what was
//! expected, and what to do about it.
//!
//! A message names an option as a field of the struct that holds it: `.batch_size`, in backticks. A program may
//! write its own name for it there, as the command line does with its flags.

use std::fmt;
use std::path::{Path, PathBuf};

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an [`Error::Option`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A field of a struct of options, or an argument of this name.
    Field(&'static str),
    /// An environment variable, or the file that stands in for one.
    Environment(String),
    /// Something that no option names, for example a token id.
    Input(&'static str),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Setting::Field(name) => write!(f, "`.{name}`"),
            Setting::Environment(name) => f.write_str(name),
            Setting::Input(name) => f.write_str(name),
        }
    }
}

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
        /// The option at fault.
        option: Setting,
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
        fault: Fault,
        /// What is wrong.
        what: String,
        /// What to do about it.
        help: String,
    },

    /// There is no such device, or it cannot do what it is asked to.
    #[error("{what}\n  help: {help}")]
    Device {
        /// What it cannot do, and which device.
        what: String,
        /// What to do about it.
        help: String,
    },

    /// A device has no room for a buffer, or binds none that is so large. A smaller micro-batch may fit.
    #[error("{what}\n  help: {help}")]
    OutOfMemory {
        /// Which buffer, on which device, and how much room there is.
        what: String,
        /// Bytes of the buffer, or of all buffers where the driver does not tell which.
        bytes: usize,
        /// What to do about it.
        help: String,
    },

    /// The device is gone: reset by the operating system, unplugged, or its driver crashed.
    #[error(
        "{what}\n  help: run again; lower `.batch_size` if the driver ended work that took too long, update \
         the driver, or use `.device` cpu"
    )]
    Lost {
        /// What the driver says, and on which device.
        what: String,
    },

    /// The driver refused a call as not valid, or failed at it: a fault of the driver or of this crate.
    #[error(
        "{what}\n  help: update the driver, or use `.device` cpu; `gpt2-dpo selftest` tells whether the \
         device can be trusted"
    )]
    Refused {
        /// What the driver says, and on which device.
        what: String,
    },

    /// The operation was asked to stop, and stopped where it can be gone on with.
    #[error("stopped on request")]
    Interrupted,

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
    /// The hub failed, or its answer makes no sense.
    Server,
    /// The connection broke during a download; the received bytes are kept.
    Interrupted,
    /// The downloaded file differs from the file that the hub lists.
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

impl Fault {
    /// True if the cached copy may be used instead, because the hub did not answer.
    #[cfg(feature = "hub")]
    pub(crate) fn is_passing(self) -> bool {
        matches!(
            self,
            Fault::Unreachable | Fault::RateLimited | Fault::Server
        )
    }
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
        field: &'static str,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Error::Option {
            option: Setting::Field(field),
            what: what.into(),
            help: help.into(),
        }
    }

    pub(crate) fn environment(
        variable: impl Into<String>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Error::Option {
            option: Setting::Environment(variable.into()),
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

    /// The message without the help, for a note.
    pub fn brief(&self) -> String {
        let text = self.to_string();
        text.split_once("\n  help: ")
            .map_or(text.clone(), |(what, _)| what.to_owned())
    }

    /// True if a smaller micro-batch may fit.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Error::OutOfMemory { .. })
    }

    pub(crate) fn out_of_memory(what: impl Into<String>, words: usize) -> Self {
        Error::OutOfMemory {
            what: what.into(),
            bytes: size_of::<u32>() * words,
            help: "lower `.batch_size` or the token budgets, or use a device with more memory: `.device` cpu has \
                   the machine's"
                .into(),
        }
    }

    pub(crate) fn too_large(label: &str, words: usize, limit: usize) -> Self {
        let what = format!(
            "{label} needs {} KiB in one buffer, more than the device's {} KiB",
            (4 * words) >> 10,
            limit >> 10
        );
        Error::out_of_memory(what, words)
    }
}
