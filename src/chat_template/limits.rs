//! Limits the size of the values that a template builds.

use std::io::{self, Write};

use minijinja::{Error, State, Value};

use super::values::{Python, error, items};

/// The largest length of a text in bytes and of a list in items. It is far more than a model reads, and small
/// enough to stop a template before the memory is full.
pub(super) const MAX_LENGTH: usize = 1 << 24;

/// Limit of nested lists. JSON nests less deeply, and a thread's stack holds more.
const MAX_NESTING: usize = 200;

/// Refuses a text or list longer than [`MAX_LENGTH`].
pub(super) fn within_limit(length: usize) -> Result<(), Error> {
    if length > MAX_LENGTH {
        return Err(error(format!("a text or list of more than {MAX_LENGTH}")));
    }
    Ok(())
}

/// Refuses a value nested deeper than [`MAX_NESTING`]: dropping it would overflow the stack.
pub(super) fn within_nesting(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_NESTING {
        return Err(error(format!(
            "a value nested more than {MAX_NESTING} deep"
        )));
    }
    let each = |item: &Value| within_nesting(state, item, depth + 1);
    match Python::from(value) {
        Python::List | Python::Tuple => {
            let items = items(value)?;
            state.consume_fuel(1 + items.len() as u64 / 8)?;
            items.iter().try_for_each(each)
        }
        Python::Dict(dict) => {
            state.consume_fuel(1 + dict.entries.len() as u64 / 8)?;
            dict.entries
                .iter()
                .map(|(_, value)| value)
                .try_for_each(each)
        }
        Python::Iterable(iterable) => {
            state.consume_fuel(1 + iterable.peek().len() as u64 / 8)?;
            iterable.peek().iter().try_for_each(each)
        }
        _ => Ok(()),
    }
}

/// A prompt while a template writes it, of at most [`MAX_LENGTH`] bytes.
#[derive(Default)]
pub(super) struct Bounded {
    text: Vec<u8>,
    /// True once the template wrote more.
    pub is_full: bool,
}

impl Bounded {
    pub fn into_text(self) -> String {
        // minijinja writes pieces of text, each of them UTF-8.
        String::from_utf8(self.text)
            .unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned())
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_LENGTH - self.text.len() {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
