//! What must survive a crash: one writer thread that commits whatever has come together, and reads beside it.
//!
//! The driver submits batches under growing tickets and goes on; [`StoreEvent::Persisted`] says up to which
//! ticket everything is on disk. Only then may anything be acknowledged. Knows tables and bytes, never what
//! a value means.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use mesh_node::store::{Store, StoreEvent, Table, Write};
//!
//! let (store, mut events) = Store::memory();
//! let name = Write::Put { table: Table::Meta, key: b"name".to_vec(), value: "alice".into() };
//! store.submit(1, vec![name]).unwrap();
//!
//! assert_eq!(events.recv().await, Some(StoreEvent::Persisted { ticket: 1 }));
//! assert_eq!(store.get(Table::Meta, b"name").unwrap().unwrap(), "alice");
//! # });
//! ```

use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use self::dir::{DataDir, LOCK_FILE, LockError};
pub use self::redb::{Disk, FileDisk};
pub use self::tables::{Table, Write, held_key, held_of, inbox_key};
use self::writer::{Job, Writer};

mod dir;
mod memory;
mod redb;
mod tables;
mod writer;

/// Name of the store in the data directory.
pub const STORE_FILE: &str = "mesh.redb";
/// Batches that wait for the writer.
pub const QUEUE: usize = 1024;
/// Bytes of batches that wait for the writer; one batch alone may be larger.
pub const MAX_QUEUED: usize = 16 * 1024 * 1024;
/// Bytes that one commit takes together; what comes later waits for the next.
pub const MAX_COMMIT: usize = 8 * 1024 * 1024;
/// Events that wait for the driver. A full channel makes the writer wait, which is no loss: its next commit
/// then takes more together.
pub const EVENTS: usize = 64;
/// Largest key in bytes.
pub const MAX_KEY: usize = 1024;
/// Largest value in bytes: a plugin is the largest thing that is kept.
pub const MAX_VALUE: usize = 64 * 1024 * 1024;

/// A node's store. Reads see what has been committed, not what has only been submitted.
pub struct Store {
    backend: Arc<dyn Backend>,
    jobs: Option<SyncSender<Job>>,
    waiting: Arc<AtomicUsize>,
    closing: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

/// Where a [`Store`] reports; `None` means that its writer has ended.
pub type StoreEvents = mpsc::Receiver<StoreEvent>;

/// What has become of submitted batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// Every batch up to this ticket is on disk.
    Persisted {
        /// The highest ticket.
        ticket: u64,
    },
    /// The disk refuses. Nothing is lost: the writer keeps what was submitted and tries again until it
    /// succeeds, and meanwhile nothing is persisted.
    Degraded {
        /// What went wrong.
        error: StoreError,
    },
    /// The disk takes writes again; a `Persisted` follows.
    Recovered,
    /// The writer has given up; nothing from this ticket on was persisted, and nothing more will be.
    Failed {
        /// The first ticket that is not on disk.
        ticket: u64,
        /// What went wrong.
        error: StoreError,
    },
}

/// Why a read or a commit failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("no space left: {cause}")]
    Full {
        /// What the system said.
        cause: String,
    },
    /// The disk or the system failed.
    #[error("the disk failed: {cause}")]
    Io {
        /// What the system said.
        cause: String,
        /// Its kind, to be matched on.
        kind: io::ErrorKind,
    },
    /// What is on disk contradicts itself.
    #[error("the store is damaged: {cause}")]
    Corrupt {
        /// What was found.
        cause: String,
    },
    /// The store is closed, or is being opened again after a fault.
    #[error("the store is not open now")]
    NotOpen,
}

impl StoreError {
    /// Returns whether trying again cannot help.
    pub fn is_permanent(&self) -> bool {
        matches!(self, StoreError::Corrupt { .. })
    }
}

/// Why a store cannot be opened. [`OpenError::remedy`] says what an operator can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another program has the file open.
    #[error("{} is in use by another program", path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The file is no store, or a damaged one. It was not changed.
    #[error("{} is damaged: {cause}", path.display())]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The file was written by a version whose format this one does not read.
    #[error("{} has format {found}, which this version does not read", path.display())]
    WrongFormat {
        /// The store's file.
        path: PathBuf,
        /// The format's number.
        found: u8,
    },
    /// The system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        cause: String,
        /// Its kind, to be matched on.
        kind: io::ErrorKind,
    },
}

impl OpenError {
    /// Returns what to do about it, in one or two sentences.
    pub fn remedy(&self) -> String {
        match self {
            OpenError::InUse { path } => format!("Stop the program that uses {}.", path.display()),
            OpenError::Corrupt { path, .. } => format!(
                "Restore {0} from a backup. Without one, move {0} away and start again: the node keeps its \
                 identity and loses the messages that it had stored.",
                path.display()
            ),
            OpenError::WrongFormat { path, .. } => {
                format!("Start the version of this program that wrote {}, or a later one.", path.display())
            }
            OpenError::Io { path, .. } => {
                format!("Make {} readable and writable for this user.", path.display())
            }
        }
    }
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The writer is behind; submit the batch again after the next `Persisted`.
    #[error("the store's queue is full")]
    Full {
        /// The batch, given back.
        batch: Vec<Write>,
    },
    /// A key or a value is larger than the store takes.
    #[error("a {what} of {len} bytes exceeds the store's limit of {max}")]
    TooLarge {
        /// `key` or `value`.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// [`MAX_KEY`] or [`MAX_VALUE`].
        max: usize,
    },
    /// The writer has given up, as its last event said.
    #[error("the store has stopped")]
    Stopped,
}

/// A part of a table, in the order of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Keys and values.
    pub rows: Vec<(Vec<u8>, Bytes)>,
    /// Whether the range ended before the byte bound did. If not, scan on from the last key.
    pub complete: bool,
}

/// Settings of a [`Store`] on disk.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Bytes of pages kept in memory. Default 16 MiB.
    pub cache: usize,
    /// Time before the first new try after a fault; doubles up to `retry_max`. Default 100 ms.
    pub retry_first: Duration,
    /// Longest time between two tries. Default 5 s.
    pub retry_max: Duration,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            cache: 16 * 1024 * 1024,
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
        }
    }
}

/// The seam below the writer: redb on disk, or memory.
pub(crate) trait Backend: Send + Sync {
    /// Applies all writes in order, or none, durably. Trying again after an error does no harm.
    fn commit(&self, writes: &[Write]) -> Result<(), StoreError>;
    /// Opens again after a fault.
    fn reopen(&self) -> Result<(), StoreError>;
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
    fn scan(&self, table: Table, range: KeyRange<'_>, max_bytes: usize) -> Result<Scan, StoreError>;
    /// Lets go of the file.
    fn close(&self);
}

/// A range of keys.
pub type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl Store {
    /// Opens the store of a data directory, or makes an empty one.
    ///
    /// # Errors
    /// The file is damaged, of another format, in use, or the system refuses. It is never deleted.
    pub fn open(dir: &DataDir, config: StoreConfig) -> Result<(Store, StoreEvents), OpenError> {
        Store::open_on(Box::new(FileDisk::new(dir.path().join(STORE_FILE))), config)
    }

    /// Opens the store on a disk of the caller's making; tests cut its power.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(disk: Box<dyn Disk>, config: StoreConfig) -> Result<(Store, StoreEvents), OpenError> {
        let backend = redb::RedbBackend::open(disk, config.cache)?;
        Ok(Store::start(Arc::new(backend), config))
    }

    /// Makes an empty store that is gone with the process; persisted means applied.
    pub fn memory() -> (Store, StoreEvents) {
        Store::start(Arc::new(memory::MemoryBackend::default()), StoreConfig::default())
    }

    fn start(backend: Arc<dyn Backend>, config: StoreConfig) -> (Store, StoreEvents) {
        let (jobs, queue) = sync_channel(QUEUE);
        let (events, receiver) = mpsc::channel(EVENTS);
        let (waiting, closing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let writer = Writer {
            backend: Arc::clone(&backend),
            queue,
            events,
            waiting: Arc::clone(&waiting),
            closing: Arc::clone(&closing),
            config,
            left_over: None,
        };
        let writer = thread::Builder::new()
            .name("mesh-store".to_owned())
            .spawn(|| writer.run())
            .expect("a process that starts can start one thread");
        (Store { backend, jobs: Some(jobs), waiting, closing, writer: Some(writer) }, receiver)
    }

    /// Hands a batch to the writer and returns at once. The writes of a batch are applied in order, all or
    /// none; batches in the order of their submission. Tickets must grow.
    ///
    /// # Errors
    /// Nothing was taken; see [`SubmitError`].
    pub fn submit(&self, ticket: u64, batch: Vec<Write>) -> Result<(), SubmitError> {
        batch.iter().try_for_each(Write::check)?;
        let bytes = batch.iter().map(Write::weight).sum();
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting > 0 && waiting + bytes > MAX_QUEUED {
            return Err(SubmitError::Full { batch });
        }
        let jobs = self.jobs.as_ref().expect("only close takes the sender, and it takes the store along");
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        jobs.try_send(Job { ticket, batch, bytes }).map_err(|refused| {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            match refused {
                TrySendError::Full(job) => SubmitError::Full { batch: job.batch },
                TrySendError::Disconnected(_) => SubmitError::Stopped,
            }
        })
    }

    /// Returns the bytes of batches that the writer has not committed yet.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns the value of `key`. Blocks for a read from disk at most.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.backend.get(table, key)
    }

    /// Returns the rows of `range` in the order of their keys, until their keys and values together exceed
    /// `max_bytes`. At least one row is returned if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn scan(&self, table: Table, range: KeyRange<'_>, max_bytes: usize) -> Result<Scan, StoreError> {
        self.backend.scan(table, range, max_bytes)
    }

    /// Returns the rows of a whole table, as [`Store::scan`] does.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn load(&self, table: Table, max_bytes: usize) -> Result<Scan, StoreError> {
        self.scan(table, (Bound::Unbounded, Bound::Unbounded), max_bytes)
    }

    /// Commits what was submitted, ends the writer and lets go of the file. Returns the highest ticket
    /// that was persisted among the events not yet received. A degraded store gets one last try.
    ///
    /// # Errors
    /// What was submitted could not be committed.
    pub async fn close(mut self, mut events: StoreEvents) -> Result<Option<u64>, StoreError> {
        self.begin_close();
        let mut last = Ok(None);
        while let Some(event) = events.recv().await {
            match event {
                StoreEvent::Persisted { ticket } => last = Ok(Some(ticket)),
                StoreEvent::Failed { error, .. } => last = Err(error),
                StoreEvent::Degraded { .. } | StoreEvent::Recovered => {}
            }
        }
        self.end_close();
        last
    }

    fn begin_close(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(writer) = &self.writer {
            writer.thread().unpark();
        }
    }

    fn end_close(&mut self) {
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has ended its events, which the driver has seen.
            let _ = writer.join();
        }
        self.backend.close();
    }
}

impl Drop for Store {
    // Without `close` the writer ends by itself after its last commit; waiting for it could block a runtime.
    fn drop(&mut self) {
        self.begin_close();
    }
}
