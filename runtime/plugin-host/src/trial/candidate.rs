//! One instance of a candidate, of whichever policy it is: starts, takes a copy of the state, answers, and is
//! started anew after a fault. Its answers are checked as the active one's are.

use std::time::Duration;

use mesh_proto::policy::View;

use super::compared::{Answer, Asked};
use super::{Answered, Start};
use crate::fault::Fault;
use crate::load::{Kind, Loaded, Revision};
use crate::policy::{Admission, Carry, Qos, Routing, Topology};
use crate::settings::Settings;
use crate::slot::{Guest, PrepareError, Prepared, Refused, State, SwapError, hold_to};
use crate::terms::Terms;

/// An instance for one stage of a trial, made off the hot path.
pub struct Candidate {
    /// `None` after a fault, until it is started anew.
    instance: Option<Instance>,
    loaded: Loaded,
    settings: Settings,
    terms: Terms,
    state: Option<State>,
}

enum Instance {
    Routing(Routing),
    Qos(Qos),
    Topology(Topology),
    Admission(Admission),
    Carry(Carry),
}

impl Candidate {
    /// Instantiates, configures and tries out, as for a swap. It is held to the limits of `terms`, which it would
    /// have after a swap.
    ///
    /// # Errors
    /// When the settings are refused, the plugin fails or needs more memory than it is to have, or it is no policy.
    pub fn new(loaded: &Loaded, settings: &Settings, terms: Terms) -> Result<Candidate, PrepareError> {
        let (instance, settings) = match loaded.kind() {
            Kind::Routing => tried(loaded, settings, terms, Instance::Routing)?,
            Kind::Qos => tried(loaded, settings, terms, Instance::Qos)?,
            Kind::Topology => tried(loaded, settings, terms, Instance::Topology)?,
            Kind::Admission => tried(loaded, settings, terms, Instance::Admission)?,
            Kind::Carry => tried(loaded, settings, terms, Instance::Carry)?,
            is @ Kind::Handler => return Err(PrepareError::WrongKind { is, wanted: Kind::Routing }),
        };
        Ok(Candidate { instance: Some(instance), loaded: loaded.clone(), settings, terms, state: None })
    }

    /// Returns which revision it is.
    pub fn revision(&self) -> &Revision {
        self.loaded.revision()
    }

    /// Returns the deadline of its calls.
    fn limit(&self) -> Duration {
        self.terms.lowered.bounds(self.loaded.kind()).deadline
    }

    /// Takes the state and the view over, as a successor would.
    pub(super) fn begin(&mut self, start: Start<'_>) -> Result<(), SwapError> {
        let limit = self.limit();
        // A plugin without state leaves nothing that its successor could refuse.
        self.state = start.state.filter(|state| state.version != 0 || !state.bytes.is_empty());
        let Some(instance) = &mut self.instance else { return Ok(()) };
        if let Some(state) = &self.state {
            instance.load(limit, state)?;
        }
        instance.observe(limit, start.now_ms, start.view).map_err(SwapError::Failed)
    }

    pub(super) fn observe(&mut self, now_ms: u64, view: &View) -> Result<(), Fault> {
        let limit = self.limit();
        let Some(instance) = &mut self.instance else { return Ok(()) };
        let seen = instance.observe(limit, now_ms, view);
        self.keep_if(seen)
    }

    /// Asks; after a fault the next call is answered by a fresh instance with the state of the beginning.
    pub(super) fn answer(&mut self, now_ms: u64, view: &View, asked: &Asked) -> Answered {
        let limit = self.limit();
        if self.instance.is_none() {
            self.instance = Some(self.fresh(limit, now_ms, view)?);
        }
        let instance = self.instance.as_mut().expect("it was just made");
        let answered = instance.answer(limit, now_ms, view, asked);
        self.keep_if(answered)
    }

    fn keep_if<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        if outcome.is_err() {
            self.discard();
        }
        outcome
    }

    fn discard(&mut self) {
        self.loaded.0.engine.discard(self.instance.take());
    }

    fn fresh(&self, limit: Duration, now_ms: u64, view: &View) -> Result<Instance, Fault> {
        let mut instance = match self.loaded.kind() {
            Kind::Routing => Instance::Routing(self.started(limit)?),
            Kind::Qos => Instance::Qos(self.started(limit)?),
            Kind::Topology => Instance::Topology(self.started(limit)?),
            Kind::Admission => Instance::Admission(self.started(limit)?),
            Kind::Carry => Instance::Carry(self.started(limit)?),
            Kind::Handler => unreachable!("a handler is no candidate"),
        };
        if let Some(state) = &self.state {
            instance.load(limit, state)?;
        }
        instance.observe(limit, now_ms, view)?;
        Ok(instance)
    }

    fn started<G: Guest>(&self, limit: Duration) -> Result<G, Fault> {
        let (mut instance, configured) =
            G::start(&self.loaded, &G::Identity::default(), &self.settings, limit)?;
        configured.map_err(Fault::Refused)?;
        hold_to(&mut instance, &self.terms)?;
        Ok(instance)
    }
}

/// On another thread: a trial ends on the one that decides.
impl Drop for Candidate {
    fn drop(&mut self) {
        self.discard();
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate").field("revision", self.revision()).finish_non_exhaustive()
    }
}

fn tried<G: Guest>(
    loaded: &Loaded,
    settings: &Settings,
    terms: Terms,
    wrap: fn(G) -> Instance,
) -> Result<(Instance, Settings), PrepareError> {
    let prepared = Prepared::new(loaded, G::Identity::default(), settings)?.with_terms(terms)?;
    let settings = prepared.settings().clone();
    Ok((wrap(prepared.into_instance()), settings))
}

impl Instance {
    fn load(&mut self, limit: Duration, state: &State) -> Result<(), Refused> {
        match self {
            Instance::Routing(guest) => guest.load(limit, state),
            Instance::Qos(guest) => guest.load(limit, state),
            Instance::Topology(guest) => guest.load(limit, state),
            Instance::Admission(guest) => guest.load(limit, state),
            Instance::Carry(guest) => guest.load(limit, state),
        }
    }

    fn observe(&mut self, limit: Duration, now_ms: u64, view: &View) -> Result<(), Fault> {
        match self {
            Instance::Routing(guest) => guest.resume(limit, now_ms, view),
            Instance::Qos(_) | Instance::Topology(_) | Instance::Admission(_) | Instance::Carry(_) => Ok(()),
        }
    }

    fn answer(&mut self, limit: Duration, now_ms: u64, view: &View, asked: &Asked) -> Answered {
        match (self, asked) {
            (Instance::Routing(guest), Asked::Route(batch)) => {
                guest.decide(limit, now_ms, batch, view.links.rtt_us.len()).map(Answer::Route)
            }
            (Instance::Qos(guest), Asked::Classify(batch)) => {
                guest.classify(limit, now_ms, batch).map(Answer::Classify)
            }
            (Instance::Qos(guest), Asked::Divide(load)) => {
                guest.divide(limit, now_ms, load).map(Answer::Divide)
            }
            (Instance::Topology(guest), Asked::Score(asker, candidates)) => {
                guest.score(limit, now_ms, asker, candidates).map(Answer::Score)
            }
            (Instance::Admission(guest), Asked::Admit(place, visitors)) => {
                guest.admit(limit, now_ms, place, visitors).map(Answer::Admit)
            }
            (Instance::Carry(guest), Asked::Carry(room, batch)) => {
                guest.worth(limit, now_ms, room, batch).map(Answer::Carry)
            }
            _ => unreachable!("the calls of a trial are those of its slot"),
        }
    }
}
