//! Serde helpers for values that are written as text: ids as hex digits, classes by name.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serializer, de};

/// For `#[serde(with = "text")]` on anything that prints and parses: an id becomes its hex digits.
pub fn serialize<T: Display, S: Serializer>(value: &T, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(value)
}

/// The other half of [`serialize`].
///
/// # Errors
/// When the text does not parse.
pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    String::deserialize(from)?.parse().map_err(de::Error::custom)
}

/// For `#[serde(with = "text::class")]`: a class by its name.
pub mod class {
    use mesh_proto::policy::Class;
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes the name.
    pub fn serialize<S: Serializer>(class: &Class, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(class.name())
    }

    /// Reads the name.
    ///
    /// # Errors
    /// When no class has it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Class, D::Error> {
        let name = String::deserialize(from)?;
        parse(&name).ok_or_else(|| de::Error::custom(format!("no class is called {name:?}")))
    }

    /// Returns the class of this name.
    pub fn parse(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.name() == name)
    }
}
