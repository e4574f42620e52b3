//! A scenario's text as a tree of values that know where they stand. Knows no key by name.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Source};

/// A byte of one of the sources.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) source: usize,
    pub(crate) offset: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) at: At,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Item>),
    Table(Table),
    /// A date or a number that does not fit: as it is written.
    Other(String),
}

/// A table; its keys in the order of the text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: At,
    pub(crate) item: Item,
}

impl Table {
    /// Parses a text; `number` is its place in the list of sources.
    pub(crate) fn parse(source: &Source, number: usize) -> Result<Table, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        if errors.is_empty() {
            return Ok(convert_table(table.get_ref(), number));
        }
        let problem = |error: &toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            source.problem(offset, error.message().replace('`', "'"), None)
        };
        Err(errors.iter().take(MAX_SYNTAX_PROBLEMS).map(problem).collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Lays the values of another table over this one; lists are replaced, and `fault.0.at` changes an element
    /// of a list.
    pub(crate) fn overlay(&mut self, over: Table) {
        for entry in over.entries {
            match self.entries.iter_mut().find(|own| own.key == entry.key) {
                Some(own) => own.item.overlay(entry.item),
                None => self.entries.push(entry),
            }
        }
    }
}

/// Beyond so many the rest follows from the first.
const MAX_SYNTAX_PROBLEMS: usize = 8;

impl Item {
    fn overlay(&mut self, over: Item) {
        match (&mut self.value, over.value) {
            (Value::Table(own), Value::Table(over)) => own.overlay(over),
            (Value::List(own), Value::Table(over)) if addresses(&over, own.len()) => {
                for entry in over.entries {
                    let element = entry.key.parse().ok().and_then(|n: usize| own.get_mut(n));
                    element.expect("checked by addresses").overlay(entry.item);
                }
            }
            (_, value) => *self = Item { at: over.at, value },
        }
    }

    /// Returns how the value is called in a message.
    pub(crate) fn what(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("the text \"{text}\""),
            Value::Integer(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Bool(value) => value.to_string(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Other(text) => text.clone(),
        }
    }
}

fn addresses(table: &Table, len: usize) -> bool {
    table.entries.iter().all(|entry| entry.key.parse::<usize>().is_ok_and(|n| n < len))
}

fn convert_table(table: &DeTable<'_>, source: usize) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            at: at(&key.span(), source),
            item: convert(value, source),
        })
        .collect();
    entries.sort_by_key(|entry| entry.at.offset);
    Table { entries }
}

fn convert(value: &Spanned<DeValue<'_>>, source: usize) -> Item {
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other(number.as_str().to_owned()),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_) => Value::Other(number.as_str().to_owned()),
        },
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(date) => Value::Other(format!("the date {date}")),
        DeValue::Array(list) => Value::List(list.iter().map(|item| convert(item, source)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(table, source)),
    };
    Item { at: at(&value.span(), source), value: converted }
}

fn at(span: &Range<usize>, source: usize) -> At {
    At { source, offset: span.start }
}
