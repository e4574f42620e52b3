//! What was measured: traffic, links, deliveries, and who is connected with whom.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Network;
use super::check::Breach;
use super::ledger::Publication;
use crate::id::NodeId;
use crate::members::MemberState;
use crate::time::Instant;

/// Bytes and frames of one host or of all. Bytes count frames with their lengths of four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames of the control lane that were sent.
    pub control_frames: u64,
    /// Their bytes.
    pub control_bytes: u64,
    /// Frames with messages that were sent.
    pub run_frames: u64,
    /// Their bytes.
    pub run_bytes: u64,
    /// Bytes of packets that were sent: with their headers, what was sent again and duplicates.
    pub wire_bytes: u64,
    /// Bytes of frames with messages that came and were the first copy at this host.
    pub first_bytes: u64,
    /// Bytes of frames with messages that came and that the host had been sent before.
    pub repeated_bytes: u64,
    /// Dials.
    pub dials: u64,
    /// Dials that led to no link.
    pub failed_dials: u64,
}

/// Sightings that are kept, at most; all are counted.
pub const MAX_SIGHTINGS: usize = 4_000_000;

/// A host has changed its mind about another one's life. Hearing of a host for the first time is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When, in true time.
    pub at: Instant,
    /// Who.
    pub by: u32,
    /// About whom.
    pub of: u32,
    /// What it thinks now.
    pub state: MemberState,
    /// Whether the other one was up, not frozen and not in another part of the mesh: then it was wrong to take
    /// it for suspect or dead.
    pub was_there: bool,
}

#[derive(Default)]
pub(super) struct Sightings {
    kept: Vec<Sighting>,
    count: u64,
}

/// How far what honest hosts know of each other is from the truth, summed up over all that are up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Hosts that are up and that a host does not take for alive; not counted where only a sample is known.
    pub missing: usize,
    /// Hosts that are down and that a host takes for alive.
    pub stale: usize,
    /// Members that are no hosts of this network and that a host takes for alive.
    pub strangers: usize,
}

impl Traffic {
    /// Returns the bytes of all frames that were sent.
    pub fn sent_bytes(&self) -> u64 {
        self.control_bytes + self.run_bytes
    }

    /// Returns what was added since `earlier`.
    pub fn since(&self, earlier: &Traffic) -> Traffic {
        self.zip(earlier, |now, then| now.saturating_sub(then))
    }

    fn zip(&self, other: &Traffic, f: impl Fn(u64, u64) -> u64) -> Traffic {
        Traffic {
            control_frames: f(self.control_frames, other.control_frames),
            control_bytes: f(self.control_bytes, other.control_bytes),
            run_frames: f(self.run_frames, other.run_frames),
            run_bytes: f(self.run_bytes, other.run_bytes),
            wire_bytes: f(self.wire_bytes, other.wire_bytes),
            first_bytes: f(self.first_bytes, other.first_bytes),
            repeated_bytes: f(self.repeated_bytes, other.repeated_bytes),
            dials: f(self.dials, other.dials),
            failed_dials: f(self.failed_dials, other.failed_dials),
        }
    }
}

impl Network {
    /// Returns what all hosts sent and received.
    pub fn traffic(&self) -> Traffic {
        let all = self.hosts.iter().map(|host| host.traffic);
        all.fold(Traffic::default(), |sum, one| sum.zip(&one, |a, b| a + b))
    }

    /// Returns what one host sent and received, over all its starts.
    pub fn traffic_of(&self, host: usize) -> Traffic {
        self.hosts[host].traffic
    }

    /// Returns how many frames of the first byte `kind` were sent.
    pub fn frames(&self, kind: u8) -> u64 {
        self.frames[usize::from(kind)]
    }

    /// Returns all publications, in the order of their numbers.
    pub fn publications(&self) -> &[Publication] {
        &self.ledger.publications
    }

    /// Returns the latency that a share of all first deliveries did not exceed, for these publications: 0.5 is
    /// the median. `None` when nothing was delivered.
    pub fn latency(&self, of: std::ops::Range<usize>, share: f64) -> Option<Duration> {
        let arrivals = self.ledger.publications.get(of)?.iter().flat_map(|p| &p.arrivals);
        let mut all: Vec<u32> = arrivals.map(|arrival| arrival.after_us).collect();
        let at = ((all.len() as f64 * share).ceil() as usize).clamp(1, all.len().max(1)) - 1;
        if all.is_empty() {
            return None;
        }
        let (_, value, _) = all.select_nth_unstable(at);
        Some(Duration::from_micros((*value).into()))
    }

    /// Returns the expected hosts that a publication has not reached.
    pub fn unreached(&self, publication: usize) -> Vec<usize> {
        self.ledger.publications[publication].unreached()
    }

    /// Returns the number of links of each honest host that is up, in the order of the hosts.
    pub fn link_counts(&self) -> Vec<usize> {
        self.honest_up().map(|host| self.hosts[host].links.len()).collect()
    }

    /// Returns the number of links of a host.
    pub fn links(&self, host: usize) -> usize {
        self.hosts[host].links.len()
    }

    /// Returns the hosts at the far ends of a host's links; one with two links is named twice.
    pub fn neighbours(&self, host: usize) -> Vec<usize> {
        let ends = self.hosts[host].links.iter();
        let far = ends.filter_map(|end| Some(self.links.get(end.link)?.sides[1 - end.side].host as usize));
        far.collect()
    }

    /// Returns the honest hosts that are up, frozen ones included.
    pub fn honest_up(&self) -> impl Iterator<Item = usize> {
        let hosts = self.hosts.iter().enumerate();
        hosts.filter(|(_, host)| host.is_up() && host.is_honest()).map(|(index, _)| index)
    }

    /// Returns the parts in which honest hosts that are up reach each other over links between them, the
    /// largest first.
    pub fn connected_components(&self) -> Vec<Vec<usize>> {
        let mut part: Vec<usize> = (0..self.hosts.len()).collect();
        let is_in = |host: usize| self.hosts[host].is_up() && self.hosts[host].is_honest();
        for (_, link) in self.links.iter() {
            let [a, b] = &link.sides;
            let is_whole = !a.is_gone && !b.is_gone && a.out.cut.is_none() && b.out.cut.is_none();
            if is_whole && is_in(a.host as usize) && is_in(b.host as usize) {
                let (a, b) = (root(&mut part, a.host as usize), root(&mut part, b.host as usize));
                part[a.max(b)] = a.min(b);
            }
        }
        let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for host in self.honest_up() {
            parts.entry(root(&mut part, host)).or_default().push(host);
        }
        let mut parts: Vec<Vec<usize>> = parts.into_values().collect();
        parts.sort_by_key(|hosts| std::cmp::Reverse(hosts.len()));
        parts
    }

    pub(super) fn sight(&mut self, by: usize, node: NodeId, state: MemberState) {
        let doubted = &mut self.hosts[by].doubted;
        let is_news = if state == MemberState::Alive { doubted.remove(&node) } else { true };
        let Some(of) = self.ledger.host(&node).filter(|_| is_news) else { return };
        if state != MemberState::Alive {
            self.hosts[by].doubted.insert(node);
        }
        let other = &self.hosts[of];
        let was_there = other.is_up() && !other.is_frozen && other.part == self.hosts[by].part;
        self.sightings.count += 1;
        if self.sightings.kept.len() < MAX_SIGHTINGS {
            let (by, of) = (by as u32, of as u32);
            self.sightings.kept.push(Sighting { at: self.now, by, of, state, was_there });
        }
    }

    /// Returns how hosts changed their minds about others, the first [`MAX_SIGHTINGS`] of them.
    pub fn sightings(&self) -> &[Sighting] {
        &self.sightings.kept
    }

    /// Returns how often hosts changed their minds about others.
    pub fn sighting_count(&self) -> u64 {
        self.sightings.count
    }

    /// Returns how often a host said that the mesh was parted, and that it was whole again.
    pub fn partitions_seen(&self, host: usize) -> (u64, u64) {
        (self.hosts[host].partitions, self.hosts[host].merges)
    }

    /// Compares what honest hosts know of each other with the truth. Costs a look-up for each member that each
    /// host knows.
    pub fn membership(&self) -> Membership {
        let up = self.honest_up().count();
        self.honest_up().fold(Membership::default(), |sum, host| {
            let one = self.membership_of(host, up);
            Membership {
                missing: sum.missing + one.missing,
                stale: sum.stale + one.stale,
                strangers: sum.strangers + one.strangers,
            }
        })
    }

    fn membership_of(&self, host: usize, up: usize) -> Membership {
        let (mut known, mut out) = (0, Membership::default());
        for member in self.node(host).members().filter(|member| member.state == MemberState::Alive) {
            match self.ledger.host(&member.record.node).map(|other| &self.hosts[other]) {
                None => out.strangers += 1,
                Some(other) if !other.is_up() => out.stale += 1,
                Some(other) => known += usize::from(other.is_honest()),
            }
        }
        out.missing = if self.node(host).knows_a_sample() { 0 } else { (up - 1).saturating_sub(known) };
        out
    }

    /// Says whether each honest host that is up takes all others for alive, and none that is down (I10).
    pub fn agree_on_members(&self) -> bool {
        let membership = self.membership();
        membership.missing == 0 && membership.stale == 0
    }

    /// Returns the promises that did not hold, the first [`super::MAX_BREACHES`] of them.
    pub fn breaches(&self) -> &[Breach] {
        &self.breaches.kept
    }

    /// Returns how many promises did not hold.
    pub fn breach_count(&self) -> u64 {
        self.breaches.count
    }

    /// Returns how often honest hosts closed links for violations: by the violation's name and by who committed
    /// it.
    pub fn violations(&self) -> &BTreeMap<(&'static str, usize), u64> {
        &self.violations
    }

    /// Returns how many events were scheduled, for figures on the simulator itself.
    pub fn events(&self) -> u64 {
        self.events.made()
    }
}

/// The representative of a part; flattens the way there.
fn root(part: &mut [usize], mut host: usize) -> usize {
    while part[host] != host {
        part[host] = part[part[host]];
        host = part[host];
    }
    host
}
