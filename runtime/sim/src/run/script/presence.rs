//! Who is there when, who hears whom, and who means well: what decides for whom a message counts.

use std::time::Duration;

/// A message that is published so soon before a partition may not get across in time.
const CROSSING: Duration = Duration::from_secs(1);

/// The whereabouts of all nodes over a run.
pub(in crate::run) struct Presence {
    /// When each node is up, in order, from and until.
    up: Vec<Vec<(Duration, Duration)>>,
    bad: Vec<bool>,
    /// The part of each node, from and until.
    parts: Vec<(Vec<usize>, Duration, Duration)>,
    frozen: Vec<(usize, Duration, Duration)>,
    /// Pairs between which something is cut.
    cuts: Vec<(usize, usize, Duration, Duration)>,
    total: Duration,
}

impl Presence {
    pub(super) fn new(nodes: usize, total: Duration) -> Presence {
        Presence {
            up: vec![Vec::new(); nodes],
            bad: vec![false; nodes],
            parts: Vec::new(),
            frozen: Vec::new(),
            cuts: Vec::new(),
            total,
        }
    }

    pub(super) fn comes(&mut self, node: usize, at: Duration) {
        if !self.is_up(node, at) {
            self.up[node].push((at, self.total));
            self.up[node].sort_unstable();
        }
    }

    pub(super) fn goes(&mut self, node: usize, at: Duration) {
        // What was to begin later is decided by whoever brings the node back.
        self.up[node].retain(|&(from, _)| from <= at);
        if let Some(last) = self.up[node].last_mut() {
            last.1 = last.1.min(at);
        }
    }

    pub(super) fn turns_bad(&mut self, node: usize) {
        self.bad[node] = true;
    }

    pub(super) fn stands_still(&mut self, nodes: &[usize], from: Duration, to: Duration) {
        self.frozen.extend(nodes.iter().map(|&node| (node, from, to)));
    }

    pub(super) fn parted(&mut self, parts: &[Vec<usize>], from: Duration, to: Duration) {
        let mut of = vec![0; self.up.len()];
        for (number, part) in parts.iter().enumerate() {
            part.iter().for_each(|&node| of[node] = number);
        }
        self.parts.push((of, from, to));
    }

    pub(super) fn disturbed(&mut self, from: usize, to: usize, begin: Duration, end: Duration) {
        self.cuts.push((from, to, begin, end));
    }

    /// Says whether a node is up at a time.
    pub(in crate::run) fn is_up(&self, node: usize, at: Duration) -> bool {
        self.stays(node, at, at)
    }

    /// Says whether a node that went at a time does not come back.
    pub(in crate::run) fn stays_away(&self, node: usize, from: Duration) -> bool {
        self.up[node].iter().all(|&(_, end)| end <= from)
    }

    /// Says whether a node means well all the time.
    pub(in crate::run) fn is_honest(&self, node: usize) -> bool {
        !self.bad[node]
    }

    /// Says whether a node is up from one time to another, without a break.
    pub(in crate::run) fn stays(&self, node: usize, from: Duration, to: Duration) -> bool {
        self.up[node].iter().any(|&(begin, end)| begin <= from && to <= end && from < end.max(begin + TICK))
    }

    /// Says whether a message counts for a node: it is up around that time, and hears the origin.
    pub(in crate::run) fn counts(
        &self,
        origin: usize,
        node: usize,
        at: Duration,
        settled: Duration,
        patience: Duration,
    ) -> bool {
        let from = at.saturating_sub(settled);
        let to = (at + patience).min(self.total);
        node != origin
            && self.is_honest(node)
            && self.stays(node, from, to)
            && !self.are_parted(origin, node, at)
    }

    fn are_parted(&self, one: usize, other: usize, at: Duration) -> bool {
        self.parts
            .iter()
            .any(|(part, from, to)| part[one] != part[other] && at + CROSSING > *from && at < *to)
    }

    /// Says whether one node has reason to take the other for dead: it is not there, stands still, or they
    /// cannot hear each other, or it was so until a moment ago.
    pub(in crate::run) fn may_suspect(
        &self,
        watcher: usize,
        other: usize,
        at: Duration,
        memory: Duration,
    ) -> bool {
        let from = at.saturating_sub(memory);
        let is_on = |begin: Duration, end: Duration| begin <= at && from < end;
        let is_frozen =
            |node: usize| self.frozen.iter().any(|&(frozen, begin, end)| frozen == node && is_on(begin, end));
        !self.stays(other, from, at)
            || !self.stays(watcher, from, at)
            || is_frozen(watcher)
            || is_frozen(other)
            || self.parts.iter().any(|(part, begin, end)| part[watcher] != part[other] && is_on(*begin, *end))
            || self.cuts.iter().any(|&(a, b, begin, end)| {
                (a == other || b == other || a == watcher || b == watcher) && is_on(begin, end)
            })
    }

    /// Returns when the last node that went comes back.
    pub(super) fn last_return(&self) -> Duration {
        let returns = self.up.iter().flat_map(|times| times.iter().skip(1)).map(|&(from, _)| from);
        returns.max().unwrap_or_default()
    }
}

/// The resolution of virtual time.
const TICK: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_message_counts_for_those_who_are_there_around_it() {
        let mut presence = Presence::new(3, secs(100));
        (0..3).for_each(|node| presence.comes(node, secs(0)));
        presence.goes(1, secs(20));
        presence.comes(1, secs(30));
        let counts = |at, settled, patience| presence.counts(0, 1, secs(at), secs(settled), secs(patience));

        for (at, settled, patience, want) in [
            (5, 0, 10, true),
            (15, 0, 10, false),
            (25, 0, 0, false),
            (30, 0, 10, true),
            (35, 10, 10, false),
            (45, 10, 10, true),
            (95, 10, 30, true),
        ] {
            assert_eq!(counts(at, settled, patience), want, "{at} {settled} {patience}");
        }
        assert!(!presence.counts(1, 1, secs(5), secs(0), secs(0)), "not for its origin");
    }

    #[test]
    fn a_message_does_not_count_beyond_a_partition_or_for_those_who_mean_ill() {
        let mut presence = Presence::new(3, secs(100));
        (0..3).for_each(|node| presence.comes(node, secs(0)));
        presence.parted(&[vec![0], vec![1, 2]], secs(10), secs(20));
        presence.turns_bad(2);
        let counts = |node, at| presence.counts(0, node, secs(at), secs(0), secs(0));

        assert!(counts(1, 5) && !counts(1, 10) && !counts(1, 19) && counts(1, 20));
        assert!(!counts(2, 5));
    }

    #[test]
    fn a_node_that_is_away_or_cannot_be_heard_may_be_taken_for_dead() {
        let mut presence = Presence::new(4, secs(100));
        (0..4).for_each(|node| presence.comes(node, secs(0)));
        presence.goes(1, secs(10));
        presence.comes(1, secs(20));
        presence.stands_still(&[2], secs(30), secs(40));
        let may = |other, at| presence.may_suspect(0, other, secs(at), secs(5));

        assert!(!may(1, 9) && may(1, 12) && may(1, 24) && !may(1, 26));
        assert!(!may(2, 29) && may(2, 35) && may(2, 44) && !may(2, 46));
        assert!(!may(3, 35));
    }
}
