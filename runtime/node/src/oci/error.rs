//! Why a registry did not give, or take, what was asked of it.

use super::digest::Digest;
use super::docker::CredentialError;
use super::lock::LockError;
use crate::api::{ApiError, Code, code};

/// Why a registry did not give, or take, what was asked of it. No variant ever holds a credential, and no URL
/// with a query, because registries put secrets there.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or it broke.
    #[error("the registry {registry} cannot be reached: {reason}")]
    Unreachable {
        /// Which.
        registry: String,
        /// What the system or TLS said.
        reason: String,
        /// Where it was looked for.
        url: String,
    },
    /// It did not answer in time.
    #[error("the registry {registry} did not answer in time")]
    TimedOut {
        /// Which.
        registry: String,
        /// Where it was looked for.
        url: String,
    },
    /// It asks for credentials, or refuses those it got.
    #[error("the registry {registry} {}", refused(*.has_credentials))]
    Unauthorized {
        /// Which.
        registry: String,
        /// Whether there were any.
        has_credentials: bool,
        /// What it said.
        said: Option<String>,
    },
    /// It knows who asks, and refuses.
    #[error("the registry {registry} does not allow it")]
    Denied {
        /// Which.
        registry: String,
        /// What it said.
        said: Option<String>,
    },
    /// It does not have it.
    #[error("the registry {registry} has no {what}")]
    NotFound {
        /// Which.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// It asks to come back later, longer than is waited for.
    #[error("the registry {registry} takes no more requests now{}", come_back(*.after_s))]
    Busy {
        /// Which.
        registry: String,
        /// The seconds that it says, if it says any.
        after_s: Option<u64>,
    },
    /// It answered with another status.
    #[error("the registry {registry} failed: status {status}")]
    Status {
        /// Which.
        registry: String,
        /// The status.
        status: u16,
        /// What it said.
        said: Option<String>,
    },
    /// It led somewhere where nothing is fetched from.
    #[error("the registry {registry} redirects {why}")]
    Redirect {
        /// Which.
        registry: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// Its answer has not the form that it must have.
    #[error("the registry's {what} cannot be read: {reason}")]
    BadAnswer {
        /// Which part.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// More than there may be.
    #[error("the {what} has {len} bytes, at most {max} are possible")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// What it has, or claims to have, or more than the limit.
        len: u64,
        /// The limit.
        max: usize,
    },
    /// It ended early, also when it was asked for again.
    #[error("the {what} ended after {len} of {wanted} bytes")]
    Truncated {
        /// Which part.
        what: &'static str,
        /// What came.
        len: u64,
        /// What was announced.
        wanted: u64,
    },
    /// It is something else than what was asked for.
    #[error("the {what} is not what its digest says")]
    WrongDigest {
        /// Which part.
        what: &'static str,
        /// What was asked for.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// There is something, and it is no plugin.
    #[error("it is no plugin: {reason}")]
    NotAPlugin {
        /// What it is instead.
        reason: String,
    },
    /// The manifest in the config is not the one in the component.
    #[error("the registry shows another manifest than the component carries")]
    ManifestDiffers,
    /// The tag names something else already.
    #[error("the tag '{tag}' names something else already")]
    TagTaken {
        /// Which.
        tag: String,
        /// What it names.
        there: Digest,
        /// What would be pushed.
        ours: Digest,
    },
    /// The credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The HTTP library cannot be set up: no roots of trust, for example.
    #[error("HTTP cannot be set up: {reason}")]
    Setup {
        /// What it says.
        reason: String,
    },
}

fn refused(has_credentials: bool) -> &'static str {
    if has_credentials {
        "refuses the credentials"
    } else {
        "asks for credentials, and there are none for it"
    }
}

fn come_back(after_s: Option<u64>) -> String {
    after_s.map_or_else(String::new, |seconds| format!("; it says to come back in {seconds} s"))
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> ApiError {
        let told = ApiError::new(code_of(&error), &error);
        match error {
            RegistryError::Unauthorized { registry, said, .. } => {
                with_said(told, said).help(format!("docker login {registry}"))
            }
            RegistryError::Denied { registry, said } => with_said(told, said)
                .help(format!("docker login {registry}       as somebody who may do this")),
            RegistryError::Status { said, .. } => with_said(told, said).help("try again later"),
            RegistryError::WrongDigest { wanted, found, .. } => told
                .fact("wanted", wanted)
                .fact("found", found)
                .help("ask the publisher for the digest, and install REFERENCE@sha256:DIGEST"),
            RegistryError::TagTaken { there, ours, .. } => told
                .fact("there", there)
                .fact("ours", ours)
                .help("publish under another tag, or move this one with --replace"),
            RegistryError::Unreachable { url, .. } if url.starts_with("https:") => {
                told.help(format!("curl -v {url}")).help("a registry without TLS needs --plain-http")
            }
            RegistryError::Unreachable { url, .. } | RegistryError::TimedOut { url, .. } => {
                told.help(format!("curl -v {url}"))
            }
            RegistryError::NotFound { .. } => {
                told.help("compare host, repository and tag; private ones need a login")
            }
            RegistryError::NotAPlugin { .. } => {
                told.help("meshctl plugin publish FILE REFERENCE    makes one")
            }
            RegistryError::Credentials(CredentialError::Config { file, .. }) => {
                told.fact("file", file.display()).help("docker login REGISTRY    writes the file anew")
            }
            RegistryError::Credentials(CredentialError::Helper { name, .. }) => {
                told.help(format!("echo REGISTRY | docker-credential-{name} get    shows what is wrong"))
            }
            RegistryError::Busy { .. } => told.help("try again later"),
            _ => told.help("try again; if it stays so, tell the registry's operator"),
        }
    }
}

fn with_said(told: ApiError, said: Option<String>) -> ApiError {
    match said {
        Some(said) => told.fact("registry says", said),
        None => told,
    }
}

fn code_of(error: &RegistryError) -> &'static Code {
    match error {
        RegistryError::Unreachable { .. } | RegistryError::Setup { .. } => &code::REGISTRY_UNREACHABLE,
        RegistryError::TimedOut { .. } => &code::TIMED_OUT,
        RegistryError::Unauthorized { .. } | RegistryError::Denied { .. } => &code::REGISTRY_REFUSED,
        RegistryError::NotFound { .. } => &code::NOT_IN_REGISTRY,
        RegistryError::Busy { .. } => &code::REGISTRY_BUSY,
        RegistryError::Status { .. } | RegistryError::Redirect { .. } | RegistryError::BadAnswer { .. } => {
            &code::REGISTRY_FAILED
        }
        RegistryError::TooLarge { .. } => &code::PLUGIN_TOO_LARGE,
        RegistryError::Truncated { .. } | RegistryError::WrongDigest { .. } => &code::WRONG_DIGEST,
        RegistryError::NotAPlugin { .. } => &code::NOT_AN_ARTIFACT,
        RegistryError::ManifestDiffers => &code::MANIFEST_DIFFERS,
        RegistryError::TagTaken { .. } => &code::TAG_TAKEN,
        RegistryError::Credentials(_) => &code::BAD_CREDENTIALS,
    }
}

impl From<LockError> for ApiError {
    fn from(error: LockError) -> ApiError {
        let told = ApiError::new(&code::LOCK_UNUSABLE, &error);
        match error {
            LockError::Damaged { path, .. } => {
                told.help(format!("mv {0} {0}.damaged    and install with --update", path.display()))
            }
            LockError::Changed { .. } => told.help("install it once without --offline"),
            LockError::Full => told.help("remove lines from plugins.lock that are not needed any more"),
            LockError::Io { path, .. } => told.help(format!("ls -ld {}", path.display())),
        }
    }
}
