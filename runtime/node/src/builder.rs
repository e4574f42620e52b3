//! Starting a node: identity, store, plugins and transports, then the driver.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use mesh_plugin_host::{Cache, Compiler, Engine};
use mesh_proto::directory::LinkPolicy;
use mesh_proto::node::{Config, Input, Node};
use mesh_proto::queue::HeldKey;
use mesh_proto::tuning::Tuning;
use tokio::sync::{broadcast, mpsc, watch};

use crate::api::{ApiError, Event, EventKind, ProfileChange, Time};
use crate::checks;
use crate::driver::clock::{Clock, unix_ms};
use crate::driver::hierarchy::META_PROFILE;
use crate::driver::{Driver, Parts, inbox::Inbox};
use crate::hierarchy::Place;
use crate::keys::{KeyError, NodeKey};
use crate::mesh::{CALLS, EVENTS, Mesh, PUBLISHES, Shared};
use crate::plugins::{Plugins, StartError as PluginError, Terms};
use crate::store::{
    DataDir, LockError, OpenError, STORE_FILE, Store, StoreConfig, StoreError, StoreEvents, Table, Write,
};
use crate::transport::memory::{Hub, MemoryTransport};
use crate::transport::quic::{QuicConfig, QuicTransport};
use crate::transport::{self, Transport, memory, quic};

/// Bytes of stored messages that are read at the start, at most; the core's own limit for all recipients.
const RESTORED_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of windows and records that are read at the start, at most.
const KNOWN_BYTES: usize = 64 * 1024 * 1024;

const META_EPOCH: &[u8] = b"epoch";
const META_NAME: &[u8] = b"name";

/// What a node is started from. The defaults make an ephemeral node on a free port of the loopback address.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use mesh_node::Mesh;
///
/// let mesh = Mesh::builder().name("ada").start().await?;
/// assert_eq!(mesh.name(), "ada");
/// mesh.shutdown().await;
/// # Ok::<(), mesh_node::StartError>(()) }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Builder {
    name: Option<String>,
    data_dir: Option<PathBuf>,
    cache_dir: Option<PathBuf>,
    listen: Vec<SocketAddr>,
    memory: Vec<(Hub, String)>,
    join: Vec<String>,
    links: LinkPolicy,
    tuning: Tuning,
    labels: BTreeMap<String, String>,
    profile: Option<ProfileChange>,
    terms: Terms,
    compiler: Option<Compiler>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another node has the data directory, or it cannot be used.
    #[error(transparent)]
    DataDir(#[from] LockError),
    /// The identity is missing, damaged or exposed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] quic::BindError),
    /// The name in memory is taken.
    #[error(transparent)]
    Memory(#[from] memory::BindError),
    /// The plugin host does not start.
    #[error(transparent)]
    Plugins(#[from] PluginError),
    /// The name cannot be used.
    #[error("a node's name has 1 to {max} bytes, none of them a control character")]
    BadName {
        /// The limit.
        max: usize,
    },
    /// An interval, a size or a bound cannot be used.
    #[error("{what} of {value} is not within {range}")]
    OutOfRange {
        /// Which: a field of [`Tuning`], or `links`.
        what: &'static str,
        /// What it was set to.
        value: String,
        /// What it can be.
        range: &'static str,
    },
    /// The profile for the hierarchy cannot be used.
    #[error("{}", .0.message)]
    BadProfile(ApiError),
    /// A label cannot be used.
    #[error("the label '{label}' cannot be used: {why}")]
    BadLabel {
        /// Its key.
        label: String,
        /// Why not.
        why: String,
    },
}

impl Builder {
    /// Sets the name; without one the stored name is used, or else the first digits of the id.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Keeps identity, messages and plugins in this directory; without it they are gone with the process.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Builder {
        self.data_dir = Some(dir.into());
        self
    }

    /// Keeps compiled plugins here. Default: `cache` in the data directory, or nowhere.
    #[must_use]
    pub fn cache_dir(mut self, dir: impl Into<PathBuf>) -> Builder {
        self.cache_dir = Some(dir.into());
        self
    }

    /// Listens on this UDP address too; port 0 takes a free one.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr) -> Builder {
        self.listen.push(addr);
        self
    }

    /// Listens as `mem:NAME` in a hub of this process, and on no socket unless one is asked for.
    #[must_use]
    pub fn memory(mut self, hub: &Hub, name: &str) -> Builder {
        self.memory.push((hub.clone(), name.to_owned()));
        self
    }

    /// Keeps a link to the node at this address, `HOST:PORT` or `mem:NAME`.
    #[must_use]
    pub fn join(mut self, addr: impl Into<String>) -> Builder {
        self.join.push(addr.into());
        self
    }

    /// Lets all nodes know this of the node, as `label.KEY`; at most [`MAX_LABELS`](crate::MAX_LABELS).
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Builder {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Takes part in the hierarchy: as the store keeps it from before, with this change. Default: as the store
    /// keeps it, and not at all in a new node.
    #[must_use]
    pub fn profile(mut self, change: ProfileChange) -> Builder {
        self.profile = Some(change);
        self
    }

    /// Sets how fast the node beats and how much it remembers; see [`Tuning`].
    #[must_use]
    pub fn tuning(mut self, tuning: Tuning) -> Builder {
        self.tuning = tuning;
        self
    }

    /// Sets whom to link to by itself. Default: [`LinkPolicy::Adaptive`].
    #[must_use]
    pub fn links(mut self, links: LinkPolicy) -> Builder {
        self.links = links;
        self
    }

    /// Starts with the native policies alone and compiles nothing.
    #[must_use]
    pub fn without_plugins(mut self) -> Builder {
        self.terms.is_native = true;
        self
    }

    /// Compiles plugins that did not come with this program in a process of their own, with limits; see
    /// [`Compiler`]. Default: in this process, without limits.
    #[must_use]
    pub fn plugin_compiler(mut self, compiler: Compiler) -> Builder {
        self.compiler = Some(compiler);
        self
    }

    /// Installs and binds signed plugins only, by keys that are trusted for them; built-in plugins are exempt.
    /// Default: what is unsigned is taken, because only the operator can bring it.
    #[must_use]
    pub fn require_signed_plugins(mut self) -> Builder {
        self.terms.is_signature_required = true;
        self
    }

    /// Sets the bytes of the decision journal that each slot keeps, and again of what is remembered of messages; 0 for
    /// none of both. Default and limit: [`JOURNAL_BYTES`](mesh_plugin_host::limits::JOURNAL_BYTES).
    #[must_use]
    pub fn journal(mut self, bytes: usize) -> Builder {
        self.terms.journal_bytes = Some(bytes);
        self
    }

    /// Starts the node on the current tokio runtime; a current-thread runtime is the fastest.
    ///
    /// # Errors
    /// Why it does not start; nothing is left running.
    pub async fn start(self) -> Result<Mesh, StartError> {
        let began = Instant::now();
        checks::tuning(&self.tuning)?;
        checks::links(self.links)?;
        checks::labels(&self.labels)?;
        let dir = self.data_dir.as_deref().map(DataDir::lock).transpose()?;
        let (key, store, store_events) = open(dir.as_ref())?;
        let epoch = next_epoch(&store)?;
        let name = self.pick_name(&store, &key)?;
        let cache_dir = self.cache_dir.clone().or_else(|| Some(dir.as_ref()?.path().join("cache")));
        let plugins = Plugins::open(&self.engine(cache_dir)?, &key.id(), &name, &store, self.terms)?;

        let (events, transport_events) = transport::events();
        let transports = self.transports(&key, events)?;
        let addrs: Vec<String> = transports.iter().flat_map(|transport| transport.local_addrs()).collect();
        let dialable: Vec<String> = addrs.iter().flat_map(|addr| dialable(addr)).collect();
        let clock = Clock::start();
        let seed = getrandom::u64().unwrap_or(epoch);
        let config = Config {
            key: key.signing().clone(),
            name: name.clone(),
            addrs: dialable.clone(),
            epoch,
            seed,
            links: self.links,
            tuning: self.tuning,
        };
        let mut node = Node::new(clock.now(), config);
        if self.terms.journal_bytes != Some(0) {
            node.keep_decided();
        }
        let inputs = self.first_inputs(&store)?;
        let inbox = Inbox::open(&store, epoch)?;
        let place = self.place(&store)?;

        let (publishes, publish_calls) = mpsc::channel(PUBLISHES);
        let (calls, call_receiver) = mpsc::channel(CALLS);
        let (names_sender, names) = watch::channel(Arc::new(vec![(key.id(), name.clone())]));
        let (stopped_sender, stopped) = watch::channel(false);
        let (event_sender, _) = broadcast::channel(EVENTS);
        for addr in &addrs {
            let kind = EventKind::Listening { transport: scheme_of(addr).to_owned(), addr: addr.clone() };
            // Nobody can listen yet but those who subscribe before the driver's first turn.
            let _ = event_sender.send(Event { at: Time(unix_ms()), kind });
        }
        let shared = Shared {
            id: key.id(),
            name,
            addrs: dialable,
            publishes,
            calls: calls.clone(),
            names,
            events: event_sender.clone(),
            stopped,
        };
        let first = vec![
            Write::Put {
                table: Table::Meta,
                key: META_EPOCH.to_vec(),
                value: epoch.to_be_bytes().to_vec().into(),
            },
            Write::Put { table: Table::Meta, key: META_NAME.to_vec(), value: shared.name.clone().into() },
        ];
        let driver = Driver::new(Parts {
            node,
            clock,
            store,
            store_events,
            transports,
            transport_events,
            publish_calls,
            calls: call_receiver,
            call_sender: calls,
            names: names_sender,
            events: event_sender,
            stopped: stopped_sender,
            plugins,
            inbox,
            began,
            addrs,
            key_file: dir.as_ref().map(|dir| dir.path().join(crate::keys::KEY_FILE)),
            dir,
            joins: self.join,
            tuning: (self.links, self.tuning),
            labels: self.labels,
            place,
        });
        tokio::spawn(driver.run(inputs, first));
        Ok(Mesh(Arc::new(shared)))
    }

    fn engine(&self, cache_dir: Option<PathBuf>) -> Result<Engine, PluginError> {
        // A node can do without its cache: it compiles again at every start.
        let cache = cache_dir.and_then(|dir| match Cache::open(dir) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!(%error, "no compile cache");
                None
            }
        });
        let engine = Engine::new(cache)?;
        Ok(match &self.compiler {
            Some(compiler) => engine.with_compiler(compiler.clone()),
            None => engine,
        })
    }

    fn pick_name(&self, store: &Store, key: &NodeKey) -> Result<String, StartError> {
        let max = mesh_proto::record::MAX_NAME;
        let stored = store.get(Table::Meta, META_NAME)?;
        let stored = stored.and_then(|name| String::from_utf8(name.to_vec()).ok());
        let name = self.name.clone().or(stored).unwrap_or_else(|| key.id().short());
        if name.is_empty() || name.len() > max || name.chars().any(char::is_control) {
            return Err(StartError::BadName { max });
        }
        Ok(name)
    }

    fn place(&self, store: &Store) -> Result<Option<Place>, StartError> {
        let stored = store.get(Table::Meta, META_PROFILE)?.and_then(|bytes| Place::from_bytes(&bytes));
        let Some(change) = &self.profile else { return Ok(stored) };
        Ok(Some(Place::changed(stored.as_ref(), change).map_err(StartError::BadProfile)?))
    }

    fn transports(
        &self,
        key: &NodeKey,
        events: transport::EventSender,
    ) -> Result<Vec<Box<dyn Transport>>, StartError> {
        let mut out: Vec<Box<dyn Transport>> = Vec::new();
        for (hub, name) in &self.memory {
            out.push(Box::new(MemoryTransport::bind(hub, name, key.id(), events.clone())?));
        }
        if out.is_empty() || !self.listen.is_empty() {
            let anywhere = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
            let listen = if self.listen.is_empty() { anywhere } else { self.listen.clone() };
            let config = QuicConfig { listen, ..QuicConfig::default() };
            out.push(Box::new(QuicTransport::bind(config, key, events)?));
        }
        Ok(out)
    }

    fn first_inputs(&self, store: &Store) -> Result<Vec<Input>, StartError> {
        let mut inputs = Vec::new();
        let known = |table| store.load(table, KNOWN_BYTES).map(|scan| scan.rows);
        inputs.extend(known(Table::Peers)?.into_iter().map(|(_, bytes)| Input::RestoreRecord(bytes)));
        let seen = known(Table::Seen)?.into_iter();
        inputs.extend(seen.map(|(flow, window)| Input::RestoreSeen { flow: flow.into(), window }));
        for (key, bytes) in store.load(Table::Held, RESTORED_BYTES)?.rows {
            if let Some(key) = key.last_chunk::<8>() {
                inputs.push(Input::RestoreHeld { key: HeldKey(u64::from_be_bytes(*key)), bytes });
            }
        }
        inputs.extend(self.join.iter().map(|addr| Input::Seed(addr.clone())));
        Ok(inputs)
    }
}

fn open(dir: Option<&DataDir>) -> Result<(NodeKey, Store, StoreEvents), StartError> {
    match dir {
        Some(dir) => {
            let (key, _) = NodeKey::load_or_create(dir.path(), &[STORE_FILE])?;
            let (store, events) = Store::open(dir, StoreConfig::default())?;
            Ok((key, store, events))
        }
        None => {
            let (store, events) = Store::memory();
            Ok((NodeKey::generate()?, store, events))
        }
    }
}

/// A start is numbered by its time, and above every earlier one even when the clock was put back.
fn next_epoch(store: &Store) -> Result<u64, StartError> {
    let last = store.get(Table::Meta, META_EPOCH)?;
    let last = last.and_then(|bytes| Some(u64::from_be_bytes(*bytes.first_chunk::<8>()?))).unwrap_or(0);
    Ok(unix_ms().max(last.saturating_add(1)))
}

/// Returns `quic` or `memory` for an address as a transport writes it.
pub(crate) fn scheme_of(addr: &str) -> &'static str {
    if addr.starts_with("mem:") { "memory" } else { "quic" }
}

/// Returns what others can dial for an address that this node listens on: "every address" becomes those of
/// the interfaces, the loopback ones only when there is nothing else.
fn dialable(addr: &str) -> Vec<String> {
    let Ok(socket) = addr.parse::<SocketAddr>() else { return vec![addr.to_owned()] };
    if !socket.ip().is_unspecified() {
        return vec![addr.to_owned()];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the addresses of this machine are not known");
        Vec::new()
    });
    let same_family = interfaces.into_iter().filter(|i| i.ip().is_ipv4() == socket.is_ipv4());
    let (loopback, others): (Vec<_>, Vec<_>) = same_family.partition(if_addrs::Interface::is_loopback);
    let chosen = if others.is_empty() { loopback } else { others };
    chosen.into_iter().map(|i| SocketAddr::new(i.ip(), socket.port()).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_becomes_addresses_that_can_be_dialed() {
        let found = dialable("0.0.0.0:4747");

        assert!(!found.is_empty());
        assert!(
            found.iter().all(|addr| addr.ends_with(":4747") && !addr.starts_with("0.0.0.0")),
            "{found:?}"
        );
        assert_eq!(dialable("127.0.0.1:1"), ["127.0.0.1:1"]);
        assert_eq!(dialable("mem:ada"), ["mem:ada"]);
    }
}
