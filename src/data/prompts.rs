//! A file of prompts: one user's message a line.

use std::path::Path;

use crate::bounded;
use crate::error::{Error, Result};
use crate::words::unescape;

/// Reads the messages of a file, one a line, `\n` in it as a newline. Empty lines are passed over.
///
/// # Errors
/// [`Error::Io`] if it cannot be read; [`Error::File`] if it has no message.
pub fn read_prompts(path: &Path) -> Result<Vec<String>> {
    let text =
        bounded::read_text(path, bounded::SETTINGS).map_err(|e| Error::io("read", path, e))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let prompts: Vec<String> = lines.map(unescape).collect();
    match prompts.is_empty() {
        true => Err(Error::file(
            path,
            "no line with a message",
            "write one message a line",
        )),
        false => Ok(prompts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prompts.txt");
        std::fs::write(&path, "Hello?\r\n\n two \\n lines\n").unwrap();
        assert_eq!(read_prompts(&path).unwrap(), ["Hello?", " two \n lines"]);
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(read_prompts(&path), Err(Error::File { .. })));
        assert!(matches!(
            read_prompts(&dir.path().join("none")),
            Err(Error::Io { .. })
        ));
    }
}
