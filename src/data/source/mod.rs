//! Reads files of records in all supported formats, in chunks of bounded size.
//!
//! The content of a file decides its format, not its name: JSON (an object a line, objects over several
//! lines, or one array), plain or compressed with gzip or zstd, or parquet. No file is read as a whole.

mod find;
mod foreign;
mod input;
mod json;
mod layout;
mod once;
mod packing;
#[cfg_attr(not(feature = "parquet"), path = "no_parquet.rs")]
mod parquet;
mod parts;
mod paths;
mod scan;
mod text;

use std::fmt;
use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

pub(crate) use json::not_json;

use crate::error::{Error, Result};
use input::{Content, Stream};
use parquet::{Parquet, Rows};
use text::Text;

/// The approximate number of bytes of records in memory at once.
const CHUNK: usize = 4 << 20;

/// The place of a record in its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's path, as the user named it or as it was found.
    pub path: Arc<Path>,
    /// The line on which the record begins, or its row in parquet; from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

impl Place {
    /// A line of a file. For pairs without a file, `path` is only a name.
    pub fn new(path: impl AsRef<Path>, line: usize) -> Place {
        let path = Arc::from(path.as_ref());
        Place { path, line }
    }

    /// The error of this place's record, which cannot be used.
    pub fn error(&self, what: impl Into<String>, help: impl Into<String>) -> Error {
        Error::data(&self.path, self.line, what, help)
    }
}

/// One record before parsing. It shares the memory of its chunk.
#[derive(Debug)]
pub(crate) struct Raw {
    pub place: Place,
    content: Record,
}

#[derive(Debug)]
enum Record {
    Text {
        chunk: Arc<Vec<u8>>,
        span: Range<usize>,
        /// Bytes before the record on its line.
        column: usize,
    },
    #[cfg_attr(not(feature = "parquet"), expect(dead_code))]
    Row { rows: Arc<Rows>, index: usize },
}

impl Raw {
    /// Parses the record: a text as JSON, a row from its columns. Values that JSON cannot express (NaN, bytes)
    /// become marks, which [`not_json`] recognizes.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] with the place of a text that is not JSON or not UTF-8, or of a row whose columns
    /// contradict one another.
    pub fn value(&self) -> Result<Value> {
        match &self.content {
            Record::Text {
                chunk,
                span,
                column,
            } => json::parse(&chunk[span.clone()], &self.place, *column),
            Record::Row { rows, index } => rows.value(*index).map_err(|damaged| {
                let help = "the file is damaged: get or write it again";
                self.place.error(damaged.to_string(), help)
            }),
        }
    }
}

/// The records of one or several files, in order.
#[derive(Debug)]
pub struct Source {
    /// The name that messages show.
    name: String,
    files: Vec<PathBuf>,
    /// The number of `files` opened so far.
    opened: usize,
    current: Option<Reader>,
}

#[derive(Debug)]
enum Reader {
    Text(Box<Text>),
    Parquet(Box<Parquet>),
}

impl Source {
    /// Finds the files that `spec` names: a file, a folder (all data files below it), a pattern as in
    /// `data/*.jsonl`, or `-` for the standard input.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no such file, [`Error::File`] if a folder or pattern has no data file or a
    /// folder has several splits.
    pub fn open(spec: &Path) -> Result<Source> {
        let files = find::files(spec)?;
        Ok(Source::of(files).named(spec.display().to_string()))
    }

    /// The records of these files, one file after the other; `-` is the standard input.
    pub fn of(files: Vec<PathBuf>) -> Source {
        let name = files.first().map(|file| file.display().to_string());
        Source {
            name: name.unwrap_or_default(),
            files,
            opened: 0,
            current: None,
        }
    }

    /// The records of a text in memory; `origin` is the path that errors name.
    pub fn text(text: &str, origin: &Path) -> Source {
        let bytes = Cursor::new(text.as_bytes().to_vec());
        let stream = Stream::new(Arc::from(origin), Box::new(bytes));
        Source {
            name: origin.display().to_string(),
            files: vec![origin.to_owned()],
            opened: 1,
            current: Some(Reader::Text(Box::new(Text::new(stream, Vec::new())))),
        }
    }

    /// The source with another name for messages.
    pub fn named(mut self, name: impl Into<String>) -> Source {
        self.name = name.into();
        self
    }

    /// The name that messages show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that were found, in the order in which they are read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The next chunk of records of one file, never empty and of bounded size; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be read; [`Error::File`] if its format is unknown, or if it is cut off or
    /// damaged; [`Error::Data`] with the line where an array is broken or a record is too long.
    /// A record that is not JSON fails only when it is parsed.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Vec<Raw>>> {
        loop {
            let chunk = match &mut self.current {
                Some(Reader::Text(text)) => text.next_chunk()?,
                Some(Reader::Parquet(parquet)) => parquet.next_chunk()?,
                None => None,
            };
            if chunk.is_some() {
                return Ok(chunk);
            }
            let Some(path) = self.files.get(self.opened) else {
                self.current = None;
                return Ok(None);
            };
            self.opened += 1;
            self.current = Some(match input::open(path)? {
                Content::Text { stream, head } => Reader::Text(Box::new(Text::new(stream, head))),
                Content::Parquet { path, file } => {
                    Reader::Parquet(Box::new(Parquet::new(path, file)?))
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
