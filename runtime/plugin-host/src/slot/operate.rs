//! What an operator does to a slot beside exchanging its revision: pause, resume, limits, and reading its log.

use std::time::Duration;

use super::bound::hold_to;
use super::{Guest, LogLevel, LogLine, Slot, SlotEvent};
use crate::fault::Fault;
use crate::terms::{BadLimit, OnFailure, Terms};

/// Why a slot does not do what its operator asks. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    /// The native built-in decides.
    #[error("no plugin is in the slot")]
    NoPlugin,
    /// It is paused.
    #[error("the slot is paused already")]
    Paused,
    /// It is neither paused nor quarantined.
    #[error("the slot is neither paused nor is a plugin of it in quarantine")]
    NothingToResume,
    /// A limit is not taken.
    #[error(transparent)]
    Limit(#[from] BadLimit),
    /// The plugin failed.
    #[error("the plugin failed: {0}")]
    Failed(Fault),
}

impl OperateError {
    /// Returns the stable code that `meshctl explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            OperateError::NoPlugin => "MESH-P190",
            OperateError::Paused | OperateError::NothingToResume => "MESH-P191",
            OperateError::Limit(_) => "MESH-P192",
            OperateError::Failed(_) => "MESH-P112",
        }
    }
}

impl<G: Guest> Slot<G> {
    /// Lets the native built-in answer, and keeps the revision with its state.
    pub(crate) fn pause(&mut self, now_ms: u64) -> Result<(), OperateError> {
        match &self.active {
            _ if self.paused => Err(OperateError::Paused),
            None => Err(OperateError::NoPlugin),
            Some(bound) => {
                let text = format!("{} is paused", bound.revision());
                self.paused = true;
                self.log.tell(now_ms, LogLevel::Info, text);
                Ok(())
            }
        }
    }

    /// Ends a pause, or else a quarantine.
    pub(crate) fn resume(&mut self, now_ms: u64, context: &G::Context) -> Result<(), OperateError> {
        if !self.paused {
            return self.readmit(now_ms, context, false);
        }
        self.paused = false;
        let Some(bound) = &self.active else { return Ok(()) };
        let revision = bound.revision().clone();
        self.log.tell(now_ms, LogLevel::Info, format!("{revision} goes on"));
        self.tell(SlotEvent::Resumed { slot: G::KIND.slot(), revision, automatic: false });
        // It has missed what happened meanwhile.
        self.update(now_ms, context);
        Ok(())
    }

    /// Changes how the active revision is run, at once and without a switch.
    pub(crate) fn set_terms(
        &mut self,
        now_ms: u64,
        terms: Terms,
        context: &G::Context,
    ) -> Result<(), OperateError> {
        terms.lowered.check(G::KIND)?;
        let Some(bound) = &mut self.active else { return Err(OperateError::NoPlugin) };
        if let Some(instance) = &mut bound.instance {
            let used = instance.host().memory();
            hold_to(instance, &terms).map_err(|_| BadLimit::InUse { used })?;
        }
        bound.origin.terms = terms;
        let text = format!("{} is run on other terms: {}", bound.revision(), in_words(terms));
        self.log.tell(now_ms, LogLevel::Info, text);
        // What is decided from here on is decided within other limits, in a replay too.
        self.anchor(now_ms, context);
        Ok(())
    }

    /// Leaves the slot without a plugin to somebody else than the native built-in: its plugin cannot be started, and
    /// its operator wants no fallback.
    pub(crate) fn leave_vacant(&mut self, mode: OnFailure) {
        self.vacant = mode;
    }

    /// Tells the operator what the host has done in the slot's plugin's place.
    pub(crate) fn warn(&mut self, now_ms: u64, text: String) {
        self.log.tell(now_ms, LogLevel::Warn, text);
    }

    /// Returns the log's lines after this number, oldest first.
    pub(crate) fn log_after(&self, number: u64) -> Vec<LogLine> {
        self.log.after(number)
    }
}

fn in_words(terms: Terms) -> String {
    let mut text = terms.on_failure.to_string();
    let ms = |time: Duration| format!(", {} ms a call", time.as_millis());
    text.extend(terms.lowered.deadline.map(ms));
    text.extend(terms.lowered.memory.map(|bytes| format!(", {bytes} bytes of memory")));
    text.extend(terms.lowered.log_lines.map(|lines| format!(", {lines} log lines a second")));
    text
}
