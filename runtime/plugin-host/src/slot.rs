//! A slot: which revision decides now, and what happens when it fails or is exchanged.
//!
//! Calls come one at a time and a hand-over happens between two of them, so there is exactly one switch
//! point and no decision is lost or made twice. Knows nothing of what is decided.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::journal::{By, Journal, With};
use crate::limits;
use crate::load::{Kind, Loaded, Revision};
use crate::manifest::SettingError;
use crate::sandbox::Host;
use crate::settings::{Refusal, Settings};
use crate::terms::OnFailure;

mod bound;
mod hand_over;
mod log;
mod notes;
mod operate;
mod prepared;
mod quarantine;
mod report;
mod stats;
mod times;

pub(crate) use bound::hold_to;
use bound::{Bound, Checkpoint};
use log::Log;
pub use log::{LogLevel, LogLine};
use notes::Notes;
pub use operate::OperateError;
pub use prepared::Prepared;
pub use quarantine::Sentence;
use quarantine::{Probation, Quarantine};
pub use report::{
    Change, Counted, FaultRecord, PrepareError, SlotEvent, SlotState, SlotStatus, StartWith, SwapError,
    SwapReport, Toward, Withdrawn,
};
use stats::Stats;
pub(crate) use times::Times;

/// What a plugin has saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The version of the layout.
    pub version: u32,
    /// What `save` wrote.
    pub bytes: Vec<u8>,
}

/// Why state was not taken over.
#[derive(Debug)]
pub enum Refused {
    /// The plugin says so.
    Refusal(Refusal),
    /// It failed.
    Fault(Fault),
}

/// Where nothing else can be handed over, a refusal is a fault.
impl From<Refused> for Fault {
    fn from(refused: Refused) -> Fault {
        match refused {
            Refused::Refusal(refusal) => Fault::Refused(refusal),
            Refused::Fault(fault) => fault,
        }
    }
}

mod sealed {
    pub trait Sealed {}
}
pub(crate) use sealed::Sealed;

/// An instance of a plugin, as a slot sees it.
pub trait Guest: Sealed + Sized + Send + 'static {
    /// What it must be told beside its state before it can decide.
    type Context: Default;
    /// What it is told about its node at the start.
    type Identity: Clone + Default + Send;
    /// What it answers to its settings.
    type Configured: Clone + Default + Send;
    /// The kind of component that it is an instance of.
    const KIND: Kind;

    /// Instantiates and configures.
    #[doc(hidden)]
    fn start(
        loaded: &Loaded,
        identity: &Self::Identity,
        settings: &Settings,
        limit: Duration,
    ) -> Result<(Self, Result<Self::Configured, Refusal>), Fault>;
    /// Makes the calls of its kind once, with made-up input.
    #[doc(hidden)]
    fn rehearse(&mut self, limit: Duration) -> Result<(), Fault>;
    /// Tells it the context; by default there is nothing to tell.
    #[doc(hidden)]
    fn resume(&mut self, _limit: Duration, _now_ms: u64, _context: &Self::Context) -> Result<(), Fault> {
        Ok(())
    }
    #[doc(hidden)]
    fn engine(&self) -> &Engine;
    #[doc(hidden)]
    fn host(&self) -> &Host;
    #[doc(hidden)]
    fn host_mut(&mut self) -> &mut Host;
    #[doc(hidden)]
    fn state_version(&mut self) -> Result<u32, Fault>;
    #[doc(hidden)]
    fn save(&mut self, limit: Duration) -> Result<Vec<u8>, Fault>;
    #[doc(hidden)]
    fn load(&mut self, limit: Duration, state: &State) -> Result<(), Refused>;
    /// Says whether a new instance that is configured now would begin as this one did.
    #[doc(hidden)]
    fn is_as_configured(&self) -> bool {
        true
    }
    /// Returns what a replay needs to know at a start beside the state, in about so many bytes at most; nothing for
    /// policies.
    #[doc(hidden)]
    fn beside_state(_identity: &Self::Identity, _most: usize) -> Vec<u8> {
        Vec::new()
    }
    /// Writes into the journal what [`Guest::resume`] tells.
    #[doc(hidden)]
    fn show(_journal: &mut Journal, _now_ms: u64, _context: &Self::Context) {}
}

/// One slot.
pub(crate) struct Slot<G: Guest> {
    engine: Engine,
    hot: Duration,
    /// `None`: the native built-in decides.
    active: Option<Bound<G>>,
    /// For a rollback, and warm but for what was quarantined; `Some(None)` is the native built-in.
    previous: Option<Option<Bound<G>>>,
    /// An operator has gone back from `previous`: it is there to go forward again, and stands in for nobody.
    is_previous_unwanted: bool,
    quarantine: Option<Quarantine<G>>,
    /// What came back from a quarantine by itself, until that is forgotten.
    probation: Option<Probation>,
    /// The active revision stays, and is not asked.
    paused: bool,
    /// Who answers while no revision is there.
    vacant: OnFailure,
    strikes: VecDeque<u64>,
    stats: Stats,
    log: Log,
    events: VecDeque<SlotEvent>,
    lost_events: u64,
    since_ms: u64,
    /// What fresh instances answered to their settings, for whoever performs it.
    configured: Option<G::Configured>,
    notes: Option<Notes>,
}

impl<G: Guest> Slot<G> {
    pub(crate) fn new(engine: &Engine, hot: Duration) -> Self {
        Slot {
            engine: engine.clone(),
            hot,
            active: None,
            previous: None,
            is_previous_unwanted: false,
            quarantine: None,
            probation: None,
            paused: false,
            vacant: OnFailure::Fallback,
            strikes: VecDeque::with_capacity(limits::STRIKES),
            stats: Stats::default(),
            log: Log::default(),
            events: VecDeque::new(),
            lost_events: 0,
            since_ms: 0,
            configured: None,
            notes: None,
        }
    }

    /// Asks the active revision; when there is none or it fails, says who answers instead. `rows` is what the call
    /// counts for, and `input` its digest, which only a failure is worth computing for.
    #[inline]
    pub(crate) fn ask<R>(
        &mut self,
        now_ms: u64,
        rows: u64,
        context: &G::Context,
        input: impl FnOnce() -> [u8; 32],
        ask: impl FnOnce(&mut G, Duration) -> Result<R, Fault>,
    ) -> Result<R, OnFailure> {
        self.stats.add_call(rows);
        if self.paused {
            self.note_answer(By::FallbackAbsent, None);
            self.stats.add_fallback(rows.max(1));
            return Err(OnFailure::Fallback);
        }
        let Some(bound) = &mut self.active else {
            let is_native = self.vacant == OnFailure::Fallback;
            self.note_answer(if is_native { By::Native } else { By::FallbackAbsent }, None);
            self.stats.add_fallback(if is_native { 0 } else { rows.max(1) });
            return Err(self.vacant);
        };
        if bound.instance.is_none() {
            // An earlier attempt to make a fresh instance failed.
            self.revive(now_ms, context);
            self.write_due(now_ms, context);
        }
        let mode = self.mode();
        let limit = self.limit();
        let Some(instance) = self.active.as_mut().and_then(|bound| bound.instance.as_mut()) else {
            self.note_answer(By::FallbackAbsent, None);
            self.stats.add_fallback(rows.max(1));
            return Err(mode);
        };
        // A handler's events are few next to what they cost, and each stands in the journal with that.
        let is_timed = G::KIND == Kind::Handler || self.stats.is_sampled(rows);
        let begun = is_timed.then(Instant::now);
        let answer = ask(instance, limit);
        let took = begun.map(|begun| begun.elapsed());
        if let Some(took) = took {
            self.stats.add_time(took);
        }
        let by = if answer.is_ok() { By::Plugin } else { By::FallbackFault };
        self.note_answer(by, took.map(|took| u32::try_from(took.as_nanos()).unwrap_or(u32::MAX - 1)));
        match answer {
            Ok(answer) => {
                self.on_answer(now_ms, rows, context);
                Ok(answer)
            }
            Err(fault) => {
                self.stats.add_fallback(rows.max(1));
                self.strike(now_ms, fault, Some(input()));
                self.revive(now_ms, context);
                Err(mode)
            }
        }
    }

    /// Counts a call that the plugin is not asked about, because it is larger than plugins are shown, and says who
    /// answers.
    pub(crate) fn pass_by(&mut self, rows: u64) -> OnFailure {
        self.stats.add_call(rows);
        self.stats.add_fallback(rows * u64::from(self.active.is_some()));
        let is_native = self.active.is_none() && self.vacant == OnFailure::Fallback;
        self.note_answer(if is_native { By::Native } else { By::FallbackAbsent }, None);
        if self.paused { OnFailure::Fallback } else { self.mode() }
    }

    /// Returns who answers when the active revision does not.
    #[inline]
    fn mode(&self) -> OnFailure {
        self.active.as_ref().map_or(self.vacant, |bound| bound.origin.terms.on_failure)
    }

    /// Returns the deadline of a call of the active revision.
    #[inline]
    fn limit(&self) -> Duration {
        self.active.as_ref().map_or(self.hot, |bound| bound.limit(self.hot))
    }

    #[inline]
    fn on_answer(&mut self, now_ms: u64, rows: u64, context: &G::Context) {
        let Some(bound) = &mut self.active else { return };
        bound.state_messages += rows;
        if bound.instance.as_ref().is_some_and(|instance| instance.host().has_said()) {
            self.listen(now_ms);
        }
        let Some(bound) = &self.active else { return };
        if now_ms >= bound.next_checkpoint_ms {
            self.checkpoint(now_ms, context);
        }
    }

    /// Takes down what the active revision has said.
    #[cold]
    fn listen(&mut self, now_ms: u64) {
        let Some(bound) = &mut self.active else { return };
        let Some(instance) = &mut bound.instance else { return };
        let lines_per_s = bound.origin.terms.lowered.bounds(G::KIND).log_lines;
        for line in instance.host_mut().take_said() {
            if !self.log.say(now_ms, bound.origin.loaded.revision(), lines_per_s, line) {
                self.stats.add_dropped_line();
            }
        }
    }

    #[cold]
    fn checkpoint(&mut self, now_ms: u64, context: &G::Context) {
        let hot = self.limit();
        let Some(bound) = &mut self.active else { return };
        let Some(instance) = &mut bound.instance else { return };
        match instance.save(hot) {
            Ok(bytes) => {
                let is_small = bytes.len() <= limits::CHECKPOINT_SMALL;
                let every = if is_small { limits::CHECKPOINT_MS } else { limits::CHECKPOINT_LARGE_MS };
                bound.next_checkpoint_ms = now_ms.saturating_add(every);
                let state = State { version: bound.version, bytes };
                bound.checkpoint = Some(Checkpoint { state, messages: bound.state_messages });
                self.begin_notes(With::Anchor);
            }
            Err(fault) => {
                self.strike(now_ms, fault, None);
                self.revive(now_ms, context);
            }
        }
    }

    /// Throws the failed instance away and counts; the third strike in the window ends the revision's time.
    #[cold]
    fn strike(&mut self, now_ms: u64, fault: Fault, input: Option<[u8; 32]>) {
        self.listen(now_ms);
        let Some(bound) = &mut self.active else { return };
        let mut post_mortem = None;
        if let Some(mut failed) = bound.instance.take() {
            post_mortem = Some(failed.host_mut().take_post_mortem());
            self.stats.add_memory(failed.host().memory());
            self.engine.discard(failed);
        }
        let revision = bound.origin.loaded.revision().clone();
        while self.strikes.front().is_some_and(|&at| now_ms.saturating_sub(at) > limits::STRIKE_WINDOW_MS) {
            self.strikes.pop_front();
        }
        self.strikes.push_back(now_ms);
        let strikes = self.strikes.len();
        tracing::warn!(slot = G::KIND.slot(), plugin = %revision, %fault, strikes, "plugin failed");
        self.log.tell(now_ms, LogLevel::Warn, format!("{revision} failed, strike {strikes}: {fault}"));
        self.stats.record(FaultRecord {
            at_ms: now_ms,
            revision: revision.clone(),
            fault: fault.clone(),
            post_mortem: post_mortem.unwrap_or_default(),
            input,
        });
        self.tell(SlotEvent::Struck { slot: G::KIND.slot(), revision, fault, strikes });
    }

    /// Makes a fresh instance with the last checkpoint after a fault, or goes back after too many.
    #[cold]
    fn revive(&mut self, now_ms: u64, context: &G::Context) {
        let hot = self.limit();
        if self.strikes.len() < limits::STRIKES {
            let Some(bound) = &mut self.active else { return };
            match bound.fresh(hot, now_ms, context) {
                Ok((instance, configured)) => {
                    bound.instance = Some(instance);
                    bound.state_messages = bound.checkpoint.as_ref().map_or(0, |last| last.messages);
                    bound.configured = configured.clone();
                    self.configured = Some(configured);
                    self.begin_notes(With::State);
                }
                Err(fault) => self.strike(now_ms, fault, None),
            }
        }
        if self.strikes.len() >= limits::STRIKES {
            self.quarantine(now_ms, context);
        }
    }

    /// Tells the active revision what has changed.
    pub(crate) fn update(&mut self, now_ms: u64, context: &G::Context) {
        if self.paused {
            // It is told when it goes on, and so is the journal.
            return;
        }
        self.note_shown(now_ms, context);
        let hot = self.limit();
        let Some(bound) = &mut self.active else { return };
        let Some(instance) = &mut bound.instance else { return };
        if let Err(fault) = instance.resume(hot, now_ms, context) {
            self.strike(now_ms, fault, None);
            self.revive(now_ms, context);
            self.write_due(now_ms, context);
        }
    }

    /// Returns what the active revision would hand to a successor; `None` for the native built-in.
    pub(crate) fn peek_state(&mut self) -> Result<Option<State>, Fault> {
        let hot = self.hot;
        let Some(bound) = &mut self.active else { return Ok(None) };
        Ok(bound.state(hot)?.map(|(state, _)| state))
    }

    pub(crate) fn take_configured(&mut self) -> Option<G::Configured> {
        self.configured.take()
    }

    /// Counts from now on for what is in the slot: the active revision, or the one that is away and leaves nobody in its
    /// place.
    fn count_anew(&mut self) {
        let away = self.quarantine.as_ref().filter(|_| self.vacant != OnFailure::Fallback);
        let bound = self.active.as_ref().map(Bound::revision).or(away.map(Quarantine::revision));
        self.stats.count_for(bound);
    }

    /// Says whether somebody stands in for a revision in quarantine; otherwise it leaves its place empty.
    fn has_stand_in(&self) -> bool {
        self.quarantine.is_some() && (self.active.is_some() || self.vacant == OnFailure::Fallback)
    }

    /// Says whether the slot belongs to a plugin, also while that is away and somebody answers in its place.
    pub(crate) fn is_bound(&self) -> bool {
        self.active.is_some() || self.quarantine.is_some() || self.vacant != OnFailure::Fallback
    }

    pub(crate) fn revision(&self) -> Option<&Revision> {
        self.active.as_ref().map(|bound| bound.origin.loaded.revision())
    }

    pub(crate) fn decisions(&self) -> u64 {
        self.stats.messages
    }

    pub(crate) fn take_events(&mut self, into: &mut Vec<SlotEvent>) {
        into.extend(self.events.drain(..));
    }

    fn tell(&mut self, event: SlotEvent) {
        if self.events.len() == limits::EVENTS {
            self.events.pop_front();
            self.lost_events += 1;
        }
        self.events.push_back(event);
    }

    /// Returns what was counted of each revision, with the memory of those that have an instance.
    fn counted(&self) -> Vec<Counted> {
        let mut counted = self.stats.counted();
        let warm = self.previous.as_ref().and_then(Option::as_ref);
        for bound in warm.into_iter().chain(&self.active) {
            let is_it = |of: &Revision| of.digest == bound.revision().digest;
            let own = counted.iter_mut().find(|own| own.revision.as_ref().is_some_and(is_it));
            if let (Some(own), Some(instance)) = (own, &bound.instance) {
                own.memory_bytes = instance.host().memory();
                own.memory_most_bytes = own.memory_most_bytes.max(own.memory_bytes);
            }
        }
        counted
    }

    pub(crate) fn status(&self) -> SlotStatus {
        let state = match (&self.active, &self.quarantine) {
            (_, Some(_)) => SlotState::Quarantined,
            (Some(_), None) => SlotState::Active,
            (None, None) => SlotState::Native,
        };
        let previous = self.previous.as_ref().and_then(|back| back.as_ref());
        let away = self.quarantine.as_ref().map(Quarantine::origin);
        SlotStatus {
            slot: G::KIND.slot(),
            state,
            active: self.revision().cloned(),
            settings: self.active.as_ref().map(|bound| bound.origin.settings.clone()).unwrap_or_default(),
            can_roll_back: self.previous.is_some() || self.has_stand_in(),
            previous: previous.map(Bound::revision).cloned(),
            previous_settings: previous.map(|back| back.origin.settings.clone()).unwrap_or_default(),
            quarantined: self.quarantine.as_ref().map(|bad| bad.revision().clone()),
            quarantined_settings: away.map(|origin| origin.settings.clone()).unwrap_or_default(),
            quarantined_terms: away.map(|origin| origin.terms).unwrap_or_default(),
            quarantine_round: self.quarantine.as_ref().map_or(0, |bad| bad.round),
            retry_at_ms: self.quarantine.as_ref().and_then(|bad| bad.retry_at_ms),
            paused: self.paused,
            on_failure: self.mode(),
            lowered: self.active.as_ref().map(|bound| bound.origin.terms.lowered).unwrap_or_default(),
            calls: self.stats.calls,
            messages: self.stats.messages,
            fallbacks: self.stats.fallbacks,
            strikes: self.strikes.len(),
            faults: self.stats.faults,
            last_faults: self.stats.last_faults.iter().cloned().collect(),
            swaps: self.stats.swaps,
            rollbacks: self.stats.rollbacks,
            quarantines: self.stats.quarantines,
            counted: self.counted(),
            state_messages: self.active.as_ref().map_or(0, |bound| bound.state_messages),
            since_ms: self.since_ms,
            lost_events: self.lost_events,
            journal: self.journal().map(Journal::extent),
        }
    }
}
