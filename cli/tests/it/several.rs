//! Nodes that talk to each other.

use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Place, Ran};

fn pair() -> Place {
    let mut place = Place::new();
    let addr = place.up("alice", &[]);
    place.up("bob", &["--join", &addr]);
    place.knows("alice", "bob");
    place.knows("bob", "alice");
    place
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn with_several_nodes_the_command_must_say_which() {
    let place = pair();

    let error = place.error(&["status"]);

    assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("MESH-N102"), Some(2)));
    let facts = error["facts"].as_object().unwrap();
    assert!(facts.contains_key("alice") && facts.contains_key("bob"), "{error}");
    assert_eq!(error["help"][0], "meshctl -N alice status --json");
    let id = place.json(&["-N", "bob", "id", "show"])["node"].as_str().unwrap().to_owned();
    assert_eq!(place.json(&["-N", &id[..8], "status"])["name"], "bob");
    assert_eq!(place.json(&["-N", place.socket("bob").to_str().unwrap(), "status"])["name"], "bob");
}

#[test]
fn what_is_printed_to_be_pasted_names_the_node_that_was_named() {
    let place = pair();
    let socket = place.socket("bob");
    let socket = socket.to_str().unwrap();
    for node in ["bob", socket] {
        let swapped =
            place.json(&["-N", node, "plugin", "swap", "topology", "built-in/steady", "--reset-state"]);
        let undo = format!("meshctl -N {node} plugin rollback topology");
        assert_eq!(swapped["undo"], undo);

        let undone = place.run(&undo.split(' ').skip(1).collect::<Vec<_>>());

        assert_eq!(undone.code, Some(0), "{}", undone.stderr);
        assert!(undone.stdout.contains(&undo), "{}", undone.stdout);
        let refused = place.error(&["-N", node, "plugin", "pause", "beacn"]);
        assert_eq!(refused["help"][0], format!("meshctl -N {node} plugin list"), "{refused}");
    }
}

// PM-31, QP-27.
#[test]
fn a_node_is_named_by_name_id_or_prefix() {
    let place = pair();
    let id = place.json(&["-N", "bob", "id", "show"])["node"].as_str().unwrap().to_owned();
    for peer in ["bob", &id, &id[..6]] {
        let report = place.json(&["-N", "alice", "ping", peer]);
        assert_eq!(
            (report["peer"].as_str(), report["received"].as_u64()),
            (Some(id.as_str()), Some(3)),
            "{peer}"
        );
        assert_eq!((report["path"].as_str(), report["hops"].as_u64()), (Some("direct"), Some(1)));
        assert!(report["chosen_by"]["plugin"].is_string());
    }
    let route = place.json(&["-N", "alice", "route", "explain", "bob"]);
    assert_eq!((route["next_hop"].as_str(), route["ways"][0]["chosen"].as_bool()), (Some("bob"), Some(true)));
}

// QP-14, QM-68: exactly once, from a verified sender, with the id that the sender was told.
#[test]
fn a_message_arrives_once_and_stays_unread_until_it_is_printed() {
    let place = pair();
    let sent = place.json(&["-N", "alice", "send", "bob", "hello"]);
    place.until(&["-N", "bob", "status"], |status| status["inbox"]["messages"] == 1);

    let peeked = place.run(&["-N", "bob", "sub", "--inbox", "--peek", "--count", "1", "--json"]);
    let read = place.run(&["-N", "bob", "sub", "--inbox", "--count", "1", "--json"]);

    assert_eq!(peeked.stdout, read.stdout);
    let message = &lines(&read)[0];
    assert_eq!(
        (message["payload"].as_str(), message["id"].as_str()),
        (Some("hello"), sent["first_id"].as_str())
    );
    assert_eq!((message["topic"].as_str(), message["hops"].as_u64()), (None, Some(1)));
    place.until(&["-N", "bob", "status"], |status| status["inbox"]["messages"] == 0);
}

#[test]
fn payloads_come_from_arguments_files_and_standard_input() {
    let place = pair();
    std::fs::write(place.path().join("file.bin"), b"\xff\x00").unwrap();
    place.json(&["-N", "alice", "send", "bob", "argument"]);
    place.json(&["-N", "alice", "send", "bob", "--file", "file.bin"]);
    let mut child = place
        .command(&["-N", "alice", "send", "bob", "--lines"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"one\ntwo\n").unwrap();
    assert!(child.wait().unwrap().success());

    let read = place.run(&["-N", "bob", "sub", "--inbox", "--count", "4", "--json"]);

    let payloads: Vec<_> =
        lines(&read).iter().map(|line| line["payload"].as_str().map(str::to_owned)).collect();
    assert_eq!(payloads, [Some("argument".to_owned()), None, Some("one".to_owned()), Some("two".to_owned())]);
    assert_eq!(lines(&read)[1]["payload_base64"], "/wA=");
}

// QM-60, MN-78.
#[test]
fn a_topic_reaches_its_subscriber() {
    let place = pair();
    let mut sub = place.command(&["-N", "bob", "sub", "news", "--count", "1", "--raw"]);
    let mut child = sub.stdout(Stdio::piped()).spawn().unwrap();

    // A topic keeps nothing for those who come later, so it is told until it was heard.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < deadline, "nothing was heard");
        place.json(&["-N", "alice", "pub", "news", "extra"]);
    }

    assert_eq!(Ran::of(child.wait_with_output().unwrap()).stdout, "extra\n");
}

// QP-23, QP-26.
#[test]
fn a_stored_message_survives_the_death_of_the_sender_and_waits_for_the_recipient() {
    let mut place = Place::new();
    let addr = place.up("bob", &[]);
    place.up("alice", &["--join", &addr]);
    place.knows("alice", "bob");
    assert_eq!(place.run(&["-N", "bob", "down"]).code, Some(0));

    let sent = place.json(&["-N", "alice", "send", "bob", "--durable", "--count", "100", "later"]);
    assert_eq!((sent["messages"].as_u64(), sent["stored"].as_u64()), (Some(100), Some(100)));
    place.last_node().kill().unwrap();
    place.last_node().wait().unwrap();
    let addr = place.up("bob", &[]);
    place.up("alice", &["--join", &addr]);

    let read = place.run(&["-N", "bob", "sub", "--inbox", "--count", "100", "--raw"]);
    assert_eq!(read.stdout, "later\n".repeat(100));
}

#[test]
fn the_topology_is_known_and_drawn() {
    let place = pair();
    place.until(&["-N", "alice", "topology"], |topology| {
        topology["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2)
    });

    let dot = place.run(&["-N", "alice", "topology", "--dot"]);
    let mermaid = place.run(&["-N", "alice", "topology", "--mermaid"]);

    assert!(dot.stdout.starts_with("graph mesh {") && dot.stdout.contains("label=\"bob\""), "{}", dot.stdout);
    assert!(
        mermaid.stdout.starts_with("graph LR\n") && mermaid.stdout.contains("[\"bob\"]"),
        "{}",
        mermaid.stdout
    );
}

// PM-86, PM-87.
#[test]
fn a_beacon_is_heard_by_the_neighbour() {
    let place = pair();
    place.json(&["-N", "alice", "beacon", "set", "52.5163,13.3777", "--note", "on the roof"]);

    let heard = place
        .until(&["-N", "bob", "beacon", "near", "52.5160,13.3770", "--radius", "500"], |report| {
            report["beacons"].as_array().is_some_and(|beacons| !beacons.is_empty())
        });

    let beacon = &heard["beacons"][0];
    assert_eq!(
        (beacon["name"].as_str(), beacon["geohash"].as_str()),
        (Some("alice"), Some("u33db2m")),
        "{beacon}"
    );
    assert_eq!(beacon["note"].as_str(), Some("on the roof"));
    assert!(beacon["expires_s"].as_f64().unwrap() > 0.0, "{beacon}");
    assert!((50.0..70.0).contains(&beacon["distance_m"].as_f64().unwrap()), "{beacon}");
    let far = place.json(&["-N", "bob", "beacon", "near", "48.8584,2.2945", "--radius", "500"]);
    assert_eq!(far["beacons"].as_array().unwrap().len(), 0);
}

// PM-95, MN-11, MN-12: the name of one node is enough to find all others, and to reach them.
#[test]
fn one_address_is_enough_to_reach_everybody() {
    let mut place = Place::new();
    let addr = place.up("bob", &[]).replace("127.0.0.1", "localhost");
    for name in ["alice", "carol"] {
        place.up(name, &["--join", &addr, "--links", "explicit"]);
    }
    place.knows("alice", "carol");

    let report = place.json(&["-N", "alice", "ping", "carol"]);
    place.json(&["-N", "alice", "send", "carol", "over bob"]);

    assert_eq!((report["path"].as_str(), report["hops"].as_u64()), (Some("mesh"), Some(2)), "{report}");
    assert_eq!(place.json(&["-N", "alice", "peers", "--up"]).as_array().unwrap().len(), 1);
    let read = place.run(&["-N", "carol", "sub", "--inbox", "--count", "1", "--json"]);
    assert_eq!(
        (lines(&read)[0]["payload"].as_str(), lines(&read)[0]["hops"].as_u64()),
        (Some("over bob"), Some(2))
    );
}

// QP-24, QP-25.
#[test]
fn a_message_that_nobody_fetches_in_time_is_gone() {
    let mut place = Place::new();
    let addr = place.up("bob", &[]);
    place.up("alice", &["--join", &addr]);
    place.knows("alice", "bob");
    assert_eq!(place.run(&["-N", "bob", "down"]).code, Some(0));

    place.json(&["-N", "alice", "send", "bob", "--durable", "--ttl", "500ms", "too late"]);
    place.json(&["-N", "alice", "send", "bob", "--durable", "--ttl", "1h", "in time"]);
    place.until(&["-N", "alice", "status"], |status| status["held"]["messages"] == 1);
    let status = place.json(&["-N", "alice", "status"]);
    place.up("bob", &["--join", status["listening"][0].as_str().unwrap()]);

    let read = place.run(&["-N", "bob", "sub", "--inbox", "--count", "1", "--raw"]);
    assert_eq!(read.stdout, "in time\n");
}

#[test]
fn a_handler_asks_for_its_grants_and_is_given_none_in_silence() {
    let mut place = Place::new();
    place.up("ada", &[]);
    std::fs::write(place.path().join("beacon.wasm"), mesh_plugin_host::builtin::BEACON).unwrap();

    let yes = place.run(&["plugin", "install", "beacon.wasm", "--yes"]);
    let given = place.run(&["plugin", "install", "beacon.wasm", "--grant", "log,kv", "--json"]);
    let nobody = place.error(&["plugin", "install", "beacon.wasm"]);

    assert_eq!(yes.stderr, "built-in/beacon asks for: log, kv. Grant it? yes\n");
    assert_eq!((given.code, given.stderr.as_str()), (Some(0), ""));
    assert_eq!((nobody["code"].as_str(), nobody["exit"].as_i64()), (Some("MESH-P117"), Some(5)));
    assert_eq!(nobody["help"][0], "meshctl plugin install beacon.wasm --grant log --grant kv");
}
