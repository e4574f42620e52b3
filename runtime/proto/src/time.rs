//! Readings of clocks, which are arguments everywhere in this crate.

use std::time::Duration;

/// A point on the monotonic clock: microseconds since an arbitrary start. Timeouts are measured in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Returns the time that has passed since `earlier`, or zero.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, delay: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// One reading of both clocks, taken once per turn of the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub instant: Instant,
    /// Milliseconds since 1970, for expiry, which must mean the same on all nodes.
    pub unix_ms: u64,
}
