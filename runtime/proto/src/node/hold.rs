//! Store-and-forward: messages for nodes that cannot be reached now.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::{Node, Output, Pending, PublishError, Write};
use crate::id::NodeId;
use crate::policy::Class;
use crate::queue::{Drained, HeldKey, Item};
use crate::run::{Dest, Run};
use crate::time::Now;

/// Payload bytes that may wait for one node (faults.md section 3).
pub const HELD_BYTES: usize = 64 * 1024 * 1024;
/// Messages that may wait for one node (faults.md section 3).
pub const HELD_MESSAGES: usize = 100_000;
/// Payload bytes that may wait for all nodes together.
pub const HELD_TOTAL_BYTES: usize = 256 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) run: Arc<Run>,
    pub(super) hops: u8,
    pub(super) key: Option<HeldKey>,
}

#[derive(Debug, Default)]
struct Shelf {
    items: VecDeque<Waiting>,
    messages: usize,
    bytes: usize,
    /// The lowest key of those that stand in the store alone, because there was no room here.
    spilled: Option<HeldKey>,
}

/// What waits, by recipient.
#[derive(Debug)]
pub(super) struct Held {
    shelves: BTreeMap<NodeId, Shelf>,
    bytes: usize,
    /// Sent to a recipient that went away without a word: it has them or not.
    in_doubt: BTreeMap<NodeId, (u64, Vec<Item>)>,
    next_key: u64,
}

impl Held {
    pub(super) fn new(unix_ms: u64) -> Held {
        // Keys rise with time across restarts: 2^20 messages a millisecond are beyond any node.
        Held { shelves: BTreeMap::new(), bytes: 0, in_doubt: BTreeMap::new(), next_key: unix_ms << 20 }
    }

    pub(super) fn new_key(&mut self) -> HeldKey {
        self.next_key += 1;
        HeldKey(self.next_key)
    }

    pub(super) fn used_key(&mut self, key: HeldKey) {
        // A damaged store may hold any number; a real one is a time, far below the half.
        self.next_key = self.next_key.max(key.0.min(u64::MAX / 2));
    }

    pub(super) fn totals(&self) -> (usize, usize) {
        let doubted = self.in_doubt.values().flat_map(|(_, items)| items);
        let (messages, bytes) = doubted.fold((0, 0), |(m, b), i| (m + i.run.len(), b + i.run.payload_len()));
        (messages + self.shelves.values().map(|shelf| shelf.messages).sum::<usize>(), bytes + self.bytes)
    }

    /// Refuses what would go beyond the limits of its recipient.
    pub(super) fn check(&self, node: &NodeId) -> Result<(), PublishError> {
        match self.shelves.get(node) {
            Some(shelf)
                if shelf.bytes >= HELD_BYTES
                    || shelf.messages >= HELD_MESSAGES
                    || shelf.spilled.is_some() =>
            {
                Err(PublishError::RecipientFull { messages: shelf.messages, bytes: shelf.bytes })
            }
            _ => Ok(()),
        }
    }

    /// Puts a run on its recipient's shelf, and returns the older ones that had to give way: the least
    /// urgent class first, then the oldest.
    fn put(&mut self, node: NodeId, waiting: Waiting) -> Vec<Waiting> {
        let shelf = self.shelves.entry(node).or_default();
        shelf.messages += waiting.run.len();
        shelf.bytes += waiting.run.payload_len();
        self.bytes += waiting.run.payload_len();
        shelf.items.push_back(waiting);
        let mut out = Vec::new();
        while shelf.items.len() > 1
            && (shelf.messages > HELD_MESSAGES || shelf.bytes > HELD_BYTES || self.bytes > HELD_TOTAL_BYTES)
        {
            // What was acknowledged as stored gives way last, and the newest first: it is only put aside.
            let rank = |w: &Waiting| (w.key.is_none(), w.run.head().class);
            let worst = shelf.items.iter().map(rank).max();
            let is_worst = |w: &Waiting| Some(rank(w)) == worst;
            let at = match worst {
                Some((true, _)) => shelf.items.iter().position(is_worst),
                _ => shelf.items.iter().rposition(is_worst),
            };
            let Some(gone) = at.and_then(|at| shelf.items.remove(at)) else { break };
            shelf.messages -= gone.run.len();
            shelf.bytes -= gone.run.payload_len();
            self.bytes -= gone.run.payload_len();
            out.push(gone);
        }
        out
    }

    fn take(&mut self, node: &NodeId) -> (VecDeque<Waiting>, Option<HeldKey>) {
        let Some(shelf) = self.shelves.remove(node) else { return Default::default() };
        self.bytes -= shelf.bytes;
        (shelf.items, shelf.spilled)
    }

    /// Notes that a message stands in the store alone.
    pub(super) fn spill(&mut self, node: NodeId, key: HeldKey) {
        let spilled = &mut self.shelves.entry(node).or_default().spilled;
        *spilled = Some(spilled.map_or(key, |lowest| lowest.min(key)));
    }

    /// Says whether any message stands in the store alone.
    pub(super) fn has_spilled(&self) -> bool {
        self.shelves.values().any(|shelf| shelf.spilled.is_some())
    }

    pub(super) fn doubt(&mut self, node: NodeId, epoch: u64, item: Item) {
        let (known, items) = self.in_doubt.entry(node).or_insert((epoch, Vec::new()));
        *known = epoch;
        items.push(item);
    }

    fn expire(&mut self, unix_ms: u64) -> Vec<Waiting> {
        let mut out = Vec::new();
        for shelf in self.shelves.values_mut() {
            let (dead, alive): (VecDeque<_>, _) =
                std::mem::take(&mut shelf.items).into_iter().partition(|w| w.run.head().expiry_ms <= unix_ms);
            shelf.items = alive;
            for waiting in dead {
                shelf.messages -= waiting.run.len();
                shelf.bytes -= waiting.run.payload_len();
                self.bytes -= waiting.run.payload_len();
                out.push(waiting);
            }
        }
        self.shelves.retain(|_, shelf| !shelf.items.is_empty() || shelf.spilled.is_some());
        for (_, items) in self.in_doubt.values_mut() {
            let (dead, alive) =
                std::mem::take(items).into_iter().partition(|item| item.run.head().expiry_ms <= unix_ms);
            *items = alive;
            let dead: Vec<Item> = dead;
            out.extend(dead.into_iter().map(|item| Waiting {
                run: item.run,
                hops: item.hops,
                key: item.key,
            }));
        }
        self.in_doubt.retain(|_, (_, items)| !items.is_empty());
        out
    }
}

impl Node {
    /// Keeps a run until its recipient can be reached.
    pub(super) fn hold(&mut self, now: Now, node: NodeId, waiting: Waiting) {
        self.want_way(now, node);
        for gone in self.held.put(node, waiting) {
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
            self.held.shelves.keys().filter(|node| self.table.reaches(node)).copied().collect();
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
        let Some((then, items)) = self.held.in_doubt.remove(&node) else { return };
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
        let nodes: Vec<NodeId> = self.held.shelves.keys().copied().collect();
        for node in nodes {
            rest.extend(self.held.take(&node).0);
        }
        for (_, items) in std::mem::take(&mut self.held.in_doubt).into_values() {
            let kept =
                items.into_iter().map(|i| Waiting { run: i.run, hops: i.hops.saturating_sub(1), key: i.key });
            rest.extend(kept);
        }
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
