//! What those need who run thousands of nodes in one process: signatures that are verified once for all of them, and
//! a way to bring what a turn needs into the processor's cache.

use super::Node;
use crate::id::Peer;
use crate::run::Verified;

impl Node {
    /// Notes in a shared memo that this node has signed what it says of itself.
    pub(crate) fn vouch(&self, memo: &mut Verified) {
        self.record.note_signed(memo);
    }

    /// Exchanges the memo of good signatures with one that many nodes share, before and after
    /// [`Node::handle`]: a simulator verifies each signature once instead of once a node.
    pub(crate) fn share_verified(&mut self, memo: &mut Verified) {
        std::mem::swap(&mut self.verified, memo);
    }

    /// Reads the lines of this node that every turn needs. The number says nothing.
    pub(crate) fn look(&self) -> usize {
        let lists = [
            self.by_node.len(),
            self.outputs.len(),
            self.pending.len(),
            self.drafts.len(),
            self.tickets.len(),
            self.writes.len(),
            self.subscriptions.len(),
            self.probes.len(),
            self.rows.len(),
            self.classes.len(),
            self.verdicts.len(),
            self.neighbours.len(),
            self.table.len(),
            self.members.len(),
            self.seen.len(),
        ];
        let numbers = [self.counters.forwarded, self.load.sent_bytes[0], self.due.first().0, self.wanted.0];
        let numbers = numbers.iter().fold(0, |mix, number| mix ^ number) as usize;
        lists.iter().fold(numbers, |mix, len| mix ^ len) ^ self.trees.look()
    }

    /// Reads what lies behind those lines, and what concerns one link.
    pub(crate) fn look_further(&self, peer: Option<Peer>) -> usize {
        let neighbour = peer.and_then(|peer| self.neighbours.get(&peer)).map_or(0, |neighbour| {
            let numbers =
                [neighbour.detector.heard().0, neighbour.moved.0, neighbour.rtt_us().unwrap_or(0).into()];
            let lists = [neighbour.others.len(), neighbour.control_bytes(), neighbour.queue.len()];
            numbers.iter().fold(0, |mix, number| mix ^ number) as usize ^ lists[0] ^ lists[1] ^ lists[2]
        });
        let links = self.by_node.first_key_value().map_or(0, |(_, peer)| peer.0 as usize);
        neighbour ^ links ^ self.trees.look_further() ^ self.seen.look()
    }
}
