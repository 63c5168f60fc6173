//! Filters of lists, dicts and other iterables.

use std::cmp::Ordering;
use std::collections::HashSet;

use minijinja::value::Kwargs;
use minijinja::{Error, State, Value};

use crate::chat_template::arguments::{Arguments, Bound, text_of};
use crate::chat_template::limits::within_limit;
use crate::chat_template::markup::with_safety;
use crate::chat_template::operators::{add, generator, hashable, item};
use crate::chat_template::values::{
    Iterable, IterableKind, Python, compare, error, items, pair, text, type_name,
};

use super::bad_operand;

pub(super) fn batch(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("batch", ["linecount", "fill_with"], 1)?;
    let size = positive(&bound, 0)?;
    let mut rows: Vec<Vec<Value>> = items(value)?.chunks(size).map(<[_]>::to_vec).collect();
    if let (Some(fill), Some(row)) = (bound.given(1), rows.last_mut()) {
        within_limit(size)?;
        row.resize(size, fill.clone());
    }
    Ok(generator(rows.into_iter().map(Value::from).collect()))
}

/// A count argument, at least 1.
fn positive<const N: usize>(bound: &Bound<N>, at: usize) -> Result<usize, Error> {
    let number = usize::try_from(bound.int(at, 0)?).unwrap_or(0);
    if number == 0 {
        return Err(error("a number above 0 was expected"));
    }
    Ok(number)
}

pub(super) fn length(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("length", [], 0)?;
    let length = match Python::from(value) {
        Python::Undefined => Some(0),
        Python::Str(text) => Some(text.chars().count()),
        Python::List | Python::Tuple => value.len(),
        Python::Dict(dict) => Some(dict.entries.len()),
        Python::Iterable(iterable) => iterable.len(),
        _ => None,
    };
    let no_length = || {
        error(format!(
            "object of type '{}' has no len()",
            type_name(value)
        ))
    };
    length.map(Value::from).ok_or_else(no_length)
}

/// Sorts stably by keys, as Python's `sorted` does. Keys without an order are an error.
fn sorted<T>(
    mut values: Vec<(Value, T)>,
    reverse: bool,
) -> Result<impl Iterator<Item = (Value, T)>, Error> {
    let mut failure = None;
    values.sort_by(|(a, _), (b, _)| {
        let order = compare(a, b).unwrap_or_else(|err| {
            failure = Some(err);
            Ordering::Equal
        });
        if reverse { order.reverse() } else { order }
    });
    match failure {
        Some(err) => Err(err),
        None => Ok(values.into_iter()),
    }
}

/// The text in lower case, for orders that ignore case. Other values stay as they are.
fn folded(value: Value) -> Value {
    match Python::from(&value) {
        Python::Str(text) => Value::from(text.to_lowercase()),
        _ => value,
    }
}

/// The sort key of a value: lower case, unless the order is case-sensitive.
fn key(value: Value, case_sensitive: bool) -> Value {
    if case_sensitive { value } else { folded(value) }
}

pub(super) fn dictsort(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let by_value = match bound.text(1)? {
        None | Some("key") => false,
        Some("value") => true,
        Some(_) => return Err(error("dictsort(): `by` must be \"key\" or \"value\"")),
    };
    let Python::Dict(dict) = Python::from(value) else {
        return Err(bad_operand("dictsort()", value));
    };
    let keyed = dict.entries.iter().map(|(name, value)| {
        let by = if by_value { value } else { name };
        (
            key(by.clone(), bound.truth(0)),
            pair(name.clone(), value.clone()),
        )
    });
    let sorted = sorted(keyed.collect(), bound.truth(2))?;
    Ok(sorted.map(|(_, pair)| pair).collect())
}

pub(super) fn first(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("first", [], 0)?;
    Ok(items(value)?.into_iter().next().unwrap_or_default())
}

pub(super) fn last(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("last", [], 0)?;
    if let Python::Iterable(iterable) = Python::from(value)
        && iterable.kind.is_one_shot()
    {
        return Err(error(format!(
            "'{}' object is not reversible",
            type_name(value)
        )));
    }
    Ok(items(value)?.pop().unwrap_or_default())
}

/// Follows a path such as `attribute="a.0.b"`: one item after the other, by name or by index.
fn path(value: &Value, attribute: &Value) -> Result<Value, Error> {
    let Some(path) = attribute.as_str() else {
        return item(value, attribute);
    };
    let mut found = value.clone();
    for part in path.split('.') {
        let is_index = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let key = match part.parse::<u64>() {
            Ok(index) if is_index => Value::from(index),
            _ => Value::from(part),
        };
        found = item(&found, &key)?;
    }
    Ok(found)
}

/// [`path`], with a default for undefined values.
fn path_or(value: &Value, attribute: &Value, default: Option<&Value>) -> Result<Value, Error> {
    let found = path(value, attribute)?;
    Ok(match default {
        Some(default) if found.is_undefined() => default.clone(),
        _ => found,
    })
}

pub(super) fn groupby(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let mut keyed = Vec::new();
    for item in items(value)? {
        let found = path_or(&item, &bound.value(0), bound.given(1))?;
        keyed.push((key(found.clone(), bound.truth(2)), (found, item)));
    }
    let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
    for (key, (name, item)) in sorted(keyed, false)? {
        match groups.last_mut() {
            Some((last, _, group)) if *last == key => group.push(item),
            _ => groups.push((key, name, vec![item])),
        }
    }
    let pairs = groups.into_iter();
    Ok(pairs
        .map(|(_, name, group)| pair(name, Value::from(group)))
        .collect())
}

pub(super) fn pairs(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("items", [], 0)?;
    match Python::from(value) {
        Python::Undefined => Ok(generator(Vec::new())),
        Python::Dict(dict) => {
            let entries = dict.entries.iter().cloned();
            Ok(generator(
                entries.map(|(key, value)| pair(key, value)).collect(),
            ))
        }
        _ => Err(error("Can only get item pairs from a mapping.")),
    }
}

pub(super) fn join(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("join", ["d", "attribute"], 0)?;
    let between = bound.passed(0).map(text).unwrap_or_default();
    let mut texts = Vec::new();
    let mut total = 0;
    for item in items(value)? {
        let item = match bound.given(1) {
            Some(attribute) => path(&item, attribute)?,
            None => item,
        };
        let text = text(&item);
        total += text.len() + between.len();
        within_limit(total)?;
        texts.push(text);
    }
    Ok(Value::from(texts.join(&between)))
}

/// The items of a value. Every false value has no items, as in Jinja's `map` and `select`.
fn items_if_true(value: &Value) -> Result<Vec<Value>, Error> {
    if value.is_true() {
        items(value)
    } else {
        Ok(Vec::new())
    }
}

pub(super) fn map(state: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let items = items_if_true(value)?;
    let mut mapped = Vec::with_capacity(items.len().min(1024));
    let by_attribute = rest.keywords.iter().any(|(name, _)| name == "attribute");
    if rest.positional.is_empty() && by_attribute {
        let keywords = Arguments {
            positional: Vec::new(),
            keywords: rest.keywords,
        };
        let bound = keywords.bind("map", ["attribute", "default"], 1)?;
        for item in items {
            mapped.push(path_or(&item, &bound.value(0), bound.given(1))?);
        }
    } else {
        let mut arguments = rest.positional.into_iter();
        let filter = arguments
            .next()
            .ok_or_else(|| error("map requires a filter argument"))?;
        let mut others: Vec<Value> = arguments.collect();
        if !rest.keywords.is_empty() {
            let named: Kwargs = rest.keywords.into_iter().collect();
            others.push(Value::from(named));
        }
        for item in items {
            let mut call = vec![item];
            call.extend(others.iter().cloned());
            mapped.push(state.apply_filter(text_of(&filter)?, &call)?);
        }
    }
    Ok(generator(mapped))
}

/// `select`, `selectattr`, `reject` and `rejectattr`.
pub(super) fn select(
    state: &mut State,
    value: &Value,
    rest: Arguments,
    by_attribute: bool,
    wanted: bool,
) -> Result<Value, Error> {
    let mut arguments = rest.positional.into_iter();
    let attribute = match by_attribute {
        false => None,
        true => Some(
            arguments
                .next()
                .ok_or_else(|| error("Missing parameter for attribute name"))?,
        ),
    };
    let test = arguments.next();
    let others: Vec<Value> = arguments.collect();
    let mut selected = Vec::new();
    for item in items_if_true(value)? {
        let tested = match &attribute {
            Some(attribute) => path(&item, attribute)?,
            None => item.clone(),
        };
        let holds = match &test {
            None => tested.is_true(),
            Some(test) => {
                let mut call = vec![tested];
                call.extend(others.iter().cloned());
                state.perform_test(text_of(test)?, &call)?
            }
        };
        if holds == wanted {
            selected.push(item);
        }
    }
    Ok(generator(selected))
}

/// `min` or `max`. Of equal items, the first wins.
pub(super) fn extreme(
    value: &Value,
    rest: Arguments,
    name: &str,
    wanted: Ordering,
) -> Result<Value, Error> {
    let bound = rest.bind(name, ["case_sensitive", "attribute"], 0)?;
    let mut best: Option<(Value, Value)> = None;
    for item in items(value)? {
        let compared = match bound.given(1) {
            Some(attribute) => path(&item, attribute)?,
            None => item.clone(),
        };
        let compared = key(compared, bound.truth(0));
        let better = match &best {
            None => true,
            Some((known, _)) => compare(&compared, known)? == wanted,
        };
        if better {
            best = Some((compared, item));
        }
    }
    Ok(best.map(|(_, item)| item).unwrap_or_default())
}

pub(super) fn reverse(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("reverse", [], 0)?;
    if let Python::Str(text) = Python::from(value) {
        return Ok(with_safety(value, text.chars().rev().collect()));
    }
    let mut items = items(value)?;
    items.reverse();
    match Python::from(value) {
        Python::Iterable(iterable) if iterable.kind.is_one_shot() => Ok(Value::from(items)),
        _ => Ok(Iterable::value(IterableKind::Reversed, items)),
    }
}

pub(super) fn slice(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("slice", ["slices", "fill_with"], 1)?;
    let slices = positive(&bound, 0)?;
    within_limit(slices)?;
    let items = items(value)?;
    let (each, extra) = (items.len() / slices, items.len() % slices);
    let mut rows = Vec::new();
    let mut from = 0;
    for row in 0..slices {
        let to = from + each + usize::from(row < extra);
        let mut column = items[from..to].to_vec();
        if row >= extra
            && let Some(fill) = bound.given(1)
        {
            column.push(fill.clone());
        }
        rows.push(Value::from(column));
        from = to;
    }
    Ok(generator(rows))
}

pub(super) fn sort(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let mut keyed = Vec::new();
    for item in items(value)? {
        let keys = match bound.given(2) {
            None => vec![key(item.clone(), bound.truth(1))],
            Some(attribute) => {
                let names: Vec<Value> = match attribute.as_str() {
                    Some(names) => names.split(',').map(Value::from).collect(),
                    None => vec![attribute.clone()],
                };
                let mut keys = Vec::new();
                for name in &names {
                    keys.push(key(path(&item, name)?, bound.truth(1)));
                }
                keys
            }
        };
        keyed.push((Value::from(keys), item));
    }
    Ok(sorted(keyed, bound.truth(0))?
        .map(|(_, item)| item)
        .collect())
}

pub(super) fn sum(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("sum", ["attribute", "start"], 0)?;
    let mut total = bound.passed(1).cloned().unwrap_or_else(|| Value::from(0));
    if matches!(Python::from(&total), Python::Str(_)) {
        return Err(error("sum() can't sum strings"));
    }
    for item in items(value)? {
        let item = match bound.given(0) {
            Some(attribute) => path(&item, attribute)?,
            None => item,
        };
        total = add(&total, &item)?;
    }
    Ok(total)
}

pub(super) fn unique(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for item in items(value)? {
        let compared = match bound.given(1) {
            Some(attribute) => path(&item, attribute)?,
            None => item.clone(),
        };
        hashable(&compared)?;
        if seen.insert(key(compared, bound.truth(0))) {
            kept.push(item);
        }
    }
    Ok(generator(kept))
}
