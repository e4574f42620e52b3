//! Multi-hop unicast: who is reachable by whom at what cost. A distance-vector table in the manner of
//! Babel (RFC 8966): every destination numbers its own announcements, and a way is offered to policies only
//! when it is feasible, that is fresher than what this node last announced, or as fresh and cheaper.
//!
//! A node's announced distance falls strictly along every chain of feasible ways, so whichever of them a
//! policy picks for each message, no loop can form.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::frame::Route;
use crate::id::{NodeId, Peer};
use crate::policy::{Links, View, Ways};
use crate::time::Instant;

/// Destinations in the table, at most.
pub const MAX_DESTS: usize = 16_384;
/// Hops that a way may have, at most; a longer one does not exist.
pub const MAX_HOPS: u8 = 32;
/// How often a node announces itself afresh. A way that was not refreshed for [`LIFETIME`] is dropped.
pub const REFRESH: Duration = Duration::from_secs(5);
/// How long a told way lives: three and a half refreshes, as in RFC 8966 appendix B.
pub const LIFETIME: Duration = Duration::from_millis(17_500);
/// The cost that means "no way".
pub const NO_WAY: u32 = u32::MAX;

/// A way's cost is at least this, so that hops count even on a perfect link.
const MIN_LINK_US: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    seqno: u32,
    cost_us: u32,
    hops: u8,
    expires: Instant,
}

/// The smallest distance announced for the newest counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Feasible {
    seqno: u32,
    cost_us: u32,
}

impl Feasible {
    fn allows(&self, way: &Way) -> bool {
        way.cost_us != NO_WAY
            && (newer(way.seqno, self.seqno) || (way.seqno == self.seqno && way.cost_us < self.cost_us))
    }
}

#[derive(Debug)]
struct Entry {
    number: u32,
    ways: BTreeMap<Peer, Way>,
    feasible: Option<Feasible>,
    told: Option<(u32, u32)>,
}

impl Entry {
    fn is_feasible(&self, way: &Way) -> bool {
        match &self.feasible {
            Some(feasible) => feasible.allows(way),
            None => way.cost_us != NO_WAY,
        }
    }
}

/// The table of one node.
#[derive(Debug)]
pub struct Table {
    own: NodeId,
    seqno: u32,
    entries: BTreeMap<NodeId, Entry>,
    free: Vec<u32>,
    next_number: u32,
    links: BTreeMap<Peer, u32>,
    changed: BTreeSet<NodeId>,
}

/// A way as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownWay {
    /// The neighbour.
    pub via: Peer,
    /// Cost to the destination through it, in microseconds.
    pub cost_us: u32,
    /// Hops to the destination through it.
    pub hops: u8,
    /// Whether policies may choose it.
    pub feasible: bool,
}

fn newer(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

impl Table {
    /// Makes the table of node `own`; `seqno` must be above any that it used before.
    pub fn new(own: NodeId, seqno: u32) -> Table {
        Table {
            own,
            seqno,
            entries: BTreeMap::new(),
            free: Vec::new(),
            next_number: 0,
            links: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// A link is up, or its round-trip time has changed.
    pub fn set_link(&mut self, peer: Peer, rtt_us: u32) {
        let before = self.links.insert(peer, rtt_us.max(MIN_LINK_US));
        // A tenth is jitter, more is news.
        if before.is_some_and(|before| before.abs_diff(rtt_us) > before / 10 + 200) {
            let via = self.entries.iter().filter(|(_, entry)| entry.ways.contains_key(&peer));
            self.changed.extend(via.map(|(node, _)| *node));
        }
    }

    /// A link is down: all its ways are gone.
    pub fn drop_link(&mut self, peer: Peer) {
        self.links.remove(&peer);
        for (node, entry) in &mut self.entries {
            if entry.ways.remove(&peer).is_some() {
                self.changed.insert(*node);
            }
        }
    }

    /// Takes a neighbour's way in. Returns whether the set of feasible ways may have changed.
    pub fn learn(&mut self, now: Instant, peer: Peer, route: &Route) -> bool {
        if route.node == self.own || !self.links.contains_key(&peer) {
            return false;
        }
        if !self.entries.contains_key(&route.node) {
            if route.cost_us == NO_WAY || self.entries.len() >= MAX_DESTS {
                return false;
            }
            let number = self.free.pop().unwrap_or_else(|| {
                self.next_number += 1;
                self.next_number - 1
            });
            self.entries
                .insert(route.node, Entry { number, ways: BTreeMap::new(), feasible: None, told: None });
        }
        let entry = self.entries.get_mut(&route.node).expect("it was there or has been inserted");
        if route.cost_us == NO_WAY || route.hops >= MAX_HOPS {
            let was = entry.ways.remove(&peer).is_some();
            if was {
                self.changed.insert(route.node);
            }
            return was;
        }
        let way =
            Way { seqno: route.seqno, cost_us: route.cost_us, hops: route.hops, expires: now + LIFETIME };
        let before = entry.ways.insert(peer, way);
        let same = before.is_some_and(|b| (b.cost_us, b.hops) == (way.cost_us, way.hops));
        let fresher = before.is_none_or(|b| newer(way.seqno, b.seqno));
        if !same || fresher {
            self.changed.insert(route.node);
        }
        !same || before.is_some_and(|before| entry.is_feasible(&before) != entry.is_feasible(&way))
    }

    /// Drops ways that were not refreshed. Returns whether there were any.
    pub fn expire(&mut self, now: Instant) -> bool {
        let mut any = false;
        for (node, entry) in &mut self.entries {
            let before = entry.ways.len();
            entry.ways.retain(|_, way| way.expires > now);
            if entry.ways.len() != before {
                any = true;
                self.changed.insert(*node);
            }
        }
        // An entry is kept for one announcement after its last way, which is the withdrawal.
        let dead = self.entries.iter().filter(|(node, e)| e.ways.is_empty() && !self.changed.contains(*node));
        for node in dead.map(|(node, _)| *node).collect::<Vec<_>>() {
            if let Some(entry) = self.entries.remove(&node) {
                self.free.push(entry.number);
            }
        }
        any
    }

    /// Announces this node afresh: its counter goes up, and everything will be told again.
    pub fn refresh(&mut self) {
        self.seqno = self.seqno.wrapping_add(1);
        self.changed.extend(self.entries.keys().copied());
        self.changed.insert(self.own);
    }

    /// Says whether there is something to tell.
    pub fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes the news: for each neighbour the ways that changed, poisoned where the neighbour is the next
    /// hop (split horizon with poisoned reverse).
    pub fn take_news(&mut self) -> BTreeMap<Peer, Vec<Route>> {
        let changed = std::mem::take(&mut self.changed);
        self.tell(changed.into_iter().collect())
    }

    /// Returns everything, for a neighbour that has just come up.
    pub fn tell_all(&mut self, peer: Peer) -> Vec<Route> {
        let mut all: Vec<NodeId> = self.entries.keys().copied().collect();
        all.push(self.own);
        self.tell(all).remove(&peer).unwrap_or_default()
    }

    fn tell(&mut self, nodes: Vec<NodeId>) -> BTreeMap<Peer, Vec<Route>> {
        let mut out: BTreeMap<Peer, Vec<Route>> = self.links.keys().map(|peer| (*peer, Vec::new())).collect();
        for node in nodes {
            if node == self.own {
                let route = Route { node, seqno: self.seqno, cost_us: 0, hops: 0 };
                out.values_mut().for_each(|routes| routes.push(route));
                continue;
            }
            let Some((via, route)) = self.announcement(node) else { continue };
            for (peer, routes) in &mut out {
                let poisoned = via == Some(*peer);
                routes.push(if poisoned { Route { cost_us: NO_WAY, ..route } } else { route });
            }
        }
        out
    }

    /// The best feasible way as this node announces it, with the neighbour it leads over; notes the distance.
    fn announcement(&mut self, node: NodeId) -> Option<(Option<Peer>, Route)> {
        let best = self.best(&node);
        let entry = self.entries.get_mut(&node)?;
        let Some((via, cost_us, way)) = best else {
            let (seqno, _) = entry.told.take()?;
            return Some((None, Route { node, seqno, cost_us: NO_WAY, hops: 0 }));
        };
        let feasible = Feasible { seqno: way.seqno, cost_us };
        let lower = |old: &Feasible| {
            newer(feasible.seqno, old.seqno) || (feasible.seqno == old.seqno && cost_us < old.cost_us)
        };
        if entry.feasible.as_ref().is_none_or(lower) {
            entry.feasible = Some(feasible);
        }
        entry.told = Some((way.seqno, cost_us));
        Some((Some(via), Route { node, seqno: way.seqno, cost_us, hops: way.hops + 1 }))
    }

    fn best(&self, node: &NodeId) -> Option<(Peer, u32, Way)> {
        let entry = self.entries.get(node)?;
        let ways = entry.ways.iter().filter(|(_, way)| entry.is_feasible(way));
        let costed = ways.filter_map(|(peer, way)| {
            let link = self.links.get(peer)?;
            Some((*peer, way.cost_us.saturating_add(*link).min(NO_WAY - 1), *way))
        });
        costed.min_by_key(|(peer, cost, _)| (*cost, *peer))
    }

    /// Returns the request to send when a node has ways but none of them is feasible: the counter wanted.
    pub fn starving(&self) -> Vec<(NodeId, u32)> {
        let none_feasible =
            |entry: &Entry| !entry.ways.is_empty() && !entry.ways.values().any(|w| entry.is_feasible(w));
        let hungry = self.entries.iter().filter(|(_, entry)| none_feasible(entry));
        hungry.filter_map(|(node, e)| Some((*node, e.feasible?.seqno.wrapping_add(1)))).collect()
    }

    /// Answers a neighbour's request for a fresher way. `Some(peer)` is whom to pass it on to.
    pub fn on_request(&mut self, from: Peer, node: NodeId, seqno: u32) -> Option<Peer> {
        if node == self.own {
            if newer(seqno, self.seqno) {
                self.seqno = seqno;
            }
            self.changed.insert(node);
            return None;
        }
        let (via, _, way) = self.best(&node)?;
        if !newer(seqno, way.seqno) {
            self.changed.insert(node);
            return None;
        }
        (via != from).then_some(via)
    }

    /// Returns the small number of a destination, if it is known.
    pub fn number(&self, node: &NodeId) -> Option<u32> {
        self.entries.get(node).map(|entry| entry.number)
    }

    /// Says whether there is a feasible way.
    pub fn reaches(&self, node: &NodeId) -> bool {
        self.best(node).is_some()
    }

    /// Says whether this neighbour is a feasible next hop to the node: the clamp on every routing answer.
    pub fn may_use(&self, node: &NodeId, via: Peer) -> bool {
        self.entries
            .get(node)
            .is_some_and(|entry| entry.ways.get(&via).is_some_and(|way| entry.is_feasible(way)))
    }

    /// Returns the next hop that the host takes when the policy leaves it to it, never `except`.
    pub fn next_hop(&self, node: &NodeId, except: Option<Peer>) -> Option<Peer> {
        let entry = self.entries.get(node)?;
        let ways = entry.ways.iter().filter(|(peer, way)| Some(**peer) != except && entry.is_feasible(way));
        ways.filter_map(|(peer, way)| Some((way.cost_us.saturating_add(*self.links.get(peer)?), *peer)))
            .min()
            .map(|(_, peer)| peer)
    }

    /// Returns the ways to one node, cheapest first.
    pub fn ways(&self, node: &NodeId) -> Vec<KnownWay> {
        let Some(entry) = self.entries.get(node) else { return Vec::new() };
        let mut ways: Vec<KnownWay> = entry
            .ways
            .iter()
            .filter_map(|(peer, way)| {
                let cost_us = way.cost_us.saturating_add(*self.links.get(peer)?);
                Some(KnownWay { via: *peer, cost_us, hops: way.hops + 1, feasible: entry.is_feasible(way) })
            })
            .collect();
        ways.sort_by_key(|way| (way.cost_us, way.via));
        ways
    }

    /// Returns the destinations known, with a way or without.
    pub fn destinations(&self) -> impl Iterator<Item = &NodeId> {
        self.entries.keys()
    }

    /// Returns what policies see: rows of `peers` and their feasible ways.
    pub fn view(&self, peers: &[Peer], links: Links) -> View {
        let row: BTreeMap<Peer, u32> = peers.iter().zip(0u32..).map(|(peer, row)| (*peer, row)).collect();
        let mut rows: Vec<(u32, u32, u32, u8)> = Vec::new();
        for entry in self.entries.values() {
            for (peer, way) in entry.ways.iter().filter(|(_, way)| entry.is_feasible(way)) {
                if let Some(via) = row.get(peer) {
                    rows.push((entry.number, *via, way.cost_us, way.hops));
                }
            }
        }
        rows.sort_unstable();
        let ways = Ways {
            dest: rows.iter().map(|row| row.0).collect(),
            via: rows.iter().map(|row| row.1).collect(),
            cost_us: rows.iter().map(|row| row.2).collect(),
            hops: rows.iter().map(|row| row.3).collect(),
        };
        View { links, ways }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Peer = Peer(1);
    const B: Peer = Peer(2);

    fn far() -> NodeId {
        NodeId([9; 32])
    }

    fn route(seqno: u32, cost_us: u32) -> Route {
        Route { node: far(), seqno, cost_us, hops: 1 }
    }

    fn table() -> Table {
        let mut table = Table::new(NodeId([0; 32]), 0);
        table.set_link(A, 100);
        table.set_link(B, 100);
        table
    }

    #[test]
    fn the_cheaper_way_is_announced_and_poisoned_towards_its_next_hop() {
        let mut table = table();
        table.learn(Instant(0), A, &route(1, 500));
        table.learn(Instant(0), B, &route(1, 50));

        let news = table.take_news();

        assert_eq!(news[&A], [Route { node: far(), seqno: 1, cost_us: 150, hops: 2 }]);
        assert_eq!(news[&B][0].cost_us, NO_WAY);
    }

    // No count to infinity: after the loss, a neighbour's echo of our own announcement is not feasible.
    #[test]
    fn a_way_that_may_lead_back_here_is_not_used_until_the_destination_speaks_again() {
        let mut table = table();
        table.learn(Instant(0), A, &route(1, 50));
        table.take_news();
        table.drop_link(A);

        table.learn(Instant(0), B, &route(1, 250));
        assert!(!table.reaches(&far()));
        assert_eq!(table.starving(), [(far(), 2)]);

        table.learn(Instant(0), B, &route(2, 250));
        assert!(table.reaches(&far()));
        assert!(table.may_use(&far(), B));
    }

    // QP-27
    #[test]
    fn a_lost_link_withdraws_its_ways() {
        let mut table = table();
        table.learn(Instant(0), A, &route(1, 50));
        table.take_news();

        table.drop_link(A);

        assert_eq!(table.take_news()[&B], [Route { node: far(), seqno: 1, cost_us: NO_WAY, hops: 0 }]);
        table.expire(Instant(1));
        assert_eq!(table.destinations().count(), 0);
    }

    #[test]
    fn a_way_that_is_not_refreshed_expires() {
        let mut table = table();
        table.learn(Instant(0), A, &route(1, 50));

        assert!(!table.expire(Instant(0) + LIFETIME / 2));
        assert!(table.expire(Instant(0) + LIFETIME));
        assert!(!table.reaches(&far()));
    }
}
