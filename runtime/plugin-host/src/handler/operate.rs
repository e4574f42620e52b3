//! What an operator does to the slot of a handler: pause, resume, terms, logs.

use super::{Effect, HandlerSlot};
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
        self.slot.set_terms(now_ms, terms)
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
}
