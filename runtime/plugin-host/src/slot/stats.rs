//! Counters of a slot, and of each revision that was in it lately.

use std::collections::VecDeque;
use std::time::Duration;

use super::report::{Counted, FaultRecord};
use super::times::Times;
use crate::limits;
use crate::load::Revision;

/// What a slot counts, whoever answers in it.
#[derive(Debug)]
pub(super) struct Stats {
    pub(super) calls: u64,
    pub(super) messages: u64,
    pub(super) fallbacks: u64,
    pub(super) swaps: u64,
    pub(super) rollbacks: u64,
    pub(super) quarantines: u64,
    pub(super) faults: u64,
    pub(super) last_faults: VecDeque<FaultRecord>,
    /// Whose calls are counted now.
    now: Own,
    /// Those before, the last one first. What is active, stands by or is quarantined is among them: these are at most
    /// the last four.
    before: VecDeque<Own>,
}

/// What is counted of one revision; without one, of the native built-in.
#[derive(Debug, Default)]
struct Own {
    revision: Option<Revision>,
    calls: u64,
    messages: u64,
    fallbacks: u64,
    faults: u64,
    log_dropped: u64,
    times: Times,
    /// Bytes of the instance that had the most, of those that are gone.
    memory_most: usize,
}

/// Of small batches one call in so many is timed: reading the clock twice costs a tenth of such a call.
const SAMPLED: u64 = 8;
/// Batches of this size are always timed.
const LARGE: u64 = 32;

impl Default for Stats {
    fn default() -> Self {
        Stats {
            calls: 0,
            messages: 0,
            fallbacks: 0,
            swaps: 0,
            rollbacks: 0,
            quarantines: 0,
            faults: 0,
            last_faults: VecDeque::new(),
            now: Own::default(),
            before: VecDeque::with_capacity(limits::COUNTED_REVISIONS),
        }
    }
}

impl Stats {
    /// Counts for this revision from now on; `None` is the native built-in. One that was here lately goes on where it
    /// left off.
    pub(super) fn count_for(&mut self, revision: Option<&Revision>) {
        if self.now.is_of(revision) {
            return;
        }
        let known = self.before.iter().position(|own| own.is_of(revision));
        let next = known.and_then(|at| self.before.remove(at));
        let next = next.unwrap_or_else(|| Own { revision: revision.cloned(), ..Own::default() });
        self.before.truncate(limits::COUNTED_REVISIONS - 2);
        self.before.push_front(std::mem::replace(&mut self.now, next));
    }

    #[inline]
    pub(super) fn add_call(&mut self, rows: u64) {
        self.calls += 1;
        self.messages += rows;
        self.now.calls += 1;
        self.now.messages += rows;
    }

    /// Counts what somebody else has answered.
    pub(super) fn add_fallback(&mut self, rows: u64) {
        self.fallbacks += rows;
        self.now.fallbacks += rows;
    }

    /// Says whether the call that has just been counted is to be timed.
    #[inline]
    pub(super) fn is_sampled(&self, rows: u64) -> bool {
        rows >= LARGE || self.calls.is_multiple_of(SAMPLED)
    }

    #[inline]
    pub(super) fn add_time(&mut self, time: Duration) {
        self.now.times.add(time);
    }

    pub(super) fn add_dropped_line(&mut self) {
        self.now.log_dropped += 1;
    }

    pub(super) fn record(&mut self, fault: FaultRecord) {
        self.faults += 1;
        self.now.faults += 1;
        self.last_faults.truncate(limits::FAULTS - 1);
        self.last_faults.push_front(fault);
    }

    /// Notes the memory of an instance that goes.
    pub(super) fn add_memory(&mut self, bytes: usize) {
        self.now.memory_most = self.now.memory_most.max(bytes);
    }

    /// Returns what was counted of each revision that is kept, that of what answers now first.
    pub(super) fn counted(&self) -> Vec<Counted> {
        [&self.now].into_iter().chain(&self.before).map(Own::counted).collect()
    }
}

impl Own {
    fn is_of(&self, revision: Option<&Revision>) -> bool {
        self.revision.as_ref().map(|own| own.digest) == revision.map(|other| other.digest)
    }

    fn counted(&self) -> Counted {
        let times = &self.times;
        Counted {
            revision: self.revision.clone(),
            calls: self.calls,
            messages: self.messages,
            fallbacks: self.fallbacks,
            faults: self.faults,
            log_dropped: self.log_dropped,
            memory_bytes: 0,
            memory_most_bytes: self.memory_most,
            timed_calls: times.calls,
            timed_ns: times.ns,
            p50_ns: times.quantile_ns(500),
            p90_ns: times.quantile_ns(900),
            p99_ns: times.quantile_ns(990),
            p999_ns: times.quantile_ns(999),
            max_ns: times.max_ns,
            times: times.classes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(digest: u8) -> Revision {
        Revision { name: "a/b".into(), version: "1.0.0".into(), digest: [digest; 32] }
    }

    #[test]
    fn a_revision_that_comes_back_goes_on_counting_and_the_oldest_give_way() {
        let mut stats = Stats::default();
        stats.count_for(Some(&revision(1)));
        stats.add_call(5);
        stats.count_for(Some(&revision(2)));
        stats.add_call(7);
        stats.count_for(Some(&revision(1)));
        stats.add_call(1);

        let counted = stats.counted();
        let messages: Vec<u64> = counted.iter().map(|of| of.messages).collect();
        assert_eq!(messages, [6, 7, 0], "the native built-in has answered nothing");

        (3..100).for_each(|digest| stats.count_for(Some(&revision(digest))));
        let counted = stats.counted();
        assert_eq!(counted.len(), limits::COUNTED_REVISIONS);
        assert_eq!((counted[0].revision.as_ref(), stats.messages), (Some(&revision(99)), 13));
    }
}
