//! What became of messages here: for whoever explains decisions afterwards. Decides nothing, and costs nothing
//! until it is asked for.

use super::{Node, Pending};
use crate::id::{NodeId, Peer};
use crate::policy::{Clamp, Class, Overrule, Policies};
use crate::run::{Marks, Run};
use crate::time::Now;

/// What became of messages that came together and were judged alike.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Which messages.
    pub marks: Marks,
    /// The neighbour that they came from; `None` when this node wrote them, or judged them again.
    pub from: Option<NodeId>,
    /// Links crossed before.
    pub hops: u8,
    /// The class that the origin asked for.
    pub asked: Class,
    /// What the policies answered; `None` for a delivery, which they are not asked about.
    pub judged: Option<Judged>,
    /// What the carry policy answered; `None` when it was not asked, because there was a way.
    pub carried: Option<Carried>,
    /// The neighbour that the routing policy named.
    pub named: Option<NodeId>,
    /// What was done.
    pub fate: Fate,
    /// The neighbours they went to.
    pub to: Vec<NodeId>,
}

/// What was done with messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Queued for the neighbours in [`Decided::to`], in this class; for a topic possibly none.
    Sent(Class),
    /// Put aside until a way appears.
    Held,
    /// Dropped because there is no way and the carry policy does not keep it.
    NotCarried,
    /// Given to those who want them here.
    Delivered,
    /// Dropped because a policy says so.
    Refused,
    /// At their hop limit: a broadcast has simply arrived, anything else is dropped.
    HopLimit,
    /// Dropped because the next hop takes nothing and its queue is full.
    Stalled,
}

/// What the policies answered to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Where a journal keeps the calls, see [`Policies::noted`].
    pub noted: Option<[u64; 2]>,
    /// The first message's row in them.
    pub row: u32,
    /// Of the routing policy.
    pub verdict: u32,
    /// Of the QoS policy.
    pub class: u8,
}

/// What the carry policy answered to messages without a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Where a journal keeps the call, see [`Policies::noted_carry`].
    pub noted: Option<u64>,
    /// Their row in it: all of them are one.
    pub row: u32,
    /// Its answer, before the host's clamp: [`REFUSE`](crate::policy::REFUSE), or what they are worth.
    pub worth: u8,
}

impl Node {
    /// From now on [`Node::take_decided`] has something to tell.
    pub fn keep_decided(&mut self) {
        self.decided.get_or_insert_default();
    }

    /// Returns what became of messages since the last time, in order. Take it after every [`Node::handle`].
    pub fn take_decided(&mut self) -> Vec<Decided> {
        self.decided.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Messages were judged, and go to these neighbours.
    pub(super) fn note(&mut self, pending: &Pending, judged: Judged, fate: Fate, to: &[Peer]) {
        if let Some(decided) = self.judged(pending, judged, fate, to) {
            self.keep(decided);
        }
    }

    /// Messages without a way were judged, and wait or go.
    pub(super) fn note_carried(&mut self, pending: &Pending, judged: Judged, carried: Carried, fate: Fate) {
        if let Some(decided) = self.judged(pending, judged, fate, &[]) {
            self.keep(Decided { carried: Some(carried), ..decided });
        }
    }

    fn judged(&self, pending: &Pending, judged: Judged, fate: Fate, to: &[Peer]) -> Option<Decided> {
        // What nodes say to each other is nobody's message.
        if self.decided.is_none() || pending.run.head().internal {
            return None;
        }
        let named = self.rows.get(judged.verdict as usize).and_then(|peer| self.node_of(*peer));
        let to = to.iter().filter_map(|peer| self.node_of(*peer)).collect();
        let decided = self.noted(&pending.run, pending.from, pending.hops, fate);
        Some(Decided { judged: Some(judged), named, to, ..decided })
    }

    pub(super) fn note_delivery(&mut self, run: &Run, from: Option<Peer>, hops: u8) {
        if self.decided.is_some() {
            self.keep(self.noted(run, from, hops, Fate::Delivered));
        }
    }

    fn noted(&self, run: &Run, from: Option<Peer>, hops: u8, fate: Fate) -> Decided {
        let (from, asked) = (from.and_then(|peer| self.node_of(peer)), run.head().class);
        let (judged, carried, named, to) = (None, None, None, Vec::new());
        Decided { marks: run.marks(), from, hops, asked, judged, carried, named, fate, to }
    }

    fn keep(&mut self, decided: Decided) {
        if let Some(kept) = &mut self.decided {
            kept.push(decided);
        }
    }

    pub(super) fn overrule(&mut self, judged: Judged, rows: usize, applied: Overrule) {
        if judged.noted.is_some() {
            self.clamps.push(Clamp { rows: judged.row..judged.row + rows as u32, applied });
        }
    }

    pub(super) fn tell_clamps(&mut self, now: Now, policies: &mut dyn Policies) {
        if !self.clamps.is_empty() {
            policies.clamped(now.unix_ms, &self.clamps);
            self.clamps.clear();
        }
    }
}
