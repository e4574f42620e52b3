//! The functions of WASI that answer something. All others are answered by type, with nothing.

use wasmtime::component::{ComponentType, LinkerInstance, Lower, Resource};
use wasmtime::{StoreContextMut, bail};

use crate::limits;
use crate::sandbox::{Host, Level};

/// `wasi:io/poll.pollable`; its number is that of a timer, or 0.
pub(super) struct Pollable;
/// `wasi:io/streams.output-stream`; 1 is stdout, 2 stderr.
pub(super) struct Output;
/// `wasi:io/streams.input-stream`; there is only stdin, which has ended.
pub(super) struct Input;
/// Every other resource; only a network that reaches nobody is ever made.
pub(super) struct Other;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;
/// Nanoseconds between two readings of the clocks, at least: they count milliseconds.
const RESOLUTION_NS: u32 = 1_000_000;

/// `wasi:io/streams.stream-error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[expect(dead_code, reason = "printing never fails, and the type must be whole")]
enum StreamError {
    #[component(name = "last-operation-failed")]
    Failed(Resource<Other>),
    #[component(name = "closed")]
    Closed,
}

/// `wasi:clocks/wall-clock.datetime`.
#[derive(ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Store<'a> = StoreContextMut<'a, Host>;
type Written = (Result<(), StreamError>,);

/// Defines one function; says whether it is one of these.
pub(super) fn define(
    into: &mut LinkerInstance<'_, Host>,
    interface: &str,
    name: &str,
) -> wasmtime::Result<bool> {
    match interface {
        "wasi:cli/stdin" | "wasi:cli/stdout" | "wasi:cli/stderr" | "wasi:cli/exit" => cli(into, name),
        "wasi:io/streams" => streams(into, name),
        "wasi:io/poll" => poll(into, name),
        "wasi:clocks/monotonic-clock" => monotonic_clock(into, name),
        "wasi:clocks/wall-clock" => wall_clock(into, name),
        "wasi:random/random" | "wasi:random/insecure" | "wasi:random/insecure-seed" => random(into, name),
        "wasi:sockets/instance-network" if name == "instance-network" => {
            into.func_wrap(name, |store, (): ()| counted(store, |_| Ok((Resource::<Other>::new_own(0),))))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Every call of the host counts, so that nobody can spend a node's time in them; faults.md W04.
fn counted<R>(
    mut store: Store<'_>,
    answer: impl FnOnce(&mut Host) -> wasmtime::Result<R>,
) -> wasmtime::Result<R> {
    let host = store.data_mut();
    host.count_host_call()?;
    answer(host)
}

fn cli(into: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "get-stdin" => {
            into.func_wrap(name, |store, (): ()| counted(store, |_| Ok((Resource::<Input>::new_own(0),))))?;
        }
        "get-stdout" => into.func_wrap(name, |store, (): ()| output(store, STDOUT))?,
        "get-stderr" => into.func_wrap(name, |store, (): ()| output(store, STDERR))?,
        "exit" => into.func_wrap(name, |_, (how,): (Result<(), ()>,)| -> wasmtime::Result<()> {
            bail!("it exits with {}", if how.is_ok() { "success" } else { "failure" })
        })?,
        "exit-with-code" => into.func_wrap(name, |_, (code,): (u8,)| -> wasmtime::Result<()> {
            bail!("it exits with code {code}")
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn output(store: Store<'_>, which: u32) -> wasmtime::Result<(Resource<Output>,)> {
    counted(store, |_| Ok((Resource::new_own(which),)))
}

fn streams(into: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "[method]output-stream.check-write" => into.func_wrap(name, |store, (_,): (Resource<Output>,)| {
            counted(store, |_| Ok((Ok::<u64, StreamError>(limits::LOG_LINE_BYTES as u64),)))
        })?,
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            into.func_wrap(name, |store, (to, bytes): (Resource<Output>, Vec<u8>)| {
                print(store, &to, &bytes)
            })?;
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            into.func_wrap(name, |store, (_,): (Resource<Output>,)| -> wasmtime::Result<Written> {
                counted(store, |_| Ok((Ok(()),)))
            })?
        }
        "[method]output-stream.subscribe" => {
            into.func_wrap(name, |store, (_,): (Resource<Output>,)| ready(store))?;
        }
        "[method]input-stream.subscribe" => {
            into.func_wrap(name, |store, (_,): (Resource<Input>,)| ready(store))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn print(store: Store<'_>, to: &Resource<Output>, bytes: &[u8]) -> wasmtime::Result<Written> {
    counted(store, |host| {
        // What `check-write` allows, and the most that a blocking write may have.
        if bytes.len() > limits::LOG_LINE_BYTES {
            bail!("it prints {} bytes at once, {} are the limit", bytes.len(), limits::LOG_LINE_BYTES);
        }
        // Lines beyond what one call may log are counted and dropped by the log itself.
        let mut lines = Vec::new();
        let wasi = &mut host.wasi;
        let (into, level) = match to.rep() {
            STDERR => (&mut wasi.err, Level::Warn),
            _ => (&mut wasi.out, Level::Info),
        };
        into.push(bytes, |line| lines.push(line));
        lines.into_iter().for_each(|line| host.write_line(level, line));
        Ok((Ok(()),))
    })
}

fn ready(store: Store<'_>) -> wasmtime::Result<(Resource<Pollable>,)> {
    counted(store, |_| Ok((Resource::new_own(0),)))
}

fn poll(into: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "[method]pollable.ready" => into.func_wrap(name, |store, (of,): (Resource<Pollable>,)| {
            counted(store, |host| Ok((host.wasi.is_ready(of.rep()),)))
        })?,
        "[method]pollable.block" => into.func_wrap(name, |store, (on,): (Resource<Pollable>,)| {
            counted(store, |host| if host.wasi.is_ready(on.rep()) { Ok(()) } else { would_wait() })
        })?,
        "poll" => into.func_wrap(name, |store, (on,): (Vec<Resource<Pollable>>,)| {
            counted(store, |host| {
                let is_ready = |&at: &u32| host.wasi.is_ready(on[at as usize].rep());
                let ready: Vec<u32> = (0..on.len() as u32).filter(is_ready).collect();
                if ready.is_empty() { would_wait() } else { Ok((ready,)) }
            })
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn would_wait<R>() -> wasmtime::Result<R> {
    bail!("it waits, and time stands still during a call")
}

fn monotonic_clock(into: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "now" => {
            into.func_wrap(name, |store, (): ()| counted(store, |host| Ok((host.wasi.steady_ns(),))))?;
        }
        "resolution" => {
            into.func_wrap(name, |store, (): ()| counted(store, |_| Ok((u64::from(RESOLUTION_NS),))))?;
        }
        "subscribe-instant" => into.func_wrap(name, |store, (when_ns,): (u64,)| {
            counted(store, |host| Ok((Resource::<Pollable>::new_own(host.wasi.start_timer(when_ns)?),)))
        })?,
        "subscribe-duration" => into.func_wrap(name, |store, (ns,): (u64,)| {
            counted(store, |host| {
                let when_ns = host.wasi.steady_ns().saturating_add(ns);
                Ok((Resource::<Pollable>::new_own(host.wasi.start_timer(when_ns)?),))
            })
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn wall_clock(into: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "now" => into.func_wrap(name, |store, (): ()| {
            counted(store, |host| {
                let now_ms = host.wasi.now_ms;
                let nanoseconds = (now_ms % 1_000) as u32 * 1_000_000;
                Ok((Datetime { seconds: now_ms / 1_000, nanoseconds },))
            })
        })?,
        "resolution" => into.func_wrap(name, |store, (): ()| {
            counted(store, |_| Ok((Datetime { seconds: 0, nanoseconds: RESOLUTION_NS },)))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn random(into: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "get-random-bytes" | "get-insecure-random-bytes" => {
            into.func_wrap(name, |store, (len,): (u64,)| counted(store, |host| random_bytes(host, len)))?;
        }
        "get-random-u64" | "get-insecure-random-u64" => {
            into.func_wrap(name, |store, (): ()| counted(store, |host| Ok((host.wasi.draw_u64(),))))?;
        }
        "insecure-seed" => {
            into.func_wrap(name, |store, (): ()| counted(store, |host| Ok((host.wasi.lasting(),))))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn random_bytes(host: &mut Host, len: u64) -> wasmtime::Result<(Vec<u8>,)> {
    if len > limits::EFFECT_BYTES as u64 {
        bail!("it asks for {len} random bytes at once, {} are the limit", limits::EFFECT_BYTES);
    }
    let mut bytes = vec![0; len as usize];
    host.wasi.draw(&mut bytes);
    Ok((bytes,))
}
