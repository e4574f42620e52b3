//! Which nodes of this user run on this machine: one small file each, in a directory that nobody else can
//! enter.
//!
//! `$XDG_RUNTIME_DIR/mesh/nodes/NAME.json` beside `NAME.sock`; without XDG_RUNTIME_DIR the same below
//! `/tmp/mesh-UID`. A file whose socket does not answer belongs to a node that was killed, and counts for
//! nothing.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mesh_node::api::{ApiError, Time, code, text};
use mesh_proto::NodeId;
use serde::{Deserialize, Serialize};

/// The longest entry that is read, in bytes.
const MAX_ENTRY: u64 = 64 << 10;

/// One local node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its id.
    #[serde(with = "text")]
    pub node: NodeId,
    /// Its process.
    pub pid: u32,
    /// Its control socket.
    pub socket: PathBuf,
    /// The addresses it listens on.
    pub listening: Vec<String>,
    /// Where its data is; `None` when it keeps none.
    pub data_dir: Option<PathBuf>,
    /// When it started.
    pub started: Time,
}

/// The directory with the entries.
#[derive(Clone, Debug)]
pub struct Registry {
    dir: PathBuf,
}

impl Registry {
    /// Opens this user's directory, and makes it if it is missing.
    ///
    /// # Errors
    /// `SOCKET_FAILED` when it cannot be made or is not closed to others.
    pub fn open() -> Result<Registry, ApiError> {
        let uid = rustix::process::geteuid().as_raw();
        let base = match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| Path::new(dir).is_absolute()) {
            Some(dir) => Path::new(&dir).join("mesh"),
            None => std::env::temp_dir().join(format!("mesh-{uid}")),
        };
        private_dir(&base, uid)?;
        let dir = base.join("nodes");
        private_dir(&dir, uid)?;
        Ok(Registry { dir })
    }

    /// Returns where the control socket of the node with this name belongs.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.sock"))
    }

    /// Writes the entry of a node; it shows the node as soon as its socket answers.
    ///
    /// # Errors
    /// `SOCKET_FAILED` when the file cannot be written.
    pub fn add(&self, entry: &Entry) -> Result<(), ApiError> {
        let path = self.path(&entry.name);
        let part = path.with_extension("part");
        let text = serde_json::to_vec_pretty(entry).map_err(io::Error::other);
        let written = text.and_then(|text| fs::write(&part, text)).and_then(|()| fs::rename(&part, &path));
        written.map_err(|error| failed(&path, &error))
    }

    /// Removes the entry of this name, if it is still that of this process.
    pub fn remove(&self, name: &str) {
        let path = self.path(name);
        if read(&path).is_some_and(|entry| entry.pid == std::process::id()) {
            let _ = fs::remove_file(path);
        }
    }

    /// Returns all entries, by name; some may belong to nodes that are gone.
    pub fn entries(&self) -> Vec<Entry> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|file| file.path());
        let json = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let mut entries: Vec<Entry> = json.filter_map(|path| read(&path)).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }
}

fn read(path: &Path) -> Option<Entry> {
    if fs::metadata(path).ok()?.len() > MAX_ENTRY {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

// A directory in /tmp may have been put there by somebody else.
fn private_dir(dir: &Path, uid: u32) -> Result<(), ApiError> {
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        return Err(failed(dir, &error));
    }
    let facts = fs::symlink_metadata(dir).map_err(|error| failed(dir, &error))?;
    let open = facts.permissions().mode() & 0o077 != 0;
    if facts.is_dir() && facts.uid() == uid && !open {
        return Ok(());
    }
    let message = "the runtime directory is not closed to other users";
    let mode = format!("{:o}", facts.permissions().mode() & 0o777);
    let error = ApiError::new(&code::SOCKET_FAILED, message).fact("directory", dir.display());
    Err(error.fact("owner", facts.uid()).fact("mode", mode).help(format!("chmod 700 {}", dir.display())))
}

fn failed(path: &Path, error: &io::Error) -> ApiError {
    ApiError::new(&code::SOCKET_FAILED, format!("the runtime directory cannot be used: {error}"))
        .fact("path", path.display())
}
