//! How long calls took, in constant memory.

use std::time::Duration;

use super::stats::{BUCKETS, bucket, upper_end};

/// The spread of call times; a quantile is right within a quarter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Times {
    counts: Box<[u64; BUCKETS]>,
    calls: u64,
}

impl Default for Times {
    fn default() -> Self {
        Times { counts: Box::new([0; BUCKETS]), calls: 0 }
    }
}

impl Times {
    /// Counts one call.
    pub(crate) fn add(&mut self, time: Duration) {
        self.calls += 1;
        self.counts[bucket(time.as_nanos() as u64)] += 1;
    }

    /// Returns the nanoseconds under which `percent` of the calls stayed; 0 without calls.
    pub(crate) fn quantile_ns(&self, percent: u64) -> u64 {
        let rank = (self.calls * percent).div_ceil(100);
        let mut below = 0;
        let reaches = |count: &u64| {
            below += count;
            below >= rank
        };
        match self.counts.iter().position(reaches) {
            Some(bucket) if self.calls > 0 => upper_end(bucket),
            _ => 0,
        }
    }
}
