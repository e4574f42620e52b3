//! One instance in its store: limits, deadlines, and what a handler may read.

use std::collections::BTreeMap;
use std::time::Duration;

use wasmtime::{Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::handler::Shared;
use crate::limits;
use crate::load::Revision;
use crate::settings::clip;
use crate::wasi::Wasi;
use crate::wit::handler::{kv, log};

pub(crate) use log::Level;

/// What a handler has put aside, by key.
pub type Kv = BTreeMap<String, Vec<u8>>;

/// What the host keeps beside an instance.
pub(crate) struct Host {
    limits: StoreLimits,
    slice: Slice,
    /// The store of the handler's slot; empty for policies.
    pub(crate) kv: Shared,
    host_calls: u32,
    log_lines: u32,
    plugin: String,
    /// What a guest that brings WASI sees.
    pub(crate) wasi: Wasi,
}

/// The time of the running call.
#[derive(Default)]
struct Slice {
    ticks: u64,
    extensions: u32,
    cpu: Option<Duration>,
}

/// A call that has been waiting for a core is not stopped until it has run, or this often been given grace.
const MAX_EXTENSIONS: u32 = 20;
/// Grace is as long as the deadline and at most this long: enough to see whether the thread runs.
const MAX_GRACE_TICKS: u64 = 10;

impl Slice {
    /// Decides at a deadline: the clock is the wall's, but on a busy machine the thread may not have run. The
    /// first time it only looks at the thread's own clock, so that calls in time never pay for reading it.
    fn expired(&mut self) -> UpdateDeadline {
        let Some(now) = thread_time() else {
            return UpdateDeadline::Interrupt;
        };
        let grace = self.ticks.min(MAX_GRACE_TICKS);
        let ran = self.cpu.map_or(Duration::ZERO, |before| now.saturating_sub(before));
        if ran * 2 >= crate::engine::TICK * grace as u32 || self.extensions == MAX_EXTENSIONS {
            return UpdateDeadline::Interrupt;
        }
        if self.cpu.is_none() {
            self.cpu = Some(now);
        }
        self.extensions += 1;
        UpdateDeadline::Continue(grace)
    }
}

#[cfg(unix)]
fn thread_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).ok()
}

#[cfg(not(unix))]
fn thread_time() -> Option<Duration> {
    None
}

/// Makes a store with every limit set.
pub(crate) fn store(engine: &Engine, revision: &Revision) -> Store<Host> {
    let limits = StoreLimitsBuilder::new()
        .memory_size(limits::MEMORY_BYTES)
        .table_elements(limits::TABLE_ELEMENTS)
        .instances(limits::CORE_ITEMS)
        .tables(limits::CORE_ITEMS)
        .memories(limits::CORE_ITEMS)
        .build();
    let host = Host {
        limits,
        slice: Slice::default(),
        kv: Shared::default(),
        host_calls: 0,
        log_lines: 0,
        plugin: revision.name.clone(),
        wasi: Wasi::new(revision.digest),
    };
    let mut store = Store::new(engine.wasm(), host);
    store.limiter(|host| &mut host.limits);
    store.set_hostcall_fuel(limits::ANSWER_BYTES);
    store.set_max_component_handles(limits::HANDLES);
    if !engine.is_metered() {
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().slice.expired()));
    }
    store
}

/// Runs one call into the guest with `limit` as its deadline.
#[inline]
pub(crate) fn call<R>(
    engine: &Engine,
    store: &mut Store<Host>,
    limit: Duration,
    call: impl FnOnce(&mut Store<Host>) -> wasmtime::Result<R>,
) -> Result<R, Fault> {
    let ticks = limit.as_millis() as u64;
    let host = store.data_mut();
    host.slice = Slice { ticks, ..Slice::default() };
    host.host_calls = 0;
    host.log_lines = 0;
    if engine.is_metered() {
        store.set_fuel(ticks * limits::FUEL_PER_MS).map_err(|error| Fault::of(&error, limit))?;
    } else {
        // The tick that is under way may end at once.
        store.set_epoch_deadline(ticks + 1);
    }
    let _running = engine.enter();
    call(store).map_err(|error| Fault::of(&error, limit))
}

impl Host {
    pub(crate) fn count_host_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls += 1;
        if self.host_calls > limits::HOST_CALLS {
            wasmtime::bail!("more than {} host calls in one call", limits::HOST_CALLS);
        }
        Ok(())
    }

    /// Writes one line into the plugin's log, unless the call has written its share.
    pub(crate) fn write_line(&mut self, level: Level, text: String) {
        self.log_lines += 1;
        if self.log_lines > limits::LOG_LINES {
            return;
        }
        let plugin = self.plugin.as_str();
        let text = if text.len() > limits::LOG_LINE_BYTES { clip(text) } else { text };
        // A line stays one: a line break or an escape of a guest's must not look like the host's own words.
        let text = text.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
        match level {
            Level::Error => tracing::error!(plugin, "{text}"),
            Level::Warn => tracing::warn!(plugin, "{text}"),
            Level::Info => tracing::info!(plugin, "{text}"),
            Level::Debug => tracing::debug!(plugin, "{text}"),
        }
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, text: String) -> wasmtime::Result<()> {
        self.count_host_call()?;
        self.write_line(level, text);
        Ok(())
    }
}

impl kv::Host for Host {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.count_host_call()?;
        Ok(self.kv.lock().get(&key).cloned())
    }
}
