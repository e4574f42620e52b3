//! Making recorded decisions again: by the same revision, which must answer the same to the bit, or by another one,
//! to see what it would have decided. With the real host and its limits; touches no node.

use mesh_proto::policy::View;
use serde::Serialize;

use super::{Binding, By, Entry, Event, Shown, Start, With};
use crate::compare::{Answers, Difference, differences};
use crate::fault::Fault;
use crate::handler::Identity;
use crate::load::{Kind, Loaded};
use crate::settings::Settings;
use crate::slot::{PrepareError, State};

mod handling;
mod play;

use play::Play;

/// Differences that a replay describes, at most; the others are counted.
pub const EXAMPLES: usize = 64;

/// Who makes the decisions again.
#[derive(Clone, Copy)]
pub enum Against<'a> {
    /// Whoever made them; the function finds each revision.
    Recorded(&'a dyn Fn(&Binding) -> Option<Loaded>),
    /// This one instead, with these settings.
    Candidate(&'a Loaded, &'a Settings),
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// Calls that were made again.
    pub calls: u64,
    /// Decisions in them: messages, candidates, visitors, runs, shares, or a handler's events.
    pub decisions: u64,
    /// Calls with a decision that differs.
    pub differing_calls: u64,
    /// Decisions that differ.
    pub differing: u64,
    /// Calls, of views too, in which the policy failed and had not failed before.
    pub faults: u64,
    /// The first of those faults.
    pub first_fault: Option<String>,
    /// Saved states, with a handler's store, that were compared.
    pub states: u64,
    /// Those that differ: then later decisions may.
    pub differing_states: u64,
    /// Calls that were not made again, because what the policy knew at that time is not in the record.
    pub skipped: u64,
    /// Why the candidate did not take the recorded state, and began with none.
    pub state_refused: Option<String>,
    /// The first differences.
    pub examples: Vec<Example>,
}

/// One decision that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The entry.
    pub number: u64,
    /// When it was made, in milliseconds since 1970.
    pub now_ms: u64,
    /// The row of the call, or the first effect that differs.
    pub row: usize,
    /// What was decided on, by column.
    pub inputs: Vec<(&'static str, Shown)>,
    /// What is recorded.
    pub recorded: String,
    /// What it is now.
    pub replayed: String,
}

/// Why decisions cannot be made again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A revision is not at hand.
    #[error("{} {} ({}) is not at hand", .0.plugin, .0.version, .0.revision)]
    Missing(Box<Binding>),
    /// The record names a binding that it does not describe.
    #[error("entry {0} belongs to a binding that the record does not describe")]
    NoBinding(u64),
    /// The record has an entry that no journal writes.
    #[error(
        "entry {0} is no node's: its columns do not fit together, a destination has no such number, or it is too large"
    )]
    NotWhole(u64),
    /// What a handler was given, or began with, is in the record as a hash only.
    #[error("entry {0} has the hash of what the handler was given or began with, and not the bytes")]
    Hidden(u64),
    /// A policy does not start.
    #[error("{plugin} does not start: {error}")]
    Prepare {
        /// Which.
        plugin: String,
        /// Why.
        error: PrepareError,
    },
    /// The revision does not take its own recorded state.
    #[error("{plugin} does not take its own recorded state: {why}")]
    State {
        /// Which.
        plugin: String,
        /// Why.
        why: String,
    },
    /// The policy is for another slot.
    #[error("the record is of slot {slot}, and the plugin is a {kind} plugin")]
    WrongKind {
        /// Of the record.
        slot: &'static str,
        /// Of the plugin.
        kind: Kind,
    },
}

impl Replay {
    /// Says whether everything was as recorded, and there was something.
    pub fn is_equal(&self) -> bool {
        self.calls > 0 && self.differing == 0 && self.differing_states == 0 && self.faults == 0
    }
}

/// Makes the decisions of a record again, in order.
///
/// The same revision begins where the record knows its state, and from there on has every call that changed it. A
/// candidate begins with the recorded state, if it takes it, and goes on with its own.
///
/// # Errors
/// When they cannot be made at all. That they differ is no error.
pub fn replay(
    slot: impl Into<Kind>,
    bindings: &[Binding],
    entries: &[Entry],
    against: Against<'_>,
) -> Result<Replay, ReplayError> {
    let kind = slot.into();
    if let Against::Candidate(loaded, _) = against
        && loaded.kind() != kind
    {
        return Err(ReplayError::WrongKind { slot: kind.slot(), kind: loaded.kind() });
    }
    let (playing, began, view, next) = (None, None, None, entries.first().map_or(0, |entry| entry.number));
    let report = Replay::default();
    let mut player = Player { kind, bindings, against, playing, store: None, began, view, next, report };
    for (at, entry) in entries.iter().enumerate() {
        player.take(entry, entries.get(at + 1))?;
    }
    Ok(player.report)
}

struct Player<'a> {
    kind: Kind,
    bindings: &'a [Binding],
    against: Against<'a>,
    /// `None` while what the policy knew is not in the record.
    playing: Option<Box<dyn Play>>,
    /// Of a handler's candidate: its store, which outlives a fault.
    store: Option<Identity>,
    /// The last state in the record, for a candidate that has to begin anew.
    began: Option<(u32, &'a Start)>,
    view: Option<(u64, View)>,
    /// The number that the next entry has, unless some are missing.
    next: u64,
    report: Replay,
}

impl<'a> Player<'a> {
    fn is_recorded(&self) -> bool {
        matches!(self.against, Against::Recorded(_))
    }

    fn take(&mut self, entry: &'a Entry, then: Option<&Entry>) -> Result<(), ReplayError> {
        if !entry.event.is_whole() {
            return Err(ReplayError::NotWhole(entry.number));
        }
        if entry.number != self.next && self.is_recorded() {
            self.playing = None;
        }
        self.next = entry.number.saturating_add(1);
        match &entry.event {
            Event::Start(start) => self.on_start(entry, start),
            Event::Observe(seen) => self.on_observe(entry, View::from(seen), then),
            Event::Lost { .. } => {
                if self.is_recorded() {
                    self.playing = None;
                }
                Ok(())
            }
            Event::Clamp(_) | Event::Tried(_) => Ok(()),
            Event::Route(_)
            | Event::Classify(_)
            | Event::Divide(_)
            | Event::Score(_)
            | Event::Admit(_)
            | Event::Carry(_) => self.on_call(entry),
            Event::Handle(call) => self.on_event(entry, call),
        }
    }

    fn on_start(&mut self, entry: &'a Entry, start: &'a Start) -> Result<(), ReplayError> {
        if start.is_hidden() {
            return Err(ReplayError::Hidden(entry.number));
        }
        if start.with != With::Unknown {
            self.began = Some((entry.binding, start));
        }
        let binding = self.bindings.iter().find(|known| known.binding == entry.binding);
        if let (Some(playing), With::Anchor, Some(binding)) = (&mut self.playing, start.with, binding) {
            // Its operator may have lowered a limit while it ran.
            playing.hold_to(binding.lowered());
        }
        match (self.is_recorded(), start.with, &mut self.playing) {
            // The candidate goes on with what it has: it does not fail or change when the recorded one does.
            (false, _, Some(_)) => Ok(()),
            (true, With::Anchor, Some(playing)) => {
                self.report.states += 1;
                let kv = start.handler.as_ref().and_then(|began| began.kv.as_ref());
                let is_same = playing.save().is_ok_and(|state| state == start.state)
                    && kv.is_none_or(|kv| playing.holds(kv));
                self.report.differing_states += u64::from(!is_same);
                Ok(())
            }
            (_, With::Unknown, _) => {
                self.playing = None;
                Ok(())
            }
            (_, With::Nothing | With::State | With::Anchor, _) => {
                self.begin(entry.number, entry.binding, start)
            }
        }
    }

    fn begin(&mut self, number: u64, binding: u32, start: &Start) -> Result<(), ReplayError> {
        let bindings = self.bindings;
        let binding = bindings.iter().find(|known| known.binding == binding);
        let binding = binding.ok_or(ReplayError::NoBinding(number))?;
        let identity = match self.kind {
            Kind::Handler => {
                self.playing = None;
                let began = start.handler.as_ref();
                match self.store.take().or_else(|| began?.identity()) {
                    // Nobody handles, or its store was too large for the journal.
                    None => return Ok(()),
                    found => found,
                }
            }
            _ => None,
        };
        // Within the limits of that time, also another one: the slot had them.
        let lowered = binding.lowered();
        let ready = |loaded: &Loaded, settings: &Settings| {
            let ready = match &identity {
                Some(identity) => play::handler(loaded, settings, lowered, identity.clone()),
                None => play::prepared(loaded, settings, lowered),
            };
            ready.map_err(|error| failed(loaded, error))
        };
        let mut playing = match self.against {
            Against::Recorded(_) if binding.is_native() => play::native(),
            Against::Recorded(find) => {
                let loaded = find(binding).ok_or_else(|| ReplayError::Missing(Box::new(binding.clone())))?;
                ready(&loaded, &binding.settings)?
            }
            Against::Candidate(loaded, settings) => ready(loaded, settings)?,
        };
        if start.with != With::Nothing && !(start.version == 0 && start.state.is_empty()) {
            let state = State { version: start.version, bytes: start.state.clone() };
            if let Err(why) = playing.load(&state) {
                if self.is_recorded() {
                    return Err(ReplayError::State { plugin: binding.plugin.clone(), why });
                }
                self.report.state_refused.get_or_insert(why);
            }
        }
        self.playing = Some(playing);
        self.store = identity.filter(|_| !self.is_recorded());
        Ok(())
    }

    fn on_observe(&mut self, entry: &Entry, view: View, then: Option<&Entry>) -> Result<(), ReplayError> {
        // The native built-in remembers nothing but the view.
        let is_native =
            || self.bindings.iter().any(|known| known.binding == entry.binding && known.is_native());
        if self.is_recorded() && self.playing.is_none() && is_native() {
            self.playing = Some(play::native());
        }
        let shown = self.playing.as_mut().map(|playing| playing.observe(entry.now_ms, &view));
        self.view = Some((entry.now_ms, view));
        match shown {
            // It failed before as well: what was struck is followed by a fresh instance, or another revision.
            Some(Err(_)) if self.is_recorded() && then.is_some_and(begins_anew) => {
                self.playing = None;
                Ok(())
            }
            Some(Err(fault)) => self.on_fault(entry.number, &fault),
            _ => Ok(()),
        }
    }

    fn on_call(&mut self, entry: &'a Entry) -> Result<(), ReplayError> {
        let Some((told, recorded)) = entry.event.answer() else { return Ok(()) };
        let is_asked = told.by != By::FallbackAbsent || !self.is_recorded();
        let (Some(playing), true) = (&mut self.playing, is_asked) else {
            self.report.skipped += 1;
            return Ok(());
        };
        let made = playing.answer(entry.now_ms, &entry.event);
        let failed_before = told.by == By::FallbackFault && self.is_recorded();
        let recorded = if failed_before { Answers::Fault } else { recorded };
        let replayed = made.as_ref().map_or(Answers::Fault, play::Made::answers);
        self.report.calls += 1;
        // A fault is one answer to however many rows.
        let is_same_fault = failed_before && made.is_err();
        let found: Vec<Difference> =
            if is_same_fault { Vec::new() } else { differences(recorded, replayed).collect() };
        self.report.decisions += rows_of(&entry.event);
        self.note(entry, &found);
        match made {
            Err(fault) if !failed_before => self.on_fault(entry.number, &fault),
            Err(_) => {
                self.playing = None;
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn note(&mut self, entry: &Entry, found: &[Difference]) {
        self.report.differing += found.len() as u64;
        self.report.differing_calls += u64::from(!found.is_empty());
        let room = EXAMPLES.saturating_sub(self.report.examples.len());
        self.report.examples.extend(found.iter().take(room).map(|difference| Example {
            number: entry.number,
            now_ms: entry.now_ms,
            row: difference.row,
            inputs: entry.event.inputs(difference.row),
            recorded: difference.before.to_string(),
            replayed: difference.after.to_string(),
        }));
    }

    /// As on a node, a new instance goes on; here with the last state that the record has.
    fn on_fault(&mut self, number: u64, fault: &Fault) -> Result<(), ReplayError> {
        self.report.faults += 1;
        self.report.first_fault.get_or_insert_with(|| fault.to_string());
        self.playing = None;
        let Some((binding, start)) = self.began.filter(|_| !self.is_recorded()) else { return Ok(()) };
        self.begin(number, binding, start)?;
        let shown = self.view.as_ref().zip(self.playing.as_mut());
        if let Some(((now_ms, view), playing)) = shown
            && playing.observe(*now_ms, view).is_err()
        {
            self.playing = None;
        }
        Ok(())
    }
}

fn failed(loaded: &Loaded, error: PrepareError) -> ReplayError {
    ReplayError::Prepare { plugin: loaded.revision().to_string(), error }
}

fn begins_anew(entry: &Entry) -> bool {
    matches!(&entry.event, Event::Start(start) if start.with != With::Anchor)
}

fn rows_of(event: &Event) -> u64 {
    event.decisions().unwrap_or(0)
}
