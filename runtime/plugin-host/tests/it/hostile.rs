//! What a plugin can do wrong costs one answer of the native built-in each time and quarantine after the third.

use std::time::Instant;

use mesh_hostile::{Shape, encode};
use mesh_plugin_host::{
    Engine, Fault, Grants, PolicySet, PolicySlot, PrepareError, Refusal, SlotEvent, SlotState, StartWith,
    SwapError, Value, builtin, limits, load, prepare_qos, prepare_routing,
};
use mesh_proto::policy::{Class, Load, Policies, QosBatch, Shares};

use crate::guests::{
    NATIVE, ask, counter, engine, good, hostile, hostile_routing, name, prepared, set_with, settings, story,
    text, view,
};

/// The last fault of the routing slot.
fn last_fault(set: &PolicySet) -> Fault {
    set.status(PolicySlot::Route).last_faults.first().expect("there was one").fault.clone()
}

fn is_trap(fault: &Fault) -> bool {
    matches!(fault, Fault::Trap { .. })
}

fn is_late(fault: &Fault) -> bool {
    *fault == Fault::Deadline { limit: limits::POLICY_CALL }
}

/// W01, W02, W05, W06, W07, W08, W09.
#[test]
fn every_way_to_fail_in_a_call_costs_a_fallback_and_the_third_brings_the_last_good_one_back() {
    type Is = fn(&Fault) -> bool;
    let table: [(&str, Is); 12] = [
        ("loop-decide", is_late),
        ("loop-realloc", is_late),
        ("loop-post-return", is_late),
        ("trap-decide", is_trap),
        ("overflow-decide", is_trap),
        ("grow-decide", is_trap),
        ("huge-answer", |fault| matches!(fault, Fault::TooMuch { .. })),
        ("short-answer", |fault| *fault == Fault::Rows { asked: 4, got: 3 }),
        ("long-answer", |fault| *fault == Fault::Rows { asked: 4, got: 5 }),
        ("no-answer", |fault| *fault == Fault::Rows { asked: 4, got: 0 }),
        ("unknown-neighbour", |fault| *fault == Fault::UnknownNeighbour { row: 0, answer: 1_000, links: 2 }),
        ("huge-state", |fault| matches!(fault, Fault::StateTooLarge { .. } | Fault::Deadline { .. })),
    ];
    for (mode, is_expected) in table {
        let mut set = set_with(good());
        assert_eq!(ask(&mut set, 0, 4), 0, "{mode}");
        set.swap(prepared(mode, 0), 0, StartWith::Keep).unwrap();
        story(&mut set);

        let mut fallbacks = 0;
        let mut calls = 0;
        // These two fail in the call after the one in which they were told to.
        while set.status(PolicySlot::Route).quarantined.is_none() {
            calls += 1;
            assert!(calls <= 20, "{mode}: not quarantined");
            let verdict = ask(&mut set, calls, 4);
            let is_fallback = verdict == NATIVE;
            fallbacks += u64::from(is_fallback);
        }

        let status = set.status(PolicySlot::Route);
        assert!(is_expected(&last_fault(&set)), "{mode}: {:?}", last_fault(&set));
        assert_eq!(status.faults, 3, "{mode}");
        assert_eq!(status.fallbacks, fallbacks * 4, "{mode}");
        assert_eq!(story(&mut set)[2..], ["struck", "quarantined, last good one back"], "{mode}");
        assert_eq!(status.state, SlotState::Quarantined, "{mode}");
        assert_eq!(ask(&mut set, 99, 4), 0, "{mode}: the good one decides");
        assert_eq!(set.status(PolicySlot::Route).fallbacks, fallbacks * 4, "{mode}");
        assert_eq!(counter(&mut set), 8, "{mode}: with the state it left with");
    }
}

/// W01: on a quiet machine twice the deadline; here only that it ends at all in reasonable time.
#[test]
fn an_endless_call_is_stopped_and_the_batch_is_answered() {
    let mut set = set_with(prepared("loop-decide", 0));
    let begun = Instant::now();

    assert_eq!(ask(&mut set, 0, 4), NATIVE);

    assert!(begun.elapsed() < limits::POLICY_CALL * 200, "{:?}", begun.elapsed());
}

/// W03: the epoch is everybody's, the deadline is each store's.
#[test]
fn a_neighbour_of_an_endless_call_never_fails() {
    let thread = std::thread::spawn(|| {
        let mut set = set_with(good());
        for now_ms in 0..20_000 {
            assert_eq!(ask(&mut set, now_ms, 16), 0);
        }
        set.status(PolicySlot::Route).faults
    });
    let mut set = set_with(prepared("loop-decide", 0));
    while set.status(PolicySlot::Route).faults < 2 {
        ask(&mut set, 0, 4);
    }

    assert_eq!(thread.join().unwrap(), 0);
}

/// W08: the failed instance is never used again, and its successor knows the last checkpoint.
#[test]
fn after_a_trap_a_fresh_instance_goes_on_with_the_last_checkpoint() {
    let mut set = set_with(prepared("trap-decide", 3));
    // The first answer is checkpointed at once, the next ones within the second are not.
    for now_ms in [0, 10, 20] {
        assert_eq!(ask(&mut set, now_ms, 10), 0);
    }
    assert_eq!(ask(&mut set, 30, 10), NATIVE);

    assert_eq!(counter(&mut set), 10);
    assert_eq!(set.status(PolicySlot::Route).state_messages, 10);
    assert_eq!(ask(&mut set, 40, 5), 0);
    assert_eq!(counter(&mut set), 15);
    assert_eq!(story(&mut set), ["struck"]);
}

/// W08: outside of a call nobody is struck, but what trapped is not used again there either.
#[test]
fn a_state_that_cannot_be_saved_costs_the_instance_and_no_strike() {
    let saves_once = encode(
        Shape::Routing,
        r#"(global $decided (mut i32) (i32.const 0))
           (func $misbehave (param $rows i32)
               (global.set $decided (i32.add (global.get $decided) (i32.const 1))))
           (func (export "mesh:routing/policy@0.1.0#save") (result i32)
               (if (i32.gt_u (global.get $decided) (i32.const 1)) (then unreachable))
               (i32.const 64))"#,
    );
    let loaded = load(&engine(), &saves_once.unwrap(), Grants::NONE).unwrap();
    let mut set = set_with(prepare_routing(&loaded, &settings([])).unwrap());
    let two_calls = |set: &mut PolicySet, now_ms| [ask(set, now_ms, 1), ask(set, now_ms, 1)];

    assert_eq!(two_calls(&mut set, 1), [0, 0]);
    assert!(set.peek_state(PolicySlot::Route).is_err_and(|fault| is_trap(&fault)));
    assert_eq!(two_calls(&mut set, 2), [0, 0], "a fresh instance answers");
    let failed = set.swap(good(), 3, StartWith::Keep);
    assert!(matches!(failed, Err(SwapError::OldFailed(_))), "{failed:?}");
    assert_eq!(two_calls(&mut set, 4), [0, 0]);

    let status = set.status(PolicySlot::Route);
    assert_eq!((status.faults, status.strikes, status.fallbacks), (0, 0, 0));
}

#[test]
fn strikes_that_lie_far_apart_are_forgiven() {
    let mut set = set_with(prepared("trap-decide", 0));
    for strike in 0..10 {
        let now_ms = strike * (limits::STRIKE_WINDOW_MS / 2 + 1);

        while set.status(PolicySlot::Route).faults <= strike {
            ask(&mut set, now_ms, 1);
        }
    }

    assert_eq!(set.status(PolicySlot::Route).quarantined, None);
}

#[test]
fn the_second_bad_one_in_a_row_leaves_the_native_built_in() {
    let mut set = set_with(prepared("trap-decide", 4));
    set.swap(prepared("trap-decide", 0), 0, StartWith::Keep).unwrap();

    let mut now_ms = 0;
    while set.status(PolicySlot::Route).active.is_some() {
        now_ms += 1;
        assert!(now_ms < 100);
        ask(&mut set, now_ms, 1);
    }

    assert_eq!(set.status(PolicySlot::Route).quarantines, 2);
    assert_eq!(ask(&mut set, now_ms, 3), NATIVE);
    assert!(story(&mut set).ends_with(&["quarantined, built-in"]));
    set.swap(good(), now_ms, StartWith::Keep).expect("a better one ends the quarantine");
    assert_eq!(set.status(PolicySlot::Route).state, SlotState::Active);
}

#[test]
fn a_view_that_cannot_be_taken_in_costs_a_strike_and_no_decision() {
    let mut set = set_with(prepared("trap-observe", 0));
    let mut views = 0;
    while set.status(PolicySlot::Route).quarantined.is_none() {
        views += 1;
        assert!(views < 20);
        // Fresh instances fail from their second batch on.
        for _ in 0..2 {
            assert_eq!(ask(&mut set, views, 1), 0);
        }
        set.observe(views, &view());
    }

    assert_eq!(set.status(PolicySlot::Route).fallbacks, 0);
    assert_eq!(ask(&mut set, views, 1), NATIVE);
}

/// H03: what fails before the switch never decides.
#[test]
fn what_fails_its_rehearsal_is_never_bound() {
    for mode in [
        "loop-configure",
        "trap-configure",
        "overflow-configure",
        "grow-configure",
        "trap-save",
        "trap-decide",
    ] {
        let failed = prepare_routing(hostile_routing(), &settings([("mode", text(mode))]));

        let error = failed.expect_err(mode);
        assert!(matches!(error, PrepareError::Failed(_)), "{mode}: {error:?}");
        assert_eq!(error.code(), "MESH-P112", "{mode}");
    }
    let failed = prepare_routing(hostile_routing(), &settings([("mode", text("refuse-own-state"))]));
    assert_eq!(failed.err(), Some(PrepareError::RefusesItsOwn(Refusal::UnknownVersion(1))));
}

/// W07, W08, W10.
#[test]
fn a_qos_policy_that_answers_rubbish_costs_the_class_that_was_asked_for() {
    let loaded = load(&engine(), &hostile("qos"), Grants::NONE).unwrap();
    for (mode, want) in [
        ("trap", None),
        ("unknown-class", Some(Fault::UnknownClass { row: 0, answer: 77 })),
        ("short-answer", Some(Fault::Rows { asked: 2, got: 1 })),
    ] {
        let mut set = PolicySet::new(&engine());
        set.swap(prepare_qos(&loaded, &settings([("mode", text(mode))])).unwrap(), 0, StartWith::Keep)
            .unwrap();
        let mut batch = QosBatch::default();
        batch.push(Class::High, 1, 0, 0);
        batch.push(Class::Bulk, 1, 0, 0);
        let mut classes = Vec::new();

        // Fresh instances are not rehearsed: they behave for two calls.
        for now_ms in 0..9 {
            set.classify(now_ms, &batch, &mut classes);
            assert_eq!(classes, [1, 4], "{mode}");
        }

        let status = set.status(PolicySlot::Qos);
        assert_eq!((status.faults, status.fallbacks), (3, 6), "{mode}");
        assert_eq!(name(status.quarantined.as_ref()), Some("hostile/qos 1.0.0".into()), "{mode}");
        let fault = status.last_faults[0].fault.clone();
        assert!(want.map_or(is_trap(&fault), |want| want == fault), "{mode}: {fault:?}");
    }
}

/// W10, QoS shares of features.md 3.4.
#[test]
fn shares_that_starve_somebody_are_clamped_and_a_wrong_number_of_them_is_a_fault() {
    let loaded = load(&engine(), &hostile("qos"), Grants::NONE).unwrap();
    let divided = |mode: &str| {
        let mut set = PolicySet::new(&engine());
        set.swap(prepare_qos(&loaded, &settings([("mode", text(mode))])).unwrap(), 0, StartWith::Keep)
            .unwrap();
        let shares = set.divide(0, &Load::default());
        (shares, set.status(PolicySlot::Qos).faults)
    };

    let (greedy, faults) = divided("greedy");
    let clamped = greedy.clamped();
    assert_eq!(faults, 0);
    assert!(clamped.guaranteed[0] >= Shares::CRITICAL_FLOOR);
    assert!(clamped.guaranteed.iter().all(|&share| share > 0));
    assert_eq!(divided("four-shares"), (Shares::default(), 1));
}

/// The drill of the demo: works, traps, and the last good one comes back.
#[test]
fn the_faulty_built_in_works_for_as_long_as_it_says_and_costs_three_answers() {
    let latency = load(&engine(), builtin::LATENCY, Grants::NONE).unwrap();
    let faulty = load(&engine(), builtin::FAULTY, Grants::NONE).unwrap();
    let mut set = set_with(prepare_routing(&latency, &settings([])).unwrap());
    set.observe(0, &view());
    let works_for = settings([("works_for", mesh_plugin_host::Value::Integer(10))]);
    set.swap(prepare_routing(&faulty, &works_for).unwrap(), 0, StartWith::Keep).unwrap();
    set.take_events();
    let mut verdicts = 0;

    while set.status(PolicySlot::Route).quarantined.is_none() {
        verdicts += 1;
        assert_eq!(ask(&mut set, verdicts, 1), 1, "plugin or built-in, the way is the same");
        assert!(verdicts < 100);
    }

    let status = set.status(PolicySlot::Route);
    assert_eq!((status.faults, status.fallbacks), (3, 3));
    assert_eq!(name(status.active.as_ref()), Some("built-in/latency 0.1.0".into()));
    let events = set.take_events();
    let SlotEvent::Struck { fault: Fault::Trap { reason }, strikes: 1, .. } = &events[0] else {
        panic!("{events:?}")
    };
    assert!(reason.starts_with("it panicked: faulty has done its work at "), "{reason}");
    assert!(reason.ends_with("#decide"), "{reason}");
}

/// W19: where instructions are counted, the same call ends after the same instruction on every machine, and a
/// good plugin answers as it does where time is measured.
#[test]
fn a_metered_call_that_never_ends_fails_like_a_late_one_and_a_good_one_answers_alike() {
    let metered = Engine::metered(None).unwrap();
    let answers = |engine: &Engine| {
        let good = load(engine, builtin::LATENCY, Grants::NONE).unwrap();
        let mut set = PolicySet::new(engine);
        set.swap(prepare_routing(&good, &settings([])).unwrap(), 0, StartWith::Keep).unwrap();
        set.observe(0, &view());
        (0..50).map(|turn| ask(&mut set, turn, 4)).collect::<Vec<_>>()
    };
    let hostile = load(&metered, &crate::guests::hostile("routing"), Grants::NONE).unwrap();
    let mode = settings([("mode", text("loop-decide")), ("after", Value::Integer(1))]);
    let mut set = PolicySet::new(&metered);
    set.swap(prepare_routing(&hostile, &mode).unwrap(), 0, StartWith::Keep).unwrap();
    set.observe(0, &view());

    let verdict = ask(&mut set, 1, 4);

    assert_eq!(verdict, NATIVE);
    assert_eq!(last_fault(&set), Fault::Deadline { limit: limits::POLICY_CALL });
    assert_eq!(answers(&metered), answers(&engine()));
}
