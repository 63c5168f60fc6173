//! One column of some rows, decoded: values, and the levels that assign them to rows.
//!
//! Parquet stores only the leaves of a nested column. The definition level of an entry counts how many of the
//! fields around it are present (a null or an empty list is not). The repetition level says which list the
//! entry continues; 0 begins a new row.

use ::parquet::column::reader::ColumnReader;
use ::parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::schema::types::ColumnDescPtr;

use super::damaged::Damaged;

/// A column of a row group; the reader stands behind the rows decoded so far.
pub(super) struct Column {
    reader: ColumnReader,
    description: ColumnDescPtr,
}

/// The values that are not null.
#[derive(Debug)]
pub(super) enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Int96(Vec<Int96>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
    FixedBytes(Vec<FixedLenByteArray>),
}

/// Some rows of a column, decoded.
#[derive(Debug)]
pub(super) struct Decoded {
    pub values: Values,
    /// The definition level of each entry; empty if no field around the values is optional.
    definition: Vec<i16>,
    /// The repetition level of each entry; empty if the values are in no list.
    repetition: Vec<i16>,
    /// The definition level of an entry that has a value.
    present: i16,
    /// The start of each row, and the end of the last.
    starts: Vec<Start>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Start {
    entry: usize,
    value: usize,
}

impl Column {
    pub fn new(reader: ColumnReader, description: ColumnDescPtr) -> Self {
        Column {
            reader,
            description,
        }
    }

    /// Decodes the next `rows` rows.
    pub fn decode(&mut self, rows: usize) -> Result<Decoded> {
        let (mut definition, mut repetition) = (Vec::new(), Vec::new());
        // Each physical type has its own reader type.
        macro_rules! read {
            ($reader:ident, $kind:ident) => {{
                let mut values = Vec::new();
                $reader.read_records(
                    rows,
                    Some(&mut definition),
                    Some(&mut repetition),
                    &mut values,
                )?;
                (values.len(), Values::$kind(values))
            }};
        }
        let (count, values) = match &mut self.reader {
            ColumnReader::BoolColumnReader(reader) => read!(reader, Bool),
            ColumnReader::Int32ColumnReader(reader) => read!(reader, Int32),
            ColumnReader::Int64ColumnReader(reader) => read!(reader, Int64),
            ColumnReader::Int96ColumnReader(reader) => read!(reader, Int96),
            ColumnReader::FloatColumnReader(reader) => read!(reader, Float),
            ColumnReader::DoubleColumnReader(reader) => read!(reader, Double),
            ColumnReader::ByteArrayColumnReader(reader) => read!(reader, Bytes),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => read!(reader, FixedBytes),
        };
        let mut decoded = Decoded {
            values,
            definition,
            repetition,
            present: self.description.max_def_level(),
            starts: Vec::with_capacity(rows + 1),
        };
        if decoded.find_rows(count) != rows {
            let column = self.description.path();
            return Err(ParquetError::General(format!(
                "the column {column} has fewer rows than its row group"
            )));
        }
        Ok(decoded)
    }
}

impl Decoded {
    /// Fills `starts` and returns the number of rows; `values` is the number of values.
    fn find_rows(&mut self, values: usize) -> usize {
        let entries = match self.definition.len() {
            0 => values,
            entries => entries,
        };
        let mut value = 0;
        for entry in 0..entries {
            if self.repetition.get(entry).is_none_or(|&level| level == 0) {
                self.starts.push(Start { entry, value });
            }
            let has_value = self.definition.get(entry);
            value += usize::from(has_value.is_none_or(|&level| level == self.present));
        }
        self.starts.push(Start {
            entry: entries,
            value,
        });
        self.starts.len() - 1
    }

    /// The entries of row `index`.
    pub fn row(&self, index: usize) -> Cursor<'_> {
        let start = self.starts[index];
        Cursor {
            column: self,
            entry: start.entry,
            end: self.starts[index + 1].entry,
            value: start.value,
        }
    }
}

/// A position among the entries of one row.
pub(super) struct Cursor<'a> {
    pub column: &'a Decoded,
    entry: usize,
    end: usize,
    value: usize,
}

impl Cursor<'_> {
    /// The definition level of the entry.
    pub fn definition(&self) -> Result<i16, Damaged> {
        if self.entry >= self.end {
            return Err(Damaged);
        }
        let level = self.column.definition.get(self.entry);
        Ok(level.copied().unwrap_or(self.column.present))
    }

    /// The repetition level of the entry; `None` behind the last entry of the row.
    pub fn repetition(&self) -> Option<i16> {
        let level = self.column.repetition.get(self.entry);
        level.copied().filter(|_| self.entry < self.end)
    }

    /// Steps over the entry and returns the index of its value.
    pub fn take(&mut self) -> Result<usize, Damaged> {
        if self.definition()? != self.column.present {
            return Err(Damaged);
        }
        self.entry += 1;
        self.value += 1;
        Ok(self.value - 1)
    }

    /// Steps over an entry that has no value.
    pub fn skip(&mut self) -> Result<(), Damaged> {
        if self.definition()? == self.column.present {
            return Err(Damaged);
        }
        self.entry += 1;
        Ok(())
    }
}
