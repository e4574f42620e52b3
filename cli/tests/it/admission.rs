//! Who has a link: admission policies between real processes.

use std::io::BufRead;
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{DEADLINE, Place, Ran};

/// Says whether a node has links to these and to nobody else.
fn linked_to<'a>(names: &'a [&'a str]) -> impl Fn(&Value) -> bool + 'a {
    move |peers| {
        let mut linked: Vec<&str> =
            peers.as_array().unwrap().iter().filter_map(|peer| peer["name"].as_str()).collect();
        linked.sort_unstable();
        linked == names
    }
}

fn peers(node: &str) -> [&str; 4] {
    ["-N", node, "peers", "--up"]
}

/// hq and relay, linked; returns their addresses.
fn pair(place: &mut Place) -> [String; 2] {
    let hq = place.up("hq", &[]);
    let relay = place.up("relay", &["--join", &hq]);
    place.until(&peers("hq"), linked_to(&["relay"]));
    [hq, relay]
}

#[test]
fn who_is_not_on_the_list_has_no_link_and_is_reached_by_way_of_others() {
    let mut place = Place::with_toolchain();
    place.json(&["plugin", "new", "acme/guests", "--slot", "admission"]);
    place.json(&["plugin", "build", "guests"]);
    let [hq, relay] = pair(&mut place);
    let swap = ["-N", "hq", "plugin", "swap", "admission", "./guests/guests.wasm", "--set", "names=relay"];
    let swapped = place.json(&swap);
    assert_eq!(swapped["new"]["plugin"], "acme/guests", "{swapped}");
    let row = &place.json(&["-N", "hq", "plugin", "show", "admission"])["row"];
    assert_eq!((&row["state"], &row["on_failure"]), (&"active".into(), &"fail-closed".into()), "{row}");
    let by_last_part = place.json(&["-N", "hq", "plugin", "show", "guests"]);
    assert_eq!(by_last_part["row"]["revision"], row["revision"]);

    place.up("stranger", &["--join", &hq, "--join", &relay]);

    // Both sides say it: the one that refuses, and the one that is refused.
    place.until(&["-N", "hq", "status"], |status| status["vetoes"]["not_admitted"].as_u64() > Some(0));
    let is_told = |status: &Value| status["problems"].to_string().contains("admission policy of hq");
    place.until(&["-N", "stranger", "status"], is_told);
    place.until(&["-N", "stranger", "peers"], |peers| {
        peers.as_array().unwrap().iter().any(|peer| peer["name"] == "hq" && peer["state"] == "refused")
    });
    place.until(&peers("stranger"), linked_to(&["relay"]));
    place.until(&peers("hq"), linked_to(&["relay"]));
    let text = place.run(&["-N", "hq", "status"]).stdout;
    assert!(text.contains("links not let in"), "{text}");

    // It is no veto on messages.
    for (from, to) in [("hq", "stranger"), ("stranger", "hq")] {
        let explain = ["-N", from, "route", "explain", to];
        place.until(&explain, |route| route["next_hop"] == "relay");
        place.json(&["-N", from, "send", to, "hello"]);
        place.until(&["-N", to, "status"], |status| status["inbox"]["messages"] == 1);
    }

    // The policy goes, and the veto with it.
    place.json(&["-N", "hq", "plugin", "rollback", "admission"]);
    place.until(&peers("hq"), linked_to(&["relay", "stranger"]));
    place.until(&["-N", "stranger", "status"], |status| !is_told(status));
}

#[test]
fn a_link_that_a_new_policy_does_not_want_is_ended_and_the_decision_can_be_made_again() {
    let mut place = Place::new();
    let [hq, relay] = pair(&mut place);
    place.up("stranger", &["--join", &hq, "--join", &relay]);
    let swap = |allow: &str| {
        let allow = format!("allow={allow}");
        place.json(&["-N", "hq", "plugin", "swap", "admission", "built-in/guest-list", "--set", &allow])
    };
    swap("*");
    place.until(&peers("stranger"), linked_to(&["hq", "relay"]));
    let trace = place.path().join("trace.jsonl");
    let record =
        ["-N", "hq", "plugin", "record", "admission", "--for", "4s", "--json", "--out", "trace.jsonl"];
    let recording = place.command(&record).stdout(Stdio::piped()).spawn().unwrap();
    let denied = ["-N", "hq", "events", "--only", "link-denied", "--count", "1", "--json"];
    let mut denied = place.command(&denied).stdout(Stdio::piped()).spawn().unwrap();
    // The file is there as soon as the recording has begun.
    let deadline = Instant::now() + DEADLINE;
    while !trace.exists() {
        assert!(Instant::now() < deadline, "nothing is recorded");
        std::thread::yield_now();
    }

    swap("relay");

    place.until(&peers("hq"), linked_to(&["relay"]));
    let mut line = String::new();
    std::io::BufReader::new(denied.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert!(denied.wait().unwrap().success());
    assert_eq!(event["name"], "stranger", "{event}");
    let recorded = Ran::of(recording.wait_with_output().unwrap());
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    let replay = place.json(&["plugin", "replay", "trace.jsonl"]);
    assert_eq!(replay["differing"], 0, "{replay}");
    assert!(replay["decisions"].as_u64() >= Some(2), "{replay}");
}
