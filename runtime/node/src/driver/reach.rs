//! Whether this node reaches anybody: counts the dials that fail while it has no link. Dials nobody; the core
//! does, and goes on whatever this says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mesh_proto::directory::{BACKOFF_MAX, BACKOFF_MIN};

use crate::api;

/// Dials in vain of one address after which the node calls itself offline (MN-14, MN-58a).
const ROUNDS: u32 = 10;
/// Addresses whose dials are counted, at most.
const MAX_ADDRS: usize = 64;

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

#[derive(Debug)]
pub(super) struct Reach {
    is_linked: bool,
    since: Instant,
    failures: BTreeMap<String, Failures>,
    offline_since: Option<Instant>,
    last_error: Option<String>,
}

impl Reach {
    pub(super) fn new(now: Instant) -> Reach {
        let (failures, offline_since, last_error) = Default::default();
        Reach { is_linked: false, since: now, failures, offline_since, last_error }
    }

    /// There are so many links now.
    pub(super) fn on_links(&mut self, now: Instant, links: usize) {
        if self.is_linked != (links > 0) {
            *self = Reach { is_linked: links > 0, ..Reach::new(now) };
        }
    }

    /// A dial led to nobody.
    pub(super) fn on_failed(&mut self, now: Instant, addr: &str, error: &str) {
        if self.is_linked {
            return;
        }
        self.last_error = Some(format!("{addr}: {error}"));
        if !self.failures.contains_key(addr) && self.failures.len() >= MAX_ADDRS {
            return;
        }
        let failures = self.failures.entry(addr.to_owned()).or_insert(Failures { count: 0, last: now });
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        if self.rounds() >= ROUNDS {
            self.offline_since.get_or_insert(now);
        }
    }

    fn rounds(&self) -> u32 {
        self.failures.values().map(|failures| failures.count).max().unwrap_or(0)
    }

    /// The core dials an address again at the latest when its pause has passed once more than half.
    fn next_attempt(&self, now: Instant) -> Option<Duration> {
        let next = |failures: &Failures| {
            let pause = BACKOFF_MIN.saturating_mul(1 << (failures.count - 1).min(10)).min(BACKOFF_MAX);
            (failures.last + pause).saturating_duration_since(now)
        };
        self.failures.values().map(next).min()
    }

    /// Returns how it is, given whether there is anybody to dial.
    pub(super) fn report(&self, now: Instant, knows_somebody: bool) -> api::Reach {
        let state = match (self.is_linked, knows_somebody, self.offline_since) {
            (true, ..) => api::ReachState::Linked,
            (false, false, _) => api::ReachState::Alone,
            (false, true, None) => api::ReachState::Recovering,
            (false, true, Some(_)) => api::ReachState::Offline,
        };
        let since = self.offline_since.filter(|_| state == api::ReachState::Offline).unwrap_or(self.since);
        let dials = matches!(state, api::ReachState::Recovering | api::ReachState::Offline);
        api::Reach {
            state,
            since_s: now.saturating_duration_since(since).as_secs_f64(),
            failed_rounds: self.rounds(),
            next_attempt_s: self.next_attempt(now).filter(|_| dials).map(|pause| pause.as_secs_f64()),
            last_error: self.last_error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ReachState;

    // MN-13, MN-14, MN-58a, MN-58b.
    #[test]
    fn ten_rounds_in_vain_are_offline_and_a_link_ends_it() {
        let start = Instant::now();
        let mut reach = Reach::new(start);
        let after = |s| start + Duration::from_secs(s);
        assert_eq!(reach.report(start, false).state, ReachState::Alone);
        let mut pauses = Vec::new();

        for round in 1..=10u64 {
            assert_eq!(reach.report(after(round), true).state, ReachState::Recovering, "{round}");
            reach.on_failed(after(round), "127.0.0.1:1", "refused");
            pauses.extend(reach.report(after(round), true).next_attempt_s);
        }

        let report = reach.report(after(13), true);
        assert_eq!((report.state, report.failed_rounds, report.since_s), (ReachState::Offline, 10, 3.0));
        assert_eq!(report.last_error.as_deref(), Some("127.0.0.1:1: refused"));
        assert_eq!(pauses, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);

        reach.on_links(after(20), 1);
        let report = reach.report(after(21), true);
        assert_eq!((report.state, report.failed_rounds, report.since_s), (ReachState::Linked, 0, 1.0));
        reach.on_failed(after(22), "127.0.0.1:1", "refused");
        reach.on_links(after(23), 0);
        assert_eq!(reach.report(after(23), true).failed_rounds, 0);
    }

    #[test]
    fn the_addresses_that_are_counted_are_bounded() {
        let now = Instant::now();
        let mut reach = Reach::new(now);

        for port in 0..1000 {
            reach.on_failed(now, &format!("127.0.0.1:{port}"), "refused");
        }

        assert_eq!(reach.failures.len(), MAX_ADDRS);
    }
}
