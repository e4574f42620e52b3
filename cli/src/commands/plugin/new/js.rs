//! Projects in JavaScript: a module, run by the QuickJS engine that its component carries.

use mesh_plugin_host::Kind;

use super::template::{File, Language, Project, any_name, wit_dir_of_used};

/// JavaScript, made a component by componentize-qjs, without WASI.
pub const LANGUAGE: Language = Language {
    name: "js",
    needs: &["Node.js 18 or later, and npx; the first build fetches componentize-qjs from the npm registry"],
    tool: ("npx", "apt install nodejs npm"),
    memory: "8MiB",
    build: template!("build.toml"),
    accepts: any_name,
    files,
};

fn files(project: &Project) -> Vec<File> {
    let mut files = vec![
        File::new("README.md", project.fill(template!("README.md"))),
        File::new("src/policy.js", source(project.kind)),
        File::new("src/settings.js", template!("settings.js")),
    ];
    files.extend(wit_dir_of_used(project.kind));
    files
}

fn source(kind: Kind) -> &'static str {
    match kind {
        Kind::Routing => template!("route.js"),
        Kind::Qos => template!("qos.js"),
        Kind::Topology => template!("topology.js"),
        Kind::Admission => template!("admission.js"),
        Kind::Carry => template!("carry.js"),
        Kind::Handler => template!("beacon.js"),
    }
}

macro_rules! template {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/js/", $file))
    };
}
use template;
