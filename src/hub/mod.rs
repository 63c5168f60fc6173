//! Fetches models and data sets of the [Hugging Face Hub](https://huggingface.co) by their ids, through the
//! cache that all libraries of Hugging Face share.
//!
//! # The meaning of a name
//!
//! 1. Local data comes first: an existing file or folder, a pattern (`*`, `?`, `[`), or `-`.
//! 2. A name that looks like a path never leads to a request, so a typing error in a path stays an error. A
//!    name looks like a path if it begins with `.`, `/` or `~`, ends with `/`, contains a backslash, is a file
//!    name (`x.jsonl`, `dir/x.jsonl`, `model.safetensors`), or begins with an existing folder.
//! 3. Every other name is an id: `ORG/NAME` or `NAME`. A name with `@REVISION` (a branch, tag or commit) is
//!    always an id.
//!
//! `:SPLIT` or `:CONFIG:SPLIT` may follow a data set's id. The id may go on with a file or folder in the
//! repository: `ORG/NAME/path/to/file.jsonl`. Without `:SPLIT`, the only split is read, else the split `train`.
//!
//! # The downloaded files
//!
//! Of a model, the configs, the tokenizer's files and the safetensors; of a data set, README.md and the
//! split's files. Each is checked by the id that git gives it, which for large files holds the SHA-256.
//! A download that breaks off is kept, and the next one resumes it. A commit whose listing and files are in the
//! cache costs no request; a branch costs one.
//!
//! Without the feature `hub` there is no client, and an id is refused.

#[cfg(not(feature = "hub"))]
mod absent;
mod address;
#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod dataset;
#[cfg(feature = "hub")]
mod explain;
mod fault;
#[cfg(feature = "hub")]
mod http;
#[cfg(feature = "hub")]
mod model;
#[cfg_attr(not(feature = "hub"), allow(dead_code))] // the client asks for more of a name
mod name;
#[cfg_attr(not(feature = "hub"), allow(dead_code))] // the client asks for more of a name
mod place;
mod settings;
#[cfg(feature = "hub")]
mod splits;

#[cfg(not(feature = "hub"))]
pub use self::absent::{data, model, model_outline};
#[cfg(feature = "hub")]
pub use self::dataset::data;
#[cfg(feature = "hub")]
pub use self::model::{model, model_outline};
pub use self::settings::{Environment, Settings, Token};
pub use crate::error::Fault;

/// An event during a download, for the user to see.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The progress of one file's download.
    Download {
        /// The file's path in the repository.
        file: &'a str,
        /// Bytes received so far, earlier attempts included.
        done: u64,
        /// Size of the file in bytes.
        total: u64,
    },
    /// A line to print.
    Note(String),
}

/// Those of the names whose last part is nearest to that of `wanted`, at most three, the nearest first.
#[cfg(feature = "hub")]
fn near(wanted: &str, names: impl IntoIterator<Item = String>) -> Vec<String> {
    const MOST: usize = 3;
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let wanted_last = last(wanted);
    let bound = (wanted_last.chars().count() / 3).max(1);
    let mut near: Vec<(usize, usize, String)> = names
        .into_iter()
        .map(|name| {
            let by_last = strsim::damerau_levenshtein(&wanted_last, &last(&name));
            (by_last, strsim::damerau_levenshtein(wanted, &name), name)
        })
        .filter(|(by_last, ..)| *by_last <= bound)
        .collect();
    near.sort();
    near.into_iter().take(MOST).map(|(.., name)| name).collect()
}

/// Some of the names, and how many more there are.
#[cfg(feature = "hub")]
fn several<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 8;
    let names: Vec<T> = names.into_iter().collect();
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len() - shown.len() {
        0 if shown.is_empty() => "no files".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
