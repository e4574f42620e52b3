//! What a stage of a trial has shown: counts, times, examples. Never judges.

use std::time::Duration;

use super::compared::{Compared, Example};
use crate::fault::Fault;
use crate::limits;
use crate::slot::Times;

/// What one stage has shown so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Calls that both answered.
    pub calls: u64,
    /// Decisions in them.
    pub rows: u64,
    /// Decisions on which the two differ.
    pub differing: u64,
    /// Calls that were not looked at because the candidate was behind.
    pub skipped: u64,
    /// Calls in which the candidate failed.
    pub faults: u64,
    /// The last of these.
    pub last_fault: Option<Fault>,
    /// The first differences that are not alike, a few.
    pub examples: Vec<Example>,
    /// Differences that were put into words.
    worded: usize,
    active: Times,
    candidate: Times,
}

impl Figures {
    /// Returns how many decisions of a million differ; 0 without any.
    pub fn disagreement_ppm(&self) -> u64 {
        (self.differing * 1_000_000).checked_div(self.rows).unwrap_or(0)
    }

    /// Returns nanoseconds under which 99 of 100 calls of the active revision and of the candidate stayed, within a
    /// quarter; 0 without calls.
    pub fn p99_ns(&self) -> (u64, u64) {
        (self.active.quantile_ns(990), self.candidate.quantile_ns(990))
    }

    /// How many differences of the next call are to be put into words: many are alike, and words are dear.
    pub(super) fn examples_wanted(&self) -> usize {
        let wanted = limits::TRIAL_EXAMPLES - self.examples.len();
        wanted.min(limits::TRIAL_WORDED - self.worded)
    }

    pub(super) fn add(&mut self, compared: Compared, active: Duration, candidate: Duration) {
        self.calls += 1;
        self.rows += compared.rows;
        self.differing += compared.differing;
        self.active.add(active);
        self.candidate.add(candidate);
        self.worded += compared.examples.len();
        for example in compared.examples {
            if self.examples.len() < limits::TRIAL_EXAMPLES && !self.examples.contains(&example) {
                self.examples.push(example);
            }
        }
    }

    pub(super) fn add_fault(&mut self, fault: Fault) {
        self.faults += 1;
        self.last_fault = Some(fault);
    }
}
