//! What is kept for others: a carry policy between real processes.

use mesh_plugin_host::builtin;
use serde_json::Value;

use crate::harness::{Place, write};

const EXPLICIT: [&str; 2] = ["--links", "explicit"];

fn status(node: &str) -> [&str; 3] {
    ["-N", node, "status"]
}

/// A chain of alice, keeper and bob. What keeper has to pass on waits there: its routing policy has failed and is to be
/// missed. Of others it keeps runs of up to 1 KiB. Returns its address.
fn chain_that_waits() -> (Place, String) {
    let mut place = Place::with_toolchain();
    place.json(&["plugin", "new", "acme/thrift", "--slot", "carry"]);
    place.json(&["plugin", "build", "thrift"]);
    write(&place, "faulty.wasm", builtin::FAULTY);
    let keeper = place.up("keeper", &EXPLICIT);
    for name in ["alice", "bob"] {
        place.up(name, &[&["--join", &keeper][..], &EXPLICIT].concat());
    }
    place.knows("alice", "bob");
    let swap = |args: &[&str]| place.json(&[&["-N", "keeper", "plugin", "swap"], args].concat());
    swap(&["carry", "./thrift/thrift.wasm", "--set", "max_kib=1"]);
    swap(&["route", "./faulty.wasm", "--set", "works_for=5", "--on-failure", "fail-closed"]);
    for _ in 0..100 {
        place.json(&["-N", "alice", "send", "bob", "small"]);
        let rows = place.json(&["-N", "keeper", "plugin", "list"]);
        if rows.as_array().unwrap().iter().any(|row| row["state"] == "quarantined") {
            return (place, keeper);
        }
    }
    panic!("the policy that fails works on");
}

fn vetoes(status: &Value) -> Option<u64> {
    status["vetoes"]["not_carried"].as_u64()
}

#[test]
fn what_is_not_worth_its_room_is_refused_and_what_was_promised_is_kept() {
    let (mut place, keeper) = chain_that_waits();
    let held = place.until(&status("keeper"), |status| status["held"]["messages"] != 0);
    assert_eq!(vetoes(&held), Some(0), "{held}");
    let large = "x".repeat(2_000);

    let refused = place.json(&["-N", "alice", "send", "bob", &large]);
    place.until(&status("keeper"), |status| vetoes(status) == Some(1));
    let kept = place.json(&["-N", "alice", "send", "bob", &large, "--durable"]);

    let [refused, kept] = [&refused, &kept].map(|sent| sent["first_id"].as_str().unwrap());
    let why = |id| ["-N", "keeper", "trace", "why", id];
    let refused = place.until(&why(refused), |why| has_fate(why, "keeper", "not-carried"));
    let held = place.until(&why(kept), |why| has_fate(why, "keeper", "held"));
    let is_by_thrift = |decision: &&Value| {
        let carry = &decision["carry"];
        let is_revision = carry["rev"].as_str().is_some_and(|rev| rev.starts_with("blake3:"));
        is_revision && carry["plugin"] == "acme/thrift" && carry["by"] == "plugin"
    };
    for (why, answer) in [(&refused, "refuse"), (&held, "keep, worth 150")] {
        let decisions = decisions_on(why, "keeper");
        let decision = decisions.iter().find(is_by_thrift).unwrap_or_else(|| panic!("{why}"));
        assert_eq!(
            (&decision["carry"]["answer"], &decision["clamp"]),
            (&answer.into(), &Value::Null),
            "{why}"
        );
    }
    let table = place.run(&why(kept)).stdout;
    assert!(table.contains("keep, worth 150 by acme/thrift 0.1.0"), "{table}");
    let text = place.run(&status("keeper")).stdout;
    assert!(text.contains("1 messages not kept"), "{text}");
    let row = &place.json(&["-N", "keeper", "plugin", "show", "carry"])["row"];
    assert_eq!((&row["plugin"], &row["traps"]), (&"acme/thrift".into(), &0.into()), "{row}");

    // What is kept waits for a node that is away, and comes when it is back.
    place.kill("bob");
    place.until(&["-N", "keeper", "peers", "--up"], |peers| peers.as_array().unwrap().len() == 1);
    place.up("bob", &[&["--join", &keeper][..], &EXPLICIT].concat());
    place.json(&["-N", "keeper", "plugin", "swap", "route", "native", "--reset-state"]);
    place.until(&status("keeper"), |status| status["held"]["messages"] == 0);
    place.until(&why(kept), |why| has_fate(why, "bob", "delivered"));
    let unread = place.json(&status("bob"))["inbox"]["messages"].to_string();
    let read = place.run(&["-N", "bob", "sub", "--inbox", "--count", &unread, "--json"]);
    let large = read.stdout.lines().filter(|line| line.contains(&large));
    assert_eq!(large.count(), 1, "{}", read.stdout);
}

/// Returns what a node decided on a message.
fn decisions_on(why: &Value, node: &str) -> Vec<Value> {
    let hops = why["hops"].as_array().unwrap();
    let decisions =
        hops.iter().filter(|hop| hop["name"] == node).filter_map(|hop| hop["decisions"].as_array());
    decisions.flatten().cloned().collect()
}

/// Says what became of a message on a node.
fn has_fate(why: &Value, node: &str, fate: &str) -> bool {
    let hops = why["hops"].as_array().unwrap();
    let decisions = hops.iter().filter(|hop| hop["name"] == node).map(|hop| hop["decisions"].to_string());
    decisions.into_iter().any(|decisions| decisions.contains(fate))
}
