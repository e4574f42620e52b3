//! All policy slots of a node, as the protocol core asks them.
//!
//! Owned by the thread that drives the core: calls are synchronous, and a swap is a call between two
//! batches. Plugins are loaded and prepared elsewhere.

use mesh_proto::policy::native::Native;
use mesh_proto::policy::{
    Asker, Candidates, Clamp, Load, Overrule, Policies, QosBatch, RouteBatch, Shares, View,
};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::limits::{BATCH_ROWS, VIEW_ROWS};
use crate::load::{Loaded, Revision};
use crate::policy::{HOT, Qos, Routing, Topology};
use crate::settings::Settings;
use crate::slot::{
    Carry, PrepareError, Prepared, Slot, SlotEvent, SlotStatus, State, SwapError, SwapReport, Withdrawn,
};
use crate::terms::OnFailure;

mod operate;
mod stand_in;

mod journals;
mod trials;

use trials::Trials;

/// A routing policy that is ready for [`PolicySet::swap_routing`].
pub type PreparedRouting = Prepared<Routing>;
/// A QoS policy that is ready for [`PolicySet::swap_qos`].
pub type PreparedQos = Prepared<Qos>;
/// A topology policy that is ready for [`PolicySet::swap_topology`].
pub type PreparedTopology = Prepared<Topology>;

/// Makes a routing policy ready: instantiates, configures, tries out. For any thread but the hot one.
///
/// # Errors
/// When the settings are refused or the plugin fails.
pub fn prepare_routing(loaded: &Loaded, settings: &Settings) -> Result<PreparedRouting, PrepareError> {
    Prepared::new(loaded, (), settings)
}

/// Makes a QoS policy ready: instantiates, configures, tries out. For any thread but the hot one.
///
/// # Errors
/// When the settings are refused or the plugin fails.
pub fn prepare_qos(loaded: &Loaded, settings: &Settings) -> Result<PreparedQos, PrepareError> {
    Prepared::new(loaded, (), settings)
}

/// Makes a topology policy ready: instantiates, configures, tries out. For any thread but the hot one.
///
/// # Errors
/// When the settings are refused or the plugin fails.
pub fn prepare_topology(loaded: &Loaded, settings: &Settings) -> Result<PreparedTopology, PrepareError> {
    Prepared::new(loaded, (), settings)
}

/// A slot that holds a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicySlot {
    /// Next hops.
    Route,
    /// Classes and shares.
    Qos,
    /// Parents in the hierarchy.
    Topology,
}

impl PolicySlot {
    /// All of them.
    pub const ALL: [PolicySlot; 3] = [PolicySlot::Route, PolicySlot::Qos, PolicySlot::Topology];

    /// Returns the slot with this name.
    pub fn from_name(name: &str) -> Option<PolicySlot> {
        PolicySlot::ALL.into_iter().find(|slot| slot.name() == name)
    }

    /// Returns `route`, `qos` or `topology`.
    pub fn name(self) -> &'static str {
        match self {
            PolicySlot::Route => "route",
            PolicySlot::Qos => "qos",
            PolicySlot::Topology => "topology",
        }
    }
}

/// The policy slots of one node. Starts with the native built-ins.
pub struct PolicySet {
    routing: Slot<Routing>,
    qos: Slot<Qos>,
    topology: Slot<Topology>,
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
            native: Native::default(),
            is_native_stale: false,
            view: View::default(),
            is_view_too_large: false,
            trials: Trials::default(),
        }
    }

    /// Lets `new` decide on routes from the next batch on: saves the old state, loads it into the new one,
    /// shows it the view, switches. Takes microseconds with small state.
    ///
    /// # Errors
    /// Why it did not happen; what decided before goes on.
    pub fn swap_routing(
        &mut self,
        new: PreparedRouting,
        now_ms: u64,
        carry: Carry,
    ) -> Result<SwapReport, SwapError> {
        self.routing.swap(new, now_ms, carry, &self.view)
    }

    /// Lets `new` decide on classes from the next batch on.
    ///
    /// # Errors
    /// Why it did not happen; what decided before goes on.
    pub fn swap_qos(&mut self, new: PreparedQos, now_ms: u64, carry: Carry) -> Result<SwapReport, SwapError> {
        self.qos.swap(new, now_ms, carry, &())
    }

    /// Lets `new` score parents from the next evaluation on.
    ///
    /// # Errors
    /// Why it did not happen; what decided before goes on.
    pub fn swap_topology(
        &mut self,
        new: PreparedTopology,
        now_ms: u64,
        carry: Carry,
    ) -> Result<SwapReport, SwapError> {
        self.topology.swap(new, now_ms, carry, &())
    }

    /// Does everything that [`PolicySet::swap_routing`] does but the switch.
    ///
    /// # Errors
    /// Why the swap would not happen.
    pub fn rehearse_routing(
        &mut self,
        new: PreparedRouting,
        now_ms: u64,
        carry: Carry,
    ) -> Result<SwapReport, SwapError> {
        self.routing.rehearse_swap(new, now_ms, carry, &self.view)
    }

    /// Does everything that [`PolicySet::swap_qos`] does but the switch.
    ///
    /// # Errors
    /// Why the swap would not happen.
    pub fn rehearse_qos(
        &mut self,
        new: PreparedQos,
        now_ms: u64,
        carry: Carry,
    ) -> Result<SwapReport, SwapError> {
        self.qos.rehearse_swap(new, now_ms, carry, &())
    }

    /// Does everything that [`PolicySet::swap_topology`] does but the switch.
    ///
    /// # Errors
    /// Why the swap would not happen.
    pub fn rehearse_topology(
        &mut self,
        new: PreparedTopology,
        now_ms: u64,
        carry: Carry,
    ) -> Result<SwapReport, SwapError> {
        self.topology.rehearse_swap(new, now_ms, carry, &())
    }

    /// Goes back to what decided before the last swap, with the active one's state if that is taken, else
    /// with the state it left with. A second rollback undoes the first.
    ///
    /// # Errors
    /// [`SwapError::NoPrevious`], or the fault of the earlier revision; what decided before goes on.
    pub fn rollback(&mut self, slot: PolicySlot, now_ms: u64) -> Result<SwapReport, SwapError> {
        match slot {
            PolicySlot::Route => self.routing.rollback(now_ms, &self.view),
            PolicySlot::Qos => self.qos.rollback(now_ms, &()),
            PolicySlot::Topology => self.topology.rollback(now_ms, &()),
        }
    }

    /// Gives the slot back to the native built-in, also when nobody answers in it. A rollback undoes it.
    ///
    /// # Errors
    /// [`SwapError::NoPrevious`] when the native built-in has it already.
    pub fn remove(&mut self, slot: PolicySlot, now_ms: u64) -> Result<SwapReport, SwapError> {
        match slot {
            PolicySlot::Route => self.routing.remove(now_ms, &self.view),
            PolicySlot::Qos => self.qos.remove(now_ms, &()),
            PolicySlot::Topology => self.topology.remove(now_ms, &()),
        }
    }

    /// Takes out of all slots what must not decide any more, for good: not even a rollback brings it back.
    /// Returns the slots that have another active revision now, each once.
    pub fn withdraw(&mut self, is_withdrawn: &dyn Fn(&Revision) -> bool, now_ms: u64) -> Vec<Withdrawn> {
        self.trials.withdraw(is_withdrawn);
        let route = self.routing.withdraw(is_withdrawn, now_ms, &self.view);
        let qos = self.qos.withdraw(is_withdrawn, now_ms, &());
        let topology = self.topology.withdraw(is_withdrawn, now_ms, &());
        [route, qos, topology].into_iter().flatten().collect()
    }

    /// Returns everything an operator may want to know of a slot. Copies: not for every batch.
    pub fn status(&self, slot: PolicySlot) -> SlotStatus {
        match slot {
            PolicySlot::Route => self.routing.status(),
            PolicySlot::Qos => self.qos.status(),
            PolicySlot::Topology => self.topology.status(),
        }
    }

    /// Returns the number of messages that a slot has decided on.
    pub fn decisions(&self, slot: PolicySlot) -> u64 {
        match slot {
            PolicySlot::Route => self.routing.decisions(),
            PolicySlot::Qos => self.qos.decisions(),
            PolicySlot::Topology => self.topology.decisions(),
        }
    }

    /// Returns what has happened since the last time.
    pub fn take_events(&mut self) -> Vec<SlotEvent> {
        let mut events = Vec::new();
        self.routing.take_events(&mut events);
        self.qos.take_events(&mut events);
        self.topology.take_events(&mut events);
        events
    }

    /// Returns the state that the active revision would hand to a successor, without disturbing it; `None`
    /// for the native built-in.
    ///
    /// # Errors
    /// When the plugin fails to save. That costs no strike.
    pub fn peek_state(&mut self, slot: PolicySlot) -> Result<Option<State>, Fault> {
        match slot {
            PolicySlot::Route => self.routing.peek_state(),
            PolicySlot::Qos => self.qos.peek_state(),
            PolicySlot::Topology => self.topology.peek_state(),
        }
    }

    fn route_instead(&mut self, mode: OnFailure, batch: &RouteBatch, verdicts: &mut Vec<u32>) {
        match mode {
            OnFailure::Fallback => self.native_routing().routing.route(batch, verdicts),
            OnFailure::FailClosed => stand_in::route_closed(batch, verdicts),
            OnFailure::FailOpen => stand_in::route_open(batch, verdicts),
        }
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
            self.trials.divided(now_ms, took, load, shares);
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
            self.trials.scored(now_ms, took, (asker, candidates), scores);
        }
    }

    fn clamped(&mut self, now_ms: u64, clamps: &[Clamp]) {
        for clamp in clamps {
            let journal = match clamp.applied {
                Overrule::NextHop(_) => self.routing.journal_mut(),
                Overrule::Class(_) => self.qos.journal_mut(),
                Overrule::Worth(_) => None,
            };
            if let Some(journal) = journal {
                journal.clamped(now_ms, clamp);
            }
        }
    }

    fn noted(&self) -> Option<[u64; 2]> {
        Some([self.routing.journal()?.last(), self.qos.journal()?.last()])
    }

    fn wants_flows(&self) -> bool {
        self.trials.splits()
    }

    fn flows(&mut self, flows: &[u32]) {
        self.trials.set_flows(flows);
    }
}
