//! What happens because time passes.

use std::time::Duration;

use super::decide::STALL;
use super::{Disconnect, Node, Output, Write};
use crate::frame::{Control, MAX_ROWS};
use crate::policy::Policies;
use crate::routing::{MAX_HOPS, REFRESH};
use crate::time::{Instant, Now};

/// How often neighbours are pinged and whatever can expire is looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// A neighbour that was silent so long is gone: five pings.
const SILENCE: Duration = Duration::from_secs(5);
/// How often the QoS policy divides the links.
const DIVIDE: Duration = Duration::from_secs(5);
/// Changes of routes are gathered so long before they are told.
const NEWS_EVERY: Duration = Duration::from_millis(20);
/// How often dials are looked at.
const DIAL_EVERY: Duration = Duration::from_millis(100);

/// When what comes round is due next.
#[derive(Debug)]
pub(super) struct Due {
    sweep: Instant,
    refresh: Instant,
    divide: Instant,
    dial: Instant,
    news: Instant,
}

impl Due {
    pub(super) fn new(now: Instant, rng: &mut fastrand::Rng) -> Due {
        // Nodes that start together do not beat together.
        let spread = |rng: &mut fastrand::Rng, period: Duration| now + period.mul_f64(0.5 + rng.f64() / 2.0);
        Due { sweep: spread(rng, SWEEP), refresh: spread(rng, REFRESH), divide: now, dial: now, news: now }
    }

    pub(super) fn first(&self) -> Instant {
        self.sweep.min(self.refresh).min(self.divide).min(self.dial)
    }

    pub(super) fn dial_now(&mut self, now: Instant) {
        self.dial = now;
    }

    pub(super) fn divide_now(&mut self, now: Instant) {
        self.divide = now;
    }
}

fn is_due(due: &mut Instant, now: Instant, period: Duration) -> bool {
    let is = *due <= now;
    if is {
        *due = now + period;
    }
    is
}

impl Node {
    pub(super) fn on_time(&mut self, now: Now, policies: &mut dyn Policies) {
        if is_due(&mut self.due.sweep, now.instant, SWEEP) {
            self.sweep(now);
        }
        if is_due(&mut self.due.refresh, now.instant, REFRESH) {
            self.table.refresh();
        }
        if is_due(&mut self.due.divide, now.instant, DIVIDE) {
            self.divide(now, policies);
        }
        if is_due(&mut self.due.dial, now.instant, DIAL_EVERY) {
            for dial in self.directory.dials(now.instant, &self.by_node, &mut self.rng) {
                self.outputs.push_back(Output::Dial(dial));
            }
        }
        self.send_grafts(now);
    }

    fn sweep(&mut self, now: Now) {
        let changed = self.table.expire(now.instant);
        self.view_stale |= changed || !self.neighbours.is_empty();
        self.ways_changed |= changed || self.held.has_spilled();
        for (node, seqno) in self.table.starving() {
            let request = Control::SeqnoRequest { node, seqno, hops: MAX_HOPS };
            for via in self.table.ways(&node) {
                self.say(via.via, &request);
            }
        }
        self.ping_neighbours(now);
        self.release_stalled(now);
        self.expire_held(now);
        self.expire_pings(now);
        for flow in self.seen.expire(now.unix_ms) {
            self.writes.push(Write::DeleteSeen { flow: flow.to_bytes() });
        }
        self.renew_record(now);
    }

    fn ping_neighbours(&mut self, now: Now) {
        let mut silent = Vec::new();
        for (peer, neighbour) in &mut self.neighbours {
            if now.instant.since(neighbour.heard) > SILENCE {
                silent.push(*peer);
            } else {
                neighbour.ping(now.instant, self.rng.u64(..));
            }
        }
        for peer in silent {
            self.outputs.push_back(Output::Disconnect { peer, reason: Disconnect::Silent });
            self.on_link_down(now, peer);
        }
    }

    /// A neighbour that takes nothing must not hold back those who send through this node to others.
    fn release_stalled(&mut self, now: Now) {
        let mut owed = Vec::new();
        for neighbour in self.neighbours.values_mut() {
            if now.instant.since(neighbour.moved) > STALL {
                owed.extend(neighbour.queue.release_owed());
            }
        }
        owed.into_iter().for_each(|owed| self.settle(Some(owed)));
    }

    fn divide(&mut self, now: Now, policies: &mut dyn Policies) {
        for neighbour in self.neighbours.values() {
            for (sum, bytes) in self.load.queued_bytes.iter_mut().zip(neighbour.queue.waiting_bytes()) {
                *sum += bytes as u64;
            }
        }
        self.shares = policies.divide(now.unix_ms, &self.load).clamped();
        self.load = Default::default();
        for neighbour in self.neighbours.values_mut() {
            neighbour.queue.share(&self.shares);
        }
    }

    fn send_grafts(&mut self, now: Now) {
        let seen = &self.seen;
        let still = |flow: &_, range| !seen.missing(flow, range).is_empty();
        for ((peer, topic), offers) in self.trees.take_grafts(now.instant, still) {
            for some in offers.chunks(MAX_ROWS) {
                self.say(peer, &Control::Graft { topic, offers: some.to_vec() });
            }
        }
        for ((peer, topic), offers) in self.trees.take_offers(now.instant) {
            self.say(peer, &Control::IHave { topic, offers });
        }
    }

    pub(super) fn tell_news(&mut self, now: Now) {
        if !self.table.has_news() || self.due.news > now.instant {
            return;
        }
        self.due.news = now.instant + NEWS_EVERY;
        for (peer, routes) in self.table.take_news() {
            for some in routes.chunks(MAX_ROWS) {
                self.say(peer, &Control::Routes(some.to_vec()));
            }
        }
    }

    pub(super) fn news_due(&self) -> Option<Instant> {
        self.table.has_news().then_some(self.due.news)
    }

    pub(super) fn send_acks(&mut self, now: Now) {
        for neighbour in self.neighbours.values_mut() {
            neighbour.send_ack(now.instant, false);
        }
    }
}
