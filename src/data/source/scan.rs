//! Finds the end of a JSON value by its brackets and strings alone.

/// The length in bytes of the JSON value at the start of `text`; `None` if the value continues behind `text`.
///
/// The value may be malformed; the parser that reads these bytes reports it. The length is never 0.
pub(super) fn value_length(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'{' | b'[' => nested_length(text),
        b'"' => string_length(text),
        _ => {
            let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}') || is_space(*byte);
            text.iter().position(is_end).map(|length| length.max(1))
        }
    }
}

/// [`value_length`] for a string; both quotes count.
pub(super) fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = text.get(at..)?;
        let special = rest
            .iter()
            .position(|&byte| byte == b'"' || byte == b'\\')?;
        at += special;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn nested_length(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => {
                at += string_length(&text[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// True for JSON's white space.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_their_brackets_close() {
        let of = |text: &str| value_length(text.as_bytes());
        assert_eq!(of(r#"{"a": [1, {}]} {}"#), Some(14));
        assert_eq!(of(r#"["\"]", "\\"], 1"#), Some(13));
        assert_eq!(of("\"a\u{e9}\","), Some(5));
        assert_eq!(of("12.5]"), Some(4));
        assert_eq!(of("]"), Some(1));
        for open in ["", "{", r#"{"a": "}"#, r#"["\"]"#, r#""\"#, "12"] {
            assert_eq!(of(open), None, "{open}");
        }
    }
}
