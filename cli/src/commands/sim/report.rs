//! A report as a person reads it.

use mesh_sim::Report;
use mesh_sim::expect::metric;
use mesh_sim::report::{ExpectationFigures, PluginFigures};
use serde::Serialize;

use crate::output::human::{self, BAD, DIM, GOOD, styled};
use crate::output::{Column, Pair, Rows, Show, View};

/// One run.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct One(pub(super) Report);

/// One run for each seed.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Many(pub(super) Vec<Report>);

impl Show for One {
    const SCHEMA: &'static str = "sim-run";

    fn view(&self) -> View {
        let report = &self.0;
        let mut parts = vec![View::Pairs(pairs(report))];
        if !report.plugins.is_empty() {
            parts.push(plugins(&report.plugins));
            parts.extend(faults(&report.plugins));
        }
        if !report.expectations.is_empty() {
            parts.push(expectations(&report.expectations));
        }
        if let Some(nodes) = report.expected_up_to {
            let text = format!(
                "What the scenario expects is for up to {nodes} nodes; this run was not held to it.\n"
            );
            parts.push(View::Text(text));
        }
        parts.extend(breaches(report));
        View::Parts(parts)
    }

    fn names(&self) -> Vec<String> {
        vec![self.0.trace_hash.clone()]
    }
}

fn pairs(report: &Report) -> Vec<Pair> {
    let name = format!("{}, {} nodes, seed {}", report.scenario, report.nodes, report.seed);
    let delivery = format!(
        "{} ({} of {})",
        percent(report.delivery_ratio),
        human::count(report.delivered),
        human::count(report.expected)
    );
    let latency = format!(
        "{} median, {} for 99 %, {} at most",
        human::duration(report.latency_p50_ms / 1e3),
        human::duration(report.latency_p99_ms / 1e3),
        human::duration(report.latency_max_ms / 1e3)
    );
    let last = format!("{} hops, {}", report.last_delivery_hops, human::duration(report.last_delivery_s));
    let bytes = format!(
        "{} a node and second, {} of it control",
        human::bytes(report.bytes_per_node_per_s as u64),
        percent(report.control_share)
    );
    let links = format!("{} to {}, {:.1} on average", report.links_min, report.links_max, report.links_mean);
    let time = format!(
        "{:.0} s simulated in {:.2} s of CPU, {:.0}x",
        report.simulated_s,
        report.cpu_s,
        report.simulated_s / report.cpu_s.max(1e-9)
    );
    let mut pairs =
        vec![Pair::new("scenario", "scenario", name), Pair::new("delivery_ratio", "delivered", delivery)];
    if let Some(ratio) = report.probe_ratio {
        pairs.push(Pair::new("probe_ratio", "after the faults", percent(ratio)));
    }
    pairs.extend([
        Pair::new("last_delivery_hops", "last delivery", last),
        Pair::new("redundancy", "redundancy", format!("{:.3}", report.redundancy)),
        Pair::new("latency_p99_ms", "latency", latency),
        Pair::new("bytes_per_node_per_s", "sent", bytes),
    ]);
    if let Some(idle) = report.idle_bytes_per_node_per_s {
        let idle = format!("{} a node and second", human::bytes(idle as u64));
        pairs.push(Pair::new("idle_bytes_per_node_per_s", "sent when idle", idle));
    }
    pairs.push(Pair::new("links_mean", "links", links));
    if let Some(seconds) = report.detect_all_s {
        pairs.push(Pair::new("detect_all_s", "gone is seen", human::duration(seconds)));
    }
    if let Some(seconds) = report.converge_s {
        pairs.push(Pair::new("converge_s", "all agree", human::duration(seconds)));
    }
    pairs.extend([
        Pair::new("false_alarms", "false alarms", report.false_alarms),
        Pair::new("isolated", "isolated", report.isolated),
        Pair::new("violations", "violations", count(report.violations)),
        Pair::new("cpu_s", "time", time),
        Pair::new("trace_hash", "trace", styled(DIM, &report.trace_hash)),
    ]);
    pairs
}

fn count(number: u64) -> String {
    let style = if number == 0 { GOOD } else { BAD };
    styled(style, number)
}

/// Never rounded up to 100 %.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e5 + 1e-6).floor() / 1e3)
}

fn plugins(plugins: &[PluginFigures]) -> View {
    let columns = [
        Column::text("slot", "SLOT", 0),
        Column::text("plugin", "PLUGIN", 0),
        Column::text("version", "VERSION", 1),
        Column::number("nodes", "NODES", 1),
        Column::number("calls", "CALLS", 2),
        Column::number("messages", "MESSAGES", 2),
        Column::number("fallbacks", "FALLBACKS", 1),
        Column::number("strikes", "STRIKES", 0),
        Column::number("quarantined", "QUARANTINED", 0),
    ];
    let mut rows = Rows::new(&columns, "");
    for row in plugins {
        rows.push([
            row.slot.clone(),
            row.plugin.clone(),
            row.version.clone(),
            row.nodes.to_string(),
            human::count(row.calls),
            human::count(row.messages),
            human::count(row.fallbacks),
            count(row.strikes),
            count(row.quarantined),
        ]);
    }
    View::Rows(rows)
}

fn faults(plugins: &[PluginFigures]) -> Option<View> {
    let lines: Vec<String> = plugins
        .iter()
        .flat_map(|row| row.faults.iter().map(move |fault| (row, fault)))
        .map(|(row, fault)| {
            format!("{} {}: {} ({}x)\n", row.plugin, row.version, human::safe(&fault.fault), fault.count)
        })
        .collect();
    (!lines.is_empty()).then(|| View::Text(lines.concat()))
}

fn expectations(expectations: &[ExpectationFigures]) -> View {
    let columns = [
        Column::text("figure", "EXPECTED OF", 0),
        Column::text("expected", "", 0),
        Column::number("value", "IS", 0),
        Column::text("holds", "", 0),
    ];
    let mut rows = Rows::new(&columns, "");
    for row in expectations {
        let value = match (row.value, metric(&row.figure)) {
            (Some(value), Some(metric)) => metric.show(value),
            _ => "not measured".to_owned(),
        };
        let holds = if row.holds { styled(GOOD, "ok") } else { styled(BAD, "FAILED") };
        rows.push([row.figure.clone(), row.expected.clone(), value, holds]);
    }
    View::Rows(rows)
}

fn breaches(report: &Report) -> Option<View> {
    let line = |breach: &mesh_sim::report::BreachFigures| {
        let node = breach.node.map(|node| format!("node {node}: ")).unwrap_or_default();
        format!("{} {:.3} s, {node}{}\n", styled(BAD, &breach.invariant), breach.at_s, breach.what)
    };
    let lines: String = report.breaches.iter().map(line).collect();
    (!lines.is_empty()).then_some(View::Text(lines))
}

impl Show for Many {
    const SCHEMA: &'static str = "sim-runs";

    fn view(&self) -> View {
        let columns = [
            Column::number("seed", "SEED", 0),
            Column::text("passed", "", 0),
            Column::number("delivery_ratio", "DELIVERED", 0),
            Column::number("last_delivery_hops", "HOPS", 1),
            Column::number("redundancy", "REDUNDANCY", 1),
            Column::number("latency_p99_ms", "P99", 1),
            Column::number("bytes_per_node_per_s", "B/S", 1),
            Column::number("cpu_s", "CPU", 2),
            Column::text("trace_hash", "TRACE", 2),
        ];
        let mut rows = Rows::new(&columns, "nothing was run");
        for report in &self.0 {
            rows.push([
                report.seed.to_string(),
                if report.passed { styled(GOOD, "ok") } else { styled(BAD, "FAILED") },
                percent(report.delivery_ratio),
                report.last_delivery_hops.to_string(),
                format!("{:.3}", report.redundancy),
                format!("{:.0} ms", report.latency_p99_ms),
                format!("{:.0}", report.bytes_per_node_per_s),
                human::duration(report.cpu_s),
                report.trace_hash.chars().take(12).collect(),
            ]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|report| report.trace_hash.clone()).collect()
    }
}
