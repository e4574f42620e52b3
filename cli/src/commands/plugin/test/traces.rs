//! Recorded decisions made again by what was just built: what it decided itself to the bit, what others decided to see
//! what would be different.

use std::path::{Path, PathBuf};

use mesh_node::api::{ApiError, code};
use mesh_plugin_host::journal::replay::{Against, Replay};
use mesh_plugin_host::journal::{Binding, Entry};
use mesh_plugin_host::{Kind, Loaded, Settings};
use serde::Serialize;

use crate::commands::plugin::record::{Trace, named, read};
use crate::commands::plugin::replay::{example, made};
use crate::output::human::{self, BAD, GOOD, styled};

/// Differences that an error describes.
const SHOWN: usize = 5;

/// One recording, as far as one side of it goes.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// The file.
    pub trace: PathBuf,
    /// Who decided then.
    pub recorded: Vec<String>,
    /// It was this very revision: all must be equal.
    pub same_revision: bool,
    /// Decisions that differ, in percent.
    pub differing_percent: f64,
    #[serde(flatten)]
    pub replay: Replay,
}

/// Makes the decisions of a recording again. What this revision made and what others made are two results.
///
/// # Errors
/// `TRACE_DIFFERS` when its own are others now, or more than `max` percent of the others' differ; `NOT_A_TRACE`,
/// `WRONG_WORLD`, `NOTHING_TO_REPLAY`.
pub fn replayed(loaded: &Loaded, file: &Path, max: Option<f64>) -> Result<Vec<Replayed>, ApiError> {
    let trace = read(file)?;
    let kind = Kind::of_slot(&trace.header.slot).ok_or_else(|| {
        let message = format!("it is of a slot '{}', which does not exist", human::safe(&trace.header.slot));
        ApiError::new(&code::NOT_A_TRACE, message).fact("trace", file.display())
    })?;
    let revision = loaded.revision().digest_text();
    let (own, others): (Vec<&Binding>, Vec<&Binding>) =
        trace.bindings.iter().partition(|binding| binding.revision == revision);
    let result = |bindings: &[&Binding], same_revision: bool, replay: Replay| Replayed {
        trace: file.to_owned(),
        recorded: bindings.iter().map(|binding| named(binding)).collect(),
        same_revision,
        differing_percent: replay.differing as f64 * 100.0 / replay.decisions.max(1) as f64,
        replay,
    };
    let mut results = Vec::new();
    if !own.is_empty() {
        let find = |binding: &Binding| (binding.revision == revision).then(|| loaded.clone());
        let replay = made(kind, &part(&trace, &own), Against::Recorded(&find))?;
        results.push(result(&own, true, replay));
    }
    if !others.is_empty() {
        let settings = settings(loaded, &trace);
        let replay = made(kind, &part(&trace, &others), Against::Candidate(loaded, &settings))?;
        results.push(result(&others, false, replay));
    }
    results.retain(|result| result.replay.calls > 0);
    if results.is_empty() {
        let error = ApiError::new(&code::NOTHING_TO_REPLAY, "no recorded decision can be made again");
        return Err(error
            .fact("trace", file.display())
            .help(format!("meshctl plugin record {} --for 30s", kind.slot())));
    }
    match results.iter().find(|result| result.is_too_far(max)) {
        Some(result) => Err(result.differs(max)),
        None => Ok(results),
    }
}

/// What these bindings did. The gaps are no harm: a replay goes on where it knows the state again.
fn part(trace: &Trace, bindings: &[&Binding]) -> Trace {
    let is_theirs = |entry: &&Entry| bindings.iter().any(|binding| binding.binding == entry.binding);
    Trace {
        header: trace.header.clone(),
        bindings: bindings.iter().copied().cloned().collect(),
        entries: trace.entries.iter().filter(is_theirs).cloned().collect(),
        missed: trace.missed,
    }
}

/// The recorded settings, if it has the recorded name.
fn settings(loaded: &Loaded, trace: &Trace) -> Settings {
    let named_so = |binding: &&Binding| binding.plugin == loaded.revision().name;
    trace.bindings.iter().rfind(named_so).map(|binding| binding.settings.clone()).unwrap_or_default()
}

impl Replayed {
    /// Returns it in a line.
    pub fn line(&self) -> String {
        let made = &self.replay;
        let differ = match made.differing {
            0 => styled(GOOD, "all the same"),
            differing => format!("{} differ, {:.2} %", human::count(differing), self.differing_percent),
        };
        let decisions = human::count(made.decisions);
        let mut line = format!("{decisions} decisions of {}: {differ}", self.recorded.join(", "));
        if made.faults > 0 {
            line += &format!(", {}", styled(BAD, format!("{} faults", human::count(made.faults))));
        }
        line
    }

    fn is_too_far(&self, max: Option<f64>) -> bool {
        match self.same_revision {
            true => !self.replay.is_equal(),
            false => max.is_some_and(|max| self.differing_percent > max),
        }
    }

    fn differs(&self, max: Option<f64>) -> ApiError {
        let (made, count) = (&self.replay, human::count);
        let decisions = format!("{} of {} decisions", count(made.differing), count(made.decisions));
        let message = match (self.same_revision, made.differing) {
            (true, 0) => format!("{} saved states are not those of the recording", made.differing_states),
            (true, _) => format!("{decisions} differ from what the same revision decided"),
            (false, _) => format!(
                "{decisions} differ, {:.2} % of them, and {} % may",
                self.differing_percent,
                max.unwrap_or_default()
            ),
        };
        let mut error = ApiError::new(&code::TRACE_DIFFERS, message).fact("trace", self.trace.display());
        for one in made.examples.iter().take(SHOWN) {
            let [number, row, inputs, recorded, now] = example(one);
            error = error.fact(
                &format!("entry {number}, row {row}"),
                format!("{inputs}: recorded {recorded}, now {now}"),
            );
        }
        if let Some(fault) = &made.first_fault {
            error = error.fact("fault", human::safe(fault));
        }
        error.help(format!("meshctl plugin replay {} --with FILE    lists them", self.trace.display()))
    }
}
