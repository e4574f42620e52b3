//! Plugins of a simulation: each component is compiled once, and every node gets an instance of its own in the
//! slots that a real node has.
//!
//! Calls are bounded by instructions instead of time, so that a plugin decides alike on every machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mesh_plugin_host::{
    Engine, Grants, Kind, Loaded, PolicySet, PolicySlot, PrepareError, Settings, SlotEvent, StartWith,
    SwapError, builtin, limits, load, prepare,
};
use mesh_proto::policy::native::Native;
use mesh_proto::policy::{
    Asker, Candidates, CarryBatch, Load, Place, Policies, QosBatch, Room, RouteBatch, Shares, View, Visitor,
};

use crate::report::{FaultFigures, PluginFigures};
use crate::scenario::{FaultKind, Scenario};

/// The names of the policy slots, by what their plugins are called.
pub const SLOTS: [&str; 5] = ["routing", "qos", "topology", "admission", "carry"];
/// The source that means the policy in the host's own code.
pub const NATIVE: &str = "native";

/// Says whether a slot has this name: `routing` and `route` are the same.
pub(crate) fn is_slot(name: &str) -> bool {
    slot(name).is_some()
}

fn slot(name: &str) -> Option<PolicySlot> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name || kind.slot() == name)?;
    PolicySlot::from_name(kind.slot())
}

/// Why a plugin cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {reason}")]
pub struct PluginError {
    /// As the scenario names it.
    pub source_name: String,
    /// What is wrong.
    pub reason: String,
    /// The stable code that `meshctl explain` knows.
    pub code: &'static str,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

/// The compiled plugins of a scenario. Cheap to share between threads.
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    engine: Option<Engine>,
    loaded: BTreeMap<String, Loaded>,
}

impl Plugins {
    /// Reads and compiles everything that a scenario names; relative paths start at `base`.
    ///
    /// # Errors
    /// The first plugin that cannot be read, is refused, or fits another slot.
    pub fn load(scenario: &Scenario, base: &Path) -> Result<Plugins, PluginError> {
        let chosen = scenario.plugins.iter().map(|choice| (&choice.slot, &choice.source));
        let swapped = scenario.faults.iter().filter_map(|fault| match &fault.kind {
            FaultKind::Swap { slot, plugin, .. } => Some((slot, plugin)),
            _ => None,
        });
        let mut plugins = Plugins::default();
        for (slot, source) in chosen.chain(swapped) {
            plugins.add(slot, source, base)?;
        }
        Ok(plugins)
    }

    fn add(&mut self, slot_name: &str, source: &str, base: &Path) -> Result<(), PluginError> {
        if source == NATIVE {
            return Ok(());
        }
        let wrong =
            |code, reason: String, hint| PluginError { source_name: source.to_owned(), reason, code, hint };
        let engine = match &self.engine {
            Some(engine) => engine.clone(),
            None => Engine::metered(None).map_err(|error| wrong("MESH-C199", error.to_string(), None))?,
        };
        if !self.loaded.contains_key(source) {
            let bytes = read(source, base).map_err(|reason| wrong("MESH-P102", reason, None))?;
            let loaded = load(&engine, &bytes, Grants::NONE)
                .map_err(|error| wrong(error.code(), error.to_string(), Some(error.hint())))?;
            self.loaded.insert(source.to_owned(), loaded);
        }
        self.engine = Some(engine);
        let kind = self.loaded[source].kind();
        if slot(slot_name).is_none_or(|slot| slot.name() != kind.slot()) {
            return Err(wrong(
                "MESH-P105",
                format!("it is a {kind} plugin and does not fit the slot {slot_name}"),
                None,
            ));
        }
        Ok(())
    }

    /// Returns slot, source and digest of all components.
    pub fn digests(&self) -> BTreeMap<String, String> {
        let digest = |loaded: &Loaded| loaded.revision().digest_text();
        self.loaded.iter().map(|(source, loaded)| (source.clone(), digest(loaded))).collect()
    }

    /// Makes the policies of one node: slots with the plugins in them, or the native ones alone.
    ///
    /// # Errors
    /// When a plugin does not take its settings or fails while it is tried out.
    pub(crate) fn node(&self, scenario: &Scenario, now_ms: u64) -> Result<Slots, PluginError> {
        let Some(engine) = &self.engine else { return Ok(Slots(None)) };
        let slots = Slots(Some(Rc::new(RefCell::new(PolicySet::new(engine)))));
        for choice in &scenario.plugins {
            slots.swap(self, &choice.slot, &choice.source, &choice.settings, now_ms)?;
        }
        Ok(slots)
    }
}

/// Returns the bytes of a component: one that comes with the host, or a file.
fn read(source: &str, base: &Path) -> Result<Vec<u8>, String> {
    let built_in = [
        ("built-in/latency", builtin::LATENCY),
        ("built-in/latency@0.1.0", builtin::LATENCY),
        ("built-in/latency@0.2.0", builtin::LATENCY_NEXT),
        ("built-in/class-fair", builtin::CLASS_FAIR),
        ("built-in/steady", builtin::STEADY),
        ("built-in/guest-list", builtin::GUEST_LIST),
        ("built-in/short-memory", builtin::SHORT_MEMORY),
        ("built-in/faulty", builtin::FAULTY),
    ];
    if let Some((_, bytes)) = built_in.iter().find(|(name, _)| *name == source) {
        return Ok(bytes.to_vec());
    }
    if source.starts_with("built-in/") {
        let names: Vec<&str> = built_in.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no such built-in plugin; known are {}", names.join(", ")));
    }
    let path: PathBuf = base.join(source);
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = std::fs::File::open(&path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // One byte more than a component may have, so that the loader sees that it is too large.
    file.take(limits::COMPONENT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The policy slots of one node; `None` while nothing but the native policies is asked.
#[derive(Clone)]
pub(crate) struct Slots(Option<Rc<RefCell<PolicySet>>>);

impl Slots {
    /// Returns what the node asks.
    pub(crate) fn policies(&self) -> Box<dyn Policies> {
        match &self.0 {
            Some(set) => Box::new(Asked(set.clone())),
            None => Box::new(Native::default()),
        }
    }

    /// Exchanges a policy, state and all, as an operator would.
    pub(crate) fn swap(
        &self,
        plugins: &Plugins,
        slot_name: &str,
        source: &str,
        settings: &Settings,
        now_ms: u64,
    ) -> Result<(), PluginError> {
        let (Some(set), Some(slot)) = (&self.0, slot(slot_name)) else { return Ok(()) };
        let set = &mut *set.borrow_mut();
        let Some(loaded) = plugins.loaded.get(source) else {
            // Native already is no failure.
            let _ = set.remove(slot, now_ms);
            return Ok(());
        };
        let swapped = prepare(loaded, settings)
            .map_err(Unready::Prepare)
            .and_then(|new| set.swap(new, now_ms, StartWith::Inherit).map_err(Unready::Swap));
        swapped.map(drop).map_err(|error| error.of(source))
    }

    /// Adds what the slots did to the figures.
    pub(crate) fn count(&self, figures: &mut BTreeMap<(String, String), PluginFigures>) {
        let Some(set) = &self.0 else { return };
        let set = &mut *set.borrow_mut();
        let events = set.take_events();
        for slot in PolicySlot::ALL {
            let status = set.status(slot);
            for counted in &status.counted {
                let Some(revision) = &counted.revision else { continue };
                let row = row(figures, slot.name(), revision);
                row.calls += counted.calls;
                row.messages += counted.messages;
                row.fallbacks += counted.fallbacks;
            }
            let Some(revision) = status.active.as_ref().or(status.quarantined.as_ref()) else { continue };
            row(figures, slot.name(), revision).nodes += 1;
        }
        for event in events {
            match event {
                SlotEvent::Struck { slot, revision, fault, .. } => {
                    let row = row(figures, slot, &revision);
                    row.strikes += 1;
                    row.struck_by(fault.to_string());
                }
                SlotEvent::Quarantined { slot, revision, .. } => {
                    row(figures, slot, &revision).quarantined += 1
                }
                SlotEvent::Swapped(report) => {
                    if let Some(revision) = report.new {
                        row(figures, report.slot, &revision).swaps += 1;
                    }
                }
                SlotEvent::RolledBack(_) | SlotEvent::Resumed { .. } => {}
            }
        }
    }
}

fn row<'a>(
    figures: &'a mut BTreeMap<(String, String), PluginFigures>,
    slot: &str,
    revision: &mesh_plugin_host::Revision,
) -> &'a mut PluginFigures {
    let key = (slot.to_owned(), revision.digest_text());
    figures.entry(key).or_insert_with(|| PluginFigures {
        slot: slot.to_owned(),
        plugin: revision.name.clone(),
        version: revision.version.clone(),
        digest: revision.digest_text(),
        ..PluginFigures::default()
    })
}

impl PluginFigures {
    /// Different faults that are told apart; the rest counts as the last.
    const FAULTS: usize = 8;

    fn struck_by(&mut self, fault: String) {
        let known = self.faults.iter().position(|known| known.fault == fault);
        match known.or((self.faults.len() == Self::FAULTS).then_some(Self::FAULTS - 1)) {
            Some(place) => self.faults[place].count += 1,
            None => self.faults.push(FaultFigures { fault, count: 1 }),
        }
    }
}

enum Unready {
    Prepare(PrepareError),
    Swap(SwapError),
}

impl Unready {
    fn of(self, source: &str) -> PluginError {
        let (code, reason) = match self {
            Unready::Prepare(error) => (error.code(), error.to_string()),
            Unready::Swap(error) => (error.code(), error.to_string()),
        };
        PluginError { source_name: source.to_owned(), reason, code, hint: None }
    }
}

/// What the simulated node holds; the runner holds the other end, for swaps and figures.
struct Asked(Rc<RefCell<PolicySet>>);

impl Policies for Asked {
    fn observe(&mut self, now_ms: u64, view: &View) {
        self.0.borrow_mut().observe(now_ms, view);
    }

    fn route(&mut self, now_ms: u64, batch: &RouteBatch, verdicts: &mut Vec<u32>) {
        self.0.borrow_mut().route(now_ms, batch, verdicts);
    }

    fn classify(&mut self, now_ms: u64, batch: &QosBatch, classes: &mut Vec<u8>) {
        self.0.borrow_mut().classify(now_ms, batch, classes);
    }

    fn divide(&mut self, now_ms: u64, load: &Load) -> Shares {
        self.0.borrow_mut().divide(now_ms, load)
    }

    fn score(&mut self, now_ms: u64, asker: &Asker, candidates: &Candidates, scores: &mut Vec<u32>) {
        self.0.borrow_mut().score(now_ms, asker, candidates, scores);
    }

    fn guards(&self) -> bool {
        self.0.borrow().guards()
    }

    fn admit(&mut self, now_ms: u64, place: &Place, visitors: &[Visitor], answers: &mut Vec<bool>) {
        self.0.borrow_mut().admit(now_ms, place, visitors, answers);
    }

    fn carry(&mut self, now_ms: u64, room: &Room, batch: &CarryBatch, worths: &mut Vec<u8>) {
        self.0.borrow_mut().carry(now_ms, room, batch, worths);
    }
}
