//! The neighbours of a node by link, in the order of the links, and which of them were handed out to be changed:
//! after a turn only those can have something to say. Decides nothing.

use std::ops::{Deref, Index};

use super::MAX_LINKS;
use super::link::Neighbour;
use crate::id::Peer;
use crate::time::{Instant, Now};

/// A set of rows: bit n is row n.
type Rows = u64;

const _: () = assert!(MAX_LINKS <= Rows::BITS as usize);

/// All neighbours. Few and often looked through, so that they stand in a row instead of in a tree.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    peers: Handles,
    rows: Vec<Neighbour>,
    /// Those that may have become sendable since they were last asked.
    stirred: Rows,
    /// Those that may owe an acknowledgement.
    owing: Rows,
}

/// The handles of the neighbours, within the node: whatever happens on a link begins by looking for its handle.
#[derive(Debug)]
struct Handles {
    len: usize,
    all: [Peer; MAX_LINKS],
}

impl Default for Handles {
    fn default() -> Self {
        Handles { len: 0, all: [Peer(0); MAX_LINKS] }
    }
}

impl Deref for Handles {
    type Target = [Peer];

    fn deref(&self) -> &[Peer] {
        &self.all[..self.len]
    }
}

impl Handles {
    fn insert(&mut self, row: usize, peer: Peer) {
        self.all.copy_within(row..self.len, row + 1);
        self.all[row] = peer;
        self.len += 1;
    }

    fn remove(&mut self, row: usize) {
        self.all.copy_within(row + 1..self.len, row);
        self.len -= 1;
    }
}

impl Neighbours {
    fn row(&self, peer: Peer) -> Option<usize> {
        // A dozen handles are one or two cache lines: looked through faster than halved.
        self.peers.iter().position(|other| *other == peer)
    }

    fn touch(&mut self, rows: Rows) {
        self.stirred |= rows;
        self.owing |= rows;
    }

    fn touch_all(&mut self) {
        self.touch(Rows::MAX);
    }

    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn contains_key(&self, peer: &Peer) -> bool {
        self.row(*peer).is_some()
    }

    pub(super) fn get(&self, peer: &Peer) -> Option<&Neighbour> {
        self.row(*peer).map(|row| &self.rows[row])
    }

    pub(super) fn get_mut(&mut self, peer: &Peer) -> Option<&mut Neighbour> {
        let row = self.row(*peer)?;
        self.touch(1 << row);
        Some(&mut self.rows[row])
    }

    /// Adds a neighbour; there are fewer than [`MAX_LINKS`].
    pub(super) fn insert(&mut self, peer: Peer, neighbour: Neighbour) {
        debug_assert!(self.len() < MAX_LINKS && !self.contains_key(&peer), "a handle is never used twice");
        let row = self.peers.partition_point(|other| *other < peer);
        self.peers.insert(row, peer);
        self.rows.insert(row, neighbour);
        self.touch_all();
    }

    pub(super) fn remove(&mut self, peer: &Peer) -> Option<Neighbour> {
        let row = self.row(*peer)?;
        self.peers.remove(row);
        self.touch_all();
        Some(self.rows.remove(row))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Neighbour> {
        self.rows.iter()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Neighbour> {
        self.touch_all();
        self.rows.iter_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Peer, &Neighbour)> {
        self.peers.iter().zip(&self.rows)
    }

    /// Takes the first neighbour to which something may have become sendable.
    pub(super) fn take_ready(&mut self) -> Option<Peer> {
        while let Some(row) = first(self.stirred, self.rows.len()) {
            self.stirred &= !(1 << row);
            if std::mem::take(&mut self.rows[row].is_ready) {
                return Some(self.peers[row]);
            }
        }
        self.stirred = 0;
        None
    }

    /// Takes what goes next to a neighbour, which is no news to anybody.
    pub(super) fn transmitting(&mut self, peer: Peer) -> Option<&mut Neighbour> {
        self.row(peer).map(|row| &mut self.rows[row])
    }

    /// Lets each neighbour say what it owes, if it is time.
    pub(super) fn send_acks(&mut self, now: Now) {
        let mut left = self.owing;
        while let Some(row) = first(left, self.rows.len()) {
            left &= !(1 << row);
            let neighbour = &mut self.rows[row];
            neighbour.send_ack(now.instant, false);
            self.stirred |= 1 << row;
            if neighbour.ack_due().is_none() {
                self.owing &= !(1 << row);
            }
        }
    }

    /// Returns when the first acknowledgement is due.
    pub(super) fn ack_due(&self) -> Option<Instant> {
        let mut left = self.owing;
        let mut due: Option<Instant> = None;
        while let Some(row) = first(left, self.rows.len()) {
            left &= !(1 << row);
            due = due.into_iter().chain(self.rows[row].ack_due()).min();
        }
        due
    }
}

impl Index<&Peer> for Neighbours {
    type Output = Neighbour;

    fn index(&self, peer: &Peer) -> &Neighbour {
        self.get(peer).expect("whoever asks has just seen it")
    }
}

/// The first of a set of rows, of which there are `len`.
fn first(rows: Rows, len: usize) -> Option<usize> {
    let row = rows.trailing_zeros() as usize;
    (row < len).then_some(row)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::NodeId;

    fn neighbours(peers: impl IntoIterator<Item = u32>) -> Neighbours {
        let mut all = Neighbours::default();
        for peer in peers {
            let node = NodeId([peer as u8; 32]);
            all.insert(Peer(peer), Neighbour::new(Instant(0), node, true, Duration::from_secs(1)));
        }
        all
    }

    fn ready(all: &mut Neighbours) -> Vec<u32> {
        std::iter::from_fn(|| all.take_ready()).map(|peer| peer.0).collect()
    }

    #[test]
    fn who_has_something_to_be_sent_is_named_once_in_the_order_of_the_links() {
        let mut all = neighbours((0..MAX_LINKS as u32).rev());
        assert_eq!(ready(&mut all), (0..MAX_LINKS as u32).collect::<Vec<_>>(), "the newcomers");

        for peer in [40, 63, 3] {
            all.get_mut(&Peer(peer)).expect("it is there").say_encoded(Default::default());
        }
        all.get_mut(&Peer(9)).expect("it is there");
        all.remove(&Peer(40));

        assert_eq!(ready(&mut all), [3, 63]);
        assert_eq!(ready(&mut all), []);
    }

    #[test]
    fn an_acknowledgement_is_due_until_it_is_said() {
        let mut all = neighbours(0..3);
        let lane = crate::policy::Class::Normal;
        let neighbour = all.get_mut(&Peer(1)).expect("it is there");
        let number = neighbour.receive(lane, 10_000).expect("the window is open");
        neighbour.settle(lane, number);
        ready(&mut all);
        let at = |us| Now { instant: Instant(us), unix_ms: 0 };

        all.send_acks(at(1));
        let due = all.ack_due().expect("10,000 bytes are worth one");
        all.send_acks(Now { instant: due, unix_ms: 0 });

        assert!(due > Instant(1));
        assert_eq!((all.ack_due(), ready(&mut all)), (None, vec![1]));
    }
}
