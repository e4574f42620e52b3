//! Messages for this node that no application has acknowledged, and the applications that read them.
//!
//! Offsets number the messages and never repeat, also not after a crash. Durable messages stand in the
//! store as well; when memory is full they stand only there until there is room.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use mesh_proto::run::Run;

use crate::store::{Store, StoreError, Table, Write, inbox_key};

/// Payload bytes that the inbox keeps in memory (faults.md section 3: 64 MiB a recipient).
const INBOX_BYTES: usize = 64 * 1024 * 1024;
/// Messages that the inbox keeps in memory (faults.md section 3).
const INBOX_MESSAGES: usize = 100_000;

/// Offsets for each millisecond of running time, as a power of two: two million a second, and small enough
/// for a JSON number until the year 2109.
const OFFSET_BITS: u32 = 11;

/// A run in the inbox.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) first: u64,
    pub(crate) run: Arc<Run>,
    pub(crate) hops: u8,
}

impl Entry {
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(self.run.len() as u64)
    }
}

pub(crate) struct Inbox {
    entries: VecDeque<Entry>,
    messages: usize,
    bytes: usize,
    next: u64,
    /// Durable messages from this offset on stand in the store alone.
    spilled: Option<u64>,
    /// Ordinary messages that found no room.
    pub(crate) dropped: u64,
}

impl Inbox {
    /// Reads what the store kept.
    pub(crate) fn open(store: &Store, epoch: u64) -> Result<Inbox, StoreError> {
        // Above all offsets of earlier starts, of which only messages that nobody has acknowledged left a
        // trace. Starts differ by a millisecond at least.
        let next = epoch << OFFSET_BITS;
        let mut inbox =
            Inbox { entries: VecDeque::new(), messages: 0, bytes: 0, next, spilled: Some(0), dropped: 0 };
        inbox.refill(store)?;
        inbox.next = inbox.next.max(inbox.entries.back().map_or(0, Entry::end));
        Ok(inbox)
    }

    /// Gives a run its offsets.
    pub(crate) fn number(&mut self, run: Arc<Run>, hops: u8) -> Entry {
        let entry = Entry { first: self.next, run, hops };
        self.next = entry.end();
        entry
    }

    /// Returns the write that keeps an entry.
    pub(crate) fn keep(entry: &Entry) -> Write {
        Write::Put { table: Table::Inbox, key: inbox_key(entry.first), value: entry.run.to_bytes(entry.hops) }
    }

    /// Takes an entry in. Without room an ordinary one is dropped, a durable one left to the store.
    pub(crate) fn push(&mut self, entry: Entry) {
        let is_full = self.messages >= INBOX_MESSAGES || self.bytes >= INBOX_BYTES;
        if is_full || self.spilled.is_some() {
            if entry.run.head().durable {
                self.spilled.get_or_insert(entry.first);
                return;
            }
            if is_full {
                self.dropped += entry.run.len() as u64;
                return;
            }
        }
        self.messages += entry.run.len();
        self.bytes += entry.run.payload_len();
        self.entries.push_back(entry);
    }

    /// Returns the first entry that holds the offset or a later one.
    pub(crate) fn at(&self, offset: u64) -> Option<&Entry> {
        self.entries.get(self.entries.partition_point(|entry| entry.end() <= offset))
    }

    /// Forgets everything up to and including `offset`; returns the writes that forget it on disk.
    pub(crate) fn acknowledge(&mut self, offset: u64) -> Vec<Write> {
        let mut writes = Vec::new();
        while self.entries.front().is_some_and(|entry| entry.end() <= offset.saturating_add(1)) {
            let Some(entry) = self.entries.pop_front() else { break };
            self.messages -= entry.run.len();
            self.bytes -= entry.run.payload_len();
            if entry.run.head().durable {
                writes.push(Write::Delete { table: Table::Inbox, key: inbox_key(entry.first) });
            }
        }
        writes
    }

    /// Reads on what stands in the store alone, if memory has room for it.
    pub(crate) fn refill(&mut self, store: &Store) -> Result<(), StoreError> {
        let Some(from) = self.spilled.filter(|_| self.entries.is_empty()) else { return Ok(()) };
        let from_key = inbox_key(from);
        let scan = store.scan(Table::Inbox, (Bound::Included(&from_key), Bound::Unbounded), INBOX_BYTES)?;
        self.spilled = None;
        for (key, bytes) in scan.rows {
            let Some(key) = key.first_chunk::<8>() else { continue };
            match Run::from_bytes(&bytes) {
                Ok((run, hops)) => {
                    self.push(Entry { first: u64::from_be_bytes(*key), run: Arc::new(run), hops });
                }
                Err(error) => tracing::error!(%error, "a stored message is damaged and stays on disk"),
            }
        }
        if !scan.complete && self.spilled.is_none() {
            self.spilled = self.entries.back().map(Entry::end);
        }
        Ok(())
    }

    /// Returns the writes that keep what is not durable, for an orderly stop.
    pub(crate) fn keep_all(&self) -> Vec<Write> {
        self.entries.iter().filter(|entry| !entry.run.head().durable).map(Inbox::keep).collect()
    }

    pub(crate) fn totals(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // I1: a reader that resumes by offset would skip what is numbered twice.
    #[test]
    fn a_start_in_the_same_second_repeats_no_offset() {
        let (store, _events) = Store::memory();
        let first = Inbox::open(&store, 1_800_000_000_000).expect("memory can be read");

        let second = Inbox::open(&store, 1_800_000_000_001).expect("memory can be read");

        assert_eq!(second.next - first.next, 2048);
        assert!(second.next < 1 << 53, "a JSON number holds it");
    }
}
