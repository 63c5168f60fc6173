//! Python's operators as functions. Rewritten templates call them.

use std::sync::Arc;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Tuple, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::limits::{within_limit, within_nesting};
use super::markup::{escaped, with_safety};
use super::methods;
use super::values::{
    self, Iterable, IterableKind, Number, Python, compare, error, int, items, type_name, undefined,
};

/// The prefix of the names of all these functions. No template may use a name with this prefix.
pub(super) const PREFIX: &str = "__";
pub(super) const ADD: &str = "__add";
pub(super) const MULTIPLY: &str = "__multiply";
pub(super) const MODULO: &str = "__modulo";
pub(super) const CONCAT: &str = "__concat";
pub(super) const COMPARE: &str = "__compare";
pub(super) const CONTAINS: &str = "__contains";
pub(super) const ATTRIBUTE: &str = "__attribute";
pub(super) const ITEM: &str = "__item";
pub(super) const SLICE: &str = "__slice";
pub(super) const ITERATE: &str = "__iterate";
pub(super) const DICT: &str = "__dict";
pub(super) const KEEP: &str = "__keep";

/// Registers all operators.
pub(super) fn register(env: &mut Environment) {
    env.add_function(ADD, |operands: Rest<Value>| {
        let mut operands = operands.0.into_iter();
        let first = operands.next().unwrap_or_default();
        operands.try_fold(first, |left, right| add(&left, &right))
    });
    env.add_function(MULTIPLY, |left: Value, right: Value| {
        multiply(&left, &right)
    });
    env.add_function(MODULO, |left: Value, right: Value| modulo(&left, &right));
    env.add_function(CONCAT, |operands: Rest<Value>| {
        let texts: Vec<String> = operands.iter().map(values::text).collect();
        let text = texts.concat();
        within_limit(text.len())?;
        Ok::<_, Error>(text)
    });
    env.add_function(COMPARE, |left: Value, op: Value, right: Value| {
        let order = compare(&left, &right)?;
        Ok::<_, Error>(match op.as_str() {
            Some("<") => order.is_lt(),
            Some("<=") => order.is_le() && !is_nan(&left) && !is_nan(&right),
            Some(">") => order.is_gt() && !is_nan(&left) && !is_nan(&right),
            _ => order.is_ge() && !is_nan(&left) && !is_nan(&right),
        })
    });
    env.add_function(CONTAINS, |container: Value, item: Value| {
        contains(&container, &item)
    });
    env.add_function(ATTRIBUTE, |value: Value, name: Value| {
        attribute(&value, name.as_str().unwrap_or_default())
    });
    env.add_function(ITEM, |value: Value, key: Value| item(&value, &key));
    env.add_function(SLICE, slice);
    env.add_function(ITERATE, |value: Value| iterate(value));
    env.add_function(KEEP, |state: &State, value: Value| {
        within_nesting(state, &value, 0)?;
        Ok::<_, Error>(value)
    });
    env.add_function(DICT, |pairs: Vec<Value>| {
        let mut entries = Vec::with_capacity(pairs.len());
        for entry in pairs {
            let (key, value) = (entry.get_item_by_index(0)?, entry.get_item_by_index(1)?);
            hashable(&key)?;
            entries.push((key, value));
        }
        Ok::<_, Error>(values::dict(entries))
    });
}

fn is_nan(value: &Value) -> bool {
    matches!(Python::from(value), Python::Float(float) if float.is_nan())
}

fn unsupported(op: &str, left: &Value, right: &Value) -> Error {
    if left.is_undefined() || right.is_undefined() {
        return undefined();
    }
    error(format!(
        "unsupported operand type(s) for {op}: '{}' and '{}'",
        type_name(left),
        type_name(right)
    ))
}

/// Python's `left + right`.
pub(super) fn add(left: &Value, right: &Value) -> Result<Value, Error> {
    let (a, b) = (Python::from(left), Python::from(right));
    match (a.number(), b.number()) {
        (Some(Number::Int(a)), Some(Number::Int(b))) => {
            return a.checked_add(b).map(int).ok_or_else(too_large);
        }
        (Some(a), Some(b)) => return Ok(Value::from(a.float() + b.float())),
        _ => {}
    }
    match (a, b) {
        (Python::Str(a), Python::Str(b)) => {
            within_limit(a.len() + b.len())?;
            if left.is_safe() || right.is_safe() {
                let text = escaped(left) + &escaped(right);
                return Ok(Value::from_safe_string(text));
            }
            Ok(Value::from([a, b].concat()))
        }
        (Python::List, Python::List) => Ok(Value::from(joined(left, right)?)),
        (Python::Tuple, Python::Tuple) => Ok(Value::from(Tuple::from(joined(left, right)?))),
        _ => Err(unsupported("+", left, right)),
    }
}

fn joined(left: &Value, right: &Value) -> Result<Vec<Value>, Error> {
    let mut all = items(left)?;
    all.extend(items(right)?);
    within_limit(all.len())?;
    Ok(all)
}

fn too_large() -> Error {
    error("an integer of more than 127 bits")
}

fn multiply(left: &Value, right: &Value) -> Result<Value, Error> {
    let (a, b) = (Python::from(left), Python::from(right));
    match (a.number(), b.number()) {
        (Some(Number::Int(a)), Some(Number::Int(b))) => {
            return a.checked_mul(b).map(int).ok_or_else(too_large);
        }
        (Some(a), Some(b)) => return Ok(Value::from(a.float() * b.float())),
        _ => {}
    }
    let (repeated, times) = match (a.int(), b.int()) {
        (_, Some(times)) => (left, times),
        (Some(times), _) => (right, times),
        _ => return Err(unsupported("*", left, right)),
    };
    let times = usize::try_from(times.max(0)).map_err(|_| too_large())?;
    match Python::from(repeated) {
        Python::Str(text) => {
            within_limit(text.len().saturating_mul(times))?;
            Ok(with_safety(repeated, text.repeat(times)))
        }
        Python::List | Python::Tuple => {
            let items = items(repeated)?;
            within_limit(items.len().saturating_mul(times))?;
            let is_tuple = repeated.is_tuple();
            let items: Vec<_> = std::iter::repeat_n(items, times).flatten().collect();
            Ok(if is_tuple {
                Value::from(Tuple::from(items))
            } else {
                Value::from(items)
            })
        }
        _ => Err(unsupported("*", left, right)),
    }
}

/// Python's `%`, of numbers or of a format and its values.
fn modulo(left: &Value, right: &Value) -> Result<Value, Error> {
    let (a, b) = (Python::from(left), Python::from(right));
    match (a.number(), b.number()) {
        (Some(Number::Int(a)), Some(Number::Int(b))) if b != 0 => {
            let rest = a.checked_rem(b).unwrap_or(0);
            let differs = rest != 0 && (rest < 0) != (b < 0);
            return Ok(int(if differs { rest + b } else { rest }));
        }
        (Some(a), Some(b)) => {
            let (a, b) = (a.float(), b.float());
            if b == 0.0 {
                return Err(error("division by zero"));
            }
            let rest = a % b;
            let differs = rest != 0.0 && (rest < 0.0) != (b < 0.0);
            return Ok(Value::from(if differs { rest + b } else { rest }));
        }
        _ => {}
    }
    match (a, b) {
        (Python::Str(text), Python::Tuple) => {
            let arguments = items(right)?;
            all_converted(text, arguments.len())?;
            printf(left, &arguments)
        }
        (Python::Str(_), Python::Dict(dict)) => {
            let named = dict.entries.iter();
            let named = named.map(|(key, value)| (values::text(key), value.clone()));
            printf(left, &[Value::from(named.collect::<Kwargs>())])
        }
        (Python::Str(text), other) => {
            // Python treats a list as a mapping here, and a format need not use the values of a mapping.
            if !matches!(other, Python::List | Python::Undefined) {
                all_converted(text, 1)?;
            }
            printf(left, std::slice::from_ref(right))
        }
        _ => Err(unsupported("%", left, right)),
    }
}

/// A directive of a format: `%-5d` has the flags, width and precision `-5`, and the conversion `d`.
struct Directive<'a> {
    spec: &'a str,
    /// `None` for a `%` at the format's end.
    conversion: Option<char>,
}

/// The directives of a format, `%%` among them.
fn directives(pattern: &str) -> impl Iterator<Item = Directive<'_>> {
    let mut rest = pattern;
    std::iter::from_fn(move || {
        let directive = &rest[rest.find('%')? + 1..];
        let named = directive
            .strip_prefix('(')
            .and_then(|it| it.split_once(')'));
        let directive = named.map_or(directive, |(_, directive)| directive);
        let end = directive
            .find(|c: char| !(c.is_ascii_digit() || "#-+ .*".contains(c)))
            .unwrap_or(directive.len());
        let (spec, behind) = directive.split_at(end);
        let conversion = behind.chars().next();
        rest = &behind[conversion.map_or(0, char::len_utf8)..];
        Some(Directive { spec, conversion })
    })
}

/// Refuses more values than the format has places. minijinja would ignore the others.
pub(super) fn all_converted(pattern: &str, values: usize) -> Result<(), Error> {
    let places = directives(pattern).map(|directive| {
        directive.spec.matches('*').count() + usize::from(directive.conversion != Some('%'))
    });
    if values > places.sum() {
        return Err(error(
            "not all arguments converted during string formatting",
        ));
    }
    Ok(())
}

/// Refuses a format whose widths and precisions together ask for a text beyond the limit.
fn widths_within_limit(pattern: &str) -> Result<(), Error> {
    let numbers = directives(pattern).flat_map(|directive| {
        directive
            .spec
            .split(|c: char| !c.is_ascii_digit())
            .filter(|digits| !digits.is_empty())
            .map(|digits| digits.parse().unwrap_or(usize::MAX))
    });
    within_limit(numbers.fold(0, usize::saturating_add))
}

/// Fills in `%s` and similar directives. A value that is neither a number nor a text is printed as Python
/// prints it.
pub(super) fn printf(pattern: &Value, arguments: &[Value]) -> Result<Value, Error> {
    widths_within_limit(pattern.as_str().unwrap_or_default())?;
    let arguments: Vec<Value> = arguments
        .iter()
        .map(|argument| match Python::from(argument) {
            Python::Int(_) | Python::Bool(_) | Python::Str(_) => argument.clone(),
            Python::Float(_) => argument.clone(),
            _ if argument.is_kwargs() => argument.clone(),
            _ => Value::from(values::text(argument)),
        })
        .map(|argument| {
            if pattern.is_safe() && matches!(Python::from(&argument), Python::Str(_)) {
                Value::from(escaped(&argument))
            } else {
                argument
            }
        })
        .collect();
    let text = format(
        FormatStyle::Printf,
        pattern.as_str().unwrap_or_default(),
        &arguments,
    )?;
    within_limit(text.len())?;
    Ok(with_safety(pattern, text))
}

/// Refuses a value that cannot be a dict's key.
pub(super) fn hashable(key: &Value) -> Result<(), Error> {
    match Python::from(key) {
        Python::List | Python::Dict(_) => {
            Err(error(format!("unhashable type: '{}'", type_name(key))))
        }
        Python::Iterable(iterable) if iterable.is_unhashable() => {
            Err(error(format!("unhashable type: '{}'", type_name(key))))
        }
        Python::Tuple => items(key)?.iter().try_for_each(hashable),
        _ => Ok(()),
    }
}

/// Python's `item in container`.
pub(super) fn contains(container: &Value, item: &Value) -> Result<bool, Error> {
    match Python::from(container) {
        Python::Undefined => Ok(false),
        Python::Str(text) => match Python::from(item) {
            Python::Str(part) => Ok(text.contains(part)),
            _ => Err(error(format!(
                "'in <string>' requires string as left operand, not {}",
                type_name(item)
            ))),
        },
        Python::Dict(dict) => {
            hashable(item)?;
            Ok(dict.get(item).is_some())
        }
        Python::Iterable(iterable) => {
            if iterable.is_unhashable() {
                hashable(item)?;
            }
            Ok(iterable.take().contains(item))
        }
        Python::List | Python::Tuple => Ok(items(container)?.contains(item)),
        _ => Err(error(format!(
            "argument of type '{}' is not iterable",
            type_name(container)
        ))),
    }
}

/// A method that a template names without calling it.
#[derive(Debug)]
struct BoundMethod {
    value: Value,
    name: String,
}

impl Object for BoundMethod {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State, arguments: &[Value]) -> Result<Value, Error> {
        methods::call(state, &self.value, &self.name, arguments)
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = type_name(&self.value);
        write!(f, "<built-in method {} of {class} object>", self.name)
    }
}

/// True if strings, lists or dicts have a method with this name.
pub(super) fn is_method(name: &str) -> bool {
    let all: [&[&str]; 3] = [&methods::OF_STR, &methods::OF_LIST, &methods::OF_DICT];
    all.iter().any(|names| names.contains(&name))
}

/// True if values of this value's type have a method with this name.
pub(super) fn has_method(value: &Value, name: &str) -> bool {
    match Python::from(value) {
        Python::Str(_) => methods::OF_STR.contains(&name),
        Python::List | Python::Tuple => methods::OF_LIST.contains(&name),
        Python::Dict(_) => methods::OF_DICT.contains(&name),
        _ => false,
    }
}

/// `value.name`. A method comes before an item.
pub(super) fn attribute(value: &Value, name: &str) -> Result<Value, Error> {
    if has_method(value, name) {
        return Ok(bound_method(value, name));
    }
    value.get_attr(name)
}

fn bound_method(value: &Value, name: &str) -> Value {
    Value::from_object(BoundMethod {
        value: value.clone(),
        name: name.to_owned(),
    })
}

/// `value[key]`. An item comes before a method. Undefined if the value has neither.
pub(super) fn item(value: &Value, key: &Value) -> Result<Value, Error> {
    let index = |length: usize| {
        let index = Python::from(key).int()?;
        let from_end = if index < 0 { length as i128 } else { 0 };
        usize::try_from(index + from_end)
            .ok()
            .filter(|&at| at < length)
    };
    let found = match Python::from(value) {
        Python::Undefined => return Err(undefined()),
        Python::Str(text) => index(text.chars().count())
            .and_then(|at| text.chars().nth(at))
            .map(|c| with_safety(value, c.to_string())),
        Python::List | Python::Tuple => {
            let length = value.len().unwrap_or(0);
            match index(length) {
                Some(at) => Some(value.get_item_by_index(at)?),
                None => None,
            }
        }
        Python::Dict(dict) => dict.get(key).cloned(),
        Python::Iterable(iterable) => iterable
            .indexed()
            .and_then(|items| index(items.len()).map(|at| items[at].clone())),
        Python::Other => Some(value.get_item(key)?),
        _ => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    match key.as_str() {
        Some(name) if has_method(value, name) => Ok(bound_method(value, name)),
        _ => Ok(Value::UNDEFINED),
    }
}

/// `value[start:stop:step]`.
fn slice(value: Value, start: Value, stop: Value, step: Value) -> Result<Value, Error> {
    let bound = |bound: &Value| match Python::from(bound) {
        Python::None => Ok(None),
        other => other
            .int()
            .map(Some)
            .ok_or_else(|| error("slice indices must be integers or none")),
    };
    let (start, stop, step) = (bound(&start)?, bound(&stop)?, bound(&step)?.unwrap_or(1));
    if step == 0 {
        return Err(error("slice step cannot be zero"));
    }
    let chosen = |length: usize| {
        let length = length as i128;
        let (lowest, highest) = if step > 0 {
            (0, length)
        } else {
            (-1, length - 1)
        };
        let clamped = |bound: Option<i128>, default: i128| match bound {
            None => default,
            Some(bound) if bound < 0 => (bound + length).max(lowest),
            Some(bound) => bound.min(highest),
        };
        let (first, end) = if step > 0 {
            (clamped(start, lowest), clamped(stop, highest))
        } else {
            (clamped(start, highest), clamped(stop, lowest))
        };
        std::iter::successors(Some(first), move |at| at.checked_add(step))
            .take_while(move |at| if step > 0 { *at < end } else { *at > end })
            .map(|at| at as usize)
    };
    match Python::from(&value) {
        Python::Undefined => Err(undefined()),
        Python::Str(text) => {
            let chars: Vec<char> = text.chars().collect();
            let text = chosen(chars.len()).map(|at| chars[at]).collect();
            Ok(with_safety(&value, text))
        }
        Python::List => {
            let items = items(&value)?;
            Ok(chosen(items.len()).map(|at| items[at].clone()).collect())
        }
        Python::Tuple => {
            let items = items(&value)?;
            let chosen: Vec<_> = chosen(items.len()).map(|at| items[at].clone()).collect();
            Ok(Value::from(Tuple::from(chosen)))
        }
        Python::Iterable(iterable) => match iterable.indexed() {
            Some(items) => Ok(chosen(items.len()).map(|at| items[at].clone()).collect()),
            None => Err(not_subscriptable(&value)),
        },
        _ => Err(not_subscriptable(&value)),
    }
}

fn not_subscriptable(value: &Value) -> Error {
    error(format!(
        "'{}' object is not subscriptable",
        type_name(value)
    ))
}

/// The value over which a loop runs. Refuses values that Python does not iterate, `none` above all.
fn iterate(value: Value) -> Result<Value, Error> {
    match Python::from(&value) {
        Python::List | Python::Tuple | Python::Iterable(_) => Ok(value),
        _ => Ok(Value::from(items(&value)?)),
    }
}

/// A one-shot iterator over these items.
pub(super) fn generator(items: Vec<Value>) -> Value {
    Iterable::value(IterableKind::Generator, items)
}

/// Any arguments, for functions that bind their arguments themselves.
pub(super) type AnyArguments = Rest<ValueOrKwargs>;
