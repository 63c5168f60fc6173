//! Hashes as text.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Bytes that are hashed at once.
const BLOCK: usize = 1 << 16;

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Adds a list of ids: its length, then the ids.
pub(crate) fn add_ids(hash: &mut Sha256, ids: &[u32]) {
    hash.update((ids.len() as u64).to_le_bytes());
    for id in ids {
        hash.update(id.to_le_bytes());
    }
}

/// The hash in hex of what `hash` has seen and then of everything that `input` gives.
pub(crate) fn hex_of<H: Digest>(mut hash: H, input: &mut impl Read) -> io::Result<String> {
    let mut block = vec![0; BLOCK];
    loop {
        match input.read(&mut block)? {
            0 => return Ok(hex(hash.finalize())),
            count => hash.update(&block[..count]),
        }
    }
}
