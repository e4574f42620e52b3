//! What must hold for a candidate to take over. Figures in, verdict out.

use super::figures::Figures;
use crate::limits::TRIAL_JUDGED;

/// The slowest that a candidate's call may be, 99 of 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxP99 {
    /// So many nanoseconds.
    Ns(u64),
    /// In percent of the active revision's, over the same calls.
    Percent(u32),
}

/// What must hold. By default no trap, and nothing of the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Calls in which the candidate may fail.
    pub max_traps: u64,
    /// Decisions of a million that may differ; `None` for any.
    pub max_disagreement_ppm: Option<u32>,
    /// How slow it may be; `None` for whatever a call's deadline allows.
    pub max_p99: Option<MaxP99>,
}

/// A gate that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// It failed too often.
    #[error("the candidate failed in {}, and {max} may: {last}", calls(*.faults))]
    Traps {
        /// How often.
        faults: u64,
        /// How often it might have.
        max: u64,
        /// The last time.
        last: String,
    },
    /// It decides differently too often.
    #[error("{} of the decisions differ, and {} may", percent(*.ppm), percent(u64::from(*.max_ppm)))]
    Disagreement {
        /// Of a million.
        ppm: u64,
        /// How many of a million might.
        max_ppm: u32,
    },
    /// It is too slow.
    #[error("99 of 100 calls take up to {}, and {} is allowed", time(*.ns), time(*.max_ns))]
    P99 {
        /// Nanoseconds.
        ns: u64,
        /// What they might have been.
        max_ns: u64,
    },
    /// Nothing came to decide on.
    #[error("no call was compared, because no traffic came")]
    NoTraffic,
    /// Nothing came in the flows that are its share.
    #[error("no call was compared: no flow of its share had traffic, and a larger share has more flows")]
    NoFlow,
}

impl Gates {
    /// Judges a stage that is over.
    ///
    /// # Errors
    /// The first gate that does not hold.
    pub fn check(&self, figures: &Figures) -> Result<(), Breach> {
        self.check_traps(figures)?;
        if figures.rows == 0 {
            return Err(Breach::NoTraffic);
        }
        self.check_disagreement(figures)?;
        self.check_p99(figures)
    }

    /// Judges a stage that goes on: shares and times only once there are enough of them to mean something.
    pub(super) fn check_early(&self, figures: &Figures) -> Result<(), Breach> {
        self.check_traps(figures)?;
        if figures.rows >= TRIAL_JUDGED {
            self.check_disagreement(figures)?;
        }
        if figures.calls >= TRIAL_JUDGED { self.check_p99(figures) } else { Ok(()) }
    }

    pub(super) fn check_traps(&self, figures: &Figures) -> Result<(), Breach> {
        if figures.faults <= self.max_traps {
            return Ok(());
        }
        let last = figures.last_fault.as_ref().map(ToString::to_string).unwrap_or_default();
        Err(Breach::Traps { faults: figures.faults, max: self.max_traps, last })
    }

    fn check_disagreement(&self, figures: &Figures) -> Result<(), Breach> {
        let ppm = figures.disagreement_ppm();
        match self.max_disagreement_ppm {
            Some(max_ppm) if ppm > u64::from(max_ppm) => Err(Breach::Disagreement { ppm, max_ppm }),
            _ => Ok(()),
        }
    }

    fn check_p99(&self, figures: &Figures) -> Result<(), Breach> {
        let (active, ns) = figures.p99_ns();
        let max_ns = match self.max_p99 {
            Some(MaxP99::Ns(max)) => max,
            Some(MaxP99::Percent(percent)) => active * u64::from(percent) / 100,
            None => return Ok(()),
        };
        if ns > max_ns { Err(Breach::P99 { ns, max_ns }) } else { Ok(()) }
    }
}

fn calls(count: u64) -> String {
    if count == 1 { "1 call".to_owned() } else { format!("{count} calls") }
}

/// In the units that people compare by: a gate is given in microseconds, what it measures may be milliseconds.
fn time(ns: u64) -> String {
    if ns < 1_000_000 { format!("{} µs", ns / 1_000) } else { format!("{:.2} ms", ns as f64 / 1e6) }
}

fn percent(ppm: u64) -> String {
    format!("{:.1} %", ppm as f64 / 10_000.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::Fault;
    use crate::trial::compared::Compared;

    fn figures(calls: u64, differing: u64, active_us: u64, candidate_us: u64) -> Figures {
        let mut figures = Figures::default();
        for call in 0..calls {
            let compared = Compared { rows: 1, differing: u64::from(call < differing), examples: Vec::new() };
            figures.add(compared, Duration::from_micros(active_us), Duration::from_micros(candidate_us));
        }
        figures
    }

    #[test]
    fn each_gate_holds_up_to_its_bound_and_not_beyond() {
        let gates =
            Gates { max_traps: 0, max_disagreement_ppm: Some(50_000), max_p99: Some(MaxP99::Percent(200)) };
        for (figures, want) in [
            (figures(200, 10, 10, 15), Ok(())),
            (figures(200, 11, 10, 15), Err("5.5 % of the decisions differ, and 5.0 % may")),
            (figures(0, 0, 0, 0), Err("no call was compared, because no traffic came")),
        ] {
            let got = gates.check(&figures).map_err(|breach| breach.to_string());

            assert_eq!(got, want.map_err(str::to_owned));
        }
        assert!(matches!(gates.check(&figures(200, 0, 10, 30)), Err(Breach::P99 { .. })));
        let absolute = Gates { max_p99: Some(MaxP99::Ns(40_000)), ..Gates::default() };
        assert_eq!(absolute.check(&figures(200, 200, 10, 30)), Ok(()));
    }

    #[test]
    fn traps_count_at_once_and_shares_only_when_there_are_enough() {
        let gates = Gates { max_disagreement_ppm: Some(0), ..Gates::default() };
        let mut few = figures(TRIAL_JUDGED - 1, 50, 1, 1);

        assert_eq!(gates.check_early(&few), Ok(()));
        assert!(matches!(
            gates.check_early(&figures(TRIAL_JUDGED, 1, 1, 1)),
            Err(Breach::Disagreement { .. })
        ));
        few.add_fault(Fault::Rows { asked: 2, got: 1 });
        assert!(matches!(gates.check_early(&few), Err(Breach::Traps { faults: 1, max: 0, .. })));
    }
}
