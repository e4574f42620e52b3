//! Questions and answers about decisions that were made: journals, and one message's way.

use bytes::Bytes;
use mesh_plugin_host::journal::Page;
use mesh_proto::{MessageId, NodeId};
use serde::{Deserialize, Serialize};

use super::{PluginRef, Time, text};

/// A part of a slot's decision journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalPage {
    /// The slot.
    pub slot: String,
    /// The entries, and where to read on.
    #[serde(flatten)]
    pub page: Page,
}

/// What a node has installed: a component, or a package of one with its manifest and signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Which.
    #[serde(flatten)]
    pub plugin: PluginRef,
    /// Whether it is a package.
    pub is_package: bool,
    /// Its bytes; over a socket they are the body of the frame.
    #[serde(skip)]
    pub bytes: Bytes,
}

/// What became of one message, on all nodes that it came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyReport {
    /// The message.
    #[serde(with = "text")]
    pub message: MessageId,
    /// Who wrote it.
    #[serde(with = "text")]
    pub origin: NodeId,
    /// For whom: the id of a node or a topic; `mesh` for everybody.
    pub dest: String,
    /// Its number among what the origin wrote there since its start.
    pub seq: u64,
    /// The nodes it came to, in its order.
    pub hops: Vec<WhyHop>,
    /// Whether every node on the way answered and knew it.
    pub complete: bool,
    /// Nodes that were not asked, because there are too many.
    pub not_asked: u64,
}

/// One node that a message came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyHop {
    /// The node.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its name, if it is known.
    pub name: Option<String>,
    /// Whether it said something.
    pub state: WhyState,
    /// What it decided on the message, in order; more than once when it had to wait or to turn round.
    pub decisions: Vec<WhyDecision>,
}

/// Whether a node could say what it did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhyState {
    /// It did.
    Known,
    /// It had the message too long ago, or before its start.
    Forgotten,
    /// It did not have the message since it began to remember.
    NotSeen,
    /// It did not answer in time.
    NoAnswer,
}

/// What a node did with a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyDecision {
    /// When.
    pub at: Time,
    /// What: `sent`, `delivered`, `held`, `not-carried`, `refused`, `hop-limit` or `stalled`.
    pub fate: String,
    /// Why, in a sentence.
    pub reason: String,
    /// The neighbour that it came from.
    pub from: Option<String>,
    /// The neighbours that it went to.
    pub to: Vec<String>,
    /// Links crossed before.
    pub hops: u8,
    /// The class that the origin asked for.
    pub asked_class: String,
    /// The class in which it went on.
    pub class: Option<String>,
    /// What the routing policy said; `None` for a delivery.
    pub route: Option<WhyAnswer>,
    /// What the QoS policy said; `None` for a delivery.
    pub qos: Option<WhyAnswer>,
    /// What the carry policy said to what has no way; `None` where it was not asked.
    pub carry: Option<WhyAnswer>,
    /// What the host did instead of what a policy said.
    pub clamp: Option<String>,
}

/// What a policy said to one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyAnswer {
    /// The answer, in words.
    pub answer: String,
    /// The plugin; `None` when the journal has dropped the call.
    pub plugin: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its revision.
    pub rev: Option<String>,
    /// Who answered: `plugin`, `native`, `fallback-fault`, `fallback-absent`, or `canary` for a candidate on trial.
    pub by: Option<String>,
    /// What the call took, in microseconds, with all messages in it; `None` when it was not measured.
    pub cost_us: Option<f64>,
    /// Messages in the call; of the carry policy's runs of messages.
    pub batch: Option<u64>,
}
