//! From options to a running node; shared by `up` and by the benchmark's processes.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use mesh_node::api::{ApiError, Code, ProfileChange, code};
use mesh_node::keys::{KEY_FILE, KeyError};
use mesh_node::store::{LockError, OpenError};
use mesh_node::{LinkPolicy, Mesh, StartError, Tuning};

use crate::names;

/// What a node starts with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its name; a stored or a random one when absent.
    pub name: Option<String>,
    /// Where its data is; `None` for a node that keeps nothing.
    pub data_dir: Option<PathBuf>,
    /// Where it listens, as `HOST:PORT`; the default address when empty.
    pub listen: Vec<String>,
    /// Whom it joins, as `HOST:PORT`.
    pub join: Vec<String>,
    /// Whom it links with.
    pub links: LinkPolicy,
    /// How fast it beats, how much it remembers.
    pub tuning: Tuning,
    /// What all nodes shall know of it, by key.
    pub labels: Vec<(String, String)>,
    /// What it is in the hierarchy; `None` for what it was before.
    pub profile: Option<ProfileChange>,
    /// Whether nothing unsigned is installed or bound.
    pub require_signed_plugins: bool,
    /// Bytes of each slot's decision journal; `None` for the default.
    pub journal: Option<usize>,
}

/// The port that a node listens on unless told otherwise; ux.md, section 2.7.
const PORT: u16 = 4747;

/// Says whether a node without data in this directory yet would be a new one.
pub fn is_new(data_dir: Option<&Path>) -> bool {
    data_dir.is_none_or(|dir| !dir.join(KEY_FILE).exists())
}

/// Starts the node; it is ready when this returns.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn node(options: Options) -> Result<Mesh, ApiError> {
    let mut builder = Mesh::builder();
    if let Some(name) = name(&options)? {
        builder = builder.name(name);
    }
    if let Some(dir) = &options.data_dir {
        builder = builder.data_dir(dir);
    }
    // One cache for all nodes of this user, so that the second one starts at once.
    if let Some(dir) = super::plugin::cache_dir() {
        builder = builder.cache_dir(dir);
    }
    for addr in addresses(&options.listen).await? {
        builder = builder.listen(addr);
    }
    for addr in &options.join {
        builder = builder.join(checked(addr)?);
    }
    for (key, value) in &options.labels {
        builder = builder.label(key, value);
    }
    if let Some(profile) = options.profile {
        builder = builder.profile(profile);
    }
    if let Some(bytes) = options.journal {
        builder = builder.journal(bytes);
    }
    if options.require_signed_plugins {
        builder = builder.require_signed_plugins();
    }
    if let Some(compiler) = super::plugin::compiler() {
        builder = builder.plugin_compiler(compiler);
    }
    builder = builder.links(options.links).tuning(options.tuning);
    builder.start().await.map_err(|error| refused(&error))
}

// A node that exists has its name in its store.
fn name(options: &Options) -> Result<Option<String>, ApiError> {
    match &options.name {
        Some(name) => Ok(Some(name.clone())),
        None if is_new(options.data_dir.as_deref()) => {
            names::random().map(Some).map_err(|error| ApiError::new(&code::INTERNAL, error))
        }
        None => Ok(None),
    }
}

async fn addresses(listen: &[String]) -> Result<Vec<SocketAddr>, ApiError> {
    if listen.is_empty() {
        return Ok(vec![default_address()]);
    }
    let mut addresses = Vec::new();
    for text in listen {
        let found = tokio::net::lookup_host(checked(text)?).await;
        let found = found.map_err(|error| bad_address(text).fact("system", error))?.next();
        addresses.push(found.ok_or_else(|| bad_address(text))?);
    }
    Ok(addresses)
}

// A second node on the same machine takes any free port instead, because nobody asked for a certain one.
fn default_address() -> SocketAddr {
    let address = SocketAddr::from(([0, 0, 0, 0], PORT));
    if UdpSocket::bind(address).is_ok() { address } else { SocketAddr::from(([0, 0, 0, 0], 0)) }
}

fn checked(text: &str) -> Result<&str, ApiError> {
    let port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match port {
        Some((host, _)) if !host.is_empty() && (host.starts_with('[') || !host.contains(':')) => Ok(text),
        _ => Err(bad_address(text)),
    }
}

fn bad_address(text: &str) -> ApiError {
    ApiError::new(&code::BAD_ADDRESS, format!("'{text}' is no address that can be used"))
        .fact("form", "HOST:PORT, such as 192.168.1.7:4747, [::1]:4747 or example.org:4747")
}

fn refused(error: &StartError) -> ApiError {
    let (code, help): (&'static Code, Option<String>) = match error {
        StartError::DataDir(error @ LockError::AlreadyRunning { .. }) => {
            (&code::DATA_DIR_IN_USE, Some(error.remedy()))
        }
        StartError::DataDir(error) => (&code::STORE_UNWRITABLE, Some(error.remedy())),
        StartError::Key(error) => (key_code(error), Some(error.remedy())),
        StartError::Store(OpenError::InUse { .. }) => (&code::DATA_DIR_IN_USE, None),
        StartError::Store(OpenError::Io { .. }) => (&code::STORE_UNWRITABLE, None),
        StartError::Store(_) | StartError::Read(_) => (&code::STORE_DAMAGED, None),
        StartError::Listen(_) | StartError::Memory(_) => {
            (&code::LISTEN_FAILED, Some("meshctl up --listen 0.0.0.0:0    takes any free port".to_owned()))
        }
        StartError::BadName { .. } => (&code::BAD_NAME, None),
        StartError::OutOfRange { what, value, .. } => (&code::BAD_VALUE, nearest(what, value)),
        StartError::BadLabel { .. } | StartError::BadProfile(_) => (&code::BAD_VALUE, None),
        StartError::Plugins(_) => (&code::INTERNAL, None),
    };
    let told = ApiError::new(code, error);
    match help {
        Some(help) => told.help(help),
        None => told,
    }
}

// Whoever forgot the unit of 500 meant milliseconds.
fn nearest(what: &str, value: &str) -> Option<String> {
    let seconds: u32 = value.strip_suffix('s')?.parse().ok()?;
    (seconds >= 10).then(|| format!("did you mean --{what} {seconds}ms?"))
}

fn key_code(error: &KeyError) -> &'static Code {
    match error {
        KeyError::Missing { .. } | KeyError::Lost { .. } => &code::KEY_MISSING,
        KeyError::WrongLength { .. } | KeyError::NotAFile { .. } => &code::KEY_DAMAGED,
        KeyError::Exposed { .. } => &code::KEY_EXPOSED,
        KeyError::Io { .. } => &code::STORE_UNWRITABLE,
        KeyError::Random { .. } => &code::INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_unit_is_guessed() {
        assert_eq!(nearest("heartbeat", "500s").as_deref(), Some("did you mean --heartbeat 500ms?"));
        assert_eq!(nearest("heartbeat", "5ms"), None);
        assert_eq!(nearest("links", "3..2"), None);
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for (text, good) in [
            ("127.0.0.1:4747", true),
            ("[::1]:0", true),
            ("example.org:4747", true),
            ("example.org", false),
            (":4747", false),
            ("::1", false),
            ("host:70000", false),
            ("", false),
        ] {
            assert_eq!(checked(text).is_ok(), good, "{text}");
        }
    }
}
