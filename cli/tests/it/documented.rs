//! Every error code that occurs in the sources is documented, and every documented one occurs; links and commands of
//! the documentation lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use mesh_node::api::code;

use crate::harness::Place;

// All of the product but the table itself.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut dirs: Vec<PathBuf> =
        ["runtime/node/src", "runtime/plugin-host/src", "runtime/sim/src", "cli/src"]
            .map(|dir| root.join(dir))
            .into();
    let mut sources = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("api/code.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((path, text));
            }
        }
    }
    sources
}

fn codes_in(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("MESH-").filter_map(|(place, _)| text.get(place..place + 9)).filter(|code| {
        let rest = code.as_bytes();
        rest[5].is_ascii_uppercase() && rest[6..].iter().all(u8::is_ascii_digit)
    })
}

#[test]
fn every_code_in_the_sources_is_documented() {
    for (path, text) in sources() {
        for code in codes_in(&text) {
            assert!(code::find(code).is_some(), "{code} in {}", path.display());
        }
    }
}

#[test]
fn every_documented_code_is_used_somewhere() {
    let table =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/node/src/api/code.rs"))
            .unwrap();
    let used: BTreeSet<String> = sources()
        .into_iter()
        .flat_map(|(_, text)| {
            let named = text.match_indices("code::").map(|(place, _)| {
                text[place + 6..]
                    .chars()
                    .take_while(|c| c.is_ascii_uppercase() || *c == '_' || c.is_ascii_digit())
                    .collect()
            });
            named.chain(codes_in(&text).map(str::to_owned)).collect::<Vec<String>>()
        })
        .collect();

    for known in code::ALL {
        let line = table.lines().find(|line| line.contains(&format!("\"{}\"", known.id))).unwrap();
        let name = line.split_whitespace().next().unwrap();
        assert!(
            used.contains(name) || used.contains(known.id),
            "{} ({name}) is documented and never used",
            known.id
        );
    }
}

/// Everything that people read.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let below = |dir: &str| fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = ["", "docs", "docs/plugins", "tests"].into_iter().flat_map(below).collect();
    let dirs = ["plugins", "cli/templates", "tests"].into_iter().flat_map(below);
    pages.extend(dirs.map(|dir| dir.join("README.md")).filter(|page| page.exists()));
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    let with_text = |page: PathBuf| {
        let text = fs::read_to_string(&page).unwrap();
        (page, text)
    };
    pages.into_iter().map(with_text).collect()
}

#[test]
fn every_link_of_the_documentation_leads_to_a_file() {
    for (page, text) in pages() {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
            assert!(page.parent().unwrap().join(link).exists(), "{link} in {}", page.display());
        }
    }
}

/// What a page tells to type: lines of consoles, and what stands between backquotes. Without `meshctl` and remarks.
fn command_lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("$ ")?.split("   ").next());
    let spans = text.split('`').skip(1).step_by(2);
    let commands = lines.flat_map(|line| line.split("$(")).filter_map(|line| line.split(')').next());
    commands.chain(spans).filter_map(|line| line.strip_prefix("meshctl "))
}

/// The sub-commands that a line names: `sim run|show x.toml` is two.
fn sub_commands(line: &str) -> Vec<Vec<&str>> {
    let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '|');
    let words: Vec<&str> = line.split_whitespace().collect();
    let words = if words.first() == Some(&"-N") { &words[2..] } else { &words[..] };
    let names: Vec<&str> =
        words.iter().copied().take_while(|word| !word.starts_with('-')).take_while(is_name).collect();
    let Some((last, before)) = names.split_last() else { return vec![Vec::new()] };
    last.split('|').map(|last| [before, &[last]].concat()).collect()
}

#[test]
fn every_command_of_the_documentation_and_its_flags_are_known_to_help() {
    let (place, mut known) = (Place::new(), BTreeMap::new());
    for (page, text) in pages() {
        for line in command_lines(&text) {
            for names in sub_commands(line) {
                let help = known
                    .entry(names.join(" "))
                    .or_insert_with(|| place.run(&[&names[..], &["--help"]].concat()));
                assert_eq!(help.code, Some(0), "{line} in {}: {}", page.display(), help.stderr);
                let words = help
                    .stdout
                    .split(|c: char| c != '-' && !c.is_ascii_alphanumeric())
                    .collect::<BTreeSet<_>>();
                let flags = line.split_whitespace().filter(|word| word.starts_with("--"));
                for flag in flags.filter_map(|flag| flag.split('=').next()) {
                    assert!(words.contains(flag), "{flag} of {line} in {}", page.display());
                }
            }
        }
    }
}
