//! A candidate beside the active revision: shadow runs and canaries. H03, H04; features.md part 4, 4.

use std::time::{Duration, Instant};

use mesh_plugin_host::compare::Answers;
use mesh_plugin_host::journal::replay::{Against, replay};
use mesh_plugin_host::journal::{Binding, Page};
use mesh_plugin_host::limits::JOURNAL_BYTES;
use mesh_plugin_host::trial::{
    Breach, CanaryPlan, Candidate, End, Gates, Length, MaxP99, Plan, Stage, TrialError, TrialEvent,
    TrialStatus,
};
use mesh_plugin_host::{
    Fault, Grants, Lowered, PolicySet, PolicySlot, PreparedRouting, Refusal, StartWith, SwapError, Terms,
    Value, builtin, load, prepare_qos, prepare_routing,
};
use mesh_proto::NodeId;
use mesh_proto::policy::{Class, Load, Policies, QosBatch, flow_number};
use mesh_proto::run::{Dest, Flow};

use crate::guests::{
    NATIVE, ask, batch, counter, engine, good, hostile_routing, set_with, settings, text, view,
};

const ROUTE: PolicySlot = PolicySlot::Route;

fn candidate(mode: &str, after: i64) -> Candidate {
    let settings = settings([("mode", text(mode)), ("after", Value::Integer(after + 1))]);
    Candidate::new(hostile_routing(), &settings, Terms::default()).unwrap()
}

fn latency_prepared() -> PreparedRouting {
    prepare_routing(&load(&engine(), builtin::LATENCY, Grants::NONE).unwrap(), &settings([])).unwrap()
}

/// Decides as the native built-in does, and so unlike the hostile guests.
fn latency() -> Candidate {
    let loaded = load(&engine(), builtin::LATENCY, Grants::NONE).unwrap();
    Candidate::new(&loaded, &settings([]), Terms::default()).unwrap()
}

fn shadow_of(calls: u64) -> Plan {
    Plan { shadow: Some(Length::Calls(calls)), copies_state: true, ..Plan::default() }
}

fn canary_of(share: u32) -> Plan {
    Plan { canary: Some(CanaryPlan { share, for_ms: 1_000 }), copies_state: true, ..Plan::default() }
}

/// Lets the trials go on until one has something to tell.
fn next_event(set: &mut PolicySet, now_ms: u64) -> TrialEvent {
    let begun = Instant::now();
    loop {
        if let Some(event) = set.poll_trials(now_ms).pop() {
            return event;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing happens: {:?}", set.trial(ROUTE));
        std::thread::yield_now();
    }
}

fn over(set: &mut PolicySet, now_ms: u64) -> (Result<(), End>, TrialStatus) {
    match next_event(set, now_ms) {
        TrialEvent::Over { outcome, status, .. } => (outcome, *status),
        event => panic!("it goes on: {event:?}"),
    }
}

/// Asks for so many flows, a row each, and returns what each was answered.
fn ask_flows(set: &mut PolicySet, now_ms: u64, flows: &[u32]) -> Vec<u32> {
    assert!(set.wants_flows());
    let mut verdicts = Vec::new();
    set.flows(flows);
    set.route(now_ms, &batch(flows.len()), &mut verdicts);
    set.flows(&[]);
    verdicts
}

fn spread(count: u32) -> Vec<u32> {
    (0..count).map(|flow| flow.wrapping_mul(0x9e37_79b9)).collect()
}

#[test]
fn a_shadow_run_compares_every_call_and_changes_no_answer() {
    let mut set = set_with(good());
    ask(&mut set, 0, 5);
    set.begin_trial(ROUTE, vec![latency()], shadow_of(20), 0).unwrap();

    for _ in 0..30 {
        assert_eq!(ask(&mut set, 1, 3), 0, "the active one decides");
    }

    let (outcome, status) = over(&mut set, 2);
    let shadow = status.shadow.unwrap();
    assert_eq!((outcome, status.stage), (Ok(()), Stage::Shadow));
    assert_eq!((shadow.calls, shadow.rows, shadow.differing), (20, 60, 60));
    assert_eq!((shadow.disagreement_ppm(), shadow.skipped, shadow.faults), (1_000_000, 0, 0));
    assert_eq!(shadow.examples.len(), 1, "they are all alike");
    let example = &shadow.examples[0];
    assert_eq!(example.input, "to destination 5, written here, 100 B, normal");
    assert_eq!((&*example.active, &*example.candidate), ("neighbour 0", "neighbour 1"));
    assert_eq!(counter(&mut set), 95, "the active one's state knows its own calls");
    assert_eq!(set.status(ROUTE).faults, 0);
    assert!(set.trial(ROUTE).is_none());
}

#[test]
fn a_candidate_that_decides_alike_disagrees_on_nothing() {
    let mut set = set_with(good());
    let gates = Gates { max_disagreement_ppm: Some(0), ..Gates::default() };
    set.begin_trial(ROUTE, vec![candidate("", 0)], Plan { gates, ..shadow_of(8) }, 0).unwrap();
    for _ in 0..8 {
        ask(&mut set, 1, 64);
    }

    let (outcome, status) = over(&mut set, 1);

    assert_eq!(outcome, Ok(()));
    let (active, tried) = status.shadow.as_ref().unwrap().p99_ns();
    assert!(active > 0 && tried > 0);
}

#[test]
fn what_the_candidate_is_behind_with_is_skipped_and_counted() {
    let mut set = set_with(good());
    let plan = Plan { shadow: Some(Length::Ms(10)), ..shadow_of(0) };
    set.begin_trial(ROUTE, vec![candidate("", 0)], plan, 0).unwrap();
    for _ in 0..100 {
        ask(&mut set, 1, 1);
    }
    // More rows than all that may wait.
    set.route(1, &batch(1 << 16), &mut Vec::new());

    let (outcome, status) = over(&mut set, 10);

    assert_eq!(outcome, Ok(()));
    let shadow = status.shadow.unwrap();
    assert_eq!((shadow.calls, shadow.skipped), (64, 37));
}

#[test]
fn a_gate_that_does_not_hold_ends_the_trial_without_a_switch() {
    let limit = |gates| Plan { gates, ..shadow_of(4) };
    for (plan, traffic, want) in [
        (
            limit(Gates { max_disagreement_ppm: Some(50_000), ..Gates::default() }),
            4,
            Breach::Disagreement { ppm: 1_000_000, max_ppm: 50_000 },
        ),
        (Plan { shadow: Some(Length::Ms(5)), ..limit(Gates::default()) }, 0, Breach::NoTraffic),
    ] {
        let mut set = set_with(good());
        set.begin_trial(ROUTE, vec![latency()], plan, 0).unwrap();
        for _ in 0..traffic {
            ask(&mut set, 1, 2);
        }

        let (outcome, _) = over(&mut set, 5);

        assert_eq!(outcome, Err(End::Gate(want)));
        assert_eq!(ask(&mut set, 6, 1), 0);
    }
    let mut set = set_with(good());
    let slow = Gates { max_p99: Some(MaxP99::Ns(1)), ..Gates::default() };
    set.begin_trial(ROUTE, vec![latency()], limit(slow), 0).unwrap();
    for _ in 0..4 {
        ask(&mut set, 1, 2);
    }
    assert!(matches!(over(&mut set, 1).0, Err(End::Gate(Breach::P99 { max_ns: 1, .. }))));
}

/// H03: what traps in the shadow never decides, and costs the active one nothing.
#[test]
fn a_candidate_that_fails_in_the_shadow_is_given_up_at_once() {
    for mode in ["trap-decide", "loop-decide", "unknown-neighbour", "huge-answer", "trap-observe"] {
        let mut set = set_with(good());
        set.begin_trial(ROUTE, vec![candidate(mode, 2)], shadow_of(1_000), 0).unwrap();
        for _ in 0..4 {
            ask(&mut set, 1, 2);
            set.observe(1, &view());
        }

        let (outcome, status) = over(&mut set, 1);

        assert!(matches!(outcome, Err(End::Gate(Breach::Traps { max: 0, .. }))), "{mode}: {outcome:?}");
        assert!(status.shadow.unwrap().last_fault.is_some());
        let slot = set.status(ROUTE);
        assert_eq!((slot.faults, slot.fallbacks, slot.messages), (0, 0, 8), "{mode}");
    }
}

/// W01, W05, with the operator's limits in the place of the host's.
#[test]
fn a_candidate_has_the_limits_of_its_terms() {
    let held = |mode: &str, lowered| {
        let settings = settings([("mode", text(mode)), ("after", Value::Integer(1))]);
        Candidate::new(hostile_routing(), &settings, Terms { lowered, ..Terms::default() })
    };
    let brief = Lowered { deadline: Some(Duration::from_millis(2)), ..Lowered::default() };
    let mut set = set_with(good());
    set.begin_trial(ROUTE, vec![held("loop-decide", brief).unwrap()], canary_of(10_000), 0).unwrap();

    ask_flows(&mut set, 1, &[1]);

    let late = Fault::Deadline { limit: Duration::from_millis(2) };
    assert_eq!(over(&mut set, 2).1.canary.unwrap().last_fault, Some(late));
    let narrow = Lowered { memory: Some(64 << 10), ..Lowered::default() };
    assert_eq!(held("", narrow).unwrap_err().code(), "MESH-P112", "it has more already");
}

#[test]
fn traps_that_are_allowed_are_counted_and_the_candidate_goes_on_afresh() {
    let mut set = set_with(good());
    let gates = Gates { max_traps: 10, ..Gates::default() };
    // Every fresh instance answers three calls.
    set.begin_trial(ROUTE, vec![candidate("trap-decide", 2)], Plan { gates, ..shadow_of(9) }, 0).unwrap();
    let mut asked = 0;
    let (outcome, status) = loop {
        ask(&mut set, 1, 1);
        asked += 1;
        assert!(asked < 100_000);
        if let Some(TrialEvent::Over { outcome, status, .. }) = set.poll_trials(1).pop() {
            break (outcome, *status);
        }
    };

    assert_eq!(outcome, Ok(()));
    let shadow = status.shadow.unwrap();
    assert!(shadow.calls >= 9 && (2..=10).contains(&shadow.faults), "{shadow:?}");
}

/// H04: the candidate starts with a copy of the state, and one that does not take it is not tried.
#[test]
fn a_candidate_that_refuses_the_state_is_not_tried() {
    let mut set = set_with(good());
    ask(&mut set, 0, 5);

    let refused = set.begin_trial(ROUTE, vec![candidate("refuse-state", 0)], shadow_of(1), 0);

    let want = SwapError::StateRefused(Refusal::UnknownVersion(1));
    assert_eq!(refused, Err(TrialError::Start(want)));
    assert!(set.trial(ROUTE).is_none());
    let blank = Plan { copies_state: false, ..shadow_of(1) };
    set.begin_trial(ROUTE, vec![candidate("refuse-state", 0)], blank, 0)
        .expect("without state it is welcome");
}

#[test]
fn a_canary_decides_for_its_share_of_the_flows_and_always_the_same_ones() {
    let mut set = set_with(good());
    set.begin_trial(ROUTE, vec![latency()], canary_of(1_000), 0).unwrap();
    let flows = spread(10_000);

    let verdicts = ask_flows(&mut set, 1, &flows);

    let by_candidate = verdicts.iter().filter(|&&verdict| verdict == NATIVE).count();
    assert!((950..=1_050).contains(&by_candidate), "{by_candidate}");
    assert_eq!(ask_flows(&mut set, 2, &flows), verdicts);
    let mut reversed: Vec<u32> = flows.iter().rev().copied().collect();
    let mut backwards = ask_flows(&mut set, 3, &reversed);
    backwards.reverse();
    reversed.reverse();
    assert_eq!((reversed, backwards), (flows, verdicts));
    let canary = set.trial(ROUTE).unwrap().canary.clone().unwrap();
    assert_eq!((canary.rows, canary.differing), (3 * by_candidate as u64, 3 * by_candidate as u64));
    assert_eq!(counter(&mut set), 30_000, "the active one's state stays complete");
    assert_eq!(over(&mut set, 1_000).0, Ok(()));
    assert!(!set.wants_flows());
    assert_eq!(ask(&mut set, 1_001, 50), 0, "who switches is who drives the trial");
}

/// What a message met is told under the name of whoever decided on it, and the record stays the active one's.
#[test]
fn what_a_canary_decides_stands_in_the_journal_behind_the_call() {
    let mut set = PolicySet::new(&engine());
    set.keep_journal(JOURNAL_BYTES, 0);
    set.observe(0, &view());
    set.swap(good(), 0, StartWith::Reset).unwrap();
    set.begin_trial(ROUTE, vec![latency()], canary_of(5_000), 0).unwrap();
    assert_eq!(ask_flows(&mut set, 1, &[0, u32::MAX, 1]), [NATIVE, 0, NATIVE]);

    let number = set.noted().unwrap()[0];
    let (call, _) = set.journal_entry(ROUTE, number).unwrap();
    let tried = set.journal_tried(ROUTE, number).unwrap();

    assert_eq!(call.event.answer().map(|(_, answers)| answers), Some(Answers::Routes(&[0, 0, 0])));
    assert_eq!((tried.of, &*tried.plugin, &*tried.version), (number, "built-in/latency", "0.1.0"));
    assert_eq!((tried.rows, tried.answers), (vec![0, 2], vec![NATIVE, NATIVE]));
    ask_flows(&mut set, 2, &[u32::MAX]);
    assert_eq!(set.journal_tried(ROUTE, set.noted().unwrap()[0]), None, "none of its flows");
    let Page { entries, bindings, .. } = set.journal_page(ROUTE, 0, usize::MAX).unwrap();
    let recorded = |_: &Binding| Some(hostile_routing().clone());
    let replayed = replay(ROUTE, &bindings, &entries, Against::Recorded(&recorded)).unwrap();
    assert!(replayed.is_equal(), "{replayed:?}");
}

#[test]
fn a_call_that_is_no_messages_is_the_active_ones() {
    let mut set = set_with(good());
    set.begin_trial(ROUTE, vec![latency()], canary_of(10_000), 0).unwrap();

    assert_eq!(ask(&mut set, 1, 4), 0);
    assert_eq!(ask_flows(&mut set, 1, &[7, 8]), [NATIVE, NATIVE]);
}

/// H03: a canary that traps costs no message: the active one has answered already.
#[test]
fn a_canary_that_fails_is_answered_by_the_active_one_and_given_up() {
    for mode in ["trap-decide", "loop-decide", "short-answer", "overflow-decide"] {
        let mut set = set_with(good());
        set.begin_trial(ROUTE, vec![candidate(mode, 0)], canary_of(10_000), 0).unwrap();

        assert_eq!(ask_flows(&mut set, 1, &spread(9)), [0; 9], "{mode}");
        assert_eq!(ask_flows(&mut set, 1, &spread(9)), [0; 9], "{mode}");

        let (outcome, status) = over(&mut set, 2);
        assert!(matches!(outcome, Err(End::Gate(Breach::Traps { .. }))), "{mode}: {outcome:?}");
        assert!(status.canary.unwrap().faults > 0);
        assert_eq!((set.status(ROUTE).faults, counter(&mut set)), (0, 18), "{mode}");
    }
}

#[test]
fn a_canary_that_disagrees_too_often_is_given_up_before_its_time() {
    let mut set = set_with(good());
    let gates = Gates { max_disagreement_ppm: Some(50_000), ..Gates::default() };
    set.begin_trial(ROUTE, vec![latency()], Plan { gates, ..canary_of(5_000) }, 0).unwrap();
    assert!(set.poll_trials(1).is_empty());

    ask_flows(&mut set, 1, &spread(1_000));

    let (outcome, _) = over(&mut set, 2);
    assert_eq!(outcome, Err(End::Gate(Breach::Disagreement { ppm: 1_000_000, max_ppm: 50_000 })));
    assert_eq!(ask(&mut set, 3, 5), 0);
}

/// Other flows than its own are no comparison, and that is said as what it is.
#[test]
fn a_canary_without_a_flow_of_its_own_does_not_take_over() {
    let mut set = set_with(good());
    set.begin_trial(ROUTE, vec![latency()], canary_of(1), 0).unwrap();
    let others: Vec<u32> = spread(1_000).into_iter().filter(|flow| *flow > u32::MAX / 2).take(4).collect();
    assert_eq!(ask_flows(&mut set, 1, &others), [0; 4]);

    let (outcome, _) = over(&mut set, 1_000);

    assert_eq!(outcome, Err(End::Gate(Breach::NoFlow)));
}

#[test]
fn a_canary_follows_a_shadow_run_that_passed() {
    let mut set = set_with(good());
    let plan = Plan { shadow: Some(Length::Calls(2)), ..canary_of(10_000) };
    assert_eq!(set.begin_trial(ROUTE, vec![latency()], plan, 0), Err(TrialError::NoStage));
    set.begin_trial(ROUTE, vec![latency(), latency()], plan, 0).unwrap();
    ask(&mut set, 1, 4);
    ask(&mut set, 1, 4);
    assert!(!set.wants_flows());

    assert_eq!(next_event(&mut set, 5), TrialEvent::CanaryBegan { slot: ROUTE });

    assert_eq!(ask_flows(&mut set, 6, &[1]), [NATIVE]);
    assert!(set.poll_trials(1_004).is_empty(), "its second begins with it");
    let (outcome, status) = over(&mut set, 1_005);
    assert_eq!((outcome, status.shadow.unwrap().calls, status.canary.unwrap().calls), (Ok(()), 2, 1));
}

/// H06: a trial is of two revisions; when another one decides, it says nothing any more.
#[test]
fn a_trial_ends_when_the_slot_is_handed_over_by_others() {
    let mut set = set_with(good());
    set.begin_trial(ROUTE, vec![latency()], canary_of(10_000), 0).unwrap();
    let again = set.begin_trial(ROUTE, vec![latency()], canary_of(1), 0);
    assert_eq!(again, Err(TrialError::Running { slot: "route" }));

    set.swap(
        mesh_plugin_host::prepare_routing(
            &load(&engine(), builtin::LATENCY_NEXT, Grants::NONE).unwrap(),
            &settings([]),
        )
        .unwrap(),
        1,
        StartWith::Keep,
    )
    .unwrap();

    assert_eq!(over(&mut set, 1).0, Err(End::Superseded));
}

#[test]
fn a_candidate_whose_key_is_revoked_is_not_asked_again() {
    let mut set = set_with(good());
    set.begin_trial(ROUTE, vec![latency()], canary_of(10_000), 0).unwrap();
    assert_eq!(ask_flows(&mut set, 1, &[1]), [NATIVE]);

    let gone = set.withdraw(&|revision| revision.name == "built-in/latency", 1);

    assert!(gone.is_empty(), "it was in no slot");
    assert_eq!(ask_flows(&mut set, 1, &[1]), [0]);
    assert_eq!(over(&mut set, 1).0, Err(End::Withdrawn));
}

#[test]
fn a_pause_ends_a_trial_and_the_candidate_decides_nothing_any_more() {
    let mut set = set_with(latency_prepared());
    let behaves_otherwise = || vec![candidate("", 0)];
    set.begin_trial(ROUTE, behaves_otherwise(), canary_of(10_000), 0).unwrap();
    assert_eq!(ask_flows(&mut set, 1, &[1]), [0]);

    set.pause(ROUTE, 1).unwrap();

    assert_eq!(ask_flows(&mut set, 1, &[1]), [NATIVE]);
    assert_eq!(over(&mut set, 1).0, Err(End::Paused));
    set.begin_trial(ROUTE, behaves_otherwise(), canary_of(10_000), 2).unwrap();
    assert_eq!(over(&mut set, 2).0, Err(End::Paused), "nor does one that begins meanwhile");
}

#[test]
fn an_aborted_trial_leaves_everything_as_it_was() {
    let mut set = set_with(good());
    set.begin_trial(ROUTE, vec![latency()], canary_of(10_000), 0).unwrap();
    ask_flows(&mut set, 1, &spread(10));

    let status = set.abort_trial(ROUTE).unwrap();

    assert_eq!(status.canary.unwrap().rows, 10);
    assert_eq!(ask(&mut set, 2, 3), 0);
    assert!(set.abort_trial(ROUTE).is_none() && set.poll_trials(9_999).is_empty());
    assert_eq!(counter(&mut set), 13);
}

#[test]
fn a_quality_policy_is_tried_on_classes_and_on_shares() {
    let fair = load(&engine(), builtin::CLASS_FAIR, Grants::NONE).unwrap();
    let strict = settings([("critical_max_bytes", Value::Integer(0))]);
    let mut set = PolicySet::new(&engine());
    set.swap(prepare_qos(&fair, &settings([])).unwrap(), 0, StartWith::Reset).unwrap();
    let plan = Plan { copies_state: true, ..shadow_of(3) };
    let candidate = || vec![Candidate::new(&fair, &strict, Terms::default()).unwrap()];
    set.begin_trial(PolicySlot::Qos, candidate(), plan, 0).unwrap();
    let mut urgent = QosBatch::default();
    urgent.push(Class::Critical, 100, 0, 0);
    urgent.push(Class::Normal, 100, 0, 0);
    let mut classes = Vec::new();

    set.classify(1, &urgent, &mut classes);
    set.classify(1, &urgent, &mut classes);
    set.divide(1, &Load::default());

    let (outcome, status) = over(&mut set, 1);
    let shadow = status.shadow.unwrap();
    assert_eq!((outcome, classes.clone()), (Ok(()), vec![0, 2]));
    assert_eq!((shadow.calls, shadow.rows, shadow.differing), (3, 5, 2));
    assert_eq!((&*shadow.examples[0].active, &*shadow.examples[0].candidate), ("critical", "high"));

    let plan = Plan { canary: Some(CanaryPlan { share: 10_000, for_ms: 1 }), ..Plan::default() };
    set.begin_trial(PolicySlot::Qos, candidate(), plan, 2).unwrap();
    set.flows(&[1, 2]);
    set.classify(2, &urgent, &mut classes);
    assert_eq!(classes, [1, 2]);
}

#[test]
fn parents_are_chosen_for_one_node_so_there_is_no_canary_of_them() {
    let steady = load(&engine(), builtin::STEADY, Grants::NONE).unwrap();
    let candidate = || vec![Candidate::new(&steady, &settings([]), Terms::default()).unwrap()];
    let mut set = PolicySet::new(&engine());

    let refused = set.begin_trial(PolicySlot::Topology, candidate(), canary_of(10), 0);

    assert_eq!(refused, Err(TrialError::NoFlows { slot: "topology" }));
    set.begin_trial(PolicySlot::Topology, candidate(), shadow_of(1), 0).expect("a shadow run is possible");
}

#[test]
fn a_flow_is_what_one_node_writes_to_one_destination_over_restarts() {
    let flow = |origin: u8, epoch, dest: u8| {
        let dest = Dest::Node(NodeId([dest; 32]));
        flow_number(&Flow { origin: NodeId([origin; 32]), epoch, dest })
    };

    assert_eq!(flow(1, 5, 2), flow(1, 6, 2));
    let others = [flow(1, 5, 2), flow(2, 5, 1), flow(1, 5, 3), flow(3, 5, 2)];
    assert!((1..4).all(|other| !others[..other].contains(&others[other])), "{others:?}");
}
