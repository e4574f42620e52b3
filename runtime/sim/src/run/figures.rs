//! From what was seen to the report.

use std::time::Duration;

use mesh_proto::members::MemberState;
use mesh_proto::sim::{Publication, Traffic};

use super::script::{Message, Presence, Script, Step};
use super::stage::{Seen, Stage, hex};
use super::{PluginRows, point_every};
use crate::report::{Band, BreachFigures, FaultFigures, LinkCount, Outcome, Point, Report, Timeline};
use crate::scenario::Scenario;

/// Points of the curve of latencies.
const QUANTILES: usize = 100;
/// How long after a disturbance a node may still be taken for dead without being wronged.
const MEMORY: Duration = Duration::from_secs(10);

/// One message with those for whom it counts.
struct Counted<'a> {
    message: &'a Message,
    publication: &'a Publication,
    at: Duration,
    expected: u64,
    /// How long each delivery took that counts, in microseconds, and its hops.
    delivered: Vec<(u32, u8)>,
}

pub(super) fn of(stage: &mut Stage<'_>, scenario: &Scenario, script: &Script) -> Outcome {
    let mut report = Report {
        scenario: scenario.name.clone(),
        description: scenario.description.clone(),
        nodes: scenario.nodes as u64,
        seed: scenario.seed,
        trace_hash: hex(&stage.net.trace_hash()),
        simulated_s: scenario.total().as_secs_f64(),
        ..Report::default()
    };
    let counted = count(stage, scenario, script);
    deliveries(&mut report, &counted, scenario.warm_up + scenario.measure.steady_from);
    let latency = latencies(&mut report, &counted);
    let mut points = points(stage, scenario, &counted);
    drop(counted);
    traffic(&mut report, stage, scenario, script);
    report.peak_ratio = script.rough_from.and_then(|fault| peak(&points, scenario.warm_up, fault));
    members(&mut report, stage, script);
    links(&mut report, stage);
    plugins(&mut report, stage);
    breaches(&mut report, stage, script);
    let bands = script.bands.iter().map(|(from, to, label)| Band {
        from_s: from.as_secs_f64(),
        to_s: to.as_secs_f64(),
        label: label.clone(),
    });
    points.retain(|point| point.at_s <= report.simulated_s);
    let timeline = Timeline { points, bands: bands.collect(), latency };
    Outcome { report, timeline, checkpoints: std::mem::take(&mut stage.checkpoints) }
}

/// Finds out for whom each message counts and who of them has it.
fn count<'a>(stage: &'a Stage<'_>, scenario: &Scenario, script: &Script) -> Vec<Counted<'a>> {
    let pairs = stage.messages.iter().zip(stage.net.publications());
    pairs
        .map(|(message, publication)| {
            let at = publication.at.since(stage.begin);
            let mut arrived = vec![None; scenario.nodes];
            for arrival in &publication.arrivals {
                arrived[arrival.host as usize] = Some((arrival.after_us, arrival.hops));
            }
            let is_due = |node: &usize| is_due(message, *node, at, scenario, &script.presence);
            let due: Vec<usize> = receivers(message, scenario).filter(is_due).collect();
            let delivered = due.iter().filter_map(|&node| arrived[node]).collect();
            Counted { message, publication, at, expected: due.len() as u64, delivered }
        })
        .collect()
}

fn receivers(message: &Message, scenario: &Scenario) -> std::ops::Range<usize> {
    message.to.map_or(0..scenario.nodes, |to| to..to + 1)
}

fn is_due(message: &Message, node: usize, at: Duration, scenario: &Scenario, presence: &Presence) -> bool {
    let measure = scenario.measure;
    if message.durable {
        // It waits for its recipient, wherever that is meanwhile.
        return node != message.from && presence.is_honest(node) && presence.is_up(node, scenario.total());
    }
    let settled = if message.is_probe { Duration::ZERO } else { measure.settled };
    presence.counts(message.from, node, at, settled, measure.patience)
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

fn deliveries(report: &mut Report, counted: &[Counted<'_>], steady_from: Duration) {
    let sums = |probes: bool| {
        counted
            .iter()
            .filter(|one| one.message.is_probe == probes)
            .fold((0, 0), |(delivered, expected), one| {
                (delivered + one.delivered.len() as u64, expected + one.expected)
            })
    };
    report.published = counted.len() as u64;
    report.refused = counted.iter().filter(|one| !one.publication.accepted).count() as u64;
    (report.delivered, report.expected) = sums(false);
    report.delivery_ratio = ratio(report.delivered, report.expected);
    let (delivered, expected) = sums(true);
    report.probe_ratio = (expected > 0).then(|| ratio(delivered, expected));
    // Probes come from nodes that have not spoken, so that their trees are not grown yet.
    let is_steady =
        |one: &&Counted<'_>| one.message.to.is_none() && !one.message.is_probe && one.at >= steady_from;
    let broadcasts: Vec<&Counted<'_>> = counted.iter().filter(is_steady).collect();
    let copies: u64 = broadcasts.iter().map(|one| one.publication.copies).sum();
    let holders: u64 = broadcasts.iter().map(|one| one.publication.holders() as u64).sum();
    report.redundancy = if holders == 0 { 0.0 } else { copies as f64 / holders as f64 - 1.0 };
    let last_hop = |one: &&Counted<'_>| one.delivered.iter().map(|&(_, hops)| u64::from(hops)).max();
    let hops: Vec<u64> = broadcasts.iter().filter_map(last_hop).collect();
    report.last_delivery_hops = hops.iter().max().copied().unwrap_or(0);
    report.last_delivery_hops_mean = hops.iter().sum::<u64>() as f64 / hops.len().max(1) as f64;
}

/// Returns the curve of all latencies, as milliseconds and shares.
fn latencies(report: &mut Report, counted: &[Counted<'_>]) -> Vec<(f64, f64)> {
    let delivered = counted.iter().filter(|one| !one.message.is_probe).flat_map(|one| &one.delivered);
    let mut all: Vec<u32> = delivered.map(|&(after_us, _)| after_us).collect();
    all.sort_unstable();
    let Some(&longest) = all.last() else { return Vec::new() };
    let at = |share: f64| {
        let place = (all.len() as f64 * share).ceil() as usize;
        f64::from(all[place.clamp(1, all.len()) - 1]) / 1000.0
    };
    report.latency_p50_ms = at(0.5);
    report.latency_p99_ms = at(0.99);
    report.latency_max_ms = f64::from(longest) / 1000.0;
    report.last_delivery_s = f64::from(longest) / 1e6;
    (1..=QUANTILES).map(|n| n as f64 / QUANTILES as f64).map(|share| (at(share), share)).collect()
}

/// Returns the course of the run.
fn points(stage: &Stage<'_>, scenario: &Scenario, counted: &[Counted<'_>]) -> Vec<Point> {
    let every = point_every(scenario.total());
    let mut before = Seen { at: Duration::ZERO, traffic: Traffic::default(), links: 0.0, up: 0 };
    let mut points = Vec::with_capacity(stage.seen.len());
    for seen in &stage.seen {
        let sent = seen.traffic.since(&before.traffic);
        let node_seconds = (seen.at - before.at).as_secs_f64() * (seen.up.max(before.up).max(1) as f64);
        // A message belongs to the point after it.
        let own = counted.iter().filter(|one| one.at + every > seen.at && one.at <= seen.at);
        let (delivered, expected) = own.fold((0, 0), |(delivered, expected), one| {
            (delivered + one.delivered.len() as u64, expected + one.expected)
        });
        points.push(Point {
            at_s: seen.at.as_secs_f64(),
            delivered: (expected > 0).then(|| ratio(delivered, expected)),
            bytes_per_node_per_s: sent.sent_bytes() as f64 / node_seconds,
            control_bytes_per_node_per_s: sent.control_bytes as f64 / node_seconds,
            links: seen.links,
            up: seen.up as u64,
        });
        before = *seen;
    }
    points
}

/// Returns the busiest point from the first fault on, as a multiple of the busiest before it.
fn peak(points: &[Point], begin: Duration, fault: Duration) -> Option<f64> {
    let most = |from: Duration, to: f64| {
        let within = points.iter().filter(|point| point.at_s > from.as_secs_f64() && point.at_s <= to);
        within.map(|point| point.bytes_per_node_per_s).fold(0.0, f64::max)
    };
    let steady = most(begin, fault.as_secs_f64());
    (steady > 0.0).then(|| most(fault, f64::INFINITY) / steady)
}

fn traffic(report: &mut Report, stage: &Stage<'_>, scenario: &Scenario, script: &Script) {
    let main = (scenario.warm_up, scenario.warm_up + scenario.duration);
    if let Some(sent) = between(&stage.seen, main.0, main.1) {
        report.bytes_per_node_per_s = sent.all;
        report.control_bytes_per_node_per_s = sent.control;
        report.wire_bytes_per_node_per_s = sent.wire;
        report.control_share = if sent.all > 0.0 { sent.control / sent.all } else { 0.0 };
    }
    let idle = match (scenario.traffic.is_empty() && scenario.faults.is_empty(), script.probes_at) {
        (true, _) => between(&stage.seen, main.0, main.1),
        // The probes have had half of the rest to pass.
        (false, Some(probes)) => {
            between(&stage.seen, probes + (scenario.total() - probes) / 2, scenario.total())
        }
        (false, None) => None,
    };
    report.idle_bytes_per_node_per_s = idle.map(|sent| sent.all);
}

/// Bytes of a node in a second.
struct Rates {
    all: f64,
    control: f64,
    wire: f64,
}

fn between(seen: &[Seen], from: Duration, to: Duration) -> Option<Rates> {
    let within: Vec<&Seen> = seen.iter().filter(|seen| seen.at >= from && seen.at <= to).collect();
    let (first, last) = (within.first()?, within.last()?);
    let sent = last.traffic.since(&first.traffic);
    let steps = within.windows(2);
    let node_seconds: f64 =
        steps.map(|pair| (pair[1].at - pair[0].at).as_secs_f64() * pair[1].up as f64).sum();
    let rate = |bytes: u64| bytes as f64 / node_seconds;
    (node_seconds > 0.0).then(|| Rates {
        all: rate(sent.sent_bytes()),
        control: rate(sent.control_bytes),
        wire: rate(sent.wire_bytes),
    })
}

fn members(report: &mut Report, stage: &Stage<'_>, script: &Script) {
    let is_gone = |state: MemberState| matches!(state, MemberState::Dead | MemberState::Left);
    let presence = &script.presence;
    let wronged = stage.net.sightings().iter().filter(|sighting| {
        let (by, of) = (sighting.by as usize, sighting.of as usize);
        let at = sighting.at.since(stage.begin);
        is_gone(sighting.state)
            && presence.is_honest(by)
            && presence.is_honest(of)
            && !presence.may_suspect(by, of, at, MEMORY)
    });
    report.false_alarms = wronged.count() as u64;
    detection(report, stage, script);
    let membership = stage.net.membership();
    report.strangers = membership.strangers as u64;
    let converged = stage.converged_at.map(|at| at.saturating_sub(script.calm_from).as_secs_f64());
    report.converge_s = script.rough_from.and(converged);
}

/// Measures how long it takes until those who are gone for good are seen to be gone.
fn detection(report: &mut Report, stage: &Stage<'_>, script: &Script) {
    let (mut first, mut all) = (None::<Duration>, None::<Duration>);
    for (gone_at, step) in &script.steps {
        let (Step::Crash { nodes, .. } | Step::Leave { nodes }) = step else { continue };
        for sighting in stage.net.sightings() {
            let (by, of) = (sighting.by as usize, sighting.of as usize);
            let at = sighting.at.since(stage.begin);
            let is_of_this = at >= *gone_at
                && nodes.contains(&of)
                && script.presence.stays_away(of, *gone_at)
                && script.presence.is_honest(by)
                && matches!(sighting.state, MemberState::Dead | MemberState::Left);
            if is_of_this {
                let took = at - *gone_at;
                first = Some(first.map_or(took, |first| first.min(took)));
                all = Some(all.map_or(took, |all| all.max(took)));
            }
        }
    }
    report.detect_first_s = first.map(|took| took.as_secs_f64());
    // As long as somebody takes one of them for alive, not all have seen it.
    let is_known = stage.net.membership().stale == 0;
    report.detect_all_s = all.filter(|_| is_known).map(|took| took.as_secs_f64());
}

fn links(report: &mut Report, stage: &Stage<'_>) {
    let counts = stage.net.link_counts();
    let parts = stage.net.connected_components();
    let most = parts.first().map_or(0, Vec::len);
    report.up = counts.len() as u64;
    report.isolated = (counts.len() - most) as u64;
    report.links_min = counts.iter().min().copied().unwrap_or(0) as u64;
    report.links_max = counts.iter().max().copied().unwrap_or(0) as u64;
    report.links_mean = counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
    let mut nodes = vec![0; report.links_max as usize + 1];
    counts.iter().for_each(|&links| nodes[links] += 1);
    let rows = (0u64..).zip(nodes).filter(|(_, nodes)| *nodes > 0);
    report.links = rows.map(|(links, nodes)| LinkCount { links, nodes }).collect();
}

fn plugins(report: &mut Report, stage: &mut Stage<'_>) {
    let mut rows = PluginRows::new();
    stage.slots.iter().for_each(|slots| slots.count(&mut rows));
    report.plugins = rows.into_values().collect();
    report.plugin_faults = report.plugins.iter().map(|row| row.strikes).sum();
    report.quarantines = report.plugins.iter().map(|row| row.quarantined).sum();
    report.failed_swaps = stage.failed_swaps.iter().map(|failed| failed.count).sum();
    report.failed_swap_reasons = std::mem::take(&mut stage.failed_swaps);
    let net = &stage.net;
    let up = (0..net.len()).filter(|&node| net.is_up(node));
    report.clamps = stage.clamps + up.map(|node| net.node(node).counters().clamped).sum::<u64>();
}

fn breaches(report: &mut Report, stage: &Stage<'_>, script: &Script) {
    let net = &stage.net;
    report.violations = net.breach_count();
    report.breaches = net
        .breaches()
        .iter()
        .map(|breach| BreachFigures {
            at_s: breach.at.since(stage.begin).as_secs_f64(),
            node: Some(breach.host as u64),
            invariant: breach.what.name().to_owned(),
            what: breach.what.to_string(),
        })
        .collect();
    let mut of_the_mesh = |at: Duration, invariant: &str, what: String| {
        report.violations += 1;
        let breach =
            BreachFigures { at_s: at.as_secs_f64(), node: None, invariant: invariant.to_owned(), what };
        // In front: one line for the whole mesh says more than the first of many nodes.
        report.breaches.insert(0, breach);
    };
    if let Some(probes) = script.probes_at {
        if stage.converged_at.is_none() {
            let membership = net.membership();
            let what = format!(
                "the mesh has not come together: {} parts, {} missing and {} stale members at the end",
                net.connected_components().len(),
                membership.missing,
                membership.stale
            );
            of_the_mesh(probes, "I10", what);
        }
        if report.probe_ratio.is_some_and(|ratio| ratio < 1.0) {
            let what = "a message that was sent after the faults did not reach everybody".to_owned();
            of_the_mesh(probes, "I11", what);
        }
    }
    for (&(name, _), &count) in net.violations() {
        report.peer_violations += count;
        match report.peer_violation_kinds.iter_mut().find(|kind| kind.fault == name) {
            Some(kind) => kind.count += count,
            None => report.peer_violation_kinds.push(FaultFigures { fault: name.to_owned(), count }),
        }
    }
}
