//! Who is in the mesh and whom to dial: endpoint records, and the schedule of attempts. Opens no socket.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::NodeId;
use crate::record::Record;
use crate::time::Instant;

/// Nodes known, at most (faults.md B04). Beyond it the record that is oldest gives way.
pub const MAX_NODES: usize = 4096;
/// The pause after the first failed dial; it doubles up to [`BACKOFF_MAX`], and half of it is random.
pub const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// The longest pause between two dials of one address.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Dials under way at a time, at most.
pub const MAX_DIALS: usize = 8;

/// Whom a node links to by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPolicy {
    /// The addresses it was given, and other nodes it hears of until it has this many links.
    Auto {
        /// The number of links to strive for.
        degree: usize,
    },
    /// Only the addresses it was given.
    Explicit,
}

impl LinkPolicy {
    /// Returns how many links are too many: from there on a newcomer takes the place of another neighbour,
    /// as a join does in HyParView, so that no node becomes a hub and none is turned away.
    pub fn capacity(&self) -> usize {
        match self {
            LinkPolicy::Auto { degree } => (degree * 2).clamp(2, crate::node::MAX_LINKS),
            LinkPolicy::Explicit => crate::node::MAX_LINKS,
        }
    }
}

impl Default for LinkPolicy {
    /// HyParView paper, section 5.1: an active view of log10(n) + 1, 5 for 10 000 nodes.
    fn default() -> Self {
        LinkPolicy::Auto { degree: 5 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    failures: u32,
    next: Instant,
    under_way: bool,
}

const FRESH: Attempt = Attempt { failures: 0, next: Instant(0), under_way: false };

/// A dial to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The address, as `scheme://host:port`.
    pub addr: String,
    /// Whom to find there; `None` for whoever it is.
    pub expect: Option<NodeId>,
}

#[derive(Debug)]
struct Seed {
    node: Option<NodeId>,
    attempt: Attempt,
}

/// What is known of the nodes of the mesh.
#[derive(Debug)]
pub struct Directory {
    own: NodeId,
    policy: LinkPolicy,
    records: BTreeMap<NodeId, Record>,
    seeds: BTreeMap<String, Seed>,
    attempts: BTreeMap<NodeId, Attempt>,
}

impl Directory {
    /// Makes an empty directory.
    pub fn new(own: NodeId, policy: LinkPolicy) -> Directory {
        Directory { own, policy, records: BTreeMap::new(), seeds: BTreeMap::new(), attempts: BTreeMap::new() }
    }

    /// Adds an address to link to: always with [`LinkPolicy::Explicit`], else while there are too few links.
    pub fn add_seed(&mut self, addr: String) {
        self.seeds.entry(addr).or_insert(Seed { node: None, attempt: FRESH });
    }

    /// Takes a record in; returns whether it is news. The signature has been checked.
    pub fn learn(&mut self, record: Record) -> bool {
        let known = self.records.get(&record.node).map(|known| known.version);
        if record.node == self.own || known.is_some_and(|known| known >= record.version) {
            return false;
        }
        if known.is_none() && self.records.len() >= MAX_NODES {
            let oldest = self.records.values().min_by_key(|record| record.version).map(|record| record.node);
            if let Some(oldest) = oldest {
                self.records.remove(&oldest);
                self.attempts.remove(&oldest);
            }
        }
        // Somebody who has moved is worth an attempt at once.
        if self.records.get(&record.node).is_some_and(|known| known.addrs != record.addrs) {
            self.attempts.remove(&record.node);
        }
        self.records.insert(record.node, record);
        true
    }

    /// Says whether a record would be news, before its signature is checked.
    pub fn is_news(&self, record: &Record) -> bool {
        record.node != self.own
            && self.records.get(&record.node).is_none_or(|known| known.version < record.version)
    }

    /// Returns whom to link to.
    pub fn policy(&self) -> LinkPolicy {
        self.policy
    }

    /// Returns all records.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Returns what a node says of itself.
    pub fn record(&self, node: &NodeId) -> Option<&Record> {
        self.records.get(node)
    }

    /// A dial reached a node.
    pub fn on_up(&mut self, node: NodeId, addr: Option<&str>) {
        self.attempts.remove(&node);
        if let Some(seed) = addr.and_then(|addr| self.seeds.get_mut(addr)) {
            *seed = Seed { node: Some(node), attempt: FRESH };
        }
    }

    /// A dial failed.
    pub fn on_failed(&mut self, now: Instant, dial: &Dial, rng: &mut fastrand::Rng) {
        if let Some(attempt) = dial.expect.and_then(|node| self.attempts.get_mut(&node)) {
            back_off(attempt, now, rng);
        }
        if let Some(seed) = self.seeds.get_mut(&dial.addr) {
            back_off(&mut seed.attempt, now, rng);
        }
    }

    /// A link was lost: the next attempt comes soon, but not from all its neighbours at once.
    pub fn on_down(&mut self, now: Instant, node: NodeId, rng: &mut fastrand::Rng) {
        let seeds =
            self.seeds.values_mut().filter(|seed| seed.node == Some(node)).map(|seed| &mut seed.attempt);
        let attempt = self.attempts.entry(node).or_insert(FRESH);
        for attempt in seeds.chain([attempt]) {
            *attempt = FRESH;
            back_off(attempt, now, rng);
        }
    }

    /// Returns the dials to make now, given who is linked.
    pub fn dials(
        &mut self,
        now: Instant,
        linked: &BTreeMap<NodeId, crate::id::Peer>,
        rng: &mut fastrand::Rng,
    ) -> Vec<Dial> {
        let seeds_under_way = self.seeds.values().filter(|seed| seed.attempt.under_way).count();
        let under_way = seeds_under_way + self.attempts.values().filter(|attempt| attempt.under_way).count();
        let mut room = MAX_DIALS.saturating_sub(under_way);
        let mut out = Vec::new();
        // To one that links by itself a seed is a way in, not a link to keep: else all would hang on it.
        let is_in = match self.policy {
            LinkPolicy::Auto { degree } => linked.len() >= degree,
            LinkPolicy::Explicit => false,
        };
        for (addr, seed) in self.seeds.iter_mut().filter(|_| !is_in) {
            let is_up = seed.node.is_some_and(|node| linked.contains_key(&node) || node == self.own);
            if room > 0 && !is_up && !seed.attempt.under_way && seed.attempt.next <= now {
                seed.attempt.under_way = true;
                room -= 1;
                out.push(Dial { addr: addr.clone(), expect: None });
            }
        }
        let LinkPolicy::Auto { degree } = self.policy else { return out };
        let wanted = degree.saturating_sub(linked.len() + under_way).min(room);
        let mut candidates: Vec<&Record> = self
            .records
            .values()
            .filter(|record| !linked.contains_key(&record.node) && !record.addrs.is_empty())
            .filter(|record| self.attempts.get(&record.node).is_none_or(|a| !a.under_way && a.next <= now))
            .collect();
        rng.shuffle(&mut candidates);
        for record in candidates.into_iter().take(wanted) {
            let attempt = self.attempts.entry(record.node).or_insert(FRESH);
            attempt.under_way = true;
            // Another address of the same node with each failure.
            let addr = record.addrs[attempt.failures as usize % record.addrs.len()].clone();
            out.push(Dial { addr, expect: Some(record.node) });
        }
        out
    }
}

fn back_off(attempt: &mut Attempt, now: Instant, rng: &mut fastrand::Rng) {
    let pause = BACKOFF_MIN.saturating_mul(1 << attempt.failures.min(10)).min(BACKOFF_MAX);
    let half = u64::try_from(pause.as_micros() / 2).unwrap_or(u64::MAX);
    attempt.next = now + Duration::from_micros(half + rng.u64(0..=half));
    attempt.failures += 1;
    attempt.under_way = false;
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn record(n: u8, version: u64) -> Record {
        Record::sign(&SigningKey::from_bytes(&[n; 32]), version, 1, "x", &[format!("mem:{n}")], [])
    }

    #[test]
    fn a_seed_that_cannot_be_reached_is_tried_ever_more_slowly() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut directory = Directory::new(NodeId([0; 32]), LinkPolicy::Explicit);
        directory.add_seed("mem:b".into());
        let mut now = Instant(0);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let before = now;
            let dial = loop {
                match directory.dials(now, &BTreeMap::new(), &mut rng).pop() {
                    Some(dial) => break dial,
                    None => now = now + Duration::from_millis(10),
                }
            };
            pauses.push(now.since(before));
            directory.on_failed(now, &dial, &mut rng);
        }

        assert!(pauses[2] < Duration::from_millis(600));
        assert!(pauses[9] >= BACKOFF_MAX / 2 && pauses[9] <= BACKOFF_MAX);
    }

    #[test]
    fn an_older_record_never_replaces_a_newer_one() {
        let mut directory = Directory::new(NodeId([0; 32]), LinkPolicy::Explicit);

        assert!(directory.learn(record(1, 5)));
        assert!(!directory.learn(record(1, 5)));
        assert!(!directory.learn(record(1, 4)));
        assert!(directory.learn(record(1, 6)));
    }

    #[test]
    fn auto_dials_no_more_than_the_degree_wants() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut directory = Directory::new(NodeId([0; 32]), LinkPolicy::Auto { degree: 3 });
        (1..20).for_each(|n| assert!(directory.learn(record(n, 1))));

        let first = directory.dials(Instant(0), &BTreeMap::new(), &mut rng);

        assert_eq!(first.len(), 3);
        assert!(directory.dials(Instant(0), &BTreeMap::new(), &mut rng).is_empty());
    }
}
