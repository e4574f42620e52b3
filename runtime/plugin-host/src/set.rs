//! All policy slots of a node, as the protocol core asks them.
//!
//! Owned by the thread that drives the core: calls are synchronous, and a swap is a call between two
//! batches. Plugins are loaded and prepared elsewhere.

use mesh_proto::policy::native::Native;
use mesh_proto::policy::{
    Asker, Candidates, CarryBatch, Clamp, Load, MAX_VISITORS, Overrule, Place, Policies, QosBatch, Room,
    RouteBatch, Shares, View, Visitor,
};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::limits::{BATCH_ROWS, VIEW_ROWS};
use crate::load::{Kind, Revision};
use crate::policy::{Admission, Carry, HOT, Qos, Routing, Topology, is_small};
use crate::slot::{
    Sentence, Slot, SlotEvent, SlotStatus, StartWith, State, SwapError, SwapReport, Toward, Withdrawn,
};
use crate::terms::OnFailure;
use crate::trial::{Answer, Asked, Call};

/// Does the same with whichever slot is meant, and what its plugin has to be told.
macro_rules! with {
    ($set:ident, $which:expr, |$slot:ident, $context:ident| $do:expr) => {
        match $which {
            PolicySlot::Route => {
                let ($slot, $context) = (&mut $set.routing, &$set.view);
                $do
            }
            PolicySlot::Qos => {
                let ($slot, $context) = (&mut $set.qos, &());
                $do
            }
            PolicySlot::Topology => {
                let ($slot, $context) = (&mut $set.topology, &());
                $do
            }
            PolicySlot::Admission => {
                let ($slot, $context) = (&mut $set.admission, &());
                $do
            }
            PolicySlot::Carry => {
                let ($slot, $context) = (&mut $set.carry, &());
                $do
            }
        }
    };
}

/// Looks at whichever slot is meant.
macro_rules! of {
    ($set:ident, $which:expr, |$slot:ident| $look:expr) => {
        match $which {
            PolicySlot::Route => {
                let $slot = &$set.routing;
                $look
            }
            PolicySlot::Qos => {
                let $slot = &$set.qos;
                $look
            }
            PolicySlot::Topology => {
                let $slot = &$set.topology;
                $look
            }
            PolicySlot::Admission => {
                let $slot = &$set.admission;
                $look
            }
            PolicySlot::Carry => {
                let $slot = &$set.carry;
                $look
            }
        }
    };
}

mod journals;
mod operate;
mod ready;
mod stand_in;
mod trials;

pub use ready::{
    PreparedAdmission, PreparedCarry, PreparedPolicy, PreparedQos, PreparedRouting, PreparedTopology,
    prepare, prepare_admission, prepare_carry, prepare_qos, prepare_routing, prepare_topology,
};
use trials::Trials;

/// A slot that holds a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicySlot {
    /// Next hops.
    Route,
    /// Classes and shares.
    Qos,
    /// Parents in the hierarchy.
    Topology,
    /// Whom there may be links to.
    Admission,
    /// What is kept for nodes that cannot be reached.
    Carry,
}

impl PolicySlot {
    /// All of them.
    pub const ALL: [PolicySlot; 5] =
        [PolicySlot::Route, PolicySlot::Qos, PolicySlot::Topology, PolicySlot::Admission, PolicySlot::Carry];

    /// Returns the slot with this name.
    pub fn from_name(name: &str) -> Option<PolicySlot> {
        PolicySlot::ALL.into_iter().find(|slot| slot.name() == name)
    }

    /// Returns `route`, `qos`, `topology`, `admission` or `carry`.
    pub fn name(self) -> &'static str {
        match self {
            PolicySlot::Route => "route",
            PolicySlot::Qos => "qos",
            PolicySlot::Topology => "topology",
            PolicySlot::Admission => "admission",
            PolicySlot::Carry => "carry",
        }
    }

    /// Returns the name of its native built-in, such as `native/fastest`.
    pub fn native_name(self) -> &'static str {
        match self {
            PolicySlot::Route => "native/fastest",
            PolicySlot::Qos => "native/as-asked",
            PolicySlot::Topology => "native/weighted",
            PolicySlot::Admission => "native/everybody",
            PolicySlot::Carry => "native/by-class",
        }
    }

    /// Says whether its decisions are about flows of messages, so that they can be split between two revisions.
    pub fn has_flows(self) -> bool {
        matches!(self, PolicySlot::Route | PolicySlot::Qos)
    }
}

impl From<PolicySlot> for Kind {
    fn from(slot: PolicySlot) -> Kind {
        match slot {
            PolicySlot::Route => Kind::Routing,
            PolicySlot::Qos => Kind::Qos,
            PolicySlot::Topology => Kind::Topology,
            PolicySlot::Admission => Kind::Admission,
            PolicySlot::Carry => Kind::Carry,
        }
    }
}

/// The policy slots of one node. Starts with the native built-ins.
pub struct PolicySet {
    routing: Slot<Routing>,
    qos: Slot<Qos>,
    topology: Slot<Topology>,
    admission: Slot<Admission>,
    carry: Slot<Carry>,
    native: Native,
    /// What the native built-in stands in with when a plugin fails; brought up to date only then.
    is_native_stale: bool,
    view: View,
    /// The view is larger than plugins are shown: the built-in decides and nobody is to blame.
    is_view_too_large: bool,
    trials: Trials,
}

impl PolicySet {
    /// Returns slots in which the native built-ins decide.
    pub fn new(engine: &Engine) -> PolicySet {
        PolicySet {
            routing: Slot::new(engine, HOT),
            qos: Slot::new(engine, HOT),
            topology: Slot::new(engine, HOT),
            admission: Slot::new(engine, HOT),
            carry: Slot::new(engine, HOT),
            native: Native::default(),
            is_native_stale: false,
            view: View::default(),
            is_view_too_large: false,
            trials: Trials::default(),
        }
    }

    /// Lets `new` decide in its slot from the next call on: saves the old state, loads it into the new one, shows
    /// it the view, switches. Takes microseconds with small state. Does nothing when the active revision has these settings
    /// already, and is not to start afresh.
    ///
    /// # Errors
    /// Why it did not happen; what decided before goes on.
    pub fn swap(
        &mut self,
        new: impl Into<PreparedPolicy>,
        now_ms: u64,
        start_with: StartWith,
    ) -> Result<SwapReport, SwapError> {
        match new.into() {
            PreparedPolicy::Routing(new) => self.routing.swap(new, now_ms, start_with, &self.view),
            PreparedPolicy::Qos(new) => self.qos.swap(new, now_ms, start_with, &()),
            PreparedPolicy::Topology(new) => self.topology.swap(new, now_ms, start_with, &()),
            PreparedPolicy::Admission(new) => self.admission.swap(new, now_ms, start_with, &()),
            PreparedPolicy::Carry(new) => self.carry.swap(new, now_ms, start_with, &()),
        }
    }

    /// Does everything that [`PolicySet::swap`] does but the switch.
    ///
    /// # Errors
    /// Why the swap would not happen.
    pub fn rehearse(
        &mut self,
        new: impl Into<PreparedPolicy>,
        now_ms: u64,
        start_with: StartWith,
    ) -> Result<SwapReport, SwapError> {
        match new.into() {
            PreparedPolicy::Routing(new) => self.routing.rehearse_swap(new, now_ms, start_with, &self.view),
            PreparedPolicy::Qos(new) => self.qos.rehearse_swap(new, now_ms, start_with, &()),
            PreparedPolicy::Topology(new) => self.topology.rehearse_swap(new, now_ms, start_with, &()),
            PreparedPolicy::Admission(new) => self.admission.rehearse_swap(new, now_ms, start_with, &()),
            PreparedPolicy::Carry(new) => self.carry.rehearse_swap(new, now_ms, start_with, &()),
        }
    }

    /// As [`PolicySet::swap`], for what the slot begins with: there is nothing before it to roll back to.
    ///
    /// # Errors
    /// As for [`PolicySet::swap`].
    pub fn begin(
        &mut self,
        new: impl Into<PreparedPolicy>,
        now_ms: u64,
        start_with: StartWith,
    ) -> Result<SwapReport, SwapError> {
        match new.into() {
            PreparedPolicy::Routing(new) => self.routing.begin(new, now_ms, start_with, &self.view),
            PreparedPolicy::Qos(new) => self.qos.begin(new, now_ms, start_with, &()),
            PreparedPolicy::Topology(new) => self.topology.begin(new, now_ms, start_with, &()),
            PreparedPolicy::Admission(new) => self.admission.begin(new, now_ms, start_with, &()),
            PreparedPolicy::Carry(new) => self.carry.begin(new, now_ms, start_with, &()),
        }
    }

    /// Puts into its slot's quarantine what was in it before a restart.
    pub fn put_aside(&mut self, old: impl Into<PreparedPolicy>, now_ms: u64, sentence: Sentence) {
        match old.into() {
            PreparedPolicy::Routing(old) => self.routing.put_aside(old, now_ms, sentence),
            PreparedPolicy::Qos(old) => self.qos.put_aside(old, now_ms, sentence),
            PreparedPolicy::Topology(old) => self.topology.put_aside(old, now_ms, sentence),
            PreparedPolicy::Admission(old) => self.admission.put_aside(old, now_ms, sentence),
            PreparedPolicy::Carry(old) => self.carry.put_aside(old, now_ms, sentence),
        }
    }

    /// Goes back to what decided before the last swap, with the active one's state if that is taken, else
    /// with the state it left with. A second rollback undoes the first. While somebody stands in for a revision in
    /// quarantine, the rollback lets that stay, and the revision is not tried again.
    ///
    /// # Errors
    /// [`SwapError::NoPrevious`], or the fault of the earlier revision; what decided before goes on.
    pub fn rollback(&mut self, slot: PolicySlot, now_ms: u64) -> Result<SwapReport, SwapError> {
        with!(self, slot, |slot, context| slot.rollback(now_ms, context))
    }

    /// As [`PolicySet::rollback`], to a revision that is not warm any more, with the state that it left with where that
    /// is known.
    ///
    /// # Errors
    /// The fault of the earlier revision; what decided before goes on.
    pub fn bring_back(
        &mut self,
        old: impl Into<PreparedPolicy>,
        own: Option<State>,
        toward: Toward,
        now_ms: u64,
    ) -> Result<SwapReport, SwapError> {
        match old.into() {
            PreparedPolicy::Routing(old) => self.routing.bring_back(old, own, toward, now_ms, &self.view),
            PreparedPolicy::Qos(old) => self.qos.bring_back(old, own, toward, now_ms, &()),
            PreparedPolicy::Topology(old) => self.topology.bring_back(old, own, toward, now_ms, &()),
            PreparedPolicy::Admission(old) => self.admission.bring_back(old, own, toward, now_ms, &()),
            PreparedPolicy::Carry(old) => self.carry.bring_back(old, own, toward, now_ms, &()),
        }
    }

    /// Returns the state of what a rollback would bring back; `None` when that has none, or is not warm.
    pub fn standby_state(&mut self, slot: PolicySlot) -> Option<State> {
        with!(self, slot, |slot, _context| slot.standby_state())
    }

    /// Gives the slot back to the native built-in, also when nobody answers in it. A rollback undoes it.
    ///
    /// # Errors
    /// [`SwapError::NoPlugin`] when the native built-in has it already.
    pub fn remove(&mut self, slot: PolicySlot, now_ms: u64) -> Result<SwapReport, SwapError> {
        with!(self, slot, |slot, context| slot.remove(now_ms, context))
    }

    /// Forgets this revision where a rollback would bring it back; such a slot has nothing to go back to then.
    pub fn forget_standby(&mut self, digest: &[u8; 32]) {
        for slot in PolicySlot::ALL {
            with!(self, slot, |slot, _context| slot.forget_standby(digest));
        }
    }

    /// Takes out of all slots what must not decide any more, for good: not even a rollback brings it back.
    /// Returns the slots that have another active revision now, each once.
    pub fn withdraw(&mut self, is_withdrawn: &dyn Fn(&Revision) -> bool, now_ms: u64) -> Vec<Withdrawn> {
        self.trials.withdraw(is_withdrawn);
        let mut withdraw =
            |slot| with!(self, slot, |slot, context| slot.withdraw(is_withdrawn, now_ms, context));
        PolicySlot::ALL.into_iter().filter_map(&mut withdraw).collect()
    }

    /// Returns everything an operator may want to know of a slot. Copies: not for every batch.
    pub fn status(&self, slot: PolicySlot) -> SlotStatus {
        of!(self, slot, |slot| slot.status())
    }

    /// Returns the number of rows that a slot has decided on: messages, candidates, visitors or runs.
    pub fn decisions(&self, slot: PolicySlot) -> u64 {
        of!(self, slot, |slot| slot.decisions())
    }

    /// Returns what has happened since the last time.
    pub fn take_events(&mut self) -> Vec<SlotEvent> {
        let mut events = Vec::new();
        for slot in PolicySlot::ALL {
            with!(self, slot, |slot, _context| slot.take_events(&mut events));
        }
        events
    }

    /// Returns the state that the active revision would hand to a successor, without disturbing it; `None`
    /// for the native built-in.
    ///
    /// # Errors
    /// When the plugin fails to save. That costs no strike.
    pub fn peek_state(&mut self, slot: PolicySlot) -> Result<Option<State>, Fault> {
        with!(self, slot, |slot, _context| slot.peek_state())
    }

    fn active(&self, slot: PolicySlot) -> Option<&Revision> {
        of!(self, slot, |slot| slot.revision())
    }

    fn route_instead(&mut self, mode: OnFailure, batch: &RouteBatch, verdicts: &mut Vec<u32>) {
        match mode {
            OnFailure::Fallback => self.native_routing().routing.route(batch, verdicts),
            OnFailure::FailClosed => stand_in::route_closed(batch, verdicts),
            OnFailure::FailOpen => stand_in::route_open(batch, verdicts),
        }
    }

    /// Asks about as many visitors as go into one call, and appends the answers.
    fn admit_some(&mut self, now_ms: u64, place: &Place, visitors: &[Visitor], answers: &mut Vec<bool>) {
        let begun = self.trials.begun(PolicySlot::Admission);
        let rows = visitors.len() as u64;
        let ask = |guest: &mut Admission, limit| guest.admit(limit, now_ms, place, visitors);
        let input = || stand_in::admit_digest(now_ms, place, visitors);
        let is_large = !visitors.iter().all(is_small);
        let answered = if is_large {
            Err(self.admission.pass_by(rows))
        } else {
            self.admission.ask(now_ms, rows, &(), input, ask)
        };
        let answered = answered.unwrap_or_else(|mode| stand_in::admit(mode, visitors));
        let took = begun.map(|begun| begun.elapsed());
        let asked = (place, visitors);
        self.admission.note(now_ms, &(), |journal, told| journal.admitted(now_ms, told, asked, &answered));
        if let (Some(took), false) = (took, is_large) {
            self.trials.shadowed(PolicySlot::Admission, now_ms, took, rows, || Call {
                asked: Asked::Admit(*place, visitors.to_vec()),
                answer: Answer::Admit(answered.clone()),
            });
        }
        answers.extend(answered);
    }

    fn native_routing(&mut self) -> &mut Native {
        if self.is_native_stale {
            self.native.routing.observe(&self.view);
            self.is_native_stale = false;
        }
        &mut self.native
    }
}

impl Policies for PolicySet {
    fn observe(&mut self, now_ms: u64, view: &View) {
        self.view.clone_from(view);
        self.is_native_stale = true;
        self.is_view_too_large = view.links.rtt_us.len().max(view.ways.dest.len()) > VIEW_ROWS;
        if !self.is_view_too_large {
            self.routing.update(now_ms, &self.view);
            self.trials.observe(now_ms, &self.view);
        } else {
            self.routing.note_shown(now_ms, &self.view);
        }
    }

    fn route(&mut self, now_ms: u64, batch: &RouteBatch, verdicts: &mut Vec<u32>) {
        let rows = batch.len();
        if rows == 0 {
            verdicts.clear();
            return;
        }
        if rows > BATCH_ROWS || self.is_view_too_large {
            let mode = self.routing.pass_by(rows as u64);
            self.route_instead(mode, batch, verdicts);
            return self.note_routed(now_ms, batch, verdicts);
        }
        let begun = self.trials.begun(PolicySlot::Route);
        let links = self.view.links.rtt_us.len();
        let ask = |guest: &mut Routing, limit| guest.decide(limit, now_ms, batch, links);
        let input = || stand_in::route_digest(now_ms, batch, links);
        match self.routing.ask(now_ms, rows as u64, &self.view, input, ask) {
            Ok(answers) => *verdicts = answers,
            Err(mode) => self.route_instead(mode, batch, verdicts),
        }
        let took = begun.map(|begun| begun.elapsed());
        self.note_routed(now_ms, batch, verdicts);
        let decided = took.and_then(|took| self.trials.routed(now_ms, took, batch, verdicts));
        if let (Some(decided), Some(journal)) = (decided, self.routing.journal_mut()) {
            journal.tried(now_ms, &decided);
        }
    }

    fn classify(&mut self, now_ms: u64, batch: &QosBatch, classes: &mut Vec<u8>) {
        let rows = batch.len();
        if rows == 0 {
            classes.clear();
            return;
        }
        if rows > BATCH_ROWS {
            let mode = self.qos.pass_by(rows as u64);
            stand_in::classify(mode, &self.native, batch, classes);
            return self.note_classified(now_ms, batch, classes);
        }
        let begun = self.trials.begun(PolicySlot::Qos);
        let ask = |guest: &mut Qos, limit| guest.classify(limit, now_ms, batch);
        match self.qos.ask(now_ms, rows as u64, &(), || stand_in::qos_digest(now_ms, batch), ask) {
            Ok(answers) => *classes = answers,
            Err(mode) => stand_in::classify(mode, &self.native, batch, classes),
        }
        let took = begun.map(|begun| begun.elapsed());
        self.note_classified(now_ms, batch, classes);
        let decided = took.and_then(|took| self.trials.classified(now_ms, took, batch, classes));
        if let (Some(decided), Some(journal)) = (decided, self.qos.journal_mut()) {
            journal.tried(now_ms, &decided);
        }
    }

    fn divide(&mut self, now_ms: u64, load: &Load) -> Shares {
        let begun = self.trials.begun(PolicySlot::Qos);
        let ask = |guest: &mut Qos, limit| guest.divide(limit, now_ms, load);
        let shares = self.qos.ask(now_ms, 0, &(), || stand_in::load_digest(now_ms, load), ask);
        // Shares only divide what is sent, and there is no more cautious way to do that.
        let shares = shares.unwrap_or_else(|_| self.native.divide(now_ms, load));
        let took = begun.map(|begun| begun.elapsed());
        self.qos.note(now_ms, &(), |journal, told| journal.divided(now_ms, told, load, shares));
        if let Some(took) = took {
            // A canary has flows, and shares are of a link.
            self.trials.shadowed(PolicySlot::Qos, now_ms, took, 1, || Call {
                asked: Asked::Divide(*load),
                answer: Answer::Divide(shares),
            });
        }
        shares
    }

    fn score(&mut self, now_ms: u64, asker: &Asker, candidates: &Candidates, scores: &mut Vec<u32>) {
        let begun = self.trials.begun(PolicySlot::Topology);
        let rows = candidates.len() as u64;
        let ask = |guest: &mut Topology, limit| guest.score(limit, now_ms, asker, candidates);
        let input = || stand_in::score_digest(now_ms, asker, candidates);
        match self.topology.ask(now_ms, rows, &(), input, ask) {
            Ok(answers) => *scores = answers,
            Err(mode) => stand_in::score(mode, asker, candidates, scores),
        }
        let took = begun.map(|begun| begun.elapsed());
        let asked = (asker, candidates);
        self.topology.note(now_ms, &(), |journal, told| journal.scored(now_ms, told, asked, scores));
        if let Some(took) = took {
            self.trials.shadowed(PolicySlot::Topology, now_ms, took, rows, || Call {
                asked: Asked::Score(*asker, candidates.clone()),
                answer: Answer::Score(scores.clone()),
            });
        }
    }

    /// A plugin that is away is not absent: its operator may want nobody to be let in without it.
    fn guards(&self) -> bool {
        self.admission.is_bound()
    }

    fn admit(&mut self, now_ms: u64, place: &Place, visitors: &[Visitor], answers: &mut Vec<bool>) {
        answers.clear();
        for visitors in visitors.chunks(MAX_VISITORS) {
            self.admit_some(now_ms, place, visitors, answers);
        }
    }

    fn carry(&mut self, now_ms: u64, room: &Room, batch: &CarryBatch, worths: &mut Vec<u8>) {
        let rows = batch.len();
        if rows == 0 {
            worths.clear();
            return;
        }
        let begun = self.trials.begun(PolicySlot::Carry);
        let ask = |guest: &mut Carry, limit| guest.worth(limit, now_ms, room, batch);
        let input = || stand_in::carry_digest(now_ms, room, batch);
        let is_large = rows > BATCH_ROWS;
        let answered = if is_large {
            Err(self.carry.pass_by(rows as u64))
        } else {
            self.carry.ask(now_ms, rows as u64, &(), input, ask)
        };
        match answered {
            Ok(answers) => *worths = answers,
            Err(mode) => stand_in::carry(mode, batch, worths),
        }
        let took = begun.map(|begun| begun.elapsed());
        self.carry.note(now_ms, &(), |journal, told| journal.carried(now_ms, told, (room, batch), worths));
        if let (Some(took), false) = (took, is_large) {
            self.trials.shadowed(PolicySlot::Carry, now_ms, took, rows as u64, || Call {
                asked: Asked::Carry(*room, batch.clone()),
                answer: Answer::Carry(worths.clone()),
            });
        }
    }

    fn clamped(&mut self, now_ms: u64, clamps: &[Clamp]) {
        for clamp in clamps {
            let journal = match clamp.applied {
                Overrule::NextHop(_) => self.routing.journal_mut(),
                Overrule::Class(_) => self.qos.journal_mut(),
                Overrule::Worth(_) => self.carry.journal_mut(),
            };
            if let Some(journal) = journal {
                journal.clamped(now_ms, clamp);
            }
        }
    }

    fn noted(&self) -> Option<[u64; 2]> {
        Some([self.routing.journal()?.last(), self.qos.journal()?.last()])
    }

    fn noted_carry(&self) -> Option<u64> {
        Some(self.carry.journal()?.last())
    }

    fn wants_flows(&self) -> bool {
        self.trials.splits()
    }

    fn flows(&mut self, flows: &[u32]) {
        self.trials.set_flows(flows);
    }
}
