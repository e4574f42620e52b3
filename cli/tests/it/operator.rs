//! The operator's loop between real processes: pause, failure modes, traps, logs, figures, limits, grants, tidying up.
//! PM-152, W08, W20.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use mesh_plugin_host::{Kind, builtin};
use serde_json::Value;

use crate::harness::{DEADLINE, Place, refusal, write};
use crate::package::component;

fn refused(code: &str, exit: i64) -> (String, i64) {
    (code.to_owned(), exit)
}

#[track_caller]
fn row(place: &Place, node: &str, slot: &str) -> Value {
    place.json(&["-N", node, "plugin", "show", slot])["row"].clone()
}

/// Two nodes; alice routes by a policy that works for five messages and then panics, and is started anew.
fn with_faulty(mode: &str) -> Place {
    let mut place = Place::new();
    write(&place, "faulty.wasm", builtin::FAULTY);
    let addr = place.up("alice", &[]);
    place.up("bob", &["--join", &addr]);
    place.knows("alice", "bob");
    let swap =
        ["-N", "alice", "plugin", "swap", "route", "./faulty.wasm", "--set", "works_for=5", "--on-failure"];
    place.json(&[&swap[..], &[mode]].concat());
    place
}

/// Sends single messages from alice to bob until the policy is quarantined; returns how many.
fn wear_out(place: &Place) -> u64 {
    for sent in 1..100 {
        let options = ["--class", "high"];
        let ran = place.run(&[&["-N", "alice", "send", "bob", "hello"][..], &options].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let rows = place.json(&["-N", "alice", "plugin", "list"]);
        if rows.as_array().unwrap().iter().any(|row| row["state"] == "quarantined") {
            return sent;
        }
    }
    panic!("it works on");
}

#[test]
fn a_paused_slot_stays_paused_over_a_restart_and_goes_on_when_told() {
    let mut place = Place::new();
    place.up("bob", &[]);
    let rehearsed = place.json(&["plugin", "pause", "route", "--dry-run"]);
    assert_eq!((rehearsed["undo"].clone(), rehearsed["dry_run"].as_bool()), (Value::Null, Some(true)));
    assert_eq!(row(&place, "bob", "route")["state"], "active");

    let paused = place.json(&["plugin", "pause", "route"]);
    let beacon = place.json(&["plugin", "pause", "beacon"]);

    assert_eq!(
        (&paused["undo"], &beacon["undo"]),
        (&"meshctl plugin resume route".into(), &"meshctl plugin resume beacon".into())
    );
    assert_eq!(paused["decides"].as_str().unwrap().split(' ').next(), Some("native/fastest"));
    assert_eq!(refusal(&place, &["plugin", "pause", "route"]), refused("MESH-P191", 1));
    place.json(&["down"]);
    place.up("bob", &[]);
    assert_eq!(row(&place, "bob", "route")["state"], "paused");
    place.until(&["plugin", "show", "beacon"], |shown| shown["row"]["state"] == "paused");
    assert_eq!(place.error(&["beacon", "list"])["code"], "MESH-P114");
    let resumed = place.json(&["plugin", "resume", "route"]);
    assert_eq!(resumed["undo"], "meshctl plugin pause route");
    place.json(&["plugin", "resume", "beacon"]);
    assert_eq!(row(&place, "bob", "route")["state"], "active");
    place.json(&["beacon", "list"]);
    assert_eq!(refusal(&place, &["plugin", "resume", "route"]), refused("MESH-P191", 1));
}

#[test]
fn a_slot_is_disabled_and_enabled_without_a_file() {
    let mut place = Place::new();
    place.up("bob", &[]);
    let rehearsed = place.json(&["plugin", "disable", "route", "--dry-run"]);
    assert_eq!((&rehearsed["new"]["revision"], &rehearsed["undo"]), (&"native".into(), &Value::Null));

    let disabled = place.json(&["plugin", "disable", "route"]);

    assert_eq!(
        (&disabled["new"]["revision"], &disabled["undo"]),
        (&"native".into(), &"meshctl plugin rollback route".into())
    );
    assert_eq!(refusal(&place, &["plugin", "pause", "route"]), refused("MESH-P190", 3));
    assert_eq!(refusal(&place, &["plugin", "limits", "show", "route"]), refused("MESH-P190", 3));
    assert_eq!(refusal(&place, &["plugin", "enable", "route", "acme/none"]), refused("MESH-P102", 3));
    let enabled = place.json(&["plugin", "enable", "route", "built-in/latency", "--on-failure", "fail-open"]);
    assert_eq!(enabled["new"]["plugin"], "built-in/latency");
    assert_eq!(row(&place, "bob", "route")["on_failure"], "fail-open");
    place.json(&["down"]);
    place.up("bob", &[]);
    assert_eq!(row(&place, "bob", "route")["on_failure"], "fail-open", "over a restart");
    assert_eq!(place.error(&["plugin", "enable", "route", "x", "--on-failure", "sometimes"])["exit"], 2);
}

/// W20: fail-closed. What the policy fails on waits, and goes when it is back: nothing is lost, nothing is doubled.
#[test]
fn a_fail_closed_slot_holds_messages_until_its_operator_resumes_it() {
    let place = with_faulty("fail-closed");

    let sent = wear_out(&place);

    let status = place.until(&["-N", "alice", "status"], |status| status["held"]["messages"] != 0);
    assert!(status["problems"].to_string().contains("MESH-P115"), "{status}");
    let rows = place.json(&["-N", "alice", "plugin", "list"]);
    let of_route: Vec<&Value> =
        rows.as_array().unwrap().iter().filter(|row| row["slot"] == "route").collect();
    // Nobody stands in for it: the native built-in has no row.
    assert!(of_route.iter().all(|row| row["state"] != "active" && row["revision"] != "native"), "{rows}");
    let closed = of_route[0];
    assert_eq!((&closed["plugin"], &closed["state"]), (&"built-in/faulty".into(), &"quarantined".into()));
    assert_eq!((&closed["on_failure"], &closed["traps"]), (&"fail-closed".into(), &3.into()), "{closed}");
    assert!(closed["note"].as_str().unwrap().starts_with("fail-closed: nobody answers"), "{closed}");
    assert_eq!(row(&place, "alice", "route")["state"], "quarantined");
    let retry_s = closed["retry_s"].as_f64().unwrap();
    assert!(retry_s > 0.0 && retry_s <= 60.0, "{retry_s}");
    let list = place.run(&["-N", "alice", "plugin", "list"]).stdout;
    assert!(list.contains("retry in ") && list.contains("plugin disable route"), "{list}");
    let resumed = place.json(&["-N", "alice", "plugin", "resume", "route"]);
    assert_eq!(resumed["undo"], "meshctl -N alice plugin rollback route");
    place.until(&["-N", "bob", "status"], |status| status["inbox"]["messages"] == sent);
    assert_eq!(place.json(&["-N", "alice", "status"])["held"]["messages"], 0);
}

/// A restart is no way round a quarantine, however the node ends and whoever answers meanwhile.
#[test]
fn a_quarantine_outlasts_a_node_that_is_killed() {
    for mode in ["fail-closed", "fallback"] {
        let mut place = with_faulty(mode);
        wear_out(&place);
        // What is answered once it is on disk comes after all that was written before.
        place.json(&["-N", "alice", "plugin", "pin", "built-in/faulty"]);

        place.kill("alice");
        place.up("alice", &[]);

        let route = row(&place, "alice", "route");
        let rows = place.json(&["-N", "alice", "plugin", "list"]);
        let is_bad = |row: &&Value| row["slot"] == "route" && row["state"] == "quarantined";
        let bad = rows.as_array().unwrap().iter().find(is_bad).unwrap_or_else(|| panic!("{mode}: {rows}"));
        assert_eq!(bad["plugin"], "built-in/faulty");
        assert!(bad["retry_s"].as_f64().unwrap() <= 60.0, "{bad}");
        match mode {
            "fallback" => assert_eq!(route["plugin"], "built-in/latency"),
            _ => assert_eq!((&route["plugin"], &route["state"]), (&bad["plugin"], &"quarantined".into())),
        }
        let settings = place.json(&["-N", "alice", "plugin", "resume", "route"]);
        assert_eq!(settings["plugin"], "built-in/faulty", "an operator can still let it try");
        let shown = place.json(&["-N", "alice", "plugin", "show", "route"]);
        assert_eq!((&shown["row"]["on_failure"], &shown["settings"]["works_for"]), (&mode.into(), &5.into()));
    }
}

#[test]
fn a_rollback_in_quarantine_lets_what_took_over_stay() {
    let place = with_faulty("fallback");
    wear_out(&place);
    let list = place.run(&["-N", "alice", "plugin", "list"]).stdout;
    assert!(list.contains("meshctl -N alice plugin rollback route"), "{list}");
    let rehearsed = place.json(&["-N", "alice", "plugin", "rollback", "route", "--dry-run"]);
    assert_eq!((&rehearsed["change"], &rehearsed["undo"]), (&"settled".into(), &Value::Null));

    let settled = place.json(&["-N", "alice", "plugin", "rollback", "route"]);

    assert_eq!(
        (&settled["change"], &settled["new"]["plugin"]),
        (&"settled".into(), &"built-in/latency".into())
    );
    assert_eq!(refusal(&place, &["-N", "alice", "plugin", "resume", "route"]), refused("MESH-P191", 1));
    assert!(!place.json(&["-N", "alice", "status"])["problems"].to_string().contains("MESH-P115"));
    let undo: Vec<&str> = settled["undo"].as_str().unwrap().split(' ').skip(1).collect();
    place.json(&undo);
    assert_eq!(row(&place, "alice", "route")["plugin"], "built-in/faulty");
}

/// What a node starts with is not something to roll back, and what is there already is no swap.
#[test]
fn a_rollback_and_a_swap_do_nothing_where_there_is_nothing_to_do() {
    let mut place = Place::new();
    place.up("bob", &[]);
    for slot in ["route", "qos", "beacon", "topology"] {
        place.until(&["plugin", "show", slot], |shown| shown["row"]["state"] == "active");
        let before = row(&place, "bob", slot);
        let error = place.error(&["plugin", "rollback", slot]);
        assert_eq!(error["code"], "MESH-P109", "{error}");
        assert!(error["help"].to_string().contains(&format!("plugin disable {slot}")), "{error}");
        assert_eq!(row(&place, "bob", slot)["plugin"], before["plugin"]);
    }
    for args in [&["disable", "topology"][..], &["disable", "topology", "--dry-run"]] {
        assert_eq!(refusal(&place, &[&["plugin"], args].concat()), refused("MESH-P190", 3));
    }
    for slot in ["topology", "beacon"] {
        place.json(&["plugin", "swap", slot, "native"]);
        let again = place.json(&["plugin", "swap", slot, "native"]);
        assert_eq!((&again["change"], &again["undo"]), (&"nothing".into(), &Value::Null), "{again}");
    }
    place.json(&["plugin", "rollback", "beacon"]);
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    place.json(&["plugin", "swap", "route", "./fast.wasm"]);
    let settings = place.json(&["plugin", "show", "route"])["settings"].clone();

    let again = place.json(&["plugin", "swap", "route", "acme/fast"]);

    assert_eq!((&again["change"], &again["undo"]), (&"nothing".into(), &Value::Null));
    let said = place.run(&["plugin", "swap", "route", "acme/fast"]);
    assert!(said.code == Some(0) && said.stdout.contains("already active"), "{}", said.stdout);
    let beacon = place.json(&["plugin", "swap", "beacon", "built-in/beacon"]);
    assert_eq!(beacon["change"], "nothing");
    place.json(&["beacon", "list"]);
    let other = place.json(&["plugin", "swap", "route", "acme/fast", "--set", "margin_us=7"]);
    assert_eq!(
        (&other["change"], &other["undo"]),
        (&"switched".into(), &"meshctl plugin rollback route".into())
    );
    place.json(&["plugin", "rollback", "route"]);
    assert_eq!(place.json(&["plugin", "show", "route"])["settings"], settings);
    place.json(&["plugin", "swap", "route", "built-in/latency"]);
    place.json(&["plugin", "swap", "route", "built-in/latency"]);
    place.json(&["plugin", "rollback", "route"]);
    assert_eq!(row(&place, "bob", "route")["plugin"], "acme/fast", "the second swap has not cost the undo");
}

#[test]
fn a_fail_open_slot_lets_everything_through() {
    let place = with_faulty("fail-open");

    let sent = wear_out(&place);

    place.json(&["-N", "alice", "send", "bob", "after"]);
    place.until(&["-N", "bob", "status"], |status| status["inbox"]["messages"] == sent + 1);
}

/// W08: what a policy without any import says before it ends reaches its operator, and its author.
#[test]
fn traps_logs_and_figures_tell_what_happened() {
    let place = with_faulty("fallback");
    wear_out(&place);

    let traps = place.json(&["-N", "alice", "plugin", "traps", "route", "--export", "traps.json"]);

    assert_eq!(traps["total"], 3);
    let last = &traps["traps"][0];
    assert!(last["panic"].as_str().unwrap().starts_with("faulty has done its work at "), "{last}");
    assert_eq!(last["has_names"], true);
    assert!(
        last["frames"].as_array().unwrap().iter().any(|frame| frame.as_str().unwrap().ends_with("#decide"))
    );
    assert_eq!(last["input"].as_str().map(str::len), Some(64));
    assert_eq!(last["plugin"], "built-in/faulty");
    let exported: Value =
        serde_json::from_slice(&fs::read(place.path().join("traps.json")).unwrap()).unwrap();
    assert_eq!(exported, traps);
    let shown = place.run(&["-N", "alice", "plugin", "traps", "route"]).stdout;
    assert!(shown.contains("faulty has done its work") && shown.contains("frame"), "{shown}");

    let log = place.run(&["-N", "alice", "plugin", "logs", "route", "--level", "error"]).stdout;
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("built-in/faulty 0.1.0 is quarantined, built-in/latency 0.1.0 answers"), "{log}");
    let all = place.run(&["-N", "alice", "plugin", "logs", "route", "--json"]).stdout;
    let lines: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["level"] == "warn").count(), 3, "{all}");
    assert!(lines.iter().all(|line| line["schema"] == "meshctl.plugin-log/v1"));
    assert_eq!(place.run(&["-N", "alice", "plugin", "logs", "route", "--since", "0ms"]).stdout, "");

    let stats = place.json(&["-N", "alice", "plugin", "stats", "route"]);
    let of = |rows: &Value, state: &str| {
        rows.as_array()
            .unwrap()
            .iter()
            .find(|row| row["slot"] == "route" && row["state"] == state)
            .unwrap()
            .clone()
    };
    let (good, bad) = (of(&stats, "active"), of(&stats, "quarantined"));
    assert_eq!((&good["plugin"], &good["traps"]), (&"built-in/latency".into(), &0.into()));
    assert_eq!((&bad["plugin"], &bad["traps"]), (&"built-in/faulty".into(), &3.into()));
    assert_eq!((&good["fallbacks"], &bad["quarantines"]), (&0.into(), &1.into()));
    assert!(bad["fallbacks"].as_u64() >= Some(3), "{bad}");
    for row in [&good, &bad] {
        let classes = row["histogram"].as_array().unwrap().iter();
        let counted: u64 = classes.map(|class| class["count"].as_u64().unwrap()).sum();
        assert_eq!(Some(counted), row["timed_calls"].as_u64());
        assert!(row["p99_s"].as_f64() <= row["max_s"].as_f64(), "{row}");
    }
    assert!(bad["memory_most_bytes"].as_u64().unwrap() >= 64 << 10, "{stats}");
    let list = place.json(&["-N", "alice", "plugin", "list"]);
    assert_eq!((&of(&list, "active")["traps"], &of(&list, "quarantined")["traps"]), (&0.into(), &3.into()));
    let shown = place.json(&["-N", "alice", "plugin", "show", "built-in/faulty"]);
    assert_eq!((&shown["row"]["traps"], shown["traps"].as_array().unwrap().len()), (&3.into(), 3));
    let shown = place.json(&["-N", "alice", "plugin", "show", "built-in/latency@0.1.0"]);
    assert_eq!((&shown["row"]["traps"], shown["traps"].as_array().unwrap().len()), (&0.into(), 0));
    let journal = &good["journal"];
    let number = |name: &str| journal[name].as_u64().unwrap_or_else(|| panic!("no {name} in {journal}"));
    assert!(number("entries") >= 3 && number("dropped") == 0, "{journal}");
    assert!(number("bytes") > 0 && number("bytes") <= number("most_bytes"), "{journal}");
    assert!(journal["since"].as_str().unwrap().ends_with('Z'), "{journal}");
    let shown = place.run(&["-N", "alice", "plugin", "stats", "route"]).stdout;
    assert!(shown.contains("of 4.0 MiB; 0 gave way"), "{shown}");
    let all = place.json(&["-N", "alice", "plugin", "stats"]);
    assert_eq!(all.as_array().unwrap().len(), Kind::ALL.len() + 1, "{all}");
    assert!(all.as_array().unwrap().iter().all(|row| row["journal"]["most_bytes"] == 4 << 20), "{all}");
    assert_eq!(refusal(&place, &["-N", "alice", "plugin", "traps", "nowhere"]), refused("MESH-P101", 3));
}

#[test]
fn a_log_is_followed_as_it_grows() {
    let mut place = Place::new();
    place.up("bob", &[]);
    let mut child = place
        .command(&["plugin", "logs", "route", "-f", "--json", "--level", "info"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (told, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
    seen.recv_timeout(DEADLINE).unwrap();

    place.json(&["plugin", "pause", "route"]);

    let line: Value = serde_json::from_str(&seen.recv_timeout(DEADLINE).unwrap()).unwrap();
    assert_eq!((&line["text"], &line["plugin"]), (&"built-in/latency 0.1.0 is paused".into(), &Value::Null));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn limits_are_lowered_shown_and_kept() {
    let mut place = Place::new();
    place.up("bob", &[]);
    let limit = |place: &Place, slot: &str, name: &str| {
        let report = place.json(&["plugin", "limits", "show", slot]);
        let rows = report["limits"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["name"] == name).unwrap()
    };
    let (deadline, memory) = (limit(&place, "route", "deadline"), limit(&place, "route", "memory"));
    assert_eq!((&deadline["limit"], &deadline["host"]), (&5.0.into(), &5.0.into()));
    assert!(memory["max"].as_f64().unwrap() > 0.0 && memory["suggestion"].as_f64() > memory["max"].as_f64());

    place.json(&["plugin", "limits", "set", "route", "--deadline", "3ms", "--dry-run"]);
    assert_eq!(limit(&place, "route", "deadline")["limit"], 5.0);
    let set = place.json(&["plugin", "limits", "set", "route", "--deadline", "3ms", "--memory", "4MiB"]);
    place.json(&["plugin", "limits", "set", "beacon", "--log-rate", "50/s"]);

    assert_eq!(set["undo"], "meshctl plugin limits set route --deadline host --memory host");
    let done = set["done"].as_str().unwrap();
    assert!(done.starts_with("held to deadline 3 ms, memory 4 MiB, log "), "{set}");
    for (args, code) in [
        (&["--deadline", "6ms"][..], refused("MESH-P192", 13)),
        (&["--memory", "17MiB"], refused("MESH-P192", 13)),
        (&["--memory", "64KiB"], refused("MESH-P192", 13)),
    ] {
        assert_eq!(
            refusal(&place, &[&["plugin", "limits", "set", "route"], args].concat()),
            code,
            "{args:?}"
        );
    }
    place.json(&["down"]);
    place.up("bob", &[]);
    assert_eq!(limit(&place, "route", "deadline")["limit"], 3.0, "over a restart");
    assert_eq!(limit(&place, "route", "memory")["limit"], f64::from(4 << 20));
    let rate = place.until(&["plugin", "limits", "show", "beacon"], |report| report["limits"].is_array());
    assert_eq!(rate["limits"][2]["limit"], 50.0);
    let undone = set["undo"].as_str().unwrap().split(' ').skip(1).collect::<Vec<_>>();
    place.json(&undone);
    assert_eq!(limit(&place, "route", "deadline")["limit"], 5.0);
}

#[test]
fn limits_hold_for_the_next_version_and_not_for_another_plugin() {
    let mut place = Place::new();
    place.up("bob", &[]);
    for version in ["1.0.0", "1.1.0"] {
        write(&place, &format!("{version}.wasm"), &component(builtin::LATENCY, "acme/fast", version));
    }
    let deadline = || place.json(&["plugin", "limits", "show", "route"])["limits"][0]["limit"].clone();
    place.json(&["plugin", "swap", "route", "./1.0.0.wasm"]);
    place.json(&["plugin", "limits", "set", "route", "--deadline", "2ms", "--memory", "4MiB"]);

    place.json(&["plugin", "swap", "route", "./1.1.0.wasm"]);
    assert_eq!(deadline(), 2.0, "the next version");
    place.json(&["plugin", "limits", "set", "route", "--deadline", "host"]);
    place.json(&["plugin", "rollback", "route"]);
    assert_eq!(deadline(), 2.0, "the one before has what it had");
    place.json(&["plugin", "swap", "route", "built-in/latency"]);
    assert_eq!(deadline(), 5.0, "another plugin");
}

/// The node enforces what was granted, whatever its client does.
#[test]
fn a_handler_gets_what_it_was_granted_and_nothing_else() {
    let mut place = Place::new();
    write(&place, "here.wasm", &component(builtin::BEACON, "acme/here", "1.0.0"));
    place.up("bob", &[]);
    assert_eq!(refusal(&place, &["plugin", "install", "here.wasm"]), refused("MESH-P117", 5));
    assert_eq!(
        refusal(&place, &["plugin", "install", "here.wasm", "--grant", "log"]),
        refused("MESH-P117", 5)
    );
    assert_eq!(
        refusal(&place, &["plugin", "install", "here.wasm", "--grant", "log,kv,net"]),
        refused("MESH-C103", 2)
    );
    place.json(&["plugin", "install", "here.wasm", "--grant", "log", "--grant", "kv"]);
    place.json(&["plugin", "swap", "beacon", "acme/here", "--reset-state"]);
    assert_eq!(row(&place, "bob", "beacon")["grants"], serde_json::json!(["log", "kv"]));
    let take = ["plugin", "grants", "set", "acme/here", "--revoke", "kv"];
    assert_eq!(refusal(&place, &take), refused("MESH-P110", 1), "a slot needs it");
    place.json(&["plugin", "rollback", "beacon"]);
    assert_eq!(refusal(&place, &take), refused("MESH-P110", 1), "a rollback would bring it back");
    place.json(&["plugin", "disable", "beacon"]);
    place.json(&["plugin", "enable", "beacon", "built-in/beacon"]);

    let taken = place.json(&take);

    assert_eq!(taken["done"], "revoked kv; it has log now");
    assert!(taken["undo"].as_str().unwrap().ends_with(" --grant kv"), "{taken}");
    let enable = ["plugin", "enable", "beacon", "acme/here", "--reset-state"];
    assert_eq!(refusal(&place, &enable), refused("MESH-P117", 5));
    place.json(&["down"]);
    place.up("bob", &[]);
    assert_eq!(refusal(&place, &enable), refused("MESH-P117", 5), "over a restart");
    let undo: Vec<&str> = taken["undo"].as_str().unwrap().split(' ').skip(1).collect();
    place.json(&undo);
    place.json(&enable);
    let rows = place.json(&["plugin", "grants", "show", "acme/here"]);
    let kv = rows.as_array().unwrap().iter().find(|row| row["grant"] == "kv").unwrap();
    assert_eq!((&kv["asked"], &kv["granted"]), (&true.into(), &true.into()));
}

#[test]
fn what_nobody_uses_or_pinned_is_collected() {
    let mut place = Place::with_cache();
    for version in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
        write(&place, &format!("{version}.wasm"), &component(builtin::LATENCY, "acme/fast", version));
    }
    place.up("bob", &[]);
    for version in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
        place.json(&["plugin", "install", &format!("{version}.wasm")]);
    }
    place.json(&["plugin", "enable", "route", "acme/fast@1.1.0"]);
    let pinned = place.json(&["plugin", "pin", "acme/fast@1.0.0"]);
    assert!(pinned["undo"].as_str().unwrap().starts_with("meshctl plugin unpin blake3:"), "{pinned}");
    assert_eq!(refusal(&place, &["plugin", "remove", "acme/fast@1.0.0"]), refused("MESH-P193", 1));
    assert_eq!(refusal(&place, &["plugin", "remove", "acme/fast@1.1.0"]), refused("MESH-P110", 1));

    let rehearsed = place.json(&["plugin", "gc", "--dry-run"]);
    let kept = place.json(&["plugin", "gc", "--keep", "1"]);

    assert_eq!(rehearsed["removed"].as_array().unwrap().len(), 2);
    assert_eq!((&rehearsed["cache_entries"], &kept["cache_entries"]), (&2.into(), &1.into()));
    assert!(kept["cache_bytes"].as_u64() > Some(10_000), "{kept}");
    let removed: Vec<&str> =
        kept["removed"].as_array().unwrap().iter().map(|r| r["version"].as_str().unwrap()).collect();
    assert_eq!(removed, ["1.2.0"], "the newest stays");
    assert_eq!((&kept["pinned"], &kept["in_use"]), (&1.into(), &1.into()));
    let file = place.path().join("1.2.0.wasm").canonicalize().unwrap();
    let undo = kept["undo"][0].as_str().unwrap();
    let named = undo.strip_prefix("meshctl plugin install ").unwrap();
    assert_eq!(std::path::Path::new(named).canonicalize().unwrap(), file, "from wherever it is typed");
    place.json(&["down"]);
    place.up("bob", &[]);
    let rest = place.json(&["plugin", "gc"]);
    assert_eq!(rest["removed"][0]["version"], "1.3.0", "a pin holds over a restart");
    place.json(&["plugin", "unpin", "acme/fast@1.0.0"]);
    let last = place.json(&["plugin", "gc"]);
    assert_eq!((&last["removed"][0]["version"], &last["cache_entries"]), (&"1.0.0".into(), &1.into()));
    assert_eq!(place.json(&["plugin", "gc"])["cache_entries"], 0, "what is installed stays compiled");
}

/// What only a rollback would bring back goes when it is asked for; the rest names its slot and the way out.
#[test]
fn what_a_rollback_would_bring_back_is_removed_when_told() {
    let mut place = Place::new();
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    write(&place, "geo.wasm", &component(builtin::BEACON, "acme/geo", "1.0.0"));
    place.up("bob", &[]);
    place.json(&["plugin", "install", "geo.wasm", "--grant", "log,kv"]);
    for (slot, plugin, file) in [("route", "acme/fast", "./fast.wasm"), ("beacon", "acme/geo", "acme/geo")] {
        place.json(&["plugin", "swap", slot, file, "--reset-state"]);
        let in_slot = place.error(&["plugin", "remove", plugin]);
        assert_eq!(in_slot["help"][0], format!("meshctl plugin rollback {slot}"), "{in_slot}");
        place.json(&["plugin", "rollback", slot]);
        let kept = place.error(&["plugin", "remove", plugin]);
        assert_eq!(kept["help"][0], format!("meshctl plugin remove {plugin} --standby"), "{kept}");

        let removed = place.json(&["plugin", "remove", plugin, "--standby"]);

        let undo = removed["undo"].as_str().unwrap();
        assert!(undo.starts_with("meshctl plugin install /"), "{undo}");
        assert_eq!(undo.ends_with(" --grant log,kv"), slot == "beacon", "{undo}");
        assert_eq!(refusal(&place, &["plugin", "rollback", slot]), refused("MESH-P109", 3), "{slot}");
    }
    let names = place.run(&["plugin", "list", "-o", "name"]).stdout;
    assert!(names.lines().all(|name| name.starts_with("blake3:")), "{names}");
}
