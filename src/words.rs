//! Texts: counts in sentences, and newlines in texts that are given on one line.

/// "1 pair", "2 pairs".
pub fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// `one` if `count` is 1, else `other`.
pub fn either<'a>(count: usize, one: &'a str, other: &'a str) -> &'a str {
    if count == 1 { one } else { other }
}

/// A text with each `\n` in it as a newline: shells make newlines hard, and lines of a file cannot hold any.
pub fn unescape(text: &str) -> String {
    text.replace("\\n", "\n")
}
