//! The shape in which an admission policy is asked. Decides nothing.

use crate::id::NodeId;
use crate::members::MemberState;

/// Rows of one call, at most; what is beyond is asked about in another one.
pub const MAX_VISITORS: usize = 64;

/// How a link comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approach {
    /// The other node has made it.
    Inbound,
    /// This node would make it.
    Outbound,
    /// It is there; the node says something new of itself, or another policy asks.
    Standing,
}

/// A node at the far end of a link, or of one that could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// Its public key.
    pub node: NodeId,
    /// What it calls itself; empty while nothing is known of it.
    pub name: String,
    /// What it says of itself, ordered by key.
    pub labels: Vec<(String, String)>,
    /// What this node takes it for; `None` when it is not known.
    pub health: Option<MemberState>,
    /// How the link comes about.
    pub approach: Approach,
}

/// The node that asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Links that it has.
    pub links: u32,
    /// Links that it wants, at least.
    pub least: u32,
    /// Links that it keeps, at most.
    pub most: u32,
    /// Nodes that it knows, itself included.
    pub members: u32,
}
