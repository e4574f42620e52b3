//! What one node has, written to files and brought onto another, between real processes. PM-152.

use std::fs;

use mesh_plugin_host::builtin;
use serde_json::{Value, json};

use crate::harness::{Place, refusal, write};
use crate::package::{component, key, sign};

fn read(place: &Place, file: &str) -> Vec<u8> {
    fs::read(place.path().join(file)).unwrap()
}

/// Settings, failure mode, limits, grants and pins as a node has them.
#[track_caller]
fn state(place: &Place, node: &str) -> Value {
    let out = format!("{node}.toml");
    place.json(&["-N", node, "plugin", "export", "--bindings", "--out", &out, "--force"]);
    let text = String::from_utf8(read(place, &out)).unwrap();
    let mut state: toml::Table = toml::from_str(&text).unwrap();
    state.remove("at");
    state.remove("node");
    serde_json::to_value(state).unwrap()
}

/// A node with a signed policy in its slot, a handler, a pin, limits and settings.
fn with_everything(place: &mut Place) {
    let acme = key(place, "acme.key");
    write(place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    write(place, "here.wasm", &component(builtin::BEACON, "acme/here", "1.0.0"));
    sign(place, "fast.wasm", "acme.key", "fast.meshpkg");
    place.up("alice", &[]);
    let run = |args: &[&str]| place.json(&[&["-N", "alice", "plugin"], args].concat());
    run(&["trust", "add", &acme, "--for", "acme/*"]);
    run(&["install", "fast.meshpkg"]);
    run(&["install", "here.wasm", "--grant", "log,kv"]);
    run(&["pin", "acme/here"]);
    run(&["enable", "route", "acme/fast", "--set", "margin_us=500", "--on-failure", "fail-closed"]);
    run(&["limits", "set", "route", "--deadline", "3ms", "--memory", "4MiB"]);
    run(&["enable", "beacon", "acme/here", "--reset-state"]);
    run(&["limits", "set", "beacon", "--log-rate", "50/s"]);
    run(&["disable", "qos"]);
}

#[test]
fn what_is_exported_is_what_was_installed_byte_by_byte() {
    let mut place = Place::new();
    with_everything(&mut place);

    let by_name = place.json(&["plugin", "export", "acme/fast", "--out", "back.meshpkg"]);
    let of_slot = place.json(&["plugin", "export", "route"]);

    assert_eq!(read(&place, "back.meshpkg"), read(&place, "fast.meshpkg"));
    assert_eq!(by_name["undo"], "rm back.meshpkg");
    assert_eq!(
        (&by_name["files"][0]["signatures"], &by_name["files"][0]["plugin"]),
        (&1.into(), &"acme/fast".into())
    );
    let file = of_slot["files"][0]["file"].as_str().unwrap();
    assert!(file.starts_with("acme-fast-1.0.0-") && file.ends_with(".meshpkg"), "{file}");
    assert_eq!(read(&place, file), read(&place, "fast.meshpkg"));
    assert_eq!(refusal(&place, &["plugin", "export", "route"]), ("MESH-C108".to_owned(), 1), "it is there");
    let again = place.json(&["plugin", "export", "route", "--force"]);
    assert_eq!(again["undo"], Value::Null, "what was there is gone");
    place.json(&["plugin", "export", "acme/here", "--out", "dry.meshpkg", "--dry-run"]);
    assert!(!place.path().join("dry.meshpkg").exists());
    assert_eq!(refusal(&place, &["plugin", "export", "qos"]), ("MESH-P190".to_owned(), 3));
    assert_eq!(refusal(&place, &["plugin", "export", "acme/none"]), ("MESH-P102".to_owned(), 3));
}

/// More than one answer of a node holds.
#[test]
fn a_large_plugin_comes_in_parts() {
    const PADDING: usize = 5 << 20;
    let mut place = Place::new();
    let len = PADDING + 4;
    let digits = [0, 7, 14].map(|shift| (len >> shift) as u8 & 0x7f | 0x80);
    let section = [&[0][..], &digits, &[(len >> 21) as u8, 3], b"pad", &vec![7; PADDING]].concat();
    write(&place, "big.wasm", &[component(builtin::LATENCY, "acme/big", "1.0.0"), section].concat());
    key(&place, "acme.key");
    let big = sign(&place, "big.wasm", "acme.key", "big.meshpkg");
    place.up("bob", &[]);
    place.json(&["plugin", "trust", "add", big["key"].as_str().unwrap(), "--for", "acme/*"]);
    place.json(&["plugin", "install", "big.meshpkg", "--allow-large"]);

    place.json(&["plugin", "export", "acme/big", "--out", "back.meshpkg"]);

    assert!(read(&place, "back.meshpkg") == read(&place, "big.meshpkg"));
    assert_eq!(refusal(&place, &["plugin", "import", "back.meshpkg"]), ("MESH-P163".to_owned(), 13));
    let again = place.json(&["plugin", "import", "back.meshpkg", "--allow-large"]);
    assert_eq!(again["changed"], false, "{again}");
}

#[test]
fn an_exported_node_is_brought_onto_another_one_and_a_second_time_changes_nothing() {
    let mut place = Place::new();
    with_everything(&mut place);
    place.up("bob", &[]);
    let trusted = place.json(&["-N", "alice", "plugin", "trust", "list"])[0]["key"].clone();
    let before = state(&place, "bob");
    let exported = place.json(&["-N", "alice", "plugin", "export", "--all", "--out", "backup"]);
    assert_eq!((exported["files"].as_array().unwrap().len(), &exported["undo"]), (2, &"rm -r backup".into()));
    let import = ["-N", "bob", "plugin", "import", "backup"];
    assert_eq!(refusal(&place, &import), ("MESH-P119".to_owned(), 6), "bob trusts nobody");
    assert_eq!(state(&place, "bob"), before);
    place.json(&["-N", "bob", "plugin", "trust", "add", trusted.as_str().unwrap(), "--for", "acme/*"]);
    let rehearsed = place.json(&[&import[..], &["--dry-run"]].concat());
    assert_eq!((&rehearsed["changed"], &rehearsed["undo"]), (&true.into(), &json!([])));
    assert_eq!(state(&place, "bob"), before, "a rehearsal changes nothing");

    let imported = place.json(&[&import[..], &["-y", "--reset-state"]].concat());

    assert_eq!(imported["changed"], true);
    assert_eq!(state(&place, "bob"), state(&place, "alice"));
    assert_eq!(state(&place, "bob")["slot"][0]["settings"], json!({"margin_us": 500}));
    let again = place.json(&[&import[..], &["-y"]].concat());
    assert_eq!((&again["changed"], &again["undo"]), (&false.into(), &json!([])), "{again}");
    for undo in imported["undo"].as_array().unwrap() {
        let args: Vec<&str> = undo.as_str().unwrap().split(' ').skip(1).collect();
        place.json(&args);
    }
    assert_eq!(state(&place, "bob")["slot"], before["slot"]);
}

/// A backup outlives the program: another one has other bytes of the same built-in plugins.
#[test]
fn built_in_plugins_of_another_build_are_those_of_the_node() {
    let mut place = Place::new();
    place.up("alice", &[]);
    place.json(&["plugin", "swap", "topology", "built-in/steady"]);
    let shown = place.json(&["plugin", "show", "topology"])["row"]["revision"].clone();
    place.json(&["plugin", "export", "--all", "--out", "backup"]);
    let path = place.path().join("backup/bindings.toml");
    let text = fs::read_to_string(&path).unwrap();
    let other = format!("blake3:{}", "0".repeat(64));
    fs::write(&path, text.replace(shown.as_str().unwrap(), &other)).unwrap();
    place.json(&["plugin", "disable", "topology"]);

    let imported = place.json(&["plugin", "import", "backup"]);

    assert_eq!(imported["changed"], true);
    assert_eq!(place.json(&["plugin", "show", "topology"])["row"]["revision"], shown);
}

#[test]
fn an_import_stops_at_what_fails_and_says_how_to_undo_what_was_done() {
    let mut place = Place::new();
    with_everything(&mut place);
    place.json(&["plugin", "export", "--all", "--out", "backup"]);
    let text = String::from_utf8(read(&place, "backup/bindings.toml")).unwrap();
    place.up("bob", &[]);
    let import = |options: &[&'static str]| [&["-N", "bob", "plugin", "import", "backup"], options].concat();
    let acme = place.json(&["-N", "alice", "plugin", "trust", "list"])[0]["key"].as_str().unwrap().to_owned();
    place.json(&["-N", "bob", "plugin", "trust", "add", &acme, "--for", "acme/*"]);
    let before = state(&place, "bob");
    assert_eq!(refusal(&place, &import(&[])), ("MESH-P117".to_owned(), 5), "nobody is there to grant");
    assert_eq!(state(&place, "bob"), before);

    write(&place, "backup/bindings.toml", text.replace("deadline_ms = 3", "deadline_ms = 9").as_bytes());
    let error = place.error(&import(&["-y", "--reset-state"]));

    assert_eq!((&error["code"], &error["exit"]), (&"MESH-P192".into(), &13.into()), "{error}");
    assert!(error["facts"].to_string().contains("slot route"), "{error}");
    assert!(error["help"].to_string().contains("undoes what was done"), "{error}");
    assert_eq!(state(&place, "bob")["slot"], before["slot"], "no slot is different");

    for (changed, code) in [
        (text.replace("blake3:", "blake3:0"), "MESH-P127"),
        (text.replace("file = \"acme-fast", "file = \"../backup/acme-fast"), "MESH-P164"),
        (format!("surprise = 1\n{text}"), "MESH-P164"),
    ] {
        write(&place, "backup/bindings.toml", changed.as_bytes());
        assert_eq!(refusal(&place, &import(&["-y"])).0, code);
    }
}

#[test]
fn two_plugins_are_compared_field_by_field_with_and_without_a_node() {
    let mut place = Place::new();
    let acme = key(&place, "acme.key");
    write(&place, "one.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    write(&place, "two.wasm", &component(builtin::LATENCY, "acme/fast", "1.1.0"));
    sign(&place, "one.wasm", "acme.key", "one.meshpkg");
    let row = |compared: &Value, field: &str| {
        let rows = compared["rows"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["field"] == field).unwrap_or_else(|| panic!("{field}: {compared}"))
    };

    let files = place.json(&["plugin", "diff", "one.wasm", "two.wasm"]);
    let signed = place.json(&["plugin", "diff", "one.wasm", "one.meshpkg"]);
    let same = place.run(&["plugin", "diff", "one.wasm", "one.wasm"]);

    assert_eq!((&files["equal"], &files["b"]["version"]), (&false.into(), &"1.1.0".into()));
    assert_eq!(
        row(&files, "version"),
        json!({"field": "version", "a": "1.0.0", "b": "1.1.0", "equal": false})
    );
    assert_eq!(row(&files, "export mesh:routing/policy@0.1.0#decide")["equal"], true);
    assert_eq!(row(&signed, &format!("signer {acme}"))["a"], Value::Null);
    assert_eq!(row(&signed, "revision")["equal"], true, "signatures are beside the component");
    assert!(same.code == Some(0) && same.stdout.contains("the same plugin"), "{}", same.stdout);
    assert_eq!(place.error(&["plugin", "diff", "one.wasm", "none.wasm"])["code"], "MESH-P102");
    place.up("bob", &[]);
    let none = refusal(&place, &["plugin", "diff", "--slot", "route"]);
    assert_eq!(none, ("MESH-P109".to_owned(), 3), "there was nothing before");
    place.json(&["plugin", "swap", "route", "./one.wasm", "--set", "margin_us=1"]);
    place.json(&["plugin", "swap", "route", "./two.wasm", "--set", "margin_us=2"]);
    let slot = place.json(&["plugin", "diff", "--slot", "route"]);
    assert_eq!((&slot["a"]["version"], &slot["b"]["version"]), (&"1.0.0".into(), &"1.1.0".into()));
    let set = row(&slot, "set margin_us");
    assert_eq!((&set["a"], &set["b"]), (&"1".into(), &"2".into()));
    let installed = place.json(&["plugin", "diff", "route", "two.wasm"]);
    assert_eq!(installed["equal"], true, "{installed}");
    assert_eq!(refusal(&place, &["plugin", "diff", "--slot", "nowhere"]), ("MESH-P101".to_owned(), 3));
}
