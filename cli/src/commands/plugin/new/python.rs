//! Projects in Python: a class, run by the CPython that its component carries.

use mesh_plugin_host::Kind;

use super::template::{File, Language, Project, any_name, wit_dir_of_used};

/// Python, made a component by componentize-py, without WASI.
pub const LANGUAGE: Language = Language {
    name: "python",
    needs: &["componentize-py 0.25: pip install componentize-py==0.25.1"],
    tool: ("componentize-py", "pip install componentize-py==0.25.1"),
    memory: "16MiB",
    build: template!("build.toml"),
    accepts: any_name,
    files,
};

fn files(project: &Project) -> Vec<File> {
    let mut files = vec![
        File::new("README.md", project.fill(template!("README.md"))),
        File::new("src/policy.py", source(project.kind)),
        File::new("src/settings.py", template!("settings.py")),
    ];
    files.extend(wit_dir_of_used(project.kind));
    files
}

fn source(kind: Kind) -> &'static str {
    match kind {
        Kind::Routing => template!("route.py"),
        Kind::Qos => template!("qos.py"),
        Kind::Topology => template!("topology.py"),
        Kind::Admission => template!("admission.py"),
        Kind::Carry => template!("carry.py"),
        Kind::Handler => template!("beacon.py"),
    }
}

macro_rules! template {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/python/", $file))
    };
}
use template;
