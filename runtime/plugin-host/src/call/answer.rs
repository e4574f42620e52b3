//! Answers as text and as JSON.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use wasmtime::component::Val;

/// What a function answered. Serialises as JSON would be written by hand: records as maps, lists and tuples as
/// lists, an enum's case as text, a variant's as a map with the case, an option as the value or nothing, a result as
/// a map with `ok` or `error`.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    value: Val,
    text: String,
}

impl Answer {
    pub(super) fn new(value: Val) -> Answer {
        // Only handles have no text, and no interface of ours has any.
        let text = value.to_wave().unwrap_or_else(|error| format!("<{error}>"));
        Answer { value, text }
    }

    /// Returns it in WAVE.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Says whether it is a result that is an error.
    pub fn is_error(&self) -> bool {
        matches!(self.value, Val::Result(Err(_)))
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Plain(&self.value).serialize(to)
    }
}

struct Plain<'a>(&'a Val);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Val::Bool(value) => value.serialize(to),
            Val::S8(value) => value.serialize(to),
            Val::U8(value) => value.serialize(to),
            Val::S16(value) => value.serialize(to),
            Val::U16(value) => value.serialize(to),
            Val::S32(value) => value.serialize(to),
            Val::U32(value) => value.serialize(to),
            Val::S64(value) => value.serialize(to),
            Val::U64(value) => value.serialize(to),
            Val::Float32(value) => value.serialize(to),
            Val::Float64(value) => value.serialize(to),
            Val::Char(value) => value.serialize(to),
            Val::String(value) | Val::Enum(value) => value.serialize(to),
            Val::List(values) | Val::Tuple(values) | Val::FixedLengthList(values) => seq(values, to),
            Val::Record(fields) => record(fields, to),
            Val::Flags(names) => names.serialize(to),
            Val::Option(value) => value.as_deref().map(Plain).serialize(to),
            Val::Variant(case, None) => case.serialize(to),
            Val::Variant(case, Some(value)) => one(case, Some(value), to),
            Val::Result(Ok(value)) => one("ok", value.as_deref(), to),
            Val::Result(Err(value)) => one("error", value.as_deref(), to),
            _ => to.serialize_none(),
        }
    }
}

fn seq<S: Serializer>(values: &[Val], to: S) -> Result<S::Ok, S::Error> {
    let mut seq = to.serialize_seq(Some(values.len()))?;
    values.iter().try_for_each(|value| seq.serialize_element(&Plain(value)))?;
    seq.end()
}

fn record<S: Serializer>(fields: &[(String, Val)], to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(fields.len()))?;
    fields.iter().try_for_each(|(name, value)| map.serialize_entry(name, &Plain(value)))?;
    map.end()
}

fn one<S: Serializer>(name: &str, value: Option<&Val>, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(1))?;
    map.serialize_entry(name, &value.map(Plain))?;
    map.end()
}
