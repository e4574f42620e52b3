//! A routing policy on thirty simulated nodes before any real one runs it: the built-in component beside the
//! native policy, and one that fails, which the host stands in for.
//!
//! Run it with `cargo run --example simulate_a_policy`.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

use mesh_sim::{Plugins, Report, Scenario, run};

/// Ten pairs talk over lossy links, while three nodes lose power.
const SCENARIO: &str = r#"
[scenario]
name = "three-go-dark"
nodes = 30
duration = "30s"

[links]
loss = "2%"

[[traffic]]
kind = "unicast"
pairs = 10
count = 250
every = "100ms"

[[fault]]
kind = "crash"
at = "10s"
count = 3

[expect]
delivery_ratio = ">= 99%"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let native = simulate("\"native\"")?;
    let component = simulate("\"built-in/latency\"")?;
    // It traps after twenty messages, as often as it is started anew.
    let faulty = simulate("{ source = \"built-in/faulty\", settings = { works_for = 20 } }")?;

    for (name, report) in [("native", &native), ("latency", &component), ("faulty", &faulty)] {
        println!(
            "{name:<8} {:.2} % delivered, {:.0} ms for 99 of 100, {} failed calls, quarantined on {} nodes, trace {}",
            report.delivery_ratio * 100.0,
            report.latency_p99_ms,
            report.plugin_faults,
            report.quarantines,
            &report.trace_hash[..12]
        );
    }
    // The same seed is the same run, on every machine.
    assert_eq!(simulate("\"built-in/latency\"")?.trace_hash, component.trace_hash);
    let is_well = [&native, &component, &faulty].into_iter().all(|report| report.passed);
    if is_well { Ok(()) } else { Err("a policy loses messages".into()) }
}

fn simulate(policy: &str) -> Result<Report, Box<dyn Error>> {
    let overrides = [format!("plugins.routing={policy}")];
    let scenario = Scenario::parse("three-go-dark.toml", SCENARIO, &overrides)?;
    let plugins = Plugins::load(&scenario, Path::new("."))?;
    Ok(run::run(&scenario, &plugins, &mut |_| ControlFlow::Continue(()))?.report)
}
