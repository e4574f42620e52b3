//! What happens when: a scenario worked out to single steps, with everybody drawn who is drawn by lot.
//!
//! Pure: the same scenario gives the same script. Knows when each node is up, so that it can say for whom a
//! message counts.

use std::time::Duration;

use mesh_proto::policy::Class;

use crate::scenario::{
    Fault, FaultKind, Join, Lie, Links, Malicious, Scenario, Store, Traffic, TrafficKind, Who,
};

mod lots;
mod presence;

use lots::Lots;
pub(super) use presence::Presence;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A node starts for the first time and knows another.
    Join { node: usize, seed: Option<usize> },
    /// Nodes stop at once.
    Crash { nodes: Vec<usize>, silent: bool },
    /// Nodes say good-bye.
    Leave { nodes: Vec<usize> },
    /// Nodes start again.
    Restart { nodes: Vec<usize>, store: Store },
    /// The mesh falls into parts.
    Partition { parts: Vec<Vec<usize>>, silent: bool },
    /// The parts hear each other again.
    Merge,
    /// Nothing passes from one to the other.
    Cut { from: usize, to: usize, both_ways: bool },
    /// It does again.
    Heal { from: usize, to: usize },
    /// Links behave like this from now on.
    Links(Links),
    /// Nodes stand still.
    Freeze { nodes: Vec<usize> },
    /// They go on.
    Thaw { nodes: Vec<usize> },
    /// Clocks jump and run at another speed.
    Clock { nodes: Vec<usize>, step_ms: i64, drift_ppm: i32 },
    /// A policy is exchanged on one node.
    Swap { node: usize, slot: String, source: String },
    /// A node begins to mean ill.
    Corrupt { node: usize, lie: Lie, target: usize, per_second: u32 },
    /// A message is published.
    Publish(Message),
}

/// A message that is published.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) from: usize,
    /// `None` for all.
    pub(super) to: Option<usize>,
    pub(super) size: usize,
    pub(super) class: Class,
    pub(super) durable: bool,
    pub(super) lifetime: Option<Duration>,
    /// Sent after the faults, to see whether the mesh has come together.
    pub(super) is_probe: bool,
}

/// A scenario, step by step.
pub(super) struct Script {
    /// In the order of time, counted from the start.
    pub(super) steps: Vec<(Duration, Step)>,
    /// Who is there when.
    pub(super) presence: Presence,
    /// When the last fault has ended; nobody becomes honest again.
    pub(super) calm_from: Duration,
    /// When the first fault begins.
    pub(super) rough_from: Option<Duration>,
    /// When the probes are sent, and convergence is over.
    pub(super) probes_at: Option<Duration>,
    /// What goes wrong when, for the figure.
    pub(super) bands: Vec<(Duration, Duration, String)>,
}

/// Messages that are sent after the faults.
const PROBES: usize = 5;
/// The time between two of them.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// The part of the quiet time that the mesh has to come together.
const SETTLING: f64 = 0.6;
/// A quiet time below this proves nothing.
const LEAST_QUIET: Duration = Duration::from_secs(5);
/// How often churn strikes.
const CHURN_EVERY: Duration = Duration::from_millis(100);

impl Script {
    pub(super) fn of(scenario: &Scenario) -> Script {
        let mut writer = Writer::new(scenario);
        writer.joins();
        writer.malicious();
        writer.faults();
        writer.links();
        writer.traffic();
        let probes_at = writer.probes();
        writer.finish(probes_at)
    }
}

struct Writer<'a> {
    scenario: &'a Scenario,
    lots: Lots,
    steps: Vec<(Duration, Step)>,
    presence: Presence,
    /// The nodes of each stream of traffic; empty for those where everybody speaks.
    senders: Vec<Vec<(usize, Option<usize>)>>,
    bands: Vec<(Duration, Duration, String)>,
}

impl<'a> Writer<'a> {
    fn new(scenario: &'a Scenario) -> Writer<'a> {
        let mut lots = Lots::new(scenario.seed, scenario.nodes);
        lots.name(named(scenario));
        let senders = scenario.traffic.iter().map(|traffic| lots.senders(traffic)).collect::<Vec<_>>();
        lots.spare(senders.iter().flatten().map(|(from, _)| *from));
        if scenario.mesh.join == Join::Seed {
            // Whom everybody was told of is an honest node that stays, as an operator's would be.
            lots.spare([0]);
        }
        Writer {
            scenario,
            lots,
            steps: Vec::new(),
            presence: Presence::new(scenario.nodes, scenario.total()),
            senders,
            bands: Vec::new(),
        }
    }

    fn push(&mut self, at: Duration, step: Step) {
        self.steps.push((at, step));
    }

    fn joins(&mut self) {
        let (nodes, mesh) = (self.scenario.nodes, self.scenario.mesh);
        let over = mesh.join_over.unwrap_or(self.scenario.warm_up / 2);
        for node in 0..nodes {
            let at = over.mul_f64(node as f64 / nodes as f64);
            let seed = node.checked_sub(1).map(|before| match mesh.join {
                Join::Seed => 0,
                Join::Chain => before,
                Join::Random => self.lots.number(node),
            });
            self.presence.comes(node, at);
            self.push(at, Step::Join { node, seed });
        }
    }

    fn malicious(&mut self) {
        for malicious in &self.scenario.malicious {
            let nodes = self.lots.draw(&malicious.who);
            let from = match malicious.from.is_zero() {
                // They are what they are from their first second on.
                true => Duration::ZERO,
                false => self.scenario.warm_up + malicious.from,
            };
            let target = malicious.target.unwrap_or_else(|| self.first_sender(&nodes));
            self.lots.spare(nodes.iter().copied());
            self.band(from, self.scenario.total(), &malicious_label(malicious, nodes.len()));
            for node in nodes {
                self.presence.turns_bad(node);
                let (lie, per_second) = (malicious.lie, malicious.per_second);
                self.push(from, Step::Corrupt { node, lie, target, per_second });
            }
        }
    }

    fn first_sender(&self, except: &[usize]) -> usize {
        let first = self.senders.iter().flatten().next().map(|(from, _)| *from);
        first.unwrap_or_else(|| (0..self.scenario.nodes).find(|node| !except.contains(node)).unwrap_or(0))
    }

    fn band(&mut self, from: Duration, to: Duration, label: &str) {
        self.bands.push((from, to, label.to_owned()));
    }

    fn faults(&mut self) {
        for fault in &self.scenario.faults {
            for n in 0..fault.repeat {
                let at = self.scenario.warm_up + fault.at + fault.every * n;
                let to = match &fault.kind {
                    FaultKind::Swap { over, .. } => at + *over,
                    FaultKind::Crash { .. } | FaultKind::Leave { .. } => at,
                    _ => at + fault.lasts.unwrap_or_default(),
                };
                self.band(at, to, &label(fault));
                self.fault(at, fault);
            }
        }
    }

    fn fault(&mut self, at: Duration, fault: &Fault) {
        let end = fault.lasts.map(|lasts| at + lasts);
        match &fault.kind {
            FaultKind::Crash { who, silent, store } => {
                let nodes = self.lots.draw(who);
                self.gone(&nodes, at, end);
                self.push(at, Step::Crash { nodes: nodes.clone(), silent: *silent });
                self.back(end, nodes, *store);
            }
            FaultKind::Leave { who } => {
                let nodes = self.lots.draw(who);
                self.gone(&nodes, at, end);
                self.push(at, Step::Leave { nodes: nodes.clone() });
                self.back(end, nodes, Store::Keep);
            }
            FaultKind::Partition { groups, silent } => self.partition(at, end, *groups, *silent),
            FaultKind::Cut { from, to, both_ways } => self.cut(at, end, *from, *to, *both_ways),
            FaultKind::Ring => {
                let nodes = self.scenario.nodes;
                (0..nodes).for_each(|node| self.cut(at, end, node, (node + 1) % nodes, false));
            }
            // Links are worked out together, because changes may overlap.
            FaultKind::Links(_) => {}
            FaultKind::Freeze { who } => {
                let nodes = self.lots.draw(who);
                self.presence.stands_still(&nodes, at, end.unwrap_or(self.scenario.total()));
                self.push(at, Step::Freeze { nodes: nodes.clone() });
                if let Some(end) = end {
                    self.push(end, Step::Thaw { nodes });
                }
            }
            FaultKind::Clock { who, step, drift_ppm } => {
                let nodes = self.lots.draw(who);
                let step_ms = (step * 1000.0).round() as i64;
                self.push(at, Step::Clock { nodes, step_ms, drift_ppm: drift_ppm.round() as i32 });
            }
            FaultKind::Churn { rate, down, store, silent } => {
                self.churn(at, end.unwrap_or(at), *rate, *down, *store, *silent);
            }
            FaultKind::Swap { slot, plugin, over } => self.swap(at, slot, plugin, *over),
        }
    }

    fn gone(&mut self, nodes: &[usize], at: Duration, end: Option<Duration>) {
        for &node in nodes {
            self.presence.goes(node, at);
            if let Some(end) = end {
                self.presence.comes(node, end);
            }
        }
    }

    fn back(&mut self, end: Option<Duration>, nodes: Vec<usize>, store: Store) {
        if let Some(end) = end {
            self.push(end, Step::Restart { nodes, store });
        }
    }

    fn partition(&mut self, at: Duration, end: Option<Duration>, groups: usize, silent: bool) {
        let parts = self.lots.parts(groups);
        self.presence.parted(&parts, at, end.unwrap_or(self.scenario.total()));
        self.push(at, Step::Partition { parts, silent });
        if let Some(end) = end {
            self.push(end, Step::Merge);
        }
    }

    fn cut(&mut self, at: Duration, end: Option<Duration>, from: usize, to: usize, both_ways: bool) {
        self.presence.disturbed(from, to, at, end.unwrap_or(self.scenario.total()));
        self.push(at, Step::Cut { from, to, both_ways });
        if let Some(end) = end {
            self.push(end, Step::Heal { from, to });
        }
    }

    fn churn(&mut self, at: Duration, end: Duration, rate: f64, down: Duration, store: Store, silent: bool) {
        let (mut now, mut owed) = (at, 0.0);
        while now < end {
            let candidates: Vec<usize> =
                self.lots.free().filter(|&node| self.presence.is_up(node, now)).collect();
            owed += rate * candidates.len() as f64 * CHURN_EVERY.as_secs_f64();
            if owed >= 1.0 && !candidates.is_empty() {
                let count = (owed as usize).min(candidates.len());
                owed -= count as f64;
                let nodes = self.lots.pick(candidates, count);
                self.gone(&nodes, now, Some(now + down));
                self.push(now, Step::Crash { nodes: nodes.clone(), silent });
                self.back(Some(now + down), nodes, store);
            }
            now += CHURN_EVERY;
        }
    }

    fn swap(&mut self, at: Duration, slot: &str, source: &str, over: Duration) {
        let nodes = self.scenario.nodes;
        for (place, node) in self.lots.shuffled().into_iter().enumerate() {
            let at = at + over.mul_f64(place as f64 / nodes as f64);
            self.push(at, Step::Swap { node, slot: slot.to_owned(), source: source.to_owned() });
        }
    }

    /// Works out how links behave between any two changes; later changes lie over earlier ones.
    fn links(&mut self) {
        let mut changes = Vec::new();
        for fault in &self.scenario.faults {
            let FaultKind::Links(change) = fault.kind else { continue };
            for n in 0..fault.repeat {
                let at = self.scenario.warm_up + fault.at + fault.every * n;
                changes.push((at, fault.lasts.map(|lasts| at + lasts), change));
            }
        }
        let mut times: Vec<Duration> =
            changes.iter().flat_map(|(at, end, _)| [Some(*at), *end]).flatten().collect();
        times.sort_unstable();
        times.dedup();
        for time in times {
            let is_on = |at: Duration, end: Option<Duration>| at <= time && end.is_none_or(|end| time < end);
            let on = changes.iter().filter(|(at, end, _)| is_on(*at, *end));
            let links = on.fold(self.scenario.links, |links, (_, _, change)| change.apply(links));
            self.push(time, Step::Links(links));
        }
    }

    fn traffic(&mut self) {
        for (stream, traffic) in self.scenario.traffic.iter().enumerate() {
            for n in 0..traffic.count {
                let every = u32::try_from(n).unwrap_or(u32::MAX);
                let at = traffic.start + traffic.every.saturating_mul(every);
                if at >= self.scenario.duration {
                    break;
                }
                self.message(stream, traffic, n, self.scenario.warm_up + at);
            }
        }
    }

    fn message(&mut self, stream: usize, traffic: &Traffic, n: u64, at: Duration) {
        let Some((from, to)) = self.speaker(stream, n as usize, at) else { return };
        let class = traffic.classes[n as usize % traffic.classes.len()];
        let message = Message {
            from,
            to,
            size: traffic.size,
            class,
            durable: traffic.durable,
            lifetime: traffic.lifetime,
            is_probe: false,
        };
        self.push(at, Step::Publish(message));
    }

    /// Returns whose turn it is: those that are down or mean ill are passed over.
    fn speaker(&self, stream: usize, turn: usize, at: Duration) -> Option<(usize, Option<usize>)> {
        let can_speak = |node: usize| self.presence.is_honest(node) && self.presence.is_up(node, at);
        let chosen = &self.senders[stream];
        if chosen.is_empty() {
            let nodes = self.scenario.nodes;
            return (0..nodes)
                .map(|n| (turn + n) % nodes)
                .find(|&node| can_speak(node))
                .map(|node| (node, None));
        }
        let turns = (0..chosen.len()).map(|n| chosen[(turn + n) % chosen.len()]);
        turns.into_iter().find(|&(from, _)| can_speak(from))
    }

    /// Writes the messages that show whether the mesh has come together.
    fn probes(&mut self) -> Option<Duration> {
        let quiet = self.scenario.quiet;
        if quiet < LEAST_QUIET {
            return None;
        }
        let begin = self.scenario.warm_up + self.scenario.duration + quiet.mul_f64(SETTLING);
        let candidates: Vec<usize> = (0..self.scenario.nodes)
            .filter(|&node| self.presence.is_honest(node) && self.presence.is_up(node, begin))
            .collect();
        let chosen = self.lots.pick(candidates, PROBES);
        for (n, from) in (0u32..).zip(chosen) {
            let message = Message {
                from,
                to: None,
                size: 64,
                class: Class::Normal,
                durable: false,
                lifetime: None,
                is_probe: true,
            };
            self.push(begin + PROBE_EVERY * n, Step::Publish(message));
        }
        Some(begin)
    }

    fn finish(mut self, probes_at: Option<Duration>) -> Script {
        // Stable, so that what was written first happens first.
        self.steps.sort_by_key(|(at, _)| *at);
        let ends = self.scenario.faults.iter().map(|fault| self.scenario.warm_up + fault.end());
        let begins = self.scenario.faults.iter().map(|fault| self.scenario.warm_up + fault.at);
        let rough_from = begins.min();
        let calm_from = ends.max().unwrap_or(self.scenario.warm_up).max(self.presence.last_return());
        Script {
            steps: self.steps,
            presence: self.presence,
            calm_from,
            rough_from,
            probes_at,
            bands: self.bands,
        }
    }
}

/// Returns the nodes that faults and traffic name, which no lot may make a sender.
fn named(scenario: &Scenario) -> Vec<usize> {
    let of_who = |who: &Who| if let Who::Nodes(nodes) = who { nodes.clone() } else { Vec::new() };
    let of_fault = |fault: &Fault| match &fault.kind {
        FaultKind::Crash { who, .. } | FaultKind::Leave { who } | FaultKind::Freeze { who } => of_who(who),
        _ => Vec::new(),
    };
    let bad = scenario.malicious.iter().flat_map(|malicious| of_who(&malicious.who));
    scenario.faults.iter().flat_map(of_fault).chain(bad).collect()
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e4).round() / 1e2)
}

fn who_label(who: &Who) -> String {
    match who {
        Who::Share(share) => percent(*share),
        Who::Count(count) => count.to_string(),
        Who::Nodes(nodes) => nodes.len().to_string(),
    }
}

fn label(fault: &Fault) -> String {
    let name = fault.kind.name();
    match &fault.kind {
        FaultKind::Crash { who, .. } | FaultKind::Leave { who } | FaultKind::Freeze { who } => {
            format!("{name} {}", who_label(who))
        }
        FaultKind::Churn { rate, .. } => format!("{name} {}/s", percent(*rate)),
        FaultKind::Clock { who, .. } => format!("{name} {}", who_label(who)),
        FaultKind::Links(change) => match (change.loss, change.frame_loss) {
            (Some(loss), _) => format!("loss {}", percent(loss)),
            (None, Some(loss)) => format!("frame loss {}", percent(loss)),
            (None, None) => name.to_owned(),
        },
        FaultKind::Swap { plugin, .. } => format!("{name} {plugin}"),
        _ => name.to_owned(),
    }
}

fn malicious_label(malicious: &Malicious, count: usize) -> String {
    format!("{count} {}", malicious.lie.name())
}

impl TrafficKind {
    /// Returns how many nodes speak; 0 for all.
    fn speakers(self) -> usize {
        match self {
            TrafficKind::Broadcast { senders } => senders,
            TrafficKind::Unicast { pairs } => pairs,
        }
    }
}

#[cfg(test)]
mod tests;
