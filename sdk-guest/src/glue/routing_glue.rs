//! Routing: columns in, a header a row, a column out.

use super::routing::exports::mesh::routing::policy::{Batch, Guest, Links, Refusal, Setting, Ways};
use super::{Export, Hosted, settings};
use crate::Class;
use crate::routing::{Dest, Header, Link, Routing, Verdict, View, Way};

const TOPIC_BIT: u32 = 1 << 31;
const LOCAL: u32 = u32::MAX;

impl<P: Routing + Hosted> Guest for Export<P> {
    fn configure(given: Vec<Setting>) -> Result<(), Refusal> {
        P::cell().with(|policy| policy.configure(settings(given)).map_err(Into::into))
    }

    fn observe(now_ms: u64, links: Links, ways: Ways) {
        let rows = links.rtt_us.iter().zip(&links.loss_ppm).zip(&links.queued_bytes);
        let links = rows
            .map(|((&rtt_us, &loss_ppm), &queued_bytes)| Link { rtt_us, loss_ppm, queued_bytes })
            .collect();
        let rows = ways.dest.iter().zip(&ways.via).zip(&ways.cost_us).zip(&ways.hops);
        let ways = rows.map(|(((&dest, &via), &cost_us), &hops)| Way { dest, via, cost_us, hops }).collect();
        P::cell().with(|policy| policy.observe(&View { now_ms, links, ways }));
    }

    fn decide(now_ms: u64, batch: Batch) -> Vec<u32> {
        P::cell().with(|policy| {
            // The answers take the place of the destinations: no further allocation.
            let mut answers = batch.dest;
            let rows = answers.iter_mut().zip(&batch.ingress).zip(&batch.size).zip(&batch.class);
            for (((row, &ingress), &size), &class) in rows {
                let header = header(now_ms, *row, ingress, size, class);
                *row = code(policy.route(&header));
            }
            answers
        })
    }

    fn state_version() -> u32 {
        P::STATE_VERSION
    }

    fn save() -> Vec<u8> {
        P::cell().with(|policy| policy.save())
    }

    fn load_state(from_version: u32, state: Vec<u8>) -> Result<(), Refusal> {
        P::cell().with(|policy| policy.load(from_version, &state).map_err(Into::into))
    }
}

#[inline]
fn header(now_ms: u64, dest: u32, ingress: u32, size: u32, class: u8) -> Header {
    let dest = if dest & TOPIC_BIT == 0 { Dest::Node(dest) } else { Dest::Topic(dest & !TOPIC_BIT) };
    let ingress = if ingress == LOCAL { None } else { Some(ingress) };
    Header { now_ms, dest, ingress, size, class: Class::from_u8(class) }
}

#[inline]
fn code(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Via(row) => row,
        Verdict::Drop => u32::MAX,
        Verdict::Hold => u32::MAX - 1,
        Verdict::Abstain => u32::MAX - 2,
    }
}
