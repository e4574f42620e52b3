//! Who is in the mesh, between real processes: leaving, dying, being stopped and coming back.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mesh_node::api::EventKind;
use mesh_node::control::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{DEADLINE, Place, Ran};

/// How long an orderly departure may go unseen (MN-25).
const LEAVE_WITHIN: f64 = 1.0;
/// How long a silent node may be taken for living when its only neighbour accuses it (MN-06).
const DIE_WITHIN: f64 = 5.0;
/// The same when it has two neighbours, of which each waits for the word of the other.
const AGREE_WITHIN: f64 = 5.0;

/// What a node tells, from the moment this exists on.
struct Watch(mpsc::Receiver<EventKind>);

impl Watch {
    fn on(place: &Place, name: &str) -> Watch {
        let socket = place.socket(name);
        let ((told, events), (ready, is_ready)) = (mpsc::channel(), mpsc::channel());
        // A thread of its own for the socket; it ends with the node.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut events = Client::connect(&socket).await.unwrap().events().await.unwrap();
                ready.send(()).unwrap();
                while let Ok(Some(event)) = events.next().await {
                    if told.send(event.kind).is_err() {
                        return;
                    }
                }
            });
        });
        is_ready.recv_timeout(DEADLINE).unwrap();
        Watch(events)
    }

    /// Returns what is told of members up to the first that is wanted, in one word each.
    #[track_caller]
    fn until(&self, wanted: &str) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        let mut told = Vec::new();
        while told.last().is_none_or(|last| last != wanted) {
            let left = deadline.saturating_duration_since(Instant::now());
            let event =
                self.0.recv_timeout(left).unwrap_or_else(|_| panic!("{wanted} was not told: {told:?}"));
            told.extend(word(&event));
        }
        told
    }

    /// Returns what was told of members until now.
    fn so_far(&self) -> Vec<String> {
        self.0.try_iter().filter_map(|event| word(&event)).collect()
    }
}

fn word(event: &EventKind) -> Option<String> {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    Some(match event {
        EventKind::MemberJoined { name: n, .. } => format!("joined {}", name(n)),
        EventKind::MemberSuspect { name: n, .. } => format!("suspect {}", name(n)),
        EventKind::MemberDead { name: n, .. } => format!("dead {}", name(n)),
        EventKind::MemberLeft { name: n, .. } => format!("left {}", name(n)),
        EventKind::MemberBack { name: n, restarted: true, .. } => format!("restarted {}", name(n)),
        EventKind::MemberBack { name: n, .. } => format!("back {}", name(n)),
        EventKind::Partitioned { away, of } => format!("partitioned {away}/{of}"),
        EventKind::Merged { back } => format!("merged {back}"),
        _ => return None,
    })
}

fn row<'a>(members: &'a Value, name: &str) -> Option<&'a Value> {
    members.as_array()?.iter().find(|member| member["name"] == name)
}

/// Waits until `one` sees `other` in a state, and returns that row with the seconds from `since` to the change.
#[track_caller]
fn sees(place: &Place, one: &str, other: &str, state: &str, since: Instant) -> (Value, f64) {
    let members = place.until(&["-N", one, "members"], |members| {
        row(members, other).is_some_and(|member| member["state"] == state)
    });
    let member = row(&members, other).unwrap().clone();
    let after = since.elapsed().as_secs_f64() - member["since_s"].as_f64().unwrap();
    (member, after)
}

/// Starts nodes that all link to the first, by their own choice or to it alone.
#[track_caller]
fn star(names: &[&str], args: &[&str]) -> Place {
    let mut place = Place::new();
    let addr = place.up(names[0], args);
    for name in &names[1..] {
        place.up(name, &[args, &["--join", &addr]].concat());
    }
    // What a node says of its links is how others know who watches it.
    let least = if args.contains(&"explicit") { 1 } else { 2.min(names.len() as u64 - 1) };
    for name in names {
        all_alive(&place, name, names.len());
        place.until(&["-N", name, "members"], |members| {
            members.as_array().is_some_and(|rows| rows.iter().all(|m| m["links"].as_u64() >= Some(least)))
        });
    }
    place
}

#[track_caller]
fn all_alive(place: &Place, one: &str, count: usize) -> Value {
    place.until(&["-N", one, "members"], |members| {
        let rows = members.as_array().map(Vec::as_slice).unwrap_or_default();
        rows.len() == count && rows.iter().all(|member| member["state"] == "alive")
    })
}

fn signal(place: &Place, name: &str, signal: Signal) {
    let pid = place.json(&["-N", name, "status", "--fields", "pid"])["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

fn route_state(place: &Place, one: &str, other: &str) -> String {
    let route = place.json(&["-N", one, "route", "explain", other]);
    assert!(route["next_hop"].is_null(), "{route}");
    route["state"].as_str().unwrap().to_owned()
}

// MN-25, PM-17, MN-38: by a call and by a signal, as neighbours and those further away see it.
#[test]
fn a_node_that_stops_in_an_orderly_way_is_seen_to_leave_at_once_and_not_to_die() {
    let place = star(&["alice", "bob", "carol", "dave"], &["--links", "explicit"]);
    let watch = Watch::on(&place, "dave");

    for (leaver, how) in [("bob", "down"), ("carol", "signal")] {
        let began = Instant::now();
        match how {
            "down" => assert_eq!(place.run(&["-N", leaver, "down"]).code, Some(0)),
            _ => signal(&place, leaver, Signal::TERM),
        }
        for one in ["alice", "dave"] {
            let (_, after) = sees(&place, one, leaver, "left", began);
            assert!(after < LEAVE_WITHIN, "{one} saw {leaver} leave after {after:.2} s");
            assert_eq!(route_state(&place, one, leaver), "left");
        }
    }

    assert_eq!(watch.until("left carol"), ["left bob", "left carol"]);
    assert_eq!(place.json(&["-N", "dave", "status"])["members"]["left"], 2);
    assert_eq!(place.json(&["-N", "dave", "status"])["problems"].as_array().unwrap().len(), 0);
}

// MN-06, MN-38: found by silence alone, refuted by nobody, and a new start is a new start.
#[test]
fn a_killed_node_is_suspect_then_dead_within_five_seconds_and_back_with_its_next_start() {
    let args = ["--links", "explicit"];
    let mut place = star(&["alice", "bob", "carol", "dave"], &args);
    let (near, far) = (Watch::on(&place, "alice"), Watch::on(&place, "dave"));
    let before = place.json(&["-N", "alice", "members"]);
    let events = ["-N", "carol", "events", "--only", "member-dead", "--count", "1", "--json"];
    let shown = place.command(&events).stdout(Stdio::piped()).spawn().unwrap();

    let began = Instant::now();
    place.kill("bob");

    for one in ["alice", "carol", "dave"] {
        let (_, after) = sees(&place, one, "bob", "dead", began);
        assert!(after < DIE_WITHIN, "{one} saw bob dead after {after:.2} s");
    }
    for watch in [&near, &far] {
        assert_eq!(watch.until("dead bob"), ["suspect bob", "dead bob"]);
    }
    assert_eq!(route_state(&place, "alice", "bob"), "dead");
    let problem = place.json(&["-N", "alice", "status"])["problems"][0].clone();
    assert_eq!(problem["code"], "MESH-N114");
    assert_eq!(problem["message"], "1 member is dead: bob");
    let line = Ran::of(shown.wait_with_output().unwrap()).stdout;
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((event["event"].as_str(), event["name"].as_str()), (Some("member-dead"), Some("bob")));

    let addr = place.json(&["-N", "alice", "id", "show"])["addrs"][0].as_str().unwrap().to_owned();
    place.up("bob", &[&args[..], &["--join", &addr]].concat());
    assert_eq!(near.until("restarted bob").last().unwrap(), "restarted bob");
    assert_eq!(far.until("restarted bob").last().unwrap(), "restarted bob");
    let after = all_alive(&place, "alice", 4);
    let started = |members| row(members, "bob").unwrap()["started"].as_str().unwrap().to_owned();
    assert!(started(&after) > started(&before));
    assert_eq!(row(&after, "bob").unwrap()["node"], row(&before, "bob").unwrap()["node"]);
    assert_eq!(place.json(&["-N", "alice", "status"])["problems"].as_array().unwrap().len(), 0);
}

// MN-06, PM-83, G-faults of a process that stands still: it is taken for dead, comes back by itself, and has
// not blamed the others for its own silence.
#[test]
fn a_process_that_stood_still_is_dead_to_the_others_then_back_and_blames_nobody() {
    let place = star(&["alice", "bob", "carol"], &[]);
    let (others, own) = (Watch::on(&place, "alice"), Watch::on(&place, "bob"));
    let before = place.json(&["-N", "alice", "members"]);
    let pid = place.json(&["-N", "bob", "status"])["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(pid as i32).unwrap();

    let began = Instant::now();
    kill_process(pid, Signal::STOP).unwrap();

    for one in ["alice", "carol"] {
        let (_, after) = sees(&place, one, "bob", "dead", began);
        assert!(after < AGREE_WITHIN, "{one} saw bob dead after {after:.2} s");
    }
    let status = place.json(&["-N", "alice", "status"]);
    assert_eq!(status["partition"]["away"], 1);
    let message = status["problems"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("1 of 3 members is away since 20"), "{message}");
    // As long as a laptop's lid is closed at least.
    place.until(&["-N", "alice", "members"], |members| {
        row(members, "bob").is_some_and(|bob| bob["since_s"].as_f64().unwrap() > 4.0)
    });

    kill_process(pid, Signal::CONT).unwrap();

    for one in ["alice", "carol", "bob"] {
        all_alive(&place, one, 3);
    }
    let told = others.until("back bob");
    assert_eq!(told[..3], ["suspect bob", "dead bob", "partitioned 1/3"], "{told:?}");
    let status = place.until(&["-N", "alice", "status"], |status| status["partition"].is_null());
    assert_eq!(status["problems"].as_array().unwrap().len(), 0, "{status}");
    assert_eq!(own.so_far(), [""; 0], "the stopped node says nothing of the others");
    let after = place.json(&["-N", "alice", "members"]);
    let started = |members| row(members, "bob").unwrap()["started"].clone();
    assert_eq!(started(&after), started(&before));
}

// MN-04, MN-05, MN-35: what a node says of itself reaches those at the other end, signed by it.
#[test]
fn labels_plugins_and_a_new_name_are_known_to_all() {
    let mut place = star(&["alice", "carol"], &["--links", "explicit"]);
    let addr = place.json(&["-N", "alice", "id", "show"])["addrs"][0].as_str().unwrap().to_owned();
    let args = ["--links", "explicit", "--join", &addr, "--label", "region=eu", "--label", "rack=7"];
    place.up("bob", &args);
    let says = |name: &'static str, key: &'static str, value: &'static str| {
        place.until(&["-N", "carol", "members"], |members| {
            row(members, name)
                .is_some_and(|m| m["published"][key].as_str().is_some_and(|told| told.starts_with(value)))
        })
    };

    let members = says("bob", "label.region", "eu");
    let bob = row(&members, "bob").unwrap().clone();
    assert_eq!((bob["published"]["label.rack"].as_str(), bob["this"].as_bool()), (Some("7"), Some(false)));
    assert_eq!(bob["published"]["transports"], "quic");
    assert!(bob["published"]["load"].as_str().unwrap().parse::<u32>().is_ok(), "{bob}");
    says("bob", "slot.route", "built-in/latency@0.1.0 blake3:");
    says("bob", "slot.beacon", "built-in/beacon@0.1.0 blake3:");
    assert!(bob["phi"].is_null() && bob["heard_s"].is_null(), "bob is no neighbour of carol: {bob}");
    let alice = row(&members, "alice").unwrap();
    assert!(alice["phi"].as_f64().unwrap() < 8.0 && alice["heard_s"].as_f64().unwrap() < 5.0, "{alice}");
    assert_eq!(members[0]["name"], "carol", "this node is first");
    let table = place.run(&["-N", "carol", "members"]).stdout;
    assert!(table.lines().any(|line| line.contains("bob") && line.contains("rack=7 region=eu")), "{table}");
    assert_eq!(place.run(&["-N", "carol", "members", "-o", "name"]).stdout.lines().count(), 3);

    place.json(&["-N", "bob", "plugin", "swap", "route", "native"]);
    says("bob", "slot.route", "native/");

    let data = place.data_dir("bob");
    assert_eq!(place.run(&["-N", "bob", "down"]).code, Some(0));
    place.begin("robert", "127.0.0.1:0", &data, &args).ready(DEADLINE).unwrap();
    place.until(&["-N", "carol", "members"], |members| {
        row(members, "robert").is_some_and(|m| m["state"] == "alive" && m["node"] == bob["node"])
    });
    assert_eq!(place.json(&["-N", "carol", "ping", "robert"])["peer"], bob["node"]);
}

// MN-12, MN-50f, PM-84: nodes remember each other; the one that all were started with is not needed again.
#[test]
fn a_node_finds_the_mesh_again_when_the_node_it_joined_by_is_gone() {
    let mut place = star(&["alice", "bob", "carol"], &[]);
    assert_eq!(place.run(&["-N", "carol", "down"]).code, Some(0));
    place.kill("alice");

    place.up("carol", &[]);

    place.until(&["-N", "carol", "peers", "--up"], |peers| {
        peers.as_array().is_some_and(|peers| peers.iter().any(|peer| peer["name"] == "bob"))
    });
    place.knows("bob", "carol");
    for one in ["bob", "carol"] {
        sees(&place, one, "alice", "dead", Instant::now());
    }
}

// MN-13, MN-17.
#[test]
fn a_node_without_links_says_that_it_recovers_and_joins_when_somebody_is_there() {
    let mut place = Place::new();
    let addr = place.up("alice", &[]);
    assert_eq!(place.json(&["-N", "alice", "status"])["reach"]["state"], "alone");
    assert_eq!(place.json(&["-N", "alice", "status"])["problems"].as_array().unwrap().len(), 0);
    assert_eq!(place.run(&["-N", "alice", "down"]).code, Some(0));

    place.up("bob", &["--join", &addr]);

    let status =
        place.until(&["-N", "bob", "status"], |status| status["reach"]["failed_rounds"].as_u64() >= Some(1));
    assert_eq!(
        (status["reach"]["state"].as_str(), status["peers_up"].as_u64()),
        (Some("recovering"), Some(0))
    );
    assert!(status["reach"]["next_attempt_s"].as_f64().unwrap() <= 30.0, "{status}");
    assert!(status["reach"]["last_error"].as_str().unwrap().starts_with(&addr), "{status}");
    assert_eq!(status["problems"][0]["code"], "MESH-N113");
    let first_line = place.run(&["-N", "bob", "status"]).stdout.lines().next().unwrap().to_owned();
    assert!(first_line.contains("Recovering… no link, "), "{first_line}");

    let data = place.data_dir("alice");
    place.begin("alice", &addr, &data, &[]).ready(DEADLINE).unwrap();
    let status = place.until(&["-N", "bob", "status"], |status| status["reach"]["state"] == "linked");
    assert_eq!(status["problems"].as_array().unwrap().len(), 0, "{status}");
}

// MN-16, MN-53, MN-55, MN-56, MN-57.
#[test]
fn options_about_the_mesh_are_checked_and_shown() {
    let mut place = Place::new();
    for (args, told) in [
        (&["--heartbeat", "500msec"][..], "did you mean 500ms?"),
        (&["--gossip", "1 sec"], "did you mean 1s?"),
        (&["--links", "2-3"], "did you mean 2..3?"),
        (&["--links", "3..2"], "links of 3..2 is not within 1..1 to 32..32"),
        (&["--heartbeat", "500"], "did you mean --heartbeat 500ms?"),
        (&["--rebalance", "2h"], "rebalance of 7200s is not within 10ms to 1h"),
        (&["--phi", "0.5"], "phi of 0.5 is not within 1 to 16"),
        (&["--members", "3"], "members of 3 is not within 8 to 65536"),
        (&["--wan", "--large"], "cannot be used with"),
        (&["--label", "region"], "a label is KEY=VALUE"),
        (&["--label", "a b=c"], "a key has 1 to 24 letters"),
    ] {
        let error = place.error(&[&["up", "--ephemeral", "--listen", "127.0.0.1:0"], args].concat());
        assert!(error.to_string().contains(told), "{args:?}: {error}");
        assert_eq!(error["exit"], 2, "{args:?}: {error}");
    }

    place.up("ada", &["--wan", "--links", "2..4", "--phi", "6.5", "--gossip", "1500ms", "--members", "99"]);

    let tuning = place.json(&["status"])["tuning"].clone();
    assert_eq!(tuning["links"], "2..4");
    for (member, want) in
        [("heartbeat_s", 2.0), ("phi", 6.5), ("gossip_s", 1.5), ("rebalance_s", 10.0), ("members", 99.0)]
    {
        assert_eq!(tuning[member].as_f64(), Some(want), "{member}: {tuning}");
    }
}

// Nobody can be told apart from somebody who is only far away, so it is looked for all the same.
#[test]
fn a_way_to_a_stranger_is_looked_for_and_the_answer_says_so() {
    let place = star(&["alice", "bob"], &[]);
    let stranger = "7f".repeat(32);

    assert_eq!(route_state(&place, "alice", &stranger), "unknown");
    let text = place.run(&["-N", "alice", "route", "explain", &stranger]).stdout;
    assert!(text.contains("no such node is known; looking for it"), "{text}");
    assert_eq!(route_state(&place, "alice", "alice"), "this");
    let error = place.error(&["-N", "alice", "ping", &stranger]);
    assert_eq!(error["code"], "MESH-N105", "{error}");
}

fn links(place: &Place, name: &str) -> BTreeSet<String> {
    let peers = place.json(&["-N", name, "peers", "--up"]);
    let names = peers.as_array().unwrap().iter().map(|peer| peer["name"].as_str().unwrap().to_owned());
    names.collect()
}

/// Links of one node at most when it has settled. Three are wanted (MN-01); a node whose every link is the lightest
/// way to somewhere, and whose neighbours have no room for another, keeps a fourth.
const MOST_LINKS: usize = 4;

/// Waits until every node has at least two links, three on average at most, and the graph is one.
#[track_caller]
fn balanced(place: &Place, names: &[&str], within: Duration) -> Vec<BTreeSet<String>> {
    let deadline = Instant::now() + within;
    loop {
        let all: Vec<BTreeSet<String>> = names.iter().map(|name| links(place, name)).collect();
        let total: usize = all.iter().map(BTreeSet::len).sum();
        let bounded = all.iter().all(|links| (2..=MOST_LINKS).contains(&links.len()));
        if bounded && total <= 3 * names.len() && is_connected(names, &all) {
            return all;
        }
        assert!(Instant::now() < deadline, "{all:?}");
    }
}

fn is_connected(names: &[&str], links: &[BTreeSet<String>]) -> bool {
    let mut reached = BTreeSet::from([names[0]]);
    for _ in names {
        let more = names.iter().zip(links).filter(|(name, _)| reached.contains(*name));
        let more: Vec<&str> =
            more.flat_map(|(_, l)| names.iter().filter(|n| l.contains(**n)).copied()).collect();
        reached.extend(more);
    }
    reached.len() == names.len()
}

// MN-01, MN-02, MN-03.
#[test]
fn eight_processes_settle_at_two_to_three_links_each_also_when_their_hub_is_killed() {
    let names = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];
    let mut place = star(&names, &[]);
    let links = balanced(&place, &names, DEADLINE);
    let hub = names.iter().zip(&links).max_by_key(|(_, links)| links.len()).map(|(name, _)| *name).unwrap();

    let began = Instant::now();
    place.kill(hub);

    let rest: Vec<&str> = names.iter().filter(|name| **name != hub).copied().collect();
    for one in &rest {
        sees(&place, one, hub, "dead", began);
    }
    let links = balanced(&place, &rest, DEADLINE);
    let most = links.iter().map(BTreeSet::len).max().unwrap();
    eprintln!("two to {most} links each {:.1} s after the kill", began.elapsed().as_secs_f64());
    for one in &rest {
        let members = place.json(&["-N", one, "members"]);
        let alive = members.as_array().unwrap().iter().filter(|member| member["state"] == "alive");
        assert_eq!(alive.count(), 7, "{one}: {members}");
    }
}
