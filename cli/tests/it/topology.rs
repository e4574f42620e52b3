//! Levels, parents and leaders between real processes.

use std::io::BufRead;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{DEADLINE, Place};

fn parent_is(name: &'static str) -> impl Fn(&Value) -> bool {
    move |report| report["parent"]["name"] == name && report["parent"]["linked"] == true
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["candidates"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} is no candidate: {report}"))
}

fn explain(node: &str) -> [&str; 4] {
    ["-N", node, "topology", "explain"]
}

// PM-80, PM-81, PM-82, PM-90: what `topology explain` prints is what happens, with native scores and a plugin's.
#[test]
fn a_platform_follows_the_better_squad_and_says_why() {
    let mut place = Place::new();
    let here = ["--at", "52.5163,13.3777"];
    let addr = place.up("hq", &[&["--level", "squad", "--cores", "4"][..], &here].concat());
    let squad = ["--join", &addr, "--level", "squad", "--cores", "4", "--battery", "40"];
    place.up("relay", &[&squad[..], &here].concat());
    let platform = ["--join", &addr, "--level", "platform", "--cell", "alpha", "--at", "52.5253,13.3777"];
    place.up("scout", &platform);
    place.up("drone", &[&platform[..], &["--mobility", "mobile"]].concat());

    let report = place.until(&explain("scout"), parent_is("hq"));

    // 1 km of 10: e^-0.3 is 0.741.
    assert_eq!(row(&report, "hq")["parts"]["proximity"], 741);
    assert_eq!(row(&report, "hq")["parts"]["total"], 300 + 300 + 200 + 148);
    assert_eq!(row(&report, "hq")["score"], row(&report, "hq")["parts"]["total"]);
    assert_eq!(row(&report, "hq")["verdict"], "parent");
    assert_eq!(report["chosen_by"]["plugin"], "native/weighted");
    let report = place.until(&explain("scout"), |report| row(report, "relay")["verdict"] == "behind");
    assert_eq!(row(&report, "relay")["score"], 300 + 300 + 80 + 148);

    // Of the cell the one that stands still leads, and all say the same.
    for node in ["scout", "drone"] {
        place.until(&explain(node), |report| report["leader"]["name"] == "scout");
    }
    assert_eq!(place.json(&explain("drone"))["role"], "member");

    // A parent that is not fit any more is left at once.
    let changed = place.json(&["-N", "hq", "topology", "set", "--cpu-used", "85"]);
    assert_eq!(
        (&changed["before"]["cpu_used_percent"], &changed["after"]["cpu_used_percent"]),
        (&0.into(), &85.into())
    );
    for node in ["scout", "drone"] {
        let report = place.until(&explain(node), parent_is("relay"));
        assert_eq!(
            (&row(&report, "hq")["verdict"], &row(&report, "hq")["score"]),
            (&"unfit".into(), &Value::Null)
        );
    }

    // Another policy is asked from now on.
    place.json(&["-N", "scout", "plugin", "swap", "topology", "built-in/steady"]);
    let report = place.until(&explain("scout"), |report| row(report, "relay")["score"] != 828);
    assert_eq!(report["chosen_by"]["plugin"], "built-in/steady");
    let text = place.run(&explain("scout")).stdout;
    assert!(text.contains("300+300+80+148 = 828") && text.contains("80 % of its cpu in use"), "{text}");
}

// PM-80: a parent that dies is replaced, and those who listen are told.
#[test]
fn children_of_a_killed_parent_find_another() {
    let mut place = Place::new();
    let addr = place.up("relay", &["--level", "squad", "--cores", "4", "--battery", "40"]);
    place.up("hq", &["--join", &addr, "--level", "squad", "--cores", "4"]);
    place.up("scout", &["--join", &addr, "--level", "platform"]);
    place.until(&explain("scout"), parent_is("hq"));
    let mut events =
        place.command(&["-N", "scout", "events", "--only", "parent-changed", "--count", "1", "--json"]);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    // It listens long before anybody can tell that a node went silent.
    place.until(&["-N", "scout", "status"], |status| status["peers_up"].as_u64() >= Some(2));

    let killed = std::time::Instant::now();
    place.kill("hq");

    place.until(&explain("scout"), parent_is("relay"));
    assert!(killed.elapsed() < DEADLINE);
    let mut line = String::new();
    std::io::BufReader::new(events.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(events.wait().unwrap().success());
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["from"]["name"], &event["to"]["name"]), (&"hq".into(), &"relay".into()), "{event}");
}

// PM-85, and what an operator said of a node holds after a restart.
#[test]
fn a_profile_is_kept_until_the_node_leaves_the_hierarchy() {
    let mut place = Place::new();
    place.up("alice", &[]);
    assert_eq!(place.json(&explain("alice"))["profile"], Value::Null);
    let dry = place.json(&["-N", "alice", "topology", "set", "--level", "squad", "--dry-run"]);
    assert_eq!((&dry["after"]["level"], &dry["dry_run"]), (&"squad".into(), &true.into()));
    assert_eq!(place.json(&explain("alice"))["profile"], Value::Null);

    let set =
        ["-N", "alice", "topology", "set", "--level", "platoon", "--cell", "first", "--weights", "tactical"];
    assert_eq!(place.json(&set)["after"]["max_children"], 5);
    place.json(&["-N", "alice", "topology", "set", "--battery", "80", "--role", "leader"]);
    place.kill("alice");
    place.up("alice", &["--cell", "second"]);

    let report = place.until(&explain("alice"), |report| report["profile"]["level"] == "platoon");
    let profile = &report["profile"];
    assert_eq!((&profile["cell"], &profile["battery_percent"]), (&"second".into(), &80.into()));
    assert_eq!((&profile["strategy"], &profile["told_role"]), (&"hybrid".into(), &"leader".into()));
    assert_eq!(report["weights"]["name"], "tactical");
    place.json(&["-N", "alice", "topology", "leave"]);
    place.until(&explain("alice"), |report| report["profile"].is_null());
    place.kill("alice");
    place.up("alice", &[]);
    assert_eq!(place.json(&explain("alice"))["profile"], Value::Null);
}

#[test]
fn what_cannot_be_said_of_a_node_is_refused_with_what_can() {
    let mut place = Place::new();
    place.up("alice", &[]);

    let error = place.error(&["-N", "alice", "topology", "set", "--strategy", "static"]);
    assert_eq!(error["exit"], 2);
    assert!(error["message"].as_str().unwrap().contains("needs a role"), "{error}");
    let error = place.error(&["-N", "alice", "topology", "set", "--cell", &"x".repeat(33)]);
    assert!(error["message"].as_str().unwrap().contains("33 bytes"), "{error}");
    let error = place.error(&["-N", "alice", "topology", "set"]);
    assert_eq!(error["exit"], 2);
    let error = place.error(&["up", "--ephemeral", "--listen", "127.0.0.1:0", "--strategy", "hybrid"]);
    assert!(error["message"].as_str().unwrap().contains("needs a role"), "{error}");
}
