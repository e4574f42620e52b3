//! `meshctl plugin replay`: recorded decisions made again, by the same revision or by another, without a node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use mesh_node::api::{ApiError, Fetched, Request, Setting, code};
use mesh_plugin_host::journal::replay::{self, Against, ReplayError};
use mesh_plugin_host::journal::{Binding, Shown};
use mesh_plugin_host::{Engine, Kind, Loaded, Settings, builtin, inspect};
use serde::Serialize;

use super::record::{Trace, named, read};
use super::{Context, local, setting};
use crate::output::human::{BAD, GOOD, styled};
use crate::output::undo::quoted;
use crate::output::{Column, Pair, Rows, Show, View, human};

/// Make recorded decisions again.
#[derive(Debug, Args)]
pub struct Replay {
    /// A file that 'plugin record' wrote.
    trace: PathBuf,
    /// Let this decide instead: a component, a package, built-in/NAME, or what a running node has installed.
    #[arg(long, value_name = "PLUGIN")]
    with: Option<String>,
    /// A setting for --with; without any it gets the recorded ones if it has the recorded name.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting, requires = "with")]
    settings: Vec<(String, Setting)>,
}

/// How it went.
#[derive(Debug, Serialize)]
struct Replayed {
    trace: PathBuf,
    slot: String,
    recorded: Vec<String>,
    with: Option<String>,
    equal: bool,
    /// Entries that the recording lacks.
    missed: u64,
    #[serde(flatten)]
    replay: replay::Replay,
}

impl Replay {
    /// Replays and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let trace = read(&self.trace)?;
        let kind = Kind::of_slot(&trace.header.slot).ok_or_else(|| {
            let message =
                format!("it is of a slot '{}', which does not exist", human::safe(&trace.header.slot));
            ApiError::new(&code::NOT_A_TRACE, message)
        })?;
        let engine = local::engine()?;
        let with_file = |error: ApiError| error.filled("TRACE", &quoted(&self.trace));
        let (with, replay) = match &self.with {
            Some(with) => {
                let loaded = self.candidate(context, &engine, with).await?;
                let settings = self.settings(&loaded, &trace)?;
                let against = Against::Candidate(&loaded, &settings);
                (Some(loaded.revision().to_string()), made(kind, &trace, against).map_err(with_file)?)
            }
            None => {
                let found = recorded(context, &engine, &trace).await?;
                let find = |binding: &Binding| found.get(&binding.revision).cloned();
                (None, made(kind, &trace, Against::Recorded(&find)).map_err(with_file)?)
            }
        };
        if replay.calls == 0 {
            let message = "no recorded decision can be made again";
            return Err(ApiError::new(&code::NOTHING_TO_REPLAY, message)
                .fact("calls without a known state", replay.skipped)
                .help(format!("meshctl plugin record {} --for 30s", kind.slot())));
        }
        let replayed = Replayed {
            trace: self.trace,
            slot: kind.slot().to_owned(),
            recorded: trace.bindings.iter().map(named).collect(),
            equal: replay.is_equal(),
            with,
            missed: trace.missed,
            replay,
        };
        context.out.print(None, &replayed)?;
        match replayed.equal || replayed.with.is_some() {
            true => Ok(()),
            false => Err(replayed.differs()),
        }
    }

    async fn candidate(&self, context: &Context, engine: &Engine, with: &str) -> Result<Loaded, ApiError> {
        match local::component(with) {
            Ok(component) => local::loaded(engine, &component),
            Err(error) if error.is(&code::NO_SUCH_PLUGIN) && !Path::new(with).exists() => {
                match fetched(context, with).await? {
                    Some(component) => local::loaded(engine, &component),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn settings(&self, loaded: &Loaded, trace: &Trace) -> Result<Settings, ApiError> {
        let is_it = |binding: &&Binding| binding.plugin == loaded.revision().name;
        match trace.bindings.iter().rfind(is_it) {
            Some(binding) if self.settings.is_empty() => Ok(binding.settings.clone()),
            _ => local::settings(loaded, &self.settings),
        }
    }
}

pub(super) fn made(kind: Kind, trace: &Trace, against: Against<'_>) -> Result<replay::Replay, ApiError> {
    replay::replay(kind, &trace.bindings, &trace.entries, against).map_err(|error| {
        let code = match &error {
            ReplayError::Missing(_) => &code::NO_SUCH_PLUGIN,
            ReplayError::NoBinding(_) | ReplayError::NotWhole(_) => &code::NOT_A_TRACE,
            ReplayError::Hidden(_) => &code::NOTHING_TO_REPLAY,
            ReplayError::WrongKind { .. } => &code::WRONG_WORLD,
            ReplayError::State { .. } => &code::DECISIONS_DIFFER,
            ReplayError::Prepare { error, .. } => code::find(error.code()).unwrap_or(&code::SWAP_FAILED),
        };
        let told = ApiError::new(code, &error);
        match error {
            ReplayError::Missing(binding) => {
                let told =
                    told.help("meshctl -N NODE plugin replay TRACE    with a node that has it installed");
                // Each build of the program has a revision of its own of what is built in.
                if binding.plugin.starts_with("built-in/") && local::component(&binding.plugin).is_ok() {
                    let own = format!("meshctl plugin replay TRACE --with {}", binding.plugin);
                    return told.help(format!("{own}    as it comes with this program"));
                }
                told.help("meshctl plugin replay TRACE --with FILE")
            }
            ReplayError::Hidden(_) => {
                told.help(format!("meshctl plugin record {} --for 30s --with-payload", kind.slot()))
            }
            _ => told,
        }
    })
}

/// Finds what the recording names: what comes with the program, and else what a running node has.
async fn recorded(
    context: &Context,
    engine: &Engine,
    trace: &Trace,
) -> Result<BTreeMap<String, Loaded>, ApiError> {
    let mut found = BTreeMap::new();
    for binding in trace.bindings.iter().filter(|binding| !binding.is_native()) {
        let is_it = |bytes: &&[u8]| {
            inspect(bytes).is_ok_and(|inspection| inspection.revision().digest_text() == binding.revision)
        };
        let component = match builtin::ALL.into_iter().find(is_it) {
            Some(component) => Bytes::from_static(component),
            None => match fetched(context, digits(&binding.revision)).await? {
                Some(component) => component,
                None => continue,
            },
        };
        let loaded = local::loaded(engine, &component)?;
        if loaded.revision().digest_text() == binding.revision {
            found.insert(binding.revision.clone(), loaded);
        }
    }
    Ok(found)
}

fn digits(revision: &str) -> &str {
    revision.split_once(':').map_or(revision, |(_, digits)| digits)
}

/// Asks a running node for a component; `None` when there is no node, or it does not have it.
async fn fetched(context: &Context, plugin: &str) -> Result<Option<Bytes>, ApiError> {
    let request = Request::PluginFetch { plugin: plugin.to_owned() };
    let asked = match context.connect().await {
        Ok(mut node) => node.call(&request).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(Fetched { bytes, .. }) => Ok(Some(bytes)),
        Err(error) if error.is(&code::NOT_RUNNING) || error.is(&code::NO_SUCH_PLUGIN) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Replayed {
    fn differs(&self) -> ApiError {
        let message = match self.replay.differing {
            0 => format!("{} saved states are not those of the recording", self.replay.differing_states),
            differing => format!("{differing} of {} decisions are others", self.replay.decisions),
        };
        ApiError::new(&code::DECISIONS_DIFFER, message).fact("trace", self.trace.display())
    }
}

const COLUMNS: &[Column] = &[
    Column::number("number", "ENTRY", 0),
    Column::number("row", "ROW", 0),
    Column::text("inputs", "INPUTS", 1),
    Column::text("recorded", "RECORDED", 0),
    Column::text("replayed", "NOW", 0),
];

impl Show for Replayed {
    const SCHEMA: &'static str = "plugin-replay";

    fn view(&self) -> View {
        let made = &self.replay;
        let verdict = match (self.equal, made.differing) {
            (true, _) => styled(GOOD, "all decisions are the same, to the bit"),
            (false, 0) => styled(BAD, "the decisions are the same, the saved states are not"),
            (false, differing) => {
                let share = differing as f64 * 100.0 / made.decisions.max(1) as f64;
                styled(BAD, format!("{} decisions differ, {share:.2} %", human::count(differing)))
            }
        };
        let count = human::count;
        let mut pairs = vec![
            Pair::new("slot", "slot", &self.slot),
            Pair::new("recorded", "recorded", self.recorded.join(", ")),
            Pair::new("with", "made again by", self.with.as_deref().unwrap_or("the same")),
            Pair::new(
                "decisions",
                "decisions",
                format!("{} in {} calls", count(made.decisions), count(made.calls)),
            ),
            Pair::new("equal", "result", verdict),
            Pair::new("states", "states", format!("{} compared", count(made.states))),
            Pair::new("skipped", "skipped", format!("{} calls", count(made.skipped))),
        ];
        if let Some(fault) = &made.first_fault {
            let faults = format!("{}, the first: {}", count(made.faults), human::safe(fault));
            pairs.push(Pair::new("faults", "faults", styled(BAD, faults)));
        }
        if let Some(why) = &made.state_refused {
            pairs.push(Pair::new("state_refused", "state", format!("not taken over: {}", human::safe(why))));
        }
        if made.examples.is_empty() {
            return View::Pairs(pairs);
        }
        let mut rows = Rows::new(COLUMNS, "");
        made.examples.iter().for_each(|one| rows.push(example(one)));
        View::Parts(vec![View::Pairs(pairs), View::Rows(rows)])
    }

    fn names(&self) -> Vec<String> {
        self.replay.examples.iter().map(|example| format!("{}:{}", example.number, example.row)).collect()
    }
}

/// Returns a decision that differs as it is shown: entry, row, inputs, recorded, now.
pub(super) fn example(one: &replay::Example) -> [String; 5] {
    let inputs: Vec<String> =
        one.inputs.iter().map(|(name, value)| format!("{name}={}", input(value))).collect();
    let (number, row) = (one.number.to_string(), one.row.to_string());
    let [recorded, replayed] = [&one.recorded, &one.replayed].map(|text| human::safe(text).to_string());
    [number, row, inputs.join(" "), recorded, replayed]
}

/// The largest number of a column stands for something that is not there.
fn input(value: &Shown) -> String {
    match value {
        Shown::Number(number) if *number == u64::from(u32::MAX) => "–".to_owned(),
        Shown::Number(number) => number.to_string(),
        Shown::Text(text) => human::safe(text).to_string(),
    }
}
