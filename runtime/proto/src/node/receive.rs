//! What comes in: from the socket's frame to a delivery or a pending decision.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Node, Output, Pending, Then, Write};
use crate::broadcast::tree_of;
use crate::frame::{self, Violation};
use crate::id::Peer;
use crate::policy::Class;
use crate::queue::Owed;
use crate::run::{Dest, Head, MAX_SKEW_MS, Run, Unverified};
use crate::time::Now;

/// Lowest frame type that a node may skip without knowing it.
const OPTIONAL: u8 = 0x80;

impl Node {
    pub(super) fn on_frames(&mut self, now: Now, peer: Peer, lane: u8, frames: Vec<Bytes>) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.detector.on_frame(now.instant);
        }
        for frame in frames {
            self.counters.frames += 1;
            let done = match lane {
                0 => self.on_control(now, peer, &frame),
                lane => self.on_class_frame(now, peer, lane, &frame),
            };
            if let Err(violation) = done {
                self.violation(now, peer, violation);
                return;
            }
            if !self.neighbours.contains_key(&peer) {
                return;
            }
        }
    }

    fn on_class_frame(&mut self, now: Now, peer: Peer, lane: u8, frame: &Bytes) -> Result<(), Violation> {
        let lane = Class::from_u8(lane - 1).ok_or(Violation::WrongLane)?;
        match frame.first() {
            None => Err(Violation::Truncated),
            Some(&frame::RUN) => self.on_run(now, peer, lane, &frame.slice(1..)),
            Some(&(OPTIONAL..)) => {
                self.counters.skipped_frames += 1;
                Ok(())
            }
            Some(&kind) if kind < frame::RUN => Err(Violation::WrongLane),
            Some(&kind) => Err(Violation::UnknownFrame { kind }),
        }
    }

    fn on_run(&mut self, now: Now, peer: Peer, lane: Class, frame: &Bytes) -> Result<(), Violation> {
        let (run, hops) = Unverified::decode(frame, &self.verified)?;
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(()) };
        if !neighbour.is_greeted() {
            return Err(Violation::NotGreeted);
        }
        let number = neighbour.receive(lane, frame.len())?;
        let owed = Owed { peer, lane, number };
        let head = *run.head();
        let seqs = run.seqs();
        if head.expiry_ms <= now.unix_ms || head.sent_ms > now.unix_ms.saturating_add(MAX_SKEW_MS) {
            self.counters.expired += seqs.end - seqs.start;
            self.settle(Some(owed));
            return Ok(());
        }
        // A message on its way to one node may rightly pass here twice, when its way turned round after this
        // node had handed it on: only its recipient knows duplicates. Broadcasts of our own come back to us.
        let in_transit = matches!(head.flow.dest, Dest::Node(node) if node != self.id);
        let missing = if in_transit {
            vec![seqs.clone()]
        } else if head.flow.origin == self.id {
            Vec::new()
        } else {
            self.seen.missing(&head.flow, seqs.clone())
        };
        let fresh: u64 = missing.iter().map(|part| part.end - part.start).sum();
        self.counters.duplicates += (seqs.end - seqs.start) - fresh;
        if missing.is_empty() {
            self.prune(now, peer, &head.flow, seqs.start);
            self.settle_when_safe(owed, head.durable);
            return Ok(());
        }
        let run = run.verify(&mut self.verified)?;
        if !in_transit && let Some(gap) = self.seen.insert(head.flow, seqs.clone(), head.expiry_ms) {
            self.on_gap(now, peer, &head, &gap);
        }
        self.counters.received += fresh;
        for part in &missing {
            let within = (part.start - seqs.start) as usize..(part.end - seqs.start) as usize;
            let run = if within.len() == run.len() { run.clone() } else { Arc::new(run.part(within)) };
            let last = part.end == missing.last().map_or(part.end, |last| last.end);
            self.take_over(now, run, Some(peer), hops, last.then_some(owed));
        }
        Ok(())
    }

    /// Messages before one that has come from this neighbour have not: the others may have them, too.
    fn on_gap(&mut self, now: Now, from: Peer, head: &Head, gap: &Range<u64>) {
        if tree_of(&head.flow.dest).is_some() {
            let others: Vec<Peer> = self.greeted().filter(|peer| *peer != from).collect();
            self.trees.on_gap(now.instant, head, gap, std::iter::once(from).chain(others));
        }
    }

    /// A durable duplicate may be acknowledged only when its first copy is on disk, which the newest ticket
    /// vouches for.
    fn settle_when_safe(&mut self, owed: Owed, durable: bool) {
        if durable && !self.then.is_empty() {
            self.then.push(Then::Acknowledge(owed));
        } else if durable && let Some((_, newest)) = self.tickets.back_mut() {
            newest.push(Then::Acknowledge(owed));
        } else {
            self.settle(Some(owed));
        }
    }

    /// Messages that this node has not had before: they are for it, for others, or for both.
    pub(super) fn take_over(
        &mut self,
        now: Now,
        run: Arc<Run>,
        from: Option<Peer>,
        hops: u8,
        owed: Option<Owed>,
    ) {
        let head = *run.head();
        match head.flow.dest {
            Dest::Node(node) if node == self.id => {
                if head.internal {
                    self.settle(owed);
                    self.on_internal(now, &run, hops);
                } else if head.durable {
                    self.note_delivery(&run, from, hops);
                    self.deliver_durably(run, hops, owed);
                } else {
                    self.note_delivery(&run, from, hops);
                    self.settle(owed);
                    self.deliver(run, hops);
                }
            }
            Dest::Node(_) => self.pending.push(Pending { run, from, hops, owed, key: None }),
            Dest::Topic(topic) => {
                if self.subscriptions.contains(&topic) {
                    self.note_delivery(&run, from, hops);
                    self.deliver(run.clone(), hops);
                }
                self.pending.push(Pending { run, from, hops, owed, key: None });
            }
            Dest::Mesh => {
                self.deliver(run.clone(), hops);
                self.pending.push(Pending { run, from, hops, owed, key: None });
            }
        }
    }

    fn deliver(&mut self, run: Arc<Run>, hops: u8) {
        self.counters.delivered += run.len() as u64;
        self.outputs.push_back(Output::Deliver { run, hops });
    }

    /// The message and the window that knows it go to disk together, so that after a crash it is there once.
    fn deliver_durably(&mut self, run: Arc<Run>, hops: u8, owed: Option<Owed>) {
        self.counters.delivered += run.len() as u64;
        self.keep_window(&run);
        self.writes.push(Write::Inbox { run, hops });
        self.then.extend(owed.map(Then::Acknowledge));
    }

    fn keep_window(&mut self, run: &Run) {
        let flow = run.head().flow;
        if let Some(window) = self.seen.window(&flow) {
            self.writes.push(Write::PutSeen { flow: flow.to_bytes(), window: window.to_bytes() });
        }
    }
}
