//! `cargo xtask test`: everything that runs code.

use crate::process::{Result, cargo, target_dir};
use crate::setup;
use crate::stage::Stage;
use crate::{floors, scan};

/// The guests' own tests, natively, each a plain struct.
pub const PLUGINS: Stage = Stage { name: "plugins", run: plugins };
/// The core is pure and nothing points upward.
pub const PURITY: Stage = Stage { name: "purity", run: purity };
/// The programs in `examples/` run to their end.
pub const EXAMPLES: Stage = Stage { name: "examples", run: examples };
/// The examples in the documentation.
pub const DOCTESTS: Stage = Stage { name: "doctests", run: doctests };

/// All stages, in order.
pub const STAGES: [Stage; 5] =
    [Stage { name: "workspace", run: workspace }, DOCTESTS, PLUGINS, PURITY, EXAMPLES];

/// Tells the tests where the program of a registry lies.
const REGISTRY_DIR: &str = "MESH_TEST_REGISTRY_DIR";
/// Tells the tests that no registry can be had here; without it they fail.
const WITHOUT_REGISTRY: &str = "MESH_TEST_WITHOUT_REGISTRY";
const EXAMPLE_NAMES: [&str; 4] = ["two_nodes", "publish_subscribe", "swap_a_policy", "simulate_a_policy"];

fn workspace() -> Result {
    units_and_integration("default")
}

/// As the stage `workspace`, with the profile for CI.
pub fn workspace_in_ci() -> Result {
    units_and_integration("ci")
}

fn units_and_integration(profile: &str) -> Result {
    setup::guest_target()?;
    // Some hostile guests bring WASI.
    setup::target(setup::PURE_TARGET)?;
    let without = setup::languages()?;
    setup::warn_without_wkg();
    let tests = if setup::has_nextest() {
        cargo(["nextest", "run", "--workspace", "--profile", profile])
    } else {
        eprintln!("setup: cargo-nextest is not installed, `cargo test` runs the tests");
        cargo(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])
    };
    let tests = without.into_iter().fold(tests, |tests, variable| tests.env(variable, "1"));
    match setup::registry() {
        Some(dir) => tests.env(REGISTRY_DIR, &dir.display().to_string()).run(),
        None => tests.env(WITHOUT_REGISTRY, "1").run(),
    }
}

fn doctests() -> Result {
    setup::guest_target()?;
    cargo(["test", "--workspace", "--doc"]).run()
}

fn plugins() -> Result {
    let target_dir = target_dir()?.join("plugins");
    cargo(["test", "--locked", "--manifest-path", "plugins/Cargo.toml", "--target-dir"]).arg(target_dir).run()
}

fn purity() -> Result {
    scan::check()?;
    floors::check()?;
    setup::target(setup::PURE_TARGET)?;
    cargo(["check", "--package", "mesh-proto", "--target", setup::PURE_TARGET]).run()
}

fn examples() -> Result {
    setup::guest_target()?;
    // No package is named, so that the features are those of the whole workspace, as for the tests: nothing
    // is built twice.
    EXAMPLE_NAMES.iter().try_for_each(|name| cargo(["run", "--quiet", "--example", name]).run())
}
