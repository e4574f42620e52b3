//! `meshctl sim replay`: the same run again, step by step.

use std::path::{Path, PathBuf};

use clap::Args;
use mesh_node::api::{ApiError, code};
use mesh_sim::SavedRun;
use mesh_sim::saved::Parting;
use serde::Serialize;

use super::run::{Plan, read_bounded};
use crate::commands::Context;
use crate::output::human::{BAD, GOOD, styled};
use crate::output::{Pair, Show, View};

/// What to run again.
#[derive(Debug, Args)]
pub struct Replay {
    /// A file that 'sim run --save' wrote.
    file: PathBuf,
}

/// How it went.
#[derive(Debug, Serialize)]
struct Replayed {
    scenario: String,
    nodes: u64,
    seed: u64,
    equal: bool,
    expected_hash: String,
    trace_hash: String,
    parting: Option<Parting>,
    simulated_s: f64,
    cpu_s: f64,
}

/// Bytes of a saved run.
const MAX_SAVED: usize = 64 << 20;

/// Reads a saved run.
pub(super) fn load(path: &Path) -> Result<SavedRun, ApiError> {
    let text = read_bounded(path, MAX_SAVED)?;
    SavedRun::from_json(&text).map_err(|error| {
        ApiError::new(&code::NOT_A_SAVED_RUN, format!("{}: {error}", path.display()))
            .help("meshctl sim run steady --save run.json")
    })
}

impl Replay {
    /// Runs it and compares.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let saved = load(&self.file)?;
        let plan = Plan::of(&saved);
        let plugins = plan.plugins(&plan.scenario()?)?;
        let changed: Vec<String> = plugins
            .digests()
            .into_iter()
            .filter(|(source, digest)| saved.plugins.get(source) != Some(digest))
            .map(|(source, _)| format!("the plugin {source} is another one than in the saved run"))
            .collect();
        let outcome = plan.run(context, &plugins)?;
        let parting = saved.parting(&outcome);
        let replayed = Replayed {
            scenario: outcome.report.scenario.clone(),
            nodes: outcome.report.nodes,
            seed: outcome.report.seed,
            equal: parting.is_none(),
            expected_hash: saved.outcome.report.trace_hash.clone(),
            trace_hash: outcome.report.trace_hash.clone(),
            parting: parting.clone(),
            simulated_s: outcome.report.simulated_s,
            cpu_s: outcome.report.cpu_s,
        };
        context.out.print_with(None, &replayed, &changed)?;
        match parting {
            None => Ok(()),
            Some(parting) => Err(differs(&saved, &parting, &changed)),
        }
    }
}

fn differs(saved: &SavedRun, parting: &Parting, changed: &[String]) -> ApiError {
    let message = format!(
        "the run goes another way between {} s and {} s",
        parting.equal_until_s, parting.differs_at_s
    );
    let mut told = ApiError::new(&code::REPLAY_DIFFERS, message);
    for (name, hash) in [("saved", &parting.expected), ("now", &parting.found)] {
        told = told.fact(name, hash.as_deref().unwrap_or("it had ended"));
    }
    let own = env!("CARGO_PKG_VERSION");
    if saved.version != own {
        told = told.fact("version", format!("{} then, {own} now", saved.version));
    }
    for plugin in changed {
        told = told.fact("plugin", plugin);
    }
    told.help("meshctl sim diff SAVED OTHER, to see what it changed")
}

impl Show for Replayed {
    const SCHEMA: &'static str = "sim-replay";

    fn view(&self) -> View {
        let equal = match self.parting {
            None => styled(GOOD, "the same run, to the last byte"),
            Some(ref parting) => styled(BAD, format!("another run after {} s", parting.equal_until_s)),
        };
        let name = format!("{}, {} nodes, seed {}", self.scenario, self.nodes, self.seed);
        View::Pairs(vec![
            Pair::new("scenario", "scenario", name),
            Pair::new("equal", "replay", equal),
            Pair::new("expected_hash", "saved trace", &self.expected_hash),
            Pair::new("trace_hash", "this trace", &self.trace_hash),
        ])
    }

    fn names(&self) -> Vec<String> {
        vec![self.trace_hash.clone()]
    }
}
