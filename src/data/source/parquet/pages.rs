//! Holds the sizes that pages claim to what their bytes can hold.
//!
//! The crate makes room for a snappy page before it unpacks it, as much as the page's header claims. So this module
//! reads the headers first. A header is a struct in Thrift's compact protocol: `parquet.thrift`, PageHeader.

use std::fs::File;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::ChunkReader;

/// The most bytes that a byte of snappy's format unpacks to: three bytes copy at most 64.
const MOST_PER_BYTE: u64 = 22;

/// Bytes that are read for a header, and more if it is longer: statistics may be long.
const HEADER: [u64; 3] = [1 << 12, 1 << 16, 1 << 20];

/// Structs and lists are nested less deeply than this.
const DEPTH: usize = 16;

/// The bytes of a column's pages in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    pub start: u64,
    pub bytes: u64,
}

/// Refuses a snappy page that claims more bytes than it can hold. A header that cannot be read is left to the crate.
pub(super) fn check_snappy(file: &File, pages: Pages) -> Result<(), ParquetError> {
    let end = pages.start.saturating_add(pages.bytes);
    let mut at = pages.start;
    while at < end {
        let Some(header) = Header::at(file, at, end)? else {
            return Ok(());
        };
        if header.unpacked > header.packed.saturating_mul(MOST_PER_BYTE) {
            return Err(ParquetError::General(format!(
                "a page of {} bytes claims to hold {}",
                header.packed, header.unpacked
            )));
        }
        at = at
            .saturating_add(header.length)
            .saturating_add(header.packed);
    }
    Ok(())
}

/// A page's header, as far as sizes go.
#[derive(Debug, Default, PartialEq)]
struct Header {
    /// Bytes of the header itself.
    length: u64,
    /// Bytes of the page behind it.
    packed: u64,
    /// Bytes that these are to become.
    unpacked: u64,
}

impl Header {
    /// The header at this place of a file, whose pages end at `end`; `None` as in [`Header::read`].
    fn at(file: &File, at: u64, end: u64) -> Result<Option<Header>, ParquetError> {
        for most in HEADER {
            let length = (end - at).min(most) as usize;
            let header = Header::read(&file.get_bytes(at, length)?);
            if header.is_some() {
                return Ok(header);
            }
        }
        Ok(None)
    }

    /// The header at the start of `bytes`; `None` if it is not whole, or none.
    fn read(bytes: &[u8]) -> Option<Header> {
        let mut thrift = Thrift { bytes, at: 0 };
        let mut header = Header::default();
        let mut id = 0;
        while let Some(kind) = thrift.field(&mut id)? {
            match (id, kind) {
                (2, I32) => header.unpacked = u64::try_from(thrift.signed()?).ok()?,
                (3, I32) => header.packed = u64::try_from(thrift.signed()?).ok()?,
                _ => thrift.skip(kind, DEPTH)?,
            }
        }
        header.length = thrift.at as u64;
        Some(header)
    }
}

/// Types of Thrift's compact protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I8: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn pass(&mut self, count: u64) -> Option<()> {
        self.at = self.at.checked_add(usize::try_from(count).ok()?)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The type of the next field, whose number goes to `id`; `Some(None)` at the struct's end.
    fn field(&mut self, id: &mut i64) -> Option<Option<u8>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *id = match head >> 4 {
            0 => self.signed()?,
            more => *id + i64::from(more),
        };
        Some(Some(head & 0x0F))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            TRUE | FALSE => Some(()),
            I8 => self.pass(1),
            I16 | I32 | I64 => self.unsigned().map(drop),
            DOUBLE => self.pass(8),
            BINARY => {
                let length = self.unsigned()?;
                self.pass(length)
            }
            LIST | SET => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.unsigned()?,
                    count => count.into(),
                };
                match head & 0x0F {
                    // In a list a truth value has a byte of its own.
                    TRUE | FALSE => self.pass(count),
                    kind => (0..count).try_for_each(|_| self.skip(kind, depth)),
                }
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As pyarrow 23 writes it: type, sizes, the struct of a data page with empty statistics.
    const DATA_PAGE: &[u8] =
        b"\x15\x00\x15\xa2\xe8\x92\x01\x15\x84\x82\x07\x2c\x15\xa0\x06\x15\x00\x15\x06\x15\x06\x1c\x00\x00\x00rest";

    #[test]
    fn a_header_tells_its_sizes() {
        let header = Header::read(DATA_PAGE).unwrap();
        let expected = Header {
            length: DATA_PAGE.len() as u64 - 4,
            packed: 57_474,
            unpacked: 1_202_705,
        };
        assert_eq!(header, expected);
    }

    #[test]
    fn what_is_cut_or_nested_without_end_is_no_header() {
        for end in 0..DATA_PAGE.len() - 4 {
            assert_eq!(Header::read(&DATA_PAGE[..end]), None, "{end}");
        }
        assert_eq!(Header::read(&[0x1C; 1000]), None);
        assert_eq!(Header::read(b"\x19\xF9\xFF\xFF\xFF\xFF\x0F"), None);
        assert_eq!(
            Header::read(b"\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"),
            None
        );
    }
}
