//! Plugins run in the slots of simulated nodes as they do on real ones.

use std::path::Path;

use mesh_sim::{Plugins, Scenario};

use crate::guests::hostile_routing;
use crate::{play, play_shipped};

const HEAD: &str = r#"
[scenario]
name = "with-a-plugin"
nodes = 12
warm_up = "8s"
duration = "15s"
quiet = "10s"

[[traffic]]
kind = "unicast"
pairs = 5
count = 120
every = "100ms"
"#;

/// W19, I14: the component decides as the native policy does where their rules are the same, and so the whole
/// run is the same, to the last byte.
#[test]
fn a_component_with_the_native_rule_makes_the_same_run_as_the_native_policy() {
    let component = format!(
        "{HEAD}\n[plugins]\nrouting = {{ source = \"built-in/latency\", \
         settings = {{ margin_percent = 0, margin_us = 0 }} }}"
    );
    for seed in ["scenario.seed=1", "scenario.seed=2", "scenario.seed=3"] {
        let native = play(HEAD, &[seed]).report;
        let wasm = play(&component, &[seed]).report;

        assert_eq!(native.trace_hash, wasm.trace_hash, "{seed}");
        assert!(wasm.plugins[0].messages > 100, "{:?}", wasm.plugins);
        assert_eq!(wasm.plugins[0].fallbacks, 0);
    }
}

/// W19: a run with plugins is repeated as exactly as one without.
#[test]
fn a_run_with_components_is_the_same_each_time() {
    let overrides = ["scenario.nodes=12", "scenario.seed=5"];

    let first = play_shipped("rolling-swap", &overrides);
    let again = play_shipped("rolling-swap", &overrides);

    assert_eq!(first.checkpoints, again.checkpoints);
    assert_eq!(first.report.plugins, again.report.plugins);
}

/// H07: the new revision decides on all nodes in the end, and nothing failed on the way.
#[test]
fn a_rolling_swap_reaches_every_node() {
    let report = play_shipped("rolling-swap", &["scenario.nodes=12"]).report;

    let versions: Vec<(&str, u64)> =
        report.plugins.iter().map(|row| (row.version.as_str(), row.nodes)).collect();
    assert!(versions.contains(&("0.2.0", 12)), "{versions:?}");
    assert_eq!((report.plugin_faults, report.failed_swaps), (0, 0));
}

/// W01, W02, W05, W08: strikes, quarantine, the native policy in its place; and the report names it.
#[test]
fn a_plugin_that_misbehaves_is_named_with_what_it_did() {
    for (mode, want) in [
        ("trap-decide", "it trapped"),
        ("loop-decide", "it ran longer than 5ms"),
        ("short-answer", "rows to"),
        ("unknown-neighbour", "to neighbour 1000"),
    ] {
        let text = format!(
            "{HEAD}\n[plugins]\nrouting = {{ source = {:?}, settings = {{ mode = \"{mode}\", after = 3 }} }}",
            hostile_routing().display().to_string()
        );
        let report = play(&text, &[]).report;

        let [row] = report.plugins.as_slice() else { panic!("{mode}: {:?}", report.plugins) };
        assert_eq!((row.plugin.as_str(), row.version.as_str()), ("hostile/routing", "1.0.0"));
        assert!(row.strikes >= 3 && row.quarantined >= 1, "{mode}: {row:?}");
        assert_eq!((report.plugin_faults, report.quarantines), (row.strikes, row.quarantined));
        assert!(row.faults.iter().all(|fault| fault.fault.contains(want)), "{mode}: {:?}", row.faults);
        assert_eq!(report.delivery_ratio, 1.0, "{mode}: the native policy decides instead");
        assert_eq!(report.violations, 0, "{mode}: {:?}", report.breaches);
    }
}

#[test]
fn a_plugin_that_cannot_be_used_is_refused_before_the_run() {
    for (line, code, reason) in [
        ("routing = \"built-in/fastest\"", "MESH-P102", "there is no such built-in plugin"),
        ("routing = \"nowhere.wasm\"", "MESH-P102", "cannot read ./nowhere.wasm"),
        ("routing = \"Cargo.toml\"", "MESH-P103", "no"),
        ("routing = \"built-in/class-fair\"", "MESH-P105", "it is a qos plugin"),
    ] {
        let text = format!("{HEAD}\n[plugins]\n{line}");
        let scenario = Scenario::parse("x.toml", &text, &[]).unwrap();
        let error = Plugins::load(&scenario, Path::new(".")).unwrap_err();
        assert_eq!(error.code, code, "{line}: {error}");
        assert!(error.reason.contains(reason), "{line}: {error}");
    }
}

#[test]
fn all_slots_take_components() {
    let text = format!(
        "{HEAD}\n[plugins]\nrouting = \"built-in/latency\"\nqos = \"built-in/class-fair\"\n\
         topology = \"built-in/steady\"\nadmission = \"built-in/guest-list\"\n\
         carry = \"built-in/short-memory\""
    );
    let report = play(&text, &[]).report;

    let slots: Vec<&str> = report.plugins.iter().map(|row| row.slot.as_str()).collect();
    assert_eq!(slots, ["admission", "carry", "qos", "route", "topology"]);
    assert_eq!((report.plugin_faults, report.delivery_ratio), (0, 1.0));
}
