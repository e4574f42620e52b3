//! The journals of all slots: kept on demand, read by whoever explains decisions.

use mesh_proto::policy::{QosBatch, RouteBatch};

use super::{PolicySet, PolicySlot};
use crate::journal::{Binding, Entry, Extent, Journal, Page, Tried};

impl PolicySet {
    /// Keeps a journal of every slot from now on, of so many bytes each; see
    /// [`JOURNAL_BYTES`](crate::limits::JOURNAL_BYTES). Call it before the first plugin is bound, so that the
    /// journal knows what each began with.
    pub fn keep_journal(&mut self, bytes: usize, now_ms: u64) {
        for slot in PolicySlot::ALL {
            with!(self, slot, |slot, context| slot.keep_journal(bytes, now_ms, context));
        }
    }

    /// Writes the state of a slot's plugin into its journal, so that a replay can begin here, and shows it the
    /// neighbours and ways again. What is read from the returned number on begins with that.
    pub fn anchor_journal(&mut self, slot: PolicySlot, now_ms: u64) -> Option<u64> {
        let from = self.journal(slot)?.end();
        with!(self, slot, |slot, context| slot.anchor(now_ms, context));
        Some(from)
    }

    /// Returns a part of a slot's journal: what stands from this number on, in about so many bytes; `None`
    /// without a journal.
    pub fn journal_page(&self, slot: PolicySlot, from: u64, bytes: usize) -> Option<Page> {
        Some(self.journal(slot)?.page(from, bytes))
    }

    /// Returns one entry of a slot's journal with what decided in it; `None` when it has given way.
    pub fn journal_entry(&self, slot: PolicySlot, number: u64) -> Option<(Entry, &Binding)> {
        self.journal(slot)?.entry(number)
    }

    /// Returns what a canary decided for rows of the call in this entry, in place of what the entry says.
    pub fn journal_tried(&self, slot: PolicySlot, number: u64) -> Option<Tried> {
        self.journal(slot)?.tried_in(number)
    }

    /// Returns how full a slot's journal is.
    pub fn journal_extent(&self, slot: PolicySlot) -> Option<Extent> {
        Some(self.journal(slot)?.extent())
    }

    fn journal(&self, slot: PolicySlot) -> Option<&Journal> {
        of!(self, slot, |slot| slot.journal())
    }

    #[inline]
    pub(super) fn note_routed(&mut self, now_ms: u64, batch: &RouteBatch, verdicts: &[u32]) {
        self.routing.note(now_ms, &self.view, |journal, told| journal.routed(now_ms, told, batch, verdicts));
    }

    #[inline]
    pub(super) fn note_classified(&mut self, now_ms: u64, batch: &QosBatch, classes: &[u8]) {
        self.qos.note(now_ms, &(), |journal, told| journal.classified(now_ms, told, batch, classes));
    }
}
