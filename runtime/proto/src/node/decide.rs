//! The one place where policies are asked and their answers applied, for a whole turn at once.
//!
//! The host clamps after the policy, never before: a next hop must be a live neighbour, not the one the
//! message came from, and a feasible way, which is what makes loops impossible; hops are limited; nobody is
//! raised to critical.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::decided::{Fate, Judged};
use super::{Node, Pending, Then, Write};
use crate::frame::Control;
use crate::id::{NodeId, Peer};
use crate::policy::{
    ABSTAIN, CLASS_DROP, Class, DROP, HOLD, LOCAL, Links, Overrule, Policies, TOPIC_BIT, flow_number,
};
use crate::queue::Item;
use crate::run::{Dest, Head, Run};
use crate::time::Now;

/// How long a queue may stand still before what waits beyond its budget is dropped instead of holding its
/// senders back.
pub(super) const STALL: Duration = Duration::from_secs(2);

/// Rows of one call of a policy, about: enough that the call itself costs nothing, few enough for its
/// deadline of milliseconds.
pub(super) const CALL_ROWS: usize = 4096;

/// How many of the pending runs go into one call.
fn one_call(pending: &[Pending]) -> usize {
    let mut rows = 0;
    let fits = pending.iter().take_while(|pending| {
        let before = rows;
        rows += pending.run.len();
        before < CALL_ROWS
    });
    fits.count()
}

/// Returns the flow of each row of a call.
fn flows_of(pending: &[Pending]) -> Vec<u32> {
    let numbers =
        |pending: &Pending| std::iter::repeat_n(flow_number(&pending.run.head().flow), pending.run.len());
    pending.iter().flat_map(numbers).collect()
}

/// Returns the milliseconds since the origin wrote something, by its clock.
pub(super) fn age_ms(now: Now, head: &Head) -> u32 {
    u32::try_from(now.unix_ms.saturating_sub(head.sent_ms)).unwrap_or(u32::MAX)
}

impl Node {
    pub(super) fn decide(&mut self, now: Now, policies: &mut dyn Policies) {
        if self.pending.is_empty() {
            return;
        }
        self.show_view(now, policies);
        let mut waiting = std::mem::take(&mut self.pending);
        while !waiting.is_empty() {
            let rest = waiting.split_off(one_call(&waiting));
            self.ask(now, &waiting, policies);
            let noted = policies.noted();
            let mut row = 0;
            for pending in waiting {
                let rows = row..row + pending.run.len();
                row = rows.end;
                self.apply(now, pending, rows, noted);
            }
            self.tell_clamps(now, policies);
            waiting = rest;
        }
        self.ask_carry(now, policies);
    }

    /// Shows the policies the neighbours and ways, if they have changed.
    pub(super) fn show_view(&mut self, now: Now, policies: &mut dyn Policies) {
        if !std::mem::take(&mut self.view_stale) {
            return;
        }
        self.rows.clear();
        let mut links = Links::default();
        for (peer, neighbour) in self.neighbours.iter().filter(|(_, neighbour)| neighbour.is_greeted()) {
            self.rows.push(*peer);
            links.rtt_us.push(neighbour.rtt_us().unwrap_or(100_000));
            links.loss_ppm.push(0);
            let queued: usize = neighbour.queue.waiting_bytes().iter().sum();
            links.queued_bytes.push(u32::try_from(queued).unwrap_or(u32::MAX));
        }
        self.view = self.table.view(&self.rows, links);
        policies.observe(now.unix_ms, &self.view);
    }

    fn ask(&mut self, now: Now, pending: &[Pending], policies: &mut dyn Policies) {
        self.route_batch.clear();
        self.qos_batch.clear();
        for pending in pending {
            let head = pending.run.head();
            let dest = self.number_of(&head.flow.dest);
            let ingress = pending.from.and_then(|from| self.rows.binary_search(&from).ok());
            let ingress = ingress.map_or(LOCAL, |row| row as u32);
            let (age_ms, tag) = (age_ms(now, head), head.flow.dest.tag());
            for size in pending.run.payload_sizes() {
                self.route_batch.push(dest, ingress, size, head.class);
                self.qos_batch.push(head.class, size, age_ms, tag);
            }
        }
        let is_split = policies.wants_flows();
        if is_split {
            policies.flows(&flows_of(pending));
        }
        policies.route(now.unix_ms, &self.route_batch, &mut self.verdicts);
        policies.classify(now.unix_ms, &self.qos_batch, &mut self.classes);
        if is_split {
            policies.flows(&[]);
        }
        assert_eq!(self.verdicts.len(), self.route_batch.len(), "policies answer every row");
        assert_eq!(self.classes.len(), self.qos_batch.len(), "policies answer every row");
    }

    /// Returns the number that policies know a destination by.
    pub(super) fn number_of(&self, dest: &Dest) -> u32 {
        match dest {
            Dest::Node(node) => self.table.number(node).unwrap_or(TOPIC_BIT - 1),
            Dest::Topic(_) | Dest::Mesh => dest.tag() | TOPIC_BIT,
        }
    }

    /// Applies the answers to one run: cut where they change, which they seldom do.
    fn apply(&mut self, now: Now, pending: Pending, rows: Range<usize>, noted: Option<[u64; 2]>) {
        let mut start = rows.start;
        while start < rows.end {
            let answer = (self.verdicts[start], self.classes[start]);
            let same =
                (start..rows.end).take_while(|&r| (self.verdicts[r], self.classes[r]) == answer).count();
            let part = start - rows.start..start - rows.start + same;
            let judged = Judged { noted, row: start as u32, verdict: answer.0, class: answer.1 };
            start += same;
            let whole = part.len() == pending.run.len();
            let run = if whole { pending.run.clone() } else { Arc::new(pending.run.part(part)) };
            // What the sender is owed goes with the last part; a stored copy is of the whole and goes first.
            let owed = if start == rows.end { pending.owed } else { None };
            let key = if whole { pending.key } else { None };
            self.apply_part(now, Pending { run, owed, key, ..pending }, judged);
        }
        if let (true, Some(_)) = (self.is_cut(&rows), pending.key) {
            self.delete_held(pending.key, &pending.run);
        }
    }

    fn is_cut(&self, rows: &Range<usize>) -> bool {
        let first = (self.verdicts[rows.start], self.classes[rows.start]);
        rows.clone().any(|row| (self.verdicts[row], self.classes[row]) != first)
    }

    fn apply_part(&mut self, now: Now, pending: Pending, judged: Judged) {
        let head = *pending.run.head();
        let class = self.clamp_class(&pending.run, judged);
        let (Some(class), false) = (class, judged.verdict == DROP) else {
            self.counters.dropped_by_policy += pending.run.len() as u64;
            self.note(&pending, judged, Fate::Refused, &[]);
            self.drop_pending(pending);
            return;
        };
        if pending.hops >= head.hop_limit {
            // At its limit a broadcast has simply arrived; anything else is lost.
            if matches!(head.flow.dest, Dest::Node(_)) {
                self.counters.dropped_hop_limit += pending.run.len() as u64;
            }
            self.note(&pending, judged, Fate::HopLimit, &[]);
            self.drop_pending(pending);
            return;
        }
        match head.flow.dest {
            Dest::Node(node) => self.forward(now, node, class, judged, pending),
            Dest::Topic(_) | Dest::Mesh => self.broadcast(now, class, judged, pending),
        }
    }

    fn clamp_class(&mut self, run: &Run, judged: Judged) -> Option<Class> {
        let asked = run.head().class;
        if judged.class == CLASS_DROP {
            return None;
        }
        let class = Class::from_u8(judged.class);
        let is_raised = class == Some(Class::Critical) && asked != Class::Critical;
        if let (Some(class), false) = (class, is_raised) {
            return Some(class);
        }
        self.counters.clamped += 1;
        self.overrule(judged, run.len(), Overrule::Class(asked as u8));
        Some(asked)
    }

    pub(super) fn drop_pending(&mut self, pending: Pending) {
        self.load.dropped[pending.run.head().class as usize] += pending.run.len() as u64;
        self.settle(pending.owed);
        self.delete_held(pending.key, &pending.run);
    }

    fn forward(&mut self, now: Now, node: NodeId, class: Class, judged: Judged, mut pending: Pending) {
        if pending.run.head().durable && pending.key.is_none() {
            pending.key = Some(self.store(node, &pending.run, pending.hops));
            self.then.extend(pending.owed.take().map(Then::Acknowledge));
        }
        let Some(via) = self.next_hop(&node, judged, &pending) else {
            self.strand(node, judged, pending);
            return;
        };
        if pending.from.is_none() {
            self.table.want(now.instant, node);
        }
        let neighbour = self.neighbours.get_mut(&via).expect("a next hop is a live neighbour");
        let has_room = neighbour.queue.has_room(class);
        let stalled = now.instant.since(neighbour.moved) > STALL && !neighbour.queue.is_empty();
        if !has_room && stalled && pending.key.is_none() && pending.from.is_some() {
            self.counters.dropped_full += pending.run.len() as u64;
            self.note(&pending, judged, Fate::Stalled, &[]);
            self.drop_pending(pending);
            return;
        }
        // With room the sender's window opens at once; without, it opens when this has gone out.
        let owed = if has_room { None } else { pending.owed.take() };
        let hops = pending.hops + 1;
        self.note(&pending, judged, Fate::Sent(class), &[via]);
        let neighbour = self.neighbours.get_mut(&via).expect("it was found above");
        neighbour.push(class, Item { run: pending.run, hops, key: pending.key, owed });
        self.settle(pending.owed);
    }

    /// The neighbour that the policy named, if it may be used; else the host's own choice.
    fn next_hop(&mut self, node: &NodeId, judged: Judged, pending: &Pending) -> Option<Peer> {
        let verdict = judged.verdict;
        if verdict == HOLD {
            return None;
        }
        let named = self.rows.get(verdict as usize).copied();
        let allowed = named.filter(|via| {
            Some(*via) != pending.from && self.neighbours.contains_key(via) && self.table.may_use(node, *via)
        });
        let found = allowed.or_else(|| {
            self.table.next_hop(node, pending.from).filter(|via| self.neighbours.contains_key(via))
        });
        if allowed.is_none() && verdict != ABSTAIN {
            self.counters.clamped += pending.run.len() as u64;
            let row = found.and_then(|via| self.rows.binary_search(&via).ok());
            self.overrule(judged, pending.run.len(), Overrule::NextHop(row.map_or(HOLD, |row| row as u32)));
        }
        found
    }

    fn store(&mut self, dest: NodeId, run: &Run, hops: u8) -> crate::queue::HeldKey {
        let key = self.held.new_key();
        self.writes.push(Write::PutHeld { key, dest, bytes: run.to_bytes(hops) });
        key
    }

    fn broadcast(&mut self, now: Now, class: Class, judged: Judged, pending: Pending) {
        self.settle(pending.owed);
        let hops = pending.hops + 1;
        let greeted = self.neighbours.iter().filter(|(_, neighbour)| neighbour.is_greeted());
        let peers: Vec<Peer> = greeted.map(|(peer, _)| *peer).collect();
        if let Some(from) = pending.from
            && let Some(topic) = self.trees.reopen(from, &pending.run)
        {
            self.say(from, &Control::Graft { topic, once: false, offers: Vec::new() });
        }
        let mut to = self.trees.on_fresh(now.instant, pending.from, &pending.run, hops, peers);
        to.retain(|peer| self.push_broadcast(now, *peer, class, pending.run.clone(), hops));
        self.note(&pending, judged, Fate::Sent(class), &to);
    }

    /// Says whether the run waits for the neighbour now. One that has no room is offered it instead: it can ask when
    /// it has caught up.
    pub(super) fn push_broadcast(
        &mut self,
        now: Now,
        peer: Peer,
        class: Class,
        run: Arc<Run>,
        hops: u8,
    ) -> bool {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return false };
        let has_room = neighbour.queue.has_room(class);
        if has_room {
            neighbour.push(class, Item { run, hops, key: None, owed: None });
        } else {
            self.load.dropped[class as usize] += run.len() as u64;
            self.trees.offer(now.instant, peer, &run, hops);
        }
        has_room
    }
}
