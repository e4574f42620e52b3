//! Makes a plugin out of what a compiler leaves, and a file to hand on out of a plugin.

mod archive;
mod component;

pub use archive::{MAX_STATEMENT, MAX_STATEMENTS, Package, PackageError, is_package};

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

/// Encodes a core module, built with the SDK for `wasm32-unknown-unknown`, as a component that carries its
/// manifest. Takes about 15 ms.
///
/// # Errors
/// When the manifest is wrong or the module does not fit its world.
pub fn encode(core: &[u8], manifest: &str) -> Result<Vec<u8>, EncodeError> {
    Manifest::parse(manifest.as_bytes())?;
    component::encode(core, SECTION, manifest.as_bytes())
        .map_err(|reason| EncodeError::Module { reason: clip(reason) })
}
