//! What a build was made of: a digest beside what the command of `[build]` left, so that the same sources are not built
//! twice. Not every tool builds the same bytes twice, and a test of other bytes is a test of another revision.

use std::fs;
use std::path::{Path, PathBuf};

use crate::commands::plugin::run::watch::Watch;
use crate::commands::plugin::source::Source;

/// Says what one file of a record is of.
const FORMAT: &str = "meshctl.inputs/v1";
/// Bytes of one input that are read; a longer one is no source.
const MAX_INPUT: u64 = 64 << 20;

/// The inputs of a build, as they were when it began.
pub struct Inputs {
    artifact: PathBuf,
    digest: blake3::Hash,
}

impl Inputs {
    /// Reads what the manifest says that the build depends on; `None` for a crate, which cargo knows better, and for a
    /// project that does not say it.
    pub fn of(source: &Source) -> Option<Inputs> {
        let build = &source.manifest.build;
        let artifact = source.dir.join(build.artifact.as_ref()?);
        if build.watch.is_empty() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        for file in Watch::of(source).files() {
            let path = source.dir.join(file);
            if path.metadata().ok()?.len() > MAX_INPUT {
                return None;
            }
            let bytes = fs::read(path).ok()?;
            // Lengths, or what ends one file could begin the next.
            hasher.update(&(file.len() as u64).to_le_bytes()).update(file.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
        Some(Inputs { artifact, digest: hasher.finalize() })
    }

    /// Returns what was built of the same inputs and is as it was left; `None` when there is no such thing.
    pub fn built(&self) -> Option<PathBuf> {
        let record = fs::read_to_string(self.record()).ok()?;
        let artifact = fs::read(&self.artifact).ok()?;
        (record == self.text(&artifact)).then(|| self.artifact.clone())
    }

    /// Notes what was built of them.
    pub fn note(&self) {
        // Without a record the next one builds again, which is slower and not wrong.
        if let Ok(artifact) = fs::read(&self.artifact) {
            let _ = fs::write(self.record(), self.text(&artifact));
        }
    }

    fn text(&self, artifact: &[u8]) -> String {
        format!("{FORMAT}\ninputs {}\nartifact {}\n", self.digest.to_hex(), blake3::hash(artifact).to_hex())
    }

    fn record(&self) -> PathBuf {
        let name = self.artifact.file_name().unwrap_or_default().to_string_lossy();
        self.artifact.parent().unwrap_or(Path::new("")).join(format!("{name}.inputs"))
    }
}

#[cfg(test)]
mod tests {
    use mesh_plugin_host::Manifest;

    use super::*;

    #[test]
    fn what_was_built_counts_until_a_source_or_the_build_itself_changes() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[plugin]\nname = \"acme/fast\"\nversion = \"1.0.0\"\n[build]\ncommand = \"true\"\n\
                    artifact = \"build/plugin.wasm\"\nwatch = [\"src/**\"]\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        let network = crate::commands::plugin::source::Network::Forbidden;
        let source = Source { dir: dir.path().to_owned(), manifest, manifest_text: text.to_owned(), network };
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let built = || Inputs::of(&source).unwrap().built().is_some();
        write("plugin.toml", text);
        write("src/policy.py", "1");
        assert!(!built(), "nothing was built");
        let inputs = Inputs::of(&source).unwrap();
        write("build/plugin.wasm", "built of 1");
        inputs.note();

        write("src/policy.py", "1");
        assert!(built(), "the same content");
        write("src/policy.py", "2");
        assert!(!built(), "another source");
        write("src/policy.py", "1");
        write("build/plugin.wasm", "somebody else's");
        assert!(!built(), "another artifact");
    }
}
