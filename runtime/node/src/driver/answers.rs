//! Answers to management calls: everything that only looks.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use mesh_plugin_host::{PolicySlot, SlotState, SlotStatus};
use mesh_proto::NodeId;
use mesh_proto::members::MemberState;
use mesh_proto::node::Input;
use tokio::sync::oneshot;

use super::Driver;
use super::clock::unix_ms;
use super::install::refuse_large;
use super::slots::Done;
use crate::api::{
    ApiError, ChosenBy, Counters, Identity, Link, PathKind, PeerInfo, PeerState, Queued, Reply, Request,
    RouteReport, RouteState, Status, StoreKind, Time, Topology, TopologyNode, Warning, Way, code,
};
use crate::builder::scheme_of;
use crate::handler::Job;
use crate::mesh::{Answer, Call, resolve};
use crate::plugins::Step;

/// How long the handler's thread is waited for before an answer leaves it out.
const HANDLER_WITHIN: Duration = Duration::from_secs(1);

/// An answer that needs to know how the handler is.
pub(super) type Finish = Box<dyn FnOnce(&mut Driver, Option<&SlotStatus>) -> Result<Reply, ApiError> + Send>;

impl Driver {
    pub(super) fn on_call(&mut self, call: Call) {
        match call {
            Call::Request { request, body, answer } => self.on_request(request, body, answer),
            Call::Subscribe { filter, answer } => {
                let subscription = self.subscribe(filter);
                // A subscriber that is gone already is found out at the first message.
                let _ = answer.send(subscription);
            }
            Call::Unsubscribe { id } => self.unsubscribe(id),
            Call::Acknowledge { id, offset } => self.acknowledge(id, offset),
        }
    }

    fn on_request(&mut self, request: Request, body: Bytes, answer: Answer<Reply>) {
        let reply = match request {
            Request::Status => return self.with_handler(answer, |driver, status| Ok(driver.status(status))),
            Request::Peers => Ok(Reply::Peers(self.peers())),
            Request::Members => Ok(self.member_rows()),
            Request::Ping { peer, count } => return self.start_ping(&peer, count, answer),
            Request::Identity => Ok(Reply::Identity(self.identity())),
            Request::Topology => Ok(Reply::Topology(self.topology())),
            Request::TopologyExplain => self.hierarchy_report(),
            Request::TopologySet { change, dry_run } => return self.set_profile(&change, dry_run, answer),
            Request::TopologyLeave { dry_run } => return self.leave_hierarchy(dry_run, answer),
            Request::RouteExplain { peer } => self.explain(&peer),
            Request::PluginList => {
                return self
                    .with_handler(answer, |driver, status| Ok(Reply::Plugins(driver.plugin_rows(status))));
            }
            Request::PluginShow { plugin } => {
                return self.with_handler(answer, move |driver, status| driver.show_plugin(&plugin, status));
            }
            Request::PluginInstall { origin, grants, dry_run, allow_large } => {
                match refuse_large(&body, allow_large) {
                    Some(error) => Err(error),
                    None => return self.install((origin, grants), body, dry_run, answer),
                }
            }
            Request::PluginInspect { plugin } => return self.inspect_plugin(plugin, body, answer),
            Request::PluginSwap(request) => return self.swap(request, answer),
            Request::PluginTry { swap, trial } => return self.begin_trial(swap, trial, answer),
            Request::PluginTrial { slot } => return self.show_trial(&slot, answer),
            Request::PluginRollback { slot, forward, dry_run } => {
                let step = if forward { Step::Forward } else { Step::Back };
                return self.roll_back(&slot, step, dry_run, answer);
            }
            Request::PluginRemove { plugin, standby, dry_run } => {
                return self.with_handler(answer, move |driver, status| {
                    driver.remove_plugin(&plugin, standby, dry_run, status)
                });
            }
            Request::PluginOperate { operation, dry_run } => return self.operate(operation, dry_run, answer),
            Request::PluginTraps { slot } => {
                return self.with_handler(answer, move |driver, status| driver.traps(&slot, status));
            }
            Request::PluginLog { slot, after } => return self.log(&slot, after, answer),
            Request::PluginStats { slot } => {
                return self
                    .with_handler(answer, move |driver, status| driver.stats(slot.as_deref(), status));
            }
            Request::PluginLimits { slot } => {
                return self.with_handler(answer, move |driver, status| driver.limits(&slot, status));
            }
            Request::PluginGrants { plugin } => self.grant_rows(plugin.as_deref()),
            Request::PluginCollect { keep, dry_run } => return self.collect(keep, dry_run, answer),
            Request::PluginFetch { plugin } => self.fetch_plugin(&plugin),
            Request::PluginExport { plugin } => self.export_plugin(&plugin),
            Request::PluginBindings => {
                return self.with_handler(answer, |driver, status| driver.bindings(status));
            }
            Request::PluginJournal { slot, from, with_payload } => {
                return self.journal_page(slot, from, with_payload, answer);
            }
            Request::TraceWhy { message } => return self.start_why(&message, answer),
            Request::PluginTrustList => Ok(self.trust_rows()),
            Request::PluginTrust { key, change, dry_run } => {
                return self.change_trust(&key, &change, dry_run, answer);
            }
            Request::BeaconSet(spec) => {
                let payload = serde_json::json!({ "lat": spec.lat, "lon": spec.lon, "alt": spec.alt_m, "note": spec.note });
                return self.ask_beacon("set-position", payload, None, answer);
            }
            Request::BeaconList => return self.ask_beacon("list", serde_json::Value::Null, None, answer),
            Request::BeaconNear { at: Some(at), radius_m } => {
                return self.ask_beacon("list", serde_json::Value::Null, Some((at, radius_m)), answer);
            }
            Request::BeaconNear { at: None, radius_m } => {
                return self.ask_beacon("near", serde_json::json!({ "radius_m": radius_m }), None, answer);
            }
            Request::Counters => Ok(Reply::Counters(self.counters())),
            Request::PolicyState { slot } => self.policy_state(&slot),
            Request::Shutdown => {
                self.stopping = Some(answer);
                return;
            }
        };
        // Whoever asked may have gone.
        let _ = answer.send(reply);
    }

    /// Asks the handler's thread how it is, then answers.
    pub(super) fn with_handler(
        &mut self,
        answer: Answer<Reply>,
        finish: impl FnOnce(&mut Driver, Option<&SlotStatus>) -> Result<Reply, ApiError> + Send + 'static,
    ) {
        let finish: Finish = Box::new(finish);
        self.ask_handler(answer, |status, answer| Done::HandlerStatus { status, finish, answer });
    }

    /// Asks the handler's thread how its slot is, and goes on with that.
    pub(super) fn ask_handler(
        &mut self,
        answer: Answer<Reply>,
        then: impl FnOnce(Option<Box<SlotStatus>>, Answer<Reply>) -> Done + Send + 'static,
    ) {
        let (reply, status) = oneshot::channel();
        self.parts.plugins.handler.hand(Job::Status { answer: reply });
        let done = self.done_sender.clone();
        tokio::spawn(async move {
            // A handler that hangs is interrupted in less; a node without one still answers.
            let status = tokio::time::timeout(HANDLER_WITHIN, status).await.ok().and_then(Result::ok);
            let _ = done.send(then(status, answer)).await;
        });
    }

    fn status(&self, handler: Option<&SlotStatus>) -> Reply {
        let node = &self.parts.node;
        let mut queued = [0u64; 5];
        for neighbour in node.neighbours() {
            for (sum, bytes) in queued.iter_mut().zip(neighbour.queued_bytes) {
                *sum += bytes as u64;
            }
        }
        Reply::Status(Box::new(Status {
            problems: self.problems(handler),
            node: node.id(),
            name: node.own_record().facts.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.parts.began.elapsed().as_secs_f64(),
            startup_s: self.ready_after.as_secs_f64(),
            data_dir: self.parts.dir.as_ref().map(|dir| dir.path().to_owned()),
            store: if self.parts.dir.is_some() { StoreKind::Redb } else { StoreKind::Memory },
            listening: self.parts.addrs.clone(),
            peers_up: u32::try_from(node.neighbours().len()).unwrap_or(u32::MAX),
            nodes_known: u32::try_from(node.records().count() + 1).unwrap_or(u32::MAX),
            members: self.member_counts(),
            reach: self.reach_report(),
            partition: self.partition(),
            tuning: self.tuning(),
            held: queued_of(node.held()),
            inbox: queued_of(self.parts.inbox.totals()),
            queued_bytes: queued.into(),
            policies: self.slot_rows(handler),
            rss_bytes: resident_bytes(),
        }))
    }

    fn problems(&self, handler: Option<&SlotStatus>) -> Vec<Warning> {
        let mut problems = self.member_problems();
        problems.extend(self.refusal_problem());
        if let Some(reason) = &self.degraded {
            problems.push(Warning {
                code: code::STORE_FULL.id.to_owned(),
                message: format!("the store refuses writes: {reason}"),
                help: Some("df -h".to_owned()),
            });
        }
        let policies = PolicySlot::ALL.map(|slot| self.parts.plugins.set.status(slot));
        for status in policies.iter().chain(handler).filter(|status| status.state == SlotState::Quarantined) {
            let failed = status.quarantined.as_ref().map(ToString::to_string).unwrap_or_default();
            problems.push(Warning {
                code: code::PLUGIN_QUARANTINED.id.to_owned(),
                message: format!("{failed} is quarantined in the slot {}", status.slot),
                help: Some(format!("meshctl plugin show {}", status.slot)),
            });
        }
        problems
    }

    fn peers(&self) -> Vec<PeerInfo> {
        let node = &self.parts.node;
        let mut rows: Vec<PeerInfo> = Vec::new();
        for neighbour in node.neighbours() {
            let Some(link) = self.links.get(&neighbour.peer) else { continue };
            rows.push(PeerInfo {
                node: neighbour.node,
                name: self.name_of(&neighbour.node),
                state: PeerState::Up,
                transport: Some(scheme_of(&link.addr).to_owned()),
                addr: Some(link.addr.clone()),
                path: Some(PathKind::Direct),
                rtt_s: neighbour.rtt_us.map(|us| f64::from(us) / 1e6),
                since_s: link.since.elapsed().as_secs_f64(),
                queued_bytes: neighbour.queued_bytes.iter().sum::<usize>() as u64,
                sent_bytes: link.sent,
                received_bytes: link.received,
                dialed: link.dialed,
            });
        }
        let up: Vec<NodeId> = rows.iter().map(|row| row.node).collect();
        for record in node.records().filter(|record| !up.contains(&record.node)) {
            let is_dialing = self.dials.values().any(|dial| dial.expect == Some(record.node));
            let reachable = node.ways(&record.node).first().is_some_and(|way| way.feasible);
            rows.push(PeerInfo {
                node: record.node,
                name: Some(record.facts.name.clone()),
                state: match is_dialing {
                    _ if self.refusals.has(&record.node) => PeerState::Refused,
                    true => PeerState::Dialing,
                    false => PeerState::Known,
                },
                addr: record.facts.addrs.first().cloned(),
                transport: None,
                path: reachable.then_some(PathKind::Mesh),
                rtt_s: None,
                since_s: age_s(record.version),
                queued_bytes: 0,
                sent_bytes: 0,
                received_bytes: 0,
                dialed: false,
            });
        }
        rows
    }

    fn identity(&self) -> Identity {
        let key_file = self.parts.key_file.clone();
        let made = key_file.as_ref().and_then(|file| std::fs::metadata(file).ok()?.modified().ok());
        let made = made.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        Identity {
            node: self.parts.node.id(),
            name: self.parts.node.own_record().facts.name.clone(),
            key_file,
            created: made.map(|since| Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))),
            addrs: self.parts.node.own_record().facts.addrs.clone(),
        }
    }

    fn topology(&self) -> Topology {
        let node = &self.parts.node;
        let own = node.own_record();
        let mut nodes = Vec::new();
        let mut links: Vec<Link> = Vec::new();
        for record in std::iter::once(own).chain(node.records()) {
            nodes.push(TopologyNode {
                node: record.node,
                name: Some(record.facts.name.clone()),
                addrs: record.facts.addrs.clone(),
                heard_s: if record.node == own.node { 0.0 } else { age_s(record.version) },
            });
            for other in &record.facts.neighbours {
                let known = links.iter().any(|link| link.from == *other && link.to == record.node);
                if !known {
                    links.push(Link { from: record.node, to: *other, rtt_s: None });
                }
            }
        }
        for neighbour in node.neighbours() {
            let rtt_s = neighbour.rtt_us.map(|us| f64::from(us) / 1e6);
            let own_links =
                links.iter_mut().filter(|link| link.from == own.node && link.to == neighbour.node);
            own_links.for_each(|link| link.rtt_s = rtt_s);
        }
        Topology { nodes, links }
    }

    fn explain(&mut self, text: &str) -> Result<Reply, ApiError> {
        let destination = resolve(&self.parts.names.borrow(), text)?;
        let now = self.parts.clock.now();
        let next = self.parts.node.explain(now, &destination, &mut self.parts.plugins.set);
        let ways = self.parts.node.ways(&destination);
        let state = if next.is_some() { RouteState::Found } else { self.why_no_way(&destination) };
        if matches!(state, RouteState::Searching | RouteState::Unknown) {
            // Whoever asks for a way wants one: a ping that nobody waits for makes the core look for it.
            self.inputs.push(Input::Ping { token: 0, to: destination });
        }
        let reason = match (next, ways.first()) {
            (None, _) => no_way(state).to_owned(),
            (Some(next), Some(best)) if best.via == next => {
                format!(
                    "the cheapest of {}, {:.1} ms",
                    count(ways.len(), "known way"),
                    f64::from(best.cost_us) / 1000.0
                )
            }
            (Some(_), _) => "the policy prefers it to a cheaper way".to_owned(),
        };
        let rows = ways.iter().filter_map(|way| {
            let node = self.parts.node.node_of(way.via)?;
            Some(Way {
                via: self.label(&node),
                node,
                cost_us: way.cost_us.into(),
                hops: way.hops,
                chosen: Some(way.via) == next,
            })
        });
        Ok(Reply::Route(RouteReport {
            destination,
            name: self.name_of(&destination),
            next_hop: next.and_then(|next| self.parts.node.node_of(next)).map(|node| self.label(&node)),
            state,
            ways: rows.collect(),
            chosen_by: self.chosen_by(PolicySlot::Route, reason),
            held: queued_of(self.parts.node.held()),
        }))
    }

    pub(super) fn why_no_way(&self, node: &NodeId) -> RouteState {
        if *node == self.parts.node.id() {
            return RouteState::This;
        }
        let state = self.parts.node.members().find(|m| m.record.node == *node).map(|member| member.state);
        match state {
            Some(MemberState::Dead) => RouteState::Dead,
            Some(MemberState::Left) => RouteState::Left,
            Some(MemberState::Alive | MemberState::Suspect) => RouteState::Searching,
            None => RouteState::Unknown,
        }
    }

    pub(super) fn label(&self, node: &NodeId) -> String {
        self.name_of(node).unwrap_or_else(|| node.short())
    }

    pub(super) fn chosen_by(&self, slot: PolicySlot, reason: String) -> ChosenBy {
        let status = self.parts.plugins.set.status(slot);
        let plugin = self.bound_ref(&status);
        ChosenBy {
            slot: status.slot.to_owned(),
            plugin: plugin.plugin,
            version: plugin.version,
            rev: plugin.revision,
            reason,
        }
    }

    fn counters(&self) -> Counters {
        let core = self.parts.node.counters();
        let mut out: BTreeMap<String, u64> = [
            ("messages_published", core.published),
            ("messages_delivered", core.delivered),
            ("messages_received", core.received),
            ("messages_forwarded", core.forwarded),
            ("messages_duplicate", core.duplicates),
            ("dropped_expired", core.expired),
            ("dropped_policy", core.dropped_by_policy),
            ("dropped_hop_limit", core.dropped_hop_limit),
            ("dropped_over_budget", core.dropped_full),
            ("dropped_not_carried", core.not_carried),
            ("dropped_in_doubt", core.dropped_in_doubt),
            ("dropped_inbox_full", self.parts.inbox.dropped),
            ("subscriber_skipped", self.apps.skipped),
            ("handler_skipped", self.parts.plugins.handler.skipped),
            ("policy_clamped", core.clamped),
            ("plugin_trials", self.trials.begun),
            ("plugin_trials_returned", self.trials.returned),
            ("plugin_shadow_disagreements", self.trials.disagreements),
            ("parent_changes", core.parent_changes),
            ("role_changes", core.role_changes),
            ("links_not_admitted", core.not_admitted),
            ("dials_not_admitted", core.not_dialed),
            ("frames_received", core.frames),
            ("frames_skipped", core.skipped_frames),
            ("links_violated", core.violations.values().chain(self.framing_violations.values()).sum()),
            ("sent_bytes", self.links.values().map(|link| link.sent).sum()),
            ("received_bytes", self.links.values().map(|link| link.received).sum()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        for (name, value) in core.violations.iter().chain(&self.framing_violations) {
            out.insert(format!("violation_{}", name.replace('-', "_")), *value);
        }
        for slot in PolicySlot::ALL {
            let status = self.parts.plugins.set.status(slot);
            for (name, value) in [
                ("plugin_swaps", status.swaps),
                ("plugin_strikes", status.faults),
                ("plugin_rollbacks", status.rollbacks + status.quarantines),
                ("plugin_fallbacks", status.fallbacks),
            ] {
                *out.entry(name.to_owned()).or_default() += value;
            }
        }
        Counters(out)
    }
}

fn no_way(state: RouteState) -> &'static str {
    match state {
        RouteState::This => "it is this node",
        RouteState::Dead => "the node is taken for dead: messages wait until it is back",
        RouteState::Left => "the node has left: messages wait until it is back",
        RouteState::Unknown => "nobody has told of such a node; a way is being looked for, messages wait",
        RouteState::Found | RouteState::Searching => {
            "no way is known yet: one is being looked for, messages wait"
        }
    }
}

fn queued_of((messages, bytes): (usize, usize)) -> Queued {
    Queued { messages: messages as u64, bytes: bytes as u64 }
}

pub(super) fn age_s(at_ms: u64) -> f64 {
    unix_ms().saturating_sub(at_ms) as f64 / 1000.0
}

pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Resident memory of this process; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
