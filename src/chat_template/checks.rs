//! Jinja's tests (the names behind `is`) with Python's meaning.

use std::cmp::Ordering;

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Value};

use super::arguments::Arguments;
use super::filters;
use super::operators::{AnyArguments, contains, hashable};
use super::values::{Number, Python, compare, error, text, type_name, undefined};

type Check = fn(&Value, Arguments) -> Result<bool, Error>;

const CHECKS: [(&str, Check); 39] = [
    ("!=", |value, rest| Ok(*value != other(rest)?)),
    ("<", |value, rest| ordered(value, rest, Ordering::is_lt)),
    ("<=", |value, rest| ordered(value, rest, Ordering::is_le)),
    ("==", |value, rest| Ok(*value == other(rest)?)),
    (">", |value, rest| ordered(value, rest, Ordering::is_gt)),
    (">=", |value, rest| ordered(value, rest, Ordering::is_ge)),
    ("boolean", |value, rest| {
        alone(rest)?;
        Ok(value.kind() == ValueKind::Bool)
    }),
    ("callable", |value, rest| {
        alone(rest)?;
        let is_macro = || value.to_string().starts_with("<macro ");
        // Jinja defines the call of an undefined value (it fails), so undefined values count as callable.
        Ok(
            matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined)
                || (value.kind() == ValueKind::Map && is_macro()),
        )
    }),
    ("defined", |value, rest| {
        alone(rest)?;
        Ok(!value.is_undefined())
    }),
    ("divisibleby", |value, rest| {
        Ok(remainder(value, &other(rest)?)? == 0.0)
    }),
    ("eq", |value, rest| Ok(*value == other(rest)?)),
    ("equalto", |value, rest| Ok(*value == other(rest)?)),
    ("escaped", |value, rest| {
        alone(rest)?;
        Ok(value.is_safe())
    }),
    ("even", |value, rest| {
        alone(rest)?;
        Ok(remainder(value, &Value::from(2))? == 0.0)
    }),
    ("false", |value, rest| {
        alone(rest)?;
        Ok(matches!(Python::from(value), Python::Bool(false)))
    }),
    ("filter", |value, rest| {
        alone(rest)?;
        hashable(value)?;
        Ok(value.as_str().is_some_and(filters::is_known))
    }),
    ("float", |value, rest| {
        alone(rest)?;
        Ok(matches!(Python::from(value), Python::Float(_)))
    }),
    ("ge", |value, rest| ordered(value, rest, Ordering::is_ge)),
    ("greaterthan", |value, rest| {
        ordered(value, rest, Ordering::is_gt)
    }),
    ("gt", |value, rest| ordered(value, rest, Ordering::is_gt)),
    ("in", |value, rest| contains(&other(rest)?, value)),
    ("integer", |value, rest| {
        alone(rest)?;
        Ok(matches!(Python::from(value), Python::Int(_)))
    }),
    ("iterable", |value, rest| {
        alone(rest)?;
        Ok(matches!(
            Python::from(value),
            Python::Undefined
                | Python::Str(_)
                | Python::List
                | Python::Tuple
                | Python::Dict(_)
                | Python::Iterable(_)
        ))
    }),
    ("le", |value, rest| ordered(value, rest, Ordering::is_le)),
    ("lessthan", |value, rest| {
        ordered(value, rest, Ordering::is_lt)
    }),
    ("lower", |value, rest| {
        alone(rest)?;
        let text = text(value);
        Ok(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase))
    }),
    ("lt", |value, rest| ordered(value, rest, Ordering::is_lt)),
    ("mapping", |value, rest| {
        alone(rest)?;
        Ok(matches!(Python::from(value), Python::Dict(_)))
    }),
    ("ne", |value, rest| Ok(*value != other(rest)?)),
    ("none", |value, rest| {
        alone(rest)?;
        Ok(value.is_none())
    }),
    ("number", |value, rest| {
        alone(rest)?;
        Ok(Python::from(value).number().is_some())
    }),
    ("odd", |value, rest| {
        alone(rest)?;
        Ok(remainder(value, &Value::from(2))? == 1.0)
    }),
    ("sameas", |value, rest| same(value, &other(rest)?)),
    ("sequence", |value, rest| {
        alone(rest)?;
        Ok(match Python::from(value) {
            Python::Str(_) | Python::List | Python::Tuple | Python::Dict(_) | Python::Undefined => {
                true
            }
            Python::Iterable(iterable) => iterable.indexed().is_some(),
            _ => false,
        })
    }),
    ("string", |value, rest| {
        alone(rest)?;
        Ok(matches!(Python::from(value), Python::Str(_)))
    }),
    ("test", |value, rest| {
        alone(rest)?;
        hashable(value)?;
        Ok(CHECKS.iter().any(|(name, _)| value.as_str() == Some(name)))
    }),
    ("true", |value, rest| {
        alone(rest)?;
        Ok(matches!(Python::from(value), Python::Bool(true)))
    }),
    ("undefined", |value, rest| {
        alone(rest)?;
        Ok(value.is_undefined())
    }),
    ("upper", |value, rest| {
        alone(rest)?;
        let text = text(value);
        Ok(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase))
    }),
];

/// Registers all tests.
pub(super) fn register(env: &mut Environment) {
    for (name, check) in CHECKS {
        env.add_test(name, move |rest: AnyArguments| {
            let mut arguments = Arguments::from_rest(rest)?;
            let value = arguments.subject()?;
            check(&value, arguments)
        });
    }
}

/// Checks that a test got no arguments.
fn alone(rest: Arguments) -> Result<(), Error> {
    rest.bind("test", [], 0)?;
    Ok(())
}

/// The argument of a test that compares two values.
fn other(rest: Arguments) -> Result<Value, Error> {
    Ok(rest.bind("test", ["other"], 1)?.value(0))
}

fn ordered(value: &Value, rest: Arguments, holds: fn(Ordering) -> bool) -> Result<bool, Error> {
    Ok(holds(compare(value, &other(rest)?)?))
}

/// The Euclidean remainder of a division. For positive divisors it equals Python's; for negative divisors it is
/// 0 in the same cases.
fn remainder(value: &Value, divisor: &Value) -> Result<f64, Error> {
    if value.is_undefined() || divisor.is_undefined() {
        return Err(undefined());
    }
    match (Python::from(value).number(), Python::from(divisor).number()) {
        (_, Some(divisor)) if divisor.float() == 0.0 => Err(error("division by zero")),
        (Some(Number::Int(value)), Some(Number::Int(divisor))) => {
            Ok(value.rem_euclid(divisor) as f64)
        }
        (Some(value), Some(divisor)) => Ok(value.float().rem_euclid(divisor.float())),
        _ => Err(error(format!("'{}' is not a number", type_name(value)))),
    }
}

/// True if both are one object. For values that are not objects: if they are equal and have the same type.
fn same(value: &Value, other: &Value) -> Result<bool, Error> {
    Ok(minijinja::tests::is_sameas(value, other) && type_name(value) == type_name(other))
}
