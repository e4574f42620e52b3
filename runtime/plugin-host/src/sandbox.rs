//! One instance in its store: limits, deadlines, and what a handler may read.

use std::collections::BTreeMap;
use std::time::Duration;

use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::handler::Shared;
use crate::limits;
use crate::load::Revision;
use crate::post_mortem::PostMortem;
use crate::settings::clip;
use crate::slot::LogLevel;
use crate::wasi::Wasi;
use crate::wit::handler::{kv, log};

pub(crate) use log::Level;

/// What a handler has put aside, by key.
pub type Kv = BTreeMap<String, Vec<u8>>;

/// What the host keeps beside an instance.
pub struct Host {
    meter: Meter,
    slice: Slice,
    /// What the guest has said since the last time that somebody took it.
    said: Vec<(LogLevel, String)>,
    /// What the trap that ended the instance left behind.
    post_mortem: Option<Box<PostMortem>>,
    /// The store of the handler's slot; empty for policies.
    pub(crate) kv: Shared,
    host_calls: u32,
    log_lines: u32,
    plugin: String,
    /// What a guest that brings WASI sees.
    pub(crate) wasi: Wasi,
}

/// Holds an instance to its limits: wasmtime asks for one memory or table at a time, and what counts is the sum.
struct Meter {
    /// Bytes that all memories may have together.
    most: usize,
    /// Bytes of all memories now; memories never shrink.
    memory: usize,
    /// Elements of all tables now.
    elements: usize,
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(grow(&mut self.memory, self.most, current, desired, maximum))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(grow(&mut self.elements, limits::TABLE_ELEMENTS, current, desired, maximum))
    }

    fn instances(&self) -> usize {
        limits::CORE_ITEMS
    }

    fn tables(&self) -> usize {
        limits::CORE_ITEMS
    }

    fn memories(&self) -> usize {
        limits::CORE_ITEMS
    }
}

/// Adds to `sum` what one memory or table grows by, if that stays within `most` and its own maximum.
fn grow(sum: &mut usize, most: usize, current: usize, desired: usize, maximum: Option<usize>) -> bool {
    let grown = sum.saturating_add(desired.saturating_sub(current));
    let may = grown <= most && maximum.is_none_or(|maximum| desired <= maximum);
    if may {
        *sum = grown;
    }
    may
}

/// The time of the running call.
#[derive(Default)]
struct Slice {
    ticks: u64,
    extensions: u32,
    cpu: Option<Duration>,
}

/// Lines that wait to be taken.
const SAID: usize = 64;

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
    let host = Host {
        meter: Meter { most: limits::MEMORY_BYTES, memory: 0, elements: 0 },
        slice: Slice::default(),
        said: Vec::new(),
        post_mortem: None,
        kv: Shared::default(),
        host_calls: 0,
        log_lines: 0,
        plugin: revision.name.clone(),
        wasi: Wasi::new(revision.digest),
    };
    let mut store = Store::new(engine.wasm(), host);
    store.limiter(|host| &mut host.meter);
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
        store.set_fuel(ticks * limits::FUEL_PER_MS).expect("a metered engine counts fuel");
    } else {
        // The tick that is under way may end at once.
        store.set_epoch_deadline(ticks + 1);
    }
    let _running = engine.enter();
    call(store).map_err(|error| dissect(&error, store, limit))
}

#[cold]
fn dissect(error: &wasmtime::Error, store: &mut Store<Host>, limit: Duration) -> Fault {
    let dead = PostMortem::of(error, store);
    let fault = Fault::of(error, limit, &dead);
    store.data_mut().post_mortem = Some(Box::new(dead));
    fault
}

impl Host {
    /// Returns the bytes of all memories; they never shrink, so it is also the most there was.
    pub(crate) fn memory(&self) -> usize {
        self.meter.memory
    }

    /// Lowers or raises the memory that may be had from now on. Says whether there is not more already.
    pub(crate) fn limit_memory(&mut self, bytes: usize) -> bool {
        let fits = self.meter.memory <= bytes;
        if fits {
            self.meter.most = bytes;
        }
        fits
    }

    /// Says whether the guest has said anything.
    #[inline]
    pub(crate) fn has_said(&self) -> bool {
        !self.said.is_empty()
    }

    /// Takes what the guest has said.
    pub(crate) fn take_said(&mut self) -> Vec<(LogLevel, String)> {
        std::mem::take(&mut self.said)
    }

    /// Takes what the last trap left behind.
    pub(crate) fn take_post_mortem(&mut self) -> PostMortem {
        self.post_mortem.take().map_or_else(PostMortem::default, |dead| *dead)
    }

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
        let text = if text.len() > limits::LOG_LINE_BYTES { clip(text) } else { text };
        // A line stays one: a line break or an escape of a guest's must not look like the host's own words.
        let text = text.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
        // Several calls make up a start, and nobody takes between them.
        if self.said.len() < SAID {
            self.said.push((level.into(), text));
        }
    }
}

/// What no slot has taken is told all the same: it may say why a plugin does not get ready.
impl Drop for Host {
    fn drop(&mut self) {
        for (level, text) in self.take_said() {
            level.trace(&self.plugin, &text);
        }
    }
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> LogLevel {
        match level {
            Level::Error => LogLevel::Error,
            Level::Warn => LogLevel::Warn,
            Level::Info => LogLevel::Info,
            Level::Debug => LogLevel::Debug,
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
