//! Handlers: one event in, a list of effects out, applied by the caller and only when the call succeeded.
//!
//! Owned by a thread that may wait for a handler; never by the one that drives the core.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_proto::policy::Class;
use wasmtime::Store;

use crate::engine::Engine;
use crate::fault::Fault;
use crate::input::Input;
use crate::journal::began;
use crate::limits::{self, HANDLER_CALL};
use crate::load::{Kind, Loaded, Revision, World};
use crate::policy::{life_cycle, wrong_kind};
use crate::sandbox::{self, Host, Kv};
use crate::settings::{Refusal, Settings, clip, lend};
use crate::slot::{
    Guest, PrepareError, Prepared, Sealed, Sentence, Slot, SlotEvent, SlotStatus, StartWith, State,
    SwapError, SwapReport, Toward, Withdrawn,
};
use crate::wit::handler::{self, calls};

mod event;
mod operate;
mod pace;

pub use event::{Effect, Event, Message};
use pace::Pace;

/// The least time of a timer.
pub const MIN_TIMER_MS: u32 = 10;

/// Why a call has no effects, in the handler's words. No fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It knows no command of this name.
    #[error("there is no command {0:?}")]
    UnknownCommand(String),
    /// The arguments cannot be used.
    #[error("{0}")]
    BadInput(String),
    /// The command cannot be carried out now.
    #[error("{0}")]
    Unavailable(String),
}

/// What came of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Apply these.
    Done(Vec<Effect>),
    /// The handler does not do it; nothing is to be applied.
    Declined(Failure),
    /// The handler failed or there is none; nothing is to be applied.
    Failed,
}

/// What came of an event, and of a fault before or during it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    /// Of the event.
    pub outcome: Outcome,
    /// A fresh instance or another revision handles from now on: drop all subscriptions and timers, then
    /// apply these.
    pub restart: Option<Vec<Effect>>,
}

/// The node that a handler runs on, and the store that it reads.
#[derive(Clone, Default)]
pub struct Identity {
    node: [u8; 32],
    name: String,
    kv: Shared,
}

impl Identity {
    pub(crate) fn of(node: [u8; 32], name: String, kv: Kv) -> Identity {
        Identity { node, name, kv: Shared::of(kv) }
    }

    pub(crate) fn kv(&self) -> &Shared {
        &self.kv
    }
}

/// The handler's store: the slot writes it, instances read it, also those that are prepared on another
/// thread.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    kv: Arc<Mutex<Kv>>,
    /// Calls that have changed it.
    writes: Arc<AtomicU64>,
}

impl Shared {
    fn of(kv: Kv) -> Shared {
        Shared { kv: Arc::new(Mutex::new(kv)), writes: Arc::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Kv> {
        // Plain maps cannot be left half-written.
        self.kv.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }
}

/// An instance of a handler.
pub struct Handler {
    engine: Engine,
    store: Store<Host>,
    world: handler::Handler,
    /// The store's writes when it was configured.
    configured_at: u64,
}

/// A handler that is ready for [`HandlerSlot::swap`].
pub type PreparedHandler = Prepared<Handler>;

/// Makes a handler ready: instantiates, configures, tries out with an unknown command.
///
/// # Errors
/// When the settings are refused or the plugin fails.
pub fn prepare_handler(
    loaded: &Loaded,
    identity: Identity,
    settings: &Settings,
) -> Result<PreparedHandler, PrepareError> {
    Prepared::new(loaded, identity, settings)
}

/// The slot of a handler. Empty at first; then events are [`Outcome::Failed`].
pub struct HandlerSlot {
    slot: Slot<Handler>,
    identity: Identity,
    pace: Pace,
}

impl HandlerSlot {
    /// Returns an empty slot on the node with this id and name; `kv` is what its handlers have put aside
    /// before.
    pub fn new(engine: &Engine, node: [u8; 32], name: &str, kv: Kv) -> HandlerSlot {
        let identity = Identity::of(node, name.to_owned(), kv);
        HandlerSlot { slot: Slot::new(engine, HANDLER_CALL), identity, pace: Pace::default() }
    }

    /// Returns what [`prepare_handler`] needs to know of this slot.
    pub fn identity(&self) -> Identity {
        self.identity.clone()
    }

    /// Lets `new` handle events from now on. Drop all subscriptions and timers of the old one, then apply
    /// the effects.
    ///
    /// # Errors
    /// Why it did not happen; the old one goes on.
    pub fn swap(
        &mut self,
        new: PreparedHandler,
        now_ms: u64,
        start_with: StartWith,
    ) -> Result<(SwapReport, Vec<Effect>), SwapError> {
        let report = self.slot.swap(new, now_ms, start_with, &())?;
        Ok((report, self.slot.take_configured().unwrap_or_default()))
    }

    /// As [`HandlerSlot::swap`], for what the slot begins with: there is nothing before it to roll back to.
    ///
    /// # Errors
    /// As for [`HandlerSlot::swap`].
    pub fn begin(
        &mut self,
        new: PreparedHandler,
        now_ms: u64,
        start_with: StartWith,
    ) -> Result<(SwapReport, Vec<Effect>), SwapError> {
        let report = self.slot.begin(new, now_ms, start_with, &())?;
        Ok((report, self.slot.take_configured().unwrap_or_default()))
    }

    /// Puts into quarantine what was in it before a restart.
    pub fn put_aside(&mut self, old: PreparedHandler, now_ms: u64, sentence: Sentence) {
        self.slot.put_aside(old, now_ms, sentence);
    }

    /// Does everything that [`HandlerSlot::swap`] does but the switch.
    ///
    /// # Errors
    /// Why the swap would not happen.
    pub fn rehearse(
        &mut self,
        new: PreparedHandler,
        now_ms: u64,
        start_with: StartWith,
    ) -> Result<SwapReport, SwapError> {
        self.slot.rehearse_swap(new, now_ms, start_with, &())
    }

    /// Goes back to the handler before the last swap; as with [`HandlerSlot::swap`], its effects replace all
    /// subscriptions and timers.
    ///
    /// # Errors
    /// [`SwapError::NoPrevious`]; then nothing has changed.
    pub fn rollback(&mut self, now_ms: u64) -> Result<(SwapReport, Vec<Effect>), SwapError> {
        let report = self.slot.rollback(now_ms, &())?;
        Ok((report, self.slot.take_configured().unwrap_or_default()))
    }

    /// As [`HandlerSlot::rollback`], to a handler that is not warm any more.
    ///
    /// # Errors
    /// The fault of the earlier handler; then nothing has changed.
    pub fn bring_back(
        &mut self,
        old: PreparedHandler,
        toward: Toward,
        now_ms: u64,
    ) -> Result<(SwapReport, Vec<Effect>), SwapError> {
        let report = self.slot.bring_back(old, None, toward, now_ms, &())?;
        Ok((report, self.slot.take_configured().unwrap_or_default()))
    }

    /// Empties the slot; drop all subscriptions and timers. A rollback undoes it.
    ///
    /// # Errors
    /// [`SwapError::NoPlugin`] when it is empty.
    pub fn remove(&mut self, now_ms: u64) -> Result<SwapReport, SwapError> {
        let report = self.slot.remove(now_ms, &())?;
        self.slot.take_configured();
        Ok(report)
    }

    /// Forgets this revision if a rollback would bring it back; there is nothing to go back to then.
    pub fn forget_standby(&mut self, digest: &[u8; 32]) {
        self.slot.forget_standby(digest);
    }

    /// Takes out of the slot what must not handle any more, for good; its successor's effects replace all
    /// subscriptions and timers.
    pub fn withdraw(
        &mut self,
        is_withdrawn: &dyn Fn(&Revision) -> bool,
        now_ms: u64,
    ) -> Option<(Withdrawn, Vec<Effect>)> {
        let withdrawn = self.slot.withdraw(is_withdrawn, now_ms, &())?;
        Some((withdrawn, self.slot.take_configured().unwrap_or_default()))
    }

    /// Lets the handler take in one event; may take as long as [`HANDLER_CALL`] and more on a busy machine.
    pub fn handle(&mut self, now_ms: u64, seed: u64, event: Event) -> Handled {
        if let Err(failure) = check_event(&event) {
            return Handled { outcome: Outcome::Declined(failure), restart: None };
        }
        let kv = &self.identity.kv;
        let input = || digest(now_ms, seed, &event);
        let ask = |guest: &mut Handler, limit| guest.handle(limit, now_ms, seed, &event, kv);
        let answer = self.slot.ask(now_ms, 1, &(), input, ask);
        self.slot.note(now_ms, &(), |journal, told| {
            journal.handled(now_ms, told, seed, &event, answer.as_ref().ok());
        });
        let outcome = match answer {
            Ok(Ok(mut effects)) => {
                // Behind the journal, which has the handler's own answer: a replay compares that.
                let dropped = self.pace.hold(now_ms, &mut effects);
                if dropped > 0 {
                    self.slot
                        .warn(now_ms, format!("{dropped} messages were more than it may publish a second"));
                }
                Outcome::Done(effects)
            }
            Ok(Err(failure)) => Outcome::Declined(failure),
            // There is no native handler, so every failure mode is closed.
            Err(_) => Outcome::Failed,
        };
        Handled { outcome, restart: self.slot.take_configured() }
    }

    /// Returns everything an operator may want to know of the slot.
    pub fn status(&self) -> SlotStatus {
        self.slot.status()
    }

    /// Returns the active revision, or `None` when the slot is empty.
    pub fn revision(&self) -> Option<&Revision> {
        self.slot.revision()
    }

    /// Returns what has happened since the last time.
    pub fn take_events(&mut self) -> Vec<SlotEvent> {
        let mut events = Vec::new();
        self.slot.take_events(&mut events);
        events
    }

    /// Returns the state that the handler would hand to a successor; `None` when the slot is empty.
    ///
    /// # Errors
    /// When it fails to save. That costs no strike.
    pub fn peek_state(&mut self) -> Result<Option<State>, Fault> {
        self.slot.peek_state()
    }
}

fn digest(now_ms: u64, seed: u64, event: &Event) -> [u8; 32] {
    let input = Input::of("handle", now_ms).number(seed);
    let input = match event {
        Event::Timer(id) => input.bytes(b"timer").number((*id).into()),
        Event::Message(message) => {
            let input = input.bytes(b"message").bytes(message.topic.as_bytes()).bytes(&message.origin);
            input.bytes(&message.id).bytes(&message.payload).number(message.sent_ms)
        }
        Event::Command { name, payload } => input.bytes(b"command").bytes(name.as_bytes()).bytes(payload),
    };
    input.digest()
}

pub(crate) fn check_event(event: &Event) -> Result<(), Failure> {
    let too_large = |what| Err(Failure::BadInput(format!("{what} is larger than a handler is given")));
    match event {
        Event::Timer(_) => Ok(()),
        Event::Message(message) if message.payload.len() > limits::EVENT_BYTES => too_large("the message"),
        Event::Command { payload, .. } if payload.len() > limits::EVENT_BYTES => too_large("the command"),
        Event::Command { name, .. } if name.len() > limits::NAME_BYTES => too_large("the name"),
        Event::Message(_) | Event::Command { .. } => Ok(()),
    }
}

impl Handler {
    fn call<R>(
        &mut self,
        limit: Duration,
        call: impl FnOnce(&calls::Guest, &mut Store<Host>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault>
    where
        calls::Guest: Sized,
    {
        let world = &self.world;
        sandbox::call(&self.engine, &mut self.store, limit, |store| call(world.mesh_handler_events(), store))
    }

    pub(crate) fn handle(
        &mut self,
        limit: Duration,
        now_ms: u64,
        seed: u64,
        event: &Event,
        kv: &Shared,
    ) -> Result<Result<Vec<Effect>, Failure>, Fault> {
        let lent = lend_event(event);
        self.store.data_mut().wasi.begin(now_ms, seed);
        let answer = self.call(limit, |guest, store| guest.call_handle(store, now_ms, seed, lent))?;
        let effects = match answer {
            Ok(effects) => checked(effects)?,
            Err(failure) => return Ok(Err(failure.into())),
        };
        check_calls_for_event(event, &effects)?;
        apply(&effects, kv)?;
        Ok(Ok(effects))
    }
}

fn lend_event(event: &Event) -> calls::Event<'_> {
    match event {
        Event::Timer(id) => calls::Event::Timer(*id),
        Event::Message(message) => calls::Event::Message(calls::Message {
            topic: &message.topic,
            origin: &message.origin,
            id: &message.id,
            payload: &message.payload,
            sent_ms: message.sent_ms,
        }),
        Event::Command { name, payload } => calls::Event::Command(calls::Command { name, payload }),
    }
}

fn wrong(effect: &'static str, reason: &'static str) -> Fault {
    Fault::Effect { effect, reason }
}

/// Translates effects and checks every size.
fn checked(effects: Vec<calls::Effect>) -> Result<Vec<Effect>, Fault> {
    if effects.len() > limits::EFFECTS {
        return Err(wrong("list", "has too many entries"));
    }
    effects.into_iter().map(checked_effect).collect()
}

fn checked_effect(effect: calls::Effect) -> Result<Effect, Fault> {
    let name = |kind, name: String| match name.len() {
        1..=limits::NAME_BYTES => Ok(name),
        0 => Err(wrong(kind, "has an empty name")),
        _ => Err(wrong(kind, "has a name above 256 bytes")),
    };
    let bytes = |kind, bytes: Vec<u8>| match bytes.len() {
        ..=limits::EFFECT_BYTES => Ok(bytes),
        _ => Err(wrong(kind, "carries more than 64 KiB")),
    };
    Ok(match effect {
        calls::Effect::Subscribe(topic) => Effect::Subscribe(name("subscribe", topic)?),
        calls::Effect::Publish(publication) => Effect::Publish {
            topic: name("publish", publication.topic)?,
            class: publication.class.into(),
            ttl_ms: publication.ttl_ms,
            payload: bytes("publish", publication.payload)?,
        },
        calls::Effect::SetTimer(timer) => {
            Effect::SetTimer { id: timer.id, after_ms: timer.after_ms.max(MIN_TIMER_MS) }
        }
        calls::Effect::Reply(payload) => Effect::Reply(bytes("reply", payload)?),
        calls::Effect::Notify(notice) => {
            Effect::Notify { kind: name("notify", notice.kind)?, payload: bytes("notify", notice.payload)? }
        }
        calls::Effect::Put(entry) => {
            Effect::Put { key: name("put", entry.key)?, value: bytes("put", entry.value)? }
        }
        calls::Effect::Forget(key) => Effect::Forget(name("forget", key)?),
    })
}

/// A reply answers a command, once.
fn check_calls_for_event(event: &Event, effects: &[Effect]) -> Result<(), Fault> {
    let replies = effects.iter().filter(|effect| matches!(effect, Effect::Reply(_))).count();
    match (event, replies) {
        (_, 0) | (Event::Command { .. }, 1) => Ok(()),
        (Event::Command { .. }, _) => Err(wrong("reply", "comes more than once")),
        _ => Err(wrong("reply", "answers no command")),
    }
}

/// Writes into the store, all or nothing.
fn apply(effects: &[Effect], kv: &Shared) -> Result<(), Fault> {
    if !effects.iter().any(|effect| matches!(effect, Effect::Put { .. } | Effect::Forget(_))) {
        return Ok(());
    }
    let writes = &kv.writes;
    let mut kv = kv.lock();
    let mut next = kv.clone();
    for effect in effects {
        match effect {
            Effect::Put { key, value } => drop(next.insert(key.clone(), value.clone())),
            Effect::Forget(key) => drop(next.remove(key)),
            _ => {}
        }
    }
    let bytes: usize = next.iter().map(|(key, value)| key.len() + value.len()).sum();
    if next.len() > limits::KV_KEYS || bytes > limits::KV_BYTES {
        return Err(wrong("put", "fills the store beyond its quota"));
    }
    *kv = next;
    writes.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

impl From<calls::Class> for Class {
    fn from(class: calls::Class) -> Class {
        match class {
            calls::Class::Critical => Class::Critical,
            calls::Class::High => Class::High,
            calls::Class::Normal => Class::Normal,
            calls::Class::Low => Class::Low,
            calls::Class::Bulk => Class::Bulk,
        }
    }
}

impl From<calls::Failure> for Failure {
    fn from(failure: calls::Failure) -> Failure {
        match failure {
            calls::Failure::UnknownCommand(name) => Failure::UnknownCommand(clip(name)),
            calls::Failure::BadInput(reason) => Failure::BadInput(clip(reason)),
            calls::Failure::Unavailable(reason) => Failure::Unavailable(clip(reason)),
        }
    }
}

impl Sealed for Handler {}
impl Guest for Handler {
    type Context = ();
    type Identity = Identity;
    type Configured = Vec<Effect>;
    const KIND: Kind = Kind::Handler;

    fn start(
        loaded: &Loaded,
        identity: &Identity,
        settings: &Settings,
        limit: Duration,
    ) -> Result<(Self, Result<Vec<Effect>, Refusal>), Fault> {
        let World::Handler(pre) = &loaded.0.world else {
            return Err(wrong_kind(loaded, Self::KIND));
        };
        let engine = loaded.0.engine.clone();
        let mut store = sandbox::store(&engine, &loaded.0.revision);
        store.data_mut().kv = identity.kv.clone();
        store.data_mut().wasi.on_node(&identity.node);
        let world = sandbox::call(&engine, &mut store, limit, |store| pre.instantiate(store))?;
        let mut guest = Handler { engine, store, world, configured_at: identity.kv.writes() };
        let lent = lend(settings);
        let node = calls::SelfInfo { node: &identity.node, name: &identity.name };
        let configured = guest.call(limit, |guest, store| guest.call_configure(store, node, &lent))?;
        let effects = match configured {
            Ok(effects) => checked(effects)?,
            Err(refusal) => return Ok((guest, Err(refusal.into()))),
        };
        if !effects.iter().all(|effect| matches!(effect, Effect::Subscribe(_) | Effect::SetTimer { .. })) {
            return Err(wrong("list", "of configure has more than subscriptions and timers"));
        }
        Ok((guest, Ok(effects)))
    }

    /// What it read when it was configured is not what the store has now.
    fn is_as_configured(&self) -> bool {
        self.configured_at == self.store.data().kv.writes()
    }

    fn beside_state(identity: &Identity, most: usize) -> Vec<u8> {
        began::encode(&identity.node, &identity.name, &identity.kv.lock(), most)
    }

    fn rehearse(&mut self, limit: Duration) -> Result<(), Fault> {
        let event = calls::Event::Command(calls::Command { name: "", payload: &[] });
        self.call(limit, |guest, store| guest.call_handle(store, 0, 0, event)).map(drop)
    }

    life_cycle!();
}
