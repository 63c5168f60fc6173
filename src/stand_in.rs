//! Recognizes files that a failed download left in place of the real file.

use std::path::Path;

use crate::error::{Error, Result};

/// The first bytes of every Git LFS pointer, in all versions of its specification.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The first bytes of a web page, in lower case.
const WEB_PAGE: [&[u8]; 2] = [b"<!doctype html", b"<html"];

/// Refuses a Git LFS pointer or a web page. A parser would only report a syntax error. `bytes` is the file or
/// its beginning.
///
/// # Errors
/// [`Error::File`] for such a file.
pub(crate) fn refuse(path: &Path, bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(LFS_POINTER) {
        return Err(Error::file(
            path,
            "a Git LFS pointer: the repository was cloned without Git LFS, and the file itself is not here",
            "run `git lfs install` and `git lfs pull` in the clone; or name the repository in place of the \
             clone, as in `.model` openai-community/gpt2, and it is downloaded",
        ));
    }
    let begins = |with: &&[u8]| {
        let start = bytes.trim_ascii_start().get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    if WEB_PAGE.iter().any(begins) {
        return Err(Error::file(
            path,
            "a web page, not the file that the page is about",
            "download the file itself, on the Hugging Face Hub from an address with /resolve/ in place of \
             /blob/; or name the repository, as in `.model` openai-community/gpt2, and it is downloaded",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> Option<String> {
        let refused = refuse(Path::new("model.safetensors"), bytes);
        refused.err().map(|error| error.to_string())
    }

    #[test]
    fn a_pointer_says_what_it_is_and_both_ways_out() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\n\
            oid sha256:248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707\n\
            size 548105171\n";
        let text = refusal(pointer).unwrap();
        for expected in [
            "model.safetensors: a Git LFS pointer",
            "`git lfs pull`",
            "`.model` openai-community/gpt2",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_web_page_says_what_it_is() {
        for page in ["<!DOCTYPE html>\n<html>", "\n<html lang=\"en\">"] {
            let text = refusal(page.as_bytes()).unwrap();
            assert!(
                text.contains("a web page") && text.contains("/resolve/"),
                "{text}"
            );
        }
    }

    #[test]
    fn everything_else_passes() {
        for bytes in [
            &b""[..],
            b"{}",
            b"<|endoftext|>",
            b"version 1",
            b"<htm",
            b"\xff",
        ] {
            assert_eq!(refusal(bytes), None);
        }
    }
}
