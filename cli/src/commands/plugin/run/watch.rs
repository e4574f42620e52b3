//! Which files of a project have changed. Looks at the files themselves instead of listening for events: the few
//! files of a plugin cost less than a millisecond, it works on every file system and in containers, and what
//! happens during a build cannot be missed, because the next look compares with the one before the build.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;

use crate::commands::plugin::source::Source;

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(100);
/// Time in which nothing more must happen before a build: editors write in several steps.
const QUIET: Duration = Duration::from_millis(30);
/// Files that are looked at, and directories below each other; more are no plugin's sources.
const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 16;
/// What builds leave, and what is nobody's source.
const OUTPUTS: [&str; 6] = ["target", "node_modules", "dist", "build", "__pycache__", ".git"];
/// What is watched when the manifest names nothing.
const DEFAULT: [&str; 3] = ["src/**", "Cargo.toml", "plugin.toml"];

type Seen = BTreeMap<String, (Option<SystemTime>, u64)>;

/// The files of a project as they were last seen.
pub struct Watch {
    dir: PathBuf,
    globs: Vec<String>,
    outputs: Vec<String>,
    seen: Seen,
}

impl Watch {
    /// Watches what the manifest names, and the manifest itself.
    pub fn of(source: &Source) -> Watch {
        let mut watch = Watch { dir: source.dir.clone(), globs: vec![], outputs: vec![], seen: Seen::new() };
        watch.name_files(source);
        watch.seen = watch.look();
        watch
    }

    /// Watches what another version of the manifest names; what it names anew counts as seen.
    pub fn follow(&mut self, source: &Source) {
        let globs = self.globs.clone();
        self.name_files(source);
        if self.globs != globs {
            self.seen = self.look();
        }
    }

    fn name_files(&mut self, source: &Source) {
        let build = &source.manifest.build;
        self.globs =
            if build.watch.is_empty() { DEFAULT.map(String::from).into() } else { build.watch.clone() };
        self.globs.push("plugin.toml".to_owned());
        let component = format!("{}.wasm", source.name());
        let record = build.artifact.as_ref().map(|artifact| format!("{artifact}.inputs"));
        self.outputs = build.artifact.iter().cloned().chain(record).chain([component]).collect();
    }

    /// Returns the files, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.seen.keys().map(String::as_str)
    }

    /// Waits for changes, and returns the files and when the first of them was noticed.
    pub async fn changed(&mut self) -> (Vec<String>, Instant) {
        loop {
            let now = self.look();
            if now != self.seen {
                let noticed = Instant::now();
                let settled = self.settled(now).await;
                let changed = differences(&self.seen, &settled);
                self.seen = settled;
                // A file that was put back as it was is no change.
                if !changed.is_empty() {
                    return (changed, noticed);
                }
            }
            sleep(PERIOD).await;
        }
    }

    async fn settled(&self, mut last: Seen) -> Seen {
        loop {
            sleep(QUIET).await;
            let now = self.look();
            if now == last {
                return now;
            }
            last = now;
        }
    }

    fn look(&self) -> Seen {
        let mut seen = Seen::new();
        self.look_below(&self.dir, "", 0, &mut seen);
        seen
    }

    fn look_below(&self, dir: &Path, prefix: &str, depth: usize, seen: &mut Seen) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(kind) = entry.file_type() else { continue };
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            if kind.is_dir() {
                if depth < MAX_DEPTH && !OUTPUTS.contains(&name.as_str()) {
                    self.look_below(&entry.path(), &path, depth + 1, seen);
                }
            } else if self.is_watched(&path)
                && seen.len() < MAX_FILES
                && let Ok(facts) = entry.path().metadata()
            {
                seen.insert(path, (facts.modified().ok(), facts.len()));
            }
        }
    }

    fn is_watched(&self, path: &str) -> bool {
        !self.outputs.iter().any(|output| output == path) && self.globs.iter().any(|glob| fits(glob, path))
    }
}

fn differences(before: &Seen, now: &Seen) -> Vec<String> {
    let new = now.iter().filter(|(path, facts)| before.get(*path) != Some(facts)).map(|(path, _)| path);
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    new.chain(gone).cloned().collect()
}

/// Says whether a path fits a glob: `*` and `?` stand for what is within one name, `**` for any names.
fn fits(glob: &str, path: &str) -> bool {
    let glob: Vec<&str> = glob.trim_start_matches("./").split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    fits_names(&glob, &path)
}

fn fits_names(glob: &[&str], path: &[&str]) -> bool {
    match (glob, path) {
        ([], []) => true,
        (["**"], rest) => !rest.is_empty(),
        (["**", tail @ ..], _) => (0..=path.len()).any(|skip| fits_names(tail, &path[skip..])),
        ([name, glob @ ..], [first, path @ ..]) => {
            fits_name(name.as_bytes(), first.as_bytes()) && fits_names(glob, path)
        }
        _ => false,
    }
}

fn fits_name(glob: &[u8], name: &[u8]) -> bool {
    match (glob, name) {
        ([], []) => true,
        ([b'*', tail @ ..], _) => (0..=name.len()).any(|skip| fits_name(tail, &name[skip..])),
        ([b'?', glob @ ..], [_, name @ ..]) => fits_name(glob, name),
        ([one, glob @ ..], [other, name @ ..]) => one == other && fits_name(glob, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use mesh_plugin_host::Manifest;

    use super::*;

    #[test]
    fn globs_fit_names_and_directories() {
        for (glob, path, want) in [
            ("src/**", "src/lib.rs", true),
            ("src/**", "src/a/b.rs", true),
            ("src/**", "src", false),
            ("src/**", "other/src/lib.rs", false),
            ("**/*.py", "app.py", true),
            ("**/*.py", "a/b/app.py", true),
            ("*.toml", "plugin.toml", true),
            ("*.toml", "a/plugin.toml", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("./x", "x", true),
        ] {
            assert_eq!(fits(glob, path), want, "{glob} {path}");
        }
    }

    fn project() -> (tempfile::TempDir, Source) {
        let dir = tempfile::tempdir().unwrap();
        let text = "[plugin]\nname = \"acme/fast\"\nversion = \"1.0.0\"\n[build]\nwatch = [\"**\"]\n";
        fs::create_dir_all(dir.path().join("src")).unwrap();
        fs::create_dir_all(dir.path().join("target/release")).unwrap();
        fs::write(dir.path().join("plugin.toml"), text).unwrap();
        fs::write(dir.path().join("src/lib.rs"), "1").unwrap();
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        let network = crate::commands::plugin::source::Network::Forbidden;
        let source = Source { dir: dir.path().to_owned(), manifest, manifest_text: text.to_owned(), network };
        (dir, source)
    }

    #[test]
    fn what_a_build_leaves_is_no_change_and_a_new_a_longer_and_a_gone_file_are() {
        let (dir, source) = project();
        let watch = Watch::of(&source);
        let write = |path: &str, text: &str| fs::write(dir.path().join(path), text).unwrap();

        write("target/release/fast.wasm", "built");
        write("fast.wasm", "built");
        assert_eq!(differences(&watch.seen, &watch.look()), [""; 0]);

        write("src/lib.rs", "longer");
        write("src/new.rs", "");
        fs::remove_file(dir.path().join("plugin.toml")).unwrap();
        assert_eq!(differences(&watch.seen, &watch.look()), ["src/lib.rs", "src/new.rs", "plugin.toml"]);
    }

    #[test]
    fn what_changes_while_nobody_looks_is_found_by_the_next_look() {
        let (dir, source) = project();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut watch = Watch::of(&source);
            fs::write(dir.path().join("src/lib.rs"), "first").unwrap();
            assert_eq!(watch.changed().await.0, ["src/lib.rs"]);

            // As during a build.
            fs::write(dir.path().join("src/lib.rs"), "and again").unwrap();

            assert_eq!(watch.changed().await.0, ["src/lib.rs"]);
        });
    }
}
