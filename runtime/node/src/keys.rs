//! The node's key: one Ed25519 seed in one file, which is the identity on every transport.
//!
//! Reads and creates `identity.key`, 32 raw bytes readable by the owner alone. Never makes a new identity
//! where an old one has left traces, and never shows the secret.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use mesh_proto::NodeId;
use zeroize::Zeroizing;

/// Name of the key file in the data directory.
pub const KEY_FILE: &str = "identity.key";
/// Bytes of the key file: the Ed25519 seed and nothing else.
pub const KEY_LEN: usize = 32;

/// A node's secret key. The memory is wiped when it is dropped; `Debug` shows the public half only.
#[derive(Clone)]
pub struct NodeKey {
    signing: SigningKey,
}

impl NodeKey {
    /// Makes a key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Random`] if the system gives none.
    pub fn generate() -> Result<NodeKey, KeyError> {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        getrandom::fill(seed.as_mut()).map_err(KeyError::random)?;
        Ok(NodeKey::from_seed(&seed))
    }

    /// Returns the key of this seed.
    pub fn from_seed(seed: &[u8; KEY_LEN]) -> NodeKey {
        NodeKey { signing: SigningKey::from_bytes(seed) }
    }

    /// Returns the public half, which is the node's name.
    pub fn id(&self) -> NodeId {
        NodeId(self.signing.verifying_key().to_bytes())
    }

    /// Returns the bytes of the public half.
    pub fn public_bytes(&self) -> &[u8; 32] {
        self.signing.as_ref().as_bytes()
    }

    /// Returns the key that signs.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// Returns the seed, to be stored or handed to a transport; it wipes itself.
    pub fn seed(&self) -> Zeroizing<[u8; KEY_LEN]> {
        Zeroizing::new(self.signing.to_bytes())
    }

    /// Reads the key of the data directory `dir`.
    ///
    /// # Errors
    /// The file is absent, has not exactly 32 bytes, others may read it, or it cannot be read.
    pub fn load(dir: &Path) -> Result<NodeKey, KeyError> {
        let path = dir.join(KEY_FILE);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(KeyError::Missing { path }),
            Err(e) => return Err(KeyError::io(&path, e)),
        };
        check_file(&path, &file)?;
        read_seed(&path, &mut file).map(|seed| NodeKey::from_seed(&seed))
    }

    /// Reads the key of `dir`, or makes one if the directory has never had an identity. Returns whether it
    /// is new.
    ///
    /// `traces` are the names of files in `dir` that only a node with an identity leaves behind, such as
    /// its store.
    ///
    /// # Errors
    /// As [`NodeKey::load`]; and [`KeyError::Lost`] if a trace is there and the key is not.
    pub fn load_or_create(dir: &Path, traces: &[&str]) -> Result<(NodeKey, bool), KeyError> {
        match NodeKey::load(dir) {
            Err(KeyError::Missing { path }) => {
                if let Some(trace) = traces.iter().map(|t| dir.join(t)).find(|t| t.exists()) {
                    return Err(KeyError::Lost { path, trace });
                }
                NodeKey::create(dir, path).map(|key| (key, true))
            }
            loaded => loaded.map(|key| (key, false)),
        }
    }

    // The seed is written under another name and linked into place, so that no crash leaves a short key.
    fn create(dir: &Path, path: PathBuf) -> Result<NodeKey, KeyError> {
        fs::create_dir_all(dir).map_err(|e| KeyError::io(dir, e))?;
        let key = NodeKey::generate()?;
        let draft = dir.join(format!("{KEY_FILE}.{:016x}.new", getrandom::u64().map_err(KeyError::random)?));
        let written = write_new(&draft, &*key.seed()).and_then(|()| fs::hard_link(&draft, &path));
        // Best effort: a draft that stays is private and no node ever uses it.
        let _ = fs::remove_file(&draft);
        match written {
            Ok(()) => sync_dir(dir).map_err(|e| KeyError::io(dir, e)).map(|()| key),
            // Another process was first; its key is the one.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => NodeKey::load(dir),
            Err(e) => Err(KeyError::io(&path, e)),
        }
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Why there is no usable key. [`KeyError::remedy`] says what an operator can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key file.
    #[error("there is no key file {}", path.display())]
    Missing {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// The directory has been used by an identity whose key is gone.
    #[error("{} is missing, but {} shows that this directory has had an identity", path.display(), trace.display())]
    Lost {
        /// The file that was looked for.
        path: PathBuf,
        /// What the old identity left behind.
        trace: PathBuf,
    },
    /// The file is not a key.
    #[error("{} has {len} bytes, a key has {KEY_LEN}", path.display())]
    WrongLength {
        /// The key file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// Others than the owner may read or change the file.
    #[error("{} is open to others (mode {mode:04o})", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What has the key's name is not a regular file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path of the key file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: String,
        /// Its kind, to be matched on.
        kind: io::ErrorKind,
    },
    /// The system has no randomness.
    #[error("the system gives no randomness: {cause}")]
    Random {
        /// What the system said.
        cause: String,
    },
}

impl KeyError {
    /// Returns what to do about it, in one or two sentences.
    pub fn remedy(&self) -> String {
        match self {
            KeyError::Missing { path } => format!(
                "Restore {} from a backup (mode 0600), or start a new node in an empty data directory.",
                path.display()
            ),
            KeyError::Lost { path, trace } => format!(
                "Restore {} from a backup (mode 0600). If the old identity is gone for good, move {} away \
                 and start again: the node then comes back as somebody else, without its stored messages.",
                path.display(),
                trace.display()
            ),
            KeyError::WrongLength { path, .. } | KeyError::NotAFile { path } => {
                format!("Restore {} from a backup: {KEY_LEN} raw bytes, mode 0600.", path.display())
            }
            KeyError::Exposed { path, .. } => format!(
                "Run `chmod 600 {0}`. If somebody else may have read {0}, the key is no longer yours alone.",
                path.display()
            ),
            KeyError::Io { path, .. } => {
                format!("Make {} readable and writable for this user.", path.display())
            }
            KeyError::Random { .. } => "Start again when the system has collected randomness.".to_owned(),
        }
    }

    fn random(e: getrandom::Error) -> KeyError {
        KeyError::Random { cause: e.to_string() }
    }

    fn io(path: &Path, e: io::Error) -> KeyError {
        KeyError::Io { path: path.to_owned(), cause: e.to_string(), kind: e.kind() }
    }
}

fn check_file(path: &Path, file: &File) -> Result<(), KeyError> {
    let meta = file.metadata().map_err(|e| KeyError::io(path, e))?;
    let (path, mode) = (path.to_owned(), meta.permissions().mode() & 0o7777);
    match meta.len() {
        _ if !meta.is_file() => Err(KeyError::NotAFile { path }),
        _ if mode & 0o077 != 0 => Err(KeyError::Exposed { path, mode }),
        len if len != KEY_LEN as u64 => Err(KeyError::WrongLength { path, len }),
        _ => Ok(()),
    }
}

fn read_seed(path: &Path, file: &mut File) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    let mut seed = Zeroizing::new([0; KEY_LEN]);
    file.read_exact(seed.as_mut()).map_err(|e| KeyError::io(path, e))?;
    Ok(seed)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
