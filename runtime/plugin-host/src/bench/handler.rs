//! Handlers, event by event, against the built-in beacon.

use std::hint::black_box;
use std::time::Instant;

use super::one::{CallRow, PluginBench, instructions, times};
use super::{BenchError, BenchRow, failure, in_turns};
use crate::builtin;
use crate::call::Call;
use crate::engine::Engine;
use crate::handler::{Event, HandlerSlot, Message, prepare_handler};
use crate::load::{Grants, Loaded, load};
use crate::sandbox::Kv;
use crate::settings::Settings;
use crate::slot::StartWith;

/// What every handler is asked, known or not: a timer that it may not have set, a message, a command.
const EVENTS: [&str; 3] = ["timer", "message", "command"];
const PAYLOAD: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Events of one round, as in the policies' rounds long against the clock's own cost.
const ROUND_EVENTS: u32 = 512;

/// Measures an event of the built-in beacon with a journal and without. A message that is not for it is the cheapest
/// event, so that the journal weighs most.
pub(super) fn journal(engine: &Engine) -> Result<BenchRow, BenchError> {
    let beacon = load(engine, builtin::BEACON, Grants::ALL)?;
    let none = Settings::new();
    let mut journalled = slot_with_journal(engine, &beacon, &none, crate::limits::JOURNAL_BYTES)?;
    let mut plain = slot(engine, &beacon, &none)?;
    let [on, off] = in_turns(|| round(&mut journalled), || round(&mut plain));
    if let Some(why) = failure(&journalled.status()).or_else(|| failure(&plain.status())) {
        return Err(BenchError::FellBack { slot: "beacon", why });
    }
    Ok(BenchRow {
        slot: "beacon",
        batch: 1,
        wasm_ns_per_msg: off,
        native_ns_per_msg: None,
        journal_ratio: on / off.max(1e-9),
    })
}

/// Returns nanoseconds an event.
fn round(slot: &mut HandlerSlot) -> f64 {
    let begun = Instant::now();
    for _ in 0..ROUND_EVENTS {
        black_box(slot.handle(1, 1, event("message")));
    }
    begun.elapsed().as_nanos() as f64 / f64::from(ROUND_EVENTS)
}

/// Measures a handler's answers to each kind of event.
pub(super) fn events(
    engine: &Engine,
    loaded: &Loaded,
    counted: &Loaded,
    settings: &Settings,
) -> Result<PluginBench, BenchError> {
    let mut own = slot(engine, loaded, settings)?;
    let mut beacon = slot(engine, &load(engine, builtin::BEACON, Grants::ALL)?, &Settings::new())?;
    let mut rows = Vec::new();
    for call in EVENTS {
        let ask = |slot: &mut HandlerSlot| {
            black_box(slot.handle(1, 1, event(call)));
        };
        let [p50_ns, p99_ns] = times(|| ask(&mut own));
        let [baseline_ns, _] = times(|| ask(&mut beacon));
        if let Some(why) = failure(&own.status()) {
            return Err(BenchError::FellBack { slot: "beacon", why });
        }
        let fuel = fuel(counted, settings, call)?;
        rows.push(CallRow {
            call,
            batch: 1,
            calls_per_s: 1e9 / p50_ns.max(1.0),
            p50_ns,
            p99_ns,
            fuel,
            baseline_ns,
        });
    }
    Ok(PluginBench { baseline: "built-in/beacon", rows, failed: None })
}

fn slot(engine: &Engine, loaded: &Loaded, settings: &Settings) -> Result<HandlerSlot, BenchError> {
    slot_with_journal(engine, loaded, settings, 0)
}

fn slot_with_journal(
    engine: &Engine,
    loaded: &Loaded,
    settings: &Settings,
    bytes: usize,
) -> Result<HandlerSlot, BenchError> {
    let mut slot = HandlerSlot::new(engine, [7; 32], "bench", Kv::new());
    if bytes > 0 {
        slot.keep_journal(bytes, 0);
    }
    slot.swap(prepare_handler(loaded, slot.identity(), settings)?, 0, StartWith::Reset)?;
    Ok(slot)
}

fn event(name: &str) -> Event {
    match name {
        "message" => Event::Message(Message {
            topic: "bench".into(),
            origin: [1; 32],
            id: [2; 32],
            payload: PAYLOAD.to_vec(),
            sent_ms: 0,
        }),
        "command" => Event::Command { name: "bench".into(), payload: PAYLOAD.to_vec() },
        _ => Event::Timer(0),
    }
}

fn fuel(counted: &Loaded, settings: &Settings, name: &str) -> Result<u64, BenchError> {
    let list = |bytes: &[u8]| format!("{bytes:?}");
    let event = match name {
        "message" => format!(
            "message({{topic: \"bench\", origin: {}, id: {}, payload: {}, sent-ms: 0}})",
            list(&[1; 32]),
            list(&[2; 32]),
            list(PAYLOAD)
        ),
        "command" => format!("command({{name: \"bench\", payload: {}}})", list(PAYLOAD)),
        _ => "timer(0)".to_owned(),
    };
    let args = vec!["1".into(), "1".into(), event];
    instructions(counted, settings, &[Call { function: "handle".into(), args }])
}
