//! How records lie in a JSON text, and where each begins and ends.

use std::io::BufRead;
use std::ops::Range;

use super::scan::{is_space, value_length};

/// A record within a piece of text.
pub(super) struct Span {
    pub bytes: Range<usize>,
    /// 1-based, in the file.
    pub line: usize,
    /// Bytes before it on its line.
    pub column: usize,
}

/// Why a text is no sequence of records from here on.
#[derive(Debug)]
pub(super) struct Fault {
    pub line: usize,
    pub what: &'static str,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One record a line. A broken one spoils no other.
    Lines,
    /// One after another, over as many lines as they like.
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
    /// Objects over several lines are told by the first line: it ends where no complete record can.
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

    /// Puts the records that end in the cursor's text into `found` and moves the cursor behind them;
    /// `ended`: no text follows.
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
        // In memory it cannot fail.
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

/// A place in a piece of text that knows its line in the file.
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    /// Where in `text` the line begins, 0 if before it.
    line_start: usize,
    /// Bytes of the line that came before `text`.
    before: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of `text`, which lies behind `column` bytes of line `line`.
    pub fn new(text: &'a [u8], line: usize, column: usize) -> Self {
        Cursor {
            text,
            at: 0,
            line,
            line_start: 0,
            before: column,
        }
    }

    /// Bytes passed.
    pub fn passed(&self) -> usize {
        self.at
    }

    pub fn line(&self) -> usize {
        self.line
    }

    /// Bytes before it on its line.
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

    /// The next byte that is no white space; the cursor moves there.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.rest();
        let space = rest.iter().position(|&byte| !is_space(byte));
        self.advance(space.unwrap_or(rest.len()));
        self.text.get(self.at).copied()
    }

    /// Takes the JSON value that begins here, or all that is left where none ends and no text follows;
    /// false if the value goes on.
    fn take_value(&mut self, ended: bool, found: &mut Vec<Span>) -> bool {
        let left = || ended.then(|| self.rest().trim_ascii_end().len());
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
