//! The description of a world, for modules whose compiler leaves none: C, and whatever else makes plain modules.

use wasmparser::{Parser, Payload};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::interfaces;
use crate::load::Kind;

/// Bindings of Rust and others leave it in the module, under a name that starts with this.
const SECTION: &str = "component-type";

/// Says whether a module carries the description of its world. One that cannot be read has none.
pub fn is_described(core: &[u8]) -> bool {
    let mut payloads = Parser::new(0).parse_all(core);
    payloads.any(|payload| {
        matches!(payload, Ok(Payload::CustomSection(section)) if section.name().starts_with(SECTION))
    })
}

/// Adds the description of the world of `kind`. The error is for people.
pub fn describe(core: &[u8], kind: Kind) -> Result<Vec<u8>, String> {
    let said = |error: &dyn std::fmt::Display| format!("{error:#}");
    let mut resolve = Resolve::default();
    for package in [interfaces::TYPES, interfaces::of_kind(kind)] {
        resolve.push_source(package.file, package.text).map_err(|error| said(&error))?;
    }
    let world = resolve.packages.iter().find_map(|(_, package)| package.worlds.values().next().copied());
    let world = world.ok_or_else(|| format!("there is no world for {kind}"))?;
    let mut module = core.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .map_err(|error| said(&error))?;
    Ok(module)
}
