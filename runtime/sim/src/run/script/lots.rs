//! Who is drawn. One generator for a whole script, so that the order of the draws is the order of the text.

use std::collections::BTreeSet;

use crate::scenario::{Traffic, TrafficKind, Who};

/// Keeps the draws of a script apart from those of the network with the same seed.
const SALT: u64 = 0x6d65_7368_2d73_696d;

pub(super) struct Lots {
    rng: fastrand::Rng,
    nodes: usize,
    /// No lot falls on them.
    spared: BTreeSet<usize>,
    /// Faults name them, so that they are no senders.
    named: BTreeSet<usize>,
}

impl Lots {
    pub(super) fn new(seed: u64, nodes: usize) -> Lots {
        let rng = fastrand::Rng::with_seed(seed ^ SALT);
        Lots { rng, nodes, spared: BTreeSet::new(), named: BTreeSet::new() }
    }

    pub(super) fn name(&mut self, nodes: impl IntoIterator<Item = usize>) {
        self.named.extend(nodes);
    }

    pub(super) fn spare(&mut self, nodes: impl IntoIterator<Item = usize>) {
        self.spared.extend(nodes);
    }

    /// Returns a number below `end`.
    pub(super) fn number(&mut self, end: usize) -> usize {
        self.rng.usize(..end)
    }

    /// Returns the nodes that lots may fall on.
    pub(super) fn free(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes).filter(|node| !self.spared.contains(node))
    }

    /// Draws who is struck: at least one node when a share is not nothing.
    pub(super) fn draw(&mut self, who: &Who) -> Vec<usize> {
        let count = match who {
            Who::Nodes(nodes) => return nodes.clone(),
            Who::Count(count) => *count,
            Who::Share(share) if *share > 0.0 => ((share * self.nodes as f64).round() as usize).max(1),
            Who::Share(_) => 0,
        };
        let free = self.free().collect();
        self.pick(free, count)
    }

    /// Picks so many, or all if there are fewer.
    pub(super) fn pick(&mut self, mut from: Vec<usize>, count: usize) -> Vec<usize> {
        let count = count.min(from.len());
        for place in 0..count {
            let other = self.rng.usize(place..from.len());
            from.swap(place, other);
        }
        from.truncate(count);
        from
    }

    pub(super) fn shuffled(&mut self) -> Vec<usize> {
        self.pick((0..self.nodes).collect(), self.nodes)
    }

    /// Deals all nodes into parts of equal size.
    pub(super) fn parts(&mut self, groups: usize) -> Vec<Vec<usize>> {
        let mut parts = vec![Vec::new(); groups];
        for (place, node) in self.shuffled().into_iter().enumerate() {
            parts[place % groups].push(node);
        }
        parts
    }

    /// Draws the senders of a stream, and for each its recipient if it has one; none when everybody speaks.
    pub(super) fn senders(&mut self, traffic: &Traffic) -> Vec<(usize, Option<usize>)> {
        let unnamed: Vec<usize> = (0..self.nodes).filter(|node| !self.named.contains(node)).collect();
        let speakers = traffic.kind.speakers();
        if speakers == 0 {
            return Vec::new();
        }
        let from = self.pick(unnamed, speakers);
        let is_unicast = matches!(traffic.kind, TrafficKind::Unicast { .. });
        from.into_iter().map(|from| (from, is_unicast.then(|| self.other_than(from)))).collect()
    }

    fn other_than(&mut self, node: usize) -> usize {
        (node + 1 + self.rng.usize(..self.nodes - 1)) % self.nodes
    }
}
