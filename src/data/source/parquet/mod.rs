//! Reads the rows of a parquet file in chunks.
//!
//! Columns are decoded page by page as the rows need them. A row becomes a JSON value only when its value is
//! asked for, so that many threads can convert rows at once. (The crate's own rows do not allow this, are
//! wrong for repeated fields, and panic at times outside the calendar's range.)

mod column;
mod damaged;
mod leaf;
mod node;
mod pages;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::{CHUNK, Place, Raw, Record};
use crate::error::{Error, Result};
use crate::guard;
use column::{Column, Cursor, Decoded};
use damaged::Damaged;
use node::Node;
use pages::Pages;

/// The most rows of a chunk, however small the rows are.
const MAX_ROWS: usize = 8192;

pub(super) struct Parquet {
    path: Arc<Path>,
    file: SerializedFileReader<File>,
    /// The same file, for the headers of its pages.
    bytes: File,
    root: Arc<Node>,
    /// The number of row groups begun.
    groups: usize,
    group: Group,
    /// The number of rows returned so far, over the whole file.
    rows: usize,
}

/// The rest of a row group.
#[derive(Default)]
struct Group {
    columns: Vec<Column>,
    rows: usize,
    /// The number of rows in a chunk.
    chunk: usize,
}

/// Consecutive rows, decoded.
#[derive(Debug)]
pub(super) struct Rows {
    root: Arc<Node>,
    columns: Vec<Decoded>,
}

impl std::fmt::Debug for Parquet {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Parquet")
            .field("path", &self.path)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl Parquet {
    pub fn new(path: Arc<Path>, file: File) -> Result<Self> {
        let bytes = file.try_clone().map_err(|e| Error::io("read", &*path, e))?;
        let file = guarded(&path, || SerializedFileReader::new(file))?;
        let schema = file.metadata().file_metadata().schema_descr();
        let root = Node::root(schema).map_err(|what| {
            let help =
                "write it anew with pyarrow or `datasets`, each column under a name of its own";
            Error::file(&path, format!("parquet: {what}"), help)
        })?;
        Ok(Parquet {
            path,
            file,
            bytes,
            root: Arc::new(root),
            groups: 0,
            group: Group::default(),
            rows: 0,
        })
    }

    pub fn next_chunk(&mut self) -> Result<Option<Vec<Raw>>> {
        while self.group.rows == 0 {
            if self.groups == self.file.num_row_groups() {
                return Ok(None);
            }
            self.group = self.begin(self.groups)?;
            self.groups += 1;
        }
        let group = &mut self.group;
        let count = group.chunk.min(group.rows);
        let columns = guarded(&self.path, || {
            let columns = group.columns.iter_mut();
            columns.map(|column| column.decode(count)).collect()
        })?;
        let rows = Arc::new(Rows {
            root: Arc::clone(&self.root),
            columns,
        });
        let raws = (0..count).map(|index| Raw {
            place: Place {
                path: Arc::clone(&self.path),
                line: self.rows + index + 1,
            },
            content: Record::Row {
                rows: Arc::clone(&rows),
                index,
            },
        });
        let raws = raws.collect();
        group.rows -= count;
        self.rows += count;
        Ok(Some(raws))
    }

    fn begin(&self, index: usize) -> Result<Group> {
        let metadata = self.file.metadata().row_group(index);
        for column in metadata.columns() {
            check_codec(column.compression(), &self.path)?;
            if column.compression() == Compression::SNAPPY {
                // The crate opens the file at each page's place, wherever it stands.
                guarded(&self.path, || {
                    let (start, bytes) = column.byte_range();
                    pages::check_snappy(&self.bytes, Pages { start, bytes })
                })?;
            }
        }
        let rows = usize::try_from(metadata.num_rows()).unwrap_or_default();
        let bytes = usize::try_from(metadata.total_byte_size()).unwrap_or_default();
        let row_bytes = (bytes / rows.max(1)).max(1);
        let columns = guarded(&self.path, || {
            let group = self.file.get_row_group(index)?;
            let columns = metadata.columns().iter().enumerate().map(|(at, column)| {
                let reader = group.get_column_reader(at)?;
                Ok(Column::new(reader, column.column_descr_ptr()))
            });
            columns.collect()
        })?;
        Ok(Group {
            columns,
            rows,
            chunk: (CHUNK / row_bytes).clamp(1, MAX_ROWS),
        })
    }
}

impl Rows {
    pub fn value(&self, index: usize) -> Result<Value, Damaged> {
        let cursors = self.columns.iter().map(|column| column.row(index));
        let mut cursors: Vec<Cursor> = cursors.collect();
        self.root.read(&mut cursors)
    }
}

fn check_codec(codec: Compression, path: &Path) -> Result<()> {
    let name = match codec {
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::ZSTD(_) => return Ok(()),
        Compression::BROTLI(_) => "brotli",
        Compression::LZ4 | Compression::LZ4_RAW => "lz4",
        Compression::LZO => "lzo",
    };
    Err(Error::file(
        path,
        format!("is parquet compressed with {name}, which cannot be read"),
        "write it with snappy, zstd or gzip, or uncompressed: \
         `pyarrow.parquet.write_table(table, path, compression=\"zstd\")`",
    ))
}

/// Runs a read that may find the file damaged. The crate reports most damages and panics at the others.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    let what = match guard::guarded(read) {
        Some(Ok(read)) => return Ok(read),
        Some(Err(error)) => error.to_string(),
        None => "its pages cannot be decoded".to_owned(),
    };
    let what = what.strip_prefix("Parquet error: ").unwrap_or(&what);
    let help = "the file is cut off or damaged: download, copy or write it again";
    Err(Error::file(path, format!("parquet: {what}"), help))
}

#[cfg(test)]
mod tests {
    use ::parquet::data_type::{ByteArrayType, DataType, Int32Type};
    use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
    use ::parquet::schema::parser::parse_message_type;
    use serde_json::json;

    use super::*;

    /// Writes the next column.
    fn write<T: DataType>(
        group: &mut SerializedRowGroupWriter<'_, File>,
        values: &[T::T],
        definition: &[i16],
        repetition: &[i16],
    ) {
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<T>();
        let written = typed.write_batch(values, Some(definition), Some(repetition));
        assert_eq!(written.unwrap(), values.len());
        column.close().unwrap();
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        for schema in [
            "message m { required int32 a; required int32 b; required int32 a; }",
            "message m { optional group s { required int32 a; required int32 a; } }",
        ] {
            let schema = Arc::new(parse_message_type(schema).unwrap());
            let file = tempfile::tempfile().unwrap();
            let copy = file.try_clone().unwrap();
            let writer = SerializedFileWriter::new(copy, schema, Arc::default()).unwrap();
            writer.close().unwrap();
            let error = Parquet::new(Arc::from(Path::new("p")), file).unwrap_err();
            let expected = "p: parquet: two columns have the name `a`";
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    /// Such lists pyarrow does not write.
    #[test]
    fn lists_of_two_levels() {
        let schema = "message m {
            optional group ints (LIST) { repeated int32 element; }
            repeated binary tags (UTF8);
            optional group structs (LIST) { repeated group structs_tuple { optional int32 a; } }
            optional group nested (LIST) {
                repeated group array (LIST) { repeated int32 array; }
            }
        }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let file = tempfile::tempfile().unwrap();
        let copy = file.try_clone().unwrap();
        let mut writer = SerializedFileWriter::new(copy, schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        // Three rows: full, empty, null (or empty, where null cannot be).
        write::<Int32Type>(&mut group, &[1, 2], &[2, 2, 1, 0], &[0, 1, 0, 0]);
        let tags = ["x".into(), "y".into()];
        write::<ByteArrayType>(&mut group, &tags, &[1, 1, 0, 0], &[0, 1, 0, 0]);
        write::<Int32Type>(&mut group, &[3], &[3, 2, 1, 0], &[0, 1, 0, 0]);
        write::<Int32Type>(&mut group, &[4, 5], &[3, 3, 2, 1, 0], &[0, 2, 1, 0, 0]);
        group.close().unwrap();
        writer.close().unwrap();

        let mut parquet = Parquet::new(Arc::from(Path::new("p")), file).unwrap();
        let rows = parquet.next_chunk().unwrap().unwrap();
        let values: Vec<_> = rows.iter().map(|row| row.value().unwrap()).collect();
        let expected = [
            json!({
                "ints": [1, 2],
                "tags": ["x", "y"],
                "structs": [{"a": 3}, {"a": null}],
                "nested": [[4, 5], []],
            }),
            json!({"ints": [], "tags": [], "structs": [], "nested": []}),
            json!({"ints": null, "tags": [], "structs": null, "nested": null}),
        ];
        assert_eq!(values, expected);
        assert!(parquet.next_chunk().unwrap().is_none());
    }
}
