//! Rewrites an expression so that its operators have Python's meaning. `a + b` becomes a call of `+` from
//! [`crate::chat_template::operators`]; every other operator that minijinja defines differently is rewritten
//! likewise. Syntax with the same meaning in both stays as it is.

use super::lexer::{Fault, Token};
use super::operators;
use super::reader::Reader;

impl Reader<'_> {
    /// Reads an expression, or a tuple of expressions with commas between them. `conditional` allows
    /// `a if b else c` in them.
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

    /// Reads one whole expression.
    pub fn expression(&mut self) -> Result<String, Fault> {
        self.nested(Self::conditional)
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

    /// Reads a chain of comparisons. `a < b < c` becomes `a < b and b < c`.
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

    pub fn primary(&mut self) -> Result<String, Fault> {
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

    pub fn postfix(&mut self, mut value: String) -> Result<String, Fault> {
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

    /// Reads an index or slice, and rewrites it as a call with `value`.
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
