//! Latencies in constant memory: buckets that are at most 3 % wide.

/// Buckets for each doubling: 32 of them make a bucket at most 1/32 of its value wide.
const STEPS: u64 = 32;
const BUCKETS: usize = 64 * STEPS as usize;

/// Counts of values in microseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn add(&mut self, us: u64) {
        self.counts[bucket(us)] += 1;
        self.total += 1;
    }

    /// Returns the value under which `percent` of 100 stay, within 3 %; 0 without values.
    pub fn percentile(&self, percent: f64) -> u64 {
        let rank = (self.total as f64 * percent / 100.0).ceil() as u64;
        let mut seen = 0;
        for (place, &count) in self.counts.iter().enumerate() {
            seen += count;
            if count > 0 && seen >= rank {
                return top(place);
            }
        }
        0
    }
}

fn bucket(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    let doubling = u64::from(us.ilog2()) - u64::from(STEPS.ilog2());
    (((doubling + 1) * STEPS) + (us >> doubling) - STEPS) as usize
}

fn top(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let doubling = bucket / STEPS - 1;
    (((bucket % STEPS + STEPS + 1) as u128) << doubling).saturating_sub(1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_is_close_to_it() {
        for us in (0..200).chain((7..63).map(|bits| (1u64 << bits) + 5)).chain([u64::MAX]) {
            let top = top(bucket(us));
            assert!(top >= us && top - us <= us / 32, "{us} {top}");
        }
    }

    #[test]
    fn percentiles_come_out_within_three_percent() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), 0);

        (1..=10_000).for_each(|us| histogram.add(us));

        for (percent, want) in [(50.0, 5000), (99.0, 9900), (100.0, 10_000)] {
            let got = histogram.percentile(percent);
            assert!(got.abs_diff(want) <= want / 32, "{percent}: {got}");
        }
    }
}
