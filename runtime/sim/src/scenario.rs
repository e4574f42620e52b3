//! What is simulated: nodes, links, traffic, faults, and what is expected of the outcome.
//!
//! A scenario is plain data. [`Scenario::parse`] reads it from TOML and tells everything that is wrong with
//! line and column; nothing here runs anything.
//!
//! ```
//! let text = r#"
//! [scenario]
//! name = "short"
//! nodes = 5
//! duration = "5s"
//!
//! [[traffic]]
//! kind = "broadcast"
//! count = 3
//!
//! [expect]
//! delivery_ratio = "== 100%"
//! "#;
//! let scenario = mesh_sim::Scenario::parse("short.toml", text, &[]).unwrap();
//! assert_eq!(scenario.nodes, 5);
//!
//! let error = mesh_sim::Scenario::parse("short.toml", "[scenario]\nname = \"x\"\nnods = 5", &[]).unwrap_err();
//! assert_eq!(error.to_string(), "short.toml:3:1: there is no key 'nods' in [scenario] (did you mean 'nodes'?)");
//! ```

use std::time::Duration;

use mesh_plugin_host::Settings;
use mesh_proto::policy::Class;
use mesh_proto::tuning::Tuning;

use crate::expect::Expectation;

mod faults;
mod parse;
mod problem;
mod reader;
mod traffic;
mod tree;
mod units;

pub use faults::{Change, Fault, FaultKind, Lie, Malicious, Store, Who};
pub(crate) use problem::nearest;
pub use problem::{Problem, ScenarioError};
pub use traffic::{Traffic, TrafficKind};
pub(crate) use units::{SHARE, TIME};

/// Nodes of one simulation, at most.
pub const MAX_NODES: u64 = 100_000;
/// The longest simulation.
pub const MAX_TIME: Duration = Duration::from_secs(7 * 86_400);
/// Messages that one kind of traffic publishes, at most.
pub const MAX_MESSAGES: u64 = 1_000_000;
/// Bytes of a scenario's text.
pub const MAX_TEXT: usize = 256 << 10;

/// Everything that a run is made of, but the plugins' code.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name: lower case, digits and dashes.
    pub name: String,
    /// What it shows, in a sentence.
    pub description: String,
    /// Rows of the fault and feature catalogues that it covers.
    pub covers: Vec<String>,
    /// Number of nodes. Default 50.
    pub nodes: usize,
    /// Where all randomness comes from. Default 1.
    pub seed: u64,
    /// Time for nodes to find each other, before traffic and faults. Default 10 s.
    pub warm_up: Duration,
    /// Time of traffic and faults. Default 60 s.
    pub duration: Duration,
    /// Time after the faults, in which the mesh must come together again. Default 30 s.
    pub quiet: Duration,
    /// How nodes find and keep each other.
    pub mesh: Mesh,
    /// How links behave.
    pub links: Links,
    /// What is sent.
    pub traffic: Vec<Traffic>,
    /// What goes wrong, by time.
    pub faults: Vec<Fault>,
    /// Who means ill.
    pub malicious: Vec<Malicious>,
    /// Who decides.
    pub plugins: Vec<PluginChoice>,
    /// Which deliveries count.
    pub measure: Measure,
    /// What the report must say; nothing of more nodes than [`Scenario::expect_up_to`].
    pub expect: Vec<Expectation>,
    /// Nodes up to which something is expected. Default all.
    pub expect_up_to: Option<usize>,
}

/// How nodes find and keep each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mesh {
    /// Links that a node strives for; `None` for the number that suits the mesh.
    pub min_links: Option<usize>,
    /// Links that it takes at most; `None` likewise.
    pub max_links: Option<usize>,
    /// Whom a new node knows. Default one seed for all.
    pub join: Join,
    /// How long it takes until all have joined. Default half of the warm-up.
    pub join_over: Option<Duration>,
    /// Intervals and sizes.
    pub tuning: Tuning,
}

/// Whom a new node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// All know the first node.
    Seed,
    /// Each knows the one before it.
    Chain,
    /// Each knows one of those before it.
    Random,
}

/// How links behave in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Links {
    /// The time that every packet takes.
    pub latency: Duration,
    /// A random time on top, up to this much.
    pub jitter: Duration,
    /// Packets lost, each by itself.
    pub loss: f64,
    /// Packets lost in bursts, on top.
    pub burst: Option<Burst>,
    /// Packets that arrive twice.
    pub duplication: f64,
    /// Packets that are overtaken.
    pub reordering: f64,
    /// Bytes a second in one direction.
    pub bandwidth: f64,
    /// Message frames that are lost for good although the link repeats what is lost: a broken transport.
    pub frame_loss: f64,
}

/// Bursts of loss after Gilbert and Elliott: a link is good, or bad for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Packets lost over all time, as a share.
    pub loss: f64,
    /// Packets of one bad time, on average.
    pub length: f64,
}

/// A plugin in a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginChoice {
    /// The slot, by its name or its kind: `route` or `routing`.
    pub slot: String,
    /// The path of a component, `built-in/…`, or `native`.
    pub source: String,
    /// Its settings.
    pub settings: Settings,
}

/// Which deliveries count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// How long a node must have been up before a message counts for it. Default 0 s.
    pub settled: Duration,
    /// How long it must stay up after that. Default 30 s, or until the end.
    pub patience: Duration,
    /// From when on, after the warm-up, broadcasts count for redundancy and hops: those before grow the trees.
    /// Default 0 s.
    pub steady_from: Duration,
}

impl Scenario {
    /// Returns when warm-up, main part and quiet time have passed.
    pub fn total(&self) -> Duration {
        self.warm_up + self.duration + self.quiet
    }

    /// Says whether there are more nodes than anything is expected of.
    pub fn is_beyond_expectation(&self) -> bool {
        self.expect_up_to.is_some_and(|most| self.nodes > most)
    }
}

impl Default for Mesh {
    fn default() -> Self {
        Mesh {
            min_links: None,
            max_links: None,
            join: Join::Seed,
            join_over: None,
            tuning: Tuning::default(),
        }
    }
}

impl Default for Links {
    /// The model of the figures that we compare with: 10 to 50 ms, no loss; 100 Mbit/s.
    fn default() -> Self {
        Links {
            latency: Duration::from_millis(10),
            jitter: Duration::from_millis(40),
            loss: 0.0,
            burst: None,
            duplication: 0.0,
            reordering: 0.0,
            bandwidth: 12_500_000.0,
            frame_loss: 0.0,
        }
    }
}

impl Default for Measure {
    fn default() -> Self {
        Measure { settled: Duration::ZERO, patience: Duration::from_secs(30), steady_from: Duration::ZERO }
    }
}

/// Returns the class with this name.
pub(crate) const CLASSES: [(&str, Class); 5] = [
    ("critical", Class::Critical),
    ("high", Class::High),
    ("normal", Class::Normal),
    ("low", Class::Low),
    ("bulk", Class::Bulk),
];
