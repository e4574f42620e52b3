//! Links coming and going, and the control frames on them.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::link::Neighbour;
use super::{Disconnect, MAX_LINKS, Node, Output, Pending};
use crate::broadcast::{MAX_MISSING, MESH, tree_of};
use crate::directory::SHORT_LINK;
use crate::frame::{Control, MAX_ROWS, Offer, Violation};
use crate::id::{NodeId, Peer, TopicId};
use crate::queue::{Drained, Item};
use crate::run::{Dest, Flow};
use crate::time::Now;

/// What a neighbour may say of how often it sends a heartbeat.
const LEAST_HEARTBEAT: Duration = Duration::from_millis(10);
const GREATEST_HEARTBEAT: Duration = Duration::from_secs(60);
/// How long a neighbour is new: what it offers in this time was sent before it came.
const NEW_FOR: Duration = Duration::from_secs(2);
/// How long a node is a newcomer to a mesh that is known by a sample, in ms.
const NEWCOMER_MS: u64 = 3_000;

impl Node {
    /// A link is gone that nobody had announced: whoever was there is tried once more before it is accused.
    pub(super) fn on_link_lost(&mut self, now: Now, peer: Peer) {
        let Some(neighbour) = self.neighbours.get(&peer) else { return };
        let (node, in_peace) = (neighbour.node, neighbour.ends_in_peace() || !neighbour.is_greeted());
        let is_short = now.instant.since(neighbour.since) < SHORT_LINK;
        let short = if is_short { self.directory.short(&node) + 1 } else { 0 };
        self.end_link(now, peer, short);
        if in_peace {
            return;
        }
        match short {
            0 => self.directory.on_moved(&node),
            1 => self.directory.hurry(&node),
            // Time and again: it may not want this node, and is not pressed.
            _ => {}
        }
        self.note_lost(now);
        self.probe(now, node);
    }

    pub(super) fn on_link_up(&mut self, now: Now, peer: Peer, node: NodeId, dialed: Option<String>) {
        self.directory.on_up(node, dialed.as_deref());
        if node == self.id {
            self.outputs.push_back(Output::Disconnect { peer, reason: Disconnect::Oneself });
            return;
        }
        if let Some(old) = self.by_node.get(&node).copied() {
            if self.keeps_old(old, node, dialed.is_some()) {
                self.outputs.push_back(Output::Disconnect { peer, reason: Disconnect::Duplicate });
                return;
            }
            self.outputs.push_back(Output::Disconnect { peer: old, reason: Disconnect::Duplicate });
            self.on_link_down(now, old);
        }
        if self.neighbours.len() >= MAX_LINKS {
            self.outputs.push_back(Output::Disconnect { peer, reason: Disconnect::TooManyLinks });
            return;
        }
        let samples = self.samples();
        let mut neighbour = Neighbour::new(now.instant, node, dialed.is_some(), self.tuning.heartbeat);
        neighbour.queue.share(&self.shares);
        let heartbeat_ms = u32::try_from(self.tuning.heartbeat.as_millis()).unwrap_or(u32::MAX);
        neighbour.say(&Control::Hello { epoch: self.epoch, heartbeat_ms, samples });
        neighbour.ping(now.instant, self.rng.u64(..));
        self.neighbours.insert(peer, neighbour);
        self.by_node.insert(node, peer);
        self.members.hold(node);
        self.probes.remove(&node);
        self.watch_silence(now.instant);
    }

    /// Of two links to one node both ends keep the one that the smaller id dialed; of two that the same end
    /// dialed the later, because the earlier is a leftover of a node that restarted.
    fn keeps_old(&self, old: Peer, node: NodeId, new_dialed: bool) -> bool {
        let old_dialed = self.neighbours.get(&old).is_some_and(|neighbour| neighbour.dialed);
        old_dialed != new_dialed && old_dialed == (self.id < node)
    }

    pub(super) fn on_link_down(&mut self, now: Now, peer: Peer) {
        self.end_link(now, peer, 0);
    }

    /// A link is no more, the last of so many `short` ones to the same node.
    pub(super) fn end_link(&mut self, now: Now, peer: Peer, short: u32) {
        let Some(mut neighbour) = self.neighbours.remove(&peer) else { return };
        self.by_node.remove(&neighbour.node);
        self.forget_leave(peer);
        if !self.directory.keeps(&neighbour.node) {
            self.members.release(&neighbour.node);
        }
        self.table.drop_link(peer);
        for (topic, heir) in self.trees.drop_link(peer) {
            self.say(heir, &Control::Graft { topic, once: false, offers: Vec::new() });
        }
        self.directory.on_down(now.instant, neighbour.node, short, &mut self.rng);
        self.view_stale = true;
        self.ways_changed = true;
        if neighbour.is_greeted() {
            self.outputs.push_back(Output::NeighbourDown { peer, node: neighbour.node });
            self.on_links_changed(now);
            self.due.dial_soon(now.instant);
            if self.by_node.is_empty() {
                self.alone_since = Some(now.instant);
            }
        }
        let Drained { under_way, waiting } = neighbour.queue.drain();
        for item in under_way {
            let for_it = item.run.head().flow.dest == Dest::Node(neighbour.node);
            match neighbour.epoch().filter(|_| for_it && !neighbour.leaving) {
                Some(epoch) => self.held.doubt(neighbour.node, epoch, item),
                None => self.again(item),
            }
        }
        for item in waiting {
            self.again(item);
        }
    }

    /// A run that did not go out is decided on again. Broadcasts are not: their trees repair themselves.
    pub(super) fn again(&mut self, item: Item) {
        if matches!(item.run.head().flow.dest, Dest::Node(_)) {
            let hops = item.hops.saturating_sub(1);
            self.pending.push(Pending { run: item.run, from: None, hops, owed: item.owed, key: item.key });
        } else {
            self.settle(item.owed);
        }
    }

    pub(super) fn on_control(&mut self, now: Now, peer: Peer, frame: &Bytes) -> Result<(), Violation> {
        let Some(control) = Control::decode_known(frame, &self.verified)? else {
            self.counters.skipped_frames += 1;
            return Ok(());
        };
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(()) };
        let is_hello = matches!(control, Control::Hello { .. });
        if neighbour.is_greeted() == is_hello {
            return Err(Violation::NotGreeted);
        }
        match control {
            Control::Hello { epoch, heartbeat_ms, samples } => {
                neighbour.samples = samples;
                self.on_hello(now, peer, epoch, heartbeat_ms);
            }
            Control::Heartbeat { .. } => neighbour.detector.on_heartbeat(now.instant),
            Control::Ping { nonce } => neighbour.say(&Control::Pong { nonce }),
            Control::Pong { nonce } => {
                neighbour.is_ready = true;
                if let Some(rtt_us) = neighbour.on_pong(now.instant, nonce) {
                    self.table.set_link(peer, rtt_us);
                    self.view_stale = true;
                }
            }
            Control::Ack { runs } => {
                neighbour.is_ready = true;
                let done = neighbour.queue.acknowledge(&runs).ok_or(Violation::BadAck)?;
                for item in done {
                    self.delete_held(item.key, &item.run);
                }
                self.ways_changed |= self.held.has_spilled();
            }
            Control::Records(records) => self.on_records(now, peer, records)?,
            Control::Shuffle(records) => {
                let is_news = !std::mem::replace(&mut neighbour.samples, true);
                self.on_records(now, peer, records)?;
                if is_news {
                    self.size_up();
                }
            }
            Control::Digest(sums) => {
                neighbour.samples = false;
                self.on_digest(peer, &sums);
            }
            Control::Versions { first, last, rows } => self.on_versions(peer, first, last, &rows),
            Control::Want(nodes) => self.on_want(peer, &nodes),
            Control::Accusations(accusations) => self.on_accusations(now, peer, accusations)?,
            Control::Links(nodes) => neighbour.others = nodes,
            Control::Part(reason) => self.on_part(now, peer, reason),
            Control::Routes(routes) => {
                for route in &routes {
                    let changed = self.table.learn(now.instant, peer, route);
                    self.view_stale |= changed;
                    self.ways_changed |= changed;
                }
            }
            Control::SeqnoRequest { node, seqno, hops } => {
                if let Some(next) = self.table.on_request(now.instant, peer, node, seqno)
                    && let Some(hops) = hops.checked_sub(1)
                {
                    self.say(next, &Control::SeqnoRequest { node, seqno, hops });
                }
            }
            Control::Introduce { node } => self.on_introduced(now, node),
            Control::WayRequest { node, hops } => self.on_way_request(now, peer, node, hops),
            Control::Prune { topic } => self.trees.on_prune(peer, topic),
            Control::Graft { topic, once, offers } => self.on_graft(now, peer, topic, once, &offers),
            Control::IHave { topic, offers } => self.on_offers(now, peer, topic, &offers),
            Control::Goodbye => {
                neighbour.leaving = true;
                neighbour.send_ack(now.instant, true);
            }
        }
        Ok(())
    }

    fn on_hello(&mut self, now: Now, peer: Peer, epoch: u64, heartbeat_ms: u32) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let heartbeat = Duration::from_millis(heartbeat_ms.into()).clamp(LEAST_HEARTBEAT, GREATEST_HEARTBEAT);
        neighbour.greet(now.instant, epoch, heartbeat);
        let node = neighbour.node;
        // Until it is measured, a link costs what a pessimist would guess; the first pong comes at once.
        self.table.set_link(peer, neighbour.rtt_us().unwrap_or(100_000));
        self.outputs.push_back(Output::NeighbourUp { peer, node });
        self.resolve_doubt(node, epoch);
        self.trees.add_link(peer, self.id < node);
        self.view_stale = true;
        self.ways_changed = true;
        self.watch_silence(now.instant);
        self.on_links_changed(now);
        self.greet_back(now, peer, node, epoch);
        self.knock_first(now, peer);
    }

    /// What a new neighbour is told: this node, what it knows, the ways it has, and the broadcasts of late.
    fn greet_back(&mut self, now: Now, peer: Peer, node: NodeId, epoch: u64) {
        let was_alone =
            self.alone_since.take().is_some_and(|since| now.instant.since(since) > self.tuning.suspicion);
        // One that was started again says so by its record, which follows.
        let is_same = self.members.record(&node).is_none_or(|record| record.facts.epoch == epoch);
        if is_same && self.members.is_heard(now.instant, &node) || was_alone {
            self.rejoin(now);
        }
        self.size_up();
        self.rumors.add_listener(peer);
        let is_newcomer = now.unix_ms.saturating_sub(epoch) < NEWCOMER_MS;
        let has_dialed = self.neighbours.get(&peer).is_some_and(|neighbour| !neighbour.dialed);
        if self.samples() && is_newcomer && has_dialed {
            // The few that it knows may all be gone at once, long before rounds of gossip have told it of more.
            self.shuffle_to(peer);
        } else {
            let record = self.record.clone();
            self.tell_records(peer, vec![record]);
        }
        if self.samples() {
            // Who looks for more links, and knows nobody, asks at once.
            self.due.dial_now(now.instant);
        } else {
            self.say(peer, &Control::Digest(self.members.digest()));
        }
        let routes = self.table.tell_all(peer);
        for some in routes.chunks(MAX_ROWS) {
            self.say(peer, &Control::Routes(some.to_vec()));
        }
        for (topic, offers) in self.trees.recent(now.unix_ms, epoch) {
            self.say(peer, &Control::IHave { topic, offers });
        }
    }

    fn on_graft(&mut self, now: Now, peer: Peer, topic: TopicId, once: bool, offers: &[Offer]) {
        for (run, hops) in self.trees.on_graft(peer, topic, once, offers) {
            let class = run.head().class;
            self.push_broadcast(now, peer, class, run, hops);
        }
        // What it will be pushed from now on does not include what waits to be offered to it.
        let offers = if once { Vec::new() } else { self.trees.take_offers_to(peer, topic) };
        if !offers.is_empty() {
            self.say(peer, &Control::IHave { topic, offers });
        }
    }

    fn on_offers(&mut self, now: Now, peer: Peer, topic: TopicId, offers: &[Offer]) {
        let dest = if topic == MESH { Dest::Mesh } else { Dest::Topic(topic) };
        let is_new = |neighbour: &Neighbour| now.instant.since(neighbour.since) < NEW_FOR;
        let is_new = self.neighbours.get(&peer).is_some_and(is_new);
        let (mut recent, mut is_nearer) = (Vec::new(), false);
        for offer in offers {
            let flow = offer.flow(dest);
            let range: Range<u64> = offer.first..offer.first + u64::from(offer.count);
            // What was published here is not among what has come.
            let is_own = offer.origin == self.id;
            let parts = if is_own { Vec::new() } else { self.seen.missing(&flow, range) };
            self.trees.on_known(peer, topic, offer);
            if parts.is_empty() {
                is_nearer |= self.trees.shortcut(peer, topic, offer);
            }
            if is_new {
                let room = MAX_MISSING.saturating_sub(recent.len());
                recent.extend(parts.into_iter().map(|part| (flow, part)).take(room));
            } else {
                self.trees.on_offer(now.instant, peer, flow, &parts);
            }
        }
        if is_nearer {
            self.say(peer, &Control::Graft { topic, once: false, offers: Vec::new() });
        }
        if !recent.is_empty() {
            self.trees.on_recent(now.instant, peer, &recent, self.rng.f64());
        }
    }

    pub(super) fn say(&mut self, peer: Peer, control: &Control) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.say(control);
            if neighbour.is_stuck() {
                self.outputs.push_back(Output::Disconnect { peer, reason: Disconnect::Stuck });
            }
        }
    }

    pub(super) fn prune(&mut self, now: Now, peer: Peer, flow: &Flow, first: u64) {
        if let Some(topic) = tree_of(&flow.dest)
            && let Some(detour) = self.trees.on_duplicate(now.instant, peer, flow, first)
        {
            self.say(detour, &Control::Prune { topic });
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        for neighbour in self.neighbours.values_mut() {
            neighbour.send_ack(crate::time::Instant(0), true);
            neighbour.say(&Control::Goodbye);
        }
    }
}
