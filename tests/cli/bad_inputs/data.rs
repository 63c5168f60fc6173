//! Data: records, and the formats of files.

use super::contents::*;
use super::*;

/// Text that is no JSON, or not the JSON of pairs.
pub(super) fn jsonl() -> Vec<BadInput> {
    vec![
        data(
            "arrays nested 100 000 deep, never closed",
            "bad.jsonl",
            repeated(r#"{"prompt":"a","chosen":"#, "[", 100_000, ""),
            &["bad.jsonl:1: not JSON", "recursion limit"],
        ),
        data(
            "objects nested 100 000 deep",
            "bad.jsonl",
            repeated("", r#"{"a":"#, 100_000, ""),
            &["bad.jsonl:1: not JSON", "recursion limit"],
        ),
        data(
            "a file of 100 000 opening brackets",
            "bad.jsonl",
            repeated("", "[", 100_000, ""),
            &["bad.jsonl:1: not JSON", "recursion limit"],
        ),
        data(
            "a NUL byte within a string",
            "bad.jsonl",
            b"{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"prompt\":\
\"a\0b\",\"chosen\":\"b\",\"rejected\":\"c\"}\n"
                .to_vec(),
            &["bad.jsonl: is binary"],
        ),
        data(
            "nothing but NUL bytes",
            "bad.jsonl",
            repeated("", "\0", 100, ""),
            &["bad.jsonl: is binary"],
        ),
        data(
            "a first half of a surrogate pair",
            "bad.jsonl",
            text(
                "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"prompt\":\
\"\\ud83d\",\"chosen\":\"b\",\"rejected\":\"c\"}\n",
            ),
            &["bad.jsonl:2: not JSON: half a character", "column 18"],
        ),
        data(
            "a second half of a surrogate pair",
            "bad.jsonl",
            text(
                "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"prompt\":\
\"a\",\"chosen\":\"b\\ude00\",\"rejected\":\"c\"}\n",
            ),
            &["bad.jsonl:2: not JSON: half a character", "column 31"],
        ),
        data(
            "Latin-1",
            "bad.jsonl",
            b"{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"prompt\":\
\"caf\xe9\",\"chosen\":\"b\",\"rejected\":\"c\"}\n"
                .to_vec(),
            &[
                "bad.jsonl:2: not UTF-8: byte 0xE9 at column 15",
                "iconv -f latin1",
            ],
        ),
        data(
            "UTF-16",
            "bad.jsonl",
            b"\xff\xfe{\0\"\0p\0\"\0:\0\"\0a\0\"\0}\0\n\0".to_vec(),
            &["bad.jsonl: is text in UTF-16", "iconv -f utf-16"],
        ),
        data(
            "a byte order mark alone",
            "bad.jsonl",
            b"\xef\xbb\xbf".to_vec(),
            &["bad.jsonl: no record"],
        ),
        data(
            "blank lines of Windows alone",
            "bad.jsonl",
            text("\r\n\r\n \t\r\n"),
            &["bad.jsonl: no record"],
        ),
        data(
            "lines that end in carriage returns alone",
            "bad.jsonl",
            text(
                "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\r{\"prompt\":\
\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}",
            ),
            &["bad.jsonl:1: not JSON: trailing characters at column 44"],
        ),
        data(
            "two records on a line",
            "bad.jsonl",
            text(
                "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"} {\"prompt\":\"a\",\
\"chosen\":\"b\",\"rejected\":\"c\"}\n",
            ),
            &["bad.jsonl:1: not JSON: trailing characters"],
        ),
        data(
            "a comma behind the last key",
            "bad.jsonl",
            text("{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\",}\n"),
            &["bad.jsonl:1: not JSON: trailing comma at column 43"],
        ),
        data(
            "a comment",
            "bad.jsonl",
            text("// pairs\n{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n"),
            &["bad.jsonl:1: not JSON: expected value at column 1"],
        ),
        data(
            "Python's dict",
            "bad.jsonl",
            text("{'prompt': 'a'}\n"),
            &["bad.jsonl:1: not JSON: keys in single quotes", "json.dumps"],
        ),
        data(
            "a tab within a string",
            "bad.jsonl",
            text(
                "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"prompt\":\
\"a\tb\",\"chosen\":\"b\",\"rejected\":\"c\"}\n",
            ),
            &["bad.jsonl:2: not JSON: control character"],
        ),
        data(
            "an escape that JSON lacks",
            "bad.jsonl",
            text("{\"prompt\":\"\\x41\",\"chosen\":\"b\",\"rejected\":\"c\"}\n"),
            &["bad.jsonl:1: not JSON: invalid escape at column 13"],
        ),
        data(
            "a string that is cut off",
            "bad.jsonl",
            text("{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"prompt\":\"a"),
            &["bad.jsonl:2: not JSON: EOF", "the file may be cut off"],
        ),
        data(
            "a record over several lines that is cut off",
            "bad.jsonl",
            text("{\n \"prompt\": \"a\",\n \"chosen\": \"b\"\n"),
            &["bad.jsonl:3: not JSON: EOF", "the file may be cut off"],
        ),
        data(
            "a key twice",
            "bad.jsonl",
            text("{\"prompt\":\"a\",\"prompt\":\"x\",\"chosen\":\"b\",\"rejected\":\"c\"}\n"),
            &["bad.jsonl:1: the record has the key `prompt` twice"],
        ),
        data(
            "an array of arrays",
            "bad.jsonl",
            text(r#"[["a","b","c"]]"#),
            &["bad.jsonl:1: the record is an array"],
        ),
        data(
            "an array of strings",
            "bad.jsonl",
            text(r#"["a"]"#),
            &["bad.jsonl:1: the record is a string"],
        ),
        data(
            "all pairs under one key",
            "bad.jsonl",
            text(r#"{"train":[{"prompt":"a","chosen":"b","rejected":"c"}]}"#),
            &[
                "bad.jsonl:1: ",
                "one object whose `train` is a list",
                "give that list alone",
            ],
        ),
        data(
            "an object for a prompt",
            "bad.jsonl",
            text("{\"prompt\":{\"text\":\"a\"},\"chosen\":\"b\",\"rejected\":\"c\"}\n"),
            &["bad.jsonl:1: `prompt` is an object", "--columns"],
        ),
        data(
            "strings in place of messages",
            "bad.jsonl",
            text("{\"prompt\":\"a\",\"chosen\":[\"b\"],\"rejected\":[\"c\"]}\n"),
            &["bad.jsonl:1: `chosen[0]` is a string", "not a message"],
        ),
        data(
            "a message without content",
            "bad.jsonl",
            text("{\"prompt\":\"a\",\"chosen\":[{\"role\":\"assistant\"}],\"rejected\":\"c\"}\n"),
            &["bad.jsonl:1: `chosen[0].content` is missing"],
        ),
        data(
            "a number for a message",
            "bad.jsonl",
            text(
                "{\"prompt\":\"a\",\"chosen\":[{\"role\":\"assistant\",\"content\":5}\
],\"rejected\":\"c\"}\n",
            ),
            &["bad.jsonl:1: `chosen[0].content` is a number (5)"],
        ),
        data(
            "no message at all",
            "bad.jsonl",
            text("{\"prompt\":\"a\",\"chosen\":[],\"rejected\":[]}\n"),
            &["bad.jsonl:1: `chosen` has no assistant message"],
        ),
        data(
            "the user answers",
            "bad.jsonl",
            text(
                "{\"prompt\":\"a\",\"chosen\":[{\"role\":\"user\",\"content\":\"b\"}]\
,\"rejected\":[{\"role\":\"user\",\"content\":\"c\"}]}\n",
            ),
            &["bad.jsonl:1: `chosen` has no assistant message"],
        ),
        data(
            "a label that is a word",
            "bad.jsonl",
            text("{\"prompt\":\"a\",\"completion\":\"b\",\"label\":\"yes\"}\n"),
            &[r#"bad.jsonl:1: `label` is a string ("yes")"#],
        ),
        data(
            "an id of 23 digits",
            "bad.jsonl",
            text(
                "{\"prompt_ids\":[1],\"chosen_ids\":[99999999999999999999999],\"rejected_ids\":\
[3]}\n",
            ),
            &["bad.jsonl:1: `chosen_ids[0]` is 1e+23, not a token id"],
        ),
        data(
            "an id of 100 000 digits",
            "bad.jsonl",
            repeated(
                r#"{"prompt_ids":["#,
                "9",
                100_000,
                "],\"chosen_ids\":[2],\"rejected_ids\":[3]}\n",
            ),
            &["bad.jsonl:1: `prompt_ids[0]` is Infinity, not a token id"],
        ),
        data(
            "an id with an exponent",
            "bad.jsonl",
            text("{\"prompt_ids\":[1e2],\"chosen_ids\":[2],\"rejected_ids\":[3]}\n"),
            &["bad.jsonl:1: `prompt_ids[0]` is 100.0"],
        ),
        data(
            "an id in quotes",
            "bad.jsonl",
            text("{\"prompt_ids\":[\"1\"],\"chosen_ids\":[2],\"rejected_ids\":[3]}\n"),
            &["bad.jsonl:1: `prompt_ids[0]` is a string"],
        ),
        data(
            "an id in place of a list",
            "bad.jsonl",
            text("{\"prompt_ids\":5,\"chosen_ids\":[2],\"rejected_ids\":[3]}\n"),
            &[
                "bad.jsonl:1: `prompt_ids` is a number (5)",
                "write the ids as a list",
            ],
        ),
        data(
            "text beside ids",
            "bad.jsonl",
            text("{\"prompt\":\"x\",\"chosen_ids\":[2],\"rejected_ids\":[3]}\n"),
            &["bad.jsonl:1: a pre-tokenized record without `prompt_ids`"],
        ),
    ]
}

/// Files of other formats, packed ones and parquet; some claim sizes that they do not have.
pub(super) fn other_formats() -> Vec<BadInput> {
    vec![
        data(
            "commas between values",
            "bad.jsonl",
            text("prompt,chosen,rejected\na,b,c\n"),
            &[
                "bad.jsonl: is a table of values between commas (CSV)",
                "pandas.read_csv",
            ],
        ),
        data(
            "tabs between values",
            "bad.tsv",
            text("prompt\tchosen\trejected\na\tb\tc\n"),
            &[
                "bad.tsv: is a table of values between tabs",
                "pandas.read_csv",
            ],
        ),
        data(
            "a web page",
            "bad.jsonl",
            text("<!doctype html><html><body>404</body></html>"),
            &["bad.jsonl: is an HTML page"],
        ),
        data(
            "a pointer of Git LFS",
            "bad.jsonl",
            text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:248dfc3911869ec493c76e65bf2\
fcf7f615828b0254c12b473182f0f81d3a707\nsize 548105171\n",
            ),
            &["bad.jsonl: is a pointer of Git LFS", "git lfs pull"],
        ),
        data(
            "a zip archive",
            "bad.jsonl",
            repeated("PK\u{3}\u{4}", "\0", 30, ""),
            &["bad.jsonl: is a zip archive", "unpack it"],
        ),
        data(
            "an arrow file",
            "bad.arrow",
            repeated("ARROW1", "\0", 30, ""),
            &["bad.arrow: is an arrow file", "to_parquet"],
        ),
        data(
            "a database",
            "bad.db",
            repeated("SQLite format 3", "\0", 30, ""),
            &["bad.db: is an SQLite database"],
        ),
        data(
            "bzip2",
            "bad.jsonl.bz2",
            repeated("BZh91AY&SY", "\0", 30, ""),
            &["bad.jsonl.bz2: is packed with bzip2", "unpack it"],
        ),
        data(
            "xz",
            "bad.jsonl.xz",
            b"\xfd7zXZ\0\0\0\0\0\0\0\0\0".to_vec(),
            &["bad.jsonl.xz: is packed with xz", "unpack it"],
        ),
        data(
            "gzip that is cut off",
            "bad.jsonl.gz",
            first(
                25,
                gzip(repeated(
                    "",
                    "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n",
                    50,
                    "",
                )),
            ),
            &["bad.jsonl.gz: its gzip data are cut off or damaged"],
        ),
        data(
            "gzip without its end",
            "bad.jsonl.gz",
            without_last(
                4,
                gzip(repeated(
                    "",
                    "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n",
                    50,
                    "",
                )),
            ),
            &["bad.jsonl.gz: its gzip data are cut off or damaged"],
        ),
        data(
            "gzip with another checksum",
            "bad.jsonl.gz",
            patched(
                gzip(repeated(
                    "",
                    "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n",
                    50,
                    "",
                )),
                -8,
                b"\x01\x02\x03\x04",
            ),
            &[
                "bad.jsonl.gz: its gzip data are cut off or damaged",
                "checksum",
            ],
        ),
        data(
            "the first two bytes of gzip",
            "bad.jsonl.gz",
            b"\x1f\x8b".to_vec(),
            &["bad.jsonl.gz: its gzip data are cut off or damaged"],
        ),
        data(
            "gzip of another method",
            "bad.jsonl.gz",
            b"\x1f\x8b\x07\0\0\0\0\0\0\x03\xff\xff\xff\xff".to_vec(),
            &["bad.jsonl.gz: its gzip data", "invalid gzip header"],
        ),
        data(
            "gzip of gzip",
            "bad.jsonl.gz",
            gzip(gzip(text(
                "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n",
            ))),
            &["bad.jsonl.gz: is packed twice"],
        ),
        data(
            "a line of 70 MB in 70 kB of gzip",
            "bad.jsonl.gz",
            gzip(repeated(r#"{"prompt":""#, "a", 70_000_000, r#""}"#)),
            &["bad.jsonl.gz:1: a record of more than 16 MiB"],
        )
        .claims(),
        data(
            "zstd that is cut off",
            "bad.jsonl.zst",
            first(
                20,
                zstandard(repeated(
                    "",
                    "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n",
                    50,
                    "",
                )),
            ),
            &["bad.jsonl.zst: its zstd data are cut off or damaged"],
        ),
        data(
            "zstd that claims 2^63 bytes",
            "bad.jsonl.zst",
            b"(\xb5/\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x7f\x01\0\0".to_vec(),
            &["bad.jsonl.zst: its zstd data", "too much memory"],
        )
        .claims(),
        data(
            "zstd with a window of 2 GiB",
            "bad.jsonl.zst",
            b"(\xb5/\xfd\0\xa8\x01\0\0".to_vec(),
            &["bad.jsonl.zst: its zstd data", "too much memory"],
        )
        .claims(),
        data(
            "zstd with a dictionary",
            "bad.jsonl.zst",
            b"(\xb5/\xfd#\x07\0\0\0\x05)\0\0hello".to_vec(),
            &["bad.jsonl.zst: its zstd data", "Dictionary"],
        ),
        data(
            "a line of 70 MB in a few kB of zstd",
            "bad.jsonl.zst",
            zstandard(repeated(r#"{"prompt":""#, "a", 70_000_000, r#""}"#)),
            &["bad.jsonl.zst:1: a record of more than 16 MiB"],
        )
        .claims(),
        data(
            "the first four bytes of parquet",
            "bad.parquet",
            text("PAR1"),
            &["bad.parquet: parquet: ", "cut off or damaged"],
        ),
        data(
            "half of parquet",
            "bad.parquet",
            first(2000, of_repository("tests/data/train_prefs.parquet")),
            &["bad.parquet: parquet: ", "cut off or damaged"],
        ),
        data(
            "parquet with a footer of 4 GiB",
            "bad.parquet",
            patched(
                of_repository("tests/data/train_prefs.parquet"),
                -8,
                b"\xff\xff\xff\xff",
            ),
            &["bad.parquet: parquet: ", "4294967303"],
        )
        .claims(),
        data(
            "a page of parquet that claims 2 GiB",
            "bad.parquet",
            huge_page(of_repository("tests/data/pairs-snappy.parquet")),
            &["bad.parquet: parquet: ", "claims to hold 2147483647"],
        )
        .claims(),
        data(
            "parquet with an empty footer",
            "bad.parquet",
            patched(
                of_repository("tests/data/train_prefs.parquet"),
                -8,
                b"\0\0\0\0",
            ),
            &["bad.parquet: parquet: ", "cut off or damaged"],
        ),
        data(
            "encrypted parquet",
            "bad.parquet",
            patched(of_repository("tests/data/train_prefs.parquet"), -4, b"PARE"),
            &["bad.parquet: parquet: ", "encrypt"],
        ),
        data(
            "parquet that claims 2^31 columns",
            "bad.parquet",
            b"PAR1\x15\x02\x19\xfc\xff\xff\xff\xff\x07\t\0\0\0PAR1".to_vec(),
            &["bad.parquet: parquet: ", "2147483647"],
        )
        .claims(),
        data(
            "parquet with a page that claims to be packed into 2 GiB",
            "bad.parquet",
            patched(
                of_repository("tests/data/train_prefs.parquet"),
                4,
                b"\x15\x04\x15\xaa\x02\x15\xfe\xff\xff\xff\x0fL\x15\x0c\x15\0\x12\0\0",
            ),
            &["bad.parquet: parquet: "],
        )
        .claims(),
        data(
            "parquet with a damaged page",
            "bad.parquet",
            patched(of_repository("tests/data/train_prefs.parquet"), 62, b"\xff"),
            &["bad.parquet: parquet: ", "snappy"],
        ),
        data(
            "parquet with a dictionary that is said to be data",
            "bad.parquet",
            patched(
                of_repository("tests/data/train_prefs.parquet"),
                -2349,
                b"\xd9",
            ),
            &["bad.parquet: parquet: ", "cannot be decoded"],
        ),
    ]
}
