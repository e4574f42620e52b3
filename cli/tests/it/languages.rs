//! Plugins in JavaScript, Python and C, from `plugin new` to a decision in the real host.
//!
//! Their tools are those that `cargo xtask test` installs, or that are in PATH. Where there are none, the tests
//! fail, unless the environment says that they cannot be had.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Place, Ran};

/// A language, and a command that works when its tools are there.
struct Language {
    name: &'static str,
    probe: &'static str,
}

const JS: Language = Language { name: "js", probe: "npx --offline --yes componentize-qjs@0.4.5 --help" };
const PYTHON: Language = Language { name: "python", probe: "componentize-py --version" };
const C: Language = Language { name: "c", probe: "clang --version && wasm-ld --version" };

const SLOTS: [&str; 6] = ["route", "qos", "topology", "admission", "carry", "beacon"];

fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools")
}

/// Sees the tools that the set-up has installed.
fn with_tools(mut command: Command) -> Command {
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", tools().join("python/bin").display()));
    if tools().join("npm").is_dir() {
        command.env("npm_config_cache", tools().join("npm"));
    }
    command
}

impl Language {
    /// Whether its plugins are to be tested. Without its tools the test fails and says what to do, unless the
    /// environment says that they cannot be had here.
    #[track_caller]
    fn is_there(&self) -> bool {
        let without = format!("MESH_TEST_WITHOUT_{}", self.name.to_uppercase());
        if std::env::var_os(&without).is_some() {
            eprintln!("NOT TESTED: {without} is set, so no plugin in {} is built", self.name);
            return false;
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", self.probe]);
        let works = with_tools(shell).output().is_ok_and(|output| output.status.success());
        assert!(works, "`{}` fails: let `cargo xtask test` install the tools, or set {without}", self.probe);
        true
    }

    /// Makes a project for a slot and builds it; returns its component.
    fn built(&self, place: &Place, slot: &str) -> String {
        let dir = format!("{}-{slot}", self.name);
        place.json(&["plugin", "new", &dir, "--lang", self.name, "--slot", slot]);

        let ran = Ran::of(with_tools(place.command(&["plugin", "build", &dir])).output().unwrap());

        assert_eq!(ran.code, Some(0), "{dir}\n{}{}", ran.stdout, ran.stderr);
        format!("{dir}/{dir}.wasm")
    }
}

const VIEW: &str = "observe(0, {rtt-us: [500, 90000], loss-ppm: [0, 0], queued-bytes: [0, 0]}, \
                    {dest: [7, 7], via: [0, 1], cost-us: [1000, 1000], hops: [3, 1]})";
const BATCH: &str =
    "{dest: [7, 7, 8, 2147483648], ingress: [4294967295, 1, 0, 0], size: [1, 1, 1, 1], class: [2, 2, 2, 2]}";

/// Every slot of a language answers in the real host as the policy in Rust does.
fn every_slot_answers(language: &Language, place: &Place) {
    for slot in SLOTS {
        let file = language.built(place, slot);
        let report = place.json(&["plugin", "inspect", &file]);
        assert_eq!(report["findings"], json!([]), "{file}");
        the_project_holds_what_it_claims(place, &format!("{}-{slot}", language.name));
        match slot {
            "qos" => qos_is_as_in_rust(place, &file),
            "topology" => topology_is_as_in_rust(place, &file),
            "admission" => admission_is_as_in_rust(place, &file),
            "carry" => carry_is_as_in_rust(place, &file),
            "beacon" => the_handler_is_as_in_rust(place, &file),
            _ => routing_is_as_in_rust(place, &file),
        }
    }
}

/// As an author sees it who has changed nothing: the cases of the template pass, and `check` complains of nothing but
/// the size of an engine.
fn the_project_holds_what_it_claims(place: &Place, dir: &str) {
    let report = |args: &[&str]| {
        let ran = Ran::of(with_tools(place.command(args)).output().unwrap());
        assert_eq!(ran.code, Some(0), "{args:?}\n{}{}", ran.stdout, ran.stderr);
        let envelope: Value = serde_json::from_str(&ran.stdout).unwrap();
        envelope["data"].clone()
    };

    let tested = report(&["plugin", "test", dir, "--json"]);
    let checked = report(&["plugin", "check", dir, "--json"]);

    assert!(tested["cases"].as_u64() >= Some(2), "{tested}");
    let warnings = checked["warnings"].as_array().unwrap();
    let is_of_size = |warning: &Value| warning["what"].as_str().unwrap().contains("to compile");
    assert!(warnings.iter().all(is_of_size), "{checked}");
}

/// The answer to the last of some calls.
#[track_caller]
fn last(place: &Place, file: &str, args: &[&str]) -> Value {
    let data = place.json(&[&["plugin", "call", file], args].concat());
    data["calls"].as_array().unwrap().last().unwrap()["answer"].clone()
}

fn qos_is_as_in_rust(place: &Place, file: &str) {
    let batch = "{class: [2, 2, 1, 3, 0, 2], size: [65536, 65537, 0, 1000000, 1000000, 4294967295], \
                 age-ms: [0, 0, 60001, 3600000, 3600000, 4294967295], tag: [0, 0, 0, 0, 0, 0]}";
    let load = "{sent-bytes: [1, 2, 3, 4, 5], queued-bytes: [0, 0, 0, 0, 0], dropped: [0, 0, 0, 0, 0]}";

    // What is large or late steps back by one class, and critical stays.
    assert_eq!(last(place, file, &["classify", "1", batch]), json!([2, 3, 2, 4, 0, 3]));
    assert_eq!(
        last(place, file, &["--set", "large_kib=2048", "classify", "1", batch]),
        json!([2, 2, 2, 4, 0, 3])
    );
    let shares = json!({ "guaranteed": [20, 30, 20, 15, 5], "burst": [80, 60, 40, 30, 20] });
    assert_eq!(last(place, file, &["divide", "1", load]), shares);
    assert_eq!(last(place, file, &["load-state", "3", "[1]"]), json!({ "error": { "unknown-version": 3 } }));
}

fn topology_is_as_in_rust(place: &Place, file: &str) {
    let asker = "{level: 0, mobility: 0, battery: 80, weight-mobility: 250, weight-resources: 250, \
                 weight-battery: 250, weight-proximity: 250, max-distance-m: 1000}";
    let column = |name: &str, rows: &str| format!("{name}: [{rows}]");
    let same = ["level", "same-cell", "mobility", "battery", "cpu-used", "memory-used", "cores", "memory-mb"];
    let same =
        same.iter().chain(&["uplink-mbps", "rtt-us", "up-s"]).map(|name| column(name, "1, 1, 1, 1, 1"));
    let own = [
        column("node", "1, 2, 3, 4, 5"),
        column("distance-m", "0, 500, 0, 500, 4294967295"),
        column("children", "0, 5, 10, 5, 5"),
        column("max-children", "10, 10, 10, 10, 10"),
        column("is-parent", "0, 0, 0, 1, 0"),
    ];
    let candidates = format!("{{{}}}", own.into_iter().chain(same).collect::<Vec<_>>().join(", "));

    // Room for 600 points, nearness for 400, the parent for 50.
    assert_eq!(last(place, file, &["score", "1", asker, &candidates]), json!([1000, 500, 400, 550, 300]));
}

fn admission_is_as_in_rust(place: &Place, file: &str) {
    let key = [7; 32].map(|byte: u8| byte.to_string()).join(", ");
    let visitor = |name: &str, labels: &str, health: &str, approach: &str| {
        let (name, labels) = (format!("name: \"{name}\""), format!("labels: [{labels}]"));
        format!("{{node: [{key}], {name}, {labels}, health: {health}, approach: {approach}}}")
    };
    let visitors = [
        visitor("bob", "", "alive", "inbound"),
        visitor("carol", "{key: \"team\", value: \"red\"}", "suspect", "standing"),
        visitor("dave", "{key: \"team\", value: \"blue\"}", "alive", "outbound"),
        visitor("", "", "unknown", "inbound"),
    ];
    let visitors = format!("[{}]", visitors.join(", "));
    let place_row = "{links: 1, least: 2, most: 8, members: 3}";
    let admit = ["admit", "1", place_row, &visitors];
    let listed = [&["--set", "names=alice, bob", "--set", "labels=team=red"][..], &admit].concat();
    let refused = place.error(&["plugin", "call", file, "--set", "labels=team", "save"]);

    // Who is listed by name or label, who has said nothing yet, and everybody while nobody is listed.
    assert_eq!(last(place, file, &listed), json!([true, true, false, true]));
    assert_eq!(last(place, file, &admit), json!([true, true, true, true]));
    assert_eq!(refused["code"], "MESH-P111");
    assert_eq!(last(place, file, &["load-state", "3", "[1]"]), json!({ "error": { "unknown-version": 3 } }));
}

fn carry_is_as_in_rust(place: &Place, file: &str) {
    let room = "{messages: 0, bytes: 0, most-bytes: 268435456, most-messages-each: 100000, \
                most-bytes-each: 67108864}";
    let same = ["dest", "messages", "waiting-messages", "waiting-bytes"]
        .map(|name| format!("{name}: [1, 1, 1, 1, 1, 1]"));
    let batch = format!(
        "{{class: [0, 2, 2, 4, 3, 3], bytes: [1, 1, 65537, 4294967295, 1, 1], age-ms: [0, 0, 0, 0, 3600001, 3600001], \
         left-ms: [1, 60000, 60001, 60001, 4294967295, 4294967295], is-own: [0, 0, 0, 1, 0, 0], \
         is-durable: [0, 0, 0, 0, 1, 0], {}}}",
        same.join(", ")
    );
    let carry = ["carry", "1", room, &batch];

    // By class, sooner when there is little time; what is too large or too old is refused when others wrote it.
    assert_eq!(last(place, file, &carry), json!([255, 190, 0, 50, 100, 0]));
    let lax = [&["--set", "max_kib=65", "--set", "max_age_s=7200", "--set", "soon_s=0"][..], &carry].concat();
    assert_eq!(last(place, file, &lax), json!([250, 150, 150, 50, 100, 100]));
    assert_eq!(last(place, file, &["load-state", "3", "[1]"]), json!({ "error": { "unknown-version": 3 } }));
}

fn the_handler_is_as_in_rust(place: &Place, file: &str) {
    let message = r#"message({topic: "notes", origin: [], id: [], payload: [1, 2], sent-ms: 0})"#;
    let heard = format!("handle(1, 1, {message})");
    let command = |name: &str, payload: &str| format!("command({{name: \"{name}\", payload: {payload}}})");
    let text = |text: &str| json!(text.as_bytes());

    let note = last(place, file, &["handle", "1", "1", message]);
    let count = last(place, file, &["--first", &heard, "handle", "1", "1", &command("count", "[]")]);
    let said = last(place, file, &["--set", "topic=room", "handle", "1", "1", &command("say", "[104, 105]")]);
    let nothing = last(place, file, &["handle", "1", "1", &command("say", "[]")]);
    let unknown = last(place, file, &["handle", "1", "1", &command("dance", "[]")]);

    assert_eq!(note["ok"], json!([{ "notify": { "kind": "note", "payload": text("{\"heard\":1}") } }]));
    assert_eq!(count["ok"], json!([{ "reply": text("{\"heard\":1}") }]));
    let publish = json!({ "topic": "room", "class": "normal", "ttl-ms": 60_000, "payload": text("hi") });
    assert_eq!(said["ok"], json!([{ "publish": publish }, { "reply": text("{\"said\":2}") }]));
    assert_eq!(nothing["error"], json!({ "bad-input": "there is nothing to say" }));
    assert_eq!(unknown["error"], json!({ "unknown-command": "dance" }));
}

/// The policy's answers, its settings and its state, asked function by function.
fn routing_is_as_in_rust(place: &Place, file: &str) {
    let last = |args: &[&str]| last(place, file, args);
    let decide = format!("decide(1, {BATCH})");

    let answer = last(&["--first", VIEW, "decide", "1", BATCH]);
    let saved = last(&["--first", VIEW, "--first", &decide, "save"]);
    let unknown = last(&["load-state", "9", "[]"]);
    let damaged = last(&["load-state", "1", "[1]"]);
    let refused = place.error(&["plugin", "call", file, "--set", "max_queue_kib=0", "save"]);

    // Fewest hops, never back, hold without a way, and topics are the host's.
    assert_eq!(answer, json!([1, 0, 4_294_967_294u32, 4_294_967_293u32]));
    assert_eq!(
        saved,
        json!([4, 0, 0, 0, 0, 0, 0, 0]),
        "policies of one state version read each other's state"
    );
    assert_eq!(unknown, json!({ "error": { "unknown-version": 9 } }));
    assert_eq!(damaged, json!({ "error": "bad-state" }));
    assert_eq!(refused["code"], "MESH-P111");
}

/// A node decides by it, and its state goes on over a swap from the policy to itself.
fn a_node_takes_it(place: &mut Place, file: &str, flags: &[&str]) {
    place.up("bob", &[]);
    let swap = [&["plugin", "swap", "route", file, "--reset-state", "--timeout", "90s"], flags].concat();

    let swapped = place.json(&swap);

    let row = &place.json(&["plugin", "show", "route"])["row"];
    assert_eq!((&row["state"], &row["traps"]), (&json!("active"), &json!(0)), "{swapped}");
}

#[test]
fn plugins_in_c_answer_in_every_slot_and_decide_in_a_node() {
    let mut place = Place::new();
    if C.is_there() {
        every_slot_answers(&C, &place);
        let report = place.json(&["plugin", "inspect", "c-route/c-route.wasm"]);
        assert_eq!(report["pure"], true);
        assert!(report["size_bytes"].as_u64().unwrap() < 16 << 10, "{report}");
        a_node_takes_it(&mut place, "./c-route/c-route.wasm", &[]);
        every_slot_of_a_node_takes_its_own(&place);
    }
}

/// What an author does first with each template, `run`, and what an operator does with it last.
fn every_slot_of_a_node_takes_its_own(place: &Place) {
    for slot in SLOTS {
        let dir = format!("c-{slot}");
        let run = ["plugin", "run", &dir, "--once", "--json", "--timeout", "60s"];
        let ran = Ran::of(with_tools(place.command(&run)).output().unwrap());
        assert_eq!(ran.code, Some(0), "{slot}\n{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("\"live\""), "{slot}\n{}", ran.stdout);

        let file = format!("{dir}/{dir}.wasm");
        let grants: &[&str] = if slot == "beacon" { &["--grant", "log"] } else { &[] };
        let installed = place.json(&[&["plugin", "install", &file][..], grants].concat());
        place.json(&["plugin", "swap", slot, &format!("you/{dir}"), "--reset-state"]);
        let row = &place.json(&["plugin", "show", slot])["row"];

        assert!(installed["size_bytes"].as_u64() > Some(0), "{installed}");
        assert!(installed["compile_s"].as_f64() > Some(0.0), "{installed}");
        assert_eq!((&row["state"], &row["traps"]), (&json!("active"), &json!(0)), "{slot}: {row}");
    }
}

#[test]
fn plugins_in_javascript_answer_in_every_slot_and_decide_in_a_node() {
    let mut place = Place::new();
    if JS.is_there() {
        every_slot_answers(&JS, &place);
        assert_eq!(place.json(&["plugin", "inspect", "js-route/js-route.wasm"])["pure"], true);
        a_node_takes_it(&mut place, "./js-route/js-route.wasm", &[]);
    }
}

#[test]
fn a_plugin_in_python_is_large_and_has_to_be_asked_for() {
    let mut place = Place::new();
    if PYTHON.is_there() {
        let file = PYTHON.built(&place, "route");
        routing_is_as_in_rust(&place, &file);
        a_node_takes_it(&mut place, &format!("./{file}"), &["--allow-large"]);
        let refused = place.error(&["plugin", "install", &file]);
        assert_eq!((refused["code"].as_str(), refused["exit"].as_i64()), (Some("MESH-P163"), Some(13)));
        assert!(refused["help"].to_string().contains("--allow-large"), "{refused}");
    }
}
