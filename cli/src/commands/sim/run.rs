//! `meshctl sim run`: scenarios, seeds and plugins in; a report, a figure and an exit code out.

use std::fs;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use clap::Args;
use mesh_node::api::{ApiError, code};
use mesh_sim::run::RunError;
use mesh_sim::{Outcome, Plugins, SavedRun, Scenario, saved, scenario};

use super::progress::tell;
use super::report::{Many, One};
use super::{bad_plugin, bad_scenario, list, unwritable, verdict};
use crate::commands::Context;
use crate::output::bar::Bar;

/// What to run.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    what: What,
    /// The seed, or several as A..B: one run each.
    #[arg(long, value_name = "S|A..B", value_parser = seeds)]
    seed: Option<Seeds>,
    /// Put a plugin into a slot of every node: the path of a component, built-in/NAME, or native.
    #[arg(long = "plugin", value_name = "SLOT=PLUGIN", value_parser = plugin)]
    plugins: Vec<Choice>,
    /// Write the figure of the run: delivery, latency, bytes and links, with the faults behind them.
    #[arg(long, value_name = "OUT.SVG")]
    plot: Option<PathBuf>,
    /// Write the run, to be replayed and compared.
    #[arg(long, value_name = "RUN.JSON")]
    save: Option<PathBuf>,
    /// With several seeds, go on after one that fails.
    #[arg(long)]
    keep_going: bool,
    /// Seeds that run at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
}

/// Which scenario, and what is different.
#[derive(Clone, Debug, Args)]
pub(super) struct What {
    /// The path of a scenario, or the name of a shipped one.
    #[arg(value_name = "FILE|NAME")]
    pub(super) scenario: String,
    /// Another number of nodes.
    #[arg(long)]
    nodes: Option<u64>,
    /// Another length of the main part, such as 90s or 10m.
    #[arg(long, value_name = "TIME", value_parser = crate::args::duration)]
    duration: Option<Duration>,
    /// Another value of any key, such as links.loss=10% or fault.0.at=5s.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// A slot and the plugin in it.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    slot: String,
    source: String,
}

/// Seeds, one run each.
#[derive(Clone, Debug)]
struct Seeds(RangeInclusive<u64>);

/// Seeds of one command, at most.
const MAX_SEEDS: u64 = 10_000;

fn seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| text.trim().parse::<u64>().ok().filter(|&seed| seed <= i64::MAX as u64);
    let wrong = || "a seed is a number, and several are written 1..20".to_owned();
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (number(first), number(last.trim_start_matches('='))),
        None => (number(text), number(text)),
    };
    let (first, last) = first.zip(last).ok_or_else(wrong)?;
    match last.checked_sub(first) {
        Some(count) if count < MAX_SEEDS => Ok(Seeds(first..=last)),
        Some(_) => Err(format!("these are more than {MAX_SEEDS} seeds")),
        None => Err("the last seed is smaller than the first".to_owned()),
    }
}

pub(super) fn plugin(text: &str) -> Result<Choice, String> {
    match text.split_once('=') {
        Some((slot, source)) if !slot.is_empty() && !source.is_empty() => {
            Ok(Choice { slot: slot.to_owned(), source: source.to_owned() })
        }
        _ => Err("write SLOT=PLUGIN, such as routing=./my.wasm".to_owned()),
    }
}

/// A scenario's text with everything that is laid over it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    file: String,
    text: String,
    base: PathBuf,
    overrides: Vec<String>,
}

impl What {
    /// Reads the scenario's text.
    pub(super) fn plan(&self, plugins: &[Choice]) -> Result<Plan, ApiError> {
        let (file, text, base) = read(&self.scenario)?;
        let mut overrides = self.set.clone();
        if let Some(nodes) = self.nodes {
            overrides.push(format!("scenario.nodes={nodes}"));
        }
        if let Some(duration) = self.duration {
            overrides.push(format!("scenario.duration=\"{}us\"", duration.as_micros()));
        }
        for choice in plugins {
            overrides.push(choice.as_override()?);
        }
        Ok(Plan { file, text, base, overrides })
    }
}

impl Choice {
    /// A path counts from where the command was typed, not from where the scenario lies.
    fn as_override(&self) -> Result<String, ApiError> {
        let is_name = self.source == mesh_sim::plugins::NATIVE || self.source.starts_with("built-in/");
        let source = match is_name {
            true => self.source.clone(),
            false => {
                let path = std::path::absolute(&self.source)
                    .map_err(|error| ApiError::new(&code::FILE_FAILED, error))?;
                path.to_string_lossy().into_owned()
            }
        };
        // A JSON string is a TOML string.
        let quoted = serde_json::Value::String(source).to_string();
        Ok(format!("plugins.{}={quoted}", self.slot))
    }
}

/// Returns name, text and directory of a scenario.
fn read(wanted: &str) -> Result<(String, String, PathBuf), ApiError> {
    let path = Path::new(wanted);
    if !wanted.contains(['/', '.']) {
        // The name of a shipped one means that one, whatever lies in this directory.
        match list::find(wanted) {
            Ok(shipped) => {
                return Ok((format!("{}.toml", shipped.name), shipped.text.to_owned(), PathBuf::from(".")));
            }
            Err(error) if !path.exists() => return Err(error),
            Err(_) => {}
        }
    }
    let text = read_bounded(path, scenario::MAX_TEXT)?;
    let base = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((wanted.to_owned(), text, base.to_owned()))
}

/// Reads a text file of at most so many bytes, and one more, so that what is too long is seen to be.
pub(super) fn read_bounded(path: &Path, max: usize) -> Result<String, ApiError> {
    let failed = |error: std::io::Error| {
        ApiError::new(&code::FILE_FAILED, format!("cannot read {}: {error}", path.display()))
    };
    let mut text = String::new();
    fs::File::open(path).map_err(failed)?.take(max as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

impl Plan {
    /// Returns the plan for one seed.
    fn seeded(&self, seed: u64) -> Plan {
        let mut plan = self.clone();
        plan.overrides.push(format!("scenario.seed={seed}"));
        plan
    }

    /// Returns the plan of a saved run.
    pub(super) fn of(saved: &SavedRun) -> Plan {
        Plan {
            file: saved.file.clone(),
            text: saved.text.clone(),
            base: PathBuf::from(&saved.base),
            overrides: saved.overrides.clone(),
        }
    }

    pub(super) fn scenario(&self) -> Result<Scenario, ApiError> {
        Scenario::parse(&self.file, &self.text, &self.overrides).map_err(|error| bad_scenario(&error))
    }

    pub(super) fn plugins(&self, scenario: &Scenario) -> Result<Plugins, ApiError> {
        Plugins::load(scenario, &self.base).map_err(|error| bad_plugin(&error))
    }

    /// Runs it and tells how far it is.
    pub(super) fn run(&self, context: &Context, plugins: &Plugins) -> Result<Outcome, ApiError> {
        let scenario = self.scenario()?;
        let title = format!("{} seed {}", scenario.name, scenario.seed);
        let mut bar = Bar::new(&context.out, title);
        let ran = mesh_sim::run::run(&scenario, plugins, &mut |progress| tell(&mut bar, progress));
        ran.map_err(|error| match error {
            RunError::Plugin(error) => bad_plugin(&error),
            RunError::Stopped => ApiError::new(&code::INTERRUPTED, error),
        })
    }

    fn save(&self, plugins: &Plugins, outcome: Outcome) -> Result<SavedRun, ApiError> {
        let base =
            std::path::absolute(&self.base).map_err(|error| ApiError::new(&code::FILE_FAILED, error))?;
        Ok(SavedRun {
            format: saved::FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            file: self.file.clone(),
            base: base.to_string_lossy().into_owned(),
            text: self.text.clone(),
            overrides: self.overrides.clone(),
            plugins: plugins.digests(),
            outcome,
        })
    }
}

impl Run {
    /// Runs all seeds, writes what was asked for, prints the reports and judges.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let plan = self.what.plan(&self.plugins)?;
        let scenario = plan.scenario()?;
        let plugins = plan.plugins(&scenario)?;
        if context.globals.dry_run {
            context.out.note(format_args!(
                "{}: {} nodes for {:?}, and nothing is wrong with it",
                scenario.name,
                scenario.nodes,
                scenario.total()
            ));
            return Ok(());
        }
        let seeds = match &self.seed {
            Some(Seeds(seeds)) => seeds.clone(),
            None => scenario.seed..=scenario.seed,
        };
        let is_one = seeds.start() == seeds.end();
        let outcomes = self.run_all(context, &plan, &plugins, seeds)?;
        for (seed, outcome) in &outcomes {
            self.write(&plan.seeded(*seed), &plugins, outcome, is_one)?;
        }
        let mut reports: Vec<_> = outcomes.into_iter().map(|(_, outcome)| outcome.report).collect();
        let judged = reports.iter().map(verdict).find(Result::is_err).unwrap_or(Ok(()));
        match is_one.then(|| reports.pop()).flatten() {
            Some(report) => context.out.print(None, &One(report))?,
            None => context.out.print(None, &Many(reports))?,
        }
        judged
    }

    /// Runs the seeds on so many threads, in order of the seeds; without `--keep-going` up to one that fails.
    fn run_all(
        &self,
        context: &Context,
        plan: &Plan,
        plugins: &Plugins,
        seeds: RangeInclusive<u64>,
    ) -> Result<Vec<(u64, Outcome)>, ApiError> {
        let left = Mutex::new(Left { seeds, failed: None });
        let done = Mutex::new(Vec::new());
        // A function of its own, so that the lock is open again while the seed runs.
        let next = || lock(&left).seeds.next();
        let work = || {
            while let Some(seed) = next() {
                match plan.seeded(seed).run(context, plugins) {
                    Ok(outcome) => {
                        let ends = !self.keep_going && !outcome.report.passed;
                        lock(&done).push((seed, outcome));
                        if ends {
                            lock(&left).end(None);
                        }
                    }
                    Err(error) => lock(&left).end(Some(error)),
                }
            }
        };
        std::thread::scope(|scope| {
            (1..self.jobs).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        if let Some(error) = lock(&left).failed.take() {
            return Err(error);
        }
        let mut outcomes = std::mem::take(&mut *lock(&done));
        outcomes.sort_by_key(|(seed, _)| *seed);
        Ok(outcomes)
    }

    fn write(&self, plan: &Plan, plugins: &Plugins, outcome: &Outcome, is_one: bool) -> Result<(), ApiError> {
        let seed = outcome.report.seed;
        if let Some(path) = &self.plot {
            let path = own_path(path, seed, is_one);
            fs::write(&path, outcome.svg()).map_err(|error| unwritable(&path, &error))?;
        }
        if let Some(path) = &self.save {
            let path = own_path(path, seed, is_one);
            let saved = plan.save(plugins, outcome.clone())?;
            let text = saved.to_json().map_err(|error| ApiError::new(&code::INTERNAL, error))?;
            fs::write(&path, text).map_err(|error| unwritable(&path, &error))?;
        }
        Ok(())
    }
}

/// Seeds that nobody has taken yet.
struct Left {
    seeds: RangeInclusive<u64>,
    failed: Option<ApiError>,
}

impl Left {
    #[allow(clippy::reversed_empty_ranges, reason = "an empty range is what is meant")]
    fn end(&mut self, error: Option<ApiError>) {
        self.seeds = 1..=0;
        self.failed = self.failed.take().or(error);
    }
}

/// A worker that panics ends the process with its scope, so that no lock outlives one.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// With several seeds each has a file of its own: `run.json` becomes `run-7.json`.
fn own_path(path: &Path, seed: u64, is_one: bool) -> PathBuf {
    if is_one {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    path.with_file_name(format!("{stem}-{seed}{}", extension.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_one_or_a_range() {
        for (text, want) in [
            ("7", Some(7..=7)),
            ("1..20", Some(1..=20)),
            ("1..=20", Some(1..=20)),
            ("5..3", None),
            ("1..", None),
            ("1..1000000", None),
            ("x", None),
            ("-1", None),
        ] {
            assert_eq!(seeds(text).ok().map(|Seeds(seeds)| seeds), want, "{text}");
        }
    }

    #[test]
    fn several_seeds_write_a_file_each() {
        assert_eq!(own_path(Path::new("a/run.json"), 7, false), Path::new("a/run-7.json"));
        assert_eq!(own_path(Path::new("plot"), 7, false), Path::new("plot-7"));
        assert_eq!(own_path(Path::new("run.json"), 7, true), Path::new("run.json"));
    }
}
