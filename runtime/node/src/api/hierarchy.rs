//! Questions and answers about the hierarchy: what a node says of itself, and why its parent is its parent.

use mesh_proto::NodeId;
use serde::{Deserialize, Serialize};

use super::plugin::ChosenBy;
use super::text;

/// What a node says of itself for the hierarchy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileInfo {
    /// `platform`, `squad`, `platoon` or `company`.
    pub level: String,
    /// The group at its level that it belongs to.
    pub cell: String,
    /// How it comes to its role: `dynamic`, `static` or `hybrid`.
    pub strategy: String,
    /// The role it was told: `leader`, `member` or `standalone`; `None` with `dynamic`.
    pub told_role: Option<String>,
    /// `static`, `semi-mobile` or `mobile`.
    pub mobility: String,
    /// Percent of its battery; `None` on mains.
    pub battery_percent: Option<u8>,
    /// Percent of its processors in use.
    pub cpu_used_percent: u8,
    /// Percent of its memory in use.
    pub memory_used_percent: u8,
    /// Its processors.
    pub cores: u16,
    /// Its memory in MB.
    pub memory_mb: u32,
    /// What it can send, in Mbit/s.
    pub uplink_mbps: u32,
    /// Degrees north and east; `None` when it is not known.
    pub position: Option<(f64, f64)>,
    /// Children that it takes.
    pub max_children: u16,
}

/// What is to be different in a node's profile; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProfileChange {
    /// As [`ProfileInfo::level`].
    pub level: Option<String>,
    /// As [`ProfileInfo::cell`].
    pub cell: Option<String>,
    /// As [`ProfileInfo::strategy`].
    pub strategy: Option<String>,
    /// As [`ProfileInfo::told_role`].
    pub told_role: Option<String>,
    /// As [`ProfileInfo::mobility`].
    pub mobility: Option<String>,
    /// Percent of the battery.
    pub battery_percent: Option<u8>,
    /// The node is on mains now.
    pub mains: bool,
    /// As [`ProfileInfo::cpu_used_percent`].
    pub cpu_used_percent: Option<u8>,
    /// As [`ProfileInfo::memory_used_percent`].
    pub memory_used_percent: Option<u8>,
    /// As [`ProfileInfo::cores`].
    pub cores: Option<u16>,
    /// As [`ProfileInfo::memory_mb`].
    pub memory_mb: Option<u32>,
    /// As [`ProfileInfo::uplink_mbps`].
    pub uplink_mbps: Option<u32>,
    /// As [`ProfileInfo::position`].
    pub position: Option<(f64, f64)>,
    /// As [`ProfileInfo::max_children`]; when absent, what a new preset of weights says.
    pub max_children: Option<u16>,
    /// The preset of weights: `default`, `tactical` or `distributed`.
    pub weights: Option<String>,
}

impl ProfileChange {
    /// Says whether nothing is to be different.
    pub fn is_empty(&self) -> bool {
        *self == ProfileChange::default()
    }
}

/// How a node weighs candidates for its parent, in permille.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsInfo {
    /// The preset.
    pub name: String,
    /// Of standing still.
    pub mobility: u32,
    /// Of free processors and memory.
    pub resources: u32,
    /// Of the battery.
    pub battery: u32,
    /// Of being near.
    pub proximity: u32,
    /// Metres to a parent, at most; `None` for any distance.
    pub max_distance_m: Option<u32>,
}

/// A profile that was changed, or would be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileReport {
    /// What the node said of itself before; `None` when it took no part.
    pub before: Option<ProfileInfo>,
    /// What it says from now on.
    pub after: Option<ProfileInfo>,
    /// How it weighs candidates for its parent.
    pub weights: WeightsInfo,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

/// A node's place in the hierarchy, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HierarchyReport {
    /// What the node says of itself; `None` when it takes no part, and then the rest is empty.
    pub profile: Option<ProfileInfo>,
    /// How it weighs candidates for its parent.
    pub weights: WeightsInfo,
    /// `leader`, `member` or `standalone`.
    pub role: String,
    /// Who leads its cell.
    pub leader: Option<NamedNode>,
    /// Its parent.
    pub parent: Option<ParentInfo>,
    /// Other nodes of its cell that it would turn to, those with links first.
    pub lateral: Vec<NamedNode>,
    /// Seconds until everything is looked at again without any news.
    pub next_look_s: f64,
    /// Who could be its parent, the best first, and why not.
    pub candidates: Vec<CandidateRow>,
    /// Who could lead its cell, itself included.
    pub contenders: Vec<ContenderRow>,
    /// Who scored the candidates.
    pub chosen_by: ChosenBy,
}

/// A node and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNode {
    /// The node.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its name, if known.
    pub name: Option<String>,
}

/// The parent of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParentInfo {
    /// The node.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its name, if known.
    pub name: Option<String>,
    /// Seconds since it became the parent.
    pub since_s: f64,
    /// Whether there is a link to it.
    pub linked: bool,
}

/// A node that could be the parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateRow {
    /// The node.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its name, if known.
    pub name: Option<String>,
    /// Its level.
    pub level: String,
    /// What the slot gave, 0 to 1000; `None` when it was not asked.
    pub score: Option<u32>,
    /// What the native built-in sees in it.
    pub parts: ScoreParts,
    /// Metres to it, if both positions are known.
    pub distance_m: Option<u32>,
    /// Children that it has, the node that answers excepted.
    pub children: u32,
    /// What became of it, such as `parent`, `behind`, `within-margin`, `unfit`.
    pub verdict: String,
    /// The same in a few words.
    pub reason: String,
}

/// The arithmetic of the native built-in: each part in permille, and their weighted sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreParts {
    /// Standing still.
    pub mobility: u32,
    /// Free processors and memory.
    pub resources: u32,
    /// The battery.
    pub battery: u32,
    /// Being near.
    pub proximity: u32,
    /// The weighted sum.
    pub total: u32,
}

/// A node that could lead the cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContenderRow {
    /// The node.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its name, if known.
    pub name: Option<String>,
    /// What its strategy is worth, 0 to 4; it goes before any score.
    pub rank: u8,
    /// Its score in the election, 0 to 1000.
    pub score: u32,
    /// Whether it says that it leads.
    pub leads: bool,
}
