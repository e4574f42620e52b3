//! `oci://HOST/REPOSITORY[:TAG][@sha256:…]`: where something lies in a registry.
//!
//! Stricter than what registries take: nothing that could end a path, start a query or hide a user name gets
//! through, so a reference can be put into a URL as it is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::digest::{Digest, DigestError};

const SCHEME: &str = "oci://";
/// Bytes of a repository's name, by the distribution specification.
const MAX_REPOSITORY: usize = 255;
/// Bytes of a tag, by the distribution specification.
const MAX_TAG: usize = 128;
/// Bytes of a host with its port: a DNS name, a colon and five digits.
const MAX_REGISTRY: usize = 253 + 6;

/// Where something lies in a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It starts otherwise.
    #[error("a reference starts with '{SCHEME}'")]
    Scheme,
    /// The part before the first slash.
    #[error("the registry is a host name or address, with a port if need be")]
    Registry,
    /// What follows.
    #[error(
        "the repository is lower-case words joined by '/', '.', '_' or '-', and has at most {MAX_REPOSITORY} bytes"
    )]
    Repository,
    /// After the colon.
    #[error("a tag is letters, digits, '.', '_' and '-', and has at most {MAX_TAG} bytes")]
    Tag,
    /// After the at sign.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Reference {
    /// Says whether a text is meant as a reference.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Returns the host, with its port if it names one.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the name inside of the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag; `None` when it names none.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest of the manifest; `None` when it names none.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns the same place under this tag, if it has neither tag nor digest.
    #[must_use]
    pub fn or_tag(mut self, tag: &str) -> Reference {
        if self.tag.is_none() && self.digest.is_none() && is_tag(tag) {
            self.tag = Some(tag.to_owned());
        }
        self
    }

    /// Returns the same place and tag, at this digest.
    #[must_use]
    pub fn at(mut self, digest: Digest) -> Reference {
        self.digest = Some(digest);
        self
    }

    /// Says whether the registry is on this machine.
    pub fn is_loopback(&self) -> bool {
        let host = host_of(&self.registry);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Returns what a manifest is asked for by: the digest, or else the tag, or else `latest`.
    pub(super) fn name(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

fn host_of(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        // The colons inside of [::1] are no port's.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => registry,
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        let rest = text.strip_prefix(SCHEME).ok_or(ReferenceError::Scheme)?;
        let (registry, path) = rest.split_once('/').ok_or(ReferenceError::Repository)?;
        let (path, digest) = match path.split_once('@') {
            Some((path, digest)) => (path, Some(digest.parse()?)),
            None => (path, None),
        };
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !is_registry(registry) {
            return Err(ReferenceError::Registry);
        }
        if !is_repository(repository) {
            return Err(ReferenceError::Repository);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag);
        }
        Ok(Reference {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

fn is_registry(text: &str) -> bool {
    let host = host_of(text);
    let port = text[host.len()..].strip_prefix(':');
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port));
    let is_name = !host.is_empty()
        && host.split('.').all(|label| {
            let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !label.is_empty()
                && label.bytes().all(is_inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
    let is_v6 = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    text.len() <= MAX_REGISTRY && is_port && (is_name || is_v6)
}

fn is_repository(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_word = |word: &str| {
        let ends = (word.bytes().next(), word.bytes().last());
        matches!(ends, (Some(first), Some(last)) if is_inner(first) && is_inner(last))
            && word.bytes().all(|byte| is_inner(byte) || b"._-".contains(&byte))
            && !word.contains("..")
    };
    text.len() <= MAX_REPOSITORY && text.split('/').all(is_word)
}

fn is_tag(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_TAG).contains(&text.len()) && text.bytes().all(is_inner) && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_and_written_the_same() {
        let digest = Digest::of(b"x");
        for text in [
            "oci://ghcr.io/acme/fastest".to_owned(),
            "oci://ghcr.io/acme/fastest:1.4.0".to_owned(),
            "oci://127.0.0.1:5000/a".to_owned(),
            "oci://[::1]:5000/a/b/c-d_e.f:v1".to_owned(),
            format!("oci://localhost/a@{digest}"),
            format!("oci://registry.example.org:443/a:1.0@{digest}"),
        ] {
            assert_eq!(text.parse::<Reference>().map(|reference| reference.to_string()), Ok(text));
        }
    }

    #[test]
    fn what_could_change_a_url_is_refused() {
        use ReferenceError::{Digest, Registry, Repository, Scheme, Tag};
        for (text, why) in [
            ("ghcr.io/acme/fastest", Scheme),
            ("https://ghcr.io/acme/fastest", Scheme),
            ("oci://ghcr.io", Repository),
            ("oci:///a", Registry),
            ("oci://user:secret@host/a", Registry),
            ("oci://host:0x50/a", Registry),
            ("oci://host:70000/a", Registry),
            ("oci://host:/a", Registry),
            ("oci://ho st/a", Registry),
            ("oci://[::1/a", Registry),
            ("oci://host?/a", Registry),
            ("oci://-host/a", Registry),
            ("oci://host/", Repository),
            ("oci://host/a//b", Repository),
            ("oci://host/../v2", Repository),
            ("oci://host/a/..", Repository),
            ("oci://host/A", Repository),
            ("oci://host/a%2fb", Repository),
            ("oci://host/a?b", Repository),
            ("oci://host/a#b", Repository),
            ("oci://host/a:", Tag),
            ("oci://host/a:b/c", Tag),
            ("oci://host/a:-b", Tag),
            ("oci://host/a@sha512:00", Digest(DigestError)),
            ("oci://host/a@", Digest(DigestError)),
        ] {
            assert_eq!(text.parse::<Reference>(), Err(why), "{text}");
        }
        let long = format!("oci://host/{}", "a".repeat(256));
        assert_eq!(long.parse::<Reference>(), Err(Repository));
        let long = format!("oci://host/a:{}", "a".repeat(129));
        assert_eq!(long.parse::<Reference>(), Err(Tag));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (registry, want) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.8.8.8", true),
            ("[::1]:5000", true),
            ("localhost.example.org", false),
            ("127.0.0.1.example.org", false),
            ("10.0.0.1", false),
            ("ghcr.io", false),
        ] {
            let reference: Reference = format!("oci://{registry}/a").parse().unwrap();
            assert_eq!(reference.is_loopback(), want, "{registry}");
        }
    }

    #[test]
    fn a_version_is_the_tag_only_where_none_is_named() {
        let bare: Reference = "oci://host/a".parse().unwrap();
        assert_eq!(bare.clone().or_tag("1.0.0").to_string(), "oci://host/a:1.0.0");
        assert_eq!(bare.clone().or_tag("1.0.0+build").tag(), None, "a plus cannot stand in a tag");
        let tagged: Reference = "oci://host/a:edge".parse().unwrap();
        assert_eq!(tagged.or_tag("1.0.0").tag(), Some("edge"));
        assert_eq!(bare.name(), "latest");
    }
}
