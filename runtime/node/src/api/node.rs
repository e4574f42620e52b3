//! Answers about the node, its neighbours, its ways and its beacons.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mesh_proto::NodeId;
use serde::{Deserialize, Serialize};

use super::member::{MemberCounts, Partition, Reach, TuningInfo};
use super::plugin::{ChosenBy, PluginRow};
use super::{Time, text};

/// How the node is, problems first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What a person should look at; empty when all is well.
    pub problems: Vec<Warning>,
    /// The node.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Version of the software.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_s: f64,
    /// Seconds from the start of the process to readiness.
    pub startup_s: f64,
    /// Where it keeps its data; `None` when it is ephemeral.
    pub data_dir: Option<PathBuf>,
    /// What its data is kept in.
    pub store: StoreKind,
    /// The addresses it listens on, such as `udp 127.0.0.1:4747`.
    pub listening: Vec<String>,
    /// Neighbours with a live link.
    pub peers_up: u32,
    /// Nodes heard of, this one included.
    pub nodes_known: u32,
    /// The nodes heard of, by state.
    pub members: MemberCounts,
    /// Whether this node reaches anybody.
    pub reach: Reach,
    /// Set while so many members are away that it looks like a cut.
    pub partition: Option<Partition>,
    /// What it was started with.
    pub tuning: TuningInfo,
    /// Messages that wait for a recipient or a way.
    pub held: Queued,
    /// Messages in this node's inbox that nobody has acknowledged.
    pub inbox: Queued,
    /// Bytes that wait for a link, by class.
    pub queued_bytes: ClassBytes,
    /// What runs in each slot.
    pub policies: Vec<PluginRow>,
    /// Resident memory of the process.
    pub rss_bytes: u64,
}

/// Something that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A code that `meshctl explain` knows.
    pub code: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// A command that helps, if there is one.
    pub help: Option<String>,
}

/// What a node's data is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// A file that survives the process.
    Redb,
    /// Memory: gone with the process.
    Memory,
}

/// Messages and their payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Bytes by class, most urgent first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassBytes {
    /// Emergency traffic.
    pub critical: u64,
    /// Commands and alerts.
    pub high: u64,
    /// The default.
    pub normal: u64,
    /// Telemetry.
    pub low: u64,
    /// Anything that can wait.
    pub bulk: u64,
}

impl From<[u64; 5]> for ClassBytes {
    fn from([critical, high, normal, low, bulk]: [u64; 5]) -> ClassBytes {
        ClassBytes { critical, high, normal, low, bulk }
    }
}

/// A node that this one knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The node.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its name, if it told one.
    pub name: Option<String>,
    /// Whether there is a link.
    pub state: PeerState,
    /// The address of the link, or the one dialled next.
    pub addr: Option<String>,
    /// `quic` or `memory`.
    pub transport: Option<String>,
    /// How the link runs.
    pub path: Option<PathKind>,
    /// Smoothed round-trip time of the link.
    pub rtt_s: Option<f64>,
    /// Seconds in this state.
    pub since_s: f64,
    /// Bytes that wait for this link.
    pub queued_bytes: u64,
    /// Bytes sent over this link.
    pub sent_bytes: u64,
    /// Bytes received over this link.
    pub received_bytes: u64,
    /// Whether this node dialled (`true`) or was dialled.
    pub dialed: bool,
}

/// Whether there is a link to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// A live link.
    Up,
    /// Being dialled, or waiting to be dialled again.
    Dialing,
    /// Heard of, no link wanted.
    Known,
    /// Its admission policy does not let this node in; tried again ever more seldom.
    Refused,
}

/// How traffic to a neighbour runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathKind {
    /// From address to address.
    Direct,
    /// Through other nodes of the mesh.
    Mesh,
}

/// One way that was measured or told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// How it runs.
    pub path: PathKind,
    /// The neighbour it starts with, by name or short id.
    pub via: String,
    /// Its round-trip time, as far as it is known.
    pub rtt_s: Option<f64>,
}

/// The answer to `ping`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PingReport {
    /// The node that was asked.
    #[serde(with = "text")]
    pub peer: NodeId,
    /// Its name, if known.
    pub name: Option<String>,
    /// How the answer came.
    pub path: PathKind,
    /// The address, for a neighbour.
    pub addr: Option<String>,
    /// Links on the way; 1 for a neighbour.
    pub hops: u8,
    /// Questions sent.
    pub sent: u32,
    /// Answers received.
    pub received: u32,
    /// The median round trip.
    pub rtt_s: f64,
    /// The shortest round trip.
    pub min_s: f64,
    /// The longest round trip.
    pub max_s: f64,
    /// All ways that could have been taken.
    pub candidates: Vec<Path>,
    /// Who chose.
    pub chosen_by: ChosenBy,
}

/// Who the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node: its public key.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// The file of the secret key; `None` when it is ephemeral.
    pub key_file: Option<PathBuf>,
    /// When the key was made, if known.
    pub created: Option<Time>,
    /// What another node joins by: `NODE-ID@HOST:PORT` or `HOST:PORT`.
    pub addrs: Vec<String>,
}

/// The mesh as this node knows it, from signed records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// The nodes, this one first.
    pub nodes: Vec<TopologyNode>,
    /// The links, each once.
    pub links: Vec<Link>,
}

/// A node in a [`Topology`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopologyNode {
    /// The node.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its name, if it told one.
    pub name: Option<String>,
    /// Its own addresses as it tells them.
    pub addrs: Vec<String>,
    /// Seconds since anything new was heard of it; 0 for this node.
    pub heard_s: f64,
}

/// A link in a [`Topology`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// One end; the one that told of it.
    #[serde(with = "text")]
    pub from: NodeId,
    /// The other end.
    #[serde(with = "text")]
    pub to: NodeId,
    /// Its round-trip time, if told.
    pub rtt_s: Option<f64>,
}

/// The ways to a node and why one was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Where to.
    #[serde(with = "text")]
    pub destination: NodeId,
    /// Its name, if known.
    pub name: Option<String>,
    /// The neighbour that gets the next message, by name or id; `None` when messages would wait.
    pub next_hop: Option<String>,
    /// Whether there is a way, and if not, why not.
    pub state: RouteState,
    /// All known ways, cheapest first.
    pub ways: Vec<Way>,
    /// Who chose, and why.
    pub chosen_by: ChosenBy,
    /// Messages that wait for this destination now.
    pub held: Queued,
}

/// Whether there is a way to a node, and if not, why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteState {
    /// There is one.
    Found,
    /// None is known, and one is being looked for.
    Searching,
    /// The node is taken for dead.
    Dead,
    /// The node has left.
    Left,
    /// Nobody has told of such a node; one is looked for all the same.
    Unknown,
    /// It is the node that answers.
    This,
}

/// One way to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The neighbour it starts with, by name or short id.
    pub via: String,
    /// That neighbour.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Round-trip time to it plus the cost it tells, in microseconds.
    pub cost_us: u64,
    /// Links from here to the destination.
    pub hops: u8,
    /// Whether it is the one taken.
    pub chosen: bool,
}

/// What this node's beacon is to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeaconSpec {
    /// Degrees north, -90 to 90.
    pub lat: f64,
    /// Degrees east, -180 to 180.
    pub lon: f64,
    /// Metres above the sea.
    pub alt_m: Option<f64>,
    /// A short text beside it, at most 256 bytes.
    pub note: Option<String>,
}

/// Beacons, and what the area around the question is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeaconReport {
    /// The geohash cells that were looked at, for `near`.
    pub cells: Vec<String>,
    /// The beacons.
    pub beacons: Vec<BeaconRow>,
}

/// One beacon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeaconRow {
    /// Whose it is.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its name, if known.
    pub name: Option<String>,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// Its cell.
    pub geohash: String,
    /// Metres from the point asked about, or from this node if it has a position.
    pub distance_m: Option<f64>,
    /// The text beside it.
    pub note: Option<String>,
    /// Seconds since it was heard.
    pub age_s: f64,
    /// Seconds until it is forgotten.
    pub expires_s: f64,
}

/// Counters since the start, by name.
///
/// Names are in snake case with the unit last: `messages_delivered`, `links_violated`, `plugin_swaps`,
/// `plugin_strikes`, `plugin_rollbacks`, `plugin_fallbacks`, `dropped_expired`, `sent_bytes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counters(pub BTreeMap<String, u64>);

/// The state that a slot's plugin would save now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyState {
    /// The slot.
    pub slot: String,
    /// The revision that holds it.
    pub revision: String,
    /// The version of its layout.
    pub state_version: u32,
    /// Its length.
    pub state_bytes: u64,
    /// Its first eight bytes as a little-endian number, if it has as many.
    pub counter: Option<u64>,
    /// Messages that this state knows of: decided by this revision or by those whose state it took over. A
    /// counter of decisions in the state must show this number.
    pub state_messages: u64,
}
