//! What the driver writes down: batches on their way to the store, and what waits until they are on disk.

use std::ops::Bound;

use mesh_proto::NodeId;
use mesh_proto::node::{Input, Write as CoreWrite};
use mesh_proto::queue::HeldKey;

use super::Driver;
use super::inbox::{Entry, Inbox};
use crate::api::EventKind;
use crate::fail_point::fail_point_of;
use crate::store::{StoreEvent, SubmitError, Table, Write, held_key, held_of};

/// Bytes of stored messages that are given back to the core at a time.
const RECALL_BYTES: usize = 4 * 1024 * 1024;

/// What waits until a store ticket is on disk.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) core_ticket: Option<u64>,
    pub(super) inbox: Vec<Entry>,
    pub(super) recalls: Vec<(NodeId, HeldKey)>,
    pub(super) then: Vec<Box<dyn FnOnce() + Send>>,
}

impl Driver {
    pub(super) fn persist(&mut self, core_ticket: Option<u64>, writes: Vec<CoreWrite>) {
        let mut batch = Batch { core_ticket, ..Batch::default() };
        let mut out = std::mem::take(&mut self.writes);
        for write in writes {
            match write {
                CoreWrite::PutHeld { key, dest, bytes } => {
                    let key = held_key(&dest, key.0 >> 20, key.0);
                    out.push(Write::Put { table: Table::Held, key, value: bytes });
                }
                CoreWrite::DeleteHeld { key, dest } => {
                    out.push(Write::Delete { table: Table::Held, key: held_key(&dest, key.0 >> 20, key.0) });
                }
                CoreWrite::PutSeen { flow, window } => {
                    out.push(Write::Put { table: Table::Seen, key: flow.to_vec(), value: window.into() });
                }
                CoreWrite::DeleteSeen { flow } => {
                    out.push(Write::Delete { table: Table::Seen, key: flow.to_vec() });
                }
                CoreWrite::PutRecord { node, bytes } => {
                    self.names_stale = true;
                    out.push(Write::Put { table: Table::Peers, key: node.0.to_vec(), value: bytes.into() });
                }
                CoreWrite::DropRecord { node } => {
                    self.on_forgotten(&node);
                    out.push(Write::Delete { table: Table::Peers, key: node.0.to_vec() });
                }
                CoreWrite::Inbox { run, hops } => {
                    let entry = self.parts.inbox.number(run, hops);
                    out.push(Inbox::keep(&entry));
                    batch.inbox.push(entry);
                }
            }
        }
        batch.then = std::mem::take(&mut self.then);
        self.queue(out, batch);
    }

    /// Gives the core messages back that it had no room for.
    fn recall(&mut self, dest: NodeId, from: HeldKey) {
        let [_, last] = held_of(&dest);
        let first = held_key(&dest, from.0 >> 20, from.0);
        let range = (Bound::Included(first.as_slice()), Bound::Included(last.as_slice()));
        let scan = match self.parts.store.scan(Table::Held, range, RECALL_BYTES) {
            Ok(scan) => scan,
            Err(error) => {
                tracing::error!(%error, "stored messages cannot be read");
                self.inputs.push(Input::Spilled { dest, from });
                return;
            }
        };
        let mut last = from;
        for (key, bytes) in scan.rows {
            let Some(number) = key.last_chunk::<8>() else { continue };
            last = HeldKey(u64::from_be_bytes(*number));
            self.inputs.push(Input::RestoreHeld { key: last, bytes });
        }
        if !scan.complete {
            self.inputs.push(Input::Spilled { dest, from: HeldKey(last.0.saturating_add(1)) });
        }
    }

    /// Submits what the driver itself wants to keep.
    pub(super) fn submit(&mut self) {
        if !self.writes.is_empty() || !self.then.is_empty() {
            let writes = std::mem::take(&mut self.writes);
            let then = std::mem::take(&mut self.then);
            self.queue(writes, Batch { then, ..Batch::default() });
        }
    }

    pub(super) fn queue(&mut self, writes: Vec<Write>, batch: Batch) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.submitted.push_back((ticket, batch));
        self.unsubmitted.push_back((ticket, writes));
        self.submit_waiting();
    }

    fn submit_waiting(&mut self) {
        while let Some((ticket, writes)) = self.unsubmitted.pop_front() {
            fail_point_of(&writes, "binding-submitted");
            match self.parts.store.submit(ticket, writes) {
                Ok(()) => {}
                Err(SubmitError::Full { batch }) => {
                    self.unsubmitted.push_front((ticket, batch));
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "the store took nothing");
                    self.degraded = Some(error.to_string());
                }
            }
        }
    }

    pub(super) fn on_store(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Persisted { ticket } => {
                while self.submitted.front().is_some_and(|(first, _)| *first <= ticket) {
                    let Some((_, batch)) = self.submitted.pop_front() else { break };
                    self.inputs.extend(batch.core_ticket.map(|ticket| Input::Persisted { ticket }));
                    for entry in batch.inbox {
                        self.parts.inbox.push(entry);
                    }
                    batch.recalls.into_iter().for_each(|(dest, from)| self.recall(dest, from));
                    batch.then.into_iter().for_each(|then| then());
                }
                self.submit_waiting();
            }
            StoreEvent::Degraded { error } | StoreEvent::Failed { error, .. } => {
                tracing::error!(%error, "the store refuses writes");
                self.degraded = Some(error.to_string());
                self.tell(EventKind::StoreDegraded { reason: error.to_string() });
            }
            StoreEvent::Recovered => {
                self.degraded = None;
                self.tell(EventKind::StoreRecovered);
            }
        }
    }
}
