//! Projects in Rust: a crate with the SDK beside it.

use mesh_node::api::ApiError;
use mesh_plugin_host::Kind;

use super::lock::Locked;
use super::sdk;
use super::template::{File, Language, Project, bad_name, wit_files};

/// Rust, built with cargo for wasm32-unknown-unknown.
pub const LANGUAGE: Language = Language {
    name: "rust",
    needs: &[
        "Rust 1.95 with wasm32-unknown-unknown: rustup target add wasm32-unknown-unknown",
        "the crate wit-bindgen and what it needs, which the first build fetches from crates.io",
    ],
    tool: ("cargo", "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"),
    memory: "4MiB",
    build: template!("build.toml"),
    accepts,
    files,
};

/// Crates of these names would hide a crate of the language, or a directory of cargo.
const TAKEN: [&str; 11] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "mesh-sdk",
    "proc-macro",
    "self",
    "std",
    "test",
];

fn accepts(project: &Project) -> Result<(), ApiError> {
    let name = project.name.as_str();
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err(bad_name(name, "a crate's name starts with a letter"));
    }
    if TAKEN.contains(&name) || Locked::read().needs(name) {
        return Err(bad_name(name, "the project would hide a crate that it needs"));
    }
    Ok(())
}

fn files(project: &Project) -> Vec<File> {
    let locked = Locked::read();
    let sdk_manifest =
        project.fill(template!("sdk.toml")).replace("{{wit_bindgen}}", locked.version("wit-bindgen"));
    let mut files = vec![
        File::new("Cargo.toml", project.fill(template!("Cargo.toml"))),
        File::new("Cargo.lock", locked.of_project(&project.name)),
        File::new("README.md", project.fill(template!("README.md"))),
        File::new("src/lib.rs", source(project.kind)),
        File::new("sdk/Cargo.toml", sdk_manifest),
    ];
    files.extend(sdk::SOURCES.iter().map(|&(path, text)| File::new(format!("sdk/src/{path}"), text)));
    // The SDK's bindings are made from all of them.
    files.extend(wit_files());
    files
}

fn source(kind: Kind) -> &'static str {
    match kind {
        Kind::Routing => template!("route.rs"),
        Kind::Qos => template!("qos.rs"),
        Kind::Topology => template!("topology.rs"),
        Kind::Admission => template!("admission.rs"),
        Kind::Carry => template!("carry.rs"),
        Kind::Handler => template!("beacon.rs"),
    }
}

macro_rules! template {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/rust/", $file))
    };
}
use template;
