//! Who is in the mesh: what every node says of itself, and whether it lives. Says nothing about links.
//!
//! Knowledge is spread twice: news is told on by whoever hears it (rumor.rs), and digests repair what was missed (van Renesse et al.,
//! Efficient reconciliation and flow control for anti-entropy protocols, 2008: Scuttlebutt). A digest is 16
//! sums, so that two that know the same exchange 137 bytes however large the mesh is; where sums differ,
//! versions are compared, a page at a time.
//!
//! Nobody speaks for another: a record is its owner's, and an accusation of silence only starts a time in
//! which the accused can refute it by a newer record.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::accusation::Accusation;
use crate::frame::Digest;
use crate::id::NodeId;
use crate::record::Record;
use crate::run::MAX_SKEW_MS;
use crate::time::{Instant, Now};

/// Nodes that were forgotten and whose old records must not come back, at most.
pub const MAX_GRAVES: usize = 16_384;
/// How long a node that is dead or has left is remembered with its addresses: who comes back is dialed.
pub const REMEMBER: Duration = Duration::from_secs(24 * 3600);
/// The grid of times at which suspicions end, in microseconds.
const LOOK_EVERY_US: u64 = 250_000;
/// Rows of one page of versions.
pub const PAGE: usize = 256;
/// Accusers of one node that are noted; more say nothing new.
const MAX_ACCUSERS: usize = 4;
/// Neighbours that must agree before the short time of suspicion counts, if the accused has as many.
const ACCUSERS: usize = 2;
/// How many times longer a node is under suspicion when too few of its neighbours accuse it.
const ALONE: u32 = 6;
/// Refuted accusations after which an accuser is not listened to.
const ERRORS: u32 = 3;
/// How long it is not listened to.
const DISTRUST: Duration = Duration::from_secs(600);
/// Accusers whose errors are counted, at most.
const MAX_REFUTED: usize = 1024;

/// What is known of a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It lives, as far as anybody knows.
    Alive,
    /// Neighbours of it say that it went silent.
    Suspect,
    /// It went silent and did not refute it.
    Dead,
    /// It said that it leaves.
    Left,
}

impl MemberState {
    /// Returns the name as users see it.
    pub fn name(self) -> &'static str {
        match self {
            MemberState::Alive => "alive",
            MemberState::Suspect => "suspect",
            MemberState::Dead => "dead",
            MemberState::Left => "left",
        }
    }
}

/// A node as users see it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// What it says of itself.
    pub record: &'a Record,
    /// Whether it lives.
    pub state: MemberState,
    /// Since when.
    pub since: Instant,
}

#[derive(Debug)]
struct Entry {
    record: Arc<Record>,
    state: MemberState,
    since: Instant,
    accusers: Vec<NodeId>,
    sum: u64,
}

/// What came of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// It was known, is older than what is known, or not to be believed.
    Nothing,
    /// A node that was not known, or something new about one.
    News,
    /// A node is there again that was taken for dead, without having been started again: it was apart.
    Back,
}

/// A change of a member's state.
pub type Change = (NodeId, MemberState);

/// The members of the mesh that one node knows, itself excepted.
#[derive(Debug)]
pub struct Members {
    own: NodeId,
    capacity: usize,
    entries: BTreeMap<NodeId, Entry>,
    graves: BTreeMap<NodeId, u64>,
    grave_order: VecDeque<NodeId>,
    sums: Digest,
    own_sum: u64,
    /// When the next suspicion or memory may end.
    next: Option<Instant>,
    changes: VecDeque<Change>,
    refuted: BTreeMap<NodeId, (u32, Instant)>,
    forgotten: Vec<NodeId>,
    /// Nodes that do not make room for others.
    held: BTreeSet<NodeId>,
}

impl Entry {
    /// The dead are not told of: a newcomer shall not take them for living.
    fn is_told(&self) -> bool {
        self.state != MemberState::Dead
    }

    fn told_sum(&self) -> u64 {
        if self.is_told() { self.sum } else { 0 }
    }
}

impl Members {
    /// Makes a list without anybody, for at most `capacity` nodes.
    pub fn new(own: NodeId, capacity: usize) -> Members {
        Members {
            own,
            capacity,
            entries: BTreeMap::new(),
            graves: BTreeMap::new(),
            grave_order: VecDeque::new(),
            sums: Digest::default(),
            own_sum: 0,
            next: None,
            changes: VecDeque::new(),
            refuted: BTreeMap::new(),
            forgotten: Vec::new(),
            held: BTreeSet::new(),
        }
    }

    /// Says whether the mesh is larger than what is known of it.
    pub fn is_sample(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    /// Returns how many nodes are known, this one excepted.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps a node also when a sample is full; no more than half a sample.
    pub fn hold(&mut self, node: NodeId) {
        if self.held.len() < self.capacity / 2 {
            self.held.insert(node);
        }
    }

    /// The same for a parent or a child, also beyond that half: there are few of them.
    pub fn hold_kin(&mut self, node: NodeId) {
        if self.held.len() + 1 < self.capacity {
            self.held.insert(node);
        }
    }

    /// Lets a node make room for others again.
    pub fn release(&mut self, node: &NodeId) {
        self.held.remove(node);
    }

    /// Returns how many forgotten nodes are remembered as such.
    pub fn graves(&self) -> usize {
        self.graves.len()
    }

    /// Says whether a record would be news and can be believed, before its signature is checked.
    pub fn is_news(&self, now: Now, record: &Record) -> bool {
        self.is_wanted(&record.node, record.version) && is_of_our_time(now, record.version)
    }

    fn is_wanted(&self, node: &NodeId, version: u64) -> bool {
        *node != self.own
            && self.graves.get(node).is_none_or(|buried| *buried < version)
            && self.entries.get(node).is_none_or(|entry| entry.record.version < version)
    }

    /// Takes a record in whose signature has been checked.
    pub fn learn(&mut self, now: Now, record: Arc<Record>, rng: &mut fastrand::Rng) -> Learnt {
        if !self.is_news(now, &record) {
            return Learnt::Nothing;
        }
        let node = record.node;
        let state = if record.facts.left { MemberState::Left } else { MemberState::Alive };
        let sum = sum(&node, record.version);
        let Some(entry) = self.entries.get_mut(&node) else {
            if self.is_sample() && !self.make_room(rng) {
                return Learnt::Nothing;
            }
            self.graves.remove(&node);
            self.add(node, sum);
            self.entries.insert(node, Entry { record, state, since: now.instant, accusers: Vec::new(), sum });
            self.changes.push_back((node, state));
            if state == MemberState::Left {
                self.watch(now.instant + REMEMBER);
            }
            return Learnt::News;
        };
        let was_apart = entry.state == MemberState::Dead
            && state == MemberState::Alive
            && entry.record.facts.epoch == record.facts.epoch;
        let old = entry.told_sum();
        let refuted = std::mem::take(&mut entry.accusers);
        let is_same_start = entry.record.facts.epoch == record.facts.epoch;
        (entry.record, entry.sum) = (record, sum);
        if entry.state != state {
            (entry.state, entry.since) = (state, now.instant);
            self.changes.push_back((node, state));
            self.watch(now.instant + REMEMBER);
        }
        let Some(entry) = self.entries.get(&node) else { return Learnt::News };
        let new = entry.told_sum();
        self.add(node, old ^ new);
        if is_same_start && state == MemberState::Alive {
            refuted.into_iter().for_each(|accuser| self.discredit(now.instant, accuser));
        }
        if was_apart { Learnt::Back } else { Learnt::News }
    }

    /// An accusation was refuted. Whoever errs often is not listened to for a while, so that a liar cannot
    /// keep the mesh busy.
    fn discredit(&mut self, now: Instant, accuser: NodeId) {
        if self.refuted.len() >= MAX_REFUTED && !self.refuted.contains_key(&accuser) {
            self.refuted.retain(|_, (_, since)| now.since(*since) < DISTRUST);
            if self.refuted.len() >= MAX_REFUTED {
                return;
            }
        }
        let (count, since) = self.refuted.entry(accuser).or_insert((0, now));
        (*count, *since) = (*count + 1, now);
    }

    fn is_distrusted(&self, now: Instant, accuser: &NodeId) -> bool {
        let often = |(count, since): &(u32, Instant)| *count >= ERRORS && now.since(*since) < DISTRUST;
        self.refuted.get(accuser).is_some_and(often)
    }

    /// A full list lets one go: a dead one first, else a random one, if it is a sample.
    fn make_room(&mut self, rng: &mut fastrand::Rng) -> bool {
        let gone = |entry: &Entry| matches!(entry.state, MemberState::Dead | MemberState::Left);
        let oldest = self.entries.iter().filter(|(_, e)| gone(e)).min_by_key(|(_, e)| e.since);
        let node = match oldest {
            Some((node, _)) => *node,
            None => {
                let free = self.entries.keys().filter(|node| !self.held.contains(node));
                match rng.choice(free.copied().collect::<Vec<_>>()) {
                    Some(node) => node,
                    None => return false,
                }
            }
        };
        self.bury(node);
        true
    }

    /// Forgets a node, but not which version of it was the last.
    fn bury(&mut self, node: NodeId) {
        let Some(entry) = self.entries.remove(&node) else { return };
        self.add(node, entry.told_sum());
        self.forgotten.push(node);
        if !matches!(entry.state, MemberState::Dead | MemberState::Left) {
            return; // it made room in a sample and may come back with the same record
        }
        if self.graves.insert(node, entry.record.version).is_none() {
            self.grave_order.push_back(node);
        }
        if self.grave_order.len() > MAX_GRAVES
            && let Some(oldest) = self.grave_order.pop_front()
        {
            self.graves.remove(&oldest);
        }
    }

    /// This node has a new record.
    pub fn note_own(&mut self, version: u64) {
        let own = self.own;
        let new = sum(&own, version);
        self.add(own, self.own_sum ^ new);
        self.own_sum = new;
    }

    fn add(&mut self, node: NodeId, sum: u64) {
        self.sums[bucket(&node)] ^= sum;
    }

    /// Takes an accusation in whose signature has been checked. Returns whether it is news to tell on.
    pub fn accuse(&mut self, now: Instant, accusation: &Accusation, suspicion: Duration) -> bool {
        if !self.is_accusation_news(now, accusation) {
            return false;
        }
        let Some(entry) = self.entries.get_mut(&accusation.subject) else { return false };
        entry.accusers.push(accusation.accuser);
        if entry.state == MemberState::Alive {
            entry.state = MemberState::Suspect;
            entry.since = now;
            self.changes.push_back((accusation.subject, MemberState::Suspect));
        }
        self.watch(now + suspicion);
        true
    }

    /// Says whether an accusation would be news, before its signature is checked. Only members count.
    pub fn is_accusation_news(&self, now: Instant, accusation: &Accusation) -> bool {
        let Some(entry) = self.entries.get(&accusation.subject) else { return false };
        let lives = matches!(entry.state, MemberState::Alive | MemberState::Suspect);
        let knows = accusation.accuser == self.own || self.entries.contains_key(&accusation.accuser);
        lives
            && knows
            && accusation.accuser != accusation.subject
            && !self.is_distrusted(now, &accusation.accuser)
            && accusation.version >= entry.record.version
            && entry.accusers.len() < MAX_ACCUSERS
            && !entry.accusers.contains(&accusation.accuser)
    }

    /// A neighbour answers: whatever is said of it, it lives. Returns whether it was taken for dead.
    pub fn is_heard(&mut self, now: Instant, node: &NodeId) -> bool {
        let Some(entry) = self.entries.get_mut(node) else { return false };
        if matches!(entry.state, MemberState::Alive | MemberState::Left) {
            return false;
        }
        let was_dead = entry.state == MemberState::Dead;
        let old = entry.told_sum();
        (entry.state, entry.since) = (MemberState::Alive, now);
        entry.accusers.clear();
        let new = entry.told_sum();
        self.add(*node, old ^ new);
        self.changes.push_back((*node, MemberState::Alive));
        was_dead
    }

    /// Ends suspicions and memories whose time is over.
    pub fn expire(&mut self, now: Instant, suspicion: Duration) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        self.next = None;
        let mut forgotten = Vec::new();
        let mut next = None;
        let mut dead = Vec::new();
        for (node, entry) in &self.entries {
            let until = match entry.state {
                MemberState::Alive => continue,
                MemberState::Suspect => entry.since + suspicion * self.patience(node, entry),
                MemberState::Dead | MemberState::Left => entry.since + REMEMBER,
            };
            if until > now {
                next = Some(next.map_or(until, |next: Instant| next.min(until)));
            } else if entry.state == MemberState::Suspect {
                dead.push(*node);
            } else {
                forgotten.push(*node);
            }
        }
        for node in dead {
            if let Some(entry) = self.entries.get_mut(&node) {
                (entry.state, entry.since) = (MemberState::Dead, now);
                let sum = entry.sum;
                self.add(node, sum);
                self.changes.push_back((node, MemberState::Dead));
            }
        }
        forgotten.into_iter().for_each(|node| self.bury(node));
        if let Some(next) = next {
            self.watch(next);
        }
    }

    /// 1 when enough of the accused's neighbours agree, more when too few do.
    fn patience(&self, node: &NodeId, entry: &Entry) -> u32 {
        let lives = |id: &NodeId| {
            *id == self.own || self.entries.get(id).is_some_and(|e| e.state == MemberState::Alive)
        };
        let listed = entry.record.facts.neighbours.iter().filter(|id| lives(id)).count();
        let is_neighbour = |id: &&NodeId| {
            **id == self.own
                || entry.record.facts.neighbours.contains(id)
                || self.entries.get(id).is_some_and(|e| e.record.facts.neighbours.contains(node))
        };
        let agree = entry.accusers.iter().filter(is_neighbour).count();
        if agree >= listed.clamp(1, ACCUSERS) { 1 } else { ALONE }
    }

    /// All that ends within the same quarter of a second is looked at together: a flood of accusations must not
    /// cost a walk through all members each.
    fn watch(&mut self, at: Instant) {
        let at = Instant(at.0.div_ceil(LOOK_EVERY_US) * LOOK_EVERY_US);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Returns when [`Members::expire`] has something to look at.
    pub fn next_due(&self) -> Option<Instant> {
        self.next
    }

    /// Takes the nodes that were forgotten, so that a store can forget them too.
    pub fn take_forgotten(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.forgotten)
    }

    /// Returns the members that live as far as anybody says, but that nobody here can watch: no chain of links
    /// between living nodes leads there from `links`, the neighbours of this node.
    pub fn orphans(&self, links: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
        let living = || self.entries.iter().filter(|(_, entry)| entry.state == MemberState::Alive);
        let mut ahead: Vec<NodeId> = links.into_iter().collect();
        let mut reached: BTreeSet<NodeId> = ahead.iter().copied().collect();
        while let Some(node) = ahead.pop() {
            // Who is reached vouches for those it lists; that a dead one still lists a living one says nothing.
            let Some(entry) = self.entries.get(&node).filter(|entry| entry.state == MemberState::Alive)
            else {
                continue;
            };
            let next = entry.record.facts.neighbours.iter().copied();
            ahead.extend(next.filter(|next| reached.insert(*next)));
        }
        living().filter(|(node, _)| !reached.contains(*node)).map(|(node, _)| *node).collect()
    }

    /// Returns how many nodes are in this state.
    pub fn count(&self, state: MemberState) -> usize {
        self.entries.values().filter(|entry| entry.state == state).count()
    }

    /// Takes the next change.
    pub fn take_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Returns the sums of all that is known, this node included.
    pub fn digest(&self) -> Digest {
        self.sums
    }

    /// Returns the versions known in one bucket, a page of them from `from` on, with the range of ids that it
    /// covers. `own` is this node's version.
    pub fn page(&self, bucket: usize, from: NodeId, own: u64) -> (NodeId, NodeId, Vec<(NodeId, u64)>) {
        let (low, high) = bounds(bucket);
        let first = from.clamp(low, high);
        let told = self.entries.range(first..=high).filter(|(_, entry)| entry.is_told());
        let others = told.map(|(node, entry)| (*node, entry.record.version));
        let mut rows: Vec<(NodeId, u64)> = others.take(PAGE + 1).collect();
        if (first..=high).contains(&self.own) {
            rows.push((self.own, own));
            rows.sort_unstable();
        }
        let last = match rows.get(PAGE) {
            Some((beyond, _)) => {
                let last = before(*beyond);
                rows.truncate(PAGE);
                last
            }
            None => high,
        };
        (first, last, rows)
    }

    /// Compares a neighbour's page with what is known: the nodes of which it knows less, and those of which
    /// this one does.
    pub fn compare(
        &self,
        first: NodeId,
        last: NodeId,
        rows: &[(NodeId, u64)],
        own: u64,
    ) -> (Vec<NodeId>, Vec<NodeId>) {
        let theirs: BTreeMap<NodeId, u64> = rows.iter().copied().collect();
        let lacks = |node: &NodeId, version: u64| theirs.get(node).is_none_or(|v| *v < version);
        let mut tell: Vec<NodeId> = Vec::new();
        if first <= last {
            let known = self.entries.range(first..=last).filter(|(_, entry)| entry.is_told());
            let known = known.map(|(node, entry)| (*node, entry.record.version));
            let own = (first..=last).contains(&self.own).then_some((self.own, own));
            tell.extend(known.chain(own).filter(|(node, v)| lacks(node, *v)).map(|(node, _)| node));
        }
        let want = rows.iter().filter(|(node, v)| self.is_wanted(node, *v)).map(|(node, _)| *node);
        (tell, want.collect())
    }

    /// Returns what a node says of itself.
    pub fn record(&self, node: &NodeId) -> Option<&Arc<Record>> {
        self.entries.get(node).map(|entry| &entry.record)
    }

    /// Returns whether a node lives; `None` when it is not known.
    pub fn state(&self, node: &NodeId) -> Option<MemberState> {
        self.entries.get(node).map(|entry| entry.state)
    }

    /// Returns all records, in the order of the ids.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.entries.values().map(|entry| &entry.record)
    }

    /// Returns all that is known, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = Member<'_>> {
        self.entries.values().map(|entry| Member {
            record: &entry.record,
            state: entry.state,
            since: entry.since,
        })
    }

    /// Returns up to `n` random records of nodes that may be there.
    pub fn sample(&self, n: usize, rng: &mut fastrand::Rng) -> Vec<Arc<Record>> {
        let there = self.entries.values().filter(|entry| entry.state == MemberState::Alive);
        let mut all: Vec<&Arc<Record>> = there.map(|entry| &entry.record).collect();
        for at in 0..n.min(all.len()) {
            let other = rng.usize(at..all.len());
            all.swap(at, other);
        }
        all.into_iter().take(n).cloned().collect()
    }
}

/// A version is a time: one from far in the future would never be replaced, and one from long ago is of a node
/// that everybody has forgotten.
fn is_of_our_time(now: Now, version: u64) -> bool {
    version <= now.unix_ms.saturating_add(MAX_SKEW_MS)
}

fn sum(node: &NodeId, version: u64) -> u64 {
    let mut input = [0; 40];
    input[..32].copy_from_slice(&node.0);
    input[32..].copy_from_slice(&version.to_le_bytes());
    let hash = blake3::hash(&input);
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}

/// The part of the ids that a node belongs to, 0 to 15.
pub(crate) fn bucket(node: &NodeId) -> usize {
    usize::from(node.0[0] >> 4)
}

fn bounds(bucket: usize) -> (NodeId, NodeId) {
    let mut low = [0; 32];
    let mut high = [0xff; 32];
    low[0] = (bucket as u8) << 4;
    high[0] = (bucket as u8) << 4 | 0x0f;
    (NodeId(low), NodeId(high))
}

/// The id before this one.
fn before(node: NodeId) -> NodeId {
    let mut id = node.0;
    for byte in id.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            break;
        }
    }
    NodeId(id)
}

#[cfg(test)]
mod tests;
