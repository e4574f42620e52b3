//! Questions and answers about running plugins: pause, limits, grants, logs, traps, figures, tidying up.

use serde::{Deserialize, Serialize};

use super::{PluginRef, PluginState, Time};

/// Who answers in the place of a plugin that fails or is quarantined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The native built-in; a quarantine brings back the revision before.
    #[default]
    Fallback,
    /// Nobody: routes are held and topics dropped, classes become the lowest, no parent is wanted, no new link is made,
    /// nothing is kept that may be refused.
    FailClosed,
    /// What restrains least: any way that cannot loop, the class that was asked for, every parent, every link,
    /// everything kept.
    FailOpen,
}

/// What an operator does to a running binding or an installed revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Operation {
    /// The native built-in answers; the binding and its state stay.
    Pause {
        /// The slot.
        slot: String,
    },
    /// Ends a pause, or else a quarantine.
    Resume {
        /// The slot.
        slot: String,
    },
    /// Lowers limits of the plugin in a slot, or gives it the host's own back.
    Limit {
        /// The slot.
        slot: String,
        /// Milliseconds for a call.
        deadline_ms: Option<LimitTo>,
        /// Bytes of linear memory.
        memory_bytes: Option<LimitTo>,
        /// Log lines a second.
        log_rate: Option<LimitTo>,
    },
    /// Gives an installed plugin capabilities of the host, or takes them.
    Grant {
        /// A name, a name with version or a digest prefix.
        plugin: String,
        /// To give: `log`, `kv`.
        give: Vec<String>,
        /// To take.
        take: Vec<String>,
    },
    /// Keeps an installed revision from being removed.
    Pin {
        /// A name, a name with version or a digest prefix.
        plugin: String,
    },
    /// Ends that.
    Unpin {
        /// A name, a name with version or a digest prefix.
        plugin: String,
    },
}

/// What a limit becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitTo {
    /// The host's own.
    Host,
    /// This, which is not above the host's own.
    To(u64),
}

/// The answer to an [`Operation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperateReport {
    /// The slot; `None` when it is about an installed revision.
    pub slot: Option<String>,
    /// The plugin that it is about.
    #[serde(flatten)]
    pub plugin: PluginRef,
    /// What has been done, in a few words, or would be.
    pub done: String,
    /// Who decides in the slot now, or would.
    pub decides: Option<String>,
    /// Whether it was only rehearsed.
    pub dry_run: bool,
    /// The command that takes it back.
    pub undo: Option<String>,
}

/// One failed call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrapRow {
    /// When.
    pub at: Time,
    /// Whose.
    #[serde(flatten)]
    pub plugin: PluginRef,
    /// What, in a line.
    pub reason: String,
    /// What the guest said before it gave up.
    pub panic: Option<String>,
    /// The functions on its stack, the innermost first.
    pub frames: Vec<String>,
    /// Whether the component names its functions.
    pub has_names: bool,
    /// BLAKE3 of what the call was given, in hex; `None` when the call was no decision.
    pub input: Option<String>,
}

/// The last failures in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrapReport {
    /// The slot.
    pub slot: String,
    /// Failures since the start of the node.
    pub total: u64,
    /// The last ones, newest first.
    pub traps: Vec<TrapRow>,
}

/// One line of a slot's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRow {
    /// Its number in the slot, from 1 on.
    pub number: u64,
    /// When.
    pub at: Time,
    /// `error`, `warn`, `info` or `debug`.
    pub level: String,
    /// The plugin that says it; `None` for the host.
    pub plugin: Option<String>,
    /// What it says.
    pub text: String,
}

/// How one revision in a slot runs: the active one, and those that stand by or are in quarantine. All but swaps, rollbacks
/// and quarantines, which are the slot's, is its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatsRow {
    /// The slot.
    pub slot: String,
    /// Which.
    #[serde(flatten)]
    pub plugin: PluginRef,
    /// What it does there.
    pub state: PluginState,
    /// Calls so far, whoever answered.
    pub calls: u64,
    /// Calls a second, over the last seconds; only while active.
    pub calls_per_s: Option<f64>,
    /// Messages decided on so far, whoever answered.
    pub messages: u64,
    /// Messages that somebody else decided on in a plugin's place.
    pub fallbacks: u64,
    /// Traps, timeouts and invalid answers so far.
    pub traps: u64,
    /// Swaps and removals in the slot so far.
    pub swaps: u64,
    /// Rollbacks by an operator in the slot so far.
    pub rollbacks: u64,
    /// Quarantines in the slot so far.
    pub quarantines: u64,
    /// Calls of a plugin that were timed: all large batches and one in eight of the small ones.
    pub timed_calls: u64,
    /// Median time of a call in seconds; `None` without calls, as for the next four.
    pub p50_s: Option<f64>,
    /// 90 of 100 calls take at most this.
    pub p90_s: Option<f64>,
    /// 99 of 100.
    pub p99_s: Option<f64>,
    /// 999 of 1,000.
    pub p999_s: Option<f64>,
    /// The longest.
    pub max_s: Option<f64>,
    /// The spread of the timed calls; classes of a quarter of a power of two.
    pub histogram: Vec<TimeClass>,
    /// Bytes of linear memory now.
    pub memory_bytes: u64,
    /// The most bytes of any instance so far.
    pub memory_most_bytes: u64,
    /// Log lines that were too many.
    pub log_dropped: u64,
    /// What the decision journal holds; `None` on a node that was started without.
    pub journal: Option<JournalExtent>,
}

/// What a slot's decision journal holds: so far back can be recorded and explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalExtent {
    /// Entries in it: calls, what was shown, and what an instance began with.
    pub entries: u64,
    /// Entries that gave way to newer ones since the node started.
    pub dropped: u64,
    /// Bytes of the entries.
    pub bytes: u64,
    /// Bytes at which the oldest give way.
    pub most_bytes: u64,
    /// When the oldest entry was made; `None` without entries.
    pub since: Option<Time>,
}

/// One class of a spread of times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeClass {
    /// Seconds up to which.
    pub up_to_s: f64,
    /// How many.
    pub count: u64,
}

/// What the plugin in a slot is held to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitReport {
    /// The slot.
    pub slot: String,
    /// The plugin.
    #[serde(flatten)]
    pub plugin: PluginRef,
    /// Each limit.
    pub limits: Vec<LimitRow>,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitRow {
    /// `deadline`, `memory` or `log-rate`.
    pub name: String,
    /// `ms`, `bytes` or `lines/s`.
    pub unit: String,
    /// What applies.
    pub limit: f64,
    /// The host's own, above which none goes.
    pub host: f64,
    /// What half of the calls stay under; `None` where it is not measured, as for the next two.
    pub p50: Option<f64>,
    /// What 99 of 100 calls stay under.
    pub p99: Option<f64>,
    /// The most so far.
    pub max: Option<f64>,
    /// What would do with room to spare; `None` without figures.
    pub suggestion: Option<f64>,
}

/// What an installed plugin may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRow {
    /// The plugin.
    #[serde(flatten)]
    pub plugin: PluginRef,
    /// Which capability.
    pub grant: String,
    /// Whether the component imports it.
    pub asked: bool,
    /// What for, in the author's words.
    pub why: String,
    /// Whether the operator gave it.
    pub granted: bool,
}

/// What a collection removed, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectReport {
    /// The revisions.
    pub removed: Vec<PluginRef>,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Entries of the compile cache that belong to nothing that is installed.
    #[serde(default)]
    pub cache_entries: u64,
    /// Their bytes.
    #[serde(default)]
    pub cache_bytes: u64,
    /// Revisions that stay because they are pinned.
    pub pinned: u64,
    /// Revisions that stay because a slot uses them or would go back to them.
    pub in_use: u64,
    /// Whether it was only rehearsed.
    pub dry_run: bool,
    /// The commands that take it back, while the files are still where they were.
    pub undo: Vec<String>,
}

impl From<OnFailure> for mesh_plugin_host::OnFailure {
    fn from(mode: OnFailure) -> mesh_plugin_host::OnFailure {
        match mode {
            OnFailure::Fallback => mesh_plugin_host::OnFailure::Fallback,
            OnFailure::FailClosed => mesh_plugin_host::OnFailure::FailClosed,
            OnFailure::FailOpen => mesh_plugin_host::OnFailure::FailOpen,
        }
    }
}

impl From<mesh_plugin_host::OnFailure> for OnFailure {
    fn from(mode: mesh_plugin_host::OnFailure) -> OnFailure {
        match mode {
            mesh_plugin_host::OnFailure::Fallback => OnFailure::Fallback,
            mesh_plugin_host::OnFailure::FailClosed => OnFailure::FailClosed,
            mesh_plugin_host::OnFailure::FailOpen => OnFailure::FailOpen,
        }
    }
}
