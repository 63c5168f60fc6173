//! The cache for results that a later run can compute again: the reference's log-probs, and the measured choice
//! of the fastest kernels. Every file in it may be deleted.

use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::ops;

/// The beginning of a key for results of the shaders: the shaders' text and this crate's version.
pub(crate) fn key() -> Sha256 {
    let mut hash = Sha256::new();
    for source in ops::sources() {
        hash.update(source);
    }
    hash.update(env!("CARGO_PKG_VERSION"));
    hash
}

/// A hash of the kernels and this crate's version, in hex.
pub(crate) fn kernels() -> String {
    hex(key().finalize())
}

/// Finishes a key and returns it as a file name.
pub(crate) fn file_name(hash: Sha256, stem: &str, extension: &str) -> String {
    format!("{stem}-{}.{extension}", hex(hash.finalize()))
}
