//! The carry slot: what the shipped plugin keeps, and what hostile ones cost.

use mesh_plugin_host::journal::Event;
use mesh_plugin_host::journal::replay::{Against, replay};
use mesh_plugin_host::limits::JOURNAL_BYTES;
use mesh_plugin_host::trial::{CanaryPlan, Candidate, Plan, TrialError};
use mesh_plugin_host::{
    Fault, Grants, Loaded, OnFailure, PolicySet, PolicySlot, PreparedCarry, SlotState, StartWith, Terms,
    Value, builtin, limits, load, prepare_admission, prepare_carry,
};
use mesh_proto::policy::{CarryBatch, CarryRow, Clamp, Class, Overrule, Policies, Room};

use crate::guests::{engine, hostile, name, settings, story, text};

const SLOT: PolicySlot = PolicySlot::Carry;
const ROOM: Room = Room {
    messages: 10,
    bytes: 1_000,
    most_bytes: 1 << 20,
    most_messages_each: 100,
    most_bytes_each: 10_000,
};

fn run(class: Class) -> CarryRow {
    CarryRow {
        dest: 1,
        class,
        messages: 1,
        bytes: 100,
        age_ms: 0,
        left_ms: 3_600_000,
        is_own: false,
        is_durable: false,
        waiting_messages: 0,
        waiting_bytes: 0,
    }
}

/// A run of each class.
pub fn runs() -> CarryBatch {
    let mut batch = CarryBatch::default();
    Class::ALL.into_iter().for_each(|class| batch.push(run(class)));
    batch
}

/// What the hostile guest says to [`runs`] when it behaves.
pub const BEHAVES: [u8; 5] = [1, 2, 3, 4, 5];
/// What the native built-in says.
const NATIVE: [u8; 5] = [250, 200, 150, 100, 50];

pub fn ask(set: &mut PolicySet, now_ms: u64) -> Vec<u8> {
    let mut worths = vec![9; 9];
    set.carry(now_ms, &ROOM, &runs(), &mut worths);
    worths
}

fn bad() -> Loaded {
    load(&engine(), &hostile("carry"), Grants::NONE).expect("it loads")
}

fn prepared(loaded: &Loaded, mode: &str) -> PreparedCarry {
    prepare_carry(loaded, &settings([("mode", text(mode))])).expect("it passes its rehearsal")
}

fn short_memory() -> Loaded {
    load(&engine(), builtin::SHORT_MEMORY, Grants::NONE).expect("it is built in")
}

fn set_with(first: PreparedCarry) -> PolicySet {
    let mut set = PolicySet::new(&engine());
    set.swap(first, 0, StartWith::Reset).expect("the first one is taken");
    set.take_events();
    set
}

fn asked(set: &mut PolicySet) -> u32 {
    let state = set.peek_state(SLOT).unwrap().expect("a plugin is active");
    u32::from_le_bytes(*state.bytes.first_chunk().unwrap())
}

/// What it is given comes over in full: one column after another makes the answer differ.
#[test]
fn short_memory_refuses_by_each_column_that_its_author_sees() {
    let mild = settings([("least_class", text("normal")), ("most_age_s", Value::Integer(10))]);
    let mut set = PolicySet::new(&engine());
    assert_eq!(ask(&mut set, 0), NATIVE);
    set.swap(prepare_carry(&short_memory(), &mild).unwrap(), 0, StartWith::Keep).unwrap();
    let normal = run(Class::Normal);
    let table = [
        (normal, 105),
        (run(Class::Low), 0),
        (CarryRow { dest: 2, age_ms: 10_001, ..normal }, 0),
        (CarryRow { dest: 3, is_own: true, ..run(Class::Low) }, 55),
        (CarryRow { dest: 4, is_durable: true, ..run(Class::Bulk) }, 5),
        (CarryRow { dest: 5, left_ms: 0, ..normal }, 154),
        (CarryRow { dest: 6, bytes: 5_001, ..normal }, 0),
        (CarryRow { dest: 7, waiting_bytes: 4_901, ..normal }, 0),
        (CarryRow { dest: 8, waiting_bytes: 4_900, ..normal }, 105),
    ];
    let mut batch = CarryBatch::default();
    table.iter().for_each(|(row, _)| batch.push(*row));
    let mut worths = Vec::new();

    set.carry(1, &ROOM, &batch, &mut worths);

    assert_eq!(worths, table.map(|(_, want)| want));
    assert_eq!((set.decisions(SLOT), set.status(SLOT).fallbacks), (14, 0));
}

/// H04: what it remembers goes along, and back.
#[test]
fn state_survives_a_swap_and_a_rollback() {
    let mut set = set_with(prepared(&bad(), ""));
    ask(&mut set, 1);

    let open = Terms { on_failure: OnFailure::FailOpen, ..Terms::default() };
    let other = prepared(&bad(), "").with_terms(open).unwrap();
    let report = set.swap(other, 2, StartWith::Keep).unwrap();

    assert_eq!((report.slot, report.state_carried, report.at_decision), ("carry", true, 5));
    ask(&mut set, 3);
    assert_eq!(asked(&mut set), 10);
    set.rollback(SLOT, 4).unwrap();
    assert_eq!(asked(&mut set), 10);
}

/// W01, W05, W07, W10, W20: each costs an answer of whom the operator wants, and the third the slot.
#[test]
fn every_way_to_fail_costs_an_answer_and_the_third_the_slot() {
    type Is = fn(&Fault) -> bool;
    let table: [(&str, Is); 8] = [
        ("loop", |fault| *fault == Fault::Deadline { limit: limits::POLICY_CALL }),
        ("trap", |fault| matches!(fault, Fault::Trap { .. })),
        // Out of memory, or of time while it takes it; and so with an answer of megabytes.
        ("memory-bomb", |fault| matches!(fault, Fault::Trap { .. } | Fault::Deadline { .. })),
        ("short-answer", |fault| *fault == Fault::Rows { asked: 5, got: 4 }),
        ("long-answer", |fault| *fault == Fault::Rows { asked: 5, got: 6 }),
        ("no-answer", |fault| *fault == Fault::Rows { asked: 5, got: 0 }),
        ("huge-answer", |fault| matches!(fault, Fault::TooMuch { .. } | Fault::Deadline { .. })),
        ("huge-state", |fault| matches!(fault, Fault::StateTooLarge { .. } | Fault::Deadline { .. })),
    ];
    let modes =
        [(OnFailure::Fallback, NATIVE), (OnFailure::FailOpen, NATIVE), (OnFailure::FailClosed, [0; 5])];
    for ((mode, is_expected), (on_failure, instead)) in table.into_iter().zip(modes.into_iter().cycle()) {
        let terms = Terms { on_failure, ..Terms::default() };
        let mut set = set_with(prepared(&bad(), mode).with_terms(terms).unwrap());
        let mut calls = 0;
        while set.status(SLOT).quarantined.is_none() {
            calls += 1;
            assert!(calls <= 20, "{mode}: not quarantined");
            // A second apart, so that each answer is followed by a checkpoint.
            let worths = ask(&mut set, calls * 1_000);
            assert!(worths == instead || worths == BEHAVES, "{mode}: {worths:?}");
        }

        let status = set.status(SLOT);
        let fault = status.last_faults.first().expect("there was one").fault.clone();
        assert!(is_expected(&fault), "{mode}: {fault:?}");
        assert_eq!((status.faults, status.state), (3, SlotState::Quarantined), "{mode}");
        assert_eq!(name(status.quarantined.as_ref()), Some("hostile/carry 1.0.0".into()), "{mode}");
        assert_eq!(ask(&mut set, calls * 1_000 + 1), instead, "{mode}: while nobody is there");
        story(&mut set);
        set.resume(SLOT, calls * 1_000 + 2).unwrap();
        assert_eq!(story(&mut set), ["resumed"], "{mode}");
    }
    assert_eq!(set_with(prepared(&bad(), "")).status(SLOT).on_failure, OnFailure::Fallback);
}

#[test]
fn a_carry_plugin_fits_its_own_slot_only() {
    let error = prepare_admission(&short_memory(), &settings([])).expect_err("it is another kind");

    assert!(error.to_string().contains("carry"), "{error}");
}

/// W19: every decision can be made again, and what the host did instead stands beside it.
#[test]
fn what_was_decided_is_recorded_with_its_clamps_and_made_again() {
    let mut set = PolicySet::new(&engine());
    set.keep_journal(JOURNAL_BYTES, 0);
    set.swap(prepared(&bad(), "nothing"), 0, StartWith::Reset).unwrap();
    set.swap(prepare_carry(&short_memory(), &settings([])).unwrap(), 0, StartWith::Reset).unwrap();
    let mut worths = Vec::new();
    for turn in 0..40u32 {
        let mut batch = runs();
        batch.push(CarryRow { dest: turn, waiting_bytes: 300 * turn, ..run(Class::Normal) });
        set.carry(u64::from(turn) * 100, &Room { messages: turn.into(), ..ROOM }, &batch, &mut worths);
    }
    set.clamped(4_000, &[Clamp { rows: 5..6, applied: Overrule::Worth(1) }]);

    let page = set.journal_page(SLOT, 0, usize::MAX).unwrap();
    let known = |_: &mesh_plugin_host::journal::Binding| Some(short_memory());
    let short = &page.entries[page.entries.iter().position(|entry| entry.binding == 2).unwrap()..];
    let again = replay(SLOT, &page.bindings, short, Against::Recorded(&known)).unwrap();

    assert_eq!(worths[5], 0, "the share of its recipient is used up");
    assert!(again.is_equal(), "{again:?}");
    assert_eq!((again.calls, again.decisions, again.skipped), (40, 240, 0));
    let Some(Event::Clamp(clamp)) = page.entries.last().map(|entry| &entry.event) else { panic!("no clamp") };
    assert_eq!((clamp.of, clamp.row, clamp.rows, clamp.applied), (page.end - 2, 5, 1, 1));
}

#[test]
fn what_waits_has_no_flows_that_a_canary_could_have_a_share_of() {
    let mut set = set_with(prepared(&bad(), ""));
    let candidate = Candidate::new(&short_memory(), &settings([]), Terms::default()).unwrap();
    let canary = Plan { canary: Some(CanaryPlan { share: 5_000, for_ms: 1_000 }), ..Plan::default() };

    let refused = set.begin_trial(SLOT, vec![candidate], canary, 0);

    assert_eq!(refused, Err(TrialError::NoFlows { slot: "carry" }));
}
