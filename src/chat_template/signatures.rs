//! Parses the syntax around expressions: the arguments of calls, filters and tests, and the targets of
//! assignments.

use super::lexer::{Fault, Token};
use super::operators;
use super::reader::Reader;

/// A parameter of a macro.
pub(super) struct Parameter {
    pub name: String,
    /// The value for calls without this argument.
    pub default: Option<String>,
}

impl Reader<'_> {
    /// Reads the arguments of a call with their brackets.
    pub fn arguments(&mut self) -> Result<Vec<String>, Fault> {
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

    /// Reads all filters and tests behind a value.
    pub fn filters_and_tests(&mut self, mut value: String) -> Result<String, Fault> {
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

    /// Reads a chain of filters: `|a|b(c)`. The chain may be empty.
    pub fn filters(&mut self) -> Result<String, Fault> {
        let mut written = String::new();
        while self.skip_op("|") {
            written += "|";
            written += &self.filter()?;
        }
        Ok(written)
    }

    /// Reads the name and arguments of a filter.
    pub fn filter(&mut self) -> Result<String, Fault> {
        let name = self.name()?;
        if !self.is_op("(") {
            return Ok(name.to_owned());
        }
        let arguments = self.arguments()?;
        Ok(format!("{name}({})", arguments.join(", ")))
    }

    /// Reads a test, behind its `is`.
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

    /// Reads the target of an assignment: one or more names, with or without brackets. `attributes` also allows
    /// attributes of a namespace.
    pub fn target(&mut self, attributes: bool) -> Result<String, Fault> {
        let mut names = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.is_name("in") || self.is_op("=") || self.is_op(")") || self.peek().is_none() {
                break;
            }
            names.push(if self.skip_op("(") {
                let inner = self.nested(|reader| reader.target(attributes))?;
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

    /// Reads one name of an assignment's target.
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

    /// Reads the parameters of a macro with their brackets.
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
