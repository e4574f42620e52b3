//! The admission slot: whom the shipped plugin lets in, what hostile ones cost, and a door that stays shut without its
//! guard.

use mesh_plugin_host::journal::replay::{Against, replay};
use mesh_plugin_host::limits::{JOURNAL_BYTES, VISITOR_BYTES};
use mesh_plugin_host::trial::{CanaryPlan, Candidate, Length, Plan, TrialError, TrialEvent};
use mesh_plugin_host::{
    Fault, Grants, Loaded, OnFailure, PolicySet, PolicySlot, PreparedAdmission, SlotState, StartWith, Terms,
    builtin, limits, load, prepare_admission, prepare_carry,
};
use mesh_proto::NodeId;
use mesh_proto::members::MemberState;
use mesh_proto::policy::{Approach, MAX_VISITORS, Place, Policies, Visitor};

use crate::guests::{engine, hostile, name, settings, story, text};

const SLOT: PolicySlot = PolicySlot::Admission;
const PLACE: Place = Place { links: 3, least: 2, most: 8, members: 9 };

fn visitor(node: u8, approach: Approach) -> Visitor {
    Visitor { node: NodeId([node; 32]), name: String::new(), labels: Vec::new(), health: None, approach }
}

/// Two keys that begin with an even byte, two that do not, in each way in which links come about.
pub fn visitors() -> Vec<Visitor> {
    vec![
        visitor(1, Approach::Inbound),
        visitor(2, Approach::Inbound),
        visitor(3, Approach::Outbound),
        visitor(4, Approach::Standing),
        visitor(5, Approach::Standing),
    ]
}

/// What the hostile guest says to [`visitors`] when it behaves.
pub const BEHAVES: [bool; 5] = [false, true, false, true, false];
/// What comes of [`visitors`] when nobody guards the door, and it stays shut.
const SHUT: [bool; 5] = [false, false, false, true, true];

pub fn ask(set: &mut PolicySet, now_ms: u64) -> Vec<bool> {
    let mut answers = vec![true; 9];
    set.admit(now_ms, &PLACE, &visitors(), &mut answers);
    answers
}

fn bad() -> Loaded {
    load(&engine(), &hostile("admission"), Grants::NONE).expect("it loads")
}

fn prepared(loaded: &Loaded, mode: &str) -> PreparedAdmission {
    prepare_admission(loaded, &settings([("mode", text(mode))])).expect("it passes its rehearsal")
}

fn guest_list() -> Loaded {
    load(&engine(), builtin::GUEST_LIST, Grants::NONE).expect("it is built in")
}

fn set_with(first: PreparedAdmission) -> PolicySet {
    let mut set = PolicySet::new(&engine());
    set.swap(first, 0, StartWith::Reset).expect("the first one is taken");
    set.take_events();
    set
}

fn asked(set: &mut PolicySet) -> u32 {
    let state = set.peek_state(SLOT).unwrap().expect("a plugin is active");
    u32::from_le_bytes(*state.bytes.first_chunk().unwrap())
}

#[test]
fn without_a_plugin_nobody_is_asked_and_everybody_comes_in() {
    let mut set = PolicySet::new(&engine());

    assert!(!set.guards());
    assert_eq!(ask(&mut set, 1), [true; 5]);
}

/// Names, labels, health and the way of the approach reach the author.
#[test]
fn the_guest_list_lets_in_whom_its_settings_name() {
    let strict = settings([("allow", text("site-*,key:0707")), ("require_label", text("region=eu"))]);
    let mut set = set_with(prepare_admission(&guest_list(), &strict).unwrap());
    let known = |node, name: &str, region: &str| Visitor {
        name: name.into(),
        labels: vec![("region".into(), region.into())],
        health: Some(MemberState::Alive),
        ..visitor(node, Approach::Standing)
    };
    let visitors = [
        known(1, "site-1", "eu"),
        known(2, "site-2", "us"),
        known(3, "other", "eu"),
        known(7, "other", "eu"),
    ];
    let mut answers = Vec::new();

    set.admit(1, &PLACE, &visitors, &mut answers);

    assert!(set.guards());
    assert_eq!(answers, [true, false, false, true]);
    assert_eq!((set.decisions(SLOT), set.status(SLOT).fallbacks), (4, 0));
}

/// More than a call takes are asked about in several, and every answer is at its place.
#[test]
fn a_crowd_is_asked_about_in_parts() {
    let mut set = set_with(prepared(&bad(), ""));
    let crowd: Vec<Visitor> = (0..150u8).map(|node| visitor(node, Approach::Inbound)).collect();
    let mut answers = Vec::new();

    set.admit(1, &PLACE, &crowd, &mut answers);

    let even: Vec<bool> = (0..150u8).map(|node| node % 2 == 0).collect();
    assert_eq!(answers, even);
    assert_eq!((set.status(SLOT).calls, MAX_VISITORS), (3, 64));
}

/// What a node says of itself is bounded before a plugin sees it: it costs nobody a strike, and lets nobody in.
#[test]
fn who_tells_too_much_of_itself_is_answered_without_the_plugin() {
    let mut set = set_with(prepared(&bad(), "everybody"));
    let long = vec![("k".to_owned(), "v".repeat(VISITOR_BYTES))];
    let many = vec![("k".to_owned(), String::new()); limits::VISITOR_LABELS + 1];
    for labels in [long, many] {
        let mut answers = Vec::new();

        set.admit(1, &PLACE, &[Visitor { labels, ..visitor(2, Approach::Inbound) }], &mut answers);

        assert_eq!((answers, set.status(SLOT).faults), (vec![false], 0));
    }
    assert_eq!(ask(&mut set, 2), [true; 5]);
}

/// H04: what it remembers goes along, and back.
#[test]
fn state_survives_a_swap_and_a_rollback() {
    let mut set = set_with(prepared(&bad(), ""));
    ask(&mut set, 1);

    let open = Terms { on_failure: OnFailure::FailOpen, ..Terms::default() };
    let other = prepared(&bad(), "").with_terms(open).unwrap();
    let report = set.swap(other, 2, StartWith::Keep).unwrap();

    assert_eq!((report.slot, report.state_carried, report.at_decision), ("admission", true, 5));
    ask(&mut set, 3);
    assert_eq!(asked(&mut set), 10);
    set.rollback(SLOT, 4).unwrap();
    assert_eq!(asked(&mut set), 10);
    set.remove(SLOT, 5).unwrap();
    assert!(!set.guards());
}

/// W20: a plugin that fails lets nobody in and dials nobody, and keeps the links that there are; in quarantine too,
/// until it is back.
#[test]
fn w20_the_door_stays_shut_while_its_guard_fails_and_opens_when_it_is_back() {
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
    for (mode, is_expected) in table {
        let mut set = set_with(prepared(&bad(), mode));
        let mut calls = 0;
        while set.status(SLOT).quarantined.is_none() {
            calls += 1;
            assert!(calls <= 20, "{mode}: not quarantined");
            // A second apart, so that each answer is followed by a checkpoint.
            let answers = ask(&mut set, calls * 1_000);
            assert!(answers == SHUT || answers == BEHAVES, "{mode}: {answers:?}");
            assert!(set.guards(), "{mode}");
        }

        let status = set.status(SLOT);
        let fault = status.last_faults.first().expect("there was one").fault.clone();
        assert!(is_expected(&fault), "{mode}: {fault:?}");
        assert_eq!((status.faults, status.state), (3, SlotState::Quarantined), "{mode}");
        assert_eq!(name(status.quarantined.as_ref()), Some("hostile/admission 1.0.0".into()), "{mode}");
        assert_eq!(status.on_failure, OnFailure::FailClosed, "{mode}: unless an operator says otherwise");
        assert!(set.guards(), "{mode}: in quarantine it is asked too");
        assert_eq!(ask(&mut set, calls * 1_000 + 1), SHUT, "{mode}");

        story(&mut set);
        set.look(calls * 1_000 + limits::QUARANTINE_FIRST_MS);
        assert_eq!(story(&mut set), ["back by itself"], "{mode}");
        assert!(set.guards() && set.status(SLOT).quarantined.is_none(), "{mode}");
    }
}

#[test]
fn an_operator_may_want_an_open_door() {
    for mode in [OnFailure::Fallback, OnFailure::FailOpen] {
        let terms = Terms { on_failure: mode, ..Terms::default() };
        let mut set = set_with(prepared(&bad(), "trap").with_terms(terms).unwrap());

        for now_ms in 1..10 {
            let answers = ask(&mut set, now_ms);
            assert!(answers == [true; 5] || answers == BEHAVES, "{mode}: {answers:?}");
        }

        assert_eq!(set.status(SLOT).faults, 3, "{mode}");
        assert_eq!(ask(&mut set, 99), [true; 5], "{mode}");
    }
}

/// A plugin that cannot be started at all leaves the slot to whom its operator wants.
#[test]
fn a_vacant_door_is_shut_when_it_is_to_be() {
    let mut set = PolicySet::new(&engine());

    set.leave_vacant(SLOT, OnFailure::FailClosed);

    assert!(set.guards());
    assert_eq!(ask(&mut set, 1), SHUT);
}

/// W20: who revokes the key of a guard does not open the door that it kept.
#[test]
fn a_guard_that_is_withdrawn_leaves_the_door_shut_until_its_slot_is_given_back() {
    for is_quarantined in [false, true] {
        let mut set = set_with(prepared(&bad(), if is_quarantined { "trap" } else { "" }));
        (1..9).for_each(|now_ms| drop(ask(&mut set, now_ms)));
        assert_eq!(set.status(SLOT).quarantined.is_some(), is_quarantined);

        set.withdraw(&|_| true, 10);

        assert!(set.guards() && set.status(SLOT).active.is_none());
        assert_eq!(ask(&mut set, 11), SHUT);
        set.remove(SLOT, 12).unwrap();
        assert!(!set.guards());
    }
    let open = Terms { on_failure: OnFailure::Fallback, ..Terms::default() };
    let mut set = set_with(prepared(&bad(), "").with_terms(open).unwrap());
    set.withdraw(&|_| true, 1);
    assert!(!set.guards());
}

#[test]
fn an_admission_plugin_fits_its_own_slot_only() {
    let error = prepare_carry(&guest_list(), &settings([])).expect_err("it is another kind");

    assert!(error.to_string().contains("admission"), "{error}");
}

/// W19: what was answered to names and labels is answered again, to the bit, and another list answers otherwise.
#[test]
fn what_was_decided_is_recorded_with_its_words_and_made_again() {
    let mut set = PolicySet::new(&engine());
    set.keep_journal(JOURNAL_BYTES, 0);
    let allow = |list| prepare_admission(&guest_list(), &settings([("allow", text(list))])).unwrap();
    set.swap(allow("site-*"), 0, StartWith::Reset).unwrap();
    let mut answers = Vec::new();
    for turn in 0..40u8 {
        let named = |node: u8, name: &str| Visitor {
            name: format!("{name}-{turn}"),
            labels: vec![("région".into(), "eu\u{1f30d}".into()), ("empty".into(), String::new())],
            health: [MemberState::Suspect, MemberState::Alive, MemberState::Left].map(Some)
                [usize::from(turn % 3)],
            ..visitor(node, Approach::Outbound)
        };
        set.admit(u64::from(turn) * 100, &PLACE, &[named(1, "site"), named(2, "other")], &mut answers);
        assert_eq!(answers, [true, false]);
    }
    let page = set.journal_page(SLOT, 0, usize::MAX).unwrap();
    let known = |_: &mesh_plugin_host::journal::Binding| Some(guest_list());
    let again = replay(SLOT, &page.bindings, &page.entries, Against::Recorded(&known)).unwrap();
    let loose = settings([("allow", text("*-7"))]);
    let other = guest_list();
    let differs = replay(SLOT, &page.bindings, &page.entries, Against::Candidate(&other, &loose)).unwrap();

    assert!(again.is_equal(), "{again:?}");
    assert_eq!((again.calls, again.decisions, again.skipped), (40, 80, 0));
    // All but the seventh turn's first, and its second.
    assert_eq!(differs.differing, 40, "{differs:?}");
    let told = &differs.examples[0];
    assert_eq!((told.recorded.as_str(), told.replayed.as_str()), ("admit", "deny"));
    let inputs = format!("{:?}", told.inputs);
    assert!(
        inputs.contains("site-0") && inputs.contains("région=eu") && inputs.contains("outbound"),
        "{inputs}"
    );
}

#[test]
fn a_candidate_is_shadowed_and_never_a_canary() {
    let mut set = set_with(prepared(&bad(), ""));
    let candidate =
        || Candidate::new(&bad(), &settings([("mode", text("everybody"))]), Terms::default()).unwrap();
    let canary = Plan { canary: Some(CanaryPlan { share: 5_000, for_ms: 1_000 }), ..Plan::default() };
    let refused = set.begin_trial(SLOT, vec![candidate()], canary, 0);
    assert_eq!(refused, Err(TrialError::NoFlows { slot: "admission" }));

    let shadow = Plan { shadow: Some(Length::Calls(2)), ..Plan::default() };
    set.begin_trial(SLOT, vec![candidate()], shadow, 1).unwrap();
    let mut over = None;
    let begun = std::time::Instant::now();
    for now_ms in 2.. {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it does not end");
        assert_eq!(ask(&mut set, now_ms), BEHAVES, "a shadow decides nothing");
        over = set.poll_trials(now_ms).pop();
        if over.is_some() {
            break;
        }
        std::thread::yield_now();
    }

    let Some(TrialEvent::Over { outcome: Ok(()), status, .. }) = over else { panic!("{over:?}") };
    let figures = status.shadow.expect("it was in the shadow");
    assert!(figures.calls >= 2 && figures.rows == figures.calls * 5, "{figures:?}");
    assert!(figures.differing > 0 && figures.differing.is_multiple_of(3), "{figures:?}");
    assert!(figures.examples.iter().any(|example| example.candidate == "admit"), "{figures:?}");
}
