//! Store-and-forward: messages for nodes that cannot be reached now.

use std::sync::Arc;

use bytes::Bytes;

use super::shelf::Waiting;
use super::{Node, Output, Pending, Write};
use crate::id::NodeId;
use crate::policy::Class;
use crate::queue::{Drained, HeldKey};
use crate::run::{Dest, Run};
use crate::time::Now;

impl Node {
    /// Keeps a run until its recipient can be reached.
    pub(super) fn hold(&mut self, node: NodeId, worth: u8, waiting: Waiting) {
        for gone in self.held.put(node, worth, waiting) {
            if let Some(key) = gone.key {
                self.held.spill(node, key);
                continue;
            }
            self.counters.dropped_full += gone.run.len() as u64;
            self.load.dropped[gone.run.head().class as usize] += gone.run.len() as u64;
        }
    }

    /// Decides again on what waits for nodes that can be reached now.
    pub(super) fn retry_held(&mut self, _now: Now) {
        if !std::mem::take(&mut self.ways_changed) {
            return;
        }
        let ready: Vec<NodeId> =
            self.held.recipients().filter(|node| self.table.reaches(node)).copied().collect();
        for node in ready {
            if !self.has_room(&Dest::Node(node), Class::Normal) {
                continue; // tried again with the next acknowledgement, or in a second
            }
            let (items, spilled) = self.held.take(&node);
            for Waiting { run, hops, key } in items {
                self.pending.push(Pending { run, from: None, hops, owed: None, key });
            }
            if let Some(from) = spilled {
                self.outputs.push_back(Output::Recall { dest: node, from });
            }
        }
    }

    /// A recipient shows its start: the same one has what was sent and knows duplicates, so that everything
    /// can be sent again; a new one may have handed messages on before it forgot them, so that only what it
    /// stores can.
    pub(super) fn resolve_doubt(&mut self, node: NodeId, epoch: u64) {
        let Some((then, items)) = self.held.take_doubted(&node) else { return };
        for item in items {
            if epoch == then || item.run.head().durable {
                self.again(item);
            } else {
                self.counters.dropped_in_doubt += item.run.len() as u64;
                self.forget(item);
            }
        }
    }

    pub(super) fn expire_held(&mut self, now: Now) {
        for waiting in self.held.expire(now.unix_ms) {
            self.counters.expired += waiting.run.len() as u64;
            self.delete_held(waiting.key, &waiting.run);
        }
    }

    pub(super) fn restore_held(&mut self, now: Now, key: HeldKey, bytes: &Bytes) {
        self.held.used_key(key);
        let Ok((run, hops)) = Run::from_bytes(bytes) else {
            *self.counters.violations.entry("stored-message").or_default() += 1;
            return;
        };
        let run = Arc::new(run);
        if run.head().expiry_ms <= now.unix_ms {
            self.counters.expired += run.len() as u64;
            self.delete_held(Some(key), &run);
            return;
        }
        self.pending.push(Pending { run, from: None, hops, owed: None, key: Some(key) });
    }

    /// Leaves writes for everything that would be lost with this process: what waits, what is under way,
    /// and the duplicate windows.
    pub(super) fn keep_everything(&mut self, now: Now) {
        let mut rest: Vec<Waiting> = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            rest.push(Waiting { run: pending.run, hops: pending.hops, key: pending.key });
        }
        let peers: Vec<_> = self.neighbours.keys().copied().collect();
        for peer in peers {
            let Some(neighbour) = self.neighbours.get_mut(&peer) else { continue };
            let Drained { under_way, waiting } = neighbour.queue.drain();
            let items = under_way.into_iter().chain(waiting);
            rest.extend(items.map(|i| Waiting { run: i.run, hops: i.hops.saturating_sub(1), key: i.key }));
        }
        let nodes: Vec<NodeId> = self.held.recipients().copied().collect();
        for node in nodes {
            rest.extend(self.held.take(&node).0);
        }
        let doubted = self.held.take_all_doubted();
        rest.extend(doubted.map(|i| Waiting { run: i.run, hops: i.hops.saturating_sub(1), key: i.key }));
        for waiting in rest.into_iter().filter(|w| w.key.is_none() && w.run.head().expiry_ms > now.unix_ms) {
            if let Dest::Node(dest) = waiting.run.head().flow.dest
                && !waiting.run.head().internal
            {
                let key = self.held.new_key();
                self.writes.push(Write::PutHeld { key, dest, bytes: waiting.run.to_bytes(waiting.hops) });
            }
        }
        for (flow, window) in self.seen.windows() {
            if matches!(flow.dest, Dest::Node(node) if node == self.id) {
                self.writes.push(Write::PutSeen { flow: flow.to_bytes(), window: window.to_bytes() });
            }
        }
    }
}
