//! A slot: which revision decides now, and what happens when it fails or is exchanged.
//!
//! Calls come one at a time and a hand-over happens between two of them, so there is exactly one switch
//! point and no decision is lost or made twice. Knows nothing of what is decided.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::limits;
use crate::load::{Kind, Loaded, Revision};
use crate::manifest::SettingError;
use crate::settings::{Refusal, Settings};

mod bound;
mod hand_over;
mod prepared;
mod report;
mod stats;
mod times;

use bound::{Bound, Checkpoint};
pub use prepared::Prepared;
pub use report::{
    Carry, FaultRecord, PrepareError, SlotEvent, SlotState, SlotStatus, SwapError, SwapReport, Withdrawn,
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
    #[doc(hidden)]
    fn resume(&mut self, limit: Duration, now_ms: u64, context: &Self::Context) -> Result<(), Fault>;
    #[doc(hidden)]
    fn engine(&self) -> &Engine;
    #[doc(hidden)]
    fn state_version(&mut self) -> Result<u32, Fault>;
    #[doc(hidden)]
    fn save(&mut self, limit: Duration) -> Result<Vec<u8>, Fault>;
    #[doc(hidden)]
    fn load(&mut self, limit: Duration, state: &State) -> Result<(), Refused>;
}

/// One slot.
pub(crate) struct Slot<G: Guest> {
    engine: Engine,
    hot: Duration,
    /// `None`: the native built-in decides.
    active: Option<Bound<G>>,
    /// Warm, for a rollback; `Some(None)` is the native built-in.
    previous: Option<Option<Bound<G>>>,
    quarantined: Option<Revision>,
    strikes: VecDeque<u64>,
    stats: Stats,
    events: VecDeque<SlotEvent>,
    lost_events: u64,
    since_ms: u64,
    /// What fresh instances answered to their settings, for whoever performs it.
    configured: Option<G::Configured>,
}

impl<G: Guest> Slot<G> {
    pub(crate) fn new(engine: &Engine, hot: Duration) -> Self {
        Slot {
            engine: engine.clone(),
            hot,
            active: None,
            previous: None,
            quarantined: None,
            strikes: VecDeque::with_capacity(limits::STRIKES),
            stats: Stats::default(),
            events: VecDeque::new(),
            lost_events: 0,
            since_ms: 0,
            configured: None,
        }
    }

    /// Asks the active revision; `None` when there is none or it fails, and then the caller's native
    /// built-in answers. `rows` is what the call counts for.
    #[inline]
    pub(crate) fn ask<R>(
        &mut self,
        now_ms: u64,
        rows: u64,
        context: &G::Context,
        ask: impl FnOnce(&mut G) -> Result<R, Fault>,
    ) -> Option<R> {
        self.stats.calls += 1;
        self.stats.messages += rows;
        let Some(bound) = &mut self.active else {
            return None;
        };
        if bound.instance.is_none() {
            // An earlier attempt to make a fresh instance failed.
            self.revive(now_ms, context);
        }
        let Some(instance) = self.active.as_mut().and_then(|bound| bound.instance.as_mut()) else {
            self.stats.fallbacks += rows.max(1);
            return None;
        };
        let begun = self.stats.is_sampled(rows).then(Instant::now);
        let answer = ask(instance);
        if let Some(begun) = begun {
            self.stats.add_time(begun.elapsed());
        }
        match answer {
            Ok(answer) => {
                self.on_answer(now_ms, rows, context);
                Some(answer)
            }
            Err(fault) => {
                self.stats.fallbacks += rows.max(1);
                self.strike(now_ms, fault);
                self.revive(now_ms, context);
                None
            }
        }
    }

    /// Counts a call that the plugin is not asked about, because it is larger than plugins are shown.
    pub(crate) fn pass_by(&mut self, rows: u64) {
        self.stats.calls += 1;
        self.stats.messages += rows;
        self.stats.fallbacks += rows * u64::from(self.active.is_some());
    }

    #[inline]
    fn on_answer(&mut self, now_ms: u64, rows: u64, context: &G::Context) {
        let Some(bound) = &mut self.active else { return };
        bound.state_messages += rows;
        if now_ms >= bound.next_checkpoint_ms {
            self.checkpoint(now_ms, context);
        }
    }

    #[cold]
    fn checkpoint(&mut self, now_ms: u64, context: &G::Context) {
        let hot = self.hot;
        let Some(bound) = &mut self.active else { return };
        let Some(instance) = &mut bound.instance else { return };
        match instance.save(hot) {
            Ok(bytes) => {
                let is_small = bytes.len() <= limits::CHECKPOINT_SMALL;
                let every = if is_small { limits::CHECKPOINT_MS } else { limits::CHECKPOINT_LARGE_MS };
                bound.next_checkpoint_ms = now_ms.saturating_add(every);
                let state = State { version: bound.version, bytes };
                bound.checkpoint = Some(Checkpoint { state, messages: bound.state_messages });
            }
            Err(fault) => {
                self.strike(now_ms, fault);
                self.revive(now_ms, context);
            }
        }
    }

    /// Throws the failed instance away and counts; the third strike in the window ends the revision's time.
    #[cold]
    fn strike(&mut self, now_ms: u64, fault: Fault) {
        let Some(bound) = &mut self.active else { return };
        if let Some(failed) = bound.instance.take() {
            self.engine.discard(failed);
        }
        let revision = bound.origin.loaded.revision().clone();
        while self.strikes.front().is_some_and(|&at| now_ms.saturating_sub(at) > limits::STRIKE_WINDOW_MS) {
            self.strikes.pop_front();
        }
        self.strikes.push_back(now_ms);
        let strikes = self.strikes.len();
        tracing::warn!(slot = G::KIND.slot(), plugin = %revision, %fault, strikes, "plugin failed");
        self.stats.record(FaultRecord { at_ms: now_ms, revision: revision.clone(), fault: fault.clone() });
        self.tell(SlotEvent::Struck { slot: G::KIND.slot(), revision, fault, strikes });
    }

    /// Makes a fresh instance with the last checkpoint after a fault, or goes back after too many.
    #[cold]
    fn revive(&mut self, now_ms: u64, context: &G::Context) {
        if self.strikes.len() < limits::STRIKES {
            let Some(bound) = &mut self.active else { return };
            match bound.fresh(self.hot, now_ms, context) {
                Ok((instance, configured)) => {
                    bound.instance = Some(instance);
                    bound.state_messages = bound.checkpoint.as_ref().map_or(0, |last| last.messages);
                    bound.configured = configured.clone();
                    self.configured = Some(configured);
                }
                Err(fault) => self.strike(now_ms, fault),
            }
        }
        if self.strikes.len() >= limits::STRIKES {
            self.quarantine(now_ms, context);
        }
    }

    #[cold]
    fn quarantine(&mut self, now_ms: u64, context: &G::Context) {
        let Some(bad) = self.active.take() else { return };
        let revision = bad.origin.loaded.revision().clone();
        self.strikes.clear();
        self.since_ms = now_ms;
        self.stats.quarantines += 1;
        let mut back = self.previous.take().flatten();
        if let Some(bound) = &mut back {
            // It decides with the state it left with: what the bad one made of it is not trusted.
            if bound.resume(self.hot, now_ms, context).is_err() {
                back = None;
            }
        }
        self.active = back;
        self.configured =
            Some(self.active.as_ref().map(|bound| bound.configured.clone()).unwrap_or_default());
        self.quarantined = Some(revision.clone());
        let successor = self.active.as_ref().map(|bound| bound.origin.loaded.revision().clone());
        tracing::error!(
            slot = G::KIND.slot(),
            plugin = %revision,
            successor = successor.as_ref().map_or_else(|| "built-in".into(), Revision::to_string),
            "plugin quarantined"
        );
        let at_decision = self.stats.messages;
        self.tell(SlotEvent::Quarantined { slot: G::KIND.slot(), revision, successor, at_decision });
        self.engine.discard(bad.instance);
    }

    /// Tells the active revision what has changed.
    pub(crate) fn update(&mut self, now_ms: u64, context: &G::Context) {
        let hot = self.hot;
        let Some(bound) = &mut self.active else { return };
        let Some(instance) = &mut bound.instance else { return };
        if let Err(fault) = instance.resume(hot, now_ms, context) {
            self.strike(now_ms, fault);
            self.revive(now_ms, context);
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

    pub(crate) fn status(&self) -> SlotStatus {
        let state = match (&self.active, &self.quarantined) {
            (_, Some(_)) => SlotState::Quarantined,
            (Some(_), None) => SlotState::Active,
            (None, None) => SlotState::Native,
        };
        SlotStatus {
            slot: G::KIND.slot(),
            state,
            active: self.revision().cloned(),
            settings: self.active.as_ref().map(|bound| bound.origin.settings.clone()).unwrap_or_default(),
            can_roll_back: self.previous.is_some(),
            previous: self.previous.as_ref().and_then(|back| back.as_ref()).map(Bound::revision).cloned(),
            quarantined: self.quarantined.clone(),
            strikes: self.strikes.len(),
            state_messages: self.active.as_ref().map_or(0, |bound| bound.state_messages),
            since_ms: self.since_ms,
            lost_events: self.lost_events,
            ..self.stats.status()
        }
    }
}
