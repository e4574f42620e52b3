//! One node: start, look, swap, stop; and everything that keeps one from starting.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Place, Ran, ended};

#[test]
fn the_first_start_says_what_to_do_next_and_a_later_one_is_brief() {
    let place = Place::new();
    let data = place.data_dir("data");
    let up = ["up", "--detach", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];

    let first = place.run(&up);
    assert_eq!((first.code, first.stderr.as_str()), (Some(0), ""));
    for part in ["new node\n", "identity.key", "\nnext\n", "add a second node", "ready in "] {
        assert!(first.stdout.contains(part), "{part}\n{}", first.stdout);
    }
    let name = place.json(&["status"])["name"].as_str().unwrap().to_owned();
    assert!(name.contains('-'), "{name} is an adjective and an animal");
    assert!(place.run(&["down"]).stdout.starts_with(&format!("{name} stopped")));

    let second = place.run(&up);
    assert_eq!(second.stdout.lines().count(), 4, "{}", second.stdout);
    let status = place.json(&["-N", &name, "status"]);
    assert_eq!(status["name"].as_str(), Some(name.as_str()));
    place.run(&["down"]);
}

#[test]
fn commands_answer_in_their_documented_members() {
    let mut place = Place::new();
    place.up("ada", &[]);
    let members = |args: &[&str], members: &[&str]| {
        let data = place.json(args);
        let data = data.as_array().map_or(&data, |rows| &rows[0]);
        for member in members {
            assert!(data.get(member).is_some(), "{args:?} {member}: {data}");
        }
    };

    let status =
        ["problems", "node", "name", "version", "pid", "uptime_s", "store", "listening", "peers_up", "held"];
    members(&["status"], &status);
    members(&["id", "show"], &["node", "name", "key_file", "addrs"]);
    members(&["topology"], &["nodes", "links"]);
    members(&["plugin", "list"], &["slot", "plugin", "version", "state", "revision", "traps"]);
    members(&["plugin", "show", "route"], &["row", "settings", "kind", "world", "history"]);
    members(&["beacon", "list"], &["cells", "beacons"]);
    assert_eq!(place.json(&["peers"]).as_array().unwrap().len(), 0);
    assert_eq!(place.run(&["status", "-o", "name"]).stdout, "ada\n");
    assert_eq!(place.run(&["peers"]).stdout, "no peers yet; join one with: meshctl up --join HOST:PORT\n");
}

#[test]
fn what_is_not_there_is_exit_code_3() {
    let mut place = Place::new();
    place.up("ada", &[]);
    for (args, code) in [
        (&["ping", "nobody"][..], "MESH-N103"),
        (&["send", "nobody", "x"], "MESH-N103"),
        (&["route", "explain", "nobody"], "MESH-N103"),
        (&["plugin", "show", "nothing"], "MESH-P102"),
        (&["plugin", "swap", "route", "nothing"], "MESH-P102"),
        (&["plugin", "swap", "nowhere", "built-in/latency"], "MESH-P101"),
        (&["plugin", "rollback", "nowhere"], "MESH-P101"),
        (&["plugin", "remove", "nothing"], "MESH-P102"),
        (&["plugin", "install", "missing.wasm"], "MESH-P102"),
    ] {
        let error = place.error(args);
        assert_eq!(
            (error["code"].as_str(), error["exit"].as_i64()),
            (Some(code), Some(3)),
            "{args:?}: {error}"
        );
    }
}

// Part 4, number 1.
#[test]
fn a_policy_is_installed_swapped_rolled_back_and_removed() {
    let mut place = Place::new();
    place.up("ada", &[]);
    fs::write(place.path().join("next.wasm"), mesh_plugin_host::builtin::LATENCY_NEXT).unwrap();
    let active = |place: &Place| {
        let rows = place.json(&["plugin", "list"]);
        let rows = rows.as_array().unwrap().clone();
        let row = rows.into_iter().find(|row| row["slot"] == "route" && row["state"] == "active").unwrap();
        row["version"].as_str().unwrap().to_owned()
    };

    let checked = place.json(&["plugin", "install", "next.wasm", "--dry-run"]);
    assert_eq!((checked["version"].as_str(), checked["slots"][0].as_str()), (Some("0.2.0"), Some("route")));
    assert_eq!(place.error(&["plugin", "show", "built-in/latency@0.2.0"])["code"], "MESH-P102");

    place.json(&["plugin", "install", "next.wasm"]);
    let rehearsed = place.json(&["plugin", "swap", "route", "built-in/latency@0.2.0", "--dry-run"]);
    assert_eq!((rehearsed["dry_run"].as_bool(), active(&place).as_str()), (Some(true), "0.1.0"));

    let swapped = place.json(&["plugin", "swap", "route", "built-in/latency@0.2.0"]);
    assert_eq!((swapped["state_carried"].as_bool(), active(&place).as_str()), (Some(true), "0.2.0"));
    assert_eq!(swapped["undo"], "meshctl plugin rollback route");
    assert_eq!(place.error(&["plugin", "remove", "built-in/latency@0.2.0"])["code"], "MESH-P110");

    place.json(&["plugin", "rollback", "route"]);
    assert_eq!(active(&place), "0.1.0");
}

#[test]
fn what_no_slot_can_run_is_refused_at_install() {
    let mut place = Place::new();
    place.up("ada", &[]);
    let whole = mesh_plugin_host::builtin::LATENCY;
    for (name, bytes, code, exit) in [
        ("text.wasm", &b"hello"[..], "MESH-P103", 7),
        ("core.wasm", b"\0asm\x01\0\0\0", "MESH-P103", 7),
        ("cut.wasm", &whole[..whole.len() - 1000], "MESH-P103", 7),
        ("empty-component.wasm", b"\0asm\x0d\0\x01\0", "MESH-P105", 7),
    ] {
        fs::write(place.path().join(name), bytes).unwrap();
        let error = place.error(&["plugin", "install", name]);
        assert_eq!(
            (error["code"].as_str(), error["exit"].as_i64()),
            (Some(code), Some(exit)),
            "{name}: {error}"
        );
        assert!(!error["help"].as_array().unwrap().is_empty(), "{name}");
    }
    fs::write(place.path().join("qos.wasm"), mesh_plugin_host::builtin::CLASS_FAIR).unwrap();
    let error = place.error(&["plugin", "swap", "route", "./qos.wasm"]);
    assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("MESH-P105"), Some(7)), "{error}");
}

#[test]
fn a_second_node_on_the_same_data_is_refused() {
    let mut place = Place::new();
    place.up("ada", &[]);
    let data = place.data_dir("ada");

    let error = place.error(&[
        "up",
        "--name",
        "eve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data.to_str().unwrap(),
    ]);

    assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("MESH-S101"), Some(1)), "{error}");
}

#[test]
fn a_second_node_of_the_same_name_is_refused_and_the_first_goes_on() {
    let mut place = Place::new();
    place.up("ada", &[]);

    let error = place.error(&["up", "--name", "ada", "--listen", "127.0.0.1:0", "--ephemeral"]);

    assert_eq!(error["code"], "MESH-N111", "{error}");
    assert_eq!(place.json(&["-N", "ada", "status"])["name"], "ada");
}

// MN-27, QP-05.
#[test]
fn a_key_that_is_missing_short_or_open_stops_the_start_and_is_never_replaced() {
    for (change, code) in [
        ((|key| fs::remove_file(key).unwrap()) as fn(&std::path::Path), "MESH-I101"),
        (|key| fs::write(key, b"short").unwrap(), "MESH-I102"),
        (|key| fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap(), "MESH-I103"),
    ] {
        let place = Place::new();
        let data = place.data_dir("data");
        let up = [
            "up",
            "--name",
            "ada",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            data.to_str().unwrap(),
            "--detach",
        ];
        assert_eq!(place.run(&up).code, Some(0));
        assert_eq!(place.run(&["down"]).code, Some(0));
        let key = data.join("identity.key");
        change(&key);
        let before = fs::read(&key).ok();

        let error = place.error(&up);

        assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some(code), Some(6)), "{error}");
        assert_eq!(fs::read(&key).ok(), before, "{code}");
    }
}

#[test]
fn an_address_in_use_is_told_apart() {
    let mut place = Place::new();
    let addr = place.up("ada", &[]);

    let error = place.error(&["up", "--name", "eve", "--listen", &addr, "--ephemeral"]);

    assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("MESH-N107"), Some(1)), "{error}");
}

#[test]
fn a_signal_stops_the_node_gracefully_and_leaves_no_entry() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut place = Place::new();
        place.up("ada", &[]);
        let child = place.last_node();

        kill_process(Pid::from_child(child), signal).unwrap();

        assert_eq!(ended(child).code(), Some(0), "{signal:?}");
        assert!(!place.socket("ada").exists());
        assert_eq!(place.error(&["status"])["code"], "MESH-N101");
    }
}

// MN-27, PM-125.
#[test]
fn a_node_that_was_killed_counts_for_nothing_and_starts_again() {
    let mut place = Place::new();
    place.up("ada", &[]);
    let identity = place.json(&["id", "show"])["node"].clone();
    place.last_node().kill().unwrap();
    place.last_node().wait().unwrap();

    assert_eq!(place.error(&["status"])["code"], "MESH-N101");
    place.up("ada", &[]);

    assert_eq!(place.json(&["id", "show"])["node"], identity);
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut place = Place::new();
    assert_eq!(place.run(&["up", "--data-dir", "never", "--dry-run"]).code, Some(0));
    assert!(!place.path().join("never").exists());

    place.up("ada", &[]);
    assert_eq!(place.json(&["down", "--dry-run"])["stopped"], false);
    assert_eq!(place.json(&["send", "ada", "x", "--dry-run"])["dry_run"], true);
    assert_eq!(place.run(&["beacon", "set", "1,2", "--dry-run"]).code, Some(0));
    assert_eq!(place.json(&["status"])["inbox"]["messages"], 0);
}

// MN-79.
#[test]
fn events_are_lines_of_json() {
    let mut place = Place::new();
    place.up("ada", &[]);
    let events = place.command(&["events", "--json", "--only", "plugin-swapped", "--count", "1"]);
    let mut events = { events };
    let mut child = events.stdout(std::process::Stdio::piped()).spawn().unwrap();

    // Whether the reader is there already cannot be seen, so the node gets something to tell until it was heard.
    let mut flip = false;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < deadline, "no event was heard");
        let args = if flip {
            ["plugin", "rollback", "route"].to_vec()
        } else {
            ["plugin", "swap", "route", "built-in/latency", "--reset-state"].to_vec()
        };
        place.run(&args);
        flip = !flip;
    }
    let heard = Ran::of(child.wait_with_output().unwrap());

    let event: serde_json::Value = serde_json::from_str(heard.stdout.trim_end()).unwrap();
    assert_eq!(
        (event["schema"].as_str(), event["event"].as_str()),
        (Some("meshctl.event/v1"), Some("plugin-swapped"))
    );
    assert_eq!(event["slot"], "route");
}
