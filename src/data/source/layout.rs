//! Recognizes how records lie in a JSON text, and finds where each begins and ends.

use std::io::BufRead;
use std::ops::Range;

use super::scan::{is_space, value_length};

/// The range of a record within a chunk of text.
pub(super) struct Span {
    pub bytes: Range<usize>,
    /// The line in the file, from 1.
    pub line: usize,
    /// Bytes before the record on its line.
    pub column: usize,
}

/// Why the text from here on is not a sequence of records.
#[derive(Debug)]
pub(super) struct Fault {
    pub line: usize,
    pub what: &'static str,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One record a line. A broken line does not affect the others.
    Lines,
    /// Objects one after another, each over any number of lines.
    Objects,
    /// The items of one array.
    Array(Expected),
}

/// What comes next in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Opening,
    FirstItem,
    Item,
    Separator,
    Nothing,
}

impl Layout {
    /// The layout of the text that begins with `head`.
    ///
    /// The first line tells objects over several lines: it ends where no complete record can end.
    pub fn of(head: &[u8]) -> Layout {
        let text = head.trim_ascii_start();
        if text.starts_with(b"[") {
            return Layout::Array(Expected::Opening);
        }
        let Some(end) = text.iter().position(|&byte| byte == b'\n') else {
            return Layout::Lines;
        };
        let line = text[..end].trim_ascii_end();
        let goes_on = matches!(line.last(), Some(b'{' | b'[' | b','));
        if goes_on && value_length(line).is_none() {
            Layout::Objects
        } else {
            Layout::Lines
        }
    }

    /// Appends to `found` the records that end in the cursor's text and moves the cursor behind them. `ended`
    /// says that no text follows.
    pub fn split(
        &mut self,
        cursor: &mut Cursor,
        ended: bool,
        found: &mut Vec<Span>,
    ) -> Result<(), Fault> {
        match self {
            Layout::Lines => lines(cursor, ended, found),
            Layout::Objects => objects(cursor, ended, found),
            Layout::Array(expected) => return array(expected, cursor, ended, found),
        }
        Ok(())
    }
}

fn lines(cursor: &mut Cursor, ended: bool, found: &mut Vec<Span>) {
    loop {
        let mut rest = cursor.rest();
        // Reading from memory cannot fail.
        let length = rest.skip_until(b'\n').unwrap_or_default();
        let line = &cursor.rest()[..length];
        let content = line.strip_suffix(b"\n");
        if content.is_none() && !(ended && length > 0) {
            return;
        }
        let content = content.unwrap_or(line);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if !content.trim_ascii_start().is_empty() {
            found.push(cursor.span(content.len()));
        }
        cursor.advance(length);
    }
}

fn objects(cursor: &mut Cursor, ended: bool, found: &mut Vec<Span>) {
    while cursor.peek().is_some() && cursor.take_value(ended, found) {}
}

fn array(
    expected: &mut Expected,
    cursor: &mut Cursor,
    ended: bool,
    found: &mut Vec<Span>,
) -> Result<(), Fault> {
    use Expected::{FirstItem, Item, Nothing, Opening, Separator};
    let fault = |cursor: &Cursor, what, help| {
        let line = cursor.line;
        Err(Fault { line, what, help })
    };
    let between = "put a comma between two records, and `]` after the last";
    while let Some(byte) = cursor.peek() {
        *expected = match (*expected, byte) {
            (Opening, b'[') => FirstItem,
            (FirstItem | Separator, b']') => Nothing,
            (Separator, b',') => Item,
            (FirstItem | Item, _) => {
                if !cursor.take_value(ended, found) {
                    return Ok(());
                }
                *expected = Separator;
                continue;
            }
            (Opening | Separator, _) => {
                let what = "neither `,` nor `]` after a record of the array";
                return fault(cursor, what, between);
            }
            (Nothing, _) => {
                let help = "a file is one array of objects, or one object a line";
                return fault(cursor, "something follows the end of the array", help);
            }
        };
        cursor.advance(1);
    }
    if ended && *expected != Nothing {
        let help = "the file may be cut off: get or write it again; if it is whole, put `]` after the last record";
        return fault(cursor, "the array is never closed", help);
    }
    Ok(())
}

/// A position in a chunk of text, with its line in the file.
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    /// The start of the line in `text`; 0 if the line begins before `text`.
    line_start: usize,
    /// Bytes of the line before `text`.
    before: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `text`, which begins behind `column` bytes of line `line`.
    pub fn new(text: &'a [u8], line: usize, column: usize) -> Self {
        Cursor {
            text,
            at: 0,
            line,
            line_start: 0,
            before: column,
        }
    }

    /// The number of bytes passed.
    pub fn passed(&self) -> usize {
        self.at
    }

    pub fn line(&self) -> usize {
        self.line
    }

    /// Bytes before the cursor on its line.
    pub fn column(&self) -> usize {
        self.before + self.at - self.line_start
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn advance(&mut self, length: usize) {
        let passed = &self.text[self.at..self.at + length];
        if let Some(newline) = passed.iter().rposition(|&byte| byte == b'\n') {
            self.line += passed.iter().filter(|&&byte| byte == b'\n').count();
            self.line_start = self.at + newline + 1;
            self.before = 0;
        }
        self.at += length;
    }

    /// Moves to the next byte that is not white space and returns it.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.rest();
        let space = rest.iter().position(|&byte| !is_space(byte));
        self.advance(space.unwrap_or(rest.len()));
        self.text.get(self.at).copied()
    }

    /// Takes the JSON value at the cursor, where no white space is. If `ended` and the value is incomplete, takes the
    /// whole rest. Returns false if more text is needed.
    fn take_value(&mut self, ended: bool, found: &mut Vec<Span>) -> bool {
        let left = || {
            let last = self.rest().iter().rposition(|&byte| !is_space(byte))?;
            ended.then_some(last + 1)
        };
        let Some(length) = value_length(self.rest()).or_else(left) else {
            return false;
        };
        found.push(self.span(length));
        self.advance(length);
        true
    }

    fn span(&self, length: usize) -> Span {
        Span {
            bytes: self.at..self.at + length,
            line: self.line,
            column: self.column(),
        }
    }
}
