//! Bytes to a checked component: size, shape, imports against grants, interface versions, manifest, compile.
//!
//! Everything that can be read from the bytes is checked before the compiler sees them. Nothing here runs
//! a guest's functions except its start, once, under limits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::Linker;

use crate::engine::Engine;
use crate::fault::Fault;
use crate::inspect::{Inspection, NotAComponent, inspect};
use crate::limits;
use crate::manifest::{Manifest, ManifestError};
use crate::sandbox::{self, Host};
use crate::settings::clip;
use crate::wasi;
use crate::wit;

/// The kind of a plugin: which interface it exports, and so which slots it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Chooses next hops; fits the slot `route`.
    Routing,
    /// Classifies messages and divides links; fits the slot `qos`.
    Qos,
    /// Scores parents; fits the slot `topology`.
    Topology,
    /// Says whom there may be links to; fits the slot `admission`.
    Admission,
    /// Says what is kept for nodes that cannot be reached; fits the slot `carry`.
    Carry,
    /// Reacts to events; fits the slot `beacon`.
    Handler,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] =
        [Kind::Routing, Kind::Qos, Kind::Topology, Kind::Admission, Kind::Carry, Kind::Handler];

    /// Its name, its slot, the WIT package of its world, and the interface that it exports.
    fn names(self) -> [&'static str; 4] {
        match self {
            Kind::Routing => ["routing", "route", "mesh:routing@0.1.0", "mesh:routing/policy"],
            Kind::Qos => ["qos", "qos", "mesh:qos@0.1.0", "mesh:qos/policy"],
            Kind::Topology => ["topology", "topology", "mesh:topology@0.1.0", "mesh:topology/policy"],
            Kind::Admission => ["admission", "admission", "mesh:admission@0.1.0", "mesh:admission/policy"],
            Kind::Carry => ["carry", "carry", "mesh:carry@0.1.0", "mesh:carry/policy"],
            Kind::Handler => ["handler", "beacon", "mesh:handler@0.1.0", "mesh:handler/events"],
        }
    }

    /// Returns the name of the kind: `routing`, `qos`, `topology`, `admission`, `carry` or `handler`.
    pub fn name(self) -> &'static str {
        let [name, ..] = self.names();
        name
    }

    /// Returns the slot it fits: `route`, `qos`, `topology`, `admission`, `carry` or `beacon`.
    pub fn slot(self) -> &'static str {
        let [_, slot, ..] = self.names();
        slot
    }

    /// Returns the kind that fits the slot with this name.
    pub fn of_slot(slot: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.slot() == slot)
    }

    /// Says whether it keeps something out, so that its slot is closed without it unless an operator says otherwise
    /// (faults.md W20).
    pub fn is_guard(self) -> bool {
        self == Kind::Admission
    }

    /// Returns the WIT package of its world, such as `mesh:routing@0.1.0`.
    pub fn world(self) -> &'static str {
        let [.., world, _] = self.names();
        world
    }

    /// Returns the interface that a plugin of this kind exports, without its version.
    pub(crate) fn interface(self) -> &'static str {
        let [.., interface] = self.names();
        interface
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The version of every interface that this host offers.
pub const OFFERED: &str = "0.1.0";

/// What the operator lets a handler use. Policies get nothing, whatever stands here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// `mesh:handler/log`.
    pub log: bool,
    /// `mesh:handler/kv`.
    pub kv: bool,
}

impl Grants {
    /// Nothing.
    pub const NONE: Grants = Grants { log: false, kv: false };
    /// Log lines and the private store: neither reaches beyond the handler itself.
    pub const ALL: Grants = Grants { log: true, kv: true };
    /// The names of all that can be granted.
    pub const NAMES: [&str; 2] = ["log", "kv"];

    pub(crate) fn allows(self, grant: &str) -> bool {
        match grant {
            "log" => self.log,
            "kv" => self.kv,
            _ => false,
        }
    }
}

/// One immutable revision of a plugin, as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its name from the manifest, or `unnamed/` and its first digits.
    pub name: String,
    /// Its version from the manifest, or 0.0.0.
    pub version: String,
    /// BLAKE3 over the component.
    pub digest: [u8; 32],
}

impl Revision {
    /// Returns the digest as users see it: `blake3:` and 64 hex digits.
    pub fn digest_text(&self) -> String {
        format!("blake3:{}", blake3::Hash::from_bytes(self.digest).to_hex())
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// A component that has passed every check and is compiled. Cheap to clone.
#[derive(Clone)]
pub struct Loaded(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) world: World,
    pub(crate) revision: Revision,
    inspection: Inspection,
    grants: Grants,
    took: Duration,
    cached: bool,
}

pub(crate) enum World {
    Routing(wit::routing::RoutingPre<Host>),
    Qos(wit::qos::QosPre<Host>),
    Topology(wit::topology::TopologyPre<Host>),
    Admission(wit::admission::AdmissionPre<Host>),
    Carry(wit::carry::CarryPre<Host>),
    Handler(wit::handler::HandlerPre<Host>),
}

/// Why a component is not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is longer than [`limits::COMPONENT_BYTES`].
    #[error("the file has {len} bytes, {max} are the limit")]
    TooLarge {
        /// Its length.
        len: usize,
        /// What it may have.
        max: usize,
    },
    /// It is no component, or a damaged one.
    #[error(transparent)]
    NotAComponent(#[from] NotAComponent),
    /// It imports what no plugin can have.
    #[error("it imports {import}, which is not granted to any {kind} plugin")]
    ForbiddenImport {
        /// The import.
        import: String,
        /// What it is.
        kind: Kind,
    },
    /// It imports what handlers can have, and this one has not.
    #[error("it imports {import} and has not been granted {grant:?}")]
    NotGranted {
        /// The import.
        import: String,
        /// The grant it needs.
        grant: &'static str,
    },
    /// It exports no interface that a slot asks for.
    #[error("it exports {exports}, and no slot asks for that")]
    WrongWorld {
        /// What it exports.
        exports: String,
    },
    /// It exports an interface of a slot, but other functions than the slot calls.
    #[error("its {interface} is not the one that this host calls: {reason}")]
    WrongShape {
        /// The interface.
        interface: String,
        /// What differs.
        reason: String,
    },
    /// It is built for another version of an interface.
    #[error("it needs {interface}@{found}, this host offers {OFFERED}")]
    WrongVersion {
        /// The interface.
        interface: String,
        /// The version it needs.
        found: String,
    },
    /// Its manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It asks for more memory, tables or instances than there are.
    #[error("it asks for more than the host gives: {reason}")]
    OverLimit {
        /// What.
        reason: String,
    },
    /// The process that compiles could not be started, or failed by itself.
    #[error("the compiler failed: {reason}")]
    Compiler {
        /// What the system said.
        reason: String,
    },
    /// Its start function failed.
    #[error("it does not start: {0}")]
    Start(Fault),
}

impl LoadError {
    /// Returns the stable code that `meshctl explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            LoadError::NotAComponent(_) => "MESH-P103",
            LoadError::ForbiddenImport { .. } => "MESH-P104",
            LoadError::WrongWorld { .. } | LoadError::WrongShape { .. } => "MESH-P105",
            LoadError::TooLarge { .. } | LoadError::OverLimit { .. } => "MESH-P106",
            LoadError::WrongVersion { .. } => "MESH-P107",
            LoadError::Start(_) => "MESH-P112",
            LoadError::Manifest(_) => "MESH-P116",
            LoadError::NotGranted { .. } => "MESH-P117",
            LoadError::Compiler { .. } => "MESH-P132",
        }
    }

    /// Returns what the author or the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            LoadError::NotAComponent(NotAComponent::CoreModule) => {
                "it is a core module: encode it as a component, as docs/plugins/tutorial.md shows"
            }
            LoadError::NotAComponent(_) => {
                "build it again, or fetch it again: the file is damaged or no component"
            }
            LoadError::ForbiddenImport { import, .. } if import.starts_with("wasi:") => {
                "of WASI a plugin gets 0.2 of cli, io, clocks, random, filesystem and sockets, which grant nothing; \
                 without it: rustup target add wasm32-unknown-unknown"
            }
            LoadError::ForbiddenImport { .. } => {
                "policies import nothing but types; handlers mesh:handler/log and kv"
            }
            LoadError::NotGranted { .. } => "grant it when installing, or use a plugin that does without",
            LoadError::WrongWorld { .. } => {
                "implement one of the worlds mesh:routing, mesh:qos, mesh:topology, mesh:admission, mesh:carry or \
                 mesh:handler"
            }
            LoadError::WrongShape { .. } | LoadError::WrongVersion { .. } => {
                "build it again with the SDK of this host's version"
            }
            LoadError::TooLarge { .. } => "build it with opt-level \"s\", lto and strip",
            LoadError::OverLimit { .. } => {
                "a plugin has 16 MiB of memory, and compiles within 2 s of CPU and 4 s more for each MiB that it has"
            }
            LoadError::Manifest(_) => "correct plugin.toml and build it again",
            LoadError::Compiler { .. } => "try again; the log of the node may say more",
            LoadError::Start(_) => "its start function must end within a second and not trap",
        }
    }
}

/// Checks and compiles a component, or takes its compiled code from the engine's cache.
///
/// Takes 20 to 100 ms of CPU for a small component that is not in the cache: never call it on the hot path.
///
/// # Errors
/// The first check that it does not pass.
pub fn load(engine: &Engine, bytes: &[u8], grants: Grants) -> Result<Loaded, LoadError> {
    let inspection = inspect(bytes)?;
    inspection.check(grants)?;
    let kind = inspection.kind.expect("check refuses components of no kind");
    let revision = inspection.revision();

    let begun = Instant::now();
    let (component, cached) = engine.compile(bytes)?;
    let took = begun.elapsed();

    let wrong_shape = |error: wasmtime::Error| LoadError::WrongShape {
        interface: kind.interface().into(),
        reason: clip(format!("{error:#}")),
    };
    let mut linker = linker(engine, kind, grants);
    wasi::add_to_linker(engine.wasm(), &mut linker, &component).map_err(wrong_shape)?;
    let pre = linker.instantiate_pre(&component).map_err(wrong_shape)?;
    let world = match kind {
        Kind::Routing => wit::routing::RoutingPre::new(pre).map(World::Routing),
        Kind::Qos => wit::qos::QosPre::new(pre).map(World::Qos),
        Kind::Topology => wit::topology::TopologyPre::new(pre).map(World::Topology),
        Kind::Admission => wit::admission::AdmissionPre::new(pre).map(World::Admission),
        Kind::Carry => wit::carry::CarryPre::new(pre).map(World::Carry),
        Kind::Handler => wit::handler::HandlerPre::new(pre).map(World::Handler),
    };
    let world = world.map_err(wrong_shape)?;
    let inner = Inner { engine: engine.clone(), world, revision, inspection, grants, took, cached };
    inner.try_start()?;
    Ok(Loaded(Arc::new(inner)))
}

impl Inner {
    /// Instantiates once: the memory it asks for and its start function are known only then.
    fn try_start(&self) -> Result<(), LoadError> {
        let mut store = sandbox::store(&self.engine, &self.revision);
        let mut failure = None;
        let started = sandbox::call(&self.engine, &mut store, limits::SETUP, |store| {
            let started = match &self.world {
                World::Routing(pre) => pre.instantiate(store).map(drop),
                World::Qos(pre) => pre.instantiate(store).map(drop),
                World::Topology(pre) => pre.instantiate(store).map(drop),
                World::Admission(pre) => pre.instantiate(store).map(drop),
                World::Carry(pre) => pre.instantiate(store).map(drop),
                World::Handler(pre) => pre.instantiate(store).map(drop),
            };
            started.inspect_err(|error| failure = Some(self.refused_at_start(error)))
        });
        self.engine.discard(store);
        match (started, failure.flatten()) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(error)) => Err(error),
            (Err(fault), None) => Err(LoadError::Start(fault)),
        }
    }

    fn refused_at_start(&self, error: &wasmtime::Error) -> Option<LoadError> {
        let reason = clip(format!("{:#}", error.root_cause()));
        if error.downcast_ref::<wasmtime::Trap>().is_some() {
            None
        } else if ["limit", "exceed", "too large", "minimum size"].iter().any(|word| reason.contains(word)) {
            Some(LoadError::OverLimit { reason })
        } else {
            let interface = self.inspection.kind.map_or("", Kind::interface).into();
            Some(LoadError::WrongShape { interface, reason })
        }
    }
}

fn linker(engine: &Engine, kind: Kind, grants: Grants) -> Linker<Host> {
    let mut linker = Linker::new(engine.wasm());
    if kind != Kind::Handler {
        return linker;
    }
    type Own = wasmtime::component::HasSelf<Host>;
    const FRESH: &str = "nothing else is defined in a fresh linker";
    if grants.log {
        wit::handler::log::add_to_linker::<Host, Own>(&mut linker, |host| host).expect(FRESH);
    }
    if grants.kv {
        wit::handler::kv::add_to_linker::<Host, Own>(&mut linker, |host| host).expect(FRESH);
    }
    linker
}

impl Loaded {
    /// Returns its kind.
    pub fn kind(&self) -> Kind {
        match self.0.world {
            World::Routing(_) => Kind::Routing,
            World::Qos(_) => Kind::Qos,
            World::Topology(_) => Kind::Topology,
            World::Admission(_) => Kind::Admission,
            World::Carry(_) => Kind::Carry,
            World::Handler(_) => Kind::Handler,
        }
    }

    /// Returns the engine that it is compiled for.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Returns which revision it is.
    pub fn revision(&self) -> &Revision {
        &self.0.revision
    }

    /// Returns its manifest, if it carries one.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.0.inspection.manifest.as_ref()
    }

    /// Returns what was read from its bytes.
    pub fn inspection(&self) -> &Inspection {
        &self.0.inspection
    }

    /// Returns what it was granted.
    pub fn grants(&self) -> Grants {
        self.0.grants
    }

    /// Returns how long the compilation, or the loading of compiled code, took.
    pub fn compile_time(&self) -> Duration {
        self.0.took
    }

    /// Says whether the compiled code came from the cache.
    pub fn is_cached(&self) -> bool {
        self.0.cached
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("kind", &self.kind()).field("revision", self.revision()).finish()
    }
}
