//! A revision in a slot: its instance, what fresh ones are made from, its last checkpoint.

use std::time::Duration;

use super::prepared::Origin;
use super::{Guest, Refused, State};
use crate::fault::Fault;
use crate::load::Revision;
use crate::terms::Terms;

/// A revision in the slot.
pub(super) struct Bound<G: Guest> {
    /// `None` after a fault, until a fresh instance has been made.
    pub(super) instance: Option<G>,
    pub(super) origin: Origin<G>,
    pub(super) version: u32,
    pub(super) checkpoint: Option<Checkpoint>,
    /// Decisions that the running state knows of.
    pub(super) state_messages: u64,
    pub(super) next_checkpoint_ms: u64,
    pub(super) configured: G::Configured,
}

pub(super) struct Checkpoint {
    pub(super) state: State,
    pub(super) messages: u64,
}

impl<G: Guest> Bound<G> {
    pub(super) fn revision(&self) -> &Revision {
        self.origin.loaded.revision()
    }

    /// Returns the deadline of its calls, where `hot` is the slot's.
    #[inline]
    pub(super) fn limit(&self, hot: Duration) -> Duration {
        self.origin.terms.lowered.deadline.map_or(hot, |lowered| lowered.min(hot))
    }

    /// Makes a fresh instance with the last checkpoint. Traffic waits, so it has the time of calls only.
    pub(super) fn fresh(
        &mut self,
        limit: Duration,
        now_ms: u64,
        context: &G::Context,
    ) -> Result<(G, G::Configured), Fault> {
        let Origin { loaded, identity, settings, terms } = &self.origin;
        let (mut instance, configured) = G::start(loaded, identity, settings, limit)?;
        let configured = configured.map_err(Fault::Refused)?;
        hold_to(&mut instance, terms)?;
        if let Some(last) = &self.checkpoint {
            instance.load(limit, &last.state)?;
        }
        instance.resume(limit, now_ms, context)?;
        Ok((instance, configured))
    }

    /// Makes an instance where there is none.
    pub(super) fn wake(&mut self, limit: Duration, now_ms: u64, context: &G::Context) -> Result<(), Fault> {
        if self.instance.is_none() {
            let (instance, configured) = self.fresh(limit, now_ms, context)?;
            self.instance = Some(instance);
            self.state_messages = self.checkpoint.as_ref().map_or(0, |last| last.messages);
            self.next_checkpoint_ms = now_ms;
            self.configured = configured;
        }
        Ok(())
    }

    /// Returns the state now, or the last checkpoint when there is no instance; each with the number of
    /// decisions that it knows of. An instance that fails here is gone: the engine lets nobody into it again, and
    /// the next call makes a fresh one.
    pub(super) fn state(&mut self, limit: Duration) -> Result<Option<(State, u64)>, Fault> {
        let Some(mut instance) = self.instance.take() else {
            return Ok(self.checkpoint.as_ref().map(|last| (last.state.clone(), last.messages)));
        };
        match instance.save(limit) {
            Ok(bytes) => {
                self.instance = Some(instance);
                Ok(Some((State { version: self.version, bytes }, self.state_messages)))
            }
            Err(fault) => {
                instance.engine().clone().discard(instance);
                Err(fault)
            }
        }
    }

    /// Gives a new instance the state that its revision left with, and says whether that was taken; else it begins afresh.
    pub(super) fn begin_with(&mut self, limit: Duration, state: State) -> Result<bool, Fault> {
        let Some(instance) = &mut self.instance else { return Ok(false) };
        let blank = State { version: self.version, bytes: instance.save(limit)? };
        match instance.load(limit, &state) {
            Ok(()) => Ok(true),
            Err(Refused::Fault(fault)) => Err(fault),
            Err(Refused::Refusal(_)) => instance.load(limit, &blank).map(|()| false).map_err(Fault::from),
        }
    }

    /// Says whether the state was taken; when not, the revision's own stays. After a fault the instance is of no
    /// use.
    pub(super) fn take_over(
        &mut self,
        limit: Duration,
        carried: Option<(State, u64)>,
    ) -> Result<bool, Fault> {
        let (Some(instance), Some((state, messages))) = (&mut self.instance, carried) else {
            return Ok(false);
        };
        let own = State { version: self.version, bytes: instance.save(limit)? };
        match instance.load(limit, &state) {
            Ok(()) => {
                self.state_messages = messages;
                self.checkpoint = Some(Checkpoint { state, messages });
                Ok(true)
            }
            Err(Refused::Fault(fault)) => Err(fault),
            // It may have come half-way: its own state is put back.
            Err(Refused::Refusal(_)) => instance.load(limit, &own).map(|()| false).map_err(Fault::from),
        }
    }

    pub(super) fn resume(&mut self, limit: Duration, now_ms: u64, context: &G::Context) -> Result<(), Fault> {
        let Some(instance) = &mut self.instance else {
            return Err(Fault::Start { reason: "it has no instance".into() });
        };
        self.next_checkpoint_ms = now_ms;
        instance.resume(limit, now_ms, context)
    }
}

/// Holds an instance to the memory that its operator leaves it.
pub(crate) fn hold_to<G: Guest>(instance: &mut G, terms: &Terms) -> Result<(), Fault> {
    let most = terms.lowered.bounds(G::KIND).memory;
    let used = instance.host().memory();
    if instance.host_mut().limit_memory(most) {
        return Ok(());
    }
    Err(Fault::Start { reason: format!("it needs {used} bytes of memory, and {most} are its limit") })
}
