//! The guest SDK, embedded when this program was built: a project fetches nothing of it.

/// The sources of the Rust SDK, below `sdk-guest/src`.
pub const SOURCES: &[(&str, &str)] = &[
    sources!("admission.rs"),
    sources!("carry.rs"),
    sources!("glue.rs"),
    sources!("glue/admission_glue.rs"),
    sources!("glue/carry_glue.rs"),
    sources!("glue/handler_glue.rs"),
    sources!("glue/panic_note.rs"),
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

macro_rules! sources {
    ($file:literal) => {
        ($file, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk-guest/src/", $file)))
    };
}
use sources;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::commands::plugin::new::template::wit_files;

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
        let mut interfaces: Vec<String> = wit_files().into_iter().map(|file| file.path).collect();
        interfaces.sort();

        let there: Vec<String> = below(&root.join("wit")).iter().map(|file| format!("wit/{file}")).collect();
        assert_eq!(there, interfaces);
        assert_eq!(
            below(&root.join("sdk-guest/src")),
            SOURCES.iter().map(|(file, _)| *file).collect::<Vec<_>>()
        );
    }
}
