//! Frames: what neighbours say to each other on a link. Layout tables stand in `docs/wire.md`.
//!
//! A transport hands over one frame at a time, without the length in front. A frame starts with its type;
//! types from 128 up may be skipped by a node that does not know them, the others may not.

use std::sync::Arc;

use bytes::Bytes;

use crate::accusation::Accusation;
use crate::id::{NodeId, TopicId};
use crate::record::Record;
use crate::run::Flow;
use crate::verified::Verified;
use crate::wire::Reader;

/// The version that a hello offers; only equal versions talk.
pub const VERSION: u16 = 3;

/// Bytes of a frame on a class lane, at most.
pub const MAX_FRAME: usize = 1024 * 1024;

/// Bytes of a frame on the control lane, at most.
pub const MAX_CONTROL_FRAME: usize = 64 * 1024;

/// Rows of a list in one frame, at most; more go into the next frame.
pub const MAX_ROWS: usize = 512;

/// Carries messages; see [`crate::run::Run`].
pub const RUN: u8 = 0x10;

const HELLO: u8 = 0x01;
const PING: u8 = 0x02;
const PONG: u8 = 0x03;
const ACK: u8 = 0x04;
const RECORDS: u8 = 0x05;
const ROUTES: u8 = 0x06;
const SEQNO_REQUEST: u8 = 0x07;
const PRUNE: u8 = 0x08;
const GRAFT: u8 = 0x09;
const IHAVE: u8 = 0x0a;
const GOODBYE: u8 = 0x0b;
const DIGEST: u8 = 0x0c;
const VERSIONS: u8 = 0x0d;
const WANT: u8 = 0x0e;
const PART: u8 = 0x0f;
const LINKS: u8 = 0x11;
const HEARTBEAT: u8 = 0x12;
const ACCUSATIONS: u8 = 0x13;
const WAY_REQUEST: u8 = 0x14;
const SHUFFLE: u8 = 0x15;
const INTRODUCE: u8 = 0x16;
const OPTIONAL: u8 = 0x80;
const MAGIC: [u8; 4] = *b"MESH";

/// What a neighbour did wrong. The link is closed, the violation counted; nothing else happens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The frame ends before its fields do.
    #[error("the frame is truncated")]
    Truncated,
    /// Bytes follow the last field.
    #[error("{len} bytes follow the last field")]
    TrailingBytes {
        /// How many.
        len: usize,
    },
    /// A type that must be known is not.
    #[error("unknown frame type {kind:#04x}")]
    UnknownFrame {
        /// The type byte.
        kind: u8,
    },
    /// A length is over its limit.
    #[error("{len} exceeds the limit of {max}")]
    TooLong {
        /// What was announced.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A field has a value that it cannot have.
    #[error("the field {field} has an impossible value")]
    BadField {
        /// Its name in docs/wire.md.
        field: &'static str,
    },
    /// A text is not UTF-8 or has control characters.
    #[error("a text is not printable UTF-8")]
    BadText,
    /// A signature does not verify.
    #[error("a signature does not verify")]
    BadSignature,
    /// The neighbour speaks another version.
    #[error("the neighbour speaks version {theirs}, this node {VERSION}")]
    OtherVersion {
        /// What it offered.
        theirs: u16,
    },
    /// Something came before the hello, or a second hello.
    #[error("a frame came before the hello, or a second hello")]
    NotGreeted,
    /// A frame came on a lane where it may not.
    #[error("the frame is on the wrong lane")]
    WrongLane,
    /// More is under way than the window allows.
    #[error("more is under way than the window allows")]
    WindowExceeded,
    /// An acknowledgement for what was never sent.
    #[error("an acknowledgement for what was never sent")]
    BadAck,
}

impl Violation {
    /// Returns a short name for counters and close reasons.
    pub fn name(&self) -> &'static str {
        match self {
            Violation::Truncated => "truncated",
            Violation::TrailingBytes { .. } => "trailing-bytes",
            Violation::UnknownFrame { .. } => "unknown-frame",
            Violation::TooLong { .. } => "too-long",
            Violation::BadField { .. } => "bad-field",
            Violation::BadText => "bad-text",
            Violation::BadSignature => "bad-signature",
            Violation::OtherVersion { .. } => "other-version",
            Violation::NotGreeted => "not-greeted",
            Violation::WrongLane => "wrong-lane",
            Violation::WindowExceeded => "window-exceeded",
            Violation::BadAck => "bad-ack",
        }
    }
}

/// One way to a node, as a neighbour tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub node: NodeId,
    /// The destination's own counter; a higher one is fresher.
    pub seqno: u32,
    /// The cost in microseconds; `u32::MAX` withdraws the way.
    pub cost_us: u32,
    /// Hops from the teller; 0 is the teller itself.
    pub hops: u8,
}

/// A range of messages of a topic, by which neighbours offer and ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who wrote them.
    pub origin: NodeId,
    /// The origin's start.
    pub epoch: u64,
    /// The first sequence number.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// Hops that they would have behind them at the receiver.
    pub hops: u8,
}

impl Offer {
    /// Returns the flow, given its destination.
    pub(crate) fn flow(&self, dest: crate::run::Dest) -> Flow {
        Flow { origin: self.origin, epoch: self.epoch, dest }
    }
}

/// Sums over versions by the first half byte of the node id: equal sums, equal knowledge.
pub type Digest = [u64; 16];

/// A frame of the control lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The first frame of either side.
    Hello {
        /// The sender's start, ms since 1970.
        epoch: u64,
        /// How often it will send a heartbeat, in ms.
        heartbeat_ms: u32,
        /// It knows the mesh by a sample, because it is large.
        samples: bool,
    },
    /// Asks for a pong.
    Ping {
        /// Any number.
        nonce: u64,
    },
    /// Answers a ping.
    Pong {
        /// The ping's number.
        nonce: u64,
    },
    /// Runs dealt with on this link since it came up, by class; wraps.
    Ack {
        /// One count a class.
        runs: [u32; 5],
    },
    /// What nodes say of themselves.
    Records(Vec<Arc<Record>>),
    /// A few of the nodes that the sender knows, itself among them, because the mesh is too large to know all.
    Shuffle(Vec<Arc<Record>>),
    /// What the sender knows, summed up.
    Digest(Digest),
    /// All versions that the sender knows of nodes from `first` to `last`.
    Versions {
        /// The lowest id that it speaks of.
        first: NodeId,
        /// The highest.
        last: NodeId,
        /// Node and version, ids rising.
        rows: Vec<(NodeId, u64)>,
    },
    /// Asks for these nodes' records.
    Want(Vec<NodeId>),
    /// Asks the other side to close this link in peace.
    Part(Parting),
    /// Whom the sender has links to now.
    Links(Vec<NodeId>),
    /// The sender lives.
    Heartbeat {
        /// Rises by one.
        count: u32,
    },
    /// Neighbours that went silent.
    Accusations(Vec<Accusation>),
    /// Ways that changed.
    Routes(Vec<Route>),
    /// Asks for a fresher way to a node.
    SeqnoRequest {
        /// The destination.
        node: NodeId,
        /// The counter wanted.
        seqno: u32,
        /// Hops that the request may take.
        hops: u8,
    },
    /// Asks for a link to a node, so that the sender can let one of the two go.
    Introduce {
        /// Whom to link to.
        node: NodeId,
    },
    /// Asks for a way to a node, and for all its changes for a while.
    WayRequest {
        /// The destination.
        node: NodeId,
        /// Hops that the request may take.
        hops: u8,
    },
    /// Asks not to be sent the topic's messages unasked.
    Prune {
        /// The topic; all zero for the whole mesh.
        topic: TopicId,
    },
    /// Asks for messages of the topic.
    Graft {
        /// The topic.
        topic: TopicId,
        /// For these alone, and not for all later ones.
        once: bool,
        /// What is missing.
        offers: Vec<Offer>,
    },
    /// Offers messages of the topic.
    IHave {
        /// The topic.
        topic: TopicId,
        /// What is there.
        offers: Vec<Offer>,
    },
    /// The sender stops in an orderly way: what it has not acknowledged, it has not taken.
    Goodbye,
}

/// Why a neighbour is asked to close a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// There are enough links, and the graph is connected without this one.
    Enough,
    /// There are too many links; the records that came before are alternatives.
    Full,
}

impl Control {
    /// Reads a frame; `None` when it is of a type that may be skipped.
    ///
    /// # Errors
    /// The violation that its sender committed.
    pub fn decode(frame: &Bytes) -> Result<Option<Control>, Violation> {
        Control::decode_known(frame, &Verified::default())
    }

    /// The same; records that `memo` knows are not read again.
    pub(crate) fn decode_known(frame: &Bytes, memo: &Verified) -> Result<Option<Control>, Violation> {
        let mut reader = Reader(frame);
        let kind = reader.u8()?;
        let control = match kind {
            HELLO => read_hello(&mut reader)?,
            PING => Control::Ping { nonce: reader.u64()? },
            PONG => Control::Pong { nonce: reader.u64()? },
            ACK => {
                let mut runs = [0; 5];
                for count in &mut runs {
                    *count = reader.u32()?;
                }
                Control::Ack { runs }
            }
            RECORDS => Control::Records(rows(&mut reader, |r| Record::read_known(r, memo))?),
            SHUFFLE => Control::Shuffle(rows(&mut reader, |r| Record::read_known(r, memo))?),
            DIGEST => {
                let mut sums = Digest::default();
                for sum in &mut sums {
                    *sum = reader.u64()?;
                }
                Control::Digest(sums)
            }
            VERSIONS => Control::Versions {
                first: NodeId(reader.array()?),
                last: NodeId(reader.array()?),
                rows: rows(&mut reader, |r| Ok((NodeId(r.array()?), r.u64()?)))?,
            },
            WANT => Control::Want(rows(&mut reader, |r| r.array().map(NodeId))?),
            PART => Control::Part(match reader.u8()? {
                0 => Parting::Enough,
                1 => Parting::Full,
                _ => return Err(Violation::BadField { field: "reason" }),
            }),
            LINKS => Control::Links(rows(&mut reader, |r| r.array().map(NodeId))?),
            HEARTBEAT => Control::Heartbeat { count: reader.u32()? },
            ACCUSATIONS => Control::Accusations(rows(&mut reader, Accusation::read)?),
            ROUTES => Control::Routes(rows(&mut reader, read_route)?),
            SEQNO_REQUEST => Control::SeqnoRequest {
                node: NodeId(reader.array()?),
                seqno: reader.u32()?,
                hops: reader.u8()?,
            },
            INTRODUCE => Control::Introduce { node: NodeId(reader.array()?) },
            WAY_REQUEST => Control::WayRequest { node: NodeId(reader.array()?), hops: reader.u8()? },
            PRUNE => Control::Prune { topic: TopicId(reader.array()?) },
            GRAFT => {
                let topic = TopicId(reader.array()?);
                let once = match reader.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Violation::BadField { field: "once" }),
                };
                Control::Graft { topic, once, offers: rows(&mut reader, read_offer)? }
            }
            IHAVE => {
                let topic = TopicId(reader.array()?);
                Control::IHave { topic, offers: rows(&mut reader, read_offer)? }
            }
            GOODBYE => Control::Goodbye,
            RUN => return Err(Violation::WrongLane),
            OPTIONAL.. => return Ok(None),
            kind => return Err(Violation::UnknownFrame { kind }),
        };
        reader.end()?;
        Ok(Some(control))
    }

    /// Returns the frame with its length in front. Lists have at most [`MAX_ROWS`] rows.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(4 + self.room());
        out.extend_from_slice(&[0; 4]);
        match self {
            Control::Hello { epoch, heartbeat_ms, samples } => {
                out.push(HELLO);
                out.extend_from_slice(&MAGIC);
                out.extend_from_slice(&VERSION.to_le_bytes());
                out.extend_from_slice(&epoch.to_le_bytes());
                out.extend_from_slice(&heartbeat_ms.to_le_bytes());
                out.push(u8::from(*samples));
            }
            Control::Ping { nonce } => put_u64(&mut out, PING, *nonce),
            Control::Pong { nonce } => put_u64(&mut out, PONG, *nonce),
            Control::Ack { runs } => {
                out.push(ACK);
                out.extend(runs.iter().flat_map(|count| count.to_le_bytes()));
            }
            Control::Records(records) => {
                out.push(RECORDS);
                put_rows(&mut out, records, |record, out| record.put(out));
            }
            Control::Shuffle(records) => {
                out.push(SHUFFLE);
                put_rows(&mut out, records, |record, out| record.put(out));
            }
            Control::Digest(sums) => {
                out.push(DIGEST);
                out.extend(sums.iter().flat_map(|sum| sum.to_le_bytes()));
            }
            Control::Versions { first, last, rows } => {
                out.push(VERSIONS);
                out.extend_from_slice(&first.0);
                out.extend_from_slice(&last.0);
                put_rows(&mut out, rows, |(node, version), out| {
                    out.extend_from_slice(&node.0);
                    out.extend_from_slice(&version.to_le_bytes());
                });
            }
            Control::Want(nodes) => put_nodes(&mut out, WANT, nodes),
            Control::Part(reason) => out.extend([PART, u8::from(*reason == Parting::Full)]),
            Control::Links(nodes) => put_nodes(&mut out, LINKS, nodes),
            Control::Heartbeat { count } => {
                out.push(HEARTBEAT);
                out.extend_from_slice(&count.to_le_bytes());
            }
            Control::Accusations(accusations) => {
                out.push(ACCUSATIONS);
                put_rows(&mut out, accusations, Accusation::put);
            }
            Control::Routes(routes) => {
                out.push(ROUTES);
                put_rows(&mut out, routes, put_route);
            }
            Control::SeqnoRequest { node, seqno, hops } => {
                out.push(SEQNO_REQUEST);
                out.extend_from_slice(&node.0);
                out.extend_from_slice(&seqno.to_le_bytes());
                out.push(*hops);
            }
            Control::Introduce { node } => {
                out.push(INTRODUCE);
                out.extend_from_slice(&node.0);
            }
            Control::WayRequest { node, hops } => {
                out.push(WAY_REQUEST);
                out.extend_from_slice(&node.0);
                out.push(*hops);
            }
            Control::Prune { topic } => {
                out.push(PRUNE);
                out.extend_from_slice(&topic.0);
            }
            Control::Graft { topic, once, offers } => {
                out.push(GRAFT);
                out.extend_from_slice(&topic.0);
                out.push(u8::from(*once));
                put_rows(&mut out, offers, put_offer);
            }
            Control::IHave { topic, offers } => {
                out.push(IHAVE);
                out.extend_from_slice(&topic.0);
                put_rows(&mut out, offers, put_offer);
            }
            Control::Goodbye => out.push(GOODBYE),
        }
        let len = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&len.to_le_bytes());
        out.into()
    }
}

impl Control {
    /// Returns how many bytes it takes, about: enough for one allocation.
    fn room(&self) -> usize {
        match self {
            Control::Ack { .. } => 1 + 20,
            Control::Records(records) | Control::Shuffle(records) => {
                3 + records.iter().map(|record| record.size()).sum::<usize>()
            }
            Control::Digest(_) => 1 + 128,
            Control::Versions { rows, .. } => 1 + 64 + 2 + 40 * rows.len(),
            Control::Want(nodes) | Control::Links(nodes) => 3 + 32 * nodes.len(),
            Control::Accusations(rows) => 3 + 136 * rows.len(),
            Control::Routes(routes) => 3 + 41 * routes.len(),
            Control::Graft { offers, .. } | Control::IHave { offers, .. } => 1 + 32 + 2 + 53 * offers.len(),
            Control::Heartbeat { .. } => 5,
            Control::Ping { .. } | Control::Pong { .. } => 9,
            Control::Part(_) => 2,
            _ => 40,
        }
    }
}

fn read_hello(reader: &mut Reader<'_>) -> Result<Control, Violation> {
    if reader.array()? != MAGIC {
        return Err(Violation::BadField { field: "magic" });
    }
    let theirs = reader.u16()?;
    if theirs != VERSION {
        return Err(Violation::OtherVersion { theirs });
    }
    let (epoch, heartbeat_ms) = (reader.u64()?, reader.u32()?);
    let samples = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(Violation::BadField { field: "flags" }),
    };
    Ok(Control::Hello { epoch, heartbeat_ms, samples })
}

fn rows<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Violation>,
) -> Result<Vec<T>, Violation> {
    let count = usize::from(reader.u16()?);
    if count > MAX_ROWS {
        return Err(Violation::TooLong { len: count, max: MAX_ROWS });
    }
    // Grows with what is really there: the count alone allocates nothing.
    let mut out = Vec::new();
    for _ in 0..count {
        out.push(read(reader)?);
    }
    Ok(out)
}

fn put_rows<T>(out: &mut Vec<u8>, rows: &[T], put: impl Fn(&T, &mut Vec<u8>)) {
    debug_assert!(rows.len() <= MAX_ROWS, "lists are cut before they are encoded");
    out.extend_from_slice(&(rows.len() as u16).to_le_bytes());
    for row in rows {
        put(row, out);
    }
}

fn put_nodes(out: &mut Vec<u8>, kind: u8, nodes: &[NodeId]) {
    out.push(kind);
    put_rows(out, nodes, |node, out| out.extend_from_slice(&node.0));
}

fn put_u64(out: &mut Vec<u8>, kind: u8, value: u64) {
    out.push(kind);
    out.extend_from_slice(&value.to_le_bytes());
}

fn read_route(reader: &mut Reader<'_>) -> Result<Route, Violation> {
    Ok(Route {
        node: NodeId(reader.array()?),
        seqno: reader.u32()?,
        cost_us: reader.u32()?,
        hops: reader.u8()?,
    })
}

fn put_route(route: &Route, out: &mut Vec<u8>) {
    out.extend_from_slice(&route.node.0);
    out.extend_from_slice(&route.seqno.to_le_bytes());
    out.extend_from_slice(&route.cost_us.to_le_bytes());
    out.push(route.hops);
}

fn read_offer(reader: &mut Reader<'_>) -> Result<Offer, Violation> {
    let offer = Offer {
        origin: NodeId(reader.array()?),
        epoch: reader.u64()?,
        first: reader.u64()?,
        count: reader.u32()?,
        hops: reader.u8()?,
    };
    let fits = offer.count > 0 && offer.first.checked_add(offer.count.into()).is_some();
    if fits { Ok(offer) } else { Err(Violation::BadField { field: "offer" }) }
}

fn put_offer(offer: &Offer, out: &mut Vec<u8>) {
    out.extend_from_slice(&offer.origin.0);
    out.extend_from_slice(&offer.epoch.to_le_bytes());
    out.extend_from_slice(&offer.first.to_le_bytes());
    out.extend_from_slice(&offer.count.to_le_bytes());
    out.push(offer.hops);
}

#[cfg(test)]
mod tests;
