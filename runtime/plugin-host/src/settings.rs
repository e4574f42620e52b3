//! Settings: typed values by name, as operators give them and plugins take them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wit::common;

/// A plugin's settings by name.
pub type Settings = BTreeMap<String, Value>;

/// One typed value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// Anything else.
    Text(String),
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Value {
        Value::Integer(integer)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Flag(flag) => flag.fmt(f),
            Value::Integer(integer) => integer.fmt(f),
            Value::Number(number) => number.fmt(f),
            Value::Text(text) => fmt::Debug::fmt(text, f),
        }
    }
}

/// Why a plugin refuses settings or a saved state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The plugin knows no setting of this name.
    #[error("it knows no setting {0:?}")]
    UnknownSetting(String),
    /// The setting of this name is out of range or of the wrong type.
    #[error("it does not take this value of {0:?}")]
    BadSetting(String),
    /// State of this version cannot be read.
    #[error("it cannot read state of version {0}")]
    UnknownVersion(u32),
    /// The state's bytes are damaged.
    #[error("it finds the state damaged")]
    BadState,
}

impl From<common::Refusal> for Refusal {
    fn from(refusal: common::Refusal) -> Refusal {
        match refusal {
            common::Refusal::UnknownSetting(name) => Refusal::UnknownSetting(clip(name)),
            common::Refusal::BadSetting(name) => Refusal::BadSetting(clip(name)),
            common::Refusal::UnknownVersion(version) => Refusal::UnknownVersion(version),
            common::Refusal::BadState => Refusal::BadState,
        }
    }
}

/// Cuts a guest's text to what a log line and an error message can carry.
pub(crate) fn clip(mut text: String) -> String {
    const MAX: usize = 256;
    if text.len() > MAX {
        let end = (0..=MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Lends the settings in the shape that crosses into the guest.
pub(crate) fn lend(settings: &Settings) -> Vec<common::Setting<'_>> {
    let lent = settings.iter().map(|(name, value)| common::Setting {
        name,
        value: match value {
            Value::Flag(flag) => common::Value::Flag(*flag),
            Value::Integer(integer) => common::Value::Integer(*integer),
            Value::Number(number) => common::Value::Number(*number),
            Value::Text(text) => common::Value::Text(text),
        },
    });
    lent.collect()
}
