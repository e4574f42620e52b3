//! What a manifest claims, held against the component and against the limits of the host.

use std::time::Duration;

use mesh_plugin_host::inspect::Needs;
use mesh_plugin_host::manifest::Manifest;
use mesh_plugin_host::{Inspection, Kind, limits};

use super::Finding;
use crate::args;

/// Returns the grants that a manifest asks for.
pub fn asked(manifest: &Manifest) -> Vec<String> {
    manifest.grants.iter().map(|grant| grant.name.clone()).collect()
}

/// Checks every claim that the loader does not.
pub fn check(manifest: &Manifest, seen: &Inspection, errors: &mut Vec<Finding>, warnings: &mut Vec<Finding>) {
    on_words(manifest, seen, warnings);
    on_slots(manifest, seen.kind, errors);
    on_grants(manifest, seen, errors, warnings);
    on_limits(manifest, seen.kind, errors);
}

fn on_words(manifest: &Manifest, seen: &Inspection, warnings: &mut Vec<Finding>) {
    let plugin = &manifest.plugin;
    if plugin.license.is_empty() {
        let remedy = "license = \"Apache-2.0\", or another SPDX expression";
        warnings.push(Finding::new("it has no licence, so nobody may hand it on", remedy));
    }
    if plugin.description.is_empty() {
        warnings.push(Finding::new("it has no description", "description = \"what it does, in a sentence\""));
    }
    if plugin.world.is_empty() {
        let world = seen.kind.map_or("mesh:routing@0.1.0", Kind::world);
        warnings.push(Finding::new("it does not say its world", format!("world = \"{world}\"")));
    }
    if seen.is_pure && !plugin.pure {
        let what = "it imports nothing but types and does not say so";
        warnings.push(Finding::new(what, "pure = true, so that a later import is noticed"));
    }
}

fn on_slots(manifest: &Manifest, kind: Option<Kind>, errors: &mut Vec<Finding>) {
    let Some(kind) = kind else { return };
    for slot in manifest.plugin.slots.iter().filter(|slot| *slot != kind.slot()) {
        let what = format!("it says that it fits the slot {slot}, and a {kind} plugin fits {}", kind.slot());
        errors.push(Finding::new(what, format!("slots = [\"{}\"]", kind.slot())));
    }
}

fn on_grants(manifest: &Manifest, seen: &Inspection, errors: &mut Vec<Finding>, warnings: &mut Vec<Finding>) {
    let needed: Vec<&str> = seen
        .imports
        .iter()
        .filter_map(|import| match import.needs {
            Needs::Grant(grant) => Some(grant),
            _ => None,
        })
        .collect();
    let asked = asked(manifest);
    for grant in needed.iter().filter(|grant| !asked.iter().any(|asked| asked == *grant)) {
        let what = format!("it needs {grant}, and its manifest does not ask for it");
        errors.push(Finding::new(what, format!("[[grants]] with name = \"{grant}\" and why")));
    }
    for wish in &manifest.grants {
        if !needed.contains(&wish.name.as_str()) {
            let what = format!("it asks for {} and does not use it", wish.name);
            warnings.push(Finding::new(what, "leave it out: whoever installs it is asked about it"));
        } else if wish.why.is_empty() {
            let what = format!("it asks for {} and does not say what for", wish.name);
            warnings.push(Finding::new(what, "why = \"…\""));
        }
    }
}

fn on_limits(manifest: &Manifest, kind: Option<Kind>, errors: &mut Vec<Finding>) {
    let most = if kind == Some(Kind::Handler) { limits::HANDLER_CALL } else { limits::POLICY_CALL };
    if let Some(text) = &manifest.limits.deadline {
        match duration(text) {
            Some(wanted) if wanted <= most => {}
            Some(_) => {
                let what = format!("its deadline of {text} is longer than a node gives, which is {most:?}");
                errors.push(Finding::new(what, format!("deadline = \"{}ms\"", most.as_millis())));
            }
            None => {
                errors.push(Finding::new(format!("its deadline {text:?} is no time"), "deadline = \"1ms\""))
            }
        }
    }
    if let Some(text) = &manifest.limits.memory {
        match args::size(text).ok() {
            Some(wanted) if wanted <= limits::MEMORY_BYTES as u64 => {}
            Some(_) => {
                let most = limits::MEMORY_BYTES >> 20;
                let what = format!("its memory of {text} is more than a node gives, which is {most} MiB");
                errors.push(Finding::new(what, format!("memory = \"{most}MiB\"")));
            }
            None => errors.push(Finding::new(format!("its memory {text:?} is no size"), "memory = \"2MiB\"")),
        }
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..digits].parse().ok()?, text[digits..].trim()))
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    match unit {
        "us" | "µs" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" | "min" => seconds(60),
        "h" => seconds(3600),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, want) in
            [("1ms", Some(1_000)), ("50us", Some(50)), ("2 s", Some(2_000_000)), ("5", None), ("ms", None)]
        {
            assert_eq!(duration(text).map(|time| time.as_micros() as u64), want, "{text}");
        }
    }
}
