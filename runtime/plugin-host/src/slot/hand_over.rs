//! Exchanging what decides: swap, rollback, removal, withdrawal. Each is one switch between two calls.

use std::time::{Duration, Instant};

use super::bound::{Bound, Checkpoint};
use super::{Guest, LogLevel, Prepared, Slot, SlotEvent, StartWith, State, SwapError, SwapReport, Withdrawn};
use crate::journal::With;
use crate::load::Revision;
use crate::terms::OnFailure;

impl<G: Guest> Slot<G> {
    /// Hands over to `prepared`. Any failure leaves everything as it was.
    pub(crate) fn swap(
        &mut self,
        prepared: Prepared<G>,
        now_ms: u64,
        start_with: StartWith,
        context: &G::Context,
    ) -> Result<SwapReport, SwapError> {
        let begun = Instant::now();
        let (bound, mut report) = self.hand_over(prepared, now_ms, start_with, context)?;
        let old = self.active.replace(bound);
        report.pause = begun.elapsed();
        let keep = old.filter(|old| old.instance.is_some());
        let displaced = self.previous.replace(keep);
        self.engine.discard(displaced);
        self.after_switch(now_ms, With::State);
        self.write_due(now_ms, context);
        self.stats.swaps += 1;
        self.log.tell(
            now_ms,
            LogLevel::Info,
            format!("{} instead of {}", in_words(report.new.as_ref()), in_words(report.old.as_ref())),
        );
        self.tell(SlotEvent::Swapped(report.clone()));
        Ok(report)
    }

    /// Does everything that [`Slot::swap`] does but the switch.
    pub(crate) fn rehearse_swap(
        &mut self,
        prepared: Prepared<G>,
        now_ms: u64,
        start_with: StartWith,
        context: &G::Context,
    ) -> Result<SwapReport, SwapError> {
        let begun = Instant::now();
        let (bound, mut report) = self.hand_over(prepared, now_ms, start_with, context)?;
        report.pause = begun.elapsed();
        self.engine.discard(bound.instance);
        Ok(report)
    }

    fn hand_over(
        &mut self,
        prepared: Prepared<G>,
        now_ms: u64,
        start_with: StartWith,
        context: &G::Context,
    ) -> Result<(Bound<G>, SwapReport), SwapError> {
        let Prepared { mut instance, origin, version, configured, .. } = prepared;
        let (state, messages) = match self.state_to_carry(start_with)? {
            // A plugin without state leaves nothing that its successor could refuse.
            (Some(state), _) if state.version == 0 && state.bytes.is_empty() => (None, 0),
            carried => carried,
        };
        let loaded = state.as_ref().map_or(Ok(()), |state| instance.load(self.hot, state));
        let resumed = loaded
            .map_err(SwapError::from)
            .and_then(|()| instance.resume(self.hot, now_ms, context).map_err(SwapError::Failed));
        if let Err(error) = resumed {
            self.engine.discard(instance);
            return Err(error);
        }
        let report = SwapReport {
            slot: G::KIND.slot(),
            old: self.revision().cloned(),
            new: Some(origin.loaded.revision().clone()),
            state_bytes: state.as_ref().map_or(0, |state| state.bytes.len()),
            state_carried: state.is_some(),
            pause: Duration::ZERO,
            at_decision: self.stats.messages,
        };
        // The first checkpoint is what the new one was given, read back in its own layout at the first answer.
        let checkpoint = state.map(|state| Checkpoint { state, messages });
        let bound = Bound {
            instance: Some(instance),
            origin,
            version,
            checkpoint,
            state_messages: messages,
            next_checkpoint_ms: now_ms,
            configured,
        };
        Ok((bound, report))
    }

    /// Returns the state for a successor, and how many decisions it knows of.
    fn state_to_carry(&mut self, start_with: StartWith) -> Result<(Option<State>, u64), SwapError> {
        match start_with {
            StartWith::Reset => Ok((None, 0)),
            StartWith::From(state) => Ok((Some(state), 0)),
            StartWith::Keep => {
                let hot = self.hot;
                let Some(bound) = &mut self.active else { return Ok((None, 0)) };
                let state = bound.state(hot).map_err(SwapError::OldFailed)?;
                Ok(state.map_or((None, 0), |(state, messages)| (Some(state), messages)))
            }
        }
    }

    /// Goes back to the revision before, with the state of the active one if it takes it, else with its own.
    pub(crate) fn rollback(&mut self, now_ms: u64, context: &G::Context) -> Result<SwapReport, SwapError> {
        let begun = Instant::now();
        let hot = self.hot;
        let Some(mut back) = self.previous.take() else { return Err(SwapError::NoPrevious) };
        let carried = self.active.as_mut().and_then(|bound| bound.state(hot).ok()).flatten();
        let mut is_carried = false;
        let state_bytes = carried.as_ref().map_or(0, |(state, _)| state.bytes.len());
        if let Some(bound) = &mut back {
            let taken = bound.take_over(hot, carried);
            match taken.and_then(|taken| bound.resume(hot, now_ms, context).map(|()| taken)) {
                Ok(taken) => is_carried = taken,
                Err(fault) => {
                    self.engine.discard(back);
                    return Err(SwapError::Failed(fault));
                }
            }
        }
        let report = SwapReport {
            slot: G::KIND.slot(),
            old: self.revision().cloned(),
            new: back.as_ref().map(|bound| bound.origin.loaded.revision().clone()),
            state_bytes,
            state_carried: is_carried,
            pause: begun.elapsed(),
            at_decision: self.stats.messages,
        };
        let old = std::mem::replace(&mut self.active, back);
        self.previous = Some(old.filter(|old| old.instance.is_some()));
        self.after_switch(now_ms, With::Unknown);
        self.write_due(now_ms, context);
        self.stats.rollbacks += 1;
        self.log.tell(now_ms, LogLevel::Info, format!("back to {}", in_words(report.new.as_ref())));
        self.tell(SlotEvent::RolledBack(report.clone()));
        Ok(report)
    }

    /// Gives the slot back to the native built-in, also one that is closed or waits for a quarantine to end; the
    /// revision stays warm for a rollback.
    pub(crate) fn remove(&mut self, now_ms: u64, context: &G::Context) -> Result<SwapReport, SwapError> {
        let begun = Instant::now();
        let old = self.active.take();
        if old.is_none() && self.vacant == OnFailure::Fallback && self.quarantine.is_none() {
            return Err(SwapError::NoPrevious);
        }
        let report = SwapReport {
            slot: G::KIND.slot(),
            old: old.as_ref().map(|old| old.revision().clone()),
            new: None,
            state_bytes: 0,
            state_carried: false,
            pause: begun.elapsed(),
            at_decision: self.stats.messages,
        };
        if old.is_some() {
            let displaced = self.previous.replace(old.filter(|old| old.instance.is_some()));
            self.engine.discard(displaced);
        }
        self.after_switch(now_ms, With::Nothing);
        self.write_due(now_ms, context);
        self.stats.swaps += 1;
        let old = report.old.as_ref().map_or_else(|| "nobody".to_owned(), Revision::to_string);
        self.log.tell(now_ms, LogLevel::Info, format!("{} instead of {old}", in_words(None)));
        self.tell(SlotEvent::Swapped(report.clone()));
        Ok(report)
    }

    /// Takes out what must not decide any more: nothing of it can come back by a rollback. What decided before
    /// goes on where the active one is taken out, with the state it left with, or else the native built-in; but a
    /// slot that is closed without its plugin, unless an operator says otherwise, stays closed.
    pub(crate) fn withdraw(
        &mut self,
        is_withdrawn: &dyn Fn(&Revision) -> bool,
        now_ms: u64,
        context: &G::Context,
    ) -> Option<Withdrawn> {
        let goes = |bound: &Bound<G>| is_withdrawn(bound.revision());
        let was_quarantined = self.quarantine.take_if(|bad| is_withdrawn(bad.revision())).is_some();
        if was_quarantined && self.active.is_none() && !G::KIND.is_guard() {
            self.vacant = OnFailure::Fallback;
            self.count_anew();
        }
        if self.previous.as_ref().and_then(Option::as_ref).is_some_and(goes) {
            let gone = self.previous.take();
            self.engine.discard(gone);
        }
        let bad = self.active.take_if(|bound| goes(bound))?;
        let hot = self.hot;
        let back = self.previous.take().flatten();
        self.active = back.and_then(|mut bound| bound.resume(hot, now_ms, context).ok().map(|()| bound));
        self.after_switch(now_ms, With::Unknown);
        self.write_due(now_ms, context);
        if self.active.is_none() && G::KIND.is_guard() {
            self.vacant = bad.origin.terms.on_failure;
        }
        let revision = bad.revision().clone();
        let successor = self.revision().cloned();
        tracing::error!(slot = G::KIND.slot(), plugin = %revision, "plugin withdrawn");
        self.log.tell(now_ms, LogLevel::Error, format!("{revision} was withdrawn: its signer is revoked"));
        self.engine.discard(bad.instance);
        Some(Withdrawn { slot: G::KIND.slot(), revision, successor })
    }

    pub(super) fn after_switch(&mut self, now_ms: u64, with: With) {
        self.begin_notes(with);
        self.strikes.clear();
        self.quarantine = None;
        self.probation = None;
        self.paused = false;
        self.vacant = OnFailure::Fallback;
        self.since_ms = now_ms;
        self.count_anew();
        self.configured =
            Some(self.active.as_ref().map(|bound| bound.configured.clone()).unwrap_or_default());
    }
}

fn in_words(revision: Option<&Revision>) -> String {
    revision.map_or_else(|| "the native built-in".to_owned(), Revision::to_string)
}
