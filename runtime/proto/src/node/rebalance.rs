//! How many links, and to whom: rebalancing that never disconnects the graph, feelers, and probes of
//! neighbours that vanished.
//!
//! A link is let go only when it is the heaviest of a cycle, by a weight that everybody computes alike. A
//! minimum spanning tree has no heaviest edge of any cycle, so that the graph stays connected also when all
//! nodes let go at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Disconnect, Node, Output};
use crate::directory::{Dial, FEELER, LinkPolicy, MAX_DIALS, SMALL_MESH};
use crate::frame::{Control, Parting};
use crate::id::{NodeId, Peer};
use crate::members::MemberState;
use crate::time::{Instant, Now};

/// How long a neighbour has to close a link that it was asked to.
const PART_WITHIN: Duration = Duration::from_secs(2);
/// A vanished neighbour is dialed within this time, at random.
const PROBE_WITHIN: Duration = Duration::from_millis(200);
/// How many times rarer feelers are in a mesh that is known by a sample: one that succeeds exchanges a link, which
/// costs a broadcast tree a repair.
const SAMPLE_FEELERS: u32 = 20;
/// As long as it is young a node feels in every round: newcomers that know each other only are an island.
const YOUNG: Duration = Duration::from_secs(60);
/// Where no more nodes than these are within two links, more are sought. Four links each, none of them twice, lead
/// to 17.
const ISLAND: usize = 12;
/// Links of its own choice that a node does not let go in a mesh that is not small (faults.md ADV7).
const OWN_LINKS: usize = 2;
/// So many links that are lost within [`SHAKEN`] tell of a mass failure.
const MANY_LOST: u32 = 3;
/// How long after one a node tries all that it knows.
const SHAKEN: Duration = Duration::from_secs(60);
/// How often somebody is dialed for what no neighbour sends, at most.
const ELSEWHERE_EVERY: Duration = Duration::from_secs(2);
/// Neighbours told to all neighbours, at most.
const MAX_TOLD: usize = 64;

/// The weight of a link, the same for both ends and for everybody else.
fn weight(a: &NodeId, b: &NodeId) -> [u8; 16] {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    let mut ends = [0; 64];
    ends[..32].copy_from_slice(&low.0);
    ends[32..].copy_from_slice(&high.0);
    let hash = blake3::hash(&ends);
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    *first
}

impl Node {
    /// Returns the neighbours that have said hello.
    pub(super) fn greeted(&self) -> impl Iterator<Item = Peer> {
        self.neighbours.iter().filter(|(_, neighbour)| neighbour.is_greeted()).map(|(peer, _)| *peer)
    }

    /// Returns the neighbours that count: they have said hello and are not about to go.
    fn settled(&self) -> impl Iterator<Item = (Peer, NodeId)> {
        let here = self.neighbours.iter().filter(|(_, n)| n.is_greeted() && !n.ends_in_peace());
        here.map(|(peer, neighbour)| (*peer, neighbour.node))
    }

    fn bounds(&self) -> (usize, usize) {
        self.directory.policy().bounds(self.mesh_size())
    }

    /// Returns how many links this node dials for. As many dial a newcomer as it dials: as long as others may still
    /// come it leaves them one, so that fewer have to be let go again.
    pub(super) fn least_links(&self, now: Now) -> usize {
        let (min, _) = self.bounds();
        let is_new = now.instant.since(self.started) < self.tuning.rebalance;
        let leaves_one =
            is_new && self.directory.policy() == LinkPolicy::Adaptive && self.mesh_size() > SMALL_MESH;
        if leaves_one { min - 1 } else { min }
    }

    /// One round: too many links are made fewer, or somebody without a link is tried.
    pub(super) fn rebalance(&mut self, now: Now) {
        self.directory.tidy(&self.members);
        self.end_partings(now);
        if self.directory.policy() == LinkPolicy::Explicit {
            return;
        }
        self.look_for_orphans();
        let (min, max) = self.bounds();
        let links = self.settled().count();
        for _ in max..links {
            self.let_one_go(now);
        }
        if links >= min {
            self.feel(now);
        }
    }

    /// Returns the links that others can neither take the place of nor make this node let go: those of its own
    /// choice, and the one that has been there for longest. A small mesh is known as a whole, and has no link too many.
    fn guarded(&self) -> BTreeSet<Peer> {
        if self.mesh_size() <= SMALL_MESH {
            return BTreeSet::new();
        }
        let by_age = || self.settled().map(|(peer, _)| peer);
        let own = by_age().filter(|peer| self.neighbours[peer].dialed).take(OWN_LINKS);
        by_age().take(1).chain(own).collect()
    }

    /// All neighbours that offer a message keep it to themselves: somebody else may have it too.
    pub(super) fn look_elsewhere(&mut self, now: Now) {
        if now.instant.since(self.looked_elsewhere) < ELSEWHERE_EVERY {
            return;
        }
        self.looked_elsewhere = now.instant;
        let dial = self.dial_of_stranger(now);
        self.outputs.extend(dial.map(Output::Dial));
    }

    /// Returns a dial of a living member that there is no link to.
    fn dial_of_stranger(&mut self, now: Now) -> Option<Dial> {
        let (linked, members) = (&self.by_node, &self.members);
        self.directory.stranger(now.instant, linked, members, MemberState::Alive, &mut self.rng)
    }

    /// Neighbours that were asked to go and did not.
    fn end_partings(&mut self, now: Now) {
        let late = |since: Instant| now.instant.since(since) > PART_WITHIN;
        let stay = self.neighbours.iter().filter(|(_, n)| n.parting.is_some_and(late));
        for peer in stay.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.outputs.push_back(Output::Disconnect { peer, reason: Disconnect::TooManyLinks });
            self.on_link_down(now, peer);
        }
    }

    /// Asks one neighbour to part that the graph can do without.
    fn let_one_go(&mut self, now: Now) {
        match self.spare() {
            Some(peer) => self.part(now, peer, Parting::Enough),
            None => self.introduce(),
        }
    }

    /// Every link is one that the graph cannot do without, as the tree goes: two neighbours that link to each
    /// other by a lighter one make one of theirs to this node heavy enough to go.
    fn introduce(&mut self) {
        let (_, max) = self.bounds();
        let has_room = |peer: &Peer| self.neighbours[peer].others.len() < max;
        let roomy = self.settled().filter(|(peer, _)| has_room(peer));
        let roomy: Vec<_> = roomy.map(|(peer, node)| (peer, node, weight(&self.id, &node))).collect();
        let mut pairs = Vec::new();
        for (at, (peer, node, own)) in roomy.iter().enumerate() {
            for (_, other, other_own) in &roomy[at + 1..] {
                if weight(node, other) < *own.max(other_own) {
                    pairs.push((*peer, *other));
                }
            }
        }
        if let Some((peer, other)) = self.rng.choice(pairs) {
            self.say(peer, &Control::Introduce { node: other });
        }
    }

    pub(super) fn on_introduced(&mut self, now: Now, node: NodeId) {
        let (_, max) = self.bounds();
        let has_room = self.directory.policy() != LinkPolicy::Explicit && self.by_node.len() < max;
        if has_room && !self.by_node.contains_key(&node) {
            self.dial(now, &node);
        }
    }

    /// Returns a link that the graph can do without, best one that carries no broadcasts and that the other side
    /// dialed.
    ///
    /// Where all members are known that is one whose ends are connected by lighter links alone. Of a mesh that
    /// is known by a sample only the neighbours' numbers of links are known: there it is one to a neighbour
    /// with more than enough. Random graphs of five links a node are connected but for a chance that shrinks
    /// with a power of their size, and feelers mend the rest.
    fn spare(&self) -> Option<Peer> {
        let (min, _) = self.bounds();
        let settled: Vec<(Peer, NodeId)> = self.settled().collect();
        let (is_sample, guarded) = (self.samples(), self.guarded());
        let graph = if is_sample { BTreeMap::new() } else { self.graph(&settled) };
        let is_spare = |(peer, node): &&(Peer, NodeId)| {
            let has_enough = self.neighbours[peer].others.len() > min;
            let is_free = !self.directory.keeps(node) && !guarded.contains(peer);
            is_free && if is_sample { has_enough } else { self.is_bridged(node, &graph) }
        };
        let rank = |(peer, node): &&(Peer, NodeId)| {
            (self.trees.is_lazy(*peer), !self.neighbours[peer].dialed, weight(&self.id, node))
        };
        settled.iter().filter(is_spare).max_by_key(rank).map(|(peer, _)| *peer)
    }

    /// Who has links to whom: as the neighbours say now, and of the others as their records say.
    fn graph(&self, settled: &[(Peer, NodeId)]) -> BTreeMap<NodeId, Vec<NodeId>> {
        let living = self.members.iter().filter(|member| member.state == MemberState::Alive);
        let mut graph: BTreeMap<NodeId, Vec<NodeId>> =
            living.map(|member| (member.record.node, member.record.facts.neighbours.clone())).collect();
        for (peer, node) in settled {
            graph.insert(*node, self.neighbours[peer].others.clone());
        }
        graph.insert(self.id, settled.iter().map(|(_, node)| *node).collect());
        graph
    }

    /// Says whether a path of links that are all lighter than the one to `node` leads there. Both ends of each
    /// of them must tell of it, so that a link that is just being let go does not count.
    fn is_bridged(&self, node: &NodeId, graph: &BTreeMap<NodeId, Vec<NodeId>>) -> bool {
        let own = weight(&self.id, node);
        let tells = |of: &NodeId, other: &NodeId| graph.get(of).is_some_and(|links| links.contains(other));
        let mut known = BTreeSet::from([self.id]);
        let mut ahead = vec![self.id];
        while let Some(at) = ahead.pop() {
            for next in graph.get(&at).into_iter().flatten() {
                if weight(&at, next) < own && tells(next, &at) && known.insert(*next) {
                    if next == node {
                        return true;
                    }
                    ahead.push(*next);
                }
            }
        }
        false
    }

    fn dial(&mut self, now: Now, node: &NodeId) -> bool {
        let Some(record) = self.members.record(node).cloned() else { return false };
        let dial = self.directory.dial(now.instant, &record);
        let is_under_way = dial.is_some();
        self.outputs.extend(dial.map(Output::Dial));
        is_under_way
    }

    /// Asks a neighbour to close the link.
    fn part(&mut self, now: Now, peer: Peer, reason: Parting) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.parting = Some(now.instant);
            neighbour.say(&Control::Part(reason));
        }
    }

    pub(super) fn on_part(&mut self, now: Now, peer: Peer, reason: Parting) {
        let reason = match reason {
            Parting::Enough => Disconnect::MakesRoom,
            Parting::Full => Disconnect::TooManyLinks,
        };
        self.outputs.push_back(Output::Disconnect { peer, reason });
        self.on_link_down(now, peer);
    }

    /// A newcomer where there are more links than may be even for a moment: another neighbour gives way, which
    /// has heard of others, as with a join in HyParView. When none can, the newcomer is sent to others.
    pub(super) fn relieve(&mut self, now: Now, newcomer: Peer) {
        let links = self.settled().count();
        if links <= self.directory.policy().capacity(self.mesh_size()) {
            return;
        }
        let guarded = self.guarded();
        let can_go = |(peer, node): &(Peer, NodeId)| {
            let is_free = !self.directory.keeps(node) && !guarded.contains(peer);
            *peer != newcomer && is_free && self.neighbours[peer].others.len() > 1
        };
        // Nobody who dials can push out those that this node has dialed itself, nor those that have been there
        // for long: else a swarm of made-up nodes would be all its neighbours in the end.
        let dialed_in = |peer: &Peer| !self.neighbours[peer].dialed;
        let all: Vec<Peer> = self.settled().filter(can_go).map(|(peer, _)| peer).filter(dialed_in).collect();
        let young = all.get(all.len() / 2..).unwrap_or_default().to_vec();
        match self.rng.choice(young) {
            Some(peer) => self.part(now, peer, Parting::Enough),
            None => {
                self.shuffle_to(newcomer);
                self.part(now, newcomer, Parting::Full);
            }
        }
    }

    /// Tries somebody without a link: a part of the mesh that was cut off is found by it, and nodes that
    /// nobody watches any more.
    fn feel(&mut self, now: Now) {
        if self.feel_for_orphans(now) {
            return;
        }
        if self.is_shaken(now) {
            self.feel_for_survivors(now);
            return;
        }
        let is_young = now.instant.since(self.started) < YOUNG;
        let linked = &self.by_node;
        if self.is_secluded() {
            // Whom it knows may be on the same island. Where it came from hardly is.
            let way_in = self.directory.way_in(now.instant, linked, &mut self.rng);
            let others = self.dial_of_stranger(now);
            self.outputs.extend(way_in.into_iter().chain(others).map(Output::Dial));
            return;
        }
        let is_filling = self.members.len() > self.tuning.members / 4;
        if is_young && is_filling && self.neighbours.values().all(|neighbour| !neighbour.dialed) {
            // What looks like the whole mesh may be those that came by way of this node.
            let way_in = self.directory.way_in(now.instant, linked, &mut self.rng);
            self.outputs.extend(way_in.map(Output::Dial));
        }
        let every = match self.samples() {
            true if is_young => FEELER,
            true => FEELER * SAMPLE_FEELERS,
            false => FEELER,
        };
        if self.rng.f64() * every.as_secs_f64() >= self.tuning.rebalance.as_secs_f64() {
            return;
        }
        let dial = self.directory.feeler(now.instant, &self.by_node, &self.members, &mut self.rng);
        self.outputs.extend(dial.map(Output::Dial));
    }

    /// A link was lost that nobody had announced.
    pub(super) fn note_lost(&mut self, now: Now) {
        let (since, count) = &mut self.lost;
        if *count == 0 || now.instant.since(*since) > SHAKEN {
            (*since, *count) = (now.instant, 0);
        }
        *count += 1;
    }

    /// Says whether many were lost of late in a mesh that is known by a sample: of those that this node knows as many
    /// may be gone, and a survivor whom nobody is linked to may know none that is not.
    fn is_shaken(&self, now: Now) -> bool {
        let (since, count) = self.lost;
        self.samples() && count >= MANY_LOST && now.instant.since(since) < SHAKEN
    }

    /// Tries others once too many neighbours are silent, before any of them is taken for dead.
    pub(super) fn reach_out(&mut self, now: Now) {
        if self.due.reach_out.is_none_or(|due| due > now.instant) {
            return;
        }
        self.watch_silence(now.instant);
        let silent = self.too_many_silent().filter(|(at, _)| *at <= now.instant);
        let Some(left) = silent.map(|(_, left)| left).min() else { return };
        let (min, _) = self.bounds();
        // In a mass failure most dials are in vain: who is as good as alone tries with all hands.
        let wanted = if left <= 1 { MAX_DIALS } else { min - left };
        for _ in self.directory.promising(now.instant)..wanted {
            let Some(dial) = self.dial_of_stranger(now) else { return };
            self.outputs.push_back(Output::Dial(dial));
        }
    }

    /// Tries those that it knows, to find out who of them is still there; as many at a time as it has room for links.
    fn feel_for_survivors(&mut self, now: Now) {
        let (_, max) = self.bounds();
        for _ in self.by_node.len() + self.directory.under_way()..max {
            let Some(dial) = self.dial_of_stranger(now) else { return };
            self.probes.extend(dial.expect.map(|node| (node, None)));
            self.outputs.push_back(Output::Dial(dial));
        }
    }

    /// Says whether this node and its neighbours have links to each other and to hardly anybody else, though there
    /// are many: together they may be an island, which none of them would notice by itself.
    fn is_secluded(&self) -> bool {
        self.samples() && self.surroundings() <= ISLAND
    }

    /// Returns how many nodes are one or two links away, this one included.
    fn surroundings(&self) -> usize {
        let others = self.neighbours.values().flat_map(|neighbour| &neighbour.others);
        self.by_node.keys().chain(others).chain([&self.id]).collect::<BTreeSet<_>>().len()
    }

    /// After a mass failure many are gone whom nobody watched: the survivors share the work of finding out, about
    /// two dials for each in a round. Says whether there was any.
    fn feel_for_orphans(&mut self, now: Now) -> bool {
        let mut orphans: Vec<NodeId> = self.orphans.iter().copied().collect();
        let all = orphans.len();
        let survivors = (self.members.count(MemberState::Alive) + 1).saturating_sub(all).max(1);
        let expected = all as f64 * 2.0 / survivors as f64;
        let mut dials = (expected as usize).min(MAX_DIALS);
        if dials < MAX_DIALS && self.rng.f64() < expected.fract() {
            dials += 1;
        }
        for _ in 0..dials.min(all) {
            let orphan = orphans.swap_remove(self.rng.usize(..orphans.len()));
            if self.dial(now, &orphan) {
                self.probes.insert(orphan, None);
            }
        }
        dials > 0 && all > 0
    }

    /// Finds the nodes that no chain of links leads to. Walks through all links, so once a round.
    fn look_for_orphans(&mut self) {
        let links = self.by_node.keys().copied();
        let orphans = if self.samples() { Vec::new() } else { self.members.orphans(links) };
        self.orphans = orphans.into_iter().collect();
    }

    /// A neighbour vanished: it is tried once more, and accused when that fails.
    pub(super) fn probe(&mut self, now: Now, node: NodeId) {
        let can_dial = self.directory.policy() != LinkPolicy::Explicit
            && self.members.record(&node).is_some_and(|record| !record.facts.addrs.is_empty());
        if !can_dial {
            self.accuse(now, node);
            return;
        }
        let soon = now.instant + PROBE_WITHIN.mul_f64(self.rng.f64());
        let at = soon.max(self.directory.next_dial(&node));
        self.probes.insert(node, Some(at));
        self.due.probe = Some(self.due.probe.map_or(at, |due| due.min(at)));
    }

    pub(super) fn send_probes(&mut self, now: Now) {
        if self.due.probe.is_none_or(|due| due > now.instant) {
            return;
        }
        let is_due = |at: &Option<Instant>| at.is_some_and(|at| at <= now.instant);
        let ready: Vec<NodeId> = self.probes.iter().filter(|(_, at)| is_due(at)).map(|(n, _)| *n).collect();
        for node in ready {
            self.probes.insert(node, None);
            // A dial that is under way for another reason tells as much.
            let is_tried = self.by_node.contains_key(&node) || self.directory.is_dialing(&node);
            if !is_tried && !self.dial(now, &node) {
                self.probes.remove(&node);
            }
        }
        self.due.probe = self.probes.values().flatten().min().copied();
    }

    pub(super) fn on_dial_failed(&mut self, now: Now, dial: &Dial) {
        self.directory.on_failed(now.instant, dial, &mut self.rng);
        self.due.dial_soon(now.instant);
        let Some(node) = dial.expect else { return };
        if self.by_node.contains_key(&node) {
            return;
        }
        let vanished = self.probes.remove(&node).is_some();
        let is_suspect = self.members.state(&node) == Some(MemberState::Suspect);
        let fails_often = self.directory.failures(&node) > 1;
        if vanished || is_suspect || (fails_often && self.orphans.contains(&node)) {
            self.accuse(now, node);
        }
        if vanished && self.is_shaken(now) {
            self.feel_for_survivors(now);
        }
    }

    /// Tells the neighbours whom this node has links to.
    pub(super) fn tell_links(&mut self) {
        if !std::mem::take(&mut self.links_stale) || self.directory.policy() == LinkPolicy::Explicit {
            return;
        }
        let nodes: Vec<NodeId> = self.settled().map(|(_, node)| node).take(MAX_TOLD).collect();
        let peers: Vec<Peer> = self.greeted().collect();
        for peer in peers {
            self.say(peer, &Control::Links(nodes.clone()));
        }
    }

    /// Notes when the next neighbour will have been silent for too long.
    pub(super) fn watch_silence(&mut self, now: Instant) {
        let phi = self.tuning.phi;
        self.due.silence = self.neighbours.values().map(|n| n.detector.deadline(phi)).min();
        // As long as too many are silent, others are tried with every beat.
        let again = now + self.tuning.heartbeat;
        let due = self.too_many_silent().map(|(at, _)| if at > now { at } else { again });
        self.due.reach_out = due.min();
    }

    /// Returns when two neighbours will be as good as surely gone together, when three, and so on, and how many are left
    /// then; those numbers that leave too few. One that is silent may merely be late; that several are is as unlikely as
    /// their phi add up to. Nothing where all are known: there the members tell how many are left.
    fn too_many_silent(&self) -> impl Iterator<Item = (Instant, usize)> {
        let all = self.neighbours.len();
        let (min, _) = self.bounds();
        let fewest = if self.samples() { all.saturating_sub(min).max(1) + 1 } else { all + 1 };
        (fewest..=all).map(move |silent| {
            let share = self.tuning.phi / silent as f64;
            let detectors = self.neighbours.values().map(|neighbour| &neighbour.detector);
            let mut deadlines: Vec<Instant> = detectors.map(|detector| detector.deadline(share)).collect();
            let (_, at, _) = deadlines.select_nth_unstable(silent - 1);
            (*at, all - silent)
        })
    }

    /// Lets neighbours go that were silent for too long, and says so.
    pub(super) fn end_silent(&mut self, now: Now) {
        if self.due.silence.is_none_or(|due| due > now.instant) {
            return;
        }
        let phi = self.tuning.phi;
        let silent = self.neighbours.iter().filter(|(_, n)| n.detector.deadline(phi) <= now.instant);
        let silent: Vec<Peer> = silent.map(|(peer, _)| *peer).collect();
        for peer in silent {
            let Some(neighbour) = self.neighbours.get_mut(&peer) else { continue };
            let (node, is_accused) = (neighbour.node, neighbour.is_greeted() && !neighbour.ends_in_peace());
            let others = std::mem::take(&mut neighbour.accused);
            self.outputs.push_back(Output::Disconnect { peer, reason: Disconnect::Silent });
            self.on_link_down(now, peer);
            if is_accused {
                self.note_lost(now);
                self.accuse(now, node);
                others.into_iter().for_each(|accusation| self.on_accusation(now, accusation, None));
            }
        }
        self.watch_silence(now.instant);
    }
}
