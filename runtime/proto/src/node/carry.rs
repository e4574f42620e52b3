//! What has to wait for a way, and whether it may: everything of one turn at once.
//!
//! The host clamps after the policy: what this node wrote or keeps already, what was promised to survive a restart, and
//! what is critical is never refused. Lifetimes and room are the host's too, see [`super::shelf`].

use std::collections::BTreeMap;

use super::decide::{CALL_ROWS, age_ms};
use super::decided::{Carried, Fate, Judged};
use super::shelf::Waiting;
use super::{Node, Pending};
use crate::id::NodeId;
use crate::policy::{CarryBatch, CarryRow, Clamp, Class, Overrule, Policies, REFUSE, TOPIC_BIT};
use crate::time::Now;

/// What a run that is never refused is worth at least.
const LEAST_WORTH: u8 = 1;

/// A run without a way.
#[derive(Debug)]
struct Stranded {
    node: NodeId,
    judged: Judged,
    pending: Pending,
}

/// What is stranded in this turn, and the memory of a call.
#[derive(Debug, Default)]
pub(super) struct Carrying {
    stranded: Vec<Stranded>,
    batch: CarryBatch,
    worths: Vec<u8>,
}

impl Node {
    /// A run has to wait, if it may: that is asked at the end of the turn.
    pub(super) fn strand(&mut self, node: NodeId, judged: Judged, pending: Pending) {
        self.carrying.stranded.push(Stranded { node, judged, pending });
    }

    /// Asks about everything that was stranded in this turn.
    pub(super) fn ask_carry(&mut self, now: Now, policies: &mut dyn Policies) {
        let mut stranded = std::mem::take(&mut self.carrying.stranded);
        while !stranded.is_empty() {
            let rest = stranded.split_off(stranded.len().min(CALL_ROWS));
            self.ask_worths(now, &stranded, policies);
            let noted = policies.noted_carry();
            for (row, stranded) in stranded.into_iter().enumerate() {
                let carried = Carried { noted, row: row as u32, worth: self.carrying.worths[row] };
                match self.clamp_worth(row, &stranded.pending) {
                    REFUSE => self.refuse(now, carried, stranded),
                    worth => self.put_aside(now, worth, carried, stranded),
                }
            }
            self.tell_clamps(now, policies);
            stranded = rest;
        }
    }

    fn ask_worths(&mut self, now: Now, stranded: &[Stranded], policies: &mut dyn Policies) {
        let mut batch = std::mem::take(&mut self.carrying.batch);
        batch.clear();
        // Nodes that the table knows nothing of have numbers for this call.
        let mut unnumbered: BTreeMap<NodeId, u32> = BTreeMap::new();
        for Stranded { node, pending, .. } in stranded {
            let head = pending.run.head();
            let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let (waiting_messages, waiting_bytes) = self.held.waiting_for(node);
            batch.push(CarryRow {
                dest: self.table.number(node).unwrap_or_else(|| {
                    let next = u32::try_from(unnumbered.len()).unwrap_or(0);
                    TOPIC_BIT - 1 - *unnumbered.entry(*node).or_insert(next)
                }),
                class: head.class,
                messages: count(pending.run.len()),
                bytes: count(pending.run.payload_len()),
                age_ms: age_ms(now, head),
                left_ms: u32::try_from(head.expiry_ms.saturating_sub(now.unix_ms)).unwrap_or(u32::MAX),
                is_own: head.flow.origin == self.id,
                is_durable: head.durable,
                waiting_messages: count(waiting_messages),
                waiting_bytes: count(waiting_bytes),
            });
        }
        policies.carry(now.unix_ms, &self.held.room(), &batch, &mut self.carrying.worths);
        assert_eq!(self.carrying.worths.len(), batch.len(), "policies answer every row");
        self.carrying.batch = batch;
    }

    fn clamp_worth(&mut self, row: usize, pending: &Pending) -> u8 {
        let head = pending.run.head();
        let is_promised = head.durable || pending.key.is_some();
        // What comes from nobody was written here, or has waited here before.
        let may_refuse = pending.from.is_some() && !is_promised && head.class != Class::Critical;
        match self.carrying.worths[row] {
            REFUSE if !may_refuse => {
                self.counters.clamped += pending.run.len() as u64;
                let row = row as u32;
                self.clamps.push(Clamp { rows: row..row + 1, applied: Overrule::Worth(LEAST_WORTH) });
                LEAST_WORTH
            }
            worth => worth,
        }
    }

    fn put_aside(&mut self, now: Now, worth: u8, carried: Carried, stranded: Stranded) {
        let Stranded { node, judged, pending } = stranded;
        self.want_way(now, node);
        self.note_carried(&pending, judged, carried, Fate::Held);
        self.settle(pending.owed);
        self.hold(node, worth, Waiting { run: pending.run, hops: pending.hops, key: pending.key });
    }

    /// Lets a run go. A way is looked for all the same: what comes next shall find one.
    fn refuse(&mut self, now: Now, carried: Carried, stranded: Stranded) {
        let Stranded { node, judged, pending } = stranded;
        self.want_way(now, node);
        self.counters.not_carried += pending.run.len() as u64;
        self.note_carried(&pending, judged, carried, Fate::NotCarried);
        self.drop_pending(pending);
    }
}
