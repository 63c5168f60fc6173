//! Cuts a stream of JSON text into chunks of records.

use std::mem;
use std::sync::Arc;

use super::input::Stream;
use super::layout::{Cursor, Fault, Layout};
use super::{CHUNK, Place, Raw, Record, json};
use crate::error::{Error, Result};

/// In bytes. A longer "record" is a file of another layout; and a tokenizer takes some 120 times a text's size.
const MAX_RECORD: usize = 16 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Debug)]
pub(super) struct Text {
    stream: Stream,
    /// The layout; `None` before the first bytes are read.
    layout: Option<Layout>,
    /// The text behind the last complete record.
    rest: Vec<u8>,
    /// The place where `rest` begins.
    line: usize,
    column: usize,
    /// True if the stream has no more text.
    ended: bool,
    /// An error behind the last complete record.
    fault: Option<Fault>,
}

impl Text {
    /// A text that begins with `head` and continues in `stream`.
    pub fn new(stream: Stream, head: Vec<u8>) -> Self {
        Text {
            stream,
            layout: None,
            rest: head,
            line: 1,
            column: 0,
            ended: false,
            fault: None,
        }
    }

    pub fn next_chunk(&mut self) -> Result<Option<Vec<Raw>>> {
        loop {
            if let Some(Fault { line, what, help }) = self.fault.take() {
                return Err(Error::data(&self.stream.path, line, what, help));
            }
            if self.ended && self.rest.is_empty() {
                return Ok(None);
            }
            let records = self.read_on()?;
            if !records.is_empty() {
                return Ok(Some(records));
            }
            if self.rest.len() > MAX_RECORD {
                let what = format!("a record of more than {} MiB", MAX_RECORD >> 20);
                return Err(Error::data(
                    &self.stream.path,
                    self.line,
                    what,
                    json::LAYOUTS,
                ));
            }
        }
    }

    /// Reads a chunk and takes its complete records. If the last chunk ended within a record, reads up to twice
    /// the length of that record.
    fn read_on(&mut self) -> Result<Vec<Raw>> {
        let mut chunk = mem::take(&mut self.rest);
        let wanted = CHUNK.max(2 * chunk.len()).min(MAX_RECORD + 1);
        self.ended |= self.stream.fill(&mut chunk, wanted)?;
        let layout = self.layout.get_or_insert_with(|| {
            if chunk.starts_with(BYTE_ORDER_MARK) {
                chunk.drain(..BYTE_ORDER_MARK.len());
            }
            Layout::of(&chunk)
        });

        let mut cursor = Cursor::new(&chunk, self.line, self.column);
        let mut spans = Vec::new();
        self.fault = layout.split(&mut cursor, self.ended, &mut spans).err();
        (self.line, self.column) = (cursor.line(), cursor.column());
        let passed = cursor.passed();
        if spans.is_empty() {
            chunk.drain(..passed);
            self.rest = chunk;
            return Ok(Vec::new());
        }
        self.rest = chunk[passed..].to_vec();

        let (chunk, path) = (Arc::new(chunk), &self.stream.path);
        let records = spans.into_iter().map(|span| Raw {
            place: Place {
                path: Arc::clone(path),
                line: span.line,
            },
            content: Record::Text {
                chunk: Arc::clone(&chunk),
                span: span.bytes,
                column: span.column,
            },
        });
        Ok(records.collect())
    }
}
