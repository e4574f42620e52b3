//! What is kept for others: a carry policy between real processes.

use mesh_plugin_host::builtin;
use serde_json::Value;

use crate::harness::{Place, write};

const EXPLICIT: [&str; 2] = ["--links", "explicit"];

fn status(node: &str) -> [&str; 3] {
    ["-N", node, "status"]
}

/// A chain of alice, keeper and bob. What keeper has to pass on waits there: its routing policy has failed and is to be
/// missed. Of others it keeps runs of up to 1 KiB.
fn chain_that_waits() -> Place {
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
            return place;
        }
    }
    panic!("the policy that fails works on");
}

fn vetoes(status: &Value) -> Option<u64> {
    status["vetoes"]["not_carried"].as_u64()
}

#[test]
fn what_is_not_worth_its_room_is_refused_and_what_was_promised_is_kept() {
    let mut place = chain_that_waits();
    let held = place.until(&status("keeper"), |status| status["held"]["messages"] != 0);
    assert_eq!(vetoes(&held), Some(0), "{held}");
    let large = "x".repeat(2_000);

    let refused = place.json(&["-N", "alice", "send", "bob", &large]);
    place.until(&status("keeper"), |status| vetoes(status) == Some(1));
    place.json(&["-N", "alice", "send", "bob", &large, "--durable"]);

    let small = held["held"]["messages"].as_u64().unwrap();
    place.until(&status("keeper"), |status| status["held"]["messages"] == small + 1);
    assert!(place.run(&status("keeper")).stdout.contains("1 messages not kept"));
    let id = refused["first_id"].as_str().unwrap();
    let why = place.json(&["-N", "keeper", "trace", "why", id]);
    assert!(why.to_string().contains("not-carried"), "{why}");
    let row = &place.json(&["-N", "keeper", "plugin", "show", "carry"])["row"];
    assert_eq!((&row["plugin"], &row["traps"]), (&"acme/thrift".into(), &0.into()), "{row}");

    // What waits, waits for a node that is away, and comes when it is back.
    place.kill("bob");
    let keeper = place.json(&status("keeper"))["listening"][0].as_str().unwrap().to_owned();
    let keeper = keeper.rsplit(' ').next().unwrap();
    place.up("bob", &[&["--join", keeper][..], &EXPLICIT].concat());
    place.json(&["-N", "keeper", "plugin", "swap", "route", "native", "--reset-state"]);
    place.until(&status("keeper"), |status| status["held"]["messages"] == 0);
    let inbox =
        ["-N", "bob", "sub", "--inbox", "--count", &(small + 1).to_string(), "--json"].map(str::to_owned);
    let inbox = place.run(&inbox.iter().map(String::as_str).collect::<Vec<_>>());
    let payloads: Vec<Value> = inbox
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["payload"].clone())
        .collect();
    assert_eq!(payloads.iter().filter(|payload| **payload == *large).count(), 1, "{payloads:?}");
}
