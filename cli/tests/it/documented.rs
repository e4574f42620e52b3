//! Every error code that occurs in the sources is documented, and every documented one occurs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mesh_node::api::code;

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

#[test]
fn every_link_of_the_documentation_leads_to_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut pages: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "SECURITY.md"].map(|page| root.join(page)).into();
    for dir in ["docs", "docs/plugins"] {
        let entries = fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
            assert!(page.parent().unwrap().join(link).exists(), "{link} in {}", page.display());
        }
    }
}
