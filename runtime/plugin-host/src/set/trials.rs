//! The trials of a node's policy slots: which calls they are shown, and what becomes of them.
//!
//! Costs a look at an empty place for each call while there is none.

use std::time::{Duration, Instant};

use mesh_proto::policy::{QosBatch, RouteBatch, View};

use super::{PolicySet, PolicySlot};
use crate::load::Revision;
use crate::trial::{
    Answer, Asked, At, Call, Candidate, Decided, End, Plan, Start, Step, Trial, TrialError, TrialEvent,
    TrialStatus,
};

/// At most one a slot.
#[derive(Default)]
pub(super) struct Trials {
    running: [Option<Box<Trial>>; PolicySlot::ALL.len()],
    /// Of the rows of the next batch; empty when nobody told.
    flows: Vec<u32>,
}

impl Trials {
    fn of(&mut self, slot: PolicySlot) -> Option<&mut Trial> {
        self.running[slot as usize].as_deref_mut()
    }

    /// Returns the time now if what begins is looked at by a trial.
    #[inline]
    pub(super) fn begun(&self, slot: PolicySlot) -> Option<Instant> {
        self.running[slot as usize].as_ref().map(|_| Instant::now())
    }

    pub(super) fn splits(&self) -> bool {
        self.running.iter().flatten().any(|trial| trial.is_canary())
    }

    pub(super) fn set_flows(&mut self, flows: &[u32]) {
        self.flows.clear();
        self.flows.extend_from_slice(flows);
    }

    /// What must not decide any more is not asked from now on; the next poll says that its trial is over.
    pub(super) fn withdraw(&mut self, is_withdrawn: &dyn Fn(&Revision) -> bool) {
        let trials = self.running.iter_mut().flatten();
        let withdrawn = trials.filter(|trial| is_withdrawn(&trial.status().candidate));
        withdrawn.for_each(|trial| trial.end(End::Withdrawn));
    }

    /// What its operator has paused decides for nobody, and so does what is compared with it.
    pub(super) fn pause(&mut self, slot: PolicySlot) {
        if let Some(trial) = self.of(slot) {
            trial.end(End::Paused);
        }
    }

    pub(super) fn observe(&mut self, now_ms: u64, view: &View) {
        if let Some(trial) = self.of(PolicySlot::Route) {
            trial.observe(now_ms, view);
        }
    }

    #[cold]
    pub(super) fn routed(
        &mut self,
        now_ms: u64,
        took: Duration,
        batch: &RouteBatch,
        verdicts: &mut [u32],
    ) -> Option<Decided> {
        let trial = self.running[PolicySlot::Route as usize].as_deref_mut()?;
        if let Some((canary, figures)) = trial.canary() {
            return canary.route(At { now_ms, took, flows: &self.flows }, batch, verdicts, figures);
        }
        trial.shadow(now_ms, took, batch.len() as u64, || Call {
            asked: Asked::Route(batch.clone()),
            answer: Answer::Route(verdicts.to_vec()),
        });
        None
    }

    #[cold]
    pub(super) fn classified(
        &mut self,
        now_ms: u64,
        took: Duration,
        batch: &QosBatch,
        classes: &mut [u8],
    ) -> Option<Decided> {
        let trial = self.running[PolicySlot::Qos as usize].as_deref_mut()?;
        if let Some((canary, figures)) = trial.canary() {
            return canary.classify(At { now_ms, took, flows: &self.flows }, batch, classes, figures);
        }
        trial.shadow(now_ms, took, batch.len() as u64, || Call {
            asked: Asked::Classify(batch.clone()),
            answer: Answer::Classify(classes.to_vec()),
        });
        None
    }

    /// Shows a call to whoever is in the shadow of a slot: all but those of which a canary has a share.
    #[cold]
    pub(super) fn shadowed(
        &mut self,
        slot: PolicySlot,
        now_ms: u64,
        took: Duration,
        rows: u64,
        call: impl FnOnce() -> Call,
    ) {
        if let Some(trial) = self.of(slot) {
            trial.shadow(now_ms, took, rows, call);
        }
    }
}

impl PolicySet {
    /// Begins a trial of a candidate beside what decides in the slot now. Calls are looked at from the next one on.
    ///
    /// # Errors
    /// Why it did not begin; nothing has changed.
    pub fn begin_trial(
        &mut self,
        slot: PolicySlot,
        candidates: Vec<Candidate>,
        plan: Plan,
        now_ms: u64,
    ) -> Result<(), TrialError> {
        if self.trials.of(slot).is_some() {
            return Err(TrialError::Running { slot: slot.name() });
        }
        let active = self.active(slot).cloned();
        let state = self.state_for_trial(slot, plan)?;
        let start = Start { now_ms, state, view: &self.view };
        let trial = Trial::begin(slot, active, candidates, plan, start)?;
        self.trials.running[slot as usize] = Some(Box::new(trial));
        if self.status(slot).paused {
            self.trials.pause(slot);
        }
        Ok(())
    }

    /// Brings the trials forward; for every turn. A trial that is over has left its slot.
    pub fn poll_trials(&mut self, now_ms: u64) -> Vec<TrialEvent> {
        PolicySlot::ALL.into_iter().filter_map(|slot| self.poll_trial(slot, now_ms)).collect()
    }

    /// Returns how the trial of a slot stands.
    pub fn trial(&self, slot: PolicySlot) -> Option<&TrialStatus> {
        self.trials.running[slot as usize].as_deref().map(Trial::status)
    }

    /// Ends a trial without a verdict, and returns how it stood. What decided before decides on all flows again.
    pub fn abort_trial(&mut self, slot: PolicySlot) -> Option<TrialStatus> {
        let trial = self.trials.running[slot as usize].take()?;
        Some(trial.status().clone())
    }

    fn poll_trial(&mut self, slot: PolicySlot, now_ms: u64) -> Option<TrialEvent> {
        self.trials.running[slot as usize].as_ref()?;
        let active = self.active(slot).cloned();
        let step = self.trials.of(slot)?.poll(now_ms, active.as_ref())?;
        let outcome = match step {
            Step::Over(outcome) => outcome,
            Step::Canary => match self.start_canary(slot, now_ms) {
                Ok(()) => return Some(TrialEvent::CanaryBegan { slot }),
                Err(error) => Err(End::Canary(error)),
            },
        };
        let status = Box::new(self.abort_trial(slot)?);
        Some(TrialEvent::Over { slot, outcome, status })
    }

    fn start_canary(&mut self, slot: PolicySlot, now_ms: u64) -> Result<(), TrialError> {
        let Some(plan) = self.trial(slot).map(|status| status.plan) else { return Err(TrialError::NoStage) };
        let state = self.state_for_trial(slot, plan)?;
        let start = Start { now_ms, state, view: &self.view };
        match self.trials.running[slot as usize].as_deref_mut() {
            Some(trial) => trial.start_canary(start),
            None => Err(TrialError::NoStage),
        }
    }

    fn state_for_trial(
        &mut self,
        slot: PolicySlot,
        plan: Plan,
    ) -> Result<Option<crate::slot::State>, TrialError> {
        if !plan.copies_state {
            return Ok(None);
        }
        Ok(self.peek_state(slot).map_err(crate::slot::SwapError::OldFailed)?)
    }
}
