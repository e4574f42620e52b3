//! `plugin call` and `plugin wit`: a component's functions and interfaces, without a node.

use serde_json::{Value, json};

use crate::harness::Place;

const VIEW: &str = "observe(0, {rtt-us: [900, 500], loss-ppm: [0, 0], queued-bytes: [0, 0]}, \
                    {dest: [7, 7], via: [0, 1], cost-us: [0, 0], hops: [0, 0]})";
const BATCH: &str = "{dest: [7, 7], ingress: [4294967295, 1], size: [100, 100], class: [2, 2]}";

#[test]
fn a_function_is_called_with_text_and_answers_with_text() {
    let place = Place::new();

    let ran = place.run(&["plugin", "call", "built-in/latency", "--first", VIEW, "decide", "1", BATCH]);

    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    // The faster neighbour, and never back to where it came from.
    assert_eq!(ran.stdout, "observe: no answer\ndecide: [1, 0]\n");
}

#[test]
fn answers_are_json_as_one_would_write_it_by_hand() {
    let place = Place::new();
    let answer = |args: &[&str]| -> Value {
        let data = place.json(&[&["plugin", "call"], args].concat());
        data["calls"].as_array().unwrap().last().unwrap()["answer"].clone()
    };

    let load = "load: {sent-bytes: [0,0,0,0,0], queued-bytes: [0,0,0,0,0], dropped: [0,0,0,0,0]}";
    let shares = answer(&["built-in/class-fair", "divide", "now-ms: 7", load]);
    let command = r#"command({name: "nothing", payload: []})"#;

    assert_eq!(shares["guaranteed"].as_array().map(Vec::len), Some(5), "{shares}");
    assert_eq!(answer(&["built-in/latency@0.1.0", "state-version"]), json!(1));
    assert_eq!(
        answer(&["built-in/beacon", "handle", "0", "0", command]),
        json!({ "error": { "unknown-command": "nothing" } })
    );
    assert_eq!(
        answer(&["built-in/latency", "load-state", "1", "[1, 2, 3]"]),
        json!({ "error": "bad-state" })
    );
}

#[test]
fn settings_are_checked_and_the_function_sees_them() {
    let place = Place::new();
    let classify = ["classify", "0", "{class: [2], size: [900], age-ms: [0], tag: [0]}"];
    let call = ["plugin", "call", "built-in/class-fair"];

    let fair = place.json(&[&call[..], &classify].concat());
    let strict = place.json(&[&call[..], &["--set", "large_bytes=800"], &classify].concat());
    let wrong = place.error(&[&call[..], &["--set", "large_byte=800"], &classify].concat());

    assert_eq!(fair["calls"][0]["answer"], json!([2]));
    assert_eq!(strict["calls"][0]["answer"], json!([3]), "larger messages step back");
    assert_eq!((wrong["code"].as_str(), wrong["exit"].as_i64()), (Some("MESH-P111"), Some(7)));
}

#[test]
fn what_does_not_fit_is_refused_with_the_place_and_what_would_fit() {
    let place = Place::new();
    let error = |args: &[&str]| place.error(&[&["plugin", "call", "built-in/latency"], args].concat());

    let unknown = error(&["decode"]);
    let count = error(&["decide", "1"]);
    let wrong = error(&["decide", "1", "{dest: [7], ingress: [x], size: [1], class: [0]}"]);
    let first = error(&["--first", "observe(0", "state-version"]);

    assert_eq!((unknown["code"].as_str(), unknown["exit"].as_i64()), (Some("MESH-P160"), Some(3)));
    assert!(unknown["facts"]["decide"].is_string(), "{unknown}");
    assert_eq!((count["code"].as_str(), count["exit"].as_i64()), (Some("MESH-P161"), Some(2)));
    assert!(count["facts"]["function"].as_str().unwrap().starts_with("decide(now-ms: u64, "), "{count}");
    assert_eq!(wrong["code"], "MESH-P161");
    let message = wrong["message"].as_str().unwrap();
    assert!(message.contains("\"batch\"") && message.contains("character 23"), "{message}");
    assert!(wrong["facts"]["type"].as_str().unwrap().contains("ingress: list<u32>"), "{wrong}");
    assert_eq!(first["code"], "MESH-P161");
    let list = place.run(&["plugin", "call", "built-in/latency"]);
    assert!(list.stdout.contains("mesh:routing/policy@0.1.0\n"), "{}", list.stdout);
    assert!(list.stdout.contains("  state-version() -> u32\n"), "{}", list.stdout);
}

// W01: what traps in a slot traps here, and says so instead of falling back.
#[test]
fn a_trap_is_told_and_not_hidden_by_a_fallback() {
    let place = Place::new();
    let fails = ["--set", "works_for=0", "--first", VIEW, "decide", "1", BATCH];
    let args = [&["plugin", "call", "built-in/faulty"], &fails[..]].concat();

    let error = place.error(&args);

    assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("MESH-P162"), Some(1)), "{error}");
    assert!(error["message"].as_str().unwrap().contains("trapped"), "{error}");
}

#[test]
fn a_plugin_is_measured_against_what_its_slot_has_without_it() {
    let place = Place::new();

    let [one, other] = [0; 2].map(|_| place.json(&["plugin", "bench", "built-in/class-fair"]));

    assert_eq!((&one["slot"], &one["baseline"]), (&json!("qos"), &json!("native/as-asked")));
    let rows = one["calls"].as_array().unwrap();
    let batches: Vec<u64> = rows.iter().map(|row| row["batch"].as_u64().unwrap()).collect();
    assert_eq!(batches, [1, 64, 1024]);
    for (row, again) in rows.iter().zip(other["calls"].as_array().unwrap()) {
        for figure in ["calls_per_s", "p50_us", "p99_us", "baseline_us", "ratio"] {
            assert!(row[figure].as_f64().unwrap() > 0.0, "{figure} of {row}");
        }
        // Times differ from run to run, instructions do not.
        assert_eq!(row["fuel"], again["fuel"]);
        assert!(row["fuel"].as_u64().unwrap() > row["batch"].as_u64().unwrap(), "{row}");
    }
}

#[test]
fn a_plugin_is_measured_with_as_many_rows_as_a_node_asks_about_at_once() {
    let place = Place::new();

    for (plugin, batches) in [("built-in/guest-list", &[1, 64][..]), ("built-in/steady", &[1, 64, 256])] {
        let report = place.json(&["plugin", "bench", plugin]);

        let rows = report["calls"].as_array().unwrap();
        let measured: Vec<u64> = rows.iter().map(|row| row["batch"].as_u64().unwrap()).collect();
        assert_eq!(measured, batches, "{plugin}");
    }
}

/// W08: what keeps a plugin from being measured is said.
#[test]
fn a_plugin_that_fails_while_it_is_measured_is_told_with_the_reason() {
    let place = Place::new();

    let error = place.error(&["plugin", "bench", "built-in/faulty", "--set", "works_for=0"]);

    assert_eq!(error["code"], "MESH-A109", "{error}");
    assert!(error["message"].as_str().unwrap().contains("faulty has done its work"), "{error}");
}

#[test]
fn the_wit_of_a_slot_is_printed_and_written_where_build_tools_look() {
    let place = Place::new();

    let printed = place.run(&["plugin", "wit", "route"]);
    let report = place.json(&["plugin", "wit", "route", "--out", "wit"]);
    let again = place.json(&["plugin", "wit", "route", "--out", "wit"]);

    let own = include_str!("../../../wit/routing/routing.wit");
    let types = include_str!("../../../wit/types/types.wit");
    assert_eq!(printed.stdout, format!("{own}\n{types}"));
    let read = |path: &str| std::fs::read_to_string(place.path().join(path)).unwrap();
    assert_eq!((read("wit/routing.wit"), read("wit/deps/types/types.wit")), (own.into(), types.into()));
    assert_eq!(report["undo"], "rm wit/routing.wit wit/deps/types/types.wit");
    assert_eq!(again["undo"], Value::Null, "nothing was new");
}

#[test]
fn writing_wit_never_replaces_another_file_and_a_dry_run_writes_nothing() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("mine")).unwrap();
    std::fs::write(place.path().join("mine/qos.wit"), "mine").unwrap();

    let error = place.error(&["plugin", "wit", "qos", "--out", "mine"]);
    let dry = place.json(&["plugin", "wit", "qos", "--out", "new", "--dry-run"]);

    assert_eq!(error["code"], "MESH-C108");
    assert_eq!(std::fs::read_to_string(place.path().join("mine/qos.wit")).unwrap(), "mine");
    assert!(!place.path().join("mine/deps").exists());
    assert_eq!(dry["dry_run"], true);
    assert!(!place.path().join("new").exists());
}

#[test]
fn the_wit_of_a_component_is_read_from_its_bytes() {
    let place = Place::new();

    let ran = place.run(&["plugin", "wit", "built-in/beacon"]);
    let missing = place.error(&["plugin", "wit", "rout"]);

    assert!(ran.stdout.contains("import mesh:handler/kv@0.1.0;"), "{}", ran.stdout);
    assert!(ran.stdout.contains("export mesh:handler/events@0.1.0;"), "{}", ran.stdout);
    assert_eq!((missing["code"].as_str(), missing["exit"].as_i64()), (Some("MESH-P102"), Some(3)));
    assert!(
        missing["help"].to_string().contains("route, qos, topology, admission, carry, beacon"),
        "{missing}"
    );
}

#[test]
fn columns_of_different_lengths_are_refused_and_the_place_has_a_name() {
    let place = Place::new();
    let ragged = "{dest: [7, 7], ingress: [1], size: [100, 100], class: [2, 2]}";

    let error = place.error(&["plugin", "call", "built-in/latency", "decide", "1", ragged]);

    let message = error["message"].as_str().unwrap();
    assert!(message.contains("dest 2, ingress 1, size 2, class 2"), "{error}");
    let facts = error["facts"].as_object().unwrap();
    assert!(!facts.contains_key("") && facts["at"].as_str().unwrap().ends_with("character 1"), "{error}");
}
