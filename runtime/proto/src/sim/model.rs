//! How links behave: latency, jitter, loss, duplication, reordering and bandwidth in one direction.
//!
//! A link is a reliable stream with order in each lane, as a QUIC connection is. What is lost or late below it
//! only costs time and bytes:
//!
//! - a lost packet is sent again after a probe timeout of 1.5 round trips, at least 30 ms; each probe sends two
//!   copies (RFC 9002, section 6.2.4), and the timeout doubles each time;
//! - a packet that was overtaken keeps the later ones of its lane waiting, not those of other lanes;
//! - a duplicate costs its bytes once more.
//!
//! A packet carries up to [`PACKET`] bytes of one lane. Acknowledgements of packets are not modelled.

use std::time::Duration;

use crate::time::Instant;

/// Bytes of frames in one packet, at most.
pub const PACKET: usize = 1200;
/// Bytes that a packet costs on the wire beside frames: IPv4 and UDP 28, a short QUIC header with its tag and a
/// stream frame's header about 32.
pub const PACKET_OVERHEAD: usize = 60;
/// The shortest probe timeout, in microseconds.
const PROBE_MIN_US: u64 = 30_000;
/// Probes in vain after which nothing arrives any more on the link: the timeout has grown past that of a
/// connection.
const MAX_PROBES: u32 = 11;

/// How a link behaves in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkModel {
    /// The time that every packet takes. Default 1 ms.
    pub latency: Duration,
    /// A random time on top, uniform up to this much. Default 0.2 ms.
    pub jitter: Duration,
    /// Bytes per second. Default 125,000,000.
    pub bandwidth: u64,
    /// Which packets are lost. Default none.
    pub loss: Loss,
    /// The share of packets that come twice, 0 to 1. Default 0.
    pub duplicate: f64,
    /// The share of packets that others overtake, 0 to 1. Default 0.
    pub reorder: f64,
    /// How much later an overtaken packet comes, uniform up to this much. Default 10 ms.
    pub reorder_by: Duration,
    /// The share of message frames that are lost for good, 0 to 1, as a broken transport would: no QUIC link
    /// does so. Default 0.
    pub frame_loss: f64,
}

impl Default for LinkModel {
    /// A good local network: 1 ms, 0.2 ms of jitter, 1 Gbit/s, nothing lost.
    fn default() -> Self {
        LinkModel {
            latency: Duration::from_millis(1),
            jitter: Duration::from_micros(200),
            bandwidth: 125_000_000,
            loss: Loss::None,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(10),
            frame_loss: 0.0,
        }
    }
}

/// Which packets a link loses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each with this chance, 0 to 1, whatever became of the others.
    Random(f64),
    /// In bursts: a chain of a good and a bad state (Gilbert and Elliott). A step of the chain is a packet, or a
    /// millisecond in which there was none.
    Bursts {
        /// The chance of a step from good to bad.
        enter: f64,
        /// The chance of a step from bad to good; the mean length of a burst is one over it.
        leave: f64,
        /// The chance of a loss in the good state.
        good: f64,
        /// The chance of a loss in the bad state.
        bad: f64,
    },
}

impl Loss {
    /// Makes bursts of `mean` packets on average in which everything is lost, a `share` of all packets.
    pub fn bursts(share: f64, mean: f64) -> Loss {
        let leave = 1.0 / mean.max(1.0);
        let share = share.clamp(0.0, 0.99);
        Loss::Bursts { enter: (leave * share / (1.0 - share)).min(1.0), leave, good: 0.0, bad: 1.0 }
    }
}

/// Where the chain of [`Loss::Bursts`] stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    bad: bool,
    at: Instant,
}

impl Weather {
    fn step(&mut self, now: Instant, enter: f64, leave: f64, rng: &mut fastrand::Rng) {
        let steps = (now.since(self.at).as_millis() as u64).max(1);
        self.at = now;
        // The chance to be in the bad state after so many steps: what is left of the difference between now
        // and the mean shrinks by the same factor each step.
        let mean = if enter + leave > 0.0 { enter / (enter + leave) } else { 0.0 };
        let start = if self.bad { 1.0 } else { 0.0 };
        let chance = mean + (start - mean) * power(1.0 - enter - leave, steps);
        self.bad = rng.f64() < chance;
    }
}

/// Powers by multiplication only, so that all platforms agree.
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut out = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            out *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    out
}

/// What becomes of some packets that are sent together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// How long until all of them are there; `None` when they never are.
    pub(super) delay: Option<Duration>,
    /// How many there were, with those sent again and the duplicates.
    pub(super) packets: u64,
}

impl LinkModel {
    /// Returns the time until a packet is taken for lost the first time.
    pub(super) fn probe_timeout_us(&self) -> u64 {
        (micros(self.latency) * 3 + micros(self.jitter) * 3 / 2).max(PROBE_MIN_US)
    }

    /// Returns the time that sending takes before the next packet can be sent.
    pub(super) fn sending(&self, bytes: usize) -> Duration {
        let bytes = bytes + PACKET_OVERHEAD;
        Duration::from_micros(bytes as u64 * 1_000_000 / self.bandwidth.max(1))
    }

    /// Decides what becomes of `bytes` of one lane that are sent at once.
    pub(super) fn fate(
        &self,
        weather: &mut Weather,
        now: Instant,
        bytes: usize,
        rng: &mut fastrand::Rng,
    ) -> Fate {
        let packets = bytes.div_ceil(PACKET).max(1) as u64;
        if self.loss == Loss::None && self.duplicate <= 0.0 && self.reorder <= 0.0 {
            let delay = micros(self.latency) + self.jitter_us(rng);
            return Fate { delay: Some(Duration::from_micros(delay)), packets };
        }
        let mut sent = 0;
        let mut latest = Some(0);
        for _ in 0..packets {
            let (delay, copies) = self.one_packet(weather, now, rng);
            latest = latest.zip(delay).map(|(latest, delay)| delay.max(latest));
            sent += copies;
        }
        Fate { delay: latest.map(Duration::from_micros), packets: sent }
    }

    /// The delay of one packet in microseconds, and how often it was sent.
    fn one_packet(&self, weather: &mut Weather, now: Instant, rng: &mut fastrand::Rng) -> (Option<u64>, u64) {
        let (mut waited, mut timeout) = (0, self.probe_timeout_us());
        let mut sent = 1 + u64::from(rng.f64() < self.duplicate);
        let mut is_lost = self.loses(weather, now, rng);
        // Probes meet the weather of their own, later time; the next packet that of now.
        let (mut later, mut probes) = (*weather, 0);
        while is_lost {
            if probes == MAX_PROBES {
                return (None, sent);
            }
            probes += 1;
            waited += timeout;
            timeout *= 2;
            let at = now + Duration::from_micros(waited);
            is_lost = self.loses(&mut later, at, rng) & self.loses(&mut later, at, rng);
            sent += 2;
        }
        let mut delay = waited + micros(self.latency) + self.jitter_us(rng);
        if rng.f64() < self.reorder {
            delay += rng.u64(0..=micros(self.reorder_by));
        }
        (Some(delay), sent)
    }

    fn loses(&self, weather: &mut Weather, now: Instant, rng: &mut fastrand::Rng) -> bool {
        match self.loss {
            Loss::None => false,
            Loss::Random(chance) => rng.f64() < chance,
            Loss::Bursts { enter, leave, good, bad } => {
                weather.step(now, enter, leave, rng);
                rng.f64() < if weather.bad { bad } else { good }
            }
        }
    }

    fn jitter_us(&self, rng: &mut fastrand::Rng) -> u64 {
        rng.u64(0..=micros(self.jitter))
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(model: LinkModel, n: u64) -> Vec<Fate> {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut weather = Weather::default();
        (0..n).map(|ms| model.fate(&mut weather, Instant(ms * 1000), 100, &mut rng)).collect()
    }

    fn lost_share(fates: &[Fate]) -> f64 {
        let late = fates.iter().filter(|fate| fate.delay.is_none_or(|d| d >= Duration::from_millis(30)));
        late.count() as f64 / fates.len() as f64
    }

    // N01
    #[test]
    fn a_lost_packet_costs_a_probe_timeout_and_two_more_packets() {
        let model = LinkModel { loss: Loss::Random(0.2), ..LinkModel::default() };

        let fates = fates(model, 10_000);

        assert!((0.19..0.21).contains(&lost_share(&fates)), "{}", lost_share(&fates));
        let sent: u64 = fates.iter().map(|fate| fate.packets).sum();
        // Each loss sends two; both are lost in one of 25.
        assert!((13_800..14_600).contains(&sent), "{sent}");
        let twice = |fate: &&Fate| fate.packets == 5;
        let delay = fates.iter().find(twice).and_then(|fate| fate.delay).expect("there is one");
        assert!(delay >= Duration::from_millis(30 + 60));
    }

    // N02
    #[test]
    fn losses_in_bursts_have_the_share_and_the_length_that_was_asked_for() {
        let fates = fates(LinkModel { loss: Loss::bursts(0.25, 40.0), ..LinkModel::default() }, 200_000);

        assert!((0.22..0.28).contains(&lost_share(&fates)), "{}", lost_share(&fates));
        let is_late = |fate: &Fate| fate.delay.is_none_or(|d| d >= Duration::from_millis(30));
        let bursts = fates.windows(2).filter(|pair| is_late(&pair[1]) && !is_late(&pair[0])).count();
        let mean = lost_share(&fates) * fates.len() as f64 / bursts as f64;
        assert!((25.0..50.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_link_that_loses_everything_delivers_nothing() {
        let fates = fates(LinkModel { loss: Loss::Random(1.0), ..LinkModel::default() }, 10);

        assert!(fates.iter().all(|fate| fate.delay.is_none()));
    }

    // N03
    #[test]
    fn duplicates_cost_packets_and_overtaken_packets_time() {
        let model = LinkModel {
            duplicate: 0.2,
            reorder: 0.3,
            reorder_by: Duration::from_millis(20),
            ..LinkModel::default()
        };

        let fates = fates(model, 10_000);

        let sent: u64 = fates.iter().map(|fate| fate.packets).sum();
        assert!((11_800..12_200).contains(&sent), "{sent}");
        let slow = |fate: &&Fate| fate.delay.is_some_and(|d| d > Duration::from_micros(1200));
        assert!((2_700..3_300).contains(&fates.iter().filter(slow).count()));
        assert!(fates.iter().all(|fate| fate.delay.is_some_and(|d| d <= Duration::from_micros(21_200))));
    }
}
