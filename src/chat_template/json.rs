//! The filter `tojson` as transformers overrides it: Python's `json.dumps`, with `ensure_ascii=False` by
//! default.

use minijinja::{Error, Value};

use super::arguments::{Arguments, text_of};
use super::limits::within_limit;
use super::values::{Python, compare, error, float_repr, items, text, type_name};

/// The format of the JSON text.
struct Style {
    ascii: bool,
    /// One step of indentation. `None` puts everything on one line.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// `value|tojson(ensure_ascii, indent, separators, sort_keys)`.
pub(super) fn to_json(value: &Value, arguments: Arguments) -> Result<Value, Error> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let bound = arguments.bind("tojson", names, 0)?;
    let indent = match bound.given(1) {
        None => None,
        Some(indent) => match Python::from(indent) {
            Python::Str(text) => Some(text.to_owned()),
            other => {
                let width = other
                    .int()
                    .ok_or_else(|| error("tojson(): `indent` must be a number or a text"))?;
                let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
                within_limit(width)?;
                Some(" ".repeat(width))
            }
        },
    };
    let (item_separator, key_separator) = match bound.given(2) {
        Some(separators) => match &items(separators)?[..] {
            [item, key] => (text_of(item)?.to_owned(), text_of(key)?.to_owned()),
            _ => return Err(error("tojson(): `separators` must be two texts")),
        },
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
    };
    let style = Style {
        ascii: bound.truth(0),
        indent,
        item_separator,
        key_separator,
        sort_keys: bound.truth(3),
    };
    let mut out = String::new();
    style.write(&mut out, value, 0)?;
    Ok(Value::from(out))
}

impl Style {
    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        within_limit(out.len())?;
        match Python::from(value) {
            Python::None => out.push_str("null"),
            Python::Bool(value) => out.push_str(if value { "true" } else { "false" }),
            Python::Int(int) => *out += &int.to_string(),
            Python::Float(float) => *out += &number(float),
            Python::Str(text) => self.string(out, text),
            Python::List | Python::Tuple => {
                self.container(out, ('[', ']'), items(value)?, depth, |out, item| {
                    self.write(out, &item, depth + 1)
                })?;
            }
            Python::Dict(dict) => {
                let mut entries = dict.entries.clone();
                if self.sort_keys {
                    // If two keys have no order, the whole sort fails.
                    let mut failure = None;
                    entries.sort_by(|(a, _), (b, _)| {
                        compare(a, b).unwrap_or_else(|err| {
                            failure = Some(err);
                            std::cmp::Ordering::Equal
                        })
                    });
                    if let Some(err) = failure {
                        return Err(err);
                    }
                }
                self.container(out, ('{', '}'), entries, depth, |out, (key, value)| {
                    self.string(out, &key_text(&key)?);
                    *out += &self.key_separator;
                    self.write(out, &value, depth + 1)
                })?;
            }
            _ => {
                return Err(error(format!(
                    "Object of type {} is not JSON serializable",
                    type_name(value)
                )));
            }
        }
        Ok(())
    }

    fn container<T>(
        &self,
        out: &mut String,
        (begin, end): (char, char),
        items: Vec<T>,
        depth: usize,
        mut write: impl FnMut(&mut String, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(begin);
        let is_empty = items.is_empty();
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                *out += &self.item_separator;
            }
            self.new_line(out, depth + 1);
            write(out, item)?;
        }
        if !is_empty {
            self.new_line(out, depth);
        }
        out.push(end);
        Ok(())
    }

    fn new_line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            *out += &indent.repeat(depth);
        }
    }

    fn string(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                '\0'..='\x1f' => *out += &format!("\\u{:04x}", u32::from(c)),
                '\x7f'.. if self.ascii => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        *out += &format!("\\u{unit:04x}");
                    }
                }
                _ => out.push(c),
            }
        }
        out.push('"');
    }
}

fn number(float: f64) -> String {
    if float.is_nan() {
        "NaN".into()
    } else if float.is_infinite() {
        if float > 0.0 { "Infinity" } else { "-Infinity" }.into()
    } else {
        float_repr(float)
    }
}

/// A key's text in JSON.
fn key_text(key: &Value) -> Result<String, Error> {
    match Python::from(key) {
        Python::Str(text) => Ok(text.to_owned()),
        Python::None => Ok("null".into()),
        Python::Bool(value) => Ok(value.to_string()),
        Python::Float(float) => Ok(number(float)),
        Python::Int(_) => Ok(text(key)),
        _ => Err(error(format!(
            "keys must be str, int, float, bool or None, not {}",
            type_name(key)
        ))),
    }
}
