//! Whoever answers in a replay: an instance of a component, or the native built-in.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_proto::policy::native::{self, AsAsked, Fastest};
use mesh_proto::policy::{Shares, View};

use crate::compare::Answers;
use crate::fault::Fault;
use crate::handler::{self, Handler, Identity, prepare_handler};
use crate::journal::{Came, Event, Payload};
use crate::limits::{BATCH_ROWS, SETUP, VIEW_ROWS};
use crate::load::{Kind, Loaded};
use crate::policy::{Admission, Carry, Qos, Routing, Topology};
use crate::set::{PreparedPolicy, prepare};
use crate::settings::Settings;
use crate::slot::{Guest, PrepareError, Refused, State};
use crate::terms::{Lowered, Terms};

/// Answers calls again.
pub(super) trait Play {
    fn load(&mut self, state: &State) -> Result<(), String>;
    fn save(&mut self) -> Result<Vec<u8>, Fault>;
    /// From here on it has these limits, as it had then.
    fn hold_to(&mut self, _lowered: Lowered) {}
    fn observe(&mut self, now_ms: u64, view: &View) -> Result<(), Fault>;
    fn answer(&mut self, now_ms: u64, call: &Event) -> Result<Made, Fault>;
    /// Lets a handler take in an event.
    fn handle(&mut self, _now_ms: u64, _seed: u64, _event: &handler::Event) -> Result<Came, Fault> {
        Err(misplaced())
    }
    /// Says whether a handler's store is this one.
    fn holds(&self, _kv: &BTreeMap<String, Payload>) -> bool {
        true
    }
}

/// What was answered.
pub(super) enum Made {
    Routes(Vec<u32>),
    Classes(Vec<u8>),
    Shares(Shares),
    Scores(Vec<u32>),
    Admissions(Vec<bool>),
    Worths(Vec<u8>),
}

impl Made {
    pub(super) fn answers(&self) -> Answers<'_> {
        match self {
            Made::Routes(column) => Answers::Routes(column),
            Made::Classes(column) => Answers::Classes(column),
            Made::Shares(shares) => Answers::Shares(*shares),
            Made::Scores(column) => Answers::Scores(column),
            Made::Admissions(column) => Answers::Admissions(column),
            Made::Worths(column) => Answers::Worths(column),
        }
    }
}

/// Makes a handler ready as a node does; `identity` has what it finds in its store, and keeps what it puts there.
pub(super) fn handler(
    loaded: &Loaded,
    settings: &Settings,
    lowered: Lowered,
    identity: Identity,
) -> Result<Box<dyn Play>, PrepareError> {
    let ready = prepare_handler(loaded, identity.clone(), settings)?.with_terms(terms(lowered))?;
    let limit = lowered.bounds(Kind::Handler).deadline;
    Ok(Box::new(Handling { guest: ready.into_instance(), identity, limit }))
}

fn terms(lowered: Lowered) -> Terms {
    Terms { lowered, ..Terms::default() }
}

/// Holds an instance to its memory, unless it has more already, and returns the time for its calls.
fn held<G: Guest>(guest: &mut G, lowered: Lowered) -> Duration {
    let bounds = lowered.bounds(G::KIND);
    guest.host_mut().limit_memory(bounds.memory);
    bounds.deadline
}

struct Handling {
    guest: Handler,
    identity: Identity,
    limit: Duration,
}

impl Play for Handling {
    fn load(&mut self, state: &State) -> Result<(), String> {
        self.guest.load(SETUP, state).map_err(in_words)
    }

    fn save(&mut self) -> Result<Vec<u8>, Fault> {
        self.guest.save(SETUP)
    }

    fn hold_to(&mut self, lowered: Lowered) {
        self.limit = held(&mut self.guest, lowered);
    }

    fn observe(&mut self, _now_ms: u64, _view: &View) -> Result<(), Fault> {
        Ok(())
    }

    fn answer(&mut self, _now_ms: u64, _call: &Event) -> Result<Made, Fault> {
        Err(misplaced())
    }

    fn handle(&mut self, now_ms: u64, seed: u64, event: &handler::Event) -> Result<Came, Fault> {
        let came = self.guest.handle(self.limit, now_ms, seed, event, self.identity.kv())?;
        Ok(Came::of(&came, usize::MAX).to_owned())
    }

    fn holds(&self, kv: &BTreeMap<String, Payload>) -> bool {
        let held = self.identity.kv().lock();
        let is_held = |(key, value): (&String, &Payload)| {
            held.get(key).is_some_and(|held| value.bytes().is_some_and(|value| value == held))
        };
        held.len() == kv.len() && kv.iter().all(is_held)
    }
}

fn in_words(refused: Refused) -> String {
    match refused {
        Refused::Refusal(refusal) => refusal.to_string(),
        Refused::Fault(fault) => fault.to_string(),
    }
}

/// Makes a policy ready as a node does before it binds it.
pub(super) fn prepared(
    loaded: &Loaded,
    settings: &Settings,
    lowered: Lowered,
) -> Result<Box<dyn Play>, PrepareError> {
    Ok(match prepare(loaded, settings)?.with_terms(terms(lowered))? {
        PreparedPolicy::Routing(ready) => Playing::boxed(ready.into_instance(), lowered),
        PreparedPolicy::Qos(ready) => Playing::boxed(ready.into_instance(), lowered),
        PreparedPolicy::Topology(ready) => Playing::boxed(ready.into_instance(), lowered),
        PreparedPolicy::Admission(ready) => Playing::boxed(ready.into_instance(), lowered),
        PreparedPolicy::Carry(ready) => Playing::boxed(ready.into_instance(), lowered),
    })
}

/// Returns the native built-in.
pub(super) fn native() -> Box<dyn Play> {
    Box::new(Native::default())
}

struct Playing<G> {
    guest: G,
    /// Neighbours of the last view.
    links: usize,
    limit: Duration,
}

impl<G: Ask> Playing<G> {
    fn boxed(guest: G, lowered: Lowered) -> Box<dyn Play> {
        Box::new(Playing { guest, links: 0, limit: lowered.bounds(G::KIND).deadline })
    }
}

/// What a call is made with.
#[derive(Clone, Copy)]
struct With {
    limit: Duration,
    now_ms: u64,
    links: usize,
}

/// Asks an instance what its kind is asked.
trait Ask: Guest {
    /// Shows it the view; most kinds see none.
    fn show(&mut self, _limit: Duration, _now_ms: u64, _view: &View) -> Result<(), Fault> {
        Ok(())
    }
    fn ask(&mut self, with: With, call: &Event) -> Result<Made, Fault>;
}

impl<G: Ask> Play for Playing<G> {
    fn load(&mut self, state: &State) -> Result<(), String> {
        self.guest.load(SETUP, state).map_err(in_words)
    }

    fn save(&mut self) -> Result<Vec<u8>, Fault> {
        self.guest.save(SETUP)
    }

    fn hold_to(&mut self, lowered: Lowered) {
        self.limit = held(&mut self.guest, lowered);
    }

    fn observe(&mut self, now_ms: u64, view: &View) -> Result<(), Fault> {
        if view.links.rtt_us.len().max(view.ways.dest.len()) > VIEW_ROWS {
            // Nor does a node show it to a plugin.
            return Ok(());
        }
        self.links = view.links.rtt_us.len();
        self.guest.show(self.limit, now_ms, view)
    }

    fn answer(&mut self, now_ms: u64, call: &Event) -> Result<Made, Fault> {
        let with = With { limit: self.limit, now_ms, links: self.links };
        self.guest.ask(with, call)
    }
}

/// A record of another slot than the instance is of: only a file that was written by hand has one.
fn misplaced() -> Fault {
    Fault::Start { reason: "the call is for another slot".into() }
}

/// A node does not show larger calls to a plugin either.
fn check(rows: usize) -> Result<(), Fault> {
    let reason = || format!("a call of {rows} rows is larger than a plugin is shown");
    if rows > BATCH_ROWS { Err(Fault::Start { reason: reason() }) } else { Ok(()) }
}

impl Ask for Routing {
    fn show(&mut self, limit: Duration, now_ms: u64, view: &View) -> Result<(), Fault> {
        self.resume(limit, now_ms, view)
    }

    fn ask(&mut self, With { limit, now_ms, links }: With, call: &Event) -> Result<Made, Fault> {
        let Event::Route(routed) = call else { return Err(misplaced()) };
        let batch = routed.batch();
        check(batch.len())?;
        self.decide(limit, now_ms, &batch, links).map(Made::Routes)
    }
}

impl Ask for Qos {
    fn ask(&mut self, With { limit, now_ms, .. }: With, call: &Event) -> Result<Made, Fault> {
        match call {
            Event::Classify(classified) => {
                let batch = classified.batch();
                check(batch.len())?;
                self.classify(limit, now_ms, &batch).map(Made::Classes)
            }
            Event::Divide(divided) => self.divide(limit, now_ms, &divided.load()).map(Made::Shares),
            _ => Err(misplaced()),
        }
    }
}

impl Ask for Topology {
    fn ask(&mut self, With { limit, now_ms, .. }: With, call: &Event) -> Result<Made, Fault> {
        let Event::Score(scored) = call else { return Err(misplaced()) };
        self.score(limit, now_ms, &scored.asker(), &scored.candidates()).map(Made::Scores)
    }
}

impl Ask for Admission {
    fn ask(&mut self, With { limit, now_ms, .. }: With, call: &Event) -> Result<Made, Fault> {
        let Event::Admit(admitted) = call else { return Err(misplaced()) };
        self.admit(limit, now_ms, &admitted.place(), &admitted.visitors()).map(Made::Admissions)
    }
}

impl Ask for Carry {
    fn ask(&mut self, With { limit, now_ms, .. }: With, call: &Event) -> Result<Made, Fault> {
        let Event::Carry(carried) = call else { return Err(misplaced()) };
        let batch = carried.batch();
        check(batch.len())?;
        self.worth(limit, now_ms, &carried.room(), &batch).map(Made::Worths)
    }
}

#[derive(Default)]
struct Native(Fastest);

impl Play for Native {
    fn load(&mut self, _state: &State) -> Result<(), String> {
        Ok(())
    }

    fn save(&mut self) -> Result<Vec<u8>, Fault> {
        Ok(Vec::new())
    }

    fn observe(&mut self, _now_ms: u64, view: &View) -> Result<(), Fault> {
        self.0.observe(view);
        Ok(())
    }

    fn answer(&mut self, _now_ms: u64, call: &Event) -> Result<Made, Fault> {
        let mut words = Vec::new();
        Ok(match call {
            Event::Route(routed) => {
                self.0.route(&routed.batch(), &mut words);
                Made::Routes(words)
            }
            Event::Classify(classified) => {
                let mut classes = Vec::new();
                AsAsked.classify(&classified.batch(), &mut classes);
                Made::Classes(classes)
            }
            Event::Divide(_) => Made::Shares(Shares::default()),
            Event::Score(scored) => {
                native::score(&scored.asker(), &scored.candidates(), &mut words);
                Made::Scores(words)
            }
            Event::Admit(admitted) => {
                let mut answers = Vec::new();
                native::admit(&admitted.visitors(), &mut answers);
                Made::Admissions(answers)
            }
            Event::Carry(carried) => {
                let mut worths = Vec::new();
                native::carry(&carried.batch(), &mut worths);
                Made::Worths(worths)
            }
            _ => return Err(misplaced()),
        })
    }
}
