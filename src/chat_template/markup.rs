//! Texts that are safe to put into HTML (Python's `Markup`), and their effect on texts that join them.

use minijinja::Value;

use super::values;

/// Escapes a text that joins a `Markup`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '\'' => escaped += "&#39;",
            '"' => escaped += "&#34;",
            _ => escaped.push(c),
        }
    }
    escaped
}

/// The text as a `Markup`: escaped, unless it is one.
pub(super) fn escaped(value: &Value) -> String {
    let text = values::text(value);
    if value.is_safe() { text } else { escape(&text) }
}

/// A text that is a `Markup` if the value it comes from is one.
pub(super) fn with_safety(origin: &Value, text: String) -> Value {
    if origin.is_safe() {
        Value::from_safe_string(text)
    } else {
        Value::from(text)
    }
}
