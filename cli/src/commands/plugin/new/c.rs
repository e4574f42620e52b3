//! Projects in C: plain clang with the bindings and the few functions of the C library that they use.

use mesh_plugin_host::Kind;

use super::template::{File, Language, Project, any_name, wit_dir};

/// C, built by clang for wasm32-unknown-unknown, without a WASI SDK.
pub const LANGUAGE: Language = Language {
    name: "c",
    needs: &["clang 14 or later, and lld: apt install clang lld"],
    tool: ("clang", "apt install clang lld"),
    memory: "2MiB",
    build: template!("build.toml"),
    accepts: any_name,
    files,
};

fn files(project: &Project) -> Vec<File> {
    let (source, [header, bindings]) = of_kind(project.kind);
    let mut files = vec![
        File::new("README.md", project.fill(template!("README.md"))),
        File::new("src/policy.c", source),
        File::new("src/settings.h", template!("settings.h")),
        File::new("sdk/plugin.h", header),
        File::new("sdk/plugin.c", bindings),
        File::new("sdk/libc.c", template!("sdk/libc.c")),
        File::new("sdk/stdlib.h", template!("sdk/stdlib.h")),
        File::new("sdk/string.h", template!("sdk/string.h")),
    ];
    files.extend(wit_dir(project.kind));
    files
}

fn of_kind(kind: Kind) -> (&'static str, [&'static str; 2]) {
    macro_rules! bindings {
        ($package:literal) => {
            [
                include_str!(concat!(env!("OUT_DIR"), "/c/", $package, "/plugin.h")),
                include_str!(concat!(env!("OUT_DIR"), "/c/", $package, "/plugin.c")),
            ]
        };
    }
    match kind {
        Kind::Routing => (template!("route.c"), bindings!("routing")),
        Kind::Qos => (template!("qos.c"), bindings!("qos")),
        Kind::Topology => (template!("topology.c"), bindings!("topology")),
        Kind::Admission => (template!("admission.c"), bindings!("admission")),
        Kind::Carry => (template!("carry.c"), bindings!("carry")),
        Kind::Handler => (template!("beacon.c"), bindings!("handler")),
    }
}

macro_rules! template {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/c/", $file))
    };
}
use template;
