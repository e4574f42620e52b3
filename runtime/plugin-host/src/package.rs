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
