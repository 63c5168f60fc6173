//! Describes the form in which a record was read.

use std::borrow::Cow;
use std::fmt;

use super::slot::Slot;

/// The keys of a record's parts and their forms: "prompt as text, chosen and rejected as messages".
/// Records that are read in the same way have equal shapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Part {
    slot: Slot,
    key: Cow<'static, str>,
    form: Form,
}

/// The form in which a part is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Text,
    /// A list of `{role, content}`, or one such message.
    Messages,
    /// A list of `{from, value}`, ShareGPT's form, or one such message.
    FromValue,
    /// A list of pairs: the user's text and the answer to it.
    Exchanges,
    /// A whole conversation in one text; the dialect names how the text marks its speakers.
    Transcript(&'static str),
    /// Two texts whose common beginning is the prompt.
    CommonBeginning,
    Ids,
    Label,
    /// Several answers, of which this key selects the best and the worst.
    Ranked(Cow<'static, str>),
    /// A key that says which of two answers is better.
    Verdict,
}

impl Shape {
    pub(super) fn add(&mut self, slot: Slot, key: Cow<'static, str>, form: Form) {
        let before = self.parts.partition_point(|part| part.slot <= slot);
        self.parts.insert(before, Part { slot, key, form });
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alike = self.parts.chunk_by(|a, b| a.form == b.form);
        for (at, parts) in alike.enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            for (at, part) in parts.iter().enumerate() {
                f.write_str(match at {
                    0 => "",
                    _ if at + 1 == parts.len() => " and ",
                    _ => ", ",
                })?;
                f.write_str(&part.key)?;
            }
            write!(f, " {}", parts[0].form)?;
        }
        Ok(())
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Text => f.write_str("as text"),
            Form::Messages => f.write_str("as messages"),
            Form::FromValue => f.write_str("as messages of from and value (ShareGPT)"),
            Form::Exchanges => f.write_str("as pairs of question and answer"),
            Form::Transcript(dialect) => write!(f, "as {dialect} transcripts"),
            Form::CommonBeginning => f.write_str("as text, the prompt being what both begin with"),
            Form::Ids => f.write_str("as token ids"),
            Form::Label => f.write_str("as good or bad"),
            Form::Ranked(key) => write!(f, "by {key}, best against worst"),
            Form::Verdict => f.write_str("for which is better"),
        }
    }
}
