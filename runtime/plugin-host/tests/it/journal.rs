//! The decision journal: what was decided can be made again, to the bit. Features part 4, number 3; W19.

use std::time::Duration;

use mesh_plugin_host::journal::replay::{Against, Replay, ReplayError, replay};
use mesh_plugin_host::journal::{
    Binding, By, Classified, Entry, Event, Page, Routed, Seen, Shown, Start, Told, With,
};
use mesh_plugin_host::limits::JOURNAL_BYTES;
use mesh_plugin_host::{
    Grants, Loaded, Lowered, OnFailure, PolicySet, PolicySlot, StartWith, Terms, Value, builtin, load,
    prepare_qos, prepare_routing, prepare_topology,
};
use mesh_proto::policy::{
    Asker, Candidates, Clamp, Class, LOCAL, Load, Overrule, Policies, QosBatch, RouteBatch, View,
};

use crate::guests::{engine, hostile_routing, prepared, settings, text};

fn loaded(bytes: &[u8]) -> Loaded {
    load(&engine(), bytes, Grants::NONE).unwrap()
}

/// Whoever made the decisions of these tests.
fn known(binding: &Binding) -> Option<Loaded> {
    let all = [builtin::LATENCY, builtin::LATENCY_NEXT, builtin::CLASS_FAIR, builtin::STEADY].map(loaded);
    let mut all = all.into_iter().chain([hostile_routing().clone()]);
    all.find(|loaded| loaded.revision().digest_text() == binding.revision)
}

fn journalled(bytes: usize) -> PolicySet {
    let mut set = PolicySet::new(&engine());
    set.keep_journal(bytes, 0);
    set
}

/// Two neighbours that change places in speed as time goes on, and ways to 32 destinations behind both; the first
/// one loses packets.
fn view(turn: u32) -> View {
    let mut view = View::default();
    for row in 0..2 {
        view.links.rtt_us.push(1_000 + 4_000 * ((turn / 3 + row) % 2));
        view.links.loss_ppm.push(if row == 0 { 400_000 } else { 0 });
        view.links.queued_bytes.push(turn);
    }
    for dest in 0..32 {
        for via in 0..2 {
            view.ways.dest.push(dest);
            view.ways.via.push(via);
            view.ways.cost_us.push(100 * (dest % 5));
            view.ways.hops.push(u8::from(dest != via));
        }
    }
    view
}

fn batch(turn: u32) -> RouteBatch {
    let mut batch = RouteBatch::default();
    for row in 0..1 + turn % 40 {
        batch.push((turn + row) % 34, [LOCAL, 0, 1][(row % 3) as usize], 100 + row, Class::Normal);
    }
    batch
}

/// Traffic over some seconds, with a view for every seventh batch.
fn traffic(set: &mut PolicySet, turns: std::ops::Range<u32>) {
    let mut verdicts = Vec::new();
    for turn in turns {
        let now_ms = 1_000 + 50 * u64::from(turn);
        if turn.is_multiple_of(7) {
            set.observe(now_ms, &view(turn));
        }
        set.route(now_ms, &batch(turn), &mut verdicts);
    }
}

fn page(set: &PolicySet, slot: PolicySlot) -> Page {
    set.journal_page(slot, 0, usize::MAX).unwrap()
}

fn again(set: &PolicySet, slot: PolicySlot, against: Against<'_>) -> Replay {
    let Page { entries, bindings, .. } = page(set, slot);
    replay(slot, &bindings, &entries, against).unwrap()
}

fn calls(set: &PolicySet, slot: PolicySlot) -> u64 {
    page(set, slot).entries.iter().filter(|entry| entry.event.answer().is_some()).count() as u64
}

#[test]
fn the_same_revision_decides_the_same_again_over_swaps_and_back_to_native() {
    let mut set = journalled(JOURNAL_BYTES);
    traffic(&mut set, 0..20);
    let none = settings([]);
    set.swap(prepare_routing(&loaded(builtin::LATENCY), &none).unwrap(), 2_000, StartWith::Reset).unwrap();
    traffic(&mut set, 20..200);
    let next = prepare_routing(&loaded(builtin::LATENCY_NEXT), &none).unwrap();
    set.swap(next, 11_000, StartWith::Keep).unwrap();
    traffic(&mut set, 200..300);
    set.remove(PolicySlot::Route, 16_000).unwrap();
    traffic(&mut set, 300..320);

    let replayed = again(&set, PolicySlot::Route, Against::Recorded(&known));

    assert!(replayed.is_equal(), "{replayed:?}");
    assert_eq!((replayed.calls, replayed.skipped), (320, 0));
    assert!(replayed.states > 5, "states are compared about once a second: {}", replayed.states);
    let bindings = page(&set, PolicySlot::Route).bindings;
    let names: Vec<&str> = bindings.iter().map(|binding| binding.version.as_str()).collect();
    assert_eq!(names, ["", "0.1.0", "0.2.0", ""]);
}

#[test]
fn what_a_warm_revision_remembers_is_known_from_its_next_saved_state_on() {
    let mut set = journalled(JOURNAL_BYTES);
    let none = settings([]);
    for (at, bytes) in [(0, builtin::LATENCY), (3_000, builtin::LATENCY_NEXT)] {
        set.swap(prepare_routing(&loaded(bytes), &none).unwrap(), at, StartWith::Reset).unwrap();
        traffic(&mut set, 0..40);
    }
    set.rollback(PolicySlot::Route, 3_500).unwrap();
    traffic(&mut set, 50..90);

    let replayed = again(&set, PolicySlot::Route, Against::Recorded(&known));

    assert!(replayed.is_equal(), "{replayed:?}");
    assert_eq!(
        (replayed.calls, replayed.skipped),
        (119, 1),
        "the first call after the rollback saves the state"
    );
}

#[test]
fn a_journal_that_has_dropped_its_beginning_is_replayed_from_a_saved_state() {
    let mut set = journalled(48 << 10);
    set.swap(prepare_routing(&loaded(builtin::LATENCY), &settings([])).unwrap(), 0, StartWith::Reset)
        .unwrap();
    traffic(&mut set, 0..2_000);

    let extent = set.journal_extent(PolicySlot::Route).unwrap();
    let replayed = again(&set, PolicySlot::Route, Against::Recorded(&known));

    assert!(extent.dropped > 1_000, "{extent:?}");
    assert!(replayed.is_equal(), "{replayed:?}");
    assert!(replayed.skipped < 25 && replayed.calls > 25, "{replayed:?}");
}

#[test]
fn another_revision_shows_which_decisions_differ_with_their_inputs() {
    let mut set = journalled(JOURNAL_BYTES);
    let none = settings([]);
    set.swap(prepare_routing(&loaded(builtin::LATENCY), &none).unwrap(), 0, StartWith::Reset).unwrap();
    traffic(&mut set, 0..100);

    // The next version counts loss, which the first neighbour has.
    let replayed = again(&set, PolicySlot::Route, Against::Candidate(&loaded(builtin::LATENCY_NEXT), &none));

    assert!(replayed.differing > 0 && replayed.differing < replayed.decisions, "{replayed:?}");
    assert_eq!((replayed.calls, replayed.faults, replayed.state_refused.as_deref()), (100, 0, None));
    let example = &replayed.examples[0];
    assert_ne!(example.recorded, example.replayed);
    let entry = page(&set, PolicySlot::Route).entries.swap_remove(example.number as usize);
    let Event::Route(call) = entry.event else { panic!("{entry:?}") };
    assert_eq!(example.inputs[0], ("dest", Shown::Number(call.dest[example.row].into())));
    let wrong = replay(PolicySlot::Qos, &[], &[], Against::Candidate(&loaded(builtin::LATENCY), &none));
    assert!(wrong.unwrap_err().to_string().contains("slot qos"));
}

#[test]
fn a_record_that_was_changed_is_found_out() {
    let mut set = journalled(JOURNAL_BYTES);
    let none = settings([]);
    set.swap(prepare_routing(&loaded(builtin::LATENCY), &none).unwrap(), 0, StartWith::Reset).unwrap();
    traffic(&mut set, 0..50);
    let Page { mut entries, bindings, .. } = page(&set, PolicySlot::Route);
    let call = entries.iter_mut().rev().find_map(|entry| match &mut entry.event {
        Event::Route(call) => Some(call),
        _ => None,
    });
    call.unwrap().answers[0] ^= 1;

    let replayed = replay(PolicySlot::Route, &bindings, &entries, Against::Recorded(&known)).unwrap();

    assert_eq!((replayed.differing, replayed.differing_calls, replayed.is_equal()), (1, 1, false));
}

/// What a stranger wrote into a file must not end the program that reads it.
#[test]
fn an_entry_that_no_journal_writes_is_refused_by_its_number() {
    let entry = |number, event| Entry { number, now_ms: 1, binding: 0, event };
    let start = || {
        entry(0, Event::Start(Start { with: With::Nothing, version: 0, state: Vec::new(), handler: None }))
    };
    let told = Told { by: By::Native, cost_ns: None };
    let way = Seen { dest: vec![1], via: vec![0], cost_us: vec![1], hops: vec![1], ..Seen::default() };
    let far = Seen { dest: vec![u32::MAX], ..way.clone() };
    let short = Seen { via: Vec::new(), ..way };
    let one_link = Seen { rtt_us: vec![1], ..Seen::default() };
    let route =
        Routed { told, dest: vec![1], ingress: vec![], size: vec![1], class: vec![1], answers: vec![0] };
    let classes =
        Classified { told, class: vec![1], size: vec![1], age_ms: vec![1], tag: vec![], answers: vec![1] };
    let mut set = journalled(JOURNAL_BYTES);
    let asker = Asker { level: 0, mobility: 1, battery: 50, weights: [250; 4], max_distance_m: 900 };
    set.score(1, &asker, &candidates(1), &mut Vec::new());
    let Event::Score(mut scored) = page(&set, PolicySlot::Topology).entries.pop().unwrap().event else {
        panic!("it was asked for scores")
    };
    scored.mobility.pop();

    for (slot, event) in [
        (PolicySlot::Route, Event::Observe(far)),
        (PolicySlot::Route, Event::Observe(short)),
        (PolicySlot::Route, Event::Observe(one_link)),
        (PolicySlot::Route, Event::Route(route)),
        (PolicySlot::Qos, Event::Classify(classes)),
        (PolicySlot::Topology, Event::Score(scored)),
    ] {
        let native = page(&set, PolicySlot::Topology).bindings;
        let entries = [start(), entry(u64::MAX, event)];

        let refused = replay(slot, &native, &entries, Against::Recorded(&known));

        assert!(matches!(refused, Err(ReplayError::NotWhole(u64::MAX))), "{:?} {refused:?}", entries[1]);
    }
}

/// W01: a fault is a decision too: the same revision fails again at the same call.
#[test]
fn a_fault_is_recorded_with_its_input_and_comes_again() {
    let mut set = journalled(JOURNAL_BYTES);
    set.observe(0, &view(0));
    set.swap(prepared("trap-decide", 5), 0, StartWith::Reset).unwrap();
    let mut verdicts = Vec::new();
    for now_ms in 0..11 {
        set.route(now_ms, &batch(3), &mut verdicts);
    }

    let by: Vec<By> = page(&set, PolicySlot::Route)
        .entries
        .iter()
        .filter_map(|entry| entry.event.answer().map(|(told, _)| told.by))
        .collect();
    let replayed = again(&set, PolicySlot::Route, Against::Recorded(&known));

    assert_eq!(by.iter().filter(|by| **by == By::FallbackFault).count(), 1, "{by:?}");
    assert!(replayed.is_equal() && replayed.faults == 0, "{replayed:?}");
    assert_eq!(replayed.calls, 11, "{replayed:?}");
    let healthy =
        again(&set, PolicySlot::Route, Against::Candidate(&loaded(builtin::LATENCY), &settings([])));
    assert_eq!(healthy.faults, 0);
}

/// W01, with the operator's limit in the place of the host's.
#[test]
fn limits_that_were_lowered_are_recorded_and_hold_in_a_replay() {
    let mut set = journalled(JOURNAL_BYTES);
    set.swap(prepare_routing(&loaded(builtin::LATENCY), &settings([])).unwrap(), 0, StartWith::Reset)
        .unwrap();
    traffic(&mut set, 0..20);
    let lowered =
        Lowered { deadline: Some(Duration::from_millis(2)), memory: Some(8 << 20), log_lines: Some(1) };
    set.set_terms(PolicySlot::Route, 2_000, Terms { lowered, ..Terms::default() }).unwrap();
    traffic(&mut set, 20..40);

    let Page { entries, bindings, .. } = page(&set, PolicySlot::Route);
    let limits: Vec<_> = bindings.iter().map(|b| (b.deadline_ms, b.memory_bytes)).collect();
    assert_eq!(limits, [(None, None), (None, None), (Some(2), Some(8 << 20))]);
    let same = again(&set, PolicySlot::Route, Against::Recorded(&known));
    assert!(same.is_equal(), "{same:?}");
    assert_eq!((same.calls, same.skipped), (40, 0));
    for (calls, limit) in [(5, "5ms"), (25, "2ms")] {
        let settings = settings([("mode", text("loop-decide")), ("after", Value::Integer(calls))]);
        let candidate = Against::Candidate(hostile_routing(), &settings);

        let replayed = replay(PolicySlot::Route, &bindings, &entries, candidate).unwrap();

        let fault = replayed.first_fault.unwrap();
        assert!(fault.contains(limit), "{fault} after {calls} calls");
    }
}

#[test]
fn what_a_paused_revision_is_not_shown_is_not_in_the_record() {
    let mut set = journalled(JOURNAL_BYTES);
    set.swap(prepare_routing(&loaded(builtin::LATENCY), &settings([])).unwrap(), 0, StartWith::Reset)
        .unwrap();
    let shown = |set: &PolicySet| {
        let entries = page(set, PolicySlot::Route).entries;
        entries.iter().filter(|entry| matches!(entry.event, Event::Observe(_))).count()
    };
    let before = shown(&set);
    set.pause(PolicySlot::Route, 1).unwrap();
    traffic(&mut set, 0..20);
    assert_eq!(shown(&set), before);

    set.resume(PolicySlot::Route, 2_000).unwrap();

    assert_eq!(shown(&set), before + 1);
    traffic(&mut set, 40..60);
    let replayed = again(&set, PolicySlot::Route, Against::Recorded(&known));
    assert!(replayed.is_equal(), "{replayed:?}");
    assert_eq!((replayed.calls, replayed.skipped), (20, 20));
}

/// W20: what stands in for a plugin that is not to have a fallback is not the native built-in's answer.
#[test]
fn what_a_closed_slot_answers_is_nobodys_decision_and_is_not_made_again() {
    let mut set = journalled(JOURNAL_BYTES);
    set.observe(0, &view(0));
    set.leave_vacant(PolicySlot::Route, OnFailure::FailClosed);
    let mut verdicts = Vec::new();
    set.route(1, &batch(3), &mut verdicts);

    let replayed = again(&set, PolicySlot::Route, Against::Recorded(&known));

    assert_eq!((replayed.calls, replayed.skipped, replayed.differing), (0, 1, 0), "{replayed:?}");
}

/// W01: a view that cannot be taken in is a fault that comes again, or else a difference.
#[test]
fn a_fault_in_a_view_comes_again_and_one_that_was_not_recorded_is_a_difference() {
    let mut set = journalled(JOURNAL_BYTES);
    set.observe(0, &view(0));
    set.swap(prepared("trap-observe", 3), 0, StartWith::Reset).unwrap();
    let mut verdicts = Vec::new();
    for turn in 0..8 {
        set.route(turn, &batch(3), &mut verdicts);
    }
    let Page { mut entries, bindings, .. } = page(&set, PolicySlot::Route);
    let next = entries.len() as u64;
    let unrecorded = Entry {
        number: next,
        event: Event::Observe(Seen::from(&view(1))),
        ..entries[next as usize - 1].clone()
    };
    entries.push(unrecorded);
    set.observe(8, &view(1));
    set.route(9, &batch(3), &mut verdicts);

    let replayed = again(&set, PolicySlot::Route, Against::Recorded(&known));
    let differs = replay(PolicySlot::Route, &bindings, &entries, Against::Recorded(&known)).unwrap();

    assert_eq!(set.status(PolicySlot::Route).faults, 1);
    assert!(replayed.is_equal() && replayed.faults == 0, "{replayed:?}");
    assert_eq!((differs.differing, differs.faults, differs.is_equal()), (0, 1, false), "{differs:?}");
}

#[test]
fn classes_shares_and_scores_are_recorded_and_made_again() {
    let mut set = journalled(JOURNAL_BYTES);
    let none = settings([]);
    set.swap(prepare_qos(&loaded(builtin::CLASS_FAIR), &none).unwrap(), 0, StartWith::Reset).unwrap();
    set.swap(prepare_topology(&loaded(builtin::STEADY), &none).unwrap(), 0, StartWith::Reset).unwrap();
    let (mut classes, mut scores) = (Vec::new(), Vec::new());
    let asker = Asker { level: 0, mobility: 1, battery: 50, weights: [250; 4], max_distance_m: 900 };
    for turn in 0..200u64 {
        let mut asked = QosBatch::default();
        for class in Class::ALL {
            asked.push(class, 200, 700 * turn as u32, 1);
        }
        set.classify(turn * 100, &asked, &mut classes);
        set.divide(turn * 100, &Load { sent_bytes: [turn; 5], ..Load::default() });
        let candidates = candidates(turn as u32);
        set.score(turn * 100, &asker, &candidates, &mut scores);
    }

    for slot in [PolicySlot::Qos, PolicySlot::Topology] {
        let replayed = again(&set, slot, Against::Recorded(&known));

        assert!(replayed.is_equal(), "{slot:?} {replayed:?}");
        assert_eq!((replayed.calls, replayed.skipped), (calls(&set, slot), 0), "{slot:?}");
    }
}

fn candidates(turn: u32) -> Candidates {
    let (words, bytes) = (vec![turn, 2, 3], vec![1, 0, 2]);
    Candidates {
        node: vec![1, 2, 3],
        level: bytes.clone(),
        same_cell: bytes.clone(),
        is_parent: bytes.clone(),
        mobility: bytes.clone(),
        battery: bytes.clone(),
        cpu_used: bytes.clone(),
        memory_used: bytes,
        cores: words.clone(),
        memory_mb: words.clone(),
        uplink_mbps: words.clone(),
        distance_m: words.clone(),
        rtt_us: words.clone(),
        up_s: words.clone(),
        children: words.clone(),
        max_children: words,
    }
}

#[test]
fn the_hosts_corrections_stand_behind_the_call_that_they_correct() {
    let mut set = journalled(JOURNAL_BYTES);
    let (mut verdicts, mut classes) = (Vec::new(), Vec::new());
    set.route(1, &batch(3), &mut verdicts);
    let mut asked = QosBatch::default();
    asked.push(Class::Low, 1, 1, 1);
    set.classify(1, &asked, &mut classes);
    let numbers = set.noted().unwrap();

    set.clamped(
        1,
        &[
            Clamp { rows: 1..2, applied: Overrule::NextHop(0) },
            Clamp { rows: 0..1, applied: Overrule::Class(3) },
        ],
    );

    for (slot, number, applied) in [(PolicySlot::Route, numbers[0], 0), (PolicySlot::Qos, numbers[1], 3)] {
        let page = page(&set, slot);
        let Event::Clamp(clamp) = &page.entries.last().unwrap().event else { panic!("{page:?}") };
        assert_eq!((clamp.of, clamp.applied), (number, applied), "{slot:?}");
        let (entry, binding) = set.journal_entry(slot, number).unwrap();
        assert!(entry.event.answer().is_some() && binding.is_native(), "{entry:?}");
    }
}
