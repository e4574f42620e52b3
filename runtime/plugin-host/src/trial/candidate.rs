//! One instance of a candidate, of whichever policy it is: starts, takes a copy of the state, answers, and is
//! started anew after a fault. Its answers are checked as the active one's are.

use std::time::Duration;

use mesh_proto::policy::View;

use super::compared::{Answer, Asked};
use super::{Answered, Start};
use crate::fault::Fault;
use crate::limits;
use crate::load::{Kind, Loaded, Revision};
use crate::policy::{Qos, Routing, Topology};
use crate::settings::Settings;
use crate::slot::{Guest, PrepareError, Prepared, Refused, State, SwapError};

/// An instance for one stage of a trial, made off the hot path.
pub struct Candidate {
    /// `None` after a fault, until it is started anew.
    instance: Option<Instance>,
    loaded: Loaded,
    settings: Settings,
    state: Option<State>,
}

enum Instance {
    Routing(Routing),
    Qos(Qos),
    Topology(Topology),
}

impl Candidate {
    /// Instantiates, configures and tries out, as for a swap.
    ///
    /// # Errors
    /// When the settings are refused, the plugin fails, or it is no policy.
    pub fn new(loaded: &Loaded, settings: &Settings) -> Result<Candidate, PrepareError> {
        let (instance, settings) = match loaded.kind() {
            Kind::Routing => tried(Prepared::<Routing>::new(loaded, (), settings)?, Instance::Routing),
            Kind::Qos => tried(Prepared::<Qos>::new(loaded, (), settings)?, Instance::Qos),
            Kind::Topology => tried(Prepared::<Topology>::new(loaded, (), settings)?, Instance::Topology),
            is @ Kind::Handler => return Err(PrepareError::WrongKind { is, wanted: Kind::Routing }),
        };
        Ok(Candidate { instance: Some(instance), loaded: loaded.clone(), settings, state: None })
    }

    /// Returns which revision it is.
    pub fn revision(&self) -> &Revision {
        self.loaded.revision()
    }

    /// Takes the state and the view over, as a successor would.
    pub(super) fn begin(&mut self, limit: Duration, start: Start<'_>) -> Result<(), SwapError> {
        // A plugin without state leaves nothing that its successor could refuse.
        self.state = start.state.filter(|state| state.version != 0 || !state.bytes.is_empty());
        let Some(instance) = &mut self.instance else { return Ok(()) };
        if let Some(state) = &self.state {
            instance.load(limit, state)?;
        }
        instance.observe(limit, start.now_ms, start.view).map_err(SwapError::Failed)
    }

    pub(super) fn observe(&mut self, limit: Duration, now_ms: u64, view: &View) -> Result<(), Fault> {
        let Some(instance) = &mut self.instance else { return Ok(()) };
        let seen = instance.observe(limit, now_ms, view);
        self.keep_if(seen)
    }

    /// Asks; after a fault the next call is answered by a fresh instance with the state of the beginning.
    pub(super) fn answer(&mut self, limit: Duration, now_ms: u64, view: &View, asked: &Asked) -> Answered {
        if self.instance.is_none() {
            self.instance = Some(self.fresh(limit, now_ms, view)?);
        }
        let instance = self.instance.as_mut().expect("it was just made");
        let answered = instance.answer(limit, now_ms, view, asked);
        self.keep_if(answered)
    }

    fn keep_if<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        if outcome.is_err() {
            self.instance = None;
        }
        outcome
    }

    fn fresh(&self, limit: Duration, now_ms: u64, view: &View) -> Result<Instance, Fault> {
        let (loaded, settings) = (&self.loaded, &self.settings);
        let mut instance = match loaded.kind() {
            Kind::Routing => Instance::Routing(started(loaded, settings, limit)?),
            Kind::Qos => Instance::Qos(started(loaded, settings, limit)?),
            Kind::Topology => Instance::Topology(started(loaded, settings, limit)?),
            Kind::Handler => unreachable!("a handler is no candidate"),
        };
        if let Some(state) = &self.state {
            instance.load(limit, state)?;
        }
        instance.observe(limit, now_ms, view)?;
        Ok(instance)
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate").field("revision", self.revision()).finish_non_exhaustive()
    }
}

fn tried<G: Guest>(prepared: Prepared<G>, wrap: fn(G) -> Instance) -> (Instance, Settings) {
    let settings = prepared.settings().clone();
    (wrap(prepared.into_instance()), settings)
}

fn started<G: Guest>(loaded: &Loaded, settings: &Settings, limit: Duration) -> Result<G, Fault> {
    let (instance, configured) = G::start(loaded, &G::Identity::default(), settings, limit)?;
    configured.map_err(Fault::Refused)?;
    Ok(instance)
}

impl Instance {
    fn load(&mut self, limit: Duration, state: &State) -> Result<(), Refused> {
        match self {
            Instance::Routing(guest) => guest.load(limit, state),
            Instance::Qos(guest) => guest.load(limit, state),
            Instance::Topology(guest) => guest.load(limit, state),
        }
    }

    fn observe(&mut self, limit: Duration, now_ms: u64, view: &View) -> Result<(), Fault> {
        match self {
            Instance::Routing(guest) => guest.resume(limit, now_ms, view),
            Instance::Qos(_) | Instance::Topology(_) => Ok(()),
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
            _ => unreachable!("the calls of a trial are those of its slot"),
        }
    }
}

/// The deadline of a candidate's call: what the active one has.
pub(super) const LIMIT: Duration = limits::POLICY_CALL;
