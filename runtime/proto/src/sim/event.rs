//! What will happen when: a heap of events, ordered by time and then by the order in which they were made.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::link::LinkRef;
use crate::directory::Dial;
use crate::id::NodeId;
use crate::node::Write;
use crate::queue::HeldKey;
use crate::time::Instant;

/// Something that happens to a host or a link. What is large is boxed, so that the heap stays small.
pub(super) enum Event {
    /// A host asked to be called, or something waits for it.
    Wake { host: u32 },
    /// A chunk is there.
    Arrive { link: LinkRef, to: u8, lane: u8, chunk: u32 },
    /// The link takes more from this side.
    Open { link: LinkRef, from: u8 },
    /// This side learns that the other one has closed.
    Closed { link: LinkRef, side: u8 },
    /// A dial has come to its end.
    Dialed { from: u32, to: u32, start: u32, reached: bool, dial: Box<Dial> },
    /// A disk has written.
    Persisted { host: u32, start: u32, done: Box<(u64, Vec<Write>)> },
    /// A disk has read.
    Recalled { host: u32, start: u32, what: Box<(NodeId, HeldKey)> },
    /// A host is started again.
    Start { host: u32 },
    /// A malicious host acts.
    Act { host: u32 },
    /// Some hosts fail, others come back.
    Churn,
}

struct Entry {
    at: Instant,
    number: u64,
    event: Event,
}

impl Ord for Entry {
    /// The earliest is the greatest, as the heap gives out the greatest first.
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

/// The events to come.
#[derive(Default)]
pub(super) struct Events {
    heap: BinaryHeap<Entry>,
    next: u64,
}

impl Events {
    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.next += 1;
        self.heap.push(Entry { at, number: self.next, event });
    }

    /// Returns the next event up to `end`, and when it happens.
    pub(super) fn pop_until(&mut self, end: Instant) -> Option<(Instant, Event)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    pub(super) fn made(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_they_were_made() {
        let mut events = Events::default();
        for (at, host) in [(5, 0), (3, 1), (5, 2), (4, 3), (3, 4)] {
            events.push(Instant(at), Event::Wake { host });
        }

        let mut hosts = Vec::new();
        while let Some((_, Event::Wake { host })) = events.pop_until(Instant(4)) {
            hosts.push(host);
        }

        assert_eq!(hosts, [1, 4, 3]);
        assert_eq!(events.next_at(), Some(Instant(5)));
    }

    // Millions of them are in the heap of a large mesh.
    #[test]
    fn an_event_is_small() {
        assert!(size_of::<Entry>() <= 48, "{} bytes", size_of::<Entry>());
    }
}
