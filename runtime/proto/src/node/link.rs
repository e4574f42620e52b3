//! One neighbour: its queue, its round-trip time, and the acknowledgements owed to it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::accusation::Accusation;
use crate::detector::Detector;
use crate::frame::{Control, Violation};
use crate::id::NodeId;
use crate::policy::Class;
use crate::queue::{Item, Outgoing, WINDOW_BYTES, give_back};
use crate::time::Instant;

/// Bytes of control frames that may wait for one neighbour; one that reads so little is let go.
pub(super) const CONTROL_BYTES: usize = 4 * 1024 * 1024;
/// Received bytes after which an acknowledgement is due at once.
const ACK_BYTES: usize = WINDOW_BYTES / 16;
/// How long an acknowledgement may wait for company.
const ACK_AFTER: Duration = Duration::from_millis(20);
/// Nobody waits for so little room: its acknowledgement goes along with the next heartbeat.
const ACK_LITTLE: usize = 8 * 1024;
/// What may come beyond the window: the run that closed it.
const WINDOW_SLACK: usize = crate::frame::MAX_FRAME;

/// Records that one neighbour is told between two sweeps, at most, beside news: a newcomer and a part of the mesh that
/// was cut off catch up without a storm.
pub(super) const ALLOWANCE: usize = 512;
/// Bytes of news that one neighbour is told between two sweeps, at most: a dozen records. More waits, so that a mesh
/// that grows together after a cut does not drown itself (faults.md N08).
pub(super) const NEWS_BYTES: usize = 4 * 1024;

/// Runs that came on one lane and are not acknowledged, oldest first.
#[derive(Debug, Default)]
struct Incoming {
    open: VecDeque<(bool, usize)>,
    bytes: usize,
    /// The number of the first in `open`; the count to acknowledge.
    first: u32,
}

impl Incoming {
    fn settle(&mut self, number: u32) -> usize {
        let at = number.wrapping_sub(self.first) as usize;
        if let Some((done, _)) = self.open.get_mut(at) {
            *done = true;
        }
        let mut freed = 0;
        while let Some((true, cost)) = self.open.front().copied() {
            self.open.pop_front();
            self.first = self.first.wrapping_add(1);
            freed += cost;
        }
        self.bytes -= freed;
        freed
    }
}

#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) node: NodeId,
    pub(super) dialed: bool,
    /// When it came, or said hello.
    pub(super) since: Instant,
    pub(super) queue: Outgoing,
    /// When something last left the queue.
    pub(super) moved: Instant,
    /// How regular it is, and when a frame last came.
    pub(super) detector: Detector,
    /// Whom it says it has links to.
    pub(super) others: Vec<NodeId>,
    /// Others say that it went silent; that counts when this node finds so too.
    pub(super) accused: Vec<Accusation>,
    /// It was asked to close this link, then.
    pub(super) parting: Option<Instant>,
    /// Something may have come that it can be sent.
    pub(super) is_ready: bool,
    /// It says that it knows the mesh by a sample.
    pub(super) samples: bool,
    /// Records that it may still be told until the next sweep.
    pub(super) allowance: usize,
    /// Bytes of news that it may still be told until the next sweep.
    pub(super) news_bytes: usize,
    /// It said goodbye: what it did not acknowledge it did not take.
    pub(super) leaving: bool,
    epoch: Option<u64>,
    control: VecDeque<Bytes>,
    control_bytes: usize,
    rtt_us: Option<u32>,
    ping: Option<(u64, Instant)>,
    /// Made when something first comes by them.
    lanes: [Option<Box<Incoming>>; 5],
    unsaid_bytes: usize,
    ack_due: Option<Instant>,
    ack_now: bool,
}

impl Neighbour {
    pub(super) fn new(now: Instant, node: NodeId, dialed: bool, heartbeat: Duration) -> Neighbour {
        Neighbour {
            node,
            dialed,
            since: now,
            queue: Outgoing::default(),
            moved: now,
            detector: Detector::new(now, heartbeat),
            others: Vec::new(),
            accused: Vec::new(),
            parting: None,
            is_ready: true,
            samples: false,
            allowance: ALLOWANCE,
            news_bytes: NEWS_BYTES,
            leaving: false,
            epoch: None,
            control: VecDeque::new(),
            control_bytes: 0,
            rtt_us: None,
            ping: None,
            lanes: Default::default(),
            unsaid_bytes: 0,
            ack_due: None,
            ack_now: false,
        }
    }

    pub(super) fn is_greeted(&self) -> bool {
        self.epoch.is_some()
    }

    pub(super) fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    pub(super) fn greet(&mut self, now: Instant, epoch: u64, heartbeat: Duration) {
        self.epoch = Some(epoch);
        self.since = now;
        self.detector = Detector::new(now, heartbeat);
    }

    /// It closes, or was asked to close, this link in peace: its end says nothing about its life.
    pub(super) fn ends_in_peace(&self) -> bool {
        self.leaving || self.parting.is_some()
    }

    pub(super) fn say(&mut self, control: &Control) {
        self.say_encoded(control.encode());
    }

    pub(super) fn say_encoded(&mut self, frame: Bytes) {
        self.is_ready = true;
        self.control_bytes += frame.len();
        self.control.push_back(frame);
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.control_bytes > CONTROL_BYTES
    }

    pub(super) fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    pub(super) fn pop_control(&mut self) -> Option<Bytes> {
        let frame = self.control.pop_front()?;
        give_back(&mut self.control);
        self.control_bytes -= frame.len();
        Some(frame)
    }

    pub(super) fn rtt_us(&self) -> Option<u32> {
        self.rtt_us
    }

    /// Sends a ping unless one is under way.
    pub(super) fn ping(&mut self, now: Instant, nonce: u64) {
        if self.ping.is_none() {
            self.ping = Some((nonce, now));
            self.say(&Control::Ping { nonce });
        }
    }

    /// Returns the new smoothed round-trip time in microseconds; `None` for a pong to no ping.
    /// RFC 6298's smoothing: seven parts of the old, one of the new.
    pub(super) fn on_pong(&mut self, now: Instant, nonce: u64) -> Option<u32> {
        let (_, sent) = self.ping.take_if(|(expected, _)| *expected == nonce)?;
        let sample = u32::try_from(now.since(sent).as_micros()).unwrap_or(u32::MAX - 1);
        let smoothed = match self.rtt_us {
            Some(old) => ((u64::from(old) * 7 + u64::from(sample)) / 8) as u32,
            None => sample,
        };
        self.rtt_us = Some(smoothed);
        Some(smoothed)
    }

    /// Takes note of a run that came, and returns its number on its lane.
    pub(super) fn receive(&mut self, lane: Class, cost: usize) -> Result<u32, Violation> {
        let incoming = self.lanes[lane as usize].get_or_insert_default();
        if incoming.bytes > WINDOW_BYTES + WINDOW_SLACK {
            return Err(Violation::WindowExceeded);
        }
        let number = incoming.first.wrapping_add(incoming.open.len() as u32);
        incoming.open.push_back((false, cost));
        incoming.bytes += cost;
        Ok(number)
    }

    /// The run of this number has been dealt with.
    pub(super) fn settle(&mut self, lane: Class, number: u32) {
        let Some(incoming) = &mut self.lanes[lane as usize] else { return };
        let freed = incoming.settle(number);
        if freed > 0 {
            self.unsaid_bytes += freed;
            self.ack_now |= self.unsaid_bytes >= ACK_BYTES;
        }
    }

    pub(super) fn ack_due(&self) -> Option<Instant> {
        // A run may be settled between two turns of `handle`, by `poll_transmit`.
        if self.unsaid_bytes >= ACK_LITTLE { Some(self.ack_due.unwrap_or(Instant(0))) } else { None }
    }

    /// Appends to what it is to be sent.
    pub(super) fn push(&mut self, class: Class, item: Item) {
        self.is_ready = true;
        self.queue.push(class, item);
    }

    /// Says what has been dealt with, if it is time or `urgent`.
    pub(super) fn send_ack(&mut self, now: Instant, urgent: bool) {
        if self.unsaid_bytes == 0 {
            return;
        }
        if self.unsaid_bytes >= ACK_LITTLE && self.ack_due.is_none() {
            self.ack_due = Some(now + ACK_AFTER);
        }
        let due = self.ack_due.is_some_and(|due| due <= now);
        if urgent || self.ack_now || due {
            let runs =
                std::array::from_fn(|lane| self.lanes[lane].as_ref().map_or(0, |incoming| incoming.first));
            self.say(&Control::Ack { runs });
            self.unsaid_bytes = 0;
            self.ack_now = false;
            self.ack_due = None;
        }
    }
}
