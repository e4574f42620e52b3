//! What nodes know of each other: own record, news, digests, accusations. Says nothing about links.

use std::sync::Arc;
use std::time::Duration;

use super::{Node, Output, Write};
use crate::accusation::Accusation;
use crate::frame::{Control, Digest, MAX_CONTROL_FRAME, MAX_ROWS, Violation};
use crate::id::{NodeId, Peer};
use crate::members::{Learnt, MemberState};
use crate::record::Record;
use crate::time::{Instant, Now};

/// How long news is gathered before it is told on, at least.
const SPREAD_AFTER: Duration = Duration::from_millis(20);
/// How much longer, at random, for each member: whoever hears the news meanwhile need not be told it.
const SPREAD_BY_MEMBER: Duration = Duration::from_millis(3);
/// How much longer, at most.
const SPREAD_WITHIN: Duration = Duration::from_millis(150);
/// Accusations that are noted of one neighbour, at most.
const MAX_NOTED: usize = 4;
/// Up to so many members, links are told to all when they change; beyond, every 20 ms a member.
const FEW: usize = 32;
/// A node that was apart says that it lives within this time, at random, so that half a mesh does not speak at
/// once.
const REJOIN_WITHIN: Duration = Duration::from_secs(5);
/// Members that come back at about the same time before this node takes itself for one that was apart.
const REJOINED: u32 = 2;
/// Records that a neighbour is told of a mesh that is known by a sample (HyParView paper: shuffles of 3 + 4).
/// Nine records of at most 3.4 KiB fit into one control frame.
const SHUFFLE: usize = 8;
/// A cut is looked for at most once in this time when members come and go, besides with each heartbeat.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// At most one refutation in this time.
const REFUTE_EVERY: Duration = Duration::from_millis(200);

impl Node {
    /// Says that the own record is to be written anew by then.
    pub(super) fn renew_by(&mut self, at: Instant) {
        self.due.renew = Some(self.due.renew.map_or(at, |due| due.min(at)));
    }

    /// Says that the own state has changed: it is told with the next round of gossip.
    pub(super) fn renew_soon(&mut self, now: Now) {
        self.renew_by(now.instant.max(self.renewed + self.tuning.gossip));
    }

    /// The own links have changed: the neighbours are told soon, all the others when it is worth it.
    pub(super) fn on_links_changed(&mut self, now: Now) {
        self.links_stale = true;
        self.on_hierarchy_news(now);
        if self.samples() {
            return;
        }
        let nodes = self.members.len();
        let pause = if nodes <= FEW {
            Duration::from_millis(500)
        } else {
            Duration::from_millis(20).saturating_mul(u32::try_from(nodes).unwrap_or(u32::MAX))
        };
        self.renew_by(now.instant + pause.max(self.tuning.heartbeat));
    }

    /// Signs a new record and tells it.
    pub(super) fn renew_record(&mut self, now: Now) {
        self.due.renew = None;
        self.renewed = now.instant;
        let version = now.unix_ms.max(self.record.version + 1);
        self.facts.neighbours = self.by_node.keys().copied().collect();
        self.record = Arc::new(Record::sign(&self.key, version, self.facts.clone()));
        self.record.note_signed(&mut self.verified);
        self.members.note_own(version);
        self.spread(now, self.id, None, true);
    }

    /// Says whether the mesh is known by a sample: there are more nodes than are known, or a newcomer hears so
    /// from most of those that it has dialed.
    pub(super) fn samples(&self) -> bool {
        if self.members.is_sample() {
            return true;
        }
        // Those that this node has dialed were there before it. When none is left, the others have to do.
        let mut votes = [(0, 0); 2];
        for neighbour in self.neighbours.values().filter(|neighbour| neighbour.is_greeted()) {
            let (all, say_so) = &mut votes[usize::from(neighbour.dialed)];
            (*all, *say_so) = (*all + 1, *say_so + usize::from(neighbour.samples));
        }
        let [others, dialed] = votes;
        let (all, say_so) = if dialed.0 > 0 { dialed } else { others };
        say_so * 2 > all
    }

    /// Returns how many nodes there are, as far as is known.
    pub(super) fn mesh_size(&self) -> usize {
        if self.samples() { usize::MAX } else { self.members.len() + 1 }
    }

    /// Draws the consequences of how large the mesh is now. Neighbours that take it for small are told when it is not:
    /// what they said of themselves when they came may be all that newcomers go by.
    pub(super) fn size_up(&mut self) {
        let samples = self.samples();
        self.table.set_size((!samples).then(|| self.members.len() + 1));
        if samples && !std::mem::replace(&mut self.is_sampling, samples) {
            // Those too that have not said anything yet: they were greeted before this node knew.
            let others = self.neighbours.iter().filter(|(_, neighbour)| !neighbour.samples);
            let others: Vec<Peer> = others.map(|(peer, _)| *peer).collect();
            others.into_iter().for_each(|peer| self.shuffle_to(peer));
        }
        self.is_sampling = samples;
    }

    /// Notes a node of which there is news to tell.
    fn spread(&mut self, now: Now, node: NodeId, from: Option<Peer>, is_urgent: bool) {
        let to = self.greeted().filter(|peer| Some(*peer) != from).collect();
        self.rumors.add_record(node, to, is_urgent);
        self.spread_soon(now, is_urgent);
    }

    /// Sets when news is told: what refutes an accusation at once, everything else can wait.
    fn spread_soon(&mut self, now: Now, is_urgent: bool) {
        let soon = now.instant + SPREAD_AFTER;
        if is_urgent {
            self.due.spread = Some(self.due.spread.map_or(soon, |due| due.min(soon)));
        } else if self.due.spread.is_none() {
            let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
            let within = SPREAD_BY_MEMBER.saturating_mul(members).min(SPREAD_WITHIN);
            self.due.spread = Some(soon + within.mul_f64(self.rng.f64()));
        }
    }

    /// Tells what may be told now; the rest waits for the next sweep.
    pub(super) fn tell_spread(&mut self) {
        self.due.spread = None;
        let greeted = self.neighbours.iter().filter(|(_, neighbour)| neighbour.is_greeted());
        let mut budgets = greeted.map(|(peer, neighbour)| (*peer, neighbour.news_bytes)).collect();
        let (own, members) = (self.id, &self.members);
        // The own word is free: a node that leaves has no other second.
        let size = |node: &NodeId| {
            if *node == own { Some(0) } else { members.record(node).map(|record| record.size()) }
        };
        let told = self.rumors.take(&mut budgets, size);
        for (peer, left) in budgets {
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.news_bytes = left;
            }
        }
        for (peer, told) in told {
            let records = told.records.iter().filter_map(|node| self.record_of(node)).collect();
            self.tell_records(peer, records);
            for some in told.accusations.chunks(MAX_ROWS) {
                self.say(peer, &Control::Accusations(some.to_vec()));
            }
        }
    }

    fn record_of(&self, node: &NodeId) -> Option<Arc<Record>> {
        if *node == self.id { Some(self.record.clone()) } else { self.members.record(node).cloned() }
    }

    /// Tells records in frames that fit.
    pub(super) fn tell_records(&mut self, peer: Peer, records: Vec<Arc<Record>>) {
        let (mut frame, mut bytes) = (Vec::new(), 0);
        for record in records {
            let len = record.size();
            if bytes + len > MAX_CONTROL_FRAME / 2 || frame.len() == MAX_ROWS {
                self.say(peer, &Control::Records(std::mem::take(&mut frame)));
                bytes = 0;
            }
            bytes += len;
            frame.push(record);
        }
        if !frame.is_empty() {
            self.say(peer, &Control::Records(frame));
        }
    }

    pub(super) fn on_records(
        &mut self,
        now: Now,
        from: Peer,
        records: Vec<Arc<Record>>,
    ) -> Result<(), Violation> {
        for record in records {
            if !self.members.is_news(now, &record) {
                self.note_known(from, &record);
                self.contradict(now, from, &record);
                continue;
            }
            if !record.is_signed_by_memo(&mut self.verified) {
                return Err(Violation::BadSignature);
            }
            self.learn(now, record, Some(from));
        }
        Ok(())
    }

    fn note_known(&mut self, peer: Peer, record: &Record) {
        let own = (record.node == self.id).then_some(&self.record);
        let known = own.or_else(|| self.members.record(&record.node));
        if known.is_some_and(|known| known.version == record.version) {
            self.rumors.knows(peer, &record.node);
        }
    }

    pub(super) fn learn(&mut self, now: Now, record: Arc<Record>, from: Option<Peer>) {
        let node = record.node;
        self.resolve_doubt(node, record.facts.epoch);
        let has_moved = |known: &Arc<Record>| known.facts.addrs != record.facts.addrs;
        let moved = self.members.record(&node).is_none_or(has_moved);
        let was_sample = self.samples();
        // Who refutes an accusation has little time, and who leaves is seen to leave at once.
        let is_urgent = record.facts.left || self.members.state(&node) == Some(MemberState::Suspect);
        let learnt = self.members.learn(now, record.clone(), &mut self.rng);
        if learnt == Learnt::Nothing {
            return;
        }
        self.on_hierarchy_news(now);
        self.knock_again(&node);
        // Of a sample only those are worth a place on disk that have been neighbours: the way back in after all
        // others are gone.
        let is_anchor = !was_sample || self.by_node.contains_key(&node);
        if moved {
            self.directory.on_moved(&node);
        }
        if is_anchor && (moved || !self.anchors.contains(&node)) {
            self.anchors.insert(node);
            self.writes.push(Write::PutRecord { node, bytes: record.to_bytes() });
        }
        if learnt == Learnt::Back {
            self.on_back(now);
        }
        if !was_sample {
            self.spread(now, node, from, is_urgent);
        }
    }

    /// A node that was taken for dead was only apart. When several come back, it is this node's part of the mesh
    /// that the others have taken for dead, and it has to speak for itself.
    fn on_back(&mut self, now: Now) {
        if now.instant.since(self.back.0) > REJOIN_WITHIN {
            self.back = (now.instant, 0);
        }
        self.back.1 += 1;
        if self.back.1 >= REJOINED && now.instant.since(self.renewed) > REJOIN_WITHIN {
            self.rejoin(now);
        }
    }

    pub(super) fn rejoin(&mut self, now: Now) {
        let delay = REJOIN_WITHIN.mul_f64(self.rng.f64());
        self.renew_by(now.instant + delay);
    }

    /// A neighbour tells of a node that is dead to all here: it learns so, and can find out.
    fn contradict(&mut self, now: Now, to: Peer, record: &Record) {
        let known = self.members.record(&record.node).map(|known| known.version);
        if self.members.state(&record.node) != Some(MemberState::Dead)
            || known.is_none_or(|known| known < record.version)
        {
            return;
        }
        let Some(neighbour) = self.neighbours.get_mut(&to) else { return };
        if neighbour.allowance > 0 && now.instant.since(self.renewed) > Duration::ZERO {
            neighbour.allowance -= 1;
            let accusation = Accusation::sign(&self.key, record.node, record.version);
            neighbour.say(&Control::Accusations(vec![accusation]));
        }
    }

    /// Says that a neighbour went silent.
    pub(super) fn accuse(&mut self, now: Now, node: NodeId) {
        let Some(version) = self.members.record(&node).map(|record| record.version) else { return };
        if self.members.state(&node) == Some(MemberState::Left) {
            return;
        }
        let accusation = Accusation::sign(&self.key, node, version);
        self.on_accusation(now, accusation, None);
    }

    pub(super) fn on_accusations(
        &mut self,
        now: Now,
        from: Peer,
        accusations: Vec<Accusation>,
    ) -> Result<(), Violation> {
        for accusation in accusations {
            if accusation.subject == self.id {
                self.refute(now, &accusation);
                continue;
            }
            // A neighbour that is heard right now lives, whatever is said; but it has to hear of it.
            if let Some(peer) = self.by_node.get(&accusation.subject).copied() {
                self.note_accused(peer, accusation);
                continue;
            }
            // Of a sample each watches its own neighbours, and nobody tells on: the accused would not hear of it.
            if self.samples() {
                continue;
            }
            if !self.members.is_accusation_news(now.instant, &accusation) {
                self.rumors.knows_accusation(from, &accusation);
                continue;
            }
            if !accusation.is_signed(&mut self.verified) {
                return Err(Violation::BadSignature);
            }
            self.on_accusation(now, accusation, Some(from));
        }
        Ok(())
    }

    fn note_accused(&mut self, peer: Peer, accusation: Accusation) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let is_known = neighbour.accused.iter().any(|known| known.accuser == accusation.accuser);
        if !is_known && neighbour.accused.len() < MAX_NOTED && accusation.is_signed(&mut self.verified) {
            neighbour.accused.push(accusation);
            neighbour.say(&Control::Accusations(vec![accusation]));
        }
    }

    pub(super) fn on_accusation(&mut self, now: Now, accusation: Accusation, from: Option<Peer>) {
        let is_news = self.members.accuse(now.instant, &accusation, self.tuning.suspicion);
        if is_news && !self.samples() {
            let to = self.greeted().filter(|peer| Some(*peer) != from).collect();
            self.rumors.add_accusation(accusation, to);
            self.spread_soon(now, false);
        }
    }

    /// It is said that this node went silent: a newer record says that it did not.
    fn refute(&mut self, now: Now, accusation: &Accusation) {
        if accusation.version >= self.record.version {
            self.renew_by(now.instant.max(self.renewed + REFUTE_EVERY));
        }
    }

    /// One round: a random neighbour is told what is known here, summed up; or, of a mesh that is larger than
    /// what is known, a few records.
    pub(super) fn gossip(&mut self) {
        let peers: Vec<Peer> = self.greeted().collect();
        let Some(peer) = self.rng.choice(peers) else { return };
        if self.samples() {
            self.shuffle_to(peer);
        } else {
            self.say(peer, &Control::Digest(self.members.digest()));
        }
    }

    pub(super) fn shuffle_to(&mut self, peer: Peer) {
        let mut records = self.members.sample(SHUFFLE, &mut self.rng);
        records.push(self.record.clone());
        self.say(peer, &Control::Shuffle(records));
    }

    pub(super) fn on_digest(&mut self, peer: Peer, theirs: &Digest) {
        if self.samples() {
            return;
        }
        let own = self.members.digest();
        for bucket in (0..own.len()).filter(|bucket| own[*bucket] != theirs[*bucket]) {
            // A bucket of more than one page is compared from a random place on: in turn all of it is.
            let mut from = [0; 32];
            if self.members.len() > crate::members::PAGE * own.len() / 2 {
                from[0] = (bucket as u8) << 4 | self.rng.u8(..16);
                from[1] = self.rng.u8(..);
            }
            let (first, last, rows) = self.members.page(bucket, NodeId(from), self.record.version);
            self.say(peer, &Control::Versions { first, last, rows });
        }
    }

    pub(super) fn on_versions(&mut self, peer: Peer, first: NodeId, last: NodeId, rows: &[(NodeId, u64)]) {
        if self.samples() {
            return;
        }
        let (tell, want) = self.members.compare(first, last, rows, self.record.version);
        self.answer(peer, &tell);
        for some in want.chunks(MAX_ROWS) {
            self.say(peer, &Control::Want(some.to_vec()));
        }
    }

    /// A neighbour asks for the records of these nodes; of some to dial, when it names nobody.
    pub(super) fn on_want(&mut self, peer: Peer, nodes: &[NodeId]) {
        if !nodes.is_empty() {
            self.answer(peer, nodes);
        } else if self.samples() {
            self.shuffle_to(peer);
        } else {
            let some: Vec<NodeId> =
                self.members.sample(SHUFFLE, &mut self.rng).iter().map(|record| record.node).collect();
            self.answer(peer, &some);
        }
    }

    /// Tells a neighbour the records of these nodes, as many as it may be told in a second.
    fn answer(&mut self, peer: Peer, nodes: &[NodeId]) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let count = nodes.len().min(neighbour.allowance);
        neighbour.allowance -= count;
        nodes.iter().take(count).for_each(|node| self.rumors.knows(peer, node));
        let records = nodes.iter().take(count).filter_map(|node| self.record_of(node)).collect();
        self.tell_records(peer, records);
    }

    /// Tells the outside what has changed, and ends suspicions.
    pub(super) fn tell_members(&mut self, now: Now) {
        self.members.expire(now.instant, self.tuning.suspicion);
        let mut changed = false;
        while let Some((node, state)) = self.members.take_change() {
            self.outputs.push_back(Output::Member { node, state });
            changed = true;
        }
        for node in self.members.take_forgotten() {
            if self.anchors.remove(&node) {
                self.writes.push(Write::DropRecord { node });
            }
        }
        if changed {
            self.size_up();
            self.on_hierarchy_news(now);
            self.is_partition_stale = true;
            // At once, but not for each of many that come and go together: the heartbeat looks at the rest.
            if now.instant.since(self.partition_looked) > LOOK_EVERY {
                self.partition_looked = now.instant;
                self.watch_partition();
            }
        }
    }

    /// A third of the mesh gone at a time is a cut rather than that many failures.
    pub(super) fn watch_partition(&mut self) {
        if !std::mem::take(&mut self.is_partition_stale) {
            return;
        }
        let away = self.members.count(MemberState::Dead);
        let all =
            away + 1 + self.members.count(MemberState::Alive) + self.members.count(MemberState::Suspect);
        match self.away {
            None if away > 0 && away * 3 >= all => {
                self.away = Some(away);
                self.outputs.push_back(Output::Partitioned { away });
            }
            Some(before) if away * 6 < all => {
                self.away = None;
                self.outputs.push_back(Output::Merged { back: before.saturating_sub(away) });
            }
            Some(before) => self.away = Some(before.max(away)),
            None => {}
        }
    }
}
