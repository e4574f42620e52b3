//! Decisions that are recorded, made again, and followed from node to node. Features part 4, number 3.

use std::fs;

use mesh_plugin_host::builtin;
use serde_json::{Value, json};

use crate::harness::Place;

/// Three nodes in a row: alice, bob, carol.
fn row() -> Place {
    let mut place = Place::new();
    let addr = place.up("bob", &[]);
    for name in ["alice", "carol"] {
        place.up(name, &["--join", &addr, "--links", "explicit"]);
    }
    place.knows("alice", "carol");
    place.knows("carol", "alice");
    place
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Records alice's routing while messages go to carol.
fn recorded(place: &Place) -> Value {
    let file = place.path().join("trace.jsonl");
    let record = ["-N", "alice", "plugin", "record", "route", "--for", "2s", "--json", "--out"];
    let mut recording = place.command(&[&record[..], &[file.to_str().unwrap()]].concat());
    let recording = recording.stdout(std::process::Stdio::piped()).spawn().unwrap();
    // The file is there as soon as the recording has begun.
    let deadline = std::time::Instant::now() + crate::harness::DEADLINE;
    while !file.exists() {
        assert!(std::time::Instant::now() < deadline, "nothing is recorded");
        std::thread::yield_now();
    }
    place.json(&["-N", "alice", "send", "carol", "--count", "300", "--rate", "1000", "x"]);
    let output = recording.wait_with_output().unwrap();
    let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
    envelope["data"].clone()
}

#[test]
fn a_recording_that_is_interrupted_has_its_end_and_can_be_replayed() {
    let mut place = Place::new();
    place.up("alice", &[]);
    let args = ["plugin", "record", "route", "--for", "10m", "--out", "my trace.jsonl", "--json"];
    let recording = place.command(&args).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let file = place.path().join("my trace.jsonl");
    let deadline = std::time::Instant::now() + crate::harness::DEADLINE;
    while !file.exists() {
        assert!(std::time::Instant::now() < deadline, "nothing is recorded");
        std::thread::yield_now();
    }

    let pid = rustix::process::Pid::from_child(&recording);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = crate::harness::Ran::of(recording.wait_with_output().unwrap());

    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["data"]["undo"], "rm 'my trace.jsonl'");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.lines().next_back().unwrap().starts_with("{\"end\":"), "{text}");
}

#[test]
fn what_a_node_decided_is_decided_again_to_the_bit_and_otherwise_by_another() {
    let place = row();

    let report = recorded(&place);

    assert!(number(&report["decisions"]) >= 300, "{report}");
    assert_eq!(
        (number(&report["missed"]), report["plugins"][0].as_str()),
        (0, Some("built-in/latency 0.1.0"))
    );
    let same = place.json(&["plugin", "replay", "trace.jsonl"]);
    assert_eq!((same["equal"].as_bool(), number(&same["differing"])), (Some(true), 0), "{same}");
    assert_eq!(number(&same["decisions"]), number(&report["decisions"]), "{same}");

    // It panics after five messages, and a fault is another answer than a neighbour.
    fs::write(place.path().join("faulty.wasm"), builtin::FAULTY).unwrap();
    let other =
        place.json(&["plugin", "replay", "trace.jsonl", "--with", "faulty.wasm", "--set", "works_for=5"]);
    assert_eq!(other["equal"].as_bool(), Some(false), "{other}");
    assert!(number(&other["differing"]) > 0, "{other}");
    assert!(other["with"].as_str().unwrap().starts_with("built-in/faulty"), "{other}");

    // One changed answer is found, with what was asked.
    let path = place.path().join("trace.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let changed: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = changed.iter().rposition(|line| line.contains("\"event\":\"route\"")).unwrap();
    let mut line: Value = serde_json::from_str(&changed[at]).unwrap();
    line["entry"]["answers"][0] = Value::from(u32::MAX);
    let mut changed = changed;
    changed[at] = line.to_string();
    fs::write(&path, changed.join("\n") + "\n").unwrap();
    let ran = place.run(&["plugin", "replay", "trace.jsonl", "--json"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.code, error["code"].as_str()), (Some(1), Some("MESH-P196")), "{error}");
    let example = &told["data"]["examples"][0];
    assert_eq!(
        (number(&told["data"]["differing"]), example["recorded"].as_str()),
        (1, Some("drop")),
        "{told}"
    );
    assert_eq!(example["inputs"][0][0].as_str(), Some("dest"), "{told}");
}

#[test]
fn a_recording_is_refused_with_a_reason() {
    let mut place = Place::new();
    place.up("ada", &["--journal", "0"]);
    fs::write(place.path().join("cut.jsonl"), "{\"trace\":").unwrap();
    fs::write(place.path().join("there.jsonl"), "").unwrap();

    // Another build of the program has another revision of what is built in.
    let revision = format!("blake3:{}", "0".repeat(64));
    let head = json!({ "trace": { "format": "meshctl.trace/v1", "slot": "route", "node": "",
        "at": "2026-01-01T00:00:00.000Z", "version": "0.1.0", "with_payload": false } });
    let binding = json!({ "binding": { "binding": 1, "plugin": "built-in/latency", "version": "0.1.0",
        "revision": revision, "settings": {} } });
    let start = json!({ "entry": { "number": 1, "now_ms": 1, "binding": 1, "event": "start",
        "with": "anchor", "version": 1, "state": "0000000000000000" } });
    let end = json!({ "end": { "entries": 1, "calls": 0, "decisions": 0, "missed": 0 } });
    let lines = [head, binding, start, end].map(|line| format!("{line}\n"));
    fs::write(place.path().join("other.jsonl"), lines.concat()).unwrap();
    let other = place.error(&["plugin", "replay", "other.jsonl"]);
    assert_eq!(other["code"], "MESH-P102", "{other}");
    assert!(other["help"].to_string().contains("--with built-in/latency"), "{other}");

    for (args, code) in [
        (&["plugin", "record", "route", "--for", "1s"][..], "MESH-P194"),
        (&["plugin", "record", "beacon", "--for", "1s"], "MESH-P194"),
        (&["plugin", "record", "nowhere", "--for", "1s"], "MESH-P101"),
        (&["plugin", "replay", "cut.jsonl"], "MESH-P195"),
        (&["plugin", "replay", "missing.jsonl"], "MESH-C109"),
        (&["trace", "why", "00000000"], "MESH-N120"),
        (&["trace", "why", "hello"], "MESH-C103"),
    ] {
        let error = place.error(args);
        assert_eq!(error["code"].as_str(), Some(code), "{args:?} {error}");
    }
}

#[test]
fn a_message_is_followed_over_three_hops_from_any_of_them() {
    let place = row();
    let sent = place.json(&["-N", "alice", "send", "carol", "hello"]);
    let id = sent["first_id"].as_str().unwrap();
    place.until(&["-N", "carol", "status"], |status| status["inbox"]["messages"] == 1);

    for (asked, digits) in [("alice", &id[..8]), ("bob", id), ("carol", &id[..12])] {
        let why = place.json(&["-N", asked, "trace", "why", digits]);

        assert_eq!((why["message"].as_str(), why["complete"].as_bool()), (Some(id), Some(true)), "{why}");
        let hops = why["hops"].as_array().unwrap();
        let story: Vec<(&str, &str)> = hops
            .iter()
            .map(|hop| {
                let last = hop["decisions"].as_array().unwrap().last().unwrap();
                (hop["name"].as_str().unwrap(), last["fate"].as_str().unwrap())
            })
            .collect();
        assert_eq!(story, [("alice", "sent"), ("bob", "sent"), ("carol", "delivered")], "{asked}: {why}");
        let first = hops[0]["decisions"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (first["to"][0].as_str(), first["class"].as_str()),
            (Some("bob"), Some("normal")),
            "{why}"
        );
        let route = &first["route"];
        assert_eq!(
            (route["plugin"].as_str(), route["by"].as_str()),
            (Some("built-in/latency"), Some("plugin"))
        );
        assert!(route["rev"].as_str().unwrap().starts_with("blake3:"), "{why}");
    }
    let table = place.run(&["-N", "alice", "trace", "why", &id[..8]]);
    assert!(
        table.stdout.contains("delivered") && table.stdout.contains("built-in/latency 0.1.0"),
        "{}",
        table.stdout
    );
}

#[test]
fn a_hop_that_is_gone_is_told_as_gone() {
    let mut place = row();
    let sent = place.json(&["-N", "alice", "send", "carol", "hello"]);
    place.until(&["-N", "carol", "status"], |status| status["inbox"]["messages"] == 1);
    place.kill("bob");

    let why = place.json(&["-N", "alice", "trace", "why", sent["first_id"].as_str().unwrap()]);

    assert_eq!(why["complete"].as_bool(), Some(false), "{why}");
    let states: Vec<&str> =
        why["hops"].as_array().unwrap().iter().map(|hop| hop["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["known", "no-answer"], "{why}");
}

/// Records what alice's beacon is told and answers: a position, a question, and a command that it cannot carry out.
fn beacon_recorded(place: &Place, file: &str, options: &[&str]) -> Value {
    let args =
        [&["-N", "alice", "plugin", "record", "beacon", "--for", "6s", "--json", "--out", file], options];
    let recording = place.command(&args.concat()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let path = place.path().join(file);
    let deadline = std::time::Instant::now() + crate::harness::DEADLINE;
    while !path.exists() {
        assert!(std::time::Instant::now() < deadline, "nothing is recorded");
        std::thread::yield_now();
    }
    place.json(&["-N", "alice", "beacon", "set", "52.5163,13.3777", "--note", "behind the shed"]);
    place.json(&["-N", "alice", "beacon", "list"]);
    place.json(&["-N", "alice", "beacon", "near", "--radius", "500"]);
    let output = crate::harness::Ran::of(recording.wait_with_output().unwrap());
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let envelope: Value = serde_json::from_str(&output.stdout).unwrap();
    envelope["data"].clone()
}

#[test]
fn what_a_handler_was_told_is_recorded_and_answered_again_to_the_bit() {
    let mut place = Place::new();
    place.up("alice", &[]);
    // Its store has something before the recording begins.
    place.json(&["-N", "alice", "beacon", "set", "1,2", "--note", "at first"]);

    let report = beacon_recorded(&place, "open.jsonl", &["--with-payload"]);

    assert_eq!((&report["with_payload"], number(&report["missed"])), (&true.into(), 0), "{report}");
    assert!(number(&report["decisions"]) >= 3, "{report}");
    let same = place.json(&["plugin", "replay", "open.jsonl"]);
    assert_eq!((&same["equal"], number(&same["skipped"])), (&true.into(), 0), "{same}");
    assert_eq!(number(&same["decisions"]), number(&report["decisions"]), "{same}");
    assert!(number(&same["states"]) >= 1, "{same}");

    // Another topic is another effect, and the same handler in a project decides as it did.
    let replay = ["plugin", "replay", "open.jsonl", "--with", "built-in/beacon"];
    let other = place.json(&[&replay[..], &["--set", "topic=elsewhere"]].concat());
    assert_eq!((other["equal"].as_bool(), number(&other["faults"])), (Some(false), 0), "{other}");
    let by_command = serde_json::json!(["event", "command"]);
    let examples = other["examples"].as_array().unwrap();
    let example = examples.iter().find(|example| example["inputs"][0] == by_command).unwrap();
    assert!(example["recorded"].as_str().unwrap().contains("publish mesh/beacon low"), "{other}");
    assert!(example["replayed"].as_str().unwrap().contains("publish elsewhere low"), "{other}");
    let table = place.run(&[&replay[..], &["--set", "topic=elsewhere"]].concat());
    assert!(
        table.stdout.contains("name=set-position") && table.stdout.contains("52.5163"),
        "{}",
        table.stdout
    );

    // One changed answer is found.
    let path = place.path().join("open.jsonl");
    let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let at = lines.iter().position(|line| line.contains("\"name\":\"list\"")).unwrap();
    let mut line: Value = serde_json::from_str(&lines[at]).unwrap();
    line["entry"]["came"]["effects"][0] = serde_json::json!({ "reply": { "hex": "00" } });
    lines[at] = line.to_string();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let ran = place.run(&["plugin", "replay", "open.jsonl", "--json"]);
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.code, error["code"].as_str()), (Some(1), Some("MESH-P196")), "{error}");
}

#[test]
fn a_project_of_a_handler_is_tested_on_what_a_node_has_recorded() {
    let mut place = Place::new();
    place.up("alice", &[]);
    beacon_recorded(&place, "trace.jsonl", &["--with-payload"]);
    let dir = place.path().join("tower");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("handler.wasm"), builtin::BEACON).unwrap();
    let manifest = "[plugin]
name = \"you/tower\"
version = \"1.0.0\"
slots = [\"beacon\"]
\
                    world = \"mesh:handler@0.1.0\"
[state]
schema = 1
\
                    [[grants]]
name = \"log\"
why = \"panics\"
\
                    [[grants]]
name = \"kv\"
why = \"the position\"
\
                    [build]
command = \"true\"
artifact = \"handler.wasm\"
";
    fs::write(dir.join("plugin.toml"), manifest).unwrap();
    place.json(&["plugin", "build", "tower"]);

    let report = place.json(&["plugin", "test", "tower", "--replay", "trace.jsonl", "--max-differing", "0%"]);

    let replay = &report["replays"][0];
    assert_eq!((&replay["same_revision"], number(&replay["differing"])), (&false.into(), 0), "{report}");
    assert!(number(&replay["decisions"]) >= 3, "{report}");
    assert_eq!((number(&replay["faults"]), replay["state_refused"].as_str()), (0, None), "{report}");
}

#[test]
fn a_recording_of_a_handler_has_no_payload_unless_it_is_wanted() {
    let mut place = Place::new();
    place.up("alice", &[]);
    place.json(&["-N", "alice", "beacon", "set", "1,2", "--note", "at first"]);

    let report = beacon_recorded(&place, "closed.jsonl", &[]);

    assert_eq!(report["with_payload"].as_bool(), Some(false), "{report}");
    let text = fs::read_to_string(place.path().join("closed.jsonl")).unwrap();
    for word in ["behind the shed", "at first", "52.5163"] {
        let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!text.contains(word) && !text.contains(&hex), "{word}: {text}");
    }
    assert!(text.contains("\"name\":\"set-position\"") && text.contains("\"blake3\":"), "{text}");
    let error = place.error(&["plugin", "replay", "closed.jsonl"]);
    assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("MESH-P197"), Some(1)), "{error}");
    assert!(error["help"].to_string().contains("--with-payload"), "{error}");
}

#[test]
fn a_recording_of_a_handler_that_was_tampered_with_is_refused_with_a_reason() {
    let mut place = Place::new();
    place.up("alice", &[]);
    beacon_recorded(&place, "trace.jsonl", &["--with-payload"]);
    let path = place.path().join("trace.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains("\"name\":\"list\"")).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut line: Value = serde_json::from_str(lines[at]).unwrap();
        change(&mut line["entry"]);
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        lines[at] = line.to_string();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        place.error(&["plugin", "replay", "trace.jsonl"])
    };

    for (why, error) in [
        (
            "no hex",
            changed(&|entry| entry["asked"]["command"]["payload"] = serde_json::json!({ "hex": "0" })),
        ),
        ("no event", changed(&|entry| entry["asked"] = serde_json::json!({ "earthquake": 1 }))),
        ("long name", changed(&|entry| entry["asked"]["command"]["name"] = "x".repeat(1_000).into())),
        ("no binding", changed(&|entry| entry["event"] = "nothing".into())),
    ] {
        assert_eq!(
            (error["code"].as_str(), error["exit"].as_i64()),
            (Some("MESH-P195"), Some(2)),
            "{why} {error}"
        );
    }
}

/// A project around a component that is ready: no crate, no compiler.
fn project(place: &Place, version: &str) {
    let dir = place.path().join("fast");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("policy.wasm"), builtin::LATENCY).unwrap();
    let manifest = format!(
        "[plugin]\nname = \"you/fast\"\nversion = \"{version}\"\nslots = [\"route\"]\nworld = \"mesh:routing@0.1.0\"\n\
         pure = true\n[state]\nschema = 1\n[build]\ncommand = \"true\"\nartifact = \"policy.wasm\"\n"
    );
    fs::write(dir.join("plugin.toml"), manifest).unwrap();
}

#[test]
fn a_project_is_tested_on_what_a_node_has_recorded() {
    let place = row();
    project(&place, "1.0.0");
    place.json(&["plugin", "build", "fast"]);
    place.json(&["-N", "alice", "plugin", "swap", "route", "./fast/fast.wasm"]);
    recorded(&place);
    let test =
        |options: &[&'static str]| [&["plugin", "test", "fast", "--replay", "trace.jsonl"], options].concat();

    let same = place.json(&test(&[]));

    let replay = &same["replays"][0];
    assert_eq!((&replay["same_revision"], number(&replay["differing"])), (&true.into(), 0), "{same}");
    assert!(number(&replay["decisions"]) >= 300, "{same}");
    // One answer of the record is changed: this revision must not differ at all, another one may a little.
    let path = place.path().join("trace.jsonl");
    let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    let at = lines.iter().rposition(|line| line.contains("\"event\":\"route\"")).unwrap();
    let mut line: Value = serde_json::from_str(&lines[at]).unwrap();
    line["entry"]["answers"][0] = Value::from(u32::MAX);
    lines[at] = line.to_string();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let differs = place.error(&test(&[]));
    assert_eq!((&differs["code"], &differs["exit"]), (&"MESH-B113".into(), &11.into()), "{differs}");
    assert!(differs["facts"].to_string().contains("recorded drop"), "{differs}");
    project(&place, "1.1.0");
    let other = place.json(&test(&["--max-differing", "10%"]));
    let replay = &other["replays"][0];
    assert_eq!((&replay["same_revision"], number(&replay["differing"])), (&false.into(), 1), "{other}");
    assert_eq!(place.error(&test(&["--max-differing", "0%"]))["exit"], 11);
    place.json(&test(&[]));
}
