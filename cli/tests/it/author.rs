//! The author's loop between real processes: new, build, check, test, run with an edit swapped live. PM-152.
//!
//! Crates come from cargo's home or the registry; what all projects need is compiled once, in the shared build
//! directory below the tests' cache.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Place, Ran, ended};

/// A first build compiles what all projects need, on a busy machine and beside other tests.
const BUILD: Duration = Duration::from_secs(150);

fn edit(place: &Place, file: &str, from: &str, to: &str) {
    let path = place.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// `plugin run` in a process of its own, line by line.
struct Running {
    child: Child,
    lines: Receiver<Value>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(place: &Place, args: &[&str]) -> Running {
        let args = [&["plugin", "run", "--json"], args].concat();
        let mut child = place.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (told, lines) = channel();
        std::thread::spawn(move || read(stdout, |line| told.send(line).is_ok()));
        Running { child, lines }
    }

    /// Waits for the next line of this kind.
    #[track_caller]
    fn next(&self, event: &str) -> Value {
        let deadline = Instant::now() + BUILD;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no {event}"));
            if line["event"] == event {
                return line;
            }
            assert!(event == "failed" || line["event"] != "failed", "{line}");
        }
    }

    fn interrupt(&self) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }
}

fn read(stdout: ChildStdout, mut told: impl FnMut(Value) -> bool) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if !told(serde_json::from_str(&line).unwrap()) {
            return;
        }
    }
}

#[test]
fn a_project_is_made_once_and_names_what_it_would_write() {
    let place = Place::with_toolchain();

    let rehearsed = place.json(&["plugin", "new", "acme/my-router", "--dry-run"]);
    assert!(!place.path().join("my-router").exists() && rehearsed["undo"].is_null());
    let made = place.json(&["plugin", "new", "acme/my-router"]);

    assert_eq!(made["files"], rehearsed["files"]);
    assert_eq!((&made["slot"], &made["undo"]), (&"route".into(), &"rm -r my-router".into()));
    for file in made["files"].as_array().unwrap() {
        assert!(place.path().join("my-router").join(file.as_str().unwrap()).is_file(), "{file}");
    }
    assert_eq!(place.error(&["plugin", "new", "acme/my-router"])["code"], "MESH-B102");
    assert_eq!(place.error(&["plugin", "new", "Router"])["code"], "MESH-B103");
    assert_eq!(place.error(&["plugin", "new", "serde", "--slot", "qos"])["code"], "MESH-B103");
    assert_eq!(place.error(&["plugin", "build", "nowhere"])["code"], "MESH-B101");
}

/// G24 routing: a project in Rust builds to a component that a node takes, passes its own tests in the real host,
/// and says where a wrong answer is.
#[test]
fn a_routing_project_is_built_checked_and_tested() {
    let place = Place::with_toolchain();
    place.json(&["plugin", "new", "acme/my-router"]);
    let lock = fs::read(place.path().join("my-router/Cargo.lock")).unwrap();

    let built = place.json(&["plugin", "build", "my-router"]);

    assert_eq!((&built["plugin"], &built["kind"]), (&"acme/my-router".into(), &"routing".into()));
    assert_eq!((&built["pure"], built["findings"].as_array().unwrap().len()), (&true.into(), 0));
    assert_eq!(
        fs::read(place.path().join("my-router/Cargo.lock")).unwrap(),
        lock,
        "cargo changed the lock file"
    );
    let wasm = "my-router/my-router.wasm";
    let inspected = place.json(&["plugin", "inspect", wasm]);
    assert_eq!(inspected["revision"], built["revision"]);

    assert_eq!(inspected["manifest"]["min_host"], "0.1.0", "filled in, as the author left it out");
    let said = fs::read_to_string(place.path().join("my-router/plugin.toml")).unwrap();
    assert!(!said.contains("min_host"), "what an author wrote is left alone");

    let checked = place.json(&["plugin", "check", wasm]);
    assert_eq!((&checked["errors"], &checked["warnings"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert_eq!((&checked["lowest_host"], &checked["license"]), (&"0.1.0".into(), &"Apache-2.0".into()));
    let too_old = place.run(&["plugin", "check", wasm, "--against", "0.0.9", "--json"]);
    let (report, refused): (Value, Value) =
        (serde_json::from_str(&too_old.stdout).unwrap(), serde_json::from_str(&too_old.stderr).unwrap());
    assert_eq!((&refused["code"], too_old.code), (&"MESH-B111".into(), Some(11)));
    assert!(refused["message"].as_str().unwrap().contains("1 error, "), "{refused}");
    assert_eq!(place.error(&["plugin", "check", wasm, "--against", "alice"])["exit"], 2);
    let what = report["data"]["errors"][0]["what"].as_str().unwrap();
    assert!(what.contains("needs host 0.1.0"), "{report}");

    let tested = place.json(&["plugin", "test", "my-router"]);
    assert_eq!((&tested["units"], &tested["cases"]), (&"passed".into(), &4.into()));
    edit(
        &place,
        "my-router/tests/cases.toml",
        "{ dest = 9, expect = \"hold\" }",
        "{ dest = 9, expect = \"drop\" }",
    );
    let wrong = place.error(&["plugin", "test", "my-router", "--skip-units"]);
    assert_eq!((&wrong["code"], &wrong["exit"]), (&"MESH-B110".into(), &11.into()));
    let none = place.error(&["plugin", "test", "my-router", "--skip-units", "--only", "nosuch"]);
    assert_eq!(none["facts"]["case"].as_array().map(Vec::len), Some(4), "{none}");
    let (case, why) = wrong["facts"].as_object().unwrap().iter().next().unwrap();
    assert!(case.starts_with("tests/cases.toml:"), "{wrong}");
    assert!(why.as_str().unwrap().ends_with("message 1: expected drop, got hold"), "{wrong}");

    edit(&place, "my-router/src/lib.rs", "Verdict::Hold,", "Verdict::Holt,");
    let broken = place.error(&["plugin", "build", "my-router"]);
    assert_eq!(broken["code"], "MESH-B106");
    assert!(broken["facts"].to_string().contains("src/lib.rs"), "{broken}");
}

/// A crate whose needs were never fetched is not built without a network, and nothing is asked for them.
#[test]
fn a_crate_is_not_fetched_when_told_to_keep_off_the_network() {
    let place = Place::with_toolchain();
    place.json(&["plugin", "new", "acme/alone", "--slot", "qos"]);
    let mut build = place.command(&["plugin", "build", "alone", "--offline", "--json"]);

    let ran = Ran::of(build.env("CARGO_HOME", place.path().join("no-crates")).output().unwrap());

    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(error["code"], "MESH-B112", "{error}");
    assert!(error["facts"].to_string().contains("offline"), "{error}");
}

/// PM-152, H: an edit is swapped into the running node with its state; one that does not compile changes nothing.
#[test]
fn an_edit_goes_live_with_its_state_and_a_broken_one_changes_nothing() {
    let place = Place::with_toolchain();
    place.json(&["plugin", "new", "acme/live"]);
    let running = Running::start(&place, &["live", "--traffic", "50"]);
    let node = running.next("ready")["node"].as_str().unwrap().to_owned();

    let first = running.next("live");
    let slot = place.until(&["-N", &node, "plugin", "show", "route"], |shown| {
        shown["row"]["plugin"] == "acme/live" && shown["row"]["calls_per_s"].as_f64() > Some(0.0)
    });
    assert_eq!(slot["row"]["revision"], first["revision"]);
    assert!(slot["origin"].as_str().unwrap().starts_with("dev override: "), "{slot}");

    edit(&place, "live/src/lib.rs", "way.hops, view.cost_us(way)", "view.cost_us(way), way.hops");
    let second = running.next("live");
    assert_eq!((&second["changed"][0], &second["state"]), (&"src/lib.rs".into(), &"kept".into()));
    assert_ne!(second["revision"], first["revision"]);

    edit(&place, "live/src/lib.rs", "Verdict::Hold,", "Verdict::Holt,");
    assert_eq!(running.next("failed")["code"], "MESH-B106");
    let still = place.json(&["-N", &node, "plugin", "show", "route"]);
    assert_eq!(still["row"]["revision"], second["revision"]);

    edit(&place, "live/src/lib.rs", "Verdict::Holt,", "Verdict::Hold,");
    assert_eq!(running.next("live")["state"], "same revision");

    edit(&place, "live/src/lib.rs", "STATE_VERSION: u32 = 1", "STATE_VERSION: u32 = 2");
    let reset = running.next("live");
    assert_eq!(reset["state"], "reset", "{reset}");
    assert!(reset["why"].as_str().unwrap().contains("did not take the state over"), "{reset}");
    running.interrupt();
    running.next("stopped");
    let mut running = running;
    assert_eq!(ended(&mut running.child).code(), Some(0));
    assert_eq!(place.error(&["-N", &node, "status"])["exit"], 4);
}

/// The same for a handler: its log lines come inline, its table cases run with its store, and another node gets
/// its own plugin back at the end.
#[test]
fn a_handler_is_tested_runs_with_its_log_inline_and_leaves_another_node_as_it_was() {
    let mut place = Place::with_toolchain();
    place.json(&["plugin", "new", "acme/notes", "--slot", "beacon"]);

    let checked = place.json(&["plugin", "check", "notes"]);
    assert_eq!((&checked["errors"], &checked["warnings"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert_eq!(checked["functions"], serde_json::json!(["mesh:handler/log@0.1.0#write"]));
    let tested = place.json(&["plugin", "test", "notes"]);
    assert_eq!((&tested["units"], &tested["cases"]), (&"passed".into(), &2.into()));

    let running = Running::start(&place, &["notes", "--traffic", "50"]);
    running.next("live");
    assert_eq!(running.next("log")["text"], "heard 200 bytes");
    drop(running);

    place.up("alice", &[]);
    for had in ["built-in/beacon", "native"] {
        place.json(&["-N", "alice", "plugin", "swap", "beacon", had, "--reset-state"]);
        let before = place.json(&["-N", "alice", "plugin", "show", "beacon"])["row"]["revision"].clone();
        let running = Running::start(&place, &["notes", "--attach", "alice"]);
        running.next("live");
        let during = place.json(&["-N", "alice", "plugin", "show", "beacon"]);
        assert_eq!(during["row"]["plugin"], "acme/notes");
        running.interrupt();
        assert!(running.next("stopped")["restored"].is_string());
        let after = place.json(&["-N", "alice", "plugin", "show", "beacon"]);
        assert_eq!(after["row"]["revision"], before, "{had}");
        place.until(&["-N", "alice", "plugin", "list"], |rows| {
            rows.as_array().is_some_and(|rows| rows.iter().all(|row| row["plugin"] != "acme/notes"))
        });
    }
}

/// What is ready-made becomes a plugin too; what the toolchain lacks is said with the command that adds it.
#[test]
fn ready_made_files_are_taken_and_missing_tools_are_named() {
    let place = Place::with_toolchain();
    place.json(&["plugin", "new", "acme/tools", "--slot", "qos"]);
    fs::write(place.path().join("ready.wasm"), mesh_plugin_host::builtin::CLASS_FAIR).unwrap();

    let built = place.json(&[
        "plugin",
        "build",
        "ready.wasm",
        "--manifest",
        "tools/plugin.toml",
        "--out",
        "out.wasm",
    ]);

    assert_eq!((&built["plugin"], &built["undo"]), (&"acme/tools".into(), &"rm out.wasm".into()));
    fs::write(place.path().join("text.wasm"), "no module").unwrap();
    let args = ["plugin", "build", "text.wasm", "--manifest", "tools/plugin.toml", "--out", "x.wasm"];
    assert_eq!(place.error(&args)["code"], "MESH-B107");
    fs::write(place.path().join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let args = ["plugin", "build", "core.wasm", "--manifest", "tools/plugin.toml", "--out", "x.wasm"];
    let report = place.error(&args);
    assert_eq!(report["code"], "MESH-B108", "{report}");

    let mut bare = place.command(&["plugin", "build", "tools", "--json"]);
    let ran = Ran::of(bare.env("PATH", place.path()).output().unwrap());
    let no_cargo: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!(no_cargo["code"], "MESH-B104");

    let command_line = "command = \"cargo build --release --target wasm32-unknown-unknown\"";
    edit(
        &place,
        "tools/plugin.toml",
        command_line,
        "command = \"cargo build --target wasm64-unknown-unknown\"",
    );
    let no_target = place.error(&["plugin", "build", "tools"]);
    assert_eq!(no_target["code"], "MESH-B105", "{no_target}");
    edit(
        &place,
        "tools/plugin.toml",
        "command = \"cargo build --target wasm64-unknown-unknown\"",
        "command = \"cp ../ready.wasm made.wasm\"\nartifact = \"made.wasm\"",
    );
    let help = place.error(&["plugin", "record", "qos", "-o", "qos.jsonl"])["help"].to_string();
    assert!(help.contains("--out FILE"), "{help}");
    let made = place.json(&["plugin", "build", "tools"]);
    assert_eq!((&made["plugin"], &made["size_bytes"].is_u64()), (&built["plugin"], &true));

    // Told to keep off the network, it tells its tools: here a shell, which shows what it was told.
    let telling = "command = \"cp ../ready.wasm made.wasm && env > said\"";
    edit(&place, "tools/plugin.toml", "command = \"cp ../ready.wasm made.wasm\"", telling);
    for (args, want) in
        [(&["plugin", "build", "tools"][..], false), (&["plugin", "build", "tools", "--offline"], true)]
    {
        place.json(args);
        let said = fs::read_to_string(place.path().join("tools/said")).unwrap();
        for told in ["CARGO_NET_OFFLINE=true", "npm_config_offline=true", "PIP_NO_INDEX=1", "UV_OFFLINE=1"] {
            assert_eq!(said.lines().any(|line| line == told), want, "{args:?}: {told}");
        }
    }
    let made = place.json(&["plugin", "check", "tools"]);

    // What the build needs beside its sources is gone, and what it left is still what they make.
    fs::remove_file(place.path().join("ready.wasm")).unwrap();
    assert_eq!(place.json(&["plugin", "check", "tools"])["revision"], made["revision"]);
    fs::write(place.path().join("tools/src/new.rs"), "").unwrap();
    assert_eq!(place.error(&["plugin", "check", "tools"])["code"], "MESH-B106");
}
