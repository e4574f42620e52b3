//! Hot swaps of real nodes: under load, in a row, by two operators at once. H01, H02, H05, H06.

use std::process::Stdio;

use mesh_plugin_host::builtin;
use serde_json::Value;

use crate::harness::{Place, write};
use crate::package::component;

fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field}: {report}"))
}

/// A node that has two policies, acme/a and acme/b, which read each other's state.
fn with_two_plugins() -> Place {
    let mut place = Place::new();
    write(&place, "a.wasm", &component(builtin::LATENCY, "acme/a", "1.0.0"));
    write(&place, "b.wasm", &component(builtin::LATENCY_NEXT, "acme/b", "1.0.0"));
    place.up("bob", &[]);
    place.json(&["plugin", "install", "a.wasm"]);
    place.json(&["plugin", "install", "b.wasm"]);
    place
}

/// H01: nothing is lost and nothing doubled through a node whose policy is swapped again and again.
#[test]
fn swaps_under_load_lose_nothing_and_double_nothing() {
    let place = Place::new();

    let report = place.json(&["bench", "swap", "--rate", "2000", "--for", "4s", "--swaps", "40"]);

    assert_eq!((number(&report, "lost"), number(&report, "duplicated")), (0, 0), "{report}");
    assert_eq!(number(&report, "swaps"), 40);
    assert_eq!(number(&report, "published"), number(&report, "delivered"));
    assert!(number(&report, "published") > 2_000, "{report}");
}

/// H02: what a swap needs it gives back.
#[test]
fn swaps_in_a_row_leave_nothing_behind() {
    let place = Place::new();

    let report = place.json(&["bench", "swap", "--count", "1000"]);

    let grown = report["rss_growth"].as_f64().unwrap();
    assert!(grown <= 0.05, "{report}");
    assert_eq!(number(&report, "files_before"), number(&report, "files_after"), "{report}");
    let (before, after) = (number(&report, "mappings_before"), number(&report, "mappings_after"));
    // The allocator may take or give back some, a leak would be one a swap.
    assert!(after <= before + 50, "{report}");
}

/// What one plugin has saved may read like another one's state and mean something else.
#[test]
fn another_plugin_starts_afresh_unless_it_is_to_keep_the_state() {
    let place = with_two_plugins();
    let swap = |plugin: &str, how: &[&str]| {
        let report = place.json(&[&["plugin", "swap", "route", plugin], how].concat());
        report["state_carried"].as_bool().unwrap()
    };

    assert!(!swap("acme/a", &["--dry-run"]) && !swap("acme/a", &[]), "after built-in/latency");
    assert!(!swap("acme/b", &[]));
    assert!(swap("acme/a", &["--keep-state"]));
    assert!(swap("acme/a", &["--set", "margin_us=7"]), "the same plugin");
    assert!(!swap("acme/a", &["--reset-state", "--set", "margin_us=8"]));
}

/// H06: of two operators one comes last, and what it was told is what runs, also after a restart.
#[test]
fn two_operators_at_once_are_served_one_after_the_other() {
    let mut place = with_two_plugins();
    let mut before = Vec::new();
    for _ in 0..8 {
        let swap = |plugin: &str| {
            let mut command = place.command(&["plugin", "swap", "route", plugin, "--json"]);
            command.stdout(Stdio::piped()).spawn().unwrap()
        };
        let both = [swap("acme/a"), swap("acme/b")];

        let reports = both.map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            serde_json::from_slice::<Value>(&output.stdout).unwrap()["data"].clone()
        });

        let active = place.json(&["plugin", "show", "route"])["row"]["plugin"].clone();
        // The later one replaced the earlier one, whichever that was.
        let last = reports.iter().find(|report| report["new"]["plugin"] == active).unwrap();
        let first = reports.iter().find(|report| report["new"]["plugin"] != active).unwrap();
        assert_eq!(last["old"]["plugin"], first["new"]["plugin"], "{reports:?}");
        before.push(active);
    }

    place.kill("bob");
    place.up("bob", &[]);

    let active = place.json(&["plugin", "show", "route"])["row"]["plugin"].clone();
    assert_eq!(Some(&active), before.last(), "the last one that was answered is the one that runs");
}

/// The places of a swap at which a node is killed, in their order, and whether the swap is on disk there.
const FAIL_POINTS: [(&str, bool); 12] = [
    ("swap-asked", false),
    ("swap-made-ready", false),
    ("swap-allowed", false),
    ("swap-switched", false),
    ("swap-noted", false),
    ("binding-submitted", false),
    ("binding-begun", false),
    ("binding-written", false),
    ("binding-committed", true),
    ("reply-kept", true),
    ("reply-sent", true),
    ("swap-answered", true),
];

/// Kills a node at each place of a swap, and looks what runs after the next start.
fn swapped_and_killed(place: &mut Place, slot: &str, [mut was, mut next]: [&str; 2]) {
    place.json(&["plugin", "swap", slot, was, "--reset-state"]);
    for (point, is_kept) in FAIL_POINTS {
        std::fs::write(place.fail_point(), point).unwrap();

        let ran = place.run(&["plugin", "swap", slot, next, "--reset-state"]);

        place.killed("bob");
        std::fs::remove_file(place.fail_point()).unwrap();
        place.up("bob", &[]);
        let active = place.json(&["plugin", "show", slot])["row"]["plugin"].clone();
        assert_eq!(active, if is_kept { next } else { was }, "{slot}, {point}");
        assert!(is_kept || ran.code != Some(0), "{slot}, {point}: an answer to what was not kept");
        if is_kept {
            (was, next) = (next, was);
        }
    }
}

/// H05: killed at each place of a swap, a node starts with the revision that was committed last.
#[test]
fn a_node_that_is_killed_at_a_place_of_a_swap_starts_with_what_was_committed() {
    let mut place = with_two_plugins();

    swapped_and_killed(&mut place, "route", ["acme/a", "acme/b"]);
}

/// H05, for the slot that is served by a thread of its own.
#[test]
fn a_node_that_is_killed_at_a_place_of_a_handlers_swap_starts_with_what_was_committed() {
    let mut place = Place::new();
    for name in ["acme/c", "acme/d"] {
        let file = name.replace('/', "-") + ".wasm";
        write(&place, &file, &component(builtin::BEACON, name, "1.0.0"));
    }
    place.up("bob", &[]);
    for file in ["acme-c.wasm", "acme-d.wasm"] {
        place.json(&["plugin", "install", file, "--yes"]);
    }

    swapped_and_killed(&mut place, "beacon", ["acme/c", "acme/d"]);
}

/// H05: killed at any moment of a swap, a node starts with the revision that was committed last, or with the one whose
/// commit was under way, and with nothing else.
#[test]
fn a_node_that_is_killed_in_a_swap_starts_with_one_of_the_two() {
    let mut place = with_two_plugins();
    place.json(&["plugin", "swap", "route", "acme/a"]);
    for kill in 0..12 {
        let (was, next) = if kill % 2 == 0 { ("acme/a", "acme/b") } else { ("acme/b", "acme/a") };
        let mut command = place.command(&["plugin", "swap", "route", next, "--json"]);
        let mut swap = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // Some kills come before the call, some in it, some after its answer.
        if kill % 3 == 0 {
            let _ = swap.wait();
        }
        for _ in 0..kill * 3_000 {
            std::thread::yield_now();
        }

        place.kill("bob");

        let answered = swap.wait_with_output().unwrap().status.success();
        place.up("bob", &[]);
        let active = place.json(&["plugin", "show", "route"])["row"]["plugin"].clone();
        let allowed: &[&str] = if answered { &[next] } else { &[was, next] };
        assert!(allowed.contains(&active.as_str().unwrap()), "kill {kill}: {active}, answered: {answered}");
        // The next round starts from where this one should have come to.
        place.json(&["plugin", "swap", "route", next, "--reset-state"]);
    }
}
