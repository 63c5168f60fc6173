//! Hashes as text.

use std::io::{self, Read};

use sha2::Digest;

/// Bytes that are hashed at once.
const BLOCK: usize = 1 << 16;

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
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
