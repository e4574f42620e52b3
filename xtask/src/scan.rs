//! Words that must not stand in a crate's source. Catches early and by name what types and lints may not see.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Failure, Result, root};

/// A directory, what must not stand there outside of `tests.rs`, and why.
const RULES: [(&str, &[&str], &str); 4] = [
    (
        "runtime/proto/src",
        &["async fn", "async move", ".await", "tokio", "std::net", "std::fs", "std::thread", "std::env"],
        "the core does no I/O and waits for nothing",
    ),
    (
        "runtime/proto/src",
        &["Instant::now(", "SystemTime", "thread_rng", "getrandom", "Mutex<", "RwLock<"],
        "time and randomness are arguments of the core, and it has one owner",
    ),
    ("runtime/plugin-host/src", &["std::net", "tokio", "println!"], "the plugin host has no sockets"),
    (
        "runtime/node/src",
        &["println!", "env::var(", "env::var_os(", "home_dir("],
        "a node prints nothing and never reads its environment",
    ),
];

/// Looks through the sources.
pub fn check() -> Result {
    let mut findings = Vec::new();
    for (dir, words, why) in RULES {
        for file in sources(&root().join(dir))? {
            let source = fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
            let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
            let found = find(&source, words).into_iter();
            findings.extend(found.map(|(line, word)| format!("{name}:{line}: `{word}`, but {why}")));
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(Failure::new(findings.join("\n       "))) }
}

/// Returns the lines, from 1, where a word stands outside of a comment.
fn find<'a>(source: &str, words: &[&'a str]) -> Vec<(usize, &'a str)> {
    let lines = source.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|(n, line)| {
            words.iter().filter(move |&&word| line.contains(word)).map(move |&w| (n + 1, w))
        })
        .collect()
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| unreadable(dir, &error))? {
        let path = entry.map_err(|error| unreadable(dir, &error))?.path();
        if path.is_dir() {
            out.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_word_is_found_in_code_and_not_in_a_comment() {
        let source = "// tokio is not here\nfn f() {}\n    /// tokio\nuse tokio::net; // and .await\n";

        assert_eq!(find(source, &["tokio", ".await"]), [(4, "tokio"), (4, ".await")]);
    }
}
