//! Programs that build: started, listened to, and stopped when nobody waits for them any more.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

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

/// Kills a program that nobody waits for any more, for instance after Ctrl-C.
struct Guard(Option<rustix::process::Pid>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
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
    let mut child = command.spawn()?;
    let mut guard = Guard(rustix::process::Pid::from_raw(child.id() as i32));
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
        let status = child.wait()?;
        Ok(Finished { status, stdout: kept, said: said.join().unwrap_or_default() })
    });
    let finished = waiting.await.map_err(io::Error::other)?;
    guard.0 = None;
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
