//! Makes a plugin out of what a compiler leaves, and a file to hand on out of a plugin.

mod archive;
mod component;
mod world;

pub use archive::{MAX_STATEMENT, MAX_STATEMENTS, Package, PackageError, is_package};

use std::borrow::Cow;

use crate::load::Kind;
use crate::manifest::{Manifest, ManifestError, SECTION};
use crate::settings::clip;

/// Why no component comes out.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The module does not fit the world that it was built for, or carries none.
    #[error("the module cannot be encoded as a component: {reason}")]
    Module {
        /// What is wrong.
        reason: String,
    },
}

/// Encodes a core module for `wasm32-unknown-unknown` as a component that carries its manifest. A module that does
/// not say which world it is for, as those in C, gets the world of the manifest's slot. Takes about 15 ms.
///
/// # Errors
/// When the manifest is wrong or the module does not fit its world.
pub fn encode(core: &[u8], manifest: &str) -> Result<Vec<u8>, EncodeError> {
    let slots = Manifest::parse(manifest.as_bytes())?.plugin.slots;
    let failed = |reason| EncodeError::Module { reason: clip(reason) };
    let kind = Kind::ALL.into_iter().find(|kind| slots.first().is_some_and(|slot| slot == kind.slot()));
    let module = match kind {
        Some(kind) if !world::is_described(core) => Cow::Owned(world::describe(core, kind).map_err(failed)?),
        _ => Cow::Borrowed(core),
    };
    component::encode(&module, SECTION, manifest.as_bytes()).map_err(failed)
}

/// Puts a manifest into a component in place of the one that it has.
///
/// # Errors
/// When the manifest is wrong or the bytes are no component.
pub fn attach(component: &[u8], manifest: &str) -> Result<Vec<u8>, EncodeError> {
    Manifest::parse(manifest.as_bytes())?;
    let bare = without_manifest(component)
        .ok_or_else(|| EncodeError::Module { reason: "it is no component, or it is cut off".to_owned() })?;
    Ok(component::with_section(bare, SECTION, manifest.as_bytes()))
}

/// Leaves out the top-level custom sections that hold a manifest; `None` for what is no component.
fn without_manifest(component: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = component.split_at_checked(HEADER)?;
    let mut bare = head.to_vec();
    while let [id, after @ ..] = rest {
        let (len, digits) = read_leb128(after)?;
        let content = after.get(digits..)?.get(..len)?;
        let (section, next) = rest.split_at_checked(1 + digits + len)?;
        let is_manifest = *id == 0
            && read_leb128(content).is_some_and(|(len, digits)| {
                content.get(digits..).and_then(|name| name.get(..len)) == Some(SECTION.as_bytes())
            });
        if !is_manifest {
            bare.extend_from_slice(section);
        }
        rest = next;
    }
    Some(bare)
}

/// Magic number, version and layer.
const HEADER: usize = 8;

/// Returns a number and how many bytes it took; at most five, as the format says.
fn read_leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let digits = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)? + 1;
    let value = bytes[..digits].iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((usize::try_from(value).ok()?, digits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;
    use crate::inspect::inspect;

    #[test]
    fn a_manifest_takes_the_place_of_the_one_before_and_the_code_stays() {
        let manifest = |version| format!("[plugin]\nname = \"acme/fast\"\nversion = \"{version}\"");

        let once = attach(builtin::LATENCY, &manifest("1.0.0")).unwrap();
        let twice = attach(&once, &manifest("2.0.0")).unwrap();

        let inspection = inspect(&twice).unwrap();
        let sections = inspection.custom_sections.iter().filter(|(name, _)| name == SECTION);
        assert_eq!(sections.count(), 1);
        assert_eq!(inspection.manifest.unwrap().plugin.version, "2.0.0");
        assert_eq!(once.len(), twice.len());
        assert!(matches!(attach(b"\0asm", &manifest("1.0.0")), Err(EncodeError::Module { .. })));
    }
}
