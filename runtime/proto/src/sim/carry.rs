//! Carrying: from a node's queue through a link to the far node.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::Network;
use super::event::Event;
use super::link::{End, LANES, Link, LinkRef, Pipe, Side};
use super::model::{PACKET, PACKET_OVERHEAD};
use crate::frame;
use crate::node::{Input, Transmit};
use crate::run::Unverified;

/// A link takes this much time's worth of bytes ahead of its bandwidth before it asks the queue for more.
const LINK_AHEAD: Duration = Duration::from_millis(2);
/// Bytes of one lane that arrive at once, about: a read of a socket.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes in front of each frame on the wire.
const LENGTH: usize = 4;

/// Frames that one turn sends over one link, by lane.
#[derive(Default)]
struct Batch {
    frames: [Vec<Bytes>; LANES],
    bytes: [usize; LANES],
}

impl Network {
    /// Sends what a node has for one of its links and the link takes; returns whether there may be more.
    pub(super) fn transmit(&mut self, host: usize, end: End) -> bool {
        let Some((lane, frame)) = self.next_frame(host, end) else { return false };
        let mut batch = Batch::default();
        self.put(&mut batch, host, end, lane, frame);
        let mut is_shut = self.shut(host, end);
        while !is_shut && let Some((lane, frame)) = self.next_frame(host, end) {
            self.put(&mut batch, host, end, lane, frame);
            is_shut = self.shut(host, end);
        }
        for (lane, frames) in batch.frames.into_iter().enumerate() {
            if !frames.is_empty() {
                self.launch(end, lane, frames, batch.bytes[lane]);
            }
        }
        is_shut
    }

    /// Sends all that a node has for one of its links, however slow the link is.
    pub(super) fn flush(&mut self, host: usize, end: End) {
        while self.transmit(host, end) {
            if let Some(link) = self.links.get_mut(end.link) {
                link.sides[end.side].out.busy_until = self.now;
            }
        }
    }

    fn put(&mut self, batch: &mut Batch, host: usize, end: End, lane: usize, frame: Bytes) {
        let Some(frame) = self.tamper(host, lane, frame) else { return };
        if lane > 0 && self.is_lost(end) {
            return;
        }
        batch.bytes[lane] += frame.len() + LENGTH;
        batch.frames[lane].push(frame);
        if batch.bytes[lane] >= CHUNK_BYTES {
            let bytes = std::mem::take(&mut batch.bytes[lane]);
            self.launch(end, lane, std::mem::take(&mut batch.frames[lane]), bytes);
        }
    }

    /// Takes the next frame from the node.
    fn next_frame(&mut self, host: usize, end: End) -> Option<(usize, Bytes)> {
        let host = &mut self.hosts[host];
        let transmit = host.node.as_mut()?.poll_transmit(host.clock.now(self.now), end.peer)?;
        let lane = usize::from(transmit.lane);
        let frame = whole(transmit);
        let bytes = frame.len() + LENGTH;
        self.frames[usize::from(frame.first().copied().unwrap_or(0))] += 1;
        host.traffic.count_sent(lane, bytes);
        let pipe = &mut self.links.get_mut(end.link)?.sides[end.side].out;
        let sending = self.models[pipe.model as usize].sending(bytes);
        pipe.busy_until = pipe.busy_until.max(self.now) + sending;
        pipe.blind += if pipe.is_blind { bytes } else { 0 };
        Some((lane, frame))
    }

    /// Asks a link no more for a while if it is full; returns whether it is.
    fn shut(&mut self, host: usize, end: End) -> bool {
        let Some(link) = self.links.get_mut(end.link) else { return false };
        let pipe = &mut link.sides[end.side].out;
        if !pipe.is_full(self.now + LINK_AHEAD) {
            return false;
        }
        self.hosts[host].set_shut(end.peer, true);
        if pipe.busy_until > self.now && !pipe.is_polling {
            pipe.is_polling = true;
            let from = end.side as u8;
            self.events.push(pipe.busy_until, Event::Open { link: end.link, from });
        }
        true
    }

    /// Says whether a message frame is lost for good.
    fn is_lost(&mut self, end: End) -> bool {
        let Some(link) = self.links.get(end.link) else { return true };
        let share = self.models[link.sides[end.side].out.model as usize].frame_loss;
        if share > 0.0 && self.rng.f64() < share {
            return true;
        }
        let way = (link.sides[end.side].host, link.sides[1 - end.side].host);
        match self.lose_next.get_mut(&way) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Puts one frame on its way that no node made.
    pub(super) fn send_one(&mut self, end: End, lane: usize, frame: Bytes) {
        let Some(link) = self.links.get(end.link) else { return };
        let (host, bytes) = (link.sides[end.side].host as usize, frame.len() + LENGTH);
        self.hosts[host].traffic.count_sent(lane, bytes);
        self.launch(end, lane, vec![frame], bytes);
    }

    /// Puts frames on their way.
    pub(super) fn launch(&mut self, end: End, lane: usize, frames: Vec<Bytes>, bytes: usize) {
        let Some(link) = self.links.get_mut(end.link) else { return };
        let is_heard = !link.sides[1 - end.side].is_gone;
        let host = link.sides[end.side].host as usize;
        let pipe = &mut link.sides[end.side].out;
        let model = &self.models[pipe.model as usize];
        let fate = model.fate(&mut pipe.weather, self.now, bytes, &mut self.rng);
        let again = fate.packets.saturating_sub(bytes.div_ceil(PACKET) as u64);
        self.hosts[host].traffic.wire_bytes +=
            bytes as u64 + fate.packets * PACKET_OVERHEAD as u64 + again * bytes.min(PACKET) as u64;
        if pipe.is_dead || !is_heard {
            return;
        }
        let Some(delay) = fate.delay else {
            pipe.is_dead = true;
            self.look_again(end.link);
            return;
        };
        if pipe.cut.is_some() {
            pipe.late.push((lane as u8, frames));
            return;
        }
        let at = pipe.last[lane].max(pipe.busy_until.max(self.now) + delay);
        pipe.last[lane] = at;
        let (chunk, to) = (self.chunks.insert(frames), 1 - end.side as u8);
        self.events.push(at, Event::Arrive { link: end.link, to, lane: lane as u8, chunk });
    }

    /// A chunk is there, unless it was lost with the link or is held up.
    pub(super) fn arrive(&mut self, link: LinkRef, to: u8, lane: u8, chunk: u32) {
        let frames = self.chunks.take(chunk);
        let Some(found) = self.links.get_mut(link) else { return };
        let [from, to_side] = [1 - usize::from(to), usize::from(to)];
        let (peer, is_gone) = (found.sides[to_side].peer, found.sides[to_side].is_gone);
        let [from_host, host] = [from, to_side].map(|side| found.sides[side].host as usize);
        let pipe = &mut found.sides[from].out;
        if pipe.is_dead || is_gone {
            return;
        }
        if pipe.cut.is_some() || self.hosts[host].is_frozen {
            pipe.late.push((lane, frames));
        } else if pipe.held_until > self.now {
            let chunk = self.chunks.insert(frames);
            self.events.push(pipe.held_until, Event::Arrive { link, to, lane, chunk });
        } else {
            self.note_frames(from_host, host, lane, &frames);
            self.give(host, Input::Frames { peer, lane, frames });
        }
    }

    fn note_frames(&mut self, from: usize, host: usize, lane: u8, frames: &[Bytes]) {
        let way = (from as u64) << 32 | host as u64;
        for frame in frames {
            self.trace.add([self.now.0, way, u64::from(lane) << 32 | frame.len() as u64], frame);
            if lane > 0 {
                self.note_run(host, frame);
            }
        }
    }

    /// Counts a copy of messages that came to a host.
    fn note_run(&mut self, host: usize, frame: &Bytes) {
        if frame.first() != Some(&frame::RUN) {
            return;
        }
        let Ok((run, _)) = Unverified::decode(&frame.slice(1..), &self.verified) else { return };
        let (flow, seqs) = (run.head().flow, run.seqs());
        let len = (frame.len() + LENGTH) as u64;
        let (mut is_first, mut seq) = (false, seqs.start);
        // A run covers several publications when one flush did.
        while let Some((publication, end)) = self.ledger.covering(flow, seq).filter(|_| seq < seqs.end) {
            let end = end.min(seqs.end);
            is_first |= self.ledger.carried(publication, host, end - seq);
            seq = end;
        }
        let traffic = &mut self.hosts[host].traffic;
        if is_first {
            traffic.first_bytes += len;
        } else if seq > seqs.start {
            traffic.repeated_bytes += len;
        }
        self.overhear(host, frame);
    }

    /// The link takes more.
    pub(super) fn open(&mut self, link: LinkRef, from: usize) {
        let Some(found) = self.links.get_mut(link) else { return };
        let side = &mut found.sides[from];
        side.out.is_polling = false;
        let (host, peer) = (side.host as usize, side.peer);
        if side.is_gone || side.out.is_full(self.now + LINK_AHEAD) || self.hosts[host].is_frozen {
            return;
        }
        self.hosts[host].set_shut(peer, false);
        self.transmit(host, End::new(peer, link, from));
        // What left the queue may be acknowledged upstream now.
        self.set_alarm(host);
    }

    pub(super) fn link_up(&mut self, from: usize, to: usize, addr: String) {
        let mut side = |from: usize, to: usize| {
            let out = Pipe { model: self.model_between(from, to), ..Pipe::default() };
            Side { host: from as u32, peer: self.hosts[from].new_peer(), is_gone: false, out }
        };
        let sides = [side(from, to), side(to, from)];
        let (mine, theirs) = (sides[0].peer, sides[1].peer);
        let link = self.links.insert(Link { sides, is_refused: false });
        self.hosts[from].links.push(End::new(mine, link, 0));
        self.hosts[to].links.push(End::new(theirs, link, 1));
        let (from_id, to_id) = (self.hosts[from].id, self.hosts[to].id);
        self.give(from, Input::LinkUp { peer: mine, node: to_id, dialed: Some(addr) });
        self.give(to, Input::LinkUp { peer: theirs, node: from_id, dialed: None });
    }

    /// A node closes a link: what is under way is lost, and the far end hears of it if it can.
    pub(super) fn close(&mut self, host: usize, end: End) {
        self.leave(host, end);
        let Some(link) = self.links.get_mut(end.link) else { return };
        let is_dead = link.sides[end.side].out.is_dead;
        link.lose();
        if !is_dead {
            self.announce_close(end, self.now);
        }
    }

    /// The far end hears of a close no earlier than `after`, unless it cannot.
    pub(super) fn announce_close(&mut self, end: End, after: crate::time::Instant) {
        let Some(link) = self.links.get_mut(end.link) else { return };
        let pipe = &mut link.sides[end.side].out;
        let model = &self.models[pipe.model as usize];
        let fate = model.fate(&mut pipe.weather, self.now, 1, &mut self.rng);
        if let Some(delay) = fate.delay.filter(|_| pipe.cut.is_none()) {
            let at = after.max(self.now + delay);
            self.events.push(at, Event::Closed { link: end.link, side: 1 - end.side as u8 });
        }
    }

    /// This end of a link is no more. The link goes with its second end.
    pub(super) fn leave(&mut self, host: usize, end: End) {
        self.hosts[host].drop_end(end.peer);
        let Some(link) = self.links.get_mut(end.link) else { return };
        link.sides[end.side].is_gone = true;
        if link.sides[1 - end.side].is_gone {
            self.links.remove(end.link);
        } else {
            self.look_again(end.link);
        }
        self.give(host, Input::LinkDown { peer: end.peer });
    }

    /// This end learns that the other one is gone.
    pub(super) fn on_closed(&mut self, link: LinkRef, side: usize) {
        let Some(found) = self.links.get(link) else { return };
        let (host, peer) = (found.sides[side].host as usize, found.sides[side].peer);
        if !found.sides[side].is_gone {
            if found.is_refused {
                self.give(host, Input::Refused { peer });
            }
            self.leave(host, End::new(peer, link, side));
        }
    }

    /// Both ends of a link are told at once that it is no more.
    pub(super) fn tear(&mut self, link: LinkRef) {
        self.on_closed(link, 0);
        self.on_closed(link, 1);
    }

    /// Looks again whether acknowledgements come back on a link.
    pub(super) fn look_again(&mut self, link: LinkRef) {
        let Some(found) = self.links.get_mut(link) else { return };
        for from in 0..2 {
            let far = &self.hosts[found.sides[1 - from].host as usize];
            found.look_again(from, !far.is_frozen);
        }
    }
}

/// The frame without its length, in one piece.
fn whole(transmit: Transmit) -> Bytes {
    let [mut first, second, third] = transmit.chunks;
    first.advance(LENGTH);
    if second.is_empty() && third.is_empty() { first } else { [first, second, third].concat().into() }
}

impl super::Traffic {
    fn count_sent(&mut self, lane: usize, bytes: usize) {
        if lane == 0 {
            self.control_frames += 1;
            self.control_bytes += bytes as u64;
        } else {
            self.run_frames += 1;
            self.run_bytes += bytes as u64;
        }
    }
}
