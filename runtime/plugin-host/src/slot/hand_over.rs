//! Exchanging what decides: swap, rollback, removal, withdrawal. Each is one switch between two calls. A swap to what is
//! active already changes nothing, so that what there was before can still be brought back.

use std::time::{Duration, Instant};

use super::bound::{Bound, Checkpoint};
use super::quarantine::Quarantine;
use super::{
    Change, Guest, LogLevel, Prepared, Slot, SlotEvent, StartWith, State, SwapError, SwapReport, Toward,
    Withdrawn,
};
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
        let change = self.change(&prepared, &start_with);
        if change == Change::Nothing {
            return Ok(self.unchanged(prepared));
        }
        let begun = Instant::now();
        let (bound, mut report) = self.hand_over(prepared, now_ms, start_with, context)?;
        report.change = change;
        let old = self.active.replace(bound);
        report.pause = begun.elapsed();
        if change == Change::Restarted {
            self.engine.discard(old);
        } else {
            let keep = old.filter(|old| old.instance.is_some());
            let displaced = self.previous.replace(keep);
            self.engine.discard(displaced);
        }
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
        let change = self.change(&prepared, &start_with);
        if change == Change::Nothing {
            return Ok(self.unchanged(prepared));
        }
        let begun = Instant::now();
        let (bound, mut report) = self.hand_over(prepared, now_ms, start_with, context)?;
        report.change = change;
        report.pause = begun.elapsed();
        self.engine.discard(bound.instance);
        Ok(report)
    }

    /// Puts the first revision into the slot: there is nothing before it to go back to.
    pub(crate) fn begin(
        &mut self,
        prepared: Prepared<G>,
        now_ms: u64,
        start_with: StartWith,
        context: &G::Context,
    ) -> Result<SwapReport, SwapError> {
        let report = self.swap(prepared, now_ms, start_with, context)?;
        let displaced = self.previous.take();
        self.engine.discard(displaced);
        Ok(report)
    }

    /// Says what a swap would change. Lowered limits are set at the running plugin and are no part of a swap.
    fn change(&self, prepared: &Prepared<G>, start_with: &StartWith) -> Change {
        let Some(bound) = &self.active else { return Change::Switched };
        let (old, new) = (&bound.origin, &prepared.origin);
        let is_same = old.loaded.revision().digest == new.loaded.revision().digest
            && old.loaded.grants() == new.loaded.grants()
            && old.settings == new.settings
            && old.terms.on_failure == new.terms.on_failure;
        match start_with {
            _ if !is_same || self.quarantine.is_some() => Change::Switched,
            StartWith::Inherit | StartWith::Keep if bound.instance.is_some() && !self.paused => {
                Change::Nothing
            }
            _ => Change::Restarted,
        }
    }

    fn unchanged(&self, prepared: Prepared<G>) -> SwapReport {
        self.engine.discard(prepared.into_instance());
        SwapReport { change: Change::Nothing, ..self.report(self.revision()) }
    }

    /// Reports a switch to this revision that carries no state and takes no time.
    fn report(&self, new: Option<&Revision>) -> SwapReport {
        SwapReport {
            slot: G::KIND.slot(),
            change: Change::Switched,
            old: self.revision().cloned(),
            new: new.cloned(),
            state_bytes: 0,
            state_carried: false,
            state_restored: false,
            pause: Duration::ZERO,
            at_decision: self.stats.messages,
        }
    }

    fn hand_over(
        &mut self,
        prepared: Prepared<G>,
        now_ms: u64,
        start_with: StartWith,
        context: &G::Context,
    ) -> Result<(Bound<G>, SwapReport), SwapError> {
        let Prepared { mut instance, origin, version, configured, .. } = prepared;
        let (state, messages) = match self.state_to_carry(start_with, origin.loaded.revision())? {
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
            state_bytes: state.as_ref().map_or(0, |state| state.bytes.len()),
            state_carried: state.is_some(),
            ..self.report(Some(origin.loaded.revision()))
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
    fn state_to_carry(
        &mut self,
        start_with: StartWith,
        new: &Revision,
    ) -> Result<(Option<State>, u64), SwapError> {
        match start_with {
            StartWith::Reset => Ok((None, 0)),
            StartWith::Inherit if !self.is_of_same_plugin(new) => Ok((None, 0)),
            StartWith::From(state) => Ok((Some(state), 0)),
            StartWith::Inherit | StartWith::Keep => {
                let hot = self.hot;
                let Some(bound) = &mut self.active else { return Ok((None, 0)) };
                let state = bound.state(hot).map_err(SwapError::OldFailed)?;
                Ok(state.map_or((None, 0), |(state, messages)| (Some(state), messages)))
            }
        }
    }

    fn is_of_same_plugin(&self, revision: &Revision) -> bool {
        self.revision().is_some_and(|active| active.name == revision.name)
    }

    /// Goes back to the revision before, with the state of the active one if that is the same plugin and it takes it, else
    /// with its own. While somebody stands in for a revision in quarantine, that is what decides already, and it stays.
    pub(crate) fn rollback(&mut self, now_ms: u64, context: &G::Context) -> Result<SwapReport, SwapError> {
        if self.has_stand_in()
            && let Some(bad) = self.quarantine.take()
        {
            return Ok(self.settle(bad.into_bound(), now_ms));
        }
        let back = self.previous.take().ok_or(SwapError::NoPrevious)?;
        // What failed left without a state that could be trusted, and what has no version never had any.
        let is_kept = |bound: &Bound<G>| bound.instance.is_some() || bound.checkpoint.is_some();
        let has_own = back.as_ref().is_some_and(|bound| bound.version > 0 && is_kept(bound));
        // What an operator has gone back from is what he goes forward to.
        let toward = if self.is_previous_unwanted { Toward::Later } else { Toward::Earlier };
        self.come_back(back, has_own, toward, now_ms, context)
    }

    /// As [`Slot::rollback`], to what is not warm any more: `own` is the state that it left with, if that is known.
    pub(crate) fn bring_back(
        &mut self,
        prepared: Prepared<G>,
        own: Option<State>,
        toward: Toward,
        now_ms: u64,
        context: &G::Context,
    ) -> Result<SwapReport, SwapError> {
        let mut back = prepared.into_bound(now_ms);
        let limit = back.limit(self.hot);
        match own.map_or(Ok(false), |state| back.begin_with(limit, state)) {
            Ok(has_own) => self.come_back(Some(back), has_own, toward, now_ms, context),
            Err(fault) => {
                self.engine.discard(back);
                Err(SwapError::Failed(fault))
            }
        }
    }

    fn come_back(
        &mut self,
        mut back: Option<Bound<G>>,
        has_own: bool,
        toward: Toward,
        now_ms: u64,
        context: &G::Context,
    ) -> Result<SwapReport, SwapError> {
        let begun = Instant::now();
        let hot = self.hot;
        let is_heir = back.as_ref().is_some_and(|back| self.is_of_same_plugin(back.revision()));
        let active = self.active.as_mut().filter(|_| is_heir);
        let carried = active.and_then(|bound| bound.state(hot).ok()).flatten();
        let mut is_carried = false;
        let state_bytes = carried.as_ref().map_or(0, |(state, _)| state.bytes.len());
        if let Some(bound) = &mut back {
            let limit = bound.limit(hot);
            let taken = bound.wake(limit, now_ms, context).and_then(|()| bound.take_over(hot, carried));
            match taken.and_then(|taken| bound.resume(hot, now_ms, context).map(|()| taken)) {
                Ok(taken) => is_carried = taken,
                Err(fault) => {
                    self.engine.discard(back);
                    return Err(SwapError::Failed(fault));
                }
            }
        }
        let report = SwapReport {
            state_bytes,
            state_carried: is_carried,
            state_restored: has_own && !is_carried,
            pause: begun.elapsed(),
            ..self.report(back.as_ref().map(Bound::revision))
        };
        let old = std::mem::replace(&mut self.active, back);
        let displaced = self.previous.replace(old.filter(|old| old.instance.is_some()));
        self.engine.discard(displaced);
        self.after_switch(now_ms, With::Unknown);
        self.is_previous_unwanted = toward == Toward::Earlier;
        self.write_due(now_ms, context);
        self.stats.rollbacks += 1;
        self.log.tell(now_ms, LogLevel::Info, format!("back to {}", in_words(report.new.as_ref())));
        self.tell(SlotEvent::RolledBack(report.clone()));
        Ok(report)
    }

    /// Returns the state of what a rollback would bring back; `None` when that has none, or is not warm.
    pub(crate) fn standby_state(&mut self) -> Option<State> {
        let hot = self.hot;
        let bound = self.previous.as_mut()?.as_mut()?;
        bound.state(hot).ok()?.map(|(state, _)| state)
    }

    /// Lets what stands in for a revision in quarantine stay. The other one is kept for a rollback, as what it is made
    /// from only: nothing but an operator brings it back.
    fn settle(&mut self, bad: Bound<G>, now_ms: u64) -> SwapReport {
        let report = SwapReport {
            change: Change::Settled,
            old: Some(bad.revision().clone()),
            ..self.report(self.revision())
        };
        let displaced = self.previous.replace(Some(bad));
        self.engine.discard(displaced);
        self.probation = None;
        self.vacant = OnFailure::Fallback;
        self.count_anew();
        self.stats.rollbacks += 1;
        let (bad, stays) = (in_words(report.old.as_ref()), in_words(report.new.as_ref()));
        self.log.tell(now_ms, LogLevel::Info, format!("{stays} stays, {bad} is not tried again"));
        self.tell(SlotEvent::RolledBack(report.clone()));
        report
    }

    /// Gives the slot back to the native built-in, also one that is closed or waits for a quarantine to end; what was in
    /// it is kept for a rollback.
    pub(crate) fn remove(&mut self, now_ms: u64, context: &G::Context) -> Result<SwapReport, SwapError> {
        let begun = Instant::now();
        if !self.is_bound() {
            return Err(SwapError::NoPlugin);
        }
        let mut report = self.report(None);
        let away = self.quarantine.take().map(Quarantine::into_bound);
        // What has no instance now, as what was quarantined, gets one by a rollback only.
        if let Some(left) = self.active.take().or(away) {
            let displaced = self.previous.replace(Some(left));
            self.engine.discard(displaced);
        }
        report.pause = begun.elapsed();
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

    /// Forgets what a rollback would bring back, if it is this revision.
    pub(crate) fn forget_standby(&mut self, digest: &[u8; 32]) {
        let is_it = |back: &mut Option<Bound<G>>| {
            back.as_ref().is_some_and(|bound| bound.revision().digest == *digest)
        };
        let gone = self.previous.take_if(is_it);
        self.engine.discard(gone);
    }

    pub(super) fn after_switch(&mut self, now_ms: u64, with: With) {
        self.begin_notes(with);
        self.strikes.clear();
        self.is_previous_unwanted = false;
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
