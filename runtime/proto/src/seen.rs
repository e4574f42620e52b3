//! The duplicate window: which sequence numbers of which flow have been taken.
//!
//! A flow is what one origin writes to one destination since one start. Its numbers are dense, so what was
//! seen is a short list of ranges, exact over the life of the messages, whatever the order of arrival.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::run::Flow;

/// Gaps that one flow may keep open. Beyond it the oldest gap is closed: what comes for it is too late.
pub const MAX_GAPS: usize = 1024;

/// Flows remembered. Beyond it the flow whose messages expire first is forgotten.
pub const MAX_FLOWS: usize = 16_384;

/// What has been seen of one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    ranges: VecDeque<Range<u64>>,
    expiry_ms: u64,
}

impl Window {
    /// Returns the parts of `range` that were not seen, in order.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut out = Vec::new();
        let mut from = range.start;
        let first = self.ranges.partition_point(|seen| seen.end <= range.start);
        for seen in self.ranges.iter().skip(first).take_while(|seen| seen.start < range.end) {
            if from < seen.start {
                out.push(from..seen.start);
            }
            from = seen.end;
        }
        if from < range.end {
            out.push(from..range.end);
        }
        out
    }

    /// Takes `range` as seen. Returns what is missing right before it, if earlier numbers were seen.
    pub fn insert(&mut self, range: Range<u64>, expiry_ms: u64) -> Option<Range<u64>> {
        self.expiry_ms = self.expiry_ms.max(expiry_ms);
        if let Some(last) = self.ranges.back_mut().filter(|last| last.end == range.start) {
            last.end = range.end; // the next in order: nearly always
            return None;
        }
        let first = self.ranges.partition_point(|seen| seen.end < range.start);
        let after = self.ranges.partition_point(|seen| seen.start <= range.end);
        let start = range.start;
        let mut merged = range;
        for seen in self.ranges.range(first..after) {
            merged = merged.start.min(seen.start)..merged.end.max(seen.end);
        }
        let before = first.checked_sub(1).and_then(|before| self.ranges.get(before));
        let gap = before.filter(|_| merged.start == start).map(|before| before.end..start);
        self.ranges.drain(first..after);
        self.ranges.insert(first, merged);
        if self.ranges.len() > MAX_GAPS {
            let oldest = self.ranges.pop_front().expect("more than one range is there");
            self.ranges[0].start = oldest.start;
        }
        gap
    }

    /// Returns the bytes that a store keeps: expiry, then start and end of each range, `u64` little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bounds = self.ranges.iter().flat_map(|range| [range.start, range.end]);
        std::iter::once(self.expiry_ms).chain(bounds).flat_map(u64::to_le_bytes).collect()
    }

    /// Reads what [`Window::to_bytes`] wrote; `None` when it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Window> {
        let (words, rest) = bytes.as_chunks::<8>();
        let (expiry, bounds) = words.split_first()?;
        let (pairs, odd) = bounds.as_chunks::<2>();
        let ranges: VecDeque<_> =
            pairs.iter().map(|[start, end]| u64::from_le_bytes(*start)..u64::from_le_bytes(*end)).collect();
        let in_order = ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.end < b.start);
        let whole = rest.is_empty() && odd.is_empty() && ranges.len() <= MAX_GAPS;
        let valid = whole && in_order && ranges.iter().all(|range| range.start < range.end);
        valid.then_some(Window { ranges, expiry_ms: u64::from_le_bytes(*expiry) })
    }
}

/// The windows of all flows.
#[derive(Debug, Default)]
pub struct Seen {
    flows: BTreeMap<Flow, Window>,
}

impl Seen {
    /// Reads what the next message needs.
    #[cfg(feature = "sim")]
    pub(crate) fn look(&self) -> usize {
        self.flows
            .first_key_value()
            .map_or(0, |(_, window)| window.ranges.front().map_or(0, |range| range.end as usize))
    }

    /// Returns the parts of `range` that were not seen.
    pub fn missing(&self, flow: &Flow, range: Range<u64>) -> Vec<Range<u64>> {
        match self.flows.get(flow) {
            Some(window) => window.missing(range),
            None => vec![range],
        }
    }

    /// Takes `range` as seen. Returns what is missing right before it, if earlier numbers were seen.
    pub fn insert(&mut self, flow: Flow, range: Range<u64>, expiry_ms: u64) -> Option<Range<u64>> {
        if self.flows.len() >= MAX_FLOWS && !self.flows.contains_key(&flow) {
            let first = self.flows.iter().min_by_key(|(_, window)| window.expiry_ms).map(|(flow, _)| *flow);
            if let Some(first) = first {
                self.flows.remove(&first);
            }
        }
        self.flows.entry(flow).or_default().insert(range, expiry_ms)
    }

    /// Puts back a window that a store kept.
    pub fn restore(&mut self, flow: Flow, window: Window) {
        self.flows.insert(flow, window);
    }

    /// Returns the window of a flow.
    pub fn window(&self, flow: &Flow) -> Option<&Window> {
        self.flows.get(flow)
    }

    /// Returns the number of flows.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Says whether nothing has been seen.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Returns all windows, for a store.
    pub fn windows(&self) -> impl Iterator<Item = (&Flow, &Window)> {
        self.flows.iter()
    }

    /// Forgets the flows whose last message has expired and returns them.
    pub fn expire(&mut self, unix_ms: u64) -> Vec<Flow> {
        let dead: Vec<Flow> = self
            .flows
            .iter()
            .filter(|(_, window)| window.expiry_ms < unix_ms)
            .map(|(flow, _)| *flow)
            .collect();
        for flow in &dead {
            self.flows.remove(flow);
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_of_arrival_leaves_one_range_and_reports_each_number_missing_once() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut numbers: Vec<u64> = (0..1000).collect();
        rng.shuffle(&mut numbers);
        let mut window = Window::default();

        for &n in &numbers {
            assert_eq!(window.missing(n..n + 1), [n..n + 1]);
            window.insert(n..n + 1, 5);
            assert!(window.missing(n..n + 1).is_empty());
        }

        assert_eq!(window.ranges, [0..1000]);
        assert_eq!(Window::from_bytes(&window.to_bytes()), Some(window));
    }

    #[test]
    fn a_range_across_gaps_is_split_into_what_is_missing() {
        let mut window = Window::default();
        window.insert(10..20, 0);
        window.insert(30..40, 0);

        assert_eq!(window.missing(5..35), [5..10, 20..30]);
        window.insert(5..35, 0);
        assert_eq!(window.ranges, [5..40]);
    }

    #[test]
    fn a_range_behind_a_gap_tells_of_it() {
        let mut window = Window::default();

        let gaps = [5..6, 6..7, 9..10, 2..3, 7..8, 8..9].map(|range| window.insert(range, 0));

        assert_eq!(gaps, [None, None, Some(7..9), None, None, None]);
    }

    // D01, D05: memory per producer is bounded, and what falls out of it counts as seen.
    #[test]
    fn the_oldest_gap_closes_when_there_are_too_many() {
        let mut window = Window::default();
        for n in 0..=MAX_GAPS as u64 {
            window.insert(n * 2 + 1..n * 2 + 2, 0);
        }

        assert_eq!(window.ranges.len(), MAX_GAPS);
        assert!(window.missing(2..3).is_empty(), "closed");
        assert_eq!(window.missing(4..5), [4..5], "still open");
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut window = Window::default();
        window.insert(1..3, 9);
        let good = window.to_bytes();

        for bad in [&good[..7], &good[..16], &good[..23], &[]] {
            assert_eq!(Window::from_bytes(bad), None);
        }
        let backwards: Vec<u8> = [9u64, 3, 1].into_iter().flat_map(u64::to_le_bytes).collect();
        assert_eq!(Window::from_bytes(&backwards), None);
    }
}
