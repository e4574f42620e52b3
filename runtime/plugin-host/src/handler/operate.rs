//! What an operator does to the slot of a handler: pause, resume, terms, logs, its journal.

use super::{Effect, HandlerSlot};
use crate::journal::{Extent, Page};
use crate::slot::{LogLine, OperateError};
use crate::terms::Terms;

impl HandlerSlot {
    /// Keeps the handler with its state, and asks it nothing.
    ///
    /// # Errors
    /// When there is no handler, or it is paused already.
    pub fn pause(&mut self, now_ms: u64) -> Result<(), OperateError> {
        self.slot.pause(now_ms)
    }

    /// Ends a pause, or else a quarantine. The effects of a handler that is back from quarantine replace all
    /// subscriptions and timers.
    ///
    /// # Errors
    /// When there is nothing to end, or the handler does not start.
    pub fn resume(&mut self, now_ms: u64) -> Result<Option<Vec<Effect>>, OperateError> {
        self.slot.resume(now_ms, &())?;
        Ok(self.slot.take_configured())
    }

    /// Changes how the active handler is run, at once and without a switch.
    ///
    /// # Errors
    /// As for [`PolicySet::set_terms`](crate::PolicySet::set_terms).
    pub fn set_terms(&mut self, now_ms: u64, terms: Terms) -> Result<(), OperateError> {
        self.slot.set_terms(now_ms, terms, &())
    }

    /// Says whether a handler in quarantine will be tried again.
    pub fn has_retry(&self) -> bool {
        self.slot.has_retry()
    }

    /// Does what time brings: tries a quarantined handler again; its effects replace all subscriptions and timers.
    pub fn look(&mut self, now_ms: u64) -> Option<Vec<Effect>> {
        self.slot.look(now_ms, &());
        self.slot.take_configured()
    }

    /// Returns the lines of the slot's log after this number, oldest first.
    pub fn log_after(&self, number: u64) -> Vec<LogLine> {
        self.slot.log_after(number)
    }

    /// Keeps a journal of so many bytes from now on, with all payloads; see
    /// [`JOURNAL_BYTES`](crate::limits::JOURNAL_BYTES). Call it before the first handler is bound, so that the journal
    /// knows what it began with.
    pub fn keep_journal(&mut self, bytes: usize, now_ms: u64) {
        self.slot.keep_journal(bytes, now_ms, &());
    }

    /// Writes the handler's state and store into the journal, so that a replay can begin here. What is read from the
    /// returned number on begins with that. A handler that fails to save is struck: [`HandlerSlot::look`] then has the
    /// effects of the next one.
    pub fn anchor_journal(&mut self, now_ms: u64) -> Option<u64> {
        let from = self.slot.journal()?.end();
        self.slot.anchor(now_ms, &());
        Some(from)
    }

    /// Returns a part of the journal: what stands from this number on, in about so many bytes; `None` without a
    /// journal.
    pub fn journal_page(&self, from: u64, bytes: usize) -> Option<Page> {
        Some(self.slot.journal()?.page(from, bytes))
    }

    /// Returns how full the journal is.
    pub fn journal_extent(&self) -> Option<Extent> {
        Some(self.slot.journal()?.extent())
    }
}
