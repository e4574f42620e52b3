//! Trials: a candidate beside the active revision, before it decides alone.
//!
//! In a shadow run the candidate is asked what the active one was asked, on a thread of its own, and its answers
//! are only compared. As a canary it decides for a share of the flows, while the active one is still asked about
//! all of them: so its state stays complete, a failed call has its answer already, and the way back is to forget
//! the candidate. A trial never switches a slot; who drives it does that when the trial has passed.

use std::collections::VecDeque;
use std::time::Duration;

use mesh_proto::policy::View;

use crate::fault::Fault;
use crate::limits;
use crate::load::Revision;
use crate::set::PolicySlot;
use crate::slot::{State, SwapError};

mod canary;
mod candidate;
mod compared;
mod figures;
mod gates;
mod shadow;

pub use candidate::Candidate;
pub use compared::Example;
pub use figures::Figures;
pub use gates::{Breach, Gates, MaxP99};

pub(crate) use canary::{At, Canary, Decided};
pub(crate) use compared::{Answer, Asked};
use shadow::{Drained, Shadow};

/// How long a candidate is shadowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many milliseconds.
    Ms(u64),
    /// Until so many calls were compared.
    Calls(u64),
}

/// A canary: for which share of the flows it decides, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanaryPlan {
    /// Flows of 10,000.
    pub share: u32,
    /// Milliseconds.
    pub for_ms: u64,
}

/// What a trial is made of. With both, the shadow run comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Run it in the shadow this long.
    pub shadow: Option<Length>,
    /// Let it decide for some flows.
    pub canary: Option<CanaryPlan>,
    /// What must hold.
    pub gates: Gates,
    /// Whether the candidate starts with a copy of the active one's state.
    pub copies_state: bool,
}

impl Plan {
    /// Returns how many instances the trial uses up: one for each stage.
    pub fn stages(&self) -> usize {
        usize::from(self.shadow.is_some()) + usize::from(self.canary.is_some())
    }
}

/// What a trial does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The candidate is asked, and its answers are compared.
    Shadow,
    /// The candidate decides for its share of the flows.
    Canary,
}

/// Why a trial did not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// One is under way in this slot.
    #[error("a trial is under way in the slot {slot}")]
    Running {
        /// The slot.
        slot: &'static str,
    },
    /// Neither shadow nor canary, or more instances needed than were made.
    #[error("a trial needs an instance for each of its stages")]
    NoStage,
    /// It decides about nodes or about what waits, not about flows, so there is nothing to split.
    #[error("the slot {slot} decides for no flows, so nothing can be split between two revisions")]
    NoFlows {
        /// The slot.
        slot: &'static str,
    },
    /// The candidate does not start, or does not take a copy of the state.
    #[error(transparent)]
    Start(#[from] SwapError),
    /// The system gives no thread.
    #[error("the shadow run got no thread")]
    NoThread,
}

/// Why a trial ended before its slot was handed over. What decided before goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// A gate did not hold.
    #[error(transparent)]
    Gate(#[from] Breach),
    /// Another revision decides in the slot than the one that the candidate was compared with.
    #[error("the slot has another revision than the candidate was compared with")]
    Superseded,
    /// The active revision was paused, so that there is nothing to compare with.
    #[error("the slot was paused")]
    Paused,
    /// A key that signed the candidate was revoked.
    #[error("a key that signed the candidate was revoked")]
    Withdrawn,
    /// The thread of the shadow run ended before it had answered everything.
    #[error("the thread of the shadow run ended")]
    ShadowDied,
    /// The canary could not start after the shadow run.
    #[error("the canary could not start: {0}")]
    Canary(TrialError),
}

/// Something that happened to a trial.
#[derive(Clone, Debug, PartialEq)]
pub enum TrialEvent {
    /// The shadow run passed, and the canary decides for its share from now on.
    CanaryBegan {
        /// Where.
        slot: PolicySlot,
    },
    /// It is over: passed, so that the slot can be handed over, or not.
    Over {
        /// Where.
        slot: PolicySlot,
        /// Why not.
        outcome: Result<(), End>,
        /// How it stood.
        status: Box<TrialStatus>,
    },
}

/// How a trial stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialStatus {
    /// Where.
    pub slot: PolicySlot,
    /// What is tried.
    pub candidate: Revision,
    /// What it is compared with; `None` for the native built-in.
    pub active: Option<Revision>,
    /// What was asked for.
    pub plan: Plan,
    /// What it does now.
    pub stage: Stage,
    /// When it began, by the caller's clock.
    pub began_ms: u64,
    /// When the stage began.
    pub stage_ms: u64,
    /// What the shadow run has shown so far.
    pub shadow: Option<Figures>,
    /// What the canary has shown so far.
    pub canary: Option<Figures>,
}

/// A running trial of one slot.
pub(crate) struct Trial {
    status: TrialStatus,
    /// Instances for the stages that are still to come.
    waiting: VecDeque<Candidate>,
    running: Running,
    /// Why it is over before its time: the candidate is not asked any more, and the next poll tells.
    ended: Option<End>,
}

enum Running {
    Shadow(Shadow),
    Canary(Box<Canary>),
}

/// What a trial wants next.
pub(crate) enum Step {
    /// The shadow run passed, and a canary is to follow: [`Trial::start_canary`].
    Canary,
    /// It is over.
    Over(Result<(), End>),
}

/// What a stage starts from.
pub(crate) struct Start<'a> {
    pub(crate) now_ms: u64,
    /// A copy of the active one's state, when the candidate is to have it.
    pub(crate) state: Option<State>,
    pub(crate) view: &'a View,
}

impl Trial {
    pub(crate) fn begin(
        slot: PolicySlot,
        active: Option<Revision>,
        candidates: Vec<Candidate>,
        plan: Plan,
        start: Start<'_>,
    ) -> Result<Trial, TrialError> {
        let mut waiting = VecDeque::from(candidates);
        if plan.stages() == 0 || waiting.len() < plan.stages() {
            return Err(TrialError::NoStage);
        }
        if plan.canary.is_some() && !slot.has_flows() {
            return Err(TrialError::NoFlows { slot: slot.name() });
        }
        let now_ms = start.now_ms;
        let candidate = waiting.pop_front().ok_or(TrialError::NoStage)?;
        let revision = candidate.revision().clone();
        let (running, stage) = match (plan.shadow, plan.canary) {
            (Some(_), _) => (Running::Shadow(Shadow::start(candidate, start)?), Stage::Shadow),
            (None, Some(canary)) => {
                let canary = Canary::start(candidate, canary, start)?;
                (Running::Canary(Box::new(canary)), Stage::Canary)
            }
            (None, None) => return Err(TrialError::NoStage),
        };
        let status = TrialStatus {
            slot,
            candidate: revision,
            active,
            plan,
            stage,
            began_ms: now_ms,
            stage_ms: now_ms,
            shadow: (stage == Stage::Shadow).then(Figures::default),
            canary: (stage == Stage::Canary).then(Figures::default),
        };
        Ok(Trial { status, waiting, running, ended: None })
    }

    /// Goes on with the canary after a shadow run.
    pub(crate) fn start_canary(&mut self, start: Start<'_>) -> Result<(), TrialError> {
        let (Some(plan), Some(candidate)) = (self.status.plan.canary, self.waiting.pop_front()) else {
            return Err(TrialError::NoStage);
        };
        self.status.stage_ms = start.now_ms;
        self.running = Running::Canary(Box::new(Canary::start(candidate, plan, start)?));
        self.status.stage = Stage::Canary;
        self.status.canary = Some(Figures::default());
        Ok(())
    }

    /// Ends it; of several reasons the first one counts.
    pub(crate) fn end(&mut self, why: End) {
        self.ended.get_or_insert(why);
    }

    pub(crate) fn status(&self) -> &TrialStatus {
        &self.status
    }

    pub(crate) fn is_canary(&self) -> bool {
        matches!(self.running, Running::Canary(_))
    }

    /// The neighbours or ways have changed.
    pub(crate) fn observe(&mut self, now_ms: u64, view: &View) {
        match &mut self.running {
            Running::Shadow(shadow) => shadow.observe(view),
            Running::Canary(canary) => {
                let seen = canary.observe(now_ms, view);
                if let (Some(figures), Err(fault)) = (&mut self.status.canary, seen) {
                    figures.add_fault(fault);
                }
            }
        }
    }

    /// Takes in one call that the active one answered; `call` copies it and is made only if there is room.
    pub(crate) fn shadow(&mut self, now_ms: u64, took: Duration, rows: u64, call: impl FnOnce() -> Call) {
        let (Running::Shadow(shadow), Some(figures)) = (&mut self.running, &mut self.status.shadow) else {
            return;
        };
        let is_enough = matches!(self.status.plan.shadow, Some(Length::Calls(calls))
            if figures.calls + shadow.in_flight() >= calls);
        if is_enough || self.ended.is_some() || !shadow.has_room(rows) {
            figures.skipped += u64::from(!is_enough);
            return;
        }
        shadow.look_at(now_ms, took, rows, call());
    }

    /// Returns the canary and where it counts, while one runs.
    pub(crate) fn canary(&mut self) -> Option<(&mut Canary, &mut Figures)> {
        match (&mut self.running, &mut self.status.canary) {
            (Running::Canary(canary), Some(figures)) if self.ended.is_none() => Some((canary, figures)),
            _ => None,
        }
    }

    /// Says what is next; `active` is what decides in the slot now.
    pub(crate) fn poll(&mut self, now_ms: u64, active: Option<&Revision>) -> Option<Step> {
        if let Some(why) = self.ended.take() {
            return Some(Step::Over(Err(why)));
        }
        if active != self.status.active.as_ref() {
            return Some(Step::Over(Err(End::Superseded)));
        }
        let gates = self.status.plan.gates;
        let since = now_ms.saturating_sub(self.status.stage_ms);
        match (&mut self.running, &mut self.status.shadow, &mut self.status.canary) {
            (Running::Shadow(shadow), Some(figures), _) => {
                let drained = shadow.drain(figures);
                if let Err(breach) = gates.check_traps(figures) {
                    return Some(Step::Over(Err(breach.into())));
                }
                let is_long_enough = match self.status.plan.shadow {
                    Some(Length::Calls(calls)) => figures.calls >= calls || since >= limits::TRIAL_MS,
                    Some(Length::Ms(ms)) => since >= ms,
                    None => true,
                };
                if is_long_enough {
                    shadow.close();
                }
                match (drained, gates.check(figures)) {
                    (Drained::NotYet, _) => None,
                    (Drained::Died, _) => Some(Step::Over(Err(End::ShadowDied))),
                    (Drained::Whole, Ok(())) if self.status.plan.canary.is_some() => Some(Step::Canary),
                    (Drained::Whole, outcome) => Some(Step::Over(outcome.map_err(End::from))),
                }
            }
            (Running::Canary(_), _, Some(figures)) => {
                let is_over = self.status.plan.canary.is_none_or(|plan| since >= plan.for_ms);
                let checked = if is_over { gates.check(figures) } else { gates.check_early(figures) };
                match checked {
                    Err(Breach::NoTraffic) => Some(Step::Over(Err(Breach::NoFlow.into()))),
                    Err(breach) => Some(Step::Over(Err(breach.into()))),
                    Ok(()) => is_over.then_some(Step::Over(Ok(()))),
                }
            }
            _ => None,
        }
    }
}

/// One call of a slot with what the active one answered.
pub(crate) struct Call {
    pub(crate) asked: Asked,
    pub(crate) answer: Answer,
}

/// What a candidate did with a call.
pub(crate) type Answered = Result<Answer, Fault>;
