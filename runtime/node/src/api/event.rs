//! What a node tells unasked, one JSON line an event.

use mesh_proto::NodeId;
use mesh_proto::policy::Class;
use serde::{Deserialize, Serialize};

use super::hierarchy::NamedNode;
use super::plugin::PluginRef;
use super::{Time, text};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// The node takes connections here.
    Listening {
        /// `quic` or `memory`.
        transport: String,
        /// The address.
        addr: String,
    },
    /// The node stops.
    Stopping,
    /// A link to a neighbour is up.
    PeerUp {
        /// The neighbour.
        #[serde(with = "text")]
        node: NodeId,
        /// Its name, if known.
        name: Option<String>,
        /// Its address.
        addr: String,
        /// `quic` or `memory`.
        transport: String,
        /// Whether this node dialled.
        dialed: bool,
    },
    /// A link to a neighbour is down.
    PeerDown {
        /// The neighbour.
        #[serde(with = "text")]
        node: NodeId,
        /// Its name, if known.
        name: Option<String>,
        /// Why.
        reason: String,
    },
    /// A node that was never heard of before is known now.
    NodeDiscovered {
        /// The node.
        #[serde(with = "text")]
        node: NodeId,
        /// Its name, if it told one.
        name: Option<String>,
    },
    /// A member is there that was not known.
    MemberJoined {
        /// The node.
        #[serde(with = "text")]
        node: NodeId,
        /// Its name.
        name: Option<String>,
        /// When it was started.
        started: Time,
    },
    /// Neighbours of a member say that it went silent.
    MemberSuspect {
        /// The node.
        #[serde(with = "text")]
        node: NodeId,
        /// Its name.
        name: Option<String>,
    },
    /// A member went silent and did not refute it.
    MemberDead {
        /// The node.
        #[serde(with = "text")]
        node: NodeId,
        /// Its name.
        name: Option<String>,
    },
    /// A member said that it leaves.
    MemberLeft {
        /// The node.
        #[serde(with = "text")]
        node: NodeId,
        /// Its name.
        name: Option<String>,
    },
    /// A member lives that was suspect or away, or that was started again.
    MemberBack {
        /// The node.
        #[serde(with = "text")]
        node: NodeId,
        /// Its name.
        name: Option<String>,
        /// When it was started.
        started: Time,
        /// Whether that is a new start.
        restarted: bool,
    },
    /// A third of the members or more is away: a cut, as far as this side can tell.
    Partitioned {
        /// How many.
        away: u32,
        /// Of how many, this node included.
        of: u32,
    },
    /// Most of those who were away are back.
    Merged {
        /// How many.
        back: u32,
    },
    /// This node has another parent in the hierarchy, or none any more.
    ParentChanged {
        /// The one before.
        from: Option<NamedNode>,
        /// The one now.
        to: Option<NamedNode>,
        /// Why.
        why: String,
    },
    /// This node has another role in its cell.
    RoleChanged {
        /// `leader`, `member` or `standalone`.
        role: String,
    },
    /// Another node leads this node's cell, or nobody does any more.
    LeaderElected {
        /// Who.
        leader: Option<NamedNode>,
        /// The cell.
        cell: String,
    },
    /// A link was closed because the other side broke the protocol.
    LinkViolation {
        /// Who, if it had introduced itself; hex digits.
        node: Option<String>,
        /// Its address.
        addr: String,
        /// What it did.
        violation: String,
    },
    /// A link was refused or closed because the admission policy wants none to this node.
    LinkDenied {
        /// The node.
        #[serde(with = "text")]
        node: NodeId,
        /// Its name, if known.
        name: Option<String>,
        /// Its address.
        addr: String,
        /// Why.
        reason: String,
    },
    /// Messages were dropped since the last such event.
    MessagesDropped {
        /// Why: `expired`, `over-budget`, `policy`, `no-way`, `hop-limit`.
        reason: String,
        /// Their class.
        #[serde(with = "text::class")]
        class: Class,
        /// How many.
        count: u64,
    },
    /// A plugin was installed.
    PluginInstalled {
        /// Which.
        #[serde(flatten)]
        plugin: PluginRef,
    },
    /// A slot has a new plugin.
    PluginSwapped {
        /// The slot.
        slot: String,
        /// Which one decides now.
        #[serde(flatten)]
        plugin: PluginRef,
        /// How long the hand-over kept decisions waiting.
        pause_us: f64,
    },
    /// A plugin trapped, overran its deadline or answered rubbish; its built-in answered instead.
    PluginStruck {
        /// The slot.
        slot: String,
        /// Which.
        #[serde(flatten)]
        plugin: PluginRef,
        /// What it did.
        reason: String,
        /// Strikes in the current window.
        strikes: u32,
    },
    /// A plugin failed too often and is not asked any more.
    PluginQuarantined {
        /// The slot.
        slot: String,
        /// Which.
        #[serde(flatten)]
        plugin: PluginRef,
        /// Who took over.
        successor: String,
    },
    /// A plugin is in its slot and not asked any more, because an operator says so.
    PluginPaused {
        /// The slot.
        slot: String,
        /// Which.
        #[serde(flatten)]
        plugin: PluginRef,
    },
    /// A plugin is asked again that was paused or in quarantine.
    PluginResumed {
        /// The slot.
        slot: String,
        /// Which.
        #[serde(flatten)]
        plugin: PluginRef,
        /// Whether the node did it by itself.
        automatic: bool,
    },
    /// A plugin was taken out of its slot because a key that signed it was revoked.
    PluginRevoked {
        /// The slot.
        slot: String,
        /// Which.
        #[serde(flatten)]
        plugin: PluginRef,
        /// The key.
        key: String,
        /// Who took over.
        successor: String,
    },
    /// A candidate is tried beside the active plugin of a slot, or that is over.
    PluginTrial {
        /// The slot.
        slot: String,
        /// The candidate.
        #[serde(flatten)]
        plugin: PluginRef,
        /// `shadow`, `canary`, `cut-over`, `rehearsed`, `returned` or `aborted`.
        stage: String,
        /// Why it was returned.
        reason: Option<String>,
    },
    /// A slot returned to its previous revision.
    PluginRolledBack {
        /// The slot.
        slot: String,
        /// Which one decides now.
        #[serde(flatten)]
        plugin: PluginRef,
        /// Whether the node did it by itself.
        automatic: bool,
    },
    /// The store refuses writes; durable sends fail until it recovers.
    StoreDegraded {
        /// Why.
        reason: String,
    },
    /// The store works again.
    StoreRecovered,
    /// A beacon handler has something to tell.
    Beacon {
        /// Whose beacon.
        #[serde(with = "text")]
        node: NodeId,
        /// Its name, if known.
        name: Option<String>,
        /// `seen`, `moved`, `lost` or what the handler calls it.
        change: String,
        /// Its cell.
        geohash: String,
    },
    /// The reader was too slow, and events were skipped.
    Gap {
        /// How many.
        lost: u64,
    },
}
