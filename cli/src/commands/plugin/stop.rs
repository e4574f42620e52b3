//! The polite ways to end a command that has something to put in order first.

use std::future::Future;
use std::time::Duration;

use mesh_node::api::{ApiError, code};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::commands::block_on;

/// How long the work has to put things in order.
const GRACE: Duration = Duration::from_secs(1);

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

    /// Waits for one of them.
    pub async fn wait(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {} _ = self.terminate.recv() => {} }
    }
}

/// Does the work, or drops it when it is interrupted.
///
/// # Errors
/// Those of the work, or `INTERRUPTED`.
pub async fn unless_stopped<T>(work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let (told, stopped) = oneshot::channel();
    // A thread of its own, because the work may be computing and notice nothing.
    std::thread::spawn(move || {
        block_on(async {
            Stop::catch()?.wait().await;
            let _ = told.send(());
            tokio::time::sleep(GRACE).await;
            Ok(())
        })
        .map(|()| std::process::exit(code::INTERRUPTED.exit.into()))
    });
    tokio::select! {
        outcome = work => outcome,
        Ok(()) = stopped => Err(ApiError::new(&code::INTERRUPTED, "interrupted")),
    }
}
