//! How far a JSON value reaches, by its brackets and strings alone.

/// Bytes of the JSON value with which `text` begins, `None` if it goes on behind the end of `text`.
///
/// The value need not be right: a parser that is given these bytes says what is wrong with them. They are
/// never none.
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

/// The same for a string, with both quotes.
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

/// True for what JSON calls white space.
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
