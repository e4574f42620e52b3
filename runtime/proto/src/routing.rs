//! Multi-hop unicast: who is reachable by whom at what cost. A distance-vector table in the manner of
//! Babel (RFC 8966): every destination numbers its own announcements, and a way is offered to policies only
//! when it is feasible, that is fresher than what this node last announced, or as fresh and cheaper.
//!
//! In a small mesh every node tells its ways to all nodes. In a larger one a way is looked for when there is
//! something to send, and told only to neighbours that have asked for it: what a node stores and says grows
//! with what it talks to, not with the mesh. Links are reliable, so that only changes are told; the refresh is
//! what keeps counters moving.
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
pub const REFRESH: Duration = Duration::from_secs(60);
/// How long a told way lives: three and a half refreshes, as in RFC 8966 appendix B.
pub const LIFETIME: Duration = Duration::from_secs(210);
/// Up to so many nodes, all ways are told to all: 64 ways are less than 50 bytes a second and neighbour.
pub const SMALL_MESH: usize = 64;
/// How long a neighbour that asked for a way is told of its changes; it asks again in time.
pub const INTEREST: Duration = Duration::from_secs(90);
/// A request for the same way is passed on at most once in this time.
pub const ASK_EVERY: Duration = Duration::from_secs(1);
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
    /// The neighbours that asked for it, and until when they are told.
    asked_by: BTreeMap<Peer, Instant>,
    /// The neighbours that were told a way which has not been withdrawn.
    told_to: BTreeSet<Peer>,
    /// Until when this node itself has something to send there.
    wanted: Option<Instant>,
    /// When a request for it was last sent or passed on, and how often in vain.
    asked: Option<(Instant, u32)>,
    /// A neighbour waits for a fresher way.
    is_asked_fresher: bool,
    /// The newest counter that was asked for through this node, and when.
    passed_on: Option<(u32, Instant)>,
}

/// What came of a neighbour's request for a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Nothing is to be done: it will be told with the news, or not at all.
    Done,
    /// Nobody here knows: ask the other neighbours.
    PassOn,
}

impl Entry {
    fn new(number: u32) -> Entry {
        Entry {
            number,
            ways: BTreeMap::new(),
            feasible: None,
            asked_by: BTreeMap::new(),
            told_to: BTreeSet::new(),
            wanted: None,
            asked: None,
            is_asked_fresher: false,
            passed_on: None,
        }
    }

    fn is_of_interest(&self) -> bool {
        self.wanted.is_some() || !self.asked_by.is_empty()
    }

    /// Says whether anybody would hear that the way has changed.
    fn has_listeners(&self, is_small: bool) -> bool {
        is_small || self.is_of_interest() || !self.told_to.is_empty()
    }

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
    /// What is only fresher or a little cheaper: told together, now and then.
    renewed: BTreeSet<NodeId>,
    /// Whose last feasible way was lost since the last look.
    starved: BTreeSet<NodeId>,
    is_small: bool,
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
            renewed: BTreeSet::new(),
            starved: BTreeSet::new(),
            is_small: true,
        }
    }

    /// Says how many nodes there are, as far as is known; `None` for more than are known.
    pub fn set_size(&mut self, nodes: Option<usize>) {
        let is_small = nodes.is_some_and(|nodes| nodes <= SMALL_MESH);
        // What was told to all is withdrawn from those who do not ask, or the other way round.
        if is_small != self.is_small {
            self.changed.extend(self.entries.keys().copied());
        }
        self.is_small = is_small;
    }

    /// Returns the number of destinations.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether there is no destination.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A link is up, or its round-trip time has changed. Small changes are jitter and no news.
    pub fn set_link(&mut self, peer: Peer, rtt_us: u32) {
        let rtt_us = rtt_us.max(MIN_LINK_US);
        match self.links.get_mut(&peer) {
            Some(known) if known.abs_diff(rtt_us) <= *known / 4 + 500 => {}
            Some(known) => {
                *known = rtt_us;
                let is_small = self.is_small;
                let via = self.entries.iter().filter(|(_, entry)| entry.ways.contains_key(&peer));
                let via = via.filter(|(_, entry)| entry.has_listeners(is_small));
                self.changed.extend(via.map(|(node, _)| *node));
            }
            None => {
                self.links.insert(peer, rtt_us);
            }
        }
    }

    /// A link is down: all its ways are gone.
    pub fn drop_link(&mut self, peer: Peer) {
        self.links.remove(&peer);
        for (node, entry) in &mut self.entries {
            entry.asked_by.remove(&peer);
            entry.told_to.remove(&peer);
            if entry.ways.remove(&peer).is_some() && entry.has_listeners(self.is_small) {
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
            if route.cost_us == NO_WAY {
                return false;
            }
            self.add(route.node);
        }
        let Some(entry) = self.entries.get_mut(&route.node) else { return false };
        if route.cost_us == NO_WAY || route.hops >= MAX_HOPS {
            let was = entry.ways.remove(&peer).is_some();
            if was && entry.has_listeners(self.is_small) {
                self.changed.insert(route.node);
            }
            return was;
        }
        let way =
            Way { seqno: route.seqno, cost_us: route.cost_us, hops: route.hops, expires: now + LIFETIME };
        let before = entry.ways.insert(peer, way);
        let same = before.is_some_and(|b| (b.cost_us, b.hops) == (way.cost_us, way.hops));
        let fresher = before.is_none_or(|b| newer(way.seqno, b.seqno));
        let opened = before.is_none_or(|before| entry.is_feasible(&before) != entry.is_feasible(&way));
        let about = |a: u32, b: u32| a.abs_diff(b) <= a / 4;
        let is_small_change = before.is_some_and(|b| b.hops == way.hops && about(b.cost_us, way.cost_us));
        let gained = opened && before.is_none_or(|before| !entry.is_feasible(&before));
        if !entry.has_listeners(self.is_small) {
            return !same || opened;
        }
        if gained || !is_small_change || (fresher && std::mem::take(&mut entry.is_asked_fresher)) {
            self.changed.insert(route.node);
        } else if !same || fresher {
            self.renewed.insert(route.node);
        }
        !same || opened
    }

    fn add(&mut self, node: NodeId) {
        if self.entries.len() >= MAX_DESTS || self.entries.contains_key(&node) || node == self.own {
            return;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.next_number += 1;
            self.next_number - 1
        });
        self.entries.insert(node, Entry::new(number));
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
        self.end_interest(now);
        // An entry is kept for one announcement after its last way, which is the withdrawal.
        let dead = self
            .entries
            .iter()
            .filter(|(node, e)| e.ways.is_empty() && !e.is_of_interest() && !self.changed.contains(*node));
        for node in dead.map(|(node, _)| *node).collect::<Vec<_>>() {
            if let Some(entry) = self.entries.remove(&node) {
                self.free.push(entry.number);
            }
        }
        any
    }

    fn end_interest(&mut self, now: Instant) {
        for (node, entry) in &mut self.entries {
            entry.wanted.take_if(|until| *until <= now);
            let before = entry.asked_by.len();
            entry.asked_by.retain(|_, until| *until > now);
            if entry.asked_by.len() != before && !self.is_small {
                self.changed.insert(*node); // the way is withdrawn from those who no longer ask
            }
        }
    }

    /// Announces this node afresh: its counter goes up, and that is told on from node to node.
    pub fn refresh(&mut self) {
        self.seqno = self.seqno.wrapping_add(1);
        self.renewed.insert(self.own);
    }

    /// Lets small changes be told with the next news; called now and then.
    pub fn tell_renewed(&mut self) {
        self.changed.append(&mut self.renewed);
    }

    /// There is something to send to this node, now and for a while.
    pub fn want(&mut self, now: Instant, node: NodeId) {
        self.add(node);
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.wanted = Some(now + INTEREST);
        }
    }

    /// A neighbour asks for a way to a node.
    pub fn on_way_request(&mut self, now: Instant, from: Peer, node: NodeId) -> Request {
        if node == self.own {
            self.changed.insert(node);
            return Request::Done;
        }
        self.add(node);
        let knows = self.best(&node).is_some_and(|(via, _, _)| via != from);
        let Some(entry) = self.entries.get_mut(&node) else { return Request::Done };
        entry.asked_by.insert(from, now + INTEREST);
        if knows {
            self.changed.insert(node);
            return Request::Done;
        }
        let lately = entry.asked.is_some_and(|(at, _)| now.since(at) < ASK_EVERY);
        if lately {
            return Request::Done;
        }
        entry.asked = Some((now, entry.asked.map_or(0, |(_, tries)| tries)));
        Request::PassOn
    }

    /// Returns the requests to send now: for what is wanted and not reachable to everybody, less and less
    /// often; for what is in use along its way, so that it is told on.
    pub fn requests(&mut self, now: Instant) -> Vec<(NodeId, Option<Peer>)> {
        if self.entries.values().all(|entry| !entry.is_of_interest()) {
            return Vec::new();
        }
        let best: Vec<(NodeId, Option<Peer>)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.is_of_interest())
            .map(|(node, _)| (*node, self.best(node).map(|(via, _, _)| via)))
            .collect();
        let mut out = Vec::new();
        for (node, via) in best {
            let is_small = self.is_small;
            let Some(entry) = self.entries.get_mut(&node) else { continue };
            let (last, tries) = entry.asked.unwrap_or((Instant(0), 0));
            let pause = match via {
                Some(_) => INTEREST / 3,
                None => ASK_EVERY * (1 << tries.min(5)),
            };
            let never = entry.asked.is_none();
            // In a small mesh ways come by themselves, and whom nobody tells of cannot be reached.
            let due = never || now.since(last) >= pause;
            let searches = via.is_none() && entry.wanted.is_some();
            if !due || (via.is_none() && !searches) || (via.is_some() && is_small) {
                continue;
            }
            entry.asked = Some((now, if via.is_some() { 0 } else { tries + 1 }));
            out.push((node, via));
        }
        out
    }

    /// Says whether there is something to tell.
    pub fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes the news: for each neighbour the ways that changed, poisoned where the neighbour is the next
    /// hop (split horizon with poisoned reverse).
    pub fn take_news(&mut self) -> BTreeMap<Peer, Vec<Route>> {
        let changed = std::mem::take(&mut self.changed);
        let peers: Vec<Peer> = self.links.keys().copied().collect();
        self.tell(changed.into_iter().collect(), &peers)
    }

    /// Returns everything, for a neighbour that has just come up.
    pub fn tell_all(&mut self, peer: Peer) -> Vec<Route> {
        let mut all: Vec<NodeId> = self.entries.keys().copied().collect();
        all.push(self.own);
        self.tell(all, &[peer]).remove(&peer).unwrap_or_default()
    }

    fn tell(&mut self, nodes: Vec<NodeId>, peers: &[Peer]) -> BTreeMap<Peer, Vec<Route>> {
        let mut out: BTreeMap<Peer, Vec<Route>> = BTreeMap::new();
        for node in nodes {
            if node == self.own {
                let route = Route { node, seqno: self.seqno, cost_us: 0, hops: 0 };
                peers.iter().for_each(|peer| out.entry(*peer).or_default().push(route));
                continue;
            }
            let Some((via, route)) = self.announcement(node) else { continue };
            let Some(entry) = self.entries.get_mut(&node) else { continue };
            let withdrawal = Route { cost_us: NO_WAY, ..route };
            for peer in peers {
                let is_listening = self.is_small || entry.asked_by.contains_key(peer);
                // Poisoned towards its next hop, which must not come back here.
                let has_way = is_listening && via != Some(*peer) && route.cost_us != NO_WAY;
                let knew = if has_way { !entry.told_to.insert(*peer) } else { entry.told_to.remove(peer) };
                if has_way {
                    out.entry(*peer).or_default().push(route);
                } else if knew {
                    out.entry(*peer).or_default().push(withdrawal);
                }
            }
        }
        out
    }

    /// The best feasible way as this node announces it, with the neighbour it leads over; notes the distance.
    fn announcement(&mut self, node: NodeId) -> Option<(Option<Peer>, Route)> {
        let best = self.best(&node);
        let entry = self.entries.get_mut(&node)?;
        let Some((via, cost_us, way)) = best else {
            if !entry.ways.is_empty() && (self.is_small || entry.is_of_interest()) {
                self.starved.insert(node);
            }
            let seqno = entry.feasible.map_or(0, |feasible| feasible.seqno);
            return Some((None, Route { node, seqno, cost_us: NO_WAY, hops: 0 }));
        };
        let feasible = Feasible { seqno: way.seqno, cost_us };
        let lower = |old: &Feasible| {
            newer(feasible.seqno, old.seqno) || (feasible.seqno == old.seqno && cost_us < old.cost_us)
        };
        if entry.feasible.as_ref().is_none_or(lower) {
            entry.feasible = Some(feasible);
        }
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
        let none_feasible = |entry: &Entry| {
            (self.is_small || entry.is_of_interest())
                && !entry.ways.is_empty()
                && !entry.ways.values().any(|w| entry.is_feasible(w))
        };
        let hungry = self.entries.iter().filter(|(_, entry)| none_feasible(entry));
        hungry.filter_map(|(node, e)| Some((*node, e.feasible?.seqno.wrapping_add(1)))).collect()
    }

    /// Takes the requests that are to be sent at once, because a last feasible way was lost.
    pub fn take_starved(&mut self) -> Vec<(NodeId, u32)> {
        let starved = std::mem::take(&mut self.starved);
        let wanted = |node: &NodeId| Some(self.entries.get(node)?.feasible?.seqno.wrapping_add(1));
        starved.into_iter().filter_map(|node| Some((node, wanted(&node)?))).collect()
    }

    /// Answers a neighbour's request for a fresher way. `Some(peer)` is whom to pass it on to.
    pub fn on_request(&mut self, now: Instant, from: Peer, node: NodeId, seqno: u32) -> Option<Peer> {
        if node == self.own {
            if newer(seqno, self.seqno) {
                self.seqno = seqno;
            }
            self.changed.insert(node);
            return None;
        }
        if let Some((_, _, way)) = self.best(&node)
            && !newer(seqno, way.seqno)
        {
            self.changed.insert(node);
            return None;
        }
        // RFC 8966, section 3.8.1.2: towards the destination also over a way that is not feasible, for whoever
        // is asked here may be starving too.
        let entry = self.entries.get_mut(&node)?;
        let lately = |(passed, at): (u32, Instant)| !newer(seqno, passed) && now.since(at) < ASK_EVERY;
        if entry.passed_on.is_some_and(lately) {
            return None;
        }
        entry.passed_on = Some((seqno, now));
        entry.is_asked_fresher = true;
        let ways = entry.ways.iter().filter(|(peer, _)| **peer != from);
        ways.min_by_key(|(peer, way)| (way.cost_us, **peer)).map(|(peer, _)| *peer)
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
mod tests;
