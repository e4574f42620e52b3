//! Transports: links that carry frames between two nodes that know each other's key.
//!
//! A [`Transport`] finds nothing, decides nothing about a frame's content and keeps no message: it opens
//! and accepts links, proves who is at the other end, cuts the byte stream of each lane into frames and
//! reports everything as [`TransportEvent`]s on one bounded channel. Which links to keep is the driver's
//! business.
//!
//! Every frame on the wire starts with a `u32` little-endian length of what follows. [`Transport::send`]
//! takes chunks that already contain these lengths (a chunk may hold many frames or a part of one);
//! [`TransportEvent::Frames`] hands out each frame without its length.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mesh_proto::NodeId;
use tokio::sync::mpsc;

mod framing;
mod link;
pub mod memory;
pub mod quic;

/// Largest frame on the control lane in bytes, its length field not counted.
pub const MAX_CONTROL_FRAME: usize = 64 * 1024;
/// Largest frame on a class lane in bytes, its length field not counted.
pub const MAX_FRAME: usize = 1024 * 1024;
/// Events that wait for the driver. When the channel is full the readers stop reading, and flow control
/// stops the peer; each event holds what one read brought, at most a read buffer and one frame.
pub const EVENTS: usize = 64;
/// Bytes that wait in a link before the driver should stop to pull from the core, so that what is urgent
/// overtakes in the core's queue and not behind this one.
pub const HIGH_WATER: usize = 256 * 1024;
/// Bytes at which a link that was full reports [`TransportEvent::Writable`].
pub const LOW_WATER: usize = 128 * 1024;
/// Bytes of chunks that a link takes at most: a full link plus one frame of the largest size.
pub const MAX_BUFFERED: usize = HIGH_WATER + MAX_FRAME + 4;
/// Bytes of a peer's closing reason that are kept.
pub const MAX_REASON: usize = 256;
/// Time that a graceful close waits for queued bytes to reach the peer.
pub const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Close code for "nothing is wrong"; the only one that lets queued bytes out first.
pub const CLOSE_OK: u32 = 0;
/// Close code by which a transport tells its peer that the framing was violated.
pub const CLOSE_VIOLATION: u32 = 0x4d46;
/// Close code of a transport that was dropped without a shutdown.
pub const CLOSE_GONE: u32 = 0x4d47;

/// A link, named for the life of the process: never reused, and distinct across all transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

impl LinkId {
    /// Returns a number that no link of this process has had.
    pub(crate) fn next() -> LinkId {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        assert_ne!(id, u32::MAX, "a process opens fewer than four billion links");
        LinkId(id)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A lane of a link: frames of one lane stay in order, lanes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u8);

impl Lane {
    /// Lanes of a link, one way.
    pub const COUNT: usize = 6;
    /// The lane of the protocol's own frames, ahead of all others.
    pub const CONTROL: Lane = Lane(0);
    /// The lanes in order of urgency: control, then the classes from most to least urgent.
    pub const ALL: [Lane; Lane::COUNT] = [Lane(0), Lane(1), Lane(2), Lane(3), Lane(4), Lane(5)];

    /// Returns lane `number`: 0 is control, 1 to 5 are the traffic classes from most to least urgent.
    pub const fn new(number: u8) -> Option<Lane> {
        if number < Lane::COUNT as u8 { Some(Lane(number)) } else { None }
    }

    /// Returns the lane of the traffic class at `index`, 0 being the most urgent of the five.
    pub const fn of_class(index: u8) -> Option<Lane> {
        if index < Lane::COUNT as u8 - 1 { Some(Lane(index + 1)) } else { None }
    }

    /// Returns the number of the lane, 0 to 5.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the largest frame of this lane in bytes, its length field not counted.
    pub const fn max_frame(self) -> usize {
        if self.0 == 0 { MAX_CONTROL_FRAME } else { MAX_FRAME }
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What happened on a transport. For one link: `Up` first, `Down` last, each exactly once.
#[derive(Debug)]
pub enum TransportEvent {
    /// A link is ready, and `peer` has proved that it holds its key.
    Up {
        /// The new link.
        link: LinkId,
        /// Who is at the other end.
        peer: NodeId,
        /// The remote address in this transport's form.
        addr: String,
        /// `Some` with the token of the call if this side dialled.
        dialed: Option<u64>,
    },
    /// Whole frames of one lane in order, as many as one read brought; never empty.
    ///
    /// The frames share their read buffer (up to 256 KiB): who keeps a small one for long copies it.
    Frames {
        /// The link that they came on.
        link: LinkId,
        /// The lane that they came on.
        lane: Lane,
        /// Each frame without its length field, type byte first.
        frames: Vec<Bytes>,
    },
    /// A link that had reached [`HIGH_WATER`] is below [`LOW_WATER`] again.
    Writable {
        /// The link with room.
        link: LinkId,
    },
    /// A link is gone. Everything that the peer got through has been reported before.
    Down {
        /// The link, which takes no call any more.
        link: LinkId,
        /// Who ended it, and why.
        reason: DownReason,
    },
    /// A call of [`Transport::dial`] came to nothing.
    DialFailed {
        /// The address as it was given.
        addr: String,
        /// The token of the call.
        token: u64,
        /// What went wrong.
        error: DialError,
    },
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// This side closed it.
    #[error("closed by this node (code {code})")]
    Local {
        /// The code given to [`Transport::close`].
        code: u32,
    },
    /// The peer closed it.
    #[error("closed by the peer (code {code}): {reason}")]
    Remote {
        /// The peer's code.
        code: u32,
        /// The peer's words, at most [`MAX_REASON`] bytes.
        reason: String,
    },
    /// Nothing came from the peer for the idle timeout.
    #[error("nothing was heard from the peer for too long")]
    TimedOut,
    /// The peer broke the framing. The link was closed with [`CLOSE_VIOLATION`].
    #[error("the peer broke the framing: {0}")]
    Violation(Violation),
    /// The transport below failed.
    #[error("the connection failed: {cause}")]
    Lost {
        /// What the transport said.
        cause: String,
    },
}

/// How a peer broke the framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A length field above the lane's limit.
    #[error("a frame of {len} bytes on lane {lane}, which carries at most {max}")]
    FrameTooLong {
        /// The lane's number.
        lane: u8,
        /// The length that was announced.
        len: usize,
        /// [`Lane::max_frame`].
        max: usize,
    },
    /// A frame without a type.
    #[error("an empty frame on lane {lane}")]
    EmptyFrame {
        /// The lane's number.
        lane: u8,
    },
    /// A lane that ended in the middle of a frame.
    #[error("lane {lane} ended in the middle of a frame")]
    TruncatedFrame {
        /// The lane's number.
        lane: u8,
    },
    /// A stream for a lane that does not exist.
    #[error("a stream for lane {lane}, which does not exist")]
    UnknownLane {
        /// The number that was announced.
        lane: u8,
    },
    /// A second stream for the same lane.
    #[error("a second stream for lane {lane}")]
    RepeatedLane {
        /// The lane's number.
        lane: u8,
    },
}

impl Violation {
    /// Returns a short name for counters.
    pub fn name(&self) -> &'static str {
        match self {
            Violation::FrameTooLong { .. } => "frame-too-long",
            Violation::EmptyFrame { .. } => "empty-frame",
            Violation::TruncatedFrame { .. } => "truncated-frame",
            Violation::UnknownLane { .. } => "unknown-lane",
            Violation::RepeatedLane { .. } => "repeated-lane",
        }
    }
}

/// Why a dial came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The text is no address of this transport.
    #[error("`{addr}` is not an address: {cause}")]
    BadAddress {
        /// The text as it was given.
        addr: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The name service does not know the host.
    #[error("the name {host} cannot be resolved: {cause}")]
    Unresolvable {
        /// The host part of the address.
        host: String,
        /// What the resolver said.
        cause: String,
    },
    /// No answer from any address of the host.
    #[error("no answer from {} within {} s", tried.join(", "), after.as_secs_f32())]
    TimedOut {
        /// The addresses that were tried.
        tried: Vec<String>,
        /// Time given to each.
        after: Duration,
    },
    /// Nobody listens there.
    #[error("nobody listens on {addr}")]
    NobodyThere {
        /// The address that answered so.
        addr: String,
    },
    /// The other side is there and takes no more links.
    #[error("{addr} takes no more connections now")]
    Refused {
        /// The address that refused.
        addr: String,
    },
    /// Somebody else has the address.
    #[error("expected node {} there, found {}", expected.short(), found.short())]
    WrongKey {
        /// The key that was asked for.
        expected: NodeId,
        /// The key that the other side proved, or claimed.
        found: NodeId,
    },
    /// The address is one of this node's own.
    #[error("the address leads back to this node itself")]
    OwnKey,
    /// The other side answered and no secure session came of it.
    #[error("{addr} answered, but no session could be agreed: {cause}")]
    Handshake {
        /// The address that answered.
        addr: String,
        /// What the handshake said.
        cause: String,
    },
    /// No socket of this node can reach addresses of this kind, or the system has no way to it.
    #[error("there is no way from here to {addr}: {cause}")]
    Unreachable {
        /// The address that was tried.
        addr: String,
        /// What the system said.
        cause: String,
    },
    /// This node has as many links as it may have.
    #[error("this node already has {max} links, which is its limit")]
    TooManyLinks {
        /// The limit.
        max: usize,
    },
    /// The transport has been shut down.
    #[error("this node is shutting down")]
    ShutDown,
}

/// Why a transport did not take chunks. None of them was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The link is gone or closing; its `Down` is under way.
    #[error("the link is gone")]
    Gone,
    /// More than [`MAX_BUFFERED`] bytes would wait: the caller did not look at [`Transport::buffered`].
    #[error("{buffered} bytes wait already and {more} more do not fit")]
    Full {
        /// Bytes that wait.
        buffered: usize,
        /// Bytes that were given.
        more: usize,
    },
}

/// A carrier of links. All calls return at once; what comes of them arrives as [`TransportEvent`]s on the
/// channel that the transport was built with (see [`events`]).
///
/// Calls that name a link which is gone do nothing: its `Down` is under way. The calls must be made inside
/// the tokio runtime that the transport was built in.
pub trait Transport: Send + Sync {
    /// Returns the short name of the transport, such as `quic`.
    fn scheme(&self) -> &'static str;

    /// Returns whether `addr` has the form of this transport's addresses.
    fn knows(&self, addr: &str) -> bool;

    /// Returns the addresses that others can dial, with real port numbers, in the form that `dial` takes.
    fn local_addrs(&self) -> Vec<String>;

    /// Opens a link to `addr`; with `expect`, only if that node is there. Ends in exactly one `Up` or
    /// `DialFailed` that carries `token`.
    fn dial(&self, addr: &str, expect: Option<NodeId>, token: u64);

    /// Queues `chunks`, which contain whole frames with their length fields, and starts to write them.
    ///
    /// # Errors
    /// Nothing was queued; see [`SendError`].
    fn send(&self, link: LinkId, lane: Lane, chunks: Vec<Bytes>) -> Result<(), SendError>;

    /// Returns the bytes that wait in the link, all lanes together; 0 for a link that is gone. The driver
    /// pulls from the core while this is below [`HIGH_WATER`], then waits for `Writable`.
    fn buffered(&self, link: LinkId) -> usize;

    /// Ends the link. With [`CLOSE_OK`] what is queued goes out first, within [`CLOSE_GRACE`]; any other
    /// code drops it. The peer sees `code` and the first [`MAX_REASON`] bytes of `reason`.
    fn close(&self, link: LinkId, code: u32, reason: &str);

    /// Returns the smoothed round-trip time, if the transport measures it.
    fn rtt(&self, link: LinkId) -> Option<Duration>;

    /// Returns the share of packets lost on the way to the peer since the last call for this link, in
    /// parts per million, if the transport measures it and anything was sent since.
    fn loss_ppm(&self, link: LinkId) -> Option<u32>;

    /// Stops to listen, ends all links as `close` with [`CLOSE_OK`] does, and returns when the last byte is
    /// out, at the latest a little after [`CLOSE_GRACE`]. The events of the end are still reported to who
    /// listens.
    fn shutdown(&self, reason: &str) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Sender of the driver's inbox for transports; one channel serves all of them.
pub type EventSender = mpsc::Sender<TransportEvent>;
/// Receiver of the driver's inbox for transports.
pub type EventReceiver = mpsc::Receiver<TransportEvent>;

/// Returns the channel, bounded by [`EVENTS`], on which transports report.
pub fn events() -> (EventSender, EventReceiver) {
    mpsc::channel(EVENTS)
}

/// Returns at most [`MAX_REASON`] bytes of `reason`, cut between characters.
pub(crate) fn cut_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON)]
}
