//! The documents of a registry: manifests, indexes, descriptors. Reads what others wrote, and refuses by name
//! what is no plugin.

use std::collections::BTreeMap;

use mesh_plugin_host::limits;
use mesh_plugin_host::package::MAX_STATEMENT;
use mesh_plugin_host::sign::SIGNATURE_LEN;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::RegistryError;

/// Media type of a manifest.
pub(super) const MANIFEST_MEDIA: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a list of manifests.
pub(super) const INDEX_MEDIA: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of the config of a WebAssembly artifact.
pub(super) const CONFIG_MEDIA: &str = "application/vnd.wasm.config.v0+json";
/// Media type of a component or module.
pub(super) const COMPONENT_MEDIA: &str = "application/wasm";
/// Type of the artifact that holds the signatures of another one.
pub(super) const SIGNATURES_ARTIFACT: &str = "application/vnd.meshwork.plugin.signatures.v1";
/// Media type of one statement with its signature behind it.
pub(super) const SIGNATURE_MEDIA: &str = "application/vnd.meshwork.plugin.signature.v1";
/// Media type of the config of an artifact that has none: two bytes, `{}`.
pub(super) const EMPTY_MEDIA: &str = "application/vnd.oci.empty.v1+json";
/// The content of the empty config.
pub(super) const EMPTY: &[u8] = b"{}";
/// What is asked for where a manifest should be. The lists too, to be able to say that it is one.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Bytes of a manifest or index: the specification asks registries to take 4 MiB, and ours have 2 KiB.
pub(super) const MAX_MANIFEST: usize = 1 << 20;
/// Bytes of a config: the plugin's manifest in it has at most 64 KiB, and twice that when all of it is
/// escaped.
pub(super) const MAX_CONFIG: usize = 256 << 10;
/// Bytes of a statement with its signature.
pub(super) const MAX_SIGNATURE: usize = MAX_STATEMENT + SIGNATURE_LEN;
/// Bytes of a list of signatures: of a package's eight it has about 4 KiB.
pub(super) const MAX_LIST: usize = 64 << 10;
/// Lists of signatures and signatures that are fetched beside one plugin.
pub(super) const MAX_BESIDE: usize = 512;
/// Bytes of them: a list of one and its signature have about 1 KiB together.
pub(super) const MAX_BESIDE_BYTES: usize = 1 << 20;
/// Who signed, by the keys' texts with a space between: on a signature, and on a list of them.
pub(super) const SIGNERS: &str = "dev.meshwork.plugin.signers";

/// Names some content by type, digest and length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What kind of artifact a manifest is, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Describes this content.
    pub(super) fn of(media_type: &str, content: &[u8]) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(content),
            size: content.len() as u64,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// A list of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    pub(super) manifests: Vec<Descriptor>,
}

/// What every document says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<Vec<serde::de::IgnoredAny>>,
}

impl Manifest {
    /// Reads the manifest of a plugin.
    ///
    /// # Errors
    /// [`RegistryError::NotAPlugin`] with what it is instead.
    pub(super) fn parse(bytes: &[u8]) -> Result<Manifest, RegistryError> {
        let head: Head = read(bytes)?;
        let media = head.media_type.as_deref().unwrap_or(MANIFEST_MEDIA);
        if media == INDEX_MEDIA || media == DOCKER_LIST || head.manifests.is_some() {
            let count = head.manifests.map_or(0, |manifests| manifests.len());
            return Err(not(format!("it is an index of {count} manifests, not a manifest")));
        }
        if head.schema_version != Some(2) || media != MANIFEST_MEDIA {
            let version = head.schema_version.unwrap_or(0);
            return Err(not(format!("it is a manifest of type {media}, schema {version}")));
        }
        read(bytes)
    }

    /// Returns the descriptor of the component, if this is a plugin and the component is not too large.
    ///
    /// # Errors
    /// [`RegistryError::NotAPlugin`] or [`RegistryError::TooLarge`].
    pub(super) fn component(&self) -> Result<&Descriptor, RegistryError> {
        if self.config.media_type != CONFIG_MEDIA {
            return Err(not(format!(
                "its config has the type {}, not {CONFIG_MEDIA}",
                self.config.media_type
            )));
        }
        if let Some(other) = self.layers.iter().find(|layer| layer.media_type != COMPONENT_MEDIA) {
            return Err(not(format!("it has a layer of type {}, not {COMPONENT_MEDIA}", other.media_type)));
        }
        let [component] = &self.layers[..] else {
            return Err(not(format!("it has {} layers, a plugin has one", self.layers.len())));
        };
        bounded("component", component, limits::COMPONENT_BYTES)?;
        bounded("config", &self.config, MAX_CONFIG)?;
        Ok(component)
    }
}

impl Index {
    /// Reads a list of referrers.
    ///
    /// # Errors
    /// [`RegistryError::BadAnswer`].
    pub(super) fn parse(bytes: &[u8]) -> Result<Index, RegistryError> {
        serde_json::from_slice(bytes).map_err(|error| RegistryError::BadAnswer {
            what: "list of signatures",
            reason: error.to_string(),
        })
    }
}

/// Refuses what is announced as larger than it may be, before anything of it is fetched.
pub(super) fn bounded(
    what: &'static str,
    descriptor: &Descriptor,
    max: usize,
) -> Result<usize, RegistryError> {
    match usize::try_from(descriptor.size) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(RegistryError::TooLarge { what, len: descriptor.size, max }),
    }
}

fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, RegistryError> {
    serde_json::from_slice(bytes).map_err(|error| not(format!("its manifest cannot be read: {error}")))
}

fn not(reason: String) -> RegistryError {
    RegistryError::NotAPlugin { reason }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plugin() -> serde_json::Value {
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_MEDIA,
            "config": Descriptor::of(CONFIG_MEDIA, b"{}"),
            "layers": [Descriptor::of(COMPONENT_MEDIA, b"wasm")],
        })
    }

    fn refusal(change: impl FnOnce(&mut serde_json::Value)) -> RegistryError {
        let mut value = plugin();
        change(&mut value);
        let manifest = Manifest::parse(value.to_string().as_bytes());
        manifest.and_then(|manifest| manifest.component().cloned()).unwrap_err()
    }

    #[test]
    fn a_plugin_is_one_layer_of_wasm_with_its_config() {
        let manifest = Manifest::parse(plugin().to_string().as_bytes()).unwrap();

        assert_eq!(manifest.component().unwrap().digest, Digest::of(b"wasm"));
    }

    #[test]
    fn whatever_else_lies_in_a_registry_is_refused_by_name() {
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        for (error, part) in [
            (
                refusal(|m| m["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json".into()),
                "its config",
            ),
            (refusal(|m| m["layers"][0]["mediaType"] = gzip.into()), gzip),
            (refusal(|m| m["layers"] = json!([])), "0 layers"),
            (refusal(|m| m["layers"] = json!([m["layers"][0], m["layers"][0]])), "2 layers"),
            (refusal(|m| m["schemaVersion"] = 1.into()), "schema 1"),
            (refusal(|m| m["mediaType"] = "text/html".into()), "text/html"),
            (refusal(|m| *m = json!({ "schemaVersion": 2, "manifests": [{}, {}] })), "index of 2"),
            (
                refusal(|m| *m = json!({ "schemaVersion": 2, "mediaType": INDEX_MEDIA, "manifests": [] })),
                "index",
            ),
            (refusal(|m| *m = json!([])), "cannot be read"),
            (refusal(|m| m["layers"][0]["digest"] = "sha256:00".into()), "cannot be read"),
            (refusal(|m| m["layers"][0]["size"] = (-1).into()), "cannot be read"),
        ] {
            let RegistryError::NotAPlugin { reason } = &error else { panic!("{part}: {error}") };
            assert!(reason.contains(part), "{part}: {reason}");
        }
    }

    #[test]
    fn a_component_that_is_announced_as_huge_is_not_fetched() {
        let error = refusal(|m| m["layers"][0]["size"] = (40u64 << 30).into());

        assert!(matches!(error, RegistryError::TooLarge { what: "component", .. }), "{error}");
    }
}
