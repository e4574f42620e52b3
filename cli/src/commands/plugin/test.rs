//! `meshctl plugin test`: the unit tests of a project, then its table cases in the real host with limits on,
//! then recorded decisions.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use mesh_node::api::{ApiError, code};
use mesh_plugin_host::Loaded;
use serde::Serialize;

use super::build::{Narration, built, cargo, no_cargo, output};
use super::source::{Network, Source, read_text};
use super::trial::share;
use super::{Context, local};
use crate::output::human::{self, GOOD, styled};
use crate::output::undo::word;
use crate::output::{Pair, Show, View};

mod admission;
mod carry;
mod cases;
mod handler;
mod qos;
mod routing;
mod topology;
mod traces;

use cases::Failure;
use traces::{Replayed, replayed};

/// Test a plugin: its unit tests, then tests/*.toml in the real host.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin test
  meshctl plugin test my-router
  meshctl plugin test --skip-units                  only the table cases
  meshctl plugin test --only \"full queue\"           the cases whose name contains this
  meshctl plugin test --replay route-trace.jsonl    and what a node has decided and recorded
  meshctl plugin test --replay route-trace.jsonl --max-differing 2%

Unit tests run natively, with cargo test. Table cases run in the host that a node has, with its deadlines and
limits, and without its clamps and stand-ins: what is compared is the plugin's own answer. The keys of a case stand
at the top of tests/cases.toml in every new project.

A recording ('plugin record') is replayed in the same host. What this very revision decided must come out to the bit, or
the exit code is 11; what another one decided may differ, in at most --max-differing of the decisions if that is given.")]
pub struct Test {
    /// The project's directory.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Leave out the unit tests.
    #[arg(long)]
    skip_units: bool,
    /// Only the table cases whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Make the decisions of this recording again, after the cases. May be given several times.
    #[arg(long, value_name = "TRACE")]
    replay: Vec<PathBuf>,
    /// End with exit 11 when more decisions than this differ from those of another revision, such as 2%.
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "replay")]
    max_differing: Option<u32>,
}

/// Bytes of a file of cases, and files that are read.
const MAX_FILE: u64 = 1 << 20;
const MAX_FILES: usize = 256;
/// Failures that an error lists; more are counted.
const MAX_SHOWN: usize = 50;

/// What was tested.
#[derive(Debug, Serialize)]
struct TestReport {
    plugin: String,
    version: String,
    revision: String,
    units: Units,
    units_s: f64,
    files: Vec<String>,
    cases: usize,
    cases_s: f64,
    replays: Vec<Replayed>,
}

/// What became of the unit tests.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Units {
    Passed,
    Skipped,
    /// The project is no crate.
    None,
}

impl Test {
    /// Tests, and says what was tested.
    ///
    /// # Errors
    /// `TESTS_FAILED` with the failures, `BAD_CASES`, or what keeps the project from being built.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let source = Source::open(&self.dir, Network::of(context))?;
        let narration = Narration::of(context);
        let begun = Instant::now();
        let units = self.units(&source, narration).await?;
        let units_s = begun.elapsed().as_secs_f64();
        let built = built(&source, narration).await?;
        let loaded = local::loaded(&local::engine()?, &built.component)?;
        let begun = Instant::now();
        let files = case_files(&source.dir)?;
        let ran = self.cases(&loaded, &files)?;
        if !ran.failures.is_empty() {
            return Err(failed(&ran));
        }
        let cases_s = begun.elapsed().as_secs_f64();
        let max = self.max_differing.map(|hundredths| f64::from(hundredths) / 100.0);
        let mut replays = Vec::new();
        for trace in &self.replay {
            replays.extend(replayed(&loaded, trace, max)?);
        }
        let report = TestReport {
            plugin: loaded.revision().name.clone(),
            version: loaded.revision().version.clone(),
            revision: loaded.revision().digest_text(),
            units,
            units_s,
            files: files.into_iter().map(|(name, _)| name).collect(),
            cases: ran.cases,
            cases_s,
            replays,
        };
        context.out.print(None, &report)
    }

    async fn units(&self, source: &Source, narration: Narration) -> Result<Units, ApiError> {
        if self.skip_units {
            return Ok(Units::Skipped);
        }
        if !source.has_crate() {
            return Ok(Units::None);
        }
        let mut command = cargo(source);
        command.args(["test", "--quiet"]);
        let finished = output(command, narration).await.map_err(no_cargo)?;
        if finished.status.success() {
            return Ok(Units::Passed);
        }
        let said = String::from_utf8_lossy(&finished.stdout);
        let error = ApiError::new(&code::TESTS_FAILED, "the unit tests failed");
        Err(error.fact("output", tail(&said)).fact("messages", tail(&finished.said)))
    }

    fn cases(&self, loaded: &Loaded, files: &[(String, PathBuf)]) -> Result<Ran, ApiError> {
        let (mut ran, mut names) = (Ran::default(), Vec::new());
        for (name, path) in files {
            let text = read_text(path, MAX_FILE)
                .map_err(|error| ApiError::new(&code::FILE_FAILED, error).fact("file", path.display()))?;
            let file = cases::File { name, text: &text, only: self.only.as_deref() };
            ran.add(file.run(loaded)?);
            names.extend(cases::names(&text));
        }
        match &self.only {
            Some(only) if ran.cases == 0 => Err(no_such_case(only, &names)),
            _ => Ok(ran),
        }
    }
}

/// How many cases ran, and what failed.
#[derive(Debug, Default)]
pub struct Ran {
    /// All cases.
    pub cases: usize,
    /// What was not as expected.
    pub failures: Vec<Failure>,
}

impl Ran {
    fn add(&mut self, other: Ran) {
        self.cases += other.cases;
        self.failures.extend(other.failures);
    }
}

// The last lines say what failed.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(MAX_SHOWN)..].join("\n")
}

fn case_files(dir: &Path) -> Result<Vec<(String, PathBuf)>, ApiError> {
    let mut files = Vec::new();
    // A project without the directory has no cases.
    for entry in fs::read_dir(dir.join("tests")).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push((format!("tests/{}", entry.file_name().display()), path));
        }
    }
    files.sort();
    if files.len() > MAX_FILES {
        let message = format!("there are {} files of cases, {MAX_FILES} are the limit", files.len());
        return Err(ApiError::new(&code::BAD_CASES, message));
    }
    Ok(files)
}

/// Whoever names cases wants them tested, so that none is a mistake.
fn no_such_case(only: &str, names: &[String]) -> ApiError {
    let message = format!("no case has '{only}' in its name");
    let error = ApiError::new(&code::BAD_VALUE, message);
    match names {
        [] => error.fact("cases", "there are none: the project has no tests/*.toml with a case in it"),
        _ => names.iter().take(MAX_SHOWN).fold(error, |error, name| error.fact("case", human::safe(name))),
    }
}

fn failed(ran: &Ran) -> ApiError {
    let message = format!("{} of {} cases have a wrong answer", ran.failed_cases(), ran.cases);
    let mut error = ApiError::new(&code::TESTS_FAILED, message);
    for failure in ran.failures.iter().take(MAX_SHOWN) {
        error = error.fact(&failure.place(), failure);
    }
    if ran.failures.len() > MAX_SHOWN {
        error = error.fact("and", format!("{} more", ran.failures.len() - MAX_SHOWN));
    }
    match ran.failures.first() {
        Some(first) => error.help(format!("meshctl plugin test --skip-units --only {}", word(&first.case))),
        None => error,
    }
}

impl Ran {
    fn failed_cases(&self) -> usize {
        let mut names: Vec<_> = self.failures.iter().map(|failure| (&failure.file, &failure.case)).collect();
        names.dedup();
        names.len()
    }
}

impl Show for TestReport {
    const SCHEMA: &'static str = "plugin-test";

    fn view(&self) -> View {
        let units = match self.units {
            Units::Passed => format!("{} in {}", styled(GOOD, "passed"), human::duration(self.units_s)),
            Units::Skipped => "left out".to_owned(),
            Units::None => "none: it is no crate".to_owned(),
        };
        let took = human::duration(Duration::from_secs_f64(self.cases_s).as_secs_f64());
        let files = Some(self.files.join("  ")).filter(|files| !files.is_empty());
        let mut pairs = vec![
            Pair::plugin(&self.plugin, &self.version),
            Pair::new("revision", "revision", &self.revision),
            Pair::new("units", "unit tests", units),
            Pair::new("cases", "table cases", format!("{} {} in {took}", self.cases, styled(GOOD, "passed"))),
            Pair::new("files", "files", human::or_dash(files.as_deref().map(human::safe))),
        ];
        pairs.extend(self.replays.iter().map(|one| Pair::new("replays", "replayed", one.line())));
        View::Pairs(pairs)
    }

    fn names(&self) -> Vec<String> {
        vec![self.revision.clone()]
    }
}
