//! A host's turn: its node takes in what happened, and what it wants done is done.

use std::time::Duration;

use bytes::Bytes;

use super::check::Broken;
use super::event::Event;
use super::host::{host_at, keep};
use super::{Delivery, Network};
use crate::directory::Dial;
use crate::id::{NodeId, Peer};
use crate::node::{Disconnect, Input, Node, Output, Write};
use crate::queue::HeldKey;
use crate::run::Run;

/// The time that a disk takes for a commit.
const DISK: Duration = Duration::from_millis(4);
/// Messages that a disk gives back at a time.
const RECALLED: usize = 100;
/// After so long a dial is given up when nothing answers.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Every so many turns of a host its gauges are looked at.
const GAUGED: u64 = 32;
/// Bytes of a handshake in one direction.
const HANDSHAKE: usize = 2400;

impl Network {
    /// Something waits for a host: it has a turn before time goes on.
    pub(super) fn give(&mut self, host: usize, input: Input) {
        if self.hosts[host].is_up() {
            self.hosts[host].inputs.push(input);
            self.call(host);
        }
    }

    pub(super) fn call(&mut self, host: usize) {
        if !self.hosts[host].is_due {
            self.hosts[host].is_due = true;
            self.due.push(host as u32);
        }
    }

    /// Gives a turn to all that are due; returns whether there were any.
    pub(super) fn take_turns(&mut self) -> bool {
        let due = std::mem::take(&mut self.due);
        for host in &due {
            self.hosts[*host as usize].is_due = false;
            self.turn(*host as usize);
        }
        let had_any = !due.is_empty();
        if self.due.is_empty() {
            self.due = due;
            self.due.clear();
        }
        had_any
    }

    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Wake { host } => self.on_wake(host as usize),
            Event::Arrive { link, to, lane, chunk } => self.arrive(link, to, lane, chunk),
            Event::Open { link, from } => self.open(link, from.into()),
            Event::Closed { link, side } => self.on_closed(link, side.into()),
            Event::Dialed { from, to, start, reached, dial } => {
                if self.hosts[from as usize].start == start {
                    self.on_dialed(from as usize, to as usize, reached, *dial);
                }
            }
            Event::Persisted { host, start, done } => {
                let (ticket, writes) = *done;
                if self.is_same_start(host, start) {
                    self.write(host as usize, writes);
                    if let Some(ticket) = ticket {
                        self.give(host as usize, Input::Persisted { ticket });
                    }
                }
            }
            Event::Recalled { host, start, what } => {
                if self.is_same_start(host, start) {
                    self.recall(host as usize, what.0, what.1);
                }
            }
            Event::Start { host } => self.start_if_down(host as usize),
            Event::Act { host } => self.act(host as usize),
            Event::Churn => self.on_churn(),
        }
    }

    fn is_same_start(&self, host: u32, start: u32) -> bool {
        let host = &self.hosts[host as usize];
        host.start == start && host.is_up()
    }

    /// A wake-up may come earlier than it is needed, when the node had another wish since: then it is put off.
    fn on_wake(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if host.wake_at != Some(self.now) {
            return;
        }
        host.wake_at = None;
        match host.due_at {
            Some(due) if due <= self.now => self.call(index),
            Some(due) => self.wake(index, due),
            None => {}
        }
    }

    /// Asks a node again when it wants to be called.
    pub(super) fn set_alarm(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let due = host.node.as_ref().and_then(Node::poll_timeout);
        host.due_at = due.map(|due| host.clock.truth(due).max(self.now + Duration::from_micros(1)));
        if let Some(due) = host.due_at {
            self.wake(index, due);
        }
    }

    fn wake(&mut self, index: usize, at: crate::time::Instant) {
        let host = &mut self.hosts[index];
        if host.wake_at.is_none_or(|earlier| earlier > at) {
            host.wake_at = Some(at);
            self.events.push(at, Event::Wake { host: index as u32 });
        }
    }

    pub(super) fn turn(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if host.is_frozen {
            return;
        }
        let now = host.clock.now(self.now);
        let Some(node) = &mut host.node else { return };
        node.share_verified(&mut self.verified);
        node.handle(now, std::mem::take(&mut host.inputs), &mut *host.policies);
        node.share_verified(&mut self.verified);
        host.turns += 1;
        if host.turns.is_multiple_of(GAUGED)
            && let Some((gauge, size, bound)) = node.gauges().over()
        {
            self.breaches.note(self.now, index, Broken::OverBound { gauge, size, bound });
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.extend(std::iter::from_fn(|| node.poll_output()));
        // Refusals first: what the others name may be told from what was refused.
        for output in &outputs {
            if let Output::Refused { token, .. } = output {
                self.ledger.refuse(*token as usize);
            }
        }
        outputs.drain(..).for_each(|output| self.on_output(index, output));
        self.outputs = outputs;
        self.transmit_ready(index);
        self.set_alarm(index);
    }

    /// Sends what the node has for links that take it. What is full now asks by itself when it takes more.
    fn transmit_ready(&mut self, index: usize) {
        while let Some(peer) = self.hosts[index].node.as_mut().and_then(Node::poll_ready) {
            if let Some(end) = self.hosts[index].end(peer).filter(|end| !end.is_shut) {
                self.transmit(index, end);
            }
        }
    }

    fn on_output(&mut self, index: usize, output: Output) {
        let start = self.hosts[index].start;
        let host = index as u32;
        match output {
            Output::Deliver { run, hops } => self.deliver(index, &run, hops),
            Output::Persist { ticket, writes } => {
                let done = Box::new((ticket, writes));
                self.events.push(self.now + DISK, Event::Persisted { host, start, done });
            }
            Output::Accepted { token, flow, seqs, .. } => {
                self.hosts[index].accepted += 1;
                self.ledger.accept(token as usize, flow, seqs.start);
            }
            Output::Refused { error, .. } => keep(&mut self.hosts[index].refused, error),
            Output::Dial(dial) => self.dial(index, dial),
            Output::Disconnect { peer, reason } => self.disconnect(index, peer, reason),
            Output::Recall { dest, from } => {
                let what = Box::new((dest, from));
                self.events.push(self.now + DISK, Event::Recalled { host, start, what });
            }
            Output::Pong { rtt_us, hops, .. } => keep(&mut self.hosts[index].pongs, (rtt_us, hops)),
            // Nobody asks anything here but what the protocol asks.
            Output::Asked { .. } | Output::Answered { .. } => {}
            Output::Member { node, state } => self.sight(index, node, state),
            Output::Partitioned { .. } => self.hosts[index].partitions += 1,
            Output::Merged { .. } => self.hosts[index].merges += 1,
            Output::NeighbourUp { .. } | Output::NeighbourDown { .. } => {}
            Output::ParentChanged { .. } | Output::RoleChanged { .. } | Output::LeaderElected { .. } => {}
        }
    }

    fn deliver(&mut self, index: usize, run: &Run, hops: u8) {
        let flow = run.head().flow;
        for (seq, payload) in run.messages() {
            // The payload came in a frame, which is in the trace.
            self.trace.add([self.now.0, index as u64, seq, payload.len() as u64], &[]);
            self.check_delivery(index, run, seq, &payload, hops);
            if self.keeps_deliveries {
                let delivery = Delivery { flow, seq, payload, hops, at: self.now };
                keep(&mut self.hosts[index].delivered, delivery);
            }
        }
    }

    fn check_delivery(&mut self, index: usize, run: &Run, seq: u64, payload: &[u8], hops: u8) {
        let flow = run.head().flow;
        let Some(known) = self.ledger.find(flow, seq, payload) else {
            self.breaches.note(self.now, index, Broken::Forged { origin: flow.origin, seq });
            return;
        };
        let publication = known.publication;
        if self.hosts[index].effects.first(known.flow, &flow.dest, seq) {
            self.ledger.delivered(publication, index, self.now, hops);
        } else {
            self.breaches.note(self.now, index, Broken::Twice { publication, seq });
        }
    }

    pub(super) fn write(&mut self, index: usize, writes: Vec<Write>) {
        for write in writes {
            let disk = &mut self.hosts[index].disk;
            match write {
                Write::PutHeld { key, dest, bytes } => drop(disk.held.insert(key, (dest, bytes))),
                Write::DeleteHeld { key, .. } => drop(disk.held.remove(&key)),
                Write::PutSeen { flow, window } => drop(disk.seen.insert(flow.to_vec(), window.into())),
                Write::DeleteSeen { flow } => drop(disk.seen.remove(flow.as_slice())),
                Write::PutRecord { node, bytes } => drop(disk.records.insert(node, bytes.into())),
                Write::DropRecord { node } => drop(disk.records.remove(&node)),
                Write::Inbox { run, hops } => self.deliver(index, &run, hops),
            }
        }
    }

    fn recall(&mut self, index: usize, dest: NodeId, from: HeldKey) {
        let kept = self.hosts[index].disk.held.range(from..).filter(|(_, (to, _))| *to == dest);
        let mut rows: Vec<(HeldKey, Bytes)> =
            kept.take(RECALLED + 1).map(|(key, (_, bytes))| (*key, bytes.clone())).collect();
        let more = if rows.len() > RECALLED { rows.pop() } else { None };
        for (key, bytes) in rows {
            self.give(index, Input::RestoreHeld { key, bytes });
        }
        if let Some((from, _)) = more {
            self.give(index, Input::Spilled { dest, from });
        }
    }

    fn dial(&mut self, from: usize, dial: Dial) {
        self.hosts[from].traffic.dials += 1;
        let to = host_at(&dial.addr).filter(|to| *to < self.hosts.len());
        let (reached, after) = match to {
            Some(to) => self.handshake(from, to),
            None => (false, self.models[0].latency * 2),
        };
        let (start, dial) = (self.hosts[from].start, Box::new(dial));
        let to = to.unwrap_or(from) as u32;
        self.events.push(self.now + after, Event::Dialed { from: from as u32, to, start, reached, dial });
    }

    /// Says whether a dial succeeds, and after what time that is known.
    fn handshake(&mut self, from: usize, to: usize) -> (bool, Duration) {
        let there = self.models[self.model_between(from, to) as usize];
        let back = self.models[self.model_between(to, from) as usize];
        if let Some(silent) = self.obstacle(from, to) {
            let refused = there.latency + back.latency;
            return (false, if silent { DIAL_TIMEOUT } else { refused });
        }
        let mut way = |model: super::LinkModel| {
            let mut weather = super::model::Weather::default();
            model.fate(&mut weather, self.now, HANDSHAKE, &mut self.rng).delay
        };
        match way(there).zip(way(back)) {
            Some((there, back)) if there + back < DIAL_TIMEOUT => (true, there + back),
            _ => (false, DIAL_TIMEOUT),
        }
    }

    /// What keeps a dial from succeeding; true if nobody answers it, false if it is refused.
    fn obstacle(&self, from: usize, to: usize) -> Option<bool> {
        let target = &self.hosts[to];
        let cut = self.cut_between(from, to).or(self.cut_between(to, from));
        match cut {
            Some(notice) => Some(notice == super::Notice::BySilence),
            None if target.is_frozen || (!target.is_up() && target.is_dark) => Some(true),
            None if !target.is_up() => Some(false),
            None => None,
        }
    }

    fn on_dialed(&mut self, from: usize, to: usize, reached: bool, dial: Dial) {
        let is_right = dial.expect.is_none_or(|node| node == self.hosts[to].id);
        if !self.hosts[from].is_up() {
            return;
        }
        if reached && is_right && self.obstacle(from, to).is_none() {
            self.link_up(from, to, dial.addr);
        } else {
            self.hosts[from].traffic.failed_dials += 1;
            self.give(from, Input::DialFailed(dial));
        }
    }

    fn disconnect(&mut self, index: usize, peer: Peer, reason: Disconnect) {
        let end = self.hosts[index].end(peer);
        let far = end.and_then(|end| Some(self.links.get(end.link)?.sides[1 - end.side].host as usize));
        if let (Disconnect::Violation(violation), Some(far), true) = (&reason, far, self.is_honest(index)) {
            let name = violation.name();
            *self.violations.entry((name, far)).or_default() += 1;
            if self.is_honest(far) {
                self.breaches.note(self.now, index, Broken::Accused { of: far, name });
            }
        }
        let is_refused = reason == Disconnect::NotAdmitted;
        keep(&mut self.hosts[index].disconnects, reason);
        if let Some(end) = end {
            if let Some(link) = self.links.get_mut(end.link) {
                link.is_refused |= is_refused;
            }
            self.close(index, end);
        }
    }
}
