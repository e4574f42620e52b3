//! The one wasmtime engine of the process: its settings, its clock, its compile cache.
//!
//! Never a second engine: two with different settings in one process have been a source of advisories, and
//! compiled code is bound to one.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use wasmtime::component::Component;

mod cache;
mod child;
mod ticker;

pub use cache::{Cache, CacheError, CacheStats, Cleaned};
pub use child::{Compiler, compile_stdin};
use ticker::Ticker;
pub(crate) use ticker::{Running, TICK};

use crate::builtin;
use crate::inspect::NotAComponent;
use crate::limits::REAPER_QUEUE;
use crate::load::LoadError;
use crate::settings::clip;

/// The engine that compiles and runs all plugins of this process, with the cache of one node.
///
/// Cheap to clone. All engines of a process share one wasmtime engine, one ticker and one reaper thread;
/// metered ones share another, which a process that runs a node has no use for.
#[derive(Clone)]
pub struct Engine {
    shared: &'static Shared,
    cache: Option<Arc<Cache>>,
    compiler: Option<Arc<Compiler>>,
}

struct Shared {
    wasm: wasmtime::Engine,
    /// `None` when calls are bounded by instructions, so that no clock decides anything.
    ticker: Option<Ticker>,
    reaper: SyncSender<Box<dyn Send>>,
}

/// What ends a call that does not end by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Time,
    Instructions,
}

static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
static METERED: OnceLock<Result<Shared, String>> = OnceLock::new();

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine cannot start: {reason}")]
pub struct EngineError {
    /// What the system or the engine said.
    pub reason: String,
}

impl Engine {
    /// Returns an engine; `cache` keeps compiled code between runs of the process.
    ///
    /// # Errors
    /// When this machine is not supported, or its two threads cannot be started.
    pub fn new(cache: Option<Cache>) -> Result<Engine, EngineError> {
        Engine::of(SHARED.get_or_init(|| Shared::new(Bound::Time)), cache)
    }

    /// Returns an engine whose calls are bounded by instructions instead of time, so that equal calls end
    /// equally on every machine and however busy it is (faults.md W19). For simulations and replays; a
    /// deadline of a millisecond is [`crate::limits::FUEL_PER_MS`] instructions.
    ///
    /// # Errors
    /// As for [`Engine::new`].
    pub fn metered(cache: Option<Cache>) -> Result<Engine, EngineError> {
        Engine::of(METERED.get_or_init(|| Shared::new(Bound::Instructions)), cache)
    }

    fn of(shared: &'static Result<Shared, String>, cache: Option<Cache>) -> Result<Engine, EngineError> {
        match shared {
            Ok(shared) => Ok(Engine { shared, cache: cache.map(Arc::new), compiler: None }),
            Err(reason) => Err(EngineError { reason: reason.clone() }),
        }
    }

    /// Compiles in a process of its own what did not come with this program. Metered engines go on as before:
    /// they run what somebody has chosen for a simulation.
    #[must_use]
    pub fn with_compiler(mut self, compiler: Compiler) -> Engine {
        self.compiler = Some(Arc::new(compiler)).filter(|_| !self.is_metered());
        self
    }

    /// Returns what the cache has done so far; zeros without a cache.
    pub fn cache_stats(&self) -> CacheStats {
        self.cache.as_deref().map(Cache::stats).unwrap_or_default()
    }

    /// Deletes the compiled code of components that nobody uses, by the digest in hex; a rehearsal only counts it. Reads a
    /// directory: not for a thread that must not wait. Nodes of a user share a cache, and compile anew what they miss.
    pub fn clean_cache(&self, is_used: impl Fn(&str) -> bool, dry_run: bool) -> Cleaned {
        self.cache.as_deref().map(|cache| cache.clean(&is_used, dry_run)).unwrap_or_default()
    }

    pub(crate) fn wasm(&self) -> &'static wasmtime::Engine {
        &self.shared.wasm
    }

    /// Keeps the clock ticking while a guest runs; `None` when instructions are counted instead.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Running<'static>> {
        self.shared.ticker.as_ref().map(Ticker::enter)
    }

    /// Says whether calls are bounded by instructions.
    #[inline]
    pub(crate) fn is_metered(&self) -> bool {
        self.shared.ticker.is_none()
    }

    /// Compiles a component, or loads its compiled code; says whether it came from the cache.
    pub(crate) fn compile(&self, bytes: &[u8]) -> Result<(Component, bool), LoadError> {
        let wasm = self.wasm();
        let Some(cache) = &self.cache else {
            return Ok((self.compile_anew(bytes)?, false));
        };
        let digest = blake3::hash(bytes);
        if let Some(component) = cache.load(wasm, &digest) {
            return Ok((component, true));
        }
        let component = self.compile_anew(bytes)?;
        cache.store(wasm, &digest, &component);
        Ok((component, false))
    }

    fn compile_anew(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        let foreign = self.compiler.as_ref().filter(|_| !builtin::ALL.contains(&bytes));
        let Some(compiler) = foreign else {
            return Component::new(self.wasm(), bytes).map_err(invalid);
        };
        let code = compiler.compile(bytes)?;
        // SAFETY: the code was made a moment ago by a process that this one started from its own program, with
        // the same settings of the engine, and came through a pipe that nobody else has.
        unsafe { Component::deserialize(self.wasm(), code) }
            .map_err(|error| LoadError::Compiler { reason: clip(format!("{error:#}")) })
    }

    /// Frees `discarded` on another thread: unmapping an instance takes a hundred times as long as a call.
    pub(crate) fn discard(&self, discarded: impl Send + 'static) {
        // A full queue or an ended reaper hands it back, and it is freed here.
        let _ = self.shared.reaper.try_send(Box::new(discarded));
    }
}

fn invalid(error: wasmtime::Error) -> LoadError {
    NotAComponent::Invalid { reason: clip(format!("{error:#}")) }.into()
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(bound: Bound) -> Result<Shared, String> {
        let wasm = wasmtime::Engine::new(&config(bound)).map_err(|error| error.to_string())?;
        let ticker = match bound {
            Bound::Time => Some(Ticker::start(wasm.clone()).map_err(|error| error.to_string())?),
            Bound::Instructions => None,
        };
        let (reaper, discarded) = sync_channel::<Box<dyn Send>>(REAPER_QUEUE);
        std::thread::Builder::new()
            .name("plugin-reaper".into())
            .spawn(move || discarded.into_iter().for_each(drop))
            .map_err(|error| error.to_string())?;
        Ok(Shared { wasm, ticker, reaper })
    }
}

fn config(bound: Bound) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    // Its default triples the price of an empty call (647 against 190 ns), and policies are synchronous.
    config.concurrency_support(false);
    config.epoch_interruption(bound == Bound::Time);
    config.consume_fuel(bound == Bound::Instructions);
    // Equal inputs must give equal answers on every node, or nothing could be replayed.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    // Handles of a failed instance's memories, so that what a panic left there can be read. Copies nothing.
    config.coredump_on_trap(true);
    config
}
