//! Guests for the tests: the hostile ones are built here, once a process; components that no compiler makes are
//! written as text.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, OnceLock};

use mesh_plugin_host::{
    Engine, Grants, Loaded, PolicySet, PolicySlot, PreparedRouting, Revision, Settings, SlotEvent, StartWith,
    Value, load, package, prepare_routing,
};
use mesh_proto::policy::{Class, LOCAL, Policies, RouteBatch, View};

pub fn engine() -> Engine {
    Engine::new(None).expect("this machine runs WebAssembly")
}

/// Builds the guests of `tests/hostile` and returns the core module of one.
pub fn core(guest: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| build("wasm32-unknown-unknown", &[]));
    std::fs::read(built.join(format!("hostile_{guest}.wasm"))).expect("cargo has built it")
}

/// Builds the guests with the standard library of wasm32-wasip2 and returns one, which is a component already.
pub fn wasip2(guest: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let packages = ["-p", "hostile-wasi", "-p", "hostile-wasi-handler"];
    let built = BUILT.get_or_init(|| build("wasm32-wasip2", &packages));
    std::fs::read(built.join(format!("hostile_{guest}.wasm"))).expect("cargo has built it")
}

fn build(target: &str, packages: &[&str]) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile");
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--quiet", "--target", target]).args(packages);
    cargo.current_dir(sources).env("CARGO_TARGET_DIR", &target_dir);
    for variable in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(variable);
    }
    assert!(cargo.status().expect("cargo runs").success(), "the hostile guests build");
    target_dir.join(target).join("release")
}

/// Returns a hostile guest as a component.
pub fn hostile(guest: &str) -> Vec<u8> {
    let manifest = format!("[plugin]\nname = \"hostile/{guest}\"\nversion = \"1.0.0\"\n{}", schema(guest));
    package::encode(&core(guest), &manifest).expect("it is a plugin, if a bad one")
}

fn schema(guest: &str) -> &'static str {
    match guest {
        "routing" => "[config.schema]\nmode = { type = \"string\" }\nafter = { type = \"integer\" }",
        _ => "[config.schema]\nmode = { type = \"string\" }",
    }
}

pub fn hostile_routing() -> &'static Loaded {
    static LOADED: LazyLock<Loaded> =
        LazyLock::new(|| load(&engine(), &hostile("routing"), Grants::NONE).expect("it loads"));
    &LOADED
}

pub fn text(value: &str) -> Value {
    Value::Text(value.into())
}

pub fn settings<const N: usize>(settings: [(&str, Value); N]) -> Settings {
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A hostile routing policy that passes its rehearsal and `after` further batches.
pub fn prepared(mode: &str, after: i64) -> PreparedRouting {
    let settings = settings([("mode", text(mode)), ("after", Value::Integer(after + 1))]);
    prepare_routing(hostile_routing(), &settings).expect("it passes its rehearsal")
}

/// One that behaves.
pub fn good() -> PreparedRouting {
    prepared("", 0)
}

/// Two neighbours; the second offers the only way to destination 5.
pub fn view() -> View {
    let mut view = View::default();
    for rtt_us in [1_000, 2_000] {
        view.links.rtt_us.push(rtt_us);
        view.links.loss_ppm.push(0);
        view.links.queued_bytes.push(0);
    }
    view.ways.dest.push(5);
    view.ways.via.push(1);
    view.ways.cost_us.push(100);
    view.ways.hops.push(1);
    view
}

/// What the native built-in says to [`batch`] in [`view`]; the hostile guest says 0 when it behaves.
pub const NATIVE: u32 = 1;

pub fn batch(rows: usize) -> RouteBatch {
    let mut batch = RouteBatch::default();
    for _ in 0..rows {
        batch.push(5, LOCAL, 100, Class::Normal);
    }
    batch
}

/// A set with [`view`] in which this policy decides.
pub fn set_with(first: PreparedRouting) -> PolicySet {
    let mut set = PolicySet::new(&engine());
    set.observe(0, &view());
    set.swap(first, 0, StartWith::Reset).expect("the first one is taken");
    set.take_events();
    set
}

/// Asks for one batch and returns what everybody agrees on.
pub fn ask(set: &mut PolicySet, now_ms: u64, rows: usize) -> u32 {
    let mut verdicts = Vec::new();
    set.route(now_ms, &batch(rows), &mut verdicts);
    assert_eq!(verdicts.len(), rows);
    assert!(verdicts.iter().all(|&verdict| verdict == verdicts[0]), "{verdicts:?}");
    verdicts[0]
}

/// The counter that comes first in the state of the routing plugins.
pub fn counter(set: &mut PolicySet) -> u64 {
    let state = set.peek_state(PolicySlot::Route).expect("it saves").expect("a plugin is active");
    u64::from_le_bytes(*state.bytes.first_chunk().expect("the counter comes first"))
}

/// What happened, in short.
pub fn story(set: &mut PolicySet) -> Vec<&'static str> {
    let short = |event: &SlotEvent| match event {
        SlotEvent::Swapped(_) => "swapped",
        SlotEvent::RolledBack(_) => "rolled back",
        SlotEvent::Struck { .. } => "struck",
        SlotEvent::Quarantined { successor: Some(_), .. } => "quarantined, last good one back",
        SlotEvent::Quarantined { successor: None, .. } => "quarantined, built-in",
        SlotEvent::Resumed { automatic: true, .. } => "back by itself",
        SlotEvent::Resumed { automatic: false, .. } => "resumed",
    };
    set.take_events().iter().map(short).collect()
}

pub fn name(revision: Option<&Revision>) -> Option<String> {
    revision.map(Revision::to_string)
}

/// A component from its text.
pub fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's text is a component")
}
