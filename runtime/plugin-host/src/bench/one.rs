//! One plugin, whoever wrote it, against what its slot has without it: the native built-in, and for a handler the
//! built-in beacon.

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use mesh_proto::policy::native::Native;
use mesh_proto::policy::{Policies, View, Visitor};

use super::{
    ASKER, BenchError, Message, PLACE, ROOM, candidates, compare, failure, handler, messages, runs, sizes,
    view, visitors,
};
use crate::call::{Call, call_within};
use crate::engine::Engine;
use crate::fault::Fault;
use crate::limits::SETUP;
use crate::load::{Grants, Loaded, load};
use crate::set::{PolicySet, PolicySlot, prepare};
use crate::settings::Settings;
use crate::slot::StartWith;

/// Messages of a call that are measured; candidates, visitors or runs, where those are decided on, and then as many as
/// a node puts into one call at most.
const BATCHES: [usize; 3] = [1, 64, 1024];
/// Calls whose times are taken one by one, at most, and for how long.
const CALLS: usize = 20_000;
const CALLS_FOR: Duration = Duration::from_millis(500);
/// The same, at least: a slow plugin has a 99th percentile too.
const CALLS_LEAST: usize = 100;

/// What one plugin's calls cost.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginBench {
    /// What it was measured against: `native/fastest` and its siblings, or `built-in/beacon`.
    pub baseline: &'static str,
    /// A row for each call and size of batch.
    pub rows: Vec<CallRow>,
    /// The size of batch that it failed on, and of what: larger ones are not measured.
    pub failed: Option<(usize, Fault)>,
}

/// What one call costs.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRow {
    /// The function of the interface; for a handler, the event.
    pub call: &'static str,
    /// Messages, candidates, visitors, runs or events of a call.
    pub batch: usize,
    /// Calls in a second, by the median.
    pub calls_per_s: f64,
    /// Half of the calls took at most so many nanoseconds.
    pub p50_ns: f64,
    /// And 99 of 100 so many.
    pub p99_ns: f64,
    /// Instructions of one call, the first of its kind in an instance.
    pub fuel: u64,
    /// Nanoseconds that the baseline takes for the same, by the median.
    pub baseline_ns: f64,
}

impl CallRow {
    /// Returns how many times as long as the baseline it takes.
    pub fn ratio(&self) -> f64 {
        self.p50_ns / self.baseline_ns.max(1.0)
    }
}

/// Measures a plugin. Takes seconds, and for interpreted ones the time to compile them once more for `metered`.
///
/// # Errors
/// When the plugin cannot be prepared, or fails while it is measured.
pub fn plugin(
    engine: &Engine,
    metered: &Engine,
    component: &[u8],
    settings: &Settings,
) -> Result<PluginBench, BenchError> {
    let loaded = load(engine, component, Grants::ALL)?;
    let counted = load(metered, component, Grants::ALL)?;
    match PolicySlot::from_name(loaded.kind().slot()) {
        Some(slot) => policy(engine, slot, &loaded, &counted, settings),
        None => handler::events(engine, &loaded, &counted, settings),
    }
}

fn policy(
    engine: &Engine,
    slot: PolicySlot,
    loaded: &Loaded,
    counted: &Loaded,
    settings: &Settings,
) -> Result<PluginBench, BenchError> {
    let mut set = PolicySet::new(engine);
    set.swap(prepare(loaded, settings)?, 0, StartWith::Reset)?;
    let (messages, view) = (messages(), view());
    let mut native = Native::default();
    set.observe(0, &view);
    native.observe(0, &view);
    let (mut rows, mut failed) = (Vec::new(), None);
    for batch in sizes(slot, &BATCHES) {
        let [own_ns, native_ns] = compare(slot, batch, &messages, &mut set, &mut native);
        let [p50_ns, p99_ns] = times(|| ask(slot, &messages[..batch], &mut set));
        if let Some(why) = failure(&set.status(slot)) {
            failed = Some((batch, why));
            break;
        }
        let fuel = fuel(counted, settings, slot, &messages[..batch], &view)?;
        rows.push(CallRow {
            call: function(slot),
            batch,
            calls_per_s: 1e9 / (own_ns * batch as f64),
            p50_ns,
            p99_ns,
            fuel,
            baseline_ns: native_ns * batch as f64,
        });
    }
    match failed {
        Some((_, why)) if rows.is_empty() => Err(BenchError::FellBack { slot: slot.name(), why }),
        failed => Ok(PluginBench { baseline: slot.native_name(), rows, failed }),
    }
}

fn function(slot: PolicySlot) -> &'static str {
    match slot {
        PolicySlot::Route => "decide",
        PolicySlot::Qos => "classify",
        PolicySlot::Topology => "score",
        PolicySlot::Admission => "admit",
        PolicySlot::Carry => "carry",
    }
}

/// One call for one batch, packing and folding included, as in a node.
fn ask(slot: PolicySlot, batch: &[Message], policies: &mut impl Policies) {
    black_box(super::round(slot, batch.len(), batch, policies));
}

/// Returns the median and the 99th percentile in nanoseconds.
pub(super) fn times(mut one: impl FnMut()) -> [f64; 2] {
    let mut taken = Vec::new();
    let begun = Instant::now();
    while taken.len() < CALLS && (taken.len() < CALLS_LEAST || begun.elapsed() < CALLS_FOR) {
        let call = Instant::now();
        one();
        taken.push(call.elapsed().as_nanos() as f64);
    }
    taken.sort_by(f64::total_cmp);
    [50, 99].map(|percent| taken.get(taken.len() * percent / 100).copied().unwrap_or(0.0))
}

/// The instructions of one call, in an instance whose calls are bounded by them.
fn fuel(
    counted: &Loaded,
    settings: &Settings,
    slot: PolicySlot,
    batch: &[Message],
    view: &View,
) -> Result<u64, BenchError> {
    let spoken = |function: &str, args: Vec<String>| Call { function: function.into(), args };
    let calls = match slot {
        PolicySlot::Route => vec![
            spoken("observe", vec!["0".into(), links_text(view), ways_text(view)]),
            spoken("decide", vec!["1".into(), route_text(batch)]),
        ],
        PolicySlot::Qos => vec![spoken("classify", vec!["1".into(), qos_text(batch)])],
        PolicySlot::Topology => {
            vec![spoken("score", vec!["1".into(), asker_text(), candidates_text(batch)])]
        }
        PolicySlot::Admission => {
            vec![spoken("admit", vec!["1".into(), place_text(), visitors_text(batch)])]
        }
        PolicySlot::Carry => vec![spoken("carry", vec!["1".into(), room_text(), runs_text(batch)])],
    };
    instructions(counted, settings, &calls)
}

/// The instructions of the last of these calls. What they may take is told by the times, so it is not bounded here.
pub(super) fn instructions(counted: &Loaded, settings: &Settings, calls: &[Call]) -> Result<u64, BenchError> {
    let called = call_within(counted, settings, calls, &|_| SETUP)?;
    Ok(called.last().and_then(|called| called.fuel).unwrap_or(0))
}

fn column<T: std::fmt::Display>(name: &str, rows: impl IntoIterator<Item = T>) -> String {
    let mut text = format!("{name}: [");
    for (n, row) in rows.into_iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(text, "{comma}{row}").expect("a string takes everything");
    }
    text + "]"
}

fn record(columns: &[String]) -> String {
    format!("{{{}}}", columns.join(", "))
}

fn links_text(view: &View) -> String {
    let links = &view.links;
    record(&[
        column("rtt-us", &links.rtt_us),
        column("loss-ppm", &links.loss_ppm),
        column("queued-bytes", &links.queued_bytes),
    ])
}

fn ways_text(view: &View) -> String {
    let ways = &view.ways;
    record(&[
        column("dest", &ways.dest),
        column("via", &ways.via),
        column("cost-us", &ways.cost_us),
        column("hops", &ways.hops),
    ])
}

fn route_text(batch: &[Message]) -> String {
    record(&[
        column("dest", batch.iter().map(|m| m.dest)),
        column("ingress", batch.iter().map(|m| m.ingress)),
        column("size", batch.iter().map(|m| m.size)),
        column("class", batch.iter().map(|m| m.class as u8)),
    ])
}

fn qos_text(batch: &[Message]) -> String {
    record(&[
        column("class", batch.iter().map(|m| m.class as u8)),
        column("size", batch.iter().map(|m| m.size)),
        column("age-ms", batch.iter().map(|m| m.age_ms)),
        column("tag", batch.iter().map(|m| m.tag)),
    ])
}

fn asker_text() -> String {
    let [mobility, resources, battery, proximity] = ASKER.weights;
    format!(
        "{{level: {}, mobility: {}, battery: {}, weight-mobility: {mobility}, weight-resources: {resources}, \
         weight-battery: {battery}, weight-proximity: {proximity}, max-distance-m: {}}}",
        ASKER.level, ASKER.mobility, ASKER.battery, ASKER.max_distance_m
    )
}

fn candidates_text(batch: &[Message]) -> String {
    let of = candidates(batch);
    record(&[
        column("node", &of.node),
        column("level", &of.level),
        column("same-cell", &of.same_cell),
        column("is-parent", &of.is_parent),
        column("mobility", &of.mobility),
        column("battery", &of.battery),
        column("cpu-used", &of.cpu_used),
        column("memory-used", &of.memory_used),
        column("cores", &of.cores),
        column("memory-mb", &of.memory_mb),
        column("uplink-mbps", &of.uplink_mbps),
        column("distance-m", &of.distance_m),
        column("rtt-us", &of.rtt_us),
        column("up-s", &of.up_s),
        column("children", &of.children),
        column("max-children", &of.max_children),
    ])
}

fn place_text() -> String {
    format!(
        "{{links: {}, least: {}, most: {}, members: {}}}",
        PLACE.links, PLACE.least, PLACE.most, PLACE.members
    )
}

fn visitors_text(batch: &[Message]) -> String {
    let visitor = |visitor: &Visitor| {
        let labels: Vec<String> =
            visitor.labels.iter().map(|(key, value)| format!("{{key: {key:?}, value: {value:?}}}")).collect();
        format!(
            "{{node: {:?}, name: {:?}, labels: [{}], health: unknown, approach: inbound}}",
            visitor.node.0,
            visitor.name,
            labels.join(", ")
        )
    };
    let rows: Vec<String> = visitors(batch).iter().map(visitor).collect();
    format!("[{}]", rows.join(", "))
}

fn room_text() -> String {
    format!(
        "{{messages: {}, bytes: {}, most-bytes: {}, most-messages-each: {}, most-bytes-each: {}}}",
        ROOM.messages, ROOM.bytes, ROOM.most_bytes, ROOM.most_messages_each, ROOM.most_bytes_each
    )
}

fn runs_text(batch: &[Message]) -> String {
    let of = runs(batch);
    record(&[
        column("dest", &of.dest),
        column("class", &of.class),
        column("messages", &of.messages),
        column("bytes", &of.bytes),
        column("age-ms", &of.age_ms),
        column("left-ms", &of.left_ms),
        column("is-own", &of.is_own),
        column("is-durable", &of.is_durable),
        column("waiting-messages", &of.waiting_messages),
        column("waiting-bytes", &of.waiting_bytes),
    ])
}
