//! What a run came to: figures for people and programs, and the course of the run for a plot.

use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;

/// The figures of a run. Its members are the members of the JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// What it shows.
    pub description: String,
    /// Nodes, honest and others.
    pub nodes: u64,
    /// The seed.
    pub seed: u64,
    /// BLAKE3 over everything that was carried and delivered, in order; 64 hex digits. Equal runs have equal
    /// ones.
    pub trace_hash: String,
    /// Whether no invariant broke and every expectation holds.
    pub passed: bool,
    /// Messages that reached whom they count for, of those that should have.
    pub delivery_ratio: f64,
    /// The same for messages that were sent after the faults had ended.
    pub probe_ratio: Option<f64>,
    /// Messages published, probes included.
    pub published: u64,
    /// Deliveries that count.
    pub expected: u64,
    /// Those of them that happened.
    pub delivered: u64,
    /// Messages that their own node refused to publish.
    pub refused: u64,
    /// Payload copies received beyond one a node, as a share: the relative message redundancy of the Plumtree
    /// paper.
    pub redundancy: f64,
    /// Hops of the longest way of any broadcast.
    pub last_delivery_hops: u64,
    /// The same, on average over the broadcasts.
    pub last_delivery_hops_mean: f64,
    /// Seconds until the last node had a message.
    pub last_delivery_s: f64,
    /// From publish to delivery.
    pub latency_p50_ms: f64,
    /// From publish to delivery.
    pub latency_p99_ms: f64,
    /// From publish to delivery.
    pub latency_max_ms: f64,
    /// Sent by a node in a second, over the main part.
    pub bytes_per_node_per_s: f64,
    /// Without the frames that carry payload.
    pub control_bytes_per_node_per_s: f64,
    /// With the headers of packets, and what was sent again.
    pub wire_bytes_per_node_per_s: f64,
    /// While nothing is sent and nothing is wrong.
    pub idle_bytes_per_node_per_s: Option<f64>,
    /// Share of the bytes that is no payload frame.
    pub control_share: f64,
    /// Bytes of the busiest second from the first fault on, against the busiest before it.
    pub peak_ratio: Option<f64>,
    /// Seconds until a node that is gone is seen by the first.
    pub detect_first_s: Option<f64>,
    /// Seconds until a node that is gone is seen by all who know it.
    pub detect_all_s: Option<f64>,
    /// Seconds from the end of the faults until all agree on who is there.
    pub converge_s: Option<f64>,
    /// Healthy nodes that were taken for dead.
    pub false_alarms: u64,
    /// Members that honest nodes take for alive at the end and that never were, summed up over the nodes.
    pub strangers: u64,
    /// Nodes without a way to most others at the end.
    pub isolated: u64,
    /// Honest nodes that are up at the end.
    pub up: u64,
    /// Links of the node with the fewest at the end.
    pub links_min: u64,
    /// Links of a node at the end.
    pub links_mean: f64,
    /// Links of the node with the most at the end.
    pub links_max: u64,
    /// How many nodes have how many links at the end.
    pub links: Vec<LinkCount>,
    /// Calls that plugins failed.
    pub plugin_faults: u64,
    /// Plugins that were taken out of their slots.
    pub quarantines: u64,
    /// Swaps that did not happen: what decided before went on.
    pub failed_swaps: u64,
    /// Why, with their number.
    pub failed_swap_reasons: Vec<FaultFigures>,
    /// Answers of policies that the host overruled.
    pub clamps: u64,
    /// What the plugins did.
    pub plugins: Vec<PluginFigures>,
    /// Broken invariants.
    pub violations: u64,
    /// The first of them.
    pub breaches: Vec<BreachFigures>,
    /// Links that were closed because the other side broke the protocol.
    pub peer_violations: u64,
    /// Why, with their number.
    pub peer_violation_kinds: Vec<FaultFigures>,
    /// What was expected, and what was.
    pub expectations: Vec<ExpectationFigures>,
    /// Nodes up to which the scenario expects anything, when there were more.
    #[serde(default)]
    pub expected_up_to: Option<u64>,
    /// Virtual time.
    pub simulated_s: f64,
    /// Processor time.
    pub cpu_s: f64,
    /// Time on the clock of the wall.
    pub wall_s: f64,
}

/// How many nodes have so many links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCount {
    /// Links.
    pub links: u64,
    /// Nodes.
    pub nodes: u64,
}

/// What one revision of a plugin did, over all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFigures {
    /// The slot.
    pub slot: String,
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// `blake3:` and 64 hex digits.
    pub digest: String,
    /// Nodes that it decides on at the end, or where it was quarantined.
    pub nodes: u64,
    /// Times that it was put into a slot.
    pub swaps: u64,
    /// Calls, whoever answered.
    pub calls: u64,
    /// Messages decided on, whoever decided.
    pub messages: u64,
    /// Messages that the native policy decided on in its place.
    pub fallbacks: u64,
    /// Calls that it failed.
    pub strikes: u64,
    /// Nodes where it was taken out of its slot.
    pub quarantined: u64,
    /// What it did wrong, with numbers.
    pub faults: Vec<FaultFigures>,
}

/// Something that went wrong, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultFigures {
    /// What.
    pub fault: String,
    /// How often.
    pub count: u64,
}

/// A broken invariant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BreachFigures {
    /// When, in virtual seconds.
    pub at_s: f64,
    /// The node; `None` for the mesh as a whole.
    pub node: Option<u64>,
    /// Which invariant, as in the catalogue: `I2` and so on.
    pub invariant: String,
    /// What happened.
    pub what: String,
}

/// What was expected of a figure, and what it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExpectationFigures {
    /// The figure.
    pub figure: String,
    /// The comparison as it was written.
    pub expected: String,
    /// The value; `None` when it was not measured.
    pub value: Option<f64>,
    /// Whether it holds.
    pub holds: bool,
}

/// The course of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Equally spaced.
    pub points: Vec<Point>,
    /// What went wrong when.
    pub bands: Vec<Band>,
    /// From publish to delivery: milliseconds and the share of deliveries that took at most so long.
    pub latency: Vec<(f64, f64)>,
}

/// The mesh at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Virtual seconds.
    pub at_s: f64,
    /// Share of the deliveries that count, for messages published since the point before; `None` without any.
    pub delivered: Option<f64>,
    /// Sent by a node in a second, since the point before.
    pub bytes_per_node_per_s: f64,
    /// Without the frames that carry payload.
    pub control_bytes_per_node_per_s: f64,
    /// Links of a node.
    pub links: f64,
    /// Nodes that are up.
    pub up: u64,
}

/// A time in which something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// Virtual seconds.
    pub from_s: f64,
    /// Virtual seconds; as `from_s` for what takes no time.
    pub to_s: f64,
    /// What.
    pub label: String,
}

/// The hash of a run up to a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Virtual seconds.
    pub at_s: f64,
    /// 64 hex digits.
    pub hash: String,
}

/// Everything that comes out of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The figures.
    pub report: Report,
    /// The course.
    pub timeline: Timeline,
    /// Hashes, so that two runs can be told apart at the time where they part.
    pub checkpoints: Vec<Checkpoint>,
}

/// Breaches that are kept.
const MAX_BREACHES: usize = 32;

impl Report {
    /// Compares with what the scenario expects, and says whether all is well.
    pub(crate) fn judge(&mut self, scenario: &Scenario) {
        let judged = scenario.expect.iter().map(|expectation| ExpectationFigures {
            figure: expectation.metric.name.to_owned(),
            expected: expectation.text.clone(),
            value: expectation.metric.value(self),
            holds: expectation.holds(self),
        });
        self.expectations = judged.collect();
        let beyond = scenario.expect_up_to.filter(|_| scenario.is_beyond_expectation());
        self.expected_up_to = beyond.map(|nodes| nodes as u64);
        self.breaches.truncate(MAX_BREACHES);
        self.passed = self.violations == 0 && self.expectations.iter().all(|expectation| expectation.holds);
    }

    /// Returns the expectations that do not hold.
    pub fn findings(&self) -> impl Iterator<Item = &ExpectationFigures> {
        self.expectations.iter().filter(|expectation| !expectation.holds)
    }
}
