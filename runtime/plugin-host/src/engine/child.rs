//! Compiling what strangers wrote in a process of its own, which may use so much time and memory and no more.
//!
//! The child gets the component on stdin and answers with compiled code on stdout; it knows no secret, opens no
//! file and is told nothing by its environment. Its parent puts the code under the cache's MAC as if it were its own.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::{Bound, config};
use crate::inspect::NotAComponent;
use crate::limits;
use crate::load::LoadError;
use crate::settings::clip;

/// The first byte of the child's answer.
const CODE: u8 = 0;
const REFUSED: u8 = 1;

/// mimalloc, which the program may have for its allocator, reserves a gigabyte of addresses at its start. The limit on
/// memory is one on addresses: with little in reserve there is room left for what the compiler maps itself, and no more
/// memory than the limit allows.
const RESERVE: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "64MiB");

/// Seconds that a compilation may take for each second of its CPU: a busy machine gives it a small part of a core.
const PATIENCE: u64 = 30;

/// What compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget {
    cpu_s: u64,
    memory: u64,
}

impl Budget {
    /// Grows with the component's length and has an end.
    fn of(len: usize) -> Budget {
        let mib = (len >> 20) as u64;
        let cpu_s = limits::COMPILE_CPU_S + mib * limits::COMPILE_CPU_S_PER_MIB;
        let memory = limits::COMPILE_MEMORY + mib * limits::COMPILE_MEMORY_PER_MIB;
        Budget {
            cpu_s: cpu_s.min(limits::COMPILE_CPU_S_MOST),
            memory: memory.min(limits::COMPILE_MEMORY_MOST),
        }
    }
}

/// A program that calls [`compile_stdin`] and does nothing else.
#[derive(Clone, Debug)]
pub struct Compiler {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Compiler {
    /// Takes the program and its arguments; nothing is started yet.
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Compiler {
        Compiler { program: program.into(), args: args.into_iter().map(Into::into).collect() }
    }

    /// Returns the compiled code of a component. Blocks for up to [`limits::COMPILE_CPU_S_MOST`] of the
    /// child's CPU, and [`PATIENCE`] times as long by the clock.
    pub(super) fn compile(&self, component: &[u8]) -> Result<Vec<u8>, LoadError> {
        let failed = |error: io::Error| LoadError::Compiler { reason: clip(error.to_string()) };
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .env(RESERVE.0, RESERVE.1)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let budget = Budget::of(component.len());
        let answer = talk_within(Duration::from_secs(budget.cpu_s * PATIENCE), &mut child, component);
        // Else it has closed its end, and is about to end or has been ended.
        if answer.as_ref().map_or(true, |answer| answer.len() as u64 > limits::COMPILED_BYTES) {
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        read_answer(answer.map_err(failed)?, status, budget)
    }
}

/// Ends a child that waits for something, which costs it no CPU, so that nobody waits for it.
fn talk_within(time: Duration, child: &mut Child, component: &[u8]) -> io::Result<Vec<u8>> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        let talking = scope.spawn(move || {
            let answer = talk(stdin, stdout, component);
            drop(done);
            answer
        });
        if is_done.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
            let _ = child.kill();
        }
        talking.join().expect("reading and writing does not panic")
    })
}

fn talk(stdin: Option<ChildStdin>, stdout: Option<ChildStdout>, component: &[u8]) -> io::Result<Vec<u8>> {
    // It reads to the end before it writes, so neither waits for the other. One that died is told by its status.
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(component);
    }
    let mut answer = Vec::new();
    if let Some(stdout) = stdout {
        stdout.take(limits::COMPILED_BYTES + 1).read_to_end(&mut answer)?;
    }
    Ok(answer)
}

fn read_answer(mut answer: Vec<u8>, status: ExitStatus, budget: Budget) -> Result<Vec<u8>, LoadError> {
    let over = |reason: String| Err(LoadError::OverLimit { reason });
    match answer.first() {
        _ if answer.len() as u64 > limits::COMPILED_BYTES => {
            over(format!("its compiled code has more than {} MiB", limits::COMPILED_BYTES >> 20))
        }
        _ if is_signal(status) => over(format!(
            "compiling it takes more than {} s of CPU, {} s by the clock or {} MiB",
            budget.cpu_s,
            budget.cpu_s * PATIENCE,
            budget.memory >> 20
        )),
        Some(&CODE) if status.success() => Ok(answer.split_off(1)),
        Some(&REFUSED) if status.success() => {
            let reason = clip(String::from_utf8_lossy(&answer[1..]).into_owned());
            Err(NotAComponent::Invalid { reason }.into())
        }
        _ => Err(LoadError::Compiler { reason: format!("it ended with {status}") }),
    }
}

/// A limit ends the child by a signal: of its own accord it ends with an exit code.
#[cfg(unix)]
fn is_signal(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status).is_some()
}

#[cfg(not(unix))]
fn is_signal(_: ExitStatus) -> bool {
    false
}

/// Is the child: limits this process, reads a component from stdin, writes compiled code to stdout.
///
/// Limits the whole process for good, so nothing else may be done in it.
///
/// # Errors
/// When the limits cannot be set, or the pipes fail.
pub fn compile_stdin() -> io::Result<()> {
    let mut component = Vec::new();
    io::stdin().lock().take(limits::COMPONENT_BYTES as u64 + 1).read_to_end(&mut component)?;
    limit_process(Budget::of(component.len()))?;
    let mut config = config(Bound::Time);
    // Threads would share the one limit of CPU, and reserve address space each.
    config.parallel_compilation(false);
    let code = wasmtime::Engine::new(&config).and_then(|engine| engine.precompile_component(&component));
    let mut out = io::stdout().lock();
    match code {
        Ok(code) => [&[CODE][..], &code].into_iter().try_for_each(|part| out.write_all(part))?,
        Err(error) => write!(out, "{}{error:#}", char::from(REFUSED))?,
    }
    out.flush()
}

#[cfg(unix)]
fn limit_process(budget: Budget) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = |resource, most: u64| {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).map_err(io::Error::from)
    };
    limit(Resource::Core, 0)?;
    limit(Resource::Cpu, budget.cpu_s)?;
    limit(Resource::As, budget.memory)
}

#[cfg(not(unix))]
fn limit_process(_: Budget) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    use super::*;

    // W15
    #[test]
    fn the_budget_of_a_compilation_grows_with_the_component_and_ends() {
        let of = |mib: usize| Budget::of(mib << 20);

        assert_eq!(Budget::of(40_000), Budget { cpu_s: 2, memory: 512 << 20 });
        assert_eq!(of(12), Budget { cpu_s: 50, memory: 1280 << 20 });
        assert_eq!(of(32), Budget { cpu_s: 60, memory: 2 << 30 });
        assert_eq!(of(1 << 30), of(32));
    }
}
