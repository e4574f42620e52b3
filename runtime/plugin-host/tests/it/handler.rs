//! Handlers: effects happen together or not at all, and a bad one cannot ask for more than it may.

use mesh_plugin_host::handler::{Effect, Event, Failure, Handled, Message, Outcome};
use mesh_plugin_host::{
    Fault, Grants, HandlerSlot, Kv, PrepareError, SlotState, StartWith, builtin, limits, load,
    prepare_handler,
};

use crate::guests::{engine, hostile, settings, text};

fn slot_with(bytes: &[u8], kv: Kv) -> (HandlerSlot, Vec<Effect>) {
    let engine = engine();
    let loaded = load(&engine, bytes, Grants::ALL).unwrap();
    let mut slot = HandlerSlot::new(&engine, [1; 32], "ada", kv);
    let prepared = prepare_handler(&loaded, slot.identity(), &settings([])).unwrap();
    let (_, effects) = slot.swap(prepared, 0, StartWith::Keep).unwrap();
    (slot, effects)
}

fn command(slot: &mut HandlerSlot, now_ms: u64, name: &str, payload: &str) -> Handled {
    let event = Event::Command { name: name.into(), payload: payload.as_bytes().to_vec() };
    slot.handle(now_ms, 1, event)
}

fn reply(handled: Handled) -> String {
    let Outcome::Done(effects) = handled.outcome else { panic!("{handled:?}") };
    let reply = effects.into_iter().find_map(|effect| match effect {
        Effect::Reply(bytes) => Some(String::from_utf8(bytes).unwrap()),
        _ => None,
    });
    reply.expect("a command is answered")
}

/// PM-86, PM-87: two beacon handlers hear each other through the host.
#[test]
fn a_beacon_is_composed_on_one_node_and_seen_entering_on_another() {
    let (mut ada, effects) = slot_with(builtin::BEACON, Kv::new());
    let timers: Vec<u32> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::SetTimer { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(timers, [1, 2]);
    assert!(effects.contains(&Effect::Subscribe("mesh/beacon".into())));
    reply(command(&mut ada, 0, "set-position", r#"{"lat": 52.52, "lon": 13.405}"#));
    let mut bo = HandlerSlot::new(&engine(), [2; 32], "bo", Kv::new());
    let loaded = load(&engine(), builtin::BEACON, Grants::ALL).unwrap();
    let prepared = prepare_handler(&loaded, bo.identity(), &settings([])).unwrap();
    bo.swap(prepared, 0, StartWith::Keep).unwrap();

    let Outcome::Done(effects) = ada.handle(5_000, 3, Event::Timer(1)).outcome else { panic!() };
    let Some(Effect::Publish { topic, payload, .. }) =
        effects.into_iter().find(|effect| matches!(effect, Effect::Publish { .. }))
    else {
        panic!("it has a position")
    };
    let message = Message { topic, origin: [1; 32], id: [9; 32], payload, sent_ms: 5_000 };
    let heard = bo.handle(5_001, 4, Event::Message(message)).outcome;

    let Outcome::Done(effects) = heard else { panic!("{heard:?}") };
    assert!(matches!(&effects[..], [Effect::Notify { kind, .. }] if kind == "beacon-entered"), "{effects:?}");
    assert!(reply(command(&mut bo, 5_002, "list", "")).contains("\"name\":\"ada\""));
}

#[test]
fn what_a_handler_puts_aside_is_there_for_the_next_instance() {
    let (mut slot, _) = slot_with(builtin::BEACON, Kv::new());
    let handled = command(&mut slot, 0, "set-position", r#"{"lat": 1, "lon": 2}"#);
    let Outcome::Done(effects) = handled.outcome else { panic!("{handled:?}") };
    let kv: Kv = effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Put { key, value } => Some((key, value)),
            _ => None,
        })
        .collect();

    let (mut restarted, _) = slot_with(builtin::BEACON, kv);

    assert_eq!(reply(command(&mut restarted, 0, "near", "")), r#"{"beacons":[],"left_out":0}"#);
}

#[test]
fn a_declined_command_is_no_fault() {
    let (mut slot, _) = slot_with(builtin::BEACON, Kv::new());

    let declined = command(&mut slot, 0, "fly", "").outcome;

    assert_eq!(declined, Outcome::Declined(Failure::UnknownCommand("fly".into())));
    assert_eq!(slot.status().faults, 0);
}

#[test]
fn an_event_above_the_limit_is_declined_without_asking() {
    let (mut slot, _) = slot_with(&hostile("handler"), Kv::new());

    let declined = command(&mut slot, 0, "echo", &"x".repeat(limits::EVENT_BYTES + 1)).outcome;

    assert!(matches!(declined, Outcome::Declined(Failure::BadInput(_))), "{declined:?}");
    assert_eq!(slot.status().calls, 0);
}

/// W01, W04, W07, W08 for handlers.
#[test]
fn every_effect_that_a_handler_may_not_have_voids_the_whole_call() {
    let effect = |effect, reason| Some(Fault::Effect { effect, reason });
    for (name, want) in [
        ("many-effects", effect("list", "has too many entries")),
        ("large-effect", effect("publish", "carries more than 64 KiB")),
        ("two-replies", effect("reply", "comes more than once")),
        ("empty-name", effect("subscribe", "has an empty name")),
        ("fill-store", effect("put", "fills the store beyond its quota")),
        ("loop", Some(Fault::Deadline { limit: limits::HANDLER_CALL })),
        ("trap", None),
        ("ask-often", None),
    ] {
        let (mut slot, _) = slot_with(&hostile("handler"), Kv::new());

        let handled = command(&mut slot, 0, name, "");

        assert_eq!(handled.outcome, Outcome::Failed, "{name}");
        assert_eq!(handled.restart, Some(vec![Effect::Subscribe("hostile".into())]), "{name}");
        let status = slot.status();
        let fault = &status.last_faults[0].fault;
        let is_trap = matches!(fault, Fault::Trap { .. });
        assert!(want.as_ref().map_or(is_trap, |want| want == fault), "{name}: {fault:?}");
        assert_eq!(reply(command(&mut slot, 0, "get", "")), "", "{name}: nothing was put");
    }
}

#[test]
fn a_reply_to_a_timer_is_a_fault() {
    let (mut slot, _) = slot_with(&hostile("handler"), Kv::new());

    let handled = slot.handle(0, 0, Event::Timer(1));

    assert_eq!(handled.outcome, Outcome::Failed);
}

#[test]
fn the_third_fault_quarantines_a_handler_and_the_slot_stays_silent() {
    let (mut slot, _) = slot_with(&hostile("handler"), Kv::new());
    for now_ms in 0..3 {
        command(&mut slot, now_ms, "trap", "");
    }

    assert_eq!(slot.status().state, SlotState::Quarantined);
    assert_eq!(command(&mut slot, 4, "echo", "x").outcome, Outcome::Failed);
}

#[test]
fn a_timer_never_fires_sooner_than_the_host_allows() {
    let (mut slot, _) = slot_with(&hostile("handler"), Kv::new());

    let handled = command(&mut slot, 0, "fast-timer", "");

    let Outcome::Done(effects) = handled.outcome else { panic!("{handled:?}") };
    assert_eq!(effects[0], Effect::SetTimer { id: 1, after_ms: 10 });
}

#[test]
fn reads_see_what_earlier_calls_put() {
    let (mut slot, _) = slot_with(&hostile("handler"), Kv::new());

    command(&mut slot, 0, "put", "");

    assert_eq!(reply(command(&mut slot, 0, "get", "")), "\u{7}\u{7}\u{7}");
}

#[test]
fn a_flood_of_log_lines_harms_nobody() {
    let (mut slot, _) = slot_with(&hostile("handler"), Kv::new());

    let handled = command(&mut slot, 0, "log-often", "");

    assert!(matches!(handled.outcome, Outcome::Done(_)), "{handled:?}");
}

#[test]
fn configure_may_subscribe_and_set_timers_and_nothing_else() {
    let engine = engine();
    let loaded = load(&engine, &hostile("handler"), Grants::ALL).unwrap();
    let slot = HandlerSlot::new(&engine, [1; 32], "ada", Kv::new());

    let mode = settings([("mode", text("publish-in-configure"))]);
    let refused = prepare_handler(&loaded, slot.identity(), &mode);

    assert!(matches!(refused, Err(PrepareError::Failed(Fault::Effect { .. }))), "{refused:?}");
}
