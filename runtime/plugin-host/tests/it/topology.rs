//! The topology slot: the shipped plugin, what hostile ones cost, and a hierarchy that asks through the slot.

use mesh_plugin_host::{
    Fault, Grants, Loaded, PolicySet, PolicySlot, PreparedTopology, SlotState, StartWith, SwapError, Value,
    builtin, limits, load, prepare_qos, prepare_topology,
};
use mesh_proto::NodeId;
use mesh_proto::policy::{Asker, Candidates, MAX_SCORE, Policies, native};
use mesh_proto::time::Instant;
use mesh_proto::topology::hierarchy::{Hierarchy, Life, Seen, Verdict};
use mesh_proto::topology::{Level, Mobility, Profile, Standing, Weights};

use crate::guests::{engine, hostile, name, settings, story, text};

pub const ASKER: Asker =
    Asker { level: 0, mobility: 0, battery: 80, weights: [300, 300, 200, 200], max_distance_m: 10_000 };

/// Two squads that are equal but for what they run on: a full battery, and mains.
pub fn candidates() -> Candidates {
    Candidates {
        node: vec![1, 2],
        level: vec![1, 1],
        same_cell: vec![0, 0],
        is_parent: vec![0, 0],
        mobility: vec![0, 0],
        battery: vec![100, 255],
        cpu_used: vec![0, 0],
        memory_used: vec![0, 0],
        cores: vec![4, 4],
        memory_mb: vec![1_024, 1_024],
        uplink_mbps: vec![100, 100],
        distance_m: vec![u32::MAX, u32::MAX],
        rtt_us: vec![1_000, 1_000],
        up_s: vec![600, 600],
        children: vec![0, 0],
        max_children: vec![10, 10],
    }
}

fn prepared(loaded: &Loaded, mode: &str) -> PreparedTopology {
    prepare_topology(loaded, &settings([("mode", text(mode))])).expect("it passes its rehearsal")
}

fn set_with(first: PreparedTopology) -> PolicySet {
    let mut set = PolicySet::new(&engine());
    set.swap(first, 0, StartWith::Reset).expect("the first one is taken");
    set.take_events();
    set
}

fn ask(set: &mut PolicySet, now_ms: u64) -> Vec<u32> {
    let mut scores = vec![7; 7];
    set.score(now_ms, &ASKER, &candidates(), &mut scores);
    scores
}

/// What the native built-in says to [`candidates`]: to it a full battery is as good as mains.
const NATIVE: [u32; 2] = [900, 900];
/// What the hostile guest says when it behaves.
const BEHAVES: [u32; 2] = [100, 255];

fn steady() -> Loaded {
    load(&engine(), builtin::STEADY, Grants::NONE).expect("it is built in")
}

// PM-81: the shipped plugin decides, and the native built-in without one.
#[test]
fn steady_prefers_mains_where_the_native_built_in_sees_no_difference() {
    let mut set = PolicySet::new(&engine());
    assert_eq!(ask(&mut set, 0), NATIVE);

    set.swap(prepare_topology(&steady(), &settings([])).unwrap(), 0, StartWith::Keep).unwrap();

    assert_eq!(ask(&mut set, 1), [950, 1000]);
    assert_eq!(set.decisions(PolicySlot::Topology), 4);
    assert_eq!(set.status(PolicySlot::Topology).fallbacks, 0);
}

// H04: what it remembers goes along, and back.
#[test]
fn the_counter_and_the_failures_survive_a_swap_and_a_rollback() {
    let mut set = set_with(prepare_topology(&steady(), &settings([])).unwrap());
    ask(&mut set, 0);
    // 30 s later both have been up for as long as before: they were away.
    assert_eq!(ask(&mut set, 30_000), [950 - 150, 1000 - 150]);
    let mild = settings([("flap_penalty", Value::Integer(50))]);

    let report = set.swap(prepare_topology(&steady(), &mild).unwrap(), 30_000, StartWith::Keep).unwrap();
    assert_eq!((report.slot, report.state_carried, report.at_decision), ("topology", true, 4));
    assert_eq!(ask(&mut set, 30_001), [950 - 50, 1000 - 50]);
    set.rollback(PolicySlot::Topology, 30_002).unwrap();
    assert_eq!(ask(&mut set, 30_003), [950 - 150, 1000 - 150]);

    let state = set.peek_state(PolicySlot::Topology).unwrap().expect("a plugin is active");
    assert_eq!(state.bytes[..8], 8u64.to_le_bytes());
    set.remove(PolicySlot::Topology, 30_004).unwrap();
    assert_eq!(set.remove(PolicySlot::Topology, 30_004), Err(SwapError::NoPlugin));
    assert_eq!(ask(&mut set, 30_005), NATIVE);
}

/// W01, W07, W08, W10: each costs an answer of the native built-in, and the third the slot.
#[test]
fn every_way_to_fail_costs_a_fallback_and_the_third_brings_the_last_good_one_back() {
    let loaded = load(&engine(), &hostile("topology"), Grants::NONE).unwrap();
    type Is = fn(&Fault) -> bool;
    let table: [(&str, Is); 7] = [
        ("loop", |fault| *fault == Fault::Deadline { limit: limits::POLICY_CALL }),
        ("trap", |fault| matches!(fault, Fault::Trap { .. })),
        ("short-answer", |fault| *fault == Fault::Rows { asked: 2, got: 1 }),
        ("long-answer", |fault| *fault == Fault::Rows { asked: 2, got: 3 }),
        ("no-answer", |fault| *fault == Fault::Rows { asked: 2, got: 0 }),
        ("huge-answer", |fault| matches!(fault, Fault::TooMuch { .. })),
        // On a machine with much else to do, megabytes take longer than a call may.
        ("huge-state", |fault| matches!(fault, Fault::StateTooLarge { .. } | Fault::Deadline { .. })),
    ];
    for (mode, is_expected) in table {
        let mut set = set_with(prepared(&loaded, ""));
        assert_eq!(ask(&mut set, 0), BEHAVES, "{mode}");
        set.swap(prepared(&loaded, mode), 0, StartWith::Keep).unwrap();
        story(&mut set);

        let (mut calls, mut fallbacks) = (0, 0);
        while set.status(PolicySlot::Topology).quarantined.is_none() {
            calls += 1;
            assert!(calls <= 20, "{mode}: not quarantined");
            // A second apart, so that each answer is followed by a checkpoint.
            fallbacks += u64::from(ask(&mut set, calls * 1_000) == NATIVE);
        }

        let status = set.status(PolicySlot::Topology);
        let fault = status.last_faults.first().expect("there was one").fault.clone();
        assert!(is_expected(&fault), "{mode}: {fault:?}");
        assert_eq!((status.faults, status.fallbacks), (3, fallbacks * 2), "{mode}");
        assert_eq!(status.state, SlotState::Quarantined, "{mode}");
        assert_eq!(name(status.quarantined.as_ref()), Some("hostile/topology 1.0.0".into()), "{mode}");
        assert_eq!(story(&mut set).last(), Some(&"quarantined, last good one back"), "{mode}");
        assert_eq!(ask(&mut set, 99_000), BEHAVES, "{mode}: the good one decides");
    }
}

/// W10, features.md 3.4: scores above the highest are cut by whoever asked, and conditions are not up for sale.
#[test]
fn a_greedy_policy_raises_nobody_above_the_highest_score_and_nobody_unfit_into_the_choice() {
    let loaded = load(&engine(), &hostile("topology"), Grants::NONE).unwrap();
    let mut set = set_with(prepared(&loaded, "greedy"));
    let own = Profile::default();
    let good = Profile { level: Level::Squad, ..Profile::default() };
    let unfit = Profile { cores: 1, ..good.clone() };
    let seen = |node: u8, profile| Seen {
        node: NodeId([node; 32]),
        profile,
        standing: Standing::default(),
        life: Life::Alive,
        since: Instant(0),
        rtt_us: Some(1_000),
    };
    let mut hierarchy = Hierarchy::new(Instant(0), NodeId([9; 32]), own, Weights::default());

    hierarchy.evaluate(Instant(1), &[seen(1, &unfit), seen(2, &good)], &mut |asker, candidates, scores| {
        set.score(1, asker, candidates, scores);
        assert_eq!(scores[..], [u32::MAX]);
    });

    let rows = hierarchy.explain().candidates;
    assert_eq!((rows[0].score, rows[0].verdict), (MAX_SCORE, Verdict::Parent));
    assert_eq!(hierarchy.parent(), Some(NodeId([2; 32])));
    assert_eq!(set.status(PolicySlot::Topology).faults, 0);
}

/// One kind does not fit another slot.
#[test]
fn a_topology_plugin_fits_its_own_slot_only() {
    let error = prepare_qos(&steady(), &settings([])).expect_err("it is another kind");

    assert!(error.to_string().contains("topology"), "{error}");
}

/// What the shipped plugin is given comes over in full: one candidate after another is better in one column.
#[test]
fn each_column_reaches_the_row_that_the_author_sees() {
    let mut set = set_with(prepare_topology(&steady(), &settings([])).unwrap());
    let mut columns = candidates();
    columns.mobility[0] = Mobility::Mobile as u8;
    columns.cpu_used[0] = 50;
    columns.memory_used[0] = 30;
    columns.children[0] = 5;
    columns.up_s[0] = 300;
    let (mut scores, mut natively) = (Vec::new(), Vec::new());

    set.score(0, &ASKER, &columns, &mut scores);
    native::score(&ASKER, &columns, &mut natively);

    assert_eq!(scores, [120 + 200 + 100 + 25 + 35 + 25, 1000]);
    assert_eq!(natively, [90 + 180 + 200 + 100, 900]);
}
