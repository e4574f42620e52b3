//! `plugin.toml`: what a plugin says about itself and which settings it takes.
//!
//! It travels inside the component, in the custom section [`SECTION`]. Everything in it is a claim of the
//! author; what a component imports and exports is read from the component.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::load::Grants;
use crate::settings::{Settings, Value, clip};

/// The custom section of a component that holds its manifest.
pub const SECTION: &str = "meshwork:plugin";
/// Bytes of a manifest.
pub const MAX_BYTES: usize = 64 << 10;
const MAX_NAME: usize = 64;

/// A manifest, checked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Who it is.
    pub plugin: About,
    /// The state it saves and takes over.
    #[serde(default)]
    pub state: State,
    /// What it says it needs; text such as `1ms` and `2MiB`, for people.
    #[serde(default)]
    pub limits: Limits,
    /// What it asks of the host, and why.
    #[serde(default)]
    pub grants: Vec<GrantWish>,
    /// The settings it takes.
    #[serde(default)]
    pub config: Config,
    /// How it is built.
    #[serde(default)]
    pub build: Build,
}

/// Who a plugin is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Its name, `author/plugin` in lower case.
    pub name: String,
    /// Its version, three numbers.
    pub version: String,
    /// What it does, in a sentence.
    #[serde(default)]
    pub description: String,
    /// Its licence as an SPDX expression.
    #[serde(default)]
    pub license: String,
    /// The slots it is made for.
    #[serde(default)]
    pub slots: Vec<String>,
    /// The WIT package of its world, such as `mesh:routing@0.1.0`.
    #[serde(default)]
    pub world: String,
    /// The oldest host that it runs on.
    #[serde(default)]
    pub min_host: Option<String>,
    /// Whether it claims to import nothing but types.
    #[serde(default)]
    pub pure: bool,
}

/// The state that a plugin saves and takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The version it writes.
    #[serde(default)]
    pub schema: u32,
    /// The other versions it reads.
    #[serde(default)]
    pub migrates_from: Vec<u32>,
}

/// What a plugin says it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Time for a call.
    pub deadline: Option<String>,
    /// Instructions for a call.
    pub fuel: Option<u64>,
    /// Linear memory.
    pub memory: Option<String>,
}

/// One wish for a grant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantWish {
    /// Which.
    pub name: String,
    /// What for.
    #[serde(default)]
    pub why: String,
}

/// The settings that a plugin takes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// By name.
    #[serde(default)]
    pub schema: BTreeMap<String, Schema>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// Its type.
    pub r#type: Type,
    /// What it is when nobody sets it; then the plugin is not told, and has the same default.
    pub default: Option<toml::Value>,
    /// The least number.
    pub minimum: Option<f64>,
    /// The greatest number.
    pub maximum: Option<f64>,
    /// The texts that are possible.
    pub r#enum: Option<Vec<String>>,
    /// What it does.
    #[serde(default)]
    pub description: String,
}

/// The type of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Yes or no.
    Boolean,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// Text.
    String,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Boolean => "true or false",
            Type::Integer => "a whole number",
            Type::Number => "a number",
            Type::String => "text",
        })
    }
}

/// How a plugin is built; read by `meshctl plugin build` and `plugin run`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The command.
    pub command: Option<String>,
    /// The file that the command leaves, a core module or a component; not needed for `cargo build`.
    pub artifact: Option<String>,
    /// The files whose change asks for a new build, as globs.
    #[serde(default)]
    pub watch: Vec<String>,
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than [`MAX_BYTES`].
    #[error("the manifest has {len} bytes, {MAX_BYTES} are the limit")]
    TooLarge {
        /// Its length.
        len: usize,
    },
    /// It is not UTF-8.
    #[error("the manifest is no text")]
    NotText,
    /// It is not the TOML that is asked for; unknown keys end here as well.
    #[error("manifest line {line}, column {column}: {reason}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser said.
        reason: String,
    },
    /// A value is out of its bounds.
    #[error("manifest: {key} {reason}")]
    Value {
        /// Which.
        key: &'static str,
        /// What it should be.
        reason: &'static str,
    },
    /// It claims another world than the component implements.
    #[error("manifest: plugin.world is {claimed}, and the component implements {implemented}")]
    OtherWorld {
        /// What it claims.
        claimed: String,
        /// What the component implements.
        implemented: &'static str,
    },
    /// It asks for something that no host grants.
    #[error("manifest: there is no grant {name:?}; there are {}", Grants::NAMES.join(" and "))]
    NoSuchGrant {
        /// What it asks for.
        name: String,
    },
}

/// Why a setting is refused before the plugin is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The manifest names no such setting.
    #[error("there is no setting {name:?}; {known}")]
    Unknown {
        /// Which.
        name: String,
        /// Those that exist, as a sentence.
        known: String,
    },
    /// The value is of another type.
    #[error("{name} = {value} should be {wanted}")]
    WrongType {
        /// Which.
        name: String,
        /// What was given.
        value: String,
        /// What is asked for.
        wanted: Type,
    },
    /// The value is out of range.
    #[error("{name} = {value} is not {range}")]
    OutOfRange {
        /// Which.
        name: String,
        /// What was given.
        value: String,
        /// What is possible.
        range: String,
    },
}

impl Manifest {
    /// Parses and checks a manifest.
    ///
    /// ```
    /// let text = "[plugin]\nname = \"acme/fastest\"\nversion = \"1.4.0\"";
    /// let manifest = mesh_plugin_host::manifest::Manifest::parse(text.as_bytes()).unwrap();
    /// assert_eq!(manifest.plugin.name, "acme/fastest");
    /// ```
    ///
    /// # Errors
    /// Where and why it is refused.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::TooLarge { len: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::NotText)?;
        let manifest: Manifest = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let before = text.get(..at).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            ManifestError::Syntax { line, column, reason: error.message().to_owned() }
        })?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |key, reason| Err(ManifestError::Value { key, reason });
        if !is_name(&self.plugin.name) {
            return wrong("plugin.name", "must be author/plugin in lower-case letters, digits and dashes");
        }
        if !is_version(&self.plugin.version) {
            return wrong("plugin.version", "must be three numbers with dots, such as 1.4.0");
        }
        if self.config.schema.keys().any(|name| name.len() > MAX_NAME) {
            return wrong("config.schema", "has a setting with a name above 64 bytes");
        }
        match self.grants.iter().find(|wish| !Grants::NAMES.contains(&wish.name.as_str())) {
            Some(wish) => Err(ManifestError::NoSuchGrant { name: clip(wish.name.clone()) }),
            None => Ok(()),
        }
    }

    /// Checks settings against the schema and gives whole numbers the type that is asked for.
    ///
    /// # Errors
    /// The first setting that does not fit.
    pub fn check_settings(&self, settings: &Settings) -> Result<Settings, SettingError> {
        let checked = settings.iter().map(|(name, value)| {
            let Some(schema) = self.config.schema.get(name) else {
                return Err(SettingError::Unknown { name: name.clone(), known: self.known_settings() });
            };
            Ok((name.clone(), schema.check(name, value)?))
        });
        checked.collect()
    }

    fn known_settings(&self) -> String {
        let names: Vec<&str> = self.config.schema.keys().map(String::as_str).collect();
        if names.is_empty() {
            "the plugin takes none".into()
        } else {
            format!("known are {}", names.join(", "))
        }
    }
}

impl Schema {
    /// Returns the default as a setting; `None` without one, and for one that no setting could be.
    pub fn default_value(&self) -> Option<Value> {
        match self.default.as_ref()? {
            toml::Value::Boolean(flag) => Some(Value::Flag(*flag)),
            toml::Value::Integer(integer) => Some(Value::Integer(*integer)),
            toml::Value::Float(number) => Some(Value::Number(*number)),
            toml::Value::String(text) => Some(Value::Text(text.clone())),
            _ => None,
        }
    }

    fn check(&self, name: &str, value: &Value) -> Result<Value, SettingError> {
        let value = match (self.r#type, value) {
            (Type::Boolean, Value::Flag(_))
            | (Type::Integer, Value::Integer(_))
            | (Type::Number, Value::Number(_))
            | (Type::String, Value::Text(_)) => value.clone(),
            (Type::Number, Value::Integer(integer)) => Value::Number(*integer as f64),
            (wanted, _) => {
                return Err(SettingError::WrongType { name: name.into(), value: value.to_string(), wanted });
            }
        };
        match self.range_missed_by(&value) {
            None => Ok(value),
            Some(range) => {
                Err(SettingError::OutOfRange { name: name.into(), value: value.to_string(), range })
            }
        }
    }

    fn range_missed_by(&self, value: &Value) -> Option<String> {
        let number = match value {
            Value::Integer(integer) => *integer as f64,
            Value::Number(number) => *number,
            Value::Text(text) => {
                let possible = self.r#enum.as_ref()?;
                return (!possible.contains(text)).then(|| format!("one of {}", possible.join(", ")));
            }
            Value::Flag(_) => return None,
        };
        let (least, most) = (self.minimum.unwrap_or(f64::MIN), self.maximum.unwrap_or(f64::MAX));
        if (least..=most).contains(&number) {
            return None;
        }
        Some(match (self.minimum, self.maximum) {
            (Some(least), Some(most)) => format!("between {least} and {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "a finite number".into(),
        })
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            && !part.starts_with('-')
    };
    name.len() <= MAX_NAME && name.split('/').count() == 2 && name.split('/').all(is_part)
}

/// Says whether a dotted version is above another; missing numbers are 0, and what is no number is too.
pub fn is_newer(version: &str, than: &str) -> bool {
    let numbers = |version: &str| -> [u64; 3] {
        let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
        std::array::from_fn(|_| parts.next().unwrap_or(0))
    };
    numbers(version) > numbers(than)
}

/// Says whether a text is a version as manifests have it: three numbers with dots.
pub fn is_version(version: &str) -> bool {
    let is_number =
        |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|c| c.is_ascii_digit());
    version.split('.').count() == 3 && version.split('.').all(is_number)
}
