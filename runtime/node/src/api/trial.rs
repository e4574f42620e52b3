//! Questions and answers about trials: a candidate beside the active revision, before it decides alone.

use serde::{Deserialize, Serialize};

use super::Time;
use super::plugin::PluginRef;

/// What a trial is made of: a shadow run, a canary, or one after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialSpec {
    /// Ask the candidate what the active one is asked, and only compare.
    #[serde(default)]
    pub shadow: Option<ShadowSpec>,
    /// Let it decide for a share of the flows.
    #[serde(default)]
    pub canary: Option<CanarySpec>,
    /// What must hold for the cut-over.
    #[serde(default)]
    pub gates: GateSpec,
}

/// How long a shadow run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShadowSpec {
    /// So many milliseconds, 1 to a day.
    Ms(u64),
    /// Until so many calls were compared, 1 to 1,000,000,000; it ends after a day anyway.
    Calls(u64),
}

/// For whom a canary decides, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanarySpec {
    /// Flows of 10,000, 1 to 10,000. A flow is what one node writes to one destination.
    pub share_bp: u32,
    /// Milliseconds, 1 to a day.
    pub for_ms: u64,
}

/// What must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateSpec {
    /// Calls in which the candidate may fail; none by default.
    #[serde(default)]
    pub max_traps: u64,
    /// Decisions of a million that may differ; any number by default.
    #[serde(default)]
    pub max_disagreement_ppm: Option<u32>,
    /// How slow 99 of 100 calls may be; any time by default.
    #[serde(default)]
    pub max_p99: Option<P99Spec>,
}

/// A bound for the time of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum P99Spec {
    /// Microseconds.
    Us(u64),
    /// Percent of what the active revision takes.
    Percent(u32),
}

/// Where a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialStage {
    /// The candidate's answers are compared.
    Shadow,
    /// The candidate decides for its share of the flows.
    Canary,
    /// It passed, and the candidate decides alone.
    CutOver,
    /// It passed, and would decide alone if this had not been a rehearsal.
    Rehearsed,
    /// It did not pass; what decided before decides on everything.
    Returned,
    /// It was ended by an operator; what decided before decides on everything.
    Aborted,
}

impl TrialStage {
    /// Says whether it goes on.
    pub fn is_running(self) -> bool {
        matches!(self, TrialStage::Shadow | TrialStage::Canary)
    }

    /// Returns the word for people, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            TrialStage::Shadow => "shadow",
            TrialStage::Canary => "canary",
            TrialStage::CutOver => "cut-over",
            TrialStage::Rehearsed => "rehearsed",
            TrialStage::Returned => "returned",
            TrialStage::Aborted => "aborted",
        }
    }
}

/// A trial of one slot, running or over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialReport {
    /// The slot.
    pub slot: String,
    /// What is tried.
    pub candidate: PluginRef,
    /// What it is compared with.
    pub active: PluginRef,
    /// Where it is.
    pub stage: TrialStage,
    /// What was asked for.
    pub spec: TrialSpec,
    /// When it began.
    pub began: Time,
    /// Seconds that the stage goes on; `None` when it is over or goes by calls.
    pub left_s: Option<f64>,
    /// What the shadow run has shown.
    pub shadow: Option<TrialFigures>,
    /// What the canary has shown.
    pub canary: Option<TrialFigures>,
    /// Why it did not pass.
    pub reason: Option<String>,
    /// The first number that the candidate alone decides on, after the cut-over.
    pub at_decision: Option<u64>,
    /// How long the cut-over kept decisions waiting.
    pub pause_us: Option<f64>,
    /// The command that takes back what it has done, or ends it.
    pub undo: Option<String>,
}

/// What one stage has shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialFigures {
    /// Calls that both answered.
    pub calls: u64,
    /// Decisions in them.
    pub decisions: u64,
    /// Decisions that differ.
    pub differing: u64,
    /// The same, of 1.
    pub disagreement: f64,
    /// Calls that were not looked at, because the candidate was behind.
    pub skipped: u64,
    /// Calls in which the candidate failed.
    pub traps: u64,
    /// The last of these.
    pub last_trap: Option<String>,
    /// The time under which 99 of 100 calls of the active one stayed.
    pub active_p99_s: Option<f64>,
    /// The same of the candidate. A canary is asked about fewer messages in a call.
    pub candidate_p99_s: Option<f64>,
    /// The first differences.
    pub examples: Vec<TrialExample>,
}

/// One input on which the two disagree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialExample {
    /// What was asked.
    pub input: String,
    /// What the active one answered.
    pub active: String,
    /// What the candidate answered.
    pub candidate: String,
}
