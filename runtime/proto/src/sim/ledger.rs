//! The ledger: every message that was published, and what became of it. It knows what is genuine (I3) and what
//! has had its effect (I2).

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::id::NodeId;
use crate::run::{Dest, Flow};
use crate::time::Instant;

/// A set of hosts.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(Vec<u64>);

impl Hosts {
    /// Returns whether it was not in the set.
    pub(super) fn insert(&mut self, host: usize) -> bool {
        let (word, bit) = (host / 64, 1 << (host % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    pub(super) fn remove(&mut self, host: usize) {
        if let Some(word) = self.0.get_mut(host / 64) {
            *word &= !(1 << (host % 64));
        }
    }

    pub(super) fn contains(&self, host: usize) -> bool {
        self.0.get(host / 64).is_some_and(|word| word & (1 << (host % 64)) != 0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.0.iter().enumerate();
        words.flat_map(|(at, word)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |b| at * 64 + b)
        })
    }
}

/// One delivery of a publication, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The host.
    pub host: u32,
    /// How long after the publishing, in microseconds; ends at 71 minutes.
    pub after_us: u32,
    /// Hops it took.
    pub hops: u8,
}

/// What a host published with one call, and what became of it.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Who published.
    pub origin: usize,
    /// When.
    pub at: Instant,
    /// For whom.
    pub dest: Dest,
    /// Whether the origin took it over: refused ones and those given to a host that was down never are.
    pub accepted: bool,
    /// First deliveries of its messages to others than the origin, in order.
    pub arrivals: Vec<Arrival>,
    /// Copies of its messages that were carried to other hosts.
    pub copies: u64,
    payloads: Vec<u64>,
    first_seq: Option<u64>,
    expected: Hosts,
    reached: Hosts,
    holders: Hosts,
}

impl Publication {
    /// Returns how many hosts shall have it: honest ones that wanted it when it was published, its origin
    /// excepted, and did not go down soon after.
    pub fn expected(&self) -> usize {
        self.expected.len()
    }

    /// Returns how many of the expected hosts have it.
    pub fn reached(&self) -> usize {
        self.expected.iter().filter(|host| self.reached.contains(*host)).count()
    }

    /// Returns the expected hosts that do not have it.
    pub fn unreached(&self) -> Vec<usize> {
        self.expected.iter().filter(|host| !self.reached.contains(*host)).collect()
    }

    /// Returns how many hosts were sent a copy, whether they wanted it or carried it only.
    pub fn holders(&self) -> usize {
        self.holders.len()
    }

    /// Returns the relative message redundancy: copies beyond one for each holder, by the number of holders
    /// (Plumtree paper, section 3.3). `None` when nobody was sent a copy.
    pub fn redundancy(&self) -> Option<f64> {
        let due = (self.holders.len() * self.payloads.len()) as f64;
        (due > 0.0).then(|| self.copies as f64 / due - 1.0)
    }

    /// Returns the most hops that a delivery took.
    pub fn last_hop(&self) -> u8 {
        self.arrivals.iter().map(|arrival| arrival.hops).max().unwrap_or(0)
    }

    /// Returns how long the last delivery took.
    pub fn last_delivery(&self) -> Option<Duration> {
        let longest = self.arrivals.iter().map(|arrival| arrival.after_us).max()?;
        Some(Duration::from_micros(longest.into()))
    }
}

/// The number of a flow in the ledger.
pub(super) type FlowIndex = u32;

/// Sequence numbers that had their effect.
#[derive(Clone, Debug, Default)]
struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Returns whether it was not there.
    fn insert(&mut self, seq: u64) -> bool {
        let at = self.0.partition_point(|range| range.end < seq);
        match self.0.get_mut(at) {
            Some(range) if range.contains(&seq) => return false,
            Some(range) if range.end == seq => {
                range.end += 1;
                self.join(at);
            }
            Some(range) if range.start == seq + 1 => range.start = seq,
            _ => self.0.insert(at, seq..seq + 1),
        }
        true
    }

    fn join(&mut self, at: usize) {
        if self.0.get(at + 1).is_some_and(|next| next.start == self.0[at].end) {
            self.0[at].end = self.0.remove(at + 1).end;
        }
    }
}

/// What had its effect at one host.
#[derive(Debug, Default)]
pub(super) struct Effects {
    forever: BTreeMap<FlowIndex, Ranges>,
    this_start: BTreeMap<FlowIndex, Ranges>,
}

impl Effects {
    /// Returns how many flows had one.
    pub(super) fn len(&self) -> usize {
        self.forever.len() + self.this_start.len()
    }

    /// Notes an effect; returns whether it is the first. Broadcasts are remembered by the node for one start
    /// only.
    pub(super) fn first(&mut self, flow: FlowIndex, dest: &Dest, seq: u64) -> bool {
        let of = match dest {
            Dest::Node(_) => &mut self.forever,
            Dest::Topic(_) | Dest::Mesh => &mut self.this_start,
        };
        of.entry(flow).or_default().insert(seq)
    }

    pub(super) fn start_again(&mut self) {
        self.this_start.clear();
    }
}

/// Which message of the ledger it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) flow: FlowIndex,
    pub(super) publication: usize,
}

/// All publications.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) publications: Vec<Publication>,
    hosts: BTreeMap<NodeId, u32>,
    flows: BTreeMap<Flow, FlowIndex>,
    /// By flow: first sequence number and publication, rising.
    runs: Vec<Vec<(u64, u32)>>,
    /// Publications that were not accepted yet and may be on their way all the same, by origin.
    pending: BTreeMap<u32, Vec<u32>>,
    last: Option<(Flow, FlowIndex)>,
}

fn digest(payload: &[u8]) -> u64 {
    let hash = blake3::hash(payload);
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}

impl Ledger {
    pub(super) fn add_host(&mut self, id: NodeId, host: usize) {
        self.hosts.insert(id, host as u32);
    }

    pub(super) fn host(&self, id: &NodeId) -> Option<usize> {
        self.hosts.get(id).map(|host| *host as usize)
    }

    /// A host publishes; returns the number of the publication.
    pub(super) fn publish(
        &mut self,
        origin: usize,
        at: Instant,
        dest: Dest,
        payloads: &[Bytes],
        expected: Hosts,
    ) -> usize {
        let index = self.publications.len();
        self.publications.push(Publication {
            origin,
            at,
            dest,
            accepted: false,
            arrivals: Vec::new(),
            copies: 0,
            payloads: payloads.iter().map(|payload| digest(payload)).collect(),
            first_seq: None,
            expected,
            reached: Hosts::default(),
            holders: Hosts::default(),
        });
        self.pending.entry(origin as u32).or_default().push(index as u32);
        index
    }

    /// The origin will not send it.
    pub(super) fn refuse(&mut self, index: usize) {
        let Some(publication) = self.publications.get_mut(index) else { return };
        publication.expected = Hosts::default();
        let origin = publication.origin as u32;
        self.settle(origin, index);
    }

    /// The origin goes down: what it has not promised to anybody it need not keep.
    pub(super) fn lose_pending(&mut self, origin: usize) {
        for index in self.pending.get(&(origin as u32)).into_iter().flatten() {
            self.publications[*index as usize].expected = Hosts::default();
        }
    }

    /// The origin has taken it over under these numbers.
    pub(super) fn accept(&mut self, index: usize, flow: Flow, first_seq: u64) {
        let Some(publication) = self.publications.get_mut(index) else { return };
        publication.accepted = true;
        if publication.first_seq.is_none() {
            self.bind(index, flow, first_seq);
        }
    }

    fn bind(&mut self, index: usize, flow: Flow, first_seq: u64) {
        let number = self.flow_index(flow);
        let runs = &mut self.runs[number as usize];
        let at = runs.partition_point(|(first, _)| *first < first_seq);
        runs.insert(at, (first_seq, index as u32));
        let publication = &mut self.publications[index];
        publication.first_seq = Some(first_seq);
        let origin = publication.origin as u32;
        self.settle(origin, index);
    }

    fn settle(&mut self, origin: u32, index: usize) {
        if let Some(pending) = self.pending.get_mut(&origin) {
            pending.retain(|other| *other as usize != index);
        }
    }

    fn flow_index(&mut self, flow: Flow) -> FlowIndex {
        if let Some((last, index)) = self.last
            && last == flow
        {
            return index;
        }
        let next = self.runs.len() as FlowIndex;
        let index = *self.flows.entry(flow).or_insert(next);
        if index == next {
            self.runs.push(Vec::new());
        }
        self.last = Some((flow, index));
        index
    }

    /// Returns the message of these numbers if its origin published it and it has this payload.
    pub(super) fn find(&mut self, flow: Flow, seq: u64, payload: &[u8]) -> Option<Known> {
        let digest = digest(payload);
        if self.covering(flow, seq).is_none() {
            self.bind_pending(flow, seq, digest)?;
        }
        let (publication, _) = self.covering(flow, seq)?;
        let found = &self.publications[publication];
        let at = (seq - found.first_seq?) as usize;
        let is_genuine = found.payloads.get(at) == Some(&digest);
        is_genuine.then(|| Known { flow: self.flow_index(flow), publication })
    }

    /// Returns the publication whose number this is, and the number after its last.
    pub(super) fn covering(&mut self, flow: Flow, seq: u64) -> Option<(usize, u64)> {
        let number = self.flow_index(flow);
        let runs = &self.runs[number as usize];
        let at = runs.partition_point(|(first, _)| *first <= seq).checked_sub(1)?;
        let (first, index) = runs[at];
        let publication = &self.publications[index as usize];
        let end = first + publication.payloads.len() as u64;
        (seq < end).then_some((index as usize, end))
    }

    /// What is durable may arrive before its origin's disk has it: then its content says what it is.
    fn bind_pending(&mut self, flow: Flow, seq: u64, digest: u64) -> Option<()> {
        let origin = self.host(&flow.origin)? as u32;
        let pending = self.pending.get(&origin)?;
        let (index, first) = pending.iter().find_map(|index| {
            let publication = &self.publications[*index as usize];
            let at = publication.payloads.iter().position(|payload| *payload == digest)? as u64;
            (publication.dest == flow.dest && at <= seq).then(|| (*index as usize, seq - at))
        })?;
        self.bind(index, flow, first);
        Some(())
    }

    /// A copy of messages of a publication was carried to a host; returns whether it is the host's first.
    pub(super) fn carried(&mut self, index: usize, host: usize, messages: u64) -> bool {
        let publication = &mut self.publications[index];
        publication.copies += messages;
        publication.holders.insert(host)
    }

    /// A message of a publication was delivered.
    pub(super) fn delivered(&mut self, index: usize, host: usize, now: Instant, hops: u8) {
        let publication = &mut self.publications[index];
        if host == publication.origin || !publication.reached.insert(host) {
            return;
        }
        let after_us = u32::try_from(now.since(publication.at).as_micros()).unwrap_or(u32::MAX);
        publication.arrivals.push(Arrival { host: host as u32, after_us, hops });
    }

    /// A host goes down: what was published since `since` and has not come yet is not expected there any more.
    pub(super) fn excuse(&mut self, host: usize, since: Instant) {
        for publication in self.publications.iter_mut().rev().take_while(|p| p.at >= since) {
            if !publication.reached.contains(host) {
                publication.expected.remove(host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(origin: u8) -> Flow {
        Flow { origin: NodeId([origin; 32]), epoch: 1, dest: Dest::Mesh }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.add_host(NodeId([1; 32]), 0);
        let payloads = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        let mut expected = Hosts::default();
        for host in [1, 2, 70] {
            expected.insert(host);
        }
        ledger.publish(0, Instant(0), Dest::Mesh, &payloads, expected);
        ledger
    }

    // I3
    #[test]
    fn only_what_its_origin_published_is_genuine() {
        let mut ledger = ledger();
        ledger.accept(0, flow(1), 7);

        assert!(ledger.find(flow(1), 7, b"a").is_some() && ledger.find(flow(1), 8, b"b").is_some());
        for (flow, seq, payload) in
            [(flow(1), 7, b"b"), (flow(1), 9, b"b"), (flow(1), 6, b"a"), (flow(2), 7, b"a")]
        {
            assert!(ledger.find(flow, seq, payload).is_none(), "{seq} {payload:?}");
        }
    }

    #[test]
    fn a_message_that_arrives_before_it_is_accepted_is_known_by_its_content() {
        let mut ledger = ledger();

        assert!(ledger.find(flow(1), 0, b"b").is_none(), "there is no room for a before it");
        assert!(ledger.find(flow(1), 4, b"b").is_some());
        assert!(ledger.find(flow(1), 3, b"a").is_some());
        assert!(ledger.find(flow(1), 9, b"b").is_none(), "it has its number now");
    }

    // I2
    #[test]
    fn effects_are_counted_once_a_start_or_forever() {
        let mut effects = Effects::default();
        let to_one = Dest::Node(NodeId([9; 32]));
        for seq in [3, 5, 4, 0] {
            assert!(effects.first(0, &Dest::Mesh, seq) && effects.first(1, &to_one, seq));
            assert!(!effects.first(0, &Dest::Mesh, seq) && !effects.first(1, &to_one, seq));
        }

        effects.start_again();

        assert!(effects.first(0, &Dest::Mesh, 4));
        assert!(!effects.first(1, &to_one, 4));
    }

    #[test]
    fn redundancy_is_copies_beyond_one_for_each_holder() {
        let mut ledger = ledger();
        assert_eq!(ledger.publications[0].redundancy(), None);
        for host in [1, 2, 3, 4, 4] {
            ledger.carried(0, host, 2);
        }

        assert_eq!(ledger.publications[0].redundancy(), Some(0.25));
    }

    #[test]
    fn a_host_that_goes_down_is_not_expected_to_have_what_was_under_way() {
        let mut ledger = ledger();
        ledger.delivered(0, 1, Instant(5), 3);

        ledger.excuse(1, Instant(0));
        ledger.excuse(70, Instant(0));

        let publication = &ledger.publications[0];
        assert_eq!((publication.expected(), publication.reached()), (2, 1));
        assert_eq!(publication.unreached(), [2]);
    }
}
