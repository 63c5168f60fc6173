//! Reads the tokens of a tag, one after the other.

use super::lexer::{Fault, Lexeme, Token};

/// Brackets in brackets, and so on: more than any template has, and less than the stack holds.
const MAX_DEPTH: usize = 60;

/// The tokens of one tag. How expressions are read stands in `expressions`, what surrounds them in `signatures`.
pub(super) struct Reader<'a> {
    tokens: &'a [Lexeme],
    /// How many of them are read.
    pub at: usize,
    /// How many expressions the one being read stands in.
    depth: usize,
    /// The line of the tag, for what is missing at its end.
    line: usize,
    /// Whether the tag stands inside of a macro.
    pub in_macro: bool,
}

impl<'a> Reader<'a> {
    pub fn new(tokens: &'a [Lexeme], line: usize, in_macro: bool) -> Self {
        Reader {
            tokens,
            at: 0,
            depth: 0,
            line,
            in_macro,
        }
    }

    /// The next token.
    pub fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|lexeme| &lexeme.token)
    }

    /// The token behind the next one.
    pub fn peek_second(&self) -> Option<&'a Token> {
        self.tokens.get(self.at + 1).map(|lexeme| &lexeme.token)
    }

    /// The line of the next token.
    fn line(&self) -> usize {
        self.tokens
            .get(self.at)
            .map_or(self.line, |lexeme| lexeme.line)
    }

    /// The complaint about what stands here.
    pub fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::new(self.line(), what))
    }

    /// The complaint that something else was expected here.
    pub fn expected<T>(&self, expected: &str) -> Result<T, Fault> {
        let found = match self.peek() {
            None => "the end of the tag".to_owned(),
            Some(Token::Name(text) | Token::Integer(text) | Token::Float(text)) => {
                format!("`{text}`")
            }
            Some(Token::Text(text)) => format!("the string {text:?}"),
            Some(Token::Op(op)) => format!("`{op}`"),
        };
        self.fault(format!("{found} where {expected} was expected"))
    }

    /// Whether this name is next.
    pub fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == name)
    }

    /// Reads this name, if it is next.
    pub fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    /// Whether this operator is next.
    pub fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Token::Op(found)) if *found == op)
    }

    /// Reads this operator, if it is next.
    pub fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        self.at += usize::from(found);
        found
    }

    /// Reads this name, which must be next.
    pub fn expect_name(&mut self, name: &str) -> Result<(), Fault> {
        if self.skip_name(name) {
            return Ok(());
        }
        self.expected(&format!("`{name}`"))
    }

    /// Reads this operator, which must be next.
    pub fn expect_op(&mut self, op: &str) -> Result<(), Fault> {
        if self.skip_op(op) {
            return Ok(());
        }
        self.expected(&format!("`{op}`"))
    }

    /// Reads a name, whatever it is.
    pub fn name(&mut self) -> Result<&'a str, Fault> {
        match self.peek() {
            Some(Token::Name(name)) => {
                self.at += 1;
                Ok(name)
            }
            _ => self.expected("a name"),
        }
    }

    /// Whether all tokens are read.
    pub fn end(&self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.expected("the end of the tag"),
        }
    }

    /// Reads something that stands inside of what is being read.
    pub fn nested(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<String, Fault>,
    ) -> Result<String, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fault(format!("an expression nested more than {MAX_DEPTH} deep"));
        }
        let written = parse(self)?;
        self.depth -= 1;
        Ok(written)
    }
}
