//! The guest SDK and the interfaces, embedded when this program was built: a project fetches neither.

/// The packages of `wit/`, each with its text.
pub const WIT: &[(&str, &str)] = &[
    ("types", wit!("types")),
    ("routing", wit!("routing")),
    ("qos", wit!("qos")),
    ("topology", wit!("topology")),
    ("handler", wit!("handler")),
];

/// The sources of the Rust SDK, below `sdk-guest/src`.
pub const SOURCES: &[(&str, &str)] = &[
    sources!("glue.rs"),
    sources!("glue/handler_glue.rs"),
    sources!("glue/qos_glue.rs"),
    sources!("glue/routing_glue.rs"),
    sources!("glue/topology_glue.rs"),
    sources!("handler.rs"),
    sources!("kv.rs"),
    sources!("lib.rs"),
    sources!("log.rs"),
    sources!("qos.rs"),
    sources!("routing.rs"),
    sources!("settings.rs"),
    sources!("topology.rs"),
];

macro_rules! wit {
    ($package:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/", $package, "/", $package, ".wit"))
    };
}
macro_rules! sources {
    ($file:literal) => {
        ($file, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk-guest/src/", $file)))
    };
}
use {sources, wit};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn below(dir: &Path) -> Vec<String> {
        let mut out = Vec::new();
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            match entry.path().is_dir() {
                true => out.extend(below(&entry.path()).into_iter().map(|file| format!("{name}/{file}"))),
                false => out.push(name),
            }
        }
        out.sort();
        out
    }

    #[test]
    fn every_file_of_the_sdk_and_every_interface_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut packages: Vec<String> =
            WIT.iter().map(|(package, _)| format!("{package}/{package}.wit")).collect();
        packages.sort();

        assert_eq!(below(&root.join("wit")), packages);
        assert_eq!(
            below(&root.join("sdk-guest/src")),
            SOURCES.iter().map(|(file, _)| *file).collect::<Vec<_>>()
        );
    }
}
