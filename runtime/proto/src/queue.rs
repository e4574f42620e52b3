//! Outgoing queues: what goes next when a link opens. Knows no sockets and no wire format.
//!
//! One queue a neighbour, one lane a class. Lanes share the link by weighted fair queueing over bytes: a
//! lane that wakes up starts at the present virtual time, so that a critical message that comes late goes
//! next, and a busy bulk lane still gets its share.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::policy::{Class, Shares};
use crate::run::Run;

/// Bytes that one class may have waiting for one neighbour before its senders are held back
/// (faults.md section 3: send queue 8 MiB).
pub const LANE_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of one class that may be under way on one link without acknowledgement. Twice what a link of
/// 1 Gbit/s and 15 ms carries.
pub const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// Where a stored copy of a run stands, so that it can be deleted when the next hop has taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeldKey(pub u64);

/// A run on its way to a neighbour.
#[derive(Clone, Debug)]
pub struct Item {
    /// The messages.
    pub run: Arc<Run>,
    /// Hops behind it when it arrives there.
    pub hops: u8,
    /// The stored copy, for durable messages.
    pub key: Option<HeldKey>,
    /// The acknowledgement owed upstream once this has left the queue.
    pub owed: Option<Owed>,
}

/// An acknowledgement that waits: the run's number on the link that it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The link.
    pub peer: crate::id::Peer,
    /// The class lane.
    pub lane: Class,
    /// The number of the run on that lane.
    pub number: u32,
}

impl Item {
    /// Bytes that it counts for: payloads, and about what the frame adds.
    pub fn cost(&self) -> usize {
        self.run.payload_len() + 4 * self.run.len() + 180
    }
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Item>,
    waiting_bytes: usize,
    under_way: VecDeque<Item>,
    under_way_bytes: usize,
    /// Runs sent since the link came up; wraps.
    sent: u32,
    /// Runs acknowledged since the link came up; wraps.
    acked: u32,
    finish: u64,
}

impl Lane {
    fn pop(&mut self) -> Option<Item> {
        let item = self.waiting.pop_front()?;
        give_back(&mut self.waiting);
        self.waiting_bytes -= item.cost();
        Some(item)
    }
}

/// The queue to one neighbour.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Made when something first goes by them: most neighbours are sent messages of one class or two.
    lanes: [Option<Box<Lane>>; 5],
    weights: Weights,
    now: u64,
}

#[derive(Debug)]
struct Weights([u8; 5]);

impl Default for Weights {
    fn default() -> Self {
        Weights::from(&Shares::default())
    }
}

impl From<&Shares> for Weights {
    /// The urgent classes weigh what they may burst to, the others what they are guaranteed: critical and
    /// high may preempt in the class table.
    fn from(shares: &Shares) -> Self {
        let urgent = |class: usize| class <= Class::High as usize;
        Weights(std::array::from_fn(|class| {
            if urgent(class) { shares.burst[class] } else { shares.guaranteed[class] }.max(1)
        }))
    }
}

/// An empty list of up to so many places gives them back.
const SMALL: usize = 16;

/// Gives back what a short list took that is empty now: a thousand links that are silent hold nothing, and what is
/// made anew is in the processor's cache. A long one is left as it is, for it will be long again.
pub(crate) fn give_back<T>(list: &mut VecDeque<T>) {
    if list.is_empty() && list.capacity() <= SMALL {
        *list = VecDeque::new();
    }
}

/// What [`Outgoing::pop`] took.
#[derive(Debug)]
pub enum Popped {
    /// To be sent on this lane.
    Send(Class, Item),
    /// Expired while it waited.
    Expired(Class, Item),
}

/// What was left in a queue whose link is gone.
#[derive(Debug, Default)]
pub struct Drained {
    /// Sent and not acknowledged.
    pub under_way: Vec<Item>,
    /// Not sent.
    pub waiting: Vec<Item>,
}

impl Outgoing {
    /// Changes how the link is shared from now on.
    pub fn share(&mut self, shares: &Shares) {
        self.weights = Weights::from(shares);
    }

    fn lane(&self, class: Class) -> Option<&Lane> {
        self.lanes[class as usize].as_deref()
    }

    fn open_lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.lanes.iter_mut().flatten().map(|lane| &mut **lane)
    }

    /// Says whether the class has room; what is pushed beyond it must owe an acknowledgement or be dropped.
    pub fn has_room(&self, class: Class) -> bool {
        self.lane(class).is_none_or(|lane| lane.waiting_bytes < LANE_BYTES)
    }

    /// Appends to a class.
    pub fn push(&mut self, class: Class, item: Item) {
        let now = self.now;
        let lane = self.lanes[class as usize].get_or_insert_default();
        if lane.waiting.is_empty() {
            lane.finish = lane.finish.max(now);
        }
        lane.waiting_bytes += item.cost();
        lane.waiting.push_back(item);
    }

    /// Takes what goes next; `None` when nothing waits or every waiting lane's window is full.
    pub fn pop(&mut self, unix_ms: u64) -> Option<Popped> {
        let open = |lane: &Lane| !lane.waiting.is_empty() && lane.under_way_bytes < WINDOW_BYTES;
        let lanes = self.lanes.iter().enumerate();
        let candidates =
            lanes.filter_map(|(index, lane)| Some((index, lane.as_deref().filter(|l| open(l))?)));
        let (index, _) = candidates.min_by_key(|(index, lane)| (lane.finish, *index))?;
        let class = Class::ALL[index];
        let lane = self.lanes[index].as_deref_mut()?;
        let item = lane.pop()?;
        if item.run.head().expiry_ms <= unix_ms {
            return Some(Popped::Expired(class, item));
        }
        self.now = lane.finish;
        lane.finish += item.cost() as u64 * 1000 / u64::from(self.weights.0[index]);
        lane.under_way_bytes += item.cost();
        lane.sent = lane.sent.wrapping_add(1);
        lane.under_way.push_back(Item { owed: None, ..item.clone() });
        Some(Popped::Send(class, item))
    }

    /// Takes the neighbour's counts of runs dealt with, and returns what they acknowledge; `None` when they
    /// acknowledge what was never sent.
    pub fn acknowledge(&mut self, counts: &[u32; 5]) -> Option<Vec<Item>> {
        let mut done = Vec::new();
        for (lane, &count) in self.lanes.iter_mut().zip(counts) {
            let Some(lane) = lane else {
                if count == 0 {
                    continue;
                }
                return None;
            };
            let news = count.wrapping_sub(lane.acked);
            if news > lane.sent.wrapping_sub(lane.acked) {
                return None;
            }
            for _ in 0..news {
                let item = lane.under_way.pop_front()?;
                lane.under_way_bytes -= item.cost();
                done.push(item);
            }
            give_back(&mut lane.under_way);
            lane.acked = count;
        }
        Some(done)
    }

    /// Empties the queue, most urgent class first.
    pub fn drain(&mut self) -> Drained {
        let mut out = Drained::default();
        for lane in self.open_lanes() {
            out.under_way.extend(std::mem::take(&mut lane.under_way));
            out.waiting.extend(std::mem::take(&mut lane.waiting));
            (lane.waiting_bytes, lane.under_way_bytes) = (0, 0);
        }
        out
    }

    /// Takes the acknowledgements owed by waiting items, because their link has stopped moving.
    pub fn release_owed(&mut self) -> Vec<Owed> {
        self.open_lanes().flat_map(|lane| &mut lane.waiting).filter_map(|item| item.owed.take()).collect()
    }

    /// Returns what waits, in bytes by class.
    pub fn waiting_bytes(&self) -> [usize; 5] {
        std::array::from_fn(|class| self.lanes[class].as_ref().map_or(0, |lane| lane.waiting_bytes))
    }

    /// Returns the number of runs that wait or are under way.
    pub fn len(&self) -> usize {
        self.lanes.iter().flatten().map(|lane| lane.waiting.len() + lane.under_way.len()).sum()
    }

    /// Says whether nothing waits and nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::id::NodeId;
    use crate::run::{Dest, Draft, Flow, Head, seal};

    fn item(len: usize, expiry_ms: u64) -> Item {
        let key = SigningKey::from_bytes(&[1; 32]);
        let flow = Flow {
            origin: NodeId(key.verifying_key().to_bytes()),
            epoch: 0,
            dest: Dest::Node(NodeId([2; 32])),
        };
        let head = Head {
            flow,
            seq_base: 0,
            sent_ms: 0,
            expiry_ms,
            class: Class::Normal,
            hop_limit: 3,
            durable: false,
            internal: false,
        };
        let draft = Draft { head, first_seq: 0, payloads: vec![Bytes::from(vec![0; len])] };
        let run = seal(&key, vec![draft]).remove(0);
        Item { run: Arc::new(run), hops: 0, key: None, owed: None }
    }

    fn next(queue: &mut Outgoing) -> Option<Class> {
        match queue.pop(0)? {
            Popped::Send(class, _) => Some(class),
            Popped::Expired(..) => None,
        }
    }

    // B12
    #[test]
    fn critical_overtakes_bulk_when_the_link_opens_late() {
        let mut queue = Outgoing::default();
        (0..10).for_each(|_| queue.push(Class::Bulk, item(1000, 9)));
        assert_eq!(next(&mut queue), Some(Class::Bulk));

        queue.push(Class::Critical, item(10, 9));

        assert_eq!(next(&mut queue), Some(Class::Critical));
        assert_eq!(next(&mut queue), Some(Class::Bulk));
    }

    #[test]
    fn busy_lanes_share_by_weight_and_none_starves() {
        let mut queue = Outgoing::default();
        for class in Class::ALL {
            (0..400).for_each(|_| queue.push(class, item(1000, 9)));
        }

        let mut sent = [0; 5];
        for _ in 0..430 {
            sent[next(&mut queue).expect("plenty waits") as usize] += 1;
        }

        // Weights 80, 60, 20, 15, 5 of 180.
        for (sent, want) in sent.iter().zip([191i32, 143, 48, 36, 12]) {
            assert!((sent - want).abs() <= 6, "{sent} of {want}");
        }
    }

    #[test]
    fn an_expired_message_is_not_sent() {
        let mut queue = Outgoing::default();
        queue.push(Class::Normal, item(1, 5));

        assert!(matches!(queue.pop(5), Some(Popped::Expired(Class::Normal, _))));
        assert!(queue.pop(5).is_none());
    }

    #[test]
    fn a_full_window_closes_its_lane_only_until_an_acknowledgement() {
        let mut queue = Outgoing::default();
        (0..60).for_each(|_| queue.push(Class::Bulk, item(100_000, 9)));
        let mut sent = 0;
        while next(&mut queue).is_some() {
            sent += 1;
        }
        assert!(sent < 60);
        queue.push(Class::High, item(1, 9));
        assert_eq!(next(&mut queue), Some(Class::High));

        let done = queue.acknowledge(&[0, 0, 0, 0, 1]).expect("one was sent");

        assert_eq!(done.len(), 1);
        assert_eq!(next(&mut queue), Some(Class::Bulk));
        assert!(queue.acknowledge(&[1, 0, 0, 0, 0]).is_none(), "never sent");
    }
}
