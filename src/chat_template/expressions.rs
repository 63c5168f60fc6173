//! Writes an expression anew so that its operators mean what they mean in Python: `a + b` becomes a call of
//! [`crate::chat_template::operators`]'s `+`, and so for every operator that minijinja has another way.
//! What means the same in both stays as it is.

use super::lexer::{Fault, Lexeme, Token};
use super::operators;

/// Brackets in brackets, and so on: more than any template has, and less than the stack holds.
const MAX_DEPTH: usize = 60;

/// Reads the tokens of one tag and writes expressions.
pub(super) struct Expressions<'a> {
    tokens: &'a [Lexeme],
    at: usize,
    depth: usize,
    /// The line of the tag, for what is missing at its end.
    line: usize,
    in_macro: bool,
}

/// A parameter of a macro.
pub(super) struct Parameter {
    pub name: String,
    /// What it is where the call does not say.
    pub default: Option<String>,
}

impl<'a> Expressions<'a> {
    pub fn new(tokens: &'a [Lexeme], line: usize, in_macro: bool) -> Self {
        Expressions {
            tokens,
            at: 0,
            depth: 0,
            line,
            in_macro,
        }
    }

    pub fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|lexeme| &lexeme.token)
    }

    fn peek_second(&self) -> Option<&'a Token> {
        self.tokens.get(self.at + 1).map(|lexeme| &lexeme.token)
    }

    fn line(&self) -> usize {
        self.tokens
            .get(self.at)
            .map_or(self.line, |lexeme| lexeme.line)
    }

    pub fn fault<T>(&self, what: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::new(self.line(), what))
    }

    /// The complaint that something else was expected here.
    fn expected<T>(&self, expected: &str) -> Result<T, Fault> {
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

    pub fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == name)
    }

    pub fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Token::Op(found)) if *found == op)
    }

    pub fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        self.at += usize::from(found);
        found
    }

    pub fn expect_name(&mut self, name: &str) -> Result<(), Fault> {
        if self.skip_name(name) {
            return Ok(());
        }
        self.expected(&format!("`{name}`"))
    }

    pub fn expect_op(&mut self, op: &str) -> Result<(), Fault> {
        if self.skip_op(op) {
            return Ok(());
        }
        self.expected(&format!("`{op}`"))
    }

    /// Any name.
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

    /// An expression, or several with commas between, which are a tuple. `conditional` says whether
    /// `a if b else c` belongs to it.
    pub fn tuple(&mut self, conditional: bool) -> Result<String, Fault> {
        let first = self.element(conditional)?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_op(",") {
            if self.peek().is_none() || self.is_op(")") || self.is_name("recursive") {
                break;
            }
            items.push(self.element(conditional)?);
        }
        Ok(written_tuple(&items))
    }

    fn element(&mut self, conditional: bool) -> Result<String, Fault> {
        if conditional {
            self.expression()
        } else {
            self.nested(Self::or)
        }
    }

    /// One whole expression.
    pub fn expression(&mut self) -> Result<String, Fault> {
        self.nested(Self::conditional)
    }

    fn nested(&mut self, parse: fn(&mut Self) -> Result<String, Fault>) -> Result<String, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fault(format!("an expression nested more than {MAX_DEPTH} deep"));
        }
        let written = parse(self)?;
        self.depth -= 1;
        Ok(written)
    }

    fn conditional(&mut self) -> Result<String, Fault> {
        let mut value = self.or()?;
        while self.skip_name("if") {
            let test = self.or()?;
            let otherwise = if self.skip_name("else") {
                format!(" else {}", self.expression()?)
            } else {
                String::new()
            };
            value = format!("({value} if {test}{otherwise})");
        }
        Ok(value)
    }

    fn or(&mut self) -> Result<String, Fault> {
        let mut operands = vec![self.and()?];
        while self.skip_name("or") {
            operands.push(self.and()?);
        }
        Ok(joined(operands, " or "))
    }

    fn and(&mut self) -> Result<String, Fault> {
        let mut operands = vec![self.not()?];
        while self.skip_name("and") {
            operands.push(self.not()?);
        }
        Ok(joined(operands, " and "))
    }

    fn not(&mut self) -> Result<String, Fault> {
        if self.skip_name("not") {
            let operand = self.nested(Self::not)?;
            return Ok(format!("(not {operand})"));
        }
        self.comparison()
    }

    /// `a < b < c` is `a < b and b < c`.
    fn comparison(&mut self) -> Result<String, Fault> {
        let mut left = self.sum()?;
        let mut links = Vec::new();
        loop {
            let op = match self.peek() {
                Some(Token::Op(op @ ("==" | "!=" | "<" | "<=" | ">" | ">="))) => *op,
                Some(Token::Name(name)) if name == "in" => "in",
                Some(Token::Name(name))
                    if name == "not"
                        && matches!(self.peek_second(), Some(Token::Name(next)) if next == "in") =>
                {
                    self.at += 1;
                    "not in"
                }
                _ => break,
            };
            self.at += 1;
            let right = self.sum()?;
            links.push(match op {
                "==" | "!=" => format!("({left} {op} {right})"),
                "in" => format!("{}({right}, {left})", operators::CONTAINS),
                "not in" => format!("(not {}({right}, {left}))", operators::CONTAINS),
                _ => format!("{}({left}, \"{op}\", {right})", operators::COMPARE),
            });
            left = right;
        }
        if links.is_empty() {
            return Ok(left);
        }
        Ok(joined(links, " and "))
    }

    fn sum(&mut self) -> Result<String, Fault> {
        let mut left = self.concatenation()?;
        loop {
            if self.skip_op("-") {
                let right = self.concatenation()?;
                left = format!("({left} - {right})");
            } else if self.is_op("+") {
                let mut operands = vec![left];
                while self.skip_op("+") {
                    operands.push(self.concatenation()?);
                }
                left = call(operators::ADD, &operands);
            } else {
                return Ok(left);
            }
        }
    }

    fn concatenation(&mut self) -> Result<String, Fault> {
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.skip_op("~") {
            operands.push(self.product()?);
        }
        Ok(call(operators::CONCAT, &operands))
    }

    fn product(&mut self) -> Result<String, Fault> {
        let mut left = self.power()?;
        loop {
            let op = match self.peek() {
                Some(Token::Op(op @ ("*" | "/" | "//" | "%"))) => *op,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.power()?;
            left = match op {
                "*" => call(operators::MULTIPLY, &[left, right]),
                "%" => call(operators::MODULO, &[left, right]),
                _ => format!("({left} {op} {right})"),
            };
        }
    }

    fn power(&mut self) -> Result<String, Fault> {
        let mut left = self.unary(true)?;
        while self.skip_op("**") {
            let right = self.unary(true)?;
            left = format!("({left} ** {right})");
        }
        Ok(left)
    }

    fn unary(&mut self, with_filters: bool) -> Result<String, Fault> {
        let operand = |parser: &mut Self| parser.nested(|parser| parser.unary(false));
        let value = if self.skip_op("-") {
            format!("(-{})", operand(self)?)
        } else if self.skip_op("+") {
            call(operators::ADD, &["0".to_owned(), operand(self)?])
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if with_filters {
            return self.filters_and_tests(value);
        }
        Ok(value)
    }

    fn primary(&mut self) -> Result<String, Fault> {
        match self.peek() {
            Some(Token::Name(name)) => {
                if name.starts_with(operators::PREFIX) {
                    return self.fault(format!("the name `{name}` is reserved"));
                }
                if self.in_macro && ["varargs", "kwargs"].contains(&name.as_str()) {
                    return self.fault(format!("`{name}` of a macro is not supported"));
                }
                self.at += 1;
                Ok(name.clone())
            }
            Some(Token::Integer(digits)) => {
                self.at += 1;
                Ok(format!("({digits})"))
            }
            Some(Token::Float(digits)) => {
                self.at += 1;
                Ok(format!("({digits})"))
            }
            Some(Token::Text(_)) => {
                let mut text = String::new();
                while let Some(Token::Text(more)) = self.peek() {
                    text += more;
                    self.at += 1;
                }
                Ok(literal(&text))
            }
            Some(Token::Op("(")) => {
                self.at += 1;
                if self.skip_op(")") {
                    return Ok("()".into());
                }
                let inner = self.tuple(true)?;
                self.expect_op(")")?;
                Ok(inner)
            }
            Some(Token::Op("[")) => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.is_op("]") {
                    if !items.is_empty() {
                        self.expect_op(",")?;
                        if self.is_op("]") {
                            break;
                        }
                    }
                    items.push(self.expression()?);
                }
                self.expect_op("]")?;
                Ok(format!("[{}]", items.join(", ")))
            }
            Some(Token::Op("{")) => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.is_op("}") {
                    if !items.is_empty() {
                        self.expect_op(",")?;
                        if self.is_op("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect_op(":")?;
                    items.push(format!("({key}, {})", self.expression()?));
                }
                self.expect_op("}")?;
                Ok(format!("{}([{}])", operators::DICT, items.join(", ")))
            }
            _ => self.expected("an expression"),
        }
    }

    fn postfix(&mut self, mut value: String) -> Result<String, Fault> {
        loop {
            if self.skip_op(".") {
                if let Some(Token::Integer(index)) = self.peek() {
                    self.at += 1;
                    value = call(operators::ITEM, &[value, index.clone()]);
                    continue;
                }
                let name = self.name()?;
                value = if self.is_op("(") {
                    let arguments = self.arguments()?;
                    if name == "cycle" && arguments.is_empty() {
                        return self.fault("`cycle()` without anything to cycle through");
                    }
                    format!("{value}.{name}({})", arguments.join(", "))
                } else if operators::is_method(name) {
                    call(operators::ATTRIBUTE, &[value, literal(name)])
                } else {
                    format!("{value}.{name}")
                };
            } else if self.skip_op("[") {
                value = self.subscript(value)?;
                self.expect_op("]")?;
            } else if self.is_op("(") {
                let mut arguments = self.arguments()?;
                if value == "loop" {
                    for argument in &mut arguments {
                        *argument = call(operators::ITERATE, std::slice::from_ref(argument));
                    }
                }
                value = format!("{value}({})", arguments.join(", "));
            } else {
                return Ok(value);
            }
        }
    }

    /// What stands in the brackets behind a value.
    fn subscript(&mut self, value: String) -> Result<String, Fault> {
        let bound = |parser: &mut Self| {
            if parser.is_op(":") || parser.is_op("]") {
                Ok("none".to_owned())
            } else {
                parser.expression()
            }
        };
        let start = if self.is_op("]") {
            return self.expected("an index");
        } else {
            bound(self)?
        };
        if !self.skip_op(":") {
            return Ok(call(operators::ITEM, &[value, start]));
        }
        let stop = bound(self)?;
        let step = if self.skip_op(":") {
            bound(self)?
        } else {
            "none".to_owned()
        };
        Ok(call(operators::SLICE, &[value, start, stop, step]))
    }

    /// The arguments in brackets of a call.
    fn arguments(&mut self) -> Result<Vec<String>, Fault> {
        self.expect_op("(")?;
        let mut written: Vec<String> = Vec::new();
        while !self.is_op(")") {
            if !written.is_empty() {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            let argument = if self.skip_op("*") {
                format!("*{}", self.expression()?)
            } else if self.skip_op("**") {
                format!("**{}", self.expression()?)
            } else if matches!(self.peek(), Some(Token::Name(_)))
                && matches!(self.peek_second(), Some(Token::Op("=")))
            {
                let name = self.name()?;
                self.expect_op("=")?;
                format!("{name}={}", self.expression()?)
            } else {
                self.expression()?
            };
            written.push(argument);
        }
        self.expect_op(")")?;
        Ok(written)
    }

    fn filters_and_tests(&mut self, mut value: String) -> Result<String, Fault> {
        loop {
            if self.is_op("|") {
                value = format!("({value}{})", self.filters()?);
            } else if self.skip_name("is") {
                value = self.test(value)?;
            } else if self.is_op("(") {
                let arguments = self.arguments()?;
                value = format!("{value}({})", arguments.join(", "));
            } else {
                return Ok(value);
            }
        }
    }

    /// `|a|b(c)`, as far as it goes.
    pub fn filters(&mut self) -> Result<String, Fault> {
        let mut written = String::new();
        while self.skip_op("|") {
            written += "|";
            written += &self.filter()?;
        }
        Ok(written)
    }

    /// A filter's name and arguments.
    pub fn filter(&mut self) -> Result<String, Fault> {
        let name = self.name()?;
        if !self.is_op("(") {
            return Ok(name.to_owned());
        }
        let arguments = self.arguments()?;
        Ok(format!("{name}({})", arguments.join(", ")))
    }

    /// What stands behind `is`.
    fn test(&mut self, value: String) -> Result<String, Fault> {
        let negation = if self.skip_name("not") { "not " } else { "" };
        let name = self.name()?;
        let arguments = match self.peek() {
            Some(Token::Op("(")) => self.arguments()?.join(", "),
            Some(Token::Name(next)) if next == "is" => {
                return self.fault("`is` behind `is`: tests cannot be chained");
            }
            Some(Token::Name(next)) if ["else", "or", "and"].contains(&next.as_str()) => {
                String::new()
            }
            Some(
                Token::Name(_)
                | Token::Text(_)
                | Token::Integer(_)
                | Token::Float(_)
                | Token::Op("[" | "{"),
            ) => {
                let argument = self.primary()?;
                self.postfix(argument)?
            }
            _ => String::new(),
        };
        let arguments = if arguments.is_empty() {
            arguments
        } else {
            format!("({arguments})")
        };
        Ok(format!("({value} is {negation}{name}{arguments})"))
    }

    /// The target of an assignment: names, perhaps in brackets or, where `attributes` are allowed, of a
    /// namespace.
    pub fn target(&mut self, attributes: bool) -> Result<String, Fault> {
        let mut names = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.is_name("in") || self.is_op("=") || self.is_op(")") || self.peek().is_none() {
                break;
            }
            names.push(if self.skip_op("(") {
                let inner = self.nested_target(attributes)?;
                self.expect_op(")")?;
                format!("({inner})")
            } else {
                self.target_name(attributes)?
            });
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        if names.is_empty() {
            return self.expected("a name to assign to");
        }
        let comma = if is_tuple && names.len() == 1 {
            ","
        } else {
            ""
        };
        Ok(names.join(", ") + comma)
    }

    fn nested_target(&mut self, attributes: bool) -> Result<String, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fault(format!("a target nested more than {MAX_DEPTH} deep"));
        }
        let target = self.target(attributes)?;
        self.depth -= 1;
        Ok(target)
    }

    /// One name to assign to.
    pub fn target_name(&mut self, attributes: bool) -> Result<String, Fault> {
        let name = self.name()?;
        if name.starts_with(operators::PREFIX) {
            return self.fault(format!("the name `{name}` is reserved"));
        }
        if !attributes || !self.skip_op(".") {
            return Ok(name.to_owned());
        }
        let attribute = self.name()?;
        if attribute.starts_with('_') {
            return self.fault(format!(
                "the attribute `{attribute}` of a namespace begins with an underscore, which \
                 transformers refuses"
            ));
        }
        Ok(format!("{name}.{attribute}"))
    }

    /// The parameters in brackets of a macro.
    pub fn parameters(&mut self) -> Result<Vec<Parameter>, Fault> {
        self.expect_op("(")?;
        let mut parameters = Vec::new();
        while !self.is_op(")") {
            if !parameters.is_empty() {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            let name = self.target_name(false)?;
            let default = match self.skip_op("=") {
                true => Some(self.expression()?),
                false => None,
            };
            parameters.push(Parameter { name, default });
        }
        self.expect_op(")")?;
        Ok(parameters)
    }
}

fn joined(mut operands: Vec<String>, between: &str) -> String {
    if operands.len() == 1 {
        return operands.remove(0);
    }
    format!("({})", operands.join(between))
}

fn written_tuple(items: &[String]) -> String {
    let comma = if items.len() == 1 { "," } else { "" };
    format!("({}{comma})", items.join(", "))
}

fn call(function: &str, arguments: &[String]) -> String {
    format!("{function}({})", arguments.join(", "))
}

/// A string literal that minijinja reads as `text`.
pub(super) fn literal(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 2);
    written.push('"');
    for c in text.chars() {
        match c {
            '"' => written += "\\\"",
            '\\' => written += "\\\\",
            '\n' => written += "\\n",
            '\r' => written += "\\r",
            _ => written.push(c),
        }
    }
    written.push('"');
    written
}
