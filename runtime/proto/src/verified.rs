//! What was found to be well signed lately, so that it is not looked at twice.
//!
//! Verification is a pure function: whoever shares a memo gets the same answers, only sooner. A node's own memo is
//! for a batch that comes in parts. One for many nodes, as a simulator has, knows whole records and runs by their
//! bytes: what all nodes are told by all their neighbours is then read, verified and stored once.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::id::NodeId;
use crate::record::Record;
use crate::run::Run;

/// A flush to many destinations comes as that many runs, one after the other.
const VERIFIED: usize = 64;
/// Signatures that a memo for many nodes remembers.
const OF_MANY: usize = 1 << 19;
/// Records that it remembers: several for each of ten thousand nodes.
const RECORDS: usize = 1 << 16;
/// Runs that it remembers, those that are under way.
const RUNS: usize = 1 << 14;

/// Signatures that were found good lately. Small, so that nodes can pass it on to each other.
#[derive(Debug, Default)]
pub struct Verified(Box<Memo>);

#[derive(Debug)]
struct Memo {
    /// The first half of each digest: finding two with the same takes 2^64 hashes.
    known: BTreeSet<u128>,
    order: VecDeque<u128>,
    capacity: usize,
    records: Whole<Record>,
    runs: Whole<Run>,
}

impl Default for Memo {
    fn default() -> Self {
        Memo {
            known: BTreeSet::new(),
            order: VecDeque::new(),
            capacity: VERIFIED,
            records: Whole::default(),
            runs: Whole::default(),
        }
    }
}

impl Verified {
    /// Makes a memo for many nodes.
    pub fn for_many() -> Verified {
        let (records, runs) = (Whole::with_capacity(RECORDS), Whole::with_capacity(RUNS));
        Verified(Box::new(Memo { capacity: OF_MANY, records, runs, ..Memo::default() }))
    }

    /// Says whether whole records and runs are remembered.
    pub(crate) fn is_for_many(&self) -> bool {
        self.0.runs.capacity > 0
    }

    pub(crate) fn digest(&self, signer: &NodeId, statement: &[u8], signature: &[u8; 64]) -> u128 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&signer.0).update(signature).update(statement);
        let digest = hasher.finalize();
        let (half, _) = digest.as_bytes().split_first_chunk().expect("a digest has 32 bytes");
        u128::from_le_bytes(*half)
    }

    /// Asks `check` unless the answer is known to be yes; a no is not remembered.
    pub(crate) fn check(&mut self, digest: u128, check: impl FnOnce() -> bool) -> bool {
        if self.0.known.contains(&digest) {
            return true;
        }
        if !check() {
            return false;
        }
        if self.0.order.len() >= self.0.capacity
            && let Some(oldest) = self.0.order.pop_front()
        {
            self.0.known.remove(&oldest);
        }
        self.0.known.insert(digest);
        self.0.order.push_back(digest);
        true
    }

    /// Returns the record of these bytes, if it was found good.
    pub(crate) fn record(&self, bytes: &[u8], signature: &[u8; 64]) -> Option<&Arc<Record>> {
        self.0.records.find(signature, 0, bytes)
    }

    /// Says whether this very record was found good.
    pub(crate) fn has_record(&self, record: &Arc<Record>, signature: &[u8; 64]) -> bool {
        let found = self.0.records.at(signature, 0);
        found.is_some_and(|known| Arc::ptr_eq(&known.value, record))
    }

    /// Remembers a good record.
    pub(crate) fn note_record(&mut self, record: &Arc<Record>, signature: &[u8; 64]) {
        if self.is_for_many() {
            let bytes = record.to_bytes().into();
            self.0.records.insert(signature, 0, Known { bytes, value: record.clone() });
        }
    }

    /// Returns the run of these bytes, if it was found good. `index` is its first place in its batch.
    pub(crate) fn run(&self, bytes: &[u8], signature: &[u8; 64], index: u16) -> Option<&Arc<Run>> {
        self.0.runs.find(signature, index, bytes)
    }

    /// Remembers a good run.
    pub(crate) fn note_run(&mut self, bytes: Bytes, signature: &[u8; 64], index: u16, run: &Arc<Run>) {
        if self.is_for_many() {
            self.0.runs.insert(signature, index, Known { bytes, value: run.clone() });
        }
    }
}

#[derive(Debug)]
struct Known<T> {
    bytes: Bytes,
    value: Arc<T>,
}

/// Signed things by their bytes. What falls into the same slot takes the other's place.
#[derive(Debug)]
struct Whole<T> {
    /// Made when something is first remembered.
    slots: Vec<Option<Known<T>>>,
    capacity: usize,
}

impl<T> Default for Whole<T> {
    fn default() -> Self {
        Whole { slots: Vec::new(), capacity: 0 }
    }
}

impl<T> Whole<T> {
    fn with_capacity(capacity: usize) -> Whole<T> {
        Whole { slots: Vec::new(), capacity }
    }

    fn slot(&self, signature: &[u8; 64], index: u16) -> usize {
        let (first, _) = signature.split_first_chunk().expect("a signature has 64 bytes");
        let key = u64::from_le_bytes(*first) ^ u64::from(index);
        (key % self.capacity.max(1) as u64) as usize
    }

    fn at(&self, signature: &[u8; 64], index: u16) -> Option<&Known<T>> {
        self.slots.get(self.slot(signature, index))?.as_ref()
    }

    fn find(&self, signature: &[u8; 64], index: u16, bytes: &[u8]) -> Option<&Arc<T>> {
        self.at(signature, index).filter(|known| known.bytes == bytes).map(|known| &known.value)
    }

    fn insert(&mut self, signature: &[u8; 64], index: u16, known: Known<T>) {
        if self.slots.is_empty() {
            self.slots.resize_with(self.capacity, || None);
        }
        let slot = self.slot(signature, index);
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = Some(known);
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::record::Facts;

    fn record(name: &str) -> Arc<Record> {
        let facts = Facts { name: name.into(), ..Facts::default() };
        Arc::new(Record::sign(&SigningKey::from_bytes(&[1; 32]), 1, facts))
    }

    #[test]
    fn a_record_is_known_by_all_its_bytes_and_gives_way_to_another() {
        let mut memo = Verified::for_many();
        memo.0.records = Whole::with_capacity(1);
        let (ada, bob) = (record("ada"), record("bob"));
        assert!(ada.is_signed_by_memo(&mut memo) && memo.has_record(&ada, ada.signature()));

        let mut bytes = ada.to_bytes();
        let known = memo.record(&bytes, ada.signature()).cloned();
        bytes[33] ^= 1;

        assert!(known.is_some_and(|known| Arc::ptr_eq(&known, &ada)));
        assert!(memo.record(&bytes, ada.signature()).is_none(), "another version under the same signature");
        assert!(bob.is_signed_by_memo(&mut memo));
        assert!(!memo.has_record(&ada, ada.signature()) && memo.has_record(&bob, bob.signature()));
    }
}
