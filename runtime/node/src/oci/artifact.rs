//! A plugin as what lies in a registry: component, config, manifest, and the signatures beside them.
//!
//! The manifest depends on the component alone, not on the time or on who signed, so that the same component
//! has the same digest whoever publishes it.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_plugin_host::Inspection;
use mesh_plugin_host::sign::{SIGNATURE_LEN, Signed, StatementError};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::manifest::{
    COMPONENT_MEDIA, CONFIG_MEDIA, Descriptor, EMPTY, EMPTY_MEDIA, INDEX_MEDIA, Index, MANIFEST_MEDIA,
    Manifest, SIGNATURE_MEDIA, SIGNATURES_ARTIFACT, SIGNERS,
};
use crate::api::{ApiError, code};
use crate::plugins::{Opened, open};

/// What other tools require and a reproducible artifact has no use for.
const CREATED: &str = "1970-01-01T00:00:00Z";
pub(super) const TITLE: &str = "org.opencontainers.image.title";
pub(super) const VERSION: &str = "org.opencontainers.image.version";
pub(super) const DESCRIPTION: &str = "org.opencontainers.image.description";
const LICENSES: &str = "org.opencontainers.image.licenses";
const WORLD: &str = "dev.meshwork.plugin.world";
pub(super) const SLOT: &str = "dev.meshwork.plugin.slot";

/// A plugin, ready to be pushed.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// The component.
    pub component: Bytes,
    /// What describes it to other tools, and shows its manifest.
    pub config: Bytes,
    /// What names both by their digests.
    pub manifest: Bytes,
    /// Who signed it, as blobs: each a statement and its signature.
    pub signatures: Vec<Bytes>,
}

/// The config of a WebAssembly artifact.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    created: String,
    author: Option<String>,
    architecture: String,
    os: String,
    layer_digests: Vec<Digest>,
    component: Option<World>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) meshwork: Option<Mirror>,
}

#[derive(Serialize, Deserialize)]
struct World {
    exports: Vec<String>,
    imports: Vec<String>,
    target: Option<String>,
}

/// What only we read in a config.
#[derive(Serialize, Deserialize)]
pub(super) struct Mirror {
    /// The text of `plugin.toml`, as it stands in the component.
    pub(super) manifest: String,
}

impl Artifact {
    /// Makes one of a component or package.
    ///
    /// # Errors
    /// What a node would refuse: a damaged package, a signature that does not verify, no component, no manifest.
    pub fn of(file: &Bytes) -> Result<Artifact, ApiError> {
        let Opened { inspection, component, signatures } = open(file)?;
        let (Some(_), Some(manifest)) = (&inspection.kind, &inspection.manifest) else {
            let message = "what has no manifest or fits no slot cannot be published as a plugin";
            return Err(ApiError::new(&code::CANNOT_SIGN, message).help("meshctl plugin inspect FILE"));
        };
        let (name, version) = (manifest.plugin.name.clone(), manifest.plugin.version.clone());
        let config = json(&config_of(&inspection, &component));
        let manifest = json(&manifest_of(&inspection, &component, &config));
        let signatures = signatures.iter().map(encode_signature).collect();
        Ok(Artifact { name, version, component, config, manifest, signatures })
    }

    /// Returns the digest that the artifact is pinned by.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Returns what is pushed in which layout, the component first.
    pub fn blobs(&self) -> Vec<Descriptor> {
        let mut blobs = vec![
            Descriptor::of(COMPONENT_MEDIA, &self.component),
            Descriptor::of(CONFIG_MEDIA, &self.config),
            Descriptor::of(MANIFEST_MEDIA, &self.manifest),
        ];
        blobs.extend(self.signatures.iter().map(|blob| Descriptor::of(SIGNATURE_MEDIA, blob)));
        blobs
    }

    /// Returns the manifest of the signatures; `None` when nobody signed. It says whose they are, on itself too because
    /// registries repeat that in their lists: who looks for a key need not fetch what others have put there.
    pub(super) fn signature_manifest(&self) -> Option<Bytes> {
        let layers: Vec<Descriptor> = self.signatures.iter().map(signature_layer).collect();
        let signers: Vec<&str> =
            layers.iter().filter_map(|layer| Some(layer.annotations.get(SIGNERS)?.as_str())).collect();
        let annotations = BTreeMap::from([(SIGNERS.to_owned(), signers.join(" "))]);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST_MEDIA.to_owned()),
            artifact_type: Some(SIGNATURES_ARTIFACT.to_owned()),
            config: Descriptor::of(EMPTY_MEDIA, EMPTY),
            layers,
            subject: Some(Descriptor::of(MANIFEST_MEDIA, &self.manifest)),
            annotations,
        };
        (!self.signatures.is_empty()).then(|| json(&manifest))
    }
}

fn signature_layer(blob: &Bytes) -> Descriptor {
    let mut layer = Descriptor::of(SIGNATURE_MEDIA, blob);
    let signer = decode_signature(blob).map(|signed| signed.statement().signer.to_string());
    layer.annotations.extend(signer.ok().map(|signer| (SIGNERS.to_owned(), signer)));
    layer
}

fn config_of(inspection: &Inspection, component: &[u8]) -> Config {
    let text = inspection.manifest_bytes.as_ref().and_then(|bytes| String::from_utf8(bytes.clone()).ok());
    Config {
        created: CREATED.to_owned(),
        author: None,
        architecture: "wasm".to_owned(),
        // The layout's word for a component, also for one that uses nothing of WASI.
        os: "wasip2".to_owned(),
        layer_digests: vec![Digest::of(component)],
        component: Some(World {
            exports: inspection.exports.clone(),
            imports: inspection.imports.iter().map(|import| import.name.clone()).collect(),
            target: inspection.kind.map(|kind| kind.world().to_owned()),
        }),
        meshwork: text.map(|manifest| Mirror { manifest }),
    }
}

fn manifest_of(inspection: &Inspection, component: &[u8], config: &[u8]) -> Manifest {
    let mut layer = Descriptor::of(COMPONENT_MEDIA, component);
    let mut annotations = BTreeMap::new();
    if let Some(about) = inspection.manifest.as_ref().map(|manifest| &manifest.plugin) {
        let short = about.name.rsplit('/').next().unwrap_or(&about.name);
        layer.annotations.insert(TITLE.to_owned(), format!("{short}.wasm"));
        let notes = [
            (TITLE, &about.name),
            (VERSION, &about.version),
            (DESCRIPTION, &about.description),
            (LICENSES, &about.license),
        ];
        let present = notes.into_iter().filter(|(_, text)| !text.is_empty());
        annotations.extend(present.map(|(name, text)| (name.to_owned(), text.clone())));
    }
    if let Some(kind) = inspection.kind {
        annotations.insert(WORLD.to_owned(), kind.world().to_owned());
        annotations.insert(SLOT.to_owned(), kind.slot().to_owned());
    }
    Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST_MEDIA.to_owned()),
        artifact_type: None,
        config: Descriptor::of(CONFIG_MEDIA, config),
        layers: vec![layer],
        subject: None,
        annotations,
    }
}

/// Returns a list with one more in it; `None` when it is in there already.
pub(super) fn with_referrer(index: Option<Index>, manifest: &[u8]) -> Option<Bytes> {
    let mut entry = Descriptor::of(MANIFEST_MEDIA, manifest);
    entry.artifact_type = Some(SIGNATURES_ARTIFACT.to_owned());
    entry.annotations = Manifest::parse(manifest).map(|manifest| manifest.annotations).unwrap_or_default();
    let mut index = index.unwrap_or(Index { schema_version: 2, media_type: None, manifests: Vec::new() });
    index.media_type = Some(INDEX_MEDIA.to_owned());
    if index.manifests.iter().any(|known| known.digest == entry.digest) {
        return None;
    }
    index.manifests.push(entry);
    Some(json(&index))
}

/// Statement, then signature: the signature has a fixed length, and a statement says itself where it ends.
fn encode_signature(signed: &Signed) -> Bytes {
    [&signed.statement().encode()[..], signed.signature()].concat().into()
}

/// Reads what [`encode_signature`] wrote; verifies nothing.
pub(super) fn decode_signature(blob: &[u8]) -> Result<Signed, StatementError> {
    let at = blob.len().checked_sub(SIGNATURE_LEN).ok_or(StatementError::Truncated)?;
    Signed::decode(&blob[..at], &blob[at..])
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("plain maps and texts are always JSON").into()
}

#[cfg(test)]
mod tests {
    use mesh_plugin_host::sign::SecretKey;
    use mesh_plugin_host::{Package, builtin, inspect};
    use serde_json::Value;

    use super::*;

    fn signed_package(seeds: &[u8]) -> Bytes {
        let inspection = inspect(builtin::LATENCY).unwrap();
        let sign =
            |seed: &u8| Signed::new(&SecretKey::from_seed(&[*seed; 32]), &inspection, 7, None).unwrap();
        let manifest = inspection.manifest_bytes.clone().unwrap();
        let signatures = seeds.iter().map(sign).collect();
        Package { manifest: &manifest, component: builtin::LATENCY, signatures }.encode().unwrap().into()
    }

    #[test]
    fn the_layout_is_the_one_that_other_tools_read() {
        let artifact = Artifact::of(&Bytes::from_static(builtin::LATENCY)).unwrap();
        let manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap();
        let config: Value = serde_json::from_slice(&artifact.config).unwrap();

        assert_eq!(manifest["schemaVersion"], 2);
        assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
        assert_eq!(manifest["config"]["digest"], Digest::of(&artifact.config).to_string());
        assert_eq!(manifest["config"]["size"], artifact.config.len());
        assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
        assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
        assert_eq!(manifest["layers"][0]["digest"], Digest::of(builtin::LATENCY).to_string());
        assert_eq!(manifest["layers"][0]["size"], builtin::LATENCY.len());
        assert!(manifest.get("subject").is_none() && manifest.get("artifactType").is_none());
        assert_eq!(manifest["annotations"]["org.opencontainers.image.title"], artifact.name);
        assert_eq!((&config["architecture"], &config["os"]), (&"wasm".into(), &"wasip2".into()));
        assert_eq!(config["layerDigests"][0], manifest["layers"][0]["digest"]);
        assert_eq!(config["created"], "1970-01-01T00:00:00Z");
        let inside = inspect(builtin::LATENCY).unwrap().manifest_bytes.unwrap();
        assert_eq!(config["meshwork"]["manifest"].as_str().map(str::as_bytes), Some(&inside[..]));
        assert!(config["component"]["exports"].as_array().is_some_and(|exports| !exports.is_empty()));
    }

    #[test]
    fn a_signature_changes_nothing_that_was_pinned() {
        let unsigned = Artifact::of(&Bytes::from_static(builtin::LATENCY)).unwrap();
        let (one, two) =
            (Artifact::of(&signed_package(&[1])).unwrap(), Artifact::of(&signed_package(&[1, 2])).unwrap());

        assert_eq!(unsigned.digest(), one.digest());
        assert_eq!(one.digest(), two.digest());
        assert_eq!(unsigned.signature_manifest(), None);
        let beside: Manifest = serde_json::from_slice(&two.signature_manifest().unwrap()).unwrap();
        assert_eq!(beside.subject.map(|subject| subject.digest), Some(two.digest()));
        assert_eq!(beside.layers.len(), 2);
        let read = decode_signature(&two.signatures[0]).unwrap();
        assert!(read.verify(&inspect(builtin::LATENCY).unwrap()).is_ok());
        assert!(decode_signature(&two.signatures[0][..60]).is_err());
    }

    #[test]
    fn a_forged_package_is_not_published() {
        let mut forged = signed_package(&[1]).to_vec();
        *forged.last_mut().unwrap() ^= 1;

        assert_eq!(Artifact::of(&forged.into()).unwrap_err().code, "MESH-P122");
        assert_eq!(Artifact::of(&Bytes::from_static(b"\0asm\x0d\0\x01\0")).unwrap_err().code, "MESH-P131");
    }

    #[test]
    fn a_list_of_signatures_grows_by_what_is_new() {
        let first = with_referrer(None, b"one").unwrap();
        let index = || Index::parse(&first).unwrap();

        assert_eq!(with_referrer(Some(index()), b"one"), None);
        let both = Index::parse(&with_referrer(Some(index()), b"two").unwrap()).unwrap();
        assert_eq!(both.manifests.len(), 2);
        assert_eq!(both.media_type.as_deref(), Some(INDEX_MEDIA));
    }
}
