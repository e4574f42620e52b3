//! What goes into a node and what comes out of it: plain values, no behaviour.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use super::PublishError;
use crate::directory::{Dial, LinkPolicy};
use crate::frame::Violation;
use crate::id::{MessageId, NodeId, Peer, TopicId};
use crate::members::MemberState;
use crate::policy::Class;
use crate::queue::HeldKey;
use crate::run::{Dest, Flow, Run};
#[cfg(doc)]
use crate::seen::Window;
use crate::time::Instant;
use crate::topology::hierarchy::Why;
use crate::topology::{Profile, Role, Weights};
use crate::tuning::Tuning;

/// What a node is from its start to its end.
#[derive(Debug)]
pub struct Config {
    /// The identity.
    pub key: SigningKey,
    /// What people call it.
    pub name: String,
    /// The addresses that it can be dialed at.
    pub addrs: Vec<String>,
    /// This start, ms since 1970; must be above that of every earlier start of the same key.
    pub epoch: u64,
    /// Where randomness comes from; the same seed and inputs give the same outputs.
    pub seed: u64,
    /// Whom to link to.
    pub links: LinkPolicy,
    /// How fast it beats, how much it remembers.
    pub tuning: Tuning,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A link is up and its far end has proved to be `node`.
    LinkUp {
        /// The link's handle, never used before.
        peer: Peer,
        /// Who is there.
        node: NodeId,
        /// The address that was dialed, if this side dialed.
        dialed: Option<String>,
    },
    /// A link is gone.
    LinkDown {
        /// Which.
        peer: Peer,
    },
    /// Complete frames of one lane, without their lengths, in order.
    Frames {
        /// The link.
        peer: Peer,
        /// 0 control, 1 to 5 the classes.
        lane: u8,
        /// The frames.
        frames: Vec<Bytes>,
    },
    /// Let all know something about this node, or nothing any more, by key (see [`crate::record::Facts`]). What
    /// is over a limit is not taken; [`super::Node::own_record`] tells what was.
    SetState {
        /// The key, 1 to 32 bytes.
        key: String,
        /// The value.
        value: Option<Vec<u8>>,
    },
    /// Take part in the hierarchy as this, or no more: see [`crate::topology`]. What does not pass
    /// [`Profile::check`] changes nothing.
    SetProfile {
        /// What this node is.
        profile: Option<Profile>,
        /// How it weighs candidates for its parent.
        weights: Weights,
    },
    /// An [`Output::Dial`] did not lead to a link.
    DialFailed(Dial),
    /// Keep a link to this address.
    Seed(String),
    /// Messages from an application.
    Publish(Publish),
    /// An application wants a topic's messages.
    Subscribe(TopicId),
    /// No application wants them any more.
    Unsubscribe(TopicId),
    /// Measure the round trip to a node, over however many hops.
    Ping {
        /// Comes back in [`Output::Pong`].
        token: u64,
        /// Whom.
        to: NodeId,
    },
    /// Ask a node something that its core does not know: answered by [`Output::Answered`], or not at all.
    Ask {
        /// Comes back in the answer.
        token: u64,
        /// Whom.
        to: NodeId,
        /// What, at most [`MAX_QUESTION`](super::MAX_QUESTION) bytes.
        question: Bytes,
    },
    /// Answer an [`Output::Asked`].
    Answer {
        /// Who asked.
        to: NodeId,
        /// Of the question.
        nonce: u64,
        /// What, at most [`MAX_QUESTION`](super::MAX_QUESTION) bytes.
        answer: Bytes,
    },
    /// Everything up to this [`Output::Persist`] is on disk.
    Persisted {
        /// The ticket.
        ticket: u64,
    },
    /// A message that a store kept from an earlier start.
    RestoreHeld {
        /// Its key.
        key: HeldKey,
        /// Its bytes.
        bytes: Bytes,
    },
    /// More messages for `dest` stand in the store, from this key on: there were too many for one
    /// [`Output::Recall`].
    Spilled {
        /// For whom.
        dest: NodeId,
        /// The first key that was not given back.
        from: HeldKey,
    },
    /// A duplicate window that a store kept.
    RestoreSeen {
        /// The flow, as [`Flow::to_bytes`].
        flow: Bytes,
        /// The window, as [`Window::to_bytes`].
        window: Bytes,
    },
    /// An endpoint record that a store kept.
    RestoreRecord(Bytes),
    /// The policies were exchanged: show them the view again.
    PoliciesChanged,
    /// Another admission policy decides, or none: ask about all neighbours again.
    AdmissionChanged,
    /// The far end has closed the link because its admission policy does not want this node. A [`Input::LinkDown`]
    /// that follows changes nothing.
    Refused {
        /// The link.
        peer: Peer,
    },
}

/// Messages to publish, all to one destination.
#[derive(Debug)]
pub struct Publish {
    /// Comes back in [`Output::Accepted`] or [`Output::Refused`].
    pub token: u64,
    /// For whom.
    pub dest: Dest,
    /// The class asked for.
    pub class: Class,
    /// How long they matter, in ms; `None` for the class's own time.
    pub ttl_ms: Option<u64>,
    /// Hops they may take.
    pub hop_limit: u8,
    /// Say that they are accepted only when they are on disk. For nodes only.
    pub durable: bool,
    /// Whether the ids of all messages are wanted back; otherwise the first one's.
    pub want_ids: bool,
    /// The payloads.
    pub payloads: Vec<Bytes>,
}

/// Something to do.
#[derive(Debug)]
pub enum Output {
    /// Give the messages to the applications that want them.
    Deliver {
        /// The messages.
        run: Arc<Run>,
        /// Hops they took.
        hops: u8,
    },
    /// Write all of it in one transaction, then say [`Input::Persisted`] if there is a ticket.
    Persist {
        /// Rises by one each time; `None` when nothing waits for it to be on disk.
        ticket: Option<u64>,
        /// What to write.
        writes: Vec<Write>,
    },
    /// The messages were taken over; durable ones are on disk.
    Accepted {
        /// Of the [`Publish`].
        token: u64,
        /// The flow they belong to.
        flow: Flow,
        /// Their sequence numbers.
        seqs: Range<u64>,
        /// The id of each, or of the first.
        ids: Vec<MessageId>,
    },
    /// The messages were not taken over, none of them.
    Refused {
        /// Of the [`Publish`].
        token: u64,
        /// Why.
        error: PublishError,
    },
    /// Dial; answer with [`Input::LinkUp`] or [`Input::DialFailed`].
    Dial(Dial),
    /// Close the link; [`Input::LinkDown`] may follow or not.
    Disconnect {
        /// Which.
        peer: Peer,
        /// Why.
        reason: Disconnect,
    },
    /// Give back what the store keeps for `dest` from this key on, as [`Input::RestoreHeld`], once all
    /// writes so far are on disk; when it is more than fits into memory, end with [`Input::Spilled`].
    Recall {
        /// For whom.
        dest: NodeId,
        /// The first key.
        from: HeldKey,
    },
    /// A ping came back.
    Pong {
        /// Of the [`Input::Ping`].
        token: u64,
        /// The round trip in microseconds.
        rtt_us: u64,
        /// Hops there.
        hops: u8,
    },
    /// A node asks something; answer with [`Input::Answer`], or not at all.
    Asked {
        /// Who. Its signature was checked.
        from: NodeId,
        /// Goes back with the answer.
        nonce: u64,
        /// What: a stranger's bytes.
        question: Bytes,
    },
    /// The answer to an [`Input::Ask`], from the node that was asked.
    Answered {
        /// Of the question.
        token: u64,
        /// A stranger's bytes.
        answer: Bytes,
    },
    /// A neighbour has come.
    NeighbourUp {
        /// Its link.
        peer: Peer,
        /// Who.
        node: NodeId,
    },
    /// A neighbour has gone.
    NeighbourDown {
        /// Its link.
        peer: Peer,
        /// Who.
        node: NodeId,
    },
    /// What is known of a node's life has changed.
    Member {
        /// Who.
        node: NodeId,
        /// What is known now.
        state: MemberState,
    },
    /// A third of the mesh or more is gone: a cut, as far as this side can tell.
    Partitioned {
        /// Nodes that are taken for dead.
        away: usize,
    },
    /// Most of those who were gone are back.
    Merged {
        /// How many.
        back: usize,
    },
    /// This node has another parent in the hierarchy, or none any more.
    ParentChanged {
        /// The one before.
        old: Option<NodeId>,
        /// The one now.
        new: Option<NodeId>,
        /// Why.
        why: Why,
    },
    /// This node has another role in its cell.
    RoleChanged {
        /// Which.
        role: Role,
    },
    /// Another node leads this node's cell, or nobody does any more.
    LeaderElected {
        /// Who.
        leader: Option<NodeId>,
    },
}

/// Why a link is closed by this side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disconnect {
    /// The neighbour broke the protocol.
    #[error("{0}")]
    Violation(Violation),
    /// Another link to the same node is kept.
    #[error("another link to the same node is kept")]
    Duplicate,
    /// It did not answer for too long.
    #[error("no answer to pings")]
    Silent,
    /// A newcomer takes its place.
    #[error("a newcomer takes the place of this link")]
    MakesRoom,
    /// There are as many links as there may be.
    #[error("there are too many links")]
    TooManyLinks,
    /// The far end is this node itself.
    #[error("the far end is this node")]
    Oneself,
    /// It does not read what it is sent.
    #[error("the neighbour does not read")]
    Stuck,
    /// The admission policy does not want it.
    #[error("the admission policy of the node does not let it in")]
    NotAdmitted,
}

/// One change to what a store keeps.
#[derive(Clone, Debug)]
pub enum Write {
    /// Keep a message for a node.
    PutHeld {
        /// Its key; rises with time.
        key: HeldKey,
        /// For whom.
        dest: NodeId,
        /// Its bytes.
        bytes: Bytes,
    },
    /// The message was taken over by somebody else, or has expired.
    DeleteHeld {
        /// Its key.
        key: HeldKey,
        /// For whom.
        dest: NodeId,
    },
    /// Keep a duplicate window.
    PutSeen {
        /// The flow, as [`Flow::to_bytes`].
        flow: [u8; Flow::LEN],
        /// The window, as [`Window::to_bytes`].
        window: Vec<u8>,
    },
    /// All messages of the flow have expired.
    DeleteSeen {
        /// The flow.
        flow: [u8; Flow::LEN],
    },
    /// Keep an endpoint record.
    PutRecord {
        /// Whose.
        node: NodeId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Forget an endpoint record.
    DropRecord {
        /// Whose.
        node: NodeId,
    },
    /// Durable messages for this node: keep them until an application has taken them. They are delivered
    /// once the transaction is on disk; no [`Output::Deliver`] follows.
    Inbox {
        /// The messages.
        run: Arc<Run>,
        /// Hops they took.
        hops: u8,
    },
}

/// What to write to a link.
#[derive(Debug)]
pub struct Transmit {
    /// 0 control, 1 to 5 the classes.
    pub lane: u8,
    /// One frame with its length in front, in up to three pieces.
    pub chunks: [Bytes; 3],
}

/// What was counted since the start, in messages unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Taken from applications.
    pub published: u64,
    /// Given to applications here.
    pub delivered: u64,
    /// Received from neighbours and not seen before.
    pub received: u64,
    /// Handed to links, once a link.
    pub forwarded: u64,
    /// Received again.
    pub duplicates: u64,
    /// Dropped because their time was over.
    pub expired: u64,
    /// Dropped by a policy.
    pub dropped_by_policy: u64,
    /// Dropped at their hop limit.
    pub dropped_hop_limit: u64,
    /// Dropped because a queue or a recipient's store was full.
    pub dropped_full: u64,
    /// Dropped because they had to wait and the carry policy does not keep them.
    pub not_carried: u64,
    /// Dropped because their recipient restarted and may have had them.
    pub dropped_in_doubt: u64,
    /// Policy answers that the host overruled.
    pub clamped: u64,
    /// Exchanges of the parent in the hierarchy.
    pub parent_changes: u64,
    /// Changes of the role in the hierarchy.
    pub role_changes: u64,
    /// Links that the admission policy did not let in, or ended.
    pub not_admitted: u64,
    /// Dials that the admission policy did not want.
    pub not_dialed: u64,
    /// Frames of optional types that were skipped.
    pub skipped_frames: u64,
    /// Frames received, of any kind.
    pub frames: u64,
    /// Violations by name.
    pub violations: BTreeMap<&'static str, u64>,
}

/// How much a node keeps, each beside its bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Name, present size, bound.
    pub rows: Vec<(&'static str, usize, usize)>,
}

impl Gauges {
    /// Returns the first one that is above its bound.
    pub fn over(&self) -> Option<(&'static str, usize, usize)> {
        self.rows.iter().find(|(_, size, bound)| size > bound).copied()
    }
}

/// A neighbour as users see it.
#[derive(Clone, Debug)]
pub struct NeighbourInfo {
    /// The link.
    pub peer: Peer,
    /// Who.
    pub node: NodeId,
    /// Smoothed round trip, once measured.
    pub rtt_us: Option<u32>,
    /// Waiting bytes by class.
    pub queued_bytes: [usize; 5],
    /// When it was last heard.
    pub heard: Instant,
}
