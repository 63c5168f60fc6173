//! Parses the text of one record into a JSON value.

use serde_json::Value;

use super::Place;
use super::once::Once;
use super::scan::string_length;
use crate::error::{Error, Result};

/// The help for a text that is not JSON.
pub(super) const LAYOUTS: &str =
    "write one JSON object a line, or the whole file as one array of objects";

/// The help for a record that ends too early.
const CUT_OFF: &str = "a record ends before it is complete: if this is the file's last one, the file may be cut \
     off, so get or write it again; if records go over several lines, write one JSON object a line, or the whole \
     file as one array of objects";

/// The key of the object that marks a value which JSON cannot express. It is one control character, so no
/// record has such a key.
const MARK: &str = "\u{1}";

/// The mark of a value that JSON cannot express; `name` says which value.
pub(super) fn mark(name: &str) -> Value {
    Value::Object([(MARK.to_owned(), name.into())].into_iter().collect())
}

/// The name in a mark made by [`mark`]: `NaN`, `Infinity`, `-Infinity`, or a description of binary data;
/// `None` for any other value. Unread keys may hold marks; whoever reads one refuses it by this name.
pub(crate) fn not_json(value: &Value) -> Option<&str> {
    match value {
        Value::Object(object) if object.len() == 1 => object.get(MARK)?.as_str(),
        _ => None,
    }
}

/// Parses the text of a record, which begins behind `column` bytes of its line.
///
/// Numbers that are not finite, as Python and pandas write them, become marks.
pub(super) fn parse(bytes: &[u8], place: &Place, column: usize) -> Result<Value> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let newlines = good.iter().filter(|&&byte| byte == b'\n').count();
        let line_start = good.iter().rposition(|&byte| byte == b'\n');
        let column = line_start.map_or(column + good.len(), |newline| good.len() - newline - 1);
        Error::data(
            &place.path,
            place.line + newlines,
            format!(
                "not UTF-8: byte {:#04X} at column {}",
                bytes[good.len()],
                column + 1
            ),
            "save the file as UTF-8 (from Latin-1: `iconv -f latin1 -t utf-8`)",
        )
    })?;
    let read = Once::parse(text).or_else(|error| {
        let Some(numbers) = NotFinite::find(text) else {
            return Err(malformed(text, &error, place, column));
        };
        Once::parse(&numbers.marked).map_err(|marked| {
            // The columns in this text are those of the file.
            let error = serde_json::from_str::<Value>(&numbers.zeroed).err();
            malformed(text, &error.unwrap_or(marked), place, column)
        })
    })?;
    match read {
        Once::Value(value) => Ok(value),
        Once::Twice(key) => Err(place.error(
            format!("the record has the key `{key}` twice"),
            "keep one of the two, or give one another name: which is meant, nobody can tell",
        )),
    }
}

/// Converts a parser's error for `text` into an error with the place in the file.
fn malformed(text: &str, error: &serde_json::Error, place: &Place, column: usize) -> Error {
    let before = if error.line() == 1 { column } else { 0 };
    let at = before + error.column();
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    let (reason, help) = match reason {
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => (
            "half a character (`\\ud800` to `\\udfff` come in pairs: an emoji was cut in two)",
            "write the whole character, or remove it",
        ),
        "key must be a string" if text.trim_start().starts_with("{'") => (
            "keys in single quotes",
            "this is how Python prints a dict: write it with `json.dumps`",
        ),
        _ if reason.starts_with("EOF while parsing") => (reason, CUT_OFF),
        _ => (reason, LAYOUTS),
    };
    Error::data(
        &place.path,
        place.line + error.line().saturating_sub(1),
        format!("not JSON: {reason} at column {at}"),
        help,
    )
}

/// A text in which the numbers that are not finite are replaced.
struct NotFinite {
    /// With marks in their places.
    marked: String,
    /// With zeros of the same length in their places.
    zeroed: String,
}

impl NotFinite {
    /// `None` if all numbers in `text` are finite.
    fn find(text: &str) -> Option<NotFinite> {
        let mut found = NotFinite {
            marked: String::new(),
            zeroed: String::new(),
        };
        let (mut at, mut copied) = (0, 0);
        while at < text.len() {
            let rest = &text[at..];
            let Some(name) = not_finite(rest) else {
                at += match rest.as_bytes()[0] {
                    b'"' => string_length(rest.as_bytes()).unwrap_or(rest.len()),
                    _ => number_length(rest).max(rest.chars().next().map_or(1, char::len_utf8)),
                };
                continue;
            };
            let before = &text[copied..at];
            let length = if rest.starts_with(name) {
                name.len()
            } else {
                number_length(rest)
            };
            found.marked.extend([before, &mark(name).to_string()]);
            found.zeroed.push_str(before);
            found.zeroed.push_str("0.");
            found.zeroed.extend(std::iter::repeat_n('0', length - 2));
            at += length;
            copied = at;
        }
        (copied > 0).then(|| {
            found.marked.push_str(&text[copied..]);
            found.zeroed.push_str(&text[copied..]);
            found
        })
    }
}

/// The name of the number at the start of `text`, if it is not finite: a word, or a number too large.
fn not_finite(text: &str) -> Option<&'static str> {
    const WORDS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
    let [_, infinity, minus] = WORDS;
    let word = WORDS.into_iter().find(|word| text.starts_with(word));
    word.or_else(|| match text[..number_length(text)].parse::<f64>().ok()? {
        f64::INFINITY => Some(infinity),
        f64::NEG_INFINITY => Some(minus),
        _ => None,
    })
}

/// The length in bytes of the number at the start of `text`; 0 if there is none.
fn number_length(text: &str) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return 0;
    }
    let bytes = text.as_bytes().iter();
    bytes.take_while(|byte| is_part(byte)).count()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn parsed(text: &str) -> Result<Value> {
        let place = Place {
            path: Arc::from(Path::new("d")),
            line: 7,
        };
        parse(text.as_bytes(), &place, 2)
    }

    fn error(text: &str) -> String {
        parsed(text).unwrap_err().to_string()
    }

    #[test]
    fn numbers_that_are_not_finite_are_marked() {
        let text =
            r#"{"a": NaN, "b": [-Infinity, Infinity,1e999 , -2E+400], "c": "NaN, \"Infinity"}"#;
        let value = parsed(text).unwrap();
        assert_eq!(not_json(&value["a"]), Some("NaN"));
        let names: Vec<_> = value["b"]
            .as_array()
            .unwrap()
            .iter()
            .map(not_json)
            .collect();
        let expected = ["-Infinity", "Infinity", "Infinity", "-Infinity"];
        assert_eq!(names, expected.map(Some));
        assert_eq!(value["c"], "NaN, \"Infinity");
        assert_eq!(not_json(&value), None);
        for finite in [json!({}), json!({"a": "NaN"}), json!("NaN"), json!(1e308)] {
            assert_eq!(not_json(&finite), None);
        }
    }

    #[test]
    fn errors_beside_them_keep_their_column() {
        let text = error(r#"{"é": NaN, "b": Infinity, "c" 1}"#);
        assert!(
            text.starts_with("d:7: not JSON: expected `:` at column 34"),
            "{text}"
        );
        assert!(
            error(r#"{"a": NaNo}"#).starts_with("d:7: not JSON: expected `,` or `}` at column 12")
        );
        assert!(error(r#"{"a": nan}"#).starts_with("d:7: not JSON: expected ident"));
    }

    #[test]
    fn a_key_twice_is_refused_by_name() {
        for text in [
            r#"{"prompt": "One?", "prompt": "Two?", "chosen": "c"}"#,
            r#" {"prompt": "p", "x": NaN, "prompt": "p"}"#,
        ] {
            let text = error(text);
            let expected = "d:7: the record has the key `prompt` twice\n";
            assert!(text.starts_with(expected), "{text}");
        }
        let broken = error(r#"{"a": 1, "a": 2"#);
        assert!(broken.starts_with("d:7: not JSON: EOF"), "{broken}");
        assert!(broken.contains("the file may be cut off"), "{broken}");
        let value = parsed(r#" {"b": {"a": 1}, "a": [{"b": 2}]} "#).unwrap();
        assert_eq!(value, json!({"b": {"a": 1}, "a": [{"b": 2}]}));
    }

    #[test]
    fn half_a_character() {
        assert_eq!(parsed(r#""\ud83d\ude00""#).unwrap(), "\u{1F600}");
        for half in [
            r#"["\ud83d"]"#,
            r#"["\ude00"]"#,
            r#"["\ud83dx"]"#,
            r#"["\ud83d\u0041"]"#,
        ] {
            let text = error(half);
            assert!(
                text.starts_with("d:7: not JSON: half a character"),
                "{text}"
            );
        }
    }

    #[test]
    fn python_dicts() {
        let text = error("{'prompt': 'p'}");
        let expected = "d:7: not JSON: keys in single quotes at column 4";
        assert!(
            text.starts_with(expected) && text.contains("json.dumps"),
            "{text}"
        );
    }

    #[test]
    fn not_utf8() {
        let place = Place {
            path: Arc::from(Path::new("d")),
            line: 7,
        };
        let error = |bytes| parse(bytes, &place, 2).unwrap_err().to_string();
        let text = error(b"{\"caf\xE9\"");
        assert!(
            text.starts_with("d:7: not UTF-8: byte 0xE9 at column 8\n"),
            "{text}"
        );
        let text = error(b"{\n\xFF");
        assert!(
            text.starts_with("d:8: not UTF-8: byte 0xFF at column 1\n"),
            "{text}"
        );
    }

    #[test]
    fn nesting_without_end_is_an_error() {
        let deep = "[".repeat(100_000);
        assert!(error(&deep).contains("recursion limit exceeded"));
    }
}
