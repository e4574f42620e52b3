//! Makes a plugin out of what a compiler leaves: a core module and a manifest become one component.

use wit_component::ComponentEncoder;

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
    let component = ComponentEncoder::default()
        .validate(true)
        .module(core)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| EncodeError::Module { reason: clip(format!("{error:#}")) })?;
    Ok(with_section(component, SECTION, manifest.as_bytes()))
}

/// Appends a custom section: id 0, length, length of the name, name, data.
fn with_section(mut component: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    let mut content = leb128(name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    component.push(0);
    component.extend(leb128(content.len()));
    component.extend(content);
    component
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    out.push(number as u8);
    out
}
