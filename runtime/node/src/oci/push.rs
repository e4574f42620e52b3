//! From a plugin to a registry: first what is named by digest, last the tag, so that a tag never names half
//! of it.

use bytes::Bytes;
use reqwest::{Method, StatusCode};

use super::artifact::{Artifact, with_referrer};
use super::digest::Digest;
use super::error::RegistryError;
use super::http::{Ask, Options, Phase, Progress, Session, Teller};
use super::manifest::{ACCEPT, EMPTY, INDEX_MEDIA, Index, MANIFEST_MEDIA, MAX_MANIFEST};
use super::pull::{check, claimed_digest, fallback_tag};
use super::reference::Reference;

/// What a tag named before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagState {
    /// Nothing.
    New,
    /// The same.
    Same,
    /// Something else, which was replaced.
    Moved {
        /// What.
        from: Digest,
    },
}

/// What was pushed.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// What the tag named before.
    pub tag: TagState,
    /// Bytes that were sent; what the registry had already was not.
    pub sent: u64,
    /// Whether the signatures lie under a tag, because the registry has no API for them.
    pub is_fallback_tag: bool,
}

/// Pushes a plugin with its signatures. With `is_replacing` a tag that names something else is moved.
///
/// # Errors
/// Why the registry did not take it. Without a new tag nothing that was there has changed.
pub async fn push(
    artifact: &Artifact,
    reference: &Reference,
    options: &Options,
    is_replacing: bool,
    tell: &mut Teller<'_>,
) -> Result<Pushed, RegistryError> {
    tell(Progress { phase: Phase::Resolving, done: 0, total: 0 });
    let mut session = Session::new(reference, options)?;
    let tag = reference.name();
    let state = match manifest_at(&mut session, &tag).await?.map(|bytes| Digest::of(&bytes)) {
        None => TagState::New,
        Some(there) if there == artifact.digest() => TagState::Same,
        Some(from) if is_replacing => TagState::Moved { from },
        Some(there) => return Err(RegistryError::TagTaken { tag, there, ours: artifact.digest() }),
    };
    let total = artifact.component.len() as u64;
    tell(Progress { phase: Phase::Pushing, done: 0, total });
    let mut sent = blob(&mut session, "component", &artifact.component).await?;
    tell(Progress { phase: Phase::Pushing, done: total, total });
    sent += blob(&mut session, "config", &artifact.config).await?;
    let mut is_fallback_tag = false;
    if let Some(manifest) = artifact.signature_manifest() {
        sent += signatures(&mut session, artifact).await?;
        is_fallback_tag = !refer(&mut session, artifact.digest(), &manifest).await?;
    }
    if state != TagState::Same {
        put(&mut session, &tag, MANIFEST_MEDIA, artifact.manifest.clone()).await?;
    }
    Ok(Pushed { tag: state, sent, is_fallback_tag })
}

async fn manifest_at(session: &mut Session, name: &str) -> Result<Option<Bytes>, RegistryError> {
    let ask = Ask { accept: Some(ACCEPT), ..Ask::get(session.url(&format!("manifests/{name}")), "tag") };
    let answer = session.send(&ask, &[StatusCode::NOT_FOUND]).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    session.small(answer, "manifest", MAX_MANIFEST).await.map(Some)
}

/// Uploads what the registry does not have yet; returns the bytes that were sent.
async fn blob(session: &mut Session, what: &'static str, content: &Bytes) -> Result<u64, RegistryError> {
    let digest = Digest::of(content);
    let url = session.url(&format!("blobs/{digest}"));
    let ask = Ask { method: Method::HEAD, ..Ask::get(url, what) };
    if session.send(&ask, &[StatusCode::NOT_FOUND]).await?.status().is_success() {
        return Ok(0);
    }
    let ask = Ask { method: Method::POST, ..Ask::get(session.url("blobs/uploads/"), "place for uploads") };
    let answer = session.send(&ask, &[]).await?;
    let mut url = session.located(&ask.url, answer.headers())?;
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    session.send(&Ask::put(url, what, "application/octet-stream", content.clone()), &[]).await?;
    Ok(content.len() as u64)
}

async fn signatures(session: &mut Session, artifact: &Artifact) -> Result<u64, RegistryError> {
    let mut sent = blob(session, "config", &Bytes::from_static(EMPTY)).await?;
    for signature in &artifact.signatures {
        sent += blob(session, "signature", signature).await?;
    }
    Ok(sent)
}

/// Puts the manifest of the signatures beside the plugin. Returns whether the registry itself knows that it
/// refers to it; where it does not, it is entered in a list under a tag. Two who publish signatures of the
/// same plugin at the same moment can lose one there; publishing again enters it.
async fn refer(session: &mut Session, subject: Digest, manifest: &Bytes) -> Result<bool, RegistryError> {
    let digest = Digest::of(manifest);
    if put(session, &digest.to_string(), MANIFEST_MEDIA, manifest.clone()).await? {
        return Ok(true);
    }
    let tag = fallback_tag(subject);
    let there = manifest_at(session, &tag).await?.map(|bytes| Index::parse(&bytes)).transpose()?;
    if let Some(index) = with_referrer(there, manifest) {
        put(session, &tag, INDEX_MEDIA, index).await?;
    }
    Ok(false)
}

/// Writes a manifest; returns whether the registry understood what it refers to.
async fn put(
    session: &mut Session,
    name: &str,
    media: &'static str,
    body: Bytes,
) -> Result<bool, RegistryError> {
    let ours = Digest::of(&body);
    let url = session.url(&format!("manifests/{name}"));
    let answer = session.send(&Ask::put(url, "place for manifests", media, body), &[]).await?;
    if let Some(claimed) = claimed_digest(&answer) {
        check("manifest", ours, claimed)?;
    }
    Ok(answer.headers().contains_key("oci-subject"))
}
