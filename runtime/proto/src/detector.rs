//! Failure detection: how long a neighbour may be silent, given how regular it was. A phi accrual detector
//! (Hayashibara et al., 2004) for one neighbour. Decides nothing about others.

use std::time::Duration;

use crate::time::Instant;

/// Standard deviations that phi stands for: the tail of the normal distribution is 10^-phi there. For 1 to 16.
const SIGMAS: [f64; 16] = [
    1.2816, 2.3263, 3.0902, 3.7190, 4.2649, 4.7534, 5.1993, 5.6120, 5.9978, 6.3613, 6.7060, 7.0345, 7.3488,
    7.6506, 7.9413, 8.2221,
];

/// What one neighbour's heartbeats were like.
#[derive(Clone, Debug)]
pub struct Detector {
    heard: Instant,
    beat: Option<Instant>,
    mean_us: u64,
    deviation_us: u64,
    least_us: u64,
}

impl Detector {
    /// Starts with what the neighbour says of itself: one beat an `interval`.
    pub fn new(now: Instant, interval: Duration) -> Detector {
        let mean_us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX / 4);
        // Half a beat of play: with less, one retransmission on a link that was perfect would be an alarm.
        let least_us = mean_us / 2;
        Detector { heard: now, beat: None, mean_us, deviation_us: least_us, least_us }
    }

    /// Something came.
    pub fn on_frame(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A heartbeat came.
    pub fn on_heartbeat(&mut self, now: Instant) {
        self.heard = now;
        let Some(last) = self.beat.replace(now) else { return };
        let gap = u64::try_from(now.since(last).as_micros()).unwrap_or(u64::MAX / 4);
        let off = gap.abs_diff(self.mean_us);
        self.mean_us = (self.mean_us * 15 + gap) / 16;
        // Jitter is learnt fast and forgotten slowly: an alarm costs more than a late one.
        let weight = if off > self.deviation_us { 4 } else { 32 };
        let learnt = (self.deviation_us * (weight - 1) + off) / weight;
        self.deviation_us = learnt.max(self.least_us);
    }

    /// Returns when the neighbour last sent anything.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// Returns when the silence will have lasted so long that it stands for `phi`.
    pub fn deadline(&self, phi: f64) -> Instant {
        let play = self.deviation_us as f64 * sigmas(phi);
        self.heard + Duration::from_micros(self.mean_us) + Duration::from_micros(play as u64)
    }

    /// Returns the phi that the present silence stands for, 0 to 16, for people.
    pub fn phi(&self, now: Instant) -> f64 {
        let silent = now.since(self.heard).as_secs_f64() * 1e6;
        let sigmas = (silent - self.mean_us as f64) / self.deviation_us.max(1) as f64;
        let Some(at) = SIGMAS.iter().position(|s| *s > sigmas) else { return 16.0 };
        let (low, high) = (if at == 0 { 0.0 } else { SIGMAS[at - 1] }, SIGMAS[at]);
        (at as f64 + (sigmas - low) / (high - low)).max(0.0)
    }
}

fn sigmas(phi: f64) -> f64 {
    let phi = phi.clamp(1.0, 16.0);
    let below = phi as usize;
    let low = SIGMAS[below - 1];
    let high = SIGMAS.get(below).copied().unwrap_or(low);
    low + (high - low) * (phi - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_millis(500);

    fn after(gaps_ms: impl IntoIterator<Item = u64>) -> Detector {
        let mut now = Instant(0);
        let mut detector = Detector::new(now, BEAT);
        detector.on_heartbeat(now);
        for gap in gaps_ms {
            now = now + Duration::from_millis(gap);
            detector.on_heartbeat(now);
        }
        detector
    }

    fn patience(detector: &Detector, phi: f64) -> Duration {
        detector.deadline(phi).since(detector.heard())
    }

    // MN-06: jitter makes it patient. MN-56: a threshold of 3 detects sooner than one of 8.
    #[test]
    fn an_irregular_neighbour_is_waited_for_longer_and_a_lower_threshold_is_sooner() {
        let regular = after([500; 100]);
        let jittery = after([100, 900].repeat(50));

        assert_eq!(patience(&regular, 8.0).as_millis(), 1903);
        assert_eq!(patience(&regular, 3.0).as_millis(), 1272);
        assert!(patience(&jittery, 8.0) > Duration::from_millis(2500), "{:?}", patience(&jittery, 8.0));
    }

    #[test]
    fn phi_rises_with_the_silence_and_reaches_the_threshold_at_the_deadline() {
        let detector = after([500; 100]);
        let at = |ms| detector.phi(detector.heard() + Duration::from_millis(ms));

        assert!(at(100) < 0.5 && at(700) < at(1000) && at(1000) < at(1500));
        assert!((detector.phi(detector.deadline(8.0)) - 8.0).abs() < 0.01);
        assert!(at(100_000) >= 15.9);
    }
}
