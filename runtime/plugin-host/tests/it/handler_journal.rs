//! The journal of a handler: what it was told is told again, and what came of it is the same, to the bit. Features
//! part 4, number 3.

use std::collections::BTreeMap;

use mesh_plugin_host::handler::{Effect, Event, Message, Outcome};
use mesh_plugin_host::journal::replay::{Against, Replay, ReplayError, replay};
use mesh_plugin_host::journal::{
    Began, Binding, By, Came, Entry, Event as Noted, Handled, Page, Payload, Start, Told, With,
};
use mesh_plugin_host::limits::{
    EFFECTS, EVENT_BYTES, JOURNAL_BYTES, JOURNAL_KV_BYTES, JOURNAL_PAYLOAD_BYTES, KV_KEYS, NAME_BYTES,
};
use mesh_plugin_host::{
    Grants, HandlerSlot, Kind, Kv, Loaded, Settings, StartWith, builtin, load, prepare_handler,
};

use crate::guests::{engine, hostile, settings, text};

fn loaded(bytes: &[u8]) -> Loaded {
    load(&engine(), bytes, Grants::ALL).unwrap()
}

fn known(binding: &Binding) -> Option<Loaded> {
    let mut all = [loaded(builtin::BEACON), loaded(&hostile("handler"))].into_iter();
    all.find(|loaded| loaded.revision().digest_text() == binding.revision)
}

fn journalled(bytes: &[u8], kv: Kv, journal: usize) -> HandlerSlot {
    let mut slot = HandlerSlot::new(&engine(), [1; 32], "ada", kv);
    slot.keep_journal(journal, 0);
    bind(&mut slot, bytes, 0);
    slot
}

fn bind(slot: &mut HandlerSlot, bytes: &[u8], now_ms: u64) {
    let ready = prepare_handler(&loaded(bytes), slot.identity(), &settings([])).unwrap();
    slot.swap(ready, now_ms, StartWith::Reset).unwrap();
}

fn command(slot: &mut HandlerSlot, now_ms: u64, name: &str, payload: impl Into<Vec<u8>>) -> Outcome {
    slot.handle(now_ms, now_ms, Event::Command { name: name.into(), payload: payload.into() }).outcome
}

/// What bo's beacon says, heard by ada.
fn heard(now_ms: u64) -> Event {
    let mut bo = HandlerSlot::new(&engine(), [2; 32], "bo", Kv::new());
    bind(&mut bo, builtin::BEACON, 0);
    let Outcome::Done(effects) = command(&mut bo, now_ms, "set-position", r#"{"lat": 52.52, "lon": 13.405}"#)
    else {
        panic!("it takes a position")
    };
    let published = effects.into_iter().find_map(|effect| match effect {
        Effect::Publish { topic, payload, .. } => Some((topic, payload)),
        _ => None,
    });
    let (topic, payload) = published.expect("it has a position");
    Event::Message(Message { topic, origin: [2; 32], id: [9; 32], payload, sent_ms: now_ms })
}

/// A life of a beacon: a position in its store, timers with randomness, what it hears in its state, a command that it
/// declines.
fn live(slot: &mut HandlerSlot, from_ms: u64) {
    let place = r#"{"lat": 52.52, "lon": 13.405, "note": "the secret garden"}"#;
    assert!(matches!(command(slot, from_ms, "set-position", place), Outcome::Done(_)));
    let message = heard(from_ms);
    for turn in 1..30u64 {
        let now_ms = from_ms + 300 * turn;
        let event = match turn % 5 {
            0 => message.clone(),
            1 => Event::Timer(2),
            2 => Event::Command { name: "list".into(), payload: Vec::new() },
            3 => Event::Command { name: "fly".into(), payload: b"away".to_vec() },
            _ => Event::Timer(1),
        };
        slot.handle(now_ms, turn * 7, event);
    }
}

fn page(slot: &HandlerSlot) -> Page {
    slot.journal_page(0, usize::MAX).unwrap()
}

fn again(page: &Page, against: Against<'_>) -> Result<Replay, ReplayError> {
    replay(Kind::Handler, &page.bindings, &page.entries, against)
}

fn calls(page: &Page) -> Vec<&Handled> {
    let entries = page.entries.iter();
    entries
        .filter_map(|entry| match &entry.event {
            Noted::Handle(call) => Some(call),
            _ => None,
        })
        .collect()
}

#[test]
fn the_same_handler_answers_the_same_again_with_its_store_its_timers_and_its_state() {
    let stored = Kv::from([("note".to_owned(), b"from before".to_vec())]);
    let mut slot = journalled(builtin::BEACON, stored, JOURNAL_BYTES);
    live(&mut slot, 1_000);
    bind(&mut slot, builtin::BEACON, 10_000);
    live(&mut slot, 11_000);

    let page = page(&slot);
    let replayed = again(&page, Against::Recorded(&known)).unwrap();

    assert!(replayed.is_equal(), "{replayed:?}");
    assert_eq!((replayed.calls, replayed.decisions, replayed.skipped), (60, 60, 0));
    assert!(replayed.states > 5, "{}", replayed.states);
    let effects = |call: &Handled| if let Came::Effects(effects) = &call.came { effects.len() } else { 0 };
    assert!(calls(&page).iter().map(|call| effects(call)).sum::<usize>() > 50);
    assert!(calls(&page).iter().all(|call| call.told.by == By::Plugin && call.told.cost_ns.is_some()));
    let text = serde_json::to_string(&page).unwrap();
    assert_eq!(serde_json::from_str::<Page>(&text).unwrap(), page, "it is read as it was written");
}

/// What the handler reads comes from its own effects, and not from the end of the record.
#[test]
fn a_value_is_read_again_as_it_was_at_that_time() {
    let mut slot = journalled(&hostile("handler"), Kv::new(), JOURNAL_BYTES);
    for (now_ms, name) in ["get", "put", "get", "echo"].into_iter().enumerate() {
        command(&mut slot, now_ms as u64, name, "x");
    }
    let page = page(&slot);

    let replayed = again(&page, Against::Recorded(&known)).unwrap();

    assert!(replayed.is_equal() && replayed.calls == 4, "{replayed:?}");
    let replies: Vec<u64> = calls(&page)
        .iter()
        .filter_map(|call| match &call.came {
            Came::Effects(effects) => effects.iter().find_map(|effect| match effect {
                Effect::Reply(payload) => Some(payload.len()),
                _ => None,
            }),
            _ => None,
        })
        .collect();
    assert_eq!(replies, [0, 0, 3, 1]);
}

#[test]
fn another_handler_shows_which_events_it_would_have_answered_otherwise() {
    let mut slot = journalled(builtin::BEACON, Kv::new(), JOURNAL_BYTES);
    live(&mut slot, 1_000);
    let page = page(&slot);
    let beacon = loaded(builtin::BEACON);
    let elsewhere: Settings = settings([("topic", text("elsewhere"))]);

    let same = again(&page, Against::Candidate(&beacon, &settings([]))).unwrap();
    let other = again(&page, Against::Candidate(&beacon, &elsewhere)).unwrap();
    let wrong = again(&page, Against::Candidate(&loaded(builtin::LATENCY), &elsewhere));

    assert!(same.is_equal(), "{same:?}");
    // It publishes once with its position, and with each of the timers that come round.
    assert!((2..10).contains(&other.differing), "{other:?}");
    assert_eq!((other.calls, other.faults), (30, 0));
    let example = &other.examples[0];
    assert!(example.recorded.starts_with("publish mesh/beacon low 30000 ms "), "{example:?}");
    assert!(example.replayed.starts_with("publish elsewhere low 30000 ms "), "{example:?}");
    let inputs = format!("{:?}", example.inputs);
    assert!(inputs.contains("set-position") && inputs.contains("secret garden"), "{inputs}");
    assert!(matches!(wrong, Err(ReplayError::WrongKind { .. })), "{wrong:?}");
}

#[test]
fn a_recording_without_payloads_has_no_byte_of_them_and_says_why_it_cannot_be_replayed() {
    let mut slot = journalled(builtin::BEACON, Kv::new(), JOURNAL_BYTES);
    live(&mut slot, 1_000);
    let number = slot.anchor_journal(9_999).unwrap();
    let open = serde_json::to_string(&page(&slot)).unwrap();
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(open.contains(&hex("secret garden")));

    let mut page = page(&slot);
    page.hide_payloads();
    let hidden = serde_json::to_string(&page).unwrap();
    let refused = again(&page, Against::Recorded(&known));

    for word in ["secret garden", "52.52", "13.405", "away"] {
        assert!(!hidden.contains(&hex(word)) && !hidden.contains(word), "{word}");
    }
    assert!(hidden.contains("set-position") && hidden.contains("mesh/beacon"), "names stay");
    assert!(matches!(refused, Err(ReplayError::Hidden(_))), "{refused:?}");
    page.entries.retain(|entry| entry.number >= number);
    let refused = again(&page, Against::Recorded(&known));
    assert!(matches!(refused, Err(ReplayError::Hidden(first)) if first == number), "{refused:?}");
}

/// Timers carry nothing: what there is no need to hide can be replayed, and hashes are compared with bytes.
#[test]
fn what_came_of_an_event_is_compared_by_its_hash() {
    let mut slot = journalled(builtin::BEACON, Kv::new(), JOURNAL_BYTES);
    for turn in 0..5 {
        command(&mut slot, turn, "list", "");
    }
    let mut page = page(&slot);
    page.entries.retain(|entry| !matches!(&entry.event, Noted::Start(start) if start.with == With::Anchor));
    (0..).zip(&mut page.entries).for_each(|(number, entry)| entry.number = number);
    page.hide_payloads();

    let same = again(&page, Against::Recorded(&known)).unwrap();
    let call = page.entries.iter_mut().find_map(|entry| match &mut entry.event {
        Noted::Handle(call) => Some(call),
        _ => None,
    });
    let Came::Effects(effects) = &mut call.unwrap().came else { panic!("it replies") };
    effects[0] = Effect::Reply(Payload::Hash { len: 7, blake3: [7; 32] });
    let other = again(&page, Against::Recorded(&known)).unwrap();

    assert!(same.is_equal() && same.calls == 5, "{same:?}");
    assert_eq!((other.differing, other.examples[0].recorded.as_str()), (1, "reply 7 B 07070707"));
    assert!(
        !other.examples[0].replayed.contains("beacons"),
        "the replay does not show what the record hides"
    );
}

#[test]
fn a_fault_comes_again_and_a_silent_slot_is_not_asked() {
    let mut slot = journalled(&hostile("handler"), Kv::new(), JOURNAL_BYTES);
    for (now_ms, name) in ["put", "trap", "get", "trap", "fill-store", "get"].into_iter().enumerate() {
        command(&mut slot, now_ms as u64, name, "");
    }
    let page = page(&slot);

    let replayed = again(&page, Against::Recorded(&known)).unwrap();

    let by: Vec<By> = calls(&page).iter().map(|call| call.told.by).collect();
    assert_eq!(
        by,
        [By::Plugin, By::FallbackFault, By::Plugin, By::FallbackFault, By::FallbackFault, By::FallbackAbsent]
    );
    assert!(replayed.is_equal() && replayed.faults == 0, "{replayed:?}");
    assert_eq!((replayed.calls, replayed.skipped), (5, 1));
}

#[test]
fn what_is_larger_than_the_journal_keeps_has_its_hash_and_the_replay_goes_on_behind_it() {
    let mut slot = journalled(&hostile("handler"), Kv::new(), JOURNAL_BYTES);
    let large = vec![1; JOURNAL_PAYLOAD_BYTES + 1];
    command(&mut slot, 1, "echo", "small");
    command(&mut slot, 2, "get", large.clone());
    command(&mut slot, 2_000, "echo", vec![2; JOURNAL_PAYLOAD_BYTES]);
    slot.anchor_journal(3_000);
    command(&mut slot, 4_000, "echo", "x");
    let page = page(&slot);

    let replayed = again(&page, Against::Recorded(&known)).unwrap();

    let Event::Command { payload, .. } = &calls(&page)[1].asked else { panic!("it was a command") };
    assert_eq!((payload.len(), payload.bytes()), (large.len() as u64, None));
    assert!(replayed.is_equal(), "{replayed:?}");
    assert_eq!((replayed.calls, replayed.skipped), (2, 2), "the state was saved after the third one");
}

#[test]
fn the_journal_keeps_its_bounds_and_is_replayed_from_a_saved_state() {
    let mut slot = journalled(builtin::BEACON, Kv::new(), 64 << 10);
    for round in 0..40 {
        live(&mut slot, 1_000 + 10_000 * round);
    }

    let extent = slot.journal_extent().unwrap();
    let replayed = again(&page(&slot), Against::Recorded(&known)).unwrap();

    assert!(extent.dropped > 100 && extent.entries > 20, "{extent:?}");
    assert!(replayed.is_equal() && replayed.skipped < 20, "{replayed:?}");
}

/// A store that is too large to be written down is no place to begin.
#[test]
fn a_replay_does_not_begin_where_the_store_is_not_known() {
    let value = || vec![5; 60 << 10];
    let stored: Kv = (0..JOURNAL_KV_BYTES / (60 << 10) + 1).map(|key| (key.to_string(), value())).collect();
    let mut slot = journalled(&hostile("handler"), stored, JOURNAL_BYTES);
    command(&mut slot, 1, "get", "");
    slot.anchor_journal(2);
    command(&mut slot, 3, "get", "");

    let replayed = again(&page(&slot), Against::Recorded(&known)).unwrap();

    assert_eq!((replayed.calls, replayed.skipped), (0, 2), "{replayed:?}");
}

/// It was made ready before its predecessor wrote: it has read what is not in the store any more.
#[test]
fn an_instance_that_read_its_store_before_it_was_changed_is_known_from_its_first_saved_state_on() {
    let mut slot = journalled(builtin::BEACON, Kv::new(), JOURNAL_BYTES);
    let ready = prepare_handler(&loaded(builtin::BEACON), slot.identity(), &settings([])).unwrap();
    command(&mut slot, 1, "set-position", r#"{"lat": 1, "lon": 2}"#);
    slot.swap(ready, 2, StartWith::Reset).unwrap();
    command(&mut slot, 3, "near", "");
    command(&mut slot, 2_000, "near", "");

    let replayed = again(&page(&slot), Against::Recorded(&known)).unwrap();

    assert!(replayed.is_equal(), "{replayed:?}");
    assert_eq!((replayed.calls, replayed.skipped), (2, 1));
}

/// What a stranger wrote into a file must not end the program that reads it.
#[test]
fn an_entry_that_no_handler_was_given_is_refused_by_its_number() {
    let told = Told { by: By::Plugin, cost_ns: None };
    let handle = |asked, came| Noted::Handle(Handled { told, seed: 0, asked, came });
    let name = "x".repeat(NAME_BYTES + 1);
    let none = || Payload::Hex(Vec::new());
    let long = Event::Command { name: name.clone(), payload: none() };
    let large = Event::Command { name: "x".into(), payload: Payload::Hex(vec![0; EVENT_BYTES + 1]) };
    let (origin, id, sent_ms) = ([0; 32], [0; 32], 0);
    let topic = Event::Message(Message { topic: name.clone(), origin, id, payload: none(), sent_ms });
    let many = Came::Effects(vec![Effect::Forget("x".into()); EFFECTS + 1]);
    let start = |name: String, kv: BTreeMap<String, Payload>| {
        let handler = Some(Began { node: [1; 32], name, kv: Some(kv), state: None });
        Noted::Start(Start { with: With::Nothing, version: 0, state: Vec::new(), handler })
    };
    let keys = (0..=KV_KEYS).map(|key| (key.to_string(), none())).collect();
    let huge = Payload::Hash { len: u64::MAX, blake3: [0; 32] };
    let two = BTreeMap::from([("a".to_owned(), huge.clone()), ("b".to_owned(), huge)]);
    let bindings = page(&journalled(builtin::BEACON, Kv::new(), JOURNAL_BYTES)).bindings;

    for event in [
        handle(long, Came::Nothing),
        handle(large, Came::Nothing),
        handle(topic, Came::Nothing),
        handle(Event::Timer(1), many),
        start(name, BTreeMap::new()),
        start("x".into(), keys),
        start("x".into(), two),
    ] {
        let entries = [Entry { number: u64::MAX, now_ms: 1, binding: 1, event }];

        let refused = replay(Kind::Handler, &bindings, &entries, Against::Recorded(&known));

        assert!(matches!(refused, Err(ReplayError::NotWhole(u64::MAX))), "{refused:?}");
    }
    // Nor may the call of another slot.
    let mut page = page(&journalled(builtin::BEACON, Kv::new(), JOURNAL_BYTES));
    let number = page.entries.len() as u64;
    let event = handle(Event::Timer(1), Came::Nothing);
    page.entries.push(Entry { number, now_ms: 1, binding: page.bindings.last().unwrap().binding, event });
    let policy = replay(Kind::Qos, &page.bindings, &page.entries, Against::Recorded(&known));
    assert!(matches!(policy, Err(ReplayError::Prepare { .. })), "{policy:?}");
}
