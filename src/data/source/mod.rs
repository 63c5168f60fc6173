//! Files of records, in whatever way people keep them, handed out in pieces of bounded size.
//!
//! What a file is, its content says, not its name: JSON (an object a line, objects over several lines, or
//! one array of them), plain or packed with gzip or zstd, or parquet. No file is read whole.

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

/// Bytes of records that are in memory at once, about.
const CHUNK: usize = 4 << 20;

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named or found.
    pub path: Arc<Path>,
    /// 1-based: the line on which the record begins; in parquet, its row.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

impl Place {
    /// A line of a file, which may be a name only, for pairs that no file holds.
    pub fn new(path: impl AsRef<Path>, line: usize) -> Place {
        let path = Arc::from(path.as_ref());
        Place { path, line }
    }

    /// The error of a record that cannot be used.
    pub fn error(&self, what: impl Into<String>, help: impl Into<String>) -> Error {
        Error::data(&self.path, self.line, what, help)
    }
}

/// One record, found and not yet parsed. It shares the memory of its chunk.
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
        /// Bytes before it on its line.
        column: usize,
    },
    #[cfg_attr(not(feature = "parquet"), expect(dead_code))]
    Row { rows: Arc<Rows>, index: usize },
}

impl Raw {
    /// Parses the record: text as JSON, a row from its columns. What JSON has no value for (NaN, bytes) is
    /// marked; [`not_json`] tells.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] with the place of what is not JSON or not UTF-8, or of a row whose columns do not fit
    /// together.
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
    /// As it was named, for messages.
    name: String,
    files: Vec<PathBuf>,
    /// How many of `files` have been opened.
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
    /// [`Error::Io`] if there is no such file, [`Error::File`] if a folder or pattern holds no data file or
    /// a folder several splits.
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

    /// The same under another name in messages.
    pub fn named(mut self, name: impl Into<String>) -> Source {
        self.name = name.into();
        self
    }

    /// As it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that were found, in the order in which they are read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The next records, never none of them, of one file and of bounded size; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file cannot be read; [`Error::File`] if it is none of the known formats, cut off or
    /// damaged; [`Error::Data`] with the line where an array is broken or a record is too long to be one.
    /// A record that is found but no JSON fails when it is parsed.
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
