//! W18: WebAssembly that nobody wrote, from seeds: it is refused, or it runs within its limits beside a policy that
//! goes on deciding. The host never panics.

use arbitrary::Unstructured;
use mesh_plugin_host::{Grants, PolicySet, PolicySlot, StartWith, inspect, load, prepare_routing};
use mesh_proto::policy::Policies;
use wasm_smith::{Component, Config, Module};

use crate::guests::{ask, engine, settings, view};

const MODULES: u64 = 200;
const COMPONENTS: u64 = 400;
/// Bytes of chance that one of them is made of.
const CHANCE: usize = 2_048;

/// The bytes that a seed stands for.
fn chance(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; CHANCE];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What this engine can run, so that most of it gets beyond the validator.
fn runnable() -> Config {
    Config {
        max_imports: 0,
        gc_enabled: false,
        exceptions_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        compact_imports_enabled: false,
        ..Config::default()
    }
}

#[test]
fn modules_of_chance_beside_a_policy_are_refused_or_leave_it_deciding() {
    let mut running = 0;
    for seed in 0..MODULES {
        let module = Module::new(runnable(), &mut Unstructured::new(&chance(seed))).unwrap().to_bytes();
        let component = mesh_hostile::around(&module);

        let Ok(loaded) = load(&engine(), &component, Grants::NONE) else { continue };
        running += 1;
        let mut set = PolicySet::new(&engine());
        set.observe(0, &view());
        set.swap(prepare_routing(&loaded, &settings([])).unwrap(), 0, StartWith::Reset).unwrap();
        assert_eq!(ask(&mut set, 1, 16), 0, "seed {seed}");
        assert_eq!(set.status(PolicySlot::Route).faults, 0, "seed {seed}");
    }
    assert!(running > MODULES / 10, "only {running} came to run");
}

#[test]
fn components_of_chance_are_refused_with_a_code() {
    let mut read = 0;
    for seed in 0..COMPONENTS {
        let config = Config { max_components: 3, ..Config::default() };
        let component = Component::new(config, &mut Unstructured::new(&chance(seed))).unwrap().to_bytes();

        if let Ok(inspection) = inspect(&component) {
            read += 1;
            assert!(inspection.kind.is_none(), "seed {seed}");
        }

        let error = load(&engine(), &component, Grants::ALL).expect_err("no slot asks for it");
        assert!(error.code().starts_with("MESH-P1"), "seed {seed}: {error}");
    }
    assert!(read > COMPONENTS / 2, "only {read} could be read");
}

/// Bytes of a plugin in which chance has changed some: refused, or a plugin like any other.
#[test]
fn a_plugin_that_chance_has_changed_never_breaks_the_host() {
    let good = mesh_hostile::around(b"\0asm\x01\0\0\0");
    let mut refused = 0;
    for seed in 0..COMPONENTS {
        let chance = chance(seed);
        let mut bytes = good.clone();
        for step in chance.chunks_exact(4).take(1 + seed as usize % 8) {
            let at = u32::from_le_bytes([step[0], step[1], step[2], 0]) as usize % bytes.len();
            bytes[at] ^= step[3];
        }

        match load(&engine(), &bytes, Grants::ALL) {
            Ok(loaded) => drop(prepare_routing(&loaded, &settings([]))),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().len() < 1_000, "seed {seed}: {error}");
            }
        }
    }
    assert!(refused > COMPONENTS / 4, "only {refused} were refused");
}
