//! Rewrites a template for minijinja. The lexer has already stripped white space as Jinja does. Operators get
//! Python's meaning, and transformers' `{% generation %}` becomes a scope. Syntax that minijinja would read
//! differently, or accept by mistake (an unclosed block), is an error here.

use super::expressions::literal;
use super::lexer::{Fault, Lexeme, Piece, Token, pieces};
use super::operators;
use super::reader::Reader;
use super::signatures::Parameter;

/// Tags that are useless or impossible in transformers' own environment, each with the reason.
const REFUSED: [(&str, &str); 5] = [
    ("include", "there is no other template to take it from"),
    ("import", "there is no other template to take it from"),
    ("from", "there is no other template to take it from"),
    ("extends", "there is no other template to extend"),
    ("autoescape", "escaping for HTML is not supported"),
];

/// Limit of nested blocks. No template reaches it, and minijinja's parser accepts more.
const MAX_DEPTH: usize = 60;

/// A block that is not closed yet.
struct Open {
    tag: &'static str,
    line: usize,
}

/// Rewrites `source` for minijinja. The result renders as `source` renders in transformers, and every part
/// keeps its line.
pub(super) fn rewrite(source: &str) -> Result<String, Fault> {
    let mut writer = Writer {
        out: String::with_capacity(source.len() * 2),
        line: 1,
        open: Vec::new(),
    };
    for placed in pieces(source)? {
        match placed.piece {
            Piece::Data(text) => writer.data(&text, placed.line),
            Piece::Output(tokens) => {
                let mut reader = Reader::new(&tokens, placed.line, writer.in_macro());
                let value = reader.tuple(true)?;
                reader.end()?;
                writer.tag("{{", &value, "}}", placed.line);
            }
            Piece::Tag(tokens) => {
                let statement = writer.statement(&tokens, placed.line)?;
                writer.tag("{%", &statement, "%}", placed.line);
            }
        }
    }
    // minijinja removes the last newline of a template.
    writer.out.push('\n');
    match writer.open.pop() {
        None => Ok(writer.out),
        Some(open) => Err(Fault::new(
            open.line,
            format!(
                "`{{% {} %}}` without its `{{% {} %}}`",
                open.tag,
                end_of(open.tag)
            ),
        )),
    }
}

/// The name of the tag that closes a block.
fn end_of(tag: &str) -> String {
    format!("end{tag}")
}

/// The tag of a macro, followed by statements that set the parameters missing from a call. minijinja's own
/// defaults cannot refer to earlier parameters.
fn with_defaults(begin: &str, end: &str, parameters: &[Parameter]) -> String {
    let names: Vec<&str> = parameters.iter().map(|it| it.name.as_str()).collect();
    let mut written = format!("{begin}({}){end}", names.join(", "));
    for Parameter { name, default } in parameters {
        if let Some(default) = default {
            written += &format!(
                " %}}{{% if {name} is undefined %}}{{% set {name} = {default} %}}{{% endif"
            );
        }
    }
    written
}

struct Writer {
    out: String,
    /// The current line of the output. Every part stays on its line of the source, so that minijinja's errors
    /// name the right line.
    line: usize,
    open: Vec<Open>,
}

impl Writer {
    fn tag(&mut self, begin: &str, inner: &str, end: &str, line: usize) {
        self.out += begin;
        self.out.push(' ');
        while self.line < line {
            self.out.push('\n');
            self.line += 1;
        }
        self.out += inner;
        self.out.push(' ');
        self.out += end;
    }

    /// Writes text. Text that could be read as a tag, or that would be on the wrong line, becomes an output of
    /// a string literal.
    fn data(&mut self, text: &str, line: usize) {
        if text.contains('{') || self.line != line {
            self.tag("{{", &literal(text), "}}", line);
        } else {
            self.out += text;
            self.line += text.matches('\n').count();
        }
    }

    fn statement(&mut self, tokens: &[Lexeme], line: usize) -> Result<String, Fault> {
        let mut reader = Reader::new(tokens, line, self.in_macro());
        let name = reader.name()?;
        if let Some((_, why)) = REFUSED.iter().find(|(tag, _)| *tag == name) {
            return Err(Fault::new(line, format!("the tag `{name}`: {why}")));
        }
        let written = match name {
            "if" => {
                self.opens("if", line)?;
                format!("if {}", reader.tuple(false)?)
            }
            "elif" => {
                self.inside("elif", &["if"], line)?;
                format!("elif {}", reader.tuple(false)?)
            }
            "else" => {
                self.inside("else", &["if", "for"], line)?;
                "else".into()
            }
            "for" => {
                self.opens("for", line)?;
                let target = reader.target(false)?;
                reader.expect_name("in")?;
                let values = reader.tuple(false)?;
                let mut written = format!("for {target} in {}({values})", operators::ITERATE);
                if reader.skip_name("if") {
                    written += &format!(" if {}", reader.expression()?);
                }
                if reader.skip_name("recursive") {
                    written += " recursive";
                }
                written
            }
            "break" | "continue" => {
                self.leaves_loop(name, line)?;
                name.to_owned()
            }
            "set" => {
                let target = reader.target(true)?;
                if reader.skip_op("=") {
                    format!(
                        "set {target} = {}({})",
                        operators::KEEP,
                        reader.tuple(true)?
                    )
                } else {
                    self.opens("set", line)?;
                    let filters = reader.filters()?;
                    let space = if filters.is_empty() { "" } else { " " };
                    format!("set {target}{space}{filters}")
                }
            }
            "macro" => {
                self.opens("macro", line)?;
                let macro_name = reader.target_name(false)?;
                with_defaults(&format!("macro {macro_name}"), "", &reader.parameters()?)
            }
            "call" => {
                self.opens("call", line)?;
                let parameters = match reader.is_op("(") {
                    true => reader.parameters()?,
                    false => Vec::new(),
                };
                let called = format!(" {}", reader.expression()?);
                with_defaults("call", &called, &parameters)
            }
            "filter" => {
                self.opens("filter", line)?;
                let first = reader.filter()?;
                format!("filter {first}{}", reader.filters()?)
            }
            "with" => {
                self.opens("with", line)?;
                let (mut targets, mut values) = (Vec::new(), Vec::new());
                while reader.peek().is_some() && !reader.is_op(":") {
                    if !targets.is_empty() {
                        reader.expect_op(",")?;
                    }
                    targets.push(reader.target_name(false)?);
                    reader.expect_op("=")?;
                    values.push(reader.expression()?);
                }
                // One assignment sets all names at once, because no value may refer to the other names.
                match targets.len() {
                    0 => "with".into(),
                    1 => format!("with {} = {}", targets[0], values[0]),
                    _ => format!("with ({}) = ({})", targets.join(", "), values.join(", ")),
                }
            }
            "block" => {
                self.opens("block", line)?;
                let block = reader.name()?;
                reader.skip_name("scoped");
                reader.skip_name("required");
                format!("block {block}")
            }
            // The body of `generation` is a scope of its own.
            "generation" => {
                self.opens("generation", line)?;
                "with".into()
            }
            "print" => {
                let mut values = vec![reader.expression()?];
                while reader.skip_op(",") {
                    values.push(reader.expression()?);
                }
                let printed = format!("{}({})", operators::CONCAT, values.join(", "));
                reader.end()?;
                return Ok(format!("if true %}}{{{{ {printed} }}}}{{% endif"));
            }
            _ => self.closing(name, &mut reader, line)?,
        };
        // Jinja allows a colon at the end of a tag that opens a body.
        if !matches!(tokens.last().map(|last| &last.token), Some(Token::Op(":")))
            || !reader.skip_op(":")
        {
            reader.end()?;
        }
        Ok(written)
    }

    /// Records a block that its end tag must close.
    fn opens(&mut self, tag: &'static str, line: usize) -> Result<(), Fault> {
        if self.open.len() == MAX_DEPTH {
            let what = format!("blocks nested more than {MAX_DEPTH} deep");
            return Err(Fault::new(line, what));
        }
        self.open.push(Open { tag, line });
        Ok(())
    }

    /// Reads an `end…` tag. Any other name is an unknown tag.
    fn closing(&mut self, name: &str, reader: &mut Reader, line: usize) -> Result<String, Fault> {
        let Some(open) = self.open.last() else {
            return Err(Fault::new(line, format!("unknown tag `{name}`")));
        };
        let (tag, expected) = (open.tag, end_of(open.tag));
        if name != expected {
            let opened = open.line;
            let kind = if name.starts_with("end") {
                ""
            } else {
                "unknown tag "
            };
            return Err(Fault::new(
                line,
                format!(
                    "{kind}`{name}`, where `{expected}` of the `{tag}` on line {opened} was expected"
                ),
            ));
        }
        if tag == "block" && reader.peek().is_some() {
            reader.name()?;
        }
        self.open.pop();
        Ok(match tag {
            "generation" => "endwith".into(),
            _ => expected,
        })
    }

    fn inside(&self, name: &str, tags: &[&str], line: usize) -> Result<(), Fault> {
        match self.open.last() {
            Some(open) if tags.contains(&open.tag) => Ok(()),
            _ => Err(Fault::new(
                line,
                format!("`{name}` outside of `{}`", tags.join("` or `")),
            )),
        }
    }

    fn in_macro(&self) -> bool {
        let macros = |open: &Open| ["macro", "call"].contains(&open.tag);
        self.open.iter().any(macros)
    }

    /// Checks that `break` or `continue` leaves no scope except the loop: minijinja would not close other
    /// scopes.
    fn leaves_loop(&self, name: &str, line: usize) -> Result<(), Fault> {
        for open in self.open.iter().rev() {
            match open.tag {
                "for" => return Ok(()),
                "if" => {}
                tag => {
                    return Err(Fault::new(
                        line,
                        format!("`{name}` inside of `{tag}`, which it cannot leave"),
                    ));
                }
            }
        }
        Err(Fault::new(line, format!("`{name}` outside of a loop")))
    }
}
