//! What a registry has: its repositories below a name, and of each the newest plugin.
//!
//! Lists are claims of the registry, and what a manifest says of a plugin is a claim of who pushed it: for people to
//! choose by, never to decide by. Nothing of it is kept.

use reqwest::StatusCode;
use serde::Deserialize;

use super::artifact::{DESCRIPTION, SLOT, TITLE, VERSION};
use super::error::RegistryError;
use super::http::{Ask, Options, Session};
use super::pull::{newest_version, next_page, resolve};
use super::reference::{Reference, ReferenceError};

/// Repositories whose newest plugin is looked at; each costs two requests or three.
const MAX_LOOKED: usize = 64;
/// Bytes of one page of the catalogue, and pages that are read.
const MAX_PAGE: usize = 1 << 20;
const MAX_PAGES: usize = 16;
/// Characters of a note that are shown.
const MAX_NOTE: usize = 200;
/// What registries answer that show no catalogue, or not to everybody.
const NO_CATALOGUE: [StatusCode; 6] = [
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::NOT_IMPLEMENTED,
    StatusCode::BAD_REQUEST,
];

/// A registry, or a part of it: `oci://HOST` or `oci://HOST/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Stands for the registry; its repository is the part that is meant.
    reference: Reference,
    is_whole: bool,
}

/// A plugin that a registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where, with its tag.
    pub reference: Reference,
    /// Its name; `None` where whoever pushed it did not say, as for all that follows.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The slot that it is for.
    pub slot: Option<String>,
    /// What it does.
    pub description: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// By repository.
    pub found: Vec<Found>,
    /// Repositories that were not looked at, because there are too many.
    pub skipped: usize,
}

#[derive(Deserialize)]
struct Catalogue {
    repositories: Option<Vec<String>>,
}

impl std::str::FromStr for Namespace {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Namespace, ReferenceError> {
        let text = text.trim_end_matches('/');
        let rest = text.strip_prefix("oci://").ok_or(ReferenceError::Scheme)?;
        let is_whole = !rest.contains('/');
        // Any repository does to name a registry by.
        let reference: Reference = if is_whole { format!("{text}/any").parse()? } else { text.parse()? };
        match reference.tag().is_none() && reference.digest().is_none() {
            true => Ok(Namespace { reference, is_whole }),
            false => Err(ReferenceError::Repository),
        }
    }
}

impl Namespace {
    /// Says whether a reference lies in it.
    pub fn has(&self, reference: &Reference) -> bool {
        reference.registry() == self.reference.registry() && self.has_repository(reference.repository())
    }

    fn has_repository(&self, repository: &str) -> bool {
        let below = repository.strip_prefix(self.reference.repository());
        self.is_whole || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Returns the newest plugin of every repository in a part of a registry. What is no plugin is left out. Where a registry
/// shows no catalogue, the name is taken for one repository.
///
/// # Errors
/// Why the registry does not say.
pub async fn search(
    namespace: &Namespace,
    options: &Options,
    mut tell: impl FnMut(&Reference),
) -> Result<Findings, RegistryError> {
    let repositories = match catalogue(namespace, options).await? {
        Some(repositories) => repositories,
        None if namespace.is_whole => {
            return Err(RegistryError::NotFound {
                registry: namespace.reference.registry().to_owned(),
                what: "list of repositories for you".to_owned(),
            });
        }
        None => vec![namespace.reference.clone()],
    };
    let mut findings = Findings { skipped: repositories.len().saturating_sub(MAX_LOOKED), found: Vec::new() };
    for repository in repositories.into_iter().take(MAX_LOOKED) {
        tell(&repository);
        findings.found.extend(newest(repository, options).await?);
    }
    Ok(findings)
}

async fn newest(repository: Reference, options: &Options) -> Result<Option<Found>, RegistryError> {
    use RegistryError::{Denied, NotAPlugin, NotFound, Unauthorized};
    let found = async {
        let tag = newest_version(&repository, options).await?;
        let reference = repository.or_tag(tag.as_deref().unwrap_or("latest"));
        let remote = resolve(&reference, options, &mut |_| {}).await?;
        let note = |name: &str| remote.annotation(name).map(|text| text.chars().take(MAX_NOTE).collect());
        Ok(Found {
            name: note(TITLE),
            version: note(VERSION),
            slot: note(SLOT),
            description: note(DESCRIPTION),
            reference,
        })
    };
    match found.await {
        Ok(found) => Ok(Some(found)),
        // Images, charts, what is gone, and what is somebody else's stand in a catalogue too.
        Err(NotAPlugin { .. } | NotFound { .. } | Denied { .. } | Unauthorized { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the repositories of a namespace in their order; `None` when the registry does not list any.
async fn catalogue(
    namespace: &Namespace,
    options: &Options,
) -> Result<Option<Vec<Reference>>, RegistryError> {
    let mut session = Session::new(&namespace.reference, options)?;
    let mut next = Some(session.url("/v2/_catalog?n=1000"));
    let mut found = Vec::new();
    for _ in 0..MAX_PAGES {
        let Some(url) = next else { break };
        let answer = session.send(&Ask::get(url.clone(), "list of repositories"), &NO_CATALOGUE).await?;
        if !answer.status().is_success() {
            return Ok(None);
        }
        next = next_page(&url, answer.headers());
        let bytes = session.small(answer, "list of repositories", MAX_PAGE).await?;
        let page: Catalogue = serde_json::from_slice(&bytes).map_err(|error| RegistryError::BadAnswer {
            what: "list of repositories",
            reason: error.to_string(),
        })?;
        let names = page.repositories.unwrap_or_default().into_iter();
        found.extend(names.filter(|name| namespace.has_repository(name)).filter_map(|name| {
            // A name that is none leads nowhere.
            format!("oci://{}/{name}", namespace.reference.registry()).parse::<Reference>().ok()
        }));
    }
    found.sort();
    found.dedup();
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_registry_or_whole_words_of_a_name() {
        let reference = |text: &str| text.parse::<Reference>().expect("it is one");
        for (namespace, inside, outside) in [
            ("oci://ghcr.io", "oci://ghcr.io/acme/fast", "oci://quay.io/acme/fast"),
            ("oci://ghcr.io/", "oci://ghcr.io/acme/fast", "oci://quay.io/acme/fast"),
            ("oci://ghcr.io/acme", "oci://ghcr.io/acme/fast:1.0.0", "oci://ghcr.io/acme2/fast"),
            ("oci://ghcr.io/acme/fast", "oci://ghcr.io/acme/fast", "oci://ghcr.io/acme/faster"),
            ("oci://[::1]:5000", "oci://[::1]:5000/a", "oci://[::1]:5001/a"),
        ] {
            let namespace: Namespace = namespace.parse().expect("it is one");

            assert!(namespace.has(&reference(inside)), "{namespace:?}");
            assert!(!namespace.has(&reference(outside)), "{namespace:?}");
        }
        for text in ["ghcr.io", "oci://", "oci://ghcr.io/acme/fast:1.0.0", "oci://ghcr.io/UPPER", "oci://a b"]
        {
            assert!(text.parse::<Namespace>().is_err(), "{text}");
        }
    }
}
