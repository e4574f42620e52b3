//! What an operator does to the policy slots: pause, resume, terms, logs.

use super::{PolicySet, PolicySlot};
use crate::slot::{LogLine, OperateError};
use crate::terms::{OnFailure, Terms};

impl PolicySet {
    /// Lets the native built-in answer, and keeps the plugin with its state. Ends a trial.
    ///
    /// # Errors
    /// When there is no plugin, or it is paused already.
    pub fn pause(&mut self, slot: PolicySlot, now_ms: u64) -> Result<(), OperateError> {
        with!(self, slot, |slot, _context| slot.pause(now_ms))?;
        self.trials.pause(slot);
        Ok(())
    }

    /// Ends a pause, or else a quarantine; the latter without the state that the plugin failed with.
    ///
    /// # Errors
    /// When there is nothing to end, or the plugin does not start.
    pub fn resume(&mut self, slot: PolicySlot, now_ms: u64) -> Result<(), OperateError> {
        with!(self, slot, |slot, context| slot.resume(now_ms, context))
    }

    /// Changes how the active plugin is run, at once and without a switch.
    ///
    /// # Errors
    /// When there is no plugin, a limit is above the host's own, or the plugin has more memory already.
    pub fn set_terms(&mut self, slot: PolicySlot, now_ms: u64, terms: Terms) -> Result<(), OperateError> {
        with!(self, slot, |slot, context| slot.set_terms(now_ms, terms, context))
    }

    /// Leaves a slot whose plugin cannot be started to whom its operator wants.
    pub fn leave_vacant(&mut self, slot: PolicySlot, mode: OnFailure) {
        with!(self, slot, |slot, _context| slot.leave_vacant(mode))
    }

    /// Does what time brings: tries quarantined plugins again. To be called about once a second.
    pub fn look(&mut self, now_ms: u64) {
        for slot in PolicySlot::ALL {
            with!(self, slot, |slot, context| slot.look(now_ms, context));
        }
    }

    /// Returns the lines of a slot's log after this number, oldest first.
    pub fn log_after(&mut self, slot: PolicySlot, number: u64) -> Vec<LogLine> {
        with!(self, slot, |slot, _context| slot.log_after(number))
    }
}
