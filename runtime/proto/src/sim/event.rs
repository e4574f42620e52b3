//! What will happen when: events, ordered by time and then by the order in which they were made.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::link::LinkRef;
use crate::directory::Dial;
use crate::id::NodeId;
use crate::node::Write;
use crate::queue::HeldKey;
use crate::time::Instant;

/// Something that happens to a host or a link. What is large is boxed, so that the others are not.
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
    Persisted { host: u32, start: u32, done: Box<(Option<u64>, Vec<Write>)> },
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
    /// The earliest is the greatest, as a heap gives out the greatest first.
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

/// Microseconds of one slot of the wheel, as a power of two: 512.
const SHIFT: u32 = 9;
/// Slots of the wheel: 131 ms together, which is more than most events have to wait.
const SLOTS: usize = 256;
/// So many events are shown ahead at a time.
pub(super) const AHEAD: usize = 32;

/// The events to come: near ones in a wheel of slots that are sorted when their time comes, distant ones in a
/// heap. A heap for all would spend its time on cache misses.
pub(super) struct Events {
    /// The events of the slot that is worked off, the last first.
    present: Vec<Entry>,
    /// Those from here on were shown ahead.
    shown: usize,
    /// Its number: time by [`SHIFT`].
    slot: u64,
    wheel: Vec<Vec<Entry>>,
    /// A bit for each slot that has events.
    filled: [u64; SLOTS / 64],
    far: BinaryHeap<Entry>,
    made: u64,
}

impl Default for Events {
    fn default() -> Self {
        let wheel = (0..SLOTS).map(|_| Vec::new()).collect();
        let filled = [0; SLOTS / 64];
        Events { present: Vec::new(), shown: 0, slot: 0, wheel, filled, far: BinaryHeap::new(), made: 0 }
    }
}

impl Events {
    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.made += 1;
        let entry = Entry { at, number: self.made, event };
        let slot = at.0 >> SHIFT;
        if slot <= self.slot {
            let place = self.present.partition_point(|other| other < &entry);
            self.present.insert(place, entry);
        } else if slot < self.slot + SLOTS as u64 {
            let place = slot as usize % SLOTS;
            self.filled[place / 64] |= 1 << (place % 64);
            self.wheel[place].push(entry);
        } else {
            self.far.push(entry);
        }
    }

    /// Returns the next event up to `end`.
    pub(super) fn pop_until(&mut self, end: Instant) -> Option<Event> {
        self.next_until(end)?;
        self.present.pop().map(|entry| entry.event)
    }

    /// Returns when the next event happens, if that is not after `end`.
    pub(super) fn next_until(&mut self, end: Instant) -> Option<Instant> {
        if self.present.is_empty() {
            let slot = self.next_slot()?;
            // Not further than asked for: what is made meanwhile belongs into slots before.
            if slot << SHIFT > end.0 {
                return None;
            }
            self.turn_to(slot);
        }
        self.present.last().map(|entry| entry.at).filter(|at| *at <= end)
    }

    /// Returns some of the events that come next, each about once, if those that were returned before have
    /// happened.
    pub(super) fn ahead(&mut self) -> impl Iterator<Item = &Event> {
        let end = self.present.len();
        let start = if self.shown < end { end } else { end.saturating_sub(AHEAD) };
        self.shown = self.shown.min(start);
        self.present[start..].iter().rev().map(|entry| &entry.event)
    }

    fn next_slot(&self) -> Option<u64> {
        let far = self.far.peek().map(|entry| entry.at.0 >> SHIFT);
        let near = self.next_filled();
        [far, near].into_iter().flatten().min()
    }

    /// The next slot of the wheel that has events, from the present one on and once round.
    fn next_filled(&self) -> Option<u64> {
        let start = (self.slot as usize + 1) % SLOTS;
        let words = self.filled.len();
        for step in 0..=words {
            let word = (start / 64 + step) % words;
            let from_start = u64::MAX << (start % 64);
            let mask = match step {
                0 => from_start,
                step if step == words => !from_start,
                _ => u64::MAX,
            };
            let found = self.filled[word] & mask;
            if found != 0 {
                let place = word * 64 + found.trailing_zeros() as usize;
                let ahead = (place + SLOTS - start) % SLOTS;
                return Some(self.slot + 1 + ahead as u64);
            }
        }
        None
    }

    fn turn_to(&mut self, slot: u64) {
        self.slot = slot;
        let place = slot as usize % SLOTS;
        self.filled[place / 64] &= !(1 << (place % 64));
        std::mem::swap(&mut self.present, &mut self.wheel[place]);
        while self.far.peek().is_some_and(|entry| entry.at.0 >> SHIFT == slot) {
            self.present.extend(self.far.pop());
        }
        self.present.sort_unstable();
        self.shown = self.present.len();
    }

    pub(super) fn made(&self) -> u64 {
        self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_they_were_made() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut events = Events::default();
        let (mut now, mut waiting, mut seen) = (Instant(0), Vec::new(), 0);
        for host in 0..5_000 {
            // Some at once, some in the same slot, some in the wheel, some far beyond it.
            let within = [2, 40, 60_000, 5_000_000][rng.usize(0..4)];
            let after = rng.u64(0..within);
            let at = Instant(now.0 + after);
            events.push(at, Event::Wake { host });
            waiting.push((at, host));
            if rng.u8(0..3) == 0 {
                continue;
            }
            let end = Instant(now.0 + rng.u64(0..3000));
            while let Some(at) = events.next_until(end) {
                let Some(Event::Wake { host }) = events.pop_until(at) else { panic!("it was there") };
                let first = waiting.iter().min().copied();
                assert_eq!(first, Some((at, host)));
                waiting.retain(|other| Some(*other) != first);
                seen += 1;
            }
            assert!(waiting.iter().all(|(at, _)| *at > end));
            now = end;
        }
        assert!(seen > 2_500, "{seen}");
    }

    #[test]
    fn each_event_is_shown_ahead_once_and_in_its_order() {
        let mut events = Events::default();
        for host in 0..100 {
            events.push(Instant(1 << SHIFT), Event::Wake { host });
        }
        let (end, mut shown) = (Instant(2 << SHIFT), Vec::new());
        for host in 0..100 {
            assert!(events.next_until(end).is_some());
            let ahead = events.ahead().map(|event| if let Event::Wake { host } = event { *host } else { 0 });
            shown.extend(ahead);
            assert!(shown.contains(&host), "{host} happens unseen");
            events.pop_until(end);
        }

        assert_eq!(shown, (0..100).collect::<Vec<_>>());
    }

    // Millions of them wait in a large mesh.
    #[test]
    fn an_event_is_small() {
        assert!(size_of::<Entry>() <= 40, "{} bytes", size_of::<Entry>());
    }
}
