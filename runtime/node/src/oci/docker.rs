//! Credentials as Docker keeps them: `config.json`, and the helper programs that it names.
//!
//! Reads and never writes. What it reads is wiped from memory when it is dropped, and has no `Debug` that
//! shows it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use zeroize::Zeroizing;

/// Bytes of `config.json`; a file with a hundred registries has 20 KiB.
const MAX_CONFIG: u64 = 1 << 20;
/// Bytes of a helper's answer; tokens of cloud providers have up to 8 KiB.
const MAX_ANSWER: u64 = 64 << 10;
/// A helper may ask a person to unlock a keychain.
const HELPER_WITHIN: Duration = Duration::from_secs(60);
/// The name that a helper gives for an identity token instead of a password.
const TOKEN_USER: &str = "<token>";
/// The registry that Docker keeps under a name of its own.
const DOCKER_HUB: [&str; 2] = ["docker.io", "registry-1.docker.io"];
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Where Docker keeps its credentials.
#[derive(Clone, Debug, Default)]
pub struct Docker {
    file: Option<PathBuf>,
}

/// What proves to a registry who asks.
#[derive(Clone)]
pub(super) enum Credentials {
    /// A name and a password, or a personal token.
    Basic { user: String, password: Zeroizing<String> },
    /// Exchanged for a short-lived token.
    Identity(Zeroizing<String>),
    /// Sent as it is.
    Bearer(Zeroizing<String>),
}

/// Why credentials cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file is there, and cannot be used.
    #[error("Docker's configuration cannot be used: {reason}")]
    Config {
        /// Which.
        file: PathBuf,
        /// What is wrong; never what stands there.
        reason: String,
    },
    /// A helper that the file names did not answer as it should.
    #[error("the credential helper docker-credential-{name} {reason}")]
    Helper {
        /// Its name.
        name: String,
        /// What is wrong; never what it said.
        reason: String,
    },
}

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    auth: Option<Zeroizing<String>>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    #[serde(rename = "identitytoken")]
    identity: Option<Zeroizing<String>>,
    #[serde(rename = "registrytoken")]
    bearer: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: Zeroizing<String>,
}

impl Docker {
    /// Reads this file when credentials are asked for; a file that is missing holds none.
    pub fn at(file: impl Into<PathBuf>) -> Docker {
        Docker { file: Some(file.into()) }
    }

    /// Knows no credentials.
    pub fn none() -> Docker {
        Docker::default()
    }

    /// Returns what is kept for this registry. Asks the helpers that the file names.
    pub(super) async fn credentials(&self, registry: &str) -> Result<Option<Credentials>, CredentialError> {
        let Some(path) = &self.file else { return Ok(None) };
        let Some(file) = read(path)? else { return Ok(None) };
        let key = if DOCKER_HUB.contains(&registry) { DOCKER_HUB_KEY } else { registry };
        if let Some(name) = file.helpers.get(registry).or(file.store.as_ref())
            && let Some(found) = ask(name, key).await?
        {
            return Ok(Some(found));
        }
        let entry = file.auths.iter().find(|(of, _)| of.as_str() == key || host_of(of) == registry);
        entry.map_or(Ok(None), |(_, entry)| entry.credentials().map_err(|reason| wrong(path, reason)))
    }
}

/// Returns the host of a key, which older files keep as a URL.
fn host_of(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

fn read(path: &Path) -> Result<Option<File>, CredentialError> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| wrong(path, error))?,
    };
    let mut text = Zeroizing::new(Vec::new());
    io::Read::read_to_end(&mut io::Read::take(file, MAX_CONFIG + 1), &mut text)
        .map_err(|error| wrong(path, error))?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(wrong(path, format!("it has more than {MAX_CONFIG} bytes")));
    }
    // Where it breaks, and not what stands there: that may be a password.
    let place = |error: serde_json::Error| {
        format!("it is no JSON at line {} column {}", error.line(), error.column())
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| wrong(path, place(error)))
}

fn wrong(path: &Path, reason: impl fmt::Display) -> CredentialError {
    CredentialError::Config { file: path.to_owned(), reason: reason.to_string() }
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>, &'static str> {
        if let Some(token) = present(&self.identity) {
            return Ok(Some(Credentials::Identity(token)));
        }
        if let Some(token) = present(&self.bearer) {
            return Ok(Some(Credentials::Bearer(token)));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(Credentials::Basic { user: user.clone(), password: password.clone() }));
        }
        present(&self.auth).map(|auth| basic(&auth)).transpose()
    }
}

fn present(text: &Option<Zeroizing<String>>) -> Option<Zeroizing<String>> {
    text.clone().filter(|text| !text.is_empty())
}

/// Reads the base64 of `name:password`.
fn basic(auth: &str) -> Result<Credentials, &'static str> {
    const FORM: &str = "an 'auth' in it is not the base64 of NAME:PASSWORD";
    let bytes = Zeroizing::new(STANDARD.decode(auth.trim()).map_err(|_| FORM)?);
    // Docker has written a trailing NUL at times.
    let text = std::str::from_utf8(&bytes).map_err(|_| FORM)?.trim_end_matches('\0');
    let (user, password) = text.split_once(':').ok_or(FORM)?;
    Ok(Credentials::Basic { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) })
}

/// Asks a helper program; `None` when it has nothing for this registry.
async fn ask(name: &str, key: &str) -> Result<Option<Credentials>, CredentialError> {
    let failed = |reason: String| CredentialError::Helper { name: name.to_owned(), reason };
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !is_name {
        return Err(failed("has a name that no program can have".to_owned()));
    }
    let answer = tokio::time::timeout(HELPER_WITHIN, run(name, key)).await;
    let answer =
        answer.map_err(|_| failed(format!("gave no answer within {} s", HELPER_WITHIN.as_secs())))?;
    let (out, is_success) = answer.map_err(|error| failed(format!("cannot be run: {error}")))?;
    if !is_success {
        let has_nothing = String::from_utf8_lossy(&out).contains("credentials not found");
        return if has_nothing { Ok(None) } else { Err(failed("failed".to_owned())) };
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&out).map_err(|_| failed("gave an answer of another form".to_owned()))?;
    Ok(match answer.user.as_str() {
        "" if answer.secret.is_empty() => None,
        TOKEN_USER => Some(Credentials::Identity(answer.secret)),
        _ => Some(Credentials::Basic { user: answer.user, password: answer.secret }),
    })
}

async fn run(name: &str, key: &str) -> io::Result<(Zeroizing<Vec<u8>>, bool)> {
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading has its reasons; its answer counts.
        let _ = stdin.write_all(key.as_bytes()).await;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(MAX_ANSWER as usize));
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut out).await?;
    }
    Ok((out, child.wait().await?.success()))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Basic { .. } => "Basic(…)",
            Credentials::Identity(_) => "Identity(…)",
            Credentials::Bearer(_) => "Bearer(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, registry: &str) -> Result<Option<String>, CredentialError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, json).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(Docker::at(file).credentials(registry))?;
        Ok(found.map(|credentials| match credentials {
            Credentials::Basic { user, password } => format!("{user} {}", *password),
            Credentials::Identity(token) => format!("identity {}", *token),
            Credentials::Bearer(token) => format!("bearer {}", *token),
        }))
    }

    #[test]
    fn a_registry_gets_what_is_kept_for_it_and_nothing_else() {
        // YWRhOnM6ZWNyZXQ= is ada:s:ecret
        let file = r#"{ "auths": {
            "ghcr.io": { "auth": "YWRhOnM6ZWNyZXQ=" },
            "https://old.example.org/v1/": { "username": "bob", "password": "p" },
            "https://index.docker.io/v1/": { "auth": "aHViOng=" },
            "acr.example.org": { "auth": "MDA6", "identitytoken": "refresh" },
            "tok.example.org": { "registrytoken": "t" },
            "empty.example.org": {}
        }, "unknown": [1] }"#;
        for (registry, want) in [
            ("ghcr.io", Some("ada s:ecret")),
            ("old.example.org", Some("bob p")),
            ("docker.io", Some("hub x")),
            ("acr.example.org", Some("identity refresh")),
            ("tok.example.org", Some("bearer t")),
            ("empty.example.org", None),
            ("ghcr.io:444", None),
            ("evil-ghcr.io", None),
            ("io", None),
        ] {
            assert_eq!(found(file, registry).unwrap().as_deref(), want, "{registry}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_what_stands_there() {
        for json in [
            r#"{ "auths": { "h": { "auth": "not base64 secret" } } }"#,
            r#"{ "auths": { "h": { "auth": "c2VjcmV0" } } }"#,
            r#"{ "auths": { "h": "secret" } }"#,
            r#"{ "auths": secret"#,
            r#"{ "credHelpers": { "h": "../secret" } }"#,
            r#"{ "credsStore": "no-such-secret-program" }"#,
        ] {
            let error = found(json, "h").unwrap_err();
            let told = match &error {
                CredentialError::Config { reason, .. } => reason.clone(),
                CredentialError::Helper { reason, .. } => reason.clone(),
            };
            assert!(!told.contains("secret"), "{told}");
        }
        assert!(found("{}", "h").unwrap().is_none());
        assert!(matches!(found(&" ".repeat(2 << 20), "h"), Err(CredentialError::Config { .. })));
    }
}
