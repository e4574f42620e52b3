//! A node in the background: this program starts itself once more, and waits until that one is ready.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use mesh_node::api::{ApiError, code};

use super::{Context, Ready, Up};

/// How long the start may take. The first one ever compiles the built-in plugins.
const READY: Duration = Duration::from_secs(20);

/// Starts the node in the background and prints the same as it would print itself.
///
/// # Errors
/// What the node said, or `NOT_READY`.
pub fn start(_up: &Up, context: &Context) -> Result<(), ApiError> {
    let failed = |error: std::io::Error| {
        ApiError::new(&code::INTERNAL, format!("the node cannot be started: {error}"))
    };
    let mut child = Command::new(std::env::current_exe().map_err(failed)?)
        .args(std::env::args_os().skip(1).filter(|arg| arg != "--detach"))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Out of this terminal's reach: Ctrl-C here is not for the node.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let told = child.stdout.take().and_then(first_line);
    let outcome = told.as_deref().and_then(|line| serde_json::from_str::<Result<Ready, ApiError>>(line).ok());
    match outcome {
        Some(Ok(ready)) => context.out.print(Some(ready.node), &ready),
        Some(Err(error)) => Err(error),
        None => Err(not_ready(&mut child)),
    }
}

/// Tells the process that waits how the start went, in one line on stdout.
///
/// # Errors
/// The node's own, after it has been told.
pub fn report(outcome: Result<Ready, ApiError>, context: &Context) -> Result<(), ApiError> {
    let line = serde_json::to_string(&outcome).map_err(|error| ApiError::new(&code::INTERNAL, error))?;
    context.out.raw(format!("{line}\n").as_bytes())?;
    let _ = std::io::stdout().flush();
    outcome.map(|_| ())
}

fn first_line(stdout: ChildStdout) -> Option<String> {
    let (told, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line).is_ok() {
            let _ = told.send(line);
        }
    });
    wait.recv_timeout(READY).ok()
}

fn not_ready(child: &mut Child) -> ApiError {
    let ended = child.try_wait().ok().flatten();
    let _ = child.kill();
    match ended {
        Some(status) => {
            ApiError::new(&code::NOT_READY, format!("the node ended before it was ready: {status}"))
        }
        None => {
            ApiError::new(&code::NOT_READY, format!("the node was not ready within {} s", READY.as_secs()))
        }
    }
    .help("meshctl up --log-to -")
}
