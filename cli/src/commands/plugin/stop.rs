//! The polite ways to end a command that has something to put in order first.

use std::future::Future;

use mesh_node::api::{ApiError, code};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C and SIGTERM, caught.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Catches them from now on.
    ///
    /// # Errors
    /// `INTERNAL` when the system refuses it.
    pub fn catch() -> Result<Stop, ApiError> {
        let catch = |kind| signal(kind).map_err(|error| ApiError::new(&code::INTERNAL, error));
        Ok(Stop { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Waits for one, and returns the exit status that says so.
    pub async fn wait(&mut self) -> i32 {
        tokio::select! { _ = self.interrupt.recv() => 130, _ = self.terminate.recv() => 143 }
    }
}

/// Does the work, or drops it and ends the process.
///
/// # Errors
/// Those of the work.
pub async fn unless_stopped<T>(work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let mut stop = Stop::catch()?;
    let status = tokio::select! { outcome = work => return outcome, status = stop.wait() => status };
    std::process::exit(status)
}
