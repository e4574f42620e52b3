//! Runs on disk: what is needed to run them again, and what came out, to be compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::{Checkpoint, Outcome};
use crate::scenario::{Scenario, ScenarioError};

/// The form of the files that this version writes.
pub const FORMAT: &str = "meshwork-sim-run/1";

/// A run that can be repeated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedRun {
    /// [`FORMAT`].
    pub format: String,
    /// The version of the program that ran it.
    pub version: String,
    /// The scenario's file name in messages.
    pub file: String,
    /// The directory that the paths of plugins start from.
    pub base: String,
    /// The scenario's text.
    pub text: String,
    /// What was laid over it, the number of nodes and the seed included.
    pub overrides: Vec<String>,
    /// Sources and digests of the plugins.
    pub plugins: BTreeMap<String, String>,
    /// What came out.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Why a file is no saved run.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// It is no JSON, or another one.
    #[error("it is no saved run: {0}")]
    NotARun(#[from] serde_json::Error),
    /// It has another form.
    #[error("its format is {found:?}, this program reads {FORMAT:?}")]
    Format {
        /// What it says.
        found: String,
    },
}

/// Where two runs part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parting {
    /// Virtual seconds up to which they are equal.
    pub equal_until_s: f64,
    /// Virtual seconds at which they differ for the first time.
    pub differs_at_s: f64,
    /// The hash of the one at that time; `None` when it had ended.
    pub expected: Option<String>,
    /// The hash of the other.
    pub found: Option<String>,
}

impl SavedRun {
    /// Reads a saved run.
    ///
    /// # Errors
    /// When it is none, or of another format.
    pub fn from_json(text: &str) -> Result<SavedRun, SavedError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        let head: Head = serde_json::from_str(text)?;
        if head.format != FORMAT {
            return Err(SavedError::Format { found: head.format });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// Returns the file's text.
    ///
    /// # Errors
    /// When a figure is no number.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// Returns the scenario as it was run.
    ///
    /// # Errors
    /// When this version does not take it any more.
    pub fn scenario(&self) -> Result<Scenario, ScenarioError> {
        Scenario::parse(&self.file, &self.text, &self.overrides)
    }

    /// Returns where another run of the same parts from this one; `None` when they are equal to the end.
    pub fn parting(&self, other: &Outcome) -> Option<Parting> {
        let is_equal = self.outcome.report.trace_hash == other.report.trace_hash;
        let found = first_difference(&self.outcome.checkpoints, &other.checkpoints);
        let from_end = || Parting {
            equal_until_s: other.checkpoints.last().map_or(0.0, |checkpoint| checkpoint.at_s),
            differs_at_s: other.report.simulated_s,
            expected: Some(self.outcome.report.trace_hash.clone()),
            found: Some(other.report.trace_hash.clone()),
        };
        found.or_else(|| (!is_equal).then(from_end))
    }
}

fn first_difference(one: &[Checkpoint], other: &[Checkpoint]) -> Option<Parting> {
    let len = one.len().max(other.len());
    let place = (0..len).find(|&n| one.get(n) != other.get(n))?;
    let before = place.checked_sub(1).and_then(|n| one.get(n));
    let at = one.get(place).or(other.get(place)).map_or(0.0, |checkpoint| checkpoint.at_s);
    Some(Parting {
        equal_until_s: before.map_or(0.0, |checkpoint| checkpoint.at_s),
        differs_at_s: at,
        expected: one.get(place).map(|checkpoint| checkpoint.hash.clone()),
        found: other.get(place).map(|checkpoint| checkpoint.hash.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(hashes: &[&str], last: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let checkpoint =
            |(n, hash): (usize, &&str)| Checkpoint { at_s: (n + 1) as f64, hash: (*hash).into() };
        outcome.checkpoints = hashes.iter().enumerate().map(checkpoint).collect();
        outcome.report.trace_hash = last.into();
        outcome
    }

    fn saved(outcome: Outcome) -> SavedRun {
        SavedRun {
            format: FORMAT.into(),
            version: "0.1.0".into(),
            file: "x.toml".into(),
            base: ".".into(),
            text: "[scenario]\nname = \"x\"".into(),
            overrides: vec!["scenario.nodes=5".into()],
            plugins: BTreeMap::new(),
            outcome,
        }
    }

    #[test]
    fn the_first_interval_that_differs_is_named() {
        let run = saved(outcome(&["a", "b", "c"], "z"));
        for (hashes, last, want) in [
            (&["a", "b", "c"][..], "z", None),
            (&["a", "x", "c"], "y", Some((1.0, 2.0))),
            (&["x", "b", "c"], "y", Some((0.0, 1.0))),
            (&["a", "b"], "y", Some((2.0, 3.0))),
            (&["a", "b", "c"], "y", Some((3.0, 0.0))),
        ] {
            let parting = run.parting(&outcome(hashes, last));
            assert_eq!(parting.map(|at| (at.equal_until_s, at.differs_at_s)), want, "{hashes:?}");
        }
    }

    #[test]
    fn a_saved_run_is_read_as_it_was_written() {
        let run = saved(outcome(&["a"], "z"));

        let read = SavedRun::from_json(&run.to_json().unwrap()).unwrap();

        assert_eq!(read, run);
        assert_eq!(read.scenario().unwrap().nodes, 5);
    }

    #[test]
    fn what_is_no_saved_run_is_refused() {
        for (text, want) in [
            ("", "it is no saved run: EOF"),
            ("{\"format\":\"meshwork-sim-run/9\"}", "its format is \"meshwork-sim-run/9\""),
            ("{\"format\":\"meshwork-sim-run/1\"}", "it is no saved run: missing field"),
        ] {
            let error = SavedRun::from_json(text).unwrap_err().to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
