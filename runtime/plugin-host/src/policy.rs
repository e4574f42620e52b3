//! Policies as instances: lends the columns to the guest, checks what comes back.

use std::time::Duration;

use mesh_proto::policy::{
    ABSTAIN, Asker, CLASS_DROP, Candidates, Class, Load, QosBatch, RouteBatch, Shares, View,
};
use wasmtime::Store;

use crate::engine::Engine;
use crate::fault::Fault;
use crate::limits::{POLICY_CALL, SETUP, STATE_BYTES};
use crate::load::{Kind, Loaded, World};
use crate::sandbox::{self, Host};
use crate::settings::{Refusal, Settings, lend};
use crate::slot::{Guest, Refused, Sealed, State};
use crate::wit::{common, qos, routing, topology};

/// An instance of a routing policy.
pub struct Routing {
    engine: Engine,
    store: Store<Host>,
    world: routing::Routing,
}

/// An instance of a QoS policy.
pub struct Qos {
    engine: Engine,
    store: Store<Host>,
    world: qos::Qos,
}

/// An instance of a topology policy.
pub struct Topology {
    engine: Engine,
    store: Store<Host>,
    world: topology::Topology,
}

impl Routing {
    #[inline]
    fn call<R>(
        &mut self,
        limit: Duration,
        call: impl FnOnce(
            &routing::exports::mesh::routing::policy::Guest,
            &mut Store<Host>,
        ) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let world = &self.world;
        sandbox::call(&self.engine, &mut self.store, limit, |store| call(world.mesh_routing_policy(), store))
    }

    fn observe(&mut self, limit: Duration, now_ms: u64, view: &View) -> Result<(), Fault> {
        let links = routing::Links {
            rtt_us: &view.links.rtt_us,
            loss_ppm: &view.links.loss_ppm,
            queued_bytes: &view.links.queued_bytes,
        };
        let ways = routing::Ways {
            dest: &view.ways.dest,
            via: &view.ways.via,
            cost_us: &view.ways.cost_us,
            hops: &view.ways.hops,
        };
        self.store.data_mut().wasi.begin(now_ms, 0);
        self.call(limit, |guest, store| guest.call_observe(store, now_ms, links, ways))
    }

    /// Answers a batch; `links` is the number of neighbours that an answer may name.
    pub(crate) fn decide(
        &mut self,
        limit: Duration,
        now_ms: u64,
        batch: &RouteBatch,
        links: usize,
    ) -> Result<Vec<u32>, Fault> {
        let columns = routing::Batch {
            dest: &batch.dest,
            ingress: &batch.ingress,
            size: &batch.size,
            class: &batch.class,
        };
        self.store.data_mut().wasi.begin(now_ms, 0);
        let answers = self.call(limit, |guest, store| guest.call_decide(store, now_ms, columns))?;
        check_rows(batch.len(), answers.len())?;
        // The two halves of the test in one pass without a branch a row.
        let is_wrong = |answer: u32| answer as usize >= links && answer < ABSTAIN;
        if answers.iter().fold(false, |wrong, &answer| wrong | is_wrong(answer)) {
            let row = answers.iter().position(|&answer| is_wrong(answer)).unwrap_or(0);
            return Err(Fault::UnknownNeighbour { row, answer: answers[row], links });
        }
        Ok(answers)
    }
}

impl Qos {
    #[inline]
    fn call<R>(
        &mut self,
        limit: Duration,
        call: impl FnOnce(&qos::exports::mesh::qos::policy::Guest, &mut Store<Host>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let world = &self.world;
        sandbox::call(&self.engine, &mut self.store, limit, |store| call(world.mesh_qos_policy(), store))
    }

    pub(crate) fn classify(
        &mut self,
        limit: Duration,
        now_ms: u64,
        batch: &QosBatch,
    ) -> Result<Vec<u8>, Fault> {
        let columns =
            qos::Batch { class: &batch.class, size: &batch.size, age_ms: &batch.age_ms, tag: &batch.tag };
        self.store.data_mut().wasi.begin(now_ms, 0);
        let answers = self.call(limit, |guest, store| guest.call_classify(store, now_ms, columns))?;
        check_rows(batch.len(), answers.len())?;
        let is_wrong = |answer: u8| usize::from(answer) >= Class::ALL.len() && answer != CLASS_DROP;
        if answers.iter().fold(false, |wrong, &answer| wrong | is_wrong(answer)) {
            let row = answers.iter().position(|&answer| is_wrong(answer)).unwrap_or(0);
            return Err(Fault::UnknownClass { row, answer: answers[row] });
        }
        Ok(answers)
    }

    pub(crate) fn divide(&mut self, limit: Duration, now_ms: u64, load: &Load) -> Result<Shares, Fault> {
        let columns = qos::Load {
            sent_bytes: &load.sent_bytes,
            queued_bytes: &load.queued_bytes,
            dropped: &load.dropped,
        };
        self.store.data_mut().wasi.begin(now_ms, 0);
        let shares = self.call(limit, |guest, store| guest.call_divide(store, now_ms, columns))?;
        Ok(Shares { guaranteed: five(&shares.guaranteed)?, burst: five(&shares.burst)? })
    }
}

impl Topology {
    fn call<R>(
        &mut self,
        limit: Duration,
        call: impl FnOnce(
            &topology::exports::mesh::topology::policy::Guest,
            &mut Store<Host>,
        ) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let world = &self.world;
        sandbox::call(&self.engine, &mut self.store, limit, |store| call(world.mesh_topology_policy(), store))
    }

    /// Answers a batch; whoever asked cuts what is above the highest score.
    pub(crate) fn score(
        &mut self,
        limit: Duration,
        now_ms: u64,
        asker: &Asker,
        candidates: &Candidates,
    ) -> Result<Vec<u32>, Fault> {
        let [weight_mobility, weight_resources, weight_battery, weight_proximity] = asker.weights;
        let asker = topology::Asker {
            level: asker.level,
            mobility: asker.mobility,
            battery: asker.battery,
            weight_mobility,
            weight_resources,
            weight_battery,
            weight_proximity,
            max_distance_m: asker.max_distance_m,
        };
        let columns = topology::Candidates {
            node: &candidates.node,
            level: &candidates.level,
            same_cell: &candidates.same_cell,
            is_parent: &candidates.is_parent,
            mobility: &candidates.mobility,
            battery: &candidates.battery,
            cpu_used: &candidates.cpu_used,
            memory_used: &candidates.memory_used,
            cores: &candidates.cores,
            memory_mb: &candidates.memory_mb,
            uplink_mbps: &candidates.uplink_mbps,
            distance_m: &candidates.distance_m,
            rtt_us: &candidates.rtt_us,
            up_s: &candidates.up_s,
            children: &candidates.children,
            max_children: &candidates.max_children,
        };
        self.store.data_mut().wasi.begin(now_ms, 0);
        let answers = self.call(limit, |guest, store| guest.call_score(store, now_ms, asker, columns))?;
        check_rows(candidates.len(), answers.len())?;
        Ok(answers)
    }
}

fn five(column: &[u8]) -> Result<[u8; 5], Fault> {
    column.try_into().map_err(|_| Fault::Rows { asked: 5, got: column.len() })
}

fn check_rows(asked: usize, got: usize) -> Result<(), Fault> {
    if asked == got { Ok(()) } else { Err(Fault::Rows { asked, got }) }
}

/// Implements what the policies share; the generated types differ and their shapes do not.
macro_rules! life_cycle {
    () => {
        fn engine(&self) -> &Engine {
            &self.engine
        }

        fn host(&self) -> &Host {
            self.store.data()
        }

        fn host_mut(&mut self) -> &mut Host {
            self.store.data_mut()
        }

        fn state_version(&mut self) -> Result<u32, Fault> {
            self.call(SETUP, |guest, store| guest.call_state_version(store))
        }

        fn save(&mut self, limit: Duration) -> Result<Vec<u8>, Fault> {
            let state = self.call(limit, |guest, store| guest.call_save(store))?;
            check_state(state)
        }

        fn load(&mut self, limit: Duration, state: &State) -> Result<(), Refused> {
            let answer = self
                .call(limit, |guest, store| guest.call_load_state(store, state.version, &state.bytes))
                .map_err(Refused::Fault)?;
            answer.map_err(|refusal: common::Refusal| Refused::Refusal(refusal.into()))
        }
    };
}
pub(crate) use life_cycle;

pub(crate) fn check_state(state: Vec<u8>) -> Result<Vec<u8>, Fault> {
    match state.len() {
        len if len > STATE_BYTES => Err(Fault::StateTooLarge { len, max: STATE_BYTES }),
        _ => Ok(state),
    }
}

impl Sealed for Routing {}
impl Guest for Routing {
    type Context = View;
    type Identity = ();
    type Configured = ();
    const KIND: Kind = Kind::Routing;

    fn start(
        loaded: &Loaded,
        (): &(),
        settings: &Settings,
        limit: Duration,
    ) -> Result<(Self, Result<(), Refusal>), Fault> {
        let World::Routing(pre) = &loaded.0.world else {
            return Err(wrong_kind(loaded, Self::KIND));
        };
        let engine = loaded.0.engine.clone();
        let mut store = sandbox::store(&engine, &loaded.0.revision);
        let world = sandbox::call(&engine, &mut store, limit, |store| pre.instantiate(store))?;
        let mut guest = Routing { engine, store, world };
        let lent = lend(settings);
        let configured = guest.call(limit, |guest, store| guest.call_configure(store, &lent))?;
        Ok((guest, configured.map_err(Refusal::from)))
    }

    fn rehearse(&mut self, limit: Duration) -> Result<(), Fault> {
        let (view, batch) = rehearsal();
        self.observe(limit, 0, &view)?;
        self.decide(limit, 0, &batch, view.links.rtt_us.len()).map(drop)
    }

    fn resume(&mut self, limit: Duration, now_ms: u64, view: &View) -> Result<(), Fault> {
        self.observe(limit, now_ms, view)
    }

    fn show(journal: &mut crate::journal::Journal, now_ms: u64, view: &View) {
        journal.observe(now_ms, view);
    }

    life_cycle!();
}

impl Sealed for Qos {}
impl Guest for Qos {
    type Context = ();
    type Identity = ();
    type Configured = ();
    const KIND: Kind = Kind::Qos;

    fn start(
        loaded: &Loaded,
        (): &(),
        settings: &Settings,
        limit: Duration,
    ) -> Result<(Self, Result<(), Refusal>), Fault> {
        let World::Qos(pre) = &loaded.0.world else {
            return Err(wrong_kind(loaded, Self::KIND));
        };
        let engine = loaded.0.engine.clone();
        let mut store = sandbox::store(&engine, &loaded.0.revision);
        let world = sandbox::call(&engine, &mut store, limit, |store| pre.instantiate(store))?;
        let mut guest = Qos { engine, store, world };
        let lent = lend(settings);
        let configured = guest.call(limit, |guest, store| guest.call_configure(store, &lent))?;
        Ok((guest, configured.map_err(Refusal::from)))
    }

    fn rehearse(&mut self, limit: Duration) -> Result<(), Fault> {
        let mut batch = QosBatch::default();
        for class in Class::ALL {
            batch.push(class, 256, 0, 0);
        }
        self.classify(limit, 0, &batch)?;
        self.divide(limit, 0, &Load::default()).map(drop)
    }

    fn resume(&mut self, _limit: Duration, _now_ms: u64, (): &()) -> Result<(), Fault> {
        Ok(())
    }

    life_cycle!();
}

impl Sealed for Topology {}
impl Guest for Topology {
    type Context = ();
    type Identity = ();
    type Configured = ();
    const KIND: Kind = Kind::Topology;

    fn start(
        loaded: &Loaded,
        (): &(),
        settings: &Settings,
        limit: Duration,
    ) -> Result<(Self, Result<(), Refusal>), Fault> {
        let World::Topology(pre) = &loaded.0.world else {
            return Err(wrong_kind(loaded, Self::KIND));
        };
        let engine = loaded.0.engine.clone();
        let mut store = sandbox::store(&engine, &loaded.0.revision);
        let world = sandbox::call(&engine, &mut store, limit, |store| pre.instantiate(store))?;
        let mut guest = Topology { engine, store, world };
        let lent = lend(settings);
        let configured = guest.call(limit, |guest, store| guest.call_configure(store, &lent))?;
        Ok((guest, configured.map_err(Refusal::from)))
    }

    fn rehearse(&mut self, limit: Duration) -> Result<(), Fault> {
        let (asker, candidates) = candidates();
        self.score(limit, 0, &asker, &candidates).map(drop)
    }

    fn resume(&mut self, _limit: Duration, _now_ms: u64, (): &()) -> Result<(), Fault> {
        Ok(())
    }

    life_cycle!();
}

/// A platform and two squads: one on mains that is near, one of which nothing is known.
fn candidates() -> (Asker, Candidates) {
    let asker =
        Asker { level: 0, mobility: 0, battery: 80, weights: [300, 300, 200, 200], max_distance_m: 10_000 };
    let candidates = Candidates {
        node: vec![1, 2],
        level: vec![1, 1],
        same_cell: vec![1, 0],
        is_parent: vec![1, 0],
        mobility: vec![0, 2],
        battery: vec![u8::MAX, 20],
        cpu_used: vec![10, 79],
        memory_used: vec![20, 79],
        cores: vec![8, 2],
        memory_mb: vec![16_384, 512],
        uplink_mbps: vec![1_000, 10],
        distance_m: vec![500, u32::MAX],
        rtt_us: vec![1_000, u32::MAX],
        up_s: vec![3_600, 0],
        children: vec![3, 0],
        max_children: vec![10, 1],
    };
    (asker, candidates)
}

/// A small view and a batch on it: two neighbours, one destination behind both, one nowhere, one topic.
fn rehearsal() -> (View, RouteBatch) {
    let mut view = View::default();
    for rtt_us in [100, 200] {
        view.links.rtt_us.push(rtt_us);
        view.links.loss_ppm.push(0);
        view.links.queued_bytes.push(0);
    }
    for via in [0, 1] {
        view.ways.dest.push(0);
        view.ways.via.push(via);
        view.ways.cost_us.push(100);
        view.ways.hops.push(1);
    }
    let mut batch = RouteBatch::default();
    for (dest, ingress) in
        [(0, mesh_proto::policy::LOCAL), (0, 0), (1, 1), (mesh_proto::policy::TOPIC_BIT, 0)]
    {
        batch.push(dest, ingress, 256, Class::Normal);
    }
    (view, batch)
}

pub(crate) fn wrong_kind(loaded: &Loaded, wanted: Kind) -> Fault {
    Fault::Start { reason: format!("it is a {} plugin, and a {wanted} plugin is asked for", loaded.kind()) }
}

/// The deadline of a call that traffic waits for.
pub(crate) const HOT: Duration = POLICY_CALL;
