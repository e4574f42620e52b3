//! Routing: the view and batches of messages in, a way for each out.

use std::time::Duration;

use mesh_proto::policy::{ABSTAIN, Class, RouteBatch, View};

use super::{as_policy, check_rows, instance};
use crate::fault::Fault;
use crate::slot::Guest;
use crate::wit::routing;

instance!(
    /// An instance of a routing policy.
    Routing, routing, mesh_routing_policy
);

impl Routing {
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

impl Guest for Routing {
    type Context = View;

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

    as_policy!(Routing);
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
