use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn text_source(text: &str) -> Source {
    Source::text(text, Path::new("d"))
}

/// All records of a source, over all its chunks.
fn records(mut source: Source) -> Result<Vec<Raw>> {
    let mut all = Vec::new();
    while let Some(chunk) = source.next_chunk()? {
        assert!(!chunk.is_empty());
        all.extend(chunk);
    }
    Ok(all)
}

fn values(source: Source) -> Result<Vec<Value>> {
    records(source)?.iter().map(Raw::value).collect()
}

/// The text of each record and its line.
fn found(text: &str) -> Vec<(usize, String)> {
    let records = records(text_source(text)).unwrap();
    let found = records.iter().map(|raw| match &raw.content {
        Record::Text { chunk, span, .. } => {
            let text = chunk[span.clone()].to_vec();
            (raw.place.line, String::from_utf8(text).unwrap())
        }
        Record::Row { .. } => panic!("a row in a text"),
    });
    found.collect()
}

/// The first error of a text, for a reader that parses each chunk before it asks for the next.
fn error(text: &str) -> String {
    first_error(text_source(text))
}

fn first_error(mut source: Source) -> String {
    loop {
        match source.next_chunk() {
            Ok(Some(chunk)) => {
                if let Some(error) = chunk.iter().find_map(|raw| raw.value().err()) {
                    return error.to_string();
                }
            }
            Ok(None) => panic!("no error"),
            Err(error) => return error.to_string(),
        }
    }
}

fn owned(expected: &[(usize, &str)]) -> Vec<(usize, String)> {
    let expected = expected.iter().map(|&(line, text)| (line, text.to_owned()));
    expected.collect()
}

#[test]
fn lines() {
    let expected = owned(&[(1, "{}"), (4, "{1}")]);
    assert_eq!(found("\u{FEFF}{}\r\n\n  \n{1}"), expected);
    assert_eq!(found(" \n"), []);
    assert_eq!(found(""), []);
}

#[test]
fn arrays() {
    let text = "\u{FEFF}\n[{}, {\"a\":\r\n[1]} ,\n\n {\"b\": \"]\"}\n]\n";
    let expected = [(2, "{}"), (2, "{\"a\":\r\n[1]}"), (5, "{\"b\": \"]\"}")];
    assert_eq!(found(text), owned(&expected));
    assert_eq!(found("[ ]"), []);
    assert_eq!(found("[1,\n\"a,b\"]"), owned(&[(1, "1"), (2, "\"a,b\"")]));
}

#[test]
fn objects_over_several_lines() {
    let text = "{\n  \"a\": 1\n}\n{\"b\": \"}\"}\r\n\n{\n}";
    let expected = [(1, "{\n  \"a\": 1\n}"), (4, "{\"b\": \"}\"}"), (6, "{\n}")];
    assert_eq!(found(text), owned(&expected));
    let text = error("{\n  \"a\": 1\n}\n{\n  \"a\": nope\n}");
    assert!(
        text.starts_with("d:5: not JSON: expected ident at column 9"),
        "{text}"
    );
    assert!(error("{\n  \"a\": [\n").starts_with("d:2: not JSON: EOF"));
}

/// A form feed is white space in ASCII and not in JSON: it is a record that is none, and no reason to wait for more.
#[test]
fn white_space_that_json_has_not_ends() {
    for last in ["\x0c", "\x0b", " \x0c ", "\x0c\n", "\u{85}", "x", "\"", "{"] {
        let text = format!("{{\n\"chosen\": 1}}{last}");
        assert!(error(&text).starts_with("d:2: not JSON"), "{last:?}");
        let text = format!("[{{\n\"chosen\": 1}}{last}");
        assert!(error(&text).starts_with("d:2: "), "{last:?}");
    }
}

#[test]
fn malformed_json_is_placed_in_the_file() {
    let text = error("{}\n{\"a\": nope}");
    assert!(
        text.starts_with("d:2: not JSON: expected ident at column 8"),
        "{text}"
    );
    // A record that is cut off does not affect the next one.
    let text = error("{\"a\": 1\n{\"a\": 1}");
    assert!(text.starts_with("d:1: not JSON: EOF"), "{text}");
    let text = error("[{},\n  {}, {\"a\" 1}]");
    assert!(
        text.starts_with("d:2: not JSON: expected `:` at column 12"),
        "{text}"
    );
    let text = error("[{},\n  {\n\"a\": 1,}]");
    assert!(
        text.starts_with("d:3: not JSON: trailing comma at column 8"),
        "{text}"
    );
    assert!(error("[{},]").starts_with("d:1: not JSON: expected value"));
    assert!(
        error("[{\"a\": [1}, {}]").starts_with("d:1: not JSON: expected `,` or `]` at column 10")
    );
}

#[test]
fn broken_arrays() {
    assert!(error("[{}\n{}]").starts_with("d:2: neither `,` nor `]`"));
    assert!(error("[{},\n").starts_with("d:2: the array is never closed"));
    assert!(error("[").starts_with("d:1: the array is never closed"));
    assert!(error("[{}]\n{}").starts_with("d:2: something follows"));
}

/// Records of many lengths, so that chunk borders fall into every part of a record.
fn many_records() -> Vec<String> {
    let count = 6000;
    let record = |at: usize| {
        format!(
            "{{\"at\": {at}, \"text\": \"{}é\\\"]\"}}",
            "x".repeat(at % 3001)
        )
    };
    (0..count).map(record).collect()
}

#[test]
fn lines_are_right_over_the_borders_of_chunks() {
    let records = many_records();
    let length: usize = records.iter().map(String::len).sum();
    assert!(length > 2 * CHUNK);
    let pretty = records.iter().map(|record| record.replacen(", ", ",\n", 1));
    let pretty: Vec<_> = pretty.collect();
    for (text, first, step, records) in [
        (records.join("\r\n\n"), 1, 2, &records),
        (pretty.join("\n"), 1, 2, &pretty),
        (format!("[\n{}\n]", pretty.join(",\n")), 2, 2, &pretty),
        (format!("\u{FEFF}[{}]", pretty.join(" , ")), 1, 1, &pretty),
    ] {
        let found = found(&text);
        let lines = (0..records.len()).map(|at| first + step * at);
        let expected = lines.zip(records.iter().cloned());
        assert!(found.into_iter().eq(expected));
    }
}

#[test]
fn columns_are_right_over_the_borders_of_chunks() {
    let filler = "x".repeat(CHUNK);
    let text = error(&format!("[\"{filler}\", \"{filler}\", nope]"));
    let column = 2 * CHUNK + 11;
    let expected = format!("d:1: not JSON: expected ident at column {column}");
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn what_is_too_long_is_no_record() {
    let text = format!("{{}}\n{{\"a\": \"{}", "x".repeat(70 << 20));
    let text = error(&text);
    assert!(
        text.starts_with("d:2: a record of more than 16 MiB"),
        "{text}"
    );
}

#[test]
fn bytes_that_are_not_utf8_are_their_records_fault() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, b"{\"a\": 1}\n{\"a\": \"\xE9\"}\n{\"a\": 3}\n").unwrap();
    let records = records(Source::open(file.path()).unwrap()).unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!(records[2].value().unwrap()["a"], 3);
    let error = records[1].value().unwrap_err().to_string();
    assert!(
        error.contains(":2: not UTF-8: byte 0xE9 at column 8"),
        "{error}"
    );
}

/// Writes `content` to a file called `name` in a new folder and calls `use_it` with its path.
fn with_file<T>(name: &str, content: &[u8], use_it: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    use_it(&path)
}

fn read(path: &Path) -> Result<Vec<Value>> {
    Source::open(path).and_then(values)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).unwrap()
}

#[test]
fn packed_files_are_told_by_their_content() {
    let (first, second) = (b"{\"a\": 1}\n", b"{\"a\":\n 2}");
    for pack in [gzip, zstd] {
        // `cat` joins compressed files like this; each part has its own header.
        let parts = [pack(first), pack(b""), pack(b"{\"a\": 2}\n")].concat();
        let read = with_file("data.txt", &parts, read).unwrap();
        assert_eq!(read.iter().map(|v| &v["a"]).collect::<Vec<_>>(), [1, 2]);

        let array = [b"[", &first[..], b",", second, b"]"].concat();
        let read = with_file("data.gz", &pack(&array), self::read).unwrap();
        assert_eq!(read.len(), 2);

        let long = many_records().join("\n");
        let packed = pack(long.as_bytes());
        let cut = &packed[..packed.len() - 100];
        let error = with_file("a.jsonl", cut, |path| {
            first_error(Source::open(path).unwrap())
        });
        assert!(error.contains("data are cut off or damaged"), "{error}");

        let error = with_file("a", &pack(&pack(first)), read_error);
        assert!(error.contains("is packed twice"), "{error}");
    }
    // pzstd begins its files with a skippable frame.
    let skipped = [b"\x50\x2A\x4D\x18\x01\0\0\0x", &zstd(first)[..]].concat();
    assert_eq!(with_file("a", &skipped, self::read).unwrap().len(), 1);
}

fn read_error(path: &Path) -> String {
    read(path).unwrap_err().to_string()
}

#[test]
fn other_formats_are_named() {
    let tar = [&[b'x'; 257][..], b"ustar\x0000"].concat();
    let utf16 = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<_>>()
    };
    for (content, what, help) in [
        (
            &b"prompt,chosen,rejected\na,b,c\n"[..],
            "a table of values between commas (CSV)",
            "read_csv",
        ),
        (
            b"\xEF\xBB\xBF\"prompt\";\"chosen\"\r\n",
            "a table of values between semicolons (CSV)",
            "sep=';'",
        ),
        (
            b"prompt\tchosen\n",
            "a table of values between tabs (TSV)",
            "sep='\\t'",
        ),
        (b"ARROW1\0\0", "an arrow file", "to_parquet"),
        (b"\xFF\xFF\xFF\xFF\x10\x02", "an arrow stream", "to_parquet"),
        (
            b"PK\x03\x04....xl/workbook.xml",
            "an Excel file",
            "read_excel",
        ),
        (b"PK\x03\x04....data.jsonl", "a zip archive", "unpack"),
        (&tar, "a tar archive", "unpack"),
        (&gzip(&tar), "a tar archive", "unpack"),
        (b"\x80\x04\x95", "a Python pickle", "JSON lines or parquet"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "a pointer of Git LFS, not the data",
            "git lfs pull",
        ),
        (
            b"\n<!DOCTYPE HTML><title>Sign in</title>",
            "an HTML page",
            "get the file again",
        ),
        (
            b"<?xml version=\"1.0\"?>",
            "XML or HTML",
            "get the file again",
        ),
        (
            &[b"\xFF\xFE", &utf16("{}")[..]].concat(),
            "text in UTF-16",
            "iconv -f utf-16",
        ),
        (&utf16("{\"a\": 1}"), "text in UTF-16", "iconv -f utf-16"),
        (b"BZh91AY", "packed with bzip2", "unpack"),
        (b"\xFD7zXZ\0", "packed with xz", "unpack"),
        (
            b"\x01\0\0\0",
            "binary, of no known format",
            "JSON lines or parquet",
        ),
    ] {
        let error = with_file("data.jsonl", content, read_error);
        assert!(
            error.contains(&format!("data.jsonl: is {what}\n  help: ")),
            "{error}"
        );
        assert!(error.contains(help), "{error}");
        assert!(!error.contains("FILE"), "{error}");
    }
}

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    folder.join(name)
}

#[test]
fn parquet_reads_as_pyarrow_does() {
    for (file, json) in [
        ("pairs-none.parquet", "pairs.json"),
        ("pairs-snappy.parquet", "pairs.json"),
        ("pairs-gzip.parquet", "pairs.json"),
        ("pairs-zstd.parquet", "pairs.json"),
        ("types.parquet", "types.json"),
        ("encodings.parquet", "encodings.json"),
        ("old.parquet", "old.json"),
    ] {
        let expected = read(&fixture(json)).unwrap();
        let found = read(&fixture(file)).unwrap();
        assert_eq!(found.len(), expected.len(), "{file}");
        for (found, expected) in found.iter().zip(&expected) {
            for (key, expected) in expected.as_object().unwrap() {
                assert_eq!(&found[key], expected, "{file}: {key}");
            }
            assert_eq!(found, expected, "{file}");
        }
    }
}

#[test]
fn numbers_and_bytes_that_json_has_not_are_named() {
    let pairs = read(&fixture("pairs-snappy.parquet")).unwrap();
    assert_eq!(not_json(&pairs[3]["score_chosen"]), Some("NaN"));
    assert_eq!(not_json(&pairs[3]["score_rejected"]), Some("-Infinity"));
    let types = read(&fixture("types.parquet")).unwrap();
    assert_eq!(
        not_json(&types[0]["binary"]),
        Some("binary data, not UTF-8")
    );
}

#[test]
fn rows_are_counted_over_row_groups() {
    let source = Source::open(&fixture("pairs-zstd.parquet")).unwrap();
    let rows = records(source).unwrap();
    let rows = rows.iter().map(|raw| raw.place.line);
    assert!(rows.eq(1..=5));
}

#[test]
fn several_files_are_read_in_turn_each_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::copy(
        fixture("pairs-gzip.parquet"),
        at("train-00000-of-00002.parquet"),
    )
    .unwrap();
    fs::copy(
        fixture("pairs-none.parquet"),
        at("train-00001-of-00002.parquet"),
    )
    .unwrap();
    let shards = Source::open(folder.path()).unwrap();
    assert_eq!(shards.files().len(), 2);
    assert_eq!(values(shards).unwrap().len(), 10);

    fs::write(at("b.jsonl.gz"), gzip(b"{\"a\": 1}\n{\"a\": 2}")).unwrap();
    fs::write(at("a.json"), "").unwrap();
    fs::write(at("c.json"), "[\n{\"a\": 3}, nope]").unwrap();
    let pattern = at("*.json*");
    let mixed = records(Source::open(&pattern).unwrap()).unwrap();
    let places: Vec<_> = mixed
        .iter()
        .map(|raw| (&*raw.place.path, raw.place.line))
        .collect();
    let (b, c) = (at("b.jsonl.gz"), at("c.json"));
    let expected = [(&*b, 1), (&*b, 2), (&*c, 2), (&*c, 2)];
    assert_eq!(places, expected);
    let error = mixed[3].value().unwrap_err().to_string();
    assert!(error.contains("c.json:2: not JSON"), "{error}");
}

#[test]
fn packed_parquet() {
    let packed = gzip(&fs::read(fixture("pairs-none.parquet")).unwrap());
    assert_eq!(with_file("a.parquet.gz", &packed, read).unwrap().len(), 5);
}

#[test]
fn parquet_that_cannot_be_read() {
    for (file, codec) in [
        ("codec-brotli.parquet", "brotli"),
        ("codec-lz4.parquet", "lz4"),
    ] {
        let error = read_error(&fixture(file));
        let expected = format!("is parquet compressed with {codec}, which cannot be read");
        assert!(
            error.contains(&expected) && error.contains("zstd"),
            "{error}"
        );
    }
    let whole = fs::read(fixture("pairs-snappy.parquet")).unwrap();
    for length in [4, 100, whole.len() - 1] {
        let error = with_file("a.parquet", &whole[..length], read_error);
        assert!(error.contains("a.parquet: parquet: "), "{error}");
        assert!(error.contains("cut off or damaged"), "{error}");
    }
}

#[test]
fn damaged_parquet_never_panics() {
    for file in [
        "pairs-snappy.parquet",
        "types.parquet",
        "encodings.parquet",
        "old.parquet",
    ] {
        let whole = fs::read(fixture(file)).unwrap();
        for at in (0..whole.len()).step_by(23) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x5B;
            // Any result is fine, except a panic.
            let _ = with_file("a.parquet", &damaged, read);
        }
    }
}

/// One thread can read the next chunk while others tokenize the last one.
#[test]
fn sources_go_to_other_threads() {
    fn can_be_sent<T: Send>() {}
    can_be_sent::<Source>();
    can_be_sent::<Raw>();
}
