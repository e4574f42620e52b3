//! Answers about who is in the mesh, whether it lives, and how this node keeps in touch.

use std::collections::BTreeMap;

use mesh_proto::NodeId;
use serde::{Deserialize, Serialize};

use super::{Time, text};

/// A node of the mesh as this one knows it, from its signed record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// The node.
    #[serde(with = "text")]
    pub node: NodeId,
    /// The name that it gives itself.
    pub name: String,
    /// Whether it is the node that answers.
    pub this: bool,
    /// Whether it lives.
    pub state: MemberState,
    /// Seconds in this state, as far as this node has seen it.
    pub since_s: f64,
    /// When it was started last; a higher one is a new start.
    pub started: Time,
    /// Links that it says it has.
    pub links: u32,
    /// The version of its record: when it last changed what it says of itself.
    pub version: Time,
    /// Seconds since then.
    pub version_age_s: f64,
    /// For a neighbour: how suspicious its silence is, 0 to 16. See `--phi` of `meshctl up`.
    pub phi: Option<f64>,
    /// For a neighbour: seconds since it was last heard.
    pub heard_s: Option<f64>,
    /// Where it can be dialed.
    pub addrs: Vec<String>,
    /// What else it lets all know, by key: `slot.route` and the like name its plugins, `load` its use of a
    /// processor, `label.KEY` its operator's labels. Bytes that are no text are `hex:` and digits.
    pub published: BTreeMap<String, String>,
}

/// What is known of a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// It lives, as far as anybody knows.
    Alive,
    /// Neighbours of it say that it went silent; it can still refute it.
    Suspect,
    /// It went silent and did not refute it.
    Dead,
    /// It said that it leaves.
    Left,
}

impl From<mesh_proto::members::MemberState> for MemberState {
    fn from(state: mesh_proto::members::MemberState) -> MemberState {
        use mesh_proto::members::MemberState as Core;
        match state {
            Core::Alive => MemberState::Alive,
            Core::Suspect => MemberState::Suspect,
            Core::Dead => MemberState::Dead,
            Core::Left => MemberState::Left,
        }
    }
}

/// Members by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberCounts {
    /// Those that live, this node included.
    pub alive: u32,
    /// Those that went silent a moment ago.
    pub suspect: u32,
    /// Those that are taken for dead.
    pub dead: u32,
    /// Those that have left.
    pub left: u32,
    /// Whether the mesh is larger than what is known of it.
    pub sample: bool,
}

/// Whether this node reaches anybody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    /// The state in one word.
    pub state: ReachState,
    /// Seconds in it.
    pub since_s: f64,
    /// Dials in a row that led to nobody, of the address that was tried most often.
    pub failed_rounds: u32,
    /// Seconds until the next dial at the latest, while there is no link and somebody to dial.
    pub next_attempt_s: Option<f64>,
    /// What the last dial that failed led to.
    pub last_error: Option<String>,
}

/// Whether this node reaches anybody, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReachState {
    /// It has a link.
    Linked,
    /// It has no link, and knows of nobody to link to.
    Alone,
    /// It has no link, and dials.
    Recovering,
    /// It has no link, and dialed in vain ten times; it goes on every half minute.
    Offline,
}

/// A cut, as far as this side can tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Members that cannot be heard now.
    pub away: u32,
    /// Members in all, this node included; those who left are not counted.
    pub of: u32,
    /// Since when.
    pub since: Time,
}

/// How many links, how fast it beats: what the node was started with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TuningInfo {
    /// `adaptive`, `explicit` or `MIN..MAX`.
    pub links: String,
    /// Seconds between heartbeats.
    pub heartbeat_s: f64,
    /// How suspicious a silence must be before a neighbour is accused.
    pub phi: f64,
    /// Seconds that an accused node has to speak for itself.
    pub suspicion_s: f64,
    /// Seconds between rounds of gossip.
    pub gossip_s: f64,
    /// Seconds between looks at the number of links.
    pub rebalance_s: f64,
    /// Seconds until a missed broadcast is asked for.
    pub graft_s: f64,
    /// Seconds that offers of broadcasts are gathered.
    pub offer_s: f64,
    /// Nodes known, at most.
    pub members: u32,
}

/// Returns a published value as people read it.
pub(crate) fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => value.iter().fold("hex:".to_owned(), |text, byte| text + &format!("{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_text_only_if_it_is_text() {
        for (value, want) in
            [(&b"25 %"[..], "25 %"), (b"", ""), (b"\x01\xff", "hex:01ff"), (b"a\x1b[2J", "hex:611b5b324a")]
        {
            assert_eq!(shown(value), want);
        }
    }
}
