//! `strftime_now`: formats a time as Python's `strftime` does in the C locale.

use std::fmt::Write;

use chrono::NaiveDateTime;
use chrono::format::{Item, StrftimeItems};

/// Directives that chrono formats as the C library does.
const SHARED: &str = "aAbBcCdDeFgGhHIjklmMnprRsStTuUVwWxXyY";

/// Formats the time. Text outside directives stays as it is.
pub(super) fn strftime(time: NaiveDateTime, pattern: &str) -> String {
    let mut written = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        written += &rest[..at];
        let directive = &rest[at..];
        let body = directive[1..].trim_start_matches(['-', '_', '0', '^', '#']);
        let flags = &directive[1..directive.len() - body.len()];
        let Some(name) = body.chars().next() else {
            written += directive;
            return written;
        };
        rest = &body[name.len_utf8()..];
        match name {
            '%' => written.push('%'),
            // The time has no zone, so these directives give nothing.
            'z' | 'Z' => {}
            'f' => written += &time.format("%6f").to_string(),
            'P' => written += &time.format("%P").to_string(),
            _ if SHARED.contains(name) => written += &formatted(time, flags, name),
            _ => written += &directive[..directive.len() - rest.len()],
        }
    }
    written + rest
}

/// Formats one directive with the C library's flags: `-`, `_` and `0` set the padding, `^` and `#` the case.
fn formatted(time: NaiveDateTime, flags: &str, name: char) -> String {
    let pad = flags.chars().rfind(|flag| "-_0".contains(*flag));
    let pad = pad.map(String::from).unwrap_or_default();
    // Only numbers can be padded; for any other directive chrono rejects the flag.
    let pattern = [format!("%{pad}{name}"), format!("%{name}")]
        .into_iter()
        .find(|pattern| !StrftimeItems::new(pattern).any(|item| item == Item::Error))
        .unwrap_or_default();
    let mut text = String::new();
    if write!(text, "{}", time.format(&pattern)).is_err() {
        return format!("%{flags}{name}");
    }
    if flags.contains('^') {
        text = text.to_uppercase();
    } else if flags.contains('#') {
        text = if name == 'p' {
            text.to_lowercase()
        } else {
            text.to_uppercase()
        };
    }
    text
}
