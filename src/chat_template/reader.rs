//! Reads the tokens of a tag one after the other.

use super::lexer::{Fault, Lexeme, Token};

/// Limit of nested brackets and other subexpressions. No template reaches it, and the stack holds more.
const MAX_DEPTH: usize = 60;

/// The tokens of one tag. `expressions` parses expressions; `signatures` parses the syntax around them.
pub(super) struct Reader<'a> {
    tokens: &'a [Lexeme],
    /// The number of tokens read so far.
    pub at: usize,
    /// The nesting depth of the current expression.
    depth: usize,
    /// The line of the tag, for errors about its end.
    line: usize,
    /// True if the tag stands inside a macro.
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

    /// An error at the next token.
    pub fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::new(self.line(), what))
    }

    /// An error at the next token: another token was expected.
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

    /// True if the next token is this name.
    pub fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == name)
    }

    /// Reads this name if it comes next.
    pub fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    /// True if the next token is this operator.
    pub fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Token::Op(found)) if *found == op)
    }

    /// Reads this operator if it comes next.
    pub fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        self.at += usize::from(found);
        found
    }

    /// Reads this name. Any other token is an error.
    pub fn expect_name(&mut self, name: &str) -> Result<(), Fault> {
        if self.skip_name(name) {
            return Ok(());
        }
        self.expected(&format!("`{name}`"))
    }

    /// Reads this operator. Any other token is an error.
    pub fn expect_op(&mut self, op: &str) -> Result<(), Fault> {
        if self.skip_op(op) {
            return Ok(());
        }
        self.expected(&format!("`{op}`"))
    }

    /// Reads any name.
    pub fn name(&mut self) -> Result<&'a str, Fault> {
        match self.peek() {
            Some(Token::Name(name)) => {
                self.at += 1;
                Ok(name)
            }
            _ => self.expected("a name"),
        }
    }

    /// Checks that all tokens are read.
    pub fn end(&self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.expected("the end of the tag"),
        }
    }

    /// Reads a subexpression and counts its nesting depth.
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
