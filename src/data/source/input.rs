//! Opens a file: removes its compression and recognizes its format by the first bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::foreign;
use super::packing::Packing;
use crate::error::{Error, Result};

/// The name of the standard input in place of a file, and its name in messages.
pub(super) const STDIN: &str = "-";
const STDIN_TITLE: &str = "<standard input>";

/// The number of first bytes that identify a format.
const HEAD: usize = 64 << 10;

const PARQUET: &[u8] = b"PAR1";

/// An opened file, by the reader that it needs.
pub(super) enum Content {
    Text {
        stream: Stream,
        /// The first bytes of the stream, already read.
        head: Vec<u8>,
    },
    Parquet {
        path: Arc<Path>,
        file: File,
    },
}

/// Opens a file, or the standard input.
pub(super) fn open(path: &Path) -> Result<Content> {
    if path == Path::new(STDIN) {
        let title = Arc::from(Path::new(STDIN_TITLE));
        return told(Stream::new(title, Box::new(io::stdin())), None);
    }
    let failed = |error| Error::io("read", path, error);
    let file = File::open(path).map_err(failed)?;
    // A second handle, but not of a pipe, which can be read only once.
    let again = match file.metadata().map_err(failed)?.is_file() {
        true => Some(file.try_clone().map_err(failed)?),
        false => None,
    };
    told(Stream::new(Arc::from(path), Box::new(file)), again)
}

/// Recognizes the format of `stream`. `file` is the file behind it, if that can seek.
fn told(stream: Stream, file: Option<File>) -> Result<Content> {
    let (mut stream, mut head) = stream.begin()?;
    if let Some(packing) = Packing::of(&head) {
        (stream, head) = stream.unpack(head, packing)?.begin()?;
    }
    if !head.starts_with(PARQUET) {
        foreign::refuse(&head, &stream.path)?;
        return Ok(Content::Text { stream, head });
    }
    // Parquet keeps its metadata at the end, so the reader must seek.
    let path = Arc::clone(&stream.path);
    let file = match (file, stream.packing) {
        (Some(file), None) => file,
        _ => stream.spool(&head)?,
    };
    Ok(Content::Parquet { path, file })
}

/// Bytes of a file, unpacked.
pub(super) struct Stream {
    pub path: Arc<Path>,
    reader: Box<dyn Read + Send>,
    packing: Option<Packing>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Stream")
            .field("path", &self.path)
            .field("packing", &self.packing)
            .finish_non_exhaustive()
    }
}

impl Stream {
    pub fn new(path: Arc<Path>, reader: Box<dyn Read + Send>) -> Self {
        Stream {
            path,
            reader,
            packing: None,
        }
    }

    /// Reads until `bytes` has the length `wanted`; true if the stream ended before that.
    pub fn fill(&mut self, bytes: &mut Vec<u8>, wanted: usize) -> Result<bool> {
        let missing = wanted.saturating_sub(bytes.len());
        bytes.reserve_exact(missing);
        let read = self.reader.by_ref().take(missing as u64).read_to_end(bytes);
        let read = read.map_err(|error| self.error(error))?;
        Ok(read < missing)
    }

    fn begin(mut self) -> Result<(Stream, Vec<u8>)> {
        let mut head = Vec::new();
        self.fill(&mut head, HEAD)?;
        Ok((self, head))
    }

    fn unpack(self, head: Vec<u8>, packing: Packing) -> Result<Stream> {
        let packed = io::Cursor::new(head).chain(self.reader);
        let reader: Box<dyn Read + Send> = match packing {
            Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Packing::Zstd => {
                let decoder = zstd::Decoder::new(packed);
                Box::new(decoder.map_err(|error| Error::io("read", &*self.path, error))?)
            }
        };
        Ok(Stream {
            path: self.path,
            reader,
            packing: Some(packing),
        })
    }

    /// Writes the stream, which begins with `head`, to a temporary file that is deleted when it is closed.
    fn spool(mut self, head: &[u8]) -> Result<File> {
        let here = |error| Error::io("create", std::env::temp_dir(), error);
        let mut file = tempfile::tempfile().map_err(here)?;
        let mut bytes = head.to_vec();
        loop {
            io::Write::write_all(&mut file, &bytes).map_err(here)?;
            bytes.clear();
            let ended = self.fill(&mut bytes, HEAD)?;
            if ended && bytes.is_empty() {
                file.rewind().map_err(here)?;
                return Ok(file);
            }
        }
    }

    /// The error for a failed read. A decompressor's own error has no OS code; a code comes from the file below.
    fn error(&self, error: io::Error) -> Error {
        match self.packing {
            Some(packing) if error.raw_os_error().is_none() => Error::file(
                &self.path,
                format!(
                    "its {} data are cut off or damaged: {error}",
                    packing.name()
                ),
                "download, copy or pack it again",
            ),
            _ => Error::io("read", &*self.path, error),
        }
    }
}
