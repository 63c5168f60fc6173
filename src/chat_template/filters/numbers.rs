//! Filters that return numbers.

use minijinja::{Error, State, Value};

use crate::chat_template::arguments::Arguments;
use crate::chat_template::texts::is_space;
use crate::chat_template::values::{Number, Python, error, int, undefined};

use super::bad_operand;

pub(super) fn abs(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("abs", [], 0)?;
    match Python::from(value).number() {
        Some(Number::Int(value)) => Ok(int(value.abs())),
        Some(Number::Float(value)) => Ok(Value::from(value.abs())),
        None => Err(bad_operand("abs()", value)),
    }
}

/// Python's `float` of a text.
fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    let number = text.replace('_', "");
    let underscores = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    if underscores {
        return None;
    }
    number.parse().ok()
}

/// Python's `int` of a text.
fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = text.trim_matches(is_space);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let digits = match base {
        16 => lower.strip_prefix("0x"),
        8 => lower.strip_prefix("0o"),
        2 => lower.strip_prefix("0b"),
        _ => None,
    }
    .unwrap_or(&lower);
    if digits.starts_with(['_', '-', '+']) || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let value = i128::from_str_radix(&digits.replace('_', ""), base).ok()?;
    Some(sign * value)
}

pub(super) fn float(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("float", ["default"], 0)?;
    let python = Python::from(value);
    let parsed = match python {
        Python::Undefined => return Err(undefined()),
        Python::Str(text) => parse_float(text),
        _ => python.number().map(Number::float),
    };
    Ok(match parsed {
        Some(parsed) => Value::from(parsed),
        None => bound.passed(0).cloned().unwrap_or_else(|| Value::from(0.0)),
    })
}

pub(super) fn int_of(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("int", ["default", "base"], 0)?;
    let base = u32::try_from(bound.int(1, 10)?).unwrap_or(0);
    if !(2..=36).contains(&base) {
        return Err(error("int(): `base` must be from 2 to 36"));
    }
    let whole = |float: f64| (float.abs() < 1e38).then_some(float as i128);
    let parsed = match Python::from(value) {
        Python::Undefined => return Err(undefined()),
        Python::Str(text) => parse_int(text, base).or_else(|| parse_float(text).and_then(whole)),
        Python::Float(float) if float.is_infinite() => {
            return Err(error("cannot convert float infinity to integer"));
        }
        Python::Float(float) => whole(float),
        other => other.int(),
    };
    Ok(match parsed {
        Some(parsed) => int(parsed),
        None => bound.passed(0).cloned().unwrap_or_else(|| Value::from(0)),
    })
}

pub(super) fn round(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("round", ["precision", "method"], 0)?;
    let digits = usize::try_from(bound.int(0, 0)?)
        .ok()
        .filter(|digits| *digits <= 100)
        .ok_or_else(|| error("round(): `precision` must be from 0 to 100"))?;
    let number = Python::from(value)
        .number()
        .ok_or_else(|| bad_operand("round()", value))?;
    let scale = 10f64.powi(digits as i32);
    let float = number.float();
    match (bound.text(1)?.unwrap_or("common"), number) {
        ("common", Number::Int(whole)) => Ok(int(whole)),
        // Rounds the exact decimal value of the float, halves to even, as Python does.
        ("common", Number::Float(_)) => Ok(Value::from(
            format!("{float:.digits$}").parse().unwrap_or(float),
        )),
        ("ceil", _) => Ok(Value::from((float * scale).ceil() / scale)),
        ("floor", _) => Ok(Value::from((float * scale).floor() / scale)),
        _ => Err(error("round(): `method` must be common, ceil or floor")),
    }
}
