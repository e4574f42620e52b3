//! `meshctl sim`: a mesh of simulated nodes, to try a policy or a fault on a thousand of them before one real
//! node sees it.

use std::path::Path;

use clap::{Args, Subcommand};
use mesh_node::api::{ApiError, code};
use mesh_sim::{PluginError, Report, ScenarioError};

use super::Context;

mod diff;
mod list;
mod progress;
mod replay;
mod report;
mod run;

/// Simulated meshes: thousands of nodes, seeded, repeatable to the bit.
#[derive(Debug, Args)]
pub struct Sim {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario and say what came out.
    #[command(after_long_help = "\
Examples:
  meshctl sim run steady                                    a shipped scenario
  meshctl sim run churn --nodes 1000 --seed 7 --plot churn.svg
  meshctl sim run my.toml --seed 1..20 --jobs 2             many seeds, one verdict
  meshctl sim run steady --plugin routing=./my.wasm         your policy in every node
  meshctl sim run steady --set links.loss=10% --set scenario.duration=2m
  meshctl sim run crash-50 --save run.json --json

The nodes are the shipped protocol and the shipped plugin host in virtual time: the same seed gives the same run
on every machine, and its trace hash says so. Exit codes: 11 when an expectation of the scenario does not hold,
1 when an invariant broke, 2 when the scenario is wrong.")]
    Run(run::Run),
    /// The scenarios that come with this program.
    #[command(
        visible_alias = "ls",
        after_long_help = "\
Examples:
  meshctl sim list
  meshctl sim list --json --fields name,covers
  meshctl sim list --figures                                what an [expect] can compare"
    )]
    List(list::List),
    /// Print a shipped scenario, to be copied and changed.
    #[command(after_long_help = "\
Examples:
  meshctl sim show steady
  meshctl sim show partition-heal > mine.toml")]
    Show(list::Show),
    /// Run a saved run again and compare every step.
    #[command(after_long_help = "\
Examples:
  meshctl sim run churn --save run.json
  meshctl sim replay run.json

Exit code 1 with the first interval of virtual time that differs.")]
    Replay(replay::Replay),
    /// Two saved runs, or one scenario under two plugins, side by side.
    #[command(after_long_help = "\
Examples:
  meshctl sim diff before.json after.json
  meshctl sim diff steady --against routing=built-in/latency
  meshctl sim diff unicast --plugin routing=./a.wasm --against routing=./b.wasm --nodes 200")]
    Diff(diff::Diff),
}

impl Sim {
    /// Does what the sub-command says.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        match self.command {
            Command::Run(command) => command.run(context),
            Command::List(command) => command.run(context),
            Command::Show(command) => command.run(context),
            Command::Replay(command) => command.run(context),
            Command::Diff(command) => command.run(context),
        }
    }
}

/// Tells every mistake of a scenario, the first one in full.
fn bad_scenario(error: &ScenarioError) -> ApiError {
    let first = &error.problems[0];
    let place = format!("{}:{}:{}", first.file, first.line, first.column);
    let mut told = ApiError::new(&code::BAD_SCENARIO, format!("{place}: {}", first.message));
    told = told.fact("line", &first.excerpt);
    for problem in &error.problems[1..] {
        told = told.fact("also", problem);
    }
    match &first.help {
        Some(help) => told.help(help),
        None => told.help("meshctl sim show steady"),
    }
}

fn bad_plugin(error: &PluginError) -> ApiError {
    let code = code::find(error.code).unwrap_or(&code::INTERNAL);
    let told = ApiError::new(code, error);
    match error.hint {
        Some(hint) => told.help(hint),
        None => told.help("meshctl plugin inspect FILE"),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(&code::FILE_FAILED, format!("cannot write {}: {error}", path.display()))
}

/// Turns what is wrong with a run into the command's failure.
fn verdict(report: &Report) -> Result<(), ApiError> {
    let again =
        format!("meshctl sim run {} --nodes {} --seed {}", report.scenario, report.nodes, report.seed);
    if report.violations > 0 {
        let message = format!("{} broke {} invariants", report.scenario, report.violations);
        let mut told = ApiError::new(&code::INVARIANT_BROKEN, message);
        for breach in report.breaches.iter().take(8) {
            let node = breach.node.map(|node| format!(" at node {node}")).unwrap_or_default();
            told = told.fact(&breach.invariant, format!("{}{node}, {:.3} s", breach.what, breach.at_s));
        }
        return Err(told.help(again));
    }
    let findings: Vec<_> = report.findings().collect();
    if findings.is_empty() {
        return Ok(());
    }
    let message = format!("{}: {} expectations do not hold", report.scenario, findings.len());
    let mut told = ApiError::new(&code::EXPECTATION_FAILED, message);
    for finding in findings {
        let value = finding.value.map_or_else(|| "not measured".to_owned(), |value| value.to_string());
        told = told.fact(&finding.figure, format!("{value}, expected {}", finding.expected));
    }
    Err(told.help(again))
}
