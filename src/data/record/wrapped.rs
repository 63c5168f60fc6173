//! Objects that hold a whole file of records instead of one.

use serde_json::{Map, Value};

use super::problem::{Parsed, Problem, listed};
use super::slot::Slot;

const RECORDS: &str = "write one object a line, or one list of objects; from pandas: \
     to_json(path, orient=\"records\", lines=True)";

/// Refuses an object that holds the records of a whole file.
pub(super) fn refuse(object: &Map<String, Value>) -> Parsed<()> {
    if is_table(object) {
        let what = "the record is a whole table: the numbers of its rows are keys";
        return Err(Problem::new(what, RECORDS));
    }
    if object.keys().any(|key| Slot::of(key).is_some()) {
        return Ok(());
    }
    if is_split(object) {
        let what = "the record is a whole table, split into its `columns` and `data`";
        return Err(Problem::new(what, RECORDS));
    }
    match lists(object) {
        Some(lists) => {
            let what = format!("the record is one object whose {lists}");
            let help = format!("give that list alone: {RECORDS}");
            Err(Problem::new(what, help))
        }
        None => Ok(()),
    }
}

/// Names the keys that hold lists of records, and how many records each list has.
fn lists(object: &Map<String, Value>) -> Option<String> {
    let lists = object.iter().filter_map(|(key, value)| {
        let items = value.as_array()?;
        let first = items.first()?.as_object()?;
        let is_record = first.keys().any(|key| Slot::of(key).is_some());
        is_record.then_some((key, items.len()))
    });
    let (keys, counts): (Vec<_>, Vec<_>) = lists.unzip();
    match &counts[..] {
        [] => None,
        [1] => Some(format!("{} is a list of one object", listed(&keys))),
        [count] => Some(format!("{} is a list of {count} objects", listed(&keys))),
        counts => {
            let counts: Vec<_> = counts.iter().map(usize::to_string).collect();
            let counts = counts.join(" and ");
            Some(format!("{} are lists of {counts} objects", listed(&keys)))
        }
    }
}

/// True for a table as pandas writes it with `orient="split"`.
fn is_split(object: &Map<String, Value>) -> bool {
    let is_list = |key: &str| object.get(key).is_some_and(Value::is_array);
    is_list("columns") && is_list("data")
}

/// True for a table as pandas writes it by default: each column maps row numbers to values, or the reverse.
fn is_table(object: &Map<String, Value>) -> bool {
    let is_number = |key: &String| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
    let is_column = |value: &Value| {
        let rows = value.as_object().filter(|rows| !rows.is_empty());
        rows.is_some_and(|rows| rows.keys().all(is_number))
    };
    let is_row = |(key, value): (&String, &Value)| is_number(key) && value.is_object();
    !object.is_empty() && (object.values().all(is_column) || object.iter().all(is_row))
}
