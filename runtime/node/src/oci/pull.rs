//! From a reference to the bytes of a plugin: manifest, component, config, signatures.
//!
//! Judges no signer. What comes out is a component or package, to be verified like a file of the same content;
//! signatures that do not hold are left out of it, because others can put them there. For the same reason the keys that
//! the caller knows come before all others, wherever they stand and whenever they signed.

use std::collections::BTreeSet;

use bytes::Bytes;
use mesh_plugin_host::manifest::{is_newer, is_version};
use mesh_plugin_host::package::MAX_STATEMENTS;
use mesh_plugin_host::sign::{PublicKey, Signed};
use mesh_plugin_host::{Inspection, Package, inspect};
use reqwest::header::{CONTENT_TYPE, HeaderMap, LINK};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::artifact::{Config, decode_signature};
use super::digest::Digest;
use super::error::RegistryError;
use super::http::{Ask, Options, Phase, Progress, Session, Teller};
use super::manifest::{
    ACCEPT, Descriptor, INDEX_MEDIA, Index, MAX_BESIDE, MAX_BESIDE_BYTES, MAX_CONFIG, MAX_LIST, MAX_MANIFEST,
    MAX_SIGNATURE, Manifest, SIGNATURE_MEDIA, SIGNATURES_ARTIFACT, SIGNERS, bounded,
};
use super::reference::Reference;

/// What registries answer that do not know the referrers API.
const NO_REFERRERS_API: [StatusCode; 4] = [
    StatusCode::NOT_FOUND,
    StatusCode::BAD_REQUEST,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::NOT_ACCEPTABLE,
];

/// What was left out and why, for people; of more, the number is told.
const MAX_WARNINGS: usize = 16;
/// Bytes of one page of tags, and pages that are read.
const MAX_TAGS: usize = 1 << 20;
const MAX_PAGES: usize = 64;

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

/// A plugin that was found, and of which nothing but the manifest was fetched.
pub struct Remote {
    session: Session,
    manifest: Manifest,
    digest: Digest,
}

/// A plugin that was fetched.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The digest of its manifest, by which it is pinned.
    pub digest: Digest,
    /// The digest of the component.
    pub component: Digest,
    /// A package where somebody signed it, else the component.
    pub file: Bytes,
    /// How many signed it.
    pub signatures: usize,
    /// What was left out, for people.
    pub warnings: Vec<String>,
}

/// Asks the registry what a reference stands for now.
///
/// # Errors
/// Why it cannot be had, or is no plugin.
pub async fn resolve(
    reference: &Reference,
    options: &Options,
    tell: &mut Teller<'_>,
) -> Result<Remote, RegistryError> {
    tell(Progress { phase: Phase::Resolving, done: 0, total: 0 });
    let mut session = Session::new(reference, options)?;
    let what = format!("{}:{}", reference.repository(), reference.name());
    let url = session.url(&format!("manifests/{}", reference.name()));
    let ask = Ask { accept: Some(ACCEPT), ..Ask::get(url, &what) };
    let answer = session.send(&ask, &[]).await?;
    let claimed = claimed_digest(&answer);
    let bytes = session.small(answer, "manifest", MAX_MANIFEST).await?;
    let digest = Digest::of(&bytes);
    for wanted in [reference.digest(), claimed].into_iter().flatten() {
        check("manifest", wanted, digest)?;
    }
    let manifest = Manifest::parse(&bytes)?;
    manifest.component()?;
    Ok(Remote { session, manifest, digest })
}

/// Returns the tag of the newest version in a repository: three numbers, perhaps with a `v` before them; `None` when no
/// tag is one.
///
/// # Errors
/// Why the registry does not say.
pub async fn newest_version(
    reference: &Reference,
    options: &Options,
) -> Result<Option<String>, RegistryError> {
    let mut session = Session::new(reference, options)?;
    let mut next = Some(session.url("tags/list"));
    let mut newest: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let Some(url) = next else { break };
        let ask = Ask::get(url.clone(), reference.repository());
        let answer = session.send(&ask, &[]).await?;
        next = next_page(&url, answer.headers());
        let bytes = session.small(answer, "tags", MAX_TAGS).await?;
        let page: Tags = serde_json::from_slice(&bytes)
            .map_err(|error| RegistryError::BadAnswer { what: "tags", reason: error.to_string() })?;
        let versions = page.tags.unwrap_or_default().into_iter().filter(|tag| is_version_tag(tag));
        newest =
            versions.chain(newest).reduce(|one, other| if is_newer_tag(&other, &one) { other } else { one });
    }
    Ok(newest)
}

/// Says whether a tag is a version.
pub(super) fn is_version_tag(tag: &str) -> bool {
    is_version(tag.strip_prefix('v').unwrap_or(tag))
}

/// Says whether the version of a tag is above another.
pub(super) fn is_newer_tag(tag: &str, than: &str) -> bool {
    let bare = |tag: &str| tag.strip_prefix('v').unwrap_or(tag).to_owned();
    is_newer(&bare(tag), &bare(than))
}

/// Where a list goes on, on the same registry.
pub(super) fn next_page(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, relation) = link.strip_prefix('<')?.split_once('>')?;
    let next = from.join(target).ok()?;
    (relation.contains("next") && next.origin() == from.origin()).then_some(next)
}

/// Returns the digest that a registry says that its answer has.
pub(super) fn claimed_digest(answer: &Response) -> Option<Digest> {
    answer.headers().get("docker-content-digest")?.to_str().ok()?.parse().ok()
}

pub(super) fn check(what: &'static str, wanted: Digest, found: Digest) -> Result<(), RegistryError> {
    if wanted == found { Ok(()) } else { Err(RegistryError::WrongDigest { what, wanted, found }) }
}

impl Remote {
    /// Returns the digest of the manifest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns a note on the manifest: a claim of who pushed it.
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.manifest.annotations.get(name).map(String::as_str)
    }

    /// Fetches the plugin and its signatures. A signature by one of the keys in `known`, those that the node trusts or
    /// has revoked, is taken before any other one.
    ///
    /// # Errors
    /// Why it cannot be had, or that it is not what its digests say.
    pub async fn fetch(
        mut self,
        known: &BTreeSet<PublicKey>,
        tell: &mut Teller<'_>,
    ) -> Result<Pulled, RegistryError> {
        let layer = self.manifest.component()?.clone();
        let total = layer.size;
        let url = self.session.url(&format!("blobs/{}", layer.digest));
        let expected = (layer.digest, layer.size as usize);
        let told = |done| tell(Progress { phase: Phase::Fetching, done, total });
        let component = self.session.blob(url, "component", expected, told).await?;
        // What is wrong with the component is for the node to say.
        let inspection = inspect(&component).ok();
        let manifest = self.manifest_of(inspection.as_ref()).await?;
        tell(Progress { phase: Phase::Signatures, done: 0, total: 0 });
        let (signed, warnings) = match &inspection {
            Some(inspection) => self.signatures(inspection, known).await?,
            None => (Vec::new(), Vec::new()),
        };
        let signatures = signed.len();
        let file = match &manifest {
            Some(manifest) if !signed.is_empty() => {
                let package = Package { manifest, component: &component, signatures: signed };
                package
                    .encode()
                    .map_err(|error| RegistryError::NotAPlugin { reason: error.to_string() })?
                    .into()
            }
            _ => component,
        };
        Ok(Pulled { digest: self.digest, component: layer.digest, file, signatures, warnings })
    }

    /// Returns the manifest that the component carries, if the registry shows the same one or none.
    async fn manifest_of(
        &mut self,
        component: Option<&Inspection>,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let descriptor = self.manifest.config.clone();
        let len = bounded("config", &descriptor, MAX_CONFIG)?;
        let url = self.session.url(&format!("blobs/{}", descriptor.digest));
        let bytes = self.session.blob(url, "config", (descriptor.digest, len), |_| {}).await?;
        let config: Config = serde_json::from_slice(&bytes).map_err(|error| RegistryError::NotAPlugin {
            reason: format!("its config cannot be read: {error}"),
        })?;
        let Some(component) = component else { return Ok(None) };
        let shown = config.meshwork.map(|mirror| mirror.manifest.into_bytes());
        match (shown, &component.manifest_bytes) {
            (Some(shown), Some(inside)) if shown != *inside => Err(RegistryError::ManifestDiffers),
            (Some(_), None) => Err(RegistryError::ManifestDiffers),
            (_, inside) => Ok(inside.clone()),
        }
    }

    /// Fetches the statements that lie beside the plugin: of each signer the newest that holds. The others are left
    /// out and told, because others can put things there.
    async fn signatures(
        &mut self,
        component: &Inspection,
        known: &BTreeSet<PublicKey>,
    ) -> Result<(Vec<Signed>, Vec<String>), RegistryError> {
        let mut warnings = Vec::new();
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for signed in self.beside(known, &mut warnings).await? {
            let side = if known.contains(&signed.statement().signer) { &mut ours } else { &mut others };
            side.push(signed);
        }
        let mut kept: Vec<Signed> = Vec::new();
        for side in [&mut ours, &mut others] {
            side.sort_by_key(|signed| std::cmp::Reverse(signed.statement().signed_ms));
            for signed in side.drain(..) {
                let key = signed.statement().signer;
                // The newest of a key came first.
                if kept.iter().any(|other| other.statement().signer == key) {
                    continue;
                }
                if kept.len() == MAX_STATEMENTS {
                    warnings.push(format!(
                        "there are more signatures than the {MAX_STATEMENTS} that were taken: known keys first, \
                         then the newest"
                    ));
                    break;
                }
                let verified = signed.verify(component).map_err(|error| bad_signature(error.to_string()));
                if or_left_out(verified, &mut warnings)?.is_some() {
                    kept.push(signed);
                }
            }
        }
        Ok((kept, few(warnings)))
    }

    /// Fetches what lies beside the plugin and can be read, within the bounds on it; verifies nothing. What says that it
    /// is of a known key is fetched first.
    async fn beside(
        &mut self,
        known: &BTreeSet<PublicKey>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Signed>, RegistryError> {
        let (mut room, mut found, mut untrue) = (Room::default(), Vec::new(), 0);
        let (mut seen, mut signatures) = (BTreeSet::new(), BTreeSet::new());
        let referrers = self.referrers().await;
        let mut lists = or_left_out(referrers, warnings)?.unwrap_or_default();
        lists.sort_by_key(|list| !is_of(list, known));
        for list in lists.iter().filter(|list| seen.insert(list.digest)) {
            let statements = match room.take("list of signatures", list, MAX_LIST) {
                Ok(true) => self.statements(list).await,
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            let mut layers = or_left_out(statements, warnings)?.unwrap_or_default();
            layers.sort_by_key(|layer| !is_of(layer, known));
            layers.truncate(MAX_STATEMENTS);
            layers.retain(|layer| signatures.insert(layer.digest));
            for layer in &layers {
                let signed = match room.take("signature", layer, MAX_SIGNATURE) {
                    Ok(true) => self.statement(layer).await,
                    Ok(false) => continue,
                    Err(error) => Err(error),
                };
                let signed = or_left_out(signed, warnings)?;
                let is_known = |signed: &Signed| known.contains(&signed.statement().signer);
                let claims = is_of(list, known) || is_of(layer, known);
                untrue += usize::from(claims && !signed.as_ref().is_some_and(is_known));
                found.extend(signed);
            }
        }
        if room.is_short {
            // First, because a reader is shown few of them.
            warnings.insert(0, too_much(untrue));
        }
        Ok(found)
    }

    /// Returns the statements of one list, whose length has been checked.
    async fn statements(&mut self, list: &Descriptor) -> Result<Vec<Descriptor>, RegistryError> {
        let url = self.session.url(&format!("manifests/{}", list.digest));
        let expected = (list.digest, list.size as usize);
        let bytes = self.session.blob(url, "list of signatures", expected, |_| {}).await?;
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| {
            RegistryError::BadAnswer { what: "list of signatures", reason: error.to_string() }
        })?;
        let is_ours = manifest.subject.is_some_and(|subject| subject.digest == self.digest);
        let layers =
            manifest.layers.into_iter().filter(|layer| is_ours && layer.media_type == SIGNATURE_MEDIA);
        Ok(layers.collect())
    }

    /// Returns one statement, whose length has been checked.
    async fn statement(&mut self, layer: &Descriptor) -> Result<Signed, RegistryError> {
        let url = self.session.url(&format!("blobs/{}", layer.digest));
        let expected = (layer.digest, layer.size as usize);
        let blob = self.session.blob(url, "signature", expected, |_| {}).await?;
        decode_signature(&blob).map_err(|error| bad_signature(error.to_string()))
    }

    /// Asks what refers to the plugin: by the API, or by the tag that stands in for it.
    async fn referrers(&mut self) -> Result<Vec<Descriptor>, RegistryError> {
        let mut url = self.session.url(&format!("referrers/{}", self.digest));
        url.query_pairs_mut().append_pair("artifactType", SIGNATURES_ARTIFACT);
        let ask = Ask { accept: Some(INDEX_MEDIA), ..Ask::get(url, "list of signatures") };
        let mut answer = self.session.send(&ask, &NO_REFERRERS_API).await?;
        if !is_index(&answer) {
            let url = self.session.url(&format!("manifests/{}", fallback_tag(self.digest)));
            let ask = Ask { accept: Some(INDEX_MEDIA), ..Ask::get(url, "list of signatures") };
            answer = self.session.send(&ask, &[StatusCode::NOT_FOUND]).await?;
        }
        if !answer.status().is_success() {
            return Ok(Vec::new());
        }
        let bytes = self.session.small(answer, "list of signatures", MAX_MANIFEST).await?;
        let mut found = Index::parse(&bytes)?.manifests;
        found.retain(|entry| entry.artifact_type.as_deref() == Some(SIGNATURES_ARTIFACT));
        Ok(found)
    }
}

/// Says whether an answer is a list, and not the front page of a registry that does not know the question.
fn is_index(answer: &Response) -> bool {
    let media = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    answer.status().is_success() && media.is_some_and(|media| media.starts_with(INDEX_MEDIA))
}

/// Returns the tag of the list of referrers, where there is no API for it.
pub(super) fn fallback_tag(digest: Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// Returns what lies beside a plugin, or tells why it is left out: who can put something there must not be able to
/// keep the plugin from being installed. A registry that does not answer is an error all the same.
fn or_left_out<T>(
    found: Result<T, RegistryError>,
    warnings: &mut Vec<String>,
) -> Result<Option<T>, RegistryError> {
    use RegistryError::{BadAnswer, NotFound, TooLarge, Truncated, WrongDigest};
    match found {
        Ok(found) => Ok(Some(found)),
        Err(
            error @ (BadAnswer { .. }
            | NotFound { .. }
            | TooLarge { .. }
            | Truncated { .. }
            | WrongDigest { .. }),
        ) => {
            warnings.push(format!("a signature was left out: {error}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Says what was not looked at, and who is to blame if a signature that counts is among it.
fn too_much(untrue: usize) -> String {
    let looked = format!(
        "more lies beside the plugin than was looked at, which is {MAX_BESIDE} lists and signatures or {} MiB",
        MAX_BESIDE_BYTES >> 20
    );
    match untrue {
        0 => looked,
        _ => format!(
            "{looked}; {untrue} of them claim to be of a key that this node knows and are not, so a true signature may \
             have been missed: install the publisher's .meshpkg, and have the registry's owner delete the false ones"
        ),
    }
}

fn bad_signature(reason: String) -> RegistryError {
    RegistryError::BadAnswer { what: "signature", reason }
}

/// Says whether something claims to be of one of these keys; whether it is, only its content says.
fn is_of(descriptor: &Descriptor, known: &BTreeSet<PublicKey>) -> bool {
    let signers = descriptor.annotations.get(SIGNERS).map_or("", String::as_str);
    signers.split(' ').take(MAX_STATEMENTS).any(|key| key.parse().is_ok_and(|key| known.contains(&key)))
}

fn few(mut warnings: Vec<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(MAX_WARNINGS);
    warnings.truncate(MAX_WARNINGS);
    if more > 0 {
        warnings.push(format!("{more} more warnings about signatures"));
    }
    warnings
}

/// What may still be fetched beside a plugin.
struct Room {
    fetches: usize,
    bytes: usize,
    /// Something found no room.
    is_short: bool,
}

impl Default for Room {
    fn default() -> Room {
        Room { fetches: MAX_BESIDE, bytes: MAX_BESIDE_BYTES, is_short: false }
    }
}

impl Room {
    /// Says whether this may be fetched, and counts it.
    ///
    /// # Errors
    /// When it is larger than one of its kind may be.
    fn take(&mut self, what: &'static str, one: &Descriptor, max: usize) -> Result<bool, RegistryError> {
        let len = bounded(what, one, max)?;
        let fits = self.fetches > 0 && len <= self.bytes;
        if fits {
            self.fetches -= 1;
            self.bytes -= len;
        }
        self.is_short |= !fits;
        Ok(fits)
    }
}
