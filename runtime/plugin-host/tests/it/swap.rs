//! Hand-overs between revisions. H01, H03, H04, H08, H09.

use mesh_plugin_host::{
    Change, Grants, Loaded, OnFailure, PolicySet, PolicySlot, Refusal, SlotState, StartWith, State,
    SwapError, Terms, Toward, builtin, load, prepare_routing,
};
use mesh_proto::policy::Policies;

use crate::guests::{ask, batch, counter, engine, good, name, prepared, set_with, settings, story, view};

fn versions() -> [Loaded; 2] {
    [builtin::LATENCY, builtin::LATENCY_NEXT].map(|bytes| load(&engine(), bytes, Grants::NONE).unwrap())
}

fn fresh(loaded: &Loaded) -> mesh_plugin_host::PreparedRouting {
    prepare_routing(loaded, &settings([])).unwrap()
}

/// H01: 200 swaps under traffic; every decision made once, by exactly one version.
#[test]
fn two_hundred_swaps_lose_no_decision_and_double_none() {
    let versions = versions();
    let mut set = PolicySet::new(&engine());
    set.observe(0, &view());
    set.swap(fresh(&versions[0]), 0, StartWith::Reset).unwrap();
    let mut asked = 0u64;
    let mut verdicts = Vec::new();
    for swap in 1..=200u64 {
        for rows in [1, 7, 64, 256] {
            set.route(swap, &batch(rows), &mut verdicts);
            assert_eq!(verdicts.len(), rows);
            asked += rows as u64;
        }

        let report = set.swap(fresh(&versions[swap as usize % 2]), swap, StartWith::Keep).unwrap();

        assert_eq!(report.at_decision, asked);
        assert!(report.state_carried);
        assert_ne!(report.old, report.new);
        assert_eq!(counter(&mut set), asked, "after swap {swap}");
    }

    let status = set.status(PolicySlot::Route);
    assert_eq!((status.swaps, status.messages, status.fallbacks), (201, asked, 0));
    assert_eq!(status.state_messages, asked);
}

#[test]
fn rehearsing_leaves_no_trace_in_the_state() {
    let mut set = set_with(fresh(&versions()[0]));

    assert_eq!(counter(&mut set), 0);
}

#[test]
fn a_reset_starts_afresh_and_a_given_state_is_taken() {
    let versions = versions();
    let mut set = set_with(fresh(&versions[0]));
    ask(&mut set, 0, 9);

    set.swap(fresh(&versions[1]), 0, StartWith::Reset).unwrap();
    assert_eq!(counter(&mut set), 0);

    let state = State { version: 1, bytes: 77u64.to_le_bytes().to_vec() };
    set.swap(fresh(&versions[0]), 0, StartWith::From(state)).unwrap();
    assert_eq!(counter(&mut set), 77);
}

#[test]
fn a_plugin_without_state_can_be_followed_by_any_other() {
    let mut set = set_with(good());
    let nothing = State { version: 0, bytes: Vec::new() };

    let report = set.swap(fresh(&versions()[0]), 0, StartWith::From(nothing)).unwrap();

    assert!(!report.state_carried);
    assert_eq!(counter(&mut set), 0);
}

/// H04.
#[test]
fn a_successor_that_refuses_the_state_leaves_the_old_one_untouched() {
    let mut set = set_with(good());
    ask(&mut set, 0, 5);

    let refused = set.swap(prepared("refuse-state", 0), 0, StartWith::Keep);

    assert_eq!(refused, Err(SwapError::StateRefused(Refusal::UnknownVersion(1))));
    assert_eq!(ask(&mut set, 0, 1), 0);
    assert_eq!(counter(&mut set), 6);
    assert_eq!(set.status(PolicySlot::Route).strikes, 0);
    set.swap(prepared("refuse-state", 0), 0, StartWith::Reset).expect("without state it is welcome");
}

/// H03, H04.
#[test]
fn a_successor_that_fails_in_the_hand_over_leaves_the_old_one_untouched() {
    for mode in ["trap-load", "loop-load", "overflow-load", "grow-load"] {
        let mut set = set_with(good());
        ask(&mut set, 0, 5);

        let failed = set.swap(prepared(mode, 0), 0, StartWith::Keep);

        assert!(matches!(failed, Err(SwapError::Failed(_))), "{mode}: {failed:?}");
        assert_eq!(ask(&mut set, 0, 1), 0, "{mode}");
        assert_eq!(counter(&mut set), 6, "{mode}");
    }
}

#[test]
fn a_rehearsed_swap_switches_nothing() {
    let versions = versions();
    let mut set = set_with(fresh(&versions[0]));
    ask(&mut set, 0, 3);

    let report = set.rehearse(fresh(&versions[1]), 0, StartWith::Keep).unwrap();

    assert_eq!((report.state_carried, report.at_decision), (true, 3));
    let status = set.status(PolicySlot::Route);
    assert_eq!(name(status.active.as_ref()), Some("built-in/latency 0.1.0".into()));
    assert_eq!(status.swaps, 1);
    assert!(story(&mut set).is_empty());
}

/// H04: what is not warm any more begins with the state of the active one, else with its own, else afresh.
#[test]
fn what_comes_back_cold_has_the_best_state_that_it_takes() {
    let versions = versions();
    let own = |count: u64| Some(State { version: 1, bytes: count.to_le_bytes().to_vec() });
    let damaged = Some(State { version: 1, bytes: b"no counter".to_vec() });
    for (before, own, want) in
        [(true, own(77), 3), (false, own(77), 77), (false, damaged, 0), (false, None, 0)]
    {
        let mut set = PolicySet::new(&engine());
        if before {
            set.swap(fresh(&versions[1]), 0, StartWith::Reset).unwrap();
            ask(&mut set, 0, 3);
        }

        let report = set.bring_back(fresh(&versions[0]), own, Toward::Earlier, 0).unwrap();

        assert_eq!((report.state_carried, counter(&mut set)), (before, want));
        assert_eq!(report.state_restored, want == 77, "its own");
        assert_eq!(name(report.new.as_ref()), Some("built-in/latency 0.1.0".into()));
    }
}

/// W08: what an operator has gone back from does not come back by itself; what was before it does.
#[test]
fn a_quarantine_after_a_rollback_does_not_bring_back_what_was_left() {
    for (forward, want) in [(false, "quarantined, built-in"), (true, "quarantined, last good one back")] {
        let mut set = set_with(if forward { good() } else { prepared("trap-decide", 0) });
        let later = if forward { prepared("trap-decide", 0) } else { good() };
        set.swap(later, 0, StartWith::Reset).unwrap();
        set.rollback(PolicySlot::Route, 0).unwrap();
        if forward {
            set.rollback(PolicySlot::Route, 0).unwrap();
        }
        story(&mut set);

        for turn in 1..=20 {
            ask(&mut set, turn, 1);
        }

        assert_eq!(story(&mut set).last(), Some(&want));
    }
}

/// H03: what fails on its way back never decides.
#[test]
fn what_fails_when_it_comes_back_cold_leaves_the_active_one_untouched() {
    for mode in ["trap-load", "loop-load"] {
        let mut set = set_with(good());
        ask(&mut set, 0, 5);

        let failed = set.bring_back(prepared(mode, 0), None, Toward::Earlier, 0);

        assert!(matches!(failed, Err(SwapError::Failed(_))), "{mode}: {failed:?}");
        assert_eq!((ask(&mut set, 0, 1), counter(&mut set)), (0, 6), "{mode}");
    }
}

#[test]
fn a_rollback_brings_the_earlier_one_back_with_the_state_and_can_be_undone() {
    let versions = versions();
    let mut set = set_with(fresh(&versions[0]));
    ask(&mut set, 0, 3);
    set.swap(fresh(&versions[1]), 0, StartWith::Keep).unwrap();
    ask(&mut set, 0, 4);

    let report = set.rollback(PolicySlot::Route, 0).unwrap();

    assert_eq!(name(report.new.as_ref()), Some("built-in/latency 0.1.0".into()));
    assert_eq!((report.state_carried, counter(&mut set)), (true, 7));
    ask(&mut set, 0, 2);
    let undone = set.rollback(PolicySlot::Route, 0).unwrap();
    assert_eq!(name(undone.new.as_ref()), Some("built-in/latency 0.2.0".into()));
    assert_eq!(counter(&mut set), 9);
    assert_eq!(set.status(PolicySlot::Route).state_messages, 9);
}

#[test]
fn the_first_swap_is_rolled_back_to_the_native_built_in_and_removal_is_undone() {
    let mut set = set_with(good());

    set.rollback(PolicySlot::Route, 0).unwrap();
    assert_eq!(set.status(PolicySlot::Route).state, SlotState::Native);
    set.rollback(PolicySlot::Route, 0).unwrap();
    assert_eq!(set.status(PolicySlot::Route).state, SlotState::Active);

    set.remove(PolicySlot::Route, 0).unwrap();
    assert_eq!(ask(&mut set, 0, 2), crate::guests::NATIVE);
    assert_eq!(set.remove(PolicySlot::Route, 0), Err(SwapError::NoPlugin));
    set.rollback(PolicySlot::Route, 0).unwrap();
    assert_eq!(ask(&mut set, 0, 2), 0);
}

#[test]
fn a_slot_that_never_had_a_plugin_has_nothing_to_roll_back_to() {
    let mut set = PolicySet::new(&engine());

    assert_eq!(set.rollback(PolicySlot::Qos, 0), Err(SwapError::NoPrevious));
    assert_eq!(SwapError::NoPrevious.code(), "MESH-P109");
}

#[test]
fn what_a_slot_begins_with_has_nothing_before_it() {
    let mut set = PolicySet::new(&engine());
    set.begin(good(), 0, StartWith::Reset).unwrap();

    assert_eq!(set.rollback(PolicySlot::Route, 1), Err(SwapError::NoPrevious));
    assert!(!set.status(PolicySlot::Route).can_roll_back);
    set.remove(PolicySlot::Route, 2).unwrap();
    set.rollback(PolicySlot::Route, 3).unwrap();
    assert_eq!(set.status(PolicySlot::Route).state, SlotState::Active);
}

/// The undo of the swap before it is worth more than a second instance of the same.
#[test]
fn a_swap_to_what_is_active_already_changes_nothing_and_keeps_what_was_before() {
    let versions = versions();
    let mut set = set_with(fresh(&versions[0]));
    set.swap(fresh(&versions[1]), 0, StartWith::Keep).unwrap();
    ask(&mut set, 1, 3);
    story(&mut set);

    let rehearsed = set.rehearse(fresh(&versions[1]), 2, StartWith::Keep).unwrap();
    let again = set.swap(fresh(&versions[1]), 2, StartWith::Keep).unwrap();

    assert_eq!(
        (rehearsed.change, again.change, again.old == again.new),
        (Change::Nothing, Change::Nothing, true)
    );
    assert!(story(&mut set).is_empty());
    assert_eq!((counter(&mut set), set.status(PolicySlot::Route).swaps), (3, 2));
    let restarted = set.swap(fresh(&versions[1]), 3, StartWith::Reset).unwrap();
    assert_eq!((restarted.change, counter(&mut set)), (Change::Restarted, 0));
    set.rollback(PolicySlot::Route, 4).unwrap();
    assert_eq!(name(set.status(PolicySlot::Route).active.as_ref()), Some("built-in/latency 0.1.0".into()));
}

#[test]
fn a_swap_to_the_same_with_other_settings_is_undone_to_the_settings_before() {
    let mut set = set_with(good());
    let before = set.status(PolicySlot::Route).settings;

    let report = set.swap(prepared("", 7), 1, StartWith::Keep).unwrap();

    assert_eq!((report.change, report.old == report.new), (Change::Switched, true));
    assert_ne!(set.status(PolicySlot::Route).settings, before);
    set.rollback(PolicySlot::Route, 2).unwrap();
    assert_eq!(set.status(PolicySlot::Route).settings, before);
    let open = Terms { on_failure: OnFailure::FailOpen, ..Terms::default() };
    let report = set.swap(good().with_terms(open).unwrap(), 3, StartWith::Keep).unwrap();
    assert_eq!(
        (report.change, set.status(PolicySlot::Route).on_failure),
        (Change::Switched, OnFailure::FailOpen)
    );
    set.rollback(PolicySlot::Route, 4).unwrap();
    assert_eq!(set.status(PolicySlot::Route).on_failure, OnFailure::Fallback);
}

#[test]
fn looking_at_the_state_changes_nothing() {
    let mut set = set_with(good());
    ask(&mut set, 0, 3);

    let looks: Vec<u64> = (0..3).map(|_| counter(&mut set)).collect();

    assert_eq!(looks, [3, 3, 3]);
    assert_eq!(ask(&mut set, 0, 1), 0);
}

/// H08: a call has run into its deadline when the swap comes. What hung is thrown away and never asked again: a fresh
/// instance hands the last state over.
#[test]
fn a_predecessor_that_hung_hands_over_from_a_fresh_instance() {
    let mut set = set_with(good());
    ask(&mut set, 0, 2);
    set.swap(prepared("loop-decide", 0), 0, StartWith::Keep).unwrap();
    assert_eq!(ask(&mut set, 1, 1), crate::guests::NATIVE, "the built-in answers in its place");

    let report = set.swap(good(), 2, StartWith::Keep).unwrap();

    assert!(report.state_carried);
    assert_eq!((ask(&mut set, 3, 1), counter(&mut set)), (0, 3));
    assert_eq!(set.status(PolicySlot::Route).faults, 1);
}

/// H09: a plugin that needs what the engine was not started with is refused, and no other engine is made for it.
#[test]
fn what_needs_another_engine_is_refused_and_the_active_one_goes_on() {
    let mut set = set_with(good());
    let with = |module: &str| {
        let module = crate::guests::wat(module);
        assert!(module.len() < 128, "one digit of the length is enough");
        let component = crate::guests::hostile("routing");
        load(&engine(), &[component, vec![1, module.len() as u8], module].concat(), Grants::NONE)
    };
    with("(module (memory 1))").expect("one module more is no harm");
    for module in [
        "(module (memory 1 1 shared))",
        "(module (type (struct (field i32))))",
        "(module (memory i64 1) (func (drop (i32.atomic.load (i64.const 0)))))",
    ] {
        let refused = with(module).expect_err(module);

        assert_eq!(refused.code(), "MESH-P103", "{module}: {refused}");
    }
    assert_eq!((ask(&mut set, 0, 1), counter(&mut set)), (0, 1));
}
