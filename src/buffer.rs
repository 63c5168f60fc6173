//! The handle of a buffer on a device, or of a range of a buffer.

use std::ops::Range;

/// The handle of a buffer of 32-bit words on a device, or of a range of a buffer. Only the engine that made the
/// buffer can resolve its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// The buffer's number in its engine, from 0.
    pub id: u32,
    /// The first word of the range in the buffer.
    pub offset: usize,
    /// The length of the range in 32-bit words.
    pub words: usize,
}

/// A range that a kernel binds begins at a multiple of this many words: 256 bytes, the largest alignment that
/// WebGPU lets a device ask for.
pub const ALIGNMENT: usize = 64;

impl Buffer {
    /// A whole buffer.
    pub fn whole(id: u32, words: usize) -> Buffer {
        Buffer {
            id,
            offset: 0,
            words,
        }
    }

    /// The words `range` of this range.
    ///
    /// # Panics
    /// If `range` is not inside this range: a mistake of the caller, not of data.
    pub fn slice(self, range: Range<usize>) -> Buffer {
        assert!(
            range.start <= range.end && range.end <= self.words,
            "{range:?} of {self:?}"
        );
        Buffer {
            offset: self.offset + range.start,
            words: range.len(),
            ..self
        }
    }

    /// The first `words` words of this range.
    ///
    /// # Panics
    /// If this range has fewer words.
    pub fn first(self, words: usize) -> Buffer {
        self.slice(0..words)
    }

    /// The words of the buffer that this range covers.
    pub fn range(self) -> Range<usize> {
        self.offset..self.offset + self.words
    }

    /// Bytes of the range.
    pub fn bytes(self) -> usize {
        size_of::<u32>() * self.words
    }

    /// True if the two ranges share a word.
    pub fn overlaps(self, other: Buffer) -> bool {
        let (a, b) = (self.range(), other.range());
        let shared = a.start.max(b.start)..a.end.min(b.end);
        self.id == other.id && !shared.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ranges() {
        let all = Buffer::whole(3, 100);
        let part = all.slice(64..100);
        assert_eq!(part.slice(6..10).range(), 70..74);
        assert_eq!(part.first(2).bytes(), 8);
        assert!(all.overlaps(part) && part.overlaps(all.slice(99..100)));
        assert!(!part.overlaps(all.first(64)) && !part.overlaps(Buffer::whole(4, 100)));
        assert!(!part.overlaps(all.slice(70..70)));
    }
}
