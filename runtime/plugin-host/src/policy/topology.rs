//! Topology: candidates in, a score for each out.

use std::time::Duration;

use mesh_proto::policy::{Asker, Candidates};

use super::{as_policy, check_rows, instance};
use crate::fault::Fault;
use crate::slot::Guest;
use crate::wit::topology;

instance!(
    /// An instance of a topology policy.
    Topology, topology, mesh_topology_policy
);

impl Topology {
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

impl Guest for Topology {
    type Context = ();

    fn rehearse(&mut self, limit: Duration) -> Result<(), Fault> {
        let (asker, candidates) = candidates();
        self.score(limit, 0, &asker, &candidates).map(drop)
    }

    as_policy!(Topology);
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
