//! Rollbacks that go on: several steps back and forward, over restarts, and past what is gone. PM-152; features.md 3.2.

use mesh_plugin_host::builtin;
use serde_json::Value;

use crate::harness::{Place, active, refusal, write};
use crate::package::component;

/// A node that has had these versions of one policy after another, each reads the state of the one before.
fn with_versions(versions: &[&str]) -> Place {
    let mut place = Place::new();
    for version in versions {
        write(&place, &format!("{version}.wasm"), &component(builtin::LATENCY, "acme/fast", version));
    }
    place.up("bob", &[]);
    for version in versions {
        let margin = format!("margin_us={}", version.len());
        place.json(&["plugin", "swap", "route", &format!("./{version}.wasm"), "--set", &margin]);
    }
    place
}

fn restart(place: &mut Place) {
    place.kill("bob");
    place.up("bob", &[]);
}

/// What `plugin show` says of the ways from here: how many rollbacks, forward or not, to which version.
fn ways(place: &Place) -> Vec<(u64, bool, String)> {
    let shown = place.json(&["plugin", "show", "route"]);
    let to = |row: &Value| format!("{} {}", text(&row["plugin"]), text(&row["version"]));
    let rows = shown["history"].as_array().unwrap().iter();
    rows.map(|row| (row["rollbacks"].as_u64().unwrap(), row["forward"].as_bool().unwrap(), to(row))).collect()
}

fn version(place: &Place) -> String {
    let row = place.json(&["plugin", "show", "route"])["row"].clone();
    format!("{} {}", text(&row["plugin"]), text(&row["version"]))
}

fn way(rollbacks: u64, forward: bool, to: &str) -> (u64, bool, String) {
    (rollbacks, forward, to.to_owned())
}

/// What an undo says, done.
fn undone(place: &Place, report: &Value) -> Value {
    let undo: Vec<&str> = text(&report["undo"]).split(' ').skip(1).collect();
    place.json(&undo)
}

#[test]
fn rollbacks_walk_back_step_by_step_and_forward_again_also_over_restarts() {
    let mut place = with_versions(&["1.0.0", "1.1.0", "1.2.0"]);
    let back = ["plugin", "rollback", "route"];
    let all = [
        way(1, false, "acme/fast 1.1.0"),
        way(2, false, "acme/fast 1.0.0"),
        way(3, false, "built-in/latency 0.1.0"),
    ];
    assert_eq!(ways(&place), all);

    restart(&mut place);

    assert_eq!(ways(&place), all);
    let rehearsed = place.json(&[&back[..], &["--dry-run"]].concat());
    assert_eq!((&rehearsed["new"]["version"], &rehearsed["undo"]), (&"1.1.0".into(), &Value::Null));
    assert_eq!(version(&place), "acme/fast 1.2.0");
    let rows = place.json(&["plugin", "list"]);
    let leads = |version: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["version"] == version).unwrap();
        (row["rollbacks"].as_u64(), text(&row["state"]).to_owned())
    };
    assert_eq!(leads("1.1.0"), (Some(1), "standby".to_owned()));
    assert_eq!(rows[1]["version"], "1.1.0", "beside what it stands by for");
    assert!(rows[1]["since_s"].as_f64().unwrap() < 86_400.0, "{rows}");
    assert_eq!(leads("1.0.0"), (Some(2), "installed".to_owned()));

    let mut last = Value::Null;
    for want in ["acme/fast 1.1.0", "acme/fast 1.0.0", "built-in/latency 0.1.0"] {
        last = place.json(&back);
        assert_eq!(version(&place), want);
        let (carried, restored) = (&last["state_carried"], &last["state_restored"]);
        let is_same_plugin = want.starts_with("acme/fast");
        assert_eq!((carried, restored), (&is_same_plugin.into(), &(!is_same_plugin).into()), "{last}");
    }
    let end = place.error(&back);
    assert_eq!(end["code"], "MESH-P109");
    assert!(end["help"].to_string().contains("rollback route --forward"), "{end}");

    undone(&place, &last);
    assert_eq!(version(&place), "acme/fast 1.0.0");
    restart(&mut place);
    let forward = place.json(&["plugin", "rollback", "route", "--forward"]);
    assert_eq!((version(&place), &forward["undo"]), ("acme/fast 1.1.0".to_owned(), &back_line()));
    let settings = place.json(&["plugin", "show", "route"])["settings"].clone();
    assert_eq!(settings["margin_us"], 5, "with the settings that it had");
    assert_eq!(
        ways(&place),
        [
            way(1, false, "acme/fast 1.0.0"),
            way(2, false, "built-in/latency 0.1.0"),
            way(1, true, "acme/fast 1.2.0")
        ]
    );

    place.json(&["plugin", "swap", "route", "built-in/latency"]);

    assert_eq!(refusal(&place, &["plugin", "rollback", "route", "--forward"]), ("MESH-P109".to_owned(), 3));
    place.json(&back);
    assert_eq!(version(&place), "acme/fast 1.1.0");
}

fn back_line() -> Value {
    "meshctl plugin rollback route".into()
}

/// What a rollback would pass is no obstacle when it is gone, and the native built-in is a step like any other.
#[test]
fn what_was_removed_is_passed_over_and_the_native_built_in_is_a_step() {
    let mut place = with_versions(&["1.0.0", "1.1.0"]);
    place.json(&["plugin", "disable", "route"]);
    place.json(&["plugin", "swap", "route", "acme/fast@1.0.0", "--allow-downgrade", "--reset-state"]);
    place.json(&["plugin", "remove", "acme/fast@1.1.0"]);
    restart(&mut place);
    for want in ["native/fastest 0.1.0", "acme/fast 1.0.0", "built-in/latency 0.1.0"] {
        let report = place.json(&["plugin", "rollback", "route"]);

        assert_eq!(format!("{} {}", text(&report["new"]["plugin"]), text(&report["new"]["version"])), want);
        assert_eq!(version(&place), want);
    }
    assert_eq!(refusal(&place, &["plugin", "rollback", "route"]), ("MESH-P109".to_owned(), 3));
    let compared = place.json(&["plugin", "rollback", "route", "--forward"]);
    assert_eq!(compared["new"]["version"], "1.0.0");
}

/// A handler comes back over a restart as policies do.
#[test]
fn a_handler_comes_back_over_a_restart() {
    let mut place = Place::new();
    write(&place, "here.wasm", &component(builtin::BEACON, "acme/here", "1.0.0"));
    place.up("bob", &[]);
    place.json(&["plugin", "install", "here.wasm", "--grant", "log,kv"]);
    place.json(&["plugin", "swap", "beacon", "acme/here", "--reset-state"]);
    restart(&mut place);
    assert_eq!(active(&place, "beacon"), "acme/here");

    let back = place.json(&["plugin", "rollback", "beacon"]);

    assert_eq!(back["new"]["plugin"], "built-in/beacon");
    place.json(&["beacon", "set", "52.5,13.4"]);
    undone(&place, &back);
    assert_eq!(active(&place, "beacon"), "acme/here");
    place.json(&["beacon", "list"]);
}

/// H04: a revision that an operator goes back to has the state that it left with, where nobody has another for it.
#[test]
fn a_rollback_after_a_restart_finds_the_state_that_the_policy_left_with() {
    let mut place = Place::new();
    let addr = place.up("alice", &[]);
    place.up("bob", &["--join", &addr]);
    place.knows("alice", "bob");
    for _ in 0..5 {
        place.json(&["-N", "alice", "send", "bob", "hello"]);
    }
    place.json(&["-N", "alice", "plugin", "disable", "route"]);
    place.kill("bob");
    place.kill("alice");
    place.up("alice", &[]);

    let back = place.json(&["plugin", "rollback", "route"]);

    assert_eq!(back["state_restored"].as_bool(), Some(true), "{back}");
    assert!(decided(&place) >= 5, "its state counts what it decided");
}

/// What the state of `built-in/latency` counts, as a recording shows it: the first eight bytes.
fn decided(place: &Place) -> u64 {
    place.json(&["plugin", "record", "route", "--for", "100ms", "--out", "trace.jsonl"]);
    let trace = std::fs::read_to_string(place.path().join("trace.jsonl")).unwrap();
    let entries = trace.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["entry"].clone());
    let mut starts = entries.filter(|entry| entry["event"] == "start");
    let state = text(&starts.next().unwrap()["state"]).to_owned();
    let bytes = (0..8).map(|at| u8::from_str_radix(&state[at * 2..at * 2 + 2], 16).unwrap());
    u64::from_le_bytes(bytes.collect::<Vec<u8>>().try_into().unwrap())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Another build of the program has other bytes of its built-in plugins. What a slot decides by does not change with that,
/// least of all who is let in.
#[test]
fn a_slot_keeps_its_built_in_plugin_when_the_program_was_built_anew() {
    let mut place = Place::new();
    place.up("bob", &[]);
    place.json(&["plugin", "swap", "admission", "built-in/guest-list", "--set", "allow=friend-*"]);
    place.json(&["plugin", "swap", "topology", "built-in/steady"]);
    place.json(&["plugin", "disable", "topology"]);
    place.kill("bob");
    pretend_another_build(&place);

    place.up("bob", &[]);

    assert_eq!(active(&place, "admission"), "built-in/guest-list");
    assert_eq!(place.json(&["plugin", "show", "admission"])["settings"]["allow"], "friend-*");
    place.json(&["plugin", "rollback", "topology"]);
    assert_eq!(active(&place, "topology"), "built-in/steady");
}

/// Gives every plugin that a slot of the node was or is bound to a digest that no program has.
fn pretend_another_build(place: &Place) {
    use mesh_node::store::{DataDir, Store, StoreConfig, Table, Write};
    fn change(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(digest) if name == "digest" => *digest = "0".repeat(digest.len()),
                        other => change(other),
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(change),
            _ => {}
        }
    }
    let dir = DataDir::lock(&place.data_dir("bob")).unwrap();
    let (store, events) = Store::open(&dir, StoreConfig::default()).unwrap();
    let rows = store.load(Table::Bindings, 1 << 20).unwrap().rows;
    let puts = rows.into_iter().map(|(key, value)| {
        let mut binding: Value = serde_json::from_slice(&value).unwrap();
        change(&mut binding);
        Write::Put { table: Table::Bindings, key, value: binding.to_string().into_bytes().into() }
    });
    store.submit(1, puts.collect()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(store.close(events)).unwrap(), Some(1));
}
