//! Where the records are in a file's text: one a line, or in one array.

use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};

use crate::error::{Error, Result};

/// The text of one record and where it begins.
pub(super) struct Source<'a> {
    pub text: &'a str,
    /// 1-based.
    pub line: usize,
    /// Bytes before it on its line.
    column: usize,
}

impl Source<'_> {
    pub fn json(&self, path: &Path) -> Result<Value> {
        serde_json::from_str(self.text).map_err(|error| self.malformed(path, &error))
    }

    /// The error of a JSON parser that was given this text, placed in the file.
    fn malformed(&self, path: &Path, error: &serde_json::Error) -> Error {
        let before = if error.line() == 1 { self.column } else { 0 };
        let column = before + error.column();
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        Error::data(
            path,
            self.line + error.line().saturating_sub(1),
            format!("not JSON: {reason} at column {column}"),
            "write one JSON object a line, or the whole file as one array of objects",
        )
    }
}

/// Finds the records of a file: the items of an array if it begins with `[`, else its lines.
/// Blank lines and a byte order mark are skipped.
pub(super) fn split<'a>(text: &'a str, path: &Path) -> Result<Vec<Source<'a>>> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    if text.trim_start().starts_with('[') {
        return array(text, path);
    }
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let sources = lines.map(|(at, text)| Source {
        text,
        line: at + 1,
        column: 0,
    });
    Ok(sources.collect())
}

fn array<'a>(text: &'a str, path: &Path) -> Result<Vec<Source<'a>>> {
    let mut sources = Vec::new();
    let mut cursor = Cursor {
        text,
        offset: 0,
        line: 1,
        line_start: 0,
    };
    cursor.take('[');
    if !cursor.take(']') {
        loop {
            let rest = cursor.source();
            let mut items = Deserializer::from_str(rest.text).into_iter::<IgnoredAny>();
            match items.next() {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(rest.malformed(path, &error)),
                None => return Err(cursor.unclosed(path)),
            }
            let length = items.byte_offset();
            cursor.advance(length);
            sources.push(Source {
                text: &rest.text[..length],
                ..rest
            });
            if cursor.take(']') {
                break;
            }
            if !cursor.take(',') {
                return Err(cursor.unclosed(path));
            }
        }
    }
    cursor.skip_space();
    if cursor.offset < text.len() {
        let what = "something follows the end of the array";
        let help = "a file is one array of objects, or one object a line";
        return Err(Error::data(path, cursor.line, what, help));
    }
    Ok(sources)
}

/// A place in a text that knows its line.
struct Cursor<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
    /// Offset at which the line begins.
    line_start: usize,
}

impl<'a> Cursor<'a> {
    fn advance(&mut self, length: usize) {
        let end = self.offset + length;
        let passed = &self.text[self.offset..end];
        self.line += passed.matches('\n').count();
        if let Some(newline) = passed.rfind('\n') {
            self.line_start = self.offset + newline + 1;
        }
        self.offset = end;
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.offset..];
        self.advance(rest.len() - rest.trim_start().len());
    }

    /// Steps over `wanted` and the space around it, if it comes next.
    fn take(&mut self, wanted: char) -> bool {
        self.skip_space();
        let found = self.text[self.offset..].starts_with(wanted);
        if found {
            self.advance(wanted.len_utf8());
            self.skip_space();
        }
        found
    }

    /// The rest of the text.
    fn source(&self) -> Source<'a> {
        Source {
            text: &self.text[self.offset..],
            line: self.line,
            column: self.offset - self.line_start,
        }
    }

    fn unclosed(&self, path: &Path) -> Error {
        let what = if self.offset == self.text.len() {
            "the array is never closed"
        } else {
            "neither `,` nor `]` after a record of the array"
        };
        let help = "put a comma between two records, and `]` after the last";
        Error::data(path, self.line, what, help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, &str)> {
        let sources = split(text, Path::new("d")).unwrap();
        sources.iter().map(|s| (s.line, s.text)).collect()
    }

    fn error(text: &str) -> String {
        let parsed = split(text, Path::new("d")).and_then(|sources| {
            let values = sources.iter().map(|source| source.json(Path::new("d")));
            values.collect::<Result<Vec<_>>>()
        });
        parsed.unwrap_err().to_string()
    }

    #[test]
    fn lines() {
        assert_eq!(found("\u{FEFF}{}\r\n\n  \n{1}"), [(1, "{}"), (4, "{1}")]);
        assert_eq!(found(" \n"), []);
    }

    #[test]
    fn arrays() {
        let text = "\u{FEFF}\n[{}, {\"a\":\r\n[1]} ,\n\n {\"b\": \"]\"}\n]\n";
        let b = "{\"b\": \"]\"}";
        assert_eq!(found(text), [(2, "{}"), (2, "{\"a\":\r\n[1]}"), (5, b)]);
        assert_eq!(found("[ ]"), []);
    }

    #[test]
    fn malformed_json_is_placed_in_the_file() {
        let text = error("{}\n{\"a\": nope}");
        assert!(
            text.starts_with("d:2: not JSON: expected ident at column 8"),
            "{text}"
        );
        let text = error("{\n \"a\": 1\n}");
        assert!(text.starts_with("d:1: not JSON: EOF"), "{text}");
        let text = error("[{},\n  {}, {\"a\" 1}]");
        assert!(
            text.starts_with("d:2: not JSON: expected `:` at column 12"),
            "{text}"
        );
        let text = error("[{},\n  {\n\"a\": 1,}]");
        assert!(
            text.starts_with("d:3: not JSON: key must be a string at column 8"),
            "{text}"
        );
        assert!(error("[{},]").starts_with("d:1: not JSON: expected value"));
    }

    #[test]
    fn broken_arrays() {
        assert!(error("[{}\n{}]").starts_with("d:2: neither `,` nor `]`"));
        assert!(error("[{},\n").starts_with("d:2: the array is never closed"));
        assert!(error("[").starts_with("d:1: the array is never closed"));
        assert!(error("[{}]\n{}").starts_with("d:2: something follows"));
    }
}
