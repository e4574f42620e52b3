//! Plugins on trial between real processes: shadow runs, canaries, gates, the way back. H03, H05, H06; features.md
//! part 4, 4.

use std::path::PathBuf;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Instant;

use mesh_node::control::client::Client;
use mesh_node::control::frame::{Target, Wanted};
use mesh_node::message::{Delivery, SendOptions};
use mesh_plugin_host::builtin;
use serde_json::Value;
use tokio::sync::watch;

use crate::harness::{DEADLINE, Place, active, write};
use crate::package::component;

/// Numbered messages to some targets in turn, until it is told to stop.
struct Load {
    stop: watch::Sender<bool>,
    thread: JoinHandle<u64>,
}

impl Load {
    fn start(socket: PathBuf, targets: Vec<Target>) -> Load {
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut publisher = Client::connect(&socket).await.unwrap().publisher().await.unwrap();
                let mut next = 0u64;
                while !*stopped.borrow() {
                    for target in &targets {
                        publisher.send(target, &[&next.to_le_bytes()], SendOptions::default()).await.unwrap();
                        next += 1;
                    }
                    publisher.flush().await.unwrap();
                }
                next
            })
        });
        Load { stop, thread }
    }

    /// Returns how many were sent.
    fn stop(self) -> u64 {
        self.stop.send_replace(true);
        self.thread.join().unwrap()
    }
}

fn topics(count: usize) -> Vec<Target> {
    (0..count).map(|topic| Target::Topic(format!("topic-{topic}"))).collect()
}

/// A node with traffic to 40 topics, which are 40 flows.
fn busy(name: &str) -> (Place, Load) {
    let mut place = Place::new();
    write(&place, "fair.wasm", &component(builtin::CLASS_FAIR, "acme/fair", "1.0.0"));
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    write(&place, "bad.wasm", &component(builtin::FAULTY, "acme/bad", "1.0.0"));
    place.up(name, &[]);
    let load = Load::start(place.socket(name), topics(40));
    (place, load)
}

fn stage(place: &Place, slot: &str) -> Value {
    place.json(&["plugin", "show", slot])["trial"]["stage"].clone()
}

#[test]
fn a_shadow_run_that_agrees_ends_with_the_cut_over() {
    let (place, load) = busy("bob");

    let report =
        place.json(&["plugin", "swap", "qos", "./fair.wasm", "--shadow", "50", "--max-disagreement", "1%"]);

    assert_eq!((&report["stage"], &report["reason"]), (&"cut-over".into(), &Value::Null));
    let shadow = &report["shadow"];
    assert_eq!(
        (&shadow["calls"], &shadow["differing"], &shadow["traps"]),
        (&50.into(), &0.into(), &0.into())
    );
    assert!(shadow["decisions"].as_u64() >= Some(50), "{shadow}");
    assert!(shadow["candidate_p99_s"].is_f64() && shadow["active_p99_s"].is_f64(), "{shadow}");
    assert_eq!(report["undo"], "meshctl plugin rollback qos");
    assert_eq!(active(&place, "qos"), "acme/fair");
    assert_eq!(stage(&place, "qos"), "cut-over");
    place.json(&["plugin", "rollback", "qos"]);
    assert_eq!(active(&place, "qos"), "built-in/class-fair");
    assert!(load.stop() > 0);
}

/// H03: what fails its gates never decides.
#[test]
fn a_candidate_that_disagrees_is_returned_with_examples() {
    let (place, load) = busy("bob");
    place.json(&["plugin", "install", "fair.wasm"]);
    let strict = ["plugin", "swap", "qos", "acme/fair", "--set", "large_bytes=0", "--shadow", "30"];

    let error = place.error(&[&strict[..], &["--max-disagreement", "5%"]].concat());

    assert_eq!((&error["code"], &error["exit"]), (&"MESH-P151".into(), &10.into()));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("differ, and 5.0 % may"), "{message}");
    assert!(error["facts"]["example"].to_string().contains("low, instead of normal"), "{error}");
    assert_eq!(error["help"][0], "meshctl plugin show qos");
    assert_eq!(active(&place, "qos"), "built-in/class-fair");
    let trial = &place.json(&["plugin", "show", "qos"])["trial"];
    assert_eq!((&trial["stage"], &trial["candidate"]["plugin"]), (&"returned".into(), &"acme/fair".into()));
    assert_eq!(trial["shadow"]["examples"][0]["candidate"], "low");
    load.stop();
}

/// H03: each gate returns a candidate in each stage that it is looked at in, a canary long before its time is over.
#[test]
fn every_gate_returns_a_candidate_in_the_shadow_and_as_a_canary() {
    let (place, load) = busy("bob");
    place.json(&["plugin", "install", "fair.wasm"]);
    let stages: [(&str, &[&str]); 2] =
        [("shadow", &["--shadow", "30"]), ("canary", &["--canary", "50%", "--canary-for", "1h"])];
    let gates: [(&[&str], &str); 3] = [
        (&["--set", "large_bytes=0", "--max-disagreement", "5%"], "of the decisions differ, and 5.0 % may"),
        (&["--max-p99", "0us"], ", and 0 µs is allowed"),
        (&["--max-p99", "0.01x"], "is allowed"),
    ];
    for (stage, how_long) in stages {
        for (gate, why) in gates {
            let swap = [&["plugin", "swap", "qos", "acme/fair"][..], how_long, gate].concat();

            let error = place.error(&swap);

            assert_eq!((&error["code"], &error["exit"]), (&"MESH-P151".into(), &10.into()), "{swap:?}");
            assert!(error["message"].as_str().unwrap().contains(why), "{swap:?}: {error}");
            assert!(error["facts"][stage].is_string(), "{swap:?}: {error}");
            assert_eq!(active(&place, "qos"), "built-in/class-fair", "{swap:?}");
        }
    }
    load.stop();
}

/// Traps that are allowed end nothing, and stand in the report.
#[test]
fn a_candidate_may_trap_as_often_as_it_is_allowed() {
    let (place, load) = busy("bob");
    let swap =
        ["plugin", "swap", "route", "./bad.wasm", "--set", "works_for=100", "--shadow", "2s", "--dry-run"];

    let report = place.json(&[&swap[..], &["--max-traps", "1000000"]].concat());
    let error = place.error(&[&swap[..], &["--max-traps", "1"]].concat());

    assert_eq!((&report["stage"], &report["reason"]), (&"rehearsed".into(), &Value::Null));
    assert!(report["shadow"]["traps"].as_u64() > Some(1), "{report}");
    assert!(
        error["message"].as_str().unwrap().contains("failed in 2 calls, and 1 may: it trapped"),
        "{error}"
    );
    assert_eq!(active(&place, "route"), "built-in/latency");
    load.stop();
}

#[test]
fn a_rehearsed_shadow_run_switches_nothing_and_leaves_nothing() {
    let (place, load) = busy("bob");

    let report = place.json(&["plugin", "swap", "qos", "./fair.wasm", "--shadow", "20", "--dry-run"]);

    assert_eq!((&report["stage"], &report["undo"]), (&"rehearsed".into(), &Value::Null));
    assert_eq!(active(&place, "qos"), "built-in/class-fair");
    assert_eq!(
        place.error(&["plugin", "show", "acme/fair"])["code"],
        "MESH-P102",
        "it was installed for that only"
    );
    load.stop();
}

#[test]
fn a_canary_decides_for_some_flows_and_can_be_ended() {
    let (place, load) = busy("bob");
    place.json(&["plugin", "install", "fair.wasm"]);
    let canary = ["plugin", "swap", "qos", "acme/fair", "--set", "large_bytes=0", "--canary", "30%"];

    let begun = place.json(&[&canary[..], &["--canary-for", "1d", "--no-wait"]].concat());

    assert_eq!((&begun["stage"], &begun["undo"]), (&"canary".into(), &"meshctl plugin rollback qos".into()));
    let shown = place.until(&["plugin", "show", "qos"], |shown| {
        shown["trial"]["canary"]["decisions"].as_u64() > Some(100)
    });
    let figures = &shown["trial"]["canary"];
    assert_eq!(figures["differing"], figures["decisions"], "it decides unlike the active one, for its flows");
    assert!(shown["trial"]["left_s"].as_f64() > Some(80_000.0));
    assert_eq!(shown["row"]["plugin"], "built-in/class-fair");
    assert_eq!(shown["row"]["note"], "canary of acme/fair 1.0.0");
    // H06: one hand-over at a time.
    let refused = place.error(&["plugin", "swap", "qos", "built-in/class-fair"]);
    assert_eq!((&refused["code"], &refused["exit"]), (&"MESH-P150".into(), &1.into()));
    assert_eq!(refused["help"][1], "meshctl plugin rollback qos");
    assert_eq!(place.error(&[&canary[..], &["--no-wait"]].concat())["code"], "MESH-P150");
    assert_eq!(place.error(&["plugin", "pause", "qos"])["code"], "MESH-P150", "it would not last");
    assert_eq!(place.error(&["plugin", "remove", "acme/fair"])["code"], "MESH-P110");
    assert_eq!(place.error(&["plugin", "rollback", "qos", "--forward"])["code"], "MESH-P150");

    let rehearsed = place.json(&["plugin", "rollback", "qos", "--dry-run"]);
    assert_eq!((&rehearsed["dry_run"], stage(&place, "qos")), (&true.into(), "canary".into()));
    let ended = place.json(&["plugin", "rollback", "qos"]);

    assert_eq!((&ended["change"], &ended["new"]["plugin"]), (&"ended".into(), &"built-in/class-fair".into()));
    let again = "meshctl plugin swap qos acme/fair --set large_bytes=0 --canary 30% --canary-for 86400s";
    assert_eq!(ended["undo"], again);
    assert_eq!(stage(&place, "qos"), "aborted");
    assert_eq!(active(&place, "qos"), "built-in/class-fair");
    place.json(&["plugin", "swap", "qos", "acme/fair"]);
    load.stop();
}

#[test]
fn a_canary_whose_gates_hold_takes_over_and_stays_over_a_restart() {
    let (mut place, load) = busy("bob");
    place.until(&["plugin", "show", "route"], |shown| shown["row"]["calls_per_s"].as_f64() > Some(0.0));
    let report = place.json(&[
        "plugin",
        "swap",
        "route",
        "./fast.wasm",
        "--shadow",
        "50",
        "--canary",
        "25%",
        "--canary-for",
        "500ms",
        "--max-disagreement",
        "0%",
    ]);
    assert_eq!(report["stage"], "cut-over");
    let figures =
        [&report["shadow"], &report["canary"]].map(|figures| figures["decisions"].as_u64().unwrap());
    assert!(figures.iter().all(|decisions| *decisions > 0), "{figures:?}");
    assert_eq!(active(&place, "route"), "acme/fast");
    load.stop();

    place.kill("bob");
    place.up("bob", &[]);

    assert_eq!(active(&place, "route"), "acme/fast");
    assert_eq!(place.json(&["plugin", "show", "route"])["trial"], Value::Null);
}

/// H05: a trial is no hand-over: after a kill in the middle of one the bound revision decides, and alone.
#[test]
fn a_node_that_is_killed_in_a_trial_starts_with_what_was_bound() {
    let (mut place, load) = busy("bob");
    place.json(&[
        "plugin",
        "swap",
        "route",
        "./fast.wasm",
        "--canary",
        "50%",
        "--canary-for",
        "1h",
        "--no-wait",
    ]);
    place.until(&["plugin", "show", "route"], |shown| {
        shown["trial"]["canary"]["decisions"].as_u64() > Some(10)
    });
    load.stop();

    place.kill("bob");
    place.up("bob", &[]);

    let shown = place.json(&["plugin", "show", "route"]);
    assert_eq!((&shown["row"]["plugin"], &shown["trial"]), (&"built-in/latency".into(), &Value::Null));
}

/// H03: a canary that traps is returned at once, and no message is lost or doubled by it.
#[test]
fn a_canary_that_traps_returns_and_costs_no_message() {
    let mut place = Place::new();
    write(&place, "bad.wasm", &component(builtin::FAULTY, "acme/bad", "1.0.0"));
    let alice = place.up("alice", &[]);
    place.up("bob", &["--join", &alice]);
    place.knows("alice", "bob");
    let (told, mut arrivals) = watch::channel(Vec::new());
    let socket = place.socket("bob");
    let consumer = std::thread::spawn(move || consume(socket, &told));
    let load = Load::start(place.socket("alice"), vec![Target::Node("bob".to_owned())]);

    let error = place.error(&[
        "-N",
        "alice",
        "plugin",
        "swap",
        "route",
        "./bad.wasm",
        "--set",
        "works_for=20",
        "--canary",
        "100%",
        "--canary-for",
        "1h",
    ]);

    assert_eq!((&error["code"], &error["exit"]), (&"MESH-P151".into(), &10.into()));
    assert!(error["message"].as_str().unwrap().contains("it trapped"), "{error}");
    assert_eq!(place.json(&["-N", "alice", "plugin", "show", "route"])["row"]["plugin"], "built-in/latency");
    let sent = load.stop();
    let deadline = Instant::now() + DEADLINE;
    while (arrivals.borrow_and_update().len() as u64) < sent {
        assert!(Instant::now() < deadline, "{} of {sent} arrived", arrivals.borrow().len());
        std::thread::yield_now();
    }
    place.kill("bob");
    consumer.join().unwrap();
    assert_eq!(*arrivals.borrow(), (0..sent).collect::<Vec<u64>>(), "each once, in order");
}

fn consume(socket: PathBuf, told: &watch::Sender<Vec<u64>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut inbox = Client::connect(&socket).await.unwrap().subscribe(Wanted::Inbox(None)).await.unwrap();
        while let Ok(Some(Delivery::Batch(messages))) = inbox.next().await {
            let numbers = messages.iter().map(|m| u64::from_le_bytes(m.payload[..].try_into().unwrap()));
            told.send_modify(|all| all.extend(numbers));
            if let Some(offset) = messages.iter().filter_map(|message| message.offset).max() {
                let _ = inbox.ack(offset).await;
            }
        }
    });
}

#[test]
fn what_cannot_be_tried_is_refused_with_what_to_do_instead() {
    let mut place = Place::new();
    place.up("bob", &[]);
    let swap = |args: &[&str]| {
        let error = place.error(&[&["plugin", "swap"], args].concat());
        assert!(!error["help"].as_array().unwrap().is_empty(), "{error}");
        (error["code"].as_str().unwrap().to_owned(), error["exit"].as_i64().unwrap())
    };
    let (usage, value) = (("MESH-C100".to_owned(), 2), ("MESH-C103".to_owned(), 2));

    assert_eq!(swap(&["route", "built-in/latency", "--max-p99", "2x"]), usage);
    assert_eq!(swap(&["route", "built-in/latency", "--no-wait"]), usage);
    assert_eq!(swap(&["route", "built-in/latency", "--shadow", "5", "--no-wait", "--dry-run"]), usage);
    assert_eq!(swap(&["beacon", "built-in/beacon", "--shadow", "5"]), value);
    assert_eq!(swap(&["route", "native", "--shadow", "5"]), value);
    assert_eq!(swap(&["route", "built-in/latency", "--canary", "10%", "--dry-run"]), value);
    assert_eq!(swap(&["route", "built-in/latency", "--shadow", "400d"]), value);
    assert_eq!(swap(&["topology", "built-in/steady", "--canary", "10%"]), value);
    assert_eq!(swap(&["route", "nobody/knows", "--shadow", "5"]), ("MESH-P102".to_owned(), 3));
    // Nothing came to compare it by.
    assert_eq!(swap(&["route", "built-in/latency", "--shadow", "1ms"]), ("MESH-P151".to_owned(), 10));
}

/// The client may go; the node ends the trial by itself.
#[test]
fn a_trial_goes_on_when_its_client_is_gone() {
    let (place, load) = busy("bob");
    let args = ["plugin", "swap", "qos", "./fair.wasm", "--shadow", "100000", "--json"];
    let mut client = place.command(&args).stdout(Stdio::null()).spawn().unwrap();
    place.until(&["plugin", "show", "qos"], |shown| shown["trial"]["stage"] == "shadow");

    client.kill().unwrap();
    client.wait().unwrap();

    let calls = |shown: &Value| shown["trial"]["shadow"]["calls"].as_u64().unwrap();
    let before = calls(&place.json(&["plugin", "show", "qos"]));
    place.until(&["plugin", "show", "qos"], |shown| calls(shown) > before);
    load.stop();
}
