//! The floors of ARCHITECTURE.md: a crate depends on crates below it, and what makes a floor special stays
//! on it.

use serde_json::Value;

use crate::process::{Failure, Result, metadata};

/// Every crate of the workspace with those of ours that it may depend on.
const BELOW: [(&str, &[&str]); 9] = [
    ("mesh-proto", &[]),
    ("mesh-sdk", &[]),
    ("xtask", &[]),
    (FOR_TESTS, &[]),
    ("mesh-plugin-host", &["mesh-proto"]),
    ("mesh-node", &["mesh-proto", "mesh-plugin-host"]),
    ("mesh-sim", &["mesh-proto", "mesh-plugin-host"]),
    ("meshctl", &["mesh-proto", "mesh-plugin-host", "mesh-node", "mesh-sim"]),
    ("mesh-examples", &["mesh-proto", "mesh-plugin-host", "mesh-node", "mesh-sim"]),
];
/// Guests as bytes, which know nothing of the host: the tests of every crate may depend on it, and nothing that ships.
const FOR_TESTS: &str = "mesh-hostile";
/// Crates from outside with the only ones of ours that may use them.
const ONLY: [(&str, &[&str]); 6] = [
    ("wasmtime", &["mesh-plugin-host"]),
    ("quinn", &["mesh-node"]),
    ("iroh", &["mesh-node"]),
    ("redb", &["mesh-node"]),
    ("reqwest", &["mesh-node"]),
    ("tokio", &["mesh-node", "meshctl", "mesh-examples"]),
];

/// Looks at the dependencies of all workspaces.
pub fn check() -> Result {
    let mut findings = violations(&metadata("Cargo.toml")?, &|name| {
        BELOW.iter().find(|(of, _)| *of == name).map(|(_, below)| *below)
    });
    findings.extend(violations(&metadata("plugins/Cargo.toml")?, &|_| Some(&["mesh-sdk"])));
    findings.extend(violations(&metadata("tests/hostile/Cargo.toml")?, &|_| Some(&[])));
    if findings.is_empty() { Ok(()) } else { Err(Failure::new(findings.join("\n       "))) }
}

fn violations(metadata: &Value, below: &dyn Fn(&str) -> Option<&'static [&'static str]>) -> Vec<String> {
    let mut out = Vec::new();
    for package in list(&metadata["packages"]) {
        let name = text(&package["name"]);
        let Some(below) = below(name) else {
            out.push(format!("{name} has no floor: give it one in xtask/src/floors.rs"));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let on = text(&dependency["name"]);
            let is_ours = dependency["path"].is_string();
            let is_for_tests = on == FOR_TESTS && dependency["kind"] == "dev";
            // For its tests a crate may ask itself for more features.
            if is_ours && on != name && !is_for_tests && !below.contains(&on) {
                out.push(format!("{name} depends on {on}, which is not below it"));
            }
            if ONLY.iter().any(|(only, by)| *only == on && !by.contains(&name)) {
                out.push(format!("{name} depends on {on}, which belongs to another floor"));
            }
        }
    }
    out
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(name: &str, on: &str, path: Option<&str>, kind: Option<&str>) -> usize {
        let dependency = json!({ "name": on, "path": path, "kind": kind });
        let metadata = json!({ "packages": [{ "name": name, "dependencies": [dependency] }] });
        let below = |name: &str| BELOW.iter().find(|(of, _)| *of == name).map(|(_, below)| *below);
        violations(&metadata, &below).len()
    }

    #[test]
    fn an_edge_that_points_upward_or_to_another_floors_crate_is_found() {
        for (name, on, path, kind, expected) in [
            ("mesh-node", "mesh-proto", Some("p"), None, 0),
            ("mesh-proto", "mesh-proto", Some("p"), None, 0),
            ("mesh-proto", "mesh-node", Some("p"), None, 1),
            ("mesh-plugin-host", "mesh-node", Some("p"), None, 1),
            ("mesh-sim", "mesh-node", Some("p"), None, 1),
            ("mesh-proto", "bytes", None, None, 0),
            ("mesh-proto", "tokio", None, None, 1),
            ("mesh-node", "wasmtime", None, None, 1),
            ("mesh-sim", "reqwest", None, None, 1),
            ("mesh-node", "mesh-hostile", Some("p"), Some("dev"), 0),
            ("mesh-node", "mesh-hostile", Some("p"), None, 1),
            ("mesh-sim", "mesh-node", Some("p"), Some("dev"), 1),
            ("somebody-new", "bytes", None, None, 1),
        ] {
            assert_eq!(found(name, on, path, kind), expected, "{name} -> {on}");
        }
    }
}
