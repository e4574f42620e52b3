//! What failed too often: it leaves, and comes back after a while, each time after a longer one, or when an operator
//! says so.
//!
//! Nothing here reads a clock: who owns the slot calls [`Slot::look`] now and then.

use super::bound::Bound;
use super::prepared::Origin;
use super::{Guest, LogLevel, OperateError, Prepared, Slot, SlotEvent};
use crate::journal::With;
use crate::limits;
use crate::load::Revision;
use crate::terms::OnFailure;

/// A revision that is not asked any more.
pub(super) struct Quarantine<G: Guest> {
    bound: Bound<G>,
    /// Quarantines in a row, this one included.
    pub(super) round: u32,
    /// When it is tried again; `None` waits for an operator.
    pub(super) retry_at_ms: Option<u64>,
}

/// What is left of a quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// Quarantines in a row, this one included.
    pub round: u32,
    /// When the revision is tried again, by the caller's clock; `None` waits for an operator.
    pub retry_at_ms: Option<u64>,
}

/// A revision that is back from a quarantine.
pub(super) struct Probation {
    digest: [u8; 32],
    round: u32,
    until_ms: u64,
}

impl<G: Guest> Quarantine<G> {
    pub(super) fn revision(&self) -> &Revision {
        self.bound.revision()
    }

    pub(super) fn origin(&self) -> &Origin<G> {
        &self.bound.origin
    }

    /// Ends it without trying the revision again. The state that it failed with may be why it did.
    pub(super) fn into_bound(mut self) -> Bound<G> {
        self.bound.checkpoint = None;
        self.bound
    }
}

impl<G: Guest> Slot<G> {
    /// Ends the active revision's time. The one before comes back, if the operator wants a fallback.
    #[cold]
    pub(super) fn quarantine(&mut self, now_ms: u64, context: &G::Context) {
        let hot = self.limit();
        let mode = self.mode();
        let Some(mut bad) = self.active.take() else { return };
        let revision = bad.revision().clone();
        self.engine.discard(bad.instance.take());
        self.strikes.clear();
        self.since_ms = now_ms;
        self.stats.quarantines += 1;
        let has_fallback = mode == OnFailure::Fallback && !self.is_previous_unwanted;
        let mut back = if has_fallback { self.previous.take().flatten() } else { None };
        if let Some(bound) = &mut back {
            // It decides with the state it left with: what the bad one made of it is not trusted.
            if bound.resume(hot, now_ms, context).is_err() {
                back = None;
            }
        }
        self.active = back;
        self.begin_notes(With::Unknown);
        self.vacant = mode;
        self.configured =
            Some(self.active.as_ref().map(|bound| bound.configured.clone()).unwrap_or_default());
        let round = self.probation.take().filter(|p| p.digest == revision.digest).map_or(0, |p| p.round) + 1;
        let retry_at_ms = wait_ms(round).map(|wait| now_ms.saturating_add(wait));
        self.quarantine = Some(Quarantine { bound: bad, round, retry_at_ms });
        self.count_anew();
        let successor = self.revision().cloned();
        let next = successor.as_ref().map_or_else(|| in_words(mode).to_owned(), Revision::to_string);
        tracing::error!(slot = G::KIND.slot(), plugin = %revision, successor = next, "plugin quarantined");
        self.log.tell(now_ms, LogLevel::Error, format!("{revision} is quarantined, {next} answers"));
        let at_decision = self.stats.messages;
        self.tell(SlotEvent::Quarantined { slot: G::KIND.slot(), revision, successor, mode, at_decision });
    }

    /// Puts a revision aside that was in quarantine when the node ended, as it was then. A guard rail must outlast a
    /// restart, or a restart is a way round it.
    pub(crate) fn put_aside(&mut self, prepared: Prepared<G>, now_ms: u64, sentence: Sentence) {
        let mut bound = prepared.into_bound(now_ms);
        let revision = bound.revision().clone();
        self.engine.discard(bound.instance.take());
        self.vacant = bound.origin.terms.on_failure;
        // A clock that was set back meanwhile must not make it longer than any is.
        let latest = now_ms.saturating_add(limits::QUARANTINE_LONGEST_MS);
        let retry_at_ms = sentence.retry_at_ms.map(|at| at.min(latest));
        self.quarantine = Some(Quarantine { bound, round: sentence.round.max(1), retry_at_ms });
        self.count_anew();
        self.log.tell(now_ms, LogLevel::Warn, format!("{revision} is still quarantined"));
    }

    /// Does what time brings: tries a quarantined revision again, forgets an old quarantine.
    pub(crate) fn look(&mut self, now_ms: u64, context: &G::Context) {
        self.probation.take_if(|probation| now_ms >= probation.until_ms);
        let due = |bad: &Quarantine<G>| bad.retry_at_ms.is_some_and(|at| now_ms >= at);
        if !self.paused && self.quarantine.as_ref().is_some_and(due) {
            // What fails is in the log, and is tried again later.
            let _ = self.readmit(now_ms, context, true);
        }
    }

    pub(crate) fn has_retry(&self) -> bool {
        self.quarantine.as_ref().is_some_and(|bad| bad.retry_at_ms.is_some())
    }

    /// Gives a quarantined revision the slot back.
    pub(super) fn readmit(
        &mut self,
        now_ms: u64,
        context: &G::Context,
        automatic: bool,
    ) -> Result<(), OperateError> {
        let Some(mut bad) = self.quarantine.take() else { return Err(OperateError::NothingToResume) };
        if bad.round > 1 || !automatic {
            // The state that it failed with may be why.
            bad.bound.checkpoint = None;
        }
        let revision = bad.revision().clone();
        let limit = bad.bound.limit(self.hot);
        if let Err(fault) = bad.bound.wake(limit, now_ms, context) {
            self.log.tell(now_ms, LogLevel::Warn, format!("{revision} cannot come back: {fault}"));
            bad.round += 1;
            bad.retry_at_ms = wait_ms(bad.round).map(|wait| now_ms.saturating_add(wait));
            self.quarantine = Some(bad);
            return Err(OperateError::Failed(fault));
        }
        let round = if automatic { bad.round } else { 0 };
        let left = self.active.replace(bad.bound);
        // Where nobody stood in for it, what a rollback brings back is what it was before.
        let is_replaced = left.is_some() || self.previous.is_none();
        let is_unwanted = self.is_previous_unwanted && !is_replaced;
        if is_replaced {
            let displaced = self.previous.replace(left.filter(|left| left.instance.is_some()));
            self.engine.discard(displaced);
        }
        self.after_switch(now_ms, With::State);
        self.is_previous_unwanted = is_unwanted;
        self.write_due(now_ms, context);
        let until_ms = now_ms.saturating_add(limits::QUARANTINE_FORGOTTEN_MS);
        self.probation = Some(Probation { digest: revision.digest, round, until_ms });
        self.log.tell(now_ms, LogLevel::Info, format!("{revision} is back from its quarantine"));
        self.tell(SlotEvent::Resumed { slot: G::KIND.slot(), revision, automatic });
        Ok(())
    }
}

/// Returns how long the quarantine of a round lasts; `None` after too many.
fn wait_ms(round: u32) -> Option<u64> {
    let doubled = limits::QUARANTINE_FIRST_MS.checked_shl(round.saturating_sub(1))?;
    (round <= limits::QUARANTINE_TRIES).then(|| doubled.min(limits::QUARANTINE_LONGEST_MS))
}

fn in_words(mode: OnFailure) -> &'static str {
    match mode {
        OnFailure::Fallback => "the native built-in",
        OnFailure::FailClosed => "nobody (fail-closed)",
        OnFailure::FailOpen => "everything is let through (fail-open), as nobody",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_quarantine_is_twice_as_long_up_to_an_hour_and_the_ninth_is_for_good() {
        let minutes: Vec<Option<u64>> = (1..=9).map(|round| wait_ms(round).map(|ms| ms / 60_000)).collect();

        let want = [1, 2, 4, 8, 16, 32, 60, 60].map(Some).into_iter().chain([None]);
        assert_eq!(minutes, want.collect::<Vec<_>>());
    }
}
