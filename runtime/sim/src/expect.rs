//! Expectations: comparisons of the report's figures, which make a scenario a test.

use std::fmt;

use crate::report::Report;
use crate::scenario::{SHARE, TIME};

/// A figure of the report that can be compared.
pub struct Metric {
    /// Its name, which is its member's in JSON.
    pub name: &'static str,
    /// What it counts in.
    pub unit: Unit,
    /// What it says, in a few words.
    pub about: &'static str,
    get: fn(&Report) -> Option<f64>,
}

/// What a figure counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share of one, or a factor.
    Ratio,
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Bytes.
    Bytes,
}

macro_rules! metrics {
    ($($name:ident $unit:ident $about:literal;)*) => {
        /// All figures that can be compared.
        pub static METRICS: &[Metric] = &[$(Metric {
            name: stringify!($name),
            unit: Unit::$unit,
            about: $about,
            get: |report| Into::<Figure>::into(report.$name).0,
        }),*];
    };
}

struct Figure(Option<f64>);

impl From<f64> for Figure {
    fn from(value: f64) -> Figure {
        Figure(Some(value))
    }
}

impl From<u64> for Figure {
    fn from(value: u64) -> Figure {
        Figure(Some(value as f64))
    }
}

impl From<Option<f64>> for Figure {
    fn from(value: Option<f64>) -> Figure {
        Figure(value)
    }
}

metrics! {
    delivery_ratio Ratio "messages that reached whom they count for";
    probe_ratio Ratio "the same, for those sent after the faults";
    published Count "messages published";
    refused Count "messages that their own node refused";
    redundancy Ratio "payload copies received beyond one a node";
    last_delivery_hops Count "hops of the longest way of any broadcast";
    last_delivery_hops_mean Ratio "the same, on average";
    last_delivery_s Seconds "until the last node had a message";
    latency_p50_ms Millis "from publish to delivery, median";
    latency_p99_ms Millis "from publish to delivery, for 99 of 100";
    latency_max_ms Millis "from publish to delivery, the longest";
    bytes_per_node_per_s Bytes "sent by a node in a second, all kinds";
    control_bytes_per_node_per_s Bytes "sent by a node in a second, without payload frames";
    wire_bytes_per_node_per_s Bytes "the same with the headers of packets, and what was sent again";
    idle_bytes_per_node_per_s Bytes "sent by a node in a second, without traffic and faults";
    control_share Ratio "of the bytes, what is no payload frame";
    peak_ratio Ratio "the busiest second from the first fault on, against the busiest before it";
    detect_first_s Seconds "until a node that is gone is seen by the first";
    detect_all_s Seconds "until a node that is gone is seen by all who know it";
    converge_s Seconds "from the end of the faults until all agree on who is there";
    false_alarms Count "healthy nodes taken for dead";
    strangers Count "invented members that are taken for alive at the end, over all nodes";
    isolated Count "nodes without a way to most others at the end";
    links_min Count "links of the node with the fewest at the end";
    links_mean Ratio "links of a node at the end";
    links_max Count "links of the node with the most at the end";
    up Count "honest nodes that are up at the end";
    plugin_faults Count "calls that plugins failed";
    quarantines Count "plugins that were taken out of their slots";
    failed_swaps Count "swaps that did not happen";
    clamps Count "answers of policies that the host overruled";
    violations Count "broken invariants";
    peer_violations Count "links closed because the other side broke the protocol";
    cpu_s Seconds "processor time of the run";
}

/// Returns the figure with this name.
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

impl Metric {
    /// Returns the value in a report, if it was measured there.
    pub fn value(&self, report: &Report) -> Option<f64> {
        (self.get)(report)
    }

    /// Returns how an expectation of it is written.
    pub(crate) fn example(&self) -> String {
        let value = match self.unit {
            Unit::Ratio => "99.9%",
            Unit::Count => "0",
            Unit::Seconds => "5s",
            Unit::Millis => "250ms",
            Unit::Bytes => "2000",
        };
        format!("write {} = \"<= {value}\"", self.name)
    }

    /// Returns a value as people read it.
    pub fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Count => format!("{value:.0}"),
            Unit::Ratio => format!("{value:.4}"),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Millis => format!("{value:.0} ms"),
            Unit::Bytes => format!("{value:.0} B"),
        }
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Metric) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `>`
    Above,
    /// `<`
    Below,
}

const COMPARISONS: [(&str, Comparison); 5] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

/// One comparison, such as `delivery_ratio >= 99.9%`.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// What is compared.
    pub metric: &'static Metric,
    /// How.
    pub comparison: Comparison,
    /// With what, in the figure's unit.
    pub bound: f64,
    /// As it was written.
    pub text: String,
}

/// Two figures that differ by rounding alone are the same.
const EPSILON: f64 = 1e-9;

impl Expectation {
    /// Reads the comparison of a figure.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn parse(metric: &'static Metric, text: &str) -> Result<Expectation, String> {
        let trimmed = text.trim();
        let found = COMPARISONS.iter().find(|(sign, _)| trimmed.starts_with(sign));
        let Some(&(sign, comparison)) = found else {
            return Err(format!("'{text}' is no comparison: it begins with none of >=, <=, ==, > and <"));
        };
        let bound = read_bound(metric.unit, trimmed[sign.len()..].trim())?;
        Ok(Expectation { metric, comparison, bound, text: trimmed.to_owned() })
    }

    /// Says whether a report is as expected; a figure that was not measured is not.
    pub fn holds(&self, report: &Report) -> bool {
        self.metric.value(report).is_some_and(|value| match self.comparison {
            Comparison::AtLeast => value >= self.bound - EPSILON,
            Comparison::AtMost => value <= self.bound + EPSILON,
            Comparison::Equal => (value - self.bound).abs() <= EPSILON,
            Comparison::Above => value > self.bound,
            Comparison::Below => value < self.bound,
        })
    }
}

fn read_bound(unit: Unit, text: &str) -> Result<f64, String> {
    if let Ok(number) = text.parse::<f64>() {
        return if number.is_finite() { Ok(number) } else { Err(format!("'{text}' is no bound")) };
    }
    let read = match unit {
        Unit::Ratio => SHARE.read(text),
        Unit::Seconds => TIME.read(text),
        Unit::Millis => TIME.read(text).map(|seconds| seconds * 1000.0),
        Unit::Count | Unit::Bytes => return Err(format!("'{text}' is no number")),
    };
    read.map_err(|wrong| wrong.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_read_in_the_figures_unit() {
        for (name, text, want) in [
            ("delivery_ratio", ">= 99.9%", Some(0.999)),
            ("delivery_ratio", "== 1", Some(1.0)),
            ("latency_p99_ms", "< 1s", Some(1000.0)),
            ("detect_all_s", "<= 500ms", Some(0.5)),
            ("false_alarms", "<=0", Some(0.0)),
            ("false_alarms", "<= 5s", None),
            ("redundancy", "about 1", None),
            ("redundancy", "<= inf", None),
        ] {
            let parsed = Expectation::parse(metric(name).unwrap(), text);
            let bound = parsed.ok().map(|expectation| expectation.bound);
            let is_same = match (bound, want) {
                (Some(bound), Some(want)) => (bound - want).abs() < 1e-12,
                (bound, want) => bound == want,
            };
            assert!(is_same, "{name} {text}: {bound:?}");
        }
    }
}
