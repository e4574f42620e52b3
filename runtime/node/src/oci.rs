//! Registries: plugins as OCI artifacts, in the layout of the CNCF for WebAssembly.
//!
//! Pushes and pulls bytes, and checks that they are the ones whose digest was asked for. Whom to trust for a
//! plugin is not decided here: what was pulled goes through the same door as a file. Takes the place of the
//! Docker configuration as an argument and prints nothing. A credential goes to the registry that it is for and, as
//! with Docker, to the place for tokens that this registry names: over TLS, or without it on the registry's own host
//! where the registry itself is reached without. No redirect carries it further.
//!
//! | what | media type |
//! |---|---|
//! | manifest | `application/vnd.oci.image.manifest.v1+json` |
//! | its config: imports, exports, and the plugin's manifest | `application/vnd.wasm.config.v0+json` |
//! | its one layer: the component | `application/wasm` |
//!
//! Signatures are a second manifest, of the type `application/vnd.meshwork.plugin.signatures.v1`, whose
//! subject is the first one: the layout has room for one layer only, and a signature that comes later must
//! not change the digest that others have pinned. Registries without the referrers API keep it under the tag
//! `sha256-DIGEST`.
//!
//! ```
//! let reference: mesh_node::oci::Reference = "oci://ghcr.io/acme/fastest:1.4.0".parse()?;
//! assert_eq!((reference.registry(), reference.repository()), ("ghcr.io", "acme/fastest"));
//! # Ok::<(), mesh_node::oci::ReferenceError>(())
//! ```

mod artifact;
mod auth;
mod digest;
mod docker;
mod error;
mod http;
mod lock;
mod manifest;
mod pull;
mod push;
mod reference;
mod search;
#[cfg(test)]
mod tests;

pub use artifact::Artifact;
pub use digest::{Digest, DigestError};
pub use docker::{CredentialError, Docker};
pub use error::RegistryError;
pub use http::{Options, Phase, Progress, Teller};
pub use lock::{Lock, LockError, Pin, Shelf};
pub use manifest::Descriptor;
pub use pull::{Pulled, Remote, newest_version, resolve};
pub use push::{Pushed, TagState, push};
pub use reference::{Reference, ReferenceError};
pub use search::{Findings, Found, Namespace, search};
