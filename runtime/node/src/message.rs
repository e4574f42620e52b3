//! Messages as an application sees them: what it asks for when it sends, and what it gets.

use std::time::Duration;

use bytes::Bytes;
use mesh_proto::policy::Class;
use mesh_proto::{MessageId, NodeId};

/// How a batch of messages is to be treated on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendOptions {
    /// The class asked for; a QoS policy may change it at every hop.
    pub class: Class,
    /// How long the messages are worth delivering; `None` takes the class's own time.
    pub ttl: Option<Duration>,
    /// Whether the call returns only after the messages are on this node's disk. Such messages survive a
    /// crash of every node that acknowledged them, and wait for a recipient that is away.
    pub durable: bool,
    /// How many hops they may take; `None` for 10 to a node and 64 to a topic.
    pub hop_limit: Option<u8>,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self { class: Class::Normal, ttl: None, durable: false, hop_limit: None }
    }
}

/// What became of a batch that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The first message's id; with one payload, the message's.
    pub first_id: MessageId,
    /// How many messages were taken over: as many as payloads, the sequence numbers following one another.
    pub count: usize,
    /// Whether they are on this node's disk.
    pub stored: bool,
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, the same on every node.
    pub id: MessageId,
    /// Who wrote it.
    pub origin: NodeId,
    /// The topic by name, or `None` when it was sent to this node.
    pub topic: Option<std::sync::Arc<str>>,
    /// The class at the last hop.
    pub class: Class,
    /// The origin's own number for it.
    pub seq: u64,
    /// Links it crossed; 0 from this node itself.
    pub hops: u8,
    /// When the origin wrote it, by the origin's clock, in milliseconds since 1970.
    pub sent_ms: u64,
    /// Its place in the inbox, to acknowledge it by; only for messages to this node.
    pub offset: Option<u64>,
    /// What was sent.
    pub payload: Bytes,
}

/// What to subscribe to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Messages on the topic of this name.
    Topic(String),
    /// Messages to this node.
    Inbox {
        /// The first offset wanted; `None` starts after the last acknowledged one.
        from_offset: Option<u64>,
    },
}

/// What a subscription hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Messages, in order of arrival.
    Batch(Vec<Message>),
    /// The subscriber was too slow, and this many messages were skipped. Never happens to an inbox.
    Gap {
        /// How many.
        lost: u64,
    },
}
