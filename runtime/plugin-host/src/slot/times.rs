//! How long calls took, in constant memory.

use std::time::Duration;

/// Four buckets for every power of two: a quantile is right within a quarter.
const BUCKETS: usize = 64 * 4;

/// The spread of call times; a quantile is right within a quarter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Times {
    counts: Box<[u64; BUCKETS]>,
    pub(super) calls: u64,
    pub(super) ns: u64,
    pub(super) max_ns: u64,
}

impl Default for Times {
    fn default() -> Self {
        Times { counts: Box::new([0; BUCKETS]), calls: 0, ns: 0, max_ns: 0 }
    }
}

impl Times {
    /// Counts one call.
    #[inline]
    pub(crate) fn add(&mut self, time: Duration) {
        let ns = time.as_nanos() as u64;
        self.calls += 1;
        self.ns += ns;
        self.max_ns = self.max_ns.max(ns);
        self.counts[bucket(ns)] += 1;
    }

    /// Returns the nanoseconds under which so many of 1,000 calls stayed; 0 without calls. Never more than the longest
    /// call: a bucket ends later than that.
    pub(crate) fn quantile_ns(&self, of_1000: u64) -> u64 {
        let rank = (self.calls * of_1000).div_ceil(1000);
        let mut below = 0;
        let reaches = |count: &u64| {
            below += count;
            below >= rank
        };
        match self.counts.iter().position(reaches) {
            Some(bucket) if self.calls > 0 => upper_end(bucket).min(self.max_ns),
            _ => 0,
        }
    }

    /// Returns the classes of the spread that are not empty: nanoseconds up to which, and how many.
    pub(super) fn classes(&self) -> Vec<(u64, u64)> {
        let classes = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        classes.map(|(bucket, count)| (upper_end(bucket), *count)).collect()
    }
}

#[inline]
fn bucket(ns: u64) -> usize {
    let ns = ns.max(4);
    let power = ns.ilog2();
    let quarter = (ns >> (power - 2)) & 3;
    (power as usize) * 4 + quarter as usize
}

/// The largest time that falls into a bucket.
fn upper_end(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4, (bucket % 4) as u64);
    if power < 2 { 3 } else { ((5 + quarter) << (power - 2)).saturating_sub(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_right_within_a_quarter() {
        let mut times = Times::default();
        for ns in 1..=1000 {
            times.add(Duration::from_nanos(ns));
        }

        for (of_1000, exact) in [(500, 500), (900, 900), (990, 990), (999, 999)] {
            let got = times.quantile_ns(of_1000);

            assert!(got >= exact && got <= exact * 5 / 4 + 1, "{of_1000}: {got} for {exact}");
        }
    }

    #[test]
    fn no_quantile_is_above_the_longest_call() {
        for ns in [1, 4, 1_025, 13_000_000] {
            let mut times = Times::default();
            times.add(Duration::from_nanos(ns));

            assert_eq!([500, 900, 990, 999].map(|of_1000| times.quantile_ns(of_1000)), [ns; 4]);
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
