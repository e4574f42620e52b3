//! The data directory and its lock: one node at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the lock file; it holds the process id of the node that has the lock.
pub const LOCK_FILE: &str = "node.lock";

/// A data directory that this process has for itself. The lock ends with this value, or with the process
/// however that dies.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // Never removed from disk: a second node that has opened it already would then lock a ghost.
    _lock: File,
}

/// Why a data directory cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another node runs on it, and is not disturbed.
    #[error("{} is in use by a node that runs already{}", path.display(), pid.map(|p| format!(" (process {p})")).unwrap_or_default())]
    AlreadyRunning {
        /// The directory.
        path: PathBuf,
        /// The other node's process, if it has said so.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The directory or its lock file.
        path: PathBuf,
        /// What the system said.
        cause: String,
        /// Its kind, to be matched on.
        kind: io::ErrorKind,
    },
}

impl LockError {
    /// Returns what to do about it, in one sentence.
    pub fn remedy(&self) -> String {
        match self {
            LockError::AlreadyRunning { path, .. } => {
                format!(
                    "Use the node that runs on {}, stop it, or give this one its own data directory.",
                    path.display()
                )
            }
            LockError::Io { path, .. } => {
                format!("Make {} readable and writable for this user.", path.display())
            }
        }
    }
}

impl DataDir {
    /// Takes the directory for this process; makes it, open to this user alone, if it is not there.
    ///
    /// # Errors
    /// Another node has it, or the system refuses.
    pub fn lock(path: &Path) -> Result<DataDir, LockError> {
        let failed = |path: &Path, e: io::Error| LockError::Io {
            path: path.to_owned(),
            cause: e.to_string(),
            kind: e.kind(),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| failed(path, e))?;
        let file = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .map_err(|e| failed(&file, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::AlreadyRunning { path: path.to_owned(), pid: pid_in(&file) });
            }
            Err(TryLockError::Error(e)) => return Err(failed(&file, e)),
        }
        write_pid(&mut lock).map_err(|e| failed(&file, e))?;
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn pid_in(file: &Path) -> Option<u32> {
    // A process id has ten digits at most; whatever else stands there is not read.
    let mut text = String::new();
    fs::File::open(file).ok()?.take(11).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
