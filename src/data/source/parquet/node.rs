//! A parquet schema as a tree, which assembles rows from their columns.

use std::collections::HashSet;

use ::parquet::basic::{ConvertedType, LogicalType, Repetition};
use ::parquet::schema::types::{BasicTypeInfo, SchemaDescriptor, Type};
use serde_json::{Map, Value};

use super::column::Cursor;
use super::damaged::Damaged;
use super::leaf::Leaf;

/// A field.
#[derive(Debug)]
pub(super) struct Node {
    kind: Kind,
    /// The least definition level at which the field is not null.
    present: i16,
    /// The range of the field's columns.
    columns: std::ops::Range<usize>,
}

#[derive(Debug)]
enum Kind {
    Leaf(Leaf),
    Struct(Vec<Field>),
    List { element: Box<Node>, items: Items },
    Map { entry: Box<Entry>, items: Items },
}

#[derive(Debug)]
struct Field {
    name: String,
    node: Node,
}

#[derive(Debug)]
struct Entry {
    key: Node,
    value: Node,
}

/// The levels of a list's first column that tell the number of items.
#[derive(Clone, Copy, Debug)]
struct Items {
    /// The least definition level at which the list has an item.
    filled: i16,
    /// The repetition level of every item but the first.
    repetition: i16,
}

impl Node {
    /// The tree of a whole row; the error says why the schema has none.
    pub fn root(schema: &SchemaDescriptor) -> Result<Node, String> {
        let mut builder = Builder { columns: 0 };
        builder.body(schema.root_schema(), Levels::default())
    }

    /// Reads one value of the field; `cursors` has one cursor for each column of the file.
    pub fn read(&self, cursors: &mut [Cursor]) -> Result<Value, Damaged> {
        let first = self.columns.start;
        if cursors[first].definition()? < self.present {
            self.skip(cursors)?;
            return Ok(Value::Null);
        }
        match &self.kind {
            Kind::Leaf(leaf) => {
                let at = cursors[first].take()?;
                leaf.value(&cursors[first].column.values, at)
            }
            Kind::Struct(fields) => {
                let fields = fields.iter().map(|field| {
                    let value = field.node.read(cursors)?;
                    Ok((field.name.clone(), value))
                });
                fields.collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
            Kind::List { element, items } => {
                let mut list = Vec::new();
                self.each(*items, cursors, |cursors| {
                    list.push(element.read(cursors)?);
                    Ok(())
                })?;
                Ok(Value::Array(list))
            }
            Kind::Map { entry, items } => {
                let mut map = Map::new();
                self.each(*items, cursors, |cursors| {
                    let key = match entry.key.read(cursors)? {
                        Value::String(key) => key,
                        other => other.to_string(),
                    };
                    map.insert(key, entry.value.read(cursors)?);
                    Ok(())
                })?;
                Ok(Value::Object(map))
            }
        }
    }

    /// Reads the items of a list that is not null.
    fn each(
        &self,
        items: Items,
        cursors: &mut [Cursor],
        mut read: impl FnMut(&mut [Cursor]) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        let first = self.columns.start;
        if cursors[first].definition()? < items.filled {
            return self.skip(cursors);
        }
        loop {
            read(cursors)?;
            let next = cursors[first].repetition();
            if next.is_none_or(|level| level < items.repetition) {
                return Ok(());
            }
        }
    }

    /// Skips a value that is missing in all columns.
    fn skip(&self, cursors: &mut [Cursor]) -> Result<(), Damaged> {
        cursors[self.columns.clone()]
            .iter_mut()
            .try_for_each(Cursor::skip)
    }
}

/// The number of optional and of repeated fields around a field.
#[derive(Clone, Copy, Default)]
struct Levels {
    definition: i16,
    repetition: i16,
}

impl Levels {
    fn repeated(self) -> Levels {
        Levels {
            definition: self.definition + 1,
            repetition: self.repetition + 1,
        }
    }
}

struct Builder {
    /// The number of columns assigned to leaves so far.
    columns: usize,
}

impl Builder {
    fn field(&mut self, field: &Type, mut around: Levels) -> Result<Node, String> {
        match field.get_basic_info().repetition() {
            Repetition::REQUIRED => {}
            Repetition::OPTIONAL => around.definition += 1,
            // A repeated field without a group around it is a list, too.
            Repetition::REPEATED => {
                let element = self.body(field, around.repeated())?;
                return Ok(list(element, around));
            }
        }
        self.body(field, around)
    }

    /// A field at these `levels`, which already include its own optionality or repetition.
    fn body(&mut self, field: &Type, levels: Levels) -> Result<Node, String> {
        let first = self.columns;
        let kind = if field.is_primitive() {
            self.columns += 1;
            Kind::Leaf(Leaf::of(field))
        } else if let Some(repeated) = items_of(field, is_list) {
            let inside = levels.repeated();
            let element = if is_element(repeated, field.name()) {
                self.body(repeated, inside)?
            } else {
                self.field(&repeated.get_fields()[0], inside)?
            };
            return Ok(list(element, levels));
        } else if let Some(repeated) = items_of(field, is_map)
            && let [key, value] = repeated.get_fields()
        {
            let inside = levels.repeated();
            let entry = Entry {
                key: self.field(key, inside)?,
                value: self.field(value, inside)?,
            };
            Kind::Map {
                entry: Box::new(entry),
                items: Items::within(levels),
            }
        } else {
            let names = field.get_fields().iter().map(|field| field.name());
            if let Some(name) = twice(names) {
                return Err(format!("two columns have the name `{name}`"));
            }
            let fields = field.get_fields().iter().map(|field| {
                let node = self.field(field, levels)?;
                let name = field.name().to_owned();
                Ok(Field { name, node })
            });
            Kind::Struct(fields.collect::<Result<_, String>>()?)
        };
        if self.columns == first {
            return Err(format!("the field `{}` has no column", field.name()));
        }
        Ok(Node {
            kind,
            present: levels.definition,
            columns: first..self.columns,
        })
    }
}

/// The first name that occurs twice.
fn twice<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    names.find(|name| !seen.insert(*name))
}

impl Items {
    fn within(list: Levels) -> Items {
        let Levels {
            definition: filled,
            repetition,
        } = list.repeated();
        Items { filled, repetition }
    }
}

fn list(element: Node, levels: Levels) -> Node {
    Node {
        present: levels.definition,
        columns: element.columns.clone(),
        kind: Kind::List {
            element: Box::new(element),
            items: Items::within(levels),
        },
    }
}

/// The repeated field inside a group that is a list or a map.
fn items_of(group: &Type, is_kind: fn(&BasicTypeInfo) -> bool) -> Option<&Type> {
    match group.get_fields() {
        [only] if is_kind(group.get_basic_info()) => {
            let repeated = only.get_basic_info().repetition() == Repetition::REPEATED;
            repeated.then_some(&**only)
        }
        _ => None,
    }
}

fn is_list(info: &BasicTypeInfo) -> bool {
    info.converted_type() == ConvertedType::LIST
        || info.logical_type_ref() == Some(&LogicalType::List)
}

fn is_map(info: &BasicTypeInfo) -> bool {
    let converted = [ConvertedType::MAP, ConvertedType::MAP_KEY_VALUE];
    converted.contains(&info.converted_type()) || info.logical_type_ref() == Some(&LogicalType::Map)
}

/// True if the repeated field of a list is itself the element, false if it is a group around the element. The
/// rules are the compatibility rules of the format's specification for old writers.
fn is_element(repeated: &Type, list: &str) -> bool {
    if repeated.is_primitive() {
        return true;
    }
    match repeated.get_fields() {
        [only] => {
            only.get_basic_info().repetition() == Repetition::REPEATED
                || repeated.name() == "array"
                || repeated.name().strip_suffix("_tuple") == Some(list)
        }
        _ => true,
    }
}
