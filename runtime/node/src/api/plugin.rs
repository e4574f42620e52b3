//! Questions and answers about plugins and slots.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{OnFailure, SignerRow, Time, TrialReport};

/// A plugin's settings by name.
pub type Settings = BTreeMap<String, Setting>;

/// One typed value of a plugin's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// Anything else.
    Text(String),
}

impl Setting {
    /// Reads a value as users type it: `true`, `12`, `0.5`, or else text.
    pub fn parse(text: &str) -> Setting {
        if let Ok(flag) = text.parse() {
            Setting::Flag(flag)
        } else if let Ok(integer) = text.parse() {
            Setting::Integer(integer)
        } else if let Ok(number) = text.parse::<f64>() {
            Setting::Number(number)
        } else {
            Setting::Text(text.to_owned())
        }
    }
}

/// Which plugin goes into which slot, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwapRequest {
    /// `route`, `qos`, `topology`, `admission`, `carry` or `beacon`.
    pub slot: String,
    /// A digest prefix of at least six digits, a name, a name with `@version`, or `built-in/NAME`.
    pub plugin: String,
    /// Its settings.
    pub settings: Settings,
    /// What happens to the state of the old one.
    pub old_state: OldState,
    /// Do everything but the switch.
    pub dry_run: bool,
    /// Take a lower version than was bound before.
    #[serde(default)]
    pub allow_downgrade: bool,
    /// Who answers when it fails; when absent the native built-in, and nobody for `admission`.
    #[serde(default)]
    pub on_failure: Option<OnFailure>,
}

/// What happens to the state of the plugin that leaves a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OldState {
    /// A successor that is the same plugin, whatever its version, takes it over, another one starts afresh. If it refuses,
    /// the swap fails and the old one goes on.
    #[default]
    Inherit,
    /// The successor takes it over, whichever plugin it is.
    Keep,
    /// The successor starts afresh.
    Reset,
}

/// One immutable revision of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRef {
    /// Its name, such as `built-in/latency`.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// `sha256:` or `blake3:` and hex digits; `native` for the built-in code of a slot.
    pub revision: String,
}

impl From<mesh_plugin_host::Change> for Change {
    fn from(change: mesh_plugin_host::Change) -> Change {
        match change {
            mesh_plugin_host::Change::Switched => Change::Switched,
            mesh_plugin_host::Change::Restarted => Change::Restarted,
            mesh_plugin_host::Change::Settled => Change::Settled,
            mesh_plugin_host::Change::Nothing => Change::Nothing,
        }
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.plugin, self.version)
    }
}

/// Who made a decision, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenBy {
    /// The slot that was asked.
    pub slot: String,
    /// The plugin in it.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Its revision.
    pub rev: String,
    /// Why, in a few words; says so when the host overruled the plugin or stood in for it.
    pub reason: String,
}

/// One plugin in or beside a slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginRow {
    /// The slot; `None` when it is installed and bound to nothing.
    pub slot: Option<String>,
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// What it does there.
    pub state: PluginState,
    /// What the host lets it use.
    pub grants: Vec<String>,
    /// Who answers when it fails, or does now; only while in a slot, or while nobody stands in for it.
    #[serde(default)]
    pub on_failure: Option<OnFailure>,
    /// Seconds until it is tried again, for a quarantined one; `None` when only an operator ends it.
    #[serde(default)]
    pub retry_s: Option<f64>,
    /// Calls a second, over the last seconds; only while active.
    pub calls_per_s: Option<f64>,
    /// The time under which 99 of 100 of its calls stay.
    pub p99_s: Option<f64>,
    /// Messages that somebody else decided on in its place.
    pub fallbacks: u64,
    /// Its traps, timeouts and invalid answers, also while it was in the slot before.
    pub traps: u64,
    /// Seconds in this state.
    pub since_s: f64,
    /// Its revision.
    pub revision: String,
    /// Who took over, for a quarantined one; or the last trap.
    pub note: Option<String>,
    /// How many rollbacks of its slot bring it back; `None` when none do.
    #[serde(default)]
    pub rollbacks: Option<u32>,
}

/// What a plugin does in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginState {
    /// It decides.
    Active,
    /// It is in the slot and not asked, because an operator says so.
    Paused,
    /// It decided before and is kept for a rollback.
    Standby,
    /// It failed too often and is not asked any more.
    Quarantined,
    /// Its slot has no plugin, because the one that it is bound to cannot be started or was withdrawn, and the native
    /// built-in is not to answer in its place.
    Vacant,
    /// Installed, bound to nothing.
    Installed,
}

/// One plugin or slot in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginDetail {
    /// The row of `plugin list`.
    pub row: PluginRow,
    /// The settings that it was given.
    pub settings: Settings,
    /// The settings that it takes, as its manifest says.
    #[serde(default)]
    pub takes: Vec<SettingRow>,
    /// What kind of component it is: `routing`, `qos`, `topology`, `admission`, `carry` or `handler`.
    pub kind: String,
    /// The world it was built for, such as `mesh:routing@0.1.0`.
    pub world: String,
    /// Its size; 0 for native code.
    pub size_bytes: u64,
    /// Where it was installed from.
    pub origin: String,
    /// Who vouches for it; empty for an unsigned one.
    #[serde(default)]
    pub signers: Vec<SignerRow>,
    /// The last traps, newest first.
    pub traps: Vec<String>,
    /// The revisions that the slot had, newest first.
    pub history: Vec<RevisionRow>,
    /// The trial that runs in the slot, or the last one since the start.
    #[serde(default)]
    pub trial: Option<Box<TrialReport>>,
}

/// What a slot was bound to before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisionRow {
    /// Which.
    #[serde(flatten)]
    pub plugin: PluginRef,
    /// When it left.
    pub at: Time,
    /// Why it left: `swap`, `rollback`, `quarantine`; `None` while it is active.
    pub left: Option<String>,
    /// The settings that it had, and has again.
    #[serde(default)]
    pub settings: Settings,
    /// How many rollbacks bring it back; where `forward` says so, how many that are taken back.
    #[serde(default)]
    pub rollbacks: u32,
    /// Whether a rollback left it.
    #[serde(default)]
    pub forward: bool,
}

/// The answer to an installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstallReport {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Its digest.
    pub revision: String,
    /// Its size.
    pub size_bytes: u64,
    /// `routing`, `qos`, `topology`, `admission`, `carry` or `handler`.
    pub kind: String,
    /// The slots it fits.
    pub slots: Vec<String>,
    /// What it imports.
    pub imports: Vec<ImportRow>,
    /// Seconds of compilation.
    pub compile_s: f64,
    /// Whether the compiled code came from the cache.
    pub cached: bool,
    /// Whether the same revision was installed before.
    pub known: bool,
    /// Who vouches for it; empty for an unsigned one.
    #[serde(default)]
    pub signers: Vec<SignerRow>,
    /// Whether it was only verified and compiled, and not kept.
    #[serde(default)]
    pub dry_run: bool,
    /// The command that takes it back; `None` when nothing was changed.
    #[serde(default)]
    pub undo: Option<String>,
}

/// What a component is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InspectReport {
    /// Its name, if it tells one.
    pub plugin: Option<String>,
    /// Its version, if it tells one.
    pub version: Option<String>,
    /// Its digest.
    pub revision: String,
    /// Its size.
    pub size_bytes: u64,
    /// `routing`, `qos`, `topology`, `admission`, `carry`, `handler`, or `None` if it fits no slot.
    pub kind: Option<String>,
    /// What it imports, each with whether the host would grant it.
    pub imports: Vec<ImportRow>,
    /// What it exports, with versions.
    pub exports: Vec<String>,
    /// No import but types: its answers depend on its arguments only.
    pub pure: bool,
    /// The oldest host that has all that it imports; `None` when none does.
    #[serde(default)]
    pub lowest_host: Option<String>,
    /// What its manifest says; `None` without one.
    #[serde(default)]
    pub manifest: Option<Claims>,
    /// Its custom sections.
    #[serde(default)]
    pub sections: Vec<SectionRow>,
    /// It has the names of its functions, so that a trap can say where it happened.
    #[serde(default)]
    pub has_names: bool,
    /// Bytes of debug information.
    #[serde(default)]
    pub debug_bytes: u64,
    /// Why it could not be installed; empty when it could.
    pub findings: Vec<String>,
    /// Who vouches for it; empty for an unsigned one.
    #[serde(default)]
    pub signers: Vec<SignerRow>,
}

/// What a manifest says of a plugin, beside its name and version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// What it does, in a sentence; may be empty.
    pub description: String,
    /// Its licence; may be empty.
    pub license: String,
    /// The package of its world; may be empty.
    pub world: String,
    /// The oldest host that it asks for.
    pub min_host: Option<String>,
    /// The version of the state that it saves.
    pub state_version: u32,
    /// The other versions that it reads.
    pub migrates_from: Vec<u32>,
    /// The settings that it takes.
    pub settings: Vec<SettingRow>,
    /// What it asks of the host.
    pub grants: Vec<WishRow>,
    /// What it says that it needs, such as `deadline` and `1ms`.
    pub limits: BTreeMap<String, String>,
}

/// One setting that a plugin takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingRow {
    /// Its name.
    pub name: String,
    /// `boolean`, `integer`, `number` or `string`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is when nobody sets it.
    pub default: Option<Setting>,
    /// The least number.
    pub minimum: Option<f64>,
    /// The greatest number.
    pub maximum: Option<f64>,
    /// The texts that are possible; all when empty.
    pub one_of: Vec<String>,
    /// What it does; may be empty.
    pub description: String,
}

/// One grant that a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishRow {
    /// Which.
    pub grant: String,
    /// What for; may be empty.
    pub why: String,
}

/// One custom section of a component or of a module in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionRow {
    /// Its name.
    pub section: String,
    /// Its length, that of all sections of this name together.
    pub size_bytes: u64,
}

/// One import of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRow {
    /// The interface with its version.
    pub import: String,
    /// The grant it needs; `None` for plain types.
    pub grant: Option<String>,
    /// Whether it is given.
    pub granted: bool,
    /// It is answered by virtual WASI, which grants nothing.
    #[serde(default)]
    pub virtual_wasi: bool,
}

/// What a swap or a rollback changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Another revision decides, or the same with other settings.
    #[default]
    Switched,
    /// The same revision decides with the same settings, in another instance.
    Restarted,
    /// What stood in for a plugin in quarantine stays, and that is not tried again.
    Settled,
    /// The trial of a candidate ended, and what decided goes on.
    Ended,
    /// Nothing: it was so already.
    Nothing,
}

/// The answer to a swap or a rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwapReport {
    /// The slot.
    pub slot: String,
    /// What it changed, or would.
    #[serde(default)]
    pub change: Change,
    /// What left.
    pub old: PluginRef,
    /// What decides now.
    pub new: PluginRef,
    /// Bytes of state that were saved.
    pub state_bytes: u64,
    /// Whether the new one took the state over.
    pub state_carried: bool,
    /// Whether it has the state instead that it had when it left the slot before.
    #[serde(default)]
    pub state_restored: bool,
    /// How long the hand-over kept decisions waiting.
    pub pause_us: f64,
    /// The number of the first decision that the new one makes; the old one made all before it.
    pub at_decision: u64,
    /// Whether the switch was only rehearsed.
    pub dry_run: bool,
    /// The command that takes it back.
    pub undo: Option<String>,
}

/// The answer to a removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveReport {
    /// What was removed.
    #[serde(flatten)]
    pub plugin: PluginRef,
    /// Bytes that were freed.
    pub freed_bytes: u64,
    /// Whether it was only rehearsed.
    pub dry_run: bool,
    /// The command that takes it back, while the file is still where it was.
    #[serde(default)]
    pub undo: Option<String>,
}
