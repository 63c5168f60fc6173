//! Splits a template into text, outputs and tags, by the rules of Jinja's lexer with transformers' settings: it
//! removes the newline behind a tag (`trim_blocks`), the white space before a tag at the beginning of a line
//! (`lstrip_blocks`), and the last newline of the file.

use super::texts::is_space;

/// An error in a template and its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// 1-based.
    pub line: usize,
    /// The error in words.
    pub what: String,
}

impl Fault {
    pub fn new(line: usize, what: impl Into<String>) -> Self {
        Fault {
            line,
            what: what.into(),
        }
    }
}

/// The smallest part of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword.
    Name(String),
    /// A string literal, decoded.
    Text(String),
    /// An integer, without underscores.
    Integer(String),
    /// A number with a point or an exponent, without underscores.
    Float(String),
    /// An operator or a bracket.
    Op(&'static str),
}

/// A token and the line on which it begins.
#[derive(Clone, Debug)]
pub(super) struct Lexeme {
    pub token: Token,
    pub line: usize,
}

/// A part of a template.
#[derive(Debug)]
pub(super) enum Piece {
    /// Text to print unchanged.
    Data(String),
    /// `{{ … }}`.
    Output(Vec<Lexeme>),
    /// `{% … %}`.
    Tag(Vec<Lexeme>),
}

/// A part of a template and the line on which it begins.
#[derive(Debug)]
pub(super) struct Placed {
    pub piece: Piece,
    pub line: usize,
}

/// All operators, the longest first: the lexer takes the first that matches.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

/// Splits `source` into its parts.
pub(super) fn pieces(source: &str) -> Result<Vec<Placed>, Fault> {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    Lexer {
        source: &source,
        at: 0,
        line: 1,
        line_starting: true,
        pieces: Vec::new(),
    }
    .run()
}

struct Lexer<'a> {
    source: &'a str,
    /// Byte offset of the next unread character.
    at: usize,
    /// The line of the next unread character.
    line: usize,
    /// True at the start of a line: before the first character, and behind a newline.
    line_starting: bool,
    pieces: Vec<Placed>,
}

/// The sign behind an opening mark: `-` strips the white space before the mark, `+` keeps it.
fn sign(rest: &str) -> &str {
    match rest.as_bytes().first() {
        Some(b'-' | b'+') => &rest[..1],
        _ => "",
    }
}

impl<'a> Lexer<'a> {
    fn run(mut self) -> Result<Vec<Placed>, Fault> {
        while let Some(open) = self.next_mark() {
            let text = &self.source[self.at..open];
            let mark = &self.source[open..open + 2];
            let sign = sign(&self.source[open + 2..]);
            self.data(text, sign, mark != "{{");
            self.moved(open);
            let line = self.line;
            self.moved(open + 2 + sign.len());
            match mark {
                "{#" => self.comment(line)?,
                "{%" => match self.raw_begin() {
                    Some(end) => {
                        self.moved(end);
                        self.raw(line)?;
                    }
                    None => {
                        let tokens = self.tokens(line, "%}")?;
                        self.push(Piece::Tag(tokens), line);
                    }
                },
                _ => {
                    let tokens = self.tokens(line, "}}")?;
                    self.push(Piece::Output(tokens), line);
                }
            }
        }
        let rest = &self.source[self.at..];
        self.push_data(rest);
        Ok(self.pieces)
    }

    /// The byte offset of the next `{{`, `{%` or `{#`.
    fn next_mark(&self) -> Option<usize> {
        let bytes = self.source.as_bytes();
        let is_mark = |at: &usize| matches!(bytes.get(at + 1), Some(b'{' | b'%' | b'#'));
        let braces = self.source[self.at..].match_indices('{');
        braces.map(|(offset, _)| self.at + offset).find(is_mark)
    }

    fn push(&mut self, piece: Piece, line: usize) {
        self.pieces.push(Placed { piece, line });
    }

    fn push_data(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Piece::Data(text.to_owned()), self.line);
        }
    }

    /// Advances to `to`.
    fn moved(&mut self, to: usize) {
        self.line += self.source[self.at..to].matches('\n').count();
        self.line_starting = self.source[..to].ends_with('\n');
        self.at = to;
    }

    /// Adds the text before a mark, without the white space that the mark strips.
    fn data(&mut self, text: &str, sign: &str, strips_line: bool) {
        let kept = if sign == "-" {
            text.trim_end_matches(is_space)
        } else if sign != "+" && strips_line {
            let line_begin = text.rfind('\n').map_or(0, |newline| newline + 1);
            let begins_line = line_begin > 0 || self.line_starting;
            if begins_line && text[line_begin..].chars().all(is_space) {
                &text[..line_begin]
            } else {
                text
            }
        } else {
            text
        };
        self.push_data(kept);
    }

    /// The offset at which reading goes on behind the closing mark at `at`; `None` if there is no such mark.
    /// `-` strips the white space behind the mark; without a sign, a tag strips one newline.
    fn close(&self, at: usize, mark: &str) -> Option<usize> {
        let rest = &self.source[at..];
        if let Some(behind) = rest
            .strip_prefix('-')
            .and_then(|rest| rest.strip_prefix(mark))
        {
            return Some(self.source.len() - behind.trim_start_matches(is_space).len());
        }
        if mark != "}}"
            && rest
                .strip_prefix('+')
                .is_some_and(|rest| rest.starts_with(mark))
        {
            return Some(at + 1 + mark.len());
        }
        let behind = rest.strip_prefix(mark)?;
        let newline = mark != "}}" && behind.starts_with('\n');
        Some(at + mark.len() + usize::from(newline))
    }

    fn comment(&mut self, line: usize) -> Result<(), Fault> {
        let end = self.source[self.at..]
            .find("#}")
            .map(|offset| self.at + offset)
            .ok_or_else(|| Fault::new(line, "a comment `{#` without its `#}`"))?;
        let signed = end > self.at && matches!(self.source.as_bytes()[end - 1], b'-' | b'+');
        let close = self.close(end - usize::from(signed), "#}").unwrap_or(end);
        self.moved(close);
        Ok(())
    }

    /// The offset behind `raw %}`, if this tag comes next.
    fn raw_begin(&self) -> Option<usize> {
        let rest = self.source[self.at..]
            .trim_start_matches(is_space)
            .strip_prefix("raw")?
            .trim_start_matches(is_space);
        let at = self.source.len() - rest.len();
        if rest.starts_with("-%}") {
            return self.close(at, "%}");
        }
        rest.starts_with("%}").then_some(at + 2)
    }

    /// Adds everything up to `{% endraw %}` as text.
    fn raw(&mut self, line: usize) -> Result<(), Fault> {
        let mut from = self.at;
        while let Some(offset) = self.source[from..].find("{%") {
            let tag = from + offset;
            let sign = sign(&self.source[tag + 2..]);
            let name = self.source[tag + 2 + sign.len()..].trim_start_matches(is_space);
            if let Some(rest) = name.strip_prefix("endraw") {
                let rest = rest.trim_start_matches(is_space);
                if let Some(close) = self.close(self.source.len() - rest.len(), "%}") {
                    self.data(&self.source[self.at..tag], sign, true);
                    self.moved(close);
                    return Ok(());
                }
            }
            from = tag + 2;
        }
        Err(Fault::new(line, "`{% raw %}` without its `{% endraw %}`"))
    }

    /// Reads the tokens up to the closing mark. Inside brackets, a closing mark has no effect.
    fn tokens(&mut self, open_line: usize, mark: &str) -> Result<Vec<Lexeme>, Fault> {
        let mut tokens = Vec::new();
        let mut brackets = Vec::new();
        loop {
            if brackets.is_empty()
                && let Some(close) = self.close(self.at, mark)
            {
                self.moved(close);
                return Ok(tokens);
            }
            let line = self.line;
            let rest = &self.source[self.at..];
            let Some(first) = rest.chars().next() else {
                let begin = if mark == "}}" { "{{" } else { "{%" };
                return Err(Fault::new(
                    open_line,
                    format!("`{begin}` without its `{mark}`"),
                ));
            };
            if is_space(first) {
                self.moved(self.at + first.len_utf8());
                continue;
            }
            let (token, length) = if first.is_ascii_digit() {
                number(rest, self.source[..self.at].ends_with('.'))
            } else if first == '_' || first.is_alphabetic() {
                let end = rest
                    .find(|c: char| c != '_' && !c.is_alphanumeric())
                    .unwrap_or(rest.len());
                (Token::Name(rest[..end].to_owned()), end)
            } else if first == '\'' || first == '"' {
                let end = literal_end(rest, first)
                    .ok_or_else(|| Fault::new(line, "a string without its closing quote"))?;
                let text = unescape(&rest[1..end]).map_err(|what| Fault::new(line, what))?;
                (Token::Text(text), end + 1)
            } else {
                let op = OPERATORS
                    .into_iter()
                    .find(|op| rest.starts_with(op))
                    .ok_or_else(|| Fault::new(line, format!("unexpected `{first}`")))?;
                balance(&mut brackets, op).map_err(|what| Fault::new(line, what))?;
                (Token::Op(op), op.len())
            };
            tokens.push(Lexeme { token, line });
            self.moved(self.at + length);
        }
    }
}

/// Updates the stack of expected closing brackets.
fn balance(brackets: &mut Vec<&'static str>, op: &'static str) -> Result<(), String> {
    match op {
        "{" => brackets.push("}"),
        "(" => brackets.push(")"),
        "[" => brackets.push("]"),
        "}" | ")" | "]" => match brackets.pop() {
            Some(expected) if expected == op => {}
            Some(expected) => return Err(format!("`{op}` where `{expected}` was expected")),
            None => return Err(format!("`{op}` without its opening bracket")),
        },
        _ => {}
    }
    Ok(())
}

/// Reads the number at the start of `rest`. Behind a point (`messages.0.role`) it is an index, never a
/// fraction.
fn number(rest: &str, after_point: bool) -> (Token, usize) {
    let digits = |from: usize, radix: u32| {
        let bytes = rest.as_bytes();
        let mut end = from;
        while let Some(&byte) = bytes.get(end) {
            let joins = byte == b'_'
                && end > from
                && bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric);
            if !(byte as char).is_digit(radix) && !joins {
                break;
            }
            end += 1;
        }
        end
    };
    let plain = |end: usize| rest[..end].replace('_', "");
    let radix = match rest.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 10,
    };
    if radix != 10 {
        let end = digits(2, radix);
        return (Token::Integer(plain(end)), end);
    }
    let whole = digits(0, 10);
    if after_point {
        return (Token::Integer(plain(whole)), whole);
    }
    let mut end = whole;
    let at = |end: usize| rest.as_bytes().get(end).copied();
    if at(end) == Some(b'.') && at(end + 1).is_some_and(|byte| byte.is_ascii_digit()) {
        end = digits(end + 1, 10);
    }
    if matches!(at(end), Some(b'e' | b'E')) {
        let exponent = end + 1 + usize::from(matches!(at(end + 1), Some(b'+' | b'-')));
        if at(exponent).is_some_and(|byte| byte.is_ascii_digit()) {
            end = digits(exponent, 10);
        }
    }
    if end == whole {
        (Token::Integer(plain(end)), end)
    } else {
        (Token::Float(plain(end)), end)
    }
}

/// The byte offset of the closing quote of the string literal at the start of `rest`.
fn literal_end(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// Decodes the escapes of a literal as Python does. An unknown escape stays as it is.
fn unescape(literal: &str) -> Result<String, String> {
    // Python first writes characters outside ASCII as escapes, so `\é` becomes `\xe9`.
    let mut ascii = String::with_capacity(literal.len());
    for c in literal.chars() {
        match u32::from(c) {
            0..0x80 => ascii.push(c),
            code @ 0x80..0x100 => ascii += &format!("\\x{code:02x}"),
            code @ 0x100..0x1_0000 => ascii += &format!("\\u{code:04x}"),
            code => ascii += &format!("\\U{code:08x}"),
        }
    }
    let mut text = String::with_capacity(literal.len());
    let mut rest = ascii.as_str();
    while let Some(at) = rest.find('\\') {
        text += &rest[..at];
        let escape = &rest[at + 1..];
        let (code, length) = match escape.as_bytes().first() {
            None => return Err("a string that ends in `\\`".into()),
            Some(b'\n') => (None, 1),
            Some(byte @ (b'\\' | b'\'' | b'"')) => (Some(u32::from(*byte)), 1),
            Some(b'a') => (Some(7), 1),
            Some(b'b') => (Some(8), 1),
            Some(b't') => (Some(9), 1),
            Some(b'n') => (Some(10), 1),
            Some(b'v') => (Some(11), 1),
            Some(b'f') => (Some(12), 1),
            Some(b'r') => (Some(13), 1),
            Some(b'0'..=b'7') => {
                let end = escape
                    .bytes()
                    .take(3)
                    .take_while(|byte| matches!(byte, b'0'..=b'7'))
                    .count();
                (u32::from_str_radix(&escape[..end], 8).ok(), end)
            }
            Some(kind @ (b'x' | b'u' | b'U')) => {
                let length = match kind {
                    b'x' => 3,
                    b'u' => 5,
                    _ => 9,
                };
                let code = escape
                    .get(1..length)
                    .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                    .ok_or_else(|| format!("a broken escape `\\{}` in a string", *kind as char))?;
                (Some(code), length)
            }
            Some(b'N') => return Err("the escape `\\N{…}` in a string is not supported".into()),
            Some(_) => (Some(u32::from(b'\\')), 0),
        };
        if let Some(code) = code {
            text.push(char::from_u32(code).ok_or_else(|| {
                format!("the escape of {code:#x}, which is no character, in a string")
            })?);
        }
        rest = &escape[length..];
    }
    text += rest;
    Ok(text)
}
