//! Which plugins are installed and which of them runs in which slot, now and after the next start.
//!
//! Keeps the policy slots for the driver and the thread of the handler slot. Compiles nothing on the
//! driver's thread: [`Plugins::source`] gives what a blocking task needs for that.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mesh_plugin_host::manifest::{Config, GrantWish, is_newer};
use mesh_plugin_host::sign::Signed;
use mesh_plugin_host::{
    Engine, EngineError, Grants, Inspection, Kind, Kv, LoadError, Loaded, PolicySet, PolicySlot,
    PrepareError, PreparedHandler, PreparedPolicy, Revision, Sentence, Settings, StartWith, State, builtin,
    inspect, limits, load, prepare, prepare_handler,
};
use mesh_proto::NodeId;
use tokio::sync::mpsc;

use crate::api::{self, ApiError, PluginRef, code};
use crate::driver::clock::unix_ms;
use crate::handler::{HandlerThread, Identity, Job, Told};
use crate::store::{Store, StoreError, Table, Write};

mod act;
mod binding;
pub(crate) mod claims;
pub(crate) mod granted;
mod history;
mod stored;
mod trusted;

pub(crate) use act::{Act, Lowering};
pub(crate) use binding::Binding;
pub(crate) use history::Step;
use stored::{pack_revision, unpack_revision};
#[cfg(feature = "oci")]
pub(crate) use trusted::open;
pub(crate) use trusted::{
    Candidate, Opened, Trust, merge, package_failed, signer_row, unpack, verify_failed,
};

const KV_PREFIX: &str = "kv/";
const STATE_PREFIX: &str = "state/";
/// Digits of a digest that are enough to name a revision.
const MIN_DIGEST: usize = 6;
/// Digits of a digest that are shown, unless more are needed to tell two apart.
const SHORT_DIGEST: usize = 8;

/// The slots, in the order users see them.
pub(crate) const SLOTS: [Kind; 6] = Kind::ALL;
/// What a node has without installing it, among it whatever its slots are bound to at the first start.
const BUILT_IN: [&[u8]; 6] = [
    builtin::LATENCY,
    builtin::CLASS_FAIR,
    builtin::STEADY,
    builtin::GUEST_LIST,
    builtin::SHORT_MEMORY,
    builtin::BEACON,
];

/// Why the plugins of a node cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A built-in plugin cannot be loaded.
    #[error("the built-in plugin cannot be loaded: {0}")]
    BuiltIn(#[from] LoadError),
    /// A built-in plugin cannot be run.
    #[error("the built-in plugin cannot be run: {0}")]
    Prepare(#[from] PrepareError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An installed revision.
pub(crate) struct Installed {
    pub(crate) revision: Revision,
    pub(crate) kind: Kind,
    pub(crate) size: usize,
    pub(crate) origin: String,
    pub(crate) since_ms: u64,
    pub(crate) is_built_in: bool,
    /// Who vouches for it; each was verified.
    pub(crate) signatures: Vec<Signed>,
    /// What the operator lets it use.
    pub(crate) grants: Grants,
    /// What it imports that must be granted.
    pub(crate) asked: Grants,
    /// What its manifest says that it is for.
    pub(crate) wishes: Vec<GrantWish>,
    /// The settings that it takes.
    pub(crate) config: Config,
    loaded: Option<Loaded>,
}

impl Installed {
    /// Takes down what a component is. Nobody vouches for it yet, and it may use nothing.
    fn new(inspection: &Inspection, kind: Kind, origin: &str, since_ms: u64) -> Installed {
        Installed {
            revision: inspection.revision(),
            kind,
            size: inspection.size_bytes,
            origin: origin.to_owned(),
            since_ms,
            is_built_in: false,
            signatures: Vec::new(),
            grants: Grants::NONE,
            asked: granted::asked(inspection),
            wishes: inspection.manifest.iter().flat_map(|manifest| manifest.grants.clone()).collect(),
            config: inspection.manifest.as_ref().map(|manifest| manifest.config.clone()).unwrap_or_default(),
            loaded: None,
        }
    }
}

/// What a node runs, as its operator said at the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// The native policies alone.
    pub(crate) is_native: bool,
    /// Nothing unsigned, but for what is built in.
    pub(crate) is_signature_required: bool,
    /// Bytes of the journal of each slot; `None` for the default, 0 for none.
    pub(crate) journal_bytes: Option<usize>,
}

/// Something ready to be put into its slot.
pub(crate) enum Ready {
    Policy(Box<PreparedPolicy>),
    Handler(Box<PreparedHandler>),
}

/// What a blocking task needs to make a plugin ready.
pub(crate) struct Source {
    engine: Engine,
    code: Code,
    /// What the bytes must be: those that were verified when they came.
    digest: [u8; 32],
    identity: Identity,
    kind: Kind,
    settings: Settings,
    grants: Grants,
    terms: mesh_plugin_host::Terms,
}

enum Code {
    Loaded(Loaded),
    Stored(Bytes),
}

/// Why a plugin could not be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadyError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error("the stored component is not the one that was installed")]
    Exchanged,
}

impl Source {
    /// As [`Source::make_ready`], with an instance for each stage of a trial.
    pub(crate) fn make_trial(
        self,
        stages: usize,
    ) -> Result<(Ready, Loaded, Vec<mesh_plugin_host::trial::Candidate>), ReadyError> {
        let (settings, terms) = (self.settings.clone(), self.terms);
        let (ready, loaded) = self.make_ready()?;
        let candidate = |_| mesh_plugin_host::trial::Candidate::new(&loaded, &settings, terms);
        let candidates = (0..stages).map(candidate).collect::<Result<Vec<_>, PrepareError>>()?;
        Ok((ready, loaded, candidates))
    }

    /// Loads and prepares; takes as long as a compilation does.
    pub(crate) fn make_ready(self) -> Result<(Ready, Loaded), ReadyError> {
        let loaded = match self.code {
            Code::Loaded(loaded) => loaded,
            Code::Stored(bytes) if blake3::hash(&bytes) != self.digest => return Err(ReadyError::Exchanged),
            Code::Stored(bytes) => load(&self.engine, &bytes, self.grants)?,
        };
        let (settings, terms) = (&self.settings, self.terms);
        let ready = match self.kind {
            Kind::Handler => {
                let prepared = prepare_handler(&loaded, self.identity, settings)?;
                Ready::Handler(Box::new(prepared.with_terms(terms)?))
            }
            _ => Ready::Policy(Box::new(prepare(&loaded, settings)?.with_terms(terms)?)),
        };
        Ok((ready, loaded))
    }
}

pub(crate) struct Plugins {
    pub(crate) engine: Engine,
    pub(crate) set: PolicySet,
    pub(crate) handler: HandlerThread,
    pub(crate) told: mpsc::Receiver<Told>,
    pub(crate) installed: BTreeMap<[u8; 32], Installed>,
    pub(crate) trust: Trust,
    /// Revisions that nothing removes.
    pub(crate) pinned: BTreeSet<[u8; 32]>,
    /// Bytes of the journal of each slot; 0 for none.
    pub(crate) journal_bytes: usize,
    identity: Identity,
    bindings: BTreeMap<&'static str, Binding>,
}

impl Plugins {
    /// Loads what the slots were bound to, or the built-in plugins at the first start.
    pub(crate) fn open(
        engine: &Engine,
        node: &NodeId,
        name: &str,
        store: &Store,
        terms: Terms,
    ) -> Result<Plugins, StartError> {
        let journal_bytes = terms.journal_bytes.unwrap_or(limits::JOURNAL_BYTES).min(limits::JOURNAL_BYTES);
        let (handler, told, identity) =
            HandlerThread::start(engine, node.0, name, stored_kv(store)?, journal_bytes);
        let mut plugins = Plugins {
            engine: engine.clone(),
            set: PolicySet::new(engine),
            handler,
            told,
            installed: BTreeMap::new(),
            trust: Trust::restore(store, terms.is_signature_required)?,
            pinned: BTreeSet::new(),
            journal_bytes,
            identity,
            bindings: BTreeMap::new(),
        };
        if journal_bytes > 0 {
            plugins.set.keep_journal(journal_bytes, unix_ms());
        }
        if terms.is_native {
            return Ok(plugins);
        }
        plugins.add_built_in()?;
        plugins.add_stored(store)?;
        let mut sources = Vec::new();
        for kind in SLOTS {
            let binding = plugins.first_binding(store, kind)?;
            let aside = binding.aside.as_ref().filter(|_| !binding.is_closed());
            // What follows on the binding: after a switch, nothing would be in quarantine.
            let quarantined = match aside {
                Some(aside) if plugins.may_stay(kind, &aside.binding) => {
                    plugins.source_of(store, kind, &aside.binding)?.map(|source| (source, aside.sentence()))
                }
                _ => None,
            };
            if !plugins.may_stay(kind, &binding) {
                // The binding stays in the store: it explains itself at every start, until another one is made.
                plugins.leave_vacant(kind, &binding);
                continue;
            }
            let closed = binding.aside.as_ref().filter(|_| binding.is_closed()).map(|aside| aside.sentence());
            match plugins.source_of(store, kind, &binding)? {
                Some(source) => sources.push((kind, closed, source)),
                None => plugins.leave_vacant(kind, &binding),
            }
            sources.extend(quarantined.map(|(source, sentence)| (kind, Some(sentence), source)));
            plugins.bindings.insert(kind.slot(), binding);
        }
        // Side by side: at the very first start each is compiled.
        let ready: Vec<_> = std::thread::scope(|scope| {
            let tasks: Vec<_> = sources
                .into_iter()
                .map(|(kind, sentence, source)| (kind, sentence, scope.spawn(|| source.make_ready())))
                .collect();
            tasks.into_iter().map(|(kind, sentence, task)| (kind, sentence, task.join())).collect()
        });
        for (kind, sentence, ready) in ready {
            match (ready, sentence) {
                (Ok(Ok((ready, loaded))), None) => plugins.bind_at_start(store, kind, ready, loaded)?,
                (Ok(Ok((ready, loaded))), Some(sentence)) => plugins.put_aside(ready, loaded, sentence),
                (Ok(Err(error)), _) => {
                    tracing::error!(slot = kind.slot(), %error, "the slot starts without its plugin");
                    plugins.leave_vacant_as_bound(kind, sentence);
                }
                (Err(_), _) => {
                    tracing::error!(slot = kind.slot(), "preparing the plugin panicked");
                    plugins.leave_vacant_as_bound(kind, sentence);
                }
            }
        }
        plugins.set_aside_events();
        Ok(plugins)
    }

    fn add_built_in(&mut self) -> Result<(), StartError> {
        for bytes in BUILT_IN {
            let inspection = inspect(bytes)?;
            let Some(kind) = inspection.kind else { continue };
            let installed = Installed::new(&inspection, kind, "built in", unix_ms());
            let installed = Installed { is_built_in: true, grants: installed.asked, ..installed };
            self.installed.insert(inspection.digest, installed);
        }
        Ok(())
    }

    fn first_binding(&self, store: &Store, kind: Kind) -> Result<Binding, StartError> {
        if let Some(bytes) = store.get(Table::Bindings, kind.slot().as_bytes())? {
            match serde_json::from_slice(&bytes) {
                Ok(binding) => return Ok(self.with_built_in_of_now(binding)),
                Err(error) => {
                    tracing::error!(slot = kind.slot(), %error, "what the slot was bound to cannot be read");
                    // It was something: the slot is left to whom its kind leaves it when that does not start.
                    return Ok(Binding::unreadable(kind));
                }
            }
        }
        // Parents are weighed as the operator's weights say, which the native built-in goes by; and nobody is kept
        // out, nor anything refused, unless an operator wants it.
        let starts_native = matches!(kind, Kind::Topology | Kind::Admission | Kind::Carry);
        let is_first = |i: &&Installed| i.is_built_in && i.kind == kind && !starts_native;
        let built_in = self.installed.values().find(is_first);
        Ok(Binding::first(built_in.map(|i| &i.revision)))
    }

    /// Says whether what a slot was bound to may be bound again, and says why not in the log.
    fn may_stay(&self, kind: Kind, binding: &Binding) -> bool {
        let bound = |i: &&Installed| binding.digest.as_ref() == Some(&hex(&i.revision.digest));
        match self.installed.values().find(bound).map_or(Ok(()), |installed| self.check_stay(installed)) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(slot = kind.slot(), %error, "the slot starts without its plugin");
                false
            }
        }
    }

    /// Returns what makes ready what a slot is or was bound to; `None` when that is the native built-in, or gone.
    pub(crate) fn source_of(
        &self,
        store: &Store,
        kind: Kind,
        binding: &Binding,
    ) -> Result<Option<Source>, StartError> {
        let Some(digest) = &binding.digest else { return Ok(None) };
        let Some(digest) = self.installed.keys().find(|known| hex(known) == *digest).copied() else {
            tracing::error!(slot = kind.slot(), digest, "the bound plugin is not installed");
            return Ok(None);
        };
        Ok(self.source(store, &digest, &binding.settings, binding.terms())?)
    }

    fn bind_at_start(
        &mut self,
        store: &Store,
        kind: Kind,
        ready: Ready,
        loaded: Loaded,
    ) -> Result<(), StartError> {
        let digest = loaded.revision().digest;
        self.remember(loaded);
        let state = store.get(Table::Meta, state_key(kind.slot()).as_bytes())?;
        let start_with = match state.as_deref().and_then(unpack_state) {
            Some((of, state)) if of == digest => StartWith::From(state),
            _ => StartWith::Reset,
        };
        let done = match ready {
            Ready::Policy(prepared) => self.set.begin(*prepared, unix_ms(), start_with).map(|_| ()),
            Ready::Handler(prepared) => {
                self.handler.hand(Job::Begin { prepared, start_with });
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::error!(slot = kind.slot(), %error, "the slot starts without its plugin");
            self.leave_vacant_as_bound(kind, None);
        } else if self.bindings.get(kind.slot()).is_some_and(|binding| binding.paused) {
            self.pause_at_start(kind);
        }
        Ok(())
    }

    /// Puts into quarantine what was in it when the node ended.
    fn put_aside(&mut self, ready: Ready, loaded: Loaded, sentence: Sentence) {
        self.remember(loaded);
        match ready {
            Ready::Policy(prepared) => self.set.put_aside(*prepared, unix_ms(), sentence),
            Ready::Handler(prepared) => self.handler.hand(Job::PutAside { prepared, sentence }),
        }
    }

    fn pause_at_start(&mut self, kind: Kind) {
        match PolicySlot::from_name(kind.slot()) {
            // What cannot be paused has just failed, and says so itself.
            Some(slot) => drop(self.set.pause(slot, unix_ms())),
            None => {
                let (answer, _) = tokio::sync::oneshot::channel();
                self.handler.hand(Job::Operate { act: Act::Pause, answer });
            }
        }
    }

    /// A slot whose plugin does not start, or was withdrawn, is left to whom its operator wants.
    fn leave_vacant(&mut self, kind: Kind, binding: &Binding) {
        if let Some(slot) = PolicySlot::from_name(kind.slot()) {
            self.set.leave_vacant(slot, binding.terms().on_failure);
        }
    }

    fn leave_vacant_as_bound(&mut self, kind: Kind, sentence: Option<Sentence>) {
        let Some(binding) = self.bindings.get(kind.slot()).cloned() else { return };
        // Where somebody stands in, one that cannot be quarantined again is missed by nobody.
        if sentence.is_none() || binding.is_closed() {
            self.leave_vacant(kind, &binding);
        }
    }

    /// The swaps of the start are no news.
    fn set_aside_events(&mut self) {
        self.set.take_events();
    }

    /// Returns the bytes of an installed component.
    pub(crate) fn bytes(&self, store: &Store, digest: &[u8; 32]) -> Result<Option<Bytes>, StoreError> {
        for bytes in BUILT_IN {
            if blake3::hash(bytes).as_bytes() == digest {
                return Ok(Some(Bytes::from_static(bytes)));
            }
        }
        let value = store.get(Table::Revisions, digest)?;
        Ok(value.as_ref().and_then(unpack_revision).map(|(_, _, bytes)| bytes))
    }

    /// Returns what makes an installed plugin ready; `None` when its bytes are gone.
    pub(crate) fn source(
        &self,
        store: &Store,
        digest: &[u8; 32],
        settings: &api::Settings,
        terms: mesh_plugin_host::Terms,
    ) -> Result<Option<Source>, StoreError> {
        let Some(installed) = self.installed.get(digest) else { return Ok(None) };
        // What was loaded needs no bytes, which are not on disk yet while its installation is being committed.
        let code = match &installed.loaded {
            Some(loaded) => Some(Code::Loaded(loaded.clone())),
            None => self.bytes(store, digest)?.map(Code::Stored),
        };
        Ok(code.map(|code| Source {
            engine: self.engine.clone(),
            code,
            digest: *digest,
            identity: self.identity.clone(),
            kind: installed.kind,
            settings: settings.iter().map(|(name, value)| (name.clone(), value_of(value))).collect(),
            grants: installed.grants,
            terms,
        }))
    }

    /// Notes a component that was loaded, and returns the write that keeps it; `None` if it was there.
    pub(crate) fn install(
        &mut self,
        loaded: Loaded,
        grants: Grants,
        origin: &str,
        bytes: &Bytes,
    ) -> Option<Write> {
        let revision = loaded.revision().clone();
        let known = self.installed.contains_key(&revision.digest);
        let since_ms = unix_ms();
        let installed = self
            .installed
            .entry(revision.digest)
            .or_insert_with(|| Installed::new(loaded.inspection(), loaded.kind(), origin, since_ms));
        installed.grants = granted::union(installed.grants, grants);
        // What was given or taken meanwhile takes another load.
        installed.loaded = (installed.grants == loaded.grants()).then_some(loaded);
        if known {
            return None;
        }
        let value = pack_revision(since_ms, origin, bytes);
        Some(Write::Put { table: Table::Revisions, key: revision.digest.to_vec(), value })
    }

    /// Notes that a revision was loaded, so that the next swap need not.
    pub(crate) fn remember(&mut self, loaded: Loaded) {
        if let Some(installed) = self.installed.get_mut(&loaded.revision().digest) {
            installed.loaded = Some(loaded);
        }
    }

    /// Removes a revision that no slot uses; returns the writes that forget it. What a revoked key has signed is
    /// remembered, or it could come back without its signature.
    pub(crate) fn remove(&mut self, digest: &[u8; 32]) -> Vec<Write> {
        let gone = self.installed.remove(digest);
        let is_revoked = gone.is_some_and(|gone| self.trust.list.check_revoked(&gone.signatures).is_err());
        let tables =
            if is_revoked { &[Table::Revisions][..] } else { &[Table::Revisions, Table::Signatures] };
        let mut writes = self.forget(digest);
        writes.extend(self.forget_steps(digest));
        writes.extend(tables.iter().map(|table| Write::Delete { table: *table, key: digest.to_vec() }));
        writes
    }

    /// Finds an installed revision by name, `NAME@VERSION` or digest prefix. Of a name the last part will do.
    pub(crate) fn find(&self, text: &str) -> Result<&Installed, ApiError> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let fits = |installed: &&Installed| {
            installed.revision.name == name && version.is_none_or(|v| installed.revision.version == v)
        };
        let mut found: Vec<&Installed> = self.installed.values().filter(fits).collect();
        let digits = text.strip_prefix("blake3:").unwrap_or(text);
        if found.is_empty() && digits.len() >= MIN_DIGEST {
            found = self.installed.values().filter(|i| hex(&i.revision.digest).starts_with(digits)).collect();
        }
        if found.is_empty() {
            let ends =
                |revision: &Revision| revision.name.rsplit_once('/').is_some_and(|(_, last)| last == name);
            let fits = |revision: &Revision| ends(revision) && version.is_none_or(|v| revision.version == v);
            found = self.installed.values().filter(|installed| fits(&installed.revision)).collect();
        }
        match found[..] {
            [one] => Ok(one),
            [] => Err(ApiError::new(&code::NO_SUCH_PLUGIN, format!("no plugin '{text}' is installed"))
                .help("meshctl plugin list")
                .help("meshctl plugin install FILE")),
            _ => Err(ambiguous(text, found)),
        }
    }

    /// Returns the write that keeps the state that a policy has just left its slot with: it may not be warm any more when a
    /// rollback comes back to it.
    pub(crate) fn keep_left(&mut self, slot: PolicySlot, left: &Revision) -> Option<Write> {
        let standby = self.set.status(slot).previous?;
        let state = self.set.standby_state(slot).filter(|_| standby.digest == left.digest)?;
        let key = history::left_key(slot.name(), &hex(&left.digest)).into_bytes();
        Some(Write::Put { table: Table::Meta, key, value: pack_state(&left.digest, &state) })
    }

    /// Returns the state that a revision left a slot with, if it was kept.
    pub(crate) fn left_state(&self, store: &Store, slot: PolicySlot, digest: &[u8; 32]) -> Option<State> {
        let key = history::left_key(slot.name(), &hex(digest));
        let (of, state) = unpack_state(&store.get(Table::Meta, key.as_bytes()).ok().flatten()?)?;
        (of == *digest).then_some(state)
    }

    /// Returns the writes that keep what the policies would save now, for the next start.
    pub(crate) fn keep_states(&mut self) -> Vec<Write> {
        let mut writes = Vec::new();
        for slot in PolicySlot::ALL {
            let status = self.set.status(slot);
            if let (Some(revision), Ok(Some(state))) = (status.active, self.set.peek_state(slot)) {
                writes.push(Write::Put {
                    table: Table::Meta,
                    key: state_key(slot.name()).into_bytes(),
                    value: pack_state(&revision.digest, &state),
                });
            }
        }
        writes
    }
}

/// The newest version first, and of one version what came last.
pub(crate) fn newest_first(a: &Installed, b: &Installed) -> std::cmp::Ordering {
    let (of_a, of_b) = (&a.revision.version, &b.revision.version);
    is_newer(of_b, of_a).cmp(&is_newer(of_a, of_b)).then(b.since_ms.cmp(&a.since_ms))
}

/// Lists what a text may mean, the newest version first and of one version what came last, each as it can be named.
fn ambiguous(text: &str, mut found: Vec<&Installed>) -> ApiError {
    found.sort_by(|a, b| newest_first(a, b));
    let digests: Vec<String> = found.iter().map(|installed| hex(&installed.revision.digest)).collect();
    let is_unique = |len: &usize| {
        let short: BTreeSet<&str> = digests.iter().map(|digest| &digest[..*len]).collect();
        short.len() == digests.len()
    };
    let len = (SHORT_DIGEST..64).find(is_unique).unwrap_or(64);
    let message = format!("'{text}' fits {} plugins", found.len());
    let mut error = ApiError::new(&code::AMBIGUOUS_PLUGIN, message);
    for (installed, digest) in found.iter().zip(&digests) {
        let Revision { name, version, .. } = &installed.revision;
        let since = crate::api::Time(installed.since_ms);
        error = error
            .fact(&digest[..len], format!("{name} {version}, installed {since} from {}", installed.origin));
    }
    let newest = &found[0].revision;
    let has_twin =
        found[1..].iter().any(|i| i.revision.version == newest.version && i.revision.name == newest.name);
    let named = format!("{}@{}", newest.name, newest.version);
    match has_twin || named == text {
        true => error.help(format!("name it by its digest; {} is the newest", &digests[0][..len])),
        false => error.help(format!("name it with its version; {named} is the newest")),
    }
}

/// Returns a revision as users see it; `None` is the native built-in of the slot.
pub(crate) fn plugin_ref(slot: &str, revision: Option<&Revision>) -> PluginRef {
    match revision {
        Some(revision) => PluginRef {
            plugin: revision.name.clone(),
            version: revision.version.clone(),
            revision: revision.digest_text(),
        },
        None => {
            let plugin = PolicySlot::from_name(slot).map_or("native/none", PolicySlot::native_name);
            let version = env!("CARGO_PKG_VERSION").to_owned();
            PluginRef { plugin: plugin.to_owned(), version, revision: "native".to_owned() }
        }
    }
}

/// Returns the key under which a handler's value stands in the store.
pub(crate) fn kv_key(key: &str) -> Vec<u8> {
    format!("{KV_PREFIX}{key}").into_bytes()
}

fn stored_kv(store: &Store) -> Result<Kv, StoreError> {
    use std::ops::Bound::{Excluded, Included};
    let (from, to) = (KV_PREFIX.as_bytes(), b"kv0".as_slice());
    let rows =
        store.scan(Table::Meta, (Included(from), Excluded(to)), mesh_plugin_host::limits::KV_BYTES * 2)?.rows;
    let named = rows.into_iter().filter_map(|(key, value)| {
        let key = String::from_utf8(key).ok()?;
        Some((key.strip_prefix(KV_PREFIX)?.to_owned(), value.to_vec()))
    });
    Ok(named.collect())
}

fn state_key(slot: &str) -> String {
    format!("{STATE_PREFIX}{slot}")
}

fn pack_state(digest: &[u8; 32], state: &State) -> Bytes {
    [&digest[..], &state.version.to_le_bytes(), &state.bytes].concat().into()
}

fn unpack_state(bytes: &[u8]) -> Option<([u8; 32], State)> {
    let (digest, rest) = bytes.split_first_chunk::<32>()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    Some((*digest, State { version: u32::from_le_bytes(*version), bytes: rest.to_vec() }))
}

fn value_of(setting: &api::Setting) -> mesh_plugin_host::Value {
    match setting {
        api::Setting::Flag(flag) => mesh_plugin_host::Value::Flag(*flag),
        api::Setting::Integer(integer) => mesh_plugin_host::Value::Integer(*integer),
        api::Setting::Number(number) => mesh_plugin_host::Value::Number(*number),
        api::Setting::Text(text) => mesh_plugin_host::Value::Text(text.clone()),
    }
}

pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}
