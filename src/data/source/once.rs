//! Parses JSON objects and finds repeated keys, of which serde_json would silently keep the last value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// A JSON value; if it is an object, its top-level keys are all different.
pub(super) enum Once {
    Value(Value),
    /// The object has this key twice.
    Twice(String),
}

impl Once {
    pub fn parse(text: &str) -> serde_json::Result<Once> {
        match text.trim_start().starts_with('{') {
            true => serde_json::from_str(text).map(|Object(once)| once),
            false => serde_json::from_str(text).map(Once::Value),
        }
    }
}

struct Object(Once);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object, D::Error> {
        from.deserialize_map(Keys).map(Object)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    /// Reads to the end in any case, because a syntax error behind a repeated key is the worse fault.
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Once, A::Error> {
        let mut object = Map::new();
        let mut twice = None;
        while let Some((key, value)) = entries.next_entry::<String, Value>()? {
            match object.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                Entry::Occupied(entry) => twice = Some(entry.key().clone()),
            }
        }
        Ok(match twice {
            Some(key) => Once::Twice(key),
            None => Once::Value(Value::Object(object)),
        })
    }
}
