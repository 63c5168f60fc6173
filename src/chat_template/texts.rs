//! Operations of Python's `str`.

use minijinja::Error;

use super::limits::within_limit;
use super::values::is_printable;

/// Python's `str.isspace` for one character.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Python's `str.replace` of the first `count` matches. An empty `old` matches between all characters, as in
/// Python.
pub(super) fn replaced(text: &str, old: &str, new: &str, count: usize) -> Result<String, Error> {
    let places = text.matches(old).count().min(count);
    within_limit(text.len().saturating_add(places.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, count))
}

/// Python's `str.capitalize`.
pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        None => String::new(),
        // The lower case of a character depends on the characters before it, so the whole text is lowered at
        // once.
        Some(first) => {
            let head: usize = first.to_lowercase().map(char::len_utf8).sum();
            title_case(first) + &text.to_lowercase()[head..]
        }
    }
}

/// The title case of a word's first character.
fn title_case(c: char) -> String {
    let upper: String = c.to_uppercase().collect();
    match c {
        // Digraphs have a title case of their own.
        'Ǆ' | 'ǅ' | 'ǆ' => "ǅ".into(),
        'Ǉ' | 'ǈ' | 'ǉ' => "ǈ".into(),
        'Ǌ' | 'ǋ' | 'ǌ' => "ǋ".into(),
        'Ǳ' | 'ǲ' | 'ǳ' => "ǲ".into(),
        // Georgian letters have no title case.
        'ა'..='ჿ' => c.to_string(),
        _ => {
            // If the upper case has several letters, only the first stays upper case (`ß` gives `Ss`). If it
            // begins with an apostrophe, all of it stays.
            let mut chars = upper.chars();
            match chars.next() {
                Some(first) if is_cased(first) => {
                    let rest = chars.flat_map(char::to_lowercase);
                    std::iter::once(first).chain(rest).collect()
                }
                _ => upper,
            }
        }
    }
}

fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ')
}

/// Python's `str.title`. A new word begins behind every character without case.
pub(super) fn title(text: &str) -> String {
    let lower = text.to_lowercase();
    let mut written = String::with_capacity(text.len());
    let mut inside = false;
    let mut rest = lower.as_str();
    for c in text.chars() {
        let length: usize = c.to_lowercase().map(char::len_utf8).sum();
        let (small, behind) = rest.split_at(length.min(rest.len()));
        if inside {
            written += small;
        } else {
            written += &title_case(c);
        }
        inside = is_cased(c);
        rest = behind;
    }
    written
}

/// `str.split` without a separator: runs of white space separate the parts, and white space at both ends is
/// removed.
pub(super) fn split_space(text: &str, limit: usize, from_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = if from_end {
        text.trim_end_matches(is_space)
    } else {
        text.trim_start_matches(is_space)
    };
    while !rest.is_empty() {
        if parts.len() == limit {
            parts.push(rest);
            break;
        }
        if from_end {
            let at = rest
                .char_indices()
                .rfind(|(_, c)| is_space(*c))
                .map_or(0, |(at, c)| at + c.len_utf8());
            parts.push(&rest[at..]);
            rest = rest[..at].trim_end_matches(is_space);
        } else {
            let at = rest.find(is_space).unwrap_or(rest.len());
            parts.push(&rest[..at]);
            rest = rest[at..].trim_start_matches(is_space);
        }
    }
    if from_end {
        parts.reverse();
    }
    parts
}

/// `str.splitlines`.
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(ends) {
        let end = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        lines.push(&rest[..if keep_ends { at + end } else { at }]);
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// `str.center`, `ljust` or `rjust`.
pub(super) fn padded(text: &str, side: &str, width: i128, fill: &str) -> Result<String, Error> {
    let length = text.chars().count();
    let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
    within_limit(width)?;
    let missing = width.saturating_sub(length);
    let left = match side {
        "ljust" => 0,
        "rjust" => missing,
        // An odd rest is split as Python's `str.center` splits it.
        _ => missing / 2 + (missing & width & 1),
    };
    Ok(fill.repeat(left) + text + &fill.repeat(missing - left))
}

pub(super) fn expand_tabs(text: &str, size: usize) -> String {
    let mut written = String::with_capacity(text.len());
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' => {
                let spaces = if size > 0 { size - column % size } else { 0 };
                written += &" ".repeat(spaces);
                column += spaces;
            }
            '\n' | '\r' => {
                written.push(c);
                column = 0;
            }
            _ => {
                written.push(c);
                column += 1;
            }
        }
    }
    written
}

/// The `is…` methods of `str`.
pub(super) fn is(text: &str, name: &str) -> bool {
    let all = |holds: fn(char) -> bool| !text.is_empty() && text.chars().all(holds);
    let cased = || text.chars().any(is_cased);
    match name {
        "isascii" => text.is_ascii(),
        "isprintable" => text.chars().all(is_printable),
        "isspace" => all(is_space),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isdecimal" | "isdigit" | "isnumeric" => all(char::is_numeric),
        "islower" => cased() && !text.chars().any(|c| is_cased(c) && !c.is_lowercase()),
        "isupper" => cased() && !text.chars().any(|c| is_cased(c) && !c.is_uppercase()),
        "istitle" => cased() && title(text) == text,
        // isidentifier
        _ => {
            let begins = |c: char| c == '_' || c.is_alphabetic();
            text.starts_with(begins) && text.chars().all(|c| begins(c) || c.is_numeric())
        }
    }
}
