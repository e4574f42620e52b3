//! Links coming and going, and the control frames on them.

use std::ops::Range;

use bytes::Bytes;

use super::link::Neighbour;
use super::{Disconnect, Node, Output, Pending, Write};
use crate::broadcast::{MESH, tree_of};
use crate::directory::LinkPolicy;
use crate::frame::{Control, MAX_ROWS, Offer, Violation};
use crate::id::{NodeId, Peer, TopicId};
use crate::queue::{Drained, Item};
use crate::record::Record;
use crate::run::Dest;
use crate::time::Now;

/// Records in one frame: with eight long addresses and sixteen neighbours each they stay under the limit
/// of a control frame.
const RECORDS_PER_FRAME: usize = 32;

impl Node {
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
        if self.neighbours.len() >= self.directory.policy().capacity() && !self.make_room(now) {
            self.outputs.push_back(Output::Disconnect { peer, reason: Disconnect::TooManyLinks });
            return;
        }
        let mut neighbour = Neighbour::new(now.instant, node, dialed.is_some());
        neighbour.queue.share(&self.shares);
        neighbour.say(&Control::Hello { epoch: self.epoch });
        neighbour.ping(now.instant, self.rng.u64(..));
        self.neighbours.insert(peer, neighbour);
        self.by_node.insert(node, peer);
    }

    /// Lets a random neighbour go; it has heard of others to link to.
    fn make_room(&mut self, now: Now) -> bool {
        if self.directory.policy() == LinkPolicy::Explicit {
            return false;
        }
        let others = self.neighbours.iter().filter(|(_, neighbour)| neighbour.is_greeted());
        let others: Vec<Peer> = others.map(|(peer, _)| *peer).collect();
        let Some(gone) = self.rng.choice(others) else { return false };
        self.outputs.push_back(Output::Disconnect { peer: gone, reason: Disconnect::MakesRoom });
        self.on_link_down(now, gone);
        true
    }

    /// Of two links to one node both ends keep the one that the smaller id dialed; of two that the same end
    /// dialed the later, because the earlier is a leftover of a node that restarted.
    fn keeps_old(&self, old: Peer, node: NodeId, new_dialed: bool) -> bool {
        let old_dialed = self.neighbours.get(&old).is_some_and(|neighbour| neighbour.dialed);
        old_dialed != new_dialed && old_dialed == (self.id < node)
    }

    pub(super) fn on_link_down(&mut self, now: Now, peer: Peer) {
        let Some(mut neighbour) = self.neighbours.remove(&peer) else { return };
        self.by_node.remove(&neighbour.node);
        self.table.drop_link(peer);
        self.trees.drop_link(peer);
        self.directory.on_down(now.instant, neighbour.node, &mut self.rng);
        self.view_stale = true;
        self.ways_changed = true;
        self.record_stale = true;
        if neighbour.is_greeted() {
            self.outputs.push_back(Output::NeighbourDown { peer, node: neighbour.node });
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
        let Some(control) = Control::decode(frame)? else {
            self.counters.skipped_frames += 1;
            return Ok(());
        };
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return Ok(()) };
        let is_hello = matches!(control, Control::Hello { .. });
        if neighbour.is_greeted() == is_hello {
            return Err(Violation::NotGreeted);
        }
        match control {
            Control::Hello { epoch } => self.on_hello(now, peer, epoch),
            Control::Ping { nonce } => neighbour.say(&Control::Pong { nonce }),
            Control::Pong { nonce } => {
                if let Some(rtt_us) = neighbour.on_pong(now.instant, nonce) {
                    self.table.set_link(peer, rtt_us);
                    self.view_stale = true;
                }
            }
            Control::Ack { runs } => {
                let done = neighbour.queue.acknowledge(&runs).ok_or(Violation::BadAck)?;
                for item in done {
                    self.delete_held(item.key, &item.run);
                }
                self.ways_changed |= self.held.has_spilled();
            }
            Control::Records(records) => self.on_records(peer, records)?,
            Control::Routes(routes) => {
                for route in &routes {
                    let changed = self.table.learn(now.instant, peer, route);
                    self.view_stale |= changed;
                    self.ways_changed |= changed;
                }
            }
            Control::SeqnoRequest { node, seqno, hops } => {
                if let Some(next) = self.table.on_request(peer, node, seqno)
                    && let Some(hops) = hops.checked_sub(1)
                {
                    self.say(next, &Control::SeqnoRequest { node, seqno, hops });
                }
            }
            Control::Prune { topic } => self.trees.on_prune(peer, topic),
            Control::Graft { topic, offers } => self.on_graft(now, peer, topic, &offers),
            Control::IHave { topic, offers } => self.on_offers(now, peer, topic, &offers),
            Control::Goodbye => neighbour.leaving = true,
        }
        Ok(())
    }

    fn on_hello(&mut self, now: Now, peer: Peer, epoch: u64) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        neighbour.greet(epoch);
        let node = neighbour.node;
        // Until it is measured, a link costs what a pessimist would guess; the first pong comes at once.
        self.table.set_link(peer, neighbour.rtt_us().unwrap_or(100_000));
        self.outputs.push_back(Output::NeighbourUp { peer, node });
        self.resolve_doubt(node, epoch);
        self.view_stale = true;
        self.ways_changed = true;
        self.record_stale = true;
        self.renew_record(now);
        let records: Vec<Record> = self.directory.records().chain([&self.record]).cloned().collect();
        for some in records.chunks(RECORDS_PER_FRAME) {
            self.say(peer, &Control::Records(some.to_vec()));
        }
        let routes = self.table.tell_all(peer);
        for some in routes.chunks(MAX_ROWS) {
            self.say(peer, &Control::Routes(some.to_vec()));
        }
    }

    fn on_records(&mut self, from: Peer, records: Vec<Record>) -> Result<(), Violation> {
        let mut news = Vec::new();
        for record in records {
            if !self.directory.is_news(&record) {
                continue;
            }
            if !record.is_signed() {
                return Err(Violation::BadSignature);
            }
            self.resolve_doubt(record.node, record.epoch);
            self.writes.push(Write::PutRecord { node: record.node, bytes: record.to_bytes() });
            if self.directory.learn(record.clone()) {
                news.push(record);
            }
        }
        self.spread(&news, Some(from));
        Ok(())
    }

    /// Tells all neighbours but one.
    pub(super) fn spread(&mut self, records: &[Record], except: Option<Peer>) {
        for some in records.chunks(RECORDS_PER_FRAME) {
            let control = Control::Records(some.to_vec());
            let others =
                self.neighbours.iter_mut().filter(|(peer, n)| Some(**peer) != except && n.is_greeted());
            others.for_each(|(_, neighbour)| neighbour.say(&control));
        }
    }

    /// Signs a new record if what it says has changed, and tells it.
    pub(super) fn renew_record(&mut self, now: Now) {
        if !std::mem::take(&mut self.record_stale) {
            return;
        }
        let version = now.unix_ms.max(self.record.version + 1);
        let neighbours = self.by_node.keys().copied();
        self.record = Record::sign(&self.key, version, self.epoch, &self.name, &self.addrs, neighbours);
        let record = self.record.clone();
        self.spread(std::slice::from_ref(&record), None);
    }

    fn on_graft(&mut self, now: Now, peer: Peer, topic: TopicId, offers: &[Offer]) {
        for (run, hops) in self.trees.on_graft(peer, topic, offers) {
            let class = run.head().class;
            self.push_broadcast(now, peer, class, run, hops);
        }
    }

    fn on_offers(&mut self, now: Now, peer: Peer, topic: TopicId, offers: &[Offer]) {
        let dest = if topic == MESH { Dest::Mesh } else { Dest::Topic(topic) };
        for offer in offers {
            let flow = offer.flow(dest);
            let range: Range<u64> = offer.first..offer.first + u64::from(offer.count);
            let parts = self.seen.missing(&flow, range);
            self.trees.on_offer(now.instant, peer, flow, &parts);
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

    pub(super) fn prune(&mut self, peer: Peer, flow: &crate::run::Flow) {
        if let Some(topic) = tree_of(&flow.dest)
            && self.trees.on_duplicate(peer, flow)
        {
            self.say(peer, &Control::Prune { topic });
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        for neighbour in self.neighbours.values_mut() {
            neighbour.send_ack(crate::time::Instant(0), true);
            neighbour.say(&Control::Goodbye);
        }
    }
}
