//! The writer's thread: takes what has come together, commits it, says so; after a fault it opens again and
//! tries the same batches until they are on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Backend, MAX_COMMIT, StoreConfig, StoreError, StoreEvent, Write};

/// One submitted batch.
pub(crate) struct Job {
    pub(crate) ticket: u64,
    pub(crate) batch: Vec<Write>,
    pub(crate) bytes: usize,
}

pub(crate) struct Writer {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) queue: Receiver<Job>,
    pub(crate) events: mpsc::Sender<StoreEvent>,
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) closing: Arc<AtomicBool>,
    pub(crate) config: StoreConfig,
    /// A job that did not fit into the last commit.
    pub(crate) left_over: Option<Job>,
}

/// What one commit takes.
struct Group {
    first: u64,
    last: u64,
    writes: Vec<Write>,
    bytes: usize,
}

impl Writer {
    pub(crate) fn run(mut self) {
        while let Some(group) = self.next_group() {
            let persisted = match group.writes.is_empty() {
                // Everything before it is on disk.
                true => Ok(()),
                false => self.backend.commit(&group.writes).or_else(|error| self.retry(error, &group.writes)),
            };
            self.waiting.fetch_sub(group.bytes, Ordering::Relaxed);
            match persisted {
                Ok(()) => self.tell(StoreEvent::Persisted { ticket: group.last }),
                Err(error) => return self.tell(StoreEvent::Failed { ticket: group.first, error }),
            }
        }
    }

    /// Waits for a batch and takes along whatever else has come meanwhile.
    fn next_group(&mut self) -> Option<Group> {
        let job = self.left_over.take().or_else(|| self.queue.recv().ok())?;
        let mut group = Group { first: job.ticket, last: job.ticket, writes: job.batch, bytes: job.bytes };
        while let Ok(job) = self.queue.try_recv() {
            if group.bytes + job.bytes > MAX_COMMIT {
                self.left_over = Some(job);
                break;
            }
            group.last = job.ticket;
            group.writes.extend(job.batch);
            group.bytes += job.bytes;
        }
        Some(group)
    }

    // After a failed sync nobody knows what is on disk: open anew, which checks it, and write again.
    fn retry(&self, error: StoreError, writes: &[Write]) -> Result<(), StoreError> {
        warn!(%error, "the store takes no writes; nothing is acknowledged until it does");
        self.tell(StoreEvent::Degraded { error: error.clone() });
        let (mut error, mut pause) = (error, self.config.retry_first);
        while !error.is_permanent() {
            let last_try = !self.pause(pause);
            match self.backend.reopen().and_then(|()| self.backend.commit(writes)) {
                Ok(()) => {
                    info!("the store takes writes again");
                    self.tell(StoreEvent::Recovered);
                    return Ok(());
                }
                Err(e) => error = e,
            }
            if last_try {
                break;
            }
            pause = (pause * 2).min(self.config.retry_max);
        }
        Err(error)
    }

    /// Sleeps, and returns whether to go on trying after this: not once the store is being closed.
    fn pause(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        while !self.closing.load(Ordering::Relaxed) {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else {
                return true;
            };
            thread::park_timeout(left);
        }
        false
    }

    fn tell(&self, event: StoreEvent) {
        // An error means that the driver is gone; what it submitted is still written.
        let _ = self.events.blocking_send(event);
    }
}
