//! What happens because time passes.

use std::time::Duration;

use super::decide::STALL;
use super::{Node, Output, Write};
use crate::directory::LinkPolicy;
use crate::frame::{Control, MAX_ROWS};
use crate::policy::Policies;
use crate::routing::REFRESH;
use crate::time::{Instant, Now};
use crate::tuning::Tuning;

/// How often whatever can expire is looked through, or the heartbeat's interval, if it is longer.
const SWEEP: Duration = Duration::from_secs(1);
/// Round trips are measured every so many sweeps.
const PING_SWEEPS: u32 = 5;
/// How often the QoS policy divides the links.
const DIVIDE: Duration = Duration::from_secs(5);
/// How often a neighbour is asked for nodes to dial, when none is known.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often dials are looked at while there are too few links.
const DIAL_EVERY: Duration = Duration::from_millis(100);

/// When what comes round is due next.
#[derive(Debug)]
pub(super) struct Due {
    heartbeat: Instant,
    sweep: Instant,
    refresh: Instant,
    divide: Instant,
    gossip: Instant,
    rebalance: Instant,
    dial: Option<Instant>,
    pub(super) news: Instant,
    pub(super) renew: Option<Instant>,
    pub(super) spread: Option<Instant>,
    pub(super) probe: Option<Instant>,
    pub(super) silence: Option<Instant>,
    pub(super) reach_out: Option<Instant>,
}

impl Due {
    pub(super) fn new(now: Instant, tuning: &Tuning, rng: &mut fastrand::Rng) -> Due {
        // Nodes that start together do not beat together; one node's own rounds do, to be fewer turns.
        let phase = rng.f64();
        let heartbeat = now + tuning.heartbeat.mul_f64(0.5 + phase / 2.0);
        let spread = |period: Duration| {
            let beats = period.div_duration_f64(tuning.heartbeat).round();
            heartbeat + tuning.heartbeat.mul_f64((beats * (0.5 + phase / 2.0)).round())
        };
        Due {
            heartbeat,
            sweep: spread(SWEEP.max(tuning.heartbeat)),
            refresh: spread(REFRESH),
            divide: now,
            gossip: spread(tuning.gossip),
            rebalance: spread(tuning.rebalance),
            dial: Some(now),
            news: now,
            renew: None,
            spread: None,
            probe: None,
            silence: None,
            reach_out: None,
        }
    }

    pub(super) fn first(&self) -> Instant {
        let always = [self.heartbeat, self.sweep, self.refresh, self.divide, self.gossip, self.rebalance];
        let sometimes = [self.dial, self.renew, self.spread, self.probe, self.silence, self.reach_out];
        let always = always.into_iter().min().expect("there are six");
        sometimes.into_iter().flatten().fold(always, Instant::min)
    }

    pub(super) fn dial_now(&mut self, now: Instant) {
        self.dial = Some(now);
    }

    pub(super) fn dial_soon(&mut self, now: Instant) {
        let soon = now + DIAL_EVERY;
        self.dial = Some(self.dial.map_or(soon, |due| due.min(soon)));
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

fn has_come(due: Option<Instant>, now: Instant) -> bool {
    due.is_some_and(|due| due <= now)
}

impl Node {
    /// A process that was stopped for a while has not heard its neighbours, which says nothing about them.
    pub(super) fn pardon_after_sleep(&mut self, now: Now) {
        let overslept = now.instant.since(self.wanted) > self.tuning.heartbeat;
        if overslept {
            self.neighbours.values_mut().for_each(|neighbour| neighbour.detector.on_frame(now.instant));
            self.watch_silence(now.instant);
        }
    }

    pub(super) fn on_time(&mut self, now: Now, policies: &mut dyn Policies) {
        self.reach_out(now);
        if is_due(&mut self.due.heartbeat, now.instant, self.tuning.heartbeat) {
            self.beat(now);
        }
        if is_due(&mut self.due.sweep, now.instant, SWEEP.max(self.tuning.heartbeat)) {
            self.sweep(now);
        }
        if is_due(&mut self.due.refresh, now.instant, REFRESH) {
            self.table.refresh();
        }
        if has_come(Some(self.due.divide), now.instant) {
            // With a heartbeat again, not with the moment at which policies came.
            self.due.divide = self.due.heartbeat + DIVIDE.saturating_sub(self.tuning.heartbeat);
            self.divide(now, policies);
        }
        if is_due(&mut self.due.gossip, now.instant, self.tuning.gossip) {
            self.gossip();
        }
        if is_due(&mut self.due.rebalance, now.instant, self.tuning.rebalance) {
            self.rebalance(now);
        }
        self.end_silent(now);
        self.evaluate_hierarchy(now, policies);
        self.send_probes(now);
        if has_come(self.due.dial, now.instant) {
            self.look_for_links(now);
        }
        if has_come(self.due.renew, now.instant) {
            self.renew_record(now);
        }
        if has_come(self.due.spread, now.instant) {
            self.tell_spread();
        }
        self.send_grafts(now);
    }

    fn look_for_links(&mut self, now: Now) {
        let least = self.least_links(now);
        let dials = self.directory.dials(now.instant, &self.by_node, &self.members, least, &mut self.rng);
        let is_hungry = self.directory.is_hungry(&self.by_node, least);
        let is_idle = dials.is_empty();
        let knows_nobody = is_idle && self.directory.under_way() == 0;
        self.outputs.extend(dials.into_iter().map(Output::Dial));
        // What comes of dials that are under way is told.
        let mut pause = if is_idle && !knows_nobody { ASK_EVERY } else { DIAL_EVERY };
        if is_hungry && knows_nobody && self.directory.policy() != LinkPolicy::Explicit {
            let peers: Vec<_> = self.greeted().collect();
            if let Some(peer) = self.rng.choice(peers) {
                self.say(peer, &Control::Want(Vec::new()));
            }
            pause = ASK_EVERY;
        }
        self.due.dial = is_hungry.then_some(now.instant + pause);
    }

    fn beat(&mut self, now: Now) {
        self.beats = self.beats.wrapping_add(1);
        let heartbeat = Control::Heartbeat { count: self.beats }.encode();
        for neighbour in self.neighbours.values_mut().filter(|neighbour| neighbour.is_greeted()) {
            neighbour.send_ack(now.instant, true);
            neighbour.say_encoded(heartbeat.clone());
        }
        self.tell_links();
        self.watch_partition();
        self.watch_silence(now.instant);
    }

    fn sweep(&mut self, now: Now) {
        let changed = self.table.expire(now.instant);
        self.view_stale |= changed || !self.neighbours.is_empty();
        self.ways_changed |= changed || self.held.has_spilled();
        self.seek_ways(now);
        self.sweeps = self.sweeps.wrapping_add(1);
        let measures = self.sweeps.is_multiple_of(PING_SWEEPS);
        if measures {
            self.table.tell_renewed();
        }
        for neighbour in self.neighbours.values_mut() {
            neighbour.allowance = super::link::ALLOWANCE;
            neighbour.news_bytes = super::link::NEWS_BYTES;
            if measures {
                neighbour.ping(now.instant, self.rng.u64(..));
            }
        }
        if !self.rumors.is_empty() {
            self.due.spread.get_or_insert(now.instant);
        }
        if self.directory.is_hungry(&self.by_node, self.least_links(now)) {
            self.due.dial_soon(now.instant);
        }
        self.release_stalled(now);
        self.expire_held(now);
        self.expire_pings(now);
        self.expire_questions(now);
        for flow in self.seen.expire(now.unix_ms) {
            self.writes.push(Write::DeleteSeen { flow: flow.to_bytes() });
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
        for ((peer, topic, once), offers) in self.trees.take_grafts(now.instant, still) {
            for some in offers.chunks(MAX_ROWS) {
                self.say(peer, &Control::Graft { topic, once, offers: some.to_vec() });
            }
        }
        if self.trees.take_unanswered() {
            self.look_elsewhere(now);
        }
        for ((peer, topic), offers) in self.trees.take_offers(now.instant) {
            // It has a turn in any case: what is owed to it goes along.
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.send_ack(now.instant, true);
            }
            self.say(peer, &Control::IHave { topic, offers });
        }
    }
}
