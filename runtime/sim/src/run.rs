//! Plays a scenario on the simulated network and measures what comes of it.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use mesh_sim::{Plugins, Scenario, run};
//!
//! let text = mesh_sim::library::find("steady").unwrap().text;
//! let smaller = ["scenario.nodes=5", "scenario.duration=3s", "traffic.0.count=2"].map(String::from);
//! let scenario = Scenario::parse("steady.toml", text, &smaller).unwrap();
//!
//! let outcome = run::run(&scenario, &Plugins::default(), &mut |_| ControlFlow::Continue(())).unwrap();
//!
//! assert_eq!(outcome.report.delivery_ratio, 1.0);
//! ```

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::plugins::{PluginError, Plugins};
use crate::report::Outcome;
use crate::scenario::Scenario;

mod figures;
mod script;
mod stage;

use script::Script;
use stage::Stage;

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nodes find each other.
    WarmUp,
    /// Traffic and faults.
    Main,
    /// The mesh comes together again.
    Quiet,
}

impl Phase {
    /// Returns how it is called in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Phase::WarmUp => "warming up",
            Phase::Main => "traffic and faults",
            Phase::Quiet => "quiet time",
        }
    }

    fn of(scenario: &Scenario, at: Duration) -> Phase {
        match at {
            at if at < scenario.warm_up => Phase::WarmUp,
            at if at < scenario.warm_up + scenario.duration => Phase::Main,
            _ => Phase::Quiet,
        }
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The part of the run.
    pub phase: Phase,
    /// Virtual time that has passed.
    pub at: Duration,
    /// Virtual time that will have passed at the end.
    pub total: Duration,
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A plugin cannot be put into its slot.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// Whoever watched wanted no more.
    #[error("the run was stopped")]
    Stopped,
}

/// Runs a scenario to its end. `watch` is called about once a virtual second and may stop it.
///
/// # Errors
/// When a plugin cannot be put into its slot at the start, or `watch` stops the run.
pub fn run(
    scenario: &Scenario,
    plugins: &Plugins,
    watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Outcome, RunError> {
    let (begun, cpu) = (Instant::now(), cpu_time());
    let script = Script::of(scenario);
    let mut stage = Stage::new(scenario, plugins)?;
    let total = scenario.total();
    let mut steps = script.steps.iter().peekable();
    for mark in marks(scenario, &script) {
        while let Some((at, step)) = steps.next_if(|(at, _)| *at <= mark) {
            stage.run_to(*at);
            stage.perform(step);
        }
        stage.run_to(mark);
        stage.look(mark, &script);
        let progress = Progress { phase: Phase::of(scenario, mark), at: mark, total };
        if watch(&progress).is_break() {
            return Err(RunError::Stopped);
        }
    }
    let mut outcome = figures::of(&mut stage, scenario, &script);
    outcome.report.cpu_s = cpu_time().saturating_sub(cpu).as_secs_f64();
    outcome.report.wall_s = begun.elapsed().as_secs_f64();
    outcome.report.judge(scenario);
    Ok(outcome)
}

/// Points of a run's course, about.
const POINTS: u32 = 600;
/// How often it is looked whether the mesh has come together again.
const CONVERGENCE: Duration = Duration::from_millis(250);

/// Returns when the run is looked at: about once a second, and more often after the faults.
fn marks(scenario: &Scenario, script: &Script) -> Vec<Duration> {
    let total = scenario.total();
    let every = point_every(total);
    let mut marks: Vec<Duration> =
        (1..).map(|n| every * n).take_while(|mark| *mark < total).chain([total]).collect();
    let until = script.probes_at.unwrap_or(total);
    let fine = (0..).map(|n| script.calm_from + CONVERGENCE * n).take_while(|mark| *mark < until);
    // Beyond a minute whole seconds say enough.
    marks.extend(fine.take(240));
    marks.extend(script.probes_at);
    marks.sort_unstable();
    marks.dedup();
    marks
}

/// Returns the time between two points of the course: whole seconds.
fn point_every(total: Duration) -> Duration {
    Duration::from_secs((total / POINTS).as_secs() + 1)
}

/// Names of plugins and slots with their figures.
type PluginRows = BTreeMap<(String, String), crate::report::PluginFigures>;

/// Returns the processor time of this thread; runs stay on theirs.
#[cfg(unix)]
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(not(unix))]
fn cpu_time() -> Duration {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
