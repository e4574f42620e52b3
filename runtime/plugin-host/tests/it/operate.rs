//! What an operator does to slots, and what he learns of failures. All in the caller's time. W08, W20, PM-152.

use std::time::Duration;

use mesh_hostile::{Shape, encode};
use mesh_plugin_host::handler::{Event, HandlerSlot, Outcome};
use mesh_plugin_host::{
    BadLimit, Change, Fault, Grants, Lowered, OnFailure, OperateError, PolicySet, PolicySlot,
    PreparedRouting, Sentence, SlotState, StartWith, SwapError, Terms, Value, builtin, limits, load,
    prepare_handler, prepare_qos, prepare_routing, prepare_topology,
};
use mesh_proto::policy::{ABSTAIN, Class, DROP, HOLD, MAX_SCORE, Policies, QosBatch, RouteBatch, TOPIC_BIT};

use crate::guests::{
    NATIVE, ask, counter, engine, good, hostile, name, prepared, set_with, settings, story, text, view,
};
use crate::topology::{ASKER, candidates};

const ROUTE: PolicySlot = PolicySlot::Route;

fn on_failure(mode: OnFailure) -> Terms {
    Terms { on_failure: mode, ..Terms::default() }
}

fn faulty(works_for: i64) -> PreparedRouting {
    let loaded = load(&engine(), builtin::FAULTY, Grants::NONE).unwrap();
    prepare_routing(&loaded, &settings([("works_for", Value::Integer(works_for))])).unwrap()
}

/// Asks until a revision is quarantined; returns when, by the caller's clock.
fn wear_out(set: &mut PolicySet, from_ms: u64) -> u64 {
    (from_ms..from_ms + 100)
        .find(|&now_ms| {
            ask(set, now_ms, 1);
            set.status(ROUTE).state == SlotState::Quarantined
        })
        .expect("it fails within a hundred calls")
}

/// W08: what a panicking guest says reaches the operator, without an import to say it with.
#[test]
fn a_trap_is_kept_with_the_panic_message_the_stack_and_the_digest_of_its_input() {
    let mut set = set_with(faulty(5));
    set.observe(0, &view());

    // Two rows at a time, and at the third call there is one left of five.
    for now_ms in [1, 1, 1, 2, 2, 2, 2, 2, 2] {
        ask(&mut set, now_ms, 2);
    }

    let faults = set.status(ROUTE).last_faults;
    assert_eq!(faults.len(), 3);
    for fault in &faults {
        let panic = fault.post_mortem.panic.as_deref().unwrap();
        assert!(panic.starts_with("faulty has done its work at ") && panic.contains("lib.rs:"), "{panic}");
        let frames = &fault.post_mortem.frames;
        assert!(fault.post_mortem.has_names && frames.iter().any(|f| f.ends_with("#decide")), "{frames:?}");
    }
    let inputs: Vec<[u8; 32]> = faults.iter().map(|fault| fault.input.unwrap()).collect();
    assert!(inputs[0] == inputs[1] && inputs[1] != inputs[2], "equal calls, equal digests: newest first");
}

#[test]
fn a_guest_that_leaves_no_note_is_reported_in_the_words_of_the_engine() {
    let mut set = set_with(prepared("overflow-decide", 0));

    ask(&mut set, 1, 1);

    let fault = set.status(ROUTE).last_faults.remove(0);
    assert_eq!(fault.post_mortem.panic, None);
    assert!(fault.fault.to_string().starts_with("it trapped: wasm trap: out of bounds"), "{}", fault.fault);
    assert_eq!(fault.post_mortem.frames.len(), 16, "of thousands");
    assert!(!fault.post_mortem.has_names, "it is built without a name section");
}

#[test]
fn a_paused_slot_is_answered_by_the_built_in_and_goes_on_with_its_state() {
    let mut set = set_with(good());
    ask(&mut set, 1, 5);

    set.pause(ROUTE, 2).unwrap();

    assert_eq!(set.pause(ROUTE, 2), Err(OperateError::Paused));
    let way = ask(&mut set, 3, 7);
    assert_ne!(way, 0, "the policy would have answered row 0");
    let status = set.status(ROUTE);
    assert_eq!((status.paused, status.state, status.fallbacks), (true, SlotState::Active, 7));
    assert_eq!(counter(&mut set), 5);
    set.resume(ROUTE, 4).unwrap();
    assert_eq!(ask(&mut set, 5, 4), 0);
    assert_eq!(counter(&mut set), 9);
    assert_eq!(set.resume(ROUTE, 6), Err(OperateError::NothingToResume));
    assert_eq!(story(&mut set), ["resumed"]);
    let said: Vec<String> = set.log_after(ROUTE, 0).into_iter().map(|line| line.text).collect();
    assert!(
        said[said.len() - 2].ends_with("is paused") && said[said.len() - 1].ends_with("goes on"),
        "{said:?}"
    );
}

#[test]
fn nothing_can_be_paused_where_the_native_built_in_decides() {
    let mut set = PolicySet::new(&engine());

    assert_eq!(set.pause(PolicySlot::Qos, 0), Err(OperateError::NoPlugin));
    assert_eq!(set.set_terms(PolicySlot::Qos, 0, Terms::default()), Err(OperateError::NoPlugin));
}

#[test]
fn a_swap_ends_a_pause() {
    let mut set = set_with(good());
    set.pause(ROUTE, 1).unwrap();

    set.swap(good(), 2, StartWith::Keep).unwrap();

    assert!(!set.status(ROUTE).paused);
    assert_eq!(ask(&mut set, 3, 1), 0);
}

#[test]
fn a_quarantine_ends_by_itself_each_time_after_twice_as_long() {
    let mut set = set_with(good());
    set.swap(faulty(5), 0, StartWith::Reset).unwrap();
    let mut now_ms = wear_out(&mut set, 1_000);
    let mut waits = Vec::new();
    for _ in 0..3 {
        let until = set.status(ROUTE).retry_at_ms.unwrap();
        waits.push(until - now_ms);
        set.look(until - 1);
        assert_eq!(set.status(ROUTE).state, SlotState::Quarantined, "not a moment before");
        set.look(until);
        assert_eq!(name(set.status(ROUTE).active.as_ref()), Some("built-in/faulty 0.1.0".into()));
        now_ms = wear_out(&mut set, until);
    }

    let first = limits::QUARANTINE_FIRST_MS;
    assert_eq!(waits, [first, 2 * first, 4 * first]);
    assert_eq!(story(&mut set).iter().filter(|what| **what == "back by itself").count(), 3);
    assert_eq!(ask(&mut set, now_ms, 1), 0, "the last good one is back each time");
}

#[test]
fn a_quarantine_is_for_good_after_too_many_and_forgotten_after_a_good_while() {
    let mut set = set_with(good());
    set.swap(faulty(5), 0, StartWith::Reset).unwrap();
    wear_out(&mut set, 0);
    while let Some(until) = set.status(ROUTE).retry_at_ms {
        set.look(until);
        wear_out(&mut set, until);
    }
    assert_eq!(set.status(ROUTE).quarantines, u64::from(limits::QUARANTINE_TRIES) + 1);
    set.look(u64::MAX / 2);
    assert_eq!(set.status(ROUTE).state, SlotState::Quarantined);

    let now_ms = u64::MAX / 2;
    set.resume(ROUTE, now_ms).unwrap();
    let now_ms = now_ms + limits::QUARANTINE_FORGOTTEN_MS;
    set.look(now_ms);
    let end = wear_out(&mut set, now_ms);

    assert_eq!(set.status(ROUTE).retry_at_ms, Some(end + limits::QUARANTINE_FIRST_MS));
}

/// W02: what comes back by itself has the time of a call, because calls wait for it.
#[test]
fn what_hangs_when_it_is_to_come_back_is_stopped_after_the_time_of_a_call() {
    let hangs_with_state = encode(
        Shape::Routing,
        r#"(global $decided (mut i32) (i32.const 0))
           (func $misbehave (param $rows i32)
               (if (global.get $decided) (then unreachable))
               (global.set $decided (i32.const 1))
               (i32.store (i32.const 64) (i32.const 2048))
               (i32.store (i32.const 68) (i32.const 8)))
           (func (export "mesh:routing/policy@0.1.0#load-state") (param i32 i32 i32) (result i32)
               (if (local.get 2) (then (loop $again (br $again))))
               (i32.const 64))"#,
    );
    let loaded = load(&engine(), &hangs_with_state.unwrap(), Grants::NONE).unwrap();
    let mut set = set_with(prepare_routing(&loaded, &settings([])).unwrap());
    wear_out(&mut set, 1);

    set.look(set.status(ROUTE).retry_at_ms.unwrap());

    let told = set.log_after(ROUTE, 0).pop().unwrap().text;
    assert!(
        told.ends_with(&format!("cannot come back: it ran longer than {:?}", limits::POLICY_CALL)),
        "{told}"
    );
}

#[test]
fn an_operator_ends_a_quarantine_and_a_rollback_brings_the_other_one_back() {
    let mut set = set_with(good());
    set.swap(faulty(5), 0, StartWith::Reset).unwrap();
    let now_ms = wear_out(&mut set, 0);

    set.resume(ROUTE, now_ms + 1).unwrap();

    let status = set.status(ROUTE);
    assert_eq!((status.state, status.quarantined, status.strikes), (SlotState::Active, None, 0));
    assert_eq!(name(status.active.as_ref()), Some("built-in/faulty 0.1.0".into()));
    set.rollback(ROUTE, now_ms + 2).unwrap();
    assert_eq!(ask(&mut set, now_ms + 3, 1), 0);
}

/// What one has failed in is not put down to the other, nor to the native built-in.
#[test]
fn each_revision_has_counters_and_call_times_of_its_own() {
    let mut set = set_with(good());
    for now_ms in 0..64 {
        ask(&mut set, now_ms, 40);
    }
    set.swap(faulty(20), 64, StartWith::Reset).unwrap();
    let end = wear_out(&mut set, 64);
    for now_ms in end..end + 8 {
        ask(&mut set, now_ms, 40);
    }

    let status = set.status(ROUTE);

    let of = |revision| status.counted_of(revision).unwrap();
    let (good, bad) = (of(status.active.as_ref()), of(status.quarantined.as_ref()));
    assert_eq!((good.faults, good.fallbacks, bad.faults, bad.fallbacks), (0, 0, 3, 3));
    assert_eq!((good.calls, bad.calls), (64 + 8, status.calls - 64 - 8));
    assert_eq!(good.messages, (64 + 8) * 40);
    assert_eq!(good.timed_calls, 64 + 8, "large batches are always timed");
    assert_eq!(good.times.iter().map(|(_, count)| count).sum::<u64>(), good.timed_calls);
    assert_eq!((of(None).calls, of(None).faults), (0, 0));
    set.resume(ROUTE, end + 9).unwrap();
    let status = set.status(ROUTE);
    assert_eq!((status.counted[0].revision.as_ref(), status.counted[0].faults), (status.active.as_ref(), 3));
    let standby = status.counted_of(status.previous.as_ref()).unwrap();
    assert_eq!((standby.calls, standby.memory_bytes > 0), (64 + 8, true));
}

/// A rollback in a quarantine is the operator's word that the stand-in stays.
#[test]
fn a_rollback_in_quarantine_lets_the_stand_in_stay_and_is_undone_by_hand_only() {
    for has_one_before in [true, false] {
        let mut set = PolicySet::new(&engine());
        set.observe(0, &view());
        if has_one_before {
            set.begin(good(), 0, StartWith::Reset).unwrap();
        }
        set.swap(faulty(5), 0, StartWith::Reset).unwrap();
        let end = wear_out(&mut set, 0);
        let stand_in = set.status(ROUTE).active;
        assert!(set.status(ROUTE).can_roll_back);

        let report = set.rollback(ROUTE, end + 1).unwrap();

        assert_eq!((report.change, &report.new), (Change::Settled, &stand_in));
        assert_eq!(name(report.old.as_ref()), Some("built-in/faulty 0.1.0".into()));
        let later = end + limits::QUARANTINE_LONGEST_MS;
        set.look(later);
        let status = set.status(ROUTE);
        assert_eq!((&status.active, status.quarantined, status.retry_at_ms), (&stand_in, None, None));
        assert_eq!(set.resume(ROUTE, later), Err(OperateError::NothingToResume));
        set.rollback(ROUTE, later + 1).unwrap();
        let status = set.status(ROUTE);
        assert_eq!(name(status.active.as_ref()), Some("built-in/faulty 0.1.0".into()));
        assert_eq!(status.settings["works_for"], Value::Integer(5));
    }
}

/// What an operator has put aside for its faults does not come back because its successor fails too.
#[test]
fn what_was_put_aside_is_no_stand_in() {
    let mut set = set_with(prepared("trap-decide", 0));
    set.swap(faulty(5), 0, StartWith::Reset).unwrap();
    let end = wear_out(&mut set, 0);
    set.rollback(ROUTE, end).unwrap();

    let end = wear_out(&mut set, end);

    assert_eq!(set.status(ROUTE).active, None);
    assert_eq!(ask(&mut set, end + 1, 1), NATIVE);
}

/// A restart is no way round a quarantine.
#[test]
fn a_quarantine_goes_on_after_a_restart_as_long_as_it_would_have() {
    for mode in OnFailure::ALL {
        let mut before = set_with(faulty(5).with_terms(on_failure(mode)).unwrap());
        let end = wear_out(&mut before, 0);
        let was = before.status(ROUTE);
        assert_eq!((was.quarantined_terms.on_failure, was.quarantine_round), (mode, 1));
        let sentence = Sentence { round: was.quarantine_round, retry_at_ms: was.retry_at_ms };
        let mut set = PolicySet::new(&engine());
        set.observe(0, &view());

        set.put_aside(faulty(5).with_terms(was.quarantined_terms).unwrap(), end + 1, sentence);

        assert_eq!(ask(&mut set, end + 2, 1), ask(&mut before, end + 2, 1), "{mode}");
        let status = set.status(ROUTE);
        assert_eq!((status.state, &status.quarantined), (SlotState::Quarantined, &was.quarantined));
        assert_eq!((status.retry_at_ms, status.on_failure), (was.retry_at_ms, mode));
        set.look(was.retry_at_ms.unwrap());
        assert_eq!(set.status(ROUTE).active, was.quarantined, "{mode}");
        let end = wear_out(&mut set, was.retry_at_ms.unwrap());
        assert_eq!(set.status(ROUTE).retry_at_ms, Some(end + 2 * limits::QUARANTINE_FIRST_MS));
    }
}

/// W20: each failure mode in each slot, in the failing call and while nobody is there.
#[test]
fn a_failure_is_answered_as_the_operator_wants() {
    let to_node_and_topic = || {
        let mut batch = RouteBatch::default();
        batch.push(5, mesh_proto::policy::LOCAL, 100, Class::Normal);
        batch.push(TOPIC_BIT | 1, mesh_proto::policy::LOCAL, 100, Class::Normal);
        batch
    };
    for (mode, want) in [
        (OnFailure::Fallback, [NATIVE, ABSTAIN]),
        (OnFailure::FailClosed, [HOLD, DROP]),
        (OnFailure::FailOpen, [ABSTAIN, ABSTAIN]),
    ] {
        let mut set = PolicySet::new(&engine());
        set.observe(0, &view());
        set.swap(prepared("trap-decide", 0).with_terms(on_failure(mode)).unwrap(), 0, StartWith::Reset)
            .unwrap();
        let mut verdicts = Vec::new();
        for now_ms in 1..10 {
            let before = set.status(ROUTE).fallbacks;
            set.route(now_ms, &to_node_and_topic(), &mut verdicts);
            let has_failed = set.status(ROUTE).fallbacks > before;
            assert!(!has_failed || verdicts == want, "{mode} at {now_ms}: {verdicts:?}");
        }
        assert_eq!(verdicts, want, "{mode}: while nobody is there");
        let status = set.status(ROUTE);
        assert_eq!((status.state, status.active), (SlotState::Quarantined, None), "{mode}");
        assert_eq!(status.on_failure, mode);
    }
}

#[test]
fn without_a_fallback_the_revision_before_does_not_come_back() {
    let mut set = set_with(good());
    set.swap(faulty(5).with_terms(on_failure(OnFailure::FailClosed)).unwrap(), 0, StartWith::Reset).unwrap();

    let end = wear_out(&mut set, 0);

    assert_eq!(set.status(ROUTE).active, None);
    assert_eq!(ask(&mut set, end + 1, 3), HOLD);
    set.resume(ROUTE, end + 2).unwrap();
    assert_eq!(name(set.status(ROUTE).previous.as_ref()), Some("hostile/routing 1.0.0".into()));
    set.rollback(ROUTE, end + 3).unwrap();
    assert_eq!(ask(&mut set, end + 4, 3), 0, "an operator can still bring it back");
}

#[test]
fn a_closed_slot_is_given_back_to_the_built_in() {
    let mut unstarted = PolicySet::new(&engine());
    unstarted.observe(0, &view());
    unstarted.leave_vacant(ROUTE, OnFailure::FailClosed);
    let mut quarantined = set_with(faulty(5).with_terms(on_failure(OnFailure::FailClosed)).unwrap());
    wear_out(&mut quarantined, 0);
    let mut withdrawn = set_with(faulty(5).with_terms(on_failure(OnFailure::FailClosed)).unwrap());
    wear_out(&mut withdrawn, 0);

    for set in [&mut unstarted, &mut quarantined] {
        assert_eq!(ask(set, 200, 1), HOLD);
        assert_eq!(set.remove(ROUTE, 201).map(|report| (report.old, report.new)), Ok((None, None)));
        assert_eq!(set.remove(ROUTE, 202), Err(SwapError::NoPlugin), "it is there already");
    }
    withdrawn.withdraw(&|_| true, 201);

    for set in [&mut unstarted, &mut quarantined, &mut withdrawn] {
        assert_eq!(ask(set, 203, 1), NATIVE);
        assert_eq!(set.status(ROUTE).state, SlotState::Native);
    }
}

#[test]
fn a_failing_qos_policy_is_answered_as_the_operator_wants() {
    let loaded = load(&engine(), &hostile("qos"), Grants::NONE).unwrap();
    let mut batch = QosBatch::default();
    batch.push(Class::High, 10, 0, 0);
    for (mode, want) in [
        (OnFailure::Fallback, Class::High),
        (OnFailure::FailClosed, Class::Bulk),
        (OnFailure::FailOpen, Class::High),
    ] {
        let policy = prepare_qos(&loaded, &settings([("mode", text("unknown-class"))])).unwrap();
        let mut set = PolicySet::new(&engine());
        set.swap(policy.with_terms(on_failure(mode)).unwrap(), 0, StartWith::Reset).unwrap();
        let mut classes = Vec::new();
        for now_ms in 1..16 {
            let before = set.status(PolicySlot::Qos).fallbacks;
            set.classify(now_ms, &batch, &mut classes);
            let has_failed = set.status(PolicySlot::Qos).fallbacks > before;
            assert!(!has_failed || classes == [want as u8], "{mode} at {now_ms}: {classes:?}");
        }
        assert_eq!(classes, [want as u8], "{mode}: while nobody is there");
        assert_eq!(set.status(PolicySlot::Qos).faults, 3, "{mode}");
    }
}

#[test]
fn a_failing_topology_policy_is_answered_as_the_operator_wants() {
    let loaded = load(&engine(), &hostile("topology"), Grants::NONE).unwrap();
    let candidates = candidates();
    for (mode, same) in [(OnFailure::FailClosed, 0), (OnFailure::FailOpen, MAX_SCORE)] {
        let policy = prepare_topology(&loaded, &settings([("mode", text("trap"))])).unwrap();
        let mut set = PolicySet::new(&engine());
        set.swap(policy.with_terms(on_failure(mode)).unwrap(), 0, StartWith::Reset).unwrap();
        let mut scores = Vec::new();
        while set.status(PolicySlot::Topology).quarantined.is_none() {
            let before = set.status(PolicySlot::Topology).faults;
            set.score(1, &ASKER, &candidates, &mut scores);
            if set.status(PolicySlot::Topology).faults > before {
                assert_eq!(scores, vec![same; candidates.len()], "{mode}");
            }
        }
        set.score(2, &ASKER, &candidates, &mut scores);
        assert_eq!(scores, vec![same; candidates.len()], "{mode}: while nobody is there");
    }
}

#[test]
fn limits_are_lowered_while_it_runs_and_never_raised() {
    let mut set = set_with(prepared("loop-decide", 1));
    let terms = |lowered| Terms { lowered, ..Terms::default() };
    let deadline = Lowered { deadline: Some(Duration::from_millis(2)), ..Lowered::default() };
    ask(&mut set, 1, 1);

    set.set_terms(ROUTE, 2, terms(deadline)).unwrap();

    assert_eq!(set.status(ROUTE).lowered, deadline);
    ask(&mut set, 3, 1);
    let late = Fault::Deadline { limit: Duration::from_millis(2) };
    assert_eq!(set.status(ROUTE).last_faults[0].fault, late);
    for (lowered, is_expected) in [
        (Lowered { deadline: Some(Duration::from_millis(6)), ..Lowered::default() }, "out of range"),
        (Lowered { memory: Some(limits::MEMORY_BYTES * 2), ..Lowered::default() }, "out of range"),
        (Lowered { memory: Some(64 << 10), ..Lowered::default() }, "in use"),
    ] {
        let refused = set.set_terms(ROUTE, 4, terms(lowered)).unwrap_err();
        let is = match refused {
            OperateError::Limit(BadLimit::OutOfRange { .. }) => "out of range",
            OperateError::Limit(BadLimit::InUse { used }) if used > 64 << 10 => "in use",
            _ => "something else",
        };
        assert_eq!(is, is_expected, "{refused}");
    }
    assert_eq!(set.status(ROUTE).lowered, deadline, "what is refused changes nothing");
}

/// W05, with the operator's limit in the place of the host's.
#[test]
fn a_lowered_memory_limit_holds_for_every_instance() {
    let most = 2 << 20;
    let lowered = Lowered { memory: Some(most), ..Lowered::default() };
    let hungry = prepared("grow-decide", 0).with_terms(Terms { lowered, ..Terms::default() }).unwrap();
    let mut set = set_with(hungry);

    for now_ms in 1..9 {
        ask(&mut set, now_ms, 1);
    }

    let status = set.status(ROUTE);
    assert_eq!(status.faults, 3);
    let hungry = status.counted_of(status.quarantined.as_ref()).unwrap();
    assert!(hungry.memory_most_bytes > 1 << 20 && hungry.memory_most_bytes <= most, "{status:?}");
}

/// faults.md section 3: lines of a handler are kept, and bounded by the second.
#[test]
fn what_a_handler_says_is_kept_up_to_a_rate() {
    let loaded = load(&engine(), &hostile("handler"), Grants::ALL).unwrap();
    let mut slot = HandlerSlot::new(&engine(), [1; 32], "n", Default::default());
    let handler = prepare_handler(&loaded, slot.identity(), &settings([])).unwrap();
    let lowered = Lowered { log_lines: Some(3), ..Lowered::default() };
    slot.swap(handler.with_terms(Terms { lowered, ..Terms::default() }).unwrap(), 0, StartWith::Reset)
        .unwrap();

    let command = || Event::Command { name: "log-often".into(), payload: Vec::new() };
    let say = |slot: &mut HandlerSlot, now_ms| slot.handle(now_ms, 0, command()).outcome;
    assert!(matches!(say(&mut slot, 5_000), Outcome::Done(_)));
    say(&mut slot, 5_100);
    say(&mut slot, 6_000);

    let lines = slot.log_after(0);
    let said = |from_ms, to_ms| {
        lines.iter().filter(|l| l.plugin.is_some() && (from_ms..to_ms).contains(&l.at_ms)).count()
    };
    assert_eq!((said(5_000, 6_000), said(6_000, 7_000)), (3, 3));
    assert!(slot.status().counted[0].log_dropped > 0);
}
