//! Faults: what is done to hosts and links from outside, and taken back.

use std::time::Duration;

use super::event::Event;
use super::link::{LANES, LinkRef};
use super::model::micros;
use super::{LinkModel, Network, Skew};
use crate::node::Output;
use crate::time::Instant;

/// A host that goes down so soon after a publication is not expected to have it.
const GRACE: Duration = Duration::from_secs(10);
/// How often churn strikes.
const CHURN_EVERY: Duration = Duration::from_millis(100);
/// The longest pause between two probes of a link that was cut.
const PROBE_MAX_US: u64 = 60_000_000;

/// How those who are concerned hear of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Their links are closed at once, and dials are refused.
    AtOnce,
    /// Not at all: nothing comes any more, and dials time out after 5 s.
    BySilence,
}

/// Hosts that fail and come back all the time.
#[derive(Clone, Debug)]
pub struct Churn {
    /// The share of the honest hosts that crashes each second, 0 to 1.
    pub share_per_s: f64,
    /// How long each stays down.
    pub down: Duration,
    /// How their neighbours hear of it.
    pub notice: Notice,
    /// Whether their disks are wiped.
    pub wipe: bool,
    /// Those who never crash.
    pub spared: Vec<usize>,
}

impl Network {
    /// Starts a node that is down, with what its disk kept. Does nothing when it is up.
    pub fn restart(&mut self, index: usize) {
        self.start_if_down(index);
    }

    /// Starts a node that is down after its disk was wiped; its key stays.
    pub fn restart_blank(&mut self, index: usize) {
        if !self.hosts[index].is_up() {
            self.hosts[index].disk = Default::default();
            self.start_if_down(index);
        }
    }

    pub(super) fn start_if_down(&mut self, index: usize) {
        if self.hosts[index].is_up() {
            return;
        }
        let seed = self.rng.u64(..);
        self.hosts[index].boot(index, self.now, seed, &mut self.verified);
        self.call(index);
    }

    /// Stops a node without a word; its disk stays, and its links are closed at once.
    pub fn crash(&mut self, index: usize) {
        self.stop(index, Notice::AtOnce);
    }

    /// Takes a node's power away: its disk stays, and its neighbours notice by its silence only.
    pub fn crash_silently(&mut self, index: usize) {
        self.stop(index, Notice::BySilence);
    }

    fn stop(&mut self, index: usize, notice: Notice) {
        if !self.hosts[index].is_up() {
            return;
        }
        self.settle_accounts(index);
        self.hosts[index].halt(self.now);
        self.hosts[index].is_dark = notice == Notice::BySilence;
        for end in self.hosts[index].links.clone() {
            if let Some(link) = self.links.get_mut(end.link) {
                link.lose();
            }
            match notice {
                Notice::AtOnce => self.tear(end.link),
                Notice::BySilence => self.leave(index, end),
            }
        }
    }

    /// Nobody expects of a host that goes down what it had no time for.
    fn settle_accounts(&mut self, index: usize) {
        self.ledger.excuse(index, Instant(self.now.0.saturating_sub(micros(GRACE))));
        self.ledger.lose_pending(index);
    }

    /// Stops a node in an orderly way: what it has to say reaches its neighbours.
    pub fn shut_down(&mut self, index: usize) {
        self.turn(index);
        let host = &mut self.hosts[index];
        let Some(node) = &mut host.node else { return };
        node.shutdown(host.clock.now(self.now));
        let outputs: Vec<Output> = std::iter::from_fn(|| node.poll_output()).collect();
        for output in outputs {
            if let Output::Persist { writes, .. } = output {
                self.write(index, writes);
            }
        }
        let ends = self.hosts[index].links.clone();
        for end in &ends {
            self.flush(index, *end);
        }
        self.settle_accounts(index);
        self.hosts[index].halt(self.now);
        self.hosts[index].is_dark = false;
        for end in ends {
            let last = self.links.get(end.link).map(|link| link.sides[end.side].out.last_arrival());
            self.announce_close(end, last.unwrap_or(self.now) + Duration::from_micros(1));
            self.leave(index, end);
        }
    }

    /// Stops a node as SIGSTOP does: it does nothing, and what comes waits.
    pub fn freeze(&mut self, index: usize) {
        if self.hosts[index].is_up() {
            self.hosts[index].is_frozen = true;
            self.look_at_links_of(index);
        }
    }

    /// Lets a frozen node go on.
    pub fn thaw(&mut self, index: usize) {
        if !std::mem::take(&mut self.hosts[index].is_frozen) {
            return;
        }
        self.look_at_links_of(index);
        for end in self.hosts[index].links.clone() {
            self.release(end.link, 1 - end.side, self.now);
            self.events.push(self.now, Event::Open { link: end.link, from: end.side as u8 });
        }
        self.call(index);
    }

    fn look_at_links_of(&mut self, index: usize) {
        for end in self.hosts[index].links.clone() {
            self.look_again(end.link);
        }
    }

    /// Sets a node's clocks.
    pub fn skew(&mut self, index: usize, skew: Skew) {
        self.hosts[index].clock.set(self.now, skew);
        self.hosts[index].wake_at = None;
        self.call(index);
    }

    /// Moves a node's wall clock by so many milliseconds.
    pub fn step_clock(&mut self, index: usize, by_ms: i64) {
        let skew = self.hosts[index].clock.skew();
        self.skew(index, Skew { offset_ms: skew.offset_ms.saturating_add(by_ms), ..skew });
    }

    /// Cuts the link between two nodes and lets no new one come up; both know at once.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut_both(a, b, Notice::AtOnce);
    }

    /// Lets nothing pass between two nodes any more; they notice by silence only.
    pub fn cut_silently(&mut self, a: usize, b: usize) {
        self.cut_both(a, b, Notice::BySilence);
    }

    /// Lets nothing pass from `from` to `to` any more, while the other direction works. Neither is told.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.cuts.insert((from as u32, to as u32), Notice::BySilence);
        self.apply_cuts();
    }

    fn cut_both(&mut self, a: usize, b: usize, notice: Notice) {
        let (a, b) = (a as u32, b as u32);
        self.cuts.insert((a, b), notice);
        self.cuts.insert((b, a), notice);
        self.apply_cuts();
    }

    /// Takes all cuts between two nodes back, in both directions.
    pub fn heal(&mut self, a: usize, b: usize) {
        let (a, b) = (a as u32, b as u32);
        self.cuts.remove(&(a, b));
        self.cuts.remove(&(b, a));
        self.apply_cuts();
    }

    /// Parts the mesh: nothing passes between hosts of different parts. Hosts in no part are one more part
    /// together. Replaces an earlier partition; cuts between pairs stay.
    pub fn partition(&mut self, parts: &[Vec<usize>], notice: Notice) {
        self.hosts.iter_mut().for_each(|host| host.part = 0);
        for (number, part) in parts.iter().enumerate() {
            part.iter().for_each(|host| self.hosts[*host].part = number as u32 + 1);
        }
        self.partition = notice;
        self.apply_cuts();
    }

    /// Takes a partition back.
    pub fn merge(&mut self) {
        self.partition(&[], Notice::AtOnce);
    }

    /// Returns what keeps frames from passing from one host to another.
    pub(super) fn cut_between(&self, from: usize, to: usize) -> Option<Notice> {
        if self.hosts[from].part != self.hosts[to].part {
            return Some(self.partition);
        }
        self.cuts.get(&(from as u32, to as u32)).copied()
    }

    /// Brings all links in line with the cuts.
    fn apply_cuts(&mut self) {
        let links: Vec<LinkRef> = self.links.iter().map(|(link, _)| link).collect();
        for link in links {
            let Some(found) = self.links.get(link) else { continue };
            let [a, b] = [0, 1].map(|side| found.sides[side].host as usize);
            let ways = [self.cut_between(a, b), self.cut_between(b, a)];
            if ways.contains(&Some(Notice::AtOnce)) {
                self.tear(link);
                continue;
            }
            for (from, cut) in ways.into_iter().enumerate() {
                self.set_cut(link, from, cut.is_some());
            }
        }
    }

    fn set_cut(&mut self, link: LinkRef, from: usize, is_cut: bool) {
        let Some(found) = self.links.get_mut(link) else { return };
        let pipe = &mut found.sides[from].out;
        match (pipe.cut, is_cut) {
            (None, true) => {
                pipe.cut = Some(self.now);
                self.look_again(link);
            }
            (Some(since), false) => {
                pipe.cut = None;
                let timeout = self.models[pipe.model as usize].probe_timeout_us();
                let latency = self.models[pipe.model as usize].latency;
                self.look_again(link);
                self.release(link, from, next_probe(since, timeout, self.now) + latency);
            }
            _ => {}
        }
    }

    /// What could not arrive does so now, and both sides send again what they have.
    fn release(&mut self, link: LinkRef, from: usize, at: Instant) {
        let Some(found) = self.links.get_mut(link) else { return };
        if found.sides[from].out.cut.is_some() {
            return;
        }
        let pipe = &mut found.sides[from].out;
        // After all that is under way, which is held up in turn: the order in a lane is kept.
        let at = at.max(pipe.last_arrival() + Duration::from_micros(1));
        (pipe.held_until, pipe.last) = (at, [at; LANES]);
        for (lane, frames) in std::mem::take(&mut pipe.late) {
            let chunk = self.chunks.insert(frames);
            self.events.push(at, Event::Arrive { link, to: 1 - from as u8, lane, chunk });
        }
        for from in [0, 1] {
            self.events.push(at, Event::Open { link, from });
        }
    }

    /// Loses the next `count` message frames from `a` to `b`, which no real link does while it is up.
    pub fn lose_next(&mut self, a: usize, b: usize, count: u32) {
        self.lose_next.insert((a as u32, b as u32), count);
    }

    /// Changes how all links behave that have no model of their own.
    pub fn set_model(&mut self, model: LinkModel) {
        self.models[0] = model;
    }

    /// Gives the direction from `from` to `to` a model of its own.
    pub fn set_model_between(&mut self, from: usize, to: usize, model: LinkModel) {
        let number = self.model_number(model);
        self.pair_models.insert((from as u32, to as u32), number);
        self.apply_models();
    }

    /// Gives all that a host sends a model of its own, unless the pair has one.
    pub fn set_model_from(&mut self, from: usize, model: LinkModel) {
        self.hosts[from].model = Some(self.model_number(model));
        self.apply_models();
    }

    /// Takes all models of their own back: all links have one model again.
    pub fn reset_models(&mut self) {
        self.pair_models.clear();
        self.hosts.iter_mut().for_each(|host| host.model = None);
        self.apply_models();
        self.models.truncate(1);
    }

    fn model_number(&mut self, model: LinkModel) -> u32 {
        let found = self.models.iter().skip(1).position(|other| *other == model);
        found.map_or_else(
            || {
                self.models.push(model);
                self.models.len() as u32 - 1
            },
            |at| at as u32 + 1,
        )
    }

    pub(super) fn model_between(&self, from: usize, to: usize) -> u32 {
        let pair = self.pair_models.get(&(from as u32, to as u32)).copied();
        pair.or(self.hosts[from].model).unwrap_or(0)
    }

    fn apply_models(&mut self) {
        let links: Vec<LinkRef> = self.links.iter().map(|(link, _)| link).collect();
        for link in links {
            let Some(found) = self.links.get(link) else { continue };
            let [a, b] = [0, 1].map(|side| found.sides[side].host as usize);
            let models = [self.model_between(a, b), self.model_between(b, a)];
            if let Some(found) = self.links.get_mut(link) {
                found.sides[0].out.model = models[0];
                found.sides[1].out.model = models[1];
            }
        }
    }

    /// Lets hosts fail and come back from now on; `None` ends it, and those who are down still come back.
    pub fn churn(&mut self, churn: Option<Churn>) {
        let was_on = std::mem::replace(&mut self.churn, churn).is_some();
        if self.churn.is_some() && !was_on {
            self.events.push(self.now + CHURN_EVERY, Event::Churn);
        }
    }

    pub(super) fn on_churn(&mut self) {
        let Some(churn) = self.churn.clone() else { return };
        self.events.push(self.now + CHURN_EVERY, Event::Churn);
        let mut up: Vec<usize> = self.honest_up().filter(|host| !churn.spared.contains(host)).collect();
        self.churn_owed += churn.share_per_s * up.len() as f64 * CHURN_EVERY.as_secs_f64();
        while self.churn_owed >= 1.0 && !up.is_empty() {
            self.churn_owed -= 1.0;
            let host = up.swap_remove(self.rng.usize(..up.len()));
            self.stop(host, churn.notice);
            if churn.wipe {
                self.hosts[host].disk = Default::default();
            }
            self.events.push(self.now + churn.down, Event::Start { host: host as u32 });
        }
    }
}

/// Returns when a sender whose data has not been acknowledged since `since` tries again.
fn next_probe(since: Instant, timeout_us: u64, now: Instant) -> Instant {
    let (mut at, mut timeout) = (since.0 + timeout_us, timeout_us);
    while at < now.0 {
        timeout = (timeout * 2).min(PROBE_MAX_US);
        at += timeout;
    }
    Instant(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_probes_ever_more_slowly_and_at_least_once_a_minute() {
        let probe = |ms: u64| next_probe(Instant(0), 30_000, Instant(ms * 1000)).0 / 1000;

        assert_eq!([probe(0), probe(31), probe(100), probe(800)], [30, 90, 210, 930]);
        assert!(probe(3_600_000) < 3_660_000);
    }
}
