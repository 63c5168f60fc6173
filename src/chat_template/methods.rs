//! The methods of Python's strings, lists and dicts for templates.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::Tuple;
use minijinja::{Error, ErrorKind, State, Value};

use super::arguments::{Arguments, Bound, text_of};
use super::limits::within_limit;
use super::markup::{escape, escaped, with_safety};
use super::texts::{
    capitalize, expand_tabs, is, is_space, padded, replaced, split_lines, split_space, title,
};
use super::values::{
    self, Dict, Iterable, IterableKind, Python, error, items, pair, type_name, undefined,
};

/// Methods of `str`. Some are not supported; a call of them is an error that names the method.
pub(super) const OF_STR: [&str; 44] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

/// Methods of `list` and `tuple` that do not change the value.
pub(super) const OF_LIST: [&str; 3] = ["copy", "count", "index"];

/// Methods of `dict` that do not change the value.
pub(super) const OF_DICT: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];

/// Methods that accept keyword arguments.
const WITH_KEYWORDS: [&str; 5] = ["expandtabs", "format", "rsplit", "split", "splitlines"];

/// Methods that change a list or a dict. transformers' sandbox refuses them.
const CHANGING: [&str; 11] = [
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
];

/// Calls `value.name(arguments)`. Fails with [`ErrorKind::UnknownMethod`] if the value has no such method.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments)?;
    if !arguments.keywords.is_empty() && !WITH_KEYWORDS.contains(&name) {
        return Err(error(format!("{name}() takes no keyword arguments")));
    }
    match Python::from(value) {
        Python::Undefined => Err(undefined()),
        Python::Str(text) => {
            state.consume_fuel(text.len() as u64 / 64)?;
            of_str(value, text, name, arguments)
        }
        Python::List | Python::Tuple => {
            state.consume_fuel(value.len().unwrap_or(0) as u64)?;
            of_list(value, name, arguments)
        }
        Python::Dict(dict) => of_dict(dict, name, arguments),
        _ => Err(unknown(value, name)),
    }
}

fn unknown(value: &Value, name: &str) -> Error {
    let class = type_name(value);
    if CHANGING.contains(&name) && matches!(class, "list" | "dict") {
        return error(format!(
            "`{name}` would change a {class}, which transformers' sandbox does not allow"
        ));
    }
    Error::new(
        ErrorKind::UnknownMethod,
        format!("a value of type '{class}' has no method `{name}`"),
    )
}

fn of_list(value: &Value, name: &str, arguments: Arguments) -> Result<Value, Error> {
    let items = items(value)?;
    match name {
        "count" => {
            let wanted = arguments.bind(name, ["value"], 1)?.value(0);
            Ok(Value::from(
                items.iter().filter(|item| **item == wanted).count(),
            ))
        }
        "index" => {
            let wanted = arguments.bind(name, ["value"], 1)?.value(0);
            let found = items.iter().position(|item| *item == wanted);
            found
                .map(Value::from)
                .ok_or_else(|| error(format!("{} is not in list", values::repr(&wanted))))
        }
        "copy" if !value.is_tuple() => {
            arguments.bind(name, [], 0)?;
            Ok(value.clone())
        }
        _ => Err(unknown(value, name)),
    }
}

fn of_dict(dict: &Dict, name: &str, arguments: Arguments) -> Result<Value, Error> {
    let entries = dict.entries.iter().cloned();
    match name {
        "get" => {
            let bound = arguments.bind(name, ["key", "default"], 1)?;
            let found = dict.get(&bound.value(0)).or(bound.passed(1));
            Ok(found.cloned().unwrap_or(Value::from(())))
        }
        "items" => {
            arguments.bind(name, [], 0)?;
            let pairs = entries.map(|(key, value)| pair(key, value)).collect();
            Ok(Iterable::value(IterableKind::Items, pairs))
        }
        "keys" => {
            arguments.bind(name, [], 0)?;
            let keys = entries.map(|(key, _)| key).collect();
            Ok(Iterable::value(IterableKind::Keys, keys))
        }
        "values" => {
            arguments.bind(name, [], 0)?;
            let values = entries.map(|(_, value)| value).collect();
            Ok(Iterable::value(IterableKind::Values, values))
        }
        "copy" => {
            arguments.bind(name, [], 0)?;
            Ok(values::dict(entries))
        }
        "fromkeys" => from_keys(arguments),
        _ => {
            let value = values::dict(entries);
            // After `UnknownMethod`, minijinja calls the dict's item with this name.
            match dict.get(&Value::from(name)) {
                Some(_) if !CHANGING.contains(&name) => Err(Error::from(ErrorKind::UnknownMethod)),
                _ if CHANGING.contains(&name) => Err(unknown(&value, name)),
                _ => Err(undefined()),
            }
        }
    }
}

/// Python's `dict.fromkeys`.
pub(super) fn from_keys(arguments: Arguments) -> Result<Value, Error> {
    let bound = arguments.bind("fromkeys", ["iterable", "value"], 1)?;
    let value = bound.passed(1).cloned().unwrap_or(Value::from(()));
    let keys = items(&bound.value(0))?.into_iter();
    Ok(values::dict(keys.map(|key| (key, value.clone()))))
}

/// The part of `text` between two positions, and its start. Positions count characters and follow the rules of
/// `str.find`. `None` if the start lies behind the end.
fn part<'a, const N: usize>(
    text: &'a str,
    bound: &Bound<N>,
    from: usize,
) -> Result<Option<(&'a str, usize)>, Error> {
    let length = text.chars().count();
    let position = |at: usize, default: usize| match bound.given(at) {
        None => Ok(default),
        Some(value) => match Python::from(value).int() {
            Some(position) if position < 0 => {
                Ok(usize::try_from(position + length as i128).unwrap_or(0))
            }
            Some(position) => Ok(usize::try_from(position).unwrap_or(usize::MAX)),
            None => Err(error("slice indices must be integers or none")),
        },
    };
    let (start, end) = (position(from, 0)?, position(from + 1, length)?.min(length));
    if start > end {
        return Ok(None);
    }
    let byte = |at: usize| {
        text.char_indices()
            .nth(at)
            .map_or(text.len(), |(byte, _)| byte)
    };
    Ok(Some((&text[byte(start)..byte(end)], start)))
}

fn of_str(value: &Value, text: &str, name: &str, arguments: Arguments) -> Result<Value, Error> {
    let same = |changed: String| {
        within_limit(changed.len())?;
        Ok(with_safety(value, changed))
    };
    let pieces = |pieces: Vec<&str>| -> Vec<Value> {
        let pieces = pieces.into_iter();
        pieces
            .map(|piece| with_safety(value, piece.to_owned()))
            .collect()
    };
    match name {
        "upper" | "lower" | "capitalize" | "title" => {
            arguments.bind(name, [], 0)?;
            same(match name {
                "upper" => text.to_uppercase(),
                "lower" => text.to_lowercase(),
                "capitalize" => capitalize(text),
                _ => title(text),
            })
        }
        "strip" | "lstrip" | "rstrip" => {
            let bound = arguments.bind(name, ["chars"], 0)?;
            let chars = bound.text(0)?;
            let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
            let mut kept = text;
            if name != "rstrip" {
                kept = kept.trim_start_matches(goes);
            }
            if name != "lstrip" {
                kept = kept.trim_end_matches(goes);
            }
            same(kept.to_owned())
        }
        "split" | "rsplit" => {
            let bound = arguments.bind(name, ["sep", "maxsplit"], 0)?;
            let limit = usize::try_from(bound.int(1, -1)?).unwrap_or(usize::MAX);
            let parts = match bound.text(0)? {
                None => split_space(text, limit, name == "rsplit"),
                Some("") => return Err(error("empty separator")),
                Some(separator) if name == "split" => {
                    text.splitn(limit.saturating_add(1), separator).collect()
                }
                Some(separator) => {
                    let mut parts: Vec<_> =
                        text.rsplitn(limit.saturating_add(1), separator).collect();
                    parts.reverse();
                    parts
                }
            };
            Ok(Value::from(pieces(parts)))
        }
        "splitlines" => {
            let bound = arguments.bind(name, ["keepends"], 0)?;
            Ok(Value::from(pieces(split_lines(text, bound.truth(0)))))
        }
        "partition" | "rpartition" => {
            let bound = arguments.bind(name, ["sep"], 1)?;
            let separator = bound.required_text(0)?;
            if separator.is_empty() {
                return Err(error("empty separator"));
            }
            let parts = if name == "partition" {
                match text.split_once(separator) {
                    Some((before, after)) => vec![before, separator, after],
                    None => vec![text, "", ""],
                }
            } else {
                match text.rsplit_once(separator) {
                    Some((before, after)) => vec![before, separator, after],
                    None => vec!["", "", text],
                }
            };
            Ok(Value::from(Tuple::from(pieces(parts))))
        }
        "startswith" | "endswith" => {
            let bound = arguments.bind(name, ["prefix", "start", "end"], 1)?;
            let wanted = match Python::from(&bound.value(0)) {
                Python::Tuple => items(&bound.value(0))?,
                _ => vec![bound.value(0)],
            };
            let part = part(text, &bound, 1)?;
            for wanted in &wanted {
                let wanted = text_of(wanted)?;
                let found = part.is_some_and(|(part, _)| match name {
                    "startswith" => part.starts_with(wanted),
                    _ => part.ends_with(wanted),
                });
                if found {
                    return Ok(Value::from(true));
                }
            }
            Ok(Value::from(false))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let bound = arguments.bind(name, ["sub", "start", "end"], 1)?;
            let wanted = bound.required_text(0)?;
            let part = part(text, &bound, 1)?;
            if name == "count" {
                return Ok(Value::from(
                    part.map_or(0, |(part, _)| part.matches(wanted).count()),
                ));
            }
            let found = part.and_then(|(part, start)| {
                let byte = if name.starts_with('r') {
                    part.rfind(wanted)
                } else {
                    part.find(wanted)
                }?;
                Some(start + part[..byte].chars().count())
            });
            match found {
                Some(at) => Ok(Value::from(at)),
                None if name.ends_with("index") => Err(error("substring not found")),
                None => Ok(Value::from(-1)),
            }
        }
        "replace" => {
            let bound = arguments.bind(name, ["old", "new", "count"], 2)?;
            let (old, mut new) = (bound.required_text(0)?, bound.required_text(1)?.to_owned());
            if value.is_safe() && !bound.value(1).is_safe() {
                new = escape(&new);
            }
            let count = usize::try_from(bound.int(2, -1)?).unwrap_or(usize::MAX);
            same(replaced(text, old, &new, count)?)
        }
        "removeprefix" | "removesuffix" => {
            let bound = arguments.bind(name, ["affix"], 1)?;
            let affix = bound.required_text(0)?;
            let kept = match name {
                "removeprefix" => text.strip_prefix(affix),
                _ => text.strip_suffix(affix),
            };
            same(kept.unwrap_or(text).to_owned())
        }
        "join" => {
            let bound = arguments.bind(name, ["iterable"], 1)?;
            let mut texts = Vec::new();
            for item in items(&bound.value(0))? {
                let text = text_of(&item)?;
                texts.push(if value.is_safe() {
                    escaped(&item)
                } else {
                    text.to_owned()
                });
            }
            within_limit(texts.iter().map(|joined| joined.len() + text.len()).sum())?;
            same(texts.join(text))
        }
        "center" | "ljust" | "rjust" => {
            let bound = arguments.bind(name, ["width", "fillchar"], 1)?;
            let fill = bound.text(1)?.unwrap_or(" ");
            if fill.chars().count() != 1 {
                return Err(error(
                    "the fill character must be exactly one character long",
                ));
            }
            same(padded(text, name, bound.int(0, 0)?, fill)?)
        }
        "zfill" => {
            let width = arguments.bind(name, ["width"], 1)?.int(0, 0)?;
            let (sign, digits) = match text.starts_with(['+', '-']) {
                true => text.split_at(1),
                false => ("", text),
            };
            let width = width - sign.len() as i128;
            same(sign.to_owned() + &padded(digits, "rjust", width, "0")?)
        }
        "expandtabs" => {
            let bound = arguments.bind(name, ["tabsize"], 0)?;
            let size = usize::try_from(bound.int(0, 8)?.max(0)).unwrap_or(usize::MAX);
            within_limit(text.matches('\t').count().saturating_mul(size))?;
            same(expand_tabs(text, size))
        }
        "format" => {
            let mut values: Vec<Value> = arguments.positional.iter().map(formatted).collect();
            if !arguments.keywords.is_empty() {
                let named = arguments.keywords.into_iter();
                let named = named.map(|(name, value)| (name, formatted(&value)));
                values.push(Value::from(named.collect::<minijinja::value::Kwargs>()));
            }
            same(format(FormatStyle::StrFormat, text, &values)?)
        }
        _ if name.starts_with("is") && OF_STR.contains(&name) => {
            arguments.bind(name, [], 0)?;
            Ok(Value::from(is(text, name)))
        }
        _ => Err(unknown(value, name)),
    }
}

/// Prepares an argument of `str.format`. minijinja formats numbers, strings and containers itself; every other
/// value becomes a text as Python prints it.
fn formatted(value: &Value) -> Value {
    match Python::from(value) {
        Python::Int(_) | Python::Float(_) | Python::Str(_) | Python::Bool(_) => value.clone(),
        Python::Dict(_) | Python::List | Python::Tuple => value.clone(),
        _ => Value::from(values::text(value)),
    }
}
