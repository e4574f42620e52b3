//! What decisions and hand-overs cost here, measured; `meshctl bench plugin` prints it.
//!
//! Both sides of each ratio come from the same run, interleaved, and both pack their columns from message
//! headers and fold the answers, as the node does.

mod handler;
mod one;

pub use one::{CallRow, PluginBench, plugin};

use std::hint::black_box;
use std::time::{Duration, Instant};

use mesh_proto::NodeId;
use mesh_proto::policy::native::Native;
use mesh_proto::policy::{
    Approach, Asker, Candidates, CarryBatch, CarryRow, Class, LOCAL, MAX_VISITORS, Place, Policies, QosBatch,
    Room, RouteBatch, View, Visitor,
};
use mesh_proto::topology::hierarchy::MAX_CANDIDATES;

use crate::builtin;
use crate::call::CallError;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::load::{Grants, LoadError, load};
use crate::set::{PolicySet, PolicySlot, prepare, prepare_routing};
use crate::settings::Settings;
use crate::slot::{FaultRecord, PrepareError, SlotStatus, StartWith, State, SwapError};

/// Messages of a batch that are measured; candidates, visitors or runs, where those are decided on, and then as many
/// as a node puts into one call at most.
const BATCHES: [usize; 5] = [1, 16, 64, 256, 1024];
const ROUNDS: usize = 201;
/// Rounds of one comparison stop after this time, but not before there are enough for a median: interpreted plugins
/// take a thousand times as long.
const ROUNDS_FOR: Duration = Duration::from_secs(1);
const ROUNDS_LEAST: usize = 5;
/// Messages of one round, so that a round is long against the clock's own cost.
const ROUND_MESSAGES: usize = 8_192;
const SWAPS: usize = 200;
const NEIGHBOURS: u32 = 8;
const DESTINATIONS: u32 = 256;

/// The price of one decision.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchRow {
    /// `route`, `qos`, `topology`, `admission`, `carry` or `beacon`.
    pub slot: &'static str,
    /// Messages of a call; of a handler one event.
    pub batch: usize,
    /// Nanoseconds a message through the built-in component, median.
    pub wasm_ns_per_msg: f64,
    /// Nanoseconds a message through the native built-in, median; `None` for a handler, which has none.
    pub native_ns_per_msg: Option<f64>,
    /// What the component costs with a decision journal, as a multiple of what it costs without; both from a run of
    /// their own.
    pub journal_ratio: f64,
}

/// The price of one hand-over between two batches.
#[derive(Clone, Debug, PartialEq)]
pub struct SwapRow {
    /// Bytes of state that were carried.
    pub state_bytes: usize,
    /// Hand-overs that were measured.
    pub swaps: usize,
    /// Median microseconds that decisions waited.
    pub p50_us: f64,
    /// Most microseconds that decisions waited.
    pub max_us: f64,
    /// Most microseconds of the first batch after a hand-over, both together.
    pub max_with_first_batch_us: f64,
}

/// Why a measurement did not happen; a broken build.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A built-in component does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A built-in component cannot be prepared.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A hand-over failed.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// A single call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The component was not asked: the figures would be the native built-in's.
    #[error("the plugin in slot {slot} failed during the measurement: {why}")]
    FellBack {
        /// Which.
        slot: &'static str,
        /// What it failed of.
        why: Fault,
    },
}

/// Returns why a plugin was not what was measured. A call or two that were stopped at their deadline, because others had
/// the processor, are lost in thousands; the third such call ends the plugin's time in its slot.
fn failure(status: &SlotStatus) -> Option<Fault> {
    let is_late = |record: &&FaultRecord| matches!(record.fault, Fault::Deadline { .. });
    let mut faults = status.last_faults.iter();
    let found = match status.quarantined {
        Some(_) => faults.next(),
        None => faults.find(|record| !is_late(record)),
    };
    found.map(|record| record.fault.clone())
}

/// A message as the node has it before it packs its columns.
struct Message {
    dest: u32,
    ingress: u32,
    size: u32,
    class: Class,
    age_ms: u32,
    tag: u32,
}

/// Measures a decision of every slot for batches of 1 to 1,024, through the component and natively, and an event of the
/// handler. Takes seconds.
///
/// # Errors
/// When a built-in component fails.
pub fn policy(engine: &Engine) -> Result<Vec<BenchRow>, BenchError> {
    let messages = messages();
    let mut wasm = components(engine)?;
    let mut native = Native::default();
    let mut journalled = components(engine)?;
    journalled.keep_journal(crate::limits::JOURNAL_BYTES, 0);
    journalled.observe(0, &view());
    wasm.observe(0, &view());
    native.observe(0, &view());
    let mut rows = Vec::new();
    for slot in PolicySlot::ALL {
        for batch in sizes(slot, &BATCHES) {
            let [wasm_ns_per_msg, native_ns_per_msg] =
                compare(slot, batch, &messages, &mut wasm, &mut native);
            let [on, off] = compare(slot, batch, &messages, &mut journalled, &mut wasm);
            let journal_ratio = on / off.max(1e-9);
            let slot = slot.name();
            let native_ns_per_msg = Some(native_ns_per_msg);
            rows.push(BenchRow { slot, batch, wasm_ns_per_msg, native_ns_per_msg, journal_ratio });
        }
        if let Some(why) = failure(&wasm.status(slot)).or_else(|| failure(&journalled.status(slot))) {
            return Err(BenchError::FellBack { slot: slot.name(), why });
        }
    }
    rows.push(handler::journal(engine)?);
    Ok(rows)
}

/// Measures hand-overs of the routing slot with almost no state and with 64 KiB, each prepared ahead. Takes
/// seconds.
///
/// # Errors
/// When a built-in component fails.
pub fn swap(engine: &Engine) -> Result<Vec<SwapRow>, BenchError> {
    [8, 64 << 10].into_iter().map(|bytes| swap_with(engine, bytes)).collect()
}

fn components(engine: &Engine) -> Result<PolicySet, BenchError> {
    let none = Settings::new();
    let mut set = PolicySet::new(engine);
    let policies =
        [builtin::LATENCY, builtin::CLASS_FAIR, builtin::STEADY, builtin::GUEST_LIST, builtin::SHORT_MEMORY];
    for policy in policies {
        let loaded = load(engine, policy, Grants::NONE)?;
        set.swap(prepare(&loaded, &none)?, 0, StartWith::Reset)?;
    }
    Ok(set)
}

/// Returns the sizes that a call of this slot can have in a node.
fn sizes(slot: PolicySlot, sizes: &[usize]) -> Vec<usize> {
    let most = match slot {
        PolicySlot::Admission => MAX_VISITORS,
        PolicySlot::Topology => MAX_CANDIDATES,
        PolicySlot::Route | PolicySlot::Qos | PolicySlot::Carry => usize::MAX,
    };
    let mut sizes: Vec<usize> = sizes.iter().map(|&size| size.min(most)).collect();
    sizes.dedup();
    sizes
}

fn compare(
    slot: PolicySlot,
    batch: usize,
    messages: &[Message],
    one: &mut impl Policies,
    other: &mut impl Policies,
) -> [f64; 2] {
    in_turns(|| round(slot, batch, messages, one), || round(slot, batch, messages, other))
}

/// Times both sides in turns, so that a change of the machine's mood hits both.
fn in_turns(mut one: impl FnMut() -> f64, mut other: impl FnMut() -> f64) -> [f64; 2] {
    let mut times: [Vec<f64>; 2] = Default::default();
    let begun = Instant::now();
    while times[0].len() < ROUNDS && (times[0].len() < ROUNDS_LEAST || begun.elapsed() < ROUNDS_FOR) {
        times[0].push(one());
        times[1].push(other());
    }
    times.map(median)
}

/// Returns nanoseconds a message.
fn round(slot: PolicySlot, batch: usize, messages: &[Message], policies: &mut impl Policies) -> f64 {
    let (mut routes, mut verdicts) = (RouteBatch::default(), Vec::new());
    let (mut asked, mut classes) = (QosBatch::default(), Vec::new());
    let mut scores = Vec::new();
    let (mut admitted, mut worths) = (Vec::new(), Vec::new());
    let mut folded = 0u64;
    let begun = Instant::now();
    for chunk in messages.chunks_exact(batch) {
        match slot {
            PolicySlot::Route => {
                routes.clear();
                for message in chunk {
                    routes.push(message.dest, message.ingress, message.size, message.class);
                }
                policies.route(1, &routes, &mut verdicts);
                folded += verdicts.iter().map(|&verdict| u64::from(verdict)).sum::<u64>();
            }
            PolicySlot::Qos => {
                asked.clear();
                for message in chunk {
                    asked.push(message.class, message.size, message.age_ms, message.tag);
                }
                policies.classify(1, &asked, &mut classes);
                folded += classes.iter().map(|&class| u64::from(class)).sum::<u64>();
            }
            PolicySlot::Topology => {
                policies.score(1, &ASKER, &candidates(chunk), &mut scores);
                folded += scores.iter().map(|&score| u64::from(score)).sum::<u64>();
            }
            PolicySlot::Admission => {
                policies.admit(1, &PLACE, &visitors(chunk), &mut admitted);
                folded += admitted.iter().map(|&answer| u64::from(answer)).sum::<u64>();
            }
            PolicySlot::Carry => {
                policies.carry(1, &ROOM, &runs(chunk), &mut worths);
                folded += worths.iter().map(|&worth| u64::from(worth)).sum::<u64>();
            }
        }
    }
    let time = begun.elapsed();
    black_box(folded);
    let decided = messages.len() / batch * batch;
    time.as_nanos() as f64 / decided as f64
}

const ASKER: Asker =
    Asker { level: 0, mobility: 0, battery: 80, weights: [300, 300, 200, 200], max_distance_m: 10_000 };

/// As many candidates as there are messages, with columns made from them.
fn candidates(messages: &[Message]) -> Candidates {
    let bytes = |of: fn(&Message) -> u32, below: u32| -> Vec<u8> {
        messages.iter().map(|message| (of(message) % below) as u8).collect()
    };
    let column = |of: fn(&Message) -> u32| -> Vec<u32> { messages.iter().map(of).collect() };
    Candidates {
        node: (0..).take(messages.len()).collect(),
        level: bytes(|_| 1, 4),
        same_cell: bytes(|m| m.tag, 2),
        is_parent: bytes(|_| 0, 2),
        mobility: bytes(|m| m.tag, 3),
        battery: bytes(|m| m.size, 101),
        cpu_used: bytes(|m| m.age_ms, 80),
        memory_used: bytes(|m| m.dest, 80),
        cores: column(|m| m.size),
        memory_mb: column(|m| m.size),
        uplink_mbps: column(|m| m.size),
        distance_m: column(|m| m.age_ms),
        rtt_us: column(|m| m.age_ms),
        up_s: column(|m| m.size),
        children: column(|m| m.dest),
        max_children: column(|_| DESTINATIONS),
    }
}

const PLACE: Place = Place { links: 4, least: 4, most: 8, members: DESTINATIONS };

/// As many visitors as there are messages, each with a name and a label.
fn visitors(messages: &[Message]) -> Vec<Visitor> {
    let visitor = |message: &Message| Visitor {
        node: NodeId([message.dest as u8; 32]),
        name: format!("node-{}", message.dest),
        labels: vec![("region".to_owned(), "eu".to_owned())],
        health: None,
        approach: Approach::Inbound,
    };
    messages.iter().map(visitor).collect()
}

const ROOM: Room = Room {
    messages: 1_000,
    bytes: 1 << 20,
    most_bytes: 64 << 20,
    most_messages_each: 10_000,
    most_bytes_each: 16 << 20,
};

/// As many runs as there are messages, of one message each.
fn runs(messages: &[Message]) -> CarryBatch {
    let mut batch = CarryBatch::default();
    for message in messages {
        batch.push(CarryRow {
            dest: message.dest,
            class: message.class,
            messages: 1,
            bytes: message.size,
            age_ms: message.age_ms,
            left_ms: 60_000,
            is_own: message.ingress == LOCAL,
            is_durable: message.tag & 1 == 0,
            waiting_messages: message.dest,
            waiting_bytes: message.size,
        });
    }
    batch
}

fn swap_with(engine: &Engine, state_bytes: usize) -> Result<SwapRow, BenchError> {
    let none = Settings::new();
    let versions =
        [load(engine, builtin::LATENCY, Grants::NONE)?, load(engine, builtin::LATENCY_NEXT, Grants::NONE)?];
    let mut set = PolicySet::new(engine);
    set.observe(0, &wide_view(state_bytes));
    let state = State { version: 1, bytes: 0u64.to_le_bytes().to_vec() };
    set.swap(prepare_routing(&versions[0], &none)?, 0, StartWith::From(state))?;
    let mut batch = RouteBatch::default();
    messages().iter().take(64).for_each(|m| batch.push(m.dest, m.ingress, m.size, m.class));
    let mut verdicts = Vec::new();
    let (mut pauses, mut with_first_batch, mut carried) = (Vec::new(), Duration::ZERO, 0);
    for round in 1..=SWAPS {
        let next = prepare_routing(&versions[round % 2], &none)?;
        for _ in 0..16 {
            set.route(round as u64, &batch, &mut verdicts);
        }
        let begun = Instant::now();
        let report = set.swap(next, round as u64, StartWith::Keep)?;
        set.route(round as u64, &batch, &mut verdicts);
        with_first_batch = with_first_batch.max(begun.elapsed());
        carried = report.state_bytes;
        pauses.push(report.pause.as_nanos() as f64 / 1e3);
    }
    if let Some(why) = failure(&set.status(PolicySlot::Route)) {
        return Err(BenchError::FellBack { slot: "route", why });
    }
    Ok(SwapRow {
        state_bytes: carried,
        swaps: SWAPS,
        max_us: pauses.iter().copied().fold(0.0, f64::max),
        p50_us: median(pauses),
        max_with_first_batch_us: with_first_batch.as_nanos() as f64 / 1e3,
    })
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// Eight neighbours and two ways to each of 256 destinations.
fn view() -> View {
    ways_to(DESTINATIONS)
}

/// A view whose choices fill a state of about this many bytes; the built-in saves eight a destination.
fn wide_view(state_bytes: usize) -> View {
    ways_to(u32::try_from(state_bytes / 8 - 1).unwrap_or(u32::MAX))
}

fn ways_to(destinations: u32) -> View {
    let mut view = View::default();
    for row in 0..NEIGHBOURS {
        view.links.rtt_us.push(500 + 100 * row);
        view.links.loss_ppm.push(0);
        view.links.queued_bytes.push(0);
    }
    for dest in 0..destinations {
        let first = dest % NEIGHBOURS;
        let is_neighbour = dest < NEIGHBOURS;
        for (via, hops) in [(first, u8::from(!is_neighbour)), ((first + 1) % NEIGHBOURS, 2)] {
            view.ways.dest.push(dest);
            view.ways.via.push(via);
            view.ways.cost_us.push(u32::from(hops) * 1_000);
            view.ways.hops.push(hops);
        }
    }
    view
}

/// The same messages in every run.
fn messages() -> Vec<Message> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        // Xorshift: any numbers without a pattern do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u32
    };
    let message = |_| {
        let ingress = next() % (NEIGHBOURS + 1);
        Message {
            dest: next() % DESTINATIONS,
            ingress: if ingress == NEIGHBOURS { LOCAL } else { ingress },
            size: next() % 4_096,
            class: Class::ALL[(next() % 5) as usize],
            age_ms: next() % 10_000,
            tag: next(),
        }
    };
    (0..ROUND_MESSAGES).map(message).collect()
}
