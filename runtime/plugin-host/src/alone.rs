//! A plugin asked directly, outside of any slot: its own answers under the limits of a node, without clamps,
//! without a stand-in and without strikes. For tests of plugins.

use mesh_proto::policy::{
    Asker, Candidates, CarryBatch, Load, Place, QosBatch, Room, RouteBatch, Shares, View, Visitor,
};

use crate::fault::Fault;
use crate::handler::{Effect, Event, Failure, Handler, Identity};
use crate::policy::{Admission, Carry, HOT, Qos, Routing, Topology};
use crate::slot::{Guest, Prepared};

/// One instance that nobody else asks.
///
/// ```
/// use mesh_plugin_host::{Engine, Grants, alone::Alone, builtin, load, prepare_qos};
/// use mesh_proto::policy::{Class, QosBatch};
///
/// let engine = Engine::new(None).unwrap();
/// let loaded = load(&engine, builtin::CLASS_FAIR, Grants::NONE).unwrap();
/// let mut batch = QosBatch::default();
/// batch.push(Class::High, 100, 0, 0);
///
/// let mut policy = Alone::new(prepare_qos(&loaded, &Default::default()).unwrap());
/// assert_eq!(policy.classify(0, &batch), Ok(vec![Class::High as u8]));
/// ```
pub struct Alone<G: Guest> {
    instance: G,
    identity: G::Identity,
}

impl<G: Guest> Alone<G>
where
    G::Identity: Default,
{
    /// Takes a policy that is ready.
    pub fn new(ready: Prepared<G>) -> Alone<G> {
        Alone::with(ready, G::Identity::default())
    }
}

impl<G: Guest> Alone<G> {
    /// Takes a plugin that is ready, with the identity that it was prepared with.
    pub fn with(ready: Prepared<G>, identity: G::Identity) -> Alone<G> {
        Alone { instance: ready.into_instance(), identity }
    }
}

impl Alone<Routing> {
    /// Shows it the view, and returns its answer to each message.
    ///
    /// # Errors
    /// What it did wrong.
    pub fn route(&mut self, now_ms: u64, view: &View, batch: &RouteBatch) -> Result<Vec<u32>, Fault> {
        self.instance.resume(HOT, now_ms, view)?;
        self.instance.decide(HOT, now_ms, batch, view.links.rtt_us.len())
    }
}

impl Alone<Qos> {
    /// Returns the class of each message.
    ///
    /// # Errors
    /// What it did wrong.
    pub fn classify(&mut self, now_ms: u64, batch: &QosBatch) -> Result<Vec<u8>, Fault> {
        self.instance.classify(HOT, now_ms, batch)
    }

    /// Returns how it shares a link.
    ///
    /// # Errors
    /// What it did wrong.
    pub fn divide(&mut self, now_ms: u64, load: &Load) -> Result<Shares, Fault> {
        self.instance.divide(HOT, now_ms, load)
    }
}

impl Alone<Topology> {
    /// Returns the score of each candidate.
    ///
    /// # Errors
    /// What it did wrong.
    pub fn score(&mut self, now_ms: u64, asker: &Asker, candidates: &Candidates) -> Result<Vec<u32>, Fault> {
        self.instance.score(HOT, now_ms, asker, candidates)
    }
}

impl Alone<Admission> {
    /// Returns for each visitor whether there may be a link to it.
    ///
    /// # Errors
    /// What it did wrong.
    pub fn admit(&mut self, now_ms: u64, place: &Place, visitors: &[Visitor]) -> Result<Vec<bool>, Fault> {
        self.instance.admit(HOT, now_ms, place, visitors)
    }
}

impl Alone<Carry> {
    /// Returns what each run is worth.
    ///
    /// # Errors
    /// What it did wrong.
    pub fn worth(&mut self, now_ms: u64, room: &Room, batch: &CarryBatch) -> Result<Vec<u8>, Fault> {
        self.instance.worth(HOT, now_ms, room, batch)
    }
}

impl Alone<Handler> {
    /// Lets it take in one event, and returns what it asks for; what it puts aside is there for the next one.
    ///
    /// # Errors
    /// What it did wrong; its own failures are answers.
    pub fn handle(
        &mut self,
        now_ms: u64,
        seed: u64,
        event: &Event,
    ) -> Result<Result<Vec<Effect>, Failure>, Fault> {
        let identity: &Identity = &self.identity;
        self.instance.handle(crate::limits::HANDLER_CALL, now_ms, seed, event, identity.kv())
    }
}
