//! Jinja's filters with Python's meaning. Those that no conversation needs (`urlize`, `xmlattr` and their like)
//! are unknown here, and a template that uses one is refused by its name.

use std::cmp::Ordering;

use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::arguments::{Arguments, Bound, text_of};
use super::json::to_json;
use super::lexer::is_space;
use super::methods;
use super::operators::{
    self, AnyArguments, add, attribute, escaped, generator, hashable, item, printf, with_safety,
    within_limit,
};
use super::values::{
    Iterable, IterableKind, Number, Python, compare, error, int, items, pair, text, type_name,
    undefined,
};

type Filter = fn(&mut State, &Value, Arguments) -> Result<Value, Error>;

const FILTERS: [(&str, Filter); 52] = [
    ("abs", abs),
    ("attr", attr),
    ("batch", batch),
    ("capitalize", |_, value, rest| {
        changed(value, rest, methods::capitalize)
    }),
    ("center", center),
    ("count", length),
    ("d", default),
    ("default", default),
    ("dictsort", dictsort),
    ("e", escape),
    ("escape", escape),
    ("first", first),
    ("float", float),
    ("forceescape", |_, value, rest| {
        rest.bind("forceescape", [], 0)?;
        Ok(Value::from_safe_string(operators::escape(&text(value))))
    }),
    ("format", format),
    ("groupby", groupby),
    ("indent", indent),
    ("int", int_of),
    ("items", pairs),
    ("join", join),
    ("last", last),
    ("length", length),
    ("list", |_, value, rest| {
        rest.bind("list", [], 0)?;
        Ok(Value::from(items(value)?))
    }),
    ("lower", |_, value, rest| {
        changed(value, rest, str::to_lowercase)
    }),
    ("map", map),
    ("max", |_, value, rest| {
        extreme(value, rest, "max", Ordering::Greater)
    }),
    ("min", |_, value, rest| {
        extreme(value, rest, "min", Ordering::Less)
    }),
    ("reject", |state, value, rest| {
        select(state, value, rest, false, false)
    }),
    ("rejectattr", |state, value, rest| {
        select(state, value, rest, true, false)
    }),
    ("replace", replace),
    ("reverse", reverse),
    ("round", round),
    ("safe", |_, value, rest| {
        rest.bind("safe", [], 0)?;
        Ok(Value::from_safe_string(text(value)))
    }),
    ("select", |state, value, rest| {
        select(state, value, rest, false, true)
    }),
    ("selectattr", |state, value, rest| {
        select(state, value, rest, true, true)
    }),
    ("slice", slice),
    ("sort", sort),
    ("string", |_, value, rest| {
        changed(value, rest, str::to_owned)
    }),
    ("sum", sum),
    ("title", |_, value, rest| changed(value, rest, title)),
    ("tojson", |_, value, rest| to_json(value, rest)),
    ("trim", trim),
    ("truncate", truncate),
    ("unique", unique),
    ("upper", |_, value, rest| {
        changed(value, rest, str::to_uppercase)
    }),
    ("wordcount", |_, value, rest| {
        rest.bind("wordcount", [], 0)?;
        let text = text(value);
        let in_word = |c: char| c == '_' || c.is_alphanumeric();
        let words = text.split(|c| !in_word(c)).filter(|word| !word.is_empty());
        Ok(Value::from(words.count()))
    }),
    ("filesizeformat", |_, _, _| unsupported("filesizeformat")),
    ("pprint", |_, _, _| unsupported("pprint")),
    ("random", |_, _, _| unsupported("random")),
    ("striptags", |_, _, _| unsupported("striptags")),
    ("urlencode", |_, _, _| unsupported("urlencode")),
    ("wordwrap", |_, _, _| unsupported("wordwrap")),
];

/// Registers all of them.
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

/// Whether there is a filter of this name.
pub(super) fn is_known(name: &str) -> bool {
    FILTERS.iter().any(|(known, _)| *known == name)
}

fn unsupported(name: &str) -> Result<Value, Error> {
    Err(Error::new(
        ErrorKind::UnknownFilter,
        format!("the filter `{name}` is not supported"),
    ))
}

/// A text changed by a function without arguments.
fn changed<T: Into<String>>(
    value: &Value,
    rest: Arguments,
    change: fn(&str) -> T,
) -> Result<Value, Error> {
    rest.bind("filter", [], 0)?;
    Ok(with_safety(value, change(&text(value)).into()))
}

fn abs(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("abs", [], 0)?;
    match Python::from(value).number() {
        Some(Number::Int(value)) => Ok(int(value.abs())),
        Some(Number::Float(value)) => Ok(Value::from(value.abs())),
        None => Err(bad_operand("abs()", value)),
    }
}

fn bad_operand(function: &str, value: &Value) -> Error {
    if value.is_undefined() {
        return undefined();
    }
    error(format!(
        "bad operand type for {function}: '{}'",
        type_name(value)
    ))
}

/// An attribute alone, never an item: values that have attributes are no part of a conversation.
fn attr(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("attr", ["name"], 1)?;
    let name = bound.required_text(0)?;
    match Python::from(value) {
        Python::Undefined => Err(undefined()),
        Python::Dict(_) | Python::Str(_) | Python::List | Python::Tuple => {
            // `attribute` falls back on the item, which a method's name never reaches.
            if operators::is_method(name) {
                let found = attribute(value, name)?;
                return Ok(if matches!(Python::from(&found), Python::Other) {
                    found
                } else {
                    Value::UNDEFINED
                });
            }
            Ok(Value::UNDEFINED)
        }
        Python::Other => value.get_attr(name),
        _ => Ok(Value::UNDEFINED),
    }
}

fn batch(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("batch", ["linecount", "fill_with"], 1)?;
    let size = positive(&bound, 0)?;
    let mut rows: Vec<Vec<Value>> = items(value)?.chunks(size).map(<[_]>::to_vec).collect();
    if let (Some(fill), Some(row)) = (bound.given(1), rows.last_mut()) {
        within_limit(size)?;
        row.resize(size, fill.clone());
    }
    Ok(generator(rows.into_iter().map(Value::from).collect()))
}

/// An argument that is a number of things, at least one.
fn positive<const N: usize>(bound: &Bound<N>, at: usize) -> Result<usize, Error> {
    let number = usize::try_from(bound.int(at, 0)?).unwrap_or(0);
    if number == 0 {
        return Err(error("a number above 0 was expected"));
    }
    Ok(number)
}

fn center(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("center", ["width"], 0)?;
    let padded = methods::padded(&text(value), "center", bound.int(0, 80)?, " ")?;
    Ok(with_safety(value, padded))
}

fn length(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

fn default(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("default", ["default_value", "boolean"], 0)?;
    if value.is_undefined() || (bound.truth(1) && !value.is_true()) {
        return Ok(bound.passed(0).cloned().unwrap_or_else(|| Value::from("")));
    }
    Ok(value.clone())
}

/// Sorts by keys, stably, as Python's `sorted` does; keys without an order are an error.
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

/// A text in lower case, for orders that ignore the case.
fn folded(value: Value) -> Value {
    match Python::from(&value) {
        Python::Str(text) => Value::from(text.to_lowercase()),
        _ => value,
    }
}

/// The value itself, or in lower case unless the case counts.
fn key(value: Value, case_sensitive: bool) -> Value {
    if case_sensitive { value } else { folded(value) }
}

fn dictsort(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

fn escape(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("escape", [], 0)?;
    Ok(Value::from_safe_string(escaped(value)))
}

fn first(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    rest.bind("first", [], 0)?;
    Ok(items(value)?.into_iter().next().unwrap_or_default())
}

fn last(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

fn float(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

fn int_of(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

fn format(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let mut arguments = rest.positional;
    operators::all_converted(&text(value), arguments.len())?;
    if !rest.keywords.is_empty() {
        if !arguments.is_empty() {
            return Err(error("format(): either values or names, not both"));
        }
        let named: minijinja::value::Kwargs = rest.keywords.into_iter().collect();
        arguments.push(Value::from(named));
    }
    printf(&with_safety(value, text(value)), &arguments)
}

/// What `attribute="a.0.b"` leads to: items by name or number, one after the other.
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

/// [`path`], with something else in place of what is undefined.
fn path_or(value: &Value, attribute: &Value, default: Option<&Value>) -> Result<Value, Error> {
    let found = path(value, attribute)?;
    Ok(match default {
        Some(default) if found.is_undefined() => default.clone(),
        _ => found,
    })
}

fn groupby(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

fn indent(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("indent", ["width", "first", "blank"], 0)?;
    let source = text_of(value)?;
    let indent = match bound.passed(0) {
        Some(width) if width.as_str().is_some() => text(width),
        _ => {
            let width = usize::try_from(bound.int(0, 4)?.max(0)).unwrap_or(usize::MAX);
            within_limit(width)?;
            " ".repeat(width)
        }
    };
    let ended = format!("{source}\n");
    let lines = methods::split_lines(&ended, false);
    within_limit(
        ended
            .len()
            .saturating_add(lines.len().saturating_mul(indent.len())),
    )?;
    let mut written = String::new();
    for (at, line) in lines.into_iter().enumerate() {
        if at > 0 {
            written.push('\n');
        }
        let indented = if at == 0 {
            bound.truth(1)
        } else {
            bound.truth(2) || !line.is_empty()
        };
        if indented {
            written += &indent;
        }
        written += line;
    }
    Ok(with_safety(value, written))
}

fn pairs(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

fn join(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

/// What a generator makes of a false value, whatever it is: nothing.
fn items_if_true(value: &Value) -> Result<Vec<Value>, Error> {
    if value.is_true() {
        items(value)
    } else {
        Ok(Vec::new())
    }
}

fn map(state: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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
            let named: minijinja::value::Kwargs = rest.keywords.into_iter().collect();
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

/// `select`, `selectattr` and what they leave.
fn select(
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

/// `min` or `max`: the first of those that are equal.
fn extreme(value: &Value, rest: Arguments, name: &str, wanted: Ordering) -> Result<Value, Error> {
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

fn replace(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("replace", ["old", "new", "count"], 2)?;
    let count = match bound.given(2) {
        None => usize::MAX,
        Some(_) => usize::try_from(bound.int(2, -1)?).unwrap_or(usize::MAX),
    };
    let (old, new) = (text(&bound.value(0)), text(&bound.value(1)));
    Ok(Value::from(methods::replaced(
        &text(value),
        &old,
        &new,
        count,
    )?))
}

fn reverse(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

fn round(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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
        // The decimal digits of the float itself, halves to even, as Python rounds.
        ("common", Number::Float(_)) => Ok(Value::from(
            format!("{float:.digits$}").parse().unwrap_or(float),
        )),
        ("ceil", _) => Ok(Value::from((float * scale).ceil() / scale)),
        ("floor", _) => Ok(Value::from((float * scale).floor() / scale)),
        _ => Err(error("round(): `method` must be common, ceil or floor")),
    }
}

fn slice(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

fn sort(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

fn sum(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
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

/// Jinja's own title case: a word begins behind white space, a hyphen or an opening bracket.
fn title(source: &str) -> String {
    let separates = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let mut written = String::with_capacity(source.len());
    for word in source.split_inclusive(separates) {
        let mut chars = word.chars();
        if let Some(first) = chars.next() {
            written.extend(first.to_uppercase());
            written += &chars.as_str().to_lowercase();
        }
    }
    written
}

fn trim(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("trim", ["chars"], 0)?;
    let text = text(value);
    let kept = match bound.text(0)? {
        None => text.trim_matches(is_space),
        Some(chars) => text.trim_matches(|c| chars.contains(c)),
    };
    Ok(with_safety(value, kept.to_owned()))
}

fn truncate(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let source = text_of(value)?;
    let end = bound.text(2)?.unwrap_or("...");
    let leeway = match bound.given(3) {
        None => 5,
        Some(_) => bound.int(3, 0)?,
    };
    let (length, end_length) = (bound.int(0, 255)?, end.chars().count() as i128);
    if length < end_length || leeway < 0 {
        return Err(error(
            "truncate(): the length is below that of the end, or the leeway below 0",
        ));
    }
    if source.chars().count() as i128 <= length + leeway {
        return Ok(value.clone());
    }
    let kept: String = source
        .chars()
        .take((length - end_length) as usize)
        .collect();
    let kept = match kept.rsplit_once(' ') {
        Some((words, _)) if !bound.truth(1) => words,
        _ => &kept,
    };
    add(&with_safety(value, kept.to_owned()), &Value::from(end))
}

fn unique(_: &mut State, value: &Value, rest: Arguments) -> Result<Value, Error> {
    let bound = rest.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let mut seen = std::collections::HashSet::new();
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
