//! Where things are kept between runs that can be made anew: the reference's log-probs, and which
//! kernels were measured to be fastest. Deleting any of it is harmless.

use sha2::{Digest, Sha256};

use crate::ops;

/// The beginning of a key for what these shaders compute: their text and this crate's version.
pub(crate) fn key() -> Sha256 {
    let mut hash = Sha256::new();
    for source in ops::sources() {
        hash.update(source);
    }
    hash.update(env!("CARGO_PKG_VERSION"));
    hash
}

/// The end of such a key, as a file's name.
pub(crate) fn file_name(hash: Sha256, stem: &str, extension: &str) -> String {
    let digest = hash.finalize();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{stem}-{hex}.{extension}")
}
