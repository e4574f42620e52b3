//! The network with everything around it: performs the steps of a script and looks at the mesh now and then.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_plugin_host::Settings;
use mesh_proto::directory::LinkPolicy;
use mesh_proto::members::MemberState;
use mesh_proto::node::Input;
use mesh_proto::run::Dest;
use mesh_proto::sim::{LinkModel, Loss, Malice, Network, Notice, START_MS, Skew, Spec, Traffic};
use mesh_proto::{TopicId, time};

use super::script::{Message, Script, Step};
use crate::plugins::{PluginError, Plugins, Slots};
use crate::report::{Checkpoint, FaultFigures};
use crate::scenario::{Lie, Links, Mesh, Scenario, Store};

/// The topic that everybody wants.
const TOPIC: &str = "news";

/// What was seen of the mesh at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) at: Duration,
    /// Since the start.
    pub(super) traffic: Traffic,
    pub(super) links: f64,
    pub(super) up: usize,
}

/// A run under way.
pub(super) struct Stage<'a> {
    pub(super) net: Network,
    plugins: &'a Plugins,
    pub(super) slots: Vec<Slots>,
    /// Time zero of the network's clock.
    pub(super) begin: time::Instant,
    /// Everything published, by the network's number of it.
    pub(super) messages: Vec<Message>,
    pub(super) seen: Vec<Seen>,
    pub(super) checkpoints: Vec<Checkpoint>,
    /// When the mesh had come together after the faults.
    pub(super) converged_at: Option<Duration>,
    pub(super) failed_swaps: Vec<FaultFigures>,
    /// Answers of policies that the host overruled, on nodes that have stopped since.
    pub(super) clamps: u64,
    every: Duration,
    has_liars: bool,
    knows_samples: bool,
}

impl<'a> Stage<'a> {
    pub(super) fn new(scenario: &Scenario, plugins: &'a Plugins) -> Result<Stage<'a>, PluginError> {
        let mut net = Network::seeded(scenario.seed).model(model(&scenario.links)).keep_deliveries(false);
        net.reserve(scenario.nodes);
        let mut slots = Vec::with_capacity(scenario.nodes);
        for _ in 0..scenario.nodes {
            let own = plugins.node(scenario, START_MS)?;
            let policies = own.policies();
            let links = link_policy(&scenario.mesh);
            let tuning = scenario.mesh.tuning;
            let node = net.add_spec(Spec { links, policies, tuning, is_up: false });
            net.subscribe(node, TOPIC);
            slots.push(own);
        }
        Ok(Stage {
            begin: net.now(),
            net,
            plugins,
            slots,
            messages: Vec::new(),
            seen: Vec::new(),
            checkpoints: Vec::new(),
            converged_at: None,
            failed_swaps: Vec::new(),
            clamps: 0,
            every: super::point_every(scenario.total()),
            has_liars: !scenario.malicious.is_empty(),
            knows_samples: scenario.mesh.tuning.members <= scenario.nodes,
        })
    }

    /// Lets virtual time pass up to a time from the start.
    pub(super) fn run_to(&mut self, at: Duration) {
        self.net.run(at.saturating_sub(self.net.elapsed()));
    }

    pub(super) fn perform(&mut self, step: &Step) {
        match step {
            Step::Join { node, seed } => self.join(*node, *seed),
            Step::Crash { nodes, silent } => self.crash(nodes, *silent),
            Step::Leave { nodes } => {
                self.note_clamps(nodes);
                nodes.iter().for_each(|&node| self.net.shut_down(node));
            }
            Step::Restart { nodes, store } => nodes.iter().for_each(|&node| match store {
                Store::Keep => self.net.restart(node),
                Store::Lose => self.net.restart_blank(node),
            }),
            Step::Partition { parts, silent } => self.net.partition(parts, notice(*silent)),
            Step::Merge => self.net.merge(),
            Step::Cut { from, to, both_ways: true } => self.net.cut_silently(*from, *to),
            Step::Cut { from, to, both_ways: false } => self.net.cut_one_way(*from, *to),
            Step::Heal { from, to } => self.net.heal(*from, *to),
            Step::Links(links) => self.net.set_model(model(links)),
            Step::Freeze { nodes } => nodes.iter().for_each(|&node| self.net.freeze(node)),
            Step::Thaw { nodes } => nodes.iter().for_each(|&node| self.net.thaw(node)),
            Step::Clock { nodes, step_ms, drift_ppm } => self.clock(nodes, *step_ms, *drift_ppm),
            Step::Swap { node, slot, source } => self.swap(*node, slot, source),
            Step::Corrupt { node, lie, target, per_second } => {
                self.net.corrupt(*node, malice(*lie, *target, *per_second));
                if *lie == Lie::Sybil {
                    self.net.join(*node, *target);
                }
            }
            Step::Publish(message) => self.publish(message),
        }
    }

    fn join(&mut self, node: usize, seed: Option<usize>) {
        if let Some(seed) = seed {
            self.net.join(node, seed);
        }
        self.net.restart(node);
    }

    fn crash(&mut self, nodes: &[usize], silent: bool) {
        self.note_clamps(nodes);
        for &node in nodes {
            if silent {
                self.net.crash_silently(node);
            } else {
                self.net.crash(node);
            }
        }
    }

    /// A node's counters go with it.
    fn note_clamps(&mut self, nodes: &[usize]) {
        let up = nodes.iter().filter(|&&node| self.net.is_up(node));
        self.clamps += up.map(|&node| self.net.node(node).counters().clamped).sum::<u64>();
    }

    fn clock(&mut self, nodes: &[usize], step_ms: i64, drift_ppm: i32) {
        for &node in nodes {
            self.net.skew(node, Skew { offset_ms: step_ms, drift_ppm });
        }
    }

    fn swap(&mut self, node: usize, slot: &str, source: &str) {
        let now_ms = START_MS + self.net.elapsed().as_millis() as u64;
        match self.slots[node].swap(self.plugins, slot, source, &Settings::new(), now_ms) {
            Ok(()) => {
                self.net.input(node, Input::PoliciesChanged);
                self.net.input(node, Input::AdmissionChanged);
            }
            Err(error) => {
                let fault = error.to_string();
                match self.failed_swaps.iter_mut().find(|known| known.fault == fault) {
                    Some(known) => known.count += 1,
                    None => self.failed_swaps.push(FaultFigures { fault, count: 1 }),
                }
            }
        }
    }

    fn publish(&mut self, message: &Message) {
        let dest = match message.to {
            Some(node) => Dest::Node(self.net.id(node)),
            None => Dest::Topic(TopicId::of(TOPIC)),
        };
        let mut payload = vec![0; message.size];
        // No two are alike, so that a message that is taken for another is seen.
        payload[..8].copy_from_slice(&(self.messages.len() as u64).to_le_bytes());
        let number = self.net.publish_with(message.from, dest, &payload, |publish| {
            publish.class = message.class;
            publish.durable = message.durable;
            publish.ttl_ms = message.lifetime.map(|lifetime| lifetime.as_millis() as u64);
        });
        debug_assert_eq!(number, self.messages.len(), "nobody else publishes");
        self.messages.push(message.clone());
    }

    /// Notes how the mesh is.
    pub(super) fn look(&mut self, at: Duration, script: &Script) {
        if at.as_micros().is_multiple_of(self.every.as_micros()) {
            let counts = self.net.link_counts();
            let links = counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
            self.seen.push(Seen { at, traffic: self.net.traffic(), links, up: counts.len() });
            let hash = hex(&self.net.trace_hash());
            self.checkpoints.push(Checkpoint { at_s: at.as_secs_f64(), hash });
        }
        let until = script.probes_at.unwrap_or(Duration::MAX);
        if at >= script.calm_from && at <= until {
            self.watch_convergence(at, at == until);
        }
    }

    /// Notes since when the mesh has been whole. Once it is, it is looked at now and then only, and at last.
    fn watch_convergence(&mut self, at: Duration, is_last: bool) {
        let is_due = self.converged_at.is_none() || is_last || at.as_millis().is_multiple_of(5_000);
        if is_due {
            let since = self.converged_at.unwrap_or(at);
            self.converged_at = self.is_whole().then_some(since);
        }
    }

    /// Says whether all honest nodes are connected and agree on who is there. Where some mean ill, a node may
    /// have none but those for neighbours: that is counted as isolation, and the others must agree. Where
    /// each knows a sample only, there is nothing to agree on.
    fn is_whole(&self) -> bool {
        let parts = self.net.connected_components();
        match parts.as_slice() {
            [] => true,
            [largest, ..] if self.has_liars => {
                self.knows_samples || largest.iter().all(|&node| self.agrees(node, largest))
            }
            [_] => self.knows_samples || self.net.agree_on_members(),
            _ => false,
        }
    }

    /// Says whether a node takes all of these for alive, and nobody who is down.
    fn agrees(&self, node: usize, others: &[usize]) -> bool {
        let members = self.net.node(node).members().filter(|member| member.state == MemberState::Alive);
        let known: BTreeSet<usize> =
            members.filter_map(|member| self.net.host(&member.record.node)).collect();
        let knows_all = || others.iter().all(|other| *other == node || known.contains(other));
        known.iter().all(|&other| self.net.is_up(other))
            && (self.net.node(node).knows_a_sample() || knows_all())
    }
}

pub(super) fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

fn notice(silent: bool) -> Notice {
    if silent { Notice::BySilence } else { Notice::AtOnce }
}

fn link_policy(mesh: &Mesh) -> LinkPolicy {
    match (mesh.min_links, mesh.max_links) {
        (None, None) => LinkPolicy::Adaptive,
        (min, max) => {
            let min = min.unwrap_or_else(|| max.unwrap_or(2).min(2));
            LinkPolicy::Auto { min, max: max.unwrap_or(min + 1).max(min) }
        }
    }
}

fn model(links: &Links) -> LinkModel {
    let loss = match links.burst {
        Some(burst) => match Loss::bursts(burst.loss, burst.length) {
            Loss::Bursts { enter, leave, bad, .. } => Loss::Bursts { enter, leave, good: links.loss, bad },
            other => other,
        },
        None if links.loss > 0.0 => Loss::Random(links.loss),
        None => Loss::None,
    };
    LinkModel {
        latency: links.latency,
        jitter: links.jitter,
        bandwidth: links.bandwidth as u64,
        loss,
        duplicate: links.duplication,
        reorder: links.reordering,
        frame_loss: links.frame_loss,
        ..LinkModel::default()
    }
}

fn malice(lie: Lie, target: usize, per_second: u32) -> Malice {
    match lie {
        Lie::Mute => Malice::Mute,
        Lie::Censor => Malice::Censor { origin: target },
        Lie::Accuser => Malice::Accuser { per_second },
        Lie::Poisoner => Malice::Poisoner { per_second },
        Lie::Forger => Malice::Forger { per_second },
        Lie::Replayer => Malice::Replayer { per_second },
        Lie::Lure => Malice::LureRoutes,
        Lie::Sybil => Malice::Sybil,
    }
}
