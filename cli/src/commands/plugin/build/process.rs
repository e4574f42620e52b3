//! Programs that build: started, listened to, and stopped when nobody waits for them any more.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::commands::Context;
use crate::output::Format;

/// Bytes of a program's standard output that are kept; cargo writes about 2 KB for each crate.
const MAX_STDOUT: u64 = 16 << 20;
/// Bytes of a program's messages that are kept for an error, the last ones.
const MAX_SAID: usize = 64 << 10;

/// Whether people see what a program says while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narration {
    /// On stderr, as it comes.
    Shown,
    /// Only in the error, if there is one.
    Kept,
}

impl Narration {
    /// What the command line asks for.
    pub fn of(context: &Context) -> Narration {
        let globals = &context.globals;
        let for_programs = globals.json || globals.output != Format::Human;
        if for_programs || globals.quiet { Narration::Kept } else { Narration::Shown }
    }
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output, cut at 16 MiB.
    pub stdout: Vec<u8>,
    /// The end of what it wrote to stderr, at most 64 KiB.
    pub said: String,
}

/// Stops a program that nobody waits for any more, with all that it has started: a shell does not pass it on.
struct Guard(Arc<Mutex<Option<Pid>>>);

impl Guard {
    fn lock(&self) -> MutexGuard<'_, Option<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut group = self.lock();
        if let Some(group) = group.take() {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}

/// Runs a program to its end. Dropping the future stops it.
///
/// # Errors
/// When it cannot be started.
pub async fn output(mut command: Command, narration: Narration) -> io::Result<Finished> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if narration == Narration::Shown && io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command.process_group(0).spawn()?;
    let pid = Pid::from_child(&child);
    let guard = Guard(Arc::new(Mutex::new(Some(pid))));
    let ended = Guard(guard.0.clone());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let waiting = tokio::task::spawn_blocking(move || {
        let said =
            std::thread::spawn(move || stderr.map_or_else(String::new, |pipe| listen(pipe, narration)));
        let mut kept = Vec::new();
        if let Some(mut pipe) = stdout {
            let _ = pipe.by_ref().take(MAX_STDOUT).read_to_end(&mut kept);
            // What is beyond is read and forgotten, so that the program does not wait for a reader.
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        let said = said.join().unwrap_or_default();
        // Not reaped yet, its number is still its own; after that it may be anybody's.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        *ended.lock() = None;
        Ok(Finished { status: child.wait()?, stdout: kept, said })
    });
    let finished = waiting.await.map_err(io::Error::other)?;
    drop(guard);
    finished
}

fn listen(pipe: impl Read, narration: Narration) -> String {
    let mut said = Vec::new();
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while matches!(reader.by_ref().take(MAX_SAID as u64).read_until(b'\n', &mut line), Ok(read) if read > 0) {
        if narration == Narration::Shown {
            let _ = anstream::stderr().lock().write_all(&line);
        }
        said.append(&mut line);
        let surplus = said.len().saturating_sub(MAX_SAID);
        said.drain(..surplus);
    }
    anstream::adapter::strip_str(&String::from_utf8_lossy(&said)).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_a_shell_has_started_ends_with_it_when_nobody_waits_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.current_dir(dir.path()).args(["-c", "sleep 1000 & touch begun; wait"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (file, begun) = (dir.path().join("begun"), Instant::now());

        runtime.block_on(async {
            let started = async {
                while !file.exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                finished = output(shell, Narration::Kept) => panic!("{finished:?}"),
                () = started => {}
            }
        });
        // Waits for the thread that reads what the group writes.
        drop(runtime);

        assert!(begun.elapsed() < Duration::from_secs(500), "it has ended by itself");
    }
}
