//! Counters of a slot and the spread of its call times.

use std::collections::VecDeque;
use std::time::Duration;

use super::report::{FaultRecord, SlotState, SlotStatus};
use crate::limits;
use crate::settings::Settings;
use crate::terms::{Lowered, OnFailure};

/// Four buckets for every power of two: a quantile is right within a quarter.
pub(super) const BUCKETS: usize = 64 * 4;

#[derive(Debug)]
pub(super) struct Stats {
    pub(super) calls: u64,
    pub(super) messages: u64,
    pub(super) fallbacks: u64,
    pub(super) swaps: u64,
    pub(super) rollbacks: u64,
    pub(super) quarantines: u64,
    faults: u64,
    last_faults: VecDeque<FaultRecord>,
    timed_calls: u64,
    timed_ns: u64,
    max_ns: u64,
    /// Bytes of the instance that had the most, of those that are gone.
    pub(super) memory_most: usize,
    times: Box<[u64; BUCKETS]>,
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
            timed_calls: 0,
            timed_ns: 0,
            max_ns: 0,
            memory_most: 0,
            times: Box::new([0; BUCKETS]),
        }
    }
}

impl Stats {
    /// Says whether the call that has just been counted is to be timed.
    #[inline]
    pub(super) fn is_sampled(&self, rows: u64) -> bool {
        rows >= LARGE || self.calls.is_multiple_of(SAMPLED)
    }

    #[inline]
    pub(super) fn add_time(&mut self, time: Duration) {
        let ns = time.as_nanos() as u64;
        self.timed_calls += 1;
        self.timed_ns += ns;
        self.max_ns = self.max_ns.max(ns);
        self.times[bucket(ns)] += 1;
    }

    pub(super) fn record(&mut self, fault: FaultRecord) {
        self.faults += 1;
        self.last_faults.truncate(limits::FAULTS - 1);
        self.last_faults.push_front(fault);
    }

    /// Notes the memory of an instance that goes.
    pub(super) fn add_memory(&mut self, bytes: usize) {
        self.memory_most = self.memory_most.max(bytes);
    }

    /// Returns the classes of the spread that are not empty: nanoseconds up to which, and how many.
    fn times(&self) -> Vec<(u64, u64)> {
        let classes = self.times.iter().enumerate().filter(|(_, count)| **count > 0);
        classes.map(|(bucket, count)| (upper_end(bucket), *count)).collect()
    }

    /// Returns the time under which so many of 1,000 plugin calls stayed.
    fn quantile_ns(&self, of_1000: u64) -> u64 {
        let rank = (self.timed_calls * of_1000).div_ceil(1000);
        let mut below = 0;
        let reaches = |count: &u64| {
            below += count;
            below >= rank
        };
        match self.times.iter().position(reaches) {
            Some(bucket) if self.timed_calls > 0 => upper_end(bucket),
            _ => 0,
        }
    }

    /// Returns the status with the counters filled in.
    pub(super) fn status(&self) -> SlotStatus {
        SlotStatus {
            slot: "",
            state: SlotState::Native,
            active: None,
            settings: Settings::new(),
            can_roll_back: false,
            previous: None,
            previous_settings: Settings::new(),
            quarantined: None,
            retry_at_ms: None,
            paused: false,
            on_failure: OnFailure::Fallback,
            lowered: Lowered::default(),
            memory_bytes: 0,
            memory_most_bytes: 0,
            log_dropped: 0,
            calls: self.calls,
            messages: self.messages,
            fallbacks: self.fallbacks,
            strikes: 0,
            faults: self.faults,
            last_faults: self.last_faults.iter().cloned().collect(),
            swaps: self.swaps,
            rollbacks: self.rollbacks,
            quarantines: self.quarantines,
            state_messages: 0,
            timed_calls: self.timed_calls,
            timed_ns: self.timed_ns,
            p50_ns: self.quantile_ns(500),
            p90_ns: self.quantile_ns(900),
            p99_ns: self.quantile_ns(990),
            p999_ns: self.quantile_ns(999),
            max_ns: self.max_ns,
            times: self.times(),
            since_ms: 0,
            lost_events: 0,
            journal: None,
        }
    }
}

#[inline]
pub(super) fn bucket(ns: u64) -> usize {
    let ns = ns.max(4);
    let power = ns.ilog2();
    let quarter = (ns >> (power - 2)) & 3;
    (power as usize) * 4 + quarter as usize
}

/// The largest time that falls into a bucket.
pub(super) fn upper_end(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4, (bucket % 4) as u64);
    if power < 2 { 3 } else { ((5 + quarter) << (power - 2)).saturating_sub(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_right_within_a_quarter() {
        let mut stats = Stats::default();
        for ns in 1..=1000 {
            stats.add_time(Duration::from_nanos(ns));
        }

        for (of_1000, exact) in [(500, 500), (900, 900), (990, 990), (999, 999)] {
            let got = stats.quantile_ns(of_1000);

            assert!(got >= exact && got <= exact * 5 / 4 + 1, "{of_1000}: {got} for {exact}");
        }
    }

    #[test]
    fn a_bucket_ends_where_the_next_begins() {
        for ns in [4, 5, 7, 8, 9, 1023, 1024, 1_000_000, u64::MAX / 2] {
            let at = bucket(ns);

            assert!(upper_end(at) >= ns && upper_end(at - 1) < ns, "{ns}");
        }
    }
}
