//! The clocks of one host: both may run too fast or too slow, and the wall clock may be wrong or be set.

use crate::time::{Instant, Now};

/// The wall clock when virtual time starts, ms since 1970.
pub const START_MS: u64 = 1_800_000_000_000;

/// How the clocks of a host differ from the true ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// What the wall clock shows beside the true time, in ms.
    pub offset_ms: i64,
    /// How much faster both clocks run, in parts per million; between -500,000 and 500,000.
    pub drift_ppm: i32,
}

/// The clocks of one host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    skew: Skew,
    /// True and shown time when the drift last changed.
    base: (u64, u64),
}

const MILLION: i128 = 1_000_000;

impl Clock {
    pub(super) fn now(&self, truth: Instant) -> Now {
        let instant = self.shown(truth);
        let unix_ms = (START_MS + instant.0 / 1000).saturating_add_signed(self.skew.offset_ms);
        Now { instant, unix_ms }
    }

    fn shown(&self, truth: Instant) -> Instant {
        if self.skew.drift_ppm == 0 && self.base.0 == self.base.1 {
            return truth;
        }
        let passed = i128::from(truth.0 - self.base.0);
        let shown = passed * (MILLION + i128::from(self.skew.drift_ppm)) / MILLION;
        Instant(self.base.1 + shown as u64)
    }

    /// Returns the true time when this host's monotonic clock will show `shown`, or a moment later.
    pub(super) fn truth(&self, shown: Instant) -> Instant {
        if self.skew.drift_ppm == 0 && self.base.0 == self.base.1 {
            return shown;
        }
        let Some(left) = shown.0.checked_sub(self.base.1) else { return Instant(self.base.0) };
        let rate = MILLION + i128::from(self.skew.drift_ppm);
        let truth = (i128::from(left) * MILLION + rate - 1) / rate;
        Instant(self.base.0.saturating_add(u64::try_from(truth).unwrap_or(u64::MAX)))
    }

    pub(super) fn skew(&self) -> Skew {
        self.skew
    }

    pub(super) fn set(&mut self, truth: Instant, skew: Skew) {
        self.base = (truth.0, self.shown(truth).0);
        self.skew = Skew { drift_ppm: skew.drift_ppm.clamp(-500_000, 500_000), ..skew };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // T01, T02
    #[test]
    fn drift_moves_both_clocks_and_an_offset_the_wall_clock_only() {
        let mut clock = Clock::default();
        clock.set(Instant(1_000_000), Skew { offset_ms: -3_600_000, drift_ppm: 200 });

        let now = clock.now(Instant(11_000_000));

        assert_eq!(now.instant, Instant(11_002_000));
        assert_eq!(now.unix_ms, START_MS + 11_002 - 3_600_000);
        for shown in [11_002_000, 11_002_001, 11_005_003] {
            let truth = clock.truth(Instant(shown));
            assert!(clock.now(truth).instant >= Instant(shown));
            assert!(clock.now(Instant(truth.0 - 1)).instant < Instant(shown));
        }
    }

    #[test]
    fn a_change_of_the_drift_makes_no_jump_in_the_monotonic_clock() {
        let mut clock = Clock::default();
        clock.set(Instant(0), Skew { offset_ms: 0, drift_ppm: -100_000 });
        let before = clock.now(Instant(1_000_000)).instant;

        clock.set(Instant(1_000_000), Skew { offset_ms: 5, drift_ppm: 100_000 });

        assert_eq!(before, Instant(900_000));
        assert_eq!(clock.now(Instant(1_000_000)).instant, before);
        assert_eq!(clock.now(Instant(2_000_000)).instant, Instant(2_000_000));
    }
}
