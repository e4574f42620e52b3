//! Virtual WASI: what guests of wasm32-wasip2, Python and JavaScript import whether they use it or not. It grants
//! nothing: no files, sockets, arguments or environment. Time and randomness come from the call, and what is
//! printed goes into the plugin's log.
//!
//! Made for the imports that a component has, so that a component without any gets none. Written here instead of
//! taken from `wasmtime-wasi`, which doubles the number of crates, brings tokio and a real file system, and would
//! have to be kept from granting; here there is nothing to grant. Never waits, never reads a clock.

use wasmtime::component::types::{self, ComponentItem, Type};
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType, Val};
use wasmtime::{Engine, StoreContextMut, bail};

use crate::limits;
use crate::sandbox::Host;

mod calls;
mod lines;

use lines::Lines;

/// The packages that are answered. `wasi:http` and all others are refused as any import is.
const PACKAGES: [&str; 6] = ["cli", "io", "clocks", "random", "filesystem", "sockets"];
/// Every 0.2 release only adds to 0.2.0.
const SERIES: &str = "0.2.";
/// Words for "no" in the errors of WASI's interfaces, in the order of preference.
const NO: [&str; 3] = ["access-denied", "not-permitted", "closed"];

/// Says whether an import is answered by virtual WASI.
pub(crate) fn is_virtual(interface: &str, version: Option<&str>) -> bool {
    let package = interface.strip_prefix("wasi:").and_then(|rest| rest.split('/').next());
    let is_known = package.is_some_and(|package| PACKAGES.contains(&package));
    is_known && version.is_some_and(|version| version.starts_with(SERIES))
}

/// The world as a guest of virtual WASI sees it.
pub(crate) struct Wasi {
    /// What the randomness of this instance depends on beside the call.
    identity: [u8; 32],
    now_ms: u64,
    /// The highest time so far: a clock that only goes on must not follow one that was set back.
    steady_ms: u64,
    seed: u64,
    /// Random bytes that this call has drawn.
    drawn: u64,
    /// When the pollables of timers are ready, in nanoseconds; `None` is free.
    timers: Vec<Option<u64>>,
    out: Lines,
    err: Lines,
}

impl Wasi {
    /// Returns what the instance with this `identity` sees: the revision's digest for a policy.
    pub(crate) fn new(identity: [u8; 32]) -> Wasi {
        Wasi {
            identity,
            now_ms: 0,
            steady_ms: 0,
            seed: 0,
            drawn: 0,
            timers: Vec::new(),
            out: Lines::default(),
            err: Lines::default(),
        }
    }

    /// Makes what follows depend on the node as well.
    pub(crate) fn on_node(&mut self, node: &[u8; 32]) {
        let mut hasher = blake3::Hasher::new_derive_key("meshwork virtual wasi 2026 instance");
        hasher.update(&self.identity).update(node);
        self.identity = *hasher.finalize().as_bytes();
    }

    /// Sets the time and the randomness of the call that comes: equal calls see the same.
    #[inline]
    pub(crate) fn begin(&mut self, now_ms: u64, seed: u64) {
        self.now_ms = now_ms;
        self.steady_ms = self.steady_ms.max(now_ms);
        self.seed = seed;
        self.drawn = 0;
    }

    fn steady_ns(&self) -> u64 {
        self.steady_ms.saturating_mul(1_000_000)
    }

    /// Fills `bytes` with what follows in this call's randomness.
    fn draw(&mut self, bytes: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_derive_key("meshwork virtual wasi 2026 call");
        hasher.update(&self.identity).update(&self.now_ms.to_le_bytes()).update(&self.seed.to_le_bytes());
        let mut stream = hasher.finalize_xof();
        stream.set_position(self.drawn);
        stream.fill(bytes);
        self.drawn += bytes.len() as u64;
    }

    fn draw_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.draw(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Returns numbers that stay the same for the life of the instance: hash tables are keyed by them.
    fn lasting(&self) -> (u64, u64) {
        let key = blake3::derive_key("meshwork virtual wasi 2026 hash seed", &self.identity);
        let part = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().expect("eight of 32 bytes"));
        (part(0), part(8))
    }

    /// Returns the handle of a timer; 0 is one that is always ready.
    fn start_timer(&mut self, ready_ns: u64) -> wasmtime::Result<u32> {
        if ready_ns <= self.steady_ns() {
            return Ok(0);
        }
        let free = self.timers.iter().position(Option::is_none).unwrap_or(self.timers.len());
        if free == limits::HANDLES {
            bail!("more than {} timers", limits::HANDLES);
        }
        self.timers.resize(self.timers.len().max(free + 1), None);
        self.timers[free] = Some(ready_ns);
        Ok(free as u32 + 1)
    }

    fn is_ready(&self, handle: u32) -> bool {
        let timer = (handle as usize).checked_sub(1).and_then(|at| self.timers.get(at));
        timer.copied().flatten().is_none_or(|ready_ns| ready_ns <= self.steady_ns())
    }

    fn drop_timer(&mut self, handle: u32) {
        if let Some(timer) = (handle as usize).checked_sub(1).and_then(|at| self.timers.get_mut(at)) {
            *timer = None;
        }
    }
}

/// Defines the WASI imports that this component has.
///
/// # Errors
/// When it imports an item that no interface of WASI has: a component or a module.
pub(crate) fn add_to_linker(
    engine: &Engine,
    linker: &mut Linker<Host>,
    component: &Component,
) -> wasmtime::Result<()> {
    for (name, import) in component.component_type().imports(engine) {
        let (interface, version) = crate::inspect::split_version(name);
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        if !is_virtual(interface, version) {
            continue;
        }
        let mut into = linker.instance(name)?;
        for (item, export) in instance.exports(engine) {
            match export.ty {
                ComponentItem::Resource(_) => define_resource(&mut into, item)?,
                ComponentItem::ComponentFunc(_) => define_function(&mut into, interface, item)?,
                ComponentItem::Type(_) => {}
                _ => bail!("{interface} has no {item} that could be given"),
            }
        }
    }
    Ok(())
}

fn define_resource(into: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<()> {
    match name {
        "pollable" => into.resource(name, ResourceType::host::<calls::Pollable>(), |mut store, handle| {
            store.data_mut().wasi.drop_timer(handle);
            Ok(())
        }),
        "output-stream" => into.resource(name, ResourceType::host::<calls::Output>(), |_, _| Ok(())),
        "input-stream" => into.resource(name, ResourceType::host::<calls::Input>(), |_, _| Ok(())),
        _ => into.resource(name, ResourceType::host::<calls::Other>(), |_, _| Ok(())),
    }
}

fn define_function(into: &mut LinkerInstance<'_, Host>, interface: &str, name: &str) -> wasmtime::Result<()> {
    if calls::define(into, interface, name)? {
        return Ok(());
    }
    let called = format!("{interface}.{name}");
    into.func_new(name, move |mut store, function, params, results| {
        store.data_mut().count_host_call()?;
        drop_handles(&mut store, params)?;
        match (function.results().next(), results) {
            (None, _) => bail!("{called}: virtual WASI does nothing"),
            (Some(ty), [result, ..]) => match nothing(&ty) {
                Some(answer) => *result = answer,
                None => bail!("{called}: virtual WASI has nothing to answer"),
            },
            (Some(_), []) => {}
        }
        Ok(())
    })
}

/// What was lent for a call must be given back, also by who has no use for it.
fn drop_handles(store: &mut StoreContextMut<'_, Host>, params: &[Val]) -> wasmtime::Result<()> {
    for param in params {
        if let Val::Resource(handle) = param {
            handle.resource_drop(&mut *store)?;
        }
    }
    Ok(())
}

/// The answer of this type that grants nothing: an empty list, no value, or a refusal in WASI's own words.
fn nothing(ty: &Type) -> Option<Val> {
    match ty {
        Type::List(_) => Some(Val::List(Vec::new())),
        Type::Option(_) => Some(Val::Option(None)),
        Type::Result(result) => {
            let no = refusal(&result.err()?)?;
            Some(Val::Result(Err(Some(Box::new(no)))))
        }
        _ => None,
    }
}

fn refusal(error: &Type) -> Option<Val> {
    let names: Vec<&str> = match error {
        Type::Enum(words) => words.names().collect(),
        Type::Variant(cases) => plain_cases(cases),
        _ => return None,
    };
    let word = NO.into_iter().find(|no| names.contains(no))?.to_owned();
    match error {
        Type::Enum(_) => Some(Val::Enum(word)),
        _ => Some(Val::Variant(word, None)),
    }
}

fn plain_cases(variant: &types::Variant) -> Vec<&str> {
    variant.cases().filter(|case| case.ty.is_none()).map(|case| case.name).collect()
}
