//! What waits for nodes that cannot be reached: a shelf for each of them. Says what gives way when there is no room;
//! asks nobody and sends nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::PublishError;
use crate::id::NodeId;
use crate::policy::Room;
use crate::queue::{HeldKey, Item};
use crate::run::{Flow, Run};

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

/// A board of a shelf. In this order boards are cleared when room runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Board {
    /// Its runs stand in the store too.
    is_stored: bool,
    worth: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    messages: usize,
    bytes: usize,
}

impl Size {
    fn add(&mut self, run: &Run) {
        self.messages += run.len();
        self.bytes += run.payload_len();
    }

    fn subtract(&mut self, run: &Run) {
        self.messages -= run.len();
        self.bytes -= run.payload_len();
    }
}

#[derive(Debug, Default)]
struct Shelf {
    /// Runs with the numbers of their arrival, in that order. No board is empty.
    boards: BTreeMap<Board, VecDeque<(u64, Waiting)>>,
    size: Size,
    /// The lowest key of those that stand in the store alone, because there was no room here.
    spilled: Option<HeldKey>,
}

impl Shelf {
    /// Takes what gives way first: of what stands here alone the least worth, and the oldest of it. What was
    /// acknowledged as stored gives way last, and the newest first: it is only put aside.
    fn take_least(&mut self) -> Option<Waiting> {
        let mut board = self.boards.first_entry()?;
        let is_stored = board.key().is_stored;
        let runs = board.get_mut();
        let (_, least) = if is_stored { runs.pop_back() } else { runs.pop_front() }?;
        if runs.is_empty() {
            board.remove();
        }
        self.size.subtract(&least.run);
        Some(least)
    }

    fn len(&self) -> usize {
        self.boards.values().map(VecDeque::len).sum()
    }

    /// Takes everything: first the flow whose best run is worth most, and each flow as it came. Out of order its runs
    /// would open gaps at the recipient, which remembers so many only.
    fn clear(self) -> Vec<Waiting> {
        let mut flows: BTreeMap<Flow, (u8, Vec<(u64, Waiting)>)> = BTreeMap::new();
        for (board, runs) in self.boards {
            for (arrival, waiting) in runs {
                let (worth, rows) = flows.entry(waiting.run.head().flow).or_default();
                *worth = board.worth.max(*worth);
                rows.push((arrival, waiting));
            }
        }
        let mut flows: Vec<(u8, Vec<(u64, Waiting)>)> = flows.into_values().collect();
        for (_, rows) in &mut flows {
            rows.sort_unstable_by_key(|(arrival, _)| *arrival);
        }
        flows.sort_by_key(|(worth, rows)| (Reverse(*worth), rows.first().map(|(arrival, _)| *arrival)));
        flows.into_iter().flat_map(|(_, rows)| rows).map(|(_, waiting)| waiting).collect()
    }

    /// Takes what `is_dead`.
    fn take_dead(&mut self, is_dead: impl Fn(&Run) -> bool) -> Vec<Waiting> {
        let mut out = Vec::new();
        for runs in self.boards.values_mut() {
            if runs.iter().any(|(_, waiting)| is_dead(&waiting.run)) {
                let (dead, alive): (VecDeque<_>, _) =
                    std::mem::take(runs).into_iter().partition(|(_, waiting)| is_dead(&waiting.run));
                *runs = alive;
                out.extend(dead.into_iter().map(|(_, waiting)| waiting));
            }
        }
        self.boards.retain(|_, runs| !runs.is_empty());
        out.iter().for_each(|waiting| self.size.subtract(&waiting.run));
        out
    }
}

/// What waits, by recipient.
#[derive(Debug)]
pub(super) struct Held {
    shelves: BTreeMap<NodeId, Shelf>,
    size: Size,
    /// Sent to a recipient that went away without a word: it has them or not.
    in_doubt: BTreeMap<NodeId, (u64, Vec<Item>)>,
    next_key: u64,
    arrivals: u64,
}

impl Held {
    pub(super) fn new(unix_ms: u64) -> Held {
        let (shelves, size, in_doubt) = Default::default();
        // Keys rise with time across restarts: 2^20 messages a millisecond are beyond any node.
        Held { shelves, size, in_doubt, next_key: unix_ms << 20, arrivals: 0 }
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
        let mut size = self.size;
        self.in_doubt.values().flat_map(|(_, items)| items).for_each(|item| size.add(&item.run));
        (size.messages, size.bytes)
    }

    /// Returns what a carry policy is told of all shelves.
    pub(super) fn room(&self) -> Room {
        Room {
            messages: self.size.messages as u64,
            bytes: self.size.bytes as u64,
            most_bytes: HELD_TOTAL_BYTES as u64,
            most_messages_each: HELD_MESSAGES as u64,
            most_bytes_each: HELD_BYTES as u64,
        }
    }

    /// Returns the messages and payload bytes that wait for a node.
    pub(super) fn waiting_for(&self, node: &NodeId) -> (usize, usize) {
        self.shelves.get(node).map_or((0, 0), |shelf| (shelf.size.messages, shelf.size.bytes))
    }

    /// Returns the nodes for which something waits.
    pub(super) fn recipients(&self) -> impl Iterator<Item = &NodeId> {
        self.shelves.keys()
    }

    /// Refuses what would go beyond the limits of its recipient.
    pub(super) fn check(&self, node: &NodeId) -> Result<(), PublishError> {
        let Some(Shelf { size, spilled, .. }) = self.shelves.get(node) else { return Ok(()) };
        if size.bytes >= HELD_BYTES || size.messages >= HELD_MESSAGES || spilled.is_some() {
            return Err(PublishError::RecipientFull { messages: size.messages, bytes: size.bytes });
        }
        Ok(())
    }

    /// Puts a run on its recipient's shelf, and returns those that had to give way.
    pub(super) fn put(&mut self, node: NodeId, worth: u8, waiting: Waiting) -> Vec<Waiting> {
        let shelf = self.shelves.entry(node).or_default();
        shelf.size.add(&waiting.run);
        self.size.add(&waiting.run);
        self.arrivals += 1;
        let board = Board { is_stored: waiting.key.is_some(), worth };
        shelf.boards.entry(board).or_default().push_back((self.arrivals, waiting));
        let mut out = Vec::new();
        while (shelf.size.messages > HELD_MESSAGES
            || shelf.size.bytes > HELD_BYTES
            || self.size.bytes > HELD_TOTAL_BYTES)
            && shelf.len() > 1
        {
            let Some(gone) = shelf.take_least() else { break };
            self.size.subtract(&gone.run);
            out.push(gone);
        }
        out
    }

    /// Takes everything that waits for a node, the greatest worth first and equal ones as they came; and the first
    /// key of what stands in the store alone.
    pub(super) fn take(&mut self, node: &NodeId) -> (Vec<Waiting>, Option<HeldKey>) {
        let Some(shelf) = self.shelves.remove(node) else { return Default::default() };
        self.size.messages -= shelf.size.messages;
        self.size.bytes -= shelf.size.bytes;
        let spilled = shelf.spilled;
        (shelf.clear(), spilled)
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

    /// Takes what was in doubt about a node, and the start of it that it was sent to.
    pub(super) fn take_doubted(&mut self, node: &NodeId) -> Option<(u64, Vec<Item>)> {
        self.in_doubt.remove(node)
    }

    /// Takes what was in doubt about any node.
    pub(super) fn take_all_doubted(&mut self) -> impl Iterator<Item = Item> + use<> {
        std::mem::take(&mut self.in_doubt).into_values().flat_map(|(_, items)| items)
    }

    /// Takes what has expired.
    pub(super) fn expire(&mut self, unix_ms: u64) -> Vec<Waiting> {
        let is_dead = |run: &Run| run.head().expiry_ms <= unix_ms;
        let mut out = Vec::new();
        for shelf in self.shelves.values_mut() {
            out.append(&mut shelf.take_dead(is_dead));
        }
        out.iter().for_each(|waiting| self.size.subtract(&waiting.run));
        self.shelves.retain(|_, shelf| !shelf.boards.is_empty() || shelf.spilled.is_some());
        for (_, items) in self.in_doubt.values_mut() {
            let dead = items.extract_if(.., |item| is_dead(&item.run));
            out.extend(dead.map(|item| Waiting { run: item.run, hops: item.hops, key: item.key }));
        }
        self.in_doubt.retain(|_, (_, items)| !items.is_empty());
        out
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::policy::Class;
    use crate::run::{Dest, Draft, Flow, Head, seal};

    const NODE: NodeId = NodeId([2; 32]);

    /// A run of one message; 128 of them are what may wait for a node.
    fn run() -> Arc<Run> {
        run_of(1)
    }

    /// The same of another origin.
    fn run_of(origin: u8) -> Arc<Run> {
        let key = SigningKey::from_bytes(&[origin; 32]);
        let head = Head {
            flow: Flow { origin: NodeId(key.verifying_key().to_bytes()), epoch: 0, dest: Dest::Node(NODE) },
            seq_base: 0,
            sent_ms: 0,
            expiry_ms: 9,
            class: Class::Normal,
            hop_limit: 3,
            durable: false,
            internal: false,
        };
        let payloads = vec![Bytes::from(vec![0; HELD_BYTES / 128])];
        Arc::new(seal(&key, vec![Draft { head, first_seq: 0, payloads }]).remove(0))
    }

    /// Puts runs of this worth that are known by their hops, and returns those that gave way.
    fn put(
        held: &mut Held,
        run: &Arc<Run>,
        worth: u8,
        key: Option<HeldKey>,
        hops: impl IntoIterator<Item = u8>,
    ) -> Vec<u8> {
        let put = |hops| held.put(NODE, worth, Waiting { run: run.clone(), hops, key });
        hops.into_iter().flat_map(put).map(|gone| gone.hops).collect()
    }

    #[test]
    fn the_least_worth_gives_way_and_of_equals_the_oldest() {
        let (mut held, run) = (Held::new(0), run());
        assert!(put(&mut held, &run, 7, None, 0..126).is_empty());
        assert!(put(&mut held, &run, 3, None, [200, 201]).is_empty());

        assert_eq!(put(&mut held, &run, 7, None, 126..130), [200, 201, 0, 1]);
        assert_eq!(put(&mut held, &run, 2, None, [202]), [202], "a newcomer can be the one");
        assert_eq!(held.waiting_for(&NODE), (128, HELD_BYTES));
    }

    #[test]
    fn what_stands_in_the_store_gives_way_last_and_the_newest_first() {
        let (mut held, run) = (Held::new(0), run());
        put(&mut held, &run, 1, Some(HeldKey(1)), 0..127);
        put(&mut held, &run, 255, None, [200]);

        assert_eq!(put(&mut held, &run, 1, Some(HeldKey(2)), [127]), [200]);
        assert_eq!(put(&mut held, &run, 9, Some(HeldKey(3)), [128]), [127]);
    }

    #[test]
    fn the_flow_of_the_greatest_worth_leaves_first_and_each_flow_as_it_came() {
        let (mut held, run, other) = (Held::new(0), run(), run_of(3));
        put(&mut held, &run, 5, None, [0]);
        put(&mut held, &other, 4, None, [1]);
        put(&mut held, &run, 5, Some(HeldKey(1)), [2]);
        put(&mut held, &other, 9, None, [3]);
        put(&mut held, &run, 6, None, [4]);

        let (items, spilled) = held.take(&NODE);

        assert_eq!(items.iter().map(|waiting| waiting.hops).collect::<Vec<_>>(), [1, 3, 0, 2, 4]);
        assert_eq!((spilled, held.totals()), (None, (0, 0)));
    }

    #[test]
    fn what_has_expired_leaves_its_room() {
        let (mut held, run) = (Held::new(0), run());
        put(&mut held, &run, 5, None, 0..3);

        assert!(held.expire(8).is_empty());
        assert_eq!(held.expire(9).len(), 3);
        assert_eq!((held.room().messages, held.room().bytes), (0, 0));
        assert_eq!(held.recipients().next(), None);
    }
}
