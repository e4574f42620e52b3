//! What a manifest says of a plugin, as users see it.

use mesh_plugin_host::Value;
use mesh_plugin_host::manifest::{Config, Manifest, Schema, Type};

use crate::api::{Claims, Setting, SettingRow, WishRow};

/// Returns what a manifest says.
pub(crate) fn claims(manifest: &Manifest) -> Claims {
    let Manifest { plugin, state, limits, grants, config, .. } = manifest;
    let limit = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
    let limits = [
        limit("deadline", limits.deadline.clone()),
        limit("fuel", limits.fuel.map(|fuel| fuel.to_string())),
        limit("memory", limits.memory.clone()),
    ];
    Claims {
        description: plugin.description.clone(),
        license: plugin.license.clone(),
        world: plugin.world.clone(),
        min_host: plugin.min_host.clone(),
        state_version: state.schema,
        migrates_from: state.migrates_from.clone(),
        settings: settings(config),
        grants: grants
            .iter()
            .map(|wish| WishRow { grant: wish.name.clone(), why: wish.why.clone() })
            .collect(),
        limits: limits.into_iter().flatten().collect(),
    }
}

/// Returns the settings that a plugin takes.
pub(crate) fn settings(config: &Config) -> Vec<SettingRow> {
    config.schema.iter().map(|(name, schema)| setting(name, schema)).collect()
}

fn setting(name: &str, schema: &Schema) -> SettingRow {
    SettingRow {
        name: name.to_owned(),
        kind: match schema.r#type {
            Type::Boolean => "boolean",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::String => "string",
        }
        .to_owned(),
        default: schema.default_value().map(value),
        minimum: schema.minimum,
        maximum: schema.maximum,
        one_of: schema.r#enum.clone().unwrap_or_default(),
        description: schema.description.clone(),
    }
}

fn value(default: Value) -> Setting {
    match default {
        Value::Flag(flag) => Setting::Flag(flag),
        Value::Integer(integer) => Setting::Integer(integer),
        Value::Number(number) => Setting::Number(number),
        Value::Text(text) => Setting::Text(text),
    }
}
