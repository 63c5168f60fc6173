//! Represents Python's values as minijinja's values. Dicts, one-shot iterators and dict views are objects of
//! this module. Every value prints as Python's `str` and `repr` print it.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as AtomicOrdering};

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// An error that is a TypeError, ValueError or similar in Python.
pub(super) fn error(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// The error for the use of an undefined value.
pub(super) fn undefined() -> Error {
    Error::new(ErrorKind::UndefinedError, "an undefined value is used")
}

/// A value by its Python type.
pub(super) enum Python<'a> {
    Undefined,
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(&'a str),
    List,
    Tuple,
    Dict(&'a Dict),
    Iterable(&'a Iterable),
    /// A function, a macro, a namespace or a loop.
    Other,
}

impl<'a> From<&'a Value> for Python<'a> {
    fn from(value: &'a Value) -> Self {
        match value.kind() {
            ValueKind::Undefined => Python::Undefined,
            ValueKind::None => Python::None,
            ValueKind::Bool => Python::Bool(value.is_true()),
            ValueKind::Number => match i128::try_from(value.clone()) {
                Ok(int) if value.is_integer() => Python::Int(int),
                _ => Python::Float(f64::try_from(value.clone()).unwrap_or(f64::NAN)),
            },
            ValueKind::String => Python::Str(value.as_str().unwrap_or_default()),
            ValueKind::Seq if value.is_tuple() => Python::Tuple,
            ValueKind::Seq => Python::List,
            _ => {
                if let Some(dict) = value.downcast_object_ref() {
                    Python::Dict(dict)
                } else if let Some(iterable) = value.downcast_object_ref() {
                    Python::Iterable(iterable)
                } else {
                    Python::Other
                }
            }
        }
    }
}

impl Python<'_> {
    /// The number, if the value is one. Booleans count as 0 and 1.
    pub fn number(&self) -> Option<Number> {
        match *self {
            Python::Bool(value) => Some(Number::Int(value.into())),
            Python::Int(value) => Some(Number::Int(value)),
            Python::Float(value) => Some(Number::Float(value)),
            _ => None,
        }
    }

    /// The integer, if the value is one.
    pub fn int(&self) -> Option<i128> {
        match self.number() {
            Some(Number::Int(value)) => Some(value),
            _ => None,
        }
    }
}

/// A number of Python.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub fn float(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }
}

/// Python's name for the type of a value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match Python::from(value) {
        Python::Undefined => "Undefined",
        Python::None => "NoneType",
        Python::Bool(_) => "bool",
        Python::Int(_) => "int",
        Python::Float(_) => "float",
        Python::Str(_) => "str",
        Python::List => "list",
        Python::Tuple => "tuple",
        Python::Dict(_) => "dict",
        Python::Iterable(iterable) => iterable.kind.name(),
        Python::Other => "object",
    }
}

/// An integer as a value.
pub(super) fn int(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::from(value), Value::from)
}

/// A dict: pairs in the order of insertion.
#[derive(Debug, Default)]
pub(super) struct Dict {
    pub entries: Vec<(Value, Value)>,
}

impl Dict {
    pub fn get(&self, key: &Value) -> Option<&Value> {
        let found = self.entries.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value)
    }

    /// Sets a key. An existing key keeps its place.
    pub fn insert(&mut self, key: Value, value: Value) {
        match self.entries.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key, value)),
        }
    }
}

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries.iter().map(|(key, _)| key.clone()).collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&repr(&Value::from_dyn_object(self.clone())))
    }
}

/// The kinds of Python's iterables other than list and tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IterableKind {
    Generator,
    Reversed,
    Keys,
    Values,
    Items,
    Range { start: i128, stop: i128, step: i128 },
}

impl IterableKind {
    fn name(self) -> &'static str {
        match self {
            IterableKind::Generator => "generator",
            IterableKind::Reversed => "list_reverseiterator",
            IterableKind::Keys => "dict_keys",
            IterableKind::Values => "dict_values",
            IterableKind::Items => "dict_items",
            IterableKind::Range { .. } => "range",
        }
    }

    /// True if the iterable can be read only once.
    pub fn is_one_shot(self) -> bool {
        matches!(self, IterableKind::Generator | IterableKind::Reversed)
    }
}

/// An iterable that is neither list nor tuple.
#[derive(Debug)]
pub(super) struct Iterable {
    pub kind: IterableKind,
    items: Vec<Value>,
    spent: AtomicBool,
}

impl Iterable {
    pub fn value(kind: IterableKind, items: Vec<Value>) -> Value {
        Value::from_object(Iterable {
            kind,
            items,
            spent: AtomicBool::new(false),
        })
    }

    /// The items. A one-shot iterable gives them only to the first call, and nothing afterwards.
    pub fn take(&self) -> &[Value] {
        if self.kind.is_one_shot() && self.spent.swap(true, AtomicOrdering::Relaxed) {
            return &[];
        }
        &self.items
    }

    /// All items, without consuming a one-shot iterable.
    pub fn peek(&self) -> &[Value] {
        &self.items
    }

    /// The number of items. `None` for one-shot iterables, which have no length.
    pub fn len(&self) -> Option<usize> {
        (!self.kind.is_one_shot()).then_some(self.items.len())
    }

    /// True for a view of a dict's keys or items. Such a view behaves like a set: its items must be hashable,
    /// and it has no hash itself.
    pub fn is_unhashable(&self) -> bool {
        matches!(self.kind, IterableKind::Keys | IterableKind::Items)
    }

    /// The items of a range, the only iterable here that can be indexed.
    pub fn indexed(&self) -> Option<&[Value]> {
        matches!(self.kind, IterableKind::Range { .. }).then_some(self.items.as_slice())
    }
}

impl Object for Iterable {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.take().to_vec())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.len()
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.len() != Some(0)
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        // A one-shot iterable equals only itself, and a comparison must not consume it.
        let other = other.downcast_ref::<Iterable>()?;
        if self.kind.is_one_shot() || other.kind.is_one_shot() {
            return Some(Ordering::Less);
        }
        Some(self.items.cmp(&other.items))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&repr(&Value::from_dyn_object(self.clone())))
    }
}

/// Converts a JSON value into a value of the template.
pub(super) fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => {
            if let Some(int) = number.as_i64() {
                Value::from(int)
            } else if let Some(int) = number.as_u64() {
                Value::from(int)
            } else {
                Value::from(number.as_f64().unwrap_or(f64::NAN))
            }
        }
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(from_json).collect(),
        serde_json::Value::Object(entries) => dict(
            entries
                .iter()
                .map(|(key, value)| (Value::from(key.as_str()), from_json(value))),
        ),
    }
}

/// Builds a dict from pairs. A later pair replaces an earlier pair with the same key.
pub(super) fn dict(pairs: impl IntoIterator<Item = (Value, Value)>) -> Value {
    let mut dict = Dict::default();
    for (key, value) in pairs {
        dict.insert(key, value);
    }
    Value::from_object(dict)
}

/// A tuple of two values.
pub(super) fn pair(first: Value, second: Value) -> Value {
    Value::from(Tuple::from([first, second]))
}

/// Python's `list(value)`.
pub(super) fn items(value: &Value) -> Result<Vec<Value>, Error> {
    match Python::from(value) {
        Python::Undefined => Ok(Vec::new()),
        Python::Str(text) => Ok(text.chars().map(Value::from).collect()),
        Python::List | Python::Tuple => Ok(value.try_iter()?.collect()),
        Python::Dict(dict) => Ok(dict.entries.iter().map(|(key, _)| key.clone()).collect()),
        Python::Iterable(iterable) => Ok(iterable.take().to_vec()),
        _ => Err(error(format!(
            "'{}' object is not iterable",
            type_name(value)
        ))),
    }
}

/// Python's `str`.
pub(super) fn text(value: &Value) -> String {
    match Python::from(value) {
        Python::Undefined => String::new(),
        Python::Str(text) => text.to_owned(),
        _ => repr(value),
    }
}

/// Python's `repr`.
pub(super) fn repr(value: &Value) -> String {
    let list = |items: &[Value]| items.iter().map(repr).collect::<Vec<_>>().join(", ");
    let collected = || value.try_iter().map(|items| items.collect::<Vec<_>>());
    match Python::from(value) {
        Python::Undefined => "Undefined".into(),
        Python::None => "None".into(),
        Python::Bool(true) => "True".into(),
        Python::Bool(false) => "False".into(),
        Python::Int(int) => int.to_string(),
        Python::Float(float) => float_repr(float),
        Python::Str(text) if value.is_safe() => format!("Markup({})", str_repr(text)),
        Python::Str(text) => str_repr(text),
        Python::List => format!("[{}]", list(&collected().unwrap_or_default())),
        Python::Tuple => {
            let items = collected().unwrap_or_default();
            let comma = if items.len() == 1 { "," } else { "" };
            format!("({}{comma})", list(&items))
        }
        Python::Dict(dict) => {
            let pairs = dict.entries.iter();
            let pairs = pairs.map(|(key, value)| format!("{}: {}", repr(key), repr(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        Python::Iterable(iterable) => match iterable.kind {
            IterableKind::Range { start, stop, step } => {
                let step = if step == 1 {
                    String::new()
                } else {
                    format!(", {step}")
                };
                format!("range({start}, {stop}{step})")
            }
            kind if kind.is_one_shot() => format!("<{} object>", kind.name()),
            kind => format!("{}([{}])", kind.name(), list(&iterable.items)),
        },
        Python::Other => value.to_string(),
    }
}

/// Python's `repr` of a string.
fn str_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut written = String::with_capacity(text.len() + 2);
    written.push(quote);
    for c in text.chars() {
        match c {
            '\\' => written += "\\\\",
            '\n' => written += "\\n",
            '\r' => written += "\\r",
            '\t' => written += "\\t",
            _ if c == quote => {
                written.push('\\');
                written.push(c);
            }
            _ if is_printable(c) => written.push(c),
            _ => match u32::from(c) {
                code @ 0..0x100 => written += &format!("\\x{code:02x}"),
                code @ 0x100..0x1_0000 => written += &format!("\\u{code:04x}"),
                code => written += &format!("\\U{code:08x}"),
            },
        }
    }
    written.push(quote);
    written
}

/// Python's `str.isprintable` for one character. Rust's `escape_debug` escapes exactly the other characters,
/// except that it also escapes a combining mark at the beginning of a string.
pub(super) fn is_printable(c: char) -> bool {
    match c {
        '"' | '\'' | '\\' => true,
        ' '..='~' => true,
        _ => {
            let behind_a_letter: String = ['a', c].iter().collect();
            behind_a_letter.escape_debug().nth(1) == Some(c)
        }
    }
}

/// Python's `repr` of a float: the fewest digits that parse to the same number.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Python's order of two values. Values without an order are an error.
pub(super) fn compare(left: &Value, right: &Value) -> Result<Ordering, Error> {
    let (a, b) = (Python::from(left), Python::from(right));
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return match (a, b) {
            (Number::Int(a), Number::Int(b)) => Ok(a.cmp(&b)),
            // Every comparison with a NaN is false. `Greater` makes `<` false; the other operators check for
            // NaN themselves.
            _ => Ok(a
                .float()
                .partial_cmp(&b.float())
                .unwrap_or(Ordering::Greater)),
        };
    }
    match (a, b) {
        (Python::Undefined, _) | (_, Python::Undefined) => Err(undefined()),
        (Python::Str(a), Python::Str(b)) => Ok(a.cmp(b)),
        (Python::List, Python::List) | (Python::Tuple, Python::Tuple) => {
            let (a, b) = (items(left)?, items(right)?);
            for (a, b) in a.iter().zip(&b) {
                if a != b {
                    return compare(a, b);
                }
            }
            Ok(a.len().cmp(&b.len()))
        }
        _ => Err(error(format!(
            "'<' not supported between instances of '{}' and '{}'",
            type_name(left),
            type_name(right)
        ))),
    }
}
