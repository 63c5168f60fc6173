//! Jinja's filters with Python's meaning. Filters that no conversation needs (`urlize`, `xmlattr` and similar
//! ones) are unknown here; a template that uses one is refused with the filter's name.

mod numbers;
mod sequences;
mod texts;

use std::cmp::Ordering;

use minijinja::{Environment, Error, ErrorKind, State, Value};

use self::texts::changed;
use super::arguments::Arguments;
use super::json::to_json;
use super::markup;
use super::operators::{self, AnyArguments, attribute};
use super::texts::capitalize;
use super::values::{Python, error, items, text, type_name, undefined};

type Filter = fn(&mut State, &Value, Arguments) -> Result<Value, Error>;

const FILTERS: [(&str, Filter); 52] = [
    ("abs", numbers::abs),
    ("attr", attr),
    ("batch", sequences::batch),
    ("capitalize", |_, value, rest| {
        changed(value, rest, capitalize)
    }),
    ("center", texts::center),
    ("count", sequences::length),
    ("d", default),
    ("default", default),
    ("dictsort", sequences::dictsort),
    ("e", texts::escape),
    ("escape", texts::escape),
    ("filesizeformat", |_, _, _| unsupported("filesizeformat")),
    ("first", sequences::first),
    ("float", numbers::float),
    ("forceescape", |_, value, rest| {
        rest.bind("forceescape", [], 0)?;
        Ok(Value::from_safe_string(markup::escape(&text(value))))
    }),
    ("format", texts::format),
    ("groupby", sequences::groupby),
    ("indent", texts::indent),
    ("int", numbers::int_of),
    ("items", sequences::pairs),
    ("join", sequences::join),
    ("last", sequences::last),
    ("length", sequences::length),
    ("list", |_, value, rest| {
        rest.bind("list", [], 0)?;
        Ok(Value::from(items(value)?))
    }),
    ("lower", |_, value, rest| {
        changed(value, rest, str::to_lowercase)
    }),
    ("map", sequences::map),
    ("max", |_, value, rest| {
        sequences::extreme(value, rest, "max", Ordering::Greater)
    }),
    ("min", |_, value, rest| {
        sequences::extreme(value, rest, "min", Ordering::Less)
    }),
    ("pprint", |_, _, _| unsupported("pprint")),
    ("random", |_, _, _| unsupported("random")),
    ("reject", |state, value, rest| {
        sequences::select(state, value, rest, false, false)
    }),
    ("rejectattr", |state, value, rest| {
        sequences::select(state, value, rest, true, false)
    }),
    ("replace", texts::replace),
    ("reverse", sequences::reverse),
    ("round", numbers::round),
    ("safe", |_, value, rest| {
        rest.bind("safe", [], 0)?;
        Ok(Value::from_safe_string(text(value)))
    }),
    ("select", |state, value, rest| {
        sequences::select(state, value, rest, false, true)
    }),
    ("selectattr", |state, value, rest| {
        sequences::select(state, value, rest, true, true)
    }),
    ("slice", sequences::slice),
    ("sort", sequences::sort),
    ("string", |_, value, rest| {
        changed(value, rest, str::to_owned)
    }),
    ("striptags", |_, _, _| unsupported("striptags")),
    ("sum", sequences::sum),
    ("title", |_, value, rest| changed(value, rest, texts::title)),
    ("tojson", |_, value, rest| to_json(value, rest)),
    ("trim", texts::trim),
    ("truncate", texts::truncate),
    ("unique", sequences::unique),
    ("upper", |_, value, rest| {
        changed(value, rest, str::to_uppercase)
    }),
    ("urlencode", |_, _, _| unsupported("urlencode")),
    ("wordcount", texts::wordcount),
    ("wordwrap", |_, _, _| unsupported("wordwrap")),
];

/// Registers all filters.
pub(super) fn register(env: &mut Environment) {
    for (name, filter) in FILTERS {
        env.add_filter(name, move |state: &mut State, rest: AnyArguments| {
            let mut arguments = Arguments::from_rest(rest)?;
            let value = arguments.subject()?;
            state.consume_fuel(value.len().unwrap_or(0) as u64 / 8)?;
            filter(state, &value, arguments)
        });
    }
}

/// True if a filter with this name exists.
pub(super) fn is_known(name: &str) -> bool {
    FILTERS.iter().any(|(known, _)| *known == name)
}

fn unsupported(name: &str) -> Result<Value, Error> {
    Err(Error::new(
        ErrorKind::UnknownFilter,
        format!("the filter `{name}` is not supported"),
    ))
}

/// The error of a function that does not accept this type of value.
fn bad_operand(function: &str, value: &Value) -> Error {
    if value.is_undefined() {
        return undefined();
    }
    error(format!(
        "bad operand type for {function}: '{}'",
        type_name(value)
    ))
}

fn default(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("default", ["default_value", "boolean"], 0)?;
    if value.is_undefined() || (bound.truth(1) && !value.is_true()) {
        return Ok(bound.passed(0).cloned().unwrap_or_else(|| Value::from("")));
    }
    Ok(value.clone())
}

/// Reads an attribute, never an item. The values of a conversation have no attributes except their methods.
fn attr(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("attr", ["name"], 1)?;
    let name = bound.required_text(0)?;
    match Python::from(value) {
        Python::Undefined => Err(undefined()),
        Python::Other => value.get_attr(name),
        _ if operators::has_method(value, name) => attribute(value, name),
        _ => Ok(Value::UNDEFINED),
    }
}
