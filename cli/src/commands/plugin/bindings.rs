//! `bindings.toml`: what a node has installed and what its slots are bound to, for another node or a later day.

use std::collections::BTreeSet;
use std::path::Path;

use mesh_node::api::{ApiError, BindingReport, BindingRow, OnFailure, PluginRef, Settings, Time, code};
use serde::{Deserialize, Serialize};

use super::source::read_text;

/// What the file is called in a directory.
pub const FILE: &str = "bindings.toml";
/// The first words of it.
const FORMAT: &str = "meshctl.bindings/v1";
/// Bytes of it, at most.
const MAX_BYTES: u64 = 1 << 20;
/// Plugins in it, at most: no node keeps more.
const MAX_PLUGINS: usize = 256;
/// The revision of a slot's own code.
pub const NATIVE: &str = "native";

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bindings {
    format: String,
    node: Option<String>,
    at: Time,
    /// What is installed and did not come with the program.
    #[serde(default, rename = "plugin", skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginPart>,
    /// What the slots are bound to.
    #[serde(default, rename = "slot")]
    pub slots: Vec<SlotPart>,
}

/// One installed revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginPart {
    /// Its package, beside this file; without one it has to be installed already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    pub name: String,
    pub version: String,
    pub revision: String,
    #[serde(default)]
    pub grants: Vec<String>,
    #[serde(default)]
    pub pinned: bool,
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotPart {
    pub slot: String,
    pub plugin: String,
    pub version: String,
    pub revision: String,
    #[serde(default)]
    pub on_failure: OnFailure,
    #[serde(default)]
    pub paused: bool,
    /// Limits below the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_rate: Option<u64>,
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
}

impl Bindings {
    /// Takes down how a node is. `file` names the package of a revision, if there is one.
    pub fn of(
        report: &BindingReport,
        node: Option<String>,
        at: Time,
        file: impl Fn(&str) -> Option<String>,
    ) -> Bindings {
        let foreign = report.installed.iter().filter(|installed| !installed.built_in);
        let plugins = foreign.map(|installed| PluginPart {
            file: file(&installed.plugin.revision),
            name: installed.plugin.plugin.clone(),
            version: installed.plugin.version.clone(),
            revision: installed.plugin.revision.clone(),
            grants: installed.grants.clone(),
            pinned: installed.pinned,
        });
        let slots = report.slots.iter().map(SlotPart::of).collect();
        Bindings { format: FORMAT.to_owned(), node, at, plugins: plugins.collect(), slots }
    }

    /// Returns the text of the file.
    ///
    /// # Errors
    /// `INTERNAL` for what TOML cannot say.
    pub fn to_text(&self) -> Result<String, ApiError> {
        let text = toml::to_string(self).map_err(|error| ApiError::new(&code::INTERNAL, error))?;
        Ok(format!("# Written by 'meshctl plugin export'; read by 'meshctl plugin import'.\n{text}"))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// `FILE_FAILED`, or `BAD_BINDINGS` with what is wrong.
    pub fn read(path: &Path) -> Result<Bindings, ApiError> {
        let text = read_text(path, MAX_BYTES).map_err(|error| {
            ApiError::new(&code::FILE_FAILED, format!("the bindings cannot be read: {error}"))
                .fact("file", path.display())
                .help("meshctl plugin export --all --out DIR")
        })?;
        let bindings: Bindings = toml::from_str(&text).map_err(|error| bad(path, &error))?;
        bindings.check().map_err(|why| bad(path, &why))?;
        Ok(bindings)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("its format is '{}', this program reads {FORMAT}", self.format));
        }
        if self.plugins.len() > MAX_PLUGINS {
            return Err(format!("it has {} plugins, {MAX_PLUGINS} are the limit", self.plugins.len()));
        }
        // A file from elsewhere names nothing outside of its directory.
        let is_plain = |file: &&str| Path::new(file).file_name().is_some_and(|name| name == *file);
        if let Some(file) = self.plugins.iter().filter_map(|part| part.file.as_deref()).find(|f| !is_plain(f))
        {
            return Err(format!("'{file}' is no name of a file beside it"));
        }
        let mut seen = BTreeSet::new();
        let parts = self.plugins.iter().map(|part| &part.revision);
        match parts.chain(self.slots.iter().map(|part| &part.slot)).find(|part| !seen.insert(*part)) {
            Some(twice) => Err(format!("{twice} stands in it twice")),
            None => Ok(()),
        }
    }
}

impl SlotPart {
    /// Takes down how a slot is bound.
    pub fn of(row: &BindingRow) -> SlotPart {
        SlotPart {
            slot: row.slot.clone(),
            plugin: row.plugin.plugin.clone(),
            version: row.plugin.version.clone(),
            revision: row.plugin.revision.clone(),
            on_failure: row.on_failure,
            paused: row.paused,
            deadline_ms: row.deadline_ms,
            memory_bytes: row.memory_bytes,
            log_rate: row.log_rate,
            settings: row.settings.clone(),
        }
    }

    /// Says whether the native built-in decides.
    pub fn is_native(&self) -> bool {
        self.revision == NATIVE
    }

    /// Says whether the same revision runs in the same way, but for its limits and whether it is paused.
    pub fn is_bound_as(&self, other: &SlotPart) -> bool {
        let is_same = self.revision == other.revision;
        is_same
            && (self.is_native() || (&self.settings, self.on_failure) == (&other.settings, other.on_failure))
    }

    /// Returns the limits: deadline, memory, log rate.
    pub fn limits(&self) -> [Option<u64>; 3] {
        [self.deadline_ms, self.memory_bytes, self.log_rate]
    }

    /// Returns which plugin it is.
    pub fn reference(&self) -> PluginRef {
        let (plugin, version) = (self.plugin.clone(), self.version.clone());
        PluginRef { plugin, version, revision: self.revision.clone() }
    }
}

fn bad(path: &Path, why: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(&code::BAD_BINDINGS, why)
        .fact("file", path.display())
        .help("meshctl plugin export --all --out DIR")
}

#[cfg(test)]
mod tests {
    use mesh_node::api::Setting;

    use super::*;

    fn bindings() -> Bindings {
        let settings = [
            ("on", Setting::Flag(true)),
            ("whole", Setting::Integer(-3)),
            ("part", Setting::Number(2.0)),
            ("text", Setting::Text("a \"b\"\n[c]".to_owned())),
        ];
        Bindings {
            format: FORMAT.to_owned(),
            node: Some("ab".to_owned()),
            at: Time(1_700_000_000_000),
            plugins: vec![PluginPart {
                file: Some("fast.meshpkg".to_owned()),
                name: "acme/fast".to_owned(),
                version: "1.0.0".to_owned(),
                revision: "blake3:ab".to_owned(),
                grants: vec!["log".to_owned()],
                pinned: true,
            }],
            slots: vec![SlotPart {
                slot: "route".to_owned(),
                plugin: "acme/fast".to_owned(),
                version: "1.0.0".to_owned(),
                revision: "blake3:ab".to_owned(),
                on_failure: OnFailure::FailClosed,
                paused: true,
                deadline_ms: Some(2),
                memory_bytes: None,
                log_rate: Some(0),
                settings: settings.map(|(name, value)| (name.to_owned(), value)).into(),
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = bindings().to_text().expect("it prints");

        assert_eq!(toml::from_str::<Bindings>(&text).expect("it parses"), bindings(), "{text}");
    }

    #[test]
    fn a_file_names_nothing_outside_of_its_directory_and_nothing_twice() {
        assert_eq!(bindings().check(), Ok(()));
        for file in ["../fast.meshpkg", "/etc/passwd", "a/b.meshpkg", "..", "", "a/"] {
            let mut bindings = bindings();
            bindings.plugins[0].file = Some(file.to_owned());
            assert!(bindings.check().is_err(), "{file}");
        }
        let mut twice = bindings();
        twice.slots.push(twice.slots[0].clone());
        assert_eq!(twice.check(), Err("route stands in it twice".to_owned()));
        let newer = Bindings { format: "meshctl.bindings/v2".to_owned(), ..bindings() };
        assert!(newer.check().is_err());
    }
}
