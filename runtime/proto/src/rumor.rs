//! News on its way from neighbour to neighbour: what is still to be told, and to whom.
//!
//! News waits a little, at random, before it is told on (rumour mongering: Demers et al., Epidemic Algorithms for
//! Replicated Database Maintenance, 1987). Whoever tells the same meanwhile need not be told, so most links carry
//! it one way only; and no link carries more than its budget, so that a mesh that has much to say at once does not
//! drown itself. Signs and checks nothing, and keeps no record: those are the members'.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use crate::accusation::Accusation;
use crate::id::{NodeId, Peer};

/// Accusations that wait to be told on, at most.
pub const MAX_ACCUSATIONS: usize = 4096;

/// What one neighbour is to be told now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The nodes whose records it is told.
    pub records: Vec<NodeId>,
    /// The accusations that it is told.
    pub accusations: Vec<Accusation>,
}

/// The news of one node; of records at most one for each member.
#[derive(Debug, Default)]
pub struct Rumors {
    /// To whom each is told, and whether that waits for no budget.
    records: BTreeMap<NodeId, (Vec<Peer>, bool)>,
    /// The nodes in `records`, the oldest news first.
    order: VecDeque<NodeId>,
    accusations: BTreeMap<(NodeId, NodeId), (Accusation, Vec<Peer>)>,
}

impl Rumors {
    /// Says whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.accusations.is_empty()
    }

    /// There is a new record of a node: it is for all of `to`, whatever they were told before. An urgent one, which
    /// clears somebody of a doubt or says that it leaves, waits for no budget; nor does what follows on it.
    pub fn add_record(&mut self, node: NodeId, to: Vec<Peer>, is_urgent: bool) {
        match self.records.entry(node) {
            Entry::Vacant(entry) => {
                entry.insert((to, is_urgent));
                self.order.push_back(node);
            }
            Entry::Occupied(mut entry) => {
                let was_urgent = entry.get().1;
                entry.insert((to, is_urgent || was_urgent));
            }
        }
    }

    /// There is a new accusation.
    pub fn add_accusation(&mut self, accusation: Accusation, to: Vec<Peer>) {
        if self.accusations.len() < MAX_ACCUSATIONS {
            self.accusations.insert((accusation.subject, accusation.accuser), (accusation, to));
        }
    }

    /// The neighbour knows the newest record of this node.
    pub fn knows(&mut self, peer: Peer, node: &NodeId) {
        if let Some((to, _)) = self.records.get_mut(node) {
            to.retain(|other| *other != peer);
        }
    }

    /// The neighbour knows this accusation; one of an older version tells nothing of that which waits.
    pub fn knows_accusation(&mut self, peer: Peer, accusation: &Accusation) {
        if let Some((waits, to)) = self.accusations.get_mut(&(accusation.subject, accusation.accuser))
            && waits.version <= accusation.version
        {
            to.retain(|other| *other != peer);
        }
    }

    /// A neighbour has come: no digest names accusations, so those that wait are for it too.
    pub fn add_listener(&mut self, peer: Peer) {
        for (_, to) in self.accusations.values_mut().filter(|(_, to)| !to.contains(&peer)) {
            to.push(peer);
        }
    }

    /// Takes what is to be told now. `budgets` are the bytes that each neighbour may still be told, and are charged;
    /// what they do not allow waits, and what is for a neighbour that they do not name is dropped. `size` gives the
    /// bytes of a record; without one there is nothing to tell.
    pub fn take(
        &mut self,
        budgets: &mut BTreeMap<Peer, usize>,
        size: impl Fn(&NodeId) -> Option<usize>,
    ) -> BTreeMap<Peer, Told> {
        let mut out: BTreeMap<Peer, Told> = BTreeMap::new();
        self.accusations.retain(|_, (accusation, to)| {
            let mut tell = |peer| out.entry(peer).or_default().accusations.push(*accusation);
            // It has to reach the accused before others believe it.
            charge(to, budgets, 0, &mut tell);
            !to.is_empty()
        });
        self.order.retain(|node| {
            let Some((to, is_urgent)) = self.records.get_mut(node) else { return false };
            let mut tell = |peer| out.entry(peer).or_default().records.push(*node);
            match size(node).map(|bytes| if *is_urgent { 0 } else { bytes }) {
                Some(bytes) => charge(to, budgets, bytes, &mut tell),
                None => to.clear(),
            }
            let waits = !to.is_empty();
            if !waits {
                self.records.remove(node);
            }
            waits
        });
        out
    }
}

/// Tells those of `to` that can be told so many bytes, and keeps the others.
fn charge(to: &mut Vec<Peer>, budgets: &mut BTreeMap<Peer, usize>, bytes: usize, tell: &mut dyn FnMut(Peer)) {
    to.retain(|peer| {
        let Some(budget) = budgets.get_mut(peer) else { return false };
        let Some(left) = budget.checked_sub(bytes) else { return true };
        *budget = left;
        tell(*peer);
        false
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Peer = Peer(1);
    const B: Peer = Peer(2);

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn budgets(a: usize, b: usize) -> BTreeMap<Peer, usize> {
        BTreeMap::from([(A, a), (B, b)])
    }

    #[test]
    fn whoever_tells_the_same_is_not_told() {
        let mut rumors = Rumors::default();
        rumors.add_record(node(1), vec![A, B], false);
        rumors.knows(A, &node(1));

        let told = rumors.take(&mut budgets(1000, 1000), |_| Some(300));

        assert_eq!(told.keys().collect::<Vec<_>>(), [&B]);
        assert!(rumors.is_empty());
    }

    // N08
    #[test]
    fn what_a_budget_does_not_allow_waits_and_the_oldest_goes_first() {
        let mut rumors = Rumors::default();
        rumors.add_record(node(9), vec![A, B], false);
        rumors.add_record(node(1), vec![A, B], false);

        let told = rumors.take(&mut budgets(300, 600), |_| Some(300));
        assert_eq!(told[&A].records, [node(9)]);
        assert_eq!(told[&B].records, [node(9), node(1)]);

        rumors.add_record(node(3), vec![B], true);
        let told = rumors.take(&mut budgets(300, 0), |_| Some(300));
        assert_eq!((&told[&A].records, &told[&B].records), (&vec![node(1)], &vec![node(3)]));
        assert!(rumors.is_empty());
    }

    #[test]
    fn newer_news_is_for_all_again_and_what_is_gone_is_for_nobody() {
        let mut rumors = Rumors::default();
        rumors.add_record(node(1), vec![A], false);
        rumors.knows(A, &node(1));
        rumors.add_record(node(1), vec![A, B], false);
        rumors.add_record(node(2), vec![A], false);

        let size = |of: &NodeId| (*of == node(1)).then_some(10);
        let told = rumors.take(&mut BTreeMap::from([(A, 100)]), size);
        assert_eq!((told.len(), &told[&A].records), (1, &vec![node(1)]));
        assert!(rumors.is_empty());
    }
}
