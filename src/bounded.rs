//! Reads files of settings whole, if they are no larger than such files are.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most bytes of a file of settings: config.json, run.toml, a chat template. Parsed, JSON takes up to some 30 times
/// its size.
pub(crate) const SETTINGS: u64 = 8 << 20;

/// The most bytes of a file that lists a vocabulary or a model's tensors. The largest in use have some 35 MiB.
pub(crate) const LISTS: u64 = 128 << 20;

/// The bytes of a file.
///
/// # Errors
/// Of the kind `FileTooLarge` if it has more than `most`; every error of the file system.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let what = format!(
            "it has more than {} MiB, which no such file needs",
            most >> 20
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// The text of a file.
///
/// # Errors
/// As [`read`], and of the kind `InvalidData` if the file is not UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, most)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_size_is_read_and_a_larger_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "four").unwrap();
        assert_eq!(read(file.path(), 4).unwrap(), b"four");
        let error = read(file.path(), 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
