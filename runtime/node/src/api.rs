//! The management API: what a node can be asked, what it answers, and what it tells unasked.
//!
//! Every type here is both the wire format of the control socket (JSON) and what `meshctl` prints, as a
//! table and under `data` with `--json`. Within one schema version fields are only added. Nothing here does
//! anything; [`crate::control`] carries these values and the node answers them.
//!
//! A peer, a plugin or a slot is given as the text that the user typed; the node resolves it, because only
//! the node knows the names.
//!
//! ```
//! use mesh_node::api::Request;
//!
//! let ping = Request::Ping { peer: "bob".into(), count: 3 };
//! assert_eq!(serde_json::to_string(&ping).unwrap(), r#"{"call":"ping","peer":"bob","count":3}"#);
//! ```

use serde::{Deserialize, Serialize};

pub mod code;
mod error;
mod event;
mod explain;
mod export;
mod hierarchy;
mod member;
mod node;
mod operate;
mod plugin;
pub mod text;
mod time;
mod trial;
mod trust;

pub use error::{ApiError, Code};
pub use event::{Event, EventKind};
pub use explain::{Fetched, JournalPage, WhyAnswer, WhyDecision, WhyHop, WhyReport, WhyState};
pub use export::{BindingReport, BindingRow, InstalledRow};
pub use hierarchy::{
    CandidateRow, ContenderRow, HierarchyReport, NamedNode, ParentInfo, ProfileChange, ProfileInfo,
    ProfileReport, ScoreParts, WeightsInfo,
};
pub(crate) use member::shown;
pub use member::{MemberCounts, MemberInfo, MemberState, Partition, Reach, ReachState, TuningInfo};
pub use node::{
    BeaconReport, BeaconRow, BeaconSpec, ClassBytes, Counters, Identity, Link, Path, PathKind, PeerInfo,
    PeerState, PingReport, PolicyState, Queued, RouteReport, RouteState, Status, StoreKind, Topology,
    TopologyNode, Warning, Way,
};
pub use operate::{
    CollectReport, GrantRow, JournalExtent, LimitReport, LimitRow, LimitTo, LogRow, OnFailure, OperateReport,
    Operation, StatsRow, TimeClass, TrapReport, TrapRow,
};
pub use plugin::{
    Change, ChosenBy, Claims, ImportRow, InspectReport, InstallReport, OldState, PluginDetail, PluginRef,
    PluginRow, PluginState, RemoveReport, RevisionRow, SectionRow, Setting, SettingRow, Settings, SwapReport,
    SwapRequest, WishRow,
};
pub use time::Time;
pub use trial::{
    CanarySpec, GateSpec, P99Spec, ShadowSpec, TrialExample, TrialFigures, TrialReport, TrialSpec, TrialStage,
};
pub use trust::{SignerRow, SignerState, TrustChange, TrustReport, TrustRow};

/// The limit of a plugin file, component or package, in bytes: larger ones are refused before they are read.
/// Components of interpreted languages reach 18 MB; policies in Rust have 20 KB.
pub const MAX_PLUGIN_LEN: usize = mesh_plugin_host::limits::PACKAGE_BYTES;

/// One management call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub enum Request {
    /// How the node is; answered by [`Reply::Status`].
    Status,
    /// The neighbours and the known nodes; answered by [`Reply::Peers`].
    Peers,
    /// Who is in the mesh and whether it lives, this node first; answered by [`Reply::Members`].
    Members,
    /// Round trips to a node, through the mesh if it is no neighbour; answered by [`Reply::Ping`].
    Ping {
        /// Name, id or unambiguous id prefix of at least six digits.
        peer: String,
        /// Round trips, 1 to 1,000.
        count: u32,
    },
    /// Who the node is; answered by [`Reply::Identity`].
    Identity,
    /// The mesh as this node knows it; answered by [`Reply::Topology`].
    Topology,
    /// The place in the hierarchy and why; answered by [`Reply::Hierarchy`].
    TopologyExplain,
    /// Takes part in the hierarchy, or as something else; answered by [`Reply::Profile`].
    TopologySet {
        /// What is to be different.
        change: Box<ProfileChange>,
        /// Only say what would be.
        dry_run: bool,
    },
    /// Takes part in the hierarchy no more; answered by [`Reply::Profile`].
    TopologyLeave {
        /// Only say what would be.
        dry_run: bool,
    },
    /// The ways to a node and why one was chosen; answered by [`Reply::Route`].
    RouteExplain {
        /// As in [`Request::Ping`].
        peer: String,
    },
    /// What runs in the slots and what stands by; answered by [`Reply::Plugins`].
    PluginList,
    /// One slot or one plugin in full; answered by [`Reply::Plugin`].
    PluginShow {
        /// A slot, a name, a name with version or a digest prefix.
        plugin: String,
    },
    /// Verifies, checks and compiles the component or package in the body and keeps it, bound to nothing;
    /// answered by [`Reply::Installed`].
    PluginInstall {
        /// Where it comes from, for people: a file name or an address.
        origin: String,
        /// What the operator lets it use, such as `log` and `kv`; beside what it was granted before.
        #[serde(default)]
        grants: Vec<String>,
        /// Stop after the checks.
        dry_run: bool,
        /// Take a component above 4 MiB, which takes a core for up to a minute to compile; no by default.
        #[serde(default)]
        allow_large: bool,
    },
    /// Says what the component in the body is without keeping it; answered by [`Reply::Inspected`].
    PluginInspect {
        /// As in [`Request::PluginShow`], when the body is empty.
        plugin: Option<String>,
    },
    /// Puts an installed plugin into a slot; answered by [`Reply::Swapped`].
    PluginSwap(SwapRequest),
    /// Tries a plugin in a slot before it decides alone; answered by [`Reply::Trial`] as soon as it runs. The node
    /// goes on by itself: it cuts over or returns.
    PluginTry {
        /// Which plugin. With `dry_run` the cut-over is rehearsed only.
        swap: SwapRequest,
        /// How it is tried.
        trial: TrialSpec,
    },
    /// How the trial of a slot stands, or how the last one ended; answered by [`Reply::Trial`].
    PluginTrial {
        /// The slot.
        slot: String,
    },
    /// Returns a slot to what it was bound to before, or ends its trial; answered by [`Reply::Swapped`]. One after the
    /// other they walk back, also over a restart.
    PluginRollback {
        /// The slot.
        slot: String,
        /// Takes the last rollback back instead.
        #[serde(default)]
        forward: bool,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// Deletes a revision that no slot uses; answered by [`Reply::Removed`].
    PluginRemove {
        /// As in [`Request::PluginShow`], but not a slot.
        plugin: String,
        /// Also when a slot would go back to it, which then has nothing to go back to.
        #[serde(default)]
        standby: bool,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// Does something to a running binding or an installed revision; answered by [`Reply::Operated`].
    PluginOperate {
        /// What.
        operation: Operation,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// The last failures in a slot; answered by [`Reply::Traps`].
    PluginTraps {
        /// The slot.
        slot: String,
    },
    /// The log of a slot; answered by [`Reply::Log`].
    PluginLog {
        /// The slot.
        slot: String,
        /// Only lines with a higher number than this.
        after: u64,
    },
    /// How plugins run; answered by [`Reply::Stats`].
    PluginStats {
        /// The slot; all when absent.
        slot: Option<String>,
    },
    /// What the plugin in a slot is held to; answered by [`Reply::Limits`].
    PluginLimits {
        /// The slot.
        slot: String,
    },
    /// What installed plugins may use; answered by [`Reply::Grants`].
    PluginGrants {
        /// As in [`Request::PluginRemove`]; all when absent.
        plugin: Option<String>,
    },
    /// Deletes revisions that no slot uses and nobody pinned; answered by [`Reply::Collected`].
    PluginCollect {
        /// How many of each name stay, the newest first.
        keep: u32,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// The component of an installed plugin; answered by [`Reply::Fetched`].
    PluginFetch {
        /// As in [`Request::PluginShow`], but not a slot.
        plugin: String,
    },
    /// An installed plugin with its manifest and signatures; answered by [`Reply::Fetched`].
    PluginExport {
        /// As in [`Request::PluginShow`].
        plugin: String,
    },
    /// What is installed, and what the slots are bound to; answered by [`Reply::Bindings`].
    PluginBindings,
    /// A part of a slot's decision journal; answered by [`Reply::Journal`].
    PluginJournal {
        /// The slot.
        slot: String,
        /// The number of the first entry; without it the journal's end, and the state of what decides is written
        /// down there, so that what follows can be replayed.
        from: Option<u64>,
        /// What a handler is told, answers and remembers as it is, and not its hashes.
        #[serde(default)]
        with_payload: bool,
    },
    /// What all nodes on its way did with a message, and why; answered by [`Reply::Why`].
    TraceWhy {
        /// The message's id, or its first eight or more hex digits.
        message: String,
    },
    /// The keys that are trusted to sign plugins, and those that are revoked; answered by [`Reply::Trust`].
    PluginTrustList,
    /// Changes the list of keys; answered by [`Reply::Trusted`].
    PluginTrust {
        /// `ed25519:` and 64 hex digits.
        key: String,
        /// What is to happen.
        change: TrustChange,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// Sets what this node's beacon says; answered by [`Reply::Beacons`] with that one row.
    BeaconSet(BeaconSpec),
    /// All beacons heard and not expired; answered by [`Reply::Beacons`].
    BeaconList,
    /// The beacons around a point, nearest first; answered by [`Reply::Beacons`].
    BeaconNear {
        /// The point as latitude and longitude in degrees; this node's own position when absent.
        at: Option<(f64, f64)>,
        /// Metres around it.
        radius_m: f64,
    },
    /// All counters since the start; answered by [`Reply::Counters`].
    Counters,
    /// The state that a slot's plugin would save now; answered by [`Reply::PolicyState`].
    PolicyState {
        /// The slot.
        slot: String,
    },
    /// Stops the node gracefully; answered by [`Reply::Done`] before the node goes.
    Shutdown,
}

/// The answer to one [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "data", rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Peers`].
    Peers(Vec<PeerInfo>),
    /// To [`Request::Members`].
    Members(Vec<MemberInfo>),
    /// To [`Request::Ping`].
    Ping(PingReport),
    /// To [`Request::Identity`].
    Identity(Identity),
    /// To [`Request::Topology`].
    Topology(Topology),
    /// To [`Request::TopologyExplain`].
    Hierarchy(Box<HierarchyReport>),
    /// To [`Request::TopologySet`] and [`Request::TopologyLeave`].
    Profile(ProfileReport),
    /// To [`Request::RouteExplain`].
    Route(RouteReport),
    /// To [`Request::PluginList`].
    Plugins(Vec<PluginRow>),
    /// To [`Request::PluginShow`].
    Plugin(Box<PluginDetail>),
    /// To [`Request::PluginInstall`].
    Installed(InstallReport),
    /// To [`Request::PluginInspect`].
    Inspected(InspectReport),
    /// To [`Request::PluginSwap`] and [`Request::PluginRollback`].
    Swapped(SwapReport),
    /// To [`Request::PluginTry`] and [`Request::PluginTrial`].
    Trial(Box<TrialReport>),
    /// To [`Request::PluginRemove`].
    Removed(RemoveReport),
    /// To [`Request::PluginOperate`].
    Operated(OperateReport),
    /// To [`Request::PluginTraps`].
    Traps(TrapReport),
    /// To [`Request::PluginLog`].
    Log(Vec<LogRow>),
    /// To [`Request::PluginStats`].
    Stats(Vec<StatsRow>),
    /// To [`Request::PluginLimits`].
    Limits(LimitReport),
    /// To [`Request::PluginGrants`].
    Grants(Vec<GrantRow>),
    /// To [`Request::PluginCollect`].
    Collected(CollectReport),
    /// To [`Request::PluginFetch`] and [`Request::PluginExport`].
    Fetched(Fetched),
    /// To [`Request::PluginBindings`].
    Bindings(BindingReport),
    /// To [`Request::PluginJournal`].
    Journal(Box<JournalPage>),
    /// To [`Request::TraceWhy`].
    Why(Box<WhyReport>),
    /// To [`Request::PluginTrustList`].
    Trust(Vec<TrustRow>),
    /// To [`Request::PluginTrust`].
    Trusted(TrustReport),
    /// To the beacon calls.
    Beacons(BeaconReport),
    /// To [`Request::Counters`].
    Counters(Counters),
    /// To [`Request::PolicyState`].
    PolicyState(PolicyState),
    /// To [`Request::Shutdown`].
    Done,
}

macro_rules! replies {
    ($($variant:ident $type:ty, |$value:ident| $take:expr;)*) => {$(
        impl TryFrom<Reply> for $type {
            type Error = ApiError;

            /// # Errors
            /// `UNEXPECTED_REPLY` for the answer to another call.
            fn try_from(reply: Reply) -> Result<$type, ApiError> {
                match reply {
                    Reply::$variant($value) => Ok($take),
                    other => Err(other.does_not_fit()),
                }
            }
        }
    )*};
}

replies! {
    Status Status, |status| *status;
    Peers Vec<PeerInfo>, |peers| peers;
    Members Vec<MemberInfo>, |members| members;
    Ping PingReport, |report| report;
    Identity Identity, |identity| identity;
    Topology Topology, |topology| topology;
    Hierarchy HierarchyReport, |report| *report;
    Profile ProfileReport, |report| report;
    Route RouteReport, |report| report;
    Plugins Vec<PluginRow>, |rows| rows;
    Plugin PluginDetail, |detail| *detail;
    Installed InstallReport, |report| report;
    Inspected InspectReport, |report| report;
    Swapped SwapReport, |report| report;
    Trial TrialReport, |report| *report;
    Removed RemoveReport, |report| report;
    Operated OperateReport, |report| report;
    Traps TrapReport, |report| report;
    Log Vec<LogRow>, |rows| rows;
    Stats Vec<StatsRow>, |rows| rows;
    Limits LimitReport, |report| report;
    Grants Vec<GrantRow>, |rows| rows;
    Collected CollectReport, |report| report;
    Fetched Fetched, |fetched| fetched;
    Bindings BindingReport, |report| report;
    Journal JournalPage, |page| *page;
    Why WhyReport, |report| *report;
    Trust Vec<TrustRow>, |rows| rows;
    Trusted TrustReport, |report| report;
    Beacons BeaconReport, |report| report;
    Counters Counters, |counters| counters;
    PolicyState PolicyState, |state| state;
}

impl TryFrom<Reply> for () {
    type Error = ApiError;

    /// # Errors
    /// `UNEXPECTED_REPLY` for anything but [`Reply::Done`].
    fn try_from(reply: Reply) -> Result<(), ApiError> {
        match reply {
            Reply::Done => Ok(()),
            other => Err(other.does_not_fit()),
        }
    }
}

impl Reply {
    fn does_not_fit(&self) -> ApiError {
        let name = match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(mut fields)) => fields.remove("reply"),
            _ => None,
        };
        let name = name.as_ref().and_then(|name| name.as_str()).unwrap_or("something else");
        ApiError::new(
            &code::UNEXPECTED_REPLY,
            format!("the node answered with '{name}', which does not fit the call"),
        )
    }
}
