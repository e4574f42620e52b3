//! `ping`: round trips through the mesh, measured by the core.

use std::time::{Duration, Instant};

use mesh_plugin_host::PolicySlot;
use mesh_proto::NodeId;
use mesh_proto::node::Input;

use super::Driver;
use super::answers::count;
use crate::api::{ApiError, Path, PathKind, PingReport, Reply, RouteState, code};
use crate::mesh::{Answer, resolve};

/// How long a ping is waited for.
const PING_WITHIN: Duration = Duration::from_secs(5);
/// Round trips of one call.
const MAX_PINGS: u32 = 1000;

/// Round trips of one `ping`, one after the other.
pub(super) struct Pinging {
    to: NodeId,
    left: u32,
    sent: u32,
    rtts_us: Vec<u64>,
    hops: u8,
    began: Instant,
    answer: Answer<Reply>,
}

impl Driver {
    pub(super) fn start_ping(&mut self, peer: &str, count: u32, answer: Answer<Reply>) {
        let to = match resolve(&self.parts.names.borrow(), peer) {
            Ok(to) => to,
            Err(error) => return drop(answer.send(Err(error))),
        };
        // Where a way may yet be found, the ping waits for it.
        let is_gone = matches!(self.why_no_way(&to), RouteState::Dead | RouteState::Left);
        if is_gone && !self.has_way(&to) {
            return drop(answer.send(Err(self.no_way_to(&to))));
        }
        let left = count.clamp(1, MAX_PINGS);
        let pinging =
            Pinging { to, left, sent: 0, rtts_us: Vec::new(), hops: 0, began: Instant::now(), answer };
        self.next_ping(pinging);
    }

    fn has_way(&self, to: &NodeId) -> bool {
        *to == self.parts.node.id() || self.parts.node.ways(to).iter().any(|way| way.feasible)
    }

    fn no_way_to(&self, to: &NodeId) -> ApiError {
        let label = self.label(to);
        ApiError::new(&code::NO_WAY, format!("no way leads to {label}"))
            .help("meshctl members")
            .help(format!("meshctl route explain {label}"))
    }

    fn next_ping(&mut self, mut pinging: Pinging) {
        let token = self.token();
        pinging.left -= 1;
        pinging.sent += 1;
        pinging.began = Instant::now();
        self.inputs.push(Input::Ping { token, to: pinging.to });
        self.pings.insert(token, pinging);
    }

    pub(super) fn on_pong(&mut self, token: u64, rtt_us: u64, hops: u8) {
        let Some(mut pinging) = self.pings.remove(&token) else { return };
        pinging.rtts_us.push(rtt_us);
        pinging.hops = hops;
        if pinging.left > 0 { self.next_ping(pinging) } else { self.end_ping(pinging) }
    }

    pub(super) fn expire_pings(&mut self) {
        let late = |pinging: &Pinging| pinging.began.elapsed() > PING_WITHIN;
        let tokens: Vec<u64> = self.pings.iter().filter(|(_, p)| late(p)).map(|(token, _)| *token).collect();
        for token in tokens {
            if let Some(pinging) = self.pings.remove(&token) {
                self.end_ping(pinging);
            }
        }
    }

    fn end_ping(&self, mut pinging: Pinging) {
        if pinging.rtts_us.is_empty() && !self.has_way(&pinging.to) {
            return drop(pinging.answer.send(Err(self.no_way_to(&pinging.to))));
        }
        if pinging.rtts_us.is_empty() {
            let message =
                format!("no answer from {} within {} s", self.label(&pinging.to), PING_WITHIN.as_secs());
            let error = ApiError::new(&code::PING_TIMEOUT, message).help("meshctl peers");
            return drop(pinging.answer.send(Err(error)));
        }
        pinging.rtts_us.sort_unstable();
        let seconds = |us: u64| us as f64 / 1e6;
        let rtts = &pinging.rtts_us;
        let link = self.parts.node.link_to(&pinging.to).and_then(|peer| self.links.get(&peer));
        let ways = self.parts.node.ways(&pinging.to);
        let candidates: Vec<Path> = ways
            .iter()
            .filter_map(|way| {
                let via = self.parts.node.node_of(way.via)?;
                let path = if via == pinging.to { PathKind::Direct } else { PathKind::Mesh };
                Some(Path { path, via: self.label(&via), rtt_s: Some(f64::from(way.cost_us) / 1e6) })
            })
            .collect();
        let reason = format!("its choice among {}", count(candidates.len(), "known way"));
        let report = PingReport {
            peer: pinging.to,
            name: self.name_of(&pinging.to),
            path: if pinging.hops <= 1 { PathKind::Direct } else { PathKind::Mesh },
            addr: link.filter(|_| pinging.hops <= 1).map(|link| link.addr.clone()),
            hops: pinging.hops,
            sent: pinging.sent,
            received: u32::try_from(rtts.len()).unwrap_or(u32::MAX),
            rtt_s: seconds(rtts[rtts.len() / 2]),
            min_s: seconds(rtts[0]),
            max_s: seconds(rtts[rtts.len() - 1]),
            candidates,
            chosen_by: self.chosen_by(PolicySlot::Route, reason),
        };
        let _ = pinging.answer.send(Ok(Reply::Ping(report)));
    }
}
