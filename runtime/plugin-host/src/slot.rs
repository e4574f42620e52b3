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

mod report;
mod stats;

pub use report::{
    Carry, FaultRecord, PrepareError, SlotEvent, SlotState, SlotStatus, SwapError, SwapReport, Withdrawn,
};
use stats::Stats;

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

/// An instance that is configured, tried out and warm: what a swap needs. Made off the hot path.
pub struct Prepared<G: Guest> {
    instance: G,
    origin: Origin<G>,
    version: u32,
    configured: G::Configured,
    took: Duration,
}

/// What fresh instances of a revision are made from.
struct Origin<G: Guest> {
    loaded: Loaded,
    identity: G::Identity,
    settings: Settings,
}

impl<G: Guest> Prepared<G> {
    /// Instantiates, configures and tries out a plugin: state is saved and loaded, every call is made once.
    ///
    /// Takes about 0.1 ms for a well-behaved plugin and up to a few seconds for one that hangs.
    ///
    /// # Errors
    /// When the settings are refused or the plugin fails.
    pub fn new(loaded: &Loaded, identity: G::Identity, settings: &Settings) -> Result<Self, PrepareError> {
        let begun = Instant::now();
        if loaded.kind() != G::KIND {
            return Err(PrepareError::WrongKind { is: loaded.kind(), wanted: G::KIND });
        }
        let settings = match loaded.manifest() {
            Some(manifest) => manifest.check_settings(settings)?,
            None => settings.clone(),
        };
        let (mut instance, configured) = G::start(loaded, &identity, &settings, limits::SETUP)?;
        let configured = configured.map_err(PrepareError::Refused)?;
        let version = instance.state_version()?;
        // The blank state comes back after the rehearsal, which must leave no trace in it.
        let blank = State { version, bytes: instance.save(limits::SETUP)? };
        instance.rehearse(limits::SETUP)?;
        instance.load(limits::SETUP, &blank).map_err(PrepareError::refuses_its_own)?;
        let origin = Origin { loaded: loaded.clone(), identity, settings };
        Ok(Prepared { instance, origin, version, configured, took: begun.elapsed() })
    }

    /// Returns which revision it is.
    pub fn revision(&self) -> &Revision {
        self.origin.loaded.revision()
    }

    /// Returns the settings as they were given to the plugin.
    pub fn settings(&self) -> &Settings {
        &self.origin.settings
    }

    /// Returns how long the preparation took, without the compilation.
    pub fn took(&self) -> Duration {
        self.took
    }
}

impl<G: Guest> std::fmt::Debug for Prepared<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("revision", self.revision()).finish_non_exhaustive()
    }
}

/// A revision in the slot.
struct Bound<G: Guest> {
    /// `None` after a fault, until a fresh instance has been made.
    instance: Option<G>,
    origin: Origin<G>,
    version: u32,
    checkpoint: Option<Checkpoint>,
    /// Decisions that the running state knows of.
    state_messages: u64,
    next_checkpoint_ms: u64,
    configured: G::Configured,
}

struct Checkpoint {
    state: State,
    messages: u64,
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

    /// Hands over to `prepared`. Any failure leaves everything as it was.
    pub(crate) fn swap(
        &mut self,
        prepared: Prepared<G>,
        now_ms: u64,
        carry: Carry,
        context: &G::Context,
    ) -> Result<SwapReport, SwapError> {
        let begun = Instant::now();
        let (bound, mut report) = self.hand_over(prepared, now_ms, carry, context)?;
        let old = self.active.replace(bound);
        report.pause = begun.elapsed();
        let keep = old.filter(|old| old.instance.is_some());
        let displaced = self.previous.replace(keep);
        self.engine.discard(displaced);
        self.after_switch(now_ms);
        self.stats.swaps += 1;
        self.tell(SlotEvent::Swapped(report.clone()));
        Ok(report)
    }

    /// Does everything that [`Slot::swap`] does but the switch.
    pub(crate) fn rehearse_swap(
        &mut self,
        prepared: Prepared<G>,
        now_ms: u64,
        carry: Carry,
        context: &G::Context,
    ) -> Result<SwapReport, SwapError> {
        let begun = Instant::now();
        let (bound, mut report) = self.hand_over(prepared, now_ms, carry, context)?;
        report.pause = begun.elapsed();
        self.engine.discard(bound.instance);
        Ok(report)
    }

    fn hand_over(
        &mut self,
        prepared: Prepared<G>,
        now_ms: u64,
        carry: Carry,
        context: &G::Context,
    ) -> Result<(Bound<G>, SwapReport), SwapError> {
        let Prepared { mut instance, origin, version, configured, .. } = prepared;
        let (state, messages) = match self.state_to_carry(carry)? {
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
    fn state_to_carry(&mut self, carry: Carry) -> Result<(Option<State>, u64), SwapError> {
        match carry {
            Carry::Reset => Ok((None, 0)),
            Carry::From(state) => Ok((Some(state), 0)),
            Carry::Keep => {
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
        let carried = self.active.as_mut().and_then(|bound| bound.state(hot).ok()).flatten();
        let Some(mut back) = self.previous.take() else { return Err(SwapError::NoPrevious) };
        let mut is_carried = false;
        let state_bytes = carried.as_ref().map_or(0, |(state, _)| state.bytes.len());
        if let Some(bound) = &mut back {
            is_carried = bound.take_over(hot, carried);
            if let Err(fault) = bound.resume(hot, now_ms, context) {
                self.engine.discard(back);
                return Err(SwapError::Failed(fault));
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
        self.after_switch(now_ms);
        self.stats.rollbacks += 1;
        self.tell(SlotEvent::RolledBack(report.clone()));
        Ok(report)
    }

    /// Gives the slot back to the native built-in; the revision stays warm for a rollback.
    pub(crate) fn remove(&mut self, now_ms: u64) -> Result<SwapReport, SwapError> {
        let begun = Instant::now();
        let Some(old) = self.active.take() else { return Err(SwapError::NoPrevious) };
        let report = SwapReport {
            slot: G::KIND.slot(),
            old: Some(old.origin.loaded.revision().clone()),
            new: None,
            state_bytes: 0,
            state_carried: false,
            pause: begun.elapsed(),
            at_decision: self.stats.messages,
        };
        let displaced = self.previous.replace(Some(old).filter(|old| old.instance.is_some()));
        self.engine.discard(displaced);
        self.after_switch(now_ms);
        self.stats.swaps += 1;
        self.tell(SlotEvent::Swapped(report.clone()));
        Ok(report)
    }

    /// Takes out what must not decide any more: nothing of it can come back by a rollback. What decided before
    /// goes on where the active one is taken out, with the state it left with, or else the native built-in.
    pub(crate) fn withdraw(
        &mut self,
        is_withdrawn: &dyn Fn(&Revision) -> bool,
        now_ms: u64,
        context: &G::Context,
    ) -> Option<Withdrawn> {
        let goes = |bound: &Bound<G>| is_withdrawn(bound.revision());
        if self.previous.as_ref().and_then(Option::as_ref).is_some_and(goes) {
            let gone = self.previous.take();
            self.engine.discard(gone);
        }
        let bad = self.active.take_if(|bound| goes(bound))?;
        let hot = self.hot;
        let back = self.previous.take().flatten();
        self.active = back.and_then(|mut bound| bound.resume(hot, now_ms, context).ok().map(|()| bound));
        self.after_switch(now_ms);
        let revision = bad.revision().clone();
        let successor = self.revision().cloned();
        tracing::error!(slot = G::KIND.slot(), plugin = %revision, "plugin withdrawn");
        self.engine.discard(bad.instance);
        Some(Withdrawn { slot: G::KIND.slot(), revision, successor })
    }

    fn after_switch(&mut self, now_ms: u64) {
        self.strikes.clear();
        self.quarantined = None;
        self.since_ms = now_ms;
        self.configured =
            Some(self.active.as_ref().map(|bound| bound.configured.clone()).unwrap_or_default());
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

impl<G: Guest> Bound<G> {
    fn revision(&self) -> &Revision {
        self.origin.loaded.revision()
    }

    /// Makes a fresh instance with the last checkpoint. Traffic waits, so it has the time of calls only.
    fn fresh(
        &mut self,
        limit: Duration,
        now_ms: u64,
        context: &G::Context,
    ) -> Result<(G, G::Configured), Fault> {
        let Origin { loaded, identity, settings } = &self.origin;
        let (mut instance, configured) = G::start(loaded, identity, settings, limit)?;
        let configured = configured.map_err(Fault::Refused)?;
        if let Some(last) = &self.checkpoint {
            instance.load(limit, &last.state).map_err(|refused| match refused {
                Refused::Refusal(refusal) => Fault::Refused(refusal),
                Refused::Fault(fault) => fault,
            })?;
        }
        instance.resume(limit, now_ms, context)?;
        Ok((instance, configured))
    }

    /// Returns the state now, or the last checkpoint when there is no instance; each with the number of
    /// decisions that it knows of.
    fn state(&mut self, limit: Duration) -> Result<Option<(State, u64)>, Fault> {
        match &mut self.instance {
            Some(instance) => {
                let bytes = instance.save(limit)?;
                Ok(Some((State { version: self.version, bytes }, self.state_messages)))
            }
            None => Ok(self.checkpoint.as_ref().map(|last| (last.state.clone(), last.messages))),
        }
    }

    /// Says whether the state was taken; when not, the revision's own stays.
    fn take_over(&mut self, limit: Duration, carried: Option<(State, u64)>) -> bool {
        let (Some(instance), Some((state, messages))) = (&mut self.instance, carried) else { return false };
        let Ok(own) = instance.save(limit) else { return false };
        match instance.load(limit, &state) {
            Ok(()) => {
                self.state_messages = messages;
                self.checkpoint = Some(Checkpoint { state, messages });
                true
            }
            Err(_) => {
                // A refusal may have come half-way: its own state is put back.
                let _ = instance.load(limit, &State { version: self.version, bytes: own });
                false
            }
        }
    }

    fn resume(&mut self, limit: Duration, now_ms: u64, context: &G::Context) -> Result<(), Fault> {
        let Some(instance) = &mut self.instance else {
            return Err(Fault::Start { reason: "it has no instance".into() });
        };
        self.next_checkpoint_ms = now_ms;
        instance.resume(limit, now_ms, context)
    }
}
