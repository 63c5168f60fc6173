//! Recognizes files of unreadable formats, so that an error can name the format.

use std::path::Path;

use super::packing::Packing;
use crate::error::{Error, Result};

/// The first bytes of a text, none of which is NUL: JSON never contains NUL.
const TEXT: usize = 512;

/// The offset of tar's magic bytes, behind the name, size and owner of the first member.
const TAR_MAGIC: usize = 257;

/// A format without readable records, and how to convert it.
struct Kind {
    what: &'static str,
    help: &'static str,
}

/// The help for a format that pandas can read.
macro_rules! with_pandas {
    ($read:literal) => {
        concat!(
            "convert it: `python -c \"import pandas; pandas.",
            $read,
            ".to_json('converted.jsonl', orient='records', lines=True)\"`"
        )
    };
}

const UNPACK: &str = "unpack it, and give the file within";
const DOWNLOAD: &str = "the download gave this in place of the data: get the file again, signed in if its site \
     asks for that";
const UTF8: &str = "write it as UTF-8: `iconv -f utf-16 -t utf-8 FILE > converted.jsonl`";
const EXCEL: &str = with_pandas!("read_excel('FILE')");
const ARROW: &str = "write it as parquet: `python -c \"import datasets; \
     datasets.Dataset.from_file('FILE').to_parquet('converted.parquet')\"`";
const EXPORT: &str = "write its records as JSON lines or parquet";

/// The formats that their first bytes identify.
const MAGIC: [(&[u8], Kind); 18] = [
    magic(b"BZh", "packed with bzip2", UNPACK),
    magic(b"\xFD7zXZ\0", "packed with xz", UNPACK),
    magic(b"\x04\x22\x4D\x18", "packed with lz4", UNPACK),
    magic(b"7z\xBC\xAF\x27\x1C", "a 7z archive", UNPACK),
    magic(b"Rar!", "a rar archive", UNPACK),
    magic(b"ARROW1", "an arrow file", ARROW),
    magic(b"\xFF\xFF\xFF\xFF", "an arrow stream", ARROW),
    magic(b"PARE", "encrypted parquet", "write it without encryption"),
    magic(b"ORC", "an ORC file", EXPORT),
    magic(b"Obj\x01", "an Avro file", EXPORT),
    magic(b"SQLite format 3\0", "an SQLite database", EXPORT),
    magic(b"\x89HDF\r\n", "an HDF5 file", EXPORT),
    magic(b"\x93NUMPY", "a NumPy array", EXPORT),
    magic(b"\xD0\xCF\x11\xE0", "an old Excel or Office file", EXCEL),
    magic(b"%PDF", "a PDF document", EXPORT),
    magic(b"\xFF\xFE", "text in UTF-16", UTF8),
    magic(b"\xFE\xFF", "text in UTF-16", UTF8),
    magic(
        b"version https://git-lfs",
        "a pointer of Git LFS, not the data",
        "run `git lfs pull` in its repository; or name the data set of the hub in place of the clone, as in \
         `.data` ORG/NAME:SPLIT, and it is downloaded",
    ),
];

const fn magic(
    bytes: &'static [u8],
    what: &'static str,
    help: &'static str,
) -> (&'static [u8], Kind) {
    (bytes, Kind { what, help })
}

/// Refuses a file that begins with `head`, unless it may be JSON.
pub(super) fn refuse(head: &[u8], path: &Path) -> Result<()> {
    let Some(Kind { what, help }) = kind(head) else {
        return Ok(());
    };
    let help = help.replace("FILE", &path.display().to_string());
    let help = format!(
        "{help}; readable are JSON lines, a JSON array (both also as .gz or .zst) and parquet"
    );
    Err(Error::file(path, format!("is {what}"), help))
}

fn kind(head: &[u8]) -> Option<Kind> {
    let by_magic = MAGIC.into_iter().find(|(magic, _)| head.starts_with(magic));
    if let Some((_, kind)) = by_magic {
        return Some(kind);
    }
    let (what, help) = match head {
        _ if Packing::of(head).is_some() => ("packed twice", UNPACK),
        [b'P', b'K', 3, 4, ..] if contains(head, b"xl/") => ("an Excel file", EXCEL),
        [b'P', b'K', 3, 4, ..] => ("a zip archive", UNPACK),
        [0x80, 2..=5, ..] => ("a Python pickle", EXPORT),
        [b'{' | b'[' | b'"', 0, ..] | [0, b'{' | b'[' | b'"', ..] => ("text in UTF-16", UTF8),
        _ if head
            .get(TAR_MAGIC..)
            .is_some_and(|rest| rest.starts_with(b"ustar")) =>
        {
            ("a tar archive", UNPACK)
        }
        _ if head.iter().take(TEXT).any(|&byte| byte == 0) => {
            ("binary, of no known format", EXPORT)
        }
        _ => return text_kind(head),
    };
    Some(Kind { what, help })
}

fn text_kind(head: &[u8]) -> Option<Kind> {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let text = text.trim_ascii_start();
    let begins = |with: &[u8]| {
        let start = text.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    let (what, help) = if begins(b"<!doctype html") || begins(b"<html") {
        ("an HTML page", DOWNLOAD)
    } else if begins(b"<") {
        ("XML or HTML", DOWNLOAD)
    } else if is_header(text, b'\t') {
        (
            "a table of values between tabs (TSV)",
            with_pandas!("read_csv('FILE', sep='\\t')"),
        )
    } else if is_header(text, b',') {
        (
            "a table of values between commas (CSV)",
            with_pandas!("read_csv('FILE')"),
        )
    } else if is_header(text, b';') {
        (
            "a table of values between semicolons (CSV)",
            with_pandas!("read_csv('FILE', sep=';')"),
        )
    } else {
        return None;
    };
    Some(Kind { what, help })
}

/// True if the first line is a list of column names with `delimiter` between them.
fn is_header(text: &[u8], delimiter: u8) -> bool {
    let mut lines = text.split(|&byte| byte == b'\n');
    let line = lines.next().unwrap_or_default().trim_ascii_end();
    let is_name = |field: &[u8]| {
        let name = field.strip_prefix(b"\"").unwrap_or(field);
        let name = name.strip_suffix(b"\"").unwrap_or(name);
        let usual = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-. ".contains(byte);
        name.iter().all(usual)
    };
    line.contains(&delimiter) && line.split(|&byte| byte == delimiter).all(is_name)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
