//! Whom to link to: the bounds on the number of links, and the schedule of dials. Opens no socket, and knows
//! of other nodes only what [`Members`] says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{NodeId, Peer};
use crate::members::{MemberState, Members};
use crate::record::Record;
use crate::time::Instant;

/// The pause after the first failed dial; it doubles up to [`BACKOFF_MAX`], and half of it is random.
pub const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// The longest pause between two dials of one address.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A link that the far end ends sooner is short: it may not be wanted there.
pub const SHORT_LINK: Duration = Duration::from_secs(1);
/// Whom the admission policy does not want is not dialed for so long, or until another one is there.
pub const DENIED_FOR: Duration = Duration::from_secs(60);
/// A dial that takes longer is not waited for: others are made beside it, as many as there may be. Where many are gone
/// at once most dials are in vain, and a transport needs seconds to find out.
const PROMISING: Duration = Duration::from_secs(1);
/// Dials under way at a time, at most.
pub const MAX_DIALS: usize = 8;
/// Nodes that links are kept to whatever the bounds say, at most.
pub const MAX_KEPT: usize = 16;
/// Up to this many nodes a mesh is small.
pub const SMALL_MESH: usize = 16;
/// Up to this many nodes of which all are known, four links a node do.
pub const MIDDLE_MESH: usize = 64;
/// How often a node that has enough links tries one that it has none to, on average.
pub const FEELER: Duration = Duration::from_secs(30);

/// Whom a node links to by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkPolicy {
    /// Two to three links in a mesh of up to [`SMALL_MESH`] nodes (MN-01), four to eight in a larger one, six on
    /// average. HyParView paper, section 5.1, has an active view of log10(n) + 1, 5 for 10 000 nodes. At least five
    /// in a mesh of more than [`MIDDLE_MESH`] that is known as a whole: there nobody tries others once it has links,
    /// and the first ones must not all be to nodes that mean it ill (faults.md G01).
    #[default]
    Adaptive,
    /// At least `min` links, and at most `max` when it has settled.
    Auto {
        /// Below it, other nodes are dialed.
        min: usize,
        /// Above it, links are let go that the graph can do without.
        max: usize,
    },
    /// Only the addresses it was given.
    Explicit,
}

impl LinkPolicy {
    /// Returns the least and the greatest number of links in a mesh of this size, [`usize::MAX`] for one that is known
    /// by a sample.
    pub fn bounds(&self, nodes: usize) -> (usize, usize) {
        match *self {
            LinkPolicy::Adaptive if nodes <= SMALL_MESH => (2, 3),
            LinkPolicy::Adaptive if nodes <= MIDDLE_MESH || nodes == usize::MAX => (4, 8),
            LinkPolicy::Adaptive => (5, 8),
            LinkPolicy::Auto { min, max } => {
                let max = max.clamp(1, crate::node::MAX_LINKS / 2);
                (min.clamp(1, max), max)
            }
            LinkPolicy::Explicit => (0, crate::node::MAX_LINKS),
        }
    }

    /// Returns how many links are too many even for a moment: from there on newcomers are sent to others.
    pub fn capacity(&self, nodes: usize) -> usize {
        match self {
            LinkPolicy::Explicit => crate::node::MAX_LINKS,
            _ => self.bounds(nodes).1 * 2,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    failures: u32,
    /// Links that were short, one after the other.
    short: u32,
    next: Instant,
    /// Since when a dial is under way.
    begun: Option<Instant>,
    is_denied: bool,
}

const FRESH: Attempt = Attempt { failures: 0, short: 0, next: Instant(0), begun: None, is_denied: false };

impl Attempt {
    fn is_under_way(&self) -> bool {
        self.begun.is_some()
    }

    fn can_begin(&self, now: Instant) -> bool {
        !self.is_under_way() && self.next <= now
    }
}

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

/// The schedule of dials of one node.
#[derive(Debug)]
pub struct Directory {
    own: NodeId,
    policy: LinkPolicy,
    seeds: BTreeMap<String, Seed>,
    attempts: BTreeMap<NodeId, Attempt>,
    kept: BTreeSet<NodeId>,
}

impl Directory {
    /// Makes a schedule without anybody.
    pub fn new(own: NodeId, policy: LinkPolicy) -> Directory {
        let (seeds, attempts, kept) = Default::default();
        Directory { own, policy, seeds, attempts, kept }
    }

    /// Adds an address to link to: always with [`LinkPolicy::Explicit`], else while there are too few links.
    pub fn add_seed(&mut self, addr: String) {
        self.seeds.entry(addr).or_insert(Seed { node: None, attempt: FRESH });
    }

    /// Keeps a link to this node whatever the bounds say; no more than [`MAX_KEPT`] nodes.
    pub fn keep(&mut self, node: NodeId) {
        if self.kept.len() < MAX_KEPT && node != self.own {
            self.kept.insert(node);
        }
    }

    /// The link to this node is one like others again.
    pub fn unkeep(&mut self, node: &NodeId) {
        self.kept.remove(node);
    }

    /// Says whether a link to this node is kept whatever the bounds say.
    pub fn keeps(&self, node: &NodeId) -> bool {
        self.kept.contains(node)
    }

    /// Says whether the address that this node was last found at is one that it was given.
    pub fn is_seed(&self, node: &NodeId) -> bool {
        self.seeds.values().any(|seed| seed.node == Some(*node))
    }

    /// Returns whom to link to.
    pub fn policy(&self) -> LinkPolicy {
        self.policy
    }

    /// A dial reached a node. How often links to it were short is forgotten only when one lasts.
    pub fn on_up(&mut self, node: NodeId, addr: Option<&str>) {
        if let Some(attempt) = self.attempts.remove(&node).filter(|attempt| attempt.short > 0) {
            self.attempts.insert(node, Attempt { short: attempt.short, ..FRESH });
        }
        if let Some(seed) = addr.and_then(|addr| self.seeds.get_mut(addr)) {
            *seed = Seed { node: Some(node), attempt: Attempt { short: seed.attempt.short, ..FRESH } };
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

    /// The admission policy does not want this node, whether to dial it or as a neighbour.
    pub fn on_denied(&mut self, now: Instant, node: &NodeId) {
        if let Some(attempt) = self.attempts.get_mut(node) {
            *attempt = Attempt { next: now + DENIED_FOR, begun: None, is_denied: true, ..*attempt };
        }
    }

    /// Lets the dials be tried again that the admission policy did not want; says whether there are any.
    pub fn forgive_denied(&mut self) -> bool {
        let before = self.attempts.len();
        self.attempts.retain(|_, attempt| !attempt.is_denied);
        self.attempts.len() < before
    }

    /// A link was lost: the next attempt comes soon, but not from all its neighbours at once; and the later the more
    /// links were `short` one after the other, this one included. That is 0 when it was not.
    pub fn on_down(&mut self, now: Instant, node: NodeId, short: u32, rng: &mut fastrand::Rng) {
        let seeds =
            self.seeds.values_mut().filter(|seed| seed.node == Some(node)).map(|seed| &mut seed.attempt);
        let attempt = self.attempts.entry(node).or_insert(FRESH);
        for attempt in seeds.chain([attempt]) {
            *attempt = Attempt { failures: short.saturating_sub(1), short, ..FRESH };
            back_off(attempt, now, rng);
        }
    }

    /// Returns how many dials of this node have failed one after the other.
    pub fn failures(&self, node: &NodeId) -> u32 {
        self.attempts.get(node).map_or(0, |attempt| attempt.failures)
    }

    /// Returns how many links to this node were short, one after the other.
    pub fn short(&self, node: &NodeId) -> u32 {
        let seeds = self.seeds.values().filter(|seed| seed.node == Some(*node)).map(|seed| &seed.attempt);
        seeds.chain(self.attempts.get(node)).map(|attempt| attempt.short).max().unwrap_or(0)
    }

    /// This node may be dialed at once.
    pub fn hurry(&mut self, node: &NodeId) {
        if let Some(attempt) = self.attempts.get_mut(node) {
            attempt.next = Instant(0);
        }
    }

    /// Says whether a dial of this node is under way.
    pub fn is_dialing(&self, node: &NodeId) -> bool {
        self.attempts.get(node).is_some_and(Attempt::is_under_way)
    }

    /// Returns when this node may be dialed next.
    pub fn next_dial(&self, node: &NodeId) -> Instant {
        self.attempts.get(node).map_or(Instant(0), |attempt| attempt.next)
    }

    /// Somebody has moved, or wants to be linked to: that is worth an attempt at once.
    pub fn on_moved(&mut self, node: &NodeId) {
        self.attempts.remove(node);
    }

    /// Forgets attempts at nodes that are not known any more.
    pub fn tidy(&mut self, members: &Members) {
        self.attempts.retain(|node, attempt| attempt.is_under_way() || members.record(node).is_some());
    }

    /// Says whether [`Directory::dials`] may have something to do soon.
    pub fn is_hungry(&self, linked: &BTreeMap<NodeId, Peer>, least: usize) -> bool {
        let missing = |node: &NodeId| !linked.contains_key(node);
        match self.policy {
            LinkPolicy::Explicit => {
                self.seeds.values().any(|seed| seed.node.is_none_or(|node| missing(&node)))
            }
            _ => linked.len() < least || self.kept.iter().any(missing),
        }
    }

    /// Returns the dials to make now, given who is linked and how many links there should be at least.
    pub fn dials(
        &mut self,
        now: Instant,
        linked: &BTreeMap<NodeId, Peer>,
        members: &Members,
        least: usize,
        rng: &mut fastrand::Rng,
    ) -> Vec<Dial> {
        let mut out = Vec::new();
        let mut room = MAX_DIALS.saturating_sub(self.under_way());
        // To one that links by itself a seed is a way in, not a link to keep: else all would hang on it.
        let is_in = self.policy != LinkPolicy::Explicit && linked.len() >= least;
        for (addr, seed) in self.seeds.iter_mut().filter(|_| !is_in) {
            let is_up = seed.node.is_some_and(|node| linked.contains_key(&node) || node == self.own);
            if room > 0 && !is_up && seed.attempt.can_begin(now) {
                seed.attempt.begun = Some(now);
                room -= 1;
                out.push(Dial { addr: addr.clone(), expect: None });
            }
        }
        let kept: Vec<NodeId> = self.kept.iter().filter(|node| !linked.contains_key(node)).copied().collect();
        for node in kept {
            out.extend(members.record(&node).and_then(|record| self.dial(now, record)));
        }
        if self.policy == LinkPolicy::Explicit || is_in {
            return out;
        }
        let wanted = least.saturating_sub(linked.len() + self.promising(now)).min(room);
        // Whoever has no link at all tries everybody, and with all hands: in a mass failure most dials are in
        // vain.
        let (wanted, alone) = if linked.is_empty() { (room, true) } else { (wanted, false) };
        let mut candidates = self.candidates(now, linked, members, |state| {
            state == MemberState::Alive || state == MemberState::Suspect
        });
        if candidates.len() < wanted && (alone || candidates.is_empty()) {
            candidates.extend(self.candidates(now, linked, members, |state| state == MemberState::Dead));
        }
        for _ in 0..wanted.min(candidates.len()) {
            let record = candidates.swap_remove(rng.usize(..candidates.len()));
            out.extend(self.dial(now, record));
        }
        out
    }

    /// Returns a dial of somebody without a link, to find out whether another part of the mesh is there: one
    /// that was taken for dead, or in a sample anybody.
    pub fn feeler(
        &mut self,
        now: Instant,
        linked: &BTreeMap<NodeId, Peer>,
        members: &Members,
        rng: &mut fastrand::Rng,
    ) -> Option<Dial> {
        let dead = self.stranger(now, linked, members, MemberState::Dead, rng);
        if dead.is_some() || !members.is_sample() {
            return dead;
        }
        self.stranger(now, linked, members, MemberState::Alive, rng)
    }

    /// Returns a dial of somebody in this state to whom there is no link.
    pub fn stranger(
        &mut self,
        now: Instant,
        linked: &BTreeMap<NodeId, Peer>,
        members: &Members,
        which: MemberState,
        rng: &mut fastrand::Rng,
    ) -> Option<Dial> {
        if self.policy == LinkPolicy::Explicit || self.under_way() >= MAX_DIALS {
            return None;
        }
        let record = rng.choice(self.candidates(now, linked, members, |state| state == which))?;
        self.dial(now, record)
    }

    /// Returns a dial of one of the addresses that were given, if there is no link to it.
    pub fn way_in(
        &mut self,
        now: Instant,
        linked: &BTreeMap<NodeId, Peer>,
        rng: &mut fastrand::Rng,
    ) -> Option<Dial> {
        let own = self.own;
        let is_here = |node: NodeId| node == own || linked.contains_key(&node);
        let can_dial = |seed: &Seed| !seed.node.is_some_and(is_here) && seed.attempt.can_begin(now);
        let ways: Vec<_> = self.seeds.iter_mut().filter(|(_, seed)| can_dial(seed)).collect();
        let (addr, seed) = rng.choice(ways)?;
        seed.attempt.begun = Some(now);
        Some(Dial { addr: addr.clone(), expect: None })
    }

    fn candidates<'a>(
        &self,
        now: Instant,
        linked: &BTreeMap<NodeId, Peer>,
        members: &'a Members,
        which: impl Fn(MemberState) -> bool,
    ) -> Vec<&'a Record> {
        let wanted = members.iter().filter(|member| which(member.state)).map(|member| member.record);
        wanted
            .filter(|record| !linked.contains_key(&record.node) && !record.facts.addrs.is_empty())
            .filter(|record| self.attempts.get(&record.node).is_none_or(|a| a.can_begin(now)))
            .collect()
    }

    /// Returns a dial of this node, unless one is under way or has just failed.
    pub fn dial(&mut self, now: Instant, record: &Record) -> Option<Dial> {
        let addrs = &record.facts.addrs;
        let attempt = self.attempts.entry(record.node).or_insert(FRESH);
        if !attempt.can_begin(now) || addrs.is_empty() {
            return None;
        }
        attempt.begun = Some(now);
        // Another address of the same node with each failure.
        let addr = addrs[attempt.failures as usize % addrs.len()].clone();
        Some(Dial { addr, expect: Some(record.node) })
    }

    /// Returns how many dials are under way.
    pub fn under_way(&self) -> usize {
        self.begun().count()
    }

    /// Returns how many of them may still be expected to lead to a link.
    pub(crate) fn promising(&self, now: Instant) -> usize {
        self.begun().filter(|begun| now.since(*begun) < PROMISING).count()
    }

    fn begun(&self) -> impl Iterator<Item = Instant> {
        let seeds = self.seeds.values().map(|seed| &seed.attempt);
        seeds.chain(self.attempts.values()).filter_map(|attempt| attempt.begun)
    }
}

fn back_off(attempt: &mut Attempt, now: Instant, rng: &mut fastrand::Rng) {
    let pause = BACKOFF_MIN.saturating_mul(1 << attempt.failures.min(10)).min(BACKOFF_MAX);
    let half = u64::try_from(pause.as_micros() / 2).unwrap_or(u64::MAX);
    attempt.next = now + Duration::from_micros(half + rng.u64(0..=half));
    attempt.failures += 1;
    (attempt.begun, attempt.is_denied) = (None, false);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::record::Facts;
    use crate::time::Now;

    fn members(count: u8) -> Members {
        let mut members = Members::new(NodeId([0; 32]), 64);
        for n in 1..=count {
            let facts = Facts { addrs: vec![format!("mem:{n}")], ..Facts::default() };
            let record = Record::sign(&SigningKey::from_bytes(&[n; 32]), 1, facts);
            members.learn(Now::default(), Arc::new(record), &mut fastrand::Rng::with_seed(1));
        }
        members
    }

    // MN-13: most dials are in vain when many have gone at once.
    #[test]
    fn a_dial_without_an_answer_does_not_keep_others_from_being_made() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut directory = Directory::new(NodeId([0; 32]), LinkPolicy::Auto { min: 2, max: 4 });
        let linked = BTreeMap::from([(NodeId([200; 32]), Peer(1))]);
        let members = members(20);

        let at = [0, 500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000];
        let dials = at.map(|ms| {
            let now = Instant(0) + Duration::from_millis(ms);
            directory.dials(now, &linked, &members, 2, &mut rng).len()
        });

        assert_eq!(dials, [1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0], "one a second, {MAX_DIALS} at a time");
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
                match directory.dials(now, &BTreeMap::new(), &members(0), 0, &mut rng).pop() {
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
    fn a_link_that_does_not_last_is_made_ever_more_slowly_and_one_that_does_is_not() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut directory = Directory::new(NodeId([0; 32]), LinkPolicy::Auto { min: 1, max: 1 });
        let members = members(1);
        let record = members.records().next().expect("one is known");
        let mut pause_after = |now: Instant, is_short: bool| {
            assert!(directory.dial(now, record).is_some());
            directory.on_up(record.node, None);
            let short = if is_short { directory.short(&record.node) + 1 } else { 0 };
            directory.on_down(now, record.node, short, &mut rng);
            directory.next_dial(&record.node).since(now)
        };

        let mut minutes = (0..).map(|n| Instant(60_000_000 * n));
        let mut next = || minutes.next().expect("there is always another minute");
        let last = (0..10).map(|_| pause_after(next(), true)).last();
        assert!(last >= Some(BACKOFF_MAX / 2));
        assert!(pause_after(next(), false) <= BACKOFF_MIN);
    }

    #[test]
    fn who_is_denied_is_not_dialed_for_a_while_or_until_it_is_forgiven() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut directory = Directory::new(NodeId([0; 32]), LinkPolicy::Auto { min: 1, max: 1 });
        let members = members(1);
        let record = members.records().next().expect("one is known");
        let mut deny = |directory: &mut Directory, now| {
            assert!(directory.dial(now, record).is_some());
            directory.on_denied(now, &record.node);
            assert_eq!(directory.under_way(), 0);
            assert!(directory.dials(now, &BTreeMap::new(), &members, 1, &mut rng).is_empty());
        };

        deny(&mut directory, Instant(0));
        deny(&mut directory, Instant(0) + DENIED_FOR);
        assert!(directory.forgive_denied());
        assert!(!directory.forgive_denied());
        deny(&mut directory, Instant(0) + DENIED_FOR);
    }

    // MN-01, PM-80: the bound on links is one on dials too; one without any link uses all hands.
    #[test]
    fn no_more_are_dialed_than_the_bounds_want() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut directory = Directory::new(NodeId([0; 32]), LinkPolicy::Auto { min: 3, max: 4 });
        let members = members(20);
        let linked = BTreeMap::from([(NodeId([99; 32]), Peer(1))]);

        assert_eq!(directory.dials(Instant(0), &linked, &members, 3, &mut rng).len(), 2);
        assert!(directory.dials(Instant(0), &linked, &members, 3, &mut rng).is_empty());
        assert_eq!(directory.dials(Instant(0), &BTreeMap::new(), &members, 3, &mut rng).len(), MAX_DIALS - 2);
    }

    #[test]
    fn the_way_in_is_dialed_again_unless_it_is_there() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut directory = Directory::new(NodeId([0; 32]), LinkPolicy::Adaptive);
        let (seed, nobody) = (NodeId([7; 32]), BTreeMap::new());
        directory.add_seed("mem:7".into());

        let dial = directory.way_in(Instant(0), &nobody, &mut rng);
        assert_eq!(dial.map(|dial| dial.addr), Some("mem:7".into()));
        assert!(directory.way_in(Instant(0), &nobody, &mut rng).is_none(), "it is under way");
        directory.on_up(seed, Some("mem:7"));

        let linked = BTreeMap::from([(seed, Peer(1))]);
        assert!(directory.way_in(Instant(0), &linked, &mut rng).is_none());
        assert!(directory.way_in(Instant(0), &nobody, &mut rng).is_some());
    }

    #[test]
    fn a_kept_node_is_dialed_also_when_there_are_links_enough() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut directory = Directory::new(NodeId([0; 32]), LinkPolicy::Auto { min: 1, max: 1 });
        let members = members(3);
        let kept = members.records().next().expect("three are known").node;
        let linked = BTreeMap::from([(NodeId([99; 32]), Peer(1))]);
        assert!(directory.dials(Instant(0), &linked, &members, 1, &mut rng).is_empty());

        directory.keep(kept);

        let dials = directory.dials(Instant(0), &linked, &members, 1, &mut rng);
        assert_eq!(dials.iter().map(|dial| dial.expect).collect::<Vec<_>>(), [Some(kept)]);
    }
}
