//! The line `min_host` of a manifest, where its author leaves it to the build.

use mesh_plugin_host::Manifest;
use mesh_plugin_host::inspect::inspect;
use mesh_plugin_host::interfaces::{imported_functions, lowest_host};

/// Returns the manifest with the lowest host that the component runs on; `None` where it names one already, where no
/// host has everything, and where the line has no safe place.
pub fn filled(manifest: &str, component: &[u8]) -> Option<String> {
    let read = Manifest::parse(manifest.as_bytes()).ok()?;
    if read.plugin.min_host.is_some() {
        return None;
    }
    let seen = inspect(component).ok()?;
    let lowest = lowest_host(&seen, &imported_functions(component).ok()?)?;
    let filled = with_line(manifest, lowest)?;
    // The place was found by its looks. What is read must be what was read before, and this.
    let mut wanted = read;
    wanted.plugin.min_host = Some(lowest.to_owned());
    (Manifest::parse(filled.as_bytes()).ok()? == wanted).then_some(filled)
}

/// Puts it behind the head of the table, in front of whatever the author wrote last there.
fn with_line(manifest: &str, lowest: &str) -> Option<String> {
    let mut at = 0;
    for line in manifest.split_inclusive('\n') {
        at += line.len();
        if line.trim() == "[plugin]" {
            let (head, rest) = manifest.split_at(at);
            let end = if head.ends_with('\n') { "" } else { "\n" };
            return Some(format!("{head}{end}min_host = \"{lowest}\"\n{rest}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_goes_into_the_table_and_nowhere_else() {
        for (manifest, want) in [
            ("[plugin]\nname = \"a/b\"\n", Some("[plugin]\nmin_host = \"0.1.0\"\nname = \"a/b\"\n")),
            ("# x\n  [plugin]\r\nname = 1", Some("# x\n  [plugin]\r\nmin_host = \"0.1.0\"\nname = 1")),
            ("[state]\nschema = 1\n[plugin]", Some("[state]\nschema = 1\n[plugin]\nmin_host = \"0.1.0\"\n")),
            ("plugin = { name = \"a/b\" }\n", None),
            ("# [plugin]\n", None),
        ] {
            assert_eq!(with_line(manifest, "0.1.0").as_deref(), want, "{manifest:?}");
        }
    }
}
