//! Questions and answers about what another node needs to become as this one.

use serde::{Deserialize, Serialize};

use super::{OnFailure, PluginRef, Settings};

/// What a node has installed, and what its slots are bound to, also after the next start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BindingReport {
    /// The slots.
    pub slots: Vec<BindingRow>,
    /// What is installed.
    pub installed: Vec<InstalledRow>,
}

/// What one slot is bound to, and how it is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BindingRow {
    /// The slot.
    pub slot: String,
    /// The plugin.
    #[serde(flatten)]
    pub plugin: PluginRef,
    /// Its settings.
    pub settings: Settings,
    /// Who answers when it fails.
    pub on_failure: OnFailure,
    /// Milliseconds for a call; `None` for the host's own limit, as for the next two.
    pub deadline_ms: Option<u64>,
    /// Bytes of linear memory.
    pub memory_bytes: Option<u64>,
    /// Log lines a second.
    pub log_rate: Option<u64>,
    /// Whether it is not asked, because an operator says so.
    pub paused: bool,
    /// What a rollback brings back; `None` when that is the native built-in, or nothing.
    pub previous: Option<PluginRef>,
    /// Its settings.
    pub previous_settings: Settings,
}

/// One installed revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledRow {
    /// Which.
    #[serde(flatten)]
    pub plugin: PluginRef,
    /// Bytes of its component.
    pub size_bytes: u64,
    /// It came with the program.
    pub built_in: bool,
    /// What it may use.
    pub grants: Vec<String>,
    /// Nothing removes it.
    pub pinned: bool,
}
